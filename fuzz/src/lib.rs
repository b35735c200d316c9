//! What the targets share: their seeds, and mutation that knows the form of WebAssembly files.

pub mod seeds;
pub mod wasm;
