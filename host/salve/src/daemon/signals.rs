//! The thread that owns all series. Everything that touches them is a message to it.
//!
//! ## What always holds
//! - one thread, no locks: requests are applied in the order in which they were accepted
//! - the queue is bounded in requests and bytes; past it, senders are told to come back later
//! - a request is answered once it has been applied, so what was acknowledged is counted
//! - guests who ask without end get at most half of the thread while senders wait

use salve_core::event::ExpectationPoint;
use salve_ingest::{Accepted, Assertions, Refused, Signal, Sink};
use salve_model::{
    Tenant,
    batch::Batch,
    call::{BoxFuture, EdgeStats, SeriesInfo, ServiceStats, Telemetry},
    incident::IncidentId,
    plan::Expectation,
    telemetry::{Change, Measurement, SeriesKey},
    time::Now,
};
use salve_signals::{BindingId, DetectorBinding, Signals, SignalsConfig, TenantView};
use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{
        Arc, PoisonError, RwLock,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};
use tokio::sync::{mpsc, oneshot};

/// Requests that may wait for the thread.
const QUEUE_REQUESTS_MAX: usize = 1_024;

/// What a tick yields for the detectors and the core.
#[derive(Debug)]
pub struct Round {
    /// When.
    pub now: Now,
    /// New points for each detector binding and shard.
    pub batches: Vec<(BindingId, u32, Batch)>,
    /// New points of watched series; `abnormal` is not known yet.
    pub watched: Vec<Measurement>,
    /// New points of series that expectations name.
    pub expected: Vec<ExpectationPoint>,
    /// Calls between services, of the tenants for which they have changed.
    pub topology: Vec<(Tenant, Vec<(String, String)>)>,
}

type Job = Box<dyn FnOnce(&mut Signals) + Send>;

enum Message {
    Request {
        signal: Signal,
        tenant: Tenant,
        bytes: bytes::Bytes,
        now: Now,
        reply: oneshot::Sender<Accepted>,
    },
    Tick(Now),
    Job(Job),
}

/// The way to the thread.
#[derive(Clone)]
pub struct SignalsHandle {
    requests: mpsc::Sender<Message>,
    jobs: mpsc::UnboundedSender<Message>,
    /// Of guests. Each waits for its answer, so there are no more than threads on which guests run.
    questions: mpsc::UnboundedSender<Job>,
    waiting_bytes: Arc<AtomicUsize>,
    waiting_bytes_max: usize,
    clock: super::clock::Clock,
    /// Attributes by which targets of any tenant are selected: what a sender says of them must be granted to it.
    selecting: Arc<RwLock<BTreeSet<String>>>,
}

impl SignalsHandle {
    /// Starts the thread. `rounds` gets what each tick yields. The thread ends when all handles are gone.
    pub fn start(
        config: SignalsConfig,
        waiting_bytes_max: usize,
        clock: super::clock::Clock,
        rounds: mpsc::Sender<Round>,
    ) -> std::io::Result<Self> {
        let (requests, request_queue) = mpsc::channel(QUEUE_REQUESTS_MAX);
        let (jobs, job_queue) = mpsc::unbounded_channel();
        let (questions, question_queue) = mpsc::unbounded_channel();
        let waiting_bytes = Arc::new(AtomicUsize::new(0));
        let handle = Self {
            requests,
            jobs,
            questions,
            waiting_bytes: waiting_bytes.clone(),
            waiting_bytes_max,
            clock,
            selecting: Arc::default(),
        };
        let runtime = tokio::runtime::Builder::new_current_thread().build()?;
        std::thread::Builder::new().name("signals".into()).spawn(move || {
            runtime.block_on(
                Loop {
                    signals: Signals::new(config),
                    topology: Topology::default(),
                    rounds,
                    waiting_bytes,
                    turns: Turns::default(),
                }
                .run(request_queue, job_queue, question_queue),
            );
        })?;
        Ok(handle)
    }

    /// From now on targets are selected by these attributes.
    pub fn select_by(&self, attributes: BTreeSet<String>) {
        *self.selecting.write().unwrap_or_else(PoisonError::into_inner) = attributes;
    }

    /// Telemetry of this tenant, for guests that work for it.
    pub fn telemetry_of(&self, tenant: &Tenant) -> Arc<dyn Telemetry> {
        Arc::new(TenantTelemetry { signals: self.clone(), tenant: tenant.clone() })
    }

    /// Refuses a request in which a sender claims to be what its credential does not cover: forged telemetry must not
    /// select a target.
    fn refuse_assertions(&self, signal: Signal, assertions: &Assertions, bytes: &[u8]) -> Option<Accepted> {
        let selecting = self.selecting.read().unwrap_or_else(PoisonError::into_inner).clone();
        let (items, claim) = super::assertions::first_unproven(signal, assertions, &selecting, bytes)?;
        Some(Accepted {
            accepted: 0,
            rejected: items,
            reason: Some(format!(
                "this credential may not assert {}",
                salve_model::text::escape(&claim, 200)
            )),
        })
    }

    /// Closes buckets and hands out a [`Round`].
    pub fn tick(&self, now: Now) {
        // A send fails only while the daemon stops.
        drop(self.jobs.send(Message::Tick(now)));
    }

    /// Runs `job` on the thread without waiting for it.
    pub fn run(&self, job: impl FnOnce(&mut Signals) + Send + 'static) {
        drop(self.jobs.send(Message::Job(Box::new(job))));
    }

    /// Runs `job` on the thread and waits for its answer; the default if the daemon stops.
    pub async fn ask<T: Default + Send + 'static>(
        &self,
        job: impl FnOnce(&mut Signals) -> T + Send + 'static,
    ) -> T {
        let (reply, answer) = oneshot::channel();
        self.run(move |signals| drop(reply.send(job(signals))));
        answer.await.unwrap_or_default()
    }

    /// Binds a detector to series.
    pub async fn bind(&self, binding: DetectorBinding) -> Option<BindingId> {
        self.ask(move |signals| Some(signals.bind_detector(binding))).await
    }

    /// Replaces what is watched for an incident of this tenant.
    pub fn watch(
        &self,
        incident: IncidentId,
        tenant: Tenant,
        series: Vec<SeriesKey>,
        expectations: Vec<Expectation>,
    ) {
        self.run(move |signals| signals.watch(&incident, &tenant, &series, &expectations));
    }

    /// Keeps a change beside the tenant's series.
    pub fn record_change(&self, tenant: Tenant, change: Change) {
        self.run(move |signals| signals.record_change(&tenant, change));
    }

    fn ask_blocking<T: Default + Send + 'static>(
        &self,
        question: impl FnOnce(&mut Signals) -> T + Send + 'static,
    ) -> T {
        let (reply, answer) = std::sync::mpsc::sync_channel(1);
        let question: Job = Box::new(move |signals| drop(reply.send(question(signals))));
        drop(self.questions.send(question));
        answer.recv().unwrap_or_default()
    }
}

impl Sink for SignalsHandle {
    fn accept(
        &self,
        signal: Signal,
        tenant: Tenant,
        assertions: Option<Arc<Assertions>>,
        bytes: bytes::Bytes,
    ) -> BoxFuture<'_, Result<Accepted, Refused>> {
        Box::pin(async move {
            if let Some(assertions) = assertions
                && let Some(refused) = self.refuse_assertions(signal, &assertions, &bytes)
            {
                return Ok(refused);
            }
            let length = bytes.len();
            let overloaded = Refused::Overloaded { retry_after_ms: 1_000 };
            if self.waiting_bytes.fetch_add(length, Ordering::Relaxed) + length > self.waiting_bytes_max {
                self.waiting_bytes.fetch_sub(length, Ordering::Relaxed);
                return Err(overloaded);
            }
            let (reply, answer) = oneshot::channel();
            let message = Message::Request { signal, tenant, bytes, now: self.clock.now(), reply };
            match self.requests.try_send(message) {
                Ok(()) => answer.await.map_err(|_| Refused::Stopping),
                Err(error) => {
                    self.waiting_bytes.fetch_sub(length, Ordering::Relaxed);
                    Err(match error {
                        mpsc::error::TrySendError::Full(_) => overloaded,
                        mpsc::error::TrySendError::Closed(_) => Refused::Stopping,
                    })
                }
            }
        })
    }
}

struct Loop {
    signals: Signals,
    topology: Topology,
    rounds: mpsc::Sender<Round>,
    waiting_bytes: Arc<AtomicUsize>,
    turns: Turns,
}

/// Whose turn it is while both senders and guests wait: for as long as guests had the thread, senders have it.
#[derive(Debug, Default)]
struct Turns {
    owed_to_senders: Duration,
}

enum Work {
    OfSender(Message),
    OfGuest(Job),
}

impl Turns {
    /// What comes first if both wait, or else whatever comes; nothing any more once both queues are closed.
    async fn next(
        &self,
        requests: &mut mpsc::Receiver<Message>,
        questions: &mut mpsc::UnboundedReceiver<Job>,
    ) -> Work {
        if self.is_of_guests() {
            tokio::select! {
                biased;
                Some(question) = questions.recv() => Work::OfGuest(question),
                Some(request) = requests.recv() => Work::OfSender(request),
                else => std::future::pending().await,
            }
        } else {
            tokio::select! {
                biased;
                Some(request) = requests.recv() => Work::OfSender(request),
                Some(question) = questions.recv() => Work::OfGuest(question),
                else => std::future::pending().await,
            }
        }
    }

    fn is_of_guests(&self) -> bool {
        self.owed_to_senders.is_zero()
    }

    fn guest_had(&mut self, took: Duration) {
        self.owed_to_senders = took;
    }

    fn sender_had(&mut self, took: Duration) {
        self.owed_to_senders = self.owed_to_senders.saturating_sub(took);
    }
}

impl Loop {
    async fn run(
        mut self,
        mut requests: mpsc::Receiver<Message>,
        mut jobs: mpsc::UnboundedReceiver<Message>,
        mut questions: mpsc::UnboundedReceiver<Job>,
    ) {
        loop {
            // Ticks and the daemon's own jobs go first: under load they must not wait behind a full queue of telemetry.
            tokio::select! {
                biased;
                message = jobs.recv() => match message {
                    Some(message) => self.handle(message),
                    None => return,
                },
                work = self.turns.next(&mut requests, &mut questions) => {
                    let begun = Instant::now();
                    match work {
                        Work::OfSender(request) => {
                            self.handle(request);
                            self.turns.sender_had(begun.elapsed());
                        }
                        Work::OfGuest(question) => {
                            question(&mut self.signals);
                            self.turns.guest_had(begun.elapsed());
                        }
                    }
                }
            }
        }
    }

    fn handle(&mut self, message: Message) {
        match message {
            Message::Request { signal, tenant, bytes, now, reply } => {
                let signal = match signal {
                    Signal::Metrics => salve_signals::Signal::Metrics,
                    Signal::Traces => salve_signals::Signal::Traces,
                    Signal::Logs => salve_signals::Signal::Logs,
                };
                let applied = self.signals.apply(signal, &tenant, &bytes, now);
                self.waiting_bytes.fetch_sub(bytes.len(), Ordering::Relaxed);
                drop(reply.send(Accepted {
                    accepted: applied.accepted,
                    rejected: applied.rejected,
                    reason: applied.reason,
                }));
            }
            Message::Tick(now) => self.tick(now),
            Message::Job(job) => job(&mut self.signals),
        }
    }

    fn tick(&mut self, now: Now) {
        self.signals.tick(now);
        // A full channel means that detectors are behind: their batches grow and nothing is lost.
        let Ok(permit) = self.rounds.try_reserve() else { return };
        let (watched, expected) = self.signals.take_watched();
        let topology = self.topology.changed(&self.signals);
        permit.send(Round {
            now,
            batches: self.signals.take_batches(now),
            watched,
            expected: expected
                .into_iter()
                .map(|(incident, index, time, value)| ExpectationPoint { incident, index, time, value })
                .collect(),
            topology,
        });
    }
}

/// Calls between services, as they were told last.
#[derive(Default)]
struct Topology {
    version: u64,
    of_tenants: BTreeMap<Tenant, Vec<(String, String)>>,
}

impl Topology {
    /// The map of each tenant for which it is another one; of one that is not heard of any more, an empty one.
    fn changed(&mut self, signals: &Signals) -> Vec<(Tenant, Vec<(String, String)>)> {
        let version = signals.topology_version();
        if version == self.version {
            return Vec::new();
        }
        self.version = version;
        let maps = signals.tenants().into_iter().map(|tenant| {
            let edges = signals.of(&tenant).topology();
            (tenant, edges)
        });
        let now: BTreeMap<_, _> = maps.filter(|(_, edges)| !edges.is_empty()).collect();
        let gone = self.of_tenants.keys().filter(|tenant| !now.contains_key(*tenant));
        let mut changed: Vec<_> = gone.map(|tenant| (tenant.clone(), Vec::new())).collect();
        let is_news = |(tenant, edges): &(&Tenant, &Vec<_>)| self.of_tenants.get(*tenant) != Some(*edges);
        changed.extend(now.iter().filter(is_news).map(|(tenant, edges)| (tenant.clone(), edges.clone())));
        self.of_tenants = now;
        changed
    }
}

/// Telemetry for guests: of one tenant alone. Each question waits for the signals thread, so call it from a thread that may
/// block.
struct TenantTelemetry {
    signals: SignalsHandle,
    tenant: Tenant,
}

impl TenantTelemetry {
    fn ask<T: Default + Send + 'static>(
        &self,
        question: impl FnOnce(TenantView<'_>) -> T + Send + 'static,
    ) -> T {
        let tenant = self.tenant.clone();
        self.signals.ask_blocking(move |signals| question(signals.of(&tenant)))
    }
}

impl Telemetry for TenantTelemetry {
    fn services(&self, from: u64, to: u64) -> Vec<ServiceStats> {
        self.ask(move |telemetry| telemetry.services(from, to))
    }
    fn edges(&self, from: u64, to: u64) -> Vec<EdgeStats> {
        self.ask(move |telemetry| telemetry.edges(from, to))
    }
    fn changes(&self, from: u64, to: u64) -> Vec<Change> {
        self.ask(move |telemetry| telemetry.changes(from, to))
    }
    fn find(&self, service: &str, name_prefix: &str) -> Vec<SeriesInfo> {
        let (service, name_prefix) = (service.to_owned(), name_prefix.to_owned());
        self.ask(move |telemetry| telemetry.find(&service, &name_prefix))
    }
    fn points(&self, series: u32, from: u64, to: u64) -> Vec<(u64, f64)> {
        self.ask(move |telemetry| telemetry.points(series, from, to))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Guarantees: while both wait, senders get the thread for as long as a guest had it, then the next guest does.
    #[test]
    fn guests_and_senders_take_turns() {
        let ms = Duration::from_millis;
        let mut turns = Turns::default();
        assert!(turns.is_of_guests());
        turns.guest_had(ms(3));
        for took in [1, 1] {
            turns.sender_had(ms(took));
            assert!(!turns.is_of_guests());
        }
        turns.sender_had(ms(5));
        // What senders had beyond that is not held against them.
        assert!(turns.is_of_guests());
        turns.guest_had(ms(1));
        assert!(!turns.is_of_guests());
    }

    /// Scenario: two guests ask one question after the other while a sender exports.
    /// Guarantees: exports are answered while the guests go on, and the guests get answers too.
    #[tokio::test(flavor = "multi_thread")]
    async fn guests_who_ask_without_end_hold_up_nobody() {
        let (rounds, _rounds) = mpsc::channel(2);
        let clock = super::super::clock::Clock::default();
        let signals = SignalsHandle::start(SignalsConfig::default(), 1 << 20, clock, rounds).unwrap();
        let (stop, answers) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
        let guests: Vec<_> = (0..2)
            .map(|_| {
                let (signals, stop, answers) = (signals.clone(), stop.clone(), answers.clone());
                std::thread::spawn(move || {
                    while stop.load(Ordering::Relaxed) == 0 {
                        signals.ask_blocking(|_| std::thread::sleep(Duration::from_millis(2)));
                        answers.fetch_add(1, Ordering::Relaxed);
                    }
                })
            })
            .collect();
        for _ in 0..50 {
            let export = signals.accept(Signal::Metrics, Tenant::default(), None, bytes::Bytes::new());
            let answer = tokio::time::timeout(Duration::from_secs(30), export).await;
            assert!(answer.expect("guests go first without end").is_ok());
        }
        let until = answers.load(Ordering::Relaxed) + 50;
        while answers.load(Ordering::Relaxed) < until {
            tokio::task::yield_now().await;
        }
        stop.store(1, Ordering::Relaxed);
        guests.into_iter().for_each(|guest| guest.join().unwrap());
    }
}
