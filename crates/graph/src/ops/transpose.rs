//! Transpose: axes in another order.

use super::moving::{axes_of, emit_copy, moved, place, transposed};
use crate::blocks::Blocks;
use crate::fact::{Facts, Tensors};
use crate::lower::{Lower, Place, Placing};
use crate::op::{Case, Operand, Operator};
use crate::{Attrs, Error, Fact, Result, samples};
use tilewright_kernels::Strides;
use tilewright_tensor::{DType, HostTensor};

/// ONNX Transpose-25: axis `i` of the output is axis `perm[i]` of the input.
#[derive(Clone, Debug)]
pub struct Transpose {
    /// The order; none reverses all axes.
    pub perm: Option<Vec<i64>>,
}

impl Transpose {
    /// The axes of a tensor of `rank` dimensions in the new order.
    pub fn order(&self, rank: usize) -> Result<Vec<usize>> {
        let Some(perm) = &self.perm else {
            return Ok((0..rank).rev().collect());
        };
        let order = axes_of("Transpose", perm, rank)?;
        if order.len() != rank {
            let what = format!("perm {perm:?} for a tensor of {rank} dimensions");
            return Err(Error::op("Transpose", what));
        }
        Ok(order)
    }
}

impl Operator for Transpose {
    const NAMES: &'static [&'static str] = &["Transpose"];

    fn attrs(&self) -> Attrs {
        Attrs::new("Transpose").with_opt("perm", self.perm.clone())
    }

    fn from_attrs(_: &str, attrs: &Attrs) -> Result<Self> {
        Ok(Transpose {
            perm: attrs.opt("perm")?,
        })
    }

    fn infer(&self, inputs: Facts<'_>) -> Result<Vec<Fact>> {
        let data = inputs.req(0)?;
        let order = self.order(data.rank())?;
        let shape: Vec<_> = order.iter().map(|&i| data.shape[i].clone()).collect();
        Ok(vec![moved(data, shape)])
    }

    fn reference(&self, inputs: Tensors<'_>) -> Result<Vec<HostTensor>> {
        let data = inputs.req(0)?;
        Ok(vec![transposed(data, &self.order(data.rank())?)?])
    }

    fn place(&self, cx: &Placing<'_>) -> Place {
        place(cx, &[0])
    }

    fn lower(&self, cx: &mut Lower<'_>) -> Result<()> {
        let (x, y) = (cx.input(0)?, cx.output(0)?);
        let by = Strides::of(&x.shape).by;
        let order = self.order(x.shape.len())?;
        let strides = Strides {
            offset: 0,
            by: order.iter().map(|&axis| by[axis]).collect(),
        };
        emit_copy(cx, &x, strides, &y)
    }

    fn moves(&self, input: usize) -> bool {
        input == 0
    }

    fn blocks(&self, cx: &Placing<'_>) -> Blocks {
        Blocks::copies(cx)
    }

    fn half(&self, _: Operand) -> bool {
        true
    }

    fn cases() -> Vec<Case> {
        let case = |shape: &[usize], perm: Option<&[i64]>| {
            let op = Transpose {
                perm: perm.map(<[i64]>::to_vec),
            };
            Case::new(
                &format!("{shape:?} by {perm:?}"),
                op,
                vec![samples::uniform(shape, 1)],
            )
        };
        let mut cases = vec![
            case(&[5, 7], None),
            case(&[32, 64], None),
            case(&[33, 70], None),
            case(&[2, 3, 4], None),
            case(&[2, 3, 4], Some(&[1, 0, 2])),
            case(&[2, 8, 6, 4], Some(&[0, 2, 1, 3])),
            case(&[2, 5, 6, 8], Some(&[0, 2, 3, 1])),
            case(&[2, 6, 8, 5], Some(&[0, 3, 1, 2])),
            case(&[1, 5, 1, 3], Some(&[2, 1, 0, 3])),
            case(&[2, 3, 2, 3, 2, 3], Some(&[5, 1, 3, 0, 4, 2])),
            case(&[3, 0, 2], Some(&[2, 0, 1])),
            case(&[], None),
        ];
        for dtype in [
            DType::I64,
            DType::Bool,
            DType::F16,
            DType::U8,
            DType::F64,
            DType::I4,
        ] {
            let x = samples::integers(dtype, &[3, 5], 2, 0, 2);
            cases.push(Case::new(dtype.name(), Transpose { perm: None }, vec![x]));
        }
        cases
    }
}
