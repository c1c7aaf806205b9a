//! Split-K: the k axis of a product in parts that different workgroups add up, and a second pass that adds the parts. For
//! products with fewer tiles than a GPU has room for.

use tilewright_device::{AdapterKind, Caps, Dispatch, Variant, fold_groups};

use crate::batch::Batch;
use crate::error::index;
use crate::gemm::{column_part, lowered};
use crate::product::{FLOAT, store};
use crate::{Error, Gemm, Layout, Loop, Operand, Result, Store, Target, View};

const KERNEL: &str = "split_k";
/// Threads of a workgroup of the second pass.
const THREADS: u32 = 64;
/// Workgroups that fill a large GPU: two for each of 64 processors. `candidates` takes larger tiles from the same number on.
const ENOUGH: usize = 128;
/// The least k of a part. A part of a tile of 64 x 64 loads 32 bytes for each output then, and writes and reads 8 more.
const LEAST: usize = 256;
/// The least k that is cut.
const WORTH: usize = 4 * LEAST;

/// How the k axis of a product is cut into parts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct SplitK {
    parts: usize,
    part: usize,
}

impl SplitK {
    /// About `parts` parts of `k`, each but the last of the same multiple of 4; fewer where so many would leave some empty.
    #[must_use]
    pub fn new(k: usize, parts: usize) -> Self {
        let part = k.div_ceil(parts.max(1)).next_multiple_of(4).max(4);
        Self {
            parts: k.div_ceil(part).max(1),
            part,
        }
    }

    /// The cut for a product, or none where it is better left whole. By rule: a GPU that is not filled by the product's tiles is
    /// filled by parts of them, as long as k is long. Software adapters have a processor or two, which a few tiles fill.
    #[must_use]
    pub fn of(caps: &Caps, product: &Gemm<'_>) -> Option<Self> {
        let Gemm { m, n, k, .. } = *product;
        if caps.kind == AdapterKind::Software || k < WORTH {
            return None;
        }
        let [bm, bn] = Loop::split(caps, m, n).extent();
        let batches = product.batch.iter().product::<usize>();
        let tiles = m.div_ceil(bm) * n.div_ceil(bn) * batches;
        if tiles == 0 || tiles >= ENOUGH {
            return None;
        }
        let cut = Self::new(k, ENOUGH.div_ceil(tiles).min(k / LEAST));
        let bytes = Store::F32.bytes(&cut.scratch(product));
        (cut.parts > 1 && bytes <= caps.limits.binding_bytes).then_some(cut)
    }

    /// The number of parts.
    #[must_use]
    pub fn parts(self) -> usize {
        self.parts
    }

    /// Elements of k of a part but the last.
    #[must_use]
    pub fn part(self) -> usize {
        self.part
    }

    /// Shape of the f32 scratch: sums of each part, \[batches, parts, m, n rounded up to a multiple of 4\].
    #[must_use]
    pub fn scratch(self, product: &Gemm<'_>) -> Vec<usize> {
        let batches = product.batch.iter().product();
        vec![
            batches,
            self.parts,
            product.m,
            product.n.next_multiple_of(4),
        ]
    }

    /// The parameters of `steps_split`.
    pub(crate) fn steps(self, dispatch: Dispatch) -> Result<Dispatch> {
        let size = |n| index(KERNEL, "parts of k", n);
        Ok(dispatch
            .param("steps_split", size(self.part / 4)?)
            .param("steps_parts", size(self.parts)?))
    }
}

/// Dispatches a product of floats in two passes: sums of the parts of k into `scratch` with the loop that the target chooses, then
/// C = epilogue(the sum of the parts, in their order). Equal cuts give equal bits on one adapter.
///
/// # Errors
/// As [`gemm`](crate::gemm), and [`Error::Shape`] for a cut of another k or other scratch than [`SplitK::scratch`].
pub fn split_k<'a>(
    on: impl Into<Target<'a>>,
    product: &Gemm<'_>,
    cut: SplitK,
    scratch: &View,
) -> Result<Vec<Dispatch>> {
    split(on.into(), product, cut, scratch, None)
}

/// [`split_k`] with a loop of the caller's choice.
///
/// # Errors
/// As [`split_k`].
pub fn split_k_with(
    caps: &Caps,
    product: &Gemm<'_>,
    cut: SplitK,
    scratch: &View,
    of: Loop,
) -> Result<Vec<Dispatch>> {
    split(caps.into(), product, cut, scratch, Some(of))
}

fn split(
    on: Target<'_>,
    product: &Gemm<'_>,
    cut: SplitK,
    scratch: &View,
    of: Option<Loop>,
) -> Result<Vec<Dispatch>> {
    let expected = cut.scratch(product);
    let fits = cut == SplitK::new(product.k, cut.parts);
    if !fits || scratch.store != Store::F32 || scratch.shape != expected {
        let what = format!(
            "{cut:?} of k = {} with scratch {scratch}, expected f32 {expected:?}",
            product.k
        );
        return Err(Error::shape(KERNEL, what));
    }
    let ld = expected[3];
    let mut parts = product.clone();
    parts.epilogue = None;
    parts.batch.push(cut.parts);
    parts.a.batch.push(0);
    parts.b.batch.push(0);
    parts.c = Operand {
        view: scratch,
        layout: Layout::Rows,
        ld,
        batch: contiguous(&parts.batch, product.m * ld),
    };
    let mut all = lowered(on, &parts, of, Some(cut))?;
    if !all.is_empty() {
        all.push(sums(on.caps, product, cut, scratch)?);
    }
    Ok(all)
}

/// Strides of batches that follow each other.
fn contiguous(sizes: &[usize], matrix: usize) -> Vec<usize> {
    let mut strides = vec![matrix; sizes.len()];
    for axis in (1..sizes.len()).rev() {
        strides[axis - 1] = strides[axis] * sizes[axis];
    }
    strides
}

/// The second pass.
fn sums(caps: &Caps, product: &Gemm<'_>, cut: SplitK, from: &View) -> Result<Dispatch> {
    let size = |what, n| index(KERNEL, what, n);
    let Gemm { m, n, ref c, .. } = *product;
    let none = vec![0; product.batch.len()];
    let batch = Batch::new(KERNEL, &product.batch, [&none, &none, &c.batch])?;
    let (part, first) = column_part(c.layout)?;
    let vec = n % 4 == 0 && c.ld % 4 == 0 && batch.is_vec(2);
    let variant = Variant::new("split_k").set("THREADS", THREADS).part(part);
    let variant = store(KERNEL, caps, batch.variant(variant), FLOAT, c.view, vec)?;
    let n4 = n.div_ceil(4);
    let count = size("the number of sums", batch.count() * m * n4)?;
    let groups = fold_groups(u64::from(count.div_ceil(THREADS)), caps.limits.groups);
    let mut dispatch = Dispatch::new(FLOAT.add(variant))
        .bind("SUMS", from.span)
        .bind("C", c.view.span)
        .param("m", size("m", m)?)
        .param("n", size("n", n)?)
        .param("n4", size("n", n4)?)
        .param("c_ld", size("the row stride of C", c.ld)?)
        .param("batches", size("the batches", batch.count())?)
        .param("parts", size("parts of k", cut.parts)?)
        .groups(groups)
        .work(u64::from(count) * 4 * cut.parts as u64);
    if let Some(first) = first {
        dispatch = dispatch.param("c_first", size("the first column of C", first)?);
    }
    if let Some(epilogue) = product.epilogue {
        dispatch = epilogue.add(dispatch);
    }
    batch.params(KERNEL, dispatch)
}

#[cfg(test)]
mod tests {
    use super::*;
    use tilewright_device::Slot;

    fn cut(caps: &Caps, [m, n, k]: [usize; 3], batches: usize) -> Option<SplitK> {
        let view = View::new(Slot(0), Store::F32, vec![batches, m, n]);
        let operand = |ld| Operand {
            view: &view,
            layout: Layout::Rows,
            ld,
            batch: vec![0],
        };
        let product = Gemm {
            m,
            n,
            k,
            batch: vec![batches],
            a: operand(k),
            b: operand(n),
            c: operand(n),
            epilogue: None,
        };
        SplitK::of(caps, &product)
    }

    #[test]
    fn parts_are_multiples_of_four_and_none_is_empty() {
        for k in 1..200 {
            for parts in 1..20 {
                let cut = SplitK::new(k, parts);
                assert!(cut.part % 4 == 0 && cut.parts <= parts.max(1), "{cut:?}");
                assert!(cut.part * cut.parts >= k, "{k} {cut:?}");
                assert!(cut.part * (cut.parts - 1) < k, "{k} {cut:?}");
                assert_eq!(SplitK::new(k, cut.parts), cut, "{k} {parts}");
            }
        }
    }

    #[test]
    fn long_products_of_few_tiles_are_cut_on_gpus() {
        let parts = |caps: &Caps, size, batches| cut(caps, size, batches).map(SplitK::parts);
        for caps in [Caps::discrete(), Caps::webgpu_default()] {
            // 16 tiles of 64 x 64: 8 parts would fill the GPU.
            assert_eq!(parts(&caps, [256, 256, 4096], 1), Some(8));
            assert_eq!(parts(&caps, [256, 256, 1024], 1), Some(4));
            assert_eq!(parts(&caps, [256, 256, 1020], 1), None);
            assert_eq!(parts(&caps, [256, 256, 4096], 4), Some(2));
            assert_eq!(parts(&caps, [256, 256, 4096], 8), None);
            assert_eq!(parts(&caps, [2048, 2048, 4096], 1), None);
            // Few rows: gemv, 16 blocks of columns a workgroup.
            assert_eq!(parts(&caps, [1, 1000, 4096], 1), Some(8));
            assert_eq!(parts(&caps, [0, 1000, 4096], 1), None);
        }
        assert_eq!(parts(&Caps::software(8), [256, 256, 4096], 1), None);
        let mut tight = Caps::discrete();
        tight.limits.binding_bytes = 1 << 20;
        assert_eq!(parts(&tight, [256, 256, 4096], 1), None);
    }
}
