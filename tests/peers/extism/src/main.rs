//! Calls of a plugin with three host calls on Extism's host: the work that `benches/platform.rs` measures on Salve's.
//!
//! That benchmark starts this program and tells it when its turn is, so that both hosts see the same machine. A line of
//! standard input is a turn: a kind of plugin, and how many calls. Its answer is a line with the nanoseconds of each call.

use anyhow::{Context, Result, bail, ensure};
use extism::{CompiledPlugin, Function, PTR, Plugin, PluginBuilder, UserData, convert::Json};
use serde::{Deserialize, Serialize};
use std::{
    collections::BTreeMap,
    io::{BufRead, Write},
    path::{Path, PathBuf},
    time::Instant,
};
use wasmtime::{Config, Enabled, InstanceAllocationStrategy, PoolingAllocationConfig};

const TARGETS: [&str; 3] = ["worker-1", "worker-2", "worker-3"];
const START_NS: u64 = 1_800_000_000_000_000_000;

#[derive(Serialize)]
struct Request {
    incident: &'static str,
    targets: Vec<Target>,
    parameters: Parameters,
    started: u64,
    now: u64,
}

#[derive(Serialize)]
struct Target {
    id: &'static str,
    attributes: BTreeMap<String, String>,
}

#[derive(Serialize)]
struct Parameters {}

#[derive(Serialize)]
struct Status {
    pid: Option<u32>,
    started: Option<u64>,
    state: String,
    rss_bytes: u64,
    cpu_seconds: f64,
    last_exit: Option<String>,
}

#[derive(Deserialize)]
#[allow(dead_code, reason = "what is read is part of the work")]
struct Proposal {
    summary: String,
    steps: Vec<Step>,
    expect: Vec<String>,
}

#[derive(Deserialize)]
#[allow(dead_code, reason = "what is read is part of the work")]
struct Step {
    capability: String,
    verb: String,
    target: String,
    arguments: String,
}

fn main() -> Result<()> {
    let guest = std::env::args_os().nth(1).map(PathBuf::from).context("usage: peer-extism GUEST.wasm")?;
    let usual = compile(&guest, Config::new())?;
    let pooled = compile(&guest, pool())?;
    let mut kept = Plugin::new_from_compiled(&usual)?;
    let mut out = std::io::stdout().lock();
    for line in std::io::stdin().lock().lines() {
        let line = line?;
        let (kind, calls) = line.split_once(' ').context("a turn is a kind and a number of calls")?;
        let calls: usize = calls.parse().context("cannot read the number of calls")?;
        let mut call: Box<dyn FnMut() -> Result<Proposal>> = match kind {
            "fresh" => Box::new(|| plan(&mut Plugin::new_from_compiled(&usual)?)),
            "pooled" => Box::new(|| plan(&mut Plugin::new_from_compiled(&pooled)?)),
            "reused" => Box::new(|| plan(&mut kept)),
            _ => bail!("there is no kind of plugin `{kind}`"),
        };
        let mut times = Vec::with_capacity(calls);
        for _ in 0..calls {
            let begun = Instant::now();
            let proposal = call()?;
            times.push(begun.elapsed().as_nanos().to_string());
            ensure!(proposal.steps.len() == TARGETS.len(), "{}", proposal.summary);
        }
        writeln!(out, "{}", times.join(" "))?;
        out.flush()?;
    }
    Ok(())
}

/// The plugin, with the function that it calls.
fn compile(guest: &Path, config: Config) -> Result<CompiledPlugin> {
    let status = Function::new("status", [PTR], [PTR], UserData::new(()), |plugin, inputs, outputs, _| {
        let _target: String = plugin.memory_get_val(&inputs[0])?;
        let status = Status {
            pid: Some(1),
            started: Some(1),
            state: "running".into(),
            rss_bytes: 0,
            cpu_seconds: 0.0,
            last_exit: None,
        };
        plugin.memory_set_val(&mut outputs[0], Json(status))
    });
    let module = std::fs::read(guest).with_context(|| format!("cannot read `{}`", guest.display()))?;
    // Without a manifest, which every instance would copy, and without its cache of compiled modules, which lies in the user's
    // home: what is compiled once is not measured.
    PluginBuilder::new(module)
        .with_functions([status])
        .with_wasi(false)
        .with_cache_disabled()
        .with_wasmtime_config(config)
        .compile()
}

/// Instances from a pool like that of Salve's host, which Extism does not use by itself.
fn pool() -> Config {
    let mut pool = PoolingAllocationConfig::new();
    pool.pagemap_scan(Enabled::Auto).linear_memory_keep_resident(1 << 20).max_memory_size(64 << 20);
    let mut config = Config::new();
    config.allocation_strategy(InstanceAllocationStrategy::Pooling(pool));
    config
}

fn plan(plugin: &mut Plugin) -> Result<Proposal> {
    let request = Request {
        incident: "inc-1",
        targets: TARGETS.map(|id| Target { id, attributes: BTreeMap::new() }).into(),
        parameters: Parameters {},
        started: START_NS,
        now: START_NS,
    };
    let Json(proposal) = plugin.call("plan", Json(request))?;
    Ok(proposal)
}
