//! The kernel's notices about files, with a look at all of them now and then for file systems that give none.

use notify::{RecommendedWatcher, RecursiveMode, Watcher};
use std::{
    collections::BTreeSet,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};
use tokio::{
    sync::Notify,
    time::{Instant, timeout, timeout_at},
};

/// Longest time for which a stream of notices can put a look off.
const QUIET_MAX: Duration = Duration::from_millis(120);

/// What is to be looked at.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Look {
    /// Everything: it is time, or the kernel lost count.
    All,
    /// These files.
    At(BTreeSet<PathBuf>),
}

/// Watches files until it is dropped. What else happens in their folders is nobody's matter.
#[derive(Debug)]
pub(super) struct Watch {
    /// Kept because dropping it ends the watch.
    _watcher: Option<RecommendedWatcher>,
    noticed: Arc<Noticed>,
    all_every: Duration,
    all_due: Instant,
}

/// What the kernel has told of since it was asked last.
#[derive(Debug)]
struct Noticed {
    look: Mutex<Look>,
    news: Notify,
}

impl Watch {
    /// What cannot be watched is logged, and looked at `all_every` so often, as everything is.
    pub(super) fn new(files: BTreeSet<PathBuf>, all_every: Duration) -> Self {
        let noticed = Arc::new(Noticed { look: Mutex::new(Look::At(BTreeSet::new())), news: Notify::new() });
        let folders: BTreeSet<PathBuf> =
            files.iter().filter_map(|file| file.parent()).map(Path::to_owned).collect();
        let (watched, noticing) = (folders.clone(), noticed.clone());
        let on_event = move |event: notify::Result<notify::Event>| noticing.take(event, &files, &watched);
        let watcher = notify::recommended_watcher(on_event).map(|mut watcher| {
            for folder in folders {
                if let Err(error) = watcher.watch(&folder, RecursiveMode::NonRecursive) {
                    tracing::warn!(folder = %folder.display(), %error, "cannot watch a folder; looking at its files now and then");
                }
            }
            watcher
        });
        let watcher = watcher
            .inspect_err(|error| tracing::warn!(%error, "cannot watch files; looking at them now and then"));
        Self { _watcher: watcher.ok(), noticed, all_every, all_due: Instant::now() + all_every }
    }

    /// Returns once something happened to a file and it has been quiet since, or when it is time to look at all.
    pub(super) async fn notice(&mut self, quiet: Duration) -> Look {
        if timeout_at(self.all_due, self.noticed.news.notified()).await.is_ok() {
            let until = Instant::now() + QUIET_MAX;
            while Instant::now() < until && timeout(quiet, self.noticed.news.notified()).await.is_ok() {}
        }
        let noticed = self.noticed.take_look();
        if noticed != Look::All && Instant::now() < self.all_due {
            return noticed;
        }
        self.all_due = Instant::now() + self.all_every;
        Look::All
    }
}

impl Noticed {
    fn take(
        &self,
        event: notify::Result<notify::Event>,
        files: &BTreeSet<PathBuf>,
        folders: &BTreeSet<PathBuf>,
    ) {
        let is_lost = event.as_ref().map_or(true, notify::Event::need_rescan);
        let event = event.unwrap_or_default();
        if event.kind.is_access() && !is_close(&event) {
            return;
        }
        let mut look = self.look.lock().unwrap_or_else(PoisonError::into_inner);
        if is_lost || event.paths.iter().any(|path| folders.contains(path)) {
            *look = Look::All;
        } else {
            let mut ours = event.paths.into_iter().filter(|path| files.contains(path)).peekable();
            if ours.peek().is_none() {
                return;
            }
            if let Look::At(noticed) = &mut *look {
                noticed.extend(ours);
            }
        }
        self.news.notify_one();
    }

    fn take_look(&self) -> Look {
        let mut look = self.look.lock().unwrap_or_else(PoisonError::into_inner);
        std::mem::replace(&mut *look, Look::At(BTreeSet::new()))
    }
}

/// Somebody has closed a file after writing.
fn is_close(event: &notify::Event) -> bool {
    use notify::event::{AccessKind, AccessMode, EventKind};
    matches!(event.kind, EventKind::Access(AccessKind::Close(AccessMode::Write)))
}

#[cfg(test)]
mod tests {
    use super::*;

    const QUIET: Duration = Duration::from_millis(20);
    /// Nothing here waits for it.
    const NEVER: Duration = Duration::from_secs(3_600);

    /// Guarantees: a change of a file names that file, however it was replaced; what else lies in the folder wakes nobody.
    #[tokio::test]
    async fn files_that_change_are_named() {
        let folder = tempfile::tempdir().unwrap();
        let [one, two, log] = ["one.toml", "two.toml", "a.log"].map(|name| folder.path().join(name));
        for file in [&one, &two] {
            std::fs::write(file, "x = 1\n").unwrap();
        }
        let mut watch = Watch::new([one.clone(), two.clone()].into(), NEVER);
        std::fs::write(&log, "a line\n").unwrap();
        std::fs::write(&two, "x = 2\n").unwrap();
        assert_eq!(watch.notice(QUIET).await, Look::At([two.clone()].into()));
        std::fs::write(folder.path().join("fresh"), "x = 3\n").unwrap();
        std::fs::rename(folder.path().join("fresh"), &one).unwrap();
        assert_eq!(watch.notice(QUIET).await, Look::At([one.clone()].into()));
        std::fs::write(&log, "another line\n").unwrap();
        drop(std::fs::read(&one).unwrap());
        // The kernel tells in order: what came before this write wakes nobody after it.
        std::fs::remove_file(&two).unwrap();
        assert_eq!(watch.notice(QUIET).await, Look::At([two].into()));
    }

    /// Guarantees: all files are looked at when it is time, however often one of them changes meanwhile.
    #[tokio::test]
    async fn all_have_their_turn() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("one.toml");
        std::fs::write(&file, "x = 1\n").unwrap();
        let mut watch = Watch::new([file.clone()].into(), Duration::from_millis(200));
        let begun = Instant::now();
        loop {
            std::fs::write(&file, "x = 2\n").unwrap();
            if watch.notice(QUIET).await == Look::All {
                break;
            }
            assert!(begun.elapsed() < Duration::from_secs(30), "never looked at all");
        }
    }
}
