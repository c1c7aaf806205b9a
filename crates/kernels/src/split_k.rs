//! Split-K: the k axis of a product in parts that different workgroups add up, and a second pass that adds the parts. For
//! products with fewer tiles than a GPU has room for.

use tilewright_device::{AdapterKind, Caps, Dispatch, Variant, fold_groups};

use crate::batch::Batch;
use crate::error::index;
use crate::gemm::{column_part, lowered};
use crate::product::{FLOAT, Product, store};
use crate::{
    ConvShape, Epilogue, Error, Filter, Gemm, Layout, Loop, Operand, Result, Store, Target, View,
    conv,
};

const KERNEL: &str = "split_k";
/// Threads of a workgroup of the second pass.
const THREADS: u32 = 64;
/// Workgroups that fill a large GPU: two for each of 64 processors. `candidates` takes larger tiles from the same number on.
const ENOUGH: usize = 128;
/// The least k of a part. A part of a tile of 64 x 64 loads 32 bytes for each output then, and writes and reads 8 more.
const LEAST: usize = 256;
/// The least k that is cut.
const WORTH: usize = 4 * LEAST;
/// The least k of a part within a k block: a chunk of the tiles.
const CHUNK: usize = 16;

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
        let batches = product.batch.iter().product();
        Self::by_rule(caps, [m, n, k], 1, batches)
    }

    /// The cut for a convolution of one group, as [`SplitK::of`]: each part takes some channels of every kernel position.
    #[must_use]
    pub fn of_conv(caps: &Caps, shape: &ConvShape) -> Option<Self> {
        let [blocks, k] = shape.blocks();
        let sizes = [shape.pixels(), shape.out_channels, k];
        Self::by_rule(caps, sizes, blocks, 1).filter(|_| shape.groups == 1)
    }

    /// For `blocks` blocks of k, all of which are cut alike.
    fn by_rule(caps: &Caps, [m, n, k]: [usize; 3], blocks: usize, batches: usize) -> Option<Self> {
        let depth = k.saturating_mul(blocks);
        if caps.kind == AdapterKind::Software || depth < WORTH {
            return None;
        }
        let [bm, bn] = Loop::split(caps, m, n).extent();
        let tiles = m.div_ceil(bm) * n.div_ceil(bn) * batches;
        if tiles == 0 || tiles >= ENOUGH {
            return None;
        }
        let parts = ENOUGH.div_ceil(tiles).min(depth / LEAST).min(k / CHUNK);
        let cut = Self::new(k, parts);
        let bytes = Store::F32.bytes(&cut.sums([m, n], batches));
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
        self.sums([product.m, product.n], batches)
    }

    /// The same of a convolution: \[1, parts, pixels of Y, its channels rounded up to a multiple of 4\].
    #[must_use]
    pub fn conv_scratch(self, shape: &ConvShape) -> Vec<usize> {
        self.sums([shape.pixels(), shape.out_channels], 1)
    }

    fn sums(self, [m, n]: [usize; 2], batches: usize) -> Vec<usize> {
        vec![batches, self.parts, m, n.next_multiple_of(4)]
    }

    /// Whether this is a cut of `k`, and the scratch has the shape for it.
    fn check(self, k: usize, scratch: &View, expected: &[usize]) -> Result<()> {
        let fits = self == Self::new(k, self.parts);
        if fits && scratch.store == Store::F32 && scratch.shape == expected {
            return Ok(());
        }
        let what = format!("{self:?} of k = {k} with scratch {scratch}, expected f32 {expected:?}");
        Err(Error::shape(KERNEL, what))
    }

    /// The first pass of a product that has no batches: sums of the parts.
    pub(crate) fn first<'a>(self, of: Product<'a>, scratch: &'a View) -> Result<Product<'a>> {
        let expected = self.sums([of.m, of.n], 1);
        self.check(of.k, scratch, &expected)?;
        let ld = expected[3];
        let strides = [&[0][..], &[0], &[of.m * ld]];
        Ok(Product {
            kernel: "conv_split",
            c: scratch,
            c_ld: ld,
            c_part: "c_rows",
            batch: Batch::new(KERNEL, &[self.parts], strides)?.parts(Some(self)),
            epilogue: None,
            ..of
        })
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
    cut.check(product.k, scratch, &expected)?;
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
        let Gemm {
            m, n, ref batch, ..
        } = *product;
        let last = sums(on.caps, [m, n], batch, &product.c, cut, scratch)?;
        all.push(ended(last, product.epilogue));
    }
    Ok(all)
}

/// Dispatches a [`conv`](crate::conv) of one group in two passes, as [`split_k`].
///
/// # Errors
/// As [`conv`](crate::conv), and [`Error::Shape`] for several groups, a cut of another k or other scratch than
/// [`SplitK::conv_scratch`].
#[expect(clippy::too_many_arguments, reason = "conv, a cut and its scratch")]
pub fn conv_split<'a>(
    on: impl Into<Target<'a>>,
    shape: &ConvShape,
    x: &View,
    filter: Filter<'_>,
    y: &View,
    epilogue: Option<&Epilogue>,
    cut: SplitK,
    scratch: &View,
) -> Result<Vec<Dispatch>> {
    let on = on.into();
    if shape.groups != 1 {
        return Err(Error::shape(KERNEL, format!("{} groups", shape.groups)));
    }
    let mut all = conv::lowered(on, shape, x, filter, y, None, None, Some((cut, scratch)))?;
    if !all.is_empty() {
        let (m, n) = (shape.pixels(), shape.out_channels);
        let to = Operand {
            view: y,
            layout: Layout::Rows,
            ld: n,
            batch: vec![],
        };
        let last = sums(on.caps, [m, n], &[], &to, cut, scratch)?;
        all.push(ended(last, epilogue));
    }
    Ok(all)
}

fn ended(last: Dispatch, epilogue: Option<&Epilogue>) -> Dispatch {
    match epilogue {
        Some(epilogue) => epilogue.add(last),
        None => last,
    }
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
fn sums(
    caps: &Caps,
    [m, n]: [usize; 2],
    batch: &[usize],
    c: &Operand<'_>,
    cut: SplitK,
    from: &View,
) -> Result<Dispatch> {
    let size = |what, n| index(KERNEL, what, n);
    let none = vec![0; batch.len()];
    let batch = Batch::new(KERNEL, batch, [&none, &none, &c.batch])?;
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
        // The last layers of ResNet-50: 8 tiles, which 16 parts of 32 of the channels would make enough.
        let layer = |channels, groups| {
            let x = [1, 7, 7, channels];
            let s = ConvShape::new(&x, &[3, 3], &[1; 2], &[1; 2], &[1; 4], groups, 512);
            SplitK::of_conv(&Caps::discrete(), &s.unwrap())
        };
        assert_eq!(layer(512, 1), Some(SplitK::new(512, 16)));
        assert_eq!((layer(512, 2), layer(64, 1)), (None, None));
        assert_eq!(parts(&Caps::software(8), [256, 256, 4096], 1), None);
        let mut tight = Caps::discrete();
        tight.limits.binding_bytes = 1 << 20;
        assert_eq!(parts(&tight, [256, 256, 4096], 1), None);
    }
}
