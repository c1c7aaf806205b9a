//! Cast, CastLike and BitCast: other element types.

use crate::attrs::dtype_code;
use crate::blocks::Blocks;
use crate::fact::{Facts, Tensors};
use crate::lower::{Lower, Place, Placing};
use crate::op::{Case, Operand, Operator};
use crate::point::{self, Func, Pointwise, Program, facts};
use crate::{Attrs, Error, Fact, Result, samples};
use tilewright_tensor::{DType, HostTensor};

fn cast(from: DType, to: DType) -> Program {
    let mut program = Program::new(vec![from]);
    program.cast(0, to);
    program
}

/// ONNX Cast-25 between numeric types: floats round to nearest even, floats to integers truncate, integers wrap.
///
/// The attributes `saturate` and `round_mode` concern only 8-bit float targets, which are no tensors here.
#[derive(Clone, Debug)]
pub struct Cast {
    /// The type of the output.
    pub to: DType,
}

impl Pointwise for Cast {
    fn program(&self, types: &[Option<DType>]) -> Result<(Program, Vec<usize>)> {
        Ok((
            cast(point::operands("Cast", types, 1)?[0], self.to),
            vec![0],
        ))
    }
}

impl Operator for Cast {
    const NAMES: &'static [&'static str] = &["Cast"];

    fn attrs(&self) -> Attrs {
        Attrs::new("Cast").with("to", self.to)
    }

    fn from_attrs(_: &str, attrs: &Attrs) -> Result<Self> {
        let to = attrs.need("to")?;
        Ok(Cast { to })
    }

    fn infer(&self, inputs: Facts<'_>) -> Result<Vec<Fact>> {
        let x = inputs.req(0)?;
        Ok(vec![facts("Cast", &cast(x.dtype, self.to), &[x])?])
    }

    fn reference(&self, inputs: Tensors<'_>) -> Result<Vec<HostTensor>> {
        Ok(vec![inputs.req(0)?.cast(self.to)?])
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
        use DType::*;
        let mut cases = vec![];
        for from in [F32, F16, I32, I64, U8, I8, Bool, F64, BF16, U64, I4] {
            for to in [F32, F16, I32, I64, U8, I8, U32, Bool, F64, BF16, U64, U4] {
                let high = match from {
                    Bool => 2,
                    I4 => 8,
                    U64 => 1 << 40,
                    _ => 100,
                };
                let low = if from.is_signed() { -high } else { 0 };
                let x = samples::integers(from, &[3, 11], 7, low, high);
                cases.push(Case::new(&format!("{from} to {to}"), Cast { to }, vec![x]));
            }
        }
        let x = || samples::between(&[4, 9], 3, -100.0, 100.0);
        for to in [F16, I32, I8, Bool, I64] {
            cases.push(Case::new(
                &format!("fractions to {to}"),
                Cast { to },
                vec![x()],
            ));
        }
        cases
    }
}

/// ONNX CastLike-25: input 0 as the type of input 1.
#[derive(Clone, Debug)]
pub struct CastLike;

impl Pointwise for CastLike {
    fn program(&self, types: &[Option<DType>]) -> Result<(Program, Vec<usize>)> {
        let types = point::operands("CastLike", types, 2)?;
        Ok((cast(types[0], types[1]), vec![0]))
    }
}

impl Operator for CastLike {
    const NAMES: &'static [&'static str] = &["CastLike"];

    fn attrs(&self) -> Attrs {
        Attrs::new("CastLike")
    }

    fn from_attrs(_: &str, _: &Attrs) -> Result<Self> {
        Ok(CastLike)
    }

    fn infer(&self, inputs: Facts<'_>) -> Result<Vec<Fact>> {
        let (x, like) = (inputs.req(0)?, inputs.req(1)?);
        Ok(vec![facts("CastLike", &cast(x.dtype, like.dtype), &[x])?])
    }

    fn reference(&self, inputs: Tensors<'_>) -> Result<Vec<HostTensor>> {
        Ok(vec![inputs.req(0)?.cast(inputs.req(1)?.dtype())?])
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
        let x = samples::between(&[3, 7], 3, -9.0, 9.0);
        vec![Case::new(
            "f32 like i32",
            CastLike,
            vec![x, samples::of(&[1], &[1i32])],
        )]
    }
}

/// ONNX BitCast-26: the same bits as another type of the same width.
#[derive(Clone, Debug)]
pub struct BitCast {
    /// The type of the output.
    pub to: DType,
}

impl BitCast {
    fn bits(&self, from: DType) -> Result<Program> {
        if from.bits() != self.to.bits() && from.bits() + self.to.bits() != 9 {
            let what = format!("{from} and {} differ in width", self.to);
            return Err(Error::op("BitCast", what));
        }
        let mut program = Program::new(vec![from]);
        if from != self.to {
            program.push(Func::Bits, &[0], self.to);
        }
        Ok(program)
    }
}

impl Pointwise for BitCast {
    fn program(&self, types: &[Option<DType>]) -> Result<(Program, Vec<usize>)> {
        let types = point::operands("BitCast", types, 1)?;
        Ok((self.bits(types[0])?, vec![0]))
    }
}

impl Operator for BitCast {
    const NAMES: &'static [&'static str] = &["BitCast"];

    fn attrs(&self) -> Attrs {
        Attrs::new("BitCast").with("to", dtype_code(self.to))
    }

    fn from_attrs(_: &str, attrs: &Attrs) -> Result<Self> {
        let to = attrs.need("to")?;
        Ok(BitCast { to })
    }

    fn infer(&self, inputs: Facts<'_>) -> Result<Vec<Fact>> {
        let x = inputs.req(0)?;
        Ok(vec![facts("BitCast", &self.bits(x.dtype)?, &[x])?])
    }

    fn reference(&self, inputs: Tensors<'_>) -> Result<Vec<HostTensor>> {
        let x = inputs.req(0)?;
        Ok(vec![self.bits(x.dtype())?.reference(&[x])?])
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
        use DType::*;
        let pairs = [
            (F32, I32),
            (F32, U32),
            (I32, U32),
            (U32, I32),
            (I64, F64),
            (F64, U64),
            (I8, U8),
            (U16, I16),
            (F16, U16),
            (Bool, U8),
        ];
        let case = |(from, to): (DType, DType)| {
            let high = if from == Bool { 2 } else { 100 };
            let low = if from.is_signed() { -high } else { 0 };
            let x = samples::integers(from, &[5, 7], 9, low, high);
            Case::new(&format!("{from} as {to}"), BitCast { to }, vec![x])
        };
        let mut cases: Vec<Case> = pairs.into_iter().map(case).collect();
        let bits = samples::integers(I32, &[3, 7], 4, 0x3f00_0000, 0x4100_0000);
        cases.push(Case::new("i32 as f32", BitCast { to: F32 }, vec![bits]));
        cases
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dim::Dim;
    use crate::fact::Inputs;

    #[test]
    fn sizes_survive_integer_casts() {
        let n = Dim::symbol("n");
        let shape = Fact::of_dims(DType::I64, &[1], vec![n.clone()]);
        let infer = |to| {
            Cast { to }
                .infer(Inputs::new("", &[Some(&shape)]))
                .unwrap()
                .remove(0)
        };
        assert_eq!(infer(DType::I32).dims(), Some(vec![n]));
        assert_eq!(infer(DType::Bool).ints(), Some(vec![1]));
        assert_eq!(infer(DType::F32).dims(), None);
    }

    #[test]
    fn widths_are_checked() {
        let x = samples::of(&[1], &[1.0f32]);
        let of = |to| BitCast { to }.reference(Inputs::new("", &[Some(&x)]));
        assert_eq!(of(DType::U32).unwrap()[0].to_i64().unwrap(), [0x3f80_0000]);
        assert!(of(DType::F64).is_err());
    }
}
