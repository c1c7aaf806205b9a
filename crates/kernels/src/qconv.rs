//! Convolution of 8-bit integers in NHWC: the implicit product of words of four channels.

use tilewright_device::Dispatch;

use crate::conv::{hold, holds, implicit, input_params};
use crate::error::index;
use crate::product::Loader;
use crate::qgemm::{Int8, matmul8_scratch};
use crate::qread::{Read, arithmetic, columns};
use crate::{ConvShape, Epilogue, Error, Int8B, Result, Target, View, Zero, panel_width};

const KERNEL: &str = "conv8";

/// Bytes of scratch for [`conv8`].
#[must_use]
pub fn conv8_scratch(shape: &ConvShape, x_zero: &Zero<'_>, filter: &Int8B<'_>) -> usize {
    matmul8_scratch(
        shape.pixels(),
        shape.group_out(),
        shape.groups,
        x_zero,
        filter,
    )
}

/// Y = conv(X - zero of X, filter - zero of filter), X\[n, spatial.., in_channels\] in packed 8-bit, the filter
/// [`Int8B::Packed`]. Y, `y_zero`, epilogue and scratch are as in [`matmul8`](crate::matmul8) (ONNX ConvInteger, QLinearConv);
/// pads hold the zero point of X.
///
/// # Errors
/// [`Error::Shape`], also for groups of a number of channels that is not a multiple of 4, [`Error::Storage`],
/// [`Error::TooLarge`].
pub fn conv8<'a>(
    on: impl Into<Target<'a>>,
    shape: &ConvShape,
    x: &View,
    x_zero: Zero<'_>,
    filter: Int8B<'_>,
    y: &View,
    y_zero: i32,
    epilogue: Option<&Epilogue>,
    scratch: Option<&View>,
) -> Result<Vec<Dispatch>> {
    let (on, words) = (on.into(), shape.in_words()?);
    let Some(panels) = filter.panels() else {
        return Err(Error::shape(KERNEL, "the filter must be packed"));
    };
    hold(shape, x, y)?;
    let c_ld = columns(y, shape.out_channels);
    if shape.groups > 1 && c_ld != y.last() {
        let what = "groups whose rows do not begin at words";
        return Err(Error::shape(KERNEL, what));
    }
    if y.elements() == 0 {
        return Ok(Vec::new());
    }
    let [blocks, k] = words.blocks();
    let width = panel_width(on.caps);
    let rows = blocks * k.next_multiple_of(4);
    let group = shape.group_out().div_ceil(width) * rows * width;
    holds("the filter", panels, shape.groups * group)?;
    let b = Loader {
        view: panels,
        part: "b_panel",
        vec: true,
    };
    let a_read = Read::left(on.caps, x)?;
    let mut product = implicit(&words, x, b, group, arithmetic(a_read, y))?;
    product.c = y;
    product.c_ld = c_ld;
    product.epilogue = epilogue;
    let left = |dispatch| input(&words, dispatch, x_zero, a_read);
    let right = |mut dispatch: Dispatch| {
        dispatch.variant = dispatch.variant.set("PANEL", (width / 4) as u32);
        let group = index(KERNEL, "channels", shape.group_out())?;
        Ok(dispatch
            .param("b_ld", index(KERNEL, "filter rows", rows)?)
            .param("group_cols", group))
    };
    let int8 = Int8 {
        on,
        k: shape.kernel.iter().product::<usize>() * shape.group_in(),
        word_run: words.group_in(),
        tail: shape.group_in() % 4,
        a_zero: x_zero,
        a_read,
        b: filter,
        c_zero: y_zero,
        scratch,
    };
    int8.dispatches(&product, &left, &right)
}

/// The parameters of the input, and what it reads as outside: its zero point.
fn input(words: &ConvShape, dispatch: Dispatch, zero: Zero<'_>, read: Read) -> Result<Dispatch> {
    let mut dispatch = input_params(words, dispatch)?.param("a_flip", read.flip);
    if words.is_pointwise() {
        return Ok(dispatch);
    }
    match zero {
        Zero::Known(value) => {
            dispatch.variant = dispatch.variant.part("a_zero8");
            let byte = value.cast_unsigned() & 0xff;
            Ok(dispatch.param("a_pad", (byte * 0x0101_0101) ^ read.flip))
        }
        Zero::Device(view) if view.elements() == 1 => {
            dispatch.variant = dispatch.variant.part("a_zero8_view");
            Ok(dispatch.bind("PAD", view.span))
        }
        Zero::Device(view) => Err(Error::shape(
            KERNEL,
            format!("zero points {view}, expected one"),
        )),
    }
}
