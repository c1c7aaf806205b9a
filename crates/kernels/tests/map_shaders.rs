//! Every way of reading an input, through the assembler and naga.

mod common;

use common::check;
use tilewright_device::{Caps, Param, Slot};
use tilewright_kernels::{Epilogue, Function, Store, View, map, map_epilogue, map_inputs, matmul};

fn view(slot: u32, store: Store, shape: &[usize]) -> View {
    View::new(Slot(slot), store, shape)
}

fn sum(n: usize) -> Function {
    let operands: Vec<String> = (0..n).map(|i| format!("x{i}: vec4<f32>")).collect();
    let terms: Vec<String> = (0..n).map(|i| format!("x{i}")).collect();
    let (operands, terms) = (operands.join(", "), terms.join(" + "));
    Function {
        text: format!("//#param scale: f32\nfn map({operands}) -> vec4<f32> {{ return p.scale * ({terms}); }}\n").into(),
        params: vec![("scale", Param::F32(2.0))],
    }
}

#[test]
fn every_mode_assembles() {
    // The output's shape, and inputs of which each is read in another way.
    let cases: [(&[usize], &[&[usize]]); 5] = [
        (
            &[2, 3, 8],
            &[
                &[2, 3, 8],
                &[8],
                &[3, 8],
                &[2, 1, 1],
                &[],
                &[2, 1, 8],
                &[3, 1],
            ],
        ),
        (
            &[2, 3, 7],
            &[
                &[2, 3, 7],
                &[7],
                &[3, 7],
                &[2, 1, 1],
                &[1],
                &[2, 1, 7],
                &[3, 1],
            ],
        ),
        (&[], &[&[]]),
        (&[1, 1], &[&[], &[1]]),
        (
            &[2, 2, 2, 2, 2, 2, 2, 3],
            &[&[2, 1, 2, 1, 2, 1, 2, 1], &[1, 2, 1, 2, 1, 2, 1, 3]],
        ),
    ];
    for caps in [Caps::software(8), Caps::discrete(), Caps::webgpu_default()] {
        for (out, inputs) in cases {
            let views: Vec<View> = (0..)
                .zip(inputs)
                .map(|(i, s)| view(i, Store::F32, s))
                .collect();
            let list = map(&caps, &sum(views.len()), &views, &view(9, Store::F32, out)).unwrap();
            assert_eq!(list.len(), 1);
            check(&caps, &list[0]);
        }
    }
}

#[test]
fn half_precision_is_read_and_written_where_the_adapter_can() {
    let (x, y) = (view(0, Store::F16, &[3, 8]), view(1, Store::F16, &[8]));
    let out = view(2, Store::F16, &[3, 8]);
    let list = map(&Caps::discrete(), &sum(2), &[x.clone(), y.clone()], &out).unwrap();
    check(&Caps::discrete(), &list[0]);
    assert!(map(&Caps::software(8), &sum(2), &[x, y], &out).is_err());
}

#[test]
fn limits_are_kept() {
    let caps = Caps::webgpu_default();
    assert_eq!(map_inputs(&caps), 7);
    let views: Vec<View> = (0..8).map(|i| view(i, Store::F32, &[4])).collect();
    assert!(map(&caps, &sum(8), &views, &view(8, Store::F32, &[4])).is_err());
    assert!(
        map(&caps, &sum(1), &views[..1], &view(8, Store::F32, &[0]))
            .unwrap()
            .is_empty()
    );
    let misfit = view(1, Store::F32, &[3]);
    assert!(map(&caps, &sum(1), &[misfit], &view(8, Store::F32, &[4])).is_err());
    // More groups than one dimension holds.
    let large = view(0, Store::F32, &[1 << 28]);
    let list = map(&caps, &sum(1), std::slice::from_ref(&large), &large).unwrap();
    let groups = list[0].groups;
    assert!(groups.iter().all(|g| *g <= 65_535), "{groups:?}");
    assert!(groups.iter().map(|g| u64::from(*g)).product::<u64>() * 256 >= 1 << 28);
}

#[test]
fn functions_serve_as_epilogues() {
    let shapes: [&[usize]; 5] = [&[2, 9, 12], &[12], &[2, 1, 12], &[2, 1, 1], &[]];
    for caps in [Caps::software(8), Caps::discrete(), Caps::webgpu_default()] {
        // Rows of whole quads, and others.
        for n in [12, 11] {
            let of = |i: u32, shape: &[usize]| {
                let shape: Vec<usize> =
                    shape.iter().map(|&e| if e == 12 { n } else { e }).collect();
                view(i, Store::F32, &shape)
            };
            let (a, b, out) = (of(0, &[2, 9, 8]), of(1, &[8, 12]), of(2, &[2, 9, 12]));
            for (i, shape) in shapes.iter().enumerate() {
                let before = (i == 1).then(|| Epilogue::bias(&of(4, &[12])));
                let epilogue =
                    map_epilogue(&caps, before, &sum(2), &[of(3, shape)], &out, n % 4 == 0)
                        .unwrap();
                for dispatch in matmul(&caps, &a, false, &b, false, &out, Some(&epilogue)).unwrap()
                {
                    check(&caps, &dispatch);
                }
            }
        }
    }
}
