//! What changes while the daemon runs: a new action, a broken policy, a broken configuration.

#[path = "support/desk.rs"]
mod desk;

use anyhow::{Context, Result, ensure};
use desk::{Desk, Said};
use salve_tests::{
    daemon::Daemon,
    shop::{self, is_alive, sender_for_process, worker_pid},
    world::Sender,
};
use std::{
    fs,
    path::Path,
    process::Command,
    time::{Duration, Instant},
};

const NOTHING: &str = "fn decide(incident, findings, catalogue, history) { [] }\n";

const STOP_START: &str = r#"
fn decide(incident, findings, catalogue, history) {
    [#{ verdict: "act", action: "stop-start", target: "worker", parameters: #{}, priority: 10, reason: "recycle" }]
}
"#;

const GRANT: &str =
    "[[grant]]\nplugin = \"stop-start\"\ncapability = \"process\"\nverbs = [\"*\"]\ntargets = [\"worker\"]\n";

/// The shop's configuration, in which only what somebody vouches for loads.
fn strict(more: &str) -> String {
    shop::config("act", more).replace("dev = true", "dev = false")
}

/// A running daemon with a strict configuration.
async fn strict_daemon(more: &str) -> Result<Daemon> {
    let mut daemon = shop::prepare("act", NOTHING, "")?;
    daemon.configure(&strict(more))?;
    daemon.start().await?;
    Ok(daemon)
}

/// What the daemon says of a plugin.
fn state_of(daemon: &Daemon, name: &str) -> Result<Option<String>> {
    let plugins = daemon.json(&["plugin", "list", "--json"])?;
    let plugin = plugins.as_array().and_then(|plugins| plugins.iter().find(|plugin| plugin["name"] == name));
    Ok(plugin.and_then(|plugin| plugin["state"].as_str().map(String::from)))
}

async fn reaches(daemon: &mut Daemon, name: &str, state: &str) -> Result<()> {
    let what = format!("`{name}` is {state}");
    daemon.wait(&what, |daemon| Ok(state_of(daemon, name)?.as_deref() == Some(state))).await
}

/// Puts a policy into force.
async fn decide(daemon: &mut Daemon, policy: &str) -> Result<()> {
    let digest = |daemon: &Daemon| {
        Ok::<_, anyhow::Error>(daemon.json(&["status", "--json"])?["policy_digest"].clone())
    };
    let old = digest(daemon)?;
    fs::write(daemon.path("policies/test.rhai"), policy)?;
    daemon.wait("the policy is in force", |daemon| Ok(digest(daemon)? != old)).await
}

async fn closed(daemon: &mut Daemon) -> Result<serde_json::Value> {
    daemon
        .wait("the incident is closed", |daemon| {
            Ok(daemon.incidents()?.first().is_some_and(|incident| !incident["outcome"].is_null()))
        })
        .await?;
    Ok(daemon.incidents()?.remove(0))
}

/// Does in `folder` what its README says below `heading`, word by word, but for the place of the plugin folder.
fn follow(folder: &Path, heading: &str, daemon: &Daemon) -> Result<()> {
    let readme = fs::read_to_string(folder.join("README.md"))?;
    let (_, part) = readme.split_once(&format!("\n## {heading}\n")).context("the README has no such part")?;
    let (_, block) = part.split_once("\n```sh\n").context("the part has no commands")?;
    let (commands, _) = block.split_once("\n```").context("the commands do not end")?;
    ensure!(commands.contains("/path/to/plugins/"), "{commands}");
    let commands = commands.replace("/path/to/plugins/", &format!("{}/", daemon.path("plugins").display()));
    let programs = salve_tests::salve().parent().context("no folder")?.to_owned();
    let path = std::env::var_os("PATH").unwrap_or_default();
    let path = std::env::join_paths(std::iter::once(programs).chain(std::env::split_paths(&path)))?;
    let output = Command::new("sh")
        .args(["-e", "-c", &commands])
        .current_dir(folder)
        .env("PATH", path)
        .env("SALVE_CONFIG", daemon.path("salve.toml"))
        .envs(salve_tests::components::building())
        .output()?;
    Said::of(&output).good();
    Ok(())
}

/// The Rust example as somebody has it who copied it, as its README says.
fn copied_example(desk: &Desk) -> Result<std::path::PathBuf> {
    let folder = desk.path("my-action");
    let from = salve_tests::root().join("examples/action-rust");
    Said::of(&Command::new("cp").arg("-r").arg(from).arg(&folder).output()?).good();
    let manifest = folder.join("Cargo.toml");
    let text = fs::read_to_string(&manifest)?;
    let sdk = salve_tests::root().join("sdk/rust");
    let text = text.replace("\"../../sdk/rust\"", &format!("{:?}", sdk.display().to_string()));
    ensure!(text.contains(&sdk.display().to_string()), "{text}");
    fs::write(manifest, text)?;
    fs::copy(salve_tests::root().join("Cargo.lock"), folder.join("Cargo.lock"))?;
    // Dependencies compile once for all tests: the README's own `--target-dir` comes before the environment's.
    let shared = salve_tests::target().join("test-plugins");
    fs::create_dir_all(&shared)?;
    std::os::unix::fs::symlink(shared, folder.join("target"))?;
    Ok(folder)
}

/// One build at a time: a component is compiled at the lowest priority, after all else that computes.
static MACHINE: tokio::sync::Mutex<()> = tokio::sync::Mutex::const_new(());

/// Scenario: the example action is built, pinned and dropped into the plugin folder of a running daemon by the commands of its
/// README; then it is granted, then a policy names it; then the service breaks.
/// Guarantees: it is picked up within a second, is harmless until it is granted, and heals, all without a restart, where only what
/// somebody vouches for loads.
#[tokio::test(flavor = "multi_thread")]
async fn a_custom_action_is_used_in_the_next_heal() -> Result<()> {
    let _machine = MACHINE.lock().await;
    let mut daemon = strict_daemon("").await?;
    let marker = daemon.path("broken");
    let _sender: Sender = sender_for_process(daemon.otlp_http()?, marker.clone());
    shop::warm_up(&mut daemon, 20).await?;

    let desk = Desk::new()?;
    follow(&copied_example(&desk)?, "Build it and hand it over", &daemon)?;
    let dropped = Instant::now();
    daemon.wait("the action is loaded", |daemon| Ok(state_of(daemon, "stop-start")?.is_some())).await?;
    assert!(dropped.elapsed() < Duration::from_secs(1), "picked up after {:?}", dropped.elapsed());
    reaches(&mut daemon, "stop-start", "loaded, not granted").await?;

    daemon.configure(&strict(GRANT))?;
    reaches(&mut daemon, "stop-start", "active").await?;
    decide(&mut daemon, STOP_START).await?;

    let pid = worker_pid(&daemon)?.expect("the worker runs");
    fs::write(marker, pid.to_string())?;
    let incident = closed(&mut daemon).await?;
    assert_eq!(incident["outcome"], "healed", "{incident:#}");
    assert_eq!(incident["attempts"][0]["proposal"]["action"], "stop-start");
    assert!(!is_alive(pid));
    Ok(())
}

const PUT_BACK: &str = r#"
fn decide(incident, findings, catalogue, history) {
    [act("put-back", "worker").reason("a value was changed")]
}
"#;

const PUT_BACK_GRANT: &str = r#"
[[grant]]
plugin = "put-back"
capability = "config"
verbs = ["history", "set"]
targets = ["worker"]
arguments.key = { one_of = ["pool_size"] }
arguments.value = { min = 0, max = 64 }
"#;

/// Scenario: `salve plugin new`, `build`, then the commands of the project's README, beside a daemon that runs and lets nothing
/// unsigned in; then a grant and a policy; then somebody breaks the service's configuration.
/// Guarantees: without the README's `pin` the component is refused, with it the new plugin heals in the next incident, and nothing
/// was restarted.
#[tokio::test(flavor = "multi_thread")]
async fn from_nothing_to_a_heal() -> Result<()> {
    let _machine = MACHINE.lock().await;
    let settings = "[config_files]\ngood_after_ms = 1500\n";
    let mut daemon = strict_daemon(settings).await?;
    let desk = Desk::new()?;
    let folder = desk.new_project("put-back", "action")?;
    desk.salve(&["build", "put-back"])?.good();
    fs::copy(folder.join("build/put-back.wasm"), daemon.path("plugins/put-back.wasm"))?;
    reaches(&mut daemon, "put-back", "refused").await?;
    follow(&folder, "Use it", &daemon)?;
    reaches(&mut daemon, "put-back", "loaded, not granted").await?;
    daemon.configure(&strict(&format!("{settings}{PUT_BACK_GRANT}")))?;
    reaches(&mut daemon, "put-back", "active").await?;
    decide(&mut daemon, PUT_BACK).await?;

    let file = daemon.path("worker.toml");
    let before = fs::read(&file)?;
    let watched = file.clone();
    let is_broken = move || fs::read_to_string(&watched).is_ok_and(|text| text.contains("pool_size = 0"));
    let _sender = Sender::start(daemon.otlp_http()?, is_broken);
    shop::warm_up(&mut daemon, 20).await?;
    let written = daemon.path("worker.toml.new");
    fs::write(&written, "# how many at once\npool_size = 0\n")?;
    fs::rename(&written, &file)?;
    let incident = closed(&mut daemon).await?;
    assert_eq!(incident["outcome"], "healed", "{incident:#}");
    assert_eq!(incident["attempts"][0]["proposal"]["action"], "put-back");
    assert_eq!(fs::read(&file)?, before);
    Ok(())
}

/// Guarantees: wherever a README has a component copied into the plugin folder, the line before lets just that component load.
#[test]
fn every_readme_pins_what_it_hands_over() -> Result<()> {
    let mut readmes = vec![];
    for item in fs::read_dir(salve_tests::root().join("examples"))?.flatten() {
        readmes.push(item.path().join("README.md"));
    }
    for language in ["rust", "go", "js", "python"] {
        let templates = salve_tests::root().join("host/authoring/templates");
        readmes.push(templates.join(language).join("README.md.in"));
    }
    readmes.retain(|readme| readme.is_file());
    ensure!(readmes.len() >= 13, "{readmes:?}");
    for readme in readmes {
        let text = fs::read_to_string(&readme)?;
        let lines: Vec<_> = text.lines().collect();
        let handed_over =
            lines.iter().position(|line| line.starts_with("cp ") && line.ends_with(" /path/to/plugins/"));
        let at = handed_over.with_context(|| format!("{}: nothing is handed over", readme.display()))?;
        let component = lines[at].split(' ').nth(1).context("no component")?;
        let before = lines.get(at.wrapping_sub(1)).copied().unwrap_or_default();
        ensure!(before == format!("salve plugin pin {component}"), "{}: `{before}`", readme.display());
    }
    Ok(())
}

/// Scenario: a policy with a syntax error, then a configuration with a typo, are written while the daemon runs.
/// Guarantees: the old ones stay in force, and the status says what is wrong and where.
#[tokio::test(flavor = "multi_thread")]
async fn what_is_broken_keeps_the_old() -> Result<()> {
    let mut daemon = shop::prepare("act", NOTHING, "")?;
    daemon.start().await?;
    let status = |daemon: &Daemon| daemon.json(&["status", "--json"]);
    let digest = status(&daemon)?["policy_digest"].clone();
    fs::write(
        daemon.path("policies/test.rhai"),
        "fn decide(incident, findings, catalogue, history) {\n  let x = ;\n}\n",
    )?;
    daemon
        .wait("the broken policy is reported", |daemon| {
            Ok(status(daemon)?["problems"].to_string().contains("test.rhai"))
        })
        .await?;
    let problems = status(&daemon)?["problems"].to_string();
    assert!(problems.contains(":2:"), "line and column are named: {problems}");
    assert_eq!(status(&daemon)?["policy_digest"], digest);
    fs::write(daemon.path("policies/test.rhai"), NOTHING)?;
    daemon
        .wait("the problem is gone", |daemon| {
            Ok(status(daemon)?["problems"].as_array().is_some_and(Vec::is_empty))
        })
        .await?;

    daemon.configure(&shop::config("observe", "[guard]\n"))?;
    daemon
        .wait("the typo is reported", |daemon| {
            Ok(status(daemon)?["problems"].to_string().contains("did you mean"))
        })
        .await?;
    assert_eq!(status(&daemon)?["mode"], "act");
    daemon.configure(&shop::config("observe", ""))?;
    daemon.signal(rustix::process::Signal::HUP)?;
    daemon.wait("the new mode is in force", |daemon| Ok(status(daemon)?["mode"] == "observe")).await?;
    Ok(())
}
