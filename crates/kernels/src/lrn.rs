//! Local response normalisation.

use tilewright_device::{Caps, Dispatch, Variant};

use crate::error::index;
use crate::flat::flat;
use crate::rounds::check_rounds;
use crate::softmax::floats;
use crate::walk::Form;
use crate::walk::{loaded, slim};
use crate::{Error, Result, Store, View};

/// y = x / (bias + alpha / size * s)^beta, s being the sum of squares over `size` channels around the element's own
/// (one more after it than before where `size` is even). x and y are f32 or f16 `[outer, n, inner]` with n channels; no extent may be 0.
///
/// # Errors
/// [`Error::Storage`], [`Error::Shape`], [`Error::TooLarge`].
pub fn lrn(
    caps: &Caps,
    x: &View,
    form: Form,
    y: &View,
    size: usize,
    [alpha, beta, bias]: [f32; 3],
) -> Result<Vec<Dispatch>> {
    floats("lrn", caps, x, y)?;
    let fits = form.elements() == x.elements() && x.elements() == y.elements();
    if !fits || x.elements() == 0 || size == 0 {
        let what = format!("{x} as {form:?} is not {y}, size {size}");
        return Err(Error::shape("lrn", what));
    }
    index("lrn", "the number of elements", x.elements())?;
    check_rounds("lrn", caps, size.min(form.n))?;
    let width = if form.inner.is_multiple_of(4) { 4 } else { 1 };
    let variant = Variant::new("lrn")
        .part(slim(width))
        .alias("V", loaded(Store::F32, width))
        .alias("L", loaded(x.store, width));
    let param = |value| index("lrn", "an extent", value);
    let dispatch = flat("lrn", caps, variant, x.elements() / width)?
        .param("channels", param(form.n)?)
        .param("inner", param(form.inner / width)?)
        .param("before", param((size - 1) / 2)?)
        .param("after", param(size / 2)?)
        .param("factor", alpha / size as f32)
        .param("beta", beta)
        .param("bias", bias)
        .bind("X", x.span)
        .bind("Y", y.span)
        .work(4 * (x.elements() * size.min(form.n)) as u64);
    Ok(vec![dispatch])
}
