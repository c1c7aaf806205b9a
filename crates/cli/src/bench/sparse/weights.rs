//! A layer with its dense weight and sparse ones, each checked against the other.

use crate::Failure;
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use tilewright::Gpu;
use tilewright::device::{Dispatch, Slot};
use tilewright::kernels::{
    BsrView, Side, Store, View, bsr_block, bsr_matmul, bsr_values, matmul_packed, pack_b,
    panel_width,
};
use tilewright::tensor::{Bsr, HostTensor, nmse};
use tilewright_benches::{Candidate, Tensors};

const X: u32 = 0;
const DENSE: u32 = 1;
const Y: u32 = 2;
/// Values, row_ptr and col_idx of each sparse weight from here.
const SPARSE: u32 = 3;
/// Elements of the dense result that are compared with f64.
const SAMPLES: usize = 64;
/// See [`nmse`]: two orders of summing K products in f32 differ by about K 2^-48.
const NMSE: f64 = 1e-9;

/// y = x W^T.
pub(super) struct Layer {
    /// M, N, K.
    pub(super) size: [usize; 3],
    pub(super) dense: Candidate,
    x: Vec<f32>,
    w: Vec<f32>,
    random: StdRng,
    tensors: Tensors,
    slots: u32,
}

/// A sparse weight that was found right.
pub(super) struct Sparse {
    pub(super) block: [usize; 2],
    /// Zeros over all, of blocks.
    pub(super) sparsity: f64,
    pub(super) stored: usize,
    pub(super) nmse: f64,
    pub(super) candidate: Candidate,
}

impl Layer {
    /// Random x and W; the dense product is checked against f64.
    pub(super) fn new(gpu: &Gpu, size: [usize; 3], seed: u64) -> Result<Self, Failure> {
        let [m, n, k] = size;
        let mut random = StdRng::seed_from_u64(seed);
        let mut floats = |count: Option<usize>| -> Result<Vec<f32>, Failure> {
            let count = count.filter(|&c| 4 * c as u64 <= gpu.caps().limits.binding_bytes);
            let count = count.ok_or("--size: a matrix exceeds the adapter's binding limit")?;
            Ok((0..count)
                .map(|_| random.random_range(-1.0f32..1.0))
                .collect())
        };
        let (x, w) = (floats(m.checked_mul(k))?, floats(n.checked_mul(k))?);
        floats(m.checked_mul(n))?;
        let mut tensors = Tensors::default();
        tensors.put(gpu, X, bytemuck::cast_slice(&x))?;
        tensors.put(gpu, Y, &vec![0; 4 * m * n])?;
        let packed = pack(gpu, size, &w)?;
        tensors.put(gpu, DENSE, packed.bytes())?;
        let view = |slot, shape: &[usize]| View::new(Slot(slot), Store::F32, shape);
        let packed = view(DENSE, packed.shape());
        let dispatches = matmul_packed(
            gpu.caps(),
            &view(X, &[m, k]),
            false,
            &packed,
            panel_width(gpu.caps()),
            &view(Y, &[m, n]),
            None,
        )?;
        let dense = Candidate::new(gpu, tensors.bind(gpu, &dispatches)?)?;
        let layer = Self {
            size,
            dense,
            x,
            w,
            random,
            tensors,
            slots: SPARSE,
        };
        layer.check(&layer.tensors.floats(gpu, Y, m * n)?)?;
        Ok(layer)
    }

    /// Compares elements of y, spread over it, with f64.
    fn check(&self, y: &[f32]) -> Result<(), Failure> {
        let [m, n, k] = self.size;
        for sample in 0..SAMPLES {
            let (i, j) = (sample * 7919 % m, sample * 104_729 % n);
            let pairs = self.x[i * k..(i + 1) * k]
                .iter()
                .zip(&self.w[j * k..(j + 1) * k]);
            let want: f64 = pairs.map(|(&x, &w)| f64::from(x) * f64::from(w)).sum();
            let got = f64::from(y[i * n + j]);
            // Each of K roundings is of a partial sum of at most K products of up to 1, about sqrt(K) / 3 of it.
            let error = (got - want).abs();
            if error.is_nan() || error > 1e-7 * k as f64 * (k as f64).sqrt() {
                return Err(format!("dense y[{i}, {j}] is {got}, expected {want}").into());
            }
        }
        Ok(())
    }

    /// W with whole blocks left out at random, checked against the dense product of the same values.
    pub(super) fn sparse(
        &mut self,
        gpu: &Gpu,
        block: [usize; 2],
        sparsity: f64,
    ) -> Result<Sparse, Failure> {
        let [m, n, k] = self.size;
        if block.contains(&0) {
            return Err("--block 0: sizes begin at 1".into());
        }
        let masked = self.masked(block, sparsity);
        self.tensors
            .put(gpu, DENSE, pack(gpu, self.size, &masked)?.bytes())?;
        self.dense.run(gpu)?;
        let want = self.tensors.floats(gpu, Y, m * n)?;
        let w = Bsr::from_dense(&HostTensor::from_vec([n, k], masked)?, block)?;
        let dispatches = self.upload(gpu, &w)?;
        // What the dense product left must not pass for the sparse result.
        self.tensors.put(gpu, Y, &vec![0xff; 4 * m * n])?;
        let candidate = Candidate::new(gpu, self.tensors.bind(gpu, &dispatches)?)?;
        let got = self.tensors.floats(gpu, Y, m * n)?;
        let of = |y| HostTensor::from_vec([m, n], y);
        let nmse = nmse(&of(got)?, &of(want)?)?;
        if nmse.is_nan() || nmse > NMSE {
            let [rows, columns] = block;
            return Err(format!(
                "blocks of {rows}x{columns}, {sparsity} zeros: the result is wrong, NMSE {nmse:e}"
            )
            .into());
        }
        self.tensors
            .put(gpu, DENSE, pack(gpu, self.size, &self.w)?.bytes())?;
        let stored = w.col_idx().len();
        let cells = n.div_ceil(block[0]) * k.div_ceil(block[1]);
        Ok(Sparse {
            block,
            sparsity: 1.0 - stored as f64 / cells as f64,
            stored,
            nmse,
            candidate,
        })
    }

    /// W without a part of its blocks.
    fn masked(&mut self, [rows, columns]: [usize; 2], sparsity: f64) -> Vec<f32> {
        let [_, n, k] = self.size;
        let across = k.div_ceil(columns);
        let cells = n.div_ceil(rows) * across;
        let zeros = (cells as f64 * sparsity).round() as usize;
        let mut zero = vec![false; cells];
        for cell in rand::seq::index::sample(&mut self.random, cells, zeros.min(cells)) {
            zero[cell] = true;
        }
        let dense = self.w.iter().enumerate();
        let value = |(at, &v): (usize, &f32)| {
            if zero[at / k / rows * across + at % k / columns] {
                0.0
            } else {
                v
            }
        };
        dense.map(value).collect()
    }

    /// Puts a sparse weight in slots of its own; the dispatches of its product.
    fn upload(&mut self, gpu: &Gpu, w: &Bsr) -> Result<Vec<Dispatch>, Failure> {
        let [m, n, k] = self.size;
        // As the engine does: smaller blocks are joined to those that the loops walk.
        let (block, _) = bsr_block(gpu.caps(), Side::Right, w.block_size(), w.extents());
        let w = &w.in_blocks(block)?;
        let slot = self.slots;
        self.slots += 3;
        self.tensors
            .put(gpu, slot, bsr_values(w, Side::Right)?.bytes())?;
        self.tensors
            .put(gpu, slot + 1, bytemuck::cast_slice(w.row_ptr()))?;
        self.tensors
            .put(gpu, slot + 2, bytemuck::cast_slice(w.col_idx()))?;
        let view = |slot, store, shape: &[usize]| View::new(Slot(slot), store, shape);
        let values = view(slot, Store::F32, w.values().shape());
        let row_ptr = view(slot + 1, Store::U32, &[w.row_ptr().len()]);
        let col_idx = view(slot + 2, Store::U32, &[w.col_idx().len()]);
        let on_device = BsrView {
            extents: w.extents(),
            block_size: w.block_size(),
            values: &values,
            row_ptr: &row_ptr,
            col_idx: &col_idx,
        };
        let (x, y) = (view(X, Store::F32, &[m, k]), view(Y, Store::F32, &[m, n]));
        Ok(bsr_matmul(gpu.caps(), &x, &on_device, &y, None)?)
    }
}

/// W^T in panels, as the dense loops read constants.
fn pack(gpu: &Gpu, [_, n, k]: [usize; 3], w: &[f32]) -> Result<HostTensor, Failure> {
    let w = HostTensor::from_slice([n, k], w)?;
    Ok(pack_b(&w, true, panel_width(gpu.caps()))?)
}
