//! Where: one of two tensors, element by element.

use crate::blocks::Blocks;
use crate::fact::{Facts, Tensors};
use crate::lower::{Lower, Place, Placing};
use crate::op::{Case, Operand, Operator};
use crate::point::{self, Pointwise, Program, WHERE, facts};
use crate::{Attrs, Fact, Result, samples};
use tilewright_tensor::{DType, HostTensor};

/// ONNX Where-16: input 1 where input 0 (bool) is true, else input 2; all broadcast.
#[derive(Clone, Debug)]
pub struct Where;

impl Pointwise for Where {
    fn program(&self, types: &[Option<DType>]) -> Result<(Program, Vec<usize>)> {
        let types = point::operands("Where", types, 3)?;
        Ok((Program::of(&WHERE, &[], &types)?, vec![0, 1, 2]))
    }
}

impl Operator for Where {
    const NAMES: &'static [&'static str] = &["Where"];

    fn attrs(&self) -> Attrs {
        Attrs::new("Where")
    }

    fn from_attrs(_: &str, _: &Attrs) -> Result<Self> {
        Ok(Where)
    }

    fn infer(&self, inputs: Facts<'_>) -> Result<Vec<Fact>> {
        let list = [inputs.req(0)?, inputs.req(1)?, inputs.req(2)?];
        let (program, _) = self.program(&list.map(|f| Some(f.dtype)))?;
        Ok(vec![facts("Where", &program, &list)?])
    }

    fn reference(&self, inputs: Tensors<'_>) -> Result<Vec<HostTensor>> {
        let list = [inputs.req(0)?, inputs.req(1)?, inputs.req(2)?];
        let (program, _) = self.program(&list.map(|t| Some(t.dtype())))?;
        Ok(vec![program.reference(&list)?])
    }

    fn place(&self, cx: &Placing<'_>) -> Place {
        point::place(self, cx)
    }

    fn lower(&self, cx: &mut Lower<'_>) -> Result<()> {
        point::lower(self, cx)
    }

    fn blocks(&self, cx: &Placing<'_>) -> Blocks {
        Blocks::pointwise(cx.outputs)
    }

    fn half(&self, _: Operand) -> bool {
        true
    }

    fn cases() -> Vec<Case> {
        let mut cases = vec![];
        for dtype in [
            DType::F32,
            DType::F16,
            DType::I64,
            DType::I32,
            DType::U8,
            DType::Bool,
        ] {
            let high = if dtype == DType::Bool { 2 } else { 100 };
            let x = |shape: &[usize], seed| samples::integers(dtype, shape, seed, 0, high);
            let inputs = vec![samples::booleans(&[3, 1], 1), x(&[2, 3, 5], 2), x(&[5], 3)];
            cases.push(Case::new(dtype.name(), Where, inputs));
        }
        let mask = samples::booleans(&[4, 8], 4);
        let inputs = vec![
            mask,
            samples::uniform(&[4, 8], 5),
            samples::of(&[], &[f32::NEG_INFINITY]),
        ];
        cases.push(Case::new("minus infinity", Where, inputs).constant(&[2]));
        cases
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dim::Dim;
    use crate::fact::Inputs;

    #[test]
    fn sizes_are_chosen() {
        let n = Dim::symbol("n");
        let shape = Fact::of_dims(DType::I64, &[2], vec![n.clone(), 3i64.into()]);
        let mask = Fact::of(samples::of(&[2], &[false, true]));
        let ones = Fact::of(samples::ints(&[1, 1]));
        let out = Where
            .infer(Inputs::new("", &[Some(&mask), Some(&ones), Some(&shape)]))
            .unwrap();
        assert_eq!(out[0].dims().unwrap(), [n, 1i64.into()]);
    }
}
