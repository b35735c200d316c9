//! Plugins: from crates to core modules, from core modules to components.

use crate::{
    dist, process,
    toolchain::{TARGET, Wasm},
    workspace::{Guest, Workspace},
};
use anyhow::{Context, Result, ensure};
use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

/// What compiles guests to core modules, and the folder in which those will be.
fn compiler(workspace: &Workspace, wasm: &Wasm, guests: &[Guest]) -> Result<(Command, PathBuf)> {
    ensure!(!guests.is_empty(), "no crate below `plugins` has a `plugin.toml`");
    let target = workspace.target.join(wasm.guests_folder());
    let mut build = workspace.cargo(&["build", "--release", "--target", TARGET, "--target-dir"]);
    build.arg(&target);
    for guest in guests {
        build.args(["-p", &guest.package]);
    }
    wasm.prepare(&mut build);
    Ok((build, target.join(TARGET).join("release")))
}

/// Builds every guest into `target/dist/plugins`; plugins that are no more are removed from it.
pub(crate) fn build(workspace: &Workspace, wasm: &Wasm) -> Result<()> {
    let guests = workspace.guests();
    let (mut compiler, modules) = compiler(workspace, wasm, &guests)?;
    process::run(&mut compiler)?;
    let plugins = workspace.dist().join("plugins");
    dist::create(&plugins)?;
    let wanted = pack(workspace, &guests, &modules, &plugins)?;
    for item in fs::read_dir(&plugins).with_context(|| format!("cannot read `{}`", plugins.display()))? {
        let path = item.with_context(|| format!("cannot read `{}`", plugins.display()))?.path();
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        if name.ends_with(".wasm") && !wanted.contains(&name) {
            fs::remove_file(&path).with_context(|| format!("cannot remove `{}`", path.display()))?;
        }
    }
    pin(workspace, &plugins, &wanted)?;
    eprintln!("{} plugins in {}", guests.len(), plugins.display());
    Ok(())
}

/// Builds one guest of each role, to see that this compiler can. Others would show nothing more. Quietly: other things are
/// said at the time.
pub(crate) fn try_out(workspace: &Workspace, wasm: &Wasm) -> Result<()> {
    const ONE_OF_EACH_ROLE: [&str; 3] = ["holt-winters", "analyst", "restart-process"];
    let mut guests = workspace.guests();
    guests.retain(|guest| ONE_OF_EACH_ROLE.contains(&guest.package.as_str()));
    ensure!(guests.len() == ONE_OF_EACH_ROLE.len(), "one of {ONE_OF_EACH_ROLE:?} is no plugin any more");
    let (mut compiler, modules) = compiler(workspace, wasm, &guests)?;
    process::run(&mut process::nicely(compiler.arg("--quiet")))?;
    let components = modules.join("components");
    dist::create(&components)?;
    pack(workspace, &guests, &modules, &components).map(drop)
}

/// Makes components of core modules, which only works if those fit the contract; gives back the names of the files.
fn pack(workspace: &Workspace, guests: &[Guest], modules: &Path, into: &Path) -> Result<Vec<String>> {
    let mut names = Vec::new();
    for guest in guests {
        let name = format!("{}.wasm", guest.package);
        process::run(
            Command::new(workspace.release("salve"))
                .args(["plugin", "pack"])
                .arg(modules.join(&guest.module))
                .arg("--manifest")
                .arg(&guest.manifest)
                .arg("--out")
                .arg(into.join(&name)),
        )?;
        names.push(name);
    }
    Ok(names)
}

/// Writes the digests of what was just built into the lock file beside it: who builds Salve trusts what they built, and
/// what they ship is refused if it was changed.
fn pin(workspace: &Workspace, plugins: &Path, names: &[String]) -> Result<()> {
    let mut pin = Command::new(workspace.release("salve"));
    pin.args(["plugin", "pin", "--json", "--afresh", "--lock-file"])
        .arg(plugins.join("salve-plugins.lock"))
        .args(names.iter().map(|name| plugins.join(name)));
    process::output(&mut pin).map(drop)
}
