//! What the analyst looks at: the service map before and during the incident, the symptoms, and what was changed.

use salve_plugin::{
    agent::{Incident, Symptom},
    telemetry::{self, Change, EdgeStats, ServiceStats, window},
};
use std::collections::BTreeMap;

/// Nanoseconds of a millisecond.
const MS: u64 = 1_000_000;

/// How far before the first symptom the reference ends: the fault is older than its first symptom.
const REFERENCE_GAP_MS: u64 = 10_000;
/// The reference is the median of so many windows, each so long: earlier incidents in it are outvoted.
const REFERENCE_WINDOWS: u64 = 20;
const REFERENCE_WINDOW_MS: u64 = 15_000;
/// How far before the first symptom the incident's window begins: the first of these that has any request. Buckets are
/// as long as the operator wants, and the window must hold one.
const MARGINS_MS: [u64; 4] = [2_000, 5_000, 20_000, 120_000];
/// The incident's window is at most this long, so that what was long ago is not mixed with what is.
const DURING_MS: u64 = 30_000;
/// How long before a symptom a change can be its cause, and how long after, since changes are noticed late.
const CHANGE_BEFORE_MS: u64 = 300_000;
const CHANGE_AFTER_MS: u64 = 3_000;
/// How long after the first symptom a change can be the cause of later ones. What is changed later than this, people who were
/// called may have changed to end the incident.
const CHANGE_DURING_MS: u64 = 15_000;

/// Calls from one service to another.
pub type Edge = (String, String);

/// The map over one window.
#[derive(Debug, Clone, Default)]
pub struct Map {
    /// By name.
    pub services: BTreeMap<String, ServiceStats>,
    /// By caller and callee.
    pub edges: BTreeMap<Edge, EdgeStats>,
}

impl Map {
    /// A map of these services and edges.
    #[must_use]
    pub fn new(services: Vec<ServiceStats>, edges: Vec<EdgeStats>) -> Self {
        Self {
            services: services.into_iter().map(|stats| (stats.service.clone(), stats)).collect(),
            edges: edges
                .into_iter()
                .map(|stats| ((stats.caller.clone(), stats.callee.clone()), stats))
                .collect(),
        }
    }

    fn read(from: u64, to: u64) -> Self {
        Self::new(telemetry::services(window(from, to)), telemetry::edges(window(from, to)))
    }

    /// The median of each rate, ratio and time over those of the maps in which there were requests.
    #[must_use]
    pub fn median(maps: &[Self]) -> Self {
        let median = |mut values: Vec<f64>| {
            values.sort_by(f64::total_cmp);
            values.get(values.len() / 2).copied().unwrap_or(0.0)
        };
        let mut whole = Self::default();
        for map in maps {
            for (name, stats) in &map.services {
                let known = whole.services.entry(name.clone()).or_insert_with(|| stats.clone());
                known.last_seen = known.last_seen.max(stats.last_seen);
            }
            for (edge, stats) in &map.edges {
                whole.edges.entry(edge.clone()).or_insert_with(|| stats.clone());
            }
        }
        for (name, stats) in &mut whole.services {
            let served: Vec<&ServiceStats> = maps
                .iter()
                .filter_map(|map| map.services.get(name).filter(|stats| stats.requests_per_second > 0.0))
                .collect();
            let of =
                |field: fn(&ServiceStats) -> f64| median(served.iter().map(|stats| field(stats)).collect());
            stats.requests_per_second = of(|stats| stats.requests_per_second);
            stats.error_ratio = of(|stats| stats.error_ratio);
            stats.duration_mean_ms = of(|stats| stats.duration_mean_ms);
            stats.duration_p95_ms = of(|stats| stats.duration_p95_ms);
        }
        for (edge, stats) in &mut whole.edges {
            let calls: Vec<&EdgeStats> = maps.iter().filter_map(|map| map.edges.get(edge)).collect();
            let of = |field: fn(&EdgeStats) -> f64| median(calls.iter().map(|stats| field(stats)).collect());
            stats.requests_per_second = of(|stats| stats.requests_per_second);
            stats.error_ratio = of(|stats| stats.error_ratio);
            stats.duration_mean_ms = of(|stats| stats.duration_mean_ms);
        }
        whole
    }

    /// What each service that served takes for a request by itself, without what it calls, in milliseconds. Calls that it makes at
    /// the same time are counted one by one, and 0 is the least. For a request there are as many calls as in `usual` at least: of
    /// the newest, those to a slow callee above all, the callee's half may not have come yet.
    #[must_use]
    pub fn own_ms(&self, usual: &Self) -> BTreeMap<&str, f64> {
        let mut called: BTreeMap<&str, f64> = BTreeMap::new();
        for edge in self.edges.values() {
            let calls = self.calls_per_request(edge).max(usual.calls_per_request(edge));
            *called.entry(&edge.caller).or_default() += calls * edge.duration_mean_ms;
        }
        let served = self.services.iter().filter(|(_, stats)| stats.requests_per_second > 0.0);
        let own = |(name, stats): (&'_ String, &ServiceStats)| {
            (stats.duration_mean_ms - called.get(name.as_str()).copied().unwrap_or_default()).max(0.0)
        };
        served.map(|service| (service.0.as_str(), own(service))).collect()
    }

    /// Calls on this edge for each request that its caller serves; 0 if it serves none.
    fn calls_per_request(&self, edge: &EdgeStats) -> f64 {
        let served = self.services.get(&edge.caller).map_or(0.0, |stats| stats.requests_per_second);
        let calls = self.edges.get(&(edge.caller.clone(), edge.callee.clone()));
        if served > 0.0 { calls.map_or(0.0, |edge| edge.requests_per_second) / served } else { 0.0 }
    }

    /// Calls to a service in a second, by what is heard of its callers.
    #[must_use]
    pub fn calls_per_second(&self, callee: &str) -> f64 {
        let calls = self.edges.values().filter(|edge| edge.callee == callee);
        calls.map(|edge| edge.requests_per_second).sum()
    }

    fn has_requests(&self) -> bool {
        let services = self.services.values().map(|stats| stats.requests_per_second);
        services.chain(self.edges.values().map(|stats| stats.requests_per_second)).any(|rate| rate > 0.0)
    }
}

/// All that the analyst goes by.
#[derive(Debug, Clone, Default)]
pub struct View {
    /// Unix nanoseconds.
    pub now: u64,
    /// When the first symptom began, Unix nanoseconds.
    pub started: u64,
    /// Abnormal series.
    pub symptoms: Vec<Symptom>,
    /// The map before the incident.
    pub before: Map,
    /// The map during the incident.
    pub during: Map,
    /// Changes around its beginning, newest first.
    pub changes: Vec<Change>,
}

impl View {
    /// Asks the host.
    #[must_use]
    pub fn read(incident: &Incident) -> Self {
        let Incident { started, now, .. } = *incident;
        let reference_end = started.saturating_sub(REFERENCE_GAP_MS * MS);
        let reference: Vec<Map> = (0..REFERENCE_WINDOWS)
            .map(|window| reference_end.saturating_sub(window * REFERENCE_WINDOW_MS * MS))
            .map(|to| Map::read(to.saturating_sub(REFERENCE_WINDOW_MS * MS), to))
            .collect();
        let before = Map::median(&reference);
        let mut during = Map::default();
        for margin_ms in MARGINS_MS {
            let from = started.max(now.saturating_sub(DURING_MS * MS)).saturating_sub(margin_ms * MS);
            during = Map::read(from, now);
            if during.has_requests() {
                break;
            }
        }
        let mut changes = telemetry::changes(window(
            started.saturating_sub(CHANGE_BEFORE_MS * MS),
            started.saturating_add(CHANGE_DURING_MS * MS).min(now.saturating_add(1)),
        ));
        for change in &mut changes {
            if change.service.is_none() {
                let target =
                    incident.targets.iter().find(|target| Some(&target.id) == change.target.as_ref());
                change.service = target.and_then(|target| target.attribute("service.name")).map(Into::into);
            }
        }
        Self { now, started, symptoms: incident.symptoms.clone(), before, during, changes }
    }

    /// When that began to which a change could have led, Unix nanoseconds: the incident; or, if somebody changed a service when it
    /// had begun, as when another trouble is there already, the first symptom of that service since. `None`: it led to nothing.
    #[must_use]
    pub fn onset(&self, change: &Change) -> Option<u64> {
        let can_lead_to = |onset: &u64| change.time <= onset.saturating_add(CHANGE_AFTER_MS * MS);
        if can_lead_to(&self.started) {
            return Some(self.started);
        }
        // What Salve changes in an incident is a remedy.
        let own = self
            .symptoms
            .iter()
            .filter(|symptom| change.author != "salve" && change.service.as_ref() == Some(&symptom.service));
        own.map(|symptom| symptom.since).filter(can_lead_to).min()
    }

    /// All services that were ever seen here or have symptoms, by name.
    #[must_use]
    pub fn names(&self) -> Vec<String> {
        let mapped = self.before.services.keys().chain(self.during.services.keys()).cloned();
        let callers =
            self.before.edges.keys().chain(self.during.edges.keys()).map(|(caller, _)| caller.clone());
        let symptoms = self.symptoms.iter().map(|symptom| symptom.service.clone());
        let changed = self.changes.iter().filter_map(|change| change.service.clone());
        let mut names: Vec<String> =
            mapped.chain(callers).chain(symptoms).chain(changed).filter(|name| !name.is_empty()).collect();
        names.sort_unstable();
        names.dedup();
        names
    }

    /// When telemetry of any kind last came from a service; `None` if nobody knows it.
    #[must_use]
    pub fn last_seen(&self, service: &str) -> Option<u64> {
        let of = |map: &Map| map.services.get(service).map(|stats| stats.last_seen);
        of(&self.during).max(of(&self.before)).filter(|time| *time > 0)
    }

    /// How long a service has been silent, if it is silent and its peers are not: nothing came from it since the
    /// incident began while others were heard, or for far longer than from others.
    #[must_use]
    pub fn silence_ms(&self, service: &str) -> Option<u64> {
        /// Telemetry that was on its way when the first symptom was noticed.
        const ON_ITS_WAY_MS: u64 = 200;
        /// Times the usual silence of the others, and at least this.
        const FACTOR: u64 = 3;
        const LEAST_MS: u64 = 1_500;

        let last = self.last_seen(service)?;
        let silence_ms = self.now.saturating_sub(last) / MS;
        let mut others: Vec<u64> = self
            .names()
            .iter()
            .filter(|name| *name != service)
            .filter_map(|name| self.last_seen(name))
            .map(|time| self.now.saturating_sub(time) / MS)
            .collect();
        others.sort_unstable();
        let Some(usual_ms) = others.get(others.len() / 2).copied() else {
            // Nobody to compare with: its own symptoms must say it.
            let missing = self
                .symptoms
                .iter()
                .any(|symptom| symptom.service == service && symptom.kind == salve_plugin::Kind::Missing);
            return missing.then_some(silence_ms);
        };
        let heard_since =
            others.first().is_some_and(|least| self.now.saturating_sub(least * MS) > self.started);
        let not_since_it_began = heard_since && last + ON_ITS_WAY_MS * MS < self.started;
        let far_longer = silence_ms > LEAST_MS.max(FACTOR * usual_ms);
        // A silence that is within what is usual among the others says nothing, whenever the incident began.
        ((not_since_it_began && silence_ms > 2 * usual_ms) || far_longer).then_some(silence_ms)
    }
}
