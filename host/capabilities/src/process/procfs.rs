//! What the kernel says about processes, from `/proc`. Source of the formats: proc(5).

use serde::{Deserialize, Serialize};
use std::{fmt, fs, io};

/// Ticks a second in `/proc/<pid>/stat`. The kernel's `USER_HZ`, which is 100 wherever Rust's std runs on Linux.
const TICKS_PER_SECOND: u64 = 100;

/// A process, and never another one: pids are used again, pid with start time and boot is not.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Identity {
    pub(crate) pid: i32,
    /// Ticks after boot.
    pub(crate) start_ticks: u64,
    /// First eight characters of the boot id.
    pub(crate) boot: String,
}

impl fmt::Display for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "pid={},start={},boot={}", self.pid, self.start_ticks, self.boot)
    }
}

/// The fields of `/proc/<pid>/stat` that matter here.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Stat {
    pub(crate) state: char,
    pub(crate) session: i32,
    pub(crate) cpu_ticks: u64,
    pub(crate) start_ticks: u64,
}

/// Reads `/proc/<pid>/stat`.
pub(crate) fn stat(pid: i32) -> io::Result<Stat> {
    let text = fs::read_to_string(format!("/proc/{pid}/stat"))?;
    parse_stat(&text).ok_or_else(|| io::Error::new(io::ErrorKind::InvalidData, "not a stat line"))
}

/// The name (field 2) may hold spaces and parentheses, so fields are counted from its last `)`.
fn parse_stat(text: &str) -> Option<Stat> {
    let (_, rest) = text.rsplit_once(')')?;
    let fields: Vec<&str> = rest.split_whitespace().collect();
    // `fields[0]` is field 3 of proc(5).
    let field = |number: usize| fields.get(number - 3).copied();
    let number = |number: usize| field(number)?.parse::<u64>().ok();
    Some(Stat {
        state: field(3)?.chars().next()?,
        session: field(6)?.parse().ok()?,
        cpu_ticks: number(14)?.checked_add(number(15)?)?,
        start_ticks: number(22)?,
    })
}

/// Resident memory, in bytes; 0 for a process without any (a zombie).
pub(crate) fn resident_bytes(pid: i32) -> u64 {
    let text = fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let kibibytes = text
        .lines()
        .find_map(|line| line.strip_prefix("VmRSS:"))
        .and_then(|rest| rest.trim().strip_suffix("kB")?.trim().parse::<u64>().ok());
    kibibytes.unwrap_or(0).saturating_mul(1_024)
}

/// Ticks as seconds.
#[expect(clippy::cast_precision_loss, reason = "2^53 ticks are three million years")]
pub(crate) fn seconds(ticks: u64) -> f64 {
    ticks as f64 / TICKS_PER_SECOND as f64
}

/// What does not change while the machine is up.
#[derive(Debug, Clone)]
pub(crate) struct Boot {
    /// First eight characters of the boot id.
    pub(crate) id: String,
}

impl Boot {
    pub(crate) fn read() -> io::Result<Self> {
        let id = fs::read_to_string("/proc/sys/kernel/random/boot_id")?;
        Ok(Self { id: id.trim().chars().take(8).collect() })
    }

    /// Unix time in nanoseconds of a start time. The kernel's idea of when it booted follows the wall clock, so this is
    /// for people; it names no process.
    pub(crate) fn start_unix_ns(&self, start_ticks: u64) -> u64 {
        let text = fs::read_to_string("/proc/stat").unwrap_or_default();
        let boot_seconds: u64 =
            text.lines().find_map(|line| line.strip_prefix("btime ")?.trim().parse().ok()).unwrap_or(0);
        let start = u128::from(boot_seconds) * 1_000_000_000
            + u128::from(start_ticks) * 1_000_000_000 / u128::from(TICKS_PER_SECOND);
        u64::try_from(start).unwrap_or(u64::MAX)
    }
}

/// Ticks since boot, now.
pub(crate) fn now_ticks() -> io::Result<u64> {
    let text = fs::read_to_string("/proc/uptime")?;
    let (seconds, hundredths) = text
        .split_whitespace()
        .next()
        .and_then(|uptime| uptime.split_once('.'))
        .ok_or_else(|| io::Error::new(io::ErrorKind::InvalidData, "not an uptime"))?;
    let ticks = seconds.parse::<u64>().ok().and_then(|seconds| {
        let hundredths: u64 = hundredths.parse().ok()?;
        seconds.checked_mul(TICKS_PER_SECOND)?.checked_add(hundredths)
    });
    ticks.ok_or_else(|| io::Error::new(io::ErrorKind::InvalidData, "not an uptime"))
}

/// All pids there are now.
fn pids() -> impl Iterator<Item = i32> {
    fs::read_dir("/proc")
        .into_iter()
        .flatten()
        .filter_map(Result::ok)
        .filter_map(|entry| entry.file_name().to_str().and_then(|name| name.parse().ok()))
}

/// Members of a session other than its leader.
pub(crate) fn session_members(leader: i32) -> Vec<(i32, u64)> {
    pids()
        .filter(|pid| *pid != leader)
        .filter_map(|pid| Some((pid, stat(pid).ok()?)))
        .filter(|(_, stat)| stat.session == leader)
        .map(|(pid, stat)| (pid, stat.start_ticks))
        .collect()
}

/// The session leader that was started at or after `since_ticks` with `variable` (`NAME=value`) in its environment, which a shell
/// hands on to what it becomes, and to its children: so the oldest. If none has it, since it has written over its environment, the
/// youngest that runs exactly `command`.
pub(crate) fn find_leader(variable: &str, command: &[String], since_ticks: u64) -> Option<(i32, u64)> {
    let mut line = command.join("\0").into_bytes();
    line.push(0);
    let leaders: Vec<(i32, u64)> = pids()
        .filter_map(|pid| Some((pid, stat(pid).ok()?)))
        .filter(|(pid, stat)| stat.session == *pid && stat.start_ticks >= since_ticks && stat.state != 'Z')
        .map(|(pid, stat)| (pid, stat.start_ticks))
        .collect();
    let has_variable = |(pid, _): &&(i32, u64)| {
        let environment = fs::read(format!("/proc/{pid}/environ")).unwrap_or_default();
        environment.split(|byte| *byte == 0).any(|entry| entry == variable.as_bytes())
    };
    let has_command =
        |(pid, _): &&(i32, u64)| fs::read(format!("/proc/{pid}/cmdline")).is_ok_and(|found| found == line);
    let by_age = |(pid, start_ticks): &&(i32, u64)| (*start_ticks, *pid);
    let named = leaders.iter().filter(has_variable).min_by_key(by_age);
    named.or_else(|| leaders.iter().filter(has_command).max_by_key(by_age)).copied()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Guarantees: a process that names itself like the rest of the line cannot shift the fields.
    #[test]
    fn a_name_cannot_shift_fields() {
        let line = "42 (a) S 1 1 (b) T 1 7 7 0 -1 4194560 1 2 3 4 50 60 0 0 20 0 1 0 987 100 200";
        let expected = Stat { state: 'T', session: 7, cpu_ticks: 110, start_ticks: 987 };
        assert_eq!(parse_stat(line), Some(expected));
        assert_eq!(parse_stat("42 (a) S 1"), None);
        assert_eq!(parse_stat(""), None);
    }

    /// Guarantees: this process is found, with a start time that is in the past.
    #[test]
    fn reads_this_process() {
        let pid = i32::try_from(std::process::id()).unwrap();
        let stat = stat(pid).unwrap();
        assert!(stat.start_ticks <= now_ticks().unwrap());
        assert!(resident_bytes(pid) > 0);
        let boot = Boot::read().unwrap();
        assert_eq!(boot.id.len(), 8);
        assert!(boot.start_unix_ns(stat.start_ticks) > 1_600_000_000_000_000_000);
    }
}
