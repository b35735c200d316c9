//! Arithmetic that is cheap in WebAssembly.
//!
//! `f64::max` and `f64::min` are calls there, since WebAssembly's own instructions treat NaN in another way. Where neither
//! side can be NaN, a comparison does the same in one instruction; in a detector's inner loop that is a fifth of its time.
//! Both compare with `<`, which the host's compiler turns into the processor's own maximum and minimum; `>` and
//! `f64::clamp` become branches. Write a constant on the right: on the left, Rust's compiler turns the comparison round.

/// `value`, or `least` if that is larger. With NaN on the left, NaN.
#[inline]
#[must_use]
pub fn at_least(value: f64, least: f64) -> f64 {
    if value < least { least } else { value }
}

/// `value`, or `most` if that is smaller. With NaN on the left, `most`.
#[inline]
#[must_use]
pub fn at_most(value: f64, most: f64) -> f64 {
    if value < most { value } else { most }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Guarantees: what `max` and `min` say of numbers, infinities included.
    #[test]
    fn as_max_and_min() {
        let numbers = [f64::NEG_INFINITY, -1.5, 0.0, 2.5, f64::INFINITY];
        for left in numbers {
            for right in numbers {
                assert_eq!(at_least(left, right), left.max(right));
                assert_eq!(at_most(left, right), left.min(right));
            }
        }
        assert!(at_least(f64::NAN, 1.0).is_nan());
        assert_eq!(at_most(f64::NAN, 1.0), 1.0);
    }
}
