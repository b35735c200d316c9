//! State by series, snapshots, columns.

use proptest::prelude::*;
use salve_plugin::{
    codec::{Reader, Writer},
    prelude::*,
    series::{Persist, SeriesTable, WAIT_NS, identity},
    testing::DetectorTest,
};

fn series(id: u32, name: &str, attributes: &[(&str, &str)]) -> Series {
    let attributes = attributes.iter().map(|(key, value)| ((*key).into(), (*value).into())).collect();
    Series { id, name: name.into(), unit: "1".into(), group: 0, limit: None, attributes }
}

fn batch(now: u64, added: Vec<Series>, removed: Vec<u32>) -> Batch {
    Batch {
        sequence: 0,
        now,
        added,
        removed,
        series: vec![],
        offsets: vec![0],
        times: vec![],
        values: vec![],
        point_flags: vec![],
        scores: false,
    }
}

#[derive(Debug, Clone, PartialEq)]
struct Count(u64);

impl Persist for Count {
    fn write(&self, to: &mut Writer) {
        to.u64(self.0);
    }

    fn read(from: &mut Reader<'_>) -> Result<Self, String> {
        from.u64().map(Count)
    }
}

fn update(table: &mut SeriesTable<Count>, batch: &Batch) {
    table.update(batch, |_| Count(0), |_, _| {});
}

/// Guarantees: a series is the same whatever the order of its attributes, and another one if anything differs, also where
/// texts run into each other.
#[test]
fn identity_is_of_the_whole() {
    let base = identity(&series(1, "a", &[("x", "1"), ("y", "2")]));
    assert_eq!(identity(&series(2, "a", &[("y", "2"), ("x", "1")])), base);
    for other in [
        series(1, "b", &[("x", "1"), ("y", "2")]),
        series(1, "a", &[("x", "2"), ("y", "1")]),
        series(1, "a", &[("x", "1")]),
        series(1, "a", &[("x1", ""), ("y", "2")]),
        series(1, "ax", &[("", "1"), ("y", "2")]),
    ] {
        assert_ne!(identity(&other), base, "{other:?}");
    }
}

/// Scenario: an id is removed and given to another series in the same batch. Guarantees: it begins anew.
#[test]
fn ids_are_reused() {
    let mut table = SeriesTable::default();
    update(&mut table, &batch(0, vec![series(0, "a", &[]), series(3, "b", &[])], vec![]));
    assert_eq!(table.len(), 2);
    *table.get_mut(0).unwrap() = Count(5);
    update(&mut table, &batch(1, vec![series(0, "c", &[])], vec![0, 99]));
    assert_eq!((table.get(0), table.get(1), table.get(3)), (Some(&Count(0)), None, Some(&Count(0))));
}

/// Scenario: a restart after which the host numbers the series anew, and some come later or never. Guarantees: each finds
/// its own state; a snapshot in between keeps those that still wait; they wait for an hour.
#[test]
fn restored_states_find_their_series() {
    let mut table = SeriesTable::default();
    update(
        &mut table,
        &batch(0, vec![series(0, "a", &[]), series(1, "b", &[]), series(2, "c", &[])], vec![]),
    );
    for id in 0..3 {
        *table.get_mut(id).unwrap() = Count(10 + u64::from(id));
    }
    let again = |table: &SeriesTable<Count>| {
        let mut to = Writer::new();
        table.write(&mut to);
        let mut fresh = SeriesTable::default();
        fresh.read(&mut Reader::new(&to.into_bytes())).unwrap();
        fresh
    };
    let mut table = again(&table);
    update(&mut table, &batch(0, vec![series(0, "c", &[])], vec![]));
    assert_eq!(table.get(0), Some(&Count(12)));
    let mut table = again(&table);
    update(&mut table, &batch(0, vec![series(7, "b", &[]), series(1, "c", &[])], vec![]));
    assert_eq!((table.get(7), table.get(1)), (Some(&Count(11)), Some(&Count(12))));
    update(&mut table, &batch(WAIT_NS + 1, vec![], vec![]));
    update(&mut table, &batch(WAIT_NS + 2, vec![series(2, "a", &[])], vec![]));
    assert_eq!(table.get(2), Some(&Count(0)), "too late");
}

proptest! {
    /// Guarantees: whatever bytes are restored, reading ends without a panic, and a refused snapshot changes nothing.
    #[test]
    fn any_bytes_can_be_read(bytes in any::<Vec<u8>>()) {
        let mut table: SeriesTable<Count> = SeriesTable::default();
        update(&mut table, &batch(0, vec![series(0, "a", &[])], vec![]));
        let whole = bytes.len() % 16 == 0;
        prop_assert_eq!(table.read(&mut Reader::new(&bytes)).is_ok(), whole);
        prop_assert_eq!(table.get(0), Some(&Count(0)));
    }

    /// Guarantees: numbers come back as they were written, and NaN is not taken for a number.
    #[test]
    fn numbers_come_back(a in any::<u8>(), b in any::<u16>(), c in any::<u32>(), d in any::<u64>(), e in any::<f64>()) {
        let mut to = Writer::new();
        to.u8(a);
        to.u16(b);
        to.u32(c);
        to.u64(d);
        to.f64(e);
        let bytes = to.into_bytes();
        let mut from = Reader::new(&bytes);
        prop_assert_eq!((from.u8(), from.u16(), from.u32(), from.u64()), (Ok(a), Ok(b), Ok(c), Ok(d)));
        prop_assert_eq!(from.finite().is_ok(), e.is_finite());
        prop_assert!(from.u8().is_err());
    }
}

/// Guarantees: columns that do not fit together are refused before anything is indexed by them.
#[test]
fn broken_columns_are_refused() {
    let good = Batch {
        series: vec![4, 2],
        offsets: vec![0, 2, 3],
        times: vec![1, 2, 3],
        values: vec![1.0; 3],
        point_flags: vec![0; 3],
        ..batch(0, vec![], vec![])
    };
    let parts: Vec<_> = good.by_series().unwrap().map(|part| (part.series, part.points)).collect();
    assert_eq!(parts, [(4, 0..2), (2, 2..3)]);
    for broken in [
        Batch { times: vec![1, 2], ..good.clone() },
        Batch { point_flags: vec![], ..good.clone() },
        Batch { offsets: vec![0, 2], ..good.clone() },
        Batch { offsets: vec![0, 2, 4], ..good.clone() },
        Batch { offsets: vec![0, 4, 3], ..good.clone() },
        Batch { offsets: vec![], ..good.clone() },
    ] {
        assert!(broken.by_series().is_err(), "{broken:?}");
    }
}

/// A detector that observes nothing and counts batches.
struct Idle(u32);

#[derive(serde::Deserialize)]
struct Start {
    start: u32,
}

impl Detector for Idle {
    type Parameters = Start;

    fn new(parameters: Start) -> Result<Self, String> {
        Ok(Self(parameters.start))
    }

    fn observe(&mut self, batch: &Batch) -> Result<Output, String> {
        self.0 += 1;
        assert_eq!(u64::from(self.0), batch.sequence + 1);
        Ok(Output { observations: Vec::new(), scores: None })
    }

    fn snapshot(&self) -> State {
        State { format: self.0, bytes: Vec::new() }
    }

    fn restore(&mut self, state: &State) -> Result<(), String> {
        self.0 = state.format;
        Ok(())
    }
}

/// Scenario: configure, two batches, snapshot, restart, one batch. Guarantees: sequence and state go on.
#[test]
fn the_test_bench_keeps_the_order_of_calls() {
    assert!(DetectorTest::<Idle>::new("{}").is_err_and(|reason| reason.contains("missing field `start`")));
    let mut test = DetectorTest::<Idle>::new(r#"{"start":0}"#).unwrap();
    test.push(&[]).unwrap();
    test.push(&[]).unwrap();
    let state = test.snapshot().unwrap();
    test.restart_from(&state).unwrap();
    test.push(&[]).unwrap();
    assert_eq!(test.snapshot().unwrap().format, 3);
}
