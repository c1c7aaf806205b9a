//! LRN: each element divided by a power of the squares in the channels around it.

use crate::fact::{Facts, Tensors};
use crate::lower::{Lower, Place, Placing};
use crate::op::{Case, Operand, Operator};
use crate::ops::groups::{floats, need_float};
use crate::{Attrs, Error, Fact, Result, samples};
use tilewright_kernels::{self as kernels, Form};
use tilewright_tensor::{DType, HostTensor};

/// ONNX LRN-13: y = x / (bias + alpha / size * s)^beta, s being the sum of squares over `size` channels of
/// x `[N, C, ..]` around that of the element.
#[derive(Clone, Debug)]
pub struct Lrn {
    /// See the formula.
    pub alpha: f32,
    /// See the formula.
    pub beta: f32,
    /// See the formula.
    pub bias: f32,
    /// Number of channels.
    pub size: i64,
}

impl Operator for Lrn {
    const NAMES: &'static [&'static str] = &["LRN"];

    fn attrs(&self) -> Attrs {
        Attrs::new("LRN")
            .with("alpha", self.alpha)
            .with("beta", self.beta)
            .with("bias", self.bias)
            .with("size", self.size)
    }

    fn from_attrs(name: &str, attrs: &Attrs) -> Result<Self> {
        let size = attrs.need("size")?;
        if !(1..=i64::from(i32::MAX)).contains(&size) {
            return Err(Error::op(
                name,
                format!("size {size} is no number of channels"),
            ));
        }
        Ok(Lrn {
            alpha: attrs.or("alpha", 1e-4)?,
            beta: attrs.or("beta", 0.75)?,
            bias: attrs.or("bias", 1.0)?,
            size,
        })
    }

    fn infer(&self, inputs: Facts<'_>) -> Result<Vec<Fact>> {
        let x = inputs.req(0)?;
        need_float(inputs.op(), x.dtype)?;
        if x.rank() < 2 {
            return Err(inputs.error(format!("expected [N, C, ..], got {x}")));
        }
        Ok(vec![Fact::new(x.dtype, x.shape.clone())])
    }

    fn work(&self, inputs: Facts<'_>, outputs: &[Fact]) -> u64 {
        let channels = inputs.opt(0).map_or(0, |x| x.extent(1));
        crate::op::per_output(inputs, outputs, channels.min(self.size.max(0) as u64))
    }

    fn reference(&self, inputs: Tensors<'_>) -> Result<Vec<HostTensor>> {
        let x = floats(inputs, 0)?;
        let input = inputs.req(0)?;
        let channels = input.shape()[1] as i64;
        let inner: usize = input.shape()[2..].iter().product();
        let (before, after) = ((self.size - 1) / 2, self.size / 2);
        let [alpha, beta, bias] = [self.alpha, self.beta, self.bias].map(f64::from);
        let mut y = x.clone();
        for (i, v) in y.iter_mut().enumerate() {
            let c = (i / inner) as i64 % channels;
            let (from, to) = ((c - before).max(0), (c + after).min(channels - 1));
            let first = i - (c - from) as usize * inner;
            let count = (to - from + 1) as usize;
            let squares = (0..count).map(|k| x[first + k * inner].powi(2));
            *v /= (bias + alpha / self.size as f64 * squares.sum::<f64>()).powf(beta);
        }
        Ok(vec![HostTensor::from_f64(
            input.dtype(),
            input.shape().clone(),
            y,
        )?])
    }

    fn place(&self, cx: &Placing<'_>) -> Place {
        cx.floats_only()
    }

    fn lower(&self, cx: &mut Lower<'_>) -> Result<()> {
        let (x, y) = (cx.input(0)?, cx.output(0)?);
        if x.elements() == 0 {
            return Ok(());
        }
        let size = usize::try_from(self.size).map_err(|_| cx.error("the size is negative"))?;
        let form = Form::along(&x.shape, 1);
        let constants = [self.alpha, self.beta, self.bias];
        cx.emit(kernels::lrn(cx.caps(), &x, form, &y, size, constants)?);
        Ok(())
    }

    fn half(&self, _: Operand) -> bool {
        true
    }

    fn cases() -> Vec<Case> {
        let mut out = vec![];
        for (size, beta) in [(1, 0.75), (3, 0.5), (4, 0.75), (5, 1.0), (40, 0.6)] {
            let shapes: [&[usize]; 4] = [&[2, 7, 3, 5], &[1, 6, 4, 4], &[3, 5], &[2, 9, 8]];
            for shape in shapes {
                let op = || Lrn {
                    alpha: 0.3,
                    beta,
                    bias: 1.5,
                    size,
                };
                for (dtype, nmse) in [
                    (DType::F32, 1e-10),
                    (DType::F16, 1e-6),
                    (DType::F64, 1e-10),
                    (DType::BF16, 1e-4),
                ] {
                    let x = samples::between(shape, 1, -3.0, 3.0).cast(dtype);
                    let inputs = vec![x.expect("a cast between floats")];
                    let title = format!("{shape:?} size {size} {dtype}");
                    out.push(Case::new(&title, op(), inputs).nmse(nmse));
                }
            }
        }
        // Zeros without a bias, no number, and infinities, which make zeros of their neighbours.
        let special = [0.0, f32::NAN, f32::INFINITY, 1.0];
        for inner in [3, 4] {
            let at = |i: usize| {
                if i < inner {
                    special[i % 4]
                } else {
                    (i % inner) as f32
                }
            };
            let x: Vec<f32> = (0..5 * inner).map(at).collect();
            let op = Lrn {
                alpha: 0.3,
                beta: 0.75,
                bias: 0.0,
                size: 3,
            };
            let x = samples::of(&[1, 5, inner], &x);
            out.push(Case::new(&format!("special {inner}"), op, vec![x]));
        }
        out
    }
}
