//! Test cases of the reductions.

use super::{ROWS, Reduce, Reduction};
use crate::op::{Case, Operator};
use crate::samples;
use tilewright_tensor::{DType, HostTensor};

pub(super) fn cases() -> Vec<Case> {
    let mut out = vec![];
    for (name, kind) in ROWS {
        out.extend(axes_cases(name, kind));
        out.extend(wide_cases(name, kind));
        out.extend(typed_cases(name, kind));
    }
    let sum = || Reduce::new(Reduction::Sum);
    let x = samples::uniform(&[3, 70001], 7);
    out.push(Case::new("many", sum(), vec![x, samples::ints(&[1])]).constant(&[1]));
    let x = samples::uniform(&[2, 3, 4], 1);
    out.push(Case::new(
        "run-time axes",
        sum(),
        vec![x, samples::ints(&[1])],
    ));
    out.extend(special_cases());
    out
}

/// Axes, attributes, and tensors without elements or axes.
fn axes_cases(name: &str, kind: Reduction) -> Vec<Case> {
    let x = || samples::between(&[2, 3, 4], 1, 0.5, 2.0);
    let none = || samples::uniform(&[2, 0, 3], 1);
    let table: [(&str, HostTensor, Option<&[i64]>, [bool; 2]); 9] = [
        ("all", x(), None, [true, false]),
        ("last", x(), Some(&[-1]), [true, false]),
        ("middle", x(), Some(&[1]), [false, false]),
        ("first and last", x(), Some(&[2, 0]), [false, false]),
        ("no axes", x(), Some(&[]), [true, false]),
        ("noop", x(), Some(&[]), [true, true]),
        ("scalar", samples::of(&[], &[1.5f32]), None, [false, false]),
        ("empty", none(), Some(&[1]), [true, false]),
        ("none left", none(), Some(&[2]), [true, false]),
    ];
    let mut out = vec![];
    for (title, x, axes, [keep_dims, noop_with_empty_axes]) in table {
        let op = Reduce {
            kind,
            keep_dims,
            noop_with_empty_axes,
        };
        let inputs = std::iter::once(x).chain(axes.map(samples::ints)).collect();
        out.push(Case::new(&format!("{name} {title}"), op, inputs).constant(&[1]));
    }
    out
}

/// Enough elements for every loop of the kernels. They are near 1 where many are multiplied.
fn wide_cases(name: &str, kind: Reduction) -> Vec<Case> {
    let table: [(&str, &[usize], &[i64], f32, f32); 5] = [
        ("wide rows", &[5, 1027], &[1], 0.5, 1.02),
        ("wide quads", &[3, 2, 520], &[1, 2], 0.5, 1.02),
        ("columns", &[3, 40, 6], &[1], 0.5, 1.5),
        ("column quads", &[33, 8], &[0], 0.5, 1.5),
        ("alternating", &[3, 2, 3, 2, 5], &[0, 2, 4], 0.5, 1.5),
    ];
    let mut out = vec![];
    for (title, shape, axes, low, high) in table {
        let op = Reduce {
            keep_dims: false,
            ..Reduce::new(kind)
        };
        let inputs = vec![samples::between(shape, 2, low, high), samples::ints(axes)];
        let case = Case::new(&format!("{name} {title}"), op, inputs).constant(&[1]);
        // A product of a thousand factors gathers as many roundings.
        out.push(case.nmse(1e-9));
    }
    out
}

/// Types besides f32. Values are small so that no type overflows where the device would have to follow.
fn typed_cases(name: &str, kind: Reduction) -> Vec<Case> {
    use DType::*;
    let mut out = vec![];
    for dtype in [F64, F16, BF16] {
        let x = samples::between(&[3, 4, 5], 8, 0.5, 1.5).cast(dtype);
        let x = x.expect("a cast between floats");
        let case = Case::new(
            &format!("{name} {dtype}"),
            Reduce::new(kind),
            vec![x, samples::ints(&[1])],
        );
        // A result next to a rounding tie may fall to either side: one part in 2^9 (bf16) of one element.
        out.push(case.constant(&[1]).nmse(1e-5));
    }
    let ints: &[DType] = match kind {
        Reduction::LogSum | Reduction::LogSumExp => &[],
        Reduction::Max | Reduction::Min => &[I32, I64, U32, U64, I8, U8, Bool],
        _ => &[I32, I64, U32, U64],
    };
    for &dtype in ints {
        let low = if dtype.is_signed() { -9 } else { 0 };
        let high = if dtype == Bool { 2 } else { 9 };
        let x = samples::integers(dtype, &[3, 4, 5], 9, low, high);
        for axis in [1, 2] {
            let case = Case::new(
                &format!("{name} {dtype} {axis}"),
                Reduce::new(kind),
                vec![x.clone(), samples::ints(&[axis])],
            );
            out.push(case.constant(&[1]));
        }
    }
    out
}

fn special_cases() -> Vec<Case> {
    let (inf, nan) = (f32::INFINITY, f32::NAN);
    let odd = || {
        samples::of(
            &[3, 5],
            &[
                1.0, nan, 3.0, -1.0, 0.0, -inf, 2.0, inf, 1.0, 0.5, -inf, -inf, -inf, -inf, -inf,
            ],
        )
    };
    let mut out: Vec<_> = [
        Reduction::Max,
        Reduction::Min,
        Reduction::LogSumExp,
        Reduction::Sum,
    ]
    .into_iter()
    .flat_map(|kind| {
        let op = Reduce::new(kind);
        [0, 1].map(|axis| {
            Case::new(
                &format!("{} odd {axis}", op.name()),
                op.clone(),
                vec![odd(), samples::ints(&[axis])],
            )
            .constant(&[1])
        })
    })
    .collect();
    let big = samples::between(&[2, 37], 10, 900.0, 1000.0);
    let op = Reduce::new(Reduction::LogSumExp);
    out.push(
        Case::new(
            "LogSumExp does not overflow",
            op,
            vec![big, samples::ints(&[1])],
        )
        .constant(&[1]),
    );
    // Zeros, an infinity, a sum below zero, no number; in single elements, quads and columns.
    for (shape, axis) in [([5, 3], 1), ([5, 4], 1), ([3, 5], 0), ([4, 8], 0)] {
        let rows = [0.0, inf, -1.0, nan, 2.0];
        let groups = shape[1 - axis];
        let at = |i: usize| if axis == 1 { i / shape[1] } else { i % groups };
        let x: Vec<f32> = (0..shape[0] * shape[1]).map(|i| rows[at(i) % 5]).collect();
        let x = vec![samples::of(&shape, &x), samples::ints(&[axis as i64])];
        let title = format!("LogSum special {shape:?} {axis}");
        let op = Reduce::new(Reduction::LogSum);
        out.push(Case::new(&title, op, x).constant(&[1]));
    }
    out
}
