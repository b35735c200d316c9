//! The wasmtime host under detectors, agents and actions.
