//! Agents: find causes and give advice. Nothing in their world changes anything.

pub use crate::bindings::agent::exports::salve::plugin::consult::{
    CatalogueEntry, Evidence, Findings, Hypothesis, Incident, Suggestion, Symptom,
};

/// An agent. Each call gets a fresh instance, so there is no `self` and nothing to remember.
pub trait Agent {
    /// Answers a question about an incident. `question` is `cause` in this version.
    ///
    /// # Errors
    /// One sentence for a person: why there is no answer. To have found nothing is an answer, not an error.
    fn consult(incident: &Incident, question: &str) -> Result<Findings, String>;
}
