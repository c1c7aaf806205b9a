//! What a result must be, element by element, in f64.

use super::data::rounded;
use super::work::{Attention, Conv, Gemm, MapOp, MapWork, Work};
use crate::Failure;
use tilewright::DType;

/// Elements `at` of the result, in the order of the protocol. None for a model.
pub(super) fn exact(work: &Work, at: &[usize]) -> Result<Option<Vec<f64>>, Failure> {
    let all = |of: &dyn Fn(usize) -> f64| Ok(Some(at.iter().map(|&i| of(i)).collect()));
    match work {
        Work::Gemm(w) => all(&|i| gemm(w, i)),
        Work::Conv(w) => {
            let places = w.output()?;
            all(&|i| conv(w, places, i))
        }
        Work::Attention(w) => all(&|i| attention(w, i)),
        Work::Map(w) => all(&|i| map(w, i)),
        Work::Model(_) => Ok(None),
    }
}

fn gemm(w: &Gemm, at: usize) -> f64 {
    let (row, j) = (at / w.n, at % w.n);
    let (a, b) = (row * w.k, row / w.m * w.k * w.n + j);
    let term = |k| rounded(w.dtype, 0, a + k) * rounded(w.dtype, 1, b + k * w.n);
    (0..w.k).map(term).sum()
}

fn conv(w: &Conv, [oh, ow]: [usize; 2], at: usize) -> f64 {
    let (x, y, filter, n) = (
        at % ow,
        at / ow % oh,
        at / (ow * oh) % w.filters,
        at / (ow * oh * w.filters),
    );
    let ([_, channels, height, width], [kh, kw]) = (w.input, w.kernel);
    let own = channels / w.groups;
    let first = filter / (w.filters / w.groups) * own;
    let mut sum = 0.0;
    for c in 0..own {
        for (ky, kx) in (0..kh * kw).map(|tap| (tap / kw, tap % kw)) {
            let sy = (y * w.stride[0] + ky * w.dilation[0])
                .checked_sub(w.pad[0])
                .filter(|y| *y < height);
            let sx = (x * w.stride[1] + kx * w.dilation[1])
                .checked_sub(w.pad[1])
                .filter(|x| *x < width);
            if let (Some(sy), Some(sx)) = (sy, sx) {
                let from = ((n * channels + first + c) * height + sy) * width + sx;
                let tap = ((filter * own + c) * kh + ky) * kw + kx;
                sum += rounded(w.dtype, 0, from) * rounded(w.dtype, 1, tap);
            }
        }
    }
    sum
}

fn attention(w: &Attention, at: usize) -> f64 {
    let (d, query, block) = (
        at % w.head,
        at / w.head % w.queries,
        at / (w.head * w.queries),
    );
    let value = |tensor, row: usize, d| rounded(DType::F32, tensor, row * w.head + d);
    let (q, first) = (block * w.queries + query, block * w.keys);
    // A causal query sees the keys up to its own place.
    let keys = if w.causal {
        w.keys.min(query + 1)
    } else {
        w.keys
    };
    let score = |key| {
        let terms = (0..w.head).map(|i| value(0, q, i) * value(1, first + key, i));
        terms.sum::<f64>() / (w.head as f64).sqrt()
    };
    let scores: Vec<f64> = (0..keys).map(score).collect();
    let most = scores.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    let (mut sum, mut total) = (0.0, 0.0);
    for (key, score) in scores.into_iter().enumerate() {
        let weight = (score - most).exp();
        total += weight;
        sum += weight * value(2, first + key, d);
    }
    sum / total
}

fn map(w: &MapWork, at: usize) -> f64 {
    let value = |tensor, at| rounded(DType::F32, tensor, at);
    let x = value(0, at);
    let row = || (at / w.cols * w.cols..).take(w.cols).map(|i| value(0, i));
    match w.op {
        MapOp::Add => x + value(1, at),
        MapOp::Relu => x.max(0.0),
        MapOp::Gelu => x * (1.0 + erf(x / 2f64.sqrt())) / 2.0,
        MapOp::Softmax => x.exp() / row().map(f64::exp).sum::<f64>(),
        MapOp::LayerNorm => {
            let mean = row().sum::<f64>() / w.cols as f64;
            let variance = row().map(|v| (v - mean).powi(2)).sum::<f64>() / w.cols as f64;
            (x - mean) / (variance + 1e-5).sqrt()
        }
    }
}

/// By its power series, which is exact to 1e-16 for the arguments here, which are below 1.
fn erf(x: f64) -> f64 {
    let (mut term, mut sum, mut n) = (x, 0.0, 0.0);
    while term.abs() > 1e-18 {
        sum += term / (2.0 * n + 1.0);
        n += 1.0;
        term *= -x * x / n;
    }
    sum * 2.0 / std::f64::consts::PI.sqrt()
}

#[cfg(test)]
mod tests {
    use super::*;
    use tilewright::graph::{Attrs, Fact, Graph, Op, host};

    /// All elements by the engine's own references, which other tests compare with other engines.
    fn reference(work: &Work, op: Attrs, weight: Option<Vec<usize>>) -> Vec<f64> {
        let shapes = work.shapes().unwrap().unwrap();
        let mut graph = Graph::new();
        let mut inputs = vec![];
        let mut values = vec![];
        for (t, shape) in shapes.operands.iter().enumerate() {
            values.push(
                graph
                    .input(&format!("x{t}"), Some(Fact::sized(work.dtype(), shape)))
                    .unwrap(),
            );
            inputs.push(super::super::data::tensor(work.dtype(), t, shape, |i| i).unwrap());
        }
        if let Some(shape) = weight {
            values.push(graph.constant(
                tilewright::HostTensor::from_vec(shape.clone(), vec![1f32; shape[0]]).unwrap(),
            ));
        }
        let y = graph
            .add1(Op::from_name(op.op(), &op).unwrap(), &values)
            .unwrap();
        graph.output("y", y);
        host::run(&graph, &inputs).unwrap()[0].to_f64()
    }

    fn agree(work: &Work, op: Attrs, weight: Option<Vec<usize>>) {
        let expected = reference(work, op, weight);
        let at: Vec<usize> = (0..expected.len()).collect();
        let got = exact(work, &at).unwrap().unwrap();
        for (i, (g, e)) in got.iter().zip(&expected).enumerate() {
            assert!(
                (g - e).abs() <= 2e-7 * e.abs().max(0.1),
                "{}: element {i} is {g}, expected {e}",
                work.name()
            );
        }
    }

    #[test]
    fn elements_are_those_of_the_references() {
        let gemm = Gemm {
            m: 3,
            n: 5,
            k: 7,
            batch: 2,
            dtype: DType::F32,
        };
        agree(&Work::Gemm(gemm), Attrs::new("MatMul"), None);
        let conv = Conv {
            input: [2, 4, 7, 9],
            filters: 6,
            kernel: [3, 2],
            stride: [2, 1],
            pad: [1, 0, 2, 1],
            dilation: [1, 2],
            groups: 2,
            dtype: DType::F32,
        };
        let attrs = Attrs::new("Conv")
            .with("group", 2i64)
            .with("strides", vec![2i64, 1]);
        let attrs = attrs
            .with("pads", vec![1i64, 0, 2, 1])
            .with("dilations", vec![1i64, 2]);
        agree(&Work::Conv(conv), attrs, None);
    }

    #[test]
    fn attention_and_maps_are_those_of_the_references() {
        for causal in [false, true] {
            let attention = Attention {
                batch: 2,
                heads: 3,
                queries: 5,
                keys: 7,
                head: 4,
                causal,
            };
            agree(
                &Work::Attention(attention),
                Attrs::new("Attention").with("is_causal", causal),
                None,
            );
        }
        for (op, attrs) in [
            (MapOp::Add, Attrs::new("Add")),
            (MapOp::Relu, Attrs::new("Relu")),
            (MapOp::Gelu, Attrs::new("Gelu")),
            (MapOp::Softmax, Attrs::new("Softmax").with("axis", -1i64)),
            (
                MapOp::LayerNorm,
                Attrs::new("LayerNormalization")
                    .with("axis", -1i64)
                    .with("epsilon", 1e-5f32),
            ),
        ] {
            let weight = (op == MapOp::LayerNorm).then(|| vec![9]);
            agree(
                &Work::Map(MapWork {
                    op,
                    rows: 4,
                    cols: 9,
                }),
                attrs,
                weight,
            );
        }
    }
}
