//! What stays private: values of attributes that the operator names, and what was erased.

use crate::{
    arena::{Arena, PERSON},
    attack::Attack,
};
use anyhow::{Context, Result, ensure};
use serde_json::Value;
use std::process::Output;

/// An incident of `control` that is over.
fn closed(arena: &Arena) -> Result<String> {
    let list = arena.daemon.json(&["incident", "list", "--json"])?;
    let is_over = |incident: &&Value| {
        incident["services"][0] == "control"
            && incident["tenant"] == "default"
            && !incident["closed"].is_null()
    };
    let found = list.as_array().into_iter().flatten().find(is_over).context("none is over")?;
    Ok(found["id"].as_str().context("no id")?.to_owned())
}

fn entries(text: &str) -> Result<Vec<Value>> {
    Ok(text.lines().map(serde_json::from_str).collect::<Result<_, _>>()?)
}

fn said(output: &Output) -> String {
    let text = [output.stdout.clone(), output.stderr.clone()].concat();
    String::from_utf8_lossy(&text).into_owned()
}

/// The load says a person's name on each resource and address on points; the ledger has incidents about them.
fn attributes(arena: &Arena) -> Result<()> {
    let id = closed(arena)?;
    let ledger = arena.ledger_of(&id)?;
    for name in ["user.name", "user.email"] {
        ensure!(ledger.contains(&format!(r#""{name}":"[redacted]""#)), "`{name}` is missing:\n{ledger}");
    }
    let shown = said(&arena.daemon.salve(&["incident", "show", &id, "--json"])?);
    ensure!(shown.contains("[redacted]"), "{shown}");
    for (place, text) in [("ledger", ledger), ("incident", shown)] {
        ensure!(!text.contains(PERSON), "the person stands in the {place}");
    }
    Ok(())
}

/// Erasing is asked for twice, takes a whole incident with what its writes came to, and the chain still holds.
fn erased(arena: &Arena) -> Result<()> {
    let id = closed(arena)?;
    let erase = |more: &[&str]| {
        let arguments = ["ledger", "erase", "--reason", "a person asked for it"];
        arena.daemon.salve(&[&arguments[..], more].concat())
    };
    let before = entries(&arena.ledger_of(&id)?)?;
    ensure!(before.len() > 5 && before.iter().all(|entry| !entry["payload"].is_null()));
    let unsure = erase(&["--incident", &id])?;
    ensure!(!unsure.status.success() && said(&unsure).contains("--yes"), "{}", said(&unsure));
    let done = erase(&["--incident", &id, "--yes"])?;
    ensure!(done.status.success(), "{}", said(&done));
    ensure!(
        entries(&arena.ledger_of(&id)?)?.iter().all(|entry| entry["payload"].is_null()),
        "some of it is left"
    );

    let all = entries(&said(&arena.daemon.salve(&["ledger", "show", "--json", "--limit", "1000000"])?))?;
    let intents: Vec<&Value> =
        before.iter().filter(|entry| entry["kind"] == "write_intent").map(|entry| &entry["seq"]).collect();
    ensure!(!intents.is_empty(), "it has written nothing");
    let mut results = all.iter().filter(|entry| intents.contains(&&entry["answers"]));
    ensure!(results.all(|entry| entry["payload"].is_null()), "what its writes came to is left");
    let erasures = all.iter().filter(|entry| entry["kind"] == "erasure");
    let says_so =
        erasures.map(|entry| entry["payload"].to_string()).any(|text| text.contains("a person asked for it"));
    ensure!(says_so, "no entry says so");
    let report = arena.daemon.json(&["ledger", "verify", "--json"])?;
    let count = report["erased"].as_u64().unwrap_or_default();
    ensure!(report["first_bad"].is_null() && count >= before.len() as u64, "{report}");

    let again = erase(&["--incident", &id, "--yes"])?;
    ensure!(!again.status.success() && said(&again).contains("nothing was erased"), "{}", said(&again));
    // What Salve needs at its next start.
    let own = all
        .iter()
        .find(|entry| entry["kind"] == "transition" && entry["payload"].to_string().contains("configured"));
    let number = own.context("no configuration is recorded")?["seq"].to_string();
    let refused = erase(&["--entries", &number, "--yes"])?;
    ensure!(
        !refused.status.success() && said(&refused).contains("needed at the next start"),
        "{}",
        said(&refused)
    );
    Ok(())
}

/// Every attack on what is private.
pub fn attacks() -> Vec<Attack> {
    vec![
        Attack::free("privacy::attributes-of-a-person", attributes),
        Attack::free("privacy::erased-incident", erased),
        Attack::free("grants::eight-lines", |arena: &Arena| {
            let shown = arena.daemon.salve(&["plugin", "grants", "set-config"])?;
            let text = said(&shown);
            ensure!(shown.status.success() && text.lines().count() <= 8, "{text}");
            for words in ["sha256", "control", "data goes to", "secrets", "not granted", "unused"] {
                ensure!(text.contains(words), "`{words}` is missing:\n{text}");
            }
            Ok(())
        }),
    ]
}
