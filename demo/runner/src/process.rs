//! One process that is broken, without ever hitting another that got its number.

use anyhow::{Context, Result};
use rustix::{
    fd::OwnedFd,
    process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal},
};
use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

/// Of each cycle of a [`Throttle`] the process is stopped for so long ...
const STOPPED: Duration = Duration::from_millis(230);
/// ... and runs for so long: less than a request of the shop takes, so that each one is interrupted.
const RUNNING: Duration = Duration::from_millis(8);

/// A handle to a running process. Signals reach this process or none: a process id that is used again is not it.
#[derive(Debug)]
pub(crate) struct Victim {
    pid: u32,
    descriptor: OwnedFd,
}

impl Victim {
    /// Opens the process.
    ///
    /// # Errors
    /// If there is none with this number.
    pub(crate) fn open(pid: u32) -> Result<Arc<Self>> {
        let number = i32::try_from(pid).ok().and_then(Pid::from_raw).context("a process id is never 0")?;
        let descriptor = pidfd_open(number, PidfdFlags::empty())
            .with_context(|| format!("cannot open process `{pid}`; it has ended"))?;
        Ok(Arc::new(Self { pid, descriptor }))
    }

    /// Process id.
    pub(crate) fn pid(&self) -> u32 {
        self.pid
    }

    /// Sends a signal; false if the process has ended.
    pub(crate) fn signal(&self, signal: Signal) -> bool {
        pidfd_send_signal(&self.descriptor, signal).is_ok()
    }

    /// Whether it has not ended. A zombie has ended.
    pub(crate) fn is_alive(&self) -> bool {
        // A descriptor of a process becomes readable when the process ends (pidfd_open(2)).
        let mut poll = [rustix::event::PollFd::new(&self.descriptor, rustix::event::PollFlags::IN)];
        rustix::event::poll(&mut poll, Some(&rustix::event::Timespec { tv_sec: 0, tv_nsec: 0 })) == Ok(0)
    }

    /// Resident memory in bytes; none if it has ended.
    pub(crate) fn resident_bytes(&self) -> Option<u64> {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.pid)).ok()?;
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
        let kibibytes: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
        Some(kibibytes * 1024)
    }
}

/// Takes the processor away from a process for most of the time, until it ends or this is dropped.
#[derive(Debug)]
pub(crate) struct Throttle {
    ended: Arc<AtomicBool>,
    thread: Option<std::thread::JoinHandle<()>>,
}

impl Throttle {
    /// Begins.
    pub(crate) fn start(victim: Arc<Victim>) -> Self {
        let ended = Arc::new(AtomicBool::new(false));
        let stop = Arc::clone(&ended);
        let thread = std::thread::spawn(move || {
            while !stop.load(Ordering::Relaxed) {
                if !victim.signal(Signal::STOP) {
                    return;
                }
                std::thread::sleep(STOPPED);
                if !victim.signal(Signal::CONT) {
                    return;
                }
                std::thread::sleep(RUNNING);
            }
            victim.signal(Signal::CONT);
        });
        Self { ended, thread: Some(thread) }
    }
}

impl Drop for Throttle {
    fn drop(&mut self) {
        self.ended.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            // It cannot panic, and if it did the process would be no worse off.
            let _joined = thread.join();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::process::{Child, Command};

    struct Reaped(Child);
    impl Drop for Reaped {
        fn drop(&mut self) {
            let _killed = self.0.kill();
            let _reaped = self.0.wait();
        }
    }

    fn state(pid: u32) -> char {
        let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
        stat.rsplit(") ").next().unwrap().chars().next().unwrap()
    }

    fn wait_for(what: &str, mut come_true: impl FnMut() -> bool) {
        let deadline = std::time::Instant::now() + Duration::from_secs(30);
        while !come_true() {
            assert!(std::time::Instant::now() < deadline, "{what} did not happen");
            std::thread::sleep(Duration::from_millis(1));
        }
    }

    /// Scenario: a process is throttled, then the throttle is dropped, then the process is killed.
    /// Guarantees: it is stopped most of the time, runs on afterwards, and signals to the dead are refused.
    #[test]
    fn throttles_and_lets_go() {
        let mut child = Reaped(Command::new("sleep").arg("60").spawn().unwrap());
        let pid = child.0.id();
        let victim = Victim::open(pid).unwrap();
        let throttle = Throttle::start(Arc::clone(&victim));
        wait_for("a stop", || state(pid) == 'T');
        drop(throttle);
        wait_for("going on", || state(pid) == 'S');
        assert!(victim.is_alive() && victim.resident_bytes().unwrap() > 0);
        assert!(victim.signal(Signal::KILL));
        wait_for("its end", || !victim.is_alive());
        child.0.wait().unwrap();
        assert!(!victim.signal(Signal::STOP));
        assert!(Victim::open(pid).is_err());
    }
}
