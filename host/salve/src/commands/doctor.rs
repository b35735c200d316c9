//! `salve doctor`: looks at everything the daemon will need and says what to do about what is wrong.

mod parts;

use super::{JsonAndConfig, output};
use crate::{admission::Admission, config::Config, control, daemon};
use anyhow::Result;
use salve_capabilities::TargetConfig;
use salve_model::{PluginName, Tenant, mode::Mode};
use salve_plugins::{PluginHost, Role};
use serde::Serialize;
use std::{
    collections::BTreeSet,
    net::{SocketAddr, TcpListener},
    os::unix::fs::{DirBuilderExt, MetadataExt},
    path::Path,
    process::ExitCode,
    sync::Arc,
};

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
enum Verdict {
    Good,
    Warning,
    Bad,
}

/// One thing that was looked at.
#[derive(Debug, Serialize)]
struct Check {
    name: String,
    verdict: Verdict,
    found: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    hint: Option<String>,
}

impl Check {
    fn good(name: &str, found: impl Into<String>) -> Self {
        Self { name: name.into(), verdict: Verdict::Good, found: found.into(), hint: None }
    }

    fn warning(name: &str, found: impl Into<String>, hint: impl Into<String>) -> Self {
        Self { name: name.into(), verdict: Verdict::Warning, found: found.into(), hint: Some(hint.into()) }
    }

    fn bad(name: &str, found: impl Into<String>, hint: impl Into<String>) -> Self {
        Self { name: name.into(), verdict: Verdict::Bad, found: found.into(), hint: Some(hint.into()) }
    }
}

/// Prints the checks. Exit code 1 if any is bad.
pub fn run(arguments: &JsonAndConfig) -> Result<ExitCode> {
    let checks = match arguments.config.load() {
        Err(error) => {
            vec![Check::bad(
                "configuration",
                format!("{error:#}"),
                "correct the file; examples/salve.toml shows the keys",
            )]
        }
        Ok(config) => all(&config, &arguments.config.config),
    };
    if arguments.json {
        output::say_json(&checks)?;
    } else {
        for check in &checks {
            let mark = match check.verdict {
                Verdict::Good => "ok  ",
                Verdict::Warning => "warn",
                Verdict::Bad => "BAD ",
            };
            output::say(&format!("{mark}  {:<14} {}", check.name, check.found));
            if let Some(hint) = &check.hint {
                output::say(&format!("      {:<14} → {hint}", ""));
            }
        }
    }
    let bad = checks.iter().any(|check| check.verdict == Verdict::Bad);
    Ok(if bad { ExitCode::from(1) } else { ExitCode::SUCCESS })
}

fn all(config: &Config, path: &Path) -> Vec<Check> {
    let mut checks = vec![Check::good("configuration", format!("mode {:?}", config.mode).to_lowercase())];
    checks.push(state_directory(config));
    checks.extend(parts::refusals(config, path));
    let running = control::ask(&config.control_socket(), &control::Request::Status).is_ok();
    if running {
        checks.push(Check::good("daemon", "running; its ports are its own"));
    } else {
        checks.push(Check::good("daemon", "not running"));
        checks.push(port("otlp grpc", config.otlp.grpc_address));
        checks.push(port("otlp http", config.otlp.http_address));
        checks.push(port("health", config.health.address));
    }
    checks.extend(policies(config));
    let (plugin_checks, plugins) = plugins(config);
    checks.extend(plugin_checks);
    checks.extend(targets(config));
    checks.extend(grants(config, &plugins));
    checks.push(ledger(config));
    if config.pause_file().exists() {
        checks.push(Check::warning("kill switch", "Salve is paused", "salve resume"));
    }
    checks
}

fn state_directory(config: &Config) -> Check {
    let directory = &config.state_directory;
    let shown = directory.display().to_string();
    // As `salve run` makes it: what a first look makes must not be what it then warns of.
    let made = std::fs::DirBuilder::new().recursive(true).mode(0o700).create(directory);
    if let Err(error) = made {
        return Check::bad(
            "state",
            format!("cannot make `{shown}`: {error}"),
            "set `state_directory` to a folder that this user may write",
        );
    }
    match std::fs::metadata(directory) {
        Ok(metadata) if metadata.mode() & 0o077 != 0 => Check::warning(
            "state",
            format!("`{shown}` can be read by others"),
            format!("chmod 700 {shown} (salve run does it)"),
        ),
        Ok(_) => match tempfile_in(directory) {
            Ok(()) => Check::good("state", shown),
            Err(error) => Check::bad(
                "state",
                format!("cannot write in `{shown}`: {error}"),
                "check its owner and that the disk is not full",
            ),
        },
        Err(error) => {
            Check::bad("state", format!("cannot look at `{shown}`: {error}"), "check its permissions")
        }
    }
}

fn tempfile_in(directory: &Path) -> std::io::Result<()> {
    let path = directory.join(format!("doctor-{}", std::process::id()));
    std::fs::write(&path, b"x")?;
    std::fs::remove_file(path)
}

fn port(name: &str, address: SocketAddr) -> Check {
    match TcpListener::bind(address) {
        Ok(_) => Check::good(name, format!("{address} is free")),
        Err(error) => Check::bad(
            name,
            format!("cannot listen on {address}: {error}"),
            "stop what uses the port, or set another address",
        ),
    }
}

fn policies(config: &Config) -> Vec<Check> {
    let directory = &config.policies.directory;
    match salve_policy::check(directory) {
        Ok(report) if report.policies.is_empty() => {
            vec![Check::warning(
                "policies",
                format!("no *.rhai in `{}`", directory.display()),
                "without a policy nothing is ever done; start from policies/default.rhai",
            )]
        }
        Ok(report) => vec![Check::good("policies", report.policies.join(", "))],
        Err(errors) => vec![Check::bad("policies", errors.to_string(), "salve policy check DIRECTORY")],
    }
}

fn plugins(config: &Config) -> (Vec<Check>, Vec<Arc<salve_plugins::Plugin>>) {
    let directory = &config.plugins.directory;
    let files = match std::fs::read_dir(directory) {
        Ok(entries) => entries
            .filter_map(|entry| Some(entry.ok()?.path()))
            .filter(|path| path.extension().is_some_and(|e| e == "wasm")),
        Err(error) => {
            let hint = "set `plugins.directory` to the folder of *.wasm components";
            return (
                vec![Check::bad("plugins", format!("cannot read `{}`: {error}", directory.display()), hint)],
                Vec::new(),
            );
        }
    };
    let host = match PluginHost::new(daemon::host_config(config)) {
        Ok(host) => host,
        Err(error) => {
            return (vec![Check::bad("plugins", format!("{error}"), "check the state folder")], Vec::new());
        }
    };
    let mut checks = Vec::new();
    let mut loaded = Vec::new();
    let admission = Admission::looking(config);
    let writable = std::fs::metadata(directory).is_ok_and(|metadata| metadata.mode() & 0o002 != 0);
    if writable {
        checks.push(Check::bad(
            "plugins",
            format!(
                "`{}` can be written by everybody, and its lock file says what may load",
                directory.display()
            ),
            format!("chmod o-w {}", directory.display()),
        ));
    }
    if config.plugins.dev {
        checks.push(Check::warning(
            "plugins",
            "plugins.dev = true: what is unsigned loads",
            "remove it where Salve guards more than your own machine",
        ));
    }
    for path in files {
        match admission.load(&host, &path) {
            Ok((plugin, _)) => loaded.push(plugin),
            Err(refused) => checks.push(Check::bad(
                "plugins",
                format!("`{}`: {}", path.display(), refused.why),
                format!("salve plugin verify {0}; salve plugin inspect {0}", path.display()),
            )),
        }
    }
    for (role, hint) in [
        (Role::Detector, "nothing will be noticed"),
        (Role::Agent, "no cause will be named"),
        (Role::Action, "nothing can be done"),
    ] {
        let names: Vec<_> = loaded
            .iter()
            .filter(|plugin| plugin.role() == role)
            .map(|plugin| plugin.name().to_owned())
            .collect();
        let name = format!("{role:?}s").to_lowercase();
        if names.is_empty() {
            checks.push(Check::warning(
                &name,
                "none",
                format!("{hint}; put components into `{}`", directory.display()),
            ));
        } else {
            checks.push(Check::good(&name, names.join(", ")));
        }
    }
    for detector in config.detectors() {
        if !loaded.iter().any(|plugin| plugin.name() == detector.plugin) {
            checks.push(Check::bad(
                "detectors",
                format!("[[detector]] `{}` wants the plugin `{}`", detector.name, detector.plugin),
                "put it into the plugin folder",
            ));
        }
    }
    (checks, loaded)
}

fn targets(config: &Config) -> Vec<Check> {
    let mut checks = Vec::new();
    if config.targets.is_empty() {
        checks.push(Check::warning("targets", "none", "without a [[target]] nothing can be acted on"));
    }
    for target in &config.targets {
        let id = &target.id;
        if target.select.is_empty() {
            checks.push(Check::warning(
                "targets",
                format!("`{id}` selects nothing"),
                "give it select = { \"service.name\" = \"…\" }",
            ));
        }
        if let Some(file) = target.config.as_ref().map(|config| &config.file) {
            if file.is_file() {
                checks.push(Check::good("targets", format!("`{id}` has the file {}", file.display())));
            } else {
                checks.push(Check::bad(
                    "targets",
                    format!("`{id}`: there is no file {}", file.display()),
                    "correct target.config.file",
                ));
            }
        }
    }
    checks.extend(tenants(config));
    for process in &config.processes {
        let program = process.command.first().map_or("", String::as_str);
        if Path::new(program).is_file() {
            checks.push(Check::good("processes", format!("`{}` runs {program}", process.name)));
        } else if Path::new(program).is_absolute() {
            checks.push(Check::bad(
                "processes",
                format!("`{}`: there is no program `{program}`", process.name),
                "install it, or correct the first word of `command`",
            ));
        }
    }
    checks
}

/// Targets that no sender's telemetry can be about, and things that two tenants share.
fn tenants(config: &Config) -> Vec<Check> {
    let mut checks = Vec::new();
    let senders: BTreeSet<Tenant> = match config.otlp.tokens.as_slice() {
        // Without tokens everybody is the default tenant.
        [] => BTreeSet::from([Tenant::default()]),
        tokens => tokens.iter().map(|token| token.tenant.clone()).collect(),
    };
    for target in &config.targets {
        let (id, tenant) = (&target.id, &target.tenant);
        if !senders.contains(tenant) {
            checks.push(Check::warning(
                "targets",
                format!("`{id}` is of tenant `{tenant}`, and no sender is: nobody's telemetry is about it"),
                format!("give a sender `tenant = \"{tenant}\"` in [[otlp.tokens]], or the target a sender's tenant"),
            ));
        }
    }
    for (index, one) in config.targets.iter().enumerate() {
        let others = config.targets.iter().skip(index + 1).filter(|other| other.tenant != one.tenant);
        for other in others {
            let same_process = one.process.is_some() && one.process == other.process;
            let file = |target: &TargetConfig| target.config.as_ref().map(|config| config.file.clone());
            if same_process || (file(one).is_some() && file(one) == file(other)) {
                checks.push(Check::warning(
                    "targets",
                    format!(
                        "`{}` of tenant `{}` and `{}` of tenant `{}` are the same thing",
                        one.id, one.tenant, other.id, other.tenant
                    ),
                    "what is done to it for one tenant is done to the other; give each its own",
                ));
            }
        }
    }
    checks
}

fn grants(config: &Config, plugins: &[Arc<salve_plugins::Plugin>]) -> Vec<Check> {
    let mut checks = Vec::new();
    for plugin in plugins.iter().filter(|plugin| plugin.role() == Role::Action) {
        let name = PluginName(plugin.name().to_owned());
        if !config.grants.iter().any(|grant| grant.plugin == name) {
            checks.push(Check::warning(
                "grants",
                format!("`{name}` is loaded and may do nothing"),
                "add a [[grant]] if a policy is to use it",
            ));
        }
    }
    for grant in &config.grants {
        if !plugins.iter().any(|plugin| plugin.name() == grant.plugin.0) {
            checks.push(Check::warning(
                "grants",
                format!("there is no plugin `{}` for this grant", grant.plugin),
                "remove the grant, or add the plugin",
            ));
        }
    }
    if config.mode == Mode::Act && config.grants.is_empty() {
        checks.push(Check::warning(
            "grants",
            "mode is `act` and nothing is granted",
            "every action will be refused",
        ));
    }
    checks
}

fn ledger(config: &Config) -> Check {
    let path = config.ledger_path();
    if !path.exists() {
        return Check::good("ledger", "new");
    }
    match salve_ledger::verify(&path) {
        Ok(report) if report.first_bad.is_none() => {
            Check::good("ledger", format!("{} entries, chain intact", report.entries))
        }
        Ok(report) => Check::bad(
            "ledger",
            super::ledger::describe(&report),
            "keep the file as evidence and find out who changed it",
        ),
        Err(error) => Check::bad("ledger", format!("{error}"), "check the file's owner and the disk"),
    }
}
