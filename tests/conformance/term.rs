//! Values as terms: the host's side of what plugins show. See `sdk/conformance/README.md`.

use salve_model::{
    Attributes, Target, TargetId,
    call::{
        CallError, ConfigVersion, Denied, EdgeStats, HttpResponse, ProcessStatus, SeriesInfo, ServiceStats,
    },
    plan::{Expectation, Receipt, Step},
    telemetry::{Change, ObservationKind},
};

/// A value that can be shown.
pub(crate) trait Term {
    /// As the suite writes it.
    fn term(&self) -> String;
}

/// `{a,b}`
pub(crate) fn record(fields: &[String]) -> String {
    format!("{{{}}}", fields.join(","))
}

/// `[a,b]`, of finished terms.
pub(crate) fn list(items: impl IntoIterator<Item = String>) -> String {
    format!("[{}]", items.into_iter().collect::<Vec<_>>().join(","))
}

/// Bytes of a body.
pub(crate) fn body(bytes: &[u8]) -> String {
    let hex: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
    format!("x{hex}")
}

macro_rules! shown {
    ($($kind:ty),+) => { $(impl Term for $kind { fn term(&self) -> String { self.to_string() } })+ };
}
shown!(bool, u8, u16, u32, u64);

impl Term for str {
    fn term(&self) -> String {
        format!("\"{}\"", self.replace('\\', "\\\\").replace('"', "\\\""))
    }
}

impl Term for String {
    fn term(&self) -> String {
        self.as_str().term()
    }
}

impl Term for TargetId {
    fn term(&self) -> String {
        self.0.term()
    }
}

impl Term for f64 {
    fn term(&self) -> String {
        format!("{:016x}", self.to_bits())
    }
}

impl Term for f32 {
    fn term(&self) -> String {
        f64::from(*self).term()
    }
}

impl<T: Term> Term for Option<T> {
    fn term(&self) -> String {
        self.as_ref().map_or_else(|| "none".into(), |value| format!("some({})", value.term()))
    }
}

impl<T: Term> Term for [T] {
    fn term(&self) -> String {
        list(self.iter().map(Term::term))
    }
}

impl<T: Term> Term for Vec<T> {
    fn term(&self) -> String {
        self.as_slice().term()
    }
}

impl<A: Term, B: Term> Term for (A, B) {
    fn term(&self) -> String {
        format!("({},{})", self.0.term(), self.1.term())
    }
}

impl Term for Attributes {
    fn term(&self) -> String {
        list(self.iter().map(|(name, value)| format!("({},{})", name.term(), value.term())))
    }
}

impl Term for CallError {
    fn term(&self) -> String {
        match self {
            Self::NotFound(what) => format!("not-found({})", what.term()),
            Self::Failed(why) => format!("failed({})", why.term()),
            Self::TimedOut => "timed-out".into(),
            Self::Denied(denied) => format!(
                "denied({})",
                match denied {
                    Denied::NotGranted(toml) => format!("not-granted({})", toml.term()),
                    Denied::NotInPlan(closest) => format!("not-in-plan({})", closest.term()),
                    Denied::NotRecorded => "not-recorded".into(),
                    Denied::StateChanged(now) => format!("state-changed({})", now.term()),
                    Denied::KillSwitch => "kill-switch".into(),
                    Denied::Limit(limit) => format!("limit({})", limit.term()),
                    // Guests see it as a call that failed; no test here is refused so.
                    Denied::Never(why) => format!("never({})", why.term()),
                }
            ),
        }
    }
}

/// Records, field by field in the order of the contract.
macro_rules! records {
    ($($kind:ty { $($field:ident),+ })+) => {
        $(impl Term for $kind {
            fn term(&self) -> String {
                record(&[$(self.$field.term()),+])
            }
        })+
    };
}
records! {
    ProcessStatus { pid, started, state, rss_bytes, cpu_seconds, last_exit }
    ConfigVersion { value, since, good }
    ServiceStats { service, requests_per_second, error_ratio, duration_mean_ms, duration_p95_ms, last_seen }
    EdgeStats { caller, callee, requests_per_second, error_ratio, duration_mean_ms }
    SeriesInfo { id, name, unit, service, limit, attributes }
    Target { id, attributes }
    Receipt { call, step, target, verb, applied, before, after, extra }
    Expectation { service, signal, lower, upper, within_ms, hold_ms, samples_min }
}

impl Term for HttpResponse {
    fn term(&self) -> String {
        record(&[self.status.term(), self.headers.term(), body(&self.body)])
    }
}

impl Term for Change {
    fn term(&self) -> String {
        let Self { time, service, target, kind, what, before, after, author } = self;
        record(&[
            time.0.term(),
            service.term(),
            target.term(),
            kind.term(),
            what.term(),
            before.term(),
            after.term(),
            author.term(),
        ])
    }
}

impl Term for Step {
    fn term(&self) -> String {
        record(&[
            self.call.capability.term(),
            self.call.verb.term(),
            self.call.target.term(),
            self.call.arguments.term(),
            self.before.term(),
            self.after.term(),
            self.inverse.term(),
        ])
    }
}

impl Term for ObservationKind {
    fn term(&self) -> String {
        match self {
            Self::Point => "point",
            Self::LevelShift => "level-shift",
            Self::Trend => "trend",
            Self::SeasonalBreak => "seasonal-break",
            Self::Missing => "missing",
        }
        .into()
    }
}

/// Guarantees: the examples of the README are what the runner compares with.
#[test]
fn terms_of_the_readme() {
    let error = CallError::Denied(Denied::NotGranted("a \"b\"".into()));
    assert_eq!(format!("err({})", error.term()), r#"err(denied(not-granted("a \"b\"")))"#);
    assert_eq!(1.5_f64.term(), "3ff8000000000000");
    assert_eq!(0.1_f32.term(), "3fb99999a0000000");
    assert_eq!(Some((true, "\\".to_owned())).term(), r#"some((true,"\\"))"#);
    assert_eq!(Vec::<u32>::new().term(), "[]");
    assert_eq!(body(&[0, 255]), "x00ff");
}
