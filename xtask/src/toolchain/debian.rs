//! Rust for WebAssembly from Debian's packages, without root.
//!
//! Debian's `rustc-web` is recent enough, but its own WebAssembly standard library is not. So: download the compiler and
//! the library's source, unpack them in a folder of our own, and build the standard library once from that source with that
//! compiler. Its linker for WebAssembly is taken from the installed Rust.

use super::{
    TARGET,
    packages::{Apt, Wanted, lock},
    rustc, write_crate,
};
use crate::process;
use anyhow::{Context, Result, bail, ensure};
use std::{
    env,
    ffi::OsString,
    fs,
    path::{Path, PathBuf},
    process::Command,
};

/// The compiler and the library's source; the packages that hold its libraries carry versions in their names.
const WANTED: Wanted = Wanted {
    names: &["rustc-web", "rust-web-src"],
    part: |package| package.starts_with("libstd-rust-web") || package.starts_with("libllvm"),
    why: "about 140 MB, to compile plugins to WebAssembly",
};

/// File that says that the standard library is built.
const BUILT: &str = "built";

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
fn fetch(cache: &Path) -> Result<PathBuf> {
    let apt = Apt::find(WANTED.names, cache)?;
    // Of each version a folder: a standard library fits one compiler only.
    let root = cache.join(format!("rust-debian-{}", apt.version(WANTED.names[0])?));
    apt.unpack(&WANTED, &root)?;
    Ok(root)
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
        process::run(&mut process::nicely(&build))?;
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

    /// Guarantees: of the compiler's dependencies those are taken that hold its own libraries; cargo is told where the linker is.
    #[test]
    fn parts() {
        let is_part = WANTED.part;
        assert!(is_part("libstd-rust-web-1.96") && is_part("libllvm22") && !is_part("libc6"));
        assert_eq!(cargo_variable("LINKER"), "CARGO_TARGET_WASM32_UNKNOWN_UNKNOWN_LINKER");
    }
}
