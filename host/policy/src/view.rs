//! What policies see of a [`DecisionInput`].
//!
//! The maps have the fields of `salve-model`'s types under the same names, times in Unix milliseconds, but that:
//!
//! - `incident.targets` holds the things that can be acted on: `id`, `attributes`, `objects`; all are of `incident.tenant`, and so
//!   are the targets of the catalogue, and the history
//! - `parameters` are maps, not JSON text
//! - a series' `key` is 16 hex digits
//! - what is absent is `()`
//!
//! A field that does not exist is an error with its place. Attributes may be absent: `hypothesis.extra.get("key")`.

use rhai::{Array, Dynamic, Map};
use salve_model::{
    Target,
    incident::{CatalogueEntry, DecisionInput, Findings, HistoryEntry, IncidentView},
};
use serde_json::{Number, Value, json};

/// Names of all fixed fields, for hints.
pub(crate) const FIELDS: &[&str] = &[
    "action",
    "agent",
    "at",
    "attempt",
    "attempts",
    "attributes",
    "evidence",
    "expected",
    "extra",
    "hypotheses",
    "id",
    "incident",
    "key",
    "kind",
    "latest",
    "mechanism",
    "name",
    "normal_points",
    "now",
    "objects",
    "outcome",
    "parameters",
    "policy",
    "priority",
    "probability",
    "proposals",
    "reason",
    "recovered",
    "reference",
    "rejected",
    "rising",
    "score",
    "series",
    "service",
    "services",
    "since",
    "started",
    "suggestions",
    "summary",
    "suspect",
    "symptoms",
    "target",
    "targets",
    "tenant",
    "text",
    "unit",
    "value",
    "verdict",
    "weight",
    "why",
    "winner",
];

/// The four arguments of `decide`.
pub(crate) fn arguments(input: &DecisionInput) -> Result<[Dynamic; 4], serde_json::Error> {
    let mut incident = serde_json::to_value(&input.incident)?;
    for symptom in items(&mut incident, "symptoms") {
        if let Some(Value::Number(key)) = symptom.pointer("/series/key") {
            let key = format!("{:016x}", key.as_u64().unwrap_or_default());
            symptom["series"]["key"] = Value::String(key);
        }
    }
    // As text, an f32 is the number that was meant: 0.7, not 0.699999988.
    for (symptom, origin) in items(&mut incident, "symptoms").zip(&input.incident.symptoms) {
        symptom["score"] = origin.score.to_string().parse().map_or(Value::Null, |score: f64| json!(score));
    }
    items(&mut incident, "attempts").for_each(open_parameters);
    incident["targets"] = serde_json::to_value(&input.targets)?;
    let mut findings = serde_json::to_value(&input.findings)?;
    items(&mut findings, "suggestions").for_each(open_parameters);
    let catalogue = serde_json::to_value(&input.catalogue)?;
    let mut history = serde_json::to_value(&input.history)?;
    for entry in history.as_array_mut().into_iter().flatten() {
        open_parameters(&mut entry["attempt"]);
    }
    Ok([incident, findings, catalogue, history].map(|value| dynamic(&value)))
}

/// The way back, for tests that are written as policies see things.
pub(crate) fn input(
    mut incident: Value,
    mut findings: Value,
    catalogue: Value,
    mut history: Value,
) -> Result<DecisionInput, serde_json::Error> {
    for symptom in items(&mut incident, "symptoms") {
        if let Some(key) = symptom.pointer("/series/key").and_then(Value::as_str) {
            symptom["series"]["key"] = json!(u64::from_str_radix(key, 16).unwrap_or_default());
        }
    }
    items(&mut incident, "attempts").for_each(close_parameters);
    items(&mut findings, "suggestions").for_each(close_parameters);
    for entry in history.as_array_mut().into_iter().flatten() {
        close_parameters(&mut entry["attempt"]);
    }
    let targets: Vec<Target> = serde_json::from_value(incident["targets"].take())?;
    Ok(DecisionInput {
        incident: serde_json::from_value::<IncidentView>(incident)?,
        findings: serde_json::from_value::<Findings>(findings)?,
        catalogue: serde_json::from_value::<Vec<CatalogueEntry>>(catalogue)?,
        targets,
        history: serde_json::from_value::<Vec<HistoryEntry>>(history)?,
    })
}

fn items<'a>(map: &'a mut Value, field: &str) -> impl Iterator<Item = &'a mut Value> {
    map.get_mut(field).and_then(Value::as_array_mut).into_iter().flatten()
}

fn open_parameters(map: &mut Value) {
    if let Some(opened) =
        map.get("parameters").and_then(Value::as_str).and_then(|text| serde_json::from_str(text).ok())
    {
        map["parameters"] = opened;
    }
}

fn close_parameters(map: &mut Value) {
    if let Some(parameters) = map.get("parameters").filter(|parameters| !parameters.is_string()) {
        map["parameters"] = Value::String(parameters.to_string());
    }
}

/// JSON as Rhai sees it.
pub(crate) fn dynamic(value: &Value) -> Dynamic {
    match value {
        Value::Null => Dynamic::UNIT,
        Value::Bool(value) => (*value).into(),
        Value::Number(number) => match number.as_i64() {
            Some(integer) => integer.into(),
            None => number.as_f64().unwrap_or(f64::NAN).into(),
        },
        Value::String(text) => text.into(),
        Value::Array(items) => items.iter().map(dynamic).collect::<Array>().into(),
        Value::Object(fields) => {
            fields.iter().map(|(name, value)| (name.as_str().into(), dynamic(value))).collect::<Map>().into()
        }
    }
}

/// What Rhai made, as JSON; or what about it JSON does not have.
pub(crate) fn json(value: &Dynamic) -> Result<Value, String> {
    if value.is_unit() {
        return Ok(Value::Null);
    }
    if let Ok(value) = value.as_bool() {
        return Ok(value.into());
    }
    if let Ok(value) = value.as_int() {
        return Ok(value.into());
    }
    if let Ok(value) = value.as_float() {
        return Number::from_f64(value)
            .map(Value::Number)
            .ok_or_else(|| format!("the number {value} is not finite"));
    }
    if let Ok(value) = value.as_char() {
        return Ok(value.to_string().into());
    }
    if let Ok(text) = value.as_immutable_string_ref() {
        return Ok(text.as_str().into());
    }
    if let Ok(items) = value.as_array_ref() {
        return items.iter().map(json).collect::<Result<Vec<_>, _>>().map(Value::Array);
    }
    if let Ok(fields) = value.as_map_ref() {
        return fields
            .iter()
            .map(|(name, value)| Ok((name.to_string(), json(value)?)))
            .collect::<Result<serde_json::Map<_, _>, String>>()
            .map(Value::Object);
    }
    Err(format!("a value of type `{}` is not data", value.type_name()))
}
