//! The action on a scripted host, in front of a stand-in for the Kubernetes API.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test that cannot go on has failed")]

mod api;

use api::{Cluster, DEPLOYMENT, REPLICA_SETS};
use rollback_deployment::RollbackDeployment;
use salve_plugin::{
    http::{Request, Response},
    prelude::*,
    testing::{ActionTest, FakeHost},
};
use serde_json::json;
use std::{cell::RefCell, rc::Rc};

const PARAMETERS: &str = r#"{"namespace":"shop","deployment":"checkout"}"#;

/// The scripted host's clock begins in 2026, and its incident five seconds earlier: the second image is what broke it.
const ROLLOUTS: [(&str, &str); 2] =
    [("shop:1.4", "2025-11-03T08:00:00Z"), ("shop:1.5", "2025-12-31T23:50:00Z")];

type Shared = Rc<RefCell<Cluster>>;

fn shared(rollouts: &[(&str, &str)]) -> Shared {
    Rc::new(RefCell::new(Cluster::new(rollouts)))
}

fn host(cluster: &Shared) -> FakeHost {
    let cluster = Rc::clone(cluster);
    FakeHost::new().handle_http(move |request: &Request| {
        let content_type = request.headers.iter().find(|(name, _)| name == "content-type");
        let content_type = content_type.map_or("", |(_, value)| value.as_str());
        let (status, body) = cluster.borrow_mut().answer(
            &request.method,
            &request.path,
            &request.query,
            content_type,
            &request.body,
        );
        Response { status, headers: Vec::new(), body: body.into_bytes() }
    })
}

fn action(host: FakeHost, parameters: &str) -> ActionTest<RollbackDeployment> {
    ActionTest::new(host, parameters, &["cluster"])
}

/// A test on a cluster with [`ROLLOUTS`].
fn bench(parameters: &str) -> (Shared, ActionTest<RollbackDeployment>) {
    let cluster = shared(&ROLLOUTS);
    let test = action(host(&cluster), parameters);
    (cluster, test)
}

fn not_applicable(test: &ActionTest<RollbackDeployment>) -> String {
    match test.plan() {
        Err(Failure::NotApplicable(why)) => why,
        other => panic!("{other:?}"),
    }
}

fn failed<T: std::fmt::Debug>(result: Result<T, Failure>) -> String {
    match result {
        Err(Failure::Failed(why)) => why,
        other => panic!("{other:?}"),
    }
}

/// Guarantees: a plan reads, says from where to where in words, and licenses one patch of the template with its way back.
#[test]
fn a_plan_says_what_and_binds_it() {
    let (cluster, test) = bench(PARAMETERS);
    let plan = test.plan().unwrap();
    assert_eq!(plan.summary, "Roll `shop/checkout` back from revision 2 to 1: shop:1.4 instead of shop:1.5");
    let [step] = plan.steps.as_slice() else { panic!("{plan:?}") };
    assert_eq!(
        (step.capability.as_str(), step.verb.as_str(), step.target.as_str()),
        ("http", "send", "cluster")
    );
    assert_eq!(step.after.as_deref(), Some("template of revision 1"));
    let arguments: serde_json::Value = serde_json::from_str(&step.arguments).unwrap();
    assert_eq!((&arguments["method"], &arguments["path"]), (&json!("PATCH"), &json!(DEPLOYMENT)));
    let inverse: serde_json::Value = serde_json::from_str(step.inverse.as_ref().unwrap()).unwrap();
    assert_eq!((&inverse["method"], &inverse["path"]), (&json!("PATCH"), &json!(DEPLOYMENT)));
    assert_ne!(arguments["body-sha256"], inverse["body-sha256"]);
    let requests = test.host().requests();
    let lines: Vec<_> =
        requests.iter().map(|request| format!("{} {}", request.method, request.path)).collect();
    assert_eq!(lines, [format!("GET {DEPLOYMENT}"), format!("GET {REPLICA_SETS}")]);
    assert_eq!(cluster.borrow().image(), "shop:1.5");
}

/// Scenario: planned, executed, undone; new pods come one at each look. Guarantees: the old image is back, and the call waits on the host's
/// clock until its pods serve; `undo` puts back what was there.
#[test]
fn rolls_back_waits_and_undoes() {
    let (cluster, test) = bench(PARAMETERS);
    let plan = test.plan().unwrap();
    cluster.borrow_mut().available_after = Some(4);
    let began = test.host().now();
    let outcome = test.execute(&plan).unwrap();
    assert_eq!(
        (outcome.done, outcome.note.as_str()),
        (true, "`shop/checkout` is back, with 3 pods available")
    );
    assert_eq!(cluster.borrow().image(), "shop:1.4");
    assert_eq!((test.host().now() - began) / 1_000_000, 2_000);

    let outcome = test.undo(&plan).unwrap();
    assert_eq!(
        (outcome.done, outcome.note.as_str()),
        (true, "`shop/checkout` has the template again that it had")
    );
    assert_eq!(cluster.borrow().image(), "shop:1.5");
}

/// Scenario: while a plan waits, an autoscaler scales; then somebody deploys. Guarantees: the first is no obstacle; the second makes the patch
/// a refusal without effect, and the failure says so.
#[test]
fn what_has_changed_since_the_plan() {
    let (cluster, test) = bench(PARAMETERS);
    let plan = test.plan().unwrap();
    cluster.borrow_mut().scale(7);
    assert!(test.execute(&plan).unwrap().done);
    assert_eq!(cluster.borrow().image(), "shop:1.4");

    let (cluster, test) = bench(PARAMETERS);
    let plan = test.plan().unwrap();
    cluster.borrow_mut().deploy("shop:1.6", "2026-01-01T00:00:01Z");
    assert_eq!(
        failed(test.execute(&plan)),
        "`shop/checkout` has changed since the plan was made, so the API server did nothing: the server rejected our request due to an error in our request"
    );
    assert_eq!(cluster.borrow().image(), "shop:1.6");
}

/// Scenario: after the rollback somebody deploys or scales; then Salve would undo. Guarantees: scaling is no obstacle; a newer template is
/// nobody's to overwrite.
#[test]
fn what_has_changed_since_the_rollback() {
    let (cluster, test) = bench(PARAMETERS);
    let plan = test.plan().unwrap();
    test.execute(&plan).unwrap();
    cluster.borrow_mut().scale(7);
    assert!(test.undo(&plan).unwrap().done);
    assert_eq!(cluster.borrow().image(), "shop:1.5");

    let (cluster, test) = bench(PARAMETERS);
    let plan = test.plan().unwrap();
    test.execute(&plan).unwrap();
    cluster.borrow_mut().deploy("shop:1.6", "2026-01-01T00:00:01Z");
    assert!(failed(test.undo(&plan)).starts_with("somebody has changed `shop/checkout` since"));
    assert_eq!(cluster.borrow().image(), "shop:1.6");
}

/// Scenario: a rollback was made, and the next incident comes; with an older revision at hand, and without. Guarantees: it never goes back to
/// what it has just left, which `kubectl rollout undo` would do.
#[test]
fn never_forth_again() {
    let (cluster, test) = bench(PARAMETERS);
    test.execute(&test.plan().unwrap()).unwrap();
    let again =
        action(host(&cluster), r#"{"namespace":"shop","deployment":"checkout","changed_within_ms":0}"#);
    assert_eq!(not_applicable(&again), "`checkout` keeps no revision before 1, which was put back as 3");

    let older = [("shop:1.3", "2025-10-01T08:00:00Z"), ROLLOUTS[0], ROLLOUTS[1]];
    let cluster = shared(&older);
    let test = action(host(&cluster), PARAMETERS);
    test.execute(&test.plan().unwrap()).unwrap();
    let again =
        action(host(&cluster), r#"{"namespace":"shop","deployment":"checkout","changed_within_ms":0}"#);
    let plan = again.plan().unwrap();
    assert_eq!(plan.summary, "Roll `shop/checkout` back from revision 4 to 1: shop:1.3 instead of shop:1.4");

    let chosen = r#"{"namespace":"shop","deployment":"checkout","changed_within_ms":0,"revision":3}"#;
    let plan = action(host(&cluster), chosen).plan().unwrap();
    assert_eq!(plan.summary, "Roll `shop/checkout` back from revision 4 to 3: shop:1.5 instead of shop:1.4");
}

/// Guarantees: where there is nothing to roll back, or nothing that could have caused the incident, the action says why.
#[test]
fn nothing_to_do_here() {
    let with = |more: &str| format!(r#"{{"namespace":"shop","deployment":"checkout"{more}}}"#);
    let old = [ROLLOUTS[0], ("shop:1.5", "2025-12-30T23:50:00Z")];
    let late = [ROLLOUTS[0], ("shop:1.5", "2026-01-01T00:10:00Z")];
    for (rollouts, parameters, why) in [
        (&ROLLOUTS[..1], with(r#","changed_within_ms":0"#), "`checkout` keeps no revision before 1"),
        (&ROLLOUTS[..], with(r#","revision":7"#), "`checkout` keeps no revision 7"),
        (&ROLLOUTS[..], with(r#","revision":2"#), "`checkout` has revision 2 already"),
        (
            &old[..],
            with(""),
            "revision 2 of `shop/checkout` came 2025-12-30T23:50:00Z, more than 1440 min before the incident",
        ),
        (
            &late[..],
            with(""),
            "revision 2 of `shop/checkout` came 2026-01-01T00:10:00Z, after the incident began",
        ),
        (
            &ROLLOUTS[..],
            r#"{"deployment":"checkout"}"#.into(),
            "there is no deployment `default/checkout`: the server could not find the requested resource",
        ),
    ] {
        let test = action(host(&shared(rollouts)), &parameters);
        assert_eq!(not_applicable(&test), why);
        assert!(test.host().requests().iter().all(|request| request.method == "GET"));
    }
    let (cluster, test) = bench(PARAMETERS);
    cluster.borrow_mut().deployment["spec"]["paused"] = true.into();
    assert_eq!(not_applicable(&test), "`shop/checkout` is paused, so nothing is rolled out");
    let (cluster, test) = bench(PARAMETERS);
    cluster.borrow_mut().sets.pop();
    assert!(not_applicable(&test).contains("the deployment controller is behind"));
}

/// Scenario: ReplicaSets of another deployment match the selector, one has no revision, and one has no number as its revision. Guarantees: they
/// are nobody's to go back to.
#[test]
fn strange_replica_sets() {
    let (cluster, test) = bench(r#"{"namespace":"shop","deployment":"checkout"}"#);
    {
        let sets = &mut cluster.borrow_mut().sets;
        sets[0]["metadata"]["ownerReferences"][0]["uid"] = "another".into();
        let (mut without, mut nonsense) = (sets[1].clone(), sets[1].clone());
        for set in [&mut without, &mut nonsense] {
            set["spec"]["template"]["spec"]["containers"][0]["image"] = "shop:0".into();
        }
        without["metadata"]["annotations"] = json!({});
        nonsense["metadata"]["annotations"] = json!({ "deployment.kubernetes.io/revision": "first" });
        sets.extend([without, nonsense]);
    }
    assert_eq!(not_applicable(&test), "`checkout` keeps no revision before 2");
}

/// Guarantees: what the API server refuses, or says that makes no sense, is a failure with a way out, and its words are cut.
#[test]
fn answers_that_do_not_help() {
    let long = format!(r#"{{"message":"{}"}}"#, "x".repeat(10_000));
    for (status, body, why) in [
        (
            403,
            r#"{"message":"deployments.apps is forbidden"}"#,
            "let a role of Salve's get deployments in `shop`: deployments.apps is forbidden",
        ),
        (500, "", "the API server answers 500 for `shop/checkout`"),
        (200, "<html>", "what the API server says of `shop/checkout` makes no sense"),
        (200, "{}", "missing field `metadata`"),
        (429, &long, "the API server answers 429 for `shop/checkout`: xxx"),
    ] {
        let test = action(FakeHost::new().answer("cluster", DEPLOYMENT, status, body), PARAMETERS);
        let said = failed(test.plan());
        assert!(said.contains(why) && said.len() < 400, "{said}");
    }
}

/// Guarantees: a deployment must be named, by a name that can stand in a path; the target's attributes will do, and are in the SDK's hands.
#[test]
fn names() {
    for parameters in [
        "{}",
        r#"{"deployment":"../secrets"}"#,
        r#"{"deployment":"a/b"}"#,
        r#"{"deployment":"-a"}"#,
        r#"{"deployment":""}"#,
        r#"{"deployment":"a","namespace":"A"}"#,
        r#"{"deployment":"a","colour":"red"}"#,
    ] {
        let test = action(FakeHost::new(), parameters);
        assert!(matches!(test.plan(), Err(Failure::Invalid(_))), "{parameters}");
        assert!(test.host().requests().is_empty());
    }
}

/// Scenario: pods never become available; the controller gives up; it had given up on the rollout before as well. Guarantees: a failure in time
/// that says how far it was; what the rollout before had missed is not this one's.
#[test]
fn rollouts_that_do_not_get_there() {
    let (cluster, test) = bench(PARAMETERS);
    let plan = test.plan().unwrap();
    cluster.borrow_mut().available_after = None;
    let began = test.host().now();
    assert_eq!(
        failed(test.execute(&plan)),
        "the rollout of `shop/checkout` is not complete after 120000 ms: 1 old pods are still there"
    );
    assert_eq!((test.host().now() - began) / 1_000_000, 120_000);
    // What it did stands, and can be taken back.
    assert!(test.undo(&plan).unwrap().done);

    let (cluster, test) = bench(PARAMETERS);
    cluster.borrow_mut().miss_deadline("2025-12-31T23:59:00Z");
    let plan = test.plan().unwrap();
    cluster.borrow_mut().available_after = Some(3);
    assert!(test.execute(&plan).unwrap().done);

    let cluster = shared(&ROLLOUTS);
    let of_host = Rc::clone(&cluster);
    let mut looks = 0;
    let scripted = FakeHost::new().handle_http(move |request: &Request| {
        let mut cluster = of_host.borrow_mut();
        let patched = cluster.image() == "shop:1.4";
        if patched && request.method == "GET" {
            looks += 1;
            if looks > 5 {
                cluster.miss_deadline("2026-01-01T00:10:30Z");
            }
        }
        let content_type = request.headers.first().map_or("", |(_, value)| value.as_str());
        let (status, body) = match looks {
            // An API server that is busy for a while is asked again.
            1..=3 => (503, String::new()),
            _ => cluster.answer(&request.method, &request.path, &request.query, content_type, &request.body),
        };
        Response { status, headers: Vec::new(), body: body.into_bytes() }
    });
    let test = action(scripted, PARAMETERS);
    let plan = test.plan().unwrap();
    cluster.borrow_mut().available_after = None;
    assert_eq!(
        failed(test.execute(&plan)),
        "the rollout of `shop/checkout` is stuck: the deployment's progress deadline is over"
    );
}

/// Guarantees: in a dry-run nothing is sent but reads, and nothing is waited for.
#[test]
fn dry_run() {
    let cluster = shared(&ROLLOUTS);
    let test = action(host(&cluster).dry_run(), PARAMETERS);
    let plan = test.plan().unwrap();
    let began = test.host().now();
    assert_eq!(test.execute(&plan).unwrap().note, "would roll `shop/checkout` back");
    assert_eq!(test.host().now(), began);
    assert_eq!(test.undo(&plan).unwrap().note, "nothing was changed");
    assert!(test.host().requests().iter().all(|request| request.method == "GET"));
    assert_eq!(cluster.borrow().image(), "shop:1.5");
}

/// Guarantees: without `undoable` the plan states no way back, and `undo` says that it stays.
#[test]
fn without_a_way_back() {
    let (cluster, test) = bench(r#"{"namespace":"shop","deployment":"checkout","undoable":false}"#);
    let plan = test.plan().unwrap();
    assert_eq!(plan.steps[0].inverse, None);
    test.execute(&plan).unwrap();
    let outcome = test.undo(&plan).unwrap();
    assert_eq!(
        (outcome.done, outcome.note.as_str()),
        (false, "the plan states no way back; `shop/checkout` stays as it is")
    );
    assert_eq!(cluster.borrow().image(), "shop:1.4");
}

/// Scenario: the history was cleaned up between plan and execution. Guarantees: a failure that says what is missing, before anything is written.
#[test]
fn a_revision_that_is_gone() {
    let (cluster, test) = bench(PARAMETERS);
    let plan = test.plan().unwrap();
    cluster.borrow_mut().sets.remove(0);
    assert_eq!(
        failed(test.execute(&plan)),
        "ReplicaSet `checkout-5d4f8c1`, whose template is needed, is gone"
    );
    assert!(test.host().receipts().is_empty());
}
