//! NonMaxSuppression: the best boxes of each class that do not overlap better ones.

use crate::fact::{Facts, Tensors, Values};
use crate::op::{Case, Operator};
use crate::{Attrs, Error, Fact, Result, samples};
use tilewright_tensor::HostTensor;

/// ONNX NonMaxSuppression-11. Inputs: boxes \[batch, boxes, 4\], scores \[batch, classes, boxes\], and scalars that may be
/// left out: the most boxes of a class (0), the overlap above which a box goes (0), the score at or below which it does.
/// Output: \[selected, 3\], each a batch, a class and a box; best first within a class.
#[derive(Clone, Debug)]
pub struct NonMaxSuppression {
    /// Boxes are x, y of the centre, width, height; else y, x of two opposite corners.
    pub center_point_box: bool,
}

/// Low and high end of a box along x and y.
type Extent = [(f64, f64); 2];

impl NonMaxSuppression {
    fn extent(&self, b: &[f64]) -> Extent {
        if self.center_point_box {
            let around = |centre: f64, size: f64| (centre - size / 2.0, centre + size / 2.0);
            [around(b[0], b[2]), around(b[1], b[3])]
        } else {
            let between = |p: f64, q: f64| (p.min(q), p.max(q));
            [between(b[1], b[3]), between(b[0], b[2])]
        }
    }
}

/// Intersection over union; 0 where a box is empty.
fn overlap(a: &Extent, b: &Extent) -> f64 {
    let area = |e: &Extent| (e[0].1 - e[0].0) * (e[1].1 - e[1].0);
    let shared = [0, 1].map(|i| (a[i].1.min(b[i].1) - a[i].0.max(b[i].0)).max(0.0));
    let both = shared[0] * shared[1];
    let (a, b) = (area(a), area(b));
    if a <= 0.0 || b <= 0.0 {
        return 0.0;
    }
    both / (a + b - both)
}

/// The chosen boxes of one class, best first; of equal scores the first box wins.
fn select(
    boxes: &[Extent],
    scores: &[f64],
    most: usize,
    iou: f64,
    least: Option<f64>,
) -> Vec<usize> {
    // A score equal to the threshold goes too, as in the implementations that models come from.
    let mut order: Vec<usize> = (0..boxes.len())
        .filter(|&i| least.is_none_or(|t| scores[i] > t))
        .collect();
    order.sort_by(|&i, &j| scores[j].total_cmp(&scores[i]));
    let mut chosen: Vec<usize> = vec![];
    for i in order {
        if chosen.len() == most {
            break;
        }
        if chosen.iter().all(|&j| overlap(&boxes[i], &boxes[j]) <= iou) {
            chosen.push(i);
        }
    }
    chosen
}

impl Operator for NonMaxSuppression {
    const NAMES: &'static [&'static str] = &["NonMaxSuppression"];

    fn attrs(&self) -> Attrs {
        Attrs::new("NonMaxSuppression").with("center_point_box", self.center_point_box)
    }

    fn from_attrs(_: &str, attrs: &Attrs) -> Result<Self> {
        Ok(NonMaxSuppression {
            center_point_box: attrs.or("center_point_box", false)?,
        })
    }

    fn infer(&self, inputs: Facts<'_>) -> Result<Vec<Fact>> {
        let (boxes, scores) = (inputs.req(0)?, inputs.req(1)?);
        if boxes.rank() != 3 || scores.rank() != 3 {
            return Err(inputs.error(format!("boxes are {boxes}, scores {scores}")));
        }
        Err(Error::DataDependent {
            op: "NonMaxSuppression",
        })
    }

    fn work(&self, inputs: Facts<'_>, outputs: &[Fact]) -> u64 {
        // In the worst case every box is compared with every other.
        let boxes = inputs
            .opt(1)
            .map_or(0, |s| s.extent(2).saturating_mul(s.count()));
        crate::op::touched(inputs, outputs).saturating_add(boxes)
    }

    fn reference(&self, inputs: Tensors<'_>) -> Result<Vec<HostTensor>> {
        let (boxes, scores) = (inputs.req(0)?, inputs.req(1)?);
        let (&[batch, count, 4], &[again, classes, per_class]) =
            (&boxes.shape()[..], &scores.shape()[..])
        else {
            let what = format!("boxes {:?}, scores {:?}", boxes.shape(), scores.shape());
            return Err(inputs.error(what));
        };
        if again != batch || per_class != count {
            return Err(inputs.error(format!(
                "{batch} x {count} boxes, {again} x {per_class} scores"
            )));
        }
        let scalar =
            |i: usize| Ok::<_, Error>(inputs.opt_floats(i)?.and_then(|v| v.first().copied()));
        let most = inputs.opt_ints(2)?.and_then(|v| v.first().copied());
        let most = usize::try_from(most.unwrap_or(0)).unwrap_or(0);
        let (iou, least) = (scalar(3)?.unwrap_or(0.0), scalar(4)?);
        let boxes: Vec<Extent> = boxes.to_f64().chunks(4).map(|b| self.extent(b)).collect();
        let scores = scores.to_f64();
        let mut out: Vec<i64> = vec![];
        for b in 0..batch {
            let boxes = &boxes[b * count..][..count];
            for class in 0..classes {
                let scores = &scores[(b * classes + class) * count..][..count];
                for i in select(boxes, scores, most, iou, least) {
                    out.extend([b as i64, class as i64, i as i64]);
                }
            }
        }
        Ok(vec![HostTensor::from_vec([out.len() / 3, 3], out)?])
    }

    fn cases() -> Vec<Case> {
        let boxes = || samples::between(&[2, 9, 4], 1, 0.0, 1.0);
        let scores = || samples::between(&[2, 3, 9], 2, 0.0, 1.0);
        let most = |n: i64| Some(HostTensor::scalar(n));
        let float = |v: f32| Some(HostTensor::scalar(v));
        let case = |name: &str, center_point_box: bool, scalars: Vec<Option<HostTensor>>| {
            let mut inputs = vec![Some(boxes()), Some(scores())];
            inputs.extend(scalars);
            Case::with_optional(name, NonMaxSuppression { center_point_box }, inputs)
        };
        vec![
            case("corners", false, vec![most(4), float(0.3), float(0.2)]),
            case("centres", true, vec![most(9), float(0.5)]),
            case("no thresholds", false, vec![most(2)]),
            case("nothing asked for", false, vec![]),
        ]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn overlapping_boxes_go_and_ties_keep_the_first() {
        let at = |x: f64| [(x, x + 1.0), (0.0, 1.0)];
        let boxes = [at(0.0), at(0.1), at(5.0), at(5.0)];
        let chosen = select(&boxes, &[0.9, 0.95, 0.5, 0.5], 10, 0.5, None);
        assert_eq!(chosen, [1, 2]);
        assert_eq!(
            select(&boxes, &[0.9, 0.95, 0.5, 0.5], 10, 0.5, Some(0.5)),
            [1]
        );
        // An overlap that equals the threshold stays.
        let half = overlap(&at(0.0), &at(0.0));
        assert_eq!(
            select(&[at(0.0), at(0.0)], &[1.0, 0.9], 2, half, None),
            [0, 1]
        );
    }
}
