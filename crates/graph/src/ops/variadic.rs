//! Min, Max, Sum and Mean of any number of tensors.

use crate::blocks::Blocks;
use crate::fact::{Facts, Tensors};
use crate::lower::{Lower, Place, Placing};
use crate::op::{Case, Operator};
use crate::point::{self, Func, Num, Pointwise, Program, facts, row};
use crate::{Attrs, Error, Fact, Result, samples};
use tilewright_kernels::{View, map, map_inputs};
use tilewright_tensor::{DType, HostTensor};

const NAMES: &[&str] = &["Min", "Max", "Sum", "Mean"];

/// ONNX Min-13, Max-13 (numbers; NaN wins), Sum-13, Mean-13 (floats): element by element over all inputs, which broadcast.
#[derive(Clone, Debug)]
pub struct Variadic {
    name: &'static str,
}

impl Variadic {
    /// The operator called `name`, one of `NAMES`; an error for another name.
    pub fn new(name: &str) -> Result<Variadic> {
        let found = NAMES.iter().find(|n| **n == name);
        found
            .map(|name| Variadic { name })
            .ok_or_else(|| Error::UnknownOp { name: name.into() })
    }

    /// Whether this adds, rather than chooses.
    fn sums(&self) -> bool {
        matches!(self.name, "Sum" | "Mean")
    }

    /// One step after another; a mean divides by `count` at the end.
    fn steps(&self, operands: &[DType], count: Option<usize>) -> Result<Program> {
        let Some(&dtype) = operands.first() else {
            return Err(Error::op(self.name, "needs at least one input"));
        };
        if operands.iter().any(|d| *d != dtype)
            || dtype == DType::Bool
            || (self.sums() && !dtype.is_float())
        {
            return Err(Error::op(
                self.name,
                format!("cannot take inputs of {operands:?}"),
            ));
        }
        let step = row(if self.sums() { "Add" } else { self.name })?;
        // Sums of narrow floats are made in f32, so that they are rounded once.
        let inner = if self.sums() && dtype != DType::F64 {
            DType::F32
        } else {
            dtype
        };
        let mut program = Program::new(operands.to_vec());
        let mut so_far = program.cast(0, inner);
        for i in 1..operands.len() {
            let next = program.cast(i, inner);
            so_far = program.apply(step, &[], &[so_far, next])?;
        }
        if let ("Mean", Some(count)) = (self.name, count) {
            let count = program.push(Func::Const(Num::F(count as f64)), &[], inner);
            so_far = program.apply(row("Div")?, &[], &[so_far, count])?;
        }
        program.cast(so_far, dtype);
        Ok(program)
    }
}

impl Pointwise for Variadic {
    fn program(&self, types: &[Option<DType>]) -> Result<(Program, Vec<usize>)> {
        let types = point::operands(self.name, types, types.len())?;
        Ok((
            self.steps(&types, Some(types.len()))?,
            (0..types.len()).collect(),
        ))
    }
}

impl Operator for Variadic {
    const NAMES: &'static [&'static str] = NAMES;

    fn name(&self) -> &'static str {
        self.name
    }

    fn attrs(&self) -> Attrs {
        Attrs::new(self.name)
    }

    fn from_attrs(name: &str, _: &Attrs) -> Result<Self> {
        Variadic::new(name)
    }

    fn infer(&self, inputs: Facts<'_>) -> Result<Vec<Fact>> {
        let list = inputs.all()?;
        let types: Vec<_> = list.iter().map(|f| Some(f.dtype)).collect();
        Ok(vec![facts(self.name, &self.program(&types)?.0, &list)?])
    }

    fn reference(&self, inputs: Tensors<'_>) -> Result<Vec<HostTensor>> {
        let list = inputs.all()?;
        let types: Vec<_> = list.iter().map(|t| Some(t.dtype())).collect();
        Ok(vec![self.program(&types)?.0.reference(&list)?])
    }

    fn place(&self, cx: &Placing<'_>) -> Place {
        point::place(self, cx)
    }

    /// As many inputs at once as the adapter can bind; what they give goes on with the next ones.
    fn blocks(&self, cx: &Placing<'_>) -> Blocks {
        Blocks::pointwise(cx.outputs)
    }

    fn lower(&self, cx: &mut Lower<'_>) -> Result<()> {
        let most = map_inputs(cx.caps()).max(2);
        let count = cx.input_count();
        let mut list = (0..count)
            .map(|i| cx.input(i))
            .collect::<Result<Vec<View>>>()?;
        let out = cx.output(0)?;
        let dtype = cx.output_dtype(0).unwrap_or(DType::F32);
        while list.len() > most {
            let rest = list.split_off(most);
            let function = self.steps(&vec![dtype; most], None)?.function()?;
            let part = cx.scratch(out.store, out.shape.clone());
            let dispatches = map(cx.caps(), &function, &list, &part)?;
            cx.emit(dispatches);
            list = [part].into_iter().chain(rest).collect();
        }
        let function = self
            .steps(&vec![dtype; list.len()], Some(count))?
            .function()?;
        let dispatches = map(cx.caps(), &function, &list, &out)?;
        cx.emit(dispatches);
        Ok(())
    }

    fn cases() -> Vec<Case> {
        let mut cases = vec![];
        for name in NAMES {
            let op = || Variadic { name };
            let x = |shape: &[usize], seed| samples::uniform(shape, seed);
            cases.push(Case::new("one", op(), vec![x(&[5], 1)]));
            cases.push(Case::new("two", op(), vec![x(&[3, 5], 1), x(&[5], 2)]));
            let three = vec![x(&[3, 1], 1), x(&[2, 1, 4], 2), x(&[1], 3)];
            cases.push(Case::new("three that broadcast", op(), three));
            let many = (0..9).map(|i| x(&[2, 7], i)).collect();
            cases.push(Case::new("nine", op(), many));
        }
        for (name, dtype) in [
            ("Min", DType::I8),
            ("Max", DType::U8),
            ("Min", DType::I64),
            ("Max", DType::I32),
        ] {
            let (low, high) = if dtype == DType::U8 {
                (0, 200)
            } else {
                (-100, 100)
            };
            let inputs = (0..3)
                .map(|i| samples::integers(dtype, &[4, 9], i, low, high))
                .collect();
            cases.push(Case::new(dtype.name(), Variadic { name }, inputs));
        }
        cases
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fact::Inputs;

    #[test]
    fn nan_wins_and_sums_are_rounded_once() {
        let of = |name: &str, list: &[HostTensor]| {
            let list: Vec<_> = list.iter().map(Some).collect();
            let op = Variadic::new(name).unwrap();
            op.reference(Inputs::new("", &list)).unwrap()[0].to_f64()
        };
        let nan = samples::of(&[2], &[f32::NAN, 1.0]);
        let one = samples::of(&[2], &[1.0f32, f32::NAN]);
        for name in ["Min", "Max"] {
            assert!(
                of(name, &[nan.clone(), one.clone()])
                    .iter()
                    .all(|v| v.is_nan())
            );
        }
        let big = HostTensor::from_f64(DType::F16, [1], vec![60000.0]).unwrap();
        assert_eq!(of("Mean", &[big.clone(), big]), [60000.0]);
        assert!(
            Variadic::new("Sum")
                .unwrap()
                .program(&[Some(DType::I32)])
                .is_err()
        );
        assert!(Variadic::new("Min").unwrap().program(&[]).is_err());
    }
}
