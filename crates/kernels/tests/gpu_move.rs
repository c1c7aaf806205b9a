//! Copies on the software adapter against plain loops, and every variant of them through naga.

mod common;

use common::gpu::{Bench, benches};
use common::{check, discrete, software};
use tilewright_device::{Caps, Slot};
use tilewright_kernels::{Region, Store, Strides, View, copy};

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
    let size = |n| View::new(Slot(n), Store::F32, [1 << 14]);
    for caps in [Caps::webgpu_default(), software(8), discrete()] {
        for (_, region, ..) in regions() {
            for dispatch in copy(&caps, &size(0), &size(1), &region).unwrap() {
                check(&caps, &dispatch);
            }
        }
    }
}
