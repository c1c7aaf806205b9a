//! BatchNormalization: each channel shifted and scaled by its statistics.

use crate::fact::{Facts, Tensors};
use crate::lower::{Lower, Place, Placing};
use crate::op::{Case, Operand, Operator};
use crate::ops::groups::{Groups, floats, need_float, need_vector};
use crate::{Attrs, Dim, Fact, Result, samples};
use tilewright_kernels::{self as kernels, Form, Norm, Running, Stats, Store};
use tilewright_tensor::{DType, HostTensor};

/// ONNX BatchNormalization-15: inputs x `[N, C, ..]`, scale, bias, mean and variance `[C]`. In training the statistics
/// are those of x (population variance), and outputs 1 and 2 are the running ones.
#[derive(Clone, Debug)]
pub struct BatchNormalization {
    /// Added to the variance.
    pub epsilon: f32,
    /// What running statistics keep of their old value.
    pub momentum: f32,
    /// Normalise by the statistics of the input.
    pub training: bool,
}

impl BatchNormalization {
    fn channels(&self, x: &Fact) -> Dim {
        // A tensor of rank 1 has one channel.
        x.shape.get(1).cloned().unwrap_or(1i64.into())
    }
}

impl BatchNormalization {
    /// The rows mean, scale / deviation and bias, made once from constant inputs; none where one is not constant.
    fn table(&self, cx: &mut Lower<'_>) -> Result<Option<kernels::View>> {
        let Some(scale) = cx.weight(1) else {
            return Ok(None);
        };
        if (2..5).any(|i| cx.weight(i).is_none()) {
            return Ok(None);
        }
        let channels = scale.len();
        let key = format!("channel table {}", self.epsilon.to_bits());
        let epsilon = f64::from(self.epsilon);
        let table = cx.derived_from(&[1, 2, 3, 4], key, |from| {
            let [scale, bias, mean, variance] = [0, 1, 2, 3].map(|i| &from[i]);
            let deviation = |v: f64| (v + epsilon).sqrt();
            let factors = scale.to_f64().into_iter().zip(variance.to_f64());
            let factors = factors.map(|(s, v)| s / deviation(v)).collect();
            let rows = [mean.to_f64(), factors, bias.to_f64()].concat();
            Ok(HostTensor::from_f64(DType::F32, [3, scale.len()], rows)?)
        })?;
        debug_assert_eq!(table.elements(), 3 * channels);
        Ok(Some(table))
    }

    fn lower_training(&self, cx: &mut Lower<'_>, form: Form) -> Result<()> {
        let vectors = (1..5).map(|i| cx.input(i)).collect::<Result<Vec<_>>>()?;
        // A running statistic that nobody reads still has a place to go to.
        let mut new = |i: usize| match cx.opt_output(i) {
            Some(view) => view,
            None => cx.scratch(Store::F32, [form.n]),
        };
        let new = [new(1), new(2)];
        let running = Running {
            old: [&vectors[2], &vectors[3]],
            new: [&new[0], &new[1]],
            momentum: self.momentum,
        };
        let scratch = cx.scratch(Store::F32, [kernels::channel_scratch(form) as usize / 4]);
        let stats = Stats::Computed(&scratch);
        self.emit(cx, form, stats, [&vectors[0], &vectors[1]], Some(running))
    }

    fn emit(
        &self,
        cx: &mut Lower<'_>,
        form: Form,
        stats: Stats<'_>,
        affine: [&kernels::View; 2],
        running: Option<Running<'_>>,
    ) -> Result<()> {
        let (x, by) = (cx.input(0)?, Norm::Variance(self.epsilon));
        let y = match cx.opt_output(0) {
            Some(view) => view,
            None => cx.scratch(x.store, x.shape.clone()),
        };
        let table = cx.scratch(Store::F32, [3, form.n]);
        let affine = Some(affine);
        cx.emit(kernels::channel_norm(
            cx.caps(),
            &x,
            form,
            &y,
            by,
            stats,
            affine,
            running,
            &table,
        )?);
        Ok(())
    }
}

/// Mean and population variance.
pub(crate) fn moments(x: impl ExactSizeIterator<Item = f64> + Clone) -> (f64, f64) {
    let n = x.len() as f64;
    let mean = x.clone().sum::<f64>() / n;
    (mean, x.map(|v| (v - mean) * (v - mean)).sum::<f64>() / n)
}

impl Operator for BatchNormalization {
    const NAMES: &'static [&'static str] = &["BatchNormalization"];

    fn attrs(&self) -> Attrs {
        Attrs::new("BatchNormalization")
            .with("epsilon", self.epsilon)
            .with("momentum", self.momentum)
            .with("training_mode", self.training)
    }

    fn from_attrs(_: &str, attrs: &Attrs) -> Result<Self> {
        Ok(BatchNormalization {
            epsilon: attrs.or("epsilon", 1e-5)?,
            momentum: attrs.or("momentum", 0.9)?,
            training: attrs.or("training_mode", false)?,
        })
    }

    fn infer(&self, inputs: Facts<'_>) -> Result<Vec<Fact>> {
        let x = inputs.req(0)?;
        need_float(inputs.op(), x.dtype)?;
        if x.rank() == 0 {
            return Err(inputs.error("a scalar has no channels"));
        }
        let channels = self.channels(x);
        for (i, what) in ["scale", "bias", "mean", "variance"].iter().enumerate() {
            need_vector(inputs.op(), what, inputs.req(i + 1)?, &channels)?;
        }
        let mut out = vec![Fact::new(x.dtype, x.shape.clone())];
        if self.training {
            for i in [3, 4] {
                out.push(Fact::new(inputs.req(i)?.dtype, vec![channels.clone()]));
            }
        }
        Ok(out)
    }

    fn reference(&self, inputs: Tensors<'_>) -> Result<Vec<HostTensor>> {
        let input = inputs.req(0)?;
        let x = floats(inputs, 0)?;
        let (scale, bias) = (floats(inputs, 1)?, floats(inputs, 2)?);
        let (mut mean, mut var) = (floats(inputs, 3)?, floats(inputs, 4)?);
        let axes: Vec<usize> = (0..input.rank()).filter(|&a| a != 1).collect();
        let groups = Groups::new(input.shape(), &axes);
        let (mut run_mean, mut run_var) = (mean.clone(), var.clone());
        if self.training {
            let keep = f64::from(self.momentum);
            for (c, group) in groups.iter().enumerate() {
                let values: Vec<f64> = group.map(|i| x[i]).collect();
                (mean[c], var[c]) = moments(values.iter().copied());
                run_mean[c] = run_mean[c] * keep + mean[c] * (1.0 - keep);
                run_var[c] = run_var[c] * keep + var[c] * (1.0 - keep);
            }
        }
        let mut y = vec![0.0; x.len()];
        for (c, group) in groups.iter().enumerate() {
            let factor = scale[c] / (var[c] + f64::from(self.epsilon)).sqrt();
            for i in group {
                y[i] = (x[i] - mean[c]) * factor + bias[c];
            }
        }
        let mut out = vec![HostTensor::from_f64(
            input.dtype(),
            input.shape().clone(),
            y,
        )?];
        if self.training {
            for (i, v) in [(3, run_mean), (4, run_var)] {
                out.push(HostTensor::from_f64(inputs.req(i)?.dtype(), [v.len()], v)?);
            }
        }
        Ok(out)
    }

    fn place(&self, cx: &Placing<'_>) -> Place {
        cx.floats_only()
    }

    fn lower(&self, cx: &mut Lower<'_>) -> Result<()> {
        let x = cx.input(0)?;
        if x.elements() == 0 {
            return Ok(());
        }
        let form = match x.shape.len() {
            1 => Form::along(&[x.shape[0], 1], 1),
            _ => Form::along(&x.shape, 1),
        };
        if self.training {
            return self.lower_training(cx, form);
        }
        if let Some(table) = self.table(cx)? {
            let y = cx.output(0)?;
            cx.emit([kernels::by_channel(cx.caps(), &x, form, &y, &table)?]);
            return Ok(());
        }
        let vectors = (1..5).map(|i| cx.input(i)).collect::<Result<Vec<_>>>()?;
        let stats = Stats::Given(&vectors[2], &vectors[3]);
        self.emit(cx, form, stats, [&vectors[0], &vectors[1]], None)
    }

    fn half(&self, operand: Operand) -> bool {
        matches!(operand, Operand::Input(0) | Operand::Output(0))
    }

    fn cases() -> Vec<Case> {
        let mut out = vec![];
        for training in [false, true] {
            let op = || BatchNormalization {
                epsilon: 1e-3,
                momentum: 0.7,
                training,
            };
            let shapes: [&[usize]; 7] = [
                &[2, 3, 4, 5],
                &[2, 8, 4, 4],
                &[7, 5],
                &[3, 4, 9],
                &[2, 3, 2, 2, 3],
                &[33, 8],
                &[1, 2, 30, 40],
            ];
            for shape in shapes {
                let c = shape[1];
                let inputs = vec![
                    samples::between(shape, 1, 1.0, 3.0),
                    samples::uniform(&[c], 2),
                    samples::uniform(&[c], 3),
                    samples::uniform(&[c], 4),
                    samples::between(&[c], 5, 0.2, 2.0),
                ];
                for fixed in [&[1, 2, 3, 4][..], &[]] {
                    let title = format!("{shape:?} training {training} constant {fixed:?}");
                    out.push(Case::new(&title, op(), inputs.clone()).constant(fixed));
                }
                for (dtype, nmse) in [(DType::F16, 1e-6), (DType::F64, 1e-10), (DType::BF16, 1e-4)]
                {
                    let cast = |t: &HostTensor| t.cast(dtype).expect("a cast between floats");
                    let inputs = inputs.iter().map(cast).collect();
                    let title = format!("{shape:?} training {training} {dtype}");
                    out.push(Case::new(&title, op(), inputs).nmse(nmse));
                }
            }
        }
        out
    }
}
