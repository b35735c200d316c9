//! Policies in Rhai: a pure function from what is wrong and why to what may be done about it.
//!
//! A policy set is a folder. Each `NAME.rhai` in it defines `fn decide(incident, findings, catalogue, history)` and
//! returns an array of rows; [`rows`] has their form, [`view`] what the parameters hold. `NAME.lib.rhai` holds functions
//! for others (`import "NAME" as name;`), `NAME.test.rhai` tests ([`testing`]).
//!
//! ```
//! use salve_policy::PolicySet;
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let folder = tempfile::tempdir()?;
//! std::fs::write(folder.path().join("restart.rhai"), r#"
//!     fn decide(incident, findings, catalogue, history) {
//!         let cause = findings.hypotheses[0];
//!         [act("restart-process", cause.targets[0]).priority(10).reason(`${cause.suspect} is ${cause.mechanism}`)]
//!     }
//! "#)?;
//! let set = PolicySet::load(folder.path())?;
//! assert_eq!(set.digest().len(), 64);
//! # Ok(()) }
//! ```
//!
//! ## What always holds
//! - a decision depends on its input and the set's digest alone: no clock, no chance, no files, no output
//! - each evaluation ends: operations, depth, sizes, rows and time are bounded ([`PolicyLimits`])
//! - a policy that fails keeps no other from being asked, and is named in the decision; if it might have said `never`, a person
//!   must agree to what the others would do
//! - a set that does not load never replaces one that works ([`PolicyStore`])
//!
//! Not here: asking for a decision, carrying it out, watching the folder.

mod answer;
mod combine;
mod error;
mod machine;
mod set;
mod store;
pub mod testing;
pub mod view;

pub use answer::rows;
pub use error::{PolicyError, PolicyErrors};
pub use machine::PolicyLimits;
pub use set::{CheckReport, PolicySet, check};
pub use store::{PolicyStore, Reload};
pub use testing::{TestReport, TestResult, test};
