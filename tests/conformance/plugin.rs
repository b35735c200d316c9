//! A language's plugins: built by their own toolchain, loaded by the real host.

use salve_plugins::{GuestLogLine, HostConfig, LimitSettings, LogSink, Plugin, PluginHost};
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

/// A plugin and the host that it runs on.
pub(crate) struct Loaded {
    pub(crate) host: PluginHost,
    pub(crate) plugin: Arc<Plugin>,
    pub(crate) lines: Arc<Lines>,
}

/// Builds and loads `sdk/conformance/LANGUAGE/ROLE`.
pub(crate) fn load(language: &str, role: &str) -> Loaded {
    let suite = salve_tests::root().join("sdk/conformance").join(language);
    let sdk = salve_tests::root().join("sdk").join(language);
    let component = components::built(&suite.join(role), &[&suite, &sdk]);

    let mut config = HostConfig::new(components::compiled());
    config.guest_threads = 2;
    // What is tested is meaning, not speed: limits of time only end what hangs.
    config.compile_quickly = true;
    config.limits = LimitSettings {
        memory_bytes: Some(256 << 20),
        cpu_ms: Some(30_000),
        cpu_setup_ms: Some(60_000),
        wall_clock_ms: Some(120_000),
        output_bytes: Some(64 << 20),
        ..LimitSettings::default()
    };
    let lines = Arc::new(Lines::default());
    let host = PluginHost::with_logs(config, lines.clone()).unwrap();
    let plugin = host
        .load_bytes(Path::new(language), &component)
        .unwrap_or_else(|error| panic!("{}", components::whole(&error, error.hint())));
    Loaded { host, plugin, lines }
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
