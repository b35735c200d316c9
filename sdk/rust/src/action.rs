//! Actions: plan writes, make the approved ones, take them back.

pub use crate::bindings::action::exports::salve::plugin::act::{Failure, Outcome};
use crate::{
    Attributes, CallError, Receipt, Target,
    error::explain,
    plan::{Plan, Proposal, Step},
};
use serde::de::DeserializeOwned;

/// An action. Each call gets a fresh instance, so there is no `self` and nothing to remember.
///
/// Only [`plan`](Self::plan) must be written: the host makes sure that `execute` does what the plan says, and the
/// default does exactly that.
pub trait Action {
    /// The parameters that a policy gives. The host has checked them against the manifest's schema.
    type Parameters: DeserializeOwned;

    /// The capabilities whose calls stand in plans: [`process::Capability`](crate::process::Capability),
    /// [`config::Capability`](crate::config::Capability), [`http::Capability`](crate::http::Capability),
    /// [`notify::Capability`](crate::notify::Capability), or a tuple of several. The component imports these and no
    /// others, and the manifest must name each.
    type Uses: Capabilities;

    /// Says what it would do. May read, may not write.
    ///
    /// # Errors
    /// [`Failure::NotApplicable`] if there is nothing to do here, [`Failure::Invalid`] if the parameters make no
    /// sense, [`Failure::Failed`] if something that it needs to know cannot be had.
    fn plan(request: &Request<Self::Parameters>) -> Result<Plan, Failure>;

    /// Does what the approved plan names, and nothing else. Default: [`execute_plan`].
    ///
    /// # Errors
    /// [`Failure::Failed`] with the step that failed. What was done before stands in the host's receipts.
    fn execute(request: &Request<Self::Parameters>, plan: &Proposal) -> Result<Outcome, Failure> {
        let _ = request;
        execute_plan::<Self::Uses>(plan, &[])
    }

    /// Takes back what the receipts say was applied. Default: [`undo_receipts`].
    ///
    /// # Errors
    /// [`Failure::Failed`] with what could not be taken back.
    fn undo(
        request: &Request<Self::Parameters>,
        plan: &Proposal,
        receipts: &[Receipt],
    ) -> Result<Outcome, Failure> {
        let _ = request;
        undo_receipts::<Self::Uses>(plan, receipts)
    }
}

/// What a policy asks of an action.
#[derive(Debug, Clone, PartialEq)]
pub struct Request<P> {
    /// The incident's id.
    pub incident: String,
    /// What the policy wants acted on.
    pub targets: Vec<Target>,
    /// The action's own parameters.
    pub parameters: P,
    /// When the incident's first symptom began, Unix nanoseconds.
    pub started: u64,
    /// Unix nanoseconds.
    pub now: u64,
}

impl<P> Request<P> {
    /// The first target.
    ///
    /// # Errors
    /// [`Failure::NotApplicable`] if there is none.
    pub fn target(&self) -> Result<&Target, Failure> {
        self.targets.first().ok_or_else(|| Failure::NotApplicable("the request names no target".into()))
    }
}

impl Target {
    /// A resource attribute that selects this target, for instance `service.name`.
    #[must_use]
    pub fn attribute(&self, name: &str) -> Option<&str> {
        self.attributes.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str())
    }
}

impl AsRef<str> for Target {
    fn as_ref(&self) -> &str {
        &self.id
    }
}

impl Outcome {
    /// The action did what it planned. Nobody takes its word for the heal: the telemetry decides.
    pub fn done(note: impl Into<String>) -> Self {
        Self { done: true, note: note.into(), extra: Attributes::new() }
    }

    /// It ended without doing all of it.
    pub fn not_done(note: impl Into<String>) -> Self {
        Self { done: false, note: note.into(), extra: Attributes::new() }
    }
}

/// Capabilities whose writes can be made from a plan's step: one of them, or a tuple.
pub trait Capabilities {
    /// Makes the call that `step` licenses, with arguments from its JSON; bodies are found in `bodies` by digest.
    /// `None` if the step belongs to another capability.
    fn perform(step: &Step, bodies: &[&[u8]]) -> Option<Result<Receipt, CallError>>;
}

macro_rules! capabilities_of_tuple {
    ($($member:ident),+) => {
        impl<$($member: Capabilities),+> Capabilities for ($($member,)+) {
            fn perform(step: &Step, bodies: &[&[u8]]) -> Option<Result<Receipt, CallError>> {
                None$(.or_else(|| $member::perform(step, bodies)))+
            }
        }
    };
}
capabilities_of_tuple!(A);
capabilities_of_tuple!(A, B);
capabilities_of_tuple!(A, B, C);
capabilities_of_tuple!(A, B, C, D);

fn perform<U: Capabilities>(index: usize, step: &Step, bodies: &[&[u8]]) -> Result<Receipt, Failure> {
    let Step { capability, verb, target, .. } = step;
    match U::perform(step, bodies) {
        Some(Ok(receipt)) => Ok(receipt),
        Some(Err(error)) => Err(Failure::Failed(format!(
            "step {index}, {capability}.{verb} on `{target}`: {}",
            explain(&error)
        ))),
        None => Err(Failure::Failed(format!(
            "step {index}: this action does not name the capability `{capability}` in `Action::Uses`"
        ))),
    }
}

/// Makes the plan's steps in order and stops at the first that fails. `bodies`: what steps name by digest.
///
/// # Errors
/// [`Failure::Failed`] with the step and the reason.
pub fn execute_plan<U: Capabilities>(plan: &Proposal, bodies: &[&[u8]]) -> Result<Outcome, Failure> {
    let mut applied = 0;
    for (index, step) in plan.steps.iter().enumerate() {
        let receipt = perform::<U>(index, step, bodies)?;
        applied += usize::from(receipt.applied);
    }
    let steps = plan.steps.len();
    Ok(Outcome::done(if applied == steps {
        format!("{steps} of {steps} steps made")
    } else {
        format!("{steps} of {steps} steps passed, {applied} applied")
    }))
}

/// Makes the inverse of every applied receipt, newest first, as the plan states it. Steps without an inverse are left
/// as they are; the outcome is then not `done` and says so.
///
/// # Errors
/// [`Failure::Failed`] with the first inverse that failed; what is older stays as it is, since it may rest on it.
pub fn undo_receipts<U: Capabilities>(plan: &Proposal, receipts: &[Receipt]) -> Result<Outcome, Failure> {
    let mut newest_first: Vec<&Receipt> = receipts.iter().filter(|receipt| receipt.applied).collect();
    newest_first.sort_by_key(|receipt| std::cmp::Reverse(receipt.call));
    let mut undone = 0;
    let mut kept = Vec::new();
    for receipt in newest_first {
        let index = receipt.step as usize;
        let Some(step) = plan.steps.get(index) else {
            return Err(Failure::Failed(format!(
                "receipt {} names step {index}, which the plan has not",
                receipt.call
            )));
        };
        match &step.inverse {
            Some(inverse) => {
                perform::<U>(index, &Step { arguments: inverse.clone(), ..step.clone() }, &[])?;
                undone += 1;
            }
            None => kept.push(format!("{}.{} on `{}`", step.capability, step.verb, step.target)),
        }
    }
    Ok(if kept.is_empty() {
        Outcome::done(format!("{undone} calls taken back"))
    } else {
        Outcome::not_done(format!("{undone} calls taken back; no way back for {}", kept.join(", ")))
    })
}
