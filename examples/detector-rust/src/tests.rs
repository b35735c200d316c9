//! Scenarios. A batch every ten seconds, as the host derives error ratios by default.

use super::*;
use salve_plugin::testing::DetectorTest;

const STEP_MS: u64 = 10_000;
const HOUR: u32 = 360;
const MINUTE: u32 = 6;

/// One rule, the source's first.
const FIRST_RULE: &str = r#"{"rules":[{"long_ms":3600000,"short_ms":300000,"burn_rate":14.4}]}"#;

/// One series, and what was observed of it in each batch.
struct Bench {
    test: DetectorTest<BurnRate>,
    id: u32,
}

impl Bench {
    fn new(parameters: &str) -> Self {
        let mut test = DetectorTest::new(parameters).unwrap();
        test.step_ms = STEP_MS;
        let id = test.add("salve.span.error_ratio", &[("service.name", "checkout")], None);
        Self { test, id }
    }

    fn push(&mut self, ratio: f64) -> Option<Observation> {
        let observed = self.test.push(&[(self.id, ratio)]).unwrap();
        assert!(observed.len() <= 1);
        observed.into_iter().next()
    }

    /// In which of so many points it first alerts.
    fn first(&mut self, points: u32, ratio: f64) -> Option<(u32, Observation)> {
        (1..=points).find_map(|point| self.push(ratio).map(|observation| (point, observation)))
    }

    fn quiet(&mut self, points: u32, ratio: f64) {
        assert_eq!(self.first(points, ratio), None);
    }
}

/// Scenario: a healthy hour, then every request fails. Guarantees: found as soon as 14.4 × 0.1 % of an hour have been spent, which is
/// after 52 s; each further point alerts; the words say how fast and of what.
#[test]
fn an_outage_is_found_within_a_minute() {
    let mut bench = Bench::new("{}");
    bench.quiet(HOUR, 0.0);
    let (point, seen) = bench.first(HOUR, 1.0).unwrap();
    assert_eq!(point, 6);
    assert_eq!((seen.kind, seen.rising, seen.series), (Kind::LevelShift, true, bench.id));
    assert!((seen.value - 60.0 / 3_600.0).abs() < 1e-6 && (seen.expected - 0.001).abs() < 1e-12);
    assert!(seen.score >= 0.5 && seen.confidence == 1.0 && seen.value >= seen.upper);
    assert_eq!(
        seen.reason,
        "the error budget of 0.1 % burns 16.7 times too fast over 1 h and 200 times over 5 min (the limit is 14.4): 1.67 % and 20 % failed"
    );
    assert!((0..HOUR).all(|_| bench.push(1.0).is_some()));
}

/// Scenario: 30 s without a good answer, once. Guarantees: no alert, though a ratio of 1 is as bad as it gets.
#[test]
fn a_blip_is_no_alert() {
    let mut bench = Bench::new("{}");
    bench.quiet(HOUR, 0.0);
    bench.quiet(3, 1.0);
    bench.quiet(HOUR, 0.0);
}

/// Scenario: an outage of ten minutes, repaired. Guarantees: the alert ends with the short window, give or take one of its five buckets,
/// long before the long one is clean.
#[test]
fn what_is_over_ends() {
    for (parameters, short) in [(FIRST_RULE, 5 * MINUTE), ("{}", 30 * MINUTE)] {
        let mut bench = Bench::new(parameters);
        bench.quiet(HOUR, 0.0);
        let alerts = (0..10 * MINUTE).filter(|_| bench.push(1.0).is_some()).count() as u32;
        assert_eq!(alerts, 10 * MINUTE - 5);
        let told = (0..2 * HOUR).filter(|_| bench.push(0.0).is_some()).count() as u32;
        assert!((short * 4 / 5..=short * 6 / 5).contains(&told), "{told} after the end, of {short}");
    }
}

/// Scenario: 0.7 % fail, which burns the budget at 7. Guarantees: too slow for the first rule; the second sees it once 6 × 0.1 % of six
/// hours have been spent.
#[test]
fn a_slow_leak_is_found_by_the_slow_rule() {
    let mut bench = Bench::new("{}");
    bench.quiet(6 * HOUR, 0.0);
    let (point, seen) = bench.first(6 * HOUR, 0.007).unwrap();
    assert_eq!(point, (6.0 * 360.0 * 6.0_f64 / 7.0).ceil() as u32);
    assert!(seen.reason.contains("over 6 h"), "{}", seen.reason);
    let mut bench = Bench::new(FIRST_RULE);
    bench.quiet(12 * HOUR, 0.007);
}

/// Scenario: a ratio just below and just above what a rule allows, for hours. Guarantees: the limit is where it is said to be.
#[test]
fn the_limit_is_exact() {
    let mut bench = Bench::new(FIRST_RULE);
    bench.quiet(5 * HOUR, 0.0143);
    let mut bench = Bench::new(FIRST_RULE);
    let (point, _) = bench.first(5 * HOUR, 0.0145).unwrap();
    assert!((358..=HOUR + 1).contains(&point), "{point}");
}

/// Scenario: nothing but failures, for longer than the windows. Guarantees: the ratio over each window is 1 and no more, whatever the points' pace.
#[test]
fn a_window_holds_no_more_than_its_time() {
    for (step_ms, tolerance) in [(10_000, 1e-5), (20_000, 1e-5), (7_000, 0.03)] {
        let mut bench = Bench::new(FIRST_RULE);
        bench.test.step_ms = step_ms;
        for _ in 0..2 * HOUR {
            bench.push(1.0);
        }
        let standing = bench.push(1.0).unwrap();
        assert!((standing.value - 1.0).abs() < tolerance, "{step_ms} ms: {}", standing.value);
        assert!(
            standing.reason.ends_with("100 % and 100 % failed") || tolerance > 0.01,
            "{}",
            standing.reason
        );
    }
}

/// Scenario: a new service fails from its first request on. Guarantees: the hour in which it was not there spent nothing, so it is found
/// when an old one would be; its confidence is lower.
#[test]
fn a_new_series_needs_no_warm_up() {
    let mut bench = Bench::new("{}");
    let (point, seen) = bench.first(HOUR, 1.0).unwrap();
    // Its first point stands for no time.
    assert_eq!(point, 7);
    assert!((0.5..0.6).contains(&seen.confidence), "{}", seen.confidence);
}

/// Scenario: a service that is asked once an hour fails once; one that is looked at once a minute fails. Guarantees: a point stands for
/// the time since the one before and a minute at most, and one alone is no alert.
#[test]
fn rare_points_are_judged_with_care() {
    let mut bench = Bench::new("{}");
    for ratio in [0.0, 0.0, 1.0, 0.0, 0.0] {
        bench.quiet(1, ratio);
        bench.test.wait_ms(3_600_000);
    }
    let mut bench = Bench::new(r#"{"objective":0.99}"#);
    bench.test.step_ms = 60_000;
    bench.quiet(60, 0.0);
    bench.quiet(8, 1.0);
    assert!(bench.push(1.0).is_some());
}

/// Scenario: nothing comes for two hours, batches without points do. Guarantees: ticks say nothing, cost nothing, and forget nothing
/// that is still within a window; the silence itself spends nothing.
#[test]
fn silence_is_neither_good_nor_bad() {
    let mut bench = Bench::new(FIRST_RULE);
    bench.quiet(HOUR, 0.0);
    bench.quiet(4, 1.0);
    for _ in 0..MINUTE {
        assert_eq!(bench.test.push(&[]).unwrap(), []);
    }
    // 40 s, and a point that stands for a minute.
    assert!(bench.push(1.0).is_some());
    for _ in 0..2 * HOUR {
        assert_eq!(bench.test.push(&[]).unwrap(), []);
    }
    bench.quiet(1, 1.0);
}

/// Scenario: a point that is the first after a gap, as the host flags it. Guarantees: it stands for no time.
#[test]
fn the_first_point_after_a_gap() {
    let mut bench = Bench::new(FIRST_RULE);
    bench.quiet(HOUR, 0.0);
    for _ in 0..20 {
        let now = bench.test.now();
        let output = bench.test.push_columns(&[(bench.id, now, 1.0, FLAG_AFTER_GAP)], false).unwrap();
        assert_eq!(output.observations, []);
    }
}

/// Scenario: the same points in order; and with late ones, repeated ones, and ones from the future among them. Guarantees: the others
/// change nothing, and a clock that is ahead does not push what is known out of the windows.
#[test]
fn late_repeated_and_future_points() {
    let mut plain = Bench::new("{}");
    let mut odd = Bench::new("{}");
    let mut alerts = 0;
    for point in 0..HOUR {
        let ratio = if point % 7 == 0 { 0.5 } else { 0.0 };
        let expected = plain.push(ratio);
        alerts += u32::from(expected.is_some());
        let (id, now) = (odd.id, odd.test.now());
        let late = (id, now.saturating_sub(3_600_000_000_000), 1.0, 0);
        let mut points = vec![(id, now, ratio, 0), late, (id, now, 1.0, 0)];
        if point % 5 == 0 {
            points[0].1 = now + 86_400_000_000_000;
        }
        let observed = odd.test.push_columns(&points, false).unwrap().observations;
        let told = |seen: &Observation| (seen.score, seen.value, seen.reason.clone());
        assert_eq!(
            observed.iter().map(told).collect::<Vec<_>>(),
            expected.iter().map(told).collect::<Vec<_>>()
        );
    }
    assert!(alerts > HOUR / 2, "{alerts}");
}

/// Scenario: numbers that are none, that are no ratios, and the largest ones, with any times. Guarantees: no panic, and what comes out is
/// finite and within its bounds.
#[test]
fn any_numbers() {
    let mut bench = Bench::new("{}");
    let values = [f64::NAN, f64::INFINITY, -1.0, 1e300, 0.5, 1.0, 0.0, f64::MIN_POSITIVE, 2.0];
    let times = [0, 1, u64::MAX, bench.test.now(), bench.test.now() + 1_000_000];
    let mut seen = 0;
    for turn in 0..5_000_usize {
        let now = bench.test.now();
        let time = if turn % 3 == 0 { times[turn % times.len()] } else { now };
        let points = [(bench.id, time, values[turn * 7 % values.len()], (turn % 11 == 0).into())];
        let output = bench.test.push_columns(&points, true).unwrap();
        let scores = output.scores.unwrap();
        let shares = [scores.score[0], scores.confidence[0]];
        assert!(shares.iter().all(|share| (0.0..=1.0).contains(share)), "{shares:?}");
        assert!(
            [scores.expected[0], scores.lower[0], scores.upper[0]].iter().all(|number| number.is_finite())
        );
        seen += output.observations.len();
        for observation in output.observations {
            assert!(
                observation.value.is_finite() && (0.5..=1.0).contains(&observation.score),
                "{observation:?}"
            );
        }
    }
    assert!(seen > 1_000, "{seen}");
}

/// Scenario: dense scores of a series that goes from well to badly. Guarantees: 0 while nothing was spent, 0.5 where the alert begins,
/// and rising in between.
#[test]
fn scores_rise_with_the_burn_rate() {
    let mut bench = Bench::new(FIRST_RULE);
    let mut scored = |ratio: f64| {
        let points = [(bench.id, bench.test.now(), ratio, 0)];
        let output = bench.test.push_columns(&points, true).unwrap();
        let scores = output.scores.unwrap();
        (scores.score[0], scores.upper[0], output.observations.len())
    };
    for _ in 0..HOUR {
        assert_eq!(scored(0.0).0, 0.0);
    }
    let mut before = 0.0;
    for _ in 0..20 {
        let (score, upper, told) = scored(1.0);
        assert!(score > before && (upper - 0.0144).abs() < 1e-12);
        assert_eq!(told == 1, score >= 0.5);
        before = score;
    }
}

/// Scenario: a restart in the middle of an outage that is not yet an alert. Guarantees: it goes on as if there had been none.
#[test]
fn a_restart_changes_nothing() {
    let (mut whole, mut restarted) = (Bench::new("{}"), Bench::new("{}"));
    for bench in [&mut whole, &mut restarted] {
        bench.quiet(HOUR, 0.0001);
        bench.quiet(4, 1.0);
    }
    let state = restarted.test.snapshot().unwrap();
    restarted.test.restart_from(&state).unwrap();
    for _ in 0..HOUR {
        assert_eq!(whole.push(0.2), restarted.push(0.2));
    }
    assert_eq!(whole.test.snapshot().unwrap().bytes, restarted.test.snapshot().unwrap().bytes);
}

/// Scenario: snapshots of another layout, cut off, full of nonsense, of other windows, and from a future that the host's clock has gone
/// back from. Guarantees: what is broken is refused in words; what is whole and does not fit is counted afresh.
#[test]
fn snapshots_that_do_not_fit() {
    let mut bench = Bench::new("{}");
    bench.quiet(HOUR, 0.001);
    let state = bench.test.snapshot().unwrap();
    let cut = State { bytes: state.bytes[..state.bytes.len() - 1].to_vec(), ..state.clone() };
    let mut nonsense = state.clone();
    nonsense.bytes[36..].fill(0xff);
    for (broken, why) in [
        (State { format: 2, ..state.clone() }, "the snapshot has layout 2; this version reads 1"),
        (cut, "the snapshot ends too early"),
        (nonsense, "the snapshot has 4294967295 buckets for a series; 2004 are the most"),
    ] {
        assert_eq!(bench.test.restart_from(&broken).unwrap_err(), why);
    }
    let mut other = Bench::new(FIRST_RULE);
    other.test.restart_from(&state).unwrap();
    assert_eq!(other.first(HOUR, 1.0).unwrap().0, 7);

    let mut early = Bench::new("{}");
    early.test.restart_from(&state).unwrap();
    assert_eq!(early.first(HOUR, 1.0).unwrap().0, 7);
}

/// Scenario: two services, one of which fails, then is well for longer than the windows. Guarantees: they have nothing to do with each
/// other; a series that spends nothing keeps no buckets, also after it once did.
#[test]
fn memory_follows_failures() {
    let mut bench = Bench::new("{}");
    let other = bench.test.add("salve.span.error_ratio", &[("service.name", "web")], None);
    let bytes = |bench: &Bench| bench.test.snapshot().unwrap().bytes.len();
    for _ in 0..HOUR {
        assert_eq!(bench.test.push(&[(bench.id, 0.0), (other, 0.0)]).unwrap(), []);
    }
    let healthy = bytes(&bench);
    assert_eq!(healthy, 4 + 2 * 16 + 2 * 28);
    for _ in 0..HOUR {
        let observed = bench.test.push(&[(bench.id, 0.5), (other, 0.0)]).unwrap();
        assert!(observed.iter().all(|seen| seen.series == bench.id));
    }
    assert_eq!(bytes(&bench), healthy + 2 * 61 * 8);
    for _ in 0..7 * HOUR {
        bench.test.push(&[(bench.id, 0.0), (other, 0.0)]).unwrap();
    }
    assert_eq!(bytes(&bench), healthy);
}

/// Scenario: ratios from a fixed seed. Guarantees: what a window holds is what adding up all its points gives, but for the bucket that
/// is leaving it.
#[test]
fn windows_are_what_adding_up_gives() {
    let parameters = Parameters::default();
    let windows = Windows::new(&parameters);
    let mut budget = Budget::default();
    let (mut seed, mut points) = (1_u64, Vec::new());
    let mut random = || {
        seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (seed >> 33) as f64 / f64::from(1_u32 << 31)
    };
    let mut now_s = 1_800_000_000.0_f64;
    for _ in 0..5_000 {
        let step_s = (1.0 + random() * 20.0).floor();
        let ratio = if random() < 0.05 { random() } else { 0.0 };
        now_s += step_s;
        budget.take(&windows, (now_s * 1e9) as u64, (now_s * 1e9) as u64, ratio, points.is_empty());
        points.push((now_s, if points.is_empty() { 0.0 } else { ratio * step_s }));
        let spent_since = |window_s: f64| -> f64 {
            points.iter().rev().take_while(|(time, _)| *time > now_s - window_s).map(|(_, spent)| spent).sum()
        };
        let standing = budget.standing(&windows);
        for (ratio, window_s) in
            [(standing.long_ratio, standing.windows_s.0), (standing.short_ratio, standing.windows_s.1)]
        {
            let bucket_s = standing.windows_s.1 / 5.0;
            let (least, most) = (spent_since(window_s - bucket_s), spent_since(window_s + bucket_s));
            let spent = ratio * window_s;
            assert!(least - 1e-3 <= spent && spent <= most + 1e-3, "{least} {spent} {most}");
        }
    }
}

/// Guarantees: parameters that make no sense are refused, each with what would.
#[test]
fn parameters_that_make_no_sense() {
    let refused = |parameters: &str| DetectorTest::<BurnRate>::new(parameters).err().unwrap();
    let rule = |long_ms: u64, short_ms: u64, burn_rate: f64| {
        refused(&format!(
            r#"{{"objective":0.9,"rules":[{{"long_ms":{long_ms},"short_ms":{short_ms},"burn_rate":{burn_rate}}}]}}"#
        ))
    };
    assert_eq!(refused(r#"{"objective":1}"#), "`objective` is 1; it must be from 0.5 to 0.999999");
    assert_eq!(refused(r#"{"rules":[]}"#), "there are 0 `rules`; take 1 to 4");
    for (long_ms, short_ms) in [(3_600_000, 7_000), (1_000, 1_000), (1_000, 0), (1_010, 10), (0, 0)] {
        assert!(rule(long_ms, short_ms, 1.0).contains("2 to 100 whole short ones"), "{long_ms} {short_ms}");
    }
    assert_eq!(
        rule(3_600_000, 300_000, 14.4),
        "`rules[0]`: `burn_rate` is 14.4; even if all requests fail, a budget of 0.100000 burns at 10.0000 only"
    );
    assert!(refused(r#"{"objektive":0.9}"#).contains("objektive"));
}
