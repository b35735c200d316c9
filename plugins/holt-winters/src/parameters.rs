//! What the operator's binding may say.

use serde::Deserialize;

/// Which side of the bounds is abnormal.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Direction {
    /// Above them, as for errors and latency.
    Up,
    /// Below them, as for orders.
    Down,
    /// Either.
    Both,
}

/// Parameters of one binding. The smoothing defaults follow the range that Hyndman and Athanasopoulos give for series
/// whose level moves slowly; the others were set on the scenarios of the tests.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Parameters {
    /// Which side is abnormal.
    pub direction: Direction,
    /// Length of the season in seconds, for instance 86,400; 0: none. It is used once two seasons were seen.
    pub season_seconds: u32,
    /// Points before anything is observed; confidence is then 0.5 and grows towards 1.
    pub warmup_points: u32,
    /// Half the width of the normal range, in standard deviations of the one-step error.
    pub sensitivity: f64,
    /// The half width is at least this, in the series' unit.
    pub floor_absolute: f64,
    /// The half width is at least this share of the expected value.
    pub floor_relative: f64,
    /// A value below this is never observed as rising.
    pub min_value_to_alert: Option<f64>,
    /// A value above this is never observed as falling.
    pub max_value_to_alert: Option<f64>,
    /// Abnormal points after which the new level is taken as normal.
    pub adapt_after_points: u16,
    /// Share of the one-step error that goes into the level, 0 to 1.
    pub level_smoothing: f64,
    /// Share of the level's change that goes into the trend, 0 to 1.
    pub trend_smoothing: f64,
    /// What is left of the trend a step later, 0 to 1.
    pub trend_damping: f64,
    /// Share of the one-step error that goes into the season, 0 to 1.
    pub season_smoothing: f64,
}

impl Default for Parameters {
    fn default() -> Self {
        Self {
            direction: Direction::Both,
            season_seconds: 0,
            warmup_points: 30,
            sensitivity: 5.0,
            floor_absolute: 0.0,
            floor_relative: 0.2,
            min_value_to_alert: None,
            max_value_to_alert: None,
            adapt_after_points: 300,
            level_smoothing: 0.2,
            trend_smoothing: 0.1,
            trend_damping: 0.9,
            season_smoothing: 0.1,
        }
    }
}

impl Parameters {
    /// Checks what a schema cannot say.
    ///
    /// # Errors
    /// The first parameter that makes no sense, its value, and what would.
    pub fn check(&self) -> Result<(), String> {
        for (name, value, low, high) in [
            ("sensitivity", self.sensitivity, 0.1, 1e6),
            ("floor_absolute", self.floor_absolute, 0.0, 1e30),
            ("floor_relative", self.floor_relative, 0.0, 1e6),
            ("level_smoothing", self.level_smoothing, 1e-6, 1.0),
            ("trend_smoothing", self.trend_smoothing, 0.0, 1.0),
            ("trend_damping", self.trend_damping, 0.0, 1.0),
            ("season_smoothing", self.season_smoothing, 0.0, 1.0),
        ] {
            if !(low..=high).contains(&value) {
                return Err(format!("`{name}` is {value}; it must be from {low} to {high}"));
            }
        }
        Ok(())
    }
}
