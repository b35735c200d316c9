//! Python: CPython for WebAssembly with the author's modules and the SDK in it, by componentize-py.
//!
//! The project's own virtual environment (`.venv`) is looked at first, for the tool and for packages; then Salve's cache, into
//! which the tool is installed on first use and where a copy of the SDK of this version of Salve stands.

use super::{
    BuildError, pins, sdk,
    tool::{self, write_wit},
};
use crate::{Progress, Project};
use salve_plugins::{OWN_WORLD, Role, wit_files};
use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

const LANGUAGE: &str = "Python";
/// The module that is built if `pyproject.toml` does not name one.
const MODULE: &str = "plugin";
/// The module that the component begins with; written by the build.
const ENTRY: &str = "salve_entry";

/// The component, without its manifest.
pub(super) fn component(project: &Project, progress: &mut dyn Progress) -> Result<Vec<u8>, BuildError> {
    let Source { module, paths: more } = source(project)?;
    let venv = site_packages(&project.folder.join(".venv"));
    let python = Path::new("python3");
    if !tool::is_there(python) {
        return Err(python_missing("`python3`"));
    }
    let componentize = match &venv {
        Some(packages) if packages.join("componentize_py").is_dir() => packages.clone(),
        _ => install(python, progress)?,
    };

    let folder = project.build_folder().join("python");
    let wit = folder.join("wit");
    write_wit(&wit, &wit_files(&project.manifest))?;
    let own = folder.join("entry");
    tool::write(&own.join(format!("{ENTRY}.py")), &entry_module(project.manifest.role, &module))?;
    // The tool would take what is installed on this machine; a component has what the project names and no more.
    let none = folder.join("no-packages");
    let empty = none.join("lib").join("python3").join("site-packages");
    fs::create_dir_all(&empty).map_err(|error| tool::file_error("create the folder", &empty, error))?;

    let out = folder.join("component.wasm");
    tool::remove(&out)?;
    let mut command = Command::new(python);
    command
        .current_dir(&folder)
        .args(["-c", "import sys, componentize_py; sys.exit(componentize_py.script())", "--quiet"])
        .arg("--wit-path")
        .arg(&wit)
        .args(["--world", OWN_WORLD, "componentize", ENTRY, "--stub-wasi", "--output"])
        .arg(&out)
        .env("PYTHONPATH", componentize)
        .env("VIRTUAL_ENV", none);
    let has_sdk = venv.as_ref().is_some_and(|packages| packages.join("salve_plugin").is_dir());
    let sdk = if has_sdk { None } else { Some(sdk::place(&sdk::PYTHON)?) };
    let source = project.folder.join("src");
    let source = source.is_dir().then_some(source);
    let paths =
        [Some(own), source, Some(project.folder.clone())].into_iter().chain(more.into_iter().map(Some));
    for path in paths.chain([venv, sdk]).flatten() {
        command.arg("--python-path").arg(path);
    }
    tool::run(&mut command, "make a component with CPython in it (10 to 30 seconds)", progress, || {
        python_missing("`python3`")
    })?;
    tool::component(&out, &project.manifest, progress)
}

/// What `[tool.salve]` of `pyproject.toml` says.
#[derive(Debug, PartialEq)]
struct Source {
    /// The author's module.
    module: String,
    /// Folders besides the project's own in which modules are found: `paths`, relative to the project.
    paths: Vec<PathBuf>,
}

fn source(project: &Project) -> Result<Source, BuildError> {
    let path = project.folder.join("pyproject.toml");
    let text = tool::read_text(&path)?;
    let wrong = |step, message: String| BuildError::File {
        step,
        path: path.clone(),
        source: std::io::Error::other(message),
    };
    let table: toml::Table = toml::from_str(&text).map_err(|error| wrong("parse", error.to_string()))?;
    let salve = table.get("tool").and_then(|tool| tool.get("salve"));
    let key = |name| salve.and_then(|salve| salve.get(name));
    let module = key("module").and_then(toml::Value::as_str).unwrap_or(MODULE).to_owned();
    let mut paths = Vec::new();
    for path in key("paths").and_then(toml::Value::as_array).into_iter().flatten() {
        let folder = project.folder.join(path.as_str().unwrap_or_default());
        if !path.is_str() || !folder.is_dir() {
            return Err(wrong("use `[tool.salve] paths` of", format!("there is no folder {path}")));
        }
        paths.push(folder);
    }
    let is_name = |part: &str| {
        part.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_')
            && part.chars().all(|c| c.is_ascii_alphanumeric() || c == '_')
    };
    if !module.split('.').all(is_name) {
        return Err(wrong("use `[tool.salve] module` of", format!("`{module}` is no name of a module")));
    }
    let file = module.replace('.', "/");
    let found = ["src", "."].iter().any(|folder| {
        let base = project.folder.join(folder);
        base.join(format!("{file}.py")).is_file() || base.join(&file).join("__init__.py").is_file()
    });
    if found {
        return Ok(Source { module, paths });
    }
    Err(wrong(
        "find the module of",
        format!(
            "there is no `{file}.py` here or in `src`; name another one: `[tool.salve]`, `module = \"…\"`"
        ),
    ))
}

/// Prepares the interpreter before the author's module is loaded, and exports what it registered.
fn entry_module(role: Role, module: &str) -> String {
    let class = match role {
        Role::Detector => "Detect",
        Role::Agent => "Consult",
        Role::Action => "Act",
    };
    format!(
        "from salve_plugin import _runtime\n\n_runtime.begin()\n\nimport {module} as _module\n\n\
         {class} = _runtime.exported(\"{role}\", _module)\n"
    )
}

/// The packages of a virtual environment.
fn site_packages(venv: &Path) -> Option<PathBuf> {
    let library = fs::read_dir(venv.join("lib")).ok()?;
    library.flatten().map(|version| version.path().join("site-packages")).find(|packages| packages.is_dir())
}

/// The tool in the cache.
fn install(python: &Path, progress: &mut dyn Progress) -> Result<PathBuf, BuildError> {
    let tools = pins::PYTHON;
    let list = tools.packages.join(" and ");
    let step = format!("install {list} from PyPI, once");
    tools.install(tool::file_error, |folder| {
        tool::run(&mut tools.pip(python, folder), &step, progress, || python_missing("`pip`"))
            .map(drop)
            .map_err(|error| match &error {
                BuildError::Tool { output, .. } if output.contains("No module named pip") => {
                    python_missing("`pip`")
                }
                _ => tool::not_installed(
                    error,
                    &list,
                    LANGUAGE,
                    &format!("python3 -m pip install {}", tools.packages.join(" ")),
                ),
            })
    })
}

fn python_missing(tool: &str) -> BuildError {
    BuildError::ToolMissing {
        tool: tool.into(),
        language: LANGUAGE,
        install: "Install Python 3.10 or newer with pip: `apt-get install python3 python3-pip`, `brew install python`, or from \
                  python.org."
            .into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Silent;

    fn project(pyproject: &str) -> (tempfile::TempDir, Project) {
        let folder = tempfile::tempdir().unwrap();
        let manifest = "name = 'probe'\nversion = '0.1.0'\nsummary = 'Probes.'\nrole = 'detector'\n";
        fs::write(folder.path().join("plugin.toml"), manifest).unwrap();
        fs::write(folder.path().join("pyproject.toml"), pyproject).unwrap();
        let project = Project::open(folder.path()).unwrap();
        (folder, project)
    }

    /// Guarantees: a module that is not there, or whose name is code, is refused before any tool is looked for.
    #[test]
    fn modules_are_checked() {
        for (pyproject, message) in [
            ("", "cannot find the module of"),
            ("[tool.salve]\nmodule = 'os; import sys'", "cannot use `[tool.salve] module` of"),
            ("[tool.salve]\nmodule = '../x'", "cannot use `[tool.salve] module` of"),
            ("[tool.salve]\npaths = ['absent']", "cannot use `[tool.salve] paths` of"),
            ("[tool", "cannot parse"),
        ] {
            let (_folder, project) = project(pyproject);
            let error = component(&project, &mut Silent).unwrap_err();
            assert!(error.to_string().starts_with(message), "{error}");
        }
        let (folder, project) = project("[tool.salve]\nmodule = 'own.plugin'\npaths = ['../']");
        fs::create_dir_all(folder.path().join("src/own")).unwrap();
        fs::write(folder.path().join("src/own/plugin.py"), "").unwrap();
        let found = source(&project).unwrap();
        assert_eq!((found.module.as_str(), found.paths.len()), ("own.plugin", 1));
        insta::assert_snapshot!(entry_module(Role::Action, "own.plugin"), @r#"
        from salve_plugin import _runtime

        _runtime.begin()

        import own.plugin as _module

        Act = _runtime.exported("action", _module)
        "#);
    }
}
