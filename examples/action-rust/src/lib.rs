//! An action as a user of Salve would write it: ends the process of a target, sees that it is gone, starts it, and
//! sees that it runs.
//!
//! Unlike a restart it leaves a pause in between, so that peers notice and let go of old connections.

use salve_plugin::prelude::*;
use serde::Deserialize;

/// The action.
#[derive(Debug)]
pub struct StopStart;

/// What a policy may say. The host has checked it against the schema in `plugin.toml`.
#[derive(Debug, Deserialize)]
pub struct Parameters {
    /// How long the process stays down.
    #[serde(default)]
    pub pause_ms: u32,
    /// How long it may take to run again.
    #[serde(default = "ready_within_ms")]
    pub ready_within_ms: u32,
}

fn ready_within_ms() -> u32 {
    10_000
}

/// How often the host is asked how the process is.
const ASK_EVERY_MS: u32 = 50;

fn runs(target: &str) -> Result<bool, CallError> {
    Ok(process::status(target)?.pid.is_some())
}

/// Waits until the process runs, or until it does not.
fn wait_until(target: &str, running: bool, within_ms: u32) -> Result<(), Failure> {
    let seen = clock::poll(within_ms, ASK_EVERY_MS, || match runs(target) {
        Ok(now) if now == running => Some(Ok(())),
        Ok(_) => None,
        Err(error) => Some(Err(error)),
    });
    let wanted = if running { "running" } else { "ended" };
    seen.ok_or_else(|| Failure::Failed(format!("`{target}` is not {wanted} after {within_ms} ms")))?
        .map_err(Failure::from)
}

impl Action for StopStart {
    type Parameters = Parameters;
    type Uses = process::Capability;

    fn plan(request: &Request<Parameters>) -> Result<Plan, Failure> {
        let target = request.target()?;
        let plan = Plan::new(format!("Stop `{}`, then start it", target.id));
        // What has ended already needs no stop; the plan says what will really be done.
        let plan = if runs(&target.id)? { plan.step(process::stop_step(target)) } else { plan };
        Ok(plan.step(process::start_step(target)))
    }

    fn execute(request: &Request<Parameters>, plan: &Proposal) -> Result<Outcome, Failure> {
        let Parameters { pause_ms, ready_within_ms } = request.parameters;
        for step in &plan.steps {
            match step.verb.as_str() {
                "stop" => {
                    let receipt = process::stop(&step.target)?;
                    // In a dry-run nothing was stopped, so there is nothing to wait for.
                    if receipt.applied {
                        wait_until(&step.target, false, ready_within_ms)?;
                        clock::sleep_ms(pause_ms);
                    }
                }
                _ => {
                    let receipt = process::start(&step.target)?;
                    if receipt.applied {
                        wait_until(&step.target, true, ready_within_ms)?;
                    }
                }
            }
        }
        salve_plugin::info!("{} steps made", plan.steps.len());
        Ok(Outcome::done(format!("`{}` runs again", request.target()?.id)))
    }
}

salve_plugin::export_action!(StopStart);

#[cfg(test)]
mod tests {
    use super::*;
    use salve_plugin::testing::{ActionTest, FakeHost};

    fn test(host: FakeHost, parameters: &str) -> ActionTest<StopStart> {
        ActionTest::new(host, parameters, &["checkout"])
    }

    /// A running process is stopped, stays down for the pause, and runs again.
    #[test]
    fn stops_waits_starts() {
        let test = test(FakeHost::new().process("checkout").start_delay_ms(300), r#"{"pause_ms":2000}"#);
        let began = test.host().now();
        let plan = test.plan().unwrap();
        assert_eq!(plan.steps.iter().map(|step| step.verb.as_str()).collect::<Vec<_>>(), ["stop", "start"]);
        assert_eq!(test.execute(&plan).unwrap().note, "`checkout` runs again");
        assert_eq!(test.host().process_now("checkout").unwrap().state, "running");
        let took_ms = (test.host().now() - began) / 1_000_000;
        assert!((2_300..2_500).contains(&took_ms), "{took_ms}");
    }

    /// A process that has ended is only started.
    #[test]
    fn starts_what_has_ended() {
        let ended = process::ProcessStatus {
            pid: None,
            started: None,
            state: "exited".into(),
            rss_bytes: 0,
            cpu_seconds: 0.0,
            last_exit: Some("signal SIGKILL".into()),
        };
        let test = test(FakeHost::new().process_status("checkout", ended), "{}");
        let plan = test.plan().unwrap();
        assert_eq!(plan.steps.len(), 1);
        assert!(test.execute(&plan).unwrap().done);
    }

    /// A process that does not come back is a failure, in time.
    #[test]
    fn gives_up_in_time() {
        let test =
            test(FakeHost::new().process("checkout").start_delay_ms(60_000), r#"{"ready_within_ms":1000}"#);
        let plan = test.plan().unwrap();
        let Err(Failure::Failed(reason)) = test.execute(&plan) else { panic!("must fail") };
        assert_eq!(reason, "`checkout` is not running after 1000 ms");
    }

    /// In a dry-run nothing is stopped, and nothing is waited for.
    #[test]
    fn dry_run_waits_for_nothing() {
        let test = test(FakeHost::new().process("checkout").dry_run(), "{}");
        let plan = test.plan().unwrap();
        let began = test.host().now();
        assert!(test.execute(&plan).unwrap().done);
        assert_eq!(test.host().now(), began);
        assert!(test.host().receipts().iter().all(|receipt| !receipt.applied));
    }

    /// A target without a process is not for this action.
    #[test]
    fn refuses_other_targets() {
        assert!(matches!(test(FakeHost::new(), "{}").plan(), Err(Failure::NotApplicable(_))));
    }
}
