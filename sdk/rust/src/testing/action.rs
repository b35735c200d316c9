//! Runs an action against a scripted host.

use super::host::{FakeHost, Phase};
use crate::{
    __glue as glue, Action, Failure, Outcome, Proposal, Target, bindings::action::exports::salve::plugin::act,
};
use std::marker::PhantomData;

/// One request to an action, and the host that it runs on.
#[derive(Debug)]
pub struct ActionTest<A> {
    host: FakeHost,
    request: act::Request,
    action: PhantomData<A>,
}

impl<A: Action> ActionTest<A> {
    /// A request with these parameters (JSON) for these targets. Each target selects the service of its own name.
    #[must_use]
    pub fn new(host: FakeHost, parameters: &str, targets: &[&str]) -> Self {
        let target = |id: &&str| Target {
            id: (*id).to_string(),
            attributes: vec![("service.name".into(), (*id).to_string())],
        };
        let now = host.now();
        let request = act::Request {
            incident: "inc-1".into(),
            targets: targets.iter().map(target).collect(),
            parameters: parameters.into(),
            started: now.saturating_sub(5_000_000_000),
            now,
        };
        Self { host, request, action: PhantomData }
    }

    /// The host.
    #[must_use]
    pub fn host(&self) -> &FakeHost {
        &self.host
    }

    /// Asks for a plan and completes it as the host does.
    ///
    /// # Errors
    /// The action's own.
    pub fn plan(&self) -> Result<Proposal, Failure> {
        let mut plan = self.host.run(Phase::Plan, || glue::plan::<A>(self.request.clone()))?;
        self.host.complete(&mut plan);
        Ok(plan)
    }

    /// Executes an approved plan.
    ///
    /// # Errors
    /// The action's own.
    pub fn execute(&self, plan: &Proposal) -> Result<Outcome, Failure> {
        self.host.run(Phase::Execute(plan.clone()), || glue::execute::<A>(self.request.clone(), plan))
    }

    /// Undoes what the host has receipts for.
    ///
    /// # Errors
    /// The action's own.
    pub fn undo(&self, plan: &Proposal) -> Result<Outcome, Failure> {
        let receipts = self.host.receipts();
        self.host.run(Phase::Undo(plan.clone()), || glue::undo::<A>(self.request.clone(), plan, &receipts))
    }
}
