//! The policies that ship.

/// Guarantees: the shipped policies load, each one has tests, and all of them pass.
#[test]
fn shipped_policies_pass_their_tests() {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/../../policies");
    let report = salve_policy::test(folder).unwrap();
    let failures: Vec<_> = report.tests.iter().filter(|test| test.failure.is_some()).collect();
    assert!(failures.is_empty(), "{failures:#?}");
    assert!(report.passed() >= 13, "only {} tests", report.passed());
    assert_eq!(report.untested, [""; 0]);
}
