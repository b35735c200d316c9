//! The demo's faults, each on the whole system: real shop, real SDK, real faults, real heals.
//!
//! `cargo test -p salve-tests --test demo -- NAME` runs single ones.

use anyhow::{Context, Result};
use libtest_mimic::{Arguments, Failed, Trial};
use serde_json::Value;
use std::{
    io::{BufRead, BufReader, Read},
    process::{Command, Stdio},
};

/// Shops at one time. Each with its daemon takes a fifth of a core at its surge, and less else (docs/benchmarks.md).
const AT_ONCE: usize = 4;

type Test = fn() -> Result<()>;

/// The one that runs longest comes first.
const TESTS: [(&str, Test); 7] = [
    ("kill", kill),
    ("slow_dependency", slow_dependency),
    ("leak", leak),
    ("hang", hang),
    ("bad_config", bad_config),
    ("surge", surge),
    ("holding_ends_by_ctrl_c", holding_ends_by_ctrl_c),
];

fn main() {
    let mut arguments = Arguments::from_args();
    arguments.test_threads.get_or_insert(AT_ONCE);
    let trial = |(name, test): (&str, Test)| {
        Trial::test(name, move || test().map_err(|error| Failed::from(format!("{error:#}"))))
    };
    libtest_mimic::run(&arguments, TESTS.map(trial).into()).exit();
}

/// `baseline`: options for the run without healing.
fn demo(fault: &str, baseline: &[&str]) -> Result<(Value, bool)> {
    let output_folder = tempfile::tempdir()?;
    // What it draws for people goes to standard error; standard output is the one document.
    _ = salve_tests::built("release/salve-demo-shop");
    let output = Command::new(salve_tests::built("release/salve-demo"))
        .args(["--fault", fault, "--json", "--seed", "7"])
        .args(baseline)
        .arg("--output")
        .arg(output_folder.path())
        .stdin(Stdio::null())
        .output()?;
    let text = String::from_utf8_lossy(&output.stdout);
    let document = serde_json::from_str(&text)
        .with_context(|| format!("no JSON: {text}\n{}", String::from_utf8_lossy(&output.stderr)))?;
    Ok((document, output.status.success()))
}

const WITHOUT: &[&str] = &["--no-baseline"];

fn is_healed(fault: &str, last_action: &str) -> Result<Value> {
    is_healed_with(fault, last_action, WITHOUT)
}

fn is_healed_with(fault: &str, last_action: &str, baseline: &[&str]) -> Result<Value> {
    let (document, success) = demo(fault, baseline)?;
    let row = &document["faults"][0];
    assert_eq!(row["fault"], fault, "{document:#}");
    assert_eq!(row["target"], row["diagnosed"], "the cause is named: {document:#}");
    assert_eq!(row["outcome"], "healed", "{document:#}");
    let actions = row["actions"].as_array().context("no actions")?;
    let last = actions.last().context("no action")?;
    assert_eq!(
        (&last["action"], &last["outcome"]),
        (&Value::from(last_action), &Value::from("healed")),
        "{document:#}"
    );
    assert_eq!(document["false_actions"], 0, "{document:#}");
    assert_eq!(document["ledger"]["verified"], true, "{document:#}");
    assert!(success, "{document:#}");
    Ok(document)
}

/// Scenario: with healing, then the same without, where a hand takes the fault away when its time is over.
/// Guarantees: a service that is killed is named and restarted; without that more orders fail, and both shares are told.
fn kill() -> Result<()> {
    let document = is_healed_with("kill", "restart-process", &["--baseline"])?;
    let failed =
        |run: &str| document[run]["failed_orders_ratio"].as_f64().context("no share of failed orders");
    let (with, without) = (failed("with_healing")?, failed("without_healing")?);
    assert!(without > with, "{with} with healing, {without} without");
    Ok(())
}

/// Guarantees: a service that hangs is named and restarted.
fn hang() -> Result<()> {
    is_healed("hang", "restart-process").map(drop)
}

/// Guarantees: a service that leaks is restarted before it hits its limit.
fn leak() -> Result<()> {
    is_healed("leak", "restart-process").map(drop)
}

/// Guarantees: a wrong value that somebody wrote is set back to the last good one.
fn bad_config() -> Result<()> {
    is_healed("bad-config", "set-config").map(drop)
}

/// Guarantees: the slow dependency is named, not the service that complains; the first remedy does not help and is undone.
fn slow_dependency() -> Result<()> {
    let document = is_healed("slow-dependency", "restart-process")?;
    let actions = document["faults"][0]["actions"].as_array().context("no actions")?;
    assert_eq!(actions.len(), 2, "{document:#}");
    assert_eq!(
        (&actions[0]["action"], &actions[0]["outcome"]),
        (&Value::from("set-config"), &Value::from("not_healed"))
    );
    Ok(())
}

/// Guarantees: a harmless rise of load causes no action.
fn surge() -> Result<()> {
    let (document, success) = demo("surge", WITHOUT)?;
    assert_eq!(document["false_actions"], 0, "{document:#}");
    assert!(success, "{document:#}");
    Ok(())
}

/// Scenario: a person holds the demo and ends it by Ctrl-C, which a terminal sends to the program.
/// Guarantees: that is no error, and no process of the shop is left.
fn holding_ends_by_ctrl_c() -> Result<()> {
    let output = tempfile::tempdir()?;
    let mut child = Command::new(salve_tests::built("release/salve-demo"))
        .args(["--hold", "--output"])
        .arg(output.path())
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()?;
    let mut lines = BufReader::new(child.stdout.take().context("no standard output")?).lines();
    let mut pids = Vec::new();
    loop {
        let line = lines.next().context("it ended by itself")??;
        let words: Vec<&str> = line.split_whitespace().collect();
        pids.extend(
            words.windows(2).filter(|pair| pair[0] == "pid").filter_map(|pair| pair[1].parse::<u32>().ok()),
        );
        if line.contains("Ctrl-C stops everything") {
            break;
        }
    }
    let alive = |pid: &u32| std::path::Path::new(&format!("/proc/{pid}")).exists();
    assert!(pids.len() >= 4 && pids.iter().all(alive), "{pids:?}");
    let status = Command::new("kill").args(["-INT", &child.id().to_string()]).status()?;
    assert!(status.success());
    let ended = child.wait()?;
    let mut said = String::new();
    child.stderr.take().context("no standard error")?.read_to_string(&mut said)?;
    assert_eq!((ended.code(), said.trim()), (Some(0), "Everything was stopped."));
    assert!(!pids.iter().any(alive), "{pids:?}");
    Ok(())
}
