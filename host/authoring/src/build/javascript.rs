//! JavaScript and TypeScript: one module of all by esbuild, then a QuickJS component around it.
//!
//! The project's own `node_modules` are looked at first, for the tools and for the SDK; then Salve's cache, into which the tools
//! are installed on first use and where a copy of the SDK of this version of Salve stands.

use super::{
    BuildError, native, pins, sdk,
    tool::{self, write_wit},
};
use crate::{Progress, Project};
use salve_plugins::{OWN_WORLD, Role, wit_files};
use std::{
    ffi::OsString,
    fs,
    path::{Path, PathBuf},
    process::Command,
};

const LANGUAGE: &str = "JavaScript";
/// The SDK's package.
const SDK: &str = "salve-plugin";
/// Entry modules that are looked for if `package.json` has no `main`.
const ENTRIES: [&str; 4] = ["src/plugin.ts", "src/plugin.js", "plugin.ts", "plugin.js"];

/// The component, without its manifest.
pub(super) fn component(project: &Project, progress: &mut dyn Progress) -> Result<Vec<u8>, BuildError> {
    let entry = entry(project)?;
    if !tool::is_there(Path::new("node")) {
        return Err(node_missing("`node`"));
    }
    let mut cache = None;
    let esbuild = find_tool(project, "esbuild", &mut cache, progress)?;
    let componentize = find_tool(project, "componentize-qjs", &mut cache, progress)?;

    let tools = Tools { esbuild, componentize };
    // Plans name bodies by digest.
    if project.manifest.role == Role::Action {
        let out = tools.made(project, &entry, true, progress)?;
        if let Some(component) = tool::joined(&out, &project.manifest, progress)? {
            return Ok(component);
        }
    }
    let out = tools.made(project, &entry, false, progress)?;
    tool::component(&out, &project.manifest, progress)
}

/// Programs.
struct Tools {
    esbuild: PathBuf,
    componentize: PathBuf,
}

impl Tools {
    /// What the tools make of a project. `native`: it calls code that the build puts in when it joins its core modules.
    fn made(
        &self,
        project: &Project,
        entry: &str,
        native: bool,
        progress: &mut dyn Progress,
    ) -> Result<PathBuf, BuildError> {
        let folder = project.build_folder().join("javascript");
        let wit = folder.join("wit");
        tool::remove(&wit.join(native::FILE))?;
        write_wit(&wit, &if native { native::wit(&project.manifest) } else { wit_files(&project.manifest) })?;
        let main = folder.join("entry.js");
        tool::write(&folder.join("host.js"), &host_module(project, native))?;
        tool::write(&main, &entry_module(project, entry))?;

        let bundle = folder.join("bundle.js");
        let mut bundler = Command::new(&self.esbuild);
        bundler
            .current_dir(&project.folder)
            .arg(&main)
            .args(["--bundle", "--format=esm", "--platform=neutral", "--target=es2023", "--charset=utf8"])
            .args(["--main-fields=module,main", "--external:salve:*", "--log-level=warning"])
            .arg(joined("--outfile=", &bundle));
        if find_package(&project.folder, SDK).is_none() {
            bundler.env("NODE_PATH", sdk::place(&sdk::JAVASCRIPT)?);
        }
        tool::run(&mut bundler, "make one module of all", progress, || node_missing("`esbuild`"))?;

        let out = folder.join("component.wasm");
        tool::remove(&out)?;
        let mut componentizer = Command::new("node");
        componentizer
            .current_dir(&folder)
            .arg(&self.componentize)
            .arg("--wit")
            .arg(&wit)
            .arg("--js")
            .arg(&bundle)
            .args(["--world", OWN_WORLD, "--sync", "--stub-wasi", "--output"])
            .arg(&out);
        tool::run(&mut componentizer, "make a component of it", progress, || node_missing("`node`"))?;
        Ok(out)
    }
}

fn joined(option: &str, path: &Path) -> OsString {
    let mut word = OsString::from(option);
    word.push(path);
    word
}

/// The author's module, relative to the project.
fn entry(project: &Project) -> Result<String, BuildError> {
    let path = project.folder.join("package.json");
    let text = tool::read_text(&path)?;
    let package: serde_json::Value = serde_json::from_str(&text).map_err(|error| BuildError::File {
        step: "parse",
        path: path.clone(),
        source: std::io::Error::other(error),
    })?;
    let main = package.get("main").and_then(serde_json::Value::as_str).map(str::to_owned);
    let found = match main {
        Some(main) => Some(main).filter(|main| project.folder.join(main).is_file()),
        None => {
            ENTRIES.iter().find(|entry| project.folder.join(entry).is_file()).map(|&entry| entry.to_owned())
        }
    };
    found.ok_or_else(|| BuildError::File {
        step: "find the module that `main` names in",
        path,
        source: std::io::Error::new(
            std::io::ErrorKind::NotFound,
            format!("write `\"main\": \"src/plugin.js\"`; without it, {} are looked for", ENTRIES.join(", ")),
        ),
    })
}

/// Connects the interfaces of the plugin's world. A module of its own, so that it runs before the author's.
fn host_module(project: &Project, native: bool) -> String {
    let base: &[&str] = match project.manifest.role {
        Role::Detector => &["log"],
        Role::Agent | Role::Action => &["log", "clock", "telemetry"],
    };
    let capabilities = project.manifest.capabilities.iter().map(|request| request.capability.as_str());
    let native = native.then_some(native::NAME);
    let names: Vec<&str> = base.iter().copied().chain(capabilities).chain(native).collect();
    let mut text = format!("import {{ begin }} from \"{SDK}/runtime\";\n");
    for name in &names {
        let contract = &project.manifest.contract;
        text.push_str(&format!("import * as {name} from \"salve:plugin/{name}@{contract}\";\n"));
    }
    text.push_str(&format!("begin({{ {} }});\n", names.join(", ")));
    text
}

/// Exports what the author's module exports by default.
fn entry_module(project: &Project, entry: &str) -> String {
    let interface = match project.manifest.role {
        Role::Detector => "detect",
        Role::Agent => "consult",
        Role::Action => "act",
    };
    let module = serde_json::Value::from(project.folder.join(entry).to_string_lossy());
    format!(
        "import \"./host.js\";\nimport plugin from {module};\nimport {{ exported }} from \"{SDK}/runtime\";\n\
         export const {interface} = exported(plugin, \"{}\", \"{interface}\");\n",
        project.manifest.role
    )
}

/// A package in `node_modules` of the folder or of one above it, as Node looks.
fn find_package(folder: &Path, name: &str) -> Option<PathBuf> {
    folder
        .ancestors()
        .map(|folder| folder.join("node_modules").join(name))
        .find(|package| package.join("package.json").is_file())
}

/// The program of a package: the project's own, else that of the cache.
fn find_tool(
    project: &Project,
    name: &str,
    cache: &mut Option<PathBuf>,
    progress: &mut dyn Progress,
) -> Result<PathBuf, BuildError> {
    let program = Path::new("bin").join(name);
    if let Some(package) = find_package(&project.folder, name) {
        return Ok(package.join(program));
    }
    let folder = match cache {
        Some(folder) => folder.clone(),
        None => cache.insert(install(progress)?).clone(),
    };
    Ok(folder.join("node_modules").join(name).join(program))
}

/// The tools in the cache.
fn install(progress: &mut dyn Progress) -> Result<PathBuf, BuildError> {
    let tools = pins::JAVASCRIPT;
    let list = tools.packages.join(" and ");
    let step = format!("install {list} from npm, once");
    tools.install(tool::file_error, |folder| {
        // npm wants a package to install into, or it looks for one above.
        tool::write(&folder.join("package.json"), "{\"private\":true}\n")?;
        tool::run(&mut tools.npm(folder), &step, progress, || node_missing("`npm`"))
            .map(drop)
            .map_err(|error| tool::not_installed(error, &list, LANGUAGE, &format!("npm install --save-dev {}", tools.packages.join(" "))))?;
        // npm succeeds without the native part on a machine that it is not made for.
        let native = fs::read_dir(folder.join("node_modules/@andreiltd")).is_ok_and(|mut items| items.next().is_some());
        if native {
            return Ok(());
        }
        Err(BuildError::ToolMissing {
            tool: list.clone(),
            language: LANGUAGE,
            install: "npm has no `componentize-qjs` for this kind of machine; build on Linux, macOS or Windows on x86-64 or \
                      ARM64."
                .into(),
        })
    })
}

fn node_missing(tool: &str) -> BuildError {
    BuildError::ToolMissing {
        tool: tool.into(),
        language: LANGUAGE,
        install: "Install Node.js 20 or newer with npm: `apt-get install nodejs npm`, `brew install node`, or from nodejs.org."
            .into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Silent;

    fn project(package: &str, manifest: &str) -> (tempfile::TempDir, Project) {
        let folder = tempfile::tempdir().unwrap();
        let head = "name = 'probe'\nversion = '0.1.0'\nsummary = 'Probes.'\n";
        fs::write(folder.path().join("plugin.toml"), format!("{head}{manifest}")).unwrap();
        fs::write(folder.path().join("package.json"), package).unwrap();
        let project = Project::open(folder.path()).unwrap();
        (folder, project)
    }

    /// Guarantees: a component imports its role's interfaces and the capabilities that its manifest names, and no others.
    #[test]
    fn modules_follow_the_manifest() {
        let (_folder, action) =
            project("{}", "role = 'action'\ncapabilities = [{ capability = 'http', verbs = ['send'] }]");
        insta::assert_snapshot!(host_module(&action, true), @r#"
        import { begin } from "salve-plugin/runtime";
        import * as log from "salve:plugin/log@0.1.0";
        import * as clock from "salve:plugin/clock@0.1.0";
        import * as telemetry from "salve:plugin/telemetry@0.1.0";
        import * as http from "salve:plugin/http@0.1.0";
        import * as native from "salve:plugin/native@0.1.0";
        begin({ log, clock, telemetry, http, native });
        "#);
        let (_folder, detector) = project("{}", "role = 'detector'");
        assert!(host_module(&detector, false).ends_with("begin({ log });\n"));
        assert!(
            entry_module(&detector, "x.js")
                .contains("export const detect = exported(plugin, \"detector\", \"detect\")")
        );
        for (name, text) in wit_files(&action.manifest) {
            assert!(name != "own.wit" || text.contains("import http;"));
        }
    }

    /// Guarantees: a project without a module is told which file to name, before any tool is looked for.
    #[test]
    fn a_missing_module_is_named() {
        for package in ["{}", r#"{"main":"absent.js"}"#] {
            let (_folder, project) = project(package, "role = 'action'");
            let error = component(&project, &mut Silent).unwrap_err();
            assert!(error.to_string().starts_with("cannot find the module that `main` names in"), "{error}");
        }
        let (folder, project) = project("{}", "role = 'action'");
        fs::write(folder.path().join("plugin.ts"), "").unwrap();
        assert_eq!(entry(&project).unwrap(), "plugin.ts");
    }
}
