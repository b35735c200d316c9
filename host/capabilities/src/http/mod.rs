//! HTTP calls to targets and channels.
//!
//! ## What always holds
//! - a connection dials only addresses that were checked for this very call
//! - link-local and cloud metadata addresses, and Salve's own listeners, are never dialled
//! - no redirect is followed, no proxy asked, nothing decompressed
//! - a path means the same to Salve, to the grant and to the server: no dot segments, encoded slashes or control bytes
//! - a secret goes out over TLS or to loopback only, and is removed from what comes back
//!
//! Not here: which methods and paths are granted (grants).

pub(crate) mod address;
pub(crate) mod client;
pub(crate) mod request;
pub(crate) mod resolve;
