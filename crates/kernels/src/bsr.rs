//! Products with a constant block-sparse weight (BSR): the dense loops, walking stored blocks along k.
//!
//! A layer's weight W \[out, in\] is the sparse operand. [`bsr_matmul`] computes y = x W^T, where W stands on the right: a tile's
//! columns lie in one row of W's blocks. [`bsr_left`] computes C = W B. Both do the work of the stored blocks alone.
//! Blocks of other sizes than the loops can walk are cut anew on the host, into those of [`bsr_block`].

use tilewright_device::{Caps, Dispatch};
use tilewright_tensor::{Bsr, HostTensor};

use crate::batch::Batch;
use crate::candidates::candidates;
use crate::error::index;
use crate::gemm_loop::reg_lanes;
use crate::matmul::{split, strides};
use crate::pack::host;
use crate::product::{FLOAT, Loader, Product};
use crate::rounds::check_rounds;
use crate::{Epilogue, Error, Loop, Result, Store, Target, View};

const KERNEL: &str = "bsr";

/// A block-sparse matrix on the device.
#[derive(Debug, Clone, Copy)]
pub struct BsrView<'a> {
    /// Rows and columns.
    pub extents: [usize; 2],
    /// Rows and columns of a block; rows a multiple of [`bsr_rows`], columns of 4 and a divisor of the matrix's columns.
    pub block_size: [usize; 2],
    /// The stored blocks: [`bsr_values`], f32 or f16.
    pub values: &'a View,
    /// u32: where each row of blocks begins, one more than there are rows of blocks. Never in a buffer that is written.
    pub row_ptr: &'a View,
    /// u32: the block column of each stored block. Never in a buffer that is written.
    pub col_idx: &'a View,
}

/// On which side of the product the sparse matrix stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Side {
    /// C = W B.
    Left,
    /// C = A W^T.
    Right,
}

/// Rows of a block must be a multiple of this, because a tile must not straddle two rows of blocks.
#[must_use]
pub fn bsr_rows(caps: &Caps, side: Side) -> usize {
    match (reg_lanes(caps), side) {
        (Some(lanes), _) => 4 * lanes as usize,
        (None, _) => 32,
    }
}

/// The blocks in which the loops walk a matrix of `extents` that comes in blocks of `block_size`, and the columns that it must
/// be padded to. They are not wider than what comes except to make 4, and higher only where that is less than a tile.
#[must_use]
pub fn bsr_block(
    caps: &Caps,
    side: Side,
    block_size: [usize; 2],
    extents: [usize; 2],
) -> ([usize; 2], usize) {
    let step = bsr_rows(caps, side);
    let within = |axis: usize, unit: usize| {
        let most = extents[axis].max(1).next_multiple_of(unit);
        match block_size[axis] {
            size if size % unit == 0 => size.min(most),
            _ => unit,
        }
    };
    let (rows, cols, columns) = (within(0, step), within(1, 4), extents[1]);
    if columns % 4 == 0 {
        // A part of a block may divide the matrix where the block does not.
        return ([rows, divisor(cols, columns)], columns);
    }
    ([rows, cols], columns.next_multiple_of(cols))
}

/// The greatest common divisor.
fn divisor(a: usize, b: usize) -> usize {
    if b == 0 { a } else { divisor(b, a % b) }
}

/// The stored blocks as the kernels read them: as they are on the left, each transposed on the right.
///
/// # Errors
/// [`Error::Shape`] where memory is short.
pub fn bsr_values(w: &Bsr, side: Side) -> Result<HostTensor> {
    if side == Side::Left {
        return Ok(w.values().clone());
    }
    let [rows, cols] = w.block_size();
    let area = rows * cols;
    let blocks = w.col_idx().len();
    let offsets = (0..blocks * area).map(|at| {
        let (block, inside) = (at / area, at % area);
        block * area + inside % rows * cols + inside / rows
    });
    w.values()
        .select([blocks, cols, rows], offsets)
        .map_err(host)
}

/// C\[.., m, n\] = epilogue(A\[.., m, k\] * W^T) with a sparse W of n x k; the batch axes of A are more rows.
///
/// # Errors
/// [`Error::Shape`] where shapes or blocks do not fit, [`Error::Storage`], [`Error::TooLarge`].
pub fn bsr_matmul<'a>(
    on: impl Into<Target<'a>>,
    a: &View,
    w: &BsrView<'_>,
    c: &View,
    epilogue: Option<&Epilogue>,
) -> Result<Vec<Dispatch>> {
    let on = on.into();
    let ([rows_a, k], batch_a) = split("A", a)?;
    let ([rows_c, n], batch_c) = split("C", c)?;
    if rows_a != rows_c || batch_a != batch_c || w.extents != [n, k] {
        let what = format!(
            "{:?} times the transpose of {:?} into {:?}",
            a.shape, w.extents, c.shape
        );
        return Err(Error::shape(KERNEL, what));
    }
    w.check(on.caps, Side::Right)?;
    index(KERNEL, "elements of A", a.elements())?;
    index(KERNEL, "elements of C", c.elements())?;
    let m = rows_a * batch_a.iter().product::<usize>();
    let product = Product {
        kernel: KERNEL,
        m,
        n,
        k: w.block_size[1],
        k_blocks: w.blocks_per_row(),
        k_search: 0,
        k_part: "k_bsr_right",
        c_part: "c_rows",
        batch: Batch::new(KERNEL, &[], [&[]; 3])?,
        arithmetic: FLOAT,
        a: loader(a, "a_rows"),
        b: loader(w.values, "b_bsr"),
        c,
        c_ld: n,
        epilogue,
    };
    let step = index(KERNEL, "columns of a block", w.block_size[1])?;
    let dispatches = w.dispatch(on, &product, Side::Right)?.into_iter();
    let k = index(KERNEL, "k", k)?;
    Ok(dispatches
        .map(|d| d.param("a_ld", k).param("a_step", step))
        .collect())
}

/// C\[.., m, n\] = epilogue(W * B\[.., k, n\]) with a sparse W of m x k for every batch.
///
/// # Errors
/// As [`bsr_matmul`].
pub fn bsr_left<'a>(
    on: impl Into<Target<'a>>,
    w: &BsrView<'_>,
    b: &View,
    c: &View,
    epilogue: Option<&Epilogue>,
) -> Result<Vec<Dispatch>> {
    let on = on.into();
    let ([k, n], batch_b) = split("B", b)?;
    let ([m, columns], sizes) = split("C", c)?;
    if w.extents != [m, k] || columns != n || batch_b != sizes {
        let what = format!("{:?} times {:?} into {:?}", w.extents, b.shape, c.shape);
        return Err(Error::shape(KERNEL, what));
    }
    w.check(on.caps, Side::Left)?;
    let own = [
        vec![0; sizes.len()],
        strides("B", batch_b, k * n, sizes)?,
        strides("C", sizes, m * n, sizes)?,
    ];
    let batch = Batch::new(KERNEL, sizes, [&own[0], &own[1], &own[2]])?;
    if batch.count() == 0 {
        return Ok(Vec::new());
    }
    let vec = n % 4 == 0;
    let product = Product {
        kernel: KERNEL,
        m,
        n,
        k: w.block_size[1],
        k_blocks: w.blocks_per_row(),
        k_search: 0,
        k_part: "k_bsr_left",
        c_part: "c_rows",
        batch,
        arithmetic: FLOAT,
        a: loader(w.values, "a_bsr"),
        b: Loader {
            view: b,
            part: if vec { "b_rows" } else { "b_rows_any" },
            vec,
        },
        c,
        c_ld: n,
        epilogue,
    };
    let step = index(KERNEL, "elements of a row of blocks", w.block_size[1] * n)?;
    let ld = index(KERNEL, "n", n)?;
    index(KERNEL, "elements of B", b.elements())?;
    index(KERNEL, "elements of C", c.elements())?;
    let dispatches = w.dispatch(on, &product, Side::Left)?.into_iter();
    let with = |mut d: Dispatch| {
        if vec {
            // Blocks are whole multiples of 4 along k.
            d.variant = d.variant.set("K_TAIL", false);
        }
        d.param("b_ld", ld).param("b_step", step)
    };
    Ok(dispatches.map(with).collect())
}

impl BsrView<'_> {
    fn check(&self, caps: &Caps, side: Side) -> Result<()> {
        let [rows, cols] = self.block_size;
        let step = bsr_rows(caps, side);
        if rows == 0
            || rows % step != 0
            || cols == 0
            || cols % 4 != 0
            || self.extents[1] % cols != 0
        {
            let what = format!(
                "blocks of {rows} x {cols} in {:?}: rows must be a multiple of {step}, columns one of 4 that divides the matrix",
                self.extents
            );
            return Err(Error::shape(KERNEL, what));
        }
        let row_count = self.extents[0].div_ceil(rows) + 1;
        let blocks = self.col_idx.elements();
        let fits =
            self.row_ptr.elements() == row_count && self.values.elements() == blocks * rows * cols;
        if !fits || [self.row_ptr.store, self.col_idx.store] != [Store::U32; 2] {
            let what = format!(
                "row_ptr {}, col_idx {}, values {}",
                self.row_ptr, self.col_idx, self.values
            );
            return Err(Error::shape(KERNEL, what));
        }
        index(KERNEL, "stored elements", self.values.elements())?;
        Ok(())
    }

    /// Stored blocks of a row of blocks, on average, rounded up.
    fn blocks_per_row(&self) -> usize {
        let rows = self.extents[0].div_ceil(self.block_size[0]).max(1);
        self.col_idx.elements().div_ceil(rows)
    }

    fn dispatch(&self, on: Target<'_>, product: &Product<'_>, side: Side) -> Result<Vec<Dispatch>> {
        if product.m == 0 || product.n == 0 {
            return Ok(Vec::new());
        }
        let caps = on.caps;
        let of = self.choose(on, product, side)?;
        // One row may hold all stored blocks, as far as is known here.
        let most = (self.extents[1] / self.block_size[1]).min(self.col_idx.elements());
        let steps = self.block_size[1] / 4;
        check_rounds(KERNEL, caps, of.rounds(most, steps, 0, false))?;
        let dispatch = product
            .dispatch(caps, of)?
            .bind("ROW_PTR", self.row_ptr.span)
            .bind("COL_IDX", self.col_idx.span)
            .param(
                "block_rows",
                index(KERNEL, "rows of a block", self.block_size[0])?,
            );
        Ok(vec![dispatch])
    }

    /// Of the loops whose tile lies in one row of blocks, and is not much emptier than the smallest one: the first, unless choices say otherwise.
    fn choose(&self, on: Target<'_>, product: &Product<'_>, side: Side) -> Result<Loop> {
        let caps = on.caps;
        let Product { m, n, k, .. } = *product;
        let rows = self.block_size[0];
        let small = reg_lanes(caps).map_or(Loop::SMALL, |lanes| Loop::Reg {
            lanes,
            quads: lanes,
            columns: 1,
        });
        // Few rows of x. The rows of a sparse A fill their tiles.
        let few = match side {
            Side::Right if m <= 8 || reg_lanes(caps).is_some() => m,
            _ => m.max(9),
        };
        let all = candidates(caps, few, n, k * product.k_blocks, product.batch.count());
        let area = |of: Loop| {
            let [bm, bn] = of.extent();
            m.next_multiple_of(bm) as u64 * n.next_multiple_of(bn) as u64
        };
        // The larger tiles are up to 14% faster where they are full.
        let full = |of: Loop| 8 * area(of) <= 9 * area(small);
        let fits = |of: Loop| rows % of.extent()[usize::from(side == Side::Right)] == 0;
        let mut all: Vec<Loop> = (all.into_iter())
            .filter(|of| fits(*of) && full(*of))
            .collect();
        if all.is_empty() {
            all.push(small);
        }
        product.choose(on, &all, fits)
    }
}

fn loader<'a>(view: &'a View, part: &'static str) -> Loader<'a> {
    Loader {
        view,
        part,
        vec: true,
    }
}
