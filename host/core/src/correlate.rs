//! To which incident a symptom belongs: one fault, one incident.
//!
//! Only incidents of the symptom's tenant count, and only calls between that tenant's services. In this order: an open
//! incident with the same service; the open incident whose services are fewest calls away on the service map, either way
//! along the calls, at most `correlate_hops_max`; a closed incident that had this very series and ended within `reopen_ms`;
//! if too many of the tenant's are open, the one opened last; else a new one. Equals: the older incident.
//! Incidents about plugins take no symptoms and do not count here.

use crate::{
    incident::{Incident, Phase},
    settings::Settings,
};
use salve_model::{Tenant, telemetry::SeriesRef, time::Now};
use std::collections::{BTreeMap, BTreeSet};

/// Where a symptom goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Place {
    /// To this open incident, by number.
    Join(u64),
    /// To this open incident, only because there are too many.
    Overflow(u64),
    /// To this closed incident, which comes back.
    Reopen(u64),
    /// To a new one.
    Open,
}

/// Finds the place of a confirmed symptom of a series that no open incident has.
pub(crate) fn place(
    series: &SeriesRef,
    incidents: &BTreeMap<u64, Incident>,
    topology: &BTreeMap<Tenant, BTreeSet<(String, String)>>,
    settings: &Settings,
    now: Now,
) -> Place {
    let own = || incidents.values().filter(|incident| incident.is_about(&series.tenant));
    let open = || own().filter(|incident| incident.is_open());
    let no_calls = BTreeSet::new();
    let calls = topology.get(&series.tenant).unwrap_or(&no_calls);
    let hops = hops_from(&series.service, calls, settings.correlate_hops_max);
    let nearest = open()
        .filter_map(|incident| {
            let services = incident.symptoms.iter().map(|tracked| tracked.symptom.series.service.as_str());
            let distance = services.filter_map(|service| hops.get(service)).min()?;
            Some((*distance, incident.number))
        })
        .min();
    if let Some((_, number)) = nearest {
        return Place::Join(number);
    }
    let came_back = own().rev().find(|incident| match incident.phase {
        Phase::Closed { at } => {
            now.since_ms(at) <= settings.reopen_ms && incident.symptom(series.key).is_some()
        }
        _ => false,
    });
    let count = open().count();
    let is_full = count >= usize::try_from(settings.incidents_open_max.max(1)).unwrap_or(usize::MAX);
    match (came_back, open().next_back()) {
        (_, Some(last)) if is_full => Place::Overflow(last.number),
        (Some(incident), _) => Place::Reopen(incident.number),
        _ => Place::Open,
    }
}

/// Services within `hops_max` calls of `service`, either way, and how far each is. A service without a name has no
/// neighbours.
fn hops_from<'a>(
    service: &'a str,
    topology: &'a BTreeSet<(String, String)>,
    hops_max: u32,
) -> BTreeMap<&'a str, u32> {
    let mut hops = BTreeMap::from([(service, 0)]);
    if service.is_empty() {
        return hops;
    }
    let mut border = BTreeSet::from([service]);
    for distance in 1..=hops_max {
        let mut next = BTreeSet::new();
        for (caller, callee) in topology {
            for (here, there) in [(caller, callee), (callee, caller)] {
                if border.contains(here.as_str()) && !there.is_empty() && !hops.contains_key(there.as_str()) {
                    hops.insert(there, distance);
                    next.insert(there.as_str());
                }
            }
        }
        if next.is_empty() {
            break;
        }
        border = next;
    }
    hops
}
