//! Drives the decision core: events in, ledger before effect, effects out.
//!
//! ## What always holds
//! - an event that changes the core's state stands in the ledger, with its transitions and effects, before any
//!   effect of it is carried out
//! - if the ledger cannot be written, no effect happens and the daemon stops: it must not act without a record
//! - the core is touched by this task only; others see copies

use super::{clock::Clock, effects::Effects};
use salve_core::{Core, Effect, Event, IncidentDetail, Step};
use salve_ledger::{EntryKind, LedgerError, LedgerHandle, NewEntry};
use salve_model::{Tenant, incident::IncidentId, time::Now};
use serde_json::{Value, json};
use std::sync::{Arc, RwLock};
use tokio::sync::mpsc;

/// What others may see of the core, replaced after each step that changed it.
#[derive(Debug, Default)]
pub struct View {
    /// Newest first.
    pub incidents: Vec<IncidentDetail>,
    /// Kill switch, as the core knows it.
    pub paused: bool,
}

/// A view that many may read.
pub type SharedView = Arc<RwLock<Arc<View>>>;

/// The core and all that it needs to live.
pub struct Driver {
    core: Core,
    ledger: LedgerHandle,
    clock: Clock,
    effects: Effects,
    view: SharedView,
}

impl Driver {
    /// Folds what the ledger remembers into a core. Nothing is carried out yet.
    ///
    /// # Errors
    /// If a recorded transition cannot be understood: better to stop than to forget an open incident.
    pub fn recover(
        transitions: impl IntoIterator<Item = Result<Value, LedgerError>>,
        ledger: LedgerHandle,
        clock: Clock,
        effects: Effects,
        view: SharedView,
    ) -> anyhow::Result<Self> {
        use anyhow::Context;
        let mut core = Core::new();
        for transition in transitions {
            let transition = serde_json::from_value(transition?)
                .context("cannot understand a recorded transition; was the ledger written by a newer Salve?")?;
            core.apply(&transition);
        }
        Ok(Self { core, ledger, clock, effects, view })
    }

    /// Takes up what a crash cut off, then handles events until the channel closes.
    ///
    /// # Errors
    /// If the ledger cannot be written.
    pub async fn run(mut self, mut events: mpsc::Receiver<Event>) -> Result<(), LedgerError> {
        let now = self.clock.now();
        let step = self.core.recover(now);
        self.carry_out(json!("recover"), now, step).await?;
        while let Some(event) = events.recv().await {
            let now = self.clock.now();
            let step = self.core.step(&event, now);
            if step.transitions.is_empty() && step.effects.is_empty() {
                continue;
            }
            let input = serde_json::to_value(&event).unwrap_or_else(|error| json!({ "unrecordable": error.to_string() }));
            self.carry_out(input, now, step).await?;
        }
        Ok(())
    }

    async fn carry_out(&mut self, input: Value, now: Now, step: Step) -> Result<(), LedgerError> {
        let incident = step.effects.iter().map(incident_of).next().map(|incident| incident.0.clone());
        let entry = |kind, incident: Option<String>, payload| NewEntry {
            now_ms: now.0,
            tenant: Tenant::default().0,
            incident,
            kind,
            schema_version: salve_core::SCHEMA_VERSION,
            payload,
        };
        let mut entries = vec![entry(EntryKind::Input, incident, input)];
        for transition in &step.transitions {
            let payload = serde_json::to_value(transition).unwrap_or(Value::Null);
            entries.push(entry(EntryKind::Transition, transition.incident().map(|id| id.0.clone()), payload));
        }
        for effect in &step.effects {
            let payload = serde_json::to_value(effect).unwrap_or(Value::Null);
            entries.push(entry(EntryKind::Effect, Some(incident_of(effect).0.clone()), payload));
        }
        self.ledger.append(entries).await?;
        self.show();
        for effect in step.effects {
            self.effects.start(effect, now);
        }
        Ok(())
    }

    fn show(&self) {
        let view = Arc::new(View { incidents: self.core.incidents(), paused: self.core.paused() });
        *self.view.write().unwrap_or_else(std::sync::PoisonError::into_inner) = view;
    }
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
