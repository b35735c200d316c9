//! Keys, signatures, registries and the lock file, from a publisher's machine to a running daemon: against Debian's
//! docker-registry, a TLS server with an authority of its own, and the real `salve`.

mod daemon;
mod https;
mod keys;
mod registry;
mod support;
mod token;
