//! Split: ranges of an axis as tensors of their own.

use super::moving::{emit_copy, moved, place};
use crate::blocks::Blocks;
use crate::dim::Dim;
use crate::fact::{Facts, Tensors, Values, axis_index};
use crate::lower::{Lower, Place, Placing};
use crate::op::{Case, Operand, Operator};
use crate::{Attrs, Error, Fact, Result, samples};
use tilewright_kernels::Strides;
use tilewright_tensor::{DType, HostTensor, Shape};

/// ONNX Split-18: input 1 holds the sizes of the parts; without it there are `num_outputs` equal ones, the last of which
/// may be smaller (and further ones empty where the axis is too short).
#[derive(Clone, Debug)]
pub struct Split {
    /// The axis that is split; negative counts from the end.
    pub axis: i64,
    /// The number of parts where input 1 is left out.
    pub num_outputs: Option<i64>,
}

/// More outputs than a node can reasonably name.
const MOST: i64 = 1 << 13;

impl Split {
    /// The sizes of the parts of an axis of `n` elements.
    fn sizes(&self, n: &Dim, given: Option<Vec<Dim>>) -> Result<Vec<Dim>> {
        if let Some(given) = given {
            let sum = given.iter().cloned().fold(Dim::from(0i64), |a, b| a + b);
            let differs = (sum.known().zip(n.known())).is_some_and(|(a, b)| a != b);
            if differs || given.iter().any(|d| d.known().is_some_and(|n| n < 0)) {
                let what = format!("an axis of {n} elements cannot be split into {given:?}");
                return Err(Error::op("Split", what));
            }
            return Ok(given);
        }
        let Some(parts) = self.num_outputs.filter(|k| (1..=MOST).contains(k)) else {
            let what = format!(
                "needs sizes or num_outputs within 1 and {MOST}, got {:?}",
                self.num_outputs
            );
            return Err(Error::op("Split", what));
        };
        let size = n.ceil_div(&parts.into());
        let part = |i: i64| {
            let left = n.clone() - size.clone() * i.into();
            left.smaller(&size).larger(&0i64.into())
        };
        // A part is only smaller where the axis does not divide evenly.
        if n.modulo(&parts.into()).known() == Some(0) {
            return Ok(vec![size; parts as usize]);
        }
        Ok((0..parts).map(part).collect())
    }
}

impl Operator for Split {
    const NAMES: &'static [&'static str] = &["Split"];

    fn attrs(&self) -> Attrs {
        Attrs::new("Split")
            .with("axis", self.axis)
            .with_opt("num_outputs", self.num_outputs)
    }

    fn from_attrs(_: &str, attrs: &Attrs) -> Result<Self> {
        Ok(Split {
            axis: attrs.or("axis", 0)?,
            num_outputs: attrs.opt("num_outputs")?,
        })
    }

    fn infer(&self, inputs: Facts<'_>) -> Result<Vec<Fact>> {
        let data = inputs.req(0)?;
        let axis = axis_index("Split", self.axis, data.rank())?;
        let sizes = self.sizes(&data.shape[axis], inputs.opt_dims(1)?)?;
        let part = |size| {
            let mut shape = data.shape.clone();
            shape[axis] = size;
            moved(data, shape)
        };
        Ok(sizes.into_iter().map(part).collect())
    }

    fn reference(&self, inputs: Tensors<'_>) -> Result<Vec<HostTensor>> {
        let data = inputs.req(0)?;
        let axis = axis_index("Split", self.axis, data.rank())?;
        let given = inputs.opt_ints(1)?;
        let given = given.map(|v| v.into_iter().map(Dim::from).collect());
        let sizes = self.sizes(&data.shape()[axis].into(), given)?;
        let strides = data.shape().strides();
        let mut at = 0;
        let mut out = Vec::with_capacity(sizes.len());
        for size in super::moving::sizes(&sizes)? {
            let mut shape = data.shape().to_vec();
            shape[axis] = size;
            let shape = Shape::new(shape);
            let offsets = shape.offsets([&strides]);
            let start = at * strides[axis] as usize;
            out.push(data.select(&shape, offsets.starting_at([start]).flatten())?);
            at += size;
        }
        Ok(out)
    }

    fn place(&self, cx: &Placing<'_>) -> Place {
        place(cx, &[0])
    }

    fn lower(&self, cx: &mut Lower<'_>) -> Result<()> {
        let x = cx.input(0)?;
        let axis = axis_index("Split", self.axis, x.shape.len())?;
        let from = Strides::of(&x.shape);
        let given = cx.opt_ints(1)?;
        let given = given.map(|v| v.into_iter().map(Dim::from).collect());
        let mut at = 0;
        for (i, size) in super::moving::sizes(&self.sizes(&x.shape[axis].into(), given)?)?
            .into_iter()
            .enumerate()
        {
            if let Some(y) = cx.opt_output(i) {
                let part = from.clone().at(at * from.by[axis] as usize);
                emit_copy(cx, &x, part, &y)?;
            }
            at += size;
        }
        Ok(())
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
        let equal = |name: &str, shape: &[usize], axis, parts| {
            let num_outputs = Some(parts);
            let op = Split { axis, num_outputs };
            Case::new(name, op, vec![samples::uniform(shape, 1)])
        };
        let given = |name: &str, x: HostTensor, axis, sizes: &[i64]| {
            let num_outputs = None;
            let op = Split { axis, num_outputs };
            Case::new(name, op, vec![x, samples::ints(sizes)]).constant(&[1])
        };
        let x = || samples::uniform(&[3, 9, 2], 1);
        vec![
            equal("equal", &[2, 12], 1, 3),
            equal("smaller last", &[7, 3], 0, 4),
            equal("empty last", &[5, 2], 0, 4),
            given("sizes", x(), -2, &[2, 0, 7]),
            given("outer", samples::uniform(&[6, 4], 1), 0, &[1, 5]),
            given(
                "integers",
                samples::integers(DType::I64, &[2, 8], 1, -9, 9),
                1,
                &[4, 4],
            ),
            given("booleans", samples::booleans(&[2, 5], 1), 1, &[4, 1]),
            Case::new(
                "run-time sizes",
                Split {
                    axis: 1,
                    num_outputs: None,
                },
                vec![x(), samples::ints(&[4, 5])],
            ),
        ]
    }
}
