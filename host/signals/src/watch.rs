//! Series under watch: those of an incident's symptoms, and those that an expectation names.

use crate::{
    counters::SignalsCounters,
    store::{Series, SeriesTable, Slot},
};
use salve_model::{
    Tenant,
    incident::IncidentId,
    plan::Expectation,
    telemetry::{Measurement, SeriesKey},
    time::EventTime,
};
use std::collections::{BTreeMap, HashMap};

/// Most points of either kind that wait to be fetched.
const WAITING_MAX: usize = 100_000;

/// A point for an expectation: whose, its index in the plan, when, what.
pub type ExpectedPoint = (IncidentId, u32, EventTime, f64);

#[derive(Debug)]
struct Watch {
    tenant: Tenant,
    series: Vec<SeriesKey>,
    expectations: Vec<Expectation>,
}

/// For whom a series is watched.
#[derive(Debug, Default)]
struct Audience {
    measured: bool,
    expected: Vec<(IncidentId, u32)>,
}

/// All watches, and the points that wait.
#[derive(Debug, Default)]
pub(crate) struct Watches {
    watches: BTreeMap<IncidentId, Watch>,
    audiences: HashMap<Slot, Audience>,
    measured: Vec<Measurement>,
    expected: Vec<ExpectedPoint>,
}

impl Watches {
    /// Replaces what is watched for an incident of this tenant; nothing at all ends its watch.
    pub(crate) fn watch(
        &mut self,
        incident: &IncidentId,
        tenant: &Tenant,
        series: &[SeriesKey],
        expectations: &[Expectation],
        table: &mut SeriesTable,
    ) {
        if series.is_empty() && expectations.is_empty() {
            self.watches.remove(incident);
            self.expected.retain(|(other, ..)| other != incident);
        } else {
            let watch = Watch {
                tenant: tenant.clone(),
                series: series.to_vec(),
                expectations: expectations.to_vec(),
            };
            self.watches.insert(incident.clone(), watch);
        }
        self.audiences.clear();
        for (slot, series) in table.iter_mut() {
            series.watched = false;
            self.admit(slot, series);
        }
    }

    /// Finds out for whom a series is watched.
    pub(crate) fn admit(&mut self, slot: Slot, series: &mut Series) {
        let mut audience = Audience::default();
        for (incident, watch) in &self.watches {
            audience.measured |= watch.series.contains(&series.key);
            let is_own = watch.tenant == series.origin.tenant;
            let indexes = (0..)
                .zip(&watch.expectations)
                .filter(|(_, expectation)| is_own && is_meant(expectation, series));
            audience.expected.extend(indexes.map(|(index, _)| (incident.clone(), index)));
        }
        if audience.measured || !audience.expected.is_empty() {
            series.watched = true;
            series.history.keep_fine();
            self.audiences.insert(slot, audience);
        }
    }

    pub(crate) fn dismiss(&mut self, slot: Slot) {
        self.audiences.remove(&slot);
    }

    pub(crate) fn push(
        &mut self,
        slot: Slot,
        key: SeriesKey,
        time: EventTime,
        value: f64,
        counters: &mut SignalsCounters,
    ) {
        let Some(audience) = self.audiences.get(&slot) else { return };
        if audience.measured {
            self.measured.push(Measurement { series: key, time, value, abnormal: false });
            counters.watched_dropped += bound(&mut self.measured);
        }
        for (incident, index) in &audience.expected {
            self.expected.push((incident.clone(), *index, time, value));
            counters.watched_dropped += bound(&mut self.expected);
        }
    }

    pub(crate) fn take(&mut self) -> (Vec<Measurement>, Vec<ExpectedPoint>) {
        (std::mem::take(&mut self.measured), std::mem::take(&mut self.expected))
    }
}

/// Drops the oldest half of what waits too long; says how many.
fn bound<T>(waiting: &mut Vec<T>) -> u64 {
    if waiting.len() <= WAITING_MAX {
        return 0;
    }
    let dropped = waiting.len() / 2;
    waiting.drain(..dropped);
    dropped as u64
}

/// An expectation about a service means the whole service, not its operations, where Salve derives both.
fn is_meant(expectation: &Expectation, series: &Series) -> bool {
    *expectation.signal == *series.name
        && *expectation.service == *series.origin.service
        && !(series.name.starts_with("salve.span.") && series.attributes.get("span.name").is_some())
}
