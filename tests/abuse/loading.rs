//! Files that are no plugins, or not what they say: each is refused before any of it is compiled or run, in words.

use crate::{
    arena::{Arena, write},
    attack::Attack,
    detectors::{module, packed},
};
use anyhow::{Context, Result, ensure};
use rustix::process::{Pid, Signal, kill_process};
use salve_plugins::pack;
use std::{os::unix::fs::symlink, path::PathBuf, time::Duration};

fn leb128(mut value: usize) -> Vec<u8> {
    let mut bytes = Vec::new();
    while value >= 0x80 {
        bytes.push((value & 0x7f) as u8 | 0x80);
        value >>= 7;
    }
    bytes.push(value as u8);
    bytes
}

/// Appends a manifest section.
fn described(mut component: Vec<u8>, manifest: &[u8]) -> Vec<u8> {
    const NAME: &[u8] = b"salve:manifest";
    let content = [leb128(NAME.len()), NAME.to_vec(), manifest.to_vec()].concat();
    component.push(0);
    component.extend(leb128(content.len()));
    component.extend(content);
    component
}

/// A manifest as JSON; `more` are further keys.
fn manifest(name: &str, role: &str, more: &str) -> Vec<u8> {
    format!(
        r#"{{"name":"{name}","version":"0.1.0","role":"{role}","summary":"A guest.","contract":"0.1.0",{more}"parameters":{{"type":"object"}}}}"#
    )
    .into_bytes()
}

/// A component in text with a manifest.
fn text(component: &str, manifest: &[u8]) -> Result<Vec<u8>> {
    Ok(described(wat::parse_str(component)?, manifest))
}

/// A packed guest without its manifest, which is its last section.
fn bare(guest: &str) -> Result<Vec<u8>> {
    let mut bytes = packed(&module(guest)?, guest, capabilities(guest))?;
    let start = bytes.windows(14).rposition(|window| window == b"salve:manifest").context("no manifest")?;
    let length = bytes.len() - start + 1;
    bytes.truncate(start - 1 - leb128(length).len() - 1);
    Ok(bytes)
}

fn capabilities(guest: &str) -> &'static str {
    if guest == "action-echo" {
        "capabilities = [{ capability = 'config', verbs = ['get', 'set'] }]"
    } else {
        ""
    }
}

fn with_manifest(guest: &str, manifest: &[u8]) -> Result<Vec<u8>> {
    Ok(described(bare(guest)?, manifest))
}

fn path(arena: &Arena, name: &str) -> PathBuf {
    arena.daemon.path(&format!("plugins/{name}.wasm"))
}

/// Waits until `salve plugin list` and the ledger say that the file was refused, in these words, and takes it away.
pub fn is_refused(arena: &Arena, name: &str, words: &str) -> Result<()> {
    let mut said = None;
    let seen = arena.wait(&format!("`{name}` is refused: {words}"), || {
        said = arena.plugin(name)?;
        let is_so = said.as_ref().is_some_and(|plugin| {
            plugin["state"] == "refused" && plugin["summary"].as_str().is_some_and(|why| why.contains(words))
        });
        let file = format!("{name}.wasm");
        Ok(is_so && arena.notes()?.lines().any(|note| note.contains(&file)))
    });
    std::fs::remove_file(path(arena, name))?;
    seen.with_context(|| format!("{said:?}"))
}

/// A file that is refused in these words.
fn refused(
    name: &'static str,
    words: &'static str,
    bytes: impl Fn() -> Result<Vec<u8>> + Send + Sync + 'static,
) -> Attack {
    Attack::free(&format!("load::{name}"), move |arena: &Arena| {
        arena.drop_plugin(name, &bytes()?)?;
        is_refused(arena, name, words)
    })
}

/// A component that is described by this manifest and refused in these words.
fn lies(
    name: &'static str,
    words: &'static str,
    guest: &'static str,
    manifest: impl Fn() -> Vec<u8> + Send + Sync + 'static,
) -> Attack {
    refused(name, words, move || with_manifest(guest, &manifest()))
}

/// Every attack by a file.
pub fn attacks() -> Vec<Attack> {
    let mut attacks = no_plugins();
    attacks.extend(bad_manifests());
    attacks.extend(bad_worlds());
    attacks.extend(bombs());
    attacks.extend(odd_files());
    attacks
}

fn no_plugins() -> Vec<Attack> {
    vec![
        refused("core-module", "not a component", || module("action-echo")),
        refused("shell-script", "not a WebAssembly component", || Ok(b"#!/bin/sh\nrm -rf /\n".to_vec())),
        refused("empty-file", "not a WebAssembly component", || Ok(Vec::new())),
        refused("cut-off", "cut off", || {
            Ok(packed(&module("agent-nonsense")?, "agent-nonsense", "")?[..400].to_vec())
        }),
        refused("flipped-bits", "not admitted", || {
            // In the code, beyond all headers.
            let mut bytes = bare("agent-nonsense")?;
            let middle = bytes.len() / 2;
            bytes[middle - 20..middle + 20].iter_mut().for_each(|byte| *byte ^= 0xff);
            Ok(described(bytes, &manifest("flipped-bits", "agent", "")))
        }),
        refused("native-code", "not a WebAssembly component", || Ok(std::fs::read("/bin/true")?)),
    ]
}

fn bad_manifests() -> Vec<Attack> {
    let of_sleep = |more: &'static str| move || manifest("guest", "action", more);
    vec![
        refused("no-manifest", "no manifest section", || bare("action-sleep")),
        refused("two-manifests", "more than one manifest", || {
            Ok(described(packed(&module("action-sleep")?, "action-sleep", "")?, b"{}"))
        }),
        refused("manifest-of-50-mib", "the most is 65536", || {
            Ok(described(bare("action-sleep")?, &vec![b' '; 50 << 20]))
        }),
        // More than any file may have.
        refused("manifest-of-100-mib", "is larger than", || {
            Ok(described(bare("action-sleep")?, &vec![b' '; 100 << 20]))
        }),
        lies("manifest-no-json", "cannot parse the manifest", "action-sleep", || b"name = 'x'".to_vec()),
        lies("manifest-not-utf8", "cannot parse the manifest", "action-sleep", || vec![0xff, 0xfe]),
        lies("manifest-deep", "cannot parse the manifest", "action-sleep", || b"[".repeat(60_000)),
        lies(
            "manifest-unknown-key",
            "unknown key `limit`",
            "action-sleep",
            of_sleep(r#""limit":{"cpu_ms":1},"#),
        ),
        lies(
            "manifest-twice-a-key",
            "the name `set-config` is taken",
            "action-sleep",
            of_sleep(r#""name":"analyst","name":"set-config","#),
        ),
        lies("name-with-path", "use lower-case ASCII letters", "action-sleep", || {
            manifest("../../../../tmp/salve-owned", "action", "")
        }),
        lies("name-look-alike", "use lower-case ASCII letters", "action-sleep", || {
            manifest("an\u{430}lyst", "action", "")
        }),
        lies("name-with-escapes", "use lower-case ASCII letters", "action-sleep", || {
            manifest("a\\u001b[2J\\u202e", "action", "")
        }),
        lies("name-taken", "the name `analyst` is taken", "agent-nonsense", || {
            manifest("analyst", "agent", "")
        }),
        lies(
            "wants-more",
            "asks for memory_bytes",
            "action-sleep",
            of_sleep(r#""limits":{"memory_bytes":1000000000000},"#),
        ),
        lies("schema-reads-a-file", "must not refer", "action-sleep", || {
            String::from_utf8_lossy(&manifest("guest", "action", ""))
                .replace(r#"{"type":"object"}"#, r#"{"$ref":"file:///etc/passwd"}"#)
                .into_bytes()
        }),
        lies("schema-recurses", "must not refer", "action-sleep", || {
            String::from_utf8_lossy(&manifest("guest", "action", ""))
                .replace(r#"{"type":"object"}"#, r##"{"properties":{"a":{"$ref":"#"}}}"##)
                .into_bytes()
        }),
        lies("contract-of-tomorrow", "this host serves 0.1.0", "action-sleep", || {
            String::from_utf8_lossy(&manifest("guest", "action", ""))
                .replace(r#""contract":"0.1.0""#, r#""contract":"9.0.0""#)
                .into_bytes()
        }),
        lies("agent-asks-for-config", "role agent has none", "agent-nonsense", || {
            manifest("guest", "agent", r#""capabilities":[{"capability":"config","verbs":["set"]}],"#)
        }),
        lies("capability-nobody-has", "no such capability", "action-sleep", || {
            manifest("guest", "action", r#""capabilities":[{"capability":"shell","verbs":["run"]}],"#)
        }),
    ]
}

fn bad_worlds() -> Vec<Attack> {
    let agent = || manifest("guest", "agent", "");
    let world = move |name: &'static str, words: &'static str, component: &'static str| {
        refused(name, words, move || text(component, &agent()))
    };
    vec![
        world("missing-export", "does not export", "(component)"),
        world(
            "wasi",
            "there is no WASI in Salve",
            r#"(component (import "wasi:cli/environment@0.2.0" (instance)))"#,
        ),
        world(
            "wasi-clock",
            "there is no WASI in Salve",
            r#"(component (import "wasi:clocks/wall-clock@0.2.3" (instance)))"#,
        ),
        world(
            "wasi-sockets",
            "there is no WASI in Salve",
            r#"(component (import "wasi:sockets/tcp@0.2.3" (instance)))"#,
        ),
        world(
            "unknown-import",
            "does not have",
            r#"(component (import "evil:tools/shell@1.0.0" (instance)))"#,
        ),
        world("bare-import", "does not have", r#"(component (import "run" (func)))"#),
        world(
            "interface-of-tomorrow",
            "this host serves",
            r#"(component (import "salve:plugin/log@0.2.0" (instance)))"#,
        ),
        world(
            "extra-export",
            "does not have",
            r#"(component (instance $i) (export "evil:tools/shell@1.0.0" (instance $i)))"#,
        ),
        world(
            "wrong-types",
            "types of its world",
            r#"(component (instance $i) (export "salve:plugin/consult@0.1.0" (instance $i)))"#,
        ),
        lies("import-not-named", "which its manifest does not name", "action-echo", || {
            manifest("guest", "action", "")
        }),
        lies("agent-that-writes", "role agent does not have", "action-echo", || {
            manifest("guest", "agent", "")
        }),
        lies("detector-with-a-clock", "role detector does not have", "action-sleep", || {
            manifest("guest", "detector", "")
        }),
        lies("action-as-agent", "role agent does not have", "action-host-calls", || {
            manifest("guest", "agent", "")
        }),
    ]
}

/// Files that are small and want to become large.
fn bombs() -> Vec<Attack> {
    vec![
        refused("nested-components", "not", || {
            // A component in a component in a component.
            let mut component = b"\0asm\x0d\0\x01\0".to_vec();
            for _ in 0..2_000 {
                let inner = std::mem::replace(&mut component, b"\0asm\x0d\0\x01\0".to_vec());
                component.push(4);
                component.extend(leb128(inner.len()));
                component.extend(inner);
            }
            Ok(described(component, &manifest("guest", "agent", "")))
        }),
        refused("ten-thousand-instances", "not", || {
            let text = format!(
                "(component (core module $m) {})",
                "(core instance (instantiate $m)) ".repeat(10_000)
            );
            self::text(&text, &manifest("guest", "agent", ""))
        }),
        refused("too-large", "is larger than", || Ok(vec![0; (64 << 20) + 1])),
        // Six million bytes of code, of which a compiler makes hundreds of millions.
        Attack::free("load::compiler-bomb", |arena: &Arena| {
            arena
                .drop_plugin("compiler-bomb", &packed_as(&one_function(SUM, 1_000_000)?, "bomb", "agent")?)?;
            is_refused(arena, "compiler-bomb", "bytes that compiling may use")
        }),
        Attack::free("load::huge-function", huge_function),
    ]
}

/// Code that does nothing.
const SUM: &str = "(drop (i32.add (i32.const 1) (i32.const 2))) ";

/// A function that takes a while to compile, in another process than telemetry and healing: so long as that process is not
/// done, here because it is stopped, another plugin is loaded.
fn huge_function(arena: &Arena) -> Result<()> {
    // Named so that no incident asks them before `analyst`.
    let (huge, beside) = ("zz-huge", "zz-beside-huge");
    // Never seen before, or it would come from the cache.
    let salt = std::time::UNIX_EPOCH.elapsed()?.subsec_nanos();
    let code = format!("(drop (i32.add (i32.const {salt}) (i32.const 2))) ");
    let component = packed_as(&one_function(&code, 150_000)?, huge, "agent")?;
    let digest = pack::digest(&component);
    arena.drop_plugin(huge, &component)?;
    let mut compiler = None;
    arena.wait("it is being compiled", || {
        compiler = child_with(arena.pid, &digest);
        Ok(compiler.is_some())
    })?;
    let compiler = compiler.context("no compiler")?;
    kill_process(compiler, Signal::STOP)?;
    arena.drop_plugin(beside, &packed_as(&one_function(SUM, 1)?, beside, "agent")?)?;
    let loaded = arena.wait("another plugin is loaded", || Ok(arena.plugin(beside)?.is_some()));
    let is_loaded = arena.plugin(huge)?.is_some();
    kill_process(compiler, Signal::CONT)?;
    loaded?;
    ensure!(!is_loaded, "its compiler was not stopped: what was seen says nothing");
    arena.remove_plugin(beside)?;
    arena.control_goes_on()?;
    arena.wait("it was compiled", || Ok(arena.plugin(huge)?.is_some()))?;
    arena.remove_plugin(huge)
}

/// A process that `parent` started with `word` in its arguments.
fn child_with(parent: u64, word: &str) -> Option<Pid> {
    let children = std::fs::read_dir(format!("/proc/{parent}/task"))
        .ok()?
        .filter_map(|task| std::fs::read_to_string(task.ok()?.path().join("children")).ok());
    let pids: Vec<i32> = children
        .flat_map(|pids| pids.split_whitespace().map(str::parse).collect::<Vec<_>>())
        .flatten()
        .collect();
    let pid = pids.into_iter().find(|pid| {
        let arguments = std::fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        String::from_utf8_lossy(&arguments).contains(word)
    })?;
    Pid::from_raw(pid)
}

/// An agent of one function that repeats the same code.
fn one_function(code: &str, times: usize) -> Result<Vec<u8>> {
    Ok(wat::parse_str(format!(
        "(module (memory (export \"memory\") 1) {} (func (export \"salve:plugin/consult@0.1.0#consult\") \
         (param i32 i32 i64 i64 i32 i32 i32 i32 i32 i32 i32 i32) (result i32) {} unreachable))",
        crate::detectors::REALLOC,
        code.repeat(times)
    ))?)
}

fn packed_as(module: &[u8], name: &str, role: &str) -> Result<Vec<u8>> {
    let manifest = format!(
        "name = '{name}'\nversion = '0.1.0'\nrole = '{role}'\nsummary = 'A guest.'\n[parameters]\ntype = 'object'\n"
    );
    Ok(pack::pack(module, &manifest)?)
}

/// Things in the folder that are no files, or other files than they seem.
fn odd_files() -> Vec<Attack> {
    let ignored = |name: &'static str, make: fn(&Arena, &PathBuf) -> Result<()>| {
        Attack::free(&format!("load::{name}"), move |arena: &Arena| {
            let path = path(arena, name);
            make(arena, &path)?;
            ensure!(arena.daemon.salve(&["reload"])?.status.success());
            ensure!(arena.plugin(name)?.is_none(), "it was taken for a plugin");
            std::fs::remove_file(&path).or_else(|_| std::fs::remove_dir(&path))?;
            Ok(())
        })
    };
    vec![
        ignored("folder", |_, path| Ok(std::fs::create_dir(path)?)),
        ignored("pipe", |_, path| {
            use rustix::fs::{CWD, FileType, Mode};
            Ok(rustix::fs::mknodat(CWD, path, FileType::Fifo, Mode::RUSR, 0)?)
        }),
        ignored("link-to-device", |_, path| Ok(symlink("/dev/zero", path)?)),
        ignored("link-to-nowhere", |_, path| Ok(symlink("/nowhere/at/all", path)?)),
        Attack::free("load::link-to-secret", |arena: &Arena| {
            symlink(arena.daemon.path("kept"), path(arena, "link-to-secret"))?;
            is_refused(arena, "link-to-secret", "not a WebAssembly component")
        }),
        Attack::free("load::replaced-while-read", replaced_while_read),
    ]
}

/// One file is two versions, a cut one and nothing by turns, as fast as a disk takes it; in the end it is the second version.
fn replaced_while_read(arena: &Arena) -> Result<()> {
    const NAME: &str = "agent-zz";
    let module = wat::parse_str(format!(
        "(module (memory (export \"memory\") 1) {} (func (export \"salve:plugin/consult@0.1.0#consult\") \
         (param i32 i32 i64 i64 i32 i32 i32 i32 i32 i32 i32 i32) (result i32) unreachable))",
        crate::detectors::REALLOC
    ))?;
    let versions =
        [packed(&module, NAME, "limits.cpu_ms = 100")?, packed(&module, NAME, "limits.cpu_ms = 200")?];
    let file = path(arena, NAME);
    let reload = || {
        ensure!(arena.daemon.salve(&["reload"])?.status.success());
        anyhow::Ok(())
    };
    let until = std::time::Instant::now() + Duration::from_secs(2);
    std::thread::scope(|scope| {
        let writer = scope.spawn(|| {
            while std::time::Instant::now() < until {
                // In place, so that a reader sees every state in between.
                for bytes in [&versions[0][..], &versions[1][..], &versions[0][..100], &[]] {
                    std::fs::write(&file, bytes)?;
                }
            }
            anyhow::Ok(())
        });
        while !writer.is_finished() {
            reload()?;
        }
        writer.join().expect("the writer does not panic")
    })?;
    write(&file, &versions[1])?;
    reload()?;
    let digests = [pack::inspect(&versions[0])?.digest, pack::inspect(&versions[1])?.digest];
    // Whichever came first is active; the other one is tried beside it, or waits, since it asks for other limits.
    arena.wait("the second version is known", || {
        Ok(arena.versions(NAME)?.iter().any(|version| version["digest"] == digests[1].as_str()))
    })?;
    let known = arena.versions(NAME)?;
    let is_whole =
        |version: &serde_json::Value| digests.iter().any(|digest| version["digest"] == digest.as_str());
    ensure!(known.iter().filter(|version| version["state"] != "refused").all(is_whole), "{known:?}");
    arena.remove_plugin(NAME)
}
