//! Salve's own log lines: JSON on standard error, with incident ids as fields.

use crate::config::{LogConfig, LogFormat};
use anyhow::{Context, Result};
use tracing_subscriber::EnvFilter;

/// Sends events to standard error in the form that the configuration wants.
///
/// # Errors
/// If the filter cannot be read.
pub fn start(config: &LogConfig) -> Result<()> {
    let filter = filter(config)?;
    let builder = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr);
    let started = match config.format {
        LogFormat::Json => builder.json().flatten_event(true).with_current_span(false).try_init(),
        LogFormat::Text => builder.with_target(false).try_init(),
    };
    started.map_err(|error| anyhow::anyhow!("cannot start logging: {error}"))
}

/// Which events are written.
///
/// # Errors
/// If the filter cannot be read.
pub fn filter(config: &LogConfig) -> Result<EnvFilter> {
    EnvFilter::try_new(&config.level)
        .with_context(|| format!("cannot read log.level `{}`: it is a filter such as `info`", config.level))
}
