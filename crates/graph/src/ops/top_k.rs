//! TopK: the largest or smallest elements along an axis, and where they are.

use crate::blocks::Blocks;
use crate::fact::{Facts, Tensors, Values, axis_index};
use crate::lower::{Lower, Place, Placing};
use crate::op::{Case, Operand, Operator};
use crate::ops::groups::{Groups, integers};
use crate::{Attrs, Error, Fact, Result, samples};
use std::cmp::Ordering;
use tilewright_kernels::{self as kernels, Store};
use tilewright_tensor::{DType, HostTensor};

/// ONNX TopK-24: input 1 holds k. Of equal elements the one with the lower index comes first; NaN is above all numbers.
#[derive(Clone, Debug)]
pub struct TopK {
    /// The axis; negative counts from the end.
    pub axis: i64,
    /// The largest, else the smallest.
    pub largest: bool,
    /// In order; else the order is open (and is the same here).
    pub sorted: bool,
}

impl TopK {
    /// The positions of the first `k` elements of `x` by `order`.
    fn pick<T: Copy>(&self, x: &[T], k: usize, order: impl Fn(T, T) -> Ordering) -> Vec<usize> {
        let mut at: Vec<usize> = (0..x.len()).collect();
        // A stable sort keeps lower indices first.
        at.sort_by(|&a, &b| {
            if self.largest {
                order(x[b], x[a])
            } else {
                order(x[a], x[b])
            }
        });
        at.truncate(k);
        at
    }
}

/// Numbers by size, both zeros alike, all NaN alike and above.
fn by_size(a: f64, b: f64) -> Ordering {
    let nan = a.is_nan().cmp(&b.is_nan());
    a.partial_cmp(&b).unwrap_or(nan)
}

impl Operator for TopK {
    const NAMES: &'static [&'static str] = &["TopK"];

    fn attrs(&self) -> Attrs {
        Attrs::new("TopK")
            .with("axis", self.axis)
            .with("largest", self.largest)
            .with("sorted", self.sorted)
    }

    fn from_attrs(_: &str, attrs: &Attrs) -> Result<Self> {
        Ok(TopK {
            axis: attrs.or("axis", -1)?,
            largest: attrs.or("largest", true)?,
            sorted: attrs.or("sorted", true)?,
        })
    }

    fn infer(&self, inputs: Facts<'_>) -> Result<Vec<Fact>> {
        let x = inputs.req(0)?;
        let axis = axis_index("TopK", self.axis, x.rank())?;
        let [k] = &inputs.dims(1)?[..] else {
            return Err(inputs.error("one k is needed"));
        };
        if let Some(k) = k.known() {
            let n = x.shape[axis].known();
            check(k, n.unwrap_or(k), axis)?;
        }
        let mut shape = x.shape.clone();
        let last = shape[axis]
            .known()
            .map_or(i32::MAX.into(), |n| n.max(1) - 1);
        shape[axis] = k.clone();
        let values = Fact::new(x.dtype, shape.clone());
        let values = match x.range() {
            Some((low, high)) if x.dtype == DType::I64 => values.with_range(low, high),
            _ => values,
        };
        // An index is below the size, and no tensor has an axis of 2^31.
        Ok(vec![
            values,
            Fact::new(DType::I64, shape).with_range(0, last),
        ])
    }

    fn work(&self, inputs: Facts<'_>, outputs: &[Fact]) -> u64 {
        // Sorting.
        crate::op::touched(inputs, outputs).saturating_mul(32)
    }

    fn reference(&self, inputs: Tensors<'_>) -> Result<Vec<HostTensor>> {
        let x = inputs.req(0)?;
        let axis = axis_index("TopK", self.axis, x.rank())?;
        let [k] = inputs.ints(1)?[..] else {
            return Err(inputs.error("one k is needed"));
        };
        let k = check(k, x.shape()[axis] as i64, axis)?;
        let groups = Groups::new(x.shape(), &[axis]);
        let picked: Vec<Vec<usize>> = if x.dtype().is_float() {
            let v = x.to_f64();
            let groups = groups.iter().map(|g| g.map(|i| v[i]).collect::<Vec<_>>());
            groups.map(|g| self.pick(&g, k, by_size)).collect()
        } else {
            let v = integers(x)?;
            let groups = groups.iter().map(|g| g.map(|i| v[i]).collect::<Vec<_>>());
            groups.map(|g| self.pick(&g, k, |a, b| a.cmp(&b))).collect()
        };
        let mut shape = x.shape().clone().into_vec();
        shape[axis] = k;
        let mut indices = HostTensor::zeros(DType::I64, shape.clone())?;
        let mut offsets = vec![0; indices.len()];
        let places = Groups::new(indices.shape(), &[axis]);
        let out: &mut [i64] = indices.as_mut_slice()?;
        for ((group, start), picked) in places.iter().zip(&groups.starts).zip(&picked) {
            for (place, &i) in group.zip(picked) {
                out[place] = i as i64;
                offsets[place] = start + groups.members[i];
            }
        }
        Ok(vec![x.select(shape, offsets)?, indices])
    }

    fn place(&self, cx: &Placing<'_>) -> Place {
        cx.by_storage_of(&[0])
    }

    fn blocks(&self, cx: &Placing<'_>) -> Blocks {
        Blocks::before(cx, self.axis)
    }

    fn lower(&self, cx: &mut Lower<'_>) -> Result<()> {
        let x = cx.input(0)?;
        let axis = axis_index("TopK", self.axis, x.shape.len())?;
        let [values, indices] = [0, 1].map(|i| cx.opt_output(i));
        let Some(shape) = values
            .as_ref()
            .or(indices.as_ref())
            .map(|v| v.shape.clone())
        else {
            return Ok(());
        };
        if shape.contains(&0) {
            return Ok(());
        }
        let k = shape[axis];
        // Both are found together; what nobody reads still has a place to go to.
        let values = values.unwrap_or_else(|| cx.scratch(x.store, shape.clone()));
        let indices = indices.unwrap_or_else(|| cx.scratch(Store::I32, shape));
        let bytes = kernels::top_k_scratch(cx.caps(), &x.shape, axis, k);
        let scratch = (bytes > 0).then(|| cx.scratch(Store::U32, [bytes as usize / 4]));
        cx.emit(kernels::top_k(
            cx.caps(),
            &x,
            axis,
            k,
            self.largest,
            &values,
            &indices,
            scratch.as_ref(),
        )?);
        Ok(())
    }

    fn half(&self, _: Operand) -> bool {
        true
    }

    fn cases() -> Vec<Case> {
        let mut out = vec![];
        for (axis, largest, sorted) in [
            (-1, true, true),
            (0, true, true),
            (1, false, true),
            (2, false, true),
        ] {
            let op = || TopK {
                axis,
                largest,
                sorted,
            };
            let mut case = |title: &str, x: HostTensor, k: i64| {
                let title = format!("{title} axis {axis} largest {largest}");
                out.push(Case::new(&title, op(), vec![x, samples::ints(&[k])]).constant(&[1]));
            };
            case("some", samples::uniform(&[4, 5, 6], 1), 3);
            case("all", samples::uniform(&[7, 7, 7], 2), 7);
            case("wide", samples::uniform(&[40, 3, 130], 3), 2);
            let ties = |dtype| samples::integers(dtype, &[5, 6, 9], 4, 0, 4);
            let nan = f32::NAN;
            let odd = [
                1.0,
                nan,
                f32::NEG_INFINITY,
                -0.0,
                0.0,
                f32::INFINITY,
                nan,
                2.0,
            ];
            case("odd", samples::of(&[2, 2, 2], &odd), 2);
            for dtype in [
                DType::F32,
                DType::F16,
                DType::F64,
                DType::I32,
                DType::I64,
                DType::U8,
                DType::U32,
                DType::U64,
            ] {
                case(&format!("ties {dtype}"), ties(dtype), 4);
            }
        }
        out.extend(large_cases());
        out
    }
}

/// Wide rows, and so many elements that sorting pays.
fn large_cases() -> Vec<Case> {
    let mut out = vec![];
    let op = TopK {
        axis: -1,
        largest: true,
        sorted: true,
    };
    let wide = |n| samples::uniform(&[2, n], 5);
    out.extend([1000, 3000].map(|n| {
        let inputs = vec![wide(n), samples::ints(&[37])];
        Case::new(&format!("{n} wide"), op.clone(), inputs).constant(&[1])
    }));
    // So many that sorting pays.
    for (dtype, axis, largest) in [
        (DType::F32, 0, false),
        (DType::F32, 1, true),
        (DType::I64, 1, false),
        (DType::U8, 0, true),
    ] {
        let op = TopK {
            axis,
            largest,
            sorted: true,
        };
        let x = samples::integers(dtype, &[150, 3, 2], 6, 0, 40);
        let x = if axis == 1 {
            samples::integers(dtype, &[2, 190, 3], 7, 0, 40)
        } else {
            x
        };
        let title = format!("sorted {dtype} axis {axis} largest {largest}");
        out.push(Case::new(&title, op, vec![x, samples::ints(&[100])]).constant(&[1]));
    }
    let inputs = vec![wide(9), samples::ints(&[4])];
    out.push(Case::new("run-time k", op, inputs));
    out
}

/// k as a count, if axis `axis` has that many of its `n` elements.
fn check(k: i64, n: i64, axis: usize) -> Result<usize> {
    let count = usize::try_from(k).ok().filter(|_| k <= n);
    count.ok_or_else(|| Error::op("TopK", format!("k is {k}, axis {axis} has {n} elements")))
}
