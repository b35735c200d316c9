//! Rust: cargo to `wasm32-unknown-unknown`, then the component around the core module.

use super::{BuildError, tool};
use crate::{Progress, Project};
use salve_plugins::pack;
use std::{path::PathBuf, process::Command};

const TARGET: &str = "wasm32-unknown-unknown";

/// The component, without its manifest.
pub(super) fn component(project: &Project, progress: &mut dyn Progress) -> Result<Vec<u8>, BuildError> {
    // Whoever sets it shares what is compiled between projects.
    let shared = ["CARGO_TARGET_DIR", "CARGO_BUILD_TARGET_DIR"].iter().find_map(std::env::var_os);
    let target = shared.map_or_else(|| project.build_folder().join("cargo"), PathBuf::from);
    let mut cargo = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    cargo
        .current_dir(&project.folder)
        .args(["build", "--release", "--lib", "--target", TARGET, "--target-dir"])
        .arg(&target)
        .args(["--message-format", "json-render-diagnostics"]);
    let said = tool::run(&mut cargo, "compile to WebAssembly", progress, || BuildError::ToolMissing {
        tool: "`cargo`".into(),
        language: "Rust",
        install: format!("Install Rust (rustup.rs), then `rustup target add {TARGET}`."),
    })?;
    let Some(module) = module(&said) else {
        return Err(BuildError::Tool {
            step: "find the core module".into(),
            command: "cargo build".into(),
            status: "no `.wasm` file".into(),
            output: "Cargo.toml needs `[lib] crate-type = [\"cdylib\"]`".into(),
        });
    };
    let bytes = std::fs::read(&module).map_err(|source| BuildError::File {
        step: "read the core module",
        path: module.into(),
        source,
    })?;
    progress.step("make a component of it");
    pack::encode(&bytes, &project.manifest, None).map_err(BuildError::Pack)
}

/// The last `.wasm` file that cargo says it made: dependencies come first.
fn module(messages: &str) -> Option<String> {
    messages.lines().rev().filter_map(|line| serde_json::from_str::<serde_json::Value>(line).ok()).find_map(
        |message| {
            let files = message.get("filenames")?.as_array()?.iter().filter_map(serde_json::Value::as_str);
            files.filter(|file| file.ends_with(".wasm")).map(str::to_owned).next()
        },
    )
}
