//! What the random driver of the properties can do.

use proptest::prelude::*;
use salve_model::{incident::Verdict, mode::Mode};

pub(super) const SERVICES: [&str; 4] = ["gateway", "checkout", "inventory", "mail"];
pub(super) const SIGNALS: [&str; 2] = ["errors", "duration"];
pub(super) const MODES: [Mode; 4] = [Mode::Observe, Mode::Shadow, Mode::Approve, Mode::Act];
pub(super) const VERDICTS: [Verdict; 4] = [Verdict::Act, Verdict::Ask, Verdict::Wait, Verdict::Never];

/// A plugin, when a version of it fell, and which one answers: a number, and whether it stands in.
pub(super) type Told = (usize, u64, Option<(usize, bool)>);

/// One thing that the random driver does.
#[derive(Debug, Clone)]
pub(super) enum Move {
    /// Time passes; at times it seems to go backwards.
    Pass(i64),
    Observe {
        service: usize,
        signal: usize,
        time: u64,
        kind: bool,
        score: f32,
    },
    /// Points for all series of a service and all expectations.
    Measure {
        service: usize,
        time: u64,
        abnormal: bool,
        value: f64,
    },
    /// A few seconds in which all is well.
    Quiet,
    /// Answers the open question at this place, well or badly.
    Answer {
        which: usize,
        how: usize,
        proposals: Vec<(usize, bool, usize)>,
    },
    /// Answers a question that may not be open.
    Nonsense {
        incident: u64,
        request: u64,
        kind: usize,
    },
    /// A person's answer to the newest plan, or to one that somebody saw earlier.
    Approve {
        incident: u64,
        late: u32,
        yes: bool,
    },
    /// A person wants the newest remedy of an incident taken back.
    UndoAsked {
        incident: u64,
    },
    Pause,
    Resume,
    Mode(usize),
    Edges(Vec<(usize, usize)>),
    /// How plugins stand: which, what fell when, and what answers, perhaps only standing in.
    Plugins(Vec<Told>),
    Acknowledge {
        incident: u64,
    },
    Crash,
}

pub(super) fn moves() -> impl Strategy<Value = Move> {
    let score = prop_oneof![6 => Just(0.9_f32), 1 => Just(0.3), 1 => Just(f32::NAN)];
    let value = prop_oneof![6 => Just(0.0), 2 => Just(0.5), 1 => Just(f64::NAN)];
    let proposals = prop::collection::vec((0..VERDICTS.len(), any::<bool>(), 0..SERVICES.len()), 0..4);
    prop_oneof![
        8 => prop_oneof![8 => 0..1_500_i64, 2 => 0..15_000_i64, 1 => -5_000..0_i64].prop_map(Move::Pass),
        8 => (0..SERVICES.len(), 0..SIGNALS.len(), 0..40_u64, prop::bool::weighted(0.2), score)
            .prop_map(|(service, signal, time, kind, score)| Move::Observe { service, signal, time, kind, score }),
        8 => (0..SERVICES.len(), 0..40_u64, prop::bool::weighted(0.3), value)
            .prop_map(|(service, time, abnormal, value)| Move::Measure { service, time, abnormal, value }),
        1 => Just(Move::Quiet),
        20 => (any::<usize>(), 0..12_usize, proposals)
            .prop_map(|(which, how, proposals)| Move::Answer { which, how, proposals }),
        2 => (0..4_u64, 0..12_u64, 0..6_usize)
            .prop_map(|(incident, request, kind)| Move::Nonsense { incident, request, kind }),
        3 => (0..4_u64, prop_oneof![4 => Just(0), 1 => 1..3_u32], prop::bool::weighted(0.8))
            .prop_map(|(incident, late, yes)| Move::Approve { incident, late, yes }),
        1 => (0..4_u64).prop_map(|incident| Move::UndoAsked { incident }),
        1 => Just(Move::Pause),
        2 => Just(Move::Resume),
        1 => prop_oneof![1 => 0..MODES.len(), 2 => Just(3)].prop_map(Move::Mode),
        1 => prop::collection::vec((0..SERVICES.len(), 0..SERVICES.len()), 0..4).prop_map(Move::Edges),
        1 => prop::collection::vec((0..3_usize, 0..6_u64, prop::option::of((0..3_usize, any::<bool>()))), 0..4)
            .prop_map(Move::Plugins),
        1 => (0..4_u64).prop_map(|incident| Move::Acknowledge { incident }),
        1 => Just(Move::Crash),
    ]
}
