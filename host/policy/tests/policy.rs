//! What policy sets promise to the daemon, and say to people who write policies.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on should stop")]

use salve_model::{
    Attributes, Target, TargetId, Tenant,
    incident::{
        AttemptView, CatalogueEntry, Decision, DecisionInput, Findings, HistoryEntry, Hypothesis, IncidentId,
        IncidentView, Outcome, PolicyFailure, Symptom, Verdict,
    },
    telemetry::{ObservationKind, SeriesKey, SeriesRef},
    time::Now,
};
use salve_policy::{PolicyErrors, PolicyLimits, PolicySet, PolicyStore, Reload, check, test};
use std::fs;

fn folder(files: &[(&str, &str)]) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    for (name, text) in files {
        fs::write(folder.path().join(name), text).unwrap();
    }
    folder
}

/// A policy whose `decide` has this body.
fn policy(body: &str) -> String {
    format!("fn decide(incident, findings, catalogue, history) {{\n{body}\n}}\n")
}

fn input() -> DecisionInput {
    let target = || TargetId("checkout".into());
    let attempt = |outcome| AttemptView {
        action: "restart-process".into(),
        target: target(),
        parameters: r#"{"signal":"TERM"}"#.into(),
        outcome,
    };
    DecisionInput {
        incident: IncidentView {
            id: IncidentId("inc-7".into()),
            tenant: Tenant::default(),
            started: Now(1_000),
            now: Now(9_000),
            symptoms: vec![Symptom {
                series: SeriesRef {
                    key: SeriesKey(u64::MAX - 1),
                    tenant: Tenant::default(),
                    service: "checkout".into(),
                    name: "salve.span.error_ratio".into(),
                    unit: "1".into(),
                    attributes: Attributes::from([("http.route".into(), "/buy".into())]),
                },
                kind: ObservationKind::LevelShift,
                rising: true,
                since: Now(1_000),
                latest: Now(8_000),
                score: 0.7,
                value: 0.5,
                expected: 0.01,
                reason: "far above".into(),
                normal_points: 0,
                recovered: false,
            }],
            services: vec!["checkout".into()],
            attempts: vec![attempt(None)],
        },
        findings: Findings {
            agent: "analyst".into(),
            hypotheses: vec![Hypothesis {
                suspect: "checkout".into(),
                mechanism: "config-change".into(),
                probability: 0.9,
                evidence: Vec::new(),
                extra: Attributes::from([("key".into(), "pool.size".into())]),
                targets: vec![target()],
            }],
            ..Findings::default()
        },
        catalogue: ["restart-process", "set-config"]
            .map(|action| CatalogueEntry {
                action: action.into(),
                summary: String::new(),
                targets: vec![target()],
            })
            .to_vec(),
        targets: vec![Target {
            id: target(),
            tenant: Tenant::default(),
            attributes: Attributes::from([("service.name".into(), "checkout".into())]),
            objects: vec!["unit:checkout".into()],
        }],
        history: vec![HistoryEntry {
            incident: IncidentId("inc-6".into()),
            at: Now(500),
            attempt: attempt(Some(Outcome::NotHealed)),
        }],
    }
}

/// The error that one policy with this body gives when it is asked.
fn failure(body: &str) -> String {
    failure_of(&policy(body))
}

fn failure_of(text: &str) -> String {
    let folder = folder(&[("p.rhai", text)]);
    let limits =
        PolicyLimits { string_bytes_max: 1_000, items_max: 1_000, rows_max: 3, ..PolicyLimits::default() };
    let error = match PolicySet::load_with(folder.path(), limits) {
        Ok(set) => set.decide(&input()).unwrap_err(),
        Err(PolicyErrors(errors)) => PolicyErrors(errors.into_iter().take(1).collect()),
    };
    error.to_string()
}

/// Guarantees: policies see every field of the model under its name, texts and numbers as they were, parameters as maps.
#[test]
fn policies_see_their_input() {
    let body = r#"
        let symptom = incident.symptoms[0];
        let seen = [
            incident.id, incident.started, incident.now, incident.services,
            incident.targets[0].id, incident.targets[0].attributes["service.name"], incident.targets[0].objects,
            incident.attempts[0].outcome == (), incident.attempts[0].parameters.signal,
            symptom.series.key, symptom.series.service, symptom.series.name, symptom.series.attributes["http.route"],
            symptom.kind, symptom.score, symptom.score >= 0.7, symptom.value, symptom.rising,
            findings.agent, findings.hypotheses[0].extra.key, findings.hypotheses[0].extra.get("none") == (),
            catalogue.map(|entry| entry.action), history[0].incident, history[0].at, history[0].attempt.outcome,
        ];
        [act("set-config", "checkout").parameters(#{ seen: seen })]
    "#;
    let folder = folder(&[("p.rhai", &policy(body))]);
    let decision = PolicySet::load(folder.path()).unwrap().decide(&input()).unwrap();
    insta::assert_snapshot!(
        decision.proposals[0].parameters,
        @r#"{"seen":["inc-7",1000,9000,["checkout"],"checkout","checkout",["unit:checkout"],true,"TERM","fffffffffffffffe","checkout","salve.span.error_ratio","/buy","level-shift",0.7,true,0.5,true,"analyst","pool.size",true,["restart-process","set-config"],"inc-6",500,"not_healed"]}"#
    );
}

/// Scenario: what people get wrong when they write policies.
/// Guarantees: each message has the place, says what is wrong, and how it was probably meant.
#[test]
fn mistakes_are_explained_with_their_place() {
    insta::assert_snapshot!(failure("[act(\"a\", \"b\")"), @"p.rhai:3:1: expecting ',' to separate the items of this array literal");
    insta::assert_snapshot!(failure("  let x = incidnet.id; []"), @r"
    p.rhai:2:11: undefined variable: incidnet
      hint: Did you mean `incident`?
    ");
    insta::assert_snapshot!(failure("  incident.symptomz"), @r"
    p.rhai:2:12: property not found: symptomz
      hint: Did you mean `symptoms`?
    ");
    insta::assert_snapshot!(failure("  atc(\"a\", \"b\")"), @r"
    p.rhai:2:3: function not found: atc (text, text)
      hint: Did you mean `act`?
    ");
    insta::assert_snapshot!(failure("  act(1, \"b\")"), @r"
    p.rhai:2:3: function not found: act (i64, text)
      hint: Check the number and the types of the arguments.
    ");
    insta::assert_snapshot!(failure("  findings.hypotheses[5]"), @r"
    p.rhai:2:23: array index 5 out of bounds: only 1 element in array
      hint: Ask `.len()` or `.is_empty()` first.
    ");
    insta::assert_snapshot!(failure("  throw \"no \\u001b[31mway\";"), @r#"p.rhai:2:3: no \u{1b}[31mway"#);
    insta::assert_snapshot!(failure("  [inner()]\n}\nfn inner() {\n  let n = 1;\n  n / 0"), @"p.rhai:6:5: division by zero: 1 / 0");
    insta::assert_snapshot!(failure("42"), @r#"
    p.rhai:1: `decide` must return an array of rows, not a value of type `i64`
      hint: Write `[act("ACTION", "TARGET")]`, or `[]` for nothing.
    "#);
    insta::assert_snapshot!(failure("[42]"), @r#"
    p.rhai:1: row 1 of the answer: it is of type `i64`, not a map
      hint: A row is `act("ACTION", "TARGET")` or a map with the same keys.
    "#);
    insta::assert_snapshot!(failure("[#{ verdict: \"act\", action: \"a\", target: \"b\", prioritty: 3 }]"), @r"
    p.rhai:1: row 1 of the answer: unknown key `prioritty`
      hint: Did you mean `priority`?
    ");
    insta::assert_snapshot!(failure("[#{ verdict: \"act\", action: \"a\", target: \"b\", colour: 3 }]"), @r"
    p.rhai:1: row 1 of the answer: unknown key `colour`
      hint: The keys are `verdict`, `action`, `target`, `parameters`, `priority`, `reason`.
    ");
    insta::assert_snapshot!(failure("[#{ verdict: \"cat\", action: \"a\", target: \"b\" }]"), @r"
    p.rhai:1: row 1 of the answer: unknown verdict `cat`
      hint: Did you mean `act`?
    ");
    insta::assert_snapshot!(failure("[wait(), #{ verdict: \"act\", action: \"a\" }]"), @r"
    p.rhai:1: row 2 of the answer: `target` is missing
      hint: Every row needs `verdict`, `action`, `target`.
    ");
    insta::assert_snapshot!(failure("[act(\"a\", \"*\")]"), @r"
    p.rhai:1: row 1 of the answer: `target` is `*`
      hint: Name one target; only `wait` and `never` may say `*`.
    ");
    insta::assert_snapshot!(failure("[#{ verdict: \"act\", action: \"a\", target: (), }]"), @r"
    p.rhai:1: row 1 of the answer: `target` must be a text, not a value of type `()`
      hint: Something had no value; ask `!= ()` before you use it as `target`.
    ");
    insta::assert_snapshot!(failure("[#{ verdict: \"act\", action: \"a\", target: \"b\", priority: 1.5 }]"), @r"
    p.rhai:1: row 1 of the answer: `priority` must be an integer, not a value of type `f64`
      hint: Give `priority` an integer.
    ");
    insta::assert_snapshot!(failure("[act(\"a\", \"b\").parameters(#{ f: |x| x })]"), @r"
    p.rhai:1: row 1 of the answer: `parameters`: a value of type `Fn` is not data
      hint: Use texts, numbers, arrays and maps.
    ");
    insta::assert_snapshot!(failure("[act(\"a\", \"b\").parameters(#{ f: 1e308 * 10.0 })]"), @r"
    p.rhai:1: row 1 of the answer: `parameters`: the number inf is not finite
      hint: Use texts, numbers, arrays and maps.
    ");
    insta::assert_snapshot!(failure("incident.reason(\"x\")"), @"p.rhai:2:10: this sets a field of a row; begin with `act`, `ask`, `wait` or `never`");
    insta::assert_snapshot!(failure_of("fn decide(incident) { [] }"), @r"
    p.rhai:1: `decide` has 1 parameters, not four
      hint: Write `fn decide(incident, findings, catalogue, history)`.
    ");
    insta::assert_snapshot!(failure_of("\nfn helper() { [] }"), @r"
    p.rhai: this policy has no function `decide`
      hint: Define `fn decide(incident, findings, catalogue, history)`; functions for other files belong into `p.lib.rhai`.
    ");
}

/// Scenario: policies that try to reach out, to depend on the moment, or to run for ever.
/// Guarantees: none of it works, and what stopped it is named.
#[test]
fn policies_are_pure_and_bounded() {
    for symbol in ["eval(\"1\")", "print(\"x\")", "debug(\"x\")", "timestamp()", "sleep(1)", "sleep(0.1)"] {
        let text = failure(symbol);
        assert!(text.contains("Policies are pure"), "{symbol}: {text}");
    }
    for function in ["rand()", "now()", "open_file(\"/etc/passwd\")"] {
        let text = failure(function);
        assert!(text.contains("function not found"), "{function}: {text}");
    }
    insta::assert_snapshot!(failure("import \"/etc/passwd\" as x; []"), @r#"
    p.rhai:2:8: module not found: /etc/passwd
      hint: Only `NAME.lib.rhai` of the same folder can be imported, by `import "NAME" as name;`.
    "#);
    insta::assert_snapshot!(failure("let n = 0; loop { n += 1; }"), @r"
    p.rhai:1: too many operations
      hint: Loop over less, or raise `operations_max` of the policies.
    ");
    insta::assert_snapshot!(failure("  decide(incident, findings, catalogue, history)"), @r"
    p.rhai:1: stack overflow
      hint: Replace the recursion by a loop.
    ");
    insta::assert_snapshot!(failure("  let s = \"xxxxxxxxxx\"; loop { s += s; }"), @r"
    p.rhai:1: length of string too large
      hint: Keep less in one value, or raise `string_bytes_max` or `items_max` of the policies.
    ");
    insta::assert_snapshot!(failure("  let a = []; loop { a.push(1); }"), @r"
    p.rhai:1: size of array/BLOB too large
      hint: Keep less in one value, or raise `string_bytes_max` or `items_max` of the policies.
    ");
    insta::assert_snapshot!(failure("[wait(), wait(), wait(), wait()]"), @r"
    p.rhai:1: `decide` returned 4 rows, more than the 3 allowed
      hint: Propose less, or raise `rows_max` of the policies.
    ");
    let nested = format!("{}1{}", "(".repeat(500), ")".repeat(500));
    insta::assert_snapshot!(failure(&nested), @"p.rhai:2:31: expression exceeds maximum complexity");
}

/// Guarantees: wall time is bounded even where operations are not.
#[test]
fn time_is_bounded() {
    let folder = folder(&[("p.rhai", &policy("  loop { }"))]);
    let limits = PolicyLimits { operations_max: 0, time_ms_max: 20, ..PolicyLimits::default() };
    let error = PolicySet::load_with(folder.path(), limits).unwrap().decide(&input()).unwrap_err();
    insta::assert_snapshot!(error, @r"
    p.rhai:1: it took longer than 20 ms
      hint: Do less, or raise `time_ms_max` of the policies.
    ");
}

/// Scenario: a folder in which several files are wrong, and files that are no policies.
/// Guarantees: everything wrong is reported at once; other files are left alone.
#[test]
fn all_errors_come_at_once() {
    let broken = folder(&[
        ("a.rhai", "fn decide(incident, findings, catalogue, history) { [ }"),
        ("b.rhai", "fn decide() { }"),
        ("c.lib.rhai", "let x = y;"),
        ("d.test.rhai", "fn test_x(a) { }"),
        ("e.test.rhai", "fn helper() { }"),
        ("F.rhai", ""),
        ("good.rhai", &policy("[]")),
        (".#hidden.rhai", "]"),
        ("notes.txt", "]"),
    ]);
    insta::assert_snapshot!(check(broken.path()).unwrap_err(), @r"
    F.rhai: a policy's name has characters that it may not have
      hint: Use lower-case ASCII letters, digits, `-` and `_`.
    a.rhai:1:55: unexpected '}'
    b.rhai:1: `decide` has 0 parameters, not four
      hint: Write `fn decide(incident, findings, catalogue, history)`.
    c.lib.rhai:1:9: undefined variable: y
      hint: A function sees its parameters and its own variables; a constant of the file is `global::NAME`.
    d.test.rhai:1: the test `test_x` has parameters
      hint: A test takes none: nobody could give them.
    e.test.rhai: this file has no test
      hint: Define `fn test_NAME()`.
    ");
    let empty = folder(&[]);
    let error = check(empty.path()).unwrap_err().to_string();
    insta::assert_snapshot!(error.replace(&*empty.path().to_string_lossy(), "FOLDER"), @r"
    FOLDER: there is no policy in this folder
      hint: Put a `NAME.rhai` there that defines `fn decide(incident, findings, catalogue, history)`.
    ");
    let none = check("/nowhere/policies").unwrap_err();
    insta::assert_snapshot!(none, @r"
    /nowhere/policies: cannot read this folder: No such file or directory (os error 2)
      hint: Check the path and that Salve's user may read it.
    ");
}

/// Guarantees: bounds on files hold and are named.
#[test]
fn folders_are_bounded() {
    let limits = PolicyLimits { file_bytes_max: 100, files_max: 2, ..PolicyLimits::default() };
    let small = policy("[]");
    let large = folder(&[("a.rhai", &format!("{small}//{}", "x".repeat(100)))]);
    let error = PolicySet::load_with(large.path(), limits.clone()).unwrap_err();
    insta::assert_snapshot!(error, @r"
    a.rhai: the file has more than 100 bytes
      hint: Split it, or raise `file_bytes_max` of the policies.
    ");
    let many = folder(&[("a.rhai", &small), ("b.rhai", &small), ("c.rhai", &small)]);
    let error = PolicySet::load_with(many.path(), limits).unwrap_err().to_string();
    insta::assert_snapshot!(error.replace(&*many.path().to_string_lossy(), "FOLDER"), @r"
    FOLDER: there are more than 2 files
      hint: Use fewer files, or raise `files_max` of the policies.
    ");
}

/// Guarantees: functions can be shared by libraries of the same folder; their errors name their own file.
#[test]
fn libraries_are_shared() {
    let user =
        format!("import \"common\" as common;\n{}", policy("[common::restart(findings.hypotheses[0])]"));
    let library = "fn restart(cause) {\n  act(\"restart-process\", cause.targets[0])\n}";
    let good = folder(&[("a.rhai", &user), ("common.lib.rhai", library)]);
    let set = PolicySet::load(good.path()).unwrap();
    assert_eq!(set.decide(&input()).unwrap().proposals[0].action, "restart-process");
    assert_eq!(set.report().libraries, ["common"]);

    let bad = folder(&[("a.rhai", &user), ("common.lib.rhai", &library.replace("targets", "targetz"))]);
    let error = PolicySet::load(bad.path()).unwrap().decide(&input()).unwrap_err();
    insta::assert_snapshot!(error, @r"
    common.lib.rhai:2:32: property not found: targetz
      hint: Did you mean `target`?
    ");
}

/// Guarantees: the digest changes with any policy or library, its name or text, and with nothing else.
#[test]
fn digest_covers_what_decides() {
    let text = policy("[]");
    let digest = |files: &[(&str, &str)]| PolicySet::load(folder(files).path()).unwrap().digest().to_owned();
    let base = digest(&[("a.rhai", &text)]);
    assert_eq!(base, digest(&[("a.rhai", &text), ("a.test.rhai", "fn test_a() { }"), ("notes.txt", "x")]));
    let others = [
        digest(&[("b.rhai", &text)]),
        digest(&[("a.rhai", &policy("[ ]"))]),
        digest(&[("a.rhai", &text), ("b.rhai", &text)]),
        digest(&[("a.rhai", &text), ("b.lib.rhai", "")]),
    ];
    for (index, other) in others.iter().enumerate() {
        assert_ne!(&base, other, "{index}");
        assert!(!others[..index].contains(other), "{index}");
    }
}

/// Scenario: two policies; one says `never` with the lowest priority. Guarantees: `never` wins and the loser is on record.
#[test]
fn never_wins() {
    let acts =
        policy("[act(\"restart-process\", \"checkout\").priority(100), act(\"set-config\", \"checkout\")]");
    let never =
        policy("[never(\"restart-process\", \"*\").priority(-1).reason(\"it is a \\u202e holiday\")]");
    let both = folder(&[("a.rhai", &acts), ("z.rhai", &never)]);
    let set = PolicySet::load(both.path()).unwrap();
    let decision = set.decide(&input()).unwrap();
    assert_eq!(decision.policy_digest, set.digest());
    assert_eq!(decision.proposals.len(), 1);
    assert_eq!(
        (decision.proposals[0].action.as_str(), decision.proposals[0].verdict),
        ("set-config", Verdict::Act)
    );
    assert_eq!(decision.rejected[0].proposal.policy, "a");
    insta::assert_snapshot!(decision.rejected[0].why, @r#"policy `z` says `never`: it is a \u{202e} holiday"#);
}

/// Scenario: one of several policies breaks while it runs.
/// Guarantees: the others are asked, before it and after it, and the decision names it with file and line. If it cannot have said
/// `never`, the others' word stands; if it might have, by its own text or a library's, what they would do becomes a question. If
/// nobody proposes anything, that is no decision; `never` of one that did not fail holds. In tests the failure is an error.
#[test]
fn one_failure_blocks_no_other() {
    let acts = |action: &str| policy(&format!("[act(\"{action}\", \"checkout\").reason(\"it helps\")]"));
    let (first, last) = (acts("restart-process"), acts("set-config"));
    let throws = policy("throw \"broken\"");
    let throws_or_forbids =
        policy("if incident.id == \"\" { return [never(\"*\", \"*\")]; }\nthrow \"broken\"");
    let forbids = policy("[never(\"set-config\", \"*\")]");
    let decide = |files: &[(&str, &str)]| PolicySet::load(folder(files).path()).unwrap().decide(&input());
    let verdicts = |decision: &Decision| {
        decision.proposals.iter().map(|p| (p.verdict, p.action.clone(), p.reason.clone())).collect::<Vec<_>>()
    };
    let row = |verdict, action: &str, reason: &str| (verdict, action.to_owned(), reason.to_owned());

    let decision = decide(&[("a.rhai", &first), ("m.rhai", &throws), ("z.rhai", &last)]).unwrap();
    assert_eq!(
        verdicts(&decision),
        [row(Verdict::Act, "restart-process", "it helps"), row(Verdict::Act, "set-config", "it helps")]
    );
    let failure = PolicyFailure { policy: "m".into(), why: "m.rhai:2:1: broken".into(), may_forbid: false };
    assert_eq!(decision.failures, [failure]);

    let decision = decide(&[("a.rhai", &first), ("m.rhai", &throws_or_forbids), ("z.rhai", &last)]).unwrap();
    let why = "it helps; policy `m` failed, which might have said `never`";
    assert_eq!(
        verdicts(&decision),
        [row(Verdict::Ask, "restart-process", why), row(Verdict::Ask, "set-config", why)]
    );
    assert!(decision.failures[0].may_forbid);

    let library = "fn no() { never(\"*\", \"*\") }";
    let decision = decide(&[("a.rhai", &first), ("l.lib.rhai", library), ("m.rhai", &throws)]).unwrap();
    assert_eq!(decision.proposals[0].verdict, Verdict::Ask);

    let decision =
        decide(&[("a.rhai", &first), ("m.rhai", &throws), ("n.rhai", &forbids), ("z.rhai", &last)]).unwrap();
    assert_eq!(verdicts(&decision), [row(Verdict::Act, "restart-process", "it helps")]);
    assert_eq!(decision.rejected[0].why, "policy `n` says `never`");

    let silent = policy("[]");
    let errors = decide(&[("a.rhai", &silent), ("m.rhai", &throws), ("z.rhai", &throws)]).unwrap_err();
    insta::assert_snapshot!(errors, @r"
    m.rhai:2:1: broken
    z.rhai:2:1: broken
    ");

    let asks = "fn test_all() { decide_all(incident(#{}), findings([]), catalogue(#{})); }";
    let tested = folder(&[("a.rhai", &first), ("m.rhai", &throws), ("m.test.rhai", asks)]);
    let report = salve_policy::test(tested.path()).unwrap();
    assert_eq!(report.tests[0].failure.as_deref(), Some("m.rhai:2:1: broken"));
}

/// Guarantees: a policy cannot say `never` without the word in its text, so that one that fails cannot be misjudged.
#[test]
fn never_is_written_out() {
    let text = policy("[#{ verdict: \"ne\" + \"ver\", action: \"*\", target: \"*\" }]");
    insta::assert_snapshot!(failure_of(&text), @r"
    p.rhai:1: row 1 of the answer: it says `never`, and the word is not in the policy's text
      hint: Write `never` out, and do not put it together.
    ");
}

/// Guarantees: the same set and input give the same answer, from many threads at once.
#[test]
fn decisions_repeat() {
    let set = PolicySet::load(concat!(env!("CARGO_MANIFEST_DIR"), "/../../policies")).unwrap();
    let first = set.decide(&input()).unwrap();
    assert_eq!(first.proposals[0].action, "set-config");
    assert_eq!(first.proposals[0].parameters, r#"{"key":"pool.size","mode":"last-good"}"#);
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| (0..10).for_each(|_| assert_eq!(set.decide(&input()).unwrap(), first)));
        }
    });
}

/// Scenario: a policy is changed, then broken, then repaired, while the daemon runs.
/// Guarantees: a good set is swapped in whole; a broken one changes nothing and says line and column; whoever is in the
/// middle of a decision keeps the set with which it began.
#[test]
fn reload_is_atomic_and_keeps_the_old_set() {
    let folder = folder(&[("a.rhai", &policy("[act(\"restart-process\", \"checkout\")]"))]);
    let file = folder.path().join("a.rhai");
    let store = PolicyStore::open(folder.path(), PolicyLimits::default()).unwrap();
    let first = store.current();
    let action = |set: &PolicySet| set.decide(&input()).unwrap().proposals[0].action.clone();
    assert_eq!(store.reload().unwrap(), Reload::Unchanged);

    fs::write(&file, policy("  [act(\"set-config\" \"checkout\")]")).unwrap();
    let error = store.reload().unwrap_err();
    insta::assert_snapshot!(error, @"a.rhai:2:21: expecting ',' to separate the arguments to function call 'act'");
    assert_eq!(store.last_error().as_ref(), Some(&error));
    assert_eq!(action(&store.current()), "restart-process");

    fs::write(&file, policy("[act(\"set-config\", \"checkout\")]")).unwrap();
    let Reload::Swapped { from, to } = store.reload().unwrap() else { panic!("nothing was swapped") };
    assert_eq!((from.as_str(), to.as_str()), (first.digest(), store.current().digest()));
    assert_eq!(store.last_error(), None);
    assert_eq!(action(&store.current()), "set-config");
    assert_eq!(action(&first), "restart-process");
}

/// Scenario: tests beside policies that pass, fail, ask in vain or are wrong themselves.
/// Guarantees: each failure has the line of the assertion or of the policy's mistake, and what was expected.
#[test]
fn policy_tests_report() {
    let tests = r#"
fn ask(mechanism) {
    decide(incident(#{}), findings([hypothesis(#{ mechanism: mechanism, targets: ["a"] })]), catalogue(#{ "x": ["a"] }))
}
fn test_passes() { assert_eq(ask("slow").winner.target, "a"); }
fn test_fails() {
    assert_eq(ask("slow").winner.target,
        "b");
}
fn test_assert() { assert(1 > 2, "one is not more"); }
fn test_policy_breaks() { ask("boom") }
fn test_misspelt() { symptom(#{ servise: "a" }) }
fn test_bad_form() { decide(incident(#{ services: 1 }), findings([]), catalogue(#{})) }
fn test_other_set() { assert_eq(decide_all(incident(#{}), findings([]), catalogue(#{ "y": ["a"] })).winner.policy, "q"); }
fn test_endless() { loop { } }
fn test_builds_everything() {
    let i = incident(#{
        symptoms: [symptom(#{ service: "a", value: 3.5, attributes: #{ "http.route": "/" } })],
        attempts: [attempt(#{ action: "x", target: "a", parameters: #{ n: 1 }, outcome: () })],
    });
    let h = [past(#{ incident: "inc-2", at: 5, action: "x", target: "a", outcome: "unknown" })];
    let f = findings(#{ hypotheses: [], text: "all" });
    assert_eq(decide_all(i, f, catalogue(#{ "y": ["a"] }), h).winner.reason, "/ 1 unknown");
}
"#;
    let p = policy(
        "if findings.hypotheses.is_empty() { return []; }\nif findings.hypotheses[0].mechanism == \"boom\" {\n  \
         findings.nothing\n}\n[act(\"x\", findings.hypotheses[0].targets[0])]",
    );
    let q = policy(
        "let reason = \"\";\nif !history.is_empty() {\n  reason = \
         `${incident.symptoms[0].series.attributes[\"http.route\"]} ${incident.attempts[0].parameters.n} \
         ${history[0].attempt.outcome}`;\n}\n[act(\"y\", \"a\").reason(reason)]",
    );
    let folder = folder(&[
        ("p.rhai", &p),
        ("p.test.rhai", tests),
        ("q.rhai", &q),
        ("alone.test.rhai", "fn test_alone() { decide(incident(#{}), findings([]), catalogue(#{})) }"),
    ]);
    let report = test(folder.path()).unwrap();
    let lines: Vec<String> = report
        .tests
        .iter()
        .map(|test| format!("{} {}: {}", test.file, test.name, test.failure.as_deref().unwrap_or("ok")))
        .collect();
    insta::assert_snapshot!(lines.join("\n"), @r#"
    alone.test.rhai test_alone: alone.test.rhai:1:19: there is no policy `alone` beside this test; `decide_all` asks the whole set
    p.test.rhai test_passes: ok
    p.test.rhai test_fails: p.test.rhai:7:5: expected "b", got "a"
    p.test.rhai test_assert: p.test.rhai:10:20: one is not more
    p.test.rhai test_policy_breaks: p.rhai:4:12: property not found: nothing
    p.test.rhai test_misspelt: p.test.rhai:12:22: `symptom` has no field `servise`; did you mean `series`?
    p.test.rhai test_bad_form: p.test.rhai:13:22: what the policy is given has not the right form: invalid type: integer `1`, expected a sequence
    p.test.rhai test_other_set: ok
    p.test.rhai test_endless: p.test.rhai:15: too many operations
    p.test.rhai test_builds_everything: ok
    "#);
    assert_eq!((report.passed(), report.failed()), (3, 7));
    assert_eq!(report.untested, ["q"]);
}
