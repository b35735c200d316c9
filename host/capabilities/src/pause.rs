//! The kill switch: a file that is looked for before each write.

use crate::storage;
use salve_model::text::escape;
use serde::{Deserialize, Serialize};
use std::{
    io,
    path::{Path, PathBuf},
    time::{SystemTime, UNIX_EPOCH},
};

/// Who paused Salve, and why. An operator may also just `touch` the file.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pause {
    /// Who; empty if the file does not say.
    #[serde(default)]
    pub by: String,
    /// Why; empty if the file does not say.
    #[serde(default)]
    pub reason: String,
    /// Unix time in milliseconds; 0 if the file does not say.
    #[serde(default)]
    pub since_ms: u64,
}

/// The switch itself. Its state is the file's, so it holds across restarts and needs no daemon.
#[derive(Debug, Clone)]
pub struct KillSwitch {
    file: PathBuf,
}

/// More of a pause file is not read.
const FILE_MAX_BYTES: u64 = 4_096;

impl KillSwitch {
    /// The switch that this file is.
    #[must_use]
    pub fn new(file: &Path) -> Self {
        Self { file: file.to_owned() }
    }

    /// Looks at the file now. Anything but "there is no such file" means paused: a switch that cannot be read must not
    /// read as off.
    #[must_use]
    pub fn paused(&self) -> Option<Pause> {
        match std::fs::symlink_metadata(&self.file) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return None,
            Err(error) => {
                return Some(Pause {
                    reason: format!("the pause file cannot be read: {error}"),
                    ..Pause::default()
                });
            }
            Ok(_) => {}
        }
        let text = storage::read_bounded(&self.file, FILE_MAX_BYTES).unwrap_or_default();
        // What is not of Salve's own form was written by a person, who may have said why.
        let words = || String::from_utf8_lossy(&text).trim().to_owned();
        let pause = serde_json::from_slice::<Pause>(&text)
            .unwrap_or_else(|_| Pause { reason: words(), ..Pause::default() });
        Some(Pause { by: escape(&pause.by, 200), reason: escape(&pause.reason, 1_000), ..pause })
    }

    /// On: no write starts once this has returned.
    ///
    /// # Errors
    /// The file cannot be written. The switch is then as it was.
    pub fn pause(&self, by: &str, reason: &str) -> io::Result<()> {
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let pause = Pause {
            by: escape(by, 200),
            reason: escape(reason, 1_000),
            since_ms: u64::try_from(since.as_millis()).unwrap_or(u64::MAX),
        };
        storage::write_atomic(&self.file, serde_json::to_string(&pause)?.as_bytes())
    }

    /// Off.
    ///
    /// # Errors
    /// The file cannot be removed. The switch is then still on.
    pub fn resume(&self) -> io::Result<()> {
        match std::fs::remove_file(&self.file) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
            _ => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Guarantees: pause holds across a new switch on the same file, a bare `touch` is enough, what a person writes into it is the reason,
    /// and resume ends it.
    #[test]
    fn the_file_is_the_switch() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("paused");
        let switch = KillSwitch::new(&file);
        assert_eq!(switch.paused(), None);
        switch.pause("ada", "maintenance").unwrap();
        let pause = KillSwitch::new(&file).paused().unwrap();
        assert_eq!((pause.by.as_str(), pause.reason.as_str()), ("ada", "maintenance"));
        switch.resume().unwrap();
        switch.resume().unwrap();
        assert_eq!(switch.paused(), None);
        std::fs::write(&file, "").unwrap();
        assert_eq!(switch.paused(), Some(Pause::default()));
        std::fs::write(&file, "moving house\n").unwrap();
        assert_eq!(switch.paused().unwrap().reason, "moving house");
    }

    /// Guarantees: a switch whose file cannot be looked at reads as on.
    #[test]
    fn what_cannot_be_read_is_paused() {
        let folder = tempfile::tempdir().unwrap();
        let blocker = folder.path().join("file");
        std::fs::write(&blocker, "").unwrap();
        assert!(KillSwitch::new(&blocker.join("paused")).paused().is_some());
    }
}
