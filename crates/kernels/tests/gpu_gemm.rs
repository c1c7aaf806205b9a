//! GEMM on the software adapter against plain loops in f64.

mod common;

use common::gpu::{Bench, benches, close, values};
use tilewright_device::{AdapterKind, Caps, Slot};
use tilewright_kernels::{
    Epilogue, Gemm, Layout, Loop, Operand, Store, View, candidates, gemm_with, matmul,
};
use tilewright_kernels::{matmul_packed, pack_b, panel_width, reg_lanes};
use tilewright_tensor::HostTensor;

/// sum_k A[m, k] * B[k, n] for one batch, the operands as stored or transposed.
fn reference(
    a: &[f32],
    trans_a: bool,
    b: &[f32],
    trans_b: bool,
    [m, n, k]: [usize; 3],
) -> Vec<f64> {
    let at_a = |i: usize, x: usize| if trans_a { a[x * m + i] } else { a[i * k + x] };
    let at_b = |x: usize, j: usize| if trans_b { b[j * k + x] } else { b[x * n + j] };
    let dot = |i, j| {
        (0..k)
            .map(|x| f64::from(at_a(i, x)) * f64::from(at_b(x, j)))
            .sum()
    };
    (0..m * n).map(|at| dot(at / n, at % n)).collect()
}

/// One loop of each family, as far as the adapter has what it needs: every size and layout is a shader to compile.
fn families(caps: &Caps) -> Vec<Loop> {
    let mut loops = vec![smallest_tile(caps), gemv(caps, 4)];
    loops.extend(reg_lanes(caps).map(|lanes| Loop::Reg {
        lanes,
        quads: lanes,
        columns: 1,
    }));
    loops
}

/// Of few rows: what GPUs take for them, and the last candidate of software adapters.
fn gemv(caps: &Caps, m: usize) -> Loop {
    let all = candidates(caps, m, 64, 64, 1);
    *all.iter()
        .find(|of| matches!(of, Loop::Gemv { .. }))
        .unwrap()
}

fn smallest_tile(caps: &Caps) -> Loop {
    let mut gpu = caps.clone();
    gpu.kind = AdapterKind::Unknown;
    candidates(&gpu, 32, 32, 32, 1)[0]
}

/// The other sizes of the loops.
fn others(caps: &Caps) -> Vec<Loop> {
    let mut loops = candidates(&Caps::webgpu_default(), 1 << 12, 1 << 12, 1 << 12, 1);
    loops.extend(candidates(caps, 64, 64, 1 << 20, 1));
    loops.extend([1, 2, 8].map(|m| gemv(caps, m)));
    // Tiles of fewer rows than lanes, of one and of two blocks of columns.
    let few = [4, 8, 16, 32].map(|m| candidates(caps, m, 64, 64, 1));
    loops.extend(few.into_iter().flatten());
    loops.sort();
    loops.dedup();
    loops.retain(|of| !families(caps).contains(of));
    loops
}

/// Sizes around every multiple that a part or a loop looks at.
const SIZES: [[usize; 3]; 9] = [
    [64, 64, 64],
    [65, 63, 31],
    [33, 36, 20],
    [36, 33, 22],
    [1, 1, 1],
    [4, 10, 84],
    [3, 100, 17],
    [12, 8, 5],
    [3, 129, 65],
];

const LAYOUTS: [(bool, bool); 4] = [(false, false), (false, true), (true, false), (true, true)];

/// Runs a product with A and B as stored or transposed.
fn run_layouts(
    bench: &mut Bench,
    of: Loop,
    size: [usize; 3],
    store: Store,
    layouts: &[(bool, bool)],
) {
    let [m, n, k] = size;
    for &(trans_a, trans_b) in layouts {
        let (a, b) = (values(m * k, 1), values(k * n, 2));
        let va = bench.floats(0, store, &[m * k], &a);
        let vb = bench.floats(1, store, &[k * n], &b);
        let vc = bench.result(2, Store::F32, &[m, n]);
        let layout = |trans| if trans { Layout::Cols } else { Layout::Rows };
        let operand = |view, trans, ld| Operand {
            view,
            layout: layout(trans),
            ld,
            batch: vec![],
        };
        let product = Gemm {
            m,
            n,
            k,
            batch: vec![],
            a: operand(&va, trans_a, if trans_a { m } else { k }),
            b: operand(&vb, trans_b, if trans_b { k } else { n }),
            c: operand(&vc, false, n),
            epilogue: None,
        };
        bench.run(&gemm_with(bench.caps(), &product, of).unwrap());
        let expected = reference(&a, trans_a, &b, trans_b, size);
        let what = format!("{of:?} {size:?} {store} {trans_a} {trans_b}");
        close(&what, &bench.read(&vc), &expected, 1e-5);
    }
}

#[test]
fn every_family_computes_every_layout_and_size() {
    for mut bench in benches() {
        for of in families(&bench.caps().clone()) {
            for size in SIZES {
                run_layouts(&mut bench, of, size, Store::F32, &LAYOUTS);
            }
        }
    }
}

#[test]
fn every_size_of_a_loop_computes() {
    for mut bench in benches() {
        for of in others(&bench.caps().clone()) {
            let m = if matches!(of, Loop::Gemv { .. }) {
                of.extent()[0]
            } else {
                130
            };
            for size in [[m, 132, 40], [m, 70, 34]] {
                run_layouts(&mut bench, of, size, Store::F32, &LAYOUTS[1..2]);
            }
        }
    }
}

#[test]
fn f16_operands_are_read_with_and_without_f16_shaders() {
    for mut bench in benches() {
        for of in families(&bench.caps().clone()) {
            for size in [[64, 64, 64], [65, 63, 31]] {
                run_layouts(&mut bench, of, size, Store::F16, &LAYOUTS[1..3]);
            }
        }
    }
}

#[test]
fn f16_results_are_rounded_once() {
    for mut bench in benches() {
        let [m, n, k] = [40, 36, 50];
        let (a, b) = (values(m * k, 3), values(k * n, 4));
        let va = bench.floats(0, Store::F16, &[m, k], &a);
        let vb = bench.floats(1, Store::F32, &[k, n], &b);
        let vc = bench.result(2, Store::F16, &[m, n]);
        let dispatches = matmul(bench.caps(), &va, false, &vb, false, &vc, None).unwrap();
        bench.run(&dispatches);
        close(
            "f16 result",
            &bench.read(&vc),
            &reference(&a, false, &b, false, [m, n, k]),
            1.0 / 2048.0,
        );
    }
}

#[test]
fn packed_b_with_bias_and_relu() {
    for mut bench in benches() {
        let width = panel_width(bench.caps());
        for [m, n, k] in [
            [64, 64, 64],
            [50, 10, 31],
            [1, 1000, 64],
            [5, 33, 7],
            [200, 96, 100],
        ] {
            for trans in [false, true] {
                let (a, b, bias) = (values(m * k, 5), values(k * n, 6), values(n, 7));
                let stored = if trans { [n, k] } else { [k, n] };
                let host = HostTensor::from_slice(stored, &b).unwrap();
                let packed = pack_b(&host, trans, width).unwrap();
                let va = bench.floats(0, Store::F32, &[m, k], &a);
                let vb = View::new(Slot(1), Store::F32, packed.shape().to_vec());
                bench.put(&vb, packed.bytes());
                let vc = bench.result(2, Store::F32, &[m, n]);
                let vd = bench.floats(3, Store::F32, &[n], &bias);
                let epilogue = Epilogue::new(
                    "@group(0) @binding(D) var<storage, read> d: array<vec4<f32>>;\n\
                     //#param low: f32\n\
                     fn epilogue(v: vec4<Value>, place: Place) -> vec4<Value> {\n\
                         return max(v + d[place.n / 4u], vec4<f32>(p.low));\n\
                     }",
                );
                let epilogue = epilogue.bind("D", vd.span).param("low", -0.25f32);
                let dispatches =
                    matmul_packed(bench.caps(), &va, false, &vb, width, &vc, Some(&epilogue));
                bench.run(&dispatches.unwrap());
                let mut expected = reference(&a, false, &b, trans, [m, n, k]);
                for (at, v) in expected.iter_mut().enumerate() {
                    *v = (*v + f64::from(bias[at % n])).max(-0.25);
                }
                close(
                    &format!("{m} {n} {k} {trans}"),
                    &bench.read(&vc),
                    &expected,
                    1e-5,
                );
            }
        }
    }
}

/// Panels of constants through every loop, those that read and store two blocks at once too: ragged rows, columns and panels, and a
/// bias before stores of many results, which are written out, and of few, which are rolled.
#[test]
fn panels_are_read_by_every_loop() {
    for mut bench in benches() {
        let caps = bench.caps().clone();
        let width = panel_width(&caps);
        for of in [families(&caps), others(&caps)].concat() {
            let m = match of {
                Loop::Gemv { rows, .. } => rows as usize,
                _ => of.extent()[0] + 5,
            };
            for (n, k, batches) in [(64, 20, 1), (128, 20, 1), (33, 7, 2), (100, 34, 2)] {
                for store in [Store::F32, Store::F16] {
                    let (a, b) = (values(batches * m * k, 5), values(batches * k * n, 6));
                    let host = HostTensor::from_slice([batches, k, n], &b).unwrap();
                    let packed = pack_b(&host, false, width).unwrap();
                    let panels: Vec<f32> = packed.as_slice().unwrap().to_vec();
                    let va = bench.floats(0, Store::F32, &[batches, m, k], &a);
                    let vb = bench.floats(1, store, packed.shape(), &panels);
                    let vc = bench.result(2, Store::F32, &[batches, m, n]);
                    let bias = values(n, 7);
                    let vd = bench.floats(3, Store::F32, &[n], &bias);
                    let biased = (n % 64 == 0).then(|| Epilogue::bias(&vd));
                    let operand = |view, layout, ld, step| Operand {
                        view,
                        layout,
                        ld,
                        batch: vec![step],
                    };
                    let ld = k.next_multiple_of(4);
                    let step = n.div_ceil(width) * ld * width;
                    let product = Gemm {
                        m,
                        n,
                        k,
                        batch: vec![batches],
                        a: operand(&va, Layout::Rows, k, m * k),
                        b: operand(&vb, Layout::Panels { width }, ld, step),
                        c: operand(&vc, Layout::Rows, n, m * n),
                        epilogue: biased.as_ref(),
                    };
                    bench.run(&gemm_with(&caps, &product, of).unwrap());
                    let mut expected: Vec<f64> = (0..batches)
                        .flat_map(|z| {
                            let (a, b) = (&a[z * m * k..][..m * k], &b[z * k * n..][..k * n]);
                            reference(a, false, b, false, [m, n, k])
                        })
                        .collect();
                    for (at, v) in expected.iter_mut().enumerate() {
                        *v += biased.as_ref().map_or(0.0, |_| f64::from(bias[at % n]));
                    }
                    let what = format!("{of:?} {m} {n} {k} {store}");
                    close(&what, &bench.read(&vc), &expected, 1e-5);
                }
            }
        }
    }
}

/// Shapes of A and B without their matrices, and the broadcast result.
const BATCHES: [(&[usize], &[usize], &[usize]); 6] = [
    (&[], &[], &[]),
    (&[3], &[], &[3]),
    (&[], &[3], &[3]),
    (&[2, 3], &[2, 3], &[2, 3]),
    (&[2, 1], &[3], &[2, 3]),
    (&[2, 1, 2, 1], &[3, 1, 2], &[2, 3, 2, 2]),
];

#[test]
fn batches_broadcast_like_numpy() {
    for mut bench in benches() {
        for (shape_a, shape_b, shape_c) in BATCHES {
            for [m, n, k] in [[20, 24, 16], [9, 7, 5], [2, 8, 12]] {
                let with = |batch: &[usize], rows, cols| [batch, &[rows, cols]].concat();
                let (sa, sb, sc) = (
                    with(shape_a, m, k),
                    with(shape_b, n, k),
                    with(shape_c, m, n),
                );
                let (a, b) = (
                    values(sa.iter().product(), 8),
                    values(sb.iter().product(), 9),
                );
                let va = bench.floats(0, Store::F32, &sa, &a);
                let vb = bench.floats(1, Store::F32, &sb, &b);
                let vc = bench.result(2, Store::F32, &sc);
                bench.run(&matmul(bench.caps(), &va, false, &vb, true, &vc, None).unwrap());
                let mut expected = Vec::new();
                for z in 0..shape_c.iter().product() {
                    let (za, zb) = (source(z, shape_a, shape_c), source(z, shape_b, shape_c));
                    let (a, b) = (&a[za * m * k..][..m * k], &b[zb * n * k..][..n * k]);
                    expected.extend(reference(a, false, b, true, [m, n, k]));
                }
                let what = format!("{shape_a:?} x {shape_b:?}, {m} {n} {k}");
                close(&what, &bench.read(&vc), &expected, 1e-5);
            }
        }
    }
}

/// Batches of 6 tiles each, the last ones in a grid that has more workgroups than tiles.
#[test]
fn tiles_past_the_limit_of_a_dimension_are_folded() {
    for mut bench in benches() {
        let mut caps = bench.caps().clone();
        caps.limits.groups = 8;
        for of in families(&caps) {
            let (batches, [bm, bn]) = (11, of.extent());
            let [m, n, k] = [2 * bm + 1, bn + 4, 5];
            let (a, b) = (values(batches * m * k, 1), values(k * n, 2));
            let va = bench.floats(0, Store::F32, &[batches, m, k], &a);
            let vb = bench.floats(1, Store::F32, &[k, n], &b);
            // Room for what workgroups without a tile would write.
            let vc = bench.result(2, Store::F32, &[batches + 1, m, n]);
            let operand = |view, ld, step| Operand {
                view,
                layout: Layout::Rows,
                ld,
                batch: vec![step],
            };
            let product = Gemm {
                m,
                n,
                k,
                batch: vec![batches],
                a: operand(&va, k, m * k),
                b: operand(&vb, n, 0),
                c: operand(&vc, n, m * n),
                epilogue: None,
            };
            let dispatches = gemm_with(&caps, &product, of).unwrap();
            let groups = dispatches[0].groups;
            assert!(groups.iter().all(|&g| g <= 8), "{groups:?}");
            assert!(groups.iter().product::<u32>() > 6 * batches as u32);
            bench.run(&dispatches);
            let mut got = bench.read(&vc);
            let past = got.split_off(batches * m * n);
            assert!(past.iter().all(|v| v.is_nan()), "{of:?}: written past C");
            let expected: Vec<f64> = a
                .chunks(m * k)
                .flat_map(|a| reference(a, false, &b, false, [m, n, k]))
                .collect();
            close(&format!("{of:?}"), &got, &expected, 1e-5);
        }
    }
}

/// The matrix of an operand that batch `z` of the result reads.
fn source(mut z: usize, own: &[usize], all: &[usize]) -> usize {
    let (mut at, mut stride) = (0, 1);
    for (axis, &size) in all.iter().enumerate().rev() {
        let index = z % size;
        z /= size;
        if let Some(own_axis) = (axis + own.len()).checked_sub(all.len()) {
            at += if own[own_axis] == 1 {
                0
            } else {
                index * stride
            };
            stride *= own[own_axis];
        }
    }
    at
}

#[test]
fn infinities_stay_where_they_belong() {
    for mut bench in benches() {
        for of in families(&bench.caps().clone()) {
            // k and n are no multiples of anything: padding must not turn an infinity into NaN elsewhere.
            let [m, n, k] = [8, 9, 5];
            let (mut a, mut b) = (vec![1.0f32; m * k], vec![1.0f32; k * n]);
            (a[k + 4], b[4 * n + 8]) = (f32::INFINITY, f32::NEG_INFINITY);
            let va = bench.floats(0, Store::F32, &[m * k], &a);
            let vb = bench.floats(1, Store::F32, &[k * n], &b);
            let vc = bench.result(2, Store::F32, &[m, n]);
            let operand = |view, ld| Operand {
                view,
                layout: Layout::Rows,
                ld,
                batch: vec![],
            };
            let (a, b, c) = (operand(&va, k), operand(&vb, n), operand(&vc, n));
            let product = Gemm {
                m,
                n,
                k,
                batch: vec![],
                a,
                b,
                c,
                epilogue: None,
            };
            bench.run(&gemm_with(bench.caps(), &product, of).unwrap());
            for (at, v) in bench.read(&vc).into_iter().enumerate() {
                let expected = match (at / n == 1, at % n == 8) {
                    (true, true) => f32::NEG_INFINITY, // inf * -inf
                    (true, false) => f32::INFINITY,
                    (false, true) => f32::NEG_INFINITY,
                    (false, false) => k as f32,
                };
                assert_eq!(v.to_bits(), expected.to_bits(), "{of:?} {at}: {v}");
            }
        }
    }
}

#[test]
fn an_empty_k_gives_zeros() {
    for mut bench in benches() {
        for m in [2, 40] {
            let va = bench.floats(0, Store::F32, &[m, 0], &[]);
            let vb = bench.floats(1, Store::F32, &[0, 12], &[]);
            let vc = bench.result(2, Store::F32, &[m, 12]);
            bench.run(&matmul(bench.caps(), &va, false, &vb, false, &vc, None).unwrap());
            assert_eq!(bench.read(&vc), vec![0.0; m * 12]);
        }
    }
}
