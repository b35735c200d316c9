//! Sentences for people.

use crate::model::Verdict;
use salve_plugin::Kind;

/// Why a point is abnormal.
pub(crate) fn reason(value: f64, kind: Kind, verdict: &Verdict) -> String {
    let Verdict { expected, lower, upper, .. } = *verdict;
    let rising = value > expected;
    let verb = match (kind, rising) {
        (Kind::LevelShift, true) => "stays above",
        (Kind::LevelShift, false) => "stays below",
        (Kind::SeasonalBreak, _) => "misses the season's",
        (_, true) => "is above",
        (_, false) => "is below",
    };
    let bound =
        if rising { format!("at most {}", short(upper)) } else { format!("at least {}", short(lower)) };
    format!("{} {verb} the expected {} ({bound} is normal)", short(value), short(expected))
        .replace("season's the expected", "season's")
}

/// Three significant digits, without trailing zeros; very large and very small numbers with an exponent.
fn short(value: f64) -> String {
    if value == 0.0 {
        return "0".into();
    }
    let magnitude = value.abs().log10().floor();
    if !(-4.0..9.0).contains(&magnitude) {
        return format!("{value:.2e}");
    }
    let decimals = (2.0 - magnitude).max(0.0) as usize;
    let text = format!("{value:.decimals$}");
    if text.contains('.') { text.trim_end_matches('0').trim_end_matches('.').to_string() } else { text }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Guarantees: three digits, whatever the size.
    #[test]
    fn numbers_are_short() {
        for (value, text) in [
            (0.0, "0"),
            (0.35, "0.35"),
            (0.123_456, "0.123"),
            (-2.0, "-2"),
            (1234.56, "1235"),
            (150.0, "150"),
            (9.999_9, "10"),
            (1e12, "1.00e12"),
            (1.5e-7, "1.50e-7"),
        ] {
            assert_eq!(short(value), text);
        }
    }

    /// Guarantees: what people read.
    #[test]
    fn sentences() {
        let verdict = Verdict {
            expected: 0.01,
            lower: -0.07,
            upper: 0.09,
            error: 0.34,
            half: 0.08,
            points: 100,
            unseasoned: false,
            abnormal: None,
        };
        insta::assert_snapshot!(reason(0.35, Kind::Point, &verdict), @"0.35 is above the expected 0.01 (at most 0.09 is normal)");
        insta::assert_snapshot!(reason(0.35, Kind::LevelShift, &verdict), @"0.35 stays above the expected 0.01 (at most 0.09 is normal)");
        insta::assert_snapshot!(reason(-0.5, Kind::SeasonalBreak, &verdict), @"-0.5 misses the season's 0.01 (at least -0.07 is normal)");
    }
}
