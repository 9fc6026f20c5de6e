//! Tables of cells as text: Markdown with aligned columns, and CSV.

/// On which side of a column its cells stand.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Align {
    /// Names and texts.
    Left,
    /// Numbers.
    Right,
}

/// A column: its name, and where its cells stand.
pub(crate) type Column = (&'static str, Align);

/// The widths of a table in Markdown.
#[derive(Debug, Clone)]
pub(crate) struct Widths(Vec<usize>);

impl Widths {
    /// Room for the names of the columns.
    pub(crate) fn new(columns: &[Column]) -> Widths {
        Widths(columns.iter().map(|(name, _)| name.chars().count()).collect())
    }

    /// Makes room for a row.
    pub(crate) fn fit(&mut self, row: &[String]) {
        for (width, cell) in self.0.iter_mut().zip(row) {
            *width = (*width).max(markdown_cell(cell).chars().count());
        }
    }

    /// The two lines above the rows, without the last line end.
    pub(crate) fn head(&self, columns: &[Column]) -> String {
        let names: Vec<String> = columns.iter().map(|(name, _)| (*name).to_owned()).collect();
        let rules: Vec<String> = columns.iter().zip(&self.0).map(rule).collect();
        format!("{}\n| {} |", self.line(columns, &names), rules.join(" | "))
    }

    /// A row, without its line end.
    pub(crate) fn line(&self, columns: &[Column], row: &[String]) -> String {
        let cells = columns.iter().zip(&self.0).zip(row).map(|(((_, align), width), cell)| {
            let cell = markdown_cell(cell);
            match align {
                Align::Left => format!("{cell:width$}"),
                Align::Right => format!("{cell:>width$}"),
            }
        });
        format!("| {} |", cells.collect::<Vec<_>>().join(" | "))
    }
}

/// The dashes under a name, with a colon at the right of numbers.
fn rule(((_, align), width): (&Column, &usize)) -> String {
    match align {
        Align::Left => "-".repeat((*width).max(1)),
        Align::Right => "-".repeat((*width).max(2) - 1) + ":",
    }
}

/// A text that neither ends a cell nor a line.
fn markdown_cell(text: &str) -> String {
    text.replace('|', "\\|").replace(['\n', '\r'], " ")
}

/// A row as RFC 4180 has it, without its line end: cells with commas, quotes or line ends are
/// quoted.
pub(crate) fn csv_line<T: AsRef<str>>(cells: impl IntoIterator<Item = T>) -> String {
    let quoted = |cell: T| {
        let cell = cell.as_ref();
        match cell.contains([',', '"', '\n', '\r']) {
            true => format!("\"{}\"", cell.replace('"', "\"\"")),
            false => cell.to_owned(),
        }
    };
    cells.into_iter().map(quoted).collect::<Vec<_>>().join(",")
}

#[cfg(test)]
mod tests {
    use super::*;

    const COLUMNS: [Column; 2] = [("name", Align::Left), ("n", Align::Right)];

    fn row(name: &str, n: &str) -> Vec<String> {
        vec![name.to_owned(), n.to_owned()]
    }

    #[test]
    fn columns_are_as_wide_as_their_widest_cell() {
        let rows = [row("a|b", "1"), row("\u{e4}\u{f6}\u{fc}..", "12 ± 3")];
        let mut widths = Widths::new(&COLUMNS);
        rows.iter().for_each(|row| widths.fit(row));
        assert_eq!(widths.head(&COLUMNS), "| name  |      n |\n| ----- | -----: |");
        let lines = rows.each_ref().map(|row| widths.line(&COLUMNS, row));
        assert_eq!(lines, ["| a\\|b  |      1 |", "| \u{e4}\u{f6}\u{fc}.. | 12 ± 3 |"]);
    }

    #[test]
    fn cells_are_quoted_where_they_have_to_be() {
        assert_eq!(csv_line(["a", "b c", "d,e", "f\"g", ""]), "a,b c,\"d,e\",\"f\"\"g\",");
    }
}
