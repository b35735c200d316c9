//! Write Salve detectors, agents and actions in Rust.
