//! What the operator sets: where compiled plugins are kept, how many guests may run, and what each may use up.
//!
//! Limits come from four places: the defaults of the role, `limits` for all plugins, `plugins.NAME` for one, and the
//! plugin's own manifest, which can only lower them.

use crate::{compiler::CompilerProgram, manifest::Role};
use serde::{Deserialize, Serialize};
use std::{collections::BTreeMap, path::PathBuf};

/// Writes the list of limits once, for the complete [`Limits`] and for the partial [`LimitSettings`].
macro_rules! limits {
    ($($(#[doc = $doc:literal])+ $name:ident,)+) => {
        /// What one guest may use up. Complete; see [`LimitSettings`] for what people write.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
        pub struct Limits {
            $($(#[doc = $doc])+ pub $name: u64,)+
        }

        /// Limits as people write them: what is left out stays as it was.
        #[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
        #[serde(deny_unknown_fields, default)]
        pub struct LimitSettings {
            $($(#[doc = $doc])+ #[serde(skip_serializing_if = "Option::is_none")] pub $name: Option<u64>,)+
        }

        impl Limits {
            /// These limits, with those that `settings` states.
            #[must_use]
            pub fn with(mut self, settings: &LimitSettings) -> Self {
                $(if let Some(value) = settings.$name { self.$name = value; })+
                self
            }

            /// These limits, lowered to what a manifest asks for.
            ///
            /// # Errors
            /// The first limit of which the manifest asks for more than there is: name, asked, allowed.
            pub fn lowered(mut self, asked: &LimitSettings) -> Result<Self, (&'static str, u64, u64)> {
                $(if let Some(value) = asked.$name {
                    if value > self.$name { return Err((stringify!($name), value, self.$name)); }
                    self.$name = value;
                })+
                Ok(self)
            }
        }

        impl LimitSettings {
            /// The names of all limits, as they are written.
            pub const NAMES: &[&str] = &[$(stringify!($name)),+];

            /// Only this limit; nothing if there is none of this name.
            #[must_use]
            pub fn one(name: &str, value: u64) -> Self {
                let mut settings = Self::default();
                $(if name == stringify!($name) { settings.$name = Some(value); })+
                settings
            }
        }
    };
}

limits! {
    /// Linear memory of all modules of an instance together, in bytes. Default: 64 MiB.
    memory_bytes,
    /// Elements of all tables of an instance together. Default: 100,000.
    table_elements,
    /// Core instances in one component instance; JavaScript and Python components need about 100. Default: 200.
    core_instances,
    /// CPU time of one call, in milliseconds, waiting taken out; for a detector of one batch of up to 10,000 points, and as
    /// much again for each further 10,000. Default: action 5,000, agent 2,000, detector 50. Checked every 10 ms. What others take
    /// from a virtual machine meanwhile is added, up to four times as much.
    cpu_ms,
    /// CPU time in which a detector is made ready (start, `configure`, `restore`) and gives its `snapshot`, each, in
    /// milliseconds. Default: 2,000.
    cpu_setup_ms,
    /// Time of one call from start to end, waiting included, in milliseconds. Default: action 600,000, agent 120,000,
    /// detector 10,000.
    wall_clock_ms,
    /// Calls from the guest to the host in one call, those to the log not counted. Default: 1,000.
    host_calls,
    /// What one call, in either direction, may hand over to the host, in bytes as the host stores them. Dense scores,
    /// which were asked for, come on top. Default: 1 MiB.
    output_bytes,
    /// State that a detector may give in `snapshot`, in bytes. Default: 64 MiB.
    snapshot_bytes,
    /// Log text of one call, in bytes; what is over is counted and dropped. Default: 64 KiB.
    log_bytes,
}

impl Limits {
    /// The defaults of a role.
    #[must_use]
    pub fn of_role(role: Role) -> Self {
        let (cpu_ms, wall_clock_ms) = match role {
            Role::Detector => (50, 10_000),
            Role::Agent => (2_000, 120_000),
            Role::Action => (5_000, 600_000),
        };
        Self {
            memory_bytes: 64 << 20,
            table_elements: 100_000,
            core_instances: 200,
            cpu_ms,
            cpu_setup_ms: 2_000,
            wall_clock_ms,
            host_calls: 1_000,
            output_bytes: 1 << 20,
            snapshot_bytes: 64 << 20,
            log_bytes: 64 << 10,
        }
    }
}

/// How plugins are run.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct HostConfig {
    /// Folder of compiled plugins. It holds native code: it is made with mode 0700 and refused if anybody else can
    /// write there.
    pub cache_dir: PathBuf,
    /// Size up to which compiled plugins are kept, in bytes; the least recently written leave first. Default: 1 GiB.
    #[serde(default = "defaults::cache_bytes_max")]
    pub cache_bytes_max: u64,
    /// Largest component that is read, in bytes. Default: 64 MiB.
    #[serde(default = "defaults::component_bytes_max")]
    pub component_bytes_max: u64,
    /// Program that compiles components. None: they are compiled in this process, which suits tools that soon end.
    #[serde(skip)]
    pub compiler: Option<CompilerProgram>,
    /// Memory that this program may use, in bytes. Default: 1 GiB.
    #[serde(default = "defaults::compile_memory_bytes")]
    pub compile_memory_bytes: u64,
    /// How long it may take for one component, in milliseconds. Default: 300,000.
    #[serde(default = "defaults::compile_timeout_ms")]
    pub compile_timeout_ms: u64,
    /// Most guest instances alive at one time, detectors included. Default: 200.
    #[serde(default = "defaults::instances_max")]
    pub instances_max: u32,
    /// Most calls of agents and actions at one time; more wait for their turn. Default: 32.
    #[serde(default = "defaults::calls_max")]
    pub calls_max: u32,
    /// Threads on which agents and actions run. Default: one for each core but one, which stays free for telemetry; at least one.
    #[serde(default = "defaults::guest_threads")]
    pub guest_threads: usize,
    /// How much nicer than the rest of the process guest threads are, 0 to 19. Default: 10.
    #[serde(default = "defaults::guest_niceness")]
    pub guest_niceness: u8,
    /// Stack of a guest, in bytes. Default: 1 MiB.
    #[serde(default = "defaults::stack_bytes")]
    pub stack_bytes: u32,
    /// Traps (and limits passed) of one plugin within `quarantine_window_ms` after which it is not called any more.
    /// Default: 3.
    #[serde(default = "defaults::quarantine_traps")]
    pub quarantine_traps: u32,
    /// See `quarantine_traps`, in milliseconds. Default: 600,000.
    #[serde(default = "defaults::quarantine_window_ms")]
    pub quarantine_window_ms: u64,
    /// For trials and replays: the guests' clock moves only when they sleep, and a sleep takes no time.
    #[serde(skip)]
    pub virtual_clock: bool,
    /// For measurements: instructions are counted, in `fuel_total`. Guests are slower then.
    #[serde(skip)]
    pub count_fuel: bool,
    /// For a few calls whose time does not matter: native code is made in a part of the time, and runs slower.
    #[serde(skip)]
    pub compile_quickly: bool,
    /// Limits for all plugins.
    #[serde(default)]
    pub limits: LimitSettings,
    /// Limits for one plugin, by name.
    #[serde(default)]
    pub plugins: BTreeMap<String, LimitSettings>,
}

/// Defaults of [`HostConfig`], each written once.
mod defaults {
    pub(super) fn cache_bytes_max() -> u64 {
        1 << 30
    }
    pub(super) fn component_bytes_max() -> u64 {
        64 << 20
    }
    pub(super) fn compile_memory_bytes() -> u64 {
        1 << 30
    }
    pub(super) fn compile_timeout_ms() -> u64 {
        300_000
    }
    pub(super) fn instances_max() -> u32 {
        200
    }
    pub(super) fn calls_max() -> u32 {
        32
    }
    pub(super) fn guest_threads() -> usize {
        std::thread::available_parallelism().map_or(1, |cores| cores.get().saturating_sub(1).max(1))
    }
    pub(super) fn guest_niceness() -> u8 {
        10
    }
    pub(super) fn stack_bytes() -> u32 {
        1 << 20
    }
    pub(super) fn quarantine_traps() -> u32 {
        3
    }
    pub(super) fn quarantine_window_ms() -> u64 {
        600_000
    }
}

impl HostConfig {
    /// All defaults, with compiled plugins kept in `cache_dir`.
    #[must_use]
    pub fn new(cache_dir: impl Into<PathBuf>) -> Self {
        Self {
            cache_dir: cache_dir.into(),
            cache_bytes_max: defaults::cache_bytes_max(),
            component_bytes_max: defaults::component_bytes_max(),
            compiler: None,
            compile_memory_bytes: defaults::compile_memory_bytes(),
            compile_timeout_ms: defaults::compile_timeout_ms(),
            instances_max: defaults::instances_max(),
            calls_max: defaults::calls_max(),
            guest_threads: defaults::guest_threads(),
            guest_niceness: defaults::guest_niceness(),
            stack_bytes: defaults::stack_bytes(),
            quarantine_traps: defaults::quarantine_traps(),
            quarantine_window_ms: defaults::quarantine_window_ms(),
            virtual_clock: false,
            count_fuel: false,
            compile_quickly: false,
            limits: LimitSettings::default(),
            plugins: BTreeMap::new(),
        }
    }

    /// The operator's limits for a plugin, before its manifest lowers them.
    #[must_use]
    pub fn limits_of(&self, name: &str, role: Role) -> Limits {
        let limits = Limits::of_role(role).with(&self.limits);
        match self.plugins.get(name) {
            Some(settings) => limits.with(settings),
            None => limits,
        }
    }

    /// The largest value that any plugin may have for the limit that `pick` picks.
    pub(crate) fn largest(&self, pick: impl Fn(&Limits) -> u64) -> u64 {
        let roles = [Role::Detector, Role::Agent, Role::Action];
        let general = roles.iter().map(|role| Limits::of_role(*role).with(&self.limits));
        let special =
            self.plugins.keys().flat_map(|name| roles.iter().map(|role| self.limits_of(name, *role)));
        general.chain(special).map(|limits| pick(&limits)).max().unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Guarantees: an operator's limit wins over the default, the plugin's own entry over the general one, and a
    /// manifest can lower a limit but never raise it.
    #[test]
    fn limits_are_laid_over_each_other() {
        let mut config = HostConfig::new("cache");
        config.limits.host_calls = Some(10);
        config.plugins.insert("loud".into(), LimitSettings { host_calls: Some(20), ..Default::default() });
        assert_eq!(config.limits_of("quiet", Role::Agent).host_calls, 10);
        assert_eq!(config.limits_of("loud", Role::Agent).host_calls, 20);
        assert_eq!(config.limits_of("quiet", Role::Agent).cpu_ms, 2_000);
        assert_eq!(config.largest(|limits| limits.host_calls), 20);

        let limits = config.limits_of("quiet", Role::Agent);
        let less = LimitSettings { host_calls: Some(5), ..Default::default() };
        let more = LimitSettings { host_calls: Some(11), ..Default::default() };
        assert_eq!(limits.lowered(&less).map(|limits| limits.host_calls), Ok(5));
        assert_eq!(limits.lowered(&more), Err(("host_calls", 11, 10)));
        assert_eq!(LimitSettings::one("host_calls", 11), more);
        assert_eq!(LimitSettings::one("calls", 11), LimitSettings::default());
    }

    /// Guarantees: a misspelt limit is refused, not ignored.
    #[test]
    fn unknown_limits_are_refused() {
        for toml in
            ["cache_dir = 'x'\n[limits]\nmemory = 1", "cache_dir = 'x'\nthreads = 1", "guest_threads = 1"]
        {
            assert!(toml::from_str::<HostConfig>(toml).is_err(), "{toml}");
        }
        let config: HostConfig = toml::from_str("cache_dir = 'x'").unwrap();
        assert_eq!(config, HostConfig::new("x"));
    }
}
