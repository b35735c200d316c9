//! Each state with each input that can reach it.

use super::world::{
    World, decision, done, failed, findings, names, plan, proposal, receipt, settings, uncertain,
};
use crate::{Effect, Event, Settings};
use salve_model::{
    incident::{Decision, IncidentId, Outcome, PolicyFailure, Verdict},
    mode::Mode,
};
use std::collections::BTreeMap;

/// A world in each state, by name.
pub(super) fn states() -> Vec<(&'static str, World)> {
    let build = |way: fn(&mut World) -> &mut World| {
        let mut world = World::new();
        way(&mut world);
        world
    };
    let in_mode = |mode: Mode, way: fn(&mut World) -> &mut World| {
        let mut world = World::with(Settings { mode, ..settings() });
        way(&mut world);
        world
    };
    vec![
        ("settling", build(World::reach_settling)),
        ("diagnosing", build(World::reach_diagnosing)),
        ("deciding", build(World::reach_deciding)),
        (
            "waiting",
            build(|world| {
                world.reach_deciding().decided(vec![proposal(Verdict::Wait, "config", "checkout")])
            }),
        ),
        ("planning", build(World::reach_planning)),
        ("held", build(|world| world.set(|settings| settings.rate_max = 0).reach_executing())),
        ("awaiting approval", in_mode(Mode::Approve, World::reach_executing)),
        ("executing", build(World::reach_executing)),
        ("dry run", in_mode(Mode::Shadow, World::reach_executing)),
        ("reconciling", build(|world| world.reach_executing().pass(12_001))),
        ("verifying", build(World::reach_verifying)),
        ("undo due", build(|world| world.reach_verifying().pause().points("checkout", "errors", true, 10))),
        ("undoing", build(World::reach_undoing)),
        ("reconciling undo", build(|world| world.reach_undoing().pass(12_001))),
        ("recorded", in_mode(Mode::Observe, World::reach_planning)),
        ("escalated", build(|world| world.reach_deciding().decided(vec![]))),
        ("escalated, uncertain", build(|world| world.reach_executing().executed(uncertain()))),
        ("suspended", build(|world| world.reach_planning().pause())),
        ("closed", build(|world| world.reach_verifying().points("checkout", "errors", false, 4).pass(6_000))),
    ]
}

type Input = fn(&mut World) -> &mut World;

/// Every input, with the request that is open.
fn inputs() -> Vec<(&'static str, Input)> {
    fn ask(world: &World) -> (IncidentId, u64) {
        let incident = world.id();
        let request = world.request(&incident);
        (incident, request)
    }
    vec![
        ("tick", |world| world.send(Event::Tick)),
        ("time is up", |world| world.pass(31_000)),
        ("diagnosed", World::diagnosed),
        ("diagnosed: none", |world| {
            let (incident, request) = ask(world);
            world.send(Event::Diagnosed { incident, request, findings: Err("trap".into()) })
        }),
        ("decided: act", |world| world.decided(vec![proposal(Verdict::Act, "restart", "checkout")])),
        ("decided: wait", |world| world.decided(vec![proposal(Verdict::Wait, "restart", "checkout")])),
        ("decided: nothing", |world| world.decided(vec![proposal(Verdict::Never, "restart", "checkout")])),
        ("decided: error", |world| {
            let (incident, request) = ask(world);
            world.send(Event::Decided { incident, request, decision: Err("line 3".into()) })
        }),
        ("planned", |world| world.planned(plan("config", "checkout"))),
        ("planned: error", |world| {
            let (incident, request) = ask(world);
            world.send(Event::Planned { incident, request, plan: Err("not applicable".into()) })
        }),
        ("executed: done", |world| world.executed(done())),
        ("executed: half", |world| world.executed(failed(vec![receipt(0)]))),
        ("executed: nothing", |world| world.executed(failed(vec![]))),
        ("executed: uncertain", |world| world.executed(uncertain())),
        ("undone", |world| world.undone(done())),
        ("undone: not", |world| world.undone(failed(vec![]))),
        ("undone: uncertain", |world| world.undone(uncertain())),
        ("reconciled: happened", |world| world.reconciled(failed(vec![receipt(0)]))),
        ("reconciled: did not", |world| world.reconciled(failed(vec![]))),
        ("reconciled: uncertain", |world| world.reconciled(uncertain())),
        ("approved", |world| world.approved(true)),
        ("refused", |world| world.approved(false)),
        ("paused", World::pause),
        ("resumed", World::resume),
        ("further symptom", |world| world.symptom("gateway", "duration")),
        ("recovers", |world| world.points("checkout", "errors", false, 3)),
    ]
}

/// Pairs that change something: state, input, state afterwards, effects of the last event. `recovers` and
/// `further symptom` change counters in every open state; they are listed where they change more than that.
const TABLE: &[(&str, &str, &str, &str)] = &[
    ("settling", "time is up", "diagnosing", "diagnose"),
    ("settling", "paused", "suspended", ""),
    ("settling", "recovers", "closed", "watch 0+0, closed recovered"),
    ("diagnosing", "time is up", "deciding", "decide"),
    ("diagnosing", "diagnosed", "deciding", "decide"),
    ("diagnosing", "diagnosed: none", "deciding", "decide"),
    ("diagnosing", "paused", "suspended", ""),
    ("diagnosing", "recovers", "closed", "watch 0+0, closed recovered"),
    ("deciding", "time is up", "waiting", ""),
    ("deciding", "decided: act", "planning", "plan"),
    ("deciding", "decided: wait", "waiting", ""),
    ("deciding", "decided: nothing", "escalated", "escalate"),
    ("deciding", "decided: error", "waiting", ""),
    ("deciding", "paused", "suspended", ""),
    ("deciding", "recovers", "closed", "watch 0+0, closed recovered"),
    ("waiting", "time is up", "diagnosing", "diagnose"),
    ("waiting", "paused", "suspended", ""),
    ("waiting", "recovers", "closed", "watch 0+0, closed recovered"),
    ("planning", "time is up", "planning", "plan"),
    ("planning", "planned", "executing", "watch 1+1, execute"),
    ("planning", "planned: error", "planning", "plan"),
    ("planning", "paused", "suspended", ""),
    ("planning", "recovers", "closed", "watch 0+0, closed recovered"),
    ("held", "paused", "suspended", ""),
    ("held", "recovers", "closed", "watch 0+0, closed recovered"),
    ("awaiting approval", "time is up", "escalated", "escalate"),
    ("awaiting approval", "approved", "executing", "watch 1+1, execute"),
    ("awaiting approval", "refused", "planning", "plan"),
    ("awaiting approval", "paused", "suspended", ""),
    ("awaiting approval", "further symptom", "settling", "watch 2+0"),
    ("awaiting approval", "recovers", "closed", "watch 0+0, closed recovered"),
    ("executing", "time is up", "reconciling", "reconcile"),
    ("executing", "executed: done", "verifying", ""),
    ("executing", "executed: half", "undoing", "watch 1+0, undo"),
    ("executing", "executed: nothing", "deciding", "watch 1+0, decide"),
    ("executing", "executed: uncertain", "escalated", "watch 1+0, escalate"),
    ("executing", "paused", "executing", ""),
    ("dry run", "time is up", "recorded", ""),
    ("dry run", "executed: done", "recorded", ""),
    ("dry run", "executed: half", "recorded", ""),
    ("dry run", "executed: nothing", "recorded", ""),
    ("dry run", "executed: uncertain", "recorded", ""),
    ("dry run", "paused", "dry run", ""),
    ("reconciling", "time is up", "escalated", "watch 1+0, escalate"),
    ("reconciling", "executed: done", "verifying", ""),
    ("reconciling", "executed: half", "undoing", "watch 1+0, undo"),
    ("reconciling", "executed: nothing", "deciding", "watch 1+0, decide"),
    ("reconciling", "executed: uncertain", "escalated", "watch 1+0, escalate"),
    ("reconciling", "reconciled: happened", "verifying", ""),
    ("reconciling", "reconciled: did not", "settling", "watch 1+0"),
    ("reconciling", "reconciled: uncertain", "escalated", "watch 1+0, escalate"),
    ("reconciling", "paused", "reconciling", ""),
    ("verifying", "time is up", "verifying", ""),
    ("verifying", "paused", "verifying", ""),
    ("verifying", "recovers", "closed", "watch 0+0, closed healed"),
    ("undo due", "resumed", "undoing", "undo"),
    ("undoing", "time is up", "reconciling", "reconcile"),
    ("undoing", "undone", "deciding", "decide"),
    ("undoing", "undone: not", "escalated", "escalate"),
    ("undoing", "undone: uncertain", "escalated", "escalate"),
    ("undoing", "paused", "undoing", ""),
    ("reconciling undo", "time is up", "escalated", "escalate"),
    ("reconciling undo", "undone", "deciding", "decide"),
    ("reconciling undo", "undone: not", "escalated", "escalate"),
    ("reconciling undo", "undone: uncertain", "escalated", "escalate"),
    ("reconciling undo", "reconciled: happened", "deciding", "decide"),
    ("reconciling undo", "reconciled: did not", "undoing", "undo"),
    ("reconciling undo", "reconciled: uncertain", "escalated", "escalate"),
    ("reconciling undo", "paused", "reconciling", ""),
    ("recorded", "paused", "recorded", ""),
    ("recorded", "further symptom", "settling", "watch 2+0"),
    ("recorded", "recovers", "closed", "watch 0+0, closed recovered"),
    ("escalated", "paused", "escalated", ""),
    ("escalated", "further symptom", "settling", "watch 2+0"),
    ("escalated", "recovers", "closed", "watch 0+0, closed recovered"),
    ("escalated, uncertain", "paused", "escalated", ""),
    ("escalated, uncertain", "recovers", "closed", "watch 0+0, closed unknown"),
    ("suspended", "resumed", "diagnosing", "diagnose"),
    ("suspended", "recovers", "closed", "watch 0+0, closed recovered"),
    ("closed", "paused", "closed", ""),
    ("closed", "further symptom", "settling", "watch 1+0"),
];

/// Scenario: each input in each state.
/// Guarantees: the table has every pair that changes something; any other leaves the state as it was, bit for bit.
#[test]
fn every_state_takes_every_input() {
    let mut table: BTreeMap<(&str, &str), (&str, &str)> =
        TABLE.iter().map(|(state, input, next, effects)| ((*state, *input), (*next, *effects))).collect();
    assert_eq!(table.len(), TABLE.len(), "no pair is listed twice");
    let mut wrong = String::new();
    for (state, world) in states() {
        assert!(state.starts_with(&world.phase()), "the way to `{state}` ends in `{}`", world.phase());
        for (input, send) in inputs() {
            let mut after = world.clone();
            send(&mut after);
            let found = (after.phase(), names(&after.effects));
            let is_same = after.core == world.core;
            let only_counts = matches!(input, "recovers" | "further symptom")
                && found.0 == world.phase()
                && after.effects.iter().all(|effect| matches!(effect, Effect::Watch { .. }));
            let expected =
                table.remove(&(state, input)).map(|(next, effects)| (next.to_owned(), effects.to_owned()));
            if expected.is_none() && (is_same || only_counts) || expected.as_ref() == Some(&found) {
                continue;
            }
            wrong += &format!("    ({state:?}, {input:?}, {:?}, {:?}),\n", found.0, found.1);
        }
    }
    assert!(wrong.is_empty(), "these pairs are not as the table says:\n{wrong}");
    assert!(table.is_empty(), "these pairs do not exist: {table:?}");
}

/// Scenario: a fault from the first abnormal point to its verified heal.
/// Guarantees: no step waits for a tick but the settling; questions go out in the step that brings the answer before.
#[test]
fn a_heal_from_end_to_end() {
    let mut world = World::new();
    let effects = |world: &World| names(&world.effects);
    world.reach_settling();
    assert_eq!(effects(&world), "watch 1+0");
    world.pass(799);
    assert_eq!(effects(&world), "");
    world.pass(1);
    assert_eq!(effects(&world), "diagnose");
    world.diagnosed();
    assert_eq!(effects(&world), "decide");
    world.decided(vec![proposal(Verdict::Act, "config", "checkout")]);
    assert_eq!(effects(&world), "plan");
    world.planned(plan("config", "checkout"));
    assert_eq!(effects(&world), "watch 1+1, execute");
    world.executed(done());
    assert_eq!(effects(&world), "");
    world.points("checkout", "errors", false, 2);
    assert_eq!(world.phase(), "verifying");
    world.points("checkout", "errors", false, 1);
    assert_eq!(effects(&world), "watch 0+0, closed healed");
    let detail = world.core.incident(&world.id()).unwrap();
    assert_eq!(detail.outcome, Some(Outcome::Healed));
    let timeline: Vec<&str> = detail.timeline.entries.iter().map(|entry| entry.text.as_str()).collect();
    insta::assert_snapshot!(timeline.join("\n"), @r"
    opened: `errors` of `checkout`: far above
    the agents are asked for the cause
    cause: `checkout` errors (80 %), says analyst
    the policies make 1 proposals
    policy `shop` proposes `config` on `checkout`: the policy's sentence
    plan: config checkout
    all guards passed; acts: config checkout
    acted, watches the effect: done
    healed: all 1 symptoms cleared and all 1 expectations held
    closed: healed
    ");
}

/// Scenario: of two policies one fails; the remedy of the other does not help. Guarantees: the remedy is tried all the same; the
/// timeline and the reason for which people are called name the policy that failed.
#[test]
fn a_policy_that_fails_is_named() {
    let mut world = World::new();
    world.reach_deciding();
    let incident = world.id();
    let request = world.request(&incident);
    let failure =
        PolicyFailure { policy: "night".into(), why: "night.rhai:3:5: broken".into(), may_forbid: false };
    let proposals = vec![proposal(Verdict::Act, "restart", "checkout")];
    let decided = Decision { failures: vec![failure], ..decision(proposals) };
    world.send(Event::Decided { incident: incident.clone(), request, decision: Ok(decided) });
    assert_eq!(world.phase(), "planning");
    let request = world.request(&incident);
    world.send(Event::Planned { incident, request, plan: Err("not applicable".into()) });
    assert_eq!(world.phase(), "escalated");
    let detail = world.core.incident(&world.id()).unwrap();
    let timeline: Vec<&str> = detail.timeline.entries.iter().map(|entry| entry.text.as_str()).collect();
    let said = |words: &str| assert!(timeline.iter().any(|line| line.contains(words)), "{timeline:#?}");
    said("the policies make 1 proposals; policy `night` failed: night.rhai:3:5: broken");
    said("not applicable; policy `night` failed");
}

/// Scenario: the first remedy does not help, the second does.
/// Guarantees: the first is taken back and visible to the policies; the same proposal is not tried again.
#[test]
fn the_next_remedy_after_one_that_did_not_help() {
    let mut world = World::new();
    world.reach_undoing();
    assert_eq!(world.phase(), "undoing");
    assert!(matches!(world.effects.last(), Some(Effect::Undo { receipts, .. }) if receipts.len() == 1));
    world.undone(done());
    let Some(Effect::Decide { input, .. }) = world.effects.last() else { panic!("{:?}", world.effects) };
    assert_eq!(input.incident.attempts.len(), 1);
    assert_eq!(input.incident.attempts[0].outcome, Some(Outcome::NotHealed));
    let first = proposal(Verdict::Act, "config", "checkout");
    let spaced = salve_model::incident::Proposal { parameters: r#"{ "key": "pool.size" }"#.into(), ..first };
    world.decided(vec![spaced, proposal(Verdict::Act, "restart", "checkout")]);
    assert!(matches!(world.effects.last(), Some(Effect::Plan { action, .. }) if action == "restart"));
    world.planned(plan("restart", "checkout")).executed(done()).points("checkout", "errors", false, 3);
    assert_eq!(world.outcome(), Some(Outcome::Healed));
}

/// Scenario: no remedy helps.
/// Guarantees: after `attempts_max` remedies people are called, once; the incident stays open until its symptoms clear.
#[test]
fn people_are_called_when_remedies_run_out() {
    let mut world = World::with(Settings { attempts_max: 1, ..settings() });
    world.reach_undoing().undone(done());
    assert_eq!((world.phase().as_str(), names(&world.effects).as_str()), ("escalated", "escalate"));
    world.points("checkout", "errors", true, 5).pass(100_000);
    assert_eq!(world.phase(), "escalated");
    assert_eq!(
        world.all_effects.iter().filter(|effect| matches!(effect, Effect::Escalate { .. })).count(),
        1
    );
    world.points("checkout", "errors", false, 3);
    assert_eq!(world.outcome(), Some(Outcome::NotHealed));
}

/// Scenario: the symptoms clear before anything was done, or after only a dry-run.
/// Guarantees: Salve does not take credit.
#[test]
fn what_clears_by_itself_is_not_a_heal() {
    for state in ["settling", "diagnosing", "awaiting approval", "recorded", "escalated", "suspended"] {
        let (_, mut world) = states().into_iter().find(|(name, _)| *name == state).unwrap();
        world.points("checkout", "errors", false, 3);
        assert_eq!(world.outcome(), Some(Outcome::Recovered), "{state}");
    }
}

/// Scenario: answers to questions that are no longer open, for incidents that do not exist, with numbers that are none.
/// Guarantees: no change.
#[test]
fn late_and_foreign_answers_change_nothing() {
    for (state, world) in states() {
        let mut after = world.clone();
        for (incident, request) in [
            (world.id(), world.request(&world.id()).wrapping_sub(1)),
            (world.id(), u64::MAX),
            (IncidentId("inc-99".into()), world.request(&world.id())),
            (IncidentId("inc-01".into()), world.request(&world.id())),
            (IncidentId("strange".into()), 1),
        ] {
            let id = || incident.clone();
            after.send(Event::Diagnosed { incident: id(), request, findings: Ok(findings("x")) });
            after.send(Event::Decided { incident: id(), request, decision: Ok(decision(vec![])) });
            after.send(Event::Planned { incident: id(), request, plan: Ok(plan("config", "checkout")) });
            after.send(Event::Executed { incident: id(), request, result: done() });
            after.send(Event::Undone { incident: id(), request, result: done() });
            after.send(Event::Reconciled { incident: id(), request, result: done() });
        }
        assert_eq!(after.core, world.core, "{state}");
    }
}

/// Scenario: plans that are not what the policy asked for.
/// Guarantees: none of them is carried out; the next proposal is taken.
#[test]
fn a_plan_must_fit_its_proposal() {
    let mut other_action = plan("config", "checkout");
    other_action.action.0 = "restart".into();
    let mut other_target = plan("config", "checkout");
    other_target.targets[0].0 = "mail".into();
    let mut no_steps = plan("config", "checkout");
    no_steps.steps.clear();
    let mut no_number = plan("config", "checkout");
    no_number.expectations[0].upper = Some(f64::NAN);
    for flawed in [other_action, other_target, no_steps, no_number] {
        let mut world = World::new();
        world.reach_planning().planned(flawed);
        assert!(matches!(world.effects.last(), Some(Effect::Plan { action, .. }) if action == "restart"));
    }
}

/// Scenario: the mode is raised after what would be done was recorded.
/// Guarantees: the incident is taken up again, with a fresh diagnosis.
#[test]
fn a_raised_mode_takes_recorded_incidents_up() {
    for (mode, higher) in [(Mode::Observe, Mode::Act), (Mode::Shadow, Mode::Approve)] {
        let mut world = World::with(Settings { mode, ..settings() });
        world.reach_executing().executed(done());
        assert_eq!(world.phase(), "recorded");
        world.set(|settings| settings.mode = higher);
        assert_eq!(names(&world.effects), "diagnose");
    }
}
