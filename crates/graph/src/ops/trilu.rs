//! Trilu: the upper or lower triangle of matrices.

use super::moving::place;
use crate::fact::{Facts, Tensors, Values};
use crate::lower::{Lower, Place, Placing};
use crate::op::{Case, Operand, Operator};
use crate::{Attrs, Fact, Result, samples};
use tilewright_kernels::trilu;
use tilewright_tensor::{DType, HostTensor};

/// ONNX Trilu-14: what lies on the other side of diagonal `k` (input 1, 0 without it) becomes 0.
#[derive(Clone, Debug)]
pub struct Trilu {
    /// Keep what is on and above the diagonal, else what is on and below it.
    pub upper: bool,
}

impl Trilu {
    fn keeps(&self, row: usize, column: usize, k: i64) -> bool {
        let diagonal = column as i64 - row as i64;
        if self.upper {
            diagonal >= k
        } else {
            diagonal <= k
        }
    }
}

impl Operator for Trilu {
    const NAMES: &'static [&'static str] = &["Trilu"];

    fn attrs(&self) -> Attrs {
        Attrs::new("Trilu").with("upper", self.upper)
    }

    fn from_attrs(_: &str, attrs: &Attrs) -> Result<Self> {
        Ok(Trilu {
            upper: attrs.or("upper", true)?,
        })
    }

    fn infer(&self, inputs: Facts<'_>) -> Result<Vec<Fact>> {
        let x = inputs.req(0)?;
        if x.rank() < 2 {
            return Err(inputs.error(format!("needs matrices, got {x}")));
        }
        let fact = Fact::new(x.dtype, x.shape.clone());
        Ok(vec![match x.range() {
            Some((low, high)) => fact.with_range(low.min(0), high.max(0)),
            None => fact,
        }])
    }

    fn reference(&self, inputs: Tensors<'_>) -> Result<Vec<HostTensor>> {
        let x = inputs.req(0)?;
        let [.., rows, columns] = x.shape()[..] else {
            return Err(inputs.error(format!("needs matrices, got shape {}", x.shape())));
        };
        let k = inputs.opt_ints(1)?.and_then(|v| v.first().copied());
        let k = k.unwrap_or(0);
        let kept = |i: &usize| self.keeps(i / columns % rows, i % columns, k);
        let kept: Vec<usize> = (0..x.len()).filter(kept).collect();
        let mut out = HostTensor::zeros(x.dtype(), x.shape())?;
        out.place(&x.select([kept.len()], kept.iter().copied())?, kept)?;
        Ok(vec![out])
    }

    fn place(&self, cx: &Placing<'_>) -> Place {
        match cx.inputs.opt(1) {
            Some(k) if k.constant().is_none() && !k.is_symbolic() => {
                Place::host("the diagonal comes from a run")
            }
            _ => place(cx, &[0]),
        }
    }

    fn lower(&self, cx: &mut Lower<'_>) -> Result<()> {
        let (x, y) = (cx.input(0)?, cx.output(0)?);
        let k = cx.opt_ints(1)?.and_then(|v| v.first().copied());
        let dispatches = trilu(cx.caps(), &x, self.upper, k.unwrap_or(0), &y)?;
        cx.emit(dispatches);
        Ok(())
    }

    fn half(&self, _: Operand) -> bool {
        true
    }

    fn cases() -> Vec<Case> {
        let case = |upper, shape: &[usize], k: Option<i64>| {
            let inputs = [
                Some(samples::uniform(shape, 1)),
                k.map(|k| samples::of(&[], &[k])),
            ];
            let side = if upper { "upper" } else { "lower" };
            let name = format!("{side} of {shape:?} at {k:?}");
            Case::with_optional(&name, Trilu { upper }, inputs.into()).constant(&[1])
        };
        let mut cases = vec![
            case(true, &[4, 5], None),
            case(false, &[5, 4], None),
            case(true, &[2, 3, 7, 8], Some(2)),
            case(true, &[3, 4], Some(-1)),
            case(false, &[2, 8, 8], Some(-3)),
            case(false, &[3, 4], Some(9)),
            case(true, &[0, 4], Some(1)),
            case(false, &[4, 4], Some(1)).constant(&[]),
        ];
        for dtype in [DType::I64, DType::Bool, DType::F64] {
            let x = samples::integers(dtype, &[3, 3], 2, 0, 2);
            cases.push(Case::new(dtype.name(), Trilu { upper: true }, vec![x]));
        }
        cases
    }
}
