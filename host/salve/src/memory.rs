//! Memory that was needed once goes back to the system.
//!
//! glibc raises the size from which a block gets pages of its own to that of the largest such block that was ever freed, up to
//! 32 MiB. After one large request, blocks of that size come from heaps, where what lies above them keeps them: one burst of
//! large requests then stays resident for ever (`docs/decisions/0013-memory-goes-back.md`). Other C libraries do not do so.

#![cfg_attr(
    all(target_os = "linux", target_env = "gnu"),
    expect(unsafe_code, reason = "mallopt is the C library's; the one declaration below is all of it")
)]

/// Blocks from this size on have pages of their own, which are gone once they are freed, in bytes.
#[cfg(all(target_os = "linux", target_env = "gnu"))]
const OWN_PAGES_FROM_BYTES: std::ffi::c_int = 1 << 20;

/// Keeps large blocks out of heaps. To be called before there are threads.
#[cfg(all(target_os = "linux", target_env = "gnu"))]
pub fn goes_back() {
    /// `M_MMAP_THRESHOLD` of malloc.h. A value that is set stays as it is.
    const MMAP_THRESHOLD: std::ffi::c_int = -3;
    // SAFETY: the signature is that of malloc.h; the function takes two numbers, and refuses those that make no sense.
    unsafe extern "C" {
        safe fn mallopt(parameter: std::ffi::c_int, value: std::ffi::c_int) -> std::ffi::c_int;
    }
    // If it is refused, memory stays longer, which is no reason not to start.
    _ = mallopt(MMAP_THRESHOLD, OWN_PAGES_FROM_BYTES);
}

/// Nothing to do.
#[cfg(not(all(target_os = "linux", target_env = "gnu")))]
pub fn goes_back() {}
