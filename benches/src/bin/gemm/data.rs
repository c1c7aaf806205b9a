//! Operands on the device, and on the host for the check.

use std::collections::HashMap;

use rand::{RngExt, SeedableRng};
use tilewright_benches::Tensors;
use tilewright_device::Gpu;
use tilewright_kernels::{Side, bsr_rows, bsr_values, columns8, pack_b, pack_b8, panel_width};
use tilewright_tensor::{Bsr, HostTensor, f16};

use crate::AnyError;
use crate::cases::{Case, Expected};

/// Zeros among the blocks of a sparse weight, in percent.
pub(crate) const SPARSITY: [u32; 6] = [0, 30, 50, 70, 90, 95];
/// Elements whose value is checked.
const SAMPLES: usize = 64;

pub(crate) const A: u32 = 0;
pub(crate) const B_ROWS: u32 = 1;
pub(crate) const B_COLS: u32 = 2;
pub(crate) const B_PACKED: u32 = 3;
pub(crate) const C: u32 = 4;
pub(crate) const HALF_A: u32 = 5;
pub(crate) const HALF_B: u32 = 6;
pub(crate) const INT_A: u32 = 7;
pub(crate) const INT_B: u32 = 8;
pub(crate) const INT_COLUMNS: u32 = 9;
/// Values, row_ptr and col_idx of each sparse weight from here.
const SPARSE: u32 = 10;

/// The slot of the values of a sparse weight; row_ptr and col_idx follow it.
pub(crate) fn sparse_slot(i: usize) -> u32 {
    SPARSE + 3 * i as u32
}

/// All operands. B is kept transposed: \[n, k\].
pub(crate) struct Data {
    pub(crate) size: usize,
    pub(crate) tensors: Tensors,
    a: Vec<f32>,
    b: Vec<f32>,
    int_a: Vec<i8>,
    int_b: Vec<i8>,
    pub(crate) sparse: HashMap<u32, Bsr>,
}

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
        let mut data = Self {
            size,
            tensors: Tensors::default(),
            int_a: int(&a),
            int_b: int(&b),
            a,
            b,
            sparse: HashMap::new(),
        };
        data.floats(gpu)?;
        data.integers(gpu)?;
        for (i, percent) in SPARSITY.into_iter().enumerate() {
            let keep = |_| random.random_range(0..100) >= percent;
            data.sparse_weight(gpu, sparse_slot(i), keep)?;
        }
        Ok(data)
    }

    fn floats(&mut self, gpu: &Gpu) -> Result<(), AnyError> {
        let size = self.size;
        let b_cols = HostTensor::from_slice([size, size], &self.b)?;
        let b_rows: Vec<f32> = (0..size * size)
            .map(|at| self.b[at % size * size + at / size])
            .collect();
        let half = |from: &[f32]| from.iter().map(|&v| f16::from_f32(v)).collect::<Vec<_>>();
        let half_b = HostTensor::from_vec([size, size], half(&self.b))?;
        let width = panel_width(gpu.caps());
        let all = [
            (A, bytemuck::cast_slice(&self.a).to_vec()),
            (B_ROWS, bytemuck::cast_slice(&b_rows).to_vec()),
            (B_COLS, b_cols.bytes().to_vec()),
            (B_PACKED, pack_b(&b_cols, true, width)?.bytes().to_vec()),
            (C, vec![0; 4 * size * size]),
            (HALF_A, bytemuck::cast_slice(&half(&self.a)).to_vec()),
            (HALF_B, pack_b(&half_b, true, width)?.bytes().to_vec()),
        ];
        for (slot, bytes) in all {
            self.tensors.put(gpu, slot, &bytes)?;
        }
        Ok(())
    }

    fn integers(&mut self, gpu: &Gpu) -> Result<(), AnyError> {
        let b = HostTensor::from_slice([self.size, self.size], &self.int_b)?;
        let packed = pack_b8(gpu.caps(), &b, true)?;
        let columns = columns8(&b, &[0], &[], &[1.0])?;
        self.tensors
            .put(gpu, INT_A, bytemuck::cast_slice(&self.int_a))?;
        self.tensors.put(gpu, INT_B, packed.bytes())?;
        self.tensors.put(gpu, INT_COLUMNS, columns.bytes())?;
        Ok(())
    }

    /// B with the blocks for which `keep` holds.
    fn sparse_weight(
        &mut self,
        gpu: &Gpu,
        slot: u32,
        keep: impl FnMut(usize) -> bool,
    ) -> Result<(), AnyError> {
        let size = self.size;
        let block = bsr_rows(gpu.caps(), Side::Right);
        let grid = size / block;
        let kept: Vec<bool> = (0..grid * grid).map(keep).collect();
        let mut dense = self.b.clone();
        for (at, v) in dense.iter_mut().enumerate() {
            if !kept[at / size / block * grid + at % size / block] {
                *v = 0.0;
            }
        }
        let w = Bsr::from_dense(&HostTensor::from_vec([size, size], dense)?, [block; 2])?;
        let tensors = &mut self.tensors;
        tensors.put(gpu, slot, bsr_values(&w, Side::Right)?.bytes())?;
        tensors.put(gpu, slot + 1, bytemuck::cast_slice(w.row_ptr()))?;
        tensors.put(gpu, slot + 2, bytemuck::cast_slice(w.col_idx()))?;
        self.sparse.insert(slot, w);
        Ok(())
    }

    /// Compares sampled elements of C with f64 (integers: exactly).
    pub(crate) fn check(&mut self, gpu: &Gpu, case: &Case) -> Result<(), AnyError> {
        let n = self.size;
        let c = self.tensors.bytes(gpu, C, 4 * n * n)?;
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
        self.tensors.put(gpu, C, &vec![0xff; c.len()])?;
        Ok(())
    }
}
