//! What CI does, phase by phase, with a summary at the end.

use crate::{
    checks, dist, guests, process,
    toolchain::{self, Choice},
    workspace::Workspace,
};
use anyhow::{Context, Result, bail};
use std::{
    process::{Command, ExitCode},
    sync::mpsc::{self, Receiver},
    thread,
    time::{Duration, Instant},
};

/// A test program that says nothing for so long hangs. The longest test takes a third of it on two busy cores.
pub(crate) const SILENCE_MAX: Duration = Duration::from_mins(15);

/// Tests counted from what the test programs say.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct Counts {
    passed: u64,
    failed: u64,
    ignored: u64,
}

impl Counts {
    /// Adds one line of a test program, if it is a result: `test result: ok. 3 passed; 0 failed; 1 ignored; …`.
    fn add(&mut self, line: &str) {
        let Some((_, numbers)) =
            line.trim().strip_prefix("test result: ").and_then(|rest| rest.split_once(". "))
        else {
            return;
        };
        for part in numbers.split(';') {
            let mut words = part.split_whitespace();
            let (Some(Ok(number)), Some(what)) = (words.next().map(str::parse::<u64>), words.next()) else {
                continue;
            };
            match what {
                "passed" => self.passed += number,
                "failed" => self.failed += number,
                "ignored" => self.ignored += number,
                _ => {}
            }
        }
    }

    /// Adds what `salve policy test --json` says.
    fn add_policies(&mut self, report: &str) -> Result<()> {
        let report: serde_json::Value = serde_json::from_str(report)?;
        for test in report["tests"].as_array().into_iter().flatten() {
            if test["failure"].is_null() {
                self.passed += 1;
            } else {
                self.failed += 1;
                println!("FAIL {} {}: {}", test["file"], test["name"], test["failure"]);
            }
        }
        Ok(())
    }
}

/// How one phase went.
struct Phase {
    name: &'static str,
    took: Duration,
    outcome: Outcome,
}

enum Outcome {
    Good,
    Failed(String),
    Skipped(String),
}

/// The phases so far.
#[derive(Default)]
struct Run {
    phases: Vec<Phase>,
}

impl Run {
    /// Runs a phase; gives back whether it went well.
    fn phase(&mut self, name: &'static str, phase: impl FnOnce() -> Result<()>) -> bool {
        println!("\n=== {name}");
        let start = Instant::now();
        let outcome = match phase() {
            Ok(()) => Outcome::Good,
            Err(error) => {
                println!("error: {error:#}");
                Outcome::Failed(format!("{error:#}"))
            }
        };
        let good = matches!(outcome, Outcome::Good);
        self.phases.push(Phase { name, took: start.elapsed(), outcome });
        good
    }

    fn skip(&mut self, name: &'static str, why: impl Into<String>) {
        self.phases.push(Phase { name, took: Duration::ZERO, outcome: Outcome::Skipped(why.into()) });
    }

    fn failed(&self) -> bool {
        self.phases.iter().any(|phase| matches!(phase.outcome, Outcome::Failed(_)))
    }
}

/// Runs everything; the exit code is 0 if all of it is good.
pub(crate) fn run(workspace: &Workspace, choice: Choice, with_debian: bool) -> ExitCode {
    let start = Instant::now();
    let (run, counts) = thread::scope(|scope| {
        let mut run = Run::default();
        let counts = phases(workspace, choice, with_debian, &mut run, scope);
        (run, counts)
    });
    summary(&run, counts, start.elapsed());
    if run.failed() || counts.failed > 0 { ExitCode::FAILURE } else { ExitCode::SUCCESS }
}

fn phases<'scope>(
    workspace: &'scope Workspace,
    choice: Choice,
    with_debian: bool,
    run: &mut Run,
    scope: &'scope thread::Scope<'scope, '_>,
) -> Counts {
    let mut counts = Counts::default();
    let mut wasm = None;
    run.phase("setup", || {
        wasm = Some(toolchain::setup(workspace, choice)?);
        Ok(())
    });
    // It has no phase of its own until its end: packages come from the network, and what is built takes the time that others
    // leave over.
    let (products, built) = mpsc::channel();
    let by_debian = with_debian && choice != Choice::Debian;
    let debian = by_debian.then(|| scope.spawn(move || by_debian_packages(workspace, &built)));
    run.phase("format", || checks::format(workspace));
    run.phase("structure", || checks::structure(workspace));
    run.phase("lints", || checks::lints(workspace, checks::Scope::All));
    run.phase("docs", || checks::docs(workspace, false));
    // One selection of crates for products and tests: with another one, cargo would choose other features of some
    // dependencies and compile them, and everything above them, again.
    let built = run.phase("build", || {
        process::run(&mut workspace.cargo(&[
            "build",
            "--release",
            "--workspace",
            "--lib",
            "--bins",
            "--tests",
        ]))
    });
    match &wasm {
        Some(wasm) if built => {
            let packed = run
                .phase("plugins", || guests::build(workspace, wasm).and_then(|()| dist::assemble(workspace)));
            if packed {
                // Nobody receives it without Debian.
                _ = products.send(Products);
                run.phase("tests", || {
                    let mut test = workspace.cargo(&["test", "--release", "--workspace", "--no-fail-fast"]);
                    test.env("PATH", toolchain::go::path(workspace)?);
                    wasm.tell_tests(&mut test);
                    process::run_lines(&mut test, SILENCE_MAX, |line| counts.add(line))
                });
                run.phase("policy tests", || policies(workspace, &mut counts));
            } else {
                run.skip("tests", "the plugins were not built");
            }
        }
        _ => run.skip("tests", "the build failed"),
    }
    drop(products);
    if let Some(debian) = debian {
        run.phase("plugins by Debian", || process::join(debian));
    }
    counts
}

fn policies(workspace: &Workspace, counts: &mut Counts) -> Result<()> {
    let salve = workspace.release("salve");
    let folder = workspace.root.join("policies");
    let report = Command::new(&salve).args(["policy", "test", "--json"]).arg(&folder).output()?;
    counts.add_policies(&String::from_utf8_lossy(&report.stdout))?;
    if report.status.success() {
        Ok(())
    } else {
        bail!("`salve policy test policies` failed: {}", String::from_utf8_lossy(&report.stderr).trim_end())
    }
}

/// Says that what people run is built.
struct Products;

/// Plugins can be built without rustup's target: by Debian's packages. Packs them as soon as `built` says that it can.
fn by_debian_packages(workspace: &Workspace, built: &Receiver<Products>) -> Result<()> {
    let wasm = toolchain::find(workspace, Choice::Debian)
        .context("cannot prepare Debian's packages; `--without-debian` leaves this check out")?;
    built.recv().context("there is no `salve` that packs them")?;
    guests::try_out(workspace, &wasm)
}

fn summary(run: &Run, counts: Counts, took: Duration) {
    println!("\n=== summary");
    for phase in &run.phases {
        let word = match &phase.outcome {
            Outcome::Good => "ok".to_owned(),
            Outcome::Failed(why) => format!("FAILED: {}", why.lines().next().unwrap_or_default()),
            Outcome::Skipped(why) => format!("skipped: {}", why.lines().next().unwrap_or_default()),
        };
        println!("{:<18} {:>6} s  {word}", phase.name, phase.took.as_secs());
    }
    println!("{:<18} {:>6} s", "all", took.as_secs());
    if counts.ignored > 0 {
        println!("{} ignored: helpers that other tests start", counts.ignored);
    }
    println!("{} passed, {} failed", counts.passed, counts.failed);
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Guarantees: the closing number is the sum of what all test programs said, and nothing else.
    #[test]
    fn results_are_added_up() {
        let mut counts = Counts::default();
        for line in [
            "running 3 tests",
            "test a ... ok",
            "test result: ok. 9 passed; 0 failed; 2 ignored; 0 measured; 0 filtered out; finished in 0.05s",
            "test result: FAILED. 10 passed; 1 failed; 0 ignored; 0 measured; 7 filtered out; finished in 0.61s",
            "my test result: 5 passed",
            "test result: nonsense",
        ] {
            counts.add(line);
        }
        assert_eq!(counts, Counts { passed: 19, failed: 1, ignored: 2 });
        counts.add_policies(r#"{"tests":[{"failure":null},{"failure":"x"}],"untested":[]}"#).unwrap();
        assert_eq!(counts, Counts { passed: 20, failed: 2, ignored: 2 });
    }

    /// Guarantees: a phase that fails makes the run fail, a skipped one does not, and later phases still run.
    #[test]
    fn a_failed_phase_fails_the_run() {
        let mut run = Run::default();
        assert!(run.phase("good", || Ok(())));
        run.skip("skipped", "no network");
        assert!(!run.failed());
        assert!(!run.phase("bad", || bail!("broken")));
        assert!(run.phase("after", || Ok(())));
        assert!(run.failed());
        assert_eq!(run.phases.len(), 4);
    }
}
