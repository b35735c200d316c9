//! Configuration files: sets, secrets, history, change events.

use crate::bench::{Bench, PATIENCE, heal, id, plan, planned, read, set, set_step, spec};
use salve_capabilities::{Brokers, Phase};
use salve_model::{
    call::{CallError, ConfigVersion, Denied, Read, ReadAnswer, Session, Write},
    telemetry::Change,
};
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use tokio::sync::broadcast::Receiver;

async fn history(brokers: &Brokers, target: &str, key: &str) -> Vec<ConfigVersion> {
    let session = brokers.session(spec(&plan("tune", Vec::new()), Phase::Plan));
    match session.read(Read::ConfigHistory { target: id(target), key: key.into() }).await.unwrap() {
        ReadAnswer::ConfigVersions(versions) => versions,
        other => panic!("{other:?}"),
    }
}

async fn get(brokers: &Brokers, target: &str, key: &str) -> Result<Option<String>, CallError> {
    let session = brokers.session(spec(&plan("tune", Vec::new()), Phase::Plan));
    match session.read(Read::ConfigGet { target: id(target), key: key.into() }).await? {
        ReadAnswer::ConfigValue(value) => Ok(value),
        other => panic!("{other:?}"),
    }
}

async fn next(changes: &mut Receiver<Change>) -> Change {
    tokio::time::timeout(PATIENCE, changes.recv()).await.unwrap().unwrap()
}

/// Guarantees: in each format a set changes the one value, keeps everything else to the byte, and keeps mode and owner.
#[tokio::test]
async fn a_set_keeps_everything_else() {
    for (file, text, key, value, expected) in [
        (
            "a.toml",
            "# top\n[pool]\nsize = 8 # per core\n\n[pool.\"x.y\"]\nb = true\n",
            "pool.size",
            "16",
            "# top\n[pool]\nsize = 16 # per core\n\n[pool.\"x.y\"]\nb = true\n",
        ),
        ("b.toml", "a = { b = 'x' , c = 1 }\n", "a.b", "y", "a = { b = \"y\" , c = 1 }\n"),
        ("c.toml", "ratio = 0.5\n", "ratio", "1", "ratio = 1.0\n"),
        (
            "a.json",
            "{\n  // why\n  \"a\": {\"b\": [1, {\"c\": 2}]},\n}\n",
            "a.b.1.c",
            "3",
            "{\n  // why\n  \"a\": {\"b\": [1, {\"c\": 3}]},\n}\n",
        ),
        ("b.json", "{\"a\":\"x\",\"b\":null}", "a", "line\n\"q\"", "{\"a\":\"line\\n\\\"q\\\"\",\"b\":null}"),
        (
            "a.yaml",
            "# top\npool:\n  size: 8   # per core\nlist:\n  - a: x\n    b: 'y'\n",
            "pool.size",
            "16",
            "# top\npool:\n  size: 16   # per core\nlist:\n  - a: x\n    b: 'y'\n",
        ),
        ("b.yaml", "list:\n  - a: x\n    b: 'y'\n", "list.0.b", "no", "list:\n  - a: x\n    b: \"no\"\n"),
        ("c.yaml", "a: {b: on, c: 1.5}\nd: ü\n", "a.c", "2", "a: {b: on, c: 2.0}\nd: ü\n"),
        ("d.yaml", "ü: \"ö\" # ä\nb: x\n", "b", "true", "ü: \"ö\" # ä\nb: \"true\"\n"),
        (
            "a.env",
            "# top\nexport SIZE=8 # per core\nNAME='x y'\n",
            "SIZE",
            "16",
            "# top\nexport SIZE=16 # per core\nNAME='x y'\n",
        ),
        ("b.env", "NAME='x y'\nB=1", "NAME", "$HOME it's", "NAME=\"\\$HOME it's\"\nB=1"),
    ] {
        let mut bench = Bench::new();
        let path = bench.file("shop", file, text);
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o604)).unwrap();
        let brokers = bench.brokers();
        let answer = heal(&brokers, "tune", set_step("shop", key, value), set("shop", key, value)).await;
        assert!(answer.is_ok(), "{file}: {answer:?}");
        assert_eq!(read(&path), expected, "{file}");
        assert_eq!(std::fs::metadata(&path).unwrap().mode() & 0o7777, 0o604, "{file}");
    }
}

/// Guarantees: keys can be removed and come back with their type, in each format.
#[tokio::test]
async fn removes_and_brings_back() {
    for (file, text, without) in [
        ("a.toml", "a = 1\nb = \"5\"\n", "a = 1\n"),
        ("a.json", "{\n  \"a\": 1,\n  \"b\": \"5\"\n}\n", "{\n  \"a\": 1\n}\n"),
        ("b.json", "{\"a\": 1, \"b\": \"5\"}", "{\"a\": 1}"),
        ("a.yaml", "a: 1\nb: \"5\"\n", "a: 1\n"),
        ("b.yaml", "{a: 1, b: \"5\"}\n", "{a: 1}\n"),
        ("a.env", "a=1\nb=5\n", "a=1\n"),
    ] {
        let mut bench = Bench::new();
        let path = bench.file("shop", file, text);
        for granted in &mut bench.config.grants {
            granted.arguments.clear();
        }
        let brokers = bench.brokers();
        let remove = Write::ConfigSet { target: id("shop"), key: "b".into(), value: None };
        let step = crate::bench::raw("config", "set", "shop", r#"{"key":"b","value":null}"#);
        let answer = heal(&brokers, "tune", step, remove).await.unwrap();
        assert_eq!(
            (answer.receipt.before.as_deref(), answer.receipt.after.as_deref()),
            (Some("value=5"), Some("absent"))
        );
        assert_eq!(read(&path), without, "{file}");
        heal(&brokers, "tune", set_step("shop", "b", "5"), set("shop", "b", "5")).await.unwrap();
        assert_eq!(read(&path), text, "{file}");
    }
}

/// Guarantees: a value of another type, a table, a place in a missing table, an aliased value: all refused, nothing
/// written.
#[tokio::test]
async fn refuses_what_would_change_more() {
    for (file, text, key, value) in [
        ("a.toml", "size = 8\n", "size", "many"),
        ("a.toml", "size = 8\n", "size", "8.5"),
        ("a.toml", "size = 8\n", "size", "08"),
        ("a.toml", "on = true\n", "on", "yes"),
        ("a.toml", "[pool]\nsize = 8\n", "pool", "x"),
        ("a.toml", "size = 8\n", "pool.size", "8"),
        ("a.toml", "when = 2020-01-01\n", "when", "2021-01-01"),
        ("a.json", "{\"a\": 1}", "a", "1.5"),
        ("a.yaml", "base: &base 1\ncopy: *base\n", "base", "2"),
        ("a.yaml", "base: &base 1\ncopy: *base\n", "copy", "2"),
        ("a.yaml", "text: |\n  a\n  b\n", "text", "x"),
        ("a.yaml", "a: 1\n---\na: 2\n", "a", "3"),
        ("a.yaml", "a: 1\na: 2\n", "a", "3"),
        ("a.json", "{\"a\": 1, \"a\": 2}", "a", "3"),
        ("a.env", "A=1\nA=2\n", "A", "3"),
        ("a.env", "A=1\n", "A", "x\0y"),
    ] {
        let mut bench = Bench::new();
        let path = bench.file("shop", file, text);
        let brokers = bench.brokers();
        let answer = planned(&brokers, "tune", vec![set_step("shop", key, value)]).await;
        assert!(matches!(answer, Err(CallError::Failed(_))), "{file} {text:?} {key}: {answer:?}");
        assert_eq!(read(&path), text);
    }
}

/// Guarantees: keys that a target does not list can be neither read nor set nor seen.
#[tokio::test]
async fn only_listed_keys() {
    let mut bench = Bench::new();
    bench.file("shop", "a.toml", "[pool]\nsize = 8\n[db]\npassword = \"x\"\n");
    bench.config.targets[0].config.as_mut().unwrap().keys = vec!["pool.*".into()];
    let brokers = bench.brokers();
    assert!(matches!(get(&brokers, "shop", "db.password").await, Err(CallError::NotFound(_))));
    assert!(matches!(get(&brokers, "shop", "db . password").await, Err(CallError::NotFound(_))));
    assert!(matches!(
        planned(&brokers, "tune", vec![set_step("shop", "db.password", "y")]).await,
        Err(CallError::NotFound(_))
    ));
    let session = brokers.session(spec(&plan("tune", Vec::new()), Phase::Plan));
    let keys = session.read(Read::ConfigKeys { target: id("shop") }).await.unwrap();
    assert_eq!(keys, ReadAnswer::ConfigKeys(vec![("pool.size".into(), Some("8".into()))]));
}

/// Guarantees: plugins see handles of secrets, can set a key back to one, and cannot make one up; nothing that leaves the
/// broker holds the secret.
#[tokio::test]
async fn secrets_are_handles() {
    let mut bench = Bench::new();
    let path = bench.file("shop", "a.toml", "secret_token = \"hunter2\"\n");
    let brokers = bench.brokers();
    let mut changes = brokers.changes();
    let old = get(&brokers, "shop", "secret_token").await.unwrap().unwrap();
    assert!(old.starts_with("secret:") && !old.contains("hunter"), "{old}");
    std::fs::write(&path, "secret_token = \"wrong\"\n").unwrap();
    let change = next(&mut changes).await;
    assert_eq!(change.before.as_deref(), Some(old.as_str()));
    assert!(!format!("{change:?}").contains("wrong"));
    for made_up in ["hunter2", "secret:0000000000000000"] {
        let answer = planned(&brokers, "tune", vec![set_step("shop", "secret_token", made_up)]).await;
        assert!(answer.is_err(), "{made_up}");
    }
    let answer =
        heal(&brokers, "tune", set_step("shop", "secret_token", &old), set("shop", "secret_token", &old))
            .await
            .unwrap();
    assert_eq!(read(&path), "secret_token = \"hunter2\"\n");
    let journal = format!("{:?}{:?}{answer:?}", bench.journal.intents.lock().unwrap(), bench.result(1));
    assert!(!journal.contains("hunter2") && !journal.contains("wrong"), "{journal}");
    // Handles last, so a plan that was made before a restart still means the same.
    drop(brokers);
    assert_eq!(get(&bench.brokers(), "shop", "secret_token").await.unwrap(), Some(old));
}

/// Guarantees: each change of a granted key is one event, soon, with its author, however the editor writes; and the last
/// good value stays known, over a restart too.
#[tokio::test]
async fn changes_are_told_once_with_their_author() {
    let mut bench = Bench::new();
    let path = bench.file("shop", "a.toml", "size = 8\nother = 1\n");
    let brokers = bench.brokers();
    let mut changes = brokers.changes();
    std::fs::write(&path, "size = 9\nother = 1\n").unwrap();
    let change = next(&mut changes).await;
    assert_eq!((change.what.as_str(), change.author.as_str()), ("size", "other"));
    assert_eq!((change.before.as_deref(), change.after.as_deref()), (Some("8"), Some("9")));
    assert_eq!((change.service.as_deref(), change.target), (Some("shop"), Some(id("shop"))));

    std::fs::write(path.with_extension("new"), "size = 10\nother = 1\n").unwrap();
    std::fs::rename(path.with_extension("new"), &path).unwrap();
    assert_eq!(next(&mut changes).await.after.as_deref(), Some("10"));

    heal(&brokers, "tune", set_step("shop", "size", "8"), set("shop", "size", "8")).await.unwrap();
    let change = next(&mut changes).await;
    assert_eq!((change.after.as_deref(), change.author.as_str()), (Some("8"), "salve"));

    // The file is written again with the same words: nothing to tell. The next event is the next change.
    std::fs::write(&path, read(&path)).unwrap();
    std::fs::write(&path, "size = 8\nother = 2\n").unwrap();
    assert_eq!(next(&mut changes).await.what, "other");
    drop(brokers);

    std::fs::write(&path, "size = 77\nother = 2\n").unwrap();
    let brokers = bench.brokers();
    let values: Vec<_> =
        history(&brokers, "shop", "size").await.into_iter().map(|version| version.value.unwrap()).collect();
    assert_eq!(values, ["77", "8", "10", "9", "8"]);
}

/// Guarantees: a value is good after its time without an open incident on its target; the value that was in force when
/// the incident began is not.
#[tokio::test]
async fn last_good_is_from_before_the_incident() {
    let mut bench = Bench::new();
    let path = bench.file("shop", "a.toml", "size = 8\n");
    let brokers = bench.brokers();
    let mut changes = brokers.changes();
    assert!(history(&brokers, "shop", "size").await[0].good);
    brokers.incident_opened(&[id("shop")], u64::MAX);
    std::fs::write(&path, "size = 9\n").unwrap();
    next(&mut changes).await;
    let good =
        |versions: Vec<ConfigVersion>| versions.into_iter().map(|version| version.good).collect::<Vec<_>>();
    assert_eq!(good(history(&brokers, "shop", "size").await), [false, true]);
    brokers.incident_closed(&[id("shop")]);
    assert_eq!(good(history(&brokers, "shop", "size").await), [true, true]);
}

/// Guarantees: a file that cannot be read any more is told as a change, and values stay as they were known.
#[tokio::test]
async fn a_broken_file_is_a_change() {
    let mut bench = Bench::new();
    bench.config.config_recheck_ms = 20;
    let path = bench.file("shop", "a.toml", "size = 8\n");
    let brokers = bench.brokers();
    let mut changes = brokers.changes();
    std::fs::write(&path, "size = = 8\n").unwrap();
    let change = next(&mut changes).await;
    assert_eq!(change.what, "(file)");
    assert!(matches!(get(&brokers, "shop", "size").await, Err(CallError::Failed(_))));
    std::fs::write(&path, "size = 9\n").unwrap();
    let change = next(&mut changes).await;
    assert_eq!((change.before.as_deref(), change.after.as_deref()), (Some("8"), Some("9")));
}

/// Guarantees: a link in the file's place is not followed, neither for reading nor for writing.
#[tokio::test]
async fn links_are_not_followed() {
    let mut bench = Bench::new();
    let path = bench.file("shop", "a.toml", "size = 8\n");
    let brokers = bench.brokers();
    let made = planned(&brokers, "tune", vec![set_step("shop", "size", "16")]).await.unwrap();
    let victim = bench.path("victim.toml");
    std::fs::write(&victim, "size = 8\n").unwrap();
    std::fs::remove_file(&path).unwrap();
    symlink(&victim, &path).unwrap();
    let never = |error: CallError| matches!(error, CallError::Denied(Denied::Never(why)) if why.contains("symbolic link"));
    assert!(never(get(&brokers, "shop", "size").await.unwrap_err()));
    assert!(never(
        crate::bench::execute(&brokers, &made).write(set("shop", "size", "16")).await.unwrap_err()
    ));
    assert_eq!(bench.journal.refusals.lock().unwrap().len(), 2);
    assert_eq!(read(&victim), "size = 8\n");
}

/// Guarantees: Salve's own files cannot become targets.
#[tokio::test]
async fn salves_own_files_are_no_targets() {
    let mut bench = Bench::new();
    bench.file("shop", "a.toml", "size = 8\n");
    for own in ["salve.toml", "state/process/shop.json", "paused"] {
        let mut config = bench.config.clone();
        let target = config.targets[0].config.as_mut().unwrap();
        target.file = bench.path(own);
        target.format = Some(salve_capabilities::ConfigFormat::Json);
        std::fs::create_dir_all(target.file.parent().unwrap()).unwrap();
        let error = Brokers::new(config, bench.journal.clone()).err().unwrap();
        let source = std::error::Error::source(&error).unwrap().to_string();
        assert!(source.contains("Salve's own"), "{source}");
    }
}

/// Guarantees: before a set, what was read lies in a back-up of mode 0600; back-ups are bounded.
#[tokio::test]
async fn backs_up_elsewhere() {
    let mut bench = Bench::new();
    bench.config.config_backups_max = 2;
    let path = bench.file("shop", "a.toml", "size = 1\n");
    let brokers = bench.brokers();
    for size in ["2", "3", "4"] {
        heal(&brokers, "tune", set_step("shop", "size", size), set("shop", "size", size)).await.unwrap();
    }
    let mut backups: Vec<_> = std::fs::read_dir(bench.path("state/backups/shop"))
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .collect();
    backups.sort();
    assert_eq!(backups.iter().map(|path| read(path)).collect::<Vec<_>>(), ["size = 2\n", "size = 3\n"]);
    assert!(backups.iter().all(|path| std::fs::metadata(path).unwrap().mode() & 0o777 == 0o600));
    assert_eq!(std::fs::read_dir(path.parent().unwrap()).unwrap().count(), 1, "nothing lies beside the file");
}

/// Guarantees: the denial of a key outside of the grant's bound names the key.
#[tokio::test]
async fn a_grant_bounds_keys() {
    let mut bench = Bench::new();
    bench.file("shop", "a.toml", "size = 1\nother = 1\n");
    let bound = salve_model::grant::Bound { one_of: Some(vec!["size".into()]), ..Default::default() };
    bench.config.grants[0].arguments.insert("key".into(), bound);
    let brokers = bench.brokers();
    assert_eq!(get(&brokers, "shop", "size").await.unwrap().as_deref(), Some("1"));
    let Err(CallError::Denied(Denied::NotGranted(toml))) = get(&brokers, "shop", "other").await else {
        panic!()
    };
    assert!(toml.contains("arguments.key = { one_of = [\"other\"] }"), "{toml}");
    let session = brokers.session(spec(&plan("tune", Vec::new()), Phase::Plan));
    let keys = session.read(Read::ConfigKeys { target: id("shop") }).await.unwrap();
    assert_eq!(keys, ReadAnswer::ConfigKeys(vec![("size".into(), Some("1".into()))]));
}
