//! This process's memory: how much it has, how much it may have, and a leak on demand.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

/// How often the leak allocates.
const LEAK_EVERY: Duration = Duration::from_millis(50);

/// Resident memory in bytes, from `/proc/self/status`; none where there is no such file.
pub(crate) fn usage_bytes() -> Option<u64> {
    resident_bytes(&std::fs::read_to_string("/proc/self/status").ok()?)
}

/// `VmRSS` of a `status` file, which is in kibibytes whatever it says (proc_pid_status(5)).
fn resident_bytes(status: &str) -> Option<u64> {
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    let kibibytes: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    kibibytes.checked_mul(1024)
}

/// The limit on this process's data memory (`RLIMIT_DATA`), in bytes; none if there is none.
pub(crate) fn limit_bytes() -> Option<u64> {
    getrlimit(Resource::Data).current
}

/// Sets the limit that [`limit_bytes`] reports. Past it, allocations fail and Rust aborts the process.
///
/// # Errors
/// If `bytes` is over the hard limit.
pub(crate) fn set_limit(bytes: u64) -> Result<(), rustix::io::Errno> {
    let maximum = getrlimit(Resource::Data).maximum;
    setrlimit(Resource::Data, Rlimit { current: Some(bytes), maximum })
}

/// A leak: allocates memory, writes to all of it, and never gives it back.
pub(crate) struct Leak {
    bytes_per_second: AtomicU64,
    running: std::sync::Once,
}

impl Leak {
    /// No leak yet.
    pub(crate) fn new() -> Arc<Self> {
        Arc::new(Self { bytes_per_second: AtomicU64::new(0), running: std::sync::Once::new() })
    }

    /// Sets the pace; 0 stops, but what has leaked stays.
    ///
    /// The memory is real: at the limit an allocation fails, and the process is gone.
    pub(crate) fn set(self: &Arc<Self>, bytes_per_second: u64) {
        self.bytes_per_second.store(bytes_per_second, Ordering::Relaxed);
        self.running.call_once(|| {
            let leak = Arc::clone(self);
            std::thread::spawn(move || leak.run());
        });
    }

    /// The pace in force.
    pub(crate) fn bytes_per_second(&self) -> u64 {
        self.bytes_per_second.load(Ordering::Relaxed)
    }

    fn run(&self) {
        let per_second = (Duration::from_secs(1).as_millis() / LEAK_EVERY.as_millis()) as u64;
        let mut kept = Vec::new();
        loop {
            let bytes = self.bytes_per_second() / per_second;
            if bytes > 0 {
                kept.push(vec![1_u8; usize::try_from(bytes).unwrap_or(usize::MAX)]);
            }
            std::thread::sleep(LEAK_EVERY);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Guarantees: resident memory is taken, in bytes; nonsense is not a number.
    #[test]
    fn reads_status() {
        assert_eq!(resident_bytes("VmPeak:\t  900 kB\nVmRSS:\t   12 kB\nVmData:\t 7 kB\n"), Some(12 * 1024));
        assert_eq!(resident_bytes(""), None);
        assert_eq!(resident_bytes("VmRSS:\t many kB"), None);
        assert!(usage_bytes().unwrap() > 0);
    }

    /// Scenario: a leak of 64 MiB/s runs until 8 MiB more are resident.
    /// Guarantees: leaked memory is really resident, not just reserved.
    #[test]
    fn leaks_for_real() {
        let before = usage_bytes().unwrap();
        let leak = Leak::new();
        leak.set(64 << 20);
        let deadline = std::time::Instant::now() + Duration::from_secs(20);
        while usage_bytes().unwrap() < before + (8 << 20) {
            assert!(std::time::Instant::now() < deadline, "nothing leaked");
            std::thread::sleep(Duration::from_millis(10));
        }
        leak.set(0);
        assert_eq!(leak.bytes_per_second(), 0);
    }
}
