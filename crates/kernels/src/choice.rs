//! Which loop a product takes: what a tuner measured, or the first candidate; never one that was found wrong.

use std::borrow::Cow;
use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use serde::{Deserialize, Serialize};
use tilewright_device::Caps;

use crate::{Loop, Outlook, Store, reg_lanes};

/// What a product is besides its sizes: one class and one loop make one shader, but for the text of a fused function.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Class {
    /// `gemm`, `conv`, `bsr`, ..
    pub kernel: Cow<'static, str>,
    /// The part that loads A.
    pub a: Cow<'static, str>,
    /// The part that loads B.
    pub b: Cow<'static, str>,
    /// How A, B and C are stored.
    pub stores: [Store; 3],
    /// The part that multiplies.
    pub arithmetic: Cow<'static, str>,
    /// Whether C is stored in vec4.
    pub wide: bool,
    /// Whether an epilogue runs before the store.
    pub epilogue: bool,
}

/// A product's class and sizes, or a bucket of them.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Site {
    /// The class.
    pub class: Class,
    /// Rows of C.
    pub m: usize,
    /// Columns of C.
    pub n: usize,
    /// Elements of k, over all k blocks.
    pub k: usize,
    /// Independent products.
    pub batches: usize,
}

impl Site {
    /// The sites that share a tuned loop: sizes rounded up to powers of two. Up to 8 these are the row counts of `gemv`.
    #[must_use]
    pub fn bucket(&self) -> Self {
        let up = |n: usize| n.checked_next_power_of_two().unwrap_or(usize::MAX);
        Self {
            class: self.class.clone(),
            m: up(self.m),
            n: up(self.n),
            k: up(self.k),
            batches: up(self.batches),
        }
    }
}

/// A choice that was made: what for, of what, and what it was.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Chosen {
    /// The product.
    pub site: Site,
    /// The loop.
    pub of: Loop,
    /// The candidates, the default first.
    pub candidates: Vec<Loop>,
}

/// What changes the default choice of loops: tuned winners, and loops that were found wrong on a device. Without either, the
/// first candidate is taken.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Choices {
    /// By bucket.
    tuned: BTreeMap<Site, Loop>,
    quarantined: BTreeSet<(Class, Loop)>,
    only: Option<Loop>,
}

impl Choices {
    /// The default choice.
    #[must_use]
    pub const fn new() -> Self {
        Self {
            tuned: BTreeMap::new(),
            quarantined: BTreeSet::new(),
            only: None,
        }
    }

    /// `of` for every product that it can compute: to test a loop, not to run fast.
    #[must_use]
    pub fn only(mut self, of: Loop) -> Self {
        self.only = Some(of);
        self
    }

    /// Takes `of` for the bucket of `site`, wherever it is among the candidates.
    pub fn tune(&mut self, site: &Site, of: Loop) {
        self.tuned.insert(site.bucket(), of);
    }

    /// Takes `of` no more for products of this class.
    pub fn quarantine(&mut self, class: &Class, of: Loop) {
        self.quarantined.insert((class.clone(), of));
    }

    /// Buckets and their winners, in order.
    pub fn tuned(&self) -> impl Iterator<Item = (&Site, Loop)> {
        self.tuned.iter().map(|(site, of)| (site, *of))
    }

    /// What was found wrong, in order.
    pub fn quarantined(&self) -> impl Iterator<Item = (&Class, Loop)> {
        self.quarantined.iter().map(|(class, of)| (class, *of))
    }

    /// Whether `of` was found wrong for this class.
    #[must_use]
    pub fn is_quarantined(&self, class: &Class, of: Loop) -> bool {
        // Building the key costs more than the look-up.
        !self.quarantined.is_empty() && self.quarantined.contains(&(class.clone(), of))
    }

    /// Adds what `other` found wrong.
    pub fn learn(&mut self, other: &Self) {
        self.quarantined.extend(other.quarantined.iter().cloned());
    }

    /// The loop for a site, of its candidates (best first) or, where all of them were found wrong, of the safe ones. `fits` says
    /// whether a loop can compute it. None where nothing is left.
    pub(crate) fn choose(
        &self,
        caps: &Caps,
        site: &Site,
        candidates: &[Loop],
        fits: impl Fn(Loop) -> bool,
    ) -> Option<Loop> {
        if let Some(only) = self.only.filter(|of| is_usable(caps, *of) && fits(*of)) {
            return Some(only);
        }
        let right = |of: &Loop| !self.is_quarantined(&site.class, *of);
        if !self.tuned.is_empty()
            && let Some(of) = self.tuned.get(&site.bucket())
            && candidates.contains(of)
            && right(of)
        {
            return Some(*of);
        }
        let safe = Loop::SAFE
            .into_iter()
            .filter(|of| is_usable(caps, *of) && fits(*of));
        candidates.iter().copied().chain(safe).find(right)
    }
}

/// Whether the adapter can run a loop at all.
fn is_usable(caps: &Caps, of: Loop) -> bool {
    let lanes = match of {
        Loop::Reg { lanes, .. } => reg_lanes(caps) == Some(lanes),
        Loop::Coop(tile) => caps.coop_matrix == Some(tile.of),
        _ => true,
    };
    lanes
        && of.threads() <= caps.limits.invocations
        && of.workgroup_bytes(false) <= caps.limits.workgroup_bytes
}

/// What kernels are chosen for: an adapter, and what is known of its loops. An adapter alone gets the default choice.
#[derive(Debug, Clone, Copy)]
pub struct Target<'a> {
    /// The adapter.
    pub caps: &'a Caps,
    /// What changes the default choice.
    pub choices: &'a Choices,
    /// What is known of the plan.
    pub outlook: Outlook,
    /// Where choices are noted.
    pub chosen: Option<&'a RefCell<Vec<Chosen>>>,
}

impl<'a> From<&'a Caps> for Target<'a> {
    fn from(caps: &'a Caps) -> Self {
        static DEFAULT: Choices = Choices::new();
        Self {
            caps,
            choices: &DEFAULT,
            outlook: Outlook::default(),
            chosen: None,
        }
    }
}

/// `gemm a_rows:f32 b_panel:f32 mac_f32 c:f32x4 +epilogue`
impl fmt::Display for Class {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [a, b, c] = self.stores;
        let wide = if self.wide { "x4" } else { "" };
        let epilogue = if self.epilogue { " +epilogue" } else { "" };
        write!(
            f,
            "{} {}:{a} {}:{b} {} c:{c}{wide}{epilogue}",
            self.kernel, self.a, self.b, self.arithmetic
        )
    }
}

/// The class and `MxNxK`, with `*batches` where there are several.
impl fmt::Display for Site {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { m, n, k, .. } = self;
        write!(f, "{} {m}x{n}x{k}", self.class)?;
        match self.batches {
            1 => Ok(()),
            batches => write!(f, "*{batches}"),
        }
    }
}

/// `reg 32x64`, `tile 64x64x16`, `gemv 4x32`: the rows and columns of a workgroup, and the k of a chunk; then what else tells it
/// from others.
impl fmt::Display for Loop {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [m, n] = self.extent();
        match *self {
            Loop::Reg { lanes, .. } => write!(f, "reg {m}x{n} lanes={lanes}"),
            Loop::Tile {
                bk4,
                tm4,
                tn4,
                sides,
                ..
            } => {
                let [k, tm, tn] = [bk4, tm4, tn4].map(|of| 4 * of);
                write!(f, "tile {m}x{n}x{k} thread={tm}x{tn} sides={sides}")
            }
            Loop::Gemv { tk, .. } => write!(f, "gemv {m}x{n} tk={tk}"),
            Loop::Coop(tile) => {
                let ([sm, sn], k) = (tile.subgroups, 4 * tile.bk4);
                let (edge, lanes, strip) = (tile.of.edge, tile.of.lanes, tile.strip);
                write!(
                    f,
                    "coop {m}x{n}x{k} edge={edge} subgroups={sm}x{sn} lanes={lanes} strip={strip}"
                )
            }
        }
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    pub(crate) fn site(m: usize, n: usize, k: usize) -> Site {
        let class = Class {
            kernel: "gemm".into(),
            a: "a_rows".into(),
            b: "b_panel".into(),
            stores: [Store::F32; 3],
            arithmetic: "mac_f32".into(),
            wide: true,
            epilogue: false,
        };
        Site {
            class,
            m,
            n,
            k,
            batches: 1,
        }
    }

    fn choose(choices: &Choices, site: &Site) -> Option<Loop> {
        let caps = Caps::software(8);
        let all = crate::candidates(&caps, site.m, site.n, site.k, site.batches);
        assert!(all.len() > 2, "{all:?}");
        choices.choose(&caps, site, &all, |_| true)
    }

    fn candidates() -> Vec<Loop> {
        crate::candidates(&Caps::software(8), 512, 512, 512, 1)
    }

    #[test]
    fn buckets_round_sizes_up_to_powers_of_two() {
        assert_eq!(site(100, 65, 64).bucket(), site(128, 128, 64));
        assert_eq!(site(1, 3, usize::MAX).bucket(), site(1, 4, usize::MAX));
        let mut other = site(100, 65, 64);
        other.class.wide = false;
        assert_ne!(other.bucket(), site(128, 128, 64));
    }

    #[test]
    fn without_choices_the_first_candidate_is_taken() {
        assert_eq!(
            choose(&Choices::new(), &site(512, 512, 512)),
            Some(candidates()[0])
        );
    }

    #[test]
    fn a_tuned_loop_is_taken_in_its_bucket_and_only_while_it_is_a_candidate() {
        let mut choices = Choices::new();
        choices.tune(&site(512, 512, 512), candidates()[1]);
        assert_eq!(
            choose(&choices, &site(400, 500, 300)),
            Some(candidates()[1])
        );
        assert_eq!(
            choose(&choices, &site(600, 512, 512)),
            Some(candidates()[0])
        );
        let tile = Loop::SAFE[0];
        assert!(!candidates().contains(&tile));
        choices.tune(&site(512, 512, 512), tile);
        assert_eq!(
            choose(&choices, &site(400, 500, 300)),
            Some(candidates()[0])
        );
    }

    #[test]
    fn what_is_quarantined_is_passed_over_down_to_the_safe_loops() {
        let (mut choices, at) = (Choices::new(), site(512, 512, 512));
        choices.tune(&at, candidates()[0]);
        for (i, of) in candidates().into_iter().enumerate() {
            choices.quarantine(&at.class, of);
            let next = candidates().get(i + 1).copied().unwrap_or(Loop::SAFE[0]);
            assert_eq!(choose(&choices, &at), Some(next));
        }
        choices.quarantine(&at.class, Loop::SAFE[0]);
        assert_eq!(choose(&choices, &at), Some(Loop::SAFE[1]));
        choices.quarantine(&at.class, Loop::SAFE[1]);
        assert_eq!(choose(&choices, &at), None);
        // Another class knows nothing of it.
        let mut other = at.clone();
        other.class.epilogue = true;
        assert_eq!(choose(&choices, &other), Some(candidates()[0]));
    }

    #[test]
    fn one_loop_alone_is_taken_where_it_can_run() {
        let at = site(512, 512, 512);
        let tile = Choices::new().only(Loop::SAFE[0]);
        assert_eq!(choose(&tile, &at), Some(Loop::SAFE[0]));
        let lanes = Loop::Reg {
            lanes: 4,
            quads: 4,
            columns: 1,
        };
        assert_eq!(
            choose(&Choices::new().only(lanes), &at),
            Some(candidates()[0])
        );
    }
}
