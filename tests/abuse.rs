//! Abuse: everything that strangers may try, against one daemon under OTLP load.
//!
//! Each attack is a test of its own, by name. For each: it ends within its limits, it can be seen (ledger, log,
//! `salve plugin list`), and `control`, a service that is broken and healed all the while, is healed during it. After the
//! attacks a second list of tests looks at what is left: no export was lost, nothing was reached that was not granted, no
//! memory is kept, the ledger is intact, and the daemon still heals. A second, smaller round is the same against a daemon that
//! is not for development.
//!
//! `cargo test -p salve-tests --test abuse -- NAME` runs single attacks; `--list` names them.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    unreachable_pub,
    reason = "a test that cannot go on has failed, and a test program has no outside"
)]

#[path = "abuse/actions.rs"]
mod actions;
#[path = "abuse/agents.rs"]
mod agents;
#[path = "abuse/arena.rs"]
mod arena;
#[path = "abuse/attack.rs"]
mod attack;
#[path = "abuse/detectors.rs"]
mod detectors;
#[path = "abuse/fairness.rs"]
mod fairness;
#[path = "abuse/guest.rs"]
mod guest;
#[path = "abuse/loading.rs"]
mod loading;
#[path = "abuse/network.rs"]
mod network;
#[path = "abuse/operator.rs"]
mod operator;
#[path = "abuse/privacy.rs"]
mod privacy;
#[path = "abuse/senders.rs"]
mod senders;
#[path = "abuse/server.rs"]
mod server;
#[path = "abuse/strict.rs"]
mod strict;
#[path = "abuse/systems.rs"]
mod systems;
#[path = "abuse/themes.rs"]
mod themes;
#[path = "abuse/traces_left.rs"]
mod traces_left;
#[path = "abuse/trust.rs"]
mod trust;

use arena::Arena;
use attack::Attack;
use libtest_mimic::{Arguments, Conclusion, Failed, Trial};
use std::sync::{Arc, OnceLock};

/// Attacks under way at one time: two cores are then busy for two thirds of it. More would be harder to read.
const AT_ONCE: usize = 6;

fn main() {
    let mut arguments = Arguments::from_args();
    arguments.test_threads.get_or_insert(AT_ONCE);
    let mut conclusions = all_on_one(&arguments, themes::attacks(), true);
    conclusions.extend(all_on_one(&arguments, strict::attacks(), false));
    conclusions.iter().for_each(Conclusion::exit_if_failed);
}

/// Carries out attacks on a daemon of their own, where unsigned plugins load (`dev`) or do not.
fn all_on_one(arguments: &Arguments, attacks: Vec<Attack>, dev: bool) -> Vec<Conclusion> {
    let attacks = Arc::new(attacks);
    let arena: Arc<OnceLock<Result<Arena, String>>> = Arc::default();
    let trial = |index: usize| {
        let (attacks, arena) = (attacks.clone(), arena.clone());
        Trial::test(attacks[index].name.clone(), move || {
            let start = || Arena::start(&attacks, dev).map_err(|error| format!("{error:#}"));
            let arena = arena
                .get_or_init(start)
                .as_ref()
                .map_err(|error| Failed::from(format!("the daemon did not start: {error}")))?;
            attacks[index].run(arena).map_err(|error| Failed::from(format!("{error:#}")))
        })
    };
    // Those on what all others share come last, one by one.
    let (alone, together): (Vec<usize>, Vec<usize>) =
        (0..attacks.len()).partition(|index| attacks[*index].is_alone());
    let one_by_one = Arguments { test_threads: Some(1), ..arguments.clone() };
    let mut conclusions = vec![
        libtest_mimic::run(arguments, together.into_iter().map(trial).collect()),
        libtest_mimic::run(&one_by_one, alone.into_iter().map(trial).collect()),
    ];
    // Only what was started can have left something.
    if let Some(Ok(arena)) = Arc::into_inner(arena).and_then(OnceLock::into_inner) {
        let arena = Arc::new(arena);
        let checks = traces_left::checks().into_iter().map(|(name, check)| {
            let (arena, attacks) = (arena.clone(), attacks.clone());
            Trial::test(format!("afterwards::{name}"), move || {
                check(&arena, &attacks).map_err(|error| Failed::from(format!("{error:#}")))
            })
        });
        let after = Arguments { filter: None, exact: false, ..one_by_one };
        conclusions.push(libtest_mimic::run(&after, checks.collect()));
    }
    conclusions
}
