//! One run: start, warm up, break things slot by slot, stop.

use crate::{
    fault::Fault,
    inject::inject,
    machine::ProcessorTime,
    place::{Place, Programs},
    record::{Ledger, Run, Slot},
    shop::Shop,
    terminal::{Terminal, Tone},
    watch::Watch,
};
use anyhow::{Context, Result, bail};
use std::{
    path::Path,
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

/// How often everything is looked at.
const LOOK_EVERY: Duration = Duration::from_millis(200);
/// How often a leak is measured.
const LEAK_LOOK_EVERY: Duration = Duration::from_millis(50);
/// The shop must be steady by then.
const WARM_WITHIN: Duration = Duration::from_secs(60);
/// Seconds without a failed order that count as steady.
const STEADY_SECONDS: usize = 5;
/// Points that each series must have given its detector: warm-up of the detectors in `salve.toml`, and some more.
const WARM_POINTS: u64 = 15;
/// How much longer than its slot an incident may stay open before the next fault comes all the same.
const OVERTIME: Duration = Duration::from_secs(10);

/// What to do in a run.
#[derive(Debug, Clone)]
pub(crate) struct Options {
    /// Draws the services.
    pub(crate) seed: u64,
    /// Faults, in order.
    pub(crate) faults: Vec<Fault>,
    /// Salve acts, or only observes.
    pub(crate) healing: bool,
}

/// Length of a fault's slot.
fn slot_length(fault: Fault) -> Duration {
    Duration::from_secs(match fault {
        Fault::Kill | Fault::Hang | Fault::Surge | Fault::BadConfig => 16,
        // Half of the limit is reached after seven seconds.
        Fault::Leak => 22,
        // The first remedy is watched for some seconds before it is given up.
        Fault::SlowDependency => 24,
    })
}

/// Unix time in milliseconds: what Salve's times are, too.
pub(crate) fn now_ms() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_millis() as u64)
}

/// Starts a shop in `folder` and waits until it is steady.
///
/// # Errors
/// If something does not start, or is not steady within a minute.
pub(crate) async fn warm_up(
    folder: &Path,
    programs: &Programs,
    options: &Options,
    terminal: &mut Terminal,
) -> Result<(Shop, Watch)> {
    let place = Place::set_up(folder, programs, options.healing)?;
    let mut watch = Watch::new(crate::control::Control(place.control_socket()), place.orders_path());
    let mut shop = Shop::start(place, programs, options.seed)?;
    let started = Instant::now();
    let zero = now_ms();
    loop {
        shop.check()?;
        let waiting_for = match shop.control.status().await {
            Err(_) => "Salve to answer".to_owned(),
            Ok(status) => {
                if let Some(problem) = status.problems.first() {
                    bail!("Salve says: {problem}");
                }
                if watch.look(terminal, zero).await.is_ok() {
                    match unsteady(&status, &watch) {
                        None => break,
                        Some(waiting_for) => waiting_for,
                    }
                } else {
                    "Salve to answer".to_owned()
                }
            }
        };
        if started.elapsed() > WARM_WITHIN {
            bail!(
                "the shop is not steady after {} s: still waiting for {waiting_for}",
                WARM_WITHIN.as_secs()
            );
        }
        tokio::time::sleep(LOOK_EVERY).await;
    }
    terminal.line(Tone::Dim, &format!("  warm after {:.0} s", started.elapsed().as_secs_f64()));
    Ok((shop, watch))
}

/// What the shop is still waited for; none if it is steady.
fn unsteady(status: &crate::control::Status, watch: &Watch) -> Option<String> {
    if !status.ready {
        return Some("Salve to be ready".into());
    }
    for service in crate::fault::Service::ALL {
        if !status.services.iter().any(|known| known == service.name()) {
            return Some(format!("telemetry of `{}`", service.name()));
        }
    }
    for (name, detector) in &status.detectors {
        if let Some(problem) = &detector.problem {
            return Some(format!("detector `{name}`, which says: {problem}"));
        }
        if detector.series == 0 || detector.points < detector.series * WARM_POINTS {
            return Some(format!("detector `{name}` to know its series"));
        }
    }
    if status.incidents_open > 0 {
        return Some("an incident to be closed".into());
    }
    let newest = watch.seconds.iter().rev().take(STEADY_SECONDS);
    if watch.seconds.len() < STEADY_SECONDS
        || newest.clone().any(|second| second.ok == 0 || second.failed > 0)
    {
        return Some(format!("{STEADY_SECONDS} s without a failed order"));
    }
    None
}

/// Carries out a whole run.
///
/// # Errors
/// If something does not start, does not answer, or ends before it should.
pub(crate) async fn run(
    folder: &Path,
    programs: &Programs,
    options: &Options,
    terminal: &mut Terminal,
) -> Result<Run> {
    let (mut shop, mut watch) = warm_up(folder, programs, options, terminal).await?;
    let began = now_ms();
    let processors = ProcessorTime::now();
    let mut slots = Vec::new();
    for (index, fault) in options.faults.iter().enumerate() {
        let title = format!("\n{}/{}  {}", index + 1, options.faults.len(), fault.name());
        slots.push(slot(&mut shop, &mut watch, options, *fault, &title, terminal).await?);
    }
    let ended = now_ms();
    let stolen_ratio = processors.zip(ProcessorTime::now()).map(|(before, after)| after.stolen_since(before));
    watch.look(terminal, ended).await?;
    terminal.footer(Vec::new());
    let ledger = verify_ledger(&shop)?;
    drop(shop);
    let seconds =
        watch.seconds.iter().filter(|second| (began..=ended).contains(&second.time_unix_ms)).cloned();
    Ok(Run {
        seed: options.seed,
        healing: options.healing,
        began,
        ended,
        stolen_ratio,
        slots,
        seconds: seconds.collect(),
        incidents: watch.incidents(),
        ledger,
    })
}

async fn slot(
    shop: &mut Shop,
    watch: &mut Watch,
    options: &Options,
    fault: Fault,
    title: &str,
    terminal: &mut Terminal,
) -> Result<Slot> {
    let service = fault.draw(options.seed);
    let hit = service.map_or_else(String::new, |service| format!(" on {}", service.name()));
    terminal.line(Tone::Bold, &format!("{title}{hit}: {}", fault.story()));
    let deadline = Instant::now() + slot_length(fault);
    let injected = now_ms();
    let there = inject(shop, fault, service).await?;
    let mut half = None;
    loop {
        let now = Instant::now();
        let overtime = options.healing && watch.any_open() && now < deadline + OVERTIME;
        if now >= deadline && !overtime {
            break;
        }
        shop.check()?;
        watch.look(terminal, injected).await?;
        let next_look = now + LOOK_EVERY;
        while Instant::now() < next_look {
            if half.is_none() && there.is_half_full() {
                half = Some(now_ms());
                terminal.line(Tone::Dim, "            half of the memory limit is used");
            }
            tokio::time::sleep(LEAK_LOOK_EVERY).await;
        }
    }
    let removed = there.remove(shop).await?;
    if let Some(removed) = removed {
        terminal.line(Tone::Bad, &format!("  the slot ends, the fault is still there: {removed}"));
    }
    Ok(Slot { fault, service, injected, half, ended: now_ms(), removed })
}

/// Lets Salve check its own record.
fn verify_ledger(shop: &Shop) -> Result<Ledger> {
    #[derive(serde::Deserialize)]
    struct Report {
        entries: u64,
        first_bad: Option<serde_json::Value>,
    }
    let answer = shop.salve(&["ledger", "verify", "--json"])?;
    let report: Report =
        serde_json::from_str(&answer).context("cannot read the answer of `salve ledger verify`")?;
    Ok(Ledger { entries: report.entries, verified: report.first_bad.is_none() })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Guarantees: both runs of all faults, with their warm-ups, end within six minutes, and one fault within one.
    #[test]
    fn slots_fit_their_time() {
        let slots: Duration = Fault::ALL.into_iter().map(slot_length).sum();
        let warm_up = Duration::from_secs(30);
        assert!(2 * (slots + warm_up) < Duration::from_secs(6 * 60));
        assert!(Fault::ALL.into_iter().all(|fault| slot_length(fault) + warm_up < Duration::from_secs(60)));
    }
}
