//! What a component is and may touch, in plain words, read without running it.

use crate::words::size;
use salve_model::text::escape;
use salve_plugins::{CAPABILITIES, CapabilityRequest, LimitSettings, Limits, Manifest, Refusal, Role, pack};
use serde::Serialize;

/// The answer to `salve plugin check`.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Check {
    /// Whether a host would load it, with what stands in `allow`.
    pub admitted: bool,
    /// TOML for the operator's configuration without which a host with defaults refuses it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub allow: Option<String>,
    /// Why not, with a way out.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub objection: Option<String>,
    /// At most eight lines for a person, the verdict last.
    pub lines: Vec<String>,
    /// What it may do at most, each in words; grants allow less or nothing.
    pub may: Vec<String>,
    /// Limits that would be in force: its role's, lowered to what its manifest asks for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub limits: Option<Limits>,
    /// What is inside.
    pub inspection: pack::Inspection,
}

/// Looks into a component.
///
/// # Errors
/// [`Refusal`] if this is no component at all; other objections stand in the [`Check`].
pub fn check(component: &[u8]) -> Result<Check, Refusal> {
    let inspection = pack::inspect(component)?;
    let mut objection = inspection.objection.clone();
    let mut lines = Vec::new();
    let mut may = Vec::new();
    let mut limits = None;
    let mut allow = None;
    if let Some(manifest) = &inspection.manifest {
        lines.push(format!(
            "{} {}, {} {}: {}",
            manifest.name,
            manifest.version,
            if manifest.role == Role::Detector { "a" } else { "an" },
            manifest.role,
            escape(&manifest.summary, 120)
        ));
        lines.push(world(manifest, &inspection));
        may = permissions(manifest);
        let (lowered, raised) = limits_asked(manifest);
        if raised.is_empty() {
            lines.push(limits_in_words(&lowered));
        } else {
            let raised: Vec<_> = raised.iter().map(|(name, asked)| format!("{name} = {asked}")).collect();
            allow = Some(format!("[plugins.limits_of]\n{} = {{ {} }}", manifest.name, raised.join(", ")));
        }
        limits = Some(lowered);
    }
    lines.push(format!(
        "size     {}, manifest {}; sha256 {}",
        size(u64::try_from(inspection.size_bytes).unwrap_or(u64::MAX)),
        size(u64::try_from(inspection.manifest_bytes).unwrap_or(u64::MAX)),
        inspection.digest
    ));
    if let Some(manifest) = &inspection.manifest {
        lines.push(format!("may      {}", may.join("; ")));
        lines.push(cannot(manifest.role).to_owned());
    }
    if objection.is_none() && inspection.manifest.is_none() {
        objection = Some("it has no manifest".into());
    }
    match (&objection, &allow) {
        (Some(objection), _) => lines.push(format!("verdict  REFUSED: {}", escape(objection, 500))),
        (None, None) => lines.push("verdict  good: a host loads it".to_owned()),
        (None, Some(toml)) => {
            let why = "it asks for more than its role has by default";
            lines.push(format!("verdict  good, if the operator allows this in salve.toml, since {why}:"));
            lines.extend(toml.lines().map(|line| format!("         {line}")));
        }
    }
    Ok(Check { admitted: objection.is_none(), allow, objection, lines, may, limits, inspection })
}

/// The limits that would be in force if the operator allowed all that it asks for, and those above its role's.
fn limits_asked(manifest: &Manifest) -> (Limits, Vec<(&'static str, u64)>) {
    let mut limits = Limits::of_role(manifest.role);
    let mut raised = Vec::new();
    loop {
        match limits.lowered(&manifest.limits) {
            Ok(lowered) => return (lowered, raised),
            Err((_, _, _)) if raised.len() == LimitSettings::NAMES.len() => return (limits, raised),
            Err((name, asked, _)) => {
                raised.push((name, asked));
                limits = limits.with(&LimitSettings::one(name, asked));
            }
        }
    }
}

/// `world    action of salve:plugin@0.1.0; imports log, config; no WASI`
fn world(manifest: &Manifest, inspection: &pack::Inspection) -> String {
    let mut imports: Vec<_> = inspection
        .interfaces
        .imports
        .iter()
        .map(|import| {
            let own = import.strip_prefix("salve:plugin/").and_then(|rest| rest.split('@').next());
            own.map_or_else(|| escape(import, 60), str::to_owned)
        })
        .filter(|import| import != "types")
        .collect();
    let wasi = imports.iter().any(|import| import.starts_with("wasi"));
    imports.truncate(12);
    let imports = if imports.is_empty() { "nothing".to_owned() } else { imports.join(", ") };
    let wasi = if wasi { "WASI" } else { "no WASI" };
    format!("world    {} of salve:plugin@{}; imports {imports}; {wasi}", manifest.role, manifest.contract)
}

fn limits_in_words(limits: &Limits) -> String {
    let seconds = |ms: u64| if ms < 1_000 { format!("{ms} ms") } else { format!("{} s", ms / 1_000) };
    format!(
        "limits   {} memory, {} CPU and {} in all for a call, {} calls to the host, {} handed over",
        size(limits.memory_bytes),
        seconds(limits.cpu_ms),
        seconds(limits.wall_clock_ms),
        limits.host_calls,
        size(limits.output_bytes)
    )
}

/// What it may do at most.
fn permissions(manifest: &Manifest) -> Vec<String> {
    let mut may = vec!["write to Salve's log".to_owned()];
    match manifest.role {
        Role::Detector => may.push("see the points of the series that a binding gives it".into()),
        Role::Agent => may.push("read all telemetry that Salve keeps".into()),
        Role::Action => {
            may.push("read all telemetry that Salve keeps".into());
            may.extend(manifest.capabilities.iter().map(capability));
            if !manifest.capabilities.is_empty() {
                may.push("on targets only those that a [[grant]] names".into());
            }
        }
    }
    may
}

/// A capability in words. Verbs that have none stand as they are.
fn capability(request: &CapabilityRequest) -> String {
    let all: Vec<&str> = CAPABILITIES
        .iter()
        .find(|capability| capability.name == request.capability)
        .map(|capability| capability.verbs().collect())
        .unwrap_or_default();
    let verbs: Vec<&str> = if request.verbs.iter().any(|verb| verb == "*") {
        all
    } else {
        request.verbs.iter().map(String::as_str).collect()
    };
    let words: Vec<String> = verbs.into_iter().map(|verb| verb_in_words(&request.capability, verb)).collect();
    words.join(", ")
}

fn verb_in_words(capability: &str, verb: &str) -> String {
    match (capability, verb) {
        ("config", "get") => "read configuration keys".into(),
        ("config", "history") => "read their earlier values".into(),
        ("config", "keys") => "list them".into(),
        ("config", "set") => "CHANGE configuration keys".into(),
        ("http", "get") => "make HTTP GETs".into(),
        ("http", "send") => "SEND any other HTTP request".into(),
        ("notify", "send") => "SEND messages to people".into(),
        ("process", "status") => "see how processes are".into(),
        ("process", verb) => format!("{} processes", verb.to_uppercase()),
        (capability, verb) => format!("{capability}.{verb}"),
    }
}

fn cannot(role: Role) -> &'static str {
    match role {
        Role::Action => {
            "cannot   reach files, network, environment, real time or other plugins in any other way"
        }
        Role::Detector | Role::Agent => {
            "cannot   change anything, nor reach files, network, environment, real time or other plugins"
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn component(manifest: &str, module: &str) -> Vec<u8> {
        let manifest = format!("name = 'probe'\nversion = '0.1.0'\nsummary = 'Probes.'\n{manifest}");
        let module = wat::parse_file(
            std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/guests").join(module),
        )
        .unwrap();
        pack::pack(&module, &manifest).unwrap()
    }

    /// Guarantees: at most eight lines say what a component is, what it may touch and whether it is admitted; what
    /// changes something stands out; a component that a host would refuse is refused with the way out.
    #[test]
    fn eight_lines_in_plain_words() {
        let toml = "role = 'action'\ncapabilities = [{ capability = 'config', verbs = ['get', 'set'] }]\nlimits = { cpu_ms = 100 }";
        let good = component(toml, "action-echo.wat");
        let checked = check(&good).unwrap();
        assert!(checked.admitted && checked.lines.len() <= 8);
        let mut text = checked.lines.clone();
        assert!(text.remove(3).starts_with("size     "));
        insta::assert_snapshot!(text.join("\n"), @r"
        probe 0.1.0, an action: Probes.
        world    action of salve:plugin@0.1.0; imports config, log; no WASI
        limits   64 MiB memory, 100 ms CPU and 600 s in all for a call, 1000 calls to the host, 1024 KiB handed over
        may      write to Salve's log; read all telemetry that Salve keeps; read configuration keys, CHANGE configuration keys; on targets only those that a [[grant]] names
        cannot   reach files, network, environment, real time or other plugins in any other way
        verdict  good: a host loads it
        ");
        assert_eq!(
            check(b"\0asm\x01\0\0\0").unwrap_err().to_string(),
            "this is a core WebAssembly module, not a component"
        );

        // What asks for more than its role has loads only where the operator says so.
        let greedy = component(
            &toml.replace("cpu_ms = 100", "cpu_ms = 9000, host_calls = 5, log_bytes = 70000"),
            "action-echo.wat",
        );
        let checked = check(&greedy).unwrap();
        assert!(checked.admitted && checked.lines.len() <= 8, "{:#?}", checked.lines);
        let verdict = checked.lines[checked.lines.len() - 3..].join("\n");
        insta::assert_snapshot!(verdict, @r"
        verdict  good, if the operator allows this in salve.toml, since it asks for more than its role has by default:
                 [plugins.limits_of]
                 probe = { cpu_ms = 9000, log_bytes = 70000 }
        ");
        let limits = checked.limits.unwrap();
        assert_eq!((limits.cpu_ms, limits.host_calls, limits.log_bytes), (9_000, 5, 70_000));

        // The same code under a manifest that does not name what it imports.
        let json = br#"{"name":"probe","version":"0.1.0","role":"agent","summary":"Lies."}"#;
        let honest = Manifest::of_component(&good).unwrap().to_section().unwrap();
        let at = good.windows(honest.len()).position(|window| window == honest).unwrap();
        let mut lying = json.to_vec();
        lying.resize(honest.len(), b' ');
        let mut bytes = good;
        bytes[at..at + lying.len()].copy_from_slice(&lying);
        let refused = check(&bytes).unwrap();
        assert!(!refused.admitted && refused.lines.len() <= 8);
        let verdict = refused.lines.last().unwrap();
        let why = "verdict  REFUSED: component imports `salve:plugin/config@0.1.0`, which a plugin of role agent does not have. \
                   Check `role` in `plugin.toml`";
        assert!(verdict.starts_with(why), "{verdict}");
    }
}
