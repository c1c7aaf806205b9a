//! The GEMM loop families and their sizes.

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
pub(crate) const GEMV_ROWS: usize = 8;

impl Loop {
    /// 128 x 128 x 16, 8 x 8 a thread: 16 KiB single-buffered.
    pub(crate) const LARGE: Self = Self::tile(32, 32, 2, 2, 1);
    /// 64 x 64 x 16, 8 x 8 a thread. With two buffers, half as many workgroups of 64 threads fit a processor (docs/kernels.md).
    pub(crate) const MEDIUM: Self = Self::tile(16, 16, 2, 2, 1);
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

fn gemv_rows(m: usize) -> u32 {
    (m.max(1).next_power_of_two() as u32).min(8)
}

/// The `gemv` for a product of few rows.
pub(crate) fn gemv(caps: &Caps, m: usize, n: usize) -> Loop {
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
