//! What the tests share: a journal in memory, a folder, a configuration, plans and sessions.

use salve_capabilities::{
    ActionSession, Brokers, BrokersConfig, ConfigTarget, Intent, Journal, JournalError, Phase, RawStep,
    Refusal, Resolver, SessionSpec, SystemResolver, TargetConfig, UnitConfig, WriteOutcome,
};
use salve_model::{
    Attributes, PluginName, TargetId, Tenant,
    call::{BoxFuture, CallError, Session, Write, WriteAnswer},
    grant::{Bound, Grant},
    incident::IncidentId,
    mode::Mode,
    plan::{Plan, Receipt, Step},
};
use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    sync::{Arc, Mutex},
    time::Duration,
};
use tempfile::TempDir;

/// Long enough for a slow machine, short enough to end a test that hangs.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);

type Hook = Box<dyn Fn(&Intent) + Send + Sync>;

/// Keeps everything, numbers intents from 1.
#[derive(Default)]
pub(crate) struct MemoryJournal {
    pub(crate) intents: Mutex<Vec<Intent>>,
    pub(crate) results: Mutex<BTreeMap<u64, WriteOutcome>>,
    pub(crate) refusals: Mutex<Vec<Refusal>>,
    /// Runs inside of `intent`, before it returns.
    pub(crate) on_intent: Mutex<Option<Hook>>,
    pub(crate) broken: Mutex<bool>,
}

impl Journal for MemoryJournal {
    fn intent(&self, intent: Intent) -> BoxFuture<'_, Result<u64, JournalError>> {
        Box::pin(async move {
            if *self.broken.lock().unwrap() {
                return Err(JournalError { reason: "disk full".into(), source: None });
            }
            if let Some(hook) = &*self.on_intent.lock().unwrap() {
                hook(&intent);
            }
            let mut intents = self.intents.lock().unwrap();
            intents.push(intent);
            Ok(u64::try_from(intents.len()).unwrap())
        })
    }

    fn result(
        &self,
        id: u64,
        _tenant: Tenant,
        outcome: WriteOutcome,
    ) -> BoxFuture<'_, Result<(), JournalError>> {
        self.results.lock().unwrap().insert(id, outcome);
        Box::pin(async { Ok(()) })
    }

    fn refused(&self, refusal: Refusal) -> BoxFuture<'_, Result<(), JournalError>> {
        self.refusals.lock().unwrap().push(refusal);
        Box::pin(async { Ok(()) })
    }
}

/// A folder of its own, with brokers in it.
pub(crate) struct Bench {
    pub(crate) folder: TempDir,
    pub(crate) journal: Arc<MemoryJournal>,
    pub(crate) config: BrokersConfig,
}

impl Bench {
    pub(crate) fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let config = BrokersConfig {
            mode: Mode::Act,
            state_dir: folder.path().join("state"),
            pause_file: folder.path().join("paused"),
            protected: vec![folder.path().join("salve.toml")],
            config_good_after_ms: 0,
            config_recheck_ms: 60_000,
            ..BrokersConfig::default()
        };
        Self { folder, journal: Arc::default(), config }
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// A unit `name`, a target of the same name, and a grant of all its process verbs to `restart`.
    pub(crate) fn unit(&mut self, name: &str, command: &[&str]) -> &mut UnitConfig {
        let mut target = target(name);
        target.process = Some(name.into());
        self.config.targets.push(target);
        self.config.grants.push(grant("restart", "process", &["*"], name));
        self.config.units.push(UnitConfig {
            name: name.into(),
            command: command.iter().map(|word| (*word).into()).collect(),
            environment: BTreeMap::new(),
            working_directory: None,
            log_file: self.path(&format!("{name}.log")),
            memory_max_bytes: None,
            stop_grace_ms: 5_000,
            autostart: true,
        });
        self.config.units.last_mut().unwrap()
    }

    /// A file with `text`, a target `name` with its keys, and a grant of `key` and any value to `tune`.
    pub(crate) fn file(&mut self, name: &str, file: &str, text: &str) -> PathBuf {
        std::fs::create_dir_all(self.path("etc")).unwrap();
        let path = self.path("etc").join(file);
        std::fs::write(&path, text).unwrap();
        let mut target = target(name);
        target.config = Some(ConfigTarget {
            file: path.clone(),
            root: None,
            format: None,
            keys: vec!["*".into()],
            secret_keys: vec!["*secret*".into()],
        });
        self.config.targets.push(target);
        let mut granted = grant("tune", "config", &["*"], name);
        granted.arguments.insert("value".into(), Bound { pattern: Some("*".into()), ..Bound::default() });
        self.config.grants.push(granted);
        path
    }

    pub(crate) fn brokers(&self) -> Brokers {
        self.brokers_with(Arc::new(SystemResolver))
    }

    pub(crate) fn brokers_with(&self, resolver: Arc<dyn Resolver>) -> Brokers {
        Brokers::with_resolver(self.config.clone(), Arc::clone(&self.journal) as Arc<dyn Journal>, resolver)
            .unwrap()
    }

    /// What became of write `id`.
    pub(crate) fn result(&self, id: u64) -> WriteOutcome {
        self.journal.results.lock().unwrap()[&id].clone()
    }
}

pub(crate) fn target(name: &str) -> TargetConfig {
    TargetConfig {
        id: TargetId(name.into()),
        tenant: Tenant::default(),
        select: Attributes::from([("service.name".into(), name.into())]),
        process: None,
        config: None,
        http: None,
        notify: None,
    }
}

pub(crate) fn id(name: &str) -> TargetId {
    TargetId(name.into())
}

pub(crate) fn grant(plugin: &str, capability: &str, verbs: &[&str], target: &str) -> Grant {
    Grant {
        plugin: PluginName(plugin.into()),
        tenant: Tenant::default(),
        capability: capability.into(),
        verbs: verbs.iter().map(|verb| (*verb).into()).collect(),
        targets: vec![id(target)],
        digest: None,
        may_send: false,
        arguments: BTreeMap::new(),
        http: None,
    }
}

pub(crate) fn raw(capability: &str, verb: &str, target: &str, arguments: &str) -> RawStep {
    RawStep {
        capability: capability.into(),
        verb: verb.into(),
        target: id(target),
        arguments: arguments.into(),
        before: None,
        after: None,
        inverse: None,
    }
}

pub(crate) fn set_step(target: &str, key: &str, value: &str) -> RawStep {
    raw("config", "set", target, &serde_json::json!({ "value": value, "key": key }).to_string())
}

pub(crate) fn set(target: &str, key: &str, value: &str) -> Write {
    Write::ConfigSet { target: id(target), key: key.into(), value: Some(value.into()) }
}

pub(crate) fn plan(plugin: &str, steps: Vec<Step>) -> Plan {
    Plan {
        action: PluginName(plugin.into()),
        action_digest: String::new(),
        targets: steps.iter().map(|step| step.call.target.clone()).collect(),
        parameters: "{}".into(),
        summary: String::new(),
        steps,
        expectations: Vec::new(),
        extra: Attributes::new(),
    }
}

/// A plan of these steps.
pub(crate) async fn planned(brokers: &Brokers, plugin: &str, steps: Vec<RawStep>) -> Result<Plan, CallError> {
    Ok(plan(
        plugin,
        brokers.complete_plan(&PluginName(plugin.into()), &Tenant::default(), false, steps).await?,
    ))
}

pub(crate) fn spec(plan: &Plan, phase: Phase) -> SessionSpec {
    SessionSpec {
        plugin: plan.action.clone(),
        reads_telemetry: false,
        incident: IncidentId("inc-1".into()),
        tenant: Tenant::default(),
        phase,
        plan: Some(plan.clone()),
        receipts: Vec::new(),
        dry_run: false,
        host_calls_max: 1_000,
    }
}

pub(crate) fn execute(brokers: &Brokers, plan: &Plan) -> Arc<ActionSession> {
    brokers.session(spec(plan, Phase::Execute))
}

pub(crate) fn undo(brokers: &Brokers, plan: &Plan, receipts: Vec<Receipt>) -> Arc<ActionSession> {
    brokers.session(SessionSpec { receipts, ..spec(plan, Phase::Undo) })
}

/// Plans and makes one write.
pub(crate) async fn heal(
    brokers: &Brokers,
    plugin: &str,
    step: RawStep,
    write: Write,
) -> Result<WriteAnswer, CallError> {
    let plan = planned(brokers, plugin, vec![step]).await?;
    let session = execute(brokers, &plan);
    let answer = session.write(write).await;
    session.finish().await;
    answer
}

/// Waits until `condition` holds; looks every few milliseconds, since files and `/proc` give no notice of their own.
pub(crate) async fn until(what: &str, mut condition: impl FnMut() -> bool) {
    let deadline = tokio::time::Instant::now() + PATIENCE;
    while !condition() {
        assert!(tokio::time::Instant::now() < deadline, "still not: {what}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

pub(crate) fn read(path: &Path) -> String {
    std::fs::read_to_string(path).unwrap_or_default()
}
