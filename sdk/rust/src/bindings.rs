//! Generated from `wit/`, one module per world. The worlds share the types of their common interfaces.
//!
//! Nothing here is used by hand: the rest of this crate gives the types their public names.

#![allow(
    unsafe_code,
    missing_docs,
    unreachable_pub,
    dead_code,
    clippy::all,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::unimplemented,
    clippy::todo,
    clippy::let_underscore_must_use,
    clippy::allow_attributes_without_reason,
    reason = "generated: the canonical ABI is spoken in raw memory"
)]

pub mod action {
    wit_bindgen::generate!({
        world: "action",
        path: "wit",
        pub_export_macro: true,
        export_macro_name: "export_action_component",
        default_bindings_module: "salve_plugin::bindings::action",
        additional_derives: [PartialEq],
    });
}

pub mod agent {
    wit_bindgen::generate!({
        world: "agent",
        path: "wit",
        pub_export_macro: true,
        export_macro_name: "export_agent_component",
        default_bindings_module: "salve_plugin::bindings::agent",
        additional_derives: [PartialEq],
        with: {
            "salve:plugin/types@0.1.0": crate::bindings::action::salve::plugin::types,
            "salve:plugin/log@0.1.0": crate::bindings::action::salve::plugin::log,
            "salve:plugin/clock@0.1.0": crate::bindings::action::salve::plugin::clock,
            "salve:plugin/telemetry@0.1.0": crate::bindings::action::salve::plugin::telemetry,
        },
    });
}

pub mod detector {
    wit_bindgen::generate!({
        world: "detector",
        path: "wit",
        pub_export_macro: true,
        export_macro_name: "export_detector_component",
        default_bindings_module: "salve_plugin::bindings::detector",
        additional_derives: [PartialEq],
        with: {
            "salve:plugin/types@0.1.0": crate::bindings::action::salve::plugin::types,
            "salve:plugin/log@0.1.0": crate::bindings::action::salve::plugin::log,
        },
    });
}
