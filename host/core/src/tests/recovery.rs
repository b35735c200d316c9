//! A crash at any moment. `World::crash` folds the recorded transitions, through bytes, and checks that the state is
//! the same.

use super::world::{World, done, failed, names, plan, proposal, receipt, settings, uncertain};
use crate::{Effect, Event, Settings};
use salve_model::{
    incident::{Outcome, Verdict},
    mode::Mode,
};

/// Scenario: a crash in each state of an open incident.
/// Guarantees: watching goes on; questions are asked anew under a new number; runs are reconciled, never repeated.
#[test]
fn what_is_asked_after_a_crash() {
    type Way = fn(&mut World) -> &mut World;
    let rows: [(Mode, Way, &str, &str); 11] = [
        (Mode::Act, World::reach_settling, "settling", "watch 1+0"),
        (Mode::Act, World::reach_diagnosing, "settling", "watch 1+0"),
        (Mode::Act, World::reach_deciding, "deciding", "watch 1+0, decide"),
        (Mode::Act, World::reach_planning, "planning", "watch 1+0, plan"),
        (Mode::Approve, World::reach_executing, "awaiting approval", "watch 1+0, ask approval"),
        (Mode::Shadow, World::reach_executing, "settling", "watch 1+0"),
        (Mode::Act, World::reach_executing, "reconciling", "watch 1+1, reconcile"),
        (Mode::Act, |world| world.reach_executing().crash(), "reconciling", "watch 1+1, reconcile"),
        (Mode::Act, World::reach_verifying, "verifying", "watch 1+1"),
        (Mode::Act, World::reach_undoing, "reconciling", "watch 1+0, reconcile"),
        (Mode::Act, |world| world.reach_deciding().decided(vec![]), "escalated", "watch 1+0"),
    ];
    for (mode, way, phase, effects) in rows {
        let mut world = World::with(Settings { mode, ..settings() });
        way(&mut world);
        let id = world.id();
        let before = world.request(&id);
        world.crash();
        assert_eq!((world.phase().as_str(), names(&world.effects).as_str()), (phase, effects));
        let asks_anew = ["diagnose", "decide", "plan"].iter().any(|question| effects.ends_with(question));
        assert_eq!(world.request(&id) > before, asks_anew, "{phase}");
        assert!(
            !world
                .effects
                .iter()
                .any(|effect| matches!(effect, Effect::Execute { .. } | Effect::Undo { .. }))
        );
    }
}

/// Scenario: the answer to a question comes from before the crash.
/// Guarantees: it is ignored; the new one counts.
#[test]
fn answers_from_before_the_crash_are_ignored() {
    let mut world = World::new();
    world.reach_diagnosing();
    let (incident, request) = (world.id(), world.request(&world.id()));
    world.crash();
    let before = world.core.clone();
    world.send(crate::Event::Diagnosed { incident, request, findings: Err("old".into()) });
    assert_eq!(world.core, before);
    // Telemetry must come again before the cause can be named.
    world.pass(1_000).diagnosed();
    assert_eq!(world.phase(), "deciding");
}

/// Scenario: a crash cuts off a run, before and after its write, or in doubt.
/// Guarantees: nothing happened: the same remedy may be tried again and is no attempt; it happened: it is verified;
/// nobody can tell: people.
#[test]
fn a_run_that_was_cut_off() {
    let mut world = World::new();
    world.reach_executing().crash().reconciled(failed(vec![]));
    assert_eq!((world.phase().as_str(), names(&world.effects).as_str()), ("settling", "watch 1+0"));
    world.pass(1_000);
    assert_eq!(names(&world.effects), "diagnose");
    world.diagnosed().decided(vec![proposal(Verdict::Act, "config", "checkout")]);
    world.planned(plan("config", "checkout")).executed(done()).points("checkout", "errors", false, 3);
    assert_eq!(world.outcome(), Some(Outcome::Healed));
    assert_eq!(world.core.incident(&world.id()).unwrap().view.attempts.len(), 1);

    let mut world = World::new();
    world
        .reach_executing()
        .crash()
        .reconciled(failed(vec![receipt(0)]))
        .points("checkout", "errors", false, 3);
    assert_eq!(world.outcome(), Some(Outcome::Healed));

    let mut world = World::new();
    world.reach_executing().crash().reconciled(uncertain());
    assert_eq!(world.phase(), "escalated");
}

/// Scenario: a crash cuts off a run of two steps after the first.
/// Guarantees: it is never resumed: what was done is taken back.
#[test]
fn a_run_that_was_cut_off_half_way_is_taken_back() {
    let mut world = World::new();
    let mut two_steps = plan("config", "checkout");
    two_steps.steps.push(two_steps.steps[0].clone());
    world.reach_planning().planned(two_steps).crash().reconciled(failed(vec![receipt(0)]));
    assert_eq!((world.phase().as_str(), names(&world.effects).as_str()), ("undoing", "watch 1+0, undo"));
}

/// Scenario: a crash cuts off an undo.
/// Guarantees: it goes on only with what is known to remain, and not for ever.
#[test]
fn an_undo_that_was_cut_off() {
    let mut world = World::new();
    world.reach_undoing().crash().reconciled(failed(vec![receipt(0)]));
    assert_eq!(names(&world.effects), "decide");
    let mut world = World::new();
    world.reach_undoing();
    for _ in 0..2 {
        world.crash().reconciled(failed(vec![]));
        assert_eq!(world.phase(), "undoing");
    }
    world.crash().reconciled(failed(vec![]));
    assert_eq!(names(&world.effects), "escalate");
}

/// Scenario: a crash cuts off an undo of two steps after it has taken one back.
/// Guarantees: only the other is taken back then.
#[test]
fn an_undo_that_was_cut_off_half_way_takes_back_the_rest() {
    let mut world = World::new();
    let mut two_steps = plan("config", "checkout");
    two_steps.steps.push(two_steps.steps[0].clone());
    let both = salve_model::plan::RunResult { receipts: vec![receipt(0), receipt(1)], ..done() };
    world.reach_planning().planned(two_steps).executed(both).points("checkout", "errors", true, 10);
    world.crash().reconciled(failed(vec![receipt(1)]));
    let Some(Effect::Undo { receipts, .. }) = world.effects.last() else { panic!("{:?}", world.effects) };
    assert_eq!(receipts, &[receipt(0)]);
    world.undone(done());
    assert_eq!(world.phase(), "deciding");
}

/// Scenario: Salve is down past the end of a verification.
/// Guarantees: what it missed is not held against the remedy, and a hold does not span the gap.
#[test]
fn down_time_does_not_count_against_a_remedy() {
    let mut world = World::new();
    world.reach_verifying().points("checkout", "errors", true, 2);
    world.now = world.now.plus_ms(100_000);
    world.crash();
    assert_eq!(world.phase(), "verifying", "the newest point was abnormal, but the time is not up");

    let mut world = World::new();
    world.reach_verifying().points("checkout", "errors", true, 2).points("checkout", "errors", false, 2);
    world.now = world.now.plus_ms(100_000);
    world.crash();
    assert_eq!(world.phase(), "verifying");
    world.points("checkout", "errors", false, 1);
    assert_eq!(world.phase(), "verifying", "the hold began anew");
    world.points("checkout", "errors", false, 2);
    assert_eq!(world.outcome(), Some(Outcome::Healed));
}

/// Scenario: Salve was paused when it crashed.
/// Guarantees: it still is.
#[test]
fn a_pause_survives() {
    let mut world = World::new();
    world.reach_planning().pause().crash();
    assert!(world.core.paused().is_some());
    assert_eq!((world.phase().as_str(), names(&world.effects).as_str()), ("suspended", "watch 1+0"));
}

/// Scenario: Salve is paused, or resumed, while it is down and a remedy is to be taken back.
/// Guarantees: it starts as the switch stands then; down time counts as before.
#[test]
fn the_switch_is_turned_while_it_is_down() {
    let mut world = World::new();
    world.reach_verifying().pause().points("checkout", "errors", true, 10);
    let resumed = Event::Resumed { by: "ann".into() };
    let step = world.core.clone().recover_with(Some(&resumed), world.now);
    assert!(names(&step.effects).contains("undo"));
    world.resume();
    assert_eq!(world.phase(), "undoing");

    let mut world = World::new();
    world.reach_verifying();
    world.now = world.now.plus_ms(60_000);
    let paused = Event::Paused { by: "ann".into(), reason: String::new() };
    let step = world.core.recover_with(Some(&paused), world.now);
    world.took(step);
    world.points("checkout", "errors", true, 14);
    assert_eq!(world.phase(), "undo due", "its time was not over, and nothing starts");
}

/// Guarantees: a core that is read back from its own bytes is the same core.
#[test]
fn the_state_reads_back() {
    let mut world = World::new();
    world.reach_undoing();
    let bytes = serde_json::to_vec(&world.core).unwrap();
    assert_eq!(serde_json::from_slice::<crate::Core>(&bytes).unwrap(), world.core);
}

/// Scenario: the transitions of the newest incident were erased; Salve starts again, and something breaks.
/// Guarantees: the erased incident is not known, and its name goes to no other.
#[test]
fn an_erased_name_is_not_given_again() {
    let mut before = World::new();
    before.reach_settling();
    let erased = before.id();
    let mut world = World::new();
    world.core.skip(&erased);
    world.core.skip(&salve_model::incident::IncidentId("nonsense".into()));
    assert!(world.core.incident(&erased).is_none());
    world.reach_settling();
    assert_ne!(world.id(), erased);
}
