//! What a plugin says about itself, read without running a byte of it.
//!
//! ## What always holds
//! - a manifest is at most 64 KiB, and every key of it is known
//! - names are lower-case ASCII letters, digits and hyphens, so that they are safe in paths, logs and metrics
//! - the schema of the parameters refers to nothing outside itself and to itself neither
//!
//! Not here: whether the component is what its manifest says (`admission`).

use crate::{
    config::LimitSettings,
    contract::{CAPABILITIES, ContractVersion, SERVED},
    parameters::ParameterSchema,
    section,
};
use salve_model::{PluginName, text::escape};
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// The custom section that holds the manifest.
pub(crate) const SECTION: &str = "salve:manifest";
/// Largest manifest, in bytes of JSON.
pub(crate) const BYTES_MAX: usize = 64 << 10;
/// Longest plugin name.
const NAME_CHARS_MAX: usize = 64;
/// Longest summary.
const SUMMARY_CHARS_MAX: usize = 400;

/// What a plugin is; its world in the contract.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    /// Watches series.
    Detector,
    /// Finds causes.
    Agent,
    /// Changes something.
    Action,
}

impl std::fmt::Display for Role {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Detector => "detector",
            Self::Agent => "agent",
            Self::Action => "action",
        })
    }
}

/// A capability that a plugin would like to use. Nothing happens without a grant.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CapabilityRequest {
    /// The interface, for instance `config`.
    pub capability: String,
    /// Its functions, for instance `["get", "set"]`; `["*"]` is all of them.
    pub verbs: Vec<String>,
}

/// What a plugin says about itself.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Manifest {
    /// Unique in an installation.
    pub name: PluginName,
    /// Its own version: three numbers with dots, and a suffix if need be.
    pub version: String,
    /// What it is.
    pub role: Role,
    /// One sentence for a person.
    pub summary: String,
    /// JSON Schema of its parameters. Default: none are allowed.
    #[serde(default = "no_parameters")]
    pub parameters: Value,
    /// Capabilities that it would like to use; actions only.
    #[serde(default)]
    pub capabilities: Vec<CapabilityRequest>,
    /// It says that doing it twice does no more than doing it once. The host trusts this only where it makes it more
    /// careful.
    #[serde(default)]
    pub idempotent: bool,
    /// It says that `undo` takes back all it does. Trusted as `idempotent` is.
    #[serde(default)]
    pub reversible: bool,
    /// Limits below those of the operator, if it is content with less.
    #[serde(default)]
    pub limits: LimitSettings,
    /// Version of `salve:plugin` that it is built for.
    #[serde(default = "newest_contract")]
    pub contract: String,
}

/// The schema of a plugin without parameters.
fn no_parameters() -> Value {
    serde_json::json!({ "type": "object", "additionalProperties": false })
}

/// What `salve plugin pack` builds for if the manifest says nothing.
fn newest_contract() -> String {
    SERVED.last().copied().unwrap_or_default().to_owned()
}

/// Keys of a manifest.
const KEYS: &[&str] = &[
    "name",
    "version",
    "role",
    "summary",
    "parameters",
    "capabilities",
    "idempotent",
    "reversible",
    "limits",
    "contract",
];
/// Keys of an entry of `capabilities`.
const CAPABILITY_KEYS: &[&str] = &["capability", "verbs"];

/// Why a manifest is refused.
#[derive(Debug, thiserror::Error)]
pub enum ManifestError {
    /// There is no manifest.
    #[error("component has no manifest section `{SECTION}`")]
    Missing,
    /// There is more than one, so that two readers could see different ones.
    #[error("component has more than one manifest section `{SECTION}`")]
    Repeated,
    /// It is too large to be read.
    #[error("manifest has {bytes} bytes, the most is {BYTES_MAX}")]
    TooLarge {
        /// Its size.
        bytes: usize,
    },
    /// The file ends within a section.
    #[error("cannot find the manifest in a file that is cut off")]
    Truncated(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// It is not JSON.
    #[error("cannot parse the manifest as JSON")]
    Json(#[source] serde_json::Error),
    /// It is not TOML.
    #[error("cannot parse `plugin.toml`")]
    Toml(#[source] Box<toml::de::Error>),
    /// A key that no manifest has.
    #[error("manifest has the unknown key `{key}`{}", nearest_hint(.nearest.as_deref()))]
    UnknownKey {
        /// Where, for instance `limits.memory`.
        key: String,
        /// A known one that is written alike.
        nearest: Option<String>,
    },
    /// A value that makes no sense.
    #[error("manifest key `{key}` is `{value}`: {rule}")]
    Value {
        /// Which key.
        key: &'static str,
        /// Its value, escaped.
        value: String,
        /// What would be right.
        rule: String,
    },
    /// A key is missing or has the wrong type.
    #[error("cannot read the manifest: {message}")]
    Shape {
        /// What is wrong, escaped.
        message: String,
    },
    /// The contract version is not served.
    #[error("plugin `{name}` is built for contract {found}; this host serves {}", SERVED.join(", "))]
    Contract {
        /// The plugin.
        name: String,
        /// What it is built for.
        found: String,
    },
}

impl ManifestError {
    /// What the author or operator can do about it.
    #[must_use]
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::Missing => {
                Some("Make the component with `salve plugin pack`, which adds the manifest.".into())
            }
            Self::Contract { .. } => {
                Some(format!("Rebuild it against salve:plugin@{}, or update Salve.", newest_contract()))
            }
            _ => None,
        }
    }
}

/// `; did you mean …?`
fn nearest_hint(nearest: Option<&str>) -> String {
    nearest.map(|name| format!("; did you mean `{name}`?")).unwrap_or_default()
}

/// The entry of `known` that is written most like `word`, if any is alike at all.
pub(crate) fn nearest(word: &str, known: &[&str]) -> Option<String> {
    // A word that was not finished is nearer than one that was misspelt.
    let distance = |name: &&str| match name.strip_prefix(word) {
        Some(_) if word.len() > 2 => 0,
        _ => strsim::damerau_levenshtein(word, name),
    };
    let best = known.iter().copied().min_by_key(distance)?;
    (distance(&best) <= 2 + best.len() / 4).then(|| best.to_owned())
}

/// The content of a component's manifest section.
///
/// # Errors
/// [`ManifestError`] if there is none, more than one, or one too large.
pub(crate) fn section_of(bytes: &[u8]) -> Result<&[u8], ManifestError> {
    let mut found = None;
    for part in section::sections(bytes) {
        let part = part.map_err(|error| ManifestError::Truncated(Box::new(error)))?;
        if let Some((SECTION, data)) = part.custom() {
            if found.is_some() {
                return Err(ManifestError::Repeated);
            }
            if data.len() > BYTES_MAX {
                return Err(ManifestError::TooLarge { bytes: data.len() });
            }
            found = Some(data);
        }
    }
    found.ok_or(ManifestError::Missing)
}

impl Manifest {
    /// Reads the manifest of a component, and nothing else of it.
    ///
    /// # Errors
    /// [`ManifestError`] says what is wrong with it.
    pub fn of_component(bytes: &[u8]) -> Result<Self, ManifestError> {
        Self::of_section(section_of(bytes)?)?.with_schema_checked()
    }

    /// Reads the content of a manifest section, and leaves it open whether the schema of the parameters is one.
    pub(crate) fn of_section(json: &[u8]) -> Result<Self, ManifestError> {
        Self::from_value(serde_json::from_slice(json).map_err(ManifestError::Json)?)
    }

    /// Reads `plugin.toml`.
    ///
    /// # Errors
    /// [`ManifestError`] says what is wrong with it.
    pub fn from_toml(toml: &str) -> Result<Self, ManifestError> {
        if toml.len() > BYTES_MAX {
            return Err(ManifestError::TooLarge { bytes: toml.len() });
        }
        let value: Value = toml::from_str(toml).map_err(|error| ManifestError::Toml(Box::new(error)))?;
        Self::from_value(value)?.with_schema_checked()
    }

    fn with_schema_checked(self) -> Result<Self, ManifestError> {
        ParameterSchema::new(&self.parameters).map(|_| self)
    }

    /// The manifest as it stands in the component.
    ///
    /// # Errors
    /// [`ManifestError::TooLarge`] if JSON makes it longer than a manifest may be.
    pub fn to_section(&self) -> Result<Vec<u8>, ManifestError> {
        let bytes = serde_json::to_vec(self).map_err(ManifestError::Json)?;
        if bytes.len() > BYTES_MAX { Err(ManifestError::TooLarge { bytes: bytes.len() }) } else { Ok(bytes) }
    }

    /// Whether the manifest asks for this function of this capability.
    #[must_use]
    pub fn requests(&self, capability: &str, verb: &str) -> bool {
        self.capabilities.iter().any(|request| {
            request.capability == capability && request.verbs.iter().any(|v| v == verb || v == "*")
        })
    }

    /// Checks keys, then shape, then values; not the schema.
    fn from_value(value: Value) -> Result<Self, ManifestError> {
        // First: a later contract may have keys that this one does not know.
        if let Some(found) = value.get("contract").and_then(Value::as_str)
            && ContractVersion::named(found).is_none()
        {
            let name = value.get("name").and_then(Value::as_str).unwrap_or_default();
            return Err(ManifestError::Contract { name: escape(name, 64), found: escape(found, 40) });
        }
        check_keys(&value, "", KEYS)?;
        if let Some(limits) = value.get("limits") {
            check_keys(limits, "limits.", LimitSettings::NAMES)?;
        }
        for request in value.get("capabilities").and_then(Value::as_array).into_iter().flatten() {
            check_keys(request, "capabilities.", CAPABILITY_KEYS)?;
        }
        let manifest: Self = serde_json::from_value(value)
            .map_err(|error| ManifestError::Shape { message: escape(&error.to_string(), 300) })?;
        manifest.check()?;
        Ok(manifest)
    }

    /// Checks values.
    fn check(&self) -> Result<(), ManifestError> {
        let name = &self.name.0;
        let name_rule = "use lower-case ASCII letters, digits and hyphens, a letter first, at most 64";
        let letters = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
        if !name.starts_with(|c: char| c.is_ascii_lowercase())
            || !name.chars().all(letters)
            || name.len() > NAME_CHARS_MAX
        {
            return Err(wrong("name", name, name_rule));
        }
        if !is_version(&self.version) {
            return Err(wrong("version", &self.version, "use three numbers with dots, for instance 1.2.0"));
        }
        if self.summary.trim().is_empty() || self.summary.chars().count() > SUMMARY_CHARS_MAX {
            return Err(wrong(
                "summary",
                &self.summary,
                "say in one sentence what it does, in at most 400 characters",
            ));
        }
        self.check_capabilities()
    }

    /// Each capability once, known, with known verbs, and only for actions.
    fn check_capabilities(&self) -> Result<(), ManifestError> {
        let names: Vec<_> = CAPABILITIES.iter().map(|capability| capability.name).collect();
        for (index, request) in self.capabilities.iter().enumerate() {
            let asked = &request.capability;
            if self.role != Role::Action {
                return Err(wrong(
                    "capabilities",
                    asked,
                    &format!("a plugin of role {} has none", self.role),
                ));
            }
            let Some(known) = CAPABILITIES.iter().find(|known| known.name == asked) else {
                let rule = match nearest(asked, &names) {
                    Some(nearest) => format!("there is no such capability; did you mean `{nearest}`?"),
                    None => format!("there is no such capability; there are {}", names.join(", ")),
                };
                return Err(wrong("capabilities", asked, &rule));
            };
            if self.capabilities.iter().take(index).any(|earlier| earlier.capability == *asked) {
                return Err(wrong("capabilities", asked, "name each capability once"));
            }
            let verbs: Vec<_> = known.verbs().collect();
            if request.verbs.is_empty() {
                return Err(wrong(
                    "capabilities",
                    asked,
                    &format!("name its verbs, of {}", verbs.join(", ")),
                ));
            }
            if let Some(verb) =
                request.verbs.iter().find(|verb| *verb != "*" && !verbs.contains(&verb.as_str()))
            {
                let rule = format!("{asked} has the verbs {}", verbs.join(", "));
                return Err(wrong("capabilities.verbs", verb, &rule));
            }
        }
        Ok(())
    }
}

/// A value that makes no sense.
pub(crate) fn wrong(key: &'static str, value: &str, rule: &str) -> ManifestError {
    ManifestError::Value { key, value: escape(value, 100), rule: escape(rule, 300) }
}

/// Refuses the first key that is not `known`.
fn check_keys(value: &Value, path: &str, known: &[&str]) -> Result<(), ManifestError> {
    let unknown = value.as_object().into_iter().flatten().find(|(key, _)| !known.contains(&key.as_str()));
    match unknown {
        None => Ok(()),
        Some((key, _)) => Err(ManifestError::UnknownKey {
            key: format!("{path}{}", escape(key, 60)),
            nearest: nearest(key, known).map(|nearest| format!("{path}{nearest}")),
        }),
    }
}

/// `1.2.3`, `1.2.3-rc.1`, `1.2.3+build`.
fn is_version(version: &str) -> bool {
    let (numbers, suffix) = match version.find(['-', '+']) {
        Some(at) => version.split_at(at),
        None => (version, ""),
    };
    let number = |part: &str| !part.is_empty() && part.len() <= 9 && part.bytes().all(|b| b.is_ascii_digit());
    version.len() <= 64
        && numbers.split('.').count() == 3
        && numbers.split('.').all(number)
        && suffix.bytes().all(|b| b.is_ascii_alphanumeric() || b"-+.".contains(&b))
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// A manifest of an action with all verbs of `capabilities`.
    pub(crate) fn action(capabilities: &[&str]) -> Manifest {
        let mut toml = "name = 'probe'\nversion = '0.1.0'\nrole = 'action'\nsummary = 'Probes.'\n".to_owned();
        for capability in capabilities {
            toml.push_str(&format!("[[capabilities]]\ncapability = '{capability}'\nverbs = ['*']\n"));
        }
        Manifest::from_toml(&toml).unwrap()
    }

    fn refusal(toml: &str) -> String {
        let head = "name = 'probe'\nversion = '0.1.0'\nrole = 'action'\nsummary = 'Probes.'\n";
        let keys: Vec<_> =
            toml.lines().filter_map(|line| line.split_once(" = ")).map(|(key, _)| key).collect();
        let kept: String = head
            .lines()
            .filter(|line| !keys.iter().any(|key| line.starts_with(&format!("{key} ="))))
            .map(|line| format!("{line}\n"))
            .collect();
        Manifest::from_toml(&format!("{kept}{toml}")).unwrap_err().to_string()
    }

    /// Guarantees: what is wrong is named with its key and value, and with a way out.
    #[test]
    fn refusals_name_key_value_and_way_out() {
        let messages: Vec<_> = [
            "sumary = 'x'",
            "[limits]\nmemory = 1",
            "name = '../../etc'",
            "name = 'Upper'",
            "name = 'sálve'",
            "version = '1'",
            "summary = ''",
            "contract = '0.2.0'",
            "role = 'daemon'",
            "capabilities = [{ capability = 'confg', verbs = ['get'] }]",
            "capabilities = [{ capability = 'config', verbs = ['delete'] }]",
            "capabilities = [{ capability = 'config', verbs = [] }]",
            "capabilities = [{ capability = 'config', verbs = ['get'] }, { capability = 'config', verbs = ['set'] }]",
            "role = 'agent'\ncapabilities = [{ capability = 'config', verbs = ['get'] }]",
            "parameters = 'x'",
            "[parameters]\ntype = 'objekt'",
            "[parameters]\n'$ref' = '#'",
            "[parameters]\nproperties.a.allOf = [{ '$ref' = 'file:///etc/passwd' }]",
            "[parameters]\n'$schema' = 'http://127.0.0.1/schema'",
        ]
        .into_iter()
        .map(refusal)
        .collect();
        insta::assert_snapshot!(messages.join("\n"), @r#"
        manifest has the unknown key `sumary`; did you mean `summary`?
        manifest has the unknown key `limits.memory`; did you mean `limits.memory_bytes`?
        manifest key `name` is `../../etc`: use lower-case ASCII letters, digits and hyphens, a letter first, at most 64
        manifest key `name` is `Upper`: use lower-case ASCII letters, digits and hyphens, a letter first, at most 64
        manifest key `name` is `sálve`: use lower-case ASCII letters, digits and hyphens, a letter first, at most 64
        manifest key `version` is `1`: use three numbers with dots, for instance 1.2.0
        manifest key `summary` is ``: say in one sentence what it does, in at most 400 characters
        plugin `probe` is built for contract 0.2.0; this host serves 0.1.0
        cannot read the manifest: unknown variant `daemon`, expected one of `detector`, `agent`, `action`
        manifest key `capabilities` is `confg`: there is no such capability; did you mean `config`?
        manifest key `capabilities.verbs` is `delete`: config has the verbs get, history, keys, set
        manifest key `capabilities` is `config`: name its verbs, of get, history, keys, set
        manifest key `capabilities` is `config`: name each capability once
        manifest key `capabilities` is `config`: a plugin of role agent has none
        manifest key `parameters` is `"x"`: use a JSON Schema of an object
        manifest key `parameters` is `/type value must be one of 'array', 'boolean', 'integer', 'null', 'number', 'object', 'string'`: use a valid JSON Schema
        manifest key `parameters` is `$ref`: a schema must not refer to another one
        manifest key `parameters` is `$ref`: a schema must not refer to another one
        manifest key `parameters` is `$schema`: a schema must not refer to another one
        "#);
    }

    /// Guarantees: what `pack` writes, `load` reads back unchanged.
    #[test]
    fn section_round_trip() {
        let manifest = action(&["config", "process"]);
        let mut component = b"\0asm\x0d\0\x01\0".to_vec();
        section::append_custom(&mut component, SECTION, &manifest.to_section().unwrap());
        assert_eq!(Manifest::of_component(&component).unwrap(), manifest);
        assert!(manifest.requests("config", "set"));
        assert!(!manifest.requests("http", "get"));

        section::append_custom(&mut component, SECTION, &manifest.to_section().unwrap());
        assert!(matches!(Manifest::of_component(&component), Err(ManifestError::Repeated)));
    }

    /// Guarantees: a manifest of 100 MiB is refused by its length, before anything parses it.
    #[test]
    fn huge_manifest_is_refused_unread() {
        let mut component = b"\0asm\x0d\0\x01\0".to_vec();
        section::append_custom(&mut component, SECTION, &vec![b'['; 100 << 20]);
        let started = std::time::Instant::now();
        assert!(
            matches!(Manifest::of_component(&component), Err(ManifestError::TooLarge { bytes }) if bytes == 100 << 20)
        );
        assert!(started.elapsed().as_secs() < 1);
        let mut deep = b"\0asm\x0d\0\x01\0".to_vec();
        section::append_custom(&mut deep, SECTION, &vec![b'['; BYTES_MAX]);
        assert!(matches!(Manifest::of_component(&deep), Err(ManifestError::Json(_))));
    }
}
