//! `salve plugin list`.

use crate::{
    commands::{JsonAndConfig, output},
    control::{PluginStatus, Request, Response},
};
use anyhow::{Result, bail};
use salve_model::text::escape;
use std::{collections::BTreeMap, process::ExitCode};

/// What stands where nothing is counted.
const NOT_COUNTED: &str = "–";

/// All versions that matter, as the daemon knows them.
pub fn plugins(config: &crate::commands::ConfigArgument) -> Result<Vec<PluginStatus>> {
    match config.ask(&Request::Plugins)? {
        Response::Plugins(plugins) => Ok(plugins),
        _ => bail!("the daemon answered something else"),
    }
}

/// Carries out the command.
pub fn run(arguments: &JsonAndConfig) -> Result<ExitCode> {
    let plugins = plugins(&arguments.config)?;
    if arguments.json {
        output::say_json(&plugins)?;
    } else {
        output::say(&table(plugins));
    }
    Ok(ExitCode::SUCCESS)
}

fn table(plugins: Vec<PluginStatus>) -> String {
    let head = [
        "name",
        "version",
        "role",
        "state",
        "digest",
        "instances",
        "calls",
        "traps",
        "cpu time",
        "memory peak",
        "fuel",
        "targets",
        "summary",
    ];
    let mut rows = vec![head.map(String::from).to_vec()];
    // Those that were replaced long ago are only in the JSON.
    let shown = plugins.into_iter().filter(|plugin| plugin.stage != "retired" || plugin.can_roll_back_to);
    let shown: Vec<PluginStatus> = shown.collect();
    let total = total(&shown);
    rows.extend(shown.into_iter().map(row));
    let mut last = vec!["total".to_owned(), String::new(), String::new(), String::new(), String::new()];
    last.extend(figures(&total));
    last.extend([String::new(), String::new()]);
    rows.push(last);
    output::table(&rows)
}

/// The counters of all of them; of peaks the highest.
fn total(plugins: &[PluginStatus]) -> BTreeMap<String, u64> {
    let mut total = BTreeMap::<String, u64>::new();
    for (name, value) in plugins.iter().flat_map(|plugin| &plugin.counters) {
        let sum = total.entry(name.clone()).or_default();
        *sum = if name.contains("peak") { (*sum).max(*value) } else { sum.saturating_add(*value) };
    }
    total
}

/// Instances, calls, traps, CPU time, memory, fuel.
fn figures(counters: &BTreeMap<String, u64>) -> [String; 6] {
    let figure = |name: &str, words: &dyn Fn(u64) -> String| {
        counters.get(name).map_or_else(|| NOT_COUNTED.to_owned(), |value| words(*value))
    };
    let count = |value: u64| value.to_string();
    [
        figure("instances_live", &count),
        figure("calls_total", &count),
        figure("faults_total", &count),
        figure("cpu_us_total", &|us| format!("{:.1} ms", us as f64 / 1_000.0)),
        figure("memory_peak_bytes", &|bytes| format!("{:.1} MiB", bytes as f64 / f64::from(1 << 20))),
        figure("fuel_total", &count),
    ]
}

fn row(plugin: PluginStatus) -> Vec<String> {
    let state = match plugin.stage.as_str() {
        "shadow" | "canary" => {
            format!("{} ({} of {} differ)", plugin.state, plugin.differed, plugin.compared)
        }
        _ => plugin.state.clone(),
    };
    // Why it does not answer says more than what it would do.
    let words = match plugin.stage.as_str() {
        "held" | "failed" | "quarantined" => escape(&plugin.reason, 120),
        _ => escape(&plugin.summary, 80),
    };
    let mut row = vec![
        plugin.name.clone(),
        escape(&plugin.version, 40),
        plugin.role.clone(),
        state,
        plugin.digest.chars().take(12).collect(),
    ];
    row.extend(figures(&plugin.counters));
    row.extend([plugin.targets.join(","), words]);
    row
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plugin(name: &str, counters: &[(&str, u64)]) -> PluginStatus {
        PluginStatus {
            name: name.into(),
            state: "active".into(),
            stage: "active".into(),
            counters: counters.iter().map(|(name, value)| ((*name).into(), *value)).collect(),
            ..PluginStatus::default()
        }
    }

    /// Guarantees: the last line sums up what is shown, peaks by the highest; what is not counted is no 0.
    #[test]
    fn totals() {
        let one = plugin("one", &[("calls_total", 2), ("memory_peak_bytes", 3 << 20), ("instances_live", 1)]);
        let two = plugin("two", &[("calls_total", 5), ("memory_peak_bytes", 1 << 20), ("fuel_total", 70)]);
        let mut gone = plugin("gone", &[("calls_total", 100)]);
        gone.stage = "retired".into();
        let text = table(vec![one, two, gone]);
        let cells = |name: &str| -> Vec<&str> {
            let line = text.lines().find(|line| line.starts_with(name)).unwrap_or_default();
            line.split("  ").map(str::trim).filter(|cell| !cell.is_empty()).collect()
        };
        assert_eq!(cells("one"), ["one", "active", "1", "2", "–", "–", "3.0 MiB", "–"], "{text}");
        assert_eq!(cells("total"), ["total", "1", "7", "–", "–", "3.0 MiB", "70"], "{text}");
    }
}
