//! Negative log-likelihood: the log-probability of each sample's class, weighted and reduced.

use tilewright_device::{Caps, Dispatch, Span, Variant};

use crate::error::index;
use crate::flat::flat;
use crate::reduce::{Reduction, reduce, reduce_scratch};
use crate::softmax::f32_only;
use crate::walk::Form;
use crate::{Error, Result, Store, View};

/// How the losses of samples become one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Total {
    /// They do not.
    Each,
    /// Their sum.
    Sum,
    /// Their sum over the sum of their weights.
    Mean,
}

/// The samples' losses (and weights) in the scratch, the pair of sums, and where the reductions' scratch begins.
fn layout(samples: usize) -> [u64; 2] {
    let pair = (8 * samples as u64).next_multiple_of(256);
    [pair, pair + 256]
}

/// Bytes of the scratch that [`nll_loss`] needs for that many samples, except for [`Total::Each`].
#[must_use]
pub fn nll_scratch(caps: &Caps, samples: usize) -> u64 {
    let sums =
        reduce_scratch(caps, &[2, samples], &[1]).max(reduce_scratch(caps, &[samples], &[0]));
    layout(samples)[1] + sums
}

/// loss = the total of -`logs[batch, label, inner]` * `weight[label]` over samples `[batch, inner]`, for logs f32
/// `[outer, n, inner]` with n classes, labels i32, weights f32 `[n]`. Samples labelled `ignore` count for nothing; a label
/// that is no class is taken as the nearest one. `scratch` has [`nll_scratch`] bytes. No extent may be 0.
///
/// # Errors
/// [`Error::Storage`], [`Error::Shape`], [`Error::TooLarge`].
pub fn nll_loss(
    caps: &Caps,
    logs: &View,
    form: Form,
    labels: &View,
    weights: Option<&View>,
    ignore: Option<i32>,
    total: Total,
    loss: &View,
    scratch: Option<&View>,
) -> Result<Vec<Dispatch>> {
    f32_only("nll_loss", &[("logs", logs), ("loss", loss)])?;
    let samples = form.outer * form.inner;
    let wanted = if total == Total::Each { samples } else { 1 };
    let fits = form.elements() == logs.elements()
        && labels.elements() == samples
        && labels.store == Store::I32
        && loss.elements() == wanted
        && weights.is_none_or(|w| w.elements() == form.n && w.store == Store::F32);
    if !fits || logs.elements() == 0 {
        let what = format!("{logs} as {form:?} and {labels} do not give {loss}");
        return Err(Error::shape("nll_loss", what));
    }
    index("nll_loss", "the number of elements", logs.elements())?;
    if total == Total::Each {
        return Ok(vec![each(
            caps, logs, form, labels, weights, ignore, false, loss.span,
        )?]);
    }
    let scratch = scratch.ok_or_else(|| Error::shape("nll_loss", "no scratch"))?;
    // Where all samples weigh 1, their number is known.
    let counts = total == Total::Mean && (weights.is_some() || ignore.is_some());
    let rows = if counts { 2 } else { 1 };
    let z = part(scratch, 0, &[rows, samples]);
    let mut dispatches = vec![each(
        caps, logs, form, labels, weights, ignore, counts, z.span,
    )?];
    dispatches.extend(totals(caps, &z, total, loss, scratch)?);
    Ok(dispatches)
}

/// A tensor in the scratch.
fn part(scratch: &View, offset: u64, shape: &[usize]) -> View {
    View {
        span: Span {
            offset: scratch.span.offset + offset,
            bytes: Store::F32.bytes(shape),
            ..scratch.span
        },
        store: Store::F32,
        shape: shape.into(),
    }
}

/// loss = the sum or mean of z[0], or with two rows the sum of z[0] over that of z[1].
fn totals(
    caps: &Caps,
    z: &View,
    total: Total,
    loss: &View,
    scratch: &View,
) -> Result<Vec<Dispatch>> {
    let [pair_at, rest_at] = layout(z.last());
    let left = scratch.span.bytes.saturating_sub(rest_at) / 4;
    let rest = part(scratch, rest_at, &[left as usize]);
    if z.shape[0] == 1 {
        let kind = if total == Total::Mean {
            Reduction::Mean
        } else {
            Reduction::Sum
        };
        return reduce(caps, z, &[1], loss, kind, Some(&rest));
    }
    let pair = part(scratch, pair_at, &[2]);
    let mut dispatches = reduce(caps, z, &[1], &pair, Reduction::Sum, Some(&rest))?;
    let ratio = Dispatch::new(Variant::new("ratio"));
    dispatches.push(ratio.bind("PAIR", pair.span).bind("Y", loss.span));
    Ok(dispatches)
}

/// Losses and with `counts` weights of all samples.
fn each(
    caps: &Caps,
    logs: &View,
    form: Form,
    labels: &View,
    weights: Option<&View>,
    ignore: Option<i32>,
    counts: bool,
    z: Span,
) -> Result<Dispatch> {
    let part = if weights.is_some() {
        "weight_given"
    } else {
        "weight_one"
    };
    let variant = Variant::new("nll_loss")
        .part(part)
        .set("COUNTS", counts)
        .set("IGNORE", ignore.is_some());
    let param = |value| index("nll_loss", "an extent", value);
    let mut dispatch = flat("nll_loss", caps, variant, form.outer * form.inner)?
        .param("classes", param(form.n)?)
        .param("inner", param(form.inner)?)
        .param("ignore", ignore.unwrap_or(0))
        .bind("LOGS", logs.span)
        .bind("LABELS", labels.span)
        .bind("Z", z)
        .work(16 * (form.outer * form.inner) as u64);
    if let Some(weights) = weights {
        dispatch = dispatch.bind("WEIGHTS", weights.span);
    }
    Ok(dispatch)
}
