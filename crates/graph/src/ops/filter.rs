//! What convolutions share when they are lowered: sizes, and the filter on the device.

use super::window::Slide;
use crate::lower::{Lower, Placing};
use crate::{Fact, Result};
use tilewright_kernels::{
    self as kernels, ConvShape, Epilogue, Filter, Region, SplitK, Store, Strides, View, Winograd,
};
use tilewright_tensor::{DType, HostTensor};

/// By transformed tiles; the filter is a constant.
pub(super) fn lower_winograd(
    cx: &mut Lower<'_>,
    form: Winograd,
    shape: &ConvShape,
    x: &View,
    y: &View,
    epilogue: Option<&Epilogue>,
) -> Result<()> {
    let caps = cx.caps().clone();
    let filter = Weights::new(cx, shape, &format!("winograd {form:?}"), |w| {
        Ok(form.pack(&caps, shape, w)?)
    })?;
    let Weights::Packed(filter) = filter else {
        return Err(cx.error("Winograd's transform takes a constant filter"));
    };
    let [tiles, products] = form.scratch(shape).map(|s| cx.scratch(Store::F32, s));
    let scratch = kernels::WinogradScratch {
        tiles: &tiles,
        products: &products,
    };
    let all = kernels::winograd(cx.target(), form, shape, x, &filter, scratch, y, epilogue)?;
    cx.emit(all);
    Ok(())
}

/// By an implicit product, in parts along k where the adapter would otherwise have too little to do.
pub(super) fn lower_product(
    cx: &mut Lower<'_>,
    shape: &ConvShape,
    x: &View,
    filter: Filter<'_>,
    y: &View,
    epilogue: Option<&Epilogue>,
) -> Result<()> {
    let dispatches = match SplitK::of_conv(cx.caps(), shape) {
        Some(cut) => {
            let scratch = cx.scratch(Store::F32, cut.conv_scratch(shape));
            let on = cx.target();
            kernels::conv_split(on, shape, x, filter, y, epilogue, cut, &scratch)?
        }
        None => kernels::conv(cx.target(), shape, x, filter, y, epilogue)?,
    };
    cx.emit(dispatches);
    Ok(())
}

/// The filter on the device: a constant one packed, one of the run with its channels last.
pub(super) enum Weights {
    Packed(View),
    Ohwi(View),
}

impl Weights {
    /// The filter in input 1, `[channels, channels, taps..]`; `pack` packs it, in f32, in the form called `form`.
    pub(super) fn new(
        cx: &mut Lower<'_>,
        shape: &ConvShape,
        form: &str,
        pack: impl FnOnce(&HostTensor) -> Result<HostTensor>,
    ) -> Result<Weights> {
        if cx.weight(1).is_some() {
            let make = |w: &HostTensor| pack(&w.cast(DType::F32)?);
            let key = format!("{form} {}", filter_key(shape));
            return Ok(Weights::Packed(cx.packed(1, &key, make)?));
        }
        let w = cx.input(1)?;
        let (outer, inner) = (w.shape[0], w.shape[1]);
        let taps = w.elements() / (outer * inner).max(1);
        if inner == 1 || taps == 1 {
            return Ok(Weights::Ohwi(w));
        }
        let to = cx.scratch(w.store, vec![outer, taps, inner]);
        let by = [inner * taps, 1, taps].map(|n| n as isize).to_vec();
        let region = Region {
            shape: to.shape.clone(),
            from: Strides { offset: 0, by },
            to: Strides::of(&to.shape),
        };
        cx.emit(kernels::copy(cx.caps(), &w, &to, &region)?);
        Ok(Weights::Ohwi(to))
    }

    pub(super) fn filter(&self) -> Filter<'_> {
        match self {
            Weights::Packed(view) => Filter::Packed(view),
            Weights::Ohwi(view) => Filter::Ohwi(view),
        }
    }
}

/// Whether products see four output channels that begin at a multiple of four: those of a group do.
pub(super) fn begins_at_fours(shape: &ConvShape) -> bool {
    shape.groups == 1 || (shape.out_channels / shape.groups.max(1)).is_multiple_of(4)
}

/// True if the four output channels that an epilogue sees begin at a multiple of four.
pub(super) fn quads(shape: &ConvShape) -> bool {
    let own = shape.out_channels / shape.groups.max(1);
    shape.out_channels % 4 == 0 && (shape.is_depthwise() || own % 4 == 0)
}

/// What a packed filter depends on besides the weight: not on the size of the image.
pub(super) fn filter_key(shape: &ConvShape) -> String {
    let ConvShape {
        in_channels,
        out_channels,
        groups,
        kernel,
        dilation,
        ..
    } = shape;
    format!("filter {in_channels} {out_channels} {groups} {kernel:?} {dilation:?}")
}

/// The sizes that kernels take. `channels` are those of X and Y.
pub(super) fn shape_of(
    images: usize,
    channels: (usize, usize),
    group: i64,
    slides: &[Slide],
) -> ConvShape {
    let axes = |f: fn(&Slide) -> usize, fill: usize| {
        let mut all = [fill; 3];
        for (to, slide) in all[3 - slides.len()..].iter_mut().zip(slides) {
            *to = f(slide);
        }
        all
    };
    ConvShape {
        rank: slides.len(),
        images,
        in_channels: channels.0,
        out_channels: channels.1,
        groups: group.max(1) as usize,
        input: axes(|s| s.input, 1),
        output: axes(|s| s.output, 1),
        kernel: axes(|s| s.kernel, 1),
        stride: axes(|s| s.stride, 1),
        dilation: axes(|s| s.dilation, 1),
        pad: axes(|s| s.before, 0),
    }
}

/// How many output channels of a constant filter of one group one binding holds, if it does not hold all.
pub(super) fn per_binding(cx: &Lower<'_>, shape: &ConvShape) -> Result<Option<usize>> {
    let each = cx.input(1)?.store.bytes(&[1]);
    let per = shape.channels_of_a_binding(cx.caps(), each);
    let packed = cx.weight(1).is_some() && shape.groups == 1;
    Ok(Some(per).filter(|per| packed && (1..shape.out_channels).contains(per)))
}

/// Whether the filter is constant and one binding holds the panel of a few output channels, rounded up.
pub(super) fn has_pieces(cx: &Placing<'_>) -> bool {
    let constant = cx.inputs.opt(1).filter(|w| w.weight().is_some());
    let shape = constant.and_then(Fact::known_shape);
    let Some([_, channels, taps @ ..]) = shape.as_deref() else {
        return false;
    };
    let rows = channels.next_multiple_of(4) * taps.iter().product::<usize>();
    let panel = 4 * rows * kernels::panel_width(cx.caps);
    panel as u64 <= cx.caps.limits.binding_bytes
}

/// Emits the convolution of one group with a constant filter that one binding does not hold: `per` output channels after the
/// other.
pub(super) fn by_channels(
    cx: &mut Lower<'_>,
    shape: &ConvShape,
    x: &View,
    y: &View,
    per: usize,
    epilogue: Option<&Epilogue>,
) -> Result<()> {
    let caps = cx.caps().clone();
    for first in (0..shape.out_channels).step_by(per) {
        let channels = first..(first + per).min(shape.out_channels);
        let key = format!("conv {channels:?} {}", filter_key(shape));
        let filter = cx.packed(1, &key, |w| {
            let each = w.len() / w.shape()[0] * w.dtype().size_bytes();
            let rows = &w.bytes()[channels.start * each..channels.end * each];
            let mut sizes = w.shape().to_vec();
            sizes[0] = channels.len();
            let part = HostTensor::from_bytes(w.dtype(), sizes, rows)?.cast(DType::F32)?;
            Ok(kernels::pack_filter(
                &caps,
                &shape.part(channels.len()),
                &part,
            )?)
        })?;
        let on = cx.target();
        let part = kernels::conv_columns(on, shape, x, &filter, y, channels, epilogue)?;
        cx.emit(part);
    }
    Ok(())
}
