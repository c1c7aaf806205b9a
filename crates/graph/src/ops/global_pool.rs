//! Global pooling: each channel reduced to one element.

use crate::blocks::Blocks;
use crate::fact::{Facts, Tensors};
use crate::lower::{Lower, Place, Placing};
use crate::op::{Case, Operand, Operator};
use crate::ops::groups::{Groups, floats, need_float};
use crate::ops::reduce::{Reduction, emit};
use crate::{Attrs, Error, Fact, Result, samples};
use tilewright_kernels as kernels;
use tilewright_tensor::{DType, HostTensor};

/// What a pool makes of a channel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pool {
    /// The mean.
    Average,
    /// The largest element.
    Max,
    /// The p-norm: (sum |x|^p)^(1/p).
    Lp(i64),
}

/// ONNX GlobalAveragePool-22, GlobalMaxPool-22, GlobalLpPool-22: x `[N, C, ..]` to `[N, C, 1, ..]`.
#[derive(Clone, Debug)]
pub struct GlobalPool {
    /// What is computed.
    pub kind: Pool,
}

impl Pool {
    fn of(self, x: impl Iterator<Item = f64> + Clone) -> f64 {
        match self {
            Pool::Average => Reduction::Mean.of_floats(x),
            Pool::Max => Reduction::Max.of_floats(x),
            Pool::Lp(p) => {
                let p = p as f64;
                x.map(|v| v.abs().powf(p)).sum::<f64>().powf(1.0 / p)
            }
        }
    }
}

impl Operator for GlobalPool {
    const NAMES: &'static [&'static str] = &["GlobalAveragePool", "GlobalMaxPool", "GlobalLpPool"];

    fn name(&self) -> &'static str {
        match self.kind {
            Pool::Average => Self::NAMES[0],
            Pool::Max => Self::NAMES[1],
            Pool::Lp(_) => Self::NAMES[2],
        }
    }

    fn attrs(&self) -> Attrs {
        let attrs = Attrs::new(self.name());
        match self.kind {
            Pool::Lp(p) => attrs.with("p", p),
            _ => attrs,
        }
    }

    fn from_attrs(name: &str, attrs: &Attrs) -> Result<Self> {
        let kind = match name {
            "GlobalAveragePool" => Pool::Average,
            "GlobalMaxPool" => Pool::Max,
            _ => Pool::Lp(attrs.or("p", 2)?),
        };
        if matches!(kind, Pool::Lp(..1)) {
            return Err(Error::op(name, "p must be at least 1"));
        }
        Ok(GlobalPool { kind })
    }

    fn infer(&self, inputs: Facts<'_>) -> Result<Vec<Fact>> {
        let x = inputs.req(0)?;
        need_float(inputs.op(), x.dtype)?;
        if x.rank() < 2 {
            return Err(inputs.error(format!("expected [N, C, ..], got {x}")));
        }
        let mut shape = x.shape.clone();
        shape[2..].fill(1i64.into());
        Ok(vec![Fact::new(x.dtype, shape)])
    }

    fn reference(&self, inputs: Tensors<'_>) -> Result<Vec<HostTensor>> {
        let x = floats(inputs, 0)?;
        let input = inputs.req(0)?;
        let axes: Vec<usize> = (2..input.rank()).collect();
        let groups = Groups::new(input.shape(), &axes);
        let values = groups.iter().map(|g| self.kind.of(g.map(|i| x[i])));
        let values = values.collect();
        let mut shape = input.shape().clone().into_vec();
        shape[2..].fill(1);
        Ok(vec![HostTensor::from_f64(input.dtype(), shape, values)?])
    }

    fn place(&self, cx: &Placing<'_>) -> Place {
        cx.floats_only()
    }

    fn blocks(&self, cx: &Placing<'_>) -> Blocks {
        Blocks::before(cx, 2)
    }

    fn lower(&self, cx: &mut Lower<'_>) -> Result<()> {
        let rank = cx.input(0)?.shape.len();
        let kind = match self.kind {
            Pool::Average => kernels::Reduction::Mean,
            Pool::Max => kernels::Reduction::Max,
            Pool::Lp(1) => kernels::Reduction::L1,
            Pool::Lp(2) => kernels::Reduction::L2,
            Pool::Lp(p) => kernels::Reduction::Norm(p as f32),
        };
        let of_none = self.kind.of(std::iter::empty());
        emit(
            cx,
            &(2..rank).collect::<Vec<_>>(),
            kind,
            (of_none as f32).to_bits(),
        )
    }

    fn ends(&self) -> bool {
        true
    }

    fn half(&self, _: Operand) -> bool {
        true
    }

    fn cases() -> Vec<Case> {
        let mut out = vec![];
        for kind in [
            Pool::Average,
            Pool::Max,
            Pool::Lp(1),
            Pool::Lp(2),
            Pool::Lp(3),
        ] {
            let shapes: [&[usize]; 5] = [
                &[2, 3, 5, 7],
                &[1, 8, 4, 4],
                &[2, 3, 9],
                &[2, 2, 3, 2, 2],
                &[3, 4],
            ];
            for shape in shapes {
                for (dtype, nmse) in [
                    (DType::F32, 1e-10),
                    (DType::F16, 1e-6),
                    (DType::F64, 1e-10),
                    (DType::BF16, 1e-4),
                ] {
                    let x = samples::between(shape, 1, -2.0, 3.0).cast(dtype);
                    let inputs = vec![x.expect("a cast between floats")];
                    let op = GlobalPool { kind };
                    let title = format!("{shape:?} {kind:?} {dtype}");
                    out.push(Case::new(&title, op, inputs).nmse(nmse));
                }
            }
        }
        let special = [0.0, f32::INFINITY, f32::NAN, f32::NEG_INFINITY, -2.0];
        for size in [3, 8] {
            let x: Vec<f32> = (0..5 * size).map(|i| special[i / size]).collect();
            let op = GlobalPool { kind: Pool::Lp(3) };
            let x = samples::of(&[1, 5, size], &x);
            out.push(Case::new(&format!("special {size}"), op, vec![x]));
        }
        out
    }
}
