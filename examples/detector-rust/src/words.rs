//! Reasons, for a person.

use crate::budget::Standing;

/// One sentence: how fast, of what, by which measure.
#[must_use]
pub fn reason(standing: &Standing, budget: f64) -> String {
    let (long_s, short_s) = standing.windows_s;
    format!(
        "the error budget of {} burns {} times too fast over {} and {} times over {} (the limit is {}): {} and {} failed",
        percent(budget),
        number(standing.long_ratio / budget),
        span(long_s),
        number(standing.short_ratio / budget),
        span(short_s),
        number(standing.burn_rate),
        percent(standing.long_ratio),
        percent(standing.short_ratio),
    )
}

fn percent(ratio: f64) -> String {
    format!("{} %", number(ratio * 100.0))
}

/// Three digits that say something.
fn number(value: f64) -> String {
    let decimals = if value > 0.0 { 2 - value.log10().floor() as i32 } else { 0 };
    let mut text = format!("{value:.*}", decimals.clamp(0, 8) as usize);
    if text.contains('.') {
        text.truncate(text.trim_end_matches('0').trim_end_matches('.').len());
    }
    text
}

fn span(seconds: f64) -> String {
    match seconds {
        86_400.0.. => format!("{} d", number(seconds / 86_400.0)),
        3_600.0.. => format!("{} h", number(seconds / 3_600.0)),
        60.0.. => format!("{} min", number(seconds / 60.0)),
        _ => format!("{} s", number(seconds)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Guarantees: numbers are short and keep what they say.
    #[test]
    fn numbers_and_spans() {
        let words: Vec<_> = [0.0, 0.1, 0.00042, 1.0, 14.4, 20.83, 999.6, 1234.5].map(number).into();
        assert_eq!(words, ["0", "0.1", "0.00042", "1", "14.4", "20.8", "1000", "1234"]);
        assert_eq!([0.4, 300.0, 3_600.0, 259_200.0].map(span), ["0.4 s", "5 min", "1 h", "3 d"]);
    }
}
