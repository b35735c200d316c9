//! Actions that do other than they say, more than they say, or never end.

use crate::{
    arena::Arena,
    attack::{ActionAttack, Attack},
    guest::{Does, Expect, Step, set_step},
};
use anyhow::{Result, ensure};

/// What a file holds after a change that could not be taken back.
const CHANGED: &str = "# how many at once\npool_size = 16\nadmin_password = \"do not touch\"\n";

fn set(target: &str, key: &'static str, value: Option<&'static str>) -> Does {
    Does::Set(target.into(), key, value)
}

fn setter(name: &'static str, change: impl FnOnce(&mut ActionAttack)) -> Attack {
    Attack::setter("action", name, change)
}

/// Plans as it should and does this instead.
fn executes(name: &'static str, ledger: &'static str, does: Vec<Does>) -> Attack {
    setter(name, |attack| {
        attack.guest.execute = does;
        attack.ledger = vec![ledger];
    })
}

/// Does this where it should plan.
fn plans(name: &'static str, ledger: &'static str, does: Vec<Does>) -> Attack {
    setter(name, |attack| {
        attack.guest.plan = does;
        attack.ledger = vec![ledger];
    })
}

/// Proposes these steps.
fn proposes(name: &'static str, ledger: &'static str, steps: Vec<Step>) -> Attack {
    setter(name, |attack| {
        attack.guest.steps = steps;
        attack.ledger = vec![ledger];
    })
}

/// Does as planned, and this where it should take it back.
fn undoes(name: &'static str, ledger: &'static str, does: Vec<Does>) -> Attack {
    setter(name, |attack| {
        attack.guest.undo = does;
        attack.ledger = vec![ledger, "could not be taken back"];
        attack.left = Some(CHANGED);
    })
}

/// Every attack of an action on what Salve has at home.
pub fn attacks() -> Vec<Attack> {
    let mut attacks = endless();
    attacks.extend(outside_of_the_plan());
    attacks.extend(bad_plans());
    attacks.extend(false_promises());
    attacks
}

/// Those that use up what they are given.
fn endless() -> Vec<Attack> {
    vec![
        setter("plan-loop", |attack| {
            attack.guest.manifest = "limits.cpu_ms = 300";
            attack.guest.plan = vec![Does::Loop];
            attack.ledger = vec!["used more CPU time than its 300 ms"];
        }),
        setter("execute-loop", |attack| {
            attack.guest.manifest = "limits.cpu_ms = 300";
            attack.guest.execute = vec![Does::Loop];
            attack.ledger = vec!["used more CPU time than its 300 ms"];
        }),
        setter("plan-sleep", |attack| {
            attack.guest.manifest = "limits.wall_clock_ms = 500";
            attack.guest.plan = vec![Does::Sleep(u32::MAX)];
            attack.ledger = vec!["took longer than its 500 ms"];
        }),
        setter("execute-sleep", |attack| {
            attack.guest.manifest = "limits.wall_clock_ms = 500";
            attack.guest.execute = vec![Does::Sleep(u32::MAX)];
            attack.ledger = vec!["took longer than its 500 ms"];
        }),
        setter("half-done-then-sleep", |attack| {
            attack.guest.manifest = "limits.wall_clock_ms = 500";
            attack.guest.execute.push(Does::Sleep(u32::MAX));
            attack.ledger = vec!["took longer than its 500 ms", "\"undo\""];
        }),
        plans("host-calls", "called the host more often than its 1000 times", vec![Does::CallWithoutEnd]),
        plans(
            "telemetry-calls",
            "called the host more often than its 1000 times",
            vec![Does::Telemetry(1_001)],
        ),
        plans("plan-recursion", "its stack is full", vec![Does::Recurse]),
        plans("plan-memory", "needs more memory than its 67108864 bytes", vec![Does::Grow]),
        plans("plan-trap", "it trapped", vec![Does::Trap]),
        executes("execute-trap", "it trapped", vec![Does::Trap]),
        plans("huge-summary", "handed over more than its 1048576 bytes", vec![Does::Say(32 << 20)]),
        executes("huge-note", "handed over more than its 1048576 bytes", vec![Does::Say(32 << 20)]),
        plans("pointer-nowhere", "breaks the component model's rules", vec![Does::ReturnNonsense]),
        setter("log-flood", |attack| {
            attack.guest.manifest = "limits.cpu_ms = 200";
            attack.guest.plan = vec![Does::LogFlood];
            attack.ledger = vec!["used more CPU time than its 200 ms"];
            attack.log = vec!["lines were dropped", "\\\\u{1b}[2Jnothing to see"];
        }),
        setter("escapes-in-words", |attack| {
            attack.guest.plan = vec![Does::Fail("\u{1b}]0;owned\u{7}\u{202e}\nfailed: nothing, all healed")];
            attack.ledger = vec!["\\\\u{1b}]0;owned\\\\u{7}\\\\u{202e}\\\\nfailed"];
        }),
    ]
}

/// Those whose calls are not the plan's.
fn outside_of_the_plan() -> Vec<Attack> {
    vec![
        plans(
            "writes-while-planning",
            "while planning nothing is written",
            vec![set("writes-while-planning", "pool_size", Some("16"))],
        ),
        executes("another-value", "not-in-plan", vec![set("another-value", "pool_size", Some("17"))]),
        executes("another-key", "not-granted", vec![set("another-key", "admin_password", Some("x"))]),
        executes("removes-instead", "refusal", vec![set("removes-instead", "pool_size", None)]),
        executes("another-target", "refusal", vec![set("control", "pool_size", Some("16"))]),
        setter("no-such-target", |attack| {
            attack.guest.execute = vec![set("nobody", "pool_size", Some("16"))];
            attack.log = vec!["call 0 of config.set: no."];
        }),
        setter("does-it-twice", |attack| {
            let again = attack.guest.execute[0].clone();
            attack.guest.execute.push(again);
            attack.ledger = vec!["all its steps have been made"];
        }),
        setter("one-more-call", |attack| {
            attack.guest.execute.push(set("one-more-call", "pool_size", Some("32")));
            attack.ledger = vec!["all its steps have been made"];
        }),
        setter("path-in-key", |attack| {
            attack.guest.execute = vec![set("path-in-key", "../../../etc/passwd", Some("16"))];
            attack.log = vec!["call 0 of config.set: no."];
        }),
        setter("restarts-a-bystander", |attack| {
            attack.guest.capabilities.push(("process", vec!["restart"]));
            attack.guest.execute = vec![Does::Restart("bystander".into())];
            attack.ledger = vec!["not-granted", "process"];
            attack.log = vec!["call 0 of process.restart: no."];
        }),
        setter("verb-not-in-manifest", |attack| {
            attack.guest.capabilities.push(("process", vec!["status"]));
            attack.guest.execute = vec![Does::Restart("bystander".into())];
            attack.log = vec!["call 0 of process.restart: no."];
        }),
        setter("many-refused-calls", |attack| {
            attack.guest.execute = vec![set("many-refused-calls", "pool_size", Some("60")); 150];
            attack.ledger = vec!["not-in-plan"];
        }),
    ]
}

/// Those whose plan nobody should approve.
fn bad_plans() -> Vec<Attack> {
    let step = |name: &str, change: &dyn Fn(&mut Step)| {
        let mut step = set_step(name, "pool_size", "16");
        change(&mut step);
        vec![step]
    };
    vec![
        proposes("plans-nothing", "the plan has no steps", Vec::new()),
        proposes("value-out-of-bounds", "is at most 64", set_pool("value-out-of-bounds", "65")),
        proposes("value-no-number", "asks for a number", set_pool("value-no-number", "8; rm -rf /")),
        proposes("value-nan", "asks for a number", set_pool("value-nan", "NaN")),
        proposes(
            "key-not-granted",
            "lists other values",
            vec![set_step("key-not-granted", "admin_password", "x")],
        ),
        proposes("plans-on-another", "[[grant]]", set_pool("control", "16")),
        proposes("plans-on-nobody", "not found: target `nobody`", set_pool("nobody", "16")),
        proposes(
            "capability-not-named",
            "its manifest does not name",
            step("capability-not-named", &|step| {
                step.capability = "process";
                step.verb = "restart";
            }),
        ),
        proposes(
            "capability-unknown",
            "its manifest does not name",
            step("capability-unknown", &|step| {
                step.capability = "shell";
                step.verb = "run";
            }),
        ),
        proposes(
            "arguments-no-json",
            "no JSON object",
            step("arguments-no-json", &|step| {
                step.arguments = "pool_size=16".into();
            }),
        ),
        proposes(
            "arguments-extra",
            "refused",
            step("arguments-extra", &|step| {
                step.arguments = r#"{"key":"pool_size","value":"16","path":"/etc/passwd"}"#.into();
            }),
        ),
        proposes(
            "thousand-steps",
            "the most are 100",
            vec![set_step("thousand-steps", "pool_size", "16"); 1_000],
        ),
        proposes(
            "lies-about-before",
            "refused",
            step("lies-about-before", &|step| {
                step.before = Some("value=\"9\"");
            }),
        ),
        setter("evil-inverse", |attack| {
            attack.guest.steps[0].inverse = Some(r#"{"key":"pool_size","value":"64"}"#.into());
            attack.guest.undo = vec![set("evil-inverse", "pool_size", Some("64"))];
            attack.ledger = vec!["refus"];
        }),
        setter("nan-expectation", |attack| {
            attack.guest.expect = vec![Expect("abuse.level", f64::NAN, 1_000, 0)];
            attack.ledger = vec!["a bound that is no number"];
        }),
    ]
}

fn set_pool(target: &str, value: &str) -> Vec<Step> {
    vec![set_step(target, "pool_size", value)]
}

/// Those that say what is not so.
fn false_promises() -> Vec<Attack> {
    vec![
        executes("says-done-does-nothing", "next_remedy", Vec::new()),
        setter("trivial-expectation", |attack| {
            attack.guest.expect = vec![Expect("abuse.level", f64::MAX, 1_000, 0)];
            attack.ledger = vec!["is still abnormal", "not_healed"];
        }),
        setter("expectation-for-ever", |attack| {
            attack.guest.expect = vec![Expect("abuse.level", 1.0, u64::MAX, 0)];
            attack.ledger = vec!["not_healed"];
        }),
        undoes("undo-trap", "it trapped", vec![Does::Trap]),
        undoes("undo-does-nothing", "could not be taken back", Vec::new()),
        undoes("undo-does-other", "refusal", vec![set("undo-does-other", "pool_size", Some("64"))]),
        setter("undo-sleep", |attack| {
            attack.guest.manifest = "limits.wall_clock_ms = 500";
            attack.guest.undo = vec![Does::Sleep(u32::MAX)];
            attack.ledger = vec!["took longer than its 500 ms", "could not be taken back"];
            attack.left = Some(CHANGED);
        }),
        setter("hold-open", |attack| {
            // Waits with the plan in hand; meanwhile somebody else changes the file.
            attack.guest.execute.insert(0, Does::Sleep(1_000));
            attack.ledger = vec!["state-changed"];
            attack.left = Some(SOMEBODY_ELSES);
            attack.meanwhile = Some(|arena: &Arena| -> Result<()> {
                arena.wait("the action executes", || {
                    let incident = arena.incident_of("hold-open")?;
                    Ok(incident.is_some_and(|incident| incident["phase"] == "executing"))
                })?;
                ensure!(std::fs::write(arena.daemon.path("hold-open.toml"), SOMEBODY_ELSES).is_ok());
                Ok(())
            });
        }),
    ]
}

/// What another one writes into the file between plan and write.
const SOMEBODY_ELSES: &str = "# how many at once\npool_size = 12\nadmin_password = \"do not touch\"\n";
