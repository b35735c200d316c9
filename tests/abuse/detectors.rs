//! Detectors that loop, trap, take or give too much; each bound to series that come all the time.

use crate::{arena::Arena, attack::Attack};
use anyhow::{Context, Result, ensure};

/// Memory from a counter that only rises.
pub const REALLOC: &str = r#"
  (global $next (mut i32) (i32.const 65536))
  (func (export "cabi_realloc") (param $old i32) (param $old_len i32) (param $align i32) (param $len i32) (result i32)
    (local $at i32)
    (local.set $at (i32.and (i32.add (global.get $next) (i32.const 15)) (i32.const -16)))
    (global.set $next (i32.add (local.get $at) (local.get $len)))
    (if (i32.gt_u (global.get $next) (i32.mul (memory.size) (i32.const 65536)))
      (then (drop (memory.grow (i32.add (i32.div_u (local.get $len) (i32.const 65536)) (i32.const 1))))))
    (local.get $at))
"#;

/// A core module of `tests/guests`.
pub fn module(name: &str) -> Result<Vec<u8>> {
    Ok(wat::parse_file(salve_tests::root().join(format!("tests/guests/{name}.wat")))?)
}

/// A component of a core module; the role is the first word of its name.
pub fn packed(module: &[u8], name: &str, manifest: &str) -> Result<Vec<u8>> {
    let (role, _) = name.split_once('-').context("the name begins with the role")?;
    let text = format!(
        "name = '{name}'\nversion = '0.1.0'\nrole = '{role}'\nsummary = 'A guest of the tests.'\n{manifest}\n\
         [parameters]\ntype = 'object'\nproperties.size.type = 'integer'\n"
    );
    Ok(salve_plugins::pack::pack(module, &text)?)
}

/// A detector whose functions are these.
pub struct Detector {
    pub memory: &'static str,
    pub configure: &'static str,
    pub observe: &'static str,
    pub snapshot: &'static str,
    pub restore: &'static str,
}

/// One that says nothing.
pub const QUIET: Detector = Detector {
    memory: "(memory (export \"memory\") 2)",
    configure: "(i32.const 0)",
    observe: "(i32.const 0)",
    snapshot: "(i32.const 0)",
    restore: "(i32.const 0)",
};

impl Detector {
    /// The core module.
    pub fn module(&self) -> Result<Vec<u8>> {
        let Self { memory, configure, observe, snapshot, restore } = self;
        Ok(wat::parse_str(format!(
            "(module {memory} {REALLOC}\n\
             (func (export \"salve:plugin/detect@0.1.0#configure\") (param i32 i32) (result i32) {configure})\n\
             (func (export \"salve:plugin/detect@0.1.0#observe\") (param i32) (result i32) {observe})\n\
             (func (export \"salve:plugin/detect@0.1.0#snapshot\") (result i32) {snapshot})\n\
             (func (export \"salve:plugin/detect@0.1.0#restore\") (param i32 i32 i32) (result i32) {restore}))"
        ))?)
    }
}

/// Drops the detector, waits until each of these words was said of it, in ledger, log or status, and takes it away.
fn attack(
    name: &'static str,
    series: &'static str,
    module: impl Fn() -> Result<Vec<u8>> + Send + Sync + 'static,
    words: &'static [&'static str],
) -> Attack {
    let plugin = format!("detector-{name}");
    // Ready in 300 ms, or never: the default is 2 s.
    let limits = "limits.cpu_setup_ms = 300";
    let config = format!(
        "[[detector]]\nname = \"{plugin}\"\nplugin = \"{plugin}\"\nselect = {{ names = [\"{series}\"] }}\n"
    );
    Attack::with_config(&format!("detector::{name}"), config, move |arena: &Arena| {
        arena.drop_plugin(&plugin, &packed(&module()?, &plugin, limits)?)?;
        let mut missing = "";
        let seen = arena.wait(&format!("all is said of `{plugin}`"), || {
            let said = format!("{}\n{}", arena.notes()?, arena.daemon.log());
            let is_said =
                |words: &str| said.lines().any(|line| line.contains(&plugin) && line.contains(words));
            missing = words.iter().find(|words| !is_said(words)).copied().unwrap_or_default();
            Ok(missing.is_empty())
        });
        let seen = seen.with_context(|| {
            let log = arena.daemon.log();
            let said: Vec<&str> = log.lines().filter(|line| line.contains(&plugin)).collect();
            let last = said[said.len().saturating_sub(3)..].join("\n");
            format!("`{missing}` was never said of `{plugin}`, but:\n{last}")
        });
        let goes_on = arena.control_goes_on();
        arena.remove_plugin(&plugin)?;
        arena.wait(&format!("`{plugin}` is gone"), || {
            // What was refused was never there.
            Ok(arena.is_unloaded(&plugin) || arena.plugin(&plugin)?.is_none())
        })?;
        seen.and(goes_on)
    })
}

/// An attack that ends at a limit, in the ledger, and in quarantine.
fn limited(
    name: &'static str,
    words: &'static [&'static str],
    module: impl Fn() -> Result<Vec<u8>> + Send + Sync + 'static,
) -> Attack {
    attack(name, "abuse.pulse", module, words)
}

fn guest(name: &'static str) -> impl Fn() -> Result<Vec<u8>> + Send + Sync + 'static {
    move || module(&format!("detector-{name}"))
}

/// Every attack of a detector.
pub fn attacks() -> Vec<Attack> {
    let mut attacks = vec![
        limited(
            "loop",
            &["used more CPU time than its", "in quarantine after 3 traps", r#""kind":"note""#],
            guest("loop"),
        ),
        limited("recursion", &["its stack is full", r#""kind":"note""#], guest("recursion")),
        limited(
            "memory",
            &["needs more memory than its 67108864 bytes", r#""kind":"note""#],
            guest("memory"),
        ),
        limited("tables", &["needs more than its 100000 table elements"], guest("tables")),
        limited("huge-list", &["breaks the component model's rules"], guest("huge-list")),
        limited("overlap", &["handed over more than its"], guest("overlap")),
        limited("not-utf8", &["breaks the component model's rules"], guest("not-utf8")),
        limited("log-flood", &["lines were dropped", "\\\\u{1b}[2Jnothing to see"], guest("log-flood")),
        limited("start-loop", &["used more CPU time than its 300 ms"], guest("start-loop")),
        limited("start-trap", &["it trapped"], guest("start-trap")),
        limited("nonsense", &["make no sense"], guest("nonsense")),
        limited("snapshot-of-1-gib", &["breaks the component model's rules"], guest("snapshot")),
        attack("one-bad-series", "abuse.poison", guest("threshold"), &["which is set aside"]),
        limited("trap-in-observe", &["it trapped", "in quarantine"], || {
            Detector { observe: "unreachable", ..QUIET }.module()
        }),
        limited("trap-in-configure", &["it trapped"], || {
            Detector { configure: "unreachable", ..QUIET }.module()
        }),
        limited("trap-in-snapshot", &["it trapped"], || {
            Detector { snapshot: "unreachable", ..QUIET }.module()
        }),
        limited("endless-snapshot", &["used more CPU time than its 300 ms"], || {
            Detector { snapshot: "(loop $again (br $again)) unreachable", ..QUIET }.module()
        }),
        limited("memory-at-birth", &["memory"], || {
            Detector { memory: "(memory (export \"memory\") 2000)", ..QUIET }.module()
        }),
        limited("table-at-birth", &["table"], || {
            Detector { memory: "(memory (export \"memory\") 2) (table 9000000 funcref)", ..QUIET }.module()
        }),
        limited("pointer-nowhere", &["breaks the component model's rules"], || {
            Detector { observe: "(i32.const -16)", ..QUIET }.module()
        }),
    ];
    attacks.push(restore_trap());
    attacks
}

/// State that its writer does not take back: the daemon is given the same file under another digest, so that it restores.
fn restore_trap() -> Attack {
    let name = "detector-restore-trap";
    let config = format!(
        "[[detector]]\nname = \"{name}\"\nplugin = \"{name}\"\nselect = {{ names = [\"abuse.pulse\"] }}\n"
    );
    Attack::with_config("detector::restore-trap", config, move |arena: &Arena| {
        let module = module("detector-restore-trap")?;
        arena.drop_plugin(name, &packed(&module, name, "")?)?;
        arena.wait("it is loaded", || Ok(arena.plugin(name)?.is_some()))?;
        arena.wait("it sees points", || {
            let status = arena.daemon.json(&["status", "--json"])?;
            Ok(status["detectors"][name]["points"].as_u64().unwrap_or_default() > 0)
        })?;
        // Another version of it, to which its state is handed over.
        arena.drop_plugin(name, &packed(&module, name, "limits.log_bytes = 1000")?)?;
        arena.wait("the other version is tried", || Ok(arena.versions(name)?.len() > 1))?;
        let cold = "it starts cold";
        arena.wait("it starts cold", || {
            Ok(arena.daemon.log().lines().any(|line| line.contains(name) && line.contains(cold)))
        })?;
        arena.remove_plugin(name)?;
        ensure!(arena.daemon.log().contains("it trapped"));
        Ok(())
    })
}
