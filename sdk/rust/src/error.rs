//! Words for the host's refusals and failures.

use crate::{CallError, Denied, Failure};

/// One line for a person: what went wrong and, where the host said it, the way out.
///
/// `CallError` itself prints as Rust debug text, since that impl is generated.
#[must_use]
pub fn explain(error: &CallError) -> String {
    match error {
        CallError::Denied(Denied::NotGranted(toml)) => format!("not granted; this would allow it: {toml}"),
        CallError::Denied(Denied::NotInPlan(closest)) => format!("not in the approved plan ({closest})"),
        CallError::Denied(Denied::NotRecorded) => "not in the recording".into(),
        CallError::Denied(Denied::StateChanged(now)) => {
            format!("the target has changed since the plan: now {now}")
        }
        CallError::Denied(Denied::KillSwitch) => "Salve is paused".into(),
        CallError::Denied(Denied::Limit(limit)) => format!("limit used up: {limit}"),
        CallError::NotFound(what) => format!("not found: {what}"),
        CallError::Failed(why) => format!("failed: {why}"),
        CallError::TimedOut => "no answer in time, it may or may not have happened".into(),
    }
}

/// `?` on a call ends an action with [`Failure::Failed`]; a thing that is not there with [`Failure::NotApplicable`].
impl From<CallError> for Failure {
    fn from(error: CallError) -> Self {
        match error {
            CallError::NotFound(_) => Self::NotApplicable(explain(&error)),
            _ => Self::Failed(explain(&error)),
        }
    }
}
