//! Whether a project's component is as new as its code, and building it if it is not.

use crate::{BuildError, Built, Progress, Project, build, files};
use std::{
    fs,
    path::{Path, PathBuf},
    time::SystemTime,
};

/// Folders that hold no code of the author's.
const NOT_SOURCES: &[&str] = &["build", "target", "node_modules", "__pycache__", "tests", "recorded", "dist"];
/// Files that are looked at, at most: a project is small.
const FILES_MAX: usize = 20_000;

impl Project {
    /// Where `build` puts the component: `build/NAME.wasm`.
    #[must_use]
    pub fn component(&self) -> PathBuf {
        self.build_folder().join(format!("{}.wasm", self.manifest.name))
    }

    /// Whether the component is there and no source is newer. Sources outside the folder, such as an SDK's, are not
    /// looked at.
    #[must_use]
    pub fn is_fresh(&self) -> bool {
        let Ok(built) = fs::metadata(self.component()).and_then(|component| component.modified()) else {
            return false;
        };
        newest_source(&self.folder).is_some_and(|source| source < built)
    }

    /// Builds the component and puts it in its place, whole.
    ///
    /// # Errors
    /// [`BuildError`] names the step that failed.
    pub fn build_to(&self, out: &Path, progress: &mut dyn Progress) -> Result<Built, BuildError> {
        let built = build(self, progress)?;
        files::write_whole(out, &built.component).map_err(|source| BuildError::File {
            step: "write the component",
            path: out.to_owned(),
            source,
        })?;
        Ok(built)
    }
}

/// When a source was written last; none if there are too many files to tell.
fn newest_source(folder: &Path) -> Option<SystemTime> {
    let mut newest = SystemTime::UNIX_EPOCH;
    let mut seen = 0;
    let mut open = vec![folder.to_owned()];
    while let Some(folder) = open.pop() {
        for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
            let name = entry.file_name();
            let name = name.to_string_lossy();
            let Ok(kind) = entry.file_type() else { continue };
            if name.starts_with('.') || (kind.is_dir() && NOT_SOURCES.contains(&&*name)) {
                continue;
            }
            if kind.is_dir() {
                open.push(entry.path());
            } else if let Ok(modified) = entry.metadata().and_then(|metadata| metadata.modified()) {
                newest = newest.max(modified);
            }
            seen += 1;
            if seen > FILES_MAX {
                return None;
            }
        }
    }
    Some(newest)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    /// Guarantees: a component is stale as soon as a source is newer; tests, recordings and builds are no sources.
    #[test]
    fn newer_sources_make_it_stale() {
        let folder = tempfile::tempdir().unwrap();
        let write = |name: &str, age_s: u64| {
            let path = folder.path().join(name);
            files::write_whole(&path, b"x").unwrap();
            let file = fs::File::options().write(true).open(path).unwrap();
            file.set_modified(SystemTime::now() - Duration::from_secs(age_s)).unwrap();
        };
        let manifest = "name = 'probe'\nversion = '0.1.0'\nrole = 'agent'\nsummary = 'Probes.'\n";
        fs::write(folder.path().join("plugin.toml"), manifest).unwrap();
        write("Cargo.toml", 100);
        let file = fs::File::options().write(true).open(folder.path().join("plugin.toml")).unwrap();
        file.set_modified(SystemTime::now() - Duration::from_secs(100)).unwrap();
        let project = Project::open(folder.path()).unwrap();
        assert!(!project.is_fresh());
        write("build/probe.wasm", 50);
        assert!(project.is_fresh());
        write("tests/a.json", 10);
        write(".git/HEAD", 10);
        assert!(project.is_fresh());
        write("src/lib.rs", 10);
        assert!(!project.is_fresh());
    }
}
