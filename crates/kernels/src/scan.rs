//! Running sums and products along an axis.

use tilewright_device::{Caps, Dispatch};

use crate::fill::word_sized;
use crate::reduce::{scalar, typed};
use crate::walk::{Form, Walk};
use crate::{Error, Result, View};

/// y = the running sum (or product) of x along `axis`, from the end with `reverse`, each without its own element with
/// `exclusive`. x and y have one shape without extents of 0, and f32, i32 or u32; integers wrap.
///
/// # Errors
/// [`Error::Storage`], [`Error::Shape`], [`Error::TooLarge`].
pub fn scan(
    caps: &Caps,
    x: &View,
    axis: usize,
    y: &View,
    product: bool,
    exclusive: bool,
    reverse: bool,
) -> Result<Vec<Dispatch>> {
    word_sized("scan", "x", x)?;
    let same = x.shape == y.shape && x.store == y.store;
    if !same || x.elements() == 0 || axis >= x.shape.len() {
        let what = format!("{x} along {axis} is not {y}");
        return Err(Error::shape("scan", what));
    }
    let form = Form::along(&x.shape, axis);
    // The elements of a vector load would need a scan of their own.
    let walk = Walk::exact(caps, form, form.inner > 1);
    let ty = scalar(x.store);
    let variant = typed(walk.variant("scan"), ty, ty, ty)
        .part(if walk.lanes() > 1 {
            "scan_tree"
        } else {
            "scan_one"
        })
        .set("PROD", product);
    let dispatch = walk.dispatch("scan", caps, variant, 2)?;
    Ok(vec![
        dispatch
            .param("exclusive", u32::from(exclusive))
            .param("reverse", u32::from(reverse))
            .bind("X", x.span)
            .bind("Y", y.span),
    ])
}
