//! `salve plugin pin`: the operator's word for unsigned content.

use super::{
    super::{ConfigArgument, output},
    verify,
};
use crate::admission;
use anyhow::{Result, anyhow};
use salve_distribution::{Trust, pin};
use std::{path::PathBuf, process::ExitCode};

#[derive(Debug, clap::Args)]
pub struct Arguments {
    /// The components. They are not moved.
    #[arg(required = true)]
    components: Vec<PathBuf>,
    /// The lock file. Default: the one that the configuration names.
    #[arg(long, value_name = "FILE")]
    lock_file: Option<PathBuf>,
    /// Forget what the lock file said before.
    #[arg(long)]
    afresh: bool,
    /// Answer in JSON.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    config: ConfigArgument,
}

pub fn run(arguments: &Arguments) -> Result<ExitCode> {
    let (trust, lock_file) = match &arguments.lock_file {
        Some(path) => (Trust::default(), path.clone()),
        None => {
            let config = arguments.config.load()?;
            (admission::trust(&config).map_err(|why| anyhow!(why))?, config.lock_path())
        }
    };
    let pinned = pin(&arguments.components, &trust, &lock_file, arguments.afresh)?;
    if arguments.json {
        output::say_json(&pinned)?;
    } else {
        for identity in &pinned {
            verify::say(identity);
        }
        output::complain(&format!("{} pinned in {}", pinned.len(), lock_file.display()));
    }
    Ok(ExitCode::SUCCESS)
}
