//! Fill: every element the same.

use tilewright_device::{Caps, Dispatch, Variant};

use crate::flat::{flat, known, words};
use crate::{Result, Store, View};

/// Sets every element of `y` to the one with these bits; those of f32 where `y` is f16.
///
/// # Errors
/// [`Error::Storage`](crate::Error::Storage) for other storages, [`Error::TooLarge`](crate::Error::TooLarge).
pub fn fill(caps: &Caps, y: &View, word: u32) -> Result<Vec<Dispatch>> {
    movable("fill", caps, "y", y)?;
    if y.elements() == 0 {
        return Ok(vec![]);
    }
    let variant = Variant::new("fill")
        .alias("Unit", words(y.store, false))
        .alias("Known", known(y.store));
    let dispatch = flat("fill", caps, variant, y.elements())?
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

/// An error unless kernels can move elements of `view`: words of 32 bits, or f16 where the adapter has it.
pub(crate) fn movable(
    kernel: &'static str,
    caps: &Caps,
    operand: &'static str,
    view: &View,
) -> Result<()> {
    match view.store {
        Store::F16 if caps.f16 => Ok(()),
        _ => word_sized(kernel, operand, view),
    }
}

/// An error unless elements can be moved between the two as they are.
pub(crate) fn alike(kernel: &'static str, caps: &Caps, a: &View, y: &View) -> Result<()> {
    movable(kernel, caps, "a", a)?;
    movable(kernel, caps, "y", y)?;
    let (half, store) = (Store::F16, y.store);
    if (a.store == half) != (store == half) {
        let operand = "y";
        return Err(crate::Error::Storage {
            kernel,
            operand,
            store,
        });
    }
    Ok(())
}
