//! Every bound and time of the engine, in one place.

use salve_model::{Attributes, pattern::matches};
use serde::{Deserialize, Serialize};

/// Bounds and times of [`crate::Signals`]. Each default suits one daemon that watches some hundred services.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct SignalsConfig {
    /// Width of the buckets into which spans and log records are counted, in milliseconds. Each bucket gives one point
    /// to every series derived from it, so a shorter one finds faults sooner and sees more noise.
    pub bucket_ms: u64,
    /// How long after its end a bucket stays open for what comes late, in milliseconds. At least the time that
    /// exporters hold spans back. What comes later still enters the sums behind `services` and `edges`.
    pub lateness_ms: u64,
    /// How far ahead of the receive time an event time may be, in milliseconds. Beyond it the point is rejected.
    pub future_max_ms: u64,
    /// How far back `services` and `edges` can be asked, in milliseconds, as far as `stats_buckets_max` allows.
    pub stats_window_ms: u64,
    /// Most buckets that are kept per service and edge for such questions.
    pub stats_buckets_max: u32,
    /// Most series that come from metrics. Points of further ones are rejected; those that exist go on.
    pub series_max: u32,
    /// Most series of one metric of one service, so that one label that explodes does not use up `series_max`.
    pub series_per_metric_max: u32,
    /// Most distinct resources.
    pub resources_max: u32,
    /// Most services with series derived from spans and logs.
    pub services_max: u32,
    /// Most span names per service with series of their own. Further ones count for the service alone.
    pub operations_per_service_max: u32,
    /// Most pairs of caller and callee.
    pub edges_max: u32,
    /// Most client spans, and as many server spans, that wait for their other half.
    pub spans_in_flight_max: u32,
    /// Most bytes of attributes kept per series and per resource. What is over is cut from what people see; identity
    /// is taken from all bytes.
    pub attribute_bytes_max: u32,
    /// Most buckets of one histogram point. With more, only rate and mean are derived.
    pub histogram_buckets_max: u32,
    /// Most points that wait for one shard of a detector. Beyond it the oldest half is dropped and counted.
    pub pending_points_max: u32,
    /// Most changes that are remembered.
    pub changes_max: u32,
    /// A series, resource, service or edge that is silent for so long is forgotten, in milliseconds. Until then a
    /// service without requests has a request rate of 0.
    pub series_idle_ms: u64,
    /// Step of the history that every series has, in milliseconds. Several points in one step become their mean.
    pub history_step_ms: u64,
    /// Steps of that history.
    pub history_points: u32,
    /// Every point of the newest so many is kept for services, edges, series with a limit, series under watch and
    /// those named in `history_fine`.
    pub history_fine_points: u32,
    /// Names of further series, with `*` for any text, that keep every point.
    pub history_fine: Vec<String>,
    /// Capacities of series, so that detectors can tell how far a series is from its limit.
    pub limits: Vec<LimitRule>,
    /// Names of attributes, of resources and points, that do not make a series: for instance `process.pid`, so that a
    /// series goes on after a restart. Two senders that differ in these alone share their series.
    pub drop_attributes: Vec<String>,
    /// Names of attributes, with `*` for any text, whose values are private: for instance `user.email` or `enduser.*`. Each
    /// value is replaced by `[redacted]` when it comes in, on resources, scopes and points, so that no plugin, answer or
    /// ledger entry sees it. Series that differ in these values alone become one, as with `drop_attributes`. A change is
    /// for what comes in from then on: what is in memory stays until it is idle or Salve starts again. Attributes of
    /// spans and log records, and what log records say, are never kept and need no rule; names of metrics and spans are
    /// kept as they come.
    pub redact_attributes: Vec<String>,
}

impl Default for SignalsConfig {
    fn default() -> Self {
        Self {
            bucket_ms: 10_000,
            lateness_ms: 5_000,
            future_max_ms: 300_000,
            stats_window_ms: 3_600_000,
            stats_buckets_max: 900,
            series_max: 100_000,
            series_per_metric_max: 20_000,
            resources_max: 10_000,
            services_max: 1_000,
            operations_per_service_max: 100,
            edges_max: 5_000,
            spans_in_flight_max: 100_000,
            attribute_bytes_max: 4_096,
            histogram_buckets_max: 320,
            pending_points_max: 1_000_000,
            changes_max: 10_000,
            series_idle_ms: 3_600_000,
            history_step_ms: 60_000,
            history_points: 120,
            history_fine_points: 900,
            history_fine: Vec::new(),
            limits: Vec::new(),
            drop_attributes: Vec::new(),
            redact_attributes: Vec::new(),
        }
    }
}

/// The capacity of a metric: fixed, or measured by another metric of the same resource.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LimitRule {
    /// Name of the series that is limited, for instance `process.memory.usage`.
    pub metric: String,
    /// Name of the series that measures the capacity, for instance `process.memory.limit`. Its newest value on the
    /// same resource counts.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub limit_metric: Option<String>,
    /// The capacity itself, in the unit of `metric`. Used until `limit_metric` has a value.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fixed: Option<f64>,
    /// The rule is for series that carry all of these; values may contain `*`.
    #[serde(default, skip_serializing_if = "Attributes::is_empty")]
    pub attributes: Attributes,
}

/// A value with which the engine could not do its work.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{field}` is `{value}`; hint: {hint}")]
pub struct ConfigProblem {
    /// Name of the field.
    pub field: &'static str,
    /// What it is set to.
    pub value: String,
    /// What would do.
    pub hint: &'static str,
}

impl SignalsConfig {
    /// All values with which the engine could not do its work, in the order of the fields.
    #[must_use]
    pub fn problems(&self) -> Vec<ConfigProblem> {
        let numbers: [(&'static str, u64, u64, u64, &'static str); 9] = [
            ("bucket_ms", self.bucket_ms, 100, 3_600_000, "take 100 to 3600000 (an hour)"),
            ("lateness_ms", self.lateness_ms, 0, 3_600_000, "take at most 3600000 (an hour)"),
            ("future_max_ms", self.future_max_ms, 0, 86_400_000, "take at most 86400000 (a day)"),
            ("stats_buckets_max", self.stats_buckets_max.into(), 1, 100_000, "take 1 to 100000"),
            ("pending_points_max", self.pending_points_max.into(), 2, 100_000_000, "take 2 to 100000000"),
            ("series_idle_ms", self.series_idle_ms, 60_000, u64::MAX, "take at least 60000 (a minute)"),
            ("history_step_ms", self.history_step_ms, 1, 86_400_000, "take 1 to 86400000 (a day)"),
            ("history_points", self.history_points.into(), 1, 100_000, "take 1 to 100000"),
            ("history_fine_points", self.history_fine_points.into(), 0, 100_000, "take at most 100000"),
        ];
        let mut problems: Vec<ConfigProblem> = numbers
            .into_iter()
            .filter(|(_, value, least, most, _)| !(least..=most).contains(&value))
            .map(|(field, value, _, _, hint)| ConfigProblem { field, value: value.to_string(), hint })
            .collect();
        let telling = self.redact_attributes.iter().find(|pattern| matches(pattern, "service.name"));
        if let Some(pattern) = telling {
            let hint = "services are told apart by `service.name`; leave it out";
            problems.push(ConfigProblem { field: "redact_attributes", value: pattern.clone(), hint });
        }
        for rule in &self.limits {
            if rule.limit_metric.is_none() && rule.fixed.is_none() {
                let hint = "give `limit_metric` or `fixed`";
                problems.push(ConfigProblem { field: "limits", value: rule.metric.clone(), hint });
            }
            if let Some(fixed) = rule.fixed.filter(|fixed| !fixed.is_finite()) {
                let hint = "give a finite number";
                problems.push(ConfigProblem { field: "limits.fixed", value: fixed.to_string(), hint });
            }
        }
        problems
    }

    /// Buckets kept per service and edge.
    pub(crate) fn stats_buckets(&self) -> u64 {
        (self.stats_window_ms / self.bucket_ms()).clamp(1, u64::from(self.stats_buckets_max.max(1)))
    }

    /// Never 0, whatever was configured.
    pub(crate) fn bucket_ms(&self) -> u64 {
        self.bucket_ms.max(1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Guarantees: the defaults work, and a misspelt name is refused rather than ignored.
    #[test]
    fn defaults_work_and_typos_are_refused() {
        assert_eq!(SignalsConfig::default().problems(), []);
        let error = serde_json::from_str::<SignalsConfig>(r#"{"buckets_ms": 1000}"#).unwrap_err();
        assert!(error.to_string().contains("unknown field `buckets_ms`"), "{error}");
    }

    /// Guarantees: all bad values are reported at once, with a way out.
    #[test]
    fn reports_every_problem() {
        let config = SignalsConfig {
            bucket_ms: 0,
            series_idle_ms: 5,
            redact_attributes: vec!["user.*".into(), "service.*".into()],
            limits: vec![LimitRule {
                metric: "m".into(),
                limit_metric: None,
                fixed: None,
                attributes: Attributes::new(),
            }],
            ..SignalsConfig::default()
        };
        let text: Vec<String> = config.problems().iter().map(ToString::to_string).collect();
        insta::assert_snapshot!(text.join("\n"), @r"
        `bucket_ms` is `0`; hint: take 100 to 3600000 (an hour)
        `series_idle_ms` is `5`; hint: take at least 60000 (a minute)
        `redact_attributes` is `service.*`; hint: services are told apart by `service.name`; leave it out
        `limits` is `m`; hint: give `limit_metric` or `fixed`
        ");
    }
}
