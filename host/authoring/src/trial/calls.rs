//! Calls to the host and their answers as JSON, for recordings and for people.
//!
//! Answers have the form of the contract's types; bodies of HTTP are text where they are UTF-8, else lists of bytes.

use super::{Call, HostCall, bodies, recording::Answer};
use salve_model::{
    TargetId,
    call::{CallError, HttpRequest, Read, ReadAnswer, Write, WriteAnswer},
    text::escape,
};
use serde::{Serialize, de::DeserializeOwned};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

/// Longest answer in a line for people, in characters.
const ANSWER_CHARS_MAX: usize = 120;

/// A call to the host, before it is answered.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Ask {
    pub(crate) during: Call,
    pub(crate) call: String,
    pub(crate) target: Option<String>,
    pub(crate) arguments: Value,
}

impl Ask {
    pub(crate) fn read(during: Call, read: &Read) -> Self {
        let (capability, verb, target) = read.address();
        let arguments = match read {
            Read::ProcessStatus { .. } | Read::ConfigKeys { .. } => Value::Null,
            Read::ConfigGet { key, .. } | Read::ConfigHistory { key, .. } => json!({ "key": key }),
            Read::HttpGet(request) => http(request),
        };
        Self::on(during, capability, verb, target, arguments)
    }

    pub(crate) fn write(during: Call, write: &Write) -> Self {
        let (capability, verb, target) = write.address();
        let arguments = match write {
            Write::ProcessStart { .. } | Write::ProcessStop { .. } | Write::ProcessRestart { .. } => {
                Value::Null
            }
            Write::ConfigSet { key, value, .. } => json!({ "key": key, "value": value }),
            Write::HttpSend(request) => http(request),
            Write::Notify { fields, .. } => json!({ "fields": fields }),
        };
        Self::on(during, capability, verb, target, arguments)
    }

    fn on(during: Call, capability: &str, verb: &str, target: &TargetId, arguments: Value) -> Self {
        Self { during, call: format!("{capability}.{verb}"), target: Some(target.0.clone()), arguments }
    }

    pub(crate) fn telemetry(during: Call, function: &str, arguments: Value) -> Self {
        Self { during, call: format!("telemetry.{function}"), target: None, arguments }
    }

    pub(crate) fn answered(self, answer: Answer) -> HostCall {
        let Self { during, call, target, arguments } = self;
        HostCall { during, call, target, arguments, answer }
    }

    /// Whether a recorded call is this one.
    pub(crate) fn is(&self, recorded: &HostCall) -> bool {
        self.during == recorded.during
            && self.call == recorded.call
            && self.target == recorded.target
            && (self.arguments == recorded.arguments || self.without_bodies() == recorded.arguments)
    }

    /// The arguments as they stand in a recording without bodies.
    fn without_bodies(&self) -> Value {
        let mut arguments = self.arguments.clone();
        if self.call.starts_with("http.") {
            bodies::leave_out(&mut arguments);
        }
        arguments
    }

    /// For people: `config get checkout {"key":"pool.size"}`.
    pub(crate) fn sentence(&self) -> String {
        sentence(&self.call, self.target.as_deref(), &self.arguments)
    }
}

fn sentence(call: &str, target: Option<&str>, arguments: &Value) -> String {
    let mut words = vec![call.replacen('.', " ", 1)];
    words.extend(target.map(|target| escape(target, 100)));
    if !arguments.is_null() {
        words.push(escape(&arguments.to_string(), 300));
    }
    words.join(" ")
}

impl HostCall {
    /// The call as grants name it, with bodies by digest; none of calls that are on no target and need no grant.
    #[must_use]
    pub fn granted_call(&self) -> Option<salve_model::plan::Call> {
        let (capability, verb) = self.call.split_once('.')?;
        let target = TargetId(self.target.clone()?);
        let mut arguments = if self.arguments.is_null() { json!({}) } else { self.arguments.clone() };
        if let Some(fields) = arguments.as_object_mut().filter(|_| capability == "http") {
            let body = fields.remove("body").unwrap_or_default();
            // A read has none.
            if verb == "send" {
                fields.insert("body-sha256".into(), bodies::digest_of(&body).into());
            }
        }
        Some(salve_model::plan::Call {
            capability: capability.into(),
            verb: verb.into(),
            target,
            arguments: arguments.to_string(),
        })
    }

    /// One line for people: `config get checkout {"key":"pool.size"} → "2"`.
    #[must_use]
    pub fn sentence(&self) -> String {
        let answer = match &self.answer {
            Answer::Ok(Value::Array(entries)) if entries.len() > 3 => format!("{} entries", entries.len()),
            Answer::Ok(value) => escape(&value.to_string(), ANSWER_CHARS_MAX),
            Answer::Error(error) => escape(&error.to_string(), ANSWER_CHARS_MAX),
        };
        format!("{} → {answer}", sentence(&self.call, self.target.as_deref(), &self.arguments))
    }
}

fn http(request: &HttpRequest) -> Value {
    let mut value = serde_json::to_value(request).unwrap_or_default();
    if let Some(fields) = value.as_object_mut() {
        fields.remove("target");
    }
    readable(value)
}

/// Bodies as text where they are text.
fn readable(mut value: Value) -> Value {
    if let Some(body) = value.get_mut("body")
        && let Ok(bytes) = serde_json::from_value::<Vec<u8>>(body.clone())
        && let Ok(text) = String::from_utf8(bytes)
    {
        *body = Value::String(text);
    }
    value
}

/// The way back.
fn machine(mut value: Value) -> Value {
    if let Some(body) = value.get_mut("body")
        && let Some(text) = body.as_str()
    {
        *body = text.bytes().map(Value::from).collect();
    }
    value
}

/// A value as JSON. What stands in answers always can be.
pub(crate) fn value(from: &impl Serialize) -> Value {
    serde_json::to_value(from).unwrap_or_default()
}

/// An answer to a read, for the file.
pub(crate) fn of_read(answer: &Result<ReadAnswer, CallError>) -> Answer {
    match answer {
        Err(error) => Answer::Error(error.clone()),
        Ok(ReadAnswer::ProcessStatus(status)) => Answer::Ok(value(status)),
        Ok(ReadAnswer::ConfigValue(found)) => Answer::Ok(value(found)),
        Ok(ReadAnswer::ConfigVersions(versions)) => Answer::Ok(value(versions)),
        Ok(ReadAnswer::ConfigKeys(keys)) => Answer::Ok(value(keys)),
        Ok(ReadAnswer::Http(response)) => Answer::Ok(readable(value(response))),
    }
}

/// A recorded answer to a read.
pub(crate) fn to_read(read: &Read, answer: Answer) -> Result<ReadAnswer, CallError> {
    let found = match answer {
        Answer::Error(error) => return Err(error),
        Answer::Ok(found) => found,
    };
    match read {
        Read::ProcessStatus { .. } => parse(found).map(ReadAnswer::ProcessStatus),
        Read::ConfigGet { .. } => parse(found).map(ReadAnswer::ConfigValue),
        Read::ConfigHistory { .. } => parse(found).map(ReadAnswer::ConfigVersions),
        Read::ConfigKeys { .. } => parse(found).map(ReadAnswer::ConfigKeys),
        Read::HttpGet(_) => parse(machine(found)).map(ReadAnswer::Http),
    }
}

/// An answer to a write, for the file.
pub(crate) fn of_write(answer: &Result<WriteAnswer, CallError>) -> Answer {
    match answer {
        Err(error) => Answer::Error(error.clone()),
        Ok(answer) => {
            let response = answer.response.as_ref().map(|response| readable(value(response)));
            Answer::Ok(json!({ "receipt": answer.receipt, "response": response }))
        }
    }
}

/// A recorded answer to a write.
pub(crate) fn to_write(answer: Answer) -> Result<WriteAnswer, CallError> {
    let mut found = match answer {
        Answer::Error(error) => return Err(error),
        Answer::Ok(found) => found,
    };
    if let Some(response) = found.get_mut("response") {
        *response = machine(response.take());
    }
    parse(found)
}

/// A recorded value.
pub(crate) fn parse<T: DeserializeOwned>(found: Value) -> Result<T, CallError> {
    serde_json::from_value(found)
        .map_err(|error| CallError::Failed(format!("the recorded answer does not fit the call: {error}")))
}

/// Lower-case hex SHA-256, as plans name bodies.
pub(crate) fn body_sha256(body: &[u8]) -> String {
    Sha256::digest(body).iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use salve_model::call::HttpResponse;

    /// Guarantees: answers come back from a recording as they went in, bodies of any bytes included, and a recorded
    /// answer of another form is a failure, not a panic.
    #[test]
    fn answers_round_trip() {
        for body in [b"{\"ok\":true}".to_vec(), vec![0xff, 0, 1]] {
            let request = HttpRequest {
                target: TargetId("shop".into()),
                method: "GET".into(),
                path: "/".into(),
                query: Vec::new(),
                headers: Vec::new(),
                body: Vec::new(),
                idempotency_key: None,
            };
            let read = Read::HttpGet(request);
            let answer =
                Ok(ReadAnswer::Http(HttpResponse { status: 200, headers: Vec::new(), body: body.clone() }));
            assert_eq!(to_read(&read, of_read(&answer)), answer);
            let text = value(&of_read(&answer)).to_string();
            assert_eq!(text.contains(r#""body":"{\"ok\":true}""#), body[0] == b'{', "{text}");
        }
        let read = Read::ConfigKeys { target: TargetId("shop".into()) };
        assert!(matches!(to_read(&read, Answer::Ok(json!(5))), Err(CallError::Failed(_))));
    }
}
