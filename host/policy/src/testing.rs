//! Tests of policies, written in Rhai beside them.
//!
//! `NAME.test.rhai` defines functions `test_…()`. Each one builds what a policy is given, asks, and asserts:
//!
//! ```rhai
//! fn test_a_dead_service_is_restarted() {
//!     let cause = hypothesis(#{ suspect: "checkout", mechanism: "absent", targets: ["checkout"] });
//!     let decision = decide(incident(#{}), findings([cause]), catalogue(#{ "restart-process": ["checkout"] }));
//!     assert_eq(decision.winner.action, "restart-process");
//! }
//! ```
//!
//! Each constructor takes a map and fills in what it leaves out; a key that does not exist is an error.
//!
//! | function | gives |
//! |---|---|
//! | `incident(#{ id, started, now, symptoms, services, attempts, targets })` | the incident; `targets` default to those of the catalogue |
//! | `symptom(#{ service, name, unit, attributes, kind, rising, score, value, expected, reason, … })` | one of its symptoms |
//! | `attempt(#{ action, target, parameters, outcome })` | one of its attempts; `outcome`: `"healed"`, `"not_healed"`, `"unknown"` or `()` |
//! | `findings([hypothesis, …])` or `findings(#{ agent, hypotheses, suggestions, text })` | the findings |
//! | `hypothesis(#{ suspect, mechanism, probability, evidence, extra, targets })` | one of their hypotheses |
//! | `catalogue(#{ "ACTION": ["TARGET", …], … })` | the catalogue |
//! | `past(#{ incident, at, action, target, parameters, outcome })` | one entry of the history |
//! | `decide(incident, findings, catalogue[, history])` | the decision of the policy beside the test, alone |
//! | `decide_all(incident, findings, catalogue[, history])` | the decision of the whole set |
//! | `assert(bool[, message])`, `assert_eq(left, right)`, `assert_ne(left, right)` | nothing, or fails the test |
//!
//! A decision is a map: `winner` (the first proposal, or `()`), `proposals`, `rejected` (each with `proposal` and `why`).

mod constructors;

use crate::{
    error::{PolicyError, PolicyErrors},
    set::{PolicySet, Script},
    view,
};
use rhai::{Array, Dynamic, Engine, EvalAltResult, Scope};
use salve_model::incident::Decision;
use serde::Serialize;
use std::{path::Path, sync::Arc};

/// Names of the functions that tests have, for hints.
pub(crate) const HELPERS: &[&str] = &[
    "incident",
    "symptom",
    "attempt",
    "findings",
    "hypothesis",
    "catalogue",
    "past",
    "decide",
    "decide_all",
    "assert",
    "assert_eq",
    "assert_ne",
];

/// How the tests of a folder went.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct TestReport {
    /// One by one, by file and place.
    pub tests: Vec<TestResult>,
    /// Policies that no file tests.
    pub untested: Vec<String>,
}

impl TestReport {
    /// How many passed.
    #[must_use]
    pub fn passed(&self) -> usize {
        self.tests.iter().filter(|test| test.failure.is_none()).count()
    }

    /// How many failed.
    #[must_use]
    pub fn failed(&self) -> usize {
        self.tests.len() - self.passed()
    }
}

/// How one test went.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct TestResult {
    /// The file's name.
    pub file: String,
    /// The function's name.
    pub name: String,
    /// Why it failed and where, as `file:line:column: message`; none if it passed.
    pub failure: Option<String>,
    /// A way out.
    pub hint: Option<String>,
}

/// Runs the tests that stand beside the policies in `folder`.
///
/// # Errors
/// If the folder does not load: then no test was run.
pub fn test(folder: impl AsRef<Path>) -> Result<TestReport, PolicyErrors> {
    PolicySet::load(folder).map(|set| set.test())
}

impl PolicySet {
    /// Runs the tests of this set, each with the limits of one policy.
    #[must_use]
    pub fn test(&self) -> TestReport {
        let set = Arc::new(self.clone());
        let mut tests = Vec::new();
        for script in &self.tests {
            let mut names: Vec<_> = script
                .ast
                .iter_functions()
                .filter(|function| function.name.starts_with("test_"))
                .map(|function| function.name.to_owned())
                .collect();
            names.sort_by_key(|name| script.line_of_function(name));
            for name in names {
                let failure = run(&set, script, &name).err();
                tests.push(TestResult {
                    file: script.file.clone(),
                    failure: failure.as_ref().map(ToString::to_string),
                    hint: failure.and_then(|failure| failure.hint),
                    name,
                });
            }
        }
        TestReport { tests, untested: self.report().untested }
    }
}

fn run(set: &Arc<PolicySet>, script: &Script, name: &str) -> Result<(), PolicyError> {
    let mut engine = set.machine.engine();
    constructors::register(&mut engine);
    register_decide(&mut engine, "decide", set, Some(script.name.clone()));
    register_decide(&mut engine, "decide_all", set, None);
    register_assertions(&mut engine);
    let result: Result<Dynamic, _> = engine.call_fn(&mut Scope::new(), &script.ast, name, ());
    result
        .map(drop)
        .map_err(|error| PolicyError::from_run(&script.file, &error).or_line(script.line_of_function(name)))
}

type Result4 = Result<Dynamic, Box<EvalAltResult>>;

fn register_decide(engine: &mut Engine, function: &str, set: &Arc<PolicySet>, policy: Option<String>) {
    let decide = {
        let set = Arc::clone(set);
        move |incident: Dynamic, findings: Dynamic, catalogue: Dynamic, history: Dynamic| -> Result4 {
            decide(&set, policy.as_deref(), [incident, findings, catalogue, history])
        }
    };
    let without_history = decide.clone();
    engine.register_fn(function, decide);
    engine.register_fn(
        function,
        move |incident: Dynamic, findings: Dynamic, catalogue: Dynamic| -> Result4 {
            without_history(incident, findings, catalogue, Array::new().into())
        },
    );
}

fn decide(set: &PolicySet, policy: Option<&str>, arguments: [Dynamic; 4]) -> Result4 {
    let [incident, findings, catalogue, history] = arguments
        .map(|argument| view::json(&argument).map_err(|what| format!("what the policy is given: {what}")));
    let mut incident = incident?;
    let catalogue = catalogue?;
    constructors::complete_targets(&mut incident, &catalogue);
    let input = view::input(incident, findings?, catalogue, history?)
        .map_err(|error| format!("what the policy is given has not the right form: {error}"))?;
    let mut policies: Vec<_> = set
        .policies
        .iter()
        .filter(|candidate| policy.is_none_or(|name| candidate.script.name == name))
        .collect();
    if let Some(name) = policy.filter(|_| policies.is_empty()) {
        return Err(
            format!("there is no policy `{name}` beside this test; `decide_all` asks the whole set").into()
        );
    }
    // Tests are stricter than the daemon: a policy that fails is a test that fails, whatever the others say.
    let (decision, errors) = set
        .decide_with(&mut policies.drain(..), &input)
        .unwrap_or_else(|PolicyErrors(errors)| (Decision::default(), errors));
    if let Some(error) = errors.into_iter().next() {
        return Err(EvalAltResult::ErrorSystem(String::new(), Box::new(error)).into());
    }
    decision_map(&decision).map_err(|error| error.to_string().into())
}

fn decision_map(decision: &Decision) -> Result<Dynamic, serde_json::Error> {
    let mut map = serde_json::to_value(decision)?;
    for (proposal, origin) in map["proposals"].as_array_mut().into_iter().flatten().zip(&decision.proposals) {
        proposal["parameters"] = serde_json::from_str(&origin.parameters)?;
    }
    for (rejected, origin) in map["rejected"].as_array_mut().into_iter().flatten().zip(&decision.rejected) {
        rejected["proposal"]["parameters"] = serde_json::from_str(&origin.proposal.parameters)?;
    }
    map["winner"] = map["proposals"].get(0).cloned().unwrap_or_default();
    Ok(view::dynamic(&map))
}

type Verdict = Result<(), Box<EvalAltResult>>;

fn register_assertions(engine: &mut Engine) {
    engine.register_fn("assert", |holds: bool| -> Verdict {
        if holds { Ok(()) } else { Err("the assertion does not hold".into()) }
    });
    engine.register_fn("assert", |holds: bool, message: &str| -> Verdict {
        if holds { Ok(()) } else { Err(message.into()) }
    });
    engine.register_fn("assert_eq", |left: Dynamic, right: Dynamic| -> Verdict {
        let (left, right) = (shown(&left), shown(&right));
        if left == right { Ok(()) } else { Err(format!("expected {right}, got {left}").into()) }
    });
    engine.register_fn("assert_ne", |left: Dynamic, right: Dynamic| -> Verdict {
        let (left, right) = (shown(&left), shown(&right));
        if left == right { Err(format!("expected anything but {right}").into()) } else { Ok(()) }
    });
}

/// Equal values have equal text: JSON with sorted keys; `()` is `null`.
fn shown(value: &Dynamic) -> String {
    view::json(value).map_or_else(|_| format!("{value:?}"), |value| value.to_string())
}
