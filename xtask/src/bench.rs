//! Benchmarks: those of the workspace, then the peers that the same work is measured on.

use crate::{
    dist, process,
    toolchain::{self, Choice, TARGET},
    workspace::Workspace,
};
use anyhow::Result;
use std::process::Command;

/// Builds what is measured, and measures it. With `arguments`, which go to `cargo bench`, the peers are left out.
pub(crate) fn run(workspace: &Workspace, arguments: &[String]) -> Result<()> {
    dist::build(workspace, Choice::Auto)?;
    process::run(
        workspace.cargo(&["bench", "--profile", "release", "--workspace", "--benches"]).args(arguments),
    )?;
    if arguments.is_empty() { extism(workspace) } else { Ok(()) }
}

/// Turns of the two hosts, so that both see the same machine.
const TURNS: usize = 2;

/// Extism's host on the work that `tests/benches/platform.rs` gives to Salve's, in turns with it.
fn extism(workspace: &Workspace) -> Result<()> {
    let manifest = workspace.root.join("tests/peers/extism/Cargo.toml");
    let target = workspace.target.join("peers");
    let cargo = |words: &[&str]| {
        let mut command = workspace.cargo(words);
        command.arg("--release").arg("--manifest-path").arg(&manifest).arg("--target-dir").arg(&target);
        command
    };
    eprintln!("building Extism's host, which takes some minutes the first time");
    let mut guest = cargo(&["build", "-p", "peer-extism-guest", "--target", TARGET]);
    toolchain::find(workspace, Choice::Auto)?.prepare(&mut guest);
    process::run(&mut guest)?;
    process::run(&mut cargo(&["build", "-p", "peer-extism"]))?;
    for _ in 0..TURNS {
        process::run(
            Command::new(target.join("release/peer-extism"))
                .arg(target.join(TARGET).join("release/peer_extism_guest.wasm")),
        )?;
        let mut ours =
            workspace.cargo(&["bench", "--profile", "release", "--workspace", "--bench", "platform"]);
        process::run(ours.args(["--", "raw"]))?;
    }
    Ok(())
}
