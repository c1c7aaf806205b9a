//! Reductions along any axes: `reduce.wgsl` once for each run of neighbouring axes, twice where that is cut.

use tilewright_device::{Caps, Dispatch, Span, Variant};

use crate::error::index;
use crate::fill::{alike, movable};
use crate::walk::{Form, Walk, slim};
use crate::{Error, Result, Store, View};

/// Four loads a round.
const ROUNDS: usize = 1;

/// What a reduction makes of a group of elements.
#[derive(Debug, Clone, Copy, PartialEq)]
#[non_exhaustive]
pub enum Reduction {
    /// The sum.
    Sum,
    /// The mean; integers truncate, and their sum must fit.
    Mean,
    /// The largest, NaN if one is.
    Max,
    /// The smallest, NaN if one is.
    Min,
    /// The product.
    Prod,
    /// The sum of absolute values.
    L1,
    /// The root of the sum of squares. Floats only.
    L2,
    /// The logarithm of the sum. Floats only.
    LogSum,
    /// The logarithm of the sum of exponentials. Floats only.
    LogSumExp,
    /// The sum of squares.
    SumSquare,
    /// (sum |x|^p)^(1/p). Floats only.
    Norm(f32),
}

/// One dispatch of a reduction.
struct Pass {
    walk: Walk,
    /// Elements of its result.
    out: usize,
}

/// The runs of neighbouring reduced axes, last first, each with what is around it once those after it are gone.
fn forms(shape: &[usize], axes: &[usize]) -> Vec<Form> {
    let mut runs: Vec<(usize, bool)> = Vec::new();
    for (axis, &n) in shape.iter().enumerate().filter(|axis| *axis.1 != 1) {
        let reduced = axes.contains(&axis);
        match runs.last_mut() {
            Some(last) if last.1 == reduced => last.0 *= n,
            _ => runs.push((n, reduced)),
        }
    }
    let product = |part: &[(usize, bool)]| part.iter().map(|run| run.0).product();
    let mut forms = Vec::new();
    while let Some(at) = runs.iter().rposition(|run| run.1) {
        forms.push(Form {
            outer: product(&runs[..at]),
            n: runs[at].0,
            inner: product(&runs[at + 1..]),
        });
        runs.remove(at);
    }
    if forms.is_empty() {
        // Nothing is folded, but what comes before and after a fold is still done.
        forms.push(Form::around(shape, 0, 0));
    }
    forms
}

fn passes(caps: &Caps, shape: &[usize], axes: &[usize]) -> Vec<Pass> {
    let mut passes = Vec::new();
    for form in forms(shape, axes) {
        let out = form.outer * form.inner;
        let walk = Walk::new(caps, form, ROUNDS).across().split();
        passes.push(Pass {
            walk,
            out: out * walk.splits,
        });
        if walk.splits > 1 {
            let walk = Walk::new(caps, walk.rest(), ROUNDS).across();
            passes.push(Pass { walk, out });
        }
    }
    passes
}

/// Bytes of the scratch that [`reduce`] needs.
#[must_use]
pub fn reduce_scratch(caps: &Caps, shape: &[usize], axes: &[usize]) -> u64 {
    let passes = passes(caps, shape, axes);
    let between = &passes[..passes.len() - 1];
    between
        .iter()
        .map(|pass| bytes(pass).next_multiple_of(256))
        .sum()
}

fn bytes(pass: &Pass) -> u64 {
    4 * pass.out as u64
}

/// y = `kind` of x over `axes`; y's shape is x's without them, with or without extents of 1 in their place. No extent of
/// x may be 0. `scratch` has at least [`reduce_scratch`] bytes; `None` where that is 0.
///
/// # Errors
/// [`Error::Storage`] for packed storage, two of different types, and for kinds that integers do not have, [`Error::Shape`],
/// [`Error::TooLarge`].
pub fn reduce(
    caps: &Caps,
    x: &View,
    axes: &[usize],
    y: &View,
    kind: Reduction,
    scratch: Option<&View>,
) -> Result<Vec<Dispatch>> {
    alike("reduce", caps, x, y)?;
    let passes = passes(caps, &x.shape, axes);
    let last = passes.len() - 1;
    if x.elements() == 0 || passes[last].out != y.elements() {
        let what = format!("{:?} over {axes:?} is not {:?}", x.shape, y.shape);
        return Err(Error::shape("reduce", what));
    }
    let total = x.elements() / y.elements();
    let mut dispatches = Vec::with_capacity(passes.len());
    let (mut from, mut used) = (x.span, 0);
    for (i, pass) in passes.iter().enumerate() {
        let to = if i == last {
            y.span
        } else {
            let room = scratch
                .ok_or_else(|| Error::shape("reduce", "no scratch"))?
                .span;
            let at = used;
            used += bytes(pass).next_multiple_of(256);
            Span {
                offset: room.offset + at,
                bytes: bytes(pass),
                ..room
            }
        };
        let variant = pass.walk.variant("reduce").part(pass.walk.share());
        let ends = [i == 0, i == last];
        let variant = folded(variant, kind, x.store, ends, pass.walk.width())?;
        let dispatch = pass.walk.dispatch("reduce", caps, variant, 1)?;
        let dispatch = params(dispatch, kind, x.store, total)?;
        dispatches.push(dispatch.bind("X", from).bind("Y", to));
        from = to;
    }
    Ok(dispatches)
}

/// The fold's part and constants. Only the first pass sees elements, and only the last results.
fn folded(
    variant: Variant,
    kind: Reduction,
    store: Store,
    [first, last]: [bool; 2],
    width: usize,
) -> Result<Variant> {
    let prod = kind == Reduction::Prod;
    let [before, after] = around(kind, [first, last]);
    if !store.is_float() {
        if matches!(kind, Reduction::LogSumExp | Reduction::Norm(_)) || after > 1 {
            return Err(Error::Storage {
                kernel: "reduce",
                operand: "x",
                store,
            });
        }
        let fold = match kind {
            Reduction::Prod => 1,
            Reduction::Max => 2,
            Reduction::Min => 3,
            _ => 0u32,
        };
        let ty = scalar(store);
        let variant = typed(variant, ty, ty, ty).part("fold_int");
        return Ok(variant
            .set("FOLD", fold)
            .set("BEFORE", before)
            .set("AFTER", after));
    }
    // What passes hand on is f32.
    let end = |is: bool| if is { scalar(store) } else { "f32" };
    let (from, to) = (end(first), end(last));
    Ok(match kind {
        Reduction::Max | Reduction::Min => typed(variant, from, "i32", to)
            .part("fold_order")
            .set("MIN", kind == Reduction::Min),
        Reduction::LogSumExp => typed(variant, from, "f32", to).part("fold_lse"),
        Reduction::LogSum | Reduction::Norm(_) => typed(variant, from, "f32", to)
            .part("fold_power")
            .part(slim(width))
            .set("BEFORE", before)
            .set("AFTER", after),
        _ => typed(variant, from, "f32", to)
            .part("fold_float")
            .set("PROD", prod)
            .set("BEFORE", before)
            .set("AFTER", after),
    })
}

/// What the shader does to elements before the fold and to results after it, by its numbers.
fn around(kind: Reduction, [first, last]: [bool; 2]) -> [u32; 2] {
    let before = match kind {
        _ if !first => 0,
        Reduction::L1 => 1,
        Reduction::L2 | Reduction::SumSquare => 2,
        Reduction::Norm(_) => 3,
        _ => 0u32,
    };
    let after = match kind {
        _ if !last => 0,
        Reduction::Mean => 1,
        Reduction::L2 => 2,
        Reduction::LogSum => 3,
        Reduction::Norm(_) => 4,
        _ => 0u32,
    };
    [before, after]
}

/// The fold's parameters.
fn params(dispatch: Dispatch, kind: Reduction, store: Store, total: usize) -> Result<Dispatch> {
    if !store.is_float() {
        let signed = store == Store::I32;
        let neutral = match (kind, signed) {
            (Reduction::Prod, _) => 1,
            (Reduction::Max, true) => i32::MIN.cast_unsigned(),
            (Reduction::Min, true) => i32::MAX.cast_unsigned(),
            (Reduction::Min, false) => u32::MAX,
            _ => 0,
        };
        let total = index("reduce", "the number of elements of a group", total)?;
        return Ok(dispatch.param("total", total).param("neutral", neutral));
    }
    Ok(match kind {
        Reduction::Max | Reduction::Min | Reduction::LogSumExp => dispatch,
        Reduction::LogSum => dispatch.param("power", 1.0f32),
        Reduction::Norm(power) => dispatch.param("power", power),
        _ => dispatch.param("scale", 1.0 / total as f32),
    })
}

/// The types of elements, accumulators and results.
pub(crate) fn typed(
    variant: Variant,
    element: &'static str,
    acc: &'static str,
    out: &'static str,
) -> Variant {
    variant
        .alias("T", element)
        .alias("Acc", acc)
        .alias("Out", out)
}

/// The WGSL type of an element.
pub(crate) fn scalar(store: Store) -> &'static str {
    match store {
        Store::I32 => "i32",
        Store::U32 => "u32",
        Store::F16 => "f16",
        _ => "f32",
    }
}

/// The part that orders elements of a storage.
pub(crate) fn order(store: Store) -> &'static str {
    match store {
        Store::I32 => "order_i32",
        Store::U32 => "order_u32",
        _ => "order_float",
    }
}

/// y (i32) = the position along `axis` of x's largest element (`min`: smallest), of equal ones the first or `last`.
/// NaN beats all numbers. No extent of x may be 0.
///
/// # Errors
/// [`Error::Storage`], [`Error::Shape`], [`Error::TooLarge`].
pub fn arg_max(
    caps: &Caps,
    x: &View,
    axis: usize,
    y: &View,
    min: bool,
    last: bool,
) -> Result<Vec<Dispatch>> {
    movable("arg_max", caps, "x", x)?;
    let form = Form::along(&x.shape, axis);
    if x.elements() == 0 || form.outer * form.inner != y.elements() || y.store != Store::I32 {
        let what = format!("{x} along {axis} is not {y}");
        return Err(Error::shape("arg_max", what));
    }
    let walk = Walk::new(caps, form, ROUNDS).shared();
    let variant = typed(walk.variant("reduce"), scalar(x.store), "i32", "i32")
        .part("fold_arg")
        .part(order(x.store))
        .part(walk.share())
        .set("MIN", min)
        .set("LAST", last);
    let dispatch = walk.dispatch("arg_max", caps, variant, 1)?;
    Ok(vec![dispatch.bind("X", x.span).bind("Y", y.span)])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn neighbouring_axes_merge_and_runs_go_one_by_one() {
        let form = |outer, n, inner| Form { outer, n, inner };
        assert_eq!(forms(&[2, 3, 4, 5], &[1, 2]), [form(2, 12, 5)]);
        assert_eq!(forms(&[2, 3, 1, 5], &[0, 2]), [form(1, 2, 15)]);
        assert_eq!(forms(&[2, 3, 5], &[0, 2]), [form(6, 5, 1), form(1, 2, 3)]);
        assert_eq!(forms(&[2, 3], &[]), [form(1, 1, 6)]);
        assert_eq!(forms(&[], &[]), [form(1, 1, 1)]);
    }

    #[test]
    fn a_cut_reduction_has_a_second_pass_and_scratch() {
        let caps = Caps::webgpu_default();
        let shape = [1 << 22];
        let passes = passes(&caps, &shape, &[0]);
        assert_eq!((passes.len(), passes[1].out), (2, 1));
        let scratch = 4 * passes[0].out as u64;
        assert_eq!(
            reduce_scratch(&caps, &shape, &[0]),
            scratch.next_multiple_of(256)
        );
        assert_eq!(reduce_scratch(&caps, &[64, 4], &[1]), 0);
    }
}
