//! Restarts the processes of its targets.
//!
//! ## What always holds
//! - one step for each target, in the order of the request; a target without a process ends the plan
//! - nothing is restarted that was not running or ended when the plan was made: the host checks pid and start time
//!
//! A restart cannot be undone. Not here: when a restart is a good idea (policies).

use salve_plugin::prelude::*;
use serde::Deserialize;

/// The action.
#[derive(Debug)]
pub struct RestartProcess;

/// What a policy may say.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Parameters {
    /// What the telemetry must show afterwards, besides the symptoms clearing.
    pub expect: Vec<Expect>,
}

impl Action for RestartProcess {
    type Parameters = Parameters;
    type Uses = process::Capability;

    fn plan(request: &Request<Parameters>) -> Result<Plan, Failure> {
        request.target()?;
        let mut states = Vec::new();
        for target in &request.targets {
            let status = process::status(target)?;
            let pid = status.pid.map_or_else(String::new, |pid| format!(", pid {pid}"));
            states.push(format!("`{}` ({}{pid})", target.id, status.state));
        }
        Ok(Plan::new(format!("Restart {}", states.join(", ")))
            .steps(request.targets.iter().map(process::restart_step))
            .expect_all(&request.parameters.expect))
    }
}

salve_plugin::export_action!(RestartProcess);

#[cfg(test)]
mod tests {
    use super::*;
    use salve_plugin::testing::{ActionTest, FakeHost};

    fn test(host: FakeHost, parameters: &str, targets: &[&str]) -> ActionTest<RestartProcess> {
        ActionTest::new(host, parameters, targets)
    }

    /// Scenario: two targets with processes. Guarantees: one restart each, in order, and new processes afterwards.
    #[test]
    fn restarts_each_target() {
        let test =
            test(FakeHost::new().process("checkout").process("inventory"), "{}", &["checkout", "inventory"]);
        let before = test.host().process_now("inventory");
        let plan = test.plan().unwrap();
        assert_eq!(plan.summary, "Restart `checkout` (running, pid 100), `inventory` (running, pid 101)");
        assert_eq!(
            plan.steps.iter().map(|step| step.target.as_str()).collect::<Vec<_>>(),
            ["checkout", "inventory"]
        );
        assert!(plan.steps.iter().all(|step| step.verb == "restart" && step.arguments == "{}"));
        assert!(test.execute(&plan).unwrap().done);
        assert_eq!(test.host().receipts().len(), 2);
        assert_ne!(test.host().process_now("inventory"), before);
    }

    /// Scenario: a target that is only a configuration file. Guarantees: the plan says that this is not for it.
    #[test]
    fn refuses_a_target_without_a_process() {
        let failure = test(FakeHost::new(), "{}", &["settings"]).plan().unwrap_err();
        let Failure::NotApplicable(reason) = failure else { panic!("{failure:?}") };
        assert_eq!(reason, "not found: target `settings` has no process");
    }

    /// Scenario: a request for no target. Guarantees: no plan.
    #[test]
    fn refuses_an_empty_request() {
        assert!(matches!(test(FakeHost::new(), "{}", &[]).plan(), Err(Failure::NotApplicable(_))));
    }

    /// Scenario: a process that was stopped (SIGSTOP). Guarantees: the plan is made all the same.
    #[test]
    fn restarts_what_hangs() {
        let status = process::ProcessStatus {
            pid: Some(7),
            started: Some(1),
            state: "stopped".into(),
            rss_bytes: 0,
            cpu_seconds: 0.0,
            last_exit: None,
        };
        let plan =
            test(FakeHost::new().process_status("checkout", status), "{}", &["checkout"]).plan().unwrap();
        assert_eq!(plan.summary, "Restart `checkout` (stopped, pid 7)");
    }

    /// Scenario: the policy states an expectation. Guarantees: it stands in the plan, with the defaults of the manifest.
    #[test]
    fn carries_expectations() {
        let parameters =
            r#"{"expect":[{"service":"checkout","signal":"salve.span.error_ratio","upper":0.02}]}"#;
        let plan = test(FakeHost::new().process("checkout"), parameters, &["checkout"]).plan().unwrap();
        assert_eq!(plan.expect[0].upper, Some(0.02));
        assert_eq!(
            (plan.expect[0].within_ms, plan.expect[0].hold_ms, plan.expect[0].samples_min),
            (60_000, 5_000, 3)
        );
    }

    /// Scenario: the host cannot restart. Guarantees: the failure names step, call and target.
    #[test]
    fn says_which_step_failed() {
        let host = FakeHost::new().process("checkout").fail_next("process.restart", CallError::TimedOut);
        let test = test(host, "{}", &["checkout"]);
        let plan = test.plan().unwrap();
        let Err(Failure::Failed(reason)) = test.execute(&plan) else { panic!("must fail") };
        assert_eq!(
            reason,
            "step 0, process.restart on `checkout`: no answer in time, it may or may not have happened"
        );
    }

    /// Scenario: undo after an applied restart. Guarantees: it says that there is no way back, and does nothing.
    #[test]
    fn has_no_way_back() {
        let test = test(FakeHost::new().process("checkout"), "{}", &["checkout"]);
        let plan = test.plan().unwrap();
        test.execute(&plan).unwrap();
        let outcome = test.undo(&plan).unwrap();
        assert!(!outcome.done);
        assert_eq!(outcome.note, "0 calls taken back; no way back for process.restart on `checkout`");
        assert_eq!(test.host().receipts().len(), 1);
    }
}
