//! GridSample: reads an image at the positions of a grid.

use crate::dim::Dim;
use crate::fact::{Facts, Tensors};
use crate::lower::{Lower, Place, Placing};
use crate::op::{Case, Operator};
use crate::{Attrs, Error, Fact, Result, samples};
use tilewright_kernels::{self as kernels, Outside, Sampling};
use tilewright_tensor::{DType, HostTensor};

/// How values between elements are made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SampleMode {
    /// The nearest element; ties go to the even one.
    Nearest,
    /// A mean of the two neighbours along each axis.
    Linear,
    /// Cubic convolution (Keys 1981, a = -0.75) of four neighbours along each axis.
    Cubic,
}

/// What lies outside the image.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SamplePad {
    /// Zeros.
    Zeros,
    /// The nearest border element.
    Border,
    /// The image mirrored at its border.
    Reflection,
}

/// ONNX GridSample-22: X is `[N, C, D1..Dr]`, the grid `[N, places.., r]` in -1..1 with the innermost axis first.
#[derive(Clone, Debug)]
pub struct GridSample {
    /// How values between elements are made.
    pub mode: SampleMode,
    /// What lies outside the image.
    pub padding: SamplePad,
    /// -1 and 1 are the centres of the outermost elements, not their outer edges.
    pub align_corners: bool,
}

const MODES: [(&str, SampleMode); 3] = [
    ("nearest", SampleMode::Nearest),
    ("linear", SampleMode::Linear),
    ("cubic", SampleMode::Cubic),
];

const PADS: [(&str, SamplePad); 3] = [
    ("zeros", SamplePad::Zeros),
    ("border", SamplePad::Border),
    ("reflection", SamplePad::Reflection),
];

impl Operator for GridSample {
    const NAMES: &'static [&'static str] = &["GridSample"];

    fn attrs(&self) -> Attrs {
        let mode = MODES.iter().find(|m| m.1 == self.mode).map_or("", |m| m.0);
        let pad = PADS
            .iter()
            .find(|p| p.1 == self.padding)
            .map_or("", |p| p.0);
        Attrs::new("GridSample")
            .with("align_corners", self.align_corners)
            .with("mode", mode.to_string())
            .with("padding_mode", pad.to_string())
    }

    fn from_attrs(_: &str, attrs: &Attrs) -> Result<Self> {
        let mode = attrs.or("mode", "linear".to_string())?;
        let pad = attrs.or("padding_mode", "zeros".to_string())?;
        // The names of opset 16.
        let new = match mode.as_str() {
            "bilinear" => "linear",
            "bicubic" => "cubic",
            other => other,
        };
        let bad = |what: &str| Error::op("GridSample", format!("unknown {what:?}"));
        Ok(GridSample {
            mode: MODES
                .iter()
                .find(|m| m.0 == new)
                .ok_or_else(|| bad(&mode))?
                .1,
            padding: PADS.iter().find(|p| p.0 == pad).ok_or_else(|| bad(&pad))?.1,
            align_corners: attrs.or("align_corners", false)?,
        })
    }

    fn infer(&self, inputs: Facts<'_>) -> Result<Vec<Fact>> {
        let (x, grid) = (inputs.req(0)?, inputs.req(1)?);
        let axes = grid.shape.last().and_then(Dim::known);
        let fits = axes.is_none_or(|n| n == x.rank() as i64 - 2);
        if x.rank() < 3 || grid.rank() != x.rank() || !fits {
            return Err(inputs.error(format!("{x} sampled at {grid}")));
        }
        inputs.agree("batches", &[&x.shape[0], &grid.shape[0]])?;
        let places = &grid.shape[1..grid.rank() - 1];
        Ok(vec![Fact::new(x.dtype, [&x.shape[..2], places].concat())])
    }

    fn work(&self, inputs: Facts<'_>, outputs: &[Fact]) -> u64 {
        // Cubic: four elements along each axis.
        let axes = inputs.opt(0).map_or(0, |x| x.rank().saturating_sub(2));
        crate::op::per_output(inputs, outputs, 4u64.saturating_pow(axes as u32))
    }

    fn reference(&self, inputs: Tensors<'_>) -> Result<Vec<HostTensor>> {
        let (x, grid) = (inputs.req(0)?, inputs.req(1)?);
        let sizes = &x.shape()[2..];
        let places = &grid.shape()[1..grid.rank() - 1];
        let (count, plane) = (
            places.iter().product::<usize>(),
            sizes.iter().product::<usize>(),
        );
        let (values, grid) = (x.to_f64(), grid.to_f64());
        let channels = x.shape()[1];
        let axes = sizes.len();
        let mut out = vec![0.0; x.shape()[0] * channels * count];
        for (n, out) in out.chunks_mut((channels * count).max(1)).enumerate() {
            for place in 0..count {
                let position = &grid[(n * count + place) * axes..][..axes];
                // The grid lists the innermost axis first.
                let taps: Vec<Taps> = (sizes.iter().zip(position.iter().rev()))
                    .map(|(&size, &at)| self.taps(at, size))
                    .collect();
                for c in 0..channels {
                    let image = &values[(n * channels + c) * plane..][..plane];
                    out[c * count + place] = gather(image, sizes, &taps);
                }
            }
        }
        let shape = [&x.shape()[..2], places].concat();
        Ok(vec![HostTensor::from_f64(x.dtype(), shape, out)?])
    }

    fn place(&self, cx: &Placing<'_>) -> Place {
        let rank = cx.inputs.opt(0).map_or(0, Fact::rank);
        if !matches!(rank, 4 | 5) {
            return Place::host("only flat images and volumes have a kernel");
        }
        cx.floats_only()
    }

    fn lower(&self, cx: &mut Lower<'_>) -> Result<()> {
        let (x, grid, y) = (cx.input(0)?, cx.input(1)?, cx.output(0)?);
        if x.elements() == 0 {
            // Nothing but zeros lies outside of nothing.
            cx.emit(kernels::fill(cx.caps(), &y, 0)?);
            return Ok(());
        }
        let mode = match self.mode {
            SampleMode::Nearest => Sampling::Nearest,
            SampleMode::Linear => Sampling::Linear,
            SampleMode::Cubic => Sampling::Cubic,
        };
        let outside = match self.padding {
            SamplePad::Zeros => Outside::Zeros,
            SamplePad::Border => Outside::Border,
            SamplePad::Reflection => Outside::Reflection,
        };
        let align = self.align_corners;
        cx.emit(kernels::grid_sample(
            cx.caps(),
            &x,
            &grid,
            &y,
            mode,
            outside,
            align,
        )?);
        Ok(())
    }

    fn cases() -> Vec<Case> {
        let mut cases = vec![];
        let flat = || samples::uniform(&[2, 3, 5, 6], 1);
        // Also positions outside the image, far and near.
        let grid = || samples::between(&[2, 4, 3, 2], 2, -1.6, 1.6);
        for (mode_name, mode) in MODES {
            for (pad_name, padding) in PADS {
                for align_corners in [false, true] {
                    let op = GridSample {
                        mode,
                        padding,
                        align_corners,
                    };
                    let name = format!("{mode_name}, {pad_name}, align {align_corners}");
                    cases.push(Case::new(&name, op, vec![flat(), grid()]));
                }
            }
        }
        let op = |mode| GridSample {
            mode,
            padding: SamplePad::Reflection,
            align_corners: false,
        };
        for mode in [SampleMode::Linear, SampleMode::Nearest] {
            let inputs = vec![
                samples::uniform(&[1, 2, 3, 4, 5], 1),
                samples::between(&[1, 2, 3, 2, 3], 2, -1.5, 1.5),
            ];
            cases.push(Case::new(&format!("3-D, {mode:?}"), op(mode), inputs));
        }
        let ints = samples::integers(DType::I32, &[2, 3, 5, 6], 1, -50, 50);
        cases.push(Case::new(
            "i32",
            op(SampleMode::Nearest),
            vec![ints, grid()],
        ));
        cases
    }
}

/// Elements along an axis with their weights; those without index count as zero.
pub(super) type Taps = Vec<(Option<usize>, f64)>;

impl GridSample {
    fn taps(&self, at: f64, size: usize) -> Taps {
        let n = size as f64;
        let mut at = if self.align_corners {
            (at + 1.0) / 2.0 * (n - 1.0)
        } else {
            ((at + 1.0) * n - 1.0) / 2.0
        };
        if self.mode == SampleMode::Nearest {
            at = at.round_ties_even();
        }
        at = match self.padding {
            SamplePad::Zeros => at,
            SamplePad::Border => at.clamp(0.0, (n - 1.0).max(0.0)),
            SamplePad::Reflection => self.reflect(at, n),
        };
        let low = at.floor();
        let index = |offset: f64| self.index(low + offset, n);
        match self.mode {
            SampleMode::Nearest => vec![(index(0.0), 1.0)],
            SampleMode::Linear => linear(at, index),
            SampleMode::Cubic => (0..4)
                .map(|i| {
                    (
                        index(f64::from(i) - 1.0),
                        cubic(at - low + 1.0 - f64::from(i), -0.75),
                    )
                })
                .collect(),
        }
    }

    /// The element at whole position `at`.
    fn index(&self, at: f64, n: f64) -> Option<usize> {
        let at = match self.padding {
            SamplePad::Zeros => at,
            SamplePad::Border => at.clamp(0.0, (n - 1.0).max(0.0)),
            SamplePad::Reflection => self.reflect(at, n),
        };
        // A position that is not a number is nowhere.
        (at >= 0.0 && at < n).then_some(at as usize)
    }

    /// `at` mirrored at the borders until it lies between them.
    fn reflect(&self, at: f64, n: f64) -> f64 {
        let (low, high) = if self.align_corners {
            (0.0, n - 1.0)
        } else {
            (-0.5, n - 0.5)
        };
        if at >= low && at <= high {
            return at;
        }
        let range = high - low;
        if range <= 0.0 {
            return 0.0;
        }
        let over = (at - low).rem_euclid(2.0 * range);
        low + over.min(2.0 * range - over)
    }
}

/// The two neighbours of `at`; `index(0)` is the lower one.
pub(super) fn linear(at: f64, index: impl Fn(f64) -> Option<usize>) -> Taps {
    let part = at - at.floor();
    vec![(index(0.0), 1.0 - part), (index(1.0), part)]
}

/// The cubic convolution kernel at distance `x` (Keys 1981, equation 4).
pub(super) fn cubic(x: f64, a: f64) -> f64 {
    let x = x.abs();
    if x <= 1.0 {
        ((a + 2.0) * x - (a + 3.0)) * x * x + 1.0
    } else if x < 2.0 {
        ((a * x - 5.0 * a) * x + 8.0 * a) * x - 4.0 * a
    } else {
        0.0
    }
}

/// The weighted sum over the product of the taps of all axes.
pub(super) fn gather(image: &[f64], sizes: &[usize], taps: &[Taps]) -> f64 {
    let ([size, sizes @ ..], [first, rest @ ..]) = (sizes, taps) else {
        return image[0];
    };
    let step = image.len() / (*size).max(1);
    let one = |(index, weight): &(Option<usize>, f64)| match index {
        Some(i) => weight * gather(&image[i * step..][..step], sizes, rest),
        None => 0.0,
    };
    first.iter().map(one).sum()
}
