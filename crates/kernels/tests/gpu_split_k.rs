//! Split-K on the software adapter against plain loops in f64.

mod common;

use common::conv;
use common::gpu::{Bench, benches, close, values};
use tilewright_device::Slot;
use tilewright_kernels::{
    ConvShape, Epilogue, Filter, Gemm, Loop, SplitK, Store, View, candidates, conv_split, pack_b,
    pack_filter, panel_width, reg_lanes, split_k, split_k_with,
};
use tilewright_tensor::HostTensor;

/// sum_k A[m, k] * B[k, n] for every matrix of A, B as stored or transposed.
fn reference(a: &[f32], b: &[f32], trans: bool, [m, n, k]: [usize; 3]) -> Vec<f64> {
    let at = |x: usize, j: usize| if trans { b[j * k + x] } else { b[x * n + j] };
    let dot = |row: &[f32], j| {
        let terms = row.iter().enumerate();
        terms
            .map(|(x, &v)| f64::from(v) * f64::from(at(x, j)))
            .sum()
    };
    let rows = a.chunks(k).take(a.len() / k);
    let all = rows.flat_map(|row| (0..n).map(move |j| dot(row, j)).collect::<Vec<f64>>());
    let all: Vec<f64> = all.collect();
    assert_eq!(all.len() % (m * n), 0);
    all
}

/// One loop of each family, the smallest.
fn families(bench: &Bench) -> Vec<Loop> {
    let caps = bench.caps();
    let mut loops = vec![Loop::Tile {
        bm4: 8,
        bn4: 8,
        bk4: 4,
        tm4: 1,
        tn4: 1,
        sides: 1,
    }];
    let few = candidates(caps, 4, 64, 64, 1).into_iter();
    loops.extend(few.filter(|of| matches!(of, Loop::Gemv { .. })));
    loops.extend(reg_lanes(caps).map(|lanes| Loop::Reg {
        lanes,
        quads: lanes,
        columns: 1,
    }));
    loops
}

/// Sizes around the multiples that parts, loops and the second pass look at, each with a number of parts.
const SIZES: [([usize; 3], usize); 7] = [
    ([64, 64, 64], 2),
    ([65, 63, 131], 3),
    ([33, 36, 1000], 7),
    ([4, 10, 84], 21),
    ([1, 1, 5], 2),
    ([3, 129, 65], 4),
    ([40, 36, 22], 1),
];

#[test]
fn every_family_layout_and_size_is_summed() {
    for mut bench in benches() {
        for of in families(&bench) {
            for ([m, n, k], parts) in SIZES {
                for (trans, store) in [(false, Store::F32), (true, Store::F16)] {
                    let (a, b) = (values(m * k, 1), values(k * n, 2));
                    let shape = if trans { [n, k] } else { [k, n] };
                    let va = bench.floats(0, store, &[m, k], &a);
                    let vb = bench.floats(1, store, &shape, &b);
                    let vc = bench.result(2, Store::F32, &[m, n]);
                    let product = Gemm::of(&va, false, &vb, trans, &vc, None).unwrap();
                    let cut = SplitK::new(k, parts);
                    let scratch = bench.result(3, Store::F32, &cut.scratch(&product));
                    let made = split_k_with(bench.caps(), &product, cut, &scratch, of);
                    bench.run(&made.unwrap());
                    let what = format!("{of:?} {m} {n} {k} {parts} {trans} {store}");
                    let expected = reference(&a, &b, trans, [m, n, k]);
                    close(&what, &bench.read(&vc), &expected, 1e-5);
                }
            }
        }
    }
}

#[test]
fn batches_broadcast_and_results_are_rounded_once() {
    for mut bench in benches() {
        for (shape_b, batch) in [(&[][..], &[3][..]), (&[2, 3], &[2, 3]), (&[3], &[2, 3])] {
            let [m, n, k] = [9, 12, 50];
            let count = |of: &[usize]| of.iter().product::<usize>();
            let (a, b) = (
                values(count(batch) * m * k, 3),
                values(count(shape_b) * k * n, 4),
            );
            let with = |own: &[usize], rows, cols| [own, &[rows, cols]].concat();
            let va = bench.floats(0, Store::F32, &with(batch, m, k), &a);
            let vb = bench.floats(1, Store::F32, &with(shape_b, k, n), &b);
            let vc = bench.result(2, Store::F16, &with(batch, m, n));
            let product = Gemm::of(&va, false, &vb, false, &vc, None).unwrap();
            let cut = SplitK::new(k, 4);
            let scratch = bench.result(3, Store::F32, &cut.scratch(&product));
            bench.run(&split_k(bench.caps(), &product, cut, &scratch).unwrap());
            let expected: Vec<f64> = (0..count(batch))
                .flat_map(|z| {
                    let b = &b[z % count(shape_b) * k * n..][..k * n];
                    reference(&a[z * m * k..][..m * k], b, false, [m, n, k])
                })
                .collect();
            let what = format!("{batch:?} x {shape_b:?}");
            close(&what, &bench.read(&vc), &expected, 1.0 / 2048.0);
        }
    }
}

/// Panels and some columns of C, with an epilogue that must see whole sums once; twice, for the same bits.
#[test]
fn the_epilogue_follows_the_last_part() {
    for mut bench in benches() {
        let width = panel_width(bench.caps());
        for [m, n, k, first] in [[50, width, 131, 0], [1, width, 1000, 8], [70, 10, 77, 4]] {
            let (a, b, bias) = (values(m * k, 5), values(k * n, 6), values(first + n, 7));
            let packed = pack_b(&HostTensor::from_slice([k, n], &b).unwrap(), false, width);
            let packed = packed.unwrap();
            let va = bench.floats(0, Store::F32, &[m, k], &a);
            let vb = View::new(Slot(1), Store::F32, packed.shape().to_vec());
            bench.put(&vb, packed.bytes());
            let row = first + n;
            let vc = bench.result(2, Store::F32, &[m, row]);
            let vd = bench.floats(4, Store::F32, &[row], &bias);
            let epilogue = Epilogue::new(
                "@group(0) @binding(D) var<storage, read> d: array<vec4<f32>>;\n\
                 fn epilogue(v: vec4<Value>, place: Place) -> vec4<Value> {\n\
                     return max(v + d[place.n / 4u], vec4<f32>(-0.25));\n\
                 }",
            );
            let epilogue = epilogue.bind("D", vd.span);
            let columns = first..row;
            let product =
                Gemm::of_columns(&va, false, &vb, width, &vc, columns, Some(&epilogue)).unwrap();
            let cut = SplitK::new(k, 6);
            let scratch = bench.result(3, Store::F32, &cut.scratch(&product));
            let made = split_k(bench.caps(), &product, cut, &scratch).unwrap();
            bench.run(&made);
            let got = bench.read(&vc);
            let sums = reference(&a, &b, false, [m, n, k]);
            for (r, got) in got.chunks(row).enumerate() {
                let what = format!("{m} {n} {k}, row {r}");
                assert!(got[..first].iter().all(|v| v.is_nan()), "{what}");
                let expected: Vec<f64> = (0..n)
                    .map(|j| (sums[r * n + j] + f64::from(bias[first + j])).max(-0.25))
                    .collect();
                close(&what, &got[first..], &expected, 1e-5);
            }
            bench.run(&made);
            let bits = |of: Vec<f32>| of.into_iter().map(f32::to_bits).collect::<Vec<_>>();
            assert_eq!(bits(bench.read(&vc)), bits(got));
        }
    }
}

/// X without images, kernel, stride, pad and output channels: by positions, by rows, in vec4 and single elements, pointwise.
const CONVS: [([usize; 4], [usize; 2], usize, usize, usize); 5] = [
    ([1, 7, 7, 64], [3, 3], 1, 1, 40),
    ([2, 9, 6, 20], [3, 2], 2, 1, 33),
    ([1, 12, 12, 3], [5, 5], 1, 2, 16),
    ([1, 8, 9, 18], [3, 3], 1, 0, 12),
    ([2, 4, 5, 100], [1, 1], 1, 0, 24),
];

#[test]
fn convolutions_are_summed_over_parts_of_every_position() {
    for mut bench in benches() {
        for (input, kernel, stride, pad, channels) in CONVS {
            let s = ConvShape::new(
                &input,
                &kernel,
                &[stride; 2],
                &[1; 2],
                &[pad; 4],
                1,
                channels,
            );
            let s = s.unwrap();
            let taps: usize = kernel.iter().product();
            let x = values(input.iter().product(), 8);
            let w = values(channels * taps * input[3], 9);
            let bias = values(channels, 10);
            let mut expected = conv::reference(&s, &x, &w);
            for (at, v) in expected.iter_mut().enumerate() {
                *v += f64::from(bias[at % channels]);
            }
            let packed = conv::onnx_order(&s, &w, channels, input[3]);
            let packed = pack_filter(bench.caps(), &s, &packed).unwrap();
            let packed = conv::upload(&mut bench, 1, &packed);
            let ohwi = bench.floats(2, Store::F32, &[channels, taps, input[3]], &w);
            let vb = bench.floats(4, Store::F32, &[channels], &bias);
            let epilogue = Epilogue::bias(&vb);
            for (filter, store) in [
                (Filter::Packed(&packed), Store::F32),
                (Filter::Ohwi(&ohwi), Store::F16),
            ] {
                let vx = bench.floats(0, store, &input, &x);
                let vy = bench.result(3, Store::F32, &s.output_shape());
                // Of a k block: channels, or a row of the kernel.
                let few = input[3] < 16 || input[3] % 4 != 0;
                let row = few && taps > 1;
                let cut = SplitK::new(input[3] * if row { kernel[1] } else { 1 }, 3);
                let scratch = bench.result(5, Store::F32, &cut.conv_scratch(&s));
                let ends = Some(&epilogue);
                let on = bench.caps();
                let made = conv_split(on, &s, &vx, filter, &vy, ends, cut, &scratch).unwrap();
                assert_eq!(made.len(), 2);
                bench.run(&made);
                let what = format!("{input:?} {kernel:?} {store}");
                close(&what, &bench.read(&vy), &expected, 1e-5);
            }
        }
    }
}
