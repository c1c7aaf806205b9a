//! What the tests of attention share: cases, random data, plain loops.

use super::gpu::{Bench, values};
use tilewright_device::Slot;
use tilewright_kernels::{Attention, AttentionMask, Heads, Store, View};

/// An attention as numbers.
#[derive(Clone, Copy)]
pub(crate) struct Case {
    pub(crate) name: &'static str,
    /// Batch, query heads, key heads, queries, keys, head size, value size.
    pub(crate) size: [usize; 7],
    /// Rows of Q and Y hold all heads.
    pub(crate) packed: bool,
    pub(crate) cap: Option<f32>,
    pub(crate) window: [Option<usize>; 2],
    pub(crate) past: usize,
    pub(crate) mask: Mask,
    pub(crate) valid: bool,
}

#[derive(Clone, Copy, PartialEq)]
pub(crate) enum Mask {
    None,
    Float,
    Bool,
}

pub(crate) const PLAIN: Case = Case {
    name: "plain",
    size: [2, 4, 2, 21, 70, 8, 12],
    packed: false,
    cap: None,
    window: [None; 2],
    past: 0,
    mask: Mask::None,
    valid: false,
};

pub(crate) fn cases() -> Vec<Case> {
    let plain = [
        ("plain", PLAIN.size),
        ("odd sizes", [1, 3, 1, 5, 7, 5, 7]),
        ("one query", [2, 4, 2, 1, 67, 16, 8]),
        ("long heads", [1, 2, 1, 18, 65, 72, 132]),
        ("the longest values", [1, 1, 1, 6, 9, 256, 256]),
    ];
    let plain = plain.map(|(name, size)| Case {
        name,
        size,
        ..PLAIN
    });
    [plain.to_vec(), packed(), masked()].concat()
}

pub(crate) fn packed() -> Vec<Case> {
    let packed = Case {
        name: "packed",
        packed: true,
        ..PLAIN
    };
    let odd = Case {
        name: "packed, odd",
        size: [2, 3, 3, 9, 11, 5, 3],
        ..packed
    };
    vec![packed, odd]
}

pub(crate) fn masked() -> Vec<Case> {
    let causal = [Some(0), None];
    vec![
        Case {
            name: "keys in fours",
            size: [1, 2, 2, 6, 72, 8, 12],
            mask: Mask::Float,
            cap: Some(0.7),
            ..PLAIN
        },
        Case {
            name: "cap",
            cap: Some(0.5),
            ..PLAIN
        },
        Case {
            name: "causal",
            size: [1, 2, 2, 130, 130, 8, 8],
            window: causal,
            ..PLAIN
        },
        Case {
            name: "causal with past",
            window: causal,
            past: 49,
            ..PLAIN
        },
        Case {
            name: "window",
            window: [Some(1), Some(3)],
            past: 30,
            ..PLAIN
        },
        Case {
            name: "float mask",
            mask: Mask::Float,
            ..PLAIN
        },
        Case {
            name: "boolean mask",
            mask: Mask::Bool,
            window: causal,
            past: 49,
            ..PLAIN
        },
        Case {
            name: "valid keys",
            valid: true,
            window: [Some(0), Some(9)],
            ..PLAIN
        },
    ]
}

/// Strides of item, head and place.
pub(crate) fn strides(packed: bool, heads: usize, places: usize, size: usize) -> [usize; 3] {
    if packed {
        [places * heads * size, size, heads * size]
    } else {
        [heads * places * size, places * size, size]
    }
}

/// The data of a case.
pub(crate) struct Data {
    pub(crate) q: Vec<f32>,
    pub(crate) k: Vec<f32>,
    pub(crate) v: Vec<f32>,
    /// A row for each query head and query, shared by all items; five keys fewer than there are.
    pub(crate) mask: Vec<f32>,
    pub(crate) valid: Vec<i32>,
}

impl Data {
    pub(crate) fn new(case: &Case) -> Data {
        let [b, h, g, s, t, d, e] = case.size;
        let mut mask = values(h * s * (t - 5), 4);
        if case.mask == Mask::Bool {
            mask.iter_mut()
                .for_each(|x| *x = if *x > 0.0 { 1.0 } else { 0.0 });
        } else {
            mask.iter_mut()
                .step_by(3)
                .for_each(|x| *x = f32::NEG_INFINITY);
        }
        // The second row has no key at all.
        mask[t - 5..2 * (t - 5)].fill(if case.mask == Mask::Bool {
            0.0
        } else {
            f32::NEG_INFINITY
        });
        Data {
            q: values(b * h * s * d, 1),
            k: values(b * g * t * d, 2),
            v: values(b * g * t * e, 3),
            mask,
            valid: (0..b).map(|i| (t / (i + 1)) as i32).collect(),
        }
    }

    pub(crate) fn bias(&self, case: &Case, [item, head, query, key]: [usize; 4]) -> f32 {
        let [_, _, _, s, t, _, _] = case.size;
        let valid = if case.valid {
            self.valid[item]
        } else {
            t as i32
        };
        let offset = if case.valid {
            valid - s as i32
        } else {
            case.past as i32
        };
        let far = key as i32 - query as i32 - offset;
        let outside = case.window[0].is_some_and(|n| far > n as i32)
            || case.window[1].is_some_and(|n| far < -(n as i32))
            || key as i32 >= valid;
        if outside {
            return f32::NEG_INFINITY;
        }
        if case.mask == Mask::None {
            return 0.0;
        }
        let value = self
            .mask
            .get((head * s + query) * (t - 5) + key)
            .filter(|_| key < t - 5);
        match (case.mask, value) {
            (Mask::Float, Some(value)) => *value,
            (_, Some(value)) if *value != 0.0 => 0.0,
            _ => f32::NEG_INFINITY,
        }
    }

    /// The outputs, and the probabilities.
    pub(crate) fn expected(&self, case: &Case) -> (Vec<f64>, Vec<f64>) {
        let [b, h, g, s, t, d, e] = case.size;
        let (q_by, y_by) = (strides(case.packed, h, s, d), strides(case.packed, h, s, e));
        let mut y = vec![0.0; b * h * s * e];
        let mut all = vec![];
        for (item, head, query) in (0..b * h * s).map(|i| (i / s / h, i / s % h, i % s)) {
            let kv = item * g + head / (h / g);
            let at = |by: [usize; 3]| item * by[0] + head * by[1] + query * by[2];
            let mut scores: Vec<f64> = vec![];
            for key in 0..t {
                let (q, k) = (&self.q[at(q_by)..][..d], &self.k[(kv * t + key) * d..][..d]);
                let dot: f64 = q
                    .iter()
                    .zip(k)
                    .map(|(a, b)| f64::from(*a) * f64::from(*b))
                    .sum();
                let x = 0.3 * dot;
                let x = case
                    .cap
                    .map_or(x, |c| f64::from(c) * (x / f64::from(c)).tanh());
                scores.push(x + f64::from(self.bias(case, [item, head, query, key])));
            }
            let most = scores.iter().copied().fold(-1e300, f64::max);
            let weights: Vec<f64> = scores.iter().map(|x| (x - most).exp()).collect();
            let sum: f64 = weights.iter().sum();
            for (key, w) in weights.iter().enumerate() {
                let w = if sum > 0.0 { w / sum } else { 0.0 };
                all.push(w);
                for (i, v) in self.v[(kv * t + key) * e..][..e].iter().enumerate() {
                    y[at(y_by) + i] += w * f64::from(*v);
                }
            }
        }
        (y, all)
    }
}

/// Calls `f` with the attention of a case over tensors in slots 0 to 5.
pub(crate) fn with<R>(case: &Case, f: impl FnOnce(&Attention<'_>) -> R) -> R {
    let [b, h, g, s, t, d, e] = case.size;
    let view = |slot, store, shape: &[usize]| View::new(Slot(slot), store, shape);
    let f32s = |slot, n: usize| view(slot, Store::F32, &[n]);
    let (q, k) = (f32s(0, b * h * s * d), f32s(1, b * g * t * d));
    let (v, y) = (f32s(2, b * g * t * e), f32s(3, b * h * s * e));
    let store = if case.mask == Mask::Bool {
        Store::U32
    } else {
        Store::F32
    };
    let mask = view(4, store, &[h, s, t - 5]);
    let valid = view(5, Store::I32, &[b]);
    f(&Attention {
        batch: b,
        heads: h,
        groups: g,
        queries: s,
        keys: t,
        head: d,
        v_head: e,
        q: Heads {
            view: &q,
            by: strides(case.packed, h, s, d),
        },
        k: Heads {
            view: &k,
            by: strides(false, g, t, d),
        },
        v: Heads {
            view: &v,
            by: strides(false, g, t, e),
        },
        y: Heads {
            view: &y,
            by: strides(case.packed, h, s, e),
        },
        scale: 0.3,
        cap: case.cap,
        window: case.window,
        past: case.past,
        mask: (case.mask != Mask::None).then_some(AttentionMask {
            view: &mask,
            by: [0, s, 1],
            keys: t - 5,
        }),
        valid: case.valid.then_some(&valid),
    })
}

pub(crate) fn put(bench: &mut Bench, case: &Case, data: &Data) {
    with(case, |of| {
        for (view, values) in [
            (of.q.view, &data.q),
            (of.k.view, &data.k),
            (of.v.view, &data.v),
        ] {
            bench.put(view, bytemuck::cast_slice(values));
        }
        bench.put(of.y.view, &vec![0xff; of.y.view.span.bytes as usize]);
        match &of.mask {
            Some(mask) if mask.view.store == Store::U32 => {
                let words: Vec<u32> = data.mask.iter().map(|x| *x as u32).collect();
                bench.put(mask.view, bytemuck::cast_slice(&words));
            }
            Some(mask) => bench.put(mask.view, bytemuck::cast_slice(&data.mask)),
            None => {}
        }
        if let Some(valid) = of.valid {
            bench.put(valid, bytemuck::cast_slice(&data.valid));
        }
    });
}

pub(crate) fn close(name: &str, got: &[f32], want: &[f64]) {
    assert_eq!(got.len(), want.len(), "{name}");
    for (i, (g, w)) in got.iter().zip(want).enumerate() {
        assert!(
            (f64::from(*g) - w).abs() < 1e-5,
            "{name}: {g} is not {w} at {i}"
        );
    }
}
