//! The brokers as a whole: real processes, real files, real servers; one test for each promise.

mod bench;
mod config;
mod http;
mod process;
mod reconcile;
mod session;
