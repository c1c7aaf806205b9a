//! Every variant of GEMM that the kernels choose, through the assembler and naga.

mod common;

use common::check;
use tilewright_device::{Caps, CoopMatrix, Slot};
use tilewright_kernels::{
    ConvShape, Epilogue, Filter, Loop, SplitK, Store, View, candidates, candidates_of, conv_with,
    gemm, gemm_with, matmul, matmul_packed, panel_width, split_k, split_k_with,
};
use tilewright_kernels::{Gemm, Layout, Operand};

fn all_caps() -> Vec<Caps> {
    vec![
        Caps::webgpu_default(),
        Caps::software(4),
        Caps::software(8),
        Caps::software(16),
        Caps::discrete(),
    ]
}

#[test]
fn every_layout_size_and_storage_validates() {
    for caps in all_caps() {
        for (m, n, k) in [
            (64, 64, 64),
            (65, 63, 31),
            (64, 64, 30),
            (1, 10, 7),
            (6, 12, 8),
            (300, 300, 64),
        ] {
            for (trans_a, trans_b) in [(false, false), (false, true), (true, false), (true, true)] {
                for (sa, sb, sc) in [
                    (Store::F32, Store::F32, Store::F32),
                    (Store::F16, Store::F32, Store::F32),
                    (Store::F32, Store::F16, Store::F16),
                ] {
                    if sc == Store::F16 && n % 4 != 0 && !caps.f16 {
                        continue;
                    }
                    let shape = |t, rows, cols| {
                        if t {
                            vec![3, cols, rows]
                        } else {
                            vec![3, rows, cols]
                        }
                    };
                    let a = View::new(Slot(0), sa, shape(trans_a, m, k));
                    let b = View::new(Slot(1), sb, shape(trans_b, k, n));
                    let c = View::new(Slot(2), sc, vec![3, m, n]);
                    for dispatch in matmul(&caps, &a, trans_a, &b, trans_b, &c, None).unwrap() {
                        check(&caps, &dispatch);
                    }
                }
            }
        }
    }
}

#[test]
fn every_candidate_validates_with_an_epilogue_and_packed_b() {
    let bias = View::new(Slot(3), Store::F32, vec![300]);
    let epilogue = Epilogue::bias(&bias);
    for caps in all_caps() {
        let width = panel_width(&caps);
        let k4 = 200usize.next_multiple_of(4);
        let a = View::new(Slot(0), Store::F32, vec![500, 200]);
        let b = View::new(
            Slot(1),
            Store::F32,
            vec![300usize.div_ceil(width), k4, width],
        );
        let c = View::new(Slot(2), Store::F32, vec![500, 300]);
        for dispatch in matmul_packed(&caps, &a, false, &b, width, &c, Some(&epilogue)).unwrap() {
            check(&caps, &dispatch);
        }
        let operand = |view, layout, ld| Operand {
            view,
            layout,
            ld,
            batch: vec![],
        };
        let product = Gemm {
            m: 500,
            n: 300,
            k: 200,
            batch: vec![],
            a: operand(&a, Layout::Rows, 200),
            b: operand(&b, Layout::Panels { width }, k4),
            c: operand(&c, Layout::Rows, 300),
            epilogue: Some(&epilogue),
        };
        for of in candidates(&caps, 500, 300, 200, 1) {
            for dispatch in gemm_with(&caps, &product, of).unwrap() {
                check(&caps, &dispatch);
            }
        }
    }
}

/// Columns of C, those at the end included, that a part of B makes.
#[test]
fn columns_of_c_validate() {
    for caps in all_caps() {
        let width = panel_width(&caps);
        let a = View::new(Slot(0), Store::F32, vec![3, 50, 20]);
        for n in [300, 302] {
            let c = View::new(Slot(2), Store::F32, vec![3, 50, n]);
            for columns in [0..width, 64..64 + width, 256..n] {
                let panels = columns.len().div_ceil(width);
                let b = View::new(Slot(1), Store::F32, vec![panels, 20, width]);
                let made = |columns| {
                    gemm(
                        &caps,
                        &Gemm::of_columns(&a, false, &b, width, &c, columns, None)?,
                    )
                };
                for dispatch in made(columns.clone()).unwrap() {
                    check(&caps, &dispatch);
                    assert!(dispatch.variant.parts.contains(&"c_columns"));
                }
                assert!(made(columns.start + 2..columns.end).is_err());
                assert!(made(columns.start..n + 4).is_err());
            }
        }
    }
}

/// Both passes of split-K with every loop, over layouts, batches and odd sizes.
#[test]
fn split_k_validates() {
    let bias = View::new(Slot(4), Store::F32, vec![300]);
    let epilogue = Epilogue::bias(&bias);
    for caps in all_caps().into_iter().chain(coop_caps()) {
        for (m, n, k) in [(100, 300, 2000), (33, 299, 1025), (1, 300, 4096)] {
            for (trans, store) in [(false, Store::F32), (true, Store::F16)] {
                for batch in [vec![], vec![2, 3]] {
                    let view = |slot, store, rows, cols| {
                        View::new(Slot(slot), store, [&batch[..], &[rows, cols]].concat())
                    };
                    let (rows, cols) = if trans { (n, k) } else { (k, n) };
                    let (a, b) = (view(0, store, m, k), view(1, store, rows, cols));
                    let c = view(2, Store::F32, m, n);
                    let epilogue = (n == 300).then_some(&epilogue);
                    let product = Gemm::of(&a, false, &b, trans, &c, epilogue).unwrap();
                    let cut = SplitK::new(k, 5);
                    let scratch = View::new(Slot(3), Store::F32, cut.scratch(&product));
                    for of in candidates_of(&caps, [store; 2], m, n, cut.part(), 30) {
                        let made = split_k_with(&caps, &product, cut, &scratch, of).unwrap();
                        assert_eq!(made.len(), 2);
                        made.iter().for_each(|d| check(&caps, d));
                    }
                    let small = View::new(Slot(3), Store::F32, vec![1, 5, m, n]);
                    let other = SplitK::new(k + 400, 5);
                    assert!(batch.is_empty() || split_k(&caps, &product, cut, &small).is_err());
                    assert!(split_k(&caps, &product, other, &scratch).is_err());
                }
            }
        }
    }
}

/// A tall product and many small ones, whose tiles no dimension holds; and one that three do not hold.
#[test]
fn tiles_past_the_limit_of_a_dimension_validate() {
    for mut caps in all_caps() {
        caps.limits.groups = 1000;
        for (batch, [m, n, k]) in [(1, [2_100_000, 32, 3]), (100_000, [16, 16, 16])] {
            let view =
                |slot, rows, cols| View::new(Slot(slot), Store::F32, vec![batch, rows, cols]);
            let (a, b, c) = (view(0, m, k), view(1, k, n), view(2, m, n));
            for dispatch in matmul(&caps, &a, false, &b, false, &c, None).unwrap() {
                check(&caps, &dispatch);
                let groups = dispatch.groups.map(u64::from);
                assert!(groups.iter().all(|g| *g <= 1000), "{groups:?}");
                assert!(groups.iter().product::<u64>() > 1000, "{groups:?}");
            }
        }
        let mut few = caps.clone();
        few.limits.groups = 2;
        let view = |slot, rows, cols| View::new(Slot(slot), Store::F32, vec![rows, cols]);
        let (a, b, c) = (view(0, 9000, 4), view(1, 4, 4), view(2, 9000, 4));
        let error = matmul(&few, &a, false, &b, false, &c, None).unwrap_err();
        assert!(error.to_string().contains("over the limit of 8"), "{error}");
    }
}

fn coop_caps() -> Vec<Caps> {
    [(16, 32), (16, 64), (8, 32)]
        .map(|(edge, lanes)| {
            let mut caps = Caps::discrete();
            caps.coop_matrix = Some(CoopMatrix { edge, lanes });
            caps
        })
        .to_vec()
}

/// Tiles of cooperative matrices over every layout, in vec4 and single elements, with and without an epilogue.
#[test]
fn cooperative_matrices_validate() {
    let bias = View::new(Slot(3), Store::F32, vec![300]);
    let epilogue = Epilogue::bias(&bias);
    for caps in coop_caps() {
        for [m, n, k] in [[500, 300, 200], [301, 300, 77], [300, 299, 64]] {
            for layout_a in [Layout::Rows, Layout::Cols] {
                for layout_b in [Layout::Rows, Layout::Cols] {
                    let view = |slot, count: usize| View::new(Slot(slot), Store::F16, vec![count]);
                    let (a, b, c) = (view(0, m * k), view(1, k * n), view(2, m * n));
                    let operand = |view, layout, ld| Operand {
                        view,
                        layout,
                        ld,
                        batch: vec![],
                    };
                    let of = |layout, rows, cols| if layout == Layout::Rows { cols } else { rows };
                    let product = Gemm {
                        m,
                        n,
                        k,
                        batch: vec![],
                        a: operand(&a, layout_a, of(layout_a, m, k)),
                        b: operand(&b, layout_b, of(layout_b, k, n)),
                        c: operand(&c, Layout::Rows, n),
                        epilogue: (n == 300).then_some(&epilogue),
                    };
                    let loops = candidates_of(&caps, [Store::F16; 2], m, n, k, 1);
                    let coops: Vec<_> = loops
                        .into_iter()
                        .filter(|of| matches!(of, Loop::Coop(_)))
                        .collect();
                    assert!(coops.len() > 1, "{caps:?}");
                    for of in coops {
                        for dispatch in gemm_with(&caps, &product, of).unwrap() {
                            check(&caps, &dispatch);
                            assert_eq!(dispatch.variant.shader, "gemm_coop");
                        }
                    }
                }
            }
        }
    }
}

/// Convolutions take the same tiles; operands of f32, and devices without matrices, do not.
#[test]
fn cooperative_matrices_are_for_halves_where_they_are_proven() {
    let pads = [1; 4];
    let x_shape = [2, 30, 28, 32];
    let shape = ConvShape::new(&x_shape, &[3, 3], &[1, 1], &[1, 1], &pads, 1, 64).unwrap();
    for caps in coop_caps() {
        let view = |slot, store, shape: &[usize]| View::new(Slot(slot), store, shape);
        let x = view(0, Store::F16, &x_shape);
        let y = view(2, Store::F16, &shape.output_shape());
        let w = view(1, Store::F16, &[1, 9 * 32, panel_width(&caps)]);
        let of = candidates_of(&caps, [Store::F16; 2], 1680, 64, 288, 1)[0];
        let made =
            |caps: &Caps, x: &View| conv_with(caps, &shape, x, Filter::Packed(&w), &y, None, of);
        for dispatch in made(&caps, &x).unwrap() {
            check(&caps, &dispatch);
            assert_eq!(dispatch.variant.shader, "gemm_coop");
        }
        let refused = made(&caps, &view(0, Store::F32, &x_shape)).unwrap_err();
        assert!(refused.to_string().contains("for f16"), "{refused}");
        assert!(made(&Caps::discrete(), &x).is_err());
    }
}
