//! What is the operator's alone: socket, kill switch, policies, configuration.

use crate::{
    arena::{Arena, write},
    attack::Attack,
};
use anyhow::{Context, Result, ensure};
use salve_tests::world::client;
use std::{
    io::{Read, Write},
    os::unix::{fs::PermissionsExt, net::UnixStream},
    time::Duration,
};

fn socket(arena: &Arena) -> Result<UnixStream> {
    let stream = UnixStream::connect(arena.daemon.path("state/control.sock"))?;
    stream.set_read_timeout(Some(Duration::from_secs(30)))?;
    Ok(stream)
}

/// Sends bytes to the control socket and reads the answer.
fn say(arena: &Arena, bytes: &[u8]) -> Result<String> {
    let mut stream = socket(arena)?;
    // The daemon may close before all is said.
    drop(stream.write_all(bytes));
    let mut answer = Vec::new();
    drop(stream.read_to_end(&mut answer));
    Ok(String::from_utf8_lossy(&answer).into_owned())
}

/// A policy beside the one in force, which is broken in this way: refused, and the old one stays in force.
fn bad_policy(name: &'static str, text: String) -> Attack {
    Attack::free(&format!("policy::{name}"), move |arena: &Arena| {
        let file = arena.daemon.path(&format!("policies/{name}.rhai"));
        write(&file, &text)?;
        let seen = arena.wait("the policy is refused", || {
            let problems = arena.daemon.json(&["status", "--json"])?["problems"].to_string();
            Ok(problems.contains(&format!("{name}.rhai")))
        });
        let goes_on = arena.control_goes_on();
        std::fs::remove_file(&file)?;
        seen.and(goes_on)
    })
}

/// Every attack on what only the operator may do.
pub fn attacks() -> Vec<Attack> {
    vec![
        Attack::free("socket::mode", |arena: &Arena| {
            let mode = |name: &str| {
                anyhow::Ok(std::fs::metadata(arena.daemon.path(name))?.permissions().mode() & 0o777)
            };
            ensure!(mode("state/control.sock")? == 0o600 && mode("state")? == 0o700);
            Ok(())
        }),
        Attack::free("socket::nonsense", |arena: &Arena| {
            for bytes in
                [&b"\xff\xfe\n"[..], b"{}\n", b"{\"command\":\"shell\"}\n", b"GET / HTTP/1.1\r\n\r\n"]
            {
                let answer = say(arena, bytes)?;
                ensure!(answer.is_empty() || answer.contains("error"), "{answer}");
            }
            Ok(())
        }),
        Attack::free("socket::endless-line", |arena: &Arena| {
            let answer = say(arena, &vec![b'x'; 10 << 20])?;
            ensure!(answer.is_empty() || answer.contains("error"), "{answer}");
            Ok(())
        }),
        Attack::free("socket::says-nothing", |arena: &Arena| {
            let held: Vec<UnixStream> = (0..100).map(|_| socket(arena)).collect::<Result<_>>()?;
            ensure!(arena.daemon.salve(&["status"])?.status.success());
            for mut stream in held {
                let mut answer = Vec::new();
                // Let go after its time.
                drop(stream.read_to_end(&mut answer));
                ensure!(answer.is_empty());
            }
            Ok(())
        }),
        Attack::free("socket::terminal-in-reason", |arena: &Arena| {
            let answer = say(arena, b"{\"command\":\"incident\",\"id\":\"\\u001b[2J\\u202e\"}\n")?;
            ensure!(answer.contains("there is no incident"), "{answer}");
            let shown = arena.daemon.salve(&["incident", "show", "\u{1b}[2J\u{202e}"])?;
            let said = String::from_utf8_lossy(&shown.stderr).into_owned();
            ensure!(!said.contains(['\u{1b}', '\u{202e}']), "{said:?}");
            Ok(())
        }),
        Attack::free("socket::get-approves-nothing", |arena: &Arena| {
            let health = arena.daemon.json(&["status", "--json"])?["health_address"].clone();
            let health = health.as_str().context("no health address")?.to_owned();
            for path in ["/approve", "/incident/1/approve", "/pause", "/resume", "/../control.sock"] {
                for server in [&arena.otlp, &format!("http://{health}")] {
                    let status = arena
                        .block_on(async { client().get(format!("{server}{path}")).send().await })?
                        .status();
                    ensure!(status.is_client_error(), "{server}{path}: {status}");
                }
            }
            ensure!(arena.daemon.json(&["status", "--json"])?["paused"] == false);
            Ok(())
        }),
        Attack::free("socket::second-daemon", |arena: &Arena| {
            let output = arena.daemon.salve(&["run"])?;
            ensure!(!output.status.success());
            ensure!(arena.daemon.salve(&["status"])?.status.success());
            Ok(())
        }),
        Attack::free("configuration::poisoned", |arena: &Arena| {
            let file = arena.daemon.path("salve.toml");
            let good = std::fs::read_to_string(&file)?;
            for bad in
                ["mode = \"act\"\nmode = \"act\"", "[[[[[[", "\u{0}", "state_directory = \"/\"\n[guard]\n"]
            {
                write(&file, bad)?;
                ensure!(!arena.daemon.salve(&["reload"])?.status.success(), "`{bad}` was taken");
            }
            write(&file, &good)?;
            ensure!(arena.daemon.salve(&["reload"])?.status.success());
            Ok(())
        }),
        Attack::free("configuration::salves-own-file", |arena: &Arena| {
            // A target that would let an action rewrite Salve's own grants.
            let file = arena.daemon.path("salve.toml");
            let good = std::fs::read_to_string(&file)?;
            for own in ["salve.toml", "state/ledger.sqlite", "plugins/x.toml", "policies/../salve.toml"] {
                let path = arena.daemon.path(own);
                let target = format!(
                    "[[target]]\nid = \"own\"\nconfig = {{ file = \"{}\", format = \"toml\", keys = [\"*\"] }}\n",
                    path.display()
                );
                write(&file, format!("{good}\n{target}"))?;
                let output = arena.daemon.salve(&["reload"])?;
                write(&file, &good)?;
                let said = String::from_utf8_lossy(&output.stderr).into_owned();
                ensure!(
                    !output.status.success() && said.contains("one of Salve's own files"),
                    "{own} was taken: {said}"
                );
            }
            ensure!(arena.daemon.salve(&["reload"])?.status.success());
            Ok(())
        }),
        Attack::free("configuration::unsigned-that-reaches-out", |arena: &Arena| {
            // Unsigned plugins load here; none of them may get beyond this machine, whatever is granted.
            let file = arena.daemon.path("salve.toml");
            let good = std::fs::read_to_string(&file)?;
            for url in [
                "http://169.254.169.254",
                "http://[::ffff:169.254.169.254]",
                "http://metadata.google.internal",
                "http://2130706433:1",
                "http://10.0.0.1",
            ] {
                let target = format!(
                    "[[target]]\nid = \"out\"\nhttp = {{ base_url = \"{url}\", address_ranges = [\"private\"] }}\n"
                );
                write(&file, format!("{good}\n{target}"))?;
                let output = arena.daemon.salve(&["reload"])?;
                write(&file, &good)?;
                let said = String::from_utf8_lossy(&output.stderr).into_owned();
                ensure!(
                    !output.status.success() && said.contains("must be on this machine"),
                    "{url} was taken: {said}"
                );
            }
            ensure!(arena.daemon.salve(&["reload"])?.status.success());
            Ok(())
        }),
        Attack::free("configuration::user-in-url", |arena: &Arena| {
            let file = arena.daemon.path("salve.toml");
            let good = std::fs::read_to_string(&file)?;
            for url in
                ["http://ada@127.0.0.1:1", "http://ada:hunter2@127.0.0.1:1", "http://127.0.0.1:1@127.0.0.1:2"]
            {
                let target = format!(
                    "[[target]]\nid = \"out\"\nhttp = {{ base_url = \"{url}\", address_ranges = [\"loopback\"] }}\n"
                );
                write(&file, format!("{good}\n{target}"))?;
                let output = arena.daemon.salve(&["reload"])?;
                write(&file, &good)?;
                let said = String::from_utf8_lossy(&output.stderr).into_owned();
                let is_told = said.contains("has a user or password") && !said.contains("hunter2");
                ensure!(!output.status.success() && is_told, "{url} was taken: {said}");
            }
            ensure!(arena.daemon.salve(&["reload"])?.status.success());
            Ok(())
        }),
        bad_policy("syntax-error", "fn decide(incident, findings, catalogue, history) { let x = ; }".into()),
        bad_policy("deep-nesting", format!("fn decide(a, b, c, d) {{ {} }}", "(".repeat(100_000))),
        bad_policy("eval", "fn decide(incident, findings, catalogue, history) { eval(\"1\") }".into()),
        bad_policy("too-large", format!("// {}\nfn decide(a, b, c, d) {{ [] }}", "x".repeat(10 << 20))),
        Attack::free("kill-switch::holds", |arena: &Arena| {
            arena.pause_control(true);
            ensure!(arena.daemon.salve(&["pause", "--reason", "abuse"])?.status.success());
            let file = arena.daemon.path("control.toml");
            let broken = crate::arena::VICTIM.replace("= 8", "= 3");
            write(&file, &broken)?;
            let suspended = arena.wait("an incident of control waits", || {
                Ok(arena.incident_of("control")?.is_some_and(|incident| incident["phase"] == "suspended"))
            });
            let touched = std::fs::read_to_string(&file)? != broken;
            ensure!(arena.daemon.salve(&["resume"])?.status.success());
            arena.pause_control(false);
            suspended?;
            ensure!(!touched, "something was written while paused");
            Ok(())
        }),
    ]
}
