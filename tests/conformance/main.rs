//! One suite for the SDKs of all languages: cases are data in `sdk/conformance/cases`, behaviour is described in
//! `sdk/conformance/README.md`, and each language brings three plugins that behave so.
//!
//! A language is a folder in `sdk/conformance` and its line in [`languages!`] below.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test that cannot go on has failed"
)]

mod action;
mod agent;
mod call;
mod cases;
mod detector;
mod model;
mod plugin;
mod term;

/// Makes a module of three tests for each language.
macro_rules! languages {
    ($($language:ident),+ $(,)?) => {
        $(mod $language {
            /// Guarantees: actions get and give every value of the contract unharmed, and plans, helpers and failures mean
            /// the same as in every other language.
            #[test]
            fn action() {
                crate::action::conforms(stringify!($language));
            }

            /// Guarantees: agents get incidents and telemetry and give findings unharmed.
            #[test]
            fn agent() {
                crate::agent::conforms(stringify!($language));
            }

            /// Guarantees: detectors get batches and give observations, scores and state unharmed, to the last bit.
            #[test]
            fn detector() {
                crate::detector::conforms(stringify!($language));
            }
        })+
    };
}

languages! {
    rust,
    go,
    js,
    python,
}
