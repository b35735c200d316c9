//! The demo, many times: how often and how fast each fault is healed.

use crate::{dist, process, test::SILENCE_MAX, toolchain::Choice, workspace::Workspace};
use anyhow::{Context, Result};
use serde::{Deserialize, Serialize};
use std::{collections::BTreeMap, fs, process::ExitCode};

/// What to run.
#[derive(Debug, clap::Args)]
pub(crate) struct Options {
    /// How many times.
    #[arg(long, default_value_t = 20)]
    runs: u64,
    /// The first seed; each run takes the next one.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Only this fault.
    #[arg(long)]
    fault: Option<String>,
}

/// The part of the demo's document that counts here.
#[derive(Debug, Deserialize)]
struct Document {
    faults: Vec<Fault>,
    false_actions: u64,
    ledger: Record,
}

#[derive(Debug, Deserialize)]
struct Record {
    verified: bool,
}

#[derive(Debug, Deserialize)]
struct Fault {
    fault: String,
    target: String,
    diagnosed: Option<String>,
    outcome: Option<String>,
    detect_ms: Option<f64>,
    act_ms: Option<f64>,
    heal_ms: Option<f64>,
}

impl Fault {
    /// The right cause, and healed.
    fn is_right(&self) -> bool {
        self.diagnosed.as_ref() == Some(&self.target) && self.outcome.as_deref() == Some("healed")
    }
}

/// What was seen of one fault over all runs.
#[derive(Debug, Default, Serialize)]
struct Seen {
    runs: u64,
    right: u64,
    #[serde(skip)]
    detect_ms: Vec<f64>,
    #[serde(skip)]
    act_ms: Vec<f64>,
    #[serde(skip)]
    heal_ms: Vec<f64>,
    detect_median_ms: Option<f64>,
    act_median_ms: Option<f64>,
    heal_median_ms: Option<f64>,
}

/// What was seen over all runs.
#[derive(Debug, Default, Serialize)]
struct Report {
    faults: BTreeMap<String, Seen>,
    false_actions: u64,
    /// Seeds of runs that gave no document, or one with an unverified ledger or a fault that was not handled rightly.
    bad_seeds: Vec<u64>,
}

impl Report {
    fn add(&mut self, seed: u64, document: Document) {
        self.false_actions += document.false_actions;
        let mut good = document.ledger.verified && document.false_actions == 0;
        // `surge` is no fault: nothing is to be healed, only false actions are counted.
        for fault in document.faults.into_iter().filter(|fault| fault.fault != "surge") {
            good &= fault.is_right();
            let seen = self.faults.entry(fault.fault.clone()).or_default();
            seen.runs += 1;
            seen.right += u64::from(fault.is_right());
            seen.detect_ms.extend(fault.detect_ms);
            seen.act_ms.extend(fault.act_ms);
            seen.heal_ms.extend(fault.heal_ms);
        }
        if !good {
            self.bad_seeds.push(seed);
        }
    }

    fn finish(&mut self) {
        for seen in self.faults.values_mut() {
            seen.detect_median_ms = median(&mut seen.detect_ms);
            seen.act_median_ms = median(&mut seen.act_ms);
            seen.heal_median_ms = median(&mut seen.heal_ms);
        }
    }
}

/// The middle value; the mean of the two in the middle of an even number.
fn median(values: &mut [f64]) -> Option<f64> {
    values.sort_by(f64::total_cmp);
    let middle = values.len() / 2;
    let upper = *values.get(middle)?;
    if values.len().is_multiple_of(2) { Some((values.get(middle - 1)? + upper) / 2.0) } else { Some(upper) }
}

/// Runs the demo as often as asked; the exit code is 0 if every run was good.
pub(crate) fn run(workspace: &Workspace, options: &Options) -> Result<ExitCode> {
    dist::build(workspace, Choice::Auto)?;
    let mut report = Report::default();
    let folder = workspace.target.join("eval");
    for seed in options.seed..options.seed.saturating_add(options.runs) {
        let mut demo = dist::demo(workspace);
        demo.args(["--json", "--no-baseline", "--seed", &seed.to_string(), "--output"])
            .arg(folder.join(seed.to_string()));
        if let Some(fault) = &options.fault {
            demo.args(["--fault", fault]);
        }
        let mut text = String::new();
        // The demo's exit code says that a fault was not handled rightly: that is counted below.
        let ended = process::run_lines(&mut demo, SILENCE_MAX, |line| {
            text.push_str(line);
            text.push('\n');
        });
        match serde_json::from_str::<Document>(&text) {
            Ok(document) => report.add(seed, document),
            Err(error) => {
                let why = ended.err().map_or_else(|| error.to_string(), |ended| format!("{ended:#}"));
                println!("seed {seed} gave no document: {why}");
                report.bad_seeds.push(seed);
            }
        }
    }
    report.finish();
    let path = folder.join("report.json");
    dist::create(&folder)?;
    fs::write(&path, serde_json::to_string_pretty(&report)?)
        .with_context(|| format!("cannot write `{}`", path.display()))?;
    let seconds = |ms: Option<f64>| ms.map_or_else(|| "-".into(), |ms| format!("{:.1} s", ms / 1_000.0));
    println!("\n{:<18} {:>9} {:>9} {:>9} {:>9}   (medians)", "fault", "rightly", "detect", "act", "heal");
    for (fault, seen) in &report.faults {
        println!(
            "{fault:<18} {:>9} {:>9} {:>9} {:>9}",
            format!("{}/{}", seen.right, seen.runs),
            seconds(seen.detect_median_ms),
            seconds(seen.act_median_ms),
            seconds(seen.heal_median_ms),
        );
    }
    println!("false actions: {}", report.false_actions);
    if report.bad_seeds.is_empty() {
        return Ok(ExitCode::SUCCESS);
    }
    println!("look again at seeds {:?}; the numbers are in {}", report.bad_seeds, path.display());
    Ok(ExitCode::FAILURE)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Guarantees: a wrong cause, a fault not healed, a false action or a bad ledger each make a run bad.
    #[test]
    fn only_right_runs_count_as_right() {
        let document = |diagnosed: &str, outcome: &str, false_actions: u64, verified: bool| {
            serde_json::from_value(serde_json::json!({
                "faults": [
                    {"fault": "kill", "target": "checkout", "diagnosed": diagnosed, "outcome": outcome,
                     "actions": [], "detect_ms": 900, "act_ms": 1000.5, "heal_ms": null},
                    {"fault": "surge", "target": "", "diagnosed": null, "outcome": null},
                ],
                "false_actions": false_actions,
                "ledger": {"entries": 5, "verified": verified},
            }))
            .unwrap()
        };
        let mut report = Report::default();
        report.add(1, document("checkout", "healed", 0, true));
        report.add(2, document("gateway", "healed", 0, true));
        report.add(3, document("checkout", "not_healed", 0, true));
        report.add(4, document("checkout", "healed", 1, true));
        report.add(5, document("checkout", "healed", 0, false));
        report.finish();
        assert_eq!(report.bad_seeds, [2, 3, 4, 5]);
        let kill = &report.faults["kill"];
        assert_eq!(
            (kill.runs, kill.right, kill.act_median_ms, kill.heal_median_ms),
            (5, 3, Some(1000.5), None)
        );
        assert_eq!(report.faults.len(), 1);
    }

    /// Guarantees: the median of an even number of values lies between the two in the middle.
    #[test]
    fn median_is_the_middle() {
        assert_eq!(median(&mut []), None);
        assert_eq!(median(&mut [3.0, 1.0, 2.0]), Some(2.0));
        assert_eq!(median(&mut [4.0, 1.0, 2.0, 3.0]), Some(2.5));
    }
}
