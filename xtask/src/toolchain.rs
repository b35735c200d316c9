//! What compiles Rust to `wasm32-unknown-unknown`.
//!
//! In this order: the installed Rust, if it has the target; the same after `rustup target add`, where rustup can reach its
//! server; Debian's packages, unpacked without root ([`mod@debian`]), where it cannot. Whatever is found has compiled a small
//! crate before it is used.

mod debian;
pub(crate) mod go;
mod node;
pub(crate) mod packages;
#[path = "../../host/authoring/src/build/pins.rs"]
mod pins;
mod program;
mod python;

use crate::{process, registry, workspace::Workspace};
use anyhow::{Context, Result, bail};
use clap::ValueEnum;
use std::{
    env,
    ffi::OsString,
    fs,
    path::{Path, PathBuf},
    process::Command,
    thread,
    time::Duration,
};

pub(crate) const TARGET: &str = "wasm32-unknown-unknown";

/// How long `rustup target add` may take: 20 MB, but a server that cannot be reached must not stop us for long.
const RUSTUP_WITHIN: Duration = Duration::from_secs(180);

/// Finds or installs all that builds plugins, in each language, and the programs that tests run against; gives back what
/// compiles Rust.
pub(crate) fn setup(workspace: &Workspace, choice: Choice) -> Result<Wasm> {
    let wasm = find(workspace, choice)?;
    // Each waits for another server.
    thread::scope(|scope| {
        let others = [
            scope.spawn(|| go::install(workspace).map(|go| println!("{go} compiles Go to WebAssembly"))),
            scope.spawn(node::prepare),
            scope.spawn(|| python::prepare(workspace)),
            scope.spawn(|| registry::install(workspace)),
        ];
        others.into_iter().try_for_each(process::join)
    })?;
    Ok(wasm)
}

/// Which toolchain to use.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Choice {
    /// The first that works: rustup's target, else Debian's packages.
    Auto,
    /// The installed Rust with rustup's target.
    Rustup,
    /// Debian's packages, even if rustup's target is there.
    Debian,
}

/// A toolchain that was tried and works.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Wasm {
    /// The installed Rust.
    Installed,
    /// Another compiler, with what it needs in the environment.
    Debian(Vec<(String, OsString)>),
}

impl Wasm {
    /// For people.
    pub(crate) fn name(&self) -> &'static str {
        match self {
            Self::Installed => "the installed Rust",
            Self::Debian(_) => "Rust from Debian's packages",
        }
    }

    /// Folder below `target` for guests that it builds: two compilers must not overwrite each other's work.
    pub(crate) fn guests_folder(&self) -> &'static str {
        match self {
            Self::Installed => "guests",
            Self::Debian(_) => "guests-debian",
        }
    }

    /// Tells tests that build plugins themselves about it: `NAME=VALUE`, one a line, as the harness reads them. Cargo itself
    /// must go on with the installed Rust.
    pub(crate) fn tell_tests(&self, test: &mut Command) {
        let Self::Debian(environment) = self else { return };
        let lines: Vec<_> =
            environment.iter().map(|(name, value)| format!("{name}={}", value.to_string_lossy())).collect();
        test.env("SALVE_TEST_GUEST_ENVIRONMENT", lines.join("\n"));
    }

    /// Makes `cargo` use it.
    pub(crate) fn prepare(&self, cargo: &mut Command) {
        if let Self::Debian(environment) = self {
            cargo.envs(environment.iter().map(|(name, value)| (name, value)));
        }
    }
}

/// Finds a toolchain, or installs one and says so.
pub(crate) fn find(workspace: &Workspace, choice: Choice) -> Result<Wasm> {
    match choice {
        Choice::Rustup => installed(workspace),
        Choice::Debian => debian(workspace),
        Choice::Auto => installed(workspace).or_else(|error| {
            eprintln!("the installed Rust cannot compile to {TARGET} ({error:#}); trying Debian's packages");
            debian(workspace).with_context(|| {
                format!(
                    "found nothing that compiles Rust to {TARGET}; run `rustup target add {TARGET}` where rustup can \
                     reach its server, or work on a Debian system (the other way failed: {error:#})"
                )
            })
        }),
    }
}

fn installed(workspace: &Workspace) -> Result<Wasm> {
    if !has_standard_library(workspace)? {
        eprintln!("adding the target {TARGET} to the installed Rust: plugins are WebAssembly");
        process::run_within(
            Command::new("rustup").args(["target", "add", TARGET]).current_dir(&workspace.root),
            RUSTUP_WITHIN,
        )?;
    }
    let wasm = Wasm::Installed;
    try_out(workspace, &wasm)?;
    Ok(wasm)
}

fn debian(workspace: &Workspace) -> Result<Wasm> {
    let wasm = Wasm::Debian(debian::install(&cache(workspace)?)?);
    try_out(workspace, &wasm)?;
    Ok(wasm)
}

/// Whether the installed compiler has the target's `core`.
fn has_standard_library(workspace: &Workspace) -> Result<bool> {
    let folder = process::output(
        rustc().args(["--print", "target-libdir", "--target", TARGET]).current_dir(&workspace.root),
    )?;
    Ok(Path::new(folder.trim()).read_dir().is_ok_and(|items| {
        items.flatten().any(|item| item.file_name().to_string_lossy().starts_with("libcore-"))
    }))
}

pub(crate) fn rustc() -> Command {
    Command::new(env::var_os("RUSTC").unwrap_or_else(|| "rustc".into()))
}

/// Compiles and links a small crate: a toolchain can be there and not work.
fn try_out(workspace: &Workspace, wasm: &Wasm) -> Result<()> {
    let folder = workspace.target.join("toolchain-trial");
    let source = "#[unsafe(no_mangle)]\npub extern \"C\" fn answer() -> usize {\n    \
                  \"a string of the standard library\".to_string().len()\n}\n";
    let manifest = "[package]\nname = \"trial\"\nedition = \"2024\"\n\n[lib]\ncrate-type = [\"cdylib\"]\n\n[workspace]\n";
    write_crate(&folder, manifest, source)?;
    let mut build = Command::new(env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    build
        .current_dir(&folder)
        .args(["build", "--quiet", "--offline", "--release", "--target", TARGET, "--target-dir"])
        .arg(folder.join(wasm.guests_folder()));
    wasm.prepare(&mut build);
    process::run(&mut build).with_context(|| format!("{} is there but does not work", wasm.name()))?;
    let module = folder.join(wasm.guests_folder()).join(TARGET).join("release/trial.wasm");
    let bytes = fs::read(&module).with_context(|| format!("cannot read `{}`", module.display()))?;
    if !bytes.starts_with(b"\0asm") {
        bail!("{} wrote something that is not WebAssembly", wasm.name());
    }
    Ok(())
}

fn write_crate(folder: &Path, manifest: &str, source: &str) -> Result<()> {
    let writing = || format!("cannot write the crate `{}`", folder.display());
    fs::create_dir_all(folder.join("src")).with_context(writing)?;
    for (name, text) in [("Cargo.toml", manifest), ("src/lib.rs", source)] {
        let path = folder.join(name);
        // Left alone if it is the same: cargo looks at times.
        if fs::read_to_string(&path).is_ok_and(|there| there == text) {
            continue;
        }
        fs::write(path, text).with_context(writing)?;
    }
    Ok(())
}

/// Where downloads are kept from one clone to the next: the user's cache folder, else the target folder.
pub(crate) fn cache(workspace: &Workspace) -> Result<PathBuf> {
    let below_home = env::var_os("HOME").map(|home| Path::new(&home).join(".cache"));
    let user =
        env::var_os("XDG_CACHE_HOME").map(PathBuf::from).filter(|path| path.is_absolute()).or(below_home);
    let candidates = [user.map(|folder| folder.join("salve")), Some(workspace.target.join("toolchain"))];
    candidates
        .into_iter()
        .flatten()
        .find(|folder| fs::create_dir_all(folder).is_ok())
        .context("neither the cache folder nor the target folder can be written")
}
