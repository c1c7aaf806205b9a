//! What is measured.

use std::collections::HashMap;

use rand::{RngExt, SeedableRng};
use tilewright_device::{Buffer, BufferUse, Caps, Dispatch, Gpu, Set, Slot, Span, Variant};
use tilewright_kernels::{BsrView, Gemm, Int8B, Layout, Loop, Operand, Side, Store, View, Zero};
use tilewright_kernels::{
    bsr_matmul, bsr_rows, bsr_values, candidates, columns8, gemm_with, matmul8, pack_b, pack_b8,
};
use tilewright_kernels::{panel_width, reg_lanes};
use tilewright_tensor::{Bsr, HostTensor};

use crate::AnyError;
use crate::specialise::constant_sizes;

/// Zeros among the blocks of a sparse weight, in percent.
const SPARSITY: [u32; 6] = [0, 30, 50, 70, 90, 95];
/// Elements whose value is checked.
const SAMPLES: usize = 64;

/// One form of the product.
pub(crate) struct Case {
    pub(crate) name: String,
    pub(crate) dispatches: Vec<Dispatch>,
    /// Cases to compare with: their time over this one's.
    pub(crate) against: Vec<&'static str>,
    /// What C should hold.
    expected: Expected,
}

enum Expected {
    /// A B^T of the floats, B replaced where the slot of a sparse weight is given.
    Float(Option<u32>),
    /// The same of the integers.
    Int,
}

/// Operands on the device, and on the host for the check. B is kept transposed: \[n, k\].
pub(crate) struct Data {
    size: usize,
    buffers: HashMap<Slot, Buffer>,
    a: Vec<f32>,
    b: Vec<f32>,
    int_a: Vec<i8>,
    int_b: Vec<i8>,
    sparse: HashMap<u32, Bsr>,
}

const A: u32 = 0;
const B_ROWS: u32 = 1;
const B_COLS: u32 = 2;
const B_PACKED: u32 = 3;
const C: u32 = 4;
const HALF_A: u32 = 5;
const HALF_B: u32 = 6;
const INT_A: u32 = 7;
const INT_B: u32 = 8;
const INT_COLUMNS: u32 = 9;
/// Values, row_ptr and col_idx of each sparse weight from here.
const SPARSE: u32 = 10;

impl Data {
    pub(crate) fn new(gpu: &Gpu, size: usize) -> Result<Self, AnyError> {
        let mut random = rand::rngs::StdRng::seed_from_u64(1);
        let mut floats = || {
            (0..size * size)
                .map(|_| random.random_range(-1.0f32..1.0))
                .collect::<Vec<_>>()
        };
        let (a, b) = (floats(), floats());
        let int = |from: &[f32]| from.iter().map(|v| (v * 127.0) as i8).collect::<Vec<_>>();
        let (int_a, int_b) = (int(&a), int(&b));
        let mut data = Self {
            size,
            buffers: HashMap::new(),
            a,
            b,
            int_a,
            int_b,
            sparse: HashMap::new(),
        };
        let b_cols = HostTensor::from_slice([size, size], &data.b)?;
        let b_rows: Vec<f32> = (0..size * size)
            .map(|at| data.b[at % size * size + at / size])
            .collect();
        let half = |from: &[f32]| {
            from.iter()
                .map(|&v| half::f16::from_f32(v))
                .collect::<Vec<_>>()
        };
        let packed = pack_b(&b_cols, true, panel_width(gpu.caps()))?;
        let half_packed = pack_b(
            &HostTensor::from_vec([size, size], half(&data.b))?,
            true,
            panel_width(gpu.caps()),
        )?;
        let int_b = HostTensor::from_slice([size, size], &data.int_b)?;
        data.put(gpu, A, bytemuck::cast_slice(&data.a.clone()))?;
        data.put(gpu, B_ROWS, bytemuck::cast_slice(&b_rows))?;
        data.put(gpu, B_COLS, b_cols.bytes())?;
        data.put(gpu, B_PACKED, packed.bytes())?;
        data.put(gpu, C, &vec![0; 4 * size * size])?;
        data.put(gpu, HALF_A, bytemuck::cast_slice(&half(&data.a)))?;
        data.put(gpu, HALF_B, half_packed.bytes())?;
        data.put(gpu, INT_A, bytemuck::cast_slice(&data.int_a.clone()))?;
        data.put(gpu, INT_B, pack_b8(gpu.caps(), &int_b, true)?.bytes())?;
        data.put(
            gpu,
            INT_COLUMNS,
            columns8(&int_b, &[0], &[], &[1.0])?.bytes(),
        )?;
        for (i, percent) in SPARSITY.into_iter().enumerate() {
            let slot = SPARSE + 3 * i as u32;
            let block = [bsr_rows(gpu.caps(), Side::Right); 2];
            let mut dense = data.b.clone();
            let grid = size / block[0];
            let kept: Vec<bool> = (0..grid * grid)
                .map(|_| random.random_range(0..100) >= percent)
                .collect();
            for (at, v) in dense.iter_mut().enumerate() {
                if !kept[at / size / block[0] * grid + at % size / block[0]] {
                    *v = 0.0;
                }
            }
            let w = Bsr::from_dense(&HostTensor::from_vec([size, size], dense)?, block)?;
            data.put(gpu, slot, bsr_values(&w, Side::Right)?.bytes())?;
            data.put(gpu, slot + 1, bytemuck::cast_slice(w.row_ptr()))?;
            data.put(gpu, slot + 2, bytemuck::cast_slice(w.col_idx()))?;
            data.sparse.insert(slot, w);
        }
        Ok(data)
    }

    fn put(&mut self, gpu: &Gpu, slot: u32, bytes: &[u8]) -> Result<(), AnyError> {
        let buffer = gpu.buffer(
            (bytes.len() as u64).next_multiple_of(16),
            BufferUse::Storage,
        )?;
        gpu.write(&buffer, 0, bytes)?;
        self.buffers.insert(Slot(slot), buffer);
        Ok(())
    }

    pub(crate) fn place(&self, slot: Slot) -> Option<(Buffer, u64)> {
        Some((self.buffers.get(&slot)?.clone(), 0))
    }

    /// Compares sampled elements of C with f64 (integers: exactly).
    pub(crate) fn check(&self, gpu: &Gpu, case: &Case) -> Result<(), AnyError> {
        let n = self.size;
        let c = pollster::block_on(gpu.read(&self.buffers[&Slot(C)], 0, 4 * (n * n) as u64))?;
        let weight = match case.expected {
            Expected::Float(Some(slot)) => self.sparse[&slot].to_dense()?.to_vec::<f32>()?,
            _ => self.b.clone(),
        };
        for sample in 0..SAMPLES {
            let (i, j) = (sample * 7919 % n, sample * 104_729 % n);
            let (row, column) = (i * n..(i + 1) * n, j * n..(j + 1) * n);
            let at = 4 * (i * n + j);
            let bytes = [c[at], c[at + 1], c[at + 2], c[at + 3]];
            let (got, expected, tolerance) = if matches!(case.expected, Expected::Int) {
                let pairs = self.int_a[row].iter().zip(&self.int_b[column]);
                let sum: i64 = pairs.map(|(&a, &b)| i64::from(a) * i64::from(b)).sum();
                (f64::from(i32::from_le_bytes(bytes)), sum as f64, 0.0)
            } else {
                let pairs = self.a[row].iter().zip(&weight[column]);
                let sum: f64 = pairs.map(|(&a, &b)| f64::from(a) * f64::from(b)).sum();
                // f16 operands are rounded by up to 2^-11 each.
                let rounding = if case.name.contains("f16") {
                    1e-3
                } else {
                    1e-6
                };
                (
                    f64::from(f32::from_le_bytes(bytes)),
                    sum,
                    rounding * n as f64,
                )
            };
            if (got - expected).abs() > tolerance {
                return Err(
                    format!("{}: C[{i}, {j}] is {got}, expected {expected}", case.name).into(),
                );
            }
        }
        // The next case must write its own result.
        gpu.write(&self.buffers[&Slot(C)], 0, &vec![0xff; c.len()])?;
        Ok(())
    }
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
        let slot = SPARSE + 3 * i as u32;
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
    if reg_lanes(caps).is_some() {
        let of = candidates(caps, n, n, n, 1)[0];
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
    }
}
