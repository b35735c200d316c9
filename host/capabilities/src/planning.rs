//! From what a plugin would do to steps that license it: canonical arguments, objects, state before, inverse, class.

use crate::{
    Brokers,
    brokers::{Shared, words},
    config::{ConfigError, state_words},
    grants::{self, Arguments, Ask},
    http::request,
    process::ProcessError,
    registry::Registry,
    storage::sha256_hex,
};
use salve_model::{
    PluginName, TargetId, Tenant,
    call::{CallError, Denied, HttpRequest, Write},
    grant::Grant,
    plan::{Call, Step, VerbClass},
    text::escape,
};
use serde::Deserialize;
use serde_json::{Value, json};
use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

/// Most steps of one plan.
const STEPS_MAX: usize = 100;

/// A step as a plugin proposes it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RawStep {
    /// For instance `config`.
    pub capability: String,
    /// For instance `set`.
    pub verb: String,
    /// On which target.
    pub target: TargetId,
    /// JSON object; empty stands for `{}`.
    pub arguments: String,
    /// If given, it must be the state now.
    pub before: Option<String>,
    /// As the plugin words it.
    pub after: Option<String>,
    /// If given, it must be what the broker says.
    pub inverse: Option<String>,
}

/// A write whose words make sense. Whether it may be made is another question.
#[derive(Debug, Clone)]
pub(crate) struct Checked {
    pub(crate) call: Call,
    pub(crate) effect: Effect,
}

/// What a write would do.
#[derive(Debug, Clone)]
pub(crate) enum Effect {
    Process,
    Config {
        key: String,
        value: Option<String>,
    },
    /// At plan time the body is known by its digest only.
    Http {
        request: HttpRequest,
        body: Option<Vec<u8>>,
    },
    Notify {
        fields: BTreeMap<String, String>,
    },
}

/// The `arguments` of `config.set`.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct SetArguments {
    key: String,
    value: Option<String>,
}

/// The `arguments` of `http.send`.
#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
struct SendArguments {
    method: String,
    path: String,
    #[serde(default)]
    query: Vec<(String, String)>,
    #[serde(default)]
    headers: Vec<(String, String)>,
    #[serde(rename = "body-sha256")]
    body_sha256: Option<String>,
    idempotency_key: Option<String>,
}

/// The `arguments` of `notify.send`.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct NotifyArguments {
    fields: Vec<(String, String)>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct NoArguments {}

/// The same JSON with keys sorted and no spaces, whatever serde_json's features are.
pub(crate) fn canonical(value: &Value) -> String {
    fn sorted(value: &Value) -> Value {
        match value {
            Value::Object(entries) => {
                let entries: BTreeMap<_, _> =
                    entries.iter().map(|(key, value)| (key.clone(), sorted(value))).collect();
                Value::Object(entries.into_iter().collect())
            }
            Value::Array(values) => Value::Array(values.iter().map(sorted).collect()),
            other => other.clone(),
        }
    }
    sorted(value).to_string()
}

fn set_arguments(key: &str, value: Option<&str>) -> String {
    canonical(&json!({ "key": key, "value": value }))
}

impl Checked {
    /// From a call that a guest makes.
    pub(crate) fn from_write(write: &Write) -> Self {
        let mut call = write.call(sha256_hex);
        call.arguments =
            serde_json::from_str(&call.arguments).map(|value| canonical(&value)).unwrap_or(call.arguments);
        let effect = match write {
            Write::ProcessStart { .. } | Write::ProcessStop { .. } | Write::ProcessRestart { .. } => {
                Effect::Process
            }
            Write::ConfigSet { key, value, .. } => Effect::Config { key: key.clone(), value: value.clone() },
            Write::HttpSend(request) => {
                Effect::Http { request: request.clone(), body: Some(request.body.clone()) }
            }
            Write::Notify { fields, .. } => Effect::Notify { fields: fields.iter().cloned().collect() },
        };
        Self { call, effect }
    }

    /// From a step that a plugin proposes.
    ///
    /// # Errors
    /// One sentence.
    fn from_raw(raw: &RawStep) -> Result<Self, String> {
        fn parse<'a, T: Deserialize<'a>>(text: &'a str) -> Result<T, String> {
            let text = if text.trim().is_empty() { "{}" } else { text };
            serde_json::from_str(text).map_err(|error| format!("its arguments make no sense: {error}"))
        }
        let (effect, arguments) = match (raw.capability.as_str(), raw.verb.as_str()) {
            ("process", "start" | "stop" | "restart") => {
                parse::<NoArguments>(&raw.arguments)?;
                (Effect::Process, "{}".to_owned())
            }
            ("config", "set") => {
                let SetArguments { key, value } = parse(&raw.arguments)?;
                let arguments = set_arguments(&key, value.as_deref());
                (Effect::Config { key, value }, arguments)
            }
            ("http", "send") => {
                let send: SendArguments = parse(&raw.arguments)?;
                let digest = send.body_sha256.unwrap_or_else(|| sha256_hex(b""));
                let arguments = canonical(&json!({
                    "method": send.method,
                    "path": send.path,
                    "query": send.query,
                    "headers": send.headers,
                    "body-sha256": digest,
                    "idempotency-key": send.idempotency_key,
                }));
                let request = HttpRequest {
                    target: raw.target.clone(),
                    method: send.method,
                    path: send.path,
                    query: send.query,
                    headers: send.headers,
                    body: Vec::new(),
                    idempotency_key: send.idempotency_key,
                };
                let body = (digest == sha256_hex(b"")).then(Vec::new);
                (Effect::Http { request, body }, arguments)
            }
            ("notify", "send") => {
                let NotifyArguments { fields } = parse(&raw.arguments)?;
                let arguments = canonical(&json!({ "fields": fields }));
                (Effect::Notify { fields: fields.into_iter().collect() }, arguments)
            }
            (capability, verb) => {
                return Err(format!("there is no write `{}.{}`", escape(capability, 50), escape(verb, 50)));
            }
        };
        let call = Call {
            capability: raw.capability.clone(),
            verb: raw.verb.clone(),
            target: raw.target.clone(),
            arguments,
        };
        Ok(Self { call, effect })
    }

    /// Its words in terms of grants.
    fn arguments(&self) -> Arguments {
        match &self.effect {
            Effect::Process => Arguments::new(),
            Effect::Config { key, value } => {
                Arguments::from([("key".to_owned(), Some(key.clone())), ("value".to_owned(), value.clone())])
            }
            Effect::Http { request, body } => {
                let mut arguments = http_arguments(request);
                if let Some(body) = body {
                    arguments.insert("body".into(), String::from_utf8(body.clone()).ok());
                }
                let digest = serde_json::from_str::<SendArguments>(&self.call.arguments).ok();
                arguments.insert("body-sha256".into(), digest.and_then(|arguments| arguments.body_sha256));
                arguments
            }
            Effect::Notify { fields } => {
                fields.iter().map(|(name, text)| (name.clone(), Some(text.clone()))).collect()
            }
        }
    }
}

/// A request's words in terms of grants, without its body.
pub(crate) fn http_arguments(request: &HttpRequest) -> Arguments {
    let queries = request.query.iter().map(|(name, value)| (format!("query.{name}"), Some(value.clone())));
    let headers = request
        .headers
        .iter()
        .map(|(name, value)| (format!("header.{}", name.to_ascii_lowercase()), Some(value.clone())));
    let line = [
        ("method".to_owned(), Some(request.method.clone())),
        ("path".to_owned(), Some(request.path.clone())),
    ];
    queries.chain(headers).chain(line).collect()
}

/// Query parameters are text of the plugin's own.
pub(crate) fn http_must_be_bounded(request: &HttpRequest) -> Vec<String> {
    request.query.iter().map(|(name, _)| format!("query.{name}")).collect()
}

/// Who would write, and for whom.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Caller<'a> {
    pub(crate) plugin: &'a PluginName,
    /// Whose incident it is.
    pub(crate) tenant: &'a Tenant,
    /// It can, and so what it sends could contain it.
    pub(crate) reads_telemetry: bool,
}

impl Shared {
    /// The object behind a call, and the grant that allows it.
    pub(crate) async fn permit<'r>(
        self: &Arc<Self>,
        registry: &'r Registry,
        caller: Caller<'_>,
        checked: &Checked,
        is_undo: bool,
    ) -> Result<(String, &'r Grant), CallError> {
        let call = &checked.call;
        let object = object(registry, caller.tenant, call)?;
        let mut must_be_bounded = Vec::new();
        let mut http = None;
        match &checked.effect {
            Effect::Process | Effect::Notify { .. } => {}
            Effect::Config { key, value: Some(value) } if !is_undo => {
                // A value that the key had before brings nothing of the plugin's own into the file.
                let (target, key, value) = (call.target.clone(), key.clone(), value.clone());
                if !self.blocking(move |shared| shared.config.had(&target, &key, Some(&value))).await? {
                    must_be_bounded.push("value".to_owned());
                }
            }
            Effect::Config { .. } => {}
            Effect::Http { request, body } => {
                request::check(request, false, registry.config.http_body_max_bytes).map_err(never)?;
                must_be_bounded = http_must_be_bounded(request);
                if body.as_ref().is_none_or(|body| !body.is_empty()) {
                    must_be_bounded.push("body".into());
                }
                http = Some(request);
            }
        }
        let ask = Ask {
            plugin: caller.plugin,
            tenant: caller.tenant,
            capability: &call.capability,
            verb: &call.verb,
            target: &call.target,
            arguments: checked.arguments(),
            must_be_bounded,
            http,
            needs_safe_read: false,
            is_undo,
            reads_telemetry: caller.reads_telemetry,
        };
        let grant = grants::check(&registry.config.grants, &ask)
            .map_err(|toml| CallError::Denied(Denied::NotGranted(toml)))?;
        Ok((object, grant))
    }

    /// The state that a write would find now; none where there is none to ask for.
    pub(crate) async fn state(
        self: &Arc<Self>,
        registry: &Registry,
        checked: &Checked,
    ) -> Result<Option<String>, CallError> {
        let target = checked.call.target.clone();
        match &checked.effect {
            Effect::Process => {
                let unit = unit(registry, &target)?;
                self.supervisor.state(unit).map(Some).map_err(process_error)
            }
            Effect::Config { key, .. } => {
                let key = key.clone();
                self.blocking(move |shared| shared.config.state(&target, &key)).await.map(Some)
            }
            Effect::Http { .. } | Effect::Notify { .. } => Ok(None),
        }
    }

    /// Runs work on the disk on a thread that may wait.
    pub(crate) async fn blocking<T: Send + 'static>(
        self: &Arc<Self>,
        work: impl FnOnce(&Self) -> Result<T, ConfigError> + Send + 'static,
    ) -> Result<T, CallError> {
        let shared = Arc::clone(self);
        match tokio::task::spawn_blocking(move || work(&shared)).await {
            Ok(result) => result.map_err(config_error),
            Err(error) => Err(CallError::Failed(format!("a thread of Salve's ended: {error}"))),
        }
    }
}

impl Brokers {
    /// Turns what a plugin proposes into steps that license it: arguments in canonical form, checked against grants and
    /// against what each broker can do; objects, state before, inverse and class as the brokers say.
    ///
    /// A step on an object that an earlier step of the plan changes has the state before that the earlier step leaves,
    /// where that can be said, and none where it cannot (a process that is yet to be started). `tenant`: whose incident it is;
    /// `reads_telemetry`: the plugin can, and so what it sends could contain it.
    ///
    /// # Errors
    /// The first step that cannot be: [`CallError::Denied`] with the TOML that would allow it, [`CallError::NotFound`],
    /// [`CallError::Failed`] if it makes no sense.
    pub async fn complete_plan(
        &self,
        plugin: &PluginName,
        tenant: &Tenant,
        reads_telemetry: bool,
        raw_steps: Vec<RawStep>,
    ) -> Result<Vec<Step>, CallError> {
        if raw_steps.len() > STEPS_MAX {
            return Err(CallError::Denied(Denied::Limit(format!("{STEPS_MAX} steps in one plan"))));
        }
        let (registry, caller) = (self.shared.registry(), Caller { plugin, tenant, reads_telemetry });
        let mut keys_after: BTreeMap<(TargetId, String), String> = BTreeMap::new();
        let mut processes_touched: BTreeSet<String> = BTreeSet::new();
        let mut steps = Vec::with_capacity(raw_steps.len());
        for (index, raw) in raw_steps.into_iter().enumerate() {
            let wrong = |reason: String| CallError::Failed(format!("step {index}: {reason}"));
            let checked = Checked::from_raw(&raw).map_err(wrong)?;
            let (object, grant) = self.shared.permit(&registry, caller, &checked, false).await?;
            let (before, inverse, class) = match &checked.effect {
                Effect::Process => {
                    let touched = !processes_touched.insert(object.clone());
                    let before = if touched { None } else { self.shared.state(&registry, &checked).await? };
                    (before, None, VerbClass::Queryable)
                }
                Effect::Config { key, value } => {
                    let address = (raw.target.clone(), key.clone());
                    let before = match keys_after.get(&address) {
                        Some(after) => after.clone(),
                        None => self.shared.state(&registry, &checked).await?.unwrap_or_default(),
                    };
                    let (target, name, wanted) = (raw.target.clone(), key.clone(), value.clone());
                    let check = move |shared: &Shared| shared.config.check(&target, &name, wanted.as_deref());
                    let after = self.shared.blocking(check).await?;
                    keys_after.insert(address, after);
                    let inverse = set_arguments(key, before.strip_prefix("value="));
                    (Some(before), Some(inverse), VerbClass::Queryable)
                }
                Effect::Http { request, .. } => {
                    let keyed = grant.http.as_ref().is_some_and(|http| http.keyed);
                    let class = if keyed && request.idempotency_key.is_some() {
                        VerbClass::Keyed
                    } else {
                        VerbClass::AtMostOnce
                    };
                    let reversible = grant.http.as_ref().is_some_and(|http| http.reversible);
                    let inverse = match &raw.inverse {
                        Some(given) if reversible => {
                            let back = RawStep { arguments: given.clone(), inverse: None, ..raw.clone() };
                            let back = Checked::from_raw(&back)
                                .map_err(|reason| wrong(format!("its inverse makes no sense: {reason}")))?;
                            self.shared.permit(&registry, caller, &back, true).await?;
                            serde_json::from_str(given).map(|value| canonical(&value)).ok()
                        }
                        _ => None,
                    };
                    (None, inverse, class)
                }
                Effect::Notify { .. } => (None, None, VerbClass::AtMostOnce),
            };
            if let Some(given) = &raw.before
                && before.as_ref() != Some(given)
            {
                let now = before.unwrap_or_else(|| "a state that cannot be asked for".into());
                return Err(CallError::Denied(Denied::StateChanged(escape(&now, 500))));
            }
            if let Some(given) = &raw.inverse {
                let given = serde_json::from_str(given).map(|value| canonical(&value)).unwrap_or_default();
                if inverse.as_ref() != Some(&given) {
                    let is = inverse.unwrap_or_else(|| "none".into());
                    let why = match &checked.effect {
                        Effect::Http { .. } => {
                            "as long as the grant's `http` does not say `reversible = true`"
                        }
                        _ => "as the broker says; leave it out",
                    };
                    return Err(wrong(format!("its inverse is {}, {why}", escape(&is, 300))));
                }
            }
            steps.push(Step {
                call: checked.call,
                objects: vec![object],
                before,
                after: raw.after,
                inverse,
                class,
            });
        }
        Ok(steps)
    }
}

/// The object behind a call that is made for an incident of this tenant.
pub(crate) fn object(registry: &Registry, tenant: &Tenant, call: &Call) -> Result<String, CallError> {
    let id = escape(&call.target.0, 100);
    let target =
        registry.target(&call.target).ok_or_else(|| CallError::NotFound(format!("target `{id}`")))?;
    if target.model.tenant != *tenant {
        let why = format!("# target `{id}` is another tenant's than the incident: no grant allows that\n");
        return Err(CallError::Denied(Denied::NotGranted(why)));
    }
    target.object(&call.capability).ok_or_else(|| {
        CallError::NotFound(format!("`{}` behind target `{id}`", escape(&call.capability, 50)))
    })
}

pub(crate) fn unit<'r>(registry: &'r Registry, target: &TargetId) -> Result<&'r str, CallError> {
    let unit = registry.target(target).and_then(|target| target.unit.as_deref());
    unit.ok_or_else(|| CallError::NotFound(format!("a process behind target `{}`", escape(&target.0, 100))))
}

pub(crate) fn process_error(error: ProcessError) -> CallError {
    match error {
        ProcessError::UnknownUnit(_) => CallError::NotFound(words(&error)),
        ProcessError::Salve { .. } => never(words(&error)),
        _ => CallError::Failed(words(&error)),
    }
}

/// What no grant allows, in words that hold a plugin's own.
pub(crate) fn never(reason: String) -> CallError {
    CallError::Denied(Denied::Never(escape(&reason, 1_000)))
}

pub(crate) fn config_error(error: ConfigError) -> CallError {
    match error {
        ConfigError::KeyNotListed { .. } | ConfigError::NoFile(_) => CallError::NotFound(words(&error)),
        ConfigError::Changed { .. } => CallError::Denied(Denied::StateChanged(words(&error))),
        ConfigError::Forbidden { .. } | ConfigError::SecretValue(_) => never(words(&error)),
        _ => CallError::Failed(words(&error)),
    }
}

/// A value as a state, for previews.
pub(crate) fn config_state(value: Option<&str>) -> String {
    state_words(value)
}
