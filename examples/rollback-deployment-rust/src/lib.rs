//! Rolls a Kubernetes deployment back to the revision before, over the API server's HTTP, and sees the rollout through.
//!
//! ## What always holds
//! - the plan has one call, a patch that replaces the pod template by one that the deployment had, and nothing else of it
//! - the patch has no effect if the template is no longer the one that the plan saw
//! - a deployment that was not changed shortly before the incident is left alone, and so is what a rollback has put there
//! - `undo` puts back the template that was there, if nobody has changed it since
//!
//! Not here: scheme, host, credentials, and which deployments are allowed (target and grant); whether a rollback is a good idea (policies).

pub mod api;
pub mod history;
pub mod patch;
pub mod rollout;
pub mod time;

use api::{Deployment, Place, ReplicaSet};
use history::Choice;
use salve_plugin::prelude::*;
use serde::Deserialize;
use serde_json::Value;

/// The action.
#[derive(Debug)]
pub struct RollbackDeployment;

/// What a policy may say. The host has checked it against the schema in `plugin.toml`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Parameters {
    /// Left out: the target's `k8s.namespace.name`, else `default`.
    pub namespace: Option<String>,
    /// Left out: the target's `k8s.deployment.name`.
    pub deployment: Option<String>,
    /// Left out: the last one before the present one.
    pub revision: Option<u64>,
    /// Only if the present revision came so long before the incident; 0: whenever it came.
    #[serde(default = "changed_within_ms")]
    pub changed_within_ms: u64,
    /// How long the rollout may take.
    #[serde(default = "ready_within_ms")]
    pub ready_within_ms: u32,
    /// Say in the plan how the rollback is taken back.
    #[serde(default = "undoable")]
    pub undoable: bool,
}

fn changed_within_ms() -> u64 {
    86_400_000
}

fn ready_within_ms() -> u32 {
    120_000
}

fn undoable() -> bool {
    true
}

/// By how much the clocks of the cluster and of Salve may differ.
const CLOCKS_APART_MS: u64 = 30_000;

/// Names in the plan, by which `execute` and `undo` find the two templates again.
const PRESENT_SET: &str = "present-replica-set";
const WANTED_SET: &str = "wanted-replica-set";

/// A change long ago is not the cause of this incident, and one after its begin may be somebody's repair.
fn came_at_the_right_time(
    request: &Request<Parameters>,
    choice: &Choice<'_>,
    place: &Place,
) -> Result<(), Failure> {
    let within_ms = request.parameters.changed_within_ms;
    if within_ms == 0 {
        return Ok(());
    }
    let came = &choice.present.set.metadata.creation_timestamp;
    let Some(came_ns) = time::unix_ns(came) else {
        return Err(Failure::Failed(format!(
            "when revision {} of `{place}` came is not known",
            choice.present.number
        )));
    };
    let not_applicable = |why: String| {
        Err(Failure::NotApplicable(format!(
            "revision {} of `{place}` came {came}, {why}",
            choice.present.number
        )))
    };
    let ms = |milliseconds: u64| milliseconds * 1_000_000;
    if came_ns > request.started.saturating_add(ms(CLOCKS_APART_MS)) {
        return not_applicable("after the incident began".into());
    }
    if came_ns < request.started.saturating_sub(ms(within_ms)) {
        return not_applicable(format!("more than {} min before the incident", within_ms / 60_000));
    }
    Ok(())
}

fn place(request: &Request<Parameters>) -> Result<Place, Failure> {
    let Parameters { namespace, deployment, .. } = &request.parameters;
    Place::new(request.target()?, namespace.as_deref(), deployment.as_deref())
}

/// The template of the ReplicaSet that the plan names.
fn planned_template(plan: &Proposal, key: &str, sets: &[ReplicaSet]) -> Result<Value, Failure> {
    let name = plan.extra.iter().find(|(name, _)| name == key).map_or("", |(_, value)| value.as_str());
    let set = sets.iter().find(|set| set.metadata.name == name);
    set.map(ReplicaSet::template)
        .ok_or_else(|| Failure::Failed(format!("ReplicaSet `{name}`, whose template is needed, is gone")))
}

/// What `execute` and `undo` begin with: the two templates that the plan is about, present one first.
fn templates(place: &Place, plan: &Proposal) -> Result<(Value, Value), Failure> {
    let sets = place.replica_sets(&place.deployment()?)?;
    Ok((planned_template(plan, PRESENT_SET, &sets)?, planned_template(plan, WANTED_SET, &sets)?))
}

impl Action for RollbackDeployment {
    type Parameters = Parameters;
    type Uses = http::Capability;

    fn plan(request: &Request<Parameters>) -> Result<Plan, Failure> {
        let place = place(request)?;
        let deployment = place.deployment()?;
        if deployment.spec.paused {
            return Err(Failure::NotApplicable(format!("`{place}` is paused, so nothing is rolled out")));
        }
        let sets = place.replica_sets(&deployment)?;
        let choice = history::choose(&deployment, &sets, request.parameters.revision)?;
        came_at_the_right_time(request, &choice, &place)?;
        let Choice { present, wanted } = &choice;
        let images = history::images(&choice);
        let summary =
            format!("Roll `{place}` back from revision {} to {}: {images}", present.number, wanted.number);
        Ok(Plan::new(summary)
            .step(patch::step(&place, &choice, request.parameters.undoable))
            .extra(PRESENT_SET, &present.set.metadata.name)
            .extra(WANTED_SET, &wanted.set.metadata.name))
    }

    fn execute(request: &Request<Parameters>, plan: &Proposal) -> Result<Outcome, Failure> {
        let place = place(request)?;
        let (present, wanted) = templates(&place, plan)?;
        let (answer, receipt) = http::send(&patch::call(&place, &present, &wanted))?;
        if matches!(answer.status, 409 | 422) {
            return Err(Failure::Failed(format!(
                "`{place}` has changed since the plan was made, so the API server did nothing{}",
                api::message(&answer)
            )));
        }
        if !receipt.applied && answer.status < 400 {
            // A dry-run: nothing has changed, so there is nothing to see.
            return Ok(Outcome::done(format!("would roll `{place}` back")));
        }
        let patched: Deployment = place.read(&answer, "patch deployments")?;
        rollout::wait(&place, &patched, request.parameters.ready_within_ms)?;
        salve_plugin::info!("`{place}` was rolled back");
        Ok(Outcome::done(format!("`{place}` is back, with {} pods available", patched.spec.replicas)))
    }

    fn undo(
        request: &Request<Parameters>,
        plan: &Proposal,
        receipts: &[Receipt],
    ) -> Result<Outcome, Failure> {
        let place = place(request)?;
        if !receipts.iter().any(|receipt| receipt.applied) {
            return Ok(Outcome::done("nothing was changed"));
        }
        if plan.steps.iter().all(|step| step.inverse.is_none()) {
            return Ok(Outcome::not_done(format!("the plan states no way back; `{place}` stays as it is")));
        }
        let (present, wanted) = templates(&place, plan)?;
        let (answer, _) = http::send(&patch::call(&place, &wanted, &present))?;
        // What is true counts, not what was answered: a patch that was refused at first needs no way back.
        if place.deployment()?.spec.template == present {
            return Ok(Outcome::done(format!("`{place}` has the template again that it had")));
        }
        Err(Failure::Failed(format!(
            "somebody has changed `{place}` since, so it stays as it is (status {}{})",
            answer.status,
            api::message(&answer)
        )))
    }
}

salve_plugin::export_action!(RollbackDeployment);
