//! The writer for async code: a thread of its own, a bounded queue, one fsync for all that wait.

use crate::{
    entry::NewEntry,
    error::LedgerError,
    writer::{Erase, Erased, Ledger},
};
use std::{
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    thread::{self, JoinHandle},
};
use tokio::sync::{mpsc, oneshot};

/// A cloneable way to the writer's thread. When the last one is dropped, what waits is written and the thread ends.
#[derive(Debug, Clone)]
pub struct LedgerHandle {
    queue: mpsc::Sender<Request>,
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    path: PathBuf,
    token: u64,
    counts: Counts,
}

#[derive(Debug, Default)]
struct Counts {
    entries: AtomicU64,
    commits: AtomicU64,
    failures: AtomicU64,
}

/// What the writer has done since it was started.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize)]
pub struct LedgerStats {
    /// Entries on the disk.
    pub entries: u64,
    /// Rounds in which they were written, each with one fsync.
    pub commits: u64,
    /// Appends that were refused or failed.
    pub failures: u64,
    /// Appends that wait now.
    pub waiting: u64,
}

#[derive(Debug)]
enum Request {
    Append(Vec<NewEntry>, oneshot::Sender<Result<Vec<u64>, LedgerError>>),
    Erase { now_ms: u64, what: Erase, reason: String, answer: oneshot::Sender<Result<Erased, LedgerError>> },
}

impl LedgerHandle {
    /// Moves `ledger` to a thread of its own. Joining that thread, after all handles are dropped, gives it back.
    ///
    /// # Errors
    /// [`LedgerError::OpenFile`] if the system has no thread left.
    pub fn start(ledger: Ledger) -> Result<(Self, JoinHandle<Ledger>), LedgerError> {
        let (queue, requests) = mpsc::channel(ledger.settings().queue_max.max(1));
        let path = ledger.path().to_path_buf();
        let shared =
            Arc::new(Shared { path: path.clone(), token: ledger.fencing_token(), counts: Counts::default() });
        let thread = thread::Builder::new()
            .name("salve-ledger".into())
            .spawn({
                let shared = Arc::clone(&shared);
                move || run(ledger, requests, &shared.counts)
            })
            .map_err(|source| LedgerError::OpenFile { path, source })?;
        Ok((Self { queue, shared }, thread))
    }

    /// Appends `entries` and returns once they are on the disk. Waits while the queue is full. If the caller gives up
    /// waiting, the entries may be written none the less.
    ///
    /// # Errors
    /// As [`Ledger::append`], or [`LedgerError::Closed`].
    pub async fn append(&self, entries: Vec<NewEntry>) -> Result<Vec<u64>, LedgerError> {
        let (answer, answered) = oneshot::channel();
        self.queue.send(Request::Append(entries, answer)).await.map_err(|_| LedgerError::Closed)?;
        answered.await.map_err(|_| LedgerError::Closed)?
    }

    /// As [`LedgerHandle::append`], from a thread that may block. Not from async code.
    ///
    /// # Errors
    /// As [`LedgerHandle::append`].
    pub fn append_blocking(&self, entries: Vec<NewEntry>) -> Result<Vec<u64>, LedgerError> {
        let (answer, answered) = oneshot::channel();
        self.queue.blocking_send(Request::Append(entries, answer)).map_err(|_| LedgerError::Closed)?;
        answered.blocking_recv().map_err(|_| LedgerError::Closed)?
    }

    /// See [`Ledger::erase`].
    ///
    /// # Errors
    /// As [`Ledger::erase`], or [`LedgerError::Closed`].
    pub async fn erase(
        &self,
        now_ms: u64,
        what: Erase,
        reason: impl Into<String>,
    ) -> Result<Erased, LedgerError> {
        let (answer, answered) = oneshot::channel();
        let request = Request::Erase { now_ms, what, reason: reason.into(), answer };
        self.queue.send(request).await.map_err(|_| LedgerError::Closed)?;
        answered.await.map_err(|_| LedgerError::Closed)?
    }

    /// Where the ledger is, for a [`crate::LedgerReader`].
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.shared.path
    }

    /// The lease's token; see [`Ledger::fencing_token`].
    #[must_use]
    pub fn fencing_token(&self) -> u64 {
        self.shared.token
    }

    /// What the writer has done so far.
    #[must_use]
    pub fn stats(&self) -> LedgerStats {
        let counts = &self.shared.counts;
        LedgerStats {
            entries: counts.entries.load(Relaxed),
            commits: counts.commits.load(Relaxed),
            failures: counts.failures.load(Relaxed),
            waiting: (self.queue.max_capacity() - self.queue.capacity()) as u64,
        }
    }
}

/// The thread: takes all that waits, up to the bound, and writes it in one transaction.
fn run(mut ledger: Ledger, mut requests: mpsc::Receiver<Request>, counts: &Counts) -> Ledger {
    let batch_max = ledger.settings().batch_max.max(1);
    let mut taken = Vec::with_capacity(batch_max);
    while requests.blocking_recv_many(&mut taken, batch_max) > 0 {
        let mut appends = Vec::with_capacity(taken.len());
        for request in taken.drain(..) {
            match request {
                Request::Append(entries, answer) => appends.push((entries, answer)),
                Request::Erase { now_ms, what, reason, answer } => {
                    // Whoever came first is written first.
                    append_all(&mut ledger, &mut appends, counts);
                    reply(answer, ledger.erase(now_ms, &what, &reason));
                }
            }
        }
        append_all(&mut ledger, &mut appends, counts);
    }
    ledger
}

type Append = (Vec<NewEntry>, oneshot::Sender<Result<Vec<u64>, LedgerError>>);

fn append_all(ledger: &mut Ledger, appends: &mut Vec<Append>, counts: &Counts) {
    if appends.is_empty() {
        return;
    }
    let groups: Vec<&[NewEntry]> = appends.iter().map(|(entries, _)| entries.as_slice()).collect();
    let results = ledger.append_groups(&groups);
    counts.commits.fetch_add(1, Relaxed);
    for ((_, answer), result) in appends.drain(..).zip(results) {
        match &result {
            Ok(seqs) => counts.entries.fetch_add(seqs.len() as u64, Relaxed),
            Err(_) => counts.failures.fetch_add(1, Relaxed),
        };
        reply(answer, result);
    }
}

/// Answers, if somebody still waits.
fn reply<T>(answer: oneshot::Sender<T>, value: T) {
    // A caller that gave up waiting needs no answer.
    drop(answer.send(value));
}
