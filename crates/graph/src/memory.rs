//! Placement of tensors in one arena: ranges that are live at the same time never overlap.
//!
//! Placing by size, by first use, and by breadth each win on some graphs; all are tried and the smallest peak is kept.
//! Offsets are aligned to 256 bytes, the default storage binding alignment of WebGPU.

/// Alignment of every range, in bytes.
pub const ALIGN: u64 = 256;

/// A tensor's size and the steps between which it must keep its place, both ends included.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Lifetime {
    /// Bytes; rounded up to [`ALIGN`] when placed.
    pub bytes: u64,
    /// First step.
    pub first: u32,
    /// Last step.
    pub last: u32,
}

/// Where each tensor lies.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Placement {
    /// Offset of each tensor in bytes, in the order given.
    pub offsets: Vec<u64>,
    /// Size of the arena in bytes.
    pub peak: u64,
    /// What no placement can go below: the largest sum of sizes live at one step.
    pub lower_bound: u64,
}

fn aligned(bytes: u64) -> u64 {
    bytes.max(1).next_multiple_of(ALIGN)
}

/// Places tensors so that none overlap while live.
pub fn place(tensors: &[Lifetime]) -> Placement {
    let bound = lower_bound(tensors);
    let mut best: Option<(Vec<u64>, u64)> = None;
    for order in orders(tensors) {
        let (offsets, peak) = first_fit(tensors, &order);
        if best.as_ref().is_none_or(|(_, p)| peak < *p) {
            best = Some((offsets, peak));
        }
        if peak == bound {
            break;
        }
    }
    let (offsets, peak) = best.unwrap_or_default();
    Placement {
        offsets,
        peak,
        lower_bound: bound,
    }
}

/// Candidate orders: largest first; longest-lived times size first; by first use; by step of the highest pressure.
fn orders(tensors: &[Lifetime]) -> Vec<Vec<usize>> {
    let sorted = |key: &dyn Fn(&Lifetime) -> (u64, u64)| {
        let mut order: Vec<usize> = (0..tensors.len()).collect();
        order.sort_by_key(|&i| std::cmp::Reverse(key(&tensors[i])));
        order
    };
    let pressure = pressure(tensors);
    let highest = |t: &Lifetime| {
        pressure[t.first as usize..=t.last as usize]
            .iter()
            .copied()
            .max()
            .unwrap_or(0)
    };
    let area = |t: &Lifetime| t.bytes.saturating_mul(u64::from(t.last - t.first + 1));
    vec![
        sorted(&|t| (t.bytes, u64::from(t.last - t.first))),
        sorted(&|t| (highest(t), t.bytes)),
        sorted(&|t| (area(t), t.bytes)),
        sorted(&|t| (u64::MAX - u64::from(t.first), t.bytes)),
        sorted(&|t| (u64::from(t.last - t.first), t.bytes)),
        sorted(&|t| (u64::from(t.last), t.bytes)),
    ]
}

/// Bytes live at each step.
fn pressure(tensors: &[Lifetime]) -> Vec<u64> {
    let steps = tensors
        .iter()
        .map(|t| t.last as usize + 1)
        .max()
        .unwrap_or(0);
    let mut delta = vec![0i128; steps + 1];
    for t in tensors {
        delta[t.first as usize] += i128::from(aligned(t.bytes));
        delta[t.last as usize + 1] -= i128::from(aligned(t.bytes));
    }
    let mut sum = 0;
    delta[..steps]
        .iter()
        .map(|d| {
            sum += d;
            u64::try_from(sum).unwrap_or(u64::MAX)
        })
        .collect()
}

fn lower_bound(tensors: &[Lifetime]) -> u64 {
    pressure(tensors).into_iter().max().unwrap_or(0)
}

/// Gives each tensor, in this order, the tightest gap between placed tensors that live at the same time.
fn first_fit(tensors: &[Lifetime], order: &[usize]) -> (Vec<u64>, u64) {
    let mut offsets = vec![0; tensors.len()];
    let mut placed: Vec<(u64, u64, Lifetime)> = vec![]; // sorted by offset
    let mut peak = 0;
    for &i in order {
        let t = tensors[i];
        let size = aligned(t.bytes);
        let (mut at, mut best) = (0, None::<(u64, u64)>);
        for &(from, to, other) in &placed {
            if other.last < t.first || t.last < other.first {
                continue;
            }
            if from >= at + size && best.is_none_or(|(_, gap)| from - at < gap) {
                best = Some((at, from - at));
            }
            at = at.max(to);
        }
        let offset = best.map_or(at, |(offset, _)| offset);
        offsets[i] = offset;
        peak = peak.max(offset + size);
        let index = placed.partition_point(|&(from, ..)| from <= offset);
        placed.insert(index, (offset, offset + size, t));
    }
    (offsets, peak)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn lifetimes() -> impl Strategy<Value = Vec<Lifetime>> {
        let one = (0u64..5000, 0u32..40, 0u32..10);
        prop::collection::vec(
            one.prop_map(|(bytes, first, len)| Lifetime {
                bytes,
                first,
                last: first + len,
            }),
            0..60,
        )
    }

    proptest! {
        #[test]
        fn live_ranges_never_overlap(tensors in lifetimes()) {
            let p = place(&tensors);
            prop_assert!(p.peak >= p.lower_bound);
            for (i, a) in tensors.iter().enumerate() {
                prop_assert_eq!(p.offsets[i] % ALIGN, 0);
                prop_assert!(p.offsets[i] + a.bytes <= p.peak);
                for (j, b) in tensors.iter().enumerate().skip(i + 1) {
                    let together = a.first <= b.last && b.first <= a.last;
                    let (x, y) = (p.offsets[i], p.offsets[j]);
                    let apart = x + aligned(a.bytes) <= y || y + aligned(b.bytes) <= x;
                    prop_assert!(!together || apart, "{} and {}", i, j);
                }
            }
        }
    }

    #[test]
    fn a_chain_needs_two_tensors() {
        let chain: Vec<_> = (0..100)
            .map(|i| Lifetime {
                bytes: 1024,
                first: i,
                last: i + 1,
            })
            .collect();
        assert_eq!(place(&chain).peak, 2048);
    }
}
