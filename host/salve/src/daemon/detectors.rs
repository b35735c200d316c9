//! The thread that runs detectors: batches in, observations and judged measurements out.
//!
//! ## What always holds
//! - a detector that fails is reported and left out; the others go on
//! - state is written down every `snapshot_ms`, and at the end

use super::{signals::Round, snapshots::SnapshotStore};
use crate::control::DetectorStatus;
use salve_core::{Event, symptom::SCORE_MIN};
use salve_model::{
    batch::{Batch, RawObservation, SeriesAdded},
    telemetry::Observation,
    text::escape,
    time::{EventTime, Now},
};
use salve_plugins::{DetectorInstance, DetectorOptions, Plugin, PluginHost, State};
use salve_signals::BindingId;
use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    sync::{Arc, Mutex, PoisonError},
};
use tokio::sync::mpsc;

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

struct Shard {
    binding: Binding,
    instance: DetectorInstance,
    /// By id: what the guest was told of a series.
    series: Vec<Option<SeriesAdded>>,
    /// Series that a predecessor knew and this instance has not been told of yet.
    introduce: Vec<SeriesAdded>,
}

impl Shard {
    async fn observe(&mut self, mut batch: Batch) -> Result<Vec<Observation>, salve_plugins::GuestError> {
        for id in &batch.removed {
            if let Some(slot) = self.series.get_mut(*id as usize) {
                *slot = None;
            }
        }
        for added in &batch.added {
            let slot = added.id as usize;
            if self.series.len() <= slot {
                self.series.resize(slot + 1, None);
            }
            self.series[slot] = Some(added.clone());
        }
        if !self.introduce.is_empty() {
            batch.added.splice(0..0, self.introduce.drain(..));
        }
        let output = self.instance.observe(&batch).await?;
        for aside in self.instance.take_set_aside() {
            tracing::error!(detector = %self.binding.name, series = %escape(&aside.series.name, 100), kind = %aside.kind,
                "Detector fails on a series, which is set aside.");
        }
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

    /// Takes over the place of `predecessor`, whose series are introduced with the next batch.
    fn succeed(&mut self, predecessor: Self) {
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
                    binding.plugin.digest() != shard.binding.plugin.digest()
                        || binding.parameters != shard.binding.parameters
                })
            })
            .map(|(key, _)| *key)
            .collect();
        for key in changed {
            let Some(mut shard) = self.shards.remove(&key) else { continue };
            // Same plugin in another version or with other parameters: it takes over what the old one learnt.
            let state = shard.instance.snapshot().await.ok();
            if let Some(binding) = new.get(&key.0)
                && let Some(mut successor) = self.open(binding.clone(), state).await
            {
                successor.succeed(shard);
                self.shards.insert(key, successor);
            }
        }
        self.bindings = new;
        let names: BTreeSet<_> = self.bindings.values().map(|binding| binding.name.clone()).collect();
        self.with_statuses(|statuses| statuses.retain(|name, _| names.contains(name)));
    }

    async fn open(&mut self, binding: Binding, state: Option<State>) -> Option<Shard> {
        let options = DetectorOptions {
            name: binding.name.clone(),
            parameters_json: binding.parameters.clone(),
            state,
        };
        match self.host.detector(&binding.plugin, options).await {
            Ok(instance) => {
                if let Some(why) = instance.restore_failure() {
                    tracing::warn!(detector = %binding.name, %why, "Detector refused its saved state and starts afresh.");
                }
                self.problem(&binding.name, None);
                Some(Shard { binding, instance, series: Vec::new(), introduce: Vec::new() })
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
            .filter(|observation| observation.score >= SCORE_MIN)
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
                Ok(state) => {
                    self.snapshots.save(&shard.binding.name, *number, shard.binding.plugin.digest(), &state)
                }
                Err(error) => {
                    tracing::warn!(detector = %shard.binding.name, %error, "Detector gave no snapshot.")
                }
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
