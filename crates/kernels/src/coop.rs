//! Products by cooperative matrices: the tiles of `gemm_coop` and the choice among them.

use serde::{Deserialize, Serialize};
use tilewright_device::{Caps, CoopMatrix, Set, Variant};

use crate::candidates::{Ask, loops};
use crate::{Loop, Store};

/// A tile of [`Loop::Coop`]: subgroups along m and n, each with fragments along m and n, each of `edge` x `edge`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct CoopTile {
    /// The matrices, and the subgroups they are for.
    #[serde(with = "Matrices")]
    pub of: CoopMatrix,
    /// Subgroups along m and n.
    pub subgroups: [u32; 2],
    /// Fragments of a subgroup along m and n.
    pub fragments: [u32; 2],
    /// The tile's k in blocks of 4.
    pub bk4: u32,
    /// Fragments that a subgroup stores at once: a divisor of those along n.
    pub strip: u32,
}

/// [`CoopMatrix`] in files.
#[derive(Serialize, Deserialize)]
#[serde(remote = "CoopMatrix")]
struct Matrices {
    edge: u32,
    lanes: u32,
}

/// Rows, columns and k below which most of a tile would be padding.
const LEAST: usize = 16;

impl CoopTile {
    /// Subgroups and fragments are both square but for the largest tile: 256 x 128 on matrices of 16, which has the fewest
    /// other instructions for each product (docs/kernels.md).
    const SHAPES: [([u32; 2], [u32; 2]); 3] =
        [([4, 2], [4, 4]), ([2, 2], [4, 4]), ([2, 2], [2, 2])];

    /// Every tile for a kind of matrices that the adapter's limits allow, largest first.
    pub(crate) fn all(caps: &Caps, of: CoopMatrix) -> Vec<Self> {
        let tiles = Self::SHAPES.into_iter().map(|(subgroups, fragments)| {
            let tile = Self {
                of,
                subgroups,
                fragments,
                bk4: 8,
                strip: 1,
            };
            tile.deep_enough()
        });
        let limits = &caps.limits;
        tiles
            .filter(|tile| {
                tile.threads() <= limits.invocations && tile.bytes() <= limits.workgroup_bytes
            })
            .collect()
    }

    /// With so much of k that every thread moves the same number of blocks, and a whole strip where memory allows.
    fn deep_enough(mut self) -> Self {
        let [bm, bn] = self.extent();
        while bm / 4 * self.bk4 % self.threads() != 0 || bn / 4 * self.bk4 % self.threads() != 0 {
            self.bk4 *= 2;
        }
        let whole = Self {
            strip: self.fragments[1],
            ..self
        };
        // Half of what the smallest of the GPUs that have such matrices give a workgroup, so that two are there at a time.
        if whole.bytes() <= 24 << 10 {
            whole
        } else {
            self
        }
    }

    /// Rows and columns of C that a workgroup computes.
    pub(crate) fn extent(self) -> [u32; 2] {
        [0, 1].map(|axis| self.subgroups[axis] * self.fragments[axis] * self.of.edge)
    }

    /// Threads of a workgroup.
    pub(crate) fn threads(self) -> u32 {
        self.subgroups[0] * self.subgroups[1] * self.of.lanes
    }

    /// Bytes of workgroup memory, however the tiles lie in it.
    pub(crate) fn bytes(self) -> u32 {
        let rows = |long: u32| {
            let by_k = long * (self.bk4 + 2);
            by_k.max(4 * self.bk4 * (long / 4 + 2))
        };
        let [bm, bn] = self.extent();
        let strip = self.of.edge * (self.strip * self.of.edge / 4 + 1);
        8 * (rows(bm) + rows(bn)) + 16 * self.subgroups[0] * self.subgroups[1] * strip
    }

    /// Rounds of a thread's loops along k: a chunk is one, with two short ones for its search.
    pub(crate) fn steps(self, k4: usize) -> usize {
        k4.div_ceil(self.bk4 as usize)
    }

    /// Blocks of A and B that a thread moves.
    pub(crate) fn jobs(self) -> [u32; 2] {
        self.extent()
            .map(|long| long / 4 * self.bk4 / self.threads())
    }

    /// The shader with its sizes.
    pub(crate) fn variant(self) -> Variant {
        let CoopMatrix { edge, lanes } = self.of;
        let [jobs_a, jobs_b] = self.jobs();
        let sets = [
            ("EDGE", edge),
            ("LANES", lanes),
            ("SM", self.subgroups[0]),
            ("SN", self.subgroups[1]),
            ("FM", self.fragments[0]),
            ("FN", self.fragments[1]),
            ("BK4", self.bk4),
            ("KF", 4 * self.bk4 / edge),
            ("STRIP", self.strip),
            ("A_JOBS", jobs_a),
            ("B_JOBS", jobs_b),
        ];
        let [a, b, c] = match edge {
            8 => [
                "coop_mat8x8<f16, A>",
                "coop_mat8x8<f16, B>",
                "coop_mat8x8<f32, C>",
            ],
            _ => [
                "coop_mat16x16<f16, A>",
                "coop_mat16x16<f16, B>",
                "coop_mat16x16<f32, C>",
            ],
        };
        let variant = Variant::new("gemm_coop")
            .enable("wgpu_cooperative_matrix")
            .alias("MatA", a)
            .alias("MatB", b)
            .alias("MatC", c)
            // AMD, which has subgroups of 64, loads rows along k at once and the others element by element. NVIDIA transposes while
            // it loads; there memory's own order saves the banks that a transposing store would hit together.
            .set("BY_K", lanes == 64)
            // Metal alone has matrices of 8.
            .part(if edge == 8 { "coop_one" } else { "coop_vec" });
        sets.into_iter()
            .fold(variant, |v, (name, value)| v.set(name, Set::U32(value)))
    }
}

/// Loops for a product of operands that are stored so, best first: those of cooperative matrices where the device has
/// them and both operands are f16, then [`candidates`](crate::candidates).
#[must_use]
pub fn candidates_of(
    caps: &Caps,
    stores: [Store; 2],
    m: usize,
    n: usize,
    k: usize,
    batches: usize,
) -> Vec<Loop> {
    candidates_for(caps, stores, Ask::new([m, n, k, batches]))
}

/// [`candidates_of`] where more is known.
pub(crate) fn candidates_for(caps: &Caps, stores: [Store; 2], ask: Ask) -> Vec<Loop> {
    let [m, n, k, batches] = ask.sizes;
    let mut all = matrices(caps, stores, [m, n, k], batches);
    all.extend(loops(caps, ask));
    all
}

fn matrices(caps: &Caps, stores: [Store; 2], size: [usize; 3], batches: usize) -> Vec<Loop> {
    let fits = stores == [Store::F16; 2] && caps.f16 && size.iter().all(|&n| n >= LEAST);
    let Some(of) = caps.coop_matrix.filter(|_| fits) else {
        return Vec::new();
    };
    let mut all = CoopTile::all(caps, of);
    let [m, n, _] = size;
    let tiles = |tile: &CoopTile| {
        let [bm, bn] = tile.extent().map(|n| n as usize);
        m.div_ceil(bm) * n.div_ceil(bn) * batches
    };
    // The largest tile that there are enough of to keep every processor of a large GPU busy, else the smallest.
    let best = all.iter().position(|tile| tiles(tile) >= 128);
    let best = best.unwrap_or(all.len().saturating_sub(1));
    if let Some(first) = all.get_mut(..=best) {
        first.rotate_right(1);
    }
    all.into_iter().map(Loop::Coop).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::candidates;

    fn caps(edge: u32, lanes: u32) -> Caps {
        let mut caps = Caps::discrete();
        caps.coop_matrix = Some(CoopMatrix { edge, lanes });
        caps
    }

    fn first(caps: &Caps, stores: [Store; 2], n: usize) -> Loop {
        candidates_of(caps, stores, n, n, n, 1)[0]
    }

    #[test]
    fn matrices_are_for_f16_that_fills_a_tile() {
        let (with, half) = (caps(16, 32), [Store::F16; 2]);
        assert_eq!(first(&with, half, 8192).extent(), [256, 128]);
        assert_eq!(first(&with, half, 2048).extent(), [256, 128]);
        assert_eq!(first(&with, half, 1024).extent(), [64, 64]);
        let scalar = |caps: &Caps, stores, n| !matches!(first(caps, stores, n), Loop::Coop(_));
        assert!(scalar(&with, [Store::F16, Store::F32], 4096));
        assert!(scalar(&with, half, 15));
        assert!(scalar(&Caps::discrete(), half, 4096));
        let all = candidates_of(&with, half, 4096, 4096, 4096, 1);
        assert_eq!(all.len(), 3 + candidates(&with, 4096, 4096, 4096, 1).len());
    }

    #[test]
    fn every_tile_is_moved_evenly_within_the_limits() {
        for (edge, lanes) in [(16, 32), (16, 64), (8, 32), (8, 64)] {
            let mut caps = caps(edge, lanes);
            caps.limits.workgroup_bytes = 32 << 10;
            let all = CoopTile::all(&caps, CoopMatrix { edge, lanes });
            assert!(!all.is_empty(), "{edge} {lanes}");
            for tile in all {
                let [a, b] = tile.jobs();
                assert_eq!(
                    [a, b].map(|jobs| jobs * tile.threads()),
                    tile.extent().map(|n| n / 4 * tile.bk4)
                );
                assert!(a > 0 && b > 0 && 4 * tile.bk4 % edge == 0, "{tile:?}");
                assert_eq!(tile.fragments[1] % tile.strip, 0);
            }
        }
    }
}
