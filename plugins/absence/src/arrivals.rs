//! When the points of one series arrive: usual interval, and the silences that are its habit.

use salve_plugin::{
    codec::{Reader, Writer},
    series::Persist,
};
use serde::Deserialize;

/// Gain of the mean interval once the history is long.
const INTERVAL_SMOOTHING: f64 = 0.05;

/// An interval counts at most this many times the mean, so that one silence does not double it.
const INTERVAL_CUT: f64 = 3.0;

/// Gain of the mean length of silences and of the mean number of points between them.
const HABIT_SMOOTHING: f64 = 0.3;

/// A burst of points is like the usual one if it is within this factor of it.
const HABIT_FACTOR: f64 = 2.0;

/// No time in milliseconds is longer, and no number of points greater.
const NUMBER_MAX: f64 = u64::MAX as f64;

/// Parameters of one binding.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Parameters {
    /// Usual intervals without a point after which the series is missing.
    pub k: f64,
    /// It is not missing before this, in milliseconds.
    pub minimum_ms: u64,
    /// Points before anything is observed; confidence is then 0.5 and grows towards 1.
    pub warmup_points: u32,
    /// Silence after which the series counts as ended, in milliseconds.
    pub forget_after_ms: u64,
    /// Silences after bursts of like length that make a habit; 0: there are no habits.
    pub habit_silences: u8,
    /// From one batch to the next at most so much time counts, in milliseconds.
    pub batch_gap_max_ms: u64,
}

impl Default for Parameters {
    fn default() -> Self {
        Self {
            k: 4.0,
            minimum_ms: 3_000,
            warmup_points: 10,
            forget_after_ms: 3_600_000,
            habit_silences: 3,
            batch_gap_max_ms: 30_000,
        }
    }
}

impl Parameters {
    /// Checks what a schema cannot say.
    ///
    /// # Errors
    /// The parameter that makes no sense, its value, and what would.
    pub fn check(&self) -> Result<(), String> {
        if !(1.5..=1e6).contains(&self.k) {
            return Err(format!("`k` is {}; it must be from 1.5 to 1000000", self.k));
        }
        if self.batch_gap_max_ms == 0 {
            return Err("`batch_gap_max_ms` is 0; it must be at least the time between two batches".into());
        }
        Ok(())
    }
}

/// What is known of one series.
#[derive(Debug, Clone, PartialEq)]
pub struct Arrivals {
    /// Its group of peers.
    pub group: u32,
    points: u32,
    last_ms: u64,
    interval_ms: f64,
    /// Points since the last silence, and what is usual between two.
    burst: u32,
    burst_usual: f64,
    /// Usual length of a silence.
    silence_ms: f64,
    /// Silences in a row after like bursts.
    silences: u8,
}

/// A series is missing.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Silence {
    /// Since the last point.
    pub elapsed_ms: f64,
    /// Usual from one point to the next.
    pub interval_ms: f64,
    /// From here on it is missing.
    pub allowed_ms: f64,
    /// 0.5 at `allowed_ms`, towards 1 later.
    pub score: f32,
    /// 0 to 1.
    pub confidence: f32,
}

impl Arrivals {
    /// A series without points.
    #[must_use]
    pub fn new(group: u32) -> Self {
        Self {
            group,
            points: 0,
            last_ms: 0,
            interval_ms: 0.0,
            burst: 0,
            burst_usual: 0.0,
            silence_ms: 0.0,
            silences: 0,
        }
    }

    /// Whether no point has come yet.
    #[must_use]
    pub fn is_new(&self) -> bool {
        self.points == 0
    }

    /// When the last point came.
    #[must_use]
    pub fn last_ms(&self) -> u64 {
        self.last_ms
    }

    /// `count` points came at once.
    pub fn arrive(&mut self, parameters: &Parameters, now_ms: u64, count: usize) {
        let count = u32::try_from(count).unwrap_or(u32::MAX);
        if count == 0 {
            return;
        }
        if self.points > 0 {
            let elapsed_ms = now_ms.saturating_sub(self.last_ms) as f64;
            if self.is_silent(parameters, elapsed_ms) {
                self.end_silence(elapsed_ms);
            } else {
                let interval_ms = elapsed_ms / f64::from(count);
                // Points of one moment came late together; they say nothing about the interval.
                if self.interval_ms == 0.0 {
                    self.interval_ms = interval_ms;
                } else if interval_ms > 0.0 {
                    let gain = INTERVAL_SMOOTHING.max(1.0 / f64::from(self.points));
                    let cut = INTERVAL_CUT * self.interval_ms;
                    self.interval_ms += gain * (interval_ms.min(cut) - self.interval_ms);
                }
            }
        }
        self.points = self.points.saturating_add(count);
        self.burst = self.burst.saturating_add(count);
        self.last_ms = now_ms;
    }

    fn plain_allowed_ms(&self, parameters: &Parameters) -> f64 {
        (parameters.k * self.interval_ms).max(parameters.minimum_ms as f64)
    }

    fn is_silent(&self, parameters: &Parameters, elapsed_ms: f64) -> bool {
        self.points >= parameters.warmup_points && elapsed_ms > self.plain_allowed_ms(parameters)
    }

    fn end_silence(&mut self, elapsed_ms: f64) {
        let burst = f64::from(self.burst);
        let alike = self.burst_usual > 0.0
            && (self.burst_usual / HABIT_FACTOR..=self.burst_usual * HABIT_FACTOR).contains(&burst);
        if alike {
            self.silences = self.silences.saturating_add(1);
            self.burst_usual += HABIT_SMOOTHING * (burst - self.burst_usual);
            self.silence_ms += HABIT_SMOOTHING * (elapsed_ms - self.silence_ms);
        } else {
            self.silences = 1;
            self.burst_usual = burst;
            self.silence_ms = elapsed_ms;
        }
        self.burst = 0;
    }

    /// How long the series has been missing, if it is.
    #[must_use]
    pub fn silence(&self, parameters: &Parameters, now_ms: u64) -> Option<Silence> {
        let elapsed_ms = now_ms.saturating_sub(self.last_ms) as f64;
        if !self.is_silent(parameters, elapsed_ms) || elapsed_ms > parameters.forget_after_ms as f64 {
            return None;
        }
        let mut allowed_ms = self.plain_allowed_ms(parameters);
        let is_habit = parameters.habit_silences > 0 && self.silences >= parameters.habit_silences;
        if is_habit && f64::from(self.burst) * HABIT_FACTOR >= self.burst_usual {
            allowed_ms = allowed_ms.max(HABIT_FACTOR * self.silence_ms);
        }
        if elapsed_ms <= allowed_ms {
            return None;
        }
        let points = f64::from(self.points);
        Some(Silence {
            elapsed_ms,
            interval_ms: self.interval_ms,
            allowed_ms,
            score: (1.0 - (-elapsed_ms / allowed_ms).exp2()) as f32,
            confidence: (points / (points + f64::from(parameters.warmup_points.max(1)))) as f32,
        })
    }
}

impl Persist for Arrivals {
    fn write(&self, to: &mut Writer) {
        to.u32(self.points);
        to.u64(self.last_ms);
        to.f64(self.interval_ms);
        to.u32(self.burst);
        to.f64(self.burst_usual);
        to.f64(self.silence_ms);
        to.u8(self.silences);
    }

    fn read(from: &mut Reader<'_>) -> Result<Self, String> {
        // What no series can have would grow beyond what is finite, and then no snapshot could be taken.
        let known = |from: &mut Reader<'_>| Ok::<_, String>(from.finite()?.clamp(0.0, NUMBER_MAX));
        Ok(Self {
            group: 0,
            points: from.u32()?,
            last_ms: from.u64()?,
            interval_ms: known(from)?,
            burst: from.u32()?,
            burst_usual: known(from)?,
            silence_ms: known(from)?,
            silences: from.u8()?,
        })
    }
}
