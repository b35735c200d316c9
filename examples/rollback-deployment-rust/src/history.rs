//! Which revision a deployment has, and to which it goes back.
//!
//! ## What always holds
//! - the present revision is the one whose template the deployment has, not the one with the highest number
//! - without a number, it never goes back to what the deployment was already moved away from in favour of what it has now: after
//!   a rollback, the revision before is the one that was bad

use crate::api::{Deployment, ReplicaSet};
use salve_plugin::prelude::*;
use serde_json::Value;

/// Set by the deployment controller on ReplicaSets.
const REVISION: &str = "deployment.kubernetes.io/revision";
/// Earlier numbers of the same template, which a rollback has made new.
const REVISION_HISTORY: &str = "deployment.kubernetes.io/revision-history";

/// One revision of a deployment.
#[derive(Debug, Clone)]
pub struct Revision<'a> {
    /// As `kubectl rollout history` numbers it.
    pub number: u64,
    /// Its ReplicaSet.
    pub set: &'a ReplicaSet,
    /// Its template.
    pub template: Value,
}

impl<'a> Revision<'a> {
    fn of(set: &'a ReplicaSet) -> Option<Self> {
        let number = set.metadata.annotations.get(REVISION)?.parse().ok()?;
        Some(Self { number, set, template: set.template() })
    }

    /// The number under which its template was first rolled out.
    fn first_number(&self) -> u64 {
        let earlier = self.set.metadata.annotations.get(REVISION_HISTORY).map_or("", String::as_str);
        earlier.split(',').filter_map(|number| number.trim().parse().ok()).fold(self.number, u64::min)
    }
}

/// From where to where.
#[derive(Debug, Clone)]
pub struct Choice<'a> {
    /// What the deployment has.
    pub present: Revision<'a>,
    /// What it had.
    pub wanted: Revision<'a>,
}

/// Finds the present revision, and the one to go back to: `number`, or the last one before.
///
/// # Errors
/// [`Failure::NotApplicable`] if there is none.
pub fn choose<'a>(
    deployment: &Deployment,
    sets: &'a [ReplicaSet],
    number: Option<u64>,
) -> Result<Choice<'a>, Failure> {
    let name = &deployment.metadata.name;
    let mut revisions: Vec<_> = sets.iter().filter_map(Revision::of).collect();
    revisions.sort_by_key(|revision| std::cmp::Reverse(revision.number));
    let position = revisions.iter().position(|revision| revision.template == deployment.spec.template);
    let Some(position) = position else {
        return Err(Failure::NotApplicable(format!(
            "no ReplicaSet has the template of `{name}` yet; the deployment controller is behind"
        )));
    };
    let present = revisions.remove(position);
    let first = present.first_number();
    let wanted = match number {
        Some(number) if number == present.number => {
            return Err(Failure::NotApplicable(format!("`{name}` has revision {number} already")));
        }
        Some(number) => revisions.into_iter().find(|revision| revision.number == number),
        None => revisions.into_iter().find(|revision| revision.number < first),
    };
    match (wanted, number) {
        (Some(wanted), _) => Ok(Choice { present, wanted }),
        (None, Some(number)) => Err(Failure::NotApplicable(format!("`{name}` keeps no revision {number}"))),
        (None, None) if first < present.number => Err(Failure::NotApplicable(format!(
            "`{name}` keeps no revision before {first}, which was put back as {}",
            present.number
        ))),
        (None, None) => {
            Err(Failure::NotApplicable(format!("`{name}` keeps no revision before {}", present.number)))
        }
    }
}

/// How the images differ, for people.
#[must_use]
pub fn images(choice: &Choice<'_>) -> String {
    const NAMED_MAX: usize = 3;
    let of = |template: &Value| -> Vec<(String, String)> {
        let text = |value: &Value, key: &str| value[key].as_str().unwrap_or_default().to_owned();
        let containers = |key: &str| template["spec"][key].as_array().cloned().unwrap_or_default();
        let all = containers("initContainers").into_iter().chain(containers("containers"));
        all.map(|container| (text(&container, "name"), text(&container, "image"))).collect()
    };
    let present = of(&choice.present.template);
    let changed: Vec<_> = of(&choice.wanted.template)
        .into_iter()
        .filter(|wanted| !present.contains(wanted))
        .map(|(name, image)| match present.iter().find(|(known, _)| *known == name) {
            Some((_, now)) => format!("{image} instead of {now}"),
            None => image,
        })
        .collect();
    match changed.len() {
        0 => "the same images".into(),
        1..=NAMED_MAX => changed.join(", "),
        more => format!("{} and {} more", changed[..NAMED_MAX].join(", "), more - NAMED_MAX),
    }
}
