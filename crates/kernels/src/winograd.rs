//! Winograd's F(o x o, 3x3): a 3x3 convolution as products of transformed tiles by a transformed filter, which multiply 2.25
//! (o = 2) or 4 (o = 4) times less than the sums that they stand for (Lavin and Gray, Fast Algorithms for Convolutional
//! Neural Networks, 2016).

use tilewright_device::{AdapterKind, Caps, Dispatch, Variant, fold_groups};
use tilewright_tensor::{DType, HostTensor};

use crate::batch::Batch;
use crate::conv::{axes, hold};
use crate::error::index;
use crate::gemm_loop::reg_lanes;
use crate::pack::{Panels, host};
use crate::product::{FLOAT, Loader, store};
use crate::{
    ConvShape, Epilogue, Error, Gemm, Layout, Operand, Result, Store, Target, View, gemm,
    panel_width,
};

const KERNEL: &str = "winograd";
/// Invocations of a workgroup.
const THREADS: u32 = 64;
/// The most bytes that a scratch tensor may take: all layers of common networks at batch 1 are below.
const MOST_BYTES: u64 = 64 << 20;

/// Outputs of a tile along an axis.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Winograd {
    /// F(2x2, 3x3): 16 products; results within some 3e-6 of the largest.
    Two,
    /// F(4x4, 3x3): 36 products; results within some 3e-5 of the largest.
    Four,
}

/// The scratch of [`winograd`]: transformed tiles \[points, tiles, in_channels\] and their products \[points, tiles,
/// out_channels\], f32.
#[derive(Debug, Clone, Copy)]
pub struct WinogradScratch<'a> {
    /// Transformed tiles.
    pub tiles: &'a View,
    /// Their products with the transformed filter.
    pub products: &'a View,
}

impl Winograd {
    /// The better of the two where it is better than a direct sum on this adapter. Only software adapters were measured.
    #[must_use]
    pub fn of(caps: &Caps, shape: &ConvShape) -> Option<Self> {
        if caps.kind != AdapterKind::Software || reg_lanes(caps).is_none() || !Self::fits(shape) {
            return None;
        }
        let most = MOST_BYTES.min(caps.limits.binding_bytes);
        let small = |form: &Self| {
            let bytes = |s: Vec<usize>| 4 * s.iter().product::<usize>() as u64;
            let filter =
                form.points() * shape.in_channels * shape.out_channels.next_multiple_of(64);
            let fits = 4 * filter as u64 <= caps.limits.binding_bytes;
            fits && form.scratch(shape).into_iter().all(|s| bytes(s) <= most)
        };
        // Sizes of one power of two decide alike, so that they share their programs.
        let mut shape = shape.clone();
        shape.images = shape.images.next_power_of_two();
        shape.output = shape.output.map(usize::next_power_of_two);
        let shape = &shape;
        let direct = direct_cost(shape);
        let forms = [Self::Two, Self::Four].into_iter().filter(small);
        let costs = forms.map(|form| (form, form.cost(shape)));
        let best = costs.min_by(|a, b| a.1.total_cmp(&b.1))?;
        (1.05 * best.1 < direct).then_some(best.0)
    }

    /// Whether [`winograd`] takes a convolution: 3x3 in one group, stride and dilation 1, channels in multiples of four.
    #[must_use]
    pub fn fits(shape: &ConvShape) -> bool {
        let fours = shape.in_channels % 4 == 0 && shape.out_channels % 4 == 0;
        let plain = shape.stride == [1; 3] && shape.dilation == [1; 3] && shape.groups == 1;
        shape.rank == 2 && shape.kernel == [1, 3, 3] && plain && fours && shape.in_channels > 0
    }

    /// Shapes of the tensors of [`WinogradScratch`].
    #[must_use]
    pub fn scratch(self, shape: &ConvShape) -> [Vec<usize>; 2] {
        let [_, points] = self.sizes();
        let tiles = self.tiles(shape).iter().product::<usize>();
        [shape.in_channels, shape.out_channels]
            .map(|channels| vec![points * points, tiles, channels])
    }

    /// Packs a constant filter of \[out_channels, in_channels, 3, 3\] in f32: G g G^T for every pair of channels, in panels
    /// \[points, panels, in_channels, width\].
    ///
    /// # Errors
    /// [`Error::Shape`] for another shape or dtype.
    pub fn pack(self, caps: &Caps, shape: &ConvShape, w: &HostTensor) -> Result<HostTensor> {
        let (oc, ic) = (shape.out_channels, shape.in_channels);
        if !Self::fits(shape) || w.dtype() != DType::F32 || w.shape()[..] != [oc, ic, 3, 3] {
            let what = format!("a filter {} {} of {shape:?}", w.dtype(), w.shape());
            return Err(Error::shape("pack_winograd", what));
        }
        let values = w.as_slice::<f32>().map_err(host)?;
        let points = self.points();
        let mut transformed = vec![0.0f32; points * oc * ic];
        for (pair, g) in values.chunks_exact(9).enumerate() {
            for (point, value) in self.transform(g).into_iter().enumerate() {
                transformed[point * oc * ic + pair] = value;
            }
        }
        let transformed = HostTensor::from_vec([points, oc, ic], transformed).map_err(host)?;
        let panels = Panels {
            n: oc,
            k: ic,
            blocks: 1,
            width: panel_width(caps),
        };
        panels.pack(&transformed, points, |point, _, k, n| {
            (point * oc + n) * ic + k
        })
    }

    /// Points of a tile.
    fn points(self) -> usize {
        self.sizes()[1] * self.sizes()[1]
    }

    /// Outputs and points along an axis.
    fn sizes(self) -> [usize; 2] {
        match self {
            Self::Two => [2, 4],
            Self::Four => [4, 6],
        }
    }

    fn part(self) -> &'static str {
        match self {
            Self::Two => "winograd_2",
            Self::Four => "winograd_4",
        }
    }

    /// Images, tiles along y, tiles along x.
    fn tiles(self, shape: &ConvShape) -> [usize; 3] {
        let [outputs, _] = self.sizes();
        let [_, h, w] = shape.output;
        [shape.images, h.div_ceil(outputs), w.div_ceil(outputs)]
    }

    /// The rows of G, which take three weights to the points.
    fn rows(self) -> &'static [[f64; 3]] {
        match self {
            Self::Two => &[
                [1.0, 0.0, 0.0],
                [0.5, 0.5, 0.5],
                [0.5, -0.5, 0.5],
                [0.0, 0.0, 1.0],
            ],
            Self::Four => &[
                [0.25, 0.0, 0.0],
                [-1.0 / 6.0, -1.0 / 6.0, -1.0 / 6.0],
                [-1.0 / 6.0, 1.0 / 6.0, -1.0 / 6.0],
                [1.0 / 24.0, 1.0 / 12.0, 1.0 / 6.0],
                [1.0 / 24.0, -1.0 / 12.0, 1.0 / 6.0],
                [0.0, 0.0, 1.0],
            ],
        }
    }

    /// G g G^T in f64, rounded once.
    fn transform(self, g: &[f32]) -> Vec<f32> {
        let rows = self.rows();
        let weight = |row: &[f64; 3], column: &[f64; 3]| {
            let terms = (0..9).map(|t| row[t / 3] * f64::from(g[t]) * column[t % 3]);
            terms.sum::<f64>() as f32
        };
        let pairs = rows
            .iter()
            .flat_map(|row| rows.iter().map(move |column| (row, column)));
        pairs.map(|(row, column)| weight(row, column)).collect()
    }

    /// Nanoseconds of a value that a transform moves, beside those of its result: those of 36 points do not fit the registers.
    fn move_cost(self) -> f64 {
        match self {
            Self::Two => 0.005,
            Self::Four => 0.07,
        }
    }

    /// Nanoseconds on a software adapter, as [`direct_cost`]: of two transforms and a product.
    fn cost(self, shape: &ConvShape) -> f64 {
        let points = self.points();
        let tiles: usize = self.tiles(shape).iter().product();
        let (ic, oc) = (shape.in_channels, shape.out_channels);
        let moved = points * tiles * (2 * ic + oc) + shape.pixels() * oc;
        let products = points as f64 * product_cost(tiles, oc, ic);
        moved as f64 * self.move_cost() + products + 3.0 * START
    }
}

/// Nanoseconds of a multiplication of a product, of the load of an element of the filter, which serves all rows of a tile, of a
/// result that is stored, and of a dispatch: fitted to 26 layers, each computed in all three ways, on lavapipe with two processors
/// (docs/kernels.md). Only their ratios matter.
const MULTIPLY: f64 = 0.0184;
const LOAD: f64 = 0.229;
const PUT: f64 = 2.24;
const START: f64 = 24_400.0;

/// Nanoseconds of a direct sum.
fn direct_cost(shape: &ConvShape) -> f64 {
    product_cost(shape.pixels(), shape.out_channels, 9 * shape.in_channels) + START
}

/// Nanoseconds of a product of m x n x k, in tiles of 32 rows or, where there are fewer, of 4, 8 or 16.
fn product_cost(m: usize, n: usize, k: usize) -> f64 {
    let rows = match m {
        0..=16 => m.next_power_of_two().max(4),
        _ => m.next_multiple_of(32),
    };
    let (rows, columns, k) = (rows as f64, n.next_multiple_of(32) as f64, k as f64);
    let tiles = m.div_ceil(32) as f64;
    columns * (k * (rows * MULTIPLY + tiles * LOAD) + rows * PUT)
}

/// Y = epilogue(conv(X, filter)) with X\[n, height, width, in_channels\] and Y alike in f32 or f16; the filter as
/// [`Winograd::pack`] packs it. Results differ from the direct sum by a few roundings of f32.
///
/// # Errors
/// [`Error::Shape`], [`Error::Storage`], [`Error::TooLarge`].
pub fn winograd<'a>(
    on: impl Into<Target<'a>>,
    form: Winograd,
    shape: &ConvShape,
    x: &View,
    filter: &View,
    scratch: WinogradScratch<'_>,
    y: &View,
    epilogue: Option<&Epilogue>,
) -> Result<Vec<Dispatch>> {
    let on = on.into();
    let caps = on.caps;
    shape.check(KERNEL)?;
    if !Winograd::fits(shape) {
        return Err(Error::shape(KERNEL, format!("not a plain 3x3: {shape:?}")));
    }
    hold(shape, x, y)?;
    if y.elements() == 0 {
        return Ok(Vec::new());
    }
    for (of, expected) in [scratch.tiles, scratch.products]
        .into_iter()
        .zip(form.scratch(shape))
    {
        if of.store != Store::F32 || of.shape != expected {
            let what = format!("scratch {of}, expected f32 {expected:?}");
            return Err(Error::shape(KERNEL, what));
        }
    }
    let mut all = vec![form.input(caps, shape, x, scratch.tiles)?];
    all.extend(form.products(on, shape, filter, scratch)?);
    all.push(form.output(caps, shape, scratch.products, y, epilogue)?);
    Ok(all)
}

impl Winograd {
    /// A thread for 4 channels of a tile.
    fn threads(
        self,
        caps: &Caps,
        shape: &ConvShape,
        channels: usize,
        of: Dispatch,
    ) -> Result<Dispatch> {
        let size = |n| index(KERNEL, "an extent", n);
        let [images, y, x] = self.tiles(shape);
        let count = images.saturating_mul(y).saturating_mul(x);
        let groups = size(count.saturating_mul(channels / 4))?.div_ceil(THREADS);
        Ok(of
            .param("tiles", size(count)?)
            .param("tiles_y", size(y)?)
            .param("tiles_x", size(x)?)
            .groups(fold_groups(groups.into(), caps.limits.groups))
            .work(64 * (count as u64) * channels as u64))
    }

    fn input(self, caps: &Caps, shape: &ConvShape, x: &View, to: &View) -> Result<Dispatch> {
        let [_, points] = self.sizes();
        let loader = Loader {
            view: x,
            part: "a_four",
            vec: true,
        };
        let variant = Variant::new("winograd_in")
            .part(self.part())
            .set("THREADS", THREADS)
            .set("T", points as u32);
        let variant = loader.add(KERNEL, caps, variant.alias("Elem", FLOAT.elem), FLOAT, "A")?;
        let dispatch = Dispatch::new(variant)
            .bind("A", x.span)
            .bind("V", to.span)
            .param("in_size", axes(shape.input)?)
            .param("pad", axes(shape.pad)?)
            .param("c4", index(KERNEL, "channels", shape.in_channels / 4)?);
        self.threads(caps, shape, shape.in_channels, dispatch)
    }

    fn products(
        self,
        on: Target<'_>,
        shape: &ConvShape,
        filter: &View,
        scratch: WinogradScratch<'_>,
    ) -> Result<Vec<Dispatch>> {
        let (m, n, k) = (
            self.tiles(shape).iter().product::<usize>(),
            shape.out_channels,
            shape.in_channels,
        );
        let width = panel_width(on.caps);
        let operand = |view, layout, ld, matrix| Operand {
            view,
            layout,
            ld,
            batch: vec![matrix],
        };
        let product = Gemm {
            m,
            n,
            k,
            batch: vec![self.points()],
            a: operand(scratch.tiles, Layout::Rows, k, m * k),
            b: operand(
                filter,
                Layout::Panels { width },
                k,
                n.div_ceil(width) * width * k,
            ),
            c: operand(scratch.products, Layout::Rows, n, m * n),
            epilogue: None,
        };
        gemm(on, &product)
    }

    fn output(
        self,
        caps: &Caps,
        shape: &ConvShape,
        from: &View,
        y: &View,
        epilogue: Option<&Epilogue>,
    ) -> Result<Dispatch> {
        let size = |n| index(KERNEL, "an extent", n);
        let [outputs, points] = self.sizes();
        let variant = Variant::new("winograd_out")
            .part(self.part())
            .set("THREADS", THREADS)
            .set("T", points as u32)
            .set("O", outputs as u32);
        let variant = store(KERNEL, caps, variant.part("c_rows"), FLOAT, y, true)?;
        let one = Batch::new(KERNEL, &[], [&[], &[], &[]])?;
        let variant = FLOAT.add(one.variant(variant));
        let channels = size(shape.out_channels)?;
        let mut dispatch = Dispatch::new(variant)
            .bind("PRODUCTS", from.span)
            .bind("C", y.span)
            .param("m", size(shape.pixels())?)
            .param("n", channels)
            .param("n4", channels / 4)
            .param("c_ld", channels)
            .param("out_size", axes(shape.output)?);
        dispatch = one.params(KERNEL, dispatch)?;
        if let Some(epilogue) = epilogue {
            dispatch = epilogue.add(dispatch);
        }
        self.threads(caps, shape, shape.out_channels, dispatch)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shape(size: usize, channels: usize) -> ConvShape {
        let x = [1, size, size, channels];
        ConvShape::new(&x, &[3, 3], &[1, 1], &[1, 1], &[1, 1, 1, 1], 1, channels).unwrap()
    }

    #[test]
    fn filters_of_one_point_are_outer_products_of_g() {
        // A filter that is 1 at (1, 2) takes column 1 of G times column 2.
        let mut g = [0.0; 9];
        g[5] = 1.0;
        for form in [Winograd::Two, Winograd::Four] {
            let rows = form.rows();
            let points = rows.len();
            for (at, value) in form.transform(&g).into_iter().enumerate() {
                let expected = (rows[at / points][1] * rows[at % points][2]) as f32;
                assert_eq!(value, expected, "{form:?} {at}");
            }
        }
    }

    #[test]
    fn large_layers_of_many_channels_are_transformed_on_software_adapters_only() {
        let caps = Caps::software(8);
        let of = |size, channels| Winograd::of(&caps, &shape(size, channels));
        assert_eq!(of(56, 64), Some(Winograd::Four));
        assert_eq!(of(14, 256), Some(Winograd::Four));
        assert_eq!(of(7, 512), Some(Winograd::Two));
        assert_eq!(of(4, 256), None);
        assert_eq!(of(8, 32), None);
        assert_eq!(Winograd::of(&Caps::discrete(), &shape(56, 64)), None);
        let mut tight = caps.clone();
        tight.limits.binding_bytes = 1 << 10;
        assert_eq!(Winograd::of(&tight, &shape(56, 64)), None);
    }
}
