//! ReverseSequence: the beginnings of sequences reversed.

use super::moving::{moved, place, same_size};
use crate::fact::{Facts, Tensors, Values};
use crate::lower::{Lower, Place, Placing};
use crate::op::{Case, Operand, Operator};
use crate::{Attrs, Error, Fact, Result, samples};
use tilewright_kernels::reverse_sequence;
use tilewright_tensor::{DType, HostTensor};

/// ONNX ReverseSequence-10: for each entry of the batch, the first `lengths` (input 1) elements in reverse, the others as
/// they are.
#[derive(Clone, Debug)]
pub struct ReverseSequence {
    /// The axis of the batch: 0 or 1.
    pub batch_axis: i64,
    /// The axis of time: the other one.
    pub time_axis: i64,
}

impl ReverseSequence {
    fn axes(&self, rank: usize) -> Result<(usize, usize)> {
        match (self.batch_axis, self.time_axis) {
            (1, 0) if rank >= 2 => Ok((1, 0)),
            (0, 1) if rank >= 2 => Ok((0, 1)),
            (batch, time) => {
                let what = format!("batch axis {batch} and time axis {time} of {rank} dimensions");
                Err(Error::op("ReverseSequence", what))
            }
        }
    }
}

impl Operator for ReverseSequence {
    const NAMES: &'static [&'static str] = &["ReverseSequence"];

    fn attrs(&self) -> Attrs {
        Attrs::new("ReverseSequence")
            .with("batch_axis", self.batch_axis)
            .with("time_axis", self.time_axis)
    }

    fn from_attrs(_: &str, attrs: &Attrs) -> Result<Self> {
        Ok(ReverseSequence {
            batch_axis: attrs.or("batch_axis", 1)?,
            time_axis: attrs.or("time_axis", 0)?,
        })
    }

    fn infer(&self, inputs: Facts<'_>) -> Result<Vec<Fact>> {
        let (x, lengths) = (inputs.req(0)?, inputs.req(1)?);
        let (batch, _) = self.axes(x.rank())?;
        if lengths.rank() != 1 {
            return Err(inputs.error(format!("lengths {lengths} for {x}")));
        }
        same_size("ReverseSequence", &lengths.shape[0], &x.shape[batch])?;
        Ok(vec![moved(x, x.shape.clone())])
    }

    fn reference(&self, inputs: Tensors<'_>) -> Result<Vec<HostTensor>> {
        let x = inputs.req(0)?;
        let (batch, time) = self.axes(x.rank())?;
        let lengths = inputs.ints(1)?;
        let (shape, size) = (x.shape(), x.shape()[time] as i64);
        if lengths.len() != shape[batch] || lengths.iter().any(|n| !(0..=size).contains(n)) {
            let what = format!("lengths {lengths:?} for shape {shape}");
            return Err(inputs.error(what));
        }
        let mut offsets = Vec::with_capacity(x.len());
        let mut indices = shape.indices();
        while let Some(index) = indices.advance() {
            let mut from = index.to_vec();
            let length = lengths[index[batch]] as usize;
            if index[time] < length {
                from[time] = length - 1 - index[time];
            }
            offsets.push(shape.offset(&from));
        }
        Ok(vec![x.select(shape, offsets)?])
    }

    fn place(&self, cx: &Placing<'_>) -> Place {
        place(cx, &[0, 1])
    }

    fn lower(&self, cx: &mut Lower<'_>) -> Result<()> {
        let (x, lengths, y) = (cx.input(0)?, cx.input(1)?, cx.output(0)?);
        let (_, time) = self.axes(x.shape.len())?;
        let dispatches = reverse_sequence(cx.caps(), &x, &lengths, time == 1, &y)?;
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
        let case = |name: &str, (batch_axis, time_axis), x, lengths: &[i64]| {
            let op = ReverseSequence {
                batch_axis,
                time_axis,
            };
            Case::new(name, op, vec![x, samples::ints(lengths)])
        };
        let x = |shape: &[usize]| samples::uniform(shape, 1);
        let ints = samples::integers(DType::I64, &[3, 4], 1, -9, 9);
        vec![
            case("time first", (1, 0), x(&[4, 3]), &[4, 1, 0]),
            case("batch first", (0, 1), x(&[3, 5, 4]), &[5, 2, 3]),
            case("rank 4", (1, 0), x(&[4, 2, 3, 3]), &[3, 4]),
            case("integers", (0, 1), ints, &[4, 3, 2]).constant(&[1]),
            case("booleans", (0, 1), samples::booleans(&[1, 9], 1), &[7]),
        ]
    }
}
