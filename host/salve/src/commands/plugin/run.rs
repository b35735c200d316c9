//! `salve plugin run`.

use super::{ShownLogs, block_on, build, real::Real};
use crate::{commands::output, config, daemon};
use anyhow::{Context, Result, bail};
use salve_authoring::{
    compiled_folder,
    trial::{self, Answers, Call, Conditions, HostCall, Recording, Request, Trial, Watch, World},
};
use salve_model::text::escape;
use salve_plugins::HostConfig;
use serde_json::Value;
use std::{path::PathBuf, process::ExitCode, sync::Arc};

/// What is called, and who answers it.
#[derive(Debug, clap::Args)]
#[command(after_help = FORM)]
pub struct Arguments {
    /// A component, or a project, which is built if need be.
    #[arg(default_value = ".")]
    component: PathBuf,
    #[command(flatten)]
    asked: Asked,
    /// Let writes take effect in the request's world. Without it, and always with `--config`, this is a dry-run.
    #[arg(long, conflicts_with_all = ["config", "replay"])]
    apply: bool,
    /// Write the request, all calls to the host and the result to this file; in a project's `tests` folder it is a case.
    #[arg(long, value_name = "FILE")]
    record: Option<PathBuf>,
    /// Record bodies and header values of real HTTP calls too. Without it their lengths and digests stand there, and such a
    /// recording cannot be replayed.
    #[arg(long, requires_all = ["record", "config"])]
    with_bodies: bool,
    /// Let real brokers answer, as this configuration grants it: real reads, and writes as a dry-run.
    #[arg(long, value_name = "FILE", conflicts_with = "replay")]
    config: Option<PathBuf>,
    /// Answer in JSON.
    #[arg(long)]
    json: bool,
}

/// What is called; `bench` asks the same way.
#[derive(Debug, clap::Args)]
pub struct Asked {
    /// Which call. Default: the recording's, else the first of the plugin's role.
    #[arg(long, value_enum)]
    call: Option<CallArgument>,
    /// The request, `-` for standard input. Default: the recording's.
    #[arg(long, value_name = "FILE", required_unless_present = "replay")]
    request: Option<PathBuf>,
    /// In place of the request's parameters: a JSON object.
    #[arg(long, value_name = "JSON")]
    parameters: Option<String>,
    /// Answer calls to the host from this recording; a call that is not in it is a failure.
    #[arg(long, value_name = "FILE")]
    replay: Option<PathBuf>,
}

const FORM: &str = "\
The request file (docs/authoring.md has all of it; times are Unix nanoseconds):
  {
    \"incident\": { \"id\": \"inc-1\", \"started\": 1767226200000000000, \"now\": 1767226240000000000, \"symptoms\": [] },
    \"targets\": [{ \"id\": \"checkout\", \"attributes\": { \"service.name\": \"checkout\" } }],
    \"parameters\": {},
    \"world\": { \"config\": { \"checkout\": { \"pool.size\": [{ \"value\": \"2\", \"since\": 0, \"good\": false }] } } }
  }
Exit code 0: it did what it was asked; 1: it answered otherwise; 2: it could not be called.";

/// `--call`.
#[derive(Debug, Clone, Copy, clap::ValueEnum)]
pub enum CallArgument {
    /// Of an action: says what it would do.
    Plan,
    /// Of an action: does it; asks for a plan first if the request has none.
    Execute,
    /// Of an action: takes it back; executes first, in the request's world, if the request has no receipts.
    Undo,
    /// Of an agent: says what the cause is.
    Consult,
    /// Of a detector: sees all points of the request's world.
    Observe,
}

impl From<CallArgument> for Call {
    fn from(call: CallArgument) -> Self {
        match call {
            CallArgument::Plan => Self::Plan,
            CallArgument::Execute => Self::Execute,
            CallArgument::Undo => Self::Undo,
            CallArgument::Consult => Self::Consult,
            CallArgument::Observe => Self::Observe,
        }
    }
}

/// What is called, read.
pub struct Question {
    /// The request.
    pub request: Request,
    /// The call, if one is named.
    pub call: Option<Call>,
    /// Recorded calls to the host.
    pub recorded: Option<Vec<HostCall>>,
    /// The recording's writes took effect.
    pub apply: bool,
}

impl Asked {
    /// Reads what the arguments name.
    pub fn read(&self) -> Result<Question> {
        let recording =
            self.replay.as_ref().map(|path| Recording::read(path).map(|found| (path, found))).transpose()?;
        let mut request = match (&self.request, &recording) {
            (Some(path), _) => Request::read(path)?,
            (None, Some((path, recording))) => recording.request(path)?,
            (None, None) => bail!("there is no request\n\nhint: Give one by `--request FILE`."),
        };
        if let Some(json) = &self.parameters {
            request.parameters = serde_json::from_str(json).context("cannot read `--parameters` as JSON")?;
        }
        let call = self.call.map(Call::from).or(recording.as_ref().map(|(_, recording)| recording.call));
        let apply = recording.as_ref().is_some_and(|(_, recording)| recording.apply);
        let recorded = match recording {
            // A case without recorded calls is answered by its request's world.
            Some((_, recording)) => recording.host_calls,
            None => None,
        };
        Ok(Question { request, call, recorded, apply })
    }
}

/// Shows calls to the host as they happen.
struct Shown;

impl Watch for Shown {
    fn host_call(&self, call: &HostCall) {
        output::complain(&format!("  {}", call.sentence()));
    }
}

/// Makes the call.
pub fn run(arguments: &Arguments) -> Result<ExitCode> {
    let Question { mut request, call, recorded, apply } = arguments.asked.read()?;
    let apply = apply || arguments.apply;
    let component = build::component_of(&arguments.component, false)?;
    let settings = arguments.config.as_ref().map(|path| config::load(path, std::env::vars())).transpose()?;
    let mut host = trial::host_config(compiled_folder());
    if let Some(settings) = &settings {
        // As the daemon would run it, in real time.
        let theirs = daemon::host_config(settings);
        host = HostConfig { limits: theirs.limits, plugins: theirs.plugins, virtual_clock: false, ..host };
    }
    let trial = Trial::load(&component, host, Arc::new(ShownLogs))?;
    let role = trial.plugin().role();
    let call = call.or_else(|| Call::of_role(role).next()).context("the role has no calls")?;
    let ran = block_on(async {
        let real = match (&settings, &arguments.config) {
            (Some(settings), Some(path)) => Some(Real::new(settings, path)?),
            _ => None,
        };
        let answers = match (&real, recorded) {
            (Some(real), _) => {
                real.resolve(&mut request)?;
                Answers::Real(real.brokers.clone())
            }
            (None, Some(recorded)) => Answers::Replay(recorded),
            (None, None) => Answers::Paper,
        };
        let conditions = Conditions { answers, apply, watch: Arc::new(Shown) };
        Ok::<_, anyhow::Error>(trial.run(call, &request, &conditions).await?)
    })??;
    if let Some(path) = &arguments.record {
        let mut request = ran.request.clone();
        // What was asked of it stands in the calls; a detector's points stand nowhere else.
        if call != Call::Observe {
            request.world = World::default();
        }
        let (mut host_calls, mut earlier_calls) = (ran.host_calls.clone(), ran.earlier_calls.clone());
        // What a request's own world answers is made up, and a case needs it.
        if settings.is_some() && !arguments.with_bodies {
            host_calls.iter_mut().chain(&mut earlier_calls).for_each(HostCall::leave_bodies_out);
        }
        let recording = Recording {
            about: String::new(),
            call,
            request: serde_json::to_value(&request).context("cannot record the request")?,
            parameters: None,
            observe: None,
            apply,
            plugin: Some(trial.stamp()),
            host_calls: (call != Call::Observe).then_some(host_calls),
            earlier_calls,
            expect: Some(ran.result.clone()),
        };
        recording.write(path)?;
        output::complain(&format!("recorded in {}", path.display()));
    }
    if arguments.json {
        output::say_json(&ran)?;
    } else {
        output::say(&in_words(&ran.result).join("\n"));
    }
    Ok(if ran.good { ExitCode::SUCCESS } else { ExitCode::from(1) })
}

/// Most lines of a list that are shown.
const LINES_MAX: usize = 20;

/// A result for a person.
fn in_words(result: &Value) -> Vec<String> {
    let text = |value: &Value, name: &str| {
        let found = value.get(name).unwrap_or(&Value::Null);
        found.as_str().map_or_else(|| found.to_string(), |text| escape(text, 300))
    };
    let outcome = text(result, "outcome");
    let first = ["summary", "note", "reason", "text"].into_iter().find(|name| result.get(*name).is_some());
    let mut lines = vec![match first {
        Some(name) => format!("{outcome}: {}", text(result, name)),
        None => outcome,
    }];
    let mut list = |name: &str, line: &dyn Fn(&Value) -> String| {
        let entries = result.get(name).and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
        lines.extend(entries.iter().take(LINES_MAX).map(|entry| format!("  {}", line(entry))));
        if entries.len() > LINES_MAX {
            lines.push(format!("  … and {} more {name}; --json shows all", entries.len() - LINES_MAX));
        }
    };
    list("steps", &|step| {
        let back = match step.get("inverse") {
            Some(inverse) => format!("can be taken back: {inverse}"),
            None => "cannot be taken back".into(),
        };
        format!(
            "step: {} {} {} {}; {back}",
            text(step, "capability"),
            text(step, "verb"),
            text(step, "target"),
            text(step, "arguments")
        )
    });
    list("expectations", &|expected| {
        format!(
            "expects: {} between {} and {} within {} ms, for {} ms",
            text(expected, "signal"),
            text(expected, "lower").replace("null", "-∞"),
            text(expected, "upper").replace("null", "∞"),
            text(expected, "within_ms"),
            text(expected, "hold_ms")
        )
    });
    list("receipts", &|receipt| {
        let applied = receipt.get("applied").and_then(Value::as_bool).unwrap_or_default();
        let refused = receipt.get("extra").is_some_and(|extra| extra.get("refused").is_some());
        format!(
            "{}: {} {}, {} → {}",
            match (applied, refused) {
                (true, _) => "written",
                (false, true) => "refused, not written",
                (false, false) => "checked, not written",
            },
            text(receipt, "verb"),
            text(receipt, "target"),
            text(receipt, "before"),
            text(receipt, "after")
        )
    });
    list("hypotheses", &|hypothesis| {
        let probability = hypothesis.get("probability").and_then(Value::as_f64).unwrap_or_default();
        let entries =
            hypothesis.get("evidence").and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
        let evidence: Vec<_> = entries.iter().map(|evidence| text(evidence, "text")).collect();
        format!(
            "{:.0} % {} ({}): {}",
            probability * 100.0,
            text(hypothesis, "suspect"),
            text(hypothesis, "mechanism"),
            evidence.join("; ")
        )
    });
    list("suggestions", &|suggestion| {
        format!("suggests {} on {}", text(suggestion, "action"), text(suggestion, "target"))
    });
    list("observations", &|observation| {
        format!(
            "{} {} {}: {} (score {})",
            text(observation, "service"),
            text(observation, "signal"),
            text(observation, "kind"),
            text(observation, "reason"),
            text(observation, "score")
        )
    });
    list("set_aside", &|aside| format!("FAILS on {}: {}", text(aside, "signal"), text(aside, "reason")));
    if let Some(total) = result.get("observations_total") {
        lines.push(format!("{total} observations in {} batches", text(result, "batches")));
    }
    lines
}
