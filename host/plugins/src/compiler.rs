//! Compilation: here, or in a process of its own, which is nicer than the daemon and may use only so much memory.
//!
//! ## What always holds
//! - the process gets the bytes that were admitted, not the file, which may have been replaced since
//! - it gives back nothing but an artefact in the cache, which is checked like any other
//! - it inherits no environment, lets nothing of its memory be written to disk when it crashes, and ends with the daemon
//! - whatever becomes of it, the answer is an error that says why, within `compile_timeout_ms`

use crate::{cache::Cache, config::HostConfig, engine};
use rustix::{
    event::{PollFd, PollFlags, Timespec, poll},
    process::{
        Pid, PidfdFlags, Resource, Rlimit, Signal, getppid, nice, pidfd_open,
        set_parent_process_death_signal, setrlimit,
    },
};
use salve_model::text::escape;
use serde::{Deserialize, Serialize};
use std::{
    ffi::OsString,
    fs,
    io::{self, Read, Write},
    os::unix::process::ExitStatusExt,
    path::PathBuf,
    process::{Child, Command, ExitStatus, Stdio},
    thread,
    time::{Duration, Instant},
};
use wasmtime::{Engine, component::Component};

/// Most of what the process says that is read, in bytes.
const WORDS_BYTES_MAX: u64 = 16 << 10;
/// The lowest priority there is.
const NICENESS: i32 = 19;
/// Longest message in an error, in characters.
const MESSAGE_MAX: usize = 500;

/// The program that compiles, and what to call it with before the order: `salve compile`, as a rule.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CompilerProgram {
    /// What to start.
    pub program: PathBuf,
    /// Its first arguments.
    pub arguments: Vec<OsString>,
}

/// What the program is told: as JSON, in its last argument. The component comes on its standard input.
#[derive(Debug, Serialize, Deserialize)]
struct Order {
    parent: i32,
    digest: String,
    cache_dir: PathBuf,
    cache_bytes_max: u64,
    stack_bytes: u32,
    count_fuel: bool,
    compile_quickly: bool,
    memory_bytes: u64,
}

/// Makes native code of an admitted component, and keeps it in the cache.
///
/// # Errors
/// Why there is none, in words for the operator.
pub(crate) fn compile(
    config: &HostConfig,
    engine: &Engine,
    cache: &Cache,
    bytes: &[u8],
    digest: &str,
) -> Result<Component, String> {
    let Some(compiler) = &config.compiler else {
        let component = Component::from_binary(engine, bytes).map_err(words_of)?;
        let stored = component.serialize().map_err(io::Error::other);
        if let Err(error) = stored.and_then(|compiled| cache.store(&compiled, digest)) {
            tracing::warn!(%error, "Compiled plugin cannot be kept; it will be compiled again.");
        }
        return Ok(component);
    };
    in_child(config, compiler, bytes, digest)?;
    cache.load(engine, digest).ok_or_else(|| "the compiler left nothing that this Salve can use".to_owned())
}

/// Starts the program, hands it the component, and waits for its end.
fn in_child(
    config: &HostConfig,
    compiler: &CompilerProgram,
    bytes: &[u8],
    digest: &str,
) -> Result<(), String> {
    let order = Order {
        parent: rustix::process::getpid().as_raw_nonzero().get(),
        digest: digest.to_owned(),
        cache_dir: fs::canonicalize(&config.cache_dir).map_err(words_of)?,
        cache_bytes_max: config.cache_bytes_max,
        stack_bytes: config.stack_bytes,
        count_fuel: config.count_fuel,
        compile_quickly: config.compile_quickly,
        memory_bytes: config.compile_memory_bytes,
    };
    let limit = Duration::from_millis(config.compile_timeout_ms);
    let began = Instant::now();
    let mut child = Command::new(&compiler.program)
        .args(&compiler.arguments)
        .arg(serde_json::to_string(&order).map_err(words_of)?)
        .env_clear()
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .map_err(|error| format!("the compiler does not start: {error}"))?;
    let (status, words) = attend(&mut child, bytes, began + limit).map_err(|error| {
        _ = child.kill();
        _ = child.wait();
        if error.kind() == io::ErrorKind::TimedOut {
            format!("it took longer than {} ms (`compile_timeout_ms`)", config.compile_timeout_ms)
        } else {
            format!("the compiler cannot be watched: {error}")
        }
    })?;
    if status.success() { Ok(()) } else { Err(verdict(status, &words, config.compile_memory_bytes)) }
}

/// Feeds the process, hears what it says, and waits for its end, but not for longer than until `deadline`.
fn attend(child: &mut Child, bytes: &[u8], deadline: Instant) -> io::Result<(ExitStatus, String)> {
    let pidfd = pidfd_open(Pid::from_child(child), PidfdFlags::empty())?;
    let (input, output) = (child.stdin.take(), child.stderr.take());
    thread::scope(|scope| {
        scope.spawn(|| {
            // A process that has ended reads no more; what became of it says its exit.
            input.map(|mut input| input.write_all(bytes))
        });
        let words = scope.spawn(|| {
            let mut words = Vec::new();
            output.map(|output| output.take(WORDS_BYTES_MAX).read_to_end(&mut words));
            String::from_utf8_lossy(&words).into_owned()
        });
        let ended = loop {
            let left = deadline.saturating_duration_since(Instant::now());
            let timeout = Timespec::try_from(left).map_err(io::Error::other)?;
            match poll(&mut [PollFd::new(&pidfd, PollFlags::IN)], Some(&timeout)) {
                Ok(0) => break false,
                Ok(_) => break true,
                Err(rustix::io::Errno::INTR) => {}
                // The threads above end with it.
                Err(error) => {
                    _ = child.kill();
                    return Err(error.into());
                }
            }
        };
        if !ended {
            child.kill()?;
        }
        let status = child.wait()?;
        let words = words.join().unwrap_or_default();
        if ended { Ok((status, words)) } else { Err(io::ErrorKind::TimedOut.into()) }
    })
}

/// What a failure means.
fn verdict(status: ExitStatus, words: &str, memory_bytes: u64) -> String {
    // What Rust says when it gets no memory, before it aborts.
    if words.contains("memory allocation") || status.signal() == Some(Signal::KILL.as_raw()) {
        return format!(
            "it needs more memory than the {memory_bytes} bytes that compiling may use (`compile_memory_bytes`)"
        );
    }
    match words.lines().find(|line| !line.trim().is_empty()) {
        Some(line) if status.signal().is_none() => escape(line.trim_start_matches("error: "), MESSAGE_MAX),
        said => format!(
            "the compiler crashed ({status}){}",
            said.map(|line| format!(": {}", escape(line, MESSAGE_MAX))).unwrap_or_default()
        ),
    }
}

/// The other side: what the program of [`HostConfig::compiler`] does with its last argument and its standard input.
///
/// # Errors
/// What the parent is to say, in one line.
pub fn compile_as_told(order: &str, mut input: impl Read) -> Result<(), String> {
    let order: Order = serde_json::from_str(order).map_err(|error| format!("no order: {error}"))?;
    confine(&order).map_err(|error| format!("the compiler cannot confine itself: {error}"))?;
    let mut bytes = Vec::new();
    input.read_to_end(&mut bytes).map_err(words_of)?;
    let settings = HostConfig {
        cache_bytes_max: order.cache_bytes_max,
        stack_bytes: order.stack_bytes,
        count_fuel: order.count_fuel,
        compile_quickly: order.compile_quickly,
        ..HostConfig::new(order.cache_dir)
    };
    let engine = engine::compiler(&settings).map_err(words_of)?;
    let cache = Cache::open(&settings.cache_dir, settings.cache_bytes_max, &engine).map_err(words_of)?;
    let compiled = engine.precompile_component(&bytes).map_err(words_of)?;
    cache.store(&compiled, &order.digest).map_err(|error| format!("cannot keep what was compiled: {error}"))
}

/// Before anything of the component is read. All of it holds for the threads that are made later.
fn confine(order: &Order) -> io::Result<()> {
    set_parent_process_death_signal(Some(Signal::KILL))?;
    if getppid().map(|parent| parent.as_raw_nonzero().get()) != Some(order.parent) {
        return Err(io::Error::other("who asked for it is gone"));
    }
    let limit = |bytes| Rlimit { current: Some(bytes), maximum: Some(bytes) };
    setrlimit(Resource::Core, limit(0))?;
    setrlimit(Resource::Data, limit(order.memory_bytes))?;
    // Not being allowed to be nicer harms nobody.
    _ = nice(NICENESS);
    Ok(())
}

fn words_of(error: impl std::fmt::Display) -> String {
    escape(&format!("{error:#}"), MESSAGE_MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Guarantees: what a process says is one escaped line, and running out of memory is called by its name.
    #[test]
    fn verdicts() {
        let failed = ExitStatus::from_raw(1 << 8);
        assert_eq!(verdict(failed, "\nerror: odd \u{1b}[31m\nmore", 5), r"odd \u{1b}[31m");
        let aborted = ExitStatus::from_raw(Signal::ABORT.as_raw());
        assert_eq!(
            verdict(aborted, "memory allocation of 9 bytes failed", 5),
            "it needs more memory than the 5 bytes that compiling may use (`compile_memory_bytes`)"
        );
        assert_eq!(verdict(aborted, "", 5), "the compiler crashed (signal: 6 (SIGABRT))");
    }

    /// Guarantees: a process that does not end is ended at the deadline, whether it reads what it is given or not.
    #[test]
    fn a_deadline_holds() {
        let mut child =
            Command::new("sleep").arg("600").stdin(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        // More than a pipe holds.
        let bytes = vec![0; 1 << 20];
        let error = attend(&mut child, &bytes, Instant::now() + Duration::from_millis(50)).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::TimedOut);
    }

    /// Guarantees: an order that is none, or comes from nobody, is refused before anything is read.
    #[test]
    fn orders_are_checked() {
        assert!(compile_as_told("{}", io::empty()).unwrap_err().starts_with("no order: "));
    }
}
