//! `deepthin hw`: prints what the machine is, and what it gives to code such as ours.

use std::fmt::Write;

use deepthin::engine;
use deepthin::hw::figures::Figure;
use deepthin::hw::system::{Cache, System};
use deepthin::hw::{Hw, memory_bytes};
use deepthin::memory::Available;

use crate::answers::{self, Answer};
use crate::args::bench::HwArgs;
use crate::exit::{Exit, Failure};
use crate::interrupt::Interrupt;
use crate::output::{self, Stdout};
use crate::table::{Align, Column};

/// Measures and prints; Ctrl-C ends it with what there is by then.
pub(crate) fn run(args: &HwArgs) -> Result<Exit, Failure> {
    let interrupt = Interrupt::watch()?;
    let threads = args.threads.map_or_else(engine::default_threads, usize::from);
    let probe = args.probe.map(|mib| mib << 20);
    let wanted = probe.unwrap_or_else(|| memory_bytes(&System::read().caches));
    let memory = room(wanted, threads);
    let largest = probe.unwrap_or(memory).min(memory);
    let hw = Hw::measure(threads, memory, largest, &|| interrupt.requested())?;
    match args.output.form() {
        Some(form) => answers::print_one(form, &hw)?,
        None => Stdout::new().bytes(page(&hw).as_bytes())?,
    }
    Ok(if interrupt.requested() { Exit::Interrupted } else { Exit::Success })
}

/// Bytes to read for the rate of memory, in a buffer for one thread and in others for all: as many
/// as wanted, or what memory has room for.
fn room(wanted: u64, threads: usize) -> u64 {
    let buffers = if threads > 1 { 2 } else { 1 };
    let room = Available::now().map(|free| (free.bytes / 2 / buffers, free.bound));
    let Some((bytes, bound)) = room.filter(|(bytes, _)| *bytes < wanted) else { return wanted };
    output::note(format_args!(
        "memory is read on {} MiB, of which caches may hold a part: {bound} has no room for {} MiB",
        bytes >> 20,
        wanted >> 20
    ));
    bytes
}

impl Answer for Hw {
    const COLUMNS: &'static [Column] = &[
        ("figure", Align::Left),
        ("threads", Align::Right),
        ("KiB", Align::Right),
        ("median", Align::Right),
        ("best", Align::Right),
        ("unit", Align::Left),
        ("what it is", Align::Left),
    ];

    fn rows(&self) -> Vec<Vec<String>> {
        let row = |figure: &Figure| {
            vec![
                figure.name.clone(),
                figure.threads.to_string(),
                figure.bytes.map_or_else(|| "-".to_owned(), |bytes| (bytes >> 10).to_string()),
                format!("{:.1}", figure.median),
                format!("{:.1}", figure.best),
                figure.unit.to_owned(),
                figure.about.clone(),
            ]
        };
        self.figures.iter().map(row).collect()
    }
}

/// The page for people: a topic a line, then the figures.
fn page(hw: &Hw) -> String {
    let System { processor, online, usable, threads_per_core, caches, large_pages } = &hw.system;
    let unknown = || "unknown".to_owned();
    let count = |count: &Option<usize>| count.map_or_else(unknown, |count| count.to_string());
    let cores = format!(
        "{} logical online, {} of them usable here ({}), {} to a core",
        count(online),
        usable.len(),
        ranges(usable),
        count(threads_per_core)
    );
    let lines = [
        ("processor", processor.clone().unwrap_or_else(unknown)),
        ("features", hw.features.clone()),
        ("back end", format!("{}, which may use {}", hw.backend, hw.backend_features.join(" "))),
        ("cores", cores),
        ("caches", caches.iter().map(cache).collect::<Vec<_>>().join("; ")),
        ("pages", pages(large_pages.as_deref())),
    ];
    let mut page = String::new();
    for (topic, text) in lines {
        // Writing to a string cannot fail.
        let _ = writeln!(page, "{topic:12}{text}");
    }
    page + &figures(hw)
}

/// A cache in words.
fn cache(cache: &Cache) -> String {
    let Cache { level, bytes, line, shared_by } = cache;
    format!("L{level} {} KiB, lines of {line}, shared by {shared_by}", bytes >> 10)
}

/// Who gets large pages, in words.
fn pages(large: Option<&str>) -> String {
    match large {
        Some("always") => "large ones for all memory".to_owned(),
        Some("madvise") => "large ones for memory that asks, as that of weights does".to_owned(),
        Some("never") => "small ones alone, so that memory is read slower than it could".to_owned(),
        Some(other) => format!("large ones as the system's choice `{other}` says"),
        None => "unknown".to_owned(),
    }
}

/// `0-3, 8`.
fn ranges(numbers: &[usize]) -> String {
    let mut ranges: Vec<(usize, usize)> = Vec::new();
    for &number in numbers {
        match ranges.last_mut() {
            Some((_, last)) if last.checked_add(1) == Some(number) => *last = number,
            _ => ranges.push((number, number)),
        }
    }
    let range = |&(first, last): &(usize, usize)| match first == last {
        true => first.to_string(),
        false => format!("{first}-{last}"),
    };
    ranges.iter().map(range).collect::<Vec<_>>().join(", ")
}

/// The figures, with what each of them is.
fn figures(hw: &Hw) -> String {
    let mut text = String::from("figures     median and best of the rounds\n");
    for Figure { name, threads, bytes, median, best, unit, about } in &hw.figures {
        let who = if *threads == 1 { "1 thread" } else { &format!("{threads} threads") };
        let size = bytes.map_or_else(String::new, |bytes| format!(" ({} KiB)", bytes >> 10));
        let _ = writeln!(
            text,
            "  {name:11}  {who:>10}  {median:8.1}  {best:8.1} {unit:7}  {about}{size}"
        );
    }
    text
}

#[cfg(test)]
mod tests {
    use super::ranges;

    #[test]
    fn neighbors_are_told_as_ranges() {
        assert_eq!(ranges(&[0, 1, 2, 5, 7, 8]), "0-2, 5, 7-8");
        assert_eq!(ranges(&[]), "");
    }
}
