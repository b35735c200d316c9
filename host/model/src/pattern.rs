//! Text with `*` for any run of characters: in grants, tokens, selectors and configuration keys it means the same.

/// True if `text` is what `pattern` says, where each `*` stands for any text, none included. Everything else stands for
/// itself. Linear in `text` for each `*`; greedy with one step back, so that no pattern is slow.
#[must_use]
pub fn matches(pattern: &str, text: &str) -> bool {
    let (pattern, text) = (pattern.as_bytes(), text.as_bytes());
    let (mut at_pattern, mut at_text) = (0, 0);
    let mut star: Option<(usize, usize)> = None;
    while at_text < text.len() {
        match pattern.get(at_pattern) {
            Some(b'*') => {
                star = Some((at_pattern, at_text));
                at_pattern += 1;
            }
            Some(byte) if Some(byte) == text.get(at_text) => {
                at_pattern += 1;
                at_text += 1;
            }
            _ => match star {
                Some((star_pattern, star_text)) => {
                    star = Some((star_pattern, star_text + 1));
                    at_pattern = star_pattern + 1;
                    at_text = star_text + 1;
                }
                None => return false,
            },
        }
    }
    pattern.iter().skip(at_pattern).all(|byte| *byte == b'*')
}

/// True if there are no patterns, or one of them matches.
#[must_use]
pub fn matches_any(patterns: &[String], text: &str) -> bool {
    patterns.is_empty() || patterns.iter().any(|pattern| matches(pattern, text))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Guarantees: `*` is the only special character, and it may be anywhere.
    #[test]
    fn stars_stand_for_any_text() {
        for (pattern, text, expected) in [
            ("*", "", true),
            ("", "", true),
            ("", "a", false),
            ("salve.*", "salve.span.request_rate", true),
            ("salve.*", "salve", false),
            ("*.p95", "http.duration.p95", true),
            ("*.p95", "http.duration.p99", false),
            ("a*b*c", "aXbYbZc", true),
            ("a*b*c", "aXbYbZ", false),
            ("a.c", "abc", false),
            ("**", "x", true),
        ] {
            assert_eq!(matches(pattern, text), expected, "{pattern} on {text}");
        }
        assert!(matches_any(&[], "anything"));
        assert!(!matches_any(&["a".into()], "b"));
    }
}
