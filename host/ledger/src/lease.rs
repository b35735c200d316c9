//! The single-writer lease: a lock that ends with the process, and a token that only rises.
//!
//! The lock (`flock` on `PATH.lock`) keeps a second live writer out. It is released by the kernel when the process
//! ends, in whatever way, and is not inherited by programs that it starts. The token, stored in the ledger, rises by one
//! with each writer; every append checks it, so that a writer that lost its lock without noticing (a copied folder, a
//! lock file removed by hand, a file system whose locks do not hold) is refused, and with it every write of a broker,
//! since each one begins with an append.

use crate::error::LedgerError;
use std::{
    ffi::OsString,
    fs::{File, OpenOptions, TryLockError},
    io::{Read, Seek, Write},
    os::unix::fs::OpenOptionsExt,
    path::{Path, PathBuf},
};

/// The lock file of the ledger at `path`.
#[must_use]
pub fn lock_path(path: &Path) -> PathBuf {
    let mut name = OsString::from(path.as_os_str());
    name.push(".lock");
    name.into()
}

/// The lock, held as long as this value lives.
#[derive(Debug)]
pub(crate) struct Lock {
    _file: File,
}

impl Lock {
    /// Takes the lock of the ledger at `path`.
    ///
    /// # Errors
    /// [`LedgerError::Locked`] if a live process holds it.
    pub(crate) fn take(path: &Path) -> Result<Self, LedgerError> {
        let lock_path = lock_path(path);
        let open = |source| LedgerError::OpenFile { path: lock_path.clone(), source };
        let mut file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o600)
            .open(&lock_path)
            .map_err(open)?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                return Err(LedgerError::Locked { path: path.into(), holder: read_holder(&mut file) });
            }
            Err(TryLockError::Error(source)) => return Err(open(source)),
        }
        // The pid is for people; nothing is decided by it.
        file.set_len(0).map_err(open)?;
        writeln!(file, "{}", std::process::id()).map_err(open)?;
        file.sync_data().map_err(open)?;
        Ok(Self { _file: file })
    }
}

/// The pid in the lock file, if it looks like one.
fn read_holder(file: &mut File) -> Option<String> {
    let mut text = String::new();
    file.rewind().ok()?;
    file.take(32).read_to_string(&mut text).ok()?;
    let pid = text.trim();
    (!pid.is_empty() && pid.bytes().all(|byte| byte.is_ascii_digit())).then(|| pid.to_owned())
}
