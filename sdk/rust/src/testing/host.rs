//! A scripted host: the state of some targets, and what was called on them.
//!
//! ## What always holds
//! - writes outside `execute` and `undo`, and writes that no step of the plan licenses, are refused
//! - a refused or failed call changes nothing
//! - without an installed host every call fails, every telemetry answer is empty and the clock stands at 0

use crate::{
    CallError, Denied, Proposal, Receipt, Step,
    config::Version,
    http::{Request as HttpRequest, Response as HttpResponse},
    log::Level,
    process::ProcessStatus,
    telemetry::{Change, EdgeStats, Point, SeriesInfo, ServiceStats},
};
use std::{cell::RefCell, collections::BTreeMap, rc::Rc};

/// Unix nanoseconds at which a fake host's clock begins: 2026-01-01.
pub const EPOCH_NS: u64 = 1_767_225_600_000_000_000;

/// What the host licenses at the moment.
#[derive(Debug, Clone, Default)]
pub(super) enum Phase {
    /// No writes.
    #[default]
    Plan,
    /// The steps of the plan.
    Execute(Proposal),
    /// The inverses of the steps of the plan.
    Undo(Proposal),
}

/// Makes the answers to HTTP calls.
struct Handler(Box<dyn FnMut(&HttpRequest) -> HttpResponse>);

impl std::fmt::Debug for Handler {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Handler")
    }
}

#[derive(Debug)]
struct State {
    now: u64,
    phase: Phase,
    dry_run: bool,
    processes: BTreeMap<String, ProcessStatus>,
    config: BTreeMap<(String, String), Vec<Version>>,
    answers: BTreeMap<(String, String), HttpResponse>,
    handler: Option<Handler>,
    requests: Vec<HttpRequest>,
    messages: Vec<(String, Vec<(String, String)>)>,
    failures: Vec<(String, CallError)>,
    receipts: Vec<Receipt>,
    logs: Vec<(Level, String)>,
    start_delay_ms: u64,
    starting: BTreeMap<String, u64>,
    services: Vec<(u64, u64, ServiceStats)>,
    edges: Vec<(u64, u64, EdgeStats)>,
    changes: Vec<Change>,
    series: Vec<(SeriesInfo, Vec<Point>)>,
}

/// A scripted host. Clones share their state.
#[derive(Debug, Clone)]
pub struct FakeHost(Rc<RefCell<State>>);

impl Default for FakeHost {
    fn default() -> Self {
        Self::new()
    }
}

thread_local! {
    static INSTALLED: RefCell<Option<FakeHost>> = const { RefCell::new(None) };
}

impl FakeHost {
    /// A host without any target.
    #[must_use]
    pub fn new() -> Self {
        Self(Rc::new(RefCell::new(State {
            now: EPOCH_NS,
            phase: Phase::Plan,
            dry_run: false,
            processes: BTreeMap::new(),
            config: BTreeMap::new(),
            answers: BTreeMap::new(),
            handler: None,
            requests: Vec::new(),
            messages: Vec::new(),
            failures: Vec::new(),
            receipts: Vec::new(),
            logs: Vec::new(),
            start_delay_ms: 0,
            starting: BTreeMap::new(),
            services: Vec::new(),
            edges: Vec::new(),
            changes: Vec::new(),
            series: Vec::new(),
        })))
    }

    fn with(self, change: impl FnOnce(&mut State)) -> Self {
        change(&mut self.0.borrow_mut());
        self
    }

    /// Adds a target with a running process.
    #[must_use]
    pub fn process(self, target: &str) -> Self {
        self.with(|state| {
            let pid = 100 + u32::try_from(state.processes.len()).unwrap_or(0);
            let status = running(pid, state.now);
            state.processes.insert(target.into(), status);
        })
    }

    /// Sets how a target's process is.
    #[must_use]
    pub fn process_status(self, target: &str, status: ProcessStatus) -> Self {
        self.with(|state| {
            state.processes.insert(target.into(), status);
        })
    }

    /// Started processes are `exited` until this much of the clock has passed. Default 0.
    #[must_use]
    pub fn start_delay_ms(self, delay_ms: u64) -> Self {
        self.with(|state| state.start_delay_ms = delay_ms)
    }

    /// Adds a version of a configuration key; the last one added is in force. `good`: it proved itself.
    #[must_use]
    pub fn config(self, target: &str, key: &str, value: Option<&str>, good: bool) -> Self {
        self.with(|state| {
            let since = state.now;
            state.now += 1_000_000_000;
            let versions = state.config.entry((target.into(), key.into())).or_default();
            versions.insert(0, Version { value: value.map(Into::into), since, good });
        })
    }

    /// Sets the answer to HTTP calls of a path; other paths answer 404.
    #[must_use]
    pub fn answer(self, target: &str, path: &str, status: u16, body: &str) -> Self {
        self.with(|state| {
            let response = HttpResponse { status, headers: Vec::new(), body: body.into() };
            state.answers.insert((target.into(), path.into()), response);
        })
    }

    /// Lets `handler` answer all HTTP calls that are licensed: a server with a state of its own. It must not use this host.
    #[must_use]
    pub fn handle_http(self, handler: impl FnMut(&HttpRequest) -> HttpResponse + 'static) -> Self {
        self.with(|state| state.handler = Some(Handler(Box::new(handler))))
    }

    /// Lets the next call of `capability.verb` fail, for instance `process.restart`.
    #[must_use]
    pub fn fail_next(self, call: &str, error: CallError) -> Self {
        self.with(|state| state.failures.push((call.into(), error)))
    }

    /// Checks writes and answers with receipts that are not `applied`.
    #[must_use]
    pub fn dry_run(self) -> Self {
        self.with(|state| state.dry_run = true)
    }

    /// Adds what telemetry says of a service between two times. A question about a window is answered by the entry
    /// that overlaps it most.
    #[must_use]
    pub fn service(self, from: u64, to: u64, stats: ServiceStats) -> Self {
        self.with(|state| state.services.push((from, to, stats)))
    }

    /// Adds what telemetry says of an edge between two times.
    #[must_use]
    pub fn edge(self, from: u64, to: u64, stats: EdgeStats) -> Self {
        self.with(|state| state.edges.push((from, to, stats)))
    }

    /// Adds a change event.
    #[must_use]
    pub fn change(self, change: Change) -> Self {
        self.with(|state| state.changes.push(change))
    }

    /// Adds a series with its points, oldest first.
    #[must_use]
    pub fn series(self, info: SeriesInfo, points: Vec<Point>) -> Self {
        self.with(|state| state.series.push((info, points)))
    }

    /// Moves the clock.
    pub fn set_now(&self, now: u64) {
        self.0.borrow_mut().now = now;
    }

    /// Unix nanoseconds.
    #[must_use]
    pub fn now(&self) -> u64 {
        self.0.borrow().now
    }

    /// All receipts so far, oldest first.
    #[must_use]
    pub fn receipts(&self) -> Vec<Receipt> {
        self.0.borrow().receipts.clone()
    }

    /// The value of a configuration key.
    #[must_use]
    pub fn config_value(&self, target: &str, key: &str) -> Option<String> {
        self.0.borrow().config.get(&(target.to_string(), key.to_string()))?.first()?.value.clone()
    }

    /// How a target's process is.
    #[must_use]
    pub fn process_now(&self, target: &str) -> Option<ProcessStatus> {
        self.0.borrow().processes.get(target).cloned()
    }

    /// HTTP requests that were made, reads included, oldest first.
    #[must_use]
    pub fn requests(&self) -> Vec<HttpRequest> {
        self.0.borrow().requests.clone()
    }

    /// Messages that were sent: target and fields, oldest first.
    #[must_use]
    pub fn messages(&self) -> Vec<(String, Vec<(String, String)>)> {
        self.0.borrow().messages.clone()
    }

    /// What was logged, oldest first.
    #[must_use]
    pub fn logs(&self) -> Vec<(Level, String)> {
        self.0.borrow().logs.clone()
    }

    /// Runs `call` with this host answering the thread's calls.
    pub(super) fn run<T>(&self, phase: Phase, call: impl FnOnce() -> T) -> T {
        self.0.borrow_mut().phase = phase;
        let previous = INSTALLED.with(|installed| installed.replace(Some(self.clone())));
        let answer = call();
        INSTALLED.with(|installed| installed.replace(previous));
        self.0.borrow_mut().phase = Phase::Plan;
        answer
    }

    /// Completes a proposal as the host does when it is made: what is true before, and the way back.
    pub(super) fn complete(&self, proposal: &mut Proposal) {
        let state = self.0.borrow();
        for step in &mut proposal.steps {
            if step.capability == "config"
                && let Ok(serde_json::Value::Object(arguments)) = serde_json::from_str(&step.arguments)
                && let Some(serde_json::Value::String(key)) = arguments.get("key")
            {
                let versions = state.config.get(&(step.target.clone(), key.clone()));
                let value =
                    versions.and_then(|versions| versions.first()).and_then(|first| first.value.clone());
                step.inverse = Some(crate::config::set_step(&step.target, key, value.as_deref()).arguments);
                step.before = Some(format!("{value:?}"));
            }
        }
    }
}

fn running(pid: u32, started: u64) -> ProcessStatus {
    ProcessStatus {
        pid: Some(pid),
        started: Some(started),
        state: "running".into(),
        rss_bytes: 50 << 20,
        cpu_seconds: 1.0,
        last_exit: None,
    }
}

fn exited() -> ProcessStatus {
    ProcessStatus {
        pid: None,
        started: None,
        state: "exited".into(),
        rss_bytes: 0,
        cpu_seconds: 0.0,
        last_exit: Some("signal SIGTERM".into()),
    }
}

fn installed() -> Option<FakeHost> {
    INSTALLED.with(|installed| installed.borrow().clone())
}

fn call<T>(name: &str, act: impl FnOnce(&mut State) -> Result<T, CallError>) -> Result<T, CallError> {
    let Some(host) = installed() else {
        return Err(CallError::Failed(format!(
            "`{name}` was called natively without a host; run the plugin through `salve_plugin::testing`"
        )));
    };
    let mut state = host.0.borrow_mut();
    if let Some(index) = state.failures.iter().position(|(call, _)| call == name) {
        return Err(state.failures.remove(index).1);
    }
    state.settle();
    act(&mut state)
}

/// Finds the license, lets `act` happen unless this is a dry-run, and files the receipt.
fn write(
    call_step: &Step,
    act: impl FnOnce(&mut State) -> Result<(), CallError>,
) -> Result<Receipt, CallError> {
    let name = format!("{}.{}", call_step.capability, call_step.verb);
    call(&name, |state| {
        let same = |step: &Step, arguments: Option<&str>| {
            step.capability == call_step.capability
                && step.verb == call_step.verb
                && step.target == call_step.target
                && arguments == Some(&call_step.arguments)
        };
        let license = match &state.phase {
            Phase::Plan => None,
            Phase::Execute(plan) => plan.steps.iter().position(|step| same(step, Some(&step.arguments))),
            Phase::Undo(plan) => plan.steps.iter().position(|step| same(step, step.inverse.as_deref())),
        };
        let Some(step) = license else {
            return Err(CallError::Denied(Denied::NotInPlan(format!("{name} {}", call_step.arguments))));
        };
        let applied = !state.dry_run;
        if applied {
            act(state)?;
        }
        let receipt = Receipt {
            call: state.receipts.len() as u64,
            step: u32::try_from(step).unwrap_or(u32::MAX),
            target: call_step.target.clone(),
            verb: call_step.verb.clone(),
            applied,
            before: None,
            after: None,
            extra: Vec::new(),
        };
        state.receipts.push(receipt.clone());
        Ok(receipt)
    })
}

impl State {
    /// Lets processes run whose start delay has passed.
    fn settle(&mut self) {
        let now = self.now;
        let ready: Vec<String> =
            self.starting.iter().filter(|(_, at)| **at <= now).map(|(target, _)| target.clone()).collect();
        for target in ready {
            self.starting.remove(&target);
            let pid = 1_000 + u32::try_from(self.receipts.len()).unwrap_or(0);
            self.processes.insert(target, running(pid, now));
        }
    }

    fn start_process(&mut self, target: &str) {
        self.processes.insert(target.into(), exited());
        self.starting.insert(target.into(), self.now + self.start_delay_ms * 1_000_000);
        self.settle();
    }

    fn process_of(&self, target: &str) -> Result<ProcessStatus, CallError> {
        let missing = || CallError::NotFound(format!("target `{target}` has no process"));
        self.processes.get(target).cloned().ok_or_else(missing)
    }

    fn answer(&mut self, request: &HttpRequest) -> HttpResponse {
        self.requests.push(request.clone());
        if let Some(Handler(handler)) = &mut self.handler {
            return handler(request);
        }
        let not_found = || HttpResponse { status: 404, headers: Vec::new(), body: Vec::new() };
        self.answers.get(&(request.target.clone(), request.path.clone())).cloned().unwrap_or_else(not_found)
    }
}

pub(crate) fn log(level: Level, message: &str, _fields: &[(String, String)]) {
    if let Some(host) = installed() {
        host.0.borrow_mut().logs.push((level, message.into()));
    }
}

pub(crate) fn now() -> u64 {
    installed().map_or(0, |host| host.now())
}

pub(crate) fn sleep(duration_ms: u32) {
    if let Some(host) = installed() {
        host.0.borrow_mut().now += u64::from(duration_ms) * 1_000_000;
    }
}

pub(crate) mod process {
    use super::{call, exited, write};
    use crate::{CallError, Receipt, process as steps, process::ProcessStatus};

    pub(crate) fn status(target: &str) -> Result<ProcessStatus, CallError> {
        call("process.status", |state| state.process_of(target))
    }

    pub(crate) fn start(target: &str) -> Result<Receipt, CallError> {
        write(&steps::start_step(target), |state| {
            state.process_of(target)?;
            state.start_process(target);
            Ok(())
        })
    }

    pub(crate) fn stop(target: &str) -> Result<Receipt, CallError> {
        write(&steps::stop_step(target), |state| {
            state.process_of(target)?;
            state.processes.insert(target.into(), exited());
            Ok(())
        })
    }

    pub(crate) fn restart(target: &str) -> Result<Receipt, CallError> {
        write(&steps::restart_step(target), |state| {
            state.process_of(target)?;
            state.start_process(target);
            Ok(())
        })
    }
}

pub(crate) mod config {
    use super::{call, write};
    use crate::{CallError, Receipt, config as steps, config::Version};

    pub(crate) fn get(target: &str, key: &str) -> Result<Option<String>, CallError> {
        call("config.get", |state| {
            let versions = state.config.get(&(target.into(), key.into()));
            Ok(versions.and_then(|versions| versions.first()).and_then(|first| first.value.clone()))
        })
    }

    pub(crate) fn history(target: &str, key: &str) -> Result<Vec<Version>, CallError> {
        call("config.history", |state| {
            let missing = || CallError::NotFound(format!("target `{target}` has no key `{key}`"));
            state.config.get(&(target.into(), key.into())).cloned().ok_or_else(missing)
        })
    }

    pub(crate) fn keys(target: &str) -> Result<Vec<(String, Option<String>)>, CallError> {
        call("config.keys", |state| {
            let of_target = state.config.iter().filter(|((owner, _), _)| owner == target);
            Ok(of_target
                .map(|((_, key), versions)| {
                    (key.clone(), versions.first().and_then(|first| first.value.clone()))
                })
                .collect())
        })
    }

    pub(crate) fn set(target: &str, key: &str, value: Option<&str>) -> Result<Receipt, CallError> {
        write(&steps::set_step(target, key, value), |state| {
            let since = state.now;
            let versions = state.config.entry((target.into(), key.into())).or_default();
            versions.insert(0, Version { value: value.map(Into::into), since, good: false });
            Ok(())
        })
    }
}

pub(crate) mod http {
    use super::{call, installed, refuses, write};
    use crate::{
        CallError, Receipt,
        http::{self as steps, Request, Response},
    };

    pub(crate) fn get(request: &Request) -> Result<Response, CallError> {
        call("http.get", |state| Ok(state.answer(request)))
    }

    pub(crate) fn send(request: &Request) -> Result<(Response, Receipt), CallError> {
        let mut response = Response { status: 200, headers: Vec::new(), body: Vec::new() };
        let mut receipt = write(&steps::send_step(request), |state| {
            response = state.answer(request);
            Ok(())
        })?;
        if refuses(response.status) {
            receipt.applied = false;
            receipt
                .extra
                .push(("refused".into(), format!("the server refused it with status {}", response.status)));
            if let Some(host) = installed()
                && let Some(filed) = host.0.borrow_mut().receipts.last_mut()
            {
                filed.clone_from(&receipt);
            }
        }
        Ok((response, receipt))
    }
}

/// Whether a server that answers so did nothing, as the real host sees it: it may have done it after the others.
fn refuses(status: u16) -> bool {
    (400..500).contains(&status) && !matches!(status, 408 | 409 | 425 | 429)
}

pub(crate) mod notify {
    use super::write;
    use crate::{CallError, Receipt, notify as steps};

    pub(crate) fn send(target: &str, fields: &[(String, String)]) -> Result<Receipt, CallError> {
        write(&steps::send_step(target, fields), |state| {
            state.messages.push((target.into(), fields.to_vec()));
            Ok(())
        })
    }
}

pub(crate) mod telemetry {
    use super::installed;
    use crate::{
        Window,
        telemetry::{Change, EdgeStats, Point, SeriesInfo, ServiceStats},
    };
    use std::collections::BTreeMap;

    /// Of the entries of one name, the one that overlaps the window most.
    fn best<K: Ord, T: Clone>(entries: &[(u64, u64, T)], window: Window, name: impl Fn(&T) -> K) -> Vec<T> {
        let mut found: BTreeMap<K, (u64, &T)> = BTreeMap::new();
        for (from, to, entry) in entries {
            let overlap = window.to.min(*to).saturating_sub(window.from.max(*from));
            let slot = found.entry(name(entry)).or_insert((0, entry));
            if overlap > slot.0 {
                *slot = (overlap, entry);
            }
        }
        found.into_values().filter(|(overlap, _)| *overlap > 0).map(|(_, entry)| entry.clone()).collect()
    }

    pub(crate) fn services(window: Window) -> Vec<ServiceStats> {
        installed().map_or_else(Vec::new, |host| {
            best(&host.0.borrow().services, window, |stats: &ServiceStats| stats.service.clone())
        })
    }

    pub(crate) fn edges(window: Window) -> Vec<EdgeStats> {
        installed().map_or_else(Vec::new, |host| {
            best(&host.0.borrow().edges, window, |stats: &EdgeStats| {
                (stats.caller.clone(), stats.callee.clone())
            })
        })
    }

    pub(crate) fn changes(window: Window) -> Vec<Change> {
        installed().map_or_else(Vec::new, |host| {
            let mut changes = host.0.borrow().changes.clone();
            changes.retain(|change| (window.from..window.to).contains(&change.time));
            changes.sort_by_key(|change| std::cmp::Reverse(change.time));
            changes
        })
    }

    pub(crate) fn find(service: &str, name_prefix: &str) -> Vec<SeriesInfo> {
        installed().map_or_else(Vec::new, |host| {
            let state = host.0.borrow();
            let fits = |info: &&SeriesInfo| {
                (service.is_empty() || info.service == service) && info.name.starts_with(name_prefix)
            };
            state.series.iter().map(|(info, _)| info).filter(fits).cloned().collect()
        })
    }

    pub(crate) fn points(series: u32, window: Window) -> Vec<Point> {
        installed().map_or_else(Vec::new, |host| {
            let state = host.0.borrow();
            let of_series = state.series.iter().filter(|(info, _)| info.id == series);
            of_series
                .flat_map(|(_, points)| points.iter().copied())
                .filter(|point| (window.from..window.to).contains(&point.time))
                .collect()
        })
    }
}
