//! The main job, end to end: a fault is found on real OTLP, healed by a sandboxed action, verified, recorded.

use anyhow::{Context, Result};
use salve_tests::{
    daemon::Daemon,
    shop::{self, RESTART_POLICY, is_alive, sender_for_process, worker_pid},
    world::Sender,
};
use serde_json::Value;

/// Starts daemon and sender, warms up, and breaks the process that runs. Returns its pid.
async fn broken_worker(daemon: &mut Daemon) -> Result<(Sender, i64)> {
    daemon.start().await?;
    let marker = daemon.path("broken");
    let sender = sender_for_process(daemon.otlp_http()?, marker.clone());
    shop::warm_up(daemon, 20).await?;
    let pid = worker_pid(daemon)?.context("the worker runs")?;
    std::fs::write(marker, pid.to_string())?;
    Ok((sender, pid))
}

fn closed(daemon: &Daemon) -> Result<bool> {
    Ok(daemon.incidents()?.first().is_some_and(|incident| !incident["outcome"].is_null()))
}

fn ledger_is_intact(daemon: &Daemon) -> Result<()> {
    let report = daemon.json(&["ledger", "verify", "--json"])?;
    assert!(report["first_bad"].is_null(), "{report}");
    Ok(())
}

fn action_outcomes(incident: &Value) -> Vec<(String, String)> {
    let text = |value: &Value| value.as_str().unwrap_or("none").to_owned();
    let attempts = incident["attempts"].as_array().cloned().unwrap_or_default();
    attempts.iter().map(|attempt| (text(&attempt["proposal"]["action"]), text(&attempt["outcome"]))).collect()
}

/// Scenario: the spans of a supervised process fail until it is replaced; mode `act`.
/// Guarantees: one incident, the service named as its cause, one restart, healed; every step in an intact ledger.
#[tokio::test(flavor = "multi_thread")]
async fn restart_heals() -> Result<()> {
    let mut daemon = shop::prepare("act", RESTART_POLICY, "")?;
    let (_sender, pid) = broken_worker(&mut daemon).await?;
    daemon.wait("the incident is closed", closed).await?;
    let incidents = daemon.incidents()?;
    assert_eq!(incidents.len(), 1, "{incidents:#?}");
    assert_eq!(incidents[0]["outcome"], "healed");
    assert_eq!(incidents[0]["findings"]["hypotheses"][0]["suspect"], "worker");
    assert_eq!(action_outcomes(&incidents[0]), [("restart-process".into(), "healed".into())]);
    assert!(!is_alive(pid));
    assert!(worker_pid(&daemon)?.is_some_and(is_alive));
    ledger_is_intact(&daemon)?;
    let ledger = daemon.salve(&["ledger", "show", "--json"])?;
    let entries: Vec<Value> =
        String::from_utf8(ledger.stdout)?.lines().map(serde_json::from_str).collect::<Result<_, _>>()?;
    let position = |kind: &str| entries.iter().position(|entry| entry["kind"] == kind);
    assert!(position("write_intent") < position("write_result"), "intent stands before its result");
    let intent = &entries[position("write_intent").expect("an intent")];
    assert!(
        intent["payload"]["before"].as_str().is_some_and(|before| before.contains(&pid.to_string())),
        "{intent}"
    );
    Ok(())
}

/// Scenario: a heal; its incident is erased, the daemon starts again, and the same breaks once more.
/// Guarantees: an open incident cannot be erased; an erased one is not known after the start, nothing of it can be read, the
/// ledger verifies, and the next incident has a name of its own.
#[tokio::test(flavor = "multi_thread")]
async fn an_erased_incident_stays_erased() -> Result<()> {
    let mut daemon = shop::prepare("act", RESTART_POLICY, "")?;
    let (sender, _) = broken_worker(&mut daemon).await?;
    let erase = |daemon: &Daemon| {
        daemon.salve(&["ledger", "erase", "--incident", "inc-1", "--reason", "test", "--yes"])
    };
    daemon.wait("there is an incident", |daemon| Ok(!daemon.incidents()?.is_empty())).await?;
    let early = erase(&daemon)?;
    // It may be over by now, on a fast machine.
    assert!(early.status.success() || String::from_utf8_lossy(&early.stderr).contains("is open"));
    daemon.wait("the incident is closed", closed).await?;
    drop(sender);
    erase(&daemon)?;
    daemon.signal(rustix::process::Signal::TERM)?;
    daemon.ended().await?;
    let shown = daemon.salve(&["ledger", "show", "--json", "--incident", "inc-1"])?;
    let entries: Vec<Value> =
        String::from_utf8(shown.stdout)?.lines().map(serde_json::from_str).collect::<Result<_, _>>()?;
    assert!(entries.len() > 5 && entries.iter().all(|entry| entry["payload"].is_null()), "{entries:#?}");
    std::fs::remove_file(daemon.path("broken"))?;
    // Without a daemon, what is half done is read from the ledger.
    assert!(daemon.salve(&["pause", "--reason", "test"])?.status.success());
    std::fs::remove_file(daemon.path("state/paused"))?;

    let (_sender, _) = broken_worker(&mut daemon).await?;
    daemon.wait("there is another incident", |daemon| Ok(!daemon.incidents()?.is_empty())).await?;
    assert_eq!(daemon.incidents()?[0]["view"]["id"], "inc-2");
    let report = daemon.json(&["ledger", "verify", "--json"])?;
    assert!(
        report["first_bad"].is_null() && report["erased"].as_u64() >= Some(entries.len() as u64),
        "{report}"
    );
    Ok(())
}

/// Scenario: the same fault, and beside the policy that helps another one breaks while it runs.
/// Guarantees: it is healed all the same; the incident names the policy that failed, with file and line.
#[tokio::test(flavor = "multi_thread")]
async fn a_broken_policy_blocks_no_heal() -> Result<()> {
    let mut daemon = shop::prepare("act", RESTART_POLICY, "")?;
    let broken = "fn decide(incident, findings, catalogue, history) {\n    findings.hypotheses[99]\n}\n";
    std::fs::write(daemon.path("policies/broken.rhai"), broken)?;
    let (_sender, pid) = broken_worker(&mut daemon).await?;
    daemon.wait("the incident is closed", closed).await?;
    let incident = daemon.incidents()?.into_iter().next().context("an incident")?;
    assert_eq!(action_outcomes(&incident), [("restart-process".into(), "healed".into())], "{incident:#}");
    assert!(!is_alive(pid));
    let failure = &incident["decision"]["failures"][0];
    assert_eq!(
        (&failure["policy"], &failure["may_forbid"]),
        (&"broken".into(), &false.into()),
        "{incident:#}"
    );
    assert!(failure["why"].as_str().is_some_and(|why| why.starts_with("broken.rhai:2:")), "{failure}");
    let id = incident["view"]["id"].as_str().context("an id")?;
    let shown = String::from_utf8(daemon.salve(&["incident", "show", id])?.stdout)?;
    assert!(shown.contains("FAILED broken: broken.rhai:2:"), "{shown}");
    assert!(shown.contains("; policy `broken` failed: broken.rhai:2:"), "{shown}");
    ledger_is_intact(&daemon)
}

/// Scenario: the same fault under the default mode, `observe`.
/// Guarantees: the incident is recorded with what would be done, and nothing is done.
#[tokio::test(flavor = "multi_thread")]
async fn observe_touches_nothing() -> Result<()> {
    let mut daemon = shop::prepare("observe", RESTART_POLICY, "")?;
    let (_sender, pid) = broken_worker(&mut daemon).await?;
    daemon
        .wait("the decision is recorded", |daemon| {
            Ok(daemon.incidents()?.first().is_some_and(|incident| incident["phase"]["recorded"].is_object()))
        })
        .await?;
    assert!(is_alive(pid));
    assert_eq!(daemon.incidents()?[0]["decision"]["proposals"][0]["action"], "restart-process");
    let ledger = daemon.salve(&["ledger", "show", "--json"])?;
    assert!(!String::from_utf8(ledger.stdout)?.contains("\"write_intent\""));
    Ok(())
}

/// Scenario: mode `approve`; a person looks at the plan, names a plan and an incident that are none, and says yes.
/// Guarantees: nothing happens before; the plan is shown with the command that approves it; the heal happens after, and the
/// ledger says who approved.
#[tokio::test(flavor = "multi_thread")]
async fn approval_is_awaited() -> Result<()> {
    let mut daemon = shop::prepare("approve", RESTART_POLICY, "")?;
    let (_sender, pid) = broken_worker(&mut daemon).await?;
    daemon
        .wait("a plan waits for approval", |daemon| {
            Ok(daemon
                .incidents()?
                .first()
                .is_some_and(|incident| incident["phase"]["awaiting_approval"].is_object()))
        })
        .await?;
    assert!(is_alive(pid));
    let id = daemon.incidents()?[0]["view"]["id"].as_str().expect("an id").to_owned();
    let shown = String::from_utf8(daemon.salve(&["incident", "show", &id])?.stdout)?;
    assert!(shown.contains("Plan 1 waits for you: Restart"), "{shown}");
    let command = format!("salve incident approve {id} --plan 1");
    assert!(shown.contains(&command), "{shown}");
    let other = daemon.salve(&["incident", "approve", &id, "--plan", "2"])?;
    let error = String::from_utf8(other.stderr)?;
    assert!(
        !other.status.success() && error.contains("plan 2 of inc-1 does not wait: plan 1 does"),
        "{error}"
    );
    let unknown = daemon.salve(&["incident", "approve", "inc-99"])?;
    assert!(!unknown.status.success());
    assert!(is_alive(pid));
    let approved = daemon.salve(&["incident", "approve", &id, "--by", "ada"])?;
    assert!(approved.status.success(), "{}", String::from_utf8_lossy(&approved.stderr));
    daemon.wait("the incident is closed", closed).await?;
    assert_eq!(daemon.incidents()?[0]["outcome"], "healed");
    assert_eq!(daemon.incidents()?[0]["attempts"][0]["approved_by"], "ada");
    Ok(())
}

/// Scenario: `salve pause` before the fault, a restart of the daemon, then `salve resume`.
/// Guarantees: nothing is done while paused, also after a restart; after `resume` the heal goes on.
#[tokio::test(flavor = "multi_thread")]
async fn kill_switch_holds_and_lets_go() -> Result<()> {
    let mut daemon = shop::prepare("act", RESTART_POLICY, "")?;
    daemon.start().await?;
    assert!(daemon.salve(&["pause", "--reason", "maintenance"])?.status.success());
    daemon.signal(rustix::process::Signal::TERM)?;
    assert!(daemon.ended().await?.success());
    let (_sender, pid) = broken_worker(&mut daemon).await?;
    assert_eq!(daemon.json(&["status", "--json"])?["paused"], true);
    daemon.wait("an incident is open", |daemon| Ok(!daemon.incidents()?.is_empty())).await?;
    assert!(is_alive(pid));
    assert!(daemon.salve(&["resume"])?.status.success());
    daemon.wait("the incident is closed", closed).await?;
    assert_eq!(daemon.incidents()?[0]["outcome"], "healed");
    assert!(!is_alive(pid));
    Ok(())
}

/// Scenario: the pause file is made by hand, with a word in it, before the fault, and removed by hand.
/// Guarantees: remedies wait and none is tried in vain; status and ledger say what the file says; then the heal goes on.
#[tokio::test(flavor = "multi_thread")]
async fn a_file_made_by_hand_is_the_kill_switch() -> Result<()> {
    let mut daemon = shop::prepare("act", RESTART_POLICY, "")?;
    daemon.start().await?;
    let marker = daemon.path("broken");
    let _sender = sender_for_process(daemon.otlp_http()?, marker.clone());
    shop::warm_up(&mut daemon, 20).await?;
    std::fs::write(daemon.path("state/paused"), "moving house\n")?;
    let pid = worker_pid(&daemon)?.context("the worker runs")?;
    std::fs::write(marker, pid.to_string())?;
    daemon
        .wait("the incident waits", |daemon| {
            Ok(daemon.incidents()?.first().is_some_and(|incident| incident["phase"] == "suspended"))
        })
        .await?;
    assert_eq!(daemon.json(&["status", "--json"])?["pause"]["reason"], "moving house");
    assert_eq!(daemon.incidents()?[0]["attempts"].as_array().map(Vec::len), Some(0));
    std::fs::remove_file(daemon.path("state/paused"))?;
    daemon.wait("the incident is closed", closed).await?;
    assert_eq!(action_outcomes(&daemon.incidents()?[0]), [("restart-process".into(), "healed".into())]);
    assert!(!is_alive(pid));
    let ledger = String::from_utf8(daemon.salve(&["ledger", "show", "--json"])?.stdout)?;
    for who in ["the pause file", "moving house", "removal of the pause file"] {
        assert!(ledger.contains(who), "{who}: {ledger}");
    }
    Ok(())
}

/// Scenario: the first remedy is a reversible change that does not help.
/// Guarantees: Salve sees that, takes it back to the byte, and heals with the next remedy.
#[tokio::test(flavor = "multi_thread")]
async fn what_does_not_help_is_undone() -> Result<()> {
    let mut daemon = shop::prepare("act", shop::CHANGE_THEN_RESTART, "")?;
    let before = std::fs::read(daemon.path("worker.toml"))?;
    let (_sender, _pid) = broken_worker(&mut daemon).await?;
    daemon
        .wait("the pool is changed", |daemon| {
            Ok(std::fs::read_to_string(daemon.path("worker.toml"))?.contains("16"))
        })
        .await?;
    daemon.wait("the incident is closed", closed).await?;
    let incident = &daemon.incidents()?[0];
    assert_eq!(
        action_outcomes(incident),
        [("set-config".into(), "not_healed".into()), ("restart-process".into(), "healed".into())],
    );
    assert_eq!(std::fs::read(daemon.path("worker.toml"))?, before);
    assert_eq!(incident["outcome"], "healed");
    ledger_is_intact(&daemon)
}

/// Runs a command and gives back whether it succeeded, and what it said.
fn said(daemon: &Daemon, arguments: &[&str]) -> Result<(bool, String)> {
    let output = daemon.salve(arguments)?;
    let text = [output.stdout, output.stderr].concat();
    Ok((output.status.success(), String::from_utf8(text)?))
}

/// Scenario: a reversible change is watched; a person pauses Salve, also once no daemon runs, and has the change taken back.
/// Guarantees: `pause` lists what was written, with the command that takes it back; nothing is taken back before `resume`, then it
/// is, to the byte, and no further remedy follows; what cannot be taken back is refused with the reason; the ledger says who asked.
#[tokio::test(flavor = "multi_thread")]
async fn an_operator_takes_a_remedy_back() -> Result<()> {
    let mut daemon = shop::prepare("act", shop::CHANGE_THEN_RESTART, "")?;
    daemon.configure(
        &shop::config("act", "").replace("verify_within_ms = 4000", "verify_within_ms = 600000"),
    )?;
    let before = std::fs::read(daemon.path("worker.toml"))?;
    let (_sender, pid) = broken_worker(&mut daemon).await?;
    daemon
        .wait("the change is watched", |daemon| {
            Ok(daemon.incidents()?.first().is_some_and(|incident| incident["phase"]["verifying"].is_object()))
        })
        .await?;
    let changed = std::fs::read(daemon.path("worker.toml"))?;
    assert_ne!(changed, before);
    let (_, paused) = said(&daemon, &["pause", "--reason", "drill"])?;
    for expected in [
        "half done  inc-1 · verifying · remedy 1",
        "config.set on worker",
        "salve incident undo inc-1 --attempt 1",
    ] {
        assert!(paused.contains(expected), "{expected}: {paused}");
    }
    for (arguments, why) in [
        (&["incident", "undo", "inc-99"][..], "there is no incident `inc-99`"),
        (&["incident", "undo", "inc-1", "--attempt", "2"], "remedy 2 of inc-1 is not the newest"),
    ] {
        let (is_done, text) = said(&daemon, arguments)?;
        assert!(!is_done && text.contains(why), "{text}");
    }
    let (is_done, text) = said(&daemon, &["incident", "undo", "inc-1", "--attempt", "1", "--by", "ada"])?;
    assert!(is_done && text.contains("once Salve is resumed"), "{text}");
    let (is_done, text) = said(&daemon, &["incident", "undo", "inc-1"])?;
    assert!(!is_done && text.contains("taken back already, once Salve is resumed"), "{text}");

    daemon.signal(rustix::process::Signal::TERM)?;
    assert!(daemon.ended().await?.success());
    let (_, paused) = said(&daemon, &["pause", "--reason", "still"])?;
    assert!(
        paused.contains("no daemon answered") && paused.contains("half done  inc-1 · undo due"),
        "{paused}"
    );
    daemon.start().await?;
    let status = daemon.json(&["status", "--json"])?;
    assert_eq!(
        (&status["pause"]["reason"], &status["half_done"][0]["attempt"]),
        (&"still".into(), &1.into())
    );
    assert_eq!(std::fs::read(daemon.path("worker.toml"))?, changed);

    assert!(said(&daemon, &["resume"])?.0);
    daemon
        .wait("it is taken back", |daemon| {
            Ok(daemon.incidents()?.first().is_some_and(|incident| incident["phase"]["escalated"].is_object()))
        })
        .await?;
    assert_eq!(std::fs::read(daemon.path("worker.toml"))?, before);
    let incident = &daemon.incidents()?[0];
    assert_eq!(action_outcomes(incident), [("set-config".into(), "unknown".into())]);
    assert_eq!(incident["attempts"][0]["undo_asked_by"], "ada");
    assert_eq!(daemon.json(&["status", "--json"])?["half_done"].as_array().map(Vec::len), Some(0));
    assert!(is_alive(pid));
    let (is_done, text) = said(&daemon, &["incident", "undo", "inc-1"])?;
    assert!(!is_done && text.contains("is taken back already"), "{text}");
    let ledger = String::from_utf8(daemon.salve(&["ledger", "show", "--json"])?.stdout)?;
    assert!(ledger.lines().any(|line| line.contains("undo_asked") && line.contains("ada")), "{ledger}");
    ledger_is_intact(&daemon)
}

/// Sets back what was changed.
const LAST_GOOD_POLICY: &str = r#"
fn decide(incident, findings, catalogue, history) {
    let first = findings.hypotheses[0];
    if first.mechanism != "config-change" { return []; }
    [#{ verdict: "act", action: "set-config", target: first.targets[0],
        parameters: #{ mode: "last-good", key: first.extra.key }, priority: 10, reason: "a value was changed" }]
}
"#;

/// Scenario: a stranger writes a wrong value into the service's file, and its spans fail as long as it is there.
/// Guarantees: the change is named as the cause, and the last good value comes back, comments kept.
#[tokio::test(flavor = "multi_thread")]
async fn a_wrong_value_is_set_back() -> Result<()> {
    let mut daemon = shop::prepare("act", LAST_GOOD_POLICY, "[config_files]\ngood_after_ms = 1500\n")?;
    daemon.start().await?;
    let file = daemon.path("worker.toml");
    let before = std::fs::read(&file)?;
    let watched = file.clone();
    let _sender = Sender::start(daemon.otlp_http()?, move || {
        std::fs::read_to_string(&watched).is_ok_and(|text| text.contains("pool_size = 0"))
    });
    shop::warm_up(&mut daemon, 20).await?;
    let temporary = daemon.path("worker.toml.new");
    std::fs::write(&temporary, "# how many at once\npool_size = 0\n")?;
    std::fs::rename(&temporary, &file)?;
    daemon.wait("the incident is closed", closed).await?;
    let incident = &daemon.incidents()?[0];
    assert_eq!(incident["findings"]["hypotheses"][0]["mechanism"], "config-change", "{incident:#}");
    assert_eq!(incident["outcome"], "healed");
    assert_eq!(std::fs::read(&file)?, before);
    Ok(())
}
