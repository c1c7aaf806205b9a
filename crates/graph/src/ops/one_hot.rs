//! OneHot: indices as rows with one element on.

use super::moving::place;
use crate::dim::Dim;
use crate::fact::{Facts, Tensors, axis_index};
use crate::lower::{Lower, Place, Placing};
use crate::op::{Case, Operand, Operator};
use crate::{Attrs, Error, Fact, Result, samples};
use tilewright_kernels::one_hot;
use tilewright_tensor::{DType, HostTensor};

/// ONNX OneHot-11: inputs are indices, the depth, and the values [off, on]. Indices in `-depth..depth` turn one element
/// on, others none; those that are not integers are truncated.
#[derive(Clone, Debug)]
pub struct OneHot {
    /// Where the new axis goes, counted in the output; negative counts from the end.
    pub axis: i64,
}

/// The depth that a constant holds.
fn depth(t: &HostTensor) -> Result<Option<i64>> {
    Ok(t.cast(DType::I64)?.to_i64()?.first().copied())
}

impl Operator for OneHot {
    const NAMES: &'static [&'static str] = &["OneHot"];

    fn attrs(&self) -> Attrs {
        Attrs::new("OneHot").with("axis", self.axis)
    }

    fn from_attrs(_: &str, attrs: &Attrs) -> Result<Self> {
        Ok(OneHot {
            axis: attrs.or("axis", -1)?,
        })
    }

    fn infer(&self, inputs: Facts<'_>) -> Result<Vec<Fact>> {
        let (indices, classes, values) = (inputs.req(0)?, inputs.req(1)?, inputs.req(2)?);
        let axis = axis_index("OneHot", self.axis, indices.rank() + 1)?;
        let size: Option<Dim> = match classes.constant() {
            Some(t) => depth(t)?.map(Dim::from),
            None => classes.dims().and_then(|d| d.into_iter().next()),
        };
        let (op, input) = ("OneHot", 1);
        let size = size.ok_or(Error::NeedsValue { op, input })?;
        if size.known().is_some_and(|n| n < 0) {
            return Err(inputs.error(format!("depth {size}")));
        }
        let mut shape = indices.shape.clone();
        shape.insert(axis, size);
        let fact = Fact::new(values.dtype, shape);
        Ok(vec![match values.range() {
            Some((low, high)) => fact.with_range(low, high),
            None => fact,
        }])
    }

    fn reference(&self, inputs: Tensors<'_>) -> Result<Vec<HostTensor>> {
        let (indices, classes, values) = (inputs.req(0)?, inputs.req(1)?, inputs.req(2)?);
        let axis = axis_index("OneHot", self.axis, indices.rank() + 1)?;
        let size = depth(classes)?.and_then(|n| usize::try_from(n).ok());
        let size = size.ok_or_else(|| inputs.error("needs a depth of at least 0"))?;
        let mut shape = indices.shape().to_vec();
        shape.insert(axis, size);
        let picked = indices.cast(DType::I64)?.to_i64()?;
        let inner: usize = shape[axis + 1..].iter().product();
        let outer: usize = shape[..axis].iter().product();
        let n = size as i64;
        let on =
            |at: i64, class: usize| at == class as i64 || at.checked_add(n) == Some(class as i64);
        let picked = &picked;
        let offsets = (0..outer).flat_map(|o| {
            (0..size).flat_map(move |class| {
                (0..inner).map(move |i| usize::from(on(picked[o * inner + i], class)))
            })
        });
        Ok(vec![values.select(shape, offsets)?])
    }

    fn place(&self, cx: &Placing<'_>) -> Place {
        place(cx, &[0, 2])
    }

    fn lower(&self, cx: &mut Lower<'_>) -> Result<()> {
        let (indices, values, y) = (cx.input(0)?, cx.input(2)?, cx.output(0)?);
        let axis = axis_index("OneHot", self.axis, y.shape.len())?;
        let dispatches = one_hot(cx.caps(), &indices, &values, axis, &y)?;
        cx.emit(dispatches);
        Ok(())
    }

    fn half(&self, operand: Operand) -> bool {
        operand != Operand::Input(0)
    }

    fn cases() -> Vec<Case> {
        let f = |off: f32, on: f32| samples::of(&[2], &[off, on]);
        let index = |dtype, shape: &[usize]| samples::integers(dtype, shape, 3, -7, 7);
        let case = |name: &str, axis, indices, depth, values| {
            Case::new(name, OneHot { axis }, vec![indices, depth, values]).constant(&[1])
        };
        let five = || samples::of(&[], &[5i64]);
        let i64s = || index(DType::I64, &[3, 4]);
        let floats = samples::of(&[4], &[1.9f32, -1.0, 7.0, 2.0]);
        vec![
            case("last axis", -1, i64s(), five(), f(0.0, 1.0)),
            case("first axis", 0, i64s(), five(), f(-1.0, 2.5)),
            case(
                "middle axis",
                -2,
                index(DType::I32, &[2, 3]),
                five(),
                f(0.0, 1.0),
            ),
            case("scalar", 0, samples::of(&[], &[2i64]), five(), f(0.0, 1.0)),
            case("integers", 1, i64s(), five(), samples::ints(&[3, 9])),
            case(
                "booleans",
                -1,
                i64s(),
                five(),
                samples::of(&[2], &[false, true]),
            ),
            case(
                "float indices",
                -1,
                floats,
                samples::of(&[1], &[4f32]),
                f(0.0, 1.0),
            ),
            case(
                "f64 values",
                -1,
                i64s(),
                five(),
                samples::of(&[2], &[0.5f64, 1.5]),
            ),
            case(
                "no classes",
                -1,
                i64s(),
                samples::of(&[], &[0i64]),
                f(0.0, 1.0),
            ),
            case(
                "u8 indices",
                -1,
                samples::of(&[3], &[1u8, 0, 4]),
                five(),
                f(0.0, 1.0),
            ),
            case("run-time depth", -1, i64s(), five(), f(0.0, 1.0)).constant(&[]),
        ]
    }
}
