//! Folding: the only code that changes the core's state. It decides nothing, so that a new binary reads an old case
//! as it was decided then.

use crate::{
    Core, Pause,
    incident::{AskedPlan, Attempt, EscalationCause, Held, Incident, Phase},
    plugin::PluginMatter,
    timeline,
    transition::{AfterRun, AfterUndo, Change, IncidentChange, Transition},
    verify::BoundState,
};
use salve_model::{incident::Outcome, plan::RunResult, time::Now};

impl Core {
    /// Takes in one recorded transition. One about an incident that is not known changes nothing but the time.
    pub fn apply(&mut self, transition: &Transition) {
        let at = self.now.max(transition.at);
        self.now = at;
        match &transition.change {
            Change::Configured { settings, targets } => {
                self.settings = (**settings).clone();
                self.targets.clone_from(targets);
            }
            Change::TopologyChanged { tenant, edges } => {
                self.topology.remove(tenant);
                if !edges.is_empty() {
                    self.topology.insert(tenant.clone(), edges.iter().cloned().collect());
                }
            }
            Change::Paused { by, reason } => {
                self.pause = Some(Pause { by: by.clone(), reason: reason.clone(), since: at });
            }
            Change::Resumed { .. } => self.pause = None,
            Change::Suspected { series, candidate, forgotten } => {
                for key in forgotten {
                    self.candidates.remove(key);
                }
                let counted = u64::try_from(forgotten.len()).unwrap_or(u64::MAX);
                self.counts.candidates_forgotten = self.counts.candidates_forgotten.saturating_add(counted);
                self.candidates.insert(*series, candidate.clone());
            }
            Change::PluginsChanged { plugins } => {
                let by_name = plugins.iter().map(|trouble| (trouble.plugin.clone(), trouble.clone()));
                self.plugins = by_name.collect();
            }
            Change::PluginOverflowed { .. } => {
                self.counts.plugins_overflowed = self.counts.plugins_overflowed.saturating_add(1);
            }
            Change::Incident(_, change @ IncidentChange::PluginOpened { number, trouble, forgotten }) => {
                let incident = Incident::of_plugin(*number, PluginMatter::new(trouble), at);
                self.open(incident, forgotten, change, at);
            }
            Change::Incident(_, change @ IncidentChange::Opened { number, symptom, until, forgotten }) => {
                self.candidates.remove(&symptom.key());
                let phase = Phase::Settling { until: *until };
                self.open(Incident::new(*number, (**symptom).clone(), phase), forgotten, change, at);
            }
            Change::Incident(id, change) => {
                let Some(number) = self.number(id) else { return };
                self.count(number, change, at);
                if let Some(incident) = self.incidents.get_mut(&number) {
                    if let Some(text) = timeline::sentence(change, incident) {
                        incident.timeline.push(at, text);
                    }
                    incident.apply(change, at, self.settings.recover_points);
                }
                self.record_run(number, change, at);
            }
        }
    }

    /// Takes in a new incident; those with the numbers `forgotten` leave for it.
    fn open(&mut self, mut incident: Incident, forgotten: &[u64], change: &IncidentChange, at: Now) {
        for old in forgotten {
            self.incidents.remove(old);
        }
        self.next_number = self.next_number.max(incident.number.saturating_add(1));
        self.counts.incidents_opened = self.counts.incidents_opened.saturating_add(1);
        if let Some(text) = timeline::sentence(change, &incident) {
            incident.timeline.push(at, text);
        }
        self.incidents.insert(incident.number, incident);
    }

    /// What a change about an incident means for the whole core.
    fn count(&mut self, number: u64, change: &IncidentChange, at: Now) {
        match change {
            IncidentChange::Joined { symptom, overflow, .. } => {
                self.candidates.remove(&symptom.key());
                self.counts.symptoms_overflowed =
                    self.counts.symptoms_overflowed.saturating_add(u64::from(*overflow));
            }
            IncidentChange::Reopened { symptom, .. } => {
                self.candidates.remove(&symptom.key());
                self.counts.incidents_reopened = self.counts.incidents_reopened.saturating_add(1);
            }
            IncidentChange::SymptomRefused { series } => {
                self.candidates.remove(series);
                self.counts.symptoms_refused = self.counts.symptoms_refused.saturating_add(1);
            }
            IncidentChange::RunStarted { dry_run: false, .. } => {
                let window_ms = self.settings.rate_window_ms;
                self.run_starts.retain(|(start, _)| at.since_ms(*start) < window_ms);
                let tenant = self.incidents.get(&number).map(Incident::tenant).unwrap_or_default();
                self.run_starts.push_back((at, tenant));
            }
            _ => {}
        }
    }

    /// Remembers the end of a run on each object that it may have touched.
    fn record_run(&mut self, number: u64, change: &IncidentChange, at: Now) {
        let touched = match change {
            IncidentChange::RunEnded { next, .. } => {
                matches!(next, AfterRun::Verify { .. } | AfterRun::Undo | AfterRun::Unknown)
            }
            IncidentChange::UndoEnded { .. } => true,
            _ => false,
        };
        let Some(attempt) = self.incidents.get(&number).and_then(|incident| incident.attempts.last()) else {
            return;
        };
        if touched {
            let cooldown_ms = self.settings.cooldown_ms;
            self.run_ends.retain(|_, end| at.since_ms(*end) < cooldown_ms);
            self.run_ends
                .extend(crate::incident::objects(&attempt.plan).map(|object| (object.to_owned(), at)));
        }
    }
}

/// Whether no answer to the plan that a person was asked about is waited for any longer. What may be told to nobody yet is asked
/// anew.
fn ends_question(change: &IncidentChange) -> bool {
    use IncidentChange as Change;
    matches!(
        change,
        Change::Reopened { .. }
            | Change::Resettled { .. }
            | Change::Waited { .. }
            | Change::Recorded { .. }
            | Change::Refused { .. }
            | Change::Approved { .. }
            | Change::RunStarted { .. }
            | Change::UndoAsked { .. }
            | Change::Suspended
            | Change::Escalated { .. }
    )
}

impl Incident {
    fn apply(&mut self, change: &IncidentChange, at: Now, recover_points: u32) {
        if ends_question(change) {
            self.asked = None;
        }
        match change {
            IncidentChange::Opened { .. } | IncidentChange::PluginOpened { .. } => {}
            IncidentChange::PluginFell(trouble) => {
                self.plugin = Some(PluginMatter::new(trouble));
                self.phase = Phase::Escalating { cause: EscalationCause::PluginFell, reason: trouble.call() };
            }
            IncidentChange::PluginAnswers { answering } => {
                if let Some(matter) = &mut self.plugin {
                    matter.trouble.answering.clone_from(answering);
                }
            }
            IncidentChange::PluginSettled { why } => {
                if let Some(matter) = &mut self.plugin {
                    matter.settled = Some(why.clone());
                }
            }
            IncidentChange::Reopened { symptom, until } => {
                self.symptoms.retain(|tracked| tracked.key() != symptom.key());
                self.symptoms.push((**symptom).clone());
                self.reopened = self.reopened.saturating_add(1);
                self.attempts_before_reopen = u32::try_from(self.attempts.len()).unwrap_or(u32::MAX);
                self.outcome = None;
                self.rejected.clear();
                self.start_over(Phase::Settling { until: *until });
            }
            IncidentChange::Joined { symptom, look_again, .. } => {
                self.symptoms.push((**symptom).clone());
                if let Some(until) = look_again {
                    self.start_over(Phase::Settling { until: *until });
                }
            }
            IncidentChange::SymptomRefused { .. } => {
                self.symptoms_refused = self.symptoms_refused.saturating_add(1);
            }
            IncidentChange::Seen(seen) => {
                let run_started = self.attempts.last().map(|attempt| attempt.started);
                if let Some(tracked) = self.symptoms.iter_mut().find(|tracked| tracked.key() == seen.series) {
                    tracked.see(seen, at, run_started);
                }
            }
            IncidentChange::Measured { points, expected } => {
                for point in points {
                    if let Some(tracked) =
                        self.symptoms.iter_mut().find(|tracked| tracked.key() == point.series)
                    {
                        tracked.measure(point.time, point.abnormal, at, recover_points);
                    }
                }
                for point in expected {
                    let index = usize::try_from(point.index).unwrap_or(usize::MAX);
                    if let Some(bound) = self.bounds.get_mut(index) {
                        bound.measure(point.time, point.within, at);
                    }
                }
            }
            IncidentChange::DiagnosisAsked { request, until } => self.ask_afresh(*request, *until),
            IncidentChange::Released { request, until } => self.ask_afresh(*request, *until),
            IncidentChange::Diagnosed { findings } => {
                self.findings = findings.as_ref().ok().cloned();
                self.phase = Phase::Diagnosed;
            }
            IncidentChange::DecisionAsked { request, until } => {
                self.decision = None;
                self.refusal = None;
                self.next_request = request.saturating_add(1);
                self.phase = Phase::Deciding { request: *request, until: *until };
            }
            IncidentChange::Decided { decision } => {
                self.unanswered = 0;
                self.decision = Some((**decision).clone());
                self.phase = Phase::Choosing { next: 0 };
            }
            IncidentChange::DecisionFailed { until, .. } => {
                self.unanswered = self.unanswered.saturating_add(1);
                self.phase = Phase::Waiting { until: *until };
            }
            IncidentChange::Skipped { proposal, .. } => {
                self.phase = Phase::Choosing { next: proposal.saturating_add(1) };
            }
            IncidentChange::Resettled { until } => {
                self.phase = Phase::Settling { until: *until };
            }
            IncidentChange::Waited { until, .. } => {
                self.phase = Phase::Waiting { until: *until };
            }
            IncidentChange::Recorded { mode, .. } => {
                self.phase = Phase::Recorded { mode: *mode };
            }
            IncidentChange::PlanAsked { request, proposal, until } => {
                self.plan = None;
                self.approved_by = None;
                self.next_request = request.saturating_add(1);
                self.phase = Phase::Planning { request: *request, proposal: *proposal, until: *until };
            }
            IncidentChange::Planned { plan } => {
                self.plan = Some((**plan).clone());
                let is_same = |asked: &AskedPlan| asked.number == self.plans && asked.plan == **plan;
                if !self.asked.as_ref().is_some_and(is_same) {
                    self.plans = self.plans.saturating_add(1);
                }
                self.phase = Phase::Planned { proposal: self.chosen(), held: None };
            }
            IncidentChange::PlanRefused { why, .. } => self.refuse(why.clone()),
            IncidentChange::Refused { by } => {
                self.rejected.extend(self.proposal(self.chosen()).cloned());
                self.refuse(format!("`{by}` refused the plan"));
            }
            IncidentChange::Held { guard, reason } => {
                self.held_since.get_or_insert(at);
                let held = Some(Held { guard: *guard, reason: reason.clone() });
                self.phase = Phase::Planned { proposal: self.chosen(), held };
            }
            IncidentChange::ApprovalAsked { until, .. } => {
                let number = self.plans;
                self.asked = self.plan.clone().map(|plan| AskedPlan { number, plan, until: *until });
                self.phase = Phase::AwaitingApproval { proposal: self.chosen(), until: *until };
            }
            IncidentChange::Approved { by } => {
                self.approved_by = Some(by.clone());
                self.phase = Phase::Planned { proposal: self.chosen(), held: None };
            }
            IncidentChange::RunStarted { request, until, dry_run } => {
                self.start_run(*request, *until, *dry_run, at)
            }
            IncidentChange::RunEnded { result, next } => self.end_run(result, next, at),
            IncidentChange::ReconcileAsked { request, until, undo } => {
                self.phase = Phase::Reconciling { request: *request, until: *until, undo: *undo };
            }
            IncidentChange::VerifyExtended { until, .. } => {
                if let Phase::Verifying { since, .. } = self.phase {
                    self.phase = Phase::Verifying { since, until: *until, extended: true };
                }
            }
            IncidentChange::VerifyResumed { since, until } => {
                if let Phase::Verifying { extended, .. } = self.phase {
                    self.phase = Phase::Verifying { since: *since, until: *until, extended };
                }
                for bound in &mut self.bounds {
                    bound.points = 0;
                }
            }
            IncidentChange::Verified { outcome, reason, undo } => {
                self.conclude(*outcome, reason);
                self.phase = match outcome {
                    Outcome::Healed => Phase::Verified,
                    Outcome::NotHealed if *undo => Phase::UndoDue,
                    Outcome::NotHealed => Phase::Diagnosed,
                    Outcome::Unknown | Outcome::Recovered => {
                        Phase::Escalating { cause: EscalationCause::TooLittleData, reason: reason.clone() }
                    }
                };
            }
            IncidentChange::UndoAsked { by } => {
                if let Some(attempt) = self.attempts.last_mut() {
                    attempt.undo_asked_by = Some(by.clone());
                }
                // Whatever was known of it before: a person does not leave it at that.
                self.conclude(Outcome::Unknown, &format!("`{by}` wanted it taken back"));
                self.outcome = None;
                self.held_since = None;
                self.phase = Phase::UndoDue;
            }
            IncidentChange::UndoStarted { request, until } => {
                self.next_request = request.saturating_add(1);
                if let Some(attempt) = self.attempts.last_mut() {
                    attempt.undo_runs = attempt.undo_runs.saturating_add(1);
                }
                self.phase = Phase::Undoing { request: *request, until: *until };
            }
            IncidentChange::UndoEnded { result, next } => {
                if let Some(attempt) = self.attempts.last_mut() {
                    attempt.undone.extend(result.receipts.iter().filter(|receipt| receipt.applied).cloned());
                    attempt.undo_uncertain = result.uncertain;
                }
                self.phase = match next {
                    AfterUndo::NextRemedy => Phase::Diagnosed,
                    // Who asked for it need not be called.
                    AfterUndo::TakenBack { by } => Phase::Escalated {
                        cause: EscalationCause::TakenBack,
                        reason: format!("`{}` had the remedy taken back", salve_model::text::escape(by, 200)),
                    },
                    AfterUndo::Again => Phase::UndoDue,
                    AfterUndo::Failed { reason, .. } => {
                        let cause = if result.uncertain {
                            EscalationCause::UncertainWrite
                        } else {
                            EscalationCause::UndoFailed
                        };
                        Phase::Escalating { cause, reason: reason.clone() }
                    }
                };
            }
            IncidentChange::Escalated { cause, reason } => {
                self.held_since = None;
                self.unanswered = 0;
                self.phase = Phase::Escalated { cause: *cause, reason: reason.clone() };
            }
            IncidentChange::Suspended => {
                self.held_since = None;
                self.phase = Phase::Suspended;
            }
            IncidentChange::Closed { outcome } => {
                self.outcome = Some(*outcome);
                self.held_since = None;
                self.phase = Phase::Closed { at };
            }
        }
    }

    /// Index of the proposal that is under way.
    fn chosen(&self) -> u32 {
        match self.phase {
            Phase::Planning { proposal, .. }
            | Phase::Planned { proposal, .. }
            | Phase::AwaitingApproval { proposal, .. } => proposal,
            _ => 0,
        }
    }

    fn ask_afresh(&mut self, request: u64, until: Now) {
        self.next_request = request.saturating_add(1);
        self.start_over(Phase::Diagnosing { request, until });
    }

    fn start_over(&mut self, phase: Phase) {
        self.findings = None;
        self.decision = None;
        self.plan = None;
        self.approved_by = None;
        self.refusal = None;
        self.phase = phase;
    }

    fn refuse(&mut self, why: String) {
        self.refusal = Some(why);
        self.phase = Phase::Choosing { next: self.chosen().saturating_add(1) };
    }

    fn start_run(&mut self, request: u64, until: Now, dry_run: bool, at: Now) {
        self.next_request = request.saturating_add(1);
        self.held_since = None;
        if let (Some(proposal), Some(plan)) = (self.proposal(self.chosen()).cloned(), self.plan.clone()) {
            self.attempts.push(Attempt {
                proposal,
                plan,
                approved_by: self.approved_by.clone(),
                started: at,
                ended: None,
                result: None,
                undone: Vec::new(),
                undo_runs: 0,
                undo_uncertain: false,
                undo_asked_by: None,
                dry_run,
                interrupted: false,
                outcome: None,
                note: String::new(),
            });
        }
        self.bounds.clear();
        self.phase = Phase::Executing { request, until, dry_run };
    }

    fn end_run(&mut self, result: &RunResult, next: &AfterRun, at: Now) {
        if let Some(attempt) = self.attempts.last_mut() {
            attempt.ended = Some(at);
            attempt.result = Some(result.clone());
            attempt.interrupted = matches!(next, AfterRun::Interrupted { .. });
        }
        self.phase = match next {
            AfterRun::Verify { until } => {
                let bounds = self.plan.as_ref().map_or(0, |plan| plan.expectations.len());
                self.bounds = vec![BoundState::default(); bounds];
                for tracked in &mut self.symptoms {
                    tracked.begin_verification();
                }
                Phase::Verifying { since: at, until: *until, extended: false }
            }
            AfterRun::Undo => {
                self.conclude(Outcome::NotHealed, &result.note);
                Phase::UndoDue
            }
            AfterRun::NextRemedy => {
                self.conclude(Outcome::NotHealed, &result.note);
                Phase::Diagnosed
            }
            AfterRun::Interrupted { until } => {
                self.conclude(Outcome::NotHealed, &result.note);
                Phase::Settling { until: *until }
            }
            AfterRun::Unknown => {
                self.conclude(Outcome::Unknown, &result.note);
                let reason = format!(
                    "nobody can tell what the run did: {}",
                    salve_model::text::escape(&result.note, 300)
                );
                Phase::Escalating { cause: EscalationCause::UncertainWrite, reason }
            }
            AfterRun::Recorded { mode } => Phase::Recorded { mode: *mode },
        };
    }

    /// Writes down how the newest remedy turned out.
    fn conclude(&mut self, outcome: Outcome, note: &str) {
        if let Some(attempt) = self.attempts.last_mut() {
            attempt.outcome = Some(outcome);
            attempt.note = note.to_owned();
        }
    }
}
