//! The files of new projects, embedded. Sets of files are laid over each other: those of all projects, of the role, of the
//! language, and of both.
//!
//! Templates end in `.in`, so that no tool of their language takes them for real. `gitignore` becomes `.gitignore`.

use crate::{Language, project::MANIFEST};
use salve_plugins::Role;

macro_rules! templates {
    ($($path:literal),+ $(,)?) => {
        /// Set and path, and text.
        const TEMPLATES: &[(&str, &str)] = &[$(($path, include_str!(concat!("../templates/", $path, ".in")))),+];
    };
}

templates![
    "all/recorded/incident.json",
    "all-action/plugin.toml",
    "all-action/tests/execute.json",
    "all-action/tests/plan.json",
    "all-action/tests/too-long-ago.json",
    "all-action/tests/undo.json",
    "all-agent/plugin.toml",
    "all-agent/tests/consult.json",
    "all-detector/plugin.toml",
    "all-detector/tests/observe.json",
    "all-detector/tests/restart.json",
    "go/README.md",
    "go/gitignore",
    "go/go.mod",
    "go-action/main.go",
    "go-action/main_test.go",
    "go-agent/main.go",
    "go-agent/main_test.go",
    "go-detector/main.go",
    "go-detector/main_test.go",
    "js/README.md",
    "js/gitignore",
    "js/package.json",
    "js-action/src/plugin.js",
    "js-action/test/plugin.test.js",
    "js-agent/src/plugin.js",
    "js-agent/test/plugin.test.js",
    "js-detector/src/plugin.js",
    "js-detector/test/plugin.test.js",
    "python/README.md",
    "python/gitignore",
    "python/pyproject.toml",
    "python-action/plugin.py",
    "python-action/test_plugin.py",
    "python-agent/plugin.py",
    "python-agent/test_plugin.py",
    "python-detector/plugin.py",
    "python-detector/test_plugin.py",
    "rust/Cargo.toml",
    "rust/README.md",
    "rust/gitignore",
    "rust-action/src/lib.rs",
    "rust-agent/src/lib.rs",
    "rust-detector/src/lib.rs",
];

/// The files of a project: path and text, placeholders replaced. None if there are none for this language and role.
pub(crate) fn project(
    language: Language,
    role: Role,
    values: &[(&str, String)],
) -> Option<Vec<(String, String)>> {
    let language = language.name();
    let own = format!("{language}-{role}");
    let sets = ["all".to_owned(), format!("all-{role}"), language.to_owned(), own.clone()];
    if !TEMPLATES.iter().any(|(path, _)| path.split_once('/').is_some_and(|(set, _)| set == own)) {
        return None;
    }
    let of_project = TEMPLATES.iter().filter_map(|(path, text)| {
        let (set, path) = path.split_once('/')?;
        sets.iter().any(|known| known == set).then(|| {
            let path = if path == "gitignore" { ".gitignore" } else { path };
            (fill(path, values), fill(text, values))
        })
    });
    Some(of_project.collect())
}

/// Replaces `{{name}}` by its value.
fn fill(text: &str, values: &[(&str, String)]) -> String {
    let mut text = text.to_owned();
    for (name, value) in values {
        text = text.replace(&format!("{{{{{name}}}}}"), value);
    }
    text
}

/// The text of a new project's manifest.
pub(crate) fn manifest(files: &[(String, String)]) -> Option<&str> {
    files.iter().find(|(path, _)| path == MANIFEST).map(|(_, text)| text.as_str())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::{fs, path::Path};

    /// Guarantees: every template on disk is embedded: a new one cannot be forgotten.
    #[test]
    fn all_templates_are_embedded() {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("templates");
        let mut found = Vec::new();
        let mut open = vec![root.clone()];
        while let Some(folder) = open.pop() {
            for entry in fs::read_dir(folder).unwrap().flatten() {
                let path = entry.path();
                if path.is_dir() {
                    open.push(path);
                } else {
                    found.push(path.strip_prefix(&root).unwrap().to_str().unwrap().to_owned());
                }
            }
        }
        let mut embedded: Vec<_> = TEMPLATES.iter().map(|(path, _)| format!("{path}.in")).collect();
        found.sort();
        embedded.sort();
        assert_eq!(found, embedded);
    }
}
