//! The order of checks before a write: kill switch, grants, plan, locks, state, journal; dry-run and limits.

use crate::bench::{Bench, execute, grant, heal, id, plan, planned, raw, read, set, set_step, spec, undo};
use salve_capabilities::{KillSwitch, Phase, SessionSpec};
use salve_model::{
    PluginName, Tenant,
    call::{CallError, Denied, Read, ReadAnswer, Session, Write},
    grant::Bound,
    incident::IncidentId,
    plan::{VerbClass, WriteState},
};

fn denied(error: CallError) -> Denied {
    match error {
        CallError::Denied(denied) => denied,
        other => panic!("not a denial: {other}"),
    }
}

/// Guarantees: a plan comes back complete: canonical arguments, objects, state, inverse and class as the brokers say.
#[tokio::test]
async fn plans_are_completed_by_the_brokers() {
    let mut bench = Bench::new();
    let path = bench.file("shop", "a.toml", "[pool]\nsize = 8\n");
    let brokers = bench.brokers();
    let steps = vec![set_step("shop", "pool.size", "16"), set_step("shop", "pool.size", "32")];
    let plan = planned(&brokers, "tune", steps).await.unwrap();
    let step = &plan.steps[0];
    assert_eq!(step.call.arguments, r#"{"key":"pool.size","value":"16"}"#);
    assert_eq!(step.before.as_deref(), Some("value=8"));
    assert_eq!(step.inverse.as_deref(), Some(r#"{"key":"pool.size","value":"8"}"#));
    assert_eq!(step.class, VerbClass::Queryable);
    assert_eq!(step.objects, [format!("config:{}", path.canonicalize().unwrap().display())]);
    assert_eq!(plan.steps[1].before.as_deref(), Some("value=16"));
    assert_eq!(plan.steps[1].inverse.as_deref(), Some(r#"{"key":"pool.size","value":"16"}"#));
}

/// Guarantees: a plugin's own word on state and inverse must be the brokers'.
#[tokio::test]
async fn a_plugin_does_not_vouch_for_itself() {
    let mut bench = Bench::new();
    bench.file("shop", "a.toml", "size = 8\n");
    let brokers = bench.brokers();
    let mut step = set_step("shop", "size", "16");
    step.before = Some("value=9".into());
    let error = planned(&brokers, "tune", vec![step.clone()]).await.unwrap_err();
    assert_eq!(denied(error), Denied::StateChanged("value=8".into()));
    step.before = Some("value=8".into());
    step.inverse = Some(r#"{"key":"size","value":"666"}"#.into());
    assert!(matches!(planned(&brokers, "tune", vec![step.clone()]).await, Err(CallError::Failed(_))));
    step.inverse = Some(r#"{ "value": "8", "key": "size" }"#.into());
    assert!(planned(&brokers, "tune", vec![step]).await.is_ok());
    for bad in [
        raw("config", "set", "shop", r#"{"key":"size"}x"#),
        raw("config", "set", "shop", r#"{"key":"size","value":"1","force":true}"#),
        raw("config", "burn", "shop", "{}"),
        raw("process", "restart", "shop", r#"{"signal":"KILL"}"#),
    ] {
        assert!(matches!(planned(&brokers, "tune", vec![bad]).await, Err(CallError::Failed(_))));
    }
}

/// Guarantees: what is not granted is refused while planning and while executing, is recorded, and the answer is TOML
/// that allows it.
#[tokio::test]
async fn not_granted_says_what_would_allow_it() {
    let mut bench = Bench::new();
    bench.file("shop", "a.toml", "size = 8\n");
    let brokers = bench.brokers();
    let granted = planned(&brokers, "tune", vec![set_step("shop", "size", "16")]).await.unwrap();
    let error = planned(&brokers, "other", vec![set_step("shop", "size", "16")]).await.unwrap_err();
    let Denied::NotGranted(toml) = denied(error) else { panic!() };
    assert!(toml.contains("plugin = \"other\"") && toml.contains("targets = [\"shop\"]"), "{toml}");

    // The grant is taken away between plan and execution.
    let mut config = bench.config.clone();
    config.grants.clear();
    brokers.reconfigure(config).unwrap();
    let error = execute(&brokers, &granted).write(set("shop", "size", "16")).await.unwrap_err();
    assert!(matches!(denied(error), Denied::NotGranted(_)));
    let error = execute(&brokers, &granted).read(Read::ConfigKeys { target: id("shop") }).await.unwrap_err();
    assert!(matches!(denied(error), Denied::NotGranted(_)));
    let refusals = bench.journal.refusals.lock().unwrap();
    assert_eq!(refusals.len(), 2);
    assert_eq!(refusals[0].call.arguments, r#"{"key":"size","value":"16"}"#);
    assert!(bench.journal.intents.lock().unwrap().is_empty());
}

/// Guarantees: a value that no bound covers may be one that the key had before, and nothing else.
#[tokio::test]
async fn free_text_does_not_reach_a_file() {
    let mut bench = Bench::new();
    let path = bench.file("shop", "a.toml", "size = 8\n");
    bench.config.grants = vec![grant("restore", "config", &["get", "set"], "shop")];
    let brokers = bench.brokers();
    let error = planned(&brokers, "restore", vec![set_step("shop", "size", "9")]).await.unwrap_err();
    let Denied::NotGranted(toml) = denied(error) else { panic!() };
    assert!(toml.contains("arguments.value = { one_of = [\"9\"] }"), "{toml}");
    std::fs::write(&path, "size = 9\n").unwrap();
    heal(&brokers, "restore", set_step("shop", "size", "8"), set("shop", "size", "8")).await.unwrap();
    assert_eq!(read(&path), "size = 8\n");
}

/// Guarantees: a step licenses one call, in its turn, with its very arguments.
#[tokio::test]
async fn a_plan_binds() {
    let mut bench = Bench::new();
    let path = bench.file("shop", "a.toml", "size = 8\nother = 1\n");
    let brokers = bench.brokers();
    let plan =
        planned(&brokers, "tune", vec![set_step("shop", "size", "16"), set_step("shop", "other", "2")])
            .await
            .unwrap();
    let session = execute(&brokers, &plan);
    for write in [set("shop", "size", "17"), set("shop", "other", "2"), set("shop", "other", "3")] {
        let Denied::NotInPlan(closest) = denied(session.write(write).await.unwrap_err()) else { panic!() };
        assert!(closest.contains("next step is 0: config.set on `shop`"), "{closest}");
    }
    session.write(set("shop", "size", "16")).await.unwrap();
    assert!(matches!(
        denied(session.write(set("shop", "size", "16")).await.unwrap_err()),
        Denied::NotInPlan(_)
    ));
    session.write(set("shop", "other", "2")).await.unwrap();
    let Denied::NotInPlan(closest) = denied(session.write(set("shop", "other", "2")).await.unwrap_err())
    else {
        panic!()
    };
    assert_eq!(closest, "all its steps have been made");
    let summary = session.finish().await;
    assert_eq!(summary.receipts.iter().map(|receipt| receipt.step).collect::<Vec<_>>(), [0, 1]);
    assert!(!summary.uncertain);
    assert_eq!(read(&path), "size = 16\nother = 2\n");
    // After its end a session does nothing more.
    assert!(matches!(denied(session.write(set("shop", "size", "16")).await.unwrap_err()), Denied::Limit(_)));
    // Another plugin cannot use the plan.
    let stranger =
        brokers.session(SessionSpec { plugin: PluginName("restart".into()), ..spec(&plan, Phase::Execute) });
    assert!(matches!(stranger.write(set("shop", "size", "16")).await, Err(CallError::Denied(_))));
}

/// Guarantees: undo may make the inverses that the plan states, newest first, for what was applied, if the state is still
/// what the action left; and nothing else.
#[tokio::test]
async fn undo_takes_back_and_no_more() {
    let mut bench = Bench::new();
    let path = bench.file("shop", "a.toml", "size = 8\nother = 1\n");
    // The value before lies outside of what the plugin may set; its undo is granted with the plan.
    bench.config.grants[0].arguments.insert("value".into(), Bound { min: Some(10.0), ..Bound::default() });
    let brokers = bench.brokers();
    let plan =
        planned(&brokers, "tune", vec![set_step("shop", "size", "16"), set_step("shop", "other", "20")])
            .await
            .unwrap();
    let session = execute(&brokers, &plan);
    session.write(set("shop", "size", "16")).await.unwrap();
    session.write(set("shop", "other", "20")).await.unwrap();
    let receipts = session.finish().await.receipts;

    let session = undo(&brokers, &plan, receipts.clone());
    assert!(matches!(
        denied(session.write(set("shop", "size", "8")).await.unwrap_err()),
        Denied::NotInPlan(_)
    ));
    assert!(matches!(
        denied(session.write(set("shop", "size", "16")).await.unwrap_err()),
        Denied::NotInPlan(_)
    ));
    session.write(set("shop", "other", "1")).await.unwrap();
    // Somebody else has set the next one meanwhile: theirs stands.
    std::fs::write(&path, "size = 99\nother = 1\n").unwrap();
    let error = session.write(set("shop", "size", "8")).await.unwrap_err();
    assert_eq!(denied(error), Denied::StateChanged("value=99".into()));
    std::fs::write(&path, "size = 16\nother = 1\n").unwrap();
    session.write(set("shop", "size", "8")).await.unwrap();
    assert!(matches!(
        denied(session.write(set("shop", "size", "8")).await.unwrap_err()),
        Denied::NotInPlan(_)
    ));
    assert_eq!(session.finish().await.receipts.len(), 2);
    assert_eq!(read(&path), "size = 8\nother = 1\n");

    // What was only checked in a dry-run was not applied, so there is nothing to take back.
    let previews = receipts
        .into_iter()
        .map(|receipt| salve_model::plan::Receipt { applied: false, ..receipt })
        .collect();
    let session = undo(&brokers, &plan, previews);
    assert!(matches!(
        denied(session.write(set("shop", "other", "1")).await.unwrap_err()),
        Denied::NotInPlan(_)
    ));
}

/// Guarantees: planning writes nothing, whatever plan is at hand.
#[tokio::test]
async fn planning_writes_nothing() {
    let mut bench = Bench::new();
    let path = bench.file("shop", "a.toml", "size = 8\n");
    let brokers = bench.brokers();
    let plan = planned(&brokers, "tune", vec![set_step("shop", "size", "16")]).await.unwrap();
    let session = brokers.session(spec(&plan, Phase::Plan));
    assert!(matches!(
        denied(session.write(set("shop", "size", "16")).await.unwrap_err()),
        Denied::NotInPlan(_)
    ));
    assert_eq!(read(&path), "size = 8\n");
    let answer = session.read(Read::ConfigGet { target: id("shop"), key: "size".into() }).await.unwrap();
    assert_eq!(answer, ReadAnswer::ConfigValue(Some("8".into())));
}

/// Guarantees: under the kill switch no write starts, also if it is thrown between intent and effect; it holds for new
/// brokers; reads go on; after resume the same plan still works.
#[tokio::test]
async fn the_kill_switch_stops_writes_at_once() {
    let mut bench = Bench::new();
    let path = bench.file("shop", "a.toml", "size = 8\n");
    let brokers = bench.brokers();
    let plan = planned(&brokers, "tune", vec![set_step("shop", "size", "16")]).await.unwrap();
    let switch = KillSwitch::new(&bench.config.pause_file);
    switch.pause("ada", "drill").unwrap();
    let session = execute(&brokers, &plan);
    assert_eq!(denied(session.write(set("shop", "size", "16")).await.unwrap_err()), Denied::KillSwitch);
    assert!(session.read(Read::ConfigKeys { target: id("shop") }).await.is_ok());
    drop((session, brokers));

    let brokers = bench.brokers();
    assert_eq!(switch.paused().unwrap().by, "ada");
    let error = execute(&brokers, &plan).write(set("shop", "size", "16")).await.unwrap_err();
    assert_eq!(denied(error), Denied::KillSwitch);
    assert!(bench.journal.intents.lock().unwrap().is_empty());
    switch.resume().unwrap();

    let pause_file = bench.config.pause_file.clone();
    *bench.journal.on_intent.lock().unwrap() =
        Some(Box::new(move |_| std::fs::write(&pause_file, "").unwrap()));
    let error = execute(&brokers, &plan).write(set("shop", "size", "16")).await.unwrap_err();
    assert_eq!(denied(error), Denied::KillSwitch);
    assert_eq!(bench.result(1).state, WriteState::NotApplied);
    assert_eq!(read(&path), "size = 8\n");

    *bench.journal.on_intent.lock().unwrap() = None;
    switch.resume().unwrap();
    execute(&brokers, &plan).write(set("shop", "size", "16")).await.unwrap();
    assert_eq!(read(&path), "size = 16\n");
}

/// Guarantees: intent with the state before it comes before the effect; without it there is no effect; the result comes
/// after.
#[tokio::test]
async fn intent_comes_first() {
    let mut bench = Bench::new();
    let path = bench.file("shop", "a.toml", "size = 8\n");
    let brokers = bench.brokers();
    let plan = planned(&brokers, "tune", vec![set_step("shop", "size", "16")]).await.unwrap();
    *bench.journal.broken.lock().unwrap() = true;
    let error = execute(&brokers, &plan).write(set("shop", "size", "16")).await.unwrap_err();
    assert!(matches!(error, CallError::Failed(reason) if reason.contains("disk full")));
    assert_eq!(read(&path), "size = 8\n");

    *bench.journal.broken.lock().unwrap() = false;
    let seen = path.clone();
    *bench.journal.on_intent.lock().unwrap() = Some(Box::new(move |intent| {
        assert_eq!(intent.before.as_deref(), Some("value=8"));
        assert_eq!(read(&seen), "size = 8\n");
    }));
    let answer = execute(&brokers, &plan).write(set("shop", "size", "16")).await.unwrap();
    assert_eq!((answer.receipt.call, answer.receipt.applied), (1, true));
    let result = bench.result(1);
    assert_eq!((result.state, result.receipt), (WriteState::Applied, Some(answer.receipt)));
}

/// Guarantees: somebody who changes the key between intent and effect is noticed.
#[tokio::test]
async fn a_change_in_the_last_moment_is_noticed() {
    let mut bench = Bench::new();
    let path = bench.file("shop", "a.toml", "size = 8\n");
    let brokers = bench.brokers();
    let plan = planned(&brokers, "tune", vec![set_step("shop", "size", "16")]).await.unwrap();
    let other = path.clone();
    *bench.journal.on_intent.lock().unwrap() =
        Some(Box::new(move |_| std::fs::write(&other, "size = 12\n").unwrap()));
    let error = execute(&brokers, &plan).write(set("shop", "size", "16")).await.unwrap_err();
    assert_eq!(denied(error), Denied::StateChanged("value=12".into()));
    assert_eq!(bench.result(1).state, WriteState::NotApplied);
    assert_eq!(read(&path), "size = 12\n");
}

/// Guarantees: an object is in the hands of one incident; the next one gets it when the first lets go.
#[tokio::test]
async fn one_action_at_a_time_on_an_object() {
    let mut bench = Bench::new();
    let path = bench.file("shop", "a.toml", "size = 8\nother = 1\n");
    let brokers = bench.brokers();
    let first = planned(&brokers, "tune", vec![set_step("shop", "size", "16")]).await.unwrap();
    let second = planned(&brokers, "tune", vec![set_step("shop", "other", "2")]).await.unwrap();
    let one = execute(&brokers, &first);
    one.write(set("shop", "size", "16")).await.unwrap();
    let two = brokers
        .session(SessionSpec { incident: IncidentId("inc-2".into()), ..spec(&second, Phase::Execute) });
    let Denied::Limit(words) = denied(two.write(set("shop", "other", "2")).await.unwrap_err()) else {
        panic!()
    };
    assert!(words.contains("in the hands of inc-1"), "{words}");
    one.finish().await;
    two.write(set("shop", "other", "2")).await.unwrap();
    assert_eq!(read(&path), "size = 16\nother = 2\n");
}

/// Guarantees: a target that has come to stand for something else is refused.
#[tokio::test]
async fn a_target_that_moved_is_refused() {
    let mut bench = Bench::new();
    let path = bench.file("shop", "a.toml", "size = 8\n");
    let brokers = bench.brokers();
    let plan = planned(&brokers, "tune", vec![set_step("shop", "size", "16")]).await.unwrap();
    let mut config = bench.config.clone();
    let elsewhere = path.with_file_name("b.toml");
    std::fs::write(&elsewhere, "size = 8\n").unwrap();
    config.targets[0].config.as_mut().unwrap().file = elsewhere.clone();
    brokers.reconfigure(config).unwrap();
    let error = execute(&brokers, &plan).write(set("shop", "size", "16")).await.unwrap_err();
    assert!(matches!(denied(error), Denied::StateChanged(_)));
    assert_eq!(read(&elsewhere), "size = 8\n");
}

/// Guarantees: a dry-run checks and records everything, writes nothing, and lets later calls see what would be.
#[tokio::test]
async fn a_dry_run_previews() {
    let mut bench = Bench::new();
    let path = bench.file("shop", "a.toml", "size = 8\n");
    bench.unit("idle", &["/bin/sleep", "1000"]).autostart = false;
    let brokers = bench.brokers();
    let tune =
        planned(&brokers, "tune", vec![set_step("shop", "size", "16"), set_step("shop", "size", "32")])
            .await
            .unwrap();
    let session = brokers.session(SessionSpec { dry_run: true, ..spec(&tune, Phase::Execute) });
    let answer = session.write(set("shop", "size", "16")).await.unwrap();
    assert!(!answer.receipt.applied);
    assert_eq!(answer.receipt.after.as_deref(), Some("value=16"));
    let seen = session.read(Read::ConfigGet { target: id("shop"), key: "size".into() }).await.unwrap();
    assert_eq!(seen, ReadAnswer::ConfigValue(Some("16".into())));
    assert_eq!(
        session.write(set("shop", "size", "32")).await.unwrap().receipt.before.as_deref(),
        Some("value=16")
    );
    assert!(matches!(
        denied(session.write(set("shop", "size", "64")).await.unwrap_err()),
        Denied::NotInPlan(_)
    ));
    assert_eq!(session.finish().await.receipts.len(), 2);
    assert_eq!(read(&path), "size = 8\n");
    assert_eq!(bench.result(1).state, WriteState::NotApplied);
    assert!(bench.journal.intents.lock().unwrap().iter().all(|intent| intent.dry_run));

    let start = planned(&brokers, "restart", vec![raw("process", "start", "idle", "")]).await.unwrap();
    let session = brokers.session(SessionSpec { dry_run: true, ..spec(&start, Phase::Execute) });
    session.write(Write::ProcessStart { target: id("idle") }).await.unwrap();
    let ReadAnswer::ProcessStatus(status) =
        session.read(Read::ProcessStatus { target: id("idle") }).await.unwrap()
    else {
        panic!()
    };
    assert_eq!(status.state, "running");
    assert_eq!(brokers.unit_states()[0].pid, None);
}

/// Scenario: two tenants with a target and a grant each, for the same plugin.
/// Guarantees: an incident of one of them reaches neither the other's target nor by the other's grant, whatever it plans, reads
/// or was licensed to write; each refusal is recorded with its tenant; its own way is open.
#[tokio::test]
async fn a_tenant_has_its_own_targets_and_grants() {
    let mut bench = Bench::new();
    let own = bench.file("shop", "a.toml", "size = 8\n");
    let foreign = bench.file("other-shop", "b.toml", "size = 8\n");
    let beta = Tenant("beta".into());
    for target in bench.config.targets.iter_mut().filter(|target| target.id.0 == "other-shop") {
        target.tenant = beta.clone();
    }
    // Of the default tenant, but for everything.
    bench.config.grants[0].targets = vec![id("*")];
    let of_default = bench.config.grants[1].clone();
    bench.config.grants[1].tenant = beta.clone();
    let brokers = bench.brokers();
    let tune = PluginName("tune".into());
    let plan_for = |tenant: Tenant, target: &'static str| {
        let (brokers, tune) = (brokers.clone(), tune.clone());
        async move { brokers.complete_plan(&tune, &tenant, false, vec![set_step(target, "size", "16")]).await }
    };
    assert!(matches!(
        denied(plan_for(Tenant::default(), "other-shop").await.unwrap_err()),
        Denied::NotGranted(_)
    ));
    assert!(matches!(denied(plan_for(beta.clone(), "shop").await.unwrap_err()), Denied::NotGranted(_)));
    let steps = plan_for(beta.clone(), "other-shop").await.unwrap();
    let plan = plan("tune", steps);

    // With beta's own plan in hand, an incident of the default tenant writes and reads nothing of beta's.
    let session = brokers.session(spec(&plan, Phase::Execute));
    let write = || set("other-shop", "size", "16");
    assert!(matches!(denied(session.write(write()).await.unwrap_err()), Denied::NotGranted(_)));
    let get = Read::ConfigGet { target: id("other-shop"), key: "size".into() };
    assert!(matches!(denied(session.read(get).await.unwrap_err()), Denied::NotGranted(_)));
    session.finish().await;
    assert_eq!(read(&foreign), "size = 8\n");
    let refused = bench.journal.refusals.lock().unwrap().clone();
    assert_eq!(refused.len(), 2);
    assert!(refused.iter().all(|refusal| refusal.tenant.is_default()));

    let of_beta = || SessionSpec { tenant: beta.clone(), ..spec(&plan, Phase::Execute) };
    let session = brokers.session(of_beta());
    session.write(write()).await.unwrap();
    session.finish().await;
    assert_eq!((read(&foreign).as_str(), read(&own).as_str()), ("size = 16\n", "size = 8\n"));
    assert_eq!(bench.journal.intents.lock().unwrap()[0].tenant, beta);

    // Its target alone is not enough: the grant must be beta's, too.
    let mut config = bench.config.clone();
    config.grants[1] = of_default;
    brokers.reconfigure(config).unwrap();
    let error = brokers.session(of_beta()).write(write()).await.unwrap_err();
    let Denied::NotGranted(toml) = denied(error) else { panic!() };
    assert!(toml.contains("tenant = \"beta\""), "{toml}");
    assert!(brokers.granted_targets(&tune).iter().all(|target| target.0 == "shop"));
}

/// Guarantees: host calls are limited, refused ones included.
#[tokio::test]
async fn host_calls_are_limited() {
    let mut bench = Bench::new();
    bench.file("shop", "a.toml", "size = 8\n");
    let brokers = bench.brokers();
    let empty = plan("tune", Vec::new());
    let session = brokers.session(SessionSpec { host_calls_max: 2, ..spec(&empty, Phase::Execute) });
    let get = || Read::ConfigGet { target: id("shop"), key: "size".into() };
    assert!(session.read(get()).await.is_ok());
    assert!(session.write(set("shop", "size", "1")).await.is_err());
    assert_eq!(denied(session.read(get()).await.unwrap_err()), Denied::Limit("2 host calls".into()));
}

/// Guarantees: a guest that is cut off in the middle of a write cannot cut the write in two: it is finished, recorded,
/// and in the summary.
#[tokio::test]
async fn a_write_is_never_cut_in_two() {
    let mut bench = Bench::new();
    bench.unit("shop", &["/bin/sleep", "1000"]);
    let brokers = bench.brokers();
    let plan = planned(&brokers, "restart", vec![raw("process", "restart", "shop", "")]).await.unwrap();
    let session = execute(&brokers, &plan);
    let write = session.write(Write::ProcessRestart { target: id("shop") });
    // The guest's time is up as soon as the intent stands in the ledger.
    let begun =
        crate::bench::until("the write has begun", || !bench.journal.intents.lock().unwrap().is_empty());
    tokio::select! {
        biased;
        () = begun => {}
        _ = write => {}
    }
    let summary = session.finish().await;
    assert_eq!(summary.receipts.len(), 1);
    assert_eq!(bench.result(1).state, WriteState::Applied);
    assert!(brokers.unit_states()[0].pid.is_some());
    brokers.shutdown(true).await.unwrap();
}
