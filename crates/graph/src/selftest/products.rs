//! Products of more than one tile of every loop, with ragged edges: what a self-test without a model runs every loop on.

use crate::op::Case;
use crate::ops::{
    Conv, ConvInteger, ConvTranspose, Fused, Gemm, Layout, MatMul, MatMulInteger, Window,
};
use crate::point::Program;
use crate::{Op, samples};
use tilewright_device::Caps;
use tilewright_kernels::{Loop, candidates};
use tilewright_tensor::{DType, HostTensor};

/// The loops that the adapter has for products of any size.
pub(super) fn loops(caps: &Caps) -> Vec<Loop> {
    let rows = [1, 2, 4, 8, 16, 32, 64, 4096];
    let mut all: Vec<Loop> = rows
        .into_iter()
        .flat_map(|m| [64, 4096].map(|n| candidates(caps, m, n, 1024, 1)))
        .flatten()
        .collect();
    // What takes the place of the others where they are wrong.
    all.extend(candidates(&Caps::webgpu_default(), 16, 16, 16, 1).first());
    all.sort();
    all.dedup();
    all
}

/// Rows and columns: two of the largest tiles, the second ragged.
const M: usize = 133;
const N: usize = 138;

/// What is tested in half floats too.
const HALVED: [&str; 5] = ["rows", "odd rows", "a weight", "fused", "3x3"];

/// The cases, in every storage that kernels tell apart.
pub(super) fn cases() -> Vec<Case> {
    let single = [matrices(), convolutions()].concat();
    // Half floats change how operands are loaded and stored, so a few of each kind are enough.
    let few = |case: &&Case| {
        HALVED
            .iter()
            .any(|name| case.name == format!("{name}, tiles"))
    };
    let half: Vec<Case> = single.iter().filter(few).filter_map(Case::halved).collect();
    [single, half, bytes()].concat()
}

fn case(name: &str, op: impl Into<Op>, shapes: &[&[usize]], constant: &[usize]) -> Case {
    let inputs = (1..).zip(shapes).map(|(i, s)| samples::uniform(s, i));
    Case::new(&format!("{name}, tiles"), op, inputs.collect()).constant(constant)
}

fn matrices() -> Vec<Case> {
    let turned = |a, b| Gemm {
        trans_a: a,
        trans_b: b,
        ..Gemm::default()
    };
    let mut all = vec![
        case("one row", MatMul, &[&[1, 300], &[300, N]], &[]),
        case("one row, a weight", MatMul, &[&[1, 300], &[300, N]], &[1]),
        case("two rows", MatMul, &[&[2, 300], &[300, N]], &[]),
        case("two rows, a weight", MatMul, &[&[2, 300], &[300, N]], &[1]),
        case("rows", MatMul, &[&[M, 36], &[36, N + 2]], &[]),
        case("odd rows", MatMul, &[&[M, 37], &[37, N]], &[]),
        case("batches", MatMul, &[&[2, 21, 36], &[2, 36, 40]], &[]),
        case("a weight", MatMul, &[&[M, 36], &[36, N + 2]], &[1]),
        case("an odd weight", MatMul, &[&[M, 37], &[37, N]], &[1]),
        case(
            "columns",
            turned(true, true),
            &[&[36, M + 3], &[N, 36]],
            &[],
        ),
        case(
            "odd columns",
            turned(true, true),
            &[&[37, M], &[N, 37]],
            &[],
        ),
    ];
    all.extend(fused(
        "fused",
        MatMul,
        &[&[M, 36], &[36, N + 2], &[M, N + 2]],
    ));
    all.extend(fused("fused, odd", MatMul, &[&[M, 37], &[37, N], &[M, N]]));
    all
}

fn fused(name: &str, op: impl Into<Op>, shapes: &[&[usize]]) -> Option<Case> {
    let code = Program::parse("f32 f32", "Add f32 %0 %1; Relu f32 %2").ok()?;
    Some(case(name, Fused::new(op.into(), 2, code), shapes, &[1]))
}

fn conv(pad: i64, group: i64) -> Conv {
    Conv {
        group,
        window: Window {
            pads: vec![pad; 4],
            ..Window::default()
        },
        layout: Layout::ChannelsLast,
    }
}

fn convolutions() -> Vec<Case> {
    let turned = ConvTranspose {
        layout: Layout::ChannelsLast,
        ..ConvTranspose::default()
    };
    let mut all = vec![
        case(
            "1x1",
            conv(0, 1),
            &[&[1, 12, 13, 20], &[N + 2, 20, 1, 1]],
            &[1],
        ),
        case(
            "3x3",
            conv(1, 1),
            &[&[1, 12, 13, 20], &[N + 2, 20, 3, 3]],
            &[1],
        ),
        case(
            "odd 3x3",
            conv(1, 1),
            &[&[1, 12, 13, 18], &[N, 18, 3, 3]],
            &[1],
        ),
        case(
            "few channels",
            conv(1, 1),
            &[&[1, 12, 13, 3], &[N + 2, 3, 3, 3]],
            &[1],
        ),
        case(
            "groups",
            conv(1, 2),
            &[&[1, 12, 13, 40], &[72, 20, 3, 3]],
            &[1],
        ),
        case(
            "a filter from a run",
            conv(1, 1),
            &[&[1, 12, 13, 20], &[40, 20, 3, 3]],
            &[],
        ),
        case(
            "transposed",
            turned,
            &[&[1, 12, 13, 20], &[20, 40, 3, 3]],
            &[1],
        ),
    ];
    let residual: &[&[usize]] = &[&[1, 12, 13, 20], &[N + 2, 20, 3, 3], &[1, 12, 13, N + 2]];
    all.extend(fused("3x3, fused", conv(1, 1), residual));
    all
}

fn bytes() -> Vec<Case> {
    let of = |dtype, shape: &[usize], seed| {
        let (low, high) = if dtype == DType::U8 {
            (0, 256)
        } else {
            (-128, 128)
        };
        samples::integers(dtype, shape, seed, low, high)
    };
    let zero = |dtype| of(dtype, &[], 3);
    let tensors = |a: &[usize], b: &[usize]| -> Vec<HostTensor> {
        let (u, i) = (DType::U8, DType::I8);
        vec![of(u, a, 1), of(i, b, 2), zero(u), zero(i)]
    };
    let case = |name: &str, op: Op, tensors, constant: &[usize]| {
        Case::new(&format!("{name}, tiles"), op, tensors).constant(constant)
    };
    vec![
        case(
            "bytes",
            MatMulInteger.into(),
            tensors(&[M, 80], &[80, N]),
            &[1, 2, 3],
        ),
        case(
            "odd bytes",
            MatMulInteger.into(),
            tensors(&[M, 83], &[83, N]),
            &[2, 3],
        ),
        case(
            "bytes 3x3",
            ConvInteger { conv: conv(1, 1) }.into(),
            tensors(&[1, 12, 13, 20], &[N, 20, 3, 3]),
            &[1, 2, 3],
        ),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::selftest::probe::Probe;
    use tilewright_kernels::Choices;

    /// On every kind of adapter every case is a product on the device. Each loop can be chosen for it, but for those of one or
    /// two rows, which have cases of their own.
    #[test]
    fn every_case_runs_every_loop() {
        for caps in [Caps::software(8), Caps::webgpu_default(), Caps::discrete()] {
            let loops = loops(&caps);
            assert!(loops.len() >= 6, "{loops:?}");
            let mut reached = vec![];
            for case in cases() {
                for &of in &loops {
                    let parts = Probe::of(&case).parts(&caps, &Choices::new().only(of));
                    let parts = parts.unwrap_or_else(|| panic!("{} is on the host", case.name));
                    let chosen: Vec<Loop> = parts.chosen.iter().map(|c| c.of).collect();
                    let few = matches!(of, Loop::Gemv { rows: 1 | 2, .. });
                    assert!(chosen == [of] || few, "{}: {chosen:?}", case.name);
                    reached.extend(chosen);
                }
            }
            assert!(loops.iter().all(|of| reached.contains(of)), "{loops:?}");
        }
    }
}
