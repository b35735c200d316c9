//! Times as Kubernetes writes them.

/// Unix nanoseconds of a time such as `2026-01-31T23:59:59Z`: RFC 3339 in UTC without fractions, as `metav1.Time` has it. None for all else.
///
/// Days by the algorithm `days_from_civil` of H. Hinnant, "chrono-Compatible Low-Level Date Algorithms" (2013).
#[must_use]
pub fn unix_ns(text: &str) -> Option<u64> {
    let shape = text.len() == 20
        && text.bytes().zip(b"0000-00-00T00:00:00Z").all(|(byte, place)| match place {
            b'0' => byte.is_ascii_digit(),
            separator => byte == *separator,
        });
    let number = |from: usize, to: usize| text.get(from..to)?.parse::<u64>().ok();
    let (year, month, day) = (number(0, 4)?, number(5, 7)?, number(8, 10)?);
    let (hour, minute, second) = (number(11, 13)?, number(14, 16)?, number(17, 19)?);
    let exists =
        (1..=12).contains(&month) && (1..=31).contains(&day) && hour < 24 && minute < 60 && second < 61;
    if !shape || !exists || year < 1970 {
        return None;
    }
    // Years begin in March, so that the day that comes every four years is a year's last.
    let year = if month <= 2 { year - 1 } else { year };
    let (era, year_of_era) = (year / 400, year % 400);
    let day_of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    let day_of_era = year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year;
    let days = (era * 146_097 + day_of_era).checked_sub(719_468)?;
    (days * 86_400 + hour * 3_600 + minute * 60 + second).checked_mul(1_000_000_000)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Guarantees: known times, leap days among them, and nothing for what is no such time.
    #[test]
    fn times() {
        for (text, seconds) in [
            ("1970-01-01T00:00:00Z", 0),
            ("2000-02-29T12:00:00Z", 951_825_600),
            ("2026-01-01T00:00:00Z", 1_767_225_600),
            ("2100-03-01T00:00:00Z", 4_107_542_400),
        ] {
            assert_eq!(unix_ns(text), Some(seconds * 1_000_000_000), "{text}");
        }
        for text in [
            "",
            "2026-01-01",
            "2026-01-01T00:00:00+01:00",
            "2026-13-01T00:00:00Z",
            "2026-00-01T00:00:00Z",
            "ü026-01-01T00:00:00Z",
        ] {
            assert_eq!(unix_ns(text), None, "{text}");
        }
    }
}
