//! Fill: every element the same.

use tilewright_device::{Caps, Dispatch, Variant, fold_groups};

use crate::error::index;
use crate::{Result, Store, View};

const THREADS: u32 = 64;

/// Sets every element of `y` (f32, i32 or u32) to the one with these bits.
///
/// # Errors
/// [`Error::Storage`](crate::Error::Storage) for other storages, [`Error::TooLarge`](crate::Error::TooLarge).
pub fn fill(caps: &Caps, y: &View, word: u32) -> Result<Vec<Dispatch>> {
    word_sized("fill", "y", y)?;
    let count = index("fill", "the number of elements", y.elements())?;
    if count == 0 {
        return Ok(vec![]);
    }
    let dispatch = Dispatch::new(Variant::new("fill").set("THREADS", THREADS))
        .bind("Y", y.span)
        .param("count", count)
        .param("word", word)
        .groups(fold_groups(
            count.div_ceil(THREADS).into(),
            caps.limits.groups,
        ))
        .work(y.span.bytes);
    Ok(vec![dispatch])
}

/// An error unless the elements of `view` take 32 bits each.
pub(crate) fn word_sized(kernel: &'static str, operand: &'static str, view: &View) -> Result<()> {
    match view.store {
        Store::F32 | Store::I32 | Store::U32 => Ok(()),
        store => Err(crate::Error::Storage {
            kernel,
            operand,
            store,
        }),
    }
}
