//! `salve plugin push`: into a registry.

use super::{super::output, read_plugin, registry};
use anyhow::{Context, Result, bail};
use salve_distribution::{Reference, SignatureError, SignatureFile, read_bounded, signature_path};
use std::{path::PathBuf, process::ExitCode};

#[derive(Debug, clap::Args)]
pub struct Arguments {
    /// The component; its signature is beside it, in FILE.sig.
    component: PathBuf,
    /// Where to: HOST/REPOSITORY:TAG.
    reference: String,
    #[command(flatten)]
    options: registry::Options,
    /// Answer in JSON.
    #[arg(long)]
    json: bool,
}

pub fn run(arguments: &Arguments) -> Result<ExitCode> {
    let (bytes, manifest) = read_plugin(&arguments.component)?;
    if let Some(objection) = salve_plugins::pack::inspect(&bytes)?.objection {
        bail!("the host would not load `{}`: {objection}", arguments.component.display());
    }
    let text = &arguments.reference;
    let reference: Reference = text.strip_prefix("oci://").unwrap_or(text).parse()?;
    if reference.digest.is_some() {
        bail!("a plugin is pushed under a tag, not under a digest\n\nhint: Write HOST/REPOSITORY:TAG.");
    }
    let beside = signature_path(&arguments.component);
    let signature = match read_bounded(&beside, 1 << 20) {
        Ok(text) => {
            Some(SignatureFile::parse(&text).with_context(|| format!("cannot read `{}`", beside.display()))?)
        }
        Err(error) if error.is_missing() => None,
        Err(error) => return Err(error.into()),
    };
    match &signature {
        None => output::complain(
            "warning: the plugin is not signed; a Salve that did not pin its digest will refuse it\n\nhint: salve plugin \
             sign FILE --key KEY",
        ),
        Some(file) if file.is_over_content() => bail!(
            "`{}` is a signature over the file alone, for which a registry has no place\n\nhint: Sign it for registries, too: \
             salve plugin sign FILE --key KEY; KEY may be cosign's.",
            beside.display()
        ),
        Some(file) => match file.verify(&bytes, &[]) {
            // Whose it is does not matter here; that it belongs to this component does.
            Ok(_) | Err(SignatureError::UnknownKey { .. }) => {}
            Err(error) => return Err(error).with_context(|| format!("`{}` does not fit", beside.display())),
        },
    }
    let options = arguments.options.read()?;
    let pushed = registry::wait(salve_distribution::push(
        &bytes,
        &manifest,
        signature.as_ref(),
        &reference,
        &options,
        &registry::tell,
    ))??;
    if arguments.json {
        output::say_json(&pushed)?;
    } else {
        output::say(&format!("oci://{}", pushed.reference));
        output::say(&format!("component {}, {} signatures", pushed.component, pushed.signatures));
    }
    Ok(ExitCode::SUCCESS)
}
