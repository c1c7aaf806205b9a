//! Normalisation of rows by their own statistics, and of channels by statistics that are given or computed.

use tilewright_device::{Caps, Dispatch, Variant};

use crate::error::index;
use crate::flat::flat;
use crate::reduce::{scalar, typed};
use crate::rounds::check_rounds;
use crate::softmax::{f32_only, floats};
use crate::walk::{Form, Walk, loaded};
use crate::{Error, Result, Store, View};

/// By what elements are divided.
#[derive(Debug, Clone, Copy, PartialEq)]
#[non_exhaustive]
pub enum Norm {
    /// (x - mean) / sqrt(variance + epsilon).
    Variance(f32),
    /// (x - mean) / (sqrt(variance) + epsilon).
    Deviation(f32),
    /// x / sqrt(mean square + epsilon).
    MeanSquare(f32),
    /// x / sqrt(sum of squares), 0 where that is 0.
    L2,
    /// x / sum of absolute values, 0 where that is 0.
    L1,
}

/// What follows normalisation.
#[derive(Debug, Clone, Copy)]
#[non_exhaustive]
pub enum Adjust<'a> {
    /// Nothing.
    None,
    /// A scale of each position in the row, f32 or f16 `[n]`, and a bias of the same type.
    Element(&'a View, Option<&'a View>),
    /// A scale and a bias of each channel, f32 or f16 `[channels]`; `each` neighbours in a row share one. Rows run through the
    /// channels and begin again.
    Channel {
        /// The scale.
        scale: &'a View,
        /// The bias.
        bias: &'a View,
        /// Elements of a row in a channel; a divisor of n.
        each: usize,
    },
}

/// y = x `[outer, n, inner]` normalised over n, then adjusted, which needs inner 1. x and y are both f32 or both f16. `stats` receives
/// mean and inverse of what is divided by, f32 `[outer, inner]`. No extent may be 0.
///
/// # Errors
/// [`Error::Storage`], [`Error::Shape`], [`Error::TooLarge`].
pub fn norm(
    caps: &Caps,
    x: &View,
    form: Form,
    y: &View,
    by: Norm,
    adjust: Adjust<'_>,
    stats: Option<[&View; 2]>,
) -> Result<Vec<Dispatch>> {
    floats("norm", caps, x, y)?;
    let fits = form.elements() == x.elements() && x.elements() == y.elements();
    if !fits || x.elements() == 0 {
        let what = format!("{x} as {form:?} is not {y}");
        return Err(Error::shape("norm", what));
    }
    let quads = !matches!(adjust, Adjust::Channel { each, .. } if !each.is_multiple_of(4));
    // Statistics take four loads a round, results one.
    let walk = Walk::exact(caps, form, quads, 6).shared();
    let (centred, abs, inverse, epsilon) = match by {
        Norm::Variance(epsilon) => (true, false, 0u32, epsilon),
        Norm::Deviation(epsilon) => (true, false, 1, epsilon),
        Norm::MeanSquare(epsilon) => (false, false, 0, epsilon),
        Norm::L2 => (false, false, 2, 0.0),
        Norm::L1 => (false, true, 3, 0.0),
    };
    let variant = typed(walk.variant("norm"), scalar(x.store), "f32", "f32")
        .part(walk.share())
        .part(adjust.part())
        .part(if stats.is_some() {
            "stats_kept"
        } else {
            "stats_none"
        })
        .set("CENTRED", centred)
        .set("ABS", abs)
        .set("INVERSE", inverse);
    // Two readings for statistics (one without a mean), one to normalise, one writing.
    let dispatch = walk.dispatch("norm", caps, variant, if centred { 4 } else { 3 })?;
    let dispatch = dispatch
        .param("scale", 1.0 / form.n as f32)
        .param("epsilon", epsilon);
    let mut dispatch = adjust.bind(caps, dispatch, form, &walk)?;
    if let Some([means, inverses]) = stats {
        f32_only("norm", &[("means", means), ("inverses", inverses)])?;
        dispatch = dispatch
            .bind("MEANS", means.span)
            .bind("INVERSES", inverses.span);
    }
    Ok(vec![dispatch.bind("X", x.span).bind("Y", y.span)])
}

impl Adjust<'_> {
    fn part(&self) -> &'static str {
        match self {
            Adjust::None => "adjust_none",
            Adjust::Element(_, None) => "adjust_scale",
            Adjust::Element(_, Some(_)) => "adjust_affine",
            Adjust::Channel { .. } => "adjust_channel",
        }
    }

    fn bind(
        &self,
        caps: &Caps,
        mut dispatch: Dispatch,
        form: Form,
        walk: &Walk,
    ) -> Result<Dispatch> {
        let operands = match self {
            Adjust::None => return Ok(dispatch),
            Adjust::Element(scale, bias) => [Some(*scale), *bias],
            Adjust::Channel { scale, bias, .. } => [Some(*scale), Some(*bias)],
        };
        let (wanted, width) = match self {
            Adjust::Channel { scale, .. } => (scale.elements(), 1),
            _ => (form.n, walk.width()),
        };
        if let [Some(scale), bias] = operands {
            floats("norm", caps, scale, bias.unwrap_or(scale))?;
            dispatch.variant = (dispatch.variant).alias("ScaleL", loaded(scale.store, width));
        }
        for (name, view) in ["SCALE", "BIAS"].into_iter().zip(operands) {
            let Some(view) = view else { continue };
            if view.elements() != wanted || form.inner != 1 {
                let what = format!("{view} does not scale {wanted} elements of {form:?}");
                return Err(Error::shape("norm", what));
            }
            dispatch = dispatch.bind(name, view.span);
        }
        let Adjust::Channel { scale, each, .. } = *self else {
            return Ok(dispatch);
        };
        let channels = scale.elements();
        let per_row = form.n / each.max(1);
        if per_row * each != form.n || !channels.is_multiple_of(per_row) {
            let what = format!("{channels} channels of {each} in {form:?}");
            return Err(Error::shape("norm", what));
        }
        let param = |value| index("norm", "an extent", value);
        Ok(dispatch
            .param("rows", param(channels / per_row)?)
            .param("per_row", param(per_row)?)
            .param("each", param(each / walk.width())?))
    }
}

/// Where the statistics of channels come from.
#[derive(Debug, Clone, Copy)]
#[non_exhaustive]
pub enum Stats<'a> {
    /// f32 `[channels]`: mean and variance.
    Given(&'a View, &'a View),
    /// The input itself, by way of scratch of [`channel_scratch`] bytes.
    Computed(&'a View),
}

/// Statistics that follow those of the input: f32 `[channels]` each.
#[derive(Debug, Clone, Copy)]
pub struct Running<'a> {
    /// Mean and variance so far.
    pub old: [&'a View; 2],
    /// old * momentum + current * (1 - momentum).
    pub new: [&'a View; 2],
    /// What the old ones keep.
    pub momentum: f32,
}

/// Bytes of the scratch that [`Stats::Computed`] needs for x `[outer, n, inner]` with n channels.
#[must_use]
pub fn channel_scratch(form: Form) -> u64 {
    8 * (moment_rows(form).1 * form.n) as u64
}

/// How moments are taken: the walk's form, and how many parts there are of each channel.
fn moment_rows(form: Form) -> (Form, usize) {
    let Form { outer, n, inner } = form;
    if inner == 1 {
        // Channels are neighbours in memory.
        let form = Form {
            outer: 1,
            n: outer,
            inner: n,
        };
        return (form, 1);
    }
    let form = Form {
        outer: outer * n,
        n: inner,
        inner: 1,
    };
    (form, outer)
}

/// y = x `[outer, n, inner]` normalised by channel, of which there are n: (x - mean) / deviation * scale + bias, the
/// latter two f32 `[n]` or 1 and 0. `table` is f32 scratch of 3 * n elements. `by` is [`Norm::Variance`] or
/// [`Norm::Deviation`]. No extent may be 0.
///
/// # Errors
/// [`Error::Storage`], [`Error::Shape`], [`Error::TooLarge`].
pub fn channel_norm(
    caps: &Caps,
    x: &View,
    form: Form,
    y: &View,
    by: Norm,
    stats: Stats<'_>,
    affine: Option<[&View; 2]>,
    running: Option<Running<'_>>,
    table: &View,
) -> Result<Vec<Dispatch>> {
    let (outside, epsilon) = match by {
        Norm::Variance(epsilon) => (false, epsilon),
        Norm::Deviation(epsilon) => (true, epsilon),
        _ => return Err(Error::shape("channel_norm", format!("{by:?} has no mean"))),
    };
    let last = by_channel(caps, x, form, y, table)?;
    let mut dispatches = Vec::with_capacity(3);
    if let Stats::Computed(scratch) = stats {
        dispatches.push(moments(caps, x, form, scratch)?);
    }
    let variant = Variant::new("channels").set("OUTSIDE", outside);
    let dispatch = flat("channel_norm", caps, variant, form.n)?
        .bind("TABLE", table.span)
        .param("epsilon", epsilon)
        .work(32 * form.n as u64);
    let dispatch = with_stats(caps, dispatch, form, stats)?;
    let dispatch = with_affine(dispatch, form.n, affine)?;
    dispatches.push(with_running(dispatch, form.n, running)?);
    dispatches.push(last);
    Ok(dispatches)
}

/// Mean and variance of each part of each channel.
fn moments(caps: &Caps, x: &View, form: Form, scratch: &View) -> Result<Dispatch> {
    let (rows, _) = moment_rows(form);
    if scratch.span.bytes < channel_scratch(form) {
        return Err(Error::shape("moments", format!("{scratch} is too small")));
    }
    let walk = Walk::exact(caps, rows, true, 2).shared();
    let variant = typed(walk.variant("moments"), scalar(x.store), "f32", "f32")
        .part(walk.share())
        .set("ABS", false);
    let dispatch = walk.dispatch("moments", caps, variant, 2)?;
    Ok(dispatch
        .param("scale", 1.0 / rows.n as f32)
        .bind("X", x.span)
        .bind("S", scratch.span))
}

fn with_part(mut dispatch: Dispatch, part: &'static str) -> Dispatch {
    dispatch.variant = dispatch.variant.part(part);
    dispatch
}

fn channels_of(view: &View, channels: usize) -> Result<()> {
    if view.store == Store::F32 && view.elements() == channels {
        return Ok(());
    }
    Err(Error::shape(
        "channel_norm",
        format!("{view} is not f32 of {channels} channels"),
    ))
}

fn with_stats(caps: &Caps, dispatch: Dispatch, form: Form, stats: Stats<'_>) -> Result<Dispatch> {
    match stats {
        Stats::Given(mean, variance) => {
            channels_of(mean, form.n)?;
            channels_of(variance, form.n)?;
            let dispatch = with_part(dispatch, "channel_given");
            Ok(dispatch
                .bind("MEAN", mean.span)
                .bind("VARIANCE", variance.span))
        }
        Stats::Computed(scratch) => {
            let parts = moment_rows(form).1;
            check_rounds("channel_norm", caps, parts / 2)?;
            let batches = index("channel_norm", "the number of parts", parts)?;
            let dispatch = with_part(dispatch, "channel_merged");
            Ok(dispatch.bind("S", scratch.span).param("batches", batches))
        }
    }
}

fn with_affine(
    dispatch: Dispatch,
    channels: usize,
    affine: Option<[&View; 2]>,
) -> Result<Dispatch> {
    let Some([scale, bias]) = affine else {
        return Ok(with_part(dispatch, "channel_plain"));
    };
    channels_of(scale, channels)?;
    channels_of(bias, channels)?;
    let dispatch = with_part(dispatch, "channel_affine");
    Ok(dispatch.bind("SCALE", scale.span).bind("BIAS", bias.span))
}

fn with_running(
    dispatch: Dispatch,
    channels: usize,
    running: Option<Running<'_>>,
) -> Result<Dispatch> {
    let Some(Running { old, new, momentum }) = running else {
        return Ok(with_part(dispatch, "running_none"));
    };
    for view in old.iter().chain(&new) {
        channels_of(view, channels)?;
    }
    let mut dispatch = with_part(dispatch, "running_kept").param("momentum", momentum);
    let names = ["OLD_MEAN", "OLD_VARIANCE", "NEW_MEAN", "NEW_VARIANCE"];
    for (name, view) in names.into_iter().zip(old.iter().chain(&new)) {
        dispatch = dispatch.bind(name, view.span);
    }
    Ok(dispatch)
}

/// y = (x - table[0, c]) * table[1, c] + table[2, c] for x `[outer, n, inner]` with channels c of n. x and y are both f32
/// or both f16, the table f32; no extent may be 0.
///
/// # Errors
/// [`Error::Storage`], [`Error::Shape`], [`Error::TooLarge`].
pub fn by_channel(caps: &Caps, x: &View, form: Form, y: &View, table: &View) -> Result<Dispatch> {
    floats("by_channel", caps, x, y)?;
    f32_only("by_channel", &[("table", table)])?;
    let fits = form.elements() == x.elements() && x.elements() == y.elements();
    if !fits || x.elements() == 0 || table.elements() < 3 * form.n {
        let what = format!("{x} as {form:?} is not {y}, or {table} is too small");
        return Err(Error::shape("by_channel", what));
    }
    let (rows, _) = moment_rows(form);
    let walk = Walk::exact(caps, rows, true, 4).split();
    let variant = typed(walk.variant("by_channel"), scalar(x.store), "f32", "f32");
    let channels = form.n / if walk.rows() { 1 } else { walk.width() };
    let dispatch = walk.dispatch("by_channel", caps, variant, 2)?;
    Ok(dispatch
        .param(
            "channels",
            index("channel_norm", "the number of channels", channels)?,
        )
        .bind("X", x.span)
        .bind("TABLE", table.span)
        .bind("Y", y.span))
}
