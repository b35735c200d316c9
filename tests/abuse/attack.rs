//! One attack: what it needs, how it is carried out, what must be seen.

use crate::{
    arena::{Arena, VICTIM},
    fairness::Crowd,
    guest::{Action, Does, set_step},
};
use anyhow::{Context, Result, ensure};
use salve_distribution::Digest;
use salve_tests::daemon::Daemon;
use serde_json::Value;
use std::net::SocketAddr;

type Run = Box<dyn Fn(&Arena) -> Result<()> + Send + Sync>;

/// A kind of abuse.
pub struct Attack {
    /// `theme::kind`.
    pub name: String,
    kind: Kind,
}

enum Kind {
    /// Does as it likes; needs this in the configuration.
    Free { config: String, run: Run },
    /// An action that a policy calls.
    Action(Box<ActionAttack>),
    /// An action that is called for many services at one time.
    Crowd(Box<Crowd>),
}

/// An action that a policy calls for an incident of the service of its name, and what must be seen.
#[derive(Default)]
pub struct ActionAttack {
    pub guest: Action,
    /// What it is given on its own target, each the rest of a `[[grant]]`; `NASTY` is the nasty server.
    pub grants: Vec<&'static str>,
    /// More of its `[[target]]`. `NASTY` and `FORBIDDEN` are addresses, `@` the folder.
    pub target: &'static str,
    /// More of the configuration, with the same words.
    pub more: &'static str,
    /// Words in the ledger's entries of the incident.
    pub ledger: Vec<&'static str>,
    /// Words in the daemon's log.
    pub log: Vec<&'static str>,
    /// What the file holds in the end, if not what it held before.
    pub left: Option<&'static str>,
    /// What is done to the surroundings before its service is sick.
    pub before: Option<fn(&Arena) -> Result<()>>,
    /// A version that is dropped over the first one, and tried beside it.
    pub then: Option<Action>,
    /// What must hold in the end.
    pub finally: Option<fn(&Arena) -> Result<()>>,
    /// Something more that must hold, or happen, once the incident is open.
    pub meanwhile: Option<fn(&Arena) -> Result<()>>,
}

/// What lets an action set its victim's pool to sensible values.
pub const MAY_SET_POOL: &str = "capability = \"config\"\nverbs = [\"get\", \"set\"]\n\
    arguments.key = { one_of = [\"pool_size\"] }\narguments.value = { min = 1, max = 64 }\n";

impl Attack {
    /// An attack that does as it likes.
    pub fn free(name: &str, run: impl Fn(&Arena) -> Result<()> + Send + Sync + 'static) -> Self {
        Self::with_config(name, String::new(), run)
    }

    /// The same, with more in the configuration.
    pub fn with_config(
        name: &str,
        config: String,
        run: impl Fn(&Arena) -> Result<()> + Send + Sync + 'static,
    ) -> Self {
        Self { name: name.into(), kind: Kind::Free { config, run: Box::new(run) } }
    }

    /// An attack by an action.
    pub fn action(theme: &str, attack: ActionAttack) -> Self {
        Self { name: format!("{theme}::{}", attack.guest.name), kind: Kind::Action(Box::new(attack)) }
    }

    /// The same by one that may set its victim's pool, plans that and, if not told otherwise, does it and takes it back.
    pub fn setter(theme: &str, name: &'static str, change: impl FnOnce(&mut ActionAttack)) -> Self {
        let set = |value| vec![Does::Set(name.into(), "pool_size", Some(value))];
        let mut attack = ActionAttack {
            guest: Action {
                name,
                capabilities: vec![("config", vec!["get", "set"])],
                steps: vec![set_step(name, "pool_size", "16")],
                execute: set("16"),
                undo: set("8"),
                ..Action::default()
            },
            grants: vec![MAY_SET_POOL],
            ..ActionAttack::default()
        };
        change(&mut attack);
        Self::action(theme, attack)
    }

    /// An attack by many calls of one action.
    pub fn crowd(crowd: Crowd) -> Self {
        Self { name: format!("fair::{}", crowd.guest.name), kind: Kind::Crowd(Box::new(crowd)) }
    }

    /// The services whose sickness triggers it.
    pub fn services(&self) -> Vec<String> {
        match &self.kind {
            Kind::Free { .. } => Vec::new(),
            Kind::Action(attack) => vec![attack.guest.name.into()],
            Kind::Crowd(crowd) => crowd.services(),
        }
    }

    /// What it needs in the configuration.
    /// `dev`: unsigned plugins load; else each grant of an action says which content it means.
    pub fn config(&self, nasty: &SocketAddr, forbidden: &SocketAddr, dev: bool) -> Result<String> {
        let attack = match &self.kind {
            Kind::Free { config, .. } => return Ok(config.clone()),
            Kind::Crowd(crowd) => return Ok(crowd.config()),
            Kind::Action(attack) => attack,
        };
        let name = attack.guest.name;
        let vouched = match dev {
            true => String::new(),
            false => format!("digest = \"{}\"\n", Digest::of(&attack.guest.component()?).hex()),
        };
        let mut text = format!(
            "[[target]]\nid = \"{name}\"\nselect = {{ \"service.name\" = \"{name}\" }}\n\
             config = {{ file = \"@/{name}.toml\", keys = [\"*\"], secret_keys = [\"admin_password\"] }}\n{}\n",
            attack.target
        );
        for grant in &attack.grants {
            text.push_str(&format!(
                "[[grant]]\nplugin = \"{name}\"\ntargets = [\"{name}\"]\n{vouched}{grant}\n"
            ));
        }
        text.push_str(attack.more);
        Ok(text.replace("NASTY", &nasty.to_string()).replace("FORBIDDEN", &forbidden.to_string()))
    }

    /// Puts files where the daemon will look for them when it starts.
    pub fn prepare(&self, daemon: &Daemon, _nasty: &SocketAddr) -> Result<()> {
        if let Kind::Crowd(crowd) = &self.kind {
            crowd.prepare(daemon)?;
        }
        if let Kind::Action(attack) = &self.kind {
            let name = attack.guest.name;
            std::fs::write(daemon.path(&format!("{name}.toml")), VICTIM)?;
            std::fs::write(daemon.path(&format!("plugins/{name}.wasm")), attack.guest.component()?)?;
        }
        Ok(())
    }

    /// Carries it out, and looks that `control` is healed meanwhile.
    pub fn run(&self, arena: &Arena) -> Result<()> {
        match &self.kind {
            Kind::Free { run, .. } => run(arena)?,
            Kind::Action(attack) => attack.run(arena)?,
            Kind::Crowd(crowd) => crowd.run(arena)?,
        }
        arena.control_goes_on()
    }

    /// It is about what all others share, and is carried out with no other beside it.
    pub fn is_alone(&self) -> bool {
        ["configuration::", "policy::", "kill-switch::", "socket::"]
            .iter()
            .any(|theme| self.name.starts_with(theme))
    }

    /// A file that must be as it was.
    pub fn victim(&self) -> Option<(String, String)> {
        let Kind::Action(attack) = &self.kind else { return None };
        Some((format!("{}.toml", attack.guest.name), attack.left.unwrap_or(VICTIM).to_owned()))
    }

    /// The plugin that it leaves in the folder.
    pub fn plugin(&self) -> Option<&str> {
        match &self.kind {
            Kind::Free { .. } => None,
            Kind::Action(attack) => Some(attack.guest.name),
            Kind::Crowd(crowd) => Some(crowd.guest.name),
        }
    }
}

impl ActionAttack {
    fn run(&self, arena: &Arena) -> Result<()> {
        let name = self.guest.name;
        if let Some(then) = &self.then {
            arena.drop_plugin(name, &then.component()?)?;
            arena.wait(&format!("the other version of `{name}` is tried"), || {
                Ok(arena.versions(name)?.iter().any(|version| version["stage"] == "shadow"))
            })?;
        }
        if let Some(before) = self.before {
            before(arena)?;
        }
        arena.sicken(name, true);
        let mut newest = None;
        arena.wait(&format!("an incident of `{name}` is open"), || {
            newest = arena.incident_of(name)?;
            Ok(newest.is_some())
        })?;
        if let Some(meanwhile) = self.meanwhile {
            meanwhile(arena)?;
        }
        let ended = arena.wait(&format!("the attack of `{name}` has ended"), || {
            newest = arena.incident_of(name)?;
            Ok(newest.as_ref().is_some_and(has_ended))
        });
        let incident = newest.context("no incident")?;
        ended.with_context(|| format!("{incident:#}"))?;
        let id = incident["id"].as_str().context("an incident without an id")?;
        let (ledger, log) = (arena.ledger_of(id)?, arena.daemon.log());
        // What matters of it, for messages.
        let outcomes = ["\"planned\"", "\"executed\"", "\"undone\"", "\"kind\":\"refusal\"", "escalated"];
        let matters = |line: &&str| outcomes.iter().any(|word| line.contains(word));
        let short: String = ledger
            .lines()
            .filter(matters)
            .map(|line| format!("{}\n", line.get(..700).unwrap_or(line)))
            .collect();
        for words in &self.ledger {
            ensure!(ledger.contains(words), "the ledger lacks `{words}`:\n{short}");
        }
        for words in &self.log {
            let said = log.lines().any(|line| line.contains(name) && line.contains(words));
            ensure!(said, "the log lacks `{words}`, and the ledger says:\n{short}");
        }
        arena.sicken(name, false);
        let (file, expected) = (arena.daemon.path(&format!("{name}.toml")), self.left.unwrap_or(VICTIM));
        let left = std::fs::read_to_string(file)?;
        ensure!(left == expected, "the victim's file is now:\n{left}");
        self.finally.map_or(Ok(()), |finally| finally(arena))
    }
}

/// Salve has nothing more to do about it.
fn has_ended(incident: &Value) -> bool {
    matches!(incident["phase"].as_str(), Some("escalated" | "closed"))
}
