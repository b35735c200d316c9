//! `salve plugin verify`: the question that the daemon asks at load, asked by hand.

use super::{
    super::{ConfigArgument, output},
    read_plugin,
};
use crate::admission;
use anyhow::{Context, Result, anyhow};
use salve_distribution::{Basis, Digest, Identity, PublicKey, Publisher, Trust, read_bounded};
use serde_json::json;
use std::{
    path::{Path, PathBuf},
    process::ExitCode,
};

#[derive(Debug, clap::Args)]
pub struct Arguments {
    /// The component; its signature is beside it, in FILE.sig.
    component: PathBuf,
    /// Trust this public key, and nothing else. Else: the publishers, grants and lock file of the configuration.
    #[arg(long, value_name = "FILE")]
    key: Option<PathBuf>,
    /// Answer in JSON.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    config: ConfigArgument,
}

/// Exit code 0 if it may load, 1 if not.
pub fn run(arguments: &Arguments) -> Result<ExitCode> {
    let (bytes, manifest) = read_plugin(&arguments.component)?;
    let trust = match &arguments.key {
        Some(path) => Trust { publishers: vec![publisher(path)?], ..Trust::default() },
        None => of_config(&arguments.config)?,
    };
    // In development anything is let in, which verifies nothing.
    let trust = Trust { dev: false, ..trust };
    let objection = salve_plugins::pack::inspect(&bytes)?.objection;
    match (trust.admit(&bytes, &manifest, &arguments.component), objection) {
        (Ok(identity), None) => {
            if arguments.json {
                output::say_json(&json!({ "verified": true, "identity": identity }))?;
            } else {
                say(&identity);
            }
            Ok(ExitCode::SUCCESS)
        }
        (Err(refusal), _) if !arguments.json => Err(anyhow::Error::new(refusal)).or_else(|error| {
            super::super::print_error(&error);
            Ok(ExitCode::from(1))
        }),
        (refused, objection) => {
            let why = refused.err().map(|refusal| refusal.explain()).or(objection).unwrap_or_default();
            if arguments.json {
                let (name, version) = (&manifest.name, &manifest.version);
                output::say_json(&json!({
                    "verified": false, "name": name, "version": version, "digest": Digest::of(&bytes), "why": why,
                }))?;
            } else {
                output::complain(&format!("error: the host would not load it: {why}"));
            }
            Ok(ExitCode::from(1))
        }
    }
}

/// The publisher whose public key is in a file.
pub fn publisher(path: &Path) -> Result<Publisher> {
    let text = read_bounded(path, 64 << 10)?;
    let key = PublicKey::from_pem(&String::from_utf8_lossy(&text))
        .with_context(|| format!("cannot use the public key `{}`", path.display()))?;
    Ok(Publisher { name: path.display().to_string(), key })
}

/// What the configuration says.
pub fn of_config(config: &ConfigArgument) -> Result<Trust> {
    let config = config.load().context(
        "cannot tell who is trusted\n\nhint: Name the configuration by --config, or one key by --key FILE.",
    )?;
    admission::trust(&config).map_err(|why| anyhow!(why))
}

/// In words.
pub fn say(identity: &Identity) {
    output::say(&format!("{} {} ({}, {})", identity.name, identity.version, identity.role, identity.digest));
    output::say(&vouched_by(identity));
}

/// Who vouches for it, in words.
pub fn vouched_by(identity: &Identity) -> String {
    match (&identity.basis, &identity.publisher, identity.key) {
        (Basis::Signed, Some(publisher), Some(key)) => format!("signed by {publisher} (key {key})"),
        (Basis::PinnedByGrant, ..) => "not signed; a grant names its digest".into(),
        (Basis::PinnedByLock, ..) => "not signed; the lock file names its digest".into(),
        (Basis::Development, ..) => "not signed; let in by plugins.dev".into(),
        (Basis::Signed, ..) => "signed".into(),
    }
}
