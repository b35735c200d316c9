//! New projects.
//!
//! ## What always holds
//! - a project is there whole or not at all: it is written beside its place and moved there
//! - nothing that exists is overwritten

use crate::{Language, files, templates};
use salve_plugins::{Manifest, ManifestError, Role};
use std::{
    fs, io,
    path::{Path, PathBuf},
};

/// Names that compile nowhere, or that the language's tools keep for themselves.
const RESERVED: &[&str] = &[
    "alloc",
    "async",
    "await",
    "build",
    "core",
    "crate",
    "deps",
    "dyn",
    "else",
    "enum",
    "examples",
    "false",
    "fn",
    "for",
    "go",
    "if",
    "impl",
    "import",
    "in",
    "incremental",
    "let",
    "loop",
    "match",
    "mod",
    "move",
    "mut",
    "package",
    "proc-macro",
    "pub",
    "ref",
    "return",
    "self",
    "static",
    "std",
    "struct",
    "super",
    "target",
    "test",
    "trait",
    "true",
    "type",
    "unsafe",
    "use",
    "where",
    "while",
    "yield",
];

/// Where a new project gets its SDK from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Sdk {
    /// The language's registry, in the version of this program.
    Registry,
    /// This folder.
    Folder(PathBuf),
}

/// What is to be made.
#[derive(Debug, Clone)]
pub struct Order {
    /// The plugin's name.
    pub name: String,
    /// What it is.
    pub role: Role,
    /// In which language.
    pub language: Language,
    /// Where; default: a folder of its name, here.
    pub folder: Option<PathBuf>,
    /// Where the SDK comes from: `registry`, a checkout of Salve, or the SDK's folder. Default: see [`checkout`], else the
    /// registry.
    pub sdk: Option<String>,
}

/// What was made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Scaffold {
    /// The project.
    pub folder: PathBuf,
    /// Its files, by path.
    pub files: Vec<String>,
    /// Where its SDK comes from.
    pub sdk: Sdk,
}

/// Why no project was made.
#[derive(Debug, thiserror::Error)]
pub enum ScaffoldError {
    /// The name cannot be a plugin's.
    #[error("cannot make the plugin `{name}`")]
    Name {
        /// As asked for.
        name: String,
        /// Which rule it breaks.
        #[source]
        source: ManifestError,
    },
    /// The name is a word of some language.
    #[error("cannot make the plugin `{name}`: the name is reserved by the tools of some language")]
    Reserved {
        /// As asked for.
        name: String,
    },
    /// There is something already.
    #[error("cannot make a project in `{}`: it is not empty", folder.display())]
    Taken {
        /// Where.
        folder: PathBuf,
    },
    /// No such template.
    #[error("cannot make a project in {language}: this version of Salve has no template for it", language = language.name())]
    NoTemplate {
        /// In which language.
        language: Language,
    },
    /// No SDK where it should be.
    #[error("cannot find the SDK for {language} in `{}`", folder.display(), language = language.name())]
    NoSdk {
        /// For which language.
        language: Language,
        /// Where it was looked for.
        folder: PathBuf,
    },
    /// The system says no.
    #[error("cannot {step} `{}`", path.display())]
    File {
        /// What was to be done.
        step: &'static str,
        /// Where.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
}

impl ScaffoldError {
    /// What the author can do about it.
    #[must_use]
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::Reserved { .. } => Some("Take a name of two words, for instance `restart-shop`.".into()),
            Self::Taken { .. } => Some("Take another name, or another folder by `--path DIR`.".into()),
            Self::NoTemplate { .. } => {
                let known: Vec<_> = Language::ALL
                    .into_iter()
                    .filter(|language| templates::project(*language, Role::Action, &[]).is_some())
                    .map(Language::name)
                    .collect();
                Some(format!("There are templates for {}.", known.join(", ")))
            }
            Self::NoSdk { language, .. } => Some(format!(
                "`--sdk` takes a checkout of Salve (with `{}` in it), that folder itself, or `registry`.",
                sdk_folder(*language)
            )),
            Self::Name { .. } | Self::File { .. } => None,
        }
    }
}

/// Where a checkout has the SDK of a language.
fn sdk_folder(language: Language) -> &'static str {
    match language {
        Language::Rust => "sdk/rust",
        Language::Go => "sdk/go",
        Language::JavaScript => "sdk/js",
        Language::Python => "sdk/python",
    }
}

/// The SDK's folder of the checkout from which this program was built, if it is still there.
#[must_use]
pub fn checkout(language: Language) -> Option<PathBuf> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent()?.parent()?;
    let folder = root.join(sdk_folder(language));
    folder.join(language.marker()).is_file().then_some(folder)
}

impl Sdk {
    /// As [`Order::sdk`] says.
    fn choose(wanted: Option<&str>, language: Language) -> Result<Self, ScaffoldError> {
        let Some(wanted) = wanted else {
            return Ok(checkout(language).map_or(Self::Registry, Self::Folder));
        };
        if wanted == "registry" {
            return Ok(Self::Registry);
        }
        let folder = PathBuf::from(wanted);
        let missing = || ScaffoldError::NoSdk { language, folder: folder.clone() };
        let found = [folder.join(sdk_folder(language)), folder.clone()]
            .into_iter()
            .find(|folder| folder.join(language.marker()).is_file())
            .ok_or_else(missing)?;
        found.canonicalize().map(Self::Folder).map_err(|_| missing())
    }

    /// As the language's project file has it.
    fn dependency(&self, language: Language) -> String {
        let version = env!("CARGO_PKG_VERSION");
        // JSON's quoting is TOML's, JavaScript's and Go's too.
        let quoted = |text: &str| serde_json::Value::from(text).to_string();
        match (language, self) {
            (Language::Rust, Self::Registry) => quoted(version),
            (Language::Rust, Self::Folder(folder)) => {
                format!("{{ path = {} }}", quoted(&folder.display().to_string()))
            }
            (Language::JavaScript, Self::Registry) => quoted(version),
            (Language::JavaScript, Self::Folder(folder)) => quoted(&format!("file:{}", folder.display())),
            (Language::Python, Self::Registry) => quoted(&format!("salve-plugin=={version}")),
            (Language::Python, Self::Folder(folder)) => {
                quoted(&format!("salve-plugin @ file://{}", folder.display()))
            }
            (Language::Go, Self::Registry) => String::new(),
            (Language::Go, Self::Folder(folder)) => {
                format!(
                    "\nreplace github.com/salve-healing/salve/sdk/go => {}\n",
                    quoted(&folder.display().to_string())
                )
            }
        }
    }

    /// As it is installed by hand.
    fn pip(&self) -> String {
        match self {
            Self::Registry => format!("salve-plugin=={}", env!("CARGO_PKG_VERSION")),
            Self::Folder(folder) => format!("'{}'", folder.display()),
        }
    }
}

impl Scaffold {
    /// Makes a project.
    ///
    /// # Errors
    /// [`ScaffoldError`] names what is in the way; nothing is left behind then.
    pub fn make(order: &Order) -> Result<Self, ScaffoldError> {
        let Order { name, role, language, .. } = order;
        if RESERVED.contains(&name.as_str()) {
            return Err(ScaffoldError::Reserved { name: name.clone() });
        }
        let sdk = Sdk::choose(order.sdk.as_deref(), *language)?;
        let values = values(order, &sdk);
        let project = templates::project(*language, *role, &values)
            .ok_or(ScaffoldError::NoTemplate { language: *language })?;
        // The manifest's own rules say what a name may be.
        let manifest = templates::manifest(&project).unwrap_or_default();
        Manifest::from_toml(manifest).map_err(|source| ScaffoldError::Name { name: name.clone(), source })?;

        let folder = order.folder.clone().unwrap_or_else(|| PathBuf::from(name));
        let folder = std::path::absolute(&folder).map_err(|source| ScaffoldError::File {
            step: "find",
            path: folder.clone(),
            source,
        })?;
        if !is_free(&folder)? {
            return Err(ScaffoldError::Taken { folder });
        }
        let partial = folder.with_file_name(format!(
            ".{}.partial-{}",
            folder.file_name().unwrap_or_default().to_string_lossy(),
            std::process::id()
        ));
        let written = write(&partial, &project).and_then(|()| put(&partial, &folder));
        if written.is_err() {
            // Gone already, or never made.
            drop(fs::remove_dir_all(&partial));
        }
        written?;
        let mut files: Vec<_> = project.into_iter().map(|(path, _)| path).collect();
        files.sort();
        Ok(Self { folder, files, sdk })
    }
}

/// Placeholders and what stands for them.
fn values(order: &Order, sdk: &Sdk) -> Vec<(&'static str, String)> {
    let (about, call, grant) = match order.role {
        Role::Action => (
            "An action: sets the configuration key that was changed before the incident back to its last good value.",
            "plan",
            "grant it the targets (`[[grant]]`) and let a policy choose it",
        ),
        Role::Agent => (
            "An agent: suspects the services that fail by themselves, most of all those whose configuration was just changed.",
            "consult",
            "name it in `plugins.agents`",
        ),
        Role::Detector => (
            "A detector: observes points that lie far from the median of the points before them.",
            "observe",
            "bind it to series by a `[[detector]]`",
        ),
    };
    vec![
        ("name", order.name.clone()),
        ("crate", order.name.replace('-', "_")),
        ("role", order.role.to_string()),
        ("version", env!("CARGO_PKG_VERSION").to_owned()),
        ("sdk", sdk.dependency(order.language)),
        ("sdk_pip", sdk.pip()),
        ("about", about.to_owned()),
        ("call", call.to_owned()),
        ("grant", grant.to_owned()),
    ]
}

/// Nothing there, or an empty folder.
fn is_free(folder: &Path) -> Result<bool, ScaffoldError> {
    match fs::read_dir(folder) {
        Ok(mut entries) => Ok(entries.next().is_none()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(true),
        Err(error) if error.kind() == io::ErrorKind::NotADirectory => Ok(false),
        Err(source) => Err(ScaffoldError::File { step: "look into", path: folder.to_owned(), source }),
    }
}

fn write(folder: &Path, project: &[(String, String)]) -> Result<(), ScaffoldError> {
    for (path, text) in project {
        let path = folder.join(path);
        files::write_whole(&path, text.as_bytes()).map_err(|source| ScaffoldError::File {
            step: "write",
            path,
            source,
        })?;
    }
    Ok(())
}

/// Moves the finished folder to its place; an empty folder there gives way.
fn put(partial: &Path, folder: &Path) -> Result<(), ScaffoldError> {
    fs::rename(partial, folder).map_err(|source| match source.kind() {
        io::ErrorKind::DirectoryNotEmpty | io::ErrorKind::AlreadyExists | io::ErrorKind::NotADirectory => {
            ScaffoldError::Taken { folder: folder.to_owned() }
        }
        _ => ScaffoldError::File { step: "make the folder", path: folder.to_owned(), source },
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Project, cases, trial::Recording};

    fn order(name: &str, role: Role, folder: &Path) -> Order {
        Order { name: name.into(), role, language: Language::Rust, folder: Some(folder.into()), sdk: None }
    }

    /// What looks like a placeholder. Braces alone are Go's, too.
    fn placeholder(text: &str) -> Option<&str> {
        let word = |rest: &&str| !rest.is_empty() && rest.chars().all(|c| c.is_ascii_lowercase() || c == '_');
        text.split("{{").skip(1).filter_map(|rest| Some(rest.split_once("}}")?.0)).find(word)
    }

    /// Languages that have templates.
    fn languages() -> impl Iterator<Item = Language> {
        Language::ALL.into_iter().filter(|language| templates::project(*language, Role::Agent, &[]).is_some())
    }

    /// Guarantees: a new project of any role and language opens as one, its cases and requests can be read, no placeholder
    /// is left, and it has everything that was promised.
    #[test]
    fn projects_are_complete() {
        let below = tempfile::tempdir().unwrap();
        let roles = [Role::Action, Role::Agent, Role::Detector];
        for (language, role) in languages().flat_map(|language| roles.map(|role| (language, role))) {
            let name = format!("my-{role}-{}", language.name());
            let folder = below.path().join(&name);
            fs::create_dir(&folder).unwrap();
            let order = Order { language, sdk: Some("registry".into()), ..order(&name, role, &folder) };
            let made = Scaffold::make(&order).unwrap();
            for path in
                ["plugin.toml", "README.md", ".gitignore", "recorded/incident.json", language.marker()]
            {
                assert!(made.files.iter().any(|file| file == path), "{path} in {:?}", made.files);
            }
            assert!(
                made.files.iter().any(|file| file.contains("test") || file == "src/lib.rs"),
                "{:?}",
                made.files
            );
            for path in &made.files {
                assert_eq!(placeholder(&fs::read_to_string(folder.join(path)).unwrap()), None, "{path}");
            }
            let project = Project::open(&folder).unwrap();
            assert_eq!((project.manifest.role, project.language), (role, language));
            let cases = cases::files(&project).unwrap();
            assert!(!cases.is_empty());
            for path in cases {
                let recording = Recording::read(&path).unwrap();
                assert!(recording.request(&path).unwrap().incident.now > 0);
                assert!(recording.call.role() == role && recording.expect.is_some());
            }
        }
    }

    /// Guarantees: a program that was built from a checkout makes projects that use the SDK of it, and says so.
    #[test]
    fn a_checkout_is_used() {
        let below = tempfile::tempdir().unwrap();
        let made = Scaffold::make(&order("probe", Role::Agent, &below.path().join("probe"))).unwrap();
        let Sdk::Folder(sdk) = made.sdk else { panic!("a test runs from a checkout") };
        let cargo = fs::read_to_string(made.folder.join("Cargo.toml")).unwrap();
        assert!(cargo.contains(&format!("salve-plugin = {{ path = \"{}\" }}", sdk.display())), "{cargo}");
    }

    /// Guarantees: bad names, a folder that is taken and an SDK that is not there are refused with a way out; nothing is
    /// written, and nothing that was there is touched.
    #[test]
    fn refusals_leave_nothing() {
        let below = tempfile::tempdir().unwrap();
        let taken = below.path().join("taken");
        fs::create_dir(&taken).unwrap();
        fs::write(taken.join("mine"), "x").unwrap();
        fs::write(below.path().join("file"), "x").unwrap();
        let refused = |change: &dyn Fn(&mut Order)| {
            let mut order = order("probe", Role::Agent, &below.path().join("probe"));
            change(&mut order);
            Scaffold::make(&order).unwrap_err()
        };
        for name in ["Probe", "../probe", "", "1probe", "prö", "a b"] {
            let error = refused(&|order| order.name = name.into());
            assert!(matches!(error, ScaffoldError::Name { .. }), "{name}: {error}");
        }
        assert!(matches!(refused(&|order| order.name = "test".into()), ScaffoldError::Reserved { .. }));
        for folder in ["taken", "file"] {
            let error = refused(&|order| order.folder = Some(below.path().join(folder)));
            assert!(matches!(error, ScaffoldError::Taken { .. }) && error.hint().is_some(), "{error}");
        }
        let error = refused(&|order| order.sdk = Some(taken.display().to_string()));
        assert!(matches!(error, ScaffoldError::NoSdk { .. }) && error.hint().is_some(), "{error}");
        let error = refused(&|order| order.folder = Some(below.path().join("file/below")));
        assert!(matches!(error, ScaffoldError::File { .. } | ScaffoldError::Taken { .. }), "{error}");
        let mut left: Vec<_> =
            fs::read_dir(below.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        left.sort();
        assert_eq!(left, ["file", "taken"]);
        assert_eq!(fs::read_dir(&taken).unwrap().count(), 1);

        let registry = order("probe", Role::Agent, &below.path().join("probe"));
        let made = Scaffold::make(&Order { sdk: Some("registry".into()), ..registry }).unwrap();
        let cargo = fs::read_to_string(made.folder.join("Cargo.toml")).unwrap();
        assert!(cargo.contains("salve-plugin = \"0.1.0\""), "{cargo}");
    }
}
