//! Sets a configuration key of its targets, or sets it back to its last good value.
//!
//! ## What always holds
//! - the plan has one `config.set` for each target, with the value that will be written
//! - "last good" is the newest version that the host calls good; a key whose value is that already is left alone
//! - undo writes back what the host saw before, as the plan states it
//!
//! Not here: what good means (the `config` capability), which keys may be written (grants).

use salve_plugin::prelude::*;
use serde::Deserialize;

/// The action.
#[derive(Debug)]
pub struct SetConfig;

/// What a policy may say.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Parameters {
    /// What to do with the key.
    pub mode: Mode,
    /// A dotted path, for instance `pool.size`.
    pub key: Option<String>,
    /// The new value.
    pub value: Option<Scalar>,
    /// What the telemetry must show afterwards, besides the symptoms clearing.
    pub expect: Vec<Expect>,
}

/// What to do with the key.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Mode {
    /// Set it to `value`.
    #[default]
    Value,
    /// Remove it.
    Remove,
    /// Set it back to the newest value that proved itself; without `key`, the key that was changed last since then.
    LastGood,
}

/// A value as JSON has it; files get its text, in the type that they have.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(untagged)]
pub enum Scalar {
    /// `"16"`
    Text(String),
    /// `16`
    Number(serde_json::Number),
    /// `true`
    Boolean(bool),
}

impl std::fmt::Display for Scalar {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Text(text) => f.write_str(text),
            Self::Number(number) => number.fmt(f),
            Self::Boolean(boolean) => boolean.fmt(f),
        }
    }
}

/// One write and how it is put to a person.
struct Write {
    step: Step,
    summary: String,
}

impl Action for SetConfig {
    type Parameters = Parameters;
    type Uses = config::Capability;

    fn plan(request: &Request<Parameters>) -> Result<Plan, Failure> {
        request.target()?;
        let writes = request
            .targets
            .iter()
            .map(|target| write(target, &request.parameters))
            .collect::<Result<Vec<_>, Failure>>()?;
        let summaries: Vec<&str> = writes.iter().map(|write| write.summary.as_str()).collect();
        Ok(Plan::new(summaries.join("; "))
            .steps(writes.iter().map(|write| write.step.clone()))
            .expect_all(&request.parameters.expect))
    }
}

fn write(target: &Target, parameters: &Parameters) -> Result<Write, Failure> {
    let invalid = |why: &str| Failure::Invalid(why.into());
    let given_key = || {
        parameters.key.as_deref().ok_or_else(|| invalid("`key` is missing; only `last-good` can do without"))
    };
    match (parameters.mode, &parameters.value) {
        (Mode::Value, None) => Err(invalid("`value` is missing; use mode `remove` to remove a key")),
        (Mode::Value, Some(value)) => set(target, given_key()?, Some(&value.to_string()), "to"),
        (Mode::Remove, None) => set(target, given_key()?, None, "to"),
        (Mode::LastGood, None) => {
            let (key, version) = match &parameters.key {
                Some(key) => (key.clone(), last_good(key, &config::history(target, key)?)?),
                None => last_changed(target)?,
            };
            set(target, &key, version.value.as_deref(), "back to its last good value")
        }
        (_, Some(_)) => Err(invalid("`value` goes with mode `value` only")),
    }
}

fn set(target: &Target, key: &str, value: Option<&str>, how: &str) -> Result<Write, Failure> {
    let words =
        |value: Option<&str>| value.map_or_else(|| "nothing".to_string(), |value| format!("`{value}`"));
    let before = config::get(target, key)?;
    if before.as_deref() == value {
        return Err(Failure::NotApplicable(format!(
            "`{key}` of `{}` is {} already",
            target.id,
            words(value)
        )));
    }
    let mut step = config::set_step(target, key, value);
    step.after = value.map(Into::into);
    let summary =
        format!("Set `{key}` of `{}` from {} {how} {}", target.id, words(before.as_deref()), words(value));
    Ok(Write { step, summary })
}

/// The newest good version, unless the one in force has that value.
fn last_good(key: &str, history: &[config::Version]) -> Result<config::Version, Failure> {
    let nothing = |why: &str| Failure::NotApplicable(format!("`{key}` {why}"));
    let current = history.first().ok_or_else(|| nothing("has no history"))?;
    let good =
        history.iter().find(|version| version.good).ok_or_else(|| nothing("has no good version yet"))?;
    if good.value == current.value {
        return Err(nothing("has its last good value"));
    }
    Ok(good.clone())
}

/// The key that was changed last among those that are not at their last good value.
fn last_changed(target: &Target) -> Result<(String, config::Version), Failure> {
    let mut newest: Option<(u64, String, config::Version)> = None;
    for (key, _) in config::keys(target)? {
        let history = config::history(target, &key)?;
        let Ok(good) = last_good(&key, &history) else { continue };
        let since = history.first().map_or(0, |current| current.since);
        // On equal times the first by name, so that equal requests give equal plans.
        if newest.as_ref().is_none_or(|(time, name, _)| (since, name) > (*time, &key)) {
            newest = Some((since, key, good));
        }
    }
    newest.map(|(_, key, good)| (key, good)).ok_or_else(|| {
        Failure::NotApplicable(format!("no key of `{}` was changed since it was good", target.id))
    })
}

salve_plugin::export_action!(SetConfig);

#[cfg(test)]
mod tests {
    use super::*;
    use salve_plugin::testing::{ActionTest, FakeHost};

    fn test(host: FakeHost, parameters: &str) -> ActionTest<SetConfig> {
        ActionTest::new(host, parameters, &["checkout"])
    }

    /// `pool.size` went from a good 16 to 1; `timeout_ms` is as good as ever; `debug` was changed long before.
    fn shop() -> FakeHost {
        FakeHost::new()
            .config("checkout", "debug", Some("false"), true)
            .config("checkout", "debug", Some("true"), false)
            .config("checkout", "timeout_ms", Some("500"), true)
            .config("checkout", "pool.size", Some("16"), true)
            .config("checkout", "pool.size", Some("1"), false)
    }

    /// Scenario: set, execute, undo. Guarantees: the file has the new value, then the old one; the arguments are exact.
    #[test]
    fn sets_and_undoes() {
        for value in [r#""32""#, "32"] {
            let test = test(shop(), &format!(r#"{{"key":"pool.size","value":{value}}}"#));
            let plan = test.plan().unwrap();
            assert_eq!(plan.steps[0].arguments, r#"{"key":"pool.size","value":"32"}"#);
            assert_eq!(plan.summary, "Set `pool.size` of `checkout` from `1` to `32`");
            assert!(test.execute(&plan).unwrap().done);
            assert_eq!(test.host().config_value("checkout", "pool.size").as_deref(), Some("32"));
            assert!(test.undo(&plan).unwrap().done);
            assert_eq!(test.host().config_value("checkout", "pool.size").as_deref(), Some("1"));
        }
    }

    /// Scenario: a key is removed, and that is undone. Guarantees: removal is a value of its own, not an empty text.
    #[test]
    fn removes() {
        let test = test(shop(), r#"{"key":"debug","mode":"remove"}"#);
        let plan = test.plan().unwrap();
        assert_eq!(plan.steps[0].arguments, r#"{"key":"debug","value":null}"#);
        test.execute(&plan).unwrap();
        assert_eq!(test.host().config_value("checkout", "debug"), None);
        test.undo(&plan).unwrap();
        assert_eq!(test.host().config_value("checkout", "debug").as_deref(), Some("true"));
    }

    /// Scenario: back to the last good value, of a named key and of whichever was changed last. Guarantees: the value
    /// that proved itself, and the newest change.
    #[test]
    fn last_good_value() {
        for (parameters, arguments) in [
            (r#"{"mode":"last-good","key":"pool.size"}"#, r#"{"key":"pool.size","value":"16"}"#),
            (r#"{"mode":"last-good","key":"debug"}"#, r#"{"key":"debug","value":"false"}"#),
            (r#"{"mode":"last-good"}"#, r#"{"key":"pool.size","value":"16"}"#),
        ] {
            let plan = test(shop(), parameters).plan().unwrap();
            assert_eq!(plan.steps[0].arguments, arguments, "{parameters}");
        }
    }

    /// Scenario: Salve changed a key and took it back, so that the newest version is not good yet but has the value
    /// of a good one. Guarantees: this key is not the one that was changed.
    #[test]
    fn own_undo_is_not_a_change() {
        let host = shop().config("checkout", "timeout_ms", Some("900"), false).config(
            "checkout",
            "timeout_ms",
            Some("500"),
            false,
        );
        let plan = test(host, r#"{"mode":"last-good"}"#).plan().unwrap();
        assert_eq!(plan.steps[0].arguments, r#"{"key":"pool.size","value":"16"}"#);
    }

    /// Scenario: requests for which there is nothing to do, and some that make no sense. Guarantees: each is told apart
    /// and says why.
    #[test]
    fn refusals() {
        let refusals: Vec<String> = [
            r#"{"mode":"last-good","key":"timeout_ms"}"#,
            r#"{"mode":"last-good","key":"new"}"#,
            r#"{"mode":"last-good","key":"absent"}"#,
            r#"{"key":"pool.size","value":"1"}"#,
            r#"{"key":"pool.size"}"#,
            r#"{"value":"1"}"#,
            r#"{"mode":"remove","key":"debug","value":"1"}"#,
            r#"{"kee":"debug"}"#,
        ]
        .into_iter()
        .map(|parameters| {
            let host = shop().config("checkout", "new", Some("1"), false);
            format!("{:?}", test(host, parameters).plan().unwrap_err())
        })
        .collect();
        insta::assert_snapshot!(refusals.join("\n"), @r#"
        Failure::NotApplicable("`timeout_ms` has its last good value")
        Failure::NotApplicable("`new` has no good version yet")
        Failure::NotApplicable("not found: target `checkout` has no key `absent`")
        Failure::NotApplicable("`pool.size` of `checkout` is `1` already")
        Failure::Invalid("`value` is missing; use mode `remove` to remove a key")
        Failure::Invalid("`key` is missing; only `last-good` can do without")
        Failure::Invalid("`value` goes with mode `value` only")
        Failure::Invalid("parameters: unknown field `kee`, expected one of `mode`, `key`, `value`, `expect` at line 1 column 6")
        "#);
        let all_good = FakeHost::new().config("checkout", "a", Some("1"), true);
        insta::assert_snapshot!(format!("{:?}", test(all_good, r#"{"mode":"last-good"}"#).plan().unwrap_err()), @r#"Failure::NotApplicable("no key of `checkout` was changed since it was good")"#);
    }
}
