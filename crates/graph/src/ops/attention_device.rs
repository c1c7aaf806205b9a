//! Attention on the device.

use super::attention::{Attention, QkOutput, Sizes, plain};
use crate::fact::Facts;
use crate::lower::{Lower, Place, Placing};
use crate::{Fact, Result};
use tilewright_kernels::{
    self as kernels, AttentionMask, Heads, Region, Scores, Store, Strides, View,
};
use tilewright_tensor::DType;

/// On the device for f32 and f16 with a mask of these or of booleans, unless there is nothing to compute.
pub(super) fn place(cx: &Placing<'_>) -> Place {
    let facts = (0..3).filter_map(|i| cx.inputs.opt(i));
    if facts.flat_map(|f| &f.shape).any(|d| d.known() == Some(0)) {
        return Place::host("attention without elements");
    }
    match cx.inputs.opt(3).map(|m| m.dtype) {
        None | Some(DType::F32 | DType::F16 | DType::Bool) => cx.floats_only(),
        Some(other) => Place::host(format!("no kernel for a mask of {other}")),
    }
}

/// Strides of a tensor \[batch, heads, places, size\], or \[batch, places, heads * size\].
fn strides(axes: usize, heads: usize, places: usize, size: usize) -> [usize; 3] {
    if axes == 3 {
        [places * heads * size, size, heads * size]
    } else {
        [heads * places * size, places * size, size]
    }
}

/// Sizes from plain shapes.
fn sizes(op: &Attention, cx: &Lower<'_>) -> Result<Sizes<usize>> {
    let facts: Vec<Option<Fact>> = (0..cx.input_count())
        .map(|i| Some(Fact::sized(cx.input_dtype(i)?, &cx.opt_input(i)?.shape)))
        .collect();
    let facts: Vec<Option<&Fact>> = facts.iter().map(Option::as_ref).collect();
    plain(&op.sizes(Facts::new("Attention", &facts))?)
}

/// The keys (or values) of past and present in one tensor: the input itself where it is that and nobody reads the output.
fn joined(
    cx: &mut Lower<'_>,
    s: &Sizes<usize>,
    [now, past, output]: [usize; 3],
    size: usize,
) -> Result<(View, [usize; 3])> {
    let input = cx.input(now)?;
    let own = strides(input.shape.len(), s.kv_heads, s.keys, size);
    let (past, total) = (cx.opt_input(past), s.past + s.keys);
    if past.is_none() && cx.opt_output(output).is_none() {
        return Ok((input, own));
    }
    let shape = [s.batch, s.kv_heads, total, size];
    let whole = cx
        .opt_output(output)
        .unwrap_or_else(|| cx.scratch(input.store, shape));
    let to = strides(4, s.kv_heads, total, size);
    let by = |of: [usize; 3]| vec![of[0] as isize, of[1] as isize, of[2] as isize, 1];
    let mut parts = vec![(input, own, s.keys, s.past)];
    parts.extend(past.map(|p| (p, strides(4, s.kv_heads, s.past, size), s.past, 0)));
    for (view, from, places, at) in parts {
        let region = Region {
            shape: vec![s.batch, s.kv_heads, places, size],
            from: Strides {
                offset: 0,
                by: by(from),
            },
            to: Strides {
                offset: at * size,
                by: by(to),
            },
        };
        let dispatches = kernels::copy(cx.caps(), &view, &whole, &region)?;
        cx.emit(dispatches);
    }
    Ok((whole, to))
}

/// Rows of the mask from item to item, head to head, query to query.
fn mask_rows(shape: &[usize]) -> ([usize; 3], usize) {
    let mut by = [0; 3];
    let mut rows = 1;
    let Some((keys, outer)) = shape.split_last() else {
        return (by, 1);
    };
    for (by, &size) in by.iter_mut().rev().zip(outer.iter().rev()) {
        *by = if size == 1 { 0 } else { rows };
        rows *= size;
    }
    (by, *keys)
}

/// Which scores are kept.
fn scores(op: &Attention) -> Scores {
    match op.qk_output {
        QkOutput::Raw => Scores::Scaled,
        QkOutput::Capped => Scores::Capped,
        QkOutput::Biased => Scores::Biased,
        QkOutput::Softmax => Scores::Softmax,
    }
}

/// Emits an attention.
pub(super) fn lower(op: &Attention, cx: &mut Lower<'_>) -> Result<()> {
    let s = sizes(op, cx)?;
    let (q, y, kept) = (cx.input(0)?, cx.opt_output(0), cx.opt_output(3));
    let (k, k_by) = joined(cx, &s, [1, 4, 1], s.head)?;
    let (v, v_by) = joined(cx, &s, [2, 5, 2], s.v_head)?;
    if s.batch * s.q_heads * s.queries == 0 || y.is_none() && kept.is_none() {
        return Ok(());
    }
    let axes = q.shape.len();
    let y = match y {
        Some(y) => y,
        None => cx.scratch(q.store, [s.batch * s.q_heads * s.queries * s.v_head]),
    };
    if s.past + s.keys == 0 || s.v_head == 0 || s.head == 0 {
        let dispatches = kernels::fill(cx.caps(), &y, 0)?;
        cx.emit(dispatches);
        return Ok(());
    }
    let (mask, valid) = (cx.opt_input(3), cx.opt_input(6));
    let bound = |n: i64| usize::try_from(n).ok();
    let ahead = op.is_causal.then_some(0).or(bound(op.right_window));
    let of = kernels::Attention {
        batch: s.batch,
        heads: s.q_heads,
        groups: s.kv_heads,
        queries: s.queries,
        keys: s.past + s.keys,
        head: s.head,
        v_head: s.v_head,
        q: Heads {
            view: &q,
            by: strides(axes, s.q_heads, s.queries, s.head),
        },
        k: Heads { view: &k, by: k_by },
        v: Heads { view: &v, by: v_by },
        y: Heads {
            view: &y,
            by: strides(axes, s.q_heads, s.queries, s.v_head),
        },
        scale: op.scale.unwrap_or(1.0 / (s.head as f32).sqrt()),
        cap: (op.softcap > 0.0).then_some(op.softcap),
        window: [ahead, bound(op.left_window)],
        past: s.past,
        mask: mask.as_ref().map(|view| {
            let (by, keys) = mask_rows(&view.shape);
            AttentionMask { view, by, keys }
        }),
        valid: valid.as_ref(),
    };
    let kept = kept.as_ref().map(|view| (view, scores(op)));
    let dispatches = if kept.is_some() || of.prefers_products(cx.caps()) {
        let count = kept.map_or(of.block_scores(), |_| of.scores());
        let scores = cx.scratch(Store::F32, [usize::try_from(count).unwrap_or(usize::MAX)]);
        kernels::attention_by_products(cx.target(), &of, &scores, kept)?
    } else {
        kernels::attention(cx.caps(), &of)?
    };
    cx.emit(dispatches);
    Ok(())
}
