//! MaxPool: the largest element under each window, and where it was.

use super::pool::{self, Pool};
use super::window::{Layout, Window};
use crate::fact::{Facts, Tensors};
use crate::op::{Case, Operator};
use crate::{Attrs, Fact, Result, samples};
use tilewright_tensor::{DType, HostTensor};

/// ONNX MaxPool-22. Output 1 holds the offset of each maximum in the input as if that lay channels first; of equal
/// elements the first counts. NaN never wins over a number.
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
        // A window on padding alone has the lowest value, and no place; it gets the first.
        let lowest = if dtype.is_float() {
            f64::NEG_INFINITY
        } else {
            dtype.range().0
        };
        let found = pool.fold(
            || None,
            |best: &mut Option<(f64, usize)>, x, at| {
                if best.is_none_or(|(old, _)| x > old || (old.is_nan() && !x.is_nan())) {
                    *best = Some((x, at));
                }
            },
            |best, plane, _| {
                let (value, at) = best.unwrap_or((lowest, 0));
                (value, (plane * s0 * s1 * s2 + offset(at)) as i64)
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
