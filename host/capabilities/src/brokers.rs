//! The brokers together: one configuration, one supervisor, one set of locks.

use crate::{
    BrokersConfig, Journal, Pause, ProcessEvent, Resolver, SessionSpec, SettingsError, SystemResolver,
    UnitState, config::ConfigBroker, grants, http::client::HttpBroker, locks::Locks, pause::KillSwitch,
    process::Supervisor, registry::Registry, session::ActionSession, storage,
};
use salve_model::{
    PluginName, Target, TargetId, Tenant,
    grant::Grant,
    telemetry::Change,
    text::{chain, escape},
};
use std::{
    io,
    path::PathBuf,
    sync::{Arc, PoisonError, RwLock},
};
use tokio::sync::broadcast;

/// Why the brokers could not be set up.
#[derive(Debug, thiserror::Error)]
pub enum BrokersError {
    /// The configuration makes no sense.
    #[error("the configuration cannot be used")]
    Settings(#[from] SettingsError),
    /// The state folder cannot be used.
    #[error("cannot use the state folder `{}`", path.display())]
    State {
        /// Which folder.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// A supervised process could not be started or stopped.
    #[error("a supervised process is not as it should be: {0}")]
    Process(String),
}

/// All brokers. Cheap to clone; all clones are the same.
#[derive(Clone)]
pub struct Brokers {
    pub(crate) shared: Arc<Shared>,
}

pub(crate) struct Shared {
    registry: RwLock<Arc<Registry>>,
    pub(crate) journal: Arc<dyn Journal>,
    pub(crate) supervisor: Supervisor,
    pub(crate) config: ConfigBroker,
    pub(crate) http: HttpBroker,
    pub(crate) locks: Arc<Locks>,
}

impl Shared {
    pub(crate) fn registry(&self) -> Arc<Registry> {
        Arc::clone(&self.registry.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// Looks at the pause file now.
    pub(crate) fn paused(&self) -> Option<Pause> {
        KillSwitch::new(&self.registry().config.pause_file).paused()
    }
}

impl Brokers {
    /// Sets the brokers up: adopts processes that an earlier daemon started, starts those of `autostart`, reads and
    /// watches all configuration files. Needs a tokio runtime with I/O and time.
    ///
    /// A process that does not start is logged and stays absent; that is the incidents' matter.
    ///
    /// # Errors
    /// [`BrokersError::Settings`], [`BrokersError::State`].
    pub fn new(config: BrokersConfig, journal: Arc<dyn Journal>) -> Result<Self, BrokersError> {
        Self::with_resolver(config, journal, Arc::new(SystemResolver))
    }

    /// As [`Brokers::new`], with another way from host names to addresses.
    ///
    /// # Errors
    /// As [`Brokers::new`].
    pub fn with_resolver(
        config: BrokersConfig,
        journal: Arc<dyn Journal>,
        resolver: Arc<dyn Resolver>,
    ) -> Result<Self, BrokersError> {
        let state_error = |source| BrokersError::State { path: config.state_dir.clone(), source };
        storage::make_folder(&config.state_dir).map_err(state_error)?;
        let registry = Arc::new(Registry::new(config.clone())?);
        let brokers = Self {
            shared: Arc::new(Shared {
                registry: RwLock::new(Arc::clone(&registry)),
                journal,
                supervisor: Supervisor::new(config.state_dir.clone()).map_err(state_error)?,
                config: ConfigBroker::new(&config).map_err(state_error)?,
                http: HttpBroker::new(resolver),
                locks: Arc::default(),
            }),
        };
        brokers.apply(&registry);
        Ok(brokers)
    }

    /// Takes over a new configuration at once, for sessions under way too. If it makes no sense, the old one stands.
    /// `state_dir` cannot be changed this way.
    ///
    /// # Errors
    /// [`BrokersError::Settings`].
    pub fn reconfigure(&self, config: BrokersConfig) -> Result<(), BrokersError> {
        let state_dir = self.shared.registry().config.state_dir.clone();
        let registry = Arc::new(Registry::new(BrokersConfig { state_dir, ..config })?);
        *self.shared.registry.write().unwrap_or_else(PoisonError::into_inner) = Arc::clone(&registry);
        self.apply(&registry);
        Ok(())
    }

    fn apply(&self, registry: &Registry) {
        for error in self.shared.supervisor.configure(&registry.units()) {
            tracing::error!(error = words(&error), "a supervised process could not be started");
        }
        self.shared.config.configure(registry);
    }

    /// All targets, without their addresses.
    #[must_use]
    pub fn targets(&self) -> Vec<Target> {
        self.shared.registry().targets().map(|target| target.model.clone()).collect()
    }

    /// Whose a target is; none if there is no such target.
    #[must_use]
    pub fn tenant_of(&self, target: &TargetId) -> Option<Tenant> {
        self.shared.registry().target(target).map(|target| target.model.tenant.clone())
    }

    /// Targets on which a plugin is granted anything that they have, of any tenant.
    #[must_use]
    pub fn granted_targets(&self, plugin: &PluginName) -> Vec<TargetId> {
        let registry = self.shared.registry();
        let own: Vec<&Grant> =
            registry.config.grants.iter().filter(|grant| grant.plugin == *plugin).collect();
        let granted = |target: &Target, capability: &str| grants::any(&own, target, capability);
        registry
            .targets()
            .filter(|target| {
                let capabilities = ["process", "config", "http", "notify"];
                capabilities.iter().any(|capability| {
                    granted(&target.model, capability) && target.object(capability).is_some()
                })
            })
            .map(|target| target.model.id.clone())
            .collect()
    }

    /// Opens the host's side of one guest call.
    #[must_use]
    pub fn session(&self, spec: SessionSpec) -> Arc<ActionSession> {
        Arc::new(ActionSession::new(Arc::clone(&self.shared), spec))
    }

    /// Changes of configuration keys from now on. A reader that is more than 1,024 behind is told that it lagged.
    #[must_use]
    pub fn changes(&self) -> broadcast::Receiver<Change> {
        self.shared.config.changes()
    }

    /// Starts and ends of supervised processes from now on.
    #[must_use]
    pub fn process_events(&self) -> broadcast::Receiver<ProcessEvent> {
        self.shared.supervisor.events()
    }

    /// Which supervised processes run now.
    #[must_use]
    pub fn unit_states(&self) -> Vec<UnitState> {
        self.shared.supervisor.states()
    }

    /// Values of these targets' keys do not become good while the incident is open, nor are those that did since it began (Unix time in
    /// nanoseconds). Say it again after a restart.
    pub fn incident_opened(&self, targets: &[TargetId], began: u64) {
        self.shared.config.incident_opened(targets, began);
    }

    /// The opposite of [`Brokers::incident_opened`], with the same targets.
    pub fn incident_closed(&self, targets: &[TargetId]) {
        self.shared.config.incident_closed(targets);
    }

    /// Starts a unit at the operator's own word: no plan, no grant, no ledger entry.
    ///
    /// # Errors
    /// [`BrokersError::Process`].
    pub async fn operator_start(&self, unit: &str) -> Result<(), BrokersError> {
        self.shared
            .supervisor
            .start(unit)
            .await
            .map(drop)
            .map_err(|error| BrokersError::Process(words(&error)))
    }

    /// Sends a message to a channel in the host's own name, for instance that an incident needs people.
    ///
    /// # Errors
    /// One sentence; the message may have been sent or not.
    pub async fn announce(&self, channel: &str, fields: &[(String, String)]) -> Result<(), String> {
        let registry = self.shared.registry();
        let channel =
            registry.channel(channel).ok_or_else(|| format!("there is no [[notify]] `{channel}`"))?;
        let fields = fields.iter().cloned().collect();
        self.shared
            .send_message(&registry, channel, &fields)
            .await
            .map(drop)
            .map_err(|error| error.to_string())
    }

    /// Ends the brokers' work. Supervised processes go on and are adopted by the next daemon, unless `stop_children`.
    ///
    /// # Errors
    /// [`BrokersError::Process`] with the first process that would not end.
    pub async fn shutdown(&self, stop_children: bool) -> Result<(), BrokersError> {
        if stop_children && let Some(error) = self.shared.supervisor.stop_all().await.first() {
            return Err(BrokersError::Process(words(error)));
        }
        Ok(())
    }
}

/// An error and its causes on one line, escaped.
pub(crate) fn words(error: &dyn std::error::Error) -> String {
    escape(&chain(error), 1_000)
}
