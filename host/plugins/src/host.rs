//! The plugin host: from a file to a plugin that can be called.

use crate::{
    admission::{self, Refusal},
    bindings::exports::salve::plugin::{consult, detect},
    cache::{Cache, CacheError},
    compiler,
    computing::Shares,
    config::{HostConfig, Limits},
    contract::{self, ContractVersion},
    counters::{Counters, PluginCounters},
    engine,
    error::{GuestError, GuestErrorKind},
    guest::{GuestState, PluginIdentity},
    guest_log::{LogSink, TracingSink},
    identified::Identified,
    manifest::{Manifest, ManifestError, Role},
    meter::Ticker,
    parameters::ParameterSchema,
    turns::Turns,
};
use salve_model::text::escape;
use std::{
    collections::VecDeque,
    io,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, OnceLock, PoisonError},
    time::{Duration, Instant},
};
use tokio::runtime::Runtime;
use wasmtime::{
    Engine,
    component::{Component, ComponentExportIndex, InstancePre},
};

/// See `Plugin::blame_for_once`.
const OVERRUN_EXCUSED_EVERY: Duration = Duration::from_secs(60);
/// Largest component that is compiled among the small ones, in bytes.
const SMALL_BYTES_MAX: usize = 256 << 10;

/// Why there is no plugin host.
#[derive(Debug, thiserror::Error)]
pub enum PluginError {
    /// wasmtime refuses its settings.
    #[error("cannot set up wasmtime: {message}")]
    Engine {
        /// wasmtime's words.
        message: String,
    },
    /// No folder for compiled plugins.
    #[error("cannot use the folder for compiled plugins")]
    Cache(#[source] CacheError),
    /// No threads.
    #[error("cannot start the threads on which plugins run")]
    Threads(#[source] io::Error),
}

/// Why a file did not become a plugin.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    /// It cannot be read.
    #[error("cannot read plugin `{}`", path.display())]
    Read {
        /// Which file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// It is too large to be read.
    #[error("plugin `{}` is larger than {limit_bytes} bytes", path.display())]
    TooLarge {
        /// Which file.
        path: PathBuf,
        /// `component_bytes_max`.
        limit_bytes: u64,
    },
    /// It was changed in place while it was loaded, or before, in a way that does not show in its times.
    #[error("plugin `{}` is not what was read of it before", path.display())]
    Changed {
        /// Which file.
        path: PathBuf,
    },
    /// What it says about itself is refused.
    #[error("plugin `{}` has no valid manifest", path.display())]
    Manifest {
        /// Which file.
        path: PathBuf,
        /// Why.
        source: ManifestError,
    },
    /// It is not what its manifest says.
    #[error("plugin `{}` is not admitted", path.display())]
    Refused {
        /// Which file.
        path: PathBuf,
        /// Why.
        source: Refusal,
    },
    /// It wants more than the operator gives.
    #[error("plugin `{plugin}` asks for {limit} = {asked}, its limit is {allowed}")]
    Limits {
        /// Which plugin.
        plugin: String,
        /// Which limit.
        limit: &'static str,
        /// What it asks for.
        asked: u64,
        /// What it may have.
        allowed: u64,
    },
    /// wasmtime cannot make native code of it.
    #[error("cannot compile plugin `{}`: {message}", path.display())]
    Compile {
        /// Which file.
        path: PathBuf,
        /// wasmtime's words, escaped.
        message: String,
    },
}

impl LoadError {
    /// What the author or operator can do about it.
    #[must_use]
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::Manifest { source, .. } => source.hint(),
            Self::Refused { source, .. } => source.hint(),
            Self::TooLarge { limit_bytes, .. } => Some(format!(
                "If it has to be so large, raise the bound in salve.toml:\n[plugins]\ncomponent_bytes_max = {}",
                limit_bytes.saturating_mul(2)
            )),
            Self::Limits { plugin, limit, asked, .. } => {
                Some(format!("Allow it in salve.toml:\n[plugins.limits_of.{plugin}]\n{limit} = {asked}"))
            }
            Self::Changed { .. } => {
                Some("Write it again, under another name, and put it in place by renaming.".into())
            }
            Self::Read { .. } | Self::Compile { .. } => None,
        }
    }
}

/// Runs plugins. Cheap to clone; all clones are one host.
#[derive(Clone)]
pub struct PluginHost(pub(crate) Arc<HostInner>);

pub(crate) struct HostInner {
    pub(crate) config: HostConfig,
    pub(crate) engine: Engine,
    pub(crate) ticker: Ticker,
    pub(crate) logs: Arc<dyn LogSink>,
    pub(crate) calls: Turns,
    pub(crate) cache: Cache,
    /// Of small and of large components.
    compiling: [Mutex<()>; 2],
    /// Taken when the host is dropped.
    runtime: Option<Runtime>,
    pub(crate) guests: tokio::runtime::Handle,
}

impl Drop for HostInner {
    fn drop(&mut self) {
        // Not by waiting: this may be dropped on an async thread.
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

/// How loading went.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LoadStats {
    /// Size of the file.
    pub size_bytes: usize,
    /// Native code came from the cache.
    pub from_cache: bool,
    /// From opening the file to a plugin that can be called.
    pub elapsed: Duration,
}

/// A plugin that can be called.
pub struct Plugin {
    pub(crate) identity: Arc<PluginIdentity>,
    pub(crate) pre: InstancePre<GuestState>,
    pub(crate) exports: Exports,
    path: PathBuf,
    stats: LoadStats,
    /// Made when it is needed: most plugins that load are not called soon.
    parameters: OnceLock<ParameterSchema>,
    reads_telemetry: bool,
    quarantine: Quarantine,
}

/// Where the role's functions are.
pub(crate) enum Exports {
    Detector(detect::GuestIndices),
    Agent(consult::GuestIndices),
    Action(ActionExports),
}

/// Where an action's functions are. Each call is to one of them, and only that one is looked up in its instance: the types of
/// all three are a tenth of a short call.
pub(crate) struct ActionExports {
    pub(crate) plan: ComponentExportIndex,
    pub(crate) execute: ComponentExportIndex,
    pub(crate) undo: ComponentExportIndex,
}

/// Recent faults.
struct Quarantine {
    traps_max: u32,
    window: Duration,
    /// Not longer than `traps_max`.
    faults: Mutex<VecDeque<(Instant, String)>>,
    /// When a call that was too long once was last held to be the machine's doing.
    excused: Mutex<Option<Instant>>,
}

impl std::fmt::Debug for Plugin {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Plugin")
            .field("name", &self.name())
            .field("digest", &self.digest())
            .finish_non_exhaustive()
    }
}

impl std::fmt::Debug for PluginHost {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("PluginHost").field("config", &self.0.config).finish_non_exhaustive()
    }
}

impl Plugin {
    /// What it says about itself.
    #[must_use]
    pub fn manifest(&self) -> &Manifest {
        &self.identity.manifest
    }

    /// Its name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.identity.manifest.name.0
    }

    /// What it is.
    #[must_use]
    pub fn role(&self) -> Role {
        self.identity.manifest.role
    }

    /// SHA-256 of its file, lower-case hex.
    #[must_use]
    pub fn digest(&self) -> &str {
        &self.identity.digest
    }

    /// Where it was loaded from.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// How loading went.
    #[must_use]
    pub fn stats(&self) -> LoadStats {
        self.stats
    }

    /// What its guests may use up.
    #[must_use]
    pub fn limits(&self) -> &Limits {
        &self.identity.limits
    }

    /// What it did and cost so far.
    #[must_use]
    pub fn counters(&self) -> Counters {
        self.identity.counters.read()
    }

    /// It imports the interface through which telemetry is read; what it has read it could send on.
    #[must_use]
    pub fn reads_telemetry(&self) -> bool {
        self.reads_telemetry
    }

    /// Instructions are counted, in `fuel_total`.
    #[must_use]
    pub fn counts_fuel(&self) -> bool {
        self.identity.count_fuel
    }

    /// Why it is not called any more: it trapped too often within the time that `quarantine_window_ms` gives.
    #[must_use]
    pub fn quarantine(&self) -> Option<GuestErrorKind> {
        let faults = self.quarantine.faults.lock().unwrap_or_else(PoisonError::into_inner);
        let traps = u32::try_from(faults.len()).unwrap_or(u32::MAX);
        // Full only if `traps_max` faults fell into one window; nothing removes them then.
        let (_, latest) = faults.back()?;
        (traps >= self.quarantine.traps_max)
            .then(|| GuestErrorKind::Quarantined { traps, latest: latest.clone() })
    }

    /// Messages of the faults that count towards quarantine now, oldest first; at most `quarantine_traps`.
    #[must_use]
    pub fn recent_faults(&self) -> Vec<String> {
        let faults = self.quarantine.faults.lock().unwrap_or_else(PoisonError::into_inner);
        faults.iter().map(|(_, words)| words.clone()).collect()
    }

    /// Notes a fault of the plugin.
    pub(crate) fn blame(&self, kind: &GuestErrorKind) {
        if !kind.is_fault() {
            return;
        }
        let now = Instant::now();
        let mut faults = self.quarantine.faults.lock().unwrap_or_else(PoisonError::into_inner);
        let traps_max = usize::try_from(self.quarantine.traps_max).unwrap_or(usize::MAX);
        if faults.len() >= traps_max {
            return;
        }
        while faults.front().is_some_and(|(at, _)| now.duration_since(*at) > self.quarantine.window) {
            faults.pop_front();
        }
        faults.push_back((now, kind.to_string()));
        if faults.len() >= traps_max {
            tracing::error!(plugin = %self.name(), traps = faults.len(), latest = %kind, "Plugin is in quarantine.");
        }
    }

    /// Counts a failure that did not come again on the same input. Of too long a call, one in [`OVERRUN_EXCUSED_EVERY`] is held
    /// to be the machine's: a virtual one may be stopped in the middle of a call, and counts that as CPU time.
    pub(crate) fn blame_for_once(&self, kind: &GuestErrorKind) {
        if matches!(kind, GuestErrorKind::Cpu { .. } | GuestErrorKind::WallClock { .. }) {
            let mut excused = self.quarantine.excused.lock().unwrap_or_else(PoisonError::into_inner);
            if excused.is_none_or(|at| at.elapsed() >= OVERRUN_EXCUSED_EVERY) {
                *excused = Some(Instant::now());
                return;
            }
        }
        self.blame(kind);
    }

    /// Names the plugin and call of a failure.
    pub(crate) fn error(&self, call: &'static str, kind: GuestErrorKind) -> GuestError {
        GuestError { plugin: self.name().to_owned(), call, kind }
    }

    /// Refuses a call of a plugin in quarantine.
    pub(crate) fn check_quarantine(&self, call: &'static str) -> Result<(), GuestError> {
        match self.quarantine() {
            None => Ok(()),
            Some(kind) => {
                self.identity.counters.failure(&kind);
                Err(self.error(call, kind))
            }
        }
    }

    /// Checks parameters against the manifest's schema.
    ///
    /// # Errors
    /// [`GuestErrorKind::Parameters`] names the first value that does not fit.
    pub fn check_parameters(&self, json: &str) -> Result<(), GuestErrorKind> {
        let wrong = |reason: String| GuestErrorKind::Parameters { reason: escape(&reason, 300) };
        let schema = match self.parameters.get() {
            Some(schema) => schema,
            None => {
                let schema = ParameterSchema::new(&self.identity.manifest.parameters)
                    .map_err(|error| wrong(error.to_string()))?;
                self.parameters.get_or_init(|| schema)
            }
        };
        let limit_bytes = crate::manifest::BYTES_MAX;
        if json.len() > limit_bytes {
            return Err(wrong(format!("longer than {limit_bytes} bytes")));
        }
        let value = serde_json::from_str(json).map_err(|error| wrong(format!("not JSON: {error}")))?;
        schema.check(&value).map_err(wrong)
    }
}

impl PluginHost {
    /// Starts a host; guests log to `tracing`, target `salve::plugin`.
    ///
    /// # Errors
    /// [`PluginError`]: wasmtime, the cache folder or threads are not to be had.
    pub fn new(config: HostConfig) -> Result<Self, PluginError> {
        Self::with_logs(config, Arc::new(TracingSink))
    }

    /// Starts a host whose guests log to `logs`.
    ///
    /// # Errors
    /// [`PluginError`]: wasmtime, the cache folder or threads are not to be had.
    pub fn with_logs(mut config: HostConfig, logs: Arc<dyn LogSink>) -> Result<Self, PluginError> {
        config.guest_threads = config.guest_threads.max(1);
        let engine =
            engine::engine(&config).map_err(|error| PluginError::Engine { message: format!("{error:#}") })?;
        let cache =
            Cache::open(&config.cache_dir, config.cache_bytes_max, &engine).map_err(PluginError::Cache)?;
        let ticker = Ticker::start(&engine).map_err(PluginError::Threads)?;
        let niceness = config.guest_niceness;
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(config.guest_threads)
            .thread_name("salve-guest")
            .enable_all()
            // A turn may last as long as a tick: new calls, timers and answers do not wait for the usual sixty of them.
            .global_queue_interval(2)
            .event_interval(4)
            .on_thread_start(move || lower_thread_priority(niceness))
            .build()
            .map_err(PluginError::Threads)?;
        let guests = runtime.handle().clone();
        let calls = Turns::new(usize::try_from(config.calls_max).unwrap_or(1));
        Ok(Self(Arc::new(HostInner {
            config,
            engine,
            ticker,
            logs,
            calls,
            cache,
            compiling: Default::default(),
            runtime: Some(runtime),
            guests,
        })))
    }

    /// The settings it was started with.
    #[must_use]
    pub fn config(&self) -> &HostConfig {
        &self.0.config
    }

    /// Threads on which guests run, for callers that drive detectors themselves.
    #[must_use]
    pub fn guest_threads(&self) -> &tokio::runtime::Handle {
        &self.0.guests
    }

    /// Loads a component: finds its digest, checks its manifest and type, compiles it or takes what was compiled before.
    /// Takes up to half a minute for a large component that is new; call it where waiting is allowed.
    ///
    /// # Errors
    /// [`LoadError`] names the step that failed; [`LoadError::hint`] says what to do.
    pub fn load(&self, path: &Path) -> Result<Arc<Plugin>, LoadError> {
        let began = Instant::now();
        self.load_since(&self.identify(path)?, began)
    }

    /// Loads a component that was read already; `path` is for messages.
    ///
    /// # Errors
    /// As [`PluginHost::load`].
    pub fn load_bytes(&self, path: &Path, bytes: &[u8]) -> Result<Arc<Plugin>, LoadError> {
        let began = Instant::now();
        self.load_since(&self.identify_bytes(path, bytes)?, began)
    }

    /// Loads a component whose digest was asked for already.
    ///
    /// # Errors
    /// As [`PluginHost::load`].
    pub fn load_identified(&self, component: &Identified<'_>) -> Result<Arc<Plugin>, LoadError> {
        self.load_since(component, Instant::now())
    }

    /// One at a time, since each uses as many cores as there are; but small ones, which are soon done, do not wait for large
    /// ones, which may take minutes. Who waited may find that another load has compiled the same.
    fn compile(&self, bytes: &[u8], digest: &str) -> Result<Component, String> {
        let host = &*self.0;
        let [small, large] = &host.compiling;
        let turns = if bytes.len() <= SMALL_BYTES_MAX { small } else { large };
        let _turn = turns.lock().unwrap_or_else(PoisonError::into_inner);
        match host.cache.load(&host.engine, digest) {
            Some(component) => Ok(component),
            None => compiler::compile(&host.config, &host.engine, &host.cache, bytes, digest),
        }
    }

    fn load_since(&self, component: &Identified<'_>, began: Instant) -> Result<Arc<Plugin>, LoadError> {
        let (path, digest, manifest) = (component.path(), component.digest(), component.manifest());
        let compile = |error: wasmtime::Error| LoadError::Compile {
            path: path.to_owned(),
            message: escape(&format!("{error:#}"), 500),
        };
        let limits =
            self.0.config.limits_of(&manifest.name.0, manifest.role).lowered(&manifest.limits).map_err(
                |(limit, asked, allowed)| LoadError::Limits {
                    plugin: manifest.name.0.clone(),
                    limit,
                    asked,
                    allowed,
                },
            )?;

        let engine = &self.0.engine;
        let cached = self.0.cache.load(engine, digest);
        let from_cache = cached.is_some();
        let (native, parameters) = match cached {
            // All that follows was found good before it was compiled.
            Some(native) => (native, OnceLock::new()),
            None => {
                let schema = ParameterSchema::new(&manifest.parameters)
                    .map_err(|source| LoadError::Manifest { path: path.to_owned(), source })?;
                let bytes = component.bytes()?;
                admission::admit(bytes, manifest)
                    .map_err(|source| LoadError::Refused { path: path.to_owned(), source })?;
                let native = self
                    .compile(bytes, digest)
                    .map_err(|message| LoadError::Compile { path: path.to_owned(), message })?;
                (native, OnceLock::from(schema))
            }
        };
        let pre = engine::linker(engine, manifest)
            .and_then(|linker| linker.instantiate_pre(&native))
            .map_err(compile)?;
        let exports = ContractVersion::named(&manifest.contract)
            .ok_or_else(|| wasmtime::Error::msg("its contract version is not served"))
            .and_then(|version| version.exports(manifest.role, &pre))
            .map_err(compile)?;
        let reads_telemetry =
            native.component_type().imports(engine).any(|(name, _)| contract::is_telemetry(name));
        let stats = LoadStats { size_bytes: component.size_bytes(), from_cache, elapsed: began.elapsed() };
        // Only now: of what is refused nothing is kept.
        component.keep();
        let counters = PluginCounters::default();
        let config = &self.0.config;
        Ok(Arc::new(Plugin {
            identity: Arc::new(PluginIdentity {
                manifest: manifest.clone(),
                digest: digest.to_owned(),
                limits,
                counters,
                computing: Shares::new(config.guest_threads),
                virtual_clock: config.virtual_clock,
                count_fuel: config.count_fuel,
            }),
            pre,
            exports,
            path: path.to_owned(),
            stats,
            parameters,
            reads_telemetry,
            quarantine: Quarantine {
                traps_max: config.quarantine_traps.max(1),
                window: Duration::from_millis(config.quarantine_window_ms),
                faults: Mutex::new(VecDeque::new()),
                excused: Mutex::new(None),
            },
        }))
    }
}

/// Makes the calling thread nicer than the rest of the process. Failing to is harmless.
fn lower_thread_priority(niceness: u8) {
    if let Err(error) = rustix::process::nice(i32::from(niceness.min(19))) {
        tracing::debug!(%error, "Guest threads keep the process's priority.");
    }
}
