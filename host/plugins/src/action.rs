//! Calls of actions: `plan`, `execute`, `undo`.

use crate::{
    bindings::{exports::salve::plugin::act, salve::plugin::types},
    call::{self, Reach},
    capabilities, counters,
    error::{ActionError, GuestErrorKind},
    guest::GuestState,
    host::{ActionExports, Exports, Plugin, PluginHost},
    imports::attributes,
    manifest::Role,
};
use salve_model::{
    Attributes, Target, TargetId, Tenant,
    call::{BoxFuture, Session, Telemetry},
    incident::IncidentId,
    plan::{Expectation, Plan, Receipt},
    text::escape,
};
use std::sync::Arc;
use wasmtime::{
    Store,
    component::{ComponentExportIndex, ComponentNamedList, ComponentType, Instance, Lift, Lower},
};

/// Most steps of a plan.
const STEPS_MAX: usize = 100;
/// Most expectations of a plan.
const EXPECTATIONS_MAX: usize = 20;
/// Most entries of `extra`.
const EXTRA_MAX: usize = 50;
/// Longest sentence.
const SENTENCE_CHARS_MAX: usize = 500;

/// What an action is asked to do.
#[derive(Debug, Clone, PartialEq)]
pub struct ActionRequest {
    /// For which incident.
    pub incident: IncidentId,
    /// Whose incident it is; slots and CPU time are its share.
    pub tenant: Tenant,
    /// What the policy wants acted on.
    pub targets: Vec<Target>,
    /// JSON object; checked against the manifest's schema.
    pub parameters: String,
    /// When the incident's first symptom began, Unix nanoseconds.
    pub started: u64,
    /// Unix nanoseconds; where the guest's clock starts.
    pub now: u64,
}

/// One step as the plugin words it; the brokers check and complete it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RawStep {
    /// For instance `config`; named in the manifest.
    pub capability: String,
    /// For instance `set`; named in the manifest.
    pub verb: String,
    /// On which target.
    pub target: TargetId,
    /// JSON object, as the plugin wrote it.
    pub arguments: String,
    /// What the plugin thinks the state is.
    pub before: Option<String>,
    /// What the state should be afterwards.
    pub after: Option<String>,
    /// Arguments of the same verb that take it back (JSON object).
    pub inverse: Option<String>,
}

/// What an action would do, checked for sense and size, not yet for grants.
#[derive(Debug, Clone, PartialEq)]
pub struct RawProposal {
    /// One sentence, escaped.
    pub summary: String,
    /// In order.
    pub steps: Vec<RawStep>,
    /// What the telemetry must show; bounds are finite. An empty service is the first target's.
    pub expectations: Vec<Expectation>,
    /// The plugin's own.
    pub extra: Attributes,
}

/// What an action says that it did. Nobody takes its word for the heal.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RawOutcome {
    /// It says that it is done.
    pub done: bool,
    /// One sentence, escaped.
    pub note: String,
    /// The plugin's own.
    pub extra: Attributes,
}

impl PluginHost {
    /// Asks an action what it would do. The session must refuse writes.
    ///
    /// # Errors
    /// [`ActionError`].
    pub async fn plan(
        &self,
        plugin: &Arc<Plugin>,
        request: ActionRequest,
        session: Arc<dyn Session>,
        telemetry: Arc<dyn Telemetry>,
    ) -> Result<RawProposal, ActionError> {
        const CALL: &str = "plan";
        let proposal: act::Proposal = self
            .act(plugin, CALL, request, session, telemetry, |store, instance, exports, request| {
                Box::pin(async move {
                    let targets = request.targets();
                    called(store, &instance, &exports.plan, (request.lend(&targets),)).await
                })
            })
            .await?
            .map_err(failure)?;
        check_proposal(plugin, proposal)
    }

    /// Lets an action carry out an approved plan.
    ///
    /// # Errors
    /// [`ActionError`]. What was written stands in the session's records whatever this says.
    pub async fn execute(
        &self,
        plugin: &Arc<Plugin>,
        request: ActionRequest,
        plan: &Plan,
        session: Arc<dyn Session>,
        telemetry: Arc<dyn Telemetry>,
    ) -> Result<RawOutcome, ActionError> {
        const CALL: &str = "execute";
        let plan = approved(plugin, plan)?;
        let outcome: Answer<act::Outcome> = self
            .act(plugin, CALL, request, session, telemetry, move |store, instance, exports, request| {
                Box::pin(async move {
                    let targets = request.targets();
                    called(store, &instance, &exports.execute, (request.lend(&targets), &plan)).await
                })
            })
            .await?;
        outcome.map(check_outcome).map_err(failure)
    }

    /// Lets an action take back what it did. `receipts`: applied writes, oldest first.
    ///
    /// # Errors
    /// As [`PluginHost::execute`].
    pub async fn undo(
        &self,
        plugin: &Arc<Plugin>,
        request: ActionRequest,
        plan: &Plan,
        receipts: &[Receipt],
        session: Arc<dyn Session>,
        telemetry: Arc<dyn Telemetry>,
    ) -> Result<RawOutcome, ActionError> {
        const CALL: &str = "undo";
        let plan = approved(plugin, plan)?;
        let receipts: Vec<_> = receipts.iter().map(capabilities::receipt).collect();
        let outcome: Answer<act::Outcome> = self
            .act(plugin, CALL, request, session, telemetry, move |store, instance, exports, request| {
                Box::pin(async move {
                    let targets = request.targets();
                    let parameters = (request.lend(&targets), &plan, &receipts[..]);
                    called(store, &instance, &exports.undo, parameters).await
                })
            })
            .await?;
        outcome.map(check_outcome).map_err(failure)
    }

    /// Checks role and parameters, and calls a fresh instance.
    async fn act<R, F>(
        &self,
        plugin: &Arc<Plugin>,
        call: &'static str,
        request: ActionRequest,
        session: Arc<dyn Session>,
        telemetry: Arc<dyn Telemetry>,
        run: F,
    ) -> Result<R, ActionError>
    where
        R: Send + 'static,
        F: for<'a> FnOnce(
                &'a mut Store<GuestState>,
                Instance,
                &'a ActionExports,
                OwnedRequest,
            ) -> BoxFuture<'a, wasmtime::Result<R>>
            + Send
            + 'static,
    {
        if plugin.role() != Role::Action {
            return Err(plugin.error(call, GuestErrorKind::Role { role: plugin.role() }).into());
        }
        plugin.check_parameters(&request.parameters).map_err(|kind| plugin.error(call, kind))?;
        let reach = Reach {
            context: request.incident.0.clone(),
            tenant: request.tenant.clone(),
            telemetry,
            session: Some(session),
            now_ns: request.now,
        };
        let request = OwnedRequest::new(request);
        let of_call = plugin.clone();
        let answer = call::fresh(&self.0, plugin, call, reach, move |store, instance| {
            Box::pin(async move {
                match &of_call.exports {
                    Exports::Action(exports) => run(store, instance, exports, request).await,
                    _ => Err(wasmtime::Error::msg("not an action")),
                }
            })
        });
        Ok(answer.await?)
    }
}

/// What an action's function gives.
type Answer<R> = Result<R, act::Failure>;

/// Calls one function of a fresh instance.
async fn called<P, R>(
    store: &mut Store<GuestState>,
    instance: &Instance,
    function: &ComponentExportIndex,
    parameters: P,
) -> wasmtime::Result<Answer<R>>
where
    P: ComponentNamedList + Lower + Send + Sync,
    R: ComponentType + Lift + Send + Sync + 'static,
{
    let function = instance.get_typed_func::<P, (Answer<R>,)>(&mut *store, function)?;
    let (answer,) = function.call_async(store, parameters).await?;
    Ok(answer)
}

/// A request that a guest thread can own.
struct OwnedRequest {
    incident: String,
    targets: Vec<(String, types::Attributes)>,
    parameters: String,
    started: u64,
    now: u64,
}

impl OwnedRequest {
    fn new(request: ActionRequest) -> Self {
        let target = |target: Target| (target.id.0, attributes(&target.attributes));
        Self {
            incident: request.incident.0,
            targets: request.targets.into_iter().map(target).collect(),
            parameters: request.parameters,
            started: request.started,
            now: request.now,
        }
    }

    fn targets(&self) -> Vec<types::Target<'_>> {
        self.targets.iter().map(|(id, attributes)| types::Target { id, attributes }).collect()
    }

    fn lend<'a>(&'a self, targets: &'a [types::Target<'a>]) -> act::Request<'a> {
        act::Request {
            incident: &self.incident,
            targets,
            parameters: &self.parameters,
            started: self.started,
            now: self.now,
        }
    }
}

/// The plugin's own words for why it did not.
fn failure(failure: act::Failure) -> ActionError {
    let sentence = |text: String| escape(&text, SENTENCE_CHARS_MAX);
    match failure {
        act::Failure::NotApplicable(why) => ActionError::NotApplicable(sentence(why)),
        act::Failure::Invalid(why) => ActionError::Invalid(sentence(why)),
        act::Failure::Failed(why) => ActionError::Failed(sentence(why)),
    }
}

fn check_outcome(outcome: act::Outcome) -> RawOutcome {
    RawOutcome {
        done: outcome.done,
        note: escape(&outcome.note, SENTENCE_CHARS_MAX),
        extra: outcome.extra.into_iter().take(EXTRA_MAX).collect(),
    }
}

/// Refuses proposals that no broker could make sense of.
fn check_proposal(plugin: &Plugin, proposal: act::Proposal) -> Result<RawProposal, ActionError> {
    let refuse = |why: String| {
        counters::add(&plugin.identity.counters.refused_values_total, 1);
        Err(ActionError::Invalid(format!(
            "plan of `{}`: {}",
            plugin.name(),
            escape(&why, SENTENCE_CHARS_MAX)
        )))
    };
    if proposal.steps.len() > STEPS_MAX || proposal.expect.len() > EXPECTATIONS_MAX {
        let (steps, expectations) = (proposal.steps.len(), proposal.expect.len());
        return refuse(format!(
            "{steps} steps and {expectations} expectations; the most are {STEPS_MAX} and {EXPECTATIONS_MAX}"
        ));
    }
    for (index, step) in proposal.steps.iter().enumerate() {
        if !plugin.manifest().requests(&step.capability, &step.verb) {
            return refuse(format!(
                "step {index} calls `{}.{}`, which its manifest does not name",
                step.capability, step.verb
            ));
        }
        for (name, json) in [("arguments", Some(&step.arguments)), ("inverse", step.inverse.as_ref())] {
            if let Some(json) = json
                && !serde_json::from_str::<serde_json::Value>(json).is_ok_and(|value| value.is_object())
            {
                return refuse(format!("step {index} has `{name}` that is no JSON object: `{json}`"));
            }
        }
    }
    for expectation in &proposal.expect {
        let bounds = [expectation.lower, expectation.upper];
        if bounds.into_iter().flatten().any(|bound| !bound.is_finite()) {
            return refuse(format!(
                "the expectation on `{}` has a bound that is no number",
                expectation.signal
            ));
        }
    }
    Ok(RawProposal {
        summary: escape(&proposal.summary, SENTENCE_CHARS_MAX),
        steps: proposal
            .steps
            .into_iter()
            .map(|step| RawStep {
                capability: step.capability,
                verb: step.verb,
                target: TargetId(step.target),
                arguments: step.arguments,
                before: step.before,
                after: step.after,
                inverse: step.inverse,
            })
            .collect(),
        expectations: proposal
            .expect
            .into_iter()
            .map(|expectation| Expectation {
                service: expectation.service,
                signal: expectation.signal,
                lower: expectation.lower,
                upper: expectation.upper,
                within_ms: expectation.within_ms,
                hold_ms: expectation.hold_ms,
                samples_min: expectation.samples_min,
            })
            .collect(),
        extra: proposal.extra.into_iter().take(EXTRA_MAX).collect(),
    })
}

/// The approved plan as the guest sees it; only its own version's.
fn approved(plugin: &Plugin, plan: &Plan) -> Result<act::Proposal, ActionError> {
    if plan.action != plugin.manifest().name || plan.action_digest != plugin.digest() {
        return Err(ActionError::OtherVersion {
            planned: format!("{} {}", plan.action, plan.action_digest),
            loaded: format!("{} {}", plugin.name(), plugin.digest()),
        });
    }
    Ok(act::Proposal {
        summary: plan.summary.clone(),
        steps: plan
            .steps
            .iter()
            .map(|step| act::Step {
                capability: step.call.capability.clone(),
                verb: step.call.verb.clone(),
                target: step.call.target.0.clone(),
                arguments: step.call.arguments.clone(),
                before: step.before.clone(),
                after: step.after.clone(),
                inverse: step.inverse.clone(),
            })
            .collect(),
        expect: plan
            .expectations
            .iter()
            .map(|expectation| act::Expectation {
                service: expectation.service.clone(),
                signal: expectation.signal.clone(),
                lower: expectation.lower,
                upper: expectation.upper,
                within_ms: expectation.within_ms,
                hold_ms: expectation.hold_ms,
                samples_min: expectation.samples_min,
            })
            .collect(),
        extra: attributes(&plan.extra),
    })
}
