//! MatMul: products of matrices over broadcast batches.

use super::product::{Term, multiply};
use crate::blocks::{Along, Blocks};
use crate::dim::Dim;
use crate::fact::{Facts, Tensors, broadcast};
use crate::lower::{Lower, Place, Placing, storage};
use crate::op::{Case, Operand, Operator};
use crate::{Attrs, Fact, Result, samples};
use std::num::Wrapping;
use tilewright_device::Caps;
use tilewright_kernels::{self as kernels, Epilogue, Gemm, SplitK, Store, View};
use tilewright_tensor::{DType, HostTensor, Shape};

/// ONNX MatMul-13: `numpy.matmul`. A 1-D left operand is a row, a 1-D right one a column; that axis is dropped again.
#[derive(Clone, Debug)]
pub struct MatMul;

impl Operator for MatMul {
    const NAMES: &'static [&'static str] = &["MatMul"];

    fn attrs(&self) -> Attrs {
        Attrs::new("MatMul")
    }

    fn from_attrs(_: &str, _: &Attrs) -> Result<Self> {
        Ok(MatMul)
    }

    fn infer(&self, inputs: Facts<'_>) -> Result<Vec<Fact>> {
        let (a, b) = (inputs.req(0)?, inputs.req(1)?);
        if a.dtype != b.dtype {
            return Err(inputs.error(format!("{} times {}", a.dtype, b.dtype)));
        }
        let shape = product_shape(inputs, &a.shape, &b.shape)?;
        Ok(vec![Fact::new(a.dtype, shape)])
    }

    fn work(&self, inputs: Facts<'_>, outputs: &[Fact]) -> u64 {
        crate::op::per_product(inputs, outputs)
    }

    fn reference(&self, inputs: Tensors<'_>) -> Result<Vec<HostTensor>> {
        let (a, b) = (inputs.req(0)?, inputs.req(1)?);
        let product = Product::new(inputs.op(), a.shape(), b.shape())?;
        Ok(vec![if a.dtype().is_float() {
            product.typed::<f64>(a, b)?
        } else {
            product.typed::<Wrapping<i64>>(a, b)?
        }])
    }

    fn place(&self, cx: &Placing<'_>) -> Place {
        place_product(cx)
    }

    fn lower(&self, cx: &mut Lower<'_>) -> Result<()> {
        let (mut a, mut c) = (cx.input(0)?, cx.output(0)?);
        let b_shape = cx.input(1)?.shape;
        // A vector is a row on the left and a column on the right.
        if b_shape.len() == 1 {
            c.shape.push(1);
        }
        if a.shape.len() == 1 {
            a.shape.insert(0, 1);
            c.shape.insert(c.shape.len() - 1, 1);
        }
        let epilogue = cx.epilogue(None, c.last() % 4 == 0)?;
        multiply_on_device(cx, &a, false, false, &c, epilogue.as_ref())
    }

    fn blocks(&self, cx: &Placing<'_>) -> Blocks {
        product_blocks(cx, false, false)
    }

    fn fuses(&self) -> bool {
        true
    }

    fn folds(&self) -> bool {
        false
    }

    fn half(&self, _: Operand) -> bool {
        true
    }

    fn cases() -> Vec<Case> {
        let x = |shape: &[usize], seed| samples::uniform(shape, seed);
        let case =
            |name: &str, a: &[usize], b: &[usize]| Case::new(name, MatMul, vec![x(a, 1), x(b, 2)]);
        let of = |dtype, shape: &[usize], seed| samples::integers(dtype, shape, seed, -50, 50);
        let half = |shape: &[usize], seed| {
            let t = x(shape, seed).cast(DType::F16);
            t.expect("f32 to f16 always works")
        };
        let wide = |shape: &[usize], seed| {
            let t = x(shape, seed).cast(DType::F64);
            t.expect("f32 to f64 always works")
        };
        vec![
            case("2-D", &[5, 7], &[7, 3]),
            case("multiples of four", &[16, 32], &[32, 64]),
            case("beyond a tile", &[67, 130], &[130, 71]),
            case("one row", &[1, 300], &[300, 40]),
            case("row vector", &[7], &[2, 7, 3]),
            case("column vector", &[2, 5, 7], &[7]),
            case("long column", &[37, 130], &[130, 1]),
            case("two vectors", &[9], &[9]),
            case("batch", &[2, 3, 5, 7], &[2, 3, 7, 4]),
            case("broadcast batch", &[3, 1, 5, 7], &[2, 7, 4]),
            case("one weight for a batch", &[2, 3, 5, 8], &[8, 12]),
            case("few outputs of long sums", &[10, 1030], &[1030, 7]),
            case("few rows of long sums", &[2, 2050], &[2050, 8]),
            case("no terms", &[3, 0], &[0, 2]),
            case("no rows", &[0, 4], &[4, 2]),
            Case::new("constant", MatMul, vec![x(&[9, 20], 1), x(&[20, 24], 2)]).constant(&[1]),
            Case::new(
                "i32",
                MatMul,
                vec![of(DType::I32, &[3, 5], 1), of(DType::I32, &[5, 4], 2)],
            ),
            Case::new(
                "u64",
                MatMul,
                vec![of(DType::U64, &[3, 5], 1), of(DType::U64, &[5, 4], 2)],
            ),
            Case::new("f16", MatMul, vec![half(&[3, 6], 1), half(&[6, 4], 2)]),
            Case::new("f64", MatMul, vec![wide(&[3, 6], 1), wide(&[6, 4], 2)]),
        ]
    }
}

/// A product of floats with at least one term runs on the device.
pub(super) fn place_product(cx: &Placing<'_>) -> Place {
    let empty = |i: usize| {
        let fact = cx.inputs.opt(i);
        fact.is_some_and(|f| f.elements().known() == Some(0))
    };
    if empty(0) || empty(1) {
        return Place::host("a product without terms");
    }
    cx.floats_only()
}

/// Emits `c = epilogue(a * b)` for input 1 as b: from packed panels where it is a constant matrix.
pub(super) fn multiply_on_device(
    cx: &mut Lower<'_>,
    a: &View,
    trans_a: bool,
    trans_b: bool,
    c: &View,
    epilogue: Option<&Epilogue>,
) -> Result<()> {
    let mut b = cx.input(1)?;
    if b.shape.len() == 1 {
        b.shape.push(1);
    }
    let matrix = b.shape.len() == 2 || b.shape[..b.shape.len() - 2].iter().all(|&n| n == 1);
    if let Some([row, right, turned]) = as_row(a, trans_a, &b, c, matrix && epilogue.is_none()) {
        let product = Gemm::of(&row, false, &right, !trans_a, &turned, None)?;
        return emit_product(cx, &product);
    }
    if cx.weight(1).is_none() || !matrix {
        let product = Gemm::of(a, trans_a, &b, trans_b, c, epilogue)?;
        return emit_product(cx, &product);
    }
    let width = kernels::panel_width(cx.caps());
    let shape = b.shape[b.shape.len() - 2..].to_vec();
    let (k, n) = (shape[usize::from(trans_b)], c.last());
    let per = columns_of_a_binding(cx.caps(), k, b.store == Store::F16);
    for first in (0..n).step_by(per.max(width)) {
        let columns = first..(first + per.max(width)).min(n);
        let mut key = format!("panels {width} {shape:?} {trans_b}");
        if columns.len() < n {
            key += &format!(" {columns:?}");
        }
        let packed = cx.packed(1, &key, |b| {
            let b = b.reshape(&shape[..])?;
            let packed = kernels::pack_b_columns(&b, trans_b, width, columns.clone())?;
            Ok(packed.cast(DType::F32)?)
        })?;
        let product = Gemm::of_columns(a, trans_a, &packed, width, c, columns, epilogue)?;
        emit_product(cx, &product)?;
    }
    Ok(())
}

/// A * column as row * A^T, with the operands and the result as matrices: few rows have a kernel of their own, and a column is
/// a row in memory. `plain`: there is one B, and no epilogue that would have to be turned as well.
fn as_row(a: &View, trans_a: bool, b: &View, c: &View, plain: bool) -> Option<[View; 3]> {
    let (batch, matrix) = a.shape.split_last_chunk::<2>()?;
    let [m, k] = if trans_a {
        [matrix[1], matrix[0]]
    } else {
        *matrix
    };
    let rows = batch.iter().product::<usize>() * m;
    if !plain || c.last() != 1 || rows < 2 || (trans_a && rows != m) {
        return None;
    }
    let with = |view: &View, shape: [usize; 2]| {
        let mut view = view.clone();
        view.shape = shape.to_vec();
        view
    };
    let right = if trans_a { [k, rows] } else { [rows, k] };
    Some([with(b, [1, k]), with(a, right), with(c, [1, rows])])
}

/// Emits a product, in parts along k where the adapter would otherwise have too little to do.
pub(super) fn emit_product(cx: &mut Lower<'_>, product: &Gemm<'_>) -> Result<()> {
    let dispatches = match SplitK::of(cx.caps(), product) {
        Some(cut) => {
            let scratch = cx.scratch(Store::F32, cut.scratch(product));
            kernels::split_k(cx.target(), product, cut, &scratch)?
        }
        None => kernels::gemm(cx.target(), product)?,
    };
    cx.emit(dispatches);
    Ok(())
}

/// How many columns of panels of `k` rows one binding holds.
fn columns_of_a_binding(caps: &Caps, k: usize, half: bool) -> usize {
    let width = kernels::panel_width(caps);
    let row = width as u64 * if half { 2 } else { 4 };
    let panel = row.saturating_mul(k.next_multiple_of(4) as u64).max(1);
    let panels = caps.limits.binding_bytes / panel;
    usize::try_from(panels).map_or(usize::MAX, |n| n.saturating_mul(width))
}

/// Rows of a product are those of A. A constant matrix B is bound by columns, any other as it is.
pub(super) fn product_blocks(cx: &Placing<'_>, trans_a: bool, trans_b: bool) -> Blocks {
    let (a, b, c) = (cx.inputs.opt(0), cx.inputs.opt(1), cx.outputs.first());
    let (Some(a), Some(b), Some(c)) = (a, b, c) else {
        return Blocks::none();
    };
    let one = |n: &Dim| n.known() == Some(1);
    let batch = b.rank().saturating_sub(2);
    if !b.shape[..batch].iter().all(one) {
        return Blocks::rows(c.rank().saturating_sub(2), [Along::Broadcast; 2]);
    }
    let k = b.extent(batch + usize::from(trans_b && b.rank() > 1));
    let half = storage(b.dtype, cx.caps) == Some(Store::F16);
    let k = usize::try_from(k).unwrap_or(usize::MAX);
    let right = match b.weight().is_some() && columns_of_a_binding(cx.caps, k, half) > 0 {
        true => Along::Pieces,
        false => Along::Whole,
    };
    let by_rows = !trans_a && b.rank() > 1 && a.rank() == c.rank();
    let axes = if by_rows {
        c.rank().saturating_sub(1)
    } else {
        0
    };
    Blocks::rows(axes, [Along::Leading, right])
}

/// The shape of a product by NumPy's rules.
pub(super) fn product_shape(inputs: Facts<'_>, a: &[Dim], b: &[Dim]) -> Result<Vec<Dim>> {
    let (Some(a_last), Some(b_last)) = (a.last(), b.last()) else {
        return Err(inputs.error("a scalar has no product with a matrix"));
    };
    let inner = if b.len() == 1 {
        b_last
    } else {
        &b[b.len() - 2]
    };
    if let (Some(k), Some(l)) = (a_last.known(), inner.known())
        && k != l
    {
        return Err(inputs.error(format!("{a:?} times {b:?}: {k} columns meet {l} rows")));
    }
    let batch = |s: &[Dim]| s[..s.len().saturating_sub(2)].to_vec();
    let mut out = broadcast(inputs.op(), &[&batch(a), &batch(b)])?;
    out.extend((a.len() > 1).then(|| a[a.len() - 2].clone()));
    out.extend((b.len() > 1).then(|| b_last.clone()));
    Ok(out)
}

/// A product with plain sizes.
#[derive(Debug)]
pub(super) struct Product {
    pub(super) m: usize,
    pub(super) k: usize,
    pub(super) n: usize,
    /// For each product of the batch the index of its matrix in either operand.
    pub(super) matrices: Vec<[usize; 2]>,
    /// Shape of the result.
    pub(super) shape: Vec<usize>,
}

impl Product {
    pub(super) fn new(op: &'static str, a: &[usize], b: &[usize]) -> Result<Product> {
        let facts = [a, b].map(|s| Fact::sized(DType::F32, s));
        let facts = [Some(&facts[0]), Some(&facts[1])];
        let inputs = Facts::new(op, &facts);
        let shape = product_shape(inputs, &facts_shape(inputs, 0)?, &facts_shape(inputs, 1)?)?;
        let shape = Fact::new(DType::F32, shape).bind(&Default::default())?;
        let batch_of = |s: &[usize]| Shape::from(&s[..s.len().saturating_sub(2)]);
        let (a_batch, b_batch) = (batch_of(a), batch_of(b));
        let batch = Shape::broadcast(&[&a_batch, &b_batch])?;
        let strides = (
            a_batch.broadcast_strides(&batch)?,
            b_batch.broadcast_strides(&batch)?,
        );
        Ok(Product {
            m: if a.len() > 1 { a[a.len() - 2] } else { 1 },
            k: a.last().copied().unwrap_or(1),
            n: if b.len() > 1 { b[b.len() - 1] } else { 1 },
            matrices: batch.offsets([&strides.0, &strides.1]).collect(),
            shape,
        })
    }

    fn typed<T: Term>(&self, a: &HostTensor, b: &HostTensor) -> Result<HostTensor> {
        T::write(
            a.dtype(),
            &self.shape,
            self.values(&T::read(a)?, &T::read(b)?),
        )
    }

    /// The elements of the result.
    pub(super) fn values<T: Term>(&self, a: &[T], b: &[T]) -> Vec<T> {
        let Product { m, k, n, .. } = *self;
        let mut out = vec![T::default(); self.matrices.len() * m * n];
        for ([i, j], out) in self.matrices.iter().zip(out.chunks_mut((m * n).max(1))) {
            multiply(
                &a[i * m * k..][..m * k],
                &b[j * k * n..][..k * n],
                out,
                k,
                n,
            );
        }
        out
    }
}

fn facts_shape(inputs: Facts<'_>, i: usize) -> Result<Vec<Dim>> {
    Ok(inputs.req(i)?.shape.clone())
}
