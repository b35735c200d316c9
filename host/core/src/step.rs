//! One event in: which transitions it brings about, and what follows from them at once.

use crate::{
    Core, Effect, Event, Step, ask,
    correlate::{self, Place},
    event::{ExpectationPoint, RequestId},
    incident::{Incident, Phase},
    progress,
    symptom::{self, Candidate, Seen, Tracked},
    transition::{BoundPoint, Change, IncidentChange, SCHEMA_VERSION, SeriesPoint, Transition},
    verify,
};
use salve_model::{
    Tenant,
    incident::{Decision, Findings, IncidentId},
    plan::Plan,
    telemetry::{Measurement, Observation, SeriesKey},
    time::Now,
};
use std::collections::{BTreeMap, BTreeSet};

/// Most transitions that follow from one event. Never reached: every circle of the life cycle waits
/// for an answer or for time. It keeps a mistake in that from hanging the daemon.
const FOLLOWING_MAX: usize = 10_000;

impl Core {
    /// Takes in one event: decides what changes, changes it, and says what is to be done.
    ///
    /// `now` is receive time; one that is earlier than that of an earlier transition counts as that one. If the step
    /// has no transitions, the state is as before and the event need not be recorded.
    pub fn step(&mut self, event: &Event, now: Now) -> Step {
        let mut stepper = Stepper::new(self, now);
        stepper.take(event);
        stepper.follow();
        stepper.step
    }
}

/// A step while it is being made.
pub(crate) struct Stepper<'a> {
    pub(crate) core: &'a mut Core,
    pub(crate) now: Now,
    pub(crate) step: Step,
}

impl<'a> Stepper<'a> {
    pub(crate) fn new(core: &'a mut Core, now: Now) -> Self {
        let now = now.max(core.now);
        Self { core, now, step: Step::default() }
    }

    /// Changes the state and asks for what the change asks for.
    pub(crate) fn commit(&mut self, change: Change) {
        let transition = Transition { schema_version: SCHEMA_VERSION, at: self.now, change };
        let id = transition.incident().cloned();
        let watched =
            |core: &Core| id.as_ref().and_then(|id| core.number(id)).map(|number| ask::watch(core, number));
        let before = watched(self.core);
        self.core.apply(&transition);
        let after = watched(self.core);
        if before != after
            && let Some(watch) = after
        {
            // Only the last one of a step counts.
            let incident = id.as_ref();
            self.step.effects.retain(
                |effect| !matches!(effect, Effect::Watch { incident: other, .. } if Some(other) == incident),
            );
            self.step.effects.push(watch);
        }
        self.step.effects.extend(ask::effect(self.core, &transition));
        self.step.transitions.push(transition);
    }

    /// Changes one incident.
    pub(crate) fn change(&mut self, number: u64, change: IncidentChange) {
        if let Some(incident) = self.core.incidents.get(&number) {
            let id = incident.id.clone();
            self.commit(Change::Incident(id, change));
        }
    }

    /// Lets every open incident go as far as it can by itself; what one sets free, an older one may take at once.
    pub(crate) fn follow(&mut self) {
        let mut budget = FOLLOWING_MAX;
        loop {
            let before = self.step.transitions.len();
            for number in self.core.open_numbers() {
                while let Some(incident) = self.core.incidents.get(&number)
                    && let Some(change) = progress::next(self.core, incident, self.now)
                    && budget > 0
                {
                    budget -= 1;
                    self.change(number, change);
                }
            }
            if self.step.transitions.len() == before {
                break;
            }
        }
    }

    pub(crate) fn take(&mut self, event: &Event) {
        match event {
            Event::Tick => {}
            Event::Configured { settings, targets } => {
                if self.core.settings != *settings || self.core.targets != *targets {
                    let settings = Box::new(settings.clone());
                    self.commit(Change::Configured { settings, targets: targets.clone() });
                }
            }
            Event::Topology { tenant, edges } => {
                let topology: BTreeSet<(String, String)> = edges.iter().cloned().collect();
                let known = self.core.topology.get(tenant);
                if known.map_or(!topology.is_empty(), |known| *known != topology) {
                    let edges = topology.into_iter().collect();
                    self.commit(Change::TopologyChanged { tenant: tenant.clone(), edges });
                }
            }
            Event::Observed(observations) => {
                observations.iter().filter(|one| symptom::counts(one)).for_each(|one| self.observe(one));
            }
            Event::Measured { series, expected } => self.measure(series, expected),
            Event::Diagnosed { incident, request, findings } => self.diagnosed(incident, *request, findings),
            Event::Decided { incident, request, decision } => self.decided(incident, *request, decision),
            Event::Planned { incident, request, plan } => self.planned(incident, *request, plan),
            Event::Executed { incident, request, result } => {
                self.answer(incident, |asked, phase| match phase {
                    Phase::Executing { request: open, dry_run, .. } if open == request => {
                        progress::after_run(asked, result, *dry_run, false)
                    }
                    Phase::Reconciling { request: open, undo: false, .. } if open == request => {
                        progress::after_run(asked, result, false, false)
                    }
                    _ => None,
                });
            }
            Event::Undone { incident, request, result } => {
                self.answer(incident, |asked, phase| match phase {
                    Phase::Undoing { request: open, .. }
                    | Phase::Reconciling { request: open, undo: true, .. }
                        if open == request =>
                    {
                        progress::after_undo(asked, result, false)
                    }
                    _ => None,
                });
            }
            Event::Reconciled { incident, request, result } => {
                self.answer(incident, |asked, phase| match phase {
                    Phase::Reconciling { request: open, undo: false, .. } if open == request => {
                        progress::after_run(asked, result, false, true)
                    }
                    Phase::Reconciling { request: open, undo: true, .. } if open == request => {
                        progress::after_undo(asked, result, true)
                    }
                    _ => None,
                });
            }
            Event::Approved { incident, plan, by, approved } => {
                if self.core.approval_objection(incident, *plan, *approved).is_none() {
                    let by = by.clone();
                    let change = if *approved {
                        IncidentChange::Approved { by }
                    } else {
                        IncidentChange::Refused { by }
                    };
                    self.answer(incident, |_, _| Some(change));
                }
            }
            Event::UndoAsked { incident, attempt, by } => {
                if self.core.undo_objection(incident, *attempt).is_none() {
                    let by = by.clone();
                    self.answer(incident, |_, _| Some(IncidentChange::UndoAsked { by }));
                }
            }
            Event::Plugins { plugins } => self.plugins(plugins),
            Event::Acknowledged { incident, by } => self.acknowledged(incident, by),
            Event::Paused { by, reason } if self.core.pause.is_none() => {
                self.commit(Change::Paused { by: by.clone(), reason: reason.clone() });
            }
            Event::Resumed { by } if self.core.pause.is_some() => {
                self.commit(Change::Resumed { by: by.clone() });
            }
            Event::Paused { .. } | Event::Resumed { .. } => {}
        }
    }

    /// An answer for an incident; `decide` gives none if it is not the answer to the question that is open.
    fn answer(
        &mut self,
        id: &IncidentId,
        decide: impl FnOnce(&progress::Asked<'_>, &Phase) -> Option<IncidentChange>,
    ) {
        let Some(number) = self.core.number(id) else { return };
        let Some(incident) = self.core.incidents.get(&number) else { return };
        let asked = progress::Asked { settings: &self.core.settings, incident, now: self.now };
        if let Some(change) = decide(&asked, &incident.phase) {
            self.change(number, change);
        }
    }

    fn diagnosed(&mut self, id: &IncidentId, request: RequestId, findings: &Result<Findings, String>) {
        self.answer(id, |_, phase| match phase {
            Phase::Diagnosing { request: open, .. } if *open == request => {
                let findings = findings.clone().and_then(|findings| {
                    let is_sound = are_finite(&findings);
                    is_sound
                        .then_some(findings)
                        .ok_or_else(|| "the findings hold a number that is none".into())
                });
                Some(IncidentChange::Diagnosed { findings })
            }
            _ => None,
        });
    }

    fn decided(&mut self, id: &IncidentId, request: RequestId, decision: &Result<Decision, String>) {
        self.answer(id, |asked, phase| match phase {
            Phase::Deciding { request: open, .. } if *open == request => Some(match decision {
                Ok(decision) => IncidentChange::Decided { decision: Box::new(decision.clone()) },
                Err(why) => progress::decision_failed(asked.settings, asked.now, why.clone()),
            }),
            _ => None,
        });
    }

    fn planned(&mut self, id: &IncidentId, request: RequestId, plan: &Result<Plan, String>) {
        self.answer(id, |asked, phase| match phase {
            Phase::Planning { request: open, proposal, .. } if *open == request => {
                let checked = plan.clone().and_then(|plan| {
                    let flaw =
                        asked.incident.proposal(*proposal).and_then(|chosen| progress::flaw(&plan, chosen));
                    flaw.map_or(Ok(plan), Err)
                });
                Some(match checked {
                    Ok(plan) => IncidentChange::Planned { plan: Box::new(plan) },
                    Err(why) => IncidentChange::PlanRefused { guard: None, why },
                })
            }
            _ => None,
        });
    }

    /// One abnormal point.
    fn observe(&mut self, observation: &Observation) {
        let series = observation.series.key;
        let known = self
            .core
            .incidents
            .values()
            .filter(|incident| incident.is_open())
            .find_map(|incident| Some((incident.number, incident.symptom(series)?)));
        if let Some((number, tracked)) = known {
            if tracked.is_new_abnormal(observation.time) {
                self.change(number, IncidentChange::Seen(Box::new(Seen::from(observation))));
            }
            return;
        }
        let known = self.core.candidates.get(&series);
        let Some(candidate) = Candidate::after(known, observation, self.now, &self.core.settings) else {
            return;
        };
        if candidate.points < self.core.settings.confirm_points_by(&observation.detector) {
            let forgotten = self.candidates_to_forget(series, &candidate.tenant);
            self.commit(Change::Suspected { series, candidate, forgotten });
        } else {
            self.confirm(observation, &candidate);
        }
    }

    /// A series becomes a symptom.
    fn confirm(&mut self, observation: &Observation, candidate: &Candidate) {
        let core = &*self.core;
        let settings = &core.settings;
        let symptom = Box::new(Tracked::new(observation, candidate, self.now));
        let until = self.now.plus_ms(settings.settle_ms);
        let place =
            correlate::place(&observation.series, &core.incidents, &core.topology, settings, self.now);
        match place {
            Place::Open => {
                let number = core.next_number;
                let id = IncidentId(format!("inc-{number}"));
                let forgotten =
                    self.incidents_to_forget(|closed| closed.is_about(&observation.series.tenant));
                self.commit(Change::Incident(
                    id,
                    IncidentChange::Opened { number, symptom, until, forgotten },
                ));
            }
            Place::Reopen(number) => self.change(number, IncidentChange::Reopened { symptom, until }),
            Place::Join(number) | Place::Overflow(number) => {
                let Some(incident) = core.incidents.get(&number) else { return };
                let symptoms_max = usize::try_from(settings.symptoms_max.max(1)).unwrap_or(usize::MAX);
                let change = if incident.symptoms.len() >= symptoms_max {
                    IncidentChange::SymptomRefused { series: observation.series.key }
                } else {
                    let overflow = matches!(place, Place::Overflow(_));
                    let look_again = looks_again(incident).then_some(until);
                    IncidentChange::Joined { symptom, overflow, look_again }
                };
                self.change(number, change);
            }
        }
    }

    /// Candidates of this tenant that leave: those whose next point would come too late, and the oldest if there are too many.
    fn candidates_to_forget(&self, joining: SeriesKey, tenant: &Tenant) -> Vec<SeriesKey> {
        let settings = &self.core.settings;
        let candidates_max = usize::try_from(settings.candidates_max.max(1)).unwrap_or(usize::MAX);
        let candidates = || self.core.candidates.iter().filter(|(_, candidate)| candidate.tenant == *tenant);
        if self.core.candidates.len() < candidates_max
            || self.core.candidates.contains_key(&joining)
            || candidates().count() < candidates_max
        {
            return Vec::new();
        }
        let late: Vec<SeriesKey> = candidates()
            .filter(|(_, candidate)| self.now.since_ms(candidate.latest) > settings.confirm_within_ms)
            .map(|(key, _)| *key)
            .collect();
        if !late.is_empty() {
            return late;
        }
        candidates()
            .min_by_key(|(key, candidate)| (candidate.latest, **key))
            .map(|(key, _)| *key)
            .into_iter()
            .collect()
    }

    /// Closed incidents that leave, of those that count: the one that ended first before others.
    pub(crate) fn incidents_to_forget(&self, counts: impl Fn(&Incident) -> bool) -> Vec<u64> {
        let mut closed: Vec<(Now, u64)> = self
            .core
            .incidents
            .values()
            .filter(|incident| counts(incident))
            .filter_map(|incident| match incident.phase {
                Phase::Closed { at } => Some((at, incident.number)),
                _ => None,
            })
            .collect();
        closed.sort_unstable();
        let history_max = usize::try_from(self.core.settings.history_max).unwrap_or(usize::MAX);
        let over = closed.len().saturating_sub(history_max);
        closed.into_iter().take(over).map(|(_, number)| number).collect()
    }

    /// New points of watched series.
    fn measure(&mut self, series: &[Measurement], expected: &[ExpectationPoint]) {
        for number in self.core.open_numbers() {
            let Some(incident) = self.core.incidents.get(&number) else { continue };
            let points = new_points(incident, series);
            let expected = new_bound_points(incident, expected);
            if !points.is_empty() || !expected.is_empty() {
                self.change(number, IncidentChange::Measured { points, expected });
            }
        }
    }
}

/// A further symptom is reason enough to take the incident up again.
fn looks_again(incident: &Incident) -> bool {
    match &incident.phase {
        // A person who is asked is asked afresh: later evidence may speak for something else.
        Phase::Recorded { .. } | Phase::AwaitingApproval { .. } => true,
        Phase::Escalated { cause, .. } => cause.looks_again(),
        _ => false,
    }
}

/// Points of the incident's symptoms that are newer than what is known.
fn new_points(incident: &Incident, series: &[Measurement]) -> Vec<SeriesPoint> {
    let mut newest: BTreeMap<SeriesKey, _> =
        incident.symptoms.iter().map(|tracked| (tracked.key(), tracked.measured)).collect();
    let mut points = Vec::new();
    for point in series {
        if let Some(known) = newest.get_mut(&point.series)
            && known.is_none_or(|known| point.time > known)
        {
            *known = Some(point.time);
            // What is no number proves nothing, least of all health.
            let abnormal = point.abnormal || !point.value.is_finite();
            points.push(SeriesPoint { series: point.series, time: point.time, abnormal });
        }
    }
    points
}

/// Points for the incident's expectations that change what is known, while it verifies.
fn new_bound_points(incident: &Incident, expected: &[ExpectationPoint]) -> Vec<BoundPoint> {
    let (Phase::Verifying { .. }, Some(plan)) = (&incident.phase, &incident.plan) else { return Vec::new() };
    let mut bounds = incident.bounds.clone();
    let mut points = Vec::new();
    for point in expected.iter().filter(|point| point.incident == incident.id) {
        let Ok(index) = usize::try_from(point.index) else { continue };
        let (Some(expectation), Some(bound)) = (plan.expectations.get(index), bounds.get_mut(index)) else {
            continue;
        };
        let within = verify::is_within(expectation, point.value);
        if bound.is_new(point.time, within) {
            bound.measure(point.time, within, Now(0));
            points.push(BoundPoint { index: point.index, time: point.time, within });
        }
    }
    points
}

fn are_finite(findings: &Findings) -> bool {
    findings.hypotheses.iter().all(|hypothesis| {
        hypothesis.probability.is_finite()
            && hypothesis.evidence.iter().all(|evidence| evidence.weight.is_finite())
    })
}
