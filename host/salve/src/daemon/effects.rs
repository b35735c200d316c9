//! Carries out what the core asks for, each effect in a task of its own, and brings the answer back as an event.

use super::{catalogue::Catalogue, clock::Clock, journal::RecordedWrite, signals::SignalsHandle};
use salve_capabilities::{Brokers, Phase, SessionSpec};
use salve_core::{Effect, Event};
use salve_ledger::LedgerHandle;
use salve_model::{
    PluginName, Target, TargetId,
    call::Telemetry,
    incident::{DecisionInput, Findings, IncidentId, IncidentView, Outcome},
    plan::{Plan, Receipt, RunResult, WriteState},
    text::escape,
    time::Now,
};
use salve_plugins::{ActionRequest, PluginHost, Question};
use salve_policy::PolicyStore;
use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};
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
    /// Targets that open incidents concern.
    pub concerned: Arc<std::sync::Mutex<BTreeMap<IncidentId, BTreeSet<TargetId>>>>,
}

/// Most reads and writes of one guest call that reach the brokers; the plugin host has its own, configured limit.
const HOST_CALLS_MAX: u32 = 10_000;

impl Effects {
    /// Starts an effect and returns at once.
    pub fn start(&self, effect: Effect, now: Now) {
        let effects = self.clone();
        match effect {
            Effect::Watch { incident, series, expectations } => self.signals.watch(incident, series, expectations),
            Effect::Diagnose { incident, request, view } => {
                for symptom in &view.symptoms {
                    tracing::info!(incident = %incident, service = %escape(&symptom.series.service, 100),
                        signal = %escape(&symptom.series.name, 100),
                        operation = symptom.series.attributes.get("span.name").map(|name| escape(name, 100)), reason = %escape(&symptom.reason, 300), "Symptom.");
                }
                self.mark_open(&incident, &view.services);
                self.answer(async move {
                    let findings = effects.diagnose(&incident, view).await;
                    Event::Diagnosed { incident, request, findings }
                });
            }
            Effect::Decide { incident, request, input } => self.answer(async move {
                let decision = effects.decide(*input).await;
                Event::Decided { incident, request, decision }
            }),
            Effect::Plan { incident, request, action, target, parameters, started } => self.answer(async move {
                let plan = effects.plan(&incident, &action, &target, &parameters, started, now).await;
                match &plan {
                    Ok(plan) => tracing::info!(incident = %incident, action, target = %target, summary = %escape(&plan.summary, 300), "Planned."),
                    Err(why) => tracing::warn!(incident = %incident, action, target = %target, %why, "No plan."),
                }
                Event::Planned { incident, request, plan }
            }),
            Effect::Execute { incident, request, plan, dry_run, started } => {
                tracing::info!(incident = %incident, action = %plan.action, dry_run, "Executing.");
                self.answer(async move {
                    let spec = effects.spec(&incident, &plan, Phase::Execute, Vec::new(), dry_run);
                    let result = effects.run(&incident, &plan, spec, started, now).await;
                    tracing::info!(incident = %incident, done = result.done, note = %escape(&result.note, 300), "Executed.");
                    Event::Executed { incident, request, result }
                });
            }
            Effect::Undo { incident, request, plan, receipts, started } => {
                tracing::info!(incident = %incident, action = %plan.action, "Undoing.");
                self.answer(async move {
                    let spec = effects.spec(&incident, &plan, Phase::Undo, receipts, false);
                    let result = effects.run(&incident, &plan, spec, started, now).await;
                    tracing::info!(incident = %incident, done = result.done, note = %escape(&result.note, 300), "Undone.");
                    Event::Undone { incident, request, result }
                });
            }
            Effect::Reconcile { incident, request, plan, undo } => self.answer(async move {
                let result = effects.reconcile(&incident, &plan, undo).await;
                tracing::info!(incident = %incident, uncertain = result.uncertain, note = %escape(&result.note, 300), "Reconciled.");
                Event::Reconciled { incident, request, result }
            }),
            Effect::AskApproval { incident, plan, reason } => {
                tracing::warn!(incident = %incident, action = %plan.action, reason = %escape(&reason, 300),
                    "A plan waits for a person: salve incident approve {incident}");
                self.tell(incident, format!("a plan waits for approval: {}", plan.summary));
            }
            Effect::Escalate { incident, reason } => {
                tracing::error!(incident = %incident, reason = %escape(&reason, 500), "Escalated.");
                self.tell(incident, reason);
            }
            Effect::Closed { incident, outcome } => {
                match outcome {
                    Outcome::Healed => tracing::info!(incident = %incident, "Closed: healed."),
                    other => tracing::info!(incident = %incident, outcome = ?other, "Closed."),
                }
                self.mark_closed(&incident);
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
        let targets = self.brokers.targets();
        let mut problems = Vec::new();
        let mut nothing_found = None;
        for plugin in self.catalogue.agents() {
            let question = Question {
                incident: view.clone(),
                targets: targets.clone(),
                catalogue: self.catalogue.actions(&self.brokers),
                now: unix_ns(self.clock.now()),
            };
            let telemetry: Arc<dyn Telemetry> = Arc::new(self.signals.clone());
            match self.host.consult(&plugin, question, telemetry).await {
                Ok(mut findings) => {
                    for hypothesis in &mut findings.hypotheses {
                        hypothesis.targets =
                            services_targets(&targets, std::slice::from_ref(&hypothesis.suspect));
                    }
                    if let Some(first) = findings.hypotheses.first() {
                        self.mark_open(incident, std::slice::from_ref(&first.suspect));
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

    async fn decide(&self, mut input: DecisionInput) -> Result<salve_model::incident::Decision, String> {
        input.catalogue = self.catalogue.actions(&self.brokers);
        let policies = self.policies.clone();
        tokio::task::spawn_blocking(move || {
            policies.current().decide(&input).map_err(|error| error.to_string())
        })
        .await
        .unwrap_or_else(|error| Err(format!("the policy engine stopped: {error}")))
    }

    async fn plan(
        &self,
        incident: &IncidentId,
        action: &str,
        target: &TargetId,
        parameters: &str,
        started: Now,
        now: Now,
    ) -> Result<Plan, String> {
        let plugin = self.catalogue.action(action).ok_or_else(|| {
            format!("there is no action `{action}`; loaded are {}", self.catalogue.action_names().join(", "))
        })?;
        let name = PluginName(plugin.name().to_owned());
        let targets: Vec<Target> =
            self.brokers.targets().into_iter().filter(|known| known.id == *target).collect();
        if targets.is_empty() {
            return Err(format!("there is no target `{target}`"));
        }
        let session = self.brokers.session(SessionSpec {
            plugin: name.clone(),
            incident: incident.clone(),
            phase: Phase::Plan,
            plan: None,
            receipts: Vec::new(),
            dry_run: false,
            host_calls_max: HOST_CALLS_MAX,
        });
        let request = ActionRequest {
            incident: incident.clone(),
            targets: targets.clone(),
            parameters: parameters.to_owned(),
            started: unix_ns(started),
            now: unix_ns(now),
        };
        let telemetry: Arc<dyn Telemetry> = Arc::new(self.signals.clone());
        let raw =
            self.host.plan(&plugin, request, session, telemetry).await.map_err(|error| error.to_string())?;
        let steps = self
            .brokers
            .complete_plan(&name, raw.steps.into_iter().map(raw_step).collect())
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

    fn spec(
        &self,
        incident: &IncidentId,
        plan: &Plan,
        phase: Phase,
        receipts: Vec<Receipt>,
        dry_run: bool,
    ) -> SessionSpec {
        SessionSpec {
            plugin: plan.action.clone(),
            incident: incident.clone(),
            phase,
            plan: Some(plan.clone()),
            receipts,
            dry_run,
            host_calls_max: HOST_CALLS_MAX,
        }
    }

    async fn run(
        &self,
        incident: &IncidentId,
        plan: &Plan,
        spec: SessionSpec,
        started: Now,
        now: Now,
    ) -> RunResult {
        let refused = |note: String| RunResult { done: false, note, receipts: Vec::new(), uncertain: false };
        let Some(plugin) = self.catalogue.action(&plan.action.0) else {
            return refused(format!("the action `{}` is not loaded any more", plan.action));
        };
        if plugin.digest() != plan.action_digest {
            return refused(format!(
                "the action `{}` was replaced by another version after it had planned",
                plan.action
            ));
        }
        let undo = matches!(spec.phase, Phase::Undo);
        let receipts = spec.receipts.clone();
        let targets =
            self.brokers.targets().into_iter().filter(|target| plan.targets.contains(&target.id)).collect();
        let request = ActionRequest {
            incident: incident.clone(),
            targets,
            parameters: plan.parameters.clone(),
            started: unix_ns(started),
            now: unix_ns(now),
        };
        let session = self.brokers.session(spec);
        let telemetry: Arc<dyn Telemetry> = Arc::new(self.signals.clone());
        let outcome = if undo {
            self.host.undo(&plugin, request, plan, &receipts, session.clone(), telemetry).await
        } else {
            self.host.execute(&plugin, request, plan, session.clone(), telemetry).await
        };
        // What was done is the broker's word, whatever the guest says.
        let summary = session.finish().await;
        let (done, note) = match outcome {
            Ok(outcome) => (outcome.done, outcome.note),
            Err(error) => (false, error.to_string()),
        };
        RunResult { done, note, receipts: summary.receipts, uncertain: summary.uncertain }
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

    /// Values of these targets' files do not become good while the incident is open.
    fn mark_open(&self, incident: &IncidentId, services: &[String]) {
        let targets = services_targets(&self.brokers.targets(), services);
        let mut concerned = self.concerned.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        let known = concerned.entry(incident.clone()).or_default();
        let new: Vec<_> = targets.into_iter().filter(|target| known.insert(target.clone())).collect();
        self.brokers.incident_opened(&new);
    }

    fn mark_closed(&self, incident: &IncidentId) {
        let mut concerned = self.concerned.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        let targets: Vec<_> = concerned.remove(incident).into_iter().flatten().collect();
        self.brokers.incident_closed(&targets);
    }

    /// Tells people over the operator's channel. The log and the ledger already have it.
    fn tell(&self, incident: IncidentId, text: String) {
        let channel = self.escalation.read().unwrap_or_else(std::sync::PoisonError::into_inner).clone();
        let Some(channel) = channel else { return };
        let brokers = self.brokers.clone();
        let fields = [("incident".to_owned(), incident.0.clone()), ("summary".to_owned(), text)];
        tokio::spawn(async move {
            if let Err(error) = brokers.announce(&channel, &fields).await {
                tracing::error!(%incident, channel, %error, "Cannot tell people.");
            }
        });
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

/// Ids of the targets that telemetry of these services is about.
pub fn services_targets(targets: &[Target], services: &[String]) -> Vec<TargetId> {
    targets
        .iter()
        .filter(|target| {
            target.attributes.get("service.name").is_some_and(|service| services.contains(service))
        })
        .map(|target| target.id.clone())
        .collect()
}
