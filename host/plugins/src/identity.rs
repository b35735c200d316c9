//! What tells a file's content from any other in this boot, without reading it (ADR 12).
//!
//! ## What always holds
//! - a file that was written to, or replaced, has another identity than before; one that changed so lately that its times may
//!   still be those of the next change has none
//! - a component, whose file may be anybody's, has one only where the file system is this machine's own and shows every write

use rustix::fs::fstatfs;
use std::{
    fs,
    os::unix::fs::MetadataExt,
    time::{Duration, SystemTime},
};

/// Where Linux names the running boot.
const BOOT_ID: &str = "/proc/sys/kernel/random/boot_id";
/// How long ago a file must have been written for its times to tell it from what is written later: clocks of file systems tick
/// every few milliseconds, some every second.
const SETTLED: Duration = Duration::from_secs(2);
/// The same for the file of a component: one long write notes the time when it begins, and whoever writes there may be slow.
const COMPONENT_SETTLED: Duration = Duration::from_secs(10);
/// Types of file systems (`statfs`) that no other machine and no other program changes, and that note the time when a mapped page
/// is written to for the first time since it was last on the disk: ext2 to ext4, XFS, Btrfs, F2FS. Not tmpfs, whose pages never get
/// to a disk; not overlayfs, which does not say what is below it.
const OWN_FILE_SYSTEMS: [u32; 4] = [0xEF53, 0x5846_5342, 0x9123_683E, 0xF2F5_2010];

/// Tells files' identities.
#[derive(Debug)]
pub(crate) struct Identities {
    /// The running boot of this machine; none where the kernel does not name it.
    pub(crate) boot: Option<String>,
    pub(crate) settled: Duration,
    pub(crate) component_settled: Duration,
    pub(crate) file_systems: Vec<u32>,
}

impl Identities {
    /// Of this boot.
    pub(crate) fn new() -> Self {
        Self {
            boot: fs::read_to_string(BOOT_ID).ok().map(|boot| boot.trim().to_owned()),
            settled: SETTLED,
            component_settled: COMPONENT_SETTLED,
            file_systems: OWN_FILE_SYSTEMS.to_vec(),
        }
    }

    /// The identity of a file in a folder that only this user can write, on one line. None if it cannot be told yet: that is so,
    /// too, of what was changed in the future, by a clock that was set back.
    pub(crate) fn of(&self, metadata: &fs::Metadata) -> Option<String> {
        self.told(metadata, self.settled, SystemTime::now())
    }

    fn told(&self, metadata: &fs::Metadata, settled: Duration, now: SystemTime) -> Option<String> {
        let boot = self.boot.as_ref()?;
        let changed =
            Duration::new(u64::try_from(metadata.ctime()).ok()?, u32::try_from(metadata.ctime_nsec()).ok()?);
        let now = now.duration_since(SystemTime::UNIX_EPOCH).ok()?;
        if now.checked_sub(changed)? < settled {
            return None;
        }
        Some(format!(
            "{boot} {} {} {} {}.{:09} {}.{:09}",
            metadata.dev(),
            metadata.ino(),
            metadata.len(),
            metadata.mtime(),
            metadata.mtime_nsec(),
            metadata.ctime(),
            metadata.ctime_nsec()
        ))
    }

    /// The same of a component's file. Who is to note what its bytes are must bring them to the disk before reading them
    /// (`fdatasync`): until then, who has the file mapped can write to a page again without being seen.
    pub(crate) fn of_component(&self, file: &fs::File, metadata: &fs::Metadata) -> Option<String> {
        let kind = u32::try_from(fstatfs(file).ok()?.f_type).ok()?;
        if !self.file_systems.contains(&kind) {
            return None;
        }
        self.told(metadata, self.component_settled, SystemTime::now())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Guarantees: a file has an identity once it is old enough, and none while it is too young, nor when the clock was set back to
    /// before it was written, nor without a boot to be of.
    #[test]
    fn what_cannot_be_told_yet_is_not() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("x");
        fs::write(&path, b"x").unwrap();
        let metadata = fs::metadata(&path).unwrap();
        let changed = SystemTime::UNIX_EPOCH
            + Duration::new(metadata.ctime().unsigned_abs(), u32::try_from(metadata.ctime_nsec()).unwrap());
        let mut identities = Identities::new();
        let is_told = |identities: &Identities, now| identities.told(&metadata, SETTLED, now).is_some();
        assert!(is_told(&identities, changed + SETTLED));
        assert!(!is_told(&identities, changed + SETTLED - Duration::from_nanos(1)));
        assert!(!is_told(&identities, changed - Duration::from_secs(3_600)));
        identities.boot = None;
        assert!(!is_told(&identities, changed + SETTLED));
    }

    /// Guarantees: a component on a file system that is not known to be this machine's own has no identity.
    #[test]
    fn strange_file_systems_are_not_trusted() {
        let path = std::path::Path::new(BOOT_ID);
        let file = fs::File::open(path).unwrap();
        let mut identities = Identities::new();
        identities.component_settled = Duration::ZERO;
        assert_eq!(identities.of_component(&file, &file.metadata().unwrap()), None);
    }
}
