//! Conv: the convolution of neural networks (a correlation), with groups, strides and dilations.

use super::filter::{self, Weights, quads, shape_of};
use super::product::Convolution;
use super::window::{AutoPad, Layout, Window, three};
use crate::blocks::{Along, Blocks};
use crate::dim::Dim;
use crate::fact::{Facts, Tensors};
use crate::lower::{Lower, Place, Placing};
use crate::op::{Case, Operand, Operator};
use crate::{Attrs, Fact, Result, samples};
use tilewright_kernels::{self as kernels, Epilogue, Store, Winograd};
use tilewright_tensor::{DType, HostTensor};

/// ONNX Conv-22: `Y[n, o] = B[o] + sum over c, taps of X[n, c, window] * W[o, c, tap]`. W is `[O, C / group, taps..]` in
/// either layout of X and Y.
#[derive(Clone, Debug, Default)]
pub struct Conv {
    /// Groups of channels; each output group sees one input group.
    pub group: i64,
    /// Kernel, strides, dilations and padding.
    pub window: Window,
    /// Where the channels of X and Y lie.
    pub layout: Layout,
}

impl Operator for Conv {
    const NAMES: &'static [&'static str] = &["Conv"];

    fn attrs(&self) -> Attrs {
        let attrs = self.layout.write(Attrs::new("Conv"));
        self.window.write(attrs.with("group", self.group))
    }

    fn from_attrs(_: &str, attrs: &Attrs) -> Result<Self> {
        Ok(Conv {
            group: attrs.or("group", 1)?,
            window: Window::read(attrs)?,
            layout: Layout::read(attrs)?,
        })
    }

    fn infer(&self, inputs: Facts<'_>) -> Result<Vec<Fact>> {
        let (x, w) = (inputs.req(0)?, inputs.req(1)?);
        if x.dtype != w.dtype || inputs.opt(2).is_some_and(|b| b.dtype != x.dtype) {
            return Err(inputs.error("X, W and B must have one data type"));
        }
        let shape = self.shape(inputs, x, w, inputs.opt(2))?;
        Ok(vec![Fact::new(x.dtype, shape)])
    }

    fn work(&self, inputs: Facts<'_>, outputs: &[Fact]) -> u64 {
        crate::op::per_weight(inputs, outputs, 1)
    }

    fn reference(&self, inputs: Tensors<'_>) -> Result<Vec<HostTensor>> {
        let (x, w) = (inputs.req(0)?, inputs.req(1)?);
        let x = self.layout.tensor_to_first(x)?;
        let bias = inputs.opt(2).map(HostTensor::to_f64);
        let (values, shape) =
            self.values(inputs.op(), (&x.to_f64(), &x), (&w.to_f64(), w), bias)?;
        let y = HostTensor::from_f64(x.dtype(), shape, values)?;
        Ok(vec![self.layout.tensor_from_first(&y)?])
    }

    fn place(&self, cx: &Placing<'_>) -> Place {
        place_convolution(cx, self.layout)
    }

    fn lower(&self, cx: &mut Lower<'_>) -> Result<()> {
        let (x, y) = (cx.input(0)?, cx.output(0)?);
        let w = cx.input(1)?.shape;
        let spatial = &x.shape[1..x.shape.len() - 1];
        let slides = self.window.slides("Conv", spatial, &w[2..])?;
        let channels = (x.last(), w[0]);
        let shape = shape_of(x.shape[0], channels, self.group, &slides);
        let bias = cx.opt_input(2);
        // The depthwise kernel walks all channels in fours, whatever their number.
        let fours = shape.is_depthwise() || filter::begins_at_fours(&shape);
        let epilogue = bias.map(|b| Epilogue::channels(&b, shape.out_channels, fours));
        let epilogue = cx.epilogue(epilogue.transpose()?, quads(&shape))?;
        let (caps, depthwise) = (cx.caps().clone(), shape.is_depthwise());
        if let Some(per) = filter::per_binding(cx, &shape)? {
            return filter::by_channels(cx, &shape, &x, &y, per, epilogue.as_ref());
        }
        // A transformed filter in f16 would lose what the transform needs.
        if cx.weight(1).is_some()
            && cx.input(1)?.store == Store::F32
            && let Some(form) = Winograd::of(&caps, &shape)
        {
            return filter::lower_winograd(cx, form, &shape, &x, &y, epilogue.as_ref());
        }
        let weights = Weights::new(cx, &shape, "conv", |w| {
            Ok(if depthwise {
                kernels::pack_depthwise(&shape, w)?
            } else {
                kernels::pack_filter(&caps, &shape, w)?
            })
        })?;
        let (filter, epilogue) = (weights.filter(), epilogue.as_ref());
        if !depthwise {
            return filter::lower_product(cx, &shape, &x, filter, &y, epilogue);
        }
        cx.emit(kernels::depthwise(&caps, &shape, &x, filter, &y, epilogue)?);
        Ok(())
    }

    fn blocks(&self, cx: &Placing<'_>) -> Blocks {
        match self.group == 1 && filter::has_pieces(cx) {
            true => Blocks::rows(1, [Along::Leading, Along::Pieces]),
            false => Blocks::leading(1),
        }
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
        let mut cases = padded_cases();
        cases.extend(strided_cases());
        cases.extend(typed_cases());
        cases.extend(grouped_cases());
        cases.extend(depthwise_cases());
        super::pool::both_layouts(cases, |op| match op {
            crate::Op::Conv(op) => Some(
                Conv {
                    layout: Layout::ChannelsLast,
                    ..op.clone()
                }
                .into(),
            ),
            _ => None,
        })
    }
}

impl Conv {
    /// The output's shape, for facts of any data type.
    pub(super) fn shape(
        &self,
        inputs: Facts<'_>,
        x: &Fact,
        w: &Fact,
        bias: Option<&Fact>,
    ) -> Result<Vec<Dim>> {
        if x.rank() < 3 || w.rank() != x.rank() {
            let what = format!("X {x} and W {w} must have batch, channels and 1 to 3 more axes");
            return Err(inputs.error(what));
        }
        let (x, w) = (self.layout.to_first(&x.shape), &w.shape);
        let group = Dim::from(self.group.max(1));
        let channels = w[1].clone() * group.clone();
        if let (Some(have), Some(want)) = (x[1].known(), channels.known())
            && have != want
        {
            let what = format!("X has {have} channels, W is for {want} in {group} groups");
            return Err(inputs.error(what));
        }
        let odd = |n: &Dim| n.modulo(&group).known().is_some_and(|r| r != 0);
        if self.group < 1 || odd(&w[0]) {
            let what = format!("{} output channels in {} groups", w[0], self.group);
            return Err(inputs.error(what));
        }
        if let Some(b) = bias
            && (b.rank() != 1
                || (b.shape[0].known().is_some() && b.shape[0] != w[0] && w[0].known().is_some()))
        {
            return Err(inputs.error(format!("B is {b} for {} channels", w[0])));
        }
        let kernel = self.window.kernel_dims(inputs.op(), &w[2..])?;
        let places = self.window.outputs(inputs.op(), &x[2..], &kernel)?;
        let first = [&[x[0].clone(), w[0].clone()], &places[..]].concat();
        Ok(self.layout.from_first(&first))
    }

    /// Elements and shape of the output, channels first. `x` and `w` are values, and tensors for the shapes.
    pub(super) fn values(
        &self,
        op: &str,
        x: (&[f64], &HostTensor),
        w: (&[f64], &HostTensor),
        bias: Option<Vec<f64>>,
    ) -> Result<(Vec<f64>, Vec<usize>)> {
        let (xs, ws) = (x.1.shape(), w.1.shape());
        let slides = self.window.slides(op, &xs[2..], &ws[2..])?;
        let groups = self.group.max(1) as usize;
        let mut shape = vec![xs[0], ws[0]];
        shape.extend(slides.iter().map(|s| s.output));
        let plane: usize = shape[2..].iter().product();
        let mut out = vec![0.0; shape.iter().product()];
        if let Some(bias) = bias {
            for (i, plane) in out.chunks_mut(plane.max(1)).enumerate() {
                plane.fill(bias[i % ws[0]]);
            }
        }
        let sizes = Convolution {
            batch: xs[0],
            groups,
            fine: ws[1],
            coarse: ws[0] / groups,
            slides: three(op, &slides)?,
        };
        sizes.forward(x.0, w.0, &mut out);
        Ok((out, shape))
    }
}

/// A convolution of floats runs on the device once its channels are last.
pub(super) fn place_convolution(cx: &Placing<'_>, layout: Layout) -> Place {
    let fact = |i: usize| cx.inputs.opt(i);
    if layout == Layout::ChannelsFirst {
        return Place::host("channels are first");
    }
    if (0..2).any(|i| fact(i).is_some_and(|f| f.elements().known() == Some(0))) {
        return Place::host("a convolution without terms");
    }
    if fact(0).is_some_and(|x| x.rank() > 5) {
        return Place::host("more than three spatial axes");
    }
    cx.floats_only()
}

fn conv(window: Window) -> Conv {
    Conv {
        group: 1,
        window,
        ..Conv::default()
    }
}

fn case(name: &str, op: Conv, x: &[usize], w: &[usize]) -> Case {
    let inputs = vec![samples::uniform(x, 1), samples::uniform(w, 2)];
    Case::new(name, op, inputs).constant(&[1])
}

fn biased(name: &str, op: Conv, x: &[usize], w: &[usize]) -> Case {
    let mut case = case(name, op, x, w).constant(&[1, 2]);
    case.inputs.push(Some(samples::uniform(&[w[0]], 3)));
    case
}

fn padded_cases() -> Vec<Case> {
    let plain = Window::default;
    let padded = |pads: &[i64]| Window {
        pads: pads.to_vec(),
        ..plain()
    };
    vec![
        biased(
            "3x3",
            conv(padded(&[1, 1, 1, 1])),
            &[2, 3, 9, 7],
            &[5, 3, 3, 3],
        ),
        biased(
            "3x3 wide",
            conv(padded(&[1, 1, 1, 1])),
            &[1, 64, 6, 6],
            &[64, 64, 3, 3],
        ),
        biased(
            "3x3 by tiles of 4",
            conv(padded(&[1, 1, 1, 0])),
            &[1, 64, 29, 27],
            &[68, 64, 3, 3],
        ),
        biased(
            "3x3 by tiles of 2",
            conv(padded(&[1, 1, 1, 1])),
            &[1, 128, 13, 14],
            &[128, 128, 3, 3],
        ),
        biased("1x1", conv(plain()), &[2, 8, 5, 6], &[12, 8, 1, 1]),
        case(
            "7x7 stem",
            conv(Window {
                strides: vec![2, 2],
                ..padded(&[3, 3, 3, 3])
            }),
            &[1, 3, 20, 18],
            &[8, 3, 7, 7],
        ),
        biased("1-D", conv(padded(&[2, 1])), &[2, 4, 13], &[6, 4, 5]),
        case(
            "3-D",
            conv(padded(&[1, 0, 1, 1, 1, 0])),
            &[1, 3, 5, 6, 4],
            &[4, 3, 3, 2, 3],
        ),
    ]
}

fn strided_cases() -> Vec<Case> {
    let plain = Window::default;
    let strided = |auto_pad| Window {
        strides: vec![2, 3],
        auto_pad,
        ..plain()
    };
    let everything = Window {
        kernel: vec![3, 2],
        strides: vec![2, 1],
        dilations: vec![1, 3],
        pads: vec![1, 0, 2, 3],
        ..plain()
    };
    vec![
        case(
            "1x1 strided",
            conv(strided(AutoPad::NotSet)),
            &[1, 8, 7, 7],
            &[4, 8, 1, 1],
        ),
        case(
            "same upper",
            conv(strided(AutoPad::SameUpper)),
            &[1, 2, 8, 8],
            &[4, 2, 3, 4],
        ),
        case(
            "same lower",
            conv(strided(AutoPad::SameLower)),
            &[1, 2, 8, 8],
            &[4, 2, 3, 4],
        ),
        case(
            "valid",
            conv(strided(AutoPad::Valid)),
            &[1, 2, 8, 9],
            &[4, 2, 3, 4],
        ),
        biased("everything", conv(everything), &[2, 3, 8, 9], &[6, 3, 3, 2]),
    ]
}

fn typed_cases() -> Vec<Case> {
    let plain = Window::default;
    let halves = |shape: &[usize], seed| {
        let t = samples::uniform(shape, seed).cast(DType::F16);
        t.expect("f32 to f16 always works")
    };
    vec![
        case("no batch", conv(plain()), &[0, 3, 8, 9], &[6, 3, 3, 2]),
        Case::new(
            "1x1 at run time",
            conv(plain()),
            vec![
                samples::uniform(&[1, 4, 6, 6], 1),
                samples::uniform(&[5, 4, 1, 1], 2),
            ],
        ),
        Case::new(
            "weight at run time",
            conv(plain()),
            vec![
                samples::uniform(&[1, 4, 6, 6], 1),
                samples::uniform(&[8, 4, 3, 3], 2),
            ],
        ),
        Case::new(
            "f16",
            conv(plain()),
            vec![halves(&[1, 3, 6, 6], 1), halves(&[4, 3, 3, 3], 2)],
        )
        .constant(&[1]),
    ]
}

fn grouped(group: i64, pad: i64, stride: i64) -> Conv {
    Conv {
        group,
        ..conv(Window {
            pads: vec![pad; 4],
            strides: vec![stride, stride],
            ..Window::default()
        })
    }
}

fn grouped_cases() -> Vec<Case> {
    vec![
        biased("grouped", grouped(2, 1, 1), &[2, 8, 6, 7], &[12, 4, 3, 3]),
        biased(
            "grouped unevenly",
            grouped(3, 0, 2),
            &[1, 9, 7, 7],
            &[6, 3, 2, 2],
        ),
        Case {
            constant: vec![],
            ..biased(
                "grouped at run time",
                grouped(2, 1, 1),
                &[2, 8, 6, 7],
                &[12, 4, 3, 3],
            )
        },
    ]
}

fn depthwise_cases() -> Vec<Case> {
    vec![
        biased("depthwise", grouped(8, 1, 1), &[2, 8, 9, 7], &[8, 1, 3, 3]),
        biased(
            "depthwise 5x5",
            grouped(8, 2, 2),
            &[1, 8, 9, 10],
            &[8, 1, 5, 5],
        ),
        biased(
            "depthwise, depth from padding",
            Conv {
                group: 8,
                ..conv(Window {
                    pads: vec![0, 1, 1, 1, 1, 1],
                    ..Window::default()
                })
            },
            &[2, 8, 1, 6, 5],
            &[8, 1, 1, 3, 3],
        ),
        biased(
            "depthwise 1-D",
            Conv {
                group: 8,
                ..conv(Window {
                    pads: vec![2, 1],
                    ..Window::default()
                })
            },
            &[2, 8, 19],
            &[8, 1, 4],
        ),
        biased(
            "depthwise strided",
            grouped(6, 2, 2),
            &[1, 6, 11, 9],
            &[6, 1, 5, 5],
        ),
        Case {
            constant: vec![],
            ..biased(
                "depthwise at run time",
                grouped(8, 1, 1),
                &[2, 8, 9, 7],
                &[8, 1, 3, 3],
            )
        },
        case(
            "depthwise, two each",
            grouped(4, 1, 1),
            &[1, 4, 6, 6],
            &[8, 1, 3, 3],
        ),
    ]
}
