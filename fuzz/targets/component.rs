//! Mutated components to the loader: inspection, admission, and, if a component gets so far, compilation.
//!
//! What must hold: no panic; what is loaded is what its manifest says, and inspection says so too; nothing runs; words about
//! strangers' components are escaped.
//!
//! The seeds are the small guests of the tests, so that little time goes into machine code: a plugin of the usual size
//! takes a thousand times as long to compile as to admit.

#![no_main]

use libfuzzer_sys::{Corpus, fuzz_mutator, fuzz_target};
use salve_fuzz::{seeds, wasm};
use salve_plugins::{HostConfig, PluginHost, pack};
use std::{error::Error, path::Path, sync::OnceLock};

/// Larger inputs cost time and find nothing that smaller ones do not.
const BYTES_MAX: usize = 64 << 10;

fn host() -> &'static PluginHost {
    static HOST: OnceLock<(tempfile::TempDir, PluginHost)> = OnceLock::new();
    let (_, host) = HOST.get_or_init(|| {
        let folder = seeds::folder();
        let mut config = HostConfig::new(folder.path().join("compiled"));
        // What was compiled is in nobody's way: the next one takes its place.
        config.cache_bytes_max = 1;
        config.instances_max = 1;
        config.guest_threads = 1;
        let host = PluginHost::new(config).expect("a plugin host");
        (folder, host)
    });
    host
}

/// The guests of the tests, which load, and components that show each refusal, which do not.
fn make_seeds() -> Vec<Vec<u8>> {
    let mut all = Vec::new();
    for (name, text) in seeds::files("tests/guests", "wat") {
        let (role, _) = name.split_once('-').expect("a guest's name begins with its role");
        let capabilities = match role {
            "action" => "capabilities = [{ capability = 'config', verbs = ['get', 'set'] }]",
            _ => "",
        };
        let manifest = format!(
            "name = '{name}'\nversion = '0.1.0'\nrole = '{role}'\nsummary = 'A guest.'\n{capabilities}\n"
        );
        let component = pack::pack(&wat::parse_bytes(&text).expect("a guest is a module"), &manifest)
            .expect("a guest is packed");
        host().load_bytes(Path::new(&name), &component).expect("a guest loads");
        all.push(component);
    }
    let json = br#"{"name":"a","version":"0.1.0","role":"agent","summary":"S"}"#;
    for text in [
        "(component)",
        r#"(component (import "salve:plugin/log@0.1.0" (instance)))"#,
        r#"(component (import "wasi:cli/environment@0.2.0" (instance)))"#,
        r#"(component (import "run" (func (param "a" (list (tuple string u64))) (result (option (result string (error u8)))))))"#,
        r#"(component (instance $i) (export "salve:plugin/consult@0.1.0" (instance $i)))"#,
        r#"(component (type $t (instance (export "r" (type (sub resource))))) (import "a:b/c" (instance (type $t))))"#,
        "(component (core module $m (memory 1) (table 1 funcref)) (core instance (instantiate $m)) (component (component)))",
    ] {
        let component = wat::parse_str(text).expect("a seed is a component");
        let component = wasm::with_custom(&component, "salve:manifest", json);
        host().load_bytes(Path::new("seed"), &component).expect_err("a seed that is no plugin");
        all.push(component);
    }
    all
}

fuzz_target!(init: seeds::write(make_seeds), |bytes: &[u8]| -> Corpus {
    if bytes.len() > BYTES_MAX {
        return Corpus::Reject;
    }
    let inspected = pack::inspect(bytes);
    match host().load_bytes(Path::new("fuzz.wasm"), bytes) {
        Ok(plugin) => {
            let inspection = inspected.expect("what loads can be inspected");
            assert!(inspection.objection.is_none(), "what loads has no objection: {:?}", inspection.objection);
            assert_eq!(inspection.manifest.as_ref(), Some(plugin.manifest()));
            assert_eq!(plugin.counters().calls_total, 0);
        }
        Err(error) => {
            let mut story = format!("{error} {:?}", error.hint());
            let mut source = error.source();
            while let Some(cause) = source {
                story.push_str(&cause.to_string());
                source = cause.source();
            }
            assert!(!story.contains(['\u{1b}', '\u{202e}']), "strangers' text is escaped: {story:?}");
        }
    }
    Corpus::Keep
});

fuzz_mutator!(|data: &mut [u8], size: usize, max_size: usize, seed: u32| {
    wasm::mutate(data, size, max_size, seed)
});
