//! How much of its error budget one series has spent, and when.
//!
//! A point of ratio `r` that stands for `t` seconds spends `r × t`. What was spent goes into rings of buckets, one ring for each rule, and
//! a window's burn rate is what was spent in it, by its length, by the budget.
//!
//! ## What always holds
//! - a point costs the same whatever came before: a ring has five buckets for each short window in a long one, and one more
//! - time that was not seen spends nothing: gaps, the time before the first point, late points
//! - a series that has spent nothing within its windows has no buckets
//! - a window slides with time, not by buckets: the oldest bucket counts by the share of it that is still inside

use crate::parameters::Parameters;
use salve_plugin::{
    codec::{Reader, Writer},
    series::Persist,
};

/// Buckets in a short window.
const SHORT_BUCKETS: u64 = 5;

/// Most buckets that a snapshot can hold for a series, whatever the rules: four rings.
const BUCKETS_MAX: u32 = 4 * (100 * SHORT_BUCKETS as u32 + 1);

const NS_PER_MS: u64 = 1_000_000;
const NS_PER_S: f64 = 1e9;

/// The rules of a binding, as budgets are kept for them.
#[derive(Debug, Clone, PartialEq)]
pub struct Windows {
    rings: Vec<Ring>,
    buckets: usize,
    /// Share of requests that may fail.
    pub budget: f64,
    failing_points_min: u32,
    interval_max_ns: u64,
}

/// One rule and where its buckets lie.
#[derive(Debug, Clone, PartialEq)]
struct Ring {
    offset: usize,
    bucket_ns: u64,
    /// Buckets in the long window; the ring has one more, for the share of it that is still inside.
    long_buckets: u64,
    long_s: f64,
    short_s: f64,
    burn_rate: f64,
}

impl Ring {
    /// The bucket of a time. A point stands for the time before it, so one on the edge belongs to the bucket that ends there.
    fn number(&self, time_ns: u64) -> u64 {
        time_ns.saturating_sub(1) / self.bucket_ns
    }

    fn slot(&self, number: u64) -> usize {
        self.offset + (number % (self.long_buckets + 1)) as usize
    }
}

impl Windows {
    /// From checked parameters.
    #[must_use]
    pub fn new(parameters: &Parameters) -> Self {
        let mut buckets = 0;
        let ring = |rule: &crate::parameters::Rule| {
            let long_buckets = SHORT_BUCKETS * (rule.long_ms / rule.short_ms);
            let offset = buckets;
            buckets += long_buckets as usize + 1;
            Ring {
                offset,
                bucket_ns: rule.short_ms * NS_PER_MS / SHORT_BUCKETS,
                long_buckets,
                long_s: rule.long_ms as f64 / 1e3,
                short_s: rule.short_ms as f64 / 1e3,
                burn_rate: rule.burn_rate,
            }
        };
        let rings = parameters.rules.iter().map(ring).collect();
        Self {
            rings,
            buckets,
            budget: parameters.budget(),
            failing_points_min: parameters.failing_points_min,
            interval_max_ns: parameters.interval_max_ms.saturating_mul(NS_PER_MS),
        }
    }
}

/// What was spent in one stretch of time.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
struct Bucket {
    /// Seconds of failing: ratio by time.
    spent_s: f32,
    /// Points above the budget.
    failing: u32,
}

/// How fast the budget burns by one rule.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Standing {
    /// Mean ratio over the long window, in which time that was not seen is without failures.
    pub long_ratio: f64,
    /// The same over the short one.
    pub short_ratio: f64,
    /// The rule's windows, in seconds.
    pub windows_s: (f64, f64),
    /// The rule's limit.
    pub burn_rate: f64,
    /// The slower of both windows, as a multiple of the limit: 1 is where the rule alerts.
    pub excess: f64,
    /// How much of the long window the series has lived through, 0 to 1.
    pub known: f64,
}

/// What one series has spent.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Budget {
    /// Times of the first and of the newest point; 0: there was none.
    first_ns: u64,
    last_ns: u64,
    /// All rings, one after the other. Empty: nothing was spent.
    buckets: Vec<Bucket>,
}

impl Budget {
    /// Takes a point; `now_ns` is the host's clock. Gives false if it is no newer than one before: the points around it have
    /// stood for its time.
    pub fn take(
        &mut self,
        windows: &Windows,
        now_ns: u64,
        time_ns: u64,
        ratio: f64,
        after_gap: bool,
    ) -> bool {
        // A sender whose clock is ahead would push everything out of the windows.
        let time_ns = time_ns.min(now_ns);
        if self.last_ns > now_ns {
            // The host's own clock went back: what is known lies in a future that is yet to come.
            *self = Self::default();
        }
        if self.last_ns == 0 {
            (self.first_ns, self.last_ns) = (time_ns, time_ns);
            return true;
        }
        if time_ns <= self.last_ns {
            return false;
        }
        let stands_for_ns = if after_gap { 0 } else { (time_ns - self.last_ns).min(windows.interval_max_ns) };
        self.advance(windows, time_ns);
        let spent_s = ratio * stands_for_ns as f64 / NS_PER_S;
        if spent_s > 0.0 {
            self.spend(
                windows,
                Bucket { spent_s: spent_s as f32, failing: u32::from(ratio > windows.budget) },
            );
        }
        true
    }

    /// Moves on to a time, and forgets what has left the windows.
    fn advance(&mut self, windows: &Windows, time_ns: u64) {
        let last_ns = std::mem::replace(&mut self.last_ns, time_ns);
        if self.buckets.is_empty() {
            return;
        }
        let mut moved = false;
        for ring in &windows.rings {
            let (from, to) = (ring.number(last_ns), ring.number(time_ns));
            let fresh = (to - from).min(ring.long_buckets + 1);
            for number in to - fresh..to {
                self.buckets[ring.slot(number + 1)] = Bucket::default();
            }
            moved |= fresh > 0;
        }
        if moved && self.buckets.iter().all(|bucket| *bucket == Bucket::default()) {
            self.buckets = Vec::new();
        }
    }

    fn spend(&mut self, windows: &Windows, spent: Bucket) {
        if self.buckets.is_empty() {
            self.buckets = vec![Bucket::default(); windows.buckets];
        }
        for ring in &windows.rings {
            let bucket = &mut self.buckets[ring.slot(ring.number(self.last_ns))];
            bucket.spent_s += spent.spent_s;
            bucket.failing = bucket.failing.saturating_add(spent.failing);
        }
    }

    /// Seconds of failing, and failing points, in the newest `count` buckets' time.
    fn spent(&self, ring: &Ring, count: u64) -> (f64, u32) {
        if self.buckets.is_empty() {
            return (0.0, 0);
        }
        let newest = ring.number(self.last_ns);
        let begun = (self.last_ns - newest * ring.bucket_ns) as f64 / ring.bucket_ns as f64;
        let mut sum = (0.0, 0_u32);
        for back in 0..=count.min(newest) {
            let bucket = self.buckets[ring.slot(newest - back)];
            let inside = if back == count { 1.0 - begun } else { 1.0 };
            sum.0 += f64::from(bucket.spent_s) * inside;
            sum.1 = sum.1.saturating_add(bucket.failing);
        }
        sum
    }

    /// Where the series stands by the rule that is nearest to its limit, or furthest beyond it.
    #[must_use]
    pub fn standing(&self, windows: &Windows) -> Standing {
        let mut worst: Option<Standing> = None;
        for ring in &windows.rings {
            let (long_spent_s, failing) = self.spent(ring, ring.long_buckets);
            let (short_spent_s, _) = self.spent(ring, SHORT_BUCKETS);
            let (long_ratio, short_ratio) = (long_spent_s / ring.long_s, short_spent_s / ring.short_s);
            let burn = long_ratio.min(short_ratio) / windows.budget / ring.burn_rate;
            let enough = failing >= windows.failing_points_min;
            let known_s = (self.last_ns - self.first_ns.min(self.last_ns)) as f64 / NS_PER_S;
            let standing = Standing {
                long_ratio,
                short_ratio,
                windows_s: (ring.long_s, ring.short_s),
                burn_rate: ring.burn_rate,
                // Few points, however bad, come near to the limit and not beyond it.
                excess: if enough { burn } else { burn.min(0.99) },
                known: (known_s / ring.long_s).min(1.0),
            };
            if worst.is_none_or(|worst| standing.excess > worst.excess) {
                worst = Some(standing);
            }
        }
        // Parameters without rules are refused.
        worst.unwrap_or(Standing {
            long_ratio: 0.0,
            short_ratio: 0.0,
            windows_s: (0.0, 0.0),
            burn_rate: 1.0,
            excess: 0.0,
            known: 0.0,
        })
    }

    /// Fits what came from a snapshot to these rules. If it is of others, what was spent is not known.
    pub fn fit(&mut self, windows: &Windows) {
        if !self.buckets.is_empty() && self.buckets.len() != windows.buckets {
            *self = Self::default();
        }
    }

    /// Whether it keeps buckets.
    #[must_use]
    pub fn has_spent(&self) -> bool {
        !self.buckets.is_empty()
    }
}

impl Persist for Budget {
    fn write(&self, to: &mut Writer) {
        to.u64(self.first_ns);
        to.u64(self.last_ns);
        to.u32(self.buckets.len() as u32);
        for bucket in &self.buckets {
            to.f32(bucket.spent_s);
            to.u32(bucket.failing);
        }
    }

    fn read(from: &mut Reader<'_>) -> Result<Self, String> {
        let (first_ns, last_ns, count) = (from.u64()?, from.u64()?, from.u32()?);
        if count > BUCKETS_MAX {
            return Err(format!("the snapshot has {count} buckets for a series; {BUCKETS_MAX} are the most"));
        }
        let mut buckets = Vec::with_capacity(count as usize);
        for _ in 0..count {
            let bucket = Bucket { spent_s: from.f32()?, failing: from.u32()? };
            if !(0.0..1e10).contains(&bucket.spent_s) {
                return Err(format!("the snapshot has a bucket in which {} s were spent", bucket.spent_s));
            }
            buckets.push(bucket);
        }
        Ok(Self { first_ns, last_ns, buckets })
    }
}
