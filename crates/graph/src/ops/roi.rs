//! MaxRoiPool and RoiAlign: pooling over regions of interest.

use crate::dim::Dim;
use crate::fact::{Facts, Tensors, Values};
use crate::op::{Case, Operator};
use crate::{Attrs, Error, Fact, Result, samples};
use tilewright_tensor::HostTensor;

/// ONNX MaxRoiPool-22: the largest element of each of `pooled` by `pooled` cells of every region (Girshick, Fast R-CNN,
/// 2015). Input 1 is `[regions, 5]`: image, x1, y1, x2, y2, both corners included.
#[derive(Clone, Debug)]
pub struct MaxRoiPool {
    /// Cells along height and width.
    pub pooled: [i64; 2],
    /// Elements of the input per unit of the regions' coordinates.
    pub spatial_scale: f32,
}

/// A corner further out than this is outside of every image all the same.
const FAR: f64 = (1u64 << 30) as f64;

impl Operator for MaxRoiPool {
    const NAMES: &'static [&'static str] = &["MaxRoiPool"];

    fn attrs(&self) -> Attrs {
        Attrs::new("MaxRoiPool")
            .with("pooled_shape", self.pooled.to_vec())
            .with("spatial_scale", self.spatial_scale)
    }

    fn from_attrs(_: &str, attrs: &Attrs) -> Result<Self> {
        let pooled: Vec<i64> = attrs.need("pooled_shape")?;
        let bad = |_| Error::op("MaxRoiPool", format!("pooled_shape {pooled:?}"));
        Ok(MaxRoiPool {
            pooled: pooled.clone().try_into().map_err(bad)?,
            spatial_scale: attrs.or("spatial_scale", 1.0)?,
        })
    }

    fn infer(&self, inputs: Facts<'_>) -> Result<Vec<Fact>> {
        regions(inputs, 5, self.pooled)
    }

    fn work(&self, inputs: Facts<'_>, outputs: &[Fact]) -> u64 {
        let plane = inputs
            .opt(0)
            .map_or(0, |x| x.extent(2).saturating_mul(x.extent(3)));
        crate::op::per_output(inputs, outputs, plane)
    }

    fn reference(&self, inputs: Tensors<'_>) -> Result<Vec<HostTensor>> {
        let map = Map::new(inputs)?;
        let rois = inputs.req(1)?.to_f64();
        let mut out = vec![];
        for roi in rois.chunks(5) {
            let image = map.image(inputs, roi[0] as i64)?;
            let corner = |i: usize| {
                let at = roi[i] * f64::from(self.spatial_scale);
                at.round().clamp(-FAR, FAR) as i64
            };
            let range = |axis: usize, cell: i64| {
                let (from, to, size) = if axis == 0 {
                    (corner(2), corner(4), map.height)
                } else {
                    (corner(1), corner(3), map.width)
                };
                let cells = self.pooled[axis];
                let extent = (to - from + 1).max(1);
                let first = (cell * extent).div_euclid(cells) + from;
                let end = ((cell + 1) * extent + cells - 1).div_euclid(cells) + from;
                let clip = |n: i64| n.clamp(0, size as i64) as usize;
                clip(first)..clip(end)
            };
            for channel in 0..map.channels {
                for row in 0..self.pooled[0] {
                    for column in 0..self.pooled[1] {
                        let mut best = None;
                        for y in range(0, row) {
                            for x in range(1, column) {
                                let value = map.at(image, channel, y, x);
                                best = Some(best.map_or(value, |b: f64| b.max(value)));
                            }
                        }
                        out.push(best.unwrap_or(0.0));
                    }
                }
            }
        }
        map.output(out, rois.len() / 5, self.pooled)
    }

    fn cases() -> Vec<Case> {
        let x = samples::uniform(&[2, 3, 8, 9], 1);
        let rois = [
            0.0f32, 1., 2., 6., 5., 1., 0., 0., 8., 7., 1., 3., 3., 3., 3.,
        ];
        let rois = samples::of(&[3, 5], &rois);
        let op = |spatial_scale| MaxRoiPool {
            pooled: [2, 3],
            spatial_scale,
        };
        vec![
            Case::new("plain", op(1.0), vec![x.clone(), rois.clone()]),
            Case::new("scaled", op(0.7), vec![x, rois]),
        ]
    }
}

/// What RoiAlign makes of the samples in a cell.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RoiMode {
    /// Their mean.
    Average,
    /// The largest weighted corner of any sample, as ONNX's reference computes it.
    Max,
}

/// ONNX RoiAlign-22: samples each cell of every region bilinearly at a grid of places (He et al., Mask R-CNN, 2017). Input
/// 1 is `[regions, 4]`: x1, y1, x2, y2; input 2 the image of each.
#[derive(Clone, Debug)]
pub struct RoiAlign {
    /// Cells along height and width.
    pub output: [i64; 2],
    /// Samples along either side of a cell; 0 for one an element.
    pub sampling_ratio: i64,
    /// Elements of the input per unit of the regions' coordinates.
    pub spatial_scale: f32,
    /// Coordinates count from the middle of the first element, not from its edge.
    pub half_pixel: bool,
    /// What becomes of the samples.
    pub mode: RoiMode,
}

impl Operator for RoiAlign {
    const NAMES: &'static [&'static str] = &["RoiAlign"];

    fn attrs(&self) -> Attrs {
        let transform = if self.half_pixel {
            "half_pixel"
        } else {
            "output_half_pixel"
        };
        let mode = match self.mode {
            RoiMode::Average => "avg",
            RoiMode::Max => "max",
        };
        Attrs::new("RoiAlign")
            .with("coordinate_transformation_mode", transform.to_string())
            .with("mode", mode.to_string())
            .with("output_height", self.output[0])
            .with("output_width", self.output[1])
            .with("sampling_ratio", self.sampling_ratio)
            .with("spatial_scale", self.spatial_scale)
    }

    fn from_attrs(_: &str, attrs: &Attrs) -> Result<Self> {
        let text = |name: &str, default: &str| attrs.or(name, default.to_string());
        let bad = |what: String| Error::op("RoiAlign", what);
        Ok(RoiAlign {
            output: [attrs.or("output_height", 1)?, attrs.or("output_width", 1)?],
            sampling_ratio: attrs.or("sampling_ratio", 0)?,
            spatial_scale: attrs.or("spatial_scale", 1.0)?,
            half_pixel: match text("coordinate_transformation_mode", "half_pixel")?.as_str() {
                "half_pixel" => true,
                "output_half_pixel" => false,
                other => return Err(bad(format!("coordinate_transformation_mode {other:?}"))),
            },
            mode: match text("mode", "avg")?.as_str() {
                "avg" => RoiMode::Average,
                "max" => RoiMode::Max,
                other => return Err(bad(format!("mode {other:?}"))),
            },
        })
    }

    fn infer(&self, inputs: Facts<'_>) -> Result<Vec<Fact>> {
        regions(inputs, 4, self.output)
    }

    fn work(&self, inputs: Facts<'_>, outputs: &[Fact]) -> u64 {
        // Without a ratio about one sample an element; see `samples`.
        let plane = inputs
            .opt(0)
            .map_or(0, |x| x.extent(2).saturating_mul(x.extent(3)));
        let ratio = self.sampling_ratio.max(0) as u64;
        let each = if ratio > 0 {
            ratio.saturating_mul(ratio)
        } else {
            plane
        };
        crate::op::per_output(inputs, outputs, each.saturating_mul(4))
    }

    fn reference(&self, inputs: Tensors<'_>) -> Result<Vec<HostTensor>> {
        let map = Map::new(inputs)?;
        let (rois, images) = (inputs.req(1)?.to_f64(), inputs.ints(2)?);
        if images.len() * 4 != rois.len() {
            return Err(inputs.error("regions and batch indices differ in number"));
        }
        let mut out = vec![];
        for (roi, &image) in rois.chunks(4).zip(&images) {
            let image = map.image(inputs, image)?;
            let rows = self.samples(roi[1], roi[3], self.output[0], map.height);
            let columns = self.samples(roi[0], roi[2], self.output[1], map.width);
            for channel in 0..map.channels {
                for row in &rows {
                    for column in &columns {
                        out.push(self.cell(&map, (image, channel), row, column));
                    }
                }
            }
        }
        map.output(out, images.len(), self.output)
    }

    fn cases() -> Vec<Case> {
        let x = samples::uniform(&[2, 3, 8, 9], 1);
        let rois = [1.0f32, 2., 6.5, 5., 0., 0., 8., 7.5, -2., 3., 12., 4.];
        let rois = samples::of(&[3, 4], &rois);
        let images = samples::ints(&[0, 1, 1]);
        let op = |half_pixel, sampling_ratio, mode| RoiAlign {
            output: [2, 3],
            sampling_ratio,
            spatial_scale: 0.8,
            half_pixel,
            mode,
        };
        let case = |name: &str, op| {
            let inputs = vec![x.clone(), rois.clone(), images.clone()];
            Case::new(name, op, inputs).constant(&[2])
        };
        vec![
            case("half pixel", op(true, 2, RoiMode::Average)),
            case("whole pixel", op(false, 0, RoiMode::Average)),
            case("max", op(true, 2, RoiMode::Max)),
        ]
    }
}

/// Two neighbours along an axis with their weights.
type Pair = [(usize, f64); 2];

/// The samples of a cell along one axis.
struct Samples {
    /// Those within the image. Regions may be far larger: the samples outside, all of them 0, are only counted.
    inside: Vec<Pair>,
    count: i64,
}

impl Samples {
    fn leaves_the_image(&self) -> bool {
        (self.inside.len() as i64) < self.count
    }
}

impl RoiAlign {
    /// The samples of every cell along one axis.
    fn samples(&self, from: f64, to: f64, cells: i64, size: usize) -> Vec<Samples> {
        let scale = f64::from(self.spatial_scale);
        let offset = if self.half_pixel { 0.5 } else { 0.0 };
        let start = from * scale - offset;
        let mut extent = to * scale - offset - start;
        if !self.half_pixel {
            extent = extent.max(1.0);
        }
        let cell = extent / cells as f64;
        let count = match self.sampling_ratio {
            n if n > 0 => n,
            _ => cell.ceil() as i64,
        };
        let one = |i: i64, s: i64| {
            let at = start + i as f64 * cell + (s as f64 + 0.5) * cell / count as f64;
            if at < -1.0 || at > size as f64 || size == 0 {
                return None;
            }
            let at = at.clamp(0.0, (size - 1) as f64);
            let low = at as usize;
            let part = at - low as f64;
            Some([(low, 1.0 - part), ((low + 1).min(size - 1), part)])
        };
        // Samples that may be within the image; where their number is given, all are looked at.
        let near = |i: i64| {
            if self.sampling_ratio > 0 {
                return 0..count;
            }
            let at = |x: f64| (x - start - i as f64 * cell) * (count as f64 / cell) - 0.5;
            let from = (at(-1.0).floor() as i64).max(0);
            from..(at(size as f64).ceil() as i64).saturating_add(1).min(count)
        };
        (0..cells)
            .map(|i| Samples {
                inside: near(i).filter_map(|s| one(i, s)).collect(),
                count: count.max(0),
            })
            .collect()
    }

    fn cell(&self, map: &Map, at: (usize, usize), rows: &Samples, columns: &Samples) -> f64 {
        let outside = rows.leaves_the_image() || columns.leaves_the_image();
        let (mut sum, mut best) = (0.0, outside.then_some(0.0));
        for row in &rows.inside {
            for column in &columns.inside {
                for (y, v) in row {
                    for (x, w) in column {
                        let value = map.at(at.0, at.1, *y, *x) * v * w;
                        sum += value;
                        best = Some(best.map_or(value, |b: f64| b.max(value)));
                    }
                }
            }
        }
        match self.mode {
            RoiMode::Average => sum / (rows.count as f64 * columns.count as f64).max(1.0),
            RoiMode::Max => best.unwrap_or(0.0),
        }
    }
}

fn regions(inputs: Facts<'_>, columns: i64, cells: [i64; 2]) -> Result<Vec<Fact>> {
    let (x, rois) = (inputs.req(0)?, inputs.req(1)?);
    let width = rois.shape.get(1).and_then(Dim::known);
    if x.rank() != 4 || rois.rank() != 2 || width.is_some_and(|n| n != columns) {
        return Err(inputs.error(format!("{x} pooled over {rois}")));
    }
    if !cells.iter().all(|n| (1..=i64::from(i32::MAX)).contains(n)) {
        return Err(inputs.error(format!("{cells:?} cells")));
    }
    let mut shape = vec![rois.shape[0].clone(), x.shape[1].clone()];
    shape.extend(cells.map(Dim::from));
    Ok(vec![Fact::new(x.dtype, shape)])
}

/// Input 0.
struct Map<'a> {
    tensor: &'a HostTensor,
    values: Vec<f64>,
    channels: usize,
    height: usize,
    width: usize,
}

impl Map<'_> {
    fn new(inputs: Tensors<'_>) -> Result<Map<'_>> {
        let tensor = inputs.req(0)?;
        let [_, channels, height, width] = tensor.shape()[..] else {
            return Err(inputs.error(format!("input of shape {}", tensor.shape())));
        };
        Ok(Map {
            tensor,
            values: tensor.to_f64(),
            channels,
            height,
            width,
        })
    }

    fn image(&self, inputs: Tensors<'_>, index: i64) -> Result<usize> {
        let images = self.tensor.shape()[0];
        usize::try_from(index)
            .ok()
            .filter(|&i| i < images)
            .ok_or_else(|| inputs.error(format!("region in image {index} of {images}")))
    }

    fn at(&self, image: usize, channel: usize, y: usize, x: usize) -> f64 {
        self.values[((image * self.channels + channel) * self.height + y) * self.width + x]
    }

    fn output(&self, values: Vec<f64>, regions: usize, cells: [i64; 2]) -> Result<Vec<HostTensor>> {
        let [rows, columns] = cells.map(|n| n.max(0) as usize);
        let shape = [regions, self.channels, rows, columns];
        let dtype = self.tensor.dtype();
        Ok(vec![HostTensor::from_f64(dtype, shape, values)?])
    }
}
