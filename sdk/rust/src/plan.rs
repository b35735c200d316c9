//! Plans: what an action will do, as steps that each license one call.
//!
//! ## What always holds
//! - A step's `arguments` are canonical JSON: keys sorted, no spaces, bodies as lower-case SHA-256. The host compares
//!   them byte by byte with the call that is made, so they are written here and nowhere else.
//! - `before` and `inverse` stay empty: the host states what is true, and how a call is taken back.

pub use crate::bindings::action::exports::salve::plugin::act::{Expectation, Proposal, Step};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

/// Builds a [`Proposal`].
#[derive(Debug, Clone, PartialEq)]
#[must_use = "a plan does nothing until it is returned"]
pub struct Plan(Proposal);

impl Plan {
    /// A plan without steps. `summary`: one sentence for a person, what this will do.
    pub fn new(summary: impl Into<String>) -> Self {
        Self(Proposal { summary: summary.into(), steps: Vec::new(), expect: Vec::new(), extra: Vec::new() })
    }

    /// Adds a step, to be made after those before it.
    pub fn step(mut self, step: Step) -> Self {
        self.0.steps.push(step);
        self
    }

    /// Adds steps in their order.
    pub fn steps(mut self, steps: impl IntoIterator<Item = Step>) -> Self {
        self.0.steps.extend(steps);
        self
    }

    /// Adds what the telemetry must show afterwards, besides the incident's own symptoms clearing.
    pub fn expect(mut self, expectation: impl Into<Expectation>) -> Self {
        self.0.expect.push(expectation.into());
        self
    }

    /// Adds all of them.
    pub fn expect_all<T: Into<Expectation>>(mut self, expectations: impl IntoIterator<Item = T>) -> Self {
        self.0.expect.extend(expectations.into_iter().map(Into::into));
        self
    }

    /// Adds a detail by name, for people and for `execute`.
    pub fn extra(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.0.extra.push((name.into(), value.into()));
        self
    }
}

impl From<Plan> for Proposal {
    fn from(plan: Plan) -> Self {
        plan.0
    }
}

/// An [`Expectation`] as actions take it in their parameters:
/// `{"service": "checkout", "signal": "salve.span.error_ratio", "upper": 0.02}`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Expect {
    /// A service's name; empty: the first target's.
    #[serde(default)]
    pub service: String,
    /// A series name.
    pub signal: String,
    /// Inclusive.
    #[serde(default)]
    pub lower: Option<f64>,
    /// Inclusive.
    #[serde(default)]
    pub upper: Option<f64>,
    /// The bounds must hold by then, counted from the end of `execute`. Default: one minute.
    #[serde(default = "Expect::within_ms_default")]
    pub within_ms: u64,
    /// For this long without a break. Default: five seconds.
    #[serde(default = "Expect::hold_ms_default")]
    pub hold_ms: u64,
    /// Over at least so many points. Default: three.
    #[serde(default = "Expect::samples_min_default")]
    pub samples_min: u32,
}

impl Expect {
    fn within_ms_default() -> u64 {
        60_000
    }

    fn hold_ms_default() -> u64 {
        5_000
    }

    fn samples_min_default() -> u32 {
        3
    }
}

impl From<Expect> for Expectation {
    fn from(expect: Expect) -> Self {
        Self {
            service: expect.service,
            signal: expect.signal,
            lower: expect.lower,
            upper: expect.upper,
            within_ms: expect.within_ms,
            hold_ms: expect.hold_ms,
            samples_min: expect.samples_min,
        }
    }
}

impl From<&Expect> for Expectation {
    fn from(expect: &Expect) -> Self {
        expect.clone().into()
    }
}

/// A step that licenses one call. Prefer the functions that know their arguments, such as
/// [`process::restart_step`](crate::process::restart_step).
///
/// `arguments` must serialise with its keys in the order of their names: use a struct whose fields stand in that
/// order. Never fails for such structs; a value that JSON cannot hold gives a step that the host will refuse.
#[must_use]
pub fn step(capability: &str, verb: &str, target: &str, arguments: &impl Serialize) -> Step {
    Step {
        capability: capability.into(),
        verb: verb.into(),
        target: target.into(),
        arguments: serde_json::to_string(arguments).unwrap_or_default(),
        before: None,
        after: None,
        inverse: None,
    }
}

/// Lower-case hex SHA-256, as steps name bodies.
#[must_use]
pub fn body_sha256(body: &[u8]) -> String {
    const HEX: &[u8; 16] = b"0123456789abcdef";
    Sha256::digest(body)
        .iter()
        .flat_map(|byte| [HEX[usize::from(byte >> 4)], HEX[usize::from(byte & 15)]])
        .map(char::from)
        .collect()
}
