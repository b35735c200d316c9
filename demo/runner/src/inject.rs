//! Breaks the shop for real, and takes a fault away by hand.

use crate::{
    fault::{Fault, Service},
    place::MEMORY_LIMIT_BYTES,
    process::{Throttle, Victim},
    shop::Shop,
};
use anyhow::{Context, Result};
use rustix::process::Signal;
use std::{path::Path, sync::Arc, time::Duration};

/// Pace of the leak: half of the limit after some seven seconds, all of it after fourteen.
const LEAK_BYTES_PER_SECOND: u64 = 8 << 20;
/// Customers during the surge, in times of the usual.
const SURGE: f64 = 2.5;

/// A fault that is there.
#[derive(Debug)]
pub(crate) struct Injected {
    fault: Fault,
    service: Option<Service>,
    victim: Option<Arc<Victim>>,
    throttle: Option<Throttle>,
}

/// The setting that somebody gets wrong, and how: a slip of the pen that the service can read.
fn misprint(service: Service) -> (&'static str, &'static str) {
    match service {
        Service::Gateway => ("currency = \"EUR\"", "currency = \"EUX\""),
        Service::Checkout => ("tax_table: standard", "tax_table: standrad"),
        Service::Inventory => ("\"warehouse\": \"north\"", "\"warehouse\": \"nroth\""),
    }
}

/// Breaks `service` (none: the surge).
///
/// # Errors
/// If the service does not answer even before it is broken.
pub(crate) async fn inject(shop: &mut Shop, fault: Fault, service: Option<Service>) -> Result<Injected> {
    let Some(service) = service else {
        shop.admin.multiplier(shop.place.load_admin, SURGE).await?;
        return Ok(Injected { fault, service: None, victim: None, throttle: None });
    };
    let victim = shop.victim(service).await?;
    let mut throttle = None;
    match fault {
        Fault::Kill => {
            victim.signal(Signal::KILL);
        }
        Fault::Hang => {
            victim.signal(Signal::STOP);
        }
        Fault::Leak => shop.admin.leak(shop.place.ports[&service].admin, LEAK_BYTES_PER_SECOND).await?,
        Fault::BadConfig => {
            let (right, wrong) = misprint(service);
            replace_in_file(&shop.place.config_path(service), right, wrong)?;
        }
        Fault::SlowDependency => throttle = Some(Throttle::start(Arc::clone(&victim))),
        Fault::Surge => {}
    }
    Ok(Injected { fault, service: Some(service), victim: Some(victim), throttle })
}

impl Injected {
    /// Whether a leak has used up half of what the process may have. False for other faults.
    pub(crate) fn is_half_full(&self) -> bool {
        self.fault == Fault::Leak
            && self
                .victim
                .as_ref()
                .and_then(|victim| victim.resident_bytes())
                .is_some_and(|bytes| bytes >= MEMORY_LIMIT_BYTES / 2)
    }

    /// Takes the fault away as a person would, if it is still there. Says what was done; none if there was nothing to do.
    ///
    /// # Errors
    /// If a service cannot be started or its file cannot be written.
    pub(crate) async fn remove(self, shop: &mut Shop) -> Result<Option<&'static str>> {
        let (Some(service), Some(victim)) = (self.service, self.victim) else {
            shop.admin.multiplier(shop.place.load_admin, 1.0).await?;
            return Ok(None);
        };
        drop(self.throttle);
        Ok(match self.fault {
            Fault::BadConfig => {
                let (right, wrong) = misprint(service);
                let path = shop.place.config_path(service);
                replace_in_file(&path, wrong, right)?.then_some("put the setting back by hand")
            }
            Fault::Hang if victim.is_alive() => {
                victim.signal(Signal::CONT);
                Some("let the process go on by hand")
            }
            Fault::SlowDependency if victim.is_alive() => Some("gave the processor back by hand"),
            Fault::Leak if victim.is_alive() => {
                victim.signal(Signal::KILL);
                while victim.is_alive() {
                    tokio::time::sleep(Duration::from_millis(10)).await;
                }
                shop.start_by_hand(service)?;
                Some("restarted the service by hand")
            }
            // Dead, and somebody may have started another one.
            _ => {
                if shop.victim(service).await.is_ok() {
                    return Ok(None);
                }
                shop.start_by_hand(service)?;
                Some("started the service by hand")
            }
        })
    }
}

/// Replaces `from`, which stands there once, by `to`, as careful writers do: whole, or not at all. False if `from` is
/// not there.
fn replace_in_file(path: &Path, from: &str, to: &str) -> Result<bool> {
    let text = std::fs::read_to_string(path).with_context(|| format!("cannot read `{}`", path.display()))?;
    if !text.contains(from) {
        return Ok(false);
    }
    let folder = path.parent().context("a configuration file lies in a folder")?;
    let mut fresh = tempfile::NamedTempFile::new_in(folder)?;
    std::io::Write::write_all(&mut fresh, text.replace(from, to).as_bytes())?;
    std::fs::set_permissions(fresh.path(), std::fs::metadata(path)?.permissions())?;
    fresh.persist(path).with_context(|| format!("cannot replace `{}`", path.display()))?;
    Ok(true)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Guarantees: a misprint replaces one place and nothing else, and can be taken back once.
    #[test]
    fn misprints_and_takes_them_back() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("gateway.toml");
        let right = "# EUR\ncurrency = \"EUR\"\nworkers = 64\n";
        std::fs::write(&path, right).unwrap();
        let (good, bad) = misprint(Service::Gateway);
        assert!(replace_in_file(&path, good, bad).unwrap());
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "# EUR\ncurrency = \"EUX\"\nworkers = 64\n");
        assert!(replace_in_file(&path, bad, good).unwrap());
        assert_eq!(std::fs::read_to_string(&path).unwrap(), right);
        assert!(!replace_in_file(&path, bad, good).unwrap());
    }
}
