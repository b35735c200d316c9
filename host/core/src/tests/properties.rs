//! What holds for every sequence of events, sensible or not.
//!
//! A random driver answers what the core asks, wrongly at times; sends points, nonsense and the operator's words; and
//! crashes now and then. An observer that knows nothing of the core's inside watches the effects.

use super::{
    moves::{MODES, Move, SERVICES, SIGNALS, VERDICTS, moves},
    plugins,
    world::{
        decision, done, failed, findings, observation, plan, proposal, receipt, series, settings, target,
    },
};
use crate::{Core, Effect, Event, Settings, Step, Transition, event::ExpectationPoint};
use proptest::{prelude::*, strategy::ValueTree};
use salve_model::{
    Tenant,
    incident::{IncidentId, Outcome, Verdict},
    mode::Mode,
    plan::{Plan, RunResult},
    telemetry::{Measurement, ObservationKind},
    time::{EventTime, Now},
};
use std::collections::{BTreeMap, BTreeSet};

const RATE_MAX: u32 = 4;

/// The driver and the observer.
struct Run {
    core: Core,
    now: Now,
    event_time: u64,
    /// Questions without an answer.
    open: Vec<Effect>,
    /// What the ledger has: inputs with transitions, and restarts.
    inputs: Vec<(Option<Event>, Now, Step)>,
    transitions: Vec<Transition>,
    observer: Observer,
}

/// What can be seen from outside.
#[derive(Default)]
struct Observer {
    mode: Mode,
    paused: bool,
    /// Newest question of each incident, until it is answered.
    asked: BTreeMap<IncidentId, u64>,
    proposed: BTreeMap<IncidentId, BTreeSet<(String, String)>>,
    planned: BTreeMap<IncidentId, Plan>,
    /// The newest plan that a person was shown, with its number.
    shown: BTreeMap<IncidentId, (u32, Plan)>,
    approved: BTreeMap<IncidentId, Plan>,
    /// Who acts on an object.
    in_flight: BTreeMap<String, IncidentId>,
    runs: Vec<Now>,
    wrote: BTreeSet<IncidentId>,
    escalated: BTreeSet<IncidentId>,
    measured_since_run: BTreeMap<IncidentId, u32>,
    healed: u32,
    undone: u32,
}

impl Observer {
    /// Learns from what the core is told.
    fn hear(&mut self, event: &Event) {
        if let Event::Decided { incident, request, .. }
        | Event::Planned { incident, request, .. }
        | Event::Executed { incident, request, .. }
        | Event::Undone { incident, request, .. }
        | Event::Reconciled { incident, request, .. } = event
        {
            // An answer to an older question, or a second one, counts for nothing.
            if self.asked.get(incident) != Some(request) {
                return;
            }
            self.asked.remove(incident);
        }
        match event {
            Event::Configured { settings, .. } => self.mode = settings.mode,
            Event::Paused { .. } => self.paused = true,
            Event::Resumed { .. } => self.paused = false,
            Event::Decided { incident, decision: Ok(decision), .. } => {
                self.proposed.entry(incident.clone()).or_default().extend(
                    decision
                        .proposals
                        .iter()
                        .filter(|proposal| matches!(proposal.verdict, Verdict::Act | Verdict::Ask))
                        .map(|proposal| (proposal.action.clone(), proposal.target.0.clone())),
                );
            }
            Event::Planned { incident, plan: Ok(plan), .. } => {
                self.approved.remove(incident);
                self.planned.insert(incident.clone(), plan.clone());
            }
            Event::Approved { incident, plan, approved, .. } => {
                let shown = self.shown.get(incident).filter(|(number, _)| number == plan);
                match shown {
                    Some((_, shown)) if *approved => {
                        drop(self.approved.insert(incident.clone(), shown.clone()))
                    }
                    Some(_) => drop(self.approved.remove(incident)),
                    None => {}
                }
            }
            Event::Executed { incident, result, .. }
            | Event::Undone { incident, result, .. }
            | Event::Reconciled { incident, result, .. } => {
                self.in_flight.retain(|_, owner| owner != incident);
                if result.uncertain || result.receipts.iter().any(|receipt| receipt.applied) {
                    self.wrote.insert(incident.clone());
                }
                self.measured_since_run.insert(incident.clone(), 0);
            }
            Event::Measured { series, .. } if !series.is_empty() => {
                self.measured_since_run.values_mut().for_each(|count| *count += 1);
            }
            _ => {}
        }
    }

    /// Judges what the core asks for.
    fn see(&mut self, effect: &Effect, now: Now) {
        if let Some((incident, request)) = question(effect) {
            self.asked.insert(incident.clone(), request);
        }
        match effect {
            Effect::Execute { incident, plan, dry_run, .. } => {
                assert!(!self.paused, "nothing is carried out while paused");
                let least = if *dry_run { Mode::Shadow } else { Mode::Approve };
                assert!(self.mode >= least, "mode {:?} forbids it", self.mode);
                assert!(!dry_run || self.mode == Mode::Shadow);
                let what = (plan.action.0.clone(), plan.targets[0].0.clone());
                assert!(self.proposed[incident].contains(&what), "a policy proposed it");
                assert_eq!(self.planned[incident], **plan, "the plan is the one that was answered");
                if *dry_run {
                    return;
                }
                let is_approved = self.approved.get(incident) == Some(&**plan);
                assert!(self.mode == Mode::Act || is_approved, "a person approved just this plan");
                self.take(incident, plan);
                self.runs.push(now);
                let recent = self.runs.iter().filter(|run| now.since_ms(**run) < 60_000).count();
                assert!(recent <= RATE_MAX as usize, "{recent} runs in the window");
            }
            Effect::AskApproval { incident, number, plan, .. } => {
                if let Some((shown, _)) = self.shown.get(incident).filter(|(shown, _)| shown >= number) {
                    assert_eq!(shown, number, "numbers grow");
                    assert_eq!(self.shown[incident].1, **plan, "a number is of one plan");
                }
                self.shown.insert(incident.clone(), (*number, (**plan).clone()));
            }
            Effect::Undo { incident, plan, receipts, .. } => {
                assert!(!self.paused, "nothing is taken back while paused");
                assert!(self.mode >= Mode::Approve, "the mode permits it");
                assert!(!receipts.is_empty());
                self.take(incident, plan);
                self.undone += 1;
            }
            Effect::Escalate { incident, .. } => {
                self.escalated.insert(incident.clone());
            }
            Effect::Closed { incident, outcome } => {
                let wrote = self.wrote.contains(incident);
                match outcome {
                    Outcome::Healed => {
                        self.healed += 1;
                        assert!(wrote, "a heal needs a write");
                        assert!(self.measured_since_run[incident] >= 3, "a heal needs points");
                    }
                    Outcome::Unknown => assert!(self.escalated.contains(incident), "unknown is reported"),
                    Outcome::NotHealed => assert!(wrote),
                    Outcome::Recovered => {}
                }
            }
            _ => {}
        }
    }

    fn take(&mut self, incident: &IncidentId, plan: &Plan) {
        for object in plan.steps.iter().flat_map(|step| &step.objects) {
            let owner = self.in_flight.insert(object.clone(), incident.clone());
            assert!(owner.is_none(), "`{object}` is in flight for {owner:?}");
        }
    }
}

impl Run {
    fn new() -> Self {
        let mut run = Self {
            core: Core::new(),
            now: Now(1_000_000),
            event_time: 100,
            open: vec![],
            inputs: vec![],
            transitions: vec![],
            observer: Observer::default(),
        };
        run.configure(Mode::Act);
        let edge = |caller: &str, callee: &str| (caller.to_owned(), callee.to_owned());
        run.send(Event::Topology {
            tenant: Tenant::default(),
            edges: vec![edge("gateway", "checkout"), edge("checkout", "inventory")],
        });
        run
    }

    fn configure(&mut self, mode: Mode) {
        let settings =
            Settings { mode, rate_max: RATE_MAX, cooldown_ms: 2_000, history_max: 3, ..settings() };
        self.send(Event::Configured { settings, targets: SERVICES.map(target).to_vec() });
    }

    fn send(&mut self, event: Event) {
        let before = serde_json::to_string(&self.core).unwrap();
        self.observer.hear(&event);
        let step = self.core.step(&event, self.now);
        if step.transitions.is_empty() {
            assert_eq!(
                serde_json::to_string(&self.core).unwrap(),
                before,
                "no transition, no change: {event:?}"
            );
            assert!(step.effects.is_empty(), "no transition, no effect");
        }
        self.took(Some(event), step);
    }

    fn took(&mut self, event: Option<Event>, step: Step) {
        // The driver's clock may go back; the core's does not.
        let now = step.transitions.last().map_or(self.now, |transition| transition.at);
        for effect in &step.effects {
            self.observer.see(effect, now);
        }
        self.open.extend(step.effects.iter().filter(|effect| is_question(effect)).cloned());
        self.transitions.extend(step.transitions.iter().cloned());
        if event.is_none() || !step.transitions.is_empty() {
            self.inputs.push((event, self.now, step));
        }
        self.check();
    }

    /// Whatever was written is verified, taken back, or reported; what is under way is accounted for; plugins have one open
    /// incident at most, for which nothing is asked but people's attention.
    fn check(&self) {
        let mut open_plugins = BTreeSet::new();
        for summary in self.core.incidents() {
            let detail = self.core.incident(&summary.id).unwrap();
            if let Some(matter) = detail.plugin {
                assert!(detail.view.symptoms.is_empty() && detail.attempts.is_empty());
                assert!(!self.observer.asked.contains_key(&summary.id), "nothing is asked");
                assert!(self.observer.escalated.contains(&summary.id), "people are called");
                assert!(
                    summary.closed.is_some() || open_plugins.insert(matter.trouble.plugin),
                    "one of a plugin"
                );
                continue;
            }
            let is_under_way = detail.phase.is_treatment();
            let mut attempts = detail.attempts.iter().filter(|attempt| attempt.is_counted()).peekable();
            while let Some(attempt) = attempts.next() {
                let is_newest = attempts.peek().is_none();
                if is_newest && is_under_way {
                    continue;
                }
                let outcome = attempt.outcome.expect("a remedy that is over has an outcome");
                let is_reported = self.observer.escalated.contains(&summary.id);
                match outcome {
                    Outcome::Healed => {}
                    Outcome::NotHealed => {
                        assert!(attempt.steps_to_undo().is_empty() || is_reported, "taken back or reported");
                    }
                    Outcome::Unknown | Outcome::Recovered => assert!(is_reported, "unknown is reported"),
                }
            }
        }
    }

    fn crash(&mut self) {
        let folded = fold(&self.transitions);
        assert_eq!(folded, self.core, "folding gives the state back");
        self.core = folded;
        self.open.clear();
        // The run's end is asked for; nobody else acts on its objects meanwhile.
        let step = self.core.recover(self.now);
        self.took(None, step);
    }

    fn make(&mut self, one: Move) {
        match one {
            Move::Pass(ms) => {
                self.now = Now(self.now.0.saturating_add_signed(ms));
                self.send(Event::Tick);
            }
            Move::Observe { service, signal, time, kind, score } => {
                let mut one = observation(SERVICES[service], SIGNALS[signal], self.time(time));
                one.score = score;
                one.kind = if kind { ObservationKind::Missing } else { one.kind };
                self.send(Event::Observed(vec![one]));
            }
            Move::Measure { service, time, abnormal, value } => {
                let time = EventTime(self.time(time));
                self.measure(&[SERVICES[service]], time, abnormal, value);
            }
            Move::Quiet => {
                for _ in 0..4 {
                    self.now = self.now.plus_ms(500);
                    let time = EventTime(self.time(40));
                    self.measure(&SERVICES, time, false, 0.0);
                }
            }
            Move::Answer { which, how, proposals } => {
                if !self.open.is_empty() {
                    let question = self.open.remove(which % self.open.len());
                    if let Some(event) = answer(&question, how, &proposals) {
                        self.send(event);
                    }
                }
            }
            Move::Nonsense { incident, request, kind } => self.nonsense(incident, request, kind),
            Move::Approve { incident, late, yes } => {
                let open = |summary: &crate::IncidentSummary| summary.phase == "awaiting approval";
                let waiting = self.core.incidents().into_iter().find(open).map(|summary| summary.id);
                let incident = waiting.unwrap_or(IncidentId(format!("inc-{incident}")));
                let plan =
                    self.core.incident(&incident).map_or(1, |detail| detail.plan_number).saturating_sub(late);
                self.send(Event::Approved { incident, plan, by: "ann".into(), approved: yes });
            }
            Move::UndoAsked { incident } => {
                let incident = IncidentId(format!("inc-{incident}"));
                let attempt = self.core.newest_attempt(&incident).unwrap_or(1);
                if self.core.undo_objection(&incident, attempt).is_none() {
                    // Who asks for it knows of it.
                    self.observer.escalated.insert(incident.clone());
                }
                self.send(Event::UndoAsked { incident, attempt, by: "ann".into() });
            }
            Move::Pause => self.send(Event::Paused { by: "ann".into(), reason: "look".into() }),
            Move::Resume => self.send(Event::Resumed { by: "ann".into() }),
            Move::Mode(index) => self.configure(MODES[index]),
            Move::Edges(edges) => {
                let name = |index: usize| SERVICES[index].to_owned();
                let edges = edges.into_iter().map(|(caller, callee)| (name(caller), name(callee))).collect();
                self.send(Event::Topology { tenant: Tenant::default(), edges });
            }
            Move::Plugins(told) => {
                let plugins = told.into_iter().map(|(plugin, fell, answers)| {
                    let fallen = vec![plugins::fallen(&(fell % 3).to_string(), fell)];
                    let answering = answers
                        .and_then(|(version, stands_in)| plugins::answering(&version.to_string(), stands_in));
                    plugins::trouble(SERVICES[plugin], fallen, answering)
                });
                self.send(Event::Plugins { plugins: plugins.collect() });
            }
            Move::Acknowledge { incident } => {
                let about_plugin =
                    |summary: &crate::IncidentSummary| summary.title.is_some() && summary.closed.is_none();
                let open = self.core.incidents().into_iter().find(about_plugin).map(|summary| summary.id);
                let incident = open.unwrap_or(IncidentId(format!("inc-{incident}")));
                self.send(Event::Acknowledged { incident, by: "ann".into() });
            }
            Move::Crash => self.crash(),
        }
    }

    /// Points for all series of these services, and for all expectations.
    fn measure(&mut self, services: &[&str], time: EventTime, abnormal: bool, value: f64) {
        let keys = services.iter().flat_map(|service| SIGNALS.map(|signal| series(service, signal).key));
        let points = keys.map(|series| Measurement { series, time, value, abnormal }).collect();
        let incidents = self.core.incidents().into_iter();
        let expected =
            incidents.map(|incident| ExpectationPoint { incident: incident.id, index: 0, time, value });
        let expected = expected.collect();
        self.send(Event::Measured { series: points, expected });
    }

    /// Mostly later than all before, sometimes not.
    fn time(&mut self, jitter: u64) -> u64 {
        self.event_time += 10;
        self.event_time.saturating_sub(if jitter < 5 { 30 } else { 0 })
    }

    /// An answer that was never asked for, except by chance of the request: then the driver would have sent it.
    fn nonsense(&mut self, incident: u64, request: u64, kind: usize) {
        let incident = IncidentId(format!("inc-{incident}"));
        let is_open = self.open.iter().any(|effect| question(effect) == Some((&incident, request)));
        if is_open {
            return;
        }
        let event = match kind {
            0 => Event::Diagnosed { incident, request, findings: Ok(findings("x")) },
            1 => Event::Decided { incident, request, decision: Ok(decision(vec![])) },
            2 => Event::Planned { incident, request, plan: Err("no".into()) },
            3 => Event::Executed { incident, request, result: failed(vec![]) },
            4 => Event::Undone { incident, request, result: done() },
            _ => Event::Reconciled { incident, request, result: failed(vec![]) },
        };
        let before = self.core.clone();
        let step = self.core.step(&event, before.now);
        let due = before.clone().step(&Event::Tick, before.now);
        assert_eq!(step, due, "an answer that nobody asked for does no more than a tick: {event:?}");
        self.core = before;
    }
}

fn question(effect: &Effect) -> Option<(&IncidentId, u64)> {
    match effect {
        Effect::Diagnose { incident, request, .. }
        | Effect::Decide { incident, request, .. }
        | Effect::Plan { incident, request, .. }
        | Effect::Execute { incident, request, .. }
        | Effect::Undo { incident, request, .. }
        | Effect::Reconcile { incident, request, .. } => Some((incident, *request)),
        _ => None,
    }
}

fn is_question(effect: &Effect) -> bool {
    question(effect).is_some()
}

fn answer(effect: &Effect, how: usize, proposals: &[(usize, bool, usize)]) -> Option<Event> {
    let (incident, request) = question(effect)?;
    let incident = incident.clone();
    let result = |applied: bool| match how {
        0..=6 => done(),
        7 => failed(vec![receipt(0)]),
        8 => failed(vec![]),
        9 => RunResult { receipts: vec![], ..done() },
        10 => RunResult { done: false, note: "?".into(), receipts: vec![], uncertain: true },
        _ if applied => failed(vec![receipt(0)]),
        _ => failed(vec![receipt(7)]),
    };
    Some(match effect {
        Effect::Diagnose { .. } if how == 0 => {
            Event::Diagnosed { incident, request, findings: Err("trap".into()) }
        }
        Effect::Diagnose { .. } => Event::Diagnosed { incident, request, findings: Ok(findings("checkout")) },
        Effect::Decide { .. } if how == 0 => {
            Event::Decided { incident, request, decision: Err("line 3".into()) }
        }
        Effect::Decide { .. } => {
            let made = proposals.iter().map(|(verdict, is_config, service)| {
                let verdict = if how < 8 { Verdict::Act } else { VERDICTS[*verdict] };
                proposal(verdict, if *is_config { "config" } else { "restart" }, SERVICES[*service])
            });
            Event::Decided { incident, request, decision: Ok(decision(made.collect())) }
        }
        Effect::Plan { .. } if how == 0 => Event::Planned { incident, request, plan: Err("no".into()) },
        Effect::Plan { .. } if how == 1 => {
            Event::Planned { incident, request, plan: Ok(plan("strange", "mail")) }
        }
        Effect::Plan { action, target, .. } => {
            let mut made = plan(action, &target.0);
            if how == 2 {
                made.expectations.clear();
            }
            Event::Planned { incident, request, plan: Ok(made) }
        }
        Effect::Execute { dry_run, .. } => Event::Executed { incident, request, result: result(!dry_run) },
        Effect::Undo { .. } => Event::Undone { incident, request, result: result(true) },
        Effect::Reconcile { .. } => Event::Reconciled { incident, request, result: result(true) },
        _ => return None,
    })
}

/// The state from the ledger, read from bytes.
fn fold(transitions: &[Transition]) -> Core {
    let mut core = Core::new();
    for transition in transitions {
        let bytes = serde_json::to_vec(transition).unwrap();
        core.apply(&serde_json::from_slice(&bytes).unwrap());
    }
    core
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, failure_persistence: None, ..ProptestConfig::default() })]

    /// Guarantees: the rules at the head of the crate, for every sequence of events; and replay gives the same steps.
    #[test]
    fn every_sequence_keeps_the_rules(moves in prop::collection::vec(moves(), 0..400)) {
        let mut run = Run::new();
        for one in moves {
            run.make(one);
        }
        prop_assert_eq!(&fold(&run.transitions), &run.core);
        let times: Vec<Now> = run.transitions.iter().map(|transition| transition.at).collect();
        prop_assert!(times.is_sorted(), "time never goes backwards");

        let mut replayed = Core::new();
        for (event, now, step) in &run.inputs {
            let bytes = serde_json::to_vec(&step).unwrap();
            let again = match event {
                Some(event) => replayed.step(event, *now),
                None => replayed.recover(*now),
            };
            prop_assert_eq!(&serde_json::to_vec(&again).unwrap(), &bytes, "replay gives the same, bit for bit");
        }
        prop_assert_eq!(&replayed, &run.core);

        // A ledger with holes, or read backwards, gives some state, but never a panic.
        let mut holes: Vec<Transition> = run.transitions.iter().step_by(3).cloned().collect();
        fold(&holes).recover(Now(0));
        holes.reverse();
        fold(&holes).recover(Now(u64::MAX));
    }
}

/// Guarantees: the random driver gets as far as heals and undos, so that the property above says something.
#[test]
fn the_random_driver_goes_far() {
    let mut runner = proptest::test_runner::TestRunner::deterministic();
    let (mut healed, mut undone, mut runs) = (0, 0, 0);
    for _ in 0..200 {
        let tree = prop::collection::vec(moves(), 400).new_tree(&mut runner).unwrap();
        let mut run = Run::new();
        tree.current().into_iter().for_each(|one| run.make(one));
        healed += run.observer.healed;
        undone += run.observer.undone;
        runs += run.observer.runs.len();
    }
    assert!(healed > 20 && undone > 20 && runs > 200, "{healed} heals, {undone} undos, {runs} runs");
}
