//! Values as terms.

use salve_plugin::{
    CallError, Denied, Proposal, Receipt, Target,
    config::Version,
    http::Response,
    process::ProcessStatus,
    telemetry::{Change, EdgeStats, Point, SeriesInfo, ServiceStats},
};

/// A value that can be shown.
pub trait Term {
    /// As the suite writes it.
    fn term(&self) -> String;
}

/// `{a,b}`
#[must_use]
pub fn record(fields: &[String]) -> String {
    format!("{{{}}}", fields.join(","))
}

/// `[a,b]`
pub fn list<T: Term>(items: &[T]) -> String {
    format!("[{}]", items.iter().map(Term::term).collect::<Vec<_>>().join(","))
}

/// Pairs ordered by name.
#[must_use]
pub fn attributes(pairs: &[(String, String)]) -> String {
    let mut sorted = pairs.to_vec();
    sorted.sort();
    list(&sorted)
}

/// A body.
#[must_use]
pub fn body(bytes: &[u8]) -> String {
    bytes.iter().fold(String::from("x"), |text, byte| text + &format!("{byte:02x}"))
}

macro_rules! shown {
    ($($kind:ty),+) => { $(impl Term for $kind { fn term(&self) -> String { self.to_string() } })+ };
}
shown!(bool, u8, u16, u32, u64);

impl Term for String {
    fn term(&self) -> String {
        format!("\"{}\"", self.replace('\\', "\\\\").replace('"', "\\\""))
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

impl<T: Term> Term for Vec<T> {
    fn term(&self) -> String {
        list(self)
    }
}

impl<A: Term, B: Term> Term for (A, B) {
    fn term(&self) -> String {
        format!("({},{})", self.0.term(), self.1.term())
    }
}

impl<T: Term> Term for Result<T, CallError> {
    fn term(&self) -> String {
        match self {
            Ok(value) => format!("ok({})", value.term()),
            Err(error) => format!("err({})", error.term()),
        }
    }
}

impl Term for CallError {
    fn term(&self) -> String {
        match self {
            Self::Denied(denied) => format!("denied({})", denied.term()),
            Self::NotFound(what) => format!("not-found({})", what.term()),
            Self::Failed(why) => format!("failed({})", why.term()),
            Self::TimedOut => "timed-out".into(),
        }
    }
}

impl Term for Denied {
    fn term(&self) -> String {
        match self {
            Self::NotGranted(toml) => format!("not-granted({})", toml.term()),
            Self::NotInPlan(closest) => format!("not-in-plan({})", closest.term()),
            Self::NotRecorded => "not-recorded".into(),
            Self::StateChanged(now) => format!("state-changed({})", now.term()),
            Self::KillSwitch => "kill-switch".into(),
            Self::Limit(limit) => format!("limit({})", limit.term()),
        }
    }
}

/// A record of fields that are all terms.
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
    Version { value, since, good }
    ServiceStats { service, requests_per_second, error_ratio, duration_mean_ms, duration_p95_ms, last_seen }
    EdgeStats { caller, callee, requests_per_second, error_ratio, duration_mean_ms }
    Change { time, service, target, kind, what, before, after, author }
    Point { time, value }
}

impl Term for Response {
    fn term(&self) -> String {
        record(&[self.status.term(), self.headers.term(), body(&self.body)])
    }
}

impl Term for SeriesInfo {
    fn term(&self) -> String {
        let Self { id, name, unit, service, limit, .. } = self;
        record(&[
            id.term(),
            name.term(),
            unit.term(),
            service.term(),
            limit.term(),
            attributes(&self.attributes),
        ])
    }
}

impl Term for Target {
    fn term(&self) -> String {
        record(&[self.id.term(), attributes(&self.attributes)])
    }
}

impl Term for Receipt {
    fn term(&self) -> String {
        let Self { call, step, target, verb, applied, before, after, extra } = self;
        record(&[
            call.term(),
            step.term(),
            target.term(),
            verb.term(),
            applied.term(),
            before.term(),
            after.term(),
            attributes(extra),
        ])
    }
}

impl Term for salve_plugin::Step {
    fn term(&self) -> String {
        let Self { capability, verb, target, arguments, before, after, inverse } = self;
        record(&[
            capability.term(),
            verb.term(),
            target.term(),
            arguments.term(),
            before.term(),
            after.term(),
            inverse.term(),
        ])
    }
}

impl Term for salve_plugin::Expectation {
    fn term(&self) -> String {
        let Self { service, signal, lower, upper, within_ms, hold_ms, samples_min } = self;
        record(&[
            service.term(),
            signal.term(),
            lower.term(),
            upper.term(),
            within_ms.term(),
            hold_ms.term(),
            samples_min.term(),
        ])
    }
}

impl Term for Proposal {
    fn term(&self) -> String {
        record(&[self.summary.term(), self.steps.term(), self.expect.term(), attributes(&self.extra)])
    }
}
