//! Prints what a verb finds out in the form that the command line asks for.

use std::marker::PhantomData;

use serde::Serialize;

use crate::args::output::Form;
use crate::exit::Failure;
use crate::output::{Stdout, json};
use crate::table::{Column, Widths, csv_line};

/// Something that a verb finds out: an object of JSON, and rows of a table.
pub(crate) trait Answer: Serialize {
    /// The columns of the table.
    const COLUMNS: &'static [Column];

    /// Its rows of the table, a cell for each column.
    fn rows(&self) -> Vec<Vec<String>>;

    /// The columns of CSV: those of the table where nothing else is said.
    fn csv_columns() -> Vec<&'static str> {
        Self::COLUMNS.iter().map(|(name, _)| *name).collect()
    }

    /// Its rows of CSV.
    fn csv_rows(&self) -> Vec<Vec<String>> {
        self.rows()
    }
}

/// Prints the only answer of a verb.
pub(crate) fn print_one<A: Answer>(form: Form, answer: &A) -> Result<(), Failure> {
    match form {
        Form::Json | Form::Jsonl => Stdout::new().json(answer),
        Form::Csv | Form::Md => {
            let mut answers = Answers::new(form);
            answers.push(answer)?;
            answers.finish()
        }
    }
}

/// Prints answers as they come; a table in Markdown waits for its last row.
pub(crate) struct Answers<A> {
    form: Form,
    stdout: Stdout,
    pushed: usize,
    widths: Widths,
    /// Rows of the table that have not been printed.
    waiting: Vec<Vec<String>>,
    of: PhantomData<fn(&A)>,
}

impl<A: Answer> Answers<A> {
    /// Nothing is printed before the first answer.
    pub(crate) fn new(form: Form) -> Answers<A> {
        let widths = Widths::new(A::COLUMNS);
        let waiting = Vec::new();
        Answers { form, stdout: Stdout::new(), pushed: 0, widths, waiting, of: PhantomData }
    }

    /// Prints an answer.
    pub(crate) fn push(&mut self, answer: &A) -> Result<(), Failure> {
        let is_first = self.pushed == 0;
        self.pushed += 1;
        match self.form {
            Form::Json => {
                let before = if is_first { "[" } else { "," };
                self.stdout.bytes(format!("{before}{}", json(answer)?).as_bytes())
            }
            Form::Jsonl => self.stdout.json(answer),
            Form::Csv => {
                if is_first {
                    self.head()?;
                }
                let mut rows = answer.csv_rows().into_iter();
                rows.try_for_each(|row| self.stdout.line(format_args!("{}", csv_line(row))))
            }
            Form::Md => {
                let rows = answer.rows();
                rows.iter().for_each(|row| self.widths.fit(row));
                self.waiting.extend(rows);
                Ok(())
            }
        }
    }

    /// Prints what is left: there are no more answers.
    pub(crate) fn finish(mut self) -> Result<(), Failure> {
        match self.form {
            Form::Json if self.pushed == 0 => self.stdout.line(format_args!("[]")),
            Form::Json => self.stdout.line(format_args!("]")),
            Form::Jsonl => Ok(()),
            Form::Csv if self.pushed == 0 => self.head(),
            Form::Csv => Ok(()),
            Form::Md => {
                self.head()?;
                let rows = std::mem::take(&mut self.waiting);
                rows.iter().try_for_each(|row| self.row(row))
            }
        }
    }

    /// The lines above the rows.
    fn head(&mut self) -> Result<(), Failure> {
        let head = match self.form {
            Form::Csv => csv_line(A::csv_columns()),
            Form::Md | Form::Json | Form::Jsonl => self.widths.head(A::COLUMNS),
        };
        self.stdout.line(format_args!("{head}"))
    }

    /// A row of the table.
    fn row(&mut self, row: &[String]) -> Result<(), Failure> {
        let line = self.widths.line(A::COLUMNS, row);
        self.stdout.line(format_args!("{line}"))
    }
}
