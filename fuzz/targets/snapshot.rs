//! Saved state of the first-party detectors. The first byte says whose it is, the second its format.
//!
//! What must hold: no panic in `restore` nor in what follows it; a state that was taken can be saved and taken again, and
//! scores stay within 0 to 1.

#![no_main]

use libfuzzer_sys::fuzz_target;
use salve_plugin::detector::{Batch, Detector, Series, State};

const SECOND_NS: u64 = 1_000_000_000;

fn series(id: u32) -> Series {
    Series {
        id,
        name: format!("series.{id}"),
        unit: "1".into(),
        group: 0,
        limit: Some(100.0),
        attributes: vec![("service.name".into(), "shop".into())],
    }
}

fn try_state<D: Detector>(state: &State) {
    let detector = || serde_json::from_str("{}").ok().and_then(|parameters| D::new(parameters).ok());
    let Some(mut restored) = detector() else { return };
    if restored.restore(state).is_err() {
        return;
    }
    for step in 0..4_u64 {
        let batch = Batch {
            sequence: step,
            now: 1_800_000_000 * SECOND_NS + step * SECOND_NS,
            added: if step == 0 { (0..3).map(series).collect() } else { Vec::new() },
            removed: if step == 3 { vec![1] } else { Vec::new() },
            series: vec![0, 2],
            offsets: vec![0, 1, 2],
            times: vec![1_800_000_000 * SECOND_NS + step * SECOND_NS; 2],
            values: vec![1.0 + step as f64, 1e300],
            point_flags: vec![0, 1],
            scores: true,
        };
        let output = restored.observe(&batch).expect("a batch that fits together is taken");
        for observation in output.observations {
            assert!((0.0..=1.0).contains(&observation.score), "{observation:?}");
        }
    }
    let again = restored.snapshot();
    let mut other = detector().expect("made before");
    other.restore(&again).expect("a state of its own is taken");
}

fuzz_target!(|bytes: &[u8]| {
    let [whose, format, bytes @ ..] = bytes else { return };
    let state = State { format: u32::from(*format), bytes: bytes.to_vec() };
    match whose % 3 {
        0 => try_state::<holt_winters::HoltWinters>(&state),
        1 => try_state::<absence::Absence>(&state),
        _ => try_state::<saturation::Saturation>(&state),
    }
});
