//! Options of the commands that speak to servers.

use super::{super::output, secret};
use anyhow::{Context, Result, bail};
use salve_distribution::{Credentials, FetchOptions, read_bounded};
use std::path::PathBuf;

/// Largest file of certificates that is read, in bytes.
const AUTHORITIES_BYTES_MAX: u64 = 4 << 20;

#[derive(Debug, clap::Args)]
pub struct Options {
    /// User name for the registry. Without it, what `docker login` has left is used.
    #[arg(long, env = "SALVE_REGISTRY_USERNAME", value_name = "NAME")]
    username: Option<String>,
    /// Read the password from standard input; else from SALVE_REGISTRY_PASSWORD.
    #[arg(long)]
    password_stdin: bool,
    /// Speak HTTP without TLS; to this machine only.
    #[arg(long)]
    plain_http: bool,
    /// Trust these certificate authorities (PEM) in the place of the system's.
    #[arg(long, value_name = "FILE")]
    ca_file: Option<PathBuf>,
}

impl Options {
    pub fn read(&self) -> Result<FetchOptions> {
        let credentials = match (
            &self.username,
            secret::read(self.password_stdin, "SALVE_REGISTRY_PASSWORD")?,
        ) {
            (Some(username), Some(password)) => Some(Credentials { username: username.clone(), password }),
            (None, None) => None,
            (Some(_), None) => bail!(
                "there is no password for the user name\n\nhint: Give it by --password-stdin or in SALVE_REGISTRY_PASSWORD."
            ),
            (None, Some(_)) => {
                bail!("there is no user name for the password\n\nhint: Give it by --username.")
            }
        };
        let authorities_pem = match &self.ca_file {
            Some(path) => Some(read_bounded(path, AUTHORITIES_BYTES_MAX)?),
            None => None,
        };
        Ok(FetchOptions { plain_http: self.plain_http, authorities_pem, credentials })
    }
}

/// Waits for calls to servers, on this thread.
pub fn wait<T>(calls: impl Future<Output = T>) -> Result<T> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .context("cannot start the runtime")?;
    Ok(runtime.block_on(calls))
}

/// Progress goes to standard error.
pub fn tell(what: &str) {
    output::complain(what);
}
