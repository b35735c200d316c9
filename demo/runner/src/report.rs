//! The report for people: one HTML file that needs nothing else.

use crate::{
    control::Incident,
    document::Document,
    fault::Fault,
    plot::{orders_max, plot},
    record::{Run, Slot},
    score::{FaultFact, Score},
    summary::{actions, diagnosis, percent, seconds},
};
use std::fmt::Write as _;

/// The whole page. `healing`: at least one; the first is drawn.
pub(crate) fn html(document: &Document, healing: &[(Run, Score)], observing: Option<&Run>) -> String {
    let handled = document.faults.iter().filter(|fault| fault.handled).count();
    let title = format!("Salve handled {handled} of {} faults", document.faults.len());
    let mut page = format!(
        "<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n<title>{title}</title>\n\
         <style>\n{}</style>\n</head>\n<body>\n<main>\n<h1>{title}</h1>\n\
         <p class=\"soft\">A shop of three services, <code>gateway</code> → <code>checkout</code> → \
         <code>inventory</code>, was broken for real, slot by slot. Salve saw its OpenTelemetry data and nothing \
         else.</p>\n",
        include_str!("report.css")
    );
    facts(&mut page, document);
    let drawn: Vec<&Run> = healing.iter().take(1).map(|(run, _)| run).chain(observing).collect();
    let axis = orders_max(drawn.iter().copied());
    for run in drawn {
        figure(&mut page, run, axis);
    }
    table(&mut page, document);
    page.push_str("<h2>What happened, fault by fault</h2>\n");
    for (run, _) in healing {
        for slot in &run.slots {
            story(&mut page, run, slot);
        }
    }
    let seeds = document.seeds.iter().map(u64::to_string).collect::<Vec<_>>().join(", ");
    let _infallible = write!(
        page,
        "<footer>Seed {seeds}. Ledger: {} entries, {}. Times count from the fault; for <code>leak</code> from half of \
         the memory limit.</footer>\n</main>\n</body>\n</html>\n",
        document.ledger.entries,
        if document.ledger.verified { "hash chain verified" } else { "hash chain broken" },
    );
    page
}

fn facts(page: &mut String, document: &Document) {
    let with = document.with_healing.failed_orders_ratio;
    let without = document.without_healing.failed_orders_ratio;
    let mut facts = vec![("good", percent(with), "of orders failed with Salve")];
    if without.is_some() {
        facts.push(("bad", percent(without), "failed without it"));
    }
    facts.extend([
        ("", seconds(document.median.detect_ms), "until detected (median)"),
        ("", seconds(document.median.act_ms), "until it acted (median)"),
        ("", seconds(document.median.heal_ms), "until verified as healed (median)"),
        (
            if document.false_actions == 0 { "good" } else { "bad" },
            document.false_actions.to_string(),
            "actions without need",
        ),
    ]);
    page.push_str("<div class=\"facts\">\n");
    for (class, value, words) in facts {
        let _infallible =
            writeln!(page, "<div class=\"fact\"><b class=\"{class}\">{value}</b><span>{words}</span></div>");
    }
    page.push_str("</div>\n");
}

fn figure(page: &mut String, run: &Run, axis: f64) {
    let (title, words) = if run.healing {
        ("With Salve", "Orders a second, while Salve heals.")
    } else {
        (
            "The same faults without",
            "Salve only observes; at the end of each slot a person takes the fault away.",
        )
    };
    let _infallible = write!(
        page,
        "<h2>{title}</h2>\n<p class=\"soft\">{words} {} of orders failed.</p>\n<figure>\n{}<figcaption>\
         <span><i style=\"background:var(--ok)\"></i>orders answered</span>\
         <span><i style=\"background:var(--failed)\"></i>orders failed</span>",
        percent(Some(run.failed_orders_ratio())),
        plot(run, axis, &format!("{title}: orders a second over time")),
    );
    if run.healing {
        page.push_str(
            "<span><i class=\"dot\" style=\"background:var(--detected)\"></i>incident opened</span>\
             <span><i class=\"dot\" style=\"background:var(--acted)\"></i>action</span>\
             <span><i class=\"dot\" style=\"background:var(--healed)\"></i>verified as healed</span>",
        );
    }
    page.push_str("</figcaption>\n</figure>\n");
}

fn table(page: &mut String, document: &Document) {
    page.push_str(
        "<h2>Fault by fault</h2>\n<div class=\"table\"><table>\n<thead><tr><th></th><th>fault</th><th>hit</th>\
         <th>cause named</th><th>actions</th><th class=\"number\">detected</th><th class=\"number\">acted</th>\
         <th class=\"number\">healed</th></tr></thead>\n<tbody>\n",
    );
    for fault in &document.faults {
        let mark =
            if fault.handled { "<span class=\"good\">✓</span>" } else { "<span class=\"bad\">✗</span>" };
        let _infallible = writeln!(
            page,
            "<tr><td>{mark}</td><td>{}</td><td>{}</td><td>{}</td><td>{}{}</td><td class=\"number\">{}</td>\
             <td class=\"number\">{}</td><td class=\"number\">{}</td></tr>",
            fault.fault.name(),
            escaped(&fault.target),
            escaped(&diagnosis(fault)),
            escaped(&actions(fault)),
            complaints(fault),
            seconds(fault.detect_ms),
            seconds(fault.act_ms),
            seconds(fault.heal_ms),
        );
    }
    page.push_str("</tbody></table></div>\n");
    let _infallible = writeln!(
        page,
        "<p class=\"soft\">The surge, two and a half times as many customers, is harmless: {} incidents were opened \
         for it.</p>",
        document.surge_incidents
    );
}

fn complaints(fault: &FaultFact) -> String {
    if fault.handled {
        String::new()
    } else {
        format!("<br><span class=\"bad\">{}</span>", escaped(&fault.complaints.join("; ")))
    }
}

fn story(page: &mut String, run: &Run, slot: &Slot) {
    let next = run.slots.iter().map(|other| other.injected).filter(|other| *other > slot.injected).min();
    let incidents: Vec<&Incident> = run
        .incidents
        .iter()
        .filter(|incident| (slot.injected..next.unwrap_or(u64::MAX)).contains(&incident.opened()))
        .collect();
    let hit = slot.service.map_or_else(String::new, |service| format!(" on {}", service.name()));
    let open = if slot.fault == Fault::SlowDependency { " open" } else { "" };
    let _infallible = write!(
        page,
        "<details{open}><summary>{}{hit} <span>{}</span></summary>\n<ol>\n",
        slot.fault.name(),
        slot.fault.story()
    );
    let mut line = |moment: u64, words: &str| {
        let seconds = moment as f64 / 1_000.0 - slot.injected as f64 / 1_000.0;
        let _infallible = writeln!(page, "<li><time>{seconds:+.1} s</time><span>{words}</span></li>");
    };
    if let Some(half) = slot.half {
        line(half, "half of the memory limit is used");
    }
    for incident in &incidents {
        for entry in &incident.timeline.entries {
            line(entry.at, &code(&escaped(&entry.text)));
        }
    }
    if incidents.is_empty() {
        line(slot.ended, "Salve saw nothing to be done.");
    }
    if let Some(removed) = slot.removed {
        line(slot.ended, &format!("Somebody {removed}."));
    }
    page.push_str("</ol>\n</details>\n");
}

/// Words between backticks as code. `text` is HTML already.
fn code(text: &str) -> String {
    let mut html = String::with_capacity(text.len());
    for (index, part) in text.split('`').enumerate() {
        if index % 2 == 1 {
            let _infallible = write!(html, "<code>{part}</code>");
        } else {
            html.push_str(part);
        }
    }
    html
}

/// `text` as HTML, in elements and in attributes.
pub(crate) fn escaped(text: &str) -> String {
    let mut html = String::with_capacity(text.len());
    for character in text.chars() {
        match character {
            '&' => html.push_str("&amp;"),
            '<' => html.push_str("&lt;"),
            '>' => html.push_str("&gt;"),
            '"' => html.push_str("&quot;"),
            '\'' => html.push_str("&#39;"),
            _ => html.push(character),
        }
    }
    html
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        document::document,
        score::{score, tests::good_run},
    };

    /// Guarantees: the page stands alone (no address of anything else), names what matters, and has both plots.
    #[test]
    fn page_stands_alone() {
        let run = good_run();
        let score = score(&run);
        let mut observing = run.clone();
        observing.healing = false;
        let healing = [(run, score)];
        let page = html(&document(&healing, Some(&observing)), &healing, Some(&observing));
        assert_eq!(page.matches("<svg").count(), 2);
        assert!(page.contains("<h1>Salve handled 3 of 3 faults</h1>"));
        assert!(page.contains("(set-config, taken back) → restart-process"));
        for foreign in ["http:", "https:", "<script", "src=", "@import"] {
            assert!(!page.contains(foreign), "{foreign}");
        }
    }

    /// Guarantees: words of strangers cannot become markup.
    #[test]
    fn words_stay_words() {
        let mut run = good_run();
        run.incidents[0].timeline.entries[0].text = "opened: `<script>` of `\"x\"`".into();
        let score = score(&run);
        let healing = [(run, score)];
        let page = html(&document(&healing, None), &healing, None);
        assert!(!page.contains("<script"));
        assert!(page.contains("<code>&lt;script&gt;</code> of <code>&quot;x&quot;</code>"));
    }
}
