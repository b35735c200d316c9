//! What the values of a target's keys were, since when, and whether they were good.

use super::tree::Kind;
use crate::storage;
use serde::{Deserialize, Serialize};
use std::{
    collections::{BTreeMap, VecDeque},
    io,
    path::Path,
};

/// One value of one key.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Version {
    /// None: the key was absent.
    pub(super) value: Option<String>,
    /// Its type; none if absent or no single value.
    pub(super) kind: Option<Kind>,
    /// Unix time in nanoseconds.
    pub(super) since: u64,
    /// It was in force for the configured time with no open incident on the target.
    pub(super) good: bool,
    /// When that time was over, Unix time in nanoseconds. An incident that turns out to have begun before takes it back.
    #[serde(default)]
    good_since: Option<u64>,
    /// Since when it has been in force with no open incident; none while one is open, or if the value has changed.
    #[serde(skip)]
    clean_since: Option<u64>,
}

/// All that is remembered of one target.
#[derive(Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Versions {
    /// By key, newest first.
    keys: BTreeMap<String, VecDeque<Version>>,
    /// Digest of the newest text that Salve wrote, or was about to write when it died.
    pub(super) salve_digest: Option<String>,
    #[serde(skip)]
    incidents_open: u32,
}

impl Versions {
    /// Nothing is known if the file is not there or makes no sense; values are then learnt afresh.
    pub(super) fn read(path: &Path) -> Self {
        let bytes = storage::read_bounded(path, 64 << 20).unwrap_or_default();
        serde_json::from_slice(&bytes).unwrap_or_default()
    }

    pub(super) fn write(&self, path: &Path) -> io::Result<()> {
        storage::write_atomic(path, &serde_json::to_vec(self)?)
    }

    pub(super) fn of(&self, key: &str) -> impl Iterator<Item = &Version> {
        self.keys.get(key).into_iter().flatten()
    }

    pub(super) fn keys(&self) -> impl Iterator<Item = &String> {
        self.keys.keys()
    }

    /// Takes note of a value. Gives the value before if that was another one, and whether one was known at all.
    pub(super) fn note(
        &mut self,
        key: &str,
        value: Option<String>,
        kind: Option<Kind>,
        now: u64,
        versions_max: usize,
    ) -> Option<Option<Version>> {
        let clean_since = (self.incidents_open == 0).then_some(now);
        let versions = self.keys.entry(key.to_owned()).or_default();
        match versions.front_mut() {
            Some(newest) if newest.value == value && newest.kind == kind => {
                // Read from disk, or learnt during an incident: the clock starts when both are over.
                if newest.clean_since.is_none() {
                    newest.clean_since = clean_since;
                }
                None
            }
            newest => {
                let before = newest.map(|newest| {
                    newest.clean_since = None;
                    newest.clone()
                });
                versions.push_front(Version {
                    value,
                    kind,
                    since: now,
                    good: false,
                    good_since: None,
                    clean_since,
                });
                // The last good value must stay known however often the key is changed afterwards.
                while versions.len() > versions_max.max(2) {
                    let last_good = versions.iter().position(|version| version.good);
                    let oldest = versions.len() - 1;
                    let drop_at = if last_good == Some(oldest) { oldest - 1 } else { oldest };
                    versions.remove(drop_at);
                }
                Some(before)
            }
        }
    }

    /// Marks values good whose time has come. True if any was marked.
    pub(super) fn age(&mut self, now: u64, good_after_ns: u64) -> bool {
        let mut marked = false;
        for newest in self.keys.values_mut().filter_map(VecDeque::front_mut) {
            let good_since = newest.clean_since.map(|since| since.saturating_add(good_after_ns));
            if !newest.good && good_since.is_some_and(|since| since <= now) {
                newest.good = true;
                newest.good_since = good_since;
                marked = true;
            }
        }
        marked
    }

    /// Trouble is known only some time after it began: what became good since `began` (Unix time in nanoseconds) is not. True if there
    /// was any.
    pub(super) fn incident_opened(&mut self, began: u64) -> bool {
        self.incidents_open = self.incidents_open.saturating_add(1);
        let mut taken_back = false;
        for versions in self.keys.values_mut() {
            if let Some(newest) = versions.front_mut() {
                newest.clean_since = None;
            }
            for version in versions.iter_mut().filter(|version| version.good_since >= Some(began)) {
                (version.good, version.good_since) = (false, None);
                taken_back = true;
            }
        }
        taken_back
    }

    pub(super) fn incident_closed(&mut self, now: u64) {
        self.incidents_open = self.incidents_open.saturating_sub(1);
        if self.incidents_open == 0 {
            for newest in self.keys.values_mut().filter_map(VecDeque::front_mut) {
                newest.clean_since = Some(now);
            }
        }
    }

    /// Forgets keys that are not listed any more.
    pub(super) fn retain(&mut self, listed: impl Fn(&str) -> bool) {
        self.keys.retain(|key, _| listed(key));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn note(versions: &mut Versions, value: &str, now: u64) {
        versions.note("k", Some(value.into()), Some(Kind::String), now, 5);
    }

    fn good(versions: &Versions) -> Vec<(&str, bool)> {
        versions.of("k").map(|version| (version.value.as_deref().unwrap_or("-"), version.good)).collect()
    }

    /// Guarantees: a value is good after its time without an open incident, and only then; an incident stops the clock
    /// and its end starts it anew.
    #[test]
    fn good_needs_quiet_time() {
        let mut versions = Versions::default();
        note(&mut versions, "a", 0);
        assert!(!versions.age(99, 100));
        assert!(versions.age(100, 100));
        note(&mut versions, "b", 200);
        versions.incident_opened(210);
        assert!(!versions.age(500, 100));
        versions.incident_closed(600);
        assert!(!versions.age(650, 100));
        assert_eq!(good(&versions), [("b", false), ("a", true)]);
        assert!(versions.age(700, 100));
        // What was good stays good when an incident comes later.
        versions.incident_opened(710);
        assert_eq!(good(&versions), [("b", true), ("a", true)]);
        // A value that comes during an incident is not good by waiting.
        note(&mut versions, "c", 800);
        assert!(!versions.age(10_000, 100));
    }

    /// Scenario: somebody writes a bad value; the trouble that it makes is noticed only when the value would be good by its age, and by
    /// then somebody has put the former value back. Guarantees: the bad value is not good, so that nothing leads back to it; what was
    /// good when the trouble began still is.
    #[test]
    fn trouble_that_is_noticed_late_takes_good_back() {
        let mut versions = Versions::default();
        note(&mut versions, "right", 0);
        versions.age(100, 100);
        note(&mut versions, "wrong", 200);
        assert!(versions.age(310, 100));
        note(&mut versions, "right", 320);
        assert_eq!(good(&versions), [("right", false), ("wrong", true), ("right", true)]);
        assert!(versions.incident_opened(250));
        assert_eq!(good(&versions), [("right", false), ("wrong", false), ("right", true)]);
        assert!(!versions.incident_opened(250));

        // It was looked at late: what counts is when its time was over.
        let mut versions = Versions::default();
        note(&mut versions, "right", 0);
        assert!(versions.age(500, 100));
        assert!(!versions.incident_opened(101));
        assert_eq!(good(&versions), [("right", true)]);
    }

    /// Guarantees: history is bounded, and the last good value survives any number of bad ones.
    #[test]
    fn the_last_good_value_is_never_dropped() {
        let mut versions = Versions::default();
        note(&mut versions, "good", 0);
        versions.age(100, 100);
        for number in 0..100 {
            note(&mut versions, &number.to_string(), 200 + number);
        }
        assert_eq!(
            good(&versions),
            [("99", false), ("98", false), ("97", false), ("96", false), ("good", true)]
        );
    }

    /// Guarantees: what was good is good after a restart; what was on its way starts anew.
    #[test]
    fn survives_a_restart() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("versions.json");
        let mut versions = Versions::default();
        note(&mut versions, "a", 0);
        versions.age(100, 100);
        note(&mut versions, "b", 150);
        versions.write(&path).unwrap();
        let mut versions = Versions::read(&path);
        assert_eq!(good(&versions), [("b", false), ("a", true)]);
        note(&mut versions, "b", 1_000);
        assert!(!versions.age(1_050, 100));
        assert!(versions.age(1_100, 100));
        std::fs::write(&path, "not json").unwrap();
        assert_eq!(Versions::read(&path), Versions::default());
    }
}
