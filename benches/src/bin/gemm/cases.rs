//! What is measured.

use tilewright_device::{Caps, Dispatch, Gpu, Set, Slot, Span, Variant};
use tilewright_kernels::{
    BsrView, Gemm, Int8B, Layout, Loop, Operand, Store, View, Zero, bsr_matmul, candidates,
    gemm_with, matmul8, panel_width,
};

use crate::AnyError;
use crate::data::{
    A, B_COLS, B_PACKED, B_ROWS, C, Data, HALF_A, HALF_B, INT_A, INT_B, INT_COLUMNS, SPARSITY,
    sparse_slot,
};
use crate::specialise::constant_sizes;

/// One form of the product.
pub(crate) struct Case {
    pub(crate) name: String,
    pub(crate) dispatches: Vec<Dispatch>,
    /// Cases to compare with: their time over this one's.
    pub(crate) against: Vec<&'static str>,
    /// What C should hold.
    pub(crate) expected: Expected,
}

pub(crate) enum Expected {
    /// A B^T of the floats, B replaced where the slot of a sparse weight is given.
    Float(Option<u32>),
    /// The same of the integers.
    Int,
}

pub(crate) fn all(gpu: &Gpu, data: &Data) -> Result<Vec<Case>, AnyError> {
    let caps = gpu.caps();
    let mut cases = vec![naive(data)];
    dense(caps, data, &mut cases)?;
    hand_written(caps, data, &mut cases)?;
    let square = vec![data.size, data.size];
    let view = |slot, store| View::new(Slot(slot), store, square.clone());
    let words = View::new(Slot(INT_B), Store::U32, vec![data.size * data.size / 4]);
    let columns = View::new(Slot(INT_COLUMNS), Store::I32, vec![data.size + 3, 4]);
    let b = Int8B::Packed {
        words: &words,
        columns: &columns,
        symmetric: true,
        part: None,
    };
    let a = view(INT_A, Store::Packed8 { signed: true });
    let int8 = matmul8(
        caps,
        &a,
        Zero::Known(0),
        b,
        &view(C, Store::I32),
        0,
        None,
        None,
    )?;
    cases.push(case("int8", int8, &["default"], Expected::Int));
    for (i, percent) in SPARSITY.into_iter().enumerate() {
        let slot = sparse_slot(i);
        let w = &data.sparse[&slot];
        let of = |at: u32, store, shape: &[usize]| View::new(Slot(slot + at), store, shape);
        let values = of(0, Store::F32, w.values().shape());
        let row_ptr = of(1, Store::U32, &[w.row_ptr().len()]);
        let col_idx = of(2, Store::U32, &[w.col_idx().len()]);
        let (extents, block_size) = (w.extents(), w.block_size());
        let w = BsrView {
            extents,
            block_size,
            values: &values,
            row_ptr: &row_ptr,
            col_idx: &col_idx,
        };
        let dispatches = bsr_matmul(caps, &view(A, Store::F32), &w, &view(C, Store::F32), None)?;
        let name = format!("bsr {}x{} {percent}% zeros", block_size[0], block_size[1]);
        cases.push(case(
            &name,
            dispatches,
            &["default"],
            Expected::Float(Some(slot)),
        ));
    }
    Ok(cases)
}

fn case(
    name: &str,
    dispatches: Vec<Dispatch>,
    against: &[&'static str],
    expected: Expected,
) -> Case {
    Case {
        name: name.into(),
        dispatches,
        against: against.to_vec(),
        expected,
    }
}

fn naive(data: &Data) -> Case {
    let n = data.size;
    let bytes = 4 * (n * n) as u64;
    let groups = n.div_ceil(8) as u32;
    let dispatch = Dispatch::new(Variant::new("naive").text("naive", include_str!("naive.wgsl")))
        .bind("A", Span::whole(Slot(A), bytes))
        .bind("B", Span::whole(Slot(B_ROWS), bytes))
        .bind("C", Span::whole(Slot(C), bytes))
        .param("size", n as u32)
        .groups([groups, groups, 1]);
    case("naive", vec![dispatch], &[], Expected::Float(None))
}

/// A product with a loop and a place of B.
fn product(
    caps: &Caps,
    data: &Data,
    of: Loop,
    [a, b]: [u32; 2],
) -> Result<Vec<Dispatch>, AnyError> {
    let n = data.size;
    let store = |slot| {
        if [HALF_A, HALF_B].contains(&slot) {
            Store::F16
        } else {
            Store::F32
        }
    };
    let layout = match b {
        B_ROWS => Layout::Rows,
        B_COLS => Layout::Cols,
        _ => Layout::Panels {
            width: panel_width(caps),
        },
    };
    let [a, b, c] =
        [a, b, C].map(|slot| View::new(Slot(slot), store(slot), vec![n.next_multiple_of(64) * n]));
    let operand = |view, layout| Operand {
        view,
        layout,
        ld: n,
        batch: vec![],
    };
    let (a, b, c) = (
        operand(&a, Layout::Rows),
        operand(&b, layout),
        operand(&c, Layout::Rows),
    );
    Ok(gemm_with(
        caps,
        &Gemm {
            m: n,
            n,
            k: n,
            batch: vec![],
            a,
            b,
            c,
            epilogue: None,
        },
        of,
    )?)
}

fn dense(caps: &Caps, data: &Data, cases: &mut Vec<Case>) -> Result<(), AnyError> {
    let n = data.size;
    let loops = candidates(caps, n, n, n, 1);
    let float = || Expected::Float(None);
    for (i, of) in loops.iter().enumerate() {
        let name = if i == 0 {
            "default".into()
        } else {
            format!("default, {}", short(*of))
        };
        cases.push(case(
            &name,
            product(caps, data, *of, [A, B_PACKED])?,
            &["naive", "tile"],
            float(),
        ));
    }
    let Some(&of) = loops.first() else {
        return Ok(());
    };
    cases.push(case(
        "B in rows",
        product(caps, data, of, [A, B_ROWS])?,
        &["default"],
        float(),
    ));
    cases.push(case(
        "B transposed",
        product(caps, data, of, [A, B_COLS])?,
        &["default"],
        float(),
    ));
    cases.push(case(
        "f16 storage",
        product(caps, data, of, [HALF_A, HALF_B])?,
        &["default"],
        float(),
    ));
    let gpu_loop = candidates(&Caps::webgpu_default(), n, n, n, 1)[0];
    cases.push(case(
        "tile",
        product(caps, data, gpu_loop, [A, B_ROWS])?,
        &["naive"],
        float(),
    ));
    Ok(())
}

/// The two families with constant sizes, and written by hand without slots.
fn hand_written(caps: &Caps, data: &Data, cases: &mut Vec<Case>) -> Result<(), AnyError> {
    let n = data.size;
    let mut compare = |of: Loop,
                       b: u32,
                       text: &'static str,
                       names: [&str; 2],
                       base: &'static str|
     -> Result<(), AnyError> {
        let dispatches = product(caps, data, of, [A, b])?;
        let constant = dispatches.iter().map(constant_sizes).collect();
        cases.push(case(names[0], constant, &[base], Expected::Float(None)));
        let mut hand = Variant::new("hand")
            .text("hand", text)
            .set("SIZE", n as u32);
        for (name, value) in dispatches.iter().flat_map(|d| &d.variant.sets) {
            if let Set::U32(value) = value {
                hand = hand.set(name, *value);
            }
        }
        let mut dispatch = Dispatch::new(hand);
        dispatch.spans.clone_from(&dispatches[0].spans);
        let [bm, bn] = of.extent();
        let dispatch = dispatch.groups([(n / bm * (n / bn)) as u32, 1, 1]);
        cases.push(case(
            names[1],
            vec![dispatch],
            &[base],
            Expected::Float(None),
        ));
        Ok(())
    };
    let of = candidates(caps, n, n, n, 1)[0];
    // The text is that of the loop with two blocks of columns, which moves words of 64 bits.
    if matches!(of, Loop::Reg { columns: 2, .. }) && caps.int64 {
        let names = ["reg, constant sizes", "reg, by hand"];
        compare(
            of,
            B_PACKED,
            include_str!("hand_reg.wgsl"),
            names,
            "default",
        )?;
    }
    let of = candidates(&Caps::webgpu_default(), n, n, n, 1)[0];
    let names = ["tile, constant sizes", "tile, by hand"];
    compare(of, B_ROWS, include_str!("hand_tile.wgsl"), names, "tile")
}

/// `reg 1`, `tile 64x64`.
fn short(of: Loop) -> String {
    let [m, n] = of.extent();
    match of {
        Loop::Reg { .. } => format!("reg {m}x{n}"),
        Loop::Tile { .. } => format!("tile {m}x{n}"),
        Loop::Gemv { .. } => format!("gemv {m}"),
        Loop::Coop(_) => format!("matrices {m}x{n}"),
    }
}
