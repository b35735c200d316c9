//! Ranks the causes of an incident on the service map, by rules and with evidence.
//!
//! It compares the map during the incident with the one before it, passes failures and waiting time down to where they
//! come to rest ([`flow`]), and adds what else speaks for or against each service ([`rank`]).
//!
//! ## What always holds
//! - the answer is a pure function of what [`view::View::read`] saw
//! - a victim is not named for what its callee does, nor a callee for what its caller does wrong
//! - to find nothing is an answer: probabilities add up to less than 1
//!
//! Not here: what to do about it (policies), what is abnormal (detectors).

pub mod flow;
pub mod rank;
pub mod view;

use salve_plugin::prelude::*;
use view::View;

/// The agent.
#[derive(Debug)]
pub struct Analyst;

impl Agent for Analyst {
    fn consult(incident: &Incident, question: &str) -> Result<Findings, String> {
        if question != "cause" {
            return Err(format!("cannot answer `{question}`; this agent knows the question `cause`"));
        }
        let view = View::read(incident);
        let hypotheses = rank::rank(&view);
        let text = match hypotheses.first() {
            None => "Nothing points at any service.".to_string(),
            Some(first) => {
                let why = first.evidence.first().map_or("", |evidence| evidence.text.as_str());
                let percent = first.probability * 100.0;
                format!("{} ({}), {percent:.0} % sure. {why}.", first.suspect, first.mechanism)
            }
        };
        Ok(Findings { hypotheses, suggestions: Vec::new(), text, extra: Vec::new() })
    }
}

salve_plugin::export_agent!(Analyst);

#[cfg(test)]
mod tests;
