//! What brokers guard beside the plan: files, processes, messages to people, and whether something can be taken back.

use crate::{
    arena::{Arena, VARIABLE},
    attack::{ActionAttack, Attack},
    guest::{Action, Does, Step, set_step},
};
use anyhow::{Context, Result, ensure};
use std::{
    os::unix::fs::{MetadataExt, PermissionsExt},
    path::Path,
    sync::PoisonError,
};

/// What lets an action touch the secret key with any value.
const MAY_SET_PASSWORD: &str = "capability = \"config\"\nverbs = [\"get\", \"set\"]\n\
    arguments.key = { one_of = [\"pool_size\", \"admin_password\"] }\narguments.value = { pattern = \"*\" }\n";
/// What lets an action restart the process of its target.
const MAY_RESTART: &str = "capability = \"process\"\nverbs = [\"restart\"]\n";

fn setter(name: &'static str, change: impl FnOnce(&mut ActionAttack)) -> Attack {
    Attack::setter("file", name, change)
}

/// Plans one step on its own target, and does this.
fn one_step(theme: &str, name: &'static str, step: Step, change: impl FnOnce(&mut ActionAttack)) -> Attack {
    let mut attack = ActionAttack {
        guest: Action {
            name,
            capabilities: vec![(step.capability, vec![step.verb])],
            steps: vec![Step { target: name.into(), ..step }],
            ..Action::default()
        },
        ..ActionAttack::default()
    };
    change(&mut attack);
    Attack::action(theme, attack)
}

/// Every attack on what stands behind a target.
pub fn attacks() -> Vec<Attack> {
    let mut attacks = files();
    attacks.extend(processes());
    attacks.extend([not_reversible(), message()]);
    attacks
}

fn files() -> Vec<Attack> {
    vec![
        setter("link-in-its-place", |attack| {
            attack.ledger = vec!["symbolic link"];
            attack.before = Some(|arena: &Arena| {
                let file = arena.daemon.path("link-in-its-place.toml");
                let elsewhere = arena.daemon.path("elsewhere.toml");
                std::fs::rename(&file, &elsewhere)?;
                Ok(std::os::unix::fs::symlink(elsewhere, file)?)
            });
        }),
        setter("owner-and-mode", |attack| {
            attack.ledger = vec!["next_remedy", "\"undone\""];
            attack.before = Some(|arena: &Arena| {
                let file = arena.daemon.path("owner-and-mode.toml");
                Ok(std::fs::set_permissions(file, std::fs::Permissions::from_mode(0o640))?)
            });
            attack.finally = Some(|arena: &Arena| {
                let file = std::fs::metadata(arena.daemon.path("owner-and-mode.toml"))?;
                ensure!(file.mode() & 0o7777 == 0o640, "its mode is now {:o}", file.mode());
                let daemon = std::fs::metadata(format!("/proc/{}", arena.pid))?;
                ensure!((file.uid(), file.gid()) == (daemon.uid(), daemon.gid()), "it has another owner");
                let mut kept = 0;
                only_salves(&arena.daemon.path("state/brokers"), &mut kept)?;
                ensure!(kept > 0, "there is no back-up");
                Ok(())
            });
        }),
        setter("secret-is-read", |attack| {
            attack.guest.execute.insert(0, Does::Get(attack.guest.name.into(), "admin_password"));
            attack.grants = vec![MAY_SET_PASSWORD];
            // That it is nowhere is looked at after all attacks.
            attack.log = vec!["call 0 of config.get: yes", "secret:"];
        }),
        setter("secret-is-made-up", |attack| {
            attack.guest.steps = vec![set_step(attack.guest.name, "admin_password", "hunter2")];
            attack.grants = vec![MAY_SET_PASSWORD];
            attack.ledger = vec!["can only be set to a handle"];
        }),
    ]
}

/// Looks that nobody but Salve's user reads files below `folder`; counts back-ups of victims.
fn only_salves(folder: &Path, kept: &mut usize) -> Result<()> {
    for entry in std::fs::read_dir(folder)? {
        let path = entry?.path();
        // Records are replaced while one looks.
        let Ok(metadata) = std::fs::symlink_metadata(&path) else { continue };
        if metadata.is_dir() {
            only_salves(&path, kept)?;
            continue;
        }
        ensure!(metadata.mode() & 0o077 == 0, "{} has mode {:o}", path.display(), metadata.mode());
        *kept += usize::from(std::fs::read_to_string(path).is_ok_and(|text| text.contains("pool_size = 8")));
    }
    Ok(())
}

/// Pid and start time of a unit's process, by the daemon's word.
fn pid(arena: &Arena, unit: &str) -> Result<i64> {
    let status = arena.daemon.json(&["status", "--json"])?;
    let units = status["processes"].as_array().context("no processes")?;
    let unit = units.iter().find(|one| one["name"] == unit).with_context(|| format!("no unit: {status}"))?;
    unit["pid"].as_i64().with_context(|| format!("it does not run: {unit}"))
}

fn processes() -> Vec<Attack> {
    let restart =
        || Step { capability: "process", verb: "restart", arguments: "{}".into(), ..Step::default() };
    vec![
        one_step("process", "starts-as-configured", restart(), |attack| {
            attack.guest.execute = vec![Does::Restart(attack.guest.name.into())];
            attack.grants = vec![MAY_RESTART];
            attack.target = "process = \"starts-as-configured\"\n";
            // A shell would make the file.
            attack.more = "[[process]]\nname = \"starts-as-configured\"\n\
                command = [\"/usr/bin/tail\", \"-f\", \"/dev/null\", \"; touch @/owned #\"]\n\
                environment = { ONLY = \"this\" }\nlog_file = \"@/starts-as-configured.log\"\n\
                stop_grace_ms = 200\nautostart = true\n";
            attack.log = vec!["call 0 of process.restart: yes"];
            // The intent names the very process that it ends.
            attack.ledger = vec!["write_intent", ",start=", ",boot="];
            attack.finally = Some(|arena: &Arena| {
                let pid = pid(arena, "starts-as-configured")?;
                let words = std::fs::read_to_string(format!("/proc/{pid}/cmdline"))?;
                ensure!(words.starts_with("/usr/bin/tail\0-f\0/dev/null\0; touch "), "{words:?}");
                let variables = std::fs::read_to_string(format!("/proc/{pid}/environ"))?;
                ensure!(variables.contains("ONLY=this\0") && !variables.contains(VARIABLE), "{variables:?}");
                ensure!(!arena.daemon.path("owned").exists(), "a shell has read it");
                Ok(())
            });
        }),
        one_step("process", "not-the-same-process", restart(), |attack| {
            let name = attack.guest.name;
            // Waits with the plan in hand; meanwhile the process that it names ends.
            attack.guest.execute = vec![Does::Sleep(2_000), Does::Restart(name.into())];
            attack.grants = vec![MAY_RESTART];
            attack.target = "process = \"not-the-same-process\"\n";
            attack.more = "[[process]]\nname = \"not-the-same-process\"\ncommand = [\"/bin/sleep\", \"100000\"]\n\
                log_file = \"@/not-the-same-process.log\"\nstop_grace_ms = 200\nautostart = true\n";
            attack.log = vec!["call 1 of process.restart: no."];
            attack.ledger = vec!["state-changed"];
            attack.meanwhile = Some(|arena: &Arena| {
                let name = "not-the-same-process";
                arena.wait("the action executes", || {
                    Ok(arena.incident_of(name)?.is_some_and(|incident| incident["phase"] == "executing"))
                })?;
                let pid =
                    rustix::process::Pid::from_raw(i32::try_from(pid(arena, name)?)?).context("no pid")?;
                Ok(rustix::process::kill_process(pid, rustix::process::Signal::KILL)?)
            });
        }),
    ]
}

/// A plugin that says of its own call that it can be taken back; the grant does not.
fn not_reversible() -> Attack {
    const BODY: &str = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
    let call = format!(
        r#"{{"method":"POST","path":"/api/never","query":[],"headers":[],"body-sha256":"{BODY}","idempotency-key":null}}"#
    );
    let step = Step {
        capability: "http",
        verb: "send",
        inverse: Some(call.clone()),
        arguments: call,
        ..Step::default()
    };
    one_step("verb", "reversible-by-its-own-word", step, |attack| {
        attack.target = "http = { base_url = \"http://NASTY\", address_ranges = [\"loopback\"] }\n";
        attack.grants = vec![
            "capability = \"http\"\nverbs = [\"send\"]\nhttp = { methods = [\"POST\"], paths = [\"/api\"] }\n",
        ];
        attack.ledger = vec!["reversible = true"];
    })
}

/// A message that would rather be another.
fn message() -> Attack {
    const SUMMARY: &str = "down\", \"admin\": \"true\n\u{202e}\u{1b}[2J";
    let arguments = serde_json::json!({ "fields": [["summary", SUMMARY]] }).to_string();
    let step = Step { capability: "notify", verb: "send", arguments, ..Step::default() };
    one_step("message", "leaves-its-field", step, |attack| {
        attack.guest.execute = vec![Does::Notify(attack.guest.name.into(), SUMMARY)];
        attack.target = "notify = \"people\"\n";
        attack.grants = vec!["capability = \"notify\"\nverbs = [\"send\"]\n"];
        attack.more = "[[notify]]\nname = \"people\"\nurl = \"http://NASTY/api/hook\"\naddress_ranges = [\"loopback\"]\n\
            template = '{\"text\": \"{summary} ({incident}, {plugin})\"}'\n";
        attack.log = vec!["call 0 of notify.send: yes"];
        attack.finally = Some(|arena: &Arena| {
            let asked = arena.nasty.1.lock().unwrap_or_else(PoisonError::into_inner);
            let hook =
                asked.iter().find(|request| request.starts_with("POST /api/hook ")).context("no message")?;
            let body = hook.split_once("\r\n\r\n").context("no body")?.1;
            let message: serde_json::Value = serde_json::from_str(body)?;
            ensure!(message.as_object().is_some_and(|fields| fields.len() == 1), "{message}");
            let text = message["text"].as_str().context("no text")?;
            ensure!(
                text.ends_with(", leaves-its-field)") && !text.contains(['\u{202e}', '\u{1b}', '\n']),
                "{text:?}"
            );
            Ok(())
        });
    })
}
