//! Convolution in NHWC by implicit GEMM: m = output pixels, n = output channels of a group, k = kernel positions x channels.

use std::ops::Range;

use tilewright_device::{Caps, Dispatch};
use tilewright_tensor::HostTensor;

use crate::batch::Batch;
use crate::error::index;
use crate::pack::{Panels, host};
use crate::product::{Arithmetic, FLOAT, Loader, Product};
use crate::{Epilogue, Error, Loop, Result, SplitK, Target, View, panel_width};

const KERNEL: &str = "conv";

/// Sizes of a convolution. Arrays are (depth, height, width); leading axes of lower ranks have extent and stride 1.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConvShape {
    /// Spatial axes: 1, 2 or 3.
    pub rank: usize,
    /// Images.
    pub images: usize,
    /// Channels of X, over all groups.
    pub in_channels: usize,
    /// Channels of Y, over all groups.
    pub out_channels: usize,
    /// Groups of channels that do not see each other.
    pub groups: usize,
    /// Spatial extents of X.
    pub input: [usize; 3],
    /// Spatial extents of Y.
    pub output: [usize; 3],
    /// Spatial extents of the filter.
    pub kernel: [usize; 3],
    /// Steps of the window.
    pub stride: [usize; 3],
    /// Steps between kernel positions.
    pub dilation: [usize; 3],
    /// Zeros before the first element of X; those after the last follow from `output`.
    pub pad: [usize; 3],
}

/// A convolution's filter.
#[derive(Debug, Clone, Copy)]
pub enum Filter<'a> {
    /// Constant, packed by [`pack_filter`], [`pack_filter_transposed`](crate::pack_filter_transposed) or
    /// [`pack_depthwise`](crate::pack_depthwise).
    Packed(&'a View),
    /// \[out_channels, kernel.., in_channels / groups\], as training keeps it. Of a transposed convolution
    /// \[in_channels, kernel.., out_channels / groups\]: the filter of the convolution whose gradient it is.
    Ohwi(&'a View),
}

impl ConvShape {
    /// The same with other output channels.
    #[must_use]
    pub fn part(&self, out_channels: usize) -> Self {
        Self {
            out_channels,
            ..self.clone()
        }
    }

    /// How many output channels of a packed filter, stored in `each` bytes an element, one binding holds; groups apart.
    #[must_use]
    pub fn channels_of_a_binding(&self, caps: &Caps, each: u64) -> usize {
        let [blocks, k] = self.blocks();
        let width = panel_width(caps);
        let panel = (blocks * k.next_multiple_of(4) * width) as u64 * each;
        let panels = caps.limits.binding_bytes / panel.max(1);
        usize::try_from(panels).map_or(usize::MAX, |n| n.saturating_mul(width))
    }

    /// The sizes of a convolution of X\[n, spatial.., channels\]; the spatial slices all have the rank, `pads` holds begins then
    /// ends as in ONNX. The output is floor((input + pads - dilation * (kernel - 1) - 1) / stride) + 1 along every axis.
    ///
    /// # Errors
    /// [`Error::Shape`] for ranks that differ or are not 1 to 3, zero strides, and a window larger than its padded input.
    pub fn new(
        x: &[usize],
        kernel: &[usize],
        strides: &[usize],
        dilations: &[usize],
        pads: &[usize],
        groups: usize,
        out_channels: usize,
    ) -> Result<Self> {
        let wrong = |what: &str| {
            let all = format!(
                "X {x:?}, kernel {kernel:?}, strides {strides:?}, dilations {dilations:?}, pads {pads:?}"
            );
            Error::shape(KERNEL, format!("{what}: {all}"))
        };
        let rank = kernel.len();
        let ranks = [
            x.len().wrapping_sub(2),
            strides.len(),
            dilations.len(),
            pads.len() / 2,
        ];
        if !(1..=3).contains(&rank) || ranks != [rank; 4] {
            return Err(wrong("ranks differ or are not 1 to 3"));
        }
        let mut shape = Self {
            rank,
            images: x[0],
            in_channels: x[rank + 1],
            out_channels,
            groups,
            input: lead(&x[1..=rank], 1),
            output: [1; 3],
            kernel: lead(kernel, 1),
            stride: lead(strides, 1),
            dilation: lead(dilations, 1),
            pad: lead(&pads[..rank], 0),
        };
        let ends = lead(&pads[rank..], 0);
        for axis in 0..3 {
            let padded = shape.input[axis] + shape.pad[axis] + ends[axis];
            let window = shape.dilation[axis] * shape.kernel[axis].saturating_sub(1) + 1;
            if shape.stride[axis] == 0 || padded < window {
                return Err(wrong("the window does not fit"));
            }
            shape.output[axis] = (padded - window) / shape.stride[axis] + 1;
        }
        shape.check(KERNEL)?;
        Ok(shape)
    }

    /// Groups divide the channels, and no extent is zero that a shader divides by.
    pub(crate) fn check(&self, kernel: &'static str) -> Result<()> {
        let positive = [self.input, self.kernel, self.stride, self.dilation];
        if self.groups == 0
            || self.in_channels % self.groups != 0
            || self.out_channels % self.groups != 0
            || positive.iter().flatten().any(|&n| n == 0)
        {
            return Err(Error::shape(
                kernel,
                format!("a zero extent or {} groups in {self:?}", self.groups),
            ));
        }
        Ok(())
    }

    /// The shape of Y: \[n, spatial.., channels\].
    #[must_use]
    pub fn output_shape(&self) -> Vec<usize> {
        let mut shape = vec![self.images];
        shape.extend(&self.output[3 - self.rank..]);
        shape.push(self.out_channels);
        shape
    }

    /// Output pixels of all images.
    pub(crate) fn pixels(&self) -> usize {
        self.images * self.output.iter().product::<usize>()
    }

    /// Input channels of a group.
    pub(crate) fn group_in(&self) -> usize {
        self.in_channels / self.groups
    }

    /// Output channels of a group.
    pub(crate) fn group_out(&self) -> usize {
        self.out_channels / self.groups
    }

    /// Whether every pixel of Y sees exactly one of X, in order: the convolution is a product of matrices.
    pub(crate) fn is_pointwise(&self) -> bool {
        self.kernel == [1; 3]
            && self.stride == [1; 3]
            && self.pad == [0; 3]
            && self.output == self.input
    }

    /// Whether k blocks are kernel rows instead of kernel positions: channels are few or no multiple of 4, and a kernel
    /// row is one run of memory.
    pub(crate) fn by_rows(&self) -> bool {
        let few = self.in_channels < 16 || self.in_channels % 4 != 0;
        few && self.groups == 1 && self.dilation[2] == 1
    }

    /// k blocks and the elements of each.
    pub(crate) fn blocks(&self) -> [usize; 2] {
        let [d, h, w] = self.kernel;
        if self.by_rows() {
            [d * h, w * self.in_channels]
        } else {
            [d * h * w, self.group_in()]
        }
    }
}

/// Packs a constant filter of \[out_channels, in_channels / groups, kernel..\] (ONNX's order) for this adapter and shape:
/// \[groups, panels, k, width\].
///
/// # Errors
/// [`Error::Shape`] for another shape or dtype than f32 and f16.
pub fn pack_filter(caps: &Caps, shape: &ConvShape, w: &HostTensor) -> Result<HostTensor> {
    shape.check(KERNEL)?;
    let (oc, ic) = (shape.group_out(), shape.group_in());
    let mut expected = vec![shape.out_channels, ic];
    expected.extend(&shape.kernel[3 - shape.rank..]);
    if w.shape()[..] != expected[..] {
        return Err(Error::shape(
            "pack_filter",
            format!("expected {expected:?}, got {}", w.shape()),
        ));
    }
    let [blocks, k] = shape.blocks();
    let panels = Panels {
        n: oc,
        k,
        blocks,
        width: panel_width(caps),
    };
    let taps: usize = shape.kernel.iter().product();
    // A block of k holds one tap, or all taps of a kernel row.
    let taps_of = k / ic;
    let packed = panels.pack(w, shape.groups, |group, block, k, n| {
        let (tap, c) = (block * taps_of + k / ic, k % ic);
        ((group * oc + n) * ic + c) * taps + tap
    })?;
    let [count, rows, width] = panels.shape();
    packed
        .reshape([shape.groups, count, rows, width])
        .map_err(host)
}

/// Y = epilogue(conv(X, filter)), X\[n, spatial.., in_channels\] and Y\[n, spatial.., out_channels\] in f32 or f16.
///
/// # Errors
/// [`Error::Shape`], [`Error::Storage`], [`Error::TooLarge`].
pub fn conv<'a>(
    on: impl Into<Target<'a>>,
    shape: &ConvShape,
    x: &View,
    filter: Filter<'_>,
    y: &View,
    epilogue: Option<&Epilogue>,
) -> Result<Vec<Dispatch>> {
    lowered(on.into(), shape, x, filter, y, epilogue, None, None)
}

/// [`conv`] with a loop of the caller's choice.
///
/// # Errors
/// As [`conv`].
pub fn conv_with(
    caps: &Caps,
    shape: &ConvShape,
    x: &View,
    filter: Filter<'_>,
    y: &View,
    epilogue: Option<&Epilogue>,
    of: Loop,
) -> Result<Vec<Dispatch>> {
    lowered(caps.into(), shape, x, filter, y, epilogue, Some(of), None)
}

#[expect(clippy::too_many_arguments, reason = "conv_with and a cut")]
pub(crate) fn lowered(
    on: Target<'_>,
    shape: &ConvShape,
    x: &View,
    filter: Filter<'_>,
    y: &View,
    epilogue: Option<&Epilogue>,
    of: Option<Loop>,
    split: Option<(SplitK, &View)>,
) -> Result<Vec<Dispatch>> {
    shape.check(KERNEL)?;
    hold(shape, x, y)?;
    if y.elements() == 0 {
        return Ok(Vec::new());
    }
    let weights = Weights::new(on.caps, shape, filter)?;
    let mut product = Product {
        c: y,
        c_ld: shape.out_channels,
        epilogue,
        ..implicit(shape, x, weights.loader, weights.group, FLOAT)?
    };
    if let Some((cut, scratch)) = split {
        product = cut.first(product, scratch)?;
    }
    let of = of.map_or_else(|| product.default_loop(on), Ok)?;
    let dispatch = weights.finish(shape, product.dispatch(on.caps, of)?)?;
    let channels = index(KERNEL, "channels", shape.group_out())?;
    Ok(vec![match split {
        Some(_) => dispatch,
        None => dispatch.param("group_cols", channels),
    }])
}

/// [`conv`] of one group into some of its output channels, the first of them a multiple of 4: `filter` is packed for a convolution
/// of these channels alone.
///
/// # Errors
/// As [`conv`].
pub fn conv_columns<'a>(
    on: impl Into<Target<'a>>,
    shape: &ConvShape,
    x: &View,
    filter: &View,
    y: &View,
    channels: Range<usize>,
    epilogue: Option<&Epilogue>,
) -> Result<Vec<Dispatch>> {
    let on = on.into();
    shape.check(KERNEL)?;
    hold(shape, x, y)?;
    let fits = shape.groups == 1 && channels.start % 4 == 0 && channels.end <= shape.out_channels;
    if !fits || channels.is_empty() {
        let what = format!("output channels {channels:?} of {shape:?}");
        return Err(Error::shape(KERNEL, what));
    }
    if y.elements() == 0 {
        return Ok(Vec::new());
    }
    let part = shape.part(channels.len());
    let weights = Weights::new(on.caps, &part, Filter::Packed(filter))?;
    let product = Product {
        c: y,
        c_ld: shape.out_channels,
        c_part: "c_columns",
        epilogue,
        ..implicit(&part, x, weights.loader, weights.group, FLOAT)?
    };
    let first = index(KERNEL, "the first channel", channels.start)?;
    let of = product.default_loop(on)?;
    let dispatch = weights.finish(&part, product.dispatch(on.caps, of)?)?;
    Ok(vec![dispatch.param("c_first", first)])
}

/// The product that a convolution is; C is still the input.
pub(crate) fn implicit<'a>(
    shape: &ConvShape,
    x: &'a View,
    b: Loader<'a>,
    group: usize,
    arithmetic: Arithmetic,
) -> Result<Product<'a>> {
    let [blocks, k] = shape.blocks();
    let (ic, oc) = (shape.group_in(), shape.group_out());
    // Vec4 loads need every block of k and every pixel to begin at a multiple of 4 elements.
    let vec = k % 4 == 0 && ic % 4 == 0 && shape.in_channels % 4 == 0;
    let part = match (shape.is_pointwise(), shape.by_rows(), vec) {
        (true, _, true) => "a_rows",
        (true, _, false) => "a_rows_any",
        (_, true, true) => "a_conv_row",
        (_, true, false) => "a_conv_row_any",
        (_, false, true) => "a_conv",
        (_, false, false) => "a_conv_any",
    };
    // `c_groups` knows the columns of a group.
    let strides = [&[ic][..], &[group], &[0]];
    Ok(Product {
        kernel: KERNEL,
        m: shape.pixels(),
        n: oc,
        k,
        k_blocks: blocks,
        k_search: 0,
        k_part: if shape.is_pointwise() {
            "k_whole"
        } else {
            "k_taps"
        },
        c_part: "c_groups",
        batch: Batch::new(KERNEL, &[shape.groups], strides)?,
        arithmetic,
        a: Loader { view: x, part, vec },
        b,
        c: x,
        c_ld: 0,
        epilogue: None,
    })
}

/// Parameters of the parts that read X and walk k.
pub(crate) fn input_params(shape: &ConvShape, dispatch: Dispatch) -> Result<Dispatch> {
    let mut dispatch = dispatch.param("a_ld", index(KERNEL, "channels", shape.in_channels)?);
    if shape.is_pointwise() {
        return Ok(dispatch.param("a_step", 0u32));
    }
    dispatch.variant = dispatch.variant.set("RANK", shape.rank as u32);
    let taps = index(KERNEL, "kernel positions", shape.blocks()[0])?;
    Ok(window(shape, dispatch)?.param("taps", taps))
}

/// The filter as operand B.
struct Weights<'a> {
    loader: Loader<'a>,
    panel: Option<usize>,
    ld: usize,
    step: usize,
    group: usize,
}

impl<'a> Weights<'a> {
    fn new(caps: &Caps, shape: &ConvShape, filter: Filter<'a>) -> Result<Self> {
        let [blocks, k] = shape.blocks();
        let (view, part, vec, panel, ld, step, group) = match filter {
            Filter::Packed(view) => {
                let width = panel_width(caps);
                let rows = blocks * k.next_multiple_of(4);
                let group = shape.group_out().div_ceil(width) * rows * width;
                (view, "b_panel", true, Some(width), rows, 0, group)
            }
            Filter::Ohwi(view) => {
                let vec = k % 4 == 0;
                let part = if vec { "b_cols" } else { "b_cols_any" };
                (
                    view,
                    part,
                    vec,
                    None,
                    blocks * k,
                    k,
                    shape.group_out() * blocks * k,
                )
            }
        };
        holds("the filter", view, shape.groups * group)?;
        Ok(Self {
            loader: Loader { view, part, vec },
            panel,
            ld,
            step,
            group,
        })
    }

    /// Adds what the parts need that read X and the filter.
    fn finish(&self, shape: &ConvShape, dispatch: Dispatch) -> Result<Dispatch> {
        let mut dispatch = self.params(dispatch)?;
        if !shape.is_pointwise() {
            dispatch.variant = dispatch.variant.part("a_zero");
        }
        input_params(shape, dispatch)
    }

    fn params(&self, dispatch: Dispatch) -> Result<Dispatch> {
        let mut dispatch = dispatch.param("b_ld", index(KERNEL, "filter rows", self.ld)?);
        match self.panel {
            Some(width) => dispatch.variant = dispatch.variant.set("PANEL", (width / 4) as u32),
            None => dispatch = dispatch.param("b_step", index(KERNEL, "filter rows", self.step)?),
        }
        Ok(dispatch)
    }
}

/// Extents as the shaders' `vec4<u32>`.
pub(crate) fn axes([d, h, w]: [usize; 3]) -> Result<[u32; 4]> {
    let axis = |n| index(KERNEL, "an extent", n);
    Ok([axis(d)?, axis(h)?, axis(w)?, 0])
}

/// The parameters of `conv_window`.
pub(crate) fn window(shape: &ConvShape, dispatch: Dispatch) -> Result<Dispatch> {
    Ok(dispatch
        .param("in_size", axes(shape.input)?)
        .param("out_size", axes(shape.output)?)
        .param("kernel", axes(shape.kernel)?)
        .param("stride", axes(shape.stride)?)
        .param("dilation", axes(shape.dilation)?)
        .param("pad", axes(shape.pad)?))
}

/// Whether input and output have as many elements as the convolution says.
pub(crate) fn hold(shape: &ConvShape, x: &View, y: &View) -> Result<()> {
    let input = shape.images * shape.input.iter().product::<usize>();
    holds("X", x, input * shape.in_channels)?;
    holds("Y", y, shape.pixels() * shape.out_channels)
}

/// Whether a tensor has as many elements as the sizes say.
pub(crate) fn holds(name: &str, view: &View, elements: usize) -> Result<()> {
    index(KERNEL, "the number of elements", elements)?;
    if view.elements() == elements {
        return Ok(());
    }
    Err(Error::shape(
        KERNEL,
        format!("{name} is {view}, expected {elements} elements"),
    ))
}

/// (depth, height, width) from the extents of a lower rank, the leading ones filled with `fill`.
pub(crate) fn lead(axes: &[usize], fill: usize) -> [usize; 3] {
    let mut all = [fill; 3];
    all[3 - axes.len()..].copy_from_slice(axes);
    all
}
