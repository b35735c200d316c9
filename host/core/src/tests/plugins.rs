//! Incidents about plugins.

use super::world::{World, names, proposal, settings};
use crate::{
    Effect, Event, Settings,
    plugin::{Answering, ERRORS_MAX, FALLEN_MAX, Fallen, PluginTrouble},
};
use salve_model::{
    incident::{IncidentId, Outcome, Verdict},
    time::Now,
};

pub(super) fn fallen(version: &str, since: u64) -> Fallen {
    Fallen {
        version: version.into(),
        digest: format!("{version}-digest"),
        since: Now(since),
        reason: "it trapped".into(),
        errors: vec!["unreachable".into(), "out of bounds".into()],
    }
}

pub(super) fn answering(version: &str, stands_in: bool) -> Option<Answering> {
    Some(Answering { version: version.into(), digest: format!("{version}-digest"), stands_in })
}

pub(super) fn trouble(plugin: &str, fallen: Vec<Fallen>, answering: Option<Answering>) -> PluginTrouble {
    PluginTrouble { plugin: plugin.into(), fallen, answering }
}

fn tell(world: &mut World, plugins: Vec<PluginTrouble>) {
    world.send(Event::Plugins { plugins });
}

/// A world in which `count` 2 fell and 1 stands in.
fn fell() -> World {
    let mut world = World::new();
    tell(&mut world, vec![trouble("count", vec![fallen("2", 5)], answering("1", true))]);
    world
}

/// Scenario: a version of a plugin is in quarantine, the one before stands in, and a person acknowledges it.
/// Guarantees: people are called at once, with name, versions and reason; nobody else is asked; being told the same again, time
/// and silence change nothing; it ends by that person's word, in their name.
#[test]
fn a_quarantine_is_an_incident() {
    let mut world = fell();
    assert_eq!(
        (world.phase().as_str(), names(&world.effects).as_str()),
        ("escalated", "watch 0+0, escalate")
    );
    let Some(Effect::Escalate { reason, .. }) = world.effects.last() else { panic!("{:?}", world.effects) };
    assert_eq!(reason, "plugin `count` 2 is in quarantine (2-digest): it trapped; version 1 stands in");
    let before = world.core.clone();
    tell(&mut world, vec![trouble("count", vec![fallen("2", 5)], answering("1", true))]);
    assert_eq!((&world.core, names(&world.effects).as_str()), (&before, ""));
    // Told of without its errors, as after a restart of the driver, it is still the same.
    let forgotten = Fallen { errors: vec![], ..fallen("2", 5) };
    tell(&mut world, vec![trouble("count", vec![forgotten], answering("1", true))]);
    world.pass(world.core.settings().silent_max_ms + 1);
    assert_eq!(world.core, before);

    world.send(Event::Acknowledged { incident: world.id(), by: "ann".into() });
    assert_eq!(names(&world.effects), "closed recovered");
    let detail = world.core.incident(&world.id()).unwrap();
    let timeline: Vec<&str> = detail.timeline.entries.iter().map(|entry| entry.text.as_str()).collect();
    insta::assert_snapshot!(timeline.join("\n"), @r"
    opened: plugin `count` 2 is in quarantine (2-digest): it trapped; version 1 stands in
    people are called: plugin `count` 2 is in quarantine (2-digest): it trapped; version 1 stands in
    acknowledged by `ann`
    closed
    ");
    assert_eq!(detail.plugin.unwrap().trouble.fallen[0].errors, ["unreachable", "out of bounds"]);
    // The quarantine lasts, the incident does not come back.
    tell(&mut world, vec![trouble("count", vec![fallen("2", 5)], answering("1", true))]);
    world.crash();
    assert_eq!((world.core.incidents().len(), world.phase().as_str()), (1, "closed"));
}

/// Scenario: after a quarantine the plugin stands in each way in which it can.
/// Guarantees: the incident ends where nothing is left to be done, and only there.
#[test]
fn when_it_ends() {
    let two = || vec![fallen("2", 5)];
    for (now, ends) in [
        (vec![], Some("no version of it is in quarantine any more")),
        (
            vec![trouble("other", two(), answering("3", false))],
            Some("no version of it is in quarantine any more"),
        ),
        (vec![trouble("count", two(), answering("3", false))], Some("version 3 answers")),
        (vec![trouble("count", two(), answering("1", true))], None),
        (vec![trouble("count", two(), answering("1", false))], Some("version 1 answers")),
        // The one that stood in fell too, without trapping.
        (vec![trouble("count", two(), answering("0", true))], None),
        (vec![trouble("count", two(), None)], None),
    ] {
        let mut world = fell();
        let id = world.id();
        tell(&mut world, now.clone());
        let detail = world.core.incident(&id).unwrap();
        assert_eq!(detail.outcome, ends.map(|_| Outcome::Recovered), "{now:?}");
        assert_eq!(detail.plugin.unwrap().settled.as_deref(), ends);
    }
    // A version under trial fell; the active one goes on as before, and that mends nothing.
    let mut world = World::new();
    tell(&mut world, vec![trouble("count", two(), answering("1", false))]);
    assert_eq!(world.phase(), "escalated");
    tell(&mut world, vec![trouble("count", two(), answering("3", false))]);
    assert_eq!(world.phase(), "closed");
}

/// Scenario: the version that stood in falls as well, and is then tried again and falls once more.
/// Guarantees: one incident; people are called each time a version falls.
#[test]
fn a_further_version_falls() {
    let mut world = fell();
    tell(&mut world, vec![trouble("count", vec![fallen("2", 5), fallen("1", 9)], None)]);
    assert_eq!(names(&world.effects), "escalate");
    assert_eq!(world.core.incidents()[0].title.as_deref(), Some("plugin `count` 2, 1 is in quarantine"));
    tell(&mut world, vec![trouble("count", vec![fallen("2", 5), fallen("1", 12)], None)]);
    assert_eq!((names(&world.effects).as_str(), world.core.incidents().len()), ("escalate", 1));
    tell(&mut world, vec![trouble("mail", vec![fallen("1", 13)], None)]);
    // `count` is mended, `mail` is another plugin.
    let phases: Vec<_> = world.core.incidents().into_iter().map(|incident| incident.phase).collect();
    assert_eq!(phases, ["closed", "escalated"]);
}

/// Guarantees: only an open incident about a plugin of which a version answers can be acknowledged; whoever tries otherwise is
/// told why.
#[test]
fn what_cannot_be_acknowledged() {
    let refused = |world: &mut World, word: &str| {
        let (id, before) = (world.id(), world.core.clone());
        let objection = world.core.acknowledge_objection(&id).unwrap_or_default();
        assert!(objection.contains(word), "{objection}");
        world.send(Event::Acknowledged { incident: id, by: "ann".into() });
        assert_eq!(world.core, before);
    };
    refused(&mut World::new(), "no incident");
    refused(World::new().reach_settling(), "telemetry");
    let mut world = fell();
    tell(&mut world, vec![trouble("count", vec![fallen("2", 5)], None)]);
    refused(&mut world, "salve plugin reload count");
    tell(&mut world, vec![]);
    refused(&mut world, "closed");
}

/// Scenario: a plugin is in trouble while a service is, too many incidents are open, and Salve is paused.
/// Guarantees: neither gets into the other's way, in whichever order they come.
#[test]
fn plugins_and_services_are_apart() {
    let mut world = World::with(Settings { incidents_open_max: 1, ..settings() });
    world.pause();
    tell(&mut world, vec![trouble("count", vec![fallen("2", 5)], answering("1", true))]);
    world.resume();
    world.reach_deciding();
    assert_eq!(world.core.counts().symptoms_overflowed, 0);
    let Some(Effect::Decide { input, .. }) = world.effects.last() else { panic!("{:?}", world.effects) };
    assert_eq!(input.incident.services, ["checkout"]);
    world.decided(vec![proposal(Verdict::Act, "config", "checkout")]);
    tell(
        &mut world,
        vec![
            trouble("count", vec![fallen("2", 5)], answering("1", true)),
            trouble("mail", vec![fallen("1", 6)], None),
        ],
    );
    assert_eq!((world.core.counts().plugins_overflowed, world.core.incidents().len()), (1, 2));
    tell(&mut world, vec![]);
    world.crash();
    let phases: Vec<_> = world.core.incidents().into_iter().map(|incident| incident.phase).collect();
    assert_eq!(phases, ["closed", "planning"]);
    assert!(world.core.incident(&IncidentId("inc-1".into())).unwrap().view.symptoms.is_empty());
}

/// Guarantees: what a plugin says of itself is bounded, and the newest is kept.
#[test]
fn what_is_told_is_bounded() {
    let mut world = World::new();
    let long = "x".repeat(10_000);
    let errors = (0..100).map(|number| format!("{number} {long}")).collect();
    let mut many: Vec<Fallen> = (0..50).map(|number| fallen(&number.to_string(), number)).collect();
    many[49] = Fallen { errors, reason: long, ..many[49].clone() };
    tell(&mut world, vec![trouble("count", many, None)]);
    let trouble = world.core.incident(&world.id()).unwrap().plugin.unwrap().trouble;
    let newest = trouble.fallen.last().unwrap();
    assert_eq!((trouble.fallen.len(), newest.version.as_str()), (FALLEN_MAX, "49"));
    assert!(newest.errors.len() == ERRORS_MAX && newest.errors[ERRORS_MAX - 1].starts_with("99 "));
    assert!(serde_json::to_string(&trouble).unwrap().len() < 20_000);
}
