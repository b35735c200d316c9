//! What a rise of load explains: waiting, and failures of what is more than before.

use super::{CAP_NATS, Ranking, served};
use crate::view::{Map, View};
use salve_plugin::telemetry::ServiceStats;
use std::collections::{BTreeMap, BTreeSet};

/// A load this many times that of before explains waiting and failures.
const SURGE: f64 = 1.5;

/// A service at which requests come in.
pub(super) struct Entry {
    service: String,
    /// It, and all that it calls, and those call.
    below: BTreeSet<String>,
}

impl Ranking<'_> {
    /// How many times as many requests as before a service gets.
    pub(super) fn load_ratio(&self, service: &str) -> f64 {
        let before = served(self.view.before.services.get(service));
        let during = served(self.view.during.services.get(service));
        if before > 0.0 { during / before } else { 1.0 }
    }

    /// How many times as often as before a service is called, by what is heard of its callers.
    fn calls_ratio(&self, service: &str) -> f64 {
        let before = self.view.before.calls_per_second(service);
        if before > 0.0 { self.view.during.calls_per_second(service) / before } else { 1.0 }
    }

    /// How many times as many requests as before come in at the entry above a service that has most more; at least 1.
    pub(super) fn outside_load(&self, service: &str) -> f64 {
        let above = self.entries.iter().filter(|entry| entry.below.contains(service));
        above.map(|entry| self.load_ratio(&entry.service)).fold(1.0, f64::max)
    }

    /// More requests than before, from outside.
    pub(super) fn load(&mut self) {
        if self.waiting.services.is_empty() && self.failures.services.is_empty() {
            return;
        }
        let surge = |entry: &Entry| {
            let ratio = self.load_ratio(&entry.service);
            (ratio >= SURGE).then(|| (entry.service.clone(), ratio, self.explained_by_load(entry, ratio)))
        };
        let surges: Vec<_> = self.entries.iter().filter_map(surge).collect();
        for (service, ratio, (failures, waiting)) in surges {
            let case = self.case(&service);
            let text = format!("It gets {ratio:.1} times as many requests as before");
            case.add("overload", 1.0 + 2.0 * ratio.ln(), "salve.span.request_rate", text);
            let text = "So much more load explains failures, here or below".to_owned();
            case.add("overload", failures, "salve.edge.error_ratio", text);
            let text = "So much more load explains waiting, here or below".to_owned();
            case.add("overload", waiting, "salve.span.duration.mean", text);
        }
    }

    /// Nats of failures and of waiting, at an entry and below, that so many times the requests of before explain: at services that
    /// get more of them. What was served before is served still (as far as it is not, something else is wrong), and of the others
    /// all may fail; that they only wait is as likely as there are more of them.
    fn explained_by_load(&self, entry: &Entry, ratio: f64) -> (f64, f64) {
        let (mut failures, mut waiting) = (0.0, 0.0);
        let still_served = self.still_served(&entry.service);
        for (name, case) in self.cases.iter().filter(|(name, _)| entry.below.contains(*name)) {
            let more = self.load_ratio(name).max(self.calls_ratio(name)).min(ratio);
            let beyond = (1.0 - 1.0 / more.max(1.0)).max(0.0);
            let nats = |mechanism| case.mechanisms.get(mechanism).copied().unwrap_or_default();
            if case.failing > 0.0 {
                let explained = (beyond / case.failing).min(1.0) * still_served.powi(2);
                failures += (nats("errors") + nats("unresponsive")) * explained;
            }
            waiting += nats("slow") * beyond;
        }
        (failures.min(CAP_NATS), waiting.min(CAP_NATS))
    }

    /// Requests that an entry serves without failure, as a share of before; at most 1. Customers who try again raise the load, but
    /// not this.
    fn still_served(&self, entry: &str) -> f64 {
        let good = |map: &Map| {
            map.services.get(entry).map_or(0.0, |stats| stats.requests_per_second * (1.0 - stats.error_ratio))
        };
        let before = good(&self.view.before);
        if before > 0.0 { (good(&self.view.during) / before).clamp(0.0, 1.0) } else { 1.0 }
    }
}

/// The services that get most of their requests from outside. Customers who send telemetry serve nobody.
pub(super) fn entries(view: &View) -> Vec<Entry> {
    let View { before, during, .. } = view;
    let is_server = |name: &str| [before, during].iter().any(|map| served(map.services.get(name)) > 0.0);
    let mut inside: BTreeMap<&str, f64> = BTreeMap::new();
    for edge in during.edges.values().filter(|edge| is_server(&edge.caller)) {
        *inside.entry(&edge.callee).or_default() += edge.requests_per_second;
    }
    let is_entry = |(name, stats): &(&String, &ServiceStats)| {
        let inside = inside.get(name.as_str()).copied().unwrap_or_default();
        is_server(name) && inside <= 0.5 * stats.requests_per_second
    };
    let found = during.services.iter().filter(is_entry);
    found.map(|(name, _)| Entry { service: name.clone(), below: reachable(during, name) }).collect()
}

/// A service and all that it calls, and those call.
fn reachable(map: &Map, service: &str) -> BTreeSet<String> {
    let mut found = BTreeSet::from([service.to_owned()]);
    let mut open = vec![service.to_owned()];
    while let Some(caller) = open.pop() {
        let calls =
            map.edges.range((caller.clone(), String::new())..).take_while(|((from, _), _)| *from == caller);
        for ((_, callee), _) in calls {
            if found.insert(callee.clone()) {
                open.push(callee.clone());
            }
        }
    }
    found
}
