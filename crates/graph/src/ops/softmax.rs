//! Softmax, LogSoftmax and Hardmax along one axis.

use crate::fact::{Facts, Tensors, axis_index};
use crate::lower::{Lower, Place, Placing};
use crate::op::{Case, Operator};
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

    fn lower(&self, cx: &mut Lower<'_>) -> Result<()> {
        let (x, y) = (cx.input(0)?, cx.output(0)?);
        if x.elements() == 0 {
            return Ok(());
        }
        let axis = axis_index(self.name(), self.axis, x.shape.len())?;
        let log = self.kind == SoftmaxKind::LogSoftmax;
        cx.emit(match self.kind {
            SoftmaxKind::Hardmax => kernels::hardmax(cx.caps(), &x, axis, &y)?,
            _ => kernels::softmax(cx.caps(), &x, axis, &y, log)?,
        });
        Ok(())
    }

    fn cases() -> Vec<Case> {
        let mut out = vec![];
        for (name, kind) in ROWS {
            let mut case = |title: &str, axis, x: HostTensor, nmse| {
                let title = format!("{name} {title} axis {axis}");
                out.push(Case::new(&title, Softmax { kind, axis }, vec![x]).nmse(nmse));
            };
            for axis in [-1, 0, 1] {
                case(
                    "small",
                    axis,
                    samples::between(&[3, 5, 7], 1, -4.0, 4.0),
                    1e-10,
                );
                case(
                    "quads",
                    axis,
                    samples::between(&[4, 6, 8], 2, -4.0, 4.0),
                    1e-10,
                );
            }
            case(
                "wide",
                -1,
                samples::between(&[2, 1030], 3, -9.0, 9.0),
                1e-10,
            );
            case(
                "wide quads",
                1,
                samples::between(&[5, 2052], 4, -9.0, 9.0),
                1e-10,
            );
            case(
                "many rows",
                1,
                samples::between(&[300, 12], 5, -9.0, 9.0),
                1e-10,
            );
            case(
                "large",
                1,
                samples::between(&[2, 9], 6, 900.0, 1000.0),
                1e-9,
            );
            case("vector", 0, samples::uniform(&[17], 7), 1e-10);
            case("empty", 1, samples::uniform(&[3, 0], 8), 1e-10);
            let masked = [
                0.5,
                f32::NEG_INFINITY,
                1.5,
                f32::NEG_INFINITY,
                -2.0,
                0.0,
                3.0,
                f32::NAN,
            ];
            // LogSoftmax of -inf is -inf: no error measure takes that, but the comparison of special values does.
            case("masked", 1, samples::of(&[2, 4], &masked), 1e-10);
            for (dtype, nmse) in [(DType::F64, 1e-10), (DType::F16, 1e-6), (DType::BF16, 1e-4)] {
                let x = samples::between(&[3, 10], 9, -4.0, 4.0).cast(dtype);
                case(dtype.name(), 1, x.expect("a cast between floats"), nmse);
            }
        }
        let ties = samples::integers(DType::F32, &[6, 9], 1, 0, 3);
        let kind = SoftmaxKind::Hardmax;
        for axis in [0, 1] {
            let name = format!("Hardmax ties axis {axis}");
            out.push(Case::new(&name, Softmax { kind, axis }, vec![ties.clone()]));
        }
        out
    }
}
