//! Versions of plugins come and go in a running daemon that is under load.

use anyhow::Result;
use salve_tests::{
    daemon::Daemon,
    versions::{Load, ROLLOUT, SERIES, SET, component, counted, install, reaches, version},
};
use std::time::Duration;

const NOTHING: &str = "fn decide(incident, findings, catalogue, history) { [] }\n";

const COUNTING: &str = r#"
mode = "observe"
process_up = false
[otlp]
grpc_address = "127.0.0.1:0"
http_address = "127.0.0.1:0"
[health]
address = "127.0.0.1:0"
[log]
level = "info"
[signals]
history_fine = ["load.value"]
[guards]
tick_ms = 20
[[detector]]
name = "count"
plugin = "count"
select = { names = ["load.value"] }
"#;

/// The counting detector in this version, with `more` in its manifest and some of its text replaced.
fn count(version: &str, more: &str, replace: &[(&str, &str)]) -> Result<Vec<u8>> {
    let manifest = format!(
        "name = 'count'\nversion = '{version}'\nrole = 'detector'\nsummary = 'Counts points.'\n{more}"
    );
    component("detector-count", &manifest, replace)
}

/// A daemon with version 1 of the counting detector, under load.
async fn counting(every: Duration) -> Result<(Daemon, Load)> {
    let mut daemon = Daemon::prepare(&format!("{COUNTING}{ROLLOUT}"), NOTHING, &[])?;
    install(&daemon, "count", &count("1.0.0", "", &[])?)?;
    daemon.start().await?;
    let load = Load::start(daemon.otlp_http()?, every);
    load.more(&mut daemon, 20).await?;
    Ok((daemon, load))
}

fn digest(status: &serde_json::Value) -> String {
    status["digest"].as_str().unwrap_or_default().to_owned()
}

/// Scenario: a detector's file is replaced under load, twice; each new version passes shadow and canary.
/// Guarantees: over all three versions, the points that were counted are just those that were sent: none lost, none seen twice.
#[tokio::test(flavor = "multi_thread")]
async fn an_upgrade_loses_no_point() -> Result<()> {
    let (mut daemon, load) = counting(Duration::from_millis(5)).await?;
    for number in ["1.1.0", "1.2.0"] {
        install(&daemon, "count", &count(number, "", &[])?)?;
        reaches(&mut daemon, "count", number, "active").await?;
        load.more(&mut daemon, 50).await?;
    }
    let first = reaches(&mut daemon, "count", "1.0.0", "retired").await?;
    assert_eq!(first["can_roll_back_to"], true, "{first:#}");
    let active = reaches(&mut daemon, "count", "1.2.0", "active").await?;
    let sent = load.finish().await?;
    assert_eq!(counted(&mut daemon, "count", sent).await?, (digest(&active), sent));
    Ok(())
}

/// Scenario: the new version's snapshots have another format, so it cannot take over the old one's state.
/// Guarantees: it is warmed up from history before the switch, with each point that was sent once.
#[tokio::test(flavor = "multi_thread")]
async fn another_format_is_warmed_up_from_history() -> Result<()> {
    let (mut daemon, load) = counting(Duration::from_millis(25)).await?;
    install(&daemon, "count", &count("2.0.0", "", &[("1 (;FORMAT;)", "2")])?)?;
    let active = reaches(&mut daemon, "count", "2.0.0", "active").await?;
    load.more(&mut daemon, 10).await?;
    assert!(load.requests() < 500, "history has them all: {}", load.requests());
    assert!(daemon.log().contains("it was warmed up from history"), "{}", daemon.log_end());
    let sent = load.finish().await?;
    assert_eq!(counted(&mut daemon, "count", sent).await?, (digest(&active), sent));
    Ok(())
}

/// Scenario: one upgrade traps on every point, the next one calls every point abnormal.
/// Guarantees: both fall back by themselves and say why, are not tried again after a restart, and the old version counts every
/// point throughout.
#[tokio::test(flavor = "multi_thread")]
async fn a_bad_upgrade_falls_back_and_says_why() -> Result<()> {
    let (mut daemon, load) = counting(Duration::from_millis(5)).await?;
    install(&daemon, "count", &count("1.1.0", "", &[("1e300 (;POISON;)", "0")])?)?;
    let trapped = reaches(&mut daemon, "count", "1.1.0", "failed").await?;
    assert!(trapped["reason"].as_str().is_some_and(|why| why.contains("trapped")), "{trapped:#}");

    install(&daemon, "count", &count("1.2.0", "", &[("1e300 (;THRESHOLD;)", "0")])?)?;
    let differs = reaches(&mut daemon, "count", "1.2.0", "failed").await?;
    assert!(differs["reason"].as_str().is_some_and(|why| why.contains("differs")), "{differs:#}");
    let problems = daemon.json(&["status", "--json"])?["problems"].to_string();
    assert!(problems.contains("count 1.2.0 is failed"), "{problems}");
    assert!(daemon.incidents()?.is_empty(), "a version in shadow has no effect");

    let active = reaches(&mut daemon, "count", "1.0.0", "active").await?;
    let sent = load.finish().await?;
    assert_eq!(counted(&mut daemon, "count", sent).await?, (digest(&active), sent));

    daemon.start().await?;
    reaches(&mut daemon, "count", "1.0.0", "active").await?;
    reaches(&mut daemon, "count", "1.2.0", "failed").await?;
    Ok(())
}

/// Scenario: an upgrade takes parameters that the version before did not.
/// Guarantees: it is held, also over a restart, until the operator has been shown the difference and says yes; then it is tried.
#[tokio::test(flavor = "multi_thread")]
async fn a_wider_upgrade_waits_for_the_operator() -> Result<()> {
    let (mut daemon, load) = counting(Duration::from_millis(5)).await?;
    let wider = "[parameters]\ntype = 'object'\nproperties.size.type = 'integer'\n";
    install(&daemon, "count", &count("1.1.0", wider, &[])?)?;
    reaches(&mut daemon, "count", "1.1.0", "held").await?;
    drop(load);
    daemon.signal(rustix::process::Signal::TERM)?;
    daemon.ended().await?;
    daemon.start().await?;
    reaches(&mut daemon, "count", "1.1.0", "held").await?;
    reaches(&mut daemon, "count", "1.0.0", "active").await?;

    let refused = daemon.salve(&["plugin", "accept", "count"])?;
    let shown = String::from_utf8_lossy(&refused.stderr);
    assert!(!refused.status.success() && shown.contains("parameters that it did not take before"), "{shown}");
    assert!(shown.contains("--yes"), "{shown}");
    let load = Load::start(daemon.otlp_http()?, Duration::from_millis(5));
    let accepted = daemon.salve(&["plugin", "accept", "count", "--yes"])?;
    assert!(accepted.status.success(), "{accepted:?}");
    reaches(&mut daemon, "count", "1.1.0", "active").await?;
    drop(load);
    Ok(())
}

/// Scenario: the operator promotes an upgrade at once, then takes it back, though its file has replaced the old one's.
/// Guarantees: both happen between two batches without a point lost or seen twice; the version that was taken back stays out.
#[tokio::test(flavor = "multi_thread")]
async fn promotion_and_rollback_by_hand() -> Result<()> {
    let (mut daemon, load) = counting(Duration::from_millis(5)).await?;
    let manual = format!("{COUNTING}{}", ROLLOUT.replace("samples_min", "promote = \"manual\"\nsamples_min"));
    daemon.configure(&manual)?;
    let reloaded = daemon.salve(&["reload"])?;
    assert!(reloaded.status.success(), "{reloaded:?}");
    install(&daemon, "count", &count("1.1.0", "", &[])?)?;
    let shadow = reaches(&mut daemon, "count", "1.1.0", "shadow").await?;
    daemon
        .wait("versions were compared", |daemon| {
            Ok(version(daemon, "count", "1.1.0")?
                .is_some_and(|status| status["compared"].as_u64() > Some(30)))
        })
        .await?;
    reaches(&mut daemon, "count", "1.1.0", "shadow").await?;
    let promoted = daemon.salve(&["plugin", "promote", "count", "--digest", &digest(&shadow)[..8]])?;
    assert!(promoted.status.success(), "{promoted:?}");
    reaches(&mut daemon, "count", "1.1.0", "active").await?;
    load.more(&mut daemon, 20).await?;

    let back = daemon.salve(&["plugin", "rollback", "count"])?;
    assert!(back.status.success(), "{back:?}");
    let active = reaches(&mut daemon, "count", "1.0.0", "active").await?;
    reaches(&mut daemon, "count", "1.1.0", "failed").await?;
    load.more(&mut daemon, 20).await?;
    let again = daemon.salve(&["plugin", "rollback", "count"])?;
    assert!(!again.status.success() && String::from_utf8_lossy(&again.stderr).contains("no earlier version"));

    let sent = load.finish().await?;
    assert_eq!(counted(&mut daemon, "count", sent).await?, (digest(&active), sent));
    Ok(())
}

/// Scenario: an upgrade behaves in its trial, becomes active, and then traps on values that the version before can take.
/// Guarantees: it goes into quarantine, the version before takes over with every point that was sent, those of the failed
/// batches included; the ledger, the status and the list say so; an incident about it is open, with name, version, digest and
/// errors, also after a restart, until a person acknowledges it.
#[tokio::test(flavor = "multi_thread")]
async fn quarantine_brings_the_version_before_back() -> Result<()> {
    let (mut daemon, load) = counting(Duration::from_millis(25)).await?;
    install(&daemon, "count", &count("1.1.0", "", &[("1e300 (;POISON;)", "1e6")])?)?;
    reaches(&mut daemon, "count", "1.1.0", "active").await?;
    load.raise(1_000_000);
    let fallen = reaches(&mut daemon, "count", "1.1.0", "quarantined").await?;
    let active = reaches(&mut daemon, "count", "1.0.0", "active").await?;
    assert!(active["reason"].as_str().is_some_and(|why| why.contains("takes over")), "{active:#}");
    load.more(&mut daemon, 10).await?;
    assert!(load.requests() < 500, "history has them all: {}", load.requests());

    let status = daemon.json(&["status", "--json"])?;
    assert!(status["problems"].to_string().contains("count 1.1.0 is quarantined"), "{}", status["problems"]);
    assert_eq!(status["counters"]["plugins.quarantined"], 1);
    let shown = daemon.salve(&["ledger", "show", "--json", "--limit", "100000"])?;
    let entries = String::from_utf8_lossy(&shown.stdout);
    let is_entry = |line: &str| {
        line.contains("plugin_version") && line.contains("\"to\":\"quarantined\"") && line.contains("1.1.0")
    };
    assert!(entries.lines().any(is_entry), "{entries}");

    let sent = load.finish().await?;
    let (digest_of, sums) = counted(&mut daemon, "count", sent).await?;
    assert_eq!((digest_of, sums), (digest(&active), sent));

    daemon.start().await?;
    let [incident]: [serde_json::Value; 1] =
        daemon.incidents()?.try_into().map_err(|found| anyhow::anyhow!("{found:#?}"))?;
    assert_eq!(incident["title"], "plugin `count` 1.1.0 is in quarantine");
    assert_eq!(incident["phase"]["escalated"]["cause"], "plugin_fell", "{incident:#}");
    assert!(incident["attempts"].as_array().is_some_and(Vec::is_empty) && incident["decision"].is_null());
    let id = incident["view"]["id"].as_str().unwrap_or_default().to_owned();
    let shown = daemon.salve(&["incident", "show", &id])?;
    let shown = String::from_utf8_lossy(&shown.stdout).into_owned();
    for words in [
        "plugin count 1.1.0",
        &digest(&fallen)[..12],
        "unreachable",
        "1.0.0",
        "stands in",
        "people are called",
    ] {
        assert!(shown.contains(words), "`{words}` is missing: {shown}");
    }
    let listed = daemon.salve(&["incident", "list"])?;
    let listed = String::from_utf8_lossy(&listed.stdout).into_owned();
    assert!(
        listed.contains("escalated") && listed.contains("plugin `count` 1.1.0 is in quarantine"),
        "{listed}"
    );

    let acknowledged = daemon.salve(&["incident", "acknowledge", &id, "--by", "ann"])?;
    assert!(acknowledged.status.success(), "{acknowledged:?}");
    daemon.wait("the incident is closed", |daemon| Ok(!daemon.incidents()?[0]["outcome"].is_null())).await?;
    assert!(daemon.incidents()?[0]["timeline"].to_string().contains("acknowledged by `ann`"));
    let again = daemon.salve(&["incident", "acknowledge", &id])?;
    assert!(!again.status.success() && String::from_utf8_lossy(&again.stderr).contains("closed already"));
    Ok(())
}

/// Scenario: a detector that no version came before traps under load until it is in quarantine; later its file is replaced.
/// Guarantees: the incident says that nothing answers, and cannot be acknowledged away; it asks for no remedy on a target,
/// whatever the policies say; it ends when the new version answers. The log has each thing once.
#[tokio::test(flavor = "multi_thread")]
async fn a_quarantine_with_nothing_before_it() -> Result<()> {
    let config = format!("{COUNTING}{ROLLOUT}").replace("mode = \"observe\"", "mode = \"act\"");
    let mut daemon = Daemon::prepare(&config, SET, &[])?;
    install(&daemon, "count", &count("1.0.0", "", &[("1e300 (;POISON;)", "1e6")])?)?;
    daemon.start().await?;
    let load = Load::start(daemon.otlp_http()?, Duration::from_millis(5));
    load.more(&mut daemon, 20).await?;
    load.raise(1_000_000);
    reaches(&mut daemon, "count", "1.0.0", "quarantined").await?;
    daemon.wait("the incident is open", |daemon| Ok(daemon.incidents()?.len() == 1)).await?;
    load.more(&mut daemon, 20).await?;
    let incident = &daemon.incidents()?[0];
    assert!(
        incident["plugin"]["trouble"]["answering"].is_null() && incident["outcome"].is_null(),
        "{incident:#}"
    );
    let id = incident["view"]["id"].as_str().unwrap_or_default().to_owned();
    let refused = daemon.salve(&["incident", "acknowledge", &id])?;
    let why = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert!(!refused.status.success() && why.contains("salve plugin reload count"), "{why}");

    install(&daemon, "count", &count("1.0.1", "", &[])?)?;
    reaches(&mut daemon, "count", "1.0.1", "active").await?;
    daemon.wait("the incident is closed", |daemon| Ok(!daemon.incidents()?[0]["outcome"].is_null())).await?;
    let [incident]: [serde_json::Value; 1] =
        daemon.incidents()?.try_into().map_err(|found| anyhow::anyhow!("{found:#?}"))?;
    assert!(incident["timeline"].to_string().contains("version 1.0.1 answers"), "{incident:#}");
    assert!(incident["decision"].is_null() && incident["attempts"].as_array().is_some_and(Vec::is_empty));
    load.finish().await?;

    let log = daemon.log();
    assert_eq!(log.matches("Plugin is in quarantine.").count(), 1);
    assert_eq!(log.matches("\"Escalated.\"").count(), 1, "people are called once");
    let failures: Vec<_> = log.lines().filter(|line| line.contains("Detector failed on a batch.")).collect();
    assert!(failures.len() <= 2, "the trap and the quarantine: {failures:#?}");
    Ok(())
}

/// Scenario: a detector is given parameters that its schema does not allow, while points for it come all the time.
/// Guarantees: the status says what is wrong, and the log says it once, not at every round.
#[tokio::test(flavor = "multi_thread")]
async fn what_stays_wrong_is_logged_once() -> Result<()> {
    let wrong = "[[detector]]\nname = 'wrong'\nplugin = 'holt-winters'\nselect = { names = ['load.value'] }\n\
                 parameters = { direction = 'sideways' }\n";
    let mut daemon = Daemon::prepare(&format!("{COUNTING}{wrong}{ROLLOUT}"), NOTHING, &["holt-winters"])?;
    install(&daemon, "count", &count("1.0.0", "", &[])?)?;
    daemon.start().await?;
    let load = Load::start(daemon.otlp_http()?, Duration::from_millis(5));
    let of = |daemon: &Daemon, name: &str| {
        Ok::<_, anyhow::Error>(daemon.json(&["status", "--json"])?["detectors"][name].clone())
    };
    daemon.wait("it is reported", |daemon| Ok(of(daemon, "wrong")?["problem"].is_string())).await?;
    let seen = of(&daemon, "count")?["points"].as_u64().unwrap_or_default();
    daemon
        .wait("several more rounds passed", |daemon| {
            Ok(of(daemon, "count")?["points"].as_u64() > Some(seen + 20 * SERIES))
        })
        .await?;
    load.finish().await?;
    let log = daemon.log();
    let lines: Vec<_> = log.lines().filter(|line| line.contains("Detector cannot start.")).collect();
    assert!(lines.len() == 1 && lines[0].contains("`/direction`: value must be one of"), "{lines:#?}");
    Ok(())
}

/// Scenario: the daemon runs without, then with `plugins.count_fuel`.
/// Guarantees: `plugin list` has a number for each limit of each plugin and a line for all; fuel only where it is counted, in
/// the status as well.
#[tokio::test(flavor = "multi_thread")]
async fn what_plugins_cost_is_listed() -> Result<()> {
    let (mut daemon, load) = counting(Duration::from_millis(5)).await?;
    drop(load);
    for counts in [false, true] {
        let one = version(&daemon, "count", "1.0.0")?.unwrap_or_default();
        for name in ["instances_live", "calls_total", "memory_peak_bytes", "cpu_us_total"] {
            assert!(one["counters"][name].as_u64() > Some(0), "{name}: {one:#}");
        }
        assert_eq!(one["counters"]["fuel_total"].as_u64() > Some(1_000), counts, "{one:#}");
        let status = daemon.json(&["status", "--json"])?;
        assert_eq!(status["counters"]["plugins.fuel_total"].as_u64() > Some(1_000), counts);
        let list = daemon.salve(&["plugin", "list"])?;
        let list = String::from_utf8_lossy(&list.stdout).into_owned();
        let cells = |line: Option<&str>| -> Vec<String> {
            line.unwrap_or_default()
                .split("  ")
                .map(|cell| cell.trim().to_owned())
                .filter(|cell| !cell.is_empty())
                .collect()
        };
        let (head, total) = (cells(list.lines().next()), cells(list.lines().last()));
        assert_eq!(head[5..11], ["instances", "calls", "traps", "cpu time", "memory peak", "fuel"], "{list}");
        assert_eq!(total[0], "total", "{list}");
        assert_eq!(total[6].parse::<u64>().is_ok(), counts, "{list}");
        assert_eq!(total[6] == "–", !counts, "{list}");
        if !counts {
            daemon.signal(rustix::process::Signal::TERM)?;
            daemon.ended().await?;
            daemon.configure(&format!(
                "{COUNTING}{}",
                ROLLOUT.replace("dev = true", "dev = true\ncount_fuel = true")
            ))?;
            daemon.start().await?;
            let load = Load::start(daemon.otlp_http()?, Duration::from_millis(5));
            let points = |daemon: &Daemon| {
                Ok::<_, anyhow::Error>(
                    daemon.json(&["status", "--json"])?["detectors"]["count"]["points"].as_u64(),
                )
            };
            daemon.wait("points were seen", |daemon| Ok(points(daemon)? > Some(100))).await?;
            load.finish().await?;
        }
    }
    Ok(())
}

/// Scenario: two detectors are under load. A new version of one of them never comes back from its start; a later one takes a
/// long time there, and then works.
/// Guarantees: meanwhile both active versions see their points as before; the first new version falls back and says why, the second
/// takes over, and over all versions just those points were counted that were sent.
#[tokio::test(flavor = "multi_thread")]
async fn a_slow_start_holds_up_nobody() -> Result<()> {
    let other = "[[detector]]\nname = 'other'\nplugin = 'other'\nselect = { names = ['load.value'] }\n";
    let rollout = ROLLOUT.replace("cpu_ms = 5000", "cpu_ms = 5000\ncpu_setup_ms = 10000");
    let mut daemon = Daemon::prepare(&format!("{COUNTING}{other}{rollout}"), NOTHING, &[])?;
    install(&daemon, "count", &count("1.0.0", "", &[])?)?;
    let manifest = "name = 'other'\nversion = '1.0.0'\nrole = 'detector'\nsummary = 'Counts points.'\n";
    install(&daemon, "other", &component("detector-count", manifest, &[])?)?;
    daemon.start().await?;
    let load = Load::start(daemon.otlp_http()?, Duration::from_millis(25));
    load.more(&mut daemon, 20).await?;
    let points = |daemon: &Daemon, name: &str| -> Result<u64> {
        let status = daemon.json(&["status", "--json"])?;
        Ok(status["detectors"][name]["points"].as_u64().unwrap_or_default())
    };

    install(&daemon, "count", &count("1.1.0", "", &[("0 (;START;)", "-1")])?)?;
    reaches(&mut daemon, "count", "1.1.0", "shadow").await?;
    let before = [points(&daemon, "count")?, points(&daemon, "other")?];
    daemon
        .wait("points are seen while the new version starts", |daemon| {
            let seen = [points(daemon, "count")?, points(daemon, "other")?];
            let starting = version(daemon, "count", "1.1.0")?.unwrap_or_default();
            anyhow::ensure!(
                starting["stage"] == "shadow",
                "it has ended, and only {before:?} → {seen:?}: {starting:#}"
            );
            Ok(seen.iter().zip(before).all(|(now, before)| *now >= before + 40 * SERIES))
        })
        .await?;
    let failed = reaches(&mut daemon, "count", "1.1.0", "failed").await?;
    assert!(failed["reason"].as_str().is_some_and(|why| why.contains("does not start")), "{failed:#}");

    install(&daemon, "count", &count("1.2.0", "", &[("0 (;START;)", "300000000")])?)?;
    let active = reaches(&mut daemon, "count", "1.2.0", "active").await?;
    load.more(&mut daemon, 20).await?;
    let sent = load.finish().await?;
    assert_eq!(counted(&mut daemon, "count", sent).await?, (digest(&active), sent));
    Ok(())
}

/// Scenario: the file of a detector under load is removed in the middle of its work, and put back.
/// Guarantees: it is gone from the list of active plugins, nothing else suffers, and it comes back.
#[tokio::test(flavor = "multi_thread")]
async fn unloading_under_load_does_no_harm() -> Result<()> {
    let (mut daemon, load) = counting(Duration::from_millis(2)).await?;
    for _ in 0..5 {
        std::fs::remove_file(daemon.path("plugins/count.wasm"))?;
        reaches(&mut daemon, "count", "1.0.0", "retired").await?;
        install(&daemon, "count", &count("1.0.0", "", &[])?)?;
        reaches(&mut daemon, "count", "1.0.0", "active").await?;
        load.more(&mut daemon, 10).await?;
    }
    let of_count = |daemon: &Daemon| {
        Ok::<_, anyhow::Error>(daemon.json(&["status", "--json"])?["detectors"]["count"].clone())
    };
    let before = of_count(&daemon)?["points"].as_u64();
    daemon
        .wait("it knows its series again", |daemon| {
            let now = of_count(daemon)?;
            Ok(now["series"] == SERIES && now["points"].as_u64() > before && now["problem"].is_null())
        })
        .await?;
    load.finish().await?;
    Ok(())
}
