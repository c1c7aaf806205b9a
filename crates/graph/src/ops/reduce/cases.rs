//! Test cases of the reductions.

use super::{ROWS, Reduce, Reduction};
use crate::op::{Case, Operator};
use crate::samples;
use tilewright_tensor::{DType, HostTensor};

pub(super) fn cases() -> Vec<Case> {
    let x = || samples::between(&[2, 3, 4], 1, 0.5, 2.0);
    let mut out = vec![];
    for (name, kind) in ROWS {
        let op = || Reduce::new(kind);
        let case = |title: &str, op, inputs: Vec<HostTensor>| {
            Case::new(&format!("{name} {title}"), op, inputs).constant(&[1])
        };
        let dropped = Reduce {
            keep_dims: false,
            ..op()
        };
        let noop = Reduce {
            noop_with_empty_axes: true,
            ..op()
        };
        let axes = samples::ints;
        out.extend([
            case("all", op(), vec![x()]),
            case("last", op(), vec![x(), axes(&[-1])]),
            case("middle", dropped.clone(), vec![x(), axes(&[1])]),
            case("first and last", dropped.clone(), vec![x(), axes(&[2, 0])]),
            case("no axes", op(), vec![x(), axes(&[])]),
            case("noop", noop.clone(), vec![x(), axes(&[])]),
            case("scalar", dropped.clone(), vec![samples::of(&[], &[1.5f32])]),
            case(
                "empty",
                op(),
                vec![samples::uniform(&[2, 0, 3], 1), axes(&[1])],
            ),
            case(
                "none left",
                op(),
                vec![samples::uniform(&[2, 0, 3], 1), axes(&[2])],
            ),
            case(
                "wide rows",
                dropped.clone(),
                vec![samples::between(&[5, 1027], 2, 0.5, 1.02), axes(&[1])],
            )
            .nmse(1e-9),
            case(
                "wide quads",
                op(),
                vec![samples::between(&[3, 2, 520], 3, 0.5, 1.02), axes(&[1, 2])],
            )
            .nmse(1e-9),
            case(
                "columns",
                op(),
                vec![samples::between(&[3, 40, 6], 4, 0.5, 1.5), axes(&[1])],
            )
            .nmse(1e-9),
            case(
                "column quads",
                dropped.clone(),
                vec![samples::between(&[33, 8], 5, 0.5, 1.5), axes(&[0])],
            )
            .nmse(1e-9),
            case(
                "alternating",
                dropped,
                vec![
                    samples::between(&[3, 2, 3, 2, 5], 6, 0.5, 1.5),
                    axes(&[0, 2, 4]),
                ],
            )
            .nmse(1e-9),
        ]);
        out.extend(typed_cases(name, kind));
    }
    out.push(
        Case::new(
            "many",
            Reduce::new(Reduction::Sum),
            vec![samples::uniform(&[3, 70001], 7), samples::ints(&[1])],
        )
        .constant(&[1]),
    );
    out.push(Case::new(
        "run-time axes",
        Reduce::new(Reduction::Sum),
        vec![x(), samples::ints(&[1])],
    ));
    out.extend(special_cases());
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
    out
}
