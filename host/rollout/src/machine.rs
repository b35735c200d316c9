//! The state machine: inputs with their time in, changes with their reasons out.

use crate::{
    Change, Facts, Input, Plugin, Promote, Refusal, Rules, Sample, Samples, Stage, Version, differences,
};
use std::collections::BTreeMap;

/// Most records of versions of one name; those that nothing needs leave first, oldest first.
const RECORDS_MAX: usize = 24;
/// Longest reason.
const REASON_CHARS_MAX: usize = 600;

/// All plugins.
#[derive(Debug, Clone, PartialEq)]
pub struct Rollout {
    rules: Rules,
    plugins: BTreeMap<String, Plugin>,
}

impl Rollout {
    /// No plugins yet.
    #[must_use]
    pub fn new(rules: Rules) -> Self {
        Self::restore(rules, BTreeMap::new())
    }

    /// As it was when [`Rollout::plugins`] was written down.
    #[must_use]
    pub fn restore(rules: Rules, plugins: BTreeMap<String, Plugin>) -> Self {
        Self { rules, plugins }
    }

    /// Other rules from now on.
    pub fn set_rules(&mut self, rules: Rules) {
        self.rules = rules;
    }

    /// The rules in force.
    #[must_use]
    pub fn rules(&self) -> &Rules {
        &self.rules
    }

    /// All plugins by name.
    #[must_use]
    pub fn plugins(&self) -> &BTreeMap<String, Plugin> {
        &self.plugins
    }

    /// Digest of the version that answers.
    #[must_use]
    pub fn active(&self, name: &str) -> Option<&str> {
        self.plugins.get(name)?.active.as_deref()
    }

    /// Digest and stage of the version that is held or tried.
    #[must_use]
    pub fn candidate(&self, name: &str) -> Option<(&str, Stage)> {
        let plugin = self.plugins.get(name)?;
        let digest = plugin.candidate.as_deref()?;
        Some((digest, plugin.versions.get(digest)?.stage))
    }

    /// Digest of the version that answers for `key`, for instance a target: the canary for its share of keys, else the
    /// active one. The same key always gets the same answer while neither version changes.
    #[must_use]
    pub fn chosen(&self, name: &str, key: &str) -> Option<&str> {
        let active = self.active(name)?;
        match self.candidate(name) {
            Some((canary, Stage::Canary)) if is_in_share(canary, key, self.rules.canary_share) => {
                Some(canary)
            }
            _ => Some(active),
        }
    }

    /// Takes note of something and says what it changed.
    ///
    /// # Errors
    /// [`Refusal`]: the operator's word makes no sense now. Nothing has changed then.
    pub fn try_step(&mut self, now_ms: u64, input: Input) -> Result<Vec<Change>, Refusal> {
        let mut changes = Vec::new();
        let rules = &self.rules;
        let name = match &input {
            Input::Tick => {
                for (name, plugin) in &mut self.plugins {
                    Step { name, plugin, rules, now_ms, changes: &mut changes }.judge();
                }
                return Ok(changes);
            }
            Input::Loaded(facts) => {
                let plugin = self.plugins.entry(facts.name.clone()).or_insert_with(|| Plugin {
                    versions: BTreeMap::new(),
                    active: None,
                    candidate: None,
                    stands_in: false,
                    previous: Vec::new(),
                    baseline: facts.clone(),
                });
                let name = facts.name.clone();
                Step { name: &name, plugin, rules, now_ms, changes: &mut changes }.loaded(facts.clone());
                return Ok(changes);
            }
            Input::Gone { name }
            | Input::Compared { name, .. }
            | Input::Unfit { name, .. }
            | Input::Quarantined { name, .. }
            | Input::Accept { name, .. }
            | Input::Promote { name, .. }
            | Input::Rollback { name, .. }
            | Input::Retry { name, .. } => name.clone(),
        };
        let Some(plugin) = self.plugins.get_mut(&name) else {
            return Err(Refusal(format!("there is no plugin `{name}`")));
        };
        let mut step = Step { name: &name, plugin, rules, now_ms, changes: &mut changes };
        match input {
            Input::Gone { .. } => step.gone(),
            Input::Compared { digest, stage, sample, .. } => step.compared(&digest, stage, &sample),
            Input::Unfit { digest, reason, .. } => step.fall(&digest, Stage::Failed, reason),
            Input::Quarantined { digest, reason, .. } => step.fall(&digest, Stage::Quarantined, reason),
            Input::Accept { digest, by, .. } => step.accept(&digest, &by)?,
            Input::Promote { digest, by, .. } => step.promote(digest.as_deref(), &by)?,
            Input::Rollback { by, .. } => step.rollback(&by)?,
            Input::Retry { digest, by, .. } => step.retry(&digest, &by)?,
            Input::Tick | Input::Loaded(_) => {}
        }
        Ok(changes)
    }

    /// [`Rollout::try_step`] for inputs that nobody waits for: a refusal is no change.
    pub fn step(&mut self, now_ms: u64, input: Input) -> Vec<Change> {
        self.try_step(now_ms, input).unwrap_or_default()
    }
}

/// One input's work on one plugin.
struct Step<'a> {
    name: &'a str,
    plugin: &'a mut Plugin,
    rules: &'a Rules,
    now_ms: u64,
    changes: &'a mut Vec<Change>,
}

impl Step<'_> {
    /// Moves a version, and says so if that is news.
    fn go(&mut self, digest: &str, to: Stage, reason: String) {
        let Some(version) = self.plugin.versions.get_mut(digest) else { return };
        let from = version.stage;
        version.stage = to;
        version.since_ms = self.now_ms;
        version.samples = Samples::default();
        version.reason = reason.chars().take(REASON_CHARS_MAX).collect();
        let change = Change {
            plugin: self.name.to_owned(),
            digest: digest.to_owned(),
            version: version.facts.version.clone(),
            from: Some(from),
            to,
            reason: version.reason.clone(),
        };
        self.changes.push(change);
    }

    fn stage(&self, digest: &str) -> Option<Stage> {
        self.plugin.versions.get(digest).map(|version| version.stage)
    }

    fn label(&self, digest: &str) -> String {
        let version = self.plugin.versions.get(digest).map_or("", |version| version.facts.version.as_str());
        format!("{version} ({})", short(digest))
    }

    fn loaded(&mut self, facts: Facts) {
        let digest = facts.digest.clone();
        if self.plugin.active.as_ref() == Some(&digest) {
            self.end_trial(Stage::Retired, "the file of the active version is back");
            self.plugin.stands_in = false;
            return;
        }
        if self.plugin.candidate.as_ref() == Some(&digest) {
            return;
        }
        // A file that is merely seen again changes nothing about what became of it.
        if matches!(self.stage(&digest), Some(Stage::Failed | Stage::Quarantined)) {
            self.end_trial(Stage::Retired, "its file was replaced");
            return;
        }
        let baseline = &self.plugin.baseline;
        let differs = differences(&facts, baseline);
        let role_changed = (facts.role != baseline.role).then(|| {
            format!("it is of role {}, and `{}` is of role {}", facts.role, self.name, baseline.role)
        });
        self.end_trial(Stage::Retired, "a newer file replaced it");
        let before = self.stage(&digest);
        let version = Version {
            facts,
            // Where it goes is said in a moment.
            stage: before.unwrap_or(Stage::Held),
            since_ms: self.now_ms,
            reason: String::new(),
            samples: Samples::default(),
            differences: differs,
        };
        self.plugin.versions.insert(digest.clone(), version);
        let first = self.changes.len();
        match role_changed {
            Some(reason) => self.go(&digest, Stage::Failed, reason),
            None => self.admit(&digest, false),
        }
        if before.is_none()
            && let Some(change) = self.changes.get_mut(first)
        {
            change.from = None;
        }
        self.forget();
    }

    /// Lets a version begin: held, in shadow, or active if there is nothing to compare it with.
    fn admit(&mut self, digest: &str, accepted: bool) {
        let wider: Vec<String> = self.plugin.versions.get(digest).map_or_else(Vec::new, |version| {
            version.differences.iter().filter(|found| found.wider).map(|found| found.words.clone()).collect()
        });
        let waits = !wider.is_empty() && !accepted;
        if waits || self.plugin.active.is_some() {
            // While it is tried it is no version to go back to.
            self.plugin.previous.retain(|other| other != digest);
        }
        if waits {
            self.plugin.candidate = Some(digest.to_owned());
            self.go(
                digest,
                Stage::Held,
                format!("it asks for more than the last active version: {}", wider.join("; ")),
            );
        } else if self.plugin.active.is_some() {
            self.plugin.candidate = Some(digest.to_owned());
            self.go(digest, Stage::Shadow, "it is compared with the active version".into());
        } else {
            self.activate(digest, "nothing else of this name is active".into());
        }
    }

    /// The version answers from now on.
    fn activate(&mut self, digest: &str, reason: String) {
        let label = self.label(digest);
        if let Some(old) = self.plugin.active.take() {
            self.go(&old, Stage::Retired, format!("{label} took its place"));
            self.remember(old);
        }
        self.plugin.previous.retain(|other| other != digest);
        if self.plugin.candidate.as_deref() == Some(digest) {
            self.plugin.candidate = None;
        }
        self.plugin.active = Some(digest.to_owned());
        self.plugin.stands_in = false;
        if let Some(version) = self.plugin.versions.get(digest) {
            self.plugin.baseline = version.facts.clone();
        }
        self.go(digest, Stage::Active, reason);
    }

    fn remember(&mut self, digest: String) {
        self.plugin.previous.retain(|other| *other != digest);
        self.plugin.previous.push(digest);
        let excess = self.plugin.previous.len().saturating_sub(self.rules.versions_kept);
        self.plugin.previous.drain(..excess);
    }

    fn end_trial(&mut self, to: Stage, reason: &str) {
        if let Some(digest) = self.plugin.candidate.take() {
            self.go(&digest, to, reason.into());
        }
    }

    fn gone(&mut self) {
        self.end_trial(Stage::Retired, "its file is gone");
        if let Some(active) = self.plugin.active.take() {
            self.go(&active, Stage::Retired, "its file is gone".into());
            self.remember(active);
        }
    }

    fn compared(&mut self, digest: &str, asked_in: Stage, sample: &Sample) {
        if self.plugin.candidate.as_deref() != Some(digest) {
            return;
        }
        if let Some(version) = self.plugin.versions.get_mut(digest)
            && matches!(version.stage, Stage::Shadow | Stage::Canary)
        {
            version.samples.add(&if version.stage == asked_in { *sample } else { sample.against() });
        }
        self.judge();
    }

    /// Lets the version under trial fall back or go on, if the rules say so.
    fn judge(&mut self) {
        let Some(digest) = self.plugin.candidate.clone() else { return };
        let Some(version) = self.plugin.versions.get(&digest) else { return };
        let stage = version.stage;
        if !matches!(stage, Stage::Shadow | Stage::Canary) {
            return;
        }
        let enough =
            if version.facts.role == "detector" { self.rules.samples_min } else { self.rules.calls_min };
        if let Some(reason) = version.samples.objection(self.rules, enough) {
            self.fall(&digest, Stage::Failed, reason);
            return;
        }
        let elapsed_ms = self.now_ms.saturating_sub(version.since_ms);
        let compared = version.samples.compared;
        if self.rules.promote == Promote::Manual
            || !version.samples.suffice(self.rules, stage, enough, elapsed_ms)
        {
            return;
        }
        let reason = format!("{compared} comparisons in {} are within the bounds", stage.as_str());
        if stage == Stage::Shadow && self.rules.canary_share > 0.0 {
            self.go(&digest, Stage::Canary, reason);
        } else {
            self.activate(&digest, reason);
        }
    }

    /// The version is chosen for nothing any more; if it was active, the one before it takes over.
    fn fall(&mut self, digest: &str, to: Stage, reason: String) {
        match self.stage(digest) {
            None | Some(Stage::Failed | Stage::Quarantined) => return,
            Some(_) => {}
        }
        self.plugin.previous.retain(|other| other != digest);
        if self.plugin.candidate.as_deref() == Some(digest) {
            self.plugin.candidate = None;
        }
        let label = self.label(digest);
        let was_active = self.plugin.active.as_deref() == Some(digest);
        if was_active {
            self.plugin.active = None;
        }
        self.go(digest, to, reason);
        if was_active && let Some(previous) = self.plugin.previous.pop() {
            self.activate(&previous, format!("it takes over, since {label} is {to}"));
            self.plugin.stands_in = true;
        }
    }

    fn accept(&mut self, digest: &str, by: &str) -> Result<(), Refusal> {
        let held = self.plugin.candidate.clone().filter(|held| self.stage(held) == Some(Stage::Held));
        match held {
            Some(held) if held == digest => {}
            Some(held) => {
                return Err(Refusal(format!(
                    "the version that is held now is {}, not {}",
                    short(&held),
                    short(digest)
                )));
            }
            None => return Err(Refusal(format!("no version of `{}` is held", self.name))),
        }
        if self.plugin.active.is_some() {
            self.go(
                digest,
                Stage::Shadow,
                format!("accepted by {by}; it is compared with the active version"),
            );
        } else {
            self.activate(digest, format!("accepted by {by}; nothing else of this name is active"));
        }
        Ok(())
    }

    fn promote(&mut self, digest: Option<&str>, by: &str) -> Result<(), Refusal> {
        let Some(digest) = digest.map(String::from).or_else(|| self.plugin.candidate.clone()) else {
            return Err(Refusal(format!("no version of `{}` is tried or held", self.name)));
        };
        match self.stage(&digest) {
            None => return Err(Refusal(format!("`{}` has no version {}", self.name, short(&digest)))),
            Some(Stage::Active) => return Err(Refusal(format!("{} is active already", self.label(&digest)))),
            Some(Stage::Quarantined) => {
                return Err(Refusal(format!(
                    "{} is in quarantine; load a version that does not trap",
                    self.label(&digest)
                )));
            }
            Some(_) => {}
        }
        if self.plugin.candidate.as_deref() != Some(&digest) {
            self.end_trial(Stage::Retired, "another version was promoted");
        }
        self.activate(&digest, format!("promoted by {by}"));
        Ok(())
    }

    fn rollback(&mut self, by: &str) -> Result<(), Refusal> {
        if self.plugin.candidate.is_some() {
            self.end_trial(Stage::Failed, &format!("rolled back by {by}"));
            return Ok(());
        }
        let Some(previous) = self.plugin.previous.pop() else {
            return Err(Refusal(format!("there is no earlier version of `{}` to go back to", self.name)));
        };
        if let Some(active) = self.plugin.active.take() {
            self.go(&active, Stage::Failed, format!("rolled back by {by}"));
        }
        self.activate(&previous, format!("rolled back to by {by}"));
        Ok(())
    }

    fn retry(&mut self, digest: &str, by: &str) -> Result<(), Refusal> {
        if !matches!(self.stage(digest), Some(Stage::Failed | Stage::Quarantined)) {
            return Ok(());
        }
        if self
            .plugin
            .versions
            .get(digest)
            .is_some_and(|version| version.facts.role != self.plugin.baseline.role)
        {
            return Err(Refusal(format!("{} is of another role", self.label(digest))));
        }
        self.end_trial(Stage::Retired, &format!("another version was reloaded by {by}"));
        self.admit(digest, false);
        Ok(())
    }

    /// Drops records that nothing needs.
    fn forget(&mut self) {
        while self.plugin.versions.len() > RECORDS_MAX {
            let plugin = &*self.plugin;
            let is_needed = |digest: &String| {
                plugin.active.as_ref() == Some(digest)
                    || plugin.candidate.as_ref() == Some(digest)
                    || plugin.previous.contains(digest)
            };
            let unneeded = plugin.versions.iter().filter(|(digest, _)| !is_needed(digest));
            let Some(oldest) =
                unneeded.min_by_key(|(_, version)| version.since_ms).map(|(digest, _)| digest.clone())
            else {
                return;
            };
            self.plugin.versions.remove(&oldest);
        }
    }
}

/// The first twelve digits, as people compare them.
fn short(digest: &str) -> String {
    digest.chars().take(12).collect()
}

/// Whether a key falls into a version's share. FNV-1a (Fowler, Noll, Vo; 64 bits) with the finaliser of MurmurHash3:
/// equal everywhere, and evenly spread.
fn is_in_share(digest: &str, key: &str, share: f64) -> bool {
    let mut hash = 0xcbf2_9ce4_8422_2325_u64;
    for byte in digest.bytes().chain([0]).chain(key.bytes()) {
        hash = (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
    }
    hash = (hash ^ (hash >> 33)).wrapping_mul(0xff51_afd7_ed55_8ccd);
    hash = (hash ^ (hash >> 33)).wrapping_mul(0xc4ce_b9fe_1a85_ec53);
    hash ^= hash >> 33;
    ((hash >> 11) as f64) / ((1_u64 << 53) as f64) < share
}
