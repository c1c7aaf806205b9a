//! From a product's parts to a dispatch: what GEMM, convolution, int8 and block-sparse products share.

use tilewright_device::{Caps, Dispatch, Variant, fold_groups};

use crate::batch::Batch;
use crate::candidates::{Ask, int8_first};
use crate::choice::{Chosen, Class, Site};
use crate::coop::candidates_for;
use crate::error::index;
use crate::rounds::{check_rounds, most_rounds};
use crate::{Epilogue, Error, Loop, Result, Store, Target, View};

/// An operand and the part that loads it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Loader<'a> {
    pub(crate) view: &'a View,
    /// `a_rows`, `b_panel`, ..
    pub(crate) part: &'static str,
    /// Whether the part reads vec4 (`a_vec`), else single elements (`a_one`).
    pub(crate) vec: bool,
}

/// The arithmetic: the type of loaded elements, of accumulators, of what the epilogue sees.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Arithmetic {
    pub(crate) part: &'static str,
    pub(crate) elem: &'static str,
    pub(crate) acc: &'static str,
    pub(crate) value: &'static str,
    /// From accumulators to values.
    pub(crate) finish: &'static [&'static str],
}

/// Floats: f32 accumulators whatever the storage.
pub(crate) const FLOAT: Arithmetic = Arithmetic {
    part: "mac_f32",
    elem: "f32",
    acc: "f32",
    value: "f32",
    finish: &["finish"],
};

/// f16 by cooperative matrices: sums in f32.
const HALF: Arithmetic = Arithmetic {
    elem: "f16",
    ..FLOAT
};

/// int8 with an exact i32 result.
pub(crate) const INT8: Arithmetic = Arithmetic {
    part: "mac_i8",
    elem: "u32",
    acc: "i32",
    value: "i32",
    finish: &["finish8", "value8_int"],
};

/// int8 with the result in f32, times a scale.
pub(crate) const INT8_SCALED: Arithmetic = Arithmetic {
    value: "f32",
    finish: &["finish8", "value8_float"],
    ..INT8
};

/// Results of a product for which a store without a loop would take longer to compile than it ever saves.
const FEW: usize = 1 << 12;

/// The same for int8, whose store is longer.
const FEW_INT8: usize = 1 << 17;

/// A product of m x n x k, where k counts one k block in loaded elements.
#[derive(Debug, Clone)]
pub(crate) struct Product<'a> {
    pub(crate) kernel: &'static str,
    pub(crate) m: usize,
    pub(crate) n: usize,
    pub(crate) k: usize,
    /// Blocks along k that are multiplied for a tile, for the estimate of the work.
    pub(crate) k_blocks: usize,
    /// Rounds of the loops by which a k block is found, for one operand.
    pub(crate) k_search: usize,
    /// The part that walks them, and the one that says where rows and columns of the product lie in C.
    pub(crate) k_part: &'static str,
    pub(crate) c_part: &'static str,
    pub(crate) batch: Batch,
    pub(crate) arithmetic: Arithmetic,
    pub(crate) a: Loader<'a>,
    pub(crate) b: Loader<'a>,
    pub(crate) c: &'a View,
    /// Elements from row to row of C.
    pub(crate) c_ld: usize,
    pub(crate) epilogue: Option<&'a Epilogue>,
}

impl Product<'_> {
    /// The loop for this product: [`Product::choose`] among the family's candidates.
    pub(crate) fn default_loop(&self, on: Target<'_>) -> Result<Loop> {
        let stores = [self.a.view.store, self.b.view.store];
        let ask = Ask {
            sizes: [self.m, self.n, self.depth(), self.batch.count()],
            a_vec: self.a.vec,
            panels: self.b.is_f32_panels(),
            outlook: on.outlook,
        };
        let mut all = candidates_for(on.caps, stores, ask);
        if self.is_int8() {
            int8_first(&mut all);
        }
        if all.is_empty() {
            let what = "the adapter's limits fit no variant";
            return Err(Error::shape(self.kernel, what));
        }
        self.choose(on, &all, |_| true)
    }

    /// The loop of these candidates that the target's choices say, where a thread can go through it; `fits` says of other loops
    /// whether they can compute the product.
    pub(crate) fn choose(
        &self,
        on: Target<'_>,
        candidates: &[Loop],
        fits: impl Fn(Loop) -> bool,
    ) -> Result<Loop> {
        let site = self.site();
        // Blocks of A begin at multiples of 4 rows, so a smaller tile must be the only one.
        let rows =
            |of: Loop| !matches!(of, Loop::Gemv { rows, .. } if rows < 4 && self.m > rows as usize);
        let fits = |of| rows(of) && fits(of);
        let chosen = on.choices.choose(on.caps, &site, candidates, fits);
        let chosen = chosen.ok_or(Error::Quarantined {
            kernel: self.kernel,
        })?;
        let of = self.within(on.caps, chosen)?;
        if of != chosen && on.choices.is_quarantined(&site.class, of) {
            return Err(Error::Quarantined {
                kernel: self.kernel,
            });
        }
        if let Some(list) = on.chosen {
            let candidates = candidates.to_vec();
            list.borrow_mut().push(Chosen {
                site,
                of,
                candidates,
            });
        }
        Ok(of)
    }

    fn site(&self) -> Site {
        let class = Class {
            kernel: self.kernel.into(),
            a: self.a.part.into(),
            b: self.b.part.into(),
            stores: [self.a.view.store, self.b.view.store, self.c.store],
            arithmetic: self.arithmetic.part.into(),
            wide: self.c_vec(),
            epilogue: self.epilogue.is_some(),
        };
        Site {
            class,
            m: self.m,
            n: self.n,
            k: self.depth(),
            batches: self.batch.count(),
        }
    }

    /// Elements of k that are multiplied for a tile.
    fn depth(&self) -> usize {
        self.k_of_block() * self.k_blocks
    }

    /// Those of one k block.
    fn k_of_block(&self) -> usize {
        self.batch.split.map_or(self.k, |split| split.part())
    }

    fn is_int8(&self) -> bool {
        self.arithmetic.acc == "i32"
    }

    /// Whether C is stored in vec4.
    fn c_vec(&self) -> bool {
        self.n % 4 == 0 && self.c_ld % 4 == 0 && self.batch.is_vec(2)
    }

    /// Whether it is stored in pairs of vec4 of f32.
    fn c_pairs(&self) -> bool {
        let columns = matches!(self.c_part, "c_rows" | "c_groups");
        let eights = self.n % 8 == 0 && self.c_ld % 8 == 0 && self.batch.begins_at(2, 8);
        columns && eights && self.c.store == Store::F32
    }

    /// The dispatch; parameters of the loaders (`a_ld`, ..) are the caller's to add.
    pub(crate) fn dispatch(&self, caps: &Caps, of: Loop) -> Result<Dispatch> {
        let of = self.within(caps, of)?;
        let arithmetic = self.arithmetic_of(caps, of)?;
        let size = |what, value| index(self.kernel, what, value);
        let (c_vec, int8) = (self.c_vec(), self.is_int8());
        let heavy = self.epilogue.is_some_and(|epilogue| !epilogue.light);
        let sizes = [self.n, self.batch.count()];
        let results = sizes.into_iter().fold(self.m, usize::saturating_mul);
        let few = results < if int8 { FEW_INT8 } else { FEW };
        let rolled = heavy || few || !c_vec;
        let mut variant = self.batch.variant(of.variant(int8, rolled));
        variant = variant.part(self.k_part).part(self.c_part);
        variant = self.operands(caps, of, variant, arithmetic)?;
        variant = arithmetic.add(variant);
        let [bm, bn] = of.extent();
        let tiles = [self.m.div_ceil(bm), self.n.div_ceil(bn)];
        let (groups, folded) = self.groups(caps, tiles)?;
        variant = variant.part(if folded {
            "tiles_folded"
        } else {
            "tiles_exact"
        });
        variant = variant.part(match self.batch.split {
            Some(_) => "steps_split",
            None => "steps_all",
        });
        let mut dispatch = Dispatch::new(variant)
            .bind("A", self.a.view.span)
            .bind("B", self.b.view.span)
            .bind("C", self.c.span)
            .param("m", size("m", self.m)?)
            .param("n", size("n", self.n)?)
            .param("n4", size("n", self.n.div_ceil(4))?)
            .param("k", size("k", self.k)?)
            .param("k4", size("k", self.k.div_ceil(4))?)
            .param("tiles_m", size("the tiles of m", tiles[0])?)
            .param("tiles_n", size("the tiles of n", tiles[1])?)
            .param("c_ld", size("the row stride of C", self.c_ld)?)
            .groups(groups)
            .work(self.work());
        if folded {
            dispatch = dispatch.param("batches", size("the batches", self.batch.count())?);
        }
        if let Some(split) = self.batch.split {
            dispatch = split.steps(dispatch)?;
        }
        if let Some(epilogue) = self.epilogue {
            dispatch = epilogue.add(dispatch);
        }
        self.batch.params(self.kernel, dispatch)
    }

    /// Adds how A and B are loaded and C is stored. The register loop moves two blocks of f32 as integers of 64
    /// bits where there are some.
    fn operands(
        &self,
        caps: &Caps,
        of: Loop,
        mut variant: Variant,
        arithmetic: Arithmetic,
    ) -> Result<Variant> {
        let (kernel, c_vec) = (self.kernel, self.c_vec());
        let Loop::Reg { columns, .. } = of else {
            variant = (self.a).add(kernel, caps, variant, arithmetic, "A")?;
            variant = (self.b).add(kernel, caps, variant, arithmetic, "B")?;
            return store(kernel, caps, variant, arithmetic, self.c, c_vec);
        };
        // Two blocks of columns that lie side by side.
        let pairs = caps.int64 && columns == 2 && arithmetic.acc == "f32";
        variant = (self.a).add(kernel, caps, variant, arithmetic, "A")?;
        variant = match pairs && self.b.is_f32_panels() && self.batch.begins_at(1, 8) {
            true => variant.part("b_panel_pair"),
            false => (self.b)
                .add(kernel, caps, variant, arithmetic, "B")?
                .part("b_each"),
        };
        variant = variant.part(if pairs { "tile_pair" } else { "tile_each" });
        match pairs && self.c_pairs() {
            true => Ok(variant.part("store_pair")),
            false => {
                Ok(store(kernel, caps, variant, arithmetic, self.c, c_vec)?.part("store_each"))
            }
        }
    }

    /// The arithmetic of the loop: that of the product, unless cooperative matrices multiply.
    fn arithmetic_of(&self, caps: &Caps, of: Loop) -> Result<Arithmetic> {
        let Loop::Coop(tile) = of else {
            return Ok(self.arithmetic);
        };
        let half = [self.a.view, self.b.view].map(|view| view.store) == [Store::F16; 2];
        if !half || self.arithmetic.elem != "f32" || caps.coop_matrix != Some(tile.of) {
            let what = format!(
                "cooperative matrices of {:?} for {} and {}; the device has {:?}, for f16",
                tile.of, self.a.view, self.b.view, caps.coop_matrix
            );
            return Err(Error::shape(self.kernel, what));
        }
        Ok(HALF)
    }

    /// `of`, or a loop that shares k among threads where a thread of `of` could not go through all of it.
    fn within(&self, caps: &Caps, of: Loop) -> Result<Loop> {
        let rounds = |of: &Loop| {
            of.rounds(
                self.k_blocks,
                self.k_of_block().div_ceil(4),
                self.k_search,
                self.is_int8(),
            )
        };
        let most = most_rounds(caps);
        if rounds(&of) <= most {
            return Ok(of);
        }
        let mut long = Loop::sharing(caps, self.m, self.n);
        if let Some(fits) = long.find(|of| rounds(of) <= most) {
            return Ok(fits);
        }
        check_rounds(self.kernel, caps, rounds(&of))?;
        Ok(of)
    }

    /// As many groups as tiles in any three factors, since the shader counts them flat, and whether there may be more.
    fn groups(&self, caps: &Caps, [tiles_m, tiles_n]: [usize; 2]) -> Result<([u32; 3], bool)> {
        let limit = caps.limits.groups;
        let sizes = [tiles_m, tiles_n, self.batch.count()].map(|n| n as u64);
        let tiles = sizes.into_iter().fold(1, u64::saturating_mul);
        let fits = [[tiles, 1, 1], sizes]
            .into_iter()
            .find(|groups| groups.iter().all(|&g| g <= u64::from(limit)));
        // Where one fits, its factors are at most `limit`, which is a u32.
        let exact = fits.map(|groups| groups.map(|g| g as u32));
        let groups = exact.unwrap_or_else(|| fold_groups(tiles, limit));
        let flat = groups
            .map(u64::from)
            .into_iter()
            .fold(1, u64::saturating_mul);
        if flat < tiles || flat > u64::from(u32::MAX) {
            let most = u64::from(limit).saturating_pow(3);
            return Err(Error::TooLarge {
                kernel: self.kernel,
                what: "the number of tiles",
                count: tiles,
                limit: most.min(u64::from(u32::MAX)),
            });
        }
        Ok((groups, flat > tiles))
    }

    fn work(&self) -> u64 {
        [self.m, self.n, self.depth(), self.batch.count()]
            .into_iter()
            .fold(2, |work: u64, size| work.saturating_mul(size as u64))
    }
}

impl Arithmetic {
    /// Adds the types, the multiplication and the way to values.
    pub(crate) fn add(&self, variant: Variant) -> Variant {
        let types = [
            ("Elem", self.elem),
            ("Acc", self.acc),
            ("Value", self.value),
        ];
        let variant = types
            .into_iter()
            .fold(variant, |v, (name, ty)| v.alias(name, ty));
        let parts = self.finish.iter().chain([&self.part]);
        parts.fold(variant, |v, part| v.part(part))
    }
}

impl Loader<'_> {
    /// Whether it is packed in panels of f32.
    fn is_f32_panels(&self) -> bool {
        self.part == "b_panel" && self.view.store == Store::F32
    }

    /// Adds the loader and its access to memory for operand `A` or `B`.
    pub(crate) fn add(
        &self,
        kernel: &'static str,
        caps: &Caps,
        variant: Variant,
        arithmetic: Arithmetic,
        operand: &'static str,
    ) -> Result<Variant> {
        let bytes = arithmetic.elem == "u32";
        let (parts, bytes_parts, alias) = match operand {
            "A" => (
                ["a_vec", "a_one", "a_vec_half", "a_one_half"],
                ["a_vec8", "a_one8"],
                "AStore",
            ),
            _ => (
                ["b_vec", "b_one", "b_vec_half", "b_one_half"],
                ["b_vec8", "b_one8"],
                "BStore",
            ),
        };
        let at = usize::from(!self.vec);
        let variant = variant.part(self.part);
        match self.view.store {
            Store::F32 if !bytes => Ok(variant.part(parts[at]).alias(alias, "f32")),
            Store::F16 if !bytes && caps.f16 => Ok(variant.part(parts[at]).alias(alias, "f16")),
            Store::F16 if !bytes => Ok(variant.part(parts[2 + at])),
            Store::Packed8 { .. } if bytes => Ok(variant.part(bytes_parts[at])),
            // Packed on the host, uint8 already made int8.
            Store::U32 if bytes => Ok(variant.part(parts[at]).alias(alias, "u32")),
            store => Err(Error::Storage {
                kernel,
                operand,
                store,
            }),
        }
    }
}

/// Adds the store of C, in vec4 or single elements.
pub(crate) fn store(
    kernel: &'static str,
    caps: &Caps,
    variant: Variant,
    arithmetic: Arithmetic,
    c: &View,
    vec: bool,
) -> Result<Variant> {
    let part = if vec { "c_vec" } else { "c_one" };
    let float = arithmetic.value == "f32";
    match c.store {
        Store::F32 if float => Ok(variant.part(part).alias("Out", "f32")),
        Store::F16 if float && caps.f16 => Ok(variant.part(part).alias("Out", "f16")),
        // Two threads would write halves of one word where rows do not begin at words.
        Store::F16 if float && vec => Ok(variant.part("c_vec_half")),
        Store::I32 if !float => Ok(variant.part(part).alias("Out", "i32")),
        Store::Packed8 { .. } if float => Ok(variant.part("c_packed8")),
        store => Err(Error::Storage {
            kernel,
            operand: "C",
            store,
        }),
    }
}
