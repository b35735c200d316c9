//! Which symptoms belong together.

use super::world::{World, observation, settings};
use crate::{Event, Settings};
use salve_model::{incident::Outcome, time::EventTime};

fn phases(world: &World) -> Vec<String> {
    world.core.incidents().into_iter().map(|incident| incident.phase).collect()
}

/// Guarantees: `confirm_points` different points, each soon enough after the one before, make a symptom.
#[test]
fn confirmation() {
    let mut world = World::new();
    let mut send = |time: u64, wait_ms: u64, score: f32| {
        world.now = world.now.plus_ms(wait_ms);
        let mut observation = observation("checkout", "errors", time);
        observation.score = score;
        world.send(Event::Observed(vec![observation]));
        world.core.incidents().len()
    };
    assert_eq!(send(10, 0, 0.9), 0, "the first point");
    assert_eq!(send(10, 0, 0.9), 0, "the same point again");
    assert_eq!(send(9, 0, 0.9), 0, "an older point");
    assert_eq!(send(20, 10_001, 0.9), 0, "too late after the first: it is the first now");
    assert_eq!(send(30, 0, 0.49), 0, "too low a score");
    assert_eq!(send(30, 0, f32::NAN), 0, "no score");
    assert_eq!(send(40, 10_000, 0.5), 1, "the second");
}

/// Guarantees: a detector of which more points are asked for gets no symptom with fewer; others are not held up by it.
#[test]
fn confirmation_by_detector() {
    let count = |points_of: &[(&str, u32)], points: u64| {
        let confirm_points_of =
            points_of.iter().map(|(name, points)| ((*name).to_owned(), *points)).collect();
        let mut world = World::with(Settings { confirm_points_of, ..settings() });
        for time in 1..=points {
            world.send(Event::Observed(vec![observation("checkout", "errors", time)]));
        }
        world.core.incidents().len()
    };
    let detector = observation("checkout", "errors", 0).detector;
    assert_eq!((count(&[(&detector, 3)], 2), count(&[(&detector, 3)], 3)), (0, 1));
    assert_eq!((count(&[(&detector, 1)], 1), count(&[("another", 3)], 2)), (1, 1));
}

/// Guarantees: same service or neighbours on the map make one incident, strangers another; each series counts once.
#[test]
fn neighbours_make_one_incident() {
    let mut world = World::new();
    world.symptom("gateway", "errors").symptom("inventory", "duration").symptom("gateway", "duration");
    world.symptom("gateway", "errors");
    assert_eq!(phases(&world).len(), 1);
    let detail = world.core.incident(&world.id()).unwrap();
    assert_eq!(
        (detail.view.symptoms.len(), detail.view.services.join(" ").as_str()),
        (3, "gateway inventory")
    );
    world.symptom("mail", "errors");
    assert_eq!(phases(&world).len(), 2);
}

/// Guarantees: farther than `correlate_hops_max` calls away is another incident.
#[test]
fn hops_are_bounded() {
    for (hops, incidents) in [(0, 2), (1, 2), (2, 1), (u32::MAX, 1)] {
        let mut world = World::with(Settings { correlate_hops_max: hops, ..settings() });
        world.symptom("gateway", "errors").symptom("inventory", "errors");
        assert_eq!(phases(&world).len(), incidents, "{hops} hops");
    }
}

/// Scenario: a symptom is equally near to two incidents, then nearer to the younger.
/// Guarantees: the nearer one takes it; equals: the older.
#[test]
fn the_nearest_incident_takes_it() {
    let mut world = World::with(Settings { correlate_hops_max: 1, ..settings() });
    world.symptom("gateway", "errors").symptom("inventory", "errors");
    world.symptom("checkout", "errors").symptom("inventory", "duration");
    let symptoms: Vec<u32> = world.core.incidents().iter().map(|incident| incident.symptoms).collect();
    assert_eq!(symptoms, [2, 2]);
}

/// Guarantees: services without a name are no neighbours of others.
#[test]
fn nameless_services_have_no_neighbours() {
    let mut world = World::new();
    world.send(Event::Topology {
        tenant: salve_model::Tenant::default(),
        edges: vec![(String::new(), "mail".into())],
    });
    world.symptom("", "errors").symptom("mail", "errors");
    assert_eq!(phases(&world).len(), 2);
}

/// Scenario: a symptom comes back after its incident has ended.
/// Guarantees: within `reopen_ms` it is the same incident, which counts it; later a new one. What healed before may be
/// tried again, and is counted against `attempts_max`.
#[test]
fn flapping() {
    for (pause_ms, incidents) in [(5_000, 1), (5_001, 2)] {
        let mut world = World::new();
        world.reach_verifying().points("checkout", "errors", false, 3);
        assert_eq!(world.outcome(), Some(Outcome::Healed));
        world.pass(pause_ms).symptom("checkout", "errors");
        assert_eq!(phases(&world).len(), incidents, "after {pause_ms} ms");
        let summary = world.core.incidents().pop().unwrap();
        assert_eq!((summary.phase.as_str(), summary.outcome), ("settling", None));
        assert_eq!(summary.reopened, u32::from(incidents == 1));
        world.pass(800).diagnosed().decided(vec![super::world::proposal(
            salve_model::incident::Verdict::Act,
            "config",
            "checkout",
        )]);
        assert_eq!(world.phase(), "planning");
    }
}

/// Scenario: an incident with a remedy that did not help and one that did comes back and clears by itself.
/// Guarantees: how it ends this time is told by what was done this time.
#[test]
fn an_incident_that_came_back_has_its_own_end() {
    let mut world = World::new();
    world.reach_undoing().undone(super::world::done());
    world.decided(vec![super::world::proposal(salve_model::incident::Verdict::Act, "restart", "checkout")]);
    world.planned(super::world::plan("restart", "checkout")).executed(super::world::done());
    world.points("checkout", "errors", false, 3);
    assert_eq!(world.outcome(), Some(Outcome::Healed));
    world.symptom("checkout", "errors").points("checkout", "errors", false, 3);
    assert_eq!(world.outcome(), Some(Outcome::Recovered));
}

/// Scenario: more incidents, symptoms and suspicious series than the settings allow.
/// Guarantees: nothing grows past its bound, and what was left out is counted.
#[test]
fn bounds() {
    let mut world =
        World::with(Settings { incidents_open_max: 2, symptoms_max: 2, candidates_max: 2, ..settings() });
    for service in ["a", "b", "c", "d"] {
        world.symptom(service, "errors");
    }
    let symptoms: Vec<u32> = world.core.incidents().iter().map(|incident| incident.symptoms).collect();
    assert_eq!(symptoms, [1, 2]);
    for service in ["e", "f", "g"] {
        let time = world.next_time();
        world.send(Event::Observed(vec![observation(service, "errors", time)]));
    }
    let counts = world.core.counts();
    assert_eq!((counts.symptoms_overflowed, counts.symptoms_refused, counts.candidates_forgotten), (1, 1, 1));
    assert_eq!(world.core.candidates.len(), 2);
}

/// Guarantees: an incident that comes back counts against the bound like a new one.
#[test]
fn coming_back_does_not_pass_the_bound() {
    let mut world = World::with(Settings { incidents_open_max: 1, ..settings() });
    world.symptom("checkout", "errors").points("checkout", "errors", false, 3).symptom("mail", "errors");
    world.symptom("checkout", "errors");
    let incidents = world.core.incidents();
    let open: Vec<u32> =
        incidents.iter().filter(|one| one.closed.is_none()).map(|one| one.symptoms).collect();
    assert_eq!(open, [2]);
}

/// Guarantees: closed incidents are remembered up to `history_max`, the newest of them.
#[test]
fn history_is_bounded() {
    let mut world = World::with(Settings { history_max: 2, reopen_ms: 0, recover_points: 1, ..settings() });
    for _ in 0..6 {
        world.pass(1).symptom("checkout", "errors").points("checkout", "errors", false, 1);
    }
    let ids: Vec<String> = world.core.incidents().into_iter().map(|incident| incident.id.0).collect();
    assert_eq!(ids, ["inc-4", "inc-5", "inc-6"], "two, and the one that ended last");
}

/// Scenario: abnormal points that are older than normal points which came before them.
/// Guarantees: event time orders them, so they do not undo the recovery.
#[test]
fn late_abnormal_points_do_not_undo_recovery() {
    let mut world = World::new();
    world.symptom("checkout", "errors").symptom("gateway", "errors").points("checkout", "errors", false, 3);
    let time = EventTime(world.next_time() - 15);
    world.send(Event::Observed(vec![observation("checkout", "errors", time.0)]));
    assert_eq!(world.core.incidents()[0].symptoms_open, 1);
    let time = world.next_time();
    world.send(Event::Observed(vec![observation("checkout", "errors", time)]));
    assert_eq!(world.core.incidents()[0].symptoms_open, 2);
}
