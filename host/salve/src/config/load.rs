//! Reads the file, lays the environment over it, and says clearly what is wrong.

use super::Config;
use serde::Deserialize;
use std::path::{Path, PathBuf};
use thiserror::Error;

/// Why a configuration was refused.
#[derive(Debug, Error)]
pub enum ConfigError {
    /// It cannot be read.
    #[error("cannot read the configuration `{}`", path.display())]
    Read {
        /// Which file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// It is not TOML, or has unknown keys or values of the wrong kind.
    #[error("cannot understand the configuration `{}`:\n{detail}{}", path.display(), hint_line(hint.as_deref()))]
    Parse {
        /// Which file.
        path: PathBuf,
        /// The parser's words, with line and column.
        detail: String,
        /// What was probably meant.
        hint: Option<String>,
    },
    /// An environment variable does not fit.
    #[error("the environment variable `{variable}` does not fit the configuration: {detail}{}", hint_line(hint.as_deref()))]
    Environment {
        /// Which one.
        variable: String,
        /// Why.
        detail: String,
        /// What was probably meant.
        hint: Option<String>,
    },
    /// Values contradict each other or the world.
    #[error("the configuration `{}` cannot be used:\n{}", path.display(), bullet_list(problems))]
    Invalid {
        /// Which file.
        path: PathBuf,
        /// One line each.
        problems: Vec<String>,
    },
}

fn hint_line(hint: Option<&str>) -> String {
    hint.map_or_else(String::new, |hint| format!("\n\nhint: {hint}"))
}

fn bullet_list(problems: &[String]) -> String {
    problems.iter().map(|problem| format!("  - {problem}")).collect::<Vec<_>>().join("\n")
}

/// Reads `path`, lays `environment` (names that begin with `SALVE_`) over it and checks the result.
///
/// # Errors
/// Says which file or variable, where in it, and what was probably meant.
pub fn load(
    path: &Path,
    environment: impl IntoIterator<Item = (String, String)>,
) -> Result<Config, ConfigError> {
    let text = std::fs::read_to_string(path)
        .map_err(|source| ConfigError::Read { path: path.to_owned(), source })?;
    // Parsed once as it stands, since only this gives line and column.
    let mut config: Config = toml::from_str(&text).map_err(|error| parse_error(path, &error))?;
    let overrides: Vec<_> = environment
        .into_iter()
        .filter(|(name, _)| name.starts_with(PREFIX) && !IGNORED.contains(&name.as_str()))
        .collect();
    if !overrides.is_empty() {
        let mut table: toml::Table = toml::from_str(&text).map_err(|error| parse_error(path, &error))?;
        for (variable, value) in overrides {
            set(&mut table, &variable, &value);
            config = Config::deserialize(toml::Value::Table(table.clone())).map_err(|error| {
                let detail = error.to_string().trim().to_owned();
                ConfigError::Environment { hint: nearest_name(&detail), variable, detail }
            })?;
        }
    }
    let folder = path.parent().map_or_else(PathBuf::new, Path::to_owned);
    let folder = std::fs::canonicalize(if folder.as_os_str().is_empty() { Path::new(".") } else { &folder })
        .map_err(|source| ConfigError::Read { path: path.to_owned(), source })?;
    resolve_paths(&mut config, &folder);
    let problems = super::check::problems(&config);
    if problems.is_empty() {
        Ok(config)
    } else {
        Err(ConfigError::Invalid { path: path.to_owned(), problems })
    }
}

/// From a configuration that cannot be used: only where the state lies.
pub fn state_only(path: &Path) -> Option<Config> {
    let table: toml::Table = toml::from_str(&std::fs::read_to_string(path).ok()?).ok()?;
    let state_directory = PathBuf::from(table.get("state_directory")?.as_str()?);
    let folder = std::fs::canonicalize(path).ok()?.parent()?.to_owned();
    Some(Config { state_directory: folder.join(state_directory), ..Config::default() })
}

const PREFIX: &str = "SALVE_";
/// Variables with this prefix that are not configuration.
const IGNORED: [&str; 4] =
    ["SALVE_CONFIG", "SALVE_KEY_PASSWORD", "SALVE_REGISTRY_USERNAME", "SALVE_REGISTRY_PASSWORD"];

fn parse_error(path: &Path, error: &toml::de::Error) -> ConfigError {
    let detail = error.to_string().trim_end().to_owned();
    ConfigError::Parse { path: path.to_owned(), hint: nearest_name(error.message()), detail }
}

/// `SALVE_OTLP__GRPC_ADDRESS` sets `otlp.grpc_address`. The value is TOML if it can be read as such, else text.
fn set(table: &mut toml::Table, variable: &str, value: &str) {
    let path = variable.trim_start_matches(PREFIX).to_ascii_lowercase();
    let mut keys = path.split("__").peekable();
    let mut table = table;
    while let Some(key) = keys.next() {
        if keys.peek().is_none() {
            table.insert(key.to_owned(), parse_value(value));
            return;
        }
        let entry = table.entry(key).or_insert_with(|| toml::Value::Table(toml::Table::new()));
        match entry {
            toml::Value::Table(inner) => table = inner,
            // Not a table: let the type check say so.
            other => {
                *other = toml::Value::String(value.to_owned());
                return;
            }
        }
    }
}

fn parse_value(value: &str) -> toml::Value {
    toml::from_str::<toml::Table>(&format!("value = {value}"))
        .ok()
        .and_then(|mut table| table.remove("value"))
        .unwrap_or_else(|| toml::Value::String(value.to_owned()))
}

/// From serde's "unknown field `x`, expected one of `a`, `b`": the known name nearest to `x`.
fn nearest_name(message: &str) -> Option<String> {
    let (_, rest) = message.split_once("unknown field `")?;
    let (unknown, rest) = rest.split_once('`')?;
    let known = rest.split('`').skip(1).step_by(2);
    let (similarity, name) = known
        .map(|name| (strsim::jaro_winkler(unknown, name), name))
        .max_by(|left, right| left.0.total_cmp(&right.0))?;
    (similarity > 0.7).then(|| format!("did you mean `{name}` instead of `{unknown}`?"))
}

/// Makes relative paths absolute, below `folder`.
fn resolve_paths(config: &mut Config, folder: &Path) {
    for path in [&mut config.state_directory, &mut config.plugins.directory, &mut config.policies.directory] {
        *path = folder.join(&*path);
    }
    for path in [&mut config.plugins.cache_directory, &mut config.plugins.lock_file].into_iter().flatten() {
        *path = folder.join(&*path);
    }
    for publisher in config.publishers.iter_mut().filter(|publisher| !publisher.is_inline()) {
        publisher.key = folder.join(&publisher.key).display().to_string();
    }
    config.otlp.resolve_paths(folder);
    let processes = config
        .processes
        .iter_mut()
        .flat_map(|process| std::iter::once(&mut process.log_file).chain(&mut process.working_directory));
    let files = config
        .targets
        .iter_mut()
        .filter_map(|target| target.config.as_mut())
        .flat_map(|file| std::iter::once(&mut file.file).chain(&mut file.root));
    let secrets = config.secrets.iter_mut().filter_map(|secret| secret.file.as_mut());
    for path in processes.chain(files).chain(secrets) {
        *path = folder.join(&*path);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn load_text(text: &str, environment: &[(&str, &str)]) -> Result<Config, String> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("salve.toml");
        std::fs::write(&path, text).unwrap();
        load(&path, environment.iter().map(|(name, value)| ((*name).into(), (*value).into())))
            .map_err(|error| error.to_string().replace(folder.path().to_str().unwrap(), ""))
    }

    /// Guarantees: an empty file is the safe default: it only observes, on loopback.
    #[test]
    fn empty_file_observes_on_loopback() {
        let config = load_text("", &[]).unwrap();
        assert_eq!(config.mode, salve_model::mode::Mode::Observe);
        assert!(config.otlp.grpc_address.ip().is_loopback() && config.otlp.http_address.ip().is_loopback());
    }

    /// Guarantees: a misspelt key is refused, and the message has line, column and the nearest name.
    #[test]
    fn unknown_key_names_the_nearest() {
        let refused = load_text("[guards]\ncooldwon_ms = 5\n", &[]).unwrap_err();
        assert!(
            refused.contains("line 2, column 1") && refused.contains("unknown field `cooldwon_ms`"),
            "{refused}"
        );
        assert!(refused.ends_with("hint: did you mean `cooldown_ms` instead of `cooldwon_ms`?"), "{refused}");
    }

    /// Guarantees: the environment overrides the file, with the right types.
    #[test]
    fn environment_overrides() {
        let environment = [
            ("SALVE_MODE", "act"),
            ("SALVE_GUARDS__COOLDOWN_MS", "7"),
            ("HOME", "/x"),
            ("SALVE_CONFIG", "y"),
        ];
        let config = load_text("mode = 'observe'", &environment).unwrap();
        assert_eq!((config.mode, config.guards.cooldown_ms), (salve_model::mode::Mode::Act, 7));
        let refused = load_text("", &[("SALVE_GUARDS__COOLDWN_MS", "7")]).unwrap_err();
        assert!(
            refused.starts_with("the environment variable `SALVE_GUARDS__COOLDWN_MS` does not fit"),
            "{refused}"
        );
        assert!(refused.ends_with("hint: did you mean `cooldown_ms` instead of `cooldwn_ms`?"), "{refused}");
    }

    /// Guarantees: what cannot be a tenant's name is refused, and so is a grant on another tenant's target; each with a way out.
    #[test]
    fn tenants_are_checked() {
        let text = "[[otlp.tokens]]\ntoken = '0123456789abcdef'\ntenant = 'Shop A'\n\
                    [[target]]\nid = 'a'\ntenant = 'beta'\n[[target]]\nid = 'b'\n\
                    [[grant]]\nplugin = 'p'\ncapability = 'process'\nverbs = ['*']\ntargets = ['a', 'b']\n\
                    [[grant]]\nplugin = 'p'\ntenant = 'beta'\ncapability = 'process'\nverbs = ['*']\ntargets = ['a', '*']\n";
        insta::assert_snapshot!(load_text(text, &[]).unwrap_err(), @r#"
        the configuration `/salve.toml` cannot be used:
          - otlp.tokens[0]: `Shop A` is no name of a tenant (1 to 60 lower-case ASCII letters, digits, `-`, `_`, `.`)
          - grant `p`: target `a` is of tenant `beta`, the grant of `default`; write `tenant = "beta"` into the grant, or name a target of its own tenant
        "#);
    }

    /// Guarantees: all problems are told at once.
    #[test]
    fn all_problems_together() {
        let text = "[[target]]\nid = 'a'\nselect = { 'service.name' = 'a' }\nprocess = 'nowhere'\n\
                    [[target]]\nid = 'a'\nselect = { 'service.name' = 'a' }\n\
                    [escalation]\nchannel = 'pager'\n";
        insta::assert_snapshot!(load_text(text, &[]).unwrap_err(), @r"
        the configuration `/salve.toml` cannot be used:
          - [[target]] `a` is there twice
          - target `a`: there is no [[process]] `nowhere`
          - escalation `channel`: there is no [[notify]] `pager`
        ");
    }

    /// Guarantees: a misspelt capability, verb or name of a secret is refused, with the nearest that there is.
    #[test]
    fn misspelt_grants_are_refused() {
        let grant = |capability: &str, verb: &str, more: &str| {
            format!(
                "[[grant]]\nplugin = 'p'\ncapability = '{capability}'\nverbs = ['{verb}']\ntargets = ['*']\n{more}"
            )
        };
        let http = "http = { methods = ['GET'], paths = ['/'], secret = 'ap' }\n";
        let text = [
            grant("confg", "get", ""),
            grant("shell", "run", ""),
            grant("process", "resart", ""),
            grant("config", "erase", ""),
            grant("config", "*", ""),
            grant("http", "get", http),
            "[[secret]]\nname = 'api'\nenv = 'API'\n".into(),
            "[[notify]]\nname = 'pager'\nurl = 'http://127.0.0.1'\ntemplate = '{}'\nsecret = 'apy'\n".into(),
        ];
        insta::assert_snapshot!(load_text(&text.concat(), &[]).unwrap_err(), @r"
        the configuration `/salve.toml` cannot be used:
          - notify `pager`: there is no [[secret]] `apy`; did you mean `api`?
          - grant `p`: there is no capability `confg`; did you mean `config`?
          - grant `p`: there is no capability `shell`; there are config, http, notify, process
          - grant `p`: `process` has no verb `resart`; did you mean `restart`?
          - grant `p`: `config` has no verb `erase`; there are get, history, keys, set
          - grant `p`: there is no [[secret]] `ap`; did you mean `api`?
        ");
    }
}
