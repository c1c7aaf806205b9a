//! Recurrent layers on the device.

use super::recurrent::{Recurrent, Sizes};
use crate::lower::{Lower, Place, Placing};
use crate::{Dim, Error, Result};
use tilewright_kernels::{self as kernels, Cell, Layout, Store, View, Weights};
use tilewright_tensor::{DType, HostTensor};

/// Each step of each direction is dispatched by itself, which takes 3 KB of a plan.
const MAX_STEPS: usize = 8192;

/// On the device for f32 and f16, unless there is nothing to compute.
pub(super) fn place(of: &Recurrent, cx: &Placing<'_>) -> Place {
    let facts = (0..3).filter_map(|i| cx.inputs.opt(i));
    let steps = cx
        .inputs
        .opt(0)
        .and_then(|x| x.shape.get(usize::from(of.batch_first)));
    if steps
        .and_then(Dim::known)
        .is_some_and(|n| n > MAX_STEPS as i64)
    {
        return Place::host(format!("a plan holds {MAX_STEPS} steps at most"));
    }
    let empty = facts.flat_map(|f| &f.shape).any(|d| d.known() == Some(0));
    if empty {
        return Place::host("a layer without elements");
    }
    cx.floats_only()
}

/// Emits a layer. Inputs are X, W, R, B, sequence_lens, initial_h, then an LSTM's initial_c and P; outputs Y, Y_h, Y_c.
pub(super) fn lower(of: &Recurrent, cell: Cell, cx: &mut Lower<'_>) -> Result<()> {
    let (x, r) = (cx.input(0)?, cx.input(2)?);
    let size = Sizes::new(of, &x.shape, &r.shape);
    if size.batch == 0 || size.hidden == 0 || size.input == 0 {
        return Ok(());
    }
    if size.steps > MAX_STEPS {
        return Err(Error::Limit {
            what: format!("{} steps of a layer", size.steps),
            limit: MAX_STEPS as u64,
        });
    }
    let gates = r.shape[1] / size.hidden;
    let lstm = matches!(cell, Cell::Lstm { .. });
    let held = matches!(cell, Cell::Gru { linear: false });
    let h = state(of, &size, cx, 1);
    let c = lstm.then(|| state(of, &size, cx, 2));
    let rows = size.directions * gates * size.hidden;
    let all = 0..gates * size.hidden;
    let weights = Weights {
        step: 0,
        ..matrix(cx, 1, [1, rows, size.input], 0..rows)?
    };
    let shape = [size.directions, all.end, size.hidden];
    let middle = if held { 2 * size.hidden } else { all.end };
    let recurrent = matrix(cx, 2, shape, 0..middle)?;
    let hidden = (held.then(|| matrix(cx, 2, shape, middle..all.end))).transpose()?;
    let (bias, lengths, y) = (cx.opt_input(3), cx.opt_input(4), cx.opt_output(0));
    let initial = [cx.opt_input(5), cx.opt_input(6).filter(|_| lstm)];
    let peepholes = cx.opt_input(7).filter(|_| lstm);
    let layer = kernels::Recurrent {
        cell,
        steps: size.steps,
        batch: size.batch,
        input: size.input,
        hidden: size.hidden,
        batch_first: of.batch_first,
        directions: (0..size.directions).map(|d| direction(of, d)).collect(),
        clip: of.clip,
        x: &x,
        w: weights,
        r: recurrent,
        r_hidden: hidden,
        bias: bias.as_ref(),
        lengths: lengths.as_ref(),
        peepholes: peepholes.as_ref(),
        initial: [initial[0].as_ref(), initial[1].as_ref()],
        y: y.as_ref(),
        h: &h,
        c: c.as_ref(),
    };
    let scratch = layer
        .scratch()
        .map(|elements| cx.scratch(Store::F32, [elements]));
    let dispatches = kernels::recurrent(cx.target(), &layer, &scratch)?;
    cx.emit(dispatches);
    Ok(())
}

/// The last state in an output, or somewhere else if nobody reads it.
fn state(of: &Recurrent, size: &Sizes, cx: &mut Lower<'_>, output: usize) -> View {
    let shape = if of.batch_first {
        [size.batch, size.directions, size.hidden]
    } else {
        [size.directions, size.batch, size.hidden]
    };
    let given = cx.opt_output(output);
    given.unwrap_or_else(|| cx.scratch(Store::F32, shape))
}

/// Whether a direction runs backward, and its activations.
fn direction(of: &Recurrent, d: usize) -> (bool, [(u32, f32, f32); 3]) {
    let mut functions = [(0, 0.0, 0.0); 3];
    for (f, a) in functions.iter_mut().zip(of.activations(d)) {
        *f = (a.squash as u32, a.alpha, a.beta);
    }
    (of.backward(d), functions)
}

/// Rows `rows` of each of the matrices \[count, all rows, k\] in input `i`: packed where it is constant.
fn matrix(
    cx: &mut Lower<'_>,
    i: usize,
    [count, all, k]: [usize; 3],
    rows: std::ops::Range<usize>,
) -> Result<Weights> {
    let whole = rows.len() == all;
    let take = |from: &HostTensor| -> Result<HostTensor> {
        let from = from.cast(DType::F32)?;
        let lines = (0..count).flat_map(|d| rows.clone().map(move |row| (d * all + row) * k));
        Ok(from.select([count, rows.len(), k], lines.flat_map(|at| at..at + k))?)
    };
    if cx.weight(i).is_some() {
        let width = kernels::panel_width(cx.caps());
        let key = format!("gates {rows:?} of {count} x {all} x {k} in panels of {width}");
        let view = cx.derived(i, key, |w| Ok(kernels::pack_b(&take(w)?, true, width)?))?;
        let ld = k.next_multiple_of(4);
        return Ok(Weights {
            step: rows.len().div_ceil(width) * ld * width,
            layout: Layout::Panels { width },
            view,
            ld,
        });
    }
    let view = cx.input(i)?;
    let at = |view: View, step: usize| Weights {
        view,
        layout: Layout::Cols,
        ld: k,
        step,
    };
    // A product may read fewer rows than there are, but only from the first on.
    if whole || rows.start == 0 {
        return Ok(at(view, all * k));
    }
    let copied = cx.scratch(Store::F32, [count, rows.len(), k]);
    let stride = |rows: usize| vec![(rows * k) as isize, k as isize, 1];
    let region = kernels::Region {
        shape: copied.shape.clone(),
        from: kernels::Strides {
            offset: rows.start * k,
            by: stride(all),
        },
        to: kernels::Strides {
            offset: 0,
            by: stride(rows.len()),
        },
    };
    let dispatches = kernels::copy(cx.caps(), &view, &copied, &region)?;
    cx.emit(dispatches);
    Ok(at(copied, rows.len() * k))
}
