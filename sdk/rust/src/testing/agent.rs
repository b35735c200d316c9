//! Asks an agent over scripted telemetry.

use super::host::{FakeHost, Phase};
use crate::{__glue as glue, Agent, Findings, Incident};
use std::marker::PhantomData;

/// An agent and the host that it asks.
#[derive(Debug)]
pub struct AgentTest<A> {
    host: FakeHost,
    agent: PhantomData<A>,
}

impl<A: Agent> AgentTest<A> {
    /// An agent on this host.
    #[must_use]
    pub fn new(host: FakeHost) -> Self {
        Self { host, agent: PhantomData }
    }

    /// Asks for the cause.
    ///
    /// # Errors
    /// The agent's own.
    pub fn cause(&self, incident: &Incident) -> Result<Findings, String> {
        self.host.run(Phase::Plan, || glue::consult::<A>(incident, "cause"))
    }
}
