//! The contract in Rust, from `wit/`.
//!
//! One world holds all interfaces, so that the types which roles share exist once. Which of them a component gets is
//! decided by the linker it is given (`engine`), and which it must have by admission.

#![allow(missing_docs, unreachable_pub, clippy::all, reason = "generated; the documentation stands in wit/")]

wasmtime::component::bindgen!({
    path: "../../wit",
    inline: "
        package salve:host@0.1.0;

        world any-plugin {
            import salve:plugin/log@0.1.0;
            import salve:plugin/clock@0.1.0;
            import salve:plugin/telemetry@0.1.0;
            import salve:plugin/process@0.1.0;
            import salve:plugin/config@0.1.0;
            import salve:plugin/http@0.1.0;
            import salve:plugin/notify@0.1.0;
            export salve:plugin/detect@0.1.0;
            export salve:plugin/consult@0.1.0;
            export salve:plugin/act@0.1.0;
        }
    ",
    world: "salve:host/any-plugin",
    imports: { default: async | trappable },
    exports: { default: async },
    ownership: Borrowing { duplicate_if_necessary: false },
});
