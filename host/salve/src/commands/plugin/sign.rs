//! `salve plugin sign`: the publisher's word for just this component.

use super::{super::output, keygen::PASSWORD, read_plugin, secret};
use anyhow::{Context, Result, bail};
use salve_distribution::{Digest, PrivateKey, SignatureFile, read_bounded, signature_path, write_whole};
use salve_model::text::escape;
use serde_json::json;
use std::{path::PathBuf, process::ExitCode};

/// Largest key file that is read, in bytes.
const KEY_BYTES_MAX: u64 = 64 << 10;

#[derive(Debug, clap::Args)]
pub struct Arguments {
    /// The component.
    component: PathBuf,
    /// The private key: as `salve plugin keygen` or `cosign generate-key-pair` writes it.
    #[arg(long, value_name = "FILE")]
    key: PathBuf,
    /// Read the key's password from standard input; else from SALVE_KEY_PASSWORD.
    #[arg(long)]
    password_stdin: bool,
    /// Answer in JSON.
    #[arg(long)]
    json: bool,
}

pub fn run(arguments: &Arguments) -> Result<ExitCode> {
    let (bytes, manifest) = read_plugin(&arguments.component)?;
    // What no host loads is not signed: a signature lasts.
    if let Some(objection) = salve_plugins::pack::inspect(&bytes)?.objection {
        bail!("the host would not load `{}`: {objection}", arguments.component.display());
    }
    let password = secret::read(arguments.password_stdin, PASSWORD)?;
    let pem = read_bounded(&arguments.key, KEY_BYTES_MAX)?;
    let key = PrivateKey::from_pem(&String::from_utf8_lossy(&pem), password.as_deref().map(str::as_bytes))
        .with_context(|| format!("cannot use the private key `{}`", arguments.key.display()))?;
    let signature = SignatureFile::sign(&bytes, &manifest, &key)?;
    let path = signature_path(&arguments.component);
    write_whole(&path, &signature.to_bytes()?)?;
    let digest = Digest::of(&bytes);
    if arguments.json {
        output::say_json(&json!({
            "name": manifest.name, "version": manifest.version, "digest": digest, "signature": path,
            "manifest": signature.manifest_digest(), "key": key.public().id(),
        }))?;
    } else {
        let name = escape(&manifest.name.0, 64);
        output::say(&format!("{name} {} ({digest})", escape(&manifest.version, 64)));
        output::say(&format!("signed by key {} in {}", key.public().id(), path.display()));
    }
    Ok(ExitCode::SUCCESS)
}
