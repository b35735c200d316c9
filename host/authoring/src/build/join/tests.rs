//! Small components with known results, run as they are and joined.

use super::*;
use wasmtime::{Config, Engine, Error, Store, component};

/// Instructions for a run; what a changed byte made endless ends.
const FUEL: u64 = 100_000;

/// What calls with 1, 2, … of `t:t/run#go` give in one instance; none is a trap, with which the calls end.
type Results = Vec<Option<u32>>;

fn engine() -> Engine {
    let mut config = Config::new();
    config.consume_fuel(true);
    Engine::new(&config).unwrap()
}

/// The host's function: three times its parameter.
const HOST: u32 = 3;

fn run_component(engine: &Engine, bytes: &[u8]) -> wasmtime::Result<Results> {
    let built = component::Component::new(engine, bytes)?;
    let mut linker = component::Linker::new(engine);
    linker
        .instance("t:t/host")?
        .func_wrap("triple", |_, (value,): (u32,)| Ok((value.wrapping_mul(HOST),)))?;
    let mut store = Store::new(engine, ());
    store.set_fuel(FUEL)?;
    let instance = linker.instantiate(&mut store, &built)?;
    let interface =
        instance.get_export_index(&mut store, None, "t:t/run").ok_or_else(|| Error::msg("no interface"))?;
    let function = instance
        .get_export_index(&mut store, Some(&interface), "go")
        .ok_or_else(|| Error::msg("no function"))?;
    let go = instance.get_typed_func::<(u32,), (u32,)>(&mut store, function)?;
    let mut results = Vec::new();
    for value in 1..=3 {
        let result = go.call(&mut store, (value,)).map(|(result,)| result);
        results.push(result.ok());
        if results.contains(&None) {
            break;
        }
    }
    end_in_time(&store)?;
    Ok(results)
}

fn run_module(engine: &Engine, bytes: &[u8]) -> wasmtime::Result<Results> {
    let built = wasmtime::Module::new(engine, bytes)?;
    let mut linker = wasmtime::Linker::new(engine);
    linker.func_wrap("t:t/host", "triple", |value: u32| value.wrapping_mul(HOST))?;
    let mut store = Store::new(engine, ());
    store.set_fuel(FUEL)?;
    let instance = linker.instantiate(&mut store, &built)?;
    let go = instance.get_typed_func::<u32, u32>(&mut store, "t:t/run#go")?;
    let mut results = Vec::new();
    for value in 1..=3 {
        results.push(go.call(&mut store, value).ok());
        if results.contains(&None) {
            break;
        }
    }
    end_in_time(&store)?;
    Ok(results)
}

/// Runs that used up their fuel are no results.
fn end_in_time(store: &Store<()>) -> wasmtime::Result<()> {
    if store.get_fuel()? < FUEL / 10 {
        return Err(Error::msg("endless"));
    }
    Ok(())
}

/// A component whose parts are `text`, which end with a core instance `$last` that exports `go`.
fn whole(text: &str) -> Vec<u8> {
    let text = format!(
        r#"(component
          (import "t:t/host" (instance $host (export "triple" (func (param "a" u32) (result u32)))))
          {text}
          (func $go (param "a" u32) (result u32) (canon lift (core func $last "go")))
          (instance $run (export "go" (func $go)))
          (export "t:t/run" (instance $run)))"#
    );
    wat::parse_str(&text).unwrap_or_else(|error| panic!("{error}\n{text}"))
}

/// What stands in the middle of most: a module that has table, memory and globals, as tools that link dynamically make it.
const MAIN: &str = r#"
  (core module $Main
    (table (export "table") 8 funcref) (memory (export "memory") 1)
    (global (export "stack") (mut i32) (i32.const 1000))
    (global (export "memory base") i32 (i32.const 64)) (global (export "table base") i32 (i32.const 2))
    (global (export "got") (mut i32) (i32.const 72))
    (data (i32.const 64) "\05\00\00\00\07\00\00\00\09\00\00\00"))
  (core instance $main (instantiate $Main))"#;

/// Scenario: a component that imports what the build puts in. Guarantees: once joined it imports nothing, and the code computes
/// the digest: that of no bytes, `e3b0c442 98fc1c14 9afbf4c8 …`.
#[test]
fn code_takes_the_place_of_an_import() {
    let component = wat::parse_str(
        r#"(component
          (import "salve:plugin/native@0.1.0" (instance $native (export "sha256-blocks"
            (func (param "padded" (list u8)) (result (tuple u32 u32 u32 u32 u32 u32 u32 u32))))))
          (core module $Memory (memory (export "memory") 1) (data (i32.const 64) "\80"))
          (core instance $memory (instantiate $Memory))
          (core func $blocks (canon lower (func $native "sha256-blocks") (memory (core memory $memory "memory"))))
          (core module $Last
            (import "m" "memory" (memory 1)) (import "n" "blocks" (func $blocks (param i32 i32 i32)))
            (func (export "go") (param i32) (result i32)
              (call $blocks (i32.const 64) (i32.const 64) (i32.const 4))
              (i32.load (i32.mul (local.get 0) (i32.const 4)))))
          (core instance $last (instantiate $Last
            (with "m" (instance $memory)) (with "n" (instance (export "blocks" (func $blocks))))))
          (func $go (param "a" u32) (result u32) (canon lift (core func $last "go")))
          (instance $run (export "go" (func $go)))
          (export "t:t/run" (instance $run)))"#,
    )
    .unwrap();
    let engine = engine();
    let module = core_module(&component).unwrap();
    assert_eq!(wasmtime::Module::new(&engine, &module).unwrap().imports().len(), 0);
    let expected: Results = [0xe3b0_c442, 0x98fc_1c14, 0x9afb_f4c8].map(Some).to_vec();
    assert_eq!(run_module(&engine, &module).unwrap(), expected);
}

/// Joins and runs what each comes to.
fn same(text: &str, expected: [Option<u32>; 3]) {
    let component = whole(text);
    let expected: Results = match expected.iter().position(Option::is_none) {
        Some(trap) => expected[..=trap].to_vec(),
        None => expected.to_vec(),
    };
    let engine = engine();
    assert_eq!(run_component(&engine, &component).unwrap(), expected, "as it is: {text}");
    let module = core_module(&component).unwrap_or_else(|obstacle| panic!("{obstacle}: {text}"));
    Validator::new().validate_all(&module).unwrap();
    assert_eq!(run_module(&engine, &module).unwrap(), expected, "joined: {text}");
}

/// Components that are joined, with what three calls give.
const JOINED: [(&str, [Option<u32>; 3]); 9] = [
    // A library at a base in memory and table, called by another module through the table and directly.
    (
        r#"(core module $Library
             (import "main" "table" (table 3 funcref)) (import "main" "memory" (memory 1))
             (import "main" "memory base" (global $memory i32)) (import "main" "table base" (global $table i32))
             (import "main" "got" (global $got (mut i32)))
             (global $own i32 (i32.add (global.get $memory) (i32.const 4)))
             (elem (global.get $table) func $first $second)
             (func $first (result i32) (i32.load (global.get $own)))
             (func $second (result i32) (i32.load (global.get $got)))
             (func (export "base") (result i32) (i32.load (global.get $memory))))
           (core instance $library (instantiate $Library (with "main" (instance $main))))
           (core module $Last
             (import "main" "table" (table 0 funcref)) (import "library" "base" (func $base (result i32)))
             (type $get (func (result i32)))
             (func (export "go") (param i32) (result i32)
               (i32.add (call $base) (call_indirect (type $get) (i32.add (i32.const 1) (local.get 0))))))
           (core instance $last (instantiate $Last (with "main" (instance $main)) (with "library" (instance $library))))"#,
        // 5 + 7, 5 + 9, and an empty slot.
        [Some(12), Some(14), None],
    ),
    // Functions of the host, called before and after there is something behind: what tools call shim and fixup.
    (
        r#"(core module $Shim
             (table (export "imports") 1 funcref) (type $t (func (param i32) (result i32)))
             (func (export "0") (param i32) (result i32) (call_indirect (type $t) (local.get 0) (i32.const 0))))
           (core instance $shim (instantiate $Shim))
           (alias core export $shim "0" (core func $late))
           (core func $direct (canon lower (func $host "triple")))
           (core instance $host-early (export "triple" (func $late)))
           (core module $Last
             (import "host" "triple" (func $triple (param i32) (result i32)))
             (import "direct" "triple" (func $direct (param i32) (result i32)))
             (func (export "go") (param i32) (result i32)
               (i32.add (call $triple (local.get 0)) (call $direct (i32.const 100)))))
           (core instance $host-direct (export "triple" (func $direct)))
           (core instance $last (instantiate $Last (with "host" (instance $host-early)) (with "direct" (instance $host-direct))))
           (core module $Fixup (import "" "t" (table 1 funcref)) (import "" "f" (func $f (param i32) (result i32)))
             (elem (i32.const 0) func $f))
           (alias core export $shim "imports" (core table $imports))
           (core instance $arguments (export "t" (table $imports)) (export "f" (func $direct)))
           (core instance (instantiate $Fixup (with "" (instance $arguments))))"#,
        [Some(303), Some(306), Some(309)],
    ),
    // A global that code sets keeps its value between calls; others of the same module are constants.
    (
        r#"(core module $Last
             (import "main" "stack" (global $stack (mut i32))) (import "main" "got" (global $got (mut i32)))
             (global $sum (mut i64) (i64.const 10))
             (func (export "go") (param i32) (result i32)
               (global.set $stack (i32.sub (global.get $stack) (local.get 0)))
               (global.set $sum (i64.add (global.get $sum) (i64.const 1)))
               (i32.add (i32.add (global.get $stack) (global.get $got)) (i32.wrap_i64 (global.get $sum)))))
           (core instance $last (instantiate $Last (with "main" (instance $main))))"#,
        [Some(1082), Some(1081), Some(1079)],
    ),
    // What comes later is written over what came before, in tables and in memory; and a slot can be emptied.
    (
        r#"(core module $First (import "main" "table" (table 0 funcref)) (import "main" "memory" (memory 0))
             (elem (i32.const 0) func $f $f) (data (i32.const 64) "\63\00\00\00\62")
             (func $f (result i32) (i32.const 1)))
           (core instance (instantiate $First (with "main" (instance $main))))
           (core module $Second (import "main" "table" (table 0 funcref)) (import "main" "memory" (memory 0))
             (elem (i32.const 1) funcref (ref.func $f) (ref.null func)) (data (i32.const 65) "\01")
             (func $f (result i32) (i32.const 2)))
           (core instance (instantiate $Second (with "main" (instance $main))))
           (core module $Last (import "main" "table" (table 0 funcref)) (import "main" "memory" (memory 0))
             (type $get (func (result i32)))
             (func (export "go") (param i32) (result i32)
               (i32.add (i32.load (i32.const 64))
                 (call_indirect (type $get) (i32.sub (local.get 0) (i32.const 1))))))
           (core instance $last (instantiate $Last (with "main" (instance $main))))"#,
        [Some(0x163 + 1), Some(0x163 + 2), None],
    ),
    // Two instances of one module have globals and tables of their own.
    (
        r#"(core module $Counter (global $count (mut i32) (i32.const 0)) (table 1 funcref) (elem (i32.const 0) func $add)
             (type $t (func (param i32) (result i32)))
             (func $add (param i32) (result i32)
               (global.set $count (i32.add (global.get $count) (local.get 0))) (global.get $count))
             (func (export "add") (param i32) (result i32) (call_indirect (type $t) (local.get 0) (i32.const 0))))
           (core instance $one (instantiate $Counter)) (core instance $other (instantiate $Counter))
           (core module $Last (import "one" "add" (func $one (param i32) (result i32)))
             (import "other" "add" (func $other (param i32) (result i32)))
             (func (export "go") (param i32) (result i32)
               (i32.add (i32.mul (i32.const 10) (call $one (local.get 0))) (call $other (i32.const 1)))))
           (core instance $last (instantiate $Last (with "one" (instance $one)) (with "other" (instance $other))))"#,
        [Some(11), Some(32), Some(63)],
    ),
    // A table that code changes: the function in a slot is not always the first one.
    (
        r#"(core module $Last (table $t 4 8 funcref) (elem (i32.const 0) func $one $two) (type $get (func (result i32)))
             (func $one (result i32) (i32.const 1)) (func $two (result i32) (i32.const 2))
             (func $slot (result i32) (call_indirect (type $get) (i32.const 0)))
             (func (export "go") (param i32) (result i32)
               (if (i32.eq (local.get 0) (i32.const 2)) (then (table.set (i32.const 0) (table.get (i32.const 1)))))
               (if (i32.eq (local.get 0) (i32.const 3)) (then (drop (table.grow (ref.null func) (i32.const 2)))))
               (i32.add (call $slot) (i32.mul (i32.const 100) (table.size $t)))))
           (core instance $last (instantiate $Last))"#,
        [Some(401), Some(402), Some(602)],
    ),
    // A call of another type than the function in the slot has traps, and is not made a direct one.
    (
        r#"(core module $Last (table 1 funcref) (elem (i32.const 0) func $other) (type $get (func (result i32)))
             (func $other (param i32) (result i32) (local.get 0))
             (func $slot (result i32) (call_indirect (type $get) (i32.const 0)))
             (func (export "go") (param i32) (result i32)
               (if (result i32) (i32.eq (local.get 0) (i32.const 2)) (then (call $slot)) (else (i32.const 8)))))
           (core instance $last (instantiate $Last))"#,
        [Some(8), None, None],
    ),
    // A stand-in for WASI that traps, as a component of its own.
    (
        r#"(component $Stub
             (core module $M (func (export "now") (result i32) unreachable) (func (export "begin")))
             (core instance $m (instantiate $M))
             (core module $Begin (import "m" "begin" (func $begin)) (start $begin))
             (core instance (instantiate $Begin (with "m" (instance $m))))
             (func (export "now") (result u32) (canon lift (core func $m "now"))))
           (instance $stub (instantiate $Stub))
           (core func $now (canon lower (func $stub "now")))
           (core instance $wasi (export "now" (func $now)))
           (core module $Last (import "wasi" "now" (func $now (result i32)))
             (func (export "go") (param i32) (result i32)
               (if (i32.eq (local.get 0) (i32.const 3)) (then (return (call $now))))
               (local.get 0)))
           (core instance $last (instantiate $Last (with "wasi" (instance $wasi))))"#,
        [Some(1), Some(2), None],
    ),
    // Deeper: the program is a component within, and what it gets of the host is handed on.
    (
        r#"(component $Program
             (import "h" (instance $h (export "triple" (func (param "a" u32) (result u32)))))
             (core func $f (canon lower (func $h "triple")))
             (core instance $host (export "triple" (func $f)))
             (core module $M (import "host" "triple" (func $f (param i32) (result i32)))
               (start $nothing) (func $nothing)
               (func (export "go") (param i32) (result i32) (i32.add (i32.const 1) (call $f (local.get 0)))))
             (core instance $m (instantiate $M (with "host" (instance $host))))
             (func $go (param "a" u32) (result u32) (canon lift (core func $m "go")))
             (instance $run (export "go" (func $go)))
             (export "t:t/run" (instance $run)))
           (instance $program (instantiate $Program (with "h" (instance $host))))
           (core module $Last (func (export "go") (param i32) (result i32) unreachable))
           (core instance $last (instantiate $Last))"#,
        [None, None, None],
    ),
];

/// Guarantees: a component does the same when its core modules are joined: calls between modules and through tables, data, globals
/// that are set, functions of the host, traps.
#[test]
fn joined_ones_do_the_same() {
    for (text, expected) in JOINED {
        same(&format!("{MAIN}{text}"), expected);
    }
}

/// Guarantees: an interface that a component within exports is followed to its code, and the host's functions into it.
#[test]
fn programs_within_are_found() {
    let (text, _) = JOINED[8];
    let inner = text.split("(core module $Last").next().unwrap();
    let component = wat::parse_str(format!(
        r#"(component
          (import "t:t/host" (instance $host (export "triple" (func (param "a" u32) (result u32)))))
          {inner}
          (alias export $program "t:t/run" (instance $run))
          (export "t:t/run" (instance $run)))"#
    ))
    .unwrap();
    let engine = engine();
    let expected = vec![Some(4), Some(7), Some(10)];
    assert_eq!(run_component(&engine, &component).unwrap(), expected);
    assert_eq!(run_module(&engine, &core_module(&component).unwrap()).unwrap(), expected);
}

/// Guarantees: joined calls of a function in a known slot are direct ones, constants stand in place of globals that nothing sets,
/// tables that nothing changes cannot grow, and what nothing uses is gone.
#[test]
fn what_is_known_is_written_in() {
    let printed = |case: usize| {
        let module = core_module(&whole(&format!("{MAIN}{}", JOINED[case].0))).unwrap();
        let mut lines = Vec::new();
        for payload in wasmparser::Parser::new(0).parse_all(&module) {
            match payload.unwrap() {
                wasmparser::Payload::TableSection(section) => {
                    lines.extend(
                        section.into_iter().map(|table| format!("table {:?}", table.unwrap().ty.maximum)),
                    );
                }
                wasmparser::Payload::GlobalSection(section) => {
                    lines.push(format!("globals {}", section.count()));
                }
                wasmparser::Payload::CodeSectionEntry(body) => {
                    let operators = body.get_operators_reader().unwrap().into_iter();
                    let words = operators.map(|operator| {
                        format!("{:?}", operator.unwrap()).split(' ').next().unwrap().to_owned()
                    });
                    lines.push(words.collect::<Vec<_>>().join(" "));
                }
                _ => {}
            }
        }
        lines.join("\n")
    };
    insta::assert_snapshot!(printed(0), @r"
    table Some(8)
    I32Const I32Load End
    I32Const I32Load End
    I32Const I32Load End
    Call I32Const LocalGet I32Add CallIndirect I32Add End
    ");
    assert_eq!(printed(1), "LocalGet Call I32Const Call I32Add End");
    assert!(printed(2).starts_with("globals 2\n"));
    assert!(printed(5).starts_with("table Some(8)\n"), "{}", printed(5));
}

/// Guarantees: what is not understood is not joined, and what it is, is said.
#[test]
fn others_are_left_alone() {
    let module = |body: &str| format!("(core module $Last {body}) (core instance $last (instantiate $Last))");
    let go = r#"(func (export "go") (param i32) (result i32) (local.get 0))"#;
    for (text, obstacle) in [
        (
            module(&format!("(global $g (mut i32) (i32.const 1)) (start $s) (func $s (global.set $g (i32.const 2))) {go}")),
            "it has a core module that starts by itself",
        ),
        (
            module(
                r#"(memory 1) (data $d "abc") (func (export "go") (param i32) (result i32)
                   (memory.init $d (i32.const 0) (i32.const 0) (i32.const 1)) (i32.load8_u (i32.const 0)))"#,
            ),
            "it has code that names data segments",
        ),
        (
            module(
                r#"(table 1 funcref) (elem declare func $f) (func $f)
                   (func (export "go") (param i32) (result i32) (table.set (i32.const 0) (ref.func $f)) (local.get 0))"#,
            ),
            "it has a function taken by reference",
        ),
        (
            r#"(core module $M (memory 1) (func (export "f") (result i32) (i32.load (i32.const 0))))
               (core instance $m (instantiate $M))
               (core module $Last (import "m" "f" (func $f (result i32))) (memory 1)
                 (func (export "go") (param i32) (result i32) (i32.add (call $f) (i32.load (i32.const 0)))))
               (core instance $last (instantiate $Last (with "m" (instance $m))))"#
                .to_owned(),
            "it has a second memory",
        ),
        (
            r#"(component $Other (core module $M (func (export "f") (result i32) (i32.const 4)))
                 (core instance $m (instantiate $M)) (func (export "f") (result u32) (canon lift (core func $m "f"))))
               (instance $other (instantiate $Other))
               (core func $f (canon lower (func $other "f")))
               (core instance $i (export "f" (func $f)))
               (core module $Last (import "i" "f" (func $f (result i32)))
                 (func (export "go") (param i32) (result i32) (call $f)))
               (core instance $last (instantiate $Last (with "i" (instance $i))))"#
                .to_owned(),
            "it has a component that calls another one",
        ),
        (
            r#"(type $r (resource (rep i32))) (core func $new (canon resource.new $r))
               (core instance $i (export "new" (func $new)))
               (core module $Last (import "i" "new" (func $new (param i32) (result i32)))
                 (func (export "go") (param i32) (result i32) (call $new (local.get 0))))
               (core instance $last (instantiate $Last (with "i" (instance $i))))"#
                .to_owned(),
            "it has resources of its own",
        ),
        (
            module(&format!("(tag $t) {go}")),
            "it has exceptions",
        ),
    ] {
        let component = whole(&text);
        match core_module(&component) {
            Ok(_) => panic!("joined: {text}"),
            Err(found) => assert_eq!(found.to_string(), obstacle, "{text}"),
        }
    }
}

/// Guarantees: whichever byte of a component is another one, or wherever it is cut off, it is left alone or does the same joined.
#[test]
fn damaged_ones_are_left_alone_or_do_the_same() {
    let engine = engine();
    let (mut joined, mut left) = (0, 0);
    let mut compare = |damaged: &[u8], what: &str| {
        let Ok(module) = core_module(damaged) else {
            left += 1;
            return;
        };
        // One that cannot even be made, or never ends, has nothing to compare.
        let Ok(before) = run_component(&engine, damaged) else { return };
        joined += 1;
        let after = run_module(&engine, &module).unwrap_or_else(|error| panic!("{what}: {error:#}"));
        assert_eq!(after, before, "{what}");
    };
    for case in [0, 1, 5] {
        let component = whole(&format!("{MAIN}{}", JOINED[case].0));
        for position in 0..component.len() {
            compare(&component[..position], &format!("case {case}, cut off at {position}"));
            let mut damaged = component.clone();
            damaged[position] ^= 1 << (position % 7);
            compare(&damaged, &format!("case {case}, byte {position}"));
        }
    }
    assert!(joined > 50 && left > 500, "{joined} joined, {left} left");
}
