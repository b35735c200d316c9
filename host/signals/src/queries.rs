//! Questions about the past: the bounds of the contract's `telemetry` interface are kept here.

use crate::{engine::Signals, store::Slot};
use salve_model::{
    Attributes, Tenant,
    call::{EdgeStats, SeriesInfo, ServiceStats},
    telemetry::Change,
    time::Now,
};
use std::collections::BTreeSet;

/// Most services of one answer.
const SERVICES_MAX: usize = 1_000;
/// Most edges of one answer.
const EDGES_MAX: usize = 5_000;
/// Most changes of one answer.
const CHANGES_MAX: usize = 100;
/// Most series of one answer.
const FIND_MAX: usize = 200;
/// Most points of one answer.
const POINTS_MAX: usize = 2_000;
/// Nanoseconds of a millisecond.
const NS: u64 = 1_000_000;

/// A resource that telemetry came from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ResourceSeen {
    /// Its attributes, `service.name` included.
    pub attributes: Attributes,
    /// Receive time of its newest telemetry.
    pub last_seen: Now,
}

/// Questions about one tenant's telemetry: see [`Signals::of`].
///
/// Windows are Unix nanoseconds, the end not included. Rates, ratios and means are true sums over the closed buckets that
/// begin in the window; the window is cut to where there are buckets, so a service that is new has not been idle before.
#[derive(Debug, Clone, Copy)]
pub struct TenantView<'a> {
    signals: &'a Signals,
    tenant: &'a Tenant,
}

impl TenantView<'_> {
    /// Services that served requests in the window, or were heard of since it began: at most 1,000, by name.
    #[must_use]
    pub fn services(&self, from: u64, to: u64) -> Vec<ServiceStats> {
        let (from_ms, to_ms) = (from / NS, to.div_ceil(NS));
        let seen =
            self.signals.services.iter().filter(|service| service.origin.tenant == *self.tenant).filter_map(
                |service| {
                    let (sum, seconds) = service.served.as_ref().map_or_else(Default::default, |served| {
                        served.sum(from_ms, to_ms, self.signals.buckets)
                    });
                    let is_seen = sum.count > 0 || service.heard_ms >= from_ms;
                    is_seen.then(|| ServiceStats {
                        service: service.origin.service.to_string(),
                        requests_per_second: per_second(sum.count, seconds),
                        error_ratio: sum.error_ratio(),
                        duration_mean_ms: sum.mean_ms(),
                        duration_p95_ms: sum.sketch.quantile(0.95).unwrap_or(0.0),
                        last_seen: service.heard_ms.saturating_mul(NS),
                    })
                },
            );
        seen.take(SERVICES_MAX).collect()
    }

    /// Edges with calls in the window: at most 5,000, by caller and callee.
    #[must_use]
    pub fn edges(&self, from: u64, to: u64) -> Vec<EdgeStats> {
        let (from_ms, to_ms) = (from / NS, to.div_ceil(NS));
        let seen = self.signals.edges.iter().filter_map(|((caller, callee), edge)| {
            let caller =
                self.signals.services.get(*caller).filter(|caller| caller.origin.tenant == *self.tenant)?;
            let (sum, seconds) = edge.sum(from_ms, to_ms, self.signals.buckets);
            (sum.count > 0).then(|| EdgeStats {
                caller: caller.origin.service.to_string(),
                callee: callee.to_string(),
                requests_per_second: per_second(sum.count, seconds),
                error_ratio: sum.error_ratio(),
                duration_mean_ms: sum.mean_ms(),
            })
        });
        let mut edges: Vec<EdgeStats> = seen.collect();
        edges.sort_by(|left, right| (&left.caller, &left.callee).cmp(&(&right.caller, &right.callee)));
        edges.truncate(EDGES_MAX);
        edges
    }

    /// Callers and callees as far as they are known, each pair once, by name.
    #[must_use]
    pub fn topology(&self) -> Vec<(String, String)> {
        let edges = self.signals.edges.iter().filter_map(|((caller, callee), _)| {
            let caller = self.signals.services.get(*caller)?;
            let is_own = caller.origin.tenant == *self.tenant;
            is_own.then(|| (caller.origin.service.to_string(), callee.to_string()))
        });
        edges.collect::<BTreeSet<_>>().into_iter().collect()
    }

    /// Services that have been heard of and are not forgotten, by name.
    #[must_use]
    pub fn service_names(&self) -> Vec<String> {
        let own = self.signals.services.iter().filter(|service| service.origin.tenant == *self.tenant);
        own.map(|service| service.origin.service.to_string()).collect()
    }

    /// Changes in the window, newest first: at most 100.
    #[must_use]
    pub fn changes(&self, from: u64, to: u64) -> Vec<Change> {
        let in_window =
            |(owner, change): &&(Tenant, Change)| owner == self.tenant && (from..to).contains(&change.time.0);
        let mut changes: Vec<&Change> =
            self.signals.changes.iter().filter(in_window).map(|(_, change)| change).collect();
        // Of equal times the one recorded last comes first.
        changes.reverse();
        changes.sort_by_key(|change| std::cmp::Reverse(change.time));
        changes.into_iter().take(CHANGES_MAX).cloned().collect()
    }

    /// Series of a service (empty: of all) whose name begins with `name_prefix`: at most 200, oldest first.
    #[must_use]
    pub fn find(&self, service: &str, name_prefix: &str) -> Vec<SeriesInfo> {
        self.signals
            .store
            .table
            .iter()
            .filter(|(_, series)| series.origin.tenant == *self.tenant)
            .filter(|(_, series)| service.is_empty() || *series.origin.service == *service)
            .filter(|(_, series)| series.name.starts_with(name_prefix))
            .take(FIND_MAX)
            .map(|(slot, series)| series.to_info(slot))
            .collect()
    }

    /// Points of a series (its `SeriesInfo::id`) in the window, oldest first: the newest 2,000. Times are exact to the
    /// millisecond.
    #[must_use]
    pub fn points(&self, series: u32, from: u64, to: u64) -> Vec<(u64, f64)> {
        let series = self.signals.store.table.get(Slot(series));
        let Some(series) = series.filter(|series| series.origin.tenant == *self.tenant) else {
            return Vec::new();
        };
        let mut points = series.history.points(from.div_ceil(NS), to.div_ceil(NS));
        let excess = points.len().saturating_sub(POINTS_MAX);
        points.drain(..excess);
        points.into_iter().map(|(time_ms, value)| (time_ms.saturating_mul(NS), value)).collect()
    }

    /// Resources that carry all of `attributes`, `service.name` among them if asked for; newest first, at most `most`.
    #[must_use]
    pub fn resources(&self, attributes: &Attributes, most: usize) -> Vec<ResourceSeen> {
        let mut seen: Vec<ResourceSeen> = self
            .signals
            .resources
            .iter()
            .filter(|known| known.origin.tenant == *self.tenant)
            .map(|known| (known, &known.origin))
            .filter(|(_, origin)| {
                attributes.iter().all(|(name, value)| match name.as_str() {
                    "service.name" => **value == *origin.service,
                    _ => origin.attributes.get(name) == Some(value),
                })
            })
            .map(|(known, origin)| {
                let mut attributes = origin.attributes.clone();
                if !origin.service.is_empty() {
                    attributes.insert("service.name".into(), origin.service.to_string());
                }
                ResourceSeen { attributes, last_seen: Now(known.heard_ms) }
            })
            .collect();
        seen.sort_by(|left, right| {
            right.last_seen.cmp(&left.last_seen).then_with(|| left.attributes.cmp(&right.attributes))
        });
        seen.dedup();
        seen.truncate(most);
        seen
    }

    /// Names of the services of which some resource carries all of `attributes`: what a target selects. By name.
    #[must_use]
    pub fn services_with(&self, attributes: &Attributes) -> Vec<String> {
        let seen = self.resources(attributes, usize::MAX);
        let names: BTreeSet<String> =
            seen.into_iter().filter_map(|mut seen| seen.attributes.remove("service.name")).collect();
        names.into_iter().collect()
    }
}

impl Signals {
    /// Tenants with a service that has been heard of and is not forgotten.
    #[must_use]
    pub fn tenants(&self) -> BTreeSet<Tenant> {
        self.services.iter().map(|service| service.origin.tenant.clone()).collect()
    }

    /// Questions about one tenant's telemetry.
    #[must_use]
    pub fn of<'a>(&'a self, tenant: &'a Tenant) -> TenantView<'a> {
        TenantView { signals: self, tenant }
    }
}

fn per_second(count: u64, seconds: f64) -> f64 {
    if seconds > 0.0 { count as f64 / seconds } else { 0.0 }
}
