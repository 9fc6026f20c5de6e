//! Dates for templates that tell the model what day it is, in UTC.

use std::fmt::Write;

/// The names of the months.
const MONTHS: [&str; 12] = [
    "January",
    "February",
    "March",
    "April",
    "May",
    "June",
    "July",
    "August",
    "September",
    "October",
    "November",
    "December",
];

/// The names of the days of a week, the first that of 1 January 1970.
const WEEKDAYS: [&str; 7] =
    ["Thursday", "Friday", "Saturday", "Sunday", "Monday", "Tuesday", "Wednesday"];

/// Seconds of a day.
const DAY: u64 = 86_400;

/// A day of the Gregorian calendar; month and day count from 1.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Date {
    year: u64,
    month: u64,
    day: u64,
}

impl Date {
    /// The date of a day, counted from 1 January 1970.
    fn of(mut days: u64) -> Date {
        // Whole cycles of 400 years first, so that the loops below are short.
        let cycle = 146_097;
        let mut year = 1970 + days / cycle * 400;
        days %= cycle;
        while days >= year_days(year) {
            days -= year_days(year);
            year += 1;
        }
        let mut month = 1;
        while days >= month_days(year, month) {
            days -= month_days(year, month);
            month += 1;
        }
        Date { year, month, day: days + 1 }
    }

    /// The day of its year, counted from 1.
    fn day_of_year(self) -> u64 {
        (1..self.month).map(|month| month_days(self.year, month)).sum::<u64>() + self.day
    }
}

fn is_leap(year: u64) -> bool {
    year.is_multiple_of(4) && (!year.is_multiple_of(100) || year.is_multiple_of(400))
}

fn year_days(year: u64) -> u64 {
    365 + u64::from(is_leap(year))
}

fn month_days(year: u64, month: u64) -> u64 {
    match month {
        2 => 28 + u64::from(is_leap(year)),
        4 | 6 | 9 | 11 => 30,
        _ => 31,
    }
}

/// A time in seconds of Unix time in the words of C's `strftime`, as far as templates use it; the
/// error is a directive that is not known.
pub(super) fn format(seconds: u64, format: &str) -> Result<String, String> {
    let (days, second) = (seconds / DAY, seconds % DAY);
    let date @ Date { year, month, day } = Date::of(days);
    let name = |names: &[&'static str], index: u64| -> &'static str {
        usize::try_from(index).ok().and_then(|index| names.get(index)).copied().unwrap_or_default()
    };
    let (month_name, weekday) = (name(&MONTHS, month - 1), name(&WEEKDAYS, days % 7));
    let short = |name: &'static str| name.get(..3).unwrap_or(name);
    let mut text = String::new();
    let mut characters = format.chars();
    while let Some(character) = characters.next() {
        if character != '%' {
            text.push(character);
            continue;
        }
        // Writing to a string cannot fail.
        let _ = match characters.next() {
            Some('Y') => write!(text, "{year}"),
            Some('y') => write!(text, "{:02}", year % 100),
            Some('m') => write!(text, "{month:02}"),
            Some('d') => write!(text, "{day:02}"),
            Some('e') => write!(text, "{day:2}"),
            Some('j') => write!(text, "{:03}", date.day_of_year()),
            Some('B') => write!(text, "{month_name}"),
            Some('b' | 'h') => write!(text, "{}", short(month_name)),
            Some('A') => write!(text, "{weekday}"),
            Some('a') => write!(text, "{}", short(weekday)),
            Some('H') => write!(text, "{:02}", second / 3600),
            Some('M') => write!(text, "{:02}", second / 60 % 60),
            Some('S') => write!(text, "{:02}", second % 60),
            Some('F') => write!(text, "{year}-{month:02}-{day:02}"),
            Some('%') => write!(text, "%"),
            Some(other) => return Err(format!("%{other}")),
            None => return Err("%".to_owned()),
        };
    }
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_are_those_of_the_calendar() {
        let formatted = |seconds| format(seconds, "%a %F %j %H:%M:%S").unwrap();
        assert_eq!(formatted(0), "Thu 1970-01-01 001 00:00:00");
        assert_eq!(formatted(951_782_399), "Mon 2000-02-28 059 23:59:59");
        assert_eq!(formatted(951_782_400), "Tue 2000-02-29 060 00:00:00");
        assert_eq!(formatted(4_107_542_400), "Mon 2100-03-01 060 00:00:00");
        assert_eq!(format(1_721_990_096, "%d %b %Y, %B %e").unwrap(), "26 Jul 2024, July 26");
    }

    #[test]
    fn the_end_of_time_is_a_date() {
        assert!(format(u64::MAX, "%Y").unwrap().len() > 10);
        assert_eq!(format(0, "%Q"), Err("%Q".to_owned()));
        assert_eq!(format(0, "100%"), Err("%".to_owned()));
    }
}
