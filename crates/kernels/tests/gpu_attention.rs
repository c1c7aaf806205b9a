//! Attention on the software adapter against plain loops, with running sums and as products; every variant through naga.

mod common;

use common::check;
use common::gpu::{Bench, benches, values};
use tilewright_device::{AdapterKind, Caps, Slot};
use tilewright_kernels::{
    Attention, AttentionMask, Heads, Scores, Store, View, attention, attention_by_products,
};

/// An attention as numbers.
#[derive(Clone, Copy)]
struct Case {
    name: &'static str,
    /// Batch, query heads, key heads, queries, keys, head size, value size.
    size: [usize; 7],
    /// Rows of Q and Y hold all heads.
    packed: bool,
    cap: Option<f32>,
    window: [Option<usize>; 2],
    past: usize,
    mask: Mask,
    valid: bool,
}

#[derive(Clone, Copy, PartialEq)]
enum Mask {
    None,
    Float,
    Bool,
}

const PLAIN: Case = Case {
    name: "plain",
    size: [2, 4, 2, 21, 70, 8, 12],
    packed: false,
    cap: None,
    window: [None; 2],
    past: 0,
    mask: Mask::None,
    valid: false,
};

fn cases() -> Vec<Case> {
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

fn packed() -> Vec<Case> {
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

fn masked() -> Vec<Case> {
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
fn strides(packed: bool, heads: usize, places: usize, size: usize) -> [usize; 3] {
    if packed {
        [places * heads * size, size, heads * size]
    } else {
        [heads * places * size, places * size, size]
    }
}

/// The data of a case.
struct Data {
    q: Vec<f32>,
    k: Vec<f32>,
    v: Vec<f32>,
    /// A row for each query head and query, shared by all items; five keys fewer than there are.
    mask: Vec<f32>,
    valid: Vec<i32>,
}

impl Data {
    fn new(case: &Case) -> Data {
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

    fn bias(&self, case: &Case, [item, head, query, key]: [usize; 4]) -> f32 {
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
    fn expected(&self, case: &Case) -> (Vec<f64>, Vec<f64>) {
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
fn with<R>(case: &Case, f: impl FnOnce(&Attention<'_>) -> R) -> R {
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

fn put(bench: &mut Bench, case: &Case, data: &Data) {
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

fn close(name: &str, got: &[f32], want: &[f64]) {
    assert_eq!(got.len(), want.len(), "{name}");
    for (i, (g, w)) in got.iter().zip(want).enumerate() {
        assert!(
            (f64::from(*g) - w).abs() < 1e-5,
            "{name}: {g} is not {w} at {i}"
        );
    }
}

#[test]
fn both_ways_agree_with_the_loops() {
    for mut bench in benches() {
        // Tiles of 32 queries are for GPUs; their code runs here too.
        let mut gpu = bench.caps().clone();
        gpu.kind = AdapterKind::Discrete;
        for case in cases() {
            let data = Data::new(&case);
            let (want, probabilities) = data.expected(&case);
            let mut ways = vec![bench.caps().clone()];
            ways.extend(
                ["plain", "odd sizes", "causal"]
                    .contains(&case.name)
                    .then(|| gpu.clone()),
            );
            // Not chosen there: SwiftShader's compiler takes more than 12 GB for it (docs/shaders.md, Other drivers).
            if bench.gpu.info().name.contains("SwiftShader") {
                ways.clear();
            }
            for caps in ways {
                put(&mut bench, &case, &data);
                let y = with(&case, |of| {
                    bench.run(&attention(&caps, of).unwrap());
                    of.y.view.clone()
                });
                close(case.name, &bench.read(&y), &want);
            }
            put(&mut bench, &case, &data);
            let n = with(&case, |of| of.scores() as usize);
            let scores = bench.result(6, Store::F32, &[n]);
            let kept = bench.result(7, Store::F32, &[n]);
            with(&case, |of| {
                let kept = Some((&kept, Scores::Softmax));
                let caps = bench.caps();
                bench.run(&attention_by_products(caps, of, &scores, kept).unwrap());
                close(case.name, &bench.read(of.y.view), &want);
            });
            close(case.name, &bench.read(&kept), &probabilities);
        }
    }
}

#[test]
fn every_variant_assembles() {
    for caps in [Caps::software(8), Caps::discrete(), Caps::webgpu_default()] {
        for case in cases() {
            with(&case, |of| {
                attention(&caps, of)
                    .unwrap()
                    .iter()
                    .for_each(|d| check(&caps, d));
                let view = |slot| View::new(Slot(slot), Store::F32, [of.scores() as usize]);
                for which in [
                    Scores::Scaled,
                    Scores::Capped,
                    Scores::Biased,
                    Scores::Softmax,
                ] {
                    let (scores, kept) = (view(6), view(7));
                    let kept = Some((&kept, which));
                    let list = attention_by_products(&caps, of, &scores, kept).unwrap();
                    list.iter().for_each(|d| check(&caps, d));
                }
                let list = attention_by_products(&caps, of, &view(6), None).unwrap();
                list.iter().for_each(|d| check(&caps, d));
            });
        }
    }
}

#[test]
fn what_does_not_fit_is_an_error() {
    let caps = Caps::discrete();
    let wide = Case {
        size: [1, 1, 1, 9, 9, 8, 260],
        ..PLAIN
    };
    with(&wide, |of| {
        assert!(attention(&caps, of).is_err());
        assert!(of.prefers_products(&caps));
    });
    with(&PLAIN, |of| {
        let uneven = Attention {
            groups: 3,
            ..of.clone()
        };
        assert!(attention(&caps, &uneven).is_err());
        let longer = Attention {
            keys: 71,
            ..of.clone()
        };
        assert!(attention(&caps, &longer).is_err());
    });
}

/// 32 heads of 16,384 queries and keys: 2^33 scores, which only running sums do without.
#[test]
fn scores_that_no_matrix_holds_are_taken_by_running_sums() {
    let long = Case {
        size: [1, 32, 32, 16_384, 16_384, 64, 64],
        ..PLAIN
    };
    // What a software adapter and few queries would take by products, if the matrix fitted a binding.
    let small = Case {
        size: [1, 2, 2, 4, 70, 8, 12],
        ..PLAIN
    };
    for mut caps in [Caps::discrete(), Caps::webgpu_default(), Caps::software(8)] {
        with(&long, |of| {
            assert_eq!(of.scores(), 1 << 33);
            assert!(!of.prefers_products(&caps));
            let dispatches = attention(&caps, of).unwrap();
            dispatches.iter().for_each(|d| check(&caps, d));
            let scores = View::new(Slot(6), Store::F32, [1 << 33]);
            let error = attention_by_products(&caps, of, &scores, None).unwrap_err();
            assert!(
                error.to_string().contains("the number of scores"),
                "{error}"
            );
        });
        with(&small, |of| {
            assert!(of.prefers_products(&caps));
            caps.limits.binding_bytes = 4 * of.scores() - 1;
            assert!(!of.prefers_products(&caps));
        });
    }
}
