//! Two tenants whose services are called alike, behind two credentials: what happens to one is nothing to the other.

use anyhow::{Context, Result};
use rustix::process::Signal;
use salve_tests::{
    daemon::Daemon,
    shop::{self, is_alive},
    world::Sender,
};
use serde_json::Value;
use std::{collections::BTreeSet, path::PathBuf};

const OF_DEFAULT: &str = "token-of-the-default-tenant";
const OF_BETA: &str = "token-of-the-tenant-beta";

/// Beta has a service of the same name, with a process of its own. Both senders may assert the same.
const BETA: &str = r#"
[[otlp.tokens]]
token = "token-of-the-default-tenant"
assert = { "service.name" = ["worker"] }
[[otlp.tokens]]
token = "token-of-the-tenant-beta"
tenant = "beta"
assert = { "service.name" = ["worker"] }
[[process]]
name = "worker-of-beta"
command = ["/bin/sleep", "100000"]
log_file = "@/worker-of-beta.log"
stop_grace_ms = 500
autostart = true
[[target]]
id = "worker-of-beta"
tenant = "beta"
select = { "service.name" = "worker" }
process = "worker-of-beta"
"#;

/// What lets beta's incidents act.
const GRANT: &str = r#"
[[grant]]
plugin = "restart-process"
tenant = "beta"
capability = "process"
verbs = ["*"]
targets = ["*"]
"#;

/// Would restart the other tenant's process first, whoever's the incident is.
const REACHING_POLICY: &str = r#"
fn decide(incident, findings, catalogue, history) {
    if findings.hypotheses.is_empty() { return []; }
    let foreign = if incident.tenant == "beta" { "worker" } else { "worker-of-beta" };
    let proposals = [#{ verdict: "act", action: "restart-process", target: foreign, parameters: #{},
                        priority: 20, reason: "somebody else's" }];
    for target in findings.hypotheses[0].targets {
        proposals.push(#{ verdict: "act", action: "restart-process", target: target, parameters: #{},
                          priority: 10, reason: "of tenant " + incident.tenant });
    }
    proposals
}
"#;

fn pid(daemon: &Daemon, process: &str) -> Result<i64> {
    let status = daemon.json(&["status", "--json"])?;
    let mut processes = status["processes"].as_array().into_iter().flatten();
    let found = processes.find(|known| known["name"] == process).and_then(|found| found["pid"].as_i64());
    found.with_context(|| format!("`{process}` runs"))
}

/// Sends with this token, broken as long as the process runs that the marker names.
fn sender(daemon: &Daemon, token: &str, marker: &str) -> Result<(Sender, PathBuf)> {
    let marker = daemon.path(marker);
    let looked_at = marker.clone();
    let is_broken = move || {
        let pid = std::fs::read_to_string(&looked_at).ok().and_then(|text| text.trim().parse().ok());
        pid.is_some_and(is_alive)
    };
    Ok((Sender::start_as(Some(token), daemon.otlp_http()?, is_broken), marker))
}

fn entries(daemon: &Daemon, tenant: &str) -> Result<Vec<Value>> {
    let shown = daemon.salve(&["ledger", "show", "--tenant", tenant, "--limit", "100000", "--json"])?;
    let lines = String::from_utf8(shown.stdout)?;
    Ok(lines.lines().map(serde_json::from_str).collect::<Result<_, _>>()?)
}

fn kinds(entries: &[Value]) -> BTreeSet<&str> {
    entries.iter().filter_map(|entry| entry["kind"].as_str()).collect()
}

fn text_of(daemon: &Daemon, arguments: &[&str]) -> Result<String> {
    Ok(String::from_utf8(daemon.salve(arguments)?.stdout)?)
}

/// Whose symptoms, targets and remedies an incident has.
fn is_all_of(incident: &Value, tenant: &str, target: &str) {
    assert_eq!(incident["view"]["tenant"], tenant, "{incident:#}");
    for symptom in incident["view"]["symptoms"].as_array().into_iter().flatten() {
        assert_eq!(symptom["series"]["tenant"], tenant, "{symptom:#}");
    }
    assert_eq!(incident["findings"]["hypotheses"][0]["targets"], serde_json::json!([target]));
    let attempts = incident["attempts"].as_array().cloned().unwrap_or_default();
    assert_eq!(attempts.len(), 1, "{attempts:#?}");
    assert_eq!(attempts[0]["plan"]["targets"], serde_json::json!([target]));
    assert_eq!((&incident["outcome"], &attempts[0]["outcome"]), (&"healed".into(), &"healed".into()));
}

/// Scenario: services of one name, under two tenants with equal rights to it, break one after the other; the policy would
/// rather restart the other tenant's process. In between the daemon is killed.
/// Guarantees: each fault opens an incident of its own tenant, with that tenant's evidence, and heals that tenant's process by
/// that tenant's grant; the other one's goes on as it was. Lists, ledger and snapshots say whose everything is, after the
/// crash too, and the chain is intact.
#[tokio::test(flavor = "multi_thread")]
async fn each_tenant_is_healed_by_itself() -> Result<()> {
    let mut daemon = shop::prepare("act", REACHING_POLICY, &format!("{BETA}{GRANT}"))?;
    daemon.start().await?;
    let (own, of_beta) = (pid(&daemon, "worker")?, pid(&daemon, "worker-of-beta")?);
    let (default_sender, _) = sender(&daemon, OF_DEFAULT, "default-is-broken")?;
    let (beta_sender, beta_is_broken) = sender(&daemon, OF_BETA, "beta-is-broken")?;
    shop::warm_up(&mut daemon, 40).await?;
    std::fs::write(&beta_is_broken, of_beta.to_string())?;
    let closed = |daemon: &Daemon| {
        Ok(daemon.incidents()?.first().is_some_and(|incident| !incident["outcome"].is_null()))
    };
    daemon.wait("beta's incident is closed", closed).await?;

    let incidents = daemon.incidents()?;
    assert_eq!(incidents.len(), 1, "{incidents:#?}");
    is_all_of(&incidents[0], "beta", "worker-of-beta");
    let lost = serde_json::to_string(&incidents[0]["decision"]["rejected"])?;
    assert!(lost.contains("\"worker\""), "the other tenant's target is no choice: {lost}");
    assert!(!is_alive(of_beta) && pid(&daemon, "worker-of-beta")? != of_beta);
    assert_eq!(pid(&daemon, "worker")?, own, "the default tenant's process is as it was");

    let of_beta = entries(&daemon, "beta")?;
    assert!(of_beta.iter().all(|entry| entry["tenant"] == "beta"));
    for kind in ["input", "transition", "effect", "write_intent", "write_result"] {
        assert!(kinds(&of_beta).contains(kind), "{kind} in {:?}", kinds(&of_beta));
    }
    let of_default = entries(&daemon, "default")?;
    assert!(of_default.iter().all(|entry| entry["incident"].is_null()), "nothing of beta's is default's");
    assert!(!kinds(&of_default).contains("write_intent"));
    assert!(text_of(&daemon, &["ledger", "show", "--incident", "inc-1"])?.contains("[beta]"));
    assert!(text_of(&daemon, &["incident", "show", "inc-1"])?.contains("tenant beta"));
    assert_eq!(daemon.json(&["incident", "list", "--tenant", "default", "--json"])?, serde_json::json!([]));
    let services = daemon.json(&["status", "--json"])?["services"].clone();
    assert_eq!(services, serde_json::json!(["beta/worker", "worker"]));
    for snapshot in ["errors-0.snapshot", "errors-0.beta.snapshot"] {
        let path = daemon.path("state/detectors").join(snapshot);
        daemon.wait("each tenant's detector has its own snapshot", |_| Ok(path.exists())).await?;
    }

    daemon.signal(Signal::KILL)?;
    daemon.ended().await?;
    drop((default_sender, beta_sender));
    daemon.start().await?;
    let (_default_sender, default_is_broken) = sender(&daemon, OF_DEFAULT, "default-is-broken")?;
    let (_beta_sender, _) = sender(&daemon, OF_BETA, "beta-is-broken")?;
    shop::warm_up(&mut daemon, 60).await?;
    let of_beta = pid(&daemon, "worker-of-beta")?;
    std::fs::write(&default_is_broken, own.to_string())?;
    let second = |daemon: &Daemon| {
        let incidents = daemon.incidents()?;
        Ok(incidents.len() == 2 && !incidents[0]["outcome"].is_null())
    };
    daemon.wait("the default tenant's incident is closed", second).await?;
    let incidents = daemon.incidents()?;
    is_all_of(&incidents[0], "default", "worker");
    is_all_of(&incidents[1], "beta", "worker-of-beta");
    assert!(!is_alive(own));
    assert_eq!(pid(&daemon, "worker-of-beta")?, of_beta, "beta's process is as it was");
    let list = text_of(&daemon, &["incident", "list"])?;
    assert!(list.contains("tenant") && list.contains("beta") && list.contains("default"), "{list}");
    let report = daemon.json(&["ledger", "verify", "--json"])?;
    assert!(report["first_bad"].is_null(), "{report}");
    Ok(())
}

/// Scenario: beta has a target, but grants are the default tenant's alone, for all targets.
/// Guarantees: beta's incident acts on nothing, says so and calls people; neither process is touched.
#[tokio::test(flavor = "multi_thread")]
async fn a_grant_is_its_tenants_alone() -> Result<()> {
    let everything = "[[grant]]\nplugin = \"restart-process\"\ncapability = \"process\"\nverbs = [\"*\"]\ntargets = [\"*\"]\n";
    let mut daemon = shop::prepare("act", REACHING_POLICY, &format!("{BETA}{everything}"))?;
    daemon.start().await?;
    let (own, of_beta) = (pid(&daemon, "worker")?, pid(&daemon, "worker-of-beta")?);
    let (_default_sender, _) = sender(&daemon, OF_DEFAULT, "default-is-broken")?;
    let (_beta_sender, beta_is_broken) = sender(&daemon, OF_BETA, "beta-is-broken")?;
    shop::warm_up(&mut daemon, 40).await?;
    std::fs::write(&beta_is_broken, of_beta.to_string())?;
    daemon
        .wait("people are called", |daemon| {
            let called = |incident: &Value| incident["phase"]["escalated"].is_object();
            Ok(daemon.incidents()?.first().is_some_and(called))
        })
        .await?;
    let incident = &daemon.incidents()?[0];
    assert_eq!(
        (&incident["view"]["tenant"], &incident["attempts"]),
        (&"beta".into(), &serde_json::json!([]))
    );
    let rejected = incident["decision"]["rejected"].as_array().cloned().unwrap_or_default();
    assert_eq!(rejected.len(), 2, "neither target is beta's to restart: {incident:#}");
    assert_eq!((pid(&daemon, "worker")?, pid(&daemon, "worker-of-beta")?), (own, of_beta));
    assert!(!kinds(&entries(&daemon, "beta")?).contains("write_intent"));
    assert!(!kinds(&entries(&daemon, "default")?).contains("write_intent"));
    Ok(())
}

/// Guarantees: `salve doctor` says which target nobody's telemetry can be about, and which thing two tenants share.
#[tokio::test(flavor = "multi_thread")]
async fn doctor_knows_tenants() -> Result<()> {
    let lonely = "[[target]]\nid = \"lonely\"\ntenant = \"gamma\"\nselect = { \"service.name\" = \"worker\" }\nprocess = \"worker\"\n";
    let daemon = shop::prepare("act", REACHING_POLICY, &format!("{BETA}{GRANT}{lonely}"))?;
    let found = text_of(&daemon, &["doctor"])?;
    assert!(found.contains("`lonely` is of tenant `gamma`, and no sender is"), "{found}");
    assert!(
        found.contains("`worker` of tenant `default` and `lonely` of tenant `gamma` are the same thing"),
        "{found}"
    );
    assert!(!found.contains("`worker-of-beta` is of tenant"), "{found}");
    Ok(())
}
