//! What changes while the daemon runs: a new action, a broken policy, a broken configuration.

use anyhow::Result;
use salve_tests::{
    shop::{self, is_alive, sender_for_process, worker_pid},
    world::Sender,
};
use std::time::Instant;

const NOTHING: &str = "fn decide(incident, findings, catalogue, history) { [] }\n";

const STOP_START: &str = r#"
fn decide(incident, findings, catalogue, history) {
    [#{ verdict: "act", action: "stop-start", target: "worker", parameters: #{}, priority: 10, reason: "recycle" }]
}
"#;

const GRANT: &str =
    "[[grant]]\nplugin = \"stop-start\"\ncapability = \"process\"\nverbs = [\"*\"]\ntargets = [\"worker\"]\n";

/// Scenario: the example action, built as its README says, is dropped into the plugin folder of a running daemon; then it is
/// granted, then a policy names it; then the service breaks.
/// Guarantees: it is picked up within a second, is harmless until it is granted, and heals, all without a restart.
#[tokio::test(flavor = "multi_thread")]
async fn a_custom_action_is_used_in_the_next_heal() -> Result<()> {
    let mut daemon = shop::prepare("act", NOTHING, "")?;
    daemon.start().await?;
    let marker = daemon.path("broken");
    let _sender: Sender = sender_for_process(daemon.otlp_http()?, marker.clone());
    shop::warm_up(&mut daemon, 20).await?;

    let dropped = Instant::now();
    daemon.add_plugin("stop-start")?;
    let state_of = |daemon: &salve_tests::daemon::Daemon| -> Result<Option<String>> {
        let plugins = daemon.json(&["plugin", "list", "--json"])?;
        let plugin = plugins
            .as_array()
            .and_then(|plugins| plugins.iter().find(|plugin| plugin["name"] == "stop-start").cloned());
        Ok(plugin.and_then(|plugin| plugin["state"].as_str().map(String::from)))
    };
    daemon.wait("the action is loaded", |daemon| Ok(state_of(daemon)?.is_some())).await?;
    assert!(dropped.elapsed().as_millis() < 1_000, "picked up after {:?}", dropped.elapsed());
    assert_eq!(state_of(&daemon)?.as_deref(), Some("loaded, not granted"));

    daemon.configure(&shop::config("act", GRANT))?;
    daemon.wait("the action is granted", |daemon| Ok(state_of(daemon)?.as_deref() == Some("active"))).await?;
    let digest = |daemon: &salve_tests::daemon::Daemon| {
        Ok::<_, anyhow::Error>(daemon.json(&["status", "--json"])?["policy_digest"].clone())
    };
    let old = digest(&daemon)?;
    std::fs::write(daemon.path("policies/test.rhai"), STOP_START)?;
    daemon.wait("the policy is in force", |daemon| Ok(digest(daemon)? != old)).await?;

    let pid = worker_pid(&daemon)?.expect("the worker runs");
    std::fs::write(marker, pid.to_string())?;
    daemon
        .wait("the incident is closed", |daemon| {
            Ok(daemon.incidents()?.first().is_some_and(|incident| !incident["outcome"].is_null()))
        })
        .await?;
    let incident = &daemon.incidents()?[0];
    assert_eq!(incident["outcome"], "healed", "{incident:#}");
    assert_eq!(incident["attempts"][0]["proposal"]["action"], "stop-start");
    assert!(!is_alive(pid));
    Ok(())
}

/// Scenario: a policy with a syntax error, then a configuration with a typo, are written while the daemon runs.
/// Guarantees: the old ones stay in force, and the status says what is wrong and where.
#[tokio::test(flavor = "multi_thread")]
async fn what_is_broken_keeps_the_old() -> Result<()> {
    let mut daemon = shop::prepare("act", NOTHING, "")?;
    daemon.start().await?;
    let status = |daemon: &salve_tests::daemon::Daemon| daemon.json(&["status", "--json"]);
    let digest = status(&daemon)?["policy_digest"].clone();
    std::fs::write(
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
    std::fs::write(daemon.path("policies/test.rhai"), NOTHING)?;
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
