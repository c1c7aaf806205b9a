//! The k largest or smallest elements along an axis: picked one by one, or sorted where k is large.

use tilewright_device::{AdapterKind, Caps, Dispatch, Variant};

use crate::error::index;
use crate::fill::movable;
use crate::flat::flat;
use crate::reduce::{order, scalar, typed};
use crate::rounds::most_rounds;
use crate::walk::{Form, Walk};
use crate::{Error, Result, Store, View};

/// log2 of the length that a row of n keys is padded to.
fn bits(n: usize) -> u32 {
    n.next_power_of_two().trailing_zeros()
}

/// Bytes of a key and a position for every element, in rows of padded length.
fn key_bytes(form: Form) -> u64 {
    let rows = (form.outer as u64).saturating_mul(form.inner as u64);
    let row = 8u64.checked_shl(bits(form.n)).unwrap_or(u64::MAX);
    rows.saturating_mul(row)
}

/// Whether sorting a row does less work than k readings of it, and the keys fit a binding.
fn sorts(caps: &Caps, form: Form, k: usize) -> bool {
    let bits = bits(form.n) as usize;
    // Steps of the sort: half of these, each half as many pairs as keys; a step moves more than a reading does.
    let steps = bits * (bits + 1) / 2;
    // A software adapter picks with one thread a row, and has more of them.
    let rows = form.outer * form.inner;
    let alone = caps.kind == AdapterKind::Software && rows < 16;
    let less = k > if alone { steps / 4 } else { steps };
    less && key_bytes(form) <= caps.limits.binding_bytes
}

/// Bytes of the scratch that [`top_k`] needs; 0 where it picks.
#[must_use]
pub fn top_k_scratch(caps: &Caps, shape: &[usize], axis: usize, k: usize) -> u64 {
    let form = Form::along(shape, axis);
    if sorts(caps, form, k) {
        key_bytes(form)
    } else {
        0
    }
}

/// values and indices (i32) = the `k` largest elements of x along `axis` (smallest: `largest` false), in order, and where
/// they are; of equal ones the lower index comes first, and NaN is above all numbers. No extent of x may be 0.
///
/// # Errors
/// [`Error::Storage`], [`Error::Shape`], [`Error::TooLarge`].
pub fn top_k(
    caps: &Caps,
    x: &View,
    axis: usize,
    k: usize,
    largest: bool,
    values: &View,
    indices: &View,
    scratch: Option<&View>,
) -> Result<Vec<Dispatch>> {
    movable("top_k", caps, "x", x)?;
    let form = Form::along(&x.shape, axis);
    let out = form.outer * k * form.inner;
    let fits = k <= form.n
        && values.elements() == out
        && indices.elements() == out
        && values.store == x.store
        && indices.store == Store::I32;
    if !fits || x.elements() == 0 || k == 0 {
        let what = format!("{k} of {x} along {axis} are not {values} and {indices}");
        return Err(Error::shape("top_k", what));
    }
    index("top_k", "the number of elements", x.elements())?;
    if sorts(caps, form, k) {
        let keys = scratch.ok_or_else(|| Error::shape("top_k", "no scratch"))?;
        return sort(caps, x, form, k, largest, values, indices, keys);
    }
    // The elements of a vector load would be told apart by a dynamic index.
    let walk = Walk::exact(caps, form, false, 4).shared();
    let variant = typed(walk.variant("top_k"), scalar(x.store), "i32", "i32")
        .part("fold_arg")
        .part(order(x.store))
        .part(walk.share())
        .set("MIN", false)
        .set("LAST", false)
        .set("SMALLEST", !largest);
    // Besides its loads a pick has a tree of at most 256 threads.
    let picks = most_rounds(caps) / (walk.steps() + 12);
    let parts = (0..k).step_by(picks.max(1));
    let passes = picks.clamp(1, k) as u64;
    let dispatch = walk
        .dispatch("top_k", caps, variant, passes)?
        .param("k", index("top_k", "k", k)?)
        .bind("X", x.span)
        .bind("VALUES", values.span)
        .bind("INDICES", indices.span);
    // No more than n elements are picked, and they fit u32.
    let part = |from: usize| {
        let to = from.saturating_add(picks.max(1)).min(k);
        let part = dispatch.clone();
        part.param("begin", from as u32).param("end", to as u32)
    };
    Ok(parts.map(part).collect())
}

/// Keys of all elements, sorted row by row, then the first k of each.
fn sort(
    caps: &Caps,
    x: &View,
    form: Form,
    k: usize,
    largest: bool,
    values: &View,
    indices: &View,
    keys: &View,
) -> Result<Vec<Dispatch>> {
    let bits = bits(form.n);
    let count = (form.outer * form.inner) << bits;
    let param = |value| index("top_k", "an extent", value);
    let extents = |dispatch: Dispatch| -> Result<Dispatch> {
        Ok(dispatch
            .param("n", param(form.n)?)
            .param("inner", param(form.inner)?)
            .param("bits", bits)
            .bind("X", x.span)
            .bind("KEYS", keys.span))
    };
    let load = typed(Variant::new("sort_keys"), scalar(x.store), "i32", "i32")
        .part("lanes_1")
        .part(order(x.store))
        .set("MIN", false)
        .set("SMALLEST", !largest);
    let work = 8 * count as u64;
    let mut dispatches = vec![extents(flat("top_k", caps, load, count)?)?.work(work)];
    for run in 1..=bits {
        for apart in (0..run).rev() {
            let step = flat("top_k", caps, Variant::new("sort_step"), count / 2)?
                .param("apart", 1u32 << apart)
                .param("run", 1u32 << run)
                .param("row", (1u32 << bits) - 1);
            dispatches.push(step.bind("KEYS", keys.span).work(work));
        }
    }
    let take = Variant::new("sort_take").alias("T", scalar(x.store));
    let take = flat("top_k", caps, take, form.outer * k * form.inner)?;
    let take = extents(take)?.param("k", param(k)?);
    dispatches.push(
        take.bind("VALUES", values.span)
            .bind("INDICES", indices.span)
            .work(work),
    );
    Ok(dispatches)
}
