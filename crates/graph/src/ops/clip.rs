//! Clip: values limited to an interval.

use crate::blocks::Blocks;
use crate::fact::{Facts, Tensors};
use crate::lower::{Lower, Place, Placing};
use crate::op::{Case, Operand, Operator};
use crate::point::{self, Pointwise, Program, facts, row};
use crate::{Attrs, Fact, Result, samples};
use tilewright_tensor::{DType, HostTensor};

/// ONNX Clip-13: Min(max, Max(input, min)); inputs 1 (min) and 2 (max) are scalars and may be left out.
#[derive(Clone, Debug)]
pub struct Clip;

impl Pointwise for Clip {
    /// The given bounds' types must be the input's.
    fn program(&self, types: &[Option<DType>]) -> Result<(Program, Vec<usize>)> {
        let given = |i: usize| types.get(i).copied().flatten();
        let operands: Vec<usize> = (0..3).filter(|&i| i == 0 || given(i).is_some()).collect();
        let x = point::operands("Clip", types, 1)?[0];
        let bounds = operands[1..].iter().filter_map(|&i| given(i));
        let mut program = Program::new([x].into_iter().chain(bounds).collect());
        let mut so_far = 0;
        for (at, &i) in operands.iter().enumerate().skip(1) {
            let step = row(if i == 1 { "Max" } else { "Min" })?;
            so_far = program.apply(step, &[], &[so_far, at])?;
        }
        Ok((program, operands))
    }
}

/// A bound with the shape of a scalar.
fn scalar(bound: &Fact) -> Fact {
    if let Some(t) = bound.constant().and_then(|t| t.reshape([]).ok()) {
        return Fact::of(t);
    }
    let fact = Fact::sized(bound.dtype, &[]);
    match (bound.dtype.is_int(), bound.range()) {
        (true, Some((low, high))) => fact.with_range(low, high),
        _ => fact,
    }
}

impl Operator for Clip {
    const NAMES: &'static [&'static str] = &["Clip"];

    fn attrs(&self) -> Attrs {
        Attrs::new("Clip")
    }

    fn from_attrs(_: &str, _: &Attrs) -> Result<Self> {
        Ok(Clip)
    }

    fn infer(&self, inputs: Facts<'_>) -> Result<Vec<Fact>> {
        let x = inputs.req(0)?;
        let bounds = [inputs.opt(1), inputs.opt(2)];
        for bound in bounds.into_iter().flatten() {
            if bound.elements().known().is_some_and(|n| n != 1) {
                return Err(inputs.error(format!("a bound must be a scalar, got {bound}")));
            }
        }
        // A bound may have one element under any rank; the output has the input's shape.
        let scalars: Vec<Fact> = bounds.into_iter().flatten().map(scalar).collect();
        let list: Vec<&Fact> = [x].into_iter().chain(&scalars).collect();
        let types = [Some(x), bounds[0], bounds[1]].map(|f| f.map(|f| f.dtype));
        let (program, _) = self.program(&types)?;
        Ok(vec![facts("Clip", &program, &list)?])
    }

    fn reference(&self, inputs: Tensors<'_>) -> Result<Vec<HostTensor>> {
        let x = inputs.req(0)?;
        let mut list = vec![x.clone()];
        for bound in [inputs.opt(1), inputs.opt(2)].into_iter().flatten() {
            list.push(bound.reshape([])?);
        }
        let types = [0, 1, 2].map(|i| inputs.opt(i).map(HostTensor::dtype));
        let (program, _) = self.program(&types)?;
        Ok(vec![program.reference_as(
            &list.iter().collect::<Vec<_>>(),
            x.shape().clone(),
        )?])
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
        let x = || samples::uniform(&[3, 13], 1);
        let f = |v: f32| Some(samples::of(&[], &[v]));
        let case =
            |name: &str, low, high| Case::with_optional(name, Clip, vec![Some(x()), low, high]);
        let i = |v: i8| Some(samples::of(&[1], &[v]));
        let ints = samples::integers(DType::I8, &[5, 5], 2, -128, 128);
        let long = samples::integers(DType::I64, &[7], 3, -1000, 1000);
        vec![
            case("both", f(-0.5), f(0.25)).constant(&[1, 2]),
            case("at run time", f(-0.5), f(0.25)),
            case("min", f(0.0), None).constant(&[1]),
            case("max", None, f(0.0)).constant(&[2]),
            case("neither", None, None),
            case("crossed", f(0.5), f(-0.5)).constant(&[1, 2]),
            Case::with_optional("i8", Clip, vec![Some(ints), i(-100), i(50)]).constant(&[1, 2]),
            Case::with_optional(
                "i64",
                Clip,
                vec![Some(long), Some(samples::of(&[], &[0i64])), None],
            )
            .constant(&[1]),
        ]
    }
}
