//! Saved state of the first-party detectors. The first byte says whose it is, the second its format.
//!
//! What must hold: no panic in `restore` nor in what follows it; a state that was taken can be saved and taken again, what
//! comes out is finite, and scores stay within 0 to 1.

#![no_main]

use absence::Absence;
use holt_winters::HoltWinters;
use libfuzzer_sys::fuzz_target;
use salve_fuzz::seeds;
use salve_plugin::detector::{Batch, Detector, Series, State};
use saturation::Saturation;

const SECOND_NS: u64 = 1_000_000_000;
const START_NS: u64 = 1_800_000_000 * SECOND_NS;

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

/// Parameters under which `holt-winters` learns seasons.
const SEASONAL: &str = r#"{"season_seconds": 60, "warmup_points": 3, "adapt_after_points": 65535}"#;

fn detector<D: Detector>(parameters: &str) -> D {
    let parameters = serde_json::from_str(parameters).expect("parameters that fit");
    D::new(parameters).expect("the defaults make sense")
}

/// The batch of a second, with a point of two series of three.
fn batch(step: u64, value: f64) -> Batch {
    Batch {
        sequence: step,
        now: START_NS + step * SECOND_NS,
        added: if step == 0 { (0..3).map(series).collect() } else { Vec::new() },
        removed: if step == 3 { vec![1] } else { Vec::new() },
        series: vec![0, 2],
        offsets: vec![0, 1, 2],
        times: vec![START_NS + step * SECOND_NS; 2],
        values: vec![1.0 + step as f64, value],
        point_flags: vec![0, 1],
        scores: true,
    }
}

/// What a detector knows after so many batches.
fn state_after<D: Detector>(whose: u8, parameters: &str, steps: u64) -> Vec<u8> {
    let mut detector = detector::<D>(parameters);
    for step in 0..steps {
        detector.observe(&batch(step, (step % 7) as f64)).expect("a batch that fits together is taken");
    }
    let State { format, bytes } = detector.snapshot();
    let format = u8::try_from(format).expect("a small number");
    [&[whose, format][..], &bytes].concat()
}

fn make_seeds() -> Vec<Vec<u8>> {
    [0, 1, 5, 200]
        .into_iter()
        .flat_map(|steps| {
            [
                state_after::<HoltWinters>(0, "{}", steps),
                state_after::<HoltWinters>(1, SEASONAL, steps),
                state_after::<Absence>(2, "{}", steps),
                state_after::<Saturation>(3, "{}", steps),
            ]
        })
        .collect()
}

fn try_state<D: Detector>(parameters: &str, state: &State) {
    let mut restored = detector::<D>(parameters);
    if restored.restore(state).is_err() {
        return;
    }
    for step in 0..4 {
        let output = restored.observe(&batch(step, 1e300)).expect("a batch that fits together is taken");
        for seen in output.observations {
            assert!(
                [seen.score, seen.confidence].iter().all(|score| (0.0..=1.0).contains(score)),
                "{seen:?}"
            );
            assert!(
                [seen.expected, seen.lower, seen.upper].iter().all(|number| number.is_finite()),
                "{seen:?}"
            );
        }
        let Some(scores) = output.scores else { continue };
        assert!(scores.score.iter().chain(&scores.confidence).all(|score| (0.0..=1.0).contains(score)));
        assert!(
            [&scores.expected, &scores.lower, &scores.upper]
                .into_iter()
                .flatten()
                .all(|number| number.is_finite())
        );
    }
    let again = restored.snapshot();
    detector::<D>(parameters).restore(&again).expect("a state of its own is taken");
}

fuzz_target!(init: seeds::write(make_seeds), |bytes: &[u8]| {
    let [whose, format, bytes @ ..] = bytes else { return };
    let state = State { format: u32::from(*format), bytes: bytes.to_vec() };
    match whose % 4 {
        0 => try_state::<HoltWinters>("{}", &state),
        1 => try_state::<HoltWinters>(SEASONAL, &state),
        2 => try_state::<Absence>("{}", &state),
        _ => try_state::<Saturation>("{}", &state),
    }
});
