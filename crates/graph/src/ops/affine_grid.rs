//! AffineGrid: sampling positions of an affine map.

use crate::fact::{Facts, Tensors, Values};
use crate::lower::{Lower, Place, Placing};
use crate::op::{Case, Operator};
use crate::{Attrs, Fact, Result, samples};
use tilewright_kernels as kernels;
use tilewright_tensor::{DType, HostTensor};

/// ONNX AffineGrid-20: `grid[n, places.., :] = theta[n] * (x, y[, z], 1)` for positions spread evenly over -1..1. Input 1 is
/// the size `(N, C, [D,] H, W)` of the image to be sampled.
#[derive(Clone, Debug)]
pub struct AffineGrid {
    /// -1 and 1 are the centres of the outermost elements, not their outer edges.
    pub align_corners: bool,
}

impl Operator for AffineGrid {
    const NAMES: &'static [&'static str] = &["AffineGrid"];

    fn attrs(&self) -> Attrs {
        Attrs::new("AffineGrid").with("align_corners", self.align_corners)
    }

    fn from_attrs(_: &str, attrs: &Attrs) -> Result<Self> {
        Ok(AffineGrid {
            align_corners: attrs.or("align_corners", false)?,
        })
    }

    fn infer(&self, inputs: Facts<'_>) -> Result<Vec<Fact>> {
        let (theta, size) = (inputs.req(0)?, inputs.dims(1)?);
        if !matches!(size.len(), 4 | 5) || theta.rank() != 3 {
            return Err(inputs.error(format!("theta {theta} for an image of {size:?}")));
        }
        let mut shape = vec![theta.shape[0].clone()];
        shape.extend_from_slice(&size[2..]);
        shape.push((size.len() - 2).into());
        Ok(vec![Fact::new(theta.dtype, shape)])
    }

    fn reference(&self, inputs: Tensors<'_>) -> Result<Vec<HostTensor>> {
        let (theta, size) = (inputs.req(0)?, inputs.ints(1)?);
        let sizes: Vec<usize> = size[2..].iter().map(|&n| n.max(0) as usize).collect();
        let axes = sizes.len();
        if theta.rank() != 3 || theta.shape()[1..] != [axes, axes + 1] {
            return Err(inputs.error(format!("theta of shape {}", theta.shape())));
        }
        let positions = self.positions(&sizes);
        let mut out = Vec::with_capacity(theta.shape()[0] * positions.len());
        for matrix in theta.to_f64().chunks(axes * (axes + 1)) {
            for at in positions.chunks(axes + 1) {
                let rows = matrix.chunks(axes + 1);
                out.extend(rows.map(|r| r.iter().zip(at).map(|(a, b)| a * b).sum::<f64>()));
            }
        }
        let shape = [&[theta.shape()[0]], &sizes[..], &[axes]].concat();
        Ok(vec![HostTensor::from_f64(theta.dtype(), shape, out)?])
    }

    fn place(&self, cx: &Placing<'_>) -> Place {
        match cx.inputs.opt(0).map(|t| t.dtype) {
            Some(DType::F32 | DType::F16) => cx.by_storage_of(&[0]),
            _ => Place::host("only f32 has a kernel"),
        }
    }

    fn lower(&self, cx: &mut Lower<'_>) -> Result<()> {
        let (theta, mut y) = (cx.input(0)?, cx.output(0)?);
        if y.elements() == 0 {
            return Ok(());
        }
        let (batch, axes) = (y.shape[0], y.last());
        let sizes = y.shape[1..=axes].to_vec();
        let positions: Vec<f32> = self.positions(&sizes).iter().map(|&v| v as f32).collect();
        let places = sizes.iter().product();
        let positions = cx.table(HostTensor::from_vec([1, places, axes + 1], positions)?)?;
        // Positions times the transposed matrices.
        y.shape = vec![batch, places, axes];
        cx.emit(kernels::matmul(
            cx.target(),
            &positions,
            false,
            &theta,
            true,
            &y,
            None,
        )?);
        Ok(())
    }

    fn cases() -> Vec<Case> {
        let mut cases = vec![];
        for align_corners in [false, true] {
            let case = |theta: &[usize], size: &[i64]| {
                let inputs = vec![samples::uniform(theta, 1), samples::ints(size)];
                let name = format!("{}-D, align {align_corners}", size.len() - 2);
                Case::new(&name, AffineGrid { align_corners }, inputs).constant(&[1])
            };
            cases.push(case(&[2, 2, 3], &[2, 3, 4, 5]));
            cases.push(case(&[1, 3, 4], &[1, 3, 2, 4, 3]));
        }
        cases
    }
}

impl AffineGrid {
    /// `(x, y[, z], 1)` of all places of an image.
    fn positions(&self, sizes: &[usize]) -> Vec<f64> {
        let position = |at: usize, size: usize| match (self.align_corners, size) {
            // One element lies at the start of the range, as a range with a single step does.
            (true, 0 | 1) => -1.0,
            (true, n) => -1.0 + 2.0 * at as f64 / (n - 1) as f64,
            (false, n) => -1.0 + (2 * at + 1) as f64 / n as f64,
        };
        let places: usize = sizes.iter().product();
        let mut out = Vec::with_capacity(places * (sizes.len() + 1));
        for place in 0..places {
            // The innermost axis is x, so the position is filled from the last size.
            let mut rest = place;
            for &size in sizes.iter().rev() {
                out.push(position(rest % size, size));
                rest /= size;
            }
            out.push(1.0);
        }
        out
    }
}
