//! Read access to what the host has seen, for agents and actions. Every answer is bounded, as the contract says.

use crate::Window;
pub use crate::bindings::action::salve::plugin::telemetry::{
    Change, EdgeStats, Point, SeriesInfo, ServiceStats,
};

#[cfg(target_arch = "wasm32")]
use crate::bindings::action::salve::plugin::telemetry as host;
#[cfg(not(target_arch = "wasm32"))]
use crate::testing::host::telemetry as host;

/// A window from `from` to `to`, Unix nanoseconds, the end not included.
#[must_use]
pub fn window(from: u64, to: u64) -> Window {
    Window { from, to }
}

/// All services seen in the window, at most 1,000, by name.
#[must_use]
pub fn services(window: Window) -> Vec<ServiceStats> {
    host::services(window)
}

/// All edges seen in the window, at most 5,000, by caller and callee.
#[must_use]
pub fn edges(window: Window) -> Vec<EdgeStats> {
    host::edges(window)
}

/// Changes in the window, newest first, at most 100.
#[must_use]
pub fn changes(window: Window) -> Vec<Change> {
    host::changes(window)
}

/// Series of a service (empty: of all) whose name begins with `name_prefix`, at most 200.
#[must_use]
pub fn find(service: &str, name_prefix: &str) -> Vec<SeriesInfo> {
    host::find(service, name_prefix)
}

/// Points of a series in the window, oldest first, at most 2,000 (the newest ones).
#[must_use]
pub fn points(series: u32, window: Window) -> Vec<Point> {
    host::points(series, window)
}
