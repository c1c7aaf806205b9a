//! Local response normalisation.

use tilewright_device::{Caps, Dispatch, Variant};

use crate::error::index;
use crate::flat::flat;
use crate::rounds::check_rounds;
use crate::softmax::f32_only;
use crate::walk::Form;
use crate::{Error, Result, View};

/// y = x / (bias + alpha / size * s)^beta, s being the sum of squares over `size` channels around the element's own
/// (one more after it than before where `size` is even). x is f32 `[outer, n, inner]` with n channels; no extent may be 0.
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
    f32_only("lrn", &[("x", x), ("y", y)])?;
    let fits = form.elements() == x.elements() && x.elements() == y.elements();
    if !fits || x.elements() == 0 || size == 0 {
        let what = format!("{x} as {form:?} is not {y}, size {size}");
        return Err(Error::shape("lrn", what));
    }
    index("lrn", "the number of elements", x.elements())?;
    check_rounds("lrn", caps, size.min(form.n))?;
    let width = if form.inner.is_multiple_of(4) { 4 } else { 1 };
    let load = if width == 4 { "vec4<f32>" } else { "f32" };
    let variant = Variant::new("lrn").alias("L", load);
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
