//! Which plugins are there: the folder of components, loaded and kept up to date while the daemon runs.

use salve_capabilities::Brokers;
use salve_model::{PluginName, incident::CatalogueEntry, text::escape};
use salve_plugins::{LoadError, Plugin, PluginHost, Role};
use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    sync::{Arc, PoisonError, RwLock},
    time::SystemTime,
};

/// Loaded plugins by name. Clones share them.
#[derive(Clone)]
pub struct Catalogue {
    host: PluginHost,
    state: Arc<RwLock<State>>,
}

#[derive(Default)]
struct State {
    plugins: BTreeMap<String, Arc<Plugin>>,
    /// What each file was when it was last looked at, and what came of it.
    files: BTreeMap<PathBuf, (FileMark, Result<String, String>)>,
    agents: Vec<String>,
}

/// Enough of a file's metadata to see that it was replaced.
#[derive(Clone, PartialEq, Eq)]
struct FileMark {
    modified: Option<SystemTime>,
    length: u64,
    inode: u64,
}

impl Catalogue {
    /// An empty catalogue.
    pub fn new(host: PluginHost) -> Self {
        Self { host, state: Arc::default() }
    }

    /// Which agents are asked, in which order. Empty: all, by name.
    pub fn set_agents(&self, agents: Vec<String>) {
        self.write().agents = agents;
    }

    /// Looks at the folder again: loads what is new or replaced, forgets what is gone. A file that cannot be loaded
    /// leaves the version that was there. Returns whether anything changed.
    pub async fn scan(&self, directory: &Path) -> bool {
        let found = match list(directory) {
            Ok(found) => found,
            Err(error) => {
                tracing::warn!(directory = %directory.display(), %error, "Cannot read the plugin folder.");
                return false;
            }
        };
        let known = self
            .read()
            .files
            .iter()
            .map(|(path, (mark, _))| (path.clone(), mark.clone()))
            .collect::<BTreeMap<_, _>>();
        let mut changed = false;
        for (path, mark) in &found {
            if known.get(path) == Some(mark) {
                continue;
            }
            changed = true;
            let (host, file) = (self.host.clone(), path.clone());
            let loaded = tokio::task::spawn_blocking(move || host.load(&file)).await;
            let result = match loaded {
                Ok(Ok(plugin)) => self.insert(path, plugin),
                Ok(Err(error)) => Err(story(error)),
                Err(error) => Err(format!("loading stopped: {error}")),
            };
            if let Err(why) = &result {
                tracing::error!(path = %path.display(), why = %escape(why, 1_000), "Plugin refused.");
            }
            self.write().files.insert(path.clone(), (mark.clone(), result));
        }
        let mut state = self.write();
        let gone: Vec<_> = state.files.keys().filter(|path| !found.contains_key(*path)).cloned().collect();
        for path in gone {
            changed = true;
            if let Some((_, Ok(name))) = state.files.remove(&path) {
                tracing::info!(plugin = name, path = %path.display(), "Plugin unloaded.");
                state.plugins.remove(&name);
            }
        }
        changed
    }

    fn insert(&self, path: &Path, plugin: Arc<Plugin>) -> Result<String, String> {
        let name = plugin.name().to_owned();
        let mut state = self.write();
        let taken = state
            .files
            .iter()
            .find(|(other, (_, result))| other.as_path() != path && result.as_ref() == Ok(&name));
        if let Some((other, _)) = taken {
            return Err(format!("the name `{name}` is taken by `{}`", other.display()));
        }
        tracing::info!(plugin = name, version = %plugin.manifest().version, role = ?plugin.role(), digest = %plugin.digest(), "Plugin loaded.");
        state.plugins.insert(name.clone(), plugin);
        Ok(name)
    }

    /// A plugin of any role.
    pub fn plugin(&self, name: &str) -> Option<Arc<Plugin>> {
        self.read().plugins.get(name).cloned()
    }

    /// Agents in the order in which they are asked.
    pub fn agents(&self) -> Vec<Arc<Plugin>> {
        let state = self.read();
        let of_role = |plugin: &&Arc<Plugin>| plugin.role() == Role::Agent;
        if state.agents.is_empty() {
            state.plugins.values().filter(of_role).cloned().collect()
        } else {
            state.agents.iter().filter_map(|name| state.plugins.get(name)).filter(of_role).cloned().collect()
        }
    }

    /// An action.
    pub fn action(&self, name: &str) -> Option<Arc<Plugin>> {
        self.plugin(name).filter(|plugin| plugin.role() == Role::Action)
    }

    /// Names of all actions.
    pub fn action_names(&self) -> Vec<String> {
        let state = self.read();
        state
            .plugins
            .values()
            .filter(|plugin| plugin.role() == Role::Action)
            .map(|plugin| plugin.name().to_owned())
            .collect()
    }

    /// What policies may choose from: actions with at least one grant.
    pub fn actions(&self, brokers: &Brokers) -> Vec<CatalogueEntry> {
        let actions: Vec<_> =
            self.read().plugins.values().filter(|plugin| plugin.role() == Role::Action).cloned().collect();
        actions
            .into_iter()
            .map(|plugin| CatalogueEntry {
                targets: brokers.granted_targets(&PluginName(plugin.name().to_owned())),
                summary: plugin.manifest().summary.clone(),
                action: plugin.name().to_owned(),
            })
            .filter(|entry| !entry.targets.is_empty())
            .collect()
    }

    /// All plugins, for `salve plugin list`.
    pub fn all(&self) -> Vec<Arc<Plugin>> {
        self.read().plugins.values().cloned().collect()
    }

    /// Files that could not be loaded, and why.
    pub fn problems(&self) -> Vec<(PathBuf, String)> {
        let state = self.read();
        state
            .files
            .iter()
            .filter_map(|(path, (_, result))| Some((path.clone(), result.as_ref().err()?.clone())))
            .collect()
    }

    fn read(&self) -> std::sync::RwLockReadGuard<'_, State> {
        self.state.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self) -> std::sync::RwLockWriteGuard<'_, State> {
        self.state.write().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What was wrong, why, and what to do.
fn story(error: LoadError) -> String {
    let hint = error.hint().map(|hint| format!(". {hint}")).unwrap_or_default();
    format!("{:#}{hint}", anyhow::Error::new(error))
}

/// `*.wasm` files of a folder, links to files included.
fn list(directory: &Path) -> std::io::Result<BTreeMap<PathBuf, FileMark>> {
    use std::os::unix::fs::MetadataExt;
    let mut found = BTreeMap::new();
    for entry in std::fs::read_dir(directory)? {
        let path = entry?.path();
        if path.extension().is_none_or(|extension| extension != "wasm") {
            continue;
        }
        // A file that vanishes between the two calls is simply not there.
        let Ok(metadata) = std::fs::metadata(&path) else { continue };
        if metadata.is_file() {
            let mark = FileMark {
                modified: metadata.modified().ok(),
                length: metadata.len(),
                inode: metadata.ino(),
            };
            found.insert(path, mark);
        }
    }
    Ok(found)
}
