//! Where failures and waiting time come to rest.
//!
//! Both are conserved: an order that fails at the front end failed at each service on the way, and a second that a
//! caller waits longer is a second that its callee takes longer (Little's law). So what a service has more of than
//! before is passed on to the callees that have it too, and what nobody further down has stays where it is.
//!
//! ## What always holds
//! - amounts are failures, or seconds of waiting, in a second; none is ever negative
//! - what comes to rest adds up to what came in, but for cycles deeper than `DEPTH_MAX`

use crate::view::{Edge, Map, View};
use std::collections::BTreeMap;

/// Calls deeper than this end a path; maps with cycles have no other end.
const DEPTH_MAX: usize = 16;

/// A failure ratio must rise by this much to count.
const FAILURES_MIN: f64 = 0.02;
/// Time to serve must rise to this many times what it was, and by this much, to count.
const SLOWER_MIN: f64 = 1.3;
const SLOWER_MIN_MS: f64 = 5.0;

/// What is more than before, by service and by edge.
#[derive(Debug, Clone, Default)]
pub struct Excess {
    /// In a second.
    pub services: BTreeMap<String, f64>,
    /// In a second.
    pub edges: BTreeMap<Edge, f64>,
}

/// How much worse one ratio or time is.
struct Before<'a> {
    view: &'a View,
}

/// Failures in a second, more than before.
#[must_use]
pub fn failures(view: &View) -> Excess {
    let excess = |before: Option<f64>, during: f64, rate: f64| {
        let more = during - before.unwrap_or(0.0);
        if more >= FAILURES_MIN { more * rate } else { 0.0 }
    };
    Before { view }.compare(
        |map, service| map.services.get(service).map(|stats| (stats.error_ratio, stats.requests_per_second)),
        |map, edge| map.edges.get(edge).map(|stats| (stats.error_ratio, stats.requests_per_second)),
        excess,
    )
}

/// Seconds of waiting in a second, more than before. What was not there before has nothing to be compared with.
#[must_use]
pub fn waiting(view: &View) -> Excess {
    let excess = |before: Option<f64>, during: f64, rate: f64| match before {
        Some(before) if before > 0.0 && during >= SLOWER_MIN * before && during - before >= SLOWER_MIN_MS => {
            (during - before) / 1_000.0 * rate
        }
        _ => 0.0,
    };
    Before { view }.compare(
        |map, service| {
            map.services.get(service).map(|stats| (stats.duration_mean_ms, stats.requests_per_second))
        },
        |map, edge| map.edges.get(edge).map(|stats| (stats.duration_mean_ms, stats.requests_per_second)),
        excess,
    )
}

impl Before<'_> {
    /// `of_*` give a value and the rate of requests; `excess` compares values and multiplies by the rate.
    fn compare(
        &self,
        of_service: impl Fn(&Map, &str) -> Option<(f64, f64)>,
        of_edge: impl Fn(&Map, &Edge) -> Option<(f64, f64)>,
        excess: impl Fn(Option<f64>, f64, f64) -> f64,
    ) -> Excess {
        let View { before, during, .. } = self.view;
        // A service that served nothing has no ratio and no time to compare.
        let served = |found: Option<(f64, f64)>| found.filter(|(_, rate)| *rate > 0.0);
        let services = during.services.keys().filter_map(|name| {
            let (value, rate) = served(of_service(during, name))?;
            let amount = excess(served(of_service(before, name)).map(|(value, _)| value), value, rate);
            (amount > 0.0).then(|| (name.clone(), amount))
        });
        let edges = during.edges.keys().filter_map(|edge| {
            let (value, rate) = served(of_edge(during, edge))?;
            let amount = excess(served(of_edge(before, edge)).map(|(value, _)| value), value, rate);
            (amount > 0.0).then(|| (edge.clone(), amount))
        });
        Excess { services: services.collect(), edges: edges.collect() }
    }
}

impl Excess {
    /// What an edge has more of.
    #[must_use]
    pub fn edge(&self, caller: &str, callee: &str) -> f64 {
        self.edges.get(&(caller.to_string(), callee.to_string())).copied().unwrap_or(0.0)
    }

    /// What a service has more of.
    #[must_use]
    pub fn service(&self, service: &str) -> f64 {
        self.services.get(service).copied().unwrap_or(0.0)
    }

    /// The edges of a caller that have more.
    pub fn callees<'a>(&'a self, caller: &'a str) -> impl Iterator<Item = (&'a str, f64)> {
        self.edges
            .iter()
            .filter(move |((from, _), _)| from == caller)
            .map(|((_, to), amount)| (to.as_str(), *amount))
    }

    /// Shares of the whole that come to rest at each service, adding up to at most 1. `passes(caller, callee)` is the
    /// share of an edge's excess that is the callee's doing; the rest of it stays with the caller.
    #[must_use]
    pub fn rest(&self, passes: impl Fn(&str, &str) -> f64) -> BTreeMap<String, f64> {
        let mut rest: BTreeMap<String, f64> = BTreeMap::new();
        // It comes in at the services whose callers do not have it, and at callers that nobody serves.
        let mut moving: BTreeMap<String, f64> = BTreeMap::new();
        for (service, amount) in &self.services {
            let from_callers: f64 = self
                .edges
                .iter()
                .filter(|((_, callee), _)| callee == service)
                .map(|(_, amount)| amount)
                .sum();
            moving.insert(service.clone(), (amount - from_callers).max(0.0));
        }
        for (caller, callee) in self.edges.keys() {
            if !self.services.contains_key(caller) {
                *moving.entry(caller.clone()).or_default() += self.edge(caller, callee);
            }
        }
        for _ in 0..DEPTH_MAX {
            let mut next: BTreeMap<String, f64> = BTreeMap::new();
            for (service, amount) in std::mem::take(&mut moving) {
                if amount <= 0.0 {
                    continue;
                }
                let waits: f64 = self.callees(&service).map(|(_, more)| more).sum();
                let whole = self.service(&service).max(waits).max(f64::MIN_POSITIVE);
                let mut stays = amount;
                for (callee, more) in self.callees(&service) {
                    let passed = amount * more / whole * passes(&service, callee).clamp(0.0, 1.0);
                    stays -= passed;
                    *next.entry(callee.to_string()).or_default() += passed;
                }
                *rest.entry(service).or_default() += stays.max(0.0);
            }
            moving = next;
        }
        for (service, amount) in moving {
            *rest.entry(service).or_default() += amount;
        }
        let whole: f64 = rest.values().sum();
        if whole > 0.0 {
            rest.values_mut().for_each(|amount| *amount /= whole);
        }
        rest
    }
}
