//! The thread that runs detectors: batches in, observations and judged measurements out.
//!
//! ## What always holds
//! - a guest knows a series by an id that is this thread's own and survives restarts with the guest's state
//! - a detector that fails is reported and left out; the others go on
//! - state is written down every `snapshot_ms`, and at the end

use super::{signals::Round, snapshots::SnapshotStore};
use crate::control::DetectorStatus;
use salve_core::Event;
use salve_model::{
    batch::{Batch, RawObservation, SeriesAdded},
    telemetry::{Observation, SeriesKey},
    time::{EventTime, Now},
};
use salve_plugins::{DetectorInstance, DetectorOptions, Plugin, PluginHost};
use salve_signals::BindingId;
use serde::{Deserialize, Serialize};
use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    sync::{Arc, Mutex, PoisonError},
};
use tokio::sync::mpsc;

/// A score from which on an observation counts.
const SCORE_ALERT: f32 = 0.5;

/// One detector of the configuration with the plugin that stands behind it now.
#[derive(Clone)]
pub struct Binding {
    /// Name in the configuration.
    pub name: String,
    /// What the signals thread calls it.
    pub id: BindingId,
    /// Component.
    pub plugin: Arc<Plugin>,
    /// JSON.
    pub parameters: String,
}

/// What can be said to the thread.
pub enum Command {
    /// New points.
    Round(Round),
    /// From now on these are the detectors. Instances of bindings that have not changed go on.
    Bindings(Vec<Binding>),
    /// Write the state down and end.
    Stop,
}

/// Status of all bindings, for `salve status`.
pub type DetectorStatuses = Arc<Mutex<BTreeMap<String, DetectorStatus>>>;

/// Guest ids of series: what a snapshot carries beside the guest's own bytes, so that the state fits after a restart.
#[derive(Debug, Default, Clone, Serialize, Deserialize)]
pub struct SeriesIds {
    by_key: HashMap<u64, u32>,
    free: Vec<u32>,
    next: u32,
}

impl SeriesIds {
    fn id_of(&mut self, key: SeriesKey) -> u32 {
        if let Some(id) = self.by_key.get(&key.0) {
            return *id;
        }
        let id = self.free.pop().unwrap_or_else(|| {
            let id = self.next;
            self.next += 1;
            id
        });
        self.by_key.insert(key.0, id);
        id
    }

    fn remove(&mut self, key: SeriesKey) {
        if let Some(id) = self.by_key.remove(&key.0) {
            self.free.push(id);
        }
    }
}

/// Marks an id of the signals thread that no series has.
const NO_SERIES: u32 = u32::MAX;

struct Shard {
    binding: Binding,
    instance: DetectorInstance,
    ids: SeriesIds,
    /// By the signals thread's id: the guest's id.
    guest_ids: Vec<u32>,
    /// By the guest's id: what was introduced to it.
    series: Vec<Option<SeriesAdded>>,
    /// Series that a predecessor knew and this instance has not been told of yet.
    introduce: Vec<SeriesAdded>,
}

impl Shard {
    /// Translates ids, asks the guest, translates back.
    async fn observe(&mut self, mut batch: Batch) -> Result<Vec<Observation>, salve_plugins::GuestError> {
        for id in &mut batch.removed {
            let guest_id = self.guest_ids.get_mut(*id as usize).map_or(NO_SERIES, |slot| std::mem::replace(slot, NO_SERIES));
            if let Some(added) = self.series.get_mut(guest_id as usize).and_then(Option::take) {
                self.ids.remove(added.series.key);
            }
            *id = guest_id;
        }
        batch.removed.retain(|id| *id != NO_SERIES);
        for added in &mut batch.added {
            let guest_id = self.ids.id_of(added.series.key);
            let slot = added.id as usize;
            if self.guest_ids.len() <= slot {
                self.guest_ids.resize(slot + 1, NO_SERIES);
            }
            self.guest_ids[slot] = guest_id;
            added.id = guest_id;
            if self.series.len() <= guest_id as usize {
                self.series.resize(guest_id as usize + 1, None);
            }
            self.series[guest_id as usize] = Some(added.clone());
        }
        if !self.introduce.is_empty() {
            batch.added.splice(0..0, self.introduce.drain(..));
        }
        for id in &mut batch.series {
            *id = self.guest_ids.get(*id as usize).copied().unwrap_or(NO_SERIES);
        }
        let output = self.instance.observe(&batch).await?;
        Ok(output.observations.into_iter().filter_map(|raw| self.name(raw)).collect())
    }

    fn name(&self, raw: RawObservation) -> Option<Observation> {
        let series = self.series.get(raw.series as usize)?.as_ref()?.series.clone();
        Some(Observation {
            series,
            detector: self.binding.name.clone(),
            time: EventTime(raw.time),
            kind: raw.kind,
            rising: raw.rising,
            score: raw.score,
            confidence: raw.confidence,
            value: raw.value,
            expected: raw.expected,
            lower: raw.lower,
            upper: raw.upper,
            reason: raw.reason,
        })
    }

    /// Takes over the place of `predecessor`: same ids, and its series are introduced with the next batch.
    fn succeed(&mut self, predecessor: Self) {
        self.ids = predecessor.ids;
        self.guest_ids = predecessor.guest_ids;
        self.series = predecessor.series;
        self.introduce = self.series.iter().flatten().cloned().collect();
    }

    fn series_count(&self) -> u64 {
        self.series.iter().flatten().count() as u64
    }
}

/// Runs until `commands` closes.
pub struct DetectorThread {
    host: PluginHost,
    bindings: HashMap<BindingId, Binding>,
    shards: HashMap<(BindingId, u32), Shard>,
    snapshots: SnapshotStore,
    snapshot_ms: u64,
    snapshot_due: Now,
    statuses: DetectorStatuses,
    events: mpsc::Sender<Event>,
}

impl DetectorThread {
    /// Starts the thread.
    pub fn start(
        host: PluginHost,
        snapshots: SnapshotStore,
        snapshot_ms: u64,
        statuses: DetectorStatuses,
        events: mpsc::Sender<Event>,
        mut commands: mpsc::Receiver<Command>,
    ) -> std::io::Result<std::thread::JoinHandle<()>> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build()?;
        std::thread::Builder::new().name("detectors".into()).spawn(move || {
            let mut thread = Self {
                host,
                bindings: HashMap::new(),
                shards: HashMap::new(),
                snapshots,
                snapshot_ms,
                snapshot_due: Now(0),
                statuses,
                events,
            };
            runtime.block_on(async {
                while let Some(command) = commands.recv().await {
                    match command {
                        Command::Bindings(bindings) => thread.rebind(bindings).await,
                        Command::Round(round) => thread.round(round).await,
                        Command::Stop => break,
                    }
                }
                thread.save_all().await;
            });
        })
    }

    async fn rebind(&mut self, bindings: Vec<Binding>) {
        let new: HashMap<_, _> = bindings.into_iter().map(|binding| (binding.id, binding)).collect();
        let changed: Vec<_> = self
            .shards
            .iter()
            .filter(|((id, _), shard)| {
                new.get(id).is_none_or(|binding| {
                    binding.plugin.digest() != shard.binding.plugin.digest() || binding.parameters != shard.binding.parameters
                })
            })
            .map(|(key, _)| *key)
            .collect();
        for key in changed {
            let Some(mut shard) = self.shards.remove(&key) else { continue };
            // Same plugin in another version or with other parameters: it takes over what the old one learnt.
            let state = shard.instance.snapshot().await.ok();
            if let Some(binding) = new.get(&key.0)
                && let Some(mut successor) = self.open(binding.clone(), state.map(|state| (state, shard.ids.clone()))).await
            {
                successor.succeed(shard);
                self.shards.insert(key, successor);
            }
        }
        self.bindings = new;
        let names: BTreeSet<_> = self.bindings.values().map(|binding| binding.name.clone()).collect();
        self.with_statuses(|statuses| statuses.retain(|name, _| names.contains(name)));
    }

    async fn open(&mut self, binding: Binding, state: Option<(salve_plugins::State, SeriesIds)>) -> Option<Shard> {
        let (state, ids) = match state {
            Some((state, ids)) => (Some(state), ids),
            None => (None, SeriesIds::default()),
        };
        let with_state = state.is_some();
        let options = |state| DetectorOptions { name: binding.name.clone(), parameters_json: binding.parameters.clone(), state };
        let mut opened = self.host.detector(&binding.plugin, options(state)).await;
        let mut ids = ids;
        if let (true, Err(error)) = (with_state, &opened) {
            tracing::warn!(detector = %binding.name, %error, "Detector refused its saved state and starts afresh.");
            ids = SeriesIds::default();
            opened = self.host.detector(&binding.plugin, options(None)).await;
        }
        match opened {
            Ok(instance) => {
                self.problem(&binding.name, None);
                Some(Shard { binding, instance, ids, guest_ids: Vec::new(), series: Vec::new(), introduce: Vec::new() })
            }
            Err(error) => {
                tracing::error!(detector = %binding.name, %error, "Detector cannot start.");
                self.problem(&binding.name, Some(error.to_string()));
                None
            }
        }
    }

    async fn round(&mut self, mut round: Round) {
        let mut observations = Vec::new();
        for (id, shard_number, batch) in std::mem::take(&mut round.batches) {
            let Some(binding) = self.bindings.get(&id).cloned() else { continue };
            if !self.shards.contains_key(&(id, shard_number)) {
                let saved = self.snapshots.load(&binding.name, shard_number, binding.plugin.digest());
                let Some(shard) = self.open(binding.clone(), saved).await else { continue };
                self.shards.insert((id, shard_number), shard);
            }
            let Some(shard) = self.shards.get_mut(&(id, shard_number)) else { continue };
            let points = batch.values.len() as u64;
            match shard.observe(batch).await {
                Ok(found) => {
                    let (series, count) = (shard.series_count(), found.len() as u64);
                    observations.extend(found);
                    self.with_statuses(|statuses| {
                        let status = statuses.entry(binding.name.clone()).or_default();
                        status.series = series;
                        status.points += points;
                        status.observations += count;
                    });
                }
                Err(error) => {
                    tracing::error!(detector = %binding.name, %error, "Detector failed on a batch.");
                    self.problem(&binding.name, Some(error.to_string()));
                }
            }
        }
        self.report(round, observations).await;
    }

    async fn report(&mut self, mut round: Round, observations: Vec<Observation>) {
        let abnormal: BTreeSet<(u64, u64)> = observations
            .iter()
            .filter(|observation| observation.score >= SCORE_ALERT)
            .map(|observation| (observation.series.key.0, observation.time.0))
            .collect();
        for point in &mut round.watched {
            point.abnormal = abnormal.contains(&(point.series.0, point.time.0));
        }
        let mut events = Vec::new();
        if let Some(edges) = round.topology.take() {
            events.push(Event::Topology { edges });
        }
        if !observations.is_empty() {
            events.push(Event::Observed(observations));
        }
        if !round.watched.is_empty() || !round.expected.is_empty() {
            events.push(Event::Measured { series: round.watched, expected: round.expected });
        }
        for event in events {
            // Fails only while the daemon stops.
            drop(self.events.send(event).await);
        }
        if round.now >= self.snapshot_due {
            self.snapshot_due = round.now.plus_ms(self.snapshot_ms);
            self.save_all().await;
        }
    }

    async fn save_all(&mut self) {
        for ((_, number), shard) in &mut self.shards {
            match shard.instance.snapshot().await {
                Ok(state) => self.snapshots.save(&shard.binding.name, *number, shard.binding.plugin.digest(), &state, &shard.ids),
                Err(error) => tracing::warn!(detector = %shard.binding.name, %error, "Detector gave no snapshot."),
            }
        }
    }

    fn problem(&self, name: &str, problem: Option<String>) {
        self.with_statuses(|statuses| statuses.entry(name.to_owned()).or_default().problem = problem);
    }

    fn with_statuses<T>(&self, change: impl FnOnce(&mut BTreeMap<String, DetectorStatus>) -> T) -> T {
        change(&mut self.statuses.lock().unwrap_or_else(PoisonError::into_inner))
    }
}
