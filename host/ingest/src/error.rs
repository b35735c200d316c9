//! Why the servers could not start.

use std::{io, net::SocketAddr, path::PathBuf};

/// Why the servers could not start.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum IngestError {
    /// Values that cannot be.
    #[error("cannot use the OTLP configuration: {problems}")]
    Config {
        /// All of them, separated by `; `.
        problems: String,
    },
    /// An address that others can reach, unprotected.
    #[error(
        "cannot listen for OTLP on {name} `{address}` without {what}: forged telemetry would trigger actions"
    )]
    Exposed {
        /// Of the setting.
        name: &'static str,
        /// Its value.
        address: SocketAddr,
        /// What is missing, in words.
        what: &'static str,
        /// What is missing, as in the configuration.
        missing: &'static str,
    },
    /// A file that cannot be read.
    #[error("cannot read the {what} from `{}`", path.display())]
    Read {
        /// What it holds.
        what: &'static str,
        /// Which file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// A file that is not what it should be.
    #[error("cannot use the {what} in `{}`", path.display())]
    Tls {
        /// What it should hold.
        what: &'static str,
        /// Which file.
        path: PathBuf,
        /// Why.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// An address that cannot be listened on.
    #[error("cannot listen for OTLP on {name} `{address}`")]
    Bind {
        /// Of the setting.
        name: &'static str,
        /// Its value.
        address: SocketAddr,
        /// Why.
        source: io::Error,
    },
}

impl IngestError {
    /// What to do about it.
    #[must_use]
    pub fn hint(&self) -> String {
        match self {
            Self::Config { .. } => "change these values, or leave them out for the defaults".into(),
            Self::Exposed { missing, .. } => {
                format!(
                    "add {missing}, listen on 127.0.0.1, or set `allow_insecure = true` in [otlp] on a network you trust"
                )
            }
            Self::Read { .. } => "check that the file exists and that Salve's user may read it".into(),
            Self::Tls { what, .. } => format!("give a PEM file that holds the {what}"),
            Self::Bind { name, source, .. } if source.kind() == io::ErrorKind::AddrInUse => {
                format!(
                    "something else listens there, perhaps an OpenTelemetry Collector: stop it or set another {name}"
                )
            }
            Self::Bind { name, .. } => {
                format!("set {name} to an address of this machine and a port that its user may open")
            }
        }
    }
}
