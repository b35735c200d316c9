//! What the catalogue is asked: who answers, what is tried, what is wrong.

use super::{Catalogue, fallen};
use salve_capabilities::Brokers;
use salve_core::plugin::{Answering, Fallen, PluginTrouble};
use salve_model::{PluginName, TargetId, Tenant, incident::CatalogueEntry, time::Now};
use salve_plugins::{Plugin, Role};
use salve_rollout::{Stage, Version};
use std::{collections::BTreeSet, path::PathBuf, sync::Arc};

/// A version under trial.
#[derive(Debug, Clone)]
pub struct Trial {
    /// The new version.
    pub plugin: Arc<Plugin>,
    /// Shadow or canary.
    pub stage: Stage,
}

/// What is known of one version of a plugin.
pub struct Known {
    /// Digest.
    pub digest: String,
    /// What the state machine knows.
    pub version: Version,
    /// If it is in memory.
    pub plugin: Option<Arc<Plugin>>,
    /// It is one of the versions that a rollback goes to.
    pub is_previous: bool,
    /// A file in the plugin folder holds it.
    pub in_folder: bool,
}

impl Catalogue {
    /// The version of a plugin that answers, of any role.
    pub fn plugin(&self, name: &str) -> Option<Arc<Plugin>> {
        self.read().active(name).cloned()
    }

    /// The version that answers for `key`: a canary for its share.
    pub fn chosen(&self, name: &str, key: &str) -> Option<Arc<Plugin>> {
        let state = self.read();
        let digest = state.rollout.chosen(name, key)?;
        state.loaded.get(digest).or_else(|| state.active(name)).cloned()
    }

    /// The version under trial, if one is.
    pub fn trial(&self, name: &str) -> Option<Trial> {
        let state = self.read();
        let (digest, stage) = state.rollout.candidate(name)?;
        let plugin = state.loaded.get(digest).filter(|_| matches!(stage, Stage::Shadow | Stage::Canary))?;
        Some(Trial { plugin: plugin.clone(), stage })
    }

    /// A certain version of a plugin: what it planned it carries out and takes back, whatever answers now.
    pub fn version(&self, name: &str, digest: &str) -> Option<Arc<Plugin>> {
        let state = self.read();
        let is_there = state.rollout.plugins().get(name)?.active.is_some();
        state.loaded.get(digest).filter(|plugin| is_there && plugin.name() == name).cloned()
    }

    /// Agents in the order in which they are asked.
    pub fn agents(&self) -> Vec<Arc<Plugin>> {
        let state = self.read();
        let names: Vec<&String> = if state.agents.is_empty() {
            state.rollout.plugins().keys().collect()
        } else {
            state.agents.iter().collect()
        };
        let active = names.into_iter().filter_map(|name| state.active(name));
        active.filter(|plugin| plugin.role() == Role::Agent).cloned().collect()
    }

    /// Names of all actions.
    pub fn action_names(&self) -> Vec<String> {
        self.all_actions().iter().map(|plugin| plugin.name().to_owned()).collect()
    }

    /// What policies may choose from for an incident of this tenant: actions with at least one grant of the tenant's.
    pub fn actions(&self, brokers: &Brokers, tenant: &Tenant) -> Vec<CatalogueEntry> {
        let is_own = |target: &TargetId| brokers.tenant_of(target).is_some_and(|owner| owner == *tenant);
        self.all_actions()
            .into_iter()
            .map(|plugin| CatalogueEntry {
                targets: brokers
                    .granted_targets(&PluginName(plugin.name().to_owned()))
                    .into_iter()
                    .filter(is_own)
                    .collect(),
                summary: plugin.manifest().summary.clone(),
                action: plugin.name().to_owned(),
            })
            .filter(|entry| !entry.targets.is_empty())
            .collect()
    }

    fn all_actions(&self) -> Vec<Arc<Plugin>> {
        let state = self.read();
        let active = state.rollout.plugins().keys().filter_map(|name| state.active(name));
        active.filter(|plugin| plugin.role() == Role::Action).cloned().collect()
    }

    /// Plugins of which a version is in quarantine, as they stand. What has no file any more is no plugin.
    pub fn troubles(&self) -> Vec<PluginTrouble> {
        let state = self.read();
        let owned: BTreeSet<&String> = state.files.values().filter_map(|file| file.plugin.as_ref()).collect();
        let in_trouble = state.rollout.plugins().iter().filter(|(name, _)| owned.contains(name));
        in_trouble
            .map(|(name, plugin)| PluginTrouble {
                plugin: name.clone(),
                fallen: fallen(plugin)
                    .filter_map(|digest| {
                        let version = plugin.versions.get(digest)?;
                        Some(Fallen {
                            version: version.facts.version.clone(),
                            digest: digest.clone(),
                            since: Now(version.since_ms),
                            reason: version.reason.clone(),
                            errors: state.last_errors.get(digest).cloned().unwrap_or_default(),
                        })
                    })
                    .collect(),
                answering: plugin.active.as_ref().and_then(|digest| {
                    Some(Answering {
                        version: plugin.versions.get(digest)?.facts.version.clone(),
                        digest: digest.clone(),
                        stands_in: plugin.stands_in,
                    })
                }),
            })
            .filter(|trouble| !trouble.fallen.is_empty())
            .collect()
    }

    /// All versions of all plugins, for `salve plugin list`.
    pub fn known(&self) -> Vec<Known> {
        let state = self.read();
        let in_files = state.in_files();
        let mut known = Vec::new();
        for plugin in state.rollout.plugins().values() {
            for (digest, version) in &plugin.versions {
                known.push(Known {
                    digest: digest.clone(),
                    version: version.clone(),
                    plugin: state.loaded.get(digest).cloned(),
                    is_previous: plugin.previous.contains(digest),
                    in_folder: in_files.contains(digest),
                });
            }
        }
        known
    }

    /// Files that could not be loaded, and why.
    pub fn problems(&self) -> Vec<(PathBuf, String)> {
        let state = self.read();
        let files = state.files.iter();
        files.filter_map(|(path, file)| Some((path.clone(), file.problem.clone()?))).collect()
    }
}
