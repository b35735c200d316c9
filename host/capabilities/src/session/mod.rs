//! One guest call's way to the world: every check, in one order, before every write.

mod run;

use crate::{
    Intent, Refusal,
    brokers::{Shared, words},
    grants::{self, Ask},
    http::request,
    locks::Held,
    planning::{
        Caller, Checked, Effect, canonical, config_state, http_arguments, http_must_be_bounded, never,
        object, process_error, unit,
    },
    registry::Registry,
};
use run::{Run, http_error, part};
use salve_model::{
    PluginName, TargetId, Tenant,
    call::{BoxFuture, CallError, Denied, Read, ReadAnswer, Session, Write, WriteAnswer},
    incident::IncidentId,
    plan::{Call, Plan, Receipt, VerbClass},
    text::escape,
};
use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
};
use tokio::sync::Mutex;

/// Most characters that are recorded of a refused call's arguments.
const REFUSED_CHARS_MAX: usize = 4_000;

/// Which guest function a session serves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Phase {
    /// `plan`: reads only.
    Plan,
    /// `execute`: what the plan licenses.
    Execute,
    /// `undo`: the inverses that the plan states for applied receipts.
    Undo,
}

/// What a session is for.
#[derive(Debug, Clone)]
pub struct SessionSpec {
    /// Who calls.
    pub plugin: PluginName,
    /// It can read telemetry; what it sends could contain it.
    pub reads_telemetry: bool,
    /// For which incident.
    pub incident: IncidentId,
    /// Whose incident it is: no other tenant's target is reached, and no other tenant's grant helps.
    pub tenant: Tenant,
    /// Which guest function.
    pub phase: Phase,
    /// The approved plan; none while planning.
    pub plan: Option<Plan>,
    /// For `undo`: what was applied, oldest first.
    pub receipts: Vec<Receipt>,
    /// Check and record everything, write nothing.
    pub dry_run: bool,
    /// Most calls, reads and refused ones included.
    pub host_calls_max: u32,
}

/// What a session did.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct RunSummary {
    /// Writes that were answered, oldest first: applied, refused by the system behind the target, or in a dry-run checked.
    pub receipts: Vec<Receipt>,
    /// A write of which nobody can tell whether it happened.
    pub uncertain: bool,
}

/// The host's side of one guest call. Objects that it touches are in its incident's hands until
/// [`ActionSession::finish`] or until it is dropped.
pub struct ActionSession {
    shared: Arc<Shared>,
    spec: Arc<SessionSpec>,
    state: Arc<Mutex<State>>,
    calls: AtomicU32,
}

#[derive(Default)]
struct State {
    summary: RunSummary,
    /// Steps that were tried, in `execute`.
    steps_used: usize,
    /// Receipts (by index) whose inverse was tried, in `undo`.
    receipts_used: BTreeSet<usize>,
    held: Option<Held>,
    /// Nothing more is written.
    finished: bool,
    /// Newest state of each object that this session changed, as its receipt states it.
    after: BTreeMap<(String, Option<String>), Option<String>>,
    /// In a dry-run: what keys would be.
    preview_keys: BTreeMap<(TargetId, String), Option<String>>,
    /// In a dry-run: whether processes would run.
    preview_runs: BTreeMap<TargetId, bool>,
}

/// What licenses a write.
struct License {
    step: u32,
    objects: Vec<String>,
    /// None: whatever an earlier step left.
    before: Option<String>,
    class: VerbClass,
    use_up: UseUp,
}

enum UseUp {
    Step,
    Receipt(usize),
}

impl ActionSession {
    pub(crate) fn new(shared: Arc<Shared>, spec: SessionSpec) -> Self {
        Self { shared, spec: Arc::new(spec), state: Arc::default(), calls: AtomicU32::new(0) }
    }

    /// Ends the session: waits for a write under way, frees the objects, and says what was done.
    pub async fn finish(&self) -> RunSummary {
        let mut state = self.state.lock().await;
        state.held = None;
        state.finished = true;
        // Nothing more, whatever the guest's thread still does.
        self.calls.store(u32::MAX, Ordering::Relaxed);
        std::mem::take(&mut state.summary)
    }

    fn count_call(&self) -> Result<(), CallError> {
        let max = self.spec.host_calls_max;
        let counted = self.calls.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |calls| {
            (calls < max).then(|| calls.saturating_add(1))
        });
        counted.map(drop).map_err(|_| CallError::Denied(Denied::Limit(format!("{max} host calls"))))
    }

    async fn refuse(&self, call: Call, error: CallError) -> CallError {
        if let CallError::Denied(denied) = &error {
            tracing::info!(incident = %self.spec.incident, plugin = %self.spec.plugin, %error, "a call was refused");
            let refusal = Refusal {
                incident: self.spec.incident.clone(),
                tenant: self.spec.tenant.clone(),
                plugin: self.spec.plugin.clone(),
                call: short(call),
                denied: denied.clone(),
            };
            if let Err(error) = self.shared.journal.refused(refusal).await {
                tracing::error!(error = words(&error), "a refusal could not be recorded");
            }
        }
        error
    }

    async fn read_checked(&self, read: &Read) -> Result<ReadAnswer, CallError> {
        self.count_call()?;
        let registry = self.shared.registry();
        let target = read.address().2.clone();
        object(&registry, &self.spec.tenant, &read_call(read))?;
        self.permit_read(&registry, read)?;
        let state = self.state.lock().await;
        match read {
            Read::ProcessStatus { .. } => {
                let unit = unit(&registry, &target)?;
                let mut status = self.shared.supervisor.status(unit).map_err(process_error)?;
                match state.preview_runs.get(&target) {
                    Some(true) => status.state = "running".into(),
                    Some(false) => {
                        status = salve_model::call::ProcessStatus { state: "exited".into(), ..status }
                    }
                    None => {}
                }
                Ok(ReadAnswer::ProcessStatus(status))
            }
            Read::ConfigGet { key, .. } => {
                if let Some(value) = state.preview_keys.get(&(target.clone(), key.clone())) {
                    return Ok(ReadAnswer::ConfigValue(value.clone()));
                }
                let key = key.clone();
                let value = self.shared.blocking(move |shared| shared.config.get(&target, &key)).await?;
                Ok(ReadAnswer::ConfigValue(value))
            }
            Read::ConfigHistory { key, .. } => {
                let key = key.clone();
                let versions =
                    self.shared.blocking(move |shared| shared.config.history(&target, &key)).await?;
                Ok(ReadAnswer::ConfigVersions(versions))
            }
            Read::ConfigKeys { .. } => {
                let of = target.clone();
                let mut keys = self.shared.blocking(move |shared| shared.config.keys(&of)).await?;
                keys.retain(|(key, _)| {
                    let read = Read::ConfigGet { target: target.clone(), key: key.clone() };
                    self.permit_read(&registry, &read).is_ok()
                });
                for (key, value) in &mut keys {
                    if let Some(preview) = state.preview_keys.get(&(target.clone(), key.clone())) {
                        value.clone_from(preview);
                    }
                }
                Ok(ReadAnswer::ConfigKeys(keys))
            }
            Read::HttpGet(request) => {
                let secret = self.permit_read(&registry, read)?;
                self.shared
                    .send_request(&registry, request, secret)
                    .await
                    .map(ReadAnswer::Http)
                    .map_err(http_error)
            }
        }
    }

    /// Checks a read against the grants; gives the secret that the grant adds to an HTTP call.
    fn permit_read(&self, registry: &Registry, read: &Read) -> Result<Option<String>, CallError> {
        let (capability, verb, target) = read.address();
        let mut ask = Ask {
            plugin: &self.spec.plugin,
            tenant: &self.spec.tenant,
            capability,
            verb,
            target,
            arguments: grants::Arguments::new(),
            must_be_bounded: Vec::new(),
            http: None,
            needs_safe_read: false,
            is_undo: false,
            reads_telemetry: self.spec.reads_telemetry,
        };
        match read {
            Read::ProcessStatus { .. } | Read::ConfigKeys { .. } => {}
            Read::ConfigGet { key, .. } | Read::ConfigHistory { key, .. } => {
                ask.arguments.insert("key".into(), Some(key.clone()));
            }
            Read::HttpGet(request) => {
                request::check(request, true, registry.config.http_body_max_bytes).map_err(never)?;
                ask.arguments = http_arguments(request);
                ask.must_be_bounded = http_must_be_bounded(request);
                ask.http = Some(request);
                // Some servers act on a GET.
                ask.needs_safe_read = self.spec.phase == Phase::Plan || self.spec.dry_run;
            }
        }
        let grant = grants::check(&registry.config.grants, &ask)
            .map_err(|toml| CallError::Denied(Denied::NotGranted(toml)))?;
        Ok(grant.http.as_ref().and_then(|http| http.secret.clone()))
    }

    async fn write_checked(&self, write: &Write, checked: Checked) -> Result<WriteAnswer, CallError> {
        self.count_call()?;
        let denied = |denied| Err(CallError::Denied(denied));
        if self.spec.phase == Phase::Plan {
            return denied(Denied::NotInPlan("while planning nothing is written".into()));
        }
        if self.shared.paused().is_some() {
            return denied(Denied::KillSwitch);
        }
        let registry = self.shared.registry();
        let is_undo = self.spec.phase == Phase::Undo;
        let caller = Caller {
            plugin: &self.spec.plugin,
            tenant: &self.spec.tenant,
            reads_telemetry: self.spec.reads_telemetry,
        };
        let (object, grant) = self.shared.permit(&registry, caller, &checked, is_undo).await?;
        let mut state = Arc::clone(&self.state).lock_owned().await;
        if state.finished {
            return denied(Denied::Limit("the run has ended".into()));
        }
        let license = self.license(&state, &checked.call)?;
        if license.objects != [object.clone()] {
            return denied(Denied::StateChanged(format!(
                "target `{}` now stands for `{object}`",
                checked.call.target
            )));
        }
        self.take_objects(&mut state)?;
        let before = self.check_state(&registry, &state, &checked, &object, &license).await?;
        if let Effect::Config { key, value } = &checked.effect {
            let (target, key, value) = (checked.call.target.clone(), key.clone(), value.clone());
            self.shared.blocking(move |shared| shared.config.check(&target, &key, value.as_deref())).await?;
        }
        match license.use_up {
            UseUp::Step => state.steps_used += 1,
            UseUp::Receipt(index) => {
                state.receipts_used.insert(index);
            }
        }
        let intent = Intent {
            incident: self.spec.incident.clone(),
            tenant: self.spec.tenant.clone(),
            plugin: self.spec.plugin.clone(),
            step: license.step,
            undo: is_undo,
            dry_run: self.spec.dry_run,
            call: checked.call.clone(),
            objects: license.objects,
            before,
            class: license.class,
        };
        let secret = grant.http.as_ref().and_then(|http| http.secret.clone());
        let keyed = grant.http.as_ref().is_some_and(|http| http.keyed);
        let body = match write {
            Write::HttpSend(request) => Some((request.clone(), keyed)),
            _ => None,
        };
        let run = Run {
            shared: Arc::clone(&self.shared),
            registry: Arc::clone(&registry),
            state,
            intent,
            checked,
            object,
            secret,
            body,
        };
        // A task of its own: a guest whose time is up, or a host that lets go of this future, cannot cut a write in two.
        match tokio::spawn(run.carry_out()).await {
            Ok(result) => result,
            Err(error) => Err(CallError::Failed(format!("the write broke off: {error}"))),
        }
    }

    /// Finds what licenses a call.
    fn license(&self, state: &State, call: &Call) -> Result<License, CallError> {
        let not_in_plan = |closest: String| CallError::Denied(Denied::NotInPlan(escape(&closest, 500)));
        let plan = self.spec.plan.as_ref().ok_or_else(|| not_in_plan("there is no approved plan".into()))?;
        if plan.action != self.spec.plugin {
            return Err(not_in_plan(format!("the plan is `{}`'s", plan.action)));
        }
        if self.spec.phase == Phase::Execute {
            let index = state.steps_used;
            let step =
                plan.steps.get(index).ok_or_else(|| not_in_plan("all its steps have been made".into()))?;
            if step.call != *call {
                return Err(not_in_plan(format!("its next step is {index}: {}", call_words(&step.call))));
            }
            return Ok(License {
                step: u32::try_from(index).unwrap_or(u32::MAX),
                objects: step.objects.clone(),
                before: step.before.clone(),
                class: step.class,
                use_up: UseUp::Step,
            });
        }
        for (index, receipt) in self.spec.receipts.iter().enumerate().rev() {
            if !receipt.applied || state.receipts_used.contains(&index) {
                continue;
            }
            let step = usize::try_from(receipt.step).ok().and_then(|step| plan.steps.get(step));
            let Some((step, inverse)) = step.and_then(|step| Some((step, step.inverse.as_ref()?))) else {
                continue;
            };
            let inverse = Call { arguments: canonical_text(inverse), ..step.call.clone() };
            if inverse != *call {
                return Err(not_in_plan(format!(
                    "the next to take back is step {}: {}",
                    receipt.step,
                    call_words(&inverse)
                )));
            }
            return Ok(License {
                step: receipt.step,
                objects: step.objects.clone(),
                before: receipt.after.clone(),
                class: step.class,
                use_up: UseUp::Receipt(index),
            });
        }
        Err(not_in_plan("nothing that was applied is left to take back".into()))
    }

    /// Takes all objects of the plan in hand, once.
    fn take_objects(&self, state: &mut State) -> Result<(), CallError> {
        if state.held.is_some() || self.spec.dry_run {
            return Ok(());
        }
        let steps = self.spec.plan.iter().flat_map(|plan| &plan.steps);
        let objects: BTreeSet<String> = steps.flat_map(|step| step.objects.iter().cloned()).collect();
        let held = self.shared.locks.take(objects.into_iter().collect(), &self.spec.incident);
        state.held = Some(held.map_err(|(object, holder)| {
            CallError::Denied(Denied::Limit(format!(
                "one action at a time: `{object}` is in the hands of {holder}"
            )))
        })?);
        Ok(())
    }

    /// The state now, if it is what the license asks for.
    async fn check_state(
        &self,
        registry: &Registry,
        state: &State,
        checked: &Checked,
        object: &str,
        license: &License,
    ) -> Result<Option<String>, CallError> {
        let key = part(checked);
        let now = match (&checked.effect, self.spec.dry_run) {
            (Effect::Config { key, .. }, true) => {
                match state.preview_keys.get(&(checked.call.target.clone(), key.clone())) {
                    Some(value) => Some(config_state(value.as_deref())),
                    None => self.shared.state(registry, checked).await?,
                }
            }
            (Effect::Process, true) if state.preview_runs.contains_key(&checked.call.target) => None,
            _ => self.shared.state(registry, checked).await?,
        };
        let expected = match &license.before {
            Some(before) => Some(before),
            // The plan could not say; then it is what this session's own earlier write left.
            None => state.after.get(&(object.to_owned(), key)).and_then(Option::as_ref),
        };
        match (&now, expected) {
            (Some(now), Some(expected)) if now != expected => {
                Err(CallError::Denied(Denied::StateChanged(escape(now, 500))))
            }
            (Some(now), None) => Err(CallError::Denied(Denied::StateChanged(escape(now, 500)))),
            _ => Ok(now),
        }
    }
}

fn canonical_text(arguments: &str) -> String {
    serde_json::from_str(arguments).map_or_else(|_| arguments.to_owned(), |value| canonical(&value))
}

fn call_words(call: &Call) -> String {
    format!("{}.{} on `{}` with {}", call.capability, call.verb, call.target, call.arguments)
}

/// A refused call as it is recorded: what a plugin wrote is bounded, and can be printed.
fn short(call: Call) -> Call {
    Call {
        target: TargetId(escape(&call.target.0, 200)),
        arguments: escape(&call.arguments, REFUSED_CHARS_MAX),
        ..call
    }
}

fn read_call(read: &Read) -> Call {
    let (capability, verb, target) = read.address();
    let arguments = match read {
        Read::ProcessStatus { .. } | Read::ConfigKeys { .. } => "{}".to_owned(),
        Read::ConfigGet { key, .. } | Read::ConfigHistory { key, .. } => {
            canonical(&serde_json::json!({ "key": key }))
        }
        Read::HttpGet(request) => canonical(&serde_json::json!({
            "method": request.method, "path": request.path, "query": request.query, "headers": request.headers,
        })),
    };
    Call { capability: capability.into(), verb: verb.into(), target: target.clone(), arguments }
}

impl Session for ActionSession {
    fn read(&self, read: Read) -> BoxFuture<'_, Result<ReadAnswer, CallError>> {
        Box::pin(async move {
            match self.read_checked(&read).await {
                Ok(answer) => Ok(answer),
                Err(error) => Err(self.refuse(read_call(&read), error).await),
            }
        })
    }

    fn write(&self, write: Write) -> BoxFuture<'_, Result<WriteAnswer, CallError>> {
        Box::pin(async move {
            let checked = Checked::from_write(&write);
            let call = checked.call.clone();
            match self.write_checked(&write, checked).await {
                Ok(answer) => Ok(answer),
                Err(error) => Err(self.refuse(call, error).await),
            }
        })
    }
}
