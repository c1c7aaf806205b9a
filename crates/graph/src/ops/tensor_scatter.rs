//! TensorScatter: new entries written into a key-value cache.

use super::moving::{place, same_dtype, same_size};
use super::scatter::result;
use crate::fact::{Facts, Tensors, Values, axis_index};
use crate::lower::{Lower, Place, Placing};
use crate::op::{Case, Operand, Operator};
use crate::{Attrs, Error, Fact, Result, samples};
use tilewright_kernels::{Combine, tensor_scatter};
use tilewright_tensor::{DType, HostTensor};

/// ONNX TensorScatter-24: a copy of the cache with the update written along `axis`, from input 2's position on, which each
/// entry of the batch (axis 0) has its own of; 0 without it.
#[derive(Clone, Debug)]
pub struct TensorScatter {
    /// The axis of the sequence; negative counts from the end; not the batch.
    pub axis: i64,
    /// Positions past the end of the cache go on at its beginning; else they are an error on the host and are left out on
    /// the device.
    pub circular: bool,
}

impl TensorScatter {
    fn axis(&self, rank: usize) -> Result<usize> {
        match axis_index("TensorScatter", self.axis, rank)? {
            0 => Err(Error::op("TensorScatter", "axis 0 is the batch")),
            axis => Ok(axis),
        }
    }
}

impl Operator for TensorScatter {
    const NAMES: &'static [&'static str] = &["TensorScatter"];

    fn attrs(&self) -> Attrs {
        let mode = if self.circular { "circular" } else { "linear" };
        Attrs::new("TensorScatter")
            .with("axis", self.axis)
            .with("mode", mode.to_string())
    }

    fn from_attrs(_: &str, attrs: &Attrs) -> Result<Self> {
        let mode: String = attrs.or("mode", "linear".into())?;
        let circular = match &mode[..] {
            "linear" => false,
            "circular" => true,
            _ => return Err(Error::op("TensorScatter", format!("mode `{mode}`"))),
        };
        Ok(TensorScatter {
            axis: attrs.or("axis", -2)?,
            circular,
        })
    }

    fn infer(&self, inputs: Facts<'_>) -> Result<Vec<Fact>> {
        let (cache, update) = (inputs.req(0)?, inputs.req(1)?);
        let axis = self.axis(cache.rank())?;
        same_dtype("TensorScatter", cache, update)?;
        same_size("TensorScatter", &cache.rank().into(), &update.rank().into())?;
        for (i, (a, b)) in cache.shape.iter().zip(&update.shape).enumerate() {
            if i != axis {
                same_size("TensorScatter", a, b)?;
            }
        }
        if let Some(at) = inputs.opt(2)
            && (at.rank() != 1
                || same_size("TensorScatter", &at.shape[0], &cache.shape[0]).is_err())
        {
            return Err(inputs.error(format!("positions {at} for the cache {cache}")));
        }
        Ok(vec![result(Combine::Replace, cache, update)])
    }

    fn reference(&self, inputs: Tensors<'_>) -> Result<Vec<HostTensor>> {
        let (cache, update) = (inputs.req(0)?, inputs.req(1)?);
        let axis = self.axis(cache.rank())?;
        let (shape, from) = (cache.shape(), update.shape());
        let batch = shape[0];
        let at = inputs.opt_ints(2)?.unwrap_or_else(|| vec![0; batch]);
        if from.rank() != shape.rank() || from[0] != batch || at.len() != batch {
            let what = format!("an update of shape {from} for a cache of shape {shape}");
            return Err(inputs.error(what));
        }
        let mut offsets = Vec::with_capacity(update.len());
        let mut indices = from.indices();
        while let Some(index) = indices.advance() {
            let mut to = index.to_vec();
            let position = at[index[0]].saturating_add(index[axis] as i64);
            let n = shape[axis] as i64;
            let position = match position {
                p if self.circular && n > 0 => p.rem_euclid(n),
                p => p,
            };
            if !(0..n).contains(&position) {
                let what = format!("position {position} is outside a cache of {n}");
                return Err(inputs.error(what));
            }
            to[axis] = position as usize;
            offsets.push(shape.offset(&to));
        }
        let mut out = cache.clone();
        out.place(update, offsets)?;
        Ok(vec![out])
    }

    fn place(&self, cx: &Placing<'_>) -> Place {
        place(cx, &[0, 1, 2])
    }

    fn lower(&self, cx: &mut Lower<'_>) -> Result<()> {
        let (cache, update, y) = (cx.input(0)?, cx.input(1)?, cx.output(0)?);
        let (axis, first) = (self.axis(cache.shape.len())?, cx.opt_input(2));
        let circular = self.circular;
        let dispatches = tensor_scatter(
            cx.caps(),
            &cache,
            &update,
            first.as_ref(),
            axis,
            circular,
            &y,
        )?;
        cx.emit(dispatches);
        Ok(())
    }

    fn moves(&self, input: usize) -> bool {
        input != 2
    }

    fn half(&self, _: Operand) -> bool {
        true
    }

    fn cases() -> Vec<Case> {
        let case = |name: &str, circular, axis, cache: &[usize], n: usize, at: Option<&[i64]>| {
            let mut from = cache.to_vec();
            let place = (axis + cache.len() as i64) as usize % cache.len();
            from[place] = n;
            let inputs = vec![
                Some(samples::uniform(cache, 1)),
                Some(samples::uniform(&from, 2)),
                at.map(samples::ints),
            ];
            Case::with_optional(name, TensorScatter { axis, circular }, inputs)
        };
        let whole = samples::integers(DType::I64, &[2, 4], 1, 0, 9);
        let mut cases = vec![
            case("prefill", false, -2, &[2, 3, 6, 4], 5, None),
            case("decode", false, -2, &[3, 2, 6, 4], 1, Some(&[0, 5, 2])),
            case("three axes", false, 1, &[2, 6, 5], 2, Some(&[4, 1])),
            case("circular", true, -2, &[2, 2, 4, 8], 3, Some(&[3, 2])),
            case("last axis", true, -1, &[2, 3, 5], 2, Some(&[4, 9])),
        ];
        let op = TensorScatter {
            axis: 1,
            circular: false,
        };
        cases.push(Case::new("integers", op, vec![whole.clone(), whole]));
        cases
    }
}
