//! The decision core: events in, transitions and effects out. It finds out which symptoms belong together, asks for
//! the cause and for remedies, guards what is done, judges by the telemetry whether it helped, and takes it back if not.
//!
//! ```
//! use salve_core::{Core, Event, Settings};
//! use salve_model::time::Now;
//!
//! let mut core = Core::new();
//! let event = Event::Configured { settings: Settings::default(), targets: vec![] };
//! let step = core.step(&event, Now(1_000));
//!
//! // The ledger gets the transitions, and after a crash they are folded into the same state.
//! let mut recovered = Core::new();
//! step.transitions.iter().for_each(|transition| recovered.apply(transition));
//! assert_eq!(recovered, core);
//! ```
//!
//! ## What always holds
//! - no I/O, no clock, no randomness (`clippy.toml` of this crate): the same state, event and `now` give the same
//!   transitions and effects, bit for bit
//! - state changes through [`Core::apply`] only; an event without a transition leaves it as it was
//! - nothing is carried out that no policy proposed, that the mode forbids, or while Salve is paused; see [`guard`]
//! - whatever was written is verified, taken back or reported; see [`verify`]
//! - answers to older questions change nothing
//! - an incident is of one tenant: symptoms of another one never join it, it acts on no target of another one, and its bounds
//!   are filled by no other one
//! - event time orders points; every deadline is counted in `now`, which never goes backwards here
//!
//! Not here: detecting (plugins), what a policy says (`salve-policy`), what a plan does (`salve-capabilities`),
//! durability (`salve-ledger`).

mod apply;
mod approval;
mod ask;
mod correlate;
mod progress;
mod recover;
mod step;

pub mod effect;
pub mod event;
pub mod guard;
pub mod incident;
pub mod plugin;
pub mod settings;
pub mod symptom;
pub mod timeline;
pub mod transition;
pub mod undo;
pub mod verify;
pub mod view;

#[cfg(test)]
mod tests;

pub use effect::Effect;
pub use event::Event;
pub use settings::Settings;
pub use transition::{SCHEMA_VERSION, Transition};
pub use undo::HalfDone;
pub use view::{IncidentDetail, IncidentSummary};

use incident::Incident;
use salve_model::{
    Target, TargetId, Tenant, incident::IncidentId, telemetry::SeriesKey, text::escape, time::Now,
};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use symptom::Candidate;

/// The state machine. Equal states have equal bytes.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Core {
    /// Time of the newest transition.
    now: Now,
    settings: Settings,
    targets: Vec<Target>,
    /// Callers and callees of each tenant that has any.
    topology: BTreeMap<Tenant, BTreeSet<(String, String)>>,
    pause: Option<Pause>,
    candidates: BTreeMap<SeriesKey, Candidate>,
    /// By number: open ones, and closed ones that are remembered.
    incidents: BTreeMap<u64, Incident>,
    /// Plugins with a version in quarantine, by name.
    plugins: BTreeMap<String, plugin::PluginTrouble>,
    next_number: u64,
    /// Starts of runs, and whose they were, for the rate guard.
    run_starts: VecDeque<(Now, Tenant)>,
    /// Ends of runs by object, for the cool-down.
    run_ends: BTreeMap<String, Now>,
    counts: Counts,
}

/// What one event brings about.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Step {
    /// For the ledger, in order. None: the event need not be recorded.
    pub transitions: Vec<Transition>,
    /// To be carried out in order, once they are in the ledger.
    pub effects: Vec<Effect>,
}

/// The kill switch is on.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pause {
    /// Who.
    pub by: String,
    /// Why.
    pub reason: String,
    /// Since when.
    pub since: Now,
}

/// How often a bound was reached, and totals, since the ledger began.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Counts {
    /// Incidents opened.
    pub incidents_opened: u64,
    /// Incidents that came back within `reopen_ms`.
    pub incidents_reopened: u64,
    /// Series with abnormal points that were forgotten before they became a symptom.
    pub candidates_forgotten: u64,
    /// Symptoms that joined a foreign incident because of `incidents_open_max`.
    pub symptoms_overflowed: u64,
    /// Symptoms that were not taken in because of `symptoms_max`.
    pub symptoms_refused: u64,
    /// Plugins that fell and got no incident because of `incidents_open_max`.
    pub plugins_overflowed: u64,
}

impl Default for Core {
    fn default() -> Self {
        Self::new()
    }
}

impl Core {
    /// A core that knows nothing, in mode `observe` until it is told otherwise.
    #[must_use]
    pub fn new() -> Self {
        Self {
            now: Now(0),
            settings: Settings::default(),
            targets: Vec::new(),
            topology: BTreeMap::new(),
            pause: None,
            candidates: BTreeMap::new(),
            incidents: BTreeMap::new(),
            plugins: BTreeMap::new(),
            next_number: 1,
            run_starts: VecDeque::new(),
            run_ends: BTreeMap::new(),
            counts: Counts::default(),
        }
    }

    /// Guards and times in force.
    #[must_use]
    pub fn settings(&self) -> &Settings {
        &self.settings
    }

    /// The kill switch, if it is on.
    #[must_use]
    pub fn paused(&self) -> Option<&Pause> {
        self.pause.as_ref()
    }

    /// Bounds reached, and totals.
    #[must_use]
    pub fn counts(&self) -> &Counts {
        &self.counts
    }

    /// Passes over an incident whose transitions were erased: it is not known, and no other is given its name.
    pub fn skip(&mut self, id: &IncidentId) {
        let after = number_in(id).and_then(|number| number.checked_add(1));
        self.next_number = self.next_number.max(after.unwrap_or(0));
    }

    /// The number of a known incident.
    fn number(&self, id: &IncidentId) -> Option<u64> {
        let number = number_in(id)?;
        (self.incidents.get(&number)?.id == *id).then_some(number)
    }

    fn known(&self, id: &IncidentId) -> Option<&Incident> {
        self.incidents.get(&self.number(id)?)
    }

    /// The same, or in a sentence that there is none.
    fn find(&self, id: &IncidentId) -> Result<&Incident, String> {
        self.known(id).ok_or_else(|| format!("there is no incident `{}`", escape(&id.0, 100)))
    }

    /// Whose a known incident is; that of one about a plugin, and of one that is not known (any more), is `default`.
    #[must_use]
    pub fn tenant(&self, id: &IncidentId) -> Tenant {
        self.known(id).map(Incident::tenant).unwrap_or_default()
    }

    /// Whose this change is, once it has been applied; what concerns all of Salve is `default`'s.
    #[must_use]
    pub fn tenant_of(&self, change: &transition::Change) -> Tenant {
        use transition::Change;
        match change {
            Change::Incident(id, _) => self.tenant(id),
            Change::Suspected { candidate, .. } => candidate.tenant.clone(),
            Change::TopologyChanged { tenant, .. } => tenant.clone(),
            _ => Tenant::default(),
        }
    }

    /// The target is known, and another tenant's.
    fn is_foreign(&self, target: &TargetId, tenant: &Tenant) -> bool {
        self.targets.iter().any(|known| known.id == *target && known.tenant != *tenant)
    }

    /// Numbers of open incidents, oldest first.
    fn open_numbers(&self) -> Vec<u64> {
        self.incidents
            .values()
            .filter(|incident| incident.is_open())
            .map(|incident| incident.number)
            .collect()
    }
}

/// The number in an incident's name.
fn number_in(id: &IncidentId) -> Option<u64> {
    id.0.strip_prefix("inc-")?.parse().ok()
}
