//! Whether a rollout has got there.
//!
//! The order of questions is that of `kubectl rollout status`, but for one thing: a deadline that the rollout before has missed stays in the
//! status until there is progress, and says nothing about this one.

use crate::api::{Condition, Deployment, Place};
use salve_plugin::prelude::*;

/// How often the API server is asked. A call may make 1,000 calls to the host.
const ASK_EVERY_MS: u32 = 500;

/// How far a rollout is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Progress {
    /// Not there yet, in words.
    Waiting(String),
    /// All pods are new and serve.
    Complete,
    /// It has given up, in words.
    Stuck(String),
}

fn missed_deadline(deployment: &Deployment) -> Option<&Condition> {
    let conditions = &deployment.status.conditions;
    conditions
        .iter()
        .find(|condition| condition.kind == "Progressing" && condition.reason == "ProgressDeadlineExceeded")
}

/// How far the rollout of `patched`, the deployment as it was answered to the patch, is `now`.
#[must_use]
pub fn progress(patched: &Deployment, now: &Deployment) -> Progress {
    let (wanted, status) = (now.spec.replicas, &now.status);
    if status.observed_generation < patched.metadata.generation {
        return Progress::Waiting("the deployment controller has not seen it".into());
    }
    if missed_deadline(now).is_some_and(|missed| missed_deadline(patched) != Some(missed)) {
        return Progress::Stuck("the deployment's progress deadline is over".into());
    }
    let old = status.replicas.saturating_sub(status.updated_replicas);
    if status.updated_replicas < wanted {
        Progress::Waiting(format!("{} of {wanted} pods are made", status.updated_replicas))
    } else if old > 0 {
        Progress::Waiting(format!("{old} old pods are still there"))
    } else if status.available_replicas < status.updated_replicas {
        Progress::Waiting(format!("{} of {wanted} pods are available", status.available_replicas))
    } else {
        Progress::Complete
    }
}

/// Waits until the rollout is complete.
///
/// # Errors
/// [`Failure::Failed`] if it gives up or takes too long, with how far it was.
pub fn wait(place: &Place, patched: &Deployment, within_ms: u32) -> Result<(), Failure> {
    let mut last = "nothing is known of it".to_owned();
    let ended = clock::poll(within_ms, ASK_EVERY_MS, || match place.look() {
        Err(failure) => Some(Err(failure)),
        Ok(None) => None,
        Ok(Some(now)) => match progress(patched, &now) {
            Progress::Complete => Some(Ok(())),
            Progress::Stuck(why) => {
                Some(Err(Failure::Failed(format!("the rollout of `{place}` is stuck: {why}"))))
            }
            Progress::Waiting(how_far) => {
                last = how_far;
                None
            }
        },
    });
    ended.unwrap_or_else(|| {
        Err(Failure::Failed(format!("the rollout of `{place}` is not complete after {within_ms} ms: {last}")))
    })
}
