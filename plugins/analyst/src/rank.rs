//! From the view to ranked causes.
//!
//! Each service collects evidence in nats (e times as likely): what came to rest at it, whether it fell silent, what its
//! series say, and what was changed on it. The probability of a service is its share of the sum of e^nats, in which
//! "none of these" has `NONE_NATS`.
//!
//! ## What always holds
//! - equal views give equal answers; of equal causes the first by name comes first
//! - one hypothesis a service, with its most telling mechanism; probabilities add up to at most 1
//! - every nat has a sentence

mod load;

use crate::{
    flow::{self, Excess},
    view::{Map, View},
};
use load::Entry;
use salve_plugin::{
    Kind,
    agent::{Evidence, Hypothesis},
    telemetry::{Change, EdgeStats, ServiceStats},
};
use std::collections::BTreeMap;

/// Series that Salve itself reports: whether a supervised process runs.
const PROCESS_UP: &str = "process.up";

/// Nats of "none of these": a single weak sign names nobody.
const NONE_NATS: f64 = 2.0;
/// Evidence of one kind counts at most this.
const CAP_NATS: f64 = 4.5;
/// No rule is surer than this of all causes together.
const SURE: f64 = 0.98;
/// Less probable causes are left out.
const PROBABILITY_MIN: f64 = 0.01;
/// Most hypotheses.
const HYPOTHESES_MAX: usize = 10;

/// A callee that gets less than this share of the calls to it is cut off from its callers. Its account of some comes late.
const CUT_OFF: f64 = 0.5;
/// Callers that wait this many times as long as before wait in vain rather than being refused.
const WAITS: f64 = 3.0;
/// A service that took less by itself for a request says nothing about how slow the machine is.
const OWN_TIME_MIN_MS: f64 = 1.0;
/// A change of at least so many nats is named before what it led to.
const CHANGE_TELLS_NATS: f64 = 1.5;
/// Time in which the weight of a change halves.
const CHANGE_HALF_MS: f64 = 60_000.0;

/// What is held against one service.
#[derive(Debug, Default)]
struct Case {
    evidence: Vec<Evidence>,
    /// Mechanisms with their nats.
    mechanisms: BTreeMap<&'static str, f64>,
    change: Option<Change>,
    /// Share of its requests that fail, if new failures begin here.
    failing: f64,
}

impl Case {
    fn add(&mut self, mechanism: &'static str, weight: f64, reference: impl Into<String>, text: String) {
        if weight.abs() >= 0.05 {
            *self.mechanisms.entry(mechanism).or_default() += weight;
            self.evidence.push(Evidence { text, reference: reference.into(), weight });
        }
    }

    fn nats(&self) -> f64 {
        self.mechanisms.values().sum()
    }

    /// The mechanism with the most nats; of equals the first by name. A change that counts explains the others.
    fn mechanism(&self) -> &'static str {
        if self.mechanisms.get("config-change").is_some_and(|nats| *nats >= CHANGE_TELLS_NATS) {
            return "config-change";
        }
        let mut best = ("unknown", 0.0);
        for (mechanism, nats) in &self.mechanisms {
            if *nats > best.1 {
                best = (mechanism, *nats);
            }
        }
        best.0
    }
}

/// Why a call on an edge fails or waits: whose doing it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fault {
    /// The callee is silent: dead, or hanging as a whole.
    Silent,
    /// The callee fails, or takes longer, by its own account.
    Callee,
    /// The callee lives and does not answer.
    Unanswered,
    /// The callee is well; the caller calls it wrongly, or something else.
    Caller,
}

struct Ranking<'a> {
    view: &'a View,
    failures: Excess,
    waiting: Excess,
    silent: BTreeMap<String, u64>,
    cases: BTreeMap<String, Case>,
    /// How many times as much time as before services take for a request by itself.
    slowdowns: BTreeMap<String, f64>,
    /// Where requests come in, each with all that it calls.
    entries: Vec<Entry>,
}

/// Ranks the causes of an incident, the most probable first.
#[must_use]
pub fn rank(view: &View) -> Vec<Hypothesis> {
    let names = view.names();
    let silent: BTreeMap<String, u64> =
        names.iter().filter_map(|name| Some((name.clone(), view.silence_ms(name)?))).collect();
    let mut ranking = Ranking {
        view,
        failures: flow::failures(view),
        waiting: flow::waiting(view),
        silent,
        cases: names.into_iter().map(|name| (name, Case::default())).collect(),
        slowdowns: slowdowns(view),
        entries: load::entries(view),
    };
    ranking.silence();
    ranking.rests();
    ranking.limits();
    ranking.dropped_calls();
    ranking.symptoms();
    ranking.load();
    ranking.changes();
    ranking.conclude()
}

fn served(stats: Option<&ServiceStats>) -> f64 {
    stats.map_or(0.0, |stats| stats.requests_per_second)
}

fn slowdowns(view: &View) -> BTreeMap<String, f64> {
    let during = view.during.own_ms(&view.before);
    let before =
        view.before.own_ms(&view.before).into_iter().filter(|(_, before)| *before >= OWN_TIME_MIN_MS);
    before.filter_map(|(name, before)| Some((name.to_owned(), during.get(name)? / before))).collect()
}

fn percent(ratio: f64) -> String {
    format!("{:.0} %", ratio * 100.0)
}

fn edge_name(caller: &str, callee: &str) -> String {
    format!("{caller} -> {callee}")
}

impl Ranking<'_> {
    fn case(&mut self, service: &str) -> &mut Case {
        self.cases.entry(service.to_string()).or_default()
    }

    /// Edges into a service in the incident's window.
    fn callers<'b>(&'b self, callee: &'b str) -> impl Iterator<Item = &'b EdgeStats> {
        self.view.during.edges.values().filter(move |edge| edge.callee == callee)
    }

    /// How many times as long as before the caller waits for each call.
    fn wait_ratio(&self, caller: &str, callee: &str) -> f64 {
        let key = (caller.to_string(), callee.to_string());
        match (self.view.before.edges.get(&key), self.view.during.edges.get(&key)) {
            (Some(before), Some(during)) if before.duration_mean_ms > 0.0 => {
                during.duration_mean_ms / before.duration_mean_ms
            }
            _ => 1.0,
        }
    }

    /// Whose doing the failures or the waiting on an edge are.
    fn fault(&self, caller: &str, callee: &str) -> Fault {
        if self.silent.contains_key(callee) {
            return Fault::Silent;
        }
        let on_edge = self.failures.edge(caller, callee);
        let at_callee = self.failures.service(callee);
        let waits = self.waiting.edge(caller, callee);
        if at_callee > 0.0 && at_callee >= 0.3 * on_edge {
            return Fault::Callee;
        }
        if self.waiting.service(callee) > 0.0 && self.waiting.service(callee) >= 0.3 * waits {
            return Fault::Callee;
        }
        if !self.view.before.services.contains_key(callee) && !self.view.during.services.contains_key(callee)
        {
            // Nothing is heard from it at any time, as from a stranger's API. If it was called before, it is its own
            // fault; a name that nobody called before is the caller's.
            let key = (caller.to_string(), callee.to_string());
            return if self.view.before.edges.contains_key(&key) { Fault::Unanswered } else { Fault::Caller };
        }
        let calls = self.view.during.calls_per_second(callee);
        let arrived = served(self.view.during.services.get(callee));
        if arrived < CUT_OFF * calls && self.wait_ratio(caller, callee) >= WAITS {
            return Fault::Unanswered;
        }
        Fault::Caller
    }

    /// Services from which nothing comes any more.
    fn silence(&mut self) {
        let view = self.view;
        let known = view.names().iter().filter(|name| view.last_seen(name).is_some()).count();
        let all_silent = known > 1 && self.silent.len() == known;
        for (service, silence_ms) in self.silent.clone() {
            let seconds = silence_ms as f64 / 1_000.0;
            let mechanism = self.silent_mechanism(&service);
            let affected = view.symptoms.iter().any(|symptom| symptom.service == service)
                || self.callers(&service).any(|edge| edge.error_ratio > 0.1)
                || view.before.edges.values().any(|edge| {
                    edge.caller == service
                        && view.symptoms.iter().any(|symptom| symptom.service == edge.callee)
                });
            let (weight, text) = if all_silent {
                (
                    1.0,
                    format!(
                        "No telemetry for {seconds:.1} s, but from no service: perhaps its way here is cut"
                    ),
                )
            } else if affected {
                (CAP_NATS, format!("No telemetry of any kind for {seconds:.1} s, while others send theirs"))
            } else {
                (0.5, format!("No telemetry for {seconds:.1} s, but nobody misses it"))
            };
            self.case(&service).add(mechanism, weight, "last-seen", text);
            let missed: Vec<(String, f64, f64)> = self
                .callers(&service)
                .filter(|edge| edge.error_ratio > 0.1)
                .map(|edge| (edge.caller.clone(), edge.error_ratio, self.wait_ratio(&edge.caller, &service)))
                .collect();
            for (caller, ratio, waits) in missed {
                let how = if waits >= WAITS { "after waiting in vain" } else { "at once" };
                let text = format!("{} of the calls from {caller} fail, {how}", percent(ratio));
                self.case(&service).add(mechanism, 1.5, edge_name(&caller, &service), text);
            }
        }
    }

    /// A silent service is unresponsive if its callers wait for it in vain, absent if they are refused.
    fn silent_mechanism(&self, service: &str) -> &'static str {
        let waits = self.callers(service).any(|edge| self.wait_ratio(&edge.caller, service) >= WAITS);
        if waits { "unresponsive" } else { "absent" }
    }

    /// Failures and waiting, where they come to rest.
    fn rests(&mut self) {
        let passes = |ranking: &Self, caller: &str, callee: &str| match ranking.fault(caller, callee) {
            Fault::Silent | Fault::Callee | Fault::Unanswered => 1.0,
            Fault::Caller => 0.0,
        };
        let failures = self.failures.rest(|caller, callee| passes(self, caller, callee));
        let waiting = self.waiting.rest(|caller, callee| passes(self, caller, callee));
        for (service, share) in &failures {
            self.failures_at(service, *share);
        }
        for (service, share) in &waiting {
            self.waiting_at(service, *share);
        }
    }

    fn failures_at(&mut self, service: &str, share: f64) {
        if self.silent.contains_key(service) {
            return;
        }
        let own = self.view.during.services.get(service).map_or(0.0, |stats| stats.error_ratio);
        let on_edges = self.callers(service).map(|edge| edge.error_ratio).fold(0.0, f64::max);
        let called = self.failures.callees(service).next().map(|(callee, _)| callee.to_string());
        // Requests that a service turns away since its workers wait for a callee are the callee's.
        let waits_for_callee: f64 = self
            .waiting
            .callees(service)
            .filter(|(callee, _)| self.fault(service, callee) != Fault::Caller)
            .map(|(_, more)| more)
            .sum();
        let blocked = waits_for_callee > 0.5 * self.waiting.service(service).max(f64::MIN_POSITIVE);
        let strength = |ratio: f64| (1.5 + (ratio / 0.02).max(1.0).ln()).min(CAP_NATS);
        if own > 0.0 || called.is_some() {
            // Of a service that takes many times as long by itself, failures are what waiting leads to.
            let (before, during) = self.mean_ms(service);
            let waits_itself =
                before > 0.0 && during >= WAITS * before && self.waiting.service(service) > 0.0;
            let factor = match (blocked, waits_itself) {
                (true, _) => 0.3,
                (false, true) => 0.7,
                (false, false) => 1.0,
            };
            let ratio = own.max(called.as_deref().map_or(0.0, |callee| self.edge_errors(service, callee)));
            let text = match called.filter(|callee| self.fault(service, callee) == Fault::Caller) {
                Some(callee) => format!(
                    "{} of its calls to {callee} fail, and {callee} itself is well",
                    percent(self.edge_errors(service, &callee))
                ),
                None => {
                    format!(
                        "{} of its requests fail, {} of all new failures begin here",
                        percent(own),
                        percent(share)
                    )
                }
            };
            self.case(service).failing = ratio;
            self.case(service).add(
                "errors",
                strength(ratio) * share * factor,
                "salve.span.error_ratio",
                text,
            );
        } else if on_edges > 0.0 {
            let text = format!("{} of the calls to it fail, and it does not answer them", percent(on_edges));
            self.case(service).failing = on_edges;
            self.case(service).add(
                "unresponsive",
                strength(on_edges) * share,
                "salve.edge.error_ratio",
                text,
            );
        }
    }

    fn edge_errors(&self, caller: &str, callee: &str) -> f64 {
        let key = (caller.to_string(), callee.to_string());
        self.view.during.edges.get(&key).map_or(0.0, |edge| edge.error_ratio)
    }

    fn waiting_at(&mut self, service: &str, share: f64) {
        if self.silent.contains_key(service) {
            return;
        }
        let (before, during) = self.mean_ms(service);
        if self.waiting.service(service) > 0.0 && before > 0.0 {
            let ratio = during / before;
            let load = self.load_ratio(service).max(1.0);
            // Waiting grows faster than load (queueing), so a surge explains up to its square.
            // A machine that is slow is so for all its services: what all others have, too, is nobody's.
            let common = self.least_slowdown_elsewhere(service);
            let weight = (2.0 * (ratio.ln() - 2.0 * load.ln() - common.ln())).clamp(0.0, CAP_NATS) * share;
            let text = format!(
                "It takes {during:.0} ms a request instead of {before:.0}, {} of all new waiting begins here",
                percent(share)
            );
            self.case(service).add("slow", weight, "salve.span.duration.mean", text);
        } else {
            let waits =
                self.callers(service).map(|edge| self.wait_ratio(&edge.caller, service)).fold(1.0, f64::max);
            let text = format!("Its callers wait {waits:.0} times as long as before");
            let load = self.outside_load(service);
            let weight = (waits.ln() - 2.0 * load.ln()).clamp(0.0, 3.0) * share;
            self.case(service).add("unresponsive", weight, "salve.edge.duration.mean", text);
        }
    }

    /// Series that run towards a limit.
    fn limits(&mut self) {
        let trends: Vec<_> = self
            .view
            .symptoms
            .iter()
            .filter(|symptom| symptom.kind == Kind::Trend && symptom.rising && !symptom.service.is_empty())
            .cloned()
            .collect();
        for symptom in trends {
            let text = format!("{} runs towards its limit: {}", symptom.signal, symptom.reason);
            let weight = 3.0 + 2.0 * f64::from(symptom.score);
            let case = self.case(&symptom.service);
            // Several series of one resource are one sign.
            if !case.mechanisms.contains_key("saturation") {
                case.add("saturation", weight, symptom.signal, text);
            }
        }
    }

    /// A callee that loses traffic while its caller does not was dropped by its caller.
    fn dropped_calls(&mut self) {
        let lost: Vec<(String, String)> = self
            .view
            .before
            .edges
            .values()
            .filter(|edge| {
                let key = (edge.caller.clone(), edge.callee.clone());
                let calls = self.view.during.edges.get(&key).map_or(0.0, |edge| edge.requests_per_second);
                let caller = &self.view.during.services.get(&edge.caller);
                calls < 0.5 * edge.requests_per_second
                    && served(*caller) > 0.8 * served(self.view.before.services.get(&edge.caller))
                    && served(*caller) > 0.0
            })
            .map(|edge| (edge.caller.clone(), edge.callee.clone()))
            .collect();
        for (caller, callee) in lost {
            let blocked = self.silent.contains_key(&callee) || self.fault(&caller, &callee) != Fault::Caller;
            if !blocked {
                let text = format!("It serves as many requests as before, but calls {callee} far less");
                self.case(&caller).add("errors", 1.0, edge_name(&caller, &callee), text);
            }
        }
    }

    /// Symptoms that nothing above explains still point somewhere.
    fn symptoms(&mut self) {
        let view = self.view;
        for symptom in &view.symptoms {
            let derived = symptom.signal.starts_with("salve.");
            if symptom.service.is_empty() || symptom.kind == Kind::Trend {
                continue;
            }
            if symptom.kind == Kind::Missing {
                // Traffic that does not come is its callers' doing; telemetry that does not come was judged above.
                if !derived && self.silent.contains_key(&symptom.service) {
                    let mechanism = self.silent_mechanism(&symptom.service);
                    let text = format!("{}: {}", symptom.signal, symptom.reason);
                    self.case(&symptom.service).add(mechanism, 1.0, symptom.signal.clone(), text);
                }
                continue;
            }
            if symptom.signal == PROCESS_UP && !symptom.rising {
                // Whoever supervises the process says so: nobody knows better.
                let text = "its supervised process has ended".to_owned();
                self.case(&symptom.service).add("absent", 5.0, symptom.signal.clone(), text);
                continue;
            }
            let case = self.case(&symptom.service);
            if !derived && case.mechanisms.get("unknown").is_none_or(|nats| *nats < 1.5) {
                let weight = 0.75 * f64::from(symptom.score);
                case.add(
                    "unknown",
                    weight,
                    symptom.signal.clone(),
                    format!("{}: {}", symptom.signal, symptom.reason),
                );
            }
        }
    }

    /// What a service takes for a request, before and now, in milliseconds; 0 if it served nothing.
    fn mean_ms(&self, service: &str) -> (f64, f64) {
        let of = |map: &Map| map.services.get(service).map_or(0.0, |stats| stats.duration_mean_ms);
        (of(&self.view.before), of(&self.view.during))
    }

    /// How many times as much time as before each other service takes for a request by itself, at least: 1 if any of them is as
    /// fast as it was, or if there is none.
    fn least_slowdown_elsewhere(&self, service: &str) -> f64 {
        let others = self.slowdowns.iter().filter(|(name, _)| *name != service);
        let least = others.map(|(_, slowdown)| *slowdown).fold(f64::INFINITY, f64::min);
        if least.is_finite() { least.max(1.0) } else { 1.0 }
    }

    /// What was changed shortly before is likely at fault where something else is held against the service.
    fn changes(&mut self) {
        let view = self.view;
        for change in &view.changes {
            let Some(service) = &change.service else { continue };
            let Some(onset) = view.onset(change) else { continue };
            let age_ms = onset.saturating_sub(change.time) as f64 / 1e6;
            let recent = (-age_ms / CHANGE_HALF_MS).exp2();
            let silent = self.silent.contains_key(service);
            let case = self.case(service);
            if case.change.is_some() {
                // Newest first: an older one is less likely, and one is enough to say.
                continue;
            }
            let dead = silent || case.mechanisms.contains_key("saturation");
            let suspected = case.nats() >= 0.5;
            // What Salve changed was watched afterwards and taken back if it did not help, so it is hardly ever the next cause.
            let trusted = if change.author == "salve" { 0.1 } else { 1.0 };
            let weight = trusted * recent * if suspected && !dead { 5.0 } else { 1.0 };
            let from_to = match (&change.before, &change.after) {
                (Some(before), Some(after)) => format!(" from `{before}` to `{after}`"),
                (None, Some(after)) => format!(" to `{after}`"),
                (Some(before), None) => format!(" (removed, it was `{before}`)"),
                (None, None) => String::new(),
            };
            let what = if onset == view.started { "the first symptom" } else { "a symptom of its own" };
            let when = if change.time <= onset {
                format!("{:.0} s before {what}", age_ms / 1_000.0)
            } else {
                format!("as {what} came")
            };
            let text = format!("`{}` was changed{from_to}, {when}", change.what);
            case.add("config-change", weight, change.what.clone(), text);
            case.change = Some(change.clone());
        }
    }

    fn conclude(self) -> Vec<Hypothesis> {
        let mut cases: Vec<(String, f64, Case)> = self
            .cases
            .into_iter()
            .filter(|(_, case)| !case.evidence.is_empty())
            .map(|(service, case)| (service, case.nats(), case))
            .filter(|(_, nats, _)| *nats > 0.0)
            .collect();
        cases.sort_by(|left, right| right.1.total_cmp(&left.1).then_with(|| left.0.cmp(&right.0)));
        // Relative to the greatest, so that no sum overflows.
        let greatest = cases.first().map_or(NONE_NATS, |(_, nats, _)| nats.max(NONE_NATS));
        let whole = (NONE_NATS - greatest).exp()
            + cases.iter().map(|(_, nats, _)| (nats - greatest).exp()).sum::<f64>();
        cases
            .into_iter()
            .map(|(service, nats, case)| hypothesis(service, SURE * (nats - greatest).exp() / whole, case))
            .filter(|hypothesis| hypothesis.probability >= PROBABILITY_MIN)
            .take(HYPOTHESES_MAX)
            .collect()
    }
}

fn hypothesis(suspect: String, probability: f64, case: Case) -> Hypothesis {
    let mechanism = case.mechanism();
    let mut evidence = case.evidence;
    evidence.sort_by(|left, right| right.weight.abs().total_cmp(&left.weight.abs()));
    let mut extra = Vec::new();
    if let (Some(change), "config-change") = (&case.change, mechanism) {
        extra.push(("key".to_string(), change.what.clone()));
        let optional = [("before", &change.before), ("after", &change.after), ("target", &change.target)];
        extra.extend(
            optional.into_iter().filter_map(|(name, value)| Some((name.to_string(), value.clone()?))),
        );
    }
    Hypothesis { suspect, mechanism: mechanism.into(), probability, evidence, extra }
}
