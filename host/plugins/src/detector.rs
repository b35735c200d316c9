//! Long-lived instances of detectors: batches in, checked observations out.
//!
//! ## What always holds
//! - a batch that makes the guest trap or overrun is halved, on fresh instances, down to the series at fault; those
//!   are set aside and reported, and the others go on
//! - a fault that no series can be named for counts against the plugin, and too many of those put it into quarantine
//! - what comes out is finite, in range, and about series that the instance was given
//!
//! Not here: which series form a shard, and when snapshots are taken and stored (the caller).

mod columns;
mod output;

use crate::{
    bindings::{exports::salve::plugin::detect, salve::plugin::types},
    counters::add,
    error::{GuestError, GuestErrorKind},
    guest::{self, Budget, GuestState},
    host::{Exports, HostInner, Plugin, PluginHost},
    imports::attributes,
    manifest::Role,
};
use columns::Columns;
use salve_model::{
    batch::{Batch, DetectorOutput, Scores, SeriesAdded},
    telemetry::SeriesRef,
};
use serde::{Deserialize, Serialize};
use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Instant,
};
use wasmtime::Store;

/// A batch may use `cpu_ms` for each so many points, begun ones included: as many as a full shard has series.
const POINTS_EACH_BATCH: u64 = 10_000;
/// Most calls for finding the series at fault in one batch; 17 find one in 100,000.
const ISOLATION_CALLS_MAX: u32 = 64;
/// Most series set aside in one instance; with more, the plugin is at fault and not its input.
const SET_ASIDE_MAX: usize = 100;
/// What a batch may hand over grows by this for each series and point, since each may be abnormal: an observation with
/// a sentence, or an entry of dense scores.
const OUTPUT_BYTES_EACH: u64 = 512;

/// How a detector instance is made.
#[derive(Debug, Clone, Default)]
pub struct DetectorOptions {
    /// Name of the binding, for log lines.
    pub name: String,
    /// JSON object; checked against the manifest's schema.
    pub parameters_json: String,
    /// What an earlier instance gave in `snapshot`.
    pub state: Option<State>,
}

/// A detector's state, opaque to the host.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct State {
    /// The author's number of the layout.
    pub format: u32,
    /// The layout is the plugin's.
    pub bytes: Vec<u8>,
}

/// A series on which the guest fails, and which it is not given any more.
#[derive(Debug, Clone, PartialEq)]
pub struct SetAside {
    /// Id within the instance.
    pub id: u32,
    /// Who it is.
    pub series: SeriesRef,
    /// How the guest failed.
    pub kind: GuestErrorKind,
}

/// One instance of a detector. Owns a shard of series.
pub struct DetectorInstance {
    host: Arc<HostInner>,
    plugin: Arc<Plugin>,
    name: String,
    parameters_json: String,
    /// None after a fault; the next call makes a new one.
    live: Option<Live>,
    /// Newest state that can be restored.
    state: Option<detect::State>,
    /// Series of this instance, those set aside included.
    known: BTreeMap<u32, SeriesAdded>,
    aside: BTreeMap<u32, GuestErrorKind>,
    /// Not yet fetched by the caller.
    newly_aside: Vec<SetAside>,
    restore_failure: Option<GuestErrorKind>,
    sequence: u64,
}

/// An instance that has not failed yet.
struct Live {
    store: Store<GuestState>,
    guest: detect::Guest,
    /// Series that it has been given.
    present: BTreeSet<u32>,
}

impl std::fmt::Debug for DetectorInstance {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("DetectorInstance")
            .field("name", &self.name)
            .field("plugin", &self.plugin)
            .field("series", &self.known.len())
            .finish_non_exhaustive()
    }
}

impl PluginHost {
    /// Makes a detector instance, from its state if there is one. A state that the guest does not take is left aside:
    /// it starts cold then, and [`DetectorInstance::restore_failure`] says why.
    ///
    /// # Errors
    /// [`GuestError`]: the parameters do not fit, or the guest does not start.
    pub async fn detector(
        &self,
        plugin: &Arc<Plugin>,
        options: DetectorOptions,
    ) -> Result<DetectorInstance, GuestError> {
        const CALL: &str = "configure";
        if plugin.role() != Role::Detector {
            return Err(plugin.error(CALL, GuestErrorKind::Role { role: plugin.role() }));
        }
        plugin.check_quarantine(CALL)?;
        plugin.check_parameters(&options.parameters_json).map_err(|kind| plugin.error(CALL, kind))?;
        let mut instance = DetectorInstance {
            host: self.0.clone(),
            plugin: plugin.clone(),
            name: options.name,
            parameters_json: options.parameters_json,
            live: None,
            state: options.state.map(|state| detect::State { format: state.format, bytes: state.bytes }),
            known: BTreeMap::new(),
            aside: BTreeMap::new(),
            newly_aside: Vec::new(),
            restore_failure: None,
            sequence: 0,
        };
        instance.live = Some(instance.start().await.inspect_err(|error| plugin.blame(&error.kind))?);
        Ok(instance)
    }
}

impl DetectorInstance {
    /// The plugin.
    #[must_use]
    pub fn plugin(&self) -> &Arc<Plugin> {
        &self.plugin
    }

    /// Name of the binding.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Why the newest attempt to restore a state failed, if it did.
    #[must_use]
    pub fn restore_failure(&self) -> Option<&GuestErrorKind> {
        self.restore_failure.as_ref()
    }

    /// Series set aside since this was last asked.
    pub fn take_set_aside(&mut self) -> Vec<SetAside> {
        std::mem::take(&mut self.newly_aside)
    }

    /// Shows the guest a batch. If this future is dropped before it ends, the next call starts from the last snapshot.
    ///
    /// # Errors
    /// [`GuestError`]: the plugin is at fault, not its input; or it is in quarantine. The batch is lost then.
    pub async fn observe(&mut self, batch: &Batch) -> Result<DetectorOutput, GuestError> {
        const CALL: &str = "observe";
        self.plugin.check_quarantine(CALL)?;
        for id in &batch.removed {
            self.known.remove(id);
            self.aside.remove(id);
        }
        for series in &batch.added {
            self.aside.remove(&series.id);
            self.known.insert(series.id, series.clone());
        }

        // The usual way: the columns go to the guest as they are.
        let first_failure = if let Some(mut live) = self.live.take() {
            let gone: Vec<_> = batch.removed.iter().filter(|id| live.present.remove(id)).copied().collect();
            let selected =
                (!self.aside.is_empty()).then(|| Columns::select(batch, |id| !self.aside.contains_key(&id)));
            let missing = self.missing(&live, batch);
            let added: Vec<_> = batch.added.iter().chain(&missing).collect();
            match self.call(&mut live, batch, selected.as_ref(), &added, &gone).await {
                Ok(output) => {
                    self.live = Some(live);
                    return output
                        .map_err(|reason| self.plugin.error(CALL, GuestErrorKind::declined(&reason)));
                }
                Err(kind) if !kind.is_fault() => return Err(self.plugin.error(CALL, kind)),
                Err(kind) => Some(kind),
            }
        } else {
            None
        };
        self.isolate(batch, first_failure).await.map_err(|kind| {
            self.plugin.blame(&kind);
            self.plugin.error(CALL, kind)
        })
    }

    /// [`DetectorInstance::observe`] for a thread of its own.
    ///
    /// # Panics
    /// On an async thread: await `observe` there.
    ///
    /// # Errors
    /// As [`DetectorInstance::observe`].
    pub fn observe_blocking(&mut self, batch: &Batch) -> Result<DetectorOutput, GuestError> {
        let threads = self.host.guests.clone();
        threads.block_on(self.observe(batch))
    }

    /// Takes the guest's state, and keeps it for the next fault.
    ///
    /// # Errors
    /// [`GuestError`]: the guest is at fault, or has no state to give.
    pub async fn snapshot(&mut self) -> Result<State, GuestError> {
        const CALL: &str = "snapshot";
        self.plugin.check_quarantine(CALL)?;
        let mut live = match self.live.take() {
            Some(live) => live,
            None => self.start().await.inspect_err(|error| self.plugin.blame(&error.kind))?,
        };
        let budget = Budget::of_snapshot(&self.plugin.identity.limits);
        let began = Instant::now();
        let meter = guest::begin(&mut live.store, &self.host.ticker, &budget);
        let call = live.guest.call_snapshot(&mut live.store);
        let ended = guest::supervise(&self.host.ticker, &meter, &budget, call).await;
        match guest::end(&mut live.store, &budget, began, ended) {
            Ok(answer) => {
                self.live = Some(live);
                let state =
                    answer.map_err(|reason| self.plugin.error(CALL, GuestErrorKind::declined(&reason)))?;
                let kept = self.state.insert(state);
                Ok(State { format: kept.format, bytes: kept.bytes.clone() })
            }
            Err(kind) => {
                self.plugin.blame(&kind);
                Err(self.plugin.error(CALL, kind))
            }
        }
    }

    /// [`DetectorInstance::snapshot`] for a thread of its own.
    ///
    /// # Panics
    /// On an async thread: await `snapshot` there.
    ///
    /// # Errors
    /// As [`DetectorInstance::snapshot`].
    pub fn snapshot_blocking(&mut self) -> Result<State, GuestError> {
        let threads = self.host.guests.clone();
        threads.block_on(self.snapshot())
    }

    /// Series that the instance should know and that it neither has nor gets with this batch: it is a fresh one.
    fn missing(&self, live: &Live, batch: &Batch) -> Vec<SeriesAdded> {
        if live.present.len() + batch.added.len() + self.aside.len() >= self.known.len() {
            return Vec::new();
        }
        let coming: BTreeSet<u32> = batch.added.iter().map(|series| series.id).collect();
        let is_missing =
            |id: &u32| !live.present.contains(id) && !coming.contains(id) && !self.aside.contains_key(id);
        self.known.iter().filter(|(id, _)| is_missing(id)).map(|(_, series)| series.clone()).collect()
    }

    /// A fresh instance with its parameters and newest state, and no series yet.
    async fn start(&mut self) -> Result<Live, GuestError> {
        let mut live = self.configure().await?;
        let Some(state) = &self.state else { return Ok(live) };
        let budget = Budget::of_setup(&self.plugin.identity.limits);
        let began = Instant::now();
        let meter = guest::begin(&mut live.store, &self.host.ticker, &budget);
        let call = live.guest.call_restore(&mut live.store, state);
        let ended = guest::supervise(&self.host.ticker, &meter, &budget, call).await;
        let failure = match guest::end(&mut live.store, &budget, began, ended) {
            Ok(Ok(())) => {
                self.restore_failure = None;
                return Ok(live);
            }
            Ok(Err(reason)) => GuestErrorKind::declined(&reason),
            Err(kind) => kind,
        };
        // The state is lost on this plugin; without it, it may well work.
        tracing::warn!(plugin = %self.plugin.name(), detector = %self.name, failure = %failure,
            "Detector does not take its saved state; it starts cold.");
        self.plugin.blame(&failure);
        self.restore_failure = Some(failure);
        self.state = None;
        self.configure().await
    }

    /// A fresh instance with its parameters.
    async fn configure(&self) -> Result<Live, GuestError> {
        const CALL: &str = "configure";
        let plugin = &self.plugin;
        let Exports::Detector(indices) = &plugin.exports else {
            return Err(plugin.error(CALL, GuestErrorKind::Role { role: plugin.role() }));
        };
        let state = GuestState::new(plugin.identity.clone(), self.name.clone(), self.host.logs.clone());
        let mut store = guest::new_store(&self.host.engine, state);
        let budget = Budget::of_setup(&plugin.identity.limits);
        let began = Instant::now();
        let meter = guest::begin(&mut store, &self.host.ticker, &budget);
        add(&plugin.identity.counters.instances_total, 1);
        let ended = guest::supervise(&self.host.ticker, &meter, &budget, async {
            let instance = plugin.pre.instantiate_async(&mut store).await?;
            let guest = indices.load(&mut store, &instance)?;
            let answer = guest.call_configure(&mut store, &self.parameters_json).await?;
            Ok((guest, answer))
        })
        .await;
        let kind = match guest::end(&mut store, &budget, began, ended) {
            Ok((guest, Ok(()))) => return Ok(Live { store, guest, present: BTreeSet::new() }),
            Ok((_, Err(reason))) => GuestErrorKind::declined(&reason),
            Err(kind) => kind,
        };
        Err(plugin.error(CALL, kind))
    }

    /// One call of `observe`. `selected` stands for the batch's columns if not all of them are shown.
    async fn call(
        &mut self,
        live: &mut Live,
        batch: &Batch,
        selected: Option<&Columns>,
        added: &[&SeriesAdded],
        removed: &[u32],
    ) -> Result<Result<DetectorOutput, String>, GuestErrorKind> {
        let of_added: Vec<types::Attributes> =
            added.iter().map(|series| attributes(&series.attributes)).collect();
        let added_records: Vec<detect::Series<'_>> = added
            .iter()
            .zip(&of_added)
            .map(|(series, attributes)| detect::Series {
                id: series.id,
                name: &series.series.name,
                unit: &series.series.unit,
                group: series.group,
                limit: series.limit,
                attributes,
            })
            .collect();
        self.sequence += 1;
        let record = detect::Batch {
            sequence: self.sequence,
            now: batch.now,
            added: &added_records,
            removed,
            series: selected.map_or(&batch.series, |columns| &columns.series),
            offsets: selected.map_or(&batch.offsets, |columns| &columns.offsets),
            times: selected.map_or(&batch.times, |columns| &columns.times),
            values: selected.map_or(&batch.values, |columns| &columns.values),
            point_flags: selected.map_or(&batch.point_flags, |columns| &columns.point_flags),
            scores: batch.scores,
        };
        live.present.extend(added.iter().map(|series| series.id));

        let limits = &self.plugin.identity.limits;
        let mut budget = Budget::of(limits);
        // What has waited is as much as several batches, and has their time.
        let batches = u64::try_from(batch.times.len()).unwrap_or(u64::MAX).div_ceil(POINTS_EACH_BATCH).max(1);
        budget.cpu_ms = budget.cpu_ms.saturating_mul(batches);
        if !added.is_empty() {
            budget.cpu_ms = budget.cpu_ms.saturating_add(limits.cpu_setup_ms);
        }
        let points = record.times.len();
        let may_report = u64::try_from(points.saturating_add(live.present.len())).unwrap_or(u64::MAX);
        budget.output_bytes =
            budget.output_bytes.saturating_add(may_report.saturating_mul(OUTPUT_BYTES_EACH));

        let began = Instant::now();
        let meter = guest::begin(&mut live.store, &self.host.ticker, &budget);
        let call = live.guest.call_observe(&mut live.store, record);
        let ended = guest::supervise(&self.host.ticker, &meter, &budget, call).await;
        let answer = guest::end(&mut live.store, &budget, began, ended)?;
        Ok(answer.map(|output| {
            let checked = output::check(output, points, batch.scores, &live.present);
            add(&self.plugin.identity.counters.refused_values_total, checked.refused);
            if checked.refused > 0 {
                tracing::warn!(plugin = %self.plugin.name(), detector = %self.name, refused = checked.refused,
                    "Observations make no sense (not finite, out of range, too many, or of an unknown series).");
            }
            match selected {
                Some(columns) => columns.scatter(checked, batch.times.len()),
                None => checked,
            }
        }))
    }

    /// Shows the batch to fresh instances in ever smaller parts, until the series at fault are known and set aside.
    /// `first_failure` is none if there was no instance to begin with.
    async fn isolate(
        &mut self,
        batch: &Batch,
        first_failure: Option<GuestErrorKind>,
    ) -> Result<DetectorOutput, GuestErrorKind> {
        let all: Vec<u32> = self.known.keys().filter(|id| !self.aside.contains_key(id)).copied().collect();
        let count = all.len();
        let mut parts = vec![all];
        if count > 0 {
            // First without any series: a plugin that fails even so is at fault itself.
            parts.push(Vec::new());
        }
        let mut live = None;
        let mut output = DetectorOutput {
            scores: batch.scores.then(|| output::no_scores(batch.times.len())),
            ..Default::default()
        };
        let mut last_failure = first_failure;
        let mut found = Vec::new();
        let mut calls = 0;
        while let Some(part) = parts.pop() {
            calls += 1;
            let mut instance = match live.take() {
                Some(instance) => instance,
                None => self.start().await.map_err(|error| error.kind)?,
            };
            let wanted: BTreeSet<u32> = part.iter().copied().collect();
            let columns = Columns::select(batch, |id| wanted.contains(&id));
            let added: Vec<SeriesAdded> = part.iter().filter_map(|id| self.known.get(id)).cloned().collect();
            let added: Vec<_> = added.iter().collect();
            let failure = match self.call(&mut instance, batch, Some(&columns), &added, &[]).await {
                Ok(Ok(part_output)) => {
                    output::merge(&mut output, part_output, &columns);
                    live = Some(instance);
                    continue;
                }
                Ok(Err(reason)) => return Err(GuestErrorKind::declined(&reason)),
                Err(kind) if !kind.is_fault() => return Err(kind),
                Err(kind) => kind,
            };
            match part.as_slice() {
                [] => return Err(failure),
                [id] => {
                    found.push((*id, failure.clone()));
                    // More than half of all series: it is not the input.
                    if found.len() > 1 && found.len().saturating_mul(2) > count {
                        return Err(failure);
                    }
                }
                _ if calls >= ISOLATION_CALLS_MAX => return Err(failure),
                several => {
                    let (first, second) = several.split_at(several.len() / 2);
                    parts.extend([second.to_vec(), first.to_vec()]);
                    last_failure = Some(failure);
                }
            }
        }
        self.live = live;
        let blameless = !found.is_empty();
        for (id, failure) in found {
            self.set_aside(id, failure);
        }
        if let Some(failure) = last_failure
            && (!blameless || self.aside.len() > SET_ASIDE_MAX)
        {
            // It failed once and not again on the same input, or on so much that the input cannot be it.
            tracing::warn!(plugin = %self.plugin.name(), detector = %self.name, failure = %failure, series = count,
                points = batch.times.len(), "Detector failed on a batch and not on its parts.");
            self.plugin.blame_for_once(&failure);
        }
        Ok(output)
    }

    fn set_aside(&mut self, id: u32, kind: GuestErrorKind) {
        add(&self.plugin.identity.counters.series_set_aside_total, 1);
        if let Some(known) = self.known.get(&id) {
            tracing::warn!(plugin = %self.plugin.name(), detector = %self.name, series = %known.series.name,
                service = %known.series.service, failure = %kind, "Detector fails on a series; it is set aside.");
            self.newly_aside.push(SetAside { id, series: known.series.clone(), kind: kind.clone() });
        }
        self.aside.insert(id, kind);
    }
}

/// What `columns` and `output` share: dense scores of `points` points.
fn scores_of(points: usize) -> Scores {
    Scores {
        score: vec![0.0; points],
        confidence: vec![0.0; points],
        expected: vec![0.0; points],
        lower: vec![0.0; points],
        upper: vec![0.0; points],
    }
}
