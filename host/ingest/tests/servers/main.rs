//! Real servers on free ports, real clients.

#![expect(clippy::unwrap_used, clippy::expect_used, reason = "helpers of tests")]

mod grpc;
mod http;
mod limits;
mod protection;
mod support;
