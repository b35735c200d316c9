//! Each SDK as its language's registry takes it: packed by the tools that publish it, unpacked elsewhere, used by a new project
//! that asks the registry for it. Nothing is fetched: where a registry would be asked, the package itself answers.

#[path = "support/desk.rs"]
mod desk;

use anyhow::{Context, Result, ensure};
use desk::{Desk, Said};
use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

const VERSION: &str = env!("CARGO_PKG_VERSION");

fn run(command: &mut Command) -> Result<()> {
    let shown = format!("{command:?}");
    let output =
        command.output().with_context(|| format!("cannot start {shown}; `cargo xtask setup` first"))?;
    let said = Said::of(&output);
    ensure!(said.code == 0, "{shown}: {}", said.all());
    Ok(())
}

fn unpack(archive: &Path, folder: &Path) -> Result<()> {
    fs::create_dir_all(folder)?;
    run(Command::new("tar").arg("xzf").arg(archive).arg("-C").arg(folder))
}

/// The only item of a folder whose name ends so.
fn only(folder: &Path, ending: &str) -> Result<PathBuf> {
    let mut found = fs::read_dir(folder)?.flatten().map(|item| item.path());
    let fits = |path: &PathBuf| path.to_string_lossy().ends_with(ending);
    found.find(fits).with_context(|| format!("no `{ending}` in `{}`", folder.display()))
}

/// Copies a folder as a checkout has it.
fn copy(from: &Path, to: &Path) -> Result<()> {
    fs::create_dir_all(to)?;
    for item in fs::read_dir(from)? {
        let path = item?.path();
        let name = path.file_name().context("no name")?.to_owned();
        if name == "__pycache__" || name.to_string_lossy().ends_with(".egg-info") {
            continue;
        }
        if path.is_dir() { copy(&path, &to.join(name))? } else { fs::copy(&path, to.join(name)).map(drop)? }
    }
    Ok(())
}

/// What registries show to people, and what the licence asks for, is in the package.
fn has_papers(package: &Path) -> Result<()> {
    let licence = fs::read(salve_tests::root().join("LICENSE"))?;
    ensure!(fs::read(package.join("LICENSE"))? == licence, "not the project's licence");
    ensure!(fs::read_to_string(package.join("README.md"))?.starts_with("# "), "no README");
    Ok(())
}

/// A project that takes its SDK from the registry.
fn project(desk: &Desk, language: &str) -> Result<PathBuf> {
    desk.salve(&["new", "mine", "--role", "action", "--lang", language, "--sdk", "registry"])?.good();
    Ok(desk.path("mine"))
}

/// Builds the project and runs its cases.
fn works(desk: &Desk, with: impl Fn(&mut Command) -> &mut Command) -> Result<()> {
    for command in ["build", "test"] {
        Said::of(&with(&mut desk.command(&[command, "mine"])).output()?).good();
    }
    Ok(())
}

/// Guarantees: the crate that `cargo publish` would send holds the contract and depends on nothing unpublished: a new plugin
/// builds with it.
#[test]
fn rust_crate() -> Result<()> {
    let desk = Desk::new()?;
    let target = desk.path("target");
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    run(Command::new(cargo)
        .args([
            "package",
            "--package",
            "salve-plugin",
            "--offline",
            "--no-verify",
            "--allow-dirty",
            "--quiet",
        ])
        .arg("--target-dir")
        .arg(&target)
        .current_dir(salve_tests::root()))?;
    unpack(&target.join(format!("package/salve-plugin-{VERSION}.crate")), &desk.path("package"))?;
    let package = desk.path("package").join(format!("salve-plugin-{VERSION}"));
    has_papers(&package)?;
    for file in fs::read_dir(salve_tests::root().join("wit"))?.flatten() {
        let packed = package.join("wit").join(file.file_name());
        ensure!(fs::read(&packed)? == fs::read(file.path())?, "`{}` is another contract", packed.display());
    }
    let manifest = fs::read_to_string(package.join("Cargo.toml"))?;
    ensure!(!manifest.contains("\npath = \"..") && !manifest.contains("publish = false"), "{manifest}");

    let folder = project(&desk, "rust")?;
    fs::copy(salve_tests::root().join("Cargo.lock"), folder.join("Cargo.lock"))?;
    fs::create_dir(desk.path(".cargo"))?;
    let instead = format!("[patch.crates-io]\nsalve-plugin = {{ path = '{}' }}\n", package.display());
    fs::write(desk.path(".cargo/config.toml"), instead)?;
    works(&desk, |command| command.env("CARGO_NET_OFFLINE", "true"))
}

/// Packs all files of a folder, and no entries for folders: Go takes none.
const ZIP_FILES: &str = "import pathlib, sys, zipfile
with zipfile.ZipFile(sys.argv[1], 'w') as packed:
    for path in pathlib.Path('.').rglob('*'):
        if path.is_file(): packed.write(path)";

/// Guarantees: the module that Go's proxy would make of `sdk/go` is whole; a new plugin builds with it and passes its tests, also
/// before it has a `go.sum`.
#[test]
fn go_module() -> Result<()> {
    const MODULE: &str = "github.com/salve-healing/salve/sdk/go";
    let desk = Desk::new()?;
    let sdk = salve_tests::root().join("sdk/go");
    let packed = desk.path("packed");
    copy(&sdk, &packed.join(format!("{MODULE}@v{VERSION}")))?;
    has_papers(&packed.join(format!("{MODULE}@v{VERSION}")))?;
    let versions = desk.path("proxy").join(MODULE).join("@v");
    fs::create_dir_all(&versions)?;
    let place = |ending: &str| versions.join(format!("v{VERSION}.{ending}"));
    run(Command::new("python3").args(["-c", ZIP_FILES]).arg(place("zip")).current_dir(&packed))?;
    fs::copy(sdk.join("go.mod"), place("mod"))?;
    fs::write(place("info"), format!("{{\"Version\":\"v{VERSION}\"}}"))?;

    let folder = project(&desk, "go")?;
    let proxy = format!("file://{}", desk.path("proxy").display());
    let modules = desk.path("modules");
    let with = |command: &mut Command| {
        command.envs([("GOPROXY", proxy.as_str()), ("GOSUMDB", "off"), ("GOFLAGS", "-modcacherw")]);
        command.env("GOMODCACHE", &modules);
    };
    works(&desk, |command| {
        with(command);
        command
    })?;
    let mut test = Command::new("go");
    with(&mut test);
    run(test.args(["test", "./..."]).current_dir(folder))
}

/// Guarantees: the package that `npm publish` would send holds all that a new plugin needs to build and to pass its tests.
#[test]
fn npm_package() -> Result<()> {
    let desk = Desk::new()?;
    run(Command::new("npm")
        .args(["pack", "--offline", "--silent", "--pack-destination"])
        .arg(desk.path(""))
        .current_dir(salve_tests::root().join("sdk/js")))?;
    let archive = desk.path(&format!("salve-plugin-{VERSION}.tgz"));
    let folder = project(&desk, "js")?;
    run(Command::new("npm")
        .args(["install", "--offline", "--no-save", "--no-package-lock", "--no-audit", "--no-fund"])
        .arg(&archive)
        .current_dir(&folder))?;
    let installed = folder.join("node_modules/salve-plugin");
    ensure!(!installed.is_symlink(), "npm linked it");
    has_papers(&installed)?;
    works(&desk, |command| command)?;
    run(Command::new("npm").arg("test").current_dir(folder))
}

/// Guarantees: what PyPI would take, a source distribution and the wheel that is made of it, holds all that a new plugin needs to
/// build and to pass its tests.
#[test]
fn python_distributions() -> Result<()> {
    let desk = Desk::new()?;
    copy(&salve_tests::root().join("sdk/python"), &desk.path("sdk"))?;
    let packed = desk.path("packed");
    fs::create_dir(&packed)?;
    let pack = |what: &str, from: &Path| {
        let call = format!("from setuptools import build_meta as b; b.build_{what}(r'{}')", packed.display());
        let tool = salve_tests::built("tools/python-packaging");
        run(Command::new("python3").args(["-c", &call]).env("PYTHONPATH", tool).current_dir(from))
    };
    pack("sdist", &desk.path("sdk"))?;
    unpack(&only(&packed, ".tar.gz")?, &desk.path("source"))?;
    let source = only(&desk.path("source"), VERSION)?;
    has_papers(&source)?;
    pack("wheel", &source)?;

    let folder = project(&desk, "python")?;
    let packages = folder.join(".venv/lib/python3/site-packages");
    fs::create_dir_all(&packages)?;
    run(Command::new("python3").args(["-m", "zipfile", "-e"]).arg(only(&packed, ".whl")?).arg(&packages))?;
    ensure!(packages.join("salve_plugin/py.typed").is_file(), "types are not said to be there");
    works(&desk, |command| command)?;
    run(Command::new("python3").args(["-m", "unittest"]).env("PYTHONPATH", &packages).current_dir(folder))
}
