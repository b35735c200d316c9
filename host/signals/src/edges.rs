//! Calls between services: client spans joined with the server spans that they caused.
//!
//! A client span waits for its server span until its bucket closes. If none came, the callee is known by what the same
//! caller's `peer.service` or address stood for when a server span did come: a callee that is dead or hangs sends none,
//! and its callers' failures must still be seen on the edge to it. Failing that, `peer.service` or the address itself
//! names the callee: a database, a stranger's API.
//!
//! ## What always holds
//! - each client span counts on at most one edge, in the bucket of its end
//! - at most `spans_in_flight_max` spans of either kind wait; the oldest bucket gives way

use crate::{
    red::{Activity, Buckets, CALLED, Keep, Timing},
    services::{ServiceId, Services},
    store::Store,
};
use salve_otlp::Span;
use std::{
    collections::{BTreeMap, HashMap},
    hash::{BuildHasher, RandomState},
    sync::Arc,
};

/// A client or producer span.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Call {
    pub(crate) caller: ServiceId,
    pub(crate) bucket: u64,
    pub(crate) duration_ms: f64,
    pub(crate) failed: bool,
    /// When it came, Unix milliseconds.
    pub(crate) now_ms: u64,
    /// Names of its callee: see [`Edges::name`].
    pub(crate) peer: Option<NameId>,
    pub(crate) address: Option<NameId>,
}

/// A name by which one caller called something.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct NameId(u64);

#[derive(Debug)]
struct Name {
    text: Arc<str>,
    /// The service that answered to it last.
    callee: Option<Arc<str>>,
    heard_ms: u64,
}

/// Caller and callee.
pub(crate) type EdgeKey = (ServiceId, Arc<str>);

/// All edges, and the spans that wait for their other half.
#[derive(Debug, Default)]
pub(crate) struct Edges {
    edges: BTreeMap<EdgeKey, Activity>,
    names: HashMap<NameId, Name>,
    calls: Waiting<Call>,
    servers: Waiting<ServiceId>,
    hasher: RandomState,
    /// Rises when the set of edges changes.
    pub(crate) version: u64,
}

/// Spans by the span that they wait for, and by bucket.
#[derive(Debug)]
struct Waiting<T> {
    by_span: HashMap<u64, T>,
    by_bucket: BTreeMap<u64, Vec<u64>>,
    /// Entries of `by_bucket`, those that were found meanwhile included.
    queued: usize,
}

impl<T> Default for Waiting<T> {
    fn default() -> Self {
        Self { by_span: HashMap::new(), by_bucket: BTreeMap::new(), queued: 0 }
    }
}

impl<T> Waiting<T> {
    fn insert(&mut self, span: u64, bucket: u64, value: T) {
        if self.by_span.insert(span, value).is_none() {
            self.by_bucket.entry(bucket).or_default().push(span);
            self.queued += 1;
        }
    }

    /// True if no further one may wait.
    fn is_full(&self, most: usize) -> bool {
        self.by_span.len() >= most.max(1) || self.queued >= most.max(1).saturating_mul(8)
    }

    /// Takes the oldest bucket out if it is before `bucket`, in the order in which its spans came.
    fn pop_before(&mut self, bucket: u64) -> Option<Vec<T>> {
        let oldest = self.by_bucket.first_entry().filter(|entry| *entry.key() < bucket)?.remove();
        self.queued -= oldest.len();
        Some(oldest.into_iter().filter_map(|span| self.by_span.remove(&span)).collect())
    }
}

impl Edges {
    /// Names the span `span_id` of a trace within this process; none without ids.
    fn span(&self, tenant: &str, trace_id: &[u8], span_id: &[u8]) -> Option<u64> {
        (!trace_id.is_empty() && !span_id.is_empty())
            .then(|| self.hasher.hash_one((tenant, trace_id, span_id)))
    }

    /// Keeps the name by which `caller` calls; none if there is no room.
    pub(crate) fn name(
        &mut self,
        caller: ServiceId,
        host: &str,
        port: Option<i64>,
        now_ms: u64,
        store: &mut Store,
    ) -> Option<NameId> {
        const TEXT_BYTES_MAX: usize = 256;
        if host.is_empty() || host.len() > TEXT_BYTES_MAX {
            return None;
        }
        let id = NameId(self.hasher.hash_one((caller, host, port)));
        if let Some(name) = self.names.get_mut(&id) {
            name.heard_ms = now_ms;
            return Some(id);
        }
        if self.names.len() >= 4 * store.config.edges_max as usize {
            store.counters.edges_over_limit += 1;
            return None;
        }
        let text = match port {
            Some(port) if host.contains(':') => store.texts.share(&format!("[{host}]:{port}")),
            Some(port) => store.texts.share(&format!("{host}:{port}")),
            None => store.texts.share(host),
        };
        self.names.insert(id, Name { text, callee: None, heard_ms: now_ms });
        Some(id)
    }

    /// Takes a client or producer span in.
    pub(crate) fn call(
        &mut self,
        call: Call,
        span: &Span<'_>,
        buckets: Buckets,
        services: &Services,
        store: &mut Store,
    ) -> Timing {
        let Some(caller) = services.get(call.caller) else { return Timing::TooOld };
        let key = self.span(&caller.origin.tenant.0, span.trace_id, span.span_id);
        if let Some(callee) = key.and_then(|key| self.servers.by_span.remove(&key)) {
            return self.matched(&call, callee, buckets, services, store);
        }
        match key {
            Some(key) if call.bucket >= buckets.open_from => {
                self.make_room(buckets, services, store);
                self.calls.insert(key, call.bucket, call);
                Timing::InTime
            }
            _ => self.unmatched(&call, buckets, services, store),
        }
    }

    /// Takes a server or consumer span in.
    pub(crate) fn serve(
        &mut self,
        callee: ServiceId,
        bucket: u64,
        span: &Span<'_>,
        buckets: Buckets,
        services: &Services,
        store: &mut Store,
    ) {
        let Some(service) = services.get(callee) else { return };
        let Some(key) = self.span(&service.origin.tenant.0, span.trace_id, span.parent_span_id) else {
            return;
        };
        if let Some(call) = self.calls.by_span.remove(&key) {
            self.matched(&call, callee, buckets, services, store);
        } else if bucket >= buckets.open_from {
            self.make_room(buckets, services, store);
            // Its client span ends and is sent later.
            self.servers.insert(key, bucket + 1, callee);
        }
    }

    fn matched(
        &mut self,
        call: &Call,
        callee: ServiceId,
        buckets: Buckets,
        services: &Services,
        store: &mut Store,
    ) -> Timing {
        let Some(callee) = services.get(callee) else { return Timing::TooOld };
        let callee = callee.origin.service.clone();
        store.counters.edges_matched += 1;
        for id in [call.peer, call.address].into_iter().flatten() {
            self.learn(id, call.caller, &callee, store);
        }
        self.count(call, callee, buckets, services, store)
    }

    /// Remembers who answers to a name. An edge to the bare name is then an error of ours, and goes.
    fn learn(&mut self, id: NameId, caller: ServiceId, callee: &Arc<str>, store: &mut Store) {
        let Some(name) = self.names.get_mut(&id) else { return };
        if name.callee.as_ref() == Some(callee) {
            return;
        }
        let was_unknown = name.callee.replace(callee.clone()).is_none();
        if was_unknown
            && name.text != *callee
            && let Some(edge) = self.edges.remove(&(caller, name.text.clone()))
        {
            edge.release(store);
            self.version += 1;
        }
    }

    fn unmatched(&mut self, call: &Call, buckets: Buckets, services: &Services, store: &mut Store) -> Timing {
        let names = [call.peer, call.address].into_iter().flatten().filter_map(|id| self.names.get(&id));
        let mut found: Option<Arc<str>> = None;
        for name in names {
            if let Some(callee) = &name.callee {
                found = Some(callee.clone());
                break;
            }
            found.get_or_insert_with(|| name.text.clone());
        }
        match found {
            Some(callee) => {
                store.counters.edges_by_name += 1;
                self.count(call, callee, buckets, services, store)
            }
            None => {
                store.counters.edges_unknown += 1;
                Timing::InTime
            }
        }
    }

    fn count(
        &mut self,
        call: &Call,
        callee: Arc<str>,
        buckets: Buckets,
        services: &Services,
        store: &mut Store,
    ) -> Timing {
        let Some(caller) = services.get(call.caller) else { return Timing::TooOld };
        if *caller.origin.service == *callee {
            // A service that calls itself says nothing about who depends on whom.
            return Timing::InTime;
        }
        let key = (call.caller, callee);
        if !self.edges.contains_key(&key) {
            if self.edges.len() >= store.config.edges_max as usize {
                store.counters.edges_over_limit += 1;
                return Timing::InTime;
            }
            let attributes = [("peer.service", &*key.1)];
            let edge = Activity::new(&CALLED, Keep::Sums, &caller.origin, &attributes, true, store);
            self.edges.insert(key.clone(), edge);
            self.version += 1;
        }
        self.edges.get_mut(&key).map_or(Timing::TooOld, |edge| {
            edge.add(call.bucket, call.duration_ms, call.failed, buckets, call.now_ms)
        })
    }

    /// Lets the oldest bucket of spans go if too many wait.
    fn make_room(&mut self, buckets: Buckets, services: &Services, store: &mut Store) {
        let most = store.config.spans_in_flight_max as usize;
        while self.calls.is_full(most) {
            let Some(calls) = self.calls.pop_before(u64::MAX) else { break };
            store.counters.spans_evicted += calls.len() as u64;
            for call in calls {
                self.unmatched(&call, buckets, services, store);
            }
        }
        while self.servers.is_full(most) {
            let Some(servers) = self.servers.pop_before(u64::MAX) else { break };
            store.counters.spans_evicted += servers.len() as u64;
        }
    }

    /// Settles what waited in a bucket, then turns it into points.
    pub(crate) fn close(&mut self, bucket: u64, buckets: Buckets, services: &Services, store: &mut Store) {
        while let Some(calls) = self.calls.pop_before(bucket + 1) {
            for call in calls {
                self.unmatched(&call, buckets, services, store);
            }
        }
        while self.servers.pop_before(bucket + 1).is_some() {}
        for edge in self.edges.values_mut() {
            edge.close(bucket, buckets, store);
        }
    }

    /// Forgets everything.
    pub(crate) fn forget(&mut self, store: &mut Store) {
        let version = self.version + 1;
        for edge in std::mem::take(self).edges.into_values() {
            edge.release(store);
        }
        self.version = version;
    }

    /// Forgets what was silent since `before_ms`.
    pub(crate) fn expire(&mut self, before_ms: u64, store: &mut Store) {
        for (_, edge) in self.edges.extract_if(.., |_, edge| edge.heard_ms < before_ms) {
            edge.release(store);
            store.counters.expired += 1;
            self.version += 1;
        }
        self.names.retain(|_, name| name.heard_ms >= before_ms);
    }

    /// By caller and callee.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (&EdgeKey, &Activity)> {
        self.edges.iter()
    }

    pub(crate) fn len(&self) -> usize {
        self.edges.len()
    }

    /// Spans that wait.
    pub(crate) fn in_flight(&self) -> usize {
        self.calls.by_span.len() + self.servers.by_span.len()
    }

    pub(crate) fn heap_bytes(&self) -> usize {
        let edges: usize = self.edges.values().map(|edge| size_of::<Activity>() + edge.heap_bytes()).sum();
        let names = self.names.capacity() * size_of::<(NameId, Name)>();
        let calls = self.calls.by_span.capacity() * size_of::<(u64, Call)>();
        edges
            + names
            + calls
            + self.servers.by_span.capacity() * size_of::<(u64, ServiceId)>()
            + 8 * (self.calls.queued + self.servers.queued)
    }
}
