//! A person's yes or no to a plan.
//!
//! ## What always holds
//! - an answer counts for the plan that the person saw, by its number in the incident, and for no other
//! - a yes can be taken back as long as nothing has been done

use crate::{Core, incident::Phase};
use salve_model::incident::IncidentId;

impl Core {
    /// Why a person cannot approve (or reject) this plan; none if they can.
    #[must_use]
    pub fn approval_objection(&self, id: &IncidentId, plan: u32, approved: bool) -> Option<String> {
        let incident = match self.find(id) {
            Ok(incident) => incident,
            Err(objection) => return Some(objection),
        };
        let waits = match incident.phase {
            Phase::AwaitingApproval { .. } => true,
            Phase::Planned { .. } => !approved && incident.approved_by.is_some(),
            _ => false,
        };
        if !waits && incident.asked.is_some() {
            return Some(format!(
                "there is more evidence, so {id} is looked at again ({}): answer once a plan waits",
                incident.phase.name()
            ));
        }
        if !waits {
            return Some(format!("no plan of {id} waits for an answer: it is {}", incident.phase.name()));
        }
        (plan != incident.plans)
            .then(|| format!("plan {plan} of {id} does not wait: plan {} does", incident.plans))
    }
}
