//! `gemm_coop` with its matrices written out as loops, since no software adapter has cooperative ones: what moves through
//! workgroup memory, and what is stored of it, is the same text. And what a device does with a proof of its matrices.

mod common;

use common::gpu::{Bench, benches, close, values};
use tilewright_device::{CoopMatrix, CoopState, Dispatch};
use tilewright_kernels::{
    CoopTile, Epilogue, Gemm, Layout, Loop, Operand, Store, coop_probe, gemm_with,
};

const OF: CoopMatrix = CoopMatrix { edge: 8, lanes: 8 };

/// Where a product's parts lie.
#[derive(Debug, Clone, Copy)]
struct Case {
    size: [usize; 3],
    layouts: [Layout; 2],
    by_k: bool,
    vec: bool,
    fragments: [u32; 2],
    strip: u32,
    bias: bool,
}

const PLAIN: Case = Case {
    size: [64, 64, 64],
    layouts: [Layout::Rows; 2],
    by_k: false,
    vec: true,
    fragments: [1, 2],
    strip: 2,
    bias: false,
};

/// Fragments of A and B are places in workgroup memory, those of C rows of two vec4. Every thread of a subgroup computes them
/// all. Registers are indexed by constants, and nothing is copied: the driver compiles long for what is not so.
fn written_out(vec: bool) -> String {
    let get = |tile: &str, at: &str| match vec {
        true => format!("f32({tile}[({at}) / 4u][({at}) % 4u])"),
        false => format!("f32({tile}[{at}])"),
    };
    let put = match vec {
        true => "c_tile[to4 + $iu * C_LD4 + $hu] = v[2u * $iu + $hu];".to_string(),
        false => (0..4)
            .map(|e| {
                format!("c_tile[4u * (to4 + $iu * C_LD4 + $hu) + {e}u] = v[2u * $iu + $hu][{e}];")
            })
            .collect(),
    };
    let a = get(
        "a_tile",
        "a + select(4u * k * A_LD4 + $iu, 4u * $iu * A_LD4 + k, A_BY_K)",
    );
    let b: Vec<_> = (0..4)
        .map(|e| {
            let x = format!("(4u * $hu + {e}u)");
            let at = format!("b + select(4u * k * B_LD4 + {x}, 4u * {x} * B_LD4 + k, B_BY_K)");
            get("b_tile", &at)
        })
        .collect();
    format!(
        "fn a_fragment(m: u32, k: u32) -> MatA {{ return select(4u * k * A_LD4 + m, 4u * m * A_LD4 + k, A_BY_K); }}
fn b_fragment(k: u32, n: u32) -> MatB {{ return select(4u * k * B_LD4 + n, 4u * n * B_LD4 + k, B_BY_K); }}
fn fragment_mac(a: MatA, b: MatB, acc: MatC) -> MatC {{
    var sum = acc;
    for (var k = 0u; k < 8u; k++) {{
        //#repeat h 2
        let row$h = vec4<f32>({});
        //#end
        //#repeat i 8
        let l$i = {a};
        sum[2u * $iu] += l$i * row0;
        sum[2u * $iu + 1u] += l$i * row1;
        //#end
    }}
    return sum;
}}
fn c_fragment(to4: u32, v: MatC) {{
    //#repeat i 8
    //#repeat h 2
    {put}
    //#end
    //#end
}}\n",
        b.join(", ")
    )
}

/// The dispatch with its matrices written out.
fn without_matrices(case: Case, dispatch: &mut Dispatch) {
    let mut variant = dispatch.variant.clone();
    variant.enables.clear();
    // Matrices of 8 take single elements; those of 16, which are the same text, vec4.
    let parts = variant.parts.iter_mut();
    parts
        .filter(|part| **part == "coop_one" && case.vec)
        .for_each(|part| *part = "coop_vec");
    let types = [
        ("MatA", "u32"),
        ("MatB", "u32"),
        ("MatC", "array<vec4<f32>, 16>"),
    ];
    dispatch.variant = types
        .into_iter()
        .fold(variant, |v, (name, ty)| v.alias(name, ty))
        .set("BY_K", case.by_k)
        .text("coop_fragment", written_out(case.vec));
}

/// Element (row, column) of a matrix that lies in rows, or in columns.
fn element(of: &[f32], layout: Layout, [rows, cols]: [usize; 2], row: usize, col: usize) -> f64 {
    f64::from(match layout {
        Layout::Rows => of[row * cols + col],
        _ => of[col * rows + row],
    })
}

fn run(bench: &mut Bench, case: Case) {
    let ([m, n, k], [layout_a, layout_b]) = (case.size, case.layouts);
    let (a, b, bias) = (values(m * k, 1), values(k * n, 2), values(n, 3));
    let va = bench.floats(0, Store::F16, &[m * k], &a);
    let vb = bench.floats(1, Store::F16, &[k * n], &b);
    let vc = bench.result(2, Store::F32, &[m * n]);
    let vbias = bench.floats(3, Store::F32, &[n], &bias);
    let epilogue = Epilogue::bias(&vbias);
    let operand = |view, layout, [rows, cols]: [usize; 2]| Operand {
        view,
        layout,
        ld: if layout == Layout::Rows { cols } else { rows },
        batch: vec![],
    };
    let product = Gemm {
        m,
        n,
        k,
        batch: vec![],
        a: operand(&va, layout_a, [m, k]),
        b: operand(&vb, layout_b, [k, n]),
        c: operand(&vc, Layout::Rows, [m, n]),
        epilogue: case.bias.then_some(&epilogue),
    };
    let tile = CoopTile {
        of: OF,
        subgroups: [2, 2],
        fragments: case.fragments,
        bk4: 8,
        strip: case.strip,
    };
    let mut caps = bench.caps().clone();
    caps.coop_matrix = Some(OF);
    let mut dispatches = gemm_with(&caps, &product, Loop::Coop(tile)).unwrap();
    dispatches
        .iter_mut()
        .for_each(|dispatch| without_matrices(case, dispatch));
    bench.run(&dispatches);
    let sum = |at: usize| {
        let (i, j) = (at / n, at % n);
        let terms = (0..k)
            .map(|x| element(&a, layout_a, [m, k], i, x) * element(&b, layout_b, [k, n], x, j));
        let added = if case.bias { f64::from(bias[j]) } else { 0.0 };
        terms.sum::<f64>() + added
    };
    let expected: Vec<f64> = (0..m * n).map(sum).collect();
    close(&format!("{case:?}"), &bench.read(&vc), &expected, 1e-5);
}

#[test]
fn every_way_through_workgroup_memory_computes() {
    for mut bench in benches() {
        if !bench.caps().f16 {
            continue;
        }
        let ways = [
            ([Layout::Rows, Layout::Rows], false, true),
            ([Layout::Cols, Layout::Rows], true, true),
            ([Layout::Cols, Layout::Cols], false, false),
        ];
        for (layouts, by_k, vec) in ways {
            let case = Case {
                layouts,
                by_k,
                vec,
                size: [33, 70, 45],
                ..PLAIN
            };
            run(&mut bench, case);
        }
    }
}

#[test]
fn tiles_strips_and_epilogues_compute() {
    for mut bench in benches() {
        if !bench.caps().f16 {
            continue;
        }
        for (fragments, strip) in [([2, 2], 1), ([1, 4], 2)] {
            let case = Case {
                size: [100, 68, 76],
                fragments,
                strip,
                bias: true,
                ..PLAIN
            };
            run(&mut bench, case);
        }
    }
}

#[test]
fn what_a_device_says_of_its_matrices_is_proven_first() {
    for bench in benches() {
        let gpu = bench.gpu.clone();
        let offers = !gpu.coop_offers().is_empty();
        assert_eq!(gpu.caps().coop_matrix, None);
        let right = pollster::block_on(coop_probe(&gpu)).unwrap();
        assert_eq!(right, gpu.caps().coop_matrix.is_some());
        match gpu.coop_state() {
            CoopState::Absent => assert!(!offers),
            CoopState::Right(of) => assert!(gpu.coop_offers().contains(&of)),
            CoopState::Wrong(what) => assert!(offers && !what.is_empty()),
            other => panic!("{other} after a probe"),
        }
    }
}

#[test]
fn the_first_proof_counts() {
    for proof in [Ok(OF), Err("element (0, 0) is 1".to_string())] {
        for bench in benches() {
            if bench.gpu.coop_state() != CoopState::Absent {
                continue;
            }
            let before = bench.caps().clone();
            bench.gpu.settle_coop(proof.clone());
            bench.gpu.settle_coop(Err("later".into()));
            let state = match &proof {
                Ok(of) => CoopState::Right(*of),
                Err(what) => CoopState::Wrong(what.clone()),
            };
            assert_eq!(bench.gpu.coop_state(), state);
            let mut after = bench.caps().clone();
            assert_eq!(after.coop_matrix, proof.clone().ok());
            after.coop_matrix = None;
            assert_eq!(after, before);
        }
    }
    let said = CoopState::Wrong("element (0, 0) is 1".into()).to_string();
    assert_eq!(said, "not used (element (0, 0) is 1)");
}
