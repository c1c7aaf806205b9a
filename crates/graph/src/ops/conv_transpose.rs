//! ConvTranspose: the gradient of a convolution with respect to its input, used to enlarge images.

use super::conv::place_convolution;
use super::filter::{Weights, begins_at_fours, quads, shape_of};
use super::product::Convolution;
use super::window::{AutoPad, Layout, Slide, Window, three};
use crate::dim::Dim;
use crate::fact::{Facts, Tensors};
use crate::lower::{Lower, Place, Placing};
use crate::op::{Case, Operand, Operator};
use crate::{Attrs, Fact, Result, samples};
use tilewright_kernels::{self as kernels, Epilogue};
use tilewright_tensor::{DType, HostTensor};

/// ONNX ConvTranspose-22: `Y[n, o, i * stride + tap * dilation - before] += X[n, c, i] * W[c, o, tap]`, plus B. W is
/// `[C, O / group, taps..]` in either layout of X and Y.
#[derive(Clone, Debug, Default)]
pub struct ConvTranspose {
    /// Groups of channels; each input group reaches one output group.
    pub group: i64,
    /// Kernel, strides, dilations and padding (taken off the output).
    pub window: Window,
    /// Elements added behind the output; empty for none.
    pub output_padding: Vec<i64>,
    /// Spatial sizes of the output, from which the padding follows; empty if the padding is given.
    pub output_shape: Vec<i64>,
    /// Where the channels of X and Y lie.
    pub layout: Layout,
}

impl Operator for ConvTranspose {
    const NAMES: &'static [&'static str] = &["ConvTranspose"];

    fn attrs(&self) -> Attrs {
        let list = |v: &Vec<i64>| Some(v.clone()).filter(|v| !v.is_empty());
        let attrs = Attrs::new("ConvTranspose")
            .with("group", self.group)
            .with_opt("output_padding", list(&self.output_padding))
            .with_opt("output_shape", list(&self.output_shape));
        self.window.write(self.layout.write(attrs))
    }

    fn from_attrs(_: &str, attrs: &Attrs) -> Result<Self> {
        Ok(ConvTranspose {
            group: attrs.or("group", 1)?,
            window: Window::read(attrs)?,
            output_padding: attrs.or("output_padding", vec![])?,
            output_shape: attrs.or("output_shape", vec![])?,
            layout: Layout::read(attrs)?,
        })
    }

    fn infer(&self, inputs: Facts<'_>) -> Result<Vec<Fact>> {
        let (x, w) = (inputs.req(0)?, inputs.req(1)?);
        if x.rank() < 3 || w.rank() != x.rank() {
            let what = format!("X {x} and W {w} must have batch, channels and 1 to 3 more axes");
            return Err(inputs.error(what));
        }
        let first = self.layout.to_first(&x.shape);
        let group = self.group.max(1);
        if let (Some(c), Some(d)) = (first[1].known(), w.shape[0].known())
            && (c != d || c % group != 0)
        {
            let what = format!("X has {c} channels, W is for {d}, in {group} groups");
            return Err(inputs.error(what));
        }
        let kernel = self.window.kernel_dims(inputs.op(), &w.shape[2..])?;
        let mut out = vec![first[0].clone(), w.shape[1].clone() * group.into()];
        for (i, (size, kernel)) in first[2..].iter().zip(&kernel).enumerate() {
            out.push(self.output(inputs, i, size, kernel)?);
        }
        let bias = inputs.opt(2).and_then(|b| b.elements().known());
        if let (Some(b), Some(o)) = (bias, out[1].known())
            && b != o
        {
            return Err(inputs.error(format!("B has {b} elements for {o} channels")));
        }
        Ok(vec![Fact::new(x.dtype, self.layout.from_first(&out))])
    }

    fn work(&self, inputs: Facts<'_>, outputs: &[Fact]) -> u64 {
        // Every element of the input meets every weight of its channel.
        let weight = inputs.opt(1).map_or(0, |w| w.count() / w.extent(0).max(1));
        let x = inputs.opt(0).map_or(0, Fact::count);
        crate::op::touched(inputs, outputs).saturating_add(x.saturating_mul(weight))
    }

    fn reference(&self, inputs: Tensors<'_>) -> Result<Vec<HostTensor>> {
        let (x, w) = (self.layout.tensor_to_first(inputs.req(0)?)?, inputs.req(1)?);
        let slides = self.slides(inputs.op(), &x.shape()[2..], &w.shape()[2..])?;
        let groups = self.group.max(1) as usize;
        let mut shape = vec![x.shape()[0], w.shape()[1] * groups];
        shape.extend(slides.iter().map(|s| s.input));
        let plane: usize = shape[2..].iter().product();
        let mut out = vec![0.0; shape.iter().product()];
        if let Some(bias) = inputs.opt(2).map(HostTensor::to_f64) {
            for (i, plane) in out.chunks_mut(plane.max(1)).enumerate() {
                plane.fill(bias[i % shape[1]]);
            }
        }
        let sizes = Convolution {
            batch: shape[0],
            groups,
            fine: w.shape()[1],
            coarse: w.shape()[0] / groups,
            slides: three(inputs.op(), &slides)?,
        };
        sizes.backward(&x.to_f64(), &w.to_f64(), &mut out);
        let y = HostTensor::from_f64(x.dtype(), shape, out)?;
        Ok(vec![self.layout.tensor_from_first(&y)?])
    }

    fn place(&self, cx: &Placing<'_>) -> Place {
        place_convolution(cx, self.layout)
    }

    fn lower(&self, cx: &mut Lower<'_>) -> Result<()> {
        let (x, y) = (cx.input(0)?, cx.output(0)?);
        let w = cx.input(1)?.shape;
        let spatial = &x.shape[1..x.shape.len() - 1];
        let slides = self.slides("ConvTranspose", spatial, &w[2..])?;
        // The slides are those of the convolution this is the gradient of.
        let forward = shape_of(x.shape[0], (y.last(), x.last()), self.group, &slides);
        let shape = forward.data_gradient();
        let bias = cx.opt_input(2);
        let fours = begins_at_fours(&shape);
        let epilogue = bias.map(|b| Epilogue::channels(&b, shape.out_channels, fours));
        let epilogue = cx.epilogue(epilogue.transpose()?, quads(&shape))?;
        let caps = cx.caps().clone();
        let weights = Weights::new(cx, &shape, "transposed", |w| {
            Ok(kernels::pack_filter_transposed(&caps, &shape, w)?)
        })?;
        let (filter, epilogue) = (weights.filter(), epilogue.as_ref());
        let on = cx.target();
        let dispatches = kernels::conv_transpose(on, &shape, &x, filter, &y, epilogue)?;
        cx.emit(dispatches);
        Ok(())
    }

    fn fuses(&self) -> bool {
        true
    }

    fn folds(&self) -> bool {
        false
    }

    fn half(&self, _: Operand) -> bool {
        true
    }

    fn cases() -> Vec<Case> {
        super::pool::both_layouts(cases(), |op| match op {
            crate::Op::ConvTranspose(op) => Some(
                ConvTranspose {
                    layout: Layout::ChannelsLast,
                    ..op.clone()
                }
                .into(),
            ),
            _ => None,
        })
    }
}

impl ConvTranspose {
    fn added(&self, axis: usize) -> i64 {
        self.output_padding.get(axis).copied().unwrap_or(0)
    }

    /// The stated size of an axis. Some exporters state batch and channels too.
    fn stated(&self, axis: usize, axes: usize) -> Option<i64> {
        let from = self.output_shape.len().checked_sub(axes)?;
        self.output_shape.get(from + axis).copied()
    }

    /// What the axis would be without padding.
    fn full(&self, axis: usize, input: &Dim, kernel: &Dim) -> Dim {
        let one = || Dim::from(1i64);
        (input.clone() - one()) * self.window.stride(axis).into()
            + self.added(axis).into()
            + (kernel.clone() - one()) * self.window.dilation(axis).into()
            + one()
    }

    fn output(&self, inputs: Facts<'_>, axis: usize, input: &Dim, kernel: &Dim) -> Result<Dim> {
        let axes = inputs.req(0)?.rank() - 2;
        let same = matches!(
            self.window.auto_pad,
            AutoPad::SameUpper | AutoPad::SameLower
        );
        let (before, after) = self.window.pad(axis);
        let out = match self.stated(axis, axes) {
            Some(n) => n.into(),
            None if same => input.clone() * self.window.stride(axis).into(),
            None => self.full(axis, input, kernel) - (before + after).into(),
        };
        if out.known().is_some_and(|n| n < 0) || self.added(axis) < 0 {
            return Err(inputs.error(format!("the output has size {out} along axis {axis}")));
        }
        Ok(out)
    }

    /// The convolution this is the transpose of: its windows are the elements of X, its places those of Y.
    pub(super) fn slides(&self, op: &str, input: &[usize], kernel: &[usize]) -> Result<Vec<Slide>> {
        let facts = Fact::sized(DType::F32, &[&[1, 1], input].concat());
        let facts = [Some(&facts)];
        let inputs = Facts::new("ConvTranspose", &facts);
        let slide = |i: usize| {
            let (size, k) = (Dim::from(input[i]), Dim::from(kernel[i]));
            let plain = |d: Dim| {
                let n = d.known().and_then(|n| usize::try_from(n).ok());
                n.ok_or_else(|| crate::Error::op(op, format!("size {d}")))
            };
            let out = plain(self.output(inputs, i, &size, &k)?)?;
            let same = matches!(
                self.window.auto_pad,
                AutoPad::SameUpper | AutoPad::SameLower
            );
            let full = self.full(i, &size, &k).known().unwrap_or(0).max(0) as usize;
            let before = if same || self.stated(i, input.len()).is_some() {
                let total = full.saturating_sub(out);
                if self.window.auto_pad == AutoPad::SameUpper {
                    total / 2
                } else {
                    total.div_ceil(2)
                }
            } else {
                self.window.pad(i).0 as usize
            };
            Ok(Slide {
                kernel: kernel[i],
                stride: self.window.stride(i) as usize,
                dilation: self.window.dilation(i) as usize,
                before,
                after: full.saturating_sub(out + before),
                input: out,
                output: input[i],
            })
        };
        (0..input.len()).map(slide).collect()
    }
}

fn op(strides: &[i64], pads: &[i64]) -> ConvTranspose {
    ConvTranspose {
        group: 1,
        window: Window {
            strides: strides.to_vec(),
            pads: pads.to_vec(),
            ..Window::default()
        },
        ..ConvTranspose::default()
    }
}

fn case(name: &str, op: ConvTranspose, x: &[usize], w: &[usize]) -> Case {
    let bias = samples::uniform(&[w[1] * op.group as usize], 3);
    let inputs = vec![samples::uniform(x, 1), samples::uniform(w, 2), bias];
    Case::new(name, op, inputs).constant(&[1, 2])
}

fn cases() -> Vec<Case> {
    let grouped = ConvTranspose {
        group: 2,
        ..op(&[2, 1], &[1, 0, 0, 1])
    };
    let mut dilated = op(&[2, 1], &[]);
    dilated.window.dilations = vec![2, 3];
    let mut no_bias = case("no bias", op(&[2, 2], &[]), &[1, 4, 5, 6], &[4, 8, 2, 2]);
    no_bias.inputs.pop();
    let run_time = |case: Case| Case {
        name: format!("{} at run time", case.name),
        constant: vec![],
        ..case
    };
    let mut cases = vec![
        run_time(no_bias.clone()),
        no_bias.constant(&[1]),
        case(
            "twice the size",
            op(&[2, 2], &[]),
            &[2, 8, 5, 6],
            &[8, 4, 2, 2],
        ),
        case(
            "overlapping",
            op(&[2, 2], &[1, 1, 1, 1]),
            &[1, 3, 5, 4],
            &[3, 5, 4, 4],
        ),
        case("stride 1", op(&[], &[]), &[1, 2, 3, 3], &[2, 4, 3, 3]),
        case("dilated", dilated, &[1, 2, 3, 4], &[2, 3, 3, 2]),
        case("grouped", grouped, &[1, 4, 5, 4], &[4, 3, 3, 3]),
        case("1-D", op(&[3], &[1, 0]), &[2, 3, 7], &[3, 4, 5]),
        case(
            "3-D",
            op(&[2, 1, 2], &[]),
            &[1, 2, 2, 3, 3],
            &[2, 3, 2, 3, 2],
        ),
    ];
    cases.extend(sized_cases());
    cases
}

/// Outputs whose size is said in another way than by pads.
fn sized_cases() -> Vec<Case> {
    let padded = ConvTranspose {
        output_padding: vec![1, 2],
        ..op(&[2, 3], &[1, 1, 1, 1])
    };
    let shaped = |auto_pad| {
        let mut op = ConvTranspose {
            output_shape: vec![10, 8],
            output_padding: vec![1, 1],
            ..op(&[3, 2], &[])
        };
        op.window.auto_pad = auto_pad;
        op
    };
    let auto = |auto_pad| {
        let mut op = op(&[2, 3], &[]);
        op.window.auto_pad = auto_pad;
        op
    };
    let mut cases = vec![case("padded", padded, &[1, 2, 4, 4], &[2, 4, 3, 3])];
    for (name, auto_pad) in [
        ("shaped", AutoPad::NotSet),
        ("shaped, same upper", AutoPad::SameUpper),
    ] {
        cases.push(case(name, shaped(auto_pad), &[1, 2, 3, 4], &[2, 4, 3, 3]));
    }
    for (name, auto_pad) in [
        ("same upper", AutoPad::SameUpper),
        ("same lower", AutoPad::SameLower),
        ("valid", AutoPad::Valid),
    ] {
        cases.push(case(name, auto(auto_pad), &[1, 2, 4, 3], &[2, 4, 3, 4]));
    }
    cases
}
