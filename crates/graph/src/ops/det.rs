//! Det: determinants of square matrices.

use crate::fact::{Facts, Tensors};
use crate::op::{Case, Operator};
use crate::ops::groups::{floats, need_float};
use crate::{Attrs, Fact, Result, samples};
use tilewright_tensor::{DType, HostTensor};

/// ONNX Det-22: x `[.., M, M]` to `[..]`.
#[derive(Clone, Debug)]
pub struct Det;

/// The determinant of the row-major `m` x `m` matrix `a`, which is used up: Gaussian elimination with the largest pivot
/// of each column.
fn determinant(a: &mut [f64], m: usize) -> f64 {
    let mut product = 1.0;
    for k in 0..m {
        let size = |r: &usize| a[r * m + k].abs();
        let pivot = (k..m)
            .max_by(|p, q| size(p).total_cmp(&size(q)))
            .unwrap_or(k);
        if a[pivot * m + k] == 0.0 {
            return 0.0;
        }
        if pivot != k {
            (k..m).for_each(|c| a.swap(pivot * m + c, k * m + c));
            product = -product;
        }
        product *= a[k * m + k];
        for r in k + 1..m {
            let factor = a[r * m + k] / a[k * m + k];
            for c in k..m {
                a[r * m + c] -= factor * a[k * m + c];
            }
        }
    }
    product
}

impl Operator for Det {
    const NAMES: &'static [&'static str] = &["Det"];

    fn attrs(&self) -> Attrs {
        Attrs::new("Det")
    }

    fn from_attrs(_: &str, _: &Attrs) -> Result<Self> {
        Ok(Det)
    }

    fn infer(&self, inputs: Facts<'_>) -> Result<Vec<Fact>> {
        let x = inputs.req(0)?;
        need_float(inputs.op(), x.dtype)?;
        let [batch @ .., rows, columns] = &x.shape[..] else {
            return Err(inputs.error(format!("expected [.., M, M], got {x}")));
        };
        if rows.known().is_some() && columns.known().is_some() && rows != columns {
            return Err(inputs.error(format!("expected [.., M, M], got {x}")));
        }
        Ok(vec![Fact::new(x.dtype, batch)])
    }

    fn work(&self, inputs: Facts<'_>, outputs: &[Fact]) -> u64 {
        let (count, size) = inputs.opt(0).map_or((0, 0), |x| {
            (x.count(), x.extent(x.rank().saturating_sub(1)))
        });
        crate::op::touched(inputs, outputs).saturating_add(count.saturating_mul(size))
    }

    fn reference(&self, inputs: Tensors<'_>) -> Result<Vec<HostTensor>> {
        let mut x = floats(inputs, 0)?;
        let input = inputs.req(0)?;
        let [batch @ .., m, columns] = &input.shape()[..] else {
            return Err(inputs.error("a matrix has two axes"));
        };
        if m != columns {
            return Err(inputs.error(format!("{m} x {columns} is not square")));
        }
        let size = m * m;
        let count: usize = batch.iter().product();
        // The determinant of an empty matrix is 1.
        let values = (0..count).map(|b| determinant(&mut x[b * size..][..size], *m));
        let values = values.collect();
        Ok(vec![HostTensor::from_f64(input.dtype(), batch, values)?])
    }

    fn cases() -> Vec<Case> {
        let mut out = vec![];
        let shapes: [&[usize]; 6] = [
            &[2, 2],
            &[3, 4, 4],
            &[2, 3, 5, 5],
            &[1, 1],
            &[0, 3, 3],
            &[2, 0, 0],
        ];
        for shape in shapes {
            for (dtype, nmse) in [
                (DType::F32, 1e-10),
                (DType::F64, 1e-10),
                (DType::F16, 1e-6),
                (DType::BF16, 1e-4),
            ] {
                let x = samples::uniform(shape, 1).cast(dtype);
                let inputs = vec![x.expect("a cast between floats")];
                out.push(Case::new(&format!("{shape:?} {dtype}"), Det, inputs).nmse(nmse));
            }
        }
        out
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn determinants_by_hand() {
        assert_eq!(determinant(&mut [0.0, 2.0, 3.0, 4.0], 2), -6.0);
        assert_eq!(determinant(&mut [1.0, 2.0, 2.0, 4.0], 2), 0.0);
        let d = determinant(&mut [2.0, 0.0, 1.0, 1.0, 3.0, 2.0, 1.0, 1.0, 4.0], 3);
        assert!((d - 18.0).abs() < 1e-12, "{d}");
    }
}
