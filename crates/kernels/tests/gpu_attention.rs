//! Attention on the software adapter against plain loops, with running sums and as products; every variant through naga.

mod common;

use common::attention::{Case, Data, Mask, PLAIN, cases, close, put, with};
use common::check;
use common::gpu::benches;
use tilewright_device::{AdapterKind, Caps, Slot};
use tilewright_kernels::{Attention, Scores, Store, View, attention, attention_by_products};

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

/// Two blocks of queries and a bit, with everything that depends on a query's place.
#[test]
fn blocks_of_queries_see_what_the_whole_sees() {
    let sized = Case {
        size: [1, 8, 4, 300, 1300, 8, 12],
        ..PLAIN
    };
    let cases = [
        sized,
        Case {
            name: "causal with a mask",
            window: [Some(0), Some(900)],
            past: 1000,
            mask: Mask::Float,
            packed: true,
            ..sized
        },
        Case {
            name: "valid keys",
            valid: true,
            window: [Some(3), None],
            mask: Mask::Bool,
            ..sized
        },
    ];
    for mut bench in benches() {
        for case in cases {
            let data = Data::new(&case);
            let (want, _) = data.expected(&case);
            put(&mut bench, &case, &data);
            let n = with(&case, |of| {
                assert!(of.block_scores() < of.scores());
                of.block_scores() as usize
            });
            let scores = bench.result(6, Store::F32, &[n]);
            with(&case, |of| {
                let list = attention_by_products(bench.caps(), of, &scores, None).unwrap();
                assert_eq!(list.len(), 9, "{}", case.name);
                bench.run(&list);
                close(case.name, &bench.read(of.y.view), &want);
            });
        }
    }
}

/// Memory grows with the number of places, not with its square.
#[test]
fn scores_of_a_block_grow_with_the_keys() {
    let scores = |n| {
        let case = Case {
            size: [1, 8, 8, n, n, 64, 64],
            ..PLAIN
        };
        with(&case, |of| of.block_scores())
    };
    assert_eq!(scores(1024), 1 << 20);
    assert_eq!(scores(2048), 2 << 20);
    assert_eq!(scores(4096), 4 << 20);
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
