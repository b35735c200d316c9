//! `salve plugin list`.

use crate::{
    commands::{JsonAndConfig, output},
    control::{PluginStatus, Request, Response},
};
use anyhow::{Result, bail};
use salve_model::text::escape;
use std::process::ExitCode;

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
        return Ok(ExitCode::SUCCESS);
    }
    let head =
        ["name", "version", "role", "state", "digest", "calls", "traps", "memory peak", "targets", "summary"];
    let mut rows = vec![head.map(String::from).to_vec()];
    // Those that were replaced long ago are only in the JSON.
    let shown = plugins.into_iter().filter(|plugin| plugin.stage != "retired" || plugin.can_roll_back_to);
    rows.extend(shown.map(row));
    output::say(&output::table(&rows));
    Ok(ExitCode::SUCCESS)
}

fn row(plugin: PluginStatus) -> Vec<String> {
    let counter = |name: &str| plugin.counters.get(name).map_or_else(|| "–".to_owned(), u64::to_string);
    let memory = plugin
        .counters
        .get("memory_peak_bytes")
        .map_or_else(|| "–".to_owned(), |bytes| format!("{:.1} MiB", *bytes as f64 / f64::from(1 << 20)));
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
    vec![
        plugin.name.clone(),
        escape(&plugin.version, 40),
        plugin.role.clone(),
        state,
        plugin.digest.chars().take(12).collect(),
        counter("calls_total"),
        counter("faults_total"),
        memory,
        plugin.targets.join(","),
        words,
    ]
}
