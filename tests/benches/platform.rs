//! What the plugin platform costs: a fresh action call against wasmtime called raw on the same component, in the same run, in
//! turns, and if `cargo xtask bench` has built it against Extism's host; and what loaded plugins that nobody calls weigh.
#![allow(clippy::unwrap_used, clippy::print_stdout, missing_docs, reason = "a benchmark")]

use anyhow::{Context, Result};
use salve_model::{Attributes, Target, TargetId, Tenant, incident::IncidentId};
use salve_plugins::{ActionRequest, HostConfig, PluginHost};
use salve_tests::{at_once::AtOnce, plugins};
use std::{sync::Arc, time::Instant};

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
        // One guest thread: with more, a call is now and then carried to another core, which raw calls never are.
        let host = PluginHost::new(HostConfig { guest_threads: 1, ..HostConfig::new(cache.path()) })?;
        if wanted("raw") {
            salve_and_others(&host).await?;
        }
        if wanted("memory") {
            idle_plugins(&host)?;
        }
        Ok(())
    })
}

/// Calls of a turn: so few that all hosts see the same machine.
const TURN: usize = 1_000;

/// Our host, raw wasmtime and, if it was built, Extism's host in turns.
async fn salve_and_others(host: &PluginHost) -> Result<()> {
    let path = plugins().join("restart-process.wasm");
    let plugin = host.load(&path)?;
    let raw = raw::Host::new(&path)?;
    let mut extism = extism::Host::start()?;
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
    let of_host = host.clone();
    // On a guest thread, so that no side pays for a change of thread.
    let all = host
        .guest_threads()
        .spawn(async move {
            let mut all = vec![("salve", Vec::new()), ("raw wasmtime", Vec::new())];
            if extism.is_some() {
                all.extend(extism::KINDS.map(|(_, name)| (name, Vec::new())));
            }
            for _ in 0..CALLS / TURN {
                for _ in 0..TURN {
                    let begun = Instant::now();
                    let proposal =
                        of_host.plan(&plugin, request.clone(), Arc::new(AtOnce), Arc::new(AtOnce)).await?;
                    all[0].1.push(begun.elapsed());
                    anyhow::ensure!(proposal.steps.len() == TARGETS.len());
                }
                for _ in 0..TURN {
                    let begun = Instant::now();
                    let steps = raw.plan().await?;
                    all[1].1.push(begun.elapsed());
                    anyhow::ensure!(steps == TARGETS.len());
                }
                if let Some(extism) = &mut extism {
                    for ((kind, _), (_, times)) in extism::KINDS.iter().zip(&mut all[2..]) {
                        times.extend(extism.turn(kind, TURN)?);
                    }
                }
            }
            anyhow::Ok(all)
        })
        .await??;
    let mut ours = None;
    for (who, mut times) in all {
        times.sort();
        let at = |share: f64| times[(times.len() as f64 * share) as usize].as_secs_f64() * 1e6;
        let (median, rare) = (at(0.5), at(0.99));
        let ratio = *ours.get_or_insert(median) / median;
        println!(
            "call of an action, 3 host calls, {who}: p50 {median:.1} µs, p99 {rare:.1} µs; salve ÷ this: {ratio:.2}"
        );
    }
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
            // What Salve's pool keeps, so that both pay the same for an instance's end.
            let mut pool = PoolingAllocationConfig::new();
            pool.pagemap_scan(Enabled::Auto)
                .linear_memory_keep_resident(1 << 20)
                .table_keep_resident(64 << 10)
                .async_stack_keep_resident(64 << 10)
                .max_unused_warm_slots(16)
                .max_memory_size(64 << 20);
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

/// Extism's host with the same work, a program of its own (`tests/peers/extism`), since its wasmtime is another one.
mod extism {
    use anyhow::{Context, Result, ensure};
    use std::{
        env,
        io::{BufRead, BufReader, Write},
        process::{Child, ChildStdin, ChildStdout, Command, Stdio},
        time::Duration,
    };

    /// By these `cargo xtask bench` says where the program and its guest are.
    const PROGRAM: &str = "SALVE_BENCH_EXTISM";
    const GUEST: &str = "SALVE_BENCH_EXTISM_GUEST";
    /// What the program calls each kind of plugin, and how it is printed.
    pub(super) const KINDS: [(&str, &str); 3] = [
        ("fresh", "Extism"),
        ("pooled", "Extism with a pool of instances"),
        ("reused", "Extism, one instance for all calls"),
    ];

    pub(super) struct Host {
        child: Child,
        turns: ChildStdin,
        answers: BufReader<ChildStdout>,
    }

    impl Host {
        /// None if it was not built.
        pub(super) fn start() -> Result<Option<Self>> {
            let Some(program) = env::var_os(PROGRAM) else { return Ok(None) };
            let guest = env::var_os(GUEST).context("Extism's guest is not named")?;
            let mut command = Command::new(&program);
            command.arg(guest).stdin(Stdio::piped()).stdout(Stdio::piped());
            let mut child =
                command.spawn().with_context(|| format!("cannot start `{}`", program.display()))?;
            let turns = child.stdin.take().context("no standard input")?;
            let answers = BufReader::new(child.stdout.take().context("no standard output")?);
            Ok(Some(Self { child, turns, answers }))
        }

        /// How long each call of a turn took.
        pub(super) fn turn(&mut self, kind: &str, calls: usize) -> Result<Vec<Duration>> {
            writeln!(self.turns, "{kind} {calls}")?;
            let mut line = String::new();
            self.answers.read_line(&mut line)?;
            let nanoseconds = line.split_whitespace().map(str::parse);
            let times: Vec<_> =
                nanoseconds.map(|time| Ok(Duration::from_nanos(time?))).collect::<Result<_>>()?;
            ensure!(times.len() == calls, "Extism's host ended: {line}");
            Ok(times)
        }
    }

    impl Drop for Host {
        fn drop(&mut self) {
            drop(self.child.kill());
            drop(self.child.wait());
        }
    }
}
