//! One incident: its symptoms, what is known about them, and how far its healing has come.

use crate::{
    event::RequestId, plugin::PluginMatter, symptom::Tracked, timeline::Timeline, verify::BoundState,
};
use salve_model::{
    Tenant,
    incident::{AttemptView, Decision, Findings, IncidentId, IncidentView, Outcome, Proposal},
    mode::Mode,
    plan::{Plan, Receipt, RunResult},
    telemetry::SeriesKey,
    time::Now,
};
use serde::{Deserialize, Serialize};

/// How far the healing of an incident has come.
///
/// ```text
/// Settling → Diagnosing → Diagnosed → Deciding → Choosing → Planning → Planned → [AwaitingApproval] → Executing
///   → Verifying → Verified → Closed
///               → [UndoDue → Undoing] → Diagnosed …            the next remedy
/// after a run → [UndoDue → Undoing] → Escalated …              a person wanted it taken back
///               → Escalating → Escalated → Closed              people; closes once the symptoms clear
/// an incident about a plugin: Escalating → Escalated → Closed
/// ```
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Phase {
    /// Waits for other symptoms.
    Settling {
        /// Until then.
        until: Now,
    },
    /// The agents are asked for the cause.
    Diagnosing {
        /// Which question.
        request: RequestId,
        /// An answer after this is none.
        until: Now,
    },
    /// The cause, or that none was found, is known. Leads on in the same step.
    Diagnosed,
    /// The policies are asked.
    Deciding {
        /// Which question.
        request: RequestId,
        /// An answer after this is none.
        until: Now,
    },
    /// The proposals are gone through. Leads on in the same step.
    Choosing {
        /// Index of the next proposal of the decision.
        next: u32,
    },
    /// A policy said `wait`, or the policies could not answer.
    Waiting {
        /// When the cause is asked for afresh.
        until: Now,
    },
    /// An action is asked for its plan.
    Planning {
        /// Which question.
        request: RequestId,
        /// Index of its proposal.
        proposal: u32,
        /// An answer after this is none.
        until: Now,
    },
    /// The guards have the word. Leads on in the same step, unless `held`.
    Planned {
        /// Index of its proposal.
        proposal: u32,
        /// The guard that says "not now", and why.
        held: Option<Held>,
    },
    /// A person is asked.
    AwaitingApproval {
        /// Index of its proposal.
        proposal: u32,
        /// After this, people are called.
        until: Now,
    },
    /// The plan is carried out.
    Executing {
        /// Which question.
        request: RequestId,
        /// After this, the world is asked what happened.
        until: Now,
        /// Nothing is written.
        dry_run: bool,
    },
    /// A run gave no answer: the world is asked what happened.
    Reconciling {
        /// The question whose answer was lost.
        request: RequestId,
        /// After this, nobody can tell.
        until: Now,
        /// The run was an `undo`.
        undo: bool,
    },
    /// The telemetry is watched for the effect.
    Verifying {
        /// End of the run; times of the expectations count from it.
        since: Now,
        /// Then it is judged on what is known.
        until: Now,
        /// The watch was extended, which happens once.
        extended: bool,
    },
    /// The heal is verified. Leads on in the same step.
    Verified,
    /// The remedy is to be taken back, since it did not help or a person wants it; waits only while Salve is paused.
    UndoDue,
    /// The remedy is taken back.
    Undoing {
        /// Which question.
        request: RequestId,
        /// After this, the world is asked what happened.
        until: Now,
    },
    /// What would be done is recorded; the mode permits no more.
    Recorded {
        /// The mode that was in force.
        mode: Mode,
    },
    /// People are about to be called. Leads on in the same step.
    Escalating {
        /// Why.
        cause: EscalationCause,
        /// In a sentence.
        reason: String,
    },
    /// People were called.
    Escalated {
        /// Why.
        cause: EscalationCause,
        /// In a sentence.
        reason: String,
    },
    /// Salve was paused before anything was done; goes on with a fresh diagnosis.
    Suspended,
    /// It has ended.
    Closed {
        /// When.
        at: Now,
    },
}

/// The guard that holds a plan.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Held {
    /// Which.
    pub guard: crate::guard::Guard,
    /// Why, in a sentence that stays the same while the reason does.
    pub reason: String,
}

/// Why people were called.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum EscalationCause {
    /// No policy has a (further) remedy.
    NoRemedy,
    /// The policies could not answer.
    NoDecision,
    /// The most remedies for one incident were tried.
    AttemptsExhausted,
    /// A guard held the plan for too long.
    Held,
    /// Nobody approved in time.
    NotApproved,
    /// Too little data to tell whether the remedy helped; it was kept.
    TooLittleData,
    /// A write of which nobody can tell whether it happened.
    UncertainWrite,
    /// The remedy did not help and could not be taken back.
    UndoFailed,
    /// A version of a plugin is in quarantine.
    PluginFell,
    /// A person had the remedy taken back.
    TakenBack,
}

impl EscalationCause {
    /// A further symptom is reason enough to look again: nothing is in doubt but what to do.
    pub(crate) fn looks_again(self) -> bool {
        matches!(self, Self::NoRemedy | Self::NoDecision | Self::Held | Self::NotApproved | Self::TakenBack)
    }
}

impl Phase {
    /// One word, for people.
    #[must_use]
    pub fn name(&self) -> &'static str {
        match self {
            Self::Settling { .. } => "settling",
            Self::Diagnosing { .. } => "diagnosing",
            Self::Diagnosed => "diagnosed",
            Self::Deciding { .. } => "deciding",
            Self::Choosing { .. } => "choosing",
            Self::Waiting { .. } => "waiting",
            Self::Planning { .. } => "planning",
            Self::Planned { held: None, .. } => "planned",
            Self::Planned { held: Some(_), .. } => "held",
            Self::AwaitingApproval { .. } => "awaiting approval",
            Self::Executing { dry_run: false, .. } => "executing",
            Self::Executing { dry_run: true, .. } => "dry run",
            Self::Reconciling { .. } => "reconciling",
            Self::Verifying { .. } => "verifying",
            Self::Verified => "verified",
            Self::UndoDue => "undo due",
            Self::Undoing { .. } => "undoing",
            Self::Recorded { .. } => "recorded",
            Self::Escalating { .. } | Self::Escalated { .. } => "escalated",
            Self::Suspended => "suspended",
            Self::Closed { .. } => "closed",
        }
    }

    /// The incident has ended.
    #[must_use]
    pub fn is_closed(&self) -> bool {
        matches!(self, Self::Closed { .. })
    }

    /// Nothing of a remedy is under way: the incident may close if its symptoms clear.
    pub(crate) fn is_idle(&self) -> bool {
        self.is_before_run()
            || matches!(self, Self::Recorded { .. } | Self::Escalated { .. } | Self::Suspended)
    }

    /// On the way to a run that has not begun: what a pause stops.
    pub(crate) fn is_before_run(&self) -> bool {
        matches!(
            self,
            Self::Settling { .. }
                | Self::Diagnosing { .. }
                | Self::Diagnosed
                | Self::Deciding { .. }
                | Self::Choosing { .. }
                | Self::Waiting { .. }
                | Self::Planning { .. }
                | Self::Planned { .. }
                | Self::AwaitingApproval { .. }
        )
    }

    /// A remedy's objects are taken: nothing else may act on them.
    pub(crate) fn is_treatment(&self) -> bool {
        matches!(
            self,
            Self::Executing { dry_run: false, .. }
                | Self::Reconciling { .. }
                | Self::Verifying { .. }
                | Self::Verified
                | Self::UndoDue
                | Self::Undoing { .. }
                | Self::Escalating { cause: EscalationCause::UncertainWrite, .. }
                | Self::Escalated { cause: EscalationCause::UncertainWrite, .. }
        )
    }
}

/// One remedy of an incident.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Attempt {
    /// What the policy proposed.
    pub proposal: Proposal,
    /// What was to be done.
    pub plan: Plan,
    /// Who approved it, if a person was asked.
    pub approved_by: Option<String>,
    /// When it was carried out.
    pub started: Now,
    /// When the run ended.
    pub ended: Option<Now>,
    /// How the run ended.
    pub result: Option<RunResult>,
    /// Receipts of what was taken back.
    pub undone: Vec<Receipt>,
    /// Runs of `undo`.
    pub undo_runs: u32,
    /// Nobody can tell what a run of `undo` did.
    #[serde(default)]
    pub undo_uncertain: bool,
    /// The person who wanted it taken back.
    #[serde(default)]
    pub undo_asked_by: Option<String>,
    /// It was a dry-run: nothing was written, and it counts for nothing.
    pub dry_run: bool,
    /// A crash cut it off before anything was written: it counts for nothing.
    pub interrupted: bool,
    /// How the remedy turned out.
    pub outcome: Option<Outcome>,
    /// Why that is its outcome.
    pub note: String,
}

impl Attempt {
    /// It counts as a remedy that was tried.
    pub(crate) fn is_counted(&self) -> bool {
        !self.dry_run && !self.interrupted
    }

    /// Receipts of what was written.
    pub(crate) fn applied(&self) -> impl Iterator<Item = &Receipt> {
        self.result.iter().flat_map(|result| &result.receipts).filter(|receipt| receipt.applied)
    }

    /// Indices of the plan's steps that were applied, can be taken back and have not been, in order.
    #[must_use]
    pub fn steps_to_undo(&self) -> Vec<u32> {
        let mut steps: Vec<u32> = self
            .applied()
            .map(|receipt| receipt.step)
            .filter(|step| {
                let index = usize::try_from(*step).unwrap_or(usize::MAX);
                self.plan.steps.get(index).is_some_and(|planned| planned.inverse.is_some())
            })
            .filter(|step| !self.undone.iter().any(|receipt| receipt.applied && receipt.step == *step))
            .collect();
        steps.sort_unstable();
        steps.dedup();
        steps
    }

    /// As policies and people see it.
    #[must_use]
    pub fn view(&self) -> AttemptView {
        AttemptView {
            action: self.proposal.action.clone(),
            target: self.proposal.target.clone(),
            parameters: self.proposal.parameters.clone(),
            outcome: self.outcome,
        }
    }
}

/// A plan about which a person was asked.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct AskedPlan {
    /// Its number.
    pub number: u32,
    /// The plan.
    pub plan: Plan,
    /// How long an answer is awaited.
    pub until: Now,
}

/// One incident, open or closed.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Incident {
    /// Name.
    pub id: IncidentId,
    /// The number in the name.
    pub number: u64,
    /// Receive time of the first symptom's first point; of a plugin's, when it was told of.
    pub started: Now,
    /// The plugin that it is about; none: it is about telemetry.
    pub plugin: Option<PluginMatter>,
    /// Oldest first; none if it is about a plugin.
    pub symptoms: Vec<Tracked>,
    /// Symptoms over the bound, which were not taken in.
    pub symptoms_refused: u64,
    /// How far its healing has come.
    pub phase: Phase,
    /// What the agents said last.
    pub findings: Option<Findings>,
    /// What the policies said last.
    pub decision: Option<Decision>,
    /// The plan that is, or was last, under way.
    pub plan: Option<Plan>,
    /// The newest plan's number. One that is made again as a person was asked about it keeps its number.
    #[serde(default)]
    pub plans: u32,
    /// What a person was asked about and has not answered.
    #[serde(default)]
    pub asked: Option<AskedPlan>,
    /// Remedies to which a person said no.
    #[serde(default)]
    pub rejected: Vec<Proposal>,
    /// Who approved that plan.
    pub approved_by: Option<String>,
    /// Remedies, oldest first.
    pub attempts: Vec<Attempt>,
    /// What the plan's expectations show, by index.
    pub bounds: Vec<BoundState>,
    /// Since when guards have kept it from acting.
    pub held_since: Option<Now>,
    /// Why the newest proposal could not be carried out.
    pub refusal: Option<String>,
    /// Questions to the policies in a row that were not answered.
    pub unanswered: u32,
    /// The number of the next question.
    pub next_request: RequestId,
    /// How often it came back after it had been closed.
    pub reopened: u32,
    /// Attempts that were made before it came back.
    pub attempts_before_reopen: u32,
    /// How it ended, once it has.
    pub outcome: Option<Outcome>,
    /// What happened, oldest first.
    pub timeline: Timeline,
}

impl Incident {
    pub(crate) fn new(number: u64, symptom: Tracked, phase: Phase) -> Self {
        let started = symptom.symptom.since;
        Self { symptoms: vec![symptom], ..Self::empty(number, started, phase) }
    }

    /// One about a plugin.
    pub(crate) fn of_plugin(number: u64, matter: PluginMatter, at: Now) -> Self {
        let phase = Phase::Escalating { cause: EscalationCause::PluginFell, reason: matter.trouble.call() };
        Self { plugin: Some(matter), ..Self::empty(number, at, phase) }
    }

    fn empty(number: u64, started: Now, phase: Phase) -> Self {
        Self {
            id: IncidentId(format!("inc-{number}")),
            number,
            started,
            plugin: None,
            symptoms: Vec::new(),
            symptoms_refused: 0,
            phase,
            findings: None,
            decision: None,
            plan: None,
            plans: 0,
            asked: None,
            rejected: Vec::new(),
            approved_by: None,
            attempts: Vec::new(),
            bounds: Vec::new(),
            held_since: None,
            refusal: None,
            unanswered: 0,
            next_request: 1,
            reopened: 0,
            attempts_before_reopen: 0,
            outcome: None,
            timeline: Timeline::default(),
        }
    }

    /// Whose it is: that of its symptoms, which are of one tenant. An incident about a plugin is `default`'s.
    #[must_use]
    pub fn tenant(&self) -> Tenant {
        self.symptoms.first().map(|tracked| tracked.symptom.series.tenant.clone()).unwrap_or_default()
    }

    /// It is about this tenant's telemetry.
    pub(crate) fn is_about(&self, tenant: &Tenant) -> bool {
        self.symptoms.first().is_some_and(|tracked| tracked.symptom.series.tenant == *tenant)
    }

    /// It has not ended.
    #[must_use]
    pub fn is_open(&self) -> bool {
        !self.phase.is_closed()
    }

    /// Every symptom has recovered, or the matter of its plugin is settled.
    pub(crate) fn is_recovered(&self) -> bool {
        if let Some(matter) = &self.plugin {
            return matter.settled.is_some();
        }
        self.symptoms.iter().all(|tracked| tracked.symptom.recovered)
    }

    /// Nothing more comes of any symptom that has not recovered, and Salve has nothing more to do.
    pub(crate) fn is_silent(&self, now: Now, silent_max_ms: u64) -> bool {
        let mut open = self.symptoms.iter().filter(|tracked| !tracked.symptom.recovered);
        // Of a plugin nothing is heard until it stands otherwise.
        self.plugin.is_none()
            && matches!(self.phase, Phase::Recorded { .. } | Phase::Escalated { .. })
            && open.all(|tracked| now.since_ms(tracked.heard) > silent_max_ms)
    }

    /// The symptom of this series.
    pub(crate) fn symptom(&self, series: SeriesKey) -> Option<&Tracked> {
        self.symptoms.iter().find(|tracked| tracked.key() == series)
    }

    /// Services with symptoms, each once, by name.
    #[must_use]
    pub fn services(&self) -> Vec<String> {
        let mut services: Vec<String> =
            self.symptoms.iter().map(|tracked| tracked.symptom.series.service.clone()).collect();
        services.sort_unstable();
        services.dedup();
        services
    }

    /// Remedies that count.
    pub(crate) fn tried(&self) -> impl Iterator<Item = &Attempt> {
        self.attempts.iter().filter(|attempt| attempt.is_counted())
    }

    /// The proposal of the decision with this index.
    pub(crate) fn proposal(&self, index: u32) -> Option<&Proposal> {
        let index = usize::try_from(index).ok()?;
        self.decision.as_ref()?.proposals.get(index)
    }

    /// Objects that its remedy has taken.
    pub(crate) fn objects_under_treatment(&self) -> impl Iterator<Item = &str> {
        let attempt = self.attempts.last().filter(|_| self.phase.is_treatment());
        attempt.into_iter().flat_map(|attempt| objects(&attempt.plan))
    }

    /// How it ends if its symptoms clear now, without a verified remedy: what Salve wrote since the incident (last)
    /// began decides, not that the symptoms are gone.
    pub(crate) fn outcome_if_cleared(&self) -> Outcome {
        let before = usize::try_from(self.attempts_before_reopen).unwrap_or(usize::MAX);
        let outcomes: Vec<Outcome> = self
            .attempts
            .iter()
            .skip(before)
            .filter(|attempt| attempt.is_counted())
            .filter(|attempt| attempt.outcome == Some(Outcome::Unknown) || attempt.applied().next().is_some())
            .filter_map(|attempt| attempt.outcome)
            .collect();
        if outcomes.contains(&Outcome::Unknown) {
            Outcome::Unknown
        } else if outcomes.is_empty() {
            Outcome::Recovered
        } else {
            Outcome::NotHealed
        }
    }

    /// What it is at this moment, for agents, policies, people.
    #[must_use]
    pub fn view(&self, now: Now) -> IncidentView {
        IncidentView {
            id: self.id.clone(),
            tenant: self.tenant(),
            started: self.started,
            now,
            symptoms: self.symptoms.iter().map(|tracked| tracked.symptom.clone()).collect(),
            services: self.services(),
            attempts: self.tried().map(Attempt::view).collect(),
        }
    }
}

/// The objects that a plan touches, as often as its steps name them.
pub(crate) fn objects(plan: &Plan) -> impl Iterator<Item = &str> {
    plan.steps.iter().flat_map(|step| &step.objects).map(String::as_str)
}
