//! New versions of agents and actions, tried on real incidents of a running daemon.

use anyhow::Result;
use salve_tests::{
    daemon::Daemon,
    shop,
    versions::{ROLLOUT, SET, component, install, reaches, version},
    world::Sender,
};

const NOTHING: &str = "fn decide(incident, findings, catalogue, history) { [] }\n";

/// The action that sets `pool.size` to 16 and expects that errors end, in this version.
fn echo(version: &str, replace: &[(&str, &str)]) -> Result<Vec<u8>> {
    let manifest = format!(
        "name = 'echo'\nversion = '{version}'\nrole = 'action'\nsummary = 'Sets the pool.'\n\
         capabilities = [{{ capability = 'config', verbs = ['get', 'set'] }}]\n"
    );
    let expects = [
        ("\"error_ratio\"", "\"salve.span.error_ratio\""),
        // Of the target's service, for a short while.
        ("2096 4  2240 11", "2096 0  2240 22"),
        ("(i64 60000 10000)", "(i64 4000 200)"),
    ];
    component("action-echo", &manifest, &[&expects, replace].concat())
}

/// Breaks the world and waits until it is healed.
async fn break_and_heal(daemon: &mut Daemon, break_it: impl Fn() -> Result<()>) -> Result<()> {
    let before = daemon.incidents()?.len();
    break_it()?;
    daemon
        .wait("the incident is closed", |daemon| {
            let incidents = daemon.incidents()?;
            Ok(incidents.len() > before && incidents.iter().all(|incident| !incident["outcome"].is_null()))
        })
        .await?;
    let newest = &daemon.incidents()?[0];
    anyhow::ensure!(newest["outcome"] == "healed", "{newest:#}");
    Ok(())
}

/// The agent that blames `worker`, in this version.
fn suspect(version: &str, replace: &[(&str, &str)]) -> Result<Vec<u8>> {
    let manifest = format!("name = 'suspect'\nversion = '{version}'\nrole = 'agent'\nsummary = 'Blames.'\n");
    component("agent-suspect", &manifest, replace)
}

/// Breaks the world until people are called, mends it, waits until all is closed, and gives the incident.
async fn break_and_mend(daemon: &mut Daemon, flag: &std::path::Path) -> Result<serde_json::Value> {
    std::fs::write(flag, "")?;
    daemon
        .wait("people are called", |daemon| {
            let open = |incident: &serde_json::Value| {
                incident["outcome"].is_null() && incident["phase"].get("escalated").is_some()
            };
            Ok(daemon.incidents()?.iter().any(open))
        })
        .await?;
    std::fs::remove_file(flag)?;
    daemon
        .wait("the incident is closed", |daemon| {
            Ok(daemon.incidents()?.iter().all(|incident| !incident["outcome"].is_null()))
        })
        .await?;
    Ok(daemon.incidents()?[0].clone())
}

/// Scenario: while incidents come, an agent is upgraded, first to a version that names another cause, then to one that names
/// the same cause with other evidence.
/// Guarantees: both are asked what the active one is asked. The first falls back, says why, and its word counted nowhere; the
/// second answers for its share as a canary, and then for all.
#[tokio::test(flavor = "multi_thread")]
async fn an_agent_is_tried_on_real_questions() -> Result<()> {
    let more = ROLLOUT
        .replace("[plugins]\ndev = true\ncache_directory = \"CACHE\"\nsnapshot_ms = 300\n", "")
        .replace("canary_share = 0.5", "canary_share = 1.0");
    let mut daemon = Daemon::prepare(&shop::config("act", &more), NOTHING, &["holt-winters"])?;
    install(&daemon, "suspect", &suspect("1.0.0", &[])?)?;
    daemon.start().await?;
    let flag = daemon.path("broken");
    let broken = flag.clone();
    let sender = Sender::start(daemon.otlp_http()?, move || broken.exists());
    shop::warm_up(&mut daemon, 20).await?;
    let says = |incident: &serde_json::Value, mechanism: &str, evidence: &str| {
        let cause = &incident["findings"]["hypotheses"][0];
        assert_eq!(
            (&cause["suspect"], &cause["mechanism"]),
            (&"worker".into(), &mechanism.into()),
            "{incident:#}"
        );
        assert_eq!(cause["evidence"][0]["text"], evidence, "{incident:#}");
    };

    install(&daemon, "suspect", &suspect("1.1.0", &[("\"errors\" (;MECHANISM;)", "\"absent\"")])?)?;
    reaches(&mut daemon, "suspect", "1.1.0", "shadow").await?;
    says(&break_and_mend(&mut daemon, &flag).await?, "errors", "seen");
    let failed = reaches(&mut daemon, "suspect", "1.1.0", "failed").await?;
    assert!(failed["reason"].as_str().is_some_and(|why| why.contains("differs")), "{failed:#}");
    assert!(failed["counters"]["calls_total"].as_u64() >= Some(1), "it was asked: {failed:#}");

    install(&daemon, "suspect", &suspect("1.2.0", &[("\"seen\" (;EVIDENCE;)", "\"SEEN\"")])?)?;
    reaches(&mut daemon, "suspect", "1.2.0", "shadow").await?;
    says(&break_and_mend(&mut daemon, &flag).await?, "errors", "seen");
    reaches(&mut daemon, "suspect", "1.2.0", "canary").await?;
    says(&break_and_mend(&mut daemon, &flag).await?, "errors", "SEEN");
    reaches(&mut daemon, "suspect", "1.2.0", "active").await?;
    let first = reaches(&mut daemon, "suspect", "1.0.0", "retired").await?;
    assert_eq!(first["can_roll_back_to"], true, "{first:#}");
    says(&break_and_mend(&mut daemon, &flag).await?, "errors", "SEEN");
    drop(sender);
    Ok(())
}

/// Scenario: while incidents come and plans are made, an action is upgraded, first to a version that plans something else, then
/// to one that plans the same.
/// Guarantees: the first falls back, says why, and nothing that it planned was ever done; the second answers for its share as a
/// canary and then becomes active, and the ledger shows a plan of its own.
#[tokio::test(flavor = "multi_thread")]
async fn an_action_is_tried_without_effect_and_then_as_canary() -> Result<()> {
    let more = ROLLOUT
        .replace("[plugins]\ndev = true\ncache_directory = \"CACHE\"\nsnapshot_ms = 300\n", "")
        .replace("canary_share = 0.5", "canary_share = 1.0")
        + r#"
[[target]]
id = "shop"
select = { "service.name" = "worker" }
config = { file = "@/pool.toml", keys = ["*"] }
[[grant]]
plugin = "echo"
capability = "config"
verbs = ["*"]
targets = ["shop"]
arguments.key = { one_of = ["pool.size"] }
arguments.value = { min = 1, max = 64 }
"#;
    let mut daemon = Daemon::prepare(&shop::config("act", &more), SET, &["holt-winters", "analyst"])?;
    let pool = daemon.path("pool.toml");
    let set = |size: &str| std::fs::write(&pool, format!("[pool]\nsize = \"{size}\"\n"));
    set("4")?;
    install(&daemon, "echo", &echo("1.0.0", &[])?)?;
    daemon.start().await?;
    let world = pool.clone();
    // With a pool of 8 the service fails.
    let sender = Sender::start(daemon.otlp_http()?, move || {
        std::fs::read_to_string(&world).is_ok_and(|text| text.contains("\"8\""))
    });
    shop::warm_up(&mut daemon, 20).await?;

    // What it would do is other by one digit.
    install(&daemon, "echo", &echo("1.1.0", &[("\\2216\\22", "\\2217\\22")])?)?;
    reaches(&mut daemon, "echo", "1.1.0", "shadow").await?;
    break_and_heal(&mut daemon, || Ok(set("8")?)).await?;
    let failed = reaches(&mut daemon, "echo", "1.1.0", "failed").await?;
    assert!(failed["reason"].as_str().is_some_and(|why| why.contains("differs")), "{failed:#}");

    install(&daemon, "echo", &echo("1.2.0", &[])?)?;
    reaches(&mut daemon, "echo", "1.2.0", "shadow").await?;
    break_and_heal(&mut daemon, || Ok(set("8")?)).await?;
    reaches(&mut daemon, "echo", "1.2.0", "canary").await?;
    break_and_heal(&mut daemon, || Ok(set("8")?)).await?;
    reaches(&mut daemon, "echo", "1.2.0", "active").await?;
    drop(sender);

    let entries = daemon.salve(&["ledger", "show", "--json", "--limit", "100000"])?;
    let entries = String::from_utf8_lossy(&entries.stdout).into_owned();
    let of = |number: &str| {
        Ok::<_, anyhow::Error>(
            version(&daemon, "echo", number)?.map(|status| digest(&status)).unwrap_or_default(),
        )
    };
    let planned_by = |digest: &str| entries.contains(&format!("\"action_digest\":\"{digest}\""));
    assert!(planned_by(&of("1.2.0")?), "a plan of the canary is in the ledger");
    assert!(!planned_by(&of("1.1.0")?), "what was in shadow planned nothing that counts");
    let writes: Vec<_> = entries.lines().filter(|line| line.contains("\"write_intent\"")).collect();
    assert!(!writes.is_empty() && writes.iter().all(|line| !line.contains("\\\"17\\\"")), "{writes:?}");

    let grants = daemon.salve(&["plugin", "grants", "echo"])?;
    let grants = String::from_utf8_lossy(&grants.stdout).into_owned();
    assert!(
        grants.lines().count() <= 8 && grants.contains("pool.size") && grants.contains("pool.toml"),
        "{grants}"
    );
    let least = daemon.salve(&["plugin", "grants", "echo", "--from-ledger"])?;
    let least = String::from_utf8_lossy(&least.stdout).into_owned();
    assert!(least.contains("one_of = [\"16\"]") && least.contains("\"set\""), "{least}");
    Ok(())
}

fn digest(status: &serde_json::Value) -> String {
    status["digest"].as_str().unwrap_or_default().to_owned()
}
