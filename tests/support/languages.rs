//! Components of Go, JavaScript and Python on the real host, for tests and measurements.
#![allow(dead_code, reason = "tests and measurements each use a part")]

use salve_model::{
    Attributes, Target, TargetId, Tenant,
    batch::{Batch, SeriesAdded},
    call::{
        BoxFuture, CallError, EdgeStats, HttpResponse, Read, ReadAnswer, SeriesInfo, ServiceStats, Session,
        Telemetry, Write, WriteAnswer,
    },
    incident::IncidentId,
    plan::{Call, Plan, Receipt, Step, VerbClass},
    telemetry::{Change, SeriesKey, SeriesRef},
};
use salve_plugins::{
    ActionError, ActionRequest, GuestLogLine, HostConfig, LimitSettings, LogSink, Plugin, PluginHost,
    RawOutcome, RawProposal,
};
use salve_tests::components;
use std::{
    path::Path,
    sync::{Arc, Mutex},
};

/// Log lines of guests, kept.
#[derive(Default)]
pub(crate) struct Lines(pub(crate) Mutex<Vec<GuestLogLine>>);

impl LogSink for Lines {
    fn write(&self, line: GuestLogLine) {
        self.0.lock().unwrap().push(line);
    }
}

/// A component and the host that it runs on.
pub(crate) struct Bench {
    pub(crate) host: PluginHost,
    pub(crate) plugin: Arc<Plugin>,
    pub(crate) lines: Arc<Lines>,
}

impl Bench {
    /// An example, with the limits that a daemon has, but for time: the machine may be busy.
    pub(crate) fn new(example: &str) -> Self {
        Self::of(&salve_tests::root().join("examples").join(example))
    }

    /// A detector whose code stands in `folder`.
    pub(crate) fn probe(folder: &Path) -> Self {
        let manifest = "name = 'probe'\nversion = '0.1.0'\nrole = 'detector'\nsummary = 'Probes.'\nparameters = { type = 'object' }\n";
        std::fs::write(folder.join("plugin.toml"), manifest).unwrap();
        Self::of(folder)
    }

    /// The plugin whose project is `folder`.
    pub(crate) fn of(folder: &Path) -> Self {
        Self::built(folder, false)
    }

    /// The same plugin on a host that counts instructions.
    pub(crate) fn counting(folder: &Path) -> Self {
        Self::built(folder, true)
    }

    /// Instructions of all calls so far.
    pub(crate) fn fuel(&self) -> u64 {
        self.plugin.counters().fuel_total
    }

    fn built(folder: &Path, count_fuel: bool) -> Self {
        let marks = [("go.mod", "go"), ("package.json", "js"), ("pyproject.toml", "python")];
        let (_, language) = marks.into_iter().find(|(file, _)| folder.join(file).is_file()).unwrap();
        let component = components::built(folder, &[&salve_tests::root().join("sdk").join(language)]);
        let mut config = HostConfig::new(components::compiled());
        config.guest_threads = 2;
        (config.count_fuel, config.compile_quickly) = (count_fuel, count_fuel);
        config.quarantine_traps = 10_000;
        config.limits = LimitSettings {
            cpu_ms: Some(20_000),
            cpu_setup_ms: Some(20_000),
            wall_clock_ms: Some(120_000),
            ..LimitSettings::default()
        };
        let lines = Arc::new(Lines::default());
        let host = PluginHost::with_logs(config, lines.clone()).unwrap();
        let plugin = host
            .load_bytes(folder, &component)
            .unwrap_or_else(|error| panic!("{}", components::whole(&error, error.hint())));
        Self { host, plugin, lines }
    }

    pub(crate) async fn plan(
        &self,
        asked: &ActionRequest,
        tracker: &Arc<Tracker>,
    ) -> Result<RawProposal, ActionError> {
        self.host.plan(&self.plugin, asked.clone(), tracker.clone(), tracker.clone()).await
    }

    /// Executes a plan as if it was approved as it is.
    pub(crate) async fn execute(
        &self,
        asked: &ActionRequest,
        raw: &RawProposal,
        tracker: &Arc<Tracker>,
    ) -> Result<RawOutcome, ActionError> {
        let steps = raw.steps.iter().map(|step| Step {
            call: Call {
                capability: step.capability.clone(),
                verb: step.verb.clone(),
                target: step.target.clone(),
                arguments: step.arguments.clone(),
            },
            objects: Vec::new(),
            before: step.before.clone(),
            after: step.after.clone(),
            inverse: step.inverse.clone(),
            class: VerbClass::Queryable,
        });
        let plan = Plan {
            action: self.plugin.manifest().name.clone(),
            action_digest: self.plugin.digest().to_owned(),
            targets: Vec::new(),
            parameters: asked.parameters.clone(),
            summary: raw.summary.clone(),
            steps: steps.collect(),
            expectations: Vec::new(),
            extra: Attributes::new(),
        };
        self.host.execute(&self.plugin, asked.clone(), &plan, tracker.clone(), tracker.clone()).await
    }
}

/// A request for `checkout`.
pub(crate) fn request(parameters: &str) -> ActionRequest {
    ActionRequest {
        incident: IncidentId("inc-1".into()),
        tenant: Tenant::default(),
        targets: vec![Target {
            id: TargetId("checkout".into()),
            tenant: Tenant::default(),
            attributes: Attributes::from([("service.name".to_owned(), "checkout".to_owned())]),
            objects: Vec::new(),
        }],
        parameters: parameters.into(),
        started: 1_767_225_600_000_000_000,
        now: 1_767_225_605_000_000_000,
    }
}

/// A batch with one point for each value; its series are new in it if `first`.
pub(crate) fn points(values: &[f64], first: bool) -> Batch {
    let count = u32::try_from(values.len()).unwrap();
    let series = |id: u32| SeriesAdded {
        id,
        series: SeriesRef {
            key: SeriesKey(id.into()),
            tenant: Tenant::default(),
            service: "shop".into(),
            name: format!("errors.{id}"),
            unit: "1".into(),
            attributes: Attributes::new(),
        },
        group: id,
        limit: None,
        attributes: Attributes::new(),
    };
    Batch {
        sequence: 1,
        now: 1_767_225_605_000_000_000,
        added: if first { (0..count).map(series).collect() } else { Vec::new() },
        removed: Vec::new(),
        series: (0..count).collect(),
        offsets: (0..=count).collect(),
        times: vec![1_767_225_604_000_000_000; values.len()],
        values: values.to_vec(),
        point_flags: vec![0; values.len()],
        scores: false,
    }
}

/// A tracker and a configuration file in one: notes writes, answers at once.
#[derive(Default)]
pub(crate) struct Tracker {
    /// What the tracker has under the key that is looked for.
    pub(crate) found: Mutex<Option<String>>,
    pub(crate) writes: Mutex<Vec<Write>>,
}

impl Session for Tracker {
    fn read(&self, read: Read) -> BoxFuture<'_, Result<ReadAnswer, CallError>> {
        let answer = match read {
            Read::HttpGet(_) => {
                let found = self.found.lock().unwrap().clone();
                let status = if found.is_some() { 200 } else { 404 };
                let body = found.unwrap_or_default().into_bytes();
                ReadAnswer::Http(HttpResponse { status, body, ..HttpResponse::default() })
            }
            _ => ReadAnswer::ConfigValue(Some("64".into())),
        };
        Box::pin(async { Ok(answer) })
    }

    fn write(&self, write: Write) -> BoxFuture<'_, Result<WriteAnswer, CallError>> {
        let (_, verb, target) = write.address();
        let receipt = Receipt {
            call: 1,
            step: 0,
            target: target.clone(),
            verb: verb.into(),
            applied: true,
            before: None,
            after: None,
            extra: Attributes::new(),
        };
        self.writes.lock().unwrap().push(write);
        Box::pin(async { Ok(WriteAnswer { receipt, response: None }) })
    }
}

impl Telemetry for Tracker {
    fn services(&self, _from: u64, _to: u64) -> Vec<ServiceStats> {
        Vec::new()
    }
    fn edges(&self, _from: u64, _to: u64) -> Vec<EdgeStats> {
        Vec::new()
    }
    fn changes(&self, _from: u64, _to: u64) -> Vec<Change> {
        Vec::new()
    }
    fn find(&self, _service: &str, _name_prefix: &str) -> Vec<SeriesInfo> {
        Vec::new()
    }
    fn points(&self, _series: u32, _from: u64, _to: u64) -> Vec<(u64, f64)> {
        Vec::new()
    }
}

/// Runs a test's future.
pub(crate) fn block_on<F: Future>(future: F) -> F::Output {
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()
        .unwrap()
        .block_on(future)
}
