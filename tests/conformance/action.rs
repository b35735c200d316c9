//! Cases of actions.

use crate::{
    call::{Call, Scripted},
    cases::{self, Line},
    plugin::{self, Loaded},
    term::{Term, list, record},
};
use salve_model::{
    Attributes, Target, TargetId, Tenant,
    incident::IncidentId,
    plan::{Expectation, Plan, Receipt, Step, VerbClass},
    text::escape,
};
use salve_plugins::{ActionError, ActionRequest, RawOutcome, RawProposal, RawStep};
use serde::Deserialize;
use serde_json::Value;
use sha2::{Digest, Sha256};
use std::sync::Arc;

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Case {
    name: String,
    function: Function,
    #[serde(default)]
    request: Asked,
    /// Goes to the plugin as it is.
    #[serde(default)]
    script: Value,
    #[serde(default)]
    answers: Vec<Value>,
    /// Calls that the helpers must make after those of the script.
    #[serde(default)]
    helper_calls: Vec<Call>,
    #[serde(default)]
    plan: Approved,
    #[serde(default)]
    receipts: Vec<Receipt>,
    /// What the helpers must give.
    expect: Option<Expected>,
}

#[derive(Debug, Clone, Copy, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Function {
    Plan,
    Execute,
    Undo,
}

#[derive(Debug, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct Asked {
    incident: String,
    targets: Vec<Named>,
    started: u64,
    now: u64,
}

impl Default for Asked {
    fn default() -> Self {
        Self {
            incident: "inc-1".into(),
            targets: vec![Named {
                id: "shop".into(),
                attributes: Attributes::from([("service.name".into(), "shop".into())]),
            }],
            started: 1_767_225_600_000_000_000,
            now: 1_767_225_605_000_000_000,
        }
    }
}

#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Named {
    id: String,
    attributes: Attributes,
}

impl From<&Named> for Target {
    fn from(named: &Named) -> Self {
        Self {
            id: TargetId(named.id.clone()),
            tenant: Tenant::default(),
            attributes: named.attributes.clone(),
            objects: Vec::new(),
        }
    }
}

/// What the runner itself reads of a script.
#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct Script {
    log: Vec<Line>,
    calls: Vec<Call>,
    failure: Option<Failing>,
    summary: String,
    steps: Vec<Call>,
    expect: Vec<ExpectedOf>,
    follow_plan: bool,
    bodies: Vec<String>,
    done: bool,
    note: String,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
struct Failing {
    kind: String,
    text: String,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct ExpectedOf {
    service: String,
    signal: String,
    lower: Option<f64>,
    upper: Option<f64>,
    within_ms: String,
    hold_ms: String,
    samples_min: u32,
}

impl From<&ExpectedOf> for Expectation {
    fn from(expected: &ExpectedOf) -> Self {
        Self {
            service: expected.service.clone(),
            signal: expected.signal.clone(),
            lower: expected.lower,
            upper: expected.upper,
            within_ms: expected.within_ms.parse().unwrap(),
            hold_ms: expected.hold_ms.parse().unwrap(),
            samples_min: expected.samples_min,
        }
    }
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct Approved {
    summary: String,
    steps: Vec<ApprovedStep>,
    expect: Vec<ExpectedOf>,
    extra: Attributes,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct ApprovedStep {
    call: Call,
    before: Option<String>,
    after: Option<String>,
    inverse: Option<Call>,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(untagged, deny_unknown_fields)]
enum Expected {
    Outcome { done: bool, note: String },
    Failure { failure: Failing },
}

fn sha256(body: &[u8]) -> String {
    Sha256::digest(body).iter().map(|byte| format!("{byte:02x}")).collect()
}

fn arguments(call: &Call) -> String {
    call.write().expect("a write").call(sha256).arguments
}

fn failure(failing: &Failing) -> String {
    let text = escape(&failing.text, 500);
    match failing.kind.as_str() {
        "not-applicable" => format!("{:?}", ActionError::NotApplicable(text)),
        "invalid" => format!("{:?}", ActionError::Invalid(text)),
        "failed" => format!("{:?}", ActionError::Failed(text)),
        other => panic!("no kind of failure `{other}`"),
    }
}

impl Approved {
    fn plan(&self, loaded: &Loaded) -> Plan {
        Plan {
            action: loaded.plugin.manifest().name.clone(),
            action_digest: loaded.plugin.digest().to_owned(),
            targets: Vec::new(),
            parameters: "{}".into(),
            summary: self.summary.clone(),
            steps: self
                .steps
                .iter()
                .map(|step| Step {
                    call: step.call.write().expect("a write").call(sha256),
                    objects: Vec::new(),
                    before: step.before.clone(),
                    after: step.after.clone(),
                    inverse: step.inverse.as_ref().map(arguments),
                    class: VerbClass::Queryable,
                })
                .collect(),
            expectations: self.expect.iter().map(Into::into).collect(),
            extra: self.extra.clone(),
        }
    }
}

/// Checks all cases of actions on the action of a language.
pub(crate) fn conforms(language: &str) {
    let cases = cases::of_role::<Case>("action", language);
    let loaded = plugin::load(language, "action");
    plugin::block_on(async {
        for case in &cases {
            check(&loaded, case).await;
        }
    });
    assert_eq!(loaded.plugin.counters().faults_total, 0);
}

async fn check(loaded: &Loaded, case: &Case) {
    let name = case.name.as_str();
    let (host, plugin) = (&loaded.host, &loaded.plugin);
    let script: Script = match &case.script {
        Value::Null => Script::default(),
        script => serde_json::from_value(script.clone()).unwrap_or_else(|error| panic!("{name}: {error}")),
    };
    let targets: Vec<Target> = case.request.targets.iter().map(Into::into).collect();
    let request = ActionRequest {
        incident: IncidentId(case.request.incident.clone()),
        tenant: Tenant::default(),
        targets: targets.clone(),
        parameters: if case.script.is_null() { "{}".into() } else { case.script.to_string() },
        started: case.request.started,
        now: case.request.now,
    };
    let calls: Vec<Call> = script.calls.iter().chain(&case.helper_calls).cloned().collect();
    let (scripted, answers) = Scripted::new(&calls, script.calls.len(), &case.answers);
    let plan = case.plan.plan(loaded);

    let mut extra = Attributes::from([("answers".to_owned(), answers)]);
    let shown =
        [case.request.incident.term(), targets.term(), case.request.started.term(), case.request.now.term()];
    extra.insert("request".into(), record(&shown));

    if let Function::Plan = case.function {
        let got = host.plan(plugin, request, scripted.clone(), scripted.clone()).await;
        scripted.check(name);
        match &script.failure {
            Some(failing) => assert_eq!(format!("{:?}", got.unwrap_err()), failure(failing), "{name}"),
            None => assert_proposal(name, &got.unwrap(), &proposal(&script, extra)),
        }
        cases::check_lines(name, &loaded.lines, &script.log);
        return;
    }

    let approved = record(&[
        plan.summary.term(),
        list(plan.steps.iter().map(Term::term)),
        plan.expectations.term(),
        plan.extra.term(),
    ]);
    extra.insert("plan".into(), approved);
    let session: Arc<Scripted> = scripted.clone();
    let got = match case.function {
        Function::Undo => {
            extra.insert("receipts".into(), case.receipts.term());
            host.undo(plugin, request, &plan, &case.receipts, session, scripted.clone()).await
        }
        _ => host.execute(plugin, request, &plan, session, scripted.clone()).await,
    };
    scripted.check(name);
    cases::check_lines(name, &loaded.lines, &script.log);
    let expected = match (&script.failure, &case.expect) {
        (Some(failing), _) => Expected::Failure { failure: failing.clone() },
        (None, Some(expected)) => expected.clone(),
        (None, None) => {
            assert!(!script.follow_plan, "{name}: what must the helper give?");
            Expected::Outcome { done: script.done, note: script.note.clone() }
        }
    };
    match expected {
        Expected::Failure { failure: failing } => {
            assert_eq!(format!("{:?}", got.unwrap_err()), failure(&failing), "{name}");
        }
        Expected::Outcome { done, note } => {
            let expected = RawOutcome { done, note: escape(&note, 500), extra };
            assert_eq!(got.unwrap_or_else(|error| panic!("{name}: {error}")), expected, "{name}");
        }
    }
}

fn proposal(script: &Script, extra: Attributes) -> RawProposal {
    let step = |call: &Call| {
        let call = call.write().expect("a write").call(sha256);
        RawStep {
            capability: call.capability,
            verb: call.verb,
            target: call.target,
            arguments: call.arguments,
            before: None,
            after: None,
            inverse: None,
        }
    };
    RawProposal {
        summary: escape(&script.summary, 500),
        steps: script.steps.iter().map(step).collect(),
        expectations: script.expect.iter().map(Into::into).collect(),
        extra,
    }
}

/// Bit by bit: `==` takes -0.0 and 0.0 for the same.
fn assert_proposal(name: &str, got: &RawProposal, expected: &RawProposal) {
    assert_eq!(got, expected, "{name}");
    assert_eq!(got.expectations.term(), expected.expectations.term(), "{name}");
}
