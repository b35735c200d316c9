//! The recording of a call: what was asked, each call to the host with its answer, and what came out. A recording is a
//! test case as well: `salve plugin test` asks the same again and compares.

use super::{Call, Observe, Request, TrialError};
use crate::files;
use salve_model::call::CallError;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::path::Path;

/// The file's form.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Recording {
    /// One sentence for a person.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub about: String,
    /// Which call.
    pub call: Call,
    /// A request, or the name of a request file, relative to this file.
    pub request: Value,
    /// In place of the request's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub parameters: Option<Value>,
    /// In place of the request's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub observe: Option<Observe>,
    /// Writes take effect in the world; else this is a dry-run.
    #[serde(default, skip_serializing_if = "is_false")]
    pub apply: bool,
    /// Which plugin was recorded, for people.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub plugin: Option<Stamp>,
    /// Calls to the host, in order. Left out: the request's world answers.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub host_calls: Option<Vec<HostCall>>,
    /// Calls to the host in the calls that were made first, since the request had no plan or receipts. They answer nothing;
    /// `salve plugin grants --from-recording` needs them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub earlier_calls: Vec<HostCall>,
    /// What must come out. See `differences`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expect: Option<Value>,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde wants a reference")]
fn is_false(value: &bool) -> bool {
    !value
}

/// Which component was recorded.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Stamp {
    /// Its name.
    pub name: String,
    /// Its own version.
    pub version: String,
    /// SHA-256 of its file.
    pub digest: String,
}

/// One call of a plugin to the host.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct HostCall {
    /// In which of the plugin's calls.
    pub during: Call,
    /// Interface and function, for instance `config.get`.
    pub call: String,
    /// On which target, if it has one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub target: Option<String>,
    /// The other arguments, by name.
    #[serde(default, skip_serializing_if = "Value::is_null")]
    pub arguments: Value,
    /// What the host said.
    pub answer: Answer,
}

/// What the host said.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Answer {
    /// The function's result.
    Ok(Value),
    /// Why not.
    Error(CallError),
}

impl Recording {
    /// Reads a recording or test case.
    ///
    /// # Errors
    /// [`TrialError`] with the place in the file and the key that was probably meant.
    pub fn read(path: &Path) -> Result<Self, TrialError> {
        let text = files::read_text(path).map_err(|source| TrialError::Read { path: path.into(), source })?;
        serde_json::from_str(&text).map_err(|source| TrialError::Parse {
            what: "recording",
            path: path.into(),
            source,
        })
    }

    /// The request, with what this recording puts in its place. `path`: where the recording was read.
    ///
    /// # Errors
    /// [`TrialError`] if the request cannot be read.
    pub fn request(&self, path: &Path) -> Result<Request, TrialError> {
        let mut request = match &self.request {
            Value::String(name) => Request::read(&path.with_file_name("").join(name))?,
            inline => serde_json::from_value(inline.clone()).map_err(|source| TrialError::Parse {
                what: "request in the recording",
                path: path.into(),
                source,
            })?,
        };
        if let Some(parameters) = &self.parameters {
            request.parameters = parameters.clone();
        }
        if let Some(observe) = &self.observe {
            request.observe = observe.clone();
        }
        Ok(request)
    }

    /// Writes it, whole or not at all.
    ///
    /// # Errors
    /// [`TrialError::Write`].
    pub fn write(&self, path: &Path) -> Result<(), TrialError> {
        let wrong = |source| TrialError::Write { path: path.into(), source };
        let mut text = serde_json::to_string_pretty(self).map_err(|error| wrong(error.into()))?;
        text.push('\n');
        files::write_whole(path, text.as_bytes()).map_err(wrong)
    }
}
