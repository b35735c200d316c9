//! Lines that guests write to the log: escaped, bounded, with the plugin's name and the incident's id.

use salve_model::text::escape;
use serde::Serialize;

/// Longest message or field value, in characters.
const TEXT_CHARS_MAX: usize = 2_000;
/// Longest field name.
const NAME_CHARS_MAX: usize = 60;
/// Most fields of a line.
const FIELDS_MAX: usize = 20;
/// What a line costs of the limit besides its text: an empty line is not free.
const LINE_BYTES: u64 = 32;

/// How much a line matters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum GuestLogLevel {
    /// For authors.
    Debug,
    /// Normal.
    Info,
    /// Odd.
    Warn,
    /// Wrong.
    Error,
}

/// One line, safe to print.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct GuestLogLine {
    /// Which plugin.
    pub plugin: String,
    /// Which incident it worked on, or which detector binding it is.
    pub context: String,
    /// How much it matters.
    pub level: GuestLogLevel,
    /// What it says.
    pub message: String,
    /// Details by name.
    pub fields: Vec<(String, String)>,
}

/// Where guests' log lines go. Called on guest threads; must not wait.
pub trait LogSink: Send + Sync {
    /// Takes one line.
    fn write(&self, line: GuestLogLine);
}

/// Hands lines to `tracing`, target `salve::plugin`.
#[derive(Debug, Clone, Copy, Default)]
pub struct TracingSink;

impl LogSink for TracingSink {
    fn write(&self, line: GuestLogLine) {
        let fields =
            line.fields.iter().map(|(name, value)| format!("{name}={value}")).collect::<Vec<_>>().join(" ");
        let GuestLogLine { plugin, context, level, message, .. } = line;
        macro_rules! emit {
            ($level:ident) => {
                tracing::$level!(target: "salve::plugin", %plugin, %context, %fields, "{message}")
            };
        }
        match level {
            GuestLogLevel::Debug => emit!(debug),
            GuestLogLevel::Info => emit!(info),
            GuestLogLevel::Warn => emit!(warn),
            GuestLogLevel::Error => emit!(error),
        }
    }
}

/// What is left of a call's log limit.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct LogBudget {
    left_bytes: u64,
    /// Lines written in this call.
    pub(crate) lines: u64,
    /// Lines dropped in this call.
    pub(crate) dropped: u64,
}

impl LogBudget {
    pub(crate) fn new(limit_bytes: u64) -> Self {
        Self { left_bytes: limit_bytes, lines: 0, dropped: 0 }
    }

    /// Makes a line, or counts it as dropped.
    pub(crate) fn line(
        &mut self,
        plugin: &str,
        context: &str,
        level: GuestLogLevel,
        message: &str,
        fields: &[(String, String)],
    ) -> Option<GuestLogLine> {
        let text: usize =
            message.len() + fields.iter().map(|(name, value)| name.len() + value.len()).sum::<usize>();
        let cost = LINE_BYTES + u64::try_from(text).unwrap_or(u64::MAX / 2);
        let Some(left_bytes) = self.left_bytes.checked_sub(cost) else {
            self.dropped += 1;
            return None;
        };
        self.left_bytes = left_bytes;
        self.lines += 1;
        Some(GuestLogLine {
            plugin: plugin.to_owned(),
            context: context.to_owned(),
            level,
            message: escape(message, TEXT_CHARS_MAX),
            fields: fields
                .iter()
                .take(FIELDS_MAX)
                .map(|(name, value)| (escape(name, NAME_CHARS_MAX), escape(value, TEXT_CHARS_MAX)))
                .collect(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Guarantees: text over the limit is dropped and counted, empty lines are not free, and nothing that a guest
    /// writes leaves its line.
    #[test]
    fn bounded_and_escaped() {
        let mut budget = LogBudget::new(100);
        let line =
            budget.line("p", "inc-1", GuestLogLevel::Info, "a\nb", &[("k\u{202e}".into(), "v\r".into())]);
        let line = line.unwrap();
        assert_eq!(line.message, "a\\nb");
        assert_eq!(line.fields, [("k\\u{202e}".to_owned(), "v\\r".to_owned())]);
        assert!(budget.line("p", "", GuestLogLevel::Info, &"x".repeat(100), &[]).is_none());
        assert!(budget.line("p", "", GuestLogLevel::Info, "", &[]).is_some());
        assert!(budget.line("p", "", GuestLogLevel::Info, "", &[]).is_none());
        assert_eq!((budget.lines, budget.dropped), (2, 2));
    }
}
