//! Strided copies: what slices, joins, splits, permutes, repeats and shuffles tensors.

use tilewright_device::{Caps, Dispatch, Variant, fold_groups};

use crate::error::index;
use crate::fill::alike;
use crate::flat::{dims, flat, words};
use crate::{Error, Result, Store, View};

mod pieces;

const KERNEL: &str = "copy";
/// Axes of a `dims` parameter.
const AXES: usize = 8;
/// Elements on a side of what a workgroup transposes: 8 x 8 threads of 4 x 4 elements.
const TILE: usize = 32;
/// Elements of a run from which on a second dispatch for its last few is cheaper than moving all one by one.
const LONG: usize = 1 << 14;

/// How a multi-index walks through a tensor: element `offset + index . strides`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Strides {
    /// Element of the first index.
    pub offset: usize,
    /// Elements from one index to the next, by axis; 0 repeats, negative ones go backwards.
    pub by: Vec<isize>,
}

impl Strides {
    /// Through a whole row-major tensor of this shape.
    #[must_use]
    pub fn of(shape: &[usize]) -> Self {
        let mut by = vec![1isize; shape.len()];
        for axis in (1..shape.len()).rev() {
            by[axis - 1] = by[axis].saturating_mul(shape[axis].max(1) as isize);
        }
        Self { offset: 0, by }
    }

    /// The same walk starting at another element.
    #[must_use]
    pub fn at(self, offset: usize) -> Self {
        Self { offset, ..self }
    }
}

/// Elements that a copy moves: all multi-indices below `shape`, each from one place to another.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Region {
    /// Extents of the walk.
    pub shape: Vec<usize>,
    /// Where elements are read.
    pub from: Strides,
    /// Where they are written; no two indices may share a place.
    pub to: Strides,
}

/// One axis of a walk through two tensors.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Axis {
    pub(crate) size: usize,
    pub(crate) from: isize,
    pub(crate) to: isize,
}

/// The axes of a walk, innermost first, without those of one element and with neighbours that walk on merged; at least one.
pub(crate) fn axes(shape: &[usize], from: &[isize], to: &[isize]) -> Vec<Axis> {
    let mut axes: Vec<Axis> = Vec::new();
    let all = shape.iter().zip(from).zip(to).rev();
    for ((&size, &from), &to) in all.filter(|axis| *axis.0.0 != 1) {
        match axes.last_mut() {
            Some(last)
                if from == last.from * last.size as isize && to == last.to * last.size as isize =>
            {
                last.size *= size;
            }
            _ => axes.push(Axis { size, from, to }),
        }
    }
    if axes.is_empty() {
        axes.push(Axis {
            size: 1,
            from: 1,
            to: 1,
        });
    }
    axes
}

impl Region {
    fn axes(&self) -> Vec<Axis> {
        axes(&self.shape, &self.from.by, &self.to.by)
    }

    /// An error unless the walk stays within the tensors.
    fn check(&self, a: &View, y: &View) -> Result<()> {
        for (view, walk) in [(a, &self.from), (y, &self.to)] {
            let (mut low, mut high) = (walk.offset as i128, walk.offset as i128);
            for (&size, &by) in self.shape.iter().zip(&walk.by) {
                let far = by as i128 * (size as i128 - 1);
                low += far.min(0);
                high += far.max(0);
            }
            if walk.by.len() != self.shape.len() || low < 0 || high >= view.elements() as i128 {
                let what = format!("{self:?} leaves a tensor of shape {:?}", view.shape);
                return Err(Error::shape(KERNEL, what));
            }
        }
        Ok(())
    }
}

/// Copies a region of `a` to a region of `y`; both of words of 32 bits, or both f16. Vectors of four are moved where the innermost axis is
/// contiguous and all strides are multiples of four; two axes that change places are moved in blocks of 4 x 4.
///
/// # Errors
/// [`Error::Shape`] where the region leaves a tensor, [`Error::Storage`], [`Error::TooLarge`].
pub fn copy(caps: &Caps, a: &View, y: &View, region: &Region) -> Result<Vec<Dispatch>> {
    alike(KERNEL, caps, a, y)?;
    if region.shape.contains(&0) {
        return Ok(vec![]);
    }
    region.check(a, y)?;
    let limit = caps.limits.binding_bytes;
    if a.span.bytes > limit || y.span.bytes > limit {
        return pieces::copy_in_pieces(caps, a, y, region);
    }
    // Offsets are 32 bits in the shader.
    index(KERNEL, "the number of elements read from", a.elements())?;
    index(KERNEL, "the number of elements written to", y.elements())?;
    let axes = region.axes();
    if axes.len() > AXES {
        return peeled(caps, a, y, region);
    }
    if let Some((body, tail)) = with_tail(&axes, region) {
        let mut out = copy(caps, a, y, &body)?;
        out.extend(copy(caps, a, y, &tail)?);
        return Ok(out);
    }
    let offsets = [region.from.offset, region.to.offset];
    let dispatch = match swapped(&axes) {
        Some(other) => transpose(caps, y.store, &axes, other, offsets)?,
        None => straight(caps, y.store, &axes, offsets)?,
    };
    let bytes = 2 * y.store.bytes(&[1]) * region.shape.iter().map(|&n| n as u64).product::<u64>();
    Ok(vec![
        dispatch.bind("A", a.span).bind("Y", y.span).work(bytes),
    ])
}

/// A region with more axes than a dispatch has: one copy for each index of the outermost axis.
fn peeled(caps: &Caps, a: &View, y: &View, region: &Region) -> Result<Vec<Dispatch>> {
    let mut out = Vec::new();
    for i in 0..region.shape[0] {
        let inner = |walk: &Strides| Strides {
            offset: walk.offset.wrapping_add_signed(walk.by[0] * i as isize),
            by: walk.by[1..].to_vec(),
        };
        let part = Region {
            shape: region.shape[1..].to_vec(),
            from: inner(&region.from),
            to: inner(&region.to),
        };
        out.extend(copy(caps, a, y, &part)?);
    }
    Ok(out)
}

/// A long contiguous run as one that can be moved by fours, and its last few elements.
fn with_tail(axes: &[Axis], region: &Region) -> Option<(Region, Region)> {
    let &[
        Axis {
            size,
            from: 1,
            to: 1,
        },
    ] = axes
    else {
        return None;
    };
    let aligned = |walk: &Strides| walk.offset.is_multiple_of(4);
    let pays = size >= LONG && !size.is_multiple_of(4);
    if !pays || !aligned(&region.from) || !aligned(&region.to) {
        return None;
    }
    let body = size / 4 * 4;
    let part = |first: usize, count: usize| Region {
        shape: vec![count],
        from: Strides::of(&[count]).at(region.from.offset + first),
        to: Strides::of(&[count]).at(region.to.offset + first),
    };
    Some((part(0, body), part(body, size - body)))
}

/// True if a walk of these strides, but for its unit stride along `inner`, meets only multiples of four.
fn by_fours(offset: usize, strides: impl Iterator<Item = isize>) -> bool {
    offset.is_multiple_of(4) && strides.into_iter().all(|s| s % 4 == 0)
}

/// The axis that is innermost in the source where another one is innermost in the target, if a tile is worth it.
fn swapped(axes: &[Axis]) -> Option<usize> {
    let other = axes.iter().position(|axis| axis.from == 1)?;
    let worth = axes[0].size >= TILE / 4 && axes[other].size >= TILE / 4;
    (other != 0 && axes[0].to == 1 && worth).then_some(other)
}

/// Strides and offsets as shaders read them: u32, wrapping, in units of `by` elements.
fn units(stride: isize, by: isize) -> u32 {
    (stride / by) as u32
}

/// How elements are moved: the part, the axis that is walked in steps of `step` elements, and how many elements an offset
/// counts on either side.
struct Width {
    part: &'static str,
    axis: usize,
    step: usize,
    from: usize,
    to: usize,
}

fn width(axes: &[Axis], [from, to]: [usize; 2]) -> Width {
    let fours = |offset, unit: usize, stride: fn(&Axis) -> isize| {
        let rest = (0..axes.len()).filter(|&i| i != unit);
        axes[unit].size.is_multiple_of(4) && by_fours(offset, rest.map(|i| stride(&axes[i])))
    };
    let (source, target) = (|a: &Axis| a.from, |a: &Axis| a.to);
    let into = axes[0].to == 1 && fours(to, 0, target);
    let width = |part, axis, step, from, to| Width {
        part,
        axis,
        step,
        from,
        to,
    };
    if into && axes[0].from == 1 && fours(from, 0, source) {
        return width("copy_same", 0, 4, 4, 4);
    }
    if into {
        return width("copy_four", 0, 4, 1, 4);
    }
    match axes.iter().position(|a| a.from == 1) {
        Some(axis) if fours(from, axis, source) => width("copy_spread", axis, 4, 4, 1),
        _ => width("copy_same", 0, 1, 1, 1),
    }
}

fn straight(caps: &Caps, store: Store, axes: &[Axis], [from, to]: [usize; 2]) -> Result<Dispatch> {
    let width = width(axes, [from, to]);
    let along = axes[width.axis];
    let outer: Vec<Axis> = (0..axes.len())
        .filter(|&i| i != width.axis)
        .map(|i| axes[i])
        .collect();
    let mut variant = Variant::new("copy")
        .part(width.part)
        .set("OUTER", outer.len() as u32);
    variant = match width.part {
        "copy_same" => variant.alias("Word", words(store, width.to == 4)),
        _ => variant.alias("Unit", words(store, false)),
    };
    let (step, from_unit, to_unit) = (width.step as isize, width.from as isize, width.to as isize);
    let first = |n: u32| std::iter::once(n);
    let sizes = first((along.size / width.step) as u32).chain(outer.iter().map(|a| a.size as u32));
    let froms = first(units(along.from * step, from_unit))
        .chain(outer.iter().map(|a| units(a.from, from_unit)));
    let tos =
        first(units(along.to * step, to_unit)).chain(outer.iter().map(|a| units(a.to, to_unit)));
    let count = axes.iter().map(|a| a.size).product::<usize>() / width.step;
    let dispatch = flat(KERNEL, caps, variant, count)?
        .param("shape", dims(sizes))
        .param("a_by", dims(froms))
        .param("y_by", dims(tos))
        .param("a_at", units(from as isize, from_unit))
        .param("y_at", units(to as isize, to_unit));
    Ok(match width.part {
        "copy_four" => dispatch.param("copy_step", along.from as u32),
        "copy_spread" => dispatch.param("copy_step", along.to as u32),
        _ => dispatch,
    })
}

/// Axis 0, innermost in the target, and axis `other`, innermost in the source, in tiles; the others one by one.
fn transpose(
    caps: &Caps,
    store: Store,
    axes: &[Axis],
    other: usize,
    [from, to]: [usize; 2],
) -> Result<Dispatch> {
    let (inner, across) = (axes[0], axes[other]);
    let rest: Vec<Axis> = (1..axes.len())
        .filter(|&i| i != other)
        .map(|i| axes[i])
        .collect();
    let outer = || rest.iter();
    let froms = outer()
        .map(|a| a.from)
        .chain([inner.from, across.size as isize]);
    let tos = outer()
        .map(|a| a.to)
        .chain([across.to, inner.size as isize]);
    let wide = by_fours(from, froms) && by_fours(to, tos);
    let by = if wide { 4 } else { 1 };
    let part = if wide {
        "transpose_wide"
    } else {
        "transpose_any"
    };
    let variant = Variant::new("transpose")
        .part(part)
        .alias("Unit", words(store, false))
        .set("OUTER", rest.len() as u32);
    let tiles = [inner.size.div_ceil(TILE), across.size.div_ceil(TILE)];
    let groups = rest.iter().map(|a| a.size).product::<usize>() * tiles[0] * tiles[1];
    index(KERNEL, "the number of tiles", groups)?;
    let size = |n: usize| index(KERNEL, "an extent", n);
    let sizes = tiles.into_iter().chain(rest.iter().map(|a| a.size));
    let froms = rest.iter().map(|a| units(a.from, by));
    let tos = rest.iter().map(|a| units(a.to, by));
    Ok(Dispatch::new(variant)
        .param("shape", dims(sizes.map(|n| n as u32)))
        .param("a_by", dims([0, 0].into_iter().chain(froms)))
        .param("y_by", dims([0, 0].into_iter().chain(tos)))
        .param("rows", size(inner.size)?)
        .param("columns", size(across.size)?)
        .param("row_step", units(inner.from, by))
        .param("column_step", units(across.to, by))
        .param("a_at", units(from as isize, by))
        .param("y_at", units(to as isize, by))
        .groups(fold_groups(groups as u64, caps.limits.groups)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn region(shape: &[usize], from: &[isize]) -> Region {
        Region {
            shape: shape.to_vec(),
            from: Strides {
                offset: 0,
                by: from.to_vec(),
            },
            to: Strides::of(shape),
        }
    }

    #[test]
    fn neighbouring_axes_merge() {
        let whole = region(&[2, 3, 1, 4], &[12, 4, 4, 1]).axes();
        assert_eq!(whole.len(), 1);
        assert_eq!(whole[0].size, 24);
        // An expanded axis stays apart; the axes inside it do not.
        let expanded = region(&[5, 3, 4], &[0, 4, 1]).axes();
        assert_eq!(expanded.iter().map(|a| a.size).collect::<Vec<_>>(), [12, 5]);
        // Backwards through everything is still one walk.
        assert_eq!(region(&[3, 4], &[-4, -1]).axes().len(), 1);
        assert_eq!(region(&[], &[]).axes().len(), 1);
    }

    #[test]
    fn two_large_axes_that_change_places_are_a_transpose() {
        let at = |shape: &[usize], from: &[isize]| swapped(&region(shape, from).axes());
        assert_eq!(at(&[64, 32], &[1, 64]), Some(1));
        assert_eq!(at(&[2, 64, 3, 32], &[6144, 1, 64, 192]), Some(2));
        assert_eq!(at(&[64, 4], &[1, 64]), None);
        assert_eq!(at(&[64, 32], &[32, 1]), None);
    }

    #[test]
    fn a_region_outside_is_refused() {
        let view = |slot| View::new(tilewright_device::Slot(slot), Store::F32, [6]);
        let caps = Caps::webgpu_default();
        let fits = |r: &Region| copy(&caps, &view(0), &view(1), r).is_ok();
        assert!(fits(&region(&[6], &[1])));
        let mut backwards = region(&[6], &[-1]);
        assert!(!fits(&backwards));
        backwards.from.offset = 5;
        assert!(fits(&backwards));
        assert!(!fits(&region(&[4], &[2])));
        assert!(!fits(&region(&[7], &[0])));
    }
}
