//! Dropout as it is in inference: nothing is dropped.

use crate::fact::{Facts, Tensors, Values};
use crate::lower::{Lower, Place, Placing, is_stored};
use crate::op::{Case, Operand, Operator};
use crate::point::{Func, Num, Program};
use crate::{Attrs, Error, Fact, Result, samples};
use tilewright_kernels::map;
use tilewright_tensor::{DType, HostTensor};

/// ONNX Dropout-22 where `training_mode` (input 2) is absent or false, or `ratio` (input 1) is 0: the input, and a mask of
/// trues. In training a random operator takes its place when the graph is differentiated.
#[derive(Clone, Debug)]
pub struct Dropout;

impl Dropout {
    fn check(
        training: Option<Vec<i64>>,
        ratio: impl FnOnce() -> Result<Option<Vec<f64>>>,
    ) -> Result<()> {
        if training.is_some_and(|t| t.iter().any(|&t| t != 0)) {
            // ONNX's default ratio is 0.5.
            let ratio = ratio()?.and_then(|r| r.first().copied()).unwrap_or(0.5);
            if ratio != 0.0 {
                return Err(Error::op(
                    "Dropout",
                    "training_mode is set: random numbers belong to a training graph",
                ));
            }
        }
        Ok(())
    }
}

impl Operator for Dropout {
    const NAMES: &'static [&'static str] = &["Dropout"];

    fn attrs(&self) -> Attrs {
        Attrs::new("Dropout")
    }

    fn from_attrs(_: &str, _: &Attrs) -> Result<Self> {
        Ok(Dropout)
    }

    fn infer(&self, inputs: Facts<'_>) -> Result<Vec<Fact>> {
        let x = inputs.req(0)?;
        Dropout::check(inputs.opt_ints(2)?, || inputs.opt_floats(1))?;
        Ok(vec![
            Fact::new(x.dtype, x.shape.clone()),
            Fact::new(DType::Bool, x.shape.clone()),
        ])
    }

    fn reference(&self, inputs: Tensors<'_>) -> Result<Vec<HostTensor>> {
        let x = inputs.req(0)?;
        Dropout::check(inputs.opt_ints(2)?, || inputs.opt_floats(1))?;
        let mask = HostTensor::from_vec(x.shape().clone(), vec![true; x.len()])?;
        Ok(vec![x.clone(), mask])
    }

    fn place(&self, cx: &Placing<'_>) -> Place {
        match cx.outputs.first() {
            Some(y) if !is_stored(y.dtype) => {
                Place::host(format!("{} has no device storage", y.dtype))
            }
            _ => Place::Device,
        }
    }

    fn lower(&self, cx: &mut Lower<'_>) -> Result<()> {
        if let (Some(y), Some(dtype)) = (cx.opt_output(0), cx.output_dtype(0)) {
            let same = Program::new(vec![dtype]).function()?;
            let x = cx.input(0)?;
            let dispatches = map(cx.caps(), &same, &[x], &y)?;
            cx.emit(dispatches);
        }
        if let Some(mask) = cx.opt_output(1) {
            let mut yes = Program::new(vec![]);
            yes.push(Func::Const(Num::I(1)), &[], DType::Bool);
            let dispatches = map(cx.caps(), &yes.function()?, &[], &mask)?;
            cx.emit(dispatches);
        }
        Ok(())
    }

    fn half(&self, _: Operand) -> bool {
        true
    }

    fn cases() -> Vec<Case> {
        let x = || samples::uniform(&[3, 5], 1);
        let (ratio, off) = (samples::of(&[], &[0.3f32]), samples::of(&[], &[false]));
        vec![
            Case::new("plain", Dropout, vec![x()]),
            Case::new("off", Dropout, vec![x(), ratio, off]).constant(&[1, 2]),
            Case::new(
                "ratio 0",
                Dropout,
                vec![x(), samples::of(&[], &[0f32]), samples::of(&[], &[true])],
            )
            .constant(&[1, 2]),
        ]
    }
}
