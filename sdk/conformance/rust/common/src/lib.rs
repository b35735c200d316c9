//! What the three test plugins share; `sdk/conformance/README.md` says how each part behaves.

pub mod calls;
pub mod script;
pub mod term;
