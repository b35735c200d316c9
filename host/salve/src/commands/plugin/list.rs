//! `salve plugin list`.

use crate::{
    commands::{JsonAndConfig, output},
    control::{Request, Response},
};
use anyhow::{Result, bail};
use salve_model::text::escape;
use std::process::ExitCode;

/// Shows what the daemon has loaded.
pub fn run(arguments: &JsonAndConfig) -> Result<ExitCode> {
    let Response::Plugins(plugins) = arguments.config.ask(&Request::Plugins)? else {
        bail!("the daemon answered something else")
    };
    if arguments.json {
        output::say_json(&plugins)?;
        return Ok(ExitCode::SUCCESS);
    }
    let mut rows =
        vec![["name", "version", "role", "state", "targets", "summary"].map(String::from).to_vec()];
    rows.extend(plugins.into_iter().map(|plugin| {
        let targets = plugin.targets.join(",");
        vec![plugin.name, plugin.version, plugin.role, plugin.state, targets, escape(&plugin.summary, 80)]
    }));
    output::say(&output::table(&rows));
    Ok(ExitCode::SUCCESS)
}
