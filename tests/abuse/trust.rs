//! Whose a plugin is, what its state is worth, and what it may do while it is tried: the lines of "Trust" that a plugin would
//! break by being another than it was.

use crate::{
    arena::Arena,
    attack::{ActionAttack, Attack, MAY_SET_POOL},
    detectors::{Detector, QUIET, packed},
    guest::{Action, Does, set_step},
};
use anyhow::{Result, ensure};
use salve_distribution::{Digest, KeyId, LockEntry, LockError, LockFile};
use salve_plugins::Role;
use std::sync::PoisonError;

/// An agent that traps; named so that no incident asks it before `analyst`.
pub fn agent(name: &str, version: &str) -> Result<Vec<u8>> {
    let module = wat::parse_str(format!(
        "(module (memory (export \"memory\") 1) {} (func (export \"salve:plugin/consult@0.1.0#consult\") \
         (param i32 i32 i64 i64 i32 i32 i32 i32 i32 i32 i32 i32) (result i32) unreachable))",
        crate::detectors::REALLOC
    ))?;
    plugin(&module, name, version, "agent")
}

fn plugin(module: &[u8], name: &str, version: &str, role: &str) -> Result<Vec<u8>> {
    let manifest = format!(
        "name = '{name}'\nversion = '{version}'\nrole = '{role}'\nsummary = 'A guest.'\n[parameters]\ntype = 'object'\n"
    );
    Ok(salve_plugins::pack::pack(module, &manifest)?)
}

/// What the operator's lock file says of a plugin.
fn locked(name: &str, role: Role, lowest: &str) -> LockEntry {
    LockEntry {
        name: name.into(),
        version: "1.0.0".into(),
        role,
        digest: Digest::of(name.as_bytes()),
        previous: Vec::new(),
        publisher: None,
        source: None,
        lowest_version: lowest.into(),
    }
}

fn lock(arena: &Arena, entry: LockEntry) -> Result<()> {
    let path = arena.daemon.path("plugins/salve-plugins.lock");
    Ok(LockFile::update(&path, |lock| {
        lock.insert(entry);
        Ok::<_, LockError>(())
    })?)
}

/// A new file under a name that the lock file knows: refused in these words, and noted.
fn refused(name: &'static str, entry: fn(&str) -> LockEntry, words: &'static str) -> Attack {
    Attack::free(&format!("identity::{name}"), move |arena: &Arena| {
        let plugin = format!("zz-{name}");
        lock(arena, entry(&plugin))?;
        arena.drop_plugin(&plugin, &agent(&plugin, "0.1.0")?)?;
        crate::loading::is_refused(arena, &plugin, words)
    })
}

/// The stage of the version with this text in its version number.
fn stage(arena: &Arena, name: &str, version: &str) -> Result<Option<String>> {
    let versions = arena.versions(name)?;
    let found = versions.iter().find(|known| known["version"] == version);
    Ok(found.and_then(|known| Some(known["stage"].as_str()?.to_owned())))
}

fn reaches(arena: &Arena, name: &str, version: &str, wanted: &str) -> Result<()> {
    let what = format!("version {version} of `{name}` is {wanted}");
    arena.wait(&what, || Ok(stage(arena, name, version)?.as_deref() == Some(wanted)))
}

/// A version that may not load any more is not gone back to either, although it is in memory and was good once.
fn no_way_back(arena: &Arena) -> Result<()> {
    const NAME: &str = "zz-way-back";
    arena.drop_plugin(NAME, &agent(NAME, "0.1.0")?)?;
    reaches(arena, NAME, "0.1.0", "active")?;
    arena.drop_plugin(NAME, &agent(NAME, "0.2.0")?)?;
    arena.wait("the second version is known", || Ok(stage(arena, NAME, "0.2.0")?.is_some()))?;
    ensure!(arena.daemon.salve(&["plugin", "promote", NAME])?.status.success());
    reaches(arena, NAME, "0.2.0", "active")?;
    lock(arena, locked(NAME, Role::Agent, "0.2.0"))?;
    reaches(arena, NAME, "0.1.0", "failed")?;
    let back = arena.daemon.salve(&["plugin", "rollback", NAME])?;
    ensure!(!back.status.success(), "it went back");
    ensure!(stage(arena, NAME, "0.2.0")?.as_deref() == Some("active"));
    ensure!(stage(arena, NAME, "0.1.0")?.as_deref() == Some("failed"));
    arena.remove_plugin(NAME)
}

/// A file that comes to hold a plugin of the same name and another role.
fn role_changed_in_place(arena: &Arena) -> Result<()> {
    const NAME: &str = "zz-turncoat";
    arena.drop_plugin(NAME, &agent(NAME, "0.1.0")?)?;
    arena.wait("the agent is there", || Ok(arena.plugin(NAME)?.is_some()))?;
    arena.drop_plugin(NAME, &plugin(&QUIET.module()?, NAME, "0.2.0", "detector")?)?;
    arena.wait("the detector is refused, and the agent goes on", || {
        let versions = arena.versions(NAME)?;
        let is = |role: &str, stage: &str| {
            versions.iter().any(|version| version["role"] == role && version["stage"] == stage)
        };
        Ok(is("detector", "failed") && is("agent", "active"))
    })?;
    arena.remove_plugin(NAME)
}

/// Observes some batches, gives snapshots, and traps when it is given one back.
fn forgetful(name: &str, then: &'static str) -> Result<Vec<u8>> {
    let observe = match then {
        "traps" => {
            "(global.set $seen (i32.add (global.get $seen) (i32.const 1))) \
                    (if (i32.gt_u (global.get $seen) (i32.const 12)) (then unreachable)) (i32.const 0)"
        }
        _ => "(i32.const 0)",
    };
    let module = Detector {
        memory: "(memory (export \"memory\") 2) (global $seen (mut i32) (i32.const 0))",
        observe,
        // result<state>: format at 4, bytes at 8 (pointer) and 12 (length).
        snapshot: "(i32.store (i32.const 1028) (i32.const 1)) (i32.store (i32.const 1032) (i32.const 2048)) \
                   (i32.store (i32.const 1036) (i32.const 4)) (i32.const 1024)",
        restore: "unreachable",
        ..QUIET
    }
    .module()?;
    packed(&module, name, "")
}

/// Once a detector has left state and `distrust` was done to it, the state is gone; brought back, it begins without.
fn leaves_nothing(
    name: &'static str,
    then: &'static str,
    distrust: fn(&Arena, &str) -> Result<()>,
    bring_back: fn(&Arena, &str) -> Result<()>,
) -> Attack {
    let plugin = format!("detector-{name}");
    let config = format!(
        "[[detector]]\nname = \"{plugin}\"\nplugin = \"{plugin}\"\nselect = {{ names = [\"abuse.pulse\"] }}\n"
    );
    Attack::with_config(&format!("state::{name}"), config, move |arena: &Arena| {
        let snapshot = arena.daemon.path(&format!("state/detectors/{plugin}-0.snapshot"));
        arena.drop_plugin(&plugin, &forgetful(&plugin, then)?)?;
        arena.wait("its state lies on the disk", || Ok(snapshot.exists()))?;
        distrust(arena, &plugin)?;
        arena.wait("its state is gone", || Ok(!snapshot.exists()))?;
        let points = || {
            let status = arena.daemon.json(&["status", "--json"])?;
            Ok::<_, anyhow::Error>(status["detectors"][&plugin]["points"].as_u64().unwrap_or_default())
        };
        // Before it is back: one that traps sees few points until it is away again. What is not bound any more is counted anew.
        let before = points()?;
        bring_back(arena, &plugin)?;
        arena.wait("it sees points again", || points().map(|now| now > 0 && now != before))?;
        let log = arena.daemon.log();
        let was_given = log
            .lines()
            .any(|line| line.contains(&plugin) && line.contains("Detector does not take the saved state"));
        ensure!(!was_given, "it was given its state back");
        arena.remove_plugin(&plugin)
    })
}

/// May set its victim's pool; the version after it would rather look elsewhere, and do something else.
fn shadow() -> Attack {
    const NAME: &str = "shadow-looks-elsewhere";
    const MAY_GET: &str = "capability = \"http\"\nverbs = [\"get\"]\n\
        http = { methods = [\"GET\"], paths = [\"/api\"], safe_read = true }\n";
    let first = Action {
        name: NAME,
        capabilities: vec![("config", vec!["get", "set"]), ("http", vec!["get", "send"])],
        steps: vec![set_step(NAME, "pool_size", "16")],
        execute: vec![Does::Set(NAME.into(), "pool_size", Some("16"))],
        undo: vec![Does::Set(NAME.into(), "pool_size", Some("8"))],
        ..Action::default()
    };
    let reach_out = || Does::Http(NAME.into(), "GET", "/api/from-the-shadow".into(), None);
    let second = Action {
        plan: vec![reach_out(), Does::Set(NAME.into(), "pool_size", Some("64"))],
        execute: vec![reach_out(), Does::Set(NAME.into(), "pool_size", Some("64"))],
        ..first.clone()
    };
    Attack::action(
        "trial",
        ActionAttack {
            guest: first,
            then: Some(second),
            grants: vec![MAY_SET_POOL, MAY_GET],
            target: "http = { base_url = \"http://NASTY\", address_ranges = [\"loopback\"] }\n",
            ledger: vec!["next_remedy"],
            log: vec![
                "call 0 of http.get: not recorded",
                "call 1 of config.set: not recorded",
                "call 0 of config.set: yes",
            ],
            finally: Some(|arena: &Arena| {
                let asked = arena.nasty.1.lock().unwrap_or_else(PoisonError::into_inner);
                ensure!(!asked.iter().any(|request| request.contains("from-the-shadow")), "{asked:?}");
                Ok(())
            }),
            ..ActionAttack::default()
        },
    )
}

/// Every attack on trust.
pub fn attacks() -> Vec<Attack> {
    vec![
        refused(
            "publishers-name",
            |name| LockEntry {
                publisher: Some(KeyId(Digest::of(b"a publisher's key"))),
                ..locked(name, Role::Agent, "0.0.0")
            },
            "belongs to the publisher with key",
        ),
        refused("role-locked", |name| locked(name, Role::Action, "0.0.0"), "a plugin keeps its role"),
        refused("below-lowest", |name| locked(name, Role::Agent, "2.0.0"), "nothing below 2.0.0 may load"),
        Attack::free("identity::role-changed-in-place", role_changed_in_place),
        Attack::free("identity::no-way-back-below-lowest", no_way_back),
        leaves_nothing(
            "quarantined-writer",
            "traps",
            |arena, plugin| reaches(arena, plugin, "0.1.0", "quarantined"),
            |arena, plugin| {
                let again = arena.daemon.salve(&["plugin", "reload", plugin])?;
                ensure!(again.status.success(), "{}", String::from_utf8_lossy(&again.stderr));
                Ok(())
            },
        ),
        leaves_nothing(
            "revoked-writer",
            "works",
            |arena, plugin| {
                lock(arena, locked(plugin, Role::Detector, "9.0.0"))?;
                reaches(arena, plugin, "0.1.0", "failed")
            },
            |arena, plugin| {
                lock(arena, locked(plugin, Role::Detector, "0.0.0"))?;
                arena.wait("it may load again", || {
                    Ok(arena.daemon.salve(&["plugin", "reload", plugin])?.status.success()
                        && stage(arena, plugin, "0.1.0")?.as_deref() == Some("active"))
                })
            },
        ),
        shadow(),
    ]
}
