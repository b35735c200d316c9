//! The registry that tests push to: Debian's `docker-registry`, the reference server of the CNCF distribution project.
//!
//! One that is on the PATH is used as it is. Else the package is downloaded and unpacked in the cache folder, without
//! root; nothing of the system changes. What tests start is `target/tools/docker-registry`.

use crate::{dist, process, toolchain, workspace::Workspace};
use anyhow::{Context, Result, ensure};
use std::{
    env, fs,
    path::{Path, PathBuf},
    process::Command,
};

const PACKAGE: &str = "docker-registry";

/// Puts the registry where tests find it.
pub(crate) fn install(workspace: &Workspace) -> Result<()> {
    let tools = workspace.target.join("tools");
    let program = tools.join(PACKAGE);
    if works(&program) {
        return Ok(());
    }
    let found = match on_path() {
        Some(found) => found,
        None => fetch(&toolchain::cache(workspace)?.join(PACKAGE)).with_context(|| {
            format!(
                "tests of `salve plugin push` and `pull` need the program `{PACKAGE}`; on Debian and Ubuntu it is fetched by \
                 apt, elsewhere put it (version 2.8) on the PATH"
            )
        })?,
    };
    dist::create(&tools)?;
    dist::copy(&found, &program)?;
    ensure!(works(&program), "`{}` does not run on this system", program.display());
    Ok(())
}

fn works(program: &Path) -> bool {
    program.is_file() && process::output(Command::new(program).arg("--version")).is_ok()
}

fn on_path() -> Option<PathBuf> {
    env::split_paths(&env::var_os("PATH")?).map(|folder| folder.join(PACKAGE)).find(|program| works(program))
}

/// Downloads and unpacks the package into `folder`; gives back the program.
fn fetch(folder: &Path) -> Result<PathBuf> {
    let program = folder.join("usr/bin").join(PACKAGE);
    if works(&program) {
        return Ok(program);
    }
    eprintln!(
        "downloading {PACKAGE} from Debian into {} (5 MB), to test against a real registry",
        folder.display()
    );
    let downloads = folder.join("downloads");
    if downloads.exists() {
        fs::remove_dir_all(&downloads).with_context(|| format!("cannot remove `{}`", downloads.display()))?;
    }
    dist::create(&downloads)?;
    let mut options = own_lists(folder)?;
    options.push("-oAPT::Sandbox::User=root".into());
    let download = || {
        process::run(
            Command::new("apt-get").args(&options).args(["-q", "download", PACKAGE]).current_dir(&downloads),
        )
    };
    download()?;
    let listing = || format!("cannot read `{}`", downloads.display());
    for file in fs::read_dir(&downloads).with_context(listing)? {
        let file = file.with_context(listing)?.path();
        process::run(Command::new("dpkg-deb").arg("-x").arg(&file).arg(folder))?;
    }
    fs::remove_dir_all(&downloads).with_context(|| format!("cannot remove `{}`", downloads.display()))?;
    Ok(program)
}

/// Options that make apt use package lists of our own, if the system's do not know the package. Needs no root.
fn own_lists(folder: &Path) -> Result<Vec<String>> {
    let known = process::output(Command::new("apt-cache").args(["policy", PACKAGE]).env("LC_ALL", "C"))?;
    if known.lines().any(|line| line.trim().starts_with("Candidate:") && !line.contains("(none)")) {
        return Ok(Vec::new());
    }
    let lists = folder.join("apt");
    for below in ["lists/partial", "cache/archives/partial"] {
        dist::create(&lists.join(below))?;
    }
    let option = |name: &str, below: &str| format!("-o{name}={}", lists.join(below).display());
    let options = vec![option("Dir::State::Lists", "lists"), option("Dir::Cache", "cache")];
    process::run(Command::new("apt-get").args(&options).args(["-q", "-oAPT::Sandbox::User=root", "update"]))?;
    Ok(options)
}
