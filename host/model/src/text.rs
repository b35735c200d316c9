//! Text from strangers, made safe to print.

/// `text` on one line: control characters (C0, C1), line and paragraph separators and bidirectional controls are
/// written as `\u{…}`, and it is cut to `chars_max` characters with `…` at the end.
#[must_use]
pub fn escape(text: &str, chars_max: usize) -> String {
    // Most texts are.
    if text.len() <= chars_max && text.bytes().all(|byte| matches!(byte, b' '..=b'~')) {
        return text.to_owned();
    }
    let mut escaped = String::with_capacity(text.len().min(chars_max));
    for (index, character) in text.chars().enumerate() {
        if index == chars_max {
            escaped.push('…');
            break;
        }
        match character {
            '\n' => escaped.push_str("\\n"),
            '\t' => escaped.push_str("\\t"),
            '\r' => escaped.push_str("\\r"),
            _ if is_unsafe(character) => escaped.extend(character.escape_unicode()),
            _ => escaped.push(character),
        }
    }
    escaped
}

/// An error and its causes on one line, as they are: what strangers wrote in them is not escaped.
#[must_use]
pub fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(cause) = next {
        text.push_str(": ");
        text.push_str(&cause.to_string());
        next = cause.source();
    }
    text
}

/// Characters that can move the cursor, reorder or hide text.
fn is_unsafe(character: char) -> bool {
    character.is_control()
        || matches!(character,
            '\u{061c}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{feff}')
}

#[cfg(test)]
mod tests {
    use super::escape;

    /// Guarantees: nothing that strangers write can leave its line, move the cursor or reorder what people read.
    #[test]
    fn escapes_controls_and_bidi() {
        for (text, expected) in [
            ("plain ✓", "plain ✓"),
            ("a\nb\tc\r", "a\\nb\\tc\\r"),
            ("\u{1b}[31mred", "\\u{1b}[31mred"),
            ("\u{9b}31m", "\\u{9b}31m"),
            ("\u{202e}evil", "\\u{202e}evil"),
            ("abcdef", "abcd…"),
        ] {
            let chars_max = if text == "abcdef" { 4 } else { 100 };
            assert_eq!(escape(text, chars_max), expected);
        }
    }
}
