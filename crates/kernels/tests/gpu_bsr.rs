//! Products with block-sparse weights on the software adapter, against plain loops in f64.

mod common;

use common::gpu::{Bench, benches, close, values};
use tilewright_device::Slot;
use tilewright_kernels::{
    BsrView, Epilogue, Side, Store, View, bsr_left, bsr_matmul, bsr_rows, bsr_values,
};
use tilewright_tensor::{Bsr, HostTensor};

/// A matrix of which about `keep` of 8 blocks are not zero; the first row of blocks is empty.
fn sparse([rows, cols]: [usize; 2], block: [usize; 2], keep: u32, seed: u32) -> Vec<f32> {
    let mut w = values(rows * cols, seed);
    for (at, v) in w.iter_mut().enumerate() {
        let (r, c) = ((at / cols / block[0]) as u32, (at % cols / block[1]) as u32);
        let pick = (r * 7 + c * 3 + seed).wrapping_mul(0x9e37_79b9) >> 29;
        if r == 0 || pick >= keep {
            *v = 0.0;
        }
    }
    w
}

fn upload(bench: &mut Bench, slot: u32, host: &HostTensor, store: Store) -> View {
    let view = View::new(Slot(slot), store, host.shape().to_vec());
    bench.put(&view, host.bytes());
    view
}

fn words(bench: &mut Bench, slot: u32, words: &[u32]) -> View {
    let view = View::new(Slot(slot), Store::U32, [words.len()]);
    bench.put(&view, bytemuck::cast_slice(words));
    view
}

/// Rows of x, extents of W, block size, blocks of 8 that are kept.
const CASES: [(usize, [usize; 2], [usize; 2], u32); 8] = [
    (64, [128, 96], [32, 32], 2),
    (33, [96, 64], [32, 32], 8),
    (1, [64, 64], [64, 64], 4),
    (3, [100, 96], [32, 32], 4),
    (7, [96, 128], [32, 64], 3),
    (70, [100, 96], [32, 16], 4),
    (40, [64, 64], [32, 32], 0),
    (130, [192, 128], [64, 32], 3),
];

#[test]
fn a_sparse_weight_on_either_side() {
    for mut bench in benches() {
        for (m, extents, block, keep) in CASES {
            let [n, k] = extents;
            let dense = sparse(extents, block, keep, 3);
            let w =
                Bsr::from_dense(&HostTensor::from_slice(extents, &dense).unwrap(), block).unwrap();
            // With 16 lanes tiles are higher than some of these blocks, which are then cut anew.
            let [right, left] = [Side::Right, Side::Left].map(|side| bsr_rows(bench.caps(), side));
            let block = [block[0].next_multiple_of(right.max(left)), block[1]];
            let w = w.in_blocks(block).unwrap();
            let x = values(m * k, 4);
            let bias = values(n, 5);
            let row_ptr = words(&mut bench, 2, w.row_ptr());
            let col_idx = words(&mut bench, 3, w.col_idx());
            let vb = bench.floats(4, Store::F32, &[n], &bias);
            let dot = |i: usize, j: usize| {
                (0..k)
                    .map(|c| f64::from(x[i * k + c]) * f64::from(dense[j * k + c]))
                    .sum::<f64>()
            };

            let values = upload(
                &mut bench,
                1,
                &bsr_values(&w, Side::Right).unwrap(),
                Store::F32,
            );
            let view = BsrView {
                extents,
                block_size: block,
                values: &values,
                row_ptr: &row_ptr,
                col_idx: &col_idx,
            };
            let vx = bench.floats(0, Store::F32, &[m, k], &x);
            let vc = bench.result(5, Store::F32, &[m, n]);
            bench.run(
                &bsr_matmul(bench.caps(), &vx, &view, &vc, Some(&Epilogue::bias(&vb))).unwrap(),
            );
            let expected: Vec<_> = (0..m * n)
                .map(|at| dot(at / n, at % n) + f64::from(bias[at % n]))
                .collect();
            close(
                &format!("right {m} {extents:?} {block:?}"),
                &bench.read(&vc),
                &expected,
                1e-5,
            );

            let columns = m.next_multiple_of(4);
            let mut xt = vec![0.0; k * columns];
            for (at, &v) in x.iter().enumerate() {
                xt[at % k * columns + at / k] = v;
            }
            let values = upload(
                &mut bench,
                1,
                &bsr_values(&w, Side::Left).unwrap(),
                Store::F32,
            );
            let view = BsrView {
                values: &values,
                ..view
            };
            let vx = bench.floats(0, Store::F32, &[k, columns], &xt);
            let vc = bench.result(5, Store::F32, &[n, columns]);
            bench.run(&bsr_left(bench.caps(), &view, &vx, &vc, None).unwrap());
            let at = |at: usize| {
                if at % columns < m {
                    dot(at % columns, at / columns)
                } else {
                    0.0
                }
            };
            let expected: Vec<_> = (0..n * columns).map(at).collect();
            close(
                &format!("left {m} {extents:?} {block:?}"),
                &bench.read(&vc),
                &expected,
                1e-5,
            );
        }
    }
}
