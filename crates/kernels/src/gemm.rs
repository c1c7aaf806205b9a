//! GEMM: C[m, n] = epilogue(sum_k A[m, k] * B[k, n]), batched, accumulated in f32.

use tilewright_device::{Caps, Dispatch};

use crate::batch::Batch;
use crate::error::index;
use crate::product::{FLOAT, Loader, Product};
use crate::{Epilogue, Error, Loop, Result, SplitK, Target, View};

const KERNEL: &str = "gemm";

/// How a matrix lies in memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Layout {
    /// A\[m, k\] or B\[k, n\], the last index contiguous.
    Rows,
    /// The transpose: A\[k, m\] or B\[n, k\], the last index contiguous.
    Cols,
    /// B only: packed by [`pack_b`](crate::pack_b) in panels of `width` columns.
    Panels {
        /// Columns of a panel, a multiple of 8: [`panel_width`](crate::panel_width).
        width: usize,
    },
    /// C only: in rows, as the columns from `first` on of longer ones.
    Columns {
        /// A multiple of 4.
        first: usize,
    },
}

/// A matrix, or one per batch.
#[derive(Debug, Clone)]
pub struct Operand<'a> {
    /// The tensor: f32 or f16.
    pub view: &'a View,
    /// How the matrix lies in it.
    pub layout: Layout,
    /// Elements between rows as they lie in memory (of a transpose: between its rows). Of panels: rows of a panel.
    pub ld: usize,
    /// Elements between matrices along each batch axis; 0 where it is broadcast.
    pub batch: Vec<usize>,
}

/// A product of m x n x k for every batch.
#[derive(Debug, Clone)]
pub struct Gemm<'a> {
    /// Rows of A and C.
    pub m: usize,
    /// Columns of B and C.
    pub n: usize,
    /// Columns of A and rows of B.
    pub k: usize,
    /// Extents of the batch axes, outermost first; empty for one product.
    pub batch: Vec<usize>,
    /// The left operand.
    pub a: Operand<'a>,
    /// The right operand.
    pub b: Operand<'a>,
    /// The result, in [`Layout::Rows`] or [`Layout::Columns`].
    pub c: Operand<'a>,
    /// What happens before the result is stored.
    pub epilogue: Option<&'a Epilogue>,
}

/// Dispatches a product with the loop that the target chooses.
///
/// # Errors
/// [`Error::Shape`] where a matrix does not lie in its tensor, [`Error::Storage`] for integers, and for an f16 result
/// with rows that are no multiples of 4 on adapters without f16, [`Error::TooLarge`] over the limits of indices and groups,
/// [`Error::Quarantined`].
pub fn gemm<'a>(on: impl Into<Target<'a>>, product: &Gemm<'_>) -> Result<Vec<Dispatch>> {
    lowered(on.into(), product, None, None)
}

/// Dispatches a product with a loop of the caller's choice. Errors as [`gemm`].
pub fn gemm_with(caps: &Caps, product: &Gemm<'_>, of: Loop) -> Result<Vec<Dispatch>> {
    lowered(caps.into(), product, Some(of), None)
}

/// The dispatch of a product; of a `split` one the last batch axis counts the parts.
pub(crate) fn lowered(
    on: Target<'_>,
    product: &Gemm<'_>,
    of: Option<Loop>,
    split: Option<SplitK>,
) -> Result<Vec<Dispatch>> {
    let Gemm { m, n, k, .. } = *product;
    let (c_part, first) = column_part(product.c.layout)?;
    let strides = [&product.a, &product.b, &product.c].map(|of| &of.batch[..]);
    let batch = Batch::new(KERNEL, &product.batch, strides)?;
    if m == 0 || n == 0 || batch.count() == 0 {
        return Ok(Vec::new());
    }
    inside("A", &product.a, m, k, batch.last(0))?;
    inside("B", &product.b, k, n, batch.last(1))?;
    inside("C", &product.c, m, n, batch.last(2) + first.unwrap_or(0))?;
    let k_tail = k % 4 != 0;
    let a = left(product, batch.is_vec(0))?;
    let b = right(product, batch.is_vec(1))?;
    let lowered = Product {
        kernel: split.map_or(KERNEL, |_| "split_k"),
        m,
        n,
        k,
        k_blocks: 1,
        k_search: 0,
        k_part: "k_whole",
        c_part,
        batch: batch.parts(split),
        arithmetic: FLOAT,
        a,
        b,
        c: product.c.view,
        c_ld: product.c.ld,
        epilogue: product.epilogue,
    };
    let of = of.map_or_else(|| lowered.default_loop(on), Ok)?;
    let mut dispatch = lowered
        .dispatch(on.caps, of)?
        .param("a_ld", index(KERNEL, "the row stride of A", product.a.ld)?)
        .param("a_step", 0u32)
        .param("b_ld", index(KERNEL, "the row stride of B", product.b.ld)?);
    if !matches!(product.b.layout, Layout::Panels { .. }) {
        dispatch = dispatch.param("b_step", 0u32);
    }
    if a.part == "a_cols" || b.part == "b_rows" {
        dispatch.variant = dispatch.variant.set("K_TAIL", k_tail);
    }
    if let Some(first) = first {
        dispatch = dispatch.param("c_first", index(KERNEL, "the first column of C", first)?);
    }
    if let Layout::Panels { width } = product.b.layout {
        dispatch.variant = dispatch.variant.set("PANEL", (width / 4) as u32);
    }
    Ok(vec![dispatch])
}

/// The part that says where columns of the product lie in C, and the first of them.
pub(crate) fn column_part(layout: Layout) -> Result<(&'static str, Option<usize>)> {
    match layout {
        Layout::Rows => Ok(("c_rows", None)),
        Layout::Columns { first } if first % 4 == 0 => Ok(("c_columns", Some(first))),
        _ => Err(Error::shape(KERNEL, "C must lie in rows")),
    }
}

/// How A is loaded; `aligned`: its matrices begin at multiples of 4.
fn left<'a>(of: &Gemm<'a>, aligned: bool) -> Result<Loader<'a>> {
    let vec = of.a.ld % 4 == 0 && aligned;
    let (part, vec) = match of.a.layout {
        Layout::Rows if vec && of.k % 4 == 0 => ("a_rows", true),
        Layout::Rows => ("a_rows_any", false),
        Layout::Cols if vec && of.m % 4 == 0 => ("a_cols", true),
        Layout::Cols => ("a_cols_any", false),
        Layout::Panels { .. } | Layout::Columns { .. } => {
            return Err(Error::shape(KERNEL, "A must lie in rows or columns"));
        }
    };
    let view = of.a.view;
    Ok(Loader { view, part, vec })
}

/// How B is loaded.
fn right<'a>(of: &Gemm<'a>, aligned: bool) -> Result<Loader<'a>> {
    let vec = of.b.ld % 4 == 0 && aligned;
    let (part, vec) = match of.b.layout {
        Layout::Rows if vec && of.n % 4 == 0 => ("b_rows", true),
        Layout::Rows => ("b_rows_any", false),
        Layout::Cols if vec && of.k % 4 == 0 => ("b_cols", true),
        Layout::Cols => ("b_cols_any", false),
        Layout::Panels { .. } => ("b_panel", true),
        Layout::Columns { .. } => {
            return Err(Error::shape(KERNEL, "only C can be some columns of rows"));
        }
    };
    let view = of.b.view;
    Ok(Loader { view, part, vec })
}

/// Whether a matrix of `rows` x `cols` per batch, of which the last begins at `last`, lies inside its tensor.
fn inside(name: &str, of: &Operand<'_>, rows: usize, cols: usize, last: usize) -> Result<()> {
    let elements = of.view.elements();
    index(KERNEL, "the number of elements", elements)?;
    let (count, width) = match of.layout {
        Layout::Rows | Layout::Columns { .. } => (rows, cols),
        Layout::Cols => (cols, rows),
        Layout::Panels { width } => {
            let fits = width > 0 && width % 8 == 0 && of.ld == rows.next_multiple_of(4);
            if !fits {
                let what = format!(
                    "{name} in panels of {width} columns and {} rows for k = {rows}",
                    of.ld
                );
                return Err(Error::shape(KERNEL, what));
            }
            (cols.div_ceil(width) * of.ld, width)
        }
    };
    let ld = match of.layout {
        Layout::Panels { width } => width,
        _ => of.ld,
    };
    let end = match (count, width) {
        (0, _) | (_, 0) => 0,
        _ => (count - 1)
            .checked_mul(ld)
            .and_then(|at| at.checked_add(last + width))
            .unwrap_or(usize::MAX),
    };
    if (ld >= width || count <= 1) && end <= elements {
        return Ok(());
    }
    let what = format!(
        "{name} of {count} x {width} with row stride {ld} does not lie in {}",
        of.view
    );
    Err(Error::shape(KERNEL, what))
}
