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

/// A weight of \[n, k\], and m rows to multiply it with.
struct Weight {
    name: String,
    m: usize,
    dense: Vec<f32>,
    bsr: Bsr,
    x: Vec<f32>,
}

impl Weight {
    fn new(
        bench: &Bench,
        &(m, extents, block, keep): &(usize, [usize; 2], [usize; 2], u32),
    ) -> Self {
        let dense = sparse(extents, block, keep, 3);
        let w = Bsr::from_dense(&HostTensor::from_slice(extents, &dense).unwrap(), block).unwrap();
        // With 16 lanes tiles are higher than some of these blocks, which are then cut anew.
        let [right, left] = [Side::Right, Side::Left].map(|side| bsr_rows(bench.caps(), side));
        let block = [block[0].next_multiple_of(right.max(left)), block[1]];
        Self {
            name: format!("{m} {extents:?} {block:?}"),
            m,
            dense,
            bsr: w.in_blocks(block).unwrap(),
            x: values(m * extents[1], 4),
        }
    }

    /// Row i of x times row j of the weight.
    fn dot(&self, i: usize, j: usize) -> f64 {
        let [_, k] = self.bsr.extents();
        let product = |c| f64::from(self.x[i * k + c]) * f64::from(self.dense[j * k + c]);
        (0..k).map(product).sum()
    }

    /// The weight on the device, for one side of a product.
    fn upload(&self, bench: &mut Bench, side: Side) -> [View; 3] {
        [
            upload(bench, 1, &bsr_values(&self.bsr, side).unwrap(), Store::F32),
            words(bench, 2, self.bsr.row_ptr()),
            words(bench, 3, self.bsr.col_idx()),
        ]
    }

    fn view<'a>(&self, [values, row_ptr, col_idx]: &'a [View; 3]) -> BsrView<'a> {
        BsrView {
            extents: self.bsr.extents(),
            block_size: self.bsr.block_size(),
            values,
            row_ptr,
            col_idx,
        }
    }
}

/// x W^T + bias.
fn on_the_right(bench: &mut Bench, w: &Weight) {
    let ([n, k], m) = (w.bsr.extents(), w.m);
    let bias = values(n, 5);
    let parts = w.upload(bench, Side::Right);
    let vb = bench.floats(4, Store::F32, &[n], &bias);
    let vx = bench.floats(0, Store::F32, &[m, k], &w.x);
    let vc = bench.result(5, Store::F32, &[m, n]);
    let epilogue = Epilogue::bias(&vb);
    bench.run(&bsr_matmul(bench.caps(), &vx, &w.view(&parts), &vc, Some(&epilogue)).unwrap());
    let of = |at: usize| w.dot(at / n, at % n) + f64::from(bias[at % n]);
    let expected: Vec<_> = (0..m * n).map(of).collect();
    close(
        &format!("right {}", w.name),
        &bench.read(&vc),
        &expected,
        1e-5,
    );
}

/// W x^T, its columns padded to multiples of 4.
fn on_the_left(bench: &mut Bench, w: &Weight) {
    let ([n, k], columns) = (w.bsr.extents(), w.m.next_multiple_of(4));
    let mut xt = vec![0.0; k * columns];
    for (at, &v) in w.x.iter().enumerate() {
        xt[at % k * columns + at / k] = v;
    }
    let parts = w.upload(bench, Side::Left);
    let vx = bench.floats(0, Store::F32, &[k, columns], &xt);
    let vc = bench.result(5, Store::F32, &[n, columns]);
    bench.run(&bsr_left(bench.caps(), &w.view(&parts), &vx, &vc, None).unwrap());
    let of = |at: usize| {
        if at % columns < w.m {
            w.dot(at % columns, at / columns)
        } else {
            0.0
        }
    };
    let expected: Vec<_> = (0..n * columns).map(of).collect();
    close(
        &format!("left {}", w.name),
        &bench.read(&vc),
        &expected,
        1e-5,
    );
}

#[test]
fn a_sparse_weight_on_either_side() {
    for mut bench in benches() {
        for case in &CASES {
            let weight = Weight::new(&bench, case);
            on_the_right(&mut bench, &weight);
            on_the_left(&mut bench, &weight);
        }
    }
}
