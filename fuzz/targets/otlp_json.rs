//! OTLP in JSON. The first byte says which signal the rest is.
//!
//! What must hold: no panic; memory stays near the input's length; what comes out is protobuf.

#![no_main]

use libfuzzer_sys::fuzz_target;
use salve_ingest::fuzzing::json_to_protobuf;

const BYTES_MAX: u64 = 1 << 20;

fuzz_target!(|bytes: &[u8]| {
    let Some((signal, json)) = bytes.split_first() else { return };
    let Some(protobuf) = json_to_protobuf(json, signal % 3, BYTES_MAX) else { return };
    assert!(protobuf.len() as u64 <= BYTES_MAX + 64, "{} bytes", protobuf.len());
    // Ids of a wrong length and deep nesting are the check's to refuse; that it does not panic is what counts.
    let limits = salve_otlp::Limits::default();
    drop(match signal % 3 {
        0 => salve_otlp::check_metrics(&protobuf, &limits),
        1 => salve_otlp::check_traces(&protobuf, &limits),
        _ => salve_otlp::check_logs(&protobuf, &limits),
    });
});
