//! `salve plugin reload`, `accept`, `promote` and `rollback`: which version of a plugin is active.

use super::list::plugins;
use crate::{
    commands::{ConfigArgument, output, user},
    control::{PluginCommand, PluginStatus, Request, Response},
};
use anyhow::{Context, Result, bail};
use salve_model::text::escape;
use std::{
    io::{BufRead, IsTerminal},
    process::ExitCode,
};

/// One plugin of the running daemon.
#[derive(Debug, clap::Args)]
pub struct OfPlugin {
    /// The plugin.
    name: String,
    /// Answer in JSON.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    config: ConfigArgument,
}

/// Arguments of `accept`.
#[derive(Debug, clap::Args)]
pub struct Accept {
    #[command(flatten)]
    of: OfPlugin,
    /// Do not ask; the differences are shown even so.
    #[arg(long)]
    yes: bool,
}

/// Arguments of `promote`.
#[derive(Debug, clap::Args)]
pub struct Promote {
    #[command(flatten)]
    of: OfPlugin,
    /// Another version than the one under trial, by the beginning of its digest.
    #[arg(long, value_name = "HEX")]
    digest: Option<String>,
}

/// Carries out `reload`.
pub fn reload(of: OfPlugin) -> Result<ExitCode> {
    tell(&of, PluginCommand::Reload { name: of.name.clone(), by: user() })
}

/// Carries out `rollback`.
pub fn rollback(of: OfPlugin) -> Result<ExitCode> {
    tell(&of, PluginCommand::Rollback { name: of.name.clone(), by: user() })
}

/// Carries out `promote`.
pub fn promote(arguments: Promote) -> Result<ExitCode> {
    let Promote { of, digest } = arguments;
    if digest.is_none() {
        show_held(&of)?;
    }
    tell(&of, PluginCommand::Promote { name: of.name.clone(), digest, by: user() })
}

/// Carries out `accept`. Exit code 1 if the operator says no.
pub fn accept(arguments: Accept) -> Result<ExitCode> {
    let Accept { of, yes } = arguments;
    let Some(held) = show_held(&of)? else {
        bail!(
            "no version of `{}` is held\n\nhint: `salve plugin list` shows the state of each version",
            of.name
        )
    };
    if !yes {
        if !std::io::stdin().is_terminal() {
            bail!(
                "nobody is there to be asked\n\nhint: `salve plugin accept {} --yes` accepts what is shown above",
                of.name
            );
        }
        output::complain("Let it go on? [y/N]");
        let mut line = String::new();
        std::io::stdin().lock().read_line(&mut line).context("cannot read the answer")?;
        if !matches!(line.trim(), "y" | "Y" | "yes") {
            output::complain("It stays held.");
            return Ok(ExitCode::from(1));
        }
    }
    // Just the version that was shown: if another file came meanwhile, the daemon refuses.
    tell(&of, PluginCommand::Accept { name: of.name.clone(), digest: held.digest, by: user() })
}

/// Shows in what the version that is held differs; none if none is.
fn show_held(of: &OfPlugin) -> Result<Option<PluginStatus>> {
    let all = plugins(&of.config)?;
    if !all.iter().any(|plugin| plugin.name == of.name) {
        bail!("there is no plugin `{}`\n\nhint: `salve plugin list` shows all", of.name);
    }
    let held = all.into_iter().find(|plugin| plugin.name == of.name && plugin.stage == "held");
    if let Some(held) = &held {
        let digest: String = held.digest.chars().take(12).collect();
        output::complain(&format!(
            "{} {} ({digest}) differs from the last active version:",
            held.name,
            escape(&held.version, 40)
        ));
        for difference in &held.differences {
            let mark = if difference.wider { "+" } else { "-" };
            output::complain(&format!("  {mark} {}", escape(&difference.words, 200)));
        }
    }
    Ok(held)
}

fn tell(of: &OfPlugin, command: PluginCommand) -> Result<ExitCode> {
    let Response::Done(done) = of.config.ask(&Request::Plugin(command))? else {
        bail!("the daemon answered something else")
    };
    if of.json {
        output::say_json(&serde_json::json!({ "plugin": of.name, "done": done }))?;
    } else {
        output::say(&format!("{}: {done}", of.name));
    }
    Ok(ExitCode::SUCCESS)
}
