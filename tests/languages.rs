//! Plugins in JavaScript and Python: the SDKs' own tests, the examples as components on the real host, and what a component
//! says when it uses what does not exist there.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test that cannot go on has failed"
)]

#[path = "support/languages.rs"]
mod support;

use salve_model::call::{HttpRequest, Write};
use salve_plugins::{ActionError, DetectorOptions, GuestErrorKind};
use salve_tests::components;
use sha2::{Digest, Sha256};
use std::{fs, path::Path, process::Command, sync::Arc};
use support::{Bench, Tracker, block_on, points, request};

fn run(command: &mut Command) {
    let shown = format!("{command:?}");
    let output = command.output().unwrap_or_else(|error| {
        panic!("cannot start {shown}: {error}\n\nhint: run `cargo xtask setup` first")
    });
    let text = String::from_utf8_lossy(&output.stdout);
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{shown} ended with {}\n{text}\n{said}", output.status);
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for item in fs::read_dir(from).unwrap() {
        let path = item.unwrap().path();
        let name = path.file_name().unwrap();
        if path.is_dir() {
            if !["node_modules", "build", "__pycache__"].iter().any(|made| name == *made) {
                copy(&path, &to.join(name));
            }
        } else {
            fs::copy(&path, to.join(name)).unwrap();
        }
    }
}

/// Guarantees: the JavaScript SDK's own tests, and those of its examples, pass under plain `node --test`, with the SDK where
/// `npm install` puts it.
#[test]
fn javascript_tests_natively() {
    let root = salve_tests::root();
    run(Command::new("node").arg("--test").current_dir(root.join("sdk/js")));
    for example in ["action-javascript", "detector-javascript"] {
        let folder = tempfile::tempdir().unwrap();
        copy(&root.join("examples").join(example), folder.path());
        fs::create_dir(folder.path().join("node_modules")).unwrap();
        std::os::unix::fs::symlink(root.join("sdk/js"), folder.path().join("node_modules/salve-plugin"))
            .unwrap();
        run(Command::new("node").arg("--test").current_dir(folder.path()));
    }
}

/// Guarantees: the Python SDK's own tests, and those of its examples, pass under plain `unittest`.
#[test]
fn python_tests_natively() {
    let root = salve_tests::root();
    let python = || {
        let mut python = Command::new("python3");
        python.env("PYTHONPATH", root.join("sdk/python/src")).env("PYTHONDONTWRITEBYTECODE", "1");
        python
    };
    run(python().args(["-m", "unittest", "discover", "-s", "tests"]).current_dir(root.join("sdk/python")));
    for example in ["action-python", "detector-python"] {
        run(python().args(["-m", "unittest"]).current_dir(root.join("examples").join(example)));
    }
}

fn sha256(body: &[u8]) -> String {
    Sha256::digest(body).iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Scenario: the ticket action as a component, planned and executed. Guarantees: it looks for the ticket while planning; the
/// call that it makes is, byte by byte, the one that its plan names; its template is filled in.
#[test]
fn the_ticket_action_does_what_it_planned() {
    let bench = Bench::new("action-javascript");
    let tracker = Arc::new(Tracker::default());
    let asked = request(r#"{"tracker":"tracker"}"#);
    block_on(async {
        let plan = bench.plan(&asked, &tracker).await.unwrap();
        assert_eq!(plan.summary, "Open a ticket for checkout in tracker");
        let outcome = bench.execute(&asked, &plan, &tracker).await.unwrap();
        assert_eq!((outcome.done, outcome.note.as_str()), (true, "1 of 1 steps made"));
        let writes = tracker.writes.lock().unwrap().clone();
        let [Write::HttpSend(HttpRequest { body, idempotency_key, .. })] = writes.as_slice() else {
            panic!("{writes:?}")
        };
        assert_eq!(writes[0].call(sha256).arguments, plan.steps[0].arguments);
        assert_eq!(idempotency_key.as_deref(), Some("salve-inc-1-checkout"));
        insta::assert_snapshot!(String::from_utf8_lossy(body), @r#"{"description":"Salve sees an incident on checkout since 2026-01-01T00:00:00.000Z (incident inc-1).","external_id":"salve-inc-1-checkout","title":"checkout needs a look"}"#);
        tracker.found.lock().unwrap().replace(r#"{"state":"open"}"#.into());
        let refused = bench.plan(&asked, &tracker).await.unwrap_err();
        assert!(
            matches!(&refused, ActionError::NotApplicable(why) if why.contains("is open already")),
            "{refused}"
        );
    });
}

/// Scenario: the stepping action as a component. Guarantees: one step for each value on the way, made in order with pauses of
/// the host's clock.
#[test]
fn the_stepping_action_goes_step_by_step() {
    let bench = Bench::new("action-python");
    let tracker = Arc::new(Tracker::default());
    let asked = request(r#"{"key":"workers.concurrency","to":8,"pause_ms":1}"#);
    block_on(async {
        let plan = bench.plan(&asked, &tracker).await.unwrap();
        assert_eq!(plan.summary, "Set `workers.concurrency` of `checkout` from 64 to 32, 16, 8");
        let outcome = bench.execute(&asked, &plan, &tracker).await.unwrap();
        assert_eq!(outcome.note, "3 of 3 steps made");
        let written: Vec<_> =
            tracker.writes.lock().unwrap().iter().map(|write| write.call(sha256).arguments).collect();
        let planned: Vec<_> = plan.steps.iter().map(|step| step.arguments.clone()).collect();
        assert_eq!(written, planned);
    });
}

/// Guarantees: the interpreter tells the build which objects there are, and the build makes them immortal: it clears the list of
/// thousands of addresses once it has. A newer interpreter that counts otherwise shows here, and not as slow calls.
#[test]
fn python_objects_of_the_build_are_immortal() {
    let root = salve_tests::root();
    let component = components::built(&root.join("examples/action-python"), &[&root.join("sdk/python")]);
    let mark = b"salve-immortal-objects-1";
    let lists = component.windows(mark.len()).enumerate().filter(|(_, bytes)| bytes == mark);
    let cleared =
        lists.map(|(at, _)| component[at + mark.len()..].iter().take_while(|byte| **byte == 0).count());
    let bytes = cleared.max().expect("the SDK makes a list while a component is built");
    assert!(bytes > 4 * 10_000, "the list is still there: {bytes} bytes of it are zero");
}

/// Scenario: usual points, a snapshot, a restart, an outlier. Guarantees: both detectors see the outlier and nothing else, also
/// from restored state.
#[test]
fn the_detectors_see_the_outlier_after_a_restart() {
    for example in ["detector-javascript", "detector-python"] {
        let bench = Bench::new(example);
        block_on(async {
            let options =
                |state| DetectorOptions { name: example.into(), parameters_json: "{}".into(), state };
            let mut instance = bench.host.detector(&bench.plugin, options(None)).await.unwrap();
            for step in 0..80_u32 {
                let value = f64::from(20 + step % 3);
                let seen = instance.observe(&points(&[value, value], step == 0)).await.unwrap();
                assert_eq!(seen.observations.len(), 0, "{example}, point {step}");
            }
            let state = instance.snapshot().await.unwrap();
            let mut instance = bench.host.detector(&bench.plugin, options(Some(state))).await.unwrap();
            let seen = instance.observe(&points(&[21.0, 400.0], true)).await.unwrap();
            assert_eq!(instance.restore_failure(), None);
            let series: Vec<_> = seen.observations.iter().map(|seen| (seen.series, seen.rising)).collect();
            assert_eq!(series, [(1, true)], "{example}");
        });
    }
}

const JAVASCRIPT: &str = r#"
import { defineDetector } from "salve-plugin";
const uses = {
  date: () => Date.now(),
  newDate: () => new Date(),
  performance: () => performance.now(),
  timeout: () => setTimeout(() => {}, 1),
  fetch: () => fetch("http://x"),
  url: () => new URL("http://x"),
  uuid: () => crypto.randomUUID(),
  console: () => console.log("said", { a: 1 }),
  text: () => console.log(new TextDecoder().decode(new TextEncoder().encode("ü")), new Date(5).toISOString(), Math.random() < 1),
  bug: () => null.x,
  wrong: () => [{ series: 0, time: 1, kind: "odd" }],
};
export default defineDetector(class {
  constructor({ use }) { this.use = uses[use]; }
  observe() { return this.use() ?? []; }
});
"#;

const PYTHON: &str = r#"
import datetime, logging, os, random, time, uuid
from salve_plugin import Detector, plugin
def imported():
    import colorsys
def noted():
    logging.warning("noted")
def printed():
    print("said", 1)
    print(datetime.datetime(2026, 1, 1).isoformat(), random.random() < 1)
uses = {
    "time": time.time,
    "now": datetime.datetime.now,
    "monotonic": time.monotonic,
    "sleep": lambda: time.sleep(1),
    "open": lambda: open("/etc/passwd"),
    "import": imported,
    "urandom": lambda: os.urandom(4),
    "uuid": uuid.uuid4,
    "print": printed,
    "logging": noted,
    "bug": lambda: None.x,
    "wrong": lambda: 5,
}
@plugin
class Probe(Detector):
    def __init__(self, parameters):
        self.use = uses[parameters["use"]]
    def observe(self, batch):
        used = self.use()
        return used if used == 5 else []
"#;

/// What a probe that uses something says in the log, and whether its call ends well.
fn said(bench: &Bench, used: &str) -> String {
    block_on(async {
        let options = DetectorOptions {
            name: "probe".into(),
            parameters_json: format!(r#"{{"use":"{used}"}}"#),
            state: None,
        };
        let mut instance = bench.host.detector(&bench.plugin, options).await.unwrap();
        let ended = match instance.observe(&points(&[], false)).await {
            Ok(_) => "ok".to_owned(),
            Err(error) if matches!(error.kind, GuestErrorKind::Trap { .. }) => "trap".to_owned(),
            Err(error) => error.to_string(),
        };
        let mut lines: Vec<_> = std::mem::take(&mut *bench.lines.0.lock().unwrap())
            .into_iter()
            .map(|line| line.message)
            .collect();
        // A batch that traps is tried again on a fresh instance.
        lines.dedup();
        format!("{used}: {ended}: {}", lines.join(" | "))
    })
}

/// Guarantees: what the engine lacks, and would trap on without a word, is named in the log with what to use; what can be made to
/// work works; a fault of the author's has its message.
#[test]
fn javascript_says_what_to_use() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("package.json"), r#"{"type":"module","main":"plugin.js"}"#).unwrap();
    fs::write(folder.path().join("plugin.js"), JAVASCRIPT).unwrap();
    let bench = Bench::probe(folder.path());
    let all: Vec<_> = [
        "date",
        "newDate",
        "performance",
        "timeout",
        "fetch",
        "url",
        "uuid",
        "console",
        "text",
        "bug",
        "wrong",
    ]
    .into_iter()
    .map(|used| said(&bench, used))
    .collect();
    insta::assert_snapshot!(all.join("\n"), @r#"
    date: trap: observe: Unsupported: `Date.now()` does not exist in a plugin; use `clock.now()`, or in a detector `batch.now` (a detector has no `clock`; use what the batch says, such as `batch.now`)
    newDate: trap: observe: Unsupported: `new Date()` does not exist in a plugin; use `clock.now()`, or in a detector `batch.now` (a detector has no `clock`; use what the batch says, such as `batch.now`)
    performance: trap: observe: Unsupported: `performance.now()` does not exist in a plugin; use `clock.now()`, or in a detector `batch.now`
    timeout: trap: observe: Unsupported: `setTimeout` does not exist in a plugin; there is no event loop; wait by `clock.sleep(ms)` or `clock.poll`
    fetch: trap: observe: Unsupported: `fetch` does not exist in a plugin; name the capability `http` in plugin.toml and use `http.get` and `http.send`
    url: trap: observe: Unsupported: `URL` does not exist in a plugin; give `http` a `path` and a `query`; `encodePathSegment` encodes one part of a path
    uuid: trap: observe: Unsupported: `crypto.randomUUID()` does not exist in a plugin; make a key of the incident's id; random numbers are seeded, so that calls can be replayed
    console: ok: said {"a":1}
    text: ok: ü 1970-01-01T00:00:00.005Z true
    bug: trap: observe: TypeError: cannot read property 'x' of null
    wrong: trap: observe: TypeError: observations[0].kind must be one of point, level-shift, trend, seasonal-break, missing, it is "odd"
    "#);
}

/// Guarantees: as for JavaScript.
#[test]
fn python_says_what_to_use() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("pyproject.toml"), "[project]\nname = \"probe\"\nversion = \"0.1.0\"\n")
        .unwrap();
    fs::write(folder.path().join("plugin.py"), PYTHON).unwrap();
    let bench = Bench::probe(folder.path());
    let all: Vec<_> = [
        "time",
        "now",
        "monotonic",
        "sleep",
        "open",
        "import",
        "urandom",
        "uuid",
        "print",
        "logging",
        "bug",
        "wrong",
    ]
    .into_iter()
    .map(|used| said(&bench, used))
    .collect();
    insta::assert_snapshot!(all.join("\n"), @r#"
    time: trap: observe: Unsupported: `time.time()` does not exist in a plugin; use `clock.now()`, or in a detector `batch.now` (a detector has no `clock`; use what the batch says, such as `batch.now`)
    now: trap: observe: Unsupported: `datetime.now()` does not exist in a plugin; use `clock.now()`, or in a detector `batch.now` (a detector has no `clock`; use what the batch says, such as `batch.now`)
    monotonic: trap: observe: Unsupported: `time.monotonic()` does not exist in a plugin; use `clock.now()`, or in a detector `batch.now` (a detector has no `clock`; use what the batch says, such as `batch.now`)
    sleep: trap: observe: Unsupported: `time.sleep()` does not exist in a plugin; a detector waits for nothing (a detector has no `clock`; use what the batch says, such as `batch.now`)
    open: trap: observe: UnsupportedFile: `open()` does not exist in a plugin; a plugin has no files; read them while the module is loaded, or use the capability `config`
    import: trap: observe: ModuleNotFoundError: `colorsys` was not loaded when the component was built; import it at the top of a module, and use only what the project brings along
    urandom: trap: observe: Unsupported: `os.urandom()` does not exist in a plugin; make a key of the incident's id; `random` is seeded, so that calls can be replayed
    uuid: trap: observe: Unsupported: `os.urandom()` does not exist in a plugin; make a key of the incident's id; `random` is seeded, so that calls can be replayed
    print: ok: said 1 | 2026-01-01T00:00:00 True
    logging: ok: WARNING:root:noted
    bug: trap: observe: AttributeError: 'NoneType' object has no attribute 'x'
    wrong: trap: observe: TypeError: what `observe` returns must be of class Output, it is 5
    "#);
}
