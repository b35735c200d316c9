//! A daemon in a temporary folder.

use anyhow::{Context, Result, bail, ensure};
use serde_json::Value;
use std::{
    ffi::OsStr,
    fs::File,
    path::{Path, PathBuf},
    process::{Child, Command, Output, Stdio},
    time::{Duration, Instant},
};
use tempfile::TempDir;

/// Nothing here should take longer; a test that waits this long has failed.
pub const WATCHDOG: Duration = Duration::from_secs(60);

/// Between two looks at something that is waited for. Most looks start a `salve`, of which many at once would be a load.
const LOOK_EVERY: Duration = Duration::from_millis(200);

/// A folder with `salve.toml`, `plugins/` and `policies/`, and perhaps a daemon that runs on it.
pub struct Daemon {
    folder: TempDir,
    child: Option<Child>,
    environment: Vec<(String, String)>,
}

impl Daemon {
    /// A folder with this configuration, `policy.rhai` and links to these components; nothing runs yet. `@` in the
    /// configuration stands for the folder, `CACHE` for compiled components that all tests share.
    ///
    /// # Errors
    /// If the folder cannot be filled.
    pub fn prepare(config: &str, policy: &str, plugins: &[&str]) -> Result<Self> {
        let folder = tempfile::Builder::new().prefix("salve-test-").tempdir()?;
        for name in ["plugins", "policies"] {
            std::fs::create_dir(folder.path().join(name))?;
        }
        let daemon = Self { folder, child: None, environment: Vec::new() };
        // As in an installation: the lock file that was built with the plugins comes with them.
        let lock = "salve-plugins.lock";
        std::fs::copy(crate::plugins().join(lock), daemon.path("plugins").join(lock))
            .context("cannot copy the lock file of the built plugins")?;
        std::fs::write(daemon.path("policies/test.rhai"), policy)?;
        for name in plugins {
            daemon.add_plugin(name)?;
        }
        daemon.configure(config)?;
        Ok(daemon)
    }

    /// Writes the configuration: what all tests share, and `config`.
    ///
    /// # Errors
    /// If it cannot be written.
    pub fn configure(&self, config: &str) -> Result<()> {
        let shared = "state_directory = \"state\"\n";
        let config = format!("{shared}{config}")
            .replace('@', &self.folder.path().display().to_string())
            .replace("CACHE", &crate::target().join("test-compiled").display().to_string());
        let temporary = self.path("salve.toml.partial");
        std::fs::write(&temporary, config)?;
        Ok(std::fs::rename(temporary, self.path("salve.toml"))?)
    }

    /// Puts a built component into the plugin folder, as a user would.
    ///
    /// # Errors
    /// If it was not built.
    pub fn add_plugin(&self, name: &str) -> Result<()> {
        let from = crate::plugins().join(format!("{name}.wasm"));
        let to = self.path(&format!("plugins/{name}.wasm"));
        let temporary = to.with_extension("partial");
        std::fs::copy(&from, &temporary).with_context(|| format!("cannot copy `{}`", from.display()))?;
        Ok(std::fs::rename(temporary, to)?)
    }

    /// A path in the folder.
    #[must_use]
    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// An environment variable for the daemon.
    pub fn environment(&mut self, name: &str, value: impl AsRef<OsStr>) {
        self.environment.push((name.into(), value.as_ref().to_string_lossy().into_owned()));
    }

    /// Forgets the environment variables given so far.
    pub fn clear_environment(&mut self) {
        self.environment.clear();
    }

    /// Starts the daemon and waits until it says that it is ready.
    ///
    /// # Errors
    /// With its log, if it ends or does not get ready.
    pub async fn start(&mut self) -> Result<()> {
        self.spawn()?;
        let ready = self.wait("the daemon is ready", |daemon| {
            Ok(daemon.salve(&["status"]).is_ok_and(|output| output.status.success()))
        });
        ready.await
    }

    /// Starts the daemon and returns at once.
    ///
    /// # Errors
    /// If it cannot be started.
    pub fn spawn(&mut self) -> Result<()> {
        let log = File::options().create(true).append(true).open(self.path("salve.log"))?;
        let child = Command::new(crate::salve())
            .args(["run", "--config"])
            .arg(self.path("salve.toml"))
            .envs(self.environment.iter().map(|(name, value)| (name, value)))
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log)
            .spawn()
            .context("cannot start salve")?;
        self.child = Some(child);
        Ok(())
    }

    /// Runs a command of `salve` on this daemon's configuration.
    ///
    /// # Errors
    /// If it cannot be run at all.
    pub fn salve(&self, arguments: &[&str]) -> Result<Output> {
        Ok(Command::new(crate::salve())
            .args(arguments)
            .env("SALVE_CONFIG", self.path("salve.toml"))
            .stdin(Stdio::null())
            .output()?)
    }

    /// Runs a command and reads its JSON.
    ///
    /// # Errors
    /// If it gives none.
    pub fn json(&self, arguments: &[&str]) -> Result<Value> {
        let output = self.salve(arguments)?;
        serde_json::from_slice(&output.stdout).with_context(|| {
            format!(
                "`salve {}` gave no JSON: {}",
                arguments.join(" "),
                String::from_utf8_lossy(&output.stderr)
            )
        })
    }

    /// Its incidents, whole, newest first.
    ///
    /// # Errors
    /// If the daemon does not answer.
    pub fn incidents(&self) -> Result<Vec<Value>> {
        let list = self.json(&["incident", "list", "--json"])?;
        let ids = list.as_array().into_iter().flatten().filter_map(|incident| incident["id"].as_str());
        ids.map(|id| self.json(&["incident", "show", id, "--json"])).collect()
    }

    /// Waits until `condition` holds, looking at it every `LOOK_EVERY`, for at most [`WATCHDOG`].
    ///
    /// # Errors
    /// With the log's end, if the time is up, the condition fails or the daemon ends.
    pub async fn wait(&mut self, what: &str, mut condition: impl FnMut(&Self) -> Result<bool>) -> Result<()> {
        let begun = Instant::now();
        loop {
            let held = condition(self).with_context(|| format!("while waiting until {what}"));
            if matches!(held, Ok(true)) {
                return Ok(());
            }
            // A daemon that dies makes the condition fail a moment before it can be seen to have died.
            let patience = Duration::from_millis(if held.is_err() { 1_000 } else { 0 });
            if let Some(status) = self.exit_within(patience).await? {
                bail!("the daemon ended ({status}) while waiting until {what}\n{}", self.log_end());
            }
            held?;
            ensure!(begun.elapsed() < WATCHDOG, "waited in vain until {what}\n{}", self.log_end());
            tokio::time::sleep(LOOK_EVERY).await;
        }
    }

    async fn exit_within(&mut self, patience: Duration) -> Result<Option<std::process::ExitStatus>> {
        let begun = Instant::now();
        loop {
            let Some(child) = &mut self.child else { return Ok(None) };
            if let Some(status) = child.try_wait()? {
                self.child = None;
                return Ok(Some(status));
            }
            if begun.elapsed() >= patience {
                return Ok(None);
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    /// Waits until the daemon has ended by itself, and says how.
    ///
    /// # Errors
    /// If it does not.
    pub async fn ended(&mut self) -> Result<std::process::ExitStatus> {
        ensure!(self.child.is_some(), "no daemon runs");
        match self.exit_within(WATCHDOG).await? {
            Some(status) => Ok(status),
            None => bail!("the daemon did not end\n{}", self.log_end()),
        }
    }

    /// Whether the daemon that was started last is still there, as far as is known.
    #[must_use]
    pub fn is_running(&self) -> bool {
        self.child.is_some()
    }

    /// The daemon's pid.
    ///
    /// # Errors
    /// If none runs.
    pub fn pid(&self) -> Result<rustix::process::Pid> {
        let child = self.child.as_ref().context("no daemon runs")?;
        Ok(rustix::process::Pid::from_child(child))
    }

    /// Sends a signal to the daemon.
    ///
    /// # Errors
    /// If none runs.
    pub fn signal(&self, signal: rustix::process::Signal) -> Result<()> {
        Ok(rustix::process::kill_process(self.pid()?, signal)?)
    }

    /// The last lines of its log.
    #[must_use]
    pub fn log_end(&self) -> String {
        let log = std::fs::read_to_string(self.path("salve.log")).unwrap_or_default();
        let lines: Vec<_> = log.lines().collect();
        lines[lines.len().saturating_sub(40)..].join("\n")
    }

    /// The whole log.
    #[must_use]
    pub fn log(&self) -> String {
        std::fs::read_to_string(self.path("salve.log")).unwrap_or_default()
    }

    /// Where OTLP over HTTP is served.
    ///
    /// # Errors
    /// If the daemon does not answer.
    pub fn otlp_http(&self) -> Result<String> {
        let status = self.json(&["status", "--json"])?;
        Ok(format!(
            "http://{}",
            status["otlp_http_address"].as_str().context("status has no otlp_http_address")?
        ))
    }

    /// Where OTLP over gRPC is served.
    ///
    /// # Errors
    /// If the daemon does not answer.
    pub fn otlp_grpc(&self) -> Result<String> {
        let status = self.json(&["status", "--json"])?;
        Ok(format!(
            "http://{}",
            status["otlp_grpc_address"].as_str().context("status has no otlp_grpc_address")?
        ))
    }

    /// The folder.
    #[must_use]
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        // Supervised processes outlive the daemon by design; the test's own must not.
        let processes = self.child.as_ref().and_then(|_| self.json(&["status", "--json"]).ok());
        if let Some(child) = &mut self.child {
            drop(child.kill());
            drop(child.wait());
        }
        let pids = processes.iter().flat_map(|status| status["processes"].as_array().into_iter().flatten());
        for pid in pids.filter_map(|process| process["pid"].as_i64()) {
            if let Some(pid) = rustix::process::Pid::from_raw(pid as i32) {
                // Gone already is just as good.
                _ = rustix::process::kill_process(pid, rustix::process::Signal::KILL);
            }
        }
        if std::thread::panicking() {
            eprintln!("--- end of the daemon's log ---\n{}", self.log_end());
        }
    }
}
