//! Which version of a plugin is active, which one is tried beside it, and when it takes over or falls back.
//!
//! ## What always holds
//! - no clock and no I/O: time comes with each input, and the same inputs give the same changes
//! - of one name at most one version is active and at most one is tried; versions are told apart by digest
//! - a version that asks for more than the last active one sees no input before the operator has accepted it
//! - a version that failed or is in quarantine is chosen for nothing, until the operator says so
//! - everything is bounded: versions of a name, what is said of them
//!
//! Not here: loading and calling plugins, comparing their answers, files (`salve`).
//!
//! ```
//! use salve_rollout::{Facts, Input, Rollout, Rules, Stage};
//!
//! let mut rollout = Rollout::new(Rules::default());
//! let facts = |digest: &str| Facts { name: "absence".into(), digest: digest.into(), role: "detector".into(), ..Facts::default() };
//! rollout.step(0, Input::Loaded(facts("a")));
//! rollout.step(1, Input::Loaded(facts("b")));
//! assert_eq!(rollout.active("absence"), Some("a"));
//! assert_eq!(rollout.candidate("absence"), Some(("b", Stage::Shadow)));
//! ```

mod difference;
mod machine;
mod rules;
mod samples;
mod schema;
mod words;

pub use difference::{Difference, Facts, differences};
pub use machine::Rollout;
pub use rules::{Promote, Rules};
pub use samples::{Sample, Samples};
pub use schema::is_narrower;
pub use words::{Change, Input, Plugin, Refusal, Stage, Version};
