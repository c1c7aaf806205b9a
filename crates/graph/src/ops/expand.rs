//! Expand and Tile: repeated elements.

use super::moving::{emit_copy, moved, place, same_size};
use crate::blocks::Blocks;
use crate::dim::Dim;
use crate::fact::{Facts, Tensors, Values, broadcast};
use crate::lower::{Lower, Place, Placing};
use crate::op::{Case, Operand, Operator};
use crate::{Attrs, Error, Fact, Result, samples};
use tilewright_kernels::{Region, Strides, copy};
use tilewright_tensor::{DType, HostTensor, Shape};

/// ONNX Expand-13: the input broadcast against the shape in input 1; an axis where the shape says 1 keeps its size.
#[derive(Clone, Debug)]
pub struct Expand;

impl Operator for Expand {
    const NAMES: &'static [&'static str] = &["Expand"];

    fn attrs(&self) -> Attrs {
        Attrs::new("Expand")
    }

    fn from_attrs(_: &str, _: &Attrs) -> Result<Self> {
        Ok(Expand)
    }

    fn infer(&self, inputs: Facts<'_>) -> Result<Vec<Fact>> {
        let data = inputs.req(0)?;
        let target = inputs.dims(1)?;
        Ok(vec![moved(
            data,
            broadcast("Expand", &[&data.shape, &target])?,
        )])
    }

    fn reference(&self, inputs: Tensors<'_>) -> Result<Vec<HostTensor>> {
        let data = inputs.req(0)?;
        let target = Shape::from_i64(&inputs.ints(1)?)?;
        let out = Shape::broadcast(&[data.shape(), &target])?;
        let strides = data.shape().broadcast_strides(&out)?;
        Ok(vec![data.select(&out, out.offsets([&strides]).flatten())?])
    }

    fn place(&self, cx: &Placing<'_>) -> Place {
        place(cx, &[0])
    }

    fn lower(&self, cx: &mut Lower<'_>) -> Result<()> {
        let (x, y) = (cx.input(0)?, cx.output(0)?);
        let by = Shape::new(x.shape.clone()).broadcast_strides(&Shape::new(y.shape.clone()))?;
        emit_copy(cx, &x, Strides { offset: 0, by }, &y)
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
        let case = |name: &str, from: &[usize], to: &[i64]| {
            let inputs = vec![samples::uniform(from, 1), samples::ints(to)];
            Case::new(name, Expand, inputs).constant(&[1])
        };
        let mut cases = vec![
            case("new axes", &[3, 4], &[2, 5, 3, 4]),
            case("inner", &[3, 1], &[3, 8]),
            case("middle", &[2, 1, 3], &[2, 5, 3]),
            case("both ways", &[1, 4], &[3, 1]),
            case("alternating", &[1, 3, 1, 4], &[2, 3, 5, 4]),
            case("scalar", &[], &[7]),
            case("same", &[3, 4], &[4]),
            case("to nothing", &[1, 4], &[0, 4]),
        ];
        for dtype in [DType::I64, DType::Bool, DType::F16, DType::F64] {
            let x = samples::integers(dtype, &[3, 1], 2, 0, 2);
            let inputs = vec![x, samples::ints(&[2, 3, 4])];
            cases.push(Case::new(dtype.name(), Expand, inputs).constant(&[1]));
        }
        cases
    }
}

/// ONNX Tile-13: the input repeated along each axis as often as input 1 says.
#[derive(Clone, Debug)]
pub struct Tile;

impl Operator for Tile {
    const NAMES: &'static [&'static str] = &["Tile"];

    fn attrs(&self) -> Attrs {
        Attrs::new("Tile")
    }

    fn from_attrs(_: &str, _: &Attrs) -> Result<Self> {
        Ok(Tile)
    }

    fn infer(&self, inputs: Facts<'_>) -> Result<Vec<Fact>> {
        let data = inputs.req(0)?;
        let repeats = inputs.dims(1)?;
        same_size("Tile", &data.rank().into(), &repeats.len().into())?;
        let repeat = |(n, by): (&Dim, Dim)| match by.known() {
            Some(k) if k < 0 => Err(Error::op("Tile", format!("{k} repeats"))),
            _ => Ok(n.clone() * by),
        };
        let shape: Result<Vec<Dim>> = data.shape.iter().zip(repeats).map(repeat).collect();
        Ok(vec![moved(data, shape?)])
    }

    fn reference(&self, inputs: Tensors<'_>) -> Result<Vec<HostTensor>> {
        let data = inputs.req(0)?;
        let repeats = Shape::from_i64(&inputs.ints(1)?)?;
        if repeats.rank() != data.rank() {
            let what = format!("repeats {repeats} for a tensor of shape {}", data.shape());
            return Err(inputs.error(what));
        }
        let shape: Shape = (data.shape().iter().zip(&repeats[..]))
            .map(|(n, by)| n.saturating_mul(*by))
            .collect();
        // Not even the walk may allocate more than the tensor could hold.
        let mut offsets = Vec::with_capacity(shape.elements()?);
        let mut indices = shape.indices();
        while let Some(index) = indices.advance() {
            let within: Vec<usize> = index
                .iter()
                .zip(&data.shape()[..])
                .map(|(i, n)| i % n)
                .collect();
            offsets.push(data.shape().offset(&within));
        }
        Ok(vec![data.select(shape, offsets)?])
    }

    fn place(&self, cx: &Placing<'_>) -> Place {
        place(cx, &[0])
    }

    /// Each axis becomes two, the repeats and the elements, of which the first has stride 0 in the input.
    fn lower(&self, cx: &mut Lower<'_>) -> Result<()> {
        let (x, y) = (cx.input(0)?, cx.output(0)?);
        let (from, to) = (Strides::of(&x.shape), Strides::of(&y.shape));
        let mut region = Region {
            shape: vec![],
            from: Strides::of(&[]),
            to: Strides::of(&[]),
        };
        for (axis, &n) in x.shape.iter().enumerate() {
            // An empty axis has no copies, however often it is repeated.
            region.shape.extend([y.shape[axis] / n.max(1), n]);
            region.from.by.extend([0, from.by[axis]]);
            region.to.by.extend([to.by[axis] * n as isize, to.by[axis]]);
        }
        let dispatches = copy(cx.caps(), &x, &y, &region)?;
        cx.emit(dispatches);
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
        let case = |name: &str, x: HostTensor, repeats: &[i64]| {
            Case::new(name, Tile, vec![x, samples::ints(repeats)]).constant(&[1])
        };
        let x = |shape: &[usize]| samples::uniform(shape, 1);
        let ints = samples::integers(DType::I64, &[2, 3], 1, -9, 9);
        vec![
            case("2-D", x(&[3, 4]), &[2, 3]),
            case("odd", x(&[3, 5, 2]), &[1, 2, 3]),
            case("rank 5", x(&[2, 3, 2, 3, 2]), &[2, 2, 2, 2, 2]),
            case("nothing repeated", x(&[3, 4]), &[1, 1]),
            case("no repeats", x(&[3, 4]), &[2, 0]),
            case("scalar", x(&[]), &[]),
            case("booleans", samples::booleans(&[2, 3], 1), &[3, 1]),
            case("f64", samples::integers(DType::F64, &[2], 1, 0, 9), &[3]),
            Case::new("run-time repeats", Tile, vec![ints, samples::ints(&[2, 1])]),
        ]
    }
}
