//! What is private in a recording of calls to real servers: bodies and header values, which stay out unless asked for.
//!
//! Each is replaced by `{"left_out": {"bytes": 5, "sha256": "…"}}`. The digest is that by which plans name bodies, so that
//! grants can still be proposed from the recording, and a replay still knows the call.

use super::{HostCall, calls::body_sha256, recording::Answer};
use serde_json::{Value, json};

/// Name of the only field of what stands in a left-out value's place.
const LEFT_OUT: &str = "left_out";

impl HostCall {
    /// Leaves bodies and header values of HTTP out.
    pub fn leave_bodies_out(&mut self) {
        if !self.call.starts_with("http.") {
            return;
        }
        leave_out(&mut self.arguments);
        if let Answer::Ok(found) = &mut self.answer {
            leave_out(found);
            if let Some(response) = found.get_mut("response") {
                leave_out(response);
            }
        }
    }
}

/// The same for a request or a response.
pub(super) fn leave_out(message: &mut Value) {
    if let Some(body) = message.get_mut("body") {
        hide(body);
    }
    let headers = message.get_mut("headers").and_then(Value::as_array_mut);
    headers.into_iter().flatten().filter_map(|header| header.get_mut(1)).for_each(hide);
}

fn hide(value: &mut Value) {
    let bytes = bytes_of(value);
    if !bytes.is_empty() {
        *value = json!({ LEFT_OUT: { "bytes": bytes.len(), "sha256": body_sha256(&bytes) } });
    }
}

/// Text, or a list of bytes; what was left out already has none.
pub(super) fn bytes_of(value: &Value) -> Vec<u8> {
    match value {
        Value::String(text) => text.clone().into_bytes(),
        other => serde_json::from_value(other.clone()).unwrap_or_default(),
    }
}

/// The digest of a body, left out or not.
pub(super) fn digest_of(body: &Value) -> String {
    let left_out = body.get(LEFT_OUT).and_then(|of| of.get("sha256")).and_then(Value::as_str);
    left_out.map_or_else(|| body_sha256(&bytes_of(body)), str::to_owned)
}

/// Whether something was left out of a recorded answer, so that it answers nothing.
pub(super) fn lacks(answer: &Answer) -> bool {
    let of_message = |message: &Value| {
        let is_out = |value: &Value| value.get(LEFT_OUT).is_some();
        let headers = message.get("headers").and_then(Value::as_array);
        message.get("body").is_some_and(is_out)
            || headers.into_iter().flatten().filter_map(|header| header.get(1)).any(is_out)
    };
    match answer {
        Answer::Ok(found) => of_message(found) || found.get("response").is_some_and(of_message),
        Answer::Error(_) => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::trial::Call;

    /// Guarantees: nothing of a body or a header's value is left, of requests and of both kinds of answers; empty ones stay;
    /// the digest is still that of the body, and other capabilities' answers are untouched.
    #[test]
    fn nothing_private_is_left() {
        let message = json!({ "status": 200, "headers": [["set-cookie", "s3cr3t"]], "body": "s3cr3t body" });
        let answers = [message.clone(), json!({ "receipt": null, "response": message })];
        for answer in answers {
            let mut call = HostCall {
                during: Call::Execute,
                call: "http.send".into(),
                target: Some("shop".into()),
                arguments: json!({ "method": "POST", "headers": [["x-reason", "s3cr3t"]], "body": [115, 255] }),
                answer: Answer::Ok(answer),
            };
            let before = call.granted_call();
            call.leave_bodies_out();
            let text = serde_json::to_string(&call).unwrap();
            assert!(!text.contains("s3cr3t") && !text.contains("255"), "{text}");
            assert!(text.contains("set-cookie") && text.contains(r#""bytes":11"#), "{text}");
            assert!(lacks(&call.answer));
            let digest = |call: Option<salve_model::plan::Call>| {
                let arguments: Value = serde_json::from_str(&call.unwrap().arguments).unwrap();
                arguments["body-sha256"].clone()
            };
            assert_eq!(digest(call.granted_call()), digest(before));
        }
        let empty = Answer::Ok(json!({ "status": 204, "headers": [], "body": "" }));
        let mut call = HostCall {
            during: Call::Plan,
            call: "http.get".into(),
            target: None,
            arguments: Value::Null,
            answer: empty.clone(),
        };
        call.leave_bodies_out();
        assert_eq!(call.answer, empty);
        assert!(!lacks(&empty));
        call.call = "config.get".into();
        call.answer = Answer::Ok(json!({ "body": "8" }));
        call.leave_bodies_out();
        assert_eq!(call.answer, Answer::Ok(json!({ "body": "8" })));
    }
}
