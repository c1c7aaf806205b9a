//! LayerNormalization and RMSNormalization: each row over the last axes normalised by its own statistics.

use crate::attrs::{dtype_code, dtype_from_code};
use crate::blocks::Blocks;
use crate::fact::{Facts, Tensors, axis_index, broadcast};
use crate::lower::{Lower, Place, Placing};
use crate::op::{Case, Operand, Operator};
use crate::ops::batch_normalization::moments;
use crate::ops::groups::{floats, need_float};
use crate::{Attrs, Dim, Error, Fact, Result, samples};
use tilewright_kernels::{self as kernels, Adjust, Form, Norm, Store, View};
use tilewright_tensor::{DType, HostTensor, Shape};

/// ONNX LayerNormalization-17 (outputs y, mean, inverse deviation) and RMSNormalization-23 (output y): inputs x, scale
/// and bias; those two broadcast to x.
#[derive(Clone, Debug)]
pub struct LayerNormalization {
    /// The mean is not subtracted and there is no bias: RMSNormalization.
    pub rms: bool,
    /// The first of the normalised axes; negative counts from the end.
    pub axis: i64,
    /// Added to the variance.
    pub epsilon: f32,
    /// The type of the statistics.
    pub stash_type: DType,
}

impl Default for LayerNormalization {
    /// LayerNormalization along the last axis.
    fn default() -> LayerNormalization {
        LayerNormalization {
            rms: false,
            axis: -1,
            epsilon: 1e-5,
            stash_type: DType::F32,
        }
    }
}

impl LayerNormalization {
    /// An error unless scale and bias broadcast to x.
    fn check(&self, inputs: Facts<'_>, x: &Fact) -> Result<()> {
        for i in 1..inputs.len().min(3) {
            let Some(fact) = inputs.opt(i) else { continue };
            need_float(self.name(), fact.dtype)?;
            let joined = broadcast(self.name(), &[&x.shape, &fact.shape])?;
            let differ =
                |(a, b): (&Dim, &Dim)| a.known().is_some() && b.known().is_some() && a != b;
            if joined.len() != x.rank() || joined.iter().zip(&x.shape).any(differ) {
                return Err(inputs.error(format!("{fact} does not broadcast to {x}")));
            }
        }
        Ok(())
    }
}

/// Whether a scale or bias has one element for each of x's axes `axis..`, and is the same for all others.
fn covers(x: &Fact, axis: usize, scale: &Fact) -> bool {
    let (lead, own) = scale
        .shape
        .split_at(scale.rank().saturating_sub(x.rank() - axis));
    own == &x.shape[axis..] && lead.iter().all(|n| n.known() == Some(1))
}

/// The elements of input `i`, broadcast to `shape`; `default` where it is left out.
fn spread(inputs: Tensors<'_>, i: usize, shape: &Shape, default: f64) -> Result<Vec<f64>> {
    if inputs.opt(i).is_none() {
        return Ok(vec![default; shape.elements()?]);
    }
    let values = floats(inputs, i)?;
    let strides = inputs.req(i)?.shape().broadcast_strides(shape)?;
    Ok(shape.offsets([&strides]).map(|[at]| values[at]).collect())
}

impl Operator for LayerNormalization {
    const NAMES: &'static [&'static str] = &["LayerNormalization", "RMSNormalization"];

    fn name(&self) -> &'static str {
        Self::NAMES[usize::from(self.rms)]
    }

    fn attrs(&self) -> Attrs {
        Attrs::new(self.name())
            .with("axis", self.axis)
            .with("epsilon", self.epsilon)
            .with("stash_type", dtype_code(self.stash_type))
    }

    fn from_attrs(name: &str, attrs: &Attrs) -> Result<Self> {
        let code = attrs.or("stash_type", 1i64)?;
        let stash_type = dtype_from_code(code).filter(|d| d.is_float());
        Ok(LayerNormalization {
            rms: name == Self::NAMES[1],
            axis: attrs.or("axis", -1)?,
            epsilon: attrs.or("epsilon", 1e-5)?,
            stash_type: stash_type
                .ok_or_else(|| Error::op(name, format!("stash_type {code} is no float type")))?,
        })
    }

    fn infer(&self, inputs: Facts<'_>) -> Result<Vec<Fact>> {
        let x = inputs.req(0)?;
        let scale = inputs.req(1)?;
        need_float(self.name(), x.dtype)?;
        self.check(inputs, x)?;
        let axis = axis_index(self.name(), self.axis, x.rank())?;
        if self.rms {
            // The result has the type of the scale.
            return Ok(vec![Fact::new(scale.dtype, x.shape.clone())]);
        }
        let mut shape = x.shape.clone();
        shape[axis..].fill(1i64.into());
        let stash = Fact::new(self.stash_type, shape);
        Ok(vec![
            Fact::new(x.dtype, x.shape.clone()),
            stash.clone(),
            stash,
        ])
    }

    fn reference(&self, inputs: Tensors<'_>) -> Result<Vec<HostTensor>> {
        let input = inputs.req(0)?;
        let shape = input.shape();
        let axis = axis_index(self.name(), self.axis, input.rank())?;
        let mut y = floats(inputs, 0)?;
        let scale = spread(inputs, 1, shape, 1.0)?;
        let bias = if self.rms {
            vec![0.0; y.len()]
        } else {
            spread(inputs, 2, shape, 0.0)?
        };
        let row = shape[axis..].iter().product::<usize>();
        let (mut means, mut inverses) = (vec![], vec![]);
        // Rows without elements still have (undefined) statistics.
        for start in (0..shape[..axis].iter().product()).map(|r: usize| r * row) {
            let x = &mut y[start..start + row];
            let (mean, var) = if self.rms {
                (0.0, x.iter().map(|v| v * v).sum::<f64>() / row as f64)
            } else {
                moments(x.iter().copied())
            };
            let inverse = 1.0 / (var + f64::from(self.epsilon)).sqrt();
            for (k, v) in x.iter_mut().enumerate() {
                *v = (*v - mean) * inverse * scale[start + k] + bias[start + k];
            }
            means.push(mean);
            inverses.push(inverse);
        }
        if self.rms {
            let dtype = inputs.req(1)?.dtype();
            return Ok(vec![HostTensor::from_f64(dtype, shape.clone(), y)?]);
        }
        let mut stash = shape.clone().into_vec();
        stash[axis..].fill(1);
        Ok(vec![
            HostTensor::from_f64(input.dtype(), shape.clone(), y)?,
            HostTensor::from_f64(self.stash_type, stash.clone(), means)?,
            HostTensor::from_f64(self.stash_type, stash, inverses)?,
        ])
    }

    fn place(&self, cx: &Placing<'_>) -> Place {
        let Some(x) = cx.inputs.opt(0) else {
            return cx.by_storage();
        };
        let Ok(axis) = axis_index(self.name(), self.axis, x.rank()) else {
            return cx.by_storage();
        };
        let mut vectors = (1..3).filter_map(|i| cx.inputs.opt(i));
        if vectors.any(|v| !covers(x, axis, v)) {
            return Place::host("scale or bias do not have the shape of the normalised axes");
        }
        cx.floats_only()
    }

    fn blocks(&self, cx: &Placing<'_>) -> Blocks {
        Blocks::before(cx, self.axis)
    }

    fn lower(&self, cx: &mut Lower<'_>) -> Result<()> {
        let (x, scale) = (cx.input(0)?, cx.input(1)?);
        if x.elements() == 0 {
            return match cx.opt_output(1).or(cx.opt_output(2)) {
                Some(view) if view.elements() > 0 => Err(cx.error("statistics of empty rows")),
                _ => Ok(()),
            };
        }
        let axis = axis_index(self.name(), self.axis, x.shape.len())?;
        let form = Form::around(&x.shape, axis, x.shape.len());
        let bias = cx.opt_input(2).filter(|_| !self.rms);
        let adjust = Adjust::Element(&scale, bias.as_ref());
        let by = if self.rms {
            Norm::MeanSquare(self.epsilon)
        } else {
            Norm::Variance(self.epsilon)
        };
        let [y, mean, inverse] = [0, 1, 2].map(|i| cx.opt_output(i));
        // What nobody reads still has a place to go to where the others are read.
        let mut place = |view: Option<View>, store, shape: Vec<usize>| match view {
            Some(view) => view,
            None => cx.scratch(store, shape),
        };
        let kept = mean.is_some() || inverse.is_some();
        let y = place(y, x.store, x.shape.clone());
        let stats = kept.then(|| {
            [
                place(mean, Store::F32, vec![form.outer]),
                place(inverse, Store::F32, vec![form.outer]),
            ]
        });
        let stats = stats.as_ref().map(|[mean, inverse]| [mean, inverse]);
        cx.emit_ended(kernels::norm(cx.caps(), &x, form, &y, by, adjust, stats)?)
    }

    fn ends(&self) -> bool {
        true
    }

    fn half(&self, _: Operand) -> bool {
        true
    }

    fn cases() -> Vec<Case> {
        let mut out = vec![];
        for rms in [false, true] {
            let op = |axis, stash_type| LayerNormalization {
                rms,
                axis,
                epsilon: 1e-4,
                stash_type,
            };
            let mut case = |axis: i64, shape: &[usize], scale: &[usize], bias: bool| {
                let x = samples::between(shape, 1, 0.0, 3.0);
                let mut inputs = vec![x, samples::uniform(scale, 2)];
                if bias && !rms {
                    inputs.push(samples::uniform(scale, 3));
                }
                let name = op(axis, DType::F32).name();
                let title = format!("{name} {shape:?} axis {axis} scale {scale:?} bias {bias}");
                out.push(Case::new(&title, op(axis, DType::F32), inputs.clone()).constant(&[1, 2]));
                for (dtype, nmse) in [(DType::F16, 1e-6), (DType::F64, 1e-10), (DType::BF16, 1e-4)]
                {
                    let cast = |t: &HostTensor| t.cast(dtype).expect("a cast between floats");
                    let inputs = inputs.iter().map(cast).collect();
                    let stash = if dtype == DType::BF16 {
                        dtype
                    } else {
                        DType::F32
                    };
                    let case = Case::new(&format!("{title} {dtype}"), op(axis, stash), inputs);
                    out.push(case.nmse(nmse));
                }
            };
            case(-1, &[2, 3, 5], &[5], true);
            case(-1, &[6, 8], &[8], false);
            case(1, &[2, 3, 5], &[3, 5], true);
            case(-3, &[2, 3, 4], &[2, 3, 4], true);
            case(0, &[37], &[37], true);
            case(-1, &[3, 4], &[1, 4], true);
            case(-1, &[3, 4], &[3, 1], true);
            case(-2, &[3, 4, 5], &[1], true);
            case(-1, &[2, 1030], &[1030], true);
            case(-1, &[3, 768], &[768], true);
            case(-1, &[150, 12], &[12], false);
        }
        out
    }
}
