//! Real brokers for a trial: they read what the configuration names and write nothing.
//!
//! ## What always holds
//! - every session is a dry-run; real writes are the daemon's, so that they stand in the ledger
//! - the daemon's own state is not touched: the brokers work on a copy of it, and start no process

use crate::{config::Config, daemon};
use anyhow::{Context, Result, bail};
use salve_authoring::{TemporaryFolder, trial::Request};
use salve_capabilities::{Brokers, BrokersConfig, Intent, Journal, JournalError, Refusal, WriteOutcome};
use salve_model::{Tenant, call::BoxFuture};
use std::{
    fs, io,
    os::unix::fs::DirBuilderExt,
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

/// Most files of the daemon's that are copied: versions and back-ups of configuration files.
const FILES_MAX: usize = 10_000;

/// Brokers on a copy of the daemon's state, which is gone with this.
pub struct Real {
    /// The brokers.
    pub brokers: Arc<Brokers>,
    _folder: TemporaryFolder,
}

impl Real {
    /// Sets the brokers up. Needs a tokio runtime.
    pub fn new(config: &Config, config_path: &Path) -> Result<Self> {
        let folder = TemporaryFolder::new("salve-trial").context("cannot make a temporary folder")?;
        let listeners = [config.otlp.grpc_address, config.otlp.http_address, config.health.address];
        let theirs = daemon::brokers_config(config, config_path, &listeners);
        let state_dir = folder.path().join("brokers");
        copy(&theirs.state_dir, &state_dir, &mut 0)
            .with_context(|| format!("cannot copy the brokers' state `{}`", theirs.state_dir.display()))?;
        let mut units = theirs.units.clone();
        units.iter_mut().for_each(|unit| unit.autostart = false);
        let brokers =
            Brokers::new(BrokersConfig { units, state_dir, ..theirs }, Arc::<Unrecorded>::default())
                .context("cannot start the brokers")?;
        Ok(Self { brokers: Arc::new(brokers), _folder: folder })
    }

    /// The request with the targets as the configuration has them.
    pub fn resolve(&self, request: &mut Request) -> Result<()> {
        let known = self.brokers.targets();
        for target in &mut request.targets {
            let Some(found) = known.iter().find(|known| known.id.0 == target.id) else {
                let ids: Vec<_> = known.iter().map(|known| known.id.0.as_str()).collect();
                bail!(
                    "the configuration has no target `{}`\n\nhint: Its targets are {}.",
                    salve_model::text::escape(&target.id, 100),
                    ids.join(", ")
                );
            };
            target.attributes.clone_from(&found.attributes);
        }
        Ok(())
    }
}

/// Copies a folder of plain files; one that is not there is an empty one.
fn copy(from: &Path, to: &Path, count: &mut usize) -> io::Result<()> {
    fs::DirBuilder::new().mode(0o700).create(to)?;
    let entries = match fs::read_dir(from) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(error),
    };
    for entry in entries {
        let entry = entry?;
        *count += 1;
        if *count > FILES_MAX {
            return Err(io::Error::other(format!("it has more than {FILES_MAX} files")));
        }
        let kind = entry.file_type()?;
        if kind.is_dir() {
            copy(&entry.path(), &to.join(entry.file_name()), count)?;
        } else if kind.is_file() {
            fs::copy(entry.path(), to.join(entry.file_name()))?;
        }
    }
    Ok(())
}

/// A dry-run's intents are recorded nowhere: nothing comes of them.
#[derive(Default)]
struct Unrecorded(AtomicU64);

impl Journal for Unrecorded {
    fn intent(&self, _intent: Intent) -> BoxFuture<'_, Result<u64, JournalError>> {
        Box::pin(async { Ok(self.0.fetch_add(1, Ordering::Relaxed) + 1) })
    }

    fn result(
        &self,
        _id: u64,
        _tenant: Tenant,
        _outcome: WriteOutcome,
    ) -> BoxFuture<'_, Result<(), JournalError>> {
        Box::pin(async { Ok(()) })
    }

    fn refused(&self, _refusal: Refusal) -> BoxFuture<'_, Result<(), JournalError>> {
        Box::pin(async { Ok(()) })
    }
}
