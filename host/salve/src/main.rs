//! Self-healing for anything that speaks OpenTelemetry: the daemon and its command line.

#![allow(unreachable_pub, reason = "a binary has no outside; `pub` says what a module is for")]

mod admission;
mod commands;
mod config;
mod control;
mod daemon;
mod logging;
mod memory;

use clap::Parser;
use std::process::ExitCode;

fn main() -> ExitCode {
    memory::goes_back();
    let arguments = commands::Arguments::parse();
    match commands::run(arguments) {
        Ok(code) => code,
        Err(error) => {
            commands::print_error(&error);
            ExitCode::from(2)
        }
    }
}
