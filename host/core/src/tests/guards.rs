//! What stands between a plan and the world.

use super::world::{World, done, failed, names, plan, proposal, receipt, settings, uncertain};
use crate::{
    Effect, Settings,
    guard::{self, Guard},
    incident::Phase,
};
use salve_model::{incident::Verdict, mode::Mode, plan::Plan};

fn held(world: &World) -> Option<Guard> {
    match world.core.incident(&world.id()).unwrap().phase {
        Phase::Planned { held: Some(held), .. } => Some(held.guard),
        _ => None,
    }
}

fn executes(world: &World) -> usize {
    world.all_effects.iter().filter(|effect| matches!(effect, Effect::Execute { dry_run: false, .. })).count()
}

/// A plan that touches these objects.
fn touching(action: &str, target: &str, objects: &[&str]) -> Plan {
    let mut plan = plan(action, target);
    plan.steps[0].objects = objects.iter().map(|object| (*object).to_owned()).collect();
    plan
}

/// Brings a new incident of a service that has no neighbours to its plan.
fn second_incident(world: &mut World, plan: Plan) {
    world.symptom("mail", "errors").pass(800).diagnosed();
    world.decided(vec![proposal(Verdict::Act, &plan.action.0, "mail")]).planned(plan);
}

/// Guarantees: how far each mode and verdict goes.
#[test]
fn mode_and_verdict() {
    for (mode, verdict, phase, effects) in [
        (Mode::Observe, Verdict::Act, "recorded", ""),
        (Mode::Observe, Verdict::Ask, "recorded", ""),
        (Mode::Shadow, Verdict::Act, "dry run", "execute dry"),
        (Mode::Shadow, Verdict::Ask, "dry run", "execute dry"),
        (Mode::Approve, Verdict::Act, "awaiting approval", "ask approval"),
        (Mode::Approve, Verdict::Ask, "awaiting approval", "ask approval"),
        (Mode::Act, Verdict::Act, "executing", "watch 1+1, execute"),
        (Mode::Act, Verdict::Ask, "awaiting approval", "ask approval"),
        (Mode::Act, Verdict::Wait, "waiting", ""),
        (Mode::Act, Verdict::Never, "escalated", "escalate"),
    ] {
        let mut world = World::with(Settings { mode, ..settings() });
        world.reach_deciding().decided(vec![proposal(verdict, "config", "checkout")]);
        if world.phase() == "planning" {
            world.planned(plan("config", "checkout"));
        }
        assert_eq!(
            (world.phase().as_str(), names(&world.effects).as_str()),
            (phase, effects),
            "{mode:?} {verdict:?}"
        );
    }
}

/// Scenario: a dry-run ends, whatever it says.
/// Guarantees: nothing is claimed, nothing is verified, and it is no attempt.
#[test]
fn a_dry_run_is_only_recorded() {
    let mut world = World::with(Settings { mode: Mode::Shadow, ..settings() });
    world.reach_executing().executed(done()).points("checkout", "errors", false, 3);
    let detail = world.core.incident(&world.id()).unwrap();
    assert_eq!(detail.outcome, Some(salve_model::incident::Outcome::Recovered));
    assert!(detail.view.attempts.is_empty());
}

/// Scenario: two incidents want the same object.
/// Guarantees: the second waits from the first's run until its verification ends, and then asks afresh.
#[test]
fn one_remedy_on_an_object_at_a_time() {
    let mut world = World::new();
    world.reach_executing();
    let first = world.id();
    second_incident(&mut world, touching("config", "mail", &["unit/checkout"]));
    assert_eq!(held(&world), Some(Guard::Lock));
    let request = world.request(&first);
    world.send(crate::Event::Executed { incident: first.clone(), request, result: done() });
    assert_eq!(held(&world), Some(Guard::Lock), "still verified");
    world.core.incident(&first).unwrap();
    let event = |time, value| crate::Event::Measured {
        series: vec![salve_model::telemetry::Measurement {
            series: super::world::series("checkout", "errors").key,
            time: salve_model::time::EventTime(time),
            value,
            abnormal: false,
        }],
        expected: vec![crate::event::ExpectationPoint {
            incident: first.clone(),
            index: 0,
            time: salve_model::time::EventTime(time),
            value,
        }],
    };
    for _ in 0..3 {
        world.now = world.now.plus_ms(500);
        let time = world.next_time();
        world.send(event(time, 0.0));
    }
    assert_eq!(names(&world.effects), "watch 0+0, closed healed, diagnose", "set free in the same step");
    assert_eq!(executes(&world), 1);
}

/// Scenario: nobody can tell what a run did.
/// Guarantees: its object stays locked, since the run may still be under way.
#[test]
fn an_uncertain_write_keeps_its_lock() {
    let mut world = World::new();
    world.reach_executing().executed(uncertain());
    second_incident(&mut world, touching("config", "mail", &["unit/checkout"]));
    assert_eq!(held(&world), Some(Guard::Lock));
    world.pass(40_001);
    assert_eq!(world.phase(), "escalated", "held no longer than `guard_within_ms`");
    assert_eq!(executes(&world), 1);
}

/// Guarantees: the next run on an object waits for the cool-down since the end of the last; other objects do not.
#[test]
fn cooldown_counts_by_object() {
    for (object, expected) in [("unit/checkout", Some(Guard::Cooldown)), ("unit/mail", None)] {
        let mut world = World::with(Settings { cooldown_ms: 30_000, ..settings() });
        world.reach_verifying().points("checkout", "errors", false, 3);
        assert_eq!(world.phase(), "closed");
        second_incident(&mut world, touching("config", "mail", &[object]));
        assert_eq!(held(&world), expected, "{object}");
        if expected.is_some() {
            world.pass(27_699);
            assert_eq!(held(&world), expected);
            world.pass(1);
            assert_eq!(
                world.phase(),
                "diagnosing",
                "an old plan is not carried out: the cause is asked for afresh"
            );
        }
    }
}

/// Scenario: a run wrote nothing.
/// Guarantees: there is nothing to cool down from.
#[test]
fn a_run_without_writes_needs_no_cooldown() {
    let mut world = World::with(Settings { cooldown_ms: 30_000, ..settings() });
    world.reach_executing().executed(failed(vec![])).decided(vec![proposal(
        Verdict::Act,
        "restart",
        "checkout",
    )]);
    world.planned(plan("restart", "checkout"));
    assert_eq!(world.phase(), "executing");
}

/// Scenario: first one reason holds a plan, then another.
/// Guarantees: `guard_within_ms` counts from the first.
#[test]
fn the_time_of_holding_is_counted_as_one() {
    let mut world = World::with(Settings { rate_max: 0, ..settings() });
    world.reach_executing().pass(20_000).set(|settings| settings.rate_window_ms += 1);
    assert_eq!(held(&world), Some(Guard::Rate));
    world.pass(20_000);
    assert_eq!(held(&world), Some(Guard::Rate));
    world.pass(1);
    assert_eq!(world.phase(), "escalated");
}

/// Guarantees: at most `rate_max` runs in the window; taking back is not held.
#[test]
fn rate() {
    let mut world = World::with(Settings { rate_max: 1, guard_within_ms: 100_000, ..settings() });
    world.reach_undoing();
    assert_eq!(world.phase(), "undoing");
    world.undone(done()).decided(vec![proposal(Verdict::Act, "restart", "checkout")]);
    world.planned(plan("restart", "checkout"));
    assert_eq!(held(&world), Some(Guard::Rate));
    world.pass(54_999);
    assert_eq!(held(&world), Some(Guard::Rate));
    world.pass(1);
    assert_eq!(world.phase(), "diagnosing");
}

/// Guarantees: a plan that touches more than is ever allowed is refused, and the next proposal taken; several plans
/// that are too much together wait for each other.
#[test]
fn blast_radius() {
    let mut world = World::with(Settings { blast_radius_objects_max: 2, ..settings() });
    world.reach_planning().planned(touching("config", "checkout", &["a", "b", "c"]));
    assert!(matches!(world.effects.last(), Some(Effect::Plan { action, .. }) if action == "restart"));
    world.planned(touching("restart", "checkout", &["a", "b", "a"]));
    assert_eq!(world.phase(), "executing");
    second_incident(&mut world, plan("config", "mail"));
    assert_eq!(held(&world), Some(Guard::BlastRadius));
}

/// Guarantees: the share counts against the known objects, and one object is always allowed, unless the number says
/// none.
#[test]
fn blast_radius_as_a_share() {
    for (objects_max, percent, allowed) in
        [(9, 100, 4), (9, 50, 2), (9, 49, 1), (9, 0, 1), (3, u32::MAX, 3), (0, 100, 0)]
    {
        let world = World::with(Settings {
            blast_radius_objects_max: objects_max,
            blast_radius_percent_max: percent,
            ..settings()
        });
        assert_eq!(guard::objects_allowed(&world.core), allowed, "{objects_max} {percent} %");
    }
}

/// Scenario: an approved plan is held by another guard and then let through.
/// Guarantees: what was approved is carried out as approved, without another question.
#[test]
fn an_approved_plan_stays_as_it_is() {
    let mut world = World::with(Settings { mode: Mode::Approve, rate_max: 0, ..settings() });
    world.reach_executing().approved(true);
    assert_eq!(held(&world), Some(Guard::Rate));
    world.set(|settings| settings.rate_max = 1);
    assert_eq!(names(&world.effects), "watch 1+1, execute");
    let detail = world.core.incident(&world.id()).unwrap();
    assert_eq!(detail.attempts[0].approved_by.as_deref(), Some("ann"));
}

/// Scenario: while a person is asked, another service shows symptoms, and the cause turns out to be another.
/// Guarantees: the person is asked about the new plan; a late answer to the old one does nothing.
#[test]
fn later_evidence_overtakes_a_question() {
    let mut world = World::with(Settings { mode: Mode::Approve, ..settings() });
    world.reach_executing();
    assert!(matches!(world.effects.last(), Some(Effect::AskApproval { number: 1, .. })));
    world.symptom("gateway", "duration").answered(1, true);
    assert_eq!(world.phase(), "settling");
    let objection = world.core.approval_objection(&world.id(), 1, true).unwrap();
    assert_eq!(
        objection,
        "there is more evidence, so inc-1 is looked at again (settling): answer once a plan waits"
    );
    world.pass(800).diagnosed().decided(vec![proposal(Verdict::Act, "restart", "checkout")]);
    world.planned(plan("restart", "checkout"));
    assert!(matches!(world.effects.last(), Some(Effect::AskApproval { number: 2, .. })));
    world.answered(1, true).answered(1, false).answered(3, true);
    assert_eq!((world.phase().as_str(), executes(&world)), ("awaiting approval", 0));
    let objection = |plan| world.core.approval_objection(&world.id(), plan, true);
    assert_eq!(objection(1).unwrap(), "plan 1 of inc-1 does not wait: plan 2 does");
    assert_eq!(objection(2), None);
    world.answered(2, true);
    assert!(matches!(world.effects.last(), Some(Effect::Execute { plan, .. }) if plan.action.0 == "restart"));
    let objection = world.core.approval_objection(&world.id(), 2, true).unwrap();
    assert_eq!(objection, "no plan of inc-1 waits for an answer: it is executing");
}

/// Scenario: while a person is asked, there is one more symptom, and the same plan is made again.
/// Guarantees: nobody is told twice, the number stays, the time to answer is not longer for it, and an answer to what was seen counts.
#[test]
fn the_same_plan_is_asked_about_once() {
    let mut world = World::with(Settings { mode: Mode::Approve, approval_within_ms: 10_000, ..settings() });
    let again = |world: &mut World| {
        world.pass(800).diagnosed().decided(vec![proposal(Verdict::Act, "config", "checkout")]);
        world.planned(plan("config", "checkout"));
    };
    world.reach_executing().pass(5_000).symptom("gateway", "duration");
    again(&mut world);
    assert_eq!((world.phase().as_str(), names(&world.effects).as_str()), ("awaiting approval", ""));
    let mut late = world.clone();
    assert_eq!(late.pass(4_200).phase(), "awaiting approval");
    assert_eq!(late.pass(1).phase(), "escalated");
    world.answered(1, true);
    assert_eq!(executes(&world), 1);
}

/// Scenario: a person is asked about one plan, then about another, and then the first one is made again.
/// Guarantees: each time it has a number of its own and people are told; an answer to an earlier number does nothing.
#[test]
fn a_plan_that_comes_back_is_asked_about_anew() {
    let mut world = World::with(Settings { mode: Mode::Approve, ..settings() });
    world.reach_executing();
    for (number, service, action) in [(2, "gateway", "restart"), (3, "inventory", "config")] {
        world.symptom(service, "duration").pass(800).diagnosed();
        world.decided(vec![proposal(Verdict::Act, action, "checkout")]).planned(plan(action, "checkout"));
        let last = world.effects.last();
        assert!(
            matches!(last, Some(Effect::AskApproval { number: told, .. }) if *told == number),
            "{last:?}"
        );
    }
    world.answered(1, true).answered(2, true);
    assert_eq!(executes(&world), 0);
    world.answered(3, true);
    assert_eq!(executes(&world), 1);
}

/// Scenario: a person says no, and further symptoms lead to the same proposal.
/// Guarantees: it is passed over until the incident comes back.
#[test]
fn no_is_no() {
    let mut world = World::with(Settings { mode: Mode::Approve, ..settings() });
    world.reach_executing().approved(false).planned(plan("restart", "checkout"));
    world.symptom("gateway", "duration").pass(800).diagnosed();
    let proposals = ["config", "restart"].map(|action| proposal(Verdict::Act, action, "checkout"));
    world.decided(proposals.to_vec());
    assert!(matches!(world.effects.last(), Some(Effect::Plan { action, .. }) if action == "restart"));
}

/// Scenario: while a person is asked, Salve is paused for longer than an answer is awaited, or restarted.
/// Guarantees: people are told again, and have the whole time to answer.
#[test]
fn a_pause_or_a_restart_takes_no_time_from_an_answer() {
    let again = |world: &mut World| {
        world.diagnosed().decided(vec![proposal(Verdict::Act, "config", "checkout")]);
        world.planned(plan("config", "checkout"));
        assert!(matches!(world.effects.last(), Some(Effect::AskApproval { .. })), "{:?}", world.effects);
        assert_eq!(world.pass(30_000).phase(), "awaiting approval");
    };
    let mut paused = World::with(Settings { mode: Mode::Approve, ..settings() });
    paused.reach_executing().pause().pass(60_000).resume();
    again(&mut paused);

    let mut restarted = World::with(Settings { mode: Mode::Approve, ..settings() });
    restarted.reach_executing().symptom("gateway", "duration").crash();
    restarted.pass(restarted.core.settings().after_restart_ms());
    again(&mut restarted);
}

/// Guarantees: whoever approved a plan may take it back while a guard still holds it.
#[test]
fn an_approval_can_be_taken_back() {
    let mut world = World::with(Settings { mode: Mode::Approve, rate_max: 0, ..settings() });
    world.reach_executing().approved(true).approved(false);
    assert!(matches!(world.effects.last(), Some(Effect::Plan { action, .. }) if action == "restart"));
    assert_eq!(executes(&world), 0);
}

/// Scenario: Salve is paused with a run under way.
/// Guarantees: its end is taken in and verified; nothing starts, not even taking back, until it is resumed.
#[test]
fn while_paused_nothing_starts() {
    let mut world = World::new();
    world.reach_executing().pause().executed(done());
    assert_eq!(world.phase(), "verifying");
    world.points("checkout", "errors", true, 12).pass(60_000);
    assert_eq!(world.phase(), "undo due");
    second_incident(&mut world, plan("config", "mail"));
    assert_eq!(world.phase(), "suspended");
    assert!(!world.all_effects.iter().any(|effect| matches!(effect, Effect::Undo { .. })));
    world.resume();
    assert_eq!(names(&world.effects), "undo, diagnose");
}

/// Scenario: the mode is lowered before a remedy is taken back.
/// Guarantees: the operator's word counts; people are told what remains.
#[test]
fn a_lowered_mode_forbids_taking_back() {
    let mut world = World::new();
    world
        .reach_verifying()
        .set(|settings| settings.mode = Mode::Observe)
        .points("checkout", "errors", true, 10);
    assert_eq!(
        (world.phase().as_str(), names(&world.effects).as_str()),
        ("escalated", "watch 1+0, escalate")
    );
    assert!(executes(&world) == 1 && receipt(0).applied);
}
