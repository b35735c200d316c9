//! `salve plugin grants`: what a plugin can do and why, in at most eight lines; or the least grants that it needs.
//!
//! Works without a daemon; with one it also says what changed since the running version.

mod least;
mod report;

use crate::{
    admission::Admission,
    commands::{ConfigArgument, output},
    config::Config,
    control::{PluginStatus, Request, Response},
};
use anyhow::{Context, Result, bail};
use salve_distribution::Identity;
use salve_ledger::{Entry, EntryKind, Filter, LedgerReader};
use salve_plugins::pack;
use std::{path::PathBuf, process::ExitCode};

/// What a grant that nobody used for so long is called.
pub(crate) const UNUSED_AFTER_MS: u64 = 30 * 24 * 3_600_000;
/// Largest recording that is read.
const RECORDING_BYTES_MAX: u64 = 64 << 20;

/// Arguments of `grants`.
#[derive(Debug, clap::Args)]
pub struct Arguments {
    /// The plugin.
    name: String,
    /// Propose the least grants for the calls in this recording.
    #[arg(long, value_name = "FILE", conflicts_with = "from_ledger")]
    from_recording: Option<PathBuf>,
    /// Propose the least grants for what the plugin did according to the ledger.
    #[arg(long)]
    from_ledger: bool,
    /// Answer in JSON.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    config: ConfigArgument,
}

/// Carries out the command.
pub fn run(arguments: &Arguments) -> Result<ExitCode> {
    let config = arguments.config.load()?;
    let running = running(arguments);
    let component = component(&config, &arguments.name)?;
    let manifest = component.as_ref().and_then(|component| component.inspection.manifest.as_ref());
    if manifest.is_none() && !running.iter().any(|plugin| plugin.name == arguments.name) {
        bail!(
            "there is no plugin `{}` in `{}`\n\nhint: the name is the one in its manifest; `salve plugin list` shows all that are loaded",
            arguments.name,
            config.plugins.directory.display()
        );
    }
    let reads_telemetry = component.as_ref().is_some_and(Component::reads_telemetry);
    if let Some(path) = &arguments.from_recording {
        let used = recorded(path, &arguments.name)?.of_targets(&config.targets);
        return propose(arguments, least::propose(&arguments.name, &used, manifest, reads_telemetry));
    }
    let entries = entries(&config, &arguments.name)?;
    if arguments.from_ledger {
        let used = least::of_ledger(&entries).of_targets(&config.targets);
        return propose(arguments, least::propose(&arguments.name, &used, manifest, reads_telemetry));
    }
    let lines = report::lines(&report::Facts {
        name: &arguments.name,
        config: &config,
        component: component.as_ref(),
        running: &running,
        entries: &entries,
        now_ms: unix_ms(),
        ledger_since_ms: ledger_since(&config)?,
    });
    if arguments.json {
        let mut object: serde_json::Map<_, _> =
            lines.into_iter().map(|(label, text)| (label.to_owned(), text.into())).collect();
        if let Some(Ok(identity)) = component.as_ref().map(|component| &component.identity) {
            object.insert("identity".into(), serde_json::to_value(identity)?);
        }
        output::say_json(&object)?;
    } else {
        for (label, text) in lines {
            output::say(&format!("{label:<13}{text}"));
        }
    }
    Ok(ExitCode::SUCCESS)
}

fn propose(arguments: &Arguments, proposal: least::Proposal) -> Result<ExitCode> {
    if arguments.json {
        output::say_json(&proposal.grants)?;
    } else {
        output::say(proposal.toml.trim_end());
    }
    if proposal.grants.is_empty() {
        output::complain("Nothing that needs a grant was done.");
    }
    Ok(ExitCode::SUCCESS)
}

/// What the daemon knows of the plugin; nothing if none runs.
fn running(arguments: &Arguments) -> Vec<PluginStatus> {
    match arguments.config.ask(&Request::Plugins) {
        Ok(Response::Plugins(plugins)) => {
            plugins.into_iter().filter(|plugin| plugin.name == arguments.name).collect()
        }
        _ => Vec::new(),
    }
}

/// The plugin's file, looked into without running it.
pub(crate) struct Component {
    inspection: pack::Inspection,
    /// Whose it is, or why it may not load.
    identity: Result<Identity, String>,
}

impl Component {
    /// It imports the interface through which telemetry is read.
    fn reads_telemetry(&self) -> bool {
        self.inspection.interfaces.imports.iter().any(|import| salve_plugins::is_telemetry(import))
    }
}

/// The file in the plugin folder that holds the plugin.
fn component(config: &Config, name: &str) -> Result<Option<Component>> {
    let folder = &config.plugins.directory;
    let entries = std::fs::read_dir(folder)
        .with_context(|| format!("cannot read the plugin folder `{}`", folder.display()))?;
    for path in entries.filter_map(|entry| Some(entry.ok()?.path())) {
        if path.extension().is_none_or(|extension| extension != "wasm") {
            continue;
        }
        // What cannot be read or is no component is not this plugin.
        let Ok(bytes) = std::fs::read(&path) else { continue };
        let Ok(inspection) = pack::inspect(&bytes) else { continue };
        let Some(manifest) = inspection.manifest.as_ref().filter(|manifest| manifest.name.0 == name) else {
            continue;
        };
        let identity = Admission::looking(config).identity(&path, &bytes, manifest);
        return Ok(Some(Component { identity: identity.map_err(|refused| refused.why), inspection }));
    }
    Ok(None)
}

/// The plugin's writes and refusals in the ledger, oldest first; nothing if there is no ledger yet.
fn entries(config: &Config, name: &str) -> Result<Vec<Entry>> {
    if !config.ledger_path().exists() {
        return Ok(Vec::new());
    }
    let reader = LedgerReader::open(config.ledger_path()).context("cannot read the ledger")?;
    let mut entries = reader.entries(Filter::kinds(&[EntryKind::WriteIntent, EntryKind::Refusal]))?;
    entries.retain(|entry| {
        entry
            .payload
            .as_ref()
            .and_then(|payload| payload["plugin"].as_str())
            .is_some_and(|plugin| plugin == name)
    });
    Ok(entries)
}

/// When the ledger begins; none if there is none.
fn ledger_since(config: &Config) -> Result<Option<u64>> {
    if !config.ledger_path().exists() {
        return Ok(None);
    }
    let reader = LedgerReader::open(config.ledger_path()).context("cannot read the ledger")?;
    let first = reader.stream(Filter { limit: Some(1), ..Filter::default() }).next().transpose()?;
    Ok(first.map(|entry| entry.now_ms))
}

/// What a recording says that the plugin did.
fn recorded(path: &std::path::Path, name: &str) -> Result<least::Used> {
    let reading = || format!("cannot read the recording `{}`", path.display());
    let length = std::fs::metadata(path).with_context(reading)?.len();
    if length > RECORDING_BYTES_MAX {
        bail!("{}: it is larger than 64 MiB", reading());
    }
    let text = std::fs::read_to_string(path).with_context(reading)?;
    least::of_recording(&text, name).with_context(reading)
}

fn unix_ms() -> u64 {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    since.map_or(0, |since| u64::try_from(since.as_millis()).unwrap_or(u64::MAX))
}
