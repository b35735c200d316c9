//! The faults: what they are called, which services they may hit, and what the right answer is.

use serde::{Deserialize, Serialize};

/// The three services, in the order of calls.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Service {
    /// The front door.
    Gateway,
    /// The till.
    Checkout,
    /// The warehouse.
    Inventory,
}

impl Service {
    /// All, in the order of calls.
    pub(crate) const ALL: [Self; 3] = [Self::Gateway, Self::Checkout, Self::Inventory];

    /// `service.name`, name of the process, id of the target.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Gateway => "gateway",
            Self::Checkout => "checkout",
            Self::Inventory => "inventory",
        }
    }

    /// Its configuration file.
    pub(crate) fn config_file(self) -> &'static str {
        match self {
            Self::Gateway => "gateway.toml",
            Self::Checkout => "checkout.yaml",
            Self::Inventory => "inventory.json",
        }
    }
}

/// One way to break the shop. `surge` breaks nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Fault {
    /// SIGKILL.
    Kill,
    /// SIGSTOP.
    Hang,
    /// A harmless rise of load.
    Surge,
    /// Memory, towards the limit.
    Leak,
    /// Somebody writes a wrong value into a service's file.
    BadConfig,
    /// A dependency is starved of the processor.
    SlowDependency,
}

impl Fault {
    /// All, in the order of their slots.
    pub(crate) const ALL: [Self; 6] =
        [Self::Kill, Self::Hang, Self::Surge, Self::Leak, Self::BadConfig, Self::SlowDependency];

    /// As on the command line and in the report.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Kill => "kill",
            Self::Hang => "hang",
            Self::Surge => "surge",
            Self::Leak => "leak",
            Self::BadConfig => "bad-config",
            Self::SlowDependency => "slow-dependency",
        }
    }

    /// What happens, for people.
    pub(crate) fn story(self) -> &'static str {
        match self {
            Self::Kill => "the process is killed (SIGKILL)",
            Self::Hang => "the process is stopped and hangs (SIGSTOP)",
            Self::Surge => "two and a half times as many customers; nothing is wrong",
            Self::Leak => "the process leaks memory towards its limit",
            Self::BadConfig => "somebody writes a wrong value into its configuration",
            Self::SlowDependency => "the process is starved of the processor; its callers complain",
        }
    }

    /// Services that it can hit; none for the surge.
    fn candidates(self) -> &'static [Service] {
        match self {
            Self::Surge => &[],
            // The front door is nobody's dependency.
            Self::SlowDependency => &[Service::Checkout, Service::Inventory],
            _ => &Service::ALL,
        }
    }

    /// The service that it hits under this seed; the same whichever other faults are run.
    pub(crate) fn draw(self, seed: u64) -> Option<Service> {
        let mut random = fastrand::Rng::with_seed(seed);
        let mut drawn = None;
        for fault in Self::ALL {
            let service = random.choice(fault.candidates()).copied();
            if fault == self {
                drawn = service;
            }
        }
        drawn
    }

    /// The action that heals it; none where nothing needs healing.
    pub(crate) fn right_action(self) -> Option<&'static str> {
        match self {
            Self::Surge => None,
            Self::BadConfig => Some("set-config"),
            Self::Kill | Self::Hang | Self::Leak | Self::SlowDependency => Some("restart-process"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Guarantees: a seed draws the same services for ever (a report's seed can be run again), within the candidates,
    /// and over some seeds all of them.
    #[test]
    fn draws_by_seed() {
        let drawn =
            |seed| Fault::ALL.map(|fault| fault.draw(seed).map(Service::name).unwrap_or("-")).join(" ");
        insta::assert_snapshot!([1, 2, 3, 4].map(drawn).join("\n"), @"
        checkout checkout - gateway inventory checkout
        gateway inventory - inventory checkout inventory
        checkout gateway - checkout inventory inventory
        gateway inventory - inventory inventory checkout
        ");
        for fault in Fault::ALL {
            let mut hit: Vec<Service> = (0..100).filter_map(|seed| fault.draw(seed)).collect();
            hit.sort_unstable();
            hit.dedup();
            assert_eq!(hit, fault.candidates(), "{fault:?}");
        }
    }
}
