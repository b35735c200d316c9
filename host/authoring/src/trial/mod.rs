//! One call of a plugin, tried out: asked by a file, answered by a world on paper, by a recording, or by real brokers.
//!
//! ## What always holds
//! - a trial is a dry-run unless it is told otherwise; on paper and in replay nothing real can happen at all
//! - on paper and in replay the plugin's clock is virtual, so that equal input gives equal calls
//! - the plugin runs under the limits and checks of the real host

mod bodies;
mod call;
mod calls;
mod error;
mod observe;
mod outcome;
mod paper;
mod recording;
mod replay;
mod request;
mod watched;
mod world;

pub use call::Call;
pub use error::TrialError;
pub use recording::{Answer, HostCall, Recording, Stamp};
pub use request::{CatalogueView, Incident, Observe, PlanView, Request, StepView, SymptomView, TargetView};
pub use watched::{Unwatched, Watch};
pub use world::{During, HttpAnswer, World, WorldSeries};

use calls::Ask;
use paper::{License, Paper, SharedWorld};
use replay::Replay;
use salve_capabilities::{ActionSession, Brokers, Phase, RawStep, SessionSpec};
use salve_model::{
    PluginName, TargetId, Tenant,
    call::{Session, Telemetry},
    incident::IncidentId,
    plan::{Plan, Receipt},
};
use salve_plugins::{HostConfig, LogSink, Plugin, PluginHost};
use serde::Serialize;
use serde_json::Value;
use std::{
    path::{Path, PathBuf},
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};
use watched::{Noted, Watched};

/// Most calls of one trial that reach real brokers; the plugin's own limit comes before.
const HOST_CALLS_MAX: u32 = 10_000;

/// Who answers the plugin's calls.
pub enum Answers {
    /// The request's world.
    Paper,
    /// A recording.
    Replay(Vec<HostCall>),
    /// Real brokers; telemetry comes from the request's world.
    Real(Arc<Brokers>),
}

/// A component, loaded for trials.
pub struct Trial {
    host: PluginHost,
    plugin: Arc<Plugin>,
}

/// How a trial went.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Ran {
    /// What the plugin answered; `outcome` says in one word how it went.
    pub result: Value,
    /// It answered with what it was asked for.
    #[serde(skip)]
    pub good: bool,
    /// The request, with the plan and receipts that were used.
    #[serde(skip)]
    pub request: Request,
    /// Calls to the host during the call that was asked for, if they were noted.
    pub host_calls: Vec<HostCall>,
    /// Calls to the host during the calls that had to be made first: `plan`, and for `undo` also `execute`.
    #[serde(skip)]
    pub earlier_calls: Vec<HostCall>,
    /// Time of the call that was asked for, as its caller sees it.
    #[serde(skip)]
    pub elapsed: Duration,
}

/// What a trial may do, and who looks on.
pub struct Conditions {
    /// Who answers.
    pub answers: Answers,
    /// Writes take effect; else they are checked and answered, and nothing is written.
    pub apply: bool,
    /// Who looks on.
    pub watch: Arc<dyn Watch>,
}

impl std::fmt::Debug for Trial {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Trial").field("plugin", &self.plugin).finish_non_exhaustive()
    }
}

/// Settings of a host for trials: few instances, one guest thread, a virtual clock.
#[must_use]
pub fn host_config(compiled: PathBuf) -> HostConfig {
    HostConfig {
        instances_max: 8,
        calls_max: 1,
        guest_threads: 1,
        guest_niceness: 0,
        quarantine_traps: u32::MAX,
        virtual_clock: true,
        ..HostConfig::new(compiled)
    }
}

impl Trial {
    /// Loads a component as the daemon would.
    ///
    /// # Errors
    /// [`TrialError::Host`], [`TrialError::Load`].
    pub fn load(component: &Path, config: HostConfig, logs: Arc<dyn LogSink>) -> Result<Self, TrialError> {
        let host = PluginHost::with_logs(config, logs).map_err(TrialError::Host)?;
        let plugin = host.load(component).map_err(TrialError::Load)?;
        Ok(Self { host, plugin })
    }

    /// The plugin.
    #[must_use]
    pub fn plugin(&self) -> &Arc<Plugin> {
        &self.plugin
    }

    /// Its host.
    #[must_use]
    pub fn host(&self) -> &PluginHost {
        &self.host
    }

    /// The stamp of recordings of this plugin.
    #[must_use]
    pub fn stamp(&self) -> Stamp {
        Stamp {
            name: self.plugin.name().to_owned(),
            version: self.plugin.manifest().version.clone(),
            digest: self.plugin.digest().to_owned(),
        }
    }

    /// Shows a detector the request's points; the time of each batch. None is looked at for what it gives.
    ///
    /// # Errors
    /// [`TrialError::Batches`], [`TrialError::Failing`].
    pub async fn batches(&self, request: &Request) -> Result<Vec<Duration>, TrialError> {
        observe::times(&self.host, &self.plugin, request).await
    }

    /// Makes one call. `execute` without a plan asks for one first; `undo` without receipts executes first, on paper.
    ///
    /// # Errors
    /// [`TrialError`]; what the plugin says, failures included, is no error but a [`Ran`].
    pub async fn run(
        &self,
        call: Call,
        request: &Request,
        conditions: &Conditions,
    ) -> Result<Ran, TrialError> {
        if call.role() != self.plugin.role() {
            let plugin = self.plugin.name().to_owned();
            return Err(TrialError::Role { call, plugin, role: self.plugin.role() });
        }
        let world: SharedWorld = Arc::new(Mutex::new(request.world.clone()));
        let mut request = request.clone();
        let mut earlier_calls = Vec::new();
        let (result, good, host_calls, elapsed) = match call {
            Call::Observe => {
                let began = Instant::now();
                let (result, good) = observe::observe(&self.host, &self.plugin, &request).await?;
                (result, good, Vec::new(), began.elapsed())
            }
            Call::Consult => {
                let side = self.side(call, &world, License::Nothing, true, &request, conditions);
                let question = request.question();
                let began = Instant::now();
                let answer = self.host.consult(&self.plugin, question, side.watched.clone()).await;
                let elapsed = began.elapsed();
                let noted = side.finish(call).await?;
                let (result, good) = outcome::of_findings(&answer);
                (result, good, noted.host_calls, elapsed)
            }
            Call::Plan => {
                let Planned { plan, host_calls, elapsed } = self.plan(&world, &request, conditions).await?;
                let (result, good) = match &plan {
                    Ok(plan) => (outcome::of_plan(plan), true),
                    Err(result) => (result.clone(), false),
                };
                (result, good, host_calls, elapsed)
            }
            Call::Execute => {
                let plan = self.plan_of(call, &world, &mut request, conditions, &mut earlier_calls).await?;
                let license = License::Execute(plan.clone());
                self.act(call, &world, license, &plan, &request, conditions).await?
            }
            Call::Undo => {
                if matches!(conditions.answers, Answers::Real(_))
                    && (request.plan.is_none() || request.receipts.is_none())
                {
                    return Err(TrialError::NoReceipts);
                }
                let plan = self.plan_of(call, &world, &mut request, conditions, &mut earlier_calls).await?;
                if request.receipts.is_none() {
                    let really =
                        Conditions { answers: Answers::Paper, apply: true, watch: conditions.watch.clone() };
                    let side = self.side(
                        Call::Execute,
                        &world,
                        License::Execute(plan.clone()),
                        false,
                        &request,
                        &really,
                    );
                    // What was applied counts, whatever the plugin says of it.
                    drop(
                        self.host
                            .execute(
                                &self.plugin,
                                request.action(),
                                &plan,
                                side.watched.clone(),
                                side.watched.clone(),
                            )
                            .await,
                    );
                    let noted = side.finish(Call::Execute).await?;
                    earlier_calls.extend(noted.host_calls);
                    request.receipts = Some(noted.receipts);
                }
                let receipts = request.receipts.clone().unwrap_or_default();
                let license = License::Undo(plan.clone(), receipts);
                self.act(call, &world, license, &plan, &request, conditions).await?
            }
        };
        Ok(Ran { result, good, request, host_calls, earlier_calls, elapsed })
    }

    /// The approved plan: the request's, or a new one, which then stands in the request.
    async fn plan_of(
        &self,
        call: Call,
        world: &SharedWorld,
        request: &mut Request,
        conditions: &Conditions,
        earlier_calls: &mut Vec<HostCall>,
    ) -> Result<Plan, TrialError> {
        if request.plan.is_none() {
            let planned = self.plan(world, request, conditions).await?;
            earlier_calls.extend(planned.host_calls);
            match planned.plan {
                Ok(plan) => request.plan = Some(plan),
                Err(result) => {
                    let reason = format!("`plan` ended as {}", outcome::in_words(&result));
                    return Err(TrialError::NoPlan { call, reason });
                }
            }
        }
        match &request.plan {
            Some(plan) => Ok(plan.approved(&self.plugin, request)),
            None => Err(TrialError::NoPlan { call, reason: "the request has none".into() }),
        }
    }

    /// Asks for a plan and completes it as the host does.
    async fn plan(
        &self,
        world: &SharedWorld,
        request: &Request,
        conditions: &Conditions,
    ) -> Result<Planned, TrialError> {
        let side = self.side(Call::Plan, world, License::Nothing, true, request, conditions);
        let action = request.action();
        let began = Instant::now();
        let answer = self.host.plan(&self.plugin, action, side.watched.clone(), side.watched.clone()).await;
        let elapsed = began.elapsed();
        let mut host_calls = side.finish(Call::Plan).await?.host_calls;
        let proposal = match answer {
            Err(error) => {
                return Ok(Planned { plan: Err(outcome::of_action_error(&error)), host_calls, elapsed });
            }
            Ok(proposal) => proposal,
        };
        let mut plan = PlanView::of_proposal(&proposal);
        let ask = Ask {
            during: Call::Plan,
            call: "plan.complete".into(),
            target: None,
            arguments: calls::value(&plan.steps),
        };
        let completed = match &conditions.answers {
            Answers::Paper => paper::complete(world, &mut plan.steps).map(|()| plan.steps.clone()),
            Answers::Real(brokers) => {
                let raw = proposal.steps.into_iter().map(|step| RawStep {
                    capability: step.capability,
                    verb: step.verb,
                    target: step.target,
                    arguments: step.arguments,
                    before: step.before,
                    after: step.after,
                    inverse: step.inverse,
                });
                let name = PluginName(self.plugin.name().to_owned());
                let tenant = tenant_of(brokers, request);
                let reads_telemetry = self.plugin.reads_telemetry();
                let steps = brokers.complete_plan(&name, &tenant, reads_telemetry, raw.collect()).await;
                steps.map(|steps| steps.iter().map(StepView::of_step).collect())
            }
            // Not recorded: the plan is another one now, and the comparison will say so.
            Answers::Replay(recorded) => {
                match recorded.iter().find(|call| ask.is(call)).map(|call| &call.answer) {
                    Some(Answer::Ok(steps)) => calls::parse(steps.clone()),
                    Some(Answer::Error(error)) => Err(error.clone()),
                    None => Ok(plan.steps.clone()),
                }
            }
        };
        let answer = match &completed {
            Ok(steps) => Answer::Ok(calls::value(steps)),
            Err(error) => Answer::Error(error.clone()),
        };
        host_calls.push(ask.answered(answer));
        let plan = match completed {
            Ok(steps) => Ok(PlanView { steps, ..plan }),
            Err(error) => Err(outcome::of_refused_plan(&error)),
        };
        Ok(Planned { plan, host_calls, elapsed })
    }

    /// `execute` or `undo`.
    async fn act(
        &self,
        call: Call,
        world: &SharedWorld,
        license: License,
        plan: &Plan,
        request: &Request,
        conditions: &Conditions,
    ) -> Result<(Value, bool, Vec<HostCall>, Duration), TrialError> {
        let receipts: Vec<Receipt> = request.receipts.clone().unwrap_or_default();
        let side = self.side(call, world, license, !conditions.apply, request, conditions);
        let (session, telemetry) = (side.watched.clone(), side.watched.clone());
        let action = request.action();
        let began = Instant::now();
        let answer = if call == Call::Undo {
            self.host.undo(&self.plugin, action, plan, &receipts, session, telemetry).await
        } else {
            self.host.execute(&self.plugin, action, plan, session, telemetry).await
        };
        let elapsed = began.elapsed();
        let noted = side.finish(call).await?;
        let (result, good) = outcome::of_run(&answer, &noted.receipts);
        Ok((result, good, noted.host_calls, elapsed))
    }

    /// The host's side of one call.
    fn side(
        &self,
        call: Call,
        world: &SharedWorld,
        license: License,
        dry_run: bool,
        request: &Request,
        conditions: &Conditions,
    ) -> Side {
        let mut real = None;
        let mut replay = None;
        let (session, telemetry): (Arc<dyn Session>, Arc<dyn Telemetry>) = match &conditions.answers {
            Answers::Paper => {
                let paper = Arc::new(Paper::new(world, license, dry_run, request.incident.now));
                (paper.clone(), paper)
            }
            Answers::Replay(recorded) => {
                let session = Arc::new(Replay::new(call, recorded));
                replay = Some(session.clone());
                (session.clone(), session)
            }
            Answers::Real(brokers) => {
                let (phase, plan, receipts) = match &license {
                    License::Nothing => (Phase::Plan, None, Vec::new()),
                    License::Execute(plan) => (Phase::Execute, Some(plan.clone()), Vec::new()),
                    License::Undo(plan, receipts) => (Phase::Undo, Some(plan.clone()), receipts.clone()),
                };
                let session = brokers.session(SessionSpec {
                    plugin: PluginName(self.plugin.name().to_owned()),
                    reads_telemetry: self.plugin.reads_telemetry(),
                    incident: IncidentId(request.incident.id.clone()),
                    tenant: tenant_of(brokers, request),
                    phase,
                    plan,
                    receipts,
                    dry_run,
                    host_calls_max: HOST_CALLS_MAX,
                });
                real = Some(session.clone());
                let paper = Paper::new(world, License::Nothing, true, request.incident.now);
                (session, Arc::new(paper))
            }
        };
        // An agent has no session; what it calls is telemetry.
        let session = (call != Call::Consult).then_some(session);
        let watch = conditions.watch.clone();
        let watched = Arc::new(Watched { during: call, session, telemetry, watch, noted: Mutex::default() });
        Side { watched, real, replay }
    }
}

/// What came of asking for a plan. The inner error is a result for people.
struct Planned {
    plan: Result<PlanView, Value>,
    host_calls: Vec<HostCall>,
    elapsed: Duration,
}

/// The host's side of one call, until it has ended.
struct Side {
    watched: Arc<Watched>,
    real: Option<Arc<ActionSession>>,
    replay: Option<Arc<Replay>>,
}

impl Side {
    /// What was noted; fails if a replay lacked calls.
    async fn finish(self, call: Call) -> Result<Noted, TrialError> {
        let mut noted = self.watched.take();
        if let Some(session) = self.real {
            // The brokers' own word on what was done.
            noted.receipts = session.finish().await.receipts;
        }
        let missing = self.replay.map(|replay| replay.missing()).unwrap_or_default();
        if missing.is_empty() {
            Ok(noted)
        } else {
            Err(TrialError::NotRecorded { call, calls: missing.join("\n  ") })
        }
    }
}

/// Whose incident it would be: that of the first target's tenant.
fn tenant_of(brokers: &Brokers, request: &Request) -> Tenant {
    let first = request.targets.first().map(|target| TargetId(target.id.clone()));
    first.and_then(|target| brokers.tenant_of(&target)).unwrap_or_default()
}
