//! A plot of one run as SVG: orders over time, the faults' slots, and what Salve did.
//!
//! Colours are CSS variables of the page around it, so that it follows light and dark.

use crate::record::{Run, Second};
use std::fmt::Write as _;

const WIDTH: f64 = 1_040.0;
const HEIGHT: f64 = 250.0;
const LEFT: f64 = 44.0;
const RIGHT: f64 = 8.0;
const TOP: f64 = 44.0;
const BOTTOM: f64 = 30.0;

/// From the run's numbers to places in the picture.
struct Scale {
    began: u64,
    ms: f64,
    orders_max: f64,
}

impl Scale {
    fn new(run: &Run, orders_max: f64) -> Self {
        Self { began: run.began, ms: run.ended.saturating_sub(run.began).max(1) as f64, orders_max }
    }

    fn x(&self, moment: u64) -> f64 {
        let share = moment.saturating_sub(self.began) as f64 / self.ms;
        LEFT + share.min(1.0) * (WIDTH - LEFT - RIGHT)
    }

    fn y(&self, orders: f64) -> f64 {
        HEIGHT - BOTTOM - orders / self.orders_max * (HEIGHT - TOP - BOTTOM)
    }
}

/// The largest number of orders in a second, rounded up to a step of the axis: the same for all plots of a page.
pub(crate) fn orders_max<'a>(runs: impl Iterator<Item = &'a Run>) -> f64 {
    let largest =
        runs.flat_map(|run| &run.seconds).map(|second| second.ok + second.failed).max().unwrap_or(0);
    (largest.div_ceil(25) * 25).max(25) as f64
}

/// The plot of a run. `title` is what a screen reader says.
pub(crate) fn plot(run: &Run, orders_max: f64, title: &str) -> String {
    let scale = Scale::new(run, orders_max);
    let mut svg = format!(
        "<svg viewBox=\"0 0 {WIDTH} {HEIGHT}\" role=\"img\" aria-label=\"{}\">\n",
        super::report::escaped(title)
    );
    slots(&mut svg, run, &scale);
    axes(&mut svg, run, &scale);
    area(&mut svg, "ok", &run.seconds, &scale, |_| 0.0, |second| second.ok as f64);
    area(
        &mut svg,
        "failed",
        &run.seconds,
        &scale,
        |second| second.ok as f64,
        |second| (second.ok + second.failed) as f64,
    );
    if run.healing {
        marks(&mut svg, run, &scale);
    }
    svg.push_str("</svg>\n");
    svg
}

fn slots(svg: &mut String, run: &Run, scale: &Scale) {
    for slot in &run.slots {
        let (from, to) = (scale.x(slot.injected), scale.x(slot.ended));
        let class = if slot.service.is_some() { "slot" } else { "slot calm" };
        let middle = (from + to) / 2.0;
        let service = slot.service.map_or("harmless", |service| service.name());
        let _infallible = writeln!(
            svg,
            "<rect class=\"{class}\" x=\"{from:.1}\" y=\"{TOP}\" width=\"{:.1}\" height=\"{:.1}\"/>\
             <text class=\"slot-name\" x=\"{middle:.1}\" y=\"14\">{}</text>\
             <text class=\"slot-hit\" x=\"{middle:.1}\" y=\"29\">{service}</text>",
            (to - from).max(1.0),
            HEIGHT - TOP - BOTTOM,
            slot.fault.name(),
        );
    }
}

fn axes(svg: &mut String, run: &Run, scale: &Scale) {
    for quarter in 0..=2 {
        let orders = scale.orders_max * f64::from(quarter) / 2.0;
        let y = scale.y(orders);
        let _infallible = writeln!(
            svg,
            "<line class=\"grid\" x1=\"{LEFT}\" x2=\"{:.1}\" y1=\"{y:.1}\" y2=\"{y:.1}\"/>\
             <text class=\"axis right\" x=\"{:.1}\" y=\"{:.1}\">{orders:.0}</text>",
            WIDTH - RIGHT,
            LEFT - 8.0,
            y + 4.0,
        );
    }
    let seconds = run.ended.saturating_sub(run.began) / 1_000;
    let step = if seconds > 60 { 20 } else { 5 };
    for second in (0..=seconds).step_by(step) {
        let _infallible = write!(
            svg,
            "<text class=\"axis\" x=\"{:.1}\" y=\"{:.1}\">{second} s</text>",
            scale.x(run.began + second * 1_000),
            HEIGHT - 10.0,
        );
    }
    svg.push('\n');
}

fn area(
    svg: &mut String,
    class: &str,
    seconds: &[Second],
    scale: &Scale,
    lower: impl Fn(&Second) -> f64,
    upper: impl Fn(&Second) -> f64,
) {
    if seconds.is_empty() {
        return;
    }
    // A second's orders ended, on average, half a second before its end.
    let x = |second: &Second| scale.x(second.time_unix_ms.saturating_sub(500));
    let mut path = String::new();
    for (index, second) in seconds.iter().enumerate() {
        let command = if index == 0 { 'M' } else { 'L' };
        let _infallible = write!(path, "{command}{:.1} {:.1}", x(second), scale.y(upper(second)));
    }
    for second in seconds.iter().rev() {
        let _infallible = write!(path, "L{:.1} {:.1}", x(second), scale.y(lower(second)));
    }
    let _infallible = writeln!(svg, "<path class=\"{class}\" d=\"{path}Z\"/>");
}

fn marks(svg: &mut String, run: &Run, scale: &Scale) {
    let mut mark = |class: &str, moment: u64, words: &str| {
        let x = scale.x(moment);
        let _infallible = writeln!(
            svg,
            "<g class=\"mark {class}\"><title>{}</title><line x1=\"{x:.1}\" x2=\"{x:.1}\" y1=\"{:.1}\" y2=\"{:.1}\"/>\
             <circle cx=\"{x:.1}\" cy=\"{TOP}\" r=\"5\"/></g>",
            super::report::escaped(words),
            TOP,
            HEIGHT - BOTTOM,
        );
    };
    for incident in &run.incidents {
        mark("detected", incident.opened(), &format!("{} opened", incident.view.id));
        for attempt in incident.attempts.iter().filter(|attempt| !attempt.dry_run) {
            mark("acted", attempt.started, &attempt.plan.summary);
        }
        if let Some(closed) = incident.closed.filter(|_| incident.outcome.as_deref() == Some("healed")) {
            mark("healed", closed, &format!("{} healed", incident.view.id));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::score::tests::good_run;

    /// Guarantees: the plot has a band for each slot, a mark for each step of Salve's, both areas, and stays in its frame.
    #[test]
    fn draws_everything() {
        let run = good_run();
        let svg = plot(&run, orders_max([&run].into_iter()), "orders");
        assert_eq!(svg.matches("class=\"slot").count(), 3 * run.slots.len());
        assert_eq!(svg.matches("mark detected").count(), 3);
        assert_eq!(svg.matches("mark acted").count(), 4);
        assert_eq!(svg.matches("mark healed").count(), 3);
        assert_eq!(svg.matches("<path").count(), 2);
        for number in svg.split("x=\"").skip(1).filter_map(|rest| rest.split('"').next()?.parse::<f64>().ok())
        {
            assert!((0.0..=WIDTH).contains(&number), "{number}");
        }
    }

    /// Guarantees: the axis ends at a step above the largest value, also when there was nothing.
    #[test]
    fn axes_end_above() {
        let mut run = good_run();
        assert_eq!(orders_max([&run].into_iter()), 125.0);
        run.seconds.clear();
        assert_eq!(orders_max([&run].into_iter()), 25.0);
    }
}
