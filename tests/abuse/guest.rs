//! Hostile actions, put together from what they do: text of a core module, and the component made of it.

use anyhow::{Context, Result};
use std::{collections::BTreeSet, fmt::Write as _};

/// One thing that a guest does.
#[derive(Debug, Clone)]
pub enum Does {
    /// `config.set` of target, key and value.
    Set(String, &'static str, Option<&'static str>),
    /// `config.get` of target and key. Logs the value that comes back.
    Get(String, &'static str),
    /// `process.restart` of a target.
    Restart(String),
    /// `http.get` or, with another method, `http.send`: target, method, path, a header. Logs the body that comes back.
    Http(String, &'static str, String, Option<(&'static str, String)>),
    /// `notify.send` to a target with a summary.
    Notify(String, &'static str),
    /// Asks for all telemetry, as often as this.
    Telemetry(u32),
    /// `clock.sleep`, milliseconds.
    Sleep(u32),
    /// `clock.now` without end.
    CallWithoutEnd,
    /// Computes without end.
    Loop,
    /// Calls itself without end.
    Recurse,
    /// Grows its memory until that is refused, then traps.
    Grow,
    /// Writes log lines without end.
    LogFlood,
    /// Executes `unreachable`.
    Trap,
    /// Returns text of so many bytes, as summary or note.
    Say(u32),
    /// Returns a pointer beyond its memory.
    ReturnNonsense,
    /// Fails with words of its own.
    Fail(&'static str),
}

/// A step of a plan; texts as they stand in the record.
#[derive(Debug, Clone, Default)]
pub struct Step {
    pub capability: &'static str,
    pub verb: &'static str,
    pub target: String,
    pub arguments: String,
    pub before: Option<&'static str>,
    pub inverse: Option<String>,
}

/// An expectation: signal, upper bound, time within which, hold time.
#[derive(Debug, Clone)]
pub struct Expect(pub &'static str, pub f64, pub u64, pub u64);

/// An action.
#[derive(Debug, Clone, Default)]
pub struct Action {
    pub name: &'static str,
    /// Capabilities in the manifest.
    pub capabilities: Vec<(&'static str, Vec<&'static str>)>,
    /// More of the manifest.
    pub manifest: &'static str,
    pub steps: Vec<Step>,
    pub expect: Vec<Expect>,
    pub plan: Vec<Does>,
    pub execute: Vec<Does>,
    pub undo: Vec<Does>,
}

/// A `config.set` step on a target, with its inverse.
pub fn set_step(target: &str, key: &str, value: &str) -> Step {
    Step {
        capability: "config",
        verb: "set",
        target: target.into(),
        arguments: format!(r#"{{"key":"{key}","value":"{value}"}}"#),
        inverse: Some(format!(r#"{{"key":"{key}","value":"8"}}"#)),
        ..Step::default()
    }
}

impl Action {
    /// Packs it.
    pub fn component(&self) -> Result<Vec<u8>> {
        let module = wat::parse_str(self.text()).with_context(|| format!("the text of `{}`", self.name))?;
        Ok(salve_plugins::pack::pack(&module, &self.manifest_toml())?)
    }

    fn manifest_toml(&self) -> String {
        let mut text = format!(
            "name = '{}'\nversion = '0.1.0'\nrole = 'action'\nsummary = 'A guest of the tests.'\n",
            self.name
        );
        let requests: Vec<String> = self
            .capabilities
            .iter()
            .map(|(capability, verbs)| format!("{{ capability = '{capability}', verbs = {verbs:?} }}"))
            .collect();
        _ = writeln!(text, "capabilities = [{}]\n{}", requests.join(", "), self.manifest);
        text.push_str("[parameters]\ntype = 'object'\n");
        text
    }

    /// The core module.
    pub fn text(&self) -> String {
        let mut module = Module::default();
        let proposal = module.proposal(self);
        // The text of each answer: summary of a plan, note of an outcome.
        let plan = module.body(&self.plan, proposal, proposal + 4);
        let outcome = module.outcome();
        let execute = module.body(&self.execute, outcome, outcome + 8);
        let undo = module.body(&self.undo, outcome, outcome + 8);
        let imports: String = module.imports.iter().map(|name| format!("  {}\n", import(name))).collect();
        let pages = module.at / 65_536 + 2;
        format!(
            "(module\n{imports}  (memory (export \"memory\") {pages})\n{data}\
             \n  (global $next (mut i32) (i32.const {heap}))\n{REALLOC}{RECURSE}\
             \n  (func (export \"salve:plugin/act@0.1.0#plan\") (param i32 i32 i32 i32 i32 i32 i64 i64) (result i32)\n{plan})\
             \n  (func (export \"salve:plugin/act@0.1.0#execute\") \
             (param i32 i32 i32 i32 i32 i32 i64 i64 i32 i32 i32 i32 i32 i32 i32 i32) (result i32)\n{execute})\
             \n  (func (export \"salve:plugin/act@0.1.0#undo\") (param i32) (result i32)\n{undo}))\n",
            data = module.data,
            heap = (module.at / 16 + 1) * 16,
        )
    }
}

/// Memory from a counter that only rises.
const REALLOC: &str = r#"
  (func (export "cabi_realloc") (param $old i32) (param $old_len i32) (param $align i32) (param $len i32) (result i32)
    (local $at i32)
    (local.set $at (i32.and (i32.add (global.get $next) (i32.const 15)) (i32.const -16)))
    (global.set $next (i32.add (local.get $at) (local.get $len)))
    (if (i32.gt_u (global.get $next) (i32.mul (memory.size) (i32.const 65536)))
      (then (drop (memory.grow (i32.add (i32.div_u (local.get $len) (i32.const 65536)) (i32.const 1))))))
    (local.get $at))
"#;

const RECURSE: &str = "  (func $recurse (param i32) (result i32)\n    \
    (i32.add (call $recurse (i32.add (local.get 0) (i32.const 1))) (i32.const 1)))\n";

/// Where answers of the host are written, and where what is returned stands.
const ANSWER: u32 = 1_024;

fn import(name: &str) -> String {
    let (interface, function) = name.split_once('.').unwrap_or((name, ""));
    let parameters = match name {
        "log.write" => "(param i32 i32 i32 i32 i32)",
        "clock.now" => "(result i64)",
        "clock.sleep" => "(param i32)",
        "config.set" => "(param i32 i32 i32 i32 i32 i32 i32 i32)",
        "config.get" => "(param i32 i32 i32 i32 i32)",
        "process.restart" => "(param i32 i32 i32)",
        "http.get" | "http.send" => "(param i32 i32 i32 i32 i32 i32 i32 i32 i32 i32 i32 i32 i32 i32 i32 i32)",
        "notify.send" => "(param i32 i32 i32 i32 i32)",
        _ => "(param i64 i64 i32)",
    };
    format!(r#"(import "salve:plugin/{interface}@0.1.0" "{function}" (func ${name} {parameters}))"#)
}

struct Module {
    imports: BTreeSet<&'static str>,
    data: String,
    at: u32,
}

impl Default for Module {
    fn default() -> Self {
        Self { imports: BTreeSet::new(), data: String::new(), at: 4_096 }
    }
}

impl Module {
    /// Puts bytes into the memory and gives their place.
    fn bytes(&mut self, bytes: &[u8]) -> u32 {
        let at = self.at.next_multiple_of(8);
        let escaped: String = bytes.iter().map(|byte| format!("\\{byte:02x}")).collect();
        _ = writeln!(self.data, "  (data (i32.const {at}) \"{escaped}\")");
        self.at = at + u32::try_from(bytes.len()).unwrap_or(u32::MAX);
        at
    }

    /// A text as pointer and length.
    fn text(&mut self, text: &str) -> [u32; 2] {
        [self.bytes(text.as_bytes()), u32::try_from(text.len()).unwrap_or(u32::MAX)]
    }

    fn record(&mut self, words: &[u32]) -> u32 {
        let bytes: Vec<u8> = words.iter().flat_map(|word| word.to_le_bytes()).collect();
        self.bytes(&bytes)
    }

    fn optional(&mut self, text: Option<&str>) -> [u32; 3] {
        match text {
            None => [0, 0, 0],
            Some(text) => {
                let [at, length] = self.text(text);
                [1, at, length]
            }
        }
    }

    /// `result<proposal>`: summary at 4, steps at 12, expectations at 20, extra at 28.
    fn proposal(&mut self, action: &Action) -> u32 {
        let mut steps = Vec::new();
        for step in &action.steps {
            for text in [step.capability, step.verb, &step.target, &step.arguments] {
                steps.extend(self.text(text));
            }
            steps.extend(self.optional(step.before));
            steps.extend(self.optional(None));
            steps.extend(self.optional(step.inverse.as_deref()));
        }
        let mut expectations = Vec::new();
        for Expect(signal, upper, within, hold) in &action.expect {
            let low = |value: u64| (value & u64::from(u32::MAX)) as u32;
            let high = |value: u64| (value >> 32) as u32;
            let upper = upper.to_bits();
            let [at, length] = self.text(signal);
            expectations.extend([0, 0, at, length, 0, 0, 0, 0, 1, 0, low(upper), high(upper)]);
            expectations.extend([low(*within), high(*within), low(*hold), high(*hold), 1, 0]);
        }
        let counts = [action.steps.len(), action.expect.len()].map(|count| count as u32);
        let (steps, expectations) = (self.record(&steps), self.record(&expectations));
        let [summary, length] = self.text("what this guest would do");
        self.record(&[0, summary, length, steps, counts[0], expectations, counts[1], 0, 0])
    }

    /// `result<outcome>` that says that all is done.
    fn outcome(&mut self) -> u32 {
        let [note, length] = self.text("all is well");
        self.record(&[0, 1, note, length, 0, 0])
    }

    /// Instructions, and the place of what is returned at their end.
    fn body(&mut self, does: &[Does], answer: u32, text_at: u32) -> String {
        let mut body = String::new();
        for (index, one) in does.iter().enumerate() {
            let code = self.one(one, text_at, index);
            _ = writeln!(body, "    {code}");
        }
        _ = write!(body, "    (i32.const {answer})");
        body
    }

    /// A call whose answer's first byte says whether it failed; which is logged, and apart from that if it was refused because
    /// the recording of a trial does not have it.
    fn call(&mut self, name: &'static str, arguments: &[u32], index: usize) -> String {
        self.imports.insert(name);
        self.imports.insert("log.write");
        let [good, length] = self.text(&format!("call {index} of {name}: yes"));
        let [bad, _] = self.text(&format!("call {index} of {name}: no."));
        let [missing, missing_length] = self.text(&format!("call {index} of {name}: not recorded"));
        // call-error stands where the answer would: at 4, or at 8 if that has 64-bit numbers. First it says denied (0), and four
        // bytes on, why: not-recorded (2).
        let at = ANSWER + if matches!(name, "http.get" | "config.get") { 4 } else { 8 };
        let arguments: String = arguments.iter().map(|word| format!(" (i32.const {word})")).collect();
        format!(
            "(call ${name}{arguments} (i32.const {ANSWER})) (call $log.write (i32.const 1) \
             (select (i32.const {bad}) (i32.const {good}) (i32.load8_u (i32.const {ANSWER}))) \
             (i32.const {length}) (i32.const 0) (i32.const 0)) \
             (if (i32.and (i32.load8_u (i32.const {ANSWER})) (i32.and (i32.eqz (i32.load8_u (i32.const {at}))) \
             (i32.eq (i32.load8_u (i32.const {})) (i32.const 2)))) (then (call $log.write (i32.const 1) \
             (i32.const {missing}) (i32.const {missing_length}) (i32.const 0) (i32.const 0))))",
            at + 4
        )
    }

    fn one(&mut self, does: &Does, text_at: u32, index: usize) -> String {
        match does {
            Does::Set(target, key, value) => {
                let mut words = self.text(target).to_vec();
                words.extend(self.text(key));
                words.extend(self.optional(*value));
                self.call("config.set", &words, index)
            }
            Does::Get(target, key) => {
                let mut words = self.text(target).to_vec();
                words.extend(self.text(key));
                // An option stands at 4 of the answer, its text at 8 and 12.
                let call = self.call("config.get", &words, index);
                format!(
                    "{call} (if (i32.and (i32.eqz (i32.load8_u (i32.const {ANSWER}))) (i32.load8_u (i32.const {}))) \
                     (then (call $log.write (i32.const 1) (i32.load (i32.const {})) (i32.load (i32.const {})) \
                     (i32.const 0) (i32.const 0))))",
                    ANSWER + 4,
                    ANSWER + 8,
                    ANSWER + 12
                )
            }
            Does::Restart(target) => {
                let words = self.text(target);
                self.call("process.restart", &words, index)
            }
            Does::Http(target, method, path, header) => {
                let mut words = self.text(target).to_vec();
                words.extend(self.text(method));
                words.extend(self.text(path));
                words.extend([0, 0]);
                match header {
                    None => words.extend([0, 0]),
                    Some((name, value)) => {
                        let mut pair = self.text(name).to_vec();
                        pair.extend(self.text(value));
                        words.extend([self.record(&pair), 1]);
                    }
                }
                words.extend([0, 0, 0, 0, 0]);
                if *method != "GET" {
                    return self.call("http.send", &words, index);
                }
                // A response stands at 4 of the answer, its body at 16 and 20.
                let call = self.call("http.get", &words, index);
                format!(
                    "{call} (if (i32.eqz (i32.load8_u (i32.const {ANSWER}))) (then (call $log.write (i32.const 1) \
                     (i32.load (i32.const {})) (i32.load (i32.const {})) (i32.const 0) (i32.const 0))))",
                    ANSWER + 16,
                    ANSWER + 20
                )
            }
            Does::Notify(target, summary) => {
                let mut words = self.text(target).to_vec();
                let mut pair = self.text("summary").to_vec();
                pair.extend(self.text(summary));
                words.extend([self.record(&pair), 1]);
                self.call("notify.send", &words, index)
            }
            Does::Telemetry(times) => {
                self.imports.insert("telemetry.services");
                let call =
                    format!("(call $telemetry.services (i64.const 0) (i64.const -1) (i32.const {ANSWER}))");
                vec![call; *times as usize].join(" ")
            }
            Does::Sleep(ms) => {
                self.imports.insert("clock.sleep");
                format!("(call $clock.sleep (i32.const {}))", *ms as i32)
            }
            Does::CallWithoutEnd => {
                self.imports.insert("clock.now");
                "(loop $again (drop (call $clock.now)) (br $again))".into()
            }
            Does::Loop => "(loop $again (br $again))".into(),
            Does::Recurse => "(drop (call $recurse (i32.const 0)))".into(),
            Does::Grow => {
                "(loop $again (br_if $again (i32.ne (memory.grow (i32.const 16)) (i32.const -1)))) \
                           unreachable"
                    .into()
            }
            Does::LogFlood => {
                self.imports.insert("log.write");
                let [at, length] = self.text("\u{1b}[2Jnothing to see");
                format!(
                    "(loop $again (call $log.write (i32.const 1) (i32.const {at}) (i32.const {length}) \
                     (i32.const 0) (i32.const 0)) (br $again))"
                )
            }
            Does::Trap => "unreachable".into(),
            Does::Say(bytes) => {
                format!(
                    "(drop (memory.grow (i32.const {}))) (i32.store (i32.const {}) (i32.const 65536)) \
                     (i32.store (i32.const {}) (i32.const {bytes}))",
                    bytes / 65_536 + 2,
                    text_at,
                    text_at + 4
                )
            }
            Does::ReturnNonsense => "(return (i32.const -16))".into(),
            Does::Fail(words) => {
                // result: 1 at 0; failure at 4 (2: failed), its text at 8 and 12.
                let [at, length] = self.text(words);
                let failure = self.record(&[1, 2, at, length]);
                format!("(return (i32.const {failure}))")
            }
        }
    }
}
