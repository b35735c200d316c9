//! Quantiles from buckets, and what was added to them between two cumulative points.

/// The value below which a share of `quantile` of the counts lies, by linear interpolation within its bucket.
///
/// `bounds`: upper bounds, rising; `counts`: one more than bounds, the last for what is above all bounds. The first bucket
/// begins at 0 if its bound is positive, else at its bound; a quantile above all bounds is given as the highest bound.
/// None without counts.
///
/// Source: the rules of Prometheus' `histogram_quantile` for classic histograms.
pub(crate) fn quantile(bounds: &[f64], counts: &[u64], quantile: f64) -> Option<f64> {
    let total: f64 = counts.iter().map(|count| *count as f64).sum();
    if total == 0.0 {
        return None;
    }
    let rank = quantile * total;
    let mut below = 0.0;
    for (index, count) in counts.iter().enumerate() {
        let count = *count as f64;
        if count > 0.0 && below + count >= rank {
            let Some(upper) = bounds.get(index) else { break };
            let lower = match index.checked_sub(1).and_then(|before| bounds.get(before)) {
                Some(lower) => *lower,
                None if *upper > 0.0 => 0.0,
                None => return Some(*upper),
            };
            return Some(lower + (upper - lower) * ((rank - below) / count));
        }
        below += count;
    }
    bounds.last().copied()
}

/// Makes `now` what was added since `before`, and `before` what `now` was. False, with both as they were, if any count would
/// fall: the histogram began anew.
pub(crate) fn advance(now: &mut [u64], before: &mut [u64]) -> bool {
    if now.len() != before.len() || now.iter().zip(&*before).any(|(now, before)| now < before) {
        return false;
    }
    for (now, before) in now.iter_mut().zip(before) {
        let added = *now - *before;
        *before = *now;
        *now = added;
    }
    true
}

/// One side of an exponential histogram.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Side {
    /// Index of the first count.
    pub(crate) offset: i32,
    pub(crate) counts: Vec<u64>,
}

impl Side {
    /// The same counts at a scale lower by `steps`: 2^`steps` neighbours become one.
    fn coarser(&self, steps: u32) -> Self {
        let shift = steps.min(31);
        let offset = self.offset >> shift;
        let mut counts: Vec<u64> = Vec::new();
        for (index, count) in (i64::from(self.offset)..).zip(&self.counts) {
            let at = usize::try_from((index >> shift) - i64::from(offset)).unwrap_or(0);
            if counts.len() <= at {
                counts.resize(at + 1, 0);
            }
            if let Some(own) = counts.get_mut(at) {
                *own = own.saturating_add(*count);
            }
        }
        Self { offset, counts }
    }

    fn subtract(&mut self, before: &Self) -> bool {
        let start = i64::from(before.offset) - i64::from(self.offset);
        let at = |index: usize| usize::try_from(start + i64::try_from(index).unwrap_or(i64::MAX)).ok();
        let fits = before.counts.iter().enumerate().all(|(index, count)| {
            *count == 0 || at(index).and_then(|at| self.counts.get(at)).is_some_and(|own| own >= count)
        });
        if fits {
            for (index, count) in before.counts.iter().enumerate() {
                if let Some(own) = at(index).and_then(|at| self.counts.get_mut(at)) {
                    *own -= count;
                }
            }
        }
        fits
    }
}

/// Counts of an exponential histogram.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Exponential {
    /// The base is 2^(2^-scale).
    pub(crate) scale: i32,
    pub(crate) zero: u64,
    pub(crate) positive: Side,
    pub(crate) negative: Side,
}

impl Exponential {
    /// Takes `before` away; false, with all as it was, if any count would fall or the scale rose: it began anew. A scale that
    /// fell is what a growing histogram does.
    pub(crate) fn subtract(&mut self, before: &Self) -> bool {
        let Ok(steps) = u32::try_from(i64::from(before.scale) - i64::from(self.scale)) else { return false };
        let (positive, negative) = (before.positive.coarser(steps), before.negative.coarser(steps));
        let was = self.clone();
        let fits = self.zero >= before.zero
            && self.positive.subtract(&positive)
            && self.negative.subtract(&negative);
        if fits {
            self.zero -= before.zero;
        } else {
            *self = was;
        }
        fits
    }

    /// The value below which a share of `quantile` of the counts lies, by geometric interpolation within its bucket. None
    /// without counts.
    ///
    /// Source: OpenTelemetry metrics data model, "exponential buckets": bucket i holds (base^i, base^(i+1)].
    pub(crate) fn quantile(&self, quantile: f64) -> Option<f64> {
        let negative =
            (i64::from(self.negative.offset)..).zip(&self.negative.counts).map(|(i, n)| (-1.0, i, *n));
        let positive =
            (i64::from(self.positive.offset)..).zip(&self.positive.counts).map(|(i, n)| (1.0, i, *n));
        let mut ordered: Vec<(f64, i64, u64)> = negative.collect();
        ordered.reverse();
        ordered.push((0.0, 0, self.zero));
        ordered.extend(positive);
        let total: f64 = ordered.iter().map(|(_, _, count)| *count as f64).sum();
        if total == 0.0 {
            return None;
        }
        let rank = quantile * total;
        let bucket_log2 = f64::from(-self.scale).exp2();
        let mut below = 0.0;
        let mut newest = None;
        for (sign, index, count) in ordered.into_iter().filter(|(_, _, count)| *count > 0) {
            let count = count as f64;
            let share = ((rank - below) / count).clamp(0.0, 1.0);
            // On the negative side the bucket runs from its far end to its near one.
            let within = if sign < 0.0 { 1.0 - share } else { share };
            newest = Some(sign * ((index as f64 + within) * bucket_log2).exp2());
            below += count;
            if below >= rank {
                break;
            }
        }
        newest
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// Guarantees: the rules of interpolation, ends included.
    #[test]
    fn explicit_quantiles() {
        let bounds = [10.0, 20.0, 40.0];
        for (counts, q, expected) in [
            ([0, 0, 0, 0], 0.5, None),
            ([10, 0, 0, 0], 0.5, Some(5.0)),
            ([10, 10, 0, 0], 0.5, Some(10.0)),
            ([10, 10, 0, 0], 0.75, Some(15.0)),
            ([0, 0, 4, 0], 0.5, Some(30.0)),
            ([1, 0, 0, 99], 0.5, Some(40.0)),
        ] {
            assert_eq!(quantile(&bounds, &counts, q), expected, "{counts:?} at {q}");
        }
        assert_eq!(quantile(&[-5.0, 5.0], &[2, 0, 0], 0.5), Some(-5.0));
        assert_eq!(quantile(&[], &[7], 0.5), None, "one bucket for all says nothing");
        assert_eq!(quantile(&[1.0], &[u64::MAX, u64::MAX], 0.9), Some(1.0), "no overflow");
    }

    fn side(offset: i32, counts: &[u64]) -> Side {
        Side { offset, counts: counts.to_vec() }
    }

    /// Guarantees: a histogram that halved its resolution is still compared with what it was.
    #[test]
    fn exponential_differences() {
        let before =
            Exponential { scale: 1, zero: 1, positive: side(-1, &[1, 2, 3, 4]), ..Exponential::default() };
        let mut now =
            Exponential { scale: 0, zero: 3, positive: side(-1, &[1, 6, 4]), ..Exponential::default() };
        assert!(now.subtract(&before));
        assert_eq!(
            now,
            Exponential { scale: 0, zero: 2, positive: side(-1, &[0, 1, 0]), ..Exponential::default() }
        );
        let mut anew = Exponential { scale: 2, zero: 9, ..Exponential::default() };
        assert!(!anew.clone().subtract(&now));
        anew.scale = 0;
        assert!(!anew.subtract(&before), "counts that vanished");
        assert_eq!(anew.zero, 9);
    }

    /// Guarantees: quantiles on both sides of zero, in order.
    #[test]
    fn exponential_quantiles() {
        let histogram = Exponential {
            scale: 0,
            zero: 2,
            positive: side(0, &[0, 4]), // (2, 4]
            negative: side(0, &[4]),    // [-2, -1)
        };
        let quantiles: Vec<f64> = [0.0, 0.2, 0.4, 0.5, 1.0].map(|q| histogram.quantile(q).unwrap()).to_vec();
        assert_eq!(quantiles, [-2.0, -(0.5_f64.exp2()), -1.0, 0.0, 4.0]);
        assert_eq!(Exponential::default().quantile(0.5), None);
    }

    proptest! {
        /// Guarantees: no counts, scales or offsets make it fail, and what is added twice is found once.
        #[test]
        fn exponential_survives(
            scale in any::<i32>(), offset in any::<i32>(), counts in prop::collection::vec(any::<u64>(), 0..20),
            other_scale in any::<i32>(), other_offset in any::<i32>(), q in 0.0_f64..=1.0,
        ) {
            let histogram = Exponential { scale, zero: 1, positive: side(offset, &counts), negative: side(other_offset, &counts) };
            let other = Exponential { scale: other_scale, ..histogram.clone() };
            let mut difference = histogram.clone();
            difference.subtract(&other);
            let mut none = histogram.clone();
            prop_assert!(none.subtract(&histogram));
            prop_assert_eq!(none.quantile(q), None);
            let _ = histogram.quantile(q);
        }
    }
}
