//! `salve plugin bench`.

use super::{
    block_on, build, read_component,
    run::{Asked, Question},
};
use crate::commands::output;
use anyhow::{Context, Result};
use salve_authoring::{
    bench::{self, Figures, Quantiles},
    size,
    trial::Call,
};
use salve_plugins::Manifest;
use std::{path::PathBuf, process::ExitCode, time::Duration};

/// What is measured.
#[derive(Debug, clap::Args)]
pub struct Arguments {
    /// A component, or a project, which is built if need be.
    #[arg(default_value = ".")]
    component: PathBuf,
    #[command(flatten)]
    asked: Asked,
    /// Most calls, and most instances.
    #[arg(long, default_value_t = 5_000, value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    calls: u32,
    /// Longest time for each, in seconds.
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u64).range(1..=600))]
    seconds: u64,
    /// Answer in JSON.
    #[arg(long)]
    json: bool,
}

/// Measures, and shows a table.
pub fn run(arguments: &Arguments) -> Result<ExitCode> {
    let Question { request, call, recorded, .. } = arguments.asked.read()?;
    let component = build::component_of(&arguments.component, false)?;
    let role = Manifest::of_component(&read_component(&component)?)?.role;
    let call = call.or_else(|| Call::of_role(role).next()).context("the role has no calls")?;
    let figures = block_on(bench::measure(&bench::Plan {
        component: &component,
        call,
        request: &request,
        recorded,
        calls_max: usize::try_from(arguments.calls).unwrap_or(usize::MAX),
        within: Duration::from_secs(arguments.seconds),
    }))??;
    if arguments.json {
        output::say_json(&figures)?;
    } else {
        output::say(&table(&figures));
    }
    Ok(ExitCode::SUCCESS)
}

fn table(figures: &Figures) -> String {
    let head = ["", "p50", "p99", "max", "samples"].map(String::from).to_vec();
    let row = |name: &str, quantiles: &Quantiles| {
        let time =
            |us: f64| if us < 10_000.0 { format!("{us:.1} µs") } else { format!("{:.1} ms", us / 1_000.0) };
        vec![
            name.to_owned(),
            time(quantiles.p50),
            time(quantiles.p99),
            time(quantiles.max),
            quantiles.samples.to_string(),
        ]
    };
    let call = match figures.call {
        Call::Observe => "observe, a batch".to_owned(),
        call => format!("{}, fresh instance", call.name()),
    };
    let rows = [
        head,
        row("load from cache", &figures.load_cached_us),
        row("instantiate", &figures.instantiate_us),
        row(&call, &figures.call_us),
    ];
    format!(
        "{}\n\nsize {}; first load {:.0} ms; memory peak {}; {} calls to the host and {} instructions a call",
        output::table(&rows),
        size(u64::try_from(figures.size_bytes).unwrap_or(u64::MAX)),
        figures.load_cold_us / 1_000.0,
        size(figures.memory_peak_bytes),
        figures.host_calls,
        figures.fuel
    )
}
