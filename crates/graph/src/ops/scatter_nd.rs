//! ScatterND: slices written by tuples of indices.

use super::gather_nd::slice_offsets;
use super::moving::{same_dtype, same_size};
use super::scatter::{from_attrs, placed, reduction, result, scattered, scratch};
use crate::fact::{Facts, Tensors, Values};
use crate::lower::{Lower, Place, Placing};
use crate::op::{Case, Operand, Operator};
use crate::{Attrs, Error, Fact, Result, samples};
use tilewright_kernels::{Combine, scatter_nd};
use tilewright_tensor::{DType, HostTensor};

/// ONNX ScatterND-18: a copy of the data in which the slice that each tuple in the last axis of the indices names is combined
/// with an update. Negative indices count from the end; tuples outside are an error on the host and are left out on the
/// device.
#[derive(Clone, Debug)]
pub struct ScatterND {
    /// How updates meet what is there.
    pub combine: Combine,
}

impl Operator for ScatterND {
    const NAMES: &'static [&'static str] = &["ScatterND"];

    fn attrs(&self) -> Attrs {
        Attrs::new("ScatterND").with("reduction", reduction(self.combine))
    }

    fn from_attrs(_: &str, attrs: &Attrs) -> Result<Self> {
        Ok(ScatterND {
            combine: from_attrs(attrs)?,
        })
    }

    fn infer(&self, inputs: Facts<'_>) -> Result<Vec<Fact>> {
        let (data, indices, updates) = (inputs.req(0)?, inputs.req(1)?, inputs.req(2)?);
        same_dtype("ScatterND", data, updates)?;
        let Some((tuple, tuples)) = indices.shape.split_last() else {
            return Err(inputs.error("indices must have an axis"));
        };
        let (op, input) = ("ScatterND", 1);
        let tuple = tuple.known().ok_or(Error::NeedsValue { op, input })?;
        let slice = usize::try_from(tuple).ok();
        let slice = slice.and_then(|t| data.shape.get(t..)).unwrap_or(&[]);
        let expected = [tuples, slice].concat();
        if tuple > data.rank() as i64 || updates.rank() != expected.len() {
            let what = format!("tuples of {tuple} indices and {updates} for {data}");
            return Err(inputs.error(what));
        }
        for (a, b) in expected.iter().zip(&updates.shape) {
            same_size("ScatterND", a, b)?;
        }
        Ok(vec![result(self.combine, data, updates)])
    }

    fn reference(&self, inputs: Tensors<'_>) -> Result<Vec<HostTensor>> {
        let (data, indices, updates) = (inputs.req(0)?, inputs.req(1)?, inputs.req(2)?);
        inputs.ints(1)?;
        let starts = slice_offsets("ScatterND", data.shape(), indices, 0)?;
        let tuple = *indices.shape().last().unwrap_or(&0);
        let inner: usize = data.shape()[tuple..].iter().product();
        let offsets: Vec<usize> = starts.into_iter().flat_map(|s| s..s + inner).collect();
        Ok(vec![scattered(data, updates, &offsets, self.combine)?])
    }

    fn place(&self, cx: &Placing<'_>) -> Place {
        placed(self.combine, cx)
    }

    fn lower(&self, cx: &mut Lower<'_>) -> Result<()> {
        let (data, indices, updates) = (cx.input(0)?, cx.input(1)?, cx.input(2)?);
        let (tuple, tuples) = indices.shape.split_last().unwrap_or((&0, &[]));
        let places = data.shape.iter().take(*tuple).product();
        let scratch = scratch(cx, self.combine, places, tuples.iter().product());
        let (views, y) = ([&data, &indices, &updates], cx.output(0)?);
        let dispatches = scatter_nd(cx.caps(), views, self.combine, scratch.as_ref(), &y)?;
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
        let case = |name: &str, combine, dtype, x: &[usize], i: HostTensor| {
            let (tuple, tuples) = i.shape().split_last().unwrap_or((&0, &[]));
            let u = [tuples, &x[*tuple..]].concat();
            let inputs = vec![
                samples::integers(dtype, x, 1, 0, 9),
                i,
                samples::integers(dtype, &u, 3, 1, 9),
            ];
            Case::new(name, ScatterND { combine }, inputs).constant(&[1])
        };
        let index = |shape: &[usize], n: i64| samples::integers(DType::I64, shape, 7, -n, n);
        let f = DType::F32;
        let elements = || samples::of(&[4, 1], &[4i64, 3, -7, 7]);
        let mut cases = vec![
            case("elements", Combine::Replace, f, &[8], elements()),
            case(
                "slices",
                Combine::Replace,
                f,
                &[4, 3, 8],
                samples::of(&[2, 1], &[0i64, -1]),
            ),
            case(
                "odd slices",
                Combine::Replace,
                f,
                &[4, 3],
                samples::of(&[2, 1], &[2i64, 1]),
            ),
            case("sum", Combine::Add, f, &[4, 5], index(&[9, 2], 4)),
            case(
                "sum of slices",
                Combine::Add,
                f,
                &[4, 8],
                index(&[3, 5, 1], 4),
            ),
            case("product", Combine::Mul, f, &[4, 3], index(&[7, 1], 4)),
            case("least", Combine::Min, f, &[4, 3], index(&[7, 1], 4)),
            case("largest", Combine::Max, f, &[4, 3], index(&[7, 2], 3)),
            case("whole tensors", Combine::Add, f, &[2, 3], index(&[4, 0], 1)),
            case("nothing", Combine::Add, f, &[4, 3], index(&[0, 1], 4)),
            case("run-time", Combine::Add, f, &[4, 3], index(&[6, 1], 4)).constant(&[]),
        ];
        for dtype in [DType::I64, DType::I32, DType::U8, DType::F64] {
            cases.push(case(
                dtype.name(),
                Combine::Add,
                dtype,
                &[4, 3],
                index(&[6, 1], 4),
            ));
        }
        cases
    }
}
