//! All processes of one run: daemon, shop and load. Whatever happens, none of them is left behind.

use crate::{
    admin::Admin,
    control::Control,
    fault::Service,
    place::{MEMORY_LIMIT_BYTES, Place, Programs},
    process::Victim,
};
use anyhow::{Context, Result, bail};
use rustix::process::Signal;
use std::{
    collections::BTreeMap,
    fs::File,
    os::unix::process::CommandExt,
    path::Path,
    process::{Child, Command, Stdio},
    sync::Arc,
    time::{Duration, Instant},
};

/// How long the daemon may take to stop, its children included.
const STOP_WITHIN: Duration = Duration::from_secs(8);

/// A shop under Salve's care (or under its eyes only).
#[derive(Debug)]
pub(crate) struct Shop {
    /// Files and ports.
    pub(crate) place: Place,
    /// The daemon.
    pub(crate) control: Control,
    /// The shop.
    pub(crate) admin: Admin,
    programs: Programs,
    daemon: Child,
    load: Child,
    /// Services that were started by hand, because nobody else did.
    by_hand: Vec<Child>,
    /// The newest process of each service.
    known: BTreeMap<Service, Arc<Victim>>,
}

impl Shop {
    /// Starts the daemon, which starts the services, and the load.
    ///
    /// # Errors
    /// If a program cannot be started.
    pub(crate) fn start(place: Place, programs: &Programs, seed: u64) -> Result<Self> {
        let mut daemon = Command::new(&programs.salve);
        daemon.args(["run", "--config"]).arg(place.salve_toml());
        let mut load = Command::new(&programs.shop);
        load.args(["load", "--gateway-url", &place.gateway_url(), "--otlp-endpoint", &place.otlp_endpoint()])
            .args(["--admin-listen", &place.load_admin.to_string(), "--seed", &seed.to_string()])
            .arg("--output")
            .arg(place.orders_path());
        let admin = Admin::new()?;
        let daemon = spawn(daemon, &place.log_path("salve"))?;
        let load = match spawn(load, &place.log_path("load")) {
            Ok(load) => load,
            Err(error) => {
                let mut daemon = daemon;
                end(&mut daemon, STOP_WITHIN);
                return Err(error);
            }
        };
        Ok(Self {
            control: Control(place.control_socket()),
            admin,
            programs: programs.clone(),
            daemon,
            load,
            by_hand: Vec::new(),
            known: BTreeMap::new(),
            place,
        })
    }

    /// The daemon's process id.
    pub(crate) fn daemon_pid(&self) -> u32 {
        self.daemon.id()
    }

    /// The load's process id.
    pub(crate) fn load_pid(&self) -> u32 {
        self.load.id()
    }

    /// Checks that daemon and load still run.
    ///
    /// # Errors
    /// With the end of the log of the one that does not.
    pub(crate) fn check(&mut self) -> Result<()> {
        for (name, child) in [("salve", &mut self.daemon), ("load", &mut self.load)] {
            if let Some(status) = child.try_wait()? {
                let path = self.place.log_path(name);
                let log = std::fs::read_to_string(&path).unwrap_or_default();
                let end: Vec<&str> = log.lines().rev().take(15).collect();
                let end: Vec<&str> = end.into_iter().rev().collect();
                bail!("`{name}` has ended ({status}); the end of `{}`:\n{}", path.display(), end.join("\n"));
            }
        }
        Ok(())
    }

    /// The process that serves for `service` now.
    ///
    /// # Errors
    /// If none answers.
    pub(crate) async fn victim(&mut self, service: Service) -> Result<Arc<Victim>> {
        let admin = self.place.ports[&service].admin;
        let mut answer = self.admin.service(admin).await;
        for _ in 0..5 {
            if answer.is_ok() {
                break;
            }
            tokio::time::sleep(Duration::from_millis(200)).await;
            answer = self.admin.service(admin).await;
        }
        let pid = answer.with_context(|| format!("`{}` does not answer", service.name()))?.pid;
        if let Some(known) = self.known.get(&service).filter(|known| known.pid() == pid && known.is_alive()) {
            return Ok(Arc::clone(known));
        }
        let victim = Victim::open(pid)?;
        self.known.insert(service, Arc::clone(&victim));
        Ok(victim)
    }

    /// Starts a service as a person would who finds it dead.
    ///
    /// # Errors
    /// If the program cannot be started.
    pub(crate) fn start_by_hand(&mut self, service: Service) -> Result<()> {
        let mut command = Command::new(&self.programs.shop);
        command
            .arg(service.name())
            .arg("--config")
            .arg(self.place.config_path(service))
            .args(["--otlp-endpoint", &self.place.otlp_endpoint()])
            .args(["--memory-limit-bytes", &MEMORY_LIMIT_BYTES.to_string()]);
        let child = spawn(command, &self.place.log_path(service.name()))?;
        self.by_hand.push(child);
        Ok(())
    }

    /// Runs a command of the daemon's program, for instance `ledger verify --json`, and returns its standard output.
    ///
    /// # Errors
    /// If it cannot be started or says nothing.
    pub(crate) fn salve(&self, arguments: &[&str]) -> Result<String> {
        let output = Command::new(&self.programs.salve)
            .args(arguments)
            .arg("--config")
            .arg(self.place.salve_toml())
            .stdin(Stdio::null())
            .output()
            .with_context(|| format!("cannot run `salve {}`", arguments.join(" ")))?;
        let answer = String::from_utf8_lossy(&output.stdout).into_owned();
        if answer.trim().is_empty() {
            bail!("`salve {}` says: {}", arguments.join(" "), String::from_utf8_lossy(&output.stderr).trim());
        }
        Ok(answer)
    }

    /// Stops everything.
    fn stop(&mut self) {
        end(&mut self.load, Duration::from_secs(3));
        end(&mut self.daemon, STOP_WITHIN);
        for child in &mut self.by_hand {
            end(child, Duration::from_secs(2));
        }
        // Those that the daemon left behind, for instance because it died. It is the same process or none.
        for victim in self.known.values() {
            victim.signal(Signal::KILL);
            victim.signal(Signal::CONT);
        }
        for line in self.leftovers() {
            if let Ok(victim) = Victim::open(line) {
                victim.signal(Signal::KILL);
            }
        }
    }

    /// Processes that name a configuration file of this run: nobody else does.
    fn leftovers(&self) -> Vec<u32> {
        let configs: Vec<Vec<u8>> = Service::ALL
            .iter()
            .map(|service| self.place.config_path(*service).into_os_string().into_encoded_bytes())
            .collect();
        let Ok(processes) = std::fs::read_dir("/proc") else { return Vec::new() };
        processes
            .filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok())
            .filter(|pid: &u32| {
                let arguments = std::fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
                arguments
                    .split(|byte| *byte == 0)
                    .any(|argument| configs.iter().any(|config| config == argument))
            })
            .collect()
    }
}

impl Drop for Shop {
    fn drop(&mut self) {
        self.stop();
    }
}

/// Starts a program in a process group of its own, so that Ctrl-C reaches the demo only, which then stops the others in
/// order.
fn spawn(mut command: Command, log: &Path) -> Result<Child> {
    let log = File::options()
        .create(true)
        .append(true)
        .open(log)
        .with_context(|| format!("cannot write `{}`", log.display()))?;
    let program = command.get_program().to_string_lossy().into_owned();
    command
        .stdin(Stdio::null())
        .stdout(log.try_clone()?)
        .stderr(log)
        .process_group(0)
        .spawn()
        .with_context(|| format!("cannot start `{program}`"))
}

/// SIGTERM, then SIGKILL.
fn end(child: &mut Child, within: Duration) {
    if let Ok(victim) = Victim::open(child.id()) {
        victim.signal(Signal::TERM);
        victim.signal(Signal::CONT);
        let deadline = Instant::now() + within;
        while victim.is_alive() && Instant::now() < deadline {
            std::thread::sleep(Duration::from_millis(10));
        }
    }
    // Nothing to be done about a process that even this does not end.
    let _killed = child.kill();
    let _reaped = child.wait();
}
