//! `salve incident list`, `show`, `approve`, `reject`, `undo`, `acknowledge`.

use super::{ConfigArgument, JsonAndConfig, output, user};
use crate::control::{Request, Response};
use anyhow::{Result, bail};
use salve_core::{
    IncidentDetail, IncidentSummary, incident::Phase, plugin::PluginMatter, timeline::outcome_name,
};
use salve_model::{incident::Outcome, text::escape};
use std::process::ExitCode;

/// What was wrong, why, and what was done.
#[derive(Debug, clap::Subcommand)]
pub enum Command {
    /// Incidents, newest first.
    List {
        /// Of this tenant only.
        #[arg(long)]
        tenant: Option<String>,
        #[command(flatten)]
        arguments: JsonAndConfig,
    },
    /// One incident, whole.
    Show {
        /// For instance `inc-7`.
        id: String,
        #[command(flatten)]
        arguments: JsonAndConfig,
    },
    /// Say yes to the plan that waits, as `show` has it.
    Approve(PlanAnswer),
    /// Say no to the plan that waits: on to the next remedy.
    Reject(PlanAnswer),
    /// Take the newest remedy of an incident back, whatever came of it. While Salve is paused it waits for `salve resume`; what
    /// comes next is yours, since Salve tries no further remedy until there are further symptoms.
    Undo {
        /// Number of the remedy that you saw, as `salve status` has it. Left out: the newest.
        #[arg(long)]
        attempt: Option<u32>,
        #[command(flatten)]
        answer: Answer,
    },
    /// Close an incident about a plugin in quarantine, since the version that stands in will do.
    Acknowledge(Answer),
}

/// A person's answer.
#[derive(Debug, clap::Args)]
pub struct Answer {
    /// For instance `inc-7`.
    id: String,
    /// Who answers, for the ledger; by default the user who runs this.
    #[arg(long)]
    by: Option<String>,
    #[command(flatten)]
    config: ConfigArgument,
}

/// A person's answer to a plan.
#[derive(Debug, clap::Args)]
pub struct PlanAnswer {
    /// Number of the plan that you saw. May be left out while there has been only one.
    #[arg(long)]
    plan: Option<u32>,
    #[command(flatten)]
    answer: Answer,
}

/// Carries out the command.
pub fn run(command: Command) -> Result<ExitCode> {
    match command {
        Command::List { tenant, arguments } => {
            let Response::Incidents(mut incidents) = arguments.config.ask(&Request::Incidents)? else {
                bail!("the daemon answered something else")
            };
            incidents.retain(|incident| tenant.as_ref().is_none_or(|tenant| incident.tenant.0 == *tenant));
            if arguments.json {
                output::say_json(&incidents)?
            } else {
                output::say(&list(&incidents))
            }
            Ok(ExitCode::SUCCESS)
        }
        Command::Show { id, arguments } => {
            let Response::Incident(incident) = arguments.config.ask(&Request::Incident { id })? else {
                bail!("the daemon answered something else")
            };
            if arguments.json {
                output::say_json(&incident)?
            } else {
                output::say(&describe(&incident))
            }
            Ok(ExitCode::SUCCESS)
        }
        Command::Approve(answer) => send(answer, true),
        Command::Reject(answer) => send(answer, false),
        Command::Undo { attempt, answer } => {
            let by = answer.by.unwrap_or_else(user);
            super::status::simple(&answer.config, &Request::Undo { id: answer.id, attempt, by })
        }
        Command::Acknowledge(answer) => {
            let by = answer.by.unwrap_or_else(user);
            super::status::simple(&answer.config, &Request::Acknowledge { id: answer.id, by })
        }
    }
}

fn send(PlanAnswer { plan, answer }: PlanAnswer, approved: bool) -> Result<ExitCode> {
    let by = answer.by.unwrap_or_else(user);
    super::status::simple(&answer.config, &Request::Approve { id: answer.id, plan, by, approved })
}

/// Most characters of a call's arguments that are shown.
const ARGUMENTS_CHARS_MAX: usize = 300;

/// The plan that waits for a person: what it would do, and how to answer.
fn waiting_plan(incident: &IncidentDetail) -> Vec<String> {
    let (Phase::AwaitingApproval { until, .. }, Some(plan)) = (&incident.phase, &incident.plan) else {
        return Vec::new();
    };
    let number = incident.plan_number;
    let mut lines = vec![
        format!("\nPlan {number} waits for you: {}", escape(&plan.summary, 200)),
        format!("  by {} ({})", escape(&plan.action.0, 80), plan.action_digest.get(..12).unwrap_or_default()),
    ];
    for step in &plan.steps {
        let call = &step.call;
        lines.push(format!(
            "  {}.{} on {} {}",
            escape(&call.capability, 40),
            escape(&call.verb, 40),
            escape(&call.target.0, 80),
            escape(&call.arguments, ARGUMENTS_CHARS_MAX)
        ));
        if let Some(before) = &step.before {
            let after = step.after.as_ref().map(|after| format!(", then {}", escape(after, 120)));
            lines.push(format!("    now {}{}", escape(before, 120), after.unwrap_or_default()));
        }
        let undo = if step.inverse.is_some() { "can be taken back" } else { "CANNOT be taken back" };
        lines.push(format!("    {undo}"));
    }
    for bound in &plan.expectations {
        let limit = |word: &str, limit: Option<f64>| limit.map(|limit| format!(" {word} {limit}"));
        lines.push(format!(
            "  helped if {} of {} is{}{} within {} ms, for {} ms",
            escape(&bound.signal, 80),
            escape(&bound.service, 60),
            limit("at least", bound.lower).unwrap_or_default(),
            limit("at most", bound.upper).unwrap_or_default(),
            bound.within_ms,
            bound.hold_ms
        ));
    }
    if plan.steps.iter().any(|step| step.call.arguments.chars().count() > ARGUMENTS_CHARS_MAX) {
        lines.push("  what is cut off here stands in `--json`".into());
    }
    lines.push(format!("  until {}, then people are called", output::moment(until.0)));
    lines.push(format!("  salve incident approve {} --plan {number}   (or: reject)", incident.view.id));
    lines
}

fn list(incidents: &[IncidentSummary]) -> String {
    if incidents.is_empty() {
        return "no incidents".into();
    }
    let mut rows = vec![["id", "started", "state", "symptoms", "tried", "cause"].map(String::from).to_vec()];
    let has_tenants = incidents.iter().any(|incident| !incident.tenant.is_default());
    rows.extend(incidents.iter().map(|incident| {
        let state = incident.outcome.map_or_else(
            || incident.phase.clone(),
            |outcome| ended(outcome, incident.title.is_some()).to_owned(),
        );
        let cause = incident.cause.as_ref().map_or_else(
            || incident.title.clone().unwrap_or_else(|| incident.services.join(", ")),
            |(suspect, mechanism)| format!("{suspect}: {mechanism}"),
        );
        vec![
            incident.id.0.clone(),
            output::moment(incident.started.0),
            state,
            format!("{} of {}", incident.symptoms_open, incident.symptoms),
            incident.attempts.to_string(),
            escape(&cause, 80),
        ]
    }));
    if has_tenants {
        let tenants = std::iter::once("tenant".to_owned())
            .chain(incidents.iter().map(|incident| escape(&incident.tenant.0, 60)));
        rows.iter_mut().zip(tenants).for_each(|(row, tenant)| row.insert(1, tenant));
    }
    output::table(&rows)
}

/// How an incident ended, in words. A plugin does not recover by itself.
fn ended(outcome: Outcome, is_about_plugin: bool) -> &'static str {
    if is_about_plugin { "settled" } else { outcome_name(outcome) }
}

/// What is wrong with a plugin, version by version, and what answers.
fn of_plugin(matter: &PluginMatter) -> Vec<String> {
    let trouble = &matter.trouble;
    let mark = if matter.settled.is_some() { "✓" } else { "✗" };
    let mut lines = Vec::new();
    for fallen in &trouble.fallen {
        let digest: String = fallen.digest.chars().take(12).collect();
        lines.push(format!(
            "  {mark} plugin {} {} ({digest}): {}",
            escape(&trouble.plugin, 80),
            escape(&fallen.version, 60),
            escape(&fallen.reason, 300)
        ));
        lines.extend(fallen.errors.iter().map(|error| format!("      error: {}", escape(error, 300))));
    }
    lines.push(match &trouble.answering {
        Some(answering) => {
            let digest: String = answering.digest.chars().take(12).collect();
            let how = if answering.stands_in { "stands in" } else { "answers" };
            format!("    {} ({digest}) {how}", escape(&answering.version, 60))
        }
        None => "    no version of it answers".into(),
    });
    if let (None, Some(_)) = (&matter.settled, &trouble.answering) {
        lines.push(
            "    ends with another version, `salve plugin reload`, or `salve incident acknowledge`".into(),
        );
    }
    lines
}

fn describe(incident: &IncidentDetail) -> String {
    let view = &incident.view;
    let state = incident.outcome.map_or_else(
        || incident.phase.name().to_owned(),
        |outcome| ended(outcome, incident.plugin.is_some()).to_owned(),
    );
    let mut lines = vec![format!("{} · {} · began {}", view.id, state, output::moment(view.started.0))];
    if !view.tenant.is_default() {
        lines.push(format!("tenant {}", escape(&view.tenant.0, 60)));
    }
    lines.push("\nWhat is wrong".into());
    lines.extend(incident.plugin.iter().flat_map(of_plugin));
    for symptom in &view.symptoms {
        lines.push(format!(
            "  {} {} {}: {}{}",
            if symptom.recovered { "✓" } else { "✗" },
            escape(&symptom.series.service, 60),
            escape(&symptom.series.name, 80),
            escape(&symptom.reason, 200),
            if symptom.recovered { " (recovered)" } else { "" }
        ));
    }
    if let Some(findings) = &incident.findings {
        lines.push(format!("\nWhy, says {}", escape(&findings.agent, 60)));
        for hypothesis in &findings.hypotheses {
            lines.push(format!(
                "  {:>3.0} %  {}: {}",
                hypothesis.probability * 100.0,
                escape(&hypothesis.suspect, 60),
                escape(&hypothesis.mechanism, 40)
            ));
            for evidence in &hypothesis.evidence {
                lines.push(format!("         {:+.1}  {}", evidence.weight, escape(&evidence.text, 200)));
            }
        }
    }
    if let Some(decision) = &incident.decision {
        lines.push(format!(
            "\nWhat policies say ({})",
            decision.policy_digest.get(..12).unwrap_or("no digest")
        ));
        for proposal in &decision.proposals {
            lines.push(format!(
                "  {}: {} on {}: {}",
                proposal.policy,
                proposal.action,
                proposal.target,
                escape(&proposal.reason, 200)
            ));
        }
        for failure in &decision.failures {
            let so =
                if failure.may_forbid { "; it might have said `never`, so a person must agree" } else { "" };
            lines.push(format!(
                "  FAILED {}: {}{so}",
                escape(&failure.policy, 80),
                escape(&failure.why, 300)
            ));
        }
        for rejected in &decision.rejected {
            lines.push(format!(
                "  lost: {} on {}: {}",
                rejected.proposal.action,
                rejected.proposal.target,
                escape(&rejected.why, 200)
            ));
        }
    }
    lines.extend(waiting_plan(incident));
    lines.push("\nWhat happened".into());
    for entry in &incident.timeline.entries {
        lines.push(format!(
            "  {:>8}  {}",
            format!("+{:.1} s", entry.at.since_ms(view.started) as f64 / 1_000.0),
            entry.text
        ));
    }
    lines.join("\n")
}
