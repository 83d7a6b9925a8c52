//! How much memory a check takes: an allocator that counts what each thread holds.

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;

thread_local! {
    static HELD: Cell<usize> = const { Cell::new(0) };
    static PEAK: Cell<usize> = const { Cell::new(0) };
}

/// The allocator of the system, counting.
pub(crate) struct Counting;

fn count(more: usize, less: usize) {
    // A thread that ends may free what others made, and has no counters any more.
    let _ = HELD.try_with(|held| {
        held.set(held.get().saturating_add(more).saturating_sub(less));
        let _ = PEAK.try_with(|peak| peak.set(peak.get().max(held.get())));
    });
}

#[expect(unsafe_code, reason = "an allocator is unsafe to write; all calls go to the system's")]
// SAFETY: every call goes on to `System` with the arguments that it came with; the counters are
// cells of the thread that are made without an allocation.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count(layout.size(), 0);
        // SAFETY: the caller keeps the promises of `alloc`, which are those of `System`.
        unsafe { System.alloc(layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        count(layout.size(), 0);
        // SAFETY: as above.
        unsafe { System.alloc_zeroed(layout) }
    }

    unsafe fn dealloc(&self, place: *mut u8, layout: Layout) {
        count(0, layout.size());
        // SAFETY: `place` came from `System` with this layout, as all that this allocator gives out.
        unsafe { System.dealloc(place, layout) }
    }

    unsafe fn realloc(&self, place: *mut u8, layout: Layout, new_size: usize) -> *mut u8 {
        count(new_size, layout.size());
        // SAFETY: as above, and the caller keeps the promises about the new size.
        unsafe { System.realloc(place, layout, new_size) }
    }
}

/// Bytes that this thread held before, and the most that it held while `work` ran.
pub(crate) fn peak_of(work: impl FnOnce()) -> (usize, usize) {
    let before = HELD.with(Cell::get);
    PEAK.with(|peak| peak.set(before));
    work();
    (before, PEAK.with(Cell::get))
}
