//! How a new version of an agent or action is tried: on the same question as the active one, without any effect.
//!
//! ## What always holds
//! - what a version under trial asks of targets is answered from what the active one was answered, or refused; nothing it
//!   does reaches a broker
//! - a heal never waits for a trial

use super::catalogue::Trial;
use salve_model::{
    call::{BoxFuture, CallError, Denied, Read, ReadAnswer, Session, Write, WriteAnswer},
    incident::Findings,
};
use salve_plugins::{ActionError, GuestErrorKind, Plugin, RawProposal};
use salve_rollout::{Input, Sample};
use std::{
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

/// Most answers that are kept of one call.
const ANSWERS_MAX: usize = 1_000;

/// What a call was answered, in its order.
#[derive(Debug, Clone, Default)]
pub struct Recording {
    reads: Vec<(Read, Result<ReadAnswer, CallError>)>,
    writes: Vec<(Write, Result<WriteAnswer, CallError>)>,
}

/// A session that keeps what it was answered.
pub struct RecordingSession {
    inner: Arc<dyn Session>,
    recording: Mutex<Recording>,
}

impl RecordingSession {
    /// Hands every call on to `inner`.
    pub fn new(inner: Arc<dyn Session>) -> Arc<Self> {
        Arc::new(Self { inner, recording: Mutex::default() })
    }

    /// What was recorded so far.
    pub fn recording(&self) -> Recording {
        self.recording.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl Session for RecordingSession {
    fn read(&self, read: Read) -> BoxFuture<'_, Result<ReadAnswer, CallError>> {
        Box::pin(async move {
            let answer = self.inner.read(read.clone()).await;
            let mut recording = self.recording.lock().unwrap_or_else(PoisonError::into_inner);
            if recording.reads.len() < ANSWERS_MAX {
                recording.reads.push((read, answer.clone()));
            }
            answer
        })
    }

    fn write(&self, write: Write) -> BoxFuture<'_, Result<WriteAnswer, CallError>> {
        Box::pin(async move {
            let answer = self.inner.write(write.clone()).await;
            let mut recording = self.recording.lock().unwrap_or_else(PoisonError::into_inner);
            if recording.writes.len() < ANSWERS_MAX {
                recording.writes.push((write, answer.clone()));
            }
            answer
        })
    }
}

/// A session that answers from a recording and reaches nothing.
pub struct ReplaySession {
    recording: Mutex<Recording>,
}

impl ReplaySession {
    /// Answers from `recording`.
    pub fn new(recording: Recording) -> Arc<Self> {
        Arc::new(Self { recording: Mutex::new(recording) })
    }
}

/// The next answer to this call. The last one stays, for a version that asks once more than the other did.
fn next<C: PartialEq, A: Clone>(
    answers: &mut Vec<(C, Result<A, CallError>)>,
    call: &C,
) -> Result<A, CallError> {
    let mut same =
        answers.iter().enumerate().filter(|(_, (recorded, _))| recorded == call).map(|(index, _)| index);
    match (same.next(), same.next()) {
        (Some(first), Some(_)) => answers.remove(first).1,
        (Some(only), None) => answers[only].1.clone(),
        (None, _) => Err(CallError::Denied(Denied::NotRecorded)),
    }
}

impl Session for ReplaySession {
    fn read(&self, read: Read) -> BoxFuture<'_, Result<ReadAnswer, CallError>> {
        let answer = next(&mut self.recording.lock().unwrap_or_else(PoisonError::into_inner).reads, &read);
        Box::pin(async move { answer })
    }

    fn write(&self, write: Write) -> BoxFuture<'_, Result<WriteAnswer, CallError>> {
        let mut answer =
            next(&mut self.recording.lock().unwrap_or_else(PoisonError::into_inner).writes, &write);
        if let Ok(answer) = &mut answer {
            // It happened once, by the active version's hand.
            answer.receipt.applied = false;
        }
        Box::pin(async move { answer })
    }
}

/// One answer of one version.
pub struct Answer<T> {
    /// What it said.
    pub said: T,
    /// How long it took.
    pub elapsed: Duration,
    /// It failed through its own fault.
    pub trapped: bool,
}

/// Whether two versions would do the same: the same steps with the same expectations, or both nothing.
pub fn same_plan(one: &Result<RawProposal, ActionError>, other: &Result<RawProposal, ActionError>) -> bool {
    match (one, other) {
        (Ok(one), Ok(other)) => one.steps == other.steps && one.expectations == other.expectations,
        (Err(one), Err(other)) => std::mem::discriminant(one) == std::mem::discriminant(other),
        _ => false,
    }
}

/// Whether two versions suspect the same most.
pub fn same_cause<E>(one: &Result<Findings, E>, other: &Result<Findings, E>) -> bool {
    let top = |findings: &Result<Findings, E>| {
        let first = findings.as_ref().ok()?.hypotheses.first()?;
        Some((first.suspect.clone(), first.mechanism.clone()))
    };
    one.is_ok() == other.is_ok() && top(one) == top(other)
}

/// Whether an action failed through its own fault.
pub fn is_trap<T>(answer: &Result<T, ActionError>) -> bool {
    matches!(answer, Err(ActionError::Guest(error)) if counts(&error.kind))
}

/// Whether a failure is the plugin's fault.
pub fn counts(kind: &GuestErrorKind) -> bool {
    kind.is_fault() || matches!(kind, GuestErrorKind::Quarantined { .. })
}

/// A canary failed through its own fault where there is nothing to compare it with.
pub fn trapped(trial: &Trial) -> Input {
    sampled(trial, Sample { traps: 1, ..Sample::default() })
}

/// A sample of the version under trial, for the stage in which it was asked.
pub fn sampled(trial: &Trial, sample: Sample) -> Input {
    Input::Compared {
        name: trial.plugin.name().to_owned(),
        digest: trial.plugin.digest().to_owned(),
        stage: trial.stage,
        sample,
    }
}

/// What came of a comparison. Nothing can be said where the active version failed too.
pub fn compared<A, B>(
    active: &Plugin,
    a: &Answer<A>,
    trial: &Trial,
    b: &Answer<B>,
    same: bool,
) -> Option<Input> {
    if a.trapped {
        return None;
    }
    let us = |elapsed: Duration| u64::try_from(elapsed.as_micros()).unwrap_or(u64::MAX);
    let sample = Sample {
        compared: 1,
        differed: u64::from(!same),
        active_us: us(a.elapsed),
        candidate_us: us(b.elapsed),
        active_memory_bytes: active.counters().memory_peak_bytes,
        candidate_memory_bytes: trial.plugin.counters().memory_peak_bytes,
        traps: u64::from(b.trapped),
    };
    Some(sampled(trial, sample))
}

#[cfg(test)]
mod tests {
    use super::*;
    use salve_model::{Attributes, TargetId, plan::Receipt};

    struct Counting(Mutex<u32>);

    impl Session for Counting {
        fn read(&self, _read: Read) -> BoxFuture<'_, Result<ReadAnswer, CallError>> {
            let mut count = self.0.lock().unwrap();
            *count += 1;
            let answer = ReadAnswer::ConfigValue(Some(count.to_string()));
            Box::pin(async move { Ok(answer) })
        }

        fn write(&self, write: Write) -> BoxFuture<'_, Result<WriteAnswer, CallError>> {
            let (_, verb, target) = write.address();
            let receipt = Receipt {
                call: 1,
                step: 0,
                target: target.clone(),
                verb: verb.into(),
                applied: true,
                before: None,
                after: None,
                extra: Attributes::new(),
            };
            Box::pin(async move { Ok(WriteAnswer { receipt, response: None }) })
        }
    }

    /// Guarantees: a replay gives the answers of the recording in their order, refuses what is not in it, and says of no
    /// write that it was applied.
    #[tokio::test]
    async fn a_replay_reaches_nothing() {
        let get = |key: &str| Read::ConfigGet { target: TargetId("shop".into()), key: key.into() };
        let set = Write::ProcessRestart { target: TargetId("shop".into()) };
        let inner = Arc::new(Counting(Mutex::new(0)));
        let recorder = RecordingSession::new(inner.clone());
        for _ in 0..2 {
            recorder.read(get("a")).await.unwrap();
        }
        assert!(recorder.write(set.clone()).await.unwrap().receipt.applied);

        let replay = ReplaySession::new(recorder.recording());
        let mut values = Vec::new();
        for _ in 0..3 {
            values.push(replay.read(get("a")).await.unwrap());
        }
        let value = |text: &str| ReadAnswer::ConfigValue(Some(text.into()));
        assert_eq!(values, [value("1"), value("2"), value("2")]);
        assert_eq!(replay.read(get("b")).await, Err(CallError::Denied(Denied::NotRecorded)));
        assert!(!replay.write(set).await.unwrap().receipt.applied);
        let other = Write::ProcessStop { target: TargetId("shop".into()) };
        assert_eq!(replay.write(other).await, Err(CallError::Denied(Denied::NotRecorded)));
        assert_eq!(*inner.0.lock().unwrap(), 2);
    }
}
