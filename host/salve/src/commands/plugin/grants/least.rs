//! The least grants that allow certain calls.

use salve_authoring::trial::{Answer, Call as During, Recording};
use salve_capabilities::TargetConfig;
use salve_ledger::{Entry, EntryKind};
use salve_model::{
    PluginName, TargetId, Tenant,
    call::{CallError, Denied},
    grant::{Bound, Grant, HttpGrant, sends},
    plan::Call,
};
use salve_plugins::{CAPABILITIES, Manifest};
use serde::Serialize;
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};

/// Deepest nesting of a recording.
const DEPTH_MAX: u32 = 32;
/// More values of one argument than these are given as a range, if they are numbers.
const VALUES_MAX: usize = 16;

/// What a plugin did.
#[derive(Debug, Default)]
pub(super) struct Used {
    calls: Vec<Call>,
    /// Reads are among the calls. The ledger has none.
    has_reads: bool,
    /// GETs were made while planning or in a dry-run.
    safe_read: bool,
    /// A plan said how a call over HTTP is taken back.
    reversible: bool,
    /// Whose targets are, where that is not `default`: a grant is for one tenant.
    owners: BTreeMap<TargetId, Tenant>,
}

impl Used {
    /// With the targets as the configuration has them.
    pub(super) fn of_targets(mut self, targets: &[TargetConfig]) -> Self {
        self.owners = targets.iter().map(|target| (target.id.clone(), target.tenant.clone())).collect();
        self
    }
}

/// What is proposed.
#[derive(Debug)]
pub(super) struct Proposal {
    pub(super) grants: Vec<Grant>,
    /// The same, to be pasted, with remarks.
    pub(super) toml: String,
}

/// What the plugin wrote according to the ledger.
pub(super) fn of_ledger(entries: &[Entry]) -> Used {
    Used { calls: entries.iter().filter_map(written).collect(), ..Used::default() }
}

/// The call of a write that stands in the ledger.
fn written(entry: &Entry) -> Option<Call> {
    let payload = entry.payload.as_ref().filter(|_| entry.kind == EntryKind::WriteIntent)?;
    let call = serde_json::from_value(payload.get("call")?.clone()).ok()?;
    Some(if payload["undo"] == Value::Bool(true) { taken_back(call) } else { call })
}

/// A call that takes something back: the value before need not be one that the plugin may set.
fn taken_back(call: Call) -> Call {
    let mut arguments: Value = serde_json::from_str(&call.arguments).unwrap_or_default();
    if let Some(fields) = arguments.as_object_mut().filter(|_| call.capability == "config") {
        fields.remove("value");
    }
    Call { arguments: arguments.to_string(), ..call }
}

/// What is in a recording of `salve plugin run --record`; or else in any JSON, or one JSON value a line, where a call is an
/// object with `capability`, `verb`, `target` and perhaps `arguments`, as text or as an object.
pub(super) fn of_recording(text: &str, plugin: &str) -> anyhow::Result<Used> {
    let values = match serde_json::from_str::<Value>(text) {
        Ok(value) if value.get("call").is_some() && value.get("request").is_some() => {
            return of_run(&serde_json::from_value(value)?, plugin);
        }
        Ok(value) => vec![value],
        Err(whole) => {
            let lines = text.lines().filter(|line| !line.trim().is_empty()).map(serde_json::from_str);
            // A file that is neither is told of as the one that it more likely is.
            lines
                .collect::<Result<Vec<Value>, _>>()
                .map_err(|line| if text.lines().count() > 1 { line } else { whole })?
        }
    };
    let mut calls = Vec::new();
    values.iter().for_each(|value| find_calls(value, DEPTH_MAX, &mut calls));
    Ok(Used { calls, ..Used::default() })
}

/// What the plugin called, and what its plan would call.
fn of_run(recording: &Recording, plugin: &str) -> anyhow::Result<Used> {
    if let Some(stamp) = recording.plugin.as_ref().filter(|stamp| stamp.name != plugin) {
        anyhow::bail!(
            "it is a recording of `{}`, not of `{plugin}`",
            salve_model::text::escape(&stamp.name, 100)
        );
    }
    let mut used = Used { has_reads: true, ..Used::default() };
    let Some(host_calls) = &recording.host_calls else {
        anyhow::bail!(
            "it has no calls to the host\n\nhint: Record a run of an action: `salve plugin run FILE --request REQUEST --record RECORDING`."
        );
    };
    for made in recording.earlier_calls.iter().chain(host_calls) {
        // It broke its own plan, or asked for what is never done; no grant would allow that.
        if matches!(made.answer, Answer::Error(CallError::Denied(Denied::NotInPlan(_) | Denied::Never(_)))) {
            continue;
        }
        let Some(call) = made.granted_call() else { continue };
        let is_get = call.capability == "http" && call.verb == "get";
        used.safe_read |= is_get && (made.during == During::Plan || !recording.apply);
        used.calls.push(if made.during == During::Undo { taken_back(call) } else { call });
    }
    // The steps of a plan that was made or given license calls that come later.
    let of_result = recording.expect.as_ref().filter(|_| recording.call == During::Plan);
    for plan in of_result.into_iter().chain(recording.request.get("plan")) {
        find_calls(plan, DEPTH_MAX, &mut used.calls);
        let steps = plan.get("steps").and_then(Value::as_array).into_iter().flatten();
        used.reversible |= steps
            .filter(|step| step["capability"] == "http")
            .any(|step| step.get("inverse").is_some_and(|inverse| !inverse.is_null()));
    }
    Ok(used)
}

fn find_calls(value: &Value, depth: u32, calls: &mut Vec<Call>) {
    if depth == 0 {
        return;
    }
    match value {
        Value::Array(several) => several.iter().for_each(|value| find_calls(value, depth - 1, calls)),
        Value::Object(object) => {
            let text = |name: &str| object.get(name).and_then(Value::as_str);
            if let (Some(capability), Some(verb), Some(target)) =
                (text("capability"), text("verb"), text("target"))
            {
                let arguments = match object.get("arguments") {
                    Some(Value::String(text)) => text.clone(),
                    Some(value) => value.to_string(),
                    None => "{}".into(),
                };
                calls.push(Call {
                    capability: capability.into(),
                    verb: verb.into(),
                    target: TargetId(target.into()),
                    arguments,
                });
            } else {
                object.values().for_each(|value| find_calls(value, depth - 1, calls));
            }
        }
        _ => {}
    }
}

/// What was seen of one capability; of `http`, of one verb, so that what may be read cannot be written to.
#[derive(Default)]
struct Seen {
    verbs: BTreeSet<String>,
    targets: BTreeSet<TargetId>,
    arguments: BTreeMap<String, BTreeSet<String>>,
    methods: BTreeSet<String>,
    paths: BTreeSet<String>,
    headers: BTreeSet<String>,
}

impl Seen {
    fn take(&mut self, call: &Call) {
        self.verbs.insert(call.verb.clone());
        self.targets.insert(call.target.clone());
        let arguments: Value = serde_json::from_str(&call.arguments).unwrap_or_default();
        for (name, value) in arguments.as_object().into_iter().flatten() {
            let text = value.as_str().map_or_else(|| value.to_string(), String::from);
            match (call.capability.as_str(), name.as_str()) {
                ("http", "method") => drop(self.methods.insert(text)),
                ("http", "path") => drop(self.paths.insert(text)),
                ("http", "headers") => {
                    self.headers.extend(pairs(value).into_iter().map(|(name, _)| name.to_ascii_lowercase()));
                }
                ("http", "query") => pairs(value).into_iter().for_each(|(name, text)| {
                    self.arguments.entry(format!("query.{name}")).or_default().insert(text);
                }),
                ("config", "key" | "value") | ("http", "body-sha256") if !value.is_null() => {
                    self.arguments.entry(name.clone()).or_default().insert(text);
                }
                _ => {}
            }
        }
    }
}

/// Grants for these calls and no others; where reads are not known, also for those that the manifest asks for on the same
/// targets. `reads_telemetry`: the plugin can, so where data leaves it has to be granted to.
pub(super) fn propose(
    plugin: &str,
    used: &Used,
    manifest: Option<&Manifest>,
    reads_telemetry: bool,
) -> Proposal {
    let mut seen = BTreeMap::<(Tenant, String, String), Seen>::new();
    for call in &used.calls {
        // The manifest's word comes first: no grant goes beyond it.
        if manifest.is_some_and(|manifest| !manifest.requests(&call.capability, &call.verb)) {
            continue;
        }
        let verb = if call.capability == "http" { call.verb.clone() } else { String::new() };
        let owner = used.owners.get(&call.target).cloned().unwrap_or_default();
        seen.entry((owner, call.capability.clone(), verb)).or_default().take(call);
    }
    let (mut with_reads, mut with_safe_read, mut with_may_send) = (false, false, false);
    let grants: Vec<Grant> = seen
        .into_iter()
        .map(|((tenant, capability, verb), mut seen)| {
            let known = CAPABILITIES.iter().find(|known| known.name == capability);
            let reads = known.map_or(&[][..], |known| known.reads);
            // A GET needs a path of its own in the grant, so no read of `http` is added by guess.
            for read in reads.iter().filter(|_| capability != "http" && !used.has_reads) {
                if manifest.is_some_and(|manifest| manifest.requests(&capability, read)) {
                    with_reads |= seen.verbs.insert((*read).to_owned());
                }
            }
            let safe_read = verb == "get" && used.safe_read;
            with_safe_read |= safe_read;
            let may_send = reads_telemetry && sends(&capability);
            with_may_send |= may_send;
            let http = (capability == "http").then(|| HttpGrant {
                methods: seen.methods.into_iter().collect(),
                paths: seen.paths.into_iter().collect(),
                headers: seen.headers.into_iter().collect(),
                safe_read,
                reversible: verb == "send" && used.reversible,
                keyed: false,
                secret: None,
            });
            Grant {
                plugin: PluginName(plugin.to_owned()),
                tenant,
                capability,
                verbs: seen.verbs.into_iter().collect(),
                targets: seen.targets.into_iter().collect(),
                arguments: seen.arguments.into_iter().map(|(name, values)| (name, bound(values))).collect(),
                http,
                digest: None,
                may_send,
            }
        })
        .collect();
    let mut toml = String::new();
    if with_reads {
        toml.push_str("# Reads are not in the ledger: those that the manifest asks for are granted on the same targets.\n");
    }
    if with_safe_read {
        toml.push_str("# safe_read: GETs were made before anything was approved. Grant it only if they change nothing on that server.\n");
    }
    if with_may_send {
        toml.push_str("# may_send: the plugin can read telemetry, and what it sends could contain it.\n");
    }
    #[derive(Serialize)]
    struct File<'a> {
        grant: &'a [Grant],
    }
    if !grants.is_empty() {
        // All of it can be put into TOML; if one day it cannot, there is nothing to paste.
        toml.push_str(&toml::to_string(&File { grant: &grants }).unwrap_or_default());
    }
    Proposal { grants, toml }
}

fn pairs(value: &Value) -> Vec<(String, String)> {
    let pairs = value.as_array().into_iter().flatten();
    pairs
        .filter_map(|pair| Some((pair.get(0)?.as_str()?.to_owned(), pair.get(1)?.as_str()?.to_owned())))
        .collect()
}

fn bound(values: BTreeSet<String>) -> Bound {
    let numbers: Vec<f64> = values
        .iter()
        .filter_map(|value| value.parse().ok())
        .filter(|number: &f64| number.is_finite())
        .collect();
    if values.len() > VALUES_MAX && numbers.len() == values.len() {
        let least = numbers.iter().copied().fold(f64::INFINITY, f64::min);
        let most = numbers.iter().copied().fold(f64::NEG_INFINITY, f64::max);
        return Bound { min: Some(least), max: Some(most), ..Bound::default() };
    }
    Bound { one_of: Some(values.into_iter().collect()), ..Bound::default() }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Guarantees: what is proposed names just what was called, in the form in which the configuration takes it.
    #[test]
    fn the_least_set() {
        let recording = r#"
            {"host_call":{"capability":"config","verb":"set","target":"worker","arguments":"{\"key\":\"pool_size\",\"value\":\"16\"}"}}
            {"capability":"config","verb":"set","target":"worker","arguments":{"key":"pool_size","value":"8"}}
            {"capability":"http","verb":"send","target":"api","arguments":{"method":"POST","path":"/drain","query":[["n","1"]]}}
        "#;
        let used = of_recording(recording, "fixer").unwrap();
        assert_eq!(used.calls.len(), 3);
        let proposal = propose("fixer", &used, None, false);
        let [config_grant, http_grant] = proposal.grants.as_slice() else { panic!("{proposal:?}") };
        assert_eq!(
            (config_grant.capability.as_str(), config_grant.verbs.as_slice()),
            ("config", &["set".to_owned()][..])
        );
        let one_of = |name: &str| config_grant.arguments[name].one_of.clone().unwrap();
        assert_eq!(
            (one_of("key"), one_of("value")),
            (vec!["pool_size".to_owned()], vec!["16".to_owned(), "8".to_owned()])
        );
        let http = http_grant.http.as_ref().unwrap();
        assert_eq!(
            (http.methods.as_slice(), http.paths.as_slice()),
            (&["POST".to_owned()][..], &["/drain".to_owned()][..])
        );
        assert!(http_grant.arguments.contains_key("query.n"));
        let config: crate::config::Config = toml::from_str(&proposal.toml).unwrap();
        assert_eq!(config.grants, proposal.grants);
        assert!(of_recording("not json", "fixer").is_err());
    }

    /// Guarantees: of a recorded run each call counts as the brokers see it: a read over HTTP apart from a write, bodies by
    /// digest, a value that is put back not among those that may be set; what broke the plan, what is no broker's and what the
    /// plan of another plugin says does not count.
    #[test]
    fn a_recorded_run() {
        let recording = r#"{ "call": "undo", "request": { "plan": { "summary": "", "steps": [
                { "capability": "http", "verb": "send", "target": "api", "arguments": { "method": "POST", "path": "/drain" },
                  "inverse": {} }
            ] } },
            "plugin": { "name": "fixer", "version": "1.0.0", "digest": "00" },
            "earlier_calls": [
                { "during": "plan", "call": "telemetry.series", "arguments": { "service": "api" }, "answer": { "ok": [] } },
                { "during": "plan", "call": "http.get", "target": "api", "answer": { "ok": {} },
                  "arguments": { "method": "GET", "path": "/state", "query": [], "headers": [["Accept", "x"]], "body": [] } }
            ],
            "host_calls": [
                { "during": "execute", "call": "http.send", "target": "api", "answer": { "ok": {} },
                  "arguments": { "method": "POST", "path": "/drain", "query": [], "headers": [], "body": "{}" } },
                { "during": "execute", "call": "config.set", "target": "pool", "answer": { "ok": {} },
                  "arguments": { "key": "size", "value": "16" } },
                { "during": "execute", "call": "config.set", "target": "other", "answer": { "error": { "denied": { "not-in-plan": "" } } },
                  "arguments": { "key": "size", "value": "17" } },
                { "during": "undo", "call": "config.set", "target": "pool", "answer": { "ok": {} },
                  "arguments": { "key": "size", "value": "2" } }
            ] }"#;
        let used = of_recording(recording, "fixer").unwrap();
        let proposal = propose("fixer", &used, None, false);
        let [config, get, send] = proposal.grants.as_slice() else { panic!("{proposal:?}") };
        let one_of = |grant: &Grant, name: &str| grant.arguments[name].one_of.clone().unwrap();
        assert_eq!((config.targets.len(), config.verbs.as_slice()), (1, &["set".to_owned()][..]));
        assert_eq!(one_of(config, "value"), ["16"]);
        let (of_get, of_send) = (get.http.as_ref().unwrap(), send.http.as_ref().unwrap());
        assert_eq!((of_get.paths.join(" "), of_send.paths.join(" ")), ("/state".into(), "/drain".into()));
        assert_eq!(
            (of_get.headers.join(" "), of_get.safe_read, of_get.reversible),
            ("accept".into(), true, false)
        );
        assert_eq!((of_send.safe_read, of_send.reversible), (false, true));
        // printf '{}' | sha256sum
        let digest = "44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a";
        assert_eq!(one_of(send, "body-sha256"), [digest]);
        let config: crate::config::Config = toml::from_str(&proposal.toml).unwrap();
        assert_eq!(config.grants, proposal.grants);
        // One that could send telemetry has to be allowed to, where data leaves and nowhere else.
        let reader = propose("fixer", &used, None, true);
        assert_eq!(reader.grants.iter().map(|grant| grant.may_send).collect::<Vec<_>>(), [false, true, true]);
        let config: crate::config::Config = toml::from_str(&reader.toml).unwrap();
        assert_eq!(config.grants, reader.grants);
        let other = of_recording(recording, "other").unwrap_err().to_string();
        assert!(other.contains("a recording of `fixer`, not of `other`"), "{other}");
    }
}
