//! Quantiles of durations with a bounded relative error, in little memory, that can be added up.
//!
//! Source: C. Masson, J. E. Rim, H. K. Lee, "DDSketch: A Fast and Fully-Mergeable Quantile Sketch with Relative-Error
//! Guarantees", PVLDB 12 (12), 2019, section 2. Values below [`SMALLEST`] count as that value, so the number of bins is
//! bounded without collapsing any.

/// Relative error of a quantile: 2 % is below what a person would call a change.
pub(crate) const RELATIVE_ERROR: f64 = 0.02;
/// A microsecond, in milliseconds: shorter spans are noise of the clock.
const SMALLEST: f64 = 0.001;
/// A year, in milliseconds: longer spans are mistakes.
const LARGEST: f64 = 3.2e10;

/// How many values fell into each logarithmic bin.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Sketch {
    /// Bin and count, by bin; only bins with a count.
    bins: Vec<(i16, u32)>,
}

impl Sketch {
    /// Counts a value, in milliseconds.
    pub(crate) fn add(&mut self, value: f64) {
        let bin = bin_of(value);
        match self.bins.binary_search_by_key(&bin, |(bin, _)| *bin) {
            Ok(at) => {
                if let Some((_, count)) = self.bins.get_mut(at) {
                    *count = count.saturating_add(1);
                }
            }
            Err(at) => self.bins.insert(at, (bin, 1)),
        }
    }

    /// Adds the counts of another sketch.
    pub(crate) fn merge(&mut self, other: &Self) {
        for (bin, count) in &other.bins {
            match self.bins.binary_search_by_key(bin, |(bin, _)| *bin) {
                Ok(at) => {
                    if let Some((_, own)) = self.bins.get_mut(at) {
                        *own = own.saturating_add(*count);
                    }
                }
                Err(at) => self.bins.insert(at, (*bin, *count)),
            }
        }
    }

    /// The value below which a share of `quantile` (0 to 1) lies, within [`RELATIVE_ERROR`]; none if nothing was added.
    pub(crate) fn quantile(&self, quantile: f64) -> Option<f64> {
        let total: u64 = self.bins.iter().map(|(_, count)| u64::from(*count)).sum();
        let rank = quantile * total.checked_sub(1)? as f64;
        let mut below = 0_u64;
        for (bin, count) in &self.bins {
            below += u64::from(*count);
            if below as f64 > rank {
                return Some(value_of(*bin));
            }
        }
        self.bins.last().map(|(bin, _)| value_of(*bin))
    }

    /// Gives slack back.
    pub(crate) fn shrink(&mut self) {
        self.bins.shrink_to_fit();
    }

    /// Forgets everything, memory included.
    pub(crate) fn clear(&mut self) {
        self.bins = Vec::new();
    }

    /// Bytes on the heap.
    pub(crate) fn heap_bytes(&self) -> usize {
        self.bins.capacity() * size_of::<(i16, u32)>()
    }
}

/// Ratio of the ends of a bin.
fn gamma() -> f64 {
    (1.0 + RELATIVE_ERROR) / (1.0 - RELATIVE_ERROR)
}

fn bin_of(value: f64) -> i16 {
    let value = if value.is_finite() { value.clamp(SMALLEST, LARGEST) } else { LARGEST };
    #[expect(clippy::cast_possible_truncation, reason = "within ±800 for values within the clamp")]
    let bin = (value.ln() / gamma().ln()).ceil() as i16;
    bin
}

fn value_of(bin: i16) -> f64 {
    2.0 * gamma().powi(bin.into()) / (gamma() + 1.0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        /// Guarantees: the relative error that the paper proves, for every quantile, also after merging.
        #[test]
        fn relative_error(values in prop::collection::vec(0.002_f64..1.0e9, 1..300), quantile in 0.0_f64..=1.0, cut in 0_usize..300) {
            let mut sketches = [Sketch::default(), Sketch::default()];
            for (index, value) in values.iter().enumerate() {
                sketches[usize::from(index >= cut)].add(*value);
            }
            let [mut sketch, other] = sketches;
            sketch.merge(&other);
            let mut sorted = values.clone();
            sorted.sort_by(f64::total_cmp);
            let exact = sorted[(quantile * (sorted.len() - 1) as f64).floor() as usize];
            let estimate = sketch.quantile(quantile).unwrap();
            prop_assert!((estimate - exact).abs() <= exact * RELATIVE_ERROR * 1.0001, "{estimate} for {exact}");
        }
    }

    /// Guarantees: nothing gives nothing, and no value makes it fail or grow without end.
    #[test]
    fn edges() {
        assert_eq!(Sketch::default().quantile(0.5), None);
        let mut sketch = Sketch::default();
        for value in [0.0, -1.0, f64::NAN, f64::INFINITY, f64::MAX, f64::MIN_POSITIVE] {
            sketch.add(value);
        }
        assert!(sketch.bins.len() <= 2);
        assert!(sketch.quantile(1.0).unwrap().is_finite());
    }
}
