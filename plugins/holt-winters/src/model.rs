//! The model of one series: damped additive Holt-Winters with robust updates, in constant memory and time.
//!
//! Sources: level, damped trend and season in error-correction form from Hyndman and Athanasopoulos, "Forecasting:
//! Principles and Practice", 3rd ed., chapter 8. Cleaning of values (Huber's ψ) and scale of one-step errors (bounded
//! biweight ρ) from Gelper, Fried and Croux, "Robust forecasting with exponential and Holt-Winters smoothing", Journal
//! of Forecasting 29 (2010), section 3. Departures: gains begin at 1/n, so that the start is a mean; the start itself
//! is a median of the first [`START_POINTS`] values; ψ and ρ measure errors in units of the normal range's half width,
//! so that a series without any noise can still move; and nothing is learned from abnormal points.
//!
//! ## What always holds
//! - what comes out is finite, whatever finite values go in
//! - an abnormal point changes neither level nor scale, until so many came that the new level is taken as normal

use crate::{
    parameters::{Direction, Parameters},
    season::Season,
};
use salve_plugin::{
    Kind,
    codec::{Reader, Writer},
    number::{at_least, at_most},
    series::Persist,
};

/// Values whose median is the first level.
pub const START_POINTS: usize = 7;

/// Bound of ψ and ρ in standard deviations, and the factor that makes ρ's mean 1 for normal errors at this bound.
const CUT: f64 = 2.0;
const CUT_FACTOR: f64 = 2.52;

/// Gain of the scale once the history is long.
const SCALE_SMOOTHING: f64 = 0.05;

/// Gain of the level that an abnormal run would have.
const SHIFT_SMOOTHING: f64 = 0.2;

/// Abnormal points from which on a run is a shift of the level.
const SHIFT_POINTS: u16 = 3;

/// Normal points that end an abnormal run.
const CALM_POINTS: u8 = 3;

/// Values beyond this are taken as this, so that they fit into an `f32` and their squares stay finite.
const VALUE_MAX: f64 = 1e30;

/// The model of one series.
#[derive(Debug, Clone, PartialEq)]
pub struct Model {
    phase: Phase,
    season: Option<Box<Season>>,
}

#[derive(Debug, Clone, PartialEq)]
enum Phase {
    Starting { count: u8, values: [f32; START_POINTS] },
    Running(Running),
}

#[derive(Debug, Clone, PartialEq)]
struct Running {
    level: f64,
    trend: f64,
    variance: f64,
    /// Level of the present abnormal run.
    shift: f64,
    /// Points learned, saturating.
    points: u32,
    /// The season's part at the last normal point.
    deviation: f32,
    /// Length of the present abnormal run.
    run: u16,
    /// Normal points since its last point.
    calm: u8,
}

/// What comes next, before the point is known.
struct Expectation {
    trend: f64,
    /// Level and trend, without the season's part.
    unseasonal: f64,
    /// Half the width of the normal range.
    half: f64,
}

/// What the model says about one point.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Verdict {
    /// What was expected.
    pub expected: f64,
    /// Lower end of the normal range.
    pub lower: f64,
    /// Upper end of the normal range.
    pub upper: f64,
    /// Distance from what was expected.
    pub error: f64,
    /// Half the width of the normal range.
    pub half: f64,
    /// Points learned before this one.
    pub points: u32,
    /// There is a season, and it is not known yet.
    pub unseasoned: bool,
    /// Set if the point is to be observed.
    pub abnormal: Option<Kind>,
}

impl Verdict {
    /// How abnormal, 0 to 1; 0.5 at the ends of the normal range. Few points are asked for this and for the confidence, and a
    /// power costs more than all else here, so neither is worked out for every one.
    #[must_use]
    pub fn score(&self) -> f32 {
        if self.half > 0.0 {
            (1.0 - (-self.error.abs() / self.half).exp2()) as f32
        } else {
            f32::from(self.error != 0.0)
        }
    }

    /// How much the model is to be trusted, 0 to 1.
    #[must_use]
    pub fn confidence(&self, parameters: &Parameters) -> f32 {
        let points = f64::from(self.points);
        let grown = (points / (points + f64::from(parameters.warmup_points.max(1)))) as f32;
        if self.unseasoned { 0.5 * grown } else { grown }
    }
}

impl Model {
    /// A model that has seen nothing.
    #[must_use]
    pub fn new() -> Self {
        Self { phase: Phase::Starting { count: 0, values: [0.0; START_POINTS] }, season: None }
    }

    /// Learns from a point as most are: within the normal range. Says no, and has changed nothing, if it is another one, for
    /// [`Self::observe`] to judge. Only for parameters without a season.
    #[inline]
    pub fn learn_usual(&mut self, parameters: &Parameters, value: f64) -> bool {
        match &mut self.phase {
            Phase::Running(running) => running.learn_usual(parameters, bounded(value)),
            Phase::Starting { .. } => false,
        }
    }

    /// Judges one point by what came before it, then learns from it.
    pub fn observe(&mut self, parameters: &Parameters, time: u64, value: f64) -> Verdict {
        let value = bounded(value);
        match &mut self.phase {
            Phase::Starting { .. } => self.start(value),
            Phase::Running(running) => running.observe(&mut self.season, parameters, time, value),
        }
    }

    #[cold]
    #[inline(never)]
    fn start(&mut self, value: f64) -> Verdict {
        if let Phase::Starting { count, values } = &mut self.phase {
            values[usize::from(*count)] = value as f32;
            *count += 1;
            if usize::from(*count) == START_POINTS {
                self.phase = Phase::Running(Running::from_start(*values));
            }
        }
        Verdict {
            expected: value,
            lower: value,
            upper: value,
            error: 0.0,
            half: 0.0,
            points: 0,
            unseasoned: false,
            abnormal: None,
        }
    }

    /// Points are missing before the next one: a trend does not go on through a gap.
    pub fn after_gap(&mut self) {
        if let Phase::Running(running) = &mut self.phase {
            running.trend = 0.0;
        }
    }

    /// Forgets a season of another length than the binding now has.
    pub fn forget_season(&mut self) {
        if let (Phase::Running(running), Some(_)) = (&mut self.phase, self.season.take()) {
            // Without its season the level is somewhere else: begin again there, with the scale that is known.
            running.points = running.points.min(START_POINTS as u32);
        }
    }
}

impl Default for Model {
    fn default() -> Self {
        Self::new()
    }
}

impl Running {
    fn from_start(values: [f32; START_POINTS]) -> Self {
        let median = |mut values: [f32; START_POINTS]| {
            values.sort_by(f32::total_cmp);
            values[START_POINTS / 2]
        };
        let level = median(values);
        // 1.4826 makes the median absolute deviation that of a normal distribution.
        let scale = 1.4826 * f64::from(median(values.map(|value| (value - level).abs())));
        Self {
            level: f64::from(level).clamp(-VALUE_MAX, VALUE_MAX),
            trend: 0.0,
            variance: (scale * scale).min(VALUE_MAX * VALUE_MAX),
            shift: 0.0,
            points: START_POINTS as u32,
            deviation: 0.0,
            run: 0,
            calm: 0,
        }
    }

    #[inline]
    fn learn_usual(&mut self, parameters: &Parameters, value: f64) -> bool {
        let Expectation { trend, unseasonal, half } = self.expectation(parameters, 0.0);
        let error = value - unseasonal;
        if error.abs() > half {
            return false;
        }
        self.normal(parameters, error, half, unseasonal, trend);
        true
    }

    fn observe(
        &mut self,
        season: &mut Option<Box<Season>>,
        parameters: &Parameters,
        time: u64,
        value: f64,
    ) -> Verdict {
        let has_season = parameters.season_seconds > 0;
        let deviation = if has_season { deviation(season, parameters, time) } else { None };
        let Expectation { trend, unseasonal, half } = self.expectation(parameters, deviation.unwrap_or(0.0));
        let expected = unseasonal + deviation.unwrap_or(0.0);
        let error = value - expected;
        let outside = error.abs() > half
            && match (parameters.direction, error > 0.0) {
                (Direction::Up, false) | (Direction::Down, true) => false,
                (_, true) => parameters.min_value_to_alert.is_none_or(|least| value >= least),
                (_, false) => parameters.max_value_to_alert.is_none_or(|most| value <= most),
            };
        let mut verdict = Verdict {
            expected,
            lower: expected - half,
            upper: expected + half,
            error,
            half,
            points: self.points,
            unseasoned: has_season && deviation.is_none(),
            abnormal: None,
        };
        let warm = self.points >= parameters.warmup_points;
        if outside && warm {
            verdict.abnormal = Some(self.kind(value - unseasonal, half, deviation));
            self.abnormal(parameters, value, deviation.unwrap_or(0.0));
        } else {
            self.normal(parameters, error, half, unseasonal, trend);
        }
        if has_season {
            self.learn_season(season, parameters, time, value, &verdict, deviation);
        }
        verdict
    }

    /// What is wrong with an abnormal point that is `distance` away from where the level is without its season.
    #[cold]
    fn kind(&self, distance: f64, half: f64, deviation: Option<f64>) -> Kind {
        match deviation {
            // Normal, had the season stood still.
            Some(_) if (distance - f64::from(self.deviation)).abs() <= half => Kind::SeasonalBreak,
            _ if self.run.saturating_add(1) >= SHIFT_POINTS => Kind::LevelShift,
            _ => Kind::Point,
        }
    }

    #[inline(never)]
    fn learn_season(
        &mut self,
        season: &mut Option<Box<Season>>,
        parameters: &Parameters,
        time: u64,
        value: f64,
        verdict: &Verdict,
        deviation: Option<f64>,
    ) {
        let Some(season) = season.as_deref_mut() else { return };
        let season_ns = season_ns(parameters);
        if verdict.abnormal.is_none() {
            let bound = CUT * verdict.half / parameters.sensitivity;
            let share = parameters.season_smoothing * (1.0 - parameters.level_smoothing);
            season.correct(time, season_ns, share * verdict.error.clamp(-bound, bound));
            self.deviation = deviation.unwrap_or(0.0) as f32;
        }
        // Without its season the model takes a seasonal rise for a fault, so abnormal points are collected, too.
        if let Some(mean) = season.collect(time, season_ns, value) {
            self.begin_season(mean);
        }
    }

    /// With the season the one-step errors are others than without it: begin anew.
    fn begin_season(&mut self, mean: f64) {
        self.level = mean;
        self.trend = 0.0;
        self.points = START_POINTS as u32;
        self.run = 0;
    }

    #[inline]
    fn expectation(&self, parameters: &Parameters, deviation: f64) -> Expectation {
        let trend = self.trend * parameters.trend_damping;
        let unseasonal = self.level + trend;
        let noise = at_least(parameters.sensitivity * self.variance.sqrt(), parameters.floor_absolute);
        let relative = parameters.floor_relative * (unseasonal + deviation).abs();
        Expectation { trend, unseasonal, half: at_most(at_least(noise, relative), VALUE_MAX) }
    }

    // A call, and room for its arguments, take half as long as all that it does.
    #[inline(always)]
    fn normal(&mut self, parameters: &Parameters, error: f64, half: f64, unseasonal: f64, trend: f64) {
        let first_gain = 1.0 / (f64::from(self.points) + 1.0);
        let gain = |long_run: f64| at_least(first_gain, long_run);
        // `CUT` standard deviations. Divided by only once on the way from the old variance to the new.
        let bound = half * (CUT / parameters.sensitivity);
        if bound > 0.0 {
            let cleaned = at_most(at_least(error, -bound), bound);
            let cut = error / bound;
            let within = 1.0 - at_most(cut * cut, 1.0);
            let rho = 1.0 - within * within * within;
            let square = bound * bound * (CUT_FACTOR / (CUT * CUT)) * rho;
            self.variance += gain(SCALE_SMOOTHING) * (square - self.variance);
            let level_gain = gain(parameters.level_smoothing);
            self.level = bounded(unseasonal + level_gain * cleaned);
            self.trend = bounded(trend + level_gain * parameters.trend_smoothing * cleaned);
        } else {
            // No noise seen and no floor: the first error is all that is known about the scale.
            self.level += gain(parameters.level_smoothing) * error;
            self.variance = gain(SCALE_SMOOTHING) * at_most(error * error, VALUE_MAX * VALUE_MAX);
        }
        self.points = self.points.saturating_add(1);
        if self.run > 0 {
            self.calm += 1;
            if self.calm >= CALM_POINTS {
                self.run = 0;
            }
        }
    }

    #[cold]
    #[inline(never)]
    fn abnormal(&mut self, parameters: &Parameters, value: f64, deviation: f64) {
        let level = value - deviation;
        self.shift = if self.run == 0 { level } else { self.shift + SHIFT_SMOOTHING * (level - self.shift) };
        self.run = self.run.saturating_add(1);
        self.calm = 0;
        // The trend of before the fault says nothing about during it.
        self.trend = 0.0;
        if self.run >= parameters.adapt_after_points {
            self.level = self.shift;
            self.run = 0;
            self.points = self.points.min(parameters.warmup_points);
        }
    }
}

fn season_ns(parameters: &Parameters) -> u64 {
    u64::from(parameters.season_seconds) * 1_000_000_000
}

/// The expected deviation from the level. A season begins with its first point.
#[inline(never)]
fn deviation(season: &mut Option<Box<Season>>, parameters: &Parameters, time: u64) -> Option<f64> {
    match season {
        Some(season) => season.deviation(time, season_ns(parameters)),
        None => {
            *season = Some(Box::new(Season::new(time)));
            None
        }
    }
}

/// Small enough for its square to be finite.
fn bounded(value: f64) -> f64 {
    at_most(at_least(value, -VALUE_MAX), VALUE_MAX)
}

/// A number of a snapshot that was a value, or the difference of two.
fn small(from: &mut Reader<'_>) -> Result<f32, String> {
    let value = from.f32()?;
    if value.is_finite() {
        Ok(value.clamp(-VALUE_MAX as f32, VALUE_MAX as f32))
    } else {
        Err("the snapshot holds a number that is not finite".into())
    }
}

impl Persist for Model {
    fn write(&self, to: &mut Writer) {
        to.u8(u8::from(self.season.is_some()));
        match &self.phase {
            Phase::Starting { count, values } => {
                to.u8(*count);
                values.iter().for_each(|value| to.f32(*value));
            }
            Phase::Running(running) => {
                to.u8(u8::MAX);
                for number in [running.level, running.trend, running.variance, running.shift] {
                    to.f64(number);
                }
                to.u32(running.points);
                to.f32(running.deviation);
                to.u16(running.run);
                to.u8(running.calm);
            }
        }
        if let Some(season) = &self.season {
            season.write(to);
        }
    }

    fn read(from: &mut Reader<'_>) -> Result<Self, String> {
        let has_season = from.u8()? != 0;
        let phase = match from.u8()? {
            u8::MAX => Phase::Running(Running {
                level: from.finite()?.clamp(-VALUE_MAX, VALUE_MAX),
                trend: from.finite()?.clamp(-VALUE_MAX, VALUE_MAX),
                variance: from.finite()?.clamp(0.0, VALUE_MAX * VALUE_MAX),
                shift: from.finite()?.clamp(-VALUE_MAX, VALUE_MAX),
                points: from.u32()?,
                deviation: small(from)?,
                run: from.u16()?,
                calm: from.u8()?.min(CALM_POINTS),
            }),
            count if usize::from(count) < START_POINTS => {
                let mut values = [0.0; START_POINTS];
                for value in &mut values {
                    *value = small(from)?;
                }
                Phase::Starting { count, values }
            }
            count => return Err(format!("the snapshot holds a model of an unknown phase, {count}")),
        };
        let season = if has_season { Some(Box::new(Season::read(from)?)) } else { None };
        Ok(Self { phase, season })
    }
}
