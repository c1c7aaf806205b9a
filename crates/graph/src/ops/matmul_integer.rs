//! MatMulInteger and QLinearMatMul: products of quantised matrices.

use super::int8::{self, ColumnValues, Columns, LeftZero};
use super::matmul::{Product, product_shape};
use crate::blocks::{Along, Blocks};
use crate::fact::{Facts, Tensors};
use crate::lower::{Lower, Place, Placing};
use crate::op::{Case, Operator};
use crate::{Attrs, Dim, Fact, Result, samples};
use tilewright_device::Caps;
use tilewright_kernels::{self as kernels, Int8B, View, Zero};
use tilewright_tensor::{DType, HostTensor};

/// ONNX MatMulInteger-10: the product of 8-bit matrices minus their zero points, in i32. Zero points are scalars, or one a row
/// of A and one a column of B.
#[derive(Clone, Debug)]
pub struct MatMulInteger;

impl Operator for MatMulInteger {
    const NAMES: &'static [&'static str] = &["MatMulInteger"];

    fn attrs(&self) -> Attrs {
        Attrs::new("MatMulInteger")
    }

    fn from_attrs(_: &str, _: &Attrs) -> Result<Self> {
        Ok(MatMulInteger)
    }

    fn infer(&self, inputs: Facts<'_>) -> Result<Vec<Fact>> {
        let (a, b) = (inputs.req(0)?, inputs.req(1)?);
        bytes_only(inputs, &[a, b])?;
        let shape = product_shape(inputs, &a.shape, &b.shape)?;
        Ok(vec![Fact::new(DType::I32, shape)])
    }

    fn work(&self, inputs: Facts<'_>, outputs: &[Fact]) -> u64 {
        crate::op::per_product(inputs, outputs)
    }

    fn reference(&self, inputs: Tensors<'_>) -> Result<Vec<HostTensor>> {
        let (a, b) = (inputs.req(0)?, inputs.req(1)?);
        let product = Product::new(inputs.op(), a.shape(), b.shape())?;
        let a = centred(a, inputs.opt(2), Side::Rows)?;
        let b = centred(b, inputs.opt(3), Side::Columns)?;
        let y = product.values(&a, &b);
        Ok(vec![HostTensor::from_f64(
            DType::I32,
            &product.shape[..],
            y,
        )?])
    }

    fn place(&self, cx: &Placing<'_>) -> Place {
        place_integer(cx)
    }

    fn lower(&self, cx: &mut Lower<'_>) -> Result<()> {
        let (a, b, y) = matrices(cx, 1)?;
        let a_zero = LeftZero::new(cx, 2)?;
        let a = int8::packed(cx, 0, a)?;
        let [m, n] = [y.shape[y.shape.len() - 2], y.last()];
        let batches = y.elements() / (m * n).max(1);
        let constant = cx.weight(1).is_some() && b.len() == 2;
        let known = cx.opt_input(3).is_none() || cx.weight(3).is_some();
        if constant && known {
            let values = ColumnValues {
                zeros: int8::integers(cx, 3, 0)?,
                bias: vec![],
                scales: vec![1.0],
            };
            let columns = columns(cx, 1, b, &values)?;
            let b = columns.operands();
            return multiply(cx, &a, a_zero.zero(), &b, [m, n, batches], &y, None);
        }
        let b = int8::packed(cx, 1, b)?;
        let b_zero = LeftZero::new(cx, 3)?;
        let operand = [Int8B::Rows(&b, b_zero.zero())];
        multiply(cx, &a, a_zero.zero(), &operand, [m, n, batches], &y, None)
    }

    fn blocks(&self, cx: &Placing<'_>) -> Blocks {
        blocks(cx, 1)
    }

    fn folds(&self) -> bool {
        false
    }

    fn cases() -> Vec<Case> {
        let case = |name: &str, tensors: Vec<Option<HostTensor>>| {
            let present: Vec<usize> = (1..tensors.len()).collect();
            Case::with_optional(name, MatMulInteger, tensors).constant(&present)
        };
        let (u, i) = (DType::U8, DType::I8);
        let of = |dtype, shape: &[usize], seed| Some(any(dtype, shape, seed));
        vec![
            case(
                "u8 by i8",
                vec![of(u, &[5, 9], 1), of(i, &[9, 6], 2), of(u, &[], 3)],
            ),
            case("i8 by i8", vec![of(i, &[8, 16], 1), of(i, &[16, 32], 2)]),
            case(
                "u8 by u8",
                vec![
                    of(u, &[4, 8], 1),
                    of(u, &[8, 4], 2),
                    of(u, &[1], 3),
                    of(u, &[], 4),
                ],
            ),
            case(
                "rows and columns",
                vec![
                    of(u, &[4, 7], 1),
                    of(i, &[7, 5], 2),
                    of(u, &[4], 3),
                    of(i, &[5], 4),
                ],
            ),
            case(
                "batch",
                vec![
                    of(u, &[2, 1, 3, 7], 1),
                    of(i, &[2, 7, 5], 2),
                    of(u, &[2, 1, 3, 1], 3),
                    of(i, &[2, 1, 5], 4),
                ],
            ),
            case(
                "vector",
                vec![of(i, &[7], 1), of(i, &[7, 5], 2), None, of(i, &[], 4)],
            )
            .constant(&[1]),
            Case::with_optional(
                "run time",
                MatMulInteger,
                vec![of(u, &[5, 9], 1), of(i, &[9, 6], 2), of(u, &[], 3)],
            ),
        ]
    }
}

/// ONNX QLinearMatMul-21. Inputs: A, its scale and zero point, the same of B, scale and zero point of Y.
///
/// `Y = saturate(round(f32(sum) * f32(f32(a_scale * b_scale) / y_scale)) + y_zero)`: the order of roundings that every
/// runtime follows, which decides ties.
#[derive(Clone, Debug)]
pub struct QLinearMatMul;

impl Operator for QLinearMatMul {
    const NAMES: &'static [&'static str] = &["QLinearMatMul"];

    fn attrs(&self) -> Attrs {
        Attrs::new("QLinearMatMul")
    }

    fn from_attrs(_: &str, _: &Attrs) -> Result<Self> {
        Ok(QLinearMatMul)
    }

    fn infer(&self, inputs: Facts<'_>) -> Result<Vec<Fact>> {
        (0..8).try_for_each(|i| inputs.req(i).map(drop))?;
        let (a, b, zero) = (inputs.req(0)?, inputs.req(3)?, inputs.req(7)?);
        bytes_only(inputs, &[a, b, zero])?;
        let shape = product_shape(inputs, &a.shape, &b.shape)?;
        int8::parameters(inputs, &[6, 7], &[], &Dim::from(1i64))?;
        Ok(vec![Fact::new(zero.dtype, shape)])
    }

    fn work(&self, inputs: Facts<'_>, outputs: &[Fact]) -> u64 {
        crate::op::per_product(inputs, outputs)
    }

    fn reference(&self, inputs: Tensors<'_>) -> Result<Vec<HostTensor>> {
        let (a, b) = (inputs.req(0)?, inputs.req(3)?);
        let product = Product::new(inputs.op(), a.shape(), b.shape())?;
        let (a_shape, b_shape) = (a.shape(), b.shape());
        let a = centred(a, inputs.opt(2), Side::Rows)?;
        let b = centred(b, inputs.opt(5), Side::Columns)?;
        let sums = product.values(&a, &b);
        // One scale for each element of A's rows and B's columns, looked up by the first element of either.
        let a_scales = spread(inputs.req(1)?, a_shape, Side::Rows)?;
        let b_scales = spread(inputs.req(4)?, b_shape, Side::Columns)?;
        let y_scale = first(inputs.req(6)?) as f32;
        let Product { m, k, n, .. } = product;
        let factors = product.matrices.iter().flat_map(|[i, j]| {
            let (a, b) = (&a_scales, &b_scales);
            (0..m * n).map(move |at| {
                let (row, column) = (i * m * k + at / n * k, j * k * n + at % n);
                let scale = |s: &[f64], at: usize| s.get(at).copied().unwrap_or(1.0) as f32;
                scale(a, row) * scale(b, column) / y_scale
            })
        });
        let zero = inputs.req(7)?;
        let y = requantised(sums.into_iter().zip(factors), zero);
        Ok(vec![HostTensor::from_f64(
            zero.dtype(),
            &product.shape[..],
            y,
        )?])
    }

    fn place(&self, cx: &Placing<'_>) -> Place {
        if let Some(host) = int8::need_constants(cx, &[1, 2, 3, 4, 5, 6, 7]) {
            return host;
        }
        let b = cx.inputs.opt(3);
        if b.is_none_or(|b| b.rank() != 2) || !int8::has_terms(cx, [0, 3]) {
            return Place::host("only a matrix on the right has a kernel");
        }
        let columns = b.and_then(|b| b.shape.last()).and_then(Dim::known);
        let one = |i: &usize| int8::elements(cx, *i) == Some(1);
        let one_each = |i: &usize| one(i) || int8::elements(cx, *i) == columns;
        if ![1, 2, 6, 7].iter().all(one) || ![4, 5].iter().all(one_each) {
            return Place::host("only one scale a tensor, or one a column, have a kernel");
        }
        cx.by_storage_of(&[0])
    }

    fn lower(&self, cx: &mut Lower<'_>) -> Result<()> {
        let (a, b, y) = matrices(cx, 3)?;
        let a = int8::packed(cx, 0, a)?;
        let a_zero = Zero::Known(int8::integers(cx, 2, 0)?[0]);
        let [m, n] = [y.shape[y.shape.len() - 2], y.last()];
        let batches = y.elements() / (m * n).max(1);
        let (a_scale, y_scale) = (int8::floats(cx, 1)?[0], int8::floats(cx, 6)?[0]);
        let scales = int8::floats(cx, 4)?.into_iter();
        let values = ColumnValues {
            zeros: int8::integers(cx, 5, 0)?,
            bias: vec![],
            scales: scales.map(|s| a_scale * s / y_scale).collect(),
        };
        let columns = columns(cx, 3, b, &values)?;
        let y_zero = int8::integers(cx, 7, 0)?[0];
        let b = columns.operands();
        multiply(cx, &a, a_zero, &b, [m, n, batches], &y, Some(y_zero))
    }

    fn blocks(&self, cx: &Placing<'_>) -> Blocks {
        blocks(cx, 3)
    }

    fn folds(&self) -> bool {
        false
    }

    fn cases() -> Vec<Case> {
        let scale = |v: f32| samples::of(&[], &[v]);
        let case = |name: &str,
                    a: HostTensor,
                    b: HostTensor,
                    zeros: [HostTensor; 3],
                    scales: [HostTensor; 2]| {
            let ([za, zb, zy], [sa, sb]) = (zeros, scales);
            let inputs = vec![a, sa, za, b, sb, zb, scale(2.1), zy];
            Case::new(name, QLinearMatMul, inputs).constant(&[1, 2, 3, 4, 5, 6, 7])
        };
        let (u, i) = (DType::U8, DType::I8);
        let zeros = |a, b, y| [any(a, &[], 3), any(b, &[], 4), any(y, &[], 5)];
        let plain = || [scale(0.02), scale(0.03)];
        let columns = [scale(0.02), samples::between(&[6], 1, 0.01, 0.05)];
        let column_zeros = [any(u, &[], 3), any(i, &[6], 4), any(i, &[], 5)];
        vec![
            case(
                "u8",
                any(u, &[5, 9], 1),
                any(u, &[9, 6], 2),
                zeros(u, u, u),
                plain(),
            ),
            case(
                "i8",
                any(i, &[8, 16], 1),
                any(i, &[16, 12], 2),
                zeros(i, i, i),
                plain(),
            ),
            case(
                "batch",
                any(u, &[2, 3, 9], 1),
                any(i, &[2, 9, 6], 2),
                zeros(u, i, u),
                plain(),
            ),
            case(
                "columns",
                any(u, &[5, 9], 1),
                any(i, &[9, 6], 2),
                column_zeros,
                columns,
            ),
        ]
    }
}

/// Zero points that a kernel can read: one, or one a row of A (column of B).
fn place_integer(cx: &Placing<'_>) -> Place {
    if !int8::has_terms(cx, [0, 1]) {
        return Place::host("a product without terms");
    }
    for (operand, zero) in [(0, 2), (1, 3)] {
        let (Some(of), Some(zero)) = (cx.inputs.opt(operand), cx.inputs.opt(zero)) else {
            continue;
        };
        let side = match (operand, &of.shape[..]) {
            (0, [.., rows, _]) => Some(rows),
            (1, [_, .., columns]) => Some(columns),
            _ => None,
        };
        let one = zero.elements().known() == Some(1);
        let per_side = of.rank() == 2 && side == Some(&zero.elements());
        if !one && !per_side {
            return Place::host("zero points by row and batch have no kernel");
        }
    }
    cx.by_storage()
}

/// Shapes of the operands and the output with at least two axes. `b` is the right operand's input.
fn matrices(cx: &Lower<'_>, b: usize) -> Result<(Vec<usize>, Vec<usize>, View)> {
    let (mut a, mut b, mut y) = (cx.input(0)?.shape, cx.input(b)?.shape, cx.output(0)?);
    if b.len() == 1 {
        b.push(1);
        y.shape.push(1);
    }
    if a.len() == 1 {
        a.insert(0, 1);
        y.shape.insert(y.shape.len() - 1, 1);
    }
    Ok((a, b, y))
}

/// The constant input `i` of shape `[k, n]` as right operand.
fn columns(
    cx: &mut Lower<'_>,
    i: usize,
    shape: Vec<usize>,
    values: &ColumnValues,
) -> Result<Columns> {
    let caps = cx.caps().clone();
    let key = format!("{shape:?}");
    let (k, n) = (shape[0], shape[1]);
    let per = columns_of_a_binding(&caps, k).max(kernels::panel_width(&caps));
    let parts: Vec<Option<[usize; 2]>> = match per >= n {
        true => vec![None],
        false => (0..n)
            .step_by(per)
            .map(|i| Some([i, (i + per).min(n)]))
            .collect(),
    };
    let words = |b: &HostTensor, part: Option<[usize; 2]>| {
        let [first, end] = part.unwrap_or([0, n]);
        let b = b.reshape(&shape[..])?;
        Ok(kernels::pack_b8_columns(&caps, &b, false, first..end)?)
    };
    let by_column = |b: &HostTensor| int8::transposed(&b.reshape(&shape[..])?);
    Columns::new(cx, i, key, values, &parts, words, by_column)
}

/// Emits the product of `m`, `n` and a number of batches; with a zero point `y` is of 8 bits.
fn multiply(
    cx: &mut Lower<'_>,
    a: &View,
    a_zero: Zero<'_>,
    b: &[Int8B<'_>],
    [m, n, batches]: [usize; 3],
    y: &View,
    y_zero: Option<i32>,
) -> Result<()> {
    let bytes = b.iter();
    let bytes = bytes.map(|b| kernels::matmul8_scratch(m, n, batches, &a_zero, b));
    let bytes = bytes.max().unwrap_or(0);
    let narrow = y_zero.map(|_| int8::store8(cx.output_dtype(0)));
    int8::emit(cx, bytes, y, narrow, |cx, y, scratch| {
        let zero = y_zero.unwrap_or(0);
        let mut all = vec![];
        for &b in b {
            let on = cx.target();
            all.extend(kernels::matmul8(on, a, a_zero, b, y, zero, None, scratch)?);
        }
        Ok(all)
    })
}

/// How many columns of panels of `k` rows one binding holds.
fn columns_of_a_binding(caps: &Caps, k: usize) -> usize {
    let width = kernels::panel_width(caps);
    let panel = 4 * width * k.div_ceil(4).next_multiple_of(4);
    let panels = caps.limits.binding_bytes / (panel as u64).max(1);
    usize::try_from(panels).map_or(usize::MAX, |n| n.saturating_mul(width))
}

/// Rows of a product are those of A, if all have one zero point. A constant matrix B, in input `b`, is bound by columns.
fn blocks(cx: &Placing<'_>, b: usize) -> Blocks {
    let (a, right, y) = (cx.inputs.opt(0), cx.inputs.opt(b), cx.outputs.first());
    let (Some(a), Some(right), Some(y)) = (a, right, y) else {
        return Blocks::none();
    };
    let shape = right.known_shape().filter(|_| right.weight().is_some());
    let (Some(&[k, n]), true) = (shape.as_deref(), a.rank() > 1) else {
        return Blocks::none();
    };
    let limit = cx.caps.limits.binding_bytes;
    let table = 16 * (n as u64 + 3) <= limit;
    let mut inputs = vec![Along::Leading];
    inputs.resize(b, Along::Whole);
    if table && columns_of_a_binding(cx.caps, k) > 0 {
        inputs.push(Along::Pieces);
    }
    // The zero point of A.
    let one = int8::elements(cx, 2).is_none_or(|n| n == 1);
    Blocks::rows(if one { y.rank() - 1 } else { 0 }, inputs)
}

/// A tensor of all values of a narrow type.
pub(super) fn any(dtype: DType, shape: &[usize], seed: u64) -> HostTensor {
    let (low, high) = dtype.range();
    samples::integers(dtype, shape, seed, low as i64, high as i64 + 1)
}

/// Refuses anything but 8-bit integers.
pub(super) fn bytes_only(inputs: Facts<'_>, facts: &[&Fact]) -> Result<()> {
    let is_byte = |f: &&&Fact| !matches!(f.dtype, DType::I8 | DType::U8);
    match facts.iter().find(is_byte) {
        Some(f) => Err(inputs.error(format!("expected 8-bit integers, got {}", f.dtype))),
        None => Ok(()),
    }
}

/// Which elements of a matrix share a zero point or scale.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Side {
    Rows,
    Columns,
}

/// A parameter for every element of a tensor of `shape`: one for all, a vector along a side, or `[.., m, 1]`, `[.., 1, n]`.
fn spread(
    parameter: &HostTensor,
    shape: &tilewright_tensor::Shape,
    side: Side,
) -> Result<Vec<f64>> {
    let mut own = parameter.shape().clone();
    if own.rank() == 1 && own[0] != 1 && side == Side::Rows && shape.rank() > 1 {
        own = vec![own[0], 1].into();
    }
    if parameter.len() == 1 {
        own = vec![].into();
    }
    let (values, strides) = (parameter.to_f64(), own.broadcast_strides(shape)?);
    Ok(shape.offsets([&strides]).map(|[i]| values[i]).collect())
}

fn centred(tensor: &HostTensor, zero: Option<&HostTensor>, side: Side) -> Result<Vec<f64>> {
    let values = tensor.to_f64();
    let Some(zero) = zero else {
        return Ok(values);
    };
    let zeros = spread(zero, tensor.shape(), side)?;
    Ok(values.iter().zip(zeros).map(|(v, z)| v - z).collect())
}

/// The only element of a parameter.
pub(super) fn first(parameter: &HostTensor) -> f64 {
    parameter.to_f64().first().copied().unwrap_or(0.0)
}

/// Pairs of sum and factor as elements of the type of `zero`.
pub(super) fn requantised(pairs: impl Iterator<Item = (f64, f32)>, zero: &HostTensor) -> Vec<f64> {
    let (low, high) = zero.dtype().range();
    let zero = first(zero);
    let one = |(sum, factor): (f64, f32)| {
        let scaled = f64::from(sum as f32 * factor);
        (scaled.round_ties_even() + zero).clamp(low, high)
    };
    pairs.map(one).collect()
}
