//! What all pooling operators share: shapes, and the walk over windows.

use super::window::{Layout, Slide, Window, three};
use crate::dim::Dim;
use crate::fact::{Facts, Tensors};
use crate::half::cast;
use crate::lower::{Lower, Place, Placing};
use crate::{Case, Fact, Result, samples};
use tilewright_kernels::{self as kernels, PoolIndices, PoolMode, PoolShape, Store};
use tilewright_tensor::HostTensor;

/// The output's shape: one element a window and channel.
pub(super) fn shape(inputs: Facts<'_>, window: &Window, layout: Layout) -> Result<Vec<Dim>> {
    let x = inputs.req(0)?;
    if x.rank() < 3 {
        return Err(inputs.error(format!("the input must have spatial axes, got {x}")));
    }
    if window.kernel.is_empty() {
        return Err(inputs.error("attribute `kernel_shape` is missing"));
    }
    let first = layout.to_first(&x.shape);
    let kernel: Vec<Dim> = window.kernel.iter().map(|&k| k.into()).collect();
    let places = window.outputs(inputs.op(), &first[2..], &kernel)?;
    Ok(layout.from_first(&[&first[..2], &places[..]].concat()))
}

/// Steps of the walk: every window meets its places, as far as they lie on elements.
pub(super) fn work(window: &Window, inputs: Facts<'_>, outputs: &[Fact]) -> u64 {
    let most = inputs.opt(0).map_or(0, Fact::count);
    let kernel = window.kernel.iter().map(|&k| k.max(0) as u64);
    let each = kernel.fold(1, u64::saturating_mul).min(most);
    crate::op::per_output(inputs, outputs, each)
}

/// A pooling with plain sizes, channels first.
pub(super) struct Pool {
    /// Batch times channels.
    pub(super) planes: usize,
    pub(super) slides: [Slide; 3],
    /// Shape of the output.
    pub(super) shape: Vec<usize>,
    values: Vec<f64>,
}

impl Pool {
    /// Reads input 0.
    pub(super) fn new(inputs: Tensors<'_>, window: &Window, layout: Layout) -> Result<Pool> {
        let x = layout.tensor_to_first(inputs.req(0)?)?;
        let kernel: Vec<usize> = window.kernel.iter().map(|&k| k as usize).collect();
        let slides = window.slides(inputs.op(), &x.shape()[2..], &kernel)?;
        let mut shape = x.shape()[..2].to_vec();
        shape.extend(slides.iter().map(|s| s.output));
        Ok(Pool {
            planes: shape[0] * shape[1],
            slides: three(inputs.op(), &slides)?,
            shape,
            values: x.to_f64(),
        })
    }

    /// One result a window, channels first: `step` sees every element under it with its offset in the plane, then
    /// `done` sees the indices of the window.
    pub(super) fn fold<A, R>(
        &self,
        start: impl Fn() -> A,
        step: impl Fn(&mut A, f64, usize),
        done: impl Fn(A, usize, [usize; 3]) -> R,
    ) -> Vec<R> {
        let [s0, s1, s2] = &self.slides;
        let size = s0.input * s1.input * s2.input;
        let mut out = Vec::with_capacity(self.shape.iter().product());
        for plane in 0..self.planes {
            let x = &self.values[plane * size..][..size];
            for o0 in 0..s0.output {
                for o1 in 0..s1.output {
                    for o2 in 0..s2.output {
                        let mut sum = start();
                        for t0 in s0.taps_of(o0) {
                            for t1 in s1.taps_of(o1) {
                                let row = (s0.at(o0, t0) * s1.input + s1.at(o1, t1)) * s2.input;
                                for t2 in s2.taps_of(o2) {
                                    let at = row + s2.at(o2, t2);
                                    step(&mut sum, x[at], at);
                                }
                            }
                        }
                        out.push(done(sum, plane, [o0, o1, o2]));
                    }
                }
            }
        }
        out
    }
}

/// Pooling of f32 on the device.
pub(super) fn place(cx: &Placing<'_>) -> Place {
    match cx.inputs.opt(0) {
        Some(x) if x.rank() > 5 => Place::host("more than three spatial axes"),
        _ => cx.floats_only(),
    }
}

/// Emits the kernel.
pub(super) fn lower(
    cx: &mut Lower<'_>,
    window: &Window,
    layout: Layout,
    mode: PoolMode,
    columns: bool,
) -> Result<()> {
    let x = cx.input(0)?;
    let indices = cx.opt_output(1);
    // The indices may be all that is read.
    let y = match cx.opt_output(0) {
        Some(y) => y,
        None => cx.scratch(x.store, cx.output(1)?.shape),
    };
    let first = layout.to_first(&x.shape);
    let kernel: Vec<usize> = window.kernel.iter().map(|&k| k as usize).collect();
    let slides = three("Pool", &window.slides("Pool", &first[2..], &kernel)?)?;
    let shape = PoolShape {
        images: first[0],
        channels: first[1],
        channels_last: layout == Layout::ChannelsLast,
        input: slides.map(|s| s.input),
        output: slides.map(|s| s.output),
        kernel: slides.map(|s| s.kernel),
        stride: slides.map(|s| s.stride),
        dilation: slides.map(|s| s.dilation),
        before: slides.map(|s| s.before),
        after: slides.map(|s| s.after),
    };
    let indices = indices.as_ref().map(|view| PoolIndices { view, columns });
    // Sums that dispatches hand on are not rounded; the larger of two numbers is one of them.
    let cut = mode != PoolMode::Max && kernels::pool_is_cut(cx.caps(), &shape);
    if y.store == Store::F16 && cut {
        let sums = cx.scratch(Store::F32, y.shape.clone());
        cx.emit(kernels::pool(cx.caps(), &shape, mode, &x, &sums, indices)?);
        cx.emit(cast(cx, &sums, &y)?);
        return Ok(());
    }
    cx.emit(kernels::pool(cx.caps(), &shape, mode, &x, &y, indices)?);
    Ok(())
}

/// Windows that show every attribute, with inputs that suit them.
pub(super) fn windows() -> Vec<(&'static str, Window, HostTensor)> {
    let x = |shape: &[usize]| samples::uniform(shape, 1);
    let window = |kernel: &[i64], strides: &[i64], pads: &[i64]| Window {
        strides: strides.to_vec(),
        pads: pads.to_vec(),
        ..Window::of(kernel)
    };
    let with = |auto_pad| Window {
        auto_pad,
        ..window(&[3, 2], &[2, 2], &[])
    };
    let dilated = Window {
        dilations: vec![2, 3],
        ..window(&[3, 2], &[1, 2], &[1, 1, 1, 0])
    };
    let ceil = |window| Window {
        ceil: true,
        ..window
    };
    use super::window::AutoPad::*;
    vec![
        ("2-D", Window::of(&[2, 3]), x(&[2, 3, 6, 7])),
        (
            "stem",
            window(&[3, 3], &[2, 2], &[1, 1, 1, 1]),
            x(&[1, 8, 11, 12]),
        ),
        (
            "uneven pads",
            window(&[3, 3], &[2, 1], &[0, 1, 2, 1]),
            x(&[1, 5, 8, 9]),
        ),
        ("dilated", dilated.clone(), x(&[2, 4, 9, 8])),
        (
            "rounded up",
            ceil(window(&[3, 3], &[2, 2], &[])),
            x(&[1, 2, 6, 8]),
        ),
        (
            "last window on padding",
            ceil(window(&[3, 3], &[3, 3], &[1, 1, 1, 1])),
            x(&[1, 2, 2, 3]),
        ),
        ("dilated, rounded up", ceil(dilated), x(&[1, 4, 9, 9])),
        ("same upper", with(SameUpper), x(&[1, 3, 7, 7])),
        ("same lower", with(SameLower), x(&[1, 3, 7, 7])),
        ("valid", with(Valid), x(&[1, 3, 7, 7])),
        ("1-D", window(&[4], &[3], &[1, 2]), x(&[2, 4, 17])),
        (
            "3-D",
            window(&[2, 3, 2], &[1, 2, 2], &[0, 1, 1, 1, 1, 0]),
            x(&[1, 4, 4, 5, 6]),
        ),
        ("no channels", Window::of(&[2, 2]), x(&[1, 0, 4, 4])),
    ]
}

/// Every case once more in the other layout. `make` sets the operator's layout.
pub(super) fn both_layouts(
    cases: Vec<Case>,
    make: impl Fn(&crate::Op) -> Option<crate::Op>,
) -> Vec<Case> {
    let mut all = cases.clone();
    for case in cases {
        let last = Layout::ChannelsLast;
        let (Some(op), Some(Some(x))) = (make(&case.op), case.inputs.first()) else {
            continue;
        };
        let x = last.tensor_from_first(x).expect("a case's shape is small");
        let mut inputs = case.inputs.clone();
        inputs[0] = Some(x);
        all.push(Case {
            name: format!("{}, channels last", case.name),
            op,
            inputs,
            ..case
        });
    }
    all
}
