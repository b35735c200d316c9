//! Says when files or folders have changed: configuration, policies, plugins.

use notify::{RecommendedWatcher, RecursiveMode, Watcher};
use std::{
    collections::BTreeSet,
    ffi::{OsStr, OsString},
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};
use tokio::sync::mpsc;

/// Changes that come within this time are one change: editors and copies write in several steps.
const QUIET_MS: u64 = 150;
/// Changes that never stop are looked at nevertheless.
const QUIET_WITHIN_MS: u64 = 1_000;

/// Watches folders.
pub struct FileWatch {
    watcher: RecommendedWatcher,
    config_name: Arc<Mutex<Option<OsString>>>,
    directories: BTreeSet<PathBuf>,
    changed: mpsc::Receiver<()>,
}

impl FileWatch {
    /// Watches nothing yet.
    ///
    /// # Errors
    /// If the system gives no watcher (inotify instances are used up).
    pub fn new() -> notify::Result<Self> {
        let (sender, changed) = mpsc::channel(1);
        let config_name = Arc::<Mutex<Option<OsString>>>::default();
        let config_name_seen = config_name.clone();
        let watcher = notify::recommended_watcher(move |event: notify::Result<notify::Event>| {
            let config_name = config_name_seen.lock().unwrap_or_else(PoisonError::into_inner).clone();
            if event.is_err() || event.is_ok_and(|event| concerns_us(&event, config_name.as_deref())) {
                // A full channel already says that something has changed.
                _ = sender.try_send(());
            }
        })?;
        Ok(Self { watcher, config_name, directories: BTreeSet::new(), changed })
    }

    /// Watches exactly these folders, without what is below them, for policies, plugins and the configuration.
    pub fn set(&mut self, directories: impl IntoIterator<Item = PathBuf>, config_path: &Path) {
        *self.config_name.lock().unwrap_or_else(PoisonError::into_inner) =
            config_path.file_name().map(OsString::from);
        let wanted: BTreeSet<_> = directories.into_iter().collect();
        for gone in self.directories.difference(&wanted) {
            drop(self.watcher.unwatch(gone));
        }
        self.directories = wanted.iter().filter(|directory| self.add(directory)).cloned().collect();
    }

    fn add(&mut self, directory: &Path) -> bool {
        if self.directories.contains(directory) {
            return true;
        }
        match self.watcher.watch(directory, RecursiveMode::NonRecursive) {
            Ok(()) => true,
            Err(error) => {
                tracing::warn!(directory = %directory.display(), %error, "Cannot watch this folder; use `salve reload`.");
                false
            }
        }
    }

    /// Waits for a change and for the quiet after it, if that comes soon.
    pub async fn changed(&mut self) {
        if self.changed.recv().await.is_none() {
            std::future::pending::<()>().await;
        }
        let until = tokio::time::Instant::now() + Duration::from_millis(QUIET_WITHIN_MS);
        while tokio::time::Instant::now() < until
            && let Ok(Some(())) =
                tokio::time::timeout(Duration::from_millis(QUIET_MS), self.changed.recv()).await
        {}
    }
}

/// Logs and data may lie in the same folders; they are not ours.
fn concerns_us(event: &notify::Event, config_name: Option<&OsStr>) -> bool {
    let ours = |path: &PathBuf| {
        let ours = ["rhai", "wasm", "sig", "lock"];
        path.extension().is_some_and(|extension| ours.iter().any(|ours| extension == *ours))
            || path.file_name().is_some_and(|name| Some(name) == config_name)
    };
    !event.kind.is_access() && (event.need_rescan() || event.paths.iter().any(ours))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Guarantees: a change of a policy, a plugin or the configuration is noticed, and that of a log beside it is not.
    #[tokio::test]
    async fn notices_what_is_ours() {
        let folder = tempfile::tempdir().unwrap();
        let mut watch = FileWatch::new().unwrap();
        watch.set([folder.path().to_owned()], &folder.path().join("salve.toml"));
        std::fs::write(folder.path().join("gateway.log"), "x").unwrap();
        for name in ["a.rhai", "b.wasm", "b.wasm.sig", "salve-plugins.lock", "salve.toml"] {
            std::fs::write(folder.path().join(name), "x").unwrap();
            watch.changed().await;
        }
        // A file that is written without end cannot hold off a reload.
        let (writing, path) =
            (Arc::new(std::sync::atomic::AtomicBool::new(true)), folder.path().join("b.wasm"));
        let goes_on = writing.clone();
        let writer = std::thread::spawn(move || {
            while goes_on.load(std::sync::atomic::Ordering::Relaxed) {
                std::fs::write(&path, "x").unwrap();
            }
        });
        assert!(tokio::time::timeout(Duration::from_secs(20), watch.changed()).await.is_ok());
        writing.store(false, std::sync::atomic::Ordering::Relaxed);
        writer.join().unwrap();
        // What it wrote last may have been reported already, or not yet.
        while tokio::time::timeout(Duration::from_secs(1), watch.changed()).await.is_ok() {}

        std::fs::write(folder.path().join("gateway.log"), "y").unwrap();
        // The quiet time is long past when this ends: the log alone wakes nobody.
        assert!(tokio::time::timeout(Duration::from_millis(300), watch.changed()).await.is_err());
    }
}
