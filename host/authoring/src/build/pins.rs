//! The tools of JavaScript and Python: which versions, where they are kept, and how they are installed.
//!
//! `xtask` reads this file, too, so that what it prepares is what builds look for. It uses nothing but `std`.

use std::{
    env, fs, io,
    path::{Path, PathBuf},
    process::Command,
};

/// Tools that come from a language's own package registry.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Tools {
    /// Folder below the cache: names and versions.
    pub(crate) folder: &'static str,
    /// What the package manager is asked for, pinned. These bring native programs as pinned dependencies.
    pub(crate) packages: &'static [&'static str],
}

/// `componentize-qjs` makes the component (it is what `jco componentize --backend qjs` calls, without the 385 MB of other
/// engines); `esbuild` makes one module of several, and JavaScript of TypeScript.
pub(crate) const JAVASCRIPT: Tools = Tools {
    folder: "javascript-componentize-qjs-0.4.5-esbuild-0.28.2",
    packages: &["componentize-qjs@0.4.5", "esbuild@0.28.2"],
};

/// `componentize-py` brings CPython for WebAssembly.
pub(crate) const PYTHON: Tools =
    Tools { folder: "python-componentize-py-0.25.1", packages: &["componentize-py==0.25.1"] };

/// Where tools are kept: `$XDG_CACHE_HOME/salve/tools`, else `~/.cache/salve/tools`.
pub(crate) fn cache() -> Option<PathBuf> {
    let absolute = |name| env::var_os(name).map(PathBuf::from).filter(|path| path.is_absolute());
    let user = absolute("XDG_CACHE_HOME").or_else(|| absolute("HOME").map(|home| home.join(".cache")))?;
    Some(user.join("salve").join("tools"))
}

impl Tools {
    /// `npm` that puts the packages into `folder/node_modules`. Their install scripts do not run: they are not needed.
    pub(crate) fn npm(&self, folder: &Path) -> Command {
        let mut npm = Command::new("npm");
        npm.args([
            "install",
            "--no-save",
            "--no-package-lock",
            "--no-audit",
            "--no-fund",
            "--ignore-scripts",
        ])
        .args(["--loglevel", "error", "--prefix"])
        .arg(folder)
        .args(self.packages)
        .current_dir(folder);
        npm
    }

    /// `pip` of `python` that puts the packages into `folder`.
    pub(crate) fn pip(&self, python: &Path, folder: &Path) -> Command {
        let mut pip = Command::new(python);
        pip.args([
            "-m",
            "pip",
            "install",
            "--quiet",
            "--no-input",
            "--disable-pip-version-check",
            "--no-deps",
        ])
        .args(["--only-binary", ":all:", "--target"])
        .arg(folder)
        .args(self.packages);
        pip
    }

    /// Installs them in the cache, if they are not there; see [`install_as`].
    pub(crate) fn install<E>(
        &self,
        failed: impl Fn(&'static str, &Path, io::Error) -> E,
        install: impl FnOnce(&Path) -> Result<(), E>,
    ) -> Result<PathBuf, E> {
        install_as(self.folder, failed, install)
    }
}

/// Fills the folder `name` of the cache by `install`, in a folder beside it that is renamed at the end: what is there is
/// whole. Another process may do the same at the same time; the first one wins.
pub(crate) fn install_as<E>(
    name: &str,
    failed: impl Fn(&'static str, &Path, io::Error) -> E,
    install: impl FnOnce(&Path) -> Result<(), E>,
) -> Result<PathBuf, E> {
    let missing = || io::Error::new(io::ErrorKind::NotFound, "neither XDG_CACHE_HOME nor HOME is set");
    let cache = cache().ok_or_else(|| failed("find the cache for", Path::new(name), missing()))?;
    let path = cache.join(name);
    if path.is_dir() {
        return Ok(path);
    }
    let partial = cache.join(format!(".{name}.{}.{:?}", std::process::id(), std::thread::current().id()));
    // Left over from a process that had this number and was killed.
    remove(&partial);
    fs::create_dir_all(&partial).map_err(|error| failed("create the folder", &partial, error))?;
    let installed = install(&partial).and_then(|()| match fs::rename(&partial, &path) {
        Err(_) if path.is_dir() => Ok(()),
        renamed => renamed.map_err(|error| failed("rename the finished folder to", &path, error)),
    });
    remove(&partial);
    installed.map(|()| path)
}

fn remove(folder: &Path) {
    // If it stays, that is harmless: its name begins with a dot, and nobody looks there.
    fs::remove_dir_all(folder).unwrap_or_default();
}
