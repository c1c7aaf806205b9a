//! Copies and scattered sums on the software adapter against plain loops; every variant of the kernels that move elements
//! through naga.

mod common;

use common::check;
use common::gpu::{Bench, benches, values};
use tilewright_device::{Caps, Dispatch, Slot};
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

type Case = (&'static str, Region, usize, usize);

/// Name, region, elements of the source, elements of the target: regions that fill their target.
fn whole_regions() -> Vec<Case> {
    type Row = (
        &'static str,
        &'static [usize],
        usize,
        &'static [isize],
        usize,
    );
    let rows: [Row; 17] = [
        ("contiguous", &[4, 8], 0, &[8, 1], 32),
        ("odd", &[5, 3], 2, &[3, 1], 20),
        ("rows of more", &[5, 8], 4, &[12, 1], 64),
        ("backwards", &[4, 8], 31, &[-8, -1], 32),
        ("rows backwards", &[4, 8], 24, &[-8, 1], 32),
        ("channels last", &[2, 8, 3], 0, &[24, 1, 8], 48),
        ("a long odd run", &[16_387], 4, &[1], 16_400),
        ("every third", &[8], 1, &[3], 25),
        ("expanded", &[3, 4, 5], 0, &[1, 0, 0], 3),
        ("small transpose", &[4, 6], 0, &[1, 4], 24),
        ("transpose", &[40, 36], 0, &[1, 40], 1440),
        ("odd transpose", &[33, 35], 0, &[1, 33], 1155),
        (
            "axes apart",
            &[2, 3, 12, 5, 36],
            0,
            &[6480, 12, 1, 36, 180],
            12960,
        ),
        ("negative axis apart", &[36, 40], 39, &[40, -1], 1440),
        (
            "eight axes",
            &[2; 8],
            0,
            &[1, 2, 4, 8, 16, 32, 64, 128],
            256,
        ),
        (
            "ten axes",
            &[2; 10],
            0,
            &[1, 2, 4, 8, 16, 32, 64, 128, 256, 512],
            1024,
        ),
        ("one", &[], 3, &[], 5),
    ];
    let case = |(name, shape, offset, by, sources): Row| {
        let region = Region {
            shape: shape.to_vec(),
            from: walk(offset, by),
            to: Strides::of(shape),
        };
        (name, region, sources, shape.iter().product())
    };
    rows.map(case).into()
}

/// The same for regions that fill only a part.
fn regions() -> Vec<Case> {
    let part = |name, to| {
        let shape = vec![3, 4];
        let from = walk(0, &[4, 1]);
        (name, Region { shape, from, to }, 12, 60)
    };
    let mut all = whole_regions();
    all.push(part("into the middle", walk(13, &[12, 1])));
    all.push(part("into fours", walk(16, &[12, 1])));
    all.push(part("scattered", walk(1, &[16, 3])));
    all
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
    for caps in [Caps::webgpu_default(), Caps::software(8), Caps::discrete()] {
        for (_, region, ..) in regions() {
            for dispatch in copy(&caps, &size(0), &size(1), &region).unwrap() {
                check(&caps, &dispatch);
            }
        }
    }
}

/// Many updates of few places: the sums must be those of the order of the updates, to the bit. Software adapters cut loops
/// off after 65,535 rounds, and a dispatch takes no more than four times as many updates of a place.
#[test]
fn scattered_sums_are_in_order() {
    let (places, count) = (300usize, 700_000usize);
    let updates = values(count, 5);
    let data = values(places, 6);
    // Most updates go to place 0, some to the last, some nowhere, and few to each of the others.
    let to: Vec<i32> = (0..count as i32)
        .map(|t| [0, t % 300, 0, -1, 0, 0, 0, 300][(t % 8) as usize])
        .collect();
    let mut expected = data.clone();
    for (&at, update) in to.iter().zip(&updates) {
        let at = if at < 0 { at + 300 } else { at };
        if let Some(sum) = expected.get_mut(at as usize) {
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
        for _ in 0..2 {
            bench.run(&dispatches);
            assert_eq!(bench.read(&y), expected);
        }
    }
}

fn view(slot: u32, store: Store, shape: &[usize]) -> View {
    View::new(Slot(slot), store, shape)
}

const STORES: [Store; 3] = [Store::F32, Store::I32, Store::U32];

fn gathers(caps: &Caps, inner: usize) -> Vec<Vec<Dispatch>> {
    let [f, i, _] = STORES;
    let (x, y) = (view(0, f, &[5, 6, inner]), view(1, f, &[5, 6, inner]));
    let (picks, lengths) = (view(2, i, &[6]), view(2, i, &[5]));
    let odd = inner == 3;
    vec![
        gather(caps, &x, &picks, 1, &y).unwrap(),
        gather_elements(caps, &x, &view(2, i, &y.shape), 0, &y).unwrap(),
        gather_nd(caps, &x, &view(2, i, &[5, 6, 2]), 0, &y).unwrap(),
        gather_nd(caps, &x, &view(2, i, &[5, 6, 1]), 1, &y).unwrap(),
        reverse_sequence(caps, &x, if odd { &lengths } else { &picks }, odd, &y).unwrap(),
        trilu(caps, &x, odd, 1, &y).unwrap(),
        tensor_scatter(caps, &x, &x, Some(&lengths), 1, odd, &y).unwrap(),
        tensor_scatter(caps, &x, &x, None, 1, odd, &y).unwrap(),
    ]
}

fn pads(caps: &Caps, inner: usize) -> Vec<Vec<Dispatch>> {
    let [f, ..] = STORES;
    let (x, one) = (view(0, f, &[5, 6, inner]), view(3, f, &[]));
    let (known, viewed) = (Padding::Known(0), Padding::View(&one));
    let mut out = vec![];
    for padding in [
        known,
        viewed,
        Padding::Reflect,
        Padding::Edge,
        Padding::Wrap,
    ] {
        let (wider, less) = (view(1, f, &[9, 6, inner + 4]), view(1, f, &[2, 6, inner]));
        out.push(pad(caps, &x, &[2, 0, 4], padding, &wider).unwrap());
        out.push(pad(caps, &x, &[-2, 0, 0], padding, &less).unwrap());
    }
    out
}

fn scatters(caps: &Caps, inner: usize) -> Vec<Vec<Dispatch>> {
    let [f, i, u] = STORES;
    let mut out = vec![];
    for store in STORES {
        let [x, new, y] = [0, 1, 2].map(|slot| view(slot, store, &[7, inner]));
        let scratch = view(5, u, &[scatter_scratch(7 * inner, 7 * inner)]);
        let (tuples, each) = (view(3, i, &[7, 1]), view(3, i, &[7, inner]));
        use Combine::*;
        for op in [Replace, Add, Mul, Min, Max] {
            let scratch = Some(&scratch);
            out.push(scatter_nd(caps, [&x, &tuples, &new], op, scratch, &y).unwrap());
            out.push(scatter_elements(caps, [&x, &each, &new], 1, op, scratch, &y).unwrap());
        }
        out.push(one_hot(caps, &view(3, store, &[7]), &view(4, f, &[2]), 1, &y).unwrap());
    }
    out
}

#[test]
fn every_other_variant_validates() {
    let [f, i, _] = STORES;
    for caps in [Caps::webgpu_default(), Caps::software(8), Caps::discrete()] {
        let mut all = vec![
            range(&caps, 0, 0, &view(0, f, &[9])).unwrap(),
            range(&caps, 0, 0, &view(0, i, &[9])).unwrap(),
            eye(&caps, 1, 1, &view(0, f, &[9, 4])).unwrap(),
        ];
        for inner in [3, 4] {
            all.extend(gathers(&caps, inner));
            all.extend(pads(&caps, inner));
            all.extend(scatters(&caps, inner));
        }
        for dispatch in all.iter().flatten() {
            check(&caps, dispatch);
        }
    }
}
