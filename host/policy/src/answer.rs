//! A policy's answer: the helpers that make rows, and the check of what came back.

use crate::{
    error::{PolicyError, nearest},
    view,
};
use rhai::{Dynamic, Engine, EvalAltResult, ImmutableString, Map};
use salve_model::{
    TargetId,
    incident::{Proposal, Verdict},
    text::escape,
};

/// The form of a policy's rows.
///
/// A row is a map with these keys:
///
/// | key | type | default |
/// |---|---|---|
/// | `verdict` | `"act"`, `"ask"`, `"wait"`, `"never"` | required |
/// | `action` | text; `"*"` for `wait` and `never` | required |
/// | `target` | text, a target's id; `"*"` for `wait` and `never` | required |
/// | `parameters` | map | `#{}` |
/// | `priority` | integer, higher first | `0` |
/// | `reason` | text for people | `""` |
///
/// `act(action, target)`, `ask(action, target)`, `wait(action, target)`, `never(action, target)` and `wait()` make rows,
/// and `.parameters(parameters)`, `.priority(n)`, `.reason(reason)` fill them in:
///
/// ```rhai
/// act("set-config", "checkout").parameters(#{ mode: "last-good" }).priority(10).reason("its configuration changed")
/// ```
///
/// No row at all is `[]` or `()`.
pub mod rows {}

/// Names of the helpers, for hints.
pub(crate) const HELPERS: &[&str] =
    &["act", "ask", "wait", "never", "parameters", "priority", "reason", "decide"];

/// The verdict that nobody overrules. A policy that says it has it in its text, or in that of a library: so it is known of one
/// that fails whether it might have said it.
pub(crate) const FORBIDS: &str = "never";

const KEYS: &[&str] = &["verdict", "action", "target", "parameters", "priority", "reason"];

/// Longest reason, in characters; it is for people.
const REASON_CHARS_MAX: usize = 500;

/// Adds the helpers to `engine`.
pub(crate) fn register(engine: &mut Engine) {
    for verdict in ["act", "ask", "wait", "never"] {
        engine.register_fn(verdict, move |action: ImmutableString, target: ImmutableString| {
            row(verdict, action, target)
        });
    }
    engine.register_fn("wait", || row("wait", "*".into(), "*".into()));
    engine.register_fn("parameters", |row: Map, parameters: Map| set(row, "parameters", parameters.into()));
    engine.register_fn("priority", |row: Map, priority: i64| set(row, "priority", priority.into()));
    engine.register_fn("reason", |row: Map, reason: ImmutableString| set(row, "reason", reason.into()));
}

fn row(verdict: &str, action: ImmutableString, target: ImmutableString) -> Map {
    let mut row = Map::new();
    row.insert("verdict".into(), verdict.into());
    row.insert("action".into(), action.into());
    row.insert("target".into(), target.into());
    row
}

fn set(mut row: Map, key: &str, value: Dynamic) -> Result<Map, Box<EvalAltResult>> {
    if !row.contains_key("verdict") {
        return Err("this sets a field of a row; begin with `act`, `ask`, `wait` or `never`".into());
    }
    row.insert(key.into(), value);
    Ok(row)
}

/// Where an answer came from.
pub(crate) struct Origin<'a> {
    /// The policy's name.
    pub(crate) policy: &'a str,
    /// Its file.
    pub(crate) file: &'a str,
    /// Line of its `decide`.
    pub(crate) line: Option<usize>,
    /// It may say `never`.
    pub(crate) may_forbid: bool,
}

/// The rows of `answer`, checked; the first that is wrong makes the whole answer wrong.
pub(crate) fn parse(
    origin: &Origin<'_>,
    answer: &Dynamic,
    rows_max: usize,
) -> Result<Vec<Proposal>, PolicyError> {
    let error = |message: String, hint: &str| {
        PolicyError::file(origin.file, escape(&message, 500), hint).at_line(origin.line)
    };
    if answer.is_unit() {
        return Ok(Vec::new());
    }
    let Ok(rows) = answer.as_array_ref() else {
        return Err(error(
            format!("`decide` must return an array of rows, not a value of type `{}`", answer.type_name()),
            "Write `[act(\"ACTION\", \"TARGET\")]`, or `[]` for nothing.",
        ));
    };
    if rows.len() > rows_max {
        return Err(error(
            format!("`decide` returned {} rows, more than the {rows_max} allowed", rows.len()),
            "Propose less, or raise `rows_max` of the policies.",
        ));
    }
    rows.iter()
        .zip(1..)
        .map(|(row, number)| {
            proposal(origin.policy, row)
                .and_then(|proposal| {
                    if proposal.verdict == Verdict::Never && !origin.may_forbid {
                        let message =
                            format!("it says `{FORBIDS}`, and the word is not in the policy's text");
                        return Err((message, format!("Write `{FORBIDS}` out, and do not put it together.")));
                    }
                    Ok(proposal)
                })
                .map_err(|(message, hint)| error(format!("row {number} of the answer: {message}"), &hint))
        })
        .collect()
}

type Wrong = (String, String);

fn proposal(policy: &str, row: &Dynamic) -> Result<Proposal, Wrong> {
    const SHAPE: &str = "A row is `act(\"ACTION\", \"TARGET\")` or a map with the same keys.";
    let Ok(row) = row.as_map_ref() else {
        return Err((format!("it is of type `{}`, not a map", row.type_name()), SHAPE.into()));
    };
    for key in row.keys() {
        if !KEYS.contains(&key.as_str()) {
            let hint = match nearest(key, KEYS.iter().copied()) {
                Some(known) => format!("Did you mean `{known}`?"),
                None => format!("The keys are {}.", quoted(KEYS)),
            };
            return Err((format!("unknown key `{key}`"), hint));
        }
    }
    let verdict = match text(&row, "verdict")?.as_str() {
        "act" => Verdict::Act,
        "ask" => Verdict::Ask,
        "wait" => Verdict::Wait,
        "never" => Verdict::Never,
        other => {
            let known = ["act", "ask", "wait", "never"];
            let hint = match nearest(other, known.into_iter()) {
                Some(known) => format!("Did you mean `{known}`?"),
                None => format!("The verdicts are {}.", quoted(&known)),
            };
            return Err((format!("unknown verdict `{other}`"), hint));
        }
    };
    let (action, target) = (text(&row, "action")?, text(&row, "target")?);
    for (key, value) in [("action", &action), ("target", &target)] {
        if value.is_empty() || (value == "*" && matches!(verdict, Verdict::Act | Verdict::Ask)) {
            return Err((
                format!("`{key}` is `{value}`"),
                format!("Name one {key}; only `wait` and `never` may say `*`."),
            ));
        }
    }
    let parameters = match row.get("parameters") {
        None => "{}".to_owned(),
        Some(parameters) if parameters.is_map() => view::json(parameters)
            .map_err(|what| {
                (format!("`parameters`: {what}"), "Use texts, numbers, arrays and maps.".to_owned())
            })?
            .to_string(),
        Some(other) => return Err(wrong_type("parameters", "a map", other)),
    };
    let priority = match row.get("priority") {
        None => 0,
        Some(priority) => priority.as_int().map_err(|_| wrong_type("priority", "an integer", priority))?,
    };
    let reason = match row.get("reason") {
        None => String::new(),
        Some(_) => escape(&text(&row, "reason")?, REASON_CHARS_MAX),
    };
    Ok(Proposal {
        policy: policy.into(),
        verdict,
        action,
        target: TargetId(target),
        parameters,
        priority,
        reason,
    })
}

fn text(row: &Map, key: &str) -> Result<String, Wrong> {
    match row.get(key) {
        None => Err((format!("`{key}` is missing"), format!("Every row needs {}.", quoted(&KEYS[..3])))),
        Some(value) => value
            .as_immutable_string_ref()
            .map(|text| text.to_string())
            .map_err(|_| wrong_type(key, "a text", value)),
    }
}

fn wrong_type(key: &str, expected: &str, found: &Dynamic) -> Wrong {
    let hint = if found.is_unit() {
        format!("Something had no value; ask `!= ()` before you use it as `{key}`.")
    } else {
        format!("Give `{key}` {expected}.")
    };
    (format!("`{key}` must be {expected}, not a value of type `{}`", found.type_name()), hint)
}

fn quoted(names: &[&str]) -> String {
    names.iter().map(|name| format!("`{name}`")).collect::<Vec<_>>().join(", ")
}
