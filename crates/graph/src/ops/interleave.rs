//! Interleave: channels from planes to pixels, padded with zeros. The engine's own: the layout pass makes it for images.

use super::moving::{place, transposed};
use crate::blocks::Blocks;
use crate::fact::{Facts, Tensors};
use crate::lower::{Lower, Place, Placing};
use crate::op::{Case, Operand, Operator};
use crate::{Attrs, Error, Fact, Result, samples};
use tilewright_kernels::interleave;
use tilewright_tensor::{DType, HostTensor};

/// `Y[n, spatial.., c] = X[n, c, spatial..]`, and 0 for the channels that X does not have.
#[derive(Clone, Debug)]
pub struct Interleave {
    /// Channels of Y: a multiple of four, and at least as many as X has.
    pub channels: i64,
}

impl Operator for Interleave {
    const NAMES: &'static [&'static str] = &["Interleave"];

    fn attrs(&self) -> Attrs {
        Attrs::new("Interleave").with("channels", self.channels)
    }

    fn from_attrs(_: &str, attrs: &Attrs) -> Result<Self> {
        let channels: i64 = attrs.need("channels")?;
        if channels < 1 || channels % 4 != 0 {
            let what = format!("{channels} channels are no multiple of four");
            return Err(Error::op("Interleave", what));
        }
        Ok(Interleave { channels })
    }

    fn infer(&self, inputs: Facts<'_>) -> Result<Vec<Fact>> {
        let x = inputs.req(0)?;
        let [images, channels, spatial @ ..] = &x.shape[..] else {
            return Err(inputs.error(format!("needs a batch and channels, got {x}")));
        };
        let fits = channels.known().is_none_or(|n| 0 < n && n <= self.channels);
        if !fits || self.channels % 4 != 0 {
            let what = format!("{channels} channels cannot become {}", self.channels);
            return Err(inputs.error(what));
        }
        let mut shape = vec![images.clone()];
        shape.extend_from_slice(spatial);
        shape.push(self.channels.into());
        let fact = Fact::new(x.dtype, shape);
        Ok(vec![match x.range() {
            Some((low, high)) => fact.with_range(low.min(0), high.max(0)),
            None => fact,
        }])
    }

    fn reference(&self, inputs: Tensors<'_>) -> Result<Vec<HostTensor>> {
        let x = inputs.req(0)?;
        if x.shape().len() < 2 || x.shape()[1] as i64 > self.channels {
            let what = format!("{} cannot have {} channels", x.shape(), self.channels);
            return Err(inputs.error(what));
        }
        let order: Vec<usize> = [0]
            .into_iter()
            .chain(2..x.shape().len())
            .chain([1])
            .collect();
        let last = transposed(x, &order)?;
        Ok(vec![padded(
            &last,
            order.len() - 1,
            self.channels as usize,
        )?])
    }

    fn place(&self, cx: &Placing<'_>) -> Place {
        place(cx, &[0])
    }

    fn lower(&self, cx: &mut Lower<'_>) -> Result<()> {
        let (x, y) = (cx.input(0)?, cx.output(0)?);
        let dispatches = interleave(cx.caps(), &x, &y)?;
        cx.emit(dispatches);
        Ok(())
    }

    fn blocks(&self, _: &Placing<'_>) -> Blocks {
        Blocks::leading(1)
    }

    fn half(&self, _: Operand) -> bool {
        true
    }

    fn cases() -> Vec<Case> {
        let case = |shape: &[usize], channels| {
            let name = format!("{shape:?} to {channels}");
            Case::new(
                &name,
                Interleave { channels },
                vec![samples::uniform(shape, 1)],
            )
        };
        let mut cases = vec![
            case(&[1, 3, 5, 7], 4),
            case(&[2, 3, 9, 8], 4),
            case(&[3, 7, 2, 3, 4], 12),
            case(&[2, 4, 65], 4),
            case(&[0, 3, 4, 4], 4),
        ];
        for dtype in [DType::I64, DType::F16, DType::F64] {
            let x = samples::integers(dtype, &[1, 3, 4, 5], 2, 0, 2);
            cases.push(Case::new(dtype.name(), Interleave { channels: 4 }, vec![x]));
        }
        cases
    }
}

/// A tensor with zeros behind the elements of an axis, so that it has `size`.
pub(crate) fn padded(x: &HostTensor, axis: usize, size: usize) -> Result<HostTensor> {
    let mut shape = x.shape().to_vec();
    let inner: usize = shape[axis + 1..].iter().product();
    let (run, wide) = (shape[axis] * inner, size * inner);
    shape[axis] = size;
    let mut out = HostTensor::zeros(x.dtype(), shape)?;
    out.place(
        x,
        (0..x.len()).map(|i| i / run.max(1) * wide + i % run.max(1)),
    )?;
    Ok(out)
}
