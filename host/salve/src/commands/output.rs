//! Standard output and standard error, and tables. A closed pipe is not an error.

use salve_model::text::escape;
use std::io::Write;

/// Writes a line to standard output.
pub fn say(line: &str) {
    // A reader that has gone away (`| head`) is its own choice.
    drop(writeln!(std::io::stdout(), "{line}"));
}

/// Writes a line to standard error.
pub fn complain(line: &str) {
    drop(writeln!(std::io::stderr(), "{line}"));
}

/// Writes a value as JSON to standard output.
///
/// # Errors
/// If the value cannot be put into JSON.
pub fn say_json(value: &impl serde::Serialize) -> anyhow::Result<()> {
    say(&printable(&serde_json::to_string_pretty(value)?));
    Ok(())
}

/// The same on one line.
///
/// # Errors
/// If the value cannot be put into JSON.
pub fn say_json_line(value: &impl serde::Serialize) -> anyhow::Result<()> {
    say(&printable(&serde_json::to_string(value)?));
    Ok(())
}

/// The same JSON, in which what strangers wrote can move no cursor and reorder no text: such characters, which stand in
/// strings alone, are written as `\uXXXX`.
fn printable(json: &str) -> String {
    let mut text = String::with_capacity(json.len());
    let mut buffer = [0; 4];
    for character in json.chars() {
        let same: &str = character.encode_utf8(&mut buffer);
        let is_plain = character == '\n' || (' '..='~').contains(&character) || escape(same, 1) == same;
        if is_plain {
            text.push(character);
        } else {
            text.push_str(&format!("\\u{:04x}", u32::from(character)));
        }
    }
    text
}

/// Lines columns up; the first row is the head. The last column is left ragged.
pub fn table(rows: &[Vec<String>]) -> String {
    let columns = rows.iter().map(Vec::len).max().unwrap_or(0);
    let widths: Vec<usize> = (0..columns)
        .map(|column| {
            rows.iter().filter_map(|row| row.get(column)).map(|cell| cell.chars().count()).max().unwrap_or(0)
        })
        .collect();
    let line = |row: &Vec<String>| {
        let mut line = String::new();
        for (column, cell) in row.iter().enumerate() {
            line.push_str(cell);
            if column + 1 < row.len() {
                line.extend(std::iter::repeat_n(' ', widths[column] - cell.chars().count() + 2));
            }
        }
        line
    };
    rows.iter().map(line).collect::<Vec<_>>().join("\n")
}

/// Milliseconds as people read them.
pub fn duration(ms: u64) -> String {
    match ms {
        0..1_000 => format!("{ms} ms"),
        1_000..120_000 => format!("{:.1} s", ms as f64 / 1_000.0),
        120_000..7_200_000 => format!("{} min", ms / 60_000),
        _ => format!("{} h", ms / 3_600_000),
    }
}

/// A moment in UTC, to the second.
pub fn moment(unix_ms: u64) -> String {
    // Days to date after H. Hinnant, "chrono-Compatible Low-Level Date Algorithms", civil_from_days.
    let seconds = unix_ms / 1_000;
    let (days, second_of_day) = (seconds / 86_400, seconds % 86_400);
    let days = days + 719_468;
    let era = days / 146_097;
    let day_of_era = days % 146_097;
    let year_of_era = (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_shifted = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month_shifted + 2) / 5 + 1;
    let month = if month_shifted < 10 { month_shifted + 3 } else { month_shifted - 9 };
    let year = year_of_era + era * 400 + u64::from(month <= 2);
    format!(
        "{year:04}-{month:02}-{day:02} {:02}:{:02}:{:02}Z",
        second_of_day / 3_600,
        second_of_day / 60 % 60,
        second_of_day % 60
    )
}

#[cfg(test)]
mod tests {
    /// Guarantees: dates are right around the places where calendars break.
    #[test]
    fn moments() {
        for (unix_s, expected) in [
            (0, "1970-01-01 00:00:00Z"),
            (951_782_400, "2000-02-29 00:00:00Z"),
            (1_709_251_199, "2024-02-29 23:59:59Z"),
            (1_767_225_600, "2026-01-01 00:00:00Z"),
        ] {
            assert_eq!(super::moment(unix_s * 1_000), expected);
        }
    }

    /// Guarantees: JSON says the same and holds nothing that a terminal obeys.
    #[test]
    fn json_is_printable() {
        let value = serde_json::json!({ "text": "a\u{202e}b\u{9b}2J\u{7f}\u{1b}ä…" });
        let text = super::printable(&serde_json::to_string_pretty(&value).unwrap());
        assert!(!text.contains(['\u{202e}', '\u{9b}', '\u{7f}', '\u{1b}']) && text.contains("ä…"), "{text}");
        assert_eq!(serde_json::from_str::<serde_json::Value>(&text).unwrap(), value);
    }

    /// Guarantees: columns line up whatever the widths.
    #[test]
    fn tables() {
        let rows = [vec!["id".into(), "what".into()], vec!["inc-12".into(), "x".into()]];
        assert_eq!(super::table(&rows), "id      what\ninc-12  x");
    }
}
