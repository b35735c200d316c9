//! The end of a run in the terminal: a table, and what it comes to.

use crate::{
    document::Document,
    record::Run,
    score::{FaultFact, Score},
    terminal::{Terminal, Tone, table},
};

/// Below this it makes no difference.
const STOLEN_TOLD: f64 = 0.05;

/// Seconds with one decimal, or a dash.
pub(crate) fn seconds(ms: Option<u64>) -> String {
    ms.map_or_else(|| "–".to_owned(), |ms| format!("{:.1} s", ms as f64 / 1_000.0))
}

/// A share in percent, or a dash.
pub(crate) fn percent(ratio: Option<f64>) -> String {
    ratio.map_or_else(|| "–".to_owned(), |ratio| format!("{:.1} %", ratio * 100.0))
}

/// What was done, in short: actions in order, those taken back in brackets.
pub(crate) fn actions(fault: &FaultFact) -> String {
    if fault.actions.is_empty() {
        return "nothing".to_owned();
    }
    let words = fault.actions.iter().map(|action| {
        if action.undone { format!("({}, taken back)", action.action) } else { action.action.clone() }
    });
    words.collect::<Vec<_>>().join(" → ")
}

/// The cause that Salve named.
pub(crate) fn diagnosis(fault: &FaultFact) -> String {
    match (&fault.diagnosed, &fault.mechanism) {
        (Some(suspect), Some(mechanism)) => format!("{suspect}: {mechanism}"),
        _ => "–".to_owned(),
    }
}

/// The table of a run.
pub(crate) fn tell(terminal: &mut Terminal, run: &Run, score: &Score) {
    let heading = ["", "fault", "hit", "cause named", "actions", "detect", "act", "healed", "outcome"];
    let mut rows = vec![heading.map(String::from).to_vec()];
    rows.extend(score.faults.iter().map(|fault| {
        vec![
            if fault.handled { "✓" } else { "✗" }.to_owned(),
            fault.fault.name().to_owned(),
            fault.target.clone(),
            diagnosis(fault),
            actions(fault),
            seconds(fault.detect_ms),
            seconds(fault.act_ms),
            seconds(fault.heal_ms),
            fault.outcome.clone(),
        ]
    }));
    terminal.line(Tone::Plain, "");
    for (index, line) in table(&rows).iter().enumerate() {
        let tone = match index.checked_sub(1).and_then(|index| score.faults.get(index)) {
            None => Tone::Dim,
            Some(fault) if fault.handled => Tone::Plain,
            Some(_) => Tone::Bad,
        };
        terminal.line(tone, &format!("  {line}"));
    }
    for fault in score.faults.iter().filter(|fault| !fault.handled) {
        terminal.line(Tone::Bad, &format!("  {}: {}", fault.fault.name(), fault.complaints.join("; ")));
    }
    if score.false_actions > 0 {
        terminal.line(Tone::Bad, &format!("  {} actions without need", score.false_actions));
    }
    terminal.line(Tone::Dim, &format!("  orders failed: {}", percent(Some(run.failed_orders_ratio()))));
    if let Some(ratio) = run.stolen_ratio.filter(|ratio| *ratio >= STOLEN_TOLD) {
        let share = percent(Some(ratio));
        terminal.line(
            Tone::Dim,
            &format!("  others took {share} of the processor time that this machine wanted"),
        );
    }
}

/// What all runs come to.
pub(crate) fn verdict(terminal: &mut Terminal, document: &Document) {
    let handled = document.faults.iter().filter(|fault| fault.handled).count();
    terminal.line(Tone::Plain, "");
    let tone = if document.passed { Tone::Good } else { Tone::Bad };
    terminal.line(
        tone,
        &format!(
            "{handled} of {} faults handled rightly, {} false actions",
            document.faults.len(),
            document.false_actions
        ),
    );
    terminal.line(
        Tone::Plain,
        &format!(
            "Median: detected after {}, acted after {}, healed after {}",
            seconds(document.median.detect_ms),
            seconds(document.median.act_ms),
            seconds(document.median.heal_ms)
        ),
    );
    terminal.line(
        Tone::Plain,
        &format!(
            "Failed orders: {} with Salve, {} without",
            percent(document.with_healing.failed_orders_ratio),
            percent(document.without_healing.failed_orders_ratio)
        ),
    );
    let verified = if document.ledger.verified { "verified" } else { "CHANGED" };
    terminal.line(Tone::Plain, &format!("Ledger: {} entries, {verified}", document.ledger.entries));
}
