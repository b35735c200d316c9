//! What plugins do wrong, in the ledger: files that were refused, detectors and agents that fail.
//!
//! ## What always holds
//! - the same words about the same plugin are noted once, until they change
//! - a plugin that says something new all the time fills no ledger: at most [`NOTES_MAX`] in [`WINDOW_MS`] for each
//! - an agent's fault stands beside its incident, once for each time that it is asked, whichever agent answers in the end

use super::{Daemon, effects::Effects};
use salve_ledger::{EntryKind, NewEntry};
use salve_model::{
    incident::{Findings, IncidentView},
    text::escape,
    time::Now,
};
use salve_plugins::GuestError;
use serde_json::{Value, json};
use std::collections::{BTreeMap, VecDeque};

/// Most notes on one plugin in a window of time.
const NOTES_MAX: usize = 5;
/// Length of that window.
const WINDOW_MS: u64 = 60_000;
/// Longest words of a note, in characters.
const WORDS_CHARS_MAX: usize = 1_000;

/// What was noted last on each plugin.
#[derive(Debug, Default)]
pub struct Notes(BTreeMap<String, Subject>);

#[derive(Debug, Default)]
struct Subject {
    words: String,
    /// Times of the newest notes, oldest first.
    noted: VecDeque<Now>,
    /// Changes that came too fast.
    left_out: u64,
}

impl Notes {
    /// Which of these are new, by subject, with the number of those left out before. Subjects that are not among them
    /// have nothing wrong any more.
    fn news(&mut self, wrong: BTreeMap<String, String>, now: Now) -> Vec<(String, String, u64)> {
        for (subject, known) in &mut self.0 {
            if !wrong.contains_key(subject) {
                known.words.clear();
            }
        }
        // A subject is forgotten once its window is over, so that names that come and go take no memory.
        self.0.retain(|subject, known| {
            wrong.contains_key(subject) || known.noted.back().is_some_and(|at| now.since_ms(*at) < WINDOW_MS)
        });
        let mut news = Vec::new();
        for (subject, words) in wrong {
            let known = self.0.entry(subject.clone()).or_default();
            if known.words == words {
                continue;
            }
            while known.noted.front().is_some_and(|at| now.since_ms(*at) >= WINDOW_MS) {
                known.noted.pop_front();
            }
            if known.noted.len() >= NOTES_MAX {
                known.left_out += 1;
                continue;
            }
            known.noted.push_back(now);
            known.words.clone_from(&words);
            news.push((subject, words, std::mem::take(&mut known.left_out)));
        }
        news
    }
}

impl Daemon {
    /// Notes what is newly wrong with plugin files and detectors.
    pub async fn note_plugins(&self, notes: &mut Notes) {
        let mut wrong: BTreeMap<String, String> = self
            .catalogue
            .problems()
            .into_iter()
            .map(|(path, why)| (format!("plugin file {}", path.display()), why))
            .collect();
        let statuses =
            self.detector_statuses.lock().unwrap_or_else(std::sync::PoisonError::into_inner).clone();
        let failing = statuses
            .into_iter()
            .filter_map(|(name, status)| Some((format!("detector {name}"), status.problem?)));
        wrong.extend(failing);
        let now = self.clock.now();
        let entries: Vec<NewEntry> = notes
            .news(wrong, now)
            .into_iter()
            .map(|(subject, words, left_out)| {
                NewEntry::new(EntryKind::Note, now.0, note(&subject, &words, left_out))
            })
            .collect();
        if entries.is_empty() {
            return;
        }
        if let Err(error) = self.ledger.append(entries).await {
            // The core stops the daemon if the ledger stays like this.
            tracing::error!(%error, "Cannot note what plugins do wrong.");
        }
    }
}

impl Effects {
    /// Notes what was wrong with an agent's answer, if anything was.
    pub async fn note_agent(
        &self,
        incident: &IncidentView,
        agent: &str,
        answer: &Result<Findings, GuestError>,
    ) {
        let words = match answer {
            Ok(findings) if findings.left_out == 0 => return,
            Ok(findings) => {
                format!("{} parts of its findings make no sense and were left out", findings.left_out)
            }
            Err(error) => error.to_string(),
        };
        let note = note(&format!("agent {agent}"), &words, 0);
        let mut entry =
            NewEntry::new(EntryKind::Note, self.clock.now().0, note).incident(incident.id.0.clone());
        entry.tenant = incident.tenant.clone();
        if let Err(error) = self.ledger.append(vec![entry]).await {
            tracing::error!(incident = %incident.id, agent, %error, "Cannot note what an agent did wrong.");
        }
    }
}

fn note(subject: &str, words: &str, left_out: u64) -> Value {
    json!({ "about": escape(subject, 300), "problem": escape(words, WORDS_CHARS_MAX), "left_out": left_out })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wrong(words: &str) -> BTreeMap<String, String> {
        if words.is_empty() { BTreeMap::new() } else { BTreeMap::from([("detector a".into(), words.into())]) }
    }

    /// Guarantees: what stays the same is noted once, what comes back is noted again, what changes all the time is
    /// bounded and counted, and a subject of which nothing more is heard is forgotten.
    #[test]
    fn notes_are_new_and_few() {
        let mut notes = Notes::default();
        let mut count = |words: &str, now: u64| notes.news(wrong(words), Now(now)).len();
        assert_eq!((count("loops", 0), count("loops", 1)), (1, 0));
        assert_eq!((count("", 2), count("loops", 3)), (0, 1));
        let flood: usize = (0..100).map(|number| count(&format!("no. {number}"), 10 + number)).sum();
        assert_eq!(flood, NOTES_MAX - 2);
        let later = notes.news(wrong("last"), Now(WINDOW_MS + 1_000));
        assert_eq!(later[0].2, 100 - flood as u64);
        notes.news(BTreeMap::new(), Now(3 * WINDOW_MS));
        assert!(notes.0.is_empty());
    }
}
