//! `salve status`, `pause`, `resume`, `reload`.

use super::{ConfigArgument, JsonAndConfig, half_done, output, user};
use crate::control::{Request, Response, Status};
use anyhow::{Context, Result, bail};
use salve_capabilities::{KillSwitch, Pause};
use salve_model::text::escape;
use std::process::ExitCode;

/// Prints how the daemon is. Exit code 1 if it is not ready.
pub fn status(arguments: &JsonAndConfig) -> Result<ExitCode> {
    let Response::Status(status) = arguments.config.ask(&Request::Status)? else {
        bail!("the daemon answered something else")
    };
    if arguments.json {
        output::say_json(&status)?;
    } else {
        output::say(&describe(&status));
    }
    Ok(if status.ready { ExitCode::SUCCESS } else { ExitCode::from(1) })
}

fn describe(status: &Status) -> String {
    let mut lines = vec![
        format!("salve {} · pid {} · up {}", status.version, status.pid, output::duration(status.uptime_ms)),
        format!(
            "mode       {:?}{}{}",
            status.mode,
            if status.paused { " · PAUSED" } else { "" },
            if status.ready { "" } else { " · not ready" }
        )
        .to_lowercase(),
        format!("otlp       grpc {} · http {}", status.otlp_grpc_address, status.otlp_http_address),
        format!("health     http://{}/readyz", status.health_address),
        format!(
            "series     {} of {} services: {}",
            status.series,
            status.services.len(),
            escape(&status.services.join(", "), 200)
        ),
        format!("incidents  {} open{}", status.incidents_open, without_incident(status)),
        format!("ledger     {} entries", status.ledger_entries),
        format!("policies   {}", status.policy_digest.get(..12).unwrap_or("none")),
    ];
    lines.extend(status.pause.iter().map(paused));
    lines.extend(half_done::describe(&status.half_done));
    for process in &status.processes {
        let pid = process.pid.map_or_else(String::new, |pid| format!(" (pid {pid})"));
        lines.push(format!("process    {} {}{pid}", process.name, process.state));
    }
    for (name, detector) in &status.detectors {
        let problem = detector
            .problem
            .as_ref()
            .map_or_else(String::new, |problem| format!(" · {}", escape(problem, 200)));
        lines.push(format!(
            "detector   {name}: {} series, {} observations{problem}",
            detector.series, detector.observations
        ));
    }
    lines.extend(status.problems.iter().map(|problem| format!("problem    {}", escape(problem, 500))));
    lines.join("\n")
}

/// Who paused, since when, and why, as far as the file says.
fn paused(pause: &Pause) -> String {
    let mut line = "paused    ".to_owned();
    if !pause.by.is_empty() {
        line.push_str(&format!(" by {}", escape(&pause.by, 200)));
    }
    if pause.since_ms > 0 {
        line.push_str(&format!(" since {}", output::moment(pause.since_ms)));
    }
    if !pause.reason.is_empty() {
        line.push_str(&format!(": {}", escape(&pause.reason, 300)));
    }
    format!("{line} · `salve resume` ends it")
}

/// What found no place among the open incidents (`guards.incidents_open_max`); nothing if all did.
fn without_incident(status: &Status) -> String {
    let count = |name: &str| status.counters.get(name).copied().unwrap_or_default();
    let mut words = String::new();
    for (counter, what) in [
        ("core.plugins_overflowed", "fallen plugins had no place"),
        ("core.symptoms_overflowed", "symptoms joined another one for want of a place"),
    ] {
        let count = count(counter);
        if count > 0 {
            words.push_str(&format!(" · {count} {what} (guards.incidents_open_max)"));
        }
    }
    words
}

/// Turns the kill switch on, also when no daemon runs.
pub fn pause(config: &ConfigArgument, reason: String) -> Result<ExitCode> {
    let loaded = config.state()?;
    // The file alone stops every write, so it comes first: a daemon that hangs is stopped too.
    std::fs::create_dir_all(&loaded.state_directory)?;
    let file = loaded.pause_file();
    KillSwitch::new(&file)
        .pause(&user(), &reason)
        .with_context(|| format!("cannot write the pause file `{}`", file.display()))?;
    let answer = crate::control::ask(&loaded.control_socket(), &Request::Pause { by: user(), reason });
    let half_done = match answer {
        Ok(Response::HalfDone(half_done)) => {
            output::say("paused: no write starts any more, and what is under way ends within 30 s");
            half_done
        }
        Ok(_) => bail!("the daemon answered something else"),
        Err(error) => {
            output::say(&format!("paused by file; no daemon answered ({error})"));
            half_done::from_ledger(&loaded.ledger_path())
                .context("paused, but what is half done is not known")?
        }
    };
    half_done::describe(&half_done).iter().for_each(|line| output::say(line));
    Ok(ExitCode::SUCCESS)
}

/// Sends a request whose answer is a sentence.
pub fn simple(config: &ConfigArgument, request: &Request) -> Result<ExitCode> {
    match config.ask(request)? {
        Response::Done(text) => output::say(&text),
        _ => bail!("the daemon answered something else"),
    }
    Ok(ExitCode::SUCCESS)
}
