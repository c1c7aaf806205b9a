//! InstanceNormalization and GroupNormalization: channels, or groups of them, normalised one instance at a time.

use crate::attrs::{dtype_code, dtype_from_code};
use crate::blocks::Blocks;
use crate::fact::{Facts, Tensors};
use crate::lower::{Lower, Place, Placing};
use crate::op::{Case, Operand, Operator};
use crate::ops::batch_normalization::moments;
use crate::ops::groups::{floats, need_float, need_vector};
use crate::{Attrs, Error, Fact, Result, samples};
use tilewright_kernels::{self as kernels, Adjust, Form, Norm};
use tilewright_tensor::{DType, HostTensor};

/// ONNX InstanceNormalization-22: inputs x `[N, C, ..]`, scale and bias `[C]`.
#[derive(Clone, Debug)]
pub struct InstanceNormalization {
    /// Added to the variance.
    pub epsilon: f32,
}

/// ONNX GroupNormalization-21: inputs x `[N, C, ..]`, scale and bias `[C]`.
#[derive(Clone, Debug)]
pub struct GroupNormalization {
    /// Added to the variance.
    pub epsilon: f32,
    /// Number of groups; a divisor of C.
    pub groups: i64,
    /// The type that statistics are computed in at least; f32 and up are more than what is asked for.
    pub stash_type: DType,
}

fn check(inputs: Facts<'_>) -> Result<Vec<Fact>> {
    let x = inputs.req(0)?;
    need_float(inputs.op(), x.dtype)?;
    let Some(channels) = x.shape.get(1) else {
        return Err(inputs.error(format!("expected [N, C, ..], got {x}")));
    };
    need_vector(inputs.op(), "scale", inputs.req(1)?, channels)?;
    need_vector(inputs.op(), "bias", inputs.req(2)?, channels)?;
    Ok(vec![Fact::new(x.dtype, x.shape.clone())])
}

/// x `[N, C, ..]` normalised over each of `groups` groups of channels, then scaled and shifted by channel.
fn normalised(inputs: Tensors<'_>, groups: usize, epsilon: f32) -> Result<Vec<HostTensor>> {
    let input = inputs.req(0)?;
    let mut y = floats(inputs, 0)?;
    let (scale, bias) = (floats(inputs, 1)?, floats(inputs, 2)?);
    let channels = input.shape()[1];
    let inner: usize = input.shape()[2..].iter().product();
    let row = channels / groups.max(1) * inner;
    if row > 0 {
        for (r, x) in y.chunks_exact_mut(row).enumerate() {
            let (mean, var) = moments(x.iter().copied());
            let inverse = 1.0 / (var + f64::from(epsilon)).sqrt();
            for (k, v) in x.iter_mut().enumerate() {
                let c = (r * row + k) / inner % channels;
                *v = (*v - mean) * inverse * scale[c] + bias[c];
            }
        }
    }
    Ok(vec![HostTensor::from_f64(
        input.dtype(),
        input.shape().clone(),
        y,
    )?])
}

/// Emits the normalisation of rows of `per_row` channels each.
fn emit(cx: &mut Lower<'_>, per_row: usize, epsilon: f32) -> Result<()> {
    let (x, y) = (cx.input(0)?, cx.output(0)?);
    if x.elements() == 0 {
        return Ok(());
    }
    let (scale, bias) = (cx.input(1)?, cx.input(2)?);
    let each: usize = x.shape[2..].iter().product();
    let n = per_row * each;
    let form = Form {
        outer: x.elements() / n,
        n,
        inner: 1,
    };
    let adjust = Adjust::Channel {
        scale: &scale,
        bias: &bias,
        each,
    };
    let by = Norm::Variance(epsilon);
    cx.emit_ended(kernels::norm(cx.caps(), &x, form, &y, by, adjust, None)?)
}

fn inputs(shape: &[usize], dtype: DType) -> Vec<HostTensor> {
    let c = shape[1];
    let x = samples::between(shape, 1, 1.0, 4.0);
    [x, samples::uniform(&[c], 2), samples::uniform(&[c], 3)]
        .map(|t| t.cast(dtype).expect("a cast between floats"))
        .into()
}

const TYPES: [(DType, f64); 4] = [
    (DType::F32, 1e-10),
    (DType::F16, 1e-6),
    (DType::F64, 1e-10),
    (DType::BF16, 1e-4),
];

impl Operator for InstanceNormalization {
    const NAMES: &'static [&'static str] = &["InstanceNormalization"];

    fn attrs(&self) -> Attrs {
        Attrs::new("InstanceNormalization").with("epsilon", self.epsilon)
    }

    fn from_attrs(_: &str, attrs: &Attrs) -> Result<Self> {
        Ok(InstanceNormalization {
            epsilon: attrs.or("epsilon", 1e-5)?,
        })
    }

    fn infer(&self, inputs: Facts<'_>) -> Result<Vec<Fact>> {
        check(inputs)
    }

    fn reference(&self, inputs: Tensors<'_>) -> Result<Vec<HostTensor>> {
        normalised(inputs, inputs.req(0)?.shape()[1], self.epsilon)
    }

    fn place(&self, cx: &Placing<'_>) -> Place {
        cx.floats_only()
    }

    fn blocks(&self, cx: &Placing<'_>) -> Blocks {
        Blocks::before(cx, 1)
    }

    fn lower(&self, cx: &mut Lower<'_>) -> Result<()> {
        emit(cx, 1, self.epsilon)
    }

    fn ends(&self) -> bool {
        true
    }

    fn half(&self, _: Operand) -> bool {
        true
    }

    fn cases() -> Vec<Case> {
        let mut out = vec![];
        let shapes: [&[usize]; 4] = [&[2, 3, 5, 7], &[2, 4, 4, 6], &[3, 2, 9], &[1, 2, 33, 32]];
        for shape in shapes {
            for (dtype, nmse) in TYPES {
                let op = InstanceNormalization { epsilon: 1e-3 };
                let title = format!("{dtype} {shape:?}");
                out.push(Case::new(&title, op, inputs(shape, dtype)).nmse(nmse));
            }
        }
        out
    }
}

impl Operator for GroupNormalization {
    const NAMES: &'static [&'static str] = &["GroupNormalization"];

    fn attrs(&self) -> Attrs {
        Attrs::new("GroupNormalization")
            .with("epsilon", self.epsilon)
            .with("num_groups", self.groups)
            .with("stash_type", dtype_code(self.stash_type))
    }

    fn from_attrs(name: &str, attrs: &Attrs) -> Result<Self> {
        let code = attrs.or("stash_type", 1i64)?;
        let stash_type = dtype_from_code(code).filter(|d| d.is_float());
        Ok(GroupNormalization {
            epsilon: attrs.or("epsilon", 1e-5)?,
            groups: attrs.need("num_groups")?,
            stash_type: stash_type
                .ok_or_else(|| Error::op(name, format!("stash_type {code} is no float type")))?,
        })
    }

    fn infer(&self, inputs: Facts<'_>) -> Result<Vec<Fact>> {
        let facts = check(inputs)?;
        let rest = facts[0].shape[1].modulo(&self.groups.into());
        if self.groups < 1 || rest.known().is_some_and(|r| r != 0) {
            let what = format!("{} groups do not divide {}", self.groups, facts[0]);
            return Err(inputs.error(what));
        }
        Ok(facts)
    }

    fn reference(&self, inputs: Tensors<'_>) -> Result<Vec<HostTensor>> {
        let channels = inputs.req(0)?.shape()[1];
        let groups = usize::try_from(self.groups).ok();
        let groups = groups.filter(|&g| g > 0 && channels % g == 0);
        let groups = groups.ok_or_else(|| {
            inputs.error(format!("{} groups do not divide {channels}", self.groups))
        })?;
        normalised(inputs, groups, self.epsilon)
    }

    fn place(&self, cx: &Placing<'_>) -> Place {
        cx.floats_only()
    }

    fn blocks(&self, cx: &Placing<'_>) -> Blocks {
        Blocks::before(cx, 1)
    }

    fn lower(&self, cx: &mut Lower<'_>) -> Result<()> {
        let channels = cx.input(0)?.shape[1];
        emit(cx, channels / (self.groups.max(1) as usize), self.epsilon)
    }

    fn ends(&self) -> bool {
        true
    }

    fn half(&self, _: Operand) -> bool {
        true
    }

    fn cases() -> Vec<Case> {
        let mut out = vec![];
        let shapes: [(&[usize], i64); 6] = [
            (&[2, 4, 5, 3], 2),
            (&[2, 6, 4, 4], 3),
            (&[3, 4, 2], 1),
            (&[2, 8], 4),
            (&[1, 2, 33, 32], 2),
            (&[2, 6, 40, 8], 2),
        ];
        for (shape, groups) in shapes {
            for (dtype, nmse) in TYPES {
                let op = GroupNormalization {
                    epsilon: 1e-3,
                    groups,
                    stash_type: DType::F32,
                };
                let title = format!("{dtype} {shape:?} {groups}");
                out.push(Case::new(&title, op, inputs(shape, dtype)).nmse(nmse));
            }
        }
        out
    }
}
