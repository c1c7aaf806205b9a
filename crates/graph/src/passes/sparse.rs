//! Weights with many blocks of zeros become block-sparse.

use super::{Visit, rewrite};
use crate::ops::{Binary, BsrMatMul, Gemm, Side};
use crate::{Error, Fact, Graph, Op, Result, Value};
use tilewright_tensor::{Bsr, DType, HostTensor};

/// Which weights [`sparse()`] replaces.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct SparseOptions {
    /// Outputs and inputs of the layer that a block spans. Kernels walk blocks of 32 (some adapters 16 or 64) outputs and 4
    /// inputs or more; smaller ones are joined to such, which stores zeros.
    pub block_size: [usize; 2],
    /// The least share of blocks that are all zero, 0 to 1.
    pub threshold: f64,
}

impl Default for SparseOptions {
    /// Blocks of 32 x 32, half of them zero. On Mesa 22's lavapipe such products break even with dense ones at 0.17 and are 1.5
    /// to 2.5 times as fast at 0.5; other adapters are not measured, hence the distance. Smaller blocks break even later, those
    /// of 16 x 16 at 0.55 (docs/architecture.md).
    fn default() -> Self {
        Self {
            block_size: [32, 32],
            threshold: 0.5,
        }
    }
}

impl SparseOptions {
    /// The defaults.
    pub fn new() -> Self {
        Self::default()
    }

    /// With blocks of `outputs` x `inputs` of a layer.
    #[must_use]
    pub fn block_size(self, block_size: [usize; 2]) -> Self {
        Self { block_size, ..self }
    }

    /// With another least share of zero blocks.
    #[must_use]
    pub fn threshold(self, threshold: f64) -> Self {
        Self { threshold, ..self }
    }
}

/// Replaces MatMul and Gemm with a constant matrix (f32, f16) of which enough blocks are zero by [`BsrMatMul`]; factors and bias of
/// a Gemm become pointwise nodes, which fuse to it again. Other nodes stay as they are.
///
/// Infinities and NaNs that meet a block of zeros give NaN in a dense product and nothing here.
///
/// # Errors
/// A block size of 0; those of rebuilding the graph.
pub fn sparse(graph: &Graph, options: &SparseOptions) -> Result<Graph> {
    if options.block_size.contains(&0) {
        let [rows, cols] = options.block_size;
        return Err(Error::Graph(format!(
            "sparse weights in blocks of {rows} x {cols}"
        )));
    }
    rewrite(graph, |visit, new| match &visit.node.op {
        Op::MatMul(_) => matmul(visit, new, options),
        Op::Gemm(gemm) => with_factors(gemm, visit, new, options),
        _ => Ok(None),
    })
}

fn matmul(
    visit: &Visit<'_>,
    new: &mut Graph,
    options: &SparseOptions,
) -> Result<Option<Vec<Value>>> {
    let &[Some(a), Some(b)] = visit.inputs else {
        return Ok(None);
    };
    let matrices = |v| new.fact(v).is_some_and(|f: &Fact| f.rank() >= 2);
    if !(matrices(a) && matrices(b)) {
        return Ok(None);
    }
    let found = match weight(new, b, true, options)? {
        Some(w) => Some((Side::Right, a, w)),
        None => weight(new, a, false, options)?.map(|w| (Side::Left, b, w)),
    };
    let Some((side, x, w)) = found else {
        return Ok(None);
    };
    product(visit, new, side, x, &w).map(Some)
}

fn with_factors(
    gemm: &Gemm,
    visit: &Visit<'_>,
    new: &mut Graph,
    options: &SparseOptions,
) -> Result<Option<Vec<Value>>> {
    let (&[Some(a), Some(b)] | &[Some(a), Some(b), _]) = visit.inputs else {
        return Ok(None);
    };
    if gemm.trans_a {
        return Ok(None);
    }
    let Some(w) = weight(new, b, !gemm.trans_b, options)? else {
        return Ok(None);
    };
    let mut y = product(visit, new, Side::Right, a, &w)?[0];
    let dtype = w.values().dtype();
    y = scaled(new, y, gemm.alpha, dtype)?;
    if let Some(c) = visit.inputs.get(2).copied().flatten() {
        let c = scaled(new, c, gemm.beta, dtype)?;
        y = new.add1(Binary::new("Add")?, &[y, c])?;
    }
    Ok(Some(vec![y]))
}

/// `value` times `factor`.
fn scaled(new: &mut Graph, value: Value, factor: f32, dtype: DType) -> Result<Value> {
    if factor == 1.0 {
        return Ok(value);
    }
    let factor = new.constant(HostTensor::scalar(factor).cast(dtype)?);
    new.add1(Binary::new("Mul")?, &[value, factor])
}

/// The constant matrix `value`, or its transpose, if enough of its blocks are zero.
fn weight(
    new: &Graph,
    value: Value,
    transposed: bool,
    options: &SparseOptions,
) -> Result<Option<Bsr>> {
    let Some(dense) = new.constant_of(value)? else {
        return Ok(None);
    };
    let &[rows, cols] = &dense.shape()[..] else {
        return Ok(None);
    };
    let [height, width] = options.block_size;
    let block = if transposed {
        [width, height]
    } else {
        [height, width]
    };
    let float = matches!(dense.dtype(), DType::F32 | DType::F16);
    if !float || dense.is_empty() || Bsr::block_sparsity(&dense, block)? < options.threshold {
        return Ok(None);
    }
    if !transposed {
        return Ok(Some(Bsr::from_dense(&dense, options.block_size)?));
    }
    let across = (0..rows * cols).map(|at| at % rows * cols + at / rows);
    let turned = dense.select([cols, rows], across)?;
    Ok(Some(Bsr::from_dense(&turned, options.block_size)?))
}

fn product(
    visit: &Visit<'_>,
    new: &mut Graph,
    side: Side,
    x: Value,
    w: &Bsr,
) -> Result<Vec<Value>> {
    let (op, parts) = BsrMatMul::of(side, w)?;
    let parts = parts.map(|part| Some(new.constant(part)));
    let inputs = [&[Some(x)][..], &parts].concat();
    new.add_node(op.into(), &inputs, &visit.node.name, 1)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ops::MatMul;
    use crate::samples;

    /// A matrix of which a quarter of the 8 x 8 blocks is not zero.
    fn weight(rows: usize, cols: usize) -> HostTensor {
        let mut values: Vec<f32> = samples::uniform(&[rows, cols], 5).to_vec().unwrap();
        for (at, v) in values.iter_mut().enumerate() {
            if (at / cols / 8 + at % cols / 8) % 4 != 1 {
                *v = 0.0;
            }
        }
        samples::of(&[rows, cols], &values)
    }

    fn input(graph: &mut Graph, name: &str, shape: &[usize]) -> Value {
        let fact = Fact::sized(DType::F32, shape);
        graph.input(name, Some(fact)).unwrap()
    }

    fn names(graph: &Graph) -> Vec<String> {
        let nodes = graph.nodes().iter().map(|n| n.op.name().to_string());
        nodes.filter(|n| n != "Input" && n != "Constant").collect()
    }

    fn after(graph: &Graph, inputs: &[HostTensor]) -> Vec<String> {
        let options = SparseOptions::new().block_size([8, 8]);
        let after = sparse(graph, &options).unwrap();
        let run = |g: &Graph| crate::host::run(g, inputs).unwrap();
        for (got, want) in run(&after).iter().zip(run(graph)) {
            assert!(tilewright_tensor::nmse(got, &want).unwrap() < 1e-13);
        }
        names(&after)
    }

    #[test]
    fn a_weight_on_either_side() {
        let mut graph = Graph::new();
        let x = input(&mut graph, "x", &[2, 5, 40]);
        let w = graph.constant(weight(40, 33));
        let y = graph.add1(MatMul, &[x, w]).unwrap();
        graph.output("right", y);
        let w = graph.constant(weight(24, 5));
        let y = graph.add1(MatMul, &[w, x]).unwrap();
        graph.output("left", y);
        let names = after(&graph, &[samples::uniform(&[2, 5, 40], 1)]);
        assert_eq!(names, ["BsrMatMul", "BsrMatMul"]);
    }

    #[test]
    fn factors_and_bias_of_a_gemm_stay() {
        for (trans_b, names) in [
            (false, &["BsrMatMul", "Mul", "Mul", "Add"][..]),
            (true, &["BsrMatMul", "Mul", "Mul", "Add"]),
        ] {
            let mut graph = Graph::new();
            let x = input(&mut graph, "x", &[6, 40]);
            let c = input(&mut graph, "c", &[24]);
            let w = graph.constant(if trans_b {
                weight(24, 40)
            } else {
                weight(40, 24)
            });
            let gemm = Gemm {
                alpha: 0.5,
                beta: -2.0,
                trans_a: false,
                trans_b,
            };
            let y = graph.add1(gemm, &[x, w, c]).unwrap();
            graph.output("y", y);
            let inputs = [samples::uniform(&[6, 40], 1), samples::uniform(&[24], 2)];
            assert_eq!(after(&graph, &inputs), names);
        }
    }

    #[test]
    fn what_is_not_sparse_enough_stays() {
        let mut graph = Graph::new();
        let x = input(&mut graph, "x", &[6, 40]);
        let w = graph.constant(samples::uniform(&[40, 16], 2));
        let y = graph.add1(MatMul, &[x, w]).unwrap();
        let sparse_vector = graph.constant(samples::of(&[16], &[0f32; 16]));
        let z = graph.add1(MatMul, &[y, sparse_vector]).unwrap();
        graph.output("z", z);
        assert_eq!(
            after(&graph, &[samples::uniform(&[6, 40], 1)]),
            ["MatMul", "MatMul"]
        );

        let mut graph = Graph::new();
        let x = input(&mut graph, "x", &[6, 40]);
        let w = graph.constant(weight(40, 32));
        let y = graph.add1(MatMul, &[x, w]).unwrap();
        graph.output("y", y);
        // Five rows of four blocks, of which one a row is stored.
        let at = |threshold| {
            let options = SparseOptions::new().block_size([8, 8]).threshold(threshold);
            names(&sparse(&graph, &options).unwrap())
        };
        assert_eq!(at(0.75), ["BsrMatMul"]);
        assert_eq!(at(0.76), ["MatMul"]);
        assert!(sparse(&graph, &SparseOptions::new().block_size([0, 8])).is_err());
    }
}
