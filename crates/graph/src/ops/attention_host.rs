//! Attention on the host.

use super::attention::{Attention, QkOutput, Sizes};
use crate::fact::{Tensors, Values};
use crate::{Fact, Result};
use tilewright_tensor::{DType, HostTensor};

/// What is added to scores; keys past the last one get minus infinity.
pub(super) struct Mask {
    pub(super) values: Vec<f64>,
    pub(super) last: usize,
    /// Rows from one batch item, head and query to the next.
    pub(super) steps: [usize; 3],
}

/// An attention with its data.
pub(super) struct Job<'a> {
    op: &'a Attention,
    size: Sizes<usize>,
    q: Rows,
    k: Vec<f64>,
    v: Vec<f64>,
    dtypes: [DType; 3],
    mask: Option<Mask>,
    /// For each batch item: how many keys are valid, if that is given.
    valid: Option<Vec<i64>>,
}

/// A tensor of heads: where the row of an item, head and place begins.
struct Rows {
    values: Vec<f64>,
    steps: [usize; 3],
    size: usize,
}

impl Rows {
    /// Of a tensor with 3 or 4 axes.
    fn new(tensor: &HostTensor, heads: usize, length: usize, size: usize) -> Rows {
        let steps = if tensor.rank() == 3 {
            [length * heads * size, size, heads * size]
        } else {
            [heads * length * size, length * size, size]
        };
        Rows {
            values: tensor.to_f64(),
            steps,
            size,
        }
    }

    fn row(&self, item: usize, head: usize, place: usize) -> &[f64] {
        let [a, b, c] = self.steps;
        &self.values[item * a + head * b + place * c..][..self.size]
    }
}

impl<'a> Job<'a> {
    pub(super) fn new(
        op: &'a Attention,
        inputs: Tensors<'_>,
        size: Sizes<usize>,
    ) -> Result<Job<'a>> {
        let (q, k, v) = (inputs.req(0)?, inputs.req(1)?, inputs.req(2)?);
        let valid = inputs.opt_ints(6)?;
        if valid.as_ref().is_some_and(|v| v.len() != size.batch) {
            return Err(inputs.error("nonpad_kv_seqlen must have an entry for each batch item"));
        }
        let joined =
            |now: &HostTensor, past: Option<&HostTensor>, width: usize| -> Result<Vec<f64>> {
                let now = Rows::new(now, size.kv_heads, size.keys, width);
                let past = past.map(|t| Rows::new(t, size.kv_heads, size.past, width));
                let mut all = vec![];
                for item in 0..size.batch {
                    for head in 0..size.kv_heads {
                        for place in 0..size.past {
                            all.extend(past.iter().flat_map(|p| p.row(item, head, place)));
                        }
                        for place in 0..size.keys {
                            all.extend(now.row(item, head, place));
                        }
                    }
                }
                Ok(all)
            };
        Ok(Job {
            op,
            q: Rows::new(q, size.q_heads, size.queries, size.head),
            k: joined(k, inputs.opt(4), size.head)?,
            v: joined(v, inputs.opt(5), size.v_head)?,
            dtypes: [q, k, v].map(HostTensor::dtype),
            mask: Mask::of(inputs, &size)?,
            valid,
            size,
        })
    }

    /// The bias of all keys for a query: minus infinity where it must not look.
    fn bias(&self, item: usize, head: usize, query: usize) -> Vec<f64> {
        let total = self.size.past + self.size.keys;
        let valid = self.valid.as_ref().map(|v| v[item]);
        let offset = valid.map_or(self.size.past as i64, |n| {
            n.saturating_sub(self.size.queries as i64)
        });
        let place = offset.saturating_add(query as i64);
        let (left, right) = (self.op.left_window, self.op.right_window);
        let seen = |key: usize| {
            let ahead = (key as i64).saturating_sub(place);
            !(self.op.is_causal && ahead > 0
                || left >= 0 && ahead < -left
                || right >= 0 && ahead > right
                || valid.is_some_and(|n| key as i64 >= n))
        };
        let masked = |key: usize| {
            let Some(mask) = &self.mask else { return 0.0 };
            let [a, b, c] = mask.steps;
            if key < mask.last {
                mask.values[(item * a + head * b + query * c) * mask.last + key]
            } else {
                f64::NEG_INFINITY
            }
        };
        (0..total)
            .map(|key| {
                if seen(key) {
                    masked(key)
                } else {
                    f64::NEG_INFINITY
                }
            })
            .collect()
    }

    /// One query: adds to `y`, and gives what output 3 asks for.
    fn query(&self, item: usize, head: usize, query: usize, y: &mut [f64]) -> Vec<f64> {
        let s = &self.size;
        let total = s.past + s.keys;
        let group = item * s.kv_heads + head / (s.q_heads / s.kv_heads).max(1);
        let q = self.q.row(item, head, query);
        let scale = (self.op.scale).map_or(1.0 / (s.head as f64).sqrt(), f64::from);
        let raw: Vec<f64> = (0..total)
            .map(|key| {
                let k = &self.k[(group * total + key) * s.head..][..s.head];
                super::recurrent::dot(q, k) * scale
            })
            .collect();
        let cap = f64::from(self.op.softcap);
        let capped: Vec<f64> = if cap > 0.0 {
            raw.iter().map(|x| cap * (x / cap).tanh()).collect()
        } else {
            raw.clone()
        };
        let bias = self.bias(item, head, query);
        let biased: Vec<f64> = capped.iter().zip(&bias).map(|(x, b)| x + b).collect();
        let softmax = softmax(&biased, &bias);
        for (key, p) in softmax.iter().enumerate().filter(|(_, p)| **p != 0.0) {
            let v = &self.v[(group * total + key) * s.v_head..][..s.v_head];
            for (y, v) in y.iter_mut().zip(v) {
                *y += p * v;
            }
        }
        match self.op.qk_output {
            QkOutput::Raw => raw,
            QkOutput::Capped => capped,
            QkOutput::Biased => biased,
            QkOutput::Softmax => softmax,
        }
    }

    pub(super) fn run(self, shapes: &[Fact]) -> Result<Vec<HostTensor>> {
        let s = &self.size;
        let mut y = vec![0.0; s.batch * s.q_heads * s.queries * s.v_head];
        let mut scores = vec![];
        let three = shapes[0].rank() == 3;
        for item in 0..s.batch {
            for head in 0..s.q_heads {
                for query in 0..s.queries {
                    let row = if three {
                        (item * s.queries + query) * s.q_heads + head
                    } else {
                        (item * s.q_heads + head) * s.queries + query
                    };
                    let y = &mut y[row * s.v_head..][..s.v_head];
                    scores.extend(self.query(item, head, query, y));
                }
            }
        }
        let [q, k, v] = self.dtypes;
        let all = [(q, y), (k, self.k), (v, self.v), (q, scores)];
        (all.into_iter().zip(shapes))
            .map(|((dtype, values), fact)| {
                let shape = fact.bind(&Default::default())?;
                Ok(HostTensor::from_f64(dtype, shape, values)?)
            })
            .collect()
    }
}

/// Softmax of the scores whose bias is not minus infinity; zeros for the others, and if there are none.
fn softmax(scores: &[f64], bias: &[f64]) -> Vec<f64> {
    let open = |i: usize| bias[i] != f64::NEG_INFINITY && scores[i] != f64::NEG_INFINITY;
    let most = (0..scores.len())
        .filter(|&i| open(i))
        .fold(f64::NEG_INFINITY, |m, i| m.max(scores[i]));
    let weight = |i: usize| {
        if open(i) {
            (scores[i] - most).exp()
        } else {
            0.0
        }
    };
    let weights: Vec<f64> = (0..scores.len()).map(weight).collect();
    let sum: f64 = weights.iter().sum();
    if sum == 0.0 {
        return weights;
    }
    weights.iter().map(|w| w / sum).collect()
}
