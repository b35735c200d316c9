//! What `docs/` tells plugin authors is so.

use salve_plugins::{CapabilityRequest, LimitSettings, Manifest, SERVED};
use serde::de::DeserializeOwned;
use std::collections::BTreeSet;

/// Rows of the first table after `heading`, as cells without backticks.
fn table(text: &str, heading: &str) -> Vec<Vec<String>> {
    let (_, part) = text.split_once(heading).unwrap();
    let rows = part.lines().skip_while(|line| !line.starts_with("|---")).skip(1);
    let cells = |row: &str| row.split('|').skip(1).map(|cell| cell.trim().replace('`', "")).collect();
    rows.take_while(|line| line.starts_with('|')).map(cells).collect()
}

/// The keys of a form, as its parser says when it sees another.
fn keys<T: DeserializeOwned>() -> Vec<String> {
    let error = serde_json::from_str::<T>(r#"{"nobodys": 1}"#).err().unwrap().to_string();
    let (_, known) = error.split_once("unknown field `nobodys`, expected").unwrap();
    known.split('`').skip(1).step_by(2).map(String::from).collect()
}

/// Guarantees: the table of the manifest has each key that there is, limits and capabilities included, and no other.
#[test]
fn manifest_table_is_whole() {
    let text = include_str!("../../../docs/authoring.md");
    let shown: BTreeSet<String> =
        table(text, "\n## The manifest").into_iter().map(|cells| cells[0].clone()).collect();
    let plain =
        keys::<Manifest>().into_iter().filter(|key| !["capabilities", "limits"].contains(&key.as_str()));
    let capabilities = keys::<CapabilityRequest>().into_iter().map(|key| format!("capabilities.{key}"));
    let limits = LimitSettings::NAMES.iter().map(|name| format!("limits.{name}"));
    assert_eq!(shown, plain.chain(capabilities).chain(limits).collect());
}

/// Guarantees: the compatibility table ends with this version of Salve, its SDKs, and the contracts that it serves.
#[test]
fn compatibility_table_is_so() {
    let rows = table(include_str!("../../../docs/compatibility.md"), "# Which Salve");
    let newest = rows.last().unwrap();
    let version = env!("CARGO_PKG_VERSION");
    assert_eq!(newest[..2], [version.to_owned(), SERVED.join(", ")]);
    assert!(newest[2].ends_with(version), "{newest:?}");
    let quoted = format!("\"{version}\"");
    for (file, line) in [
        (include_str!("../../../sdk/js/package.json"), format!("\"version\": {quoted}")),
        (include_str!("../../../sdk/python/pyproject.toml"), format!("version = {quoted}")),
    ] {
        assert!(file.contains(&line), "another version than {quoted}: {file}");
    }
}
