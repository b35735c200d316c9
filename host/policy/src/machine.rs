//! The Rhai engine as policies get it: small, pure, bounded.

use crate::answer;
use rhai::{
    Engine, EvalAltResult, Module, ModuleResolver, Position, Shared,
    packages::{
        BasicArrayPackage, BasicMapPackage, BasicMathPackage, CorePackage, LogicPackage, MoreStringPackage,
        Package,
    },
};
use serde::{Deserialize, Serialize};
use std::{
    collections::BTreeMap,
    sync::Arc,
    time::{Duration, Instant},
};

/// Bounds of one evaluation and of a set. Past one of them the evaluation or the set fails and says which.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct PolicyLimits {
    /// Rhai operations of one policy in one decision.
    pub operations_max: u64,
    /// Wall time of one policy in one decision, in milliseconds. A safety net behind `operations_max`: it alone
    /// depends on the machine.
    pub time_ms_max: u64,
    /// Functions that may be in a call of one another.
    pub call_depth_max: usize,
    /// Nesting of one expression.
    pub expression_depth_max: usize,
    /// Longest text, in bytes.
    pub string_bytes_max: usize,
    /// Most items of an array or a map, those within its items included.
    pub items_max: usize,
    /// Most rows of one policy's answer.
    pub rows_max: usize,
    /// Largest file, in bytes.
    pub file_bytes_max: u64,
    /// Most files of a folder.
    pub files_max: usize,
}

impl Default for PolicyLimits {
    fn default() -> Self {
        Self {
            operations_max: 1_000_000,
            time_ms_max: 1_000,
            call_depth_max: 32,
            expression_depth_max: 64,
            string_bytes_max: 64 << 10,
            items_max: 100_000,
            rows_max: 100,
            file_bytes_max: 256 << 10,
            files_max: 256,
        }
    }
}

/// What policies cannot say: each would make an answer depend on more than its input, or reach out.
pub(crate) const DISABLED: &[&str] = &["eval", "print", "debug", "sleep", "timestamp"];

/// Operations between two looks at the clock.
const OPERATIONS_PER_LOOK: u64 = 128;

/// Makes engines. One engine serves one evaluation, so that each has a deadline of its own.
#[derive(Debug, Clone)]
pub(crate) struct Machine {
    pub(crate) limits: PolicyLimits,
    pub(crate) libraries: Arc<BTreeMap<String, Shared<Module>>>,
}

impl Machine {
    pub(crate) fn new(limits: PolicyLimits) -> Self {
        Self { limits, libraries: Arc::default() }
    }

    /// An engine whose deadline begins now.
    pub(crate) fn engine(&self) -> Engine {
        let limits = &self.limits;
        let mut engine = Engine::new_raw();
        CorePackage::new().register_into_engine(&mut engine);
        LogicPackage::new().register_into_engine(&mut engine);
        BasicMathPackage::new().register_into_engine(&mut engine);
        BasicArrayPackage::new().register_into_engine(&mut engine);
        BasicMapPackage::new().register_into_engine(&mut engine);
        MoreStringPackage::new().register_into_engine(&mut engine);
        answer::register(&mut engine);
        for symbol in DISABLED {
            engine.disable_symbol(*symbol);
        }
        // `sleep` belongs to the core package and is no keyword: it is covered instead.
        engine.register_fn("sleep", |_: i64| no_sleep());
        engine.register_fn("sleep", |_: f64| no_sleep());
        engine
            .set_strict_variables(true)
            .set_fail_on_invalid_map_property(true)
            .set_max_operations(limits.operations_max)
            .set_max_call_levels(limits.call_depth_max)
            .set_max_expr_depths(limits.expression_depth_max, limits.expression_depth_max)
            .set_max_string_size(limits.string_bytes_max)
            .set_max_array_size(limits.items_max)
            .set_max_map_size(limits.items_max)
            .set_max_variables(256)
            .set_max_functions(256)
            .set_max_modules(64)
            .set_module_resolver(Libraries(Arc::clone(&self.libraries)));
        let time_ms_max = limits.time_ms_max;
        let deadline = Instant::now() + Duration::from_millis(time_ms_max);
        engine.on_progress(move |operations| {
            let late = operations.is_multiple_of(OPERATIONS_PER_LOOK) && Instant::now() >= deadline;
            late.then(|| format!("it took longer than {time_ms_max} ms").into())
        });
        engine
    }
}

fn no_sleep() -> Result<(), Box<EvalAltResult>> {
    Err(EvalAltResult::ErrorFunctionNotFound("sleep".into(), Position::NONE).into())
}

/// The libraries of the set, and nothing else.
struct Libraries(Arc<BTreeMap<String, Shared<Module>>>);

impl ModuleResolver for Libraries {
    fn resolve(
        &self,
        _engine: &Engine,
        _source: Option<&str>,
        path: &str,
        position: Position,
    ) -> Result<Shared<Module>, Box<EvalAltResult>> {
        self.0
            .get(path)
            .cloned()
            .ok_or_else(|| EvalAltResult::ErrorModuleNotFound(path.to_owned(), position).into())
    }
}
