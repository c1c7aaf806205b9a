//! The GEMM loop families, their sizes, and which of them an adapter and a product get.

use serde::{Deserialize, Serialize};
use tilewright_device::{AdapterKind, Caps, Set, Variant};

use crate::coop::CoopTile;

/// A loop over tiles of C, with its sizes in units of 4 x 4 blocks where a field ends in 4.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Loop {
    /// `gemm_reg`: one subgroup a workgroup, `4 * columns` columns a lane and `4 * quads` rows. Software adapters only.
    Reg {
        /// The subgroup size.
        lanes: u32,
        /// Quads of rows: fewer than lanes, or a multiple of them.
        quads: u32,
        /// Blocks of 4 columns a lane owns.
        columns: u32,
    },
    /// `gemm_tile`: tiles in workgroup memory, no subgroup operations.
    Tile {
        /// Rows, columns and k of a workgroup's tile, in blocks of 4.
        bm4: u32,
        /// See `bm4`.
        bn4: u32,
        /// See `bm4`.
        bk4: u32,
        /// Rows and columns of a thread, in blocks of 4.
        tm4: u32,
        /// See `tm4`.
        tn4: u32,
        /// 2: double-buffered, one barrier a chunk.
        sides: u32,
    },
    /// `gemv`: at most 8 rows a workgroup, the k axis shared by `tk` threads.
    Gemv {
        /// Rows: 1, 2, 4 or 8.
        rows: u32,
        /// Blocks of 4 columns.
        tx: u32,
        /// Threads along k.
        tk: u32,
    },
    /// `gemm_coop`: f16 operands by cooperative matrices.
    Coop(CoopTile),
}

/// The most rows that `gemv` takes: where a tile would be padding for the most part.
const GEMV_ROWS: usize = 8;

impl Loop {
    /// 128 x 128 x 16, 8 x 8 a thread: 16 KiB single-buffered.
    const LARGE: Self = Self::tile(32, 32, 2, 2, 1);
    /// 64 x 64 x 16, 8 x 8 a thread. With two buffers, half as many workgroups of 64 threads fit a processor (docs/kernels.md).
    const MEDIUM: Self = Self::tile(16, 16, 2, 2, 1);
    /// 32 x 32 x 16, 4 x 4 a thread: for products with few tiles.
    pub(crate) const SMALL: Self = Self::tile(8, 8, 1, 1, 1);

    /// What is left where every candidate was found wrong on a device: no subgroups, default limits.
    pub(crate) const SAFE: [Self; 2] = [
        Self::SMALL,
        Self::Gemv {
            rows: 4,
            tx: 8,
            tk: 4,
        },
    ];

    const fn tile(bm4: u32, bn4: u32, tm4: u32, tn4: u32, sides: u32) -> Self {
        Self::Tile {
            bm4,
            bn4,
            bk4: 4,
            tm4,
            tn4,
            sides,
        }
    }

    /// The tiles of a product that is to be split along k.
    pub(crate) fn split(caps: &Caps, m: usize, n: usize) -> Self {
        match () {
            () if m <= GEMV_ROWS => gemv(caps, m, n),
            () if m > 32 && n > 32 => Self::MEDIUM,
            () => Self::SMALL,
        }
    }

    /// Rows and columns of C that a workgroup computes.
    #[must_use]
    pub fn extent(self) -> [usize; 2] {
        let [m, n] = match self {
            Self::Reg {
                lanes,
                quads,
                columns,
            } => [4 * quads, 4 * lanes * columns],
            Self::Tile { bm4, bn4, .. } => [4 * bm4, 4 * bn4],
            Self::Gemv { rows, tx, .. } => [rows, 4 * tx],
            Self::Coop(tile) => tile.extent(),
        };
        [m as usize, n as usize]
    }

    /// Threads of a workgroup.
    #[must_use]
    pub fn threads(self) -> u32 {
        match self {
            Self::Reg { lanes, .. } => lanes,
            Self::Tile {
                bm4, bn4, tm4, tn4, ..
            } => bm4 / tm4 * (bn4 / tn4),
            Self::Gemv { tx, tk, .. } => tx * tk,
            Self::Coop(tile) => tile.threads(),
        }
    }

    /// Bytes of workgroup memory, with `rolled` where the epilogue runs in a rolled loop.
    #[must_use]
    pub fn workgroup_bytes(self, rolled: bool) -> u32 {
        16 * match self {
            Self::Coop(tile) => return tile.bytes(),
            Self::Reg {
                lanes,
                quads,
                columns,
            } => {
                if rolled {
                    4 * quads * lanes * columns
                } else {
                    1
                }
            }
            Self::Tile {
                bm4,
                bn4,
                bk4,
                sides,
                ..
            } => sides * 4 * bk4 * (bm4 + bn4),
            Self::Gemv { rows, tx, tk } => rows * tx * tk,
        }
    }

    /// Rounds of a thread's loops along k, for k blocks of `k4` steps each that are found in `search` rounds; `int8` rolls k.
    /// A loop costs one round more than it has.
    pub(crate) fn rounds(self, blocks: usize, k4: usize, search: usize, int8: bool) -> usize {
        let (steps, finds) = match self {
            Self::Reg { columns, .. } => (k4 * if int8 { 6 } else { 1 }, columns as usize),
            Self::Tile { bm4, bn4, bk4, .. } => {
                let jobs = ((bm4 + bn4) * bk4).div_ceil(self.threads());
                let bk4 = bk4 as usize;
                (k4.div_ceil(bk4) * (2 + bk4), jobs as usize)
            }
            Self::Gemv { tk, .. } => (k4.div_ceil(tk as usize), 1),
            Self::Coop(tile) => (tile.steps(k4), tile.jobs().iter().sum::<u32>() as usize),
        };
        blocks.saturating_mul(steps + finds * search + 2)
    }

    /// Loops in which more and more threads share k, down to one block of columns a workgroup.
    pub(crate) fn sharing(caps: &Caps, m: usize, n: usize) -> impl Iterator<Item = Self> {
        let rows = gemv_rows(m);
        let blocks = n.div_ceil(4).next_power_of_two().min(8).ilog2();
        let shapes = (0..=blocks)
            .rev()
            .flat_map(|tx| (1..=8).map(move |tk| (1 << tx, 1 << tk)));
        let all = shapes.map(move |(tx, tk)| Self::Gemv { rows, tx, tk });
        let [threads, bytes] = [caps.limits.invocations, caps.limits.workgroup_bytes];
        all.filter(move |of| of.threads() <= threads && of.workgroup_bytes(false) <= bytes)
    }

    /// The loop's shader with its sizes; loaders, arithmetic and store are still to be added. `roll_k` and `rolled` are loops
    /// instead of repeated text along k and in the store.
    pub(crate) fn variant(self, roll_k: bool, rolled: bool) -> Variant {
        let sets = |shader, sets: &[(&'static str, u32)]| {
            sets.iter()
                .fold(Variant::new(shader), |v, set| v.set(set.0, Set::U32(set.1)))
        };
        match self {
            Self::Reg {
                lanes,
                quads,
                columns,
            } => {
                let rows = [
                    ("QUADS", quads),
                    ("RQ", quads.div_ceil(lanes)),
                    ("R", 4 * quads),
                    ("LOADERS", quads.min(lanes)),
                ];
                let lanes_of = ["lanes_all", "lanes_some"][usize::from(quads < lanes)];
                let sizes = [&rows[..], &[("LANES", lanes), ("CQ", columns)]].concat();
                let variant = sets("gemm_reg", &sizes).part(lanes_of);
                variant.set("ROLL_K", roll_k).set("ROLL_STORE", rolled)
            }
            Self::Tile {
                bm4,
                bn4,
                bk4,
                tm4,
                tn4,
                sides,
            } => {
                let jobs = ((bm4 + bn4) * bk4).div_ceil(self.threads());
                let sizes = [("BM4", bm4), ("BN4", bn4), ("BK4", bk4), ("SIDES", sides)];
                let threads = [
                    ("TM4", tm4),
                    ("TN4", tn4),
                    ("TX", bn4 / tn4),
                    ("TY", bm4 / tm4),
                ];
                sets(
                    "gemm_tile",
                    &[&sizes[..], &threads, &[("JOBS", jobs)]].concat(),
                )
            }
            Self::Coop(tile) => tile.variant(),
            Self::Gemv { rows, tx, tk } => sets(
                "gemv",
                &[
                    ("MR", rows),
                    ("MQ", rows.div_ceil(4)),
                    ("TX", tx),
                    ("TK", tk),
                ],
            ),
        }
    }
}

/// The subgroup size for which `gemm_reg` is generated, where it is the adapter's loop.
#[must_use]
pub fn reg_lanes(caps: &Caps) -> Option<u32> {
    // Above 16 lanes the accumulators of 4 * lanes rows no longer fit any register file.
    match caps.subgroups {
        Some((min, max))
            if caps.kind == AdapterKind::Software && min == max && [4, 8, 16].contains(&min) =>
        {
            Some(min)
        }
        _ => None,
    }
}

/// Loops for a product, best first; the first is the deterministic default, the others are for a tuner.
/// `batches` counts independent products of m x n x k.
#[must_use]
pub fn candidates(caps: &Caps, m: usize, n: usize, k: usize, batches: usize) -> Vec<Loop> {
    if let Some(lanes) = reg_lanes(caps) {
        return reg_candidates(caps, lanes, [m, n, k, batches]);
    }
    if m <= GEMV_ROWS {
        return vec![gemv(caps, m, n)];
    }
    let mut large = Loop::LARGE;
    if let Loop::Tile { sides, .. } = &mut large
        && caps.limits.workgroup_bytes >= 32 << 10
    {
        *sides = 2;
    }
    // A tile is worth its size only while there are enough of them to keep every processor of a large GPU busy.
    let tiles = |of: Loop| {
        let [bm, bn] = of.extent();
        m.div_ceil(bm) * n.div_ceil(bn) * batches
    };
    let mut all = vec![large, Loop::MEDIUM, Loop::SMALL];
    let best = match () {
        () if tiles(large) >= 256 && m >= 128 && n >= 128 => 0,
        () if tiles(Loop::MEDIUM) >= 128 && n > 32 && m > 32 => 1,
        () => 2,
    };
    all[..=best].rotate_right(1);
    all.retain(|of| {
        of.threads() <= caps.limits.invocations
            && of.workgroup_bytes(false) <= caps.limits.workgroup_bytes
    });
    all
}

/// The order of candidates for int8, whose multiplication is longer: 32 rows with k rolled fit the instruction cache and keep B
/// in registers (82 GOP/s; 78 unrolled; 71 with twice the accumulators).
pub(crate) fn int8_first(candidates: &mut [Loop]) {
    let small = |of: &Loop| match *of {
        Loop::Reg {
            lanes,
            quads,
            columns,
        } => quads == lanes && columns == 1,
        _ => false,
    };
    if let Some(at) = candidates.iter().position(small) {
        candidates[..=at].rotate_right(1);
    }
}

/// Twice the accumulators win on 8 lanes (32 x 64 takes 1.23 times less time than 32 x 32, and 1.1 times less than 64 x 32) unless
/// more of them are padding; half of them compile in half the time, which counts where there is little to do. More do not fit
/// the instruction cache.
fn reg_candidates(caps: &Caps, lanes: u32, [m, n, k, batches]: [usize; 4]) -> Vec<Loop> {
    let of = |quads, columns| Loop::Reg {
        lanes,
        quads,
        columns,
    };
    let few = m.div_ceil(4).next_power_of_two();
    if few < lanes as usize {
        return few_rows(caps, of(few as u32, 1), [m, n, k, batches]);
    }
    let (small, wide, tall) = (of(lanes, 1), of(lanes, 2), of(2 * lanes, 1));
    if lanes != 8 {
        return vec![small];
    }
    let flat = of(lanes / 2, 2);
    if is_little([m, n, k, batches]) {
        return vec![small, wide, tall, flat];
    }
    let cost = |&(of, rate): &(Loop, usize)| {
        let [bm, bn] = of.extent();
        m.next_multiple_of(bm) * n.next_multiple_of(bn) / rate
    };
    let mut all = vec![(wide, 75), (tall, 68), (small, 61)];
    all.sort_by_key(cost);
    all.into_iter().map(|(of, _)| of).chain([flat]).collect()
}

/// Candidates for fewer rows than lanes load: the loads of B are most of what there is to do, and two blocks of columns a lane load it
/// fastest where there are tiles enough for two processors. Of 16 rows they take long to compile for little work, as of 32.
fn few_rows(caps: &Caps, one: Loop, [m, n, k, batches]: [usize; 4]) -> Vec<Loop> {
    let Loop::Reg { lanes, quads, .. } = one else {
        return vec![one];
    };
    let mut all = vec![one];
    if lanes == 8 {
        let two = Loop::Reg {
            lanes,
            quads,
            columns: 2,
        };
        let tiles = n.div_ceil(two.extent()[1]) * batches;
        let pays = quads <= 2 || !is_little([m, n, k, batches]);
        all.insert(usize::from(tiles < 2 || !pays), two);
    }
    if m <= GEMV_ROWS {
        // Lanes along k instead of columns that are not there.
        let at = if n <= 8 { 0 } else { all.len() };
        all.insert(at, gemv(caps, m, n));
    }
    all
}

/// Whether a product has so little to do that the time to compile its shader counts. Rows up to a power of two decide alike, so that
/// batches do which share a bucket.
fn is_little([m, n, k, batches]: [usize; 4]) -> bool {
    let up = |n: usize| n.checked_next_power_of_two().unwrap_or(usize::MAX);
    let outputs = up(m).saturating_mul(n).saturating_mul(up(batches));
    outputs < 1 << 17 && outputs.saturating_mul(k) < 1 << 24
}

fn gemv_rows(m: usize) -> u32 {
    (m.max(1).next_power_of_two() as u32).min(8)
}

fn gemv(caps: &Caps, m: usize, n: usize) -> Loop {
    let rows = gemv_rows(m);
    let blocks = n.div_ceil(4).next_power_of_two().min(16) as u32;
    // A software adapter runs the threads of a workgroup one subgroup after another: sharing k only adds barriers.
    let (tx, threads) = match caps.kind {
        AdapterKind::Software => (blocks.min(8), 16),
        _ => (blocks, 128),
    };
    Loop::Gemv {
        rows,
        tx,
        tk: (threads / tx).max(1),
    }
}
