//! Plugins that want everything at once: slots, CPU and the ledger are shared, so that others do not notice.

use crate::{
    arena::{Arena, VICTIM},
    attack::Attack,
    guest::{Action, Does},
};
use anyhow::{Context, Result, ensure};
use salve_tests::daemon::Daemon;
use std::sync::{Mutex, PoisonError};

/// Services for which the same action is asked at one time.
const SERVICES: usize = 24;
/// Half of the host's `calls_max`: the most that one plugin gets while nobody else asks.
const SLOTS_MAX: u64 = 16;
/// Slots that it must have had at one time, or nothing was shown: others ask meanwhile, and some calls have ended before the
/// last one begins.
const SLOTS_LEAST: u64 = SLOTS_MAX / 2;
/// One crowd at a time: of several, each has less.
static TURN: Mutex<()> = Mutex::new(());

/// An action that is asked for many services at one time.
pub struct Crowd {
    /// The action; its name begins with `crowd-`.
    pub guest: Action,
}

impl Crowd {
    /// The policy takes the last three characters away to get to the action.
    pub fn services(&self) -> Vec<String> {
        (0..SERVICES).map(|number| format!("{}-{number:02}", self.guest.name)).collect()
    }

    /// Targets and grants.
    pub fn config(&self) -> String {
        let name = self.guest.name;
        let targets = self.services().into_iter().map(|service| {
            format!(
                "[[target]]\nid = \"{service}\"\nselect = {{ \"service.name\" = \"{service}\" }}\n\
                 config = {{ file = \"@/{name}.toml\", keys = [\"*\"] }}\n"
            )
        });
        let grant = format!(
            "[[grant]]\nplugin = \"{name}\"\ncapability = \"config\"\nverbs = [\"set\"]\ntargets = {:?}\n",
            self.services()
        );
        targets.chain([grant]).collect()
    }

    /// Puts files where the daemon will look for them when it starts.
    pub fn prepare(&self, daemon: &Daemon) -> Result<()> {
        let name = self.guest.name;
        std::fs::write(daemon.path(&format!("{name}.toml")), VICTIM)?;
        Ok(std::fs::write(daemon.path(&format!("plugins/{name}.wasm")), self.guest.component()?)?)
    }

    /// Asks for all services at once. While the action has taken all that it can get, `control` is healed as ever.
    pub fn run(&self, arena: &Arena) -> Result<()> {
        let _turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
        let name = self.guest.name;
        let live = || {
            let plugin = arena.plugin(name)?.with_context(|| format!("`{name}` is not loaded"))?;
            Ok::<_, anyhow::Error>(plugin["counters"]["instances_live"].as_u64().unwrap_or_default())
        };
        self.services().iter().for_each(|service| arena.sicken(service, true));
        let mut most = 0;
        let crowded = arena.wait(&format!("`{name}` has many slots"), || {
            most = most.max(live()?);
            Ok(most >= SLOTS_LEAST)
        });
        let goes_on = arena.control_goes_on();
        most = most.max(live()?);
        self.services().iter().for_each(|service| arena.sicken(service, false));
        crowded.with_context(|| format!("it had {most} at most"))?;
        goes_on?;
        ensure!(most <= SLOTS_MAX, "it had {most} slots");
        arena.wait(&format!("`{name}` has ended"), || Ok(live()? == 0))?;
        let left = std::fs::read_to_string(arena.daemon.path(&format!("{name}.toml")))?;
        ensure!(left == VICTIM, "the victims' file is now:\n{left}");
        Ok(())
    }
}

fn crowd(name: &'static str, manifest: &'static str, plan: Vec<Does>) -> Attack {
    let capabilities = vec![("config", vec!["set"])];
    Attack::crowd(Crowd { guest: Action { name, capabilities, manifest, plan, ..Action::default() } })
}

/// Every attack on what all plugins share.
pub fn attacks() -> Vec<Attack> {
    let refused = Does::Set("control".into(), "pool_size", Some("3"));
    vec![
        crowd("crowd-sleeps", "limits.wall_clock_ms = 12000", vec![Does::Sleep(u32::MAX)]),
        crowd("crowd-computes", "limits.cpu_ms = 800", vec![Does::Loop]),
        crowd(
            "crowd-writes-the-ledger",
            "limits.wall_clock_ms = 20000",
            [vec![refused; 150], vec![Does::Sleep(5_000)]].concat(),
        ),
    ]
}
