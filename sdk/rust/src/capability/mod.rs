//! The capability interfaces, one module each: reads and writes as functions, writes also as plan steps.

pub mod config;
pub mod http;
pub mod notify;
pub mod process;
