//! Resize: enlarges or shrinks along any axes by interpolation.

mod cases;
mod lower;
mod sizes;
mod taps;

use crate::dim::Dim;
use crate::fact::{Facts, Tensors, Values, axis_index};
use crate::lower::{Lower, Place, Placing};
use crate::op::{Case, Operand, Operator};
use crate::{Attrs, Error, Fact, Result};
use sizes::Extent;
use taps::Taps;
use tilewright_tensor::{HostTensor, Shape};

/// How values between elements are made.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ResizeMode {
    /// One element.
    #[default]
    Nearest,
    /// A mean of two neighbours along each axis.
    Linear,
    /// Cubic convolution of four neighbours along each axis.
    Cubic,
}

/// Where an output element lies in the input.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Transform {
    /// Centres at half units.
    #[default]
    HalfPixel,
    /// The same, with the whole output centred on the input.
    HalfPixelSymmetric,
    /// Half units, but a single element lies at 0.
    PytorchHalfPixel,
    /// First on first, last on last.
    AlignCorners,
    /// First on first, scaled.
    Asymmetric,
    /// A region of the input, as `tf.image.crop_and_resize`.
    TfCropAndResize,
}

/// Which element is nearest.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum NearestMode {
    /// The closer one, on a tie the lower one.
    #[default]
    RoundPreferFloor,
    /// The closer one, on a tie the upper one.
    RoundPreferCeil,
    /// The lower one.
    Floor,
    /// The upper one.
    Ceil,
}

/// What sizes mean that would change the ratio of the axes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum AspectPolicy {
    /// They are taken as they are.
    #[default]
    Stretch,
    /// The largest output that is nowhere larger.
    NotLarger,
    /// The smallest output that is nowhere smaller.
    NotSmaller,
}

/// ONNX Resize-19. Inputs: X, region (starts, then ends, in 0..1), scales, sizes; one of the last two.
///
/// Sizes follow from scales by `floor(size * scale)`, where a scale stands for the simplest fraction that rounds to it: 0.7
/// makes 7 of 10. The region does not change sizes (as in ONNX's shape inference).
#[derive(Clone, Debug, PartialEq)]
pub struct Resize {
    /// How values between elements are made.
    pub mode: ResizeMode,
    /// Where an output element lies in the input.
    pub transform: Transform,
    /// Which element is nearest.
    pub nearest: NearestMode,
    /// The axes that region, scales and sizes speak of; empty for all.
    pub axes: Vec<i64>,
    /// Widens the filter where the output is smaller.
    pub antialias: bool,
    /// Elements outside the input get no weight, instead of the border's value.
    pub exclude_outside: bool,
    /// The value outside the input for [`Transform::TfCropAndResize`].
    pub extrapolation: f32,
    /// The parameter of cubic convolution.
    pub cubic_a: f32,
    /// What sizes mean that would change the ratio of the axes.
    pub policy: AspectPolicy,
}

impl Default for Resize {
    fn default() -> Self {
        Resize {
            mode: ResizeMode::default(),
            transform: Transform::default(),
            nearest: NearestMode::default(),
            axes: vec![],
            antialias: false,
            exclude_outside: false,
            extrapolation: 0.0,
            cubic_a: -0.75,
            policy: AspectPolicy::default(),
        }
    }
}

/// An attribute's values and their names.
type Names<T> = &'static [(&'static str, T)];

const MODES: Names<ResizeMode> = &[
    ("nearest", ResizeMode::Nearest),
    ("linear", ResizeMode::Linear),
    ("cubic", ResizeMode::Cubic),
];
const TRANSFORMS: Names<Transform> = &[
    ("half_pixel", Transform::HalfPixel),
    ("half_pixel_symmetric", Transform::HalfPixelSymmetric),
    ("pytorch_half_pixel", Transform::PytorchHalfPixel),
    ("align_corners", Transform::AlignCorners),
    ("asymmetric", Transform::Asymmetric),
    ("tf_crop_and_resize", Transform::TfCropAndResize),
];
const NEAREST: Names<NearestMode> = &[
    ("round_prefer_floor", NearestMode::RoundPreferFloor),
    ("round_prefer_ceil", NearestMode::RoundPreferCeil),
    ("floor", NearestMode::Floor),
    ("ceil", NearestMode::Ceil),
];
const POLICIES: Names<AspectPolicy> = &[
    ("stretch", AspectPolicy::Stretch),
    ("not_larger", AspectPolicy::NotLarger),
    ("not_smaller", AspectPolicy::NotSmaller),
];

fn read<T: Copy>(attrs: &Attrs, attr: &str, names: Names<T>) -> Result<T> {
    let text = attrs.or(attr, names[0].0.to_string())?;
    let found = names.iter().find(|n| n.0 == text);
    let bad = || Error::op("Resize", format!("{attr} {text:?}"));
    Ok(found.ok_or_else(bad)?.1)
}

fn write<T: PartialEq>(names: Names<T>, value: T) -> String {
    let found = names.iter().find(|n| n.1 == value);
    found.map_or("", |n| n.0).to_string()
}

impl Operator for Resize {
    const NAMES: &'static [&'static str] = &["Resize"];

    fn attrs(&self) -> Attrs {
        let axes = Some(self.axes.clone()).filter(|a| !a.is_empty());
        Attrs::new("Resize")
            .with("mode", write(MODES, self.mode))
            .with(
                "coordinate_transformation_mode",
                write(TRANSFORMS, self.transform),
            )
            .with("nearest_mode", write(NEAREST, self.nearest))
            .with("keep_aspect_ratio_policy", write(POLICIES, self.policy))
            .with("antialias", self.antialias)
            .with("exclude_outside", self.exclude_outside)
            .with("extrapolation_value", self.extrapolation)
            .with("cubic_coeff_a", self.cubic_a)
            .with_opt("axes", axes)
    }

    fn from_attrs(_: &str, attrs: &Attrs) -> Result<Self> {
        let default = Resize::default();
        Ok(Resize {
            mode: read(attrs, "mode", MODES)?,
            transform: read(attrs, "coordinate_transformation_mode", TRANSFORMS)?,
            nearest: read(attrs, "nearest_mode", NEAREST)?,
            axes: attrs.or("axes", vec![])?,
            antialias: attrs.or("antialias", false)?,
            exclude_outside: attrs.or("exclude_outside", false)?,
            extrapolation: attrs.or("extrapolation_value", default.extrapolation)?,
            cubic_a: attrs.or("cubic_coeff_a", default.cubic_a)?,
            policy: read(attrs, "keep_aspect_ratio_policy", POLICIES)?,
        })
    }

    fn infer(&self, inputs: Facts<'_>) -> Result<Vec<Fact>> {
        let x = inputs.req(0)?;
        let axes = self.axes(inputs.op(), x.rank())?;
        let mut shape = x.shape.clone();
        let given = |i: usize| inputs.opt(i).filter(|f| f.elements().known() != Some(0));
        if given(2).is_some() {
            let scales = inputs.opt_floats(2)?.unwrap_or_default();
            sizes::check(inputs.op(), &axes, scales.len())?;
            for (&axis, scale) in axes.iter().zip(scales) {
                shape[axis] = sizes::scaled(inputs.op(), &shape[axis], scale)?;
            }
        } else {
            let targets = inputs.dims(3)?;
            sizes::check(inputs.op(), &axes, targets.len())?;
            if self.policy == AspectPolicy::Stretch {
                for (&axis, target) in axes.iter().zip(targets) {
                    shape[axis] = target;
                }
            } else {
                // A common scale is a fraction of plain numbers.
                let plain = |d: &Dim| d.known().and_then(|n| usize::try_from(n).ok());
                let late = || Error::NeedsValue {
                    op: "Resize",
                    input: 3,
                };
                let (mut from, mut to) = (vec![], vec![]);
                for (&axis, target) in axes.iter().zip(&targets) {
                    from.push(plain(&shape[axis]).ok_or_else(late)?);
                    to.push(plain(target).ok_or_else(late)?);
                }
                for (&axis, extent) in axes.iter().zip(sizes::kept(self.policy, &from, &to)) {
                    shape[axis] = extent.output.into();
                }
            }
        }
        Ok(vec![Fact::new(x.dtype, shape)])
    }

    fn reference(&self, inputs: Tensors<'_>) -> Result<Vec<HostTensor>> {
        let x = inputs.req(0)?;
        let extents = self.extents(inputs, x.shape())?;
        let active: Vec<(usize, Taps)> = (extents.iter().enumerate())
            .filter(|(_, e)| !e.is_identity())
            .map(|(axis, e)| (axis, self.taps(e)))
            .collect();
        if self.moves_only() {
            return Ok(vec![picked(x, &active)?]);
        }
        // Those that shrink first: then nothing between is larger than the input or the output.
        let mut active = active;
        active.sort_by_key(|(axis, taps)| taps.places() > x.shape()[*axis]);
        let mut shape = x.shape().clone();
        let mut values = x.to_f64();
        for (axis, taps) in &active {
            (shape, values) = along(&shape, &values, *axis, taps, self.extrapolation.into());
        }
        Ok(vec![HostTensor::from_f64(x.dtype(), &shape, values)?])
    }

    fn place(&self, cx: &Placing<'_>) -> Place {
        lower::place(self, cx)
    }

    fn lower(&self, cx: &mut Lower<'_>) -> Result<()> {
        lower::lower(self, cx)
    }

    fn moves(&self, input: usize) -> bool {
        input == 0 && self.moves_only()
    }

    fn half(&self, operand: Operand) -> bool {
        matches!(operand, Operand::Input(0) | Operand::Output(0))
    }

    fn cases() -> Vec<Case> {
        cases::cases()
    }
}

impl Resize {
    /// True if every output element is an input element.
    fn moves_only(&self) -> bool {
        self.mode == ResizeMode::Nearest && self.transform != Transform::TfCropAndResize
    }

    fn axes(&self, op: &str, rank: usize) -> Result<Vec<usize>> {
        if self.axes.is_empty() {
            return Ok((0..rank).collect());
        }
        self.axes.iter().map(|&a| axis_index(op, a, rank)).collect()
    }

    /// Input and output sizes, scale and region of every axis.
    fn extents(&self, inputs: Tensors<'_>, shape: &Shape) -> Result<Vec<Extent>> {
        let given = |i: usize| inputs.opt(i).filter(|t| !t.is_empty());
        let region = match self.transform {
            Transform::TfCropAndResize => given(1).map(HostTensor::to_f64),
            _ => None,
        };
        let targets = match given(2) {
            Some(t) => sizes::Target::Scales(t.to_f64()),
            None => sizes::Target::Sizes(inputs.ints(3)?),
        };
        self.plan(inputs.op(), shape, region, &targets)
    }

    fn plan(
        &self,
        op: &str,
        shape: &[usize],
        region: Option<Vec<f64>>,
        targets: &sizes::Target,
    ) -> Result<Vec<Extent>> {
        let axes = self.axes(op, shape.len())?;
        let from: Vec<usize> = axes.iter().map(|&a| shape[a]).collect();
        let mut extents: Vec<Extent> = shape.iter().map(|&n| Extent::identity(n)).collect();
        let found = targets.extents(op, self.policy, &from)?;
        for (i, (&axis, extent)) in axes.iter().zip(found).enumerate() {
            extents[axis] = extent;
            if let Some(region) = &region {
                let pair = (region.get(i), region.get(axes.len() + i));
                if let (Some(&start), Some(&end)) = pair {
                    extents[axis].region = (start, end);
                }
            }
        }
        Ok(extents)
    }
}

/// Nearest elements of any type.
fn picked(x: &HostTensor, active: &[(usize, Taps)]) -> Result<HostTensor> {
    let strides = x.shape().strides();
    let mut shape = x.shape().to_vec();
    let mut steps: Vec<Option<&Taps>> = vec![None; shape.len()];
    for (axis, taps) in active {
        shape[*axis] = taps.places();
        steps[*axis] = Some(taps);
    }
    // Offsets of all places of the axes so far.
    let mut offsets = vec![0usize];
    for (axis, &size) in shape.iter().enumerate() {
        let at = |i: usize| steps[axis].map_or(Some(i), |taps| taps.list[i].0);
        let stride = strides[axis] as usize;
        let own: Vec<usize> = (0..size).map(|i| at(i).unwrap_or(0) * stride).collect();
        offsets = (offsets.iter())
            .flat_map(|&o| own.iter().map(move |&p| o + p))
            .collect();
    }
    Ok(x.select(shape, offsets)?)
}

/// Interpolates along one axis.
fn along(
    shape: &Shape,
    values: &[f64],
    axis: usize,
    taps: &Taps,
    outside: f64,
) -> (Shape, Vec<f64>) {
    let (size, inner) = (shape[axis], shape[axis + 1..].iter().product::<usize>());
    let outer: usize = shape[..axis].iter().product();
    let mut out = vec![0.0; outer * taps.places() * inner];
    let rows = out.chunks_mut(inner.max(1));
    let places = (0..outer).flat_map(|o| taps.list.chunks(taps.count).map(move |t| (o, t)));
    for (row, (o, taps)) in rows.zip(places) {
        for &(index, weight) in taps {
            match index {
                None => row.iter_mut().for_each(|y| *y += weight * outside),
                Some(i) => {
                    let x = &values[(o * size + i) * inner..][..inner];
                    row.iter_mut().zip(x).for_each(|(y, x)| *y += weight * x);
                }
            }
        }
    }
    let mut shape = shape.to_vec();
    shape[axis] = taps.places();
    (shape.into(), out)
}
