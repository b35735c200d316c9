//! The one write: a JSON Patch (RFC 6902) that replaces the template, if it is still the one that was seen.
//!
//! The broker of `http` cannot tell whether a target has changed since the plan was made. So the patch says it itself: its `test` and its
//! `replace` are one step for the API server, and it refuses both if somebody was faster. Scaling meanwhile is no such change.

use crate::{api::Place, history::Choice};
use salve_plugin::prelude::*;
use serde::Serialize;
use serde_json::Value;

#[derive(Serialize)]
struct Operation<'a> {
    op: &'static str,
    path: &'static str,
    value: &'a Value,
}

/// The call that puts one template in the place of another.
#[must_use]
pub fn call(place: &Place, from: &Value, to: &Value) -> http::Request {
    let path = "/spec/template";
    let operations =
        [Operation { op: "test", path, value: from }, Operation { op: "replace", path, value: to }];
    // Only a map whose keys are no text fails here, and JSON has none; the host would refuse the empty body.
    let body = as_go_writes(&serde_json::to_string(&operations).unwrap_or_default());
    let mut request = place.request("PATCH");
    request.headers = vec![("content-type".into(), "application/json-patch+json".into())];
    request.body = body.into_bytes();
    request
}

/// The API server compares texts by their bytes in JSON, and its own JSON escapes these characters. They stand in texts only, so they can be
/// replaced anywhere.
///
/// Source: Go, package `encoding/json`, `HTMLEscape`; `gopkg.in/evanphx/json-patch.v4`, `lazyNode.equal`.
fn as_go_writes(json: &str) -> String {
    let mut text = String::with_capacity(json.len());
    for character in json.chars() {
        match character {
            '<' | '>' | '&' | '\u{2028}' | '\u{2029}' => {
                text.push_str(&format!("\\u{:04x}", character as u32))
            }
            other => text.push(other),
        }
    }
    text
}

/// The step that licenses the rollback; `undoable`: with the way back.
#[must_use]
pub fn step(place: &Place, choice: &Choice<'_>, undoable: bool) -> Step {
    let Choice { present, wanted } = choice;
    let mut step = http::send_step(&call(place, &present.template, &wanted.template));
    step.after = Some(format!("template of revision {}", wanted.number));
    if undoable {
        step.inverse = Some(http::send_step(&call(place, &wanted.template, &present.template)).arguments);
    }
    step
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Guarantees: what shells and templates are full of is written as the API server writes it; everything else as it is.
    #[test]
    fn texts_as_the_api_server_writes_them() {
        let json = serde_json::json!(["a && b > c < d", "ü\u{2028}\t\"\\"]).to_string();
        assert_eq!(as_go_writes(&json), r#"["a \u0026\u0026 b \u003e c \u003c d","ü\u2028\t\"\\"]"#);
        assert_eq!(serde_json::from_str::<Value>(&as_go_writes(&json)).unwrap().to_string(), json);
    }
}
