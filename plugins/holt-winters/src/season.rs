//! The seasonal part of one series: [`BUCKETS`] deviations from the level, learned from two whole seasons.
//!
//! The start is classical additive decomposition (Hyndman and Athanasopoulos, "Forecasting: Principles and Practice",
//! 3rd ed., section 3.4) without its trend: means of buckets minus the mean of all buckets. Between bucket centres the
//! season is interpolated, so that it has no steps.

use salve_plugin::codec::{Reader, Writer};

/// Parts into which a season is cut.
pub const BUCKETS: usize = 48;

/// Seasons that must have been seen before the season is used.
const SEASONS_MIN: u64 = 2;

/// Values a bucket's mean weighs at most; later ones count for more.
const COUNT_MAX: u8 = 100;

/// Deviations stay within this, so that sums are finite.
const DEVIATION_MAX: f32 = 1e30;

/// See the module.
#[derive(Debug, Clone, PartialEq)]
pub struct Season {
    /// Unix nanoseconds of the first point.
    started: u64,
    /// Deviations from the level once `active`; before that, means of the values.
    buckets: [f32; BUCKETS],
    counts: [u8; BUCKETS],
    active: bool,
}

/// Where a time lies in the season: the bucket, its neighbour on the nearer side, and the neighbour's share.
struct Place {
    bucket: usize,
    neighbour: usize,
    share: f64,
}

fn place(time: u64, season_ns: u64) -> Place {
    let position = (time % season_ns) as f64 / season_ns as f64 * BUCKETS as f64;
    let bucket = (position as usize).min(BUCKETS - 1);
    let off_centre = position - bucket as f64 - 0.5;
    let neighbour = if off_centre < 0.0 { bucket + BUCKETS - 1 } else { bucket + 1 } % BUCKETS;
    Place { bucket, neighbour, share: off_centre.abs() }
}

impl Season {
    /// A season that has seen nothing.
    #[must_use]
    pub fn new(started: u64) -> Self {
        Self { started, buckets: [0.0; BUCKETS], counts: [0; BUCKETS], active: false }
    }

    /// The expected deviation from the level; `None` before two seasons were seen.
    #[must_use]
    pub fn deviation(&self, time: u64, season_ns: u64) -> Option<f64> {
        self.active.then(|| {
            let Place { bucket, neighbour, share } = place(time, season_ns);
            f64::from(self.buckets[bucket]) * (1.0 - share) + f64::from(self.buckets[neighbour]) * share
        })
    }

    /// Before the season is in use: takes a value. Gives the mean over the season once two seasons were seen; the
    /// season is in use from then on.
    pub fn collect(&mut self, time: u64, season_ns: u64, value: f64) -> Option<f64> {
        if self.active {
            return None;
        }
        if time.saturating_sub(self.started) >= season_ns.saturating_mul(SEASONS_MIN) {
            return self.activate();
        }
        let bucket = place(time, season_ns).bucket;
        self.counts[bucket] = (self.counts[bucket] + 1).min(COUNT_MAX);
        let mean = &mut self.buckets[bucket];
        *mean += (value as f32 - *mean) / f32::from(self.counts[bucket]);
        None
    }

    /// Once the season is in use: moves its part at `time`.
    pub fn correct(&mut self, time: u64, season_ns: u64, error: f64) {
        if self.active {
            let bucket = &mut self.buckets[place(time, season_ns).bucket];
            *bucket = (*bucket + error as f32).clamp(-DEVIATION_MAX, DEVIATION_MAX);
        }
    }

    /// Turns means into deviations and gives their mean. Buckets without values take the nearest one before them.
    fn activate(&mut self) -> Option<f64> {
        let first = (0..BUCKETS).find(|bucket| self.counts[*bucket] > 0)?;
        let mut last = self.buckets[first];
        for offset in 0..BUCKETS {
            let bucket = (first + offset) % BUCKETS;
            if self.counts[bucket] > 0 {
                last = self.buckets[bucket];
            } else {
                self.buckets[bucket] = last;
            }
        }
        let mean = self.buckets.iter().sum::<f32>() / BUCKETS as f32;
        self.buckets.iter_mut().for_each(|bucket| *bucket -= mean);
        self.active = true;
        Some(f64::from(mean))
    }

    /// Appends itself to a snapshot.
    pub fn write(&self, to: &mut Writer) {
        to.u64(self.started);
        to.u8(u8::from(self.active));
        self.buckets.iter().for_each(|bucket| to.f32(*bucket));
        self.counts.iter().for_each(|count| to.u8(*count));
    }

    /// Takes itself from a snapshot.
    ///
    /// # Errors
    /// If the bytes end early or hold no season.
    pub fn read(from: &mut Reader<'_>) -> Result<Self, String> {
        let mut season = Self::new(from.u64()?);
        season.active = from.u8()? != 0;
        for bucket in &mut season.buckets {
            *bucket = from.f32()?;
            if !bucket.is_finite() {
                return Err("the snapshot holds a season that is not finite".into());
            }
            *bucket = bucket.clamp(-DEVIATION_MAX, DEVIATION_MAX);
        }
        for count in &mut season.counts {
            *count = from.u8()?.min(COUNT_MAX);
        }
        Ok(season)
    }
}
