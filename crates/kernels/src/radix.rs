//! A stable sort of pairs by key: four bits a pass, no atomics, the same order every time.

use tilewright_device::{Caps, Dispatch, Span, Variant};

use crate::error::index;
use crate::flat::flat;
use crate::rounds::check_rounds;
use crate::{Result, Store, View};

const KERNEL: &str = "radix";
/// Keys that a thread moves one after another. Fewer make more counts to sum (16 for each block), more leave threads idle.
const BLOCK: usize = 64;
/// Threads of the one workgroup that sums the counts.
const SCAN: usize = 256;
/// Words between ranges of one scratch tensor, which start at multiples of 256 bytes.
const ALIGN: usize = 64;

/// Keys with what goes with them, twice, since a pass moves them from one place to the other; and room for counts. Before
/// the sort the pairs are in the first place.
#[derive(Debug, Clone)]
pub(crate) struct Pairs {
    pub(crate) keys: [View; 2],
    pub(crate) order: [View; 2],
    counts: View,
}

/// Parts of a scratch tensor of u32, one after another.
pub(crate) struct Parts<'a> {
    scratch: &'a View,
    at: usize,
}

impl<'a> Parts<'a> {
    pub(crate) fn of(scratch: &'a View) -> Self {
        Parts { scratch, at: 0 }
    }

    /// The next `count` words.
    pub(crate) fn next(&mut self, count: usize) -> View {
        let view = View {
            span: Span {
                slot: self.scratch.span.slot,
                offset: self.scratch.span.offset + 4 * self.at as u64,
                bytes: 4 * count as u64,
            },
            store: Store::U32,
            shape: vec![count],
        };
        self.at += aligned(count);
        view
    }
}

/// Words that a part of `count` takes.
pub(crate) fn aligned(count: usize) -> usize {
    count.next_multiple_of(ALIGN)
}

/// Words of scratch for `count` pairs.
pub(crate) fn pairs_scratch(count: usize) -> usize {
    4 * aligned(count) + aligned(16 * count.div_ceil(BLOCK))
}

impl Pairs {
    /// In [`pairs_scratch`] words.
    pub(crate) fn new(parts: &mut Parts<'_>, count: usize) -> Self {
        let keys = [parts.next(count), parts.next(count)];
        let order = [parts.next(count), parts.next(count)];
        let counts = parts.next(16 * count.div_ceil(BLOCK));
        Pairs {
            keys,
            order,
            counts,
        }
    }

    /// Sorts by the lowest `bits` of the keys; the dispatches, and which of the two places the pairs are in then.
    pub(crate) fn sort(&self, caps: &Caps, bits: u32) -> Result<(Vec<Dispatch>, usize)> {
        let count = index(KERNEL, "the number of keys", self.keys[0].elements())?;
        let blocks = (count as usize).div_ceil(BLOCK);
        // Two readings of the counts, by one workgroup.
        check_rounds(KERNEL, caps, 2 * self.counts.elements().div_ceil(SCAN))?;
        let (mut out, mut place) = (vec![], 0);
        for shift in (0..bits).step_by(4) {
            let (from, to) = (place, 1 - place);
            let pass = |shader| {
                let variant = Variant::new(shader).set("BLOCK", BLOCK as u32);
                Ok::<_, crate::Error>(
                    flat(KERNEL, caps, variant, blocks)?
                        .param("keys_count", count)
                        .param("shift", shift)
                        .bind("KEYS", self.keys[from].span)
                        .bind("COUNTS", self.counts.span),
                )
            };
            let bytes = self.keys[0].span.bytes;
            out.push(pass("radix_count")?.work(bytes + self.counts.span.bytes));
            let counts = self.counts.elements();
            out.push(
                Dispatch::new(Variant::new("radix_scan"))
                    .param("count", counts as u32)
                    .param("chunk", counts.div_ceil(SCAN) as u32)
                    .bind("COUNTS", self.counts.span)
                    .work(3 * self.counts.span.bytes),
            );
            let moved = pass("radix_move")?
                .bind("ORDER", self.order[from].span)
                .bind("KEYS_OUT", self.keys[to].span)
                .bind("ORDER_OUT", self.order[to].span);
            out.push(moved.work(4 * bytes));
            place = to;
        }
        Ok((out, place))
    }
}
