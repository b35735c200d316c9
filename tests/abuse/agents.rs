//! Agents that do not answer, or answer nonsense: the next one is heard, and the ledger says what was wrong.

use crate::{arena::Arena, attack::Attack, detectors::packed};
use anyhow::{Result, ensure};

/// Replaces what `consult` does.
const CONSULT: &str = "(module\n(memory (export \"memory\") 2)\nREALLOC\n\
    (func (export \"salve:plugin/consult@0.1.0#consult\") \
    (param i32 i32 i64 i64 i32 i32 i32 i32 i32 i32 i32 i32) (result i32) BODY))";

fn text(body: &str) -> String {
    CONSULT.replace("REALLOC", crate::detectors::REALLOC).replace("BODY", body)
}

/// Drops the agent beside the analyst, waits until it has been asked, and takes it away.
fn attack(
    name: &'static str,
    module: impl Fn() -> Result<Vec<u8>> + Send + Sync + 'static,
    words: &'static str,
) -> Attack {
    Attack::free(&format!("agent::{name}"), move |arena: &Arena| {
        // Asked by name: before `analyst`.
        let plugin = format!("agent-{name}");
        arena.drop_plugin(&plugin, &packed(&module()?, &plugin, "limits.cpu_ms = 200")?)?;
        let says = |text: &str| text.lines().any(|line| line.contains(&plugin) && line.contains(words));
        let seen = arena.wait(&format!("`{plugin}` is asked: {words}"), || Ok(says(&arena.daemon.log())));
        let noted = arena.wait(&format!("the ledger says so of `{plugin}`"), || Ok(says(&arena.notes()?)));
        let goes_on = arena.control_goes_on();
        arena.remove_plugin(&plugin)?;
        seen.and(noted).and(goes_on)?;
        ensure!(arena.incident_of("control")?.is_some());
        Ok(())
    })
}

fn from_text(body: &'static str) -> impl Fn() -> Result<Vec<u8>> + Send + Sync + 'static {
    move || Ok(wat::parse_str(text(body))?)
}

/// Every attack of an agent.
pub fn attacks() -> Vec<Attack> {
    vec![
        attack(
            "loop",
            from_text("(loop $again (br $again)) unreachable"),
            "used more CPU time than its 200 ms",
        ),
        attack("trap", from_text("unreachable"), "it trapped"),
        attack("in-quarantine", from_text("unreachable"), "quarantine"),
        attack(
            "million-hypotheses",
            from_text(
                "(i32.store (i32.const 1028) (i32.const 4096)) (i32.store (i32.const 1032) (i32.const 100000000)) (i32.const 1024)",
            ),
            "breaks the component model's rules",
        ),
        // Among its nonsense is a cause, so no agent is asked after it: the others here must come before it by name.
        attack("utters-nonsense", || crate::detectors::module("agent-nonsense"), "make no sense"),
    ]
}
