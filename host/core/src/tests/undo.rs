//! A person has a remedy taken back.

use super::{
    life_cycle,
    world::{World, done, failed, names, plan, proposal, receipt, settings},
};
use crate::{Event, Settings, incident::Attempt};
use salve_model::{
    incident::{IncidentId, Outcome, Verdict},
    mode::Mode,
};

impl World {
    /// A person wants the newest remedy of the newest incident taken back.
    fn undo_asked(&mut self) -> &mut Self {
        let incident = self.id();
        let attempt = self.core.newest_attempt(&incident).unwrap_or(1);
        self.send(Event::UndoAsked { incident, attempt, by: "ann".into() })
    }

    fn objection(&self, attempt: u32) -> String {
        self.core.undo_objection(&self.id(), attempt).unwrap_or_default()
    }

    fn newest(&self) -> Attempt {
        self.core.incident(&self.id()).unwrap().attempts.last().unwrap().clone()
    }
}

/// Scenario: a person wants the newest remedy taken back, in each state.
/// Guarantees: it is, where something was written that can be; else there is an objection that says why, and nothing changes.
#[test]
fn an_undo_in_each_state() {
    for (name, mut world) in life_cycle::states() {
        let before = world.core.clone();
        let objection = world.core.undo_objection(&world.id(), 1);
        world.undo_asked();
        match name {
            "verifying" | "closed" => {
                assert_eq!((world.phase().as_str(), objection), ("undoing", None), "{name}");
                assert!(names(&world.effects).contains("undo"), "{name}");
                continue;
            }
            "executing" | "dry run" | "reconciling" | "undoing" | "reconciling undo" => {
                assert!(objection.unwrap().contains("under way"), "{name}");
            }
            "undo due" => assert!(objection.unwrap().contains("once Salve is resumed"), "{name}"),
            "escalated, uncertain" => assert!(objection.unwrap().contains("nobody can tell"), "{name}"),
            _ => assert!(objection.unwrap().contains("nothing was done"), "{name}"),
        }
        assert_eq!(world.core, before, "{name}: nothing changes");
    }
}

/// Scenario: a person has a remedy taken back while its effect is watched.
/// Guarantees: it counts as unknown and no further remedy follows; the same is not taken back twice; the incident ends when its
/// symptoms clear, and not as healed.
#[test]
fn what_is_taken_back_is_in_the_persons_hands() {
    let mut world = World::new();
    world.reach_verifying().undo_asked().undone(done());
    assert_eq!(world.phase(), "escalated");
    assert_eq!(names(&world.effects), "", "who asked is not called");
    let attempt = world.newest();
    assert_eq!((attempt.outcome, attempt.undo_asked_by.as_deref()), (Some(Outcome::Unknown), Some("ann")));
    assert!(world.objection(1).contains("taken back already"));
    assert!(world.core.half_done().is_empty());
    world.pass(5_000);
    assert_eq!(world.phase(), "escalated");
    world.points("checkout", "errors", false, 4);
    assert_eq!(world.outcome(), Some(Outcome::Unknown));
}

/// Scenario: further symptoms come after a person had a remedy taken back.
/// Guarantees: Salve looks again, and does not try the same remedy.
#[test]
fn the_same_remedy_is_not_tried_again() {
    let mut world = World::new();
    world.reach_verifying().undo_asked().undone(done()).symptom("checkout", "duration").pass(800);
    world.diagnosed().decided(vec![proposal(Verdict::Act, "config", "checkout")]);
    assert_eq!(world.phase(), "escalated");
}

/// Scenario: a person wants a remedy taken back while Salve is paused, and the daemon restarts.
/// Guarantees: nothing is taken back before Salve is resumed; then it is, once.
#[test]
fn an_undo_waits_while_paused() {
    let mut world = World::new();
    world.reach_verifying().pause().undo_asked();
    assert_eq!((world.phase().as_str(), names(&world.effects).contains("undo")), ("undo due", false));
    world.pass(60_000).crash().pass(60_000);
    assert_eq!(world.phase(), "undo due");
    world.resume();
    assert_eq!((world.phase().as_str(), names(&world.effects).contains("undo")), ("undoing", true));
    world.undone(done());
    assert_eq!(world.phase(), "escalated");
}

/// Scenario: a remedy that a person has taken back cannot be; a crash cuts one off.
/// Guarantees: people are called with what remains, and it can be asked for again; after a crash it goes on as any other.
#[test]
fn an_undo_that_fails() {
    let mut world = World::new();
    world.reach_verifying().undo_asked().undone(failed(vec![]));
    assert_eq!(names(&world.effects), "escalate");
    assert_eq!((world.objection(1).as_str(), world.core.half_done().len()), ("", 1));
    world.undo_asked().crash().reconciled(done());
    assert_eq!(world.phase(), "escalated");
    assert!(world.newest().steps_to_undo().is_empty());
}

/// Guarantees: each reason that speaks against taking a remedy back is named.
#[test]
fn objections() {
    let mut world = World::new();
    world.reach_verifying();
    assert!(world.core.undo_objection(&IncidentId("inc-9".into()), 1).unwrap().contains("no incident"));
    assert!(world.objection(2).contains("remedy 1"));
    let mut lowered = world.clone();
    lowered.set(|settings| settings.mode = Mode::Observe);
    assert!(lowered.objection(1).contains("mode"));

    // The first one wrote nothing; the second has no way back.
    let mut world = World::new();
    world.reach_executing().executed(failed(vec![]));
    assert!(world.objection(1).contains("wrote nothing"));
    let mut world = World::new();
    world.reach_deciding().decided(vec![proposal(Verdict::Act, "restart", "checkout")]);
    world.planned(plan("restart", "checkout")).executed(done());
    assert!(world.objection(1).contains("no way back"));
}

/// Scenario: one incident's remedy has healed, and another incident acts on the same object.
/// Guarantees: the first is not taken back under the hands of the second.
#[test]
fn an_object_in_other_hands_is_left_alone() {
    let mut world = World::with(Settings { reopen_ms: 0, ..settings() });
    world.reach_verifying().points("checkout", "errors", false, 4).pass(6_000);
    assert_eq!(world.outcome(), Some(Outcome::Healed));
    let first = world.id();
    world.reach_executing();
    assert_ne!(world.id(), first);
    assert!(world.core.undo_objection(&first, 1).unwrap().contains("under treatment"));
}

/// Guarantees: what is listed as half done is what was begun and neither verified nor taken back, with what was written.
#[test]
fn half_done() {
    let listed = |world: &World| world.core.half_done();
    for (name, world) in life_cycle::states() {
        let expected = ["executing", "reconciling", "verifying", "undo due", "undoing", "reconciling undo"];
        let is_listed = expected.contains(&name) || name == "escalated, uncertain";
        assert_eq!(listed(&world).len(), usize::from(is_listed), "{name}");
    }
    let mut world = World::new();
    world.reach_executing();
    assert!(listed(&world)[0].is_under_way && listed(&world)[0].objection.is_some());
    world.executed(done());
    let one = &listed(&world)[0];
    assert_eq!((one.attempt, one.action.as_str(), one.objection.as_deref()), (1, "config", None));
    let step = &one.steps[0];
    assert_eq!((step.call.as_str(), step.target.as_str()), ("config.set", "checkout"));
    assert_eq!((step.before.as_deref(), step.after.as_deref()), (Some("1"), Some("2")));
    assert!(step.is_reversible && !one.is_under_way);

    // One of two steps was written.
    let mut world = World::new();
    let mut two = plan("config", "checkout");
    two.steps.push(two.steps[0].clone());
    world.reach_planning().planned(two).pause().executed(failed(vec![receipt(1)]));
    assert_eq!(listed(&world)[0].steps.len(), 1);
}
