//! Resources and the services that they name.

use crate::{
    identity::{KeyHasher, Origin, cut, readable},
    red::{Activity, Buckets, Keep, LOGGED, SERVED, Timing},
    store::Store,
};
use salve_model::Tenant;
use salve_otlp::Attributes;
use std::{
    collections::{BTreeMap, HashMap, VecDeque},
    hash::{BuildHasher, RandomState},
    sync::Arc,
};

/// A resource with this attribute speaks about its service, not for it: it does not count as a sign of life.
pub const REPORTED_BY: &str = "salve.reported_by";

/// Index of a service; used again after a while.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct ServiceId(pub(crate) u32);

/// What a service did, by operation and severity.
#[derive(Debug)]
pub(crate) struct Service {
    pub(crate) origin: Arc<Origin>,
    /// Receive time of the newest telemetry of any signal, Unix milliseconds.
    pub(crate) heard_ms: u64,
    pub(crate) served: Option<Activity>,
    operations: BTreeMap<Arc<str>, Activity>,
    logs: [Option<Activity>; SEVERITIES.len()],
}

/// Attribute `severity` of `salve.log.record_rate`: names of the ranges of OTLP severity numbers, four to each.
const SEVERITIES: [&str; 7] = ["unspecified", "trace", "debug", "info", "warn", "error", "fatal"];

fn severity_index(severity_number: u32) -> usize {
    match severity_number {
        1..=24 => (severity_number as usize).div_ceil(4),
        _ => 0,
    }
}

impl Service {
    fn new(origin: Arc<Origin>) -> Self {
        Self { origin, heard_ms: 0, served: None, operations: BTreeMap::new(), logs: Default::default() }
    }

    /// Counts a served request.
    pub(crate) fn serve(&mut self, request: &Request<'_>, buckets: Buckets, store: &mut Store) -> Timing {
        let Request { operation, bucket, duration_ms, failed, now_ms } = *request;
        let origin = &self.origin;
        let served =
            self.served.get_or_insert_with(|| Activity::new(&SERVED, Keep::All, origin, &[], true, store));
        let timing = served.add(bucket, duration_ms, failed, buckets, now_ms);
        if let Some(activity) = self.operations.get_mut(operation) {
            activity.add(bucket, duration_ms, failed, buckets, now_ms);
        } else if operation.is_empty() {
            // Nothing to tell it apart by.
        } else if self.operations.len() < store.config.operations_per_service_max as usize {
            let name = store.texts.share(bounded(operation));
            let attributes = [("span.name", &*name)];
            let mut activity = Activity::new(&SERVED, Keep::Nothing, origin, &attributes, false, store);
            activity.add(bucket, duration_ms, failed, buckets, now_ms);
            self.operations.insert(name, activity);
        } else {
            store.counters.operations_over_limit += 1;
        }
        timing
    }

    /// Counts a log record.
    pub(crate) fn log(
        &mut self,
        severity_number: u32,
        bucket: u64,
        now_ms: u64,
        buckets: Buckets,
        store: &mut Store,
    ) -> Timing {
        let index = severity_index(severity_number);
        let (Some(logs), Some(severity)) = (self.logs.get_mut(index), SEVERITIES.get(index)) else {
            return Timing::TooOld;
        };
        let origin = &self.origin;
        logs.get_or_insert_with(|| {
            Activity::new(&LOGGED, Keep::Nothing, origin, &[("severity", severity)], true, store)
        })
        .add(bucket, 0.0, false, buckets, now_ms)
    }

    fn close(&mut self, bucket: u64, buckets: Buckets, store: &mut Store) {
        let activities = self.served.iter_mut().chain(self.operations.values_mut());
        for activity in activities.chain(self.logs.iter_mut().flatten()) {
            activity.close(bucket, buckets, store);
        }
    }

    /// Forgets operations and severities that are silent.
    fn expire_parts(&mut self, before_ms: u64, store: &mut Store) {
        for (_, activity) in self.operations.extract_if(.., |_, activity| activity.heard_ms < before_ms) {
            activity.release(store);
        }
        let parts = self.logs.iter_mut().chain([&mut self.served]);
        for part in parts.filter(|part| part.as_ref().is_some_and(|activity| activity.heard_ms < before_ms)) {
            if let Some(activity) = part.take() {
                activity.release(store);
            }
        }
    }

    fn heap_bytes(&self) -> usize {
        let activities = self.served.iter().chain(self.operations.values()).chain(self.logs.iter().flatten());
        size_of::<Self>()
            + activities.map(|activity| size_of::<Activity>() + activity.heap_bytes()).sum::<usize>()
    }
}

/// Longest span name of a series of its own, in bytes.
fn bounded(name: &str) -> &str {
    name.get(..name.floor_char_boundary(256)).unwrap_or("")
}

/// One served request.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Request<'a> {
    pub(crate) operation: &'a str,
    pub(crate) bucket: u64,
    pub(crate) duration_ms: f64,
    pub(crate) failed: bool,
    pub(crate) now_ms: u64,
}

/// All services.
#[derive(Debug, Default)]
pub(crate) struct Services {
    places: Vec<Option<Box<Service>>>,
    free: VecDeque<ServiceId>,
    ids: BTreeMap<(Tenant, Arc<str>), ServiceId>,
}

impl Services {
    pub(crate) fn get(&self, id: ServiceId) -> Option<&Service> {
        self.places.get(id.0 as usize)?.as_deref()
    }

    pub(crate) fn get_mut(&mut self, id: ServiceId) -> Option<&mut Service> {
        self.places.get_mut(id.0 as usize)?.as_deref_mut()
    }

    /// By tenant and name.
    pub(crate) fn iter(&self) -> impl Iterator<Item = &Service> {
        self.ids.values().filter_map(|id| self.get(*id))
    }

    pub(crate) fn len(&self) -> usize {
        self.ids.len()
    }

    fn intern(&mut self, tenant: &Tenant, name: &Arc<str>, services_max: u32) -> Option<ServiceId> {
        let key = (tenant.clone(), name.clone());
        if let Some(id) = self.ids.get(&key) {
            return Some(*id);
        }
        if self.ids.len() >= services_max as usize {
            return None;
        }
        let id = match self.free.pop_front() {
            Some(id) => id,
            None => {
                self.places.push(None);
                ServiceId(u32::try_from(self.places.len() - 1).ok()?)
            }
        };
        if let Some(place) = self.places.get_mut(id.0 as usize) {
            *place = Some(Box::new(Service::new(Arc::new(Origin::of_service(tenant, name)))));
        }
        self.ids.insert(key, id);
        Some(id)
    }

    pub(crate) fn close(&mut self, bucket: u64, buckets: Buckets, store: &mut Store) {
        for service in self.places.iter_mut().flatten() {
            service.close(bucket, buckets, store);
        }
    }

    /// Forgets what was silent since `before_ms`.
    pub(crate) fn expire(&mut self, before_ms: u64, store: &mut Store) {
        let (places, free) = (&mut self.places, &mut self.free);
        self.ids.retain(|_, id| {
            let Some(place) = places.get_mut(id.0 as usize) else { return false };
            let Some(service) = place else { return false };
            service.expire_parts(before_ms, store);
            let is_alive = service.heard_ms >= before_ms;
            if !is_alive {
                *place = None;
                free.push_back(*id);
                store.counters.expired += 1;
            }
            is_alive
        });
    }

    pub(crate) fn heap_bytes(&self) -> usize {
        self.iter().map(Service::heap_bytes).sum()
    }
}

/// A resource as it came.
#[derive(Debug)]
pub(crate) struct Known {
    pub(crate) origin: Arc<Origin>,
    /// None without `service.name`, and beyond `services_max`.
    pub(crate) service: Option<ServiceId>,
    pub(crate) heard_ms: u64,
}

/// Resources by the hash of their encoded attributes.
#[derive(Debug, Default)]
pub(crate) struct Resources {
    known: HashMap<u64, Known>,
    origins: HashMap<u64, Arc<Origin>>,
    hasher: RandomState,
}

impl Resources {
    /// Names a resource, as it came, within this process.
    pub(crate) fn hash(&self, tenant: &Tenant, attributes: &Attributes<'_>) -> u64 {
        self.hasher.hash_one((&tenant.0, attributes.hash64()))
    }

    pub(crate) fn get(&self, hash: u64) -> Option<&Known> {
        self.known.get(&hash)
    }

    /// All of them, in no particular order.
    pub(crate) fn iter(&self) -> impl Iterator<Item = &Known> {
        self.known.values()
    }

    pub(crate) fn len(&self) -> usize {
        self.known.len()
    }

    /// Notes that a resource was heard of; false if there is no room for it.
    pub(crate) fn hear(
        &mut self,
        hash: u64,
        tenant: &Tenant,
        attributes: &Attributes<'_>,
        now_ms: u64,
        services: &mut Services,
        store: &mut Store,
    ) -> bool {
        if !self.known.contains_key(&hash) {
            if self.known.len() >= store.config.resources_max as usize {
                return false;
            }
            let origin = self.origin(tenant, attributes, store);
            self.known.insert(hash, Known { origin, service: None, heard_ms: now_ms });
        }
        if let Some(known) = self.known.get_mut(&hash) {
            known.heard_ms = now_ms;
            if known.service.is_none() && !known.origin.service.is_empty() {
                known.service = services.intern(tenant, &known.origin.service, store.config.services_max);
            }
            // What a supervisor says of a service is no word of the service's own.
            let is_own = !known.origin.attributes.contains_key(REPORTED_BY);
            if let Some(service) = known.service.and_then(|id| services.get_mut(id)).filter(|_| is_own) {
                service.heard_ms = now_ms;
            }
        }
        true
    }

    fn origin(&mut self, tenant: &Tenant, attributes: &Attributes<'_>, store: &mut Store) -> Arc<Origin> {
        let mut pairs = readable(attributes.iter(), &store.config);
        let key = KeyHasher::new(tenant).pairs(&pairs).finish().0;
        if let Some(origin) = self.origins.get(&key) {
            return origin.clone();
        }
        let name = pairs.iter().position(|(name, _)| *name == "service.name").map(|at| pairs.remove(at).1);
        let service = store.texts.share(name.as_deref().map_or("", bounded));
        if cut(&mut pairs, store.config.attribute_bytes_max as usize) {
            store.counters.attributes_cut += 1;
        }
        let attributes = pairs.into_iter().map(|(name, value)| (name.to_owned(), value)).collect();
        let origin = Arc::new(Origin { tenant: tenant.clone(), service, attributes, key });
        self.origins.insert(key, origin.clone());
        origin
    }

    /// Forgets what was silent since `before_ms`.
    pub(crate) fn expire(&mut self, before_ms: u64, store: &mut Store) {
        let before = self.known.len();
        self.known.retain(|_, known| known.heard_ms >= before_ms);
        store.counters.expired += (before - self.known.len()) as u64;
        self.origins.retain(|_, origin| Arc::strong_count(origin) > 1);
    }

    /// Forgets how resources came, so that each is named again by the rules in force.
    pub(crate) fn forget(&mut self) {
        self.known.clear();
        self.origins.clear();
    }

    pub(crate) fn heap_bytes(&self) -> usize {
        self.known.capacity() * size_of::<(u64, Known)>()
            + self.origins.values().map(|origin| origin.heap_bytes()).sum::<usize>()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Guarantees: every OTLP severity number has a name, and others are not taken for one of them.
    #[test]
    fn severities() {
        let named: Vec<&str> = [0, 1, 4, 5, 8, 9, 12, 13, 16, 17, 20, 21, 24, 25, u32::MAX]
            .iter()
            .map(|number| SEVERITIES[severity_index(*number)])
            .collect();
        assert_eq!(
            named.join(" "),
            "unspecified trace trace debug debug info info warn warn error error fatal fatal unspecified unspecified"
        );
    }
}
