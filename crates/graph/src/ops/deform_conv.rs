//! DeformConv: a convolution whose taps are moved by a learned offset and weighed by a mask.

use super::grid_sample::{Taps, gather, linear};
use super::window::Window;
use crate::fact::{Facts, Tensors};
use crate::op::{Case, Operator};
use crate::{Attrs, Fact, Result, samples};
use tilewright_tensor::{HostTensor, Shape};

/// ONNX DeformConv-22 (Dai et al. 2017, Zhu et al. 2018). Inputs: X, W, offsets `[N, offset groups * taps * axes, places..]`,
/// and optionally B and a mask `[N, offset groups * taps, places..]`. Taps between elements are read linearly, zeros lie outside.
#[derive(Clone, Debug)]
pub struct DeformConv {
    /// Groups of input and output channels.
    pub group: i64,
    /// Groups of input channels that share offsets.
    pub offset_group: i64,
    /// Kernel, strides, dilations and padding.
    pub window: Window,
}

impl Operator for DeformConv {
    const NAMES: &'static [&'static str] = &["DeformConv"];

    fn attrs(&self) -> Attrs {
        let attrs = Attrs::new("DeformConv")
            .with("group", self.group)
            .with("offset_group", self.offset_group);
        self.window.write(attrs)
    }

    fn from_attrs(_: &str, attrs: &Attrs) -> Result<Self> {
        Ok(DeformConv {
            group: attrs.or("group", 1)?,
            offset_group: attrs.or("offset_group", 1)?,
            window: Window::read(attrs)?,
        })
    }

    fn infer(&self, inputs: Facts<'_>) -> Result<Vec<Fact>> {
        let (x, w) = (inputs.req(0)?, inputs.req(1)?);
        inputs.req(2)?;
        let conv = super::Conv {
            group: self.group,
            window: self.window.clone(),
            ..super::Conv::default()
        };
        let shape = conv.shape(inputs, x, w, inputs.opt(3))?;
        let channels = x.shape[1].known();
        if self.offset_group < 1 || channels.is_some_and(|c| c % self.offset_group != 0) {
            let what = format!("{x} in {} offset groups", self.offset_group);
            return Err(inputs.error(what));
        }
        Ok(vec![Fact::new(x.dtype, shape)])
    }

    fn work(&self, inputs: Facts<'_>, outputs: &[Fact]) -> u64 {
        crate::op::per_weight(inputs, outputs, 1)
    }

    fn reference(&self, inputs: Tensors<'_>) -> Result<Vec<HostTensor>> {
        let (x, w) = (inputs.req(0)?, inputs.req(1)?);
        let sizes = &x.shape()[2..];
        let slides = self.window.slides(inputs.op(), sizes, &w.shape()[2..])?;
        let places: Shape = slides.iter().map(|s| s.output).collect();
        let count = places.elements()?;
        let weights = w.to_f64();
        let taps: usize = w.shape()[2..].iter().product();
        let bias = inputs.opt(3).map(HostTensor::to_f64);
        let samples = self.samples(inputs, &slides, &places)?;
        let (batch, outputs) = (x.shape()[0], w.shape()[0]);
        let (channels, inner) = (x.shape()[1], w.shape()[1]);
        let per_group = outputs / self.group.max(1) as usize;
        let mut out = vec![];
        for n in 0..batch {
            for o in 0..outputs {
                let first = o / per_group.max(1) * inner;
                for place in 0..count {
                    let mut sum = bias.as_ref().map_or(0.0, |b| b[o]);
                    for c in 0..inner {
                        for tap in 0..taps {
                            let row = (n * channels + first + c) * taps + tap;
                            let weight = weights[(o * inner + c) * taps + tap];
                            sum += weight * samples[row * count + place];
                        }
                    }
                    out.push(sum);
                }
            }
        }
        let shape = [&[batch, outputs], &places[..]].concat();
        Ok(vec![HostTensor::from_f64(x.dtype(), shape, out)?])
    }

    fn folds(&self) -> bool {
        false
    }

    fn cases() -> Vec<Case> {
        let op = |group, offset_group, pads: &[i64]| DeformConv {
            group,
            offset_group,
            window: Window {
                pads: pads.to_vec(),
                ..Window::default()
            },
        };
        let case = |name: &str, op: DeformConv, shapes: &[&[usize]]| {
            let inputs = shapes.iter().zip(1..).map(|(shape, seed)| {
                let empty = shape.is_empty();
                (!empty).then(|| samples::uniform(shape, seed))
            });
            Case::with_optional(name, op, inputs.collect())
        };
        let padded = || op(1, 1, &[1, 1, 1, 1]);
        let mut strided = op(2, 2, &[1, 0, 0, 1]);
        strided.window.strides = vec![2, 1];
        strided.window.dilations = vec![1, 2];
        vec![
            case(
                "plain",
                padded(),
                &[&[1, 2, 4, 5], &[3, 2, 3, 3], &[1, 18, 4, 5]],
            ),
            case(
                "bias and mask",
                padded(),
                &[
                    &[2, 2, 4, 5],
                    &[3, 2, 3, 3],
                    &[2, 18, 4, 5],
                    &[3],
                    &[2, 9, 4, 5],
                ],
            ),
            case(
                "mask alone",
                padded(),
                &[
                    &[1, 2, 4, 5],
                    &[3, 2, 3, 3],
                    &[1, 18, 4, 5],
                    &[],
                    &[1, 9, 4, 5],
                ],
            ),
            case(
                "grouped",
                strided,
                &[&[1, 4, 5, 6], &[2, 2, 2, 3], &[1, 24, 3, 3]],
            ),
            case(
                "3-D",
                op(1, 1, &[]),
                &[&[1, 2, 3, 3, 4], &[2, 2, 2, 2, 2], &[1, 24, 2, 2, 3]],
            ),
        ]
    }
}

impl DeformConv {
    /// X at every moved tap times the mask: `[batch, channel, tap, place]`.
    fn samples(
        &self,
        inputs: Tensors<'_>,
        slides: &[super::Slide],
        places: &Shape,
    ) -> Result<Vec<f64>> {
        let x = inputs.req(0)?;
        let (axes, count) = (slides.len(), places.elements()?);
        let kernel: Shape = slides.iter().map(|s| s.kernel).collect();
        let (taps, groups) = (kernel.elements()?, self.offset_group.max(1) as usize);
        let (batch, channels) = (x.shape()[0], x.shape()[1]);
        let offsets = inputs.req(2)?.to_f64();
        let mask = inputs.opt(4).map(HostTensor::to_f64);
        let points = batch * groups * taps * count;
        if offsets.len() != points * axes || mask.as_ref().is_some_and(|m| m.len() != points) {
            return Err(inputs.error("offsets or mask do not match the output's places"));
        }
        let values = x.to_f64();
        let plane = x.shape()[2..].iter().product::<usize>();
        let mut out = vec![0.0; batch * channels * taps * count];
        for n in 0..batch {
            for c in 0..channels {
                let group = n * groups + c / (channels / groups).max(1);
                let image = &values[(n * channels + c) * plane..][..plane];
                let mut tap_index = kernel.indices();
                let mut tap = 0;
                while let Some(t) = tap_index.advance() {
                    let mut place_index = places.indices();
                    let mut place = 0;
                    while let Some(at) = place_index.advance() {
                        let point = group * taps + tap;
                        let around: Vec<Taps> = (slides.iter().enumerate())
                            .map(|(i, s)| {
                                let still = at[i] * s.stride + t[i] * s.dilation;
                                let moved = offsets[(point * axes + i) * count + place];
                                neighbours(still as f64 - s.before as f64 + moved, s.input)
                            })
                            .collect();
                        let weight = mask.as_ref().map_or(1.0, |m| m[point * count + place]);
                        let sample = gather(image, &x.shape()[2..], &around);
                        out[((n * channels + c) * taps + tap) * count + place] = weight * sample;
                        place += 1;
                    }
                    tap += 1;
                }
            }
        }
        Ok(out)
    }
}

fn neighbours(at: f64, size: usize) -> Taps {
    linear(at, |offset| {
        let whole = at.floor() + offset;
        (whole >= 0.0 && whole < size as f64).then_some(whole as usize)
    })
}
