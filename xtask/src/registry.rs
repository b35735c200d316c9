//! The registry that tests push to: Debian's `docker-registry`, the reference server of the CNCF distribution project.
//!
//! One that is on the PATH is used as it is. Else the package is downloaded and unpacked in the cache folder, without
//! root; nothing of the system changes. What tests start is `target/tools/docker-registry`.

use crate::{
    dist, process,
    toolchain::{
        self,
        packages::{self, Wanted},
    },
    workspace::Workspace,
};
use anyhow::{Context, Result, ensure};
use std::{
    env,
    path::{Path, PathBuf},
    process::Command,
};

const PACKAGE: &str = "docker-registry";
const WANTED: Wanted = Wanted {
    names: &[PACKAGE],
    // It is one program.
    part: |_| false,
    why: "5 MB, to test against a real registry",
};

/// Puts the registry where tests find it.
pub(crate) fn install(workspace: &Workspace) -> Result<()> {
    let tools = workspace.target.join("tools");
    let program = tools.join(PACKAGE);
    if works(&program) {
        return Ok(());
    }
    let found = match on_path() {
        Some(found) => found,
        None => packages::unpack(&WANTED, &toolchain::cache(workspace)?)
            .map(|root| root.join("usr/bin").join(PACKAGE))
            .with_context(|| {
                format!(
                    "tests of `salve plugin push` and `pull` need the program `{PACKAGE}`; on Debian and Ubuntu it is \
                     fetched by apt, elsewhere put it (version 2.8) on the PATH"
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
