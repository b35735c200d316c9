//! The allocator of a plugin: a first piece of memory that is there from the start, and growth in large steps.
//!
//! WebAssembly's usual allocator grows the memory for the first byte it is asked for. Each growth is a system call of the
//! host, and taking it back for the next instance stops every core for a moment: a quarter of the time of a short action.
//! With [`FIRST_BYTES`] of its own, an ordinary action never grows.
//!
//! A crate that wants another allocator turns the feature `allocator` off.

#![allow(
    unsafe_code,
    reason = "memory is handed to the allocator as addresses; audited: the whole of it stands in this file"
)]

use core::{alloc::Layout, ptr::NonNull};
use talc::{
    base::{Talc, binning::Binning},
    cell::TalcSyncCell,
    source::Source,
    wasm::WasmBinning,
};

/// Zeroes in the memory's first pages: they cost nothing in the component, and nothing at run time until used.
const FIRST_BYTES: usize = 128 << 10;
/// WebAssembly's.
const PAGE_BYTES: usize = 64 << 10;
/// Growth beyond what is needed at once, if the limit lets it.
const SPARE_PAGES: usize = 15;
/// What the allocator needs for itself in a piece, and more.
const OVERHEAD_BYTES: usize = 1 << 10;

static mut FIRST: [u8; FIRST_BYTES] = [0; FIRST_BYTES];

#[global_allocator]
static ALLOCATOR: TalcSyncCell<Memory, WasmBinning> =
    TalcSyncCell::new_wasm(Memory { begun: false, end: None });

/// Where memory comes from.
#[derive(Debug)]
struct Memory {
    begun: bool,
    /// Of the piece that was made by growing.
    end: Option<NonNull<u8>>,
}

// SAFETY: nothing here allocates.
unsafe impl Source for Memory {
    fn acquire<B: Binning>(talc: &mut Talc<Self, B>, layout: Layout) -> Result<(), ()> {
        if !talc.source.begun {
            talc.source.begun = true;
            // SAFETY: nobody else uses these bytes, and they are given away once.
            if unsafe { talc.claim((&raw mut FIRST).cast(), FIRST_BYTES) }.is_some() {
                return Ok(());
            }
        }
        let needed = layout
            .size()
            .checked_add(layout.align())
            .and_then(|bytes| bytes.checked_add(OVERHEAD_BYTES))
            .ok_or(())?
            .div_ceil(PAGE_BYTES);
        let (from, pages) = grow(needed.saturating_add(SPARE_PAGES)).or_else(|| grow(needed)).ok_or(())?;
        let bytes = pages * PAGE_BYTES;
        if let Some(end) = talc.source.end
            && end.as_ptr() == from
        {
            // SAFETY: `end` came from the same allocator and nothing was claimed at its piece since; the pages behind it
            // are new, so nobody else has them.
            talc.source.end = Some(unsafe { talc.extend(end, from.wrapping_add(bytes)) });
            return Ok(());
        }
        // SAFETY: the pages are new, so nobody else has them.
        talc.source.end = Some(unsafe { talc.claim(from, bytes) }.ok_or(())?);
        Ok(())
    }
}

/// Begin and number of new pages, if the host allows so many.
fn grow(pages: usize) -> Option<(*mut u8, usize)> {
    let before = core::arch::wasm32::memory_grow::<0>(pages);
    (before != usize::MAX).then(|| ((before * PAGE_BYTES) as *mut u8, pages))
}
