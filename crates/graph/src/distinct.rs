//! Operands in the arena are bound writable, and writable ranges of one dispatch must not overlap. A dispatch that reads
//! the same tensor twice (`x` times its transpose by a product, attention of a tensor with itself) gets a copy.

use crate::Result;
use crate::lower::SlotUse;
use tilewright_device::{Caps, Dispatch, Slot, Span};
use tilewright_kernels::{Region, Strides, copy};
use tilewright_kernels::{Store, View};

/// `dispatches` with copies before those that would bind a range of the arena twice. `root` resolves aliases.
pub(crate) fn separate(
    dispatches: Vec<Dispatch>,
    slots: &mut Vec<SlotUse>,
    root: impl Fn(&[SlotUse], Slot) -> Slot,
    caps: &Caps,
) -> Result<Vec<Dispatch>> {
    let mut out = Vec::with_capacity(dispatches.len());
    for mut dispatch in dispatches {
        for i in 1..dispatch.spans.len() {
            let span = dispatch.spans[i].1;
            let twice = dispatch.spans[..i]
                .iter()
                .any(|(_, other)| overlap(slots, &root, *other, span));
            if twice {
                let slot = Slot(slots.len() as u32);
                slots.push(SlotUse::Arena { bytes: span.bytes });
                out.extend(copied(span, slot, caps)?);
                dispatch.spans[i].1 = Span {
                    slot,
                    offset: 0,
                    bytes: span.bytes,
                };
            }
        }
        out.push(dispatch);
    }
    Ok(out)
}

fn overlap(slots: &[SlotUse], root: &impl Fn(&[SlotUse], Slot) -> Slot, a: Span, b: Span) -> bool {
    let (x, y) = (root(slots, a.slot), root(slots, b.slot));
    // Constants are bound to be read only, where sharing is fine.
    let own = matches!(slots[x.0 as usize], SlotUse::Constant(_));
    x == y && !own && a.offset < b.offset + b.bytes && b.offset < a.offset + a.bytes
}

/// Copies the words of a span.
fn copied(from: Span, to: Slot, caps: &Caps) -> Result<Vec<Dispatch>> {
    let shape = vec![from.bytes.div_ceil(4) as usize];
    let a = View {
        span: from,
        store: Store::U32,
        shape: shape.clone(),
    };
    let region = Region {
        from: Strides::of(&shape),
        to: Strides::of(&shape),
        shape: shape.clone(),
    };
    Ok(copy(caps, &a, &View::new(to, Store::U32, shape), &region)?)
}
