//! Every developer task, as `cargo xtask NAME`.
//!
//! ## What always holds
//! - nothing reads standard input but `demo`
//! - a step that fails names the command, and the exit code is not 0
//! - what is installed is said before it is installed, with the reason

mod bench;
mod checks;
mod dist;
mod eval;
mod fuzz;
mod guests;
mod process;
mod registry;
mod test;
mod toolchain;
mod workspace;

use anyhow::Result;
use clap::{Parser, Subcommand};
use std::process::ExitCode;
use toolchain::Choice;
use workspace::Workspace;

/// Developer tasks of Salve.
#[derive(Debug, Parser)]
#[command(name = "cargo xtask", bin_name = "cargo xtask", arg_required_else_help = true)]
struct Arguments {
    #[command(subcommand)]
    task: Task,
}

#[derive(Debug, Subcommand)]
enum Task {
    /// Find or install what builds plugins in each language, and what tests run against; prove that it works.
    Setup(Toolchain),
    /// Build the release binaries, the plugins and the demo shop into `target/dist`.
    Build(Toolchain),
    /// Build the plugins alone: core modules, then components in `target/dist/plugins`.
    Guests(Toolchain),
    /// Everything that CI does: format, lints, docs, build, all tests. Ends with a summary.
    Test {
        #[command(flatten)]
        toolchain: Toolchain,
        /// Skip the check that plugins can also be built by Debian's packages.
        #[arg(long)]
        without_debian: bool,
    },
    /// Format and lints, without tests.
    Lint {
        /// Also check licences, advisories and duplicates by `cargo deny`; installs it if need be (about 4 CPU minutes).
        #[arg(long)]
        deny: bool,
    },
    /// While working: format, lints of libraries and binaries, unit tests.
    Quick,
    /// Build what is measured, run the benchmarks, then the peers beside them.
    Bench(bench::Options),
    /// Build all, then break the demo shop and watch Salve heal it.
    Demo {
        #[command(flatten)]
        toolchain: Toolchain,
        /// Passed on to the demo, for instance `--fault kill`.
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        arguments: Vec<String>,
    },
    /// Build the API documentation, warnings denied.
    Docs {
        /// Show it in a browser.
        #[arg(long)]
        open: bool,
    },
    /// Run the demo many times, each with another seed, and report how often and how fast each fault was healed.
    Eval(eval::Options),
    /// Fuzz what reads strangers' bytes: each target of `fuzz/` for a while. Exit code 1 if an input crashes one.
    Fuzz(fuzz::Options),
}

#[derive(Debug, clap::Args)]
struct Toolchain {
    /// What compiles the plugins. `debian` leaves rustup's target out, as on a machine that cannot have it.
    #[arg(long = "toolchain", value_enum, default_value_t = Choice::Auto)]
    choice: Choice,
}

fn main() -> ExitCode {
    if let Some(error) = fuzz::act_as_wrapper() {
        eprintln!("error: {error:#}");
        return ExitCode::FAILURE;
    }
    match run(Arguments::parse().task) {
        Ok(code) => code,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(task: Task) -> Result<ExitCode> {
    let workspace = Workspace::find()?;
    match task {
        Task::Setup(Toolchain { choice }) => {
            let wasm = toolchain::setup(&workspace, choice)?;
            println!("{} compiles Rust to WebAssembly", wasm.name());
        }
        Task::Build(Toolchain { choice }) => dist::build(&workspace, choice)?,
        Task::Guests(Toolchain { choice }) => {
            dist::build_products(&workspace)?;
            let wasm = toolchain::find(&workspace, choice)?;
            guests::build(&workspace, &wasm)?;
        }
        Task::Test { toolchain, without_debian } => {
            return Ok(test::run(&workspace, toolchain.choice, !without_debian));
        }
        Task::Lint { deny } => {
            checks::format(&workspace)?;
            checks::lints(&workspace, checks::Scope::All)?;
            checks::structure(&workspace)?;
            if deny {
                checks::deny(&workspace)?;
            }
        }
        Task::Quick => {
            checks::format(&workspace)?;
            checks::lints(&workspace, checks::Scope::Product)?;
            process::run(&mut workspace.cargo(&["test", "--release", "--workspace", "--lib"]))?;
        }
        Task::Bench(options) => bench::run(&workspace, &options)?,
        Task::Demo { toolchain, arguments } => {
            dist::build(&workspace, toolchain.choice)?;
            return Err(process::replace(dist::demo(&workspace).args(arguments)));
        }
        Task::Docs { open } => checks::docs(&workspace, open)?,
        Task::Eval(options) => return eval::run(&workspace, &options),
        Task::Fuzz(options) => return fuzz::run(&workspace, &options),
    }
    Ok(ExitCode::SUCCESS)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Guarantees: the command line is consistent in itself.
    #[test]
    fn command_line_is_sound() {
        use clap::CommandFactory;
        Arguments::command().debug_assert();
    }

    /// Guarantees: what the demo and the benchmarks understand reaches them as it was typed, options included.
    #[test]
    fn arguments_are_passed_on() {
        let parse = |words: &str| Arguments::try_parse_from(words.split(' ')).unwrap().task;
        let Task::Demo { toolchain, arguments } = parse("xtask demo --toolchain debian --fault kill --json")
        else {
            panic!("not the demo")
        };
        assert_eq!(toolchain.choice, Choice::Debian);
        assert_eq!(arguments, ["--fault", "kill", "--json"]);
        let Task::Bench(options) = parse("xtask bench -p salve-otlp") else { panic!("not the benchmarks") };
        assert_eq!(options.arguments, ["-p", "salve-otlp"]);
    }
}
