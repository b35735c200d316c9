//! All configuration files of all targets.

use super::{
    ConfigError,
    file::{FilePlace, Snapshot},
    state_words,
    tree::{Kind, Node, parse_key, write_key},
    versions::Versions,
    watch::{Look, Watch},
};
use crate::{BrokersConfig, registry::Registry, storage};
use salve_model::{TargetId, call::ConfigVersion, telemetry::Change, text::escape, time::EventTime};
use std::{
    collections::BTreeMap,
    path::PathBuf,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};
use tokio::{sync::broadcast, task::JoinHandle};

/// Changes kept for a slow reader; older ones are dropped and counted by the channel.
const CHANGES_MAX: usize = 1_024;
/// A file that was written less than this ago is looked at again, this often at most.
const SETTLE: Duration = Duration::from_millis(15);
const SETTLE_TRIES: u32 = 3;
/// Before a value that plugins may not see.
const HANDLE: &str = "secret:";
/// After a notice from the kernel, wait until no other has come for this long: editors write in steps.
const QUIET: Duration = Duration::from_millis(30);

/// Reads, watches and sets configuration keys. All calls touch the disk; use them from blocking threads.
#[derive(Debug)]
pub(crate) struct ConfigBroker {
    inner: Arc<Inner>,
    tasks: Mutex<Vec<JoinHandle<()>>>,
}

#[derive(Debug)]
struct Inner {
    tracked: Mutex<BTreeMap<TargetId, Arc<Mutex<Tracked>>>>,
    config: Mutex<Arc<BrokersConfig>>,
    /// Digest of the newest text that Salve wrote to each path: targets may share a file.
    written: Mutex<BTreeMap<PathBuf, String>>,
    changes: broadcast::Sender<Change>,
    state_dir: PathBuf,
    salt: String,
}

/// One target's file.
#[derive(Debug)]
struct Tracked {
    place: Arc<FilePlace>,
    versions: Versions,
    record: PathBuf,
    digest: Option<String>,
    root: Option<Node>,
    /// Why it could not be read, and whether that was reported.
    broken: Option<(String, bool)>,
}

impl Drop for ConfigBroker {
    fn drop(&mut self) {
        for task in lock(&self.tasks).drain(..) {
            task.abort();
        }
    }
}

impl ConfigBroker {
    pub(crate) fn new(config: &BrokersConfig) -> std::io::Result<Self> {
        let (changes, _) = broadcast::channel(CHANGES_MAX);
        let inner = Inner {
            tracked: Mutex::default(),
            config: Mutex::new(Arc::new(config.clone())),
            written: Mutex::default(),
            changes,
            salt: salt(&config.state_dir)?,
            state_dir: config.state_dir.clone(),
        };
        Ok(Self { inner: Arc::new(inner), tasks: Mutex::default() })
    }

    pub(crate) fn changes(&self) -> broadcast::Receiver<Change> {
        self.inner.changes.subscribe()
    }

    /// Takes over a new list of targets; reads and watches all files.
    pub(crate) fn configure(&self, registry: &Registry) {
        *lock(&self.inner.config) = Arc::new(registry.config.clone());
        let places: Vec<Arc<FilePlace>> =
            registry.targets().filter_map(|target| target.file.clone()).collect();
        let mut tracked = lock(&self.inner.tracked);
        tracked.retain(|id, _| places.iter().any(|place| place.target == *id));
        for place in &places {
            let known = tracked.get(&place.target).cloned();
            match known {
                Some(known) if lock(&known).place.path == place.path => {
                    let mut known = lock(&known);
                    known.place = Arc::clone(place);
                    known.digest = None;
                    known.versions.retain(|key| place.lists(key));
                }
                _ => {
                    place.remove_strays();
                    let record = self.inner.state_dir.join("config").join(format!("{}.json", place.target));
                    let mut versions = Versions::read(&record);
                    versions.retain(|key| place.lists(key));
                    if let Some(digest) = &versions.salve_digest {
                        lock(&self.inner.written).insert(place.path.clone(), digest.clone());
                    }
                    let place = Arc::clone(place);
                    let new = Tracked { versions, record, digest: None, root: None, broken: None, place };
                    tracked.insert(new.place.target.clone(), Arc::new(Mutex::new(new)));
                }
            }
        }
        drop(tracked);
        self.inner.look(&Look::All);
        self.watch(&places, registry.config.config_recheck_ms);
    }

    fn watch(&self, places: &[Arc<FilePlace>], recheck_ms: u64) {
        let mut tasks = lock(&self.tasks);
        for task in tasks.drain(..) {
            task.abort();
        }
        if places.is_empty() {
            return;
        }
        let files = places.iter().map(|place| place.path.clone()).collect();
        let mut watch = Watch::new(files, Duration::from_millis(recheck_ms.max(10)));
        let inner = Arc::clone(&self.inner);
        tasks.push(tokio::spawn(async move {
            loop {
                let look = watch.notice(QUIET).await;
                let inner = Arc::clone(&inner);
                // It ends with the runtime; there is nothing else to do about a thread that failed.
                drop(tokio::task::spawn_blocking(move || inner.look(&look)).await);
            }
        }));
    }

    /// Value of a key as plugins may see it.
    pub(crate) fn get(&self, target: &TargetId, key: &str) -> Result<Option<String>, ConfigError> {
        let (tracked, path) = self.inner.listed(target, key)?;
        let tracked = lock(&tracked);
        let value = tracked.root.as_ref().and_then(|root| root.get(&path)).map(Node::text);
        Ok(self.inner.shown(&tracked.place, key, value))
    }

    /// State of a key, in the words of plans.
    pub(crate) fn state(&self, target: &TargetId, key: &str) -> Result<String, ConfigError> {
        Ok(state_words(self.get(target, key)?.as_deref()))
    }

    /// Listed keys with their values, as plugins may see them.
    pub(crate) fn keys(&self, target: &TargetId) -> Result<Vec<(String, Option<String>)>, ConfigError> {
        let tracked = self.inner.fresh(target)?;
        let tracked = lock(&tracked);
        let Some(root) = &tracked.root else { return Ok(Vec::new()) };
        let listed = root.scalar_paths().into_iter().map(|path| (write_key(&path), path));
        Ok(listed
            .filter(|(key, _)| tracked.place.lists(key))
            .map(|(key, path)| {
                let value = root.get(&path).map(Node::text);
                let shown = self.inner.shown(&tracked.place, &key, value);
                (key, shown)
            })
            .collect())
    }

    /// Versions of a key, newest first, as plugins may see them.
    pub(crate) fn history(&self, target: &TargetId, key: &str) -> Result<Vec<ConfigVersion>, ConfigError> {
        let (tracked, path) = self.inner.listed(target, key)?;
        let mut tracked = lock(&tracked);
        self.inner.age(&mut tracked);
        let key = write_key(&path);
        let version = |version: &super::versions::Version| ConfigVersion {
            value: self.inner.shown(&tracked.place, &key, version.value.clone()),
            since: version.since,
            good: version.good,
        };
        Ok(tracked.versions.of(&key).map(version).collect())
    }

    /// The value was in force before, or is now: setting it brings nothing new into the file.
    pub(crate) fn had(&self, target: &TargetId, key: &str, value: Option<&str>) -> Result<bool, ConfigError> {
        let (tracked, path) = self.inner.listed(target, key)?;
        let tracked = lock(&tracked);
        let key = write_key(&path);
        let versions: Vec<_> = tracked.versions.of(&key).map(|version| version.value.clone()).collect();
        Ok(versions.into_iter().any(|had| self.inner.shown(&tracked.place, &key, had).as_deref() == value))
    }

    /// Checks a set without writing; gives the state that the key would have.
    pub(crate) fn check(
        &self,
        target: &TargetId,
        key: &str,
        value: Option<&str>,
    ) -> Result<String, ConfigError> {
        let (tracked, path) = self.inner.listed(target, key)?;
        let tracked = lock(&tracked);
        let edit = self.inner.edit(&tracked, &path, value)?;
        Ok(state_words(self.inner.shown(&tracked.place, &write_key(&path), edit.value).as_deref()))
    }

    /// Sets a key if its state is still `before`; gives its new state. The inner error is the state now.
    pub(crate) fn set(
        &self,
        target: &TargetId,
        key: &str,
        value: Option<&str>,
        before: Option<&str>,
    ) -> Result<Result<String, String>, ConfigError> {
        let (tracked, path) = self.inner.listed(target, key)?;
        let mut tracked = lock(&tracked);
        let key = write_key(&path);
        let now = tracked.root.as_ref().and_then(|root| root.get(&path)).map(Node::text);
        let now = state_words(self.inner.shown(&tracked.place, &key, now).as_deref());
        if before.is_some_and(|before| before != now) {
            return Ok(Err(now));
        }
        let edit = self.inner.edit(&tracked, &path, value)?;
        self.inner.write(&mut tracked, &edit)?;
        let after = self.inner.shown(&tracked.place, &key, edit.value);
        Ok(Ok(state_words(after.as_deref())))
    }

    pub(crate) fn incident_opened(&self, targets: &[TargetId], began: u64) {
        for tracked in self.inner.of(targets) {
            let mut tracked = lock(&tracked);
            self.inner.age(&mut tracked);
            if tracked.versions.incident_opened(began) {
                self.inner.keep(&tracked);
            }
        }
    }

    pub(crate) fn incident_closed(&self, targets: &[TargetId]) {
        for tracked in self.inner.of(targets) {
            lock(&tracked).versions.incident_closed(storage::now_ns());
        }
    }
}

/// A set that was computed and proved, not yet written.
struct Edit {
    read: Snapshot,
    text: String,
    value: Option<String>,
}

impl Inner {
    fn config(&self) -> Arc<BrokersConfig> {
        Arc::clone(&lock(&self.config))
    }

    fn of(&self, targets: &[TargetId]) -> Vec<Arc<Mutex<Tracked>>> {
        let tracked = lock(&self.tracked);
        targets.iter().filter_map(|target| tracked.get(target).cloned()).collect()
    }

    /// The target's file as it is now.
    fn fresh(&self, target: &TargetId) -> Result<Arc<Mutex<Tracked>>, ConfigError> {
        let tracked = lock(&self.tracked).get(target).cloned();
        let tracked = tracked.ok_or_else(|| ConfigError::NoFile(target.0.clone()))?;
        self.recheck(&mut lock(&tracked))?;
        Ok(tracked)
    }

    fn listed(
        &self,
        target: &TargetId,
        key: &str,
    ) -> Result<(Arc<Mutex<Tracked>>, Vec<String>), ConfigError> {
        let path = parse_key(key)?;
        let tracked = self.fresh(target)?;
        let key = write_key(&path);
        if !lock(&tracked).place.lists(&key) {
            return Err(ConfigError::KeyNotListed { key: escape(&key, 200), target: target.0.clone() });
        }
        Ok((tracked, path))
    }

    /// Secret values as handles; the same value of the same key has the same handle.
    fn shown(&self, place: &FilePlace, key: &str, value: Option<String>) -> Option<String> {
        value.map(|value| if place.is_secret(key) { self.handle(key, &value) } else { value })
    }

    fn handle(&self, key: &str, value: &str) -> String {
        let digest = storage::sha256_hex(format!("{}\0{key}\0{value}", self.salt).as_bytes());
        format!("{HANDLE}{}", digest.get(..16).unwrap_or_default())
    }

    fn edit(&self, tracked: &Tracked, path: &[String], value: Option<&str>) -> Result<Edit, ConfigError> {
        let (place, key) = (&tracked.place, write_key(path));
        let versions = || tracked.versions.of(&key);
        let value = match value {
            Some(handle) if place.is_secret(&key) => {
                let known = versions().filter_map(|version| version.value.clone());
                let meant = known.into_iter().find(|known| self.handle(&key, known) == handle);
                Some(meant.ok_or_else(|| ConfigError::SecretValue(escape(&key, 200)))?)
            }
            other => other.map(str::to_owned),
        };
        // A key that comes back gets the type that it had.
        let kind_before = versions().find(|version| version.value == value).and_then(|version| version.kind);
        let kind = kind_before.unwrap_or_else(|| Kind::of_text(value.as_deref().unwrap_or_default()));
        let read = place.read(&self.config())?;
        let text = place.format.set(&read.text, path, value.as_deref(), kind)?;
        let root = self.parse(place, &text)?;
        let value = root.get(path).map(Node::text);
        Ok(Edit { read, text, value })
    }

    fn parse(&self, place: &FilePlace, text: &str) -> Result<Node, ConfigError> {
        place.format.parse(text).map_err(|reason| ConfigError::Parse {
            file: place.shown(),
            format: place.format.words(),
            reason,
        })
    }

    fn write(&self, tracked: &mut Tracked, edit: &Edit) -> Result<(), ConfigError> {
        let place = Arc::clone(&tracked.place);
        if edit.text == edit.read.text {
            return Ok(());
        }
        let record_error = |source| ConfigError::Record { file: place.shown(), source };
        self.back_up(&place, &edit.read).map_err(record_error)?;
        // Written down before the swap, so that a daemon that dies in it knows whose text that is.
        let digest = storage::sha256_hex(edit.text.as_bytes());
        let digest_before = tracked.versions.salve_digest.replace(digest.clone());
        tracked.versions.write(&tracked.record).map_err(record_error)?;
        let written_before = lock(&self.written).insert(place.path.clone(), digest);
        let swapped = place.swap(&edit.read, &edit.text, self.config().config_file_max_bytes, || {});
        if swapped.is_err() {
            tracked.versions.salve_digest = digest_before;
            let mut written = lock(&self.written);
            match written_before {
                Some(before) => written.insert(place.path.clone(), before),
                None => written.remove(&place.path),
            };
        }
        swapped?;
        self.recheck(tracked)
    }

    /// Keeps what was read, and the newest few before it.
    fn back_up(&self, place: &FilePlace, read: &Snapshot) -> std::io::Result<()> {
        let folder = self.state_dir.join("backups").join(place.target.0.as_str());
        let name = format!("{:020}-{}", storage::now_ns(), read.digest.get(..12).unwrap_or_default());
        storage::write_atomic(&folder.join(name), read.text.as_bytes())?;
        let mut kept: Vec<PathBuf> =
            std::fs::read_dir(&folder)?.filter_map(Result::ok).map(|entry| entry.path()).collect();
        kept.sort_unstable();
        let excess = kept.len().saturating_sub(self.config().config_backups_max.max(1));
        kept.iter().take(excess).try_for_each(std::fs::remove_file)
    }

    fn age(&self, tracked: &mut Tracked) {
        let good_after_ns = self.config().config_good_after_ms.saturating_mul(1_000_000);
        if tracked.versions.age(storage::now_ns(), good_after_ns) {
            self.keep(tracked);
        }
    }

    fn keep(&self, tracked: &Tracked) {
        if let Err(error) = tracked.versions.write(&tracked.record) {
            tracing::warn!(target_id = %tracked.place.target, %error, "the versions of a configuration file could not be kept");
        }
    }

    fn look(&self, at: &Look) {
        let all: Vec<_> = lock(&self.tracked).values().cloned().collect();
        for tracked in all {
            let mut tracked = lock(&tracked);
            if matches!(at, Look::At(files) if !files.contains(&tracked.place.path)) {
                continue;
            }
            self.age(&mut tracked);
            match self.recheck(&mut tracked) {
                Ok(()) => tracked.broken = None,
                Err(error) => self.report_broken(&mut tracked, &error),
            }
        }
    }

    /// A file that cannot be read twice in a row with some time in between is a change too.
    fn report_broken(&self, tracked: &mut Tracked, error: &ConfigError) {
        let words = escape(&error.to_string(), 500);
        let reported = match &tracked.broken {
            Some((before, true)) if *before == words => true,
            Some((before, false)) if *before == words => {
                let what = "(file)".to_owned();
                self.emit(&tracked.place, what, None, Some(words.clone()), "other");
                true
            }
            _ => false,
        };
        tracked.broken = Some((words, reported));
    }

    /// Reads the file if it has changed, notes all values, and tells of those that are new.
    fn recheck(&self, tracked: &mut Tracked) -> Result<(), ConfigError> {
        let place = Arc::clone(&tracked.place);
        let config = self.config();
        let read = place.read(&config)?;
        if tracked.digest.as_ref() == Some(&read.digest) {
            return Ok(());
        }
        let by_salve = |read: &Snapshot| lock(&self.written).get(&place.path) == Some(&read.digest);
        let read = if by_salve(&read) { read } else { settled(read, || place.read(&config))? };
        if tracked.digest.as_ref() == Some(&read.digest) {
            return Ok(());
        }
        let root = self.parse(&place, &read.text)?;
        let author = if by_salve(&read) { "salve" } else { "other" };
        let mut keys: BTreeMap<String, Option<(String, Option<Kind>)>> =
            tracked.versions.keys().map(|key| (key.clone(), None)).collect();
        for path in root.scalar_paths() {
            let key = write_key(&path);
            if let Some(node) = root.get(&path).filter(|_| place.lists(&key)) {
                keys.insert(key, Some((node.text(), node.kind())));
            }
        }
        let now = storage::now_ns();
        let first = tracked.digest.is_none() && tracked.versions.keys().next().is_none();
        let mut changes = Vec::new();
        for (key, found) in keys {
            let (value, kind) = found.map_or((None, None), |(value, kind)| (Some(value), kind));
            let noted = tracked.versions.note(&key, value.clone(), kind, now, config.config_versions_max);
            if let Some(before) = noted.filter(|_| !first) {
                let before = before.and_then(|before| before.value);
                let shown = |value| self.shown(&place, &key, value);
                changes.push((key.clone(), shown(before), shown(value)));
            }
        }
        tracked.digest = Some(read.digest);
        tracked.root = Some(root);
        if first || !changes.is_empty() {
            self.keep(tracked);
        }
        for (key, before, after) in changes {
            self.emit(&place, key, before, after, author);
        }
        Ok(())
    }

    fn emit(
        &self,
        place: &FilePlace,
        what: String,
        before: Option<String>,
        after: Option<String>,
        author: &str,
    ) {
        let change = Change {
            time: EventTime(storage::now_ns()),
            service: place.service.clone(),
            target: Some(place.target.clone()),
            kind: "config".into(),
            what,
            before,
            after,
            author: author.to_owned(),
        };
        // No reader is no error.
        drop(self.changes.send(change));
    }
}

/// Reads again while the file is as young as a write that is under way: an editor that writes in place empties a file
/// before it fills it.
fn settled(
    mut read: Snapshot,
    mut again: impl FnMut() -> Result<Snapshot, ConfigError>,
) -> Result<Snapshot, ConfigError> {
    for _ in 0..SETTLE_TRIES {
        // A time in the future is a clock that was set, not a write.
        if read.modified.elapsed().is_ok_and(|age| age < SETTLE) {
            std::thread::sleep(SETTLE);
            read = again()?;
        }
    }
    Ok(read)
}

/// A random text that lasts, so that handles of secrets say nothing about the secrets and last too.
fn salt(state_dir: &std::path::Path) -> std::io::Result<String> {
    use std::io::Read;
    let path = state_dir.join("salt");
    if let Ok(bytes) = storage::read_bounded(&path, 1_024)
        && let Ok(text) = String::from_utf8(bytes)
        && text.len() == 64
    {
        return Ok(text);
    }
    let mut random = [0; 32];
    std::fs::File::open("/dev/urandom")?.read_exact(&mut random)?;
    let text = storage::sha256_hex(&random);
    storage::write_atomic(&path, text.as_bytes())?;
    Ok(text)
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::SystemTime;

    /// Guarantees: a file that is being written is read again, a bounded number of times; one that is not is believed.
    #[test]
    fn waits_for_writers_to_finish() {
        let young = || Snapshot::of("", SystemTime::now());
        let old = || Snapshot::of("size = 9", SystemTime::UNIX_EPOCH);
        let mut tries = 0;
        let mut read = |first: Snapshot, then: &dyn Fn() -> Snapshot| {
            tries = 0;
            let read = settled(first, || {
                tries += 1;
                Ok(then())
            });
            (read.unwrap().text, tries)
        };
        assert_eq!(read(young(), &old), ("size = 9".into(), 1));
        assert_eq!(read(old(), &young), ("size = 9".into(), 0));
        assert_eq!(read(young(), &young), (String::new(), SETTLE_TRIES));
    }
}
