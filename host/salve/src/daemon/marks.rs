//! Tells the brokers which configuration files an open incident concerns: their values do not become good meanwhile.
//!
//! ## What always holds
//! - it waits for the disk, so a thread of its own does it: many incidents at one time hold up neither senders nor the core
//! - marks are set and taken away in the order in which the core asked; one that comes after the incident's end is dropped

use salve_capabilities::Brokers;
use salve_model::{TargetId, incident::IncidentId};
use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, mpsc},
};
use tokio::sync::oneshot;

/// The way to the thread. It ends when all of these are gone.
#[derive(Clone)]
pub struct Marks(mpsc::Sender<Mark>);

enum Mark {
    Opened(IncidentId),
    Concerns { incident: IncidentId, targets: Vec<TargetId>, since: u64, done: oneshot::Sender<()> },
    Closed(IncidentId),
}

impl Marks {
    /// Starts the thread.
    ///
    /// # Errors
    /// If the system has none left.
    pub fn start(brokers: Arc<Brokers>) -> std::io::Result<Self> {
        let (sender, marks) = mpsc::channel();
        std::thread::Builder::new().name("marks".into()).spawn(move || {
            let mut concerned = Concerned::default();
            for mark in marks {
                match mark {
                    Mark::Opened(incident) => concerned.opened(incident),
                    Mark::Concerns { incident, targets, since, done } => {
                        brokers.incident_opened(&concerned.new_of(&incident, targets), since);
                        // Nobody waits for it while the daemon stops.
                        _ = done.send(());
                    }
                    Mark::Closed(incident) => brokers.incident_closed(&concerned.closed(&incident)),
                }
            }
        })?;
        Ok(Self(sender))
    }

    /// An incident is open, or open again.
    pub fn opened(&self, incident: &IncidentId) {
        // Fails, here and below, only if the thread is gone.
        drop(self.0.send(Mark::Opened(incident.clone())));
    }

    /// An incident that is open since `since` (Unix nanoseconds) concerns these targets. They are marked when the answer ends.
    pub fn concerns(
        &self,
        incident: &IncidentId,
        targets: Vec<TargetId>,
        since: u64,
    ) -> impl Future<Output = ()> + use<> {
        let (done, answer) = oneshot::channel();
        drop(self.0.send(Mark::Concerns { incident: incident.clone(), targets, since, done }));
        async move { drop(answer.await) }
    }

    /// It has ended.
    pub fn closed(&self, incident: &IncidentId) {
        drop(self.0.send(Mark::Closed(incident.clone())));
    }
}

/// Targets that open incidents concern.
#[derive(Default)]
struct Concerned(BTreeMap<IncidentId, BTreeSet<TargetId>>);

impl Concerned {
    fn opened(&mut self, incident: IncidentId) {
        self.0.entry(incident).or_default();
    }

    /// Those of the targets that are not marked for the incident yet; none if it is not open any more.
    fn new_of(&mut self, incident: &IncidentId, targets: Vec<TargetId>) -> Vec<TargetId> {
        let Some(known) = self.0.get_mut(incident) else { return Vec::new() };
        targets.into_iter().filter(|target| known.insert(target.clone())).collect()
    }

    fn closed(&mut self, incident: &IncidentId) -> Vec<TargetId> {
        self.0.remove(incident).into_iter().flatten().collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Guarantees: each target is marked once while its incident is open, and unmarked as often; what an agent says after the end
    /// marks nothing, and an incident that is opened again marks afresh.
    #[test]
    fn each_mark_is_taken_away_once() {
        let mut concerned = Concerned::default();
        let incident = IncidentId("inc-1".into());
        let targets = |names: &[&str]| names.iter().map(|name| TargetId((*name).into())).collect::<Vec<_>>();
        concerned.opened(incident.clone());
        assert_eq!(concerned.new_of(&incident, targets(&["a", "b"])), targets(&["a", "b"]));
        assert_eq!(concerned.new_of(&incident, targets(&["b", "c"])), targets(&["c"]));
        concerned.opened(incident.clone());
        assert_eq!(concerned.new_of(&incident, targets(&["a"])), targets(&[]));
        assert_eq!(concerned.closed(&incident), targets(&["a", "b", "c"]));
        assert_eq!(concerned.new_of(&incident, targets(&["c"])), targets(&[]));
        assert_eq!(concerned.closed(&incident), targets(&[]));
        concerned.opened(incident.clone());
        assert_eq!(concerned.new_of(&incident, targets(&["a"])), targets(&["a"]));
    }
}
