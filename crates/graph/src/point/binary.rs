//! Rows of two operands, and Where.

use super::{Param, Row, Span, Takes, names};
use tilewright_tensor::DType;

/// The names of [`BINARY`].
pub(crate) const BINARY_NAMES: &[&str] = &names(&TABLE);

/// Rows of two operands.
pub(crate) static BINARY: &[Row] = &TABLE;

/// Where-16: the second operand where the first is true, else the third.
pub(crate) static WHERE: Row = Row::float(
    "Where",
    3,
    |x, _| if x[0] != 0.0 { x[1] } else { x[2] },
    "select($z, $y, $x)",
)
.takes(Takes::Choice)
.int(
    |x, _, _| if x[0] != 0 { x[1] } else { x[2] },
    "select($z, $y, $x)",
    |s| Some(hull(s[1], s[2])),
);

const DIRECTION: &[Param] = &[Param::Word("direction", &["LEFT", "RIGHT"], true)];

const TABLE: [Row; 22] = [
    // Add-14, Sub-14, Mul-14: integers wrap
    Row::float("Add", 2, |x, _| x[0] + x[1], "$x + $y")
        .takes(Takes::Numbers)
        .int(
            |x, _, _| x[0] + x[1],
            "$x + $y",
            |s| Some((s[0].0 + s[1].0, s[0].1 + s[1].1)),
        ),
    Row::float("Sub", 2, |x, _| x[0] - x[1], "$x - $y")
        .takes(Takes::Numbers)
        .int(
            |x, _, _| x[0] - x[1],
            "$x - $y",
            |s| Some((s[0].0 - s[1].1, s[0].1 - s[1].0)),
        ),
    Row::float("Mul", 2, |x, _| x[0] * x[1], "$x * $y")
        .takes(Takes::Numbers)
        .int(
            // Two of u64 may pass i128; what is kept of the product is right either way.
            |x, _, _| x[0].wrapping_mul(x[1]),
            "$x * $y",
            |s| corners(s, |a, b| a.saturating_mul(b)),
        ),
    // Div-14: integers truncate; a division by zero, which ONNX leaves open, gives 0
    Row::float("Div", 2, |x, _| x[0] / x[1], "$x / $y")
        .takes(Takes::Numbers)
        .int(
            |x, _, _| x[0].checked_div(x[1]).unwrap_or(0),
            "div_$T($x, $y)",
            |s| {
                let (low, high) = s[0];
                Some(hull((low, high), (-high, -low)))
            },
        ),
    // Mod-28: the sign of the divisor, or of the dividend with fmod; modulo zero gives 0 for integers
    Row::float(
        "Mod",
        2,
        |x, p| modulo(x[0], x[1], p[0] != 0.0),
        "mod_f($x, $y, $0)",
    )
    .part("math_pow")
    .params(&[Param::Flag("fmod", false)])
    .takes(Takes::Numbers)
    .int(
        |x, p, _| int_modulo(x[0], x[1], p[0] != 0.0),
        "mod_$T($x, $y, $0)",
        |s| {
            let most = s[1].0.abs().max(s[1].1.abs());
            Some((-most, most))
        },
    ),
    // Pow-15: the result has the base's type; integers to a negative power truncate toward zero
    Row::float("Pow", 2, |x, _| x[0].powf(x[1]), "pow_f($x, $y)")
        .part("math_pow")
        .takes(Takes::Mixed)
        .int(|x, _, _| power(x[0], x[1]), "pow_$T($x, $y)", |_| None),
    // PRelu-16: slope x for x < 0
    Row::float(
        "PRelu",
        2,
        |x, _| if x[0] < 0.0 { x[1] * x[0] } else { x[0] },
        "prelu_f($x, $y)",
    )
    .takes(Takes::Numbers)
    .int(
        |x, _, _| if x[0] < 0 { x[1] * x[0] } else { x[0] },
        "prelu_$T($x, $y)",
        |s| corners(s, |a, b| a.saturating_mul(b)).map(|product| hull(product, s[0])),
    ),
    // SwiGLU-28: x sigmoid(alpha x) y
    Row::float(
        "SwiGLU",
        2,
        |x, p| x[0] / (1.0 + (f64::from(-p[0]) * x[0]).exp()) * x[1],
        "$x * sigmoid_f($0 * $x) * $y",
    )
    .params(&[Param::Float("alpha", 1.0)]),
    // Equal-19 and other comparisons; NaN compares false
    Row::float("Equal", 2, |x, _| (x[0] == x[1]).into(), "$x == $y")
        .takes(Takes::Any)
        .truth()
        .int(|x, _, _| (x[0] == x[1]).into(), "$x == $y", truth),
    Row::float("Greater", 2, |x, _| (x[0] > x[1]).into(), "$x > $y")
        .takes(Takes::Numbers)
        .truth()
        .int(|x, _, _| (x[0] > x[1]).into(), "$x > $y", truth),
    Row::float("Less", 2, |x, _| (x[0] < x[1]).into(), "$x < $y")
        .takes(Takes::Numbers)
        .truth()
        .int(|x, _, _| (x[0] < x[1]).into(), "$x < $y", truth),
    Row::float(
        "GreaterOrEqual",
        2,
        |x, _| (x[0] >= x[1]).into(),
        "$x >= $y",
    )
    .takes(Takes::Numbers)
    .truth()
    .int(|x, _, _| (x[0] >= x[1]).into(), "$x >= $y", truth),
    Row::float("LessOrEqual", 2, |x, _| (x[0] <= x[1]).into(), "$x <= $y")
        .takes(Takes::Numbers)
        .truth()
        .int(|x, _, _| (x[0] <= x[1]).into(), "$x <= $y", truth),
    // And-7, Or-7, Xor-7
    Row::exact("And", 2, Takes::Bools).int(|x, _, _| x[0] & x[1], "$x & $y", truth),
    Row::exact("Or", 2, Takes::Bools).int(|x, _, _| x[0] | x[1], "$x | $y", truth),
    Row::exact("Xor", 2, Takes::Bools).int(|x, _, _| x[0] ^ x[1], "$x != $y", truth),
    // BitwiseAnd-18, BitwiseOr-18, BitwiseXor-18
    Row::exact("BitwiseAnd", 2, Takes::Ints).int(|x, _, _| x[0] & x[1], "$x & $y", bits),
    Row::exact("BitwiseOr", 2, Takes::Ints).int(|x, _, _| x[0] | x[1], "$x | $y", bits),
    Row::exact("BitwiseXor", 2, Takes::Ints).int(|x, _, _| x[0] ^ x[1], "$x ^ $y", bits),
    // BitShift-28: arithmetic to the right; all bits are shifted out by a negative amount or one past the width
    Row::exact("BitShift", 2, Takes::Ints)
        .params(DIRECTION)
        .int(
            |x, p, d| shift(x[0], x[1], p[0] == 0.0, d),
            "shift_$0_$T($x, $y, $bits)",
            |_| None,
        ),
    // The steps of Min-13 and Max-13 (ops/variadic.rs); NaN wins
    Row::float("Min", 2, |x, _| least(x[0], x[1]), "min_f($x, $y)")
        .takes(Takes::Numbers)
        .int(
            |x, _, _| x[0].min(x[1]),
            "min($x, $y)",
            |s| Some((s[0].0.min(s[1].0), s[0].1.min(s[1].1))),
        ),
    Row::float("Max", 2, |x, _| -least(-x[0], -x[1]), "max_f($x, $y)")
        .takes(Takes::Numbers)
        .int(
            |x, _, _| x[0].max(x[1]),
            "max($x, $y)",
            |s| Some((s[0].0.max(s[1].0), s[0].1.max(s[1].1))),
        ),
];

fn truth(_: &[Span]) -> Option<Span> {
    Some((0, 1))
}

fn hull(a: Span, b: Span) -> Span {
    (a.0.min(b.0), a.1.max(b.1))
}

/// Bounds of a function that is extreme at extreme operands.
fn corners(s: &[Span], f: fn(i128, i128) -> i128) -> Option<Span> {
    let all = [
        f(s[0].0, s[1].0),
        f(s[0].0, s[1].1),
        f(s[0].1, s[1].0),
        f(s[0].1, s[1].1),
    ];
    Some((*all.iter().min()?, *all.iter().max()?))
}

/// Bitwise operations keep within the smallest two's complement width that holds both operands.
fn bits(s: &[Span]) -> Option<Span> {
    let (low, high) = hull(s[0], s[1]);
    let most = high.max(!low).max(0) as u128;
    let high = most.checked_add(1)?.checked_next_power_of_two()? as i128 - 1;
    Some((if low < 0 { !high } else { 0 }, high))
}

fn least(a: f64, b: f64) -> f64 {
    if a.is_nan() || a < b { a } else { b }
}

fn modulo(a: f64, b: f64, fmod: bool) -> f64 {
    // Rust's remainder is exact and has the sign of the dividend.
    let r = a % b;
    if fmod || r.is_nan() {
        r
    } else if r == 0.0 {
        0f64.copysign(b)
    } else if (r < 0.0) != (b < 0.0) {
        r + b
    } else {
        r
    }
}

fn int_modulo(a: i128, b: i128, fmod: bool) -> i128 {
    let r = a.checked_rem(b).unwrap_or(0);
    if !fmod && r != 0 && (r < 0) != (b < 0) {
        r + b
    } else {
        r
    }
}

/// Modulo 2^128, so exact modulo the width of any type.
fn power(base: i128, exponent: i128) -> i128 {
    match (base, exponent) {
        (1, _) => 1,
        (-1, e) => {
            if e & 1 == 0 {
                1
            } else {
                -1
            }
        }
        (_, e) if e < 0 => 0,
        (base, mut e) => {
            let (mut result, mut square) = (1i128, base);
            while e > 0 {
                if e & 1 == 1 {
                    result = result.wrapping_mul(square);
                }
                square = square.wrapping_mul(square);
                e >>= 1;
            }
            result
        }
    }
}

fn shift(x: i128, by: i128, left: bool, dtype: DType) -> i128 {
    let out = by < 0 || by >= dtype.bits() as i128;
    match (left, out) {
        (true, true) => 0,
        (true, false) => x << by,
        (false, true) => {
            if x < 0 {
                -1
            } else {
                0
            }
        }
        (false, false) => x >> by,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn modulo_follows_the_specification() {
        let mut seen = vec![];
        for fmod in [false, true] {
            for (a, b) in [(-4.3, 2.1), (4.3, -2.1), (5.0, 8.0), (-5.0, 8.0)] {
                seen.push((modulo(a, b, fmod) * 10.0).round() / 10.0);
            }
        }
        assert_eq!(seen, [2.0, -2.0, 5.0, 3.0, -0.1, 0.1, 5.0, -5.0]);
        assert_eq!(modulo(1.0, f64::NEG_INFINITY, false), f64::NEG_INFINITY);
        assert_eq!(modulo(1.0, f64::INFINITY, false), 1.0);
        assert!(modulo(0.0, -2.0, false).is_sign_negative());
        assert!(modulo(1.0, 0.0, false).is_nan() && modulo(f64::INFINITY, 2.0, true).is_nan());
        assert_eq!(
            [int_modulo(-4, 3, false), int_modulo(4, -3, false)],
            [2, -2]
        );
        assert_eq!([int_modulo(-4, 3, true), int_modulo(4, -3, true)], [-1, 1]);
        assert_eq!(int_modulo(4, 0, false), 0);
    }

    #[test]
    fn powers_of_integers_wrap() {
        assert_eq!(power(3, 40), 12_157_665_459_056_928_801);
        assert_eq!(power(2, 200) as u64, 0);
        assert_eq!(power(3, 100) as u32, 3u32.wrapping_pow(100));
        assert_eq!([power(-1, -3), power(2, -1), power(0, 0)], [-1, 0, 1]);
    }

    #[test]
    fn shifts_past_the_width_leave_the_sign() {
        assert_eq!(shift(-8, 1, false, DType::I8), -4);
        assert_eq!(shift(-8, 8, false, DType::I8), -1);
        assert_eq!(shift(8, -1, false, DType::I32), 0);
        assert_eq!(shift(-8, 32, true, DType::I32), 0);
    }

    #[test]
    fn bounds_hold() {
        let spans: [Span; 5] = [(-8, 7), (0, 5), (-3, -1), (2, 2), (-1, 9)];
        for row in BINARY.iter().filter(|r| r.int.is_some()) {
            let int = row.int.as_ref().unwrap();
            for (s, t) in spans
                .iter()
                .flat_map(|s| spans.iter().map(move |t| (*s, *t)))
            {
                let Some((low, high)) = (int.span)(&[s, t]) else {
                    continue;
                };
                for (a, b) in (s.0..=s.1).flat_map(|a| (t.0..=t.1).map(move |b| (a, b))) {
                    if row.takes == Takes::Bools && !(0..2).contains(&a.min(b).min(1 - a.max(b))) {
                        continue;
                    }
                    for p in [0.0, 1.0] {
                        let y = (int.host)(&[a, b], &[p], DType::I64);
                        assert!(
                            (low..=high).contains(&y),
                            "{} {a} {b}: {y} not in {low}..={high}",
                            row.name
                        );
                    }
                }
            }
        }
    }
}
