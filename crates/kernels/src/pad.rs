//! Padding and cutting.

use tilewright_device::{Caps, Dispatch, Variant};

use crate::copy::{Axis, axes};
use crate::fill::{alike, movable};
use crate::flat::{dims, flat, known, words};
use crate::{Error, Result, Strides, View, fill};

const KERNEL: &str = "pad";

/// What elements outside of a tensor are.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Padding<'a> {
    /// A value with these bits; those of f32 where the tensor is f16.
    Known(u32),
    /// The first element of a tensor.
    View(&'a View),
    /// The tensor mirrored at its ends, which are not repeated.
    Reflect,
    /// The nearest element.
    Edge,
    /// The tensor over and over.
    Wrap,
}

/// y\[i\] = a\[i - begin\], padded where that lies outside; a negative begin cuts off, and what y has no room for is cut off at the
/// end (ONNX Pad, CenterCropPad).
///
/// # Errors
/// [`Error::Shape`] where the shapes do not fit, [`Error::Storage`], [`Error::TooLarge`].
pub fn pad(
    caps: &Caps,
    a: &View,
    begin: &[i64],
    padding: Padding<'_>,
    y: &View,
) -> Result<Vec<Dispatch>> {
    alike(KERNEL, caps, a, y)?;
    let small = |n: &i64| i32::try_from(*n).is_ok();
    if [a.shape.len(), begin.len()] != [y.shape.len(); 2] || !begin.iter().all(small) {
        let what = format!("{:?} from {:?} behind {begin:?}", y.shape, a.shape);
        return Err(Error::shape(KERNEL, what));
    }
    if y.elements() == 0 {
        return Ok(vec![]);
    }
    if a.elements() == 0 {
        return match padding {
            Padding::Known(word) => fill(caps, y, word),
            _ => Err(Error::shape(KERNEL, "no elements to pad with")),
        };
    }
    crate::error::index(KERNEL, "the number of elements", a.elements())?;
    let walk = walk(&a.shape, begin, &y.shape);
    if walk.len() > 8 {
        return Err(Error::shape(KERNEL, format!("{} axes", walk.len())));
    }
    Ok(vec![dispatch(caps, a, &walk, padding, y)?])
}

/// An axis of the result, how many elements it has in the source and how many places are before them.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Padded {
    axis: Axis,
    size: usize,
    begin: i64,
}

/// The axes, innermost first; neighbours that are not padded are one.
fn walk(from: &[usize], begin: &[i64], to: &[usize]) -> Vec<Padded> {
    let steps = Strides::of(from).by;
    let mut out = Vec::new();
    let mut end = to.len();
    while end > 0 {
        let whole = |axis: usize| begin[axis] == 0 && from[axis] == to[axis];
        // A run of axes that stay as they are, or one axis that does not.
        let mut start = end - 1;
        while whole(end - 1) && start > 0 && whole(start - 1) {
            start -= 1;
        }
        for axis in axes(
            &to[start..end],
            &steps[start..end],
            &Strides::of(&to[start..end]).by,
        ) {
            let (size, begin) = match whole(end - 1) {
                true => (axis.size, 0),
                false => (from[start], begin[start]),
            };
            // Axes of one element that stay so are no axes.
            if (axis.size, size) != (1, 1) || begin != 0 {
                // The step of an axis of one element has been left out.
                let from = if axis.size == 1 {
                    steps[start]
                } else {
                    axis.from
                };
                let axis = Axis { from, ..axis };
                out.push(Padded { axis, size, begin });
            }
        }
        end = start;
    }
    if out.is_empty() {
        let (size, from, to) = (1, 1, 1);
        let axis = Axis { size, from, to };
        let begin = 0;
        out.push(Padded { axis, size, begin });
    }
    out
}

fn dispatch(
    caps: &Caps,
    a: &View,
    walk: &[Padded],
    padding: Padding<'_>,
    y: &View,
) -> Result<Dispatch> {
    let (part, mode) = match padding {
        Padding::Known(_) => ("padding_known", 0u32),
        Padding::View(_) => ("padding_view", 0),
        Padding::Reflect => ("padding_known", 1),
        Padding::Edge => ("padding_known", 2),
        Padding::Wrap => ("padding_known", 3),
    };
    let (inner, outer) = (walk[0], &walk[1..]);
    // Vectors must lie inside or outside as a whole, or the axis must not be padded at all.
    let four = |n: usize| n.is_multiple_of(4);
    let whole = inner.begin == 0 && inner.size == inner.axis.size;
    let wide = four(inner.axis.size)
        && four(inner.size)
        && inner.axis.from == 1
        && (whole || (mode == 0 && inner.begin % 4 == 0));
    let width = if wide { 4 } else { 1 };
    let variant = Variant::new("pad")
        .part(part)
        .alias("Unit", words(y.store, false))
        .alias("Word", words(y.store, wide))
        .alias("Known", known(y.store))
        .set("MODE", mode)
        .set("OUTER", outer.len() as u32);
    let first = |n: usize| std::iter::once((n / width) as u32);
    let sizes = outer.iter().map(|p| p.size as u32);
    let extents = outer.iter().map(|p| p.axis.size as u32);
    let begins = outer.iter().map(|p| p.begin as u32);
    let steps = outer.iter().map(|p| (p.axis.from / width as isize) as u32);
    let dispatch = flat(KERNEL, caps, variant, y.elements() / width)?
        .param("shape", dims(first(inner.axis.size).chain(extents)))
        .param("size", dims(first(inner.size).chain(sizes)))
        .param(
            "begin",
            dims(std::iter::once((inner.begin / width as i64) as u32).chain(begins)),
        )
        .param(
            "by",
            dims(std::iter::once(inner.axis.from as u32).chain(steps)),
        )
        .bind("A", a.span)
        .bind("Y", y.span)
        .work(a.span.bytes.min(y.span.bytes) + y.span.bytes);
    Ok(match padding {
        Padding::View(value) => {
            movable(KERNEL, caps, "value", value)?;
            dispatch.bind("VALUE", value.span)
        }
        Padding::Known(word) => dispatch.param("padding", word),
        _ => dispatch.param("padding", 0u32),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn axes_that_are_not_padded_merge() {
        let of = |from: &[usize], begin: &[i64], to: &[usize]| {
            let parts = walk(from, begin, to).into_iter();
            let parts = parts.map(|p| (p.axis.size, p.size, p.begin, p.axis.from));
            parts.collect::<Vec<_>>()
        };
        let image = of(&[2, 3, 5, 7], &[0, 0, 1, 2], &[2, 3, 7, 11]);
        assert_eq!(image, [(11, 7, 2, 1), (7, 5, 1, 7), (6, 6, 0, 35)]);
        let channels = of(&[2, 3, 4, 8], &[0, 1, 0, 0], &[2, 5, 4, 8]);
        assert_eq!(channels, [(32, 32, 0, 1), (5, 3, 1, 32), (2, 2, 0, 96)]);
        assert_eq!(of(&[1, 4], &[2, 0], &[5, 4]), [(4, 4, 0, 1), (5, 1, 2, 4)]);
        assert_eq!(of(&[3], &[-1], &[1]), [(1, 3, -1, 1)]);
        assert_eq!(of(&[], &[], &[]), [(1, 1, 0, 1)]);
    }
}
