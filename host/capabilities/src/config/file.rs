//! One configuration file on disk: opened without following links, replaced by a swap that can be taken back.

use super::ConfigError;
use crate::{BrokersConfig, ConfigFormat, ConfigTarget, TargetConfig, registry::is_protected, storage};
use rustix::{
    fs::{
        AtFlags, CWD, Gid, Mode, OFlags, RenameFlags, ResolveFlags, Uid, fchmod, fchown, fstat, openat,
        openat2, renameat_with, unlinkat,
    },
    io::Errno,
};
use salve_model::{TargetId, text::escape};
use std::{
    fs::File,
    io::{Read, Write},
    os::{fd::OwnedFd, unix::fs::MetadataExt},
    path::{Path, PathBuf},
};

/// Where a target's file lies and which of its keys count.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct FilePlace {
    pub(crate) target: TargetId,
    /// `service.name` of the target's selector.
    pub(crate) service: Option<String>,
    /// The whole path, its root without links.
    pub(crate) path: PathBuf,
    root: PathBuf,
    /// Folder of the file, below the root; empty if it is the root.
    folder: PathBuf,
    name: String,
    pub(crate) format: ConfigFormat,
    keys: Vec<String>,
    secret_keys: Vec<String>,
}

/// A file as it was read.
#[derive(Debug, Clone)]
pub(crate) struct Snapshot {
    pub(crate) text: String,
    /// SHA-256, lower-case hex.
    pub(crate) digest: String,
    /// When it was last written, as the file system says.
    pub(crate) modified: std::time::SystemTime,
    mode: u32,
    uid: u32,
    gid: u32,
}

#[cfg(test)]
impl Snapshot {
    pub(crate) fn of(text: &str, modified: std::time::SystemTime) -> Self {
        Self { text: text.into(), digest: String::new(), modified, mode: 0, uid: 0, gid: 0 }
    }
}

/// Prefix and infix of the files that lie beside a configuration file for a moment.
const TEMPORARY: &str = ".salve-";

impl FilePlace {
    /// # Errors
    /// One sentence.
    pub(crate) fn new(target: &TargetConfig, config: &ConfigTarget) -> Result<Self, String> {
        let file = &config.file;
        let shown = file.display();
        if !file.is_absolute() || file.components().any(|part| part.as_os_str() == "..") {
            return Err(format!("`{shown}` is no absolute path without `..`"));
        }
        let root = config.root.as_deref().or(file.parent()).ok_or_else(|| format!("`{shown}` is no file"))?;
        let relative =
            file.strip_prefix(root).map_err(|_| format!("`{shown}` is not below `{}`", root.display()))?;
        let name = relative
            .file_name()
            .and_then(|name| name.to_str())
            .ok_or_else(|| format!("`{shown}` is no file"))?;
        let real = root
            .canonicalize()
            .map_err(|error| format!("cannot find the folder `{}`: {error}", root.display()))?;
        let format = config.format.or_else(|| ConfigFormat::of(file));
        Ok(Self {
            target: target.id.clone(),
            service: target.select.get("service.name").cloned(),
            path: real.join(relative),
            root: real,
            folder: relative.parent().unwrap_or(Path::new("")).to_owned(),
            name: name.to_owned(),
            format: format.ok_or_else(|| {
                format!("the ending of `{shown}` says no format; add `format = \"toml\"` or another")
            })?,
            keys: config.keys.clone(),
            secret_keys: config.secret_keys.clone(),
        })
    }

    pub(crate) fn lists(&self, key: &str) -> bool {
        self.keys.iter().any(|pattern| salve_model::pattern::matches(pattern, key))
    }

    pub(crate) fn is_secret(&self, key: &str) -> bool {
        self.secret_keys.iter().any(|pattern| salve_model::pattern::matches(pattern, key))
    }

    pub(crate) fn shown(&self) -> String {
        escape(&self.path.display().to_string(), 500)
    }

    fn open_error(&self, reason: impl ToString) -> ConfigError {
        ConfigError::Open { file: self.shown(), reason: reason.to_string() }
    }

    fn forbidden(&self, reason: &str) -> ConfigError {
        ConfigError::Forbidden { file: self.shown(), reason: reason.into() }
    }

    fn link_error(&self, error: Errno) -> ConfigError {
        match error {
            Errno::LOOP => self.forbidden("there is a symbolic link on the way, which Salve does not follow"),
            Errno::XDEV => self.forbidden("it leads out of its root"),
            other => self.open_error(other),
        }
    }

    fn swap_error(&self, reason: impl ToString) -> ConfigError {
        ConfigError::Swap { file: self.shown(), reason: reason.to_string() }
    }

    /// The file's folder; no part of the way is a link.
    fn open_folder(&self) -> Result<OwnedFd, ConfigError> {
        let flags = OFlags::DIRECTORY | OFlags::RDONLY | OFlags::CLOEXEC;
        let no_links = ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_MAGICLINKS;
        let root = openat2(CWD, &self.root, flags, Mode::empty(), no_links)
            .map_err(|error| self.link_error(error))?;
        if self.folder.as_os_str().is_empty() {
            return Ok(root);
        }
        openat2(&root, &self.folder, flags, Mode::empty(), no_links | ResolveFlags::BENEATH)
            .map_err(|error| self.link_error(error))
    }

    fn open_in(&self, folder: &OwnedFd, name: &str) -> Result<File, ConfigError> {
        // NONBLOCK, so that a FIFO in the file's place cannot hold Salve up.
        let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NONBLOCK;
        let resolve = ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_MAGICLINKS | ResolveFlags::BENEATH;
        let file =
            openat2(folder, name, flags, Mode::empty(), resolve).map_err(|error| self.link_error(error))?;
        Ok(File::from(file))
    }

    /// Reads the file.
    pub(crate) fn read(&self, config: &BrokersConfig) -> Result<Snapshot, ConfigError> {
        if is_protected(config, &self.path) {
            return Err(self.forbidden("it is one of Salve's own files, which no broker touches"));
        }
        let folder = self.open_folder()?;
        let file = self.open_in(&folder, &self.name)?;
        let snapshot = self.snapshot(file, config.config_file_max_bytes)?;
        Ok(snapshot)
    }

    fn snapshot(&self, mut file: File, bytes_max: u64) -> Result<Snapshot, ConfigError> {
        let metadata = file.metadata().map_err(|error| self.open_error(error))?;
        if !metadata.is_file() {
            return Err(self.forbidden("it is no ordinary file"));
        }
        let mut bytes = Vec::new();
        let read = Read::by_ref(&mut file).take(bytes_max.saturating_add(1)).read_to_end(&mut bytes);
        read.map_err(|error| self.open_error(error))?;
        if u64::try_from(bytes.len()).unwrap_or(u64::MAX) > bytes_max {
            return Err(self.open_error(format!("it is larger than {bytes_max} bytes")));
        }
        let digest = storage::sha256_hex(&bytes);
        let modified = metadata.modified().unwrap_or(std::time::UNIX_EPOCH);
        let text = String::from_utf8(bytes).map_err(|_| self.open_error("it is not UTF-8"))?;
        Ok(Snapshot {
            text,
            digest,
            modified,
            mode: metadata.mode(),
            uid: metadata.uid(),
            gid: metadata.gid(),
        })
    }

    /// Puts `text` in the place of `read`, keeping owner and mode. If the file is not `read` any more, it is put back
    /// and the result is [`ConfigError::Changed`]. `before_swap` runs at the last moment before the swap.
    pub(crate) fn swap(
        &self,
        read: &Snapshot,
        text: &str,
        bytes_max: u64,
        before_swap: impl FnOnce(),
    ) -> Result<(), ConfigError> {
        let folder = self.open_folder()?;
        let temporary = format!(".{}{TEMPORARY}{}", self.name, storage::unique());
        let result = self.write_temporary(&folder, &temporary, read, text).and_then(|()| {
            before_swap();
            self.exchange(&folder, &temporary)?;
            // What lay there now lies under the temporary name: it must be what was read.
            let found = self.open_in(&folder, &temporary).and_then(|file| self.snapshot(file, bytes_max));
            if found.is_ok_and(|found| found.digest == read.digest) {
                return Ok(());
            }
            self.exchange(&folder, &temporary)?;
            Err(ConfigError::Changed { file: self.shown() })
        });
        let removed = match unlinkat(&folder, &temporary, AtFlags::empty()) {
            Ok(()) | Err(Errno::NOENT) => Ok(()),
            Err(error) => Err(error),
        };
        result?;
        removed.map_err(|error| self.swap_error(format!("the old version could not be removed: {error}")))?;
        rustix::fs::fsync(&folder).map_err(|error| self.swap_error(error))
    }

    fn exchange(&self, folder: &OwnedFd, temporary: &str) -> Result<(), ConfigError> {
        renameat_with(folder, temporary, folder, &self.name, RenameFlags::EXCHANGE).map_err(|error| {
            self.swap_error(match error {
                Errno::INVAL | Errno::NOSYS => "its file system cannot swap two files in one step".to_owned(),
                other => other.to_string(),
            })
        })
    }

    fn write_temporary(
        &self,
        folder: &OwnedFd,
        temporary: &str,
        like: &Snapshot,
        text: &str,
    ) -> Result<(), ConfigError> {
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let swap_error = |error: Errno| self.swap_error(error);
        let file = openat(folder, temporary, flags, Mode::RUSR | Mode::WUSR).map_err(swap_error)?;
        let stat = fstat(&file).map_err(swap_error)?;
        if (stat.st_uid, stat.st_gid) != (like.uid, like.gid) {
            fchown(&file, Some(Uid::from_raw(like.uid)), Some(Gid::from_raw(like.gid))).map_err(|error| {
                self.swap_error(format!("its owner {}:{} cannot be kept: {error}", like.uid, like.gid))
            })?;
        }
        fchmod(&file, Mode::from_raw_mode(like.mode & 0o7777)).map_err(swap_error)?;
        let mut file = File::from(file);
        file.write_all(text.as_bytes()).and_then(|()| file.sync_all()).map_err(|error| self.swap_error(error))
    }

    /// Removes what a crash in the middle of a swap left beside the file. What was read lies in a back-up.
    pub(crate) fn remove_strays(&self) {
        let prefix = format!(".{}{TEMPORARY}", self.name);
        let folder = self.root.join(&self.folder);
        for entry in std::fs::read_dir(folder).into_iter().flatten().filter_map(Result::ok) {
            if entry.file_name().to_str().is_some_and(|name| name.starts_with(&prefix)) {
                drop(std::fs::remove_file(entry.path()));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::{PermissionsExt, symlink};

    fn place(file: &Path, root: Option<&Path>) -> FilePlace {
        let config = ConfigTarget {
            file: file.to_owned(),
            root: root.map(Path::to_owned),
            format: None,
            keys: vec!["*".into()],
            secret_keys: Vec::new(),
        };
        let target = TargetConfig {
            id: TargetId("t".into()),
            tenant: salve_model::Tenant::default(),
            select: salve_model::Attributes::new(),
            process: None,
            config: Some(config.clone()),
            http: None,
            notify: None,
        };
        FilePlace::new(&target, &config).unwrap()
    }

    fn brokers(folder: &Path) -> BrokersConfig {
        BrokersConfig {
            state_dir: folder.join("state"),
            pause_file: folder.join("paused.env"),
            protected: vec![folder.join("salve.toml")],
            ..BrokersConfig::default()
        }
    }

    /// Guarantees: neither the file nor a folder on the way to it may be a link, even if it was none when the
    /// configuration was read.
    #[test]
    fn follows_no_link() {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path();
        std::fs::create_dir_all(root.join("etc/app")).unwrap();
        std::fs::write(root.join("etc/app/a.toml"), "x = 1\n").unwrap();
        std::fs::write(root.join("secret.toml"), "x = 2\n").unwrap();
        let config = brokers(root);
        let place = place(&root.join("etc/app/a.toml"), Some(&root.join("etc")));
        assert_eq!(place.read(&config).unwrap().text, "x = 1\n");

        std::fs::remove_file(root.join("etc/app/a.toml")).unwrap();
        symlink(root.join("secret.toml"), root.join("etc/app/a.toml")).unwrap();
        assert!(matches!(place.read(&config), Err(ConfigError::Forbidden { .. })));

        std::fs::remove_dir_all(root.join("etc/app")).unwrap();
        std::fs::create_dir(root.join("elsewhere")).unwrap();
        std::fs::write(root.join("elsewhere/a.toml"), "x = 3\n").unwrap();
        symlink(root.join("elsewhere"), root.join("etc/app")).unwrap();
        assert!(matches!(place.read(&config), Err(ConfigError::Forbidden { .. })));

        std::fs::remove_file(root.join("etc/app")).unwrap();
        std::fs::rename(root.join("etc"), root.join("etc2")).unwrap();
        std::fs::create_dir(root.join("etc2/app")).unwrap();
        std::fs::write(root.join("etc2/app/a.toml"), "x = 4\n").unwrap();
        symlink(root.join("etc2"), root.join("etc")).unwrap();
        assert!(matches!(place.read(&config), Err(ConfigError::Forbidden { .. })));
    }

    /// Guarantees: Salve's own files are refused by any of their names.
    #[test]
    fn refuses_salves_own_files() {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path();
        std::fs::write(root.join("salve.toml"), "x = 1\n").unwrap();
        std::fs::hard_link(root.join("salve.toml"), root.join("innocent.toml")).unwrap();
        let config = brokers(root);
        for name in ["salve.toml", "innocent.toml", "paused.env"] {
            let place = place(&root.join(name), None);
            let result = place.read(&config);
            assert!(matches!(result, Err(ConfigError::Forbidden { .. })), "{name}");
        }
        std::fs::create_dir(root.join("state")).unwrap();
        std::fs::write(root.join("state/a.json"), "{}").unwrap();
        assert!(matches!(
            place(&root.join("state/a.json"), None).read(&config),
            Err(ConfigError::Forbidden { .. })
        ));
    }

    /// Guarantees: a FIFO or a file that is too large is refused at once.
    #[test]
    fn reads_ordinary_small_files_only() {
        let folder = tempfile::tempdir().unwrap();
        let fifo = folder.path().join("a.toml");
        rustix::fs::mkfifoat(CWD, &fifo, Mode::RUSR | Mode::WUSR).unwrap();
        assert!(place(&fifo, None).read(&brokers(folder.path())).is_err());
        let large = folder.path().join("b.toml");
        std::fs::write(&large, vec![b'#'; 2_000]).unwrap();
        let config = BrokersConfig { config_file_max_bytes: 1_000, ..brokers(folder.path()) };
        assert!(place(&large, None).read(&config).is_err());
    }

    /// Guarantees: a swap keeps the mode and leaves nothing beside the file; if somebody else wrote in the last moment,
    /// their version stands.
    #[test]
    fn swaps_back_what_was_not_read() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.toml");
        std::fs::write(&path, "x = 1\n").unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o640)).unwrap();
        let (config, place) = (brokers(folder.path()), place(&path, None));
        let read = place.read(&config).unwrap();
        place.swap(&read, "x = 2\n", 1_000, || {}).unwrap();
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "x = 2\n");
        assert_eq!(std::fs::metadata(&path).unwrap().mode() & 0o7777, 0o640);
        if rustix::process::geteuid().is_root() {
            std::os::unix::fs::chown(&path, Some(4_321), Some(1_234)).unwrap();
            let read = place.read(&config).unwrap();
            place.swap(&read, "x = 2.0\n", 1_000, || {}).unwrap();
            let metadata = std::fs::metadata(&path).unwrap();
            assert_eq!((metadata.uid(), metadata.gid()), (4_321, 1_234));
        }

        let read = place.read(&config).unwrap();
        let by_other = || std::fs::write(&path, "x = 99\n").unwrap();
        assert!(matches!(place.swap(&read, "x = 3\n", 1_000, by_other), Err(ConfigError::Changed { .. })));
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "x = 99\n");

        let read = place.read(&config).unwrap();
        let by_rename = || {
            std::fs::write(folder.path().join("new"), "x = 100\n").unwrap();
            std::fs::rename(folder.path().join("new"), &path).unwrap();
        };
        assert!(matches!(place.swap(&read, "x = 3\n", 1_000, by_rename), Err(ConfigError::Changed { .. })));
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "x = 100\n");
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1);
    }
}
