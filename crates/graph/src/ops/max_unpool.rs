//! MaxUnpool: puts pooled elements back where they came from.

use super::window::Window;
use crate::dim::Dim;
use crate::fact::{Facts, Tensors, Values};
use crate::op::{Case, Operator};
use crate::{Attrs, Fact, Result, samples};
use tilewright_tensor::{DType, HostTensor, Shape};

/// ONNX MaxUnpool-22: zeros, but `X[i]` at the offset `I[i]`. Offsets count in the tensor whose size undoes the pooling; if
/// the input `output_shape` asks for another size, that tensor is cut or filled with zeros at its ends.
#[derive(Clone, Debug, Default)]
pub struct MaxUnpool {
    /// Kernel, strides and padding of the pooling.
    pub window: Window,
}

impl MaxUnpool {
    fn inferred(&self, inputs: Facts<'_>, x: &[Dim]) -> Result<Vec<Dim>> {
        let axes = x.len().saturating_sub(2);
        self.window.check(inputs.op(), axes)?;
        if axes == 0 || self.window.kernel.len() != axes {
            return Err(inputs.error(format!("kernel_shape must have {axes} values")));
        }
        let mut out = x[..2].to_vec();
        for (i, size) in x[2..].iter().enumerate() {
            let (before, after) = self.window.pad(i);
            let last = (size.clone() - 1i64.into()) * self.window.stride(i).into();
            out.push(last + (self.window.kernel[i] - before - after).into());
        }
        Ok(out)
    }
}

impl Operator for MaxUnpool {
    const NAMES: &'static [&'static str] = &["MaxUnpool"];

    fn attrs(&self) -> Attrs {
        self.window.write(Attrs::new("MaxUnpool"))
    }

    fn from_attrs(_: &str, attrs: &Attrs) -> Result<Self> {
        Ok(MaxUnpool {
            window: Window::read(attrs)?,
        })
    }

    fn infer(&self, inputs: Facts<'_>) -> Result<Vec<Fact>> {
        let x = inputs.req(0)?;
        let inferred = self.inferred(inputs, &x.shape)?;
        let shape = inputs.opt_dims(2)?.unwrap_or(inferred);
        if shape.len() != x.rank() {
            return Err(inputs.error(format!("output_shape {shape:?} for {x}")));
        }
        Ok(vec![Fact::new(x.dtype, shape)])
    }

    fn reference(&self, inputs: Tensors<'_>) -> Result<Vec<HostTensor>> {
        let (x, at) = (inputs.req(0)?, inputs.ints(1)?);
        let fact = Fact::sized(x.dtype(), x.shape());
        let facts = [Some(&fact)];
        let dims = self.inferred(Facts::new(inputs.op(), &facts), &fact.shape)?;
        let inferred = Shape::from(Fact::new(x.dtype(), dims).bind(&Default::default())?);
        let mut full = HostTensor::zeros(x.dtype(), &inferred)?;
        let offsets: Option<Vec<usize>> = at.iter().map(|&i| usize::try_from(i).ok()).collect();
        let offsets = offsets.ok_or_else(|| inputs.error("an index is negative"))?;
        full.place(x, offsets)?;
        let Some(shape) = inputs.opt_ints(2)? else {
            return Ok(vec![full]);
        };
        let shape = Shape::from_i64(&shape)?;
        let mut out = HostTensor::zeros(x.dtype(), &shape)?;
        let both: Shape = shape
            .iter()
            .zip(&*inferred)
            .map(|(a, b)| *a.min(b))
            .collect();
        let kept = full.select(&both, both.offsets([&inferred.strides()]).flatten())?;
        out.place(&kept, both.offsets([&shape.strides()]).flatten())?;
        Ok(vec![out])
    }

    fn cases() -> Vec<Case> {
        let op = MaxUnpool {
            window: Window {
                strides: vec![2, 2],
                ..Window::of(&[2, 2])
            },
        };
        let x = samples::uniform(&[1, 2, 2, 3], 1);
        let at = samples::ints(&[0, 3, 4, 13, 14, 23, 25, 26, 28, 37, 38, 47]);
        let at = at
            .reshape([1, 2, 2, 3])
            .expect("as many as the shape holds");
        let half = x.cast(DType::F16).expect("f32 to f16 always works");
        let larger = samples::ints(&[1, 2, 5, 7]);
        vec![
            Case::new("plain", op.clone(), vec![x.clone(), at.clone()]),
            Case::new("f16", op.clone(), vec![half, at.clone()]),
            Case::new("larger", op, vec![x, at, larger]).constant(&[2]),
        ]
    }
}
