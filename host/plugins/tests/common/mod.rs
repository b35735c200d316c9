//! Guests from `tests/guests`, packed and loaded into a host of their own.
#![allow(dead_code, reason = "each test file uses a part")]

use salve_model::{
    Attributes, Target, TargetId, Tenant,
    batch::{Batch, SeriesAdded},
    call::{
        BoxFuture, CallError, EdgeStats, Read, ReadAnswer, SeriesInfo, ServiceStats, Session, Telemetry,
        Write, WriteAnswer,
    },
    incident::IncidentId,
    plan::Receipt,
    telemetry::{Change, SeriesKey, SeriesRef},
};
use salve_plugins::{
    ActionRequest, DetectorInstance, DetectorOptions, GuestError, GuestLogLine, HostConfig, LogSink, Plugin,
    PluginHost, pack,
};
use std::{
    future::Future,
    path::Path,
    sync::{Arc, Mutex},
    time::Duration,
};

/// Longer than any of these tests takes on a loaded machine; a limit that does not hold fails the test here.
const WATCHDOG: Duration = Duration::from_secs(60);

/// Ends a test whose guest is not ended.
pub(crate) async fn watched<R>(test: impl Future<Output = R>) -> R {
    tokio::time::timeout(WATCHDOG, test).await.expect("the guest outlived its limits")
}

/// Log lines of guests, kept.
#[derive(Default)]
pub(crate) struct Lines(pub(crate) Mutex<Vec<GuestLogLine>>);

impl LogSink for Lines {
    fn write(&self, line: GuestLogLine) {
        self.0.lock().unwrap().push(line);
    }
}

/// A host with its own cache.
pub(crate) struct Bench {
    pub(crate) host: PluginHost,
    pub(crate) lines: Arc<Lines>,
    pub(crate) folder: tempfile::TempDir,
}

/// A host with the settings that `change` makes.
pub(crate) fn bench_with(change: impl FnOnce(&mut HostConfig)) -> Bench {
    let folder = tempfile::tempdir().unwrap();
    let mut config = HostConfig::new(folder.path().join("cache"));
    config.instances_max = 20;
    config.guest_threads = 2;
    change(&mut config);
    let lines = Arc::new(Lines::default());
    Bench { host: PluginHost::with_logs(config, lines.clone()).unwrap(), lines, folder }
}

/// A host with default limits.
pub(crate) fn bench() -> Bench {
    bench_with(|_| {})
}

/// The core module of `tests/guests/NAME.wat`.
pub(crate) fn core_module(name: &str) -> Vec<u8> {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/guests").join(format!("{name}.wat"));
    wat::parse_file(file).unwrap()
}

/// A manifest for a guest, by the role with which its name begins.
pub(crate) fn manifest(name: &str, more: &str) -> String {
    let (role, _) = name.split_once('-').unwrap();
    let parameters = "[parameters]\ntype = 'object'\nproperties.size.type = 'integer'\n";
    format!(
        "name = '{name}'\nversion = '0.1.0'\nrole = '{role}'\nsummary = 'A guest of the tests.'\n{more}\n{parameters}"
    )
}

/// The component of `tests/guests/NAME.wat`.
pub(crate) fn component(name: &str) -> Vec<u8> {
    let more = match name {
        "action-echo" => "capabilities = [{ capability = 'config', verbs = ['get', 'set'] }]",
        _ => "",
    };
    pack::pack(&core_module(name), &manifest(name, more)).unwrap()
}

impl Bench {
    /// Loads a guest.
    pub(crate) fn load(&self, name: &str) -> Arc<Plugin> {
        self.host.load_bytes(Path::new(name), &component(name)).unwrap()
    }

    /// Loads a detector and makes an instance of it.
    pub(crate) async fn detector(&self, name: &str) -> Result<DetectorInstance, GuestError> {
        let options = DetectorOptions { name: "bench".into(), parameters_json: "{}".into(), state: None };
        self.host.detector(&self.load(name), options).await
    }
}

/// A series of a service.
pub(crate) fn series(id: u32) -> SeriesAdded {
    let attributes = Attributes::from([("service.name".to_owned(), "shop".to_owned())]);
    SeriesAdded {
        id,
        series: SeriesRef {
            key: SeriesKey(id.into()),
            tenant: Tenant::default(),
            service: "shop".into(),
            name: format!("series.{id}"),
            unit: "1".into(),
            attributes: Attributes::new(),
        },
        group: 0,
        limit: None,
        attributes,
    }
}

/// A batch with one point for each value; its series are new in it if `first`.
pub(crate) fn batch(values: &[f64], first: bool) -> Batch {
    let count = u32::try_from(values.len()).unwrap();
    Batch {
        sequence: 1,
        now: 1_000_000_000,
        added: if first { (0..count).map(series).collect() } else { Vec::new() },
        removed: Vec::new(),
        series: (0..count).collect(),
        offsets: (0..=count).collect(),
        times: vec![5; values.len()],
        values: values.to_vec(),
        point_flags: vec![0; values.len()],
        scores: false,
    }
}

/// A request to an action.
pub(crate) fn request() -> ActionRequest {
    ActionRequest {
        incident: IncidentId("inc-1".into()),
        tenant: Tenant::default(),
        targets: vec![Target {
            id: TargetId("shop".into()),
            tenant: Tenant::default(),
            attributes: Attributes::from([("service.name".to_owned(), "shop".to_owned())]),
            objects: Vec::new(),
        }],
        parameters: "{}".into(),
        started: 1,
        now: 2,
    }
}

/// A session that notes writes and applies them, after `delay`.
#[derive(Default)]
pub(crate) struct Notes {
    pub(crate) writes: Mutex<Vec<Write>>,
    pub(crate) delay: Duration,
}

impl Session for Notes {
    fn read(&self, _read: Read) -> BoxFuture<'_, Result<ReadAnswer, CallError>> {
        Box::pin(async { Ok(ReadAnswer::ConfigValue(Some("8".into()))) })
    }

    fn write(&self, write: Write) -> BoxFuture<'_, Result<WriteAnswer, CallError>> {
        Box::pin(async move {
            tokio::time::sleep(self.delay).await;
            let (_, verb, target) = write.address();
            let receipt = Receipt {
                call: 1,
                step: 0,
                target: target.clone(),
                verb: verb.into(),
                applied: true,
                before: Some("8".into()),
                after: Some("16".into()),
                extra: Attributes::new(),
            };
            self.writes.lock().unwrap().push(write);
            Ok(WriteAnswer { receipt, response: None })
        })
    }
}

/// No telemetry at all.
pub(crate) struct Silence;

impl Telemetry for Silence {
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
