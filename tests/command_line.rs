//! What people see: help, errors, exit codes.

use anyhow::Result;
use salve_tests::{
    daemon::Daemon,
    shop::{self, RESTART_POLICY},
};

/// What a command printed and how it ended, with the folder written as `@`.
fn run(daemon: &Daemon, arguments: &[&str]) -> Result<String> {
    let output = daemon.salve(arguments)?;
    let text = format!(
        "{}{}exit code {}\n",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr),
        output.status.code().unwrap_or(-1)
    );
    Ok(text
        .replace(&daemon.folder().canonicalize()?.display().to_string(), "@")
        .replace(&daemon.folder().display().to_string(), "@"))
}

/// Guarantees: without a daemon, questions fail with a hint; `ledger verify` needs none.
#[test]
fn questions_without_a_daemon() -> Result<()> {
    let daemon = shop::prepare("observe", RESTART_POLICY, "")?;
    insta::assert_snapshot!(run(&daemon, &["status"])?, @r"
    error: cannot reach a daemon at `@/state/control.sock`
      caused by: No such file or directory (os error 2)

    hint: is `salve run` up, and does `--config` name its configuration?
    exit code 2
    ");
    Ok(())
}

/// Guarantees: a misspelt key is refused with line, column and the nearest name, by every command.
#[test]
fn a_typo_in_the_configuration() -> Result<()> {
    let daemon = shop::prepare("observe", RESTART_POLICY, "")?;
    daemon.configure("[guards]\nrate_maks = 3\n")?;
    let refused = run(&daemon, &["run"])?;
    assert!(
        refused.contains("line 3, column 1") && refused.contains("unknown field `rate_maks`"),
        "{refused}"
    );
    assert!(
        refused.ends_with("\n\nhint: did you mean `rate_max` instead of `rate_maks`?\nexit code 2\n"),
        "{refused}"
    );
    Ok(())
}

/// Guarantees: `policy check` names file, line and column, and exits with 1; `policy test` runs what stands beside.
#[test]
fn policies_are_checked_and_tested() -> Result<()> {
    let daemon = shop::prepare("observe", RESTART_POLICY, "")?;
    let folder = daemon.path("policies").display().to_string();
    assert!(run(&daemon, &["policy", "check", &folder])?.contains("exit code 0"));
    std::fs::write(
        daemon.path("policies/broken.rhai"),
        "fn decide(incident, findings, catalogue, history) {\n  [ 1, \n}\n",
    )?;
    let broken = run(&daemon, &["policy", "check", &folder])?;
    assert!(broken.contains("broken.rhai") && broken.contains("exit code 1"), "{broken}");
    let shipped = salve_tests::root().join("policies").display().to_string();
    let tested = run(&daemon, &["policy", "test", &shipped])?;
    assert!(tested.contains("exit code 0"), "{tested}");
    Ok(())
}

/// Guarantees: `doctor` finds a port that is taken, a file that is missing, a plugin that is no component and a target that
/// the daemon would refuse, each with what to do, and exits with 1; on a good configuration it exits with 0, and does not warn of a folder that it has made itself.
#[test]
fn doctor_finds_what_is_wrong() -> Result<()> {
    let daemon = shop::prepare("observe", RESTART_POLICY, "")?;
    let good = run(&daemon, &["doctor"])?;
    assert!(good.ends_with("exit code 0\n") && !good.contains("read by others"), "{good}");

    let [port] = salve_ports::free()?;
    let taken = std::net::TcpListener::bind(("127.0.0.1", port))?;
    let refused = "[[target]]\nid = \"api\"\nhttp = { base_url = \"http://127.0.0.1:1/path\" }\n";
    let config = shop::config("observe", refused).replacen(
        "grpc_address = \"127.0.0.1:0\"",
        &format!("grpc_address = \"127.0.0.1:{port}\""),
        1,
    );
    daemon.configure(&config)?;
    std::fs::remove_file(daemon.path("worker.toml"))?;
    std::fs::write(daemon.path("plugins/notes.wasm"), "not a component")?;
    let bad = run(&daemon, &["doctor"])?;
    for expected in [
        &*format!("cannot listen on 127.0.0.1:{port}"),
        "there is no file",
        "notes.wasm",
        "base URLs have none",
    ] {
        assert!(bad.contains(expected), "{expected}: {bad}");
    }
    assert!(bad.ends_with("exit code 1\n"), "{bad}");
    drop(taken);
    Ok(())
}

/// Guarantees: liveness and readiness are served; SIGTERM ends the daemon in good order, and its last entry says so.
#[tokio::test]
async fn it_stops_in_good_order() -> Result<()> {
    let mut daemon = shop::prepare("observe", RESTART_POLICY, "")?;
    daemon.start().await?;
    let status = daemon.json(&["status", "--json"])?;
    let health = status["health_address"].as_str().expect("an address").to_owned();
    let client = salve_tests::world::client();
    for path in ["livez", "readyz"] {
        assert_eq!(client.get(format!("http://{health}/{path}")).send().await?.status(), 200);
    }
    daemon.signal(rustix::process::Signal::TERM)?;
    assert!(daemon.ended().await?.success());
    let ledger = String::from_utf8(daemon.salve(&["ledger", "show", "--json"])?.stdout)?;
    assert!(ledger.lines().last().is_some_and(|line| line.contains("\"stopped\"")), "{ledger}");
    assert!(run(&daemon, &["ledger", "verify"])?.ends_with("exit code 0\n"));
    let last = daemon.log().lines().last().map(String::from).unwrap_or_default();
    assert!(last.starts_with('{') && last.contains("Stopped."), "its own log is JSON: {last}");
    Ok(())
}

/// Guarantees: a second daemon on the same state folder is refused with a hint, and the first goes on.
#[tokio::test]
async fn a_second_daemon_is_refused() -> Result<()> {
    let mut daemon = shop::prepare("observe", RESTART_POLICY, "")?;
    daemon.start().await?;
    let second = run(&daemon, &["run"])?;
    assert!(second.contains("hint:") && second.ends_with("exit code 2\n"), "{second}");
    assert_eq!(daemon.json(&["status", "--json"])?["ready"], true);
    Ok(())
}

/// Guarantees: an address that others can reach is refused without TLS and a token.
#[test]
fn other_addresses_need_tls_and_a_token() -> Result<()> {
    let daemon = shop::prepare("observe", RESTART_POLICY, "")?;
    daemon.configure(&shop::config("observe", "").replacen(
        "grpc_address = \"127.0.0.1:0\"",
        "grpc_address = \"0.0.0.0:0\"",
        1,
    ))?;
    let refused = run(&daemon, &["run"])?;
    assert!(refused.contains("allow_insecure") && refused.ends_with("exit code 2\n"), "{refused}");
    Ok(())
}
