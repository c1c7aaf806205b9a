//! LinearAttention: a state of keys and values that every step decays, corrects and reads.

use crate::dim::Dim;
use crate::fact::{Facts, Tensors};
use crate::op::{Case, Operator};
use crate::{Attrs, Error, Fact, Result, samples};
use tilewright_tensor::{DType, HostTensor};

/// ONNX LinearAttention-27. Inputs query, key, value \[batch, steps, heads * size\], past_state, decay, beta; outputs
/// \[batch, steps, query heads * value size\] and the state \[batch, heads, key size, value size\].
#[derive(Clone, Debug)]
pub struct LinearAttention {
    /// Heads of queries.
    pub q_num_heads: i64,
    /// Heads of keys and values; query heads share them evenly.
    pub kv_num_heads: i64,
    /// Factor of the output; 0: 1 / sqrt(key size).
    pub scale: f32,
    /// How the state follows.
    pub rule: UpdateRule,
    /// A hint for parallel kernels.
    pub chunk_size: i64,
}

/// How LinearAttention's state follows from step to step.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum UpdateRule {
    /// S + k v
    Linear,
    /// e^g S + k v
    Gated,
    /// S + beta k (v - S k)
    Delta,
    /// e^g S + beta k (v - e^g S k)
    GatedDelta,
}

const RULES: [(UpdateRule, &str); 4] = [
    (UpdateRule::Linear, "linear"),
    (UpdateRule::Gated, "gated"),
    (UpdateRule::Delta, "delta"),
    (UpdateRule::GatedDelta, "gated_delta"),
];

impl UpdateRule {
    fn gated(self) -> bool {
        matches!(self, UpdateRule::Gated | UpdateRule::GatedDelta)
    }

    fn corrects(self) -> bool {
        matches!(self, UpdateRule::Delta | UpdateRule::GatedDelta)
    }
}

/// The state of a head and what a step does to it.
struct Head<'a> {
    state: &'a mut [f64],
    k: &'a [f64],
    v: &'a [f64],
    decay: Option<&'a [f64]>,
    beta: Option<f64>,
}

impl Head<'_> {
    fn update(&mut self) {
        let width = self.v.len().max(1);
        if let Some(decay) = self.decay {
            for (d, row) in self.state.chunks_mut(width).enumerate() {
                // One factor for all keys, or one each.
                let factor = decay[if decay.len() == 1 { 0 } else { d }].exp();
                row.iter_mut().for_each(|s| *s *= factor);
            }
        }
        let mut write = self.v.to_vec();
        if let Some(beta) = self.beta {
            for (row, k) in self.state.chunks(width).zip(self.k) {
                for (w, s) in write.iter_mut().zip(row) {
                    *w -= s * k;
                }
            }
            write.iter_mut().for_each(|w| *w *= beta);
        }
        for (row, k) in self.state.chunks_mut(width).zip(self.k) {
            for (s, w) in row.iter_mut().zip(&write) {
                *s += k * w;
            }
        }
    }
}

impl LinearAttention {
    fn heads(&self) -> (usize, usize) {
        (self.q_num_heads as usize, self.kv_num_heads as usize)
    }

    /// Key size and value size.
    fn sizes(&self, inputs: Facts<'_>) -> Result<(Dim, Dim)> {
        for (i, name) in ["query", "key", "value"].iter().enumerate() {
            let f = inputs.req(i)?;
            if f.rank() != 3 {
                return Err(inputs.error(format!("{name} must have 3 axes, got {f}")));
            }
        }
        for (i, wanted, name) in [
            (4, self.rule.gated(), "decay"),
            (5, self.rule.corrects(), "beta"),
        ] {
            if inputs.opt(i).is_some() != wanted {
                let what = if wanted { "needs" } else { "has no" };
                return Err(inputs.error(format!("this rule {what} {name}")));
            }
        }
        let per = |i: usize, heads: i64| -> Result<Dim> {
            let last = inputs.req(i)?.shape[2].clone();
            if last.known().is_some_and(|n| n % heads != 0) {
                return Err(inputs.error(format!("{last} do not divide into {heads} heads")));
            }
            Ok(last.floor_div(&heads.into()))
        };
        let (q, k) = (per(0, self.q_num_heads)?, per(1, self.kv_num_heads)?);
        if let (Some(q), Some(k)) = (q.known(), k.known())
            && q != k
        {
            return Err(inputs.error(format!("sizes of queries and keys are {q} and {k}")));
        }
        Ok((q, per(2, self.kv_num_heads)?))
    }

    fn facts(&self, inputs: Facts<'_>) -> Result<Vec<Fact>> {
        let (dk, dv) = self.sizes(inputs)?;
        let query = inputs.req(0)?;
        let (batch, steps) = (query.shape[0].clone(), query.shape[1].clone());
        let state = inputs.opt(3).map_or(query.dtype, |s| s.dtype);
        let width = dv.clone() * Dim::from(self.q_num_heads);
        Ok(vec![
            Fact::new(query.dtype, vec![batch.clone(), steps, width]),
            Fact::new(state, vec![batch, self.kv_num_heads.into(), dk, dv]),
        ])
    }

    /// The values of an optional input with `last` elements a step, one of `choices`.
    fn gate(
        &self,
        inputs: Tensors<'_>,
        i: usize,
        rows: usize,
        choices: [usize; 2],
    ) -> Result<Option<(Vec<f64>, usize)>> {
        let Some(t) = inputs.opt(i) else {
            return Ok(None);
        };
        let last = t.shape().last().copied().unwrap_or(1);
        if t.len() != rows * last || !choices.contains(&last) {
            let what = format!("input {i} has a shape of {:?}", t.shape());
            return Err(inputs.error(what));
        }
        Ok(Some((t.to_f64(), last)))
    }
}

impl Operator for LinearAttention {
    const NAMES: &'static [&'static str] = &["LinearAttention"];

    fn attrs(&self) -> Attrs {
        Attrs::new("LinearAttention")
            .with("q_num_heads", self.q_num_heads)
            .with("kv_num_heads", self.kv_num_heads)
            .with("scale", self.scale)
            .with("update_rule", RULES[self.rule as usize].1.to_owned())
            .with("chunk_size", self.chunk_size)
    }

    fn from_attrs(_: &str, attrs: &Attrs) -> Result<Self> {
        let rule: String = attrs.or("update_rule", "gated_delta".to_owned())?;
        let known = RULES.iter().find(|(_, name)| *name == rule);
        let error = |what: String| Error::op("LinearAttention", what);
        let op = LinearAttention {
            q_num_heads: attrs.need("q_num_heads")?,
            kv_num_heads: attrs.need("kv_num_heads")?,
            scale: attrs.or("scale", 0.0)?,
            rule: known
                .ok_or_else(|| error(format!("update_rule `{rule}` is unknown")))?
                .0,
            chunk_size: attrs.or("chunk_size", 64)?,
        };
        let (q, kv) = (op.q_num_heads, op.kv_num_heads);
        if q <= 0 || kv <= 0 || q % kv != 0 {
            return Err(error(format!(
                "{q} query heads do not share {kv} key heads"
            )));
        }
        Ok(op)
    }

    fn infer(&self, inputs: Facts<'_>) -> Result<Vec<Fact>> {
        self.facts(inputs)
    }

    fn work(&self, inputs: Facts<'_>, outputs: &[Fact]) -> u64 {
        // Every step touches the whole state.
        let state = outputs.get(1).map_or(0, |s| s.count() / s.extent(0).max(1));
        let places = inputs
            .opt(0)
            .map_or(0, |x| x.extent(0).saturating_mul(x.extent(1)));
        crate::op::touched(inputs, outputs)
            .saturating_add(places.saturating_mul(state).saturating_mul(4))
    }

    fn reference(&self, inputs: Tensors<'_>) -> Result<Vec<HostTensor>> {
        let whole = |i: usize| inputs.opt(i).map(|t| Fact::sized(t.dtype(), t.shape()));
        let facts: Vec<Option<Fact>> = (0..inputs.len()).map(whole).collect();
        let facts: Vec<Option<&Fact>> = facts.iter().map(Option::as_ref).collect();
        let shapes = self.facts(Facts::new("LinearAttention", &facts))?;
        let bound = |i: usize| shapes[i].bind(&Default::default());
        let (state_shape, out_shape) = (bound(1)?, bound(0)?);
        let (batch, steps) = (out_shape[0], out_shape[1]);
        let ((q_heads, heads), dk, dv) = (self.heads(), state_shape[2], state_shape[3]);
        let scale = match self.scale {
            0.0 => 1.0 / (dk as f64).sqrt(),
            scale => f64::from(scale),
        };
        let rows = batch * steps;
        let (query, dtype) = (inputs.req(0)?.to_f64(), inputs.req(0)?.dtype());
        let (key, value) = (inputs.req(1)?.to_f64(), inputs.req(2)?.to_f64());
        if key.len() != rows * heads * dk || value.len() != rows * heads * dv {
            return Err(inputs.error("query, key and value have different batches or steps"));
        }
        let decay = self.gate(inputs, 4, rows, [heads, heads * dk])?;
        let beta = self.gate(inputs, 5, rows, [heads, 1])?;
        let mut state = super::recurrent::values(inputs, 3, batch * heads * dk * dv)?;
        let mut out = vec![0.0; rows * q_heads * dv];
        for row in 0..rows {
            for head in 0..heads {
                let at = (row / steps * heads + head) * dk * dv;
                let state = &mut state[at..][..dk * dv];
                let mut one = Head {
                    state: &mut *state,
                    k: &key[(row * heads + head) * dk..][..dk],
                    v: &value[(row * heads + head) * dv..][..dv],
                    decay: decay.as_ref().map(|(values, last)| {
                        let each = last / heads;
                        &values[row * last + head * each..][..each]
                    }),
                    beta: (beta.as_ref()).map(|(values, last)| {
                        values[row * last + if *last == 1 { 0 } else { head }]
                    }),
                };
                one.update();
                let group = q_heads / heads;
                for q_head in head * group..(head + 1) * group {
                    let at = row * q_heads + q_head;
                    let (q, out) = (&query[at * dk..][..dk], &mut out[at * dv..][..dv]);
                    for (q, row) in q.iter().zip(state.chunks(dv.max(1))) {
                        for (o, s) in out.iter_mut().zip(row) {
                            *o += scale * q * s;
                        }
                    }
                }
            }
        }
        Ok(vec![
            HostTensor::from_f64(dtype, out_shape, out)?,
            HostTensor::from_f64(shapes[1].dtype, state_shape, state)?,
        ])
    }

    fn folds(&self) -> bool {
        false
    }

    fn cases() -> Vec<Case> {
        let mut cases = vec![];
        let (b, t, h, g, dk, dv) = (2, 5, 4, 2, 3, 6);
        let x = |shape: &[usize], seed| Some(samples::uniform(shape, seed));
        for (rule, name) in RULES {
            for (per_key, past, one_beta, scale) in
                [(true, true, false, 0.0), (false, false, true, 0.3)]
            {
                let op = LinearAttention {
                    q_num_heads: h as i64,
                    kv_num_heads: g as i64,
                    scale,
                    rule,
                    chunk_size: 64,
                };
                let decay = [b, t, if per_key { g * dk } else { g }];
                let beta = [b, t, if one_beta { 1 } else { g }];
                let inputs = vec![
                    x(&[b, t, h * dk], 1),
                    x(&[b, t, g * dk], 2),
                    x(&[b, t, g * dv], 3),
                    x(&[b, g, dk, dv], 4).filter(|_| past),
                    x(&decay, 5).filter(|_| rule.gated()),
                    x(&beta, 6).filter(|_| rule.corrects()),
                ];
                let half = inputs.iter().map(|t| t.as_ref()?.cast(DType::F16).ok());
                let half = Case::with_optional(&format!("{name} f16"), op.clone(), half.collect());
                let title = format!("{name}, decay of keys {per_key}, past {past}");
                cases.push(Case::with_optional(&title, op, inputs));
                cases.extend(past.then_some(half));
            }
        }
        cases
    }
}
