//! What the commands print: text for people, or JSON for programs, on stdout; errors on stderr.

use std::fmt::Display;
use std::io::{self, Write};

use anyhow::Result;
use comfy_table::{Table, presets};
use serde::Serialize;

use crate::args::OutputArgs;

impl OutputArgs {
    /// Prints the value as JSON, or what `text` makes of it.
    ///
    /// # Errors
    /// Standard output takes no more.
    pub(crate) fn show<T: Serialize>(
        &self,
        value: &T,
        text: impl FnOnce(&T) -> String,
    ) -> Result<()> {
        if self.json {
            line(serde_json::to_string_pretty(value)?)
        } else {
            line(text(value))
        }
    }
}

/// Prints a line. A reader that went away (`| head`) is no error: there is nobody to tell.
///
/// # Errors
/// Standard output takes no more.
pub(crate) fn line(text: impl Display) -> Result<()> {
    match writeln!(io::stdout().lock(), "{text}") {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => Err(error.into()),
        _ => Ok(()),
    }
}

/// Columns under their heads, or what to say when there is nothing.
pub(crate) fn table<const N: usize>(
    heads: [&str; N],
    rows: impl IntoIterator<Item = [String; N]>,
    if_empty: &str,
) -> String {
    let mut table = Table::new();
    table.load_style(presets::NOTHING).set_header(heads);
    for row in rows {
        table.add_row(row.map(printable));
    }
    if table.is_empty() {
        return if_empty.to_owned();
    }
    let lines: Vec<_> = table
        .lines()
        .map(|line| line.trim_end().to_owned())
        .collect();
    lines.join("\n")
}

/// A time in unix seconds as people read it, in UTC.
pub(crate) fn utc(unix_seconds: i64) -> String {
    let (days, second) = (
        unix_seconds.div_euclid(86_400),
        unix_seconds.rem_euclid(86_400),
    );
    let (year, month, day) = civil_from_days(days);
    format!(
        "{year}-{month:02}-{day:02} {:02}:{:02}",
        second / 3600,
        second / 60 % 60
    )
}

/// Days since 1970-01-01 as a date. Source: Howard Hinnant, "chrono-Compatible Low-Level Date
/// Algorithms", civil_from_days.
fn civil_from_days(days: i64) -> (i64, i64, i64) {
    let shifted = days + 719_468;
    let (era, day_of_era) = (shifted.div_euclid(146_097), shifted.rem_euclid(146_097));
    let year_of_era =
        (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    // Years begin in March here, so that a leap day is the last.
    let month_from_march = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month_from_march + 2) / 5 + 1;
    let month = if month_from_march < 10 {
        month_from_march + 3
    } else {
        month_from_march - 9
    };
    (year_of_era + era * 400 + i64::from(month <= 2), month, day)
}

/// A name from outside, with nothing in it that a terminal would obey.
pub(crate) fn printable(text: impl AsRef<str>) -> String {
    let escape = |c: char| {
        if c.is_control() {
            c.escape_default().to_string()
        } else {
            c.into()
        }
    };
    text.as_ref().chars().map(escape).collect()
}

/// Tells on stderr what whoever typed the command should know besides its answer.
pub(crate) fn note(text: impl Display) {
    // Nobody is left to tell that stderr is closed.
    let _ = writeln!(io::stderr().lock(), "note: {text}");
}

/// Tells on stderr what went wrong, and why as far as it is known.
pub(crate) fn error(error: &anyhow::Error) {
    let causes: Vec<String> = error.chain().map(ToString::to_string).collect();
    let mut text = format!("error: {}", causes[0]);
    for pair in causes.windows(2) {
        // Libraries often repeat the cause in their own message.
        if !pair[0].contains(&pair[1]) {
            text.push_str("\n  because: ");
            text.push_str(&pair[1]);
        }
    }
    // Nobody is left to tell that stderr is closed.
    let _ = writeln!(io::stderr().lock(), "{text}");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_read_as_dates() {
        assert_eq!(utc(0), "1970-01-01 00:00");
        // `date -u -d @951782399` and the second after.
        assert_eq!(utc(951_782_399), "2000-02-28 23:59");
        assert_eq!(utc(951_782_400), "2000-02-29 00:00");
        assert_eq!(utc(1_798_761_599), "2026-12-31 23:59");
    }

    #[test]
    fn tables_line_up_and_control_characters_are_shown_not_sent() {
        let rows = [
            ["k1".to_owned(), "ci\u{1b}[31m".to_owned()],
            ["key-2".to_owned(), "web".to_owned()],
        ];
        let text = table(["ID", "NAME"], rows, "nothing");
        assert_eq!(text, " ID     NAME\n k1     ci\\u{1b}[31m\n key-2  web");
        assert_eq!(table(["ID"], [], "nothing here"), "nothing here");
    }
}
