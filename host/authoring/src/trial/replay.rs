//! The host's side of a call, answered from a recording: a test needs no real system.
//!
//! ## What always holds
//! - equal calls are answered in the order in which they were recorded; a read that is made more often gets the last
//!   answer again, a write does not
//! - a call that is not in the recording is refused to the plugin, and named to the author

use super::{
    Call, HostCall, bodies,
    calls::{self, Ask},
    recording::Answer,
};
use salve_model::{
    call::{
        BoxFuture, CallError, Denied, EdgeStats, Read, ReadAnswer, SeriesInfo, ServiceStats, Session,
        Telemetry, Write, WriteAnswer,
    },
    telemetry::Change,
};
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use std::sync::{Mutex, PoisonError};

/// Most calls that are named.
const MISSING_MAX: usize = 20;

/// One call's session on a recording.
pub(crate) struct Replay {
    during: Call,
    state: Mutex<State>,
}

struct State {
    /// With whether it was used.
    recorded: Vec<(HostCall, bool)>,
    missing: Vec<String>,
}

impl State {
    fn miss(&mut self, sentence: String) {
        if self.missing.len() < MISSING_MAX {
            self.missing.push(sentence);
        }
    }
}

impl Replay {
    pub(crate) fn new(during: Call, recorded: &[HostCall]) -> Self {
        let recorded = recorded.iter().map(|call| (call.clone(), false)).collect();
        Self { during, state: Mutex::new(State { recorded, missing: Vec::new() }) }
    }

    /// Calls that were made and are not in the recording, for people.
    pub(crate) fn missing(&self) -> Vec<String> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner).missing.clone()
    }

    fn answer(&self, ask: &Ask, repeats: bool) -> Option<Answer> {
        let answer = self.recorded(ask, repeats)?;
        if !bodies::lacks(&answer) {
            return Some(answer);
        }
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.miss(format!("{} (recorded without body and header values)", ask.sentence()));
        None
    }

    fn recorded(&self, ask: &Ask, repeats: bool) -> Option<Answer> {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((call, used)) = state.recorded.iter_mut().find(|(call, used)| !used && ask.is(call)) {
            *used = true;
            return Some(call.answer.clone());
        }
        if repeats && let Some((call, _)) = state.recorded.iter().rev().find(|(call, _)| ask.is(call)) {
            return Some(call.answer.clone());
        }
        state.miss(ask.sentence());
        None
    }

    fn telemetry<T: DeserializeOwned>(&self, function: &str, arguments: Value) -> Vec<T> {
        let ask = Ask::telemetry(self.during, function, arguments);
        match self.answer(&ask, true) {
            Some(Answer::Ok(found)) => calls::parse(found).unwrap_or_else(|error| {
                let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
                state.miss(format!("{} ({error})", ask.sentence()));
                Vec::new()
            }),
            Some(Answer::Error(_)) | None => Vec::new(),
        }
    }
}

const NOT_RECORDED: CallError = CallError::Denied(Denied::NotRecorded);

impl Session for Replay {
    fn read(&self, read: Read) -> BoxFuture<'_, Result<ReadAnswer, CallError>> {
        Box::pin(async move {
            let answer = self.answer(&Ask::read(self.during, &read), true);
            calls::to_read(&read, answer.ok_or(NOT_RECORDED)?)
        })
    }

    fn write(&self, write: Write) -> BoxFuture<'_, Result<WriteAnswer, CallError>> {
        Box::pin(async move {
            calls::to_write(self.answer(&Ask::write(self.during, &write), false).ok_or(NOT_RECORDED)?)
        })
    }
}

impl Telemetry for Replay {
    fn services(&self, from: u64, to: u64) -> Vec<ServiceStats> {
        self.telemetry("services", json!({ "from": from, "to": to }))
    }
    fn edges(&self, from: u64, to: u64) -> Vec<EdgeStats> {
        self.telemetry("edges", json!({ "from": from, "to": to }))
    }
    fn changes(&self, from: u64, to: u64) -> Vec<Change> {
        self.telemetry("changes", json!({ "from": from, "to": to }))
    }
    fn find(&self, service: &str, name_prefix: &str) -> Vec<SeriesInfo> {
        self.telemetry("find", json!({ "service": service, "name_prefix": name_prefix }))
    }
    fn points(&self, series: u32, from: u64, to: u64) -> Vec<(u64, f64)> {
        self.telemetry("points", json!({ "series": series, "from": from, "to": to }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use salve_model::TargetId;

    fn recorded(call: &str, arguments: Value, answer: Value) -> HostCall {
        let target = Some("shop".into());
        HostCall { during: Call::Plan, call: call.into(), target, arguments, answer: Answer::Ok(answer) }
    }

    fn get(key: &str) -> Read {
        Read::ConfigGet { target: TargetId("shop".into()), key: key.into() }
    }

    /// Guarantees: a call that was recorded without bodies is known again, answers nothing, and the author is told why.
    #[tokio::test]
    async fn a_recording_without_bodies_says_so() {
        let request = salve_model::call::HttpRequest {
            target: TargetId("shop".into()),
            method: "GET".into(),
            path: "/state".into(),
            query: Vec::new(),
            headers: vec![("x-reason".into(), "incident".into())],
            body: Vec::new(),
            idempotency_key: None,
        };
        let read = Read::HttpGet(request);
        let answer = json!({ "status": 200, "headers": [], "body": "private" });
        let mut call = Ask::read(Call::Plan, &read).answered(Answer::Ok(answer));
        let whole = Replay::new(Call::Plan, std::slice::from_ref(&call));
        assert!(whole.read(read.clone()).await.is_ok());
        call.leave_bodies_out();
        let replay = Replay::new(Call::Plan, &[call]);
        assert_eq!(replay.read(read).await, Err(NOT_RECORDED));
        let missing = replay.missing();
        assert!(
            matches!(&missing[..], [one] if one.ends_with("(recorded without body and header values)")),
            "{missing:?}"
        );
    }

    /// Guarantees: equal reads are answered in their order, and then by the last answer; what was not recorded is refused
    /// and named.
    #[tokio::test]
    async fn answers_come_in_their_order() {
        let key = json!({ "key": "size" });
        let replay = Replay::new(
            Call::Plan,
            &[recorded("config.get", key.clone(), json!("8")), recorded("config.get", key, json!("16"))],
        );
        let mut answers = Vec::new();
        for _ in 0..3 {
            let Ok(ReadAnswer::ConfigValue(Some(value))) = replay.read(get("size")).await else { panic!() };
            answers.push(value);
        }
        assert_eq!(answers, ["8", "16", "16"]);
        assert!(replay.missing().is_empty());

        assert_eq!(replay.read(get("other")).await, Err(NOT_RECORDED));
        let write = Write::ProcessRestart { target: TargetId("shop".into()) };
        assert_eq!(replay.write(write).await.map(drop), Err(NOT_RECORDED));
        assert!(replay.services(1, 2).is_empty());
        assert_eq!(
            replay.missing(),
            [
                r#"config get shop {"key":"other"}"#,
                "process restart shop",
                r#"telemetry services {"from":1,"to":2}"#
            ]
        );
    }
}
