//! RotaryEmbedding: pairs of elements turned by an angle that grows with their place in the sequence.

use crate::fact::{Facts, Tensors, Values};
use crate::op::{Case, Operator};
use crate::{Attrs, Error, Fact, Result, samples};
use tilewright_tensor::{DType, HostTensor};

/// ONNX RotaryEmbedding-23. Inputs: x \[batch, heads, sequence, size\] or \[batch, sequence, heads * size\]; cosines and
/// sines \[places, r / 2\] with position ids \[batch, sequence\], or \[batch, sequence, r / 2\] without.
#[derive(Clone, Debug)]
pub struct RotaryEmbedding {
    /// Pairs are neighbours; else an element's partner is half of r away.
    pub interleaved: bool,
    /// Heads of an x with 3 axes.
    pub num_heads: Option<i64>,
    /// r: how many elements of each head turn; 0 for all.
    pub rotary_dim: i64,
}

/// Sizes of an embedding.
#[derive(Clone, Copy, Debug)]
pub(super) struct Sizes {
    pub(super) batch: usize,
    pub(super) heads: usize,
    pub(super) length: usize,
    pub(super) size: usize,
    /// Elements that turn.
    pub(super) turned: usize,
    /// x has 3 axes.
    pub(super) packed: bool,
}

impl RotaryEmbedding {
    pub(super) fn sizes(&self, x: &[usize]) -> Result<Sizes> {
        let error = |what: String| Error::op("RotaryEmbedding", what);
        let (batch, heads, length, size) = match (x, self.num_heads) {
            (&[b, h, s, d], _) => (b, h, s, d),
            (&[b, s, hidden], Some(h)) if h > 0 && hidden % h as usize == 0 => {
                (b, h as usize, s, hidden / h as usize)
            }
            _ => {
                return Err(error(format!(
                    "x has shape {x:?} and {:?} heads",
                    self.num_heads
                )));
            }
        };
        let turned = match self.rotary_dim {
            0 => size,
            r => usize::try_from(r).unwrap_or(usize::MAX),
        };
        if turned > size || turned % 2 != 0 {
            return Err(error(format!(
                "{turned} of {size} elements cannot turn in pairs"
            )));
        }
        Ok(Sizes {
            batch,
            heads,
            length,
            size,
            turned,
            packed: x.len() == 3,
        })
    }
}

impl Operator for RotaryEmbedding {
    const NAMES: &'static [&'static str] = &["RotaryEmbedding"];

    fn attrs(&self) -> Attrs {
        Attrs::new("RotaryEmbedding")
            .with("interleaved", self.interleaved)
            .with_opt("num_heads", self.num_heads)
            .with("rotary_embedding_dim", self.rotary_dim)
    }

    fn from_attrs(_: &str, attrs: &Attrs) -> Result<Self> {
        Ok(RotaryEmbedding {
            interleaved: attrs.or("interleaved", false)?,
            num_heads: attrs.opt("num_heads")?,
            rotary_dim: attrs.or("rotary_embedding_dim", 0)?,
        })
    }

    fn infer(&self, inputs: Facts<'_>) -> Result<Vec<Fact>> {
        let x = inputs.req(0)?;
        if let Some(shape) = x.known_shape() {
            self.sizes(&shape)?;
        }
        Ok(vec![Fact::new(x.dtype, x.shape.clone())])
    }

    fn reference(&self, inputs: Tensors<'_>) -> Result<Vec<HostTensor>> {
        let (x, cosines, sines) = (inputs.req(0)?, inputs.req(1)?, inputs.req(2)?);
        let s = self.sizes(x.shape())?;
        let half = s.turned / 2;
        let ids = inputs.opt_ints(3)?;
        let rows = cosines.len().checked_div(half).unwrap_or(0);
        let wrong = cosines.shape() != sines.shape() || cosines.shape().last() != Some(&half);
        if wrong || ids.is_none() && rows != s.batch * s.length {
            let (c, s) = (cosines.shape(), sines.shape());
            return Err(inputs.error(format!(
                "cosines {c:?} and sines {s:?} do not fit {half} pairs"
            )));
        }
        if ids
            .as_ref()
            .is_some_and(|ids| ids.len() != s.batch * s.length)
        {
            return Err(inputs.error("there must be a position for each place"));
        }
        let (cosines, sines) = (cosines.to_f64(), sines.to_f64());
        let mut out = x.to_f64();
        for (i, head) in out.chunks_mut(s.size.max(1)).enumerate() {
            // Rows of x count item, place, head or item, head, place.
            let place = if s.packed {
                i / s.heads
            } else {
                i / (s.heads * s.length) * s.length + i % s.length
            };
            let row = match &ids {
                Some(ids) => usize::try_from(ids[place]).ok().filter(|&r| r < rows),
                None => Some(place),
            };
            let row = row.ok_or_else(|| inputs.error(format!("a position is not below {rows}")))?;
            for pair in 0..half {
                let (a, b) = if self.interleaved {
                    (2 * pair, 2 * pair + 1)
                } else {
                    (pair, pair + half)
                };
                let (cos, sin) = (cosines[row * half + pair], sines[row * half + pair]);
                let (x, y) = (head[a], head[b]);
                head[a] = cos * x - sin * y;
                head[b] = sin * x + cos * y;
            }
        }
        Ok(vec![HostTensor::from_f64(
            x.dtype(),
            x.shape().clone(),
            out,
        )?])
    }

    fn cases() -> Vec<Case> {
        let x = |shape: &[usize], seed| Some(samples::uniform(shape, seed));
        let ids = || Some(samples::integers(DType::I64, &[2, 5], 4, 0, 9));
        let op = |interleaved, num_heads, rotary_dim| RotaryEmbedding {
            interleaved,
            num_heads,
            rotary_dim,
        };
        let case = |name: &str, op: RotaryEmbedding, inputs: Vec<Option<HostTensor>>| {
            Case::with_optional(name, op, inputs)
        };
        let (four, three) = (|| x(&[2, 3, 5, 8], 1), || x(&[2, 5, 24], 1));
        let cached = |half: usize| vec![x(&[9, half], 2), x(&[9, half], 3), ids()];
        let direct = |half: usize| vec![x(&[2, 5, half], 2), x(&[2, 5, half], 3)];
        let with =
            |first: Option<HostTensor>, more: Vec<Option<HostTensor>>| [vec![first], more].concat();
        let half = with(four(), cached(4)).into_iter().enumerate();
        let half = half.map(|(i, t)| if i < 3 { t?.cast(DType::F16).ok() } else { t });
        vec![
            case("4 axes", op(false, None, 0), with(four(), cached(4))),
            case("3 axes", op(false, Some(3), 0), with(three(), cached(4))),
            case("neighbours", op(true, None, 0), with(four(), cached(4))),
            case(
                "no positions",
                op(true, Some(3), 0),
                with(three(), direct(4)),
            ),
            case(
                "a part of each head",
                op(false, None, 6),
                with(four(), cached(3)),
            ),
            case(
                "a part, neighbours",
                op(true, Some(3), 4),
                with(three(), direct(2)),
            ),
            case("f16", op(false, None, 0), half.collect()),
        ]
    }
}
