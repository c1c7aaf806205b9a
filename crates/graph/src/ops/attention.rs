//! Attention: softmax(Q K^T scale + bias) V.

use super::attention_host::{Job, Mask};
use crate::dim::Dim;
use crate::fact::{Facts, Tensors, broadcast};
use crate::lower::{Lower, Place, Placing};
use crate::op::{Case, Operand, Operator};
use crate::{Attrs, Error, Fact, Result};
use tilewright_tensor::{DType, HostTensor};

/// ONNX Attention-25. Inputs Q, K, V, mask, past_key, past_value, nonpad_kv_seqlen; outputs Y, present_key,
/// present_value, qk_matmul_output. Q, K and V are \[batch, heads, sequence, size\] or \[batch, sequence, heads * size\].
/// Query head h reads the key and value head h / (query heads / key heads). A query that sees no key gives zeros.
#[derive(Clone, Debug)]
pub struct Attention {
    /// Query i sees keys up to i + offset, where the offset counts the keys before this block of queries.
    pub is_causal: bool,
    /// Heads of K and V where they have 3 axes.
    pub kv_num_heads: Option<i64>,
    /// Heads of Q where it has 3 axes.
    pub q_num_heads: Option<i64>,
    /// What output 3 holds.
    pub qk_output: QkOutput,
    /// Factor of the products; 1 / sqrt(size) if absent.
    pub scale: Option<f32>,
    /// Scores become softcap * tanh(score / softcap), unless it is 0.
    pub softcap: f32,
    /// The precision that the softmax must have at least. Ours is never lower than f32.
    pub softmax_precision: Option<DType>,
    /// How many keys left of its own place a query sees; -1: all.
    pub left_window: i64,
    /// How many keys right of its own place a query sees; -1: all.
    pub right_window: i64,
}

/// What Attention's output 3 holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum QkOutput {
    /// Scaled products.
    Raw,
    /// After the soft cap.
    Capped,
    /// After the bias.
    Biased,
    /// After the softmax.
    Softmax,
}

const OUTPUTS: [QkOutput; 4] = [
    QkOutput::Raw,
    QkOutput::Capped,
    QkOutput::Biased,
    QkOutput::Softmax,
];

impl Default for Attention {
    fn default() -> Self {
        Attention {
            is_causal: false,
            kv_num_heads: None,
            q_num_heads: None,
            qk_output: QkOutput::Raw,
            scale: None,
            softcap: 0.0,
            softmax_precision: None,
            left_window: -1,
            right_window: -1,
        }
    }
}

/// Sizes of an attention; `N` is symbolic or plain.
#[derive(Clone, Debug)]
pub(super) struct Sizes<N> {
    pub(super) batch: N,
    pub(super) q_heads: N,
    pub(super) kv_heads: N,
    pub(super) queries: N,
    /// Keys given now, and those of the past.
    pub(super) keys: N,
    pub(super) past: N,
    pub(super) head: N,
    pub(super) v_head: N,
}

impl Attention {
    pub(super) fn sizes(&self, inputs: Facts<'_>) -> Result<Sizes<Dim>> {
        let (q, k, v) = (inputs.req(0)?, inputs.req(1)?, inputs.req(2)?);
        let split = |f: &Fact, heads: Option<i64>, name: &str| match (&f.shape[..], heads) {
            ([b, h, s, d], _) => Ok([b, h, s, d].map(Dim::clone)),
            ([b, s, hidden], Some(heads)) if heads > 0 => {
                let h = Dim::from(heads);
                if hidden.known().is_some_and(|n| n % heads != 0) {
                    return Err(inputs.error(format!("{hidden} do not divide into {heads} heads")));
                }
                Ok([b.clone(), h.clone(), s.clone(), hidden.floor_div(&h)])
            }
            ([_, _, _], _) => {
                Err(inputs.error(format!("{name} has 3 axes but no number of heads")))
            }
            _ => Err(inputs.error(format!("{name} must have 3 or 4 axes, got {f}"))),
        };
        let [batch, q_heads, queries, head] = split(q, self.q_num_heads, "Q")?;
        let [k_batch, kv_heads, keys, k_head] = split(k, self.kv_num_heads, "K")?;
        let [v_batch, v_heads, v_keys, v_head] = split(v, self.kv_num_heads, "V")?;
        inputs.agree("batches of Q, K and V", &[&batch, &k_batch, &v_batch])?;
        inputs.agree("head sizes of Q and K", &[&head, &k_head])?;
        inputs.agree("heads of K and V", &[&kv_heads, &v_heads])?;
        inputs.agree("lengths of K and V", &[&keys, &v_keys])?;
        let mut past = Dim::from(0i64);
        for (i, size) in [(4, &head), (5, &v_head)] {
            let Some(p) = inputs.opt(i) else { continue };
            let [b, heads, length, own] = &p.shape[..] else {
                return Err(inputs.error(format!("past keys and values have 4 axes, got {p}")));
            };
            if i == 4 {
                past = length.clone();
            }
            inputs.agree("batches now and past", &[&batch, b])?;
            inputs.agree("heads now and past", &[&kv_heads, heads])?;
            inputs.agree("head sizes now and past", &[size, own])?;
            inputs.agree("lengths of the past", &[&past, length])?;
        }
        if let (Some(q), Some(kv)) = (q_heads.known(), kv_heads.known())
            && (kv == 0 || q % kv != 0)
        {
            return Err(inputs.error(format!("{q} query heads do not share {kv} key heads")));
        }
        Ok(Sizes {
            batch,
            q_heads,
            kv_heads,
            queries,
            keys,
            past,
            head,
            v_head,
        })
    }

    fn check(&self, inputs: Facts<'_>) -> Result<()> {
        if inputs.opt(4).is_some() != inputs.opt(5).is_some() {
            return Err(inputs.error("past_key and past_value go together"));
        }
        if inputs.opt(4).is_some() && inputs.opt(6).is_some() {
            return Err(inputs.error("nonpad_kv_seqlen excludes past keys and values"));
        }
        Ok(())
    }

    fn facts(&self, inputs: Facts<'_>) -> Result<Vec<Fact>> {
        self.check(inputs)?;
        let (q, v) = (inputs.req(0)?, inputs.req(2)?);
        let s = self.sizes(inputs)?;
        let total = s.past.clone() + s.keys.clone();
        if let Some(mask) = inputs.opt(3) {
            let mut own = mask.shape.clone();
            if let Some(last) = own.last_mut() {
                *last = total.clone(); // a shorter mask is padded
            }
            let whole = [&s.batch, &s.q_heads, &s.queries, &total].map(Dim::clone);
            if broadcast("Attention", &[&own, &whole])?.len() != 4 {
                return Err(inputs.error(format!("the mask is {mask}")));
            }
        }
        let y = if q.rank() == 3 {
            vec![
                s.batch.clone(),
                s.queries.clone(),
                s.q_heads.clone() * s.v_head.clone(),
            ]
        } else {
            vec![
                s.batch.clone(),
                s.q_heads.clone(),
                s.queries.clone(),
                s.v_head.clone(),
            ]
        };
        let kv = |size: Dim| vec![s.batch.clone(), s.kv_heads.clone(), total.clone(), size];
        let scores = vec![
            s.batch.clone(),
            s.q_heads.clone(),
            s.queries.clone(),
            total.clone(),
        ];
        Ok(vec![
            Fact::new(q.dtype, y),
            Fact::new(inputs.req(1)?.dtype, kv(s.head.clone())),
            Fact::new(v.dtype, kv(s.v_head.clone())),
            Fact::new(q.dtype, scores),
        ])
    }
}

/// The plain sizes.
pub(super) fn plain(sizes: &Sizes<Dim>) -> Result<Sizes<usize>> {
    let all = [
        &sizes.batch,
        &sizes.q_heads,
        &sizes.kv_heads,
        &sizes.queries,
        &sizes.keys,
        &sizes.past,
        &sizes.head,
        &sizes.v_head,
    ];
    let n = super::moving::sizes(&all.map(Dim::clone))?;
    Ok(Sizes {
        batch: n[0],
        q_heads: n[1],
        kv_heads: n[2],
        queries: n[3],
        keys: n[4],
        past: n[5],
        head: n[6],
        v_head: n[7],
    })
}

impl Operator for Attention {
    const NAMES: &'static [&'static str] = &["Attention"];

    fn attrs(&self) -> Attrs {
        Attrs::new("Attention")
            .with("is_causal", self.is_causal)
            .with_opt("kv_num_heads", self.kv_num_heads)
            .with_opt("q_num_heads", self.q_num_heads)
            .with("qk_matmul_output_mode", self.qk_output as i64)
            .with_opt("scale", self.scale)
            .with("softcap", self.softcap)
            .with_opt("softmax_precision", self.softmax_precision)
            .with("left_window_size", self.left_window)
            .with("right_window_size", self.right_window)
    }

    fn from_attrs(_: &str, attrs: &Attrs) -> Result<Self> {
        let mode: i64 = attrs.or("qk_matmul_output_mode", 0)?;
        let output = usize::try_from(mode).ok().and_then(|m| OUTPUTS.get(m));
        let unknown = || Error::op("Attention", format!("qk_matmul_output_mode is {mode}"));
        let op = Attention {
            is_causal: attrs.or("is_causal", false)?,
            kv_num_heads: attrs.opt("kv_num_heads")?,
            q_num_heads: attrs.opt("q_num_heads")?,
            qk_output: *output.ok_or_else(unknown)?,
            scale: attrs.opt("scale")?,
            softcap: attrs.or("softcap", 0.0)?,
            softmax_precision: attrs.opt("softmax_precision")?,
            left_window: attrs.or("left_window_size", -1)?,
            right_window: attrs.or("right_window_size", -1)?,
        };
        if op.left_window < -1 || op.right_window < -1 {
            return Err(Error::op("Attention", "a window is below -1"));
        }
        Ok(op)
    }

    fn infer(&self, inputs: Facts<'_>) -> Result<Vec<Fact>> {
        self.facts(inputs)
    }

    fn work(&self, inputs: Facts<'_>, outputs: &[Fact]) -> u64 {
        // Every query meets every key, once in each of two products.
        let keys = |i: usize| {
            inputs
                .opt(i)
                .map_or(0, |k| k.extent(k.rank().saturating_sub(2)))
        };
        let (keys, q) = (
            keys(1).saturating_add(keys(4)),
            inputs.opt(0).map_or(0, Fact::count),
        );
        crate::op::per_output(inputs, outputs, keys).saturating_add(q.saturating_mul(keys))
    }

    fn reference(&self, inputs: Tensors<'_>) -> Result<Vec<HostTensor>> {
        let whole = |i: usize| inputs.opt(i).map(|t| Fact::sized(t.dtype(), t.shape()));
        let facts: Vec<Option<Fact>> = (0..inputs.len()).map(whole).collect();
        let facts: Vec<Option<&Fact>> = facts.iter().map(Option::as_ref).collect();
        let facts = Facts::new("Attention", &facts);
        let shapes = self.facts(facts)?;
        let size = plain(&self.sizes(facts)?)?;
        Job::new(self, inputs, size)?.run(&shapes)
    }

    fn place(&self, cx: &Placing<'_>) -> Place {
        super::attention_device::place(cx)
    }

    fn lower(&self, cx: &mut Lower<'_>) -> Result<()> {
        super::attention_device::lower(self, cx)
    }

    fn folds(&self) -> bool {
        false
    }

    fn half(&self, operand: Operand) -> bool {
        // Scores are computed in place, in f32.
        operand != Operand::Output(3)
    }

    fn cases() -> Vec<Case> {
        super::attention_cases::cases()
    }
}

impl Mask {
    /// The mask of input 3, for all queries and keys.
    pub(super) fn of(inputs: Tensors<'_>, size: &Sizes<usize>) -> Result<Option<Mask>> {
        let Some(mask) = inputs.opt(3) else {
            return Ok(None);
        };
        let boolean = mask.dtype() == DType::Bool;
        let mut values = mask.to_f64();
        if boolean {
            for v in &mut values {
                *v = if *v == 0.0 { f64::NEG_INFINITY } else { 0.0 };
            }
        }
        let last = mask.shape().last().copied().unwrap_or(1);
        let total = size.past + size.keys;
        let mut shape = mask.shape().to_vec();
        shape.resize(shape.len().max(1), 1);
        let rows = &shape[..shape.len() - 1];
        let whole = [size.batch, size.q_heads, size.queries];
        let steps = tilewright_tensor::Shape::from(rows)
            .broadcast_strides(&tilewright_tensor::Shape::from(whole))?;
        if last > total {
            return Err(inputs.error(format!("a mask for {last} keys where there are {total}")));
        }
        Ok(Some(Mask {
            values,
            last,
            steps: [0, 1, 2].map(|i| steps[i] as usize),
        }))
    }
}
