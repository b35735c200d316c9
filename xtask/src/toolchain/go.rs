//! Go, which compiles plugins in Go to WebAssembly, and HAProxy, which the example in Go is tested against.
//!
//! In this order: the `go` in PATH, if it is new enough; the Go toolchain as a module from Go's module proxy, which checks it
//! against the checksum database, fetched by an older `go` (that in PATH, else Debian's package, which may itself be new
//! enough). What is not in PATH is put into `target/tools/bin`, and `cargo xtask test` puts that first.

use super::{
    cache,
    packages::{self, Wanted},
};
use crate::{process, workspace::Workspace};
use anyhow::{Context, Result, bail, ensure};
use std::{
    env,
    ffi::OsString,
    fs,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    process::Command,
};

/// The oldest that can export functions from WebAssembly: major, minor.
const OLDEST: (u32, u32) = (1, 24);
/// What is fetched if there is none.
const FETCHED: &str = "go1.26.8";

/// Finds or installs both, and says which Go it is.
pub(crate) fn install(workspace: &Workspace) -> Result<String> {
    let tools = tools(workspace);
    let go = match program(&tools, "go").filter(|go| version(go).is_some_and(|found| found >= OLDEST)) {
        Some(go) => go,
        None => {
            let found = fetch(workspace).with_context(|| {
                let (major, minor) = OLDEST;
                format!("plugins in Go need Go {major}.{minor} or newer; install it from go.dev/dl and put `go` into PATH")
            })?;
            link(&found, &tools.join("go"))?
        }
    };
    if program(&tools, "haproxy").is_none() {
        haproxy(workspace, &tools).context(
            "tests of examples/action-go need HAProxy; install the package `haproxy` of your system",
        )?;
    }
    let (major, minor) = version(&go).unwrap_or_default();
    Ok(format!("Go {major}.{minor}"))
}

/// PATH with what was installed first.
pub(crate) fn path(workspace: &Workspace) -> Result<OsString> {
    let there = env::var_os("PATH").unwrap_or_default();
    let folders = std::iter::once(tools(workspace)).chain(env::split_paths(&there));
    env::join_paths(folders).context("the target folder's name cannot stand in PATH")
}

fn tools(workspace: &Workspace) -> PathBuf {
    workspace.target.join("tools/bin")
}

/// A program of ours, in PATH, or where Debian puts those of administrators.
fn program(tools: &Path, name: &str) -> Option<PathBuf> {
    let there = env::var_os("PATH").unwrap_or_default();
    let folders = std::iter::once(tools.to_owned())
        .chain(env::split_paths(&there))
        .chain(["/usr/sbin".into(), "/usr/local/go/bin".into()]);
    let found = folders.map(|folder| folder.join(name)).find(|file| file.is_file())?;
    // One that only we found is found by tests through our folder.
    if env::split_paths(&there).any(|folder| found.parent() == Some(&folder)) || found.starts_with(tools) {
        return Some(found);
    }
    link(&found, &tools.join(name)).ok()
}

/// Makes a program known under another name.
fn link(program: &Path, name: &Path) -> Result<PathBuf> {
    let linking = || format!("cannot link `{}` to `{}`", name.display(), program.display());
    let folder = name.parent().unwrap_or(name);
    fs::create_dir_all(folder).with_context(linking)?;
    if name.symlink_metadata().is_ok() {
        fs::remove_file(name).with_context(linking)?;
    }
    std::os::unix::fs::symlink(program, name).with_context(linking)?;
    Ok(name.to_owned())
}

/// `go`, without switching to another Go by itself.
fn go(program: &Path) -> Command {
    let mut command = Command::new(program);
    // Versions before 1.21 do not know the variable.
    command.env("GOTOOLCHAIN", "local").current_dir(env::temp_dir());
    command
}

/// Major and minor; none if it does not run.
fn version(program: &Path) -> Option<(u32, u32)> {
    parse(&process::output(go(program).args(["env", "GOVERSION"])).ok()?)
}

/// Of `go1.26.8`.
fn parse(said: &str) -> Option<(u32, u32)> {
    let (major, rest) = said.trim().strip_prefix("go")?.split_once('.')?;
    let minor: String = rest.chars().take_while(char::is_ascii_digit).collect();
    Some((major.parse().ok()?, minor.parse().ok()?))
}

/// A Go that is new enough, from elsewhere.
fn fetch(workspace: &Workspace) -> Result<PathBuf> {
    let cache = cache(workspace)?;
    let older = match program(&tools(workspace), "go").filter(|go| version(go).is_some()) {
        Some(older) => older,
        None => debian(&cache)?,
    };
    if version(&older).is_some_and(|found| found >= OLDEST) {
        return Ok(older);
    }
    let system = match (env::consts::OS, env::consts::ARCH) {
        ("linux", "x86_64") => "linux-amd64",
        ("linux", "aarch64") => "linux-arm64",
        (system, machine) => bail!("no Go is known here for {system} on {machine}"),
    };
    let module = format!("golang.org/toolchain@v0.0.1-{FETCHED}.{system}");
    eprintln!("downloading {module} from Go's module proxy (about 70 MB), to compile plugins in Go");
    let modules = cache.join("go-modules");
    let said = process::output(
        go(&older)
            .args(["mod", "download", "-json", &module])
            .env("GOMODCACHE", &modules)
            .env("GOFLAGS", "-modcacherw"),
    )?;
    let said: serde_json::Value =
        serde_json::from_str(&said).context("cannot read what `go mod download` says")?;
    let root = PathBuf::from(
        said["Dir"].as_str().context("`go mod download` does not say where it put the module")?,
    );
    // Modules are unpacked without permission to run anything.
    for folder in ["bin".into(), format!("pkg/tool/{}", system.replace('-', "_"))] {
        let folder = root.join(folder);
        let Ok(files) = fs::read_dir(&folder) else { continue };
        for file in files.flatten() {
            fs::set_permissions(file.path(), fs::Permissions::from_mode(0o755))
                .with_context(|| format!("cannot make `{}` a program", file.path().display()))?;
        }
    }
    let found = root.join("bin/go");
    ensure!(
        version(&found).is_some_and(|found| found >= OLDEST),
        "`{}` does not run on this system",
        found.display()
    );
    Ok(found)
}

/// Debian's Go, unpacked.
fn debian(cache: &Path) -> Result<PathBuf> {
    let wanted = Wanted {
        names: &["golang-go"],
        part: |name| name.starts_with("golang-"),
        why: "to compile plugins in Go, or to get a newer Go",
    };
    let root = packages::unpack(&wanted, cache)?;
    let folder = root.join("usr/lib");
    let found = fs::read_dir(&folder)
        .with_context(|| format!("cannot read `{}`", folder.display()))?
        .flatten()
        .map(|item| item.path().join("bin/go"))
        // The package golang-go has a link that leads out of the folder; the versioned one is the program.
        .find(|file| file.is_file() && !file.parent().and_then(Path::parent).is_some_and(Path::is_symlink));
    found.with_context(|| format!("`{}` has no Go", folder.display()))
}

/// Debian's HAProxy with its libraries, unpacked, and a script that starts it.
fn haproxy(workspace: &Workspace, tools: &Path) -> Result<()> {
    let wanted =
        Wanted { names: &["haproxy"], part: is_library, why: "to test against a real load balancer" };
    let root = packages::unpack(&wanted, &cache(workspace)?)?;
    let script = tools.join("haproxy");
    let writing = || format!("cannot write `{}`", script.display());
    let library = |machine: &str| root.join("usr/lib").join(machine).display().to_string();
    let libraries = [library("x86_64-linux-gnu"), library("aarch64-linux-gnu")].join(":");
    let text = format!(
        "#!/bin/sh\nLD_LIBRARY_PATH='{libraries}' exec '{}' \"$@\"\n",
        root.join("usr/sbin/haproxy").display()
    );
    fs::create_dir_all(tools).with_context(writing)?;
    fs::write(&script, text).with_context(writing)?;
    fs::set_permissions(&script, fs::Permissions::from_mode(0o755)).with_context(writing)?;
    process::output(Command::new(&script).arg("-v")).map(drop).inspect_err(|_| {
        // What does not run is not kept: the next setup downloads it again.
        drop(fs::remove_file(&script));
        drop(fs::remove_dir_all(&root));
    })
}

/// Any library but the C library, which must be the one that fits the system's loader. Which ones HAProxy needs changes with
/// Debian's security updates.
fn is_library(package: &str) -> bool {
    package.starts_with("lib") && package != "libc6"
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Guarantees: all libraries of HAProxy are taken, and of the other packages that it names none.
    #[test]
    fn libraries() {
        assert!(is_library("libopentracing-c-wrapper0") && is_library("libcrypt1"));
        assert!(!is_library("libc6") && !is_library("adduser") && !is_library("lsb-base"));
    }

    /// Guarantees: what `go env GOVERSION` says is understood, and an old Go is not taken for a new one.
    #[test]
    fn versions() {
        assert_eq!(parse("go1.26.8\n"), Some((1, 26)));
        assert_eq!(parse("go1.24rc2"), Some((1, 24)));
        assert_eq!(parse("go1.9"), Some((1, 9)));
        assert_eq!(parse("devel"), None);
        assert!((1, 9) < OLDEST && parse(FETCHED).unwrap() >= OLDEST);
    }
}
