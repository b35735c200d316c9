//! Drives the decision core: events in, ledger before effect, effects out.
//!
//! ## What always holds
//! - an event that changes the core's state stands in the ledger, with its transitions and effects, before any
//!   effect of it is carried out
//! - if the ledger cannot be written, no effect happens and the daemon stops: it must not act without a record
//! - the core is touched by this task only; others see copies

use super::{clock::Clock, effects::Effects, pause::Switch};
use salve_core::{Core, Effect, Event, Step};
use salve_ledger::{Entry, EntryKind, LedgerError, LedgerHandle, NewEntry};
use salve_model::{Tenant, incident::IncidentId, time::Now};
use serde_json::{Value, json};
use tokio::sync::{mpsc, oneshot};

/// A question about the core, answered between two events.
pub type Question = Box<dyn FnOnce(&Core) + Send>;

/// The way to ask.
#[derive(Clone)]
pub struct Questions(mpsc::Sender<Question>);

impl Questions {
    /// A way to ask, and the end that the driver needs.
    pub fn new() -> (Self, mpsc::Receiver<Question>) {
        let (sender, receiver) = mpsc::channel(64);
        (Self(sender), receiver)
    }

    /// Asks and waits; none if the daemon stops.
    pub async fn ask<T: Send + 'static>(
        &self,
        question: impl FnOnce(&Core) -> T + Send + 'static,
    ) -> Option<T> {
        let (reply, answer) = oneshot::channel();
        let question: Question = Box::new(move |core| drop(reply.send(question(core))));
        self.0.send(question).await.ok()?;
        answer.await.ok()
    }
}

/// The core and all that it needs to live.
pub struct Driver {
    core: Core,
    ledger: LedgerHandle,
    clock: Clock,
    effects: Effects,
    switch: Switch,
}

/// The core as its recorded transitions made it. An erased incident is not in it.
///
/// # Errors
/// If a recorded transition cannot be read or understood.
pub fn recorded_core(
    transitions: impl IntoIterator<Item = Result<Entry, LedgerError>>,
) -> anyhow::Result<Core> {
    use anyhow::Context;
    let mut core = Core::new();
    for entry in transitions {
        let entry = entry?;
        let Some(payload) = entry.payload else {
            // An incident is erased as a whole, and its name is not given again.
            if let Some(incident) = entry.incident {
                core.skip(&IncidentId(incident));
            }
            continue;
        };
        let transition = serde_json::from_value(payload)
            .context("cannot understand a recorded transition; was the ledger written by a newer Salve?")?;
        core.apply(&transition);
    }
    Ok(core)
}

impl Driver {
    /// Folds what the ledger remembers into a core. Nothing is carried out yet.
    ///
    /// # Errors
    /// If a recorded transition cannot be understood: better to stop than to forget an open incident.
    pub fn recover(
        transitions: impl IntoIterator<Item = Result<Entry, LedgerError>>,
        ledger: LedgerHandle,
        clock: Clock,
        effects: Effects,
        switch: Switch,
    ) -> anyhow::Result<Self> {
        let core = recorded_core(transitions)?;
        Ok(Self { core, ledger, clock, effects, switch })
    }

    /// Takes up what a crash cut off, then handles events until the channel closes.
    ///
    /// # Errors
    /// If the ledger cannot be written.
    pub async fn run(
        mut self,
        mut events: mpsc::Receiver<Event>,
        mut questions: mpsc::Receiver<Question>,
    ) -> Result<(), LedgerError> {
        let now = self.clock.now();
        let step = self.core.recover_with(self.switch.news(&self.core).as_ref(), now);
        self.carry_out(json!("recover"), now, step).await?;
        loop {
            tokio::select! {
                event = events.recv() => {
                    let Some(event) = event else { return Ok(()) };
                    self.follow_switch().await?;
                    self.take(&event).await?;
                }
                Some(question) = questions.recv() => {
                    self.follow_switch().await?;
                    question(&self.core);
                }
            }
        }
    }

    /// The core learns of the kill switch before it decides anything else: what it starts would only be denied.
    async fn follow_switch(&mut self) -> Result<(), LedgerError> {
        match self.switch.news(&self.core) {
            Some(event) => self.take(&event).await,
            None => Ok(()),
        }
    }

    async fn take(&mut self, event: &Event) -> Result<(), LedgerError> {
        let now = self.clock.now();
        let step = self.core.step(event, now);
        if step.transitions.is_empty() && step.effects.is_empty() {
            return Ok(());
        }
        self.carry_out(recordable(event), now, step).await
    }

    async fn carry_out(&mut self, input: Value, now: Now, step: Step) -> Result<(), LedgerError> {
        if step.transitions.is_empty() && step.effects.is_empty() {
            return Ok(());
        }
        let entry = |kind, tenant, incident: Option<&IncidentId>, payload| {
            let mut entry = NewEntry::new(kind, now.0, payload);
            entry.tenant = tenant;
            entry.incident = incident.map(|incident| incident.0.clone());
            entry.schema_version = salve_core::SCHEMA_VERSION;
            entry
        };
        let tenants: Vec<Tenant> =
            step.transitions.iter().map(|transition| self.core.tenant_of(&transition.change)).collect();
        // One that changed something of several tenants is nobody's, and no incident's.
        let owner = tenants.first().filter(|first| tenants.iter().all(|other| other == *first)).cloned();
        let incident = step.transitions.iter().find_map(|transition| transition.incident());
        let incident = incident.filter(|_| owner.is_some());
        let mut entries = vec![entry(EntryKind::Input, owner.unwrap_or_default(), incident, input)];
        for (transition, tenant) in step.transitions.iter().zip(tenants) {
            entries.push(entry(EntryKind::Transition, tenant, transition.incident(), recordable(transition)));
        }
        for effect in &step.effects {
            let incident = incident_of(effect);
            let tenant = self.core.tenant(incident);
            entries.push(entry(EntryKind::Effect, tenant, Some(incident), recordable(effect)));
        }
        self.ledger.append(entries).await?;
        for effect in step.effects {
            let tenant = self.core.tenant(incident_of(&effect));
            self.effects.start(effect, tenant, now);
        }
        Ok(())
    }
}

/// JSON for the ledger. All recorded types can be put into JSON; if one day one cannot, the entry says so.
fn recordable(value: &impl serde::Serialize) -> Value {
    serde_json::to_value(value).unwrap_or_else(|error| json!({ "unrecordable": error.to_string() }))
}

/// The incident that an effect belongs to.
pub fn incident_of(effect: &Effect) -> &IncidentId {
    match effect {
        Effect::Watch { incident, .. }
        | Effect::Diagnose { incident, .. }
        | Effect::Decide { incident, .. }
        | Effect::Plan { incident, .. }
        | Effect::Execute { incident, .. }
        | Effect::Undo { incident, .. }
        | Effect::Reconcile { incident, .. }
        | Effect::AskApproval { incident, .. }
        | Effect::Escalate { incident, .. }
        | Effect::Closed { incident, .. } => incident,
    }
}
