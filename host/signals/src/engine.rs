//! The engine itself: what the daemon's signal thread calls.

use crate::{
    bindings::{BindingId, DetectorBinding},
    config::SignalsConfig,
    counters::{SignalsCounters, Tally},
    edges::Edges,
    points::{PointIntake, Streams},
    records::RecordIntake,
    red::Buckets,
    services::{Resources, Services},
    spans::{Place, SpanIntake},
    store::{Series, Store},
    watch::ExpectedPoint,
};
use salve_model::{
    Tenant,
    batch::{Batch, DetectorOutput},
    incident::IncidentId,
    plan::Expectation,
    telemetry::{Change, Measurement, Observation, SeriesKey, SeriesRef},
    time::{EventTime, Now},
};
use salve_otlp::{DecodeError, walk_logs, walk_metrics, walk_traces};
use std::collections::VecDeque;

/// Time between two searches for what is silent: often enough for any idle time that makes sense.
const SWEEP_MS: u64 = 10_000;

/// Which request of OTLP.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Signal {
    /// `ExportMetricsServiceRequest`
    Metrics,
    /// `ExportTraceServiceRequest`
    Traces,
    /// `ExportLogsServiceRequest`
    Logs,
}

/// What became of a request.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Applied {
    /// Points, spans or records taken in.
    pub accepted: u64,
    /// Points, spans or records turned away: the partial success of the response.
    pub rejected: u64,
    /// Why, with numbers; or where the bytes were not OTLP after all.
    pub reason: Option<String>,
}

/// Series, services, edges and changes of everything that was applied.
///
/// Owned by one thread: no locks, no I/O, no clock. The same calls with the same times give the same answers.
#[derive(Debug)]
pub struct Signals {
    pub(crate) store: Store,
    pub(crate) resources: Resources,
    pub(crate) services: Services,
    pub(crate) edges: Edges,
    streams: Streams,
    pub(crate) changes: VecDeque<(Tenant, Change)>,
    pub(crate) buckets: Buckets,
    started: bool,
    swept_ms: u64,
}

/// What history has of one series; see [`Signals::shard_history`].
#[derive(Debug, Clone, PartialEq)]
pub struct SeriesPast {
    /// Id within the shard.
    pub id: u32,
    /// Which series has this id now.
    pub key: SeriesKey,
    /// Unix milliseconds and values, oldest first.
    pub points: Vec<(u64, f64)>,
}

impl Signals {
    /// An engine that has seen nothing. Values that it could not work with (see [`SignalsConfig::problems`]) are taken as
    /// the nearest that it can.
    #[must_use]
    pub fn new(config: SignalsConfig) -> Self {
        Self {
            buckets: Buckets { bucket_ms: config.bucket_ms(), open_from: 0, kept: config.stats_buckets() },
            store: Store::new(config),
            resources: Resources::default(),
            services: Services::default(),
            edges: Edges::default(),
            streams: Streams::default(),
            changes: VecDeque::new(),
            started: false,
            swept_ms: 0,
        }
    }

    /// The configuration in force.
    #[must_use]
    pub fn config(&self) -> &SignalsConfig {
        &self.store.config
    }

    /// Takes new bounds, times and rules. Series, detectors and watches go on. Lower bounds let what exists go on until it is
    /// idle. If `bucket_ms` changes, what was counted for services and edges is forgotten.
    pub fn reconfigure(&mut self, config: SignalsConfig) {
        if config.bucket_ms() != self.buckets.bucket_ms {
            self.edges.forget(&mut self.store);
            self.services.expire(u64::MAX, &mut self.store);
            self.resources.forget();
            self.started = false;
        }
        let names_as =
            |config: &SignalsConfig| (config.drop_attributes.clone(), config.redact_attributes.clone());
        if names_as(&config) != names_as(&self.store.config) {
            self.resources.forget();
            self.streams.forget_aliases();
        }
        self.buckets.bucket_ms = config.bucket_ms();
        self.buckets.kept = config.stats_buckets();
        self.store.reconfigure(config);
    }

    /// Takes a request in. `request` is what the check of `salve-otlp` accepted; `now` is its receive time.
    pub fn apply(&mut self, signal: Signal, tenant: &Tenant, request: &[u8], now: Now) -> Applied {
        self.start(now);
        let (tally, result) = match signal {
            Signal::Metrics => self.apply_metrics(tenant, request, now),
            Signal::Traces => self.apply_traces(tenant, request, now),
            Signal::Logs => self.apply_logs(tenant, request, now),
        };
        let reason = match result {
            Ok(()) => tally.reason(),
            Err(error) => Some(error.to_string()),
        };
        Applied { accepted: tally.accepted, rejected: tally.rejected(), reason }
    }

    fn apply_metrics(
        &mut self,
        tenant: &Tenant,
        request: &[u8],
        now: Now,
    ) -> (Tally, Result<(), DecodeError>) {
        let Self { store, resources, services, streams, .. } = self;
        let mut intake = PointIntake::new(tenant, now.0, store, resources, services, streams);
        let result = walk_metrics(request, &mut intake);
        (intake.tally, result)
    }

    fn apply_traces(
        &mut self,
        tenant: &Tenant,
        request: &[u8],
        now: Now,
    ) -> (Tally, Result<(), DecodeError>) {
        let Self { store, resources, services, edges, .. } = self;
        let (buckets, tally, place) = (self.buckets, Tally::default(), Place::default());
        let mut intake =
            SpanIntake { tenant, now_ms: now.0, buckets, store, resources, services, edges, tally, place };
        let result = walk_traces(request, &mut intake);
        (intake.tally, result)
    }

    fn apply_logs(&mut self, tenant: &Tenant, request: &[u8], now: Now) -> (Tally, Result<(), DecodeError>) {
        let Self { store, resources, services, .. } = self;
        let (buckets, tally, place) = (self.buckets, Tally::default(), Place::default());
        let mut intake =
            RecordIntake { tenant, now_ms: now.0, buckets, store, resources, services, tally, place };
        let result = walk_logs(request, &mut intake);
        (intake.tally, result)
    }

    /// Lets time pass: closes buckets that are over, forgets what has been silent. Call it several times per bucket.
    pub fn tick(&mut self, now: Now) {
        self.start(now);
        let due = self.due(now);
        // After a long pause only what is kept is worth closing.
        self.buckets.open_from = self.buckets.open_from.max(due.saturating_sub(self.buckets.kept));
        while self.buckets.open_from < due {
            let bucket = self.buckets.open_from;
            self.edges.close(bucket, self.buckets, &self.services, &mut self.store);
            self.services.close(bucket, self.buckets, &mut self.store);
            self.buckets.open_from = bucket + 1;
        }
        self.store.settle_limits();
        if now.0.saturating_sub(self.swept_ms) >= SWEEP_MS {
            self.swept_ms = now.0;
            self.sweep(now);
        }
    }

    fn sweep(&mut self, now: Now) {
        let before_ms = now.0.saturating_sub(self.store.config.series_idle_ms);
        self.streams.expire(before_ms, &mut self.store);
        self.edges.expire(before_ms, &mut self.store);
        self.resources.expire(before_ms, &mut self.store);
        self.services.expire(before_ms, &mut self.store);
        self.store.sweep();
    }

    /// The oldest bucket that may still be open.
    fn due(&self, now: Now) -> u64 {
        now.0.saturating_sub(self.store.config.lateness_ms) / self.buckets.bucket_ms
    }

    /// Nothing before the first call was open.
    fn start(&mut self, now: Now) {
        if !self.started {
            self.started = true;
            self.buckets.open_from = self.due(now);
            self.swept_ms = now.0;
        }
    }

    /// Lets a detector see the series that it selects, those that exist and those that will.
    pub fn bind_detector(&mut self, binding: DetectorBinding) -> BindingId {
        let Store { bindings, table, counters, .. } = &mut self.store;
        bindings.bind(binding, table, counters)
    }

    /// Ends a binding; its id is not used again.
    pub fn unbind_detector(&mut self, binding: BindingId) {
        self.store.bindings.unbind(binding, &mut self.store.table);
    }

    /// Describes all series of a shard again in its next batch: for an instance that was started anew.
    pub fn describe_again(&mut self, binding: BindingId, shard: u32) {
        self.store.bindings.describe_all_again(binding, shard);
    }

    /// What is new for every shard of every binding since the last call; without points it is a tick. In the order of
    /// binding and shard.
    ///
    /// A series whose limit has changed is in `added` again, with the id that it has: the newer entry counts.
    pub fn take_batches(&mut self, now: Now) -> Vec<(BindingId, u32, Batch)> {
        self.store.settle_limits();
        self.store.bindings.take(&self.store.table, now)
    }

    fn series_of(&self, binding: BindingId, shard: u32, id: u32) -> Option<&Series> {
        self.store.table.get(self.store.bindings.slot(binding, shard, id)?)
    }

    /// The series behind an id of a shard, if it still exists.
    #[must_use]
    pub fn series_ref(&self, binding: BindingId, shard: u32, id: u32) -> Option<SeriesRef> {
        Some(self.series_of(binding, shard, id)?.to_ref())
    }

    /// What history has of each of these series of a shard, oldest first, at most the newest `points_max` of each: for an
    /// instance that has learnt nothing yet. Points that wait for the next batch are among them.
    #[must_use]
    pub fn shard_history(
        &self,
        binding: BindingId,
        shard: u32,
        ids: &[u32],
        points_max: usize,
    ) -> Vec<SeriesPast> {
        let of_series = |id: &u32| {
            let series = self.series_of(binding, shard, *id)?;
            let mut points = series.history.points(0, u64::MAX);
            points.drain(..points.len().saturating_sub(points_max));
            Some(SeriesPast { id: *id, key: series.to_ref().key, points })
        };
        ids.iter().filter_map(of_series).collect()
    }

    /// What a detector said, with names in place of ids. Series that are gone meanwhile are left out.
    #[must_use]
    pub fn observations(&self, binding: BindingId, shard: u32, output: &DetectorOutput) -> Vec<Observation> {
        let Some(detector) = self.store.bindings.name(binding) else { return Vec::new() };
        let observations = output.observations.iter().filter_map(|raw| {
            Some(Observation {
                series: self.series_ref(binding, shard, raw.series)?,
                detector: detector.to_owned(),
                time: EventTime(raw.time),
                kind: raw.kind,
                rising: raw.rising,
                score: raw.score,
                confidence: raw.confidence,
                value: raw.value,
                expected: raw.expected,
                lower: raw.lower,
                upper: raw.upper,
                reason: raw.reason.clone(),
            })
        });
        observations.collect()
    }

    /// Whose a shard of a binding is, and which of that tenant's shards it is, from 0: so much of it is the same after a
    /// restart, when shards may come in another order. None if there is no such shard.
    #[must_use]
    pub fn shard_owner(&self, binding: BindingId, shard: u32) -> Option<(Tenant, u32)> {
        self.store.bindings.owner(binding, shard)
    }

    /// From now on reports all new points of these series and of those that the expectations name; replaces what was
    /// watched for this incident. Nothing at all ends its watch.
    ///
    /// Expectations are about services of the incident's tenant. One about `salve.span.…` means the whole service; about any
    /// other name, every series of that name and service.
    pub fn watch(
        &mut self,
        incident: &IncidentId,
        tenant: &Tenant,
        series: &[SeriesKey],
        expectations: &[Expectation],
    ) {
        let Store { watches, table, .. } = &mut self.store;
        watches.watch(incident, tenant, series, expectations, table);
    }

    /// Points of series under watch since the last call, in the order in which they came: of symptoms (`abnormal` is for the
    /// caller to set) and of expectations.
    pub fn take_watched(&mut self) -> (Vec<Measurement>, Vec<ExpectedPoint>) {
        self.store.watches.take()
    }

    /// Remembers a change; of each tenant the newest `changes_max` stay.
    pub fn record_change(&mut self, tenant: &Tenant, change: Change) {
        self.changes.push_back((tenant.clone(), change));
        let changes_max = self.store.config.changes_max as usize;
        if self.changes.len() <= changes_max {
            return;
        }
        let is_own = |(owner, _): &&(Tenant, Change)| owner == tenant;
        if self.changes.iter().filter(is_own).count() > changes_max
            && let Some(oldest) = self.changes.iter().position(|(owner, _)| owner == tenant)
        {
            self.changes.remove(oldest);
            self.store.counters.changes_dropped += 1;
        }
    }

    /// Rises whenever some tenant's [`crate::TenantView::topology`] may have changed.
    #[must_use]
    pub fn topology_version(&self) -> u64 {
        self.edges.version
    }

    /// Running totals, and sizes as they are now.
    #[must_use]
    pub fn counters(&self) -> SignalsCounters {
        SignalsCounters {
            series: self.store.table.len() as u64,
            resources: self.resources.len() as u64,
            services: self.services.len() as u64,
            edges: self.edges.len() as u64,
            spans_in_flight: self.edges.in_flight() as u64,
            ..self.store.counters
        }
    }

    /// An estimate of the memory that all of it takes, in bytes. Looks at every series: not for every tick.
    #[must_use]
    pub fn memory_bytes(&self) -> usize {
        self.store.heap_bytes()
            + self.resources.heap_bytes()
            + self.services.heap_bytes()
            + self.edges.heap_bytes()
            + self.streams.heap_bytes()
            + self.changes.len() * size_of::<(Tenant, Change)>()
    }
}
