//! FlexAttention: attention whose scores and probabilities pass through graphs.

use crate::fact::{Facts, Tensors};
use crate::op::{Case, Operator};
use crate::{Attrs, Fact, Graph, Result, host, samples};
use std::sync::Arc;
use tilewright_tensor::{DType, HostTensor};

/// FlexAttention-1 of ai.onnx.preview. Inputs Q, K, V \[batch, heads, sequence, size\], then the values that the graphs
/// take from around them: first those of `prob_mod`, then those of `score_mod`. Each graph's first input is the tensor
/// \[batch, query heads, queries, keys\] that it changes.
#[derive(Clone, Debug)]
pub struct FlexAttention {
    /// Factor of the products; 1 / sqrt(size) if absent.
    pub scale: Option<f32>,
    /// Changes the scores.
    pub score_mod: Option<Arc<Graph>>,
    /// Changes the probabilities.
    pub prob_mod: Option<Arc<Graph>>,
    /// Type of scores and probabilities; f32, or f64 where Q is f64, if absent.
    pub softmax_precision: Option<DType>,
}

/// The node's inputs before those of the graphs.
const OWN: usize = 3;

impl FlexAttention {
    /// The type of scores.
    pub(crate) fn precision(&self, q: DType) -> DType {
        let default = if q == DType::F64 {
            DType::F64
        } else {
            DType::F32
        };
        self.softmax_precision.unwrap_or(default)
    }

    /// Where the values that a graph takes lie among the node's inputs.
    pub(crate) fn captures(&self, of_scores: bool) -> std::ops::Range<usize> {
        let count =
            |g: &Option<Arc<Graph>>| g.as_ref().map_or(0, |g| g.inputs().len().saturating_sub(1));
        let middle = OWN + count(&self.prob_mod);
        if of_scores {
            middle..middle + count(&self.score_mod)
        } else {
            OWN..middle
        }
    }

    fn modify(
        &self,
        inputs: Tensors<'_>,
        graph: &Option<Arc<Graph>>,
        of_scores: bool,
        values: HostTensor,
    ) -> Result<HostTensor> {
        let Some(graph) = graph else {
            return Ok(values);
        };
        let shape = values.shape().clone();
        let mut args = vec![values];
        for i in self.captures(of_scores) {
            args.push(inputs.req(i)?.clone());
        }
        match &host::run(graph, &args)?[..] {
            [out] if *out.shape() == shape => Ok(out.clone()),
            _ => Err(inputs.error("a modifier must make one tensor of its input's shape")),
        }
    }
}

impl Operator for FlexAttention {
    const NAMES: &'static [&'static str] = &["FlexAttention"];

    fn attrs(&self) -> Attrs {
        Attrs::new("FlexAttention")
            .with_opt("scale", self.scale)
            .with_opt("score_mod", self.score_mod.clone())
            .with_opt("prob_mod", self.prob_mod.clone())
            .with_opt("softmax_precision", self.softmax_precision)
    }

    fn from_attrs(_: &str, attrs: &Attrs) -> Result<Self> {
        Ok(FlexAttention {
            scale: attrs.opt("scale")?,
            score_mod: attrs.opt("score_mod")?,
            prob_mod: attrs.opt("prob_mod")?,
            softmax_precision: attrs.opt("softmax_precision")?,
        })
    }

    fn infer(&self, inputs: Facts<'_>) -> Result<Vec<Fact>> {
        let needed = self.captures(true).end;
        if inputs.len() != needed {
            return Err(inputs.error(format!("{} inputs, {needed} are needed", inputs.len())));
        }
        let (q, k, v) = (inputs.req(0)?, inputs.req(1)?, inputs.req(2)?);
        if [q, k, v].iter().any(|f| f.rank() != 4) {
            return Err(inputs.error(format!("Q, K, V must have 4 axes: {q}, {k}, {v}")));
        }
        for (what, a, b) in [
            ("head sizes of Q and K", &q.shape[3], &k.shape[3]),
            ("heads of K and V", &k.shape[1], &v.shape[1]),
            ("lengths of K and V", &k.shape[2], &v.shape[2]),
        ] {
            if let (Some(a), Some(b)) = (a.known(), b.known())
                && a != b
            {
                return Err(inputs.error(format!("{what} are {a} and {b}")));
            }
        }
        if let (Some(h), Some(g)) = (q.shape[1].known(), k.shape[1].known())
            && (g == 0 || h % g != 0)
        {
            return Err(inputs.error(format!("{h} query heads do not share {g} key heads")));
        }
        let mut shape = q.shape.clone();
        shape[3] = v.shape[3].clone();
        Ok(vec![Fact::new(q.dtype, shape)])
    }

    fn work(&self, inputs: Facts<'_>, outputs: &[Fact]) -> u64 {
        // Every query meets every key, once in each of two products.
        let keys = |i: usize| {
            inputs
                .opt(i)
                .map_or(0, |k| k.extent(k.rank().saturating_sub(2)))
        };
        let (keys, q) = (keys(1), inputs.opt(0).map_or(0, Fact::count));
        crate::op::per_output(inputs, outputs, keys).saturating_add(q.saturating_mul(keys))
    }

    fn reference(&self, inputs: Tensors<'_>) -> Result<Vec<HostTensor>> {
        let (q, k, v) = (inputs.req(0)?, inputs.req(1)?, inputs.req(2)?);
        let (&[batch, heads, queries, size], &[_, groups, keys, _], &[_, _, _, v_size]) =
            (&q.shape()[..], &k.shape()[..], &v.shape()[..])
        else {
            return Err(inputs.error("Q, K and V must have 4 axes"));
        };
        if k.len() != batch * groups * keys * size || v.len() != batch * groups * keys * v_size {
            return Err(inputs.error("Q, K and V do not fit"));
        }
        let (dtype, precision) = (q.dtype(), self.precision(q.dtype()));
        let (q, k, v) = (q.to_f64(), k.to_f64(), v.to_f64());
        let scale = self.scale.map_or(1.0 / (size as f64).sqrt(), f64::from);
        let group = |row: usize| {
            let (item, head) = (row / queries / heads, row / queries % heads);
            item * groups + head / (heads / groups.max(1)).max(1)
        };
        let rows = batch * heads * queries;
        let mut scores = Vec::with_capacity(rows * keys);
        for row in 0..rows {
            let q = &q[row * size..][..size];
            for key in 0..keys {
                let k = &k[(group(row) * keys + key) * size..][..size];
                scores.push(super::recurrent::dot(q, k) * scale);
            }
        }
        let scores = HostTensor::from_f64(precision, [batch, heads, queries, keys], scores)?;
        let scores = self.modify(inputs, &self.score_mod, true, scores)?;
        let mut probabilities = scores.to_f64();
        for row in probabilities.chunks_mut(keys.max(1)) {
            let most = row.iter().copied().fold(f64::NEG_INFINITY, f64::max);
            row.iter_mut().for_each(|x| *x = (*x - most).exp());
            let sum: f64 = row.iter().sum();
            row.iter_mut().for_each(|x| *x /= sum);
        }
        let probabilities = HostTensor::from_f64(precision, scores.shape().clone(), probabilities)?;
        let probabilities = self
            .modify(inputs, &self.prob_mod, false, probabilities)?
            .to_f64();
        let mut y = vec![0.0; rows * v_size];
        for (row, y) in y.chunks_mut(v_size.max(1)).enumerate() {
            for key in 0..keys {
                let v = &v[(group(row) * keys + key) * v_size..][..v_size];
                for (y, v) in y.iter_mut().zip(v) {
                    *y += probabilities[row * keys + key] * v;
                }
            }
        }
        Ok(vec![HostTensor::from_f64(
            dtype,
            [batch, heads, queries, v_size],
            y,
        )?])
    }

    fn folds(&self) -> bool {
        false
    }

    fn cases() -> Vec<Case> {
        let x = |shape: &[usize], seed| samples::uniform(shape, seed);
        let op = FlexAttention {
            scale: None,
            score_mod: None,
            prob_mod: None,
            softmax_precision: None,
        };
        let inputs = || {
            vec![
                x(&[2, 4, 5, 8], 1),
                x(&[2, 2, 7, 8], 2),
                x(&[2, 2, 7, 6], 3),
            ]
        };
        let scaled = FlexAttention {
            scale: Some(0.2),
            softmax_precision: Some(DType::F64),
            ..op.clone()
        };
        let half = inputs().into_iter().filter_map(|t| t.cast(DType::F16).ok());
        let mut cases = vec![
            Case::new("plain", op.clone(), inputs()),
            Case::new("scaled, in f64", scaled, inputs()),
            Case::new("f16", op.clone(), half.collect()),
        ];
        if let (Ok(scores), Ok(probabilities)) = (modifier(false), modifier(true)) {
            let score_mod = FlexAttention {
                score_mod: Some(Arc::new(scores)),
                ..op
            };
            let both = FlexAttention {
                prob_mod: Some(Arc::new(probabilities)),
                ..score_mod.clone()
            };
            let with = |more: HostTensor| [inputs(), vec![more]].concat();
            cases.push(Case::new("scores changed", score_mod, inputs()));
            cases.push(Case::new("both changed", both, with(x(&[7], 4))));
        }
        cases
    }
}

/// Squares the tensor; with `captures`, multiplies it by a value from outside instead.
fn modifier(captures: bool) -> Result<Graph> {
    let mut graph = Graph::new();
    let scores = graph.input("scores", Some(Fact::sized(DType::F32, &[2, 4, 5, 7])))?;
    let by = if captures {
        graph.input("outer", Some(Fact::sized(DType::F32, &[7])))?
    } else {
        scores
    };
    let product = crate::Op::from_name("Mul", &Attrs::new("Mul"))?;
    let y = graph.add1(product, &[scores, by])?;
    graph.output("y", y);
    Ok(graph)
}
