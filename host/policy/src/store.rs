//! The set in force, and how another takes its place.

use crate::{error::PolicyErrors, machine::PolicyLimits, set::PolicySet};
use std::{
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError, RwLock},
};

/// Holds the set in force. Whoever decides takes [`PolicyStore::current`] and keeps it to the end of that decision;
/// [`PolicyStore::reload`] swaps it whole.
#[derive(Debug)]
pub struct PolicyStore {
    folder: PathBuf,
    limits: PolicyLimits,
    current: RwLock<Arc<PolicySet>>,
    /// Why the newest state of the folder is not in force. Also keeps two reloads apart.
    last_error: Mutex<Option<PolicyErrors>>,
}

/// What a reload did.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Reload {
    /// The folder holds the set that is in force (tests may have changed).
    Unchanged,
    /// Another set is in force now.
    Swapped {
        /// Digest of the set before.
        from: String,
        /// Digest of the set in force.
        to: String,
    },
}

impl PolicyStore {
    /// Loads the set in `folder`.
    ///
    /// # Errors
    /// All that is wrong with it: there is no older set to fall back on.
    pub fn open(folder: impl AsRef<Path>, limits: PolicyLimits) -> Result<Self, PolicyErrors> {
        let folder = folder.as_ref().to_path_buf();
        let set = PolicySet::load_with(&folder, limits.clone())?;
        Ok(Self { folder, limits, current: RwLock::new(Arc::new(set)), last_error: Mutex::new(None) })
    }

    /// The folder.
    #[must_use]
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// The set in force.
    #[must_use]
    pub fn current(&self) -> Arc<PolicySet> {
        // A poisoned lock still holds a whole set: it is only ever replaced.
        Arc::clone(&self.current.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// Loads the folder again and puts its set in force, unless something is wrong with it.
    ///
    /// # Errors
    /// All that is wrong with it; the set before stays in force.
    pub fn reload(&self) -> Result<Reload, PolicyErrors> {
        let mut last_error = self.last_error.lock().unwrap_or_else(PoisonError::into_inner);
        let set = match PolicySet::load_with(&self.folder, self.limits.clone()) {
            Ok(set) => set,
            Err(errors) => {
                *last_error = Some(errors.clone());
                return Err(errors);
            }
        };
        *last_error = None;
        let to = set.digest().to_owned();
        let mut current = self.current.write().unwrap_or_else(PoisonError::into_inner);
        let from = current.digest().to_owned();
        *current = Arc::new(set);
        Ok(if from == to { Reload::Unchanged } else { Reload::Swapped { from, to } })
    }

    /// Why the folder's newest state is not in force, if it is not.
    #[must_use]
    pub fn last_error(&self) -> Option<PolicyErrors> {
        self.last_error.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}
