//! Which GEMM loops an adapter and a product may take, best first.

use tilewright_device::Caps;

use crate::Loop;
use crate::gemm_loop::{GEMV_ROWS, gemv, reg_lanes};

/// What is known of the products of a plan beyond any one of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Outlook {
    /// Their sizes never change, so a tile may fit them exactly. Else sizes of one power of two choose alike, and share shaders.
    pub fixed: bool,
    /// They are so few that nobody waits for the driver to compile their shaders, however little there is to do.
    pub few: bool,
}

/// A product, as far as the choice of its loop depends on it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Ask {
    /// m, n, k and the number of products.
    pub(crate) sizes: [usize; 4],
    /// Whether A is loaded in vec4.
    pub(crate) a_vec: bool,
    /// Whether B is a constant in panels.
    pub(crate) panels: bool,
    pub(crate) outlook: Outlook,
}

impl Ask {
    /// Of sizes that may change, B a constant.
    pub(crate) fn new(sizes: [usize; 4]) -> Self {
        Self {
            sizes,
            a_vec: sizes[2].is_multiple_of(4),
            panels: true,
            outlook: Outlook::default(),
        }
    }

    /// The sizes to decide by: where they may change those that do, rounded up to powers of two.
    fn rounded(self) -> Self {
        if self.outlook.fixed {
            return self;
        }
        let up = |n: usize| n.checked_next_power_of_two().unwrap_or(usize::MAX);
        let [m, n, k, batches] = self.sizes;
        let [n, k] = if self.panels { [n, k] } else { [up(n), up(k)] };
        Self {
            sizes: [up(m), n, k, up(batches)],
            ..self
        }
    }
}

/// Loops for a product, best first; the first is the deterministic default, the others are for a tuner.
/// `batches` counts independent products of m x n x k, whose sizes may change; B is a constant.
#[must_use]
pub fn candidates(caps: &Caps, m: usize, n: usize, k: usize, batches: usize) -> Vec<Loop> {
    loops(caps, Ask::new([m, n, k, batches]))
}

/// [`candidates`] where more is known.
pub(crate) fn loops(caps: &Caps, ask: Ask) -> Vec<Loop> {
    if let Some(lanes) = reg_lanes(caps) {
        return reg_candidates(caps, lanes, ask.rounded());
    }
    let [m, n, _, batches] = ask.sizes;
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

/// The order of candidates for int8, whose multiplication is longer: 32 x 32 with k rolled keeps B in registers. Twice the columns are as
/// fast (72 GOP/s) and take longer to compile; other tiles are slower (docs/rejected.md).
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

/// Where there is little to do, the tile that compiles fastest (in half the time) comes first, unless shaders are few; else the one
/// that takes the least time. Larger ones do not fit the instruction cache.
fn reg_candidates(caps: &Caps, lanes: u32, ask: Ask) -> Vec<Loop> {
    let of = |quads, columns| Loop::Reg {
        lanes,
        quads,
        columns,
    };
    let few = ask.sizes[0].div_ceil(4).next_power_of_two();
    if few < lanes as usize {
        return few_rows(caps, of(few as u32, 1), ask);
    }
    let small = of(lanes, 1);
    if lanes != 8 {
        return vec![small];
    }
    let mut all = EIGHT_LANES.map(|cost| (cost.of(ask), of(cost.quads, cost.columns)));
    all.sort_by_key(|&(cost, _)| cost);
    let mut all = all.map(|(_, of)| of).to_vec();
    if is_little(ask)
        && let Some(at) = all.iter().position(|of| *of == small)
    {
        all[..=at].rotate_right(1);
    }
    all
}

/// What a tile of the register loop takes with 8 lanes, in nanoseconds on two processors (fitted to the sweep of `tilewright bench
/// gemm`, docs/kernels.md; only ratios count).
struct Cost {
    quads: u32,
    columns: u32,
    /// Beside k: start and store.
    tile: u64,
    /// Four k: of A in vec4 and B in panels, of A in single elements, of B in rows.
    step: [u64; 3],
}

const EIGHT_LANES: [Cost; 5] = [
    Cost::new(8, 2, 1410, [221, 285, 240]),
    Cost::new(7, 2, 1210, [199, 256, 210]),
    Cost::new(16, 1, 1570, [257, 391, 275]),
    Cost::new(8, 1, 800, [144, 196, 150]),
    Cost::new(4, 2, 670, [139, 187, 152]),
];

impl Cost {
    const fn new(quads: u32, columns: u32, tile: u64, step: [u64; 3]) -> Self {
        Self {
            quads,
            columns,
            tile,
            step,
        }
    }

    fn of(&self, ask: Ask) -> u64 {
        let [m, n, k, batches] = ask.sizes.map(|n| n as u64);
        let step = match (ask.a_vec, ask.panels) {
            (true, true) => self.step[0],
            (false, _) => self.step[1],
            (true, false) => self.step[2],
        };
        let rows = m.div_ceil(4 * u64::from(self.quads));
        let columns = n.div_ceil(32 * u64::from(self.columns));
        let tile = step.saturating_mul(k.div_ceil(4)).saturating_add(self.tile);
        [rows, columns, batches]
            .into_iter()
            .fold(tile, u64::saturating_mul)
    }
}

/// Candidates for fewer rows than lanes load: the loads of B are most of what there is to do, and two blocks of columns a lane load it
/// fastest where there are tiles enough for two processors. Of 16 rows they take long to compile for little work, as of 32.
fn few_rows(caps: &Caps, one: Loop, ask: Ask) -> Vec<Loop> {
    let [m, n, _, batches] = ask.sizes;
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
        let pays = quads <= 2 || !is_little(ask);
        all.insert(usize::from(tiles < 2 || !pays), two);
    }
    if m <= GEMV_ROWS {
        // Lanes along k instead of columns that are not there.
        let at = if n <= 8 { 0 } else { all.len() };
        all.insert(at, gemv(caps, m, n));
    }
    all
}

/// Whether a product has so little to do that the time to compile its shader counts.
fn is_little(ask: Ask) -> bool {
    let [m, n, k, batches] = ask.sizes;
    let outputs = m.saturating_mul(n).saturating_mul(batches);
    !ask.outlook.few && outputs < 1 << 17 && outputs.saturating_mul(k) < 1 << 24
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Rows and columns of the tile for a constant B.
    fn tile(sizes: [usize; 4], outlook: Outlook) -> [usize; 2] {
        let ask = Ask {
            outlook,
            ..Ask::new(sizes)
        };
        loops(&Caps::software(8), ask)[0].extent()
    }

    const FREE: Outlook = Outlook {
        fixed: false,
        few: false,
    };

    #[test]
    fn sizes_of_one_bucket_choose_alike_unless_they_are_fixed() {
        for low in [8, 16, 32, 64, 128, 256, 512] {
            let all = (low + 1..=2 * low).map(|m| tile([m, 512, 512, 1], FREE));
            let mut all: Vec<_> = all.collect();
            all.dedup();
            assert_eq!(all.len(), 1, "{low}: {all:?}");
        }
        let fixed = Outlook {
            fixed: true,
            ..FREE
        };
        // 196 is seven times 28; 192 is six times 32.
        assert_eq!(tile([196, 1024, 256, 1], fixed), [28, 64]);
        assert_eq!(tile([192, 1024, 256, 1], fixed), [32, 64]);
        assert_eq!(tile([196, 1024, 256, 1], FREE), [32, 64]);
    }

    #[test]
    fn what_compiles_fastest_comes_first_where_there_is_little_to_do_for_many_shaders() {
        let few = Outlook { few: true, ..FREE };
        assert_eq!(tile([64, 64, 64, 1], FREE), [32, 32]);
        assert_eq!(tile([64, 64, 64, 1], few), [32, 64]);
        assert_eq!(tile([512, 512, 512, 1], FREE), [32, 64]);
        assert_eq!(tile([16, 256, 256, 1], FREE), [16, 32]);
        assert_eq!(tile([16, 256, 256, 1], few), [16, 64]);
        // Columns that are not there cost as much as those that are.
        assert_eq!(tile([512, 32, 512, 1], few), [64, 32]);
    }

    #[test]
    fn every_candidate_is_there_whatever_is_known() {
        let sorted = |outlook| {
            let ask = Ask {
                outlook,
                ..Ask::new([196, 512, 512, 1])
            };
            let mut all = loops(&Caps::software(8), ask);
            all.sort();
            all
        };
        let fixed = Outlook {
            fixed: true,
            few: true,
        };
        assert_eq!(sorted(FREE), sorted(fixed));
        assert_eq!(sorted(FREE).len(), EIGHT_LANES.len());
    }
}
