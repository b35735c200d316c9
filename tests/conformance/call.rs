//! Calls that plugins are told to make, and a host that expects just these and answers from the case.

use crate::{
    cases::Pairs,
    term::{Term, list},
};
use salve_model::{
    TargetId,
    call::{
        BoxFuture, CallError, ConfigVersion, EdgeStats, HttpRequest, HttpResponse, ProcessStatus, Read,
        ReadAnswer, SeriesInfo, ServiceStats, Session, Telemetry, Write, WriteAnswer,
    },
    plan::Receipt,
    telemetry::Change,
};
use serde::{Deserialize, de::DeserializeOwned};
use serde_json::Value;
use std::{
    collections::VecDeque,
    sync::{Arc, Mutex},
};

/// A call of a script.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Call {
    call: String,
    target: String,
    key: String,
    value: Option<String>,
    method: String,
    path: String,
    query: Pairs,
    headers: Pairs,
    body: String,
    idempotency_key: Option<String>,
    fields: Pairs,
    from: String,
    to: String,
    service: String,
    name_prefix: String,
    series: u32,
    duration_ms: u32,
}

/// A question to telemetry.
#[derive(Debug, Clone, PartialEq)]
enum Question {
    Services(u64, u64),
    Edges(u64, u64),
    Changes(u64, u64),
    Find(String, String),
    Points(u32, u64, u64),
}

/// A call as it reaches the host.
#[derive(Debug, Clone, PartialEq)]
enum Arrival {
    Read(Read),
    Write(Write),
    Question(Question),
}

/// An answer of the host. Each list is of the question's own kind.
#[derive(Debug)]
enum Answer {
    Read(Result<ReadAnswer, CallError>),
    Write(Result<WriteAnswer, CallError>),
    Services(Vec<ServiceStats>),
    Edges(Vec<EdgeStats>),
    Changes(Vec<Change>),
    Find(Vec<SeriesInfo>),
    Points(Vec<(u64, f64)>),
}

pub(crate) fn bytes(hex: &str) -> Vec<u8> {
    (0..hex.len()).step_by(2).map(|at| u8::from_str_radix(&hex[at..at + 2], 16).unwrap()).collect()
}

fn integer(text: &str) -> u64 {
    text.parse().unwrap_or_else(|_| panic!("`{text}` is no 64-bit integer"))
}

impl Call {
    fn target(&self) -> TargetId {
        TargetId(self.target.clone())
    }

    fn request(&self) -> HttpRequest {
        HttpRequest {
            target: self.target(),
            method: self.method.clone(),
            path: self.path.clone(),
            query: self.query.clone(),
            headers: self.headers.clone(),
            body: bytes(&self.body),
            idempotency_key: self.idempotency_key.clone(),
        }
    }

    /// The write that this call is.
    pub(crate) fn write(&self) -> Option<Write> {
        let target = self.target();
        Some(match self.call.as_str() {
            "process.start" => Write::ProcessStart { target },
            "process.stop" => Write::ProcessStop { target },
            "process.restart" => Write::ProcessRestart { target },
            "config.set" => Write::ConfigSet { target, key: self.key.clone(), value: self.value.clone() },
            "http.send" => Write::HttpSend(self.request()),
            "notify.send" => Write::Notify { target, fields: self.fields.clone() },
            _ => return None,
        })
    }

    /// How the call reaches the host; none for the clock.
    fn arrival(&self) -> Option<Arrival> {
        if let Some(write) = self.write() {
            return Some(Arrival::Write(write));
        }
        let (target, key) = (self.target(), self.key.clone());
        let window = || (integer(&self.from), integer(&self.to));
        Some(match self.call.as_str() {
            "process.status" => Arrival::Read(Read::ProcessStatus { target }),
            "config.get" => Arrival::Read(Read::ConfigGet { target, key }),
            "config.history" => Arrival::Read(Read::ConfigHistory { target, key }),
            "config.keys" => Arrival::Read(Read::ConfigKeys { target }),
            "http.get" => Arrival::Read(Read::HttpGet(self.request())),
            "telemetry.services" => Arrival::Question(Question::Services(window().0, window().1)),
            "telemetry.edges" => Arrival::Question(Question::Edges(window().0, window().1)),
            "telemetry.changes" => Arrival::Question(Question::Changes(window().0, window().1)),
            "telemetry.find" => {
                Arrival::Question(Question::Find(self.service.clone(), self.name_prefix.clone()))
            }
            "telemetry.points" => Arrival::Question(Question::Points(self.series, window().0, window().1)),
            "clock.now" | "clock.sleep" => return None,
            other => panic!("no call `{other}`"),
        })
    }

    /// The case's answer to this call, and its term.
    fn answer(&self, given: &Value) -> (Answer, String) {
        fn of<T: DeserializeOwned>(value: &Value) -> T {
            serde_json::from_value(value.clone()).unwrap_or_else(|error| panic!("{value}: {error}"))
        }
        fn response(value: &Value) -> HttpResponse {
            #[derive(Deserialize)]
            struct Written {
                status: u16,
                #[serde(default)]
                headers: Pairs,
                #[serde(default)]
                body: String,
            }
            let Written { status, headers, body } = of(value);
            HttpResponse { status, headers, body: bytes(&body) }
        }
        /// The answer and its term.
        fn shown<T: Term>(value: T, wrap: impl FnOnce(T) -> ReadAnswer) -> (Answer, String) {
            let term = format!("ok({})", value.term());
            (Answer::Read(Ok(wrap(value))), term)
        }
        if let Some(error) = given.get("err") {
            let error: CallError = of(error);
            let term = format!("err({})", error.term());
            let answer = match self.write() {
                Some(_) => Answer::Write(Err(error)),
                None => Answer::Read(Err(error)),
            };
            return (answer, term);
        }
        let ok = given.get("ok").unwrap_or_else(|| panic!("{}: an answer is `ok` or `err`", self.call));
        match self.call.as_str() {
            "process.status" => shown::<ProcessStatus>(of(ok), ReadAnswer::ProcessStatus),
            "config.get" => shown::<Option<String>>(of(ok), ReadAnswer::ConfigValue),
            "config.history" => shown::<Vec<ConfigVersion>>(of(ok), ReadAnswer::ConfigVersions),
            "config.keys" => shown::<Vec<(String, Option<String>)>>(of(ok), ReadAnswer::ConfigKeys),
            "http.get" => shown(response(ok), ReadAnswer::Http),
            "http.send" => {
                let (response, receipt): (_, Receipt) = (response(&ok["response"]), of(&ok["receipt"]));
                let term = format!("ok(({},{}))", response.term(), receipt.term());
                (Answer::Write(Ok(WriteAnswer { receipt, response: Some(response) })), term)
            }
            "telemetry.services" => {
                let list: Vec<ServiceStats> = of(ok);
                let term = list.term();
                (Answer::Services(list), term)
            }
            "telemetry.edges" => {
                let list: Vec<EdgeStats> = of(ok);
                let term = list.term();
                (Answer::Edges(list), term)
            }
            "telemetry.changes" => {
                let list: Vec<Change> = of(ok);
                let term = list.term();
                (Answer::Changes(list), term)
            }
            "telemetry.find" => {
                let list: Vec<SeriesInfo> = of(ok);
                let term = list.term();
                (Answer::Find(list), term)
            }
            "telemetry.points" => {
                let points: Vec<(u64, f64)> = of(ok);
                let term =
                    list(points.iter().map(|(time, value)| format!("{{{},{}}}", time.term(), value.term())));
                (Answer::Points(points), term)
            }
            _ => {
                let receipt: Receipt = of(ok);
                let term = format!("ok({})", receipt.term());
                (Answer::Write(Ok(WriteAnswer { receipt, response: None })), term)
            }
        }
    }
}

/// A host that expects calls in their order. What comes otherwise is noted, and fails the case.
#[derive(Debug)]
pub(crate) struct Scripted {
    expected: Mutex<VecDeque<(Arrival, Answer)>>,
    problems: Mutex<Vec<String>>,
}

impl Scripted {
    /// Expects `calls`; `answers` has one for each but those to the clock. Also gives the term of all answers to the first
    /// `shown` calls.
    pub(crate) fn new(calls: &[Call], shown: usize, answers: &[Value]) -> (Arc<Self>, String) {
        let mut given = answers.iter();
        let mut expected = VecDeque::new();
        let mut terms = Vec::new();
        for call in calls {
            match call.arrival() {
                None => terms.push("true".to_owned()),
                Some(arrival) => {
                    let given = given.next().unwrap_or_else(|| panic!("no answer to `{}`", call.call));
                    let (answer, term) = call.answer(given);
                    expected.push_back((arrival, answer));
                    terms.push(term);
                }
            }
        }
        assert_eq!(given.next(), None, "more answers than calls");
        let scripted = Self { expected: Mutex::new(expected), problems: Mutex::default() };
        (Arc::new(scripted), list(terms.into_iter().take(shown)))
    }

    fn take(&self, arrival: &Arrival) -> Option<Answer> {
        let next = self.expected.lock().unwrap().pop_front();
        let problem = match next {
            Some((expected, answer)) if expected == *arrival => return Some(answer),
            Some((expected, _)) => format!("the call was {arrival:?}, not {expected:?}"),
            None => format!("one call too many: {arrival:?}"),
        };
        self.problems.lock().unwrap().push(problem);
        None
    }

    /// Checks that all calls came as expected.
    pub(crate) fn check(&self, case: &str) {
        let problems = self.problems.lock().unwrap();
        assert!(problems.is_empty(), "{case}: {}", problems.join("\n"));
        let left = self.expected.lock().unwrap();
        assert!(left.is_empty(), "{case}: these calls were not made: {left:?}");
    }
}

fn unexpected<T>() -> Result<T, CallError> {
    Err(CallError::Failed("the suite did not expect this call".into()))
}

impl Session for Scripted {
    fn read(&self, read: Read) -> BoxFuture<'_, Result<ReadAnswer, CallError>> {
        let answer = self.take(&Arrival::Read(read));
        Box::pin(async move {
            match answer {
                Some(Answer::Read(answer)) => answer,
                _ => unexpected(),
            }
        })
    }

    fn write(&self, write: Write) -> BoxFuture<'_, Result<WriteAnswer, CallError>> {
        let answer = self.take(&Arrival::Write(write));
        Box::pin(async move {
            match answer {
                Some(Answer::Write(answer)) => answer,
                _ => unexpected(),
            }
        })
    }
}

/// Answers a question with the list of its kind.
macro_rules! told {
    ($self:ident, $question:expr, $kind:ident) => {
        match $self.take(&Arrival::Question($question)) {
            Some(Answer::$kind(list)) => list,
            _ => Vec::new(),
        }
    };
}

impl Telemetry for Scripted {
    fn services(&self, from: u64, to: u64) -> Vec<ServiceStats> {
        told!(self, Question::Services(from, to), Services)
    }
    fn edges(&self, from: u64, to: u64) -> Vec<EdgeStats> {
        told!(self, Question::Edges(from, to), Edges)
    }
    fn changes(&self, from: u64, to: u64) -> Vec<Change> {
        told!(self, Question::Changes(from, to), Changes)
    }
    fn find(&self, service: &str, name_prefix: &str) -> Vec<SeriesInfo> {
        told!(self, Question::Find(service.into(), name_prefix.into()), Find)
    }
    fn points(&self, series: u32, from: u64, to: u64) -> Vec<(u64, f64)> {
        told!(self, Question::Points(series, from, to), Points)
    }
}
