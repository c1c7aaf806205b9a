//! Convolutions on the software adapter against plain loops in f64.

mod common;

use common::conv::{Case, input_shape, onnx_order, reference, shape_of, upload};
use common::gpu::{benches, close, values};
use tilewright_kernels::{
    Epilogue, Filter, Store, Winograd, WinogradScratch, conv, depthwise, pack_depthwise,
    pack_filter, winograd,
};

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

/// Plain 3x3: odd and even sizes, no pads and uneven ones, images, a tile that is all padding's neighbour.
const WINOGRAD: &[Case] = &[
    (
        &[1, 9, 11, 64],
        &[3, 3],
        &[1, 1],
        &[1, 1],
        &[1, 1, 1, 1],
        1,
        68,
    ),
    (
        &[2, 6, 5, 8],
        &[3, 3],
        &[1, 1],
        &[1, 1],
        &[0, 2, 1, 0],
        1,
        12,
    ),
    (
        &[3, 3, 3, 4],
        &[3, 3],
        &[1, 1],
        &[1, 1],
        &[0, 0, 0, 0],
        1,
        4,
    ),
    (
        &[1, 1, 2, 20],
        &[3, 3],
        &[1, 1],
        &[1, 1],
        &[2, 2, 2, 2],
        1,
        36,
    ),
];

#[test]
fn convolutions_by_transformed_tiles() {
    // Errors are judged against the largest result: what a transform adds up is larger than what is left of it.
    for mut bench in benches() {
        for case in WINOGRAD {
            for (store, form) in [
                (Store::F32, Winograd::Two),
                (Store::F32, Winograd::Four),
                (Store::F16, Winograd::Four),
            ] {
                let s = shape_of(case);
                let x = values(input_shape(&s).iter().product(), 13);
                let w = values(s.out_channels * 9 * s.in_channels, 14);
                let bias = values(s.out_channels, 15);
                let mut expected = reference(&s, &x, &w);
                for (at, v) in expected.iter_mut().enumerate() {
                    *v += f64::from(bias[at % s.out_channels]);
                }
                let filter = onnx_order(&s, &w, s.out_channels, s.in_channels);
                let filter = form.pack(bench.caps(), &s, &filter).unwrap();
                let filter = upload(&mut bench, 1, &filter);
                let vx = bench.floats(0, store, &input_shape(&s), &x);
                let vb = bench.floats(4, Store::F32, &[s.out_channels], &bias);
                let vy = bench.result(3, store, &s.output_shape());
                let [tiles, products] = form.scratch(&s);
                let scratch = WinogradScratch {
                    tiles: &bench.result(5, Store::F32, &tiles),
                    products: &bench.result(6, Store::F32, &products),
                };
                let epilogue = Epilogue::bias(&vb);
                let run = winograd(
                    bench.caps(),
                    form,
                    &s,
                    &vx,
                    &filter,
                    scratch,
                    &vy,
                    Some(&epilogue),
                );
                bench.run(&run.unwrap());
                let most = match (store, form) {
                    (Store::F16, _) => 1.0 / 1024.0,
                    (_, Winograd::Two) => 4e-6,
                    (_, Winograd::Four) => 4e-5,
                };
                let largest = expected.iter().fold(0.0f64, |most, v| most.max(v.abs()));
                for (at, (got, want)) in bench.read(&vy).iter().zip(&expected).enumerate() {
                    let off = (f64::from(*got) - want).abs() / largest;
                    assert!(
                        off <= most,
                        "{case:?} {form:?}: element {at}: {got}, not {want}"
                    );
                }
            }
        }
    }
}
