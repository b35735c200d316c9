//! Processes: identity, signals, adoption, environment, limits.

use crate::bench::{Bench, PATIENCE, execute, heal, id, planned, raw, read, until};
use rustix::process::{Pid, Signal, kill_process};
use salve_capabilities::{Brokers, ProcessEventKind};
use salve_model::call::{CallError, Denied, Read, ReadAnswer, Session, Write};
use std::process::{Command, Stdio};

fn pid(brokers: &Brokers, unit: &str) -> Option<i32> {
    let states = brokers.unit_states();
    let state = states.iter().find(|state| state.unit == unit).unwrap();
    state.pid.map(|pid| i32::try_from(pid).unwrap())
}

fn signal(pid: i32, signal: Signal) {
    kill_process(Pid::from_raw(pid).unwrap(), signal).unwrap();
}

/// The state letter in `/proc`; none if there is no such process.
fn state(pid: i32) -> Option<char> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    stat.rsplit_once(") ")?.1.chars().next()
}

/// It runs no more; where nobody reaps (a container without an init) the kernel keeps its name.
fn ended(pid: i32) -> bool {
    matches!(state(pid), None | Some('Z'))
}

fn session_of(pid: i32) -> i32 {
    rustix::process::getsid(Pid::from_raw(pid)).unwrap().as_raw_nonzero().get()
}

fn restart(name: &str) -> Write {
    Write::ProcessRestart { target: id(name) }
}

/// Guarantees: autostart starts once; a kill is noticed and told with its signal; nothing comes back by itself, not even
/// with a new daemon; a granted restart does it.
#[tokio::test]
async fn never_restarts_by_itself() {
    let mut bench = Bench::new();
    bench.unit("shop", &["/bin/sleep", "1000"]);
    let brokers = bench.brokers();
    let mut events = brokers.process_events();
    let first = pid(&brokers, "shop").unwrap();
    signal(first, Signal::KILL);
    let event = tokio::time::timeout(PATIENCE, events.recv()).await.unwrap().unwrap();
    assert_eq!(event.kind, ProcessEventKind::Exited("killed by SIGKILL".into()));
    assert_eq!((event.targets, event.pid), (vec![id("shop")], first.unsigned_abs()));
    assert_eq!(state(first), None, "it is reaped");
    assert_eq!(pid(&brokers, "shop"), None);
    drop(brokers);

    let brokers = bench.brokers();
    assert_eq!(pid(&brokers, "shop"), None);
    let answer =
        heal(&brokers, "restart", raw("process", "restart", "shop", ""), restart("shop")).await.unwrap();
    assert_eq!(answer.receipt.before.as_deref(), Some("absent"));
    let second = pid(&brokers, "shop").unwrap();
    assert!(answer.receipt.after.unwrap().starts_with(&format!("pid={second},start=")));
    brokers.shutdown(true).await.unwrap();
    assert_eq!(state(second), None);
}

/// Guarantees: a process that was stopped by a signal (a hang) is ended by SIGTERM, not by waiting for SIGKILL, and
/// status tells that it is stopped.
#[tokio::test]
async fn restarts_a_stopped_process() {
    let mut bench = Bench::new();
    bench.unit("shop", &["/bin/sleep", "1000"]).stop_grace_ms = 20_000;
    let brokers = bench.brokers();
    let mut events = brokers.process_events();
    let first = pid(&brokers, "shop").unwrap();
    signal(first, Signal::STOP);
    until("stopped", || state(first) == Some('T')).await;
    let plan = planned(&brokers, "restart", vec![raw("process", "restart", "shop", "{}")]).await.unwrap();
    let session = execute(&brokers, &plan);
    let ReadAnswer::ProcessStatus(status) =
        session.read(Read::ProcessStatus { target: id("shop") }).await.unwrap()
    else {
        panic!("another answer")
    };
    assert_eq!(status.state, "stopped");
    assert!(status.rss_bytes > 0 && status.started.unwrap() > 1_600_000_000_000_000_000);
    session.write(restart("shop")).await.unwrap();
    let event = tokio::time::timeout(PATIENCE, events.recv()).await.unwrap().unwrap();
    assert_eq!(event.kind, ProcessEventKind::Exited("killed by SIGTERM".into()));
    let second = pid(&brokers, "shop").unwrap();
    assert_ne!(first, second);
    brokers.shutdown(true).await.unwrap();
}

/// Guarantees: a process that ignores SIGTERM is killed after its grace, and what it started ends with it.
#[tokio::test]
async fn kills_after_the_grace_and_takes_children_along() {
    let mut bench = Bench::new();
    let script = "trap '' TERM; sleep 1000 & echo $!; while :; do wait; done";
    bench.unit("stubborn", &["/bin/sh", "-c", script]).stop_grace_ms = 200;
    let brokers = bench.brokers();
    let log = bench.path("stubborn.log");
    until("the script runs", || !read(&log).is_empty()).await;
    let child: i32 = read(&log).trim().parse().unwrap();
    let parent = pid(&brokers, "stubborn").unwrap();
    let stop = Write::ProcessStop { target: id("stubborn") };
    let answer = heal(&brokers, "restart", raw("process", "stop", "stubborn", ""), stop).await.unwrap();
    assert_eq!(answer.receipt.after.as_deref(), Some("absent"));
    assert_eq!(state(parent), None);
    until("the child has ended", || ended(child)).await;
}

/// Guarantees: argv reaches the program as it stands, no shell in between; the environment is the listed one and an id of
/// the start; output goes to the log; the process has a session of its own.
#[tokio::test]
async fn argv_and_environment_as_listed() {
    let mut bench = Bench::new();
    let marker = bench.path("marker");
    let trick = format!("$(touch {})", marker.display());
    bench.unit("echo", &["/bin/echo", &trick, "a  b", "*"]);
    bench.unit("env", &["/usr/bin/env"]).environment = [("ONE".to_owned(), "1".to_owned())].into();
    bench.unit("sleeper", &["/bin/sleep", "1000"]);
    let brokers = bench.brokers();
    until("both have ended", || pid(&brokers, "echo").is_none() && pid(&brokers, "env").is_none()).await;
    assert_eq!(read(&bench.path("echo.log")), format!("{trick} a  b *\n"));
    let environment = read(&bench.path("env.log"));
    let (listed, added) = environment.split_once('\n').unwrap();
    assert_eq!(listed, "ONE=1");
    assert!(added.starts_with("UNIT_START_ID=") && added.lines().count() == 1, "{added}");
    assert!(!marker.exists());
    let sleeper = pid(&brokers, "sleeper").unwrap();
    assert_eq!(session_of(sleeper), sleeper);
    brokers.shutdown(true).await.unwrap();
}

/// Guarantees: the memory limit is the kernel's, on the process itself.
#[tokio::test]
async fn limits_memory() {
    let mut bench = Bench::new();
    bench.unit("shop", &["/bin/sleep", "1000"]).memory_max_bytes = Some(64 << 20);
    let brokers = bench.brokers();
    let limits = read(format!("/proc/{}/limits", pid(&brokers, "shop").unwrap()).as_ref());
    let line = limits.lines().find(|line| line.starts_with("Max data size")).unwrap();
    assert_eq!(line.split_whitespace().nth(3), Some("67108864"));
    brokers.shutdown(true).await.unwrap();
}

/// Guarantees: a plan about one process says nothing about the next one: pid and start time must be the plan's.
#[tokio::test]
async fn a_plan_is_about_one_process() {
    let mut bench = Bench::new();
    bench.unit("shop", &["/bin/sleep", "1000"]);
    let brokers = bench.brokers();
    let old = planned(&brokers, "restart", vec![raw("process", "restart", "shop", "{}")]).await.unwrap();
    heal(&brokers, "restart", raw("process", "restart", "shop", ""), restart("shop")).await.unwrap();
    let second = pid(&brokers, "shop").unwrap();
    let error = execute(&brokers, &old).write(restart("shop")).await.unwrap_err();
    let CallError::Denied(Denied::StateChanged(now)) = error else { panic!("{error}") };
    assert!(now.starts_with(&format!("pid={second},")), "{now}");
    assert_eq!(pid(&brokers, "shop"), Some(second));
    brokers.shutdown(true).await.unwrap();
}

/// Guarantees: Salve does not supervise itself, and programs have absolute paths.
#[tokio::test]
async fn refuses_itself() {
    let salve = std::env::current_exe().unwrap();
    for (command, problem) in [(salve.to_str().unwrap(), "Salve itself"), ("sleep", "no absolute path")] {
        let mut bench = Bench::new();
        bench.unit("self", &[command]);
        let error = Brokers::new(bench.config.clone(), bench.journal.clone()).err().unwrap();
        let source = std::error::Error::source(&error).unwrap().to_string();
        assert!(source.contains(problem), "{source}");
    }
}

/// Guarantees: the variable by which Salve finds a process again is Salve's alone.
#[tokio::test]
async fn refuses_a_start_id() {
    let mut bench = Bench::new();
    let unit = bench.unit("shop", &["/bin/sleep", "1000"]);
    unit.environment = [("UNIT_START_ID".to_owned(), "mine".to_owned())].into();
    let error = Brokers::new(bench.config.clone(), bench.journal.clone()).err().unwrap();
    let source = std::error::Error::source(&error).unwrap().to_string();
    assert!(source.contains("UNIT_START_ID"), "{source}");
}

/// Not a test of its own: a daemon that starts its units and dies without a word. Run by the tests below in a process
/// of its own.
#[tokio::test]
#[ignore = "the first daemon of other tests"]
async fn as_first_daemon() {
    let Ok(folder) = std::env::var("SALVE_TEST_FOLDER") else { return };
    let config = orphan_bench_in(folder.as_ref());
    let brokers = Brokers::new(config, std::sync::Arc::<crate::bench::MemoryJournal>::default()).unwrap();
    println!("pid={}", pid(&brokers, "shop").unwrap());
    rustix::process::kill_process(rustix::process::getpid(), Signal::KILL).unwrap();
}

fn orphan_bench_in(folder: &std::path::Path) -> salve_capabilities::BrokersConfig {
    let mut bench = Bench::new();
    bench.unit("shop", &["/bin/sleep", "987.5"]).log_file = folder.join("shop.log");
    salve_capabilities::BrokersConfig {
        state_dir: folder.join("state"),
        pause_file: folder.join("paused"),
        ..bench.config.clone()
    }
}

/// Lets a first daemon start `shop` and die by SIGKILL; gives the pid of `shop`.
fn orphan(folder: &std::path::Path) -> i32 {
    let output = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "process::as_first_daemon", "--ignored", "--nocapture"])
        .env("SALVE_TEST_FOLDER", folder)
        .output()
        .unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    let line = text.lines().find_map(|line| line.split_once("pid=")).unwrap_or_else(|| panic!("{text}"));
    line.1.trim().parse().unwrap()
}

/// Guarantees: children outlive a daemon that is killed, even while they are stopped; the next daemon finds them by pid
/// and start time, notices their end, and can restart them.
#[tokio::test]
async fn adopts_what_a_killed_daemon_left() {
    let folder = tempfile::tempdir().unwrap();
    let shop = orphan(folder.path());
    assert!(matches!(state(shop), Some('S' | 'R')), "it outlives its daemon");
    signal(shop, Signal::STOP);
    until("stopped", || state(shop) == Some('T')).await;
    let journal = std::sync::Arc::<crate::bench::MemoryJournal>::default();
    let brokers = Brokers::new(orphan_bench_in(folder.path()), journal).unwrap();
    assert_eq!(pid(&brokers, "shop"), Some(shop), "adopted, not started anew");
    heal(&brokers, "restart", raw("process", "restart", "shop", ""), restart("shop")).await.unwrap();
    assert!(ended(shop));
    let second = pid(&brokers, "shop").unwrap();
    brokers.shutdown(true).await.unwrap();
    assert_eq!(state(second), None);
}

/// Guarantees: a daemon that dies between starting a process and writing its pid down leaves nothing behind that the next
/// one cannot find: by its environment, which outlives an `exec` and which its children have, too, or by its command line.
#[tokio::test]
async fn finds_a_process_that_was_never_written_down() {
    let script = ["/bin/sh", "-c", "exec /bin/sleep 987.5"];
    let with_child = ["/bin/sh", "-c", "/usr/bin/setsid /bin/sleep 987.6 & exec /bin/sleep 987.5"];
    let plain = ["/bin/sleep", "987.5"];
    for (command, knows_id) in [(&script[..], true), (&with_child[..], true), (&plain[..], false)] {
        let mut bench = Bench::new();
        bench.unit("shop", command);
        let first = bench.brokers();
        let shop = pid(&first, "shop").unwrap();
        until("the script has become the program", || {
            std::fs::read(format!("/proc/{shop}/cmdline")).is_ok_and(|line| line == b"/bin/sleep\0987.5\0")
        })
        .await;
        drop(first);
        let environment = std::fs::read_to_string(format!("/proc/{shop}/environ")).unwrap();
        let id = environment.split('\0').find_map(|entry| entry.strip_prefix("UNIT_START_ID=")).unwrap();
        let leaders = || leaders_with(&format!("UNIT_START_ID={id}"));
        if command == with_child {
            until("its child has a session of its own", || leaders().len() == 2).await;
        }
        forget_the_pid(&bench, if knows_id { id } else { "another" }, false);
        let second = bench.brokers();
        assert_eq!(pid(&second, "shop"), Some(shop), "{command:?}");
        second.shutdown(true).await.unwrap();
        assert!(ended(shop));
        leaders().into_iter().for_each(|child| signal(child, Signal::KILL));
    }
}

/// Guarantees: a daemon that dies before the first start of a process has one has started nothing: the next one does. Of a later
/// start that is not so: that was an action's, and is the reconciliation's matter.
#[tokio::test]
async fn a_first_start_that_came_to_nothing_is_made() {
    for is_first in [true, false] {
        let mut bench = Bench::new();
        // No other test's command: a process is found by it, too.
        bench.unit("shop", &["/bin/sleep", "987.7"]);
        let first = bench.brokers();
        first.shutdown(false).await.unwrap();
        let shop = pid(&first, "shop").unwrap();
        signal(shop, Signal::KILL);
        until("it has ended", || pid(&first, "shop").is_none()).await;
        drop(first);
        forget_the_pid(&bench, "another", is_first);
        let second = bench.brokers();
        assert_eq!(pid(&second, "shop").is_some(), is_first);
        second.shutdown(true).await.unwrap();
    }
}

/// The record of `shop` as it is while it is being started.
fn forget_the_pid(bench: &Bench, id: &str, is_first: bool) {
    let path = bench.path("state/process/shop.json");
    let mut record: serde_json::Value = serde_json::from_str(&read(&path)).unwrap();
    let ticks = record["identity"]["start_ticks"].clone();
    record["starting"] = serde_json::json!({ "ticks": ticks, "id": id, "is_first": is_first });
    record["identity"] = serde_json::Value::Null;
    record["last_exit"] = serde_json::Value::Null;
    std::fs::write(&path, record.to_string()).unwrap();
}

/// Session leaders that have a variable in their environment.
fn leaders_with(variable: &str) -> Vec<i32> {
    let pids = std::fs::read_dir("/proc").unwrap().flatten();
    pids.filter_map(|entry| entry.file_name().to_str()?.parse().ok())
        .filter(|pid| {
            let environment = std::fs::read(format!("/proc/{pid}/environ")).unwrap_or_default();
            environment.split(|byte| *byte == 0).any(|entry| entry == variable.as_bytes())
        })
        .filter(|pid| session_of(*pid) == *pid)
        .collect()
}

/// Guarantees: a pid that now belongs to another process is not taken for the old one.
#[tokio::test]
async fn a_reused_pid_is_a_stranger() {
    let mut bench = Bench::new();
    bench.unit("shop", &["/bin/sleep", "1000"]);
    let brokers = bench.brokers();
    let first = pid(&brokers, "shop").unwrap();
    signal(first, Signal::KILL);
    until("it has ended", || pid(&brokers, "shop").is_none()).await;
    drop(brokers);
    let mut stranger = Stranger::new();
    let started = std::fs::read_to_string(format!("/proc/{}/stat", stranger.0.id())).unwrap();
    let started: u64 = started.rsplit_once(") ").unwrap().1.split(' ').nth(19).unwrap().parse().unwrap();
    let path = bench.path("state/process/shop.json");
    let mut record: serde_json::Value = serde_json::from_str(&read(&path)).unwrap();
    record["identity"]["pid"] = stranger.0.id().into();
    record["identity"]["start_ticks"] = (started - 1).into();
    record["last_exit"] = serde_json::Value::Null;
    std::fs::write(&path, record.to_string()).unwrap();
    let brokers = bench.brokers();
    assert_eq!(pid(&brokers, "shop"), None);
    brokers.shutdown(true).await.unwrap();
    assert_eq!(stranger.0.try_wait().unwrap(), None, "the stranger lives");
}

/// Guarantees: a record that names Salve's own process does not make it a unit.
#[tokio::test]
async fn salves_own_process_is_no_unit() {
    let mut bench = Bench::new();
    bench.unit("shop", &["/bin/sleep", "1000"]);
    let brokers = bench.brokers();
    brokers.shutdown(true).await.unwrap();
    drop(brokers);
    let boot: String = read("/proc/sys/kernel/random/boot_id".as_ref()).chars().take(8).collect();
    let stat = read("/proc/self/stat".as_ref());
    let started: u64 = stat.rsplit_once(") ").unwrap().1.split(' ').nth(19).unwrap().parse().unwrap();
    let record = serde_json::json!({
        "boot": boot, "starting": null, "last_exit": null,
        "identity": { "pid": std::process::id(), "start_ticks": started, "boot": boot },
    });
    std::fs::create_dir_all(bench.path("state/process")).unwrap();
    std::fs::write(bench.path("state/process/shop.json"), record.to_string()).unwrap();
    let brokers = bench.brokers();
    assert_eq!(pid(&brokers, "shop"), None);
    let stop = Write::ProcessStop { target: id("shop") };
    let answer = heal(&brokers, "restart", raw("process", "stop", "shop", ""), stop).await.unwrap();
    assert_eq!(answer.receipt.before.as_deref(), Some("absent"));
}

/// Guarantees: a restart whose second half fails says so, and does not count as made.
#[tokio::test]
async fn half_a_restart_says_so() {
    let mut bench = Bench::new();
    let program = bench.path("program");
    std::fs::copy("/bin/sleep", &program).unwrap();
    bench.unit("shop", &[program.to_str().unwrap(), "1000"]);
    let brokers = bench.brokers();
    until("it runs", || pid(&brokers, "shop").is_some()).await;
    std::fs::remove_file(&program).unwrap();
    let error =
        heal(&brokers, "restart", raw("process", "restart", "shop", ""), restart("shop")).await.unwrap_err();
    let CallError::Failed(reason) = error else { panic!("{error}") };
    assert!(reason.contains("was stopped, and could not be started again"), "{reason}");
    assert_eq!(bench.result(1).state, salve_model::plan::WriteState::NotApplied);
    assert_eq!(pid(&brokers, "shop"), None);
}

/// Somebody else's process; ends with the test.
struct Stranger(std::process::Child);

impl Stranger {
    fn new() -> Self {
        Self(
            Command::new("/bin/sleep")
                .arg("1000")
                .stdout(Stdio::null())
                .stderr(Stdio::null())
                .spawn()
                .unwrap(),
        )
    }
}

impl Drop for Stranger {
    fn drop(&mut self) {
        self.0.kill().unwrap();
        self.0.wait().unwrap();
    }
}
