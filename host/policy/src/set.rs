//! A folder of policies, compiled.

use crate::{
    answer::{self, FORBIDS, Origin},
    combine::combine,
    error::{PolicyError, PolicyErrors},
    machine::{Machine, PolicyLimits},
    view,
};
use rhai::{AST, Dynamic, Engine, Module, Scope};
use salve_model::incident::{Decision, DecisionInput, PolicyFailure, Proposal, Verdict};
use serde::Serialize;
use sha2::{Digest, Sha256};
use std::{collections::BTreeMap, fs, io::Read, path::Path, sync::Arc};

/// A compiled policy set. Immutable: a changed folder becomes a new set.
#[derive(Debug, Clone)]
pub struct PolicySet {
    pub(crate) machine: Machine,
    pub(crate) policies: Vec<Policy>,
    pub(crate) tests: Vec<Script>,
    digest: String,
}

/// One `NAME.rhai`.
#[derive(Debug, Clone)]
pub(crate) struct Policy {
    pub(crate) script: Script,
    decide_line: Option<usize>,
    /// The word `never` stands in it, or in a library of the set: only then may it say so.
    may_forbid: bool,
}

/// A compiled file.
#[derive(Debug, Clone)]
pub(crate) struct Script {
    /// The file's name without its ending.
    pub(crate) name: String,
    /// The file's name.
    pub(crate) file: String,
    pub(crate) text: String,
    pub(crate) ast: AST,
}

/// What a folder holds, if all of it is right.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct CheckReport {
    /// Names of the policies, in the order in which they are asked.
    pub policies: Vec<String>,
    /// Names of the libraries.
    pub libraries: Vec<String>,
    /// Names of the test files.
    pub tests: Vec<String>,
    /// Policies without a test file.
    pub untested: Vec<String>,
    /// SHA-256 of the set, lower-case hex.
    pub digest: String,
}

/// Checks the policies, libraries and tests in `folder` without running any.
///
/// # Errors
/// All that is wrong, with file, line and column.
pub fn check(folder: impl AsRef<Path>) -> Result<CheckReport, PolicyErrors> {
    PolicySet::load(folder).map(|set| set.report())
}

const POLICY_ENDING: &str = ".rhai";
const LIBRARY_ENDING: &str = ".lib.rhai";
const TEST_ENDING: &str = ".test.rhai";

impl PolicySet {
    /// Loads the set in `folder` with default bounds; see [`PolicySet::load_with`].
    ///
    /// # Errors
    /// All that is wrong, with file, line and column.
    pub fn load(folder: impl AsRef<Path>) -> Result<Self, PolicyErrors> {
        Self::load_with(folder, PolicyLimits::default())
    }

    /// Loads the set in `folder`: its `*.rhai`, not those of folders within, nor hidden files.
    ///
    /// # Errors
    /// All that is wrong, with file, line and column. A folder without a policy is an error too.
    pub fn load_with(folder: impl AsRef<Path>, limits: PolicyLimits) -> Result<Self, PolicyErrors> {
        let folder = folder.as_ref();
        let mut errors = Vec::new();
        let files = read_folder(folder, &limits, &mut errors);
        let mut machine = Machine::new(limits);
        machine.libraries = Arc::new(libraries(&machine, &files, &mut errors));
        let (mut policies, mut tests) = (Vec::new(), Vec::new());
        for (file, text) in &files {
            if file.ends_with(LIBRARY_ENDING) {
                continue;
            }
            let engine = machine.engine();
            if let Some(name) = file.strip_suffix(TEST_ENDING) {
                match compile(&engine, name, file, text).and_then(check_tests) {
                    Ok(script) => tests.push(script),
                    Err(error) => errors.push(error),
                }
            } else if let Some(name) = file.strip_suffix(POLICY_ENDING) {
                match compile(&engine, name, file, text).and_then(check_policy) {
                    Ok(policy) => policies.push(policy),
                    Err(error) => errors.push(error),
                }
            }
        }
        if policies.is_empty() && errors.is_empty() {
            errors.push(PolicyError::file(
                &folder.to_string_lossy(),
                "there is no policy in this folder",
                "Put a `NAME.rhai` there that defines `fn decide(incident, findings, catalogue, history)`.",
            ));
        }
        let libraries_forbid =
            files.iter().any(|(file, text)| file.ends_with(LIBRARY_ENDING) && text.contains(FORBIDS));
        for policy in &mut policies {
            policy.may_forbid |= libraries_forbid;
        }
        if errors.is_empty() {
            Ok(Self { machine, policies, tests, digest: digest(&files) })
        } else {
            errors.sort_by(|a, b| (&a.file, a.line).cmp(&(&b.file, b.line)));
            Err(PolicyErrors(errors))
        }
    }

    /// SHA-256 of the names and contents of policies and libraries, lower-case hex. Tests do not count.
    #[must_use]
    pub fn digest(&self) -> &str {
        &self.digest
    }

    /// What the set holds.
    #[must_use]
    pub fn report(&self) -> CheckReport {
        let names = |scripts: &mut dyn Iterator<Item = &Script>| -> Vec<String> {
            scripts.map(|script| script.name.clone()).collect()
        };
        let policies = names(&mut self.policies.iter().map(|policy| &policy.script));
        let tests = names(&mut self.tests.iter());
        CheckReport {
            untested: policies.iter().filter(|name| !tests.contains(name)).cloned().collect(),
            libraries: self.machine.libraries.keys().cloned().collect(),
            digest: self.digest.clone(),
            policies,
            tests,
        }
    }

    /// Asks all policies and combines what they say: any `never` wins, then priority, then the policy's name, then the
    /// order of its rows. Takes milliseconds of CPU time: not for an async thread.
    ///
    /// A policy that fails keeps no other from being asked. If it is one that may say `never`, what the others would do
    /// becomes what they would ask for: a person knows whether it would have been forbidden.
    ///
    /// # Errors
    /// If policies failed and the others propose nothing: what is to be done is then not known.
    pub fn decide(&self, input: &DecisionInput) -> Result<Decision, PolicyErrors> {
        let (decision, errors) = self.decide_with(&mut self.policies.iter(), input)?;
        if errors.is_empty() || !decision.proposals.is_empty() {
            return Ok(decision);
        }
        Err(PolicyErrors(errors))
    }

    /// The decision of some of the policies, with the errors of those that failed.
    pub(crate) fn decide_with(
        &self,
        policies: &mut dyn Iterator<Item = &Policy>,
        input: &DecisionInput,
    ) -> Result<(Decision, Vec<PolicyError>), PolicyErrors> {
        let arguments = view::arguments(input).map_err(|error| {
            let hint = "This is a defect in Salve; please report it.";
            PolicyErrors(vec![PolicyError::file("(input)", error.to_string(), hint)])
        })?;
        let (mut proposals, mut failures, mut errors) = (Vec::new(), Vec::new(), Vec::new());
        for policy in policies {
            match self.ask(policy, arguments.clone()) {
                Ok(rows) => proposals.extend(rows),
                Err(error) => {
                    let name = policy.script.name.clone();
                    let why = error.to_string();
                    failures.push(PolicyFailure { policy: name, why, may_forbid: policy.may_forbid });
                    errors.push(error);
                }
            }
        }
        if let Some(failure) = failures.iter().find(|failure| failure.may_forbid) {
            ask_a_person(&mut proposals, failure);
        }
        let decision = combine(self.digest.clone(), proposals, &input.catalogue);
        Ok((Decision { failures, ..decision }, errors))
    }

    fn ask(&self, policy: &Policy, arguments: [Dynamic; 4]) -> Result<Vec<Proposal>, PolicyError> {
        let Script { name, file, ast, .. } = &policy.script;
        let [incident, findings, catalogue, history] = arguments;
        let answer: Dynamic = self
            .machine
            .engine()
            .call_fn(&mut Scope::new(), ast, "decide", (incident, findings, catalogue, history))
            .map_err(|error| PolicyError::from_run(file, &error).or_line(policy.decide_line))?;
        let origin = Origin { policy: name, file, line: policy.decide_line, may_forbid: policy.may_forbid };
        answer::parse(&origin, &answer, self.machine.limits.rows_max)
    }
}

/// What would be done becomes what is asked for.
fn ask_a_person(proposals: &mut [Proposal], failure: &PolicyFailure) {
    for proposal in proposals.iter_mut().filter(|proposal| proposal.verdict == Verdict::Act) {
        proposal.verdict = Verdict::Ask;
        let why = format!("policy `{}` failed, which might have said `{FORBIDS}`", failure.policy);
        proposal.reason =
            if proposal.reason.is_empty() { why } else { format!("{}; {why}", proposal.reason) };
    }
}

impl PolicyError {
    /// `line`, where none is known.
    pub(crate) fn or_line(self, line: Option<usize>) -> Self {
        if self.line.is_some() { self } else { self.at_line(line) }
    }
}

/// Name and text of each `*.rhai`, by name.
fn read_folder(
    folder: &Path,
    limits: &PolicyLimits,
    errors: &mut Vec<PolicyError>,
) -> BTreeMap<String, String> {
    let mut files = BTreeMap::new();
    let shown = folder.to_string_lossy();
    let unreadable = |error: std::io::Error| {
        PolicyError::file(
            &shown,
            format!("cannot read this folder: {error}"),
            "Check the path and that Salve's user may read it.",
        )
    };
    let listing = match fs::read_dir(folder) {
        Ok(listing) => listing,
        Err(error) => {
            errors.push(unreadable(error));
            return files;
        }
    };
    for item in listing {
        let item = match item {
            Ok(item) => item,
            Err(error) => {
                errors.push(unreadable(error));
                break;
            }
        };
        let name = item.file_name();
        let shown = name.to_string_lossy().into_owned();
        if !shown.ends_with(POLICY_ENDING) || shown.starts_with('.') || item.path().is_dir() {
            continue;
        }
        let Some(name) = name.to_str().filter(|name| good_name(name)) else {
            errors.push(PolicyError::file(
                &shown,
                "a policy's name has characters that it may not have",
                "Use lower-case ASCII letters, digits, `-` and `_`.",
            ));
            continue;
        };
        if files.len() == limits.files_max {
            errors.push(PolicyError::file(
                &folder.to_string_lossy(),
                format!("there are more than {} files", limits.files_max),
                "Use fewer files, or raise `files_max` of the policies.",
            ));
            break;
        }
        match read_file(&item.path(), limits.file_bytes_max) {
            Ok(Some(text)) => {
                files.insert(name.to_owned(), text);
            }
            Ok(None) => errors.push(PolicyError::file(
                name,
                format!("the file has more than {} bytes", limits.file_bytes_max),
                "Split it, or raise `file_bytes_max` of the policies.",
            )),
            Err(error) => errors.push(PolicyError::file(
                name,
                format!("cannot read this file: {error}"),
                "Check that it is UTF-8 text and that Salve's user may read it.",
            )),
        }
    }
    files
}

/// The file's text; `None` if it is too long.
fn read_file(path: &Path, bytes_max: u64) -> std::io::Result<Option<String>> {
    let mut text = String::new();
    let read = fs::File::open(path)?.take(bytes_max.saturating_add(1)).read_to_string(&mut text)?;
    Ok((read as u64 <= bytes_max).then_some(text))
}

fn good_name(file: &str) -> bool {
    let name = [LIBRARY_ENDING, TEST_ENDING, POLICY_ENDING]
        .into_iter()
        .find_map(|ending| file.strip_suffix(ending))
        .unwrap_or_default();
    !name.is_empty() && name.bytes().all(|byte| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'-' | b'_'))
}

/// Libraries cannot import one another: they are run before any is there to be imported.
fn libraries(
    machine: &Machine,
    files: &BTreeMap<String, String>,
    errors: &mut Vec<PolicyError>,
) -> BTreeMap<String, rhai::Shared<Module>> {
    let mut libraries = BTreeMap::new();
    for (file, text) in files {
        let Some(name) = file.strip_suffix(LIBRARY_ENDING) else { continue };
        let engine = machine.engine();
        let module = compile(&engine, name, file, text).and_then(|script| {
            Module::eval_ast_as_new(Scope::new(), &script.ast, &engine)
                .map_err(|error| PolicyError::from_run(file, &error))
        });
        match module {
            Ok(mut module) => {
                module.build_index();
                libraries.insert(name.to_owned(), module.into());
            }
            Err(error) => errors.push(error),
        }
    }
    libraries
}

fn compile(engine: &Engine, name: &str, file: &str, text: &str) -> Result<Script, PolicyError> {
    let mut ast = engine
        .compile(text)
        .map_err(|error| PolicyError::from_parse(file, error.err_type(), error.position()))?;
    ast.set_source(file);
    Ok(Script { name: name.into(), file: file.into(), text: text.into(), ast })
}

fn check_policy(script: Script) -> Result<Policy, PolicyError> {
    let decide: Vec<usize> = script
        .ast
        .iter_functions()
        .filter(|function| function.name == "decide")
        .map(|function| function.params.len())
        .collect();
    let line = script.line_of_function("decide");
    if decide.contains(&4) {
        let may_forbid = script.text.contains(FORBIDS);
        return Ok(Policy { script, decide_line: line, may_forbid });
    }
    let (message, hint) = if decide.is_empty() {
        (
            "this policy has no function `decide`".to_owned(),
            format!(
                "Define `fn decide(incident, findings, catalogue, history)`; functions for other files belong into \
                 `{}{LIBRARY_ENDING}`.",
                script.name
            ),
        )
    } else {
        (
            format!("`decide` has {} parameters, not four", decide[0]),
            "Write `fn decide(incident, findings, catalogue, history)`.".to_owned(),
        )
    };
    Err(PolicyError::file(&script.file, message, hint).at_line(line))
}

fn check_tests(script: Script) -> Result<Script, PolicyError> {
    let tests: Vec<_> =
        script.ast.iter_functions().filter(|function| function.name.starts_with("test_")).collect();
    let problem = if tests.is_empty() {
        Some((None, "this file has no test".to_owned(), "Define `fn test_NAME()`."))
    } else {
        tests.iter().find(|test| !test.params.is_empty()).map(|test| {
            let message = format!("the test `{}` has parameters", test.name);
            (script.line_of_function(test.name), message, "A test takes none: nobody could give them.")
        })
    };
    match problem {
        None => Ok(script),
        Some((line, message, hint)) => Err(PolicyError::file(&script.file, message, hint).at_line(line)),
    }
}

impl Script {
    /// The line on which `fn name` stands, from 1. Rhai does not say.
    pub(crate) fn line_of_function(&self, name: &str) -> Option<usize> {
        self.text.lines().zip(1..).find_map(|(line, number)| {
            let line = line.trim_start();
            let line = line.strip_prefix("private ").map_or(line, str::trim_start);
            let rest = line.strip_prefix("fn ")?.trim_start().strip_prefix(name)?;
            rest.trim_start().starts_with('(').then_some(number)
        })
    }
}

/// Lengths stand before names and texts, so that no two sets give the same bytes.
fn digest(files: &BTreeMap<String, String>) -> String {
    use std::fmt::Write;
    let mut hasher = Sha256::new();
    hasher.update(b"salve-policies-1\n");
    for (file, text) in files.iter().filter(|(file, _)| !file.ends_with(TEST_ENDING)) {
        for part in [file, text] {
            hasher.update((part.len() as u64).to_be_bytes());
            hasher.update(part.as_bytes());
        }
    }
    hasher.finalize().iter().fold(String::with_capacity(64), |mut hex, byte| {
        // Writing to a `String` cannot fail.
        let _infallible = write!(hex, "{byte:02x}");
        hex
    })
}
