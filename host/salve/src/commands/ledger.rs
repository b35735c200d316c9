//! `salve ledger verify` and `show`. Both work without a daemon.

use super::{ConfigArgument, output};
use anyhow::Result;
use salve_model::{Tenant, text::escape};
use std::{path::PathBuf, process::ExitCode};

/// The record.
#[derive(Debug, clap::Subcommand)]
pub enum Command {
    /// Recompute the hash chain. Exit code 1 if anything was changed.
    Verify {
        #[command(flatten)]
        place: Place,
        /// Answer in JSON.
        #[arg(long)]
        json: bool,
    },
    /// Show entries, oldest first.
    Show {
        #[command(flatten)]
        place: Place,
        /// Of this incident only.
        #[arg(long)]
        incident: Option<String>,
        /// Of this tenant only.
        #[arg(long)]
        tenant: Option<String>,
        /// Beginning with this number.
        #[arg(long, default_value_t = 0)]
        from: u64,
        /// At most so many.
        #[arg(long, default_value_t = 1_000)]
        limit: u64,
        /// Answer in JSON, one entry a line.
        #[arg(long)]
        json: bool,
    },
}

/// Which ledger.
#[derive(Debug, Clone, clap::Args)]
pub struct Place {
    /// The ledger file; by default the one of the configuration.
    #[arg(long, value_name = "FILE")]
    ledger: Option<PathBuf>,
    #[command(flatten)]
    config: ConfigArgument,
}

impl Place {
    fn path(&self) -> Result<PathBuf> {
        match &self.ledger {
            Some(path) => Ok(path.clone()),
            None => Ok(self.config.state()?.ledger_path()),
        }
    }
}

/// Carries out the command.
pub fn run(command: Command) -> Result<ExitCode> {
    match command {
        Command::Verify { place, json } => {
            let report = salve_ledger::verify(&place.path()?)?;
            if json {
                output::say_json(&report)?;
            } else {
                output::say(&describe(&report));
            }
            Ok(if report.first_bad.is_none() { ExitCode::SUCCESS } else { ExitCode::from(1) })
        }
        Command::Show { place, incident, tenant, from, limit, json } => {
            let reader = salve_ledger::LedgerReader::open(&place.path()?)?;
            let filter = salve_ledger::Filter {
                from_seq: from,
                incident,
                tenant: tenant.map(Tenant),
                limit: Some(limit),
                ..Default::default()
            };
            for entry in reader.entries(filter)? {
                if json {
                    output::say(&serde_json::to_string(&entry)?);
                } else {
                    let payload =
                        entry.payload.as_ref().map_or_else(|| "(erased)".into(), ToString::to_string);
                    let whose = if entry.tenant.is_default() {
                        String::new()
                    } else {
                        format!("[{}] ", escape(&entry.tenant.0, 60))
                    };
                    output::say(&format!(
                        "{:>6}  {}  {:<8}  {:<12}  {whose}{}",
                        entry.seq,
                        output::moment(entry.now_ms),
                        entry.incident.as_deref().unwrap_or("-"),
                        entry.kind,
                        escape(&payload, 160)
                    ));
                }
            }
            Ok(ExitCode::SUCCESS)
        }
    }
}

/// A report in words.
pub fn describe(report: &salve_ledger::VerifyReport) -> String {
    let entries =
        format!("{} entries, {} of them erased, head {}", report.entries, report.erased, report.head_hash);
    match &report.first_bad {
        None => format!("intact: {entries}"),
        Some(bad) => format!("NOT AS WRITTEN: entry {} ({:?}); before it {entries}", bad.seq, bad.problem),
    }
}
