//! The host's side of a call, answered by a [`World`].

use super::{
    calls::body_sha256,
    request::{StepView, canonical},
    world::{World, behind},
};
use salve_model::{
    TargetId,
    call::{
        BoxFuture, CallError, ConfigVersion, Denied, EdgeStats, HttpResponse, ProcessStatus, Read,
        ReadAnswer, SeriesInfo, ServiceStats, Session, Telemetry, Write, WriteAnswer,
    },
    plan::{Plan, Receipt},
    telemetry::Change,
};
use serde_json::{Value, json};
use std::{
    collections::BTreeSet,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

/// A world that a trial's calls share: what one changes, the next one sees.
pub(crate) type SharedWorld = Arc<Mutex<World>>;

/// One call's session on a world.
pub(crate) struct Paper {
    world: SharedWorld,
    license: License,
    dry_run: bool,
    /// When the call began, Unix nanoseconds.
    now: u64,
    used: Mutex<Used>,
}

/// What the call may write.
pub(crate) enum License {
    /// Nothing.
    Nothing,
    /// The plan's steps, in order.
    Execute(Plan),
    /// The inverses of the plan's steps for applied receipts, newest first.
    Undo(Plan, Vec<Receipt>),
}

#[derive(Default)]
struct Used {
    steps: usize,
    receipts: BTreeSet<usize>,
    calls: u64,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Paper {
    /// A session; in a dry-run it works on a copy.
    pub(crate) fn new(world: &SharedWorld, license: License, dry_run: bool, now: u64) -> Self {
        let world = if dry_run { Arc::new(Mutex::new(lock(world).clone())) } else { world.clone() };
        Self { world, license, dry_run, now, used: Mutex::default() }
    }

    fn read_now(&self, read: &Read) -> Result<ReadAnswer, CallError> {
        let world = lock(&self.world);
        let (capability, verb, target) = read.address();
        if let Some(failure) = world.failures.get(&format!("{capability}.{verb}")) {
            return Err(failure.clone());
        }
        let keys = |target: &TargetId| world.config.get(&target.0).ok_or_else(|| behind("config", &target.0));
        match read {
            Read::ProcessStatus { .. } => {
                let status = world.processes.get(&target.0).cloned();
                status.map(ReadAnswer::ProcessStatus).ok_or_else(|| behind(capability, &target.0))
            }
            Read::ConfigGet { key, .. } => {
                keys(target)?;
                Ok(ReadAnswer::ConfigValue(world.value(&target.0, key).map(str::to_owned)))
            }
            Read::ConfigHistory { key, .. } => {
                let versions = keys(target)?.get(key).cloned();
                let missing = || CallError::NotFound(format!("key `{key}` of target `{target}`"));
                versions.map(ReadAnswer::ConfigVersions).ok_or_else(missing)
            }
            Read::ConfigKeys { .. } => {
                let of = |(key, versions): (&String, &Vec<ConfigVersion>)| {
                    (key.clone(), versions.first().and_then(|first| first.value.clone()))
                };
                Ok(ReadAnswer::ConfigKeys(keys(target)?.iter().map(of).collect()))
            }
            Read::HttpGet(request) => world.answer(request).map(ReadAnswer::Http),
        }
    }

    /// The step that licenses a call, marked as used.
    fn licensed(&self, call: &salve_model::plan::Call) -> Result<u32, CallError> {
        let not_in_plan = |closest: String| Err(CallError::Denied(Denied::NotInPlan(closest)));
        let mut used = lock(&self.used);
        let words = |call: &salve_model::plan::Call| {
            format!("{}.{} on `{}` {}", call.capability, call.verb, call.target, call.arguments)
        };
        match &self.license {
            License::Nothing => not_in_plan("this call may only read".into()),
            License::Execute(plan) => {
                let index = used.steps;
                match plan.steps.get(index) {
                    None => not_in_plan("all its steps have been made".into()),
                    Some(step) if step.call == *call => {
                        used.steps += 1;
                        Ok(u32::try_from(index).unwrap_or(u32::MAX))
                    }
                    Some(step) => not_in_plan(format!("its next step is {index}: {}", words(&step.call))),
                }
            }
            License::Undo(plan, receipts) => {
                let newest = receipts
                    .iter()
                    .enumerate()
                    .rev()
                    .find(|(index, receipt)| receipt.applied && !used.receipts.contains(index));
                let Some((index, receipt)) = newest else {
                    return not_in_plan("nothing that was applied is left to take back".into());
                };
                let step = usize::try_from(receipt.step).ok().and_then(|step| plan.steps.get(step));
                let inverse = step.and_then(|step| {
                    let arguments = step.inverse.clone()?;
                    Some(salve_model::plan::Call { arguments, ..step.call.clone() })
                });
                match inverse {
                    Some(inverse) if inverse == *call => {
                        used.receipts.insert(index);
                        Ok(receipt.step)
                    }
                    Some(inverse) => not_in_plan(format!("next to take back is {}", words(&inverse))),
                    None => not_in_plan(format!("step {} has no inverse", receipt.step)),
                }
            }
        }
    }

    fn write_now(&self, write: &Write) -> Result<WriteAnswer, CallError> {
        let mut call = write.call(body_sha256);
        call.arguments = canonical(&serde_json::from_str(&call.arguments).unwrap_or_default());
        let (capability, verb, target) = write.address();
        let mut world = lock(&self.world);
        object(&world, capability, &target.0)?;
        let step = self.licensed(&call)?;
        if let Some(failure) = world.failures.get(&format!("{capability}.{verb}")) {
            return Err(failure.clone());
        }
        let key = match write {
            Write::ConfigSet { key, .. } => Some(key.as_str()),
            _ => None,
        };
        let before = world.state(capability, &target.0, key);
        if let License::Execute(plan) = &self.license
            && let Some(expected) =
                usize::try_from(step).ok().and_then(|step| plan.steps.get(step)?.before.as_ref())
            && before.as_ref() != Some(expected)
        {
            return Err(CallError::Denied(Denied::StateChanged(before.unwrap_or_default())));
        }
        let response = self.apply(&mut world, write)?;
        // As the real host.
        let refused = response.as_ref().and_then(HttpResponse::refusal);
        let after = world.state(capability, &target.0, key);
        let mut used = lock(&self.used);
        used.calls += 1;
        let receipt = Receipt {
            call: used.calls,
            step,
            target: target.clone(),
            verb: verb.into(),
            applied: !self.dry_run && refused.is_none(),
            before,
            after,
            extra: refused.map(|reason| ("refused".to_owned(), reason)).into_iter().collect(),
        };
        Ok(WriteAnswer { receipt, response })
    }

    /// Changes the world; in a dry-run it is this call's copy.
    fn apply(&self, world: &mut World, write: &Write) -> Result<Option<HttpResponse>, CallError> {
        let target = write.address().2.0.clone();
        match write {
            Write::ProcessStop { .. } => {
                let last_exit = Some("signal SIGTERM".into());
                let stopped = ProcessStatus { state: "exited".into(), last_exit, ..ProcessStatus::default() };
                world.processes.insert(target, stopped);
            }
            Write::ProcessStart { .. } | Write::ProcessRestart { .. } => {
                let pid = world.processes.values().filter_map(|status| status.pid).max().unwrap_or(1_000) + 1;
                let old = world.processes.get(&target).cloned().unwrap_or_default();
                let status = ProcessStatus {
                    pid: Some(pid),
                    started: Some(self.now),
                    state: "running".into(),
                    cpu_seconds: 0.0,
                    ..old
                };
                world.processes.insert(target, status);
            }
            Write::ConfigSet { key, value, .. } => {
                let versions = world.config.entry(target).or_default().entry(key.clone()).or_default();
                versions.insert(0, ConfigVersion { value: value.clone(), since: self.now, good: false });
            }
            // As the real host: a dry-run sends nothing.
            Write::HttpSend(_) if self.dry_run => return Ok(None),
            Write::HttpSend(request) => return world.answer(request).map(Some),
            Write::Notify { .. } => {}
        }
        Ok(None)
    }
}

/// Refuses a target that has no such thing behind it.
fn object(world: &World, capability: &str, target: &str) -> Result<(), CallError> {
    let is_there = match capability {
        "config" => world.config.contains_key(target),
        "process" => world.processes.contains_key(target),
        "http" => world.http.contains_key(target),
        "notify" => world.notify.iter().any(|known| known == target),
        _ => false,
    };
    if is_there { Ok(()) } else { Err(behind(capability, target)) }
}

/// Completes a plan as the host does: the state before each step, and the way back.
pub(crate) fn complete(world: &SharedWorld, steps: &mut [StepView]) -> Result<(), CallError> {
    let mut world = lock(world).clone();
    for (index, step) in steps.iter_mut().enumerate() {
        object(&world, &step.capability, &step.target)?;
        let wrong = |what: &str| CallError::Failed(format!("step {index}: {what}"));
        let key = step.arguments.get("key").and_then(Value::as_str).map(str::to_owned);
        if step.capability == "config" && key.is_none() {
            return Err(wrong("`config.set` needs `key`"));
        }
        let before = world.state(&step.capability, &step.target, key.as_deref());
        if step.before.is_some() && step.before != before {
            return Err(CallError::Denied(Denied::StateChanged(before.unwrap_or_default())));
        }
        step.before = before;
        if let Some(key) = key.filter(|_| step.capability == "config") {
            let inverse = json!({ "key": key, "value": world.value(&step.target, &key) });
            if step.inverse.as_ref().is_some_and(|given| *given != inverse) {
                return Err(wrong("its inverse is not what the host says; leave it out"));
            }
            step.inverse = Some(inverse);
            // A later step on the same key finds what this one leaves.
            let value = step.arguments.get("value").and_then(Value::as_str).map(str::to_owned);
            let versions = world.config.entry(step.target.clone()).or_default().entry(key).or_default();
            versions.insert(0, ConfigVersion { value, since: 0, good: false });
        }
    }
    Ok(())
}

impl Session for Paper {
    fn read(&self, read: Read) -> BoxFuture<'_, Result<ReadAnswer, CallError>> {
        Box::pin(async move { self.read_now(&read) })
    }

    fn write(&self, write: Write) -> BoxFuture<'_, Result<WriteAnswer, CallError>> {
        Box::pin(async move { self.write_now(&write) })
    }
}

impl Telemetry for Paper {
    fn services(&self, from: u64, to: u64) -> Vec<ServiceStats> {
        lock(&self.world).services(from, to)
    }
    fn edges(&self, from: u64, to: u64) -> Vec<EdgeStats> {
        lock(&self.world).edges(from, to)
    }
    fn changes(&self, from: u64, to: u64) -> Vec<Change> {
        lock(&self.world).changes(from, to)
    }
    fn find(&self, service: &str, name_prefix: &str) -> Vec<SeriesInfo> {
        lock(&self.world).find(service, name_prefix)
    }
    fn points(&self, series: u32, from: u64, to: u64) -> Vec<(u64, f64)> {
        lock(&self.world).points(series, from, to)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use salve_model::{PluginName, plan::Call as PlanCall, plan::Step, plan::VerbClass};

    fn world() -> SharedWorld {
        let version = ConfigVersion { value: Some("8".into()), since: 1, good: true };
        let mut world = World::default();
        world.config.entry("shop".into()).or_default().insert("size".into(), vec![version]);
        Arc::new(Mutex::new(world))
    }

    fn set(value: &str) -> Write {
        Write::ConfigSet { target: TargetId("shop".into()), key: "size".into(), value: Some(value.into()) }
    }

    fn plan() -> Plan {
        let arguments = r#"{"key":"size","value":"16"}"#.to_owned();
        let call = PlanCall {
            capability: "config".into(),
            verb: "set".into(),
            target: TargetId("shop".into()),
            arguments,
        };
        let step = Step {
            call,
            objects: Vec::new(),
            before: Some("value=8".into()),
            after: None,
            inverse: Some(r#"{"key":"size","value":"8"}"#.into()),
            class: VerbClass::Queryable,
        };
        Plan {
            action: PluginName("a".into()),
            action_digest: String::new(),
            targets: Vec::new(),
            parameters: "{}".into(),
            summary: String::new(),
            steps: vec![step],
            expectations: Vec::new(),
            extra: salve_model::Attributes::new(),
        }
    }

    fn value(world: &SharedWorld) -> Option<String> {
        lock(world).value("shop", "size").map(str::to_owned)
    }

    /// Guarantees: a world keeps the rules of the real host: planning writes nothing; a step licenses one call with just
    /// its arguments; a dry-run leaves the world as it was; undo makes the inverse of what was applied, once.
    #[test]
    fn a_plan_binds() {
        let shared = world();
        let denied = |paper: &Paper, to: &str| match paper.write_now(&set(to)) {
            Err(CallError::Denied(Denied::NotInPlan(closest))) => closest,
            other => panic!("{other:?}"),
        };
        assert_eq!(denied(&Paper::new(&shared, License::Nothing, false, 5), "16"), "this call may only read");

        let dry = Paper::new(&shared, License::Execute(plan()), true, 5);
        assert!(denied(&dry, "17").contains("next step is 0: config.set on `shop`"));
        assert!(!dry.write_now(&set("16")).unwrap().receipt.applied);
        let seen = dry.read_now(&Read::ConfigGet { target: TargetId("shop".into()), key: "size".into() });
        assert_eq!(seen, Ok(ReadAnswer::ConfigValue(Some("16".into()))));
        assert_eq!(value(&shared).as_deref(), Some("8"));

        let real = Paper::new(&shared, License::Execute(plan()), false, 5);
        let receipt = real.write_now(&set("16")).unwrap().receipt;
        assert_eq!(
            (receipt.before.as_deref(), receipt.after.as_deref()),
            (Some("value=8"), Some("value=16"))
        );
        assert_eq!(denied(&real, "16"), "all its steps have been made");
        assert_eq!(value(&shared).as_deref(), Some("16"));
        let again = Paper::new(&shared, License::Execute(plan()), false, 5);
        assert!(
            matches!(again.write_now(&set("16")), Err(CallError::Denied(Denied::StateChanged(now))) if now == "value=16")
        );

        let undo = Paper::new(&shared, License::Undo(plan(), vec![receipt]), false, 6);
        assert!(denied(&undo, "9").contains("next to take back is config.set"));
        undo.write_now(&set("8")).unwrap();
        assert_eq!(value(&shared).as_deref(), Some("8"));
        assert!(denied(&undo, "8").contains("nothing that was applied"));
    }

    /// Guarantees: what the host completes is true of the world, also of a key that an earlier step changes; what the
    /// plugin claims about the state must be true.
    #[test]
    fn plans_are_completed_as_by_the_host() {
        let step = |value: &str| StepView {
            capability: "config".into(),
            verb: "set".into(),
            target: "shop".into(),
            arguments: json!({ "key": "size", "value": value }),
            before: None,
            after: None,
            inverse: None,
            objects: Vec::new(),
            class: None,
        };
        let mut steps = [step("16"), step("32")];
        complete(&world(), &mut steps).unwrap();
        assert_eq!(steps[0].before.as_deref(), Some("value=8"));
        assert_eq!(steps[1].inverse, Some(json!({ "key": "size", "value": "16" })));

        let mut wrong = [StepView { before: Some("value=9".into()), ..step("16") }];
        assert!(matches!(complete(&world(), &mut wrong), Err(CallError::Denied(Denied::StateChanged(_)))));
        let mut nowhere = [StepView { target: "elsewhere".into(), ..step("16") }];
        assert!(matches!(complete(&world(), &mut nowhere), Err(CallError::NotFound(_))));
    }
}
