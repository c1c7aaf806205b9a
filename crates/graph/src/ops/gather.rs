//! Gather: slices of a tensor picked by index along one axis (an embedding table is the usual case).

use super::moving::{element, moved, place};
use crate::blocks::{Along, Blocks};
use crate::fact::{Facts, Tensors, Values, axis_index};
use crate::lower::{Lower, Place, Placing};
use crate::op::{Case, Operand, Operator};
use crate::{Attrs, Fact, Result, samples};
use tilewright_device::Caps;
use tilewright_kernels::{View, gather, gather_part};
use tilewright_tensor::{DType, HostTensor};

/// ONNX Gather-13: `out[.., i.., ..] = data[.., indices[i..], ..]` along `axis`. Negative indices count from the end; those
/// outside are an error on the host and are moved to the nearest element on the device.
#[derive(Clone, Debug)]
pub struct Gather {
    /// The axis that indices count in; negative counts from the end.
    pub axis: i64,
}

impl Operator for Gather {
    const NAMES: &'static [&'static str] = &["Gather"];

    fn attrs(&self) -> Attrs {
        Attrs::new("Gather").with("axis", self.axis)
    }

    fn from_attrs(_: &str, attrs: &Attrs) -> Result<Self> {
        Ok(Gather {
            axis: attrs.or("axis", 0)?,
        })
    }

    fn infer(&self, inputs: Facts<'_>) -> Result<Vec<Fact>> {
        let (data, indices) = (inputs.req(0)?, inputs.req(1)?);
        let axis = axis_index("Gather", self.axis, data.rank())?;
        let (before, after) = (&data.shape[..axis], &data.shape[axis + 1..]);
        Ok(vec![moved(data, [before, &indices.shape, after].concat())])
    }

    fn reference(&self, inputs: Tensors<'_>) -> Result<Vec<HostTensor>> {
        let (data, indices) = (inputs.req(0)?, inputs.req(1)?);
        let axis = axis_index("Gather", self.axis, data.rank())?;
        let (before, after) = (&data.shape()[..axis], &data.shape()[axis + 1..]);
        let size = data.shape()[axis];
        let picked = (inputs.ints(1)?.into_iter())
            .map(|i| element("Gather", i, size))
            .collect::<Result<Vec<_>>>()?;
        let inner: usize = after.iter().product();
        let outer: usize = before.iter().product();
        let offsets = (0..outer).flat_map(|o| {
            (picked.iter()).flat_map(move |i| (0..inner).map(move |j| (o * size + i) * inner + j))
        });
        let shape = [before, indices.shape(), after].concat();
        Ok(vec![data.select(shape, offsets)?])
    }

    fn place(&self, cx: &Placing<'_>) -> Place {
        place(cx, &[0, 1])
    }

    fn lower(&self, cx: &mut Lower<'_>) -> Result<()> {
        let (data, indices, y) = (cx.input(0)?, cx.input(1)?, cx.output(0)?);
        let axis = axis_index("Gather", self.axis, data.shape.len())?;
        let size = data.shape[axis];
        let per = rows_of_a_binding(cx.caps(), &data);
        if axis > 0 || per >= size {
            let dispatches = gather(cx.caps(), &data, &indices, axis, &y)?;
            cx.emit(dispatches);
            return Ok(());
        }
        for first in (0..size).step_by(per.max(1)) {
            let rows = first..(first + per.max(1)).min(size);
            let part = cx.rows_of(0, rows.clone())?;
            let dispatches = gather_part(cx.caps(), &part, &indices, 0, rows, size, &y)?;
            cx.emit(dispatches);
        }
        Ok(())
    }

    fn blocks(&self, cx: &Placing<'_>) -> Blocks {
        let (Some(data), Some(indices)) = (cx.inputs.opt(0), cx.inputs.opt(1)) else {
            return Blocks::none();
        };
        match axis_index("Gather", self.axis, data.rank()) {
            Ok(0) => Blocks::rows(indices.rank(), [Along::Pieces, Along::Leading]),
            Ok(axis) => Blocks::rows(axis, [Along::Leading, Along::Whole]),
            Err(_) => Blocks::none(),
        }
    }

    fn moves(&self, input: usize) -> bool {
        input == 0
    }

    fn half(&self, _: Operand) -> bool {
        true
    }

    fn cases() -> Vec<Case> {
        let index = |dtype, shape: &[usize], n: i64| samples::integers(dtype, shape, 7, -n, n);
        let case = |name: &str, axis, data: &[usize], indices: HostTensor| {
            Case::new(
                name,
                Gather { axis },
                vec![samples::uniform(data, 1), indices],
            )
        };
        let mut cases = vec![
            case("embedding", 0, &[11, 16], index(DType::I64, &[2, 5], 11)),
            case("odd rows", 0, &[11, 7], index(DType::I32, &[9], 11)),
            case("last axis", -1, &[3, 5, 6], index(DType::I64, &[4], 6)),
            case("middle axis", 1, &[3, 5, 6], index(DType::I64, &[2, 2], 5)),
            case("scalar index", 1, &[3, 5, 8], samples::of(&[], &[-2i64])),
            case("no index", 0, &[3, 5], index(DType::I64, &[0, 2], 3)),
            case("empty slices", 1, &[0, 5], index(DType::I64, &[3], 5)),
        ];
        for dtype in [DType::I64, DType::Bool, DType::F16, DType::F64] {
            let x = samples::integers(dtype, &[5, 4], 2, 0, 2);
            let inputs = vec![x, index(DType::I64, &[3], 5)];
            cases.push(Case::new(dtype.name(), Gather { axis: 0 }, inputs).constant(&[1]));
        }
        cases
    }
}

/// How many rows one binding holds, such that others can begin behind them.
fn rows_of_a_binding(caps: &Caps, data: &View) -> usize {
    let row = data.store.bytes(&data.shape[1..]).max(1);
    let limit = caps.limits.binding_bytes;
    if data.span.bytes <= limit {
        return data.shape[0];
    }
    let mut step = 1;
    while !(row * step).is_multiple_of(caps.limits.storage_align.into()) {
        step *= 2;
    }
    (limit / row / step * step) as usize
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Dim, Graph, ops};

    /// What exporters write to keep a batch size: Shape -> Gather -> Unsqueeze -> Concat -> Reshape.
    #[test]
    fn a_gathered_size_reaches_a_reshape() {
        let mut g = Graph::new();
        let (batch, length) = (Dim::symbol("batch"), Dim::symbol("length"));
        let fact = Fact::new(DType::F32, [batch.clone(), length.clone(), 12i64.into()]);
        let x = g.input("x", Some(fact)).unwrap();
        let shape = ops::Shape {
            start: 0,
            end: None,
        };
        let shape = g.add1(shape, &[x]).unwrap();
        let mut parts = vec![];
        for i in 0..2 {
            let index = g.scalar(DType::I64, i as f64).unwrap();
            let size = g.add1(Gather { axis: 0 }, &[shape, index]).unwrap();
            let axes = g.ints(&[0]).unwrap();
            parts.push(g.add1(ops::Unsqueeze, &[size, axes]).unwrap());
        }
        parts.push(g.ints(&[3, -1]).unwrap());
        let target = g.add1(ops::Concat { axis: 0 }, &parts).unwrap();
        let reshape = ops::Reshape { allow_zero: false };
        let y = g.add1(reshape, &[x, target]).unwrap();
        assert_eq!(
            g.fact(y).unwrap().shape,
            [batch, length, 3i64.into(), 4i64.into()]
        );
    }
}
