//! LpNormalization and MeanVarianceNormalization: normalisation along any axes, without scale and bias.

use crate::fact::{Facts, Tensors, axis_index};
use crate::lower::{Lower, Place, Placing};
use crate::op::{Case, Operand, Operator};
use crate::ops::batch_normalization::moments;
use crate::ops::groups::{Groups, axis_indices, floats, need_float};
use crate::{Attrs, Error, Fact, Result, samples};
use tilewright_kernels::{self as kernels, Adjust, Form, Norm, Stats, Store};
use tilewright_tensor::{DType, HostTensor};

/// ONNX LpNormalization-22: x / |x|_p along an axis; 0 where the norm is 0.
#[derive(Clone, Debug)]
pub struct LpNormalization {
    /// The axis; negative counts from the end.
    pub axis: i64,
    /// The order of the norm, 1 or 2.
    pub p: i64,
}

/// ONNX MeanVarianceNormalization-13: (x - mean) / deviation over axes.
#[derive(Clone, Debug)]
pub struct MeanVarianceNormalization {
    /// The axes over which mean and deviation are taken; negative ones count from the end.
    pub axes: Vec<i64>,
}

/// What the function body of MeanVarianceNormalization adds to the deviation.
const EPSILON: f32 = 1e-9;

/// `f` of every group of `input`'s elements along `axes`, put where the group's elements are.
fn by_group(
    inputs: Tensors<'_>,
    axes: &[usize],
    f: impl Fn(&mut [f64]),
) -> Result<Vec<HostTensor>> {
    let input = inputs.req(0)?;
    let mut y = floats(inputs, 0)?;
    for group in Groups::new(input.shape(), axes).iter() {
        let mut values: Vec<f64> = group.clone().map(|i| y[i]).collect();
        f(&mut values);
        for (i, v) in group.zip(values) {
            y[i] = v;
        }
    }
    Ok(vec![HostTensor::from_f64(
        input.dtype(),
        input.shape().clone(),
        y,
    )?])
}

fn same(inputs: Facts<'_>) -> Result<Vec<Fact>> {
    let x = inputs.req(0)?;
    need_float(inputs.op(), x.dtype)?;
    Ok(vec![Fact::new(x.dtype, x.shape.clone())])
}

/// How axes lie in a tensor of `rank` axes: those worked along are `first..end`, or all but those.
enum Lie {
    Within(usize, usize),
    Around(usize, usize),
}

impl Lie {
    /// None where the axes form more groups; `axes` are sorted.
    fn of(axes: &[usize], rank: usize) -> Option<Lie> {
        let run = |axes: &[usize]| {
            let (first, last) = (*axes.first()?, *axes.last()?);
            (last + 1 - first == axes.len()).then_some((first, last + 1))
        };
        let others: Vec<usize> = (0..rank).filter(|a| !axes.contains(a)).collect();
        let within = run(axes).map(|(first, end)| Lie::Within(first, end));
        within.or(run(&others)
            .filter(|_| !axes.is_empty())
            .map(|(first, end)| Lie::Around(first, end)))
    }
}

impl Operator for LpNormalization {
    const NAMES: &'static [&'static str] = &["LpNormalization"];

    fn attrs(&self) -> Attrs {
        Attrs::new("LpNormalization")
            .with("axis", self.axis)
            .with("p", self.p)
    }

    fn from_attrs(name: &str, attrs: &Attrs) -> Result<Self> {
        let p = attrs.or("p", 2)?;
        if !matches!(p, 1 | 2) {
            return Err(Error::op(
                name,
                format!("p is {p}, only 1 and 2 are norms here"),
            ));
        }
        Ok(LpNormalization {
            axis: attrs.or("axis", -1)?,
            p,
        })
    }

    fn infer(&self, inputs: Facts<'_>) -> Result<Vec<Fact>> {
        axis_index(inputs.op(), self.axis, inputs.req(0)?.rank())?;
        same(inputs)
    }

    fn reference(&self, inputs: Tensors<'_>) -> Result<Vec<HostTensor>> {
        let axis = axis_index(inputs.op(), self.axis, inputs.req(0)?.rank())?;
        by_group(inputs, &[axis], |x| {
            let norm = if self.p == 1 {
                x.iter().map(|v| v.abs()).sum::<f64>()
            } else {
                x.iter().map(|v| v * v).sum::<f64>().sqrt()
            };
            for v in x {
                *v = if norm == 0.0 { 0.0 } else { *v / norm };
            }
        })
    }

    fn place(&self, cx: &Placing<'_>) -> Place {
        cx.floats_only()
    }

    fn lower(&self, cx: &mut Lower<'_>) -> Result<()> {
        let (x, y) = (cx.input(0)?, cx.output(0)?);
        if x.elements() == 0 {
            return Ok(());
        }
        let axis = axis_index("LpNormalization", self.axis, x.shape.len())?;
        let by = if self.p == 1 { Norm::L1 } else { Norm::L2 };
        let form = Form::along(&x.shape, axis);
        cx.emit_ended(kernels::norm(
            cx.caps(),
            &x,
            form,
            &y,
            by,
            Adjust::None,
            None,
        )?)
    }

    fn ends(&self) -> bool {
        true
    }

    fn half(&self, _: Operand) -> bool {
        true
    }

    fn cases() -> Vec<Case> {
        let mut out = vec![];
        for (p, axis) in [(1, -1), (2, 0), (2, 1), (1, 1), (2, 2)] {
            let op = || LpNormalization { axis, p };
            let mut case = |title: &str, x: HostTensor, nmse| {
                let title = format!("{title} p {p} axis {axis}");
                out.push(Case::new(&title, op(), vec![x]).nmse(nmse));
            };
            case("odd", samples::uniform(&[3, 5, 7], 1), 1e-10);
            case("quads", samples::uniform(&[4, 8, 12], 2), 1e-10);
            case("wide", samples::uniform(&[2, 3, 500], 3), 1e-10);
            case(
                "zeros",
                samples::integers(DType::F32, &[2, 3, 4], 4, 0, 1),
                1e-10,
            );
            for (dtype, nmse) in [(DType::F16, 1e-6), (DType::F64, 1e-10), (DType::BF16, 1e-4)] {
                let x = samples::uniform(&[2, 4, 6], 5).cast(dtype);
                case(dtype.name(), x.expect("a cast between floats"), nmse);
            }
        }
        out
    }
}

impl Operator for MeanVarianceNormalization {
    const NAMES: &'static [&'static str] = &["MeanVarianceNormalization"];

    fn attrs(&self) -> Attrs {
        Attrs::new("MeanVarianceNormalization").with("axes", self.axes.clone())
    }

    fn from_attrs(_: &str, attrs: &Attrs) -> Result<Self> {
        Ok(MeanVarianceNormalization {
            axes: attrs.or("axes", vec![0, 2, 3])?,
        })
    }

    fn infer(&self, inputs: Facts<'_>) -> Result<Vec<Fact>> {
        axis_indices(inputs.op(), &self.axes, inputs.req(0)?.rank())?;
        same(inputs)
    }

    fn reference(&self, inputs: Tensors<'_>) -> Result<Vec<HostTensor>> {
        let axes = axis_indices(inputs.op(), &self.axes, inputs.req(0)?.rank())?;
        by_group(inputs, &axes, |x| {
            let (mean, var) = moments(x.iter().copied());
            let deviation = var.sqrt() + f64::from(EPSILON);
            x.iter_mut().for_each(|v| *v = (*v - mean) / deviation);
        })
    }

    fn place(&self, cx: &Placing<'_>) -> Place {
        let rank = cx.inputs.opt(0).map_or(0, Fact::rank);
        match axis_indices("MeanVarianceNormalization", &self.axes, rank) {
            Ok(axes) if Lie::of(&axes, rank).is_some() => cx.floats_only(),
            _ => Place::host("axes in more than two groups"),
        }
    }

    fn lower(&self, cx: &mut Lower<'_>) -> Result<()> {
        let (x, y) = (cx.input(0)?, cx.output(0)?);
        if x.elements() == 0 {
            return Ok(());
        }
        let rank = x.shape.len();
        let axes = axis_indices("MeanVarianceNormalization", &self.axes, rank)?;
        let by = Norm::Deviation(EPSILON);
        match Lie::of(&axes, rank) {
            Some(Lie::Within(first, end)) => {
                let form = Form::around(&x.shape, first, end);
                cx.emit(kernels::norm(
                    cx.caps(),
                    &x,
                    form,
                    &y,
                    by,
                    Adjust::None,
                    None,
                )?);
            }
            Some(Lie::Around(first, end)) => {
                let form = Form::around(&x.shape, first, end);
                let bytes = kernels::channel_scratch(form) as usize;
                let scratch = cx.scratch(Store::F32, [bytes / 4]);
                let table = cx.scratch(Store::F32, [3, form.n]);
                let stats = Stats::Computed(&scratch);
                cx.emit(kernels::channel_norm(
                    cx.caps(),
                    &x,
                    form,
                    &y,
                    by,
                    stats,
                    None,
                    None,
                    &table,
                )?);
            }
            None => return Err(cx.error("axes in more than two groups")),
        }
        Ok(())
    }

    fn half(&self, _: Operand) -> bool {
        true
    }

    fn cases() -> Vec<Case> {
        let mut out = vec![];
        let axes: [&[i64]; 6] = [&[0, 2, 3], &[2, 3], &[1, -1], &[0], &[1], &[0, 1, 2, 3]];
        for axes in axes {
            let op = || MeanVarianceNormalization { axes: axes.into() };
            for shape in [[3, 2, 5, 7], [2, 4, 4, 8]] {
                for (dtype, nmse) in [
                    (DType::F32, 1e-10),
                    (DType::F16, 1e-6),
                    (DType::F64, 1e-10),
                    (DType::BF16, 1e-4),
                ] {
                    let x = samples::between(&shape, 1, 1.0, 3.0).cast(dtype);
                    let title = format!("{shape:?} axes {axes:?} {dtype}");
                    let inputs = vec![x.expect("a cast between floats")];
                    out.push(Case::new(&title, op(), inputs).nmse(nmse));
                }
            }
        }
        out
    }
}
