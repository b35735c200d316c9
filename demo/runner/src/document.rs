//! The one JSON document that `--json` prints.

use crate::{
    record::Run,
    score::{FaultFact, Score, median},
};
use serde::Serialize;

/// All facts of all runs.
#[derive(Debug, Serialize)]
pub(crate) struct Document {
    /// Every fault of every run with healing, in order.
    pub(crate) faults: Vec<FaultFact>,
    /// Actions on the surge, on healthy services, or for nothing.
    pub(crate) false_actions: usize,
    /// Incidents that were opened during the surge.
    pub(crate) surge_incidents: usize,
    /// The record; over several runs the sum, and whether all are good.
    pub(crate) ledger: LedgerFacts,
    /// Orders while Salve healed.
    pub(crate) with_healing: Orders,
    /// Orders while Salve only observed; without a ratio if there was no such run.
    pub(crate) without_healing: Orders,
    /// Over all faults that were acted on or healed.
    pub(crate) median: Medians,
    /// What the machine had.
    pub(crate) machine: MachineFacts,
    /// Seeds of the runs.
    pub(crate) seeds: Vec<u64>,
    /// Everything was as it should be.
    pub(crate) passed: bool,
}

/// The record.
#[derive(Debug, Serialize)]
pub(crate) struct LedgerFacts {
    /// Entries that were checked.
    pub(crate) entries: u64,
    /// All of them are as they were written.
    pub(crate) verified: bool,
}

/// What customers saw.
#[derive(Debug, Serialize)]
pub(crate) struct Orders {
    /// Share of orders that failed, 0 to 1.
    pub(crate) failed_orders_ratio: Option<f64>,
}

/// What the machine had while Salve healed.
#[derive(Debug, Serialize)]
pub(crate) struct MachineFacts {
    /// Share of the processor time it wanted that others took, 0 to 1; over several runs the mean.
    pub(crate) stolen_ratio: Option<f64>,
}

/// Times in the middle.
#[derive(Debug, Serialize)]
pub(crate) struct Medians {
    /// From the fault until the incident was opened.
    pub(crate) detect_ms: Option<u64>,
    /// Until the first action.
    pub(crate) act_ms: Option<u64>,
    /// Until it was closed as healed.
    pub(crate) heal_ms: Option<u64>,
}

/// Puts runs together. `healing`: at least one.
pub(crate) fn document(healing: &[(Run, Score)], observing: Option<&Run>) -> Document {
    let faults: Vec<FaultFact> = healing.iter().flat_map(|(_, score)| score.faults.clone()).collect();
    let mean = |ratios: Vec<f64>| {
        (!ratios.is_empty()).then(|| {
            let mean = ratios.iter().sum::<f64>() / ratios.len() as f64;
            (mean * 10_000.0).round() / 10_000.0
        })
    };
    let verified = healing.iter().all(|(run, _)| run.ledger.verified);
    Document {
        false_actions: healing.iter().map(|(_, score)| score.false_actions).sum(),
        surge_incidents: healing.iter().map(|(_, score)| score.surge_incidents).sum(),
        ledger: LedgerFacts { entries: healing.iter().map(|(run, _)| run.ledger.entries).sum(), verified },
        with_healing: Orders {
            failed_orders_ratio: mean(healing.iter().map(|(run, _)| run.failed_orders_ratio()).collect()),
        },
        without_healing: Orders {
            failed_orders_ratio: mean(observing.iter().map(|run| run.failed_orders_ratio()).collect()),
        },
        median: Medians {
            detect_ms: median(faults.iter().filter_map(|fault| fault.detect_ms)),
            act_ms: median(faults.iter().filter_map(|fault| fault.act_ms)),
            heal_ms: median(faults.iter().filter_map(|fault| fault.heal_ms)),
        },
        machine: MachineFacts {
            stolen_ratio: mean(healing.iter().filter_map(|(run, _)| run.stolen_ratio).collect()),
        },
        seeds: healing.iter().map(|(run, _)| run.seed).collect(),
        passed: verified && healing.iter().all(|(_, score)| score.passed()),
        faults,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::score::{score, tests::good_run};

    /// Guarantees: the document's form, which other programs read.
    #[test]
    fn shape() {
        let mut run = good_run();
        run.slots.truncate(1);
        run.incidents.truncate(1);
        let score = score(&run);
        let mut observing = run.clone();
        observing.seconds[1].failed = 140;
        let document = document(&[(run, score)], Some(&observing));
        insta::assert_snapshot!(serde_json::to_string_pretty(&document).unwrap(), @r#"
        {
          "faults": [
            {
              "fault": "kill",
              "target": "checkout",
              "diagnosed": "checkout",
              "mechanism": "absent",
              "actions": [
                {
                  "action": "restart-process",
                  "target": "checkout",
                  "outcome": "healed",
                  "undone": false,
                  "summary": "restart-process on `checkout`"
                }
              ],
              "outcome": "healed",
              "detect_ms": 2000,
              "act_ms": 3000,
              "heal_ms": 7000,
              "incidents": 1,
              "handled": true,
              "complaints": [],
              "seed": 7
            }
          ],
          "false_actions": 0,
          "surge_incidents": 0,
          "ledger": {
            "entries": 100,
            "verified": true
          },
          "with_healing": {
            "failed_orders_ratio": 0.1
          },
          "without_healing": {
            "failed_orders_ratio": 0.4375
          },
          "median": {
            "detect_ms": 2000,
            "act_ms": 3000,
            "heal_ms": 7000
          },
          "machine": {
            "stolen_ratio": 0.25
          },
          "seeds": [
            7
          ],
          "passed": true
        }
        "#);
    }

    /// Guarantees: a changed ledger fails the run, however well everything was healed.
    #[test]
    fn a_changed_ledger_fails() {
        let mut run = good_run();
        run.ledger.verified = false;
        let score = score(&run);
        assert!(!document(&[(run, score)], None).passed);
    }
}
