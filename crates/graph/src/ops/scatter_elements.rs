//! ScatterElements: elements written by index along an axis.

use super::gather_elements::element_offsets;
use super::moving::{same_dtype, same_size};
use super::scatter::{from_attrs, placed, reduction, result, scattered, scratch};
use crate::fact::{Facts, Tensors, Values, axis_index};
use crate::lower::{Lower, Place, Placing};
use crate::op::{Case, Operand, Operator};
use crate::{Attrs, Fact, Result, samples};
use tilewright_kernels::{Combine, scatter_elements};
use tilewright_tensor::{DType, HostTensor};

/// ONNX ScatterElements-18: a copy of the data with `out[i, indices[i, j, ..], ..] = updates[i, j, ..]` for axis 1. Negative
/// indices count from the end; those outside are an error on the host and are left out on the device.
#[derive(Clone, Debug)]
pub struct ScatterElements {
    /// The axis that indices count in; negative counts from the end.
    pub axis: i64,
    /// How updates meet what is there.
    pub combine: Combine,
}

impl Operator for ScatterElements {
    const NAMES: &'static [&'static str] = &["ScatterElements"];

    fn attrs(&self) -> Attrs {
        Attrs::new("ScatterElements")
            .with("axis", self.axis)
            .with("reduction", reduction(self.combine))
    }

    fn from_attrs(_: &str, attrs: &Attrs) -> Result<Self> {
        Ok(ScatterElements {
            axis: attrs.or("axis", 0)?,
            combine: from_attrs(attrs)?,
        })
    }

    fn infer(&self, inputs: Facts<'_>) -> Result<Vec<Fact>> {
        let (data, indices, updates) = (inputs.req(0)?, inputs.req(1)?, inputs.req(2)?);
        axis_index("ScatterElements", self.axis, data.rank())?;
        same_dtype("ScatterElements", data, updates)?;
        if data.rank() != indices.rank() || updates.rank() != indices.rank() {
            return Err(inputs.error(format!("{data}, {indices} and {updates} differ in rank")));
        }
        for (a, b) in indices.shape.iter().zip(&updates.shape) {
            same_size("ScatterElements", a, b)?;
        }
        Ok(vec![result(self.combine, data, updates)])
    }

    fn reference(&self, inputs: Tensors<'_>) -> Result<Vec<HostTensor>> {
        let (data, indices, updates) = (inputs.req(0)?, inputs.req(1)?, inputs.req(2)?);
        inputs.ints(1)?;
        let offsets = element_offsets("ScatterElements", data.shape(), indices, self.axis)?;
        Ok(vec![scattered(data, updates, &offsets, self.combine)?])
    }

    fn place(&self, cx: &Placing<'_>) -> Place {
        placed(self.combine, cx)
    }

    fn lower(&self, cx: &mut Lower<'_>) -> Result<()> {
        let (data, indices, updates) = (cx.input(0)?, cx.input(1)?, cx.input(2)?);
        let axis = axis_index("ScatterElements", self.axis, data.shape.len())?;
        let scratch = scratch(cx, self.combine, data.elements(), indices.elements());
        let (views, y) = ([&data, &indices, &updates], cx.output(0)?);
        let dispatches =
            scatter_elements(cx.caps(), views, axis, self.combine, scratch.as_ref(), &y)?;
        cx.emit(dispatches);
        Ok(())
    }

    fn moves(&self, input: usize) -> bool {
        input != 1 && self.combine == Combine::Replace
    }

    fn half(&self, _: Operand) -> bool {
        self.combine == Combine::Replace
    }

    fn cases() -> Vec<Case> {
        let case = |name: &str, axis, combine, [x, i, u]: [HostTensor; 3]| {
            let op = ScatterElements { axis, combine };
            Case::new(name, op, vec![x, i, u])
        };
        let tensors = |dtype, x: &[usize], u: &[usize], axis: usize| {
            let n = x[axis] as i64;
            [
                samples::integers(dtype, x, 1, 0, 9),
                samples::integers(DType::I64, u, 2, -n, n),
                samples::integers(dtype, u, 3, 1, 9),
            ]
        };
        let distinct = |axis: usize| {
            let i = [[4i64, 0, -2], [-4, 2, 1]];
            let i = if axis == 0 {
                samples::of(&[2, 3], &i.concat())
            } else {
                samples::of(&[3, 2], &[4i64, -4, 0, 2, -2, 1])
            };
            let shape = if axis == 0 { [5, 3] } else { [3, 5] };
            let u = samples::uniform(i.shape(), 3);
            [samples::uniform(&shape, 1), i, u]
        };
        let f = DType::F32;
        let mut cases = vec![
            case("rows", 0, Combine::Replace, distinct(0)),
            case("columns", -1, Combine::Replace, distinct(1)),
            case("sum", 0, Combine::Add, tensors(f, &[4, 5], &[9, 5], 0)),
            case(
                "sum of many",
                1,
                Combine::Add,
                tensors(f, &[3, 7, 2], &[3, 40, 2], 1),
            ),
            case("product", 1, Combine::Mul, tensors(f, &[3, 7], &[2, 9], 1)),
            case("least", 0, Combine::Min, tensors(f, &[4, 3], &[6, 2], 0)),
            case("largest", 0, Combine::Max, tensors(f, &[4, 3], &[6, 2], 0)),
            case("nothing", 0, Combine::Add, tensors(f, &[4, 3], &[0, 3], 0)),
        ];
        for dtype in [DType::I32, DType::I64, DType::U8, DType::Bool, DType::F64] {
            let inputs = tensors(dtype, &[5, 4], &[7, 4], 0);
            cases.push(case(dtype.name(), 0, Combine::Add, inputs.clone()));
            cases.push(case(dtype.name(), 0, Combine::Max, inputs));
        }
        cases
    }
}
