//! Plugins in trouble: an incident for each plugin with a version in quarantine.
//!
//! ## What always holds
//! - a plugin has at most one open incident; a further version that falls joins it, and people are called again
//! - no agent and no policy is asked and nothing is carried out: the versions have changed places already, and a remedy for
//!   a service does not mend a plugin
//! - one quarantine opens one incident, however often it is told of
//!
//! It ends once no version is in quarantine any more (reloaded, replaced, taken away), once a version answers that does
//! not merely stand in, or once a person has acknowledged that another version stands in.

use crate::{
    Core,
    step::Stepper,
    transition::{Change, IncidentChange},
};
use salve_model::{incident::IncidentId, text::escape, time::Now};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// Most versions in quarantine of one plugin that are told of; the newest stay.
pub const FALLEN_MAX: usize = 8;
/// Most of its last errors that are told of one version; the newest stay.
pub const ERRORS_MAX: usize = 8;
/// Most plugins in trouble that are told of, by name.
pub const PLUGINS_MAX: usize = 1_000;
/// Longest text from a plugin, in characters.
const TEXT_CHARS_MAX: usize = 600;
/// Longest version in a sentence, in characters.
const VERSION_CHARS_MAX: usize = 60;

/// A version of a plugin that is in quarantine.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Fallen {
    /// Its own version.
    pub version: String,
    /// SHA-256 of the component, lower-case hex.
    pub digest: String,
    /// Since when. With the digest it tells one quarantine from another.
    pub since: Now,
    /// Why, in a sentence.
    pub reason: String,
    /// Its last errors, oldest first.
    pub errors: Vec<String>,
}

/// The version of a plugin that answers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Answering {
    /// Its own version.
    pub version: String,
    /// SHA-256 of the component, lower-case hex.
    pub digest: String,
    /// It is an earlier one that took over because another one fell.
    pub stands_in: bool,
}

/// A plugin with a version in quarantine.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PluginTrouble {
    /// Name of the plugin.
    pub plugin: String,
    /// Versions in quarantine, oldest quarantine first.
    pub fallen: Vec<Fallen>,
    /// What answers now, if anything does.
    pub answering: Option<Answering>,
}

/// What an incident about a plugin knows of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PluginMatter {
    /// How the plugin stands.
    pub trouble: PluginTrouble,
    /// Digest of the version that answered when the newest one fell, if it did not merely stand in.
    pub answered: Option<String>,
    /// Why it is settled, once it is.
    pub settled: Option<String>,
}

impl Fallen {
    fn is_same(&self, other: &Self) -> bool {
        self.digest == other.digest && self.since == other.since
    }
}

impl PluginTrouble {
    /// One line that says what is wrong.
    #[must_use]
    pub fn title(&self) -> String {
        let versions: Vec<String> = self.fallen.iter().map(|fallen| name_version(&fallen.version)).collect();
        format!("plugin `{}` {} is in quarantine", escape(&self.plugin, TEXT_CHARS_MAX), versions.join(", "))
    }

    /// What people are told when the newest version falls.
    pub(crate) fn call(&self) -> String {
        let why = self.fallen.last().map_or_else(String::new, |fallen| {
            let digest: String = fallen.digest.chars().take(12).collect();
            format!(" ({digest}): {}", escape(&fallen.reason, TEXT_CHARS_MAX))
        });
        format!("{}{why}; {}", self.title(), answers(self.answering.as_ref()))
    }

    /// Within the bounds, and with what was known of the same quarantines before: it was told of with its errors then.
    fn bounded(&self, known: Option<&Self>) -> Self {
        let text = |text: &String| text.chars().take(TEXT_CHARS_MAX).collect();
        let version = |text: &String| text.chars().take(VERSION_CHARS_MAX).collect();
        let mut fallen: Vec<Fallen> = self
            .fallen
            .iter()
            .map(|one| {
                let before = known.and_then(|known| known.fallen.iter().find(|other| other.is_same(one)));
                before.cloned().unwrap_or_else(|| Fallen {
                    version: version(&one.version),
                    reason: text(&one.reason),
                    errors: newest(&one.errors, ERRORS_MAX).iter().map(text).collect(),
                    ..one.clone()
                })
            })
            .collect();
        fallen.sort_by(|one, other| (one.since, &one.digest).cmp(&(other.since, &other.digest)));
        let fallen = newest(&fallen, FALLEN_MAX).to_vec();
        let answering = self.answering.as_ref();
        let answering = answering.map(|one| Answering { version: version(&one.version), ..one.clone() });
        Self { plugin: self.plugin.clone(), fallen, answering }
    }

    /// Some quarantine is not among those that were known.
    fn has_news(&self, known: Option<&Self>) -> bool {
        self.fallen
            .iter()
            .any(|one| known.is_none_or(|known| !known.fallen.iter().any(|other| other.is_same(one))))
    }
}

impl PluginMatter {
    pub(crate) fn new(trouble: &PluginTrouble) -> Self {
        let own = trouble.answering.as_ref().filter(|answering| !answering.stands_in);
        let answered = own.map(|answering| answering.digest.clone());
        Self { trouble: trouble.clone(), answered, settled: None }
    }

    /// Why nothing is left to be done about it, if the plugin stands so; none: something is.
    fn settled_by(&self, now: Option<&PluginTrouble>) -> Option<String> {
        let Some(now) = now else { return Some("no version of it is in quarantine any more".into()) };
        let answering = now.answering.as_ref().filter(|answering| !answering.stands_in)?;
        (self.answered.as_ref() != Some(&answering.digest))
            .then(|| format!("version {} answers", name_version(&answering.version)))
    }
}

impl Core {
    /// Why a person cannot acknowledge this incident; none if they can.
    #[must_use]
    pub fn acknowledge_objection(&self, id: &IncidentId) -> Option<String> {
        let incident = match self.find(id) {
            Ok(incident) => incident,
            Err(objection) => return Some(objection),
        };
        let Some(matter) = &incident.plugin else {
            return Some(format!("{id} is about telemetry: it closes once its symptoms have cleared"));
        };
        if !incident.is_open() {
            return Some(format!("{id} is closed already"));
        }
        let name = &matter.trouble.plugin;
        matter.trouble.answering.is_none().then(|| {
            format!("no version of `{name}` answers: reload it (`salve plugin reload {name}`), replace its file or take it away")
        })
    }
}

impl Stepper<'_> {
    /// Takes in how plugins stand.
    pub(crate) fn plugins(&mut self, told: &[PluginTrouble]) {
        let known = self.core.plugins.clone();
        let told: BTreeMap<String, PluginTrouble> = told
            .iter()
            .filter(|trouble| !trouble.fallen.is_empty())
            .take(PLUGINS_MAX)
            .map(|trouble| (trouble.plugin.clone(), trouble.bounded(known.get(&trouble.plugin))))
            .collect();
        if told == known {
            return;
        }
        self.commit(Change::PluginsChanged { plugins: told.values().cloned().collect() });
        for (name, trouble) in &told {
            if !trouble.has_news(known.get(name)) {
                continue;
            }
            match self.core.incident_of_plugin(name) {
                Some(number) => self.change(number, IncidentChange::PluginFell(Box::new(trouble.clone()))),
                None => self.open_for_plugin(trouble),
            }
        }
        for number in self.core.open_numbers() {
            let Some(matter) = self.core.incidents.get(&number).and_then(|incident| incident.plugin.clone())
            else {
                continue;
            };
            let now = told.get(&matter.trouble.plugin);
            if let Some(why) = matter.settled_by(now) {
                self.change(number, IncidentChange::PluginSettled { why });
            } else if let Some(now) = now
                && now.answering != matter.trouble.answering
            {
                let answering = now.answering.clone();
                self.change(number, IncidentChange::PluginAnswers { answering });
            }
        }
    }

    fn open_for_plugin(&mut self, trouble: &PluginTrouble) {
        let core = &*self.core;
        let open = core.incidents.values().filter(|incident| incident.is_open() && incident.plugin.is_some());
        let open_max = usize::try_from(core.settings.incidents_open_max.max(1)).unwrap_or(usize::MAX);
        if open.count() >= open_max {
            self.commit(Change::PluginOverflowed { plugin: trouble.plugin.clone() });
            return;
        }
        let number = core.next_number;
        let id = IncidentId(format!("inc-{number}"));
        let forgotten = self.incidents_to_forget(|closed| closed.plugin.is_some());
        let trouble = Box::new(trouble.clone());
        self.commit(Change::Incident(id, IncidentChange::PluginOpened { number, trouble, forgotten }));
    }

    /// A person has seen it.
    pub(crate) fn acknowledged(&mut self, id: &IncidentId, by: &str) {
        if self.core.acknowledge_objection(id).is_some() {
            return;
        }
        if let Some(number) = self.core.number(id) {
            let why = format!("acknowledged by `{}`", escape(by, VERSION_CHARS_MAX));
            self.change(number, IncidentChange::PluginSettled { why });
        }
    }
}

impl Core {
    /// The open incident about this plugin.
    fn incident_of_plugin(&self, name: &str) -> Option<u64> {
        let about = |matter: &PluginMatter| matter.trouble.plugin == name;
        let mut open = self.incidents.values().filter(|incident| incident.is_open());
        open.find(|incident| incident.plugin.as_ref().is_some_and(about)).map(|incident| incident.number)
    }
}

/// What answers, in words.
pub(crate) fn answers(answering: Option<&Answering>) -> String {
    match answering {
        None => "no version of it answers".into(),
        Some(answering) if answering.stands_in => {
            format!("version {} stands in", name_version(&answering.version))
        }
        Some(answering) => format!("version {} answers", name_version(&answering.version)),
    }
}

fn name_version(version: &str) -> String {
    escape(version, VERSION_CHARS_MAX)
}

/// The last `count_max` of them.
fn newest<T>(all: &[T], count_max: usize) -> &[T] {
    all.get(all.len().saturating_sub(count_max)..).unwrap_or_default()
}
