//! wasmtime, set up once: one engine with its pool, and for each role what its guests are linked to.

use crate::{config::HostConfig, contract::ContractVersion, guest::GuestState, manifest::Manifest};
use wasmtime::{
    Config, Enabled, Engine, InstanceAllocationStrategy, OptLevel, PoolingAllocationConfig,
    RegallocAlgorithm, component::Linker,
};

/// Stack for the host's own calls on a guest's fiber, in bytes.
const HOST_STACK_BYTES: usize = 1 << 20;
/// Core instances, memories and tables for each instance, on average: shims need two or three, JavaScript and Python
/// components many more, but few of those live at one time.
const CORE_INSTANCES_EACH: u32 = 8;
/// Memory as a build leaves it is mapped up to this size, whatever gaps it has.
pub(crate) const DENSE_IMAGE_BYTES: u64 = 32 << 20;
/// Idle instances whose memory stays mapped for the next call of the same plugin.
const UNUSED_INSTANCES_KEPT: u32 = 16;

/// Makes the engine. Instances come from a pool; where the address space for one is not to be had, each is made
/// by itself, which is slower.
pub(crate) fn engine(settings: &HostConfig) -> wasmtime::Result<Engine> {
    match Engine::new(common(settings).allocation_strategy(pool(settings))) {
        Ok(engine) => Ok(engine),
        Err(error) => {
            tracing::warn!(%error, "No address space for a pool of plugin instances; each is made by itself.");
            Engine::new(&common(settings))
        }
    }
}

/// Makes an engine that compiles for the one above and runs nothing.
pub(crate) fn compiler(settings: &HostConfig) -> wasmtime::Result<Engine> {
    Engine::new(&common(settings))
}

fn common(settings: &HostConfig) -> Config {
    let stack_bytes = usize::try_from(settings.stack_bytes).unwrap_or(usize::MAX / 4);
    let mut config = Config::new();
    config
        .epoch_interruption(true)
        .consume_fuel(settings.count_fuel)
        .wasm_component_model(true)
        // Guests are one thread, 32 bits wide, and equal on every machine.
        .wasm_memory64(false)
        .wasm_relaxed_simd(false)
        .max_wasm_stack(stack_bytes)
        // An image with more gaps than this is not mapped but written, in every instance: a Python program of 17 MiB took
        // 3.5 ms for it.
        .memory_guaranteed_dense_image_size(DENSE_IMAGE_BYTES)
        .async_stack_size(stack_bytes + HOST_STACK_BYTES)
        .memory_init_cow(true);
    if settings.compile_quickly {
        config
            .cranelift_opt_level(OptLevel::None)
            .cranelift_regalloc_algorithm(RegallocAlgorithm::SinglePass);
    }
    config
}

fn pool(settings: &HostConfig) -> InstanceAllocationStrategy {
    let number = |limit: u64| usize::try_from(limit).unwrap_or(usize::MAX);
    let instances = settings.instances_max;
    let core = instances.saturating_mul(CORE_INSTANCES_EACH);
    let core_each = u32::try_from(settings.largest(|limits| limits.core_instances)).unwrap_or(u32::MAX);
    let mut pool = PoolingAllocationConfig::new();
    pool.total_component_instances(instances)
        .total_stacks(instances)
        .total_core_instances(core.max(core_each))
        .total_memories(instances.saturating_mul(2).max(core_each))
        .total_tables(core.max(core_each))
        .max_core_instances_per_component(core_each)
        .max_memories_per_component(core_each)
        .max_tables_per_component(core_each)
        .max_tables_per_module(16)
        .max_memories_per_module(4)
        .max_memory_size(number(settings.largest(|limits| limits.memory_bytes)))
        .table_elements(number(settings.largest(|limits| limits.table_elements)))
        // Pages that a guest touched are put back as they were, and stay mapped for the next one: unmapping them would
        // interrupt every core, and each would be faulted in again. The kernel says which they are (Linux 6.7). With
        // 256 KiB a short call in JavaScript had 23 page faults, one in Go 40.
        .pagemap_scan(Enabled::Auto)
        .linear_memory_keep_resident(1 << 20)
        // What is kept so is bounded by how many idle instances are remembered.
        .max_unused_warm_slots(UNUSED_INSTANCES_KEPT)
        // CPython has five thousand functions in its table: with 16 KiB, ten page faults in a call.
        .table_keep_resident(64 << 10)
        .async_stack_keep_resident(64 << 10);
    InstanceAllocationStrategy::Pooling(pool)
}

/// What a plugin is linked to: its role's interfaces, and the capabilities that its manifest names. Nothing else is
/// there, so nothing else can be called.
pub(crate) fn linker(engine: &Engine, manifest: &Manifest) -> wasmtime::Result<Linker<GuestState>> {
    let mut linker = Linker::<GuestState>::new(engine);
    // A manifest of another version was refused when it was read.
    if let Some(version) = ContractVersion::named(&manifest.contract) {
        version.link(&mut linker, manifest)?;
    }
    Ok(linker)
}
