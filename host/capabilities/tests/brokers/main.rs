//! The brokers as a whole: real processes, real files, real servers; one test for each promise.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test whose surroundings cannot be set up has failed"
)]

mod bench;
mod config;
mod http;
mod notify;
mod process;
mod reconcile;
mod server;
mod session;
