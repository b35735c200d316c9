//! A world on paper: what telemetry shows, and the state of some targets. It answers a plugin's calls in trials and
//! tests, by the rules of the real host.
//!
//! ## What always holds
//! - a write that the plan does not license is refused, and so is any write while planning
//! - a dry-run changes nothing for good; later reads of the same call see what would be
//! - a question about telemetry is answered by the entry whose time overlaps the window most
//!
//! Not here: grants. A world allows what the manifest asks for.

use salve_model::{
    Attributes,
    call::{
        CallError, ConfigVersion, EdgeStats, HttpRequest, HttpResponse, ProcessStatus, SeriesInfo,
        ServiceStats,
    },
    telemetry::Change,
};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// The file's form. Everything may be left out.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct World {
    /// What telemetry says of services.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub services: Vec<During<ServiceStats>>,
    /// What it says of calls between services.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub edges: Vec<During<EdgeStats>>,
    /// What was changed.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub changes: Vec<Change>,
    /// Series with their points. Their ids are their places in this list.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub series: Vec<WorldSeries>,
    /// Processes by target.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub processes: BTreeMap<String, ProcessStatus>,
    /// Configuration keys by target: versions, newest first.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub config: BTreeMap<String, BTreeMap<String, Vec<ConfigVersion>>>,
    /// HTTP answers by target; what is not here is answered by 404.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub http: BTreeMap<String, Vec<HttpAnswer>>,
    /// Targets that messages can be sent to.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub notify: Vec<String>,
    /// Calls that fail, for instance `"process.restart": {"failed": "permission denied"}`.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub failures: BTreeMap<String, CallError>,
}

/// Something that was so for a while; the end is not included.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct During<T> {
    /// Unix nanoseconds.
    pub from: u64,
    /// Unix nanoseconds.
    pub to: u64,
    /// What was so.
    #[serde(flatten)]
    pub what: T,
}

/// A series and its points.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct WorldSeries {
    /// `service.name`.
    pub service: String,
    /// For instance `salve.span.error_ratio`.
    pub name: String,
    /// UCUM unit.
    #[serde(default)]
    pub unit: String,
    /// A known capacity.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub limit: Option<f64>,
    /// Resource and point attributes, without `service.name`.
    #[serde(default, skip_serializing_if = "Attributes::is_empty")]
    pub attributes: Attributes,
    /// Time and value, oldest first.
    pub points: Vec<(u64, f64)>,
}

/// One answer of an HTTP server.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct HttpAnswer {
    /// Upper-case.
    pub method: String,
    /// Without query.
    pub path: String,
    /// HTTP status.
    pub status: u16,
    /// Text.
    #[serde(default)]
    pub body: String,
}

impl World {
    pub(crate) fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    pub(crate) fn services(&self, from: u64, to: u64) -> Vec<ServiceStats> {
        best(&self.services, from, to, |stats| stats.service.clone())
    }

    pub(crate) fn edges(&self, from: u64, to: u64) -> Vec<EdgeStats> {
        best(&self.edges, from, to, |stats| (stats.caller.clone(), stats.callee.clone()))
    }

    pub(crate) fn changes(&self, from: u64, to: u64) -> Vec<Change> {
        let mut changes: Vec<_> =
            self.changes.iter().filter(|change| (from..to).contains(&change.time.0)).cloned().collect();
        changes.sort_by_key(|change| std::cmp::Reverse(change.time));
        changes
    }

    pub(crate) fn find(&self, service: &str, name_prefix: &str) -> Vec<SeriesInfo> {
        let info = |(id, series): (u32, &WorldSeries)| SeriesInfo {
            id,
            name: series.name.clone(),
            unit: series.unit.clone(),
            service: series.service.clone(),
            limit: series.limit,
            attributes: series.attributes.clone(),
        };
        let fits = |(_, series): &(u32, &WorldSeries)| {
            (service.is_empty() || series.service == service) && series.name.starts_with(name_prefix)
        };
        (0..).zip(&self.series).filter(fits).map(info).take(200).collect()
    }

    pub(crate) fn points(&self, series: u32, from: u64, to: u64) -> Vec<(u64, f64)> {
        let series = usize::try_from(series).ok().and_then(|index| self.series.get(index));
        let points = series.map(|series| series.points.as_slice()).unwrap_or_default();
        points.iter().filter(|(time, _)| (from..to).contains(time)).copied().collect()
    }

    /// The state that a write of this capability would find, as plans word it.
    pub(crate) fn state(&self, capability: &str, target: &str, key: Option<&str>) -> Option<String> {
        match capability {
            "config" => Some(config_state(self.value(target, key?))),
            "process" => {
                let status = self.processes.get(target)?;
                Some(status.pid.map_or_else(|| "not running".to_owned(), |pid| format!("pid={pid}")))
            }
            _ => None,
        }
    }

    /// The value of a key that is in force.
    pub(crate) fn value(&self, target: &str, key: &str) -> Option<&str> {
        self.config.get(target)?.get(key)?.first()?.value.as_deref()
    }

    pub(crate) fn answer(&self, request: &HttpRequest) -> Result<HttpResponse, CallError> {
        let target = &request.target.0;
        let answers = self.http.get(target).ok_or_else(|| behind("http", target))?;
        let found =
            answers.iter().find(|answer| answer.method == request.method && answer.path == request.path);
        Ok(match found {
            Some(answer) => HttpResponse {
                status: answer.status,
                headers: Vec::new(),
                body: answer.body.clone().into_bytes(),
            },
            None => HttpResponse { status: 404, ..HttpResponse::default() },
        })
    }
}

/// A value as a state; the real broker's words.
fn config_state(value: Option<&str>) -> String {
    value.map_or_else(|| "absent".to_owned(), |value| format!("value={value}"))
}

/// There is no such thing behind the target.
pub(crate) fn behind(capability: &str, target: &str) -> CallError {
    CallError::NotFound(format!("`{capability}` behind target `{target}`"))
}

/// Of the entries of one name, the one that overlaps the window most.
fn best<K: Ord, T: Clone>(entries: &[During<T>], from: u64, to: u64, name: impl Fn(&T) -> K) -> Vec<T> {
    let mut found: BTreeMap<K, (u64, &T)> = BTreeMap::new();
    for entry in entries {
        let overlap = to.min(entry.to).saturating_sub(from.max(entry.from));
        let slot = found.entry(name(&entry.what)).or_insert((0, &entry.what));
        if overlap > slot.0 {
            *slot = (overlap, &entry.what);
        }
    }
    found.into_values().filter(|(overlap, _)| *overlap > 0).map(|(_, entry)| entry.clone()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn service(from: u64, to: u64, error_ratio: f64) -> During<ServiceStats> {
        let what = ServiceStats { service: "shop".into(), error_ratio, ..ServiceStats::default() };
        During { from, to, what }
    }

    /// Guarantees: a window is answered by what was so for most of it, and by nothing where nothing is known.
    #[test]
    fn the_longest_overlap_answers() {
        let world = World { services: vec![service(0, 10, 0.0), service(10, 20, 0.5)], ..World::default() };
        let ratio = |from, to| world.services(from, to).first().map(|stats| stats.error_ratio);
        assert_eq!((ratio(0, 12), ratio(8, 18), ratio(30, 40)), (Some(0.0), Some(0.5), None));
    }
}
