//! What can be wrong with a policy, with the place where it stands.

use rhai::{EvalAltResult, LexError, ParseErrorType, Position};
use salve_model::text::escape;
use std::fmt;

/// One thing that is wrong, in a form that editors understand: `file:line:column: message`.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub struct PolicyError {
    /// The file's name, or the folder if it is about that.
    pub file: String,
    /// From 1, if known.
    pub line: Option<usize>,
    /// In characters from 1, if known.
    pub column: Option<usize>,
    /// What is wrong.
    pub message: String,
    /// A way out.
    pub hint: Option<String>,
}

impl fmt::Display for PolicyError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.file)?;
        if let Some(line) = self.line {
            write!(f, ":{line}")?;
            if let Some(column) = self.column {
                write!(f, ":{column}")?;
            }
        }
        write!(f, ": {}", self.message)
    }
}

/// Everything that is wrong with a set, at once.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub struct PolicyErrors(pub Vec<PolicyError>);

impl fmt::Display for PolicyErrors {
    /// One line for each, its hint below it.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, error) in self.0.iter().enumerate() {
            if index > 0 {
                f.write_str("\n")?;
            }
            write!(f, "{error}")?;
            if let Some(hint) = &error.hint {
                write!(f, "\n  hint: {hint}")?;
            }
        }
        Ok(())
    }
}

/// Longest message, in characters: a policy can throw a text of any length.
const MESSAGE_CHARS_MAX: usize = 500;

impl PolicyError {
    /// An error about a whole file or folder.
    pub(crate) fn file(file: &str, message: impl Into<String>, hint: impl Into<String>) -> Self {
        Self {
            file: escape(file, 200),
            line: None,
            column: None,
            message: message.into(),
            hint: Some(hint.into()),
        }
    }

    /// The same error, at `line`.
    pub(crate) fn at_line(mut self, line: Option<usize>) -> Self {
        self.line = line;
        self
    }

    /// What Rhai says when it compiles `file`.
    pub(crate) fn from_parse(file: &str, error: &ParseErrorType, position: Position) -> Self {
        let hint = match error {
            ParseErrorType::VariableUndefined(name) => Some(unknown_variable(name)),
            ParseErrorType::Reserved(name) | ParseErrorType::BadInput(LexError::ImproperSymbol(name, _)) => {
                impure(name)
            }
            ParseErrorType::UnexpectedEOF => {
                Some("A bracket, a quote or a comment is not closed.".to_owned())
            }
            ParseErrorType::ModuleUndefined(_) => {
                Some("Import it at the top of the file: `import \"NAME\" as name;`.".to_owned())
            }
            _ => None,
        };
        Self {
            file: escape(file, 200),
            line: position.line(),
            column: position.position(),
            message: sentence(&error.to_string()),
            hint,
        }
    }

    /// What Rhai says when it runs `file`: the innermost place, with its own words.
    pub(crate) fn from_run(file: &str, error: &EvalAltResult) -> Self {
        if let EvalAltResult::ErrorSystem(_, source) = error
            && let Some(inner) = source.downcast_ref::<Self>()
        {
            return inner.clone();
        }
        let mut file = file;
        let mut error = error;
        let mut position = error.position();
        loop {
            match error {
                EvalAltResult::ErrorInFunctionCall(_, source, inner, _) => {
                    if !source.is_empty() {
                        file = source;
                    }
                    error = inner;
                }
                EvalAltResult::ErrorInModule(_, inner, _) => error = inner,
                EvalAltResult::ErrorParsing(parsing, position) => {
                    return Self::from_parse(file, parsing, *position);
                }
                _ => break,
            }
            if !error.position().is_none() {
                position = error.position();
            }
        }
        let text = match error {
            EvalAltResult::ErrorRuntime(token, _) => token.to_string(),
            EvalAltResult::ErrorTerminated(token, _) => token.to_string(),
            EvalAltResult::ErrorSystem(_, source) => source.to_string(),
            other => without_position(&other.to_string()).replace(RHAI_TEXT, "text"),
        };
        Self {
            file: escape(file, 200),
            line: position.line(),
            column: position.position(),
            message: sentence(&text),
            hint: run_hint(error),
        }
    }
}

/// How Rhai names the type of a text in signatures.
const RHAI_TEXT: &str = "&str | ImmutableString | String";

/// Rhai appends the place to its text; it has columns of its own here.
fn without_position(text: &str) -> &str {
    match text.rfind(" (line ") {
        Some(at) if text.ends_with(')') => text.get(..at).unwrap_or(text),
        _ => text,
    }
}

/// One line, beginning in lower case as our own messages do.
fn sentence(text: &str) -> String {
    let text = escape(text, MESSAGE_CHARS_MAX);
    let mut characters = text.chars();
    match (characters.next(), characters.clone().next()) {
        (Some(first), Some(second)) if first.is_ascii_uppercase() && second.is_ascii_lowercase() => {
            first.to_ascii_lowercase().to_string() + characters.as_str()
        }
        _ => text,
    }
}

fn run_hint(error: &EvalAltResult) -> Option<String> {
    Some(match error {
        EvalAltResult::ErrorVariableNotFound(name, _) => unknown_variable(name),
        EvalAltResult::ErrorPropertyNotFound(name, _) => {
            match nearest(name, crate::view::FIELDS.iter().copied()) {
                Some(known) => format!("Did you mean `{known}`?"),
                None => {
                    "For a field that may be missing write `map.get(\"name\")`, which gives `()` then.".into()
                }
            }
        }
        EvalAltResult::ErrorFunctionNotFound(signature, _) => {
            let name = signature.split([' ', '(']).next().unwrap_or_default();
            if let Some(hint) = impure(name).filter(|_| crate::machine::DISABLED.contains(&name)) {
                return Some(hint);
            }
            match nearest(name, crate::answer::HELPERS.iter().chain(crate::testing::HELPERS).copied()) {
                Some(known) if known != name => format!("Did you mean `{known}`?"),
                _ => "Check the number and the types of the arguments.".into(),
            }
        }
        EvalAltResult::ErrorModuleNotFound(_, _) => {
            "Only `NAME.lib.rhai` of the same folder can be imported, by `import \"NAME\" as name;`.".into()
        }
        EvalAltResult::ErrorTooManyOperations(_) => {
            "Loop over less, or raise `operations_max` of the policies.".into()
        }
        EvalAltResult::ErrorTerminated(_, _) => "Do less, or raise `time_ms_max` of the policies.".into(),
        EvalAltResult::ErrorStackOverflow(_) => "Replace the recursion by a loop.".into(),
        EvalAltResult::ErrorDataTooLarge(_, _) => {
            "Keep less in one value, or raise `string_bytes_max` or `items_max` of the policies.".into()
        }
        EvalAltResult::ErrorArrayBounds(_, _, _) => "Ask `.len()` or `.is_empty()` first.".into(),
        _ => return None,
    })
}

fn unknown_variable(name: &str) -> String {
    match nearest(name, ["incident", "findings", "catalogue", "history"].into_iter()) {
        Some(known) => format!("Did you mean `{known}`?"),
        None => {
            "A function sees its parameters and its own variables; a constant of the file is `global::NAME`."
                .into()
        }
    }
}

fn impure(name: &str) -> Option<String> {
    if crate::machine::DISABLED.contains(&name) {
        let hint = "Policies are pure: no clock, no output, no code made while running. Say why in a row's `reason`.";
        return Some(hint.into());
    }
    name.starts_with(char::is_alphabetic).then(|| "Choose another name.".into())
}

/// The name among `known` that was probably meant.
pub(crate) fn nearest<'a>(name: &str, known: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    known
        .map(|known| (strsim::damerau_levenshtein(name, known), known))
        .filter(|(distance, known)| *distance <= known.chars().count().max(3) / 3)
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, known)| known)
}
