//! Interpolation along one or two neighbouring axes, from a table of taps.

use tilewright_device::{Caps, Dispatch, Variant, fold_groups};

use crate::error::index;
use crate::fill::alike;
use crate::flat::words;
use crate::rounds::check_rounds;
use crate::softmax::floats;
use crate::walk::loaded;
use crate::{Error, Result, Store, View};

const KERNEL: &str = "resize";

/// Threads of a workgroup.
const THREADS: u32 = 64;

/// Taps of a place, over both axes, up to which one dispatch takes two axes at once: those of usual filters. Wider ones, which
/// only shrinking has, are two to four times faster axis by axis (2048 x 2048 with 6 x 6 to 64 x 64 taps on lavapipe: a dispatch
/// takes 75 to 145 ms, two take 17 to 69).
pub const RESIZE_TAPS: usize = 16;

/// In the table: a tap of no element, which has the value outside the tensor.
pub const NO_ELEMENT: u32 = u32::MAX;

/// An axis being resized.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ResizeAxis {
    /// Elements of the input.
    pub input: usize,
    /// Elements of the output.
    pub output: usize,
    /// Taps of each.
    pub taps: usize,
}

/// Sizes of a resize of `[outer, axes[0], axes[1], inner]`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ResizeShape {
    /// Elements before the axes.
    pub outer: usize,
    /// The two axes; the first has one element and one tap where only one is resized.
    pub axes: [ResizeAxis; 2],
    /// Elements behind the axes.
    pub inner: usize,
    /// Every tap has weight 1 and there is one a place: elements of any 32-bit type or f16 are copied.
    pub pick: bool,
}

impl ResizeShape {
    fn check(&self, caps: &Caps, x: &View, table: &View, y: &View) -> Result<()> {
        let Self {
            outer,
            axes: [h, w],
            inner,
            pick,
        } = *self;
        for (name, view, expected) in [
            ("x", x, outer * h.input * w.input * inner),
            ("y", y, outer * h.output * w.output * inner),
            (
                "the table",
                table,
                2 * (h.output * h.taps + w.output * w.taps),
            ),
        ] {
            if view.elements() != expected {
                let what = format!("{name} is {view}, expected {expected} elements");
                return Err(Error::shape(KERNEL, what));
            }
        }
        if pick {
            return alike(KERNEL, caps, x, y);
        }
        floats(KERNEL, caps, x, x)?;
        floats(KERNEL, caps, y, y)
    }
}

/// Resizes x into y, each f32 or f16. `table` (u32) holds pairs of index and weight (its f32 bits): for each place of the first
/// axis its taps, then those of the second. Taps of [`NO_ELEMENT`] have the value `outside`.
///
/// # Errors
/// [`Error::Shape`] where a tensor has another number of elements, [`Error::Storage`], [`Error::TooLarge`].
pub fn resize(
    caps: &Caps,
    shape: &ResizeShape,
    x: &View,
    table: &View,
    outside: f32,
    y: &View,
) -> Result<Vec<Dispatch>> {
    let ResizeShape {
        axes: [h, w],
        inner,
        ..
    } = *shape;
    shape.check(caps, x, table, y)?;
    if y.elements() == 0 {
        return Ok(Vec::new());
    }
    let lanes = if inner % 4 == 0 { 4 } else { 1 };
    let size = |n: usize| index(KERNEL, "an extent", n);
    index(KERNEL, "the number of elements", x.elements())?;
    check_rounds(KERNEL, caps, h.taps.saturating_mul(w.taps + 2))?;
    let count = size(y.elements() / lanes)?;
    let work = (h.taps * w.taps) as u64 * y.elements() as u64;
    let dispatch = Dispatch::new(variant(shape, x, y, lanes))
        .bind("X", x.span)
        .bind("TAPS", table.span)
        .bind("Y", y.span)
        .param("count", count)
        .param("inner", size(inner / lanes)?)
        .param("in_h", size(h.input)?)
        .param("in_w", size(w.input)?)
        .param("out_h", size(h.output)?)
        .param("out_w", size(w.output)?)
        .param("taps_h", size(h.taps)?)
        .param("taps_w", size(w.taps)?)
        .param("outside", outside)
        .groups(fold_groups(
            u64::from(count.div_ceil(THREADS)),
            caps.limits.groups,
        ))
        .work(4 * work);
    Ok(vec![dispatch])
}

/// The shader for the kind of `shape`, with `lanes` neighbours to a thread.
fn variant(shape: &ResizeShape, x: &View, y: &View, lanes: usize) -> Variant {
    let elem = match shape.pick {
        true => words(x.store, lanes == 4),
        false => loaded(Store::F32, lanes),
    };
    let end = |of: &View| match shape.pick {
        true => elem,
        false => loaded(of.store, lanes),
    };
    // Usual filters are unrolled; wide ones are walked.
    let known = |taps: usize| if taps <= 4 { taps as u32 } else { 0 };
    let [h, w] = shape.axes;
    let part = ["resize_sum", "resize_pick"][usize::from(shape.pick)];
    Variant::new("resize")
        .part(part)
        .set("THREADS", THREADS)
        .set("KH", known(h.taps))
        .set("KW", known(w.taps))
        .alias("Elem", elem)
        .alias("From", end(x))
        .alias("To", end(y))
}
