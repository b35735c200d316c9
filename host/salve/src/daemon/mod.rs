//! `salve run`: puts the parts together, keeps them going, and takes them apart in order.
//!
//! Telemetry flows `ingest` → [`signals`] → [`detectors`] → [`driver`] (the core) → [`effects`], one channel between
//! each two. Everything else hangs on [`Daemon`].

mod assertions;
mod catalogue;
mod clock;
mod control;
mod detectors;
mod driver;
mod effects;
mod erasure;
mod health;
mod journal;
mod marks;
mod notes;
mod pause;
mod process_up;
mod reload;
mod rollout;
mod shard;
mod signals;
mod snapshots;
mod starting;
mod trials;
mod versions;
mod warm_up;
mod watch;

use crate::{
    config::{self, Config},
    control::{DetectorStatus, ProcessLine, Status},
    logging,
};
pub use driver::recorded_core;
pub use reload::{brokers_config, host_config};

use anyhow::{Context, Result};
use catalogue::Catalogue;
use clock::Clock;
use detectors::{Command, DetectorThread};
use driver::{Driver, Questions};
use effects::Effects;
use marks::Marks;
use salve_capabilities::Brokers;
use salve_core::Event;
use salve_ledger::{EntryKind, Ledger, LedgerHandle, LedgerReader, NewEntry};
use salve_model::Tenant;
use salve_plugins::PluginHost;
use salve_policy::PolicyStore;
use serde_json::json;
use signals::SignalsHandle;
use std::{
    net::SocketAddr,
    path::{Path, PathBuf},
    sync::{
        Arc, Mutex, PoisonError, RwLock,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};
use tokio::{
    signal::unix::{SignalKind, signal},
    sync::{mpsc, watch as watch_channel},
};

/// Rounds that may wait for the detectors. More than one would only make them older.
const ROUNDS_WAITING: usize = 2;
/// Events that may wait for the core.
const EVENTS_WAITING: usize = 1_024;
/// How long a graceful stop may take before it stops waiting.
const STOP_WITHIN: Duration = Duration::from_secs(20);

/// What the running parts share.
pub struct Daemon {
    config_path: PathBuf,
    config: RwLock<Arc<Config>>,
    clock: Clock,
    started_ms: u64,
    signals: SignalsHandle,
    catalogue: Catalogue,
    policies: Arc<PolicyStore>,
    brokers: Arc<Brokers>,
    ledger: LedgerHandle,
    ingest: Arc<salve_ingest::IngestCounters>,
    events: mpsc::Sender<Event>,
    detector_commands: mpsc::Sender<Command>,
    detector_statuses: detectors::DetectorStatuses,
    bindings: tokio::sync::Mutex<reload::Bindings>,
    /// Held while the core is told how plugins stand, so that it hears things in their order.
    telling_of_plugins: tokio::sync::Mutex<()>,
    escalation: Arc<RwLock<Option<String>>>,
    questions: Questions,
    switch: pause::Switch,
    ready: Arc<AtomicBool>,
    stopping: watch_channel::Sender<bool>,
    /// OTLP over gRPC, OTLP over HTTP, health.
    listeners: Vec<SocketAddr>,
    problems: Mutex<Vec<String>>,
}

/// Runs the daemon until SIGTERM or SIGINT.
///
/// # Errors
/// If a part cannot start, naming it; or if the ledger can no longer be written.
pub fn run(config_path: &Path) -> Result<()> {
    let config = config::load(config_path, std::env::vars())?;
    logging::start(&config.log)?;
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .thread_name("salve")
        .build()
        .context("cannot start the runtime")?;
    let result = runtime.block_on(run_until_stopped(config_path.to_owned(), config));
    runtime.shutdown_timeout(Duration::from_secs(2));
    result
}

async fn run_until_stopped(config_path: PathBuf, config: Config) -> Result<()> {
    let clock = Clock::default();
    private_directory(&config.state_directory)?;
    let config = Arc::new(config);

    // The ledger first: nothing may happen before it can be written down, and its lease keeps a second daemon away.
    let ledger = Ledger::open(config.ledger_path()).context("cannot open the ledger")?;
    let (ledger, ledger_thread) = LedgerHandle::start(ledger)?;
    let now = clock.now();
    ledger
        .append(vec![NewEntry::new(
            EntryKind::Started,
            now.0,
            json!({ "version": env!("CARGO_PKG_VERSION"), "pid": std::process::id(), "mode": config.mode }),
        )])
        .await?;

    let (events, event_queue) = mpsc::channel(EVENTS_WAITING);
    let (stopping, _) = watch_channel::channel(false);
    let (rounds, round_queue) = mpsc::channel(ROUNDS_WAITING);
    let signals = SignalsHandle::start(
        config.signals.clone(),
        config.otlp.bytes_in_flight_max as usize,
        clock.clone(),
        rounds,
    )?;

    let host = PluginHost::new(reload::host_config(&config)).context("cannot start the plugin host")?;
    let versions = versions::VersionStore::open(config.state_directory.join("plugins"))?;
    let catalogue = Catalogue::new(host.clone(), versions, config.plugins.rollout.clone(), clock.clone())?;
    catalogue.set_agents(config.plugins.agents.clone());
    catalogue.set_trust(&config);
    catalogue.scan(&config.plugins.directory, None).await;

    // Bound before the brokers are made, since these refuse Salve's own listeners; served once all is ready.
    let ingest = salve_ingest::bind(config.otlp.clone(), Arc::new(signals.clone()))
        .await
        .context("cannot listen for OTLP")?;
    let ready = Arc::new(AtomicBool::new(false));
    let health = health::serve(config.health.address, ready.clone(), stopping.subscribe())
        .await
        .with_context(|| format!("cannot listen on health.address `{}`", config.health.address))?;
    let ingest_counters = ingest.counters();
    let listeners = vec![ingest.grpc_address(), ingest.http_address(), health];

    let journal = Arc::new(journal::LedgerJournal::new(ledger.clone(), clock.clone()));
    let brokers = Arc::new(
        Brokers::new(reload::brokers_config(&config, &config_path, &listeners), journal)
            .context("cannot start the brokers")?,
    );
    let policies = Arc::new(
        PolicyStore::open(&config.policies.directory, config.policies.limits.clone())
            .context("cannot load the policies")?,
    );

    let escalation = Arc::new(RwLock::new(config.escalation.channel.clone()));
    let effects = Effects {
        signals: signals.clone(),
        host: host.clone(),
        catalogue: catalogue.clone(),
        policies: policies.clone(),
        brokers: brokers.clone(),
        ledger: ledger.clone(),
        events: events.clone(),
        clock: clock.clone(),
        escalation: escalation.clone(),
        marks: Marks::start(brokers.clone()).context("cannot start the thread of marks")?,
    };
    let recorded = LedgerReader::open(config.ledger_path())?;
    let switch = pause::Switch::new(&config.pause_file());
    let driver =
        Driver::recover(recorded.transitions(), ledger.clone(), clock.clone(), effects, switch.clone())?;
    let (questions, question_queue) = Questions::new();

    let (detector_commands, detector_queue) = mpsc::channel(ROUNDS_WAITING);
    let detector_statuses = detectors::DetectorStatuses::default();
    let detector_thread = DetectorThread::start(
        detectors::Tools {
            host,
            catalogue: catalogue.clone(),
            signals: signals.clone(),
            snapshots: snapshots::SnapshotStore::open(config.state_directory.join("detectors"))?,
            snapshot_ms: config.plugins.snapshot_ms,
            statuses: detector_statuses.clone(),
            events: events.clone(),
        },
        detector_queue,
    )?;

    let daemon = Arc::new(Daemon {
        config_path,
        config: RwLock::new(config.clone()),
        started_ms: now.0,
        clock,
        signals,
        catalogue,
        policies,
        brokers,
        ledger,
        ingest: ingest_counters,
        events,
        detector_commands,
        detector_statuses,
        bindings: tokio::sync::Mutex::default(),
        telling_of_plugins: tokio::sync::Mutex::default(),
        escalation,
        questions,
        switch,
        ready,
        stopping,
        listeners,
        problems: Mutex::default(),
    });

    // The first event of all: recovery comes before it and acts under the settings that were recorded last.
    daemon.configure_core(&config).await;
    daemon.bind_detectors(&config).await;
    daemon.follow_rollout().await;
    daemon.tell_core_of_plugins().await;
    let mut driver = tokio::spawn(driver.run(event_queue, question_queue));
    tokio::spawn(daemon.clone().forward_rounds(round_queue));
    tokio::spawn(daemon.clone().forward_changes());
    tokio::spawn(process_up::report(daemon.clone()));
    tokio::spawn(daemon.clone().tick());
    tokio::spawn(rollout::follow(daemon.clone()));

    let control = control::bind(&config.control_socket())?;
    tokio::spawn(control::serve(control, daemon.clone()));
    let mut stopped = daemon.stopping.subscribe();
    let ingest = tokio::spawn(ingest.run(async move { drop(stopped.wait_for(|stopping| *stopping).await) }));
    tokio::spawn(reload::watch_files(daemon.clone()));
    daemon.ready.store(true, Ordering::Relaxed);
    tracing::info!(mode = ?config.mode, grpc = daemon.listener(0), http = daemon.listener(1),
        health = daemon.listener(2), version = env!("CARGO_PKG_VERSION"), "Ready.");

    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut hang_up = signal(SignalKind::hangup())?;
    let failure = loop {
        tokio::select! {
            _ = terminate.recv() => break None,
            _ = interrupt.recv() => break None,
            _ = hang_up.recv() => {
                // The problem stands in the log and in `salve status`; the old configuration stays in force.
                drop(daemon.reload().await);
            }
            ended = &mut driver => break Some(match ended {
                Ok(Ok(())) => anyhow::anyhow!("the decision core ended by itself"),
                Ok(Err(error)) => anyhow::Error::new(error).context("cannot write the ledger; stopping, since nothing may be done without a record"),
                Err(error) => anyhow::anyhow!("the decision core stopped: {error}"),
            }),
        }
    };

    tracing::info!("Stopping.");
    daemon.ready.store(false, Ordering::Relaxed);
    _ = daemon.stopping.send(true);
    let stop_children = daemon.config().stop_children;
    let stop = async {
        // Senders get their answers first, then actions under way end, then the state is written down.
        drop(ingest.await);
        if let Err(error) = daemon.brokers.shutdown(stop_children).await {
            tracing::warn!(%error, "A supervised process was not stopped.");
        }
        drop(daemon.detector_commands.send(Command::Stop).await);
        drop(tokio::task::spawn_blocking(move || drop(detector_thread.join())).await);
        drop(
            daemon
                .ledger
                .append(vec![NewEntry::new(EntryKind::Stopped, daemon.clock.now().0, json!({}))])
                .await,
        );
    };
    if tokio::time::timeout(STOP_WITHIN, stop).await.is_err() {
        tracing::warn!("Some parts did not stop in time.");
    }
    drop(ledger_thread);
    drop(std::fs::remove_file(config.control_socket()));
    tracing::info!("Stopped.");
    failure.map_or(Ok(()), Err)
}

/// The counters of a part, as `PART.NAME`.
fn counters_of(part: &str, counters: &impl serde::Serialize) -> Vec<(String, u64)> {
    let values = serde_json::to_value(counters).unwrap_or_default();
    let fields = values.as_object().cloned().unwrap_or_default();
    fields.into_iter().filter_map(|(name, value)| Some((format!("{part}.{name}"), value.as_u64()?))).collect()
}

/// Makes the state folder, for Salve's user only.
fn private_directory(directory: &Path) -> Result<()> {
    use std::os::unix::fs::PermissionsExt;
    std::fs::create_dir_all(directory)
        .and_then(|()| std::fs::set_permissions(directory, std::fs::Permissions::from_mode(0o700)))
        .with_context(|| {
            format!("cannot make the state folder `{}`\n\nhint: set `state_directory` to a folder that Salve's user may write", directory.display())
        })
}

impl Daemon {
    fn config(&self) -> Arc<Config> {
        self.config.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn listener(&self, index: usize) -> String {
        self.listeners.get(index).map(ToString::to_string).unwrap_or_default()
    }

    /// Tells the core something.
    pub async fn send(&self, event: Event) {
        // Fails only while the daemon stops.
        drop(self.events.send(event).await);
    }

    async fn configure_core(&self, config: &Config) {
        self.signals
            .select_by(config.targets.iter().flat_map(|target| target.select.keys().cloned()).collect());
        self.send(Event::Configured { settings: config.settings(), targets: self.brokers.targets() }).await;
    }

    /// A person has seen an incident about a plugin.
    ///
    /// # Errors
    /// One sentence that says why it cannot be closed by that.
    pub async fn acknowledge(&self, id: String, by: String) -> Result<String, String> {
        let incident = salve_model::incident::IncidentId(id);
        let asked = incident.clone();
        let objection = self.questions.ask(move |core| core.acknowledge_objection(&asked)).await;
        match objection {
            Some(None) => {}
            Some(Some(why)) => return Err(why),
            None => return Err("the daemon is stopping".into()),
        }
        let done = format!("{incident} is closed");
        self.send(Event::Acknowledged { incident, by }).await;
        Ok(done)
    }

    /// A person's answer to a plan. Says what was answered; an error if that plan does not wait.
    pub async fn approve(
        &self,
        id: String,
        plan: Option<u32>,
        by: String,
        approved: bool,
    ) -> Result<String, String> {
        let incident = salve_model::incident::IncidentId(id);
        let asked = incident.clone();
        let known = self
            .questions
            .ask(move |core| {
                let detail = core.incident(&asked);
                // A person who has seen only one plan need not say which.
                let only = detail.as_ref().map_or(1, |detail| detail.plan_number).min(1);
                let objection = core.approval_objection(&asked, plan.unwrap_or(only), approved);
                let summary = detail.and_then(|detail| detail.plan).map(|plan| plan.summary);
                (plan.unwrap_or(only), objection, summary.unwrap_or_default())
            })
            .await;
        let (number, summary) = match known {
            Some((number, None, summary)) => (number, salve_model::text::escape(&summary, 300)),
            Some((_, Some(why), _)) => {
                let incident = salve_model::text::escape(&incident.0, 100);
                return Err(format!("{why}\n\nhint: `salve incident show {incident}` says how it stands"));
            }
            None => return Err("the daemon is stopping".into()),
        };
        let word = if approved { "yes" } else { "no" };
        let done = format!("answer taken: {word} to plan {number} of {incident}: {summary}");
        self.send(Event::Approved { incident, plan: number, by, approved }).await;
        Ok(done)
    }

    async fn tick(self: Arc<Self>) {
        let mut stopping = self.stopping.subscribe();
        let mut notes = notes::Notes::default();
        loop {
            let period = Duration::from_millis(self.config().guards.tick_ms);
            tokio::select! {
                () = tokio::time::sleep(period) => {}
                _ = stopping.wait_for(|stopping| *stopping) => return,
            }
            self.signals.tick(self.clock.now());
            self.send(Event::Tick).await;
            self.note_plugins(&mut notes).await;
        }
    }

    async fn forward_rounds(self: Arc<Self>, mut rounds: mpsc::Receiver<signals::Round>) {
        while let Some(round) = rounds.recv().await {
            if self.detector_commands.send(Command::Round(round)).await.is_err() {
                return;
            }
        }
    }

    async fn forward_changes(self: Arc<Self>) {
        let mut changes = self.brokers.changes();
        loop {
            match changes.recv().await {
                Ok(change) => {
                    tracing::info!(
                        service = change.service,
                        what = change.what,
                        author = change.author,
                        "Configuration changed."
                    );
                    let owner = change.target.as_ref().and_then(|target| self.brokers.tenant_of(target));
                    self.signals.record_change(owner.unwrap_or_default(), change);
                }
                Err(tokio::sync::broadcast::error::RecvError::Lagged(missed)) => {
                    tracing::warn!(missed, "Change events came too fast and were dropped.");
                }
                Err(tokio::sync::broadcast::error::RecvError::Closed) => return,
            }
        }
    }

    /// How the daemon is.
    pub async fn status(&self) -> Status {
        let (services, counters) = self
            .signals
            .ask(|signals| {
                let counters = signals.counters();
                let named = |tenant: Tenant| {
                    let names = signals.of(&tenant).service_names().into_iter();
                    let named =
                        names.map(|name| if tenant.is_default() { name } else { format!("{tenant}/{name}") });
                    named.collect::<Vec<_>>()
                };
                (signals.tenants().into_iter().flat_map(named).collect::<Vec<String>>(), counters)
            })
            .await;
        let (incidents_open, half_done, core_counts) = self
            .questions
            .ask(|core| {
                (
                    core.incidents().iter().filter(|incident| incident.closed.is_none()).count(),
                    core.half_done(),
                    *core.counts(),
                )
            })
            .await
            .unwrap_or_default();
        let mut problems = self.problems.lock().unwrap_or_else(PoisonError::into_inner).clone();
        problems.extend(
            self.catalogue.problems().into_iter().map(|(path, why)| format!("{}: {why}", path.display())),
        );
        problems.extend(self.rollout_problems());
        let now = self.clock.now();
        let processes = self.brokers.unit_states();
        let pause = self.switch.paused();
        Status {
            version: env!("CARGO_PKG_VERSION").into(),
            pid: std::process::id(),
            uptime_ms: now.0.saturating_sub(self.started_ms),
            mode: self.config().mode,
            paused: pause.is_some(),
            pause,
            half_done,
            ready: self.ready.load(Ordering::Relaxed),
            otlp_grpc_address: self.listener(0),
            otlp_http_address: self.listener(1),
            health_address: self.listener(2),
            incidents_open,
            series: counters.series,
            services,
            counters: counters
                .to_map()
                .into_iter()
                .chain(counters_of("ingest", &self.ingest.values()))
                .chain(counters_of("core", &core_counts))
                .chain(self.plugin_totals())
                .collect(),
            detectors: self.detector_statuses.lock().unwrap_or_else(PoisonError::into_inner).clone(),
            ledger_entries: self.ledger.stats().entries,
            policy_digest: self.policies.current().digest().to_owned(),
            problems,
            processes: processes
                .into_iter()
                .map(|unit| ProcessLine {
                    name: unit.unit,
                    state: if unit.pid.is_some() { "running".into() } else { "exited".into() },
                    pid: unit.pid,
                })
                .collect(),
        }
    }

    fn detector_problem(&self, name: &str, problem: String) {
        let status = DetectorStatus { problem: Some(problem), ..DetectorStatus::default() };
        self.detector_statuses.lock().unwrap_or_else(PoisonError::into_inner).insert(name.to_owned(), status);
    }
}
