//! Which plugins are there, and which version of each answers: the folder of components, loaded and kept up to date while
//! the daemon runs.
//!
//! ## What always holds
//! - a component is read and admitted in one place, `Admission::load`, whether they come from the plugin folder or
//!   from a kept copy
//! - which version answers is decided by `salve_rollout` alone; here its decisions are carried out
//! - a file that takes long to load, as one that has to be compiled, holds up no other file and no reload
//! - of a file that was replaced or removed while it was loaded, nothing is kept
//! - a version stays in memory while a call of it is under way, whatever becomes of its file

mod facts;
mod folder;
mod questions;

pub use questions::{Known, Trial};

use super::{clock::Clock, versions::VersionStore};
use crate::{admission::Admission, config::Config};
use facts::facts;
use folder::{FileMark, list, mark};
use salve_model::text::escape;
use salve_plugins::{Manifest, Plugin, PluginHost};
use salve_rollout::{Change, Input, Refusal, Rollout, Rules, Stage};
use std::{
    collections::{BTreeMap, BTreeSet},
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError, RwLock},
    time::Duration,
};
use tokio::sync::{Notify, watch};

/// Loaded plugins by name. Clones share them.
#[derive(Clone)]
pub struct Catalogue {
    host: PluginHost,
    admission: Arc<Admission>,
    store: VersionStore,
    clock: Clock,
    state: Arc<RwLock<State>>,
    /// Held while the folder is listed, so that what is noted of it is never older than what was.
    looking: Arc<Mutex<()>>,
    news: Arc<Notify>,
}

struct State {
    rollout: Rollout,
    /// By digest.
    loaded: BTreeMap<String, Arc<Plugin>>,
    files: BTreeMap<PathBuf, PluginFile>,
    loading: BTreeMap<PathBuf, Loading>,
    /// Digests of versions that may not load any more.
    revoked: BTreeSet<String>,
    /// Of the trust by which versions without a file were judged last.
    judged_generation: u64,
    agents: Vec<String>,
    /// Not yet carried out by [`Catalogue::take_changes`].
    changes: Vec<Change>,
    /// Last errors of versions in quarantine, by digest; they are lost at a restart.
    last_errors: BTreeMap<String, Vec<String>>,
}

/// What a file was when it was last looked at, and what came of it.
struct PluginFile {
    mark: FileMark,
    /// Name of the plugin that was last loaded from it.
    plugin: Option<String>,
    /// Digest of the version in it.
    digest: Option<String>,
    problem: Option<String>,
}

/// A file that is being loaded.
struct Loading {
    mark: FileMark,
    /// Closes when it is done.
    done: watch::Receiver<()>,
}

impl Catalogue {
    /// An empty catalogue that remembers what `store` remembers.
    ///
    /// # Errors
    /// If what it remembers cannot be read.
    pub fn new(host: PluginHost, store: VersionStore, rules: Rules, clock: Clock) -> anyhow::Result<Self> {
        let rollout = Rollout::restore(rules, store.records()?);
        let state = State {
            rollout,
            loaded: BTreeMap::new(),
            files: BTreeMap::new(),
            loading: BTreeMap::new(),
            revoked: BTreeSet::new(),
            judged_generation: 0,
            agents: Vec::new(),
            changes: Vec::new(),
            last_errors: BTreeMap::new(),
        };
        Ok(Self {
            host,
            admission: Arc::new(Admission::remembering()),
            store,
            clock,
            state: Arc::new(RwLock::new(state)),
            looking: Arc::default(),
            news: Arc::default(),
        })
    }

    /// Whose plugins may load. Takes effect at the next scan: what may no longer load is unloaded then.
    pub fn set_trust(&self, config: &Config) {
        self.admission.set(config);
    }

    /// Which agents are asked, in which order. Empty: all, by name.
    pub fn set_agents(&self, agents: Vec<String>) {
        self.write().agents = agents;
    }

    /// From now on versions are tried by these rules.
    pub fn set_rules(&self, rules: Rules) {
        self.write().rollout.set_rules(rules);
    }

    /// Looks at the folder again: loads what is new or replaced, forgets what is gone. A file that cannot be loaded
    /// leaves the version that was there. `patience`: how long one file is waited for, without end if there is none; a file
    /// that takes longer is loaded none the less, and its version noted then.
    pub async fn scan(&self, directory: &Path, patience: Option<Duration>) {
        let found = match self.look(directory) {
            Ok(found) => found,
            Err(error) => {
                tracing::warn!(directory = %directory.display(), %error, "Cannot read the plugin folder.");
                return;
            }
        };
        // In the order of their names: of two files that hold the same plugin, the first is it.
        for path in found {
            let Some(mut done) = self.begin(&path) else { continue };
            let ended = async { while done.changed().await.is_ok() {} };
            match patience {
                None => ended.await,
                Some(patience) => drop(tokio::time::timeout(patience, ended).await),
            }
        }
        self.judge_kept().await;
        self.settle().await;
    }

    /// Judges versions anew that no file in the folder holds, if other plugins may load than before: those that answer in
    /// another's place, and those that a rollback would go to.
    async fn judge_kept(&self) {
        let generation = self.admission.generation();
        let digests: Vec<String> = {
            let mut state = self.write();
            if std::mem::replace(&mut state.judged_generation, generation) == generation {
                return;
            }
            let in_files = state.in_files();
            let kept = state.rollout.plugins().values().flat_map(in_use);
            kept.filter(|digest| !in_files.contains(digest)).cloned().collect()
        };
        for digest in digests {
            let (admission, store) = (self.admission.clone(), self.store.clone());
            let judged = tokio::task::spawn_blocking(move || {
                let path = store.checked(&digest).ok()?;
                let bytes = std::fs::read(&path).ok()?;
                let manifest = Manifest::of_component(&bytes).ok()?;
                admission.identity(&path, &bytes, &manifest).err()
            });
            // What cannot be read cannot be loaded either, once it is needed.
            let Ok(Some(refused)) = judged.await else { continue };
            if let Some(digest) = refused.digest {
                self.revoke(&mut self.write(), digest, &refused.why);
            }
        }
    }

    /// Files that are there; those that are not any more are forgotten.
    fn look(&self, directory: &Path) -> std::io::Result<BTreeSet<PathBuf>> {
        let _looking = self.looking.lock().unwrap_or_else(PoisonError::into_inner);
        let found = list(directory)?;
        self.forget_gone(&found);
        Ok(found)
    }

    /// Begins to load a file, if it is not as it was, or joins who does. None: there is nothing to wait for.
    fn begin(&self, path: &Path) -> Option<watch::Receiver<()>> {
        // A file that vanished since the folder was listed is forgotten the next time.
        let mark = mark(path, &self.admission)?;
        let mut state = self.write();
        if state.files.get(path).is_some_and(|file| file.mark == mark) {
            state.loading.remove(path);
            return None;
        }
        if let Some(loading) = state.loading.get(path).filter(|loading| loading.mark == mark) {
            return Some(loading.done.clone());
        }
        let (end, done) = watch::channel(());
        state.loading.insert(path.to_owned(), Loading { mark: mark.clone(), done: done.clone() });
        drop(state);
        let (catalogue, path) = (self.clone(), path.to_owned());
        tokio::spawn(async move {
            catalogue.load(&path, mark).await;
            drop(end);
        });
        Some(done)
    }

    async fn load(&self, path: &Path, mark: FileMark) {
        let (host, admission, file) = (self.host.clone(), self.admission.clone(), path.to_owned());
        let loaded = tokio::task::spawn_blocking(move || admission.load(&host, &file)).await;
        let mut kept = None;
        let mut state = self.write();
        if state.loading.get(path).is_none_or(|loading| loading.mark != mark) {
            return;
        }
        state.loading.remove(path);
        let result = match loaded {
            Ok(Ok((plugin, component))) => {
                kept = Some((plugin.clone(), component));
                self.insert(&mut state, path, plugin)
            }
            Ok(Err(refused)) => {
                if let Some(digest) = refused.digest {
                    self.revoke(&mut state, digest, &refused.why);
                }
                Err(refused.why)
            }
            Err(error) => Err(format!("loading stopped: {error}")),
        };
        let file = state.files.entry(path.to_owned()).or_insert_with(|| PluginFile {
            mark: mark.clone(),
            plugin: None,
            digest: None,
            problem: None,
        });
        file.mark = mark;
        match result {
            Ok((name, digest)) => {
                let before = file.plugin.replace(name.clone()).filter(|before| *before != name);
                file.digest = Some(digest);
                file.problem = None;
                if let Some(before) = before {
                    self.note(&mut state, Input::Gone { name: before });
                }
            }
            Err(why) => {
                tracing::error!(path = %path.display(), why = %escape(&why, 1_000), "Plugin refused.");
                file.problem = Some(why);
                kept = None;
            }
        }
        drop(state);
        // Not under the lock: calls must not wait for the disk. And not before, or it could be removed as one that nobody needs.
        if let Some((plugin, component)) = kept
            && let Err(error) = self.store.keep(plugin.digest(), || Ok(component.bytes()?))
        {
            tracing::warn!(
                plugin = plugin.name(),
                error = format!("{error:#}"),
                "No copy is kept; there is no way back to this version."
            );
        }
    }

    fn forget_gone(&self, found: &BTreeSet<PathBuf>) {
        let mut state = self.write();
        state.loading.retain(|path, _| found.contains(path));
        let gone: Vec<_> = state.files.keys().filter(|path| !found.contains(*path)).cloned().collect();
        for path in &gone {
            if let Some(PluginFile { plugin: Some(name), .. }) = state.files.remove(path) {
                tracing::info!(plugin = name, path = %path.display(), "Plugin unloaded.");
                self.note(&mut state, Input::Gone { name });
            }
        }
    }

    fn insert(
        &self,
        state: &mut State,
        path: &Path,
        plugin: Arc<Plugin>,
    ) -> Result<(String, String), String> {
        let name = plugin.name().to_owned();
        let digest = plugin.digest().to_owned();
        let taken = state
            .files
            .iter()
            .find(|(other, file)| other.as_path() != path && file.plugin.as_ref() == Some(&name));
        if let Some((other, _)) = taken {
            return Err(format!("the name `{name}` is taken by `{}`", other.display()));
        }
        tracing::info!(plugin = name, version = %plugin.manifest().version, role = ?plugin.role(), digest = %digest, "Plugin loaded.");
        let facts = facts(&plugin);
        state.revoked.remove(&digest);
        // Its counters go on if it is merely seen again.
        state.loaded.entry(digest.clone()).or_insert(plugin);
        self.note(state, Input::Loaded(facts));
        Ok((name, digest))
    }

    /// Takes a version out of use that may not load any more. A new version that is refused leaves the old one.
    fn revoke(&self, state: &mut State, digest: String, why: &str) {
        let plugins = state.rollout.plugins();
        let Some((name, plugin)) = plugins.iter().find(|(_, plugin)| plugin.versions.contains_key(&digest))
        else {
            return;
        };
        let is_in_use = in_use(plugin).any(|used| *used == digest);
        let name = name.clone();
        state.revoked.insert(digest.clone());
        if is_in_use || state.loaded.contains_key(&digest) {
            tracing::error!(plugin = name, digest, "Plugin unloaded: it may not load any more.");
            let reason = format!("it may not load any more: {}", escape(why, 300));
            self.note(state, Input::Unfit { name, digest, reason });
        }
    }

    /// Digests of versions whose state is not trusted: in quarantine, or not allowed to load any more.
    pub fn untrusted(&self) -> BTreeSet<String> {
        let state = self.read();
        let in_quarantine = state.rollout.plugins().values().flat_map(fallen);
        in_quarantine.chain(&state.revoked).cloned().collect()
    }

    /// Brings into memory what should answer, and lets go of what nobody needs. What cannot be brought back falls, and the
    /// version before it is tried.
    pub async fn settle(&self) {
        self.forget_unowned();
        while let Some((name, digest)) = self.missing() {
            let (host, admission) = (self.host.clone(), self.admission.clone());
            let (store, wanted) = (self.store.clone(), digest.clone());
            let loaded = tokio::task::spawn_blocking(move || {
                let path = store.checked(&wanted)?;
                let admitted = admission.load(&host, &path);
                admitted.map(|(plugin, _)| plugin).map_err(|refused| anyhow::Error::msg(refused.why))
            });
            let loaded = match loaded.await {
                Ok(Ok(plugin)) if plugin.digest() == digest => Ok(plugin),
                Ok(Ok(_)) => Err("the kept copy was replaced".to_owned()),
                Ok(Err(error)) => Err(format!("{error:#}")),
                Err(error) => Err(format!("loading stopped: {error}")),
            };
            let mut state = self.write();
            match loaded {
                Ok(plugin) => {
                    state.loaded.insert(digest, plugin);
                }
                Err(why) => {
                    let reason = format!("it cannot be loaded again: {}", escape(&why, 300));
                    self.note(&mut state, Input::Unfit { name, digest, reason });
                }
            }
        }
        let mut state = self.write();
        // Those in files too: what a failed version did may still have to be taken back, and it may be tried again.
        let in_use = state.rollout.plugins().values().flat_map(in_use);
        let kept: BTreeSet<String> = in_use.chain(state.in_files()).cloned().collect();
        state.loaded.retain(|digest, _| kept.contains(digest));
        let fallen: BTreeSet<String> = state.rollout.plugins().values().flat_map(fallen).cloned().collect();
        state.last_errors.retain(|digest, _| fallen.contains(digest));
        drop(state);
        self.store.retain(&kept);
    }

    /// Plugins whose file went away while the daemon was not running.
    fn forget_unowned(&self) {
        let mut state = self.write();
        let owned: BTreeSet<&String> = state.files.values().filter_map(|file| file.plugin.as_ref()).collect();
        let gone: Vec<String> = state
            .rollout
            .plugins()
            .iter()
            .filter(|(name, plugin)| {
                (plugin.active.is_some() || plugin.candidate.is_some()) && !owned.contains(name)
            })
            .map(|(name, _)| name.clone())
            .collect();
        for name in gone {
            self.note(&mut state, Input::Gone { name });
        }
    }

    /// A version that should answer or be tried, and is not in memory.
    fn missing(&self) -> Option<(String, String)> {
        let state = self.read();
        let wanted = state.rollout.plugins().iter().flat_map(|(name, plugin)| {
            plugin.active.iter().chain(&plugin.candidate).map(move |digest| (name, digest))
        });
        let mut missing = wanted.filter(|(_, digest)| !state.loaded.contains_key(*digest));
        missing.next().map(|(name, digest)| (name.clone(), digest.clone()))
    }

    /// Tells the state machine something that nobody waits for.
    pub fn report(&self, input: Input) {
        let mut state = self.write();
        self.note(&mut state, input);
    }

    /// Tells the state machine what the operator wants.
    ///
    /// # Errors
    /// [`Refusal`] says why it cannot be.
    pub fn operate(&self, input: Input) -> Result<(), Refusal> {
        let mut state = self.write();
        let changes = state.rollout.try_step(self.clock.now().0, input)?;
        state.changes.extend(changes);
        drop(state);
        self.news.notify_one();
        Ok(())
    }

    fn note(&self, state: &mut State, input: Input) {
        let changes = state.rollout.step(self.clock.now().0, input);
        if !changes.is_empty() {
            state.changes.extend(changes);
            self.news.notify_one();
        }
    }

    /// Lets time pass, and looks for versions that trapped too often.
    pub fn tick(&self) {
        let mut state = self.write();
        let quarantined: Vec<_> = state
            .loaded
            .iter()
            .filter_map(|(digest, plugin)| {
                let why = plugin.quarantine()?;
                Some((plugin.name().to_owned(), digest.clone(), why.to_string()))
            })
            .collect();
        for (name, digest, reason) in quarantined {
            if let Some(errors) = state.loaded.get(&digest).map(|plugin| plugin.recent_faults()) {
                state.last_errors.insert(digest.clone(), errors);
            }
            self.note(&mut state, Input::Quarantined { name, digest, reason });
        }
        self.note(&mut state, Input::Tick);
    }

    /// Waits until something has changed; returns at once if it has since [`Catalogue::take_changes`].
    pub async fn changed(&self) {
        self.news.notified().await;
    }

    /// What has changed since this was last asked. What is known of all versions is written down first.
    pub fn take_changes(&self) -> Vec<Change> {
        let mut state = self.write();
        let changes = std::mem::take(&mut state.changes);
        if !changes.is_empty()
            && let Err(error) = self.store.write_records(state.rollout.plugins())
        {
            tracing::error!(
                error = format!("{error:#}"),
                "Cannot write down which plugin versions are active."
            );
        }
        changes
    }

    /// Reads a plugin's file again, and gives a version in it that failed another chance, with clean counters.
    ///
    /// # Errors
    /// If there is no such plugin, its file cannot be loaded, or it may not be tried.
    pub async fn reload(&self, name: &str, directory: &Path, by: String) -> Result<(), String> {
        let (path, fallen) = {
            let mut state = self.write();
            let file = state.files.iter_mut().find(|(_, file)| file.plugin.as_deref() == Some(name));
            let Some((path, file)) = file else {
                return Err(format!("no file in the plugin folder holds `{name}`"));
            };
            file.mark.inode = file.mark.inode.wrapping_add(1);
            let (path, digest) = (path.clone(), file.digest.clone());
            let fallen = digest.filter(|digest| {
                let version =
                    state.rollout.plugins().get(name).and_then(|plugin| plugin.versions.get(digest));
                version.is_some_and(|version| matches!(version.stage, Stage::Failed | Stage::Quarantined))
            });
            if let Some(digest) = &fallen {
                // Loaded anew, its counters and its quarantine begin anew.
                state.loaded.remove(digest);
            }
            (path, fallen)
        };
        self.scan(directory, None).await;
        let digest = match self.read().files.get(&path) {
            None => return Err(format!("`{}` is gone", path.display())),
            Some(PluginFile { problem: Some(problem), .. }) => return Err(problem.clone()),
            Some(file) => file.digest.clone(),
        };
        // Not before it is in memory: whoever looks for what should answer would find it missing.
        if let Some(digest) = fallen.filter(|fallen| digest.as_ref() == Some(fallen)) {
            self.operate(Input::Retry { name: name.to_owned(), digest, by })
                .map_err(|error| error.to_string())?;
        }
        Ok(())
    }

    fn read(&self) -> std::sync::RwLockReadGuard<'_, State> {
        self.state.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self) -> std::sync::RwLockWriteGuard<'_, State> {
        self.state.write().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn active(&self, name: &str) -> Option<&Arc<Plugin>> {
        self.loaded.get(self.rollout.active(name)?)
    }

    /// Digests of the versions that files in the folder hold.
    fn in_files(&self) -> BTreeSet<&String> {
        self.files.values().filter_map(|file| file.digest.as_ref()).collect()
    }
}

/// Digests of the versions that answer, are tried, or that a rollback would go to.
fn in_use(plugin: &salve_rollout::Plugin) -> impl Iterator<Item = &String> {
    plugin.active.iter().chain(&plugin.candidate).chain(&plugin.previous)
}

/// Digests of the versions in quarantine.
fn fallen(plugin: &salve_rollout::Plugin) -> impl Iterator<Item = &String> {
    let fallen = plugin.versions.iter().filter(|(_, version)| version.stage == Stage::Quarantined);
    fallen.map(|(digest, _)| digest)
}
