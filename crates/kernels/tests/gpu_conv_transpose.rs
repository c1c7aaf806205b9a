//! Transposed convolutions on the software adapter against plain loops in f64.

mod common;

use common::conv::{Case, connections, input_shape, onnx_order, upload};
use common::gpu::{benches, close, values};
use tilewright_kernels::{ConvShape, Filter, Store, conv_transpose, pack_filter_transposed};

/// The gradient of a convolution's input: what a transposed convolution of the other sizes computes.
fn reference_transposed(s: &ConvShape, x: &[f32], w: &[f32]) -> Vec<f64> {
    let forward = s.data_gradient();
    let taps: usize = s.kernel.iter().product();
    let (ic, oc) = (s.in_channels / s.groups, s.out_channels / s.groups);
    let mut y = vec![0.0; s.output_shape().iter().product()];
    connections(&forward, |pixel, out, tap| {
        for c in 0..s.in_channels {
            for o in 0..oc {
                let xv = f64::from(x[pixel * s.in_channels + c]);
                y[out * s.out_channels + c / ic * oc + o] +=
                    xv * f64::from(w[(c * taps + tap) * oc + o]);
            }
        }
    });
    y
}

const TRANSPOSED: &[(Case, &[usize])] = &[
    (
        (
            &[1, 5, 6, 16],
            &[3, 3],
            &[2, 2],
            &[1, 1],
            &[1, 1, 1, 1],
            1,
            8,
        ),
        &[1, 1],
    ),
    (
        (
            &[2, 4, 3, 5],
            &[4, 3],
            &[2, 3],
            &[1, 1],
            &[0, 1, 1, 0],
            1,
            6,
        ),
        &[0, 2],
    ),
    // strides and dilations with and without a common divisor: some phases take no tap at all
    (
        (
            &[1, 4, 5, 4],
            &[3, 2],
            &[2, 3],
            &[2, 2],
            &[1, 0, 0, 1],
            1,
            4,
        ),
        &[1, 0],
    ),
    (
        (
            &[1, 4, 4, 8],
            &[2, 2],
            &[4, 3],
            &[1, 1],
            &[0, 0, 0, 0],
            1,
            4,
        ),
        &[1, 1],
    ),
    (
        (
            &[1, 5, 5, 6],
            &[3, 3],
            &[2, 2],
            &[1, 1],
            &[1, 1, 1, 1],
            3,
            9,
        ),
        &[0, 0],
    ),
    (
        (
            &[1, 6, 6, 8],
            &[3, 3],
            &[1, 1],
            &[1, 1],
            &[1, 1, 1, 1],
            2,
            16,
        ),
        &[0, 0],
    ),
    ((&[2, 9, 4], &[4], &[2], &[1], &[1, 1], 1, 12), &[0]),
    (
        (
            &[1, 3, 3, 4, 8],
            &[2, 3, 2],
            &[2, 1, 2],
            &[1, 2, 1],
            &[0, 1, 0, 1, 0, 1],
            1,
            4,
        ),
        &[1, 0, 0],
    ),
];

#[test]
fn transposed_convolutions_with_every_stride_and_dilation() {
    for mut bench in benches() {
        for ((x, kernel, strides, dilations, pads, groups, out), more) in TRANSPOSED {
            let s = ConvShape::transposed(x, kernel, strides, dilations, pads, more, *groups, *out)
                .unwrap();
            let oc = s.out_channels / s.groups;
            let taps: usize = s.kernel.iter().product();
            let x = values(input_shape(&s).iter().product(), 6);
            let w = values(s.in_channels * taps * oc, 7);
            let expected = reference_transposed(&s, &x, &w);
            let vx = bench.floats(0, Store::F32, &input_shape(&s), &x);
            let dynamic = bench.floats(1, Store::F32, &[s.in_channels, taps, oc], &w);
            let onnx = onnx_order(&s, &w, s.in_channels, oc);
            let packed = pack_filter_transposed(bench.caps(), &s, &onnx).unwrap();
            let packed = upload(&mut bench, 2, &packed);
            for filter in [Filter::Packed(&packed), Filter::Ohwi(&dynamic)] {
                let vy = bench.result(3, Store::F32, &s.output_shape());
                bench.run(&conv_transpose(bench.caps(), &s, &vx, filter, &vy, None).unwrap());
                close(
                    &format!("{s:?} {filter:?}"),
                    &bench.read(&vy),
                    &expected,
                    1e-5,
                );
            }
        }
    }
}
