//! Softmax, LogSoftmax and Hardmax along one axis.

use crate::blocks::Blocks;
use crate::fact::{Facts, Tensors, axis_index};
use crate::lower::{Lower, Place, Placing};
use crate::op::{Case, Operand, Operator};
use crate::ops::groups::{Groups, floats, need_float};
use crate::{Attrs, Error, Fact, Result, samples};
use tilewright_kernels as kernels;
use tilewright_tensor::{DType, HostTensor};

/// Which of the family.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SoftmaxKind {
    /// exp(x) / sum(exp(x)).
    Softmax,
    /// The logarithm of that.
    LogSoftmax,
    /// 1 at the first maximum, 0 elsewhere.
    Hardmax,
}

/// ONNX Softmax-13, LogSoftmax-13 and Hardmax-13.
#[derive(Clone, Debug)]
pub struct Softmax {
    /// Which of the family.
    pub kind: SoftmaxKind,
    /// The axis; negative counts from the end.
    pub axis: i64,
}

const ROWS: [(&str, SoftmaxKind); 3] = [
    ("Softmax", SoftmaxKind::Softmax),
    ("LogSoftmax", SoftmaxKind::LogSoftmax),
    ("Hardmax", SoftmaxKind::Hardmax),
];

/// x - log(sum(exp(x))) of one group; relative to the maximum, so that nothing overflows.
pub(crate) fn log_softmax(x: &[f64]) -> Vec<f64> {
    let max = x.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    let sum: f64 = x.iter().map(|v| (v - max).exp()).sum();
    x.iter().map(|v| v - max - sum.ln()).collect()
}

/// The position of the first maximum; NaN counts as the largest.
fn first_max(x: &[f64]) -> usize {
    let beats = |a: f64, b: f64| a > b || a.is_nan() && !b.is_nan();
    (1..x.len()).fold(0, |best, i| if beats(x[i], x[best]) { i } else { best })
}

impl SoftmaxKind {
    fn of_group(self, x: &[f64]) -> Vec<f64> {
        match self {
            SoftmaxKind::Softmax => {
                let max = x.iter().copied().fold(f64::NEG_INFINITY, f64::max);
                let e: Vec<f64> = x.iter().map(|v| (v - max).exp()).collect();
                let sum: f64 = e.iter().sum();
                e.into_iter().map(|v| v / sum).collect()
            }
            SoftmaxKind::LogSoftmax => log_softmax(x),
            SoftmaxKind::Hardmax => {
                let at = first_max(x);
                (0..x.len()).map(|i| f64::from(i == at)).collect()
            }
        }
    }
}

impl Operator for Softmax {
    const NAMES: &'static [&'static str] = &[ROWS[0].0, ROWS[1].0, ROWS[2].0];

    fn name(&self) -> &'static str {
        let row = ROWS.iter().find(|row| row.1 == self.kind);
        row.map_or(Self::NAMES[0], |row| row.0)
    }

    fn attrs(&self) -> Attrs {
        Attrs::new(self.name()).with("axis", self.axis)
    }

    fn from_attrs(name: &str, attrs: &Attrs) -> Result<Self> {
        let row = ROWS.iter().find(|row| row.0 == name);
        let (_, kind) = row.ok_or_else(|| Error::UnknownOp { name: name.into() })?;
        Ok(Softmax {
            kind: *kind,
            axis: attrs.or("axis", -1)?,
        })
    }

    fn infer(&self, inputs: Facts<'_>) -> Result<Vec<Fact>> {
        let x = inputs.req(0)?;
        need_float(self.name(), x.dtype)?;
        axis_index(self.name(), self.axis, x.rank())?;
        Ok(vec![Fact::new(x.dtype, x.shape.clone())])
    }

    fn reference(&self, inputs: Tensors<'_>) -> Result<Vec<HostTensor>> {
        let x = floats(inputs, 0)?;
        let input = inputs.req(0)?;
        let axis = axis_index(self.name(), self.axis, input.rank())?;
        let mut y = vec![0.0; x.len()];
        for group in Groups::new(input.shape(), &[axis]).iter() {
            let values: Vec<f64> = group.clone().map(|i| x[i]).collect();
            for (i, v) in group.zip(self.kind.of_group(&values)) {
                y[i] = v;
            }
        }
        Ok(vec![HostTensor::from_f64(
            input.dtype(),
            input.shape().clone(),
            y,
        )?])
    }

    fn place(&self, cx: &Placing<'_>) -> Place {
        cx.floats_only()
    }

    fn blocks(&self, cx: &Placing<'_>) -> Blocks {
        Blocks::before(cx, self.axis)
    }

    fn lower(&self, cx: &mut Lower<'_>) -> Result<()> {
        let (x, y) = (cx.input(0)?, cx.output(0)?);
        if x.elements() == 0 {
            return Ok(());
        }
        let axis = axis_index(self.name(), self.axis, x.shape.len())?;
        let log = self.kind == SoftmaxKind::LogSoftmax;
        cx.emit_ended(match self.kind {
            SoftmaxKind::Hardmax => kernels::hardmax(cx.caps(), &x, axis, &y)?,
            _ => kernels::softmax(cx.caps(), &x, axis, &y, log)?,
        })
    }

    fn ends(&self) -> bool {
        self.kind != SoftmaxKind::Hardmax
    }

    fn half(&self, _: Operand) -> bool {
        true
    }

    fn cases() -> Vec<Case> {
        let mut out = vec![];
        for (name, kind) in ROWS {
            let mut case = |title: &str, axis, shape: &[usize], size: f32| {
                let title = format!("{name} {title} axis {axis}");
                let x = samples::between(shape, 1, -size, size);
                out.push(Case::new(&title, Softmax { kind, axis }, vec![x]));
            };
            for axis in [-1, 0, 1] {
                case("small", axis, &[3, 5, 7], 4.0);
                case("quads", axis, &[4, 6, 8], 4.0);
            }
            case("wide", -1, &[2, 1030], 9.0);
            case("wide quads", 1, &[5, 2052], 9.0);
            case("many rows", 1, &[300, 12], 9.0);
            case("vector", 0, &[17], 1.0);
            case("empty", 1, &[3, 0], 1.0);
        }
        out.extend(typed_cases());
        out.extend(odd_cases());
        out.extend(tie_cases());
        out
    }
}

/// Maxima that are there more than once.
fn tie_cases() -> [Case; 2] {
    let kind = SoftmaxKind::Hardmax;
    [0, 1].map(|axis| {
        let ties = samples::integers(DType::F32, &[6, 9], 1, 0, 3);
        Case::new(
            &format!("Hardmax ties axis {axis}"),
            Softmax { kind, axis },
            vec![ties],
        )
    })
}

fn typed_cases() -> Vec<Case> {
    let types = [(DType::F64, 1e-10), (DType::F16, 1e-6), (DType::BF16, 1e-4)];
    let mut out = vec![];
    for ((name, kind), (dtype, nmse)) in ROWS.iter().flat_map(|row| types.map(|t| (*row, t))) {
        let x = samples::between(&[3, 10], 9, -4.0, 4.0).cast(dtype);
        let inputs = vec![x.expect("a cast between floats")];
        let op = Softmax { kind, axis: 1 };
        out.push(Case::new(&format!("{name} {dtype}"), op, inputs).nmse(nmse));
    }
    out
}

/// Numbers whose exponentials overflow, and some that are none.
fn odd_cases() -> Vec<Case> {
    let (inf, nan) = (f32::INFINITY, f32::NAN);
    let masked = [0.5, -inf, 1.5, -inf, -2.0, 0.0, 3.0, nan];
    let inputs = [
        ("large", samples::between(&[2, 9], 6, 900.0, 1000.0)),
        ("masked", samples::of(&[2, 4], &masked)),
    ];
    let mut out = vec![];
    for ((name, kind), (title, x)) in ROWS
        .iter()
        .flat_map(|row| inputs.clone().map(|x| (*row, x)))
    {
        let op = Softmax { kind, axis: 1 };
        out.push(Case::new(&format!("{name} {title}"), op, vec![x]).nmse(1e-9));
    }
    out
}
