//! Resize on the device: two neighbouring axes a dispatch, by tables of taps.

use super::sizes::{Extent, Target};
use super::taps::Taps;
use super::{AspectPolicy, Resize, ResizeMode, Transform};
use crate::Result;
use crate::lower::{Lower, Place, Placing};
use tilewright_kernels::{self as kernels, ResizeAxis, ResizeShape, Store};
use tilewright_tensor::{DType, HostTensor};

pub(super) fn place(op: &Resize, cx: &Placing<'_>) -> Place {
    let constant = |i: usize| cx.inputs.opt(i).is_none_or(|f| f.weight().is_some());
    if op.transform == Transform::TfCropAndResize && !constant(1) {
        return Place::host("the region is not constant");
    }
    if !constant(2) || (op.policy != AspectPolicy::Stretch && !constant(3)) {
        return Place::host("the scales are not constant");
    }
    match cx.inputs.opt(0).map(|x| x.dtype) {
        Some(DType::F32 | DType::F16) => cx.by_storage_of(&[0]),
        _ if op.moves_only() => cx.by_storage_of(&[0]),
        _ => Place::host("integers are interpolated on the host"),
    }
}

/// One axis, or two neighbouring ones, with their extents.
struct Group<'a> {
    first: usize,
    axes: &'a [Extent],
}

pub(super) fn lower(op: &Resize, cx: &mut Lower<'_>) -> Result<()> {
    let (x, y) = (cx.input(0)?, cx.output(0)?);
    let extents = extents(op, cx, &x.shape, &y.shape)?;
    let groups = groups(op, &extents);
    if groups.is_empty() {
        // Nothing changes: a copy.
        let group = Group {
            first: 0,
            axes: &[],
        };
        let shape = x.shape.clone();
        return emit(op, cx, &group, (&shape, x), &y);
    }
    // Sums that one dispatch hands to the next are not rounded.
    let between = match y.store {
        Store::F16 if !picks(op) => Store::F32,
        store => store,
    };
    let mut shape = x.shape.clone();
    let mut from = x;
    for (i, group) in groups.iter().enumerate() {
        let before = shape.clone();
        for (j, extent) in group.axes.iter().enumerate() {
            shape[group.first + j] = extent.output;
        }
        let to = if i + 1 == groups.len() {
            y.clone()
        } else {
            cx.scratch(between, shape.clone())
        };
        emit(op, cx, group, (&before, from), &to)?;
        from = to;
    }
    Ok(())
}

/// Whether elements are copied, and nothing is computed.
fn picks(op: &Resize) -> bool {
    op.moves_only() && op.mode == ResizeMode::Nearest
}

fn extents(op: &Resize, cx: &Lower<'_>, from: &[usize], to: &[usize]) -> Result<Vec<Extent>> {
    let given = |i: usize| Result::Ok(cx.constant(i)?.filter(|t| !t.is_empty()));
    let region = match op.transform {
        Transform::TfCropAndResize => given(1)?.map(|t| t.to_f64()),
        _ => None,
    };
    let targets = match (given(2)?, given(3)?) {
        (Some(scales), _) => Target::Scales(scales.to_f64()),
        (None, Some(sizes)) => Target::Sizes(sizes.to_i64()?),
        (None, None) => {
            let axes = op.axes("Resize", to.len())?;
            Target::Sizes(axes.iter().map(|&a| to[a] as i64).collect())
        }
    };
    op.plan("Resize", from, region, &targets)
}

/// The axes that change, in pairs where they are neighbours and their taps together few.
fn groups<'a>(op: &Resize, extents: &'a [Extent]) -> Vec<Group<'a>> {
    let mut groups = vec![];
    let mut at = 0;
    while at < extents.len() {
        if extents[at].is_identity() {
            at += 1;
            continue;
        }
        let count = |extent| op.taps(extent).count;
        let next = extents.get(at + 1).filter(|e| !e.is_identity());
        let pair = next.is_some_and(|e| count(&extents[at]) * count(e) <= kernels::RESIZE_TAPS);
        let count = if pair { 2 } else { 1 };
        groups.push(Group {
            first: at,
            axes: &extents[at..at + count],
        });
        at += count;
    }
    groups
}

fn emit(
    op: &Resize,
    cx: &mut Lower<'_>,
    group: &Group<'_>,
    (shape, x): (&[usize], kernels::View),
    y: &kernels::View,
) -> Result<()> {
    let mut axes = [ResizeAxis {
        input: 1,
        output: 1,
        taps: 1,
    }; 2];
    // The place of an axis that is not there.
    let point = Taps {
        count: 1,
        list: vec![(Some(0), 1.0)],
    };
    let mut all = [point.clone(), point];
    let missing = 2 - group.axes.len();
    for (i, extent) in group.axes.iter().enumerate() {
        let taps = op.taps(extent);
        axes[missing + i] = ResizeAxis {
            input: extent.input,
            output: extent.output,
            taps: taps.count,
        };
        all[missing + i] = taps;
    }
    let words: Vec<u32> = (all.iter().flat_map(|t| &t.list))
        .flat_map(|(index, weight)| {
            let index = index.map_or(kernels::NO_ELEMENT, |i| i as u32);
            [index, (*weight as f32).to_bits()]
        })
        .collect();
    let table = cx.table(HostTensor::from_vec([words.len()], words)?)?;
    let product = |s: &[usize]| s.iter().product::<usize>();
    let shape = ResizeShape {
        outer: product(&shape[..group.first]),
        axes,
        inner: product(&shape[group.first + group.axes.len()..]),
        pick: picks(op),
    };
    let outside = op.extrapolation;
    cx.emit(kernels::resize(cx.caps(), &shape, &x, &table, outside, y)?);
    Ok(())
}
