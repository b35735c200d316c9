//! Tenants: what one of them has, the others neither see nor fill.

use super::world::{World, observation, plan, proposal, settings, target};
use crate::{Core, Event, IncidentSummary, Settings, Transition};
use proptest::prelude::*;
use salve_model::{
    Target, Tenant,
    incident::{IncidentId, Verdict},
    telemetry::{Measurement, Observation, SeriesKey},
    time::{EventTime, Now},
};
use std::collections::BTreeSet;

fn beta() -> Tenant {
    Tenant("beta".into())
}

/// As [`observation`], of a tenant's own series.
fn of(tenant: &Tenant, service: &str, time: u64) -> Observation {
    let mut seen = observation(service, "errors", time);
    if !tenant.is_default() {
        seen.series.key = SeriesKey(!seen.series.key.0);
    }
    seen.series.tenant = tenant.clone();
    seen
}

/// A target of beta's with the attributes of a default one.
fn beta_target(service: &str) -> Target {
    let mut target = Target { tenant: beta(), ..target(service) };
    target.id.0.insert_str(0, "beta-");
    target.objects = vec![format!("unit/{}", target.id)];
    target
}

/// The world with targets of both, and the same services calling each other.
fn world(settings: Settings) -> World {
    let mut world = World::with(settings.clone());
    let mut targets: Vec<Target> = world.core.targets.clone();
    targets.extend(["gateway", "checkout", "inventory", "mail"].map(beta_target));
    world.send(Event::Configured { settings, targets });
    let edges = vec![("gateway".into(), "checkout".into())];
    world.send(Event::Topology { tenant: beta(), edges });
    world
}

impl World {
    fn symptom_of(&mut self, tenant: &Tenant, service: &str) -> &mut Self {
        for _ in 0..2 {
            let time = self.next_time();
            self.send(Event::Observed(vec![of(tenant, service, time)]));
        }
        self
    }

    /// From the newest incident's diagnosis to its run, or to what holds it.
    fn try_remedy(&mut self, on: &str) -> &mut Self {
        self.pass(800).diagnosed().decided(vec![proposal(Verdict::Act, "config", on)]);
        self.planned(plan("config", on))
    }
}

fn tenants(core: &Core) -> Vec<(String, u32)> {
    core.incidents().into_iter().map(|incident| (incident.tenant.0, incident.symptoms)).collect()
}

/// Scenario: services of the same name, and neighbours on the map, fall ill for two tenants.
/// Guarantees: each tenant has an incident of its own with its own symptoms; policies see whose it is, and only the tenant's
/// targets and history; after a crash all of it is the same.
#[test]
fn each_has_its_own_incident() {
    let mut world = world(settings());
    world.symptom("checkout", "errors").symptom_of(&beta(), "checkout");
    // Inventory is beside checkout on the default tenant's map, and not on beta's.
    world.symptom("gateway", "errors").symptom_of(&beta(), "gateway").symptom_of(&beta(), "inventory");
    let expected = [("default".to_owned(), 2), ("beta".to_owned(), 2), ("beta".to_owned(), 1)];
    assert_eq!(tenants(&world.core), expected);
    world.pass(800);
    for (id, tenant) in [("inc-1", Tenant::default()), ("inc-2", beta())] {
        let incident = IncidentId(id.into());
        let detail = world.core.incident(&incident).unwrap();
        assert_eq!(detail.view.tenant, tenant);
        assert!(detail.view.symptoms.iter().all(|symptom| symptom.series.tenant == tenant));
        assert_eq!(world.core.tenant(&incident), tenant);
        let request = world.request(&incident);
        world.send(Event::Diagnosed { incident, request, findings: Err("nothing".into()) });
        let input = world.effects.iter().find_map(|effect| match effect {
            crate::Effect::Decide { input, .. } => Some(input.clone()),
            _ => None,
        });
        let input = input.unwrap();
        assert_eq!(input.incident.tenant, tenant);
        assert_eq!(input.targets.len(), 4);
        assert!(input.targets.iter().all(|target| target.tenant == tenant));
    }
    world.crash();
    assert_eq!(tenants(&world.core), expected);
    let changes: BTreeSet<Tenant> =
        world.transitions.iter().map(|transition| world.core.tenant_of(&transition.change)).collect();
    assert_eq!(changes, BTreeSet::from([Tenant::default(), beta()]));
}

/// Scenario: a policy proposes another tenant's target.
/// Guarantees: it is passed over and said; the tenant's own is taken; what was tried for one tenant is no history for another.
#[test]
fn another_tenants_target_is_passed_over() {
    let mut world = world(settings());
    world.reach_verifying();
    world.symptom_of(&beta(), "checkout").pass(800).diagnosed();
    let input = world.all_effects.iter().rev().find_map(|effect| match effect {
        crate::Effect::Decide { input, .. } => Some(input.clone()),
        _ => None,
    });
    assert_eq!(input.unwrap().history, []);
    let foreign = proposal(Verdict::Act, "config", "mail");
    let own = proposal(Verdict::Act, "config", "beta-mail");
    world.decided(vec![foreign, own]);
    assert_eq!(world.phase(), "planning");
    let detail = world.core.incident(&world.id()).unwrap();
    let told: Vec<&str> = detail.timeline.entries.iter().map(|entry| entry.text.as_str()).collect();
    assert!(told.iter().any(|text| text.contains("another tenant's")), "{told:?}");
    world.planned(plan("config", "beta-mail"));
    assert_eq!(world.phase(), "executing");
}

/// Scenario: one tenant has more incidents, suspicious series and ended incidents than the settings allow.
/// Guarantees: another tenant's find their place as if it were alone.
#[test]
fn bounds_are_each_tenants_own() {
    let mut world = world(Settings {
        incidents_open_max: 1,
        candidates_max: 2,
        history_max: 1,
        recover_points: 1,
        correlate_hops_max: 0,
        reopen_ms: 0,
        ..settings()
    });
    world.symptom_of(&beta(), "a").symptom_of(&beta(), "b").symptom("mail", "errors");
    assert_eq!(tenants(&world.core), [("beta".to_owned(), 2), ("default".to_owned(), 1)]);
    let time = world.next_time();
    world.send(Event::Observed(vec![observation("checkout", "errors", time)]));
    for service in ["c", "d", "e", "f"] {
        let time = world.next_time();
        world.send(Event::Observed(vec![of(&beta(), service, time)]));
    }
    assert_eq!((world.core.candidates.len(), world.core.counts().candidates_forgotten), (3, 2));
    // The default tenant's point of before still counts: with one more it is a symptom.
    let time = world.next_time();
    world.send(Event::Observed(vec![observation("checkout", "errors", time)]));
    assert_eq!(tenants(&world.core)[1], ("default".to_owned(), 2));

    for service in ["mail", "checkout"] {
        world.points(service, "errors", false, 1);
    }
    let close = |world: &mut World, service: &str| {
        let (key, time) = (of(&beta(), service, 0).series.key, EventTime(world.next_time()));
        world.send(Event::Measured {
            series: vec![Measurement { series: key, time, value: 0.0, abnormal: false }],
            expected: vec![],
        });
    };
    close(&mut world, "a");
    close(&mut world, "b");
    for _ in 0..4 {
        world.pass(1).symptom_of(&beta(), "a");
        close(&mut world, "a");
    }
    let left = tenants(&world.core);
    assert!(left.contains(&("default".to_owned(), 2)), "{left:?}");
    assert!(left.iter().filter(|(tenant, _)| tenant == "beta").count() <= 2, "{left:?}");
}

/// Scenario: beta's remedies come first and would use up all runs, and all objects, that may be at one time.
/// Guarantees: some are left, and the default tenant's remedy starts at once; without targets of another tenant none is kept
/// back.
#[test]
fn guards_leave_some_to_others() {
    let rate = Settings { rate_max: 4, blast_radius_objects_max: 100, ..settings() };
    let radius = Settings { blast_radius_objects_max: 4, ..settings() };
    for (settings, kept) in [(rate, "rate"), (radius, "blast radius")] {
        let settings = Settings { correlate_hops_max: 0, ..settings };
        let mut shared = world(settings.clone());
        for service in ["gateway", "checkout"] {
            shared.symptom_of(&beta(), service).try_remedy(&format!("beta-{service}"));
            assert_eq!(shared.phase(), "executing", "{kept}");
        }
        shared.symptom_of(&beta(), "mail").try_remedy("beta-mail");
        assert_eq!(shared.phase(), "held", "{kept}");
        let held = shared.core.incident(&shared.id()).unwrap().timeline.entries.back().unwrap().text.clone();
        assert!(held.contains("left to other tenants") && held.contains(kept), "{held}");
        shared.symptom("mail", "errors").try_remedy("mail");
        assert_eq!(shared.phase(), "executing", "{kept}");

        let mut alone = World::with(settings);
        for service in ["gateway", "checkout", "mail"] {
            alone.symptom(service, "errors").try_remedy(service);
            assert_eq!(alone.phase(), "executing", "{kept}");
        }
    }
}

/// Scenario: what an earlier Salve wrote into its ledger, before incidents had tenants: an incident that healed, one that
/// is open.
/// Guarantees: all of it is understood, is the default tenant's, and goes on.
#[test]
fn ledgers_from_before_tenants_are_understood() {
    let mut core = Core::new();
    for line in include_str!("before_tenants.jsonl").lines() {
        let transition: Transition = serde_json::from_str(line).unwrap();
        core.apply(&transition);
        assert_eq!(serde_json::to_string(&transition).unwrap(), line, "written as it was before");
        assert!(core.tenant_of(&transition.change).is_default());
    }
    let states: Vec<String> =
        core.incidents().iter().map(|incident| format!("{} {}", incident.tenant, incident.phase)).collect();
    assert_eq!(states, ["default closed", "default diagnosing"]);
    let step = core.recover(Now(2_000_000));
    assert!(!step.transitions.is_empty(), "the open one is taken up again");
}

/// What can be told of a tenant's incidents without their numbers.
fn told(core: &Core, tenant: &Tenant) -> Vec<(String, Vec<String>, u32, u32, bool)> {
    let mine = core.incidents().into_iter().filter(|incident| incident.tenant == *tenant);
    mine.map(|one: IncidentSummary| {
        (one.phase, one.services, one.symptoms, one.symptoms_open, one.outcome.is_some())
    })
    .collect()
}

proptest! {
    /// Scenario: any points of any services of two tenants that call their services alike, with the smallest bounds.
    /// Guarantees: no incident has symptoms of both; and each tenant's incidents are those that it has if the other one does
    /// not exist.
    #[test]
    fn tenants_do_not_touch(
        moves in prop::collection::vec((0..2_usize, 0..4_usize, any::<bool>(), 0..900_u64), 1..80),
        hops in 0..3_u32,
    ) {
        const SERVICES: [&str; 4] = ["gateway", "checkout", "inventory", "mail"];
        let both = [Tenant::default(), beta()];
        let settings = Settings {
            mode: salve_model::mode::Mode::Observe,
            incidents_open_max: 2,
            candidates_max: 2,
            symptoms_max: 2,
            history_max: 1,
            recover_points: 1,
            correlate_hops_max: hops,
            reopen_ms: 500,
            ..settings()
        };
        // What each move is, for the core of all and for that of its tenant alone.
        let run = |whose: &[Tenant]| {
            let mut core = Core::new();
            core.step(&Event::Configured { settings: settings.clone(), targets: vec![] }, Now(0));
            for tenant in whose {
                let edges = vec![("gateway".into(), "checkout".into()), ("checkout".into(), "inventory".into())];
                core.step(&Event::Topology { tenant: tenant.clone(), edges }, Now(0));
            }
            let mut now = Now(1_000);
            for (number, (tenant, service, abnormal, ms)) in (1..).zip(&moves) {
                now = now.plus_ms(*ms);
                core.step(&Event::Tick, now);
                let tenant = &both[*tenant];
                if !whose.contains(tenant) {
                    continue;
                }
                let seen = of(tenant, SERVICES[*service], number);
                let series = seen.series.key;
                if *abnormal {
                    core.step(&Event::Observed(vec![seen]), now);
                } else {
                    let point = Measurement { series, time: EventTime(number), value: 0.0, abnormal: false };
                    core.step(&Event::Measured { series: vec![point], expected: vec![] }, now);
                }
            }
            core
        };
        let together = run(&both);
        for incident in together.incidents() {
            let detail = together.incident(&incident.id).unwrap();
            prop_assert!(detail.view.symptoms.iter().all(|symptom| symptom.series.tenant == incident.tenant));
        }
        for tenant in &both {
            prop_assert_eq!(told(&together, tenant), told(&run(std::slice::from_ref(tenant)), tenant));
        }
    }
}
