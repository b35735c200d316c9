//! Carries out what the rollout of plugin versions decides: writes it down, tells people, binds detectors anew.
//!
//! ## What always holds
//! - every change of a version's stage stands in the ledger, with its reason
//! - a version that is to answer is in memory before detectors are bound to it
//! - the core is told of versions in quarantine once what takes over is known: it opens and closes incidents about plugins

use super::{Daemon, catalogue::Known};
use crate::control::{PluginCommand, PluginStatus};
use salve_core::Event;
use salve_ledger::{EntryKind, NewEntry};
use salve_model::{PluginName, text::escape};
use salve_plugins::Role;
use salve_rollout::{Change, Input, Stage};
use serde_json::json;
use std::{collections::BTreeMap, sync::Arc, time::Duration};

/// Time between two looks at what only time changes.
const LOOK_EVERY: Duration = Duration::from_millis(250);

/// Follows the rollout until the daemon stops.
pub async fn follow(daemon: Arc<Daemon>) {
    let mut stopping = daemon.stopping.subscribe();
    loop {
        tokio::select! {
            () = daemon.catalogue.changed() => {}
            () = tokio::time::sleep(LOOK_EVERY) => daemon.catalogue.tick(),
            _ = stopping.wait_for(|stopping| *stopping) => return,
        }
        daemon.follow_rollout().await;
    }
}

impl Daemon {
    /// Carries out all changes that have not been yet.
    pub async fn follow_rollout(&self) {
        let mut changes = self.catalogue.take_changes();
        if changes.is_empty() {
            return;
        }
        // What cannot be brought into memory falls, which is a change too.
        while !changes.is_empty() {
            self.record_changes(&changes).await;
            self.catalogue.settle().await;
            changes = self.catalogue.take_changes();
        }
        self.bind_detectors(&self.config()).await;
        self.tell_core_of_plugins().await;
    }

    /// Tells the core how plugins in trouble stand; it knows what is new to it.
    pub async fn tell_core_of_plugins(&self) {
        let _in_order = self.telling_of_plugins.lock().await;
        self.send(Event::Plugins { plugins: self.catalogue.troubles() }).await;
    }

    async fn record_changes(&self, changes: &[Change]) {
        for change in changes {
            let (plugin, version, digest) = (&change.plugin, escape(&change.version, 60), &change.digest);
            let (stage, reason) = (change.to, escape(&change.reason, 600));
            match stage {
                Stage::Failed | Stage::Quarantined => {
                    tracing::error!(plugin, version, digest, %stage, reason, "Plugin version is not used any more.");
                    // Of a quarantine its incident tells people.
                    if stage == Stage::Failed {
                        self.tell_of_plugin(
                            plugin,
                            &format!("version {version} of plugin `{plugin}` is {stage}: {reason}"),
                        );
                    }
                }
                Stage::Held => {
                    tracing::warn!(plugin, version, digest, %stage, reason, "Plugin version waits: salve plugin accept {plugin}");
                    self.tell_of_plugin(
                        plugin,
                        &format!("version {version} of plugin `{plugin}` waits for you: {reason}"),
                    );
                }
                _ => tracing::info!(plugin, version, digest, %stage, reason, "Plugin version."),
            }
        }
        let now_ms = self.clock.now().0;
        let entries = changes
            .iter()
            .map(|change| NewEntry::new(EntryKind::Note, now_ms, json!({ "plugin_version": change })))
            .collect();
        if let Err(error) = self.ledger.append(entries).await {
            tracing::error!(%error, "Cannot write changes of plugin versions to the ledger.");
        }
    }

    /// Tells people over the operator's channel. The log, the ledger and `salve plugin list` already have it.
    fn tell_of_plugin(&self, plugin: &str, text: &str) {
        let Some(channel) = self.config().escalation.channel.clone() else { return };
        let brokers = self.brokers.clone();
        let fields =
            [("incident".to_owned(), format!("plugin {plugin}")), ("summary".to_owned(), text.to_owned())];
        tokio::spawn(async move {
            if let Err(error) = brokers.announce(&channel, &fields).await {
                tracing::error!(channel, %error, "Cannot tell people.");
            }
        });
    }

    /// Does what the operator says about a plugin, and waits until it is done.
    ///
    /// # Errors
    /// One sentence that says why it was not done.
    pub async fn operate_plugin(&self, command: PluginCommand) -> Result<String, String> {
        let (name, input) = match command {
            PluginCommand::Reload { name, by } => {
                self.record_operator("reload", &name, &by).await;
                let directory = self.config().plugins.directory.clone();
                let done = self.catalogue.reload(&name, &directory, by).await;
                self.follow_rollout().await;
                return done.map(|()| format!("reloaded; {}", self.stages(&name)));
            }
            PluginCommand::Accept { name, digest, by } => {
                self.record_operator("accept", &name, &by).await;
                (name.clone(), Input::Accept { name, digest, by })
            }
            PluginCommand::Promote { name, digest, by } => {
                self.record_operator("promote", &name, &by).await;
                let digest = match digest {
                    Some(prefix) => Some(self.digest_of(&name, &prefix)?),
                    None => None,
                };
                (name.clone(), Input::Promote { name, digest, by })
            }
            PluginCommand::Rollback { name, by } => {
                self.record_operator("rollback", &name, &by).await;
                (name.clone(), Input::Rollback { name, by })
            }
        };
        self.catalogue.operate(input).map_err(|refusal| refusal.to_string())?;
        self.follow_rollout().await;
        Ok(self.stages(&name))
    }

    async fn record_operator(&self, command: &str, name: &str, by: &str) {
        let payload = json!({ "command": format!("plugin {command}"), "plugin": name, "by": by });
        let entry = NewEntry::new(EntryKind::Operator, self.clock.now().0, payload);
        if let Err(error) = self.ledger.append(vec![entry]).await {
            tracing::error!(%error, "Cannot write the operator's word to the ledger.");
        }
    }

    /// The digest that begins so.
    fn digest_of(&self, name: &str, prefix: &str) -> Result<String, String> {
        let known = self.catalogue.known();
        let mut found = known
            .iter()
            .filter(|known| known.version.facts.name == name && known.digest.starts_with(prefix))
            .map(|known| known.digest.clone());
        match (found.next(), found.next()) {
            (Some(digest), None) => Ok(digest),
            (None, _) => {
                Err(format!("`{name}` has no version whose digest begins with `{}`", escape(prefix, 80)))
            }
            _ => Err(format!(
                "several versions of `{name}` begin with `{}`; give more digits",
                escape(prefix, 80)
            )),
        }
    }

    /// Where the versions that matter stand, in words.
    fn stages(&self, name: &str) -> String {
        let known = self.catalogue.known();
        let shown = known
            .iter()
            .filter(|known| known.version.facts.name == name)
            .filter(|known| !matches!(known.version.stage, Stage::Retired))
            .map(|known| {
                let (version, digest) = (escape(&known.version.facts.version, 60), &known.digest);
                format!("{version} ({}) is {}", digest.get(..12).unwrap_or(digest), known.version.stage)
            });
        let shown: Vec<_> = shown.collect();
        if shown.is_empty() { format!("no version of `{name}` is loaded") } else { shown.join(", ") }
    }

    /// All versions of all plugins that matter, and files that could not be loaded.
    pub fn plugin_statuses(&self) -> Vec<PluginStatus> {
        let mut statuses: Vec<_> =
            self.catalogue.known().into_iter().map(|known| self.plugin_status(known)).collect();
        statuses.sort_by(|left, right| {
            (&left.name, left.stage != "active", &left.version).cmp(&(
                &right.name,
                right.stage != "active",
                &right.version,
            ))
        });
        statuses.extend(self.catalogue.problems().into_iter().map(|(path, why)| PluginStatus {
            name: path.file_stem().map(|stem| stem.to_string_lossy().into_owned()).unwrap_or_default(),
            summary: why,
            state: "refused".into(),
            stage: "refused".into(),
            ..PluginStatus::default()
        }));
        statuses
    }

    fn plugin_status(&self, known: Known) -> PluginStatus {
        let Known { digest, version, plugin, is_previous, .. } = known;
        let granted = self.brokers.granted_targets(&PluginName(version.facts.name.clone()));
        let stage = version.stage;
        let not_granted =
            stage == Stage::Active && version.facts.role == Role::Action.to_string() && granted.is_empty();
        let counters =
            plugin.as_ref().map(|plugin| serde_json::to_value(plugin.counters()).unwrap_or_default());
        let mut counters = numbers(counters);
        // Where nothing is counted, there is no number, not 0.
        if plugin.as_ref().is_some_and(|plugin| !plugin.counts_fuel()) {
            counters.remove("fuel_total");
        }
        let limits = plugin.as_ref().map(|plugin| serde_json::to_value(plugin.limits()).unwrap_or_default());
        PluginStatus {
            name: version.facts.name,
            version: version.facts.version,
            role: version.facts.role,
            summary: plugin.as_ref().map_or_else(String::new, |plugin| plugin.manifest().summary.clone()),
            digest,
            state: if not_granted { "loaded, not granted".into() } else { stage.to_string() },
            targets: granted.into_iter().map(|target| target.0).collect(),
            stage: stage.to_string(),
            reason: version.reason,
            since_ms: version.since_ms,
            compared: version.samples.compared,
            differed: version.samples.differed,
            differences: version.differences,
            can_roll_back_to: is_previous,
            counters,
            limits: numbers(limits),
        }
    }

    /// Versions in the plugin folder that wait for the operator or are not used for a fault of theirs.
    pub fn rollout_problems(&self) -> Vec<String> {
        let known = self.catalogue.known();
        let troubled = known.iter().filter(|known| {
            known.in_folder && matches!(known.version.stage, Stage::Held | Stage::Failed | Stage::Quarantined)
        });
        let words = troubled.map(|known| {
            let (facts, stage) = (&known.version.facts, known.version.stage);
            let (version, reason) = (escape(&facts.version, 60), escape(&known.version.reason, 300));
            format!("plugin {} {version} is {stage}: {reason}", facts.name)
        });
        words.collect()
    }

    /// What all plugins together did and cost, and how many there are, by name.
    pub fn plugin_totals(&self) -> Vec<(String, u64)> {
        let mut totals = BTreeMap::<String, u64>::new();
        for status in self.plugin_statuses() {
            *totals.entry(format!("plugins.{}", status.stage)).or_default() += 1;
            for (name, value) in status.counters {
                let total = totals.entry(format!("plugins.{name}")).or_default();
                *total = if name.contains("peak") { value.max(*total) } else { total.saturating_add(value) };
            }
        }
        totals.into_iter().collect()
    }
}

fn numbers(value: Option<serde_json::Value>) -> BTreeMap<String, u64> {
    let fields = value.as_ref().and_then(serde_json::Value::as_object).into_iter().flatten();
    fields.filter_map(|(name, value)| Some((name.clone(), value.as_u64()?))).collect()
}
