//! Calls of scripts: those of every agent and action, and those of actions.

use crate::{
    script::{Call, bytes, integer},
    term::{Term, list},
};
use salve_plugin::{Step, clock, config, http, notify, process, telemetry};

/// Makes a call of `telemetry` or `clock`. `now`: of the request or incident.
#[must_use]
pub fn observe(call: &Call, now: u64) -> Option<String> {
    let window = || telemetry::window(integer(&call.from), integer(&call.to));
    Some(match call.call.as_str() {
        "telemetry.services" => telemetry::services(window()).term(),
        "telemetry.edges" => telemetry::edges(window()).term(),
        "telemetry.changes" => telemetry::changes(window()).term(),
        "telemetry.find" => telemetry::find(&call.service, &call.name_prefix).term(),
        "telemetry.points" => telemetry::points(call.series, window()).term(),
        "clock.now" => (clock::now() >= now).term(),
        "clock.sleep" => {
            let before = clock::now();
            clock::sleep_ms(call.duration_ms);
            (clock::now() >= before + u64::from(call.duration_ms) * 1_000_000).term()
        }
        _ => return None,
    })
}

fn request(call: &Call) -> http::Request {
    http::Request {
        target: call.target.clone(),
        method: call.method.clone(),
        path: call.path.clone(),
        query: call.query.clone(),
        headers: call.headers.clone(),
        body: bytes(&call.body),
        idempotency_key: call.idempotency_key.clone(),
    }
}

/// Makes any call.
#[must_use]
pub fn act(call: &Call, now: u64) -> String {
    let Call { target, key, value, fields, .. } = call;
    match call.call.as_str() {
        "process.status" => process::status(target).term(),
        "process.start" => process::start(target).term(),
        "process.stop" => process::stop(target).term(),
        "process.restart" => process::restart(target).term(),
        "config.get" => config::get(target, key).term(),
        "config.history" => config::history(target, key).term(),
        "config.keys" => config::keys(target).term(),
        "config.set" => config::set(target, key, value.as_deref()).term(),
        "http.get" => http::get(&request(call)).term(),
        "http.send" => http::send(&request(call)).term(),
        "notify.send" => notify::send(target, fields).term(),
        other => observe(call, now).unwrap_or_else(|| panic!("no call `{other}`")),
    }
}

/// The step of a write.
#[must_use]
pub fn step(call: &Call) -> Step {
    let Call { target, key, value, fields, .. } = call;
    match call.call.as_str() {
        "process.start" => process::start_step(target),
        "process.stop" => process::stop_step(target),
        "process.restart" => process::restart_step(target),
        "config.set" => config::set_step(target, key, value.as_deref()),
        "http.send" => http::send_step(&request(call)),
        "notify.send" => notify::send_step(target, fields),
        other => panic!("no write `{other}`"),
    }
}

/// The answers to calls, as one term.
#[must_use]
pub fn answers(terms: &[String]) -> String {
    struct Raw<'a>(&'a String);
    impl Term for Raw<'_> {
        fn term(&self) -> String {
            self.0.clone()
        }
    }
    list(&terms.iter().map(Raw).collect::<Vec<_>>())
}
