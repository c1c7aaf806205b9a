//! Operators whose output shapes depend on the data: Compress, NonZero, Unique. They run on the host.

use crate::fact::{Facts, Tensors, Values, axis_index};
use crate::lower::{Place, Placing};
use crate::op::{Case, Operator};
use crate::{Attrs, Error, Fact, Result, samples};
use tilewright_tensor::{DType, HostTensor, Shape};

const REASON: &str = "the output's shape depends on the data";

/// ONNX Compress-11: the slices of an axis for which input 1 (booleans, one for each; missing ones are false) is true.
#[derive(Clone, Debug)]
pub struct Compress {
    /// The axis, negative counts from the end; none for the flattened input.
    pub axis: Option<i64>,
}

impl Operator for Compress {
    const NAMES: &'static [&'static str] = &["Compress"];

    fn attrs(&self) -> Attrs {
        Attrs::new("Compress").with_opt("axis", self.axis)
    }

    fn from_attrs(_: &str, attrs: &Attrs) -> Result<Self> {
        Ok(Compress {
            axis: attrs.opt("axis")?,
        })
    }

    fn infer(&self, inputs: Facts<'_>) -> Result<Vec<Fact>> {
        let (data, condition) = (inputs.req(0)?, inputs.req(1)?);
        let axis = self.axis.map(|a| axis_index("Compress", a, data.rank()));
        let axis = axis.transpose()?;
        let Some(chosen) = condition.ints() else {
            return Err(Error::DataDependent { op: "Compress" });
        };
        let chosen = chosen.iter().filter(|c| **c != 0).count();
        let mut shape = data.shape.clone();
        match axis {
            Some(axis) => shape[axis] = chosen.into(),
            None => shape = vec![chosen.into()],
        }
        Ok(vec![super::moving::moved(data, shape)])
    }

    fn reference(&self, inputs: Tensors<'_>) -> Result<Vec<HostTensor>> {
        let data = inputs.req(0)?;
        let chosen = inputs.ints(1)?;
        let chosen: Vec<usize> = (0..chosen.len()).filter(|&i| chosen[i] != 0).collect();
        let Some(axis) = self.axis else {
            return Ok(vec![data.select([chosen.len()], chosen)?]);
        };
        let axis = axis_index("Compress", axis, data.rank())?;
        Ok(vec![slices(data, axis, &chosen)?])
    }

    fn place(&self, _: &Placing<'_>) -> Place {
        Place::host(REASON)
    }

    fn cases() -> Vec<Case> {
        let x = || samples::uniform(&[3, 4, 2], 1);
        let case = |name: &str, axis, bits: &[bool]| {
            let inputs = vec![x(), samples::of(&[bits.len()], bits)];
            Case::new(name, Compress { axis }, inputs)
        };
        vec![
            case("axis", Some(1), &[false, true, true, false]),
            case("short", Some(-3), &[false, true]),
            case("flat", None, &[true, false, false, true, true]),
            case("nothing", Some(0), &[false; 3]),
            case("constant", Some(0), &[true, false, true]).constant(&[1]),
        ]
    }
}

/// The slices of `data` with these positions along `axis`.
fn slices(data: &HostTensor, axis: usize, chosen: &[usize]) -> Result<HostTensor> {
    let size = data.shape()[axis];
    if let Some(bad) = chosen.iter().find(|&&i| i >= size) {
        let what = format!("element {bad} of an axis of {size}");
        return Err(Error::op("Compress", what));
    }
    let mut shape = data.shape().to_vec();
    shape[axis] = chosen.len();
    let inner: usize = shape[axis + 1..].iter().product();
    let outer: usize = shape[..axis].iter().product();
    let offsets = (0..outer).flat_map(|o| {
        (chosen.iter()).flat_map(move |&i| (0..inner).map(move |j| (o * size + i) * inner + j))
    });
    Ok(data.select(shape, offsets)?)
}

/// ONNX NonZero-13: the indices of all elements that are not 0, one row for each axis, in row-major order.
#[derive(Clone, Debug)]
pub struct NonZero;

impl Operator for NonZero {
    const NAMES: &'static [&'static str] = &["NonZero"];

    fn attrs(&self) -> Attrs {
        Attrs::new("NonZero")
    }

    fn from_attrs(_: &str, _: &Attrs) -> Result<Self> {
        Ok(NonZero)
    }

    fn infer(&self, _: Facts<'_>) -> Result<Vec<Fact>> {
        Err(Error::DataDependent { op: "NonZero" })
    }

    fn reference(&self, inputs: Tensors<'_>) -> Result<Vec<HostTensor>> {
        let x = inputs.req(0)?;
        let mut rows = vec![vec![]; x.rank()];
        let mut count = 0;
        let (values, mut indices) = (x.to_f64(), x.shape().indices());
        for value in values {
            let Some(index) = indices.advance() else {
                break;
            };
            if value != 0.0 {
                count += 1;
                for (row, &i) in rows.iter_mut().zip(index) {
                    row.push(i as i64);
                }
            }
        }
        Ok(vec![HostTensor::from_vec(
            [x.rank(), count],
            rows.concat(),
        )?])
    }

    fn place(&self, _: &Placing<'_>) -> Place {
        Place::host(REASON)
    }

    fn cases() -> Vec<Case> {
        let case = |name: &str, x| Case::new(name, NonZero, vec![x]);
        vec![
            case("booleans", samples::booleans(&[3, 4], 1)),
            case("floats", samples::of(&[4], &[0f32, -0.0, f32::NAN, 2.0])),
            case(
                "rank 3",
                samples::integers(DType::I64, &[2, 3, 4], 1, -1, 2),
            ),
            case("all zero", samples::of(&[2, 1], &[0i32, 0])),
            case("scalar", samples::of(&[], &[3i32])),
            case("constant", samples::booleans(&[3, 4], 2)).constant(&[0]),
        ]
    }
}

/// ONNX Unique-11: the different elements (or slices of an axis), where each was first, which one each element of the input
/// is, and how often each is there. NaN equals NaN and comes last.
#[derive(Clone, Debug)]
pub struct Unique {
    /// The axis whose slices are compared, negative counts from the end; none for single elements.
    pub axis: Option<i64>,
    /// Ascending, else in order of first appearance.
    pub sorted: bool,
}

/// An integer for each element that orders like it: equal elements have equal ones.
fn order(t: &HostTensor) -> Result<Vec<i64>> {
    if !t.dtype().is_float() {
        let flip = if t.dtype() == DType::U64 { i64::MIN } else { 0 };
        let wide = t.cast(DType::I64)?.to_i64()?;
        return Ok(wide.into_iter().map(|v| v ^ flip).collect());
    }
    let key = |v: f64| {
        // One zero, one NaN; negative floats order backwards by their bits.
        let v = if v.is_nan() { f64::NAN } else { v + 0.0 };
        let bits = v.to_bits() as i64;
        if bits < 0 { bits ^ i64::MAX } else { bits }
    };
    Ok(t.to_f64().into_iter().map(key).collect())
}

/// Equal rows, in ascending order.
struct Groups {
    /// The first row of each.
    first: Vec<usize>,
    /// The group of each row.
    group: Vec<i64>,
    /// Rows of each.
    counts: Vec<i64>,
}

impl Groups {
    /// Of `size` rows of order keys. By sorting, since a table of a million rows takes several times their memory.
    fn new(keys: Vec<i64>, size: usize) -> Groups {
        let width = keys.len() / size.max(1);
        let row = |i: usize| &keys[i * width..(i + 1) * width];
        let mut order: Vec<usize> = (0..size).collect();
        order.sort_unstable_by(|&a, &b| row(a).cmp(row(b)).then(a.cmp(&b)));
        let (mut first, mut counts): (Vec<usize>, Vec<i64>) = (vec![], vec![]);
        let mut group = vec![0i64; size];
        for &i in &order {
            match (first.last(), counts.last_mut()) {
                (Some(&last), Some(count)) if row(last) == row(i) => *count += 1,
                _ => {
                    first.push(i);
                    counts.push(1);
                }
            }
            group[i] = first.len() as i64 - 1;
        }
        Groups {
            first,
            group,
            counts,
        }
    }
}

impl Operator for Unique {
    const NAMES: &'static [&'static str] = &["Unique"];

    fn attrs(&self) -> Attrs {
        Attrs::new("Unique")
            .with_opt("axis", self.axis)
            .with("sorted", self.sorted)
    }

    fn from_attrs(_: &str, attrs: &Attrs) -> Result<Self> {
        Ok(Unique {
            axis: attrs.opt("axis")?,
            sorted: attrs.or("sorted", true)?,
        })
    }

    fn infer(&self, _: Facts<'_>) -> Result<Vec<Fact>> {
        Err(Error::DataDependent { op: "Unique" })
    }

    fn reference(&self, inputs: Tensors<'_>) -> Result<Vec<HostTensor>> {
        let x = inputs.req(0)?;
        let x = match self.axis {
            Some(_) => x.clone(),
            None => x.reshape([x.len()])?,
        };
        let axis = axis_index("Unique", self.axis.unwrap_or(0), x.rank())?;
        let size = x.shape()[axis];
        // Slices as rows of order keys: the axis first.
        let front: Vec<usize> = std::iter::once(axis)
            .chain((0..x.rank()).filter(|&i| i != axis))
            .collect();
        let keys = order(&super::moving::transposed(&x, &front)?)?;
        let Groups {
            first,
            mut group,
            counts,
        } = Groups::new(keys, size);
        let mut rank: Vec<usize> = (0..first.len()).collect();
        if !self.sorted {
            rank.sort_by_key(|&g| first[g]);
            let mut place = vec![0i64; rank.len()];
            for (at, &g) in rank.iter().enumerate() {
                place[g] = at as i64;
            }
            group.iter_mut().for_each(|g| *g = place[*g as usize]);
        }
        let chosen: Vec<usize> = rank.iter().map(|&g| first[g]).collect();
        drop(first);
        let values = slices(&x, axis, &chosen)?;
        let vector = |v: Vec<i64>| HostTensor::from_vec(Shape::from([v.len()]), v);
        Ok(vec![
            values,
            vector(chosen.into_iter().map(|i| i as i64).collect())?,
            vector(group)?,
            vector(rank.into_iter().map(|g| counts[g]).collect())?,
        ])
    }

    fn place(&self, _: &Placing<'_>) -> Place {
        Place::host(REASON)
    }

    fn cases() -> Vec<Case> {
        let case = |name: &str, axis, sorted, x| Case::new(name, Unique { axis, sorted }, vec![x]);
        let x = || samples::integers(DType::F32, &[3, 5, 2], 1, -3, 3);
        let special = samples::of(&[6], &[1.5f32, f32::NAN, -0.0, 0.0, f32::NAN, -2.0]);
        let big = samples::of(&[4], &[u64::MAX, 1, u64::MAX, 0]);
        vec![
            case("elements", None, true, x()),
            case("by appearance", None, false, x()),
            case("slices", Some(1), true, samples::booleans(&[2, 9, 1], 1)),
            case("last axis", Some(-1), false, samples::booleans(&[2, 9], 1)),
            case("NaN and zeros", None, true, special),
            case("u64", None, true, big),
            case("nothing", None, true, samples::of::<f32>(&[0], &[])),
        ]
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Op;

    #[test]
    fn unique_slices_are_sorted() {
        let x = samples::of(&[3, 2], &[2i32, 1, 1, 9, 2, 1]);
        let op = Op::from(Unique {
            axis: Some(0),
            sorted: true,
        });
        let out = op.reference(&[Some(&x)]).unwrap();
        let values: Vec<_> = out.iter().map(|t| t.to_i64().unwrap()).collect();
        assert_eq!(
            values,
            [vec![1, 9, 2, 1], vec![1, 0], vec![1, 0, 1], vec![1, 2]]
        );
    }
}
