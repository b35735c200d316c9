//! The kernel's notices about folders, with a look now and then for file systems that give none.

use notify::{RecommendedWatcher, RecursiveMode, Watcher};
use std::{collections::BTreeSet, path::PathBuf, time::Duration};
use tokio::sync::mpsc;

/// Longest time for which a stream of notices can put a look off.
const QUIET_MAX: Duration = Duration::from_millis(120);

/// Watches folders until it is dropped.
#[derive(Debug)]
pub(super) struct Watch {
    /// Kept because dropping it ends the watch.
    _watcher: Option<RecommendedWatcher>,
    notices: mpsc::Receiver<()>,
}

impl Watch {
    /// What cannot be watched is logged, and looked at now and then.
    pub(super) fn new(folders: impl Iterator<Item = PathBuf>) -> Self {
        // One waiting notice is enough: it says "look".
        let (sender, notices) = mpsc::channel(1);
        let on_event = move |event: notify::Result<notify::Event>| {
            if event.is_ok_and(|event| !event.kind.is_access() || is_close(&event)) {
                // Full is as good: a look is due already.
                sender.try_send(()).unwrap_or_default();
            }
        };
        let watcher = notify::recommended_watcher(on_event).map(|mut watcher| {
            for folder in folders.collect::<BTreeSet<_>>() {
                if let Err(error) = watcher.watch(&folder, RecursiveMode::NonRecursive) {
                    tracing::warn!(folder = %folder.display(), %error, "cannot watch a folder; looking at its files now and then");
                }
            }
            watcher
        });
        let watcher = watcher
            .inspect_err(|error| tracing::warn!(%error, "cannot watch files; looking at them now and then"));
        Self { _watcher: watcher.ok(), notices }
    }

    /// Returns once something happened and it has been quiet since, or after `recheck`.
    pub(super) async fn notice(&mut self, quiet: Duration, recheck: Duration) {
        match tokio::time::timeout(recheck, self.notices.recv()).await {
            Err(_) => return,
            // Without a watcher the channel is closed at once.
            Ok(None) => return tokio::time::sleep(recheck).await,
            Ok(Some(())) => {}
        }
        let until = tokio::time::Instant::now() + QUIET_MAX;
        while tokio::time::Instant::now() < until {
            match tokio::time::timeout(quiet, self.notices.recv()).await {
                Ok(Some(())) => {}
                _ => return,
            }
        }
    }
}

/// Somebody has closed a file after writing.
fn is_close(event: &notify::Event) -> bool {
    use notify::event::{AccessKind, AccessMode, EventKind};
    matches!(event.kind, EventKind::Access(AccessKind::Close(AccessMode::Write)))
}
