//! A driver for tests: keeps time, sends events, remembers what was asked for.

use crate::{Core, Effect, Event, Settings, Step, Transition, event::ExpectationPoint, event::RequestId};
use salve_model::{
    PluginName, Target, TargetId, Tenant,
    incident::{Decision, Findings, Hypothesis, IncidentId, Outcome, Proposal, Verdict},
    mode::Mode,
    plan::{Call, Expectation, Plan, Receipt, RunResult, Step as PlanStep, VerbClass},
    telemetry::{Measurement, Observation, ObservationKind, SeriesKey, SeriesRef},
    time::{EventTime, Now},
};
use std::collections::BTreeMap;

/// Settings with short, different times, so that each can be told from the others.
pub(super) fn settings() -> Settings {
    Settings {
        mode: Mode::Act,
        tick_ms: 200,
        settle_ms: 800,
        resettle_ms: 1_000,
        confirm_points: 2,
        confirm_within_ms: 10_000,
        recover_points: 3,
        reopen_ms: 5_000,
        cooldown_ms: 0,
        rate_max: 100,
        rate_window_ms: 60_000,
        blast_radius_objects_max: 3,
        blast_radius_percent_max: 100,
        guard_within_ms: 40_000,
        attempts_max: 3,
        verify_within_ms: 6_000,
        verify_within_max_ms: 20_000,
        verify_least_ms: 0,
        verify_samples_min: 3,
        answer_within_ms: 2_000,
        run_within_ms: 12_000,
        approval_within_ms: 30_000,
        wait_ms: 3_000,
        ..Settings::default()
    }
}

pub(super) fn series(service: &str, name: &str) -> SeriesRef {
    let key = format!("{service}/{name}").bytes().fold(1_469_598_103_934_665_603_u64, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(1_099_511_628_211)
    });
    SeriesRef {
        key: SeriesKey(key),
        tenant: Tenant::default(),
        service: service.into(),
        name: name.into(),
        unit: "1".into(),
        attributes: BTreeMap::new(),
    }
}

pub(super) fn observation(service: &str, name: &str, time: u64) -> Observation {
    Observation {
        series: series(service, name),
        detector: "holt-winters".into(),
        time: EventTime(time),
        kind: ObservationKind::LevelShift,
        rising: true,
        score: 0.9,
        confidence: 0.9,
        value: 0.5,
        expected: 0.01,
        lower: 0.0,
        upper: 0.05,
        reason: "far above".into(),
    }
}

pub(super) fn proposal(verdict: Verdict, action: &str, service: &str) -> Proposal {
    Proposal {
        policy: "shop".into(),
        verdict,
        action: action.into(),
        target: TargetId(service.into()),
        parameters: r#"{"key":"pool.size"}"#.into(),
        priority: 1,
        reason: "the policy's sentence".into(),
    }
}

pub(super) fn decision(proposals: Vec<Proposal>) -> Decision {
    Decision { policy_digest: "00".into(), proposals, ..Decision::default() }
}

/// A plan of one step on the object `unit/<target>`: reversible if the action is `config`, not if it is `restart`.
pub(super) fn plan(action: &str, target: &str) -> Plan {
    Plan {
        action: PluginName(action.into()),
        action_digest: "11".into(),
        targets: vec![TargetId(target.into())],
        parameters: "{}".into(),
        summary: format!("{action} {target}"),
        steps: vec![PlanStep {
            call: Call {
                capability: action.into(),
                verb: "set".into(),
                target: TargetId(target.into()),
                arguments: "{}".into(),
            },
            objects: vec![format!("unit/{target}")],
            before: Some("1".into()),
            after: Some("2".into()),
            inverse: (action == "config").then(|| "{}".into()),
            class: VerbClass::Queryable,
        }],
        expectations: vec![Expectation {
            service: target.into(),
            signal: "errors".into(),
            lower: None,
            upper: Some(0.1),
            within_ms: 5_000,
            hold_ms: 1_000,
            samples_min: 2,
        }],
        extra: BTreeMap::new(),
    }
}

pub(super) fn receipt(step: u32) -> Receipt {
    Receipt {
        call: u64::from(step),
        step,
        target: TargetId("checkout".into()),
        verb: "set".into(),
        applied: true,
        before: Some("1".into()),
        after: Some("2".into()),
        extra: BTreeMap::new(),
    }
}

/// A run that ended well and wrote its one step.
pub(super) fn done() -> RunResult {
    RunResult { done: true, note: "done".into(), receipts: vec![receipt(0)], uncertain: false }
}

/// A run that failed, with what it wrote before.
pub(super) fn failed(receipts: Vec<Receipt>) -> RunResult {
    RunResult { done: false, note: "failed".into(), receipts, uncertain: false }
}

/// A run of which nobody can tell what it did.
pub(super) fn uncertain() -> RunResult {
    RunResult { done: false, note: "no answer".into(), receipts: vec![], uncertain: true }
}

pub(super) fn findings(suspect: &str) -> Findings {
    Findings {
        agent: "analyst".into(),
        hypotheses: vec![Hypothesis {
            suspect: suspect.into(),
            mechanism: "errors".into(),
            probability: 0.8,
            evidence: vec![],
            extra: BTreeMap::new(),
            targets: vec![TargetId(suspect.into())],
        }],
        suggestions: vec![],
        text: String::new(),
        left_out: 0,
    }
}

pub(super) fn target(service: &str) -> Target {
    Target {
        id: TargetId(service.into()),
        tenant: Tenant::default(),
        attributes: BTreeMap::from([("service.name".into(), service.into())]),
        objects: vec![format!("unit/{service}")],
    }
}

/// The name of an effect, for tables.
pub(super) fn name(effect: &Effect) -> String {
    match effect {
        Effect::Watch { series, expectations, .. } => {
            format!("watch {}+{}", series.len(), expectations.len())
        }
        Effect::Diagnose { .. } => "diagnose".into(),
        Effect::Decide { .. } => "decide".into(),
        Effect::Plan { .. } => "plan".into(),
        Effect::Execute { dry_run: false, .. } => "execute".into(),
        Effect::Execute { dry_run: true, .. } => "execute dry".into(),
        Effect::Undo { .. } => "undo".into(),
        Effect::Reconcile { .. } => "reconcile".into(),
        Effect::AskApproval { .. } => "ask approval".into(),
        Effect::Escalate { .. } => "escalate".into(),
        Effect::Closed { outcome, .. } => match outcome {
            Outcome::Healed => "closed healed".into(),
            Outcome::NotHealed => "closed not healed".into(),
            Outcome::Unknown => "closed unknown".into(),
            Outcome::Recovered => "closed recovered".into(),
        },
    }
}

pub(super) fn names(effects: &[Effect]) -> String {
    effects.iter().map(name).collect::<Vec<_>>().join(", ")
}

/// A core, its clock, and what happened so far.
#[derive(Clone)]
pub(super) struct World {
    pub(super) core: Core,
    pub(super) now: Now,
    pub(super) transitions: Vec<Transition>,
    /// Effects of the newest step.
    pub(super) effects: Vec<Effect>,
    pub(super) all_effects: Vec<Effect>,
    event_time: u64,
}

impl World {
    pub(super) fn with(settings: Settings) -> Self {
        let mut world = Self {
            core: Core::new(),
            now: Now(1_000_000),
            transitions: vec![],
            effects: vec![],
            all_effects: vec![],
            event_time: 1_000,
        };
        let targets = ["gateway", "checkout", "inventory", "mail"].map(target).to_vec();
        world.send(Event::Configured { settings, targets });
        let edge = |caller: &str, callee: &str| (caller.to_owned(), callee.to_owned());
        world.send(Event::Topology {
            tenant: Tenant::default(),
            edges: vec![edge("gateway", "checkout"), edge("checkout", "inventory")],
        });
        world
    }

    pub(super) fn new() -> Self {
        Self::with(settings())
    }

    pub(super) fn send(&mut self, event: Event) -> &mut Self {
        let step = self.core.step(&event, self.now);
        self.took(step);
        self
    }

    pub(super) fn took(&mut self, step: Step) {
        self.transitions.extend(step.transitions);
        self.all_effects.extend(step.effects.iter().cloned());
        self.effects = step.effects;
    }

    /// Lets time pass, with one tick at its end.
    pub(super) fn pass(&mut self, ms: u64) -> &mut Self {
        self.now = self.now.plus_ms(ms);
        self.send(Event::Tick)
    }

    /// A new event time, later than all before.
    pub(super) fn next_time(&mut self) -> u64 {
        self.event_time += 10;
        self.event_time
    }

    /// Two abnormal points: a symptom.
    pub(super) fn symptom(&mut self, service: &str, name: &str) -> &mut Self {
        for _ in 0..2 {
            let time = self.next_time();
            self.send(Event::Observed(vec![observation(service, name, time)]));
        }
        self
    }

    /// One measured point of a symptom's series, and one of the plan's first expectation.
    pub(super) fn point(&mut self, service: &str, name: &str, abnormal: bool) -> &mut Self {
        let time = EventTime(self.next_time());
        let value = if abnormal { 0.5 } else { 0.0 };
        let incident = self.id();
        self.send(Event::Measured {
            series: vec![Measurement { series: series(service, name).key, time, value, abnormal }],
            expected: vec![ExpectationPoint { incident, index: 0, time, value }],
        })
    }

    /// `count` points, half a second apart.
    pub(super) fn points(&mut self, service: &str, name: &str, abnormal: bool, count: u32) -> &mut Self {
        for _ in 0..count {
            self.now = self.now.plus_ms(500);
            self.point(service, name, abnormal);
        }
        self
    }

    /// The incident opened last.
    pub(super) fn id(&self) -> IncidentId {
        self.core.incidents().last().map_or(IncidentId("inc-0".into()), |incident| incident.id.clone())
    }

    pub(super) fn phase(&self) -> String {
        self.core.incidents().last().map_or_else(|| "none".into(), |incident| incident.phase.clone())
    }

    pub(super) fn outcome(&self) -> Option<Outcome> {
        self.core.incidents().last().and_then(|incident| incident.outcome)
    }

    /// The newest question of an incident.
    pub(super) fn request(&self, incident: &IncidentId) -> RequestId {
        self.all_effects
            .iter()
            .rev()
            .find_map(|effect| match effect {
                Effect::Diagnose { incident: id, request, .. }
                | Effect::Decide { incident: id, request, .. }
                | Effect::Plan { incident: id, request, .. }
                | Effect::Execute { incident: id, request, .. }
                | Effect::Undo { incident: id, request, .. }
                | Effect::Reconcile { incident: id, request, .. }
                    if id == incident =>
                {
                    Some(*request)
                }
                _ => None,
            })
            .unwrap_or(0)
    }

    pub(super) fn diagnosed(&mut self) -> &mut Self {
        let incident = self.id();
        let request = self.request(&incident);
        self.send(Event::Diagnosed { incident, request, findings: Ok(findings("checkout")) })
    }

    pub(super) fn decided(&mut self, proposals: Vec<Proposal>) -> &mut Self {
        let incident = self.id();
        let request = self.request(&incident);
        self.send(Event::Decided { incident, request, decision: Ok(decision(proposals)) })
    }

    pub(super) fn planned(&mut self, plan: Plan) -> &mut Self {
        let incident = self.id();
        let request = self.request(&incident);
        self.send(Event::Planned { incident, request, plan: Ok(plan) })
    }

    pub(super) fn executed(&mut self, result: RunResult) -> &mut Self {
        let incident = self.id();
        let request = self.request(&incident);
        self.send(Event::Executed { incident, request, result })
    }

    pub(super) fn undone(&mut self, result: RunResult) -> &mut Self {
        let incident = self.id();
        let request = self.request(&incident);
        self.send(Event::Undone { incident, request, result })
    }

    pub(super) fn reconciled(&mut self, result: RunResult) -> &mut Self {
        let incident = self.id();
        let request = self.request(&incident);
        self.send(Event::Reconciled { incident, request, result })
    }

    /// An answer to the plan that waits.
    pub(super) fn approved(&mut self, approved: bool) -> &mut Self {
        let plan = self.core.incident(&self.id()).unwrap().plan_number;
        self.answered(plan, approved)
    }

    /// An answer to the plan with this number.
    pub(super) fn answered(&mut self, plan: u32, approved: bool) -> &mut Self {
        let incident = self.id();
        self.send(Event::Approved { incident, plan, by: "ann".into(), approved })
    }

    pub(super) fn pause(&mut self) -> &mut Self {
        self.send(Event::Paused { by: "ann".into(), reason: "look".into() })
    }

    pub(super) fn resume(&mut self) -> &mut Self {
        self.send(Event::Resumed { by: "ann".into() })
    }

    pub(super) fn set(&mut self, change: impl FnOnce(&mut Settings)) -> &mut Self {
        let mut settings = self.core.settings().clone();
        change(&mut settings);
        let targets = self.core.targets.clone();
        self.send(Event::Configured { settings, targets })
    }

    // The ways through the life cycle, each on from the one before.

    pub(super) fn reach_settling(&mut self) -> &mut Self {
        self.symptom("checkout", "errors")
    }

    pub(super) fn reach_diagnosing(&mut self) -> &mut Self {
        self.reach_settling().pass(800)
    }

    pub(super) fn reach_deciding(&mut self) -> &mut Self {
        self.reach_diagnosing().diagnosed()
    }

    pub(super) fn reach_planning(&mut self) -> &mut Self {
        let first = proposal(Verdict::Act, "config", "checkout");
        let second = proposal(Verdict::Act, "restart", "checkout");
        self.reach_deciding().decided(vec![first, second])
    }

    pub(super) fn reach_executing(&mut self) -> &mut Self {
        self.reach_planning().planned(plan("config", "checkout"))
    }

    pub(super) fn reach_verifying(&mut self) -> &mut Self {
        self.reach_executing().executed(done())
    }

    pub(super) fn reach_undoing(&mut self) -> &mut Self {
        self.reach_verifying().points("checkout", "errors", true, 10)
    }

    /// Stops the daemon here and starts it again: folds what was recorded, through bytes, and recovers.
    pub(super) fn crash(&mut self) -> &mut Self {
        let mut core = Core::new();
        for transition in &self.transitions {
            let bytes = serde_json::to_vec(transition).unwrap();
            core.apply(&serde_json::from_slice(&bytes).unwrap());
        }
        assert_eq!(core, self.core, "folding the ledger gives the state back");
        self.core = core;
        let step = self.core.recover(self.now);
        self.took(step);
        self
    }
}
