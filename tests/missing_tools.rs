//! `salve plugin build` on machines that lack something: a compiler, a package manager, a target, the way to a registry. Each time
//! the message names what is missing and what to do, the exit code is 2, what was built before stays, and nothing half made does.

#[path = "support/desk.rs"]
mod desk;

use anyhow::{Context, Result, ensure};
use desk::{Desk, Said};
use std::{
    fs,
    os::unix::fs::{PermissionsExt, symlink},
    path::{Path, PathBuf},
    process::Command,
};

/// Nobody listens there.
const NOWHERE: &str = "http://127.0.0.1:1";
const EARLIER: &[u8] = b"built earlier";

/// A project with a component of an earlier build, a cache without tools, and a folder of programs.
struct Machine {
    desk: Desk,
    folder: PathBuf,
}

impl Machine {
    fn new(language: &str) -> Result<Self> {
        let desk = Desk::new()?;
        let folder = desk.new_project_in(language, "mine", "agent")?;
        for name in ["programs", "cache"] {
            fs::create_dir(desk.path(name))?;
        }
        fs::create_dir_all(folder.join("build"))?;
        fs::write(folder.join("build/mine.wasm"), EARLIER)?;
        Ok(Self { desk, folder })
    }

    /// Adds a program of this machine to those that can be found.
    fn program(&self, name: &str) -> Result<()> {
        Ok(symlink(which(name)?, self.desk.path("programs").join(name))?)
    }

    /// Adds a program that is a script of the shell.
    fn script(&self, name: &str, text: &str) -> Result<PathBuf> {
        let path = self.desk.path("programs").join(name);
        fs::write(&path, format!("#!/bin/sh\n{text}\n"))?;
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755))?;
        Ok(path)
    }

    /// `salve plugin build` with only these programs, an empty cache, and `change`d by the test.
    fn build(&self, change: impl FnOnce(&mut Command) -> &mut Command) -> Result<Said> {
        let mut build = self.desk.command(&["build", "mine"]);
        build
            .env("PATH", self.desk.path("programs"))
            .env("XDG_CACHE_HOME", self.desk.path("cache"))
            .env_remove("CARGO");
        Ok(Said::of(&change(&mut build).output()?))
    }

    /// It failed with these words, and left the machine as it was.
    fn refused(&self, said: Said, words: &[&str]) -> Result<()> {
        let said = said.failed(2, words);
        ensure!(said.err.contains("hint: "), "no hint: {}", said.all());
        ensure!(fs::read(self.folder.join("build/mine.wasm"))? == EARLIER, "the earlier component is gone");
        let made: Vec<_> = walk(&self.folder.join("build"))?;
        ensure!(
            made.iter().filter(|path| path.extension().is_some_and(|ending| ending == "wasm")).count() == 1,
            "half made: {made:?}"
        );
        let tools = self.desk.path("cache/salve/tools");
        let installed: Vec<_> =
            if tools.is_dir() { fs::read_dir(tools)?.flatten().collect() } else { Vec::new() };
        // The SDK's copy is whole, and needs nobody.
        let half: Vec<_> =
            installed.iter().filter(|item| !item.file_name().to_string_lossy().starts_with("sdk-")).collect();
        ensure!(half.is_empty(), "half installed: {half:?}");
        Ok(())
    }
}

/// All files below a folder.
fn walk(folder: &Path) -> Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    for item in fs::read_dir(folder)? {
        let path = item?.path();
        if path.is_dir() { found.extend(walk(&path)?) } else { found.push(path) }
    }
    Ok(found)
}

/// Where a program of this machine stands.
fn which(name: &str) -> Result<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path)
        .map(|folder| folder.join(name))
        .find(|program| program.is_file())
        .with_context(|| format!("`{name}` is missing\n\nhint: run `cargo xtask setup` first"))
}

fn said_by(command: &mut Command) -> Result<String> {
    Ok(String::from_utf8(command.output()?.stdout)?.trim().to_owned())
}

/// The interpreter itself: what is in PATH may be a script that looks for it.
fn python() -> Result<String> {
    said_by(Command::new("python3").args(["-c", "import sys; print(sys.executable)"]))
}

/// Guarantees: a machine without the language's compiler is told which one, and where to get it.
#[test]
fn no_compiler() -> Result<()> {
    for (language, words) in [
        (
            "rust",
            &["cannot find `cargo`, which builds plugins in Rust", "rustup.rs", "rustup target add wasm32"][..],
        ),
        ("go", &["cannot find `go` 1.24 or newer, which builds plugins in Go", "go.dev/dl"]),
        ("js", &["cannot find `node`, which builds plugins in JavaScript", "nodejs.org"]),
        ("python", &["cannot find `python3`, which builds plugins in Python", "python.org"]),
    ] {
        let machine = Machine::new(language)?;
        machine.refused(machine.build(|build| build)?, words).with_context(|| language.to_owned())?;
    }
    Ok(())
}

/// Scenario: the language is there, its package manager is not. Guarantees: that is what is named.
#[test]
fn no_package_manager() -> Result<()> {
    let machine = Machine::new("js")?;
    machine.program("node")?;
    machine
        .refused(machine.build(|build| build)?, &["cannot find `npm`, which builds plugins in JavaScript"])?;

    let machine = Machine::new("python")?;
    // Without `site`, Python sees no packages: as where pip is not installed.
    machine.script("python3", &format!("exec '{}' -S \"$@\"", python()?))?;
    machine.refused(
        machine.build(|build| build)?,
        &["cannot find `pip`, which builds plugins in Python", "apt-get install python3 python3-pip"],
    )
}

/// Scenario: an old Go. Guarantees: it is told from one that works before it says something that helps nobody.
#[test]
fn an_old_compiler() -> Result<()> {
    let machine = Machine::new("go")?;
    machine.script("go", "echo go1.19.8")?;
    machine.refused(machine.build(|build| build)?, &["cannot find `go` 1.24 or newer", "go.dev/dl"])
}

/// Scenario: Rust without the standard library of WebAssembly. Guarantees: the command that installs it is said.
#[test]
fn no_target() -> Result<()> {
    let machine = Machine::new("rust")?;
    let sysroot = said_by(Command::new("rustc").args(["--print", "sysroot"]))?;
    let host = said_by(Command::new("rustc").args(["--print", "host-tuple"]))?;
    let bare = machine.desk.path("sysroot/lib/rustlib");
    fs::create_dir_all(&bare)?;
    symlink(Path::new(&sysroot).join("lib/rustlib").join(&host), bare.join(&host))?;
    let rustc = machine.script(
        "rustc",
        &format!("exec '{sysroot}/bin/rustc' --sysroot '{}' \"$@\"", machine.desk.path("sysroot").display()),
    )?;
    let cargo = Path::new(&sysroot).join("bin/cargo");
    let path = std::env::var_os("PATH").unwrap_or_default();
    let said = machine.build(|build| build.env("RUSTC", rustc).env("CARGO", cargo).env("PATH", path))?;
    machine.refused(
        said,
        &[
            "cannot compile to WebAssembly: `",
            "can't find crate for",
            "Run `rustup target add wasm32-unknown-unknown`.",
        ],
    )
}

/// Scenario: the registries of packages are down, on a machine that has none of them yet.
/// Guarantees: the step that needed them is named with the reason, and what to do; no tool is half installed.
#[test]
fn no_registry() -> Result<()> {
    let machine = Machine::new("js")?;
    for program in ["node", "npm"] {
        machine.program(program)?;
    }
    let said = machine.build(|build| {
        build
            .env("npm_config_registry", NOWHERE)
            .env("npm_config_fetch_retries", "0")
            .env("npm_config_cache", machine.desk.path("npm"))
    })?;
    machine.refused(
        said,
        &[
            "cannot install componentize-qjs@",
            "reason: connect ECONNREFUSED",
            "If the network is down",
            "npm install --save-dev",
        ],
    )?;

    let machine = Machine::new("python")?;
    machine.script("python3", &format!("exec '{}' \"$@\"", python()?))?;
    let said = machine.build(|build| {
        build.env("PIP_INDEX_URL", NOWHERE).env("PIP_RETRIES", "0").env("PIP_NO_CACHE_DIR", "1")
    })?;
    machine.refused(
        said,
        &[
            "cannot install componentize-py==",
            "If the network is down",
            "python3 -m pip install componentize-py==",
        ],
    )?;

    let machine = Machine::new("go")?;
    machine.program("go")?;
    let modules = fs::read_to_string(machine.folder.join("go.mod"))?;
    let published: Vec<_> = modules.lines().filter(|line| !line.starts_with("replace ")).collect();
    ensure!(published.len() < modules.lines().count(), "the SDK is not replaced: {modules}");
    fs::write(machine.folder.join("go.mod"), published.join("\n"))?;
    let said = machine.build(|build| {
        build
            .envs([("GOPROXY", NOWHERE), ("GOSUMDB", "off"), ("GOFLAGS", "-mod=mod -modcacherw")])
            .env("GOMODCACHE", machine.desk.path("modules"))
            .env("GOCACHE", machine.desk.path("go"))
            .env("HOME", machine.desk.path("cache"))
    })?;
    machine.refused(
        said,
        &["cannot compile to WebAssembly: `go build", "connection refused", "cannot be reached"],
    )?;

    let machine = Machine::new("rust")?;
    let sysroot = said_by(Command::new("rustc").args(["--print", "sysroot"]))?;
    let path = std::env::var_os("PATH").unwrap_or_default();
    let said = machine.build(|build| {
        build
            .env("PATH", path)
            .env("CARGO", Path::new(&sysroot).join("bin/cargo"))
            .env("CARGO_HOME", machine.desk.path("cargo"))
            .envs([("CARGO_HTTP_PROXY", NOWHERE), ("CARGO_NET_RETRY", "0")])
    })?;
    machine.refused(said, &["cannot compile to WebAssembly: `", "cannot be reached"])
}
