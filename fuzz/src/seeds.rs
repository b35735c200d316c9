//! The inputs that a target starts from. They are made anew at each start, from what the workspace has, so that none can go
//! stale: a target says what must become of its seeds, and panics if it does not.

use std::{
    fs,
    path::{Path, PathBuf},
};

/// Names the folder in which `cargo xtask fuzz` wants the seeds.
const VARIABLE: &str = "SALVE_FUZZ_SEEDS";

/// Writes the seeds that `make` gives, if they are wanted.
pub fn write(make: impl FnOnce() -> Vec<Vec<u8>>) {
    let Some(folder) = std::env::var_os(VARIABLE).map(PathBuf::from) else { return };
    for (number, bytes) in make().iter().enumerate() {
        fs::write(folder.join(format!("seed-{number:03}")), bytes).expect("seeds can be written");
    }
}

/// A file or folder of the workspace.
pub fn workspace(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join(path)
}

/// Name without ending, and content, of the files in a folder of the workspace that end so, by name; there is one at least.
pub fn files(folder: &str, ending: &str) -> Vec<(String, Vec<u8>)> {
    let mut found = Vec::new();
    for entry in fs::read_dir(workspace(folder)).expect("the folder is in the workspace") {
        let path = entry.expect("the folder can be read").path();
        if path.extension().is_some_and(|extension| extension == ending) {
            let name = path.file_stem().unwrap_or_default().to_string_lossy().into_owned();
            found.push((name, fs::read(&path).expect("the file can be read")));
        }
    }
    assert!(!found.is_empty(), "no *.{ending} in {folder}");
    found.sort();
    found
}

/// All `plugin.toml` of the workspace, by path.
pub fn manifests() -> Vec<String> {
    let mut paths = Vec::new();
    for folder in ["plugins", "examples", "tests/plugins"] {
        for entry in fs::read_dir(workspace(folder)).expect("the folder is in the workspace") {
            paths.push(entry.expect("the folder can be read").path().join("plugin.toml"));
        }
    }
    paths.sort();
    let texts: Vec<String> = paths.iter().filter_map(|path| fs::read_to_string(path).ok()).collect();
    assert!(texts.len() >= 10, "{} manifests", texts.len());
    texts
}

/// A folder in memory, where there is memory to be had: targets that read files write one for each input.
pub fn folder() -> tempfile::TempDir {
    tempfile::tempdir_in("/dev/shm").or_else(|_| tempfile::tempdir()).expect("a temporary folder")
}
