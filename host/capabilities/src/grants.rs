//! Is a call granted? And if not, which TOML would grant it?
//!
//! ## What always holds
//! - what no grant names is refused, reads included
//! - a grant is for incidents of one tenant: those of another one find nothing granted by it
//! - an argument that a grant bounds must be there and within the bound
//! - the answer to a refusal is a `[[grant]]` that allows this call and no wider one

use salve_model::{
    PluginName, Target, TargetId, Tenant,
    call::HttpRequest,
    grant::{Bound, Grant, sends},
    pattern::matches,
    text::escape,
};
use std::collections::BTreeMap;
use toml_edit::{Array, ArrayOfTables, DocumentMut, InlineTable, Item, Table, Value};

/// Arguments by name, as grants bound them. None: the argument is there and empty (a key that is removed).
pub(crate) type Arguments = BTreeMap<String, Option<String>>;

/// What a plugin asks for, in the words of grants.
#[derive(Debug)]
pub(crate) struct Ask<'a> {
    pub(crate) plugin: &'a PluginName,
    /// The incident's, and the target's.
    pub(crate) tenant: &'a Tenant,
    pub(crate) capability: &'a str,
    pub(crate) verb: &'a str,
    pub(crate) target: &'a TargetId,
    pub(crate) arguments: Arguments,
    /// Arguments that some bound must cover, since they are text of the plugin's own.
    pub(crate) must_be_bounded: Vec<String>,
    pub(crate) http: Option<&'a HttpRequest>,
    /// Only a GET that the grant declares free of effects will do.
    pub(crate) needs_safe_read: bool,
    /// The inverse that an approved plan states: the value before may lie outside of what the plugin may set.
    pub(crate) is_undo: bool,
    /// The plugin reads telemetry: where data leaves, the grant must say that it may.
    pub(crate) reads_telemetry: bool,
}

impl Ask<'_> {
    /// Telemetry could leave.
    fn sends(&self) -> bool {
        self.reads_telemetry && sends(self.capability)
    }
}

/// The first grant that allows the call.
///
/// # Errors
/// TOML that would allow it, with a comment on what came closest.
pub(crate) fn check<'g>(grants: &'g [Grant], ask: &Ask<'_>) -> Result<&'g Grant, String> {
    let mut closest = None;
    for grant in grants.iter().filter(|grant| covers(grant, ask)) {
        match within(grant, ask) {
            Ok(()) => return Ok(grant),
            Err(why) => closest = Some(why),
        }
    }
    Err(toml_that_allows(ask, closest.as_deref()))
}

/// Some of a plugin's grants gives it something on the target.
pub(crate) fn any(of_plugin: &[&Grant], target: &Target, capability: &str) -> bool {
    of_plugin.iter().any(|grant| {
        grant.tenant == target.tenant && grant.capability == capability && names(&grant.targets, &target.id)
    })
}

fn names(targets: &[TargetId], target: &TargetId) -> bool {
    targets.iter().any(|listed| listed == target || listed.0 == "*")
}

fn covers(grant: &Grant, ask: &Ask<'_>) -> bool {
    grant.plugin == *ask.plugin
        && grant.tenant == *ask.tenant
        && grant.capability == ask.capability
        && grant.verbs.iter().any(|verb| verb == ask.verb || verb == "*")
        && names(&grant.targets, ask.target)
}

fn within(grant: &Grant, ask: &Ask<'_>) -> Result<(), String> {
    for (name, bound) in &grant.arguments {
        if ask.is_undo && name == "value" {
            continue;
        }
        let Some(argument) = ask.arguments.get(name) else {
            if call_has(ask, name) {
                return Err(format!("a grant bounds `{name}`, which this call does not have"));
            }
            continue;
        };
        let Some(text) = argument else {
            return Err(format!("a grant bounds `{name}`, which this call leaves empty"));
        };
        if let Some(why) = outside(bound, text) {
            return Err(format!("a grant's bound on `{name}` {why}, but it is `{}`", escape(text, 200)));
        }
    }
    for name in &ask.must_be_bounded {
        let by_digest = name == "body" && grant.arguments.contains_key("body-sha256");
        if !grant.arguments.contains_key(name) && !by_digest {
            return Err(format!("no grant bounds `{}`", escape(name, 100)));
        }
    }
    if let Some(request) = ask.http {
        let allowed = grant.http.as_ref().ok_or("the grant has no `http` table")?;
        if ask.needs_safe_read && !allowed.safe_read {
            return Err("planning and dry-runs make only GETs whose grant says `safe_read = true`".into());
        }
        if !allowed.methods.contains(&request.method) {
            return Err(format!("the grant's methods lack `{}`", escape(&request.method, 20)));
        }
        if !allowed.paths.iter().any(|prefix| path_below(prefix, &request.path)) {
            return Err(format!("the grant's paths do not cover `{}`", escape(&request.path, 200)));
        }
        let strange = |name: &&(String, String)| !allowed.headers.contains(&name.0.to_ascii_lowercase());
        if let Some((name, _)) = request.headers.iter().find(strange) {
            return Err(format!("the grant's headers lack `{}`", escape(name, 100)));
        }
    }
    if ask.sends() && !grant.may_send {
        return Err("the plugin reads telemetry, and the grant does not say `may_send = true`".into());
    }
    Ok(())
}

/// False for arguments that only some verbs or calls have: a bound on them says nothing about the others.
fn call_has(ask: &Ask<'_>, name: &str) -> bool {
    match (ask.capability, name) {
        ("config", "value") => ask.verb == "set",
        ("config", "key") => ask.verb != "keys",
        ("http", "body" | "body-sha256") | ("notify", _) => false,
        ("http", name) => !name.starts_with("query.") && !name.starts_with("header."),
        _ => true,
    }
}

/// Why a text is outside of a bound; none if it is within.
fn outside(bound: &Bound, text: &str) -> Option<String> {
    if let Some(allowed) = &bound.one_of
        && !allowed.iter().any(|one| one == text)
    {
        return Some("lists other values".into());
    }
    if bound.min.is_some() || bound.max.is_some() {
        let number = text.trim().parse::<f64>().ok().filter(|number| number.is_finite());
        let Some(number) = number else { return Some("asks for a number".into()) };
        if let Some(min) = bound.min.filter(|min| number < *min) {
            return Some(format!("is at least {min}"));
        }
        if let Some(max) = bound.max.filter(|max| number > *max) {
            return Some(format!("is at most {max}"));
        }
    }
    if let Some(pattern) = &bound.pattern
        && !matches(pattern, text)
    {
        return Some(format!("is the pattern `{}`", escape(pattern, 100)));
    }
    None
}

/// `path` is `prefix` or lies below it, by whole segments.
fn path_below(prefix: &str, path: &str) -> bool {
    let prefix = prefix.strip_suffix('/').unwrap_or(prefix);
    path.strip_prefix(prefix).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

fn toml_that_allows(ask: &Ask<'_>, closest: Option<&str>) -> String {
    let mut grant = Table::new();
    grant["plugin"] = toml_edit::value(ask.plugin.0.as_str());
    if !ask.tenant.is_default() {
        grant["tenant"] = toml_edit::value(ask.tenant.0.as_str());
    }
    grant["capability"] = toml_edit::value(ask.capability);
    grant["verbs"] = toml_edit::value(Array::from_iter([ask.verb]));
    grant["targets"] = toml_edit::value(Array::from_iter([ask.target.0.as_str()]));
    if ask.sends() {
        grant["may_send"] = toml_edit::value(true);
    }
    let mut bounds = Table::new();
    bounds.set_dotted(true);
    let mut one_of = |name: &str, text: &str| {
        let mut bound = InlineTable::new();
        bound.insert("one_of", Value::Array(Array::from_iter([text])));
        bounds.insert(name, Item::Value(Value::InlineTable(bound)));
    };
    for (name, text) in &ask.arguments {
        let body = ask.must_be_bounded.iter().any(|name| name == "body");
        let needed = match name.as_str() {
            "body" => false,
            "body-sha256" => body,
            _ => ask.capability == "config" || ask.must_be_bounded.contains(name),
        };
        if let (true, Some(text)) = (needed, text) {
            one_of(name, text);
        }
    }
    if !bounds.is_empty() {
        grant.insert("arguments", Item::Table(bounds));
    }
    if let Some(request) = ask.http {
        let mut http = InlineTable::new();
        http.insert("methods", Value::Array(Array::from_iter([request.method.as_str()])));
        http.insert("paths", Value::Array(Array::from_iter([request.path.as_str()])));
        if !request.headers.is_empty() {
            let names = request.headers.iter().map(|(name, _)| name.to_ascii_lowercase());
            http.insert("headers", Value::Array(names.collect()));
        }
        if ask.needs_safe_read {
            http.insert("safe_read", Value::from(true));
        }
        grant["http"] = toml_edit::value(http);
    }
    let mut list = ArrayOfTables::new();
    list.push(grant);
    let mut document = DocumentMut::new();
    document.insert("grant", Item::ArrayOfTables(list));
    match closest {
        Some(closest) => format!("# {closest}\n{document}"),
        None => document.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::sync::LazyLock;

    fn grant(toml: &str) -> Grant {
        #[derive(serde::Deserialize)]
        struct File {
            grant: Vec<Grant>,
        }
        toml::from_str::<File>(toml).unwrap().grant.remove(0)
    }

    static DEFAULT: LazyLock<Tenant> = LazyLock::new(Tenant::default);

    fn set<'a>(plugin: &'a PluginName, target: &'a TargetId, value: Option<&str>) -> Ask<'a> {
        Ask {
            plugin,
            tenant: &DEFAULT,
            capability: "config",
            verb: "set",
            target,
            arguments: BTreeMap::from([
                ("key".into(), Some("pool.size".into())),
                ("value".into(), value.map(Into::into)),
            ]),
            must_be_bounded: vec!["value".into()],
            http: None,
            needs_safe_read: false,
            is_undo: false,
            reads_telemetry: false,
        }
    }

    /// Guarantees: a refusal prints TOML, and that TOML, pasted, allows the call and not its neighbours.
    #[test]
    fn a_refusal_shows_the_way() {
        let (plugin, target) = (PluginName("set-config".into()), TargetId("checkout".into()));
        let toml = check(&[], &set(&plugin, &target, Some("16"))).unwrap_err();
        insta::assert_snapshot!(toml, @r#"
        [[grant]]
        plugin = "set-config"
        capability = "config"
        verbs = ["set"]
        targets = ["checkout"]
        arguments.key = { one_of = ["pool.size"] }
        arguments.value = { one_of = ["16"] }
        "#);
        let grants = [grant(&toml)];
        assert!(check(&grants, &set(&plugin, &target, Some("16"))).is_ok());
        assert!(check(&grants, &set(&plugin, &target, Some("17"))).is_err());
        assert!(check(&grants, &set(&plugin, &target, None)).is_err());
        assert!(check(&grants, &set(&plugin, &TargetId("gateway".into()), Some("16"))).is_err());
        assert!(check(&grants, &set(&PluginName("other".into()), &target, Some("16"))).is_err());
    }

    /// Guarantees: a grant holds for its own tenant's incidents alone, and what a refusal prints names the tenant.
    #[test]
    fn grants_are_of_one_tenant() {
        let (plugin, target) = (PluginName("set-config".into()), TargetId("checkout".into()));
        let beta = Tenant("beta".into());
        let ask = |tenant| Ask { tenant, ..set(&plugin, &target, Some("16")) };
        let of_default = grant(&check(&[], &ask(&DEFAULT)).unwrap_err());
        let toml = check(std::slice::from_ref(&of_default), &ask(&beta)).unwrap_err();
        insta::assert_snapshot!(toml, @r#"
        [[grant]]
        plugin = "set-config"
        tenant = "beta"
        capability = "config"
        verbs = ["set"]
        targets = ["checkout"]
        arguments.key = { one_of = ["pool.size"] }
        arguments.value = { one_of = ["16"] }
        "#);
        let of_beta = grant(&toml);
        assert!(check(std::slice::from_ref(&of_beta), &ask(&beta)).is_ok());
        assert!(check(&[of_beta], &ask(&DEFAULT)).is_err());
    }

    /// Guarantees: a range refuses what is not a number, and the refusal says which bound it was.
    #[test]
    fn bounds_hold_and_say_so() {
        let (plugin, target) = (PluginName("set-config".into()), TargetId("checkout".into()));
        let grants = [grant(
            "[[grant]]\nplugin = 'set-config'\ncapability = 'config'\nverbs = ['*']\ntargets = ['*']\n\
             arguments.value = { min = 1, max = 32 }\n",
        )];
        for good in ["1", "32", "8.5"] {
            assert!(check(&grants, &set(&plugin, &target, Some(good))).is_ok(), "{good}");
        }
        for bad in ["0", "33", "many", "NaN", "inf", "1; rm -rf /", ""] {
            assert!(check(&grants, &set(&plugin, &target, Some(bad))).is_err(), "{bad}");
        }
        let toml = check(&grants, &set(&plugin, &target, Some("33\n[[grant]]"))).unwrap_err();
        insta::assert_snapshot!(toml, @r#"
        # a grant's bound on `value` asks for a number, but it is `33\n[[grant]]`
        [[grant]]
        plugin = "set-config"
        capability = "config"
        verbs = ["set"]
        targets = ["checkout"]
        arguments.key = { one_of = ["pool.size"] }
        arguments.value = { one_of = ["""
        33
        [[grant]]"""] }
        "#);
    }

    /// Guarantees: where data leaves, a plugin that reads telemetry needs `may_send`, one that does not read it needs nothing
    /// more; the refusal says so and shows the way; what stays at home asks for nothing.
    #[test]
    fn telemetry_leaves_by_name_only() {
        let (plugin, target) = (PluginName("tell".into()), TargetId("people".into()));
        let ask = |capability: &'static str, reads_telemetry| Ask {
            capability,
            verb: "send",
            must_be_bounded: Vec::new(),
            arguments: Arguments::new(),
            reads_telemetry,
            ..set(&plugin, &target, None)
        };
        let silent = [grant(
            "[[grant]]\nplugin = 'tell'\ncapability = 'notify'\nverbs = ['send']\ntargets = ['people']\n",
        )];
        assert!(check(&silent, &ask("notify", false)).is_ok());
        let toml = check(&silent, &ask("notify", true)).unwrap_err();
        insta::assert_snapshot!(toml, @r#"
        # the plugin reads telemetry, and the grant does not say `may_send = true`
        [[grant]]
        plugin = "tell"
        capability = "notify"
        verbs = ["send"]
        targets = ["people"]
        may_send = true
        "#);
        assert!(check(&[grant(&toml)], &ask("notify", true)).is_ok());

        let at_home = [grant(
            "[[grant]]\nplugin = 'tell'\ncapability = 'config'\nverbs = ['send']\ntargets = ['people']\n",
        )];
        assert!(check(&at_home, &ask("config", true)).is_ok());
    }

    /// Guarantees: path prefixes end at segments.
    #[test]
    fn paths_by_whole_segments() {
        for (prefix, path, below) in [
            ("/api", "/api", true),
            ("/api", "/api/x", true),
            ("/api/", "/api/x", true),
            ("/api", "/apix", false),
            ("/api", "/", false),
            ("/", "/anything", true),
        ] {
            assert_eq!(path_below(prefix, path), below, "{prefix} {path}");
        }
    }

    proptest! {
        /// Guarantees: patterns mean what the same regular walk over characters means.
        #[test]
        fn patterns(pattern in "[ab*]{0,6}", text in "[ab]{0,8}") {
            fn walk(pattern: &[u8], text: &[u8]) -> bool {
                match pattern {
                    [] => text.is_empty(),
                    [b'*', rest @ ..] => (0..=text.len()).any(|cut| walk(rest, &text[cut..])),
                    [one, rest @ ..] => text.first() == Some(one) && walk(rest, &text[1..]),
                }
            }
            prop_assert_eq!(matches(&pattern, &text), walk(pattern.as_bytes(), text.as_bytes()));
        }
    }
}
