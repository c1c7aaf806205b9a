//! Attention: with running sums and no matrix of scores, or as two products with a softmax between.

mod products;

use tilewright_device::{AdapterKind, Caps, Dispatch, Variant, fold_groups};

use crate::error::index;
use crate::rounds::check_rounds;
use crate::softmax::floats;
use crate::walk::loaded;
use crate::{Error, Result, Store, View};

pub use products::attention_by_products;

const KERNEL: &str = "attention";

/// A tensor of heads: elements from one batch item, head and place to the next. Rows are contiguous.
#[derive(Debug, Clone)]
pub struct Heads<'a> {
    /// The tensor, f32 or f16: q, k and y alike.
    pub view: &'a View,
    /// Element strides of item, head and place.
    pub by: [usize; 3],
}

/// What is added to scores, or which keys take part.
#[derive(Debug, Clone)]
pub struct AttentionMask<'a> {
    /// f32 or f16 to add, or u32 that are not 0 where keys take part.
    pub view: &'a View,
    /// Rows from one batch item, query head and query to the next; 0 where all share one.
    pub by: [usize; 3],
    /// Keys in a row; those past it are hidden.
    pub keys: usize,
}

/// Which scores are an output.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scores {
    /// Scaled products.
    Scaled = 1,
    /// After the cap.
    Capped = 2,
    /// After the bias.
    Biased = 3,
    /// After the softmax.
    Softmax = 4,
}

/// y = softmax(cap(scale q k^T) + bias) v for each batch item and query head. Query head h reads key and value head
/// h / (heads / groups). No extent may be 0.
#[derive(Debug, Clone)]
pub struct Attention<'a> {
    /// Batch items.
    pub batch: usize,
    /// Heads of queries.
    pub heads: usize,
    /// Heads of keys and values; a divisor of `heads`.
    pub groups: usize,
    /// Queries.
    pub queries: usize,
    /// Keys.
    pub keys: usize,
    /// Elements of a query and of a key.
    pub head: usize,
    /// Elements of a value.
    pub v_head: usize,
    /// Queries.
    pub q: Heads<'a>,
    /// Keys.
    pub k: Heads<'a>,
    /// Values.
    pub v: Heads<'a>,
    /// The result.
    pub y: Heads<'a>,
    /// Factor of the products.
    pub scale: f32,
    /// Scores become cap * tanh(score / cap).
    pub cap: Option<f32>,
    /// How many keys ahead of its place a query sees (0: causal), and how many behind.
    pub window: [Option<usize>; 2],
    /// Query i has place i + past.
    pub past: usize,
    /// The mask.
    pub mask: Option<AttentionMask<'a>>,
    /// i32 \[batch\]: how many keys are valid; then query i has place i + valid - queries.
    pub valid: Option<&'a View>,
}

/// Values up to this size fit the registers of the kernel with running sums.
const MAX_V_HEAD: usize = 256;
/// Above any distance of keys, so that sums of two stay within i32.
const NO_BOUND: usize = 1 << 30;
/// Up to so many queries a tile of 16 would mostly be padding.
const FEW: usize = 4;
/// A software adapter multiplies fastest by GEMM, as long as the scores of a block of queries stay small.
const SOFTWARE_SCORES: u64 = 16 << 20;
/// Scores of a block of queries: few enough for caches, enough to fill products.
const BLOCK_SCORES: usize = 1 << 20;
/// Queries of a block are a multiple of this, so that every block begins at a place where a binding may begin: after
/// 256 bytes of f16 or more.
const BLOCK_QUERIES: usize = 128;

impl Attention<'_> {
    /// Whether everything lies so that four elements are loaded at once.
    fn by_fours(&self) -> bool {
        let all = [&self.q, &self.k, &self.v, &self.y];
        let strides = all.iter().all(|h| h.by.iter().all(|n| n % 4 == 0));
        self.head % 4 == 0 && self.v_head % 4 == 0 && strides
    }

    /// Elements of the matrix of scores \[batch, heads, queries, keys\].
    #[must_use]
    pub fn scores(&self) -> u64 {
        [self.batch, self.heads, self.queries, self.keys]
            .into_iter()
            .fold(1, |count, n| count.saturating_mul(n as u64))
    }

    /// Elements of the scratch of [`attention_by_products`] where no scores are kept: those of a block of queries, so that
    /// memory grows with the number of keys and not with its square.
    #[must_use]
    pub fn block_scores(&self) -> u64 {
        let each = self.scores() / (self.queries as u64).max(1);
        let fit = usize::try_from(each).map_or(0, |each| BLOCK_SCORES / each.max(1));
        let block = (fit / BLOCK_QUERIES).max(1) * BLOCK_QUERIES;
        each.saturating_mul(block.min(self.queries) as u64)
    }

    /// Whether [`attention_by_products`] is the better way, or the only one.
    #[must_use]
    pub fn prefers_products(&self, caps: &Caps) -> bool {
        let scores = self.block_scores();
        let software = caps.kind == AdapterKind::Software && scores <= SOFTWARE_SCORES;
        let fits = scores.saturating_mul(4) <= caps.limits.binding_bytes;
        self.v_head > MAX_V_HEAD || fits && (self.queries <= FEW || software)
    }

    fn check(&self, caps: &Caps) -> Result<()> {
        let operands = [
            ("q", &self.q),
            ("k", &self.k),
            ("v", &self.v),
            ("y", &self.y),
        ];
        floats(KERNEL, caps, self.q.view, self.k.view)?;
        floats(KERNEL, caps, self.q.view, self.y.view)?;
        floats(KERNEL, caps, self.v.view, self.v.view)?;
        let extents = [
            (self.heads, self.queries, self.head),
            (self.groups, self.keys, self.head),
            (self.groups, self.keys, self.v_head),
            (self.heads, self.queries, self.v_head),
        ];
        let wrong = |what: String| Err(Error::shape(KERNEL, what));
        let all = [
            self.batch,
            self.heads,
            self.groups,
            self.queries,
            self.keys,
            self.head,
            self.v_head,
        ];
        if all.contains(&0) || self.heads % self.groups != 0 {
            return wrong(format!("extents {all:?}"));
        }
        for ((name, of), (heads, places, size)) in operands.iter().zip(extents) {
            let [item, head, place] = of.by;
            let last = (self.batch - 1) * item + (heads - 1) * head + (places - 1) * place + size;
            if last > of.view.elements() {
                return wrong(format!("{name} leaves {}", of.view));
            }
            index(KERNEL, "the number of elements", of.view.elements())?;
        }
        if let Some(mask) = &self.mask {
            let [item, head, query] = mask.by;
            let rows =
                (self.batch - 1) * item + (self.heads - 1) * head + (self.queries - 1) * query;
            let known = match mask.view.store {
                Store::F16 => caps.f16,
                store => matches!(store, Store::F32 | Store::U32),
            };
            if !known || mask.keys > self.keys || (rows + 1) * mask.keys > mask.view.elements() {
                return wrong(format!("the mask is {}", mask.view));
            }
        }
        let counted = self
            .valid
            .is_none_or(|v| v.store == Store::I32 && v.elements() == self.batch);
        if !counted || self.keys + self.queries + self.past >= NO_BOUND {
            return wrong("the numbers of keys".into());
        }
        Ok(())
    }

    /// The parts, operands and parameters of `attention_score`, where `later` queries of each item follow these.
    fn scored(&self, variant: Variant, later: usize) -> Result<Dispatch> {
        let mask = match &self.mask {
            None => "mask_none",
            Some(mask) if mask.view.store.is_float() => "mask_float",
            Some(_) => "mask_bool",
        };
        let variant = match &self.mask {
            Some(mask) if mask.view.store.is_float() => {
                variant.alias("MaskT", loaded(mask.view.store, 1))
            }
            _ => variant,
        };
        let variant = variant
            .part(if self.cap.is_some() {
                "cap_tanh"
            } else {
                "cap_none"
            })
            .part(if self.valid.is_some() {
                "keys_given"
            } else {
                "keys_all"
            })
            .part(mask);
        let size = |value: usize| index(KERNEL, "an extent", value);
        let far = |bound: Option<usize>| bound.unwrap_or(NO_BOUND).min(NO_BOUND) as i32;
        let mut dispatch = Dispatch::new(variant)
            .param("queries", size(self.queries)?)
            .param("keys", size(self.keys)?)
            .param("scale", self.scale)
            .param("ahead", far(self.window[0]))
            .param("behind", far(self.window[1]))
            .param("past", self.past as i32)
            .param("heads", size(self.heads)?);
        if let Some(cap) = self.cap {
            dispatch = dispatch.param("cap", cap);
        }
        if let Some(mask) = &self.mask {
            let [item, head, query] = mask.by;
            let at = [size(item)?, size(head)?, size(query)?, size(mask.keys)?];
            dispatch = dispatch
                .param("mask_at", at)
                .bind("MASK_VALUES", mask.view.span);
        }
        if let Some(valid) = self.valid {
            let rest = size(self.queries + later)?;
            dispatch = dispatch.bind("VALID_KEYS", valid.span).param("rest", rest);
        }
        Ok(dispatch)
    }
}

/// Strides of item, head and place, as the shader takes them.
fn strides(heads: &Heads<'_>) -> Result<[u32; 4]> {
    let size = |value| index(KERNEL, "a stride", value);
    let [item, head, place] = heads.by;
    Ok([size(item)?, size(head)?, size(place)?, 0])
}

/// Attention with running sums: no memory besides the operands. Values have at most 256 elements.
///
/// # Errors
/// [`Error::Shape`], [`Error::Storage`], [`Error::TooLarge`].
pub fn attention(caps: &Caps, of: &Attention<'_>) -> Result<Vec<Dispatch>> {
    of.check(caps)?;
    if of.v_head > MAX_V_HEAD {
        let what = format!("values of {} elements, at most {MAX_V_HEAD}", of.v_head);
        return Err(Error::shape(KERNEL, what));
    }
    let blocks = of.v_head.div_ceil(64) as u32;
    let four = of.by_fours();
    // Twice the queries for a tile of keys, where accumulators and workgroup memory allow.
    let twice = blocks <= 2
        && of.queries > 16
        && caps.kind != AdapterKind::Software
        && caps.limits.workgroup_bytes >= 24 << 10;
    let quads: u32 = if twice { 2 } else { 1 };
    // A tile of keys: chunks of 8 blocks of the head, maxima of 16 threads, 64 keys.
    let (each, chunks) = (quads as usize, of.head.div_ceil(32));
    let tile = 2 + chunks * (11 + 2 * each) + 17 * each + 65;
    check_rounds(KERNEL, caps, of.keys.div_ceil(64) * tile)?;
    let tiles = of.queries.div_ceil(16 * quads as usize);
    let count = index(
        KERNEL,
        "the number of workgroups",
        tiles * of.heads * of.batch,
    )?;
    let variant = Variant::new("attention")
        .part(if four { "heads_four" } else { "heads_one" })
        .alias("HeadT", loaded(of.q.view.store, 1))
        .alias("ValueT", loaded(of.v.view.store, 1))
        .set("RQ", quads)
        .set("VC", blocks)
        .set("LATER", of.valid.is_none() && of.window != [None; 2]);
    let work = of.scores().saturating_mul(2 * (of.head + of.v_head) as u64);
    let mut dispatch = of
        .scored(variant, 0)?
        .param("count", count)
        .param("tiles", index(KERNEL, "the tiles", tiles)?)
        .param("group", (of.heads / of.groups) as u32)
        .param("head4", index(KERNEL, "the head", of.head.div_ceil(4))?)
        .param("v_head4", index(KERNEL, "the head", of.v_head.div_ceil(4))?)
        .param("q_at", strides(&of.q)?)
        .param("k_at", strides(&of.k)?)
        .param("v_at", strides(&of.v)?)
        .param("y_at", strides(&of.y)?)
        .bind("Q", of.q.view.span)
        .bind("K", of.k.view.span)
        .bind("V", of.v.view.span)
        .bind("Y", of.y.view.span)
        .groups(fold_groups(u64::from(count), caps.limits.groups))
        .work(work);
    if !four {
        dispatch = dispatch
            .param("head", index(KERNEL, "the head", of.head)?)
            .param("v_head", index(KERNEL, "the head", of.v_head)?);
    }
    Ok(vec![dispatch])
}
