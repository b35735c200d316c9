//! How many orders a second customers place: a day compressed into seconds, with noise. No clock, no I/O.

/// Weight of the past in the noise, per second; the rest is fresh.
const NOISE_MEMORY: f64 = 0.8;
/// Standard deviation of the fresh part of the noise (logarithmic).
const NOISE_SIGMA: f64 = 0.04;

/// The rate of orders over time.
#[derive(Debug, Clone)]
pub(crate) struct Rhythm {
    /// Mean rate.
    pub orders_per_second: f64,
    /// Length of a "day", in seconds.
    pub period_seconds: f64,
    /// How far the rate swings around its mean, 0 to 1.
    pub swing: f64,
    noise: f64,
    noise_second: u64,
}

impl Rhythm {
    /// A rhythm without noise so far.
    pub(crate) fn new(orders_per_second: f64, period_seconds: f64, swing: f64) -> Self {
        Self { orders_per_second, period_seconds, swing, noise: 0.0, noise_second: 0 }
    }

    /// Orders a second, `seconds` after the start. Call it with times that do not go back.
    pub(crate) fn rate(&mut self, seconds: f64, random: &mut fastrand::Rng) -> f64 {
        while (self.noise_second as f64) < seconds {
            self.noise = NOISE_MEMORY * self.noise + NOISE_SIGMA * normal(random);
            self.noise_second += 1;
        }
        let day = (seconds / self.period_seconds * std::f64::consts::TAU).sin();
        self.orders_per_second * (1.0 + self.swing * day) * self.noise.exp()
    }
}

/// Time in which a surge comes about, or ends, to 63 %: crowds do not appear at once.
const SURGE_SECONDS: f64 = 1.5;

/// The multiplier `seconds` later, on its way from `current` to `target`.
pub(crate) fn ease(current: f64, target: f64, seconds: f64) -> f64 {
    target + (current - target) * (-seconds / SURGE_SECONDS).exp()
}

/// Seconds until the next order of a Poisson process with this rate; at most one, so that a change of rate is noticed.
pub(crate) fn pause_seconds(rate: f64, random: &mut fastrand::Rng) -> Option<f64> {
    let pause = -(1.0 - random.f64()).ln() / rate.max(1e-9);
    // Memoryless: a pause that is cut off may as well be drawn anew.
    (pause <= 1.0).then_some(pause)
}

/// Standard normal: the sum of twelve uniform numbers, less six (central limit theorem; tails end at ±6).
fn normal(random: &mut fastrand::Rng) -> f64 {
    (0..12).map(|_| random.f64()).sum::<f64>() - 6.0
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Guarantees: the same seed gives the same customers; another one gives others.
    #[test]
    fn repeats_by_seed() {
        let draw = |seed| {
            let mut random = fastrand::Rng::with_seed(seed);
            let mut rhythm = Rhythm::new(40.0, 20.0, 0.35);
            (0..100).map(|second| rhythm.rate(f64::from(second), &mut random).to_bits()).collect::<Vec<_>>()
        };
        assert_eq!(draw(1), draw(1));
        assert_ne!(draw(1), draw(2));
    }

    /// Guarantees: the mean is kept, day and night differ, and the rate stays positive.
    #[test]
    fn swings_around_its_mean() {
        let mut random = fastrand::Rng::with_seed(7);
        let mut rhythm = Rhythm::new(40.0, 20.0, 0.35);
        let rates: Vec<f64> = (0..2_000).map(|second| rhythm.rate(f64::from(second), &mut random)).collect();
        let mean = rates.iter().sum::<f64>() / rates.len() as f64;
        assert!((38.0..42.0).contains(&mean), "{mean}");
        let (noon, night) = (rates[5], rates[15]);
        assert!(noon > 1.5 * night, "{noon} {night}");
        assert!(rates.iter().all(|rate| *rate > 0.0));
    }

    /// Guarantees: a surge comes about in a few seconds, without a step, and stops at what was asked for.
    #[test]
    fn surges_come_gradually() {
        assert_eq!(ease(1.0, 2.5, 0.0), 1.0);
        assert!((1.4..1.5).contains(&ease(1.0, 2.5, 0.5)));
        assert!((2.49..2.5).contains(&ease(1.0, 2.5, 10.0)));
    }

    /// Guarantees: pauses have the mean that the rate says, those cut off counted as a second.
    #[test]
    fn pauses_fit_the_rate() {
        let mut random = fastrand::Rng::with_seed(7);
        let pauses: f64 = (0..20_000).map(|_| pause_seconds(50.0, &mut random).unwrap_or(1.0)).sum();
        assert!((0.019..0.021).contains(&(pauses / 20_000.0)));
        assert_eq!(pause_seconds(0.0, &mut random), None);
    }
}
