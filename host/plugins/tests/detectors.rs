//! Detectors from batch to observation, and those that misbehave.

mod common;

use common::{batch, bench, watched};

/// Scenario: a well-behaved detector sees three series.
/// Guarantees: columns arrive as they were sent, and observations come back whole.
#[tokio::test]
async fn observes() {
    let bench = bench();
    let mut detector = watched(bench.detector("detector-threshold")).await.unwrap();
    let output = watched(detector.observe(&batch(&[1.0, 250.0, 99.0], true))).await.unwrap();
    assert_eq!(output.refused, 0);
    let [observation] = output.observations.as_slice() else { panic!("{output:?}") };
    assert_eq!((observation.series, observation.time, observation.value), (1, 5, 250.0));
    assert_eq!((observation.score, observation.confidence, observation.upper), (0.75, 1.0, 100.0));
    assert_eq!(observation.reason, "over 100");
    assert!(observation.rising);
    assert!(detector.take_set_aside().is_empty());
    assert_eq!(detector.plugin().counters().faults_total, 0);
}
