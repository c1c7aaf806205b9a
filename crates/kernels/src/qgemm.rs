//! Products of 8-bit integers: exact i32 accumulators, zero points by sums over k, optionally requantised.
//!
//! Four integers along k are one word, multiplied by `dot4I8Packed`: uint8 is read as int8 (128 less), and so are its zero
//! points. On software adapters A is read as uint8 instead (see `mac_u8`). With a and b as read, za and zb their zero points
//! and sums over the k real elements,
//!
//! ```text
//! sum (a - za) (b - zb) = sum a b - za sum b - zb sum a + k za zb
//! ```

use tilewright_device::{Caps, Dispatch, Span, Variant, fold_groups};

use crate::batch::Batch;
use crate::error::index;
use crate::matmul::{split, strides};
use crate::product::{INT8, Loader, Product};
use crate::qread::{Read, arithmetic, columns};
use crate::rounds::check_rounds;
use crate::{Epilogue, Error, Result, Store, Target, View, panel_width};

const KERNEL: &str = "gemm8";
/// Threads of a workgroup of the kernels that sum over k.
const SUM_THREADS: u32 = 64;

/// A zero point, in the dtype of its operand.
#[derive(Debug, Clone, Copy)]
pub enum Zero<'a> {
    /// One, known on the host.
    Known(i32),
    /// i32 on the device: one, or one a row of A (column of B), or that for every batch.
    Device(&'a View),
}

/// The right operand.
#[derive(Debug, Clone, Copy)]
pub enum Int8B<'a> {
    /// Constant.
    Packed {
        /// [`pack_b8`](crate::pack_b8), [`pack_filter8`](crate::pack_filter8).
        words: &'a View,
        /// [`columns8`](crate::columns8).
        columns: &'a View,
        /// Whether all zero points are 0 for int8 (128 for uint8): rows of A need not be summed.
        symmetric: bool,
        /// The first column of C that `words` are for, and the one behind them, where these are not all. The first is a
        /// multiple of 4; `columns` are those of all. Not for convolutions.
        part: Option<[usize; 2]>,
    },
    /// \[.., k, n\] of packed 8-bit integers, and its zero point.
    Rows(&'a View, Zero<'a>),
    /// \[.., n, k\] of packed 8-bit integers, and its zero point.
    Cols(&'a View, Zero<'a>),
}

impl<'a> Int8B<'a> {
    /// The packed words, if they are of all columns.
    pub(crate) fn panels(&self) -> Option<&'a View> {
        match *self {
            Int8B::Packed { words, part, .. } if part.is_none() => Some(words),
            _ => None,
        }
    }

    /// Whether it has only some of `all` columns of C, and how many.
    fn columns(&self, all: usize) -> Result<(bool, usize)> {
        let Int8B::Packed {
            part: Some(part), ..
        } = *self
        else {
            return Ok((false, all));
        };
        let [first, end] = part;
        if first % 4 != 0 || first > end || end > all {
            return Err(Error::shape(KERNEL, format!("columns {part:?} of {all}")));
        }
        Ok((true, end - first))
    }
}

/// Bytes of scratch that a product of m x n for each of `batches` needs: see [`matmul8`]. 0 where nothing is summed.
#[must_use]
pub fn matmul8_scratch(
    m: usize,
    n: usize,
    batches: usize,
    a_zero: &Zero<'_>,
    b: &Int8B<'_>,
) -> usize {
    let rows = if sums_rows(a_zero, b) {
        rows_bytes(m, batches)
    } else {
        0
    };
    match b {
        Int8B::Packed { .. } => rows,
        // Three columns more, because columns are read by fours.
        _ => rows + 16 * (n * batches + 3),
    }
}

/// Bytes of the row sums, up to where the column sums begin.
pub(crate) fn rows_bytes(m: usize, batches: usize) -> usize {
    (8 * m * batches).next_multiple_of(256)
}

/// Whether rows of A are summed: their sums are multiplied by the zero points of B.
pub(crate) fn sums_rows(a_zero: &Zero<'_>, b: &Int8B<'_>) -> bool {
    let symmetric = matches!(
        b,
        Int8B::Packed {
            symmetric: true,
            ..
        }
    );
    !symmetric || matches!(a_zero, Zero::Device(_))
}

/// C\[.., m, n\] = sum_k (A\[.., m, k\] - zero of A) * (B\[.., k, n\] - zero of B), broadcast as in numpy.matmul.
///
/// A is packed 8-bit. An i32 C is exact (ONNX MatMulInteger). An f32 or f16 C is the sum plus bias, times the scale of
/// the columns of a packed B. A packed 8-bit C is that, rounded to even, plus `c_zero`, saturated (ONNX QLinearMatMul with the scale
/// a_scale * b_scale / y_scale). The epilogue sees i32 or f32. `scratch` has [`matmul8_scratch`] bytes.
///
/// # Errors
/// [`Error::Shape`], [`Error::Storage`], [`Error::TooLarge`].
pub fn matmul8<'a>(
    on: impl Into<Target<'a>>,
    a: &View,
    a_zero: Zero<'_>,
    b: Int8B<'_>,
    c: &View,
    c_zero: i32,
    epilogue: Option<&Epilogue>,
    scratch: Option<&View>,
) -> Result<Vec<Dispatch>> {
    let on = on.into();
    let ([m, k], _) = split("A", a)?;
    let ([rows, all], _) = split("C", c)?;
    let (part, n) = b.columns(all)?;
    let c_part = if part { "c_columns" } else { "c_rows" };
    let kw = k.div_ceil(4);
    let a_read = Read::left(on.caps, a)?;
    let operand = RightOperand::new(on.caps, &b, k, n)?;
    if rows != m || operand.shape.is_some_and(|shape| shape != [k, n]) {
        return Err(Error::shape(KERNEL, format!("{a} times {b:?} into {c}")));
    }
    let c_ld = columns(c, all);
    let batch = batches(a, m * kw, &operand, c, m * c_ld)?;
    if m == 0 || n == 0 || batch.count() == 0 {
        return Ok(Vec::new());
    }
    let vec = kw % 4 == 0 && batch.is_vec(0);
    let part = if vec { "a_rows" } else { "a_rows_any" };
    let product = Product {
        kernel: KERNEL,
        m,
        n,
        k: kw,
        k_blocks: 1,
        k_search: 0,
        k_part: "k_whole",
        c_part,
        arithmetic: arithmetic(a_read, c),
        a: Loader { view: a, part, vec },
        b: operand.loader(batch.is_vec(1)),
        batch,
        c,
        c_ld,
        epilogue,
    };
    let ld = index(KERNEL, "k", kw)?;
    let int8 = Int8 {
        on,
        k,
        word_run: kw,
        tail: k % 4,
        a_zero,
        a_read,
        b,
        c_zero,
        scratch,
    };
    let left = |dispatch| Ok(rows8(dispatch, ld, a_read));
    int8.dispatches(&product, &left, &|dispatch| operand.params(dispatch))
}

/// The parameters of A in rows of words.
fn rows8(dispatch: Dispatch, ld: u32, read: Read) -> Dispatch {
    let dispatch = dispatch.param("a_ld", ld).param("a_step", 0u32);
    dispatch.param("a_flip", read.flip)
}

/// The batch axes of C, and the operands' strides along them.
fn batches(a: &View, of_a: usize, b: &RightOperand<'_>, c: &View, of_c: usize) -> Result<Batch> {
    let (_, batch_a) = split("A", a)?;
    let (_, batch_c) = split("C", c)?;
    let stride_a = strides("A", batch_a, of_a, batch_c)?;
    let stride_b = strides("B", b.batch, b.matrix, batch_c)?;
    let stride_c = strides("C", batch_c, of_c, batch_c)?;
    Batch::new(KERNEL, batch_c, [&stride_a, &stride_b, &stride_c])
}

/// The right operand of a product of matrices.
struct RightOperand<'a> {
    view: &'a View,
    /// k x n, where the operand has a shape of its own.
    shape: Option<[usize; 2]>,
    batch: &'a [usize],
    /// Words of one matrix.
    matrix: usize,
    part: [&'static str; 2],
    vec: bool,
    params: Vec<(&'static str, usize)>,
    panel: Option<usize>,
}

impl<'a> RightOperand<'a> {
    fn new(caps: &Caps, b: &Int8B<'a>, k: usize, n: usize) -> Result<Self> {
        let kw = k.div_ceil(4);
        let flip_of = |view| Read::right(view).map(|read| ("b_flip", read.flip as usize));
        Ok(match b {
            Int8B::Packed { words, part, .. } => Self {
                view: words,
                shape: None,
                batch: &[],
                matrix: words.elements(),
                part: ["b_panel"; 2],
                vec: true,
                params: [("b_ld", kw.next_multiple_of(4))]
                    .into_iter()
                    .chain(part.map(|[first, _]| ("c_first", first)))
                    .collect(),
                panel: Some(panel_width(caps)),
            },
            Int8B::Cols(view, _) => {
                let ([rows, cols], batch) = split("B", view)?;
                Self {
                    view,
                    shape: Some([cols, rows]),
                    batch,
                    matrix: n * kw,
                    part: ["b_cols", "b_cols_any"],
                    vec: kw % 4 == 0,
                    params: vec![("b_ld", kw), ("b_step", 0), flip_of(view)?],
                    panel: None,
                }
            }
            Int8B::Rows(view, _) => {
                let ([rows, cols], batch) = split("B", view)?;
                let ld = cols.div_ceil(4);
                Self {
                    view,
                    shape: Some([rows, cols]),
                    batch,
                    matrix: k * ld,
                    part: ["b_rows8"; 2],
                    vec: false,
                    params: vec![("b_ld", ld), ("b_k", k), flip_of(view)?],
                    panel: None,
                }
            }
        })
    }

    fn loader(&self, batch_vec: bool) -> Loader<'a> {
        let vec = self.vec && (batch_vec || self.panel.is_some());
        Loader {
            view: self.view,
            part: self.part[usize::from(!vec)],
            vec,
        }
    }

    fn params(&self, mut dispatch: Dispatch) -> Result<Dispatch> {
        for (name, value) in &self.params {
            dispatch = dispatch.param(name, index(KERNEL, name, *value)?);
        }
        if let Some(width) = self.panel {
            dispatch.variant = dispatch.variant.set("PANEL", (width / 4) as u32);
        }
        Ok(dispatch)
    }
}

/// What an int8 product adds to a product of words.
pub(crate) struct Int8<'a> {
    pub(crate) on: Target<'a>,
    /// Integers along k, over all k blocks.
    pub(crate) k: usize,
    /// Words from one whose last bytes are padding to the next, and its real bytes (0: all four).
    pub(crate) word_run: usize,
    pub(crate) tail: usize,
    pub(crate) a_zero: Zero<'a>,
    pub(crate) a_read: Read,
    pub(crate) b: Int8B<'a>,
    pub(crate) c_zero: i32,
    pub(crate) scratch: Option<&'a View>,
}

/// Adds the parameters of one side's loader.
pub(crate) type Side<'a> = &'a dyn Fn(Dispatch) -> Result<Dispatch>;

impl Int8<'_> {
    /// The sums that are needed, then the product.
    pub(crate) fn dispatches(
        &self,
        product: &Product<'_>,
        left: Side<'_>,
        right: Side<'_>,
    ) -> Result<Vec<Dispatch>> {
        let Product { m, n, .. } = *product;
        let batches = product.batch.count();
        let span = self.scratch_span(matmul8_scratch(m, n, batches, &self.a_zero, &self.b))?;
        let mut all = Vec::new();
        let of = product.default_loop(self.on)?;
        let mut main = right(left(product.dispatch(self.on.caps, of)?)?)?;
        let size = |n| index(KERNEL, "an extent", n);
        let mut columns_at = 0;
        if sums_rows(&self.a_zero, &self.b) {
            let rows = Span {
                bytes: 8 * (m * batches) as u64,
                ..span
            };
            columns_at = rows_bytes(m, batches) as u64;
            let sums = self.sums(product, rows, true, &self.a_zero, self.a_read)?;
            let sums = left(sums.bind("A", product.a.view.span))?;
            all.push(sums);
            main.variant = main.variant.part("row_view");
            main = main.bind("ROWS", rows).param("rows_batch", size(m)?);
        } else {
            let Zero::Known(zero) = self.a_zero else {
                return Err(Error::shape(
                    KERNEL,
                    "a zero point on the device needs row sums",
                ));
            };
            main.variant = main.variant.part("row_known");
            main = main.param("a_zero_point", zero - self.a_read.less);
        }
        let (columns, columns_batch) = match &self.b {
            Int8B::Packed { columns, .. } => (columns.span, 0),
            Int8B::Rows(view, zero) | Int8B::Cols(view, zero) => {
                let columns = Span {
                    offset: span.offset + columns_at,
                    bytes: 16 * (n * batches + 3) as u64,
                    ..span
                };
                let sums = self.sums(product, columns, false, zero, Read::right(view)?)?;
                all.push(right(sums.bind("B", view.span))?);
                (columns, n)
            }
        };
        main = main
            .bind("COLS", columns)
            .param("cols_batch", size(columns_batch)?)
            .param("k_count", index(KERNEL, "k", self.k)? as i32)
            .param("acc_pad", self.padding(product)?);
        all.push(self.output(product.c, main));
        Ok(all)
    }

    /// What the bytes that pad k contribute to an accumulator: nothing where B's are zero.
    fn padding(&self, product: &Product<'_>) -> Result<i32> {
        match &self.b {
            Int8B::Cols(view, _) => {
                let bytes = (4 * product.k - self.k) as i32;
                Ok(bytes * self.a_read.less * Read::right(view)?.less)
            }
            _ => Ok(0),
        }
    }

    /// Sums over k of A's rows or B's columns, without the parameters of the loader.
    fn sums(
        &self,
        product: &Product<'_>,
        to: Span,
        rows: bool,
        zero: &Zero<'_>,
        read: Read,
    ) -> Result<Dispatch> {
        let size = |n| index(KERNEL, "an extent", n);
        let count = if rows { product.m } else { product.n };
        let (quads, batches) = (count.div_ceil(4), product.batch.count());
        let rounds = product.k_blocks.saturating_mul(product.k.div_ceil(4) + 2);
        check_rounds(KERNEL, self.on.caps, rounds)?;
        let variant = Variant::new("line_sums")
            .part(if rows { "lines_a" } else { "lines_b" })
            .set("THREADS", SUM_THREADS)
            .set("UNSIGNED", read.unsigned)
            .alias("Elem", "u32");
        let variant = product.batch.variant(variant.part(product.k_part));
        let (loader, operand) = if rows {
            (&product.a, "A")
        } else {
            (&product.b, "B")
        };
        let variant = loader.add(KERNEL, self.on.caps, variant, INT8, operand)?;
        // Rows of a B with n contiguous are made into words whose padding is zero.
        let padded = if loader.part == "b_rows8" {
            0
        } else {
            self.tail
        };
        let ones = 0x0101_0101u32 >> (8 * ((4 - padded) % 4));
        let threads = size(quads.saturating_mul(batches))?;
        let dispatch = Dispatch::new(variant)
            .bind("SUMS", to)
            .param("m", size(product.m)?)
            .param("n", size(product.n)?)
            .param("n4", size(product.n.div_ceil(4))?)
            .param("k", size(product.k)?)
            .param("k4", size(product.k.div_ceil(4))?)
            .param("quads", size(quads)?)
            .param("batches", size(batches)?)
            .param("tail_every", size(self.word_run.max(1))?)
            .param("tail_ones", ones)
            .groups(fold_groups(
                u64::from(threads.div_ceil(SUM_THREADS)),
                self.on.caps.limits.groups,
            ))
            .work((count * batches * product.k * product.k_blocks) as u64);
        zero_point(
            zero,
            read.less,
            count,
            batches,
            product.batch.params(KERNEL, dispatch)?,
        )
    }

    fn output(&self, c: &View, dispatch: Dispatch) -> Dispatch {
        let Store::Packed8 { signed } = c.store else {
            return dispatch;
        };
        let (low, high) = if signed {
            (-128.0, 127.0)
        } else {
            (0.0, 255.0)
        };
        dispatch
            .param("c_low", low as f32)
            .param("c_high", high as f32)
            .param("c_zero", self.c_zero as f32)
    }

    fn scratch_span(&self, bytes: usize) -> Result<Span> {
        match self.scratch {
            Some(view) if view.span.bytes >= bytes as u64 => Ok(view.span),
            _ if bytes == 0 => Ok(Span::whole(tilewright_device::Slot(u32::MAX), 0)),
            _ => Err(Error::shape(
                KERNEL,
                format!("expected {bytes} bytes of scratch, got {:?}", self.scratch),
            )),
        }
    }
}

/// The zero point of `count` rows or columns as a part.
fn zero_point(
    zero: &Zero<'_>,
    less: i32,
    count: usize,
    batches: usize,
    mut dispatch: Dispatch,
) -> Result<Dispatch> {
    match zero {
        Zero::Known(value) => {
            dispatch.variant = dispatch.variant.part("zero_known");
            Ok(dispatch.param("zero_point", value - less))
        }
        Zero::Device(view) => {
            let per_batch = view.elements() == count * batches && batches > 1;
            let step = u32::from(view.elements() != 1);
            let fits = [1, count, count * batches].contains(&view.elements());
            if !fits || view.store != Store::I32 {
                return Err(Error::shape(
                    KERNEL,
                    format!("zero points {view} for {count} rows or columns"),
                ));
            }
            let per_batch = if per_batch {
                index(KERNEL, "zero points", count)?
            } else {
                0
            };
            dispatch.variant = dispatch.variant.part("zero_view");
            dispatch = dispatch.bind("ZERO", view.span).param("zero_step", step);
            Ok(dispatch
                .param("zero_batch", per_batch)
                .param("zero_less", less))
        }
    }
}
