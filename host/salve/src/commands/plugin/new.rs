//! `salve plugin new`.

use crate::commands::output;
use anyhow::Result;
use salve_authoring::{Language, Order, Scaffold, Sdk};
use salve_plugins::Role;
use std::{path::PathBuf, process::ExitCode};

/// What is to be made.
#[derive(Debug, clap::Args)]
#[command(after_help = sdk_help())]
pub struct Arguments {
    /// The plugin's name: lower-case ASCII letters, digits and hyphens, a letter first.
    name: String,
    /// What it is.
    #[arg(long, value_enum)]
    role: RoleArgument,
    /// In which language.
    #[arg(long, value_enum)]
    lang: LanguageArgument,
    /// Where it goes. Default: a folder of its name, here.
    #[arg(long, value_name = "DIR")]
    path: Option<PathBuf>,
    /// Where the SDK comes from: a checkout of Salve, an SDK's folder, or `registry`.
    #[arg(long, value_name = "PATH")]
    sdk: Option<String>,
    /// Answer in JSON.
    #[arg(long)]
    json: bool,
}

/// `--role`.
#[derive(Debug, Clone, Copy, clap::ValueEnum)]
pub enum RoleArgument {
    /// Plans writes on targets, and makes those that were approved.
    Action,
    /// Watches series, says what is abnormal.
    Detector,
    /// Reads telemetry, says what the cause is.
    Agent,
}

/// `--lang`.
#[derive(Debug, Clone, Copy, clap::ValueEnum)]
pub enum LanguageArgument {
    /// Needs rustup's target `wasm32-unknown-unknown`.
    Rust,
    /// Needs Go.
    Go,
    /// Needs Node.
    Js,
    /// Needs Python 3.
    Python,
}

impl From<RoleArgument> for Role {
    fn from(role: RoleArgument) -> Self {
        match role {
            RoleArgument::Action => Self::Action,
            RoleArgument::Detector => Self::Detector,
            RoleArgument::Agent => Self::Agent,
        }
    }
}

impl From<LanguageArgument> for Language {
    fn from(language: LanguageArgument) -> Self {
        match language {
            LanguageArgument::Rust => Self::Rust,
            LanguageArgument::Go => Self::Go,
            LanguageArgument::Js => Self::JavaScript,
            LanguageArgument::Python => Self::Python,
        }
    }
}

/// Says where the SDK comes from by default, which depends on where this program was built.
fn sdk_help() -> String {
    match salve_authoring::checkout(Language::Rust) {
        Some(folder) => format!(
            "This program was built from a checkout that is still there, so new projects use the SDK of it:\n  {}\n\
             `--sdk registry` takes the published one instead.",
            folder.display()
        ),
        None => "By default the SDK is the published one, of this program's version.".into(),
    }
}

/// Makes the project.
pub fn run(arguments: Arguments) -> Result<ExitCode> {
    let language = Language::from(arguments.lang);
    let order = Order {
        name: arguments.name,
        role: arguments.role.into(),
        language,
        folder: arguments.path,
        sdk: arguments.sdk,
    };
    let made = Scaffold::make(&order)?;
    let sdk = match &made.sdk {
        Sdk::Registry => format!("the published one, version {}", env!("CARGO_PKG_VERSION")),
        Sdk::Folder(folder) => folder.display().to_string(),
    };
    if arguments.json {
        output::say_json(&serde_json::json!({ "folder": made.folder, "files": made.files, "sdk": sdk }))?;
        return Ok(ExitCode::SUCCESS);
    }
    let folder = made.folder.display();
    output::say(&format!("{folder}: {} {}, {} files", order.role, order.name, made.files.len()));
    output::say(&format!("SDK: {sdk}"));
    output::say(&format!(
        "next: cd {folder} && salve plugin test && {}   (README.md says more)",
        language.unit_tests()
    ));
    Ok(ExitCode::SUCCESS)
}
