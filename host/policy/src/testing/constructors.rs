//! What policies are given, made by hand.

use crate::{error::nearest, view};
use rhai::{Array, Dynamic, Engine, EvalAltResult, ImmutableString, Map};
use serde_json::{Value, json};

type Made = Result<Dynamic, Box<EvalAltResult>>;

/// Adds the constructors to `engine`.
pub(super) fn register(engine: &mut Engine) {
    engine.register_fn("incident", |given: Map| {
        let defaults = json!({
            "id": "inc-1", "tenant": "default", "started": 0, "now": 60_000, "symptoms": [], "services": [], "attempts": [],
            "targets": []
        });
        fill("incident", defaults, given)
    });
    engine.register_fn("symptom", symptom);
    engine.register_fn("attempt", |given: Map| fill("attempt", attempt_defaults(), given));
    engine.register_fn("findings", |hypotheses: Array| {
        findings([("hypotheses".into(), hypotheses.into())].into())
    });
    engine.register_fn("findings", findings);
    engine.register_fn("hypothesis", |given: Map| {
        let defaults = json!({
            "suspect": "service", "mechanism": "errors", "probability": 0.9, "evidence": [], "extra": {}, "targets": []
        });
        fill("hypothesis", defaults, given)
    });
    engine.register_fn("catalogue", catalogue);
    engine.register_fn("past", past);
}

fn symptom(given: Map) -> Made {
    const SERIES: [&str; 5] = ["key", "service", "name", "unit", "attributes"];
    let (of_series, given): (Map, Map) =
        given.into_iter().partition(|(key, _)| SERIES.contains(&key.as_str()));
    let series = json!({
        "key": "0000000000000000", "tenant": "default", "service": "service", "name": "salve.span.error_ratio",
        "unit": "1", "attributes": {}
    });
    let defaults = json!({
        "series": null, "kind": "level-shift", "rising": true, "since": 0, "latest": 0, "score": 0.9, "value": 1.0,
        "expected": 0.0, "reason": "", "normal_points": 0, "recovered": false
    });
    let series = fill("symptom", series, of_series)?;
    if given.contains_key("series") {
        return fill("symptom", defaults, given);
    }
    let symptom = fill("symptom", defaults, given)?;
    Ok(with(symptom, "series", series))
}

fn findings(given: Map) -> Made {
    fill("findings", json!({ "agent": "test", "hypotheses": [], "suggestions": [], "text": "" }), given)
}

fn attempt_defaults() -> Value {
    json!({ "action": "restart-process", "target": "service", "parameters": {}, "outcome": "not_healed" })
}

fn past(given: Map) -> Made {
    let (outer, given): (Map, Map) = given.into_iter().partition(|(key, _)| key == "incident" || key == "at");
    let entry = fill("past", json!({ "incident": "inc-0", "at": 0, "attempt": null }), outer)?;
    let attempt = fill("past", attempt_defaults(), given)?;
    Ok(with(entry, "attempt", attempt))
}

fn catalogue(given: Map) -> Made {
    given
        .into_iter()
        .map(|(action, targets)| {
            if !targets.is_array() {
                return Err(format!("`catalogue`: `{action}` needs an array of targets").into());
            }
            let mut entry = Map::new();
            entry.insert("action".into(), ImmutableString::from(action.as_str()).into());
            entry.insert("summary".into(), "".into());
            entry.insert("targets".into(), targets);
            Ok(entry.into())
        })
        .collect::<Result<Array, Box<EvalAltResult>>>()
        .map(Dynamic::from)
}

/// `defaults` with what was given in their place.
fn fill(function: &str, defaults: Value, given: Map) -> Made {
    let mut filled: Map = view::dynamic(&defaults).cast();
    for (key, value) in given {
        if !filled.contains_key(&key) {
            let meant = nearest(&key, filled.keys().map(|known| known.as_str()))
                .map(|known| format!("; did you mean `{known}`?"))
                .unwrap_or_default();
            return Err(format!("`{function}` has no field `{key}`{meant}").into());
        }
        filled.insert(key, value);
    }
    Ok(filled.into())
}

fn with(map: Dynamic, key: &str, value: Dynamic) -> Dynamic {
    let mut map: Map = map.cast();
    map.insert(key.into(), value);
    map.into()
}

/// Without targets of its own, an incident has those that the catalogue names.
pub(super) fn complete_targets(incident: &mut Value, catalogue: &Value) {
    if incident.get("targets").and_then(Value::as_array).is_some_and(|targets| !targets.is_empty()) {
        return;
    }
    let mut ids: Vec<&str> = catalogue
        .as_array()
        .into_iter()
        .flatten()
        .filter_map(|entry| entry.get("targets")?.as_array())
        .flatten()
        .filter_map(Value::as_str)
        .collect();
    ids.sort_unstable();
    ids.dedup();
    if let Some(incident) = incident.as_object_mut() {
        let targets = ids.iter().map(|id| json!({ "id": id, "attributes": {}, "objects": [id] })).collect();
        incident.insert("targets".into(), targets);
    }
}
