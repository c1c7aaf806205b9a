//! Gemm: one matrix product with transposes, factors and a bias.

use super::matmul::{multiply_on_device, place_product, product_blocks};
use super::product::{Term, multiply};
use crate::blocks::{Along, Blocks};
use crate::dim::Dim;
use crate::fact::{Facts, Tensors};
use crate::lower::{Lower, Place, Placing};
use crate::op::{Case, Operand, Operator};
use crate::{Attrs, Fact, Result, samples};
use std::num::Wrapping;
use tilewright_kernels::Epilogue;
use tilewright_tensor::{DType, HostTensor, Shape};

/// ONNX Gemm-13: `alpha * A' * B' + beta * C`, where C broadcasts to the product's shape and may be left out.
#[derive(Clone, Debug, PartialEq)]
pub struct Gemm {
    /// Factor of the product.
    pub alpha: f32,
    /// Factor of C.
    pub beta: f32,
    /// A comes as `[k, m]`.
    pub trans_a: bool,
    /// B comes as `[n, k]`.
    pub trans_b: bool,
}

impl Default for Gemm {
    fn default() -> Self {
        Gemm {
            alpha: 1.0,
            beta: 1.0,
            trans_a: false,
            trans_b: false,
        }
    }
}

impl Operator for Gemm {
    const NAMES: &'static [&'static str] = &["Gemm"];

    fn attrs(&self) -> Attrs {
        Attrs::new("Gemm")
            .with("alpha", self.alpha)
            .with("beta", self.beta)
            .with("transA", self.trans_a)
            .with("transB", self.trans_b)
    }

    fn from_attrs(_: &str, attrs: &Attrs) -> Result<Self> {
        Ok(Gemm {
            alpha: attrs.or("alpha", 1.0)?,
            beta: attrs.or("beta", 1.0)?,
            trans_a: attrs.or("transA", false)?,
            trans_b: attrs.or("transB", false)?,
        })
    }

    fn infer(&self, inputs: Facts<'_>) -> Result<Vec<Fact>> {
        let (a, b) = (inputs.req(0)?, inputs.req(1)?);
        let ([m, k], [l, n]) = (
            sides(inputs, &a.shape, self.trans_a)?,
            sides(inputs, &b.shape, self.trans_b)?,
        );
        if let (Some(k), Some(l)) = (k.known(), l.known())
            && k != l
        {
            return Err(inputs.error(format!("{k} columns of A meet {l} rows of B")));
        }
        if a.dtype != b.dtype || inputs.opt(2).is_some_and(|c| c.dtype != a.dtype) {
            return Err(inputs.error("A, B and C must have one data type"));
        }
        if let Some(c) = inputs.opt(2) {
            let fits = |(c, size): (&Dim, &Dim)| match (c.known(), size.known()) {
                (Some(c), Some(size)) => c == 1 || c == size,
                _ => true,
            };
            let sizes = [n.clone(), m.clone()];
            if c.rank() > 2 || !c.shape.iter().rev().zip(&sizes).all(fits) {
                return Err(
                    inputs.error(format!("C is {c}, which does not broadcast to [{m}, {n}]"))
                );
            }
        }
        Ok(vec![Fact::new(a.dtype, vec![m, n])])
    }

    fn work(&self, inputs: Facts<'_>, outputs: &[Fact]) -> u64 {
        let inner = inputs
            .opt(0)
            .map_or(0, |a| a.extent(usize::from(!self.trans_a)));
        crate::op::per_output(inputs, outputs, inner)
    }

    fn reference(&self, inputs: Tensors<'_>) -> Result<Vec<HostTensor>> {
        let float = inputs.req(0)?.dtype().is_float();
        // Only whole factors keep integers exact; others go through f64.
        Ok(vec![
            if float || self.alpha.fract() != 0.0 || self.beta.fract() != 0.0 {
                self.typed::<f64>(inputs, f64::from)?
            } else {
                self.typed(inputs, |f| Wrapping(f as i64))?
            },
        ])
    }

    fn place(&self, cx: &Placing<'_>) -> Place {
        place_product(cx)
    }

    fn lower(&self, cx: &mut Lower<'_>) -> Result<()> {
        let (a, c) = (cx.input(0)?, cx.output(0)?);
        let bias = cx.opt_input(2);
        let epilogue = Epilogue::scaled(self.alpha, self.beta, bias.as_ref(), c.last())?;
        let epilogue = cx.epilogue(epilogue, c.last() % 4 == 0)?;
        multiply_on_device(cx, &a, self.trans_a, self.trans_b, &c, epilogue.as_ref())
    }

    fn blocks(&self, cx: &Placing<'_>) -> Blocks {
        Blocks {
            rest: Along::Broadcast,
            ..product_blocks(cx, self.trans_a, self.trans_b)
        }
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
        let plain = Gemm::default;
        let both = || Gemm {
            alpha: 0.5,
            beta: -2.0,
            trans_a: true,
            trans_b: true,
        };
        let case = |name: &str, op: Gemm, shapes: &[&[usize]]| {
            let inputs = shapes.iter().zip(1..).map(|(s, seed)| x(s, seed));
            Case::new(name, op, inputs.collect())
        };
        let trans = |trans_a, trans_b| Gemm {
            trans_a,
            trans_b,
            ..plain()
        };
        let ints = |shape: &[usize], seed| samples::integers(DType::I32, shape, seed, -50, 50);
        vec![
            case("no bias", plain(), &[&[5, 7], &[7, 3]]),
            case("vector bias", plain(), &[&[5, 7], &[7, 3], &[3]]).constant(&[1, 2]),
            case("column bias", plain(), &[&[5, 7], &[7, 3], &[5, 1]]),
            case("scalar bias", plain(), &[&[5, 7], &[7, 3], &[]]),
            case("matrix bias", plain(), &[&[8, 12], &[12, 16], &[8, 16]]),
            case("A transposed", trans(true, false), &[&[7, 5], &[7, 3]]),
            case("a column", plain(), &[&[37, 13], &[13, 1]]),
            case(
                "a column, A transposed",
                trans(true, false),
                &[&[13, 37], &[13, 1]],
            ),
            case(
                "a column, B transposed",
                trans(false, true),
                &[&[37, 13], &[1, 13]],
            ),
            case(
                "B transposed",
                trans(false, true),
                &[&[5, 7], &[3, 7], &[3]],
            )
            .constant(&[1]),
            case("everything", both(), &[&[40, 33], &[70, 40], &[1, 70]]),
            case(
                "everything, constant",
                both(),
                &[&[40, 33], &[70, 40], &[1, 70]],
            )
            .constant(&[1, 2]),
            case("no terms", plain(), &[&[3, 0], &[0, 2], &[2]]),
            Case::new(
                "i32",
                plain(),
                vec![ints(&[3, 4], 1), ints(&[4, 5], 2), ints(&[5], 3)],
            ),
        ]
    }
}

/// Rows and columns of an operand as the product sees it.
fn sides(inputs: Facts<'_>, shape: &[Dim], transposed: bool) -> Result<[Dim; 2]> {
    match shape {
        [a, b] if transposed => Ok([b.clone(), a.clone()]),
        [a, b] => Ok([a.clone(), b.clone()]),
        _ => Err(inputs.error(format!("operands must be matrices, got {shape:?}"))),
    }
}

impl Gemm {
    fn typed<T: Term>(&self, inputs: Tensors<'_>, factor: impl Fn(f32) -> T) -> Result<HostTensor> {
        let (a, b) = (inputs.req(0)?, inputs.req(1)?);
        let (a, b) = (straight(a, self.trans_a)?, straight(b, self.trans_b)?);
        let (m, k, n) = (a.shape()[0], a.shape()[1], b.shape()[1]);
        let mut out = vec![T::default(); m * n];
        multiply(&T::read(&a)?, &T::read(&b)?, &mut out, k, n);
        let alpha = factor(self.alpha);
        for o in &mut out {
            *o = alpha * *o;
        }
        if let Some(c) = inputs.opt(2) {
            let (beta, values) = (factor(self.beta), T::read(c)?);
            let shape = Shape::from([m, n]);
            let strides = c.shape().broadcast_strides(&shape)?;
            for (o, [i]) in out.iter_mut().zip(shape.offsets([&strides])) {
                *o += beta * values[i];
            }
        }
        T::write(a.dtype(), &[m, n], out)
    }
}

fn straight(t: &HostTensor, transposed: bool) -> Result<HostTensor> {
    if !transposed {
        return Ok(t.clone());
    }
    let shape = Shape::from([t.shape()[1], t.shape()[0]]);
    let columns = t.shape()[1] as isize;
    Ok(t.select(&shape, shape.offsets([&[1, columns]]).flatten())?)
}
