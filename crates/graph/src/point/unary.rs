//! Rows of one operand.

use super::{Param, Row, Span, Takes, names};
use std::f64::consts::{FRAC_1_SQRT_2, PI};

/// The names of [`UNARY`].
pub(crate) const UNARY_NAMES: &[&str] = &names(&TABLE);

/// Rows of one operand.
pub(crate) static UNARY: &[Row] = &TABLE;

const ALPHA_BETA: &[Param] = &[Param::Float("alpha", 0.2), Param::Float("beta", 0.5)];
const SELU: &[Param] = &[
    Param::Float("alpha", 1.673_263_2),
    Param::Float("gamma", 1.050_701),
];
const SHRINK: &[Param] = &[Param::Float("lambd", 0.5), Param::Float("bias", 0.0)];
const APPROXIMATE: &[Param] = &[Param::Word("approximate", &["none", "tanh"], false)];
const DETECT: &[Param] = &[
    Param::Flag("detect_negative", true),
    Param::Flag("detect_positive", true),
];

// ONNX's formulas; the version is that of the schema in opset 28.
const TABLE: [Row; 42] = [
    // Abs-13
    Row::float("Abs", 1, |x, _| x[0].abs(), "abs($x)")
        .takes(Takes::Numbers)
        .int(|x, _, _| x[0].abs(), "abs($x)", |s| Some(abs(s[0]))),
    // Neg-13
    Row::float("Neg", 1, |x, _| -x[0], "-$x")
        .takes(Takes::Signed)
        .int(|x, _, _| -x[0], "-$x", |s| Some((-s[0].1, -s[0].0))),
    // Sign-13
    Row::float("Sign", 1, |x, _| sign(x[0]), "sign_f($x)")
        .takes(Takes::Numbers)
        .int(|x, _, _| x[0].signum(), "sign_$T($x)", |_| Some((-1, 1))),
    // Floor-13, Ceil-13
    Row::float("Floor", 1, |x, _| x[0].floor(), "floor($x)"),
    Row::float("Ceil", 1, |x, _| x[0].ceil(), "ceil($x)"),
    // Round-22: halves to even, as WGSL's round
    Row::float("Round", 1, |x, _| x[0].round_ties_even(), "round($x)"),
    // Sqrt-13, Reciprocal-13, Exp-13, Log-13
    Row::float("Sqrt", 1, |x, _| x[0].sqrt(), "sqrt($x)").domain(0.0, 9.0),
    Row::float("Reciprocal", 1, |x, _| 1.0 / x[0], "1.0 / $x").domain(0.1, 4.0),
    Row::float("Exp", 1, |x, _| x[0].exp(), "exp_f($x)"),
    Row::float("Log", 1, |x, _| x[0].ln(), "log_f($x)").domain(0.01, 9.0),
    // Sin-22 and its kin
    Row::float("Sin", 1, |x, _| x[0].sin(), "sin_f($x)").part("math_trig"),
    Row::float("Cos", 1, |x, _| x[0].cos(), "cos_f($x)").part("math_trig"),
    Row::float("Tan", 1, |x, _| x[0].tan(), "tan_f($x)")
        .part("math_trig")
        .domain(-1.4, 1.4),
    Row::float("Asin", 1, |x, _| x[0].asin(), "asin_f($x)")
        .part("math_trig")
        .domain(-1.0, 1.0),
    Row::float("Acos", 1, |x, _| x[0].acos(), "acos_f($x)")
        .part("math_trig")
        .domain(-1.0, 1.0),
    Row::float("Atan", 1, |x, _| x[0].atan(), "atan_f($x)").part("math_trig"),
    Row::float("Sinh", 1, |x, _| x[0].sinh(), "sinh_f($x)"),
    Row::float("Cosh", 1, |x, _| x[0].cosh(), "cosh_f($x)"),
    Row::float("Tanh", 1, |x, _| x[0].tanh(), "tanh_f($x)"),
    Row::float("Asinh", 1, |x, _| x[0].asinh(), "asinh_f($x)"),
    Row::float("Acosh", 1, |x, _| x[0].acosh(), "acosh_f($x)").domain(1.0, 9.0),
    Row::float("Atanh", 1, |x, _| x[0].atanh(), "atanh_f($x)").domain(-0.99, 0.99),
    // Erf-13
    Row::float("Erf", 1, |x, _| libm::erf(x[0]), "erf_f($x)").part("math_erf"),
    // Sigmoid-13: 1 / (1 + e^-x)
    Row::float("Sigmoid", 1, |x, _| sigmoid(x[0]), "sigmoid_f($x)"),
    // Relu-14; NaN stays NaN
    Row::float(
        "Relu",
        1,
        |x, _| if x[0] < 0.0 { 0.0 } else { x[0] },
        "relu_f($x)",
    )
    .takes(Takes::Signed)
    .int(
        |x, _, _| x[0].max(0),
        "max($x, vec4<$T>())",
        |s| Some((s[0].0.max(0), s[0].1.max(0))),
    ),
    // LeakyRelu-16: alpha x for x < 0
    Row::float(
        "LeakyRelu",
        1,
        |x, p| if x[0] < 0.0 { f(p[0]) * x[0] } else { x[0] },
        "leaky_relu_f($x, $0)",
    )
    .params(&[Param::Float("alpha", 0.01)]),
    // Elu-22: alpha (e^x - 1) for x < 0
    Row::float(
        "Elu",
        1,
        |x, p| {
            if x[0] < 0.0 {
                f(p[0]) * x[0].exp_m1()
            } else {
                x[0]
            }
        },
        "elu_f($x, $0)",
    )
    .params(&[Param::Float("alpha", 1.0)]),
    // Selu-22: gamma (alpha e^x - alpha) for x <= 0, gamma x for x > 0
    Row::float(
        "Selu",
        1,
        |x, p| {
            f(p[1])
                * if x[0] > 0.0 {
                    x[0]
                } else {
                    f(p[0]) * x[0].exp_m1()
                }
        },
        "$1 * elu_f($x, $0)",
    )
    .params(SELU),
    // Celu-28: max(0, x) + min(0, alpha (e^(x/alpha) - 1))
    Row::float("Celu", 1, |x, p| celu(x[0], f(p[0])), "celu_f($x, $0)")
        .params(&[Param::Float("alpha", 1.0)]),
    // Softplus-22: ln(e^x + 1)
    Row::float("Softplus", 1, |x, _| softplus(x[0]), "softplus_f($x)"),
    // Softsign-22: x / (1 + |x|)
    Row::float(
        "Softsign",
        1,
        |x, _| x[0] / (1.0 + x[0].abs()),
        "$x / (1.0 + abs($x))",
    ),
    // HardSigmoid-22: max(0, min(1, alpha x + beta))
    Row::float(
        "HardSigmoid",
        1,
        |x, p| clamp01(f(p[0]) * x[0] + f(p[1])),
        "clamp01_f($0 * $x + $1)",
    )
    .params(ALPHA_BETA),
    // HardSwish-22: x HardSigmoid(x) with alpha = 1/6 and beta = 0.5
    Row::float(
        "HardSwish",
        1,
        |x, _| x[0] * clamp01(x[0] / 6.0 + 0.5),
        "$x * clamp01_f($x * (1.0 / 6.0) + 0.5)",
    ),
    // ThresholdedRelu-22: x for x > alpha, else 0
    Row::float(
        "ThresholdedRelu",
        1,
        |x, p| if x[0] > f(p[0]) { x[0] } else { 0.0 },
        "select(vec4<f32>(), $x, $x > vec4<f32>($0))",
    )
    .params(&[Param::Float("alpha", 1.0)]),
    // Shrink-9: x + bias for x < -lambd, x - bias for x > lambd, else 0
    Row::float("Shrink", 1, |x, p| shrink(x[0], p), "shrink_f($x, $0, $1)")
        .params(SHRINK)
        .takes(Takes::Numbers)
        .int(|x, p, _| shrink(x[0] as f64, p) as i128, "", |_| None),
    // Gelu-20: x (1 + erf(x / sqrt 2)) / 2, or its approximation by tanh
    Row::float(
        "Gelu",
        1,
        |x, p| {
            if p[0] == 0.0 {
                gelu(x[0])
            } else {
                gelu_tanh(x[0])
            }
        },
        "gelu_$0($x)",
    )
    .part("math_erf")
    .params(APPROXIMATE),
    // Swish-24: x sigmoid(alpha x)
    Row::float(
        "Swish",
        1,
        |x, p| x[0] * sigmoid(f(p[0]) * x[0]),
        "$x * sigmoid_f($0 * $x)",
    )
    .params(&[Param::Float("alpha", 1.0)]),
    // Mish-22: x tanh(softplus(x))
    Row::float("Mish", 1, |x, _| x[0] * softplus(x[0]).tanh(), "mish_f($x)"),
    // IsNaN-20, IsInf-20
    Row::float("IsNaN", 1, |x, _| x[0].is_nan().into(), "is_nan($x)").truth(),
    Row::float(
        "IsInf",
        1,
        |x, p| is_inf(x[0], p).into(),
        "is_inf($x, $0, $1)",
    )
    .params(DETECT)
    .truth(),
    // Not-1, BitwiseNot-18
    Row::exact("Not", 1, Takes::Bools).int(|x, _, _| 1 - x[0], "!$x", |_| Some((0, 1))),
    Row::exact("BitwiseNot", 1, Takes::Ints).int(
        |x, _, _| !x[0],
        "~$x",
        |s| Some((!s[0].1, !s[0].0)),
    ),
];

const fn f(x: f32) -> f64 {
    x as f64
}

fn abs((low, high): Span) -> Span {
    let least = if low > 0 { low } else { 0.max(-high) };
    (least, high.max(-low))
}

fn sign(x: f64) -> f64 {
    if x == 0.0 || x.is_nan() {
        x
    } else {
        x.signum()
    }
}

fn sigmoid(x: f64) -> f64 {
    1.0 / (1.0 + (-x).exp())
}

/// Without overflow: ln(e^x + 1) = max(x, 0) + ln(1 + e^-|x|). NaN stays NaN.
fn softplus(x: f64) -> f64 {
    (if x < 0.0 { 0.0 } else { x }) + (-x.abs()).exp().ln_1p()
}

fn celu(x: f64, alpha: f64) -> f64 {
    if x.is_nan() {
        return x;
    }
    x.max(0.0) + (alpha * (x / alpha).exp_m1()).min(0.0)
}

fn clamp01(x: f64) -> f64 {
    x.clamp(0.0, 1.0)
}

fn shrink(x: f64, p: &[f32]) -> f64 {
    let (lambda, bias) = (f(p[0]), f(p[1]));
    if x < -lambda {
        x + bias
    } else if x > lambda {
        x - bias
    } else {
        0.0
    }
}

/// By the complement, which keeps its digits where erf is near -1.
fn gelu(x: f64) -> f64 {
    0.5 * x * libm::erfc(-x * FRAC_1_SQRT_2)
}

/// (1 + tanh u) / 2 is sigmoid(2u), which keeps its digits where tanh is near -1.
fn gelu_tanh(x: f64) -> f64 {
    x * sigmoid(2.0 * (2.0 / PI).sqrt() * (x + 0.044715 * x * x * x))
}

fn is_inf(x: f64, p: &[f32]) -> bool {
    (p[0] != 0.0 && x == f64::NEG_INFINITY) || (p[1] != 0.0 && x == f64::INFINITY)
}
