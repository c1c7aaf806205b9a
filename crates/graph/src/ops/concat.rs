//! Concat: tensors one after another along an axis.

use super::moving::{place, same_dtype, same_size};
use crate::blocks::Blocks;
use crate::fact::{Facts, Tensors, axis_index};
use crate::lower::{Lower, Place, Placing};
use crate::op::{Case, Operand, Operator};
use crate::{Attrs, Error, Fact, Result, samples};
use tilewright_kernels::{Region, Strides, copy};
use tilewright_tensor::{DType, HostTensor};

/// ONNX Concat-13.
#[derive(Clone, Debug)]
pub struct Concat {
    /// The axis along which sizes add up; negative counts from the end.
    pub axis: i64,
}

impl Operator for Concat {
    const NAMES: &'static [&'static str] = &["Concat"];

    fn attrs(&self) -> Attrs {
        Attrs::new("Concat").with("axis", self.axis)
    }

    fn from_attrs(_: &str, attrs: &Attrs) -> Result<Self> {
        Ok(Concat {
            axis: attrs.need("axis")?,
        })
    }

    fn infer(&self, inputs: Facts<'_>) -> Result<Vec<Fact>> {
        let all = inputs.all()?;
        let first = inputs.req(0)?;
        let axis = axis_index("Concat", self.axis, first.rank())?;
        let mut shape = first.shape.clone();
        let mut range = first.range();
        for next in &all[1..] {
            same_dtype("Concat", first, next)?;
            if next.rank() != shape.len() {
                let what = format!("cannot join {first} and {next}");
                return Err(Error::op("Concat", what));
            }
            for (i, (have, add)) in shape.iter_mut().zip(&next.shape).enumerate() {
                *have = if i == axis {
                    have.clone() + add.clone()
                } else {
                    same_size("Concat", have, add)?
                };
            }
            range = range
                .zip(next.range())
                .map(|((a, b), (c, d))| (a.min(c), b.max(d)));
        }
        let fact = Fact::new(first.dtype, shape);
        Ok(vec![match range {
            Some((low, high)) => fact.with_range(low, high),
            None => fact,
        }])
    }

    fn reference(&self, inputs: Tensors<'_>) -> Result<Vec<HostTensor>> {
        let all = inputs.all()?;
        let first = inputs.req(0)?;
        let axis = axis_index("Concat", self.axis, first.rank())?;
        let mut shape = first.shape().to_vec();
        shape[axis] = 0;
        for next in &all {
            if next.rank() != shape.len() {
                return Err(inputs.error("the inputs differ in rank"));
            }
            shape[axis] += next.shape()[axis];
        }
        let mut out = HostTensor::zeros(first.dtype(), shape)?;
        let strides = out.shape().strides();
        let mut at = 0;
        for next in all {
            let start = at * strides[axis] as usize;
            let offsets = next.shape().offsets([&strides]).starting_at([start]);
            out.place(next, offsets.flatten())?;
            at += next.shape()[axis];
        }
        Ok(vec![out])
    }

    fn place(&self, cx: &Placing<'_>) -> Place {
        place(cx, &(0..cx.inputs.len()).collect::<Vec<_>>())
    }

    fn lower(&self, cx: &mut Lower<'_>) -> Result<()> {
        let y = cx.output(0)?;
        let axis = axis_index("Concat", self.axis, y.shape.len())?;
        let to = Strides::of(&y.shape);
        let mut at = 0;
        for i in 0..cx.input_count() {
            let x = cx.input(i)?;
            let region = Region {
                shape: x.shape.clone(),
                from: Strides::of(&x.shape),
                to: to.clone().at(at * to.by[axis] as usize),
            };
            let dispatches = copy(cx.caps(), &x, &y, &region)?;
            cx.emit(dispatches);
            at += x.shape[axis];
        }
        Ok(())
    }

    fn moves(&self, _: usize) -> bool {
        true
    }

    fn blocks(&self, cx: &Placing<'_>) -> Blocks {
        Blocks::copies(cx)
    }

    fn half(&self, _: Operand) -> bool {
        true
    }

    fn cases() -> Vec<Case> {
        let case = |name: &str, axis, shapes: &[&[usize]]| {
            let inputs = (shapes.iter().zip(1..)).map(|(s, seed)| samples::uniform(s, seed));
            Case::new(name, Concat { axis }, inputs.collect())
        };
        let many: Vec<[usize; 2]> = (0..11).map(|i| [2, i % 4]).collect();
        let many: Vec<&[usize]> = many.iter().map(|s| &s[..]).collect();
        let mut cases = vec![
            case("outer", 0, &[&[2, 3], &[4, 3]]),
            case("inner", -1, &[&[2, 3], &[2, 5], &[2, 1]]),
            case("inner by fours", 1, &[&[3, 8], &[3, 4], &[3, 12]]),
            case("middle", 1, &[&[2, 3, 4], &[2, 5, 4]]),
            case("one", 0, &[&[2, 3]]),
            case("eleven, some empty", 1, &many),
        ];
        for dtype in [DType::I64, DType::Bool, DType::F16, DType::F64] {
            let x = |seed| samples::integers(dtype, &[2, 3], seed, 0, 2);
            cases.push(Case::new(
                dtype.name(),
                Concat { axis: 0 },
                vec![x(1), x(2)],
            ));
        }
        cases
    }
}
