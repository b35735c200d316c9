//! What is left after all attacks.

use crate::{
    arena::{Arena, PASSWORD, PERSON, SECRET, SENDER, STRANGER, VARIABLE},
    attack::Attack,
};
use anyhow::{Result, ensure};
use std::sync::{PoisonError, atomic::Ordering::Relaxed};

/// More than this is not left over, in bytes: caches of the allocator, incidents and series that the attacks made.
const LEFT_OVER_MAX: u64 = 80 << 20;

type Check = fn(&Arena, &[Attack]) -> Result<()>;

/// What must hold in the end, in this order.
pub fn checks() -> Vec<(&'static str, Check)> {
    vec![
        ("no_export_was_lost", no_export_was_lost),
        ("nothing_was_reached", nothing_was_reached),
        ("no_secret_was_told", no_secret_was_told),
        ("nothing_panicked", nothing_panicked),
        ("ledger_is_intact", ledger_is_intact),
        ("still_heals_and_keeps_no_memory", still_heals_and_keeps_no_memory),
    ]
}

fn no_export_was_lost(arena: &Arena, _: &[Attack]) -> Result<()> {
    let load = &arena.load;
    let (lost, refused) = (load.lost.load(Relaxed), load.refused.load(Relaxed));
    println!("{} exports, {} points", load.exports.load(Relaxed), load.points.load(Relaxed));
    ensure!(
        load.exports.load(Relaxed) > 10 && lost == 0 && refused == 0,
        "{lost} exports lost, {refused} points refused"
    );
    Ok(())
}

fn nothing_was_reached(arena: &Arena, attacks: &[Attack]) -> Result<()> {
    ensure!(arena.forbidden.1.load(Relaxed) == 0, "somebody came to where nobody may come");
    ensure!(std::path::Path::new(&format!("/proc/{}", arena.bystander)).exists(), "the bystander is gone");
    for (name, expected) in attacks.iter().filter_map(Attack::victim) {
        let found = std::fs::read_to_string(arena.daemon.path(&name))?;
        // Not attacked in this run, perhaps.
        ensure!(found == expected || found == crate::arena::VICTIM, "{name} is now:\n{found}");
    }
    for request in arena.nasty.1.lock().unwrap_or_else(PoisonError::into_inner).iter() {
        let line = request.lines().next().unwrap_or_default();
        ensure!(
            line.starts_with("GET /api/") || line.starts_with("POST /api/hook "),
            "the server was asked: {line}"
        );
        ensure!(!request.to_ascii_lowercase().contains("x-admin"), "a header came through:\n{request}");
    }
    ensure!(!std::path::Path::new("/tmp/salve-owned").exists());
    Ok(())
}

fn no_secret_was_told(arena: &Arena, _: &[Attack]) -> Result<()> {
    let ledger =
        String::from_utf8(arena.daemon.salve(&["ledger", "show", "--json", "--limit", "1000000"])?.stdout)?;
    for (place, text) in [("log", arena.daemon.log()), ("ledger", ledger)] {
        for secret in [SECRET.trim_start_matches("Bearer "), VARIABLE, SENDER, STRANGER, PASSWORD, PERSON] {
            ensure!(!text.contains(secret), "`{secret}` stands in the {place}");
        }
        ensure!(!text.contains(['\u{1b}', '\u{202e}', '\u{7}']), "the {place} has control characters");
    }
    Ok(())
}

fn nothing_panicked(arena: &Arena, _: &[Attack]) -> Result<()> {
    let log = arena.daemon.log();
    let panic = log.lines().find(|line| line.contains("panicked"));
    ensure!(panic.is_none(), "{panic:?}");
    Ok(())
}

fn ledger_is_intact(arena: &Arena, _: &[Attack]) -> Result<()> {
    let report = arena.daemon.json(&["ledger", "verify", "--json"])?;
    ensure!(report["first_bad"].is_null(), "{report}");
    Ok(())
}

/// What settles is an event: the attackers' plugins are gone, and `control` was healed again after that.
fn still_heals_and_keeps_no_memory(arena: &Arena, attacks: &[Attack]) -> Result<()> {
    for name in attacks.iter().filter_map(Attack::plugin) {
        arena.remove_plugin(name)?;
    }
    arena.wait("all attackers are gone", || {
        Ok(attacks.iter().filter_map(Attack::plugin).all(|name| arena.is_unloaded(name)))
    })?;
    arena.control_goes_on()?;
    let bound = arena.rss_before + LEFT_OVER_MAX;
    let settled = arena.wait("memory is given back", || Ok(arena.rss()? <= bound));
    println!("resident before: {} MiB, now {} MiB", arena.rss_before >> 20, arena.rss()? >> 20);
    settled
}
