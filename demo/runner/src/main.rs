//! Breaks the demo shop for real, lets Salve heal it, and judges what became of it.
//!
//! ## What always holds
//! - Salve is told nothing: it gets the shop's OTLP and its own configuration, and is asked over its control socket only
//! - faults are real: signals, memory, a file; and each can be done by hand as well (`--hold`)
//! - whatever happens, no process is left behind (`--hold` too, once it is ended)
//!
//! Not here: the shop (`salve-demo-shop`), and anything that decides (`salve`).

mod admin;
mod control;
mod document;
mod fault;
mod hold;
mod inject;
mod machine;
mod place;
mod plot;
mod process;
mod record;
mod report;
mod run;
mod score;
mod shop;
mod summary;
mod terminal;
mod watch;

use crate::{
    fault::Fault,
    place::Programs,
    run::Options,
    terminal::{Terminal, Tone},
};
use anyhow::{Context, Result};
use clap::Parser;
use std::{
    path::{Path, PathBuf},
    process::ExitCode,
};
use tokio::signal::unix::{SignalKind, signal};

/// Breaks the demo shop for real, lets Salve heal it, and judges what became of it. Exit code 1 if a fault was not handled
/// rightly or something was done without need.
#[derive(Debug, Parser)]
#[command(name = "salve-demo", version)]
struct Arguments {
    /// Draws the services that are hit, and the customers. Without it, by the clock; it is printed.
    #[arg(long)]
    seed: Option<u64>,
    /// Only this fault, without the run in which nothing is healed unless `--baseline` asks for it.
    #[arg(long)]
    fault: Option<Fault>,
    /// So many runs, with this seed and the following ones.
    #[arg(long, default_value_t = 1, value_name = "N")]
    repeat: u32,
    /// Print one JSON document on standard output; everything else goes to standard error.
    #[arg(long)]
    json: bool,
    /// Warm up, print how to break things by hand, and wait for Ctrl-C.
    #[arg(long, conflicts_with_all = ["fault", "repeat", "json"])]
    hold: bool,
    /// Folder for the report, the ledger and the logs.
    #[arg(long, default_value = "demo-output", value_name = "DIR")]
    output: PathBuf,
    /// Leave out the run in which Salve only observes.
    #[arg(long)]
    no_baseline: bool,
    /// The run in which Salve only observes, with `--fault` too.
    #[arg(long, conflicts_with = "no_baseline")]
    baseline: bool,
    /// The daemon. By default beside this program.
    #[arg(long, value_name = "FILE")]
    salve: Option<PathBuf>,
    /// The shop. By default beside this program.
    #[arg(long, value_name = "FILE")]
    shop: Option<PathBuf>,
    /// Folder of components. By default `dist/plugins` beside this program's folder.
    #[arg(long, value_name = "DIR")]
    plugins: Option<PathBuf>,
}

impl Arguments {
    fn programs(&self) -> Result<Programs> {
        let own = std::env::current_exe().context("cannot tell where this program is")?;
        let folder = own.parent().context("a program lies in a folder")?;
        let beside = |given: &Option<PathBuf>, name: &str| {
            std::path::absolute(given.clone().unwrap_or_else(|| folder.join(name)))
        };
        let programs = Programs {
            salve: beside(&self.salve, "salve")?,
            shop: beside(&self.shop, "salve-demo-shop")?,
            plugins: beside(&self.plugins, "../dist/plugins")?,
        };
        programs.check()?;
        Ok(programs)
    }
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let outcome = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .context("cannot start")
        .and_then(|runtime| runtime.block_on(until_interrupted(&arguments)));
    match outcome {
        Ok(code) => code,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::from(2)
        }
    }
}

/// Ctrl-C and SIGTERM drop what is under way, and with it every process. With `--hold` that is how it is meant to end; else the
/// exit code is a shell's for a program that a signal ended.
async fn until_interrupted(arguments: &Arguments) -> Result<ExitCode> {
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut terminate = signal(SignalKind::terminate())?;
    let signal = tokio::select! {
        passed = demo(arguments) => return passed.map(|passed| ExitCode::from(u8::from(!passed))),
        _ = interrupt.recv() => SignalKind::interrupt(),
        _ = terminate.recv() => SignalKind::terminate(),
    };
    eprintln!("\nEverything was stopped.");
    let code = if arguments.hold { 0 } else { 128 + signal.as_raw_value() };
    Ok(u8::try_from(code).map_or(ExitCode::FAILURE, ExitCode::from))
}

async fn demo(arguments: &Arguments) -> Result<bool> {
    let programs = arguments.programs()?;
    let mut terminal = Terminal::new(arguments.json);
    let seed = arguments.seed.unwrap_or_else(|| run::now_ms() / 1_000 % 100_000);
    // Short, since the path of a Unix socket may be no longer than 107 bytes.
    let folder = tempfile::Builder::new().prefix("salve-demo-").tempdir().context("cannot make a folder")?;
    terminal.line(
        Tone::Bold,
        &format!("Salve demo · seed {seed} · `--seed {seed}` hits the same services again"),
    );
    if arguments.hold {
        let options = Options { seed, faults: Vec::new(), healing: true };
        return hold::hold(folder.path(), &programs, &options, &mut terminal).await;
    }

    let faults = arguments.fault.map_or_else(|| Fault::ALL.to_vec(), |fault| vec![fault]);
    let mut healing = Vec::new();
    for index in 0..arguments.repeat.max(1) {
        let options = Options { seed: seed + u64::from(index), faults: faults.clone(), healing: true };
        if arguments.repeat > 1 {
            terminal.line(
                Tone::Bold,
                &format!("\nRun {} of {}, seed {}", index + 1, arguments.repeat, options.seed),
            );
        } else {
            terminal.line(Tone::Plain, "\nWith Salve healing: warming up");
        }
        let place = folder.path().join(format!("healing-{index}"));
        let run = run::run(&place, &programs, &options, &mut terminal).await;
        keep(&place, &arguments.output.join(format!("healing-{index}")));
        let run = run?;
        let score = score::score(&run);
        summary::tell(&mut terminal, &run, &score);
        healing.push((run, score));
    }
    let wants_baseline = arguments.baseline || (arguments.fault.is_none() && !arguments.no_baseline);
    let observing = if !wants_baseline {
        None
    } else {
        terminal.line(Tone::Plain, "\nThe same faults with healing off: warming up");
        let options = Options { seed, faults, healing: false };
        let place = folder.path().join("observing");
        let run = run::run(&place, &programs, &options, &mut terminal).await;
        keep(&place, &arguments.output.join("observing"));
        Some(run?)
    };

    let document = document::document(&healing, observing.as_ref());
    summary::verdict(&mut terminal, &document);
    std::fs::create_dir_all(&arguments.output)
        .with_context(|| format!("cannot make `{}`", arguments.output.display()))?;
    let json = serde_json::to_string_pretty(&document)?;
    write(&arguments.output.join("report.json"), &json)?;
    let html = arguments.output.join("report.html");
    write(&html, &report::html(&document, &healing, observing.as_ref()))?;
    terminal.line(Tone::Plain, &format!("Report: {}", std::path::absolute(&html)?.display()));
    if arguments.json {
        println!("{json}");
    }
    Ok(document.passed)
}

fn write(path: &Path, text: &str) -> Result<()> {
    std::fs::write(path, text).with_context(|| format!("cannot write `{}`", path.display()))
}

/// Copies what is worth reading afterwards. What cannot be copied is missed by nobody but the curious.
fn keep(from: &Path, to: &Path) {
    if std::fs::create_dir_all(to).is_err() {
        return;
    }
    for folder in [from.to_owned(), from.join("shop"), from.join("state")] {
        for entry in std::fs::read_dir(folder).into_iter().flatten().flatten() {
            if entry.file_type().is_ok_and(|kind| kind.is_file()) {
                let _copied = std::fs::copy(entry.path(), to.join(entry.file_name()));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    /// Guarantees: the demo's policies load, and pass the tests beside them.
    #[test]
    fn policies_pass_their_tests() {
        let report = salve_policy::test(concat!(env!("CARGO_MANIFEST_DIR"), "/../policies")).unwrap();
        let failures: Vec<_> = report.tests.iter().filter(|test| test.failure.is_some()).collect();
        assert!(failures.is_empty(), "{failures:#?}");
        assert!(report.passed() >= 6, "only {} tests", report.passed());
    }
}
