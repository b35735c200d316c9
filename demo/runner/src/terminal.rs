//! Live output for people: lines that stay, and on a terminal a footer that moves.
//!
//! Standard output carries the JSON document and nothing else when that was asked for; then all of this goes to
//! standard error.

use std::{
    fmt::Write as _,
    io::{IsTerminal, Write},
};

/// Columns of a sparkline; one second each.
const SPARK_SECONDS: usize = 40;
const BARS: [char; 8] = ['▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'];

/// How a line looks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Tone {
    /// As it is.
    Plain,
    /// Less important.
    Dim,
    /// A heading.
    Bold,
    /// Something is wrong.
    Alarm,
    /// Salve does something.
    Act,
    /// It is well again.
    Good,
    /// It did not work.
    Bad,
}

impl Tone {
    /// Select Graphic Rendition (ECMA-48).
    fn code(self) -> &'static str {
        match self {
            Self::Plain => "0",
            Self::Dim => "2",
            Self::Bold => "1",
            Self::Alarm => "33",
            Self::Act => "36",
            Self::Good => "32",
            Self::Bad => "31",
        }
    }
}

/// Where lines go.
#[derive(Debug)]
pub(crate) struct Terminal {
    to_stderr: bool,
    color: bool,
    live: bool,
    footer: Vec<String>,
}

impl Terminal {
    /// `json`: standard output is taken.
    pub(crate) fn new(json: bool) -> Self {
        let tty = if json { std::io::stderr().is_terminal() } else { std::io::stdout().is_terminal() };
        // https://no-color.org
        let plain = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty())
            || std::env::var_os("TERM").is_some_and(|term| term == "dumb");
        Self { to_stderr: json, color: tty && !plain, live: tty && !plain, footer: Vec::new() }
    }

    /// Writes a line that stays.
    pub(crate) fn line(&mut self, tone: Tone, text: &str) {
        let footer = std::mem::take(&mut self.footer);
        let mut output = erase(footer.len());
        let _infallible = writeln!(output, "{}", self.painted(tone, text));
        for line in &footer {
            let _infallible = writeln!(output, "{line}");
        }
        self.footer = footer;
        self.write(&output);
    }

    /// Replaces the footer; does nothing where there is no terminal.
    pub(crate) fn footer(&mut self, lines: Vec<String>) {
        if !self.live {
            return;
        }
        let mut output = erase(self.footer.len());
        for line in &lines {
            let _infallible = writeln!(output, "{line}");
        }
        self.footer = lines;
        self.write(&output);
    }

    /// `text` in the tone's colour, if colours are wanted.
    pub(crate) fn painted(&self, tone: Tone, text: &str) -> String {
        if self.color && tone != Tone::Plain {
            format!("\u{1b}[{}m{text}\u{1b}[0m", tone.code())
        } else {
            text.to_owned()
        }
    }

    fn write(&self, text: &str) {
        // Whoever closes the pipe does not want to know.
        let _written = if self.to_stderr {
            std::io::stderr().write_all(text.as_bytes())
        } else {
            let mut stdout = std::io::stdout().lock();
            stdout.write_all(text.as_bytes()).and_then(|()| stdout.flush())
        };
    }
}

/// Goes up over `lines` lines and erases them.
fn erase(lines: usize) -> String {
    if lines == 0 { String::new() } else { format!("\u{1b}[{lines}F\u{1b}[J") }
}

/// The newest values as bars, from 0 to the largest among them, but at least `full_scale_min`.
pub(crate) fn sparkline(values: &[f64], full_scale_min: f64) -> String {
    let newest = &values[values.len().saturating_sub(SPARK_SECONDS)..];
    let largest = newest.iter().copied().fold(full_scale_min, f64::max);
    let bars = newest.iter().map(|value| {
        let share = if largest > 0.0 { (value / largest).clamp(0.0, 1.0) } else { 0.0 };
        // Truncation is meant: the top bar is for the largest value only.
        BARS[((share * BARS.len() as f64) as usize).min(BARS.len() - 1)]
    });
    let missing = SPARK_SECONDS - newest.len();
    std::iter::repeat_n(' ', missing).chain(bars).collect()
}

/// Lines up columns; the first row is the heading.
pub(crate) fn table(rows: &[Vec<String>]) -> Vec<String> {
    let columns = rows.iter().map(Vec::len).max().unwrap_or(0);
    let width = |column: usize| {
        rows.iter().filter_map(|row| row.get(column)).map(|cell| cell.chars().count()).max().unwrap_or(0)
    };
    let widths: Vec<usize> = (0..columns).map(width).collect();
    rows.iter()
        .map(|row| {
            let cells = row.iter().zip(&widths).map(|(cell, width)| format!("{cell:width$}"));
            cells.collect::<Vec<_>>().join("  ").trim_end().to_owned()
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Guarantees: the scale begins at 0, the largest value has the highest bar, and the newest stands at the right.
    #[test]
    fn sparklines() {
        assert_eq!(sparkline(&[0.0, 5.0, 10.0], 1.0).trim_start(), "▁▅█");
        assert_eq!(sparkline(&[0.0, 0.0], 1.0).trim_start(), "▁▁");
        assert_eq!(sparkline(&[1.0], 10.0).trim_start(), "▁");
        assert_eq!(sparkline(&[1.0; 100], 1.0).chars().count(), SPARK_SECONDS);
        assert_eq!(sparkline(&[], 1.0).chars().count(), SPARK_SECONDS);
    }

    /// Guarantees: columns line up by characters, not by bytes.
    #[test]
    fn tables_line_up() {
        let rows = [["fault", "heal"], ["kill", "✓ 3 s"]].map(|row| row.map(String::from).to_vec());
        assert_eq!(table(&rows), ["fault  heal", "kill   ✓ 3 s"]);
    }
}
