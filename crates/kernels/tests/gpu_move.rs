//! Copies and scattered sums on the software adapter against plain loops; every variant of the kernels that move elements
//! through naga.

mod common;

use common::gpu::{Bench, benches, values};
use common::{check, discrete, software};
use tilewright_device::{Caps, Slot};
use tilewright_kernels::{Combine, Padding, Region, Store, Strides, View, copy, eye, gather};
use tilewright_kernels::{gather_elements, gather_nd, one_hot, pad, range, reverse_sequence};
use tilewright_kernels::{scatter_elements, scatter_nd, scatter_scratch, tensor_scatter, trilu};

/// Element numbers as words: any mistake in an address shows.
fn numbered(bench: &mut Bench, slot: u32, count: usize) -> View {
    let view = View::new(Slot(slot), Store::U32, [count]);
    let words: Vec<u32> = (0..count as u32).map(|i| i + 1).collect();
    bench.put(&view, bytemuck::cast_slice(&words));
    view
}

/// Where each element of the target comes from; 0 for those that are not written.
fn expected(region: &Region, targets: usize) -> Vec<u32> {
    let mut out = vec![0; targets];
    let count: usize = region.shape.iter().product();
    for i in 0..count {
        let (mut left, mut from, mut to) = (i, 0isize, 0isize);
        for (axis, &n) in region.shape.iter().enumerate().rev() {
            from += (left % n) as isize * region.from.by[axis];
            to += (left % n) as isize * region.to.by[axis];
            left /= n;
        }
        let (from, to) = (
            from + region.from.offset as isize,
            to + region.to.offset as isize,
        );
        out[to as usize] = from as u32 + 1;
    }
    out
}

fn walk(offset: usize, by: &[isize]) -> Strides {
    Strides {
        offset,
        by: by.to_vec(),
    }
}

/// (shape, source, elements of the source, target, elements of the target)
fn regions() -> Vec<(&'static str, Region, usize, usize)> {
    let region = |shape: &[usize], from: Strides, to: Strides| Region {
        shape: shape.to_vec(),
        from,
        to,
    };
    let whole = |shape: &[usize], from: Strides| region(shape, from, Strides::of(shape));
    vec![
        ("contiguous", whole(&[4, 8], walk(0, &[8, 1])), 32, 32),
        ("odd", whole(&[5, 3], walk(2, &[3, 1])), 20, 15),
        ("rows of more", whole(&[5, 8], walk(4, &[12, 1])), 64, 40),
        ("backwards", whole(&[4, 8], walk(31, &[-8, -1])), 32, 32),
        ("rows backwards", whole(&[4, 8], walk(24, &[-8, 1])), 32, 32),
        (
            "channels last",
            whole(&[2, 8, 3], walk(0, &[24, 1, 8])),
            48,
            48,
        ),
        (
            "a long odd run",
            whole(&[16_387], walk(4, &[1])),
            16_400,
            16_387,
        ),
        ("every third", whole(&[8], walk(1, &[3])), 25, 8),
        ("expanded", whole(&[3, 4, 5], walk(0, &[1, 0, 0])), 3, 60),
        ("small transpose", whole(&[4, 6], walk(0, &[1, 4])), 24, 24),
        ("transpose", whole(&[40, 36], walk(0, &[1, 40])), 1440, 1440),
        (
            "odd transpose",
            whole(&[33, 35], walk(0, &[1, 33])),
            1155,
            1155,
        ),
        (
            "axes apart",
            whole(&[2, 3, 12, 5, 36], walk(0, &[6480, 12, 1, 36, 180])),
            12960,
            12960,
        ),
        (
            "into the middle",
            region(&[3, 4], walk(0, &[4, 1]), walk(13, &[12, 1])),
            12,
            60,
        ),
        (
            "into fours",
            region(&[3, 4], walk(0, &[4, 1]), walk(16, &[12, 1])),
            12,
            60,
        ),
        (
            "scattered",
            region(&[3, 4], walk(0, &[4, 1]), walk(1, &[16, 3])),
            12,
            60,
        ),
        (
            "eight axes",
            whole(&[2; 8], walk(0, &[1, 2, 4, 8, 16, 32, 64, 128])),
            256,
            256,
        ),
        (
            "ten axes",
            whole(&[2; 10], walk(0, &[1, 2, 4, 8, 16, 32, 64, 128, 256, 512])),
            1024,
            1024,
        ),
        ("one", whole(&[], walk(3, &[])), 5, 1),
    ]
}

#[test]
fn regions_arrive_where_they_should() {
    for mut bench in benches() {
        for (name, region, sources, targets) in regions() {
            let a = numbered(&mut bench, 0, sources);
            let y = View::new(Slot(1), Store::U32, [targets]);
            bench.put(&y, &vec![0; 4 * targets]);
            let dispatches = copy(bench.caps(), &a, &y, &region).unwrap();
            bench.run(&dispatches);
            let got: Vec<u32> = bytemuck::pod_collect_to_vec(&bench.bytes(&y));
            assert_eq!(got, expected(&region, targets), "{name}");
        }
    }
}

#[test]
fn every_copy_validates() {
    let size = |n| View::new(Slot(n), Store::F32, [1 << 15]);
    for caps in [Caps::webgpu_default(), software(8), discrete()] {
        for (_, region, ..) in regions() {
            for dispatch in copy(&caps, &size(0), &size(1), &region).unwrap() {
                check(&caps, &dispatch);
            }
        }
    }
}

/// Many updates of few places, so that lists are long and their making is interleaved: the sums must be those of the order of
/// the updates, to the bit.
#[test]
fn scattered_sums_are_in_order() {
    let (places, count) = (3usize, 40_000usize);
    let updates = values(count, 5);
    let data = values(places, 6);
    // Uneven: half of the updates go to place 0, and some nowhere.
    let to: Vec<i32> = (0..count as i32)
        .map(|t| [0, 1, 0, -1, 0, 2, 0, -2][(t % 8) as usize])
        .collect();
    let mut expected = data.clone();
    for (&at, update) in to.iter().zip(&updates) {
        if let Some(sum) = expected.get_mut(at.rem_euclid(if at < 0 { 3 } else { 100 }) as usize) {
            *sum += update;
        }
    }
    for mut bench in benches() {
        let data = bench.floats(0, Store::F32, &[places], &data);
        let updates = bench.floats(1, Store::F32, &[count], &updates);
        let indices = View::new(Slot(2), Store::I32, [count]);
        bench.put(&indices, bytemuck::cast_slice(&to));
        let scratch = View::new(Slot(3), Store::U32, [scatter_scratch(places, count)]);
        bench.put(&scratch, &vec![0xff; scratch.span.bytes as usize]);
        let y = bench.result(4, Store::F32, &[places]);
        let views = [&data, &indices, &updates];
        let add = Combine::Add;
        let caps = bench.caps();
        let dispatches = scatter_elements(caps, views, 0, add, Some(&scratch), &y).unwrap();
        for _ in 0..3 {
            bench.run(&dispatches);
            assert_eq!(bench.read(&y), expected);
        }
    }
}

#[test]
fn every_other_variant_validates() {
    let view = |slot: u32, store, shape: &[usize]| View::new(Slot(slot), store, shape);
    let (f, i, u) = (Store::F32, Store::I32, Store::U32);
    for caps in [Caps::webgpu_default(), software(8), discrete()] {
        let mut all = vec![];
        for inner in [3, 4] {
            let (x, y) = (view(0, f, &[5, 6, inner]), view(1, f, &[5, 6, inner]));
            let picks = view(2, i, &[6]);
            let lengths = view(2, i, &[5]);
            all.push(gather(&caps, &x, &picks, 1, &y));
            all.push(gather_elements(&caps, &x, &view(2, i, &y.shape), 0, &y));
            all.push(gather_nd(&caps, &x, &view(2, i, &[5, 6, 2]), 0, &y));
            all.push(gather_nd(&caps, &x, &view(2, i, &[5, 6, 1]), 1, &y));
            all.push(reverse_sequence(&caps, &x, &lengths, true, &y));
            all.push(trilu(&caps, &x, inner == 3, 1, &y));
            all.push(tensor_scatter(
                &caps,
                &x,
                &x,
                Some(&lengths),
                1,
                inner == 3,
                &y,
            ));
            all.push(tensor_scatter(&caps, &x, &x, None, 1, inner == 3, &y));
            let one = view(3, f, &[]);
            let paddings = [
                Padding::Known(0),
                Padding::View(&one),
                Padding::Reflect,
                Padding::Edge,
                Padding::Wrap,
            ];
            for padding in paddings {
                let wider = view(1, f, &[9, 6, inner + 4]);
                all.push(pad(&caps, &x, &[2, 0, 4], padding, &wider));
                all.push(pad(
                    &caps,
                    &x,
                    &[-2, 0, 0],
                    padding,
                    &view(1, f, &[2, 6, inner]),
                ));
            }
            for store in [f, i, u] {
                let [x, new, y] = [0, 1, 2].map(|slot| view(slot, store, &[7, inner]));
                let scratch = view(5, u, &[scatter_scratch(7 * inner, 7 * inner)]);
                for op in [
                    Combine::Replace,
                    Combine::Add,
                    Combine::Mul,
                    Combine::Min,
                    Combine::Max,
                ] {
                    let scratch = Some(&scratch);
                    let tuples = view(3, i, &[7, 1]);
                    all.push(scatter_nd(&caps, [&x, &tuples, &new], op, scratch, &y));
                    let each = view(3, i, &[7, inner]);
                    all.push(scatter_elements(
                        &caps,
                        [&x, &each, &new],
                        1,
                        op,
                        scratch,
                        &y,
                    ));
                }
                all.push(one_hot(
                    &caps,
                    &view(3, store, &[7]),
                    &view(4, f, &[2]),
                    1,
                    &y,
                ));
            }
        }
        all.push(range(&caps, 0, 0, &view(0, f, &[9])));
        all.push(range(&caps, 0, 0, &view(0, i, &[9])));
        all.push(eye(&caps, 1, 1, &view(0, f, &[9, 4])));
        let dispatches: Vec<_> = all.into_iter().flat_map(|made| made.unwrap()).collect();
        assert!(dispatches.len() > 100);
        for dispatch in &dispatches {
            check(&caps, dispatch);
        }
    }
}
