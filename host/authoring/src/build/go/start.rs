//! Go's start, run when the plugin is built: the runtime's own, package variables, and every `init`.
//!
//! ## What always holds
//! - the module that comes out has memory and globals as they stood when the start had ended, and does not start again
//! - what the start asked WASI was answered by the stub that the component gets, and that stub goes on from there
//! - a start that calls the host, traps, or does not end gives an error with Go's own words, and no module

use super::{
    super::{BuildError, segments},
    stub::{Stub, WASI},
};
use salve_model::text::escape;
use std::{
    pin::pin,
    task::{Context, Poll, Waker},
};
use wasmtime::{
    Caller, Config, Engine, Error, ExternType, ImportType, Instance, Linker, Module, OptLevel, Store,
    StoreLimits, StoreLimitsBuilder, Trap, Val,
};
use wasmtime_wizer::{InstanceState, SnapshotVal, ValType, Wizer};

/// The function that starts a module of `-buildmode=c-shared`.
const START: &str = "_initialize";
/// Go's memory.
const MEMORY: &str = "memory";
/// Instructions for the start; Go's own takes about a million.
const INSTRUCTIONS_MAX: u64 = 5_000_000_000;
/// What is kept of the words that Go writes while it starts, in bytes; the first ones say what went wrong.
const WORDS_BYTES_MAX: usize = 4 << 10;
/// Lines of them that are shown, and characters of each.
const WORDS_LINES: usize = 20;
const WORDS_LINE_CHARS: usize = 300;

/// Why Go's start made no plugin.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// An `init` function or a package variable calls the host.
    #[error("it calls the host (`{import}`)")]
    Host {
        /// What it calls.
        import: String,
    },
    /// It ran for very long.
    #[error("it did not end within {instructions} instructions{words}")]
    Endless {
        /// The limit.
        instructions: u64,
        /// What Go wrote, on lines of its own.
        words: String,
    },
    /// A panic, or no memory left.
    #[error("it failed ({trap}){words}")]
    Trap {
        /// As WebAssembly sees it.
        trap: String,
        /// What Go wrote, on lines of its own.
        words: String,
    },
    /// The module is not what Go makes, or not what the tools know.
    #[error("the module cannot be run: {message}")]
    Module {
        /// wasmtime's words.
        message: String,
    },
}

impl StartError {
    /// What the author can do about it.
    pub(crate) fn hint(&self) -> &'static str {
        match self {
            Self::Host { .. } => {
                "`init` functions and package variables are computed when the plugin is built, where there is no host: call it \
                 from the plugin's methods, for the first time when they are first called."
            }
            Self::Endless { .. } => {
                "`init` functions and package variables are computed when the plugin is built: look for a loop in them."
            }
            Self::Trap { .. } => {
                "`init` functions and package variables are computed when the plugin is built, within `limits.memory_bytes` of \
                 `plugin.toml`: mend what Go's words name."
            }
            Self::Module { .. } => "Build with a Go that is released, 1.24 or newer.",
        }
    }
}

/// What the start can reach.
struct Guest {
    limits: StoreLimits,
    /// There once the module is: it works on the module's memory.
    stub: Option<Instance>,
    /// What Go wrote to its standard error.
    words: Vec<u8>,
    /// The import that nobody answers.
    refused: Option<String>,
}

/// The module as it is after its start, and the stub that goes with it.
pub(super) fn run(module: &[u8], stub: &Stub) -> Result<(Vec<u8>, Stub), BuildError> {
    let stub_module = stub.module()?;
    start(module, stub, &stub_module).map_err(BuildError::Start)
}

fn start(bytes: &[u8], stub: &Stub, stub_bytes: &[u8]) -> Result<(Vec<u8>, Stub), StartError> {
    let unusable = |error: Error| StartError::Module { message: escape(&format!("{error:#}"), 600) };
    let mut wizer = Wizer::new();
    wizer.init_func(START);
    let (context, instrumented) = wizer.instrument(bytes).map_err(unusable)?;

    let mut config = Config::new();
    // It runs once: fast to compile is what counts.
    config.cranelift_opt_level(OptLevel::None).consume_fuel(true);
    let engine = Engine::new(&config).map_err(unusable)?;
    let module = Module::new(&engine, &instrumented).map_err(unusable)?;
    let memory_bytes = usize::try_from(stub.memory_bytes).unwrap_or(usize::MAX);
    let limits = StoreLimitsBuilder::new().memory_size(memory_bytes).build();
    let mut store = Store::new(&engine, Guest { limits, stub: None, words: Vec::new(), refused: None });
    store.limiter(|guest| &mut guest.limits);
    store.set_fuel(INSTRUCTIONS_MAX).map_err(unusable)?;

    let mut linker = Linker::new(&engine);
    linker.allow_shadowing(true);
    for import in module.imports() {
        answer(&mut linker, &import).map_err(unusable)?;
    }
    let instance = linker.instantiate(&mut store, &module).map_err(unusable)?;
    let memory = instance
        .get_memory(&mut store, MEMORY)
        .ok_or_else(|| unusable(Error::msg(format!("it has no memory named `{MEMORY}`"))))?;
    let stub_code = Module::new(&engine, stub_bytes).map_err(unusable)?;
    let answering = Instance::new(&mut store, &stub_code, &[memory.into()]).map_err(unusable)?;
    store.data_mut().stub = Some(answering);

    let function = instance.get_typed_func::<(), ()>(&mut store, START).map_err(unusable)?;
    function.call(&mut store, ()).map_err(|error| failure(store.data_mut(), &error))?;

    let mut global = |name: &str| answering.get_global(&mut store, name)?.get(&mut store).i64();
    let stub = stub.after(&mut global).ok_or_else(|| unusable(Error::msg("the stub has lost its state")))?;
    let mut state = State { store: &mut store, instance, unknown: None };
    let written = ready(wizer.snapshot(&context, &mut state))
        .ok_or_else(|| unusable(Error::msg("reading an instance waited")))?
        .map_err(unusable)?;
    if let Some(name) = state.unknown {
        return Err(unusable(Error::msg(format!("`{name}` cannot be read"))));
    }
    let merged = segments::merge(&written).map_err(|error| unusable(error.into()))?;
    Ok((merged.unwrap_or(written), stub))
}

/// Lets the stub answer what is WASI's, and nobody what is the host's.
fn answer(linker: &mut Linker<Guest>, import: &ImportType<'_>) -> wasmtime::Result<()> {
    let (module, name) = (import.module().to_owned(), import.name().to_owned());
    let ExternType::Func(signature) = import.ty() else {
        return Err(Error::msg(format!("it imports `{name}` of `{module}`, which is no function")));
    };
    linker.func_new(import.module(), import.name(), signature, move |mut caller, arguments, results| {
        if module != WASI {
            caller.data_mut().refused = Some(format!("{module}#{name}"));
            return Err(Error::msg("there is no host"));
        }
        if name == "fd_write" {
            listen(&mut caller, arguments);
        }
        let stub = caller.data().stub;
        match stub.and_then(|stub| stub.get_func(&mut caller, &name)) {
            Some(function) => function.call(&mut caller, arguments, results),
            None => Err(Error::msg(format!("nothing stands in for `{name}`"))),
        }
    })?;
    Ok(())
}

/// Keeps what Go writes: the words of a panic, which the stub reads to nobody.
fn listen(caller: &mut Caller<'_, Guest>, arguments: &[Val]) {
    let Some(memory) = caller.get_export(MEMORY).and_then(wasmtime::Extern::into_memory) else { return };
    let number = |index: usize| {
        let value = arguments.get(index).and_then(Val::i32)?;
        usize::try_from(value.cast_unsigned()).ok()
    };
    let (Some(parts), Some(count)) = (number(1), number(2)) else { return };
    let (data, guest) = memory.data_and_store_mut(caller);
    let word = |at: usize| {
        let bytes = data.get(at..at.checked_add(4)?)?;
        usize::try_from(u32::from_le_bytes(bytes.try_into().ok()?)).ok()
    };
    // As many parts as can matter: each is a byte at least.
    for part in 0..count.min(WORDS_BYTES_MAX) {
        let at = parts.saturating_add(part.saturating_mul(8));
        let (Some(begin), Some(length)) = (word(at), word(at.saturating_add(4))) else { return };
        let length = length.min(WORDS_BYTES_MAX.saturating_sub(guest.words.len()));
        let Some(text) = data.get(begin..begin.saturating_add(length)) else { return };
        guest.words.extend_from_slice(text);
    }
}

fn failure(guest: &mut Guest, error: &Error) -> StartError {
    if let Some(import) = guest.refused.take() {
        return StartError::Host { import };
    }
    let text = String::from_utf8_lossy(&guest.words);
    let lines = text.lines().filter(|line| !line.trim().is_empty()).take(WORDS_LINES);
    let words: String =
        lines.map(|line| format!("\n  {}", escape(line.trim_end(), WORDS_LINE_CHARS))).collect();
    match error.downcast_ref::<Trap>() {
        Some(Trap::OutOfFuel) => StartError::Endless { instructions: INSTRUCTIONS_MAX, words },
        Some(trap) => StartError::Trap { trap: trap.to_string(), words },
        None => StartError::Trap { trap: escape(&format!("{error:#}"), WORDS_LINE_CHARS), words },
    }
}

/// What is read of the instance, for the module that is written.
struct State<'a> {
    store: &'a mut Store<Guest>,
    instance: Instance,
    /// What could not be read; whoever asks cannot be told.
    unknown: Option<String>,
}

impl InstanceState for State<'_> {
    async fn global_get(&mut self, name: &str, _: ValType) -> SnapshotVal {
        let global = self.instance.get_global(&mut *self.store, name);
        match global.map(|global| global.get(&mut *self.store)) {
            Some(Val::I32(value)) => SnapshotVal::I32(value),
            Some(Val::I64(value)) => SnapshotVal::I64(value),
            Some(Val::F32(value)) => SnapshotVal::F32(value),
            Some(Val::F64(value)) => SnapshotVal::F64(value),
            Some(Val::V128(value)) => SnapshotVal::V128(value.as_u128()),
            _ => {
                self.unknown = Some(name.to_owned());
                SnapshotVal::I32(0)
            }
        }
    }

    async fn memory_contents(&mut self, name: &str, contents: impl FnOnce(&[u8]) + Send) {
        match self.instance.get_memory(&mut *self.store, name) {
            Some(memory) => contents(memory.data(&*self.store)),
            None => self.unknown = Some(name.to_owned()),
        }
    }
}

/// The result of a future that does not wait; none if it does.
fn ready<F: Future>(future: F) -> Option<F::Output> {
    match pin!(future).poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(output) => Some(output),
        Poll::Pending => None,
    }
}

#[cfg(test)]
mod tests {
    use super::{super::stub, *};

    /// A module as Go's linker makes it, with `body` as its start.
    fn module(body: &str) -> Vec<u8> {
        let text = format!(
            r#"(module
              (import "wasi_snapshot_preview1" "clock_time_get" (func $clock (param i32 i64 i32) (result i32)))
              (import "wasi_snapshot_preview1" "random_get" (func $random (param i32 i32) (result i32)))
              (import "wasi_snapshot_preview1" "fd_write" (func $write (param i32 i32 i32 i32) (result i32)))
              (import "wasi_snapshot_preview1" "proc_exit" (func $exit (param i32)))
              (import "salve:plugin/log@0.1.0" "write" (func $log (param i32 i32 i32 i32 i32)))
              (memory (export "memory") 1)
              (data (i32.const 100) "panic: \1b[31mno\n\n\ngoroutine 1")
              (global $calls (mut i32) (i32.const 0))
              (func (export "_initialize") {body})
              (func (export "calls") (result i32)
                (global.set $calls (i32.add (global.get $calls) (i32.const 1)))
                (global.get $calls))
              (func (export "load") (param i32) (result i64) (i64.load (local.get 0))))"#
        );
        wat::parse_str(text).unwrap()
    }

    /// Scenario: a start that sets a global, asks for time and random numbers, writes, and grows memory.
    /// Guarantees: the module begins where the start ended, with all of that, and has no start; its stub's clock and random
    /// numbers go on; the same again gives the same bytes.
    #[test]
    fn what_the_start_did_is_there() {
        let body = r"
            (global.set $calls (i32.const 41))
            (drop (call $clock (i32.const 1) (i64.const 0) (i32.const 8)))
            (drop (call $random (i32.const 16) (i32.const 8)))
            (drop (memory.grow (i32.const 2)))
            (i64.store (i32.const 150000) (i64.const 77))";
        let (started, after) = run(&module(body), &stub::for_tests()).unwrap();
        assert_ne!(after, stub::for_tests());
        let now = after.after(|name| (name == "random").then_some(0));
        assert_eq!(now, None, "the clock is part of its state");

        let engine = Engine::default();
        let module_started = Module::new(&engine, &started).unwrap();
        assert!(module_started.get_export(START).is_none());
        let mut store = Store::new(&engine, ());
        let mut linker = Linker::new(&engine);
        linker.define_unknown_imports_as_traps(&module_started).unwrap();
        let instance = linker.instantiate(&mut store, &module_started).unwrap();
        assert_eq!(instance.get_memory(&mut store, MEMORY).unwrap().size(&store), 3);
        let calls = instance.get_typed_func::<(), i32>(&mut store, "calls").unwrap();
        assert_eq!(calls.call(&mut store, ()).unwrap(), 42);
        let load = instance.get_typed_func::<i32, i64>(&mut store, "load").unwrap();
        assert_eq!(load.call(&mut store, 8).unwrap(), 1_000_001_000);
        assert_ne!(load.call(&mut store, 16).unwrap(), 0);
        assert_eq!(load.call(&mut store, 150_000).unwrap(), 77);

        assert_eq!(run(&module(body), &stub::for_tests()).unwrap().0, started);
    }

    /// Guarantees: a start that calls the host, panics, exits, does not end or is none is told apart, with Go's words, escaped.
    #[test]
    fn starts_that_fail() {
        let log = "(call $log (i32.const 0) (i32.const 0) (i32.const 0) (i32.const 0) (i32.const 0))";
        let panic = "(i32.store (i32.const 0) (i32.const 100)) (i32.store (i32.const 4) (i32.const 28))
            (drop (call $write (i32.const 2) (i32.const 0) (i32.const 1) (i32.const 8))) (call $exit (i32.const 2))";
        for (body, expected) in [
            (log, "it calls the host (`salve:plugin/log@0.1.0#write`)"),
            (
                panic,
                "it failed (wasm trap: wasm `unreachable` instruction executed)\n  panic: \\u{1b}[31mno\n  goroutine 1",
            ),
            ("(loop $again (br $again))", "it did not end within 5000000000 instructions"),
        ] {
            let Err(BuildError::Start(error)) = run(&module(body), &stub::for_tests()) else {
                panic!("a plugin came out: {body}")
            };
            assert_eq!(error.to_string(), expected);
        }
        let none = wat::parse_str(r#"(module (memory (export "memory") 1))"#).unwrap();
        let error = run(&none, &stub::for_tests()).unwrap_err();
        assert!(matches!(error, BuildError::Start(StartError::Module { .. })), "{error}");
        assert!(error.hint().is_some());
    }

    /// Guarantees: a list of parts that lies about places and lengths is read as far as it is there, and no further.
    #[test]
    fn lies_about_words() {
        for (parts, count) in [(-8, 1), (0, -1), (65_532, 2)] {
            let body = format!(
                "(i32.store (i32.const 0) (i32.const -4)) (i32.store (i32.const 4) (i32.const -1))
                (drop (call $write (i32.const 2) (i32.const {parts}) (i32.const {count}) (i32.const 8)))"
            );
            let Err(BuildError::Start(error)) = run(&module(&body), &stub::for_tests()) else { continue };
            assert!(matches!(error, StartError::Trap { .. }), "{error}");
        }
    }
}
