//! Words for messages.

/// From serde's "unknown field `x`, expected one of `a`, `b`": the known name nearest to `x`.
pub(crate) fn nearest_key(message: &str) -> Option<String> {
    let (_, rest) =
        message.split_once("unknown field `").or_else(|| message.split_once("unknown variant `"))?;
    let (unknown, rest) = rest.split_once('`')?;
    let known: Vec<_> = rest.split('`').skip(1).step_by(2).collect();
    let (similarity, name) = known
        .iter()
        .map(|name| (strsim::jaro_winkler(unknown, name), name))
        .max_by(|left, right| left.0.total_cmp(&right.0))?;
    Some(if similarity > 0.7 {
        format!("Did you mean `{name}` instead of `{unknown}`?")
    } else {
        format!("Known are {}.", known.join(", "))
    })
}

/// Bytes as people read them.
#[must_use]
pub fn size(bytes: u64) -> String {
    match bytes {
        0..10_240 => format!("{bytes} bytes"),
        10_240..10_485_760 => format!("{} KiB", bytes >> 10),
        _ => format!("{} MiB", bytes >> 20),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Guarantees: a misspelt key gets the known one that is nearest, any other the list.
    #[test]
    fn nearest() {
        for (message, expected) in [
            (
                "unknown field `incidnet`, expected one of `incident`, `world` at line 1",
                Some("Did you mean `incident`"),
            ),
            ("unknown field `q`, expected `incident` or `world`", Some("Known are incident, world")),
            ("missing field `call`", None),
        ] {
            let hint = nearest_key(message);
            assert_eq!(hint.is_some(), expected.is_some(), "{message}");
            assert!(hint.unwrap_or_default().starts_with(expected.unwrap_or_default()), "{message}");
        }
    }
}
