//! Customers: orders arrive when they arrive, whether or not the shop keeps up (open loop).
//!
//! ## What always holds
//! - the arrivals depend on the seed and the multiplier only, never on how the shop answers
//! - every order ends as `ok` or `failed`, and is counted once, in the second in which it ended

use crate::{
    client::Client,
    gateway::{Order, OrderAnswer},
    inventory::ITEMS,
    rhythm::{self, Rhythm},
    server,
    telemetry::Telemetry,
};
use anyhow::Context as _;
use axum::{
    Json, Router,
    extract::State,
    http::StatusCode,
    routing::{get, put},
};
use opentelemetry::{logs::Severity, metrics::Counter};
use serde::{Deserialize, Serialize};
use std::{
    io::Write,
    net::SocketAddr,
    path::PathBuf,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};
use tokio::signal::unix::{SignalKind, signal};

/// Orders that wait for an answer; one more counts as failed. Far over what the surge and its timeout can make.
const IN_FLIGHT_MAX: u64 = 2_000;

/// What the load is told on the command line.
#[derive(clap::Args, Clone, Debug)]
pub(crate) struct Arguments {
    /// Where `gateway` is.
    #[arg(long, default_value = "http://127.0.0.1:8080")]
    gateway_url: String,
    /// Where traces, metrics and logs go (OTLP gRPC).
    #[arg(long, default_value = "http://127.0.0.1:4317")]
    otlp_endpoint: String,
    /// Loopback address for `GET /admin/status` and `PUT /admin/multiplier`.
    #[arg(long)]
    admin_listen: SocketAddr,
    /// The same seed gives the same customers.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Mean rate of orders.
    #[arg(long, default_value_t = 40.0)]
    orders_per_second: f64,
    /// Length of a compressed day.
    #[arg(long, default_value_t = 20.0)]
    period_seconds: f64,
    /// How far the rate swings around its mean, 0 to 1.
    #[arg(long, default_value_t = 0.25)]
    swing: f64,
    /// How long a customer waits.
    #[arg(long, default_value_t = 1_500)]
    timeout_ms: u64,
    /// One JSON object a second goes here.
    #[arg(long)]
    output: Option<PathBuf>,
}

/// What became of the orders that ended in one second. One line of the output.
#[derive(Debug, Default, Clone, PartialEq, Serialize)]
pub(crate) struct Second {
    /// End of the second.
    pub time_unix_ms: u64,
    /// Orders with an answer.
    pub ok: u64,
    /// Orders without.
    pub failed: u64,
    /// Paid for in this second.
    pub revenue_euros: f64,
    /// 95th percentile over orders that were answered; 0 without any.
    pub latency_p95_ms: f64,
    /// The surge in force.
    pub multiplier: f64,
}

#[derive(Default)]
struct Tally {
    second: Second,
    latencies_ms: Vec<f64>,
}

impl Tally {
    fn close(&mut self, time_unix_ms: u64, multiplier: f64) -> Second {
        let mut second = std::mem::take(&mut self.second);
        let mut latencies = std::mem::take(&mut self.latencies_ms);
        latencies.sort_by(f64::total_cmp);
        // Nearest rank.
        let rank = (latencies.len() * 95).div_ceil(100);
        second.latency_p95_ms =
            rank.checked_sub(1).and_then(|index| latencies.get(index)).copied().unwrap_or(0.0);
        second.time_unix_ms = time_unix_ms;
        second.multiplier = multiplier;
        second
    }
}

struct Customers {
    arguments: Arguments,
    telemetry: Arc<Telemetry>,
    client: Client,
    /// Bits of an `f64`.
    multiplier: AtomicU64,
    in_flight: AtomicU64,
    ok: AtomicU64,
    failed: AtomicU64,
    tally: Mutex<Tally>,
    orders: Counter<u64>,
    orders_failed: Counter<u64>,
    revenue: Counter<f64>,
}

#[derive(Serialize)]
struct Status {
    service: &'static str,
    pid: u32,
    multiplier: f64,
    ok: u64,
    failed: u64,
    in_flight: u64,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct MultiplierRequest {
    multiplier: f64,
}

impl Customers {
    fn new(arguments: Arguments, telemetry: Arc<Telemetry>) -> anyhow::Result<Arc<Self>> {
        let meter = &telemetry.meter;
        let orders = meter
            .u64_counter("shop.orders")
            .with_unit("{order}")
            .with_description("Orders that were answered.")
            .build();
        let orders_failed = meter
            .u64_counter("shop.orders.failed")
            .with_unit("{order}")
            .with_description("Orders that failed or took too long.")
            .build();
        let revenue = meter
            .f64_counter("shop.revenue")
            .with_unit("EUR")
            .with_description("What customers have paid.")
            .build();
        // A counter that nobody has touched is not exported: zero failures should be seen as zero.
        orders.add(0, &[]);
        orders_failed.add(0, &[]);
        revenue.add(0.0, &[]);
        Ok(Arc::new(Self {
            client: Client::new(Arc::clone(&telemetry))?,
            multiplier: AtomicU64::new(1.0_f64.to_bits()),
            in_flight: AtomicU64::new(0),
            ok: AtomicU64::new(0),
            failed: AtomicU64::new(0),
            tally: Mutex::new(Tally::default()),
            orders,
            orders_failed,
            revenue,
            arguments,
            telemetry,
        }))
    }

    fn multiplier(&self) -> f64 {
        f64::from_bits(self.multiplier.load(Ordering::Relaxed))
    }

    fn status(&self) -> Status {
        Status {
            service: self.telemetry.service(),
            pid: std::process::id(),
            multiplier: self.multiplier(),
            ok: self.ok.load(Ordering::Relaxed),
            failed: self.failed.load(Ordering::Relaxed),
            in_flight: self.in_flight.load(Ordering::Relaxed),
        }
    }

    async fn order(&self, order: Order) {
        let started = Instant::now();
        let timeout = Duration::from_millis(self.arguments.timeout_ms);
        let answer: Result<OrderAnswer, _> =
            self.client.post(&self.arguments.gateway_url, "/orders", &order, timeout).await;
        match answer {
            Ok(answer) => {
                self.ok.fetch_add(1, Ordering::Relaxed);
                self.orders.add(1, &[]);
                self.revenue.add(answer.total, &[]);
                let mut tally = self.tally.lock().unwrap_or_else(PoisonError::into_inner);
                tally.second.ok += 1;
                tally.second.revenue_euros += answer.total;
                tally.latencies_ms.push(started.elapsed().as_secs_f64() * 1_000.0);
            }
            Err(_failure) => self.count_failed(),
        }
        self.in_flight.fetch_sub(1, Ordering::Relaxed);
    }

    fn count_failed(&self) {
        self.failed.fetch_add(1, Ordering::Relaxed);
        self.orders_failed.add(1, &[]);
        self.tally.lock().unwrap_or_else(PoisonError::into_inner).second.failed += 1;
    }

    /// Places orders for ever.
    async fn arrive(self: Arc<Self>) {
        let mut random = fastrand::Rng::with_seed(self.arguments.seed);
        let mut rhythm = Rhythm::new(
            self.arguments.orders_per_second,
            self.arguments.period_seconds,
            self.arguments.swing.clamp(0.0, 1.0),
        );
        let start = tokio::time::Instant::now();
        let (mut before, mut next) = (start, start);
        let mut multiplier = self.multiplier();
        loop {
            multiplier = rhythm::ease(multiplier, self.multiplier(), (next - before).as_secs_f64());
            before = next;
            let rate = rhythm.rate((next - start).as_secs_f64(), &mut random) * multiplier;
            let Some(pause) = rhythm::pause_seconds(rate, &mut random) else {
                next += Duration::from_secs(1);
                tokio::time::sleep_until(next).await;
                continue;
            };
            next += Duration::from_secs_f64(pause);
            // Arrivals that a busy machine delayed come at once: the mean rate is kept.
            tokio::time::sleep_until(next).await;
            let item = random.choice(ITEMS).map_or("tea", |(name, _)| name);
            let order = Order { item: item.to_owned(), quantity: random.u32(1..=3) };
            if self.in_flight.fetch_add(1, Ordering::Relaxed) >= IN_FLIGHT_MAX {
                self.in_flight.fetch_sub(1, Ordering::Relaxed);
                self.count_failed();
                continue;
            }
            let customers = Arc::clone(&self);
            tokio::spawn(async move { customers.order(order).await });
        }
    }

    /// Writes a line each second.
    async fn report(self: Arc<Self>, mut output: Option<std::fs::File>) -> std::io::Result<()> {
        let mut clock = tokio::time::interval(Duration::from_secs(1));
        clock.tick().await;
        loop {
            clock.tick().await;
            let unix_ms =
                SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_millis() as u64);
            let second =
                self.tally.lock().unwrap_or_else(PoisonError::into_inner).close(unix_ms, self.multiplier());
            if let Some(file) = &mut output {
                let mut line = serde_json::to_string(&second)?;
                line.push('\n');
                // One write for a line, so that a reader never sees half of it.
                file.write_all(line.as_bytes())?;
            }
        }
    }
}

/// Runs the load until SIGTERM or SIGINT.
///
/// # Errors
/// If its address is taken or its output cannot be written.
pub(crate) async fn run(arguments: Arguments) -> anyhow::Result<()> {
    // Not a service: nobody calls customers, they only complain.
    let telemetry = Telemetry::start("customers", &arguments.otlp_endpoint)?;
    let output = match &arguments.output {
        Some(path) => Some(
            std::fs::File::options()
                .create(true)
                .append(true)
                .open(path)
                .with_context(|| format!("cannot write to `{}`", path.display()))?,
        ),
        None => None,
    };
    let listener = server::bind(arguments.admin_listen).await?;
    let customers = Customers::new(arguments, Arc::clone(&telemetry))?;
    let router = Router::new()
        .route(
            "/admin/status",
            get(|State(customers): State<Arc<Customers>>| async move { Json(customers.status()) }),
        )
        .route("/admin/multiplier", put(set_multiplier))
        .with_state(Arc::clone(&customers));
    let (_stop, stopping) = tokio::sync::watch::channel(false);
    let admin = tokio::spawn(server::serve(listener, router, stopping));
    let arrivals = tokio::spawn(Arc::clone(&customers).arrive());
    let mut report = tokio::spawn(Arc::clone(&customers).report(output));
    telemetry.log(Severity::Info, "started", &[("seed", customers.arguments.seed.to_string())]);

    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let ended = tokio::select! {
        ended = &mut report => ended?.context("cannot write the report of orders"),
        _ = terminate.recv() => Ok(()),
        _ = interrupt.recv() => Ok(()),
    };
    arrivals.abort();
    admin.abort();
    telemetry.stop().await;
    ended
}

async fn set_multiplier(
    State(customers): State<Arc<Customers>>,
    Json(request): Json<MultiplierRequest>,
) -> Result<Json<Status>, (StatusCode, String)> {
    if !(0.0..=100.0).contains(&request.multiplier) {
        return Err((
            StatusCode::BAD_REQUEST,
            format!("multiplier `{}` is not within 0 to 100", request.multiplier),
        ));
    }
    customers.multiplier.store(request.multiplier.to_bits(), Ordering::Relaxed);
    Ok(Json(customers.status()))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Guarantees: a second closes with the nearest-rank 95th percentile and starts afresh.
    #[test]
    fn closes_seconds() {
        let mut tally = Tally::default();
        tally.second.ok = 100;
        tally.latencies_ms = (1..=100).rev().map(f64::from).collect();
        let second = tally.close(5_000, 2.5);
        assert_eq!((second.ok, second.latency_p95_ms, second.time_unix_ms), (100, 95.0, 5_000));
        assert_eq!(
            tally.close(6_000, 1.0),
            Second { time_unix_ms: 6_000, multiplier: 1.0, ..Second::default() }
        );
    }
}
