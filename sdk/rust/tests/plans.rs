//! What the SDK writes into plans is what the host compares with the calls that are made.

use proptest::prelude::*;
use salve_model::{
    TargetId,
    call::{HttpRequest, Write},
};
use salve_plugin::{
    CallError, Denied, Failure, Plan, Proposal, Receipt, Step, config,
    error::explain,
    execute_plan, http, notify,
    plan::body_sha256,
    prelude::*,
    process,
    testing::{ActionTest, FakeHost},
};

fn agrees(step: &Step, write: &Write) -> Result<(), TestCaseError> {
    let call = write.call(body_sha256);
    prop_assert_eq!(
        (&step.capability, &step.verb, &step.target, &step.arguments),
        (&call.capability, &call.verb, &call.target.0, &call.arguments)
    );
    Ok(())
}

fn pairs() -> impl Strategy<Value = Vec<(String, String)>> {
    prop::collection::vec((any::<String>(), any::<String>()), 0..4)
}

proptest! {
    /// Guarantees: for every kind of write and whatever text, the step that the SDK makes has the arguments of the call
    /// as the host states them, byte by byte.
    #[test]
    fn steps_are_the_hosts_calls(
        id in any::<String>(), key in any::<String>(), value in any::<Option<String>>(), method in any::<String>(),
        path in any::<String>(), query in pairs(), headers in pairs(), body in any::<Vec<u8>>(),
        idempotency_key in any::<Option<String>>(), fields in pairs(),
    ) {
        let target = TargetId(id.clone());
        agrees(&process::start_step(&id), &Write::ProcessStart { target: target.clone() })?;
        agrees(&process::stop_step(&id), &Write::ProcessStop { target: target.clone() })?;
        agrees(&process::restart_step(&id), &Write::ProcessRestart { target: target.clone() })?;
        agrees(
            &config::set_step(&id, &key, value.as_deref()),
            &Write::ConfigSet { target: target.clone(), key, value },
        )?;
        agrees(&notify::send_step(&id, &fields), &Write::Notify { target: target.clone(), fields })?;
        let request = http::Request {
            target: id,
            method: method.clone(),
            path: path.clone(),
            query: query.clone(),
            headers: headers.clone(),
            body: body.clone(),
            idempotency_key: idempotency_key.clone(),
        };
        let write = Write::HttpSend(HttpRequest { target, method, path, query, headers, body, idempotency_key });
        agrees(&http::send_step(&request), &write)?;
    }
}

/// Guarantees: the digest is SHA-256 (FIPS 180-4, the example of "abc").
#[test]
fn digest_is_sha256() {
    assert_eq!(body_sha256(b"abc"), "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
}

/// An action that makes one write of every kind.
struct Everything;

#[derive(serde::Deserialize)]
struct Parameters {}

const BODY: &[u8] = b"drain";

fn post() -> http::Request {
    http::Request { body: BODY.to_vec(), ..http::request("shop", "POST", "/drain") }
}

impl Action for Everything {
    type Parameters = Parameters;
    type Uses = (process::Capability, config::Capability, http::Capability, notify::Capability);

    fn plan(request: &Request<Parameters>) -> Result<Plan, Failure> {
        let target = request.target()?;
        Ok(Plan::new("Everything")
            .step(config::set_step(target, "a", Some("1")))
            .step(config::set_step(target, "b", Some("2")))
            .step(process::stop_step(target))
            .step(process::start_step(target))
            .step(http::send_step(&post()))
            .step(notify::send_step(target, &[("text".into(), "done".into())]))
            .extra("note", "all"))
    }

    fn execute(_request: &Request<Parameters>, plan: &Proposal) -> Result<Outcome, Failure> {
        execute_plan::<Self::Uses>(plan, &[BODY])
    }
}

fn everything() -> FakeHost {
    FakeHost::new()
        .process("shop")
        .config("shop", "a", Some("0"), true)
        .config("shop", "b", Some("0"), true)
        .answer("shop", "/drain", 200, "")
}

fn test(host: FakeHost) -> ActionTest<Everything> {
    ActionTest::new(host, "{}", &["shop"])
}

/// Scenario: six steps of four capabilities. Guarantees: all are made, in order; what can be taken back is, the newest
/// first; what cannot is named.
#[test]
fn executes_in_order_and_undoes_in_reverse() {
    let test = test(everything());
    let plan = test.plan().unwrap();
    assert_eq!(test.execute(&plan).unwrap().note, "6 of 6 steps made");
    let steps: Vec<u32> = test.host().receipts().iter().map(|receipt| receipt.step).collect();
    assert_eq!(steps, [0, 1, 2, 3, 4, 5]);
    let outcome = test.undo(&plan).unwrap();
    assert!(!outcome.done);
    insta::assert_snapshot!(outcome.note, @"2 calls taken back; no way back for notify.send on `shop`, http.send on `shop`, process.start on `shop`, process.stop on `shop`");
    let undone: Vec<u32> = test.host().receipts()[6..].iter().map(|receipt| receipt.step).collect();
    assert_eq!(undone, [1, 0]);
    assert_eq!(test.host().config_value("shop", "a").as_deref(), Some("0"));
}

/// Scenario: a step fails in the middle. Guarantees: those before it were made, none after it; undo takes back just them.
#[test]
fn stops_at_the_first_failure() {
    let test = test(everything().fail_next("process.stop", CallError::Denied(Denied::KillSwitch)));
    let plan = test.plan().unwrap();
    let Err(Failure::Failed(reason)) = test.execute(&plan) else { panic!("must fail") };
    assert_eq!(reason, "step 2, process.stop on `shop`: Salve is paused");
    assert_eq!(test.host().receipts().len(), 2);
    assert!(test.undo(&plan).unwrap().done);
    assert_eq!(test.host().config_value("shop", "b").as_deref(), Some("0"));
}

/// Scenario: a dry-run, and undo after it. Guarantees: nothing is written, so nothing is taken back.
#[test]
fn dry_run_writes_nothing() {
    let test = test(everything().dry_run());
    let plan = test.plan().unwrap();
    assert_eq!(test.execute(&plan).unwrap().note, "6 of 6 steps passed, 0 applied");
    assert_eq!(test.undo(&plan).unwrap().note, "0 calls taken back");
    assert_eq!(test.host().config_value("shop", "a").as_deref(), Some("0"));
    assert_eq!(test.host().messages(), []);
}

/// An action that does not do what it planned.
struct Liar;

impl Action for Liar {
    type Parameters = Parameters;
    type Uses = config::Capability;

    fn plan(_request: &Request<Parameters>) -> Result<Plan, Failure> {
        // Planning may not write.
        let refused = config::set("shop", "a", Some("9"));
        assert!(matches!(refused, Err(CallError::Denied(Denied::NotInPlan(_)))), "{refused:?}");
        Ok(Plan::new("Set a to 1").step(config::set_step("shop", "a", Some("1"))))
    }

    fn execute(_request: &Request<Parameters>, _plan: &Proposal) -> Result<Outcome, Failure> {
        config::set("shop", "a", Some("2"))?;
        Ok(Outcome::done("set"))
    }
}

/// Scenario: an action that writes while it plans, and something else when it executes. Guarantees: the scripted host
/// refuses both, as the real one does.
#[test]
fn the_scripted_host_keeps_the_rules() {
    let test = ActionTest::<Liar>::new(everything(), "{}", &["shop"]);
    let plan = test.plan().unwrap();
    let Err(Failure::Failed(reason)) = test.execute(&plan) else { panic!("must fail") };
    assert_eq!(reason, r#"not in the approved plan (config.set {"key":"a","value":"2"})"#);
    assert_eq!(test.host().config_value("shop", "a").as_deref(), Some("0"));
}

/// Scenario: plans, receipts and parameters that do not fit. Guarantees: a failure that names what does not fit.
#[test]
fn misfits_are_named() {
    let foreign = Proposal::from(Plan::new("x").step(process::stop_step("shop")));
    let Err(Failure::Failed(reason)) = execute_plan::<config::Capability>(&foreign, &[]) else {
        panic!("must fail")
    };
    assert_eq!(reason, "step 0: this action does not name the capability `process` in `Action::Uses`");

    let unknown = Proposal::from(Plan::new("x").step(http::send_step(&post())));
    let Err(Failure::Failed(reason)) = execute_plan::<http::Capability>(&unknown, &[]) else {
        panic!("must fail")
    };
    assert!(
        reason.starts_with("step 0, http.send on `shop`: not found: no body has the digest "),
        "{reason}"
    );

    let receipt = Receipt {
        call: 3,
        step: 7,
        target: "shop".into(),
        verb: "stop".into(),
        applied: true,
        before: None,
        after: None,
        extra: Vec::new(),
    };
    let Err(Failure::Failed(reason)) = undo_receipts::<process::Capability>(&foreign, &[receipt]) else {
        panic!("must fail")
    };
    assert_eq!(reason, "receipt 3 names step 7, which the plan has not");

    let broken = ActionTest::<Everything>::new(everything(), "5", &["shop"]);
    assert!(matches!(broken.plan(), Err(Failure::Invalid(reason)) if reason.starts_with("parameters: ")));
    let nobody = ActionTest::<Everything>::new(everything(), "", &[]);
    assert!(matches!(nobody.plan(), Err(Failure::NotApplicable(_))));
}

/// Guarantees: each refusal says what a person can do with it, and a missing thing is not a failure of the action.
#[test]
fn refusals_in_words() {
    let errors = [
        CallError::Denied(Denied::NotGranted("[[grant]] …".into())),
        CallError::Denied(Denied::NotInPlan("config.set".into())),
        CallError::Denied(Denied::NotRecorded),
        CallError::Denied(Denied::StateChanged("pid 7".into())),
        CallError::Denied(Denied::KillSwitch),
        CallError::Denied(Denied::Limit("host calls".into())),
        CallError::NotFound("key `a`".into()),
        CallError::Failed("no such file".into()),
        CallError::TimedOut,
    ];
    let words: Vec<String> = errors.iter().map(explain).collect();
    insta::assert_snapshot!(words.join("\n"), @r"
    not granted; this would allow it: [[grant]] …
    not in the approved plan (config.set)
    not in the recording
    the target has changed since the plan: now pid 7
    Salve is paused
    limit used up: host calls
    not found: key `a`
    failed: no such file
    no answer in time, it may or may not have happened
    ");
    assert!(matches!(Failure::from(errors[6].clone()), Failure::NotApplicable(_)));
    assert!(matches!(Failure::from(errors[7].clone()), Failure::Failed(_)));
}

/// Scenario: a call natively, outside of a test host. Guarantees: an error that says what to do, and no panic.
#[test]
fn without_a_host_calls_fail() {
    let Err(CallError::Failed(reason)) = process::status("shop") else { panic!("must fail") };
    assert!(reason.contains("salve_plugin::testing"), "{reason}");
    assert_eq!(clock::now(), 0);
    assert_eq!(telemetry::services(telemetry::window(0, 1)), []);
}

/// Scenario: something becomes true after a while, or never. Guarantees: polling stops then, or in time.
#[test]
fn polling_ends() {
    struct Poller;
    impl Action for Poller {
        type Parameters = Parameters;
        type Uses = process::Capability;
        fn plan(_request: &Request<Parameters>) -> Result<Plan, Failure> {
            let start = clock::now();
            let elapsed_ms = || (clock::now() - start) / 1_000_000;
            let found = clock::poll(1_000, 100, || (elapsed_ms() >= 300).then_some("ready"));
            assert_eq!((found, elapsed_ms()), (Some("ready"), 300));
            let mut asked = 0;
            let never = clock::poll(1_000, 400, || {
                asked += 1;
                None::<()>
            });
            assert_eq!((never, asked, elapsed_ms()), (None, 4, 1_500));
            salve_plugin::warn!("waited {} ms", elapsed_ms());
            Ok(Plan::new("nothing"))
        }
    }
    let test = ActionTest::<Poller>::new(FakeHost::new(), "{}", &[]);
    test.plan().unwrap();
    assert_eq!(test.host().logs(), [(log::Level::Warn, "waited 1500 ms".to_string())]);
}
