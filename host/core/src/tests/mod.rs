//! Tests of the whole machine.

mod correlation;
mod guards;
mod life_cycle;
mod plugins;
mod properties;
mod recovery;
mod tenants;
mod verification;
mod world;
