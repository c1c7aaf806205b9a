//! BsrMatMul: products with a block-sparse matrix.

use super::product::Term;
use crate::dim::Dim;
use crate::fact::{Facts, Tensors};
use crate::lower::{Lower, Place, Placing};
use crate::op::{Case, Operand, Operator, touched};
use crate::{Attrs, Error, Fact, Result};
use tilewright_kernels::{self as kernels, BsrView, Padding, Side, Store, View};
use tilewright_tensor::{Bsr, DType, HostTensor};

/// The product of a dense tensor x with a matrix W of `extents` in compressed rows of blocks (BSR). On the right W is a layer's
/// weight, `[out, in]`: `y[.., m, out] = x[.., m, in] * W^T`. On the left `y[.., rows, n] = W * x[.., cols, n]`.
///
/// Inputs: x (floats, rank 2 or more), and the parts of W as [`Bsr`] states them: row_ptr and col_idx (u32, rank 1), values
/// (as x, `[blocks, block rows, block columns]`). What is not stored is zero, except that infinities and NaNs of x may meet it.
/// On the device W must be constant.
#[derive(Clone, Debug, PartialEq)]
pub struct BsrMatMul {
    /// Where W stands.
    pub side: Side,
    /// Rows and columns of W.
    pub extents: [usize; 2],
    /// Rows and columns of a block.
    pub block_size: [usize; 2],
}

impl Operator for BsrMatMul {
    const NAMES: &'static [&'static str] = &["BsrMatMul"];

    fn attrs(&self) -> Attrs {
        let ints = |of: [usize; 2]| of.map(|n| n as i64).to_vec();
        let side = match self.side {
            Side::Left => "left",
            Side::Right => "right",
        };
        Attrs::new("BsrMatMul")
            .with("side", side.to_string())
            .with("extents", ints(self.extents))
            .with("block_size", ints(self.block_size))
    }

    fn from_attrs(_: &str, attrs: &Attrs) -> Result<Self> {
        let pair = |name: &str| {
            let ints: Vec<i64> = attrs.need(name)?;
            let sizes = ints.iter().map(|&n| usize::try_from(n).ok());
            match sizes.collect::<Option<Vec<_>>>().as_deref() {
                Some(&[rows, cols]) => Ok([rows, cols]),
                _ => Err(Error::op(attrs.op(), format!("{name} is {ints:?}"))),
            }
        };
        let side: String = attrs.or("side", "right".to_string())?;
        Ok(BsrMatMul {
            side: match side.as_str() {
                "left" => Side::Left,
                "right" => Side::Right,
                _ => return Err(Error::op(attrs.op(), format!("side is `{side}`"))),
            },
            extents: pair("extents")?,
            block_size: pair("block_size")?,
        })
    }

    fn infer(&self, inputs: Facts<'_>) -> Result<Vec<Fact>> {
        let (x, values) = (inputs.req(0)?, inputs.req(3)?);
        if !x.dtype.is_float() || x.dtype != values.dtype {
            return Err(inputs.error(format!("{} times {}", x.dtype, values.dtype)));
        }
        self.check_pattern(inputs)?;
        let Some((batch, [m, n])) = x.shape.split_last_chunk() else {
            return Err(inputs.error(format!("x is {x}, expected rank 2 or more")));
        };
        let [rows, cols] = self.extents.map(Dim::from);
        let (inner, matrix) = match self.side {
            Side::Left => (m, [rows, n.clone()]),
            Side::Right => (n, [m.clone(), rows]),
        };
        inputs.agree(
            "the columns of the sparse matrix and what they meet",
            &[&cols, inner],
        )?;
        Ok(vec![Fact::new(x.dtype, [batch, &matrix].concat())])
    }

    fn work(&self, inputs: Facts<'_>, outputs: &[Fact]) -> u64 {
        let stored = inputs.opt(3).map_or(0, Fact::count);
        let vectors = outputs
            .first()
            .map_or(0, |y| y.count() / (self.extents[0].max(1) as u64));
        touched(inputs, outputs).saturating_add(vectors.saturating_mul(stored))
    }

    fn reference(&self, inputs: Tensors<'_>) -> Result<Vec<HostTensor>> {
        let (x, w) = (inputs.req(0)?, self.matrix(inputs)?);
        let Some((batch, &[m, n])) = x.shape().split_last_chunk() else {
            return Err(inputs.error(format!("x is {}, expected rank 2 or more", x.shape())));
        };
        let [rows, cols] = self.extents;
        let (inner, out) = match self.side {
            Side::Left => (m, [rows, n]),
            Side::Right => (n, [m, rows]),
        };
        if inner != cols {
            return Err(inputs.error(format!("{cols} columns meet {inner} elements of x")));
        }
        // Elements from one vector of x to the next and along it, and the same of y.
        let (x_step, y_step, vectors) = match self.side {
            Side::Left => ([1, n], [1, n], n),
            Side::Right => ([cols, 1], [rows, 1], m),
        };
        let (from, values) = (f64::read(x)?, f64::read(w.values())?);
        let shape = [batch, &out].concat();
        let mut y = vec![0.0; shape.iter().product()];
        let count: usize = batch.iter().product();
        for z in 0..count {
            let (from, y) = (&from[z * m * n..], &mut y[z * out[0] * out[1]..]);
            each_stored(&w, |row, col, at| {
                for v in 0..vectors {
                    y[v * y_step[0] + row * y_step[1]] +=
                        values[at] * from[v * x_step[0] + col * x_step[1]];
                }
            });
        }
        Ok(vec![f64::write(x.dtype(), &shape, y)?])
    }

    fn place(&self, cx: &Placing<'_>) -> Place {
        let constant = |i: usize| cx.inputs.opt(i).is_some_and(|f| f.weight().is_some());
        if !(1..4).all(constant) {
            return Place::host("the sparse matrix is not constant");
        }
        cx.floats_only()
    }

    fn lower(&self, cx: &mut Lower<'_>) -> Result<()> {
        let (mut x, y) = (cx.input(0)?, cx.output(0)?);
        let ([rows, cols], inner) = (
            self.extents,
            x.shape.len() - 1 - usize::from(self.side == Side::Left),
        );
        let epilogue = cx.epilogue(None, y.last() % 4 == 0)?;
        if y.elements() == 0 {
            return Ok(());
        }
        let (block, padded) =
            kernels::bsr_block(cx.caps(), self.side, self.block_size, self.extents);
        if padded != cols {
            let mut shape = x.shape.clone();
            shape[inner] = padded;
            let wide = cx.scratch(x.store, shape);
            let begin = vec![0; x.shape.len()];
            let pad = kernels::pad(cx.caps(), &x, &begin, Padding::Known(0), &wide)?;
            cx.emit(pad);
            x = wide;
        }
        let [row_ptr, col_idx, values] = self.parts(cx, block)?;
        let w = BsrView {
            extents: [rows, padded],
            block_size: block,
            values: &values,
            row_ptr: &row_ptr,
            col_idx: &col_idx,
        };
        let dispatches = match self.side {
            Side::Left => kernels::bsr_left(cx.target(), &w, &x, &y, epilogue.as_ref())?,
            Side::Right => kernels::bsr_matmul(cx.target(), &x, &w, &y, epilogue.as_ref())?,
        };
        cx.emit(dispatches);
        Ok(())
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
        super::bsr_matmul_cases::cases()
    }
}

impl BsrMatMul {
    /// The operator for `w`, and its inputs 1 to 3.
    pub fn of(side: Side, w: &Bsr) -> Result<(BsrMatMul, [HostTensor; 3])> {
        let op = BsrMatMul {
            side,
            extents: w.extents(),
            block_size: w.block_size(),
        };
        let words = |words: &[u32]| HostTensor::from_slice([words.len()], words);
        let parts = [words(w.row_ptr())?, words(w.col_idx())?, w.values().clone()];
        Ok((op, parts))
    }

    /// Types and lengths of the parts of W, and its pattern where it is known.
    fn check_pattern(&self, inputs: Facts<'_>) -> Result<()> {
        let (row_ptr, col_idx, values) = (inputs.req(1)?, inputs.req(2)?, inputs.req(3)?);
        let [height, width] = self.block_size;
        if height == 0 || width == 0 {
            return Err(inputs.error(format!("blocks of {height} x {width}")));
        }
        for (name, fact) in [("row_ptr", row_ptr), ("col_idx", col_idx)] {
            if fact.dtype != DType::U32 || fact.rank() != 1 {
                return Err(inputs.error(format!("{name} is {fact}, expected u32 of rank 1")));
            }
        }
        let [blocks, values_height, values_width] = &values.shape[..] else {
            return Err(inputs.error(format!("values are {values}, expected rank 3")));
        };
        let starts = Dim::from(self.extents[0].div_ceil(height) + 1);
        inputs.agree(
            "row_ptr's length and the rows of blocks plus one",
            &[&row_ptr.shape[0], &starts],
        )?;
        inputs.agree(
            "the numbers of block columns and of blocks",
            &[&col_idx.shape[0], blocks],
        )?;
        inputs.agree("the rows of a block", &[&height.into(), values_height])?;
        inputs.agree("the columns of a block", &[&width.into(), values_width])?;
        if let (Some(row_ptr), Some(col_idx)) = (row_ptr.constant(), col_idx.constant()) {
            Bsr::check(
                self.extents,
                self.block_size,
                row_ptr.as_slice()?,
                col_idx.as_slice()?,
            )
            .map_err(|e| inputs.error(e.to_string()))?;
        }
        Ok(())
    }

    fn matrix(&self, inputs: Tensors<'_>) -> Result<Bsr> {
        self.bsr(inputs.req(1)?, inputs.req(2)?, inputs.req(3)?)
            .map_err(|e| inputs.error(e.to_string()))
    }

    fn bsr(
        &self,
        row_ptr: &HostTensor,
        col_idx: &HostTensor,
        values: &HostTensor,
    ) -> tilewright_tensor::Result<Bsr> {
        let words = |t: &HostTensor| Ok(t.as_slice::<u32>()?.to_vec());
        Bsr::new(
            self.extents,
            self.block_size,
            words(row_ptr)?,
            words(col_idx)?,
            values.clone(),
        )
    }

    /// row_ptr, col_idx and values in the blocks that the kernels walk.
    fn parts(&self, cx: &mut Lower<'_>, block: [usize; 2]) -> Result<[View; 3]> {
        // All three are made the first time, from one matrix.
        let mut cut: Option<Bsr> = None;
        let store = cx.input(3)?.store;
        let mut part = |cx: &mut Lower<'_>, i: usize| {
            let key = format!("bsr part {i} {self:?} {block:?} {store}");
            cx.derived_from(&[1, 2, 3], key, |from| {
                let w = match cut.take() {
                    Some(w) => w,
                    None => self.cut([0, 1, 2].map(|i| &from[i]), block)?,
                };
                let words = |words: &[u32]| HostTensor::from_slice([words.len()], words);
                let made = match i {
                    0 => words(w.row_ptr())?,
                    1 => words(w.col_idx())?,
                    _ if store == Store::F16 => {
                        kernels::bsr_values(&w, self.side)?.cast(DType::F16)?
                    }
                    _ => kernels::bsr_values(&w, self.side)?,
                };
                cut = Some(w);
                Ok(made)
            })
        };
        Ok([part(cx, 0)?, part(cx, 1)?, part(cx, 2)?])
    }

    /// W in f32 and other blocks.
    fn cut(&self, [row_ptr, col_idx, values]: [&HostTensor; 3], block: [usize; 2]) -> Result<Bsr> {
        let w = self.bsr(row_ptr, col_idx, &values.cast(DType::F32)?)?;
        Ok(if block == self.block_size {
            w
        } else {
            w.in_blocks(block)?
        })
    }
}

/// Calls `see` with row, column and place among the values of every stored element inside the matrix.
fn each_stored(w: &Bsr, mut see: impl FnMut(usize, usize, usize)) {
    let ([rows, cols], [height, width]) = (w.extents(), w.block_size());
    for (block_row, ends) in w.row_ptr().windows(2).enumerate() {
        for block in ends[0] as usize..ends[1] as usize {
            let (top, left) = (block_row * height, w.col_idx()[block] as usize * width);
            for i in 0..height.min(rows - top) {
                for j in 0..width.min(cols - left) {
                    see(top + i, left + j, (block * height + i) * width + j);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fact::Inputs;
    use crate::samples;

    /// What inference says to a matrix of 4 x 6 in blocks of 2 x 2 with these parts.
    fn inferred(
        x: &[usize],
        row_ptr: &[u32],
        col_idx: &[u32],
        values: &[usize],
    ) -> Result<Vec<Fact>> {
        let op = BsrMatMul {
            side: Side::Right,
            extents: [4, 6],
            block_size: [2, 2],
        };
        let words = |words: &[u32]| Fact::of(samples::of(&[words.len()], words));
        let facts = [
            Fact::sized(DType::F32, x),
            words(row_ptr),
            words(col_idx),
            Fact::sized(DType::F32, values),
        ];
        op.infer(Inputs::new("BsrMatMul", &facts.each_ref().map(Some)))
    }

    #[test]
    fn inconsistent_matrices_are_named() {
        let shape = inferred(&[3, 5, 6], &[0, 1, 3], &[2, 0, 1], &[3, 2, 2]).unwrap();
        assert_eq!(shape[0].known_shape().unwrap(), [3, 5, 4]);
        let fails =
            |x: &[usize], row_ptr: &[u32], col_idx: &[u32], values: &[usize], what: &str| {
                let error = inferred(x, row_ptr, col_idx, values)
                    .unwrap_err()
                    .to_string();
                assert!(error.contains(what), "{error}");
            };
        fails(
            &[5, 6],
            &[0, 3, 1],
            &[2, 0, 1],
            &[3, 2, 2],
            "runs from 0 to 1",
        );
        fails(
            &[5, 6],
            &[0, 4, 3],
            &[2, 0, 1],
            &[3, 2, 2],
            "falls or overruns at row 0",
        );
        fails(
            &[5, 6],
            &[0, 1, 3],
            &[2, 1, 0],
            &[3, 2, 2],
            "columns of row 1 are not strictly rising",
        );
        fails(
            &[5, 6],
            &[0, 1, 3],
            &[3, 0, 1],
            &[3, 2, 2],
            "row 0 has a column past 3",
        );
        fails(&[5, 6], &[0, 3], &[2, 0, 1], &[3, 2, 2], "row_ptr's length");
        fails(
            &[5, 6],
            &[0, 1, 3],
            &[2, 0, 1],
            &[2, 2, 2],
            "numbers of block columns and of blocks are 3 and 2",
        );
        fails(
            &[5, 6],
            &[0, 1, 3],
            &[2, 0, 1],
            &[3, 2, 4],
            "columns of a block",
        );
        fails(&[5, 7], &[0, 1, 3], &[2, 0, 1], &[3, 2, 2], "are 6 and 7");
        fails(&[6], &[0, 1, 3], &[2, 0, 1], &[3, 2, 2], "rank 2 or more");
    }

    #[test]
    fn malformed_attributes_are_errors() {
        let from = |extents: Vec<i64>, side: &str| {
            let attrs = Attrs::new("BsrMatMul")
                .with("extents", extents)
                .with("side", side.to_string());
            BsrMatMul::from_attrs("BsrMatMul", &attrs.with("block_size", vec![4i64, 4]))
        };
        assert!(from(vec![8, 8], "right").is_ok());
        assert!(from(vec![8], "right").is_err());
        assert!(from(vec![8, -8], "right").is_err());
        assert!(from(vec![8, 8], "both").is_err());
    }
}
