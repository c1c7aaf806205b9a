//! Every variant of the kernels that work along axes (reductions, softmax, normalisation, scans, top-k, losses), through
//! the assembler and naga.

mod common;

use common::check;
use tilewright_device::{Caps, Dispatch, Slot};
use tilewright_kernels::{
    Adjust, Form, Function, Norm, Reduction, Running, Stats, Store, Total, View, arg_max,
    channel_norm, channel_scratch, fill, hardmax, lrn, map_ending, nll_loss, nll_scratch, norm,
    reduce, reduce_scratch, scan, softmax, top_k, top_k_scratch,
};

/// Shapes and an axis: rows and columns, of single elements and of four, short and long.
const SHAPES: [([usize; 3], usize); 9] = [
    ([3, 5, 7], 2),
    ([3, 5, 8], 2),
    ([3, 5, 7], 1),
    ([3, 5, 8], 1),
    ([2, 3, 1001], 2),
    ([2, 3, 6000], 2),
    ([1, 1, 1 << 20], 2),
    ([1, 1 << 16, 4], 1),
    ([40_000, 40, 2], 0),
];

fn all_caps() -> Vec<Caps> {
    vec![Caps::webgpu_default(), Caps::software(8), Caps::discrete()]
}

fn view(slot: u32, store: Store, shape: &[usize]) -> View {
    View::new(Slot(slot), store, shape)
}

fn without(shape: &[usize], axis: usize, n: usize) -> Vec<usize> {
    let mut out = shape.to_vec();
    out[axis] = n;
    out
}

fn check_all(caps: &Caps, dispatches: &[Dispatch]) {
    assert!(!dispatches.is_empty());
    for dispatch in dispatches {
        check(caps, dispatch);
    }
}

#[test]
fn reductions_validate() {
    use Reduction::*;
    let floats = [
        Sum,
        Mean,
        Max,
        Min,
        Prod,
        L1,
        L2,
        LogSum,
        LogSumExp,
        SumSquare,
        Norm(3.0),
    ];
    // The other folds of integers differ in constants alone.
    let ints = [Sum, Mean, L1];
    for caps in all_caps() {
        for (shape, axis) in SHAPES {
            for store in [Store::F32, Store::I32, Store::U32] {
                let x = view(0, store, &shape);
                let y = view(1, store, &without(&shape, axis, 1));
                let bytes = reduce_scratch(&caps, &shape, &[axis]);
                let scratch = view(2, Store::U32, &[bytes as usize / 4]);
                let kinds = if store == Store::F32 {
                    &floats[..]
                } else {
                    &ints
                };
                for kind in kinds {
                    let made = reduce(&caps, &x, &[axis], &y, *kind, Some(&scratch));
                    check_all(&caps, &made.unwrap());
                }
                let at = view(3, Store::I32, &y.shape);
                for flag in [false, true] {
                    let dispatches = arg_max(&caps, &x, axis, &at, flag, !flag).unwrap();
                    check_all(&caps, &dispatches);
                }
            }
        }
    }
}

#[test]
fn softmax_and_scans_validate() {
    for caps in all_caps() {
        for (shape, axis) in SHAPES {
            let (x, y) = (view(0, Store::F32, &shape), view(1, Store::F32, &shape));
            for log in [false, true] {
                check_all(&caps, &softmax(&caps, &x, axis, &y, log).unwrap());
            }
            check_all(&caps, &hardmax(&caps, &x, axis, &y).unwrap());
            for store in [Store::F32, Store::I32, Store::U32] {
                let (x, y) = (view(0, store, &shape), view(1, store, &shape));
                for product in [false, true] {
                    let dispatches = scan(&caps, &x, axis, &y, product, true, false).unwrap();
                    check_all(&caps, &dispatches);
                }
            }
        }
    }
}

#[test]
fn norms_validate() {
    for caps in all_caps() {
        for (shape, axis) in SHAPES {
            let (x, y) = (view(0, Store::F32, &shape), view(1, Store::F32, &shape));
            let form = Form::along(&shape, axis);
            let rows = view(2, Store::F32, &[form.outer * form.inner]);
            let rows = [&rows, &View::new(Slot(3), Store::F32, rows.shape.clone())];
            let by = [
                Norm::Variance(1e-5),
                Norm::Deviation(1e-5),
                Norm::MeanSquare(1e-5),
                Norm::L2,
                Norm::L1,
            ];
            for by in by {
                for stats in [None, Some(rows)] {
                    let dispatches = norm(&caps, &x, form, &y, by, Adjust::None, stats).unwrap();
                    check_all(&caps, &dispatches);
                }
            }
            if form.inner > 1 {
                continue;
            }
            let scale = view(4, Store::F32, &[form.n]);
            let bias = view(5, Store::F32, &[form.n]);
            let channel = |each| Adjust::Channel {
                scale: &scale,
                bias: &bias,
                each,
            };
            for adjust in [
                Adjust::Element(&scale, None),
                Adjust::Element(&scale, Some(&bias)),
                channel(1),
            ] {
                let by = Norm::Variance(1e-5);
                let dispatches = norm(&caps, &x, form, &y, by, adjust, None).unwrap();
                check_all(&caps, &dispatches);
            }
        }
    }
}

/// A function of the result and another tensor at the end of everything that has one, in loads of one and of four.
#[test]
fn endings_validate() {
    let text = "fn map(x0: vec4<f32>, x1: vec4<f32>) -> vec4<f32> { return x0 + x1; }";
    let function = Function {
        text: text.into(),
        params: vec![],
    };
    for caps in all_caps() {
        for (rows, columns) in [(6, 12), (6, 9), (3, 6000)] {
            let shape = [rows, columns];
            let (x, y) = (view(0, Store::F32, &shape), view(1, Store::F32, &shape));
            let mut all = vec![];
            for axis in [0, 1] {
                let form = Form::along(&shape, axis);
                let by = Norm::Variance(1e-5);
                let norm = norm(&caps, &x, form, &y, by, Adjust::None, None);
                let softmax = softmax(&caps, &x, axis, &y, true);
                all.extend([norm, softmax].map(|made| (made.unwrap(), y.clone())));
                let sum = view(1, Store::F32, &[shape[1 - axis]]);
                let scratch = view(3, Store::U32, &[1 << 16]);
                let kind = Reduction::Sum;
                let made = reduce(&caps, &x, &[axis], &sum, kind, Some(&scratch)).unwrap();
                all.push((made, sum));
            }
            for (mut dispatches, out) in all {
                let last = dispatches.pop().unwrap();
                let other = view(2, Store::F32, &out.shape);
                let last = map_ending(&caps, last, &function, &[other], &out).unwrap();
                dispatches.push(last);
                check_all(&caps, &dispatches);
            }
            let other = fill(&caps, &y, 0).unwrap().remove(0);
            assert!(map_ending(&caps, other, &function, &[], &y).is_err());
        }
    }
}

#[test]
fn channel_norms_validate() {
    for caps in all_caps() {
        for shape in [[2, 6, 12], [2, 6, 9], [5, 6, 1], [5, 8, 1], [2, 3, 6000]] {
            let (x, y) = (view(0, Store::F32, &shape), view(1, Store::F32, &shape));
            let form = Form::along(&shape, 1);
            let vectors: Vec<View> = (2..8).map(|i| view(i, Store::F32, &[form.n])).collect();
            let [a, b, c, d, e, f] = &vectors[..] else {
                unreachable!()
            };
            let table = view(8, Store::F32, &[3, form.n]);
            let scratch = view(9, Store::F32, &[channel_scratch(form) as usize / 4]);
            let running = Running {
                old: [c, d],
                new: [e, f],
                momentum: 0.9,
            };
            let (near, far) = (Norm::Variance(1e-5), Norm::Deviation(1e-9));
            for (by, stats, affine, running) in [
                (near, Stats::Given(c, d), Some([a, b]), None),
                (near, Stats::Computed(&scratch), Some([a, b]), Some(running)),
                (far, Stats::Computed(&scratch), None, None),
            ] {
                let made = channel_norm(&caps, &x, form, &y, by, stats, affine, running, &table);
                check_all(&caps, &made.unwrap());
            }
        }
    }
}

#[test]
fn top_k_validates() {
    for caps in all_caps() {
        for (shape, axis) in SHAPES {
            for store in [Store::F32, Store::I32, Store::U32] {
                for k in [1, shape[axis].min(1000)] {
                    let out = without(&shape, axis, k);
                    let x = view(0, store, &shape);
                    let (values, indices) = (view(1, store, &out), view(2, Store::I32, &out));
                    let bytes = top_k_scratch(&caps, &shape, axis, k);
                    let scratch = view(3, Store::U32, &[bytes as usize / 4]);
                    let scratch = (bytes > 0).then_some(&scratch);
                    for largest in [false, true] {
                        let made =
                            top_k(&caps, &x, axis, k, largest, &values, &indices, scratch).unwrap();
                        // All steps of a sort are one variant.
                        check_all(&caps, &made[..made.len().min(3)]);
                        check_all(&caps, &made[made.len() - 1..]);
                    }
                }
            }
        }
    }
}

#[test]
fn top_k_picks_where_the_keys_of_a_sort_fit_no_binding() {
    for mut caps in all_caps() {
        let (shape, k) = ([64, 5000], 1000);
        let bytes = top_k_scratch(&caps, &shape, 1, k);
        assert_eq!(bytes, 8 * 64 * 8192);
        caps.limits.binding_bytes = bytes - 1;
        assert_eq!(top_k_scratch(&caps, &shape, 1, k), 0);
        let x = view(0, Store::F32, &shape);
        let (values, indices) = (view(1, Store::F32, &[64, k]), view(2, Store::I32, &[64, k]));
        let made = top_k(&caps, &x, 1, k, true, &values, &indices, None).unwrap();
        check_all(&caps, &made);
    }
}

#[test]
fn losses_and_lrn_validate() {
    for caps in all_caps() {
        for shape in [[70, 10, 1], [2, 5, 12], [300, 4, 300]] {
            let form = Form::along(&shape, 1);
            let (x, y) = (view(0, Store::F32, &shape), view(1, Store::F32, &shape));
            check_all(
                &caps,
                &lrn(&caps, &x, form, &y, 5, [1e-4, 0.75, 1.0]).unwrap(),
            );
            let samples = form.outer * form.inner;
            let labels = view(2, Store::I32, &[samples]);
            let weights = view(3, Store::F32, &[form.n]);
            let scratch = view(4, Store::F32, &[nll_scratch(&caps, samples) as usize / 4]);
            for total in [Total::Each, Total::Sum, Total::Mean] {
                let count = if total == Total::Each { samples } else { 1 };
                let loss = view(5, Store::F32, &[count]);
                for (weights, ignore) in [(None, None), (Some(&weights), None), (None, Some(-1))] {
                    let made = nll_loss(
                        &caps,
                        &x,
                        form,
                        &labels,
                        weights,
                        ignore,
                        total,
                        &loss,
                        Some(&scratch),
                    );
                    check_all(&caps, &made.unwrap());
                }
            }
        }
    }
}

#[test]
fn operands_that_do_not_fit_are_errors() {
    let caps = Caps::webgpu_default();
    let x = view(0, Store::F32, &[4, 8]);
    let wrong = view(1, Store::F32, &[4, 7]);
    assert!(reduce(&caps, &x, &[1], &wrong, Reduction::Sum, None).is_err());
    assert!(softmax(&caps, &x, 1, &wrong, false).is_err());
    assert!(softmax(&caps, &x, 2, &x, false).is_err());
    assert!(scan(&caps, &x, 0, &wrong, false, false, false).is_err());
    assert!(hardmax(&caps, &view(0, Store::F16, &[4, 8]), 1, &x).is_err());
    let form = Form::along(&x.shape, 1);
    let scale = Adjust::Element(&wrong, None);
    assert!(norm(&caps, &x, form, &x, Norm::L2, scale, None).is_err());
    let many = view(2, Store::I32, &[4, 9]);
    assert!(top_k(&caps, &x, 1, 9, true, &wrong, &many, None).is_err());
}
