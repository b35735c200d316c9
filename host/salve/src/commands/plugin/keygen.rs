//! `salve plugin keygen`: a key pair, in files that cosign reads too.

use super::{super::output, secret};
use anyhow::{Context, Result, bail};
use salve_distribution::{PrivateKey, write_private, write_whole};
use serde_json::json;
use std::{
    path::{Path, PathBuf},
    process::ExitCode,
};

/// The password of a private key.
pub const PASSWORD: &str = "SALVE_KEY_PASSWORD";

#[derive(Debug, clap::Args)]
pub struct Arguments {
    /// Where the pair goes: PATH.key, for you alone, and PATH.pub, for everybody.
    #[arg(long, value_name = "PATH", default_value = "salve-plugin")]
    out: PathBuf,
    /// Read the password of the private key from standard input; else from SALVE_KEY_PASSWORD.
    #[arg(long)]
    password_stdin: bool,
    /// Write the private key without a password.
    #[arg(long, conflicts_with = "password_stdin")]
    unencrypted: bool,
    /// Answer in JSON.
    #[arg(long)]
    json: bool,
}

pub fn run(arguments: &Arguments) -> Result<ExitCode> {
    let password =
        if arguments.unencrypted { None } else { secret::read(arguments.password_stdin, PASSWORD)? };
    if password.is_none() && !arguments.unencrypted {
        bail!(
            "there is no password for the private key\n\nhint: Give one in {PASSWORD} or by --password-stdin; or say \
             --unencrypted, if the file is protected otherwise."
        );
    }
    let key = PrivateKey::generate()?;
    let public = key.public();
    let (private_path, public_path) =
        (with_ending(&arguments.out, "key"), with_ending(&arguments.out, "pub"));
    if public_path.exists() {
        bail!(
            "`{}` is there already\n\nhint: Choose another --out; a key that was published cannot be made again.",
            public_path.display()
        );
    }
    let pem = key.to_pem(password.as_deref().map(str::as_bytes))?;
    write_private(&private_path, pem.as_bytes()).context("cannot write the private key").and_then(|()| {
        write_whole(&public_path, public.to_pem().as_bytes()).context("cannot write the public key")
    })?;
    if password.is_none() {
        output::complain("warning: the private key is not encrypted; who can read the file can sign as you");
    }
    if arguments.json {
        output::say_json(&json!({
            "private_key": private_path, "public_key": public_path, "key": public.id(), "encrypted": password.is_some(),
        }))?;
    } else {
        output::say(&format!("private key  {} (keep it to yourself)", private_path.display()));
        output::say(&format!("public key   {}", public_path.display()));
        output::say(&format!("key id       {}", public.id()));
        output::say("\nWho trusts you writes into salve.toml:\n");
        let path = toml::Value::String(public_path.display().to_string());
        output::say(&format!("[[publisher]]\nname = \"your-name\"\nkey = {path}"));
    }
    Ok(ExitCode::SUCCESS)
}

fn with_ending(path: &Path, ending: &str) -> PathBuf {
    let mut path = path.as_os_str().to_owned();
    path.push(".");
    path.push(ending);
    PathBuf::from(path)
}
