//! Fuzzing: builds the targets in `fuzz/` with plain cargo and runs them for a while each.
//!
//! The instrumentation is LLVM's own pass, which stable Rust passes on; so neither nightly nor cargo-fuzz is needed. Address
//! sanitizer would need nightly, and finds little here: the code has next to no `unsafe`.
//!
//! Only our own crates and the parsers below them are instrumented: of a compiler such as Cranelift, or of a network stack, no
//! target wants to see every branch, and they take three times as long to build with it. Cargo has no flags for single
//! crates, so this program is also the wrapper that cargo calls rustc by.
//!
//! Each target writes its seeds itself, into the folder that a variable names; dictionaries are in `fuzz/dictionaries`.

use crate::{process, workspace::Workspace};
use anyhow::{Context, Error, Result, bail, ensure};
use std::{
    env,
    ffi::{OsStr, OsString},
    fs,
    os::unix::process::CommandExt,
    path::{Path, PathBuf},
    process::{Command, ExitCode, Stdio},
};

/// What cargo-fuzz says too when it is told to leave the sanitizers out.
const RUSTFLAGS: &[&str] = &[
    "--cfg",
    "fuzzing",
    "-Cpasses=sancov-module",
    "-Cllvm-args=-sanitizer-coverage-level=4",
    "-Cllvm-args=-sanitizer-coverage-inline-8bit-counters",
    "-Cllvm-args=-sanitizer-coverage-pc-table",
    "-Cllvm-args=-sanitizer-coverage-trace-compares",
];
/// Crates of others that read what strangers send.
const PARSERS: &[&str] = &[
    "boon",
    "jsonc_parser",
    "prost",
    "regex_syntax",
    "rhai",
    "saphyr_parser",
    "serde",
    "serde_core",
    "serde_json",
    "toml",
    "toml_edit",
    "toml_parser",
    "wasmparser",
    "winnow",
    "wit_component",
    "wit_parser",
];
/// Set for cargo, to the workspace's root: then this program is the wrapper of rustc.
const WRAPPER_VARIABLE: &str = "SALVE_FUZZ_WRAPPER";
/// Longest input, in bytes: more than the longest manifest, so that one that is too long is tried too.
const INPUT_BYTES_MAX: usize = 96 << 10;
/// An input that takes longer than this on a busy machine takes for ever.
const INPUT_SECONDS_MAX: u64 = 60;
/// No input of [`INPUT_BYTES_MAX`] may make a target grow to this.
const MEMORY_MIB_MAX: u64 = 1024;
/// Tells a target where its seeds go.
const SEEDS_VARIABLE: &str = "SALVE_FUZZ_SEEDS";

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
    let mut build = workspace.cargo(&["build", "--release", "--bins"]);
    build.arg("--manifest-path").arg(folder.join("Cargo.toml")).arg("--target-dir").arg(&out);
    build.env("RUSTC_WRAPPER", env::current_exe().context("cannot tell where this program is")?);
    process::run(build.env(WRAPPER_VARIABLE, &workspace.root))?;
    let mut found = Vec::new();
    for target in chosen {
        let program = out.join("release").join(target);
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

/// Becomes rustc, with the flags that the crate wants, if cargo calls this program as its wrapper. Returns only if not, or
/// with the reason why rustc did not start.
pub(crate) fn act_as_wrapper() -> Option<Error> {
    let root = env::var_os(WRAPPER_VARIABLE)?;
    let mut arguments = env::args_os().skip(1);
    let rustc = arguments.next()?;
    let arguments: Vec<OsString> = arguments.collect();
    let mut command = Command::new(&rustc);
    command.args(&arguments);
    let folder = env::var_os("CARGO_MANIFEST_DIR").unwrap_or_default();
    if is_instrumented(&arguments, Path::new(&folder).starts_with(root)) {
        command.args(RUSTFLAGS);
    }
    let error = command.exec();
    Some(Error::new(error).context(format!("cannot start `{}`", rustc.display())))
}

/// Whether rustc is to instrument the crate that it compiles with these arguments.
fn is_instrumented(arguments: &[OsString], is_ours: bool) -> bool {
    let after = |flag: &str| {
        let at = arguments.iter().position(|argument| argument == flag)?;
        arguments.get(at + 1)?.to_str()
    };
    // What runs while building is not optimised (`fuzz/Cargo.toml`), and would lack libFuzzer.
    let is_optimised = arguments.iter().any(|argument| argument == OsStr::new("opt-level=3"));
    is_optimised && after("--crate-name").is_some_and(|name| is_ours || PARSERS.contains(&name))
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

/// Runs one target; gives whether it ended well. Inputs that crash stay beside the corpus, and are tried again each time.
fn run_one(workspace: &Workspace, program: &Path, target: &str, options: &Options) -> Result<bool> {
    let place = workspace.target.join("fuzz-corpus").join(target);
    let folder = |name: &str| -> Result<PathBuf> {
        let folder = place.join(name);
        fs::create_dir_all(&folder)
            .with_context(|| format!("cannot create the folder `{}`", folder.display()))?;
        Ok(folder)
    };
    let (corpus, seeds, crashes) = (folder("corpus")?, folder("seeds")?, folder("crashes")?);
    if options.smoke {
        eprintln!("{target}: seeds and corpus, once");
    } else {
        eprintln!("{target}: {} s", options.seconds);
    }
    let mut command = Command::new(program);
    command.env(SEEDS_VARIABLE, &seeds);
    command.arg(format!("-artifact_prefix={}/", crashes.display()));
    command.arg(format!("-max_len={INPUT_BYTES_MAX}"));
    command.arg(format!("-timeout={INPUT_SECONDS_MAX}"));
    command.arg(format!("-rss_limit_mb={MEMORY_MIB_MAX}"));
    command.arg("-print_final_stats=1");
    let dictionary = workspace.root.join("fuzz/dictionaries").join(format!("{target}.dict"));
    if dictionary.is_file() {
        command.arg(format!("-dict={}", dictionary.display()));
    }
    if options.smoke {
        command.arg("-runs=0");
    } else {
        command.arg(format!("-max_total_time={}", options.seconds));
    }
    // New inputs go into the first of the folders.
    let output = command.args([&corpus, &seeds, &crashes]).stdin(Stdio::null()).output();
    let output = output.with_context(|| format!("cannot start `{}`", program.display()))?;
    let said = String::from_utf8_lossy(&output.stderr);
    let figures = Figures::of(&said);
    println!(
        "{target:<14} {:>9} executions, {:>6} a second, coverage {:>6} of the seeds and corpus, {:>6} at the end, \
         {:>5} inputs kept, {:>4} MiB: {}",
        figures.executions,
        figures.executions_per_second,
        figures.coverage_first,
        figures.coverage_last,
        figures.inputs,
        figures.memory_mib,
        if output.status.success() { "ok" } else { "CRASHED" }
    );
    if !output.status.success() {
        let lines: Vec<&str> = said.lines().collect();
        eprintln!("{}", lines[lines.len().saturating_sub(40)..].join("\n"));
        eprintln!(
            "hint: `{} INPUT` runs one input; those that crash are in {}",
            program.display(),
            crashes.display()
        );
    }
    Ok(output.status.success())
}

/// What libFuzzer says of a run; 0 where it said nothing.
#[derive(Debug, Default, PartialEq, Eq)]
struct Figures {
    executions: u64,
    executions_per_second: u64,
    /// Edges of the code that were reached when all inputs of the start had run.
    coverage_first: u64,
    coverage_last: u64,
    /// Inputs that reach something no other does.
    inputs: u64,
    /// Most memory, resident.
    memory_mib: u64,
}

impl Figures {
    fn of(said: &str) -> Self {
        let number = |text: &str| {
            let word = text.split([' ', '/']).find(|word| !word.is_empty());
            word.and_then(|word| word.parse().ok()).unwrap_or(0)
        };
        let mut figures = Self::default();
        for line in said.lines() {
            if let Some(rest) = line.strip_prefix("stat::number_of_executed_units:") {
                figures.executions = number(rest);
            } else if let Some(rest) = line.strip_prefix("stat::average_exec_per_sec:") {
                figures.executions_per_second = number(rest);
            } else if let Some(rest) = line.strip_prefix("stat::peak_rss_mb:") {
                figures.memory_mib = number(rest);
            } else if let Some((_, rest)) = line.split_once(" cov: ").filter(|_| line.starts_with('#')) {
                figures.coverage_last = number(rest);
                figures.inputs = rest.split_once(" corp: ").map_or(0, |(_, rest)| number(rest));
                if line.contains("INITED") || figures.coverage_first == 0 {
                    figures.coverage_first = figures.coverage_last;
                }
            }
        }
        figures
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Guarantees: our crates and the parsers are instrumented, unless they run while building; no others are, nor what cargo
    /// asks rustc about itself.
    #[test]
    fn instruments_what_reads() {
        let is = |words: &str, is_ours| {
            let words: Vec<OsString> = words.split(' ').map(OsString::from).collect();
            is_instrumented(&words, is_ours)
        };
        assert!(is("--crate-name wasmparser lib.rs -C opt-level=3", false));
        assert!(is("--crate-name salve_plugins lib.rs -C opt-level=3", true));
        assert!(!is("--crate-name wasmparser lib.rs -C codegen-units=256", false));
        assert!(!is("--crate-name cranelift_codegen lib.rs -C opt-level=3", false));
        assert!(!is("-vV", true));
    }

    /// Guarantees: the figures of the report are libFuzzer's own.
    #[test]
    fn reads_what_libfuzzer_says() {
        let said = "INFO: seed corpus: files: 6\n#7\tINITED cov: 100 ft: 101 corp: 6/3Kb exec/s: 0 rss: 60Mb\n\
                    #900\tNEW    cov: 120 ft: 150 corp: 9/4Kb lim: 96 exec/s: 450 rss: 61Mb L: 9/9 MS: 1 CopyPart-\n\
                    #1000\tDONE   cov: 121 ft: 150 corp: 9/4Kb lim: 96 exec/s: 500 rss: 61Mb\n\
                    stat::number_of_executed_units: 1000\nstat::average_exec_per_sec:     500\n\
                    stat::peak_rss_mb:              61\n";
        let figures = Figures {
            executions: 1000,
            executions_per_second: 500,
            coverage_first: 100,
            coverage_last: 121,
            inputs: 9,
            memory_mib: 61,
        };
        assert_eq!(Figures::of(said), figures);
        assert_eq!(Figures::of(""), Figures::default());
    }
}
