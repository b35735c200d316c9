//! A fresh plugin and one call with three host calls on Extism's host: the work that `benches/platform.rs` measures on Salve's.

use anyhow::{Context, Result, ensure};
use extism::{CompiledPlugin, Function, Manifest, PTR, Plugin, PluginBuilder, UserData, Wasm};
use std::{path::PathBuf, time::Instant};

const CALLS: usize = 5_000;
const REQUEST: &str = r#"{"targets":["worker-1","worker-2","worker-3"]}"#;

fn main() -> Result<()> {
    let guest = std::env::args_os().nth(1).map(PathBuf::from).context("usage: peer-extism GUEST.wasm")?;
    let status = Function::new("status", [PTR], [PTR], UserData::new(()), |plugin, inputs, outputs, _| {
        let _target: String = plugin.memory_get_val(&inputs[0])?;
        plugin.memory_set_val(&mut outputs[0], r#"{"pid":1,"started":1,"state":"running"}"#)
    });
    // Without its cache of compiled modules, which lies in the user's home: what is compiled once is not measured.
    let builder = PluginBuilder::new(Manifest::new([Wasm::file(guest)]))
        .with_functions([status])
        .with_wasi(false)
        .with_cache_disabled();
    let compiled = CompiledPlugin::new(builder)?;
    let mut times = Vec::new();
    for _ in 0..CALLS {
        let begun = Instant::now();
        let mut plugin = Plugin::new_from_compiled(&compiled)?;
        let answer: String = plugin.call("plan", REQUEST)?;
        times.push(begun.elapsed().as_secs_f64() * 1e6);
        ensure!(answer.matches("restart").count() == 3, "{answer}");
    }
    times.sort_by(f64::total_cmp);
    let at = |share: f64| times[(times.len() as f64 * share) as usize];
    println!(
        "fresh instance and call of an action, 3 host calls, Extism: p50 {:.1} µs, p99 {:.1} µs",
        at(0.5),
        at(0.99)
    );
    Ok(())
}
