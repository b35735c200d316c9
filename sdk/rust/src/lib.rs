//! Write Salve detectors, agents and actions in Rust.
//!
//! A plugin is a crate of type `cdylib` that implements one trait and names it in one macro:
//!
//! | role | trait | macro | what it may do |
//! |---|---|---|---|
//! | detector | [`Detector`] | [`export_detector!`] | see points, say what is abnormal |
//! | agent | [`Agent`] | [`export_agent!`] | read telemetry, say what the cause is |
//! | action | [`Action`] | [`export_action!`] | plan writes on targets, and make those that were approved |
//!
//! A whole action:
//!
//! ```
//! use salve_plugin::prelude::*;
//!
//! /// Restarts every target that runs a process.
//! struct Restart;
//!
//! #[derive(serde::Deserialize)]
//! struct Parameters {}
//!
//! impl Action for Restart {
//!     type Parameters = Parameters;
//!     type Uses = process::Capability;
//!
//!     fn plan(request: &Request<Parameters>) -> Result<Plan, Failure> {
//!         let target = request.target()?;
//!         process::status(target)?;
//!         Ok(Plan::new(format!("Restart the process of {}", target.id)).step(process::restart_step(target)))
//!     }
//! }
//!
//! salve_plugin::export_action!(Restart);
//!
//! // Natively there is no host, so tests bring a scripted one that keeps the rules of the real one.
//! use salve_plugin::testing::{ActionTest, FakeHost};
//! let test = ActionTest::<Restart>::new(FakeHost::new().process("shop"), "{}", &["shop"]);
//! let plan = test.plan().unwrap();
//! assert_eq!(plan.steps[0].verb, "restart");
//! assert!(test.execute(&plan).unwrap().done);
//! assert_eq!(test.host().receipts().len(), 1);
//! ```
//!
//! ## From crate to component
//! 1. `salve plugin new NAME --role ROLE --lang rust` makes a project
//! 2. `salve plugin build` makes `build/NAME.wasm`
//! 3. `salve plugin pin build/NAME.wasm`, since what nobody vouches for does not load, and copy it into the plugin folder
//!
//! ## What always holds
//! - Everything that speaks to the host exists only in WebAssembly; natively the same functions speak to the scripted
//!   host of [`testing`], so that the logic is tested by plain `cargo test`.
//! - A guest has no clock, files, network, environment or random numbers but those that the contract gives it.
//! - Arguments of plan steps are written in the one form that the host licenses; see [`plan`].
//! - An interface that a plugin does not call is not in its component: an action names what it calls in
//!   [`Action::Uses`].
//!
//! Not here: what a call is allowed to do. The host checks that, below every plugin.

pub mod action;
pub mod agent;
#[cfg(all(target_arch = "wasm32", feature = "allocator"))]
mod allocator;
pub mod bindings;
mod capability;
pub mod clock;
pub mod codec;
pub mod detector;
pub mod error;
mod export;
pub mod log;
pub mod number;
pub mod plan;
pub mod series;
pub mod telemetry;
#[cfg(not(target_arch = "wasm32"))]
pub mod testing;

pub use action::{Action, Capabilities, Failure, Outcome, Request, execute_plan, undo_receipts};
pub use agent::{Agent, Findings, Hypothesis, Incident};
pub use bindings::action::salve::plugin::types::{
    Attributes, CallError, Denied, Kind, Receipt, Target, TargetId, Window,
};
pub use capability::{config, http, notify, process};
pub use detector::{Batch, Detector, Observation, Output, Series, State};
pub use export::glue as __glue;
pub use plan::{Expectation, Plan, Proposal, Step};

/// Everything that most plugins need: `use salve_plugin::prelude::*;`.
pub mod prelude {
    pub use crate::{
        Action, Agent, Batch, CallError, Capabilities, Denied, Detector, Expectation, Failure, Findings,
        Hypothesis, Incident, Kind, Observation, Outcome, Output, Plan, Proposal, Receipt, Request, Series,
        State, Step, Target, Window, clock, config, execute_plan, http, log, notify, plan::Expect, process,
        telemetry, undo_receipts,
    };
}
