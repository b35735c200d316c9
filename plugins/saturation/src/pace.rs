//! How full one series is, how fast it fills, and where it usually turns.
//!
//! Source of the pace: P. K. Sen, "Estimates of the regression coefficient based on Kendall's tau", JASA 63 (1968):
//! the median of the slopes of all pairs of points. It is taken over the last 4, 8 and 16 points, so that a leak of a few
//! seconds is seen as well as one of hours, and whatever the step of the series.

use salve_plugin::{
    codec::{Reader, Writer},
    series::Persist,
};
use serde::Deserialize;

/// Points that are kept, and over which the pace is taken.
const POINTS_MAX: usize = 16;
const SPANS: [usize; 3] = [4, 8, POINTS_MAX];

/// A rise counts from this many times the usual step between two points: uniform noise never rises by more than three.
const RISE_STEPS: f64 = 4.0;

/// Share of the pairs of points that must rise for a pace to count (Kendall's tau of 0.6 and above).
const RISING_PAIRS: f64 = 0.8;

/// Gain of the usual step, and how far one step counts.
const STEP_SMOOTHING: f64 = 0.05;
const STEP_CUT: f64 = 4.0;

/// A fall by this share of the limit is a turn.
const TURN_FALL: f64 = 0.1;
/// Turns in a row, each as long after the one before as usual, that make a habit.
const TURNS_MIN: u8 = 3;
/// A time is as long as usual if it is within this factor of it.
const TURN_FACTOR: f64 = 2.0;
/// Above its usual turn by this share of the limit a series is not usual any more.
const TURN_MARGIN: f64 = 0.02;
/// Gain of the usual turn.
const TURN_SMOOTHING: f64 = 0.3;

/// Points after which confidence is 0.5.
const POINTS_KNOWN: f64 = 10.0;

/// Beyond a thousand limits, or below none, a number says no more.
const USAGE_MAX: f64 = 1e3;
/// No time in seconds is longer.
const SECONDS_MAX: f64 = u64::MAX as f64 / 1e9;

/// Parameters of one binding.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Parameters {
    /// Share of the limit below which nothing is observed.
    pub usage_min: f64,
    /// Share of the limit from which every point is observed.
    pub usage_critical: f64,
    /// A series that will be full within this is observed, in milliseconds.
    pub horizon_ms: u64,
    /// Least rise over the points that give the pace, as a share of the limit.
    pub rise_min: f64,
}

impl Default for Parameters {
    fn default() -> Self {
        Self { usage_min: 0.5, usage_critical: 0.9, horizon_ms: 600_000, rise_min: 0.03 }
    }
}

impl Parameters {
    /// Checks what a schema cannot say.
    ///
    /// # Errors
    /// The parameter that makes no sense, its value, and what would.
    pub fn check(&self) -> Result<(), String> {
        for (name, value) in [("usage_min", self.usage_min), ("usage_critical", self.usage_critical)] {
            if !(0.0..=1e3).contains(&value) {
                return Err(format!("`{name}` is {value}; it must be from 0 to 1000"));
            }
        }
        if self.usage_min > self.usage_critical {
            let Self { usage_min, usage_critical, .. } = self;
            return Err(format!(
                "`usage_min` is {usage_min}; it must be at most `usage_critical`, {usage_critical}"
            ));
        }
        if !(0.0..=1.0).contains(&self.rise_min) {
            return Err(format!("`rise_min` is {}; it must be from 0 to 1", self.rise_min));
        }
        Ok(())
    }
}

/// One series with a limit.
#[derive(Debug, Clone, PartialEq)]
pub struct Usage {
    /// In the series' unit; `None` if it has none that makes sense.
    pub limit: Option<f64>,
    /// Time in Unix nanoseconds and share of the limit; the oldest first.
    points: Vec<(u64, f64)>,
    /// All points so far, saturating.
    count: u32,
    /// Usual distance between two points, as a share of the limit.
    step: f64,
    /// Highest share since the last turn, and where turns usually are.
    peak: f64,
    turn: f64,
    turns: u8,
    /// Unix nanoseconds of the last turn, and the usual time from one to the next in seconds.
    turned: u64,
    turn_every_s: f64,
    /// An observation was made since the last turn.
    observed: bool,
}

/// What is known about a point of a series that is at least half way to where it would be observed.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Verdict {
    /// To be observed.
    pub abnormal: bool,
    /// Share of the limit.
    pub usage: f64,
    /// Share of the limit up to which this would be normal.
    pub allowed: f64,
    /// Share of the limit in a second.
    pub pace: f64,
    /// Until it is full, at this pace.
    pub eta_ms: Option<f64>,
    /// 0 to 1, 0.5 and above if abnormal.
    pub score: f32,
    /// 0 to 1.
    pub confidence: f32,
}

impl Verdict {
    /// One sentence for a person.
    #[must_use]
    pub fn reason(&self) -> String {
        let percent = self.usage * 100.0;
        match self.eta_ms {
            Some(_) if self.usage >= 1.0 => format!("at {percent:.0} % of its limit"),
            Some(eta_ms) => {
                format!(
                    "at {percent:.0} % of its limit and full in {}, at the present pace",
                    duration(eta_ms)
                )
            }
            None => format!("at {percent:.0} % of its limit"),
        }
    }
}

/// A duration in the unit that a person would use.
fn duration(ms: f64) -> String {
    match ms / 1_000.0 {
        seconds if seconds < 120.0 => format!("{seconds:.0} s"),
        seconds if seconds < 7_200.0 => format!("{:.0} min", seconds / 60.0),
        seconds => format!("{:.0} h", seconds / 3_600.0),
    }
}

impl Usage {
    /// A series that has seen nothing.
    #[must_use]
    pub fn new(limit: Option<f64>) -> Self {
        Self {
            limit: limit.filter(|limit| limit.is_finite() && *limit > 0.0),
            points: Vec::new(),
            count: 0,
            step: 0.0,
            peak: 0.0,
            turn: 0.0,
            turns: 0,
            turned: 0,
            turn_every_s: 0.0,
            observed: false,
        }
    }

    /// Takes a point, and judges it if the series has a limit.
    pub fn observe(
        &mut self,
        parameters: &Parameters,
        time: u64,
        value: f64,
        after_gap: bool,
    ) -> Option<Verdict> {
        let usage = (value / self.limit?).clamp(0.0, USAGE_MAX);
        self.take(time, usage, after_gap);
        self.count = self.count.saturating_add(1);
        let known = f64::from(self.count);
        let mut verdict = Verdict {
            abnormal: false,
            usage,
            allowed: parameters.usage_critical,
            pace: 0.0,
            eta_ms: None,
            score: 0.0,
            confidence: (known / (known + POINTS_KNOWN)) as f32,
        };
        if usage >= parameters.usage_min {
            if let Some(pace) = self.pace(parameters) {
                verdict.pace = pace;
                verdict.eta_ms = Some(((1.0 - usage).max(0.0) / pace * 1_000.0).min(1e15));
            }
            let soon = verdict.eta_ms.is_some_and(|eta_ms| eta_ms < parameters.horizon_ms as f64);
            if soon && !self.turns_above(usage) {
                verdict.allowed = parameters.usage_min;
                verdict.abnormal = true;
            }
        }
        verdict.abnormal |= usage >= parameters.usage_critical;
        // 0.5 where it begins to be observed, 0.75 at the limit, towards 1 beyond.
        let span = (1.0 - verdict.allowed).max(0.01);
        let beyond = (usage - verdict.allowed) / span;
        verdict.score = (1.0 - (-(1.0 + beyond).max(0.0)).exp2()) as f32;
        self.observed |= verdict.abnormal;
        Some(verdict)
    }

    fn take(&mut self, time: u64, usage: f64, after_gap: bool) {
        if after_gap {
            self.points.clear();
        }
        if let Some(&(newest, last)) = self.points.last() {
            if time <= newest {
                // A point of the same moment, or late: the pace has no use for it.
                return;
            }
            if self.peak - usage >= TURN_FALL {
                self.turn(time);
            }
            let step = (usage - last).abs();
            let cut = if self.step > 0.0 { STEP_CUT * self.step } else { step };
            // A rise that is being observed is no noise.
            if !self.observed {
                let gain = STEP_SMOOTHING.max(1.0 / (f64::from(self.count) + 1.0));
                self.step += gain * (step.min(cut) - self.step);
            }
        }
        self.peak = self.peak.max(usage);
        if self.points.len() == POINTS_MAX {
            self.points.remove(0);
        }
        self.points.push((time, usage));
    }

    /// The series fell from its peak. If it does so regularly that is its habit; repairs are not regular.
    fn turn(&mut self, time: u64) {
        let since_s = time.saturating_sub(self.turned) as f64 / 1e9;
        let usual = self.turn_every_s / TURN_FACTOR..=self.turn_every_s * TURN_FACTOR;
        if self.turns > 0 && usual.contains(&since_s) {
            self.turn += TURN_SMOOTHING * (self.peak - self.turn);
            self.turn_every_s += TURN_SMOOTHING * (since_s - self.turn_every_s);
            self.turns = self.turns.saturating_add(1);
        } else {
            self.turn = self.peak;
            self.turn_every_s = since_s;
            self.turns = u8::from(self.turned > 0);
        }
        self.turned = time;
        self.observed = false;
        self.peak = 0.0;
        // What was before the fall says nothing about the pace after it.
        self.points.clear();
    }

    /// Whether it usually turns by itself somewhere above this.
    fn turns_above(&self, usage: f64) -> bool {
        self.turns >= TURNS_MIN && usage <= self.turn + TURN_MARGIN
    }

    /// Share of the limit in a second, if the last points rise beyond doubt; the fastest of the spans that do.
    fn pace(&self, parameters: &Parameters) -> Option<f64> {
        let spans = SPANS.iter().filter_map(|span| self.points.len().checked_sub(*span));
        spans
            .filter_map(|start| rise(&self.points[start..], parameters.rise_min, self.step))
            .max_by(f64::total_cmp)
    }
}

/// The Theil-Sen slope of these points in a second, if they rise by more than `rise_min` and the noise, and steadily.
fn rise(points: &[(u64, f64)], rise_min: f64, step: f64) -> Option<f64> {
    let (first, last) = (points.first()?.0, points.last()?.0);
    let span_s = last.saturating_sub(first) as f64 / 1e9;
    let mut slopes = Vec::with_capacity(points.len() * (points.len() - 1) / 2);
    for (index, later) in points.iter().enumerate().skip(1) {
        for earlier in &points[..index] {
            let seconds = later.0.saturating_sub(earlier.0) as f64 / 1e9;
            slopes.push((later.1 - earlier.1) / seconds.max(1e-9));
        }
    }
    let rising = slopes.iter().filter(|slope| **slope > 0.0).count();
    if (rising as f64) < RISING_PAIRS * slopes.len() as f64 {
        return None;
    }
    let middle = slopes.len() / 2;
    let (_, slope, _) = slopes.select_nth_unstable_by(middle, f64::total_cmp);
    // Both what the slope says and what was seen: four noisy points can have a steep slope and end where they began.
    let risen = (*slope * span_s).min(points.last()?.1 - points.first()?.1);
    (risen >= rise_min.max(RISE_STEPS * step) && *slope > 0.0).then_some(*slope)
}

impl Persist for Usage {
    fn write(&self, to: &mut Writer) {
        for number in [self.step, self.peak, self.turn, self.turn_every_s] {
            to.f64(number);
        }
        to.u64(self.turned);
        to.u32(self.count);
        to.u8(self.turns);
        to.u8(u8::from(self.observed));
        to.u8(u8::try_from(self.points.len()).unwrap_or(0));
        for (time, usage) in &self.points {
            to.u64(*time);
            to.f64(*usage);
        }
    }

    fn read(from: &mut Reader<'_>) -> Result<Self, String> {
        // What no series can have would grow beyond what is finite, and then no snapshot could be taken.
        let share = |from: &mut Reader<'_>| Ok::<_, String>(from.finite()?.clamp(0.0, USAGE_MAX));
        let mut usage = Self {
            limit: None,
            points: Vec::new(),
            step: share(from)?,
            peak: share(from)?,
            turn: share(from)?,
            turn_every_s: from.finite()?.clamp(0.0, SECONDS_MAX),
            turned: from.u64()?,
            count: from.u32()?,
            turns: from.u8()?,
            observed: from.u8()? != 0,
        };
        let count = usize::from(from.u8()?);
        if count > POINTS_MAX {
            return Err(format!("the snapshot holds {count} points of a series; the most is {POINTS_MAX}"));
        }
        for _ in 0..count {
            usage.points.push((from.u64()?, share(from)?));
        }
        Ok(usage)
    }
}
