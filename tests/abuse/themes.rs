//! All attacks on a daemon in which unsigned plugins load, by theme.

use crate::{
    actions, agents, attack::Attack, detectors, fairness, loading, network, operator, privacy, senders,
    systems, trust,
};

/// In the order in which they are begun.
pub fn attacks() -> Vec<Attack> {
    [
        loading::attacks(),
        detectors::attacks(),
        agents::attacks(),
        actions::attacks(),
        network::attacks(),
        systems::attacks(),
        senders::attacks(),
        trust::attacks(),
        privacy::attacks(),
        fairness::attacks(),
        operator::attacks(),
    ]
    .into_iter()
    .flatten()
    .collect()
}
