//! How long a plugin takes to load whose native code is in the cache and whose file is known: look at both, map, link; and to let go
//! of it.
//!
//! Wall-clock times say much about the machine when it is busy: CPU time and the shortest of many are printed beside the median.
//! `cargo bench --workspace --bench loading -- PATH.wasm` measures components of your own.

#![allow(clippy::unwrap_used, clippy::print_stdout, missing_docs, reason = "a benchmark")]

use anyhow::Result;
use rustix::time::{ClockId, clock_gettime};
use salve_plugins::{HostConfig, PluginHost};
use salve_tests::{components, plugins};
use std::{
    os::unix::fs::MetadataExt,
    path::Path,
    thread,
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

const LOADS: usize = 500;
/// Files are known by their times only when they are older than the cache's ten seconds.
const SETTLED: Duration = Duration::from_millis(10_100);

fn main() -> Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    // `cargo test --benches` only wants to know that it starts.
    if arguments.iter().any(|argument| argument == "--test") {
        return Ok(());
    }
    let words: Vec<&String> = arguments.iter().filter(|argument| !argument.starts_with('-')).collect();
    let (paths, names): (Vec<_>, Vec<_>) = words.into_iter().partition(|word| word.ends_with(".wasm"));
    for path in &paths {
        measure(Path::new(path))?;
    }
    let wanted = |name: &str| match names.as_slice() {
        [] => paths.is_empty(),
        names => names.iter().any(|word| name.contains(word.as_str())),
    };
    if wanted("restart-process") {
        measure(&plugins().join("restart-process.wasm"))?;
    }
    let folder = tempfile::tempdir()?;
    for (name, sdk) in [("restart-go", "go"), ("restart-javascript", "js"), ("restart-python", "python")] {
        if wanted(name) {
            let project = salve_tests::root().join("tests/benches/same-work").join(name);
            let component = components::built(&project, &[&salve_tests::root().join("sdk").join(sdk)]);
            let path = folder.path().join(format!("{name}.wasm"));
            std::fs::write(&path, component)?;
            measure(&path)?;
        }
    }
    Ok(())
}

fn measure(path: &Path) -> Result<()> {
    let host = PluginHost::new(HostConfig::new(components::compiled()))?;
    let first = host.load(path)?.stats();
    let changed = u64::try_from(std::fs::metadata(path)?.ctime())?;
    let age = SystemTime::now().duration_since(UNIX_EPOCH + Duration::from_secs(changed))?;
    thread::sleep(if first.from_cache { SETTLED.saturating_sub(age) } else { SETTLED });
    // Notes that the files are those that were checked and read.
    let size_bytes = host.load(path)?.stats().size_bytes;
    let mut loads = Vec::with_capacity(LOADS);
    let mut drops = Vec::with_capacity(LOADS);
    let cpu = cpu_time();
    for _ in 0..LOADS {
        let begun = Instant::now();
        let plugin = host.load(path)?;
        loads.push(begun.elapsed());
        let begun = Instant::now();
        drop(plugin);
        drops.push(begun.elapsed());
    }
    let cpu = (cpu_time() - cpu).as_secs_f64() * 1e3 / LOADS as f64;
    loads.sort();
    drops.sort();
    let ms = |times: &[Duration], share: usize| times[(times.len() - 1) * share / 100].as_secs_f64() * 1e3;
    println!(
        "{}, {size_bytes} bytes, from the cache: least {:.3} ms, p50 {:.3}, p99 {:.3}; to drop it: least {:.3}, p50 {:.3}; both {cpu:.3} ms of CPU",
        path.file_stem().unwrap_or_default().to_string_lossy(),
        ms(&loads, 0),
        ms(&loads, 50),
        ms(&loads, 99),
        ms(&drops, 0),
        ms(&drops, 50),
    );
    Ok(())
}

/// CPU time of this thread.
fn cpu_time() -> Duration {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    Duration::new(time.tv_sec.unsigned_abs(), time.tv_nsec as u32)
}
