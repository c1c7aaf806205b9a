//! GatherElements: one element picked by index along an axis, for each index.

use super::moving::{element, moved, place};
use crate::fact::{Facts, Tensors, Values, axis_index};
use crate::lower::{Lower, Place, Placing};
use crate::op::{Case, Operand, Operator};
use crate::{Attrs, Fact, Result, samples};
use tilewright_kernels::gather_elements;
use tilewright_tensor::{DType, HostTensor};

/// ONNX GatherElements-13: `out[i, j, ..] = data[i, indices[i, j, ..], ..]` for axis 1, shaped like the indices. Negative
/// indices count from the end; those outside are an error on the host and are moved to the nearest element on the device.
#[derive(Clone, Debug)]
pub struct GatherElements {
    /// The axis that indices count in; negative counts from the end.
    pub axis: i64,
}

/// For each of `indices`, the offset of the element of a tensor of `shape` that it names along `axis`; its place along the
/// other axes is its own.
pub(super) fn element_offsets(
    op: &str,
    shape: &tilewright_tensor::Shape,
    indices: &HostTensor,
    axis: i64,
) -> Result<Vec<usize>> {
    let axis = axis_index(op, axis, shape.rank())?;
    let fits = |(i, (&n, &have)): (usize, (&usize, &usize))| i == axis || n <= have;
    let sizes = indices.shape().iter().zip(&shape[..]);
    if indices.rank() != shape.rank() || !sizes.enumerate().all(fits) {
        let what = format!("indices of shape {} for shape {shape}", indices.shape());
        return Err(crate::Error::op(op, what));
    }
    let mut steps = shape.strides();
    let along = steps[axis] as usize;
    steps[axis] = 0;
    (indices.shape().offsets([&steps]).flatten())
        .zip(indices.to_i64()?)
        .map(|(offset, i)| Ok(offset + element(op, i, shape[axis])? * along))
        .collect()
}

impl Operator for GatherElements {
    const NAMES: &'static [&'static str] = &["GatherElements"];

    fn attrs(&self) -> Attrs {
        Attrs::new("GatherElements").with("axis", self.axis)
    }

    fn from_attrs(_: &str, attrs: &Attrs) -> Result<Self> {
        Ok(GatherElements {
            axis: attrs.or("axis", 0)?,
        })
    }

    fn infer(&self, inputs: Facts<'_>) -> Result<Vec<Fact>> {
        let (data, indices) = (inputs.req(0)?, inputs.req(1)?);
        axis_index("GatherElements", self.axis, data.rank())?;
        if data.rank() != indices.rank() {
            return Err(inputs.error(format!("{data} and {indices} differ in rank")));
        }
        Ok(vec![moved(data, indices.shape.clone())])
    }

    fn reference(&self, inputs: Tensors<'_>) -> Result<Vec<HostTensor>> {
        let (data, indices) = (inputs.req(0)?, inputs.req(1)?);
        inputs.ints(1)?;
        let offsets = element_offsets("GatherElements", data.shape(), indices, self.axis)?;
        Ok(vec![data.select(indices.shape(), offsets)?])
    }

    fn place(&self, cx: &Placing<'_>) -> Place {
        place(cx, &[0, 1])
    }

    fn lower(&self, cx: &mut Lower<'_>) -> Result<()> {
        let (data, indices, y) = (cx.input(0)?, cx.input(1)?, cx.output(0)?);
        let axis = axis_index("GatherElements", self.axis, data.shape.len())?;
        let dispatches = gather_elements(cx.caps(), &data, &indices, axis, &y)?;
        cx.emit(dispatches);
        Ok(())
    }

    fn moves(&self, input: usize) -> bool {
        input == 0
    }

    fn half(&self, _: Operand) -> bool {
        true
    }

    fn cases() -> Vec<Case> {
        let index = |dtype, shape: &[usize], n: i64| samples::integers(dtype, shape, 7, -n, n);
        let case = |name: &str, axis, data: HostTensor, indices: HostTensor| {
            Case::new(name, GatherElements { axis }, vec![data, indices])
        };
        let x = |shape: &[usize]| samples::uniform(shape, 1);
        let ints = samples::integers(DType::I64, &[4, 3], 1, -9, 9);
        vec![
            case("rows", 0, x(&[5, 4]), index(DType::I64, &[3, 4], 5)),
            case("columns", -1, x(&[3, 7]), index(DType::I32, &[3, 9], 7)),
            case("fewer", 1, x(&[3, 4, 5]), index(DType::I64, &[2, 6, 3], 4)),
            case("integers", 0, ints, index(DType::I64, &[4, 3], 4)),
            case(
                "booleans",
                0,
                samples::booleans(&[6], 1),
                index(DType::I64, &[3], 6),
            ),
            case(
                "f64",
                0,
                x(&[3]).cast(DType::F64).unwrap_or(x(&[3])),
                index(DType::I64, &[2], 3),
            ),
            case("nothing", 0, x(&[3, 2]), index(DType::I64, &[0, 2], 3)),
        ]
    }
}
