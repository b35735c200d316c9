//! How a call into a guest can fail. A failure is always the guest's own: the host goes on.

use salve_model::text::escape;

/// A call into a guest that gave no answer.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("plugin `{plugin}` gave no answer to `{call}`: {kind}")]
pub struct GuestError {
    /// Which plugin.
    pub plugin: String,
    /// Which call, for instance `observe`.
    pub call: &'static str,
    /// What happened.
    pub kind: GuestErrorKind,
}

/// What happened in a call that gave no answer. Each limit has its own variant.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum GuestErrorKind {
    /// A trap that is no limit's: `unreachable`, a bad memory access and the like.
    #[error("it trapped ({reason})")]
    Trap {
        /// wasmtime's words, escaped.
        reason: String,
    },
    /// It gave up after its memory was not made larger.
    #[error("it needs more memory than its {limit_bytes} bytes")]
    Memory {
        /// `memory_bytes`.
        limit_bytes: u64,
    },
    /// Its tables would have grown too large.
    #[error("it needs more than its {limit} table elements")]
    Tables {
        /// `table_elements`.
        limit: u64,
    },
    /// It has too many core instances, memories or tables.
    #[error("it has more than its {limit} core instances, memories or tables")]
    Instances {
        /// `core_instances`.
        limit: u64,
    },
    /// It was still computing.
    #[error("it used more CPU time than its {limit_ms} ms")]
    Cpu {
        /// `cpu_ms` or `cpu_setup_ms`.
        limit_ms: u64,
    },
    /// It was still waiting, or computing.
    #[error("it took longer than its {limit_ms} ms from start to end")]
    WallClock {
        /// `wall_clock_ms`.
        limit_ms: u64,
    },
    /// It called the host too often.
    #[error("it called the host more often than its {limit} times")]
    HostCalls {
        /// `host_calls`.
        limit: u64,
    },
    /// It handed over too much.
    #[error("it handed over more than its {limit_bytes} bytes in one call")]
    Output {
        /// `output_bytes`.
        limit_bytes: u64,
    },
    /// Its state is too large.
    #[error("its state is larger than its {limit_bytes} bytes")]
    Snapshot {
        /// `snapshot_bytes`.
        limit_bytes: u64,
    },
    /// Its stack is full: endless recursion, as a rule.
    #[error("its stack is full")]
    Stack,
    /// It gave a value that breaks the rules of the component model, for instance a string that is not UTF-8.
    #[error("it gave a value that breaks the component model's rules ({reason})")]
    BadValue {
        /// wasmtime's words, escaped.
        reason: String,
    },
    /// It answered with an error of its own.
    #[error("it answered: {reason}")]
    Declined {
        /// The plugin's words, escaped.
        reason: String,
    },
    /// The parameters do not fit the manifest's schema; the guest was not called.
    #[error("its parameters do not fit its schema: {reason}")]
    Parameters {
        /// What does not fit, escaped.
        reason: String,
    },
    /// It is not of the role that this call needs; the guest was not called.
    #[error("it is a plugin of role {role}, which has no such call")]
    Role {
        /// Its role.
        role: crate::Role,
    },
    /// It trapped too often of late; the guest was not called.
    #[error("it is in quarantine after {traps} traps, the last one: {latest}")]
    Quarantined {
        /// How many counted.
        traps: u32,
        /// The last one's message.
        latest: String,
    },
    /// All instances that may live at one time do.
    #[error("no free instance: {reason}")]
    Busy {
        /// Which pool is used up.
        reason: String,
    },
    /// The host is stopping.
    #[error("the plugin host is stopping")]
    Stopping,
}

impl GuestErrorKind {
    /// Whether it counts towards quarantine: the guest ran, and did what a guest must not do.
    #[must_use]
    pub fn is_fault(&self) -> bool {
        !matches!(
            self,
            Self::Declined { .. }
                | Self::Parameters { .. }
                | Self::Role { .. }
                | Self::Quarantined { .. }
                | Self::Busy { .. }
                | Self::Stopping
        )
    }

    /// The limit that was passed, as it is written in the configuration.
    #[must_use]
    pub fn limit_name(&self) -> Option<&'static str> {
        Some(match self {
            Self::Memory { .. } => "memory_bytes",
            Self::Tables { .. } => "table_elements",
            Self::Instances { .. } => "core_instances",
            Self::Cpu { .. } => "cpu_ms",
            Self::WallClock { .. } => "wall_clock_ms",
            Self::HostCalls { .. } => "host_calls",
            Self::Output { .. } => "output_bytes",
            Self::Snapshot { .. } => "snapshot_bytes",
            Self::Stack => "stack_bytes",
            _ => return None,
        })
    }

    /// A plugin's own words as an error.
    pub(crate) fn declined(reason: &str) -> Self {
        Self::Declined { reason: escape(reason, 500) }
    }
}

impl GuestError {
    /// What the operator can do about it.
    #[must_use]
    pub fn hint(&self) -> Option<String> {
        if let Some(limit) = self.kind.limit_name() {
            return Some(match limit {
                "stack_bytes" => {
                    "Look for endless recursion, or raise `stack_bytes` in [plugins] of salve.toml.".into()
                }
                _ => format!(
                    "If the plugin is right, raise `{limit}` in [plugins.limits_of.{}] of salve.toml.",
                    self.plugin
                ),
            });
        }
        match &self.kind {
            GuestErrorKind::Quarantined { .. } => {
                Some("Replace the plugin's file; a new one starts clean.".into())
            }
            GuestErrorKind::Busy { .. } => Some("Raise `instances_max` in [plugins] of salve.toml.".into()),
            _ => None,
        }
    }
}

/// Why an action gave no plan or did not carry it out.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum ActionError {
    /// There is nothing to do here for this action.
    #[error("nothing to do for this action: {0}")]
    NotApplicable(String),
    /// The parameters, or the plan that came back, make no sense.
    #[error("invalid: {0}")]
    Invalid(String),
    /// It tried, and it did not work.
    #[error("failed: {0}")]
    Failed(String),
    /// The plan was made by another version of the plugin.
    #[error("the plan was made by `{planned}`, the plugin loaded is `{loaded}`")]
    OtherVersion {
        /// Name and digest in the plan.
        planned: String,
        /// Name and digest of the plugin.
        loaded: String,
    },
    /// There was no answer.
    #[error(transparent)]
    Guest(#[from] GuestError),
}
