//! A publisher with a folder and a key, and an operator with a configuration.

use anyhow::{Context, Result, ensure};
use salve_tests::daemon::Daemon;
use serde_json::Value;
use std::{
    ffi::OsStr,
    io::Write,
    path::{Path, PathBuf},
    process::{Command, Output, Stdio},
};
use tempfile::TempDir;

/// One who makes plugins, on a machine without a configuration.
pub(crate) struct Author {
    folder: TempDir,
}

impl Author {
    /// With a new key pair, `key.key` and `key.pub`.
    pub(crate) fn new() -> Result<Self> {
        let author = Self { folder: tempfile::Builder::new().prefix("salve-author-").tempdir()? };
        let keygen = author.salve(&["plugin", "keygen", "--unencrypted", "--out"], &author.path("key"))?;
        ensure!(keygen.status.success(), "{}", text(&keygen));
        Ok(author)
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// A new component that the host admits.
    pub(crate) fn component(&self, name: &str, version: &str, role: &str) -> Result<PathBuf> {
        let path = self.path(&format!("{name}-{version}-{role}.wasm"));
        std::fs::write(&path, component(name, version, role)?)?;
        Ok(path)
    }

    /// A new component, signed.
    pub(crate) fn signed(&self, name: &str, version: &str, role: &str) -> Result<PathBuf> {
        let path = self.component(name, version, role)?;
        self.sign(&path)?;
        Ok(path)
    }

    pub(crate) fn sign(&self, component: &Path) -> Result<()> {
        let signed = command(&[
            OsStr::new("plugin"),
            "sign".as_ref(),
            component.as_ref(),
            "--key".as_ref(),
            self.path("key.key").as_ref(),
        ])
        .output()?;
        ensure!(signed.status.success(), "{}", text(&signed));
        Ok(())
    }

    pub(crate) fn salve(&self, arguments: &[&str], path: &Path) -> Result<Output> {
        Ok(command(arguments).arg(path).output()?)
    }

    /// Pushes over plain HTTP, and gives back what it says in JSON.
    pub(crate) fn push(&self, component: &Path, reference: &str) -> Result<Value> {
        let output =
            command(&["plugin", "push", "--plain-http", "--json"]).arg(component).arg(reference).output()?;
        ensure!(output.status.success(), "{}", text(&output));
        Ok(serde_json::from_slice(&output.stdout)?)
    }

    /// As an operator's configuration names them.
    pub(crate) fn publisher(&self, name: &str) -> String {
        format!("[[publisher]]\nname = \"{name}\"\nkey = \"{}\"\n", self.path("key.pub").display())
    }
}

/// A component from text, packed as an author does it: what it does does not matter here.
pub(crate) fn component(name: &str, version: &str, role: &str) -> Result<Vec<u8>> {
    let guest = if role == "agent" { "agent-nonsense.wat" } else { "action-sleep.wat" };
    let folder = tempfile::tempdir()?;
    let (module, manifest, out) = (
        folder.path().join("module.wasm"),
        folder.path().join("plugin.toml"),
        folder.path().join("out.wasm"),
    );
    std::fs::write(&module, wat::parse_file(salve_tests::root().join("tests/guests").join(guest))?)?;
    let described =
        format!("name = '{name}'\nversion = '{version}'\nrole = '{role}'\nsummary = 'For tests.'\n");
    std::fs::write(&manifest, described)?;
    let packed = command(&["plugin", "pack", "--manifest"])
        .arg(manifest)
        .arg("--out")
        .arg(&out)
        .arg(module)
        .output()?;
    ensure!(packed.status.success(), "{}", text(&packed));
    Ok(std::fs::read(out)?)
}

/// SHA-256 of a component, as `salve plugin inspect` says it.
pub(crate) fn digest(component: &[u8]) -> Result<String> {
    let file = tempfile::NamedTempFile::new()?;
    std::fs::write(file.path(), component)?;
    let output = command(&["plugin", "inspect"]).arg(file.path()).output()?;
    let said: Value = serde_json::from_slice(&output.stdout).with_context(|| text(&output))?;
    Ok(format!("sha256:{}", said["digest"].as_str().context("no digest")?))
}

/// `salve` as on a machine on which nobody has logged in anywhere.
pub(crate) fn command<S: AsRef<OsStr>>(arguments: &[S]) -> Command {
    let mut command = Command::new(salve_tests::salve());
    command.args(arguments).env("HOME", "/nonexistent").stdin(Stdio::null());
    for name in [
        "DOCKER_CONFIG",
        "SALVE_CONFIG",
        "SALVE_KEY_PASSWORD",
        "SALVE_REGISTRY_USERNAME",
        "SALVE_REGISTRY_PASSWORD",
    ] {
        command.env_remove(name);
    }
    command
}

/// Runs a command with something on its standard input.
pub(crate) fn with_input(mut command: Command, input: &str) -> Result<Output> {
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn()?;
    child.stdin.take().context("no standard input")?.write_all(input.as_bytes())?;
    Ok(child.wait_with_output()?)
}

/// What a command said, on both channels.
pub(crate) fn text(output: &Output) -> String {
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}

const CONFIG: &str = r#"
[otlp]
grpc_address = "127.0.0.1:0"
http_address = "127.0.0.1:0"
[health]
address = "127.0.0.1:0"
[plugins]
cache_directory = "CACHE"
"#;

/// An operator who trusts these publishers: a folder with a configuration, an empty plugin folder, no lock file.
pub(crate) fn operator(publishers: &str) -> Result<Daemon> {
    let daemon = Daemon::prepare("", "fn decide(incident, findings, catalogue, history) { [] }\n", &[])?;
    std::fs::remove_file(daemon.path("plugins/salve-plugins.lock"))?;
    trust(&daemon, publishers)?;
    Ok(daemon)
}

/// Writes the configuration anew.
pub(crate) fn trust(daemon: &Daemon, publishers: &str) -> Result<()> {
    daemon.configure(&format!("{CONFIG}{publishers}"))
}

/// Pulls into the operator's folder.
pub(crate) fn pull(daemon: &Daemon, arguments: &[&str]) -> Result<Output> {
    let all = ["plugin", "pull", "--plain-http", "--json"].iter().chain(arguments);
    Ok(command(&all.collect::<Vec<_>>()).env("SALVE_CONFIG", daemon.path("salve.toml")).output()?)
}

/// Names of all files in the operator's plugin folder.
pub(crate) fn files(daemon: &Daemon) -> Result<Vec<String>> {
    let mut names = Vec::new();
    for item in std::fs::read_dir(daemon.path("plugins"))? {
        names.push(item?.file_name().to_string_lossy().into_owned());
    }
    names.sort();
    Ok(names)
}

/// Asserts that a command failed, said each of these, and had a hint.
pub(crate) fn refused(output: &Output, parts: &[&str]) -> Result<()> {
    let said = text(output);
    ensure!(!output.status.success(), "it should have failed: {said}");
    for part in parts {
        ensure!(said.contains(part), "`{part}` is not in: {said}");
    }
    ensure!(said.contains("hint: "), "there is no hint in: {said}");
    Ok(())
}
