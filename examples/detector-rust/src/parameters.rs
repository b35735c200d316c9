//! What an operator can set.

use serde::Deserialize;

/// Parameters of one binding. The host has checked them against the schema in `plugin.toml`.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Parameters {
    /// Share of requests that should go well.
    pub objective: f64,
    /// An alert needs one of these.
    pub rules: Vec<Rule>,
    /// Points above the budget that the long window must hold.
    pub failing_points_min: u32,
    /// The longest time that a point stands for, in milliseconds.
    pub interval_max_ms: u64,
}

/// In both windows the budget burns at this rate or faster.
#[derive(Debug, Clone, Copy, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Rule {
    /// Enough was spent to matter.
    pub long_ms: u64,
    /// It is still being spent.
    pub short_ms: u64,
    /// Times as fast as a budget that is gone just at the end of its period.
    pub burn_rate: f64,
}

/// Most short windows in a long one: bounds what is kept for a series.
const SHORT_IN_LONG_MAX: u64 = 100;

/// Most rules.
const RULES_MAX: usize = 4;

impl Default for Parameters {
    /// The two rules for which the source wakes people up: 2 % of a month's budget within an hour, 5 % within six.
    ///
    /// Source: B. Beyer et al., "The Site Reliability Workbook" (2018), chapter 5 "Alerting on SLOs", section
    /// "Multiwindow, Multi-Burn-Rate Alerts". Its third rule (three days, six hours, 1) opens tickets; it is the
    /// operator's to add.
    fn default() -> Self {
        let hours_and_minutes = |hours: u64, minutes: u64, burn_rate| Rule {
            long_ms: hours * 3_600_000,
            short_ms: minutes * 60_000,
            burn_rate,
        };
        Self {
            objective: 0.999,
            rules: vec![hours_and_minutes(1, 5, 14.4), hours_and_minutes(6, 30, 6.0)],
            failing_points_min: 3,
            interval_max_ms: 60_000,
        }
    }
}

impl Parameters {
    /// Share of requests that may fail.
    #[must_use]
    pub fn budget(&self) -> f64 {
        1.0 - self.objective
    }

    /// Checks what a schema cannot say.
    ///
    /// # Errors
    /// The parameter that makes no sense, its value, and what would.
    pub fn check(&self) -> Result<(), String> {
        if !(0.5..=0.999_999).contains(&self.objective) {
            return Err(format!("`objective` is {}; it must be from 0.5 to 0.999999", self.objective));
        }
        if self.rules.is_empty() || self.rules.len() > RULES_MAX {
            return Err(format!("there are {} `rules`; take 1 to {RULES_MAX}", self.rules.len()));
        }
        if self.interval_max_ms == 0 {
            return Err("`interval_max_ms` is 0; it must be at least the time between two points".into());
        }
        for (index, rule) in self.rules.iter().enumerate() {
            rule.check(self.budget()).map_err(|why| format!("`rules[{index}]`: {why}"))?;
        }
        Ok(())
    }
}

impl Rule {
    fn check(&self, budget: f64) -> Result<(), String> {
        let Self { long_ms, short_ms, burn_rate } = *self;
        let times = long_ms.checked_div(short_ms).unwrap_or(0);
        if long_ms > 2_592_000_000
            || long_ms % short_ms.max(1) != 0
            || !(2..=SHORT_IN_LONG_MAX).contains(&times)
        {
            return Err(format!(
                "`long_ms` is {long_ms} and `short_ms` {short_ms}; the long window must be 2 to {SHORT_IN_LONG_MAX} \
                 whole short ones, and 30 days at most"
            ));
        }
        if !burn_rate.is_finite() || burn_rate <= 0.0 {
            return Err(format!("`burn_rate` is {burn_rate}; it must be above 0"));
        }
        if burn_rate * budget > 1.0 {
            return Err(format!(
                "`burn_rate` is {burn_rate}; even if all requests fail, a budget of {budget:.6} burns at {:.4} only",
                1.0 / budget
            ));
        }
        Ok(())
    }
}
