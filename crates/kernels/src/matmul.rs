//! Matrix products by numpy's rules: batch axes broadcast, the last two axes are the matrices.

use std::ops::Range;

use tilewright_device::Dispatch;

use crate::{Epilogue, Error, Gemm, Layout, Operand, Result, Target, View, gemm};

const KERNEL: &str = "matmul";

impl<'a> Gemm<'a> {
    /// The product C\[.., m, n\] = epilogue(A\[.., m, k\] * B\[.., k, n\]), each of rank 2 or more, A and B as stored or transposed
    /// in their last two axes; other axes broadcast as in numpy.matmul (ONNX MatMul, Gemm).
    ///
    /// # Errors
    /// [`Error::Shape`] where the shapes do not fit.
    pub fn of(
        a: &'a View,
        trans_a: bool,
        b: &'a View,
        trans_b: bool,
        c: &'a View,
        epilogue: Option<&'a Epilogue>,
    ) -> Result<Self> {
        let ([ra, ca], batch_a) = split("A", a)?;
        let ([rb, cb], batch_b) = split("B", b)?;
        let ([rc, cc], batch) = split("C", c)?;
        let (m, k) = if trans_a { (ca, ra) } else { (ra, ca) };
        let (kb, n) = if trans_b { (cb, rb) } else { (rb, cb) };
        if k != kb || rc != m || cc != n {
            let what = format!(
                "{:?} times {:?} (transposed: {trans_a}, {trans_b}) into {:?}",
                a.shape, b.shape, c.shape
            );
            return Err(Error::shape(KERNEL, what));
        }
        let layout = |trans| if trans { Layout::Cols } else { Layout::Rows };
        let strides_a = strides("A", batch_a, ra * ca, batch)?;
        let strides_b = strides("B", batch_b, rb * cb, batch)?;
        let mut product = Self {
            m,
            n,
            k,
            batch: batch.to_vec(),
            a: operand(a, layout(trans_a), ca, strides_a),
            b: operand(b, layout(trans_b), cb, strides_b),
            c: operand(c, Layout::Rows, n, strides("C", batch, m * n, batch)?),
            epilogue,
        };
        merge_rows(&mut product);
        Ok(product)
    }

    /// The product by some columns of a constant B of rank 2 in panels ([`pack_b`](crate::pack_b), panels of `width` columns) into the
    /// same columns of C, the first of them a multiple of 4: `b` holds these columns alone.
    ///
    /// # Errors
    /// As [`Gemm::of`].
    pub fn of_columns(
        a: &'a View,
        trans_a: bool,
        b: &'a View,
        width: usize,
        c: &'a View,
        columns: Range<usize>,
        epilogue: Option<&'a Epilogue>,
    ) -> Result<Self> {
        let ([ra, ca], batch_a) = split("A", a)?;
        let ([rc, ld], batch) = split("C", c)?;
        let (m, k) = if trans_a { (ca, ra) } else { (ra, ca) };
        if rc != m || columns.end > ld {
            let what = format!(
                "{:?} (transposed: {trans_a}) times packed B into columns {columns:?} of {:?}",
                a.shape, c.shape
            );
            return Err(Error::shape(KERNEL, what));
        }
        let layout = if trans_a { Layout::Cols } else { Layout::Rows };
        let of_c = match columns.start {
            0 if columns.end == ld => Layout::Rows,
            first => Layout::Columns { first },
        };
        let panels = Layout::Panels { width };
        let mut product = Self {
            m,
            n: columns.len(),
            k,
            batch: batch.to_vec(),
            a: operand(a, layout, ca, strides("A", batch_a, ra * ca, batch)?),
            b: operand(b, panels, k.next_multiple_of(4), vec![0; batch.len()]),
            c: operand(c, of_c, ld, strides("C", batch, m * ld, batch)?),
            epilogue,
        };
        merge_rows(&mut product);
        Ok(product)
    }
}

/// Dispatches [`Gemm::of`] these tensors.
///
/// # Errors
/// Those of [`Gemm::of`] and [`gemm`].
pub fn matmul<'a>(
    on: impl Into<Target<'a>>,
    a: &View,
    trans_a: bool,
    b: &View,
    trans_b: bool,
    c: &View,
    epilogue: Option<&Epilogue>,
) -> Result<Vec<Dispatch>> {
    gemm(on, &Gemm::of(a, trans_a, b, trans_b, c, epilogue)?)
}

/// [`matmul`] with a constant B of rank 2 in panels: [`pack_b`](crate::pack_b) of k x `n`, columns in panels of `width`.
///
/// # Errors
/// As [`matmul`].
pub fn matmul_packed<'a>(
    on: impl Into<Target<'a>>,
    a: &View,
    trans_a: bool,
    b: &View,
    width: usize,
    c: &View,
    epilogue: Option<&Epilogue>,
) -> Result<Vec<Dispatch>> {
    let columns = 0..c.last();
    gemm(
        on,
        &Gemm::of_columns(a, trans_a, b, width, c, columns, epilogue)?,
    )
}

fn operand(view: &View, layout: Layout, ld: usize, batch: Vec<usize>) -> Operand<'_> {
    Operand {
        view,
        layout,
        ld,
        batch,
    }
}

/// The last two extents and the batch extents.
pub(crate) fn split<'a>(name: &str, view: &'a View) -> Result<([usize; 2], &'a [usize])> {
    match view.shape.split_last_chunk() {
        Some((batch, &matrix)) => Ok((matrix, batch)),
        None => Err(Error::shape(
            KERNEL,
            format!("{name} is {:?}, expected rank 2 or more", view.shape),
        )),
    }
}

/// Strides of an operand's batches along the axes of the result.
pub(crate) fn strides(
    name: &str,
    own: &[usize],
    matrix: usize,
    batch: &[usize],
) -> Result<Vec<usize>> {
    let wrong = || {
        Error::shape(
            KERNEL,
            format!("batch axes {own:?} of {name} do not broadcast to {batch:?}"),
        )
    };
    let missing = batch.len().checked_sub(own.len()).ok_or_else(wrong)?;
    let mut strides = vec![0; batch.len()];
    let mut stride = matrix;
    for (axis, &size) in own.iter().enumerate().rev() {
        if size != 1 && size != batch[missing + axis] {
            return Err(wrong());
        }
        if size != 1 {
            strides[missing + axis] = stride;
        }
        stride *= size;
    }
    Ok(strides)
}

/// Where all batches share B and follow each other in A and C, they are more rows of one product.
fn merge_rows(product: &mut Gemm<'_>) {
    while let Some(axis) = product.batch.len().checked_sub(1) {
        let shared = product.b.batch[axis] == 0 && product.a.layout == Layout::Rows;
        let follows = |of: &Operand<'_>| of.batch[axis] == product.m * of.ld;
        if !(product.batch[axis] == 1 || shared && follows(&product.a) && follows(&product.c)) {
            return;
        }
        product.m *= product.batch[axis];
        product.batch.truncate(axis);
        for of in [&mut product.a, &mut product.b, &mut product.c] {
            of.batch.truncate(axis);
        }
    }
}
