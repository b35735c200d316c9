//! `salve ledger verify` and `show`, which work without a daemon, and `erase`, which asks it.

use super::{ConfigArgument, output, status, user};
use crate::control::{Erasure, Request};
use anyhow::{Result, bail};
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
    /// Erase payloads with their salts for good, by the running daemon.
    ///
    /// Numbers, times, kinds and digests stay, so `salve ledger verify` still holds, and an entry of kind `erasure` says
    /// what was erased, by whom and why. What Salve still needs stays: everything of open incidents. The daemon's memory
    /// of a closed incident goes with its next start at the latest.
    #[command(group(clap::ArgGroup::new("what").required(true).args(["incident", "entries"])))]
    Erase {
        /// All entries of this incident, and the results of its writes.
        #[arg(long, value_name = "ID")]
        incident: Option<String>,
        /// Entries with these numbers, both included.
        #[arg(long, value_name = "FIRST..LAST", value_parser = entries)]
        entries: Option<Erasure>,
        /// Why, for the record.
        #[arg(long)]
        reason: String,
        /// It cannot be taken back.
        #[arg(long)]
        yes: bool,
        #[command(flatten)]
        config: ConfigArgument,
    },
}

/// `5..9`, or `5` for one.
fn entries(text: &str) -> Result<Erasure, String> {
    let (first, last) = text.split_once("..").unwrap_or((text, text));
    match (first.parse(), last.parse()) {
        (Ok(first), Ok(last)) => Ok(Erasure::Entries { first, last }),
        _ => Err("write for instance `5..9`".into()),
    }
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
        Command::Erase { incident, entries, reason, yes, config } => {
            let Some(what) = incident.map(Erasure::Incident).or(entries) else {
                bail!("there is nothing to erase\n\nhint: Give `--incident ID` or `--entries FIRST..LAST`.");
            };
            if !yes {
                bail!(
                    "nothing was erased, since it cannot be taken back\n\nhint: Look at it with `salve ledger show`, then add `--yes`."
                );
            }
            status::simple(&config, &Request::Erase { what, by: user(), reason })
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
                    output::say_json_line(&entry)?;
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
