//! Benchmarks: those of the workspace, then the peers that the same work is measured on.

use crate::{
    dist, process,
    toolchain::{self, Choice, TARGET},
    workspace::Workspace,
};
use anyhow::Result;
use std::process::Command;

/// What to measure.
#[derive(Debug, clap::Args)]
pub(crate) struct Options {
    /// Only the work that peers do too, in turns with them.
    #[arg(long)]
    peers: bool,
    /// Passed on to `cargo bench`, for instance `-p salve-otlp`; then the peers are left out.
    #[arg(trailing_var_arg = true, allow_hyphen_values = true, conflicts_with = "peers")]
    pub(crate) arguments: Vec<String>,
}

/// Builds what is measured, and measures it.
pub(crate) fn run(workspace: &Workspace, options: &Options) -> Result<()> {
    dist::build(workspace, Choice::Auto)?;
    if !options.peers {
        process::run(bench(workspace).arg("--benches").args(&options.arguments))?;
    }
    if options.arguments.is_empty() { extism(workspace) } else { Ok(()) }
}

/// Of all crates: with another selection, cargo would choose other features of some dependencies.
fn bench(workspace: &Workspace) -> Command {
    workspace.cargo(&["bench", "--workspace"])
}

/// Extism's host on the work that `tests/benches/platform.rs` gives to Salve's; that benchmark starts it and gives it its turns.
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
    let mut ours = bench(workspace);
    ours.env("SALVE_BENCH_EXTISM", target.join("release/peer-extism"));
    ours.env("SALVE_BENCH_EXTISM_GUEST", target.join(TARGET).join("release/peer_extism_guest.wasm"));
    process::run(ours.args(["--bench", "platform", "--", "raw"]))
}
