//! `salve plugin pull`: from a file, an HTTPS server or a registry into the plugin folder.

use super::{
    super::{ConfigArgument, output},
    registry, verify,
};
use crate::{admission, config::Config};
use anyhow::{Context, Result, anyhow, bail};
use salve_distribution::{
    Digest, FetchOptions, Fetched, InstallOptions, Installed, LockEntry, LockFile, Source, Trust, fetch,
    install, signature_path, write_whole,
};
use salve_plugins::Manifest;
use serde_json::json;
use std::{
    path::{Path, PathBuf},
    process::ExitCode,
};

#[derive(Debug, clap::Args)]
pub struct Arguments {
    /// oci://HOST/REPOSITORY:TAG or @sha256:DIGEST, https://…, or a file.
    #[arg(required_unless_present = "locked", conflicts_with = "locked")]
    source: Option<String>,
    /// Fetch exactly what the lock file says, all of it; the lock file stays as it is.
    #[arg(long)]
    locked: bool,
    /// The component must have this SHA-256; then it may be unsigned.
    #[arg(long, value_name = "DIGEST", conflicts_with = "locked")]
    sha256: Option<Digest>,
    /// From now on nothing below this version of the plugin loads.
    #[arg(long, value_name = "VERSION", conflicts_with = "locked")]
    lowest: Option<String>,
    /// Write the component, and its signature, here, and leave plugin folder and lock file alone.
    #[arg(long, value_name = "FILE", conflicts_with_all = ["locked", "lowest"])]
    out: Option<PathBuf>,
    /// With --out: trust this public key, and nothing else.
    #[arg(long, value_name = "FILE", requires = "out")]
    key: Option<PathBuf>,
    #[command(flatten)]
    options: registry::Options,
    /// Answer in JSON.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    config: ConfigArgument,
}

pub fn run(arguments: &Arguments) -> Result<ExitCode> {
    let options = arguments.options.read()?;
    let installed = match (&arguments.source, &arguments.out) {
        (Some(source), Some(out)) => return to_file(arguments, source, out, &options),
        (Some(source), None) => {
            let config = arguments.config.load()?;
            let wanted = InstallOptions {
                digest: arguments.sha256,
                lowest_version: arguments.lowest.clone(),
                ..InstallOptions::default()
            };
            let fetched = get(source, &options)?;
            vec![into_folder(&fetched, &config, &wanted)?]
        }
        (None, _) => locked(&arguments.config.load()?, &options)?,
    };
    if arguments.json {
        output::say_json(&installed)?;
    } else {
        for installed in &installed {
            verify::say(&installed.identity);
            let before =
                installed.version_before.as_ref().filter(|before| **before != installed.identity.version);
            let before = before.map_or_else(String::new, |before| format!(", in the place of {before}"));
            output::say(&format!("installed as {}{before}", installed.path.display()));
        }
    }
    Ok(ExitCode::SUCCESS)
}

fn get(source: &str, options: &FetchOptions) -> Result<Fetched> {
    let source: Source = source.parse()?;
    Ok(registry::wait(fetch(&source, options, &registry::tell))??)
}

fn into_folder(fetched: &Fetched, config: &Config, wanted: &InstallOptions) -> Result<Installed> {
    let folder = &config.plugins.directory;
    std::fs::create_dir_all(folder)
        .with_context(|| format!("cannot make the folder `{}`", folder.display()))?;
    let trust = admission::trust(config).map_err(|why| anyhow!(why))?;
    Ok(install(fetched, &trust, folder, &config.lock_path(), wanted)?)
}

/// All that the lock file names and that is not here yet.
fn locked(config: &Config, options: &FetchOptions) -> Result<Vec<Installed>> {
    let lock = LockFile::load(&config.lock_path())?;
    let mut installed = Vec::new();
    for entry in lock.entries() {
        let path = config.plugins.directory.join(format!("{}.wasm", entry.name));
        let wanted = InstallOptions { digest: Some(entry.digest), locked: true, ..InstallOptions::default() };
        let fetched = match &entry.source {
            Some(source) => get(source, options),
            // Pinned where it was: then it must be there.
            None => get(&path.display().to_string(), options),
        };
        let fetched = fetched.with_context(|| format!("cannot get plugin `{}` again", entry.name))?;
        check_publisher(entry, &fetched, config)?;
        installed.push(into_folder(&fetched, config, &wanted)?);
    }
    if installed.is_empty() {
        output::complain(&format!("`{}` names no plugins", config.lock_path().display()));
    }
    Ok(installed)
}

/// What was signed when it was locked is signed now: its digest alone is not its publisher's word.
fn check_publisher(entry: &LockEntry, fetched: &Fetched, config: &Config) -> Result<()> {
    let Some(key) = entry.publisher else { return Ok(()) };
    let trust = admission::trust(config).map_err(|why| anyhow!(why))?;
    let signature = fetched.signature.as_ref().ok_or_else(|| {
        anyhow!("plugin `{}` is locked to the key {key}, and its signature is gone", entry.name)
    })?;
    let publisher = signature.verify(&fetched.bytes, &trust.publishers)?;
    if publisher.key.id() != key {
        bail!("plugin `{}` is locked to the key {key}, and signed by `{}`", entry.name, publisher.name);
    }
    Ok(())
}

/// Verifies, and writes where the user says.
fn to_file(arguments: &Arguments, source: &str, out: &Path, options: &FetchOptions) -> Result<ExitCode> {
    let trust = match &arguments.key {
        Some(path) => Trust { publishers: vec![verify::publisher(path)?], ..Trust::default() },
        None if arguments.sha256.is_some() => Trust::default(),
        None => verify::of_config(&arguments.config)?,
    };
    let fetched = get(source, options)?;
    let digest = Digest::of(&fetched.bytes);
    let manifest =
        Manifest::of_component(&fetched.bytes).with_context(|| format!("`{source}` is no plugin"))?;
    if let Some(expected) = arguments.sha256.filter(|expected| *expected != digest) {
        bail!(
            "`{source}` has digest {digest}, not {expected}\n\nhint: Do not use it, unless you know why it changed."
        );
    }
    let mut trust = Trust { dev: false, ..trust };
    if arguments.sha256.is_some() {
        trust.pins.insert(manifest.name.0.clone(), [digest].into());
    }
    let identity = trust.judge(&fetched.bytes, &manifest, fetched.signature.as_ref())?;
    if let Some(signature) = &fetched.signature {
        write_whole(&signature_path(out), &signature.to_bytes()?)?;
    }
    write_whole(out, &fetched.bytes)?;
    if arguments.json {
        output::say_json(
            &json!({ "identity": identity, "path": out, "source": fetched.source.to_string() }),
        )?;
    } else {
        verify::say(&identity);
        output::say(&format!("written to {}", out.display()));
    }
    Ok(ExitCode::SUCCESS)
}
