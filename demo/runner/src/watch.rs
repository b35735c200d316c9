//! Follows Salve and the orders while a run goes on, and tells people what is new.

use crate::{
    control::{Control, Incident},
    record::Second,
    terminal::{Terminal, Tone, sparkline},
};
use anyhow::Result;
use salve_model::text::escape;
use std::{
    collections::BTreeMap,
    io::{Read, Seek, SeekFrom},
    path::PathBuf,
};

/// Sentences of evidence that are shown for a cause.
const EVIDENCE_SHOWN: usize = 3;

/// What was seen so far.
#[derive(Debug)]
pub(crate) struct Watch {
    control: Control,
    orders: PathBuf,
    orders_read: u64,
    /// All seconds since the start of the load.
    pub(crate) seconds: Vec<Second>,
    /// By id.
    incidents: BTreeMap<String, Incident>,
    /// Sentences told, by incident.
    told: BTreeMap<String, usize>,
}

impl Watch {
    /// Begins.
    pub(crate) fn new(control: Control, orders: PathBuf) -> Self {
        Self {
            control,
            orders,
            orders_read: 0,
            seconds: Vec::new(),
            incidents: BTreeMap::new(),
            told: BTreeMap::new(),
        }
    }

    /// All incidents seen, in the order in which they were opened.
    pub(crate) fn incidents(&self) -> Vec<Incident> {
        let mut incidents: Vec<Incident> = self.incidents.values().cloned().collect();
        incidents.sort_by_key(Incident::opened);
        incidents
    }

    /// Whether an incident is open.
    pub(crate) fn any_open(&self) -> bool {
        self.incidents.values().any(|incident| incident.closed.is_none())
    }

    /// Reads what is new and tells it; times are told relative to `zero`, in Unix milliseconds.
    ///
    /// # Errors
    /// If Salve does not answer.
    pub(crate) async fn look(&mut self, terminal: &mut Terminal, zero: u64) -> Result<()> {
        self.read_orders();
        for summary in self.control.incidents().await? {
            // Closed for good, and all about it is known.
            if self
                .incidents
                .get(&summary.id)
                .is_some_and(|known| known.closed.is_some() && known.closed == summary.closed)
            {
                continue;
            }
            let incident = self.control.incident(&summary).await?;
            self.tell(terminal, &incident, zero);
            self.incidents.insert(summary.id, incident);
        }
        terminal.footer(self.footer(terminal));
        Ok(())
    }

    fn read_orders(&mut self) {
        // Not there yet: the load is only just starting.
        let Ok(mut file) = std::fs::File::open(&self.orders) else { return };
        let mut text = String::new();
        if file.seek(SeekFrom::Start(self.orders_read)).and_then(|_| file.read_to_string(&mut text)).is_err()
        {
            return;
        }
        let whole = text.rfind('\n').map_or(0, |end| end + 1);
        self.orders_read += whole as u64;
        self.seconds
            .extend(text[..whole].lines().filter_map(|line| serde_json::from_str::<Second>(line).ok()));
    }

    fn tell(&mut self, terminal: &mut Terminal, incident: &Incident, zero: u64) {
        let told = self.told.entry(incident.view.id.clone()).or_default();
        for entry in incident.timeline.entries.iter().skip(*told) {
            let Some(tone) = tone(&entry.text) else { continue };
            let seconds = entry.at as f64 / 1_000.0 - zero as f64 / 1_000.0;
            terminal.line(tone, &format!("  {seconds:+6.1} s  {}  {}", incident.view.id, entry.text));
            if entry.text.starts_with("cause:") {
                let evidence = incident.cause().map(|cause| cause.evidence.as_slice()).unwrap_or_default();
                for evidence in evidence.iter().take(EVIDENCE_SHOWN) {
                    terminal.line(
                        Tone::Dim,
                        &format!("                    because {}", escape(&evidence.text, 160)),
                    );
                }
            }
        }
        *told = incident.timeline.entries.len();
    }

    fn footer(&self, terminal: &Terminal) -> Vec<String> {
        let column = |value: fn(&Second) -> f64| self.seconds.iter().map(value).collect::<Vec<f64>>();
        let newest = self.seconds.last();
        let row = |name: &str, tone, values: Vec<f64>, scale, now: String| {
            format!(
                "  {} {}  {now}",
                terminal.painted(Tone::Dim, name),
                terminal.painted(tone, &sparkline(&values, scale))
            )
        };
        let per_second = |count: Option<u64>| count.map_or_else(String::new, |count| format!("{count}/s"));
        let open = self.incidents.values().rev().find(|incident| incident.closed.is_none());
        let state = open.map_or_else(
            || terminal.painted(Tone::Good, "no open incident"),
            |incident| {
                let symptom = incident.view.symptoms.iter().find(|symptom| !symptom.recovered);
                let words = symptom.map_or_else(
                    || "all symptoms are gone; watching".to_owned(),
                    |symptom| {
                        let series = &symptom.series;
                        escape(&format!("{} {}: {}", series.service, series.name, symptom.reason), 90)
                    },
                );
                terminal.painted(Tone::Alarm, &format!("{} open · {words}", incident.view.id))
            },
        );
        vec![
            String::new(),
            row(
                "orders ok    ",
                Tone::Good,
                column(|second| second.ok as f64),
                10.0,
                per_second(newest.map(|second| second.ok)),
            ),
            row(
                "orders failed",
                Tone::Bad,
                column(|second| second.failed as f64),
                10.0,
                per_second(newest.map(|second| second.failed)),
            ),
            row(
                "p95 latency  ",
                Tone::Alarm,
                column(|second| second.latency_p95_ms),
                100.0,
                newest.map_or_else(String::new, |second| format!("{:.0} ms", second.latency_p95_ms)),
            ),
            format!("  {state}"),
        ]
    }
}

/// How a sentence of Salve's timeline looks; none for those that only say that the work goes on.
fn tone(text: &str) -> Option<Tone> {
    let begins = |words: &[&str]| words.iter().any(|word| text.starts_with(word));
    Some(if begins(&["the agents are asked", "the policies make", "further symptom", "acted,"]) {
        return None;
    } else if begins(&["opened", "came back"]) {
        Tone::Alarm
    } else if begins(&["cause"]) {
        Tone::Bold
    } else if begins(&["all guards passed", "takes the remedy back", "taken back"]) {
        Tone::Act
    } else if begins(&["healed", "closed: healed", "closed: recovered", "recovered"]) {
        Tone::Good
    } else if begins(&["not healed", "unknown", "closed", "people are called", "refused", "no plan"]) {
        Tone::Bad
    } else {
        Tone::Plain
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Scenario: the load is in the middle of a line.
    /// Guarantees: whole lines are read once, halves when they have become whole.
    #[test]
    fn reads_whole_lines() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("orders.jsonl");
        let mut watch = Watch::new(Control(folder.path().join("none")), path.clone());
        watch.read_orders();
        let line = r#"{"time_unix_ms":1,"ok":2,"failed":3,"latency_p95_ms":4.5,"multiplier":1.0}"#;
        std::fs::write(&path, format!("{line}\n{}", &line[..20])).unwrap();
        watch.read_orders();
        watch.read_orders();
        assert_eq!(watch.seconds, [Second { time_unix_ms: 1, ok: 2, failed: 3, latency_p95_ms: 4.5 }]);
        std::fs::write(&path, format!("{line}\n{line}\n")).unwrap();
        watch.read_orders();
        assert_eq!(watch.seconds.len(), 2);
    }

    /// Guarantees: good and bad ends look different, and chatter is left out.
    #[test]
    fn tones() {
        assert_eq!(tone("closed: healed"), Some(Tone::Good));
        assert_eq!(tone("closed: not healed"), Some(Tone::Bad));
        assert_eq!(tone("opened: `x` of `y`: z"), Some(Tone::Alarm));
        assert_eq!(tone("the agents are asked for the cause"), None);
        assert_eq!(tone("something new"), Some(Tone::Plain));
    }
}
