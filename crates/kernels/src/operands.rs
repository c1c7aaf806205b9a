//! Operands of pointwise functions, as the map kernel and epilogues read them: `shaders/part/operands.wgsl`.

use std::fmt::Write as _;

use tilewright_device::{Caps, Param, Set, Span};

use crate::error::index;
use crate::{Error, Result, Store, View};

const KERNEL: &str = "map";

/// Operands that have names; shaders of default limits bind fewer.
pub(crate) const MOST: usize = 8;

/// Everything that a shader needs to read the operands of a pointwise function.
#[derive(Debug, Default)]
pub(crate) struct Operands {
    /// Types and modes, as text.
    pub(crate) declarations: String,
    /// The four elements at `at` of each operand, as arguments.
    pub(crate) calls: Vec<String>,
    pub(crate) sets: Vec<(&'static str, Set)>,
    pub(crate) spans: Vec<(&'static str, Span)>,
    pub(crate) params: Vec<(&'static str, Param)>,
    counts: [usize; 3],
}

impl Operands {
    /// Operands that broadcast against `out`, read by `quads` (`at` counts four elements) or from any element. `column` is an
    /// expression for the quad within its row, where the shader knows that without a division.
    pub(crate) fn new(
        caps: &Caps,
        operands: &[View],
        out: &View,
        quads: bool,
        column: Option<&str>,
    ) -> Result<Operands> {
        if operands.len() > MOST {
            let what = format!("{} operands are too many", operands.len());
            return Err(Error::shape(KERNEL, what));
        }
        let axes = operands
            .iter()
            .map(|x| strides(x, out))
            .collect::<Result<Vec<_>>>()?;
        let plan = Plan::new(&axes, &out.shape, quads)?;
        let count = out.elements();
        let mut all = Operands::default();
        let _ = writeln!(all.declarations, "const MAP_QUADS = {quads};");
        for (view, (mode, strides)) in operands.iter().zip(plan.modes.iter().zip(&plan.strides)) {
            let whole = |n: usize| quads && n.is_multiple_of(4);
            let by_column = quads && *mode == Mode::Repeat(out.last());
            if let (true, Some(column)) = (by_column, column) {
                all.add(caps, view, ('s', 0), 0, strides, column)?;
                continue;
            }
            let (kind, code, n) = match *mode {
                Mode::Same if quads => ('s', 0, 0),
                Mode::Repeat(n) if whole(n) => ('v', 0, n / 4),
                Mode::Strided if plan.aligned && strides.last() == Some(&1) => ('v', 1, 0),
                Mode::Scalar => ('a', 0, 0),
                Mode::Stretch(n) if whole(n) => ('a', 1, n / 4),
                Mode::Strided if plan.aligned => ('a', 2, 0),
                Mode::Strided => ('a', 3, 0),
                Mode::Same => ('a', 4, count),
                Mode::Repeat(n) => ('a', 4, n),
                Mode::Stretch(n) => ('a', 5, n),
            };
            all.add(caps, view, (kind, code), n, strides, "at")?;
        }
        for (name, count) in ["SAMES", "VECS", "ANYS"].into_iter().zip(all.counts) {
            all.sets.push((name, Set::U32(count as u32)));
        }
        all.params.extend([
            (
                "map_count",
                Param::U32(index(KERNEL, "the number of elements", count)?),
            ),
            ("map_rank", Param::U32(plan.shape.len() as u32)),
            ("map_shape", dims(&plan.shape, 1)?),
        ]);
        Ok(all)
    }

    fn add(
        &mut self,
        caps: &Caps,
        view: &View,
        (kind, mode): (char, u32),
        n: usize,
        strides: &[usize],
        at: &str,
    ) -> Result<()> {
        let storage = element(caps, "an operand", view.store)?;
        let (storage, value) = match storage {
            // As a set, so that the assembler enables f16.
            "f16" => ("MapHalf", "f32"),
            other => (other, other),
        };
        if storage == "MapHalf" && !self.sets.iter().any(|(name, _)| *name == storage) {
            self.sets.push((storage, Set::Type("f16")));
        }
        let count = &mut self.counts[match kind {
            's' => 0,
            'v' => 1,
            _ => 2,
        }];
        let i = *count;
        *count += 1;
        let (names, upper, text) = (&NAMES[i], kind.to_ascii_uppercase(), &mut self.declarations);
        // Writing to a String cannot fail.
        let _ = writeln!(
            text,
            "alias MAP_{upper}T{i} = {storage}; alias MAP_{upper}V{i} = {value};"
        );
        if kind != 's' {
            let _ = writeln!(text, "const MAP_{upper}MODE{i} = {mode}u;");
        }
        self.calls.push(format!("load_{kind}{i}({at})"));
        let n = Param::U32(index(KERNEL, "a period", n)?);
        match kind {
            's' => self.spans.push((names.s, view.span)),
            'v' => {
                self.spans.push((names.v, view.span));
                self.params
                    .extend([(names.v_n, n), (names.v_stride, dims(strides, 4)?)]);
            }
            _ => {
                self.spans.push((names.a, view.span));
                self.params
                    .extend([(names.a_n, n), (names.a_stride, dims(strides, 1)?)]);
            }
        }
        Ok(())
    }
}

/// The element type of a storage in WGSL.
pub(crate) fn element(caps: &Caps, operand: &'static str, store: Store) -> Result<&'static str> {
    match store {
        Store::F32 => Ok("f32"),
        Store::I32 => Ok("i32"),
        Store::U32 => Ok("u32"),
        Store::F16 if caps.f16 => Ok("f16"),
        _ => Err(Error::Storage {
            kernel: KERNEL,
            operand,
            store,
        }),
    }
}

/// Sizes or strides in units of `unit` elements, as a parameter; a stride of 1 is one unit.
fn dims(values: &[usize], unit: usize) -> Result<Param> {
    let mut out = [0; 8];
    for (o, &v) in out.iter_mut().zip(values) {
        *o = index(KERNEL, "an extent", v.div_ceil(unit))?;
    }
    Ok(Param::Dims(out))
}

/// The strides of `x` along the axes of `out`, 0 where it broadcasts.
fn strides(x: &View, out: &View) -> Result<Vec<usize>> {
    let misfit = || Error::shape(KERNEL, format!("{x} does not broadcast to {out}"));
    let lead = out
        .shape
        .len()
        .checked_sub(x.shape.len())
        .ok_or_else(misfit)?;
    let mut strides = vec![0; out.shape.len()];
    let mut step = 1;
    for (axis, &extent) in x.shape.iter().enumerate().rev() {
        if extent != 1 && extent != out.shape[lead + axis] {
            return Err(misfit());
        }
        strides[lead + axis] = if extent == 1 { 0 } else { step };
        step *= extent;
    }
    Ok(strides)
}

/// How an input is read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Mode {
    Same,
    Scalar,
    /// Its n elements again and again.
    Repeat(usize),
    /// Each element for n consecutive ones of the output.
    Stretch(usize),
    Strided,
}

/// Modes of all inputs, and the axes that the strided ones share.
#[derive(Debug, PartialEq)]
struct Plan {
    modes: Vec<Mode>,
    /// Merged extents, the last one in quads if `aligned`.
    shape: Vec<usize>,
    /// Strides along them in elements; empty for inputs that need none.
    strides: Vec<Vec<usize>>,
    /// The last extent is whole quads.
    aligned: bool,
}

impl Plan {
    fn new(axes: &[Vec<usize>], shape: &[usize], quads: bool) -> Result<Plan> {
        let modes: Vec<Mode> = axes
            .iter()
            .map(|strides| Mode::of(strides, shape))
            .collect();
        let strided = |i: &usize| modes[*i] == Mode::Strided;
        let which: Vec<usize> = (0..axes.len()).filter(strided).collect();
        let chosen: Vec<&[usize]> = which.iter().map(|&i| &axes[i][..]).collect();
        let (mut shape, merged) = merge(&chosen, shape);
        let mut strides = vec![vec![]; axes.len()];
        for (i, s) in which.into_iter().zip(merged) {
            strides[i] = s;
        }
        if shape.len() > 8 {
            return Err(Error::shape(
                KERNEL,
                format!("{} axes that do not merge", shape.len()),
            ));
        }
        let aligned = quads && shape.last().is_some_and(|n| n.is_multiple_of(4));
        if let (true, Some(last)) = (aligned, shape.last_mut()) {
            *last /= 4;
        }
        Ok(Plan {
            modes,
            shape,
            strides,
            aligned,
        })
    }
}

impl Mode {
    fn of(strides: &[usize], shape: &[usize]) -> Mode {
        let (shape, merged) = merge(&[strides], shape);
        match (&shape[..], &merged[0][..]) {
            ([], _) | ([_], [0]) => Mode::Scalar,
            ([_], [1]) => Mode::Same,
            ([_, n], [0, 1]) => Mode::Repeat(*n),
            ([_, n], [1, 0]) => Mode::Stretch(*n),
            _ => Mode::Strided,
        }
    }
}

/// Leaves out axes of extent 1 and joins neighbours through which all inputs walk as through one axis.
fn merge(strides: &[&[usize]], shape: &[usize]) -> (Vec<usize>, Vec<Vec<usize>>) {
    let mut extents: Vec<usize> = vec![];
    let mut merged: Vec<Vec<usize>> = vec![vec![]; strides.len()];
    for (axis, &extent) in shape.iter().enumerate().filter(|(_, n)| **n != 1) {
        let joins = |(m, s): (&Vec<usize>, &&[usize])| {
            m.last().is_some_and(|&outer| outer == s[axis] * extent)
        };
        match extents.last_mut() {
            Some(last) if merged.iter().zip(strides).all(joins) => {
                *last *= extent;
                for (m, s) in merged.iter_mut().zip(strides) {
                    m.pop();
                    m.push(s[axis]);
                }
            }
            _ => {
                extents.push(extent);
                for (m, s) in merged.iter_mut().zip(strides) {
                    m.push(s[axis]);
                }
            }
        }
    }
    (extents, merged)
}

/// Names of bindings and parameters of the i-th input of each kind.
struct Names {
    s: &'static str,
    v: &'static str,
    v_n: &'static str,
    v_stride: &'static str,
    a: &'static str,
    a_n: &'static str,
    a_stride: &'static str,
}

macro_rules! names {
    ($($i:literal)*) => {
        [$(Names {
            s: concat!("MAP_S", $i),
            v: concat!("MAP_V", $i),
            v_n: concat!("map_v", $i, "_n"),
            v_stride: concat!("map_v", $i, "_stride"),
            a: concat!("MAP_A", $i),
            a_n: concat!("map_a", $i, "_n"),
            a_stride: concat!("map_a", $i, "_stride"),
        }),*]
    };
}

static NAMES: [Names; MOST] = names!(0 1 2 3 4 5 6 7);

#[cfg(test)]
mod tests {
    use super::*;
    use tilewright_device::Slot;

    fn mode(x: &[usize], out: &[usize]) -> Mode {
        let (x, out) = (
            View::new(Slot(0), Store::F32, x),
            View::new(Slot(1), Store::F32, out),
        );
        Mode::of(&strides(&x, &out).unwrap(), &out.shape)
    }

    #[test]
    fn modes_see_through_axes_of_one() {
        assert_eq!(mode(&[2, 3], &[2, 3]), Mode::Same);
        assert_eq!(mode(&[3], &[1, 3]), Mode::Same);
        assert_eq!(mode(&[], &[2, 3]), Mode::Scalar);
        assert_eq!(mode(&[1, 1], &[1, 1]), Mode::Scalar);
        assert_eq!(mode(&[3, 4], &[5, 2, 3, 4]), Mode::Repeat(12));
        assert_eq!(mode(&[2, 3, 1, 1], &[2, 3, 5, 7]), Mode::Stretch(35));
        assert_eq!(mode(&[3, 1], &[2, 3, 5]), Mode::Strided);
        assert_eq!(mode(&[2, 1, 4], &[2, 3, 4]), Mode::Strided);
    }

    #[test]
    fn axes_merge_where_all_inputs_allow() {
        // [2, 3, 4, 5] with one input [4, 5] repeated and one [2, 3, 1, 1] stretched.
        let (shape, merged) = merge(&[&[0, 0, 5, 1], &[3, 1, 0, 0]], &[2, 3, 4, 5]);
        assert_eq!(shape, [6, 20]);
        assert_eq!(merged, [[0, 1], [1, 0]]);
        let plan = Plan::new(&[vec![4, 0, 1], vec![12, 4, 1]], &[2, 3, 4], true).unwrap();
        assert_eq!(plan.modes, [Mode::Strided, Mode::Same]);
        assert_eq!((plan.shape, plan.aligned), (vec![2, 3, 1], true));
        assert_eq!(plan.strides, [vec![4, 0, 1], vec![]]);
    }

    #[test]
    fn misfits_are_errors() {
        let view = |shape: &[usize]| View::new(Slot(0), Store::F32, shape);
        assert!(strides(&view(&[2]), &view(&[3])).is_err());
        assert!(strides(&view(&[3, 3]), &view(&[3])).is_err());
        let alternating: Vec<usize> = (0..9).map(|axis| axis % 2).collect();
        assert!(Plan::new(&[alternating], &[2; 9], true).is_err());
    }
}
