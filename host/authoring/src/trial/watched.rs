//! Notes every call to the host and its answer, and tells whoever watches.

use super::{
    Call, HostCall,
    calls::{self, Ask},
    recording::Answer,
};
use salve_model::{
    call::{
        BoxFuture, CallError, EdgeStats, Read, ReadAnswer, SeriesInfo, ServiceStats, Session, Telemetry,
        Write, WriteAnswer,
    },
    plan::Receipt,
    telemetry::Change,
};
use serde::Serialize;
use serde_json::Value;
use std::sync::{Arc, Mutex, PoisonError};

/// Sees calls to the host as they happen.
pub trait Watch: Send + Sync {
    /// A call, answered.
    fn host_call(&self, call: &HostCall);

    /// Whether calls are to be noted at all: noting costs more than answering.
    fn notes(&self) -> bool {
        true
    }
}

/// Sees nothing, and has nothing noted.
#[derive(Debug, Clone, Copy, Default)]
pub struct Unwatched;

impl Watch for Unwatched {
    fn host_call(&self, _call: &HostCall) {}

    fn notes(&self) -> bool {
        false
    }
}

/// A session and telemetry, watched.
pub(crate) struct Watched {
    pub(crate) during: Call,
    pub(crate) session: Option<Arc<dyn Session>>,
    pub(crate) telemetry: Arc<dyn Telemetry>,
    pub(crate) watch: Arc<dyn Watch>,
    pub(crate) noted: Mutex<Noted>,
}

/// What happened.
#[derive(Default)]
pub(crate) struct Noted {
    pub(crate) host_calls: Vec<HostCall>,
    pub(crate) receipts: Vec<Receipt>,
}

impl Watched {
    /// Takes what was noted.
    pub(crate) fn take(&self) -> Noted {
        std::mem::take(&mut *self.noted.lock().unwrap_or_else(PoisonError::into_inner))
    }

    fn note(&self, noted: impl FnOnce() -> (Ask, Answer)) {
        if !self.watch.notes() {
            return;
        }
        let (ask, answer) = noted();
        let call = ask.answered(answer);
        self.watch.host_call(&call);
        self.noted.lock().unwrap_or_else(PoisonError::into_inner).host_calls.push(call);
    }

    fn seen<T: Serialize>(&self, function: &str, arguments: &[(&str, Value)], answer: Vec<T>) -> Vec<T> {
        self.note(|| {
            let arguments =
                arguments.iter().map(|(name, value)| ((*name).to_owned(), value.clone())).collect();
            (
                Ask::telemetry(self.during, function, Value::Object(arguments)),
                Answer::Ok(calls::value(&answer)),
            )
        });
        answer
    }
}

fn window(from: u64, to: u64) -> [(&'static str, Value); 2] {
    [("from", from.into()), ("to", to.into())]
}

/// An agent's call has no session.
fn no_session() -> CallError {
    CallError::Failed("this call has no capabilities".into())
}

impl Session for Watched {
    fn read(&self, read: Read) -> BoxFuture<'_, Result<ReadAnswer, CallError>> {
        Box::pin(async move {
            let answer = match &self.session {
                Some(session) => session.read(read.clone()).await,
                None => Err(no_session()),
            };
            self.note(|| (Ask::read(self.during, &read), calls::of_read(&answer)));
            answer
        })
    }

    fn write(&self, write: Write) -> BoxFuture<'_, Result<WriteAnswer, CallError>> {
        Box::pin(async move {
            let answer = match &self.session {
                Some(session) => session.write(write.clone()).await,
                None => Err(no_session()),
            };
            if let Ok(answer) = &answer {
                let mut noted = self.noted.lock().unwrap_or_else(PoisonError::into_inner);
                noted.receipts.push(answer.receipt.clone());
            }
            self.note(|| (Ask::write(self.during, &write), calls::of_write(&answer)));
            answer
        })
    }
}

impl Telemetry for Watched {
    fn services(&self, from: u64, to: u64) -> Vec<ServiceStats> {
        self.seen("services", &window(from, to), self.telemetry.services(from, to))
    }
    fn edges(&self, from: u64, to: u64) -> Vec<EdgeStats> {
        self.seen("edges", &window(from, to), self.telemetry.edges(from, to))
    }
    fn changes(&self, from: u64, to: u64) -> Vec<Change> {
        self.seen("changes", &window(from, to), self.telemetry.changes(from, to))
    }
    fn find(&self, service: &str, name_prefix: &str) -> Vec<SeriesInfo> {
        let arguments = [("service", service.into()), ("name_prefix", name_prefix.into())];
        self.seen("find", &arguments, self.telemetry.find(service, name_prefix))
    }
    fn points(&self, series: u32, from: u64, to: u64) -> Vec<(u64, f64)> {
        let arguments = [("series", series.into()), ("from", from.into()), ("to", to.into())];
        self.seen("points", &arguments, self.telemetry.points(series, from, to))
    }
}
