//! A real OCI registry on loopback: Debian's `docker-registry`, which `cargo xtask setup` puts in its place.

use crate::daemon::WATCHDOG;
use anyhow::{Context, Result, bail, ensure};
use std::{
    fs::File,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::Instant,
};
use tempfile::TempDir;

/// User name and password that the registry knows, if it asks.
pub const USER: (&str, &str) = ("publisher", "test-only password");
/// The same as `htpasswd -B` writes it.
const HTPASSWD: &str = "publisher:$2b$04$qgmA9JhErKfVojPaK/Ep.OABFxzfekHI/idU3QgVisVSROIQLtn5y\n";

/// A registry that runs until it is dropped.
pub struct Registry {
    folder: TempDir,
    child: Child,
    port: u16,
}

impl Registry {
    /// Starts one, and waits until it answers. `asks` for [`USER`], or lets everybody in.
    ///
    /// # Errors
    /// If it is not installed or does not start.
    pub async fn start(asks: bool) -> Result<Self> {
        let program = crate::target().join("tools/docker-registry");
        ensure!(
            program.is_file(),
            "`{}` is missing\n\nhint: run `cargo xtask setup` first; `cargo xtask test` does it",
            program.display()
        );
        // Between the look for a free port and its use another program may take it.
        for _ in 0..5 {
            let folder = tempfile::Builder::new().prefix("salve-registry-").tempdir()?;
            let [port] = salve_ports::free()?;
            let config = configure(folder.path(), port, asks)?;
            let log = File::create(folder.path().join("log"))?;
            let child = Command::new(&program)
                .arg("serve")
                .arg(config)
                .env_clear()
                .stdin(Stdio::null())
                .stdout(log.try_clone()?)
                .stderr(log)
                .spawn()
                .context("cannot start docker-registry")?;
            let mut registry = Self { folder, child, port };
            if registry.answers().await? {
                return Ok(registry);
            }
        }
        bail!("docker-registry does not start")
    }

    async fn answers(&mut self) -> Result<bool> {
        let client = crate::world::client();
        let begun = Instant::now();
        while begun.elapsed() < WATCHDOG {
            if self.child.try_wait()?.is_some() {
                eprintln!("{}", std::fs::read_to_string(self.folder.path().join("log")).unwrap_or_default());
                return Ok(false);
            }
            if client.get(format!("http://{}/v2/", self.host())).send().await.is_ok() {
                return Ok(true);
            }
            tokio::time::sleep(std::time::Duration::from_millis(20)).await;
        }
        Ok(false)
    }

    /// Host and port.
    #[must_use]
    pub fn host(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    /// Where it stores the content with this digest (`sha256:…`).
    #[must_use]
    pub fn stored(&self, digest: &str) -> PathBuf {
        let hex = digest.trim_start_matches("sha256:");
        let start = hex.get(..2).unwrap_or_default();
        self.folder.path().join("data/docker/registry/v2/blobs/sha256").join(start).join(hex).join("data")
    }

    /// Stops it; its port answers no more.
    ///
    /// # Errors
    /// If it cannot be stopped.
    pub fn stop(&mut self) -> Result<()> {
        self.child.kill()?;
        self.child.wait()?;
        Ok(())
    }
}

impl Drop for Registry {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

fn configure(folder: &Path, port: u16, asks: bool) -> Result<PathBuf> {
    let htpasswd = folder.join("htpasswd");
    std::fs::write(&htpasswd, HTPASSWD)?;
    let mut config = format!(
        "version: 0.1\nstorage:\n  filesystem:\n    rootdirectory: {}\nhttp:\n  addr: 127.0.0.1:{port}\n",
        folder.join("data").display()
    );
    if asks {
        config.push_str(&format!("auth:\n  htpasswd:\n    realm: test\n    path: {}\n", htpasswd.display()));
    }
    let path = folder.join("config.yml");
    std::fs::write(&path, config)?;
    Ok(path)
}
