//! Copies of tensors that one binding does not hold: halves of the region, until what they touch of either tensor fits.

use tilewright_device::{Caps, Dispatch, Span};

use super::{KERNEL, Region, Strides, copy};
use crate::{Error, Result, View};

/// Parts begin at multiples of this many elements where axes are long, so that vectors of four still move.
const STEP: usize = 64;
/// The most pieces of a copy: bindings of 128 MiB then cover 512 GiB where both tensors are walked in order. Where one is
/// walked across, pieces can become as small as an element, and a dispatch for each would take longer than the copy is worth.
const MOST_PIECES: usize = 4096;

pub(super) fn copy_in_pieces(
    caps: &Caps,
    a: &View,
    y: &View,
    region: &Region,
) -> Result<Vec<Dispatch>> {
    let mut out = vec![];
    let mut left = vec![region.clone()];
    while let Some(region) = left.pop() {
        if out.len() + left.len() >= MOST_PIECES {
            return Err(Error::TooLarge {
                kernel: KERNEL,
                what: "the number of pieces that fit a binding",
                count: (out.len() + left.len() + 1) as u64,
                limit: MOST_PIECES as u64,
            });
        }
        match one_piece(caps, a, y, &region)? {
            Ok(dispatches) => out.extend(dispatches),
            // The first half is next, so that pieces stay in order.
            Err([first, second]) => left.extend([second, first]),
        }
    }
    Ok(out)
}

/// The copy of a region, or its halves where a binding holds too little.
fn one_piece(
    caps: &Caps,
    a: &View,
    y: &View,
    region: &Region,
) -> Result<std::result::Result<Vec<Dispatch>, [Region; 2]>> {
    let from = window(caps, a, &region.shape, &region.from);
    let to = window(caps, y, &region.shape, &region.to);
    if let (Some((a, from)), Some((y, to))) = (&from, &to) {
        let part = Region {
            shape: region.shape.clone(),
            from: from.clone(),
            to: to.clone(),
        };
        return copy(caps, a, y, &part).map(Ok);
    }
    halves(region, from.is_none(), to.is_none()).map(Err)
}

/// The part of a tensor that a walk touches, beginning where a binding may, and the walk in it; none where it is over the limit.
fn window(caps: &Caps, view: &View, shape: &[usize], walk: &Strides) -> Option<(View, Strides)> {
    let (mut low, mut high) = (walk.offset as i128, walk.offset as i128);
    for (&size, &by) in shape.iter().zip(&walk.by) {
        let far = by as i128 * (size as i128 - 1);
        low += far.min(0);
        high += far.max(0);
    }
    let each = view.store.bytes(&[1]);
    let align = u64::from(caps.limits.storage_align);
    let first = low as u64 * each / align * align;
    let skipped = (first / each) as usize;
    let count = high as usize + 1 - skipped;
    let bytes = count as u64 * each;
    let part = View {
        span: Span {
            offset: view.span.offset + first,
            bytes,
            ..view.span
        },
        store: view.store,
        shape: vec![count],
    };
    let fits = bytes <= caps.limits.binding_bytes;
    fits.then(|| (part, walk.clone().at(walk.offset - skipped)))
}

/// The region cut in two along the axis by which a tensor that does not fit is walked furthest.
fn halves(region: &Region, source: bool, target: bool) -> Result<[Region; 2]> {
    let far = |axis: &usize| {
        let reach = |walk: &Strides| {
            walk.by[*axis]
                .unsigned_abs()
                .saturating_mul(region.shape[*axis] - 1)
        };
        let of = |counts: bool, walk| if counts { reach(walk) } else { 0 };
        of(source, &region.from).max(of(target, &region.to))
    };
    let axes = 0..region.shape.len();
    let axis = axes.max_by_key(far).filter(|axis| region.shape[*axis] > 1);
    let axis = axis.ok_or_else(|| Error::shape(KERNEL, "no binding holds an element"))?;
    let size = region.shape[axis];
    let middle = match size / 2 / STEP * STEP {
        0 => size / 2,
        steps => steps,
    };
    let part = |first: usize, count: usize| {
        let mut half = region.clone();
        half.shape[axis] = count;
        for walk in [&mut half.from, &mut half.to] {
            let by = walk.by[axis] * first as isize;
            walk.offset = walk.offset.wrapping_add_signed(by);
        }
        half
    };
    Ok([part(0, middle), part(middle, size - middle)])
}
