//! MaxPool: the largest element under each window, and where it was.

use super::pool::{self, Pool};
use super::window::{Layout, Window};
use crate::fact::{Facts, Tensors};
use crate::lower::{Lower, Place, Placing};
use crate::op::{Case, Operand, Operator};
use crate::{Attrs, Fact, Result, samples};
use tilewright_kernels::PoolMode;
use tilewright_tensor::{DType, HostTensor};

/// ONNX MaxPool-22. Output 1 holds the offset of each maximum in the input as if that lay channels first; of equal
/// elements the first counts. NaN never counts; a window without numbers has the type's lowest value.
#[derive(Clone, Debug, Default)]
pub struct MaxPool {
    /// Kernel, strides, dilations and padding.
    pub window: Window,
    /// Offsets count the spatial axes with the first one fastest.
    pub column_major: bool,
    /// Where the channels of input and outputs lie.
    pub layout: Layout,
}

impl Operator for MaxPool {
    const NAMES: &'static [&'static str] = &["MaxPool"];

    fn attrs(&self) -> Attrs {
        let attrs = Attrs::new("MaxPool").with("storage_order", self.column_major);
        self.window.write(self.layout.write(attrs))
    }

    fn from_attrs(_: &str, attrs: &Attrs) -> Result<Self> {
        Ok(MaxPool {
            window: Window::read(attrs)?,
            column_major: attrs.or("storage_order", false)?,
            layout: Layout::read(attrs)?,
        })
    }

    fn infer(&self, inputs: Facts<'_>) -> Result<Vec<Fact>> {
        let shape = pool::shape(inputs, &self.window, self.layout)?;
        let dtype = inputs.req(0)?.dtype;
        let indices = Fact::new(DType::I64, shape.clone());
        Ok(vec![Fact::new(dtype, shape), indices])
    }

    fn work(&self, inputs: Facts<'_>, outputs: &[Fact]) -> u64 {
        pool::work(&self.window, inputs, outputs)
    }

    fn reference(&self, inputs: Tensors<'_>) -> Result<Vec<HostTensor>> {
        let pool = Pool::new(inputs, &self.window, self.layout)?;
        let dtype = inputs.req(0)?.dtype();
        let [s0, s1, s2] = pool.slides.map(|s| s.input);
        let offset = |at: usize| {
            if self.column_major {
                (at % s2 * s1 + at / s2 % s1) * s0 + at / s2 / s1
            } else {
                at
            }
        };
        let lowest = if dtype.is_float() {
            f64::NEG_INFINITY
        } else {
            dtype.range().0
        };
        let found = pool.fold(
            || (lowest, None),
            |best: &mut (f64, Option<usize>), x, at| {
                if x > best.0 {
                    *best = (x, Some(at));
                }
                // Where nothing is larger than the lowest value, the first place stands in.
                best.1 = best.1.or(Some(at));
            },
            |(value, at), plane, _| {
                // A window of padding alone, perhaps of an empty image.
                let at = at.map_or(0, offset);
                (value, (plane * s0 * s1 * s2 + at) as i64)
            },
        );
        let (values, indices) = found.into_iter().unzip();
        let values = HostTensor::from_f64(dtype, &pool.shape[..], values)?;
        let indices = HostTensor::from_vec::<i64>(&pool.shape[..], indices)?;
        Ok(vec![
            self.layout.tensor_from_first(&values)?,
            self.layout.tensor_from_first(&indices)?,
        ])
    }

    fn place(&self, cx: &Placing<'_>) -> Place {
        let byte = |f: &Fact| matches!(f.dtype, DType::I8 | DType::U8);
        match cx.inputs.opt(0) {
            Some(x) if byte(x) && x.rank() <= 5 => cx.by_storage(),
            _ => pool::place(cx),
        }
    }

    fn lower(&self, cx: &mut Lower<'_>) -> Result<()> {
        pool::lower(
            cx,
            &self.window,
            self.layout,
            PoolMode::Max,
            self.column_major,
        )
    }

    fn half(&self, _: Operand) -> bool {
        true
    }

    fn cases() -> Vec<Case> {
        let op = |window| MaxPool {
            window,
            ..MaxPool::default()
        };
        let mut cases: Vec<Case> = (pool::windows().into_iter())
            .map(|(name, window, x)| Case::new(name, op(window), vec![x]))
            .collect();
        let columns = MaxPool {
            column_major: true,
            ..op(Window::of(&[2, 2]))
        };
        let x = samples::uniform(&[2, 3, 4, 5], 1);
        cases.push(Case::new("columns first", columns, vec![x]));
        for dtype in [DType::I8, DType::U8] {
            let x = samples::integers(dtype, &[1, 3, 5, 6], 2, -4, 5);
            cases.push(Case::new(dtype.name(), op(Window::of(&[2, 3])), vec![x]));
        }
        // A window that lies on padding alone.
        let padded = Window {
            pads: vec![1, 1, 1, 1],
            ..Window::of(&[1, 2])
        };
        let x = samples::uniform(&[1, 1, 0, 3], 3);
        cases.push(Case::new("an empty image", op(padded), vec![x]));
        pool::both_layouts(cases, |op| match op {
            crate::Op::MaxPool(op) => Some(
                MaxPool {
                    layout: Layout::ChannelsLast,
                    ..op.clone()
                }
                .into(),
            ),
            _ => None,
        })
    }
}
