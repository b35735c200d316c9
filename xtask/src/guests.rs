//! Plugins: from crates to core modules, from core modules to components.

use crate::{
    dist, process,
    toolchain::{TARGET, Wasm},
    workspace::Workspace,
};
use anyhow::{Context, Result, ensure};
use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

/// Compiles every guest to a core module; gives back the folder in which they are.
pub(crate) fn compile(workspace: &Workspace, wasm: &Wasm) -> Result<PathBuf> {
    let guests = workspace.guests();
    ensure!(!guests.is_empty(), "no crate below `plugins` has a `plugin.toml`");
    let target = workspace.target.join(wasm.guests_folder());
    let mut build = workspace.cargo(&["build", "--release", "--target", TARGET, "--target-dir"]);
    build.arg(&target);
    for guest in &guests {
        build.args(["-p", &guest.package]);
    }
    wasm.prepare(&mut build);
    process::run(&mut build)?;
    Ok(target.join(TARGET).join("release"))
}

/// Builds every guest into `target/dist/plugins`; plugins that are no more are removed from it.
pub(crate) fn build(workspace: &Workspace, wasm: &Wasm) -> Result<()> {
    let modules = compile(workspace, wasm)?;
    let guests = workspace.guests();
    let plugins = workspace.dist().join("plugins");
    dist::create(&plugins)?;
    let mut wanted = Vec::new();
    for guest in &guests {
        let name = format!("{}.wasm", guest.package);
        process::run(
            Command::new(workspace.release("salve"))
                .args(["plugin", "pack"])
                .arg(modules.join(&guest.module))
                .arg("--manifest")
                .arg(&guest.manifest)
                .arg("--out")
                .arg(plugins.join(&name)),
        )?;
        wanted.push(name);
    }
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

/// Writes the digests of what was just built into the lock file beside it: who builds Salve trusts what they built, and
/// what they ship is refused if it was changed.
fn pin(workspace: &Workspace, plugins: &Path, names: &[String]) -> Result<()> {
    let mut pin = Command::new(workspace.release("salve"));
    pin.args(["plugin", "pin", "--json", "--afresh", "--lock-file"])
        .arg(plugins.join("salve-plugins.lock"))
        .args(names.iter().map(|name| plugins.join(name)));
    process::output(&mut pin).map(drop)
}
