//! Attention as two products with a softmax between.

use std::ops::Range;

use tilewright_device::{Caps, Dispatch, Span};

use super::{Attention, AttentionMask, Heads, KERNEL, Scores};
use crate::error::index;
use crate::reduce::typed;
use crate::walk::{Form, Walk};
use crate::{Error, Gemm, Layout, Operand, Result, Store, Target, View, gemm};

/// Attention as two products with a softmax between, block by block of the queries. `scores` is an f32 tensor of
/// [`Attention::block_scores`] elements, or of all [`Attention::scores`]: then there is one block, and what `kept` asks for is
/// written to a tensor like it.
///
/// # Errors
/// [`Error::Shape`], [`Error::Storage`], [`Error::TooLarge`].
pub fn attention_by_products<'a>(
    on: impl Into<Target<'a>>,
    of: &Attention<'_>,
    scores: &View,
    kept: Option<(&View, Scores)>,
) -> Result<Vec<Dispatch>> {
    let on = on.into();
    of.check(on.caps)?;
    index(KERNEL, "the number of scores", scores.elements())?;
    let whole = scores.elements() as u64 == of.scores();
    let blocks = kept.is_none() && scores.elements() as u64 == of.block_scores();
    if !whole && !blocks {
        return Err(Error::shape(KERNEL, format!("scores are {scores}")));
    }
    let each = of.batch * of.heads * of.keys;
    let block = (scores.elements() / each).max(1);
    let mut out = Vec::new();
    for first in (0..of.queries).step_by(block) {
        let count = block.min(of.queries - first);
        out.extend(block_by_products(
            on,
            of,
            first..first + count,
            scores,
            kept,
        )?);
    }
    Ok(out)
}

/// The queries `range` of an attention.
fn block_by_products(
    on: Target<'_>,
    of: &Attention<'_>,
    range: Range<usize>,
    scores: &View,
    kept: Option<(&View, Scores)>,
) -> Result<Vec<Dispatch>> {
    let first = range.start;
    let views = [&of.q, &of.y].map(|heads| after(heads.view, first * heads.by[2]));
    let mask_view = (of.mask.as_ref()).map(|mask| after(mask.view, first * mask.by[2] * mask.keys));
    let part = Attention {
        queries: range.len(),
        q: Heads {
            view: &views[0],
            ..of.q.clone()
        },
        y: Heads {
            view: &views[1],
            ..of.y.clone()
        },
        past: of.past + first,
        mask: of
            .mask
            .as_ref()
            .zip(mask_view.as_ref())
            .map(|(mask, view)| AttentionMask {
                view,
                ..mask.clone()
            }),
        ..of.clone()
    };
    let scores = View {
        shape: vec![range.len() * of.batch * of.heads * of.keys],
        ..scores.clone()
    };
    let products = Products::new(&part);
    let matrix = products.scores(&scores);
    let mut out = products.gemm(
        on,
        [of.keys, of.head],
        products.rows(&part.q),
        products.shared(&part.k, Layout::Cols),
        matrix.clone(),
    )?;
    let later = of.queries - range.end;
    out.push(softmax(on.caps, &part, later, &scores, kept)?);
    out.extend(products.gemm(
        on,
        [of.v_head, of.keys],
        matrix,
        products.shared(&part.v, Layout::Rows),
        products.rows(&part.y),
    )?);
    Ok(out)
}

/// What of a tensor lies after its first `elements`.
fn after(view: &View, elements: usize) -> View {
    if elements == 0 {
        return view.clone();
    }
    let skip = view.store.bytes(&[elements]);
    View {
        span: Span {
            offset: view.span.offset + skip,
            bytes: view.span.bytes.saturating_sub(skip),
            ..view.span
        },
        store: view.store,
        shape: vec![view.elements().saturating_sub(elements)],
    }
}

/// The products of attention: a matrix for each head, or for each head of keys where there is one query.
struct Products<'a, 'v> {
    of: &'a Attention<'v>,
    /// Heads that share keys. Of a single query they are the rows of one product.
    share: usize,
    folded: bool,
    m: usize,
    batch: Vec<usize>,
}

impl<'a, 'v> Products<'a, 'v> {
    fn new(of: &'a Attention<'v>) -> Self {
        let share = of.heads / of.groups;
        let folded = of.queries == 1;
        let (m, batch) = if folded {
            (share, vec![of.batch, of.groups])
        } else {
            (of.queries, vec![of.batch, of.groups, share])
        };
        Self {
            of,
            share,
            folded,
            m,
            batch,
        }
    }

    /// Strides along item, key head, and query head of a key head.
    fn steps(&self, mut steps: Vec<usize>) -> Vec<usize> {
        steps.truncate(self.batch.len());
        steps
    }

    /// Queries and results.
    fn rows(&self, of: &Heads<'v>) -> Operand<'v> {
        let [item, head, place] = of.by;
        Operand {
            view: of.view,
            layout: Layout::Rows,
            ld: if self.folded { head } else { place },
            batch: self.steps(vec![item, head * self.share, head]),
        }
    }

    /// Keys and values.
    fn shared(&self, of: &Heads<'v>, layout: Layout) -> Operand<'v> {
        let [item, head, place] = of.by;
        Operand {
            view: of.view,
            layout,
            ld: place,
            batch: self.steps(vec![item, head, 0]),
        }
    }

    fn scores<'s>(&self, view: &'s View) -> Operand<'s> {
        let matrix = self.of.queries * self.of.keys;
        Operand {
            view,
            layout: Layout::Rows,
            ld: self.of.keys,
            batch: self.steps(vec![self.of.heads * matrix, matrix * self.share, matrix]),
        }
    }

    fn gemm(
        &self,
        on: Target<'_>,
        [n, k]: [usize; 2],
        a: Operand<'_>,
        b: Operand<'_>,
        c: Operand<'_>,
    ) -> Result<Vec<Dispatch>> {
        let product = Gemm {
            m: self.m,
            n,
            k,
            batch: self.batch.clone(),
            a,
            b,
            c,
            epilogue: None,
        };
        gemm(on, &product)
    }
}

/// The softmax of a matrix of products, in place.
fn softmax(
    caps: &Caps,
    of: &Attention<'_>,
    later: usize,
    scores: &View,
    kept: Option<(&View, Scores)>,
) -> Result<Dispatch> {
    let form = Form {
        outer: of.batch * of.heads * of.queries,
        n: of.keys,
        inner: 1,
    };
    let walk = Walk::exact(caps, form, true, 8).shared();
    let wide = walk.width() == 4;
    let variant = typed(walk.variant("attention_softmax"), "f32", "f32", "f32")
        .part("fold_lse")
        .part(walk.share())
        .part(if wide { "scores_4" } else { "scores_1" })
        .part(if kept.is_some() {
            "keep_scores"
        } else {
            "keep_none"
        })
        .set("KEEP", kept.map_or(0, |(_, which)| which as u32));
    let scored = of.scored(variant, later)?;
    let mut dispatch = walk.dispatch(KERNEL, caps, scored.variant.clone(), 4)?;
    dispatch.params.extend(scored.params);
    dispatch.spans.extend(scored.spans);
    dispatch = dispatch.bind("X", scores.span);
    if let Some((view, _)) = kept {
        if view.store != Store::F32 || view.elements() != scores.elements() {
            return Err(Error::shape(
                KERNEL,
                format!("scores cannot be kept in {view}"),
            ));
        }
        dispatch = dispatch.bind("KEPT", view.span);
    }
    Ok(dispatch)
}
