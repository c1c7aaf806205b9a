//! AveragePool and LpPool: means and norms of the elements under each window.

use super::pool::{self, Pool};
use super::window::{Layout, Window};
use crate::blocks::Blocks;
use crate::fact::{Facts, Tensors};
use crate::lower::{Lower, Place, Placing};
use crate::op::{Case, Operand, Operator};
use crate::{Attrs, Fact, Result};
use tilewright_kernels::PoolMode;
use tilewright_tensor::{DType, HostTensor};

/// ONNX AveragePool-22: the sum of the elements under a window by their number.
#[derive(Clone, Debug, Default)]
pub struct AveragePool {
    /// Kernel, strides, dilations and padding.
    pub window: Window,
    /// Padding counts as elements of value 0; what lies behind the padding never counts.
    pub count_include_pad: bool,
    /// Where the channels of input and output lie.
    pub layout: Layout,
}

impl Operator for AveragePool {
    const NAMES: &'static [&'static str] = &["AveragePool"];

    fn attrs(&self) -> Attrs {
        let attrs = Attrs::new("AveragePool").with("count_include_pad", self.count_include_pad);
        self.window.write(self.layout.write(attrs))
    }

    fn from_attrs(_: &str, attrs: &Attrs) -> Result<Self> {
        Ok(AveragePool {
            window: Window::read(attrs)?,
            count_include_pad: attrs.or("count_include_pad", false)?,
            layout: Layout::read(attrs)?,
        })
    }

    fn infer(&self, inputs: Facts<'_>) -> Result<Vec<Fact>> {
        let shape = pool::shape(inputs, &self.window, self.layout)?;
        Ok(vec![Fact::new(inputs.req(0)?.dtype, shape)])
    }

    fn work(&self, inputs: Facts<'_>, outputs: &[Fact]) -> u64 {
        pool::work(&self.window, inputs, outputs)
    }

    fn reference(&self, inputs: Tensors<'_>) -> Result<Vec<HostTensor>> {
        let pool = Pool::new(inputs, &self.window, self.layout)?;
        let values = pool.fold(
            || 0.0,
            |sum, x, _| *sum += x,
            |sum, _, at| {
                let axes = pool.slides.iter().zip(at);
                let count: usize = if self.count_include_pad {
                    axes.map(|(s, out)| s.padded_taps(out)).product()
                } else {
                    axes.map(|(s, out)| s.taps_of(out).len()).product()
                };
                // A window on padding alone has no elements; 0, as if it had one of value 0.
                sum / count.max(1) as f64
            },
        );
        let y = HostTensor::from_f64(inputs.req(0)?.dtype(), &pool.shape[..], values)?;
        Ok(vec![self.layout.tensor_from_first(&y)?])
    }

    fn place(&self, cx: &Placing<'_>) -> Place {
        pool::place(cx)
    }

    fn blocks(&self, cx: &Placing<'_>) -> Blocks {
        Blocks::before(cx, 1)
    }

    fn lower(&self, cx: &mut Lower<'_>) -> Result<()> {
        let count_padding = self.count_include_pad;
        let mode = PoolMode::Mean { count_padding };
        pool::lower(cx, &self.window, self.layout, mode, false)
    }

    fn half(&self, _: Operand) -> bool {
        true
    }

    fn cases() -> Vec<Case> {
        let op = |window, count_include_pad| AveragePool {
            window,
            count_include_pad,
            ..AveragePool::default()
        };
        let mut cases = vec![];
        for (name, window, x) in pool::windows() {
            let padded = format!("{name}, with padding");
            cases.push(Case::new(name, op(window.clone(), false), vec![x.clone()]));
            cases.push(Case::new(&padded, op(window, true), vec![x]));
        }
        pool::both_layouts(cases, |op| match op {
            crate::Op::AveragePool(op) => Some(
                AveragePool {
                    layout: Layout::ChannelsLast,
                    ..op.clone()
                }
                .into(),
            ),
            _ => None,
        })
    }
}

/// ONNX LpPool-22: `(sum |x|^p)^(1/p)` over the elements under a window.
#[derive(Clone, Debug)]
pub struct LpPool {
    /// Kernel, strides, dilations and padding.
    pub window: Window,
    /// The power.
    pub p: i64,
    /// Where the channels of input and output lie.
    pub layout: Layout,
}

impl Operator for LpPool {
    const NAMES: &'static [&'static str] = &["LpPool"];

    fn attrs(&self) -> Attrs {
        let attrs = Attrs::new("LpPool").with("p", self.p);
        self.window.write(self.layout.write(attrs))
    }

    fn from_attrs(_: &str, attrs: &Attrs) -> Result<Self> {
        Ok(LpPool {
            window: Window::read(attrs)?,
            p: attrs.or("p", 2)?,
            layout: Layout::read(attrs)?,
        })
    }

    fn infer(&self, inputs: Facts<'_>) -> Result<Vec<Fact>> {
        if self.p < 1 {
            return Err(inputs.error(format!("p must be at least 1, got {}", self.p)));
        }
        let shape = pool::shape(inputs, &self.window, self.layout)?;
        Ok(vec![Fact::new(inputs.req(0)?.dtype, shape)])
    }

    fn work(&self, inputs: Facts<'_>, outputs: &[Fact]) -> u64 {
        pool::work(&self.window, inputs, outputs)
    }

    fn reference(&self, inputs: Tensors<'_>) -> Result<Vec<HostTensor>> {
        let pool = Pool::new(inputs, &self.window, self.layout)?;
        let p = self.p as f64;
        let values = pool.fold(
            || 0.0,
            |sum: &mut f64, x, _| *sum += x.abs().powf(p),
            |sum, _, _| sum.powf(1.0 / p),
        );
        let y = HostTensor::from_f64(inputs.req(0)?.dtype(), &pool.shape[..], values)?;
        Ok(vec![self.layout.tensor_from_first(&y)?])
    }

    fn place(&self, cx: &Placing<'_>) -> Place {
        pool::place(cx)
    }

    fn blocks(&self, cx: &Placing<'_>) -> Blocks {
        Blocks::before(cx, 1)
    }

    fn lower(&self, cx: &mut Lower<'_>) -> Result<()> {
        let power = self.p as f32;
        let mode = PoolMode::Norm { power };
        pool::lower(cx, &self.window, self.layout, mode, false)
    }

    fn half(&self, _: Operand) -> bool {
        true
    }

    fn cases() -> Vec<Case> {
        let op = |window, p| LpPool {
            window,
            p,
            layout: Layout::ChannelsFirst,
        };
        let mut cases: Vec<Case> = (pool::windows()
            .into_iter()
            .zip([2, 1, 3].into_iter().cycle()))
        .map(|((name, window, x), p)| Case::new(&format!("{name}, p {p}"), op(window, p), vec![x]))
        .collect();
        let half = crate::samples::uniform(&[1, 2, 5, 5], 1).cast(DType::F16);
        let half = half.expect("f32 to f16 always works");
        cases.push(Case::new("f16", op(Window::of(&[2, 2]), 2), vec![half]));
        let special = [0.0, f32::INFINITY, f32::NAN, f32::NEG_INFINITY, -2.0];
        let special: Vec<f32> = (0..60).map(|i| special[i % 5]).collect();
        let special = crate::samples::of(&[1, 4, 3, 5], &special);
        let p = |p| {
            Case::new(
                &format!("special, p {p}"),
                op(Window::of(&[3, 1]), p),
                vec![special.clone()],
            )
        };
        cases.extend([p(1), p(2), p(3)]);
        pool::both_layouts(cases, |op| match op {
            crate::Op::LpPool(op) => Some(
                LpPool {
                    layout: Layout::ChannelsLast,
                    ..op.clone()
                }
                .into(),
            ),
            _ => None,
        })
    }
}
