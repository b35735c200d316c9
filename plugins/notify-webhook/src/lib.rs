//! Sends the operator's message template, with these fields, to its targets.
//!
//! ## What always holds
//! - one message for each target, with the fields of the plan in the order of their names
//! - `incident` and `target` are always among them, and cannot be overwritten
//!
//! A message cannot be undone, and is never repeated on its own. Not here: template, address, escaping (the host).

use salve_plugin::prelude::*;
use serde::Deserialize;
use std::collections::BTreeMap;

/// The action.
#[derive(Debug)]
pub struct NotifyWebhook;

/// What a policy may say.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Parameters {
    /// Fields of the template by name.
    pub fields: BTreeMap<String, String>,
}

impl Action for NotifyWebhook {
    type Parameters = Parameters;
    type Uses = notify::Capability;

    fn plan(request: &Request<Parameters>) -> Result<Plan, Failure> {
        request.target()?;
        let ids: Vec<String> = request.targets.iter().map(|target| format!("`{}`", target.id)).collect();
        let steps = request.targets.iter().map(|target| {
            let mut fields = request.parameters.fields.clone();
            fields.insert("incident".into(), request.incident.clone());
            fields.insert("target".into(), target.id.clone());
            notify::send_step(target, &fields.into_iter().collect::<Vec<_>>())
        });
        Ok(Plan::new(format!("Tell {} about {}", ids.join(", "), request.incident)).steps(steps))
    }
}

salve_plugin::export_action!(NotifyWebhook);

#[cfg(test)]
mod tests {
    use super::*;
    use salve_plugin::testing::{ActionTest, FakeHost};

    /// Scenario: two fields, one of them a forged incident. Guarantees: one message, with the true incident.
    #[test]
    fn sends_one_message() {
        let parameters = r#"{"fields":{"text":"look","incident":"forged"}}"#;
        let test = ActionTest::<NotifyWebhook>::new(FakeHost::new(), parameters, &["on-call"]);
        let plan = test.plan().unwrap();
        assert_eq!(plan.summary, "Tell `on-call` about inc-1");
        assert_eq!(
            plan.steps[0].arguments,
            r#"{"fields":[["incident","inc-1"],["target","on-call"],["text","look"]]}"#
        );
        assert!(test.execute(&plan).unwrap().done);
        assert_eq!(test.host().messages().len(), 1);
    }

    /// Scenario: a dry-run. Guarantees: nothing is sent, and the outcome says so.
    #[test]
    fn dry_run_sends_nothing() {
        let test = ActionTest::<NotifyWebhook>::new(FakeHost::new().dry_run(), "{}", &["on-call"]);
        let plan = test.plan().unwrap();
        assert_eq!(test.execute(&plan).unwrap().note, "1 of 1 steps passed, 0 applied");
        assert_eq!(test.host().messages().len(), 0);
    }

    /// Scenario: no answer in time. Guarantees: a failure that says that nobody knows.
    #[test]
    fn timeout_is_not_hidden() {
        let host = FakeHost::new().fail_next("notify.send", CallError::TimedOut);
        let test = ActionTest::<NotifyWebhook>::new(host, "{}", &["on-call"]);
        let plan = test.plan().unwrap();
        let Err(Failure::Failed(reason)) = test.execute(&plan) else { panic!("must fail") };
        assert!(reason.ends_with("it may or may not have happened"), "{reason}");
    }
}
