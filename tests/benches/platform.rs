//! What the plugin platform costs: a fresh action call against wasmtime called raw on the same component, in the same run, in
//! turns; and what loaded plugins that nobody calls weigh.
#![allow(clippy::unwrap_used, clippy::print_stdout, missing_docs, reason = "a benchmark")]

use anyhow::{Context, Result};
use salve_model::{Attributes, Target, TargetId, Tenant, incident::IncidentId};
use salve_plugins::{ActionRequest, HostConfig, PluginHost};
use salve_tests::{at_once::AtOnce, plugins};
use std::{
    sync::Arc,
    time::{Duration, Instant},
};

const CALLS: usize = 20_000;
const IDLE_PLUGINS: u64 = 1_000;
const TARGETS: [&str; 3] = ["worker-1", "worker-2", "worker-3"];
const START_NS: u64 = 1_800_000_000_000_000_000;

fn main() -> Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    // `cargo test --benches` only wants to know that it starts.
    if arguments.iter().any(|argument| argument == "--test") {
        return Ok(());
    }
    let words: Vec<&String> = arguments.iter().filter(|argument| !argument.starts_with('-')).collect();
    let wanted = |part: &str| words.is_empty() || words.iter().any(|word| part.contains(word.as_str()));
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    runtime.block_on(async {
        let cache = tempfile::tempdir()?;
        let host = PluginHost::new(HostConfig::new(cache.path()))?;
        if wanted("raw") {
            salve_and_raw(&host).await?;
        }
        if wanted("memory") {
            idle_plugins(&host)?;
        }
        Ok(())
    })
}

/// Our host and raw wasmtime in turns, a thousand calls each, so that both see the same machine.
async fn salve_and_raw(host: &PluginHost) -> Result<()> {
    const TURN: usize = 1_000;
    let path = plugins().join("restart-process.wasm");
    let plugin = host.load(&path)?;
    let raw = raw::Host::new(&path)?;
    let request = ActionRequest {
        incident: IncidentId("inc-1".into()),
        tenant: Tenant::default(),
        targets: TARGETS
            .map(|id| Target {
                id: TargetId(id.into()),
                tenant: Tenant::default(),
                attributes: Attributes::new(),
                objects: Vec::new(),
            })
            .to_vec(),
        parameters: "{}".into(),
        started: START_NS,
        now: START_NS,
    };
    let (of_host, of_raw) = (host.clone(), raw.clone());
    // On a guest thread, so that neither side pays for a change of thread.
    let (mut ours, mut theirs) = host
        .guest_threads()
        .spawn(async move {
            let (mut ours, mut theirs) = (Vec::new(), Vec::new());
            for _ in 0..CALLS / TURN {
                for _ in 0..TURN {
                    let begun = Instant::now();
                    let proposal =
                        of_host.plan(&plugin, request.clone(), Arc::new(AtOnce), Arc::new(AtOnce)).await?;
                    ours.push(begun.elapsed());
                    anyhow::ensure!(proposal.steps.len() == TARGETS.len());
                }
                for _ in 0..TURN {
                    let begun = Instant::now();
                    let steps = of_raw.plan().await?;
                    theirs.push(begun.elapsed());
                    anyhow::ensure!(steps == TARGETS.len());
                }
            }
            anyhow::Ok((ours, theirs))
        })
        .await??;
    let at = |times: &mut Vec<Duration>, share: f64| {
        times.sort();
        times[(times.len() as f64 * share) as usize].as_secs_f64() * 1e6
    };
    for (who, times) in [("salve", &mut ours), ("raw wasmtime", &mut theirs)] {
        let (median, rare) = (at(times, 0.5), at(times, 0.99));
        println!(
            "fresh instance and call of an action, 3 host calls, {who}: p50 {median:.1} µs, p99 {rare:.1} µs"
        );
    }
    println!("salve ÷ raw wasmtime: {:.2}", at(&mut ours, 0.5) / at(&mut theirs, 0.5));
    Ok(())
}

/// Private memory of loaded plugins. Their code is mapped from the cache, and shared with it.
fn idle_plugins(host: &PluginHost) -> Result<()> {
    let path = plugins().join("restart-process.wasm");
    let _compiled = host.load(&path)?;
    let before = private_kib()?;
    let loaded = (0..IDLE_PLUGINS).map(|_| host.load(&path)).collect::<Result<Vec<_>, _>>()?;
    let after = private_kib()?;
    println!(
        "{} idle loaded actions: {:.1} KiB of private memory each",
        loaded.len(),
        (after - before) as f64 / IDLE_PLUGINS as f64
    );
    Ok(())
}

fn private_kib() -> Result<i64> {
    let rollup = std::fs::read_to_string("/proc/self/smaps_rollup")?;
    let of = |name: &str| -> Result<i64> {
        let line = rollup.lines().find(|line| line.starts_with(name)).context("no such line")?;
        Ok(line.split_whitespace().nth(1).context("no number")?.parse()?)
    };
    Ok(of("Private_Dirty:")? + of("Private_Clean:")?)
}

/// The least that a host of components can be: one engine with a pool, epoch interruption on, and functions that answer.
mod raw {
    use super::{START_NS, TARGETS};
    use anyhow::Result;
    use std::{path::Path, sync::Arc};
    use wasmtime::{
        Config, Enabled, Engine, InstanceAllocationStrategy, PoolingAllocationConfig, Store,
        component::{Component, HasSelf, Linker},
    };

    mod bindings {
        #![allow(missing_docs, unreachable_pub, clippy::all, reason = "generated")]
        wasmtime::component::bindgen!({
            path: "../wit",
            inline: "
                package salve:raw@0.1.0;
                world raw {
                    import salve:plugin/log@0.1.0;
                    import salve:plugin/clock@0.1.0;
                    import salve:plugin/process@0.1.0;
                    export salve:plugin/act@0.1.0;
                }
            ",
            world: "salve:raw/raw",
            imports: { default: async | trappable },
            exports: { default: async },
            ownership: Borrowing { duplicate_if_necessary: false },
        });
    }
    use bindings::{
        Raw, RawPre,
        exports::salve::plugin::act,
        salve::plugin::{clock, log, process, types},
    };

    #[derive(Clone)]
    pub(super) struct Host(Arc<(Engine, RawPre<Guest>)>);

    struct Guest;

    impl Host {
        pub(super) fn new(path: &Path) -> Result<Self> {
            let mut pool = PoolingAllocationConfig::new();
            pool.pagemap_scan(Enabled::Auto).linear_memory_keep_resident(256 << 10).max_memory_size(64 << 20);
            let mut config = Config::new();
            config.epoch_interruption(true).allocation_strategy(InstanceAllocationStrategy::Pooling(pool));
            let engine = Engine::new(&config)?;
            let component = Component::from_file(&engine, path)?;
            let mut linker = Linker::new(&engine);
            Raw::add_to_linker::<_, HasSelf<Guest>>(&mut linker, |guest| guest)?;
            let pre = RawPre::new(linker.instantiate_pre(&component)?)?;
            Ok(Self(Arc::new((engine, pre))))
        }

        /// Steps of the plan of a fresh instance.
        pub(super) async fn plan(&self) -> Result<usize> {
            let (engine, pre) = &*self.0;
            let mut store = Store::new(engine, Guest);
            store.set_epoch_deadline(u64::MAX / 2);
            let raw = pre.instantiate_async(&mut store).await?;
            let (ids, attributes) = (TARGETS.map(String::from), Vec::new());
            let targets = ids.each_ref().map(|id| types::Target { id, attributes: &attributes });
            let request = act::Request {
                incident: "inc-1",
                targets: &targets,
                parameters: "{}",
                started: START_NS,
                now: START_NS,
            };
            let proposal = raw.salve_plugin_act().call_plan(&mut store, request).await?;
            Ok(proposal.map_or(0, |proposal| proposal.steps.len()))
        }
    }

    impl types::Host for Guest {}

    impl log::Host for Guest {
        async fn write(
            &mut self,
            _: log::Level,
            _: String,
            _: Vec<(String, String)>,
        ) -> wasmtime::Result<()> {
            Ok(())
        }
    }

    impl clock::Host for Guest {
        async fn now(&mut self) -> wasmtime::Result<u64> {
            Ok(START_NS)
        }
        async fn sleep(&mut self, _: u32) -> wasmtime::Result<()> {
            Ok(())
        }
    }

    type Answer<R> = wasmtime::Result<Result<R, types::CallError>>;

    impl process::Host for Guest {
        async fn status(&mut self, _: String) -> Answer<process::ProcessStatus> {
            Ok(Ok(process::ProcessStatus {
                pid: Some(1),
                started: Some(1),
                state: "running".into(),
                rss_bytes: 0,
                cpu_seconds: 0.0,
                last_exit: None,
            }))
        }
        async fn start(&mut self, _: String) -> Answer<types::Receipt> {
            Ok(Err(types::CallError::TimedOut))
        }
        async fn stop(&mut self, _: String) -> Answer<types::Receipt> {
            Ok(Err(types::CallError::TimedOut))
        }
        async fn restart(&mut self, _: String) -> Answer<types::Receipt> {
            Ok(Err(types::CallError::TimedOut))
        }
    }
}
