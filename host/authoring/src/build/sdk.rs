//! Copies of the JavaScript and Python SDKs of this version of Salve, for projects that do not bring their own.

use super::{BuildError, pins, tool};
use std::{
    hash::{DefaultHasher, Hash, Hasher},
    path::PathBuf,
};

/// The files of an SDK.
pub(super) struct Sdk {
    /// Of its folder in the cache, before the digest.
    name: &'static str,
    /// The folder by which the language finds it.
    package: &'static str,
    files: &'static [(&'static str, &'static str)],
}

macro_rules! files {
    ($folder:literal: $($file:literal),+ $(,)?) => {
        &[$(($file, include_str!(concat!("../../../../sdk/", $folder, "/", $file)))),+]
    };
}

/// `salve-plugin` of npm.
pub(super) const JAVASCRIPT: Sdk = Sdk {
    name: "sdk-javascript",
    package: "salve-plugin",
    files: files!("js":
        "package.json",
        "src/action.js",
        "src/agent.js",
        "src/call.js",
        "src/capability/config.js",
        "src/capability/http.js",
        "src/capability/notify.js",
        "src/capability/process.js",
        "src/check.js",
        "src/clock.js",
        "src/codec.js",
        "src/detector.js",
        "src/failure.js",
        "src/guards.js",
        "src/host.js",
        "src/index.js",
        "src/log.js",
        "src/plan.js",
        "src/prepare.js",
        "src/received.js",
        "src/runtime.js",
        "src/series.js",
        "src/sha256.js",
        "src/telemetry.js",
        "src/text.js",
    ),
};

/// `salve-plugin` of PyPI.
pub(super) const PYTHON: Sdk = Sdk {
    name: "sdk-python",
    package: "salve_plugin",
    files: files!("python/src/salve_plugin":
        "__init__.py",
        "_bridge.py",
        "_check.py",
        "_guards.py",
        "_heap.py",
        "_host.py",
        "_immortal.py",
        "_rehearsal.py",
        "_runtime.py",
        "action.py",
        "agent.py",
        "clock.py",
        "codec.py",
        "config.py",
        "detector.py",
        "errors.py",
        "http.py",
        "log.py",
        "notify.py",
        "plan.py",
        "process.py",
        "series.py",
        "telemetry.py",
    ),
};

/// The folder in which the SDK's package stands. Its name has the digest of all files, and it is renamed when it is whole.
///
/// # Errors
/// If the cache cannot be written.
pub(super) fn place(sdk: &Sdk) -> Result<PathBuf, BuildError> {
    let mut hasher = DefaultHasher::new();
    sdk.files.hash(&mut hasher);
    let folder = format!("{}-{}-{:016x}", sdk.name, env!("CARGO_PKG_VERSION"), hasher.finish());
    let put = |folder: &std::path::Path| {
        sdk.files.iter().try_for_each(|(name, text)| tool::write(&folder.join(sdk.package).join(name), text))
    };
    pins::install_as(&folder, tool::file_error, put)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::path::Path;

    fn sources(folder: &Path, base: &Path, ending: &str, found: &mut Vec<String>) {
        for item in folder.read_dir().unwrap().flatten() {
            let path = item.path();
            if path.is_dir() {
                sources(&path, base, ending, found);
            } else if path.extension().is_some_and(|found| found == ending) {
                found.push(path.strip_prefix(base).unwrap().display().to_string());
            }
        }
    }

    /// Guarantees: the copies hold every source file of the SDKs but those for tests; a new file cannot be forgotten.
    #[test]
    fn copies_are_whole() {
        let sdks = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../sdk");
        for (sdk, base, below, ending) in [
            (&JAVASCRIPT, "js", "js/src", "js"),
            (&PYTHON, "python/src/salve_plugin", "python/src/salve_plugin", "py"),
        ] {
            let mut found = Vec::new();
            sources(&sdks.join(below), &sdks.join(base), ending, &mut found);
            found.retain(|name| !name.contains("testing"));
            found.sort();
            let mut known: Vec<_> = sdk
                .files
                .iter()
                .map(|(name, _)| (*name).to_owned())
                .filter(|name| name.ends_with(ending))
                .collect();
            known.sort();
            assert_eq!(known, found, "{base}");
        }
    }
}
