//! Real servers on free ports, real clients.

mod grpc;
mod http;
mod limits;
mod protection;
mod support;
