//! Healed, not healed, unknown: what the telemetry must show.

use super::world::{World, done, failed, names, plan, proposal, receipt, series, settings};
use crate::{Effect, Event, Settings, event::ExpectationPoint};
use salve_model::{
    incident::{Outcome, Verdict},
    plan::Plan,
    telemetry::{Measurement, ObservationKind},
    time::EventTime,
};

/// A world that verifies this plan.
fn verifying(settings: Settings, plan: Plan) -> World {
    let mut world = World::with(settings);
    world.reach_deciding().decided(vec![proposal(Verdict::Act, &plan.action.0, "checkout")]);
    world.planned(plan).executed(done());
    world
}

fn without_expectations(action: &str) -> Plan {
    Plan { expectations: vec![], ..plan(action, "checkout") }
}

/// Only a point of the symptom, none of the expectation.
fn symptom_point(world: &mut World, abnormal: bool) {
    let time = EventTime(world.next_time());
    let point = Measurement { series: series("checkout", "errors").key, time, value: 0.0, abnormal };
    world.send(Event::Measured { series: vec![point], expected: vec![] });
}

/// Only a point of the expectation.
fn bound_point(world: &mut World, value: f64) {
    let time = EventTime(world.next_time());
    let incident = world.id();
    world.send(Event::Measured {
        series: vec![],
        expected: vec![ExpectationPoint { incident, index: 0, time, value }],
    });
}

fn attempt(world: &World) -> Option<Outcome> {
    world.core.incident(&world.id()).unwrap().attempts.last().unwrap().outcome
}

/// Scenario: symptoms clear at once, the expectation later.
/// Guarantees: neither alone is enough; the heal is verified with the very point that completes it.
#[test]
fn both_symptoms_and_expectations_must_hold() {
    let mut world = verifying(settings(), plan("config", "checkout"));
    for _ in 0..3 {
        world.now = world.now.plus_ms(100);
        symptom_point(&mut world, false);
    }
    assert_eq!(world.phase(), "verifying");
    bound_point(&mut world, 0.05);
    world.pass(999);
    bound_point(&mut world, 0.05);
    assert_eq!(world.phase(), "verifying", "held for 999 of 1000 ms");
    world.pass(1);
    assert_eq!(world.phase(), "verifying", "time alone does not complete a hold");
    bound_point(&mut world, 0.05);
    assert_eq!(world.outcome(), Some(Outcome::Healed));
}

/// Scenario: all symptoms clear at once, while late effects of the fault may still be on their way.
/// Guarantees: "healed" is not said before `verify_least_ms` have passed, and then without a further point.
#[test]
fn healed_is_not_said_too_early() {
    let settings = Settings { verify_least_ms: 4_000, ..settings() };
    let mut world = verifying(settings, without_expectations("restart"));
    for _ in 0..3 {
        symptom_point(&mut world, false);
    }
    assert_eq!(attempt(&world), None);
    world.pass(4_000);
    assert_eq!(attempt(&world), Some(Outcome::Healed));
}

/// Guarantees: one point out of bounds, or one that is no number, starts the hold anew.
#[test]
fn a_break_starts_the_hold_anew() {
    for breaking in [0.2, f64::NAN, f64::INFINITY] {
        let mut world = verifying(settings(), plan("config", "checkout"));
        for value in [0.05, 0.05, breaking, 0.05, 0.05] {
            world.now = world.now.plus_ms(450);
            symptom_point(&mut world, false);
            bound_point(&mut world, value);
        }
        assert_eq!(world.phase(), "verifying", "{breaking}");
        world.now = world.now.plus_ms(550);
        bound_point(&mut world, 0.05);
        assert_eq!(world.outcome(), Some(Outcome::Healed), "{breaking}");
    }
}

/// Guarantees: points that were measured before the run ended prove nothing, and neither do doubles and late points.
#[test]
fn only_new_points_after_the_run_count() {
    let mut world = World::new();
    world.reach_executing().points("checkout", "errors", false, 3).executed(done());
    assert_eq!(world.phase(), "verifying");
    let measured = |time, abnormal| {
        let point = Measurement { series: series("checkout", "errors").key, time, value: 0.0, abnormal };
        Event::Measured { series: vec![point], expected: vec![] }
    };
    let time = EventTime(world.next_time());
    world.send(measured(time, false));
    let before = world.core.clone();
    for time in [time, EventTime(time.0 - 1), EventTime(0)] {
        world.send(measured(time, true)).send(measured(time, false));
    }
    assert_eq!(world.core, before);
    world.points("checkout", "errors", false, 1);
    assert_eq!(world.phase(), "verifying", "two of three points");
}

/// Scenario: some normal points came before the run ended, and one sample is enough.
/// Guarantees: the row of normal points that makes a symptom recover lies after the run as a whole.
#[test]
fn recovery_does_not_span_the_end_of_the_run() {
    let mut world = World::with(Settings { verify_samples_min: 1, ..settings() });
    world.reach_planning().planned(without_expectations("config")).points("checkout", "errors", false, 2);
    world.executed(done()).points("checkout", "errors", false, 2);
    assert_eq!(world.phase(), "verifying");
    world.points("checkout", "errors", false, 1);
    assert_eq!(world.outcome(), Some(Outcome::Healed));
}

/// Guarantees: a value that is no number is not a healthy one, whatever the detectors say.
#[test]
fn no_number_is_not_health() {
    let mut world = World::new();
    world.reach_settling();
    for value in [f64::NAN, f64::NEG_INFINITY, f64::NAN] {
        let time = EventTime(world.next_time());
        let point = Measurement { series: series("checkout", "errors").key, time, value, abnormal: false };
        world.send(Event::Measured { series: vec![point], expected: vec![] });
    }
    assert_eq!(world.phase(), "settling");
}

/// Guarantees: `not healed` is said when the time is up, not before and not later, and the remedy is taken back.
#[test]
fn not_healed_when_the_time_is_up() {
    let mut world = verifying(settings(), without_expectations("config"));
    world.points("checkout", "errors", true, 11);
    assert_eq!(world.phase(), "verifying");
    world.points("checkout", "errors", true, 1);
    assert_eq!(world.phase(), "undoing");
    assert_eq!(attempt(&world), Some(Outcome::NotHealed));
}

/// Guarantees: an expectation has its own, shorter time.
#[test]
fn an_expectation_that_is_broken_at_its_time_is_not_healed() {
    let mut world = verifying(settings(), plan("config", "checkout"));
    symptom_point(&mut world, false);
    bound_point(&mut world, 0.9);
    world.pass(4_999);
    assert_eq!(world.phase(), "verifying");
    world.pass(1);
    assert_eq!(world.phase(), "undoing");
}

/// Guarantees: an action cannot hold an incident open for ever with its expectations.
#[test]
fn the_time_of_an_expectation_is_bounded() {
    let mut greedy = plan("config", "checkout");
    greedy.expectations[0].within_ms = u64::MAX;
    greedy.expectations[0].hold_ms = u64::MAX;
    let mut world = verifying(settings(), greedy.clone());
    bound_point(&mut world, 0.9);
    world.pass(20_000);
    assert_eq!(world.phase(), "undoing");

    let mut world = verifying(settings(), greedy);
    world.points("checkout", "errors", false, 100);
    assert_eq!((world.phase().as_str(), attempt(&world)), ("closed", Some(Outcome::Unknown)));
}

/// Scenario: after the run there is no telemetry.
/// Guarantees: silence extends the watch once, then what was done is kept, people are called, and no further remedy
/// is tried; what clears later does not make it a heal.
#[test]
fn silence_is_unknown() {
    let mut world = verifying(settings(), without_expectations("config"));
    world.pass(6_000);
    assert_eq!(world.phase(), "verifying");
    world.pass(5_999);
    assert_eq!(world.phase(), "verifying");
    world.pass(1);
    assert_eq!((world.phase().as_str(), names(&world.effects).as_str()), ("escalated", "escalate"));
    assert_eq!(attempt(&world), Some(Outcome::Unknown));
    assert!(!world.all_effects.iter().any(|effect| matches!(effect, Effect::Undo { .. })));
    world.symptom("gateway", "errors").pass(100_000);
    assert_eq!(world.phase(), "escalated");
    world.points("checkout", "errors", false, 3).points("gateway", "errors", false, 3);
    assert_eq!(world.outcome(), Some(Outcome::Unknown));
}

/// Guarantees: in the extension the first proof decides, either way.
#[test]
fn the_extension_ends_with_the_first_proof() {
    let mut world = verifying(settings(), without_expectations("config"));
    world.pass(6_000).points("checkout", "errors", true, 1);
    assert_eq!(world.phase(), "undoing");
    let mut world = verifying(settings(), without_expectations("config"));
    world.pass(6_000).points("checkout", "errors", false, 3);
    assert_eq!(world.outcome(), Some(Outcome::Healed));
}

/// Guarantees: too few points are not enough, whatever the settings say: at least one is needed.
#[test]
fn samples_are_needed() {
    let lenient = Settings { verify_samples_min: 0, recover_points: 1, ..settings() };
    let mut world = verifying(lenient, without_expectations("config"));
    world.pass(5_000);
    assert_eq!(world.phase(), "verifying");
    symptom_point(&mut world, false);
    assert_eq!(world.outcome(), Some(Outcome::Healed));
}

/// Scenario: a further symptom joins while the remedy is verified.
/// Guarantees: it belongs to the incident and must clear as well.
#[test]
fn a_symptom_that_joins_must_clear_too() {
    let mut world = verifying(settings(), without_expectations("config"));
    world.symptom("gateway", "duration").points("checkout", "errors", false, 4);
    assert_eq!((world.phase().as_str(), world.core.incidents().len()), ("verifying", 1));
    world.points("gateway", "duration", false, 3);
    assert_eq!(world.outcome(), Some(Outcome::Healed));
}

/// Scenario: points that should come do not: as the very symptom, or only after the run.
/// Guarantees: the first is proof that the remedy did not help, the second is silence.
#[test]
fn missing_points_as_symptom_and_as_silence() {
    let missing = |world: &mut World, service: &str| {
        for _ in 0..2 {
            let time = world.next_time();
            let mut observation = super::world::observation(service, "rate", time);
            observation.kind = ObservationKind::Missing;
            world.send(Event::Observed(vec![observation]));
        }
    };
    let mut world = World::new();
    missing(&mut world, "checkout");
    world.pass(800).diagnosed().decided(vec![proposal(Verdict::Act, "config", "checkout")]);
    world.planned(without_expectations("config")).executed(done()).pass(1_000);
    missing(&mut world, "checkout");
    world.pass(5_000);
    assert_eq!(world.phase(), "undoing");

    let mut world = verifying(settings(), without_expectations("config"));
    world.pass(1_000);
    missing(&mut world, "checkout");
    missing(&mut world, "checkout");
    world.points("checkout", "errors", false, 5).pass(6_000);
    assert_eq!(world.phase(), "verifying");
    world.pass(6_000);
    assert_eq!(world.phase(), "escalated");
}

/// Scenario: the points of a service that was silent come with event times before the report that it is silent.
/// Guarantees: they end its silence.
#[test]
fn any_point_ends_missing() {
    let mut world = World::new();
    for time in [5_000_000, 5_000_010] {
        let mut observation = super::world::observation("checkout", "rate", time);
        observation.kind = ObservationKind::Missing;
        world.send(Event::Observed(vec![observation]));
    }
    world.points("checkout", "rate", false, 3);
    assert_eq!(world.outcome(), Some(Outcome::Recovered));
}

/// Scenario: people were called, and then the service was taken away for good.
/// Guarantees: the incident does not stay open for ever; what is still heard of keeps it open.
#[test]
fn what_is_never_heard_of_again_is_closed_as_unknown() {
    for (abnormal_point, outcome) in [(false, Some(Outcome::Unknown)), (true, None)] {
        let mut world = World::with(Settings { silent_max_ms: 50_000, ..settings() });
        world.reach_deciding().decided(vec![]).pass(29_200);
        if abnormal_point {
            symptom_point(&mut world, true);
        }
        world.pass(20_000);
        assert_eq!(world.outcome(), None);
        world.pass(1);
        assert_eq!(world.outcome(), outcome);
    }
}

/// Scenario: a run breaks off, or says that it is done and wrote nothing.
/// Guarantees: what can be taken back is taken back, the rest is verified; nothing written is never a heal.
#[test]
fn runs_that_did_not_end_well() {
    for (action, result, phase) in [
        ("config", failed(vec![receipt(0)]), "undoing"),
        ("restart", failed(vec![receipt(0)]), "verifying"),
        ("config", failed(vec![]), "deciding"),
        ("config", salve_model::plan::RunResult { receipts: vec![], ..done() }, "deciding"),
    ] {
        let mut world = World::new();
        world.reach_deciding().decided(vec![proposal(Verdict::Act, action, "checkout")]);
        world.planned(plan(action, "checkout")).executed(result.clone());
        assert_eq!(world.phase(), phase, "{action} {result:?}");
    }
}

/// Scenario: undo does not take everything back.
/// Guarantees: people are called and told which steps remain; an action's word is not enough.
#[test]
fn an_undo_that_fails_names_what_remains() {
    for result in [failed(vec![]), salve_model::plan::RunResult { receipts: vec![], ..done() }] {
        let mut world = World::new();
        world.reach_undoing().undone(result);
        let Some(Effect::Escalate { reason, .. }) = world.effects.last() else {
            panic!("{:?}", world.effects)
        };
        assert!(reason.contains("step 0 (`config.set` on `checkout`) remains"), "{reason}");
    }
}
