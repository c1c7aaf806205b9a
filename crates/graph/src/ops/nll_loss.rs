//! NegativeLogLikelihoodLoss and SoftmaxCrossEntropyLoss.

use crate::fact::{Facts, Tensors};
use crate::lower::{Lower, Place, Placing};
use crate::op::{Case, Operator};
use crate::ops::groups::{Groups, floats, need_float, need_vector};
use crate::ops::softmax::log_softmax;
use crate::{Attrs, Dim, Error, Fact, Result, samples};
use tilewright_kernels::{self as kernels, Form, Store, Total};
use tilewright_tensor::{DType, HostTensor};

/// How the losses of samples become one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LossReduction {
    /// They do not.
    None,
    /// Their sum.
    Sum,
    /// Their sum over the sum of the samples' weights.
    Mean,
}

/// ONNX NegativeLogLikelihoodLoss-22 and SoftmaxCrossEntropyLoss-13: inputs scores `[N, C, d..]` (log-probabilities for
/// the former), labels `[N, d..]` and weights `[C]` (optional); outputs the loss, and for the latter the log-probabilities.
#[derive(Clone, Debug)]
pub struct NllLoss {
    /// The scores are not log-probabilities yet: SoftmaxCrossEntropyLoss.
    pub softmax: bool,
    /// How losses are reduced.
    pub reduction: LossReduction,
    /// A label of samples that do not count.
    pub ignore_index: Option<i64>,
}

const REDUCTIONS: [(&str, LossReduction); 3] = [
    ("none", LossReduction::None),
    ("sum", LossReduction::Sum),
    ("mean", LossReduction::Mean),
];

impl NllLoss {
    /// The shape of labels that goes with scores of shape `x`.
    fn labels<T: Clone>(&self, x: &[T]) -> Result<Vec<T>> {
        match x {
            [n, _, rest @ ..] => Ok([std::slice::from_ref(n), rest].concat()),
            _ => Err(Error::op(
                self.name(),
                "scores must have the shape [N, C, ..]",
            )),
        }
    }

    /// Loss and weight of each sample.
    fn samples(
        &self,
        logs: &[f64],
        shape: &[usize],
        labels: &[i64],
        weights: &[f64],
    ) -> Result<(Vec<f64>, Vec<f64>)> {
        let inner: usize = shape[2..].iter().product();
        let classes = shape[1];
        let mut losses = vec![0.0; labels.len()];
        let mut counts = vec![0.0; labels.len()];
        for (s, &label) in labels.iter().enumerate() {
            if Some(label) == self.ignore_index {
                continue;
            }
            let class = usize::try_from(label).ok().filter(|&c| c < classes);
            let class = class.ok_or_else(|| {
                Error::op(
                    self.name(),
                    format!("label {label} is none of {classes} classes"),
                )
            })?;
            let at = (s / inner * classes + class) * inner + s % inner;
            losses[s] = -logs[at] * weights[class];
            counts[s] = weights[class];
        }
        Ok((losses, counts))
    }
}

impl NllLoss {
    /// The loss of no samples: the sum is 0, the mean 0 / 0.
    fn lower_empty(&self, cx: &mut Lower<'_>) -> Result<()> {
        let of_none = match self.reduction {
            LossReduction::Mean => f32::NAN,
            _ => 0.0,
        };
        match cx.opt_output(0).filter(|loss| loss.elements() > 0) {
            Some(_) if self.reduction == LossReduction::None => {
                Err(cx.error("there are no classes"))
            }
            Some(loss) => {
                cx.emit(kernels::fill(cx.caps(), &loss, of_none.to_bits())?);
                Ok(())
            }
            None => Ok(()),
        }
    }
}

impl Operator for NllLoss {
    const NAMES: &'static [&'static str] =
        &["NegativeLogLikelihoodLoss", "SoftmaxCrossEntropyLoss"];

    fn name(&self) -> &'static str {
        Self::NAMES[usize::from(self.softmax)]
    }

    fn attrs(&self) -> Attrs {
        let row = REDUCTIONS.iter().find(|row| row.1 == self.reduction);
        Attrs::new(self.name())
            .with("reduction", row.map_or("mean", |row| row.0).to_string())
            .with_opt("ignore_index", self.ignore_index)
    }

    fn from_attrs(name: &str, attrs: &Attrs) -> Result<Self> {
        let text = attrs.or("reduction", "mean".to_string())?;
        let row = REDUCTIONS.iter().find(|row| row.0 == text);
        let row = row.ok_or_else(|| {
            Error::op(name, format!("reduction {text:?} is not none, sum or mean"))
        })?;
        Ok(NllLoss {
            softmax: name == Self::NAMES[1],
            reduction: row.1,
            ignore_index: attrs.opt("ignore_index")?,
        })
    }

    fn infer(&self, inputs: Facts<'_>) -> Result<Vec<Fact>> {
        let (x, labels) = (inputs.req(0)?, inputs.req(1)?);
        need_float(self.name(), x.dtype)?;
        let shape = self.labels(&x.shape)?;
        let differ = |(a, b): (&Dim, &Dim)| a.known().is_some() && b.known().is_some() && a != b;
        if shape.len() != labels.rank() || shape.iter().zip(&labels.shape).any(differ) {
            return Err(inputs.error(format!("labels {labels} do not go with scores {x}")));
        }
        if !labels.dtype.is_int() {
            return Err(inputs.error(format!("labels must be integers, got {labels}")));
        }
        if let Some(weights) = inputs.opt(2) {
            need_vector(self.name(), "weight", weights, &x.shape[1])?;
        }
        let shape = match self.reduction {
            LossReduction::None => shape,
            _ => vec![],
        };
        let mut out = vec![Fact::new(x.dtype, shape)];
        if self.softmax {
            out.push(Fact::new(x.dtype, x.shape.clone()));
        }
        Ok(out)
    }

    fn reference(&self, inputs: Tensors<'_>) -> Result<Vec<HostTensor>> {
        let input = inputs.req(0)?;
        let shape = input.shape();
        let mut logs = floats(inputs, 0)?;
        let out = self.labels(shape)?;
        let labels = inputs.req(1)?;
        if labels.shape()[..] != out[..] {
            let what = format!("labels {} do not go with scores {shape}", labels.shape());
            return Err(inputs.error(what));
        }
        if self.softmax {
            for group in Groups::new(shape, &[1]).iter() {
                let row: Vec<f64> = group.clone().map(|i| logs[i]).collect();
                for (i, v) in group.zip(log_softmax(&row)) {
                    logs[i] = v;
                }
            }
        }
        let weights = match inputs.opt(2) {
            Some(_) => floats(inputs, 2)?,
            None => vec![1.0; shape[1]],
        };
        let (losses, counts) = self.samples(&logs, shape, &labels.to_i64()?, &weights)?;
        let sum = losses.iter().sum::<f64>();
        let dtype = input.dtype();
        let loss = match self.reduction {
            LossReduction::None => HostTensor::from_f64(dtype, out, losses)?,
            LossReduction::Sum => HostTensor::from_f64(dtype, vec![], vec![sum])?,
            LossReduction::Mean => {
                let mean = sum / counts.iter().sum::<f64>();
                HostTensor::from_f64(dtype, vec![], vec![mean])?
            }
        };
        if self.softmax {
            return Ok(vec![
                loss,
                HostTensor::from_f64(dtype, shape.clone(), logs)?,
            ]);
        }
        Ok(vec![loss])
    }

    fn place(&self, cx: &Placing<'_>) -> Place {
        cx.floats_only()
    }

    fn lower(&self, cx: &mut Lower<'_>) -> Result<()> {
        let (scores, labels) = (cx.input(0)?, cx.input(1)?);
        if scores.elements() == 0 {
            return self.lower_empty(cx);
        }
        let form = Form::along(&scores.shape, 1);
        let logs = match cx.opt_output(1) {
            _ if !self.softmax => scores.clone(),
            Some(view) => view,
            None => cx.scratch(Store::F32, scores.shape.clone()),
        };
        if self.softmax {
            cx.emit(kernels::softmax(cx.caps(), &scores, 1, &logs, true)?);
        }
        let Some(loss) = cx.opt_output(0) else {
            return Ok(());
        };
        let total = match self.reduction {
            LossReduction::None => Total::Each,
            LossReduction::Sum => Total::Sum,
            LossReduction::Mean => Total::Mean,
        };
        // No label of the device, which has 32 bits, is a larger one.
        let ignore = self.ignore_index.and_then(|i| i32::try_from(i).ok());
        let bytes = kernels::nll_scratch(cx.caps(), form.outer * form.inner) as usize;
        let scratch = (total != Total::Each).then(|| cx.scratch(Store::F32, [bytes / 4]));
        let weights = cx.opt_input(2);
        cx.emit(kernels::nll_loss(
            cx.caps(),
            &logs,
            form,
            &labels,
            weights.as_ref(),
            ignore,
            total,
            &loss,
            scratch.as_ref(),
        )?);
        Ok(())
    }

    fn cases() -> Vec<Case> {
        let mut out = vec![];
        for softmax in [false, true] {
            for (text, reduction) in REDUCTIONS {
                for ignore_index in [None, Some(2), Some(-100)] {
                    let op = || NllLoss {
                        softmax,
                        reduction,
                        ignore_index,
                    };
                    for weighted in [false, true] {
                        let title = format!(
                            "{} {text} ignore {ignore_index:?} weighted {weighted}",
                            op().name()
                        );
                        out.extend(loss_cases(&title, &op(), weighted));
                    }
                }
            }
        }
        out
    }
}

fn loss_cases(title: &str, op: &NllLoss, weighted: bool) -> Vec<Case> {
    let shapes: [&[usize]; 4] = [&[7, 5], &[3, 4, 6], &[2, 5, 3, 3], &[65, 130]];
    let mut out = vec![];
    for shape in shapes {
        let labels: Vec<usize> = op.labels(shape).expect("scores have classes");
        for (dtype, index, nmse) in [
            (DType::F32, DType::I64, 1e-10),
            (DType::F16, DType::I32, 1e-6),
            (DType::F64, DType::I64, 1e-10),
        ] {
            let cast = |t: HostTensor| t.cast(dtype).expect("a cast between floats");
            let mut classes = samples::integers(index, &labels, 2, 0, shape[1] as i64);
            if op.ignore_index.is_some_and(|i| i < 0) {
                // Some labels that are no class, only to be ignored.
                let drop = samples::booleans(&labels, 3).to_f64();
                let mixed = classes.to_f64().into_iter().zip(drop);
                let mixed = mixed
                    .map(|(c, d)| if d > 0.0 { -100.0 } else { c })
                    .collect();
                classes =
                    HostTensor::from_f64(index, labels.clone(), mixed).expect("a small shape");
            }
            let mut inputs = vec![cast(samples::between(shape, 1, -3.0, 0.0)), classes];
            if weighted {
                inputs.push(cast(samples::between(&[shape[1]], 4, 0.2, 1.0)));
            }
            out.push(
                Case::new(&format!("{title} {shape:?} {dtype}"), op.clone(), inputs).nmse(nmse),
            );
        }
    }
    out
}
