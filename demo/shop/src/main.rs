//! The demo shop: three services that speak HTTP to each other and OpenTelemetry to whoever listens, and their
//! customers.
//!
//! ```text
//! load ──POST /orders──► gateway ──POST /checkout──► checkout ──POST /reservations──► inventory
//! ```
//!
//! ## What always holds
//! - each subcommand is one process; a trace runs through all of them (W3C trace context)
//! - telemetry never holds a request up: it is queued, bounded, and dropped when nobody takes it
//! - a service reads its configuration file again when it changes, and keeps the old one if the new one is broken
//! - faults come from outside, or are real: a leak allocates memory, a memory limit is the kernel's
//!
//! Not here: breaking things and judging what became of it, which is the runner's (`salve-demo`).

mod admin;
mod checkout;
mod client;
mod config;
mod failure;
mod gateway;
mod inventory;
mod load;
mod memory;
mod rhythm;
mod server;
mod service;
mod telemetry;
mod workers;

use clap::{Args, Parser, Subcommand};
use std::path::PathBuf;

#[derive(Parser)]
#[command(name = "salve-demo-shop", about = "A small shop of three services, and the load on it.", version)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Takes orders from customers; asks `checkout`.
    Gateway(ServiceArguments),
    /// Adds taxes; asks `inventory`.
    Checkout(ServiceArguments),
    /// Reserves the goods.
    Inventory(ServiceArguments),
    /// Customers: an open-loop generator of orders.
    Load(load::Arguments),
}

/// What each of the three services is told on the command line.
#[derive(Args, Clone, Debug)]
struct ServiceArguments {
    /// Configuration file: TOML, YAML or JSON, by its ending. Read again when it changes.
    #[arg(long)]
    config: PathBuf,
    /// Where traces, metrics and logs go (OTLP gRPC).
    #[arg(long, default_value = "http://127.0.0.1:4317")]
    otlp_endpoint: String,
    /// Limit of this process's data memory (`RLIMIT_DATA`), set by itself at start. None: as inherited.
    #[arg(long)]
    memory_limit_bytes: Option<u64>,
}

fn main() -> anyhow::Result<()> {
    let cli = Cli::parse();
    // Two threads: enough for hundreds of requests a second, and few stacks to count against the memory limit.
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    runtime.block_on(async {
        match cli.command {
            Command::Gateway(arguments) => gateway::run(arguments).await,
            Command::Checkout(arguments) => checkout::run(arguments).await,
            Command::Inventory(arguments) => inventory::run(arguments).await,
            Command::Load(arguments) => load::run(arguments).await,
        }
    })
}
