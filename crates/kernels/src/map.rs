//! Pointwise functions of tensors that broadcast: `shaders/map.wgsl`.

use std::fmt::Write as _;
use std::sync::Arc;

use tilewright_device::{Caps, Dispatch, Param, Variant, fold_groups};

use crate::error::index;
use crate::{Error, Result, Store, View};

const KERNEL: &str = "map";
/// Two subgroups of the widest kind; nothing is shared within a workgroup.
const THREADS: u32 = 64;

/// A generated pointwise function.
///
/// The text defines `fn map(x0: vec4<T0>, x1: vec4<T1>, ..) -> vec4<T>` over four elements at a time, with types f32, i32
/// or u32 as the operands are stored (bools are u32, 0 or 1; f16 is f32). It may use parts and declare parameters.
#[derive(Debug, Clone, PartialEq)]
pub struct Function {
    /// The WGSL text.
    pub text: Arc<str>,
    /// Its parameters and their values.
    pub params: Vec<(&'static str, Param)>,
}

/// How many inputs one dispatch can have: each is a storage buffer, and so is the output.
#[must_use]
pub fn map_inputs(caps: &Caps) -> usize {
    NAMES
        .len()
        .min((caps.limits.storage_buffers as usize).saturating_sub(1))
}

/// `out = function(inputs)`, element by element; inputs broadcast against `out`'s shape as in NumPy.
///
/// # Errors
/// [`Error::Shape`] where an input does not broadcast or there are too many, [`Error::Storage`] for packed storage (and for
/// f16 where the adapter has none), [`Error::TooLarge`] for more than 2^32 elements.
pub fn map(caps: &Caps, function: &Function, inputs: &[View], out: &View) -> Result<Vec<Dispatch>> {
    if inputs.len() > map_inputs(caps) {
        return Err(Error::shape(
            KERNEL,
            format!("{} inputs are too many", inputs.len()),
        ));
    }
    let count = out.elements();
    if count == 0 {
        return Ok(vec![]);
    }
    let axes = inputs
        .iter()
        .map(|x| strides(x, out))
        .collect::<Result<Vec<_>>>()?;
    let plan = Plan::new(&axes, &out.shape);
    let mut text = Text::default();
    let mut dispatch = Dispatch::new(Variant::new("map").text("function", function.text.clone()));
    dispatch.params.extend_from_slice(&function.params);
    for (view, (mode, strides)) in inputs.iter().zip(plan.modes.iter().zip(&plan.strides)) {
        let storage = element(caps, "an input", view.store)?;
        let value = if view.store == Store::F16 {
            "f32"
        } else {
            storage
        };
        let n4 = |n: usize| (n % 4 == 0).then_some(n / 4);
        let (kind, code, n) = match *mode {
            Mode::Same => ('s', 0, 0),
            Mode::Repeat(n) if n4(n).is_some() => ('v', 0, n / 4),
            Mode::Strided if plan.aligned && strides.last() == Some(&1) => ('v', 1, 0),
            Mode::Scalar => ('a', 0, 0),
            Mode::Stretch(n) if n4(n).is_some() => ('a', 1, n / 4),
            Mode::Strided if plan.aligned => ('a', 2, 0),
            Mode::Strided => ('a', 3, 0),
            Mode::Repeat(n) => ('a', 4, n),
            Mode::Stretch(n) => ('a', 5, n),
        };
        let i = text.input(kind, code, storage, value);
        let names = &NAMES[i];
        let quads = if kind == 'v' { 4 } else { 1 };
        dispatch = match kind {
            's' => dispatch.bind(names.s, view.span),
            'v' => dispatch
                .bind(names.v, view.span)
                .param(names.v_n, index(KERNEL, "a period", n)?)
                .param(names.v_stride, dims(strides, quads)?),
            _ => dispatch
                .bind(names.a, view.span)
                .param(names.a_n, index(KERNEL, "a period", n)?)
                .param(names.a_stride, dims(strides, quads)?),
        };
    }
    let y = element(caps, "the output", out.store)?;
    let quads = count.div_ceil(4);
    let bytes: u64 = inputs.iter().chain([out]).map(|v| v.span.bytes).sum();
    let mut variant = dispatch
        .variant
        .text("map_at", text.finish())
        .set("THREADS", THREADS)
        .alias("YT", y)
        .alias("YV", if y == "f16" { "f32" } else { y });
    for (name, count) in ["SAMES", "VECS", "ANYS"].into_iter().zip(text.counts) {
        variant = variant.set(name, count as u32);
    }
    if inputs.iter().chain([out]).any(|v| v.store == Store::F16) {
        variant = variant.enable("f16");
    }
    dispatch.variant = variant;
    Ok(vec![
        dispatch
            .bind("Y", out.span)
            .param("count", index(KERNEL, "the number of elements", count)?)
            .param("rank", plan.shape.len() as u32)
            .param("shape", dims(&plan.shape, 1)?)
            .groups(fold_groups(
                quads.div_ceil(THREADS as usize) as u64,
                caps.limits.groups,
            ))
            .work(bytes),
    ])
}

/// The element type of a storage in WGSL.
fn element(caps: &Caps, operand: &'static str, store: Store) -> Result<&'static str> {
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
    if out.shape.len() > 8 {
        return Err(Error::shape(KERNEL, format!("{out} has more than 8 axes")));
    }
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
    fn new(axes: &[Vec<usize>], shape: &[usize]) -> Plan {
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
        let aligned = shape.last().is_some_and(|n| n % 4 == 0);
        if let (true, Some(last)) = (aligned, shape.last_mut()) {
            *last /= 4;
        }
        Plan {
            modes,
            shape,
            strides,
            aligned,
        }
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

/// The text that declares the inputs' types and modes and calls the function.
#[derive(Default)]
struct Text {
    counts: [usize; 3],
    declarations: String,
    calls: Vec<String>,
}

impl Text {
    /// Adds an input; its number within its kind.
    fn input(&mut self, kind: char, mode: u32, storage: &str, value: &str) -> usize {
        let count = &mut self.counts[match kind {
            's' => 0,
            'v' => 1,
            _ => 2,
        }];
        let (i, upper) = (*count, kind.to_ascii_uppercase());
        *count += 1;
        // Writing to a String cannot fail.
        let _ = writeln!(
            self.declarations,
            "alias {upper}T{i} = {storage}; alias {upper}V{i} = {value};"
        );
        if kind != 's' {
            let _ = writeln!(self.declarations, "const {upper}MODE{i} = {mode}u;");
        }
        self.calls.push(format!("load_{kind}{i}(quad)"));
        i
    }

    fn finish(&self) -> String {
        let calls = self.calls.join(", ");
        let declarations = &self.declarations;
        format!("{declarations}fn map_at(quad: u32) -> vec4<YV> {{ return map({calls}); }}\n")
    }
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
            s: concat!("S", $i),
            v: concat!("V", $i),
            v_n: concat!("v", $i, "_n"),
            v_stride: concat!("v", $i, "_stride"),
            a: concat!("A", $i),
            a_n: concat!("a", $i, "_n"),
            a_stride: concat!("a", $i, "_stride"),
        }),*]
    };
}

static NAMES: [Names; 8] = names!(0 1 2 3 4 5 6 7);

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
        let plan = Plan::new(&[vec![4, 0, 1], vec![12, 4, 1]], &[2, 3, 4]);
        assert_eq!(plan.modes, [Mode::Strided, Mode::Same]);
        assert_eq!((plan.shape, plan.aligned), (vec![2, 3, 1], true));
        assert_eq!(plan.strides, [vec![4, 0, 1], vec![]]);
    }

    #[test]
    fn misfits_are_errors() {
        let view = |shape: &[usize]| View::new(Slot(0), Store::F32, shape);
        assert!(strides(&view(&[2]), &view(&[3])).is_err());
        assert!(strides(&view(&[3, 3]), &view(&[3])).is_err());
        assert!(strides(&view(&[3]), &view(&[1; 9])).is_err());
    }
}
