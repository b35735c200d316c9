//! Capability calls, handed on to the session: WIT on one side, the vocabulary's [`Read`] and [`Write`] on the other.
//!
//! Grants, plans, dry-run and the kill switch are the session's. Here stands only what needs the manifest: a verb that
//! it does not name is refused.

use crate::{
    bindings::salve::plugin::{config, http, notify, process, types},
    counters::add,
    guest::GuestState,
};
use salve_model::{
    TargetId,
    call::{CallError, Denied, HttpRequest, HttpResponse, Read, ReadAnswer, Write, WriteAnswer},
    plan::Receipt,
};

/// The answer of a capability call as bindings want it: the outer error is a trap.
type Answer<R> = wasmtime::Result<Result<R, types::CallError>>;

impl GuestState {
    /// Counts the call and checks that the manifest names its verb.
    fn admit_call(&mut self, capability: &str, verb: &str) -> wasmtime::Result<Result<(), CallError>> {
        self.count_host_call()?;
        let manifest = &self.plugin.manifest;
        if manifest.requests(capability, verb) {
            return Ok(Ok(()));
        }
        add(&self.plugin.counters.unrequested_calls_total, 1);
        tracing::warn!(plugin = %manifest.name, capability, verb, "Plugin calls a verb that its manifest does not name.");
        Ok(Err(CallError::Denied(Denied::NotGranted(format!(
            "# in plugin.toml of {}\n[[capabilities]]\ncapability = \"{capability}\"\nverbs = [\"{verb}\"]\n",
            manifest.name
        )))))
    }

    /// Makes a read.
    async fn read<R>(&mut self, read: Read, pick: impl FnOnce(ReadAnswer) -> Option<R>) -> Answer<R> {
        let (capability, verb, _) = read.address();
        if let Err(error) = self.admit_call(capability, verb)? {
            return Ok(Err(call_error(error)));
        }
        let (Some(session), Some(broker)) = (self.session.clone(), self.broker.clone()) else {
            return Ok(Err(call_error(CallError::Denied(Denied::NotRecorded))));
        };
        let answer = self.writes.run(&broker, Box::pin(async move { session.read(read).await })).await;
        Ok(answer
            .and_then(|answer| {
                pick(answer).ok_or_else(|| CallError::Failed("the broker answered another call".into()))
            })
            .map_err(call_error))
    }

    /// Makes a write.
    async fn write(&mut self, write: Write) -> Answer<WriteAnswer> {
        let (capability, verb, _) = write.address();
        if let Err(error) = self.admit_call(capability, verb)? {
            return Ok(Err(call_error(error)));
        }
        let (Some(session), Some(broker)) = (self.session.clone(), self.broker.clone()) else {
            return Ok(Err(call_error(CallError::Denied(Denied::NotRecorded))));
        };
        let answer = self.writes.run(&broker, Box::pin(async move { session.write(write).await })).await;
        Ok(answer.map_err(call_error))
    }

    /// Makes a write of which only the receipt matters.
    async fn write_for_receipt(&mut self, write: Write) -> Answer<types::Receipt> {
        Ok(self.write(write).await?.map(|answer| receipt(&answer.receipt)))
    }
}

impl process::Host for GuestState {
    async fn status(&mut self, target: String) -> Answer<process::ProcessStatus> {
        let pick = |answer| match answer {
            ReadAnswer::ProcessStatus(status) => Some(process::ProcessStatus {
                pid: status.pid,
                started: status.started,
                state: status.state,
                rss_bytes: status.rss_bytes,
                cpu_seconds: status.cpu_seconds,
                last_exit: status.last_exit,
            }),
            _ => None,
        };
        self.read(Read::ProcessStatus { target: TargetId(target) }, pick).await
    }

    async fn start(&mut self, target: String) -> Answer<types::Receipt> {
        self.write_for_receipt(Write::ProcessStart { target: TargetId(target) }).await
    }

    async fn stop(&mut self, target: String) -> Answer<types::Receipt> {
        self.write_for_receipt(Write::ProcessStop { target: TargetId(target) }).await
    }

    async fn restart(&mut self, target: String) -> Answer<types::Receipt> {
        self.write_for_receipt(Write::ProcessRestart { target: TargetId(target) }).await
    }
}

impl config::Host for GuestState {
    async fn get(&mut self, target: String, key: String) -> Answer<Option<String>> {
        let pick = |answer| match answer {
            ReadAnswer::ConfigValue(value) => Some(value),
            _ => None,
        };
        self.read(Read::ConfigGet { target: TargetId(target), key }, pick).await
    }

    async fn history(&mut self, target: String, key: String) -> Answer<Vec<config::Version>> {
        let pick = |answer| match answer {
            ReadAnswer::ConfigVersions(versions) => Some(
                versions
                    .into_iter()
                    .map(|version| config::Version {
                        value: version.value,
                        since: version.since,
                        good: version.good,
                    })
                    .collect(),
            ),
            _ => None,
        };
        self.read(Read::ConfigHistory { target: TargetId(target), key }, pick).await
    }

    async fn keys(&mut self, target: String) -> Answer<Vec<(String, Option<String>)>> {
        let pick = |answer| match answer {
            ReadAnswer::ConfigKeys(keys) => Some(keys),
            _ => None,
        };
        self.read(Read::ConfigKeys { target: TargetId(target) }, pick).await
    }

    async fn set(&mut self, target: String, key: String, value: Option<String>) -> Answer<types::Receipt> {
        self.write_for_receipt(Write::ConfigSet { target: TargetId(target), key, value }).await
    }
}

impl http::Host for GuestState {
    async fn get(&mut self, request: http::Request) -> Answer<http::Response> {
        let pick = |answer| match answer {
            ReadAnswer::Http(response) => Some(http_response(response)),
            _ => None,
        };
        self.read(Read::HttpGet(http_request(request)), pick).await
    }

    async fn send(&mut self, request: http::Request) -> Answer<(http::Response, types::Receipt)> {
        let answer = self.write(Write::HttpSend(http_request(request))).await?;
        Ok(answer.map(|answer| {
            let empty = || HttpResponse { status: 200, ..Default::default() };
            (http_response(answer.response.unwrap_or_else(empty)), receipt(&answer.receipt))
        }))
    }
}

impl notify::Host for GuestState {
    async fn send(&mut self, target: String, fields: Vec<(String, String)>) -> Answer<types::Receipt> {
        self.write_for_receipt(Write::Notify { target: TargetId(target), fields }).await
    }
}

fn http_request(request: http::Request) -> HttpRequest {
    HttpRequest {
        target: TargetId(request.target),
        method: request.method,
        path: request.path,
        query: request.query,
        headers: request.headers,
        body: request.body,
        idempotency_key: request.idempotency_key,
    }
}

fn http_response(response: HttpResponse) -> http::Response {
    http::Response { status: response.status, headers: response.headers, body: response.body }
}

/// A receipt as guests see it.
pub(crate) fn receipt(receipt: &Receipt) -> types::Receipt {
    types::Receipt {
        call: receipt.call,
        step: receipt.step,
        target: receipt.target.0.clone(),
        verb: receipt.verb.clone(),
        applied: receipt.applied,
        before: receipt.before.clone(),
        after: receipt.after.clone(),
        extra: crate::imports::attributes(&receipt.extra),
    }
}

fn call_error(error: CallError) -> types::CallError {
    let denied = match error {
        CallError::NotFound(what) => return types::CallError::NotFound(what),
        CallError::Failed(why) => return types::CallError::Failed(why),
        CallError::TimedOut => return types::CallError::TimedOut,
        CallError::Denied(denied) => denied,
    };
    types::CallError::Denied(match denied {
        Denied::NotGranted(toml) => types::Denied::NotGranted(toml),
        Denied::NotInPlan(closest) => types::Denied::NotInPlan(closest),
        Denied::NotRecorded => types::Denied::NotRecorded,
        Denied::StateChanged(now) => types::Denied::StateChanged(now),
        Denied::KillSwitch => types::Denied::KillSwitch,
        Denied::Limit(limit) => types::Denied::Limit(limit),
        // Version 0.1 of the contract has no word for it.
        Denied::Never(why) => return types::CallError::Failed(why),
    })
}
