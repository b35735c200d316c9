//! Scenarios. Noise is drawn from a fixed seed, so a test either always passes or never.

use super::*;
use proptest::prelude::*;
use salve_plugin::testing::DetectorTest;
use serde_json::json;

/// Steele, Lea and Flood's SplitMix64, and a normal variate as the sum of twelve uniform ones.
struct Noise(u64);

impl Noise {
    fn uniform(&mut self) -> f64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((z ^ (z >> 31)) >> 11) as f64 / (1u64 << 53) as f64
    }

    fn normal(&mut self) -> f64 {
        (0..12).map(|_| self.uniform()).sum::<f64>() - 6.0
    }
}

fn detector(parameters: serde_json::Value) -> DetectorTest<HoltWinters> {
    DetectorTest::new(&parameters.to_string()).unwrap()
}

fn error_ratio() -> DetectorTest<HoltWinters> {
    detector(json!({"direction": "up", "floor_absolute": 0.08}))
}

fn latency() -> DetectorTest<HoltWinters> {
    detector(json!({"direction": "up", "floor_absolute": 10.0, "floor_relative": 0.5}))
}

/// Feeds the values to one series and gives the observations with the index of their point.
fn feed(
    test: &mut DetectorTest<HoltWinters>,
    id: u32,
    values: impl IntoIterator<Item = f64>,
) -> Vec<(usize, Observation)> {
    values
        .into_iter()
        .enumerate()
        .flat_map(|(index, value)| {
            test.push(&[(id, value)]).unwrap().into_iter().map(move |observation| (index, observation))
        })
        .collect()
}

/// Scenario: an error ratio of 0 to 2 % for a minute, then at least 0.1. Guarantees: nothing before, the first abnormal
/// point counts, and every one after it for as long as it lasts.
#[test]
fn error_ratio_jump_is_seen_at_once() {
    for jump in [0.1, 0.35, 1.0] {
        let mut noise = Noise(1);
        let mut test = error_ratio();
        let id = test.add("salve.span.error_ratio", &[], None);
        assert_eq!(feed(&mut test, id, (0..60).map(|_| if noise.uniform() < 0.1 { 0.02 } else { 0.0 })), []);
        let seen = feed(&mut test, id, [jump; 20]);
        assert_eq!(seen.len(), 20, "{jump}");
        assert!(seen[0].1.score >= 0.5 && seen[0].1.confidence >= 0.5 && seen[0].1.rising);
        assert_eq!((seen[0].1.kind, seen[2].1.kind), (Kind::Point, Kind::LevelShift));
        assert_eq!(feed(&mut test, id, [0.0; 20]), [], "recovery at the first normal point");
    }
}

/// Scenario: p95 latency around 40 ms with 15 % noise and an outlier now and then, then three times as much.
/// Guarantees: the noise is quiet, the step is seen at its first point.
#[test]
fn latency_step_is_seen_at_once() {
    for seed in 0..20 {
        let mut noise = Noise(seed);
        let mut test = latency();
        let id = test.add("p95", &[], None);
        let before = feed(&mut test, id, (0..120).map(|_| 40.0 * (1.0 + 0.15 * noise.normal())));
        assert_eq!(before, [], "seed {seed}");
        let seen = feed(&mut test, id, [120.0; 3]);
        assert_eq!(seen.len(), 3, "seed {seed}");
        assert!(seen[0].1.score >= 0.5);
    }
}

/// Scenario: the very first values are far off, as after a cold start. Guarantees: the model starts from the median.
#[test]
fn slow_first_requests_do_not_widen_the_range() {
    let mut test = latency();
    let id = test.add("p95", &[], None);
    feed(&mut test, id, [900.0, 600.0].into_iter().chain((0..40).map(|n| 40.0 + f64::from(n % 3))));
    assert_eq!(feed(&mut test, id, [120.0]).len(), 1);
}

/// Scenario: ten thousand points of noise. Guarantees: at most one in a thousand is observed.
#[test]
fn noise_is_quiet() {
    let mut noise = Noise(7);
    let mut test = detector(json!({}));
    let id = test.add("rate", &[], None);
    let seen = feed(&mut test, id, (0..10_000).map(|_| 100.0 + 10.0 * noise.normal()));
    assert!(seen.len() <= 10, "{} observations", seen.len());
}

/// Scenario: a day squeezed into a minute: load swings by half of its mean, with noise. Guarantees: nothing is observed,
/// also without a season.
#[test]
fn daily_rhythm_is_quiet() {
    for period in [60.0, 120.0, 300.0] {
        let mut noise = Noise(3);
        let mut test = detector(json!({}));
        let id = test.add("rate", &[], None);
        let load = |n: u32, noise: &mut Noise| {
            let phase = f64::from(n) / period * std::f64::consts::TAU;
            100.0 * (1.0 + 0.5 * phase.sin()) * (1.0 + 0.05 * noise.normal())
        };
        let seen = feed(&mut test, id, (0..2_000).map(|n| load(n, &mut noise)));
        assert!(seen.is_empty(), "period {period}: {:?}", seen.first());
    }
}

/// Scenario: load doubles within twenty seconds and latency rises by a third with it. Guarantees: no observation of
/// either with bounds for a harmless surge.
#[test]
fn surge_is_quiet() {
    let ramp = |n: u32| (f64::from(n.saturating_sub(60)) / 20.0).min(1.0);
    let mut noise = Noise(5);
    let mut test = detector(json!({"direction": "both", "floor_relative": 0.4}));
    let id = test.add("rate", &[], None);
    let load = (0..120).map(|n| 50.0 * (1.0 + ramp(n)) * (1.0 + 0.05 * noise.normal()));
    assert_eq!(feed(&mut test, id, load), []);
    let mut noise = Noise(6);
    let mut test = latency();
    let id = test.add("p95", &[], None);
    let p95 = (0..120).map(|n| 40.0 * (1.0 + ramp(n) / 3.0) * (1.0 + 0.1 * noise.normal()));
    assert_eq!(feed(&mut test, id, p95), []);
}

/// Scenario: orders fall to nothing. Guarantees: seen by a binding for falls, not by one for rises.
#[test]
fn direction_is_kept() {
    for (direction, count) in [("down", 5), ("both", 5), ("up", 0)] {
        let mut test = detector(json!({"direction": direction, "floor_relative": 0.5}));
        let id = test.add("orders", &[], None);
        feed(&mut test, id, (0..60).map(|n| 20.0 + f64::from(n % 4)));
        let seen = feed(&mut test, id, [0.0; 5]);
        assert_eq!(seen.len(), count, "{direction}");
        assert!(seen.iter().all(|(_, observation)| !observation.rising));
    }
}

/// Scenario: a level shift that stays. Guarantees: observed for `adapt_after_points`, then taken as normal.
#[test]
fn lasting_shift_is_accepted() {
    let mut test = detector(json!({"adapt_after_points": 50}));
    let id = test.add("rate", &[], None);
    feed(&mut test, id, (0..60).map(|n| 100.0 + f64::from(n % 5)));
    let seen = feed(&mut test, id, (0..200).map(|n| 300.0 + f64::from(n % 5)));
    assert_eq!(seen.len(), 50);
    assert_eq!(seen.last().map(|(index, _)| *index), Some(49));
}

/// Scenario: a fault shorter than `adapt_after_points`, healed, and the same fault again. Guarantees: the second is seen
/// as the first was.
#[test]
fn fault_is_not_learned() {
    let mut test = error_ratio();
    let id = test.add("ratio", &[], None);
    feed(&mut test, id, [0.0; 60]);
    for _ in 0..5 {
        assert_eq!(feed(&mut test, id, [0.5; 30]).len(), 30);
        assert_eq!(feed(&mut test, id, [0.0; 30]), []);
    }
}

/// Scenario: latency that is far above its usual 2 ms and still nobody's problem. Guarantees: not observed.
#[test]
fn small_values_can_be_ignored() {
    let mut test = detector(json!({"direction": "up", "min_value_to_alert": 50.0}));
    let id = test.add("p95", &[], None);
    feed(&mut test, id, (0..60).map(|n| 2.0 + 0.1 * f64::from(n % 3)));
    assert_eq!(feed(&mut test, id, [40.0]), []);
    assert_eq!(feed(&mut test, id, [60.0]).len(), 1);
}

/// Scenario: a series that was constant to the last bit moves by less than the floor, for good. Guarantees: the level
/// follows, so that the range is around what is usual now.
#[test]
fn constant_series_can_move() {
    let mut test = detector(json!({"floor_absolute": 1.0}));
    let id = test.add("gauge", &[], None);
    feed(&mut test, id, [10.0; 100]);
    feed(&mut test, id, [10.9; 100]);
    let output = test.push_columns(&[(id, test.now(), 10.9, 0)], true).unwrap();
    assert!((output.scores.unwrap().expected[0] - 10.9).abs() < 0.05);
}

/// Scenario: a daily season in hourly points; on the tenth day the midday rise does not come. Guarantees: quiet until
/// then, and the break is told from a mere point.
#[test]
fn season_is_learned_and_its_break_seen() {
    let mut test = detector(json!({"season_seconds": 86_400, "floor_relative": 0.1, "sensitivity": 4.0}));
    test.step_ms = 1_800_000;
    let id = test.add("orders", &[], None);
    let mut noise = Noise(9);
    let day = |n: u32| 150.0 - 50.0 * (f64::from(n % 48) / 48.0 * std::f64::consts::TAU).cos();
    feed(&mut test, id, (0..48 * 4).map(|n| day(n) + noise.normal()));
    let seen = feed(&mut test, id, (0..48 * 5).map(|n| day(n) + noise.normal()));
    assert!(seen.is_empty(), "{:?}", seen.first());
    let seen = feed(&mut test, id, (0..48).map(|_| 100.0 + noise.normal()));
    let indices: Vec<usize> = seen.iter().map(|(index, _)| *index).collect();
    assert!(!seen.is_empty() && indices.iter().all(|index| (5..44).contains(index)), "{indices:?}");
    assert_eq!(seen[0].1.kind, Kind::SeasonalBreak);
}

/// Scenario: a restart in the middle, in which the host adds the series in another order. Guarantees: the answers are
/// those of an instance that was never restarted.
#[test]
fn snapshot_continues() {
    let values = |n: u32| [100.0 + f64::from(n % 7), 5.0 - f64::from(n % 3)];
    let run = |restart_at: Option<u32>| {
        let mut test = detector(json!({"season_seconds": 60}));
        let ids =
            [test.add("a", &[("service.name", "x")], None), test.add("a", &[("service.name", "y")], None)];
        let mut outputs = Vec::new();
        for n in 0..200 {
            if restart_at == Some(n) {
                let state = test.snapshot().unwrap();
                test.restart_from(&state).unwrap();
            }
            let now = test.now();
            let [first, second] = values(n);
            let points = [(ids[0], now, first, 0), (ids[1], now, second, 0)];
            outputs.push(test.push_columns(&points, true).unwrap());
        }
        outputs
    };
    let expected = run(None);
    for at in [3, 50, 150] {
        assert_eq!(run(Some(at)), expected, "restart at {at}");
    }
}

/// Scenario: snapshots that are cut off, or of another layout. Guarantees: refused with a reason, and no panic.
#[test]
fn broken_snapshots_are_refused() {
    let mut test = detector(json!({"season_seconds": 60}));
    let id = test.add("a", &[], None);
    feed(&mut test, id, [1.0; 40]);
    let state = test.snapshot().unwrap();
    for length in [0, 3, 5, state.bytes.len() - 1] {
        let cut = State { format: 1, bytes: state.bytes[..length].to_vec() };
        assert!(test.restart_from(&cut).is_err(), "cut at {length}");
    }
    let other = State { format: 9, ..state };
    insta::assert_snapshot!(test.restart_from(&other).unwrap_err(), @"the snapshot has layout 9; this version reads 1");
}

/// Scenario: snapshots in which some bytes are others, as on a broken disk. Guarantees: refused, or taken, and then what comes
/// out is finite, scores lie within 0 to 1, and nothing panics.
#[test]
fn damaged_snapshots_do_no_harm() {
    let mut test = detector(json!({"season_seconds": 60, "adapt_after_points": 65535, "warmup_points": 10}));
    let id = test.add("a", &[], None);
    feed(&mut test, id, (0..40).map(|n| f64::from(n % 7)));
    let state = test.snapshot().unwrap();
    let taken = test.survive_damage(&state, id).unwrap();
    assert!(taken > 100, "{taken}");
}

/// Scenario: parameters that make no sense. Guarantees: the message names parameter, value and range.
#[test]
fn parameters_are_checked() {
    let refused =
        |parameters: serde_json::Value| DetectorTest::<HoltWinters>::new(&parameters.to_string()).err();
    insta::assert_snapshot!(refused(json!({"sensitivity": 0})).unwrap(), @"`sensitivity` is 0; it must be from 0.1 to 1000000");
    assert!(refused(json!({"sensitivty": 4})).unwrap().contains("unknown field `sensitivty`"));
}

/// Guarantees: a series costs at most 100 bytes beside its season.
#[test]
fn state_is_small() {
    assert!(size_of::<Model>() + size_of::<u64>() <= 100, "{}", size_of::<Model>());
}

proptest! {
    /// Guarantees: whatever finite values come, all that goes out is finite, scores lie within 0 to 1, and one score
    /// comes for each point.
    #[test]
    fn output_is_finite(values in prop::collection::vec(prop_oneof![any::<f64>(), -10.0..10.0f64], 1..200), season in 0..3u32) {
        let mut test = detector(json!({"season_seconds": season * 20, "warmup_points": 5}));
        let id = test.add("any", &[], None);
        for value in values.into_iter().filter(|value| value.is_finite()) {
            let output = test.push_columns(&[(id, test.now(), value, 0)], true).unwrap();
            let scores = output.scores.unwrap();
            prop_assert!((0.0..=1.0).contains(&scores.score[0]) && (0.0..=1.0).contains(&scores.confidence[0]));
            for number in [scores.expected[0], scores.lower[0], scores.upper[0]] {
                prop_assert!(number.is_finite());
            }
            for observation in output.observations {
                prop_assert!(observation.score >= 0.5 && observation.score <= 1.0);
            }
        }
    }

    /// Scenario: batches of one to three points, some of them after a gap.
    /// Guarantees: what is asked for of a point changes neither what is observed nor what is learned.
    #[test]
    fn scores_change_nothing(
        batches in prop::collection::vec(
            prop::collection::vec((prop_oneof![-1e300..1e300f64, -10.0..10.0f64, Just(1.0)], 0..2u8), 1..=3),
            1..150,
        ),
        season in prop_oneof![3 => Just(0), 1 => Just(20u32)],
    ) {
        let outcomes = [true, false].map(|scores| {
            let mut test = detector(json!({"season_seconds": season, "warmup_points": 5, "direction": "up"}));
            let ids = ["any", "steady"].map(|name| test.add(name, &[], None));
            let observe = |batch: &Vec<(f64, u8)>| {
                let now = test.now();
                let points = (now..).zip(batch).map(|(time, (value, flags))| (ids[0], time, *value, *flags));
                let points: Vec<_> = points.chain([(ids[1], now, 1.0, 0)]).collect();
                test.push_columns(&points, scores).unwrap().observations
            };
            let seen: Vec<_> = batches.iter().map(observe).collect();
            (seen, test.snapshot().unwrap().bytes)
        });
        prop_assert_eq!(&outcomes[0], &outcomes[1]);
    }
}
