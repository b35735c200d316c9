//! After a crash: what became of writes whose result nobody wrote down. Asks, and repeats nothing; a restart that was cut in
//! two is finished, since a process that Salve itself has stopped must not stay so.

use crate::{
    Brokers, Intent, WriteOutcome,
    brokers::words,
    planning::{Caller, Checked, config_state, object, unit},
    process::ABSENT,
    registry::Registry,
};
use salve_model::{
    Attributes,
    call::Write,
    mode::Mode,
    plan::{Plan, Receipt, RunResult, VerbClass, WriteState},
};
use serde_json::Value;

impl Brokers {
    /// Says of each intent without a result what is true now, and writes that down as its result.
    ///
    /// `intents` are those of one interrupted run (`execute`, or `undo`) of `plan`, with their numbers, oldest first.
    /// The answer has receipts of those that did happen; receipts of writes whose result is in the ledger are the
    /// caller's to add. `uncertain` if nobody can tell of some write.
    pub async fn reconcile(&self, plan: &Plan, undo: bool, intents: Vec<(Intent, u64)>) -> RunResult {
        let mut receipts = Vec::new();
        let mut notes = Vec::new();
        let mut uncertain = false;
        for (intent, id) in intents {
            let (state, after, note) = self.what_happened(&intent).await;
            let receipt = (state == WriteState::Applied).then(|| Receipt {
                call: id,
                step: intent.step,
                target: intent.call.target.clone(),
                verb: intent.call.verb.clone(),
                applied: true,
                before: intent.before.clone(),
                after,
                extra: Attributes::from([("reconciled".into(), "true".into())]),
            });
            uncertain |= state == WriteState::Unknown;
            notes.push(format!(
                "{}.{} on `{}`: {note}",
                intent.call.capability, intent.call.verb, intent.call.target
            ));
            let outcome = WriteOutcome { state, receipt: receipt.clone(), note: Some(note) };
            if let Err(error) = self.shared.journal.result(id, intent.tenant.clone(), outcome).await {
                tracing::error!(error = words(&error), "a reconciled result could not be recorded");
            }
            receipts.extend(receipt);
        }
        if notes.is_empty() {
            notes.push("no write was under way".into());
        }
        let run = if undo { "undo" } else { "execute" };
        let note = format!("`{run}` of `{}` was cut off; {}", plan.action, notes.join("; "));
        RunResult { done: false, note, receipts, uncertain }
    }

    async fn what_happened(&self, intent: &Intent) -> (WriteState, Option<String>, String) {
        if intent.dry_run {
            return (WriteState::NotApplied, None, "it was a dry-run".into());
        }
        if intent.class != VerbClass::Queryable {
            return (WriteState::Unknown, None, "it may have been sent or not, and is not sent again".into());
        }
        // In no hand after a crash; in the run's own if that is only late, and then nobody can tell yet.
        let _held = match self.shared.locks.take(intent.objects.clone(), &intent.incident) {
            Ok(held) => held,
            Err((object, holder)) => {
                return (WriteState::Unknown, None, format!("`{object}` is in the hands of {holder}"));
            }
        };
        let answer = match intent.call.capability.as_str() {
            "process" => self.what_happened_to_process(intent).await,
            "config" => self.what_happened_to_key(intent).await,
            other => Err(format!("`{other}` cannot be asked")),
        };
        answer.unwrap_or_else(|reason| (WriteState::Unknown, None, reason))
    }

    async fn what_happened_to_process(
        &self,
        intent: &Intent,
    ) -> Result<(WriteState, Option<String>, String), String> {
        let registry = self.shared.registry();
        let object = object(&registry, &intent.tenant, &intent.call).map_err(|error| error.to_string())?;
        if intent.objects != [object.clone()] {
            return Err(format!("the target now stands for `{object}`"));
        }
        let unit = unit(&registry, &intent.call.target).map_err(|error| error.to_string())?;
        let now = self.shared.supervisor.state(unit).map_err(|error| words(&error))?;
        let before = intent.before.as_deref().unwrap_or(ABSENT);
        let (applied, note) = match (intent.call.verb.as_str(), now == before, now == ABSENT) {
            ("stop", _, true) => (true, "it has stopped"),
            (_, true, _) => (false, "nothing has changed"),
            ("stop", ..) => (false, "another process runs"),
            ("restart", _, true) if self.shared.supervisor.is_of_this_boot(before) => {
                let now = self.start_again(intent, &registry, unit).await?;
                tracing::warn!(incident = %intent.incident, target = %intent.call.target, "A restart that was cut off is finished.");
                return Ok((
                    WriteState::Applied,
                    Some(now),
                    "it was stopped, and is started again only now".into(),
                ));
            }
            (_, _, true) => (false, "it does not run"),
            (_, _, false) => (true, "another process runs, so it was started"),
        };
        let state = if applied { WriteState::Applied } else { WriteState::NotApplied };
        Ok((state, Some(now), note.into()))
    }

    /// The second half of a restart of which the first was made: the process is gone, and there is no new one. Its intent is in the
    /// ledger and licenses it; what would refuse the whole refuses the half. Then the restart is made by half, which is neither the
    /// state before nor the one that was planned, and people are told.
    async fn start_again(&self, intent: &Intent, registry: &Registry, unit: &str) -> Result<String, String> {
        let why_not = |why: String| format!("it was stopped, and is not started again: {why}");
        let caller = Caller { plugin: &intent.plugin, tenant: &intent.tenant, reads_telemetry: false };
        let checked = Checked::from_write(&Write::ProcessRestart { target: intent.call.target.clone() });
        let permitted = self.shared.permit(registry, caller, &checked, intent.undo).await;
        permitted.map_err(|error| why_not(error.to_string()))?;
        if registry.config.mode < Mode::Approve {
            return Err(why_not("the mode no longer permits to act".into()));
        }
        if self.shared.paused().is_some() {
            return Err(why_not("Salve is paused".into()));
        }
        self.shared.supervisor.start(unit).await.map_err(|error| why_not(words(&error)))
    }

    async fn what_happened_to_key(
        &self,
        intent: &Intent,
    ) -> Result<(WriteState, Option<String>, String), String> {
        let arguments: Value =
            serde_json::from_str(&intent.call.arguments).map_err(|error| error.to_string())?;
        let key = arguments.get("key").and_then(Value::as_str).unwrap_or_default().to_owned();
        let wanted = arguments.get("value").and_then(Value::as_str).map(str::to_owned);
        let target = intent.call.target.clone();
        let ask = move |shared: &crate::brokers::Shared| {
            let now = shared.config.state(&target, &key)?;
            // As the file would say it: `5` of a float reads `5.0`.
            let expected = shared.config.check(&target, &key, wanted.as_deref());
            Ok((now, expected.unwrap_or_else(|_| config_state(wanted.as_deref()))))
        };
        let (now, wanted) = self.shared.blocking(ask).await.map_err(|error| error.to_string())?;
        if now == wanted {
            Ok((WriteState::Applied, Some(now), "the key has the new value".into()))
        } else if intent.before.as_deref() == Some(now.as_str()) {
            Ok((WriteState::NotApplied, Some(now), "the key has the old value".into()))
        } else {
            Err("the key has neither the old nor the new value: somebody has changed it since".into())
        }
    }
}
