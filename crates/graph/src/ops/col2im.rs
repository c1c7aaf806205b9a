//! Col2Im: adds the columns of blocks back into an image.

use super::window::{Slide, Window};
use crate::dim::Dim;
use crate::fact::{Facts, Tensors, Values};
use crate::op::{Case, Operator};
use crate::{Attrs, Fact, Result, samples};
use tilewright_tensor::{DType, HostTensor, Shape};

/// ONNX Col2Im-18: input `[N, C * block, L]`, image shape, block shape; every element is added where its block lies.
#[derive(Clone, Debug, Default)]
pub struct Col2Im {
    /// Strides, dilations and padding of the blocks.
    pub window: Window,
}

impl Operator for Col2Im {
    const NAMES: &'static [&'static str] = &["Col2Im"];

    fn attrs(&self) -> Attrs {
        self.window.write(Attrs::new("Col2Im"))
    }

    fn from_attrs(_: &str, attrs: &Attrs) -> Result<Self> {
        Ok(Col2Im {
            window: Window::read(attrs)?,
        })
    }

    fn infer(&self, inputs: Facts<'_>) -> Result<Vec<Fact>> {
        let (x, image, block) = (inputs.req(0)?, inputs.dims(1)?, inputs.dims(2)?);
        if x.rank() != 3 || image.len() != block.len() {
            let what = format!("{x} into an image of {image:?} by blocks of {block:?}");
            return Err(inputs.error(what));
        }
        let block = block.into_iter().fold(Dim::from(1i64), |a, b| a * b);
        let channels = x.shape[1].floor_div(&block);
        let shape = [&[x.shape[0].clone(), channels], &image[..]].concat();
        Ok(vec![Fact::new(x.dtype, shape)])
    }

    fn reference(&self, inputs: Tensors<'_>) -> Result<Vec<HostTensor>> {
        let x = inputs.req(0)?;
        let image = Shape::from_i64(&inputs.ints(1)?)?;
        let block = Shape::from_i64(&inputs.ints(2)?)?;
        let slides = self.window.slides(inputs.op(), &image, &block)?;
        let blocks: Shape = slides.iter().map(|s| s.output).collect();
        let taps = block.elements()?.max(1);
        let [n, columns, l] = x.shape()[..] else {
            return Err(inputs.error(format!("input of shape {}", x.shape())));
        };
        if l != blocks.elements()? || columns % taps != 0 {
            let what = format!("{columns} x {l} columns for {blocks} blocks of {taps}");
            return Err(inputs.error(what));
        }
        let channels = columns / taps;
        let size = image.elements()?;
        let places = places(&slides, &image, &block, &blocks);
        let mut out = vec![0.0; n * channels * size];
        let values = x.to_f64();
        for (plane, columns) in out
            .chunks_mut(size.max(1))
            .zip(values.chunks((taps * l).max(1)))
        {
            for (value, place) in columns.iter().zip(&places) {
                if let Some(at) = place {
                    plane[*at] += value;
                }
            }
        }
        let shape = [&[n, channels], &image[..]].concat();
        Ok(vec![HostTensor::from_f64(x.dtype(), shape, out)?])
    }

    fn cases() -> Vec<Case> {
        let window = Window {
            strides: vec![1, 2],
            dilations: vec![2, 1],
            pads: vec![1, 0, 0, 2],
            ..Window::default()
        };
        let case = |name: &str, window, x: HostTensor, image: &[i64], block: &[i64]| {
            let inputs = vec![x, samples::ints(image), samples::ints(block)];
            Case::new(name, Col2Im { window }, inputs).constant(&[1, 2])
        };
        let x = |shape: &[usize]| samples::uniform(shape, 1);
        let plain = Window::default;
        let ints = samples::integers(DType::I32, &[1, 4, 9], 1, -50, 50);
        vec![
            case("blocks", plain(), x(&[2, 12, 12]), &[4, 5], &[2, 2]),
            case("everything", window, x(&[1, 12, 8]), &[5, 6], &[3, 2]),
            case("3-D", plain(), x(&[1, 8, 4]), &[2, 3, 3], &[2, 2, 2]),
            case("i32", plain(), ints, &[4, 4], &[2, 2]),
        ]
    }
}

/// For each column element (tap by tap, block by block) its offset in the image, if it is not on padding.
fn places(slides: &[Slide], image: &Shape, block: &Shape, blocks: &Shape) -> Vec<Option<usize>> {
    let mut out = vec![];
    let mut taps = block.indices();
    while let Some(tap) = taps.advance() {
        let mut windows = blocks.indices();
        while let Some(window) = windows.advance() {
            let mut at = Some(0usize);
            for (i, s) in slides.iter().enumerate() {
                let here = (window[i] * s.stride + tap[i] * s.dilation).checked_sub(s.before);
                let here = here.filter(|&p| p < s.input);
                at = at.zip(here).map(|(at, p)| at * image[i] + p);
            }
            out.push(at);
        }
    }
    out
}
