//! What the three services have in common: configuration, worker slots, telemetry, admin port, a clean end.

use crate::{
    ServiceArguments,
    admin::Admin,
    client::Client,
    config::Watched,
    failure::Failure,
    memory::{self, Leak},
    server::{self, Instruments},
    telemetry::Telemetry,
    workers::WorkerSlots,
};
use anyhow::Context as _;
use axum::{Router, routing::MethodRouter};
use opentelemetry::{KeyValue, logs::Severity};
use serde::de::DeserializeOwned;
use std::{net::SocketAddr, sync::Arc, time::Duration};
use tokio::signal::unix::{SignalKind, signal};

/// How long requests in progress may take after SIGTERM.
const DRAIN_TIMEOUT: Duration = Duration::from_millis(500);

/// Keys that every service's file has.
pub(crate) trait ServiceConfig: DeserializeOwned + Send + Sync + 'static {
    /// Where requests come in. Read at start only.
    fn listen(&self) -> SocketAddr;
    /// Where `/admin` is. Read at start only.
    fn admin_listen(&self) -> SocketAddr;
    /// Most requests at one time.
    fn workers(&self) -> u32;
    /// How long a request may wait for a worker, in milliseconds.
    fn queue_timeout_ms(&self) -> u64;
}

/// A running service, as its handlers see it.
pub(crate) struct Service<C> {
    /// Signals.
    pub telemetry: Arc<Telemetry>,
    /// For calls to the next service.
    pub client: Client,
    config: Arc<Watched<C>>,
    workers: Arc<WorkerSlots>,
}

impl<C: ServiceConfig> Service<C> {
    /// Runs `work` on a free worker with one snapshot of the configuration; logs what fails.
    ///
    /// # Errors
    /// What `work` says, or 503 if no worker came free in time.
    pub(crate) async fn work<A, F>(&self, work: impl FnOnce(Arc<C>) -> F) -> Result<A, Failure>
    where
        F: Future<Output = Result<A, Failure>>,
    {
        let config = self.config.get();
        let patience = Duration::from_millis(config.queue_timeout_ms());
        let result = match self.workers.take(patience).await {
            Ok(_slot) => work(Arc::clone(&config)).await,
            Err(_overloaded) => Err(Failure::overloaded(config.workers())),
        };
        if let Err(failure) = &result {
            // A callee's failure is for the callee to call an error; here it is a warning.
            let severity = if failure.status.as_u16() == 500 { Severity::Error } else { Severity::Warn };
            self.telemetry.log(severity, &failure.message, &[("error.type", failure.error_type.to_owned())]);
        }
        result
    }
}

/// Starts a service that serves `handler` at `route`, and runs it until SIGTERM or SIGINT.
///
/// # Errors
/// If its configuration cannot be read or its addresses are taken.
pub(crate) async fn run<C: ServiceConfig>(
    name: &'static str,
    arguments: ServiceArguments,
    route: &'static str,
    handler: impl FnOnce() -> MethodRouter<Arc<Service<C>>>,
) -> anyhow::Result<()> {
    if let Some(bytes) = arguments.memory_limit_bytes {
        memory::set_limit(bytes)
            .with_context(|| format!("cannot set the memory limit to `{bytes}` bytes"))?;
    }
    let config = Watched::<C>::open(arguments.config)?;
    let telemetry = Telemetry::start(name, &arguments.otlp_endpoint)?;
    let first = config.get();
    let workers = WorkerSlots::new(first.workers() as usize);
    let service = Arc::new(Service {
        client: Client::new(Arc::clone(&telemetry))?,
        telemetry: Arc::clone(&telemetry),
        config: Arc::clone(&config),
        workers: Arc::clone(&workers),
    });
    observe_process(&telemetry);
    observe_workers(&telemetry, &workers);

    let listener = server::bind(first.listen()).await?;
    let admin_listener = server::bind(first.admin_listen()).await?;
    let (stop, stopping) = tokio::sync::watch::channel(false);
    let router = Router::new().route(route, handler()).with_state(service);
    let router = server::instrumented(router, Instruments::new(Arc::clone(&telemetry), route));
    let mut requests = tokio::spawn(server::serve(listener, router, stopping.clone()));
    let admin = Admin {
        service: name,
        config_version: Box::new({
            let config = Arc::clone(&config);
            move || config.version()
        }),
        leak: Leak::new(),
    };
    let admin = tokio::spawn(server::serve(admin_listener, admin.router(), stopping));
    let watch = tokio::spawn(watch_config(Arc::clone(&config), Arc::clone(&telemetry), workers));
    telemetry.log(
        Severity::Info,
        "started",
        &[
            ("server.address", first.listen().to_string()),
            ("config.file", config.path().display().to_string()),
        ],
    );

    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let ended = tokio::select! {
        ended = &mut requests => Some(ended),
        _ = terminate.recv() => None,
        _ = interrupt.recv() => None,
    };
    telemetry.log(Severity::Info, "stopping", &[]);
    stop.send_replace(true);
    let served = match ended {
        Some(ended) => ended?.with_context(|| format!("cannot serve requests on `{}`", first.listen())),
        None => {
            // Idle connections of callers do not count as work to be waited for.
            let _drained = tokio::time::timeout(DRAIN_TIMEOUT, requests).await;
            Ok(())
        }
    };
    watch.abort();
    admin.abort();
    telemetry.stop().await;
    served
}

async fn watch_config<C: ServiceConfig>(
    config: Arc<Watched<C>>,
    telemetry: Arc<Telemetry>,
    workers: Arc<WorkerSlots>,
) {
    let file = config.path().display().to_string();
    config
        .watch(move |result| match result {
            Ok(config) => {
                workers.resize(config.workers() as usize);
                telemetry.log(Severity::Info, "configuration taken", &[("config.file", file.clone())]);
            }
            Err(error) => {
                let message = format!("configuration refused, the one before stays: {error}");
                telemetry.log(Severity::Error, &message, &[("config.file", file.clone())]);
            }
        })
        .await;
}

/// `process.memory.usage` and, if there is one, `process.memory.limit`.
pub(crate) fn observe_process(telemetry: &Telemetry) {
    telemetry
        .meter
        .i64_observable_up_down_counter("process.memory.usage")
        .with_unit("By")
        .with_description("Physical memory in use.")
        .with_callback(|observer| {
            if let Some(bytes) = memory::usage_bytes() {
                observer.observe(i64::try_from(bytes).unwrap_or(i64::MAX), &[]);
            }
        })
        .build();
    telemetry
        .meter
        .i64_observable_up_down_counter("process.memory.limit")
        .with_unit("By")
        .with_description("Data memory that the kernel lets this process have.")
        .with_callback(|observer| {
            if let Some(bytes) = memory::limit_bytes() {
                observer.observe(i64::try_from(bytes).unwrap_or(i64::MAX), &[]);
            }
        })
        .build();
}

fn observe_workers(telemetry: &Telemetry, workers: &Arc<WorkerSlots>) {
    let slots = Arc::clone(workers);
    telemetry
        .meter
        .u64_observable_gauge("shop.workers")
        .with_unit("{worker}")
        .with_description("Workers that are busy, and requests that wait for one.")
        .with_callback(move |observer| {
            observer.observe(slots.busy(), &[KeyValue::new("state", "busy")]);
            observer.observe(slots.waiting(), &[KeyValue::new("state", "queued")]);
        })
        .build();
}

/// Waits as for a disk or a store: at least `least_ms`, and on top an exponentially distributed time of mean
/// `jitter_mean_ms`, at most five times that.
pub(crate) async fn wait_like_a_disk(least_ms: f64, jitter_mean_ms: f64) {
    let jitter = (-(1.0 - fastrand::f64()).ln()).min(5.0) * jitter_mean_ms;
    tokio::time::sleep(Duration::from_secs_f64((least_ms + jitter) / 1_000.0)).await;
}
