//! The kernels that are compiled: what the engine takes on a large GPU, and on one of which it knows nothing.

use tilewright_device::{Caps, CoopMatrix, Dispatch, Slot};
use tilewright_kernels::{
    Adjust, Attention, ConvShape, Filter, Form, Gemm, Heads, Int8B, Layout, Loop, Norm, Operand,
    Reduction, Store, View, Zero, attention, candidates, candidates_of, conv_with, depthwise,
    gemm_with, matmul8, norm, panel_width, reduce, softmax,
};

use crate::AnyError;

/// An instruction that must be in the code.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Meant {
    /// Nothing in particular.
    Any,
    /// Products of four 8-bit integers.
    Dot,
    /// Products of matrices.
    Matrix,
}

impl Meant {
    /// As reports name it.
    pub(crate) fn name(self) -> Option<&'static str> {
        match self {
            Self::Any => None,
            Self::Dot => Some("dot"),
            Self::Matrix => Some("matrix"),
        }
    }
}

/// One kernel.
pub(crate) struct Case {
    pub(crate) name: String,
    pub(crate) meant: Meant,
    pub(crate) dispatch: Dispatch,
}

/// Rows and columns of the products: every size of tile is worth trying.
const SIZE: usize = 4096;

/// Every kernel for [`Caps::discrete`], the products of f16 by cooperative matrices, then every kernel for
/// [`Caps::webgpu_default`].
pub(crate) fn cases() -> Result<Vec<Case>, AnyError> {
    let mut all = vec![];
    for (on, caps) in [
        ("gpu", Caps::discrete()),
        ("matrix", matrices()),
        ("default", Caps::webgpu_default()),
    ] {
        let mut add = |name: String, meant, dispatches: Vec<Dispatch>| {
            for (i, dispatch) in dispatches.into_iter().enumerate() {
                let pass = if i == 0 {
                    String::new()
                } else {
                    format!(", pass {}", i + 1)
                };
                all.push(Case {
                    name: format!("{on}: {name}{pass}"),
                    meant,
                    dispatch,
                });
            }
        };
        if caps.coop_matrix.is_some() {
            by_matrices(&caps, &mut add)?;
            continue;
        }
        products(&caps, &mut add)?;
        convolutions(&caps, &mut add)?;
        rows(&caps, &mut add)?;
    }
    Ok(all)
}

type Add<'a> = &'a mut dyn FnMut(String, Meant, Vec<Dispatch>);

/// f16 is stored as such only where the adapter has it; elsewhere tensors of f16 are kept in f32.
fn stores(caps: &Caps) -> &'static [Store] {
    match caps.f16 {
        true => &[Store::F32, Store::F16],
        false => &[Store::F32],
    }
}

fn view(slot: u32, store: Store, shape: &[usize]) -> View {
    View::new(Slot(slot), store, shape)
}

/// `128x128x16, 8x8 a thread, 2 of each`: chunks of A and B that workgroup memory holds.
fn describe(of: Loop) -> String {
    let [m, n] = of.extent();
    match of {
        Loop::Tile {
            tm4,
            tn4,
            bk4,
            sides,
            ..
        } => format!(
            "{m}x{n}x{}, {}x{} a thread, {sides} of each",
            4 * bk4,
            4 * tm4,
            4 * tn4
        ),
        Loop::Gemv { tk, .. } => format!("{m}x{n} by {tk} threads along k"),
        Loop::Coop(tile) => {
            let [sm, sn] = tile.subgroups;
            format!("{m}x{n}x{}, {sm}x{sn} subgroups", 4 * tile.bk4)
        }
        _ => format!("{m}x{n}"),
    }
}

fn products(caps: &Caps, add: Add<'_>) -> Result<(), AnyError> {
    for &store in stores(caps) {
        let float = if store == Store::F16 { "f16" } else { "f32" };
        for of in candidates(caps, SIZE, SIZE, SIZE, 1) {
            let name = format!("gemm {float} {}", describe(of));
            add(
                name,
                Meant::Any,
                product(caps, store, SIZE, Layout::Rows, of)?,
            );
        }
        let first = candidates(caps, SIZE, SIZE, SIZE, 1)[0];
        let cols = product(caps, store, SIZE, Layout::Cols, first)?;
        add(format!("gemm {float} B transposed"), Meant::Any, cols);
        for m in [1, 8] {
            let of = candidates(caps, m, SIZE, SIZE, 1)[0];
            let made = product(caps, store, m, Layout::Rows, of)?;
            add(format!("gemv {float} {}", describe(of)), Meant::Any, made);
        }
    }
    let shape = [SIZE, SIZE];
    let (a, c) = (
        view(0, Store::Packed8 { signed: true }, &shape),
        view(3, Store::I32, &shape),
    );
    let words = panels(caps, SIZE / 4);
    let (words, columns) = (view(1, Store::U32, &words), view(2, Store::I32, &[SIZE]));
    let b = Int8B::Packed {
        words: &words,
        columns: &columns,
        symmetric: true,
        part: None,
    };
    let made = matmul8(caps, &a, Zero::Known(0), b, &c, 0, None, None)?;
    add("gemm int8".into(), Meant::Dot, made);
    Ok(())
}

/// A GPU whose subgroups of 64 multiply matrices of 16: what the driver takes where nobody asks for 32.
fn matrices() -> Caps {
    let mut caps = Caps::discrete();
    caps.coop_matrix = Some(CoopMatrix {
        edge: 16,
        lanes: 64,
    });
    caps
}

fn by_matrices(caps: &Caps, add: Add<'_>) -> Result<(), AnyError> {
    let coops = |m, n, k| {
        let loops = candidates_of(caps, [Store::F16; 2], m, n, k, 1).into_iter();
        loops.filter(|of| matches!(of, Loop::Coop(_)))
    };
    for of in coops(SIZE, SIZE, SIZE) {
        for (text, layout) in [("", Layout::Rows), (", B transposed", Layout::Cols)] {
            let made = product(caps, Store::F16, SIZE, layout, of)?;
            let name = format!("gemm f16 {}{text}", describe(of));
            add(name, Meant::Matrix, made);
        }
    }
    for of in coops(8 * 56 * 56, 64, 9 * 64) {
        let made = convolution(caps, Store::F16, of)?;
        add(
            format!("conv 3x3 f16 {}", describe(of)),
            Meant::Matrix,
            made,
        );
    }
    Ok(())
}

fn panels(caps: &Caps, k: usize) -> [usize; 3] {
    let width = panel_width(caps);
    [SIZE.div_ceil(width), k, width]
}

fn product(
    caps: &Caps,
    store: Store,
    m: usize,
    b: Layout,
    of: Loop,
) -> Result<Vec<Dispatch>, AnyError> {
    let square = [SIZE, SIZE];
    let (va, vb) = (view(0, store, &[m, SIZE]), view(1, store, &square));
    let vc = view(2, store, &[m, SIZE]);
    let operand = |view, layout| Operand {
        view,
        layout,
        ld: SIZE,
        batch: vec![],
    };
    let gemm = Gemm {
        m,
        n: SIZE,
        k: SIZE,
        batch: vec![],
        a: operand(&va, Layout::Rows),
        b: operand(&vb, b),
        c: operand(&vc, Layout::Rows),
        epilogue: None,
    };
    Ok(gemm_with(caps, &gemm, of)?)
}

fn convolutions(caps: &Caps, add: Add<'_>) -> Result<(), AnyError> {
    for &store in stores(caps) {
        let float = if store == Store::F16 { "f16" } else { "f32" };
        let of = candidates(caps, 8 * 56 * 56, 64, 9 * 64, 1)[0];
        let made = convolution(caps, store, of)?;
        add(
            format!("conv 3x3 {float} {}", describe(of)),
            Meant::Any,
            made,
        );
        let slim = shape(64)?;
        let (x, y) = (view(0, store, &INPUT), view(2, store, &slim.output_shape()));
        let w = view(1, store, &[9, 64]);
        let made = depthwise(caps, &slim, &x, Filter::Packed(&w), &y, None)?;
        add(format!("depthwise 3x3 {float}"), Meant::Any, made);
    }
    Ok(())
}

/// Images, height, width and channels of the convolutions' input.
const INPUT: [usize; 4] = [8, 56, 56, 64];

fn shape(groups: usize) -> Result<ConvShape, AnyError> {
    let (kernel, ones, pads) = ([3, 3], [1, 1], [1; 4]);
    Ok(ConvShape::new(
        &INPUT, &kernel, &ones, &ones, &pads, groups, 64,
    )?)
}

fn convolution(caps: &Caps, store: Store, of: Loop) -> Result<Vec<Dispatch>, AnyError> {
    let shape = shape(1)?;
    let (x, y) = (
        view(0, store, &INPUT),
        view(2, store, &shape.output_shape()),
    );
    let w = view(1, store, &[1, 1, 9 * 64, panel_width(caps)]);
    Ok(conv_with(
        caps,
        &shape,
        &x,
        Filter::Packed(&w),
        &y,
        None,
        of,
    )?)
}

fn rows(caps: &Caps, add: Add<'_>) -> Result<(), AnyError> {
    for &store in stores(caps) {
        let float = if store == Store::F16 { "f16" } else { "f32" };
        let shape = [4096, 1024];
        let (x, y) = (view(0, store, &shape), view(1, store, &shape));
        let made = softmax(caps, &x, 1, &y, false)?;
        add(format!("softmax {float}"), Meant::Any, made);
        let form = Form::along(&shape, 1);
        let made = norm(caps, &x, form, &y, Norm::Variance(1e-5), Adjust::None, None)?;
        add(format!("layer norm {float}"), Meant::Any, made);
        let total = view(1, store, &[4096, 1]);
        let made = reduce(caps, &x, &[1], &total, Reduction::Sum, None)?;
        add(format!("sum {float}"), Meant::Any, made);
        for head in [64, 128] {
            let made = attend(caps, store, head)?;
            add(
                format!("attention {float}, heads of {head}"),
                Meant::Any,
                made,
            );
        }
    }
    Ok(())
}

fn attend(caps: &Caps, store: Store, head: usize) -> Result<Vec<Dispatch>, AnyError> {
    let (heads, places) = (8, 1024);
    let shape = [1, heads, places, head];
    let [q, k, v, y] = [0, 1, 2, 3].map(|slot| view(slot, store, &shape));
    let by = [heads * places * head, places * head, head];
    let of = Attention {
        batch: 1,
        heads,
        groups: heads,
        queries: places,
        keys: places,
        head,
        v_head: head,
        q: Heads { view: &q, by },
        k: Heads { view: &k, by },
        v: Heads { view: &v, by },
        y: Heads { view: &y, by },
        scale: 0.125,
        cap: None,
        window: [None; 2],
        past: 0,
        mask: None,
        valid: None,
    };
    Ok(attention(caps, &of)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kernel_is_there_once() {
        let all = cases().unwrap();
        let mut names: Vec<_> = all.iter().map(|case| &case.name).collect();
        names.sort();
        let count = names.len();
        names.dedup();
        assert_eq!(names.len(), count);
        for word in [
            "gemm f32",
            "gemm f16",
            "int8",
            "conv",
            "depthwise",
            "attention",
            "softmax",
        ] {
            assert!(names.iter().any(|name| name.contains(word)), "{word}");
        }
    }
}
