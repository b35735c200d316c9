//! Tests of the whole machine.

mod correlation;
mod guards;
mod life_cycle;
mod moves;
mod plugins;
mod properties;
mod recovery;
mod tenants;
mod undo;
mod verification;
mod world;
