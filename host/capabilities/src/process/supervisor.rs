//! All units, and the tasks that wait for their processes to end.

use super::{
    ProcessError, ProcessEvent, ProcessEventKind, UnitState,
    procfs::{self, Boot},
    unit::{self, Record, Running, Starting},
};
use crate::{UnitConfig, storage};
use rustix::process::Signal;
use salve_model::{TargetId, call::ProcessStatus};
use std::{
    collections::BTreeMap,
    path::PathBuf,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};
use tokio::{
    io::{Interest, unix::AsyncFd},
    sync::{broadcast, watch},
    task::JoinHandle,
};

/// How long a process may take to end after SIGKILL.
const KILL_WITHIN: Duration = Duration::from_secs(5);
/// Events kept for a slow reader; older ones are dropped and counted by the channel.
const EVENTS_MAX: usize = 1_024;

/// All supervised units.
#[derive(Debug)]
pub(crate) struct Supervisor {
    units: Mutex<BTreeMap<String, Arc<Unit>>>,
    events: broadcast::Sender<ProcessEvent>,
    state_dir: PathBuf,
    boot: Boot,
}

#[derive(Debug)]
struct Unit {
    name: String,
    record: PathBuf,
    events: broadcast::Sender<ProcessEvent>,
    inner: Mutex<Inner>,
    /// Changes when a process starts or ends.
    generation: watch::Sender<u64>,
}

#[derive(Debug)]
struct Inner {
    config: UnitConfig,
    targets: Vec<TargetId>,
    running: Option<Running>,
    last_exit: Option<String>,
    watcher: Option<JoinHandle<()>>,
}

impl Drop for Inner {
    fn drop(&mut self) {
        if let Some(watcher) = self.watcher.take() {
            watcher.abort();
        }
    }
}

impl Supervisor {
    /// Needs a tokio runtime. Starts nothing.
    pub(crate) fn new(state_dir: PathBuf) -> std::io::Result<Self> {
        let (events, _) = broadcast::channel(EVENTS_MAX);
        Ok(Self { units: Mutex::default(), events, state_dir, boot: Boot::read()? })
    }

    pub(crate) fn events(&self) -> broadcast::Receiver<ProcessEvent> {
        self.events.subscribe()
    }

    /// Takes over a new list of units: adopts processes that run, starts those of `autostart` that have not run since
    /// boot. A unit that is no longer listed is let go, not stopped. Gives the errors of units that could not start.
    pub(crate) fn configure(&self, units: &[(UnitConfig, Vec<TargetId>)]) -> Vec<ProcessError> {
        let mut known = lock(&self.units);
        known.retain(|name, _| units.iter().any(|(config, _)| config.name == *name));
        let mut errors = Vec::new();
        for (config, targets) in units {
            if let Some(unit) = known.get(&config.name) {
                let mut inner = lock(&unit.inner);
                inner.config = config.clone();
                inner.targets.clone_from(targets);
                continue;
            }
            let (unit, ran_since_boot) = self.add(config, targets);
            if config.autostart
                && !ran_since_boot
                && let Err(error) = unit.start(&self.boot, true)
            {
                errors.push(error);
            }
            known.insert(config.name.clone(), unit);
        }
        errors
    }

    fn add(&self, config: &UnitConfig, targets: &[TargetId]) -> (Arc<Unit>, bool) {
        let path = Record::path(&self.state_dir, &config.name);
        let record = Record::read(&path).filter(|record| record.boot == self.boot.id);
        let unit = Arc::new(Unit {
            name: config.name.clone(),
            record: path,
            events: self.events.clone(),
            inner: Mutex::new(Inner {
                config: config.clone(),
                targets: targets.to_vec(),
                running: None,
                last_exit: record.as_ref().and_then(|record| record.last_exit.clone()),
                watcher: None,
            }),
            generation: watch::Sender::new(0),
        });
        let Some(record) = record else { return (unit, false) };
        let found = match (&record.identity, &record.starting) {
            // Salve died between starting a process and writing its pid down.
            (_, Some(starting)) => procfs::find_leader(&starting.variable(), &config.command, starting.ticks),
            (Some(identity), None) => Some((identity.pid, identity.start_ticks)),
            (None, None) => None,
        };
        match found.and_then(|(pid, start_ticks)| unit::open(pid, start_ticks, &self.boot)) {
            Some(running) => unit.take(running, ProcessEventKind::Adopted),
            // Salve died before the process was there: it has not run yet.
            None if record.starting.as_ref().is_some_and(|starting| starting.is_first) => {
                return (unit, false);
            }
            None if record.last_exit.is_none() => {
                let words = "ended while Salve was not running".to_owned();
                if let Some(identity) = &record.identity {
                    unit.emit(identity.pid, ProcessEventKind::Exited(words.clone()));
                }
                lock(&unit.inner).last_exit = Some(words);
            }
            None => {}
        }
        (unit, true)
    }

    fn unit(&self, name: &str) -> Result<Arc<Unit>, ProcessError> {
        lock(&self.units).get(name).cloned().ok_or_else(|| ProcessError::UnknownUnit(name.to_owned()))
    }

    /// `pid=…,start=…,boot=…` or `absent`.
    pub(crate) fn state(&self, name: &str) -> Result<String, ProcessError> {
        Ok(unit::state_words(self.unit(name)?.running().as_ref()))
    }

    /// Whether a state that [`Supervisor::state`] gave is of a process of this boot. What ran before it nobody has stopped.
    pub(crate) fn is_of_this_boot(&self, state: &str) -> bool {
        state.ends_with(&format!(",boot={}", self.boot.id))
    }

    pub(crate) fn states(&self) -> Vec<UnitState> {
        let units: Vec<_> = lock(&self.units).values().cloned().collect();
        units
            .into_iter()
            .map(|unit| UnitState {
                pid: unit.running().map(|running| running.identity.pid.unsigned_abs()),
                targets: lock(&unit.inner).targets.clone(),
                unit: unit.name.clone(),
            })
            .collect()
    }

    pub(crate) fn status(&self, name: &str) -> Result<ProcessStatus, ProcessError> {
        let unit = self.unit(name)?;
        let last_exit = lock(&unit.inner).last_exit.clone();
        let absent =
            |last_exit| ProcessStatus { state: "exited".into(), last_exit, ..ProcessStatus::default() };
        let Some(Running { identity, .. }) = unit.running() else { return Ok(absent(last_exit)) };
        let Ok(stat) = procfs::stat(identity.pid) else { return Ok(absent(last_exit)) };
        if stat.start_ticks != identity.start_ticks {
            return Ok(absent(last_exit));
        }
        let state = match stat.state {
            'T' | 't' => "stopped",
            'Z' | 'X' => "zombie",
            _ => "running",
        };
        Ok(ProcessStatus {
            pid: Some(identity.pid.unsigned_abs()),
            started: Some(self.boot.start_unix_ns(identity.start_ticks)),
            state: state.into(),
            rss_bytes: procfs::resident_bytes(identity.pid),
            cpu_seconds: procfs::seconds(stat.cpu_ticks),
            last_exit,
        })
    }

    /// Starts a unit that does not run; gives its new state.
    pub(crate) async fn start(&self, name: &str) -> Result<String, ProcessError> {
        let (unit, boot) = (self.unit(name)?, self.boot.clone());
        // Starting waits for fork, exec and the record's fsync.
        blocking(move || unit.start(&boot, false)).await
    }

    /// Ends a unit's process, the rest of its session too; gives its new state.
    pub(crate) async fn stop(&self, name: &str) -> Result<String, ProcessError> {
        let unit = self.unit(name)?;
        unit.stop().await?;
        Ok(unit::state_words(unit.running().as_ref()))
    }

    /// Stops, then starts.
    pub(crate) async fn restart(&self, name: &str) -> Result<String, ProcessError> {
        self.stop(name).await?;
        self.start(name)
            .await
            .map_err(|error| ProcessError::HalfRestarted { unit: name.to_owned(), source: Box::new(error) })
    }

    /// Ends all units and forgets that they ran.
    pub(crate) async fn stop_all(&self) -> Vec<ProcessError> {
        let units: Vec<_> = lock(&self.units).values().cloned().collect();
        let stops: Vec<_> = units
            .into_iter()
            .map(|unit| {
                tokio::spawn(async move {
                    unit.stop().await?;
                    match std::fs::remove_file(&unit.record) {
                        Err(source) if source.kind() != std::io::ErrorKind::NotFound => {
                            Err(ProcessError::Record { path: unit.record.clone(), source })
                        }
                        _ => Ok(()),
                    }
                })
            })
            .collect();
        let mut errors = Vec::new();
        for stop in stops {
            if let Ok(Err(error)) = stop.await {
                errors.push(error);
            }
        }
        errors
    }
}

impl Unit {
    /// The process, if it has not ended.
    fn running(&self) -> Option<Running> {
        lock(&self.inner).running.clone().filter(|running| !unit::ended(&running.pidfd))
    }

    fn start(self: &Arc<Self>, boot: &Boot, is_first: bool) -> Result<String, ProcessError> {
        if let Some(running) = self.running() {
            return Err(ProcessError::RunsAlready {
                unit: self.name.clone(),
                identity: running.identity.to_string(),
            });
        }
        let config = lock(&self.inner).config.clone();
        let look = |source| ProcessError::Look { unit: self.name.clone(), pid: 0, source };
        let starting =
            Starting { ticks: procfs::now_ticks().map_err(look)?, id: storage::unique(), is_first };
        let mut record = Record {
            boot: boot.id.clone(),
            starting: Some(starting.clone()),
            identity: None,
            last_exit: None,
        };
        record.write(&self.record)?;
        let running = match unit::spawn(&config, &starting, boot) {
            Ok(running) => running,
            Err(error) => {
                record.starting = None;
                record.last_exit = Some("could not be started".into());
                record.write(&self.record)?;
                return Err(error);
            }
        };
        let state = running.identity.to_string();
        record.starting = None;
        record.identity = Some(running.identity.clone());
        // It runs, so it is watched before anything else may fail.
        self.take(running, ProcessEventKind::Started);
        if let Err(error) = record.write(&self.record) {
            // The next daemon finds it by `starting`, which was written before.
            tracing::warn!(unit = self.name, %error, "the pid of a process could not be recorded");
        }
        Ok(state)
    }

    /// From now on `running` is this unit's process.
    fn take(self: &Arc<Self>, running: Running, kind: ProcessEventKind) {
        let pid = running.identity.pid;
        let mut inner = lock(&self.inner);
        if let Some(watcher) = inner.watcher.take() {
            watcher.abort();
        }
        inner.running = Some(running.clone());
        // Weak: a watcher must not keep the brokers alive.
        let unit = Arc::downgrade(self);
        inner.watcher = Some(tokio::spawn(async move {
            wait(&running).await;
            if let Some(unit) = unit.upgrade() {
                unit.ended(&running);
            }
        }));
        drop(inner);
        self.emit(pid, kind);
        self.generation.send_modify(|generation| *generation += 1);
    }

    /// Reaps a process that has ended and writes down how. Whoever sees the end first does it; the rest is idle.
    fn ended(&self, running: &Running) {
        let mut inner = lock(&self.inner);
        if inner.running.as_ref().is_none_or(|current| current.identity != running.identity) {
            return;
        }
        inner.running = None;
        let words = unit::reap(&running.pidfd);
        inner.last_exit = Some(words.clone());
        let record = Record {
            boot: running.identity.boot.clone(),
            starting: None,
            identity: Some(running.identity.clone()),
            last_exit: Some(words.clone()),
        };
        if let Err(error) = record.write(&self.record) {
            tracing::warn!(unit = self.name, %error, "the end of a process could not be recorded");
        }
        drop(inner);
        self.emit(running.identity.pid, ProcessEventKind::Exited(words));
        self.generation.send_modify(|generation| *generation += 1);
    }

    async fn stop(&self) -> Result<(), ProcessError> {
        let Some(running) = self.running() else {
            // It may have ended without being reaped yet.
            let leftover = lock(&self.inner).running.clone();
            if let Some(running) = leftover {
                self.ended(&running);
            }
            return Ok(());
        };
        let grace = Duration::from_millis(lock(&self.inner).config.stop_grace_ms);
        // Listed while the leader lives: its session's number cannot be another's before that.
        let members = procfs::session_members(running.identity.pid);
        unit::signal(&self.name, &running, Signal::TERM)?;
        // A stopped process takes SIGTERM once it goes on.
        unit::signal(&self.name, &running, Signal::CONT)?;
        if tokio::time::timeout(grace, wait(&running)).await.is_err() {
            unit::signal(&self.name, &running, Signal::KILL)?;
            let identity = running.identity.to_string();
            tokio::time::timeout(KILL_WITHIN, wait(&running))
                .await
                .map_err(|_| ProcessError::DoesNotEnd { unit: self.name.clone(), identity })?;
        }
        self.ended(&running);
        for (pid, start_ticks) in members {
            let boot = Boot { id: running.identity.boot.clone() };
            if let Some(member) = unit::open(pid, start_ticks, &boot) {
                unit::signal(&self.name, &member, Signal::KILL)?;
            }
        }
        Ok(())
    }

    fn emit(&self, pid: i32, kind: ProcessEventKind) {
        let targets = lock(&self.inner).targets.clone();
        let event = ProcessEvent {
            unit: self.name.clone(),
            targets,
            time: storage::now_ns(),
            pid: pid.unsigned_abs(),
            kind,
        };
        // No reader is no error.
        drop(self.events.send(event));
    }
}

/// Returns when the process has ended.
async fn wait(running: &Running) {
    #[expect(
        deprecated,
        reason = "unsound only for types that do not own their descriptor; the new one is an unsafe fn"
    )]
    let watched =
        running.pidfd.try_clone().and_then(|pidfd| AsyncFd::with_interest(pidfd, Interest::READABLE));
    match watched {
        Ok(pidfd) => drop(pidfd.readable().await),
        Err(error) => {
            // Out of descriptors: look now and then instead.
            tracing::warn!(%error, "cannot wait for a process; polling instead");
            while !unit::ended(&running.pidfd) {
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        }
    }
}

async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, ProcessError> + Send + 'static,
) -> Result<T, ProcessError> {
    match tokio::task::spawn_blocking(work).await {
        Ok(result) => result,
        Err(error) => {
            Err(ProcessError::Look { unit: String::new(), pid: 0, source: std::io::Error::other(error) })
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
