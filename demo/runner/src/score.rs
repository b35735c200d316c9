//! Judges a run: was each fault handled rightly, how fast, and did Salve do anything it should not have done.
//!
//! Handled rightly means: one incident, the cause named, the right final action on the right target, healed.

use crate::{
    control::{Attempt, Incident},
    fault::Fault,
    record::{Run, Slot},
};
use serde::Serialize;
use std::ops::Range;

/// One action that was carried out.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(crate) struct ActionFact {
    /// Plugin.
    pub(crate) action: String,
    /// Target.
    pub(crate) target: String,
    /// `healed`, `not_healed`, `unknown`, or `none` while it is under way.
    pub(crate) outcome: String,
    /// It was taken back.
    pub(crate) undone: bool,
    /// In a sentence.
    pub(crate) summary: String,
}

/// What became of one fault.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(crate) struct FaultFact {
    /// Name of the fault.
    pub(crate) fault: Fault,
    /// The service that was hit.
    pub(crate) target: String,
    /// The service that Salve named as the cause.
    pub(crate) diagnosed: Option<String>,
    /// What Salve says is the matter with it.
    pub(crate) mechanism: Option<String>,
    /// In order.
    pub(crate) actions: Vec<ActionFact>,
    /// The incident's outcome; `undetected` without one, `open` if it has not ended.
    pub(crate) outcome: String,
    /// From the fault (leak: from half of its limit) until the incident was opened.
    pub(crate) detect_ms: Option<u64>,
    /// Until the first action.
    pub(crate) act_ms: Option<u64>,
    /// Until the incident was closed as healed.
    pub(crate) heal_ms: Option<u64>,
    /// Incidents that were opened in its slot, or in which something was done in it.
    pub(crate) incidents: usize,
    /// Handled rightly.
    pub(crate) handled: bool,
    /// Why not; empty if it was.
    pub(crate) complaints: Vec<String>,
    /// What drew the service.
    pub(crate) seed: u64,
}

/// The verdict on a run.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Score {
    /// One for each slot with a fault.
    pub(crate) faults: Vec<FaultFact>,
    /// Actions on the surge, on healthy services, or for nothing.
    pub(crate) false_actions: usize,
    /// Incidents that were opened during the surge.
    pub(crate) surge_incidents: usize,
}

impl Score {
    /// Everything was as it should be.
    pub(crate) fn passed(&self) -> bool {
        self.false_actions == 0 && self.faults.iter().all(|fault| fault.handled)
    }
}

/// Judges a run.
pub(crate) fn score(run: &Run) -> Score {
    let faults = run
        .slots
        .iter()
        .filter_map(|slot| Some(judge(run, slot, slot.service?.name(), slot.fault.right_action()?)))
        .collect();
    let surge_incidents = run
        .slots
        .iter()
        .filter(|slot| slot.fault == Fault::Surge)
        .map(|slot| incidents_of(run, time_of(run, slot)).count())
        .sum();
    Score { faults, false_actions: false_actions(run), surge_incidents }
}

/// From this fault until the next one.
fn time_of(run: &Run, slot: &Slot) -> Range<u64> {
    let from = slot.injected;
    let later = run.slots.iter().map(|other| other.injected).filter(|other| *other > from);
    from..later.min().unwrap_or(u64::MAX)
}

/// Incidents that were opened in this time, and those that were open already and in which something was done in it.
fn incidents_of(run: &Run, time: Range<u64>) -> impl Iterator<Item = &Incident> {
    run.incidents.iter().filter(move |incident| {
        time.contains(&incident.opened()) || done_in(incident, &time).next().is_some()
    })
}

fn done_in<'a>(incident: &'a Incident, time: &'a Range<u64>) -> impl Iterator<Item = &'a Attempt> {
    carried_out(incident).filter(|attempt| time.contains(&attempt.started))
}

fn carried_out(incident: &Incident) -> impl Iterator<Item = &Attempt> {
    incident.attempts.iter().filter(|attempt| !attempt.dry_run)
}

/// Actions that began when no fault was there, or on another service than the one that was hit.
fn false_actions(run: &Run) -> usize {
    run.incidents
        .iter()
        .flat_map(carried_out)
        .filter(|attempt| {
            let slot = run.slots.iter().rev().find(|slot| slot.injected <= attempt.started);
            slot.and_then(|slot| slot.service).is_none_or(|service| service.name() != attempt.proposal.target)
        })
        .count()
}

fn judge(run: &Run, slot: &Slot, target: &str, right_action: &str) -> FaultFact {
    let time = time_of(run, slot);
    let incidents: Vec<&Incident> = incidents_of(run, time.clone()).collect();
    let treated = |incident: &'_ &Incident| done_in(incident, &time).next().map(|attempt| attempt.started);
    // The one that was treated, else the first.
    let main = incidents.iter().find(|incident| treated(incident).is_some()).or(incidents.first());
    // One that was open before the fault says nothing of when that was noticed, but that it was when something was done.
    let noticed = |incident: &&Incident| match incident.opened() {
        opened if opened < slot.injected => treated(incident).unwrap_or(opened),
        opened => opened,
    };
    // A leak that was stopped before half of its limit was found before its clock began.
    let clock = match slot.fault {
        Fault::Leak => slot.half.unwrap_or(u64::MAX),
        _ => slot.injected,
    };
    let since = |moment: u64| moment.saturating_sub(clock);
    let actions: Vec<ActionFact> =
        incidents.iter().flat_map(|incident| done_in(incident, &time)).map(action).collect();
    let outcome = match main {
        None => "undetected".to_owned(),
        Some(incident) => incident.outcome.clone().unwrap_or_else(|| "open".to_owned()),
    };
    let cause = main.and_then(|incident| incident.cause());

    let mut complaints = Vec::new();
    if incidents.len() > 1 {
        complaints.push(format!("{} incidents instead of one", incidents.len()));
    }
    match cause {
        Some(cause) if cause.suspect == target => {}
        Some(cause) => complaints.push(format!("the cause is `{target}`, not `{}`", cause.suspect)),
        None => complaints.push("no cause named".to_owned()),
    }
    match actions.last() {
        Some(last) if last.action == right_action && last.target == target => {}
        Some(last) => {
            complaints.push(format!("`{}` on `{}` is not the right action", last.action, last.target))
        }
        None => complaints.push("no action".to_owned()),
    }
    if outcome != "healed" {
        complaints.push(format!("it ended as `{outcome}`"));
    }
    FaultFact {
        fault: slot.fault,
        target: target.to_owned(),
        diagnosed: cause.map(|cause| cause.suspect.clone()),
        mechanism: cause.map(|cause| cause.mechanism.clone()),
        detect_ms: main.map(noticed).map(since),
        act_ms: main.and_then(treated).map(since),
        heal_ms: main.filter(|_| outcome == "healed").and_then(|incident| incident.closed).map(since),
        actions,
        outcome,
        incidents: incidents.len(),
        handled: complaints.is_empty(),
        complaints,
        seed: run.seed,
    }
}

fn action(attempt: &Attempt) -> ActionFact {
    ActionFact {
        action: attempt.proposal.action.clone(),
        target: attempt.proposal.target.clone(),
        outcome: attempt.outcome.clone().unwrap_or_else(|| "none".to_owned()),
        undone: !attempt.undone.is_empty(),
        summary: attempt.plan.summary.clone(),
    }
}

/// The middle value; of an even number the lower of the two.
pub(crate) fn median(values: impl Iterator<Item = u64>) -> Option<u64> {
    let mut values: Vec<u64> = values.collect();
    values.sort_unstable();
    values.get(values.len().checked_sub(1)? / 2).copied()
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::{
        control,
        fault::Service,
        record::{Ledger, Second},
    };

    pub(crate) fn attempt(action: &str, target: &str, started: u64, outcome: &str, undone: bool) -> Attempt {
        Attempt {
            proposal: control::Proposal {
                action: action.into(),
                target: target.into(),
                reason: "because".into(),
            },
            plan: control::Plan { summary: format!("{action} on `{target}`") },
            started,
            undone: if undone { vec![serde_json::json!({})] } else { Vec::new() },
            dry_run: false,
            outcome: Some(outcome.into()),
        }
    }

    pub(crate) fn incident(opened: u64, suspect: &str, attempts: Vec<Attempt>, closed: u64) -> Incident {
        Incident {
            view: control::View { id: format!("inc-{opened}"), started: opened, symptoms: Vec::new() },
            findings: Some(control::Findings {
                hypotheses: vec![control::Hypothesis {
                    suspect: suspect.into(),
                    mechanism: "absent".into(),
                    probability: 0.9,
                    evidence: vec![control::Evidence { text: "silent for 2 s".into() }],
                }],
            }),
            outcome: Some(
                attempts.last().and_then(|attempt| attempt.outcome.clone()).unwrap_or("recovered".into()),
            ),
            attempts,
            timeline: control::Timeline {
                entries: vec![control::Entry { at: opened, text: "opened".into() }],
            },
            closed: Some(closed),
        }
    }

    fn slot(fault: Fault, injected: u64, half: Option<u64>) -> Slot {
        let service = (fault != Fault::Surge).then_some(Service::Checkout);
        Slot { fault, service, injected, half, ended: injected + 20_000, removed: None }
    }

    /// Four slots, each handled rightly; the last one at the second try.
    pub(crate) fn good_run() -> Run {
        let second = |time_unix_ms, ok, failed| Second { time_unix_ms, ok, failed, latency_p95_ms: 20.0 };
        Run {
            seed: 7,
            healing: true,
            began: 0,
            ended: 100_000,
            stolen_ratio: Some(0.25),
            slots: vec![
                slot(Fault::Kill, 10_000, None),
                slot(Fault::Surge, 30_000, None),
                slot(Fault::Leak, 50_000, Some(56_000)),
                slot(Fault::SlowDependency, 80_000, None),
            ],
            seconds: vec![second(10_000, 40, 0), second(11_000, 20, 20), second(12_000, 120, 0)],
            incidents: vec![
                incident(
                    12_000,
                    "checkout",
                    vec![attempt("restart-process", "checkout", 13_000, "healed", false)],
                    17_000,
                ),
                incident(
                    58_000,
                    "checkout",
                    vec![attempt("restart-process", "checkout", 59_500, "healed", false)],
                    64_000,
                ),
                incident(
                    82_000,
                    "checkout",
                    vec![
                        attempt("set-config", "checkout", 83_000, "not_healed", true),
                        attempt("restart-process", "checkout", 88_000, "healed", false),
                    ],
                    93_000,
                ),
            ],
            ledger: Ledger { entries: 100, verified: true },
        }
    }

    /// Guarantees: times count from the fault, for the leak from half of its limit; a remedy that did not help and was
    /// taken back does not spoil the verdict.
    #[test]
    fn a_good_run_passes() {
        let score = score(&good_run());
        assert!(score.passed(), "{score:#?}");
        assert_eq!((score.false_actions, score.surge_incidents), (0, 0));
        let times: Vec<_> =
            score.faults.iter().map(|fault| (fault.detect_ms, fault.act_ms, fault.heal_ms)).collect();
        assert_eq!(
            times,
            [
                (Some(2_000), Some(3_000), Some(7_000)),
                (Some(2_000), Some(3_500), Some(8_000)),
                (Some(2_000), Some(3_000), Some(13_000))
            ]
        );
        assert!(score.faults[2].actions[0].undone);
        assert_eq!(good_run().failed_orders_ratio(), 0.1);
    }

    /// Guarantees: each way to be wrong is a complaint, or a false action, or both.
    #[test]
    fn everything_wrong_is_found() {
        type Spoil = fn(&mut Run);
        let cases: [(&str, Spoil, &[&str], usize); 8] = [
            (
                "undetected",
                |run| drop(run.incidents.remove(0)),
                &["no cause named", "no action", "it ended as `undetected`"],
                0,
            ),
            (
                "two incidents",
                |run| run.incidents.push(incident(14_000, "gateway", vec![], 15_000)),
                &["2 incidents instead of one"],
                0,
            ),
            (
                "wrong cause and target",
                |run| {
                    run.incidents[0] = incident(
                        12_000,
                        "gateway",
                        vec![attempt("restart-process", "gateway", 13_000, "healed", false)],
                        17_000,
                    );
                },
                &[
                    "the cause is `checkout`, not `gateway`",
                    "`restart-process` on `gateway` is not the right action",
                ],
                1,
            ),
            (
                "wrong action",
                |run| {
                    run.incidents[0] = incident(
                        12_000,
                        "checkout",
                        vec![attempt("set-config", "checkout", 13_000, "healed", false)],
                        17_000,
                    );
                },
                &["`set-config` on `checkout` is not the right action"],
                0,
            ),
            (
                "not healed",
                |run| {
                    run.incidents[0] = incident(
                        12_000,
                        "checkout",
                        vec![attempt("restart-process", "checkout", 13_000, "not_healed", false)],
                        17_000,
                    );
                },
                &["it ended as `not_healed`"],
                0,
            ),
            ("still open", |run| run.incidents[0].outcome = None, &["it ended as `open`"], 0),
            ("only a dry-run", |run| run.incidents[0].attempts[0].dry_run = true, &["no action"], 0),
            (
                "an action on the surge",
                |run| {
                    run.incidents.push(incident(
                        35_000,
                        "checkout",
                        vec![attempt("restart-process", "checkout", 36_000, "healed", false)],
                        40_000,
                    ));
                },
                &[],
                1,
            ),
        ];
        for (name, spoil, complaints, false_actions) in cases {
            let mut run = good_run();
            spoil(&mut run);
            let score = score(&run);
            assert!(!score.passed(), "{name}");
            assert_eq!(score.faults[0].complaints, complaints, "{name}");
            assert_eq!(score.false_actions, false_actions, "{name}");
        }
    }

    /// Scenario: after the first fault an incident is opened for nothing and stays open; the next fault joins it and is healed in it.
    /// Guarantees: the first fault has an incident too many; the second was handled rightly, and was noticed when it was treated.
    #[test]
    fn an_incident_that_was_open_before() {
        let mut run = good_run();
        run.slots[1] = slot(Fault::Hang, 30_000, None);
        let healed = vec![attempt("restart-process", "checkout", 34_000, "healed", false)];
        run.incidents.insert(1, incident(20_000, "checkout", healed, 39_000));
        let score = score(&run);
        assert_eq!(score.false_actions, 0);
        assert_eq!(score.faults[0].complaints, ["2 incidents instead of one"]);
        assert_eq!(score.faults[0].actions.len(), 1);
        let second = &score.faults[1];
        assert!(second.handled, "{second:#?}");
        assert_eq!(
            (second.detect_ms, second.act_ms, second.heal_ms),
            (Some(4_000), Some(4_000), Some(9_000))
        );
    }

    /// Guarantees: a leak that was stopped before half of its limit took no time, rather than a negative one.
    #[test]
    fn a_leak_found_early_takes_no_time() {
        let mut run = good_run();
        run.slots[2].half = None;
        let score = score(&run);
        assert_eq!((score.faults[1].detect_ms, score.faults[1].heal_ms), (Some(0), Some(0)));
        assert!(score.passed());
    }

    /// Guarantees: the median is a value that was measured.
    #[test]
    fn medians() {
        assert_eq!(median([5, 1, 9].into_iter()), Some(5));
        assert_eq!(median([5, 1, 9, 7].into_iter()), Some(5));
        assert_eq!(median([].into_iter()), None);
    }
}
