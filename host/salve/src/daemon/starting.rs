//! Detectors that are being set up, each on a thread of its own: a guest that takes its time at the start holds up no other.
//!
//! ## What always holds
//! - batches that come meanwhile are kept in their order; none is lost and none is shown twice
//! - what is kept is bounded: a guest that needs longer than that does not start
//! - one that is quick is there at once: its first batch waits for nothing
//!
//! Not here: which version is set up, and what becomes of it (`detectors`).

use super::{
    detectors::Binding,
    shard::{self, Tried},
};
use salve_model::batch::{Batch, SeriesAdded};
use salve_plugins::{DetectorOptions, GuestError, Plugin, PluginHost};
use std::{
    collections::VecDeque,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};
use tokio::sync::oneshot::{self, error::TryRecvError};

/// How long the others wait for an instance: longer than most take, too short to be noticed.
const PATIENCE: Duration = Duration::from_millis(20);
/// Most batches that are kept for one instance.
const BATCHES_MAX: usize = 10_000;
/// Most points that are kept for one instance.
const POINTS_MAX: usize = 1_000_000;

/// An instance that is being set up.
pub struct Starting {
    /// Of its component.
    pub digest: String,
    /// JSON.
    parameters: String,
    /// When it began.
    pub begun: Instant,
    /// It was given the state of a predecessor.
    pub had_state: bool,
    kept: Arc<Mutex<Kept>>,
    answer: oneshot::Receiver<Result<Tried, GuestError>>,
}

/// Batches for an instance that is not there yet.
#[derive(Default)]
struct Kept {
    batches: VecDeque<Batch>,
    points: usize,
    /// The instance has seen all there was and is on its way; it takes no more.
    closed: bool,
}

/// How far it has come.
pub enum Progress {
    /// It is not there yet.
    Waiting,
    /// It is there, and has not seen these batches.
    There(Box<Tried>, Vec<Batch>),
    /// It does not start; what was kept for it goes with it.
    Failed(String),
}

impl Starting {
    /// Begins. `heir`: series that the predecessor knew whose state it is given; it is then shown what is kept for it as well,
    /// until it has caught up. Without a predecessor, or if it does not take the state, it comes as it is.
    ///
    /// # Errors
    /// If there is no thread to be had.
    pub fn begin(
        host: &PluginHost,
        plugin: &Arc<Plugin>,
        options: DetectorOptions,
        heir: Option<Vec<SeriesAdded>>,
    ) -> std::io::Result<Self> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build()?;
        let (reply, answer) = oneshot::channel();
        let kept = Arc::new(Mutex::new(Kept::default()));
        let starting = Self {
            digest: plugin.digest().to_owned(),
            parameters: options.parameters_json.clone(),
            begun: Instant::now(),
            had_state: options.state.is_some(),
            kept: kept.clone(),
            answer,
        };
        let (host, plugin) = (host.clone(), plugin.clone());
        let work = async move {
            let answer = match host.detector(&plugin, options).await {
                Ok(instance) => {
                    let takes_state = instance.restore_failure().is_none();
                    let is_heir = heir.is_some() && takes_state;
                    let mut tried = Tried { instance, introduce: heir.unwrap_or_default() };
                    while let Some(batch) = is_heir.then(|| next(&kept)).flatten() {
                        // What is said of it now, the active version has said.
                        shard::show(&mut tried, batch).await;
                    }
                    Ok(tried)
                }
                Err(error) => Err(error),
            };
            lock(&kept).closed = true;
            // Nobody waits for it any more if its binding has changed.
            drop(reply.send(answer));
        };
        std::thread::Builder::new().name("detector-start".into()).spawn(move || runtime.block_on(work))?;
        Ok(starting)
    }

    /// It is the instance that this binding needs.
    pub fn is_for(&self, binding: &Binding) -> bool {
        self.digest == binding.plugin.digest() && self.parameters == binding.parameters
    }

    /// Keeps a batch for it. `Err`: it takes no more, and is there as soon as [`Starting::finish`] is asked.
    pub fn keep(&self, batch: Batch) -> Result<(), Box<Batch>> {
        let mut kept = lock(&self.kept);
        if kept.closed {
            return Err(Box::new(batch));
        }
        kept.points = kept.points.saturating_add(batch.values.len());
        kept.batches.push_back(batch);
        Ok(())
    }

    /// Waits for one that is quick.
    pub async fn quick(&mut self) -> Progress {
        match tokio::time::timeout(PATIENCE, &mut self.answer).await {
            Ok(answer) => self.end(answer.ok()),
            Err(_) => Progress::Waiting,
        }
    }

    /// How far it has come by now.
    pub fn progress(&mut self) -> Progress {
        match self.answer.try_recv() {
            Ok(answer) => self.end(Some(answer)),
            Err(TryRecvError::Closed) => self.end(None),
            Err(TryRecvError::Empty) => {
                let kept = lock(&self.kept);
                let is_full = kept.batches.len() > BATCHES_MAX || kept.points > POINTS_MAX;
                drop(kept);
                if is_full {
                    self.failed("it takes too long to start or to catch up")
                } else {
                    Progress::Waiting
                }
            }
        }
    }

    /// What came of one that takes no more.
    pub async fn finish(&mut self) -> Progress {
        let answer = (&mut self.answer).await;
        self.end(answer.ok())
    }

    fn end(&self, answer: Option<Result<Tried, GuestError>>) -> Progress {
        match answer {
            Some(Ok(tried)) => Progress::There(Box::new(tried), self.left()),
            Some(Err(error)) => self.failed(&error.to_string()),
            None => self.failed("its thread ended"),
        }
    }

    fn failed(&self, why: &str) -> Progress {
        drop(self.left());
        Progress::Failed(why.to_owned())
    }

    /// What was kept and not shown. It takes no more.
    pub fn left(&self) -> Vec<Batch> {
        let mut kept = lock(&self.kept);
        kept.closed = true;
        kept.points = 0;
        std::mem::take(&mut kept.batches).into()
    }
}

/// The next batch for an instance that catches up; none: it has, and takes no more.
fn next(kept: &Mutex<Kept>) -> Option<Batch> {
    let mut kept = lock(kept);
    let batch = kept.batches.pop_front();
    match &batch {
        Some(batch) => kept.points = kept.points.saturating_sub(batch.values.len()),
        None => kept.closed = true,
    }
    batch
}

fn lock(kept: &Mutex<Kept>) -> MutexGuard<'_, Kept> {
    kept.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn starting() -> (Starting, oneshot::Sender<Result<Tried, GuestError>>) {
        let (reply, answer) = oneshot::channel();
        let starting = Starting {
            digest: String::new(),
            parameters: String::new(),
            begun: Instant::now(),
            had_state: true,
            kept: Arc::default(),
            answer,
        };
        (starting, reply)
    }

    fn batch(now: u64, points: usize) -> Batch {
        Batch { now, values: vec![0.0; points], ..Batch::default() }
    }

    /// Guarantees: batches come out in the order in which they came; once the instance has seen the last one, or somebody has
    /// taken what is left, no more is kept, so that none can be lost.
    #[test]
    fn nothing_is_kept_for_one_that_has_closed() {
        let (one, _reply) = starting();
        (1..=3).for_each(|now| one.keep(batch(now, 1)).unwrap());
        assert_eq!(next(&one.kept).map(|batch| batch.now), Some(1));
        assert_eq!(one.left().iter().map(|batch| batch.now).collect::<Vec<_>>(), [2, 3]);
        assert_eq!(one.keep(batch(4, 1)).unwrap_err().now, 4);

        let (one, _reply) = starting();
        one.keep(batch(1, 1)).unwrap();
        assert!(next(&one.kept).is_some() && next(&one.kept).is_none());
        assert!(one.keep(batch(2, 1)).is_err());
    }

    /// Guarantees: what is kept has a bound, what was shown does not count, and a thread that ends without a word is noticed.
    #[test]
    fn what_takes_too_long_fails() {
        let (mut one, reply) = starting();
        one.keep(batch(1, POINTS_MAX)).unwrap();
        assert!(matches!(one.progress(), Progress::Waiting));
        assert!(next(&one.kept).is_some());
        one.keep(batch(2, POINTS_MAX)).unwrap();
        assert!(matches!(one.progress(), Progress::Waiting));
        one.keep(batch(3, 1)).unwrap();
        assert!(matches!(one.progress(), Progress::Failed(_)));
        assert!(one.left().is_empty() && one.keep(batch(4, 1)).is_err());
        drop(reply);
        assert!(matches!(one.progress(), Progress::Failed(why) if why.contains("thread")));
    }
}
