//! A counting allocator: bytes live on each thread and their peak.

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;

/// A request that would bring a thread above this is refused, so that a case that asks for everything does not take the
/// machine with it: a fallible reservation sees an error, any other ends the process.
const CEILING: isize = 2 << 30;

thread_local! {
    static LIVE: Cell<isize> = const { Cell::new(0) };
    static PEAK: Cell<isize> = const { Cell::new(0) };
}

/// The system's allocator, counted.
pub(crate) struct Counting;

/// Counts a request of `bytes` more, if there is room for it.
fn grow(bytes: isize) -> bool {
    LIVE.with(|live| {
        let now = live.get().saturating_add(bytes);
        if now > CEILING {
            return false;
        }
        live.set(now);
        PEAK.with(|peak| peak.set(peak.get().max(now)));
        true
    })
}

// SAFETY: every call is passed on to the system's allocator with its arguments, or refused with a null pointer. The cells
// are constant and need no destructor, so that they can be used at any time of a thread's life.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        if !grow(layout.size() as isize) {
            return std::ptr::null_mut();
        }
        // SAFETY: as the caller promises.
        unsafe { System.alloc(layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        if !grow(layout.size() as isize) {
            return std::ptr::null_mut();
        }
        // SAFETY: as the caller promises.
        unsafe { System.alloc_zeroed(layout) }
    }

    unsafe fn dealloc(&self, at: *mut u8, layout: Layout) {
        grow(-(layout.size() as isize));
        // SAFETY: as the caller promises.
        unsafe { System.dealloc(at, layout) }
    }

    unsafe fn realloc(&self, at: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        // Old and new may exist side by side.
        if !grow(size as isize) {
            return std::ptr::null_mut();
        }
        // SAFETY: as the caller promises.
        let new = unsafe { System.realloc(at, layout, size) };
        grow(if new.is_null() {
            -(size as isize)
        } else {
            -(layout.size() as isize)
        });
        new
    }
}

/// The result of `f` and the most bytes that this thread had in use in it, above those before.
pub(crate) fn peak_of<T>(f: impl FnOnce() -> T) -> (T, u64) {
    let before = LIVE.with(Cell::get);
    PEAK.with(|peak| peak.set(before));
    let result = f();
    let peak = PEAK.with(Cell::get) - before;
    (result, peak.max(0) as u64)
}
