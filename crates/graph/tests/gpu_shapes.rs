//! Operators at random shapes and attributes on the device against their references.
//!
//! A part of them runs on audited devices, where no shader may leave its bounds (see `gpu_bounds.rs`).
//! The cases are the same in every run unless `PROPTEST_CASES` says how many fresh ones to draw.

mod common;

use common::{check, gpu};
use proptest::prelude::*;
use proptest::test_runner::{Config, TestRng, TestRunner};
use std::cell::Cell;
use tilewright_device::{Gpu, GpuOptions};
use tilewright_graph::{Attrs, Case, Op, samples};
use tilewright_tensor::{DType, HostTensor};

/// One in so many cases runs on the audited devices too, whose shaders are slow to compile.
const AUDITED: u32 = 3;

/// Runs a property on the adapter and on default limits.
fn holds(cases: u32, strategy: impl Strategy<Value = Option<Case>> + Clone) {
    let fresh = std::env::var("PROPTEST_CASES").ok();
    let options = [GpuOptions::new(), GpuOptions::new().default_limits_only()];
    let audited = options
        .clone()
        .map(|o| (o.audited(), cases.div_ceil(AUDITED)));
    for (options, cases) in options.map(|o| (o, cases)).into_iter().chain(audited) {
        let Some(gpu) = gpu(options) else { return };
        let mut config = Config::with_cases(cases);
        config.failure_persistence = None;
        let mut runner = match &fresh {
            None => {
                let rng = TestRng::deterministic_rng(config.rng_algorithm);
                TestRunner::new_with_rng(config, rng)
            }
            Some(n) => {
                config.cases = n
                    .parse()
                    .map_or(cases, |n: u32| match gpu.options().audited {
                        true => n.div_ceil(AUDITED),
                        false => n,
                    });
                TestRunner::new(config)
            }
        };
        let (valid, drawn) = (Cell::new(0), Cell::new(0));
        let result = runner.run(&strategy, |case| {
            drawn.set(drawn.get() + 1);
            // What is no valid combination is not drawn again: there is enough left.
            let Some(case) = case else { return Ok(()) };
            valid.set(valid.get() + 1);
            one(&case, &gpu).map_err(TestCaseError::fail)
        });
        if let Err(e) = result {
            panic!("{e}");
        }
        assert!(
            2 * valid.get() > drawn.get(),
            "{} of {} are valid",
            valid.get(),
            drawn.get()
        );
    }
}

/// The case agrees, and all of it is on the device.
fn one(case: &Case, gpu: &Gpu) -> Result<(), String> {
    let shapes: Vec<_> = (case.inputs.iter().flatten())
        .map(|t| format!("{}{}", t.dtype(), t.shape()))
        .collect();
    let title = || format!("{:?} of {}", case.op.attrs(), shapes.join(", "));
    let agrees = check(case, gpu);
    if let Some(fault) = pollster::block_on(gpu.audit()).unwrap().first() {
        return Err(format!("{}: {fault}", title()));
    }
    match agrees {
        Ok(true) => Ok(()),
        Ok(false) => Err(format!("{}: has a host step", title())),
        Err(e) => Err(format!("{}: {e}", title())),
    }
}

/// A case, or nothing where the operator refuses the attributes or its inference the inputs.
fn case(name: &str, attrs: Attrs, inputs: Vec<HostTensor>, constant: &[usize]) -> Option<Case> {
    let op = Op::from_name(name, &attrs).ok()?;
    let facts: Vec<_> = inputs
        .iter()
        .cloned()
        .map(tilewright_graph::Fact::of)
        .collect();
    op.infer(&facts.iter().map(Some).collect::<Vec<_>>()).ok()?;
    Some(Case::new(name, op, inputs).constant(constant))
}

fn floats(shape: &[usize], seed: u64) -> HostTensor {
    samples::uniform(shape, seed)
}

/// Mostly small, sometimes at or over the tiles of the kernels.
fn extent() -> impl Strategy<Value = usize> + Clone {
    prop_oneof![4 => 1usize..9, 3 => 9usize..40, 1 => 60usize..70, 1 => 126usize..132]
}

fn small() -> impl Strategy<Value = usize> + Clone {
    prop_oneof![1usize..6, 6usize..20]
}

fn shape(ranks: std::ops::Range<usize>) -> impl Strategy<Value = Vec<usize>> + Clone {
    proptest::collection::vec(small(), ranks)
}

#[test]
fn products() {
    let sizes = (extent(), extent(), extent(), 0usize..4, any::<[bool; 3]>());
    holds(
        24,
        sizes.prop_map(|(m, n, k, batch, [transposed_a, transposed_b, fixed])| {
            let constant: &[usize] = if fixed { &[1] } else { &[] };
            if batch > 0 {
                let (a, b) = (floats(&[batch, m, k], 1), floats(&[batch, k, n], 2));
                return case("MatMul", Attrs::new("MatMul"), vec![a, b], constant);
            }
            let turned = |a, b, turn: bool| if turn { [b, a] } else { [a, b] };
            let attrs = Attrs::new("Gemm")
                .with("transA", transposed_a)
                .with("transB", transposed_b)
                .with("alpha", 0.5f32)
                .with("beta", 2.0f32);
            let a = floats(&turned(m, k, transposed_a), 1);
            let b = floats(&turned(k, n, transposed_b), 2);
            let c = floats(&[n], 3);
            case("Gemm", attrs, vec![a, b, c], constant)
        }),
    );
}

#[test]
fn block_sparse_products() {
    let block = (1usize..34, 1usize..34);
    let sizes = (extent(), extent(), extent(), block, 0u64..9, any::<bool>());
    holds(
        24,
        sizes.prop_map(|(m, rows, cols, (height, width), stored, left)| {
            let side = if left { "left" } else { "right" };
            let (mut row_ptr, mut col_idx) = (vec![0u32], vec![]);
            for row in 0..rows.div_ceil(height) as u64 {
                let blocks = 0..cols.div_ceil(width) as u64;
                col_idx.extend(
                    blocks
                        .filter(|col| (5 * row + 3 * col) % 8 < stored)
                        .map(|c| c as u32),
                );
                row_ptr.push(col_idx.len() as u32);
            }
            let attrs = Attrs::new("BsrMatMul")
                .with("side", side.to_string())
                .with("extents", vec![rows as i64, cols as i64])
                .with("block_size", vec![height as i64, width as i64]);
            let x = if left { [2, cols, m] } else { [2, m, cols] };
            let inputs = vec![
                floats(&x, 1),
                samples::of(&[row_ptr.len()], &row_ptr),
                samples::of(&[col_idx.len()], &col_idx),
                floats(&[col_idx.len(), height, width], 2),
            ];
            case("BsrMatMul", attrs, inputs, &[1, 2, 3])
        }),
    );
}

#[test]
fn convolutions() {
    let sizes = (
        1usize..4,
        1usize..4,
        1usize..10,
        1usize..10,
        1usize..3,
        1usize..4,
    );
    let plane = proptest::collection::vec(
        (1usize..14, 1usize..5, 1i64..4, 1i64..3, 0i64..3, 0i64..3),
        1..4,
    );
    let strategy = (sizes, plane, any::<bool>()).prop_map(
        |((groups, images, c, k, of, _), plane, transposed)| {
            let side = |i: usize| -> Vec<i64> {
                let begin = plane.iter().map(|p| p.4);
                let end = plane.iter().map(|p| p.5);
                if i == 0 {
                    begin.chain(end).collect()
                } else {
                    vec![]
                }
            };
            let kernel: Vec<usize> = plane.iter().map(|p| p.1).collect();
            let name = if transposed { "ConvTranspose" } else { "Conv" };
            let attrs = Attrs::new(name)
                .with("group", groups as i64)
                .with("strides", plane.iter().map(|p| p.2).collect::<Vec<i64>>())
                .with("dilations", plane.iter().map(|p| p.3).collect::<Vec<i64>>())
                .with("pads", side(0));
            let mut x = vec![images, c * groups];
            x.extend(plane.iter().map(|p| p.0));
            let mut w = if transposed {
                vec![c * groups, k]
            } else {
                vec![k * groups, c]
            };
            w.extend(&kernel);
            let bias = if of > 1 {
                vec![floats(&[k * groups], 3)]
            } else {
                vec![]
            };
            let inputs = [vec![floats(&x, 1), floats(&w, 2)], bias].concat();
            case(name, attrs, inputs, &[1, 2][..1])
        },
    );
    holds(40, strategy);
}

#[test]
fn pools() {
    let plane = proptest::collection::vec((1usize..16, 1i64..5, 1i64..4, 0i64..2, 0i64..2), 1..4);
    let strategy = (1usize..3, 1usize..9, plane, any::<[bool; 3]>()).prop_map(
        |(images, channels, plane, [largest, ceil, padding])| {
            let name = if largest { "MaxPool" } else { "AveragePool" };
            let of = |f: fn(&(usize, i64, i64, i64, i64)) -> i64| {
                plane.iter().map(f).collect::<Vec<_>>()
            };
            let mut attrs = Attrs::new(name)
                .with("kernel_shape", of(|p| p.1))
                .with("strides", of(|p| p.2))
                .with("pads", [of(|p| p.3), of(|p| p.4)].concat())
                .with("ceil_mode", ceil);
            if !largest {
                attrs = attrs.with("count_include_pad", padding);
            }
            let mut x = vec![images, channels];
            x.extend(plane.iter().map(|p| p.0));
            case(name, attrs, vec![floats(&x, 1)], &[])
        },
    );
    holds(24, strategy);
}

#[test]
fn reductions() {
    let names = [
        "ReduceSum",
        "ReduceMean",
        "ReduceMax",
        "ReduceL2",
        "ReduceLogSumExp",
        "ReduceProd",
    ];
    let strategy = (0..names.len(), shape(1..5), any::<u8>(), any::<bool>()).prop_map(
        move |(name, shape, axes, keep)| {
            let axes: Vec<i64> = (0..shape.len() as i64)
                .filter(|i| axes >> i & 1 == 1)
                .collect();
            let attrs = Attrs::new(names[name]).with("keepdims", keep);
            let axes = samples::of(&[axes.len()], &axes);
            case(names[name], attrs, vec![floats(&shape, 1), axes], &[1])
        },
    );
    holds(24, strategy);
}

#[test]
fn rows() {
    let names = [
        "Softmax",
        "LogSoftmax",
        "Hardmax",
        "LayerNormalization",
        "CumSum",
        "ArgMax",
    ];
    let strategy = (0..names.len(), shape(1..5), 0usize..4).prop_map(move |(name, shape, axis)| {
        let (name, axis) = (names[name], axis % shape.len());
        let x = floats(&shape, 1);
        match name {
            "CumSum" => {
                let inputs = vec![x, samples::of(&[], &[axis as i64])];
                case(
                    name,
                    Attrs::new(name).with("reverse", shape[0] % 2 == 1),
                    inputs,
                    &[1],
                )
            }
            "LayerNormalization" => {
                let inputs = vec![x, floats(&shape[axis..], 2), floats(&shape[axis..], 3)];
                case(
                    name,
                    Attrs::new(name).with("axis", axis as i64),
                    inputs,
                    &[1, 2],
                )
            }
            _ => case(
                name,
                Attrs::new(name).with("axis", axis as i64),
                vec![x],
                &[],
            ),
        }
    });
    holds(32, strategy);
}

#[test]
fn broadcasts() {
    let names = ["Add", "Sub", "Mul", "Div", "Max", "Less"];
    let strategy = (0..names.len(), shape(1..6), any::<[u8; 2]>(), 0usize..3).prop_map(
        move |(name, shape, ones, shorter)| {
            let side = |mask: u8| -> Vec<usize> {
                let keep = |(i, &n): (usize, &usize)| if mask >> i & 1 == 1 { 1 } else { n };
                shape.iter().enumerate().map(keep).collect()
            };
            let a = floats(&side(ones[0]), 1);
            let b = side(ones[1]);
            // Away from zero, for Div.
            let b = samples::between(&b[shorter.min(b.len())..], 2, 0.5, 2.0);
            case(names[name], Attrs::new(names[name]), vec![a, b], &[])
        },
    );
    holds(32, strategy);
}

fn ints(v: &[i64]) -> HostTensor {
    samples::of(&[v.len()], v)
}

fn transpose(shape: &[usize], numbers: [u32; 4], dtype: DType) -> Option<Case> {
    let x = samples::integers(dtype, shape, 1, -99, 99);
    let rank = shape.len();
    let mut perm: Vec<i64> = (0..rank as i64).collect();
    numbers
        .iter()
        .enumerate()
        .for_each(|(i, &n)| perm.swap(i % rank, n as usize % rank));
    case(
        "Transpose",
        Attrs::new("Transpose").with("perm", perm),
        vec![x],
        &[],
    )
}

fn slice(shape: &[usize], numbers: [u32; 4], dtype: DType) -> Option<Case> {
    let x = samples::integers(dtype, shape, 1, -99, 99);
    let axis = numbers[0] as usize % shape.len();
    let n = shape[axis] as i64;
    let (start, end) = (i64::from(numbers[1]) % n, i64::from(numbers[2]) % (n + 1));
    let step = [1, 2, -1, -3][numbers[3] as usize % 4];
    let inputs = vec![
        x,
        ints(&[start]),
        ints(&[end]),
        ints(&[axis as i64]),
        ints(&[step]),
    ];
    case("Slice", Attrs::new("Slice"), inputs, &[1, 2, 3, 4])
}

fn concat(shape: &[usize], numbers: [u32; 4], dtype: DType) -> Option<Case> {
    let axis = numbers[0] as usize % shape.len();
    let attrs = Attrs::new("Concat").with("axis", axis as i64);
    let count = 1 + numbers[1] as usize % 9;
    let parts = (0..count).map(|i| {
        let mut part = shape.to_vec();
        part[axis] = 1 + (numbers[2] as usize + i) % 5;
        samples::integers(dtype, &part, i as u64, -99, 99)
    });
    case("Concat", attrs, parts.collect(), &[])
}

fn gather(shape: &[usize], numbers: [u32; 4], dtype: DType) -> Option<Case> {
    let x = samples::integers(dtype, shape, 1, -99, 99);
    let axis = numbers[0] as usize % shape.len();
    let n = shape[axis] as i64;
    let at = samples::integers(DType::I64, &[1 + numbers[1] as usize % 5], 2, -n, n - 1);
    case(
        "Gather",
        Attrs::new("Gather").with("axis", axis as i64),
        vec![x, at],
        &[],
    )
}

fn pad(shape: &[usize], numbers: [u32; 4], dtype: DType) -> Option<Case> {
    let x = samples::integers(dtype, shape, 1, -99, 99);
    let rank = shape.len();
    let pads: Vec<i64> = (0..2 * rank)
        .map(|i| i64::from(numbers[i % 4] >> i) % 3)
        .collect();
    let mode = ["constant", "edge", "wrap"][numbers[3] as usize % 3];
    case(
        "Pad",
        Attrs::new("Pad").with("mode", mode.to_owned()),
        vec![x, ints(&pads)],
        &[1],
    )
}

fn tile(shape: &[usize], numbers: [u32; 4], dtype: DType) -> Option<Case> {
    let x = samples::integers(dtype, shape, 1, -99, 99);
    let rank = shape.len();
    let repeats: Vec<i64> = (0..rank)
        .map(|i| 1 + i64::from(numbers[i % 4] % 3))
        .collect();
    case("Tile", Attrs::new("Tile"), vec![x, ints(&repeats)], &[1])
}

#[test]
fn moves() {
    let strategy = (0usize..6, shape(1..5), any::<[u32; 4]>(), any::<bool>()).prop_map(
        |(which, shape, numbers, whole)| {
            let dtype = if whole { DType::I32 } else { DType::F32 };
            [transpose, slice, concat, gather, pad, tile][which](&shape, numbers, dtype)
        },
    );
    holds(48, strategy);
}
