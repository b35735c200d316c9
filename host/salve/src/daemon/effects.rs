//! Carries out what the core asks for, each effect in a task of its own, and brings the answer back as an event.

use super::{
    catalogue::{Catalogue, Trial},
    clock::Clock,
    journal::RecordedWrite,
    marks::Marks,
    signals::SignalsHandle,
    trials::{self, Answer, Recording, RecordingSession, ReplaySession},
};
use salve_capabilities::{Brokers, Phase, SessionSpec};
use salve_core::{Effect, Event};
use salve_ledger::LedgerHandle;
use salve_model::{
    PluginName, Target, TargetId, Tenant,
    call::Session,
    incident::{DecisionInput, Findings, IncidentId, IncidentView, Outcome},
    plan::{Plan, Receipt, RunResult, WriteState},
    text::escape,
    time::Now,
};
use salve_plugins::{
    ActionError, ActionRequest, GuestError, Plugin, PluginHost, Question, RawProposal, Role,
};
use salve_policy::{PolicyErrors, PolicyStore};
use salve_rollout::Stage;
use std::{sync::Arc, time::Instant};
use tokio::sync::mpsc;

/// Everything that effects need.
#[derive(Clone)]
pub struct Effects {
    /// Telemetry, and what to watch.
    pub signals: SignalsHandle,
    /// Runs guests.
    pub host: PluginHost,
    /// Which plugins there are.
    pub catalogue: Catalogue,
    /// Policies in force.
    pub policies: Arc<PolicyStore>,
    /// Carries out calls.
    pub brokers: Arc<Brokers>,
    /// For what a crash left open.
    pub ledger: LedgerHandle,
    /// Where answers go.
    pub events: mpsc::Sender<Event>,
    /// Receive time.
    pub clock: Clock,
    /// Channel for escalations, if there is one.
    pub escalation: Arc<std::sync::RwLock<Option<String>>>,
    /// Told which targets open incidents concern.
    pub marks: Marks,
}

/// Most reads and writes of one guest call that reach the brokers; the plugin host has its own, configured limit.
const HOST_CALLS_MAX: u32 = 10_000;

impl Effects {
    /// Starts an effect of an incident of this tenant, and returns at once.
    pub fn start(&self, effect: Effect, tenant: Tenant, now: Now) {
        let effects = self.clone();
        match effect {
            Effect::Watch { incident, series, expectations } => {
                self.signals.watch(incident, tenant, series, expectations)
            }
            Effect::Diagnose { incident, request, view } => {
                for symptom in &view.symptoms {
                    tracing::info!(incident = %incident, service = %escape(&symptom.series.service, 100),
                        signal = %escape(&symptom.series.name, 100),
                        operation = symptom.series.attributes.get("span.name").map(|name| escape(name, 100)), reason = %escape(&symptom.reason, 300), "Symptom.");
                }
                let concerned = services_targets(&self.targets_of(&tenant), &view.services);
                self.marks.opened(&incident);
                let marked = self.marks.concerns(&incident, concerned, unix_ns(view.started));
                self.answer(async move {
                    marked.await;
                    let findings = effects.diagnose(&incident, view).await;
                    Event::Diagnosed { incident, request, findings }
                });
            }
            Effect::Decide { incident, request, input } => self.answer(async move {
                let decision = effects.decide(*input).await;
                Event::Decided { incident, request, decision }
            }),
            Effect::Plan { incident, request, action, target, parameters, started } => self.answer(async move {
                let plan = {
                    let asked = Asked { incident: &incident, tenant: &tenant, started, now };
                    effects.plan(asked, &action, &target, &parameters).await
                };
                match &plan {
                    Ok(plan) => tracing::info!(incident = %incident, action, target = %target, summary = %escape(&plan.summary, 300), "Planned."),
                    Err(why) => tracing::warn!(incident = %incident, action, target = %target, %why, "No plan."),
                }
                Event::Planned { incident, request, plan }
            }),
            Effect::Execute { incident, request, plan, dry_run, started } => {
                tracing::info!(incident = %incident, action = %plan.action, dry_run, "Executing.");
                self.answer(async move {
                    let asked = Asked { incident: &incident, tenant: &tenant, started, now };
                    let spec = effects.spec(asked, &plan, Phase::Execute, Vec::new(), dry_run);
                    let result = effects.run(asked, &plan, spec).await;
                    tracing::info!(incident = %incident, done = result.done, note = %escape(&result.note, 300), "Executed.");
                    Event::Executed { incident, request, result }
                });
            }
            Effect::Undo { incident, request, plan, receipts, started } => {
                tracing::info!(incident = %incident, action = %plan.action, "Undoing.");
                self.answer(async move {
                    let asked = Asked { incident: &incident, tenant: &tenant, started, now };
                    let spec = effects.spec(asked, &plan, Phase::Undo, receipts, false);
                    let result = effects.run(asked, &plan, spec).await;
                    tracing::info!(incident = %incident, done = result.done, note = %escape(&result.note, 300), "Undone.");
                    Event::Undone { incident, request, result }
                });
            }
            Effect::Reconcile { incident, request, plan, undo } => self.answer(async move {
                let result = effects.reconcile(&incident, &plan, undo).await;
                tracing::info!(incident = %incident, uncertain = result.uncertain, note = %escape(&result.note, 300), "Reconciled.");
                Event::Reconciled { incident, request, result }
            }),
            Effect::AskApproval { incident, number, plan, reason } => {
                tracing::warn!(incident = %incident, action = %plan.action, reason = %escape(&reason, 300),
                    "A plan waits for a person: salve incident approve {incident} --plan {number}");
                self.tell(incident, tenant, format!("plan {number} waits for approval: {}", plan.summary));
            }
            Effect::Escalate { incident, reason } => {
                tracing::error!(incident = %incident, reason = %escape(&reason, 500), "Escalated.");
                self.tell(incident, tenant, reason);
            }
            Effect::Closed { incident, outcome } => {
                match outcome {
                    Outcome::Healed => tracing::info!(incident = %incident, "Closed: healed."),
                    other => tracing::info!(incident = %incident, outcome = ?other, "Closed."),
                }
                self.marks.closed(&incident);
            }
        }
    }

    fn answer(&self, work: impl Future<Output = Event> + Send + 'static) {
        let events = self.events.clone();
        tokio::spawn(async move {
            // Fails only while the daemon stops; recovery asks again.
            drop(events.send(work.await).await);
        });
    }

    /// Asks the agents in order until one names a cause.
    async fn diagnose(&self, incident: &IncidentId, view: IncidentView) -> Result<Findings, String> {
        let targets = self.targets_of(&view.tenant);
        let mut problems = Vec::new();
        let mut nothing_found = None;
        for plugin in self.catalogue.agents() {
            let question = Question {
                incident: view.clone(),
                targets: targets.clone(),
                catalogue: self.catalogue.actions(&self.brokers, &view.tenant),
                now: unix_ns(self.clock.now()),
            };
            let answer = self.consult(incident, plugin.clone(), question).await;
            self.note_agent(&view, plugin.name(), &answer).await;
            match answer {
                Ok(mut findings) => {
                    for hypothesis in &mut findings.hypotheses {
                        hypothesis.targets =
                            services_targets(&targets, std::slice::from_ref(&hypothesis.suspect));
                    }
                    if let Some(first) = findings.hypotheses.first() {
                        let concerned = services_targets(&targets, std::slice::from_ref(&first.suspect));
                        self.marks.concerns(incident, concerned, unix_ns(view.started)).await;
                        tracing::info!(incident = %incident, agent = %plugin.name(), suspect = %escape(&first.suspect, 100),
                            mechanism = %escape(&first.mechanism, 50), probability = first.probability, "Diagnosed.");
                        return Ok(findings);
                    }
                    nothing_found = Some(findings);
                }
                Err(error) => {
                    tracing::error!(incident = %incident, agent = %plugin.name(), %error, "Agent failed.");
                    problems.push(format!("{}: {error}", plugin.name()));
                }
            }
        }
        match nothing_found {
            Some(findings) => Ok(findings),
            None if problems.is_empty() => Err("no agent is loaded; put one into plugins.directory".into()),
            None => Err(problems.join("; ")),
        }
    }

    /// Asks the version that answers for this incident. A version under trial is asked the same, and its answer compared.
    async fn consult(
        &self,
        incident: &IncidentId,
        active: Arc<Plugin>,
        question: Question,
    ) -> Result<Findings, GuestError> {
        let telemetry = self.signals.telemetry_of(&question.incident.tenant);
        let Some(trial) = self.catalogue.trial(active.name()) else {
            return self.host.consult(&active, question, telemetry).await;
        };
        let ask = |plugin: Arc<Plugin>, question: Question| {
            let (host, telemetry) = (self.host.clone(), telemetry.clone());
            async move {
                let begun = Instant::now();
                let said = host.consult(&plugin, question, telemetry).await;
                let trapped = said.as_ref().is_err_and(|error| trials::counts(&error.kind));
                Answer { said, elapsed: begun.elapsed(), trapped }
            }
        };
        let catalogue = self.catalogue.clone();
        let report = move |active: &Plugin, one: &Answer<_>, trial: &Trial, two: &Answer<_>| {
            let same = trials::same_cause(&one.said, &two.said);
            if let Some(input) = trials::compared(active, one, trial, two, same) {
                catalogue.report(input);
            }
        };
        let is_canary = self
            .catalogue
            .chosen(active.name(), &incident.0)
            .is_some_and(|chosen| chosen.digest() == trial.plugin.digest());
        if is_canary {
            let of_tried = ask(trial.plugin.clone(), question.clone()).await;
            if of_tried.trapped {
                // The canary falls back at once, and this incident goes on with the active version.
                let of_active = ask(active.clone(), question).await;
                report(&active, &of_active, &trial, &of_tried);
                return of_active.said;
            }
            let said = of_tried.said.clone();
            let of_active = ask(active.clone(), question);
            tokio::spawn(async move { report(&active, &of_active.await, &trial, &of_tried) });
            return said;
        }
        let of_active = ask(active.clone(), question.clone()).await;
        let said = of_active.said.clone();
        let of_tried = ask(trial.plugin.clone(), question);
        tokio::spawn(async move { report(&active, &of_active, &trial, &of_tried.await) });
        said
    }

    async fn decide(&self, mut input: DecisionInput) -> Result<salve_model::incident::Decision, String> {
        input.catalogue = self.catalogue.actions(&self.brokers, &input.incident.tenant);
        let policies = self.policies.clone();
        tokio::task::spawn_blocking(move || {
            policies.current().decide(&input).map_err(|PolicyErrors(errors)| {
                errors.iter().map(ToString::to_string).collect::<Vec<_>>().join("; ")
            })
        })
        .await
        .unwrap_or_else(|error| Err(format!("the policy engine stopped: {error}")))
    }

    async fn plan(
        &self,
        asked: Asked<'_>,
        action: &str,
        target: &TargetId,
        parameters: &str,
    ) -> Result<Plan, String> {
        let active =
            self.catalogue.plugin(action).filter(|plugin| plugin.role() == Role::Action).ok_or_else(
                || {
                    format!(
                        "there is no action `{action}`; loaded are {}",
                        self.catalogue.action_names().join(", ")
                    )
                },
            )?;
        let mut plugin = self.catalogue.chosen(action, &target.0).unwrap_or_else(|| active.clone());
        let name = PluginName(plugin.name().to_owned());
        let mut targets = self.targets_of(asked.tenant);
        targets.retain(|known| known.id == *target);
        if targets.is_empty() {
            return Err(format!("the tenant `{}` has no target `{target}`", asked.tenant));
        }
        let request = asked.request(targets.clone(), parameters);
        let (mut answer, recording) = self.plan_recorded(&plugin, request.clone()).await;
        if let Some(trial) = self.catalogue.trial(action) {
            let is_canary = plugin.digest() == trial.plugin.digest();
            if is_canary && answer.trapped {
                // The canary falls back at once, and this incident goes on with the active version.
                let (of_active, _) = self.plan_recorded(&active, request).await;
                self.compare_plans(&active, &of_active, &trial, &answer);
                (plugin, answer) = (active, of_active);
            } else {
                let other = if is_canary { active.clone() } else { trial.plugin.clone() };
                let (effects, plugin, said) = (self.clone(), plugin.clone(), answer.said.clone());
                let own = Answer { said, elapsed: answer.elapsed, trapped: answer.trapped };
                tokio::spawn(async move {
                    let of_other = effects.plan_in(&other, request, ReplaySession::new(recording)).await;
                    if is_canary {
                        effects.compare_plans(&other, &of_other, &trial, &own);
                    } else {
                        effects.compare_plans(&plugin, &own, &trial, &of_other);
                    }
                });
            }
        }
        let raw = answer.said.map_err(|error| error.to_string())?;
        let steps = self
            .brokers
            .complete_plan(
                &name,
                asked.tenant,
                plugin.reads_telemetry(),
                raw.steps.into_iter().map(raw_step).collect(),
            )
            .await
            .map_err(|error| error.to_string())?;
        let service = targets
            .first()
            .and_then(|target| target.attributes.get("service.name"))
            .cloned()
            .unwrap_or_default();
        let expectations = raw
            .expectations
            .into_iter()
            .map(|mut expectation| {
                if expectation.service.is_empty() {
                    expectation.service.clone_from(&service);
                }
                expectation
            })
            .collect();
        Ok(Plan {
            action: name,
            action_digest: plugin.digest().to_owned(),
            targets: targets.into_iter().map(|target| target.id).collect(),
            parameters: parameters.to_owned(),
            summary: raw.summary,
            steps,
            expectations,
            extra: raw.extra,
        })
    }

    /// Lets a version plan with the brokers' answers. They are recorded if another version may be asked the same.
    async fn plan_recorded(
        &self,
        plugin: &Arc<Plugin>,
        request: ActionRequest,
    ) -> (Answer<Result<RawProposal, ActionError>>, Recording) {
        let session = self.brokers.session(SessionSpec {
            plugin: PluginName(plugin.name().to_owned()),
            reads_telemetry: plugin.reads_telemetry(),
            incident: request.incident.clone(),
            tenant: request.tenant.clone(),
            phase: Phase::Plan,
            plan: None,
            receipts: Vec::new(),
            dry_run: false,
            host_calls_max: HOST_CALLS_MAX,
        });
        if self.catalogue.trial(plugin.name()).is_none() {
            return (self.plan_in(plugin, request, session).await, Recording::default());
        }
        let session = RecordingSession::new(session);
        let answer = self.plan_in(plugin, request, session.clone()).await;
        (answer, session.recording())
    }

    async fn plan_in(
        &self,
        plugin: &Arc<Plugin>,
        request: ActionRequest,
        session: Arc<dyn Session>,
    ) -> Answer<Result<RawProposal, ActionError>> {
        let begun = Instant::now();
        let telemetry = self.signals.telemetry_of(&request.tenant);
        let said = self.host.plan(plugin, request, session, telemetry).await;
        let trapped = trials::is_trap(&said);
        Answer { said, elapsed: begun.elapsed(), trapped }
    }

    fn compare_plans(
        &self,
        active: &Plugin,
        of_active: &Answer<Result<RawProposal, ActionError>>,
        trial: &Trial,
        of_tried: &Answer<Result<RawProposal, ActionError>>,
    ) {
        let same = trials::same_plan(&of_active.said, &of_tried.said);
        if let Some(input) = trials::compared(active, of_active, trial, of_tried, same) {
            self.catalogue.report(input);
        }
    }

    /// The version that planned: it carries out and takes back, whichever answers by now.
    fn planner(&self, plan: &Plan) -> Option<Arc<Plugin>> {
        self.catalogue.version(&plan.action.0, &plan.action_digest)
    }

    fn spec(
        &self,
        asked: Asked<'_>,
        plan: &Plan,
        phase: Phase,
        receipts: Vec<Receipt>,
        dry_run: bool,
    ) -> SessionSpec {
        SessionSpec {
            plugin: plan.action.clone(),
            reads_telemetry: self.planner(plan).is_none_or(|plugin| plugin.reads_telemetry()),
            incident: asked.incident.clone(),
            tenant: asked.tenant.clone(),
            phase,
            plan: Some(plan.clone()),
            receipts,
            dry_run,
            host_calls_max: HOST_CALLS_MAX,
        }
    }

    async fn run(&self, asked: Asked<'_>, plan: &Plan, spec: SessionSpec) -> RunResult {
        let refused = |note: String| RunResult { done: false, note, receipts: Vec::new(), uncertain: false };
        let Some(plugin) = self.planner(plan) else {
            return refused(format!(
                "the action `{}` is not loaded any more in the version that made the plan",
                plan.action
            ));
        };
        let undo = matches!(spec.phase, Phase::Undo);
        let receipts = spec.receipts.clone();
        let mut targets = self.targets_of(asked.tenant);
        targets.retain(|target| plan.targets.contains(&target.id));
        let request = asked.request(targets, &plan.parameters);
        let trial = self.catalogue.trial(&plan.action.0);
        let canary = trial.clone().filter(|trial| trial.plugin.digest() == plan.action_digest);
        let trial = trial.filter(|trial| !undo && canary.is_none() && trial.stage == Stage::Shadow);
        let session = self.brokers.session(spec);
        let recorder = trial.is_some().then(|| RecordingSession::new(session.clone()));
        let for_guest: Arc<dyn Session> = match &recorder {
            Some(recorder) => recorder.clone(),
            None => session.clone(),
        };
        let telemetry = self.signals.telemetry_of(asked.tenant);
        let begun = Instant::now();
        let outcome = if undo {
            self.host.undo(&plugin, request.clone(), plan, &receipts, for_guest, telemetry).await
        } else {
            self.host.execute(&plugin, request.clone(), plan, for_guest, telemetry).await
        };
        // What was done is the broker's word, whatever the guest says.
        let summary = session.finish().await;
        if let Some(canary) = canary.filter(|_| trials::is_trap(&outcome)) {
            self.catalogue.report(trials::trapped(&canary));
        }
        if let (Some(trial), Some(recorder)) = (trial, recorder) {
            let said = outcome.as_ref().is_ok_and(|outcome| outcome.done);
            let own = Answer { said, elapsed: begun.elapsed(), trapped: trials::is_trap(&outcome) };
            self.try_execute(plugin, own, trial, request, plan.clone(), recorder.recording());
        }
        let (done, note) = match outcome {
            Ok(outcome) => (outcome.done, outcome.note),
            Err(error) => (false, error.to_string()),
        };
        RunResult { done, note, receipts: summary.receipts, uncertain: summary.uncertain }
    }

    /// Lets a version under trial carry out the same plan on the active one's recording.
    fn try_execute(
        &self,
        active: Arc<Plugin>,
        own: Answer<bool>,
        trial: Trial,
        request: ActionRequest,
        plan: Plan,
        recording: Recording,
    ) {
        let effects = self.clone();
        let plan = Plan { action_digest: trial.plugin.digest().to_owned(), ..plan };
        tokio::spawn(async move {
            let begun = Instant::now();
            let session = ReplaySession::new(recording);
            let telemetry = effects.signals.telemetry_of(&request.tenant);
            let outcome = effects.host.execute(&trial.plugin, request, &plan, session, telemetry).await;
            let said = outcome.as_ref().is_ok_and(|outcome| outcome.done);
            let of_tried = Answer { said, elapsed: begun.elapsed(), trapped: trials::is_trap(&outcome) };
            let same = own.said == of_tried.said;
            if let Some(input) = trials::compared(&active, &own, &trial, &of_tried, same) {
                effects.catalogue.report(input);
            }
        });
    }

    async fn reconcile(&self, incident: &IncidentId, plan: &Plan, undo: bool) -> RunResult {
        match super::journal::writes_of(&self.ledger, incident, plan, undo) {
            Ok(writes) => self.reconcile_writes(plan, undo, writes).await,
            Err(error) => RunResult {
                done: false,
                note: format!("cannot read the ledger to reconcile: {error}"),
                receipts: Vec::new(),
                uncertain: true,
            },
        }
    }

    /// Asks what is true of writes without a result, and adds those whose result was recorded.
    async fn reconcile_writes(&self, plan: &Plan, undo: bool, writes: Vec<RecordedWrite>) -> RunResult {
        let (settled, open): (Vec<_>, Vec<_>) =
            writes.into_iter().partition(|(_, _, outcome)| outcome.is_some());
        let open = open.into_iter().map(|(id, intent, _)| (intent, id)).collect();
        let mut result = self.brokers.reconcile(plan, undo, open).await;
        let outcomes: Vec<_> = settled.into_iter().filter_map(|(_, _, outcome)| outcome).collect();
        result.uncertain |= outcomes.iter().any(|outcome| outcome.state == WriteState::Unknown);
        result.receipts.splice(0..0, outcomes.into_iter().filter_map(|outcome| outcome.receipt));
        result
    }

    /// What this tenant's incidents may act on.
    fn targets_of(&self, tenant: &Tenant) -> Vec<Target> {
        let mut targets = self.brokers.targets();
        targets.retain(|target| target.tenant == *tenant);
        targets
    }

    /// Tells people over the operator's channel. The log and the ledger already have it.
    fn tell(&self, incident: IncidentId, tenant: Tenant, text: String) {
        let channel = self.escalation.read().unwrap_or_else(std::sync::PoisonError::into_inner).clone();
        let Some(channel) = channel else { return };
        let brokers = self.brokers.clone();
        let fields = [
            ("incident".to_owned(), incident.0.clone()),
            ("tenant".to_owned(), tenant.0),
            ("summary".to_owned(), text),
        ];
        tokio::spawn(async move {
            if let Err(error) = brokers.announce(&channel, &fields).await {
                tracing::error!(%incident, channel, %error, "Cannot tell people.");
            }
        });
    }
}

/// For whom an action is asked.
#[derive(Clone, Copy)]
struct Asked<'a> {
    incident: &'a IncidentId,
    tenant: &'a Tenant,
    /// When the incident began.
    started: Now,
    now: Now,
}

impl Asked<'_> {
    fn request(&self, targets: Vec<Target>, parameters: &str) -> ActionRequest {
        ActionRequest {
            incident: self.incident.clone(),
            tenant: self.tenant.clone(),
            targets,
            parameters: parameters.to_owned(),
            started: unix_ns(self.started),
            now: unix_ns(self.now),
        }
    }
}

/// The contract counts in nanoseconds.
fn unix_ns(now: Now) -> u64 {
    now.0.saturating_mul(1_000_000)
}

/// What the guest proposed, handed to the broker that completes it.
fn raw_step(step: salve_plugins::RawStep) -> salve_capabilities::RawStep {
    salve_capabilities::RawStep {
        capability: step.capability,
        verb: step.verb,
        target: step.target,
        arguments: step.arguments,
        before: step.before,
        after: step.after,
        inverse: step.inverse,
    }
}

/// Ids of those targets that telemetry of these services is about; services and targets are of one tenant.
pub fn services_targets(targets: &[Target], services: &[String]) -> Vec<TargetId> {
    targets
        .iter()
        .filter(|target| {
            target.attributes.get("service.name").is_some_and(|service| services.contains(service))
        })
        .map(|target| target.id.clone())
        .collect()
}
