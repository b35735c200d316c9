//! Mutated components to the loader: inspection, admission, and, if a component gets so far, compilation.
//!
//! What must hold: no panic; what is loaded is what its manifest says; nothing runs.

#![no_main]

use libfuzzer_sys::{Corpus, fuzz_target};
use salve_plugins::{HostConfig, PluginHost, pack};
use std::{path::Path, sync::OnceLock};

/// Larger inputs cost time and find nothing that smaller ones do not.
const BYTES_MAX: usize = 256 << 10;

fn host() -> &'static PluginHost {
    static HOST: OnceLock<(tempfile::TempDir, PluginHost)> = OnceLock::new();
    let (_, host) = HOST.get_or_init(|| {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let mut config = HostConfig::new(folder.path().join("compiled"));
        config.cache_bytes_max = 1;
        config.instances_max = 1;
        config.guest_threads = Some(1);
        let host = PluginHost::new(config).expect("a plugin host");
        (folder, host)
    });
    host
}

fuzz_target!(|bytes: &[u8]| -> Corpus {
    if bytes.len() > BYTES_MAX {
        return Corpus::Reject;
    }
    let inspected = pack::inspect(bytes);
    match host().load_bytes(Path::new("fuzz.wasm"), bytes) {
        Ok(plugin) => {
            let inspection = inspected.expect("what loads can be inspected");
            assert!(inspection.objection.is_none(), "what loads has no objection: {:?}", inspection.objection);
            assert_eq!(inspection.manifest.as_ref().ok(), Some(plugin.manifest()));
            assert_eq!(plugin.counters().calls_total, 0);
        }
        Err(error) => {
            let story = format!("{error} {:?}", error.hint());
            assert!(!story.contains(['\u{1b}', '\u{202e}']), "strangers' text is escaped: {story:?}");
        }
    }
    Corpus::Keep
});
