//! One abnormal series of an incident, and whether it has recovered.
//!
//! ## What always holds
//! - event time orders the points of a series and nothing else; a point that is not newer changes nothing
//! - only measured normal points make a symptom recover, never their absence

use crate::settings::Settings;
use salve_model::{
    Tenant,
    incident::Symptom,
    telemetry::{Observation, ObservationKind, SeriesKey},
    time::{EventTime, Now},
};
use serde::{Deserialize, Serialize};

/// From this score on an observation counts; see `observation.score` in the contract.
pub const SCORE_MIN: f32 = 0.5;

/// An observation counts: high enough a score, and all its numbers are numbers.
pub(crate) fn counts(observation: &Observation) -> bool {
    let numbers = [observation.value, observation.expected, observation.lower, observation.upper];
    observation.score >= SCORE_MIN
        && observation.score <= 1.0
        && numbers.iter().all(|number| number.is_finite())
}

/// Abnormal points of a series that is no symptom yet.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Candidate {
    /// Whose series it is.
    #[serde(default, skip_serializing_if = "Tenant::is_default")]
    pub tenant: Tenant,
    /// Abnormal points so far.
    pub points: u32,
    /// Receive time of the first.
    pub since: Now,
    /// Receive time of the newest.
    pub latest: Now,
    /// Event time of the newest.
    pub newest: EventTime,
    /// Highest score so far.
    pub score: f32,
}

impl Candidate {
    /// This candidate, or a new one, after one more abnormal point. None if the point is not newer than the newest.
    pub(crate) fn after(
        candidate: Option<&Self>,
        observation: &Observation,
        now: Now,
        settings: &Settings,
    ) -> Option<Self> {
        let first = Self {
            tenant: observation.series.tenant.clone(),
            points: 1,
            since: now,
            latest: now,
            newest: observation.time,
            score: observation.score,
        };
        match candidate {
            Some(known) if now.since_ms(known.latest) > settings.confirm_within_ms => Some(first),
            Some(known) if observation.time <= known.newest => None,
            Some(known) => Some(Self {
                points: known.points.saturating_add(1),
                since: known.since,
                score: known.score.max(observation.score),
                ..first
            }),
            None => Some(first),
        }
    }
}

/// A symptom and what is needed to follow it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Tracked {
    /// As agents, policies and people see it.
    pub symptom: Symptom,
    /// Event time of the newest abnormal point that a detector reported.
    pub observed: Option<EventTime>,
    /// Event time of the newest measured point.
    pub measured: Option<EventTime>,
    /// Receive time of the newest point, abnormal or not.
    pub heard: Now,
    /// Points since the end of the newest run.
    pub samples: u32,
    /// What the newest point since the end of the newest run was; none if there was no point.
    pub sick: Option<bool>,
}

impl Tracked {
    /// A confirmed symptom.
    pub(crate) fn new(observation: &Observation, candidate: &Candidate, now: Now) -> Self {
        Self {
            symptom: Symptom {
                series: observation.series.clone(),
                kind: observation.kind,
                rising: observation.rising,
                since: candidate.since,
                latest: now,
                score: candidate.score,
                value: observation.value,
                expected: observation.expected,
                reason: observation.reason.clone(),
                normal_points: 0,
                recovered: false,
            },
            observed: Some(observation.time),
            measured: None,
            heard: now,
            samples: 0,
            sick: None,
        }
    }

    /// Its series.
    pub(crate) fn key(&self) -> SeriesKey {
        self.symptom.series.key
    }

    /// Whether an abnormal point of this event time says something new.
    pub(crate) fn is_new_abnormal(&self, time: EventTime) -> bool {
        self.observed.is_none_or(|newest| time > newest)
    }

    /// Takes in one more abnormal point. `run_started`: of the newest remedy, for what counts as proof against it.
    pub(crate) fn see(&mut self, seen: &Seen, at: Now, run_started: Option<Now>) {
        self.observed = Some(seen.time);
        self.heard = at;
        let symptom = &mut self.symptom;
        symptom.latest = at;
        symptom.score = symptom.score.max(seen.score);
        symptom.rising = seen.rising;
        symptom.value = seen.value;
        symptom.expected = seen.expected;
        symptom.reason.clone_from(&seen.reason);
        // A normal point that is newer by event time was measured after this one.
        let overtaken = self.measured.is_some_and(|newest| newest > seen.time);
        if !overtaken || seen.kind == ObservationKind::Missing {
            symptom.normal_points = 0;
            symptom.recovered = false;
            // Points that do not come are silence, no proof that the remedy failed: except where silence is the very
            // symptom that the remedy was meant to end.
            let silence = seen.kind == ObservationKind::Missing
                && (symptom.kind != ObservationKind::Missing
                    || run_started.is_some_and(|started| symptom.since >= started));
            if !silence {
                self.sick = Some(true);
            }
        }
    }

    /// Takes in one measured point, if it is newer than the newest.
    pub(crate) fn measure(&mut self, time: EventTime, abnormal: bool, at: Now, recover_points: u32) {
        if self.measured.is_some_and(|newest| time <= newest) {
            return;
        }
        self.measured = Some(time);
        self.heard = at;
        self.samples = self.samples.saturating_add(1);
        let symptom = &mut self.symptom;
        // A detector may have reported this point, or a newer one, before it was measured here. Missing points have
        // no event time of their own: every point that comes ends them.
        let reported =
            symptom.kind != ObservationKind::Missing && self.observed.is_some_and(|newest| time <= newest);
        if abnormal {
            symptom.normal_points = 0;
            symptom.recovered = false;
            symptom.latest = at;
            self.sick = Some(true);
        } else if !reported {
            symptom.normal_points = symptom.normal_points.saturating_add(1);
            symptom.recovered |= symptom.normal_points >= recover_points.max(1);
            self.sick = Some(false);
        }
    }

    /// A run has ended: what was measured before says nothing about its effect.
    pub(crate) fn begin_verification(&mut self) {
        self.samples = 0;
        self.sick = None;
        if !self.symptom.recovered {
            self.symptom.normal_points = 0;
        }
    }
}

/// One abnormal point of a known symptom.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Seen {
    /// Which series.
    pub series: SeriesKey,
    /// Event time.
    pub time: EventTime,
    /// In which way.
    pub kind: ObservationKind,
    /// Above rather than below what was expected.
    pub rising: bool,
    /// 0 to 1.
    pub score: f32,
    /// What was measured.
    pub value: f64,
    /// What was expected.
    pub expected: f64,
    /// The detector's sentence.
    pub reason: String,
}

impl From<&Observation> for Seen {
    fn from(observation: &Observation) -> Self {
        Self {
            series: observation.series.key,
            time: observation.time,
            kind: observation.kind,
            rising: observation.rising,
            score: observation.score,
            value: observation.value,
            expected: observation.expected,
            reason: observation.reason.clone(),
        }
    }
}
