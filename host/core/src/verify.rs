//! Did the remedy help? The telemetry has the word; the action does not.
//!
//! A remedy has **healed** once every symptom has recovered, over at least `verify_samples_min` points measured after
//! the end of the run, and `verify_least_ms` have passed since then, and every expectation of the plan holds: within its bounds for `hold_ms` without a break, over
//! at least `samples_min` points. The hold is measured from its first to its newest point, so that silence cannot
//! complete it.
//!
//! It has **not healed** if, when the time is up, the newest point of some symptom is abnormal or the newest point of
//! some expectation out of bounds. The time of an expectation is its own `within_ms`; that of the symptoms the longest
//! `within_ms` or, if longer, `verify_within_ms`.
//!
//! Anything else is **unknown**: points are missing, or a hold that began in time is not complete. The watch is
//! extended once, by the same time, and ends at once if a point shows that it has not healed.

use crate::{
    incident::{Incident, Phase},
    settings::Settings,
    symptom::Tracked,
};
use salve_model::{
    incident::Outcome,
    plan::{Expectation, Plan},
    text::escape,
    time::{EventTime, Now},
};
use serde::{Deserialize, Serialize};

/// Longest name from a stranger in a sentence, in characters.
const NAME_CHARS_MAX: usize = 80;

/// What the points of one expectation show since the run ended.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct BoundState {
    /// Event time of the newest point within bounds.
    pub newest: Option<EventTime>,
    /// The newest point lies within the bounds; none if there was no point.
    pub within: Option<bool>,
    /// Points within bounds without a break.
    pub points: u32,
    /// Receive time of the first of these.
    pub since: Now,
    /// Receive time of the newest of these.
    pub latest: Now,
}

impl BoundState {
    /// Takes in one point. One that is out of bounds breaks the hold whatever its event time is, since an expectation
    /// may name several series, whose points come in any order.
    pub(crate) fn measure(&mut self, time: EventTime, within: bool, at: Now) {
        if !within {
            self.within = Some(false);
            self.points = 0;
        } else if self.newest.is_none_or(|newest| time > newest) {
            self.newest = Some(time);
            self.within = Some(true);
            if self.points == 0 {
                self.since = at;
            }
            self.points = self.points.saturating_add(1);
            self.latest = at;
        }
    }

    /// Whether a point would change anything.
    pub(crate) fn is_new(&self, time: EventTime, within: bool) -> bool {
        if within { self.newest.is_none_or(|newest| time > newest) } else { self.within != Some(false) }
    }

    fn holds(&self, expectation: &Expectation) -> bool {
        self.within == Some(true)
            && self.points >= expectation.samples_min.max(1)
            && self.latest.since_ms(self.since) >= expectation.hold_ms
    }
}

/// `value` lies within the bounds.
pub(crate) fn is_within(expectation: &Expectation, value: f64) -> bool {
    value.is_finite()
        && expectation.lower.is_none_or(|lower| value >= lower)
        && expectation.upper.is_none_or(|upper| value <= upper)
}

/// How long a remedy is watched, in milliseconds.
pub(crate) fn watch_ms(plan: &Plan, settings: &Settings) -> u64 {
    plan.expectations
        .iter()
        .map(|expectation| expectation.within_ms.min(settings.verify_within_max_ms))
        .fold(settings.verify_within_ms.max(settings.verify_least_ms), u64::max)
}

/// What the telemetry says at this moment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Judgement {
    /// Nothing yet.
    Pending,
    /// Too little by the end of the watch: extend it.
    Extend(String),
    /// The word is spoken.
    Verdict(Outcome, String),
}

/// Judges the newest remedy of an incident that is verifying.
pub(crate) fn judge(incident: &Incident, settings: &Settings, now: Now) -> Judgement {
    let (Phase::Verifying { since, until, extended }, Some(plan)) = (&incident.phase, &incident.plan) else {
        return Judgement::Pending;
    };
    let bounds = || plan.expectations.iter().zip(&incident.bounds);
    let missing = incident
        .symptoms
        .iter()
        .find_map(|tracked| unproven(tracked, settings))
        .or_else(|| bounds().find_map(|(expectation, state)| unheld(expectation, state)));
    let Some(missing) = missing else {
        // Effects that are still on their way, such as calls that time out only now, are this incident's too.
        let is_early = now < since.plus_ms(settings.verify_least_ms);
        return if is_early {
            Judgement::Pending
        } else {
            Judgement::Verdict(Outcome::Healed, proof(incident, plan))
        };
    };
    let time_is_up = now >= *until || *extended;
    let broken = bounds().find(|(expectation, state)| {
        let own_time = expectation.within_ms.min(settings.verify_within_max_ms);
        state.within == Some(false) && now >= since.plus_ms(own_time)
    });
    if let Some((expectation, _)) = broken {
        let reason = format!("{} is out of bounds after {} ms", name(expectation), now.since_ms(*since));
        return Judgement::Verdict(Outcome::NotHealed, reason);
    }
    if time_is_up && let Some(sick) = incident.symptoms.iter().find(|tracked| tracked.sick == Some(true)) {
        let reason = format!("{} is still abnormal after {} ms", symptom_name(sick), now.since_ms(*since));
        return Judgement::Verdict(Outcome::NotHealed, reason);
    }
    match (now >= *until, extended) {
        (false, _) => Judgement::Pending,
        (true, false) => Judgement::Extend(missing),
        (true, true) => Judgement::Verdict(Outcome::Unknown, format!("too little data: {missing}")),
    }
}

/// What is missing for a symptom to count as cleared by the remedy.
fn unproven(tracked: &Tracked, settings: &Settings) -> Option<String> {
    let samples_min = settings.verify_samples_min.max(1);
    if tracked.samples < samples_min {
        Some(format!("{} has {} of {samples_min} points", symptom_name(tracked), tracked.samples))
    } else if !tracked.symptom.recovered {
        let normal = tracked.symptom.normal_points;
        Some(format!(
            "{} has {normal} of {} normal points in a row",
            symptom_name(tracked),
            settings.recover_points
        ))
    } else {
        None
    }
}

/// What is missing for an expectation to hold.
fn unheld(expectation: &Expectation, state: &BoundState) -> Option<String> {
    let held_ms = if state.points == 0 { 0 } else { state.latest.since_ms(state.since) };
    (!state.holds(expectation)).then(|| {
        format!(
            "{} held for {held_ms} of {} ms over {} of {} points",
            name(expectation),
            expectation.hold_ms,
            state.points,
            expectation.samples_min.max(1)
        )
    })
}

fn proof(incident: &Incident, plan: &Plan) -> String {
    let symptoms = incident.symptoms.len();
    match plan.expectations.len() {
        0 => format!("all {symptoms} symptoms cleared"),
        bounds => format!("all {symptoms} symptoms cleared and all {bounds} expectations held"),
    }
}

fn name(expectation: &Expectation) -> String {
    format!(
        "`{}` of `{}`",
        escape(&expectation.signal, NAME_CHARS_MAX),
        escape(&expectation.service, NAME_CHARS_MAX)
    )
}

fn symptom_name(tracked: &Tracked) -> String {
    let series = &tracked.symptom.series;
    format!("`{}` of `{}`", escape(&series.name, NAME_CHARS_MAX), escape(&series.service, NAME_CHARS_MAX))
}
