//! What a rise of load explains: waiting, and failures of what is more than before.

use super::{CAP_NATS, Ranking, served};
use crate::view::{Map, View};
use salve_plugin::telemetry::ServiceStats;
use std::collections::BTreeSet;

/// A load this many times that of before explains waiting and failures.
const SURGE: f64 = 1.5;

impl Ranking<'_> {
    /// How many times as many requests as before a service gets.
    pub(super) fn load_ratio(&self, service: &str) -> f64 {
        let before = served(self.view.before.services.get(service));
        let during = served(self.view.during.services.get(service));
        if before > 0.0 { during / before } else { 1.0 }
    }

    /// How many times as often as before a service is called, by what is heard of its callers.
    fn calls_ratio(&self, service: &str) -> f64 {
        let calls = |map: &Map| -> f64 {
            let calls = map.edges.values().filter(|edge| edge.callee == service);
            calls.map(|edge| edge.requests_per_second).sum()
        };
        let before = calls(&self.view.before);
        if before > 0.0 { calls(&self.view.during) / before } else { 1.0 }
    }

    /// Services that get most of their requests from outside. Customers who send telemetry serve nobody.
    fn entries(&self) -> Vec<String> {
        let View { before, during, .. } = self.view;
        let is_server = |name: &str| [before, during].iter().any(|map| served(map.services.get(name)) > 0.0);
        let is_entry = |(name, stats): &(&String, &ServiceStats)| {
            let inside = self.callers(name).filter(|edge| is_server(&edge.caller));
            let inside: f64 = inside.map(|edge| edge.requests_per_second).sum();
            is_server(name) && inside <= 0.5 * stats.requests_per_second
        };
        during.services.iter().filter(is_entry).map(|(name, _)| name.clone()).collect()
    }

    /// How many times as many requests as before come in at the entry above a service that has most more; at least 1.
    pub(super) fn outside_load(&self, service: &str) -> f64 {
        let above = self.entries().into_iter().filter(|entry| self.reachable(entry).contains(service));
        above.map(|entry| self.load_ratio(&entry)).fold(1.0, f64::max)
    }

    /// More requests than before, from outside.
    pub(super) fn load(&mut self) {
        for service in self.entries() {
            let ratio = self.load_ratio(&service);
            let suffers = !self.waiting.services.is_empty() || !self.failures.services.is_empty();
            if ratio >= SURGE && suffers {
                let (failures, waiting) = self.explained_by_load(&service, ratio);
                let case = self.case(&service);
                let text = format!("It gets {ratio:.1} times as many requests as before");
                case.add("overload", 1.0 + 2.0 * ratio.ln(), "salve.span.request_rate", text);
                let text = "So much more load explains failures, here or below".to_owned();
                case.add("overload", failures, "salve.edge.error_ratio", text);
                let text = "So much more load explains waiting, here or below".to_owned();
                case.add("overload", waiting, "salve.span.duration.mean", text);
            }
        }
    }

    /// Nats of failures and of waiting, at an entry and below, that so many times the requests of before explain: at services that
    /// get more of them. What was served before is served still (as far as it is not, something else is wrong), and of the others
    /// all may fail; that they only wait is as likely as there are more of them.
    fn explained_by_load(&self, entry: &str, ratio: f64) -> (f64, f64) {
        let (mut failures, mut waiting) = (0.0, 0.0);
        let below = self.reachable(entry);
        let still_served = self.still_served(entry);
        for (name, case) in self.cases.iter().filter(|(name, _)| below.contains(*name)) {
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

    /// A service and all that it calls, and those call.
    fn reachable(&self, entry: &str) -> BTreeSet<String> {
        let mut found = BTreeSet::from([entry.to_owned()]);
        let mut open = vec![entry.to_owned()];
        while let Some(caller) = open.pop() {
            for edge in self.view.during.edges.values().filter(|edge| edge.caller == caller) {
                if found.insert(edge.callee.clone()) {
                    open.push(edge.callee.clone());
                }
            }
        }
        found
    }
}
