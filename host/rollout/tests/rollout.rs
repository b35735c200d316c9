//! What holds of rollouts, whatever happens.

use proptest::prelude::*;
use salve_rollout::{Facts, Input, Promote, Rollout, Rules, Sample, Stage, is_narrower};
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};

const NAMES: [&str; 2] = ["absence", "set-config"];

fn rules() -> Rules {
    Rules {
        samples_min: 10,
        calls_min: 2,
        shadow_ms: 100,
        canary_ms: 100,
        canary_share: 0.5,
        ..Rules::default()
    }
}

/// Versions differ in what they ask for: the number of verbs is the last digit.
fn facts(name: usize, number: u8) -> Facts {
    let verbs: BTreeSet<String> = (0..number % 3).map(|verb| format!("verb{verb}")).collect();
    Facts {
        name: NAMES[name % NAMES.len()].into(),
        digest: format!("{number:02}{}", "f".repeat(62)),
        version: format!("0.{number}.0"),
        role: if name.is_multiple_of(2) { "detector" } else { "action" }.into(),
        requests: BTreeMap::from([("config".into(), verbs)]),
        schema: json!({ "type": "object", "additionalProperties": false }),
        limits: BTreeMap::new(),
        contract: "0.1.0".into(),
    }
}

fn agreeing(compared: u64) -> Sample {
    Sample { compared, ..Sample::default() }
}

fn compared_in(stage: Stage, facts: &Facts, sample: Sample) -> Input {
    Input::Compared { name: facts.name.clone(), digest: facts.digest.clone(), stage, sample }
}

fn compared(facts: &Facts, sample: Sample) -> Input {
    compared_in(Stage::Shadow, facts, sample)
}

fn stage(rollout: &Rollout, facts: &Facts) -> Option<Stage> {
    rollout.plugins().get(&facts.name)?.versions.get(&facts.digest).map(|version| version.stage)
}

/// Two versions of a detector, neither wider: the first active, the second in shadow.
fn upgrade() -> (Rollout, Facts, Facts) {
    let mut rollout = Rollout::new(rules());
    let (old, new) = (facts(0, 3), facts(0, 6));
    rollout.step(0, Input::Loaded(old.clone()));
    rollout.step(0, Input::Loaded(new.clone()));
    (rollout, old, new)
}

/// Guarantees: an upgrade that agrees goes through shadow and canary, each for its time and its samples, and no sooner.
#[test]
fn an_upgrade_that_agrees_becomes_active() {
    let (mut rollout, old, new) = upgrade();
    assert_eq!(rollout.candidate("absence"), Some((new.digest.as_str(), Stage::Shadow)));
    rollout.step(50, compared(&new, agreeing(10)));
    assert_eq!(stage(&rollout, &new), Some(Stage::Shadow), "the time is not over");
    rollout.step(100, Input::Tick);
    assert_eq!(stage(&rollout, &new), Some(Stage::Canary));
    rollout.step(300, compared_in(Stage::Canary, &new, agreeing(9)));
    assert_eq!(stage(&rollout, &new), Some(Stage::Canary), "a canary needs samples of its own");
    let changes = rollout.step(301, compared_in(Stage::Canary, &new, agreeing(1)));
    assert_eq!(changes.len(), 2, "{changes:?}");
    assert_eq!(rollout.active("absence"), Some(new.digest.as_str()));
    assert_eq!(stage(&rollout, &old), Some(Stage::Retired));
}

/// Guarantees: a comparison that began in shadow and ends when the version is a canary does not count for the canary, and
/// what it found wrong counts against it.
#[test]
fn a_late_comparison_only_speaks_against() {
    let canary = || {
        let (mut rollout, _, new) = upgrade();
        rollout.step(50, compared(&new, agreeing(10)));
        rollout.step(100, Input::Tick);
        assert_eq!(stage(&rollout, &new), Some(Stage::Canary));
        (rollout, new)
    };
    let (mut rollout, new) = canary();
    rollout.step(300, compared(&new, agreeing(100)));
    assert_eq!(stage(&rollout, &new), Some(Stage::Canary));
    rollout.step(301, compared_in(Stage::Canary, &new, agreeing(10)));
    assert_eq!(stage(&rollout, &new), Some(Stage::Active));

    for sample in [Sample { differed: 20, ..agreeing(20) }, Sample { traps: 1, ..agreeing(1) }] {
        let (mut rollout, new) = canary();
        rollout.step(300, compared(&new, sample));
        assert_eq!(stage(&rollout, &new), Some(Stage::Failed), "{sample:?}");
    }
}

/// Guarantees: a trap, disagreement, slowness and memory each end a trial with a reason that names them, and the active
/// version stays.
#[test]
fn what_is_out_of_bounds_falls_back() {
    let base = agreeing(100);
    for (sample, word) in [
        (Sample { traps: 1, ..Sample::default() }, "trapped"),
        (Sample { differed: 6, ..base }, "differs"),
        (Sample { active_us: 3_000, candidate_us: 9_100, ..base }, "µs"),
        (Sample { active_memory_bytes: 10 << 20, candidate_memory_bytes: 21 << 20, ..base }, "memory"),
    ] {
        let (mut rollout, old, new) = upgrade();
        let changes = rollout.step(1, compared(&new, sample));
        assert!(changes.len() == 1 && changes[0].reason.contains(word), "{word}: {changes:?}");
        assert_eq!(stage(&rollout, &new), Some(Stage::Failed));
        assert_eq!(rollout.active("absence"), Some(old.digest.as_str()));
        assert!(rollout.step(2, Input::Loaded(new.clone())).is_empty(), "seen again, it is not tried again");
    }
    let within = Sample {
        differed: 5,
        active_us: 3_000,
        candidate_us: 9_000,
        active_memory_bytes: 10 << 20,
        candidate_memory_bytes: 20 << 20,
        ..base
    };
    let (mut rollout, _, new) = upgrade();
    assert!(rollout.step(1, compared(&new, within)).is_empty());
}

/// Guarantees: an upgrade that asks for more waits, is shown with what it asks for, and goes on only if the version that was
/// shown is the one that waits.
#[test]
fn a_wider_upgrade_is_held() {
    let mut rollout = Rollout::new(rules());
    let (old, wide, wider) = (facts(1, 0), facts(1, 1), facts(1, 2));
    rollout.step(0, Input::Loaded(old));
    let changes = rollout.step(1, Input::Loaded(wide.clone()));
    assert_eq!(changes[0].to, Stage::Held);
    assert!(changes[0].reason.contains("asks for config.verb0"), "{changes:?}");
    rollout.step(2, Input::Loaded(wider.clone()));
    let accept = |facts: &Facts| Input::Accept {
        name: facts.name.clone(),
        digest: facts.digest.clone(),
        by: "eve".into(),
    };
    assert!(rollout.try_step(3, accept(&wide)).is_err());
    assert_eq!(stage(&rollout, &wider), Some(Stage::Held));
    rollout.try_step(4, accept(&wider)).unwrap();
    assert_eq!(stage(&rollout, &wider), Some(Stage::Shadow));
}

/// Guarantees: when the active version goes into quarantine, the one before takes over, and so on; with none left, nothing
/// is active, and the next version that does not ask for more is.
#[test]
fn quarantine_falls_back_step_by_step() {
    let (mut rollout, old, new) = upgrade();
    let promote = Input::Promote { name: "absence".into(), digest: None, by: "eve".into() };
    rollout.try_step(1, promote).unwrap();
    let trap = |facts: &Facts| Input::Quarantined {
        name: facts.name.clone(),
        digest: facts.digest.clone(),
        reason: "three traps".into(),
    };
    rollout.step(2, trap(&new));
    assert_eq!(rollout.active("absence"), Some(old.digest.as_str()));
    rollout.step(3, trap(&old));
    assert_eq!(rollout.active("absence"), None);
    rollout.step(4, Input::Loaded(new));
    assert_eq!(rollout.active("absence"), None, "a version in quarantine does not come back by itself");
    let next = facts(0, 9);
    rollout.step(5, Input::Loaded(next.clone()));
    assert_eq!(rollout.active("absence"), Some(next.digest.as_str()));
}

/// Guarantees: a rollback ends a trial first, then goes back to the version before; what was rolled back is not tried again.
#[test]
fn rollback() {
    let (mut rollout, old, new) = upgrade();
    let by = || "eve".to_owned();
    let back = || Input::Rollback { name: "absence".into(), by: by() };
    rollout.try_step(1, back()).unwrap();
    assert_eq!(
        (stage(&rollout, &new), rollout.active("absence")),
        (Some(Stage::Failed), Some(old.digest.as_str()))
    );
    assert!(rollout.try_step(2, back()).is_err(), "there is nothing before the first");
    let promote = Input::Promote { name: "absence".into(), digest: Some(new.digest.clone()), by: by() };
    rollout.try_step(3, promote).unwrap();
    assert_eq!(rollout.active("absence"), Some(new.digest.as_str()));
    rollout.try_step(4, back()).unwrap();
    assert_eq!(rollout.active("absence"), Some(old.digest.as_str()));
    assert!(rollout.step(5, Input::Loaded(new)).is_empty());
}

/// Guarantees: a plugin cannot change its role, and a file that went away does not let its successor ask for more.
#[test]
fn a_name_keeps_its_role_and_its_measure() {
    let mut rollout = Rollout::new(rules());
    rollout.step(0, Input::Loaded(facts(1, 0)));
    let other = Facts { role: "agent".into(), ..facts(1, 3) };
    rollout.step(1, Input::Loaded(other.clone()));
    assert_eq!(stage(&rollout, &other), Some(Stage::Failed));
    rollout.step(2, Input::Gone { name: "set-config".into() });
    rollout.step(3, Input::Loaded(facts(1, 1)));
    assert_eq!((stage(&rollout, &facts(1, 1)), rollout.active("set-config")), (Some(Stage::Held), None));
}

fn input() -> impl Strategy<Value = Input> {
    let version = || (0..2_usize, 0..9_u8).prop_map(|(name, number)| facts(name, number));
    let by = || "eve".to_owned();
    let sample = (0..20_u64, 0..3_u64, 0..2_u64).prop_map(|(compared, differed, traps)| Sample {
        compared,
        differed,
        traps: if compared % 7 == 0 { traps } else { 0 },
        ..Sample::default()
    });
    prop_oneof![
        4 => version().prop_map(Input::Loaded),
        6 => (version(), sample, any::<bool>()).prop_map(|(facts, sample, late)| {
            compared_in(if late { Stage::Shadow } else { Stage::Canary }, &facts, sample)
        }),
        1 => (0..2_usize).prop_map(|name| Input::Gone { name: NAMES[name].into() }),
        1 => version().prop_map(|facts| Input::Unfit { name: facts.name, digest: facts.digest, reason: "x".into() }),
        1 => version().prop_map(|facts| Input::Quarantined { name: facts.name, digest: facts.digest, reason: "x".into() }),
        1 => version().prop_map(move |facts| Input::Accept { name: facts.name, digest: facts.digest, by: by() }),
        1 => (version(), any::<bool>()).prop_map(move |(facts, named)| Input::Promote {
            name: facts.name, digest: named.then_some(facts.digest), by: "eve".into() }),
        1 => (0..2_usize).prop_map(|name| Input::Rollback { name: NAMES[name].into(), by: "eve".into() }),
        1 => version().prop_map(|facts| Input::Retry { name: facts.name, digest: facts.digest, by: "eve".into() }),
        3 => Just(Input::Tick),
    ]
}

/// A schema of the kind that plugins have.
fn schema() -> impl Strategy<Value = Value> {
    let number = (0..4_i64, 0..4_i64, 0..3_u8).prop_map(|(low, high, form)| match form {
        0 => json!({ "type": "integer", "minimum": low, "maximum": high }),
        1 => json!({ "type": "number", "maximum": high }),
        _ => json!({ "enum": [low, high, "x"] }),
    });
    let text = (0..3_u8, 0..3_u8)
        .prop_map(|(least, most)| json!({ "type": "string", "minLength": least, "maxLength": most }));
    let leaf = prop_oneof![
        number,
        text,
        Just(json!(true)),
        Just(json!({})),
        Just(json!({ "type": ["string", "null"] }))
    ];
    leaf.prop_recursive(2, 12, 3, |inner| {
        let properties = proptest::collection::btree_map("[ab]", inner.clone(), 0..3);
        let required = proptest::sample::subsequence(vec!["a", "b"], 0..=2);
        let rest = prop_oneof![Just(json!(true)), Just(json!(false)), inner.clone()];
        let object =
            (properties, required, proptest::option::of(rest)).prop_map(|(properties, required, rest)| {
                let mut schema = json!({ "type": "object", "properties": properties, "required": required });
                if let Some(rest) = rest {
                    schema["additionalProperties"] = rest;
                }
                schema
            });
        prop_oneof![object, inner.prop_map(|items| json!({ "type": "array", "items": items, "maxItems": 2 }))]
    })
}

fn instance() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        (-1..5_i64).prop_map(Value::from),
        Just(json!(1.5)),
        "[x]{0,3}".prop_map(Value::from),
        Just(Value::Null),
    ];
    leaf.prop_recursive(2, 12, 3, |inner| {
        prop_oneof![
            proptest::collection::btree_map("[abc]", inner.clone(), 0..3).prop_map(|map| json!(map)),
            proptest::collection::vec(inner, 0..3).prop_map(Value::from),
        ]
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, ..ProptestConfig::default() })]

    /// Guarantees: whatever happens in whatever order: one active and one tried version at most, both known and in the stage
    /// that they should be; a failed or quarantined one is chosen for nothing; one that asks for more than its predecessor
    /// sees input only by an operator's word; changes tell the whole story; and nothing is lost by writing it down.
    #[test]
    fn always(inputs in proptest::collection::vec((0..200_u64, input()), 0..80), manual in any::<bool>()) {
        let rules = Rules { promote: if manual { Promote::Manual } else { Promote::Auto }, ..rules() };
        let mut rollout = Rollout::new(rules.clone());
        let mut now_ms = 0;
        let mut stages = BTreeMap::new();
        for (elapsed_ms, input) in inputs {
            now_ms += elapsed_ms;
            let promoted = matches!(input, Input::Promote { .. } | Input::Accept { .. } | Input::Rollback { .. });
            let before = rollout.clone();
            let changes = match rollout.try_step(now_ms, input.clone()) {
                Ok(changes) => changes,
                Err(_) => {
                    prop_assert_eq!(&before, &rollout, "a refusal changes nothing");
                    continue;
                }
            };
            for change in &changes {
                let key = (change.plugin.clone(), change.digest.clone());
                if let Some(from) = change.from.filter(|_| stages.contains_key(&key)) {
                    prop_assert_eq!(stages.get(&key), Some(&from));
                }
                stages.insert(key, change.to);
                let plugin = &before.plugins().get(&change.plugin);
                let was_held = plugin.and_then(|plugin| plugin.versions.get(&change.digest)).is_some_and(|version| version.stage == Stage::Held);
                if was_held && matches!(change.to, Stage::Shadow | Stage::Canary | Stage::Active) {
                    prop_assert!(promoted, "{input:?} let a held version go on: {change:?}");
                }
                if manual && change.to == Stage::Canary {
                    prop_assert!(false, "no canary without a person: {change:?}");
                }
            }
            for (name, plugin) in rollout.plugins() {
                let in_stage = |wanted: &[Stage]| plugin.versions.iter().filter(|(_, version)| wanted.contains(&version.stage)).map(|(digest, _)| digest.clone()).collect::<Vec<_>>();
                prop_assert_eq!(in_stage(&[Stage::Active]), plugin.active.iter().cloned().collect::<Vec<_>>());
                prop_assert_eq!(in_stage(&[Stage::Held, Stage::Shadow, Stage::Canary]), plugin.candidate.iter().cloned().collect::<Vec<_>>());
                prop_assert!(plugin.previous.len() <= rules.versions_kept);
                for digest in &plugin.previous {
                    prop_assert_eq!(plugin.versions.get(digest).map(|version| version.stage), Some(Stage::Retired));
                }
                for (digest, version) in &plugin.versions {
                    prop_assert_eq!(stages.get(&(name.clone(), digest.clone())), Some(&version.stage));
                }
                for key in ["a", "b", "c"] {
                    let chosen = rollout.chosen(name, key).map(|digest| plugin.versions[digest].stage);
                    prop_assert!(matches!(chosen, None | Some(Stage::Active | Stage::Canary)), "{chosen:?}");
                    prop_assert_eq!(chosen.is_none(), plugin.active.is_none());
                }
            }
            let written = serde_json::to_string(rollout.plugins()).unwrap();
            prop_assert_eq!(&Rollout::restore(rules.clone(), serde_json::from_str(&written).unwrap()), &rollout);
        }
    }

    /// Guarantees: a larger share holds all targets of a smaller one, none holds none, all holds all.
    #[test]
    fn shares_nest(keys in proptest::collection::btree_set("[a-z]{1,8}", 1..200), small in 0.0..1.0_f64, large in 0.0..1.0_f64) {
        let chosen = |share: f64| -> BTreeSet<String> {
            let (mut rollout, _, new) = upgrade();
            rollout.set_rules(Rules { canary_share: 1.0, ..rules() });
            rollout.step(100, compared(&new, agreeing(10)));
            assert_eq!(stage(&rollout, &new), Some(Stage::Canary));
            rollout.set_rules(Rules { canary_share: share, ..rules() });
            keys.iter().filter(|key| rollout.chosen("absence", key) == Some(new.digest.as_str())).cloned().collect()
        };
        let (small, large) = (small.min(large), small.max(large));
        prop_assert!(chosen(small).is_subset(&chosen(large)));
        prop_assert!(chosen(0.0).is_empty());
        prop_assert_eq!(&chosen(1.0), &keys);
        if keys.len() > 100 {
            prop_assert!((chosen(0.5).len() as f64 / keys.len() as f64 - 0.5).abs() < 0.25);
        }
    }

    /// Guarantees: what is called narrower is: no value is valid under the new schema and not under the old.
    #[test]
    fn narrower_schemas_allow_no_more(new in schema(), old in schema(), values in proptest::collection::vec(instance(), 20)) {
        prop_assert!(is_narrower(&old, &old));
        if is_narrower(&new, &old) {
            let mut schemas = boon::Schemas::new();
            let mut compiler = boon::Compiler::new();
            let [new, old] = [("memory:new", new), ("memory:old", old)].map(|(place, schema)| {
                compiler.add_resource(place, schema).unwrap();
                compiler.compile(place, &mut schemas).unwrap()
            });
            for value in values {
                prop_assert!(schemas.validate(&value, new).is_err() || schemas.validate(&value, old).is_ok(), "{value}");
            }
        }
    }
}
