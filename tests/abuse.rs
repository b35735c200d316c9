//! Abuse: everything that strangers may try, against one daemon under OTLP load.
//!
//! Each attack is a test of its own, by name. For each: it ends within its limits, it can be seen (ledger, log,
//! `salve plugin list`), and `control`, a service that is broken and healed all the while, is healed during it. After the
//! attacks a second list of tests looks at what is left: no export was lost, nothing was reached that was not granted, no
//! memory is kept, the ledger is intact, and the daemon still heals.
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
#[path = "abuse/senders.rs"]
mod senders;
#[path = "abuse/server.rs"]
mod server;
#[path = "abuse/traces_left.rs"]
mod traces_left;
#[path = "abuse/trust.rs"]
mod trust;

use arena::Arena;
use attack::Attack;
use libtest_mimic::{Arguments, Failed, Trial};
use std::sync::{Arc, OnceLock};

/// Attacks under way at one time. More would be kinder to the clock and harder to read.
const AT_ONCE: usize = 4;

fn main() {
    let mut arguments = Arguments::from_args();
    arguments.test_threads.get_or_insert(AT_ONCE);
    let attacks: Arc<Vec<Attack>> = Arc::new(
        [
            loading::attacks(),
            detectors::attacks(),
            agents::attacks(),
            actions::attacks(),
            network::attacks(),
            senders::attacks(),
            trust::attacks(),
            fairness::attacks(),
            operator::attacks(),
        ]
        .into_iter()
        .flatten()
        .collect(),
    );
    let arena: Arc<OnceLock<Result<Arena, String>>> = Arc::default();
    let trial = |index: usize| {
        let (attacks, arena) = (attacks.clone(), arena.clone());
        Trial::test(attacks[index].name.clone(), move || {
            let started = arena.get_or_init(|| Arena::start(&attacks).map_err(|error| format!("{error:#}")));
            let arena = started
                .as_ref()
                .map_err(|error| Failed::from(format!("the daemon did not start: {error}")))?;
            attacks[index].run(arena).map_err(|error| Failed::from(format!("{error:#}")))
        })
    };
    // Those on what all others share come last, one by one.
    let (alone, together): (Vec<usize>, Vec<usize>) =
        (0..attacks.len()).partition(|index| attacks[*index].is_alone());
    let conclusion = libtest_mimic::run(&arguments, together.into_iter().map(trial).collect());
    let one_by_one = Arguments { test_threads: Some(1), ..arguments.clone() };
    let conclusion_alone = libtest_mimic::run(&one_by_one, alone.into_iter().map(trial).collect());

    // Only what was started can have left something.
    let Some(Ok(arena)) = Arc::into_inner(arena).and_then(OnceLock::into_inner) else {
        conclusion.exit_if_failed();
        conclusion_alone.exit();
    };
    let arena = Arc::new(arena);
    let after = Arguments { filter: None, exact: false, test_threads: Some(1), ..arguments };
    let checks = traces_left::checks().into_iter().map(|(name, check)| {
        let (arena, attacks) = (arena.clone(), attacks.clone());
        Trial::test(format!("afterwards::{name}"), move || {
            check(&arena, &attacks).map_err(|error| Failed::from(format!("{error:#}")))
        })
    });
    let last = libtest_mimic::run(&after, checks.collect());
    drop(arena);
    conclusion.exit_if_failed();
    conclusion_alone.exit_if_failed();
    last.exit();
}
