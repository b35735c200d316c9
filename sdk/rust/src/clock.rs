//! Time as the host gives it to agents and actions: virtual and recorded, so that a call can be replayed exactly.
//! Detectors have none; they go by [`Batch::now`](crate::Batch).

/// Unix time in nanoseconds.
#[must_use]
pub fn now() -> u64 {
    #[cfg(target_arch = "wasm32")]
    return crate::bindings::action::salve::plugin::clock::now();
    #[cfg(not(target_arch = "wasm32"))]
    crate::testing::host::now()
}

/// Waits. Counts against the call's wall-clock limit, not against its CPU limit.
pub fn sleep_ms(duration_ms: u32) {
    #[cfg(target_arch = "wasm32")]
    crate::bindings::action::salve::plugin::clock::sleep(duration_ms);
    #[cfg(not(target_arch = "wasm32"))]
    crate::testing::host::sleep(duration_ms);
}

/// Asks `probe` every `pause_ms` until it answers `Some`, for at most `timeout_ms`; then `None`. `probe` is asked at
/// least twice unless the first answer settles it.
pub fn poll<T>(timeout_ms: u32, pause_ms: u32, mut probe: impl FnMut() -> Option<T>) -> Option<T> {
    let deadline = now().saturating_add(u64::from(timeout_ms).saturating_mul(1_000_000));
    loop {
        if let Some(answer) = probe() {
            return Some(answer);
        }
        if now() >= deadline {
            return None;
        }
        sleep_ms(pause_ms.max(1));
    }
}
