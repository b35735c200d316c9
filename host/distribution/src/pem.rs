//! Text armour of keys (RFC 7468): a label, and base64 between two lines.

use base64::{Engine, engine::general_purpose::STANDARD};

/// Longest text that is read: keys are a few hundred bytes.
pub(crate) const BYTES_MAX: usize = 64 << 10;

/// Label and content of the first block; none if there is no whole one.
pub(crate) fn decode(text: &str) -> Option<(String, Vec<u8>)> {
    if text.len() > BYTES_MAX {
        return None;
    }
    let (_, rest) = text.split_once("-----BEGIN ")?;
    let (label, rest) = rest.split_once("-----")?;
    let (body, _) = rest.split_once(&format!("-----END {label}-----"))?;
    let body: String = body.split_ascii_whitespace().collect();
    Some((label.to_owned(), STANDARD.decode(body).ok()?))
}

/// A block with lines of 64 characters.
pub(crate) fn encode(label: &str, content: &[u8]) -> String {
    let body = STANDARD.encode(content);
    let mut text = format!("-----BEGIN {label}-----\n");
    for (index, character) in body.chars().enumerate() {
        if index > 0 && index % 64 == 0 {
            text.push('\n');
        }
        text.push(character);
    }
    text.push_str(&format!("\n-----END {label}-----\n"));
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        /// Guarantees: what is written is read back; other text is refused without a panic.
        #[test]
        fn round_trip(content: Vec<u8>, noise: String) {
            prop_assert_eq!(decode(&encode("A KEY", &content)), Some(("A KEY".to_owned(), content.clone())));
            let text = format!("{noise}{}", encode("A KEY", &content));
            drop(decode(&text));
            drop(decode(&text[..text.len() - 8]));
        }
    }
}
