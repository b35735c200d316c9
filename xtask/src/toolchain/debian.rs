//! Rust for WebAssembly from Debian's packages, without root.
//!
//! Debian's `rustc-web` is recent enough, but its own WebAssembly standard library is not. So: download the compiler and
//! the library's source, unpack them in a folder of our own, and build the standard library once from that source with that
//! compiler. Its linker for WebAssembly is taken from the installed Rust.

use super::{TARGET, rustc, write_crate};
use crate::process;
use anyhow::{Context, Result, bail, ensure};
use std::{
    collections::BTreeSet,
    env,
    ffi::OsString,
    fs::{self, File},
    path::{Path, PathBuf},
    process::Command,
};

/// What is asked for by name; the packages that hold their libraries carry versions in theirs, so apt is asked for those.
const PACKAGES: [&str; 2] = ["rustc-web", "rust-web-src"];

/// File that says that all packages are unpacked. Written last: what a broken run left is made again.
const UNPACKED: &str = "unpacked";

/// File that says that the standard library is built.
const BUILT: &str = "built";

/// Dependencies that are worth unpacking; the others are part of any system that compiles Rust.
fn is_part(package: &str) -> bool {
    package.starts_with("libstd-rust-web") || package.starts_with("libllvm")
}

/// Unpacked and built below `cache`; gives back the environment that makes cargo use it.
pub(super) fn install(cache: &Path) -> Result<Vec<(String, OsString)>> {
    let linker = linker()?;
    let root = fetch(cache)?;
    let _lock = lock(cache)?;
    let installed = Installed { root, linker };
    let built = installed.root.join(BUILT);
    if !built.is_file() {
        installed.build_standard_library()?;
        fs::write(&built, "").with_context(|| format!("cannot write `{}`", built.display()))?;
    }
    installed.environment()
}

/// Downloads and unpacks the packages, if they are not here yet; gives back the folder in which they are.
pub(super) fn fetch(cache: &Path) -> Result<PathBuf> {
    let _lock = lock(cache)?;
    let apt = Apt::find(cache)?;
    let root = cache.join(format!("rust-debian-{}", apt.version(PACKAGES[0])?));
    let unpacked = root.join(UNPACKED);
    if unpacked.is_file() {
        return Ok(root);
    }
    let packages = apt.packages()?;
    eprintln!(
        "downloading {} from Debian into {} (about 140 MB), to compile plugins to WebAssembly",
        packages.iter().map(String::as_str).collect::<Vec<_>>().join(", "),
        cache.display()
    );
    if root.exists() {
        fs::remove_dir_all(&root).with_context(|| format!("cannot remove `{}`", root.display()))?;
    }
    apt.unpack(&packages, &root)?;
    fs::write(&unpacked, "").with_context(|| format!("cannot write `{}`", unpacked.display()))?;
    Ok(root)
}

/// One xtask at a time works in `cache`.
fn lock(cache: &Path) -> Result<File> {
    let path = cache.join("lock");
    let locking = || format!("cannot lock `{}`", path.display());
    let file = File::create(&path).with_context(locking)?;
    file.lock().with_context(locking)?;
    Ok(file)
}

/// The installed Rust's own linker for WebAssembly.
fn linker() -> Result<PathBuf> {
    let sysroot = process::output(rustc().args(["--print", "sysroot"]))?;
    let host = process::output(rustc().args(["--print", "host-tuple"]))?;
    let linker = Path::new(sysroot.trim()).join("lib/rustlib").join(host.trim()).join("bin").join("rust-lld");
    ensure!(
        linker.is_file(),
        "the installed Rust has no `{}`, which links WebAssembly; install Rust by rustup",
        linker.display()
    );
    Ok(linker)
}

/// `apt-get` and `apt-cache`, with package lists of our own if the system has none that know the packages.
struct Apt {
    options: Vec<OsString>,
}

impl Apt {
    fn find(cache: &Path) -> Result<Self> {
        for program in ["apt-get", "apt-cache", "dpkg-deb"] {
            process::output(Command::new(program).arg("--version"))
                .context("this way needs a Debian system")?;
        }
        // As root, apt would drop to a user that cannot write here; to others the option means nothing.
        let sandbox = "-oAPT::Sandbox::User=root";
        let system = Self { options: vec![sandbox.into()] };
        if system.knows_packages() {
            return Ok(system);
        }
        let lists = cache.join("apt");
        fs::create_dir_all(lists.join("lists/partial"))
            .and_then(|()| fs::create_dir_all(lists.join("cache/archives/partial")))
            .with_context(|| format!("cannot create `{}`", lists.display()))?;
        let option = |name: &str, folder: &str| {
            let mut option = OsString::from(format!("-o{name}="));
            option.push(lists.join(folder));
            option
        };
        let own = Self {
            options: vec![
                option("Dir::State::Lists", "lists"),
                option("Dir::Cache", "cache"),
                sandbox.into(),
            ],
        };
        eprintln!(
            "updating Debian's package lists in {}: the system's do not know {}",
            lists.display(),
            PACKAGES[0]
        );
        process::run(Command::new("apt-get").args(&own.options).args(["-q", "update"]))?;
        ensure!(own.knows_packages(), "Debian's package lists here have no `{}`", PACKAGES[0]);
        Ok(own)
    }

    fn knows_packages(&self) -> bool {
        PACKAGES.iter().all(|package| self.version(package).is_ok())
    }

    /// The version that would be downloaded.
    fn version(&self, package: &str) -> Result<String> {
        let text = process::output(
            Command::new("apt-cache").args(&self.options).args(["policy", package]).env("LC_ALL", "C"),
        )?;
        candidate(&text).with_context(|| format!("apt knows no package `{package}`"))
    }

    /// [`PACKAGES`] and those of their dependencies that matter, all the way down.
    fn packages(&self) -> Result<BTreeSet<String>> {
        let mut found: BTreeSet<String> = PACKAGES.map(str::to_owned).into();
        let mut open: Vec<String> = found.iter().cloned().collect();
        while let Some(package) = open.pop() {
            let text = process::output(
                Command::new("apt-cache").args(&self.options).args(["depends", &package]).env("LC_ALL", "C"),
            )?;
            for dependency in dependencies(&text).filter(|dependency| is_part(dependency)) {
                if found.insert(dependency.to_owned()) {
                    open.push(dependency.to_owned());
                }
            }
        }
        Ok(found)
    }

    /// Downloads `packages` and unpacks them in `root`.
    fn unpack(&self, packages: &BTreeSet<String>, root: &Path) -> Result<()> {
        let downloads = root.join("downloads");
        fs::create_dir_all(&downloads).with_context(|| format!("cannot create `{}`", downloads.display()))?;
        process::run(
            Command::new("apt-get")
                .args(&self.options)
                .args(["-q", "download"])
                .args(packages)
                .current_dir(&downloads),
        )?;
        let listing = || format!("cannot read `{}`", downloads.display());
        for file in fs::read_dir(&downloads).with_context(listing)? {
            let file = file.with_context(listing)?.path();
            process::run(Command::new("dpkg-deb").arg("-x").arg(&file).arg(root))?;
        }
        fs::remove_dir_all(&downloads).with_context(|| format!("cannot remove `{}`", downloads.display()))
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

/// The unpacked packages.
struct Installed {
    root: PathBuf,
    linker: PathBuf,
}

impl Installed {
    fn environment(&self) -> Result<Vec<(String, OsString)>> {
        let libraries = self.root.join("usr/lib");
        let multiarch = format!("{}-linux-gnu", env::consts::ARCH);
        let folder = libraries.join(multiarch);
        ensure!(folder.is_dir(), "Debian's packages have no `{}`", folder.display());
        let mut search = OsString::from(folder);
        if let Some(others) = env::var_os("LD_LIBRARY_PATH") {
            search.push(":");
            search.push(others);
        }
        Ok(vec![
            ("RUSTC".into(), self.root.join("usr/bin/rustc").into()),
            ("LD_LIBRARY_PATH".into(), search),
            (cargo_variable("LINKER"), self.linker.clone().into()),
        ])
    }

    /// The standard library for WebAssembly, from the packaged source, into the unpacked compiler's own folder.
    fn build_standard_library(&self) -> Result<()> {
        eprintln!("building Rust's standard library for {TARGET}, once (about a minute)");
        let folder = self.root.join("standard-library");
        let manifest = "[package]\nname = \"empty\"\nedition = \"2024\"\n\n[workspace]\n";
        write_crate(&folder, manifest, "#![no_std]\n")?;
        let mut build = Command::new(env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
        build
            .current_dir(&folder)
            .args([
                "build",
                "--quiet",
                "--release",
                "-Zbuild-std=std,panic_abort",
                "--target",
                TARGET,
                "--target-dir",
            ])
            .arg(folder.join("target"))
            .envs(self.environment()?)
            // `-Zbuild-std` is not stable; the compiler and the source are of one version, which is all it needs.
            .env("RUSTC_BOOTSTRAP", "1")
            .env(cargo_variable("RUSTFLAGS"), "-Cembed-bitcode=yes");
        process::run(&mut build)?;
        let built = folder.join("target").join(TARGET).join("release/deps");
        let into = self.root.join("usr/lib/rustlib").join(TARGET).join("lib");
        fs::create_dir_all(&into).with_context(|| format!("cannot create `{}`", into.display()))?;
        let mut copied = 0;
        let listing = || format!("cannot read `{}`", built.display());
        for file in fs::read_dir(&built).with_context(listing)? {
            let file = file.with_context(listing)?;
            let name = file.file_name().to_string_lossy().into_owned();
            if name.ends_with(".rlib") && !name.starts_with("libempty-") {
                fs::copy(file.path(), into.join(&name)).with_context(|| format!("cannot copy `{name}`"))?;
                copied += 1;
            }
        }
        if copied == 0 {
            bail!("the standard library was built, but `{}` has no part of it", built.display());
        }
        fs::remove_dir_all(&folder).with_context(|| format!("cannot remove `{}`", folder.display()))
    }
}

/// Cargo's variable for a setting of the WebAssembly target.
fn cargo_variable(setting: &str) -> String {
    format!("CARGO_TARGET_{}_{setting}", TARGET.to_uppercase().replace('-', "_"))
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
        assert!(is_part("libstd-rust-web-1.96") && is_part("libllvm22") && !is_part("libc6"));
        assert_eq!(cargo_variable("LINKER"), "CARGO_TARGET_WASM32_UNKNOWN_UNKNOWN_LINKER");
    }
}
