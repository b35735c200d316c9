//! What stands between a plan and the world. Policies propose; guards say "go", "not now" or "never".
//!
//! In this order, and the first that objects has the word:
//!
//! 1. kill switch: while Salve is paused nothing starts
//! 2. mode: `observe` records what would be done, `shadow` makes a dry-run
//! 3. attempts: at most `attempts_max` remedies for one incident
//! 4. blast radius of the plan itself: more objects than are ever allowed at a time are never touched
//! 5. approval: in mode `approve`, and where the policy says `ask`, a person must have said yes
//! 6. lock: one remedy on an object at a time, from its run until it is verified or taken back
//! 7. cool-down: `cooldown_ms` since the end of the last run that touched the object
//! 8. rate: at most `rate_max` runs in `rate_window_ms`
//! 9. blast radius of everything under treatment together with this plan
//!
//! 8 and 9 are bounds of all tenants together, since they bound what Salve may do to the world. Where targets are of several
//! tenants, each leaves some of both to the others: it takes no more than it leaves free.
//!
//! Source of that rule: A. K. Choudhury, E. L. Hahne, "Dynamic queue length thresholds for shared-memory packet switches",
//! IEEE/ACM Transactions on Networking 6 (1998), with α = 1.
//!
//! Taking a remedy back is not held by 3 to 9: it restores what was there before.

use crate::{
    Core,
    incident::{Incident, objects},
};
use salve_model::{
    Tenant,
    incident::{Proposal, Verdict},
    mode::Mode,
    plan::Plan,
    text::escape,
    time::Now,
};
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;

/// Longest object name in a sentence, in characters.
const NAME_CHARS_MAX: usize = 120;

/// One guard.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Guard {
    /// An operator has paused Salve.
    KillSwitch,
    /// How far Salve may go.
    Mode,
    /// Remedies for one incident.
    Attempts,
    /// Objects under treatment.
    BlastRadius,
    /// A person's yes.
    Approval,
    /// One remedy on an object at a time.
    Lock,
    /// Time since the last run on an object.
    Cooldown,
    /// Runs in a window of time.
    Rate,
}

impl Guard {
    /// Its name, for people.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::KillSwitch => "kill switch",
            Self::Mode => "mode",
            Self::Attempts => "attempts",
            Self::BlastRadius => "blast radius",
            Self::Approval => "approval",
            Self::Lock => "lock",
            Self::Cooldown => "cool-down",
            Self::Rate => "rate",
        }
    }
}

/// The guards' word on a plan.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Word {
    /// Carry it out.
    Go,
    /// Carry it out as a dry-run.
    DryRun,
    /// Record that it would be carried out.
    Record,
    /// Ask a person first.
    Ask,
    /// Try again later.
    NotNow(Guard, String),
    /// Not this plan.
    Never(Guard, String),
}

/// Asks the guards about a plan of an incident.
pub(crate) fn ask(core: &Core, incident: &Incident, proposal: &Proposal, plan: &Plan, now: Now) -> Word {
    let settings = &core.settings;
    if core.pause.is_some() {
        return Word::NotNow(Guard::KillSwitch, "Salve is paused".into());
    }
    if settings.mode == Mode::Observe {
        return Word::Record;
    }
    if let Some(reason) = attempts_exhausted(core, incident) {
        return Word::Never(Guard::Attempts, reason);
    }
    let touched: BTreeSet<&str> = objects(plan).collect();
    let allowed = objects_allowed(core);
    if touched.len() > allowed {
        let reason =
            format!("the plan touches {} objects; at most {allowed} may be touched at a time", touched.len());
        return Word::Never(Guard::BlastRadius, reason);
    }
    if settings.mode == Mode::Shadow {
        return Word::DryRun;
    }
    let must_ask = settings.mode == Mode::Approve || proposal.verdict == Verdict::Ask;
    if must_ask && incident.approved_by.is_none() {
        return Word::Ask;
    }
    lock(core, incident, &touched)
        .or_else(|| cooldown(core, &touched, now))
        .or_else(|| rate(core, incident, now))
        .or_else(|| blast_radius(core, incident, &touched, allowed))
        .unwrap_or(Word::Go)
}

/// Why no further remedy may be tried for this incident.
pub(crate) fn attempts_exhausted(core: &Core, incident: &Incident) -> Option<String> {
    let attempts_max = core.settings.attempts_max;
    let tried = incident.tried().count();
    (tried >= usize::try_from(attempts_max).unwrap_or(usize::MAX))
        .then(|| format!("{tried} of at most {attempts_max} remedies were tried"))
}

/// Runs that count for the rate guard at this moment.
pub(crate) fn runs_in_window(core: &Core, now: Now) -> usize {
    let window_ms = core.settings.rate_window_ms;
    core.run_starts.iter().filter(|(start, _)| now.since_ms(*start) < window_ms).count()
}

/// There are targets of several tenants.
fn is_shared(core: &Core) -> bool {
    let mut tenants = core.targets.iter().map(|target| &target.tenant);
    tenants.next().is_some_and(|first| tenants.any(|other| other != first))
}

/// A tenant that has so much already may take some more, and leaves the others enough.
fn leaves_some(has: usize, takes: usize, free: usize) -> bool {
    has.saturating_add(takes) <= free
}

fn lock(core: &Core, incident: &Incident, touched: &BTreeSet<&str>) -> Option<Word> {
    let others = core.incidents.values().filter(|other| other.is_open() && other.number != incident.number);
    others.into_iter().find_map(|other| {
        let taken = other.objects_under_treatment().find(|object| touched.contains(object))?;
        let reason = format!("`{}` is under treatment by {}", escape(taken, NAME_CHARS_MAX), other.id);
        Some(Word::NotNow(Guard::Lock, reason))
    })
}

fn cooldown(core: &Core, touched: &BTreeSet<&str>, now: Now) -> Option<Word> {
    let cooldown_ms = core.settings.cooldown_ms;
    touched.iter().find_map(|object| {
        let end = core.run_ends.get(*object)?;
        (now.since_ms(*end) < cooldown_ms).then(|| {
            let reason = format!(
                "the last run on `{}` ended at {} ms; at least {cooldown_ms} ms must pass",
                escape(object, NAME_CHARS_MAX),
                end.0
            );
            Word::NotNow(Guard::Cooldown, reason)
        })
    })
}

fn rate(core: &Core, incident: &Incident, now: Now) -> Option<Word> {
    let (rate_max, window_ms) = (core.settings.rate_max, core.settings.rate_window_ms);
    let free = usize::try_from(rate_max).unwrap_or(usize::MAX).saturating_sub(runs_in_window(core, now));
    let limit = format!("at most {rate_max} runs in {window_ms} ms");
    if free == 0 {
        return Some(Word::NotNow(Guard::Rate, limit));
    }
    let tenant = incident.tenant();
    let is_own = |run: &&(Now, Tenant)| run.1 == tenant && now.since_ms(run.0) < window_ms;
    let own = core.run_starts.iter().filter(is_own).count();
    (is_shared(core) && !leaves_some(own, 1, free))
        .then(|| Word::NotNow(Guard::Rate, format!("{limit}, and some are left to other tenants")))
}

fn blast_radius(core: &Core, incident: &Incident, touched: &BTreeSet<&str>, allowed: usize) -> Option<Word> {
    let others =
        || core.incidents.values().filter(|other| other.is_open() && other.number != incident.number);
    let under_treatment: BTreeSet<&str> = others().flat_map(Incident::objects_under_treatment).collect();
    let together = under_treatment.union(touched).count();
    if together > allowed {
        let reason = format!("{together} objects would be under treatment; at most {allowed} may be");
        return Some(Word::NotNow(Guard::BlastRadius, reason));
    }
    let tenant = incident.tenant();
    let own: BTreeSet<&str> = others()
        .filter(|other| other.tenant() == tenant)
        .flat_map(Incident::objects_under_treatment)
        .collect();
    let free = allowed.saturating_sub(under_treatment.len());
    (is_shared(core) && !leaves_some(own.len(), touched.difference(&under_treatment).count(), free)).then(
        || {
            let reason = format!(
                "at most {allowed} objects may be under treatment, and some are left to other tenants"
            );
            Word::NotNow(Guard::BlastRadius, reason)
        },
    )
}

/// Most objects under treatment at a time: the lesser of the number and the share, but one at least if the number
/// allows any.
pub(crate) fn objects_allowed(core: &Core) -> usize {
    let objects_max = usize::try_from(core.settings.blast_radius_objects_max).unwrap_or(usize::MAX);
    let known: BTreeSet<&str> =
        core.targets.iter().flat_map(|target| &target.objects).map(String::as_str).collect();
    let percent = usize::try_from(core.settings.blast_radius_percent_max).unwrap_or(usize::MAX);
    let share = known.len().saturating_mul(percent) / 100;
    objects_max.min(share.max(1))
}
