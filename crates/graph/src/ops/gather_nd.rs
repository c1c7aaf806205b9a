//! GatherND: slices of a tensor picked by tuples of indices.

use super::moving::{element, moved, place, same_size};
use crate::fact::{Facts, Tensors};
use crate::lower::{Lower, Place, Placing};
use crate::op::{Case, Operand, Operator};
use crate::{Attrs, Error, Fact, Result, samples};
use tilewright_kernels::gather_nd;
use tilewright_tensor::{DType, HostTensor, Shape};

/// ONNX GatherND-13: the last axis of the indices holds tuples that name elements, or slices where a tuple is shorter than the
/// data's rank. Negative indices count from the end; those outside are an error on the host and are moved to the nearest
/// element on the device.
#[derive(Clone, Debug)]
pub struct GatherND {
    /// How many leading axes data and indices share.
    pub batch_dims: i64,
}

/// For each tuple in `indices`: the offset of the slice of a tensor of `shape` that it names behind `batch` shared axes.
pub(super) fn slice_offsets(
    op: &str,
    shape: &Shape,
    indices: &HostTensor,
    batch: usize,
) -> Result<Vec<usize>> {
    let Some((&tuple, lead)) = indices.shape().split_last() else {
        return Err(Error::op(op, "indices must have an axis"));
    };
    if batch + tuple > shape.rank() || lead.get(..batch) != Some(&shape[..batch]) {
        let what = format!("indices of shape {} for shape {shape}", indices.shape());
        return Err(Error::op(op, what));
    }
    let strides = shape.strides();
    let tuples: usize = lead.iter().product();
    let batches: usize = shape[..batch].iter().product();
    let batch_size: usize = shape[batch..].iter().product();
    let values = indices.to_i64()?;
    let mut out = Vec::with_capacity(tuples);
    for t in 0..tuples {
        let mut offset = t / (tuples / batches.max(1)).max(1) * batch_size;
        for (j, &i) in values[t * tuple..(t + 1) * tuple].iter().enumerate() {
            offset += element(op, i, shape[batch + j])? * strides[batch + j] as usize;
        }
        out.push(offset);
    }
    Ok(out)
}

impl GatherND {
    fn batch(&self, data: usize, indices: usize) -> Result<usize> {
        let batch = usize::try_from(self.batch_dims).ok();
        batch.filter(|&b| b < data.min(indices)).ok_or_else(|| {
            let what = format!("batch_dims {} of ranks {data}, {indices}", self.batch_dims);
            Error::op("GatherND", what)
        })
    }
}

impl Operator for GatherND {
    const NAMES: &'static [&'static str] = &["GatherND"];

    fn attrs(&self) -> Attrs {
        Attrs::new("GatherND").with("batch_dims", self.batch_dims)
    }

    fn from_attrs(_: &str, attrs: &Attrs) -> Result<Self> {
        Ok(GatherND {
            batch_dims: attrs.or("batch_dims", 0)?,
        })
    }

    fn infer(&self, inputs: Facts<'_>) -> Result<Vec<Fact>> {
        let (data, indices) = (inputs.req(0)?, inputs.req(1)?);
        let batch = self.batch(data.rank(), indices.rank())?;
        for (a, b) in data.shape.iter().zip(&indices.shape).take(batch) {
            same_size("GatherND", a, b)?;
        }
        let (tuples, tuple) = indices.shape.split_at(indices.rank() - 1);
        let (op, input) = ("GatherND", 1);
        let tuple = tuple[0].known().ok_or(Error::NeedsValue { op, input })?;
        let from = usize::try_from(tuple).map_or(usize::MAX, |t| t.saturating_add(batch));
        let slice = data
            .shape
            .get(from..)
            .ok_or_else(|| inputs.error(format!("tuples of {tuple} indices for {data}")))?;
        Ok(vec![moved(data, [tuples, slice].concat())])
    }

    fn reference(&self, inputs: Tensors<'_>) -> Result<Vec<HostTensor>> {
        let (data, indices) = (inputs.req(0)?, inputs.req(1)?);
        let batch = self.batch(data.rank(), indices.rank())?;
        let starts = slice_offsets("GatherND", data.shape(), indices, batch)?;
        let (tuples, tuple) = indices.shape().split_at(indices.rank() - 1);
        let slice = &data.shape()[batch + tuple[0]..];
        let inner: usize = slice.iter().product();
        let offsets = (starts.into_iter()).flat_map(|s| s..s + inner);
        Ok(vec![data.select([tuples, slice].concat(), offsets)?])
    }

    fn place(&self, cx: &Placing<'_>) -> Place {
        place(cx, &[0, 1])
    }

    fn lower(&self, cx: &mut Lower<'_>) -> Result<()> {
        let (data, indices, y) = (cx.input(0)?, cx.input(1)?, cx.output(0)?);
        let batch = self.batch(data.shape.len(), indices.shape.len())?;
        let dispatches = gather_nd(cx.caps(), &data, &indices, batch, &y)?;
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
        let index = |shape: &[usize], n: i64| samples::integers(DType::I64, shape, 7, -n, n);
        let case = |name: &str, batch_dims, data: HostTensor, indices: HostTensor| {
            let inputs = vec![data, indices];
            Case::new(name, GatherND { batch_dims }, inputs).constant(&[1])
        };
        let x = |shape: &[usize]| samples::uniform(shape, 1);
        let ints = samples::integers(DType::I64, &[4, 3], 1, -9, 9);
        let run_time = case("run-time indices", 0, x(&[3, 4]), index(&[5, 1], 3));
        vec![
            case("elements", 0, x(&[5, 4]), index(&[3, 2], 4)),
            case("slices", 0, x(&[5, 4, 8]), index(&[2, 3, 1], 5)),
            case("odd slices", 0, x(&[5, 4, 3]), index(&[3, 2], 4)),
            case("batches", 1, x(&[2, 5, 4]), index(&[2, 3, 1], 5)),
            case(
                "two batch axes",
                2,
                x(&[2, 3, 4, 5]),
                index(&[2, 3, 6, 2], 4),
            ),
            case("no inner axis", 1, x(&[4, 5]), index(&[4, 1], 5)),
            case("integers", 0, ints, index(&[4, 2], 3)),
            case("booleans", 0, samples::booleans(&[6], 1), index(&[3, 1], 6)),
            case("nothing", 0, x(&[3, 2]), index(&[0, 1], 3)),
            run_time.constant(&[]),
        ]
    }
}
