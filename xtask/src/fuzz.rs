//! Fuzzing: builds the targets in `fuzz/` with plain cargo and runs them for a while each.
//!
//! The instrumentation is LLVM's own pass, which stable Rust passes on; so neither nightly nor cargo-fuzz is needed. Address
//! sanitizer would need nightly, and finds little here: the code has next to no `unsafe`.

use crate::{process, workspace::Workspace};
use anyhow::{Context, Result, bail, ensure};
use std::{
    fs,
    path::{Path, PathBuf},
    process::{Command, ExitCode, Stdio},
};

/// What cargo-fuzz says too when it is told to leave the sanitizers out.
const RUSTFLAGS: &str = "--cfg fuzzing -Cpasses=sancov-module -Cllvm-args=-sanitizer-coverage-level=4 \
    -Cllvm-args=-sanitizer-coverage-inline-8bit-counters -Cllvm-args=-sanitizer-coverage-pc-table \
    -Cllvm-args=-sanitizer-coverage-trace-compares";
/// Longest input, in bytes; components need some.
const INPUT_BYTES_MAX: usize = 256 << 10;

/// What to run.
#[derive(Debug, clap::Args)]
pub(crate) struct Options {
    /// Which target; all of them if none is named.
    target: Option<String>,
    /// How long each runs.
    #[arg(long, default_value_t = 60)]
    seconds: u64,
    /// Build them, and run each on its seeds once.
    #[arg(long)]
    smoke: bool,
}

/// Builds and runs; the exit code is 0 if nothing was found.
pub(crate) fn run(workspace: &Workspace, options: &Options) -> Result<ExitCode> {
    let folder = workspace.root.join("fuzz");
    let all = targets(&folder)?;
    let chosen: Vec<&String> = match &options.target {
        None => all.iter().collect(),
        Some(name) => all.iter().filter(|target| *target == name).collect(),
    };
    if chosen.is_empty() {
        bail!(
            "there is no fuzz target `{}`; there are {}",
            options.target.as_deref().unwrap_or(""),
            all.join(", ")
        );
    }
    eprintln!(
        "building {} fuzz targets with instrumentation, which takes some minutes the first time",
        all.len()
    );
    let out = workspace.target.join("fuzz");
    // Where a triple is given, flags apply to the targets only, and not to build scripts.
    let triple = host_triple()?;
    let mut build = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    build
        .args(["build", "--release", "--bins", "--target", &triple])
        .current_dir(&folder)
        .env("CARGO_TARGET_DIR", &out)
        .env("RUSTFLAGS", RUSTFLAGS);
    process::run(&mut build)?;
    let mut found = Vec::new();
    for target in chosen {
        let program = out.join(&triple).join("release").join(target);
        if !run_one(workspace, &program, target, options)? {
            found.push(target.as_str());
        }
    }
    if found.is_empty() {
        return Ok(ExitCode::SUCCESS);
    }
    eprintln!("error: inputs that crash were found by: {}", found.join(", "));
    Ok(ExitCode::FAILURE)
}

/// What this machine is to rustc.
fn host_triple() -> Result<String> {
    let said = process::output(
        Command::new(std::env::var_os("RUSTC").unwrap_or_else(|| "rustc".into())).arg("-vV"),
    )?;
    let host = said.lines().find_map(|line| line.strip_prefix("host: "));
    Ok(host.context("`rustc -vV` names no host")?.to_owned())
}

/// Names of the targets, from their files.
fn targets(folder: &Path) -> Result<Vec<String>> {
    let mut names = Vec::new();
    for entry in fs::read_dir(folder.join("targets")).context("cannot read the fuzz targets")? {
        let path = entry?.path();
        if path.extension().is_some_and(|extension| extension == "rs") {
            names.extend(path.file_stem().map(|stem| stem.to_string_lossy().into_owned()));
        }
    }
    names.sort();
    ensure!(!names.is_empty(), "there is no fuzz target in `{}`", folder.display());
    Ok(names)
}

/// Runs one target; gives whether it ended well. Inputs that crash stay beside the corpus.
fn run_one(workspace: &Workspace, program: &Path, target: &str, options: &Options) -> Result<bool> {
    let place = workspace.target.join("fuzz-corpus").join(target);
    let (corpus, crashes) = (place.join("corpus"), place.join("crashes"));
    fs::create_dir_all(&corpus)?;
    fs::create_dir_all(&crashes)?;
    let seeded = seed(workspace, target, &corpus)?;
    eprintln!("{target}: {seeded} seeds, {} s", options.seconds);
    let mut command = Command::new(program);
    let artifacts = format!("-artifact_prefix={}/", crashes.display());
    command.args([&artifacts, "-timeout=20", "-rss_limit_mb=2048", "-print_final_stats=1"]);
    command.arg(format!("-max_len={INPUT_BYTES_MAX}"));
    command.arg(if options.smoke {
        "-runs=0".into()
    } else {
        format!("-max_total_time={}", options.seconds)
    });
    let output = command.arg(&corpus).stdin(Stdio::null()).stderr(Stdio::piped()).output()?;
    let said = String::from_utf8_lossy(&output.stderr);
    let executions = said
        .lines()
        .find_map(|line| line.strip_prefix("stat::number_of_executed_units:"))
        .unwrap_or(" 0")
        .trim();
    println!(
        "{target:<14} {executions:>10} executions  {}",
        if output.status.success() { "ok" } else { "CRASHED" }
    );
    if !output.status.success() {
        let lines: Vec<&str> = said.lines().collect();
        eprintln!("{}", lines[lines.len().saturating_sub(40)..].join("\n"));
    }
    Ok(output.status.success())
}

/// Fills the corpus with what the workspace has; gives how many files.
fn seed(workspace: &Workspace, target: &str, corpus: &Path) -> Result<usize> {
    let root = &workspace.root;
    let files = |folders: &[PathBuf], ending: &str| -> Vec<PathBuf> {
        let entries = folders.iter().filter_map(|folder| fs::read_dir(folder).ok()).flatten().flatten();
        let mut files: Vec<PathBuf> = entries
            .map(|entry| entry.path())
            .filter(|path| path.extension().is_some_and(|found| found == ending))
            .collect();
        files.sort();
        files
    };
    let below = |folder: &str| -> Vec<PathBuf> {
        let entries = fs::read_dir(root.join(folder)).into_iter().flatten().flatten();
        entries.map(|entry| entry.path()).collect()
    };
    let mut count = 0;
    let mut add = |name: &str, bytes: &[u8]| -> Result<()> {
        count += 1;
        Ok(fs::write(corpus.join(format!("seed-{count}-{name}")), bytes)?)
    };
    match target {
        "component" => {
            for path in files(&[workspace.target.join("dist/plugins")], "wasm") {
                let bytes = fs::read(&path)?;
                if bytes.len() <= INPUT_BYTES_MAX {
                    add("plugin", &bytes)?;
                }
            }
            add("empty", b"\0asm\x0d\0\x01\0")?;
        }
        "manifest" => {
            for folder in below("plugins").into_iter().chain(below("examples")) {
                if let Ok(bytes) = fs::read(folder.join("plugin.toml")) {
                    add("toml", &bytes)?;
                }
            }
            add("json", br#"{"name":"a","version":"0.1.0","role":"action","summary":"S","contract":"0.1.0","capabilities":[{"capability":"config","verbs":["get"]}],"limits":{"cpu_ms":1},"parameters":{"type":"object"}}"#)?;
        }
        "policy" => {
            for path in files(&[root.join("policies"), root.join("demo/policies")], "rhai") {
                add("rhai", &fs::read(&path)?)?;
            }
        }
        "configuration" => {
            for path in files(&[root.join("examples")], "toml") {
                add("toml", &fs::read(&path)?)?;
            }
            add("all", b"mode = \"act\"\n[guards]\ncooldown_ms = 5\n[[process]]\nname = \"a\"\ncommand = [\"/bin/true\"]\nlog_file = \"a.log\"\n[[target]]\nid = \"a\"\nprocess = \"a\"\nselect = { \"service.name\" = \"a\" }\n[[grant]]\nplugin = \"p\"\ncapability = \"config\"\nverbs = [\"*\"]\ntargets = [\"a\"]\narguments.key = { one_of = [\"k\"] }\n\x007")?;
        }
        "otlp" => {
            // A resource with one log record, as metrics, traces and logs.
            for signal in 0..3_u8 {
                add("small", &[&[signal], &[0x0a, 6, 0x12, 4, 0x12, 2, 0x10, 17][..]].concat())?;
            }
        }
        "otlp_json" => {
            add("metrics", b"\x00{\"resourceMetrics\":[{\"resource\":{\"attributes\":[{\"key\":\"service.name\",\"value\":{\"stringValue\":\"a\"}}]},\"scopeMetrics\":[{\"metrics\":[{\"name\":\"m\",\"gauge\":{\"dataPoints\":[{\"timeUnixNano\":\"1\",\"asDouble\":1.5}]}}]}]}]}")?;
            add("logs", b"\x02{\"resourceLogs\":[{\"scopeLogs\":[{\"logRecords\":[{\"severityNumber\":17,\"body\":{\"stringValue\":\"x\"},\"traceId\":\"5b8efff798038103d269b633813fc60c\"}]}]}]}")?;
        }
        "edit" => {
            for (format, text) in [
                (0_u8, "# pool\npool_size = 8 # now\n[db]\nhost = 'a'\n"),
                (1, "{ // pool\n  \"pool_size\": 8, \"db\": { \"host\": \"a\" } }\n"),
                (2, "# pool\npool_size: 8\ndb:\n  host: a\n"),
                (3, "# pool\npool_size=8\nexport HOST='a b'\n"),
            ] {
                add("file", &[&[format], text.as_bytes(), b"\0pool_size\x0016"].concat())?;
            }
        }
        _ => add("short", &[0, 1, 0, 0, 0, 0])?,
    }
    Ok(count)
}
