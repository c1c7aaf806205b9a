//! Convolutions on the software adapter against plain loops in f64.

mod common;

use common::gpu::{Bench, benches, close, values};
use tilewright_device::Slot;
use tilewright_kernels::{
    ConvShape, Epilogue, Filter, Store, View, conv, conv_transpose, depthwise,
};
use tilewright_kernels::{pack_depthwise, pack_filter, pack_filter_transposed};
use tilewright_tensor::HostTensor;

/// Calls `see(output pixel, input pixel, tap)` for every pair of pixels that a convolution connects; pixels count over images.
fn connections(s: &ConvShape, mut see: impl FnMut(usize, usize, usize)) {
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
fn reference(s: &ConvShape, x: &[f32], w: &[f32]) -> Vec<f64> {
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

/// [first, taps, last] to ONNX's [first, last, kernel..].
fn onnx_order(s: &ConvShape, w: &[f32], first: usize, last: usize) -> HostTensor {
    let taps = w.len() / (first * last);
    let mut shape = vec![first, last];
    shape.extend(&s.kernel[3 - s.rank..]);
    let values = (0..w.len()).map(|at| {
        let (f, l, t) = (at / (last * taps), at / taps % last, at % taps);
        w[(f * taps + t) * last + l]
    });
    HostTensor::from_vec(shape, values.collect()).unwrap()
}

fn input_shape(s: &ConvShape) -> Vec<usize> {
    let mut shape = vec![s.images];
    shape.extend(&s.input[3 - s.rank..]);
    shape.push(s.in_channels);
    shape
}

fn upload(bench: &mut Bench, slot: u32, host: &HostTensor) -> View {
    let view = View::new(Slot(slot), Store::F32, host.shape().to_vec());
    bench.put(&view, host.bytes());
    view
}

/// X's shape, kernel, strides, dilations, pads, groups, output channels.
type Case = (
    &'static [usize],
    &'static [usize],
    &'static [usize],
    &'static [usize],
    &'static [usize],
    usize,
    usize,
);

const CASES: &[Case] = &[
    // 3x3, channels in vec4
    (
        &[1, 9, 11, 16],
        &[3, 3],
        &[1, 1],
        &[1, 1],
        &[1, 1, 1, 1],
        1,
        32,
    ),
    // the first layer: few channels, stride 2, one-sided pads
    (
        &[2, 13, 12, 3],
        &[5, 7],
        &[2, 2],
        &[1, 1],
        &[3, 2, 0, 1],
        1,
        10,
    ),
    // few channels in vec4
    (
        &[1, 8, 9, 4],
        &[3, 3],
        &[1, 1],
        &[1, 1],
        &[1, 1, 1, 1],
        1,
        8,
    ),
    // channels that are no multiple of 4, dilated
    (
        &[1, 12, 10, 5],
        &[3, 2],
        &[1, 2],
        &[2, 3],
        &[2, 0, 1, 3],
        1,
        7,
    ),
    // 1x1: a product of matrices; with stride it is not
    (
        &[2, 5, 5, 20],
        &[1, 1],
        &[1, 1],
        &[1, 1],
        &[0, 0, 0, 0],
        1,
        12,
    ),
    (
        &[1, 7, 7, 18],
        &[1, 1],
        &[2, 2],
        &[1, 1],
        &[0, 0, 0, 0],
        1,
        12,
    ),
    // groups
    (
        &[1, 6, 7, 32],
        &[3, 3],
        &[1, 1],
        &[1, 1],
        &[1, 1, 1, 1],
        4,
        16,
    ),
    (
        &[1, 6, 7, 6],
        &[3, 3],
        &[2, 1],
        &[1, 1],
        &[1, 1, 1, 1],
        3,
        9,
    ),
    (
        &[1, 5, 5, 8],
        &[1, 1],
        &[1, 1],
        &[1, 1],
        &[0, 0, 0, 0],
        2,
        8,
    ),
    // 1-d and 3-d
    (&[2, 33, 8], &[5], &[2], &[1], &[2, 2], 1, 12),
    (&[1, 40, 1], &[7], &[1], &[4], &[24, 0], 1, 4),
    (
        &[1, 4, 5, 6, 16],
        &[3, 2, 3],
        &[1, 2, 1],
        &[1, 1, 2],
        &[1, 0, 2, 1, 1, 0],
        1,
        8,
    ),
    (
        &[1, 3, 5, 6, 2],
        &[2, 3, 3],
        &[1, 1, 1],
        &[1, 1, 1],
        &[0, 1, 1, 1, 1, 1],
        1,
        5,
    ),
];

fn shape_of(&(x, kernel, strides, dilations, pads, groups, out): &Case) -> ConvShape {
    ConvShape::new(x, kernel, strides, dilations, pads, groups, out).unwrap()
}

#[test]
fn convolutions_of_every_form() {
    for mut bench in benches() {
        for case in CASES {
            let s = shape_of(case);
            let ic = s.in_channels / s.groups;
            let taps: usize = s.kernel.iter().product();
            let x = values(input_shape(&s).iter().product(), 1);
            let w = values(s.out_channels * taps * ic, 2);
            let expected = reference(&s, &x, &w);
            let vx = bench.floats(0, Store::F32, &input_shape(&s), &x);
            let ohwi = bench.floats(1, Store::F32, &[s.out_channels, taps, ic], &w);
            let packed =
                pack_filter(bench.caps(), &s, &onnx_order(&s, &w, s.out_channels, ic)).unwrap();
            let packed = upload(&mut bench, 2, &packed);
            for filter in [Filter::Packed(&packed), Filter::Ohwi(&ohwi)] {
                let vy = bench.result(3, Store::F32, &s.output_shape());
                bench.run(&conv(bench.caps(), &s, &vx, filter, &vy, None).unwrap());
                close(
                    &format!("{case:?} {filter:?}"),
                    &bench.read(&vy),
                    &expected,
                    1e-5,
                );
            }
        }
    }
}

#[test]
fn an_epilogue_sees_channels_over_all_groups() {
    for mut bench in benches() {
        for case in [&CASES[0], &CASES[1], &CASES[6]] {
            let s = shape_of(case);
            let ic = s.in_channels / s.groups;
            let taps: usize = s.kernel.iter().product();
            let (x, w) = (
                values(input_shape(&s).iter().product(), 3),
                values(s.out_channels * taps * ic, 4),
            );
            let bias = values(s.out_channels, 5);
            let vx = bench.floats(0, Store::F32, &input_shape(&s), &x);
            let ohwi = bench.floats(1, Store::F32, &[s.out_channels, taps, ic], &w);
            let vb = bench.floats(2, Store::F32, &[s.out_channels], &bias);
            let vy = bench.result(3, Store::F32, &s.output_shape());
            let epilogue = Epilogue::bias(&vb);
            bench.run(
                &conv(
                    bench.caps(),
                    &s,
                    &vx,
                    Filter::Ohwi(&ohwi),
                    &vy,
                    Some(&epilogue),
                )
                .unwrap(),
            );
            let mut expected = reference(&s, &x, &w);
            for (at, v) in expected.iter_mut().enumerate() {
                *v += f64::from(bias[at % s.out_channels]);
            }
            close(&format!("{case:?}"), &bench.read(&vy), &expected, 1e-5);
        }
    }
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

const DEPTHWISE: &[Case] = &[
    (
        &[1, 9, 11, 16],
        &[3, 3],
        &[1, 1],
        &[1, 1],
        &[1, 1, 1, 1],
        16,
        16,
    ),
    (
        &[2, 9, 10, 12],
        &[3, 3],
        &[2, 2],
        &[1, 1],
        &[0, 0, 1, 1],
        12,
        12,
    ),
    (
        &[1, 4, 3, 6],
        &[5, 5],
        &[1, 1],
        &[1, 1],
        &[2, 2, 2, 2],
        6,
        6,
    ),
    (
        &[1, 12, 19, 5],
        &[3, 3],
        &[1, 3],
        &[2, 2],
        &[2, 2, 2, 2],
        5,
        5,
    ),
    (&[1, 30, 8], &[9], &[1], &[1], &[8, 0], 8, 8),
    (
        &[1, 3, 4, 9, 4],
        &[2, 3, 3],
        &[1, 1, 1],
        &[1, 1, 1],
        &[1, 1, 1, 0, 1, 1],
        4,
        4,
    ),
];

#[test]
fn depthwise_convolutions() {
    for mut bench in benches() {
        for case in DEPTHWISE {
            let s = shape_of(case);
            let taps: usize = s.kernel.iter().product();
            let x = values(input_shape(&s).iter().product(), 8);
            let w = values(s.out_channels * taps, 9);
            let bias = values(s.out_channels, 10);
            let mut expected = reference(&s, &x, &w);
            for (at, v) in expected.iter_mut().enumerate() {
                *v += f64::from(bias[at % s.out_channels]);
            }
            let vx = bench.floats(0, Store::F32, &input_shape(&s), &x);
            let dynamic = bench.floats(1, Store::F32, &[s.out_channels, taps, 1], &w);
            let packed = pack_depthwise(&s, &onnx_order(&s, &w, s.out_channels, 1)).unwrap();
            let packed = upload(&mut bench, 2, &packed);
            let vb = bench.floats(4, Store::F32, &[s.out_channels], &bias);
            for filter in [Filter::Packed(&packed), Filter::Ohwi(&dynamic)] {
                let vy = bench.result(3, Store::F32, &s.output_shape());
                let epilogue = Epilogue::bias(&vb);
                bench.run(&depthwise(bench.caps(), &s, &vx, filter, &vy, Some(&epilogue)).unwrap());
                close(
                    &format!("{case:?} {filter:?}"),
                    &bench.read(&vy),
                    &expected,
                    1e-5,
                );
            }
        }
    }
}

#[test]
fn f16_activations_and_filters() {
    for mut bench in benches() {
        let s = shape_of(&CASES[0]);
        let (x, w) = (
            values(input_shape(&s).iter().product(), 11),
            values(s.out_channels * 9 * 16, 12),
        );
        let vx = bench.floats(0, Store::F16, &input_shape(&s), &x);
        let vw = bench.floats(1, Store::F16, &[s.out_channels, 9, 16], &w);
        let vy = bench.result(2, Store::F16, &s.output_shape());
        bench.run(&conv(bench.caps(), &s, &vx, Filter::Ohwi(&vw), &vy, None).unwrap());
        close(
            "f16",
            &bench.read(&vy),
            &reference(&s, &x, &w),
            1.0 / 2048.0,
        );
    }
}
