//! Fill: every element the same.

use tilewright_device::{Caps, Dispatch, Variant};

use crate::flat::flat;
use crate::{Result, Store, View};

/// Sets every element of `y` (f32, i32 or u32) to the one with these bits.
///
/// # Errors
/// [`Error::Storage`](crate::Error::Storage) for other storages, [`Error::TooLarge`](crate::Error::TooLarge).
pub fn fill(caps: &Caps, y: &View, word: u32) -> Result<Vec<Dispatch>> {
    word_sized("fill", "y", y)?;
    if y.elements() == 0 {
        return Ok(vec![]);
    }
    let dispatch = flat("fill", caps, Variant::new("fill"), y.elements())?
        .bind("Y", y.span)
        .param("word", word)
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
