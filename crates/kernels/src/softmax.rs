//! Softmax, its logarithm, and Hardmax along one axis, in one dispatch.

use tilewright_device::{Caps, Dispatch};

use crate::reduce::{scalar, typed};
use crate::walk::{Form, Walk};
use crate::{Error, Result, Store, View};

/// y = softmax of x along `axis`, or its logarithm. x and y are both f32 or both f16 and of one shape, without extents of
/// 0.
///
/// # Errors
/// [`Error::Storage`], [`Error::Shape`], [`Error::TooLarge`].
pub fn softmax(caps: &Caps, x: &View, axis: usize, y: &View, log: bool) -> Result<Vec<Dispatch>> {
    // The statistics take four loads a round, results one.
    let walk = checked("softmax", caps, x, axis, y, 5)?;
    let variant = typed(walk.variant("softmax"), scalar(x.store), "f32", "f32")
        .part("fold_lse")
        .part(walk.share())
        .set("LOG", log);
    // Two readings and one writing.
    let dispatch = walk.dispatch("softmax", caps, variant, 3)?;
    Ok(vec![dispatch.bind("X", x.span).bind("Y", y.span)])
}

/// y = 1 at the first maximum of x along `axis` (NaN counts as one), 0 elsewhere. As [`softmax`] otherwise.
///
/// # Errors
/// [`Error::Storage`], [`Error::Shape`], [`Error::TooLarge`].
pub fn hardmax(caps: &Caps, x: &View, axis: usize, y: &View) -> Result<Vec<Dispatch>> {
    let walk = checked("hardmax", caps, x, axis, y, 8)?;
    let variant = typed(walk.variant("hardmax"), scalar(x.store), "i32", "i32")
        .part("fold_arg")
        .part("order_float")
        .part(walk.share())
        .set("MIN", false)
        .set("LAST", false);
    let dispatch = walk.dispatch("hardmax", caps, variant, 2)?;
    Ok(vec![dispatch.bind("X", x.span).bind("Y", y.span)])
}

/// The walk along `axis` of x to y, of which four loads cost `rounds`.
fn checked(
    kernel: &'static str,
    caps: &Caps,
    x: &View,
    axis: usize,
    y: &View,
    rounds: usize,
) -> Result<Walk> {
    floats(kernel, caps, x, y)?;
    if x.shape != y.shape || x.elements() == 0 || axis >= x.shape.len() {
        let what = format!("{x} along {axis} is not {y}");
        return Err(Error::shape(kernel, what));
    }
    Ok(Walk::new(caps, Form::along(&x.shape, axis), rounds).shared())
}

/// An error unless x and y are both f32, or both f16 on an adapter that has it.
pub(crate) fn floats(kernel: &'static str, caps: &Caps, x: &View, y: &View) -> Result<()> {
    match (x.store, y.store) {
        (Store::F16, Store::F16) if caps.f16 => Ok(()),
        _ => f32_only(kernel, &[("x", x), ("y", y)]),
    }
}

/// An error unless all operands are f32.
pub(crate) fn f32_only(kernel: &'static str, operands: &[(&'static str, &View)]) -> Result<()> {
    let other = operands.iter().find(|(_, view)| view.store != Store::F32);
    other.map_or(Ok(()), |(operand, view)| {
        Err(Error::Storage {
            kernel,
            operand,
            store: view.store,
        })
    })
}
