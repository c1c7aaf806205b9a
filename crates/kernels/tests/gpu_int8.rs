//! Products and convolutions of 8-bit integers on the software adapter, bit for bit against i64.

mod common;

use common::gpu::{Bench, benches, values};
use tilewright_device::Slot;
use tilewright_kernels::{ConvShape, Int8B, Store, View, Zero, columns8, conv8, conv8_scratch};
use tilewright_kernels::{matmul8, matmul8_scratch, pack_b8, pack_filter8};
use tilewright_tensor::HostTensor;

/// Random values over the whole range of int8 or uint8.
fn bytes8(count: usize, seed: u32, signed: bool) -> Vec<i32> {
    let less = if signed { 128 } else { 0 };
    values(count, seed)
        .iter()
        .map(|v| (v * 128.0) as i32 + 128 - less)
        .collect()
}

fn store(signed: bool) -> Store {
    Store::Packed8 { signed }
}

/// Uploads integers as packed 8-bit, the last axis padded with zeros.
fn packed8(bench: &mut Bench, slot: u32, signed: bool, shape: &[usize], values: &[i32]) -> View {
    let view = View::new(Slot(slot), store(signed), shape);
    let row = view.last().max(1);
    let mut bytes = Vec::new();
    for row in values.chunks(row) {
        bytes.extend(row.iter().map(|&v| v.to_le_bytes()[0]));
        bytes.resize(bytes.len().next_multiple_of(4), 0);
    }
    bench.put(&view, &bytes);
    view
}

fn host8(signed: bool, shape: &[usize], values: &[i32]) -> HostTensor {
    if signed {
        HostTensor::from_vec(shape, values.iter().map(|&v| v as i8).collect()).unwrap()
    } else {
        HostTensor::from_vec(shape, values.iter().map(|&v| v as u8).collect()).unwrap()
    }
}

fn upload(bench: &mut Bench, slot: u32, store: Store, host: &HostTensor) -> View {
    let view = View::new(Slot(slot), store, host.shape().to_vec());
    bench.put(&view, host.bytes());
    view
}

fn ints(bench: &mut Bench, slot: u32, shape: &[usize], values: &[i32]) -> View {
    let view = View::new(Slot(slot), Store::I32, shape);
    bench.put(&view, bytemuck::cast_slice(values));
    view
}

fn scratch(bench: &mut Bench, slot: u32, bytes: usize) -> View {
    bench.result(slot, Store::U32, &[bytes.div_ceil(4).max(1)])
}

fn exact(bench: &Bench, view: &View) -> Vec<i32> {
    bytemuck::pod_collect_to_vec(&bench.bytes(view))
}

/// sum_k (a - za[m]) * (b - zb[n]) with B of [k, n] or, transposed, [n, k].
fn oracle(
    a: &[i32],
    za: &[i32],
    b: &[i32],
    zb: &[i32],
    trans: bool,
    [m, n, k]: [usize; 3],
) -> Vec<i32> {
    let element = |at: usize| {
        let (i, j) = (at / n, at % n);
        let terms = (0..k).map(|x| {
            let bv = if trans { b[j * k + x] } else { b[x * n + j] };
            i64::from(a[i * k + x] - za[i % za.len()]) * i64::from(bv - zb[j % zb.len()])
        });
        terms.sum::<i64>() as i32
    };
    (0..m * n).map(element).collect()
}

const SIZES: [[usize; 3]; 6] = [
    // So many results that rows of a tile are stored without a loop.
    [371, 356, 9],
    [64, 64, 64],
    [33, 31, 37],
    [1, 10, 6],
    [40, 36, 17],
    [5, 70, 100],
];

#[test]
fn a_constant_b_is_exact_with_every_sign_and_zero_point() {
    for mut bench in benches() {
        for (size, case) in SIZES.into_iter().zip(0..) {
            for (sa, sb) in [(true, true), (false, true), (true, false), (false, false)] {
                let [m, n, k] = size;
                let (a, b) = (bytes8(m * k, case, sa), bytes8(k * n, case + 9, sb));
                let neutral = if sb { 0 } else { 128 };
                let per_column = bytes8(n, case + 5, sb);
                let za = if sa { -7 } else { 131 };
                for (zb, trans) in [
                    (vec![neutral], false),
                    (vec![neutral + 3], true),
                    (per_column, true),
                ] {
                    let stored = if trans { [n, k] } else { [k, n] };
                    let host = host8(sb, &stored, &b);
                    let columns = if trans {
                        host.clone()
                    } else {
                        transposed(&host)
                    };
                    let columns = columns8(&columns, &zb, &[], &[1.0]).unwrap();
                    let words = pack_b8(bench.caps(), &host, trans).unwrap();
                    let va = packed8(&mut bench, 0, sa, &[m, k], &a);
                    let words = upload(&mut bench, 1, Store::U32, &words);
                    let columns = upload(&mut bench, 2, Store::I32, &columns);
                    let vc = bench.result(3, Store::I32, &[m, n]);
                    let symmetric = zb == [neutral];
                    let b8 = Int8B::Packed {
                        words: &words,
                        columns: &columns,
                        symmetric,
                        part: None,
                    };
                    let zero = Zero::Known(za);
                    let spare = scratch(&mut bench, 4, matmul8_scratch(m, n, 1, &zero, &b8));
                    bench.run(
                        &matmul8(bench.caps(), &va, zero, b8, &vc, 0, None, Some(&spare)).unwrap(),
                    );
                    let expected = oracle(&a, &[za], &b, &zb, trans, size);
                    assert_eq!(
                        exact(&bench, &vc),
                        expected,
                        "{size:?} {sa} {sb} {zb:?} {trans}"
                    );
                }
            }
        }
    }
}

fn transposed(host: &HostTensor) -> HostTensor {
    let (rows, cols) = (host.shape()[0], host.shape()[1]);
    host.select(
        [cols, rows],
        (0..rows * cols).map(|at| at % rows * cols + at / rows),
    )
    .unwrap()
}

#[test]
fn a_dynamic_b_and_zero_points_on_the_device_are_exact() {
    for mut bench in benches() {
        for (size, case) in SIZES.into_iter().zip(20..) {
            for (sa, sb, trans) in [
                (true, true, false),
                (false, false, true),
                (false, true, false),
                (true, false, true),
            ] {
                let [m, n, k] = size;
                let (a, b) = (bytes8(2 * m * k, case, sa), bytes8(2 * k * n, case + 9, sb));
                let (za, zb) = (bytes8(m, case + 1, sa), bytes8(1, case + 2, sb));
                let va = packed8(&mut bench, 0, sa, &[2, m, k], &a);
                let stored = if trans { [2, n, k] } else { [2, k, n] };
                let vb = packed8(&mut bench, 1, sb, &stored, &b);
                let vza = ints(&mut bench, 2, &[m], &za);
                let vzb = ints(&mut bench, 3, &[], &zb);
                let vc = bench.result(4, Store::I32, &[2, m, n]);
                let zero = Zero::Device(&vza);
                let zero_b = Zero::Device(&vzb);
                let b8 = if trans {
                    Int8B::Cols(&vb, zero_b)
                } else {
                    Int8B::Rows(&vb, zero_b)
                };
                let spare = scratch(&mut bench, 5, matmul8_scratch(m, n, 2, &zero, &b8));
                bench.run(
                    &matmul8(bench.caps(), &va, zero, b8, &vc, 0, None, Some(&spare)).unwrap(),
                );
                let mut expected = oracle(&a[..m * k], &za, &b[..k * n], &zb, trans, size);
                expected.extend(oracle(&a[m * k..], &za, &b[k * n..], &zb, trans, size));
                assert_eq!(exact(&bench, &vc), expected, "{size:?} {sa} {sb} {trans}");
            }
        }
    }
}

/// round to even, add the zero point, saturate: in f32 as ONNX Runtime and the shader do.
fn requantise(v: i32, bias: i32, scale: f32, zero: i32, signed: bool) -> i32 {
    let q = ((v + bias) as f32 * scale).round_ties_even() + zero as f32;
    let (low, high) = if signed {
        (-128.0, 127.0)
    } else {
        (0.0, 255.0)
    };
    q.clamp(low, high) as i32
}

fn unpack8(bench: &Bench, view: &View, signed: bool) -> Vec<i32> {
    let row = view.last();
    let bytes = bench.bytes(view);
    let rows = bytes.chunks(row.next_multiple_of(4));
    let value = |&byte: &u8| {
        if signed {
            i32::from(byte.cast_signed())
        } else {
            i32::from(byte)
        }
    };
    rows.flat_map(|bytes| {
        assert!(
            bytes[row..].iter().all(|&byte| byte == 0),
            "padding is zero"
        );
        bytes[..row].iter().map(value).collect::<Vec<_>>()
    })
    .collect()
}

#[test]
fn results_are_requantised_per_column() {
    for mut bench in benches() {
        for [m, n, k] in [[371, 356, 12], [40, 36, 64], [7, 9, 33]] {
            for signed in [true, false] {
                let (a, b) = (bytes8(m * k, 40, signed), bytes8(k * n, 41, true));
                let bias: Vec<i32> = bytes8(n, 42, true).iter().map(|v| v * 100).collect();
                let scale: Vec<f32> = (0..n).map(|j| 1.0 / (200.0 + 13.0 * j as f32)).collect();
                let host = host8(true, &[n, k], &b);
                let columns = columns8(&host, &[0], &bias, &scale).unwrap();
                let words = pack_b8(bench.caps(), &host, true).unwrap();
                let va = packed8(&mut bench, 0, signed, &[m, k], &a);
                let words = upload(&mut bench, 1, Store::U32, &words);
                let columns = upload(&mut bench, 2, Store::I32, &columns);
                let vc = bench.result(3, store(signed), &[m, n]);
                let b8 = Int8B::Packed {
                    words: &words,
                    columns: &columns,
                    symmetric: true,
                    part: None,
                };
                let (za, zc) = if signed { (3, -5) } else { (120, 130) };
                bench.run(
                    &matmul8(bench.caps(), &va, Zero::Known(za), b8, &vc, zc, None, None).unwrap(),
                );
                let sums = oracle(&a, &[za], &b, &[0], true, [m, n, k]);
                let expected: Vec<_> = (0..m * n)
                    .map(|at| requantise(sums[at], bias[at % n], scale[at % n], zc, signed))
                    .collect();
                assert_eq!(
                    unpack8(&bench, &vc, signed),
                    expected,
                    "{m} {n} {k} {signed}"
                );
            }
        }
    }
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

const CONVS: &[Case] = &[
    (
        &[1, 9, 11, 16],
        &[3, 3],
        &[1, 1],
        &[1, 1],
        &[1, 1, 1, 1],
        1,
        32,
    ),
    (
        &[2, 10, 9, 3],
        &[3, 3],
        &[2, 2],
        &[1, 1],
        &[1, 0, 1, 1],
        1,
        10,
    ),
    (
        &[1, 7, 8, 70],
        &[3, 2],
        &[1, 1],
        &[2, 1],
        &[2, 0, 1, 1],
        1,
        7,
    ),
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
        &[2, 5, 5, 20],
        &[1, 1],
        &[1, 1],
        &[1, 1],
        &[0, 0, 0, 0],
        1,
        12,
    ),
    (&[1, 30, 66], &[5], &[1], &[1], &[2, 2], 1, 8),
];

/// X in NHWC, W in [out, in / groups, kernel..].
fn conv_oracle(s: &ConvShape, x: &[i32], zx: i32, w: &[i32], zw: &[i32]) -> Vec<i32> {
    let split = |at: usize, e: [usize; 3]| [at / (e[1] * e[2]), at / e[2] % e[1], at % e[2]];
    let (ic, oc) = (s.in_channels / s.groups, s.out_channels / s.groups);
    let [pixels, taps, inputs] = [s.output, s.kernel, s.input].map(|e| e.iter().product::<usize>());
    let mut y = vec![0i64; s.images * pixels * s.out_channels];
    for (at, y) in y.iter_mut().enumerate() {
        let (o, out) = (at % s.out_channels, at / s.out_channels);
        let place = split(out % pixels, s.output);
        for tap in 0..taps {
            let t = split(tap, s.kernel);
            let at = [0, 1, 2]
                .map(|a| (place[a] * s.stride[a] + t[a] * s.dilation[a]).wrapping_sub(s.pad[a]));
            if at[0] >= s.input[0] || at[1] >= s.input[1] || at[2] >= s.input[2] {
                continue;
            }
            let pixel = out / pixels * inputs + (at[0] * s.input[1] + at[1]) * s.input[2] + at[2];
            for c in 0..ic {
                let xv = x[pixel * s.in_channels + o / oc * ic + c] - zx;
                *y += i64::from(xv * (w[(o * ic + c) * taps + tap] - zw[o % zw.len()]));
            }
        }
    }
    y.into_iter().map(|v| v as i32).collect()
}

/// One convolution, X int8 with `sx`, the filter with `sw`, the zero point of X in a tensor with `on_device`.
fn convolve(bench: &mut Bench, case: &Case, seed: u32, [sx, sw, on_device]: [bool; 3]) {
    let &(x_shape, kernel, strides, dilations, pads, groups, out) = case;
    let s = ConvShape::new(x_shape, kernel, strides, dilations, pads, groups, out).unwrap();
    let (ic, taps) = (s.in_channels / groups, kernel.iter().product::<usize>());
    let x = bytes8(x_shape.iter().product(), seed, sx);
    let w = bytes8(out * ic * taps, seed + 9, sw);
    let zx = if sx { -9 } else { 140 };
    let zw = if sw {
        vec![0]
    } else {
        bytes8(out, seed + 3, sw)
    };
    let w_shape = [&[out, ic], kernel].concat();
    let host = host8(sw, &w_shape, &w);
    let words = pack_filter8(bench.caps(), &s, &host).unwrap();
    let columns = columns8(&host, &zw, &[], &[1.0]).unwrap();
    let vx = packed8(bench, 0, sx, x_shape, &x);
    let words = upload(bench, 1, Store::U32, &words);
    let columns = upload(bench, 2, Store::I32, &columns);
    let vz = ints(bench, 3, &[], &[zx]);
    let vy = bench.result(4, Store::I32, &s.output_shape());
    let zero = if on_device {
        Zero::Device(&vz)
    } else {
        Zero::Known(zx)
    };
    let filter = Int8B::Packed {
        words: &words,
        columns: &columns,
        symmetric: sw,
        part: None,
    };
    let spare = scratch(bench, 5, conv8_scratch(&s, &zero, &filter));
    let dispatches = conv8(
        bench.caps(),
        &s,
        &vx,
        zero,
        filter,
        &vy,
        0,
        None,
        Some(&spare),
    );
    bench.run(&dispatches.unwrap());
    let expected = conv_oracle(&s, &x, zx, &w, &zw);
    assert_eq!(
        exact(bench, &vy),
        expected,
        "{case:?} {sx} {sw} {on_device}"
    );
}

#[test]
fn convolutions_are_exact_and_pad_with_the_zero_point() {
    for mut bench in benches() {
        for (case, seed) in CONVS.iter().zip(60..) {
            convolve(&mut bench, case, seed, [true, true, false]);
            convolve(&mut bench, case, seed, [false, true, true]);
            convolve(&mut bench, case, seed, [false, false, false]);
        }
    }
}
