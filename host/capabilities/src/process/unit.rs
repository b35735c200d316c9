//! One unit: its process now, how the last one ended, and the record that lets a later daemon find it again.

use super::{
    ABSENT, ProcessError,
    procfs::{self, Boot, Identity},
};
use crate::{UnitConfig, storage};
use process_wrap::std::{CommandWrap, ProcessSession};
use rustix::{
    event::{PollFd, PollFlags, Timespec, poll},
    process::{
        Pid, PidfdFlags, Resource, Rlimit, Signal, WaitId, WaitIdOptions, pidfd_open, pidfd_send_signal,
        prlimit, waitid,
    },
};
use serde::{Deserialize, Serialize};
use std::{
    fs::{File, OpenOptions},
    io,
    os::{fd::OwnedFd, unix::fs::OpenOptionsExt},
    path::{Path, PathBuf},
    process::{Command, Stdio},
    sync::Arc,
};

/// A process that runs, or ran a moment ago.
#[derive(Debug, Clone)]
pub(super) struct Running {
    pub(super) identity: Identity,
    pub(super) pidfd: Arc<OwnedFd>,
}

/// What the state folder keeps of a unit.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct Record {
    /// Boot in which this was written.
    pub(super) boot: String,
    /// A start that was begun and whose process is not known yet: Salve died in between, or is in between.
    pub(super) starting: Option<Starting>,
    /// The newest process.
    pub(super) identity: Option<Identity>,
    /// How it ended, if Salve saw it end.
    pub(super) last_exit: Option<String>,
}

/// What a process can be found by whose pid nobody wrote down.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct Starting {
    /// When the start was begun.
    pub(super) ticks: u64,
    /// Value of [`START_ID`] in its environment; no other start on this machine has the same.
    pub(super) id: String,
    /// It is the first start since the machine was booted, which nobody asked for but `autostart`.
    #[serde(default)]
    pub(super) is_first: bool,
}

impl Starting {
    /// As it stands in the environment.
    pub(super) fn variable(&self) -> String {
        format!("{START_ID}={}", self.id)
    }
}

/// Environment variable that Salve sets besides those of `[[process]]`.
pub(crate) const START_ID: &str = "UNIT_START_ID";

impl Record {
    pub(super) fn path(state_dir: &Path, unit: &str) -> PathBuf {
        state_dir.join("process").join(format!("{unit}.json"))
    }

    pub(super) fn read(path: &Path) -> Option<Self> {
        serde_json::from_slice(&storage::read_bounded(path, 65_536).ok()?).ok()
    }

    pub(super) fn write(&self, path: &Path) -> Result<(), ProcessError> {
        serde_json::to_vec(self)
            .map_err(io::Error::from)
            .and_then(|bytes| storage::write_atomic(path, &bytes))
            .map_err(|source| ProcessError::Record { path: path.to_owned(), source })
    }
}

/// The process of `pid`, if it started at `start_ticks` and has not ended.
pub(super) fn open(pid: i32, start_ticks: u64, boot: &Boot) -> Option<Running> {
    if pid <= 1 || pid.unsigned_abs() == std::process::id() {
        return None;
    }
    // The pidfd first: what is read afterwards then is about the process behind it or about none.
    let pidfd = pidfd_open(Pid::from_raw(pid)?, PidfdFlags::NONBLOCK).ok()?;
    let stat = procfs::stat(pid).ok()?;
    if stat.start_ticks != start_ticks || stat.state == 'Z' || ended(&pidfd) {
        return None;
    }
    let identity = Identity { pid, start_ticks, boot: boot.id.clone() };
    Some(Running { identity, pidfd: Arc::new(pidfd) })
}

/// The process behind a pidfd has ended (pidfd_open(2): such a descriptor polls as readable).
pub(super) fn ended(pidfd: &OwnedFd) -> bool {
    let mut fds = [PollFd::new(pidfd, PollFlags::IN)];
    poll(&mut fds, Some(&Timespec { tv_sec: 0, tv_nsec: 0 })).is_ok_and(|ready| ready > 0)
}

/// Starts the unit's program in a session of its own.
pub(super) fn spawn(unit: &UnitConfig, starting: &Starting, boot: &Boot) -> Result<Running, ProcessError> {
    let name = || unit.name.clone();
    let [program, arguments @ ..] = unit.command.as_slice() else {
        return Err(ProcessError::UnknownUnit(name()));
    };
    let open_log = || -> io::Result<(File, File)> {
        let log = OpenOptions::new().create(true).append(true).mode(0o640).open(&unit.log_file)?;
        Ok((log.try_clone()?, log))
    };
    let (out, err) = open_log().map_err(|source| ProcessError::Log {
        unit: name(),
        path: unit.log_file.clone(),
        source,
    })?;
    let mut command = Command::new(program);
    command
        .args(arguments)
        .env_clear()
        .envs(&unit.environment)
        .env(START_ID, &starting.id)
        .current_dir(unit.working_directory.as_deref().unwrap_or(Path::new("/")))
        .stdin(Stdio::null())
        .stdout(out)
        .stderr(err);
    // A session of its own: no terminal's signals, and a stopped process is not hung up on when the daemon dies.
    let child = CommandWrap::from(command)
        .wrap(ProcessSession)
        .spawn()
        .map_err(|source| ProcessError::Spawn { unit: name(), program: program.clone(), source })?;
    let pid = i32::try_from(child.id()).unwrap_or(i32::MAX);
    let look = |source| ProcessError::Look { unit: name(), pid, source };
    // Salve's own child is not reaped before `reap`, so its pid cannot be anybody else's yet.
    let raw = Pid::from_raw(pid).ok_or_else(|| look(io::Error::other("pid 0")))?;
    let pidfd = pidfd_open(raw, PidfdFlags::NONBLOCK).map_err(|error| look(error.into()))?;
    let stat = procfs::stat(pid).map_err(look)?;
    let identity = Identity { pid, start_ticks: stat.start_ticks, boot: boot.id.clone() };
    let running = Running { identity, pidfd: Arc::new(pidfd) };
    if let Some(bytes) = unit.memory_max_bytes {
        let limit = Rlimit { current: Some(bytes), maximum: Some(bytes) };
        match prlimit(Some(raw), Resource::Data, limit) {
            // It has ended already; its exit says more than this would.
            Ok(_) | Err(rustix::io::Errno::SRCH) => {}
            Err(error) => {
                pidfd_send_signal(&running.pidfd, Signal::KILL).unwrap_or_default();
                return Err(ProcessError::Limit { unit: name(), source: error.into() });
            }
        }
    }
    Ok(running)
}

/// Sends a signal; a process that has ended meanwhile is fine.
pub(super) fn signal(unit: &str, running: &Running, signal: Signal) -> Result<(), ProcessError> {
    let identity = || running.identity.to_string();
    if running.identity.pid.unsigned_abs() == std::process::id() || running.identity.pid <= 1 {
        return Err(ProcessError::Salve { unit: unit.to_owned(), identity: identity() });
    }
    match pidfd_send_signal(&running.pidfd, signal) {
        Ok(()) | Err(rustix::io::Errno::SRCH) => Ok(()),
        Err(error) => {
            Err(ProcessError::Signal { unit: unit.to_owned(), identity: identity(), source: error.into() })
        }
    }
}

/// Takes an ended process off the kernel's table, if it is Salve's child, and says how it ended.
pub(super) fn reap(pidfd: &OwnedFd) -> String {
    use std::os::fd::AsFd;
    match waitid(WaitId::PidFd(pidfd.as_fd()), WaitIdOptions::EXITED | WaitIdOptions::NOHANG) {
        Ok(Some(status)) => match (status.exit_status(), status.terminating_signal()) {
            (Some(code), _) => format!("exit status {code}"),
            (None, Some(number)) => format!("killed by {}", signal_name(number)),
            (None, None) => "ended".into(),
        },
        // Not Salve's child: an earlier daemon started it, and init has taken its exit status.
        _ => "ended; its exit status went to init, since an earlier daemon had started it".into(),
    }
}

fn signal_name(number: i32) -> String {
    let name = match number {
        1 => "SIGHUP",
        2 => "SIGINT",
        3 => "SIGQUIT",
        4 => "SIGILL",
        6 => "SIGABRT",
        7 => "SIGBUS",
        8 => "SIGFPE",
        9 => "SIGKILL",
        11 => "SIGSEGV",
        13 => "SIGPIPE",
        15 => "SIGTERM",
        _ => return format!("signal {number}"),
    };
    name.into()
}

/// The state of a unit in the words of plans and receipts.
pub(super) fn state_words(running: Option<&Running>) -> String {
    running.map_or_else(|| ABSENT.to_owned(), |running| running.identity.to_string())
}
