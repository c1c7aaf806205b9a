//! Running sums and products along an axis.

use tilewright_device::{Caps, Dispatch};

use crate::fill::word_sized;
use crate::reduce::{scalar, typed};
use crate::rounds::most_rounds;
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
    let walk = Walk::exact(caps, form, form.inner > 1, 0);
    let ty = scalar(x.store);
    let variant = typed(walk.variant("scan"), ty, ty, ty)
        .part(if walk.lanes() > 1 {
            "scan_tree"
        } else {
            "scan_one"
        })
        .set("PROD", product);
    let dispatch = walk
        .dispatch("scan", caps, variant, 2)?
        .param("exclusive", u32::from(exclusive))
        .param("reverse", u32::from(reverse))
        .bind("X", x.span)
        .bind("Y", y.span);
    // Each dispatch goes on where the last one ended. Extents fit u32: the walk has counted the elements.
    let most = most_rounds(caps);
    Ok((0..form.n)
        .step_by(most)
        .map(|from| {
            let to = from.saturating_add(most).min(form.n);
            let part = dispatch.clone();
            part.param("begin", from as u32).param("end", to as u32)
        })
        .collect())
}
