//! Debian's packages, unpacked into a folder of our own: no root, and nothing of the system changes or starts.

use crate::process;
use anyhow::{Context, Result, ensure};
use std::{
    collections::BTreeSet,
    fs::{self, File},
    path::{Path, PathBuf},
    process::Command,
};

/// File that says that all is unpacked. Written last: what a broken run left is made again.
const UNPACKED: &str = "unpacked";

/// What is wanted of Debian.
pub(crate) struct Wanted<'a> {
    /// What is asked for by name.
    pub names: &'a [&'a str],
    /// Which of the packages that those depend on are worth unpacking; others are part of any system.
    pub part: fn(&str) -> bool,
    /// Said before the download: how much it is, and what for.
    pub why: &'a str,
}

/// Downloads and unpacks into `cache`, in a folder with the first package's name, if that has not been done; gives back the
/// folder.
pub(crate) fn unpack(wanted: &Wanted, cache: &Path) -> Result<PathBuf> {
    let root = cache.join(wanted.names.first().context("no package is named")?);
    if !root.join(UNPACKED).is_file() {
        Apt::find(wanted.names, cache)?.unpack(wanted, &root)?;
    }
    Ok(root)
}

/// One xtask at a time works in `cache`.
pub(crate) fn lock(cache: &Path) -> Result<File> {
    let path = cache.join("lock");
    let locking = || format!("cannot lock `{}`", path.display());
    let file = File::create(&path).with_context(locking)?;
    file.lock().with_context(locking)?;
    Ok(file)
}

/// `apt-get` and `apt-cache`, with package lists of our own where the system's do not serve.
pub(crate) struct Apt {
    options: Vec<String>,
    cache: PathBuf,
}

impl Apt {
    /// With lists that know all of `names`.
    pub(crate) fn find(names: &[&str], cache: &Path) -> Result<Self> {
        for program in ["apt-get", "apt-cache", "dpkg-deb"] {
            process::output(Command::new(program).arg("--version")).context("this needs a Debian system")?;
        }
        // As root, apt would drop to a user that cannot write here; to others the option means nothing.
        let system = Self { options: vec!["-oAPT::Sandbox::User=root".into()], cache: cache.to_owned() };
        let missing = |apt: &Self| names.iter().find(|name| apt.version(name).is_err()).copied();
        let Some(unknown) = missing(&system) else { return Ok(system) };
        eprintln!("the system's package lists do not know {unknown}");
        let own = system.with_own_lists()?;
        let unknown = missing(&own);
        ensure!(unknown.is_none(), "Debian's package lists here have no `{}`", unknown.unwrap_or_default());
        Ok(own)
    }

    /// The same with fresh lists below the cache.
    fn with_own_lists(&self) -> Result<Self> {
        let lists = self.cache.join("apt");
        for below in ["lists/partial", "cache/archives/partial"] {
            let below = lists.join(below);
            fs::create_dir_all(&below).with_context(|| format!("cannot create `{}`", below.display()))?;
        }
        let option = |name: &str, below: &str| format!("-o{name}={}", lists.join(below).display());
        let mut options = vec![option("Dir::State::Lists", "lists"), option("Dir::Cache", "cache")];
        options.extend(self.options.iter().filter(|option| !option.contains("Dir::")).cloned());
        eprintln!("updating package lists in {}", lists.display());
        process::run(Command::new("apt-get").args(&options).args(["-q", "update"]))?;
        Ok(Self { options, cache: self.cache.clone() })
    }

    fn ask(&self, question: &str, package: &str) -> Result<String> {
        process::output(
            Command::new("apt-cache").args(&self.options).args([question, package]).env("LC_ALL", "C"),
        )
    }

    /// The version that would be downloaded, fit for a file name.
    pub(crate) fn version(&self, package: &str) -> Result<String> {
        candidate(&self.ask("policy", package)?).with_context(|| format!("apt knows no package `{package}`"))
    }

    /// What is wanted and those of its dependencies that matter, all the way down.
    fn packages(&self, wanted: &Wanted) -> Result<BTreeSet<String>> {
        let mut found: BTreeSet<String> = wanted.names.iter().map(|name| (*name).to_owned()).collect();
        let mut open: Vec<String> = found.iter().cloned().collect();
        while let Some(package) = open.pop() {
            let text = self.ask("depends", &package)?;
            for dependency in dependencies(&text).filter(|dependency| (wanted.part)(dependency)) {
                if found.insert(dependency.to_owned()) {
                    open.push(dependency.to_owned());
                }
            }
        }
        Ok(found)
    }

    /// Downloads and unpacks into `root`, if that has not been done.
    pub(crate) fn unpack(&self, wanted: &Wanted, root: &Path) -> Result<()> {
        let _lock = lock(&self.cache)?;
        let done = root.join(UNPACKED);
        if done.is_file() {
            return Ok(());
        }
        if root.exists() {
            fs::remove_dir_all(root).with_context(|| format!("cannot remove `{}`", root.display()))?;
        }
        let downloads = root.join("downloads");
        fs::create_dir_all(&downloads).with_context(|| format!("cannot create `{}`", downloads.display()))?;
        // Lists that are older than the archive name files that it no longer has.
        self.download(wanted, &downloads).or_else(|_| self.with_own_lists()?.download(wanted, &downloads))?;
        let listing = || format!("cannot read `{}`", downloads.display());
        for file in fs::read_dir(&downloads).with_context(listing)? {
            let file = file.with_context(listing)?.path();
            if file.extension().is_some_and(|extension| extension == "deb") {
                process::run(Command::new("dpkg-deb").arg("-x").arg(&file).arg(root))?;
            }
        }
        fs::remove_dir_all(&downloads).with_context(|| format!("cannot remove `{}`", downloads.display()))?;
        fs::write(&done, "").with_context(|| format!("cannot write `{}`", done.display()))
    }

    fn download(&self, wanted: &Wanted, into: &Path) -> Result<()> {
        let packages = self.packages(wanted)?;
        let named = packages.iter().map(String::as_str).collect::<Vec<_>>().join(", ");
        eprintln!("downloading {named} from Debian into {}, {}", self.cache.display(), wanted.why);
        process::run(
            Command::new("apt-get")
                .args(&self.options)
                .args(["-q", "download"])
                .args(&packages)
                .current_dir(into),
        )
    }
}

/// `Candidate: VERSION` of `apt-cache policy`.
fn candidate(text: &str) -> Option<String> {
    let version = text.lines().find_map(|line| line.trim().strip_prefix("Candidate:"))?.trim();
    (version != "(none)").then(|| version.replace([':', '~', '/'], "-"))
}

/// `Depends: NAME` of `apt-cache depends`, without virtual packages.
fn dependencies(text: &str) -> impl Iterator<Item = &str> {
    text.lines()
        .filter_map(|line| line.trim().trim_start_matches('|').strip_prefix("Depends:"))
        .map(str::trim)
        .filter(|name| !name.starts_with('<'))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Guarantees: what apt says is understood: versions make folder names, virtual packages are left out.
    #[test]
    fn apt_is_understood() {
        let policy =
            "rustc-web:\n  Installed: (none)\n  Candidate: 1.96.0+dfsg1-1~deb12u2\n  Version table:\n";
        assert_eq!(candidate(policy).as_deref(), Some("1.96.0+dfsg1-1-deb12u2"));
        assert_eq!(candidate("rustc-web:\n  Candidate: (none)\n"), None);
        assert_eq!(candidate(""), None);
        let depends = "rustc-web\n  Depends: libc6\n  Depends: libstd-rust-web-dev\n |Depends: gcc\n  Depends: <libc-dev>\n    \
                       libc6-dev\n  Breaks: libstd-rust-dev\n";
        assert_eq!(dependencies(depends).collect::<Vec<_>>(), ["libc6", "libstd-rust-web-dev", "gcc"]);
    }
}
