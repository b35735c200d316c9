//! `kill -9` at every durable step of a heal. The daemon is ended by its own kernel call: a preloaded library raises SIGKILL
//! at the n-th sync of the ledger, or of what is known of a process, just before it or just after it.

use anyhow::{Context, Result, ensure};
use rustix::process::{Signal, kill_process};
use salve_tests::{
    daemon::Daemon,
    shop::{self, CHANGE_THEN_RESTART, RESTART_POLICY, sender_for_process, worker_pid},
    world::Sender,
};
use std::{
    path::{Path, PathBuf},
    process::Command,
    sync::{
        Arc, OnceLock,
        atomic::{AtomicU64, Ordering},
    },
};

/// Compiles the library once.
fn killer() -> &'static Path {
    static LIBRARY: OnceLock<PathBuf> = OnceLock::new();
    LIBRARY.get_or_init(|| {
        let source = salve_tests::root().join("tests/fixtures/kill_at_sync.c");
        let library = salve_tests::target().join(format!("kill_at_sync-{}.so", std::process::id()));
        let status = Command::new("cc")
            .args(["-shared", "-fPIC", "-O1", "-o"])
            .arg(&library)
            .arg(source)
            .arg("-ldl")
            .status();
        assert!(
            status.is_ok_and(|status| status.success()),
            "a C compiler (cc) is needed, as for the bundled SQLite"
        );
        library
    })
}

/// When the killing library strikes.
#[derive(Debug, Clone, Copy)]
struct Strike {
    sync: u32,
    when: &'static str,
    /// Text in the path of the file.
    of: &'static str,
}

const LEDGER: &str = "ledger.sqlite";
const PROCESS_RECORD: &str = "/brokers/process/";

fn arm(daemon: &mut Daemon, strike: Strike) {
    let armed = daemon.path("armed");
    daemon.environment("LD_PRELOAD", killer());
    daemon.environment("KILL_AT_SYNC", strike.sync.to_string());
    daemon.environment("KILL_AT_SYNC_WHEN", strike.when);
    daemon.environment("KILL_AT_SYNC_OF", strike.of);
    daemon.environment("KILL_AT_SYNC_ARMED", armed);
}

fn finished(daemon: &Daemon) -> Result<bool> {
    Ok(daemon
        .incidents()?
        .first()
        .is_some_and(|incident| !incident["outcome"].is_null() || incident["phase"]["escalated"].is_object()))
}

/// How a heal with one crash in it went.
enum Ending {
    /// The strike came and the daemon went on from there.
    Struck,
    /// The heal was over before the strike: all steps have been seen.
    NotReached,
}

/// Waits until the daemon was struck or the incident has ended, and restarts it if it was struck.
async fn run_through(daemon: &mut Daemon) -> Result<Ending> {
    let struck = daemon.wait("the incident has ended", finished).await;
    if struck.is_ok() {
        return Ok(Ending::NotReached);
    }
    if daemon.is_running() {
        struck?;
    }
    daemon.clear_environment();
    daemon.start().await?;
    Ok(Ending::Struck)
}

/// One heal that ends with a restart, killed at `strike`.
async fn heal_with(policy: &str, strike: Strike) -> Result<Ending> {
    // The OTLP port stays, so that the sender finds the daemon again.
    let [port] = salve_ports::free()?;
    let config = shop::config("act", "").replacen(
        "http_address = \"127.0.0.1:0\"",
        &format!("http_address = \"127.0.0.1:{port}\""),
        1,
    );
    let mut daemon = shop::prepare("act", policy, "")?;
    let settings = std::fs::read(daemon.path("worker.toml"))?;
    // Each start of the process leaves a line.
    daemon.configure(&config.replace(
        "command = [\"/bin/sleep\", \"100000\"]",
        "command = [\"/bin/sh\", \"-c\", \"echo started >> @/starts; exec sleep 100000\"]",
    ))?;
    arm(&mut daemon, strike);
    daemon.start().await?;
    let (marker, starts) = (daemon.path("broken"), daemon.path("starts"));
    // While there is no process all looks well: so the telemetry does not tell the daemon to start one.
    let _sender = sender_for_process(format!("http://127.0.0.1:{port}"), marker.clone());
    shop::warm_up(&mut daemon, 20).await?;
    // The state is on disk, so that the detectors know what is normal after the crash.
    daemon
        .wait("a snapshot is written", |daemon| Ok(daemon.path("state/detectors/errors-0.snapshot").exists()))
        .await?;
    let pid = worker_pid(&daemon)?.context("the worker runs")?;
    std::fs::write(daemon.path("armed"), "")?;
    std::fs::write(marker, pid.to_string())?;
    let ending = run_through(&mut daemon).await?;
    daemon.wait("the incident has ended", finished).await?;
    let incidents = daemon.incidents()?;
    ensure!(incidents.len() == 1, "{strike:?}: one incident, not {incidents:#?}");
    ensure!(incidents[0]["outcome"] == "healed", "{strike:?}: {:#}", incidents[0]);
    let starts = std::fs::read_to_string(starts)?.lines().count();
    ensure!(
        starts == 2,
        "{strike:?}: the process was started {starts} times: once at first, once by the heal"
    );
    ensure!(std::fs::read(daemon.path("worker.toml"))? == settings, "{strike:?}: the file is not as it was");
    let report = daemon.json(&["ledger", "verify", "--json"])?;
    ensure!(report["first_bad"].is_null(), "{strike:?}: {report}");
    Ok(ending)
}

/// Heals, killed at the first sync, at the second, and so on until the first that was over before. Returns how many there were.
async fn heals<F>(heal: impl Fn(u32) -> F) -> Result<u32>
where
    F: Future<Output = Result<Ending>> + Send + 'static,
{
    // Most of a heal is waiting.
    const AT_A_TIME: u32 = 6;
    let mut reached = 0;
    loop {
        let first = reached + 1;
        let heals: Vec<_> = (first..first + AT_A_TIME).map(|sync| tokio::spawn(heal(sync))).collect();
        let mut is_over = false;
        for heal in heals {
            match heal.await?? {
                Ending::Struck if !is_over => reached += 1,
                Ending::Struck => {}
                Ending::NotReached => is_over = true,
            }
        }
        if is_over {
            return Ok(reached);
        }
    }
}

async fn heals_with(policy: &'static str, when: &'static str, of: &'static str) -> Result<u32> {
    heals(|sync| heal_with(policy, Strike { sync, when, of })).await
}

/// Scenario: a heal by restart; the daemon is killed at its first durable step, then at its second, and so on to the end,
/// each time just before and just after the step, and started again.
/// Guarantees: the incident goes on and ends healed, the process is restarted exactly once, the ledger is intact.
#[tokio::test(flavor = "multi_thread")]
async fn a_restart_is_done_once_whenever_the_daemon_dies() -> Result<()> {
    for when in ["before", "after"] {
        let reached = heals_with(RESTART_POLICY, when, LEDGER).await?;
        assert!(reached >= 8, "a heal has at least eight durable steps, {when} it was killed at {reached}");
    }
    Ok(())
}

/// Scenario: as above, but the daemon is killed whenever it writes down what became of the process: when it has stopped the
/// old one, before it starts the new one, and when that runs.
/// Guarantees: as above; a process that Salve has stopped does not stay so.
#[tokio::test(flavor = "multi_thread")]
async fn a_restart_that_is_cut_in_two_is_finished() -> Result<()> {
    let reached = heals_with(RESTART_POLICY, "before", PROCESS_RECORD).await?;
    assert!(reached >= 3, "stopped, to be started, started: it was killed at {reached}");
    Ok(())
}

/// Scenario: the first remedy is a change of the configuration that does not help, so that it is undone before the process is
/// restarted; the daemon is killed at every durable step of all that.
/// Guarantees: as above; the file ends as it was, to the byte.
#[tokio::test(flavor = "multi_thread")]
async fn a_change_that_does_not_help_is_undone_whenever_the_daemon_dies() -> Result<()> {
    let reached = heals_with(CHANGE_THEN_RESTART, "after", LEDGER).await?;
    assert!(
        reached >= 14,
        "a change, its undoing and a restart have many durable steps, it was killed at {reached}"
    );
    Ok(())
}

const CALL_POLICY: &str = r#"
fn decide(incident, findings, catalogue, history) {
    [#{ verdict: "act", action: "http-call", target: "worker", parameters: #{ method: "POST", path: "/heal" },
        priority: 10, reason: "ask it to heal itself" }]
}
"#;

/// What a web hook does besides answering.
type OnCall = Arc<dyn Fn() + Send + Sync>;

/// A server that counts the calls that reach it.
async fn counting_server(on_call: OnCall) -> Result<(u16, Arc<AtomicU64>)> {
    let calls = Arc::new(AtomicU64::new(0));
    let counted = calls.clone();
    let router = axum::Router::new().route(
        "/heal",
        axum::routing::post(move || {
            counted.fetch_add(1, Ordering::SeqCst);
            on_call();
            async { "ok" }
        }),
    );
    let listener = tokio::net::TcpListener::bind(("127.0.0.1", 0)).await?;
    let port = listener.local_addr()?.port();
    tokio::spawn(async move { drop(axum::serve(listener, router).await) });
    Ok((port, calls))
}

/// One heal by a web hook without an idempotency key, killed at `strike`, or when the hook is called if there is none.
/// Returns how often the hook was called.
async fn call_with(strike: Option<Strike>) -> Result<(Ending, u64, String)> {
    let first_daemon = Arc::new(OnceLock::new());
    let (victim, by_hook) = (first_daemon.clone(), strike.is_none());
    let on_call: OnCall = Arc::new(move || {
        if by_hook && let Some(pid) = victim.get() {
            // A second call finds nobody, and is counted.
            kill_process(*pid, Signal::KILL).unwrap_or_default();
        }
    });
    let (server, calls) = counting_server(on_call).await?;
    let [port] = salve_ports::free()?;
    let more = "[[grant]]\nplugin = \"http-call\"\ncapability = \"http\"\nverbs = [\"*\"]\ntargets = [\"worker\"]\n\
                http = { methods = [\"POST\"], paths = [\"/heal\"] }\n";
    let config = shop::config("act", more)
        .replacen("http_address = \"127.0.0.1:0\"", &format!("http_address = \"127.0.0.1:{port}\""), 1)
        .replace(
            "process = \"worker\"\n",
            &format!("process = \"worker\"\nhttp = {{ base_url = \"http://127.0.0.1:{server}\", address_ranges = [\"loopback\"] }}\n"),
        );
    let mut daemon = shop::prepare("act", CALL_POLICY, "")?;
    daemon.add_plugin("http-call")?;
    daemon.configure(&config)?;
    if let Some(strike) = strike {
        arm(&mut daemon, strike);
    }
    daemon.start().await?;
    first_daemon.set(daemon.pid()?).ok().context("the daemon starts once")?;
    let (broken, healed_by) = (daemon.path("broken"), calls.clone());
    // Well again once the hook has been called.
    let _sender = Sender::start(format!("http://127.0.0.1:{port}"), move || {
        broken.exists() && healed_by.load(Ordering::SeqCst) == 0
    });
    shop::warm_up(&mut daemon, 20).await?;
    daemon
        .wait("a snapshot is written", |daemon| Ok(daemon.path("state/detectors/errors-0.snapshot").exists()))
        .await?;
    std::fs::write(daemon.path("armed"), "")?;
    std::fs::write(daemon.path("broken"), "")?;
    let ending = run_through(&mut daemon).await?;
    daemon.wait("the incident has ended", finished).await?;
    let incidents = daemon.incidents()?;
    ensure!(incidents.len() == 1, "{strike:?}: {incidents:#?}");
    let attempts = incidents[0]["attempts"].as_array().cloned().unwrap_or_default();
    let outcome =
        attempts.iter().rev().find_map(|attempt| attempt["outcome"].as_str()).unwrap_or("none").to_owned();
    Ok((ending, calls.load(Ordering::SeqCst), outcome))
}

/// Scenario: a heal by a call that can be made at most once and cannot be asked about; the daemon is killed at every
/// durable step, and by the hook itself before it answers.
/// Guarantees: the hook is called at most once, whatever happens; a crash between intent and result ends as unknown.
#[tokio::test(flavor = "multi_thread")]
async fn a_web_hook_without_a_key_is_never_repeated() -> Result<()> {
    let (ending, calls, outcome) = call_with(None).await?;
    assert!(matches!(ending, Ending::Struck));
    assert_eq!((calls, outcome.as_str()), (1, "unknown"));
    let reached = heals(|sync| async move {
        let (ending, calls, outcome) = call_with(Some(Strike { sync, when: "after", of: LEDGER })).await?;
        ensure!(calls <= 1, "killed after sync {sync}: called {calls} times");
        if matches!(ending, Ending::NotReached) {
            ensure!((calls, outcome.as_str()) == (1, "healed"), "no sync {sync}: {calls} calls, {outcome}");
        }
        Ok(ending)
    });
    let reached = reached.await?;
    assert!(reached >= 8, "a heal has at least eight durable steps, it was killed at {reached} of them");
    Ok(())
}
