//! Map: several pointwise operators as one, made by fusion.

use crate::blocks::Blocks;
use crate::fact::{Facts, Tensors};
use crate::lower::{Lower, Place, Placing};
use crate::op::{Case, Operand, Operator};
use crate::point::{self, Pointwise, Program, facts};
use crate::{Attrs, Error, Fact, Result, samples};
use tilewright_tensor::{DType, HostTensor};

/// A program of pointwise functions over inputs that broadcast; see [`crate::passes`].
///
/// Its attributes are text: `inputs` holds the types, `code` the instructions, such as
/// `Add f32 %0 %1; LeakyRelu(0.1) f32 %2`: function, type of the result, operands (inputs come first in the numbering).
#[derive(Clone, Debug)]
pub struct Map {
    program: Program,
}

impl Map {
    pub(crate) fn new(program: Program) -> Map {
        Map { program }
    }

    fn check<T>(&self, inputs: &[T]) -> Result<()> {
        if inputs.len() != self.program.inputs.len() {
            let what = format!(
                "needs {} inputs, got {}",
                self.program.inputs.len(),
                inputs.len()
            );
            return Err(Error::op("Map", what));
        }
        Ok(())
    }
}

impl Pointwise for Map {
    fn program(&self, types: &[Option<DType>]) -> Result<(Program, Vec<usize>)> {
        self.check(types)?;
        Ok((self.program.clone(), (0..types.len()).collect()))
    }
}

impl Operator for Map {
    const NAMES: &'static [&'static str] = &["Map"];

    fn attrs(&self) -> Attrs {
        Attrs::new("Map")
            .with("inputs", self.program.inputs_text())
            .with("code", self.program.to_string())
    }

    fn from_attrs(_: &str, attrs: &Attrs) -> Result<Self> {
        let (inputs, code): (String, String) = (attrs.need("inputs")?, attrs.need("code")?);
        Ok(Map {
            program: Program::parse(&inputs, &code)?,
        })
    }

    fn infer(&self, inputs: Facts<'_>) -> Result<Vec<Fact>> {
        let list = inputs.all()?;
        self.check(&list)?;
        for (fact, dtype) in list.iter().zip(&self.program.inputs) {
            if fact.dtype != *dtype {
                return Err(inputs.error(format!("expected {dtype}, got {fact}")));
            }
        }
        Ok(vec![facts("Map", &self.program, &list)?])
    }

    fn reference(&self, inputs: Tensors<'_>) -> Result<Vec<HostTensor>> {
        let list = inputs.all()?;
        self.check(&list)?;
        Ok(vec![self.program.reference(&list)?])
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
        let map =
            |inputs: &str, code: &str| Program::parse(inputs, code).map(|program| Map { program });
        let x = |shape: &[usize], seed| samples::uniform(shape, seed);
        let mut cases = vec![];
        let mut case = |name: &str, inputs: &str, code: &str, with: Vec<HostTensor>| {
            cases.extend(map(inputs, code).map(|op| Case::new(name, op, with)));
        };
        case(
            "bias, gelu, residual",
            "f32 f32 f32",
            "Add f32 %0 %1; Gelu(0) f32 %3; Add f32 %4 %2",
            vec![x(&[3, 5, 8], 1), x(&[8], 2), x(&[3, 5, 8], 3)],
        );
        case(
            "mask",
            "f32 bool",
            "const(-inf) f32; const(0.125) f32; Mul f32 %0 %3; Where f32 %1 %4 %2",
            vec![x(&[2, 3, 5, 7], 4), samples::booleans(&[5, 7], 5)],
        );
        case(
            "types",
            "i32 f32",
            "cast f32 %0; Mul f32 %2 %1; Floor f32 %3; cast i32 %4; Add i32 %5 %0; Less bool %6 %0; cast f32 %7",
            vec![
                samples::integers(DType::I32, &[4, 9], 6, -50, 50),
                x(&[4, 9], 7),
            ],
        );
        case(
            "many inputs",
            "f32 f32 f32 f32 f32 f32",
            "Mul f32 %0 %1; Sub f32 %6 %2; Div f32 %7 %3; Mul f32 %8 %4; Add f32 %9 %5; Tanh f32 %10",
            vec![
                x(&[2, 4, 6], 1),
                x(&[6], 2),
                x(&[4, 1], 3),
                samples::between(&[], 4, 1.0, 2.0),
                x(&[2, 1, 1], 5),
                x(&[1, 4, 6], 6),
            ],
        );
        cases
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_case_is_a_program() {
        assert_eq!(Map::cases().len(), 4);
    }
}
