//! Slice: every step-th element of ranges of axes.

use super::moving::{axes_of, emit_copy, moved, place};
use crate::blocks::Blocks;
use crate::dim::Dim;
use crate::fact::{Facts, Tensors, Values};
use crate::lower::{Lower, Place, Placing};
use crate::op::{Case, Operand, Operator};
use crate::{Attrs, Error, Fact, Result, samples};
use tilewright_kernels::Strides;
use tilewright_tensor::{DType, HostTensor, Shape};

/// ONNX Slice-13: inputs 1 to 4 are starts, ends, axes (optional) and steps (optional).
#[derive(Clone, Debug)]
pub struct Slice;

/// One axis cut to `count` elements, from `start` on by `step`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cut {
    /// The axis.
    pub axis: usize,
    /// The first element.
    pub start: usize,
    /// Elements from one to the next, not 0.
    pub step: i64,
    /// How many.
    pub count: usize,
}

impl Slice {
    /// The cuts of a tensor of plain sizes.
    pub fn cuts(
        shape: &[usize],
        starts: &[i64],
        ends: &[i64],
        axes: Option<&[i64]>,
        steps: Option<&[i64]>,
    ) -> Result<Vec<Cut>> {
        let (axes, steps) = Slice::axes(shape.len(), starts.len(), ends.len(), axes, steps)?;
        let mut cuts = Vec::with_capacity(axes.len());
        for (i, axis) in axes.into_iter().enumerate() {
            let (n, step) = (shape[axis] as i64, steps[i]);
            // Where the walk may stand at most: one element past the end, or one before the beginning.
            let (low, high) = if step > 0 { (0, n) } else { (-1, n - 1) };
            let from_start = |at: i64| if at < 0 { at.saturating_add(n) } else { at };
            let start = from_start(starts[i]).clamp(if n == 0 { low } else { 0 }, high.max(low));
            let end = from_start(ends[i]).clamp(low, high.max(low));
            let span = if step > 0 { end - start } else { start - end };
            cuts.push(Cut {
                axis,
                start: start.max(0) as usize,
                step,
                count: (span.max(0) as u64).div_ceil(step.unsigned_abs()) as usize,
            });
        }
        Ok(cuts)
    }

    /// Checked axes and steps.
    fn axes(
        rank: usize,
        starts: usize,
        ends: usize,
        axes: Option<&[i64]>,
        steps: Option<&[i64]>,
    ) -> Result<(Vec<usize>, Vec<i64>)> {
        let axes = match axes {
            Some(axes) => axes_of("Slice", axes, rank)?,
            None if starts <= rank => (0..starts).collect(),
            None => {
                return Err(Error::op(
                    "Slice",
                    format!("{starts} starts for {rank} axes"),
                ));
            }
        };
        let steps = steps.map_or_else(|| vec![1; starts], <[i64]>::to_vec);
        if [starts, ends, steps.len()].iter().any(|&n| n != axes.len()) {
            let what = format!(
                "{starts} starts, {ends} ends, {} axes and {} steps",
                axes.len(),
                steps.len()
            );
            return Err(Error::op("Slice", what));
        }
        if steps.contains(&0) {
            return Err(Error::op("Slice", "a step is 0"));
        }
        Ok((axes, steps))
    }
}

/// How many elements of an axis of `n` lie between `start` and `end` by `step`, for sizes with symbols.
fn count(n: &Dim, start: &Dim, end: &Dim, step: i64) -> Dim {
    let zero = Dim::from(0i64);
    let one = Dim::from(1i64);
    let start = from_start(start, n);
    let end = from_start(end, n);
    if step > 0 {
        // The end and the start are cut off at `n` together where the slice runs to the end, for a simpler expression.
        let span = if end.larger(n) == end {
            n.clone() - start.larger(&zero)
        } else {
            end.smaller(n) - start.larger(&zero).smaller(n)
        };
        return span.larger(&zero).ceil_div(&step.into());
    }
    let last = n.clone() - one.clone();
    let before = Dim::from(-1i64);
    let span = start.larger(&zero).smaller(&last) - end.larger(&before).smaller(&last);
    span.larger(&zero)
        .ceil_div(&Dim::from(step.saturating_neg()))
}

/// A bound counted from the beginning: `at`, or `at + n` where it is negative.
fn from_start(at: &Dim, n: &Dim) -> Dim {
    // ONNX says "to the end" and "to the beginning" by INT_MAX and INT_MIN of either width.
    match at.known() {
        Some(far) if n.known().is_none() && far >= i32::MAX.into() => return n.clone(),
        Some(far) if n.known().is_none() && far <= (-i32::MAX).into() => return (-1i64).into(),
        _ => {}
    }
    let (zero, one) = (Dim::from(0i64), Dim::from(1i64));
    let negative = Dim::from(-1i64) * at.clone();
    if at.larger(&zero) == *at {
        at.clone()
    } else if negative.at_least_one() {
        at.clone() + n.clone()
    } else {
        // 1 where the bound is negative, else 0.
        at.clone() + n.clone() * negative.larger(&zero).smaller(&one)
    }
}

impl Operator for Slice {
    const NAMES: &'static [&'static str] = &["Slice"];

    fn attrs(&self) -> Attrs {
        Attrs::new("Slice")
    }

    fn from_attrs(_: &str, _: &Attrs) -> Result<Self> {
        Ok(Slice)
    }

    fn infer(&self, inputs: Facts<'_>) -> Result<Vec<Fact>> {
        let data = inputs.req(0)?;
        let (starts, ends) = (inputs.dims(1)?, inputs.dims(2)?);
        let (axes, steps) = (inputs.opt_ints(3)?, inputs.opt_ints(4)?);
        let (axes, steps) = Slice::axes(
            data.rank(),
            starts.len(),
            ends.len(),
            axes.as_deref(),
            steps.as_deref(),
        )?;
        let mut shape = data.shape.clone();
        for (i, axis) in axes.into_iter().enumerate() {
            shape[axis] = count(&data.shape[axis], &starts[i], &ends[i], steps[i]);
        }
        Ok(vec![moved(data, shape)])
    }

    fn reference(&self, inputs: Tensors<'_>) -> Result<Vec<HostTensor>> {
        let data = inputs.req(0)?;
        let (starts, ends) = (inputs.ints(1)?, inputs.ints(2)?);
        let (axes, steps) = (inputs.opt_ints(3)?, inputs.opt_ints(4)?);
        let cuts = Slice::cuts(
            data.shape(),
            &starts,
            &ends,
            axes.as_deref(),
            steps.as_deref(),
        )?;
        let (mut shape, mut strides) = (data.shape().to_vec(), data.shape().strides());
        let mut first = 0;
        for cut in cuts {
            shape[cut.axis] = cut.count;
            first += cut.start * strides[cut.axis] as usize;
            // A step that overflows leads to no second element.
            strides[cut.axis] = strides[cut.axis].wrapping_mul(cut.step as isize);
        }
        let shape = Shape::new(shape);
        let offsets = shape.offsets([&strides]).starting_at([first]);
        Ok(vec![data.select(&shape, offsets.flatten())?])
    }

    fn place(&self, cx: &Placing<'_>) -> Place {
        place(cx, &[0])
    }

    fn lower(&self, cx: &mut Lower<'_>) -> Result<()> {
        let (x, y) = (cx.input(0)?, cx.output(0)?);
        let ints = |i: usize| cx.opt_ints(i);
        let (starts, ends) = (ints(1)?.unwrap_or_default(), ints(2)?.unwrap_or_default());
        let (axes, steps) = (ints(3)?, ints(4)?);
        let cuts = Slice::cuts(&x.shape, &starts, &ends, axes.as_deref(), steps.as_deref())?;
        let mut strides = Strides::of(&x.shape);
        for cut in cuts.iter().filter(|cut| cut.count > 0) {
            strides.offset += cut.start * strides.by[cut.axis] as usize;
            strides.by[cut.axis] = strides.by[cut.axis].wrapping_mul(cut.step as isize);
        }
        emit_copy(cx, &x, strides, &y)
    }

    fn moves(&self, input: usize) -> bool {
        input == 0
    }

    fn blocks(&self, cx: &Placing<'_>) -> Blocks {
        Blocks::copies(cx)
    }

    fn half(&self, _: Operand) -> bool {
        true
    }

    fn cases() -> Vec<Case> {
        let case = |name: &str, shape: &[usize], bounds: [&[i64]; 4]| {
            let x = samples::uniform(shape, 1);
            let inputs = [vec![x], bounds.map(samples::ints).into()].concat();
            Case::new(name, Slice, inputs).constant(&[1, 2, 3, 4])
        };
        let (max, min) = (i64::MAX, i64::MIN);
        let bare = vec![
            samples::uniform(&[4, 6], 1),
            samples::ints(&[1, -3]),
            samples::ints(&[3, max]),
        ];
        let mut cases = vec![
            case("contiguous", &[6, 8], [&[2], &[5], &[0], &[1]]),
            case("inner", &[6, 8], [&[4], &[max], &[1], &[1]]),
            case("inner odd", &[5, 9], [&[1, 1], &[4, -2], &[0, -1], &[1, 1]]),
            case("steps", &[7, 9], [&[1, 0], &[7, max], &[0, 1], &[2, 3]]),
            case("reverse", &[4, 8], [&[max], &[min], &[1], &[-1]]),
            case(
                "backwards by two",
                &[7, 3],
                [&[-2], &[i32::MIN.into()], &[0], &[-2]],
            ),
            case("past both ends", &[4, 4], [&[-9], &[9], &[0], &[1]]),
            case("nothing", &[4, 4], [&[3], &[1], &[0], &[1]]),
            case("of nothing", &[0, 4], [&[max], &[min], &[0], &[-1]]),
            case(
                "rank 5",
                &[2, 3, 4, 3, 4],
                [&[1, 1], &[3, 3], &[1, 3], &[1, 1]],
            ),
            Case::new("without axes and steps", Slice, bare.clone()).constant(&[1, 2]),
            Case::new("run-time bounds", Slice, bare),
        ];
        for dtype in [DType::I64, DType::Bool, DType::U4] {
            let x = samples::integers(dtype, &[5, 4], 2, 0, 2);
            let inputs = vec![x, samples::ints(&[1]), samples::ints(&[4])];
            cases.push(Case::new(dtype.name(), Slice, inputs).constant(&[1, 2]));
        }
        cases
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Bindings, Symbol};
    use proptest::prelude::*;

    /// The rule for symbols, evaluated, against the one for numbers.
    #[test]
    fn symbolic_counts_agree_with_plain_ones() {
        let names = [Dim::symbol("n"), Dim::symbol("a"), Dim::symbol("b")];
        proptest!(|(n in 1i64..12, a in 1i64..15, b in 1i64..15, step in prop::sample::select(vec![-3i64, -1, 1, 2]),
                    c in -14i64..15, form in 0usize..5)| {
            let mut bindings = Bindings::default();
            for (name, value) in [("n", n), ("a", a), ("b", b)] {
                bindings.set(Symbol::new(name), value);
            }
            let [dn, da, db] = names.clone();
            let plain = Dim::from(c);
            let (start, end) = match form {
                0 => (plain, da),
                1 => (da - db, i64::MAX.into()),
                2 => (da, plain),
                3 => (da.clone(), da + db),
                _ => (plain, dn.clone() - da),
            };
            let (s, e) = (start.eval(&bindings).unwrap(), end.eval(&bindings).unwrap());
            let cuts = Slice::cuts(&[n as usize], &[s], &[e], None, Some(&[step])).unwrap();
            let got = count(&dn, &start, &end, step);
            prop_assert_eq!(got.eval(&bindings), Ok(cuts[0].count as i64), "{}", got);
        });
    }

    #[test]
    fn common_slices_stay_simple() {
        let (n, max) = (Dim::symbol("n"), Dim::from(i64::MAX));
        assert_eq!(count(&n, &0i64.into(), &max, 1), n);
        assert_eq!(count(&n, &0i64.into(), &n, 1), n);
        assert_eq!(count(&n, &1i64.into(), &max, 1), n.clone() - 1i64.into());
        assert_eq!(
            count(&n, &0i64.into(), &(-1i64).into(), 1),
            n.clone() - 1i64.into()
        );
        assert_eq!(count(&n, &(-1i64).into(), &max, 1), 1i64.into());
        assert_eq!(count(&n, &max, &i64::MIN.into(), -1), n);
        let past = Dim::symbol("past");
        let total = n.clone() + past.clone();
        assert_eq!(count(&total, &past, &total, 1), n);
    }
}
