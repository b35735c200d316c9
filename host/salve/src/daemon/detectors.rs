//! The thread that runs detectors: batches in, observations and judged measurements out.
//!
//! ## What always holds
//! - a detector that fails is reported and left out; the others go on
//! - what stays wrong in the same words is logged once, not at every batch
//! - state is written down every `snapshot_ms`, and at the end; that of a version that is not trusted any more is removed, and
//!   handed to nobody
//! - versions change places between two batches: each point is shown to each instance once, whichever of them speaks
//! - an instance, and the state that it is given, serve one tenant
//! - a version that does not start leaves the one before it running
//! - a new detector or version is set up beside this thread (`starting`): the others go on meanwhile

use super::{
    catalogue::{Catalogue, Trial},
    shard::{self, Shard, Tried},
    signals::{Round, SignalsHandle},
    snapshots::{Place, SnapshotStore},
    starting::{Progress, Starting},
    trials, warm_up,
};
use crate::control::DetectorStatus;
use salve_core::{Event, symptom::SCORE_MIN};
use salve_model::{Tenant, batch::Batch, telemetry::Observation, time::Now};
use salve_plugins::{DetectorInstance, DetectorOptions, GuestError, Plugin, PluginHost, State};
use salve_rollout::{Input, Stage};
use salve_signals::BindingId;
use std::{
    collections::{BTreeMap, BTreeSet, HashMap, HashSet},
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
    /// A new version that sees the same batches.
    pub trial: Option<Trial>,
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

/// What the thread works with.
pub struct Tools {
    /// Runs guests.
    pub host: PluginHost,
    /// Told how versions compare; says which one speaks for a service.
    pub catalogue: Catalogue,
    /// History, for instances that have learnt nothing yet.
    pub signals: SignalsHandle,
    /// State on disk.
    pub snapshots: SnapshotStore,
    /// Time between two snapshots.
    pub snapshot_ms: u64,
    /// Where the status stands.
    pub statuses: DetectorStatuses,
    /// Where observations go.
    pub events: mpsc::Sender<Event>,
}

/// Runs until `commands` closes.
pub struct DetectorThread {
    tools: Tools,
    bindings: HashMap<BindingId, Binding>,
    shards: HashMap<(BindingId, u32), Shard>,
    /// Shards whose first instance is being set up.
    starting: HashMap<(BindingId, u32), Starting>,
    /// Shards of which no instance knows the series any more: these have to be described again.
    forgotten: HashSet<(BindingId, u32)>,
    snapshot_due: Now,
    /// Digests of versions whose snapshots have been removed.
    untrusted: BTreeSet<String>,
}

impl DetectorThread {
    /// Starts the thread.
    pub fn start(
        tools: Tools,
        mut commands: mpsc::Receiver<Command>,
    ) -> std::io::Result<std::thread::JoinHandle<()>> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build()?;
        std::thread::Builder::new().name("detectors".into()).spawn(move || {
            let mut thread = Self {
                tools,
                bindings: HashMap::new(),
                shards: HashMap::new(),
                starting: HashMap::new(),
                forgotten: HashSet::new(),
                snapshot_due: Now(0),
                untrusted: BTreeSet::new(),
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
        let untrusted = self.tools.catalogue.untrusted();
        if self.untrusted != untrusted {
            self.tools.snapshots.forget(&untrusted);
            self.untrusted = untrusted;
        }
        self.bindings = bindings.into_iter().map(|binding| (binding.id, binding)).collect();
        let keys: Vec<_> = self.shards.keys().copied().collect();
        for key in keys {
            let (Some(shard), Some(binding)) = (self.shards.remove(&key), self.bindings.get(&key.0)) else {
                self.forgotten.insert(key);
                continue;
            };
            let shard = self.follow(shard, binding.clone(), key.1).await;
            self.shards.insert(key, shard);
        }
        let unbound: Vec<_> =
            self.starting.keys().filter(|key| !self.bindings.contains_key(&key.0)).copied().collect();
        for key in unbound {
            self.starting.remove(&key);
            self.forgotten.insert(key);
        }
        let names: BTreeSet<_> = self.bindings.values().map(|binding| binding.name.clone()).collect();
        self.with_statuses(|statuses| statuses.retain(|name, _| names.contains(name)));
    }

    /// Fits a shard to its binding: another version or other parameters take over what the old instance learnt.
    async fn follow(&self, mut shard: Shard, binding: Binding, number: u32) -> Shard {
        let same_parameters = shard.parameters == binding.parameters;
        if shard.digest() != binding.plugin.digest() || !same_parameters {
            let begun = std::time::Instant::now();
            let (from, to) = (shard.digest().to_owned(), binding.plugin.digest().to_owned());
            let tried = shard.tried.take().filter(|tried| tried.digest() == to && same_parameters);
            let how = match tried {
                Some(tried) => {
                    // It has seen every batch already.
                    shard.take_place(tried, &binding);
                    Ok("it has seen all batches in its trial")
                }
                None => match self.successor(&mut shard, &binding.plugin, &binding, number).await {
                    Ok((tried, how)) => {
                        shard.take_place(tried, &binding);
                        Ok(how)
                    }
                    Err(error) => Err(error),
                },
            };
            match how {
                Ok(how) => {
                    self.problem(&binding.name, None);
                    tracing::info!(detector = %binding.name, shard = number, from, to, how,
                        elapsed_us = u64::try_from(begun.elapsed().as_micros()).unwrap_or(u64::MAX), "Detector switched.");
                }
                // With another version it is that version's fault, with other parameters the operator's.
                Err(error) if from != to => {
                    self.does_not_start(&binding.name, &binding.plugin, &error.to_string());
                }
                Err(error) => {
                    if self.problem(&binding.name, Some(error.to_string())) {
                        tracing::error!(detector = %binding.name, %error, "Detector does not take its new parameters; the old ones stay.");
                    }
                }
            }
        }
        match &binding.trial {
            None => (shard.tried, shard.coming) = (None, None),
            Some(trial) if shard.tries(trial.plugin.digest()) => {}
            Some(trial) => {
                (shard.tried, shard.coming) = (None, None);
                let state = self.legacy(&mut shard).await;
                let heir = state.is_some().then(|| shard.known_series());
                match Starting::begin(&self.tools.host, &trial.plugin, options(&binding, state), heir) {
                    Ok(mut coming) => {
                        let progress = coming.quick().await;
                        shard.coming = Some(coming);
                        self.join(&mut shard, progress, &binding, number).await;
                    }
                    Err(error) => self.does_not_start(&binding.name, &trial.plugin, &error.to_string()),
                }
            }
        }
        shard
    }

    /// Puts a version that has been set up beside the active one, knowing all that it knows.
    async fn join(&self, shard: &mut Shard, progress: Progress, binding: &Binding, number: u32) {
        let Some(trial) = &binding.trial else { return };
        let joined = match progress {
            Progress::Waiting => return,
            Progress::Failed(why) => Err(why),
            Progress::There(tried, left) => {
                let mut tried = *tried;
                let had_state = shard.coming.as_ref().is_some_and(|coming| coming.had_state);
                if had_state && tried.instance.restore_failure().is_none() {
                    for batch in left {
                        shard::show(&mut tried, batch).await;
                    }
                    Ok((tried, "it took over the state"))
                } else {
                    warn_of_restore(binding, &tried.instance);
                    // History has what was kept for it, too.
                    tried.introduce.clear();
                    let warm = self.warm_up(shard, &mut tried, binding, number).await;
                    warm.map(|()| (tried, "it was warmed up from history")).map_err(|error| error.to_string())
                }
            }
        };
        let coming = shard.coming.take();
        match joined {
            Ok((tried, how)) => {
                let elapsed = coming.map(|coming| coming.begun.elapsed()).unwrap_or_default();
                tracing::info!(detector = %binding.name, shard = number, digest = trial.plugin.digest(), how,
                    elapsed_us = u64::try_from(elapsed.as_micros()).unwrap_or(u64::MAX),
                    "Detector is tried beside the active version.");
                shard.tried = Some(tried);
            }
            Err(why) => self.does_not_start(&binding.name, &trial.plugin, &why),
        }
    }

    /// An instance that knows what the shard's own one does, or what history has if that cannot be handed over.
    async fn successor(
        &self,
        shard: &mut Shard,
        plugin: &Arc<Plugin>,
        binding: &Binding,
        number: u32,
    ) -> Result<(Tried, &'static str), GuestError> {
        let state = self.legacy(shard).await;
        let had_state = state.is_some();
        let instance = self.open(plugin, binding, state).await?;
        if had_state && instance.restore_failure().is_none() {
            let introduce = shard.known_series();
            return Ok((Tried { instance, introduce }, "it took over the state"));
        }
        let mut tried = Tried { instance, introduce: Vec::new() };
        self.warm_up(shard, &mut tried, binding, number).await?;
        Ok((tried, "it was warmed up from history"))
    }

    /// What an instance has learnt, for another one. That of a version in quarantine, or that may not load any more, is not
    /// trusted.
    async fn legacy(&self, shard: &mut Shard) -> Option<State> {
        if self.tools.catalogue.untrusted().contains(shard.digest()) {
            return None;
        }
        shard.instance.snapshot().await.ok()
    }

    /// Shows an instance what its predecessor was shown, as far as history has it.
    async fn warm_up(
        &self,
        shard: &Shard,
        tried: &mut Tried,
        binding: &Binding,
        number: u32,
    ) -> Result<(), GuestError> {
        let series = shard.known_series();
        let ids: Vec<u32> = series.iter().map(|added| added.id).collect();
        let id = binding.id;
        let past = self
            .tools
            .signals
            .ask(move |signals| signals.shard_history(id, number, &ids, warm_up::POINTS_OF_SERIES_MAX))
            .await;
        for batch in warm_up::batches(&series, &past, &shard.seen_until, shard.now) {
            // What it says of the past was said before.
            tried.instance.observe(&batch).await?;
        }
        Ok(())
    }

    async fn open(
        &self,
        plugin: &Arc<Plugin>,
        binding: &Binding,
        state: Option<State>,
    ) -> Result<DetectorInstance, GuestError> {
        let instance = self.tools.host.detector(plugin, options(binding, state)).await?;
        warn_of_restore(binding, &instance);
        Ok(instance)
    }

    /// The version falls back; whatever ran before goes on.
    fn does_not_start(&self, binding: &str, plugin: &Plugin, error: &str) {
        tracing::error!(detector = binding, digest = plugin.digest(), error, "Detector cannot start.");
        self.problem(binding, Some(error.to_owned()));
        self.tools.catalogue.report(Input::Unfit {
            name: plugin.name().to_owned(),
            digest: plugin.digest().to_owned(),
            reason: format!("it does not start for the detector `{binding}`: {error}"),
        });
    }

    /// Sets up a shard's instance, with what its own version left at the last start; once it is there, gives the batches that
    /// came meanwhile.
    async fn first(&mut self, key: (BindingId, u32), binding: &Binding, batch: Option<Batch>) -> Vec<Batch> {
        let owner = self.tools.signals.ask(move |signals| signals.shard_owner(key.0, key.1)).await;
        let place = owner.map(|(tenant, shard)| Place { binding: binding.name.clone(), tenant, shard });
        let (mut starting, is_new) = match self.starting.remove(&key) {
            Some(known) if known.is_for(binding) => (known, false),
            other => {
                let digest = binding.plugin.digest();
                let saved = place.as_ref().and_then(|place| self.tools.snapshots.load(place, digest));
                match Starting::begin(&self.tools.host, &binding.plugin, options(binding, saved), None) {
                    Ok(starting) => {
                        // Of another version that was not there yet: nobody has seen these.
                        let kept = other.map(|other| other.left()).unwrap_or_default();
                        kept.into_iter().for_each(|batch| drop(starting.keep(batch)));
                        (starting, true)
                    }
                    Err(error) => {
                        self.cannot_start(key, binding, error.to_string());
                        return Vec::new();
                    }
                }
            }
        };
        let refused = batch.and_then(|batch| starting.keep(batch).err());
        let progress = if refused.is_some() {
            starting.finish().await
        } else if is_new {
            starting.quick().await
        } else {
            starting.progress()
        };
        match progress {
            Progress::Waiting => {
                self.starting.insert(key, starting);
                Vec::new()
            }
            Progress::There(tried, mut left) => {
                left.extend(refused.map(|batch| *batch));
                self.problem(&binding.name, None);
                warn_of_restore(binding, &tried.instance);
                let shard =
                    self.follow(Shard::new(binding, place, tried.instance), binding.clone(), key.1).await;
                self.shards.insert(key, shard);
                if self.forgotten.remove(&key) {
                    self.tools.signals.run(move |signals| signals.describe_again(key.0, key.1));
                }
                left
            }
            Progress::Failed(why) => {
                self.cannot_start(key, binding, why);
                Vec::new()
            }
        }
    }

    /// Parameters that do not fit are the operator's matter and no reason to go back to another version.
    fn cannot_start(&mut self, key: (BindingId, u32), binding: &Binding, error: String) {
        self.forgotten.insert(key);
        if self.problem(&binding.name, Some(error.clone())) {
            tracing::error!(detector = %binding.name, error, "Detector cannot start.");
        }
    }

    async fn round(&mut self, mut round: Round) {
        let mut observations = Vec::new();
        for (id, number, batch) in std::mem::take(&mut round.batches) {
            let key = (id, number);
            let Some(binding) = self.bindings.get(&id).cloned() else {
                self.forgotten.insert(key);
                continue;
            };
            let batches = if self.shards.contains_key(&key) {
                vec![batch]
            } else {
                self.first(key, &binding, Some(batch)).await
            };
            for batch in batches {
                self.show(key, &binding, batch, &mut observations).await;
            }
        }
        self.look_after_starting(&mut observations).await;
        self.report(round, observations).await;
    }

    /// Those that have been set up meanwhile, and to which no batch came in this round.
    async fn look_after_starting(&mut self, observations: &mut Vec<Observation>) {
        let first: Vec<_> = self.starting.keys().copied().collect();
        for key in first {
            let Some(binding) = self.bindings.get(&key.0).cloned() else { continue };
            for batch in self.first(key, &binding, None).await {
                self.show(key, &binding, batch, observations).await;
            }
        }
        let coming = self.shards.iter().filter(|(_, shard)| shard.coming.is_some());
        let coming: Vec<_> = coming.map(|(key, _)| *key).collect();
        for key in coming {
            let Some(binding) = self.bindings.get(&key.0).cloned() else { continue };
            let Some(mut shard) = self.shards.remove(&key) else { continue };
            if let Some(progress) = shard.coming.as_mut().map(Starting::progress) {
                self.join(&mut shard, progress, &binding, key.1).await;
            }
            self.shards.insert(key, shard);
        }
    }

    /// Shows a shard a batch, and takes what it says.
    async fn show(
        &mut self,
        key: (BindingId, u32),
        binding: &Binding,
        batch: Batch,
        observations: &mut Vec<Observation>,
    ) {
        let Some(mut shard) = self.shards.remove(&key) else { return };
        // Before the batch is shown: one that joins sees it with the others, one that does not has it kept.
        if let Some(coming) = &mut shard.coming {
            let progress = match coming.progress() {
                Progress::Waiting if coming.keep(batch.clone()).is_err() => coming.finish().await,
                progress => progress,
            };
            self.join(&mut shard, progress, binding, key.1).await;
        }
        let points = batch.values.len() as u64;
        let seen = shard.observe(batch).await;
        let series = shard.series_count();
        if let (Some(sample), Some(trial)) = (seen.sample, &binding.trial)
            && shard.tries(trial.plugin.digest())
        {
            self.tools.catalogue.report(trials::sampled(trial, sample));
        }
        self.shards.insert(key, shard);
        match seen.active {
            Ok(mut found) => {
                if let (Some(trial), Some(of_tried)) = (&binding.trial, seen.tried)
                    && trial.stage == Stage::Canary
                {
                    self.share(&mut found, of_tried, &trial.plugin);
                }
                let count = found.len() as u64;
                observations.extend(found);
                self.with_statuses(|statuses| {
                    let status = statuses.entry(binding.name.clone()).or_default();
                    status.series = series;
                    status.points += points;
                    status.observations += count;
                });
            }
            Err(error) => {
                if self.problem(&binding.name, Some(error.to_string())) {
                    tracing::error!(detector = %binding.name, %error, "Detector failed on a batch.");
                }
                self.tools.catalogue.tick();
            }
        }
    }

    /// A canary speaks for its share of services, the active version for the rest.
    fn share(&self, found: &mut Vec<Observation>, of_tried: Vec<Observation>, canary: &Plugin) {
        let is_canarys = |observation: &Observation| {
            let chosen = self.tools.catalogue.chosen(canary.name(), &observation.series.service);
            chosen.is_some_and(|chosen| chosen.digest() == canary.digest())
        };
        found.retain(|observation| !is_canarys(observation));
        found.extend(of_tried.into_iter().filter(is_canarys));
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
        for (tenant, edges) in std::mem::take(&mut round.topology) {
            events.push(Event::Topology { tenant, edges });
        }
        // Each tenant's by themselves, so that what stands in the ledger as one tenant's input is of that tenant alone.
        let mut of_tenants = BTreeMap::<Tenant, Vec<Observation>>::new();
        for observation in observations {
            of_tenants.entry(observation.series.tenant.clone()).or_default().push(observation);
        }
        events.extend(of_tenants.into_values().map(Event::Observed));
        if !round.watched.is_empty() || !round.expected.is_empty() {
            events.push(Event::Measured { series: round.watched, expected: round.expected });
        }
        for event in events {
            // Fails only while the daemon stops.
            drop(self.tools.events.send(event).await);
        }
        if round.now >= self.snapshot_due {
            self.snapshot_due = round.now.plus_ms(self.tools.snapshot_ms);
            self.save_all().await;
        }
    }

    async fn save_all(&mut self) {
        let untrusted = self.tools.catalogue.untrusted();
        for ((id, _), shard) in &mut self.shards {
            let (Some(binding), Some(place)) = (self.bindings.get(id), shard.place.clone()) else { continue };
            // It would refuse, every time; that it is in quarantine has been said.
            if shard.instance.plugin().quarantine().is_some() || untrusted.contains(shard.digest()) {
                continue;
            }
            match shard.instance.snapshot().await {
                Ok(state) => self.tools.snapshots.save(&place, shard.digest(), &state),
                Err(error) => {
                    tracing::warn!(detector = %binding.name, %error, "Detector gave no snapshot.")
                }
            }
        }
    }

    /// Notes what is wrong with a detector, if anything; gives whether that is news.
    fn problem(&self, name: &str, problem: Option<String>) -> bool {
        self.with_statuses(|statuses| {
            let known = &mut statuses.entry(name.to_owned()).or_default().problem;
            let is_news = *known != problem;
            *known = problem;
            is_news
        })
    }

    fn with_statuses<T>(&self, change: impl FnOnce(&mut BTreeMap<String, DetectorStatus>) -> T) -> T {
        change(&mut self.tools.statuses.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

fn options(binding: &Binding, state: Option<State>) -> DetectorOptions {
    DetectorOptions { name: binding.name.clone(), parameters_json: binding.parameters.clone(), state }
}

fn warn_of_restore(binding: &Binding, instance: &DetectorInstance) {
    if let Some(why) = instance.restore_failure() {
        let digest = instance.plugin().digest();
        tracing::warn!(detector = %binding.name, digest, %why, "Detector does not take the saved state.");
    }
}
