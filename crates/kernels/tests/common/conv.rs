//! What the tests of convolutions share: the loop that says which pixels meet, and operands.

use super::gpu::Bench;
use tilewright_device::Slot;
use tilewright_kernels::{ConvShape, Store, View};
use tilewright_tensor::HostTensor;

/// Calls `see(output pixel, input pixel, tap)` for every pair of pixels that a convolution connects; pixels count over images.
pub(crate) fn connections(s: &ConvShape, mut see: impl FnMut(usize, usize, usize)) {
    let count = |e: [usize; 3]| e.iter().product::<usize>();
    let split = |at: usize, e: [usize; 3]| [at / (e[1] * e[2]), at / e[2] % e[1], at % e[2]];
    for image in 0..s.images {
        for out in 0..count(s.output) {
            for tap in 0..count(s.kernel) {
                let (o, t) = (split(out, s.output), split(tap, s.kernel));
                let at = [0, 1, 2]
                    .map(|a| (o[a] * s.stride[a] + t[a] * s.dilation[a]).checked_sub(s.pad[a]));
                let [Some(d), Some(y), Some(x)] = at else {
                    continue;
                };
                if d < s.input[0] && y < s.input[1] && x < s.input[2] {
                    let pixel = (d * s.input[1] + y) * s.input[2] + x;
                    see(
                        image * count(s.output) + out,
                        image * count(s.input) + pixel,
                        tap,
                    );
                }
            }
        }
    }
}

/// The filter is OHWI: [out, tap, in / groups].
pub(crate) fn reference(s: &ConvShape, x: &[f32], w: &[f32]) -> Vec<f64> {
    let taps: usize = s.kernel.iter().product();
    let (ic, oc) = (s.in_channels / s.groups, s.out_channels / s.groups);
    let mut y = vec![0.0; s.output_shape().iter().product()];
    connections(s, |out, pixel, tap| {
        for o in 0..s.out_channels {
            for c in 0..ic {
                let xv = x[pixel * s.in_channels + o / oc * ic + c];
                y[out * s.out_channels + o] +=
                    f64::from(xv) * f64::from(w[(o * taps + tap) * ic + c]);
            }
        }
    });
    y
}

/// [first, taps, last] to ONNX's [first, last, kernel..].
pub(crate) fn onnx_order(s: &ConvShape, w: &[f32], first: usize, last: usize) -> HostTensor {
    let taps = w.len() / (first * last);
    let mut shape = vec![first, last];
    shape.extend(&s.kernel[3 - s.rank..]);
    let values = (0..w.len()).map(|at| {
        let (f, l, t) = (at / (last * taps), at / taps % last, at % taps);
        w[(f * taps + t) * last + l]
    });
    HostTensor::from_vec(shape, values.collect()).unwrap()
}

pub(crate) fn input_shape(s: &ConvShape) -> Vec<usize> {
    let mut shape = vec![s.images];
    shape.extend(&s.input[3 - s.rank..]);
    shape.push(s.in_channels);
    shape
}

pub(crate) fn upload(bench: &mut Bench, slot: u32, host: &HostTensor) -> View {
    let view = View::new(Slot(slot), Store::F32, host.shape().to_vec());
    bench.put(&view, host.bytes());
    view
}

/// X's shape, kernel, strides, dilations, pads, groups, output channels.
pub(crate) type Case = (
    &'static [usize],
    &'static [usize],
    &'static [usize],
    &'static [usize],
    &'static [usize],
    usize,
    usize,
);

pub(crate) fn shape_of(&(x, kernel, strides, dilations, pads, groups, out): &Case) -> ConvShape {
    ConvShape::new(x, kernel, strides, dilations, pads, groups, out).unwrap()
}
