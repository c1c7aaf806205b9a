//! Which input elements, with which weights, make the places of a resized axis.

use super::super::grid_sample::cubic;
use super::sizes::Extent;
use super::{NearestMode, Resize, ResizeMode, Transform};

/// For every place of an axis `count` elements and their weights; an element of none is the value outside.
#[derive(Clone, Debug)]
pub(super) struct Taps {
    /// Elements a place.
    pub(super) count: usize,
    /// Place by place.
    pub(super) list: Vec<(Option<usize>, f64)>,
}

impl Taps {
    /// Number of places.
    pub(super) fn places(&self) -> usize {
        self.list.len() / self.count
    }
}

impl Resize {
    /// The elements under every place of an axis.
    pub(super) fn taps(&self, axis: &Extent) -> Taps {
        // Antialiasing widens the filter by 1 / scale.
        let squeeze = if self.antialias {
            axis.scale.min(1.0)
        } else {
            1.0
        };
        // The filter reaches this far to either side of the two neighbours.
        let (first, count) = match self.mode {
            ResizeMode::Nearest => (0, 1),
            ResizeMode::Linear => reach(1.0 / squeeze),
            ResizeMode::Cubic => reach(2.0 / squeeze),
        };
        let mut list = Vec::with_capacity(axis.output * count);
        for place in 0..axis.output {
            let at = self.position(axis, place as f64);
            let last = axis.input.saturating_sub(1) as i64;
            let outside =
                self.transform == Transform::TfCropAndResize && (at < 0.0 || at > last as f64);
            if outside {
                list.extend((0..count).map(|i| (None, if i == 0 { 1.0 } else { 0.0 })));
                continue;
            }
            if self.mode == ResizeMode::Nearest {
                let index = (self.round(at) as i64).clamp(0, last) as usize;
                list.push((Some(index), 1.0));
                continue;
            }
            // A whole position counts as the upper neighbour, so that ties lie to the left.
            let low = at.ceil() as i64 - 1;
            let indices = (0..count as i64).map(|i| low + first + i);
            let weigh = |index: i64| {
                let beyond = index < 0 || index > last;
                if self.exclude_outside && beyond {
                    return 0.0;
                }
                let distance = (index as f64 - at) * squeeze;
                match self.mode {
                    ResizeMode::Cubic => cubic(distance, self.cubic_a.into()),
                    _ => (1.0 - distance.abs()).max(0.0),
                }
            };
            let weights: Vec<f64> = indices.clone().map(weigh).collect();
            let sum: f64 = weights.iter().sum();
            let sum = if sum == 0.0 { 1.0 } else { sum };
            let taps = indices.zip(weights);
            list.extend(taps.map(|(i, w)| (Some(i.clamp(0, last) as usize), w / sum)));
        }
        Taps { count, list }
    }

    /// Where a place lies in the input.
    fn position(&self, axis: &Extent, x: f64) -> f64 {
        let (input, scale) = (axis.input as f64, axis.scale);
        // Corners are aligned on the output that the scale asks for, which need not be whole.
        let output = input * scale;
        let half = (x + 0.5) / scale - 0.5;
        match self.transform {
            Transform::HalfPixel => half,
            Transform::HalfPixelSymmetric => {
                let adjustment = axis.output as f64 / output;
                half + input / 2.0 * (1.0 - adjustment)
            }
            Transform::PytorchHalfPixel if axis.output <= 1 => 0.0,
            Transform::PytorchHalfPixel => half,
            Transform::AlignCorners if output == 1.0 => 0.0,
            Transform::AlignCorners => x * (input - 1.0) / (output - 1.0),
            Transform::Asymmetric => x / scale,
            Transform::TfCropAndResize => {
                let (start, end) = axis.region;
                let along = if axis.output > 1 {
                    start + x * (end - start) / (output - 1.0)
                } else {
                    0.5 * (start + end)
                };
                along * (input - 1.0)
            }
        }
    }

    fn round(&self, at: f64) -> f64 {
        match self.nearest {
            NearestMode::RoundPreferFloor => (at - 0.5).ceil(),
            NearestMode::RoundPreferCeil => (at + 0.5).floor(),
            NearestMode::Floor => at.floor(),
            NearestMode::Ceil => at.ceil(),
        }
    }
}

/// First element relative to the lower neighbour, and number of elements, of a filter of that radius.
fn reach(radius: f64) -> (i64, usize) {
    let first = (-radius).floor() as i64 + 1;
    (first, (2 - 2 * first) as usize)
}
