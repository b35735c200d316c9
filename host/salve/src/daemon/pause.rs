//! The kill switch, and the operator's word to take a remedy back.
//!
//! ## What always holds
//! - the file is the switch: it counts from when it is there, whoever made it, and the core follows it
//! - the core hears of it before the next event and before the next question, so that remedies wait instead of failing

use super::Daemon;
use anyhow::{Context, Result};
use salve_capabilities::{KillSwitch, Pause};
use salve_core::{Core, Event, HalfDone};
use salve_model::{incident::IncidentId, text::escape};
use std::{
    io,
    path::Path,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

/// Who it was, if the file does not say.
const BY_FILE: &str = "the pause file";
/// Who it was, if the file was removed by hand.
const BY_REMOVAL: &str = "removal of the pause file";

/// The kill switch. Clones are the same.
#[derive(Clone)]
pub struct Switch {
    file: KillSwitch,
    /// Who is turning it off, until the core knows.
    resumed_by: Arc<Mutex<Option<String>>>,
}

impl Switch {
    /// The switch that this file is.
    pub fn new(file: &Path) -> Self {
        Self { file: KillSwitch::new(file), resumed_by: Arc::default() }
    }

    /// Looks at the file now.
    pub fn paused(&self) -> Option<Pause> {
        self.file.paused()
    }

    fn resume(&self, by: String) -> io::Result<()> {
        let mut resumed_by = self.resumed_by();
        self.file.resume()?;
        *resumed_by = Some(by);
        Ok(())
    }

    /// What the core has to be told; none if it knows how the switch stands.
    pub fn news(&self, core: &Core) -> Option<Event> {
        let mut resumed_by = self.resumed_by();
        match (core.paused(), self.file.paused()) {
            (None, Some(pause)) => {
                let by = if pause.by.is_empty() { BY_FILE.to_owned() } else { pause.by };
                tracing::warn!(by, reason = pause.reason, "Paused.");
                Some(Event::Paused { by, reason: pause.reason })
            }
            (Some(_), None) => {
                let by = resumed_by.take().unwrap_or_else(|| BY_REMOVAL.to_owned());
                tracing::warn!(by, "Resumed.");
                Some(Event::Resumed { by })
            }
            (None, None) => {
                *resumed_by = None;
                None
            }
            (Some(_), Some(_)) => None,
        }
    }

    fn resumed_by(&self) -> MutexGuard<'_, Option<String>> {
        self.resumed_by.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Daemon {
    /// Kill switch on. Says what is half done.
    pub async fn pause(&self, by: String, reason: String) -> Result<Vec<HalfDone>> {
        self.switch.file.pause(&by, &reason).context("cannot write the pause file")?;
        Ok(self.questions.ask(|core| core.half_done()).await.unwrap_or_default())
    }

    /// Kill switch off.
    pub async fn resume(&self, by: String) -> Result<()> {
        self.switch.resume(by).context("cannot remove the pause file")?;
        // Whoever asks the core lets it follow the switch at once.
        self.questions.ask(|_| ()).await.context("the daemon is stopping")
    }

    /// Takes the newest remedy of an incident back; while Salve is paused, once it is resumed.
    ///
    /// # Errors
    /// Why it cannot be taken back, in one sentence.
    pub async fn undo(&self, id: String, attempt: Option<u32>, by: String) -> Result<String, String> {
        let incident = IncidentId(id);
        let asked = incident.clone();
        let known = self
            .questions
            .ask(move |core| {
                let attempt = attempt.or_else(|| core.newest_attempt(&asked)).unwrap_or(1);
                (attempt, core.undo_objection(&asked, attempt), core.paused().is_some())
            })
            .await;
        let id = escape(&incident.0, 100);
        let (attempt, is_paused) = match known {
            Some((attempt, None, is_paused)) => (attempt, is_paused),
            Some((_, Some(why), _)) => {
                return Err(format!("{why}\n\nhint: `salve incident show {id}` says how it stands"));
            }
            None => return Err("the daemon is stopping".into()),
        };
        tracing::warn!(incident = id, attempt, by, "A person wants a remedy taken back.");
        self.send(Event::UndoAsked { incident, attempt, by }).await;
        Ok(if is_paused {
            format!("remedy {attempt} of {id} is taken back once Salve is resumed: salve resume")
        } else {
            format!(
                "remedy {attempt} of {id} is being taken back; `salve incident show {id}` says how it ends"
            )
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use salve_model::time::Now;

    /// Guarantees: the core is told what the file says, once: by whom and why if it says so, whoever made or removed it.
    #[test]
    fn the_core_follows_the_file() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("paused");
        let switch = Switch::new(&path);
        let mut core = Core::new();
        let mut told = |switch: &Switch| {
            let event = switch.news(&core)?;
            core.step(&event, Now(1));
            assert_eq!(switch.news(&core), None, "once");
            Some(event)
        };
        let paused = |by: &str, reason: &str| Some(Event::Paused { by: by.into(), reason: reason.into() });
        let resumed = |by: &str| Some(Event::Resumed { by: by.into() });
        assert_eq!(told(&switch), None);
        std::fs::write(&path, "").unwrap();
        assert_eq!(told(&switch), paused(BY_FILE, ""));
        std::fs::remove_file(&path).unwrap();
        assert_eq!(told(&switch), resumed(BY_REMOVAL));
        switch.file.pause("ada", "drill").unwrap();
        assert_eq!(told(&switch), paused("ada", "drill"));
        switch.clone().resume("bob".into()).unwrap();
        assert_eq!(told(&switch), resumed("bob"));
        // Whoever resumes what is not paused is not named for what comes later.
        switch.resume("eve".into()).unwrap();
        assert_eq!(told(&switch), None);
        std::fs::write(&path, "").unwrap();
        assert_eq!(told(&switch), paused(BY_FILE, ""));
        std::fs::remove_file(&path).unwrap();
        assert_eq!(told(&switch), resumed(BY_REMOVAL));
    }
}
