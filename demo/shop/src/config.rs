//! A configuration file that is read again when it changes.
//!
//! ## What always holds
//! - there is always a valid configuration: a broken file keeps the one before, and says so in the log
//! - a request sees one configuration from its beginning to its end ([`Watched::get`] is a snapshot)

use serde::de::DeserializeOwned;
use std::{
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
    sync::{
        Arc, PoisonError, RwLock,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

/// How often the file is looked at.
const POLL_EVERY: Duration = Duration::from_millis(200);

/// Why a configuration file was not taken.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ConfigError {
    /// The file is not there or may not be read.
    #[error("cannot read the configuration `{}`", path.display())]
    Read {
        /// Which file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// The file ends in something else than `.toml`, `.yaml` or `.json`.
    #[error("cannot tell the format of `{}`; hint: name it `.toml`, `.yaml` or `.json`", .0.display())]
    UnknownFormat(PathBuf),
    /// Syntax, a missing or unknown key, or a value of a wrong type.
    #[error("cannot parse the configuration `{}`: {why}", path.display())]
    Parse {
        /// Which file.
        path: PathBuf,
        /// The parser's words, with the place.
        why: String,
    },
}

/// Reads one file, in the format that its ending names.
///
/// # Errors
/// See [`ConfigError`].
pub(crate) fn read<C: DeserializeOwned>(path: &Path) -> Result<C, ConfigError> {
    let text =
        std::fs::read_to_string(path).map_err(|source| ConfigError::Read { path: path.into(), source })?;
    let broken = |why: String| ConfigError::Parse { path: path.into(), why: why.trim_end().to_owned() };
    match path.extension().and_then(|ending| ending.to_str()) {
        Some("toml") => toml::from_str(&text).map_err(|error| broken(error.to_string())),
        Some("yaml" | "yml") => serde_yaml_ng::from_str(&text).map_err(|error| broken(error.to_string())),
        Some("json") => serde_json::from_str(&text).map_err(|error| broken(error.to_string())),
        _ => Err(ConfigError::UnknownFormat(path.into())),
    }
}

/// What changes when a file is written in place or replaced by another.
#[derive(PartialEq, Eq, Clone, Copy)]
struct Stamp(u64, i64, i64, u64);

fn stamp(path: &Path) -> Option<Stamp> {
    let metadata = std::fs::metadata(path).ok()?;
    Some(Stamp(metadata.ino(), metadata.mtime(), metadata.mtime_nsec(), metadata.len()))
}

/// The configuration in force.
pub(crate) struct Watched<C> {
    path: PathBuf,
    current: RwLock<Arc<C>>,
    version: AtomicU64,
    /// Of the file when it was opened: a change before `watch` is not missed.
    opened: Option<Stamp>,
}

impl<C: DeserializeOwned + Send + Sync + 'static> Watched<C> {
    /// Reads the file for the first time.
    ///
    /// # Errors
    /// See [`ConfigError`].
    pub(crate) fn open(path: PathBuf) -> Result<Arc<Self>, ConfigError> {
        let opened = stamp(&path);
        let current = RwLock::new(Arc::new(read(&path)?));
        Ok(Arc::new(Self { path, current, version: AtomicU64::new(1), opened }))
    }

    /// The configuration in force.
    pub(crate) fn get(&self) -> Arc<C> {
        Arc::clone(&self.current.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// Rises by one each time that a changed file was taken.
    pub(crate) fn version(&self) -> u64 {
        self.version.load(Ordering::Relaxed)
    }

    /// The file.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Reads the file again and takes it if it is valid.
    ///
    /// # Errors
    /// See [`ConfigError`]; the configuration before stays in force.
    pub(crate) fn reload(&self) -> Result<Arc<C>, ConfigError> {
        let fresh = Arc::new(read(&self.path)?);
        *self.current.write().unwrap_or_else(PoisonError::into_inner) = Arc::clone(&fresh);
        self.version.fetch_add(1, Ordering::Relaxed);
        Ok(fresh)
    }

    /// Looks at the file for ever; tells `changed` what became of each change.
    pub(crate) async fn watch(self: Arc<Self>, changed: impl Fn(Result<Arc<C>, ConfigError>) + Send) {
        let mut seen = self.opened;
        let mut clock = tokio::time::interval(POLL_EVERY);
        clock.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            clock.tick().await;
            let now = stamp(&self.path);
            // A file that is gone for a moment is being replaced.
            if now.is_some() && now != seen {
                seen = now;
                changed(self.reload());
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(serde::Deserialize, Debug, PartialEq)]
    #[serde(deny_unknown_fields)]
    struct Sample {
        workers: u32,
    }

    /// Guarantees: the three formats say the same, comments included where the format has them.
    #[test]
    fn reads_three_formats() {
        let folder = tempfile::tempdir().unwrap();
        for (name, text) in [
            ("a.toml", "# comment\nworkers = 8 # comment\n"),
            ("a.yaml", "# comment\nworkers: 8 # comment\n"),
            ("a.json", "{ \"workers\": 8 }"),
        ] {
            let path = folder.path().join(name);
            std::fs::write(&path, text).unwrap();
            assert_eq!(read::<Sample>(&path).unwrap(), Sample { workers: 8 }, "{name}");
        }
    }

    /// Scenario: a valid file is replaced by one with broken syntax, then by one with an unknown key.
    /// Guarantees: the configuration before stays in force, and the error names the file.
    #[test]
    fn a_broken_file_keeps_the_old_configuration() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.toml");
        std::fs::write(&path, "workers = 8").unwrap();
        let watched = Watched::<Sample>::open(path.clone()).unwrap();
        for broken in ["workers = = 9", "workers = 9\nworkres = 1"] {
            std::fs::write(&path, broken).unwrap();
            let error = watched.reload().unwrap_err().to_string();
            assert!(error.contains("a.toml"), "{error}");
            assert_eq!((watched.get().workers, watched.version()), (8, 1));
        }
        std::fs::write(&path, "workers = 9").unwrap();
        watched.reload().unwrap();
        assert_eq!((watched.get().workers, watched.version()), (9, 2));
    }

    /// Scenario: the file is replaced by rename, as careful writers do.
    /// Guarantees: the change is noticed without being told.
    #[tokio::test]
    async fn notices_a_replaced_file() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.toml");
        std::fs::write(&path, "workers = 8").unwrap();
        let watched = Watched::<Sample>::open(path.clone()).unwrap();
        let (send, mut receive) = tokio::sync::mpsc::unbounded_channel();
        let task = tokio::spawn(Arc::clone(&watched).watch(move |result| {
            let _closed = send.send(result.map(|config| config.workers).map_err(|error| error.to_string()));
        }));
        std::fs::write(folder.path().join("b.toml"), "workers = 16").unwrap();
        std::fs::rename(folder.path().join("b.toml"), &path).unwrap();
        let noticed = tokio::time::timeout(Duration::from_secs(60), receive.recv()).await;
        assert_eq!(noticed.unwrap().unwrap(), Ok(16));
        task.abort();
    }
}
