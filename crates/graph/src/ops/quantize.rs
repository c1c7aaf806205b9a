//! QuantizeLinear and DequantizeLinear: between floats and narrow integers, by scale and zero point.

use crate::attrs::{dtype_code, dtype_from_code};
use crate::blocks::Blocks;
use crate::fact::{Facts, Tensors, axis_index};
use crate::lower::{Lower, Place, Placing};
use crate::op::{Case, Operator};
use crate::{Attrs, Error, Fact, Result, samples};
use tilewright_kernels::{self as kernels, Grain};
use tilewright_tensor::{DType, HostTensor};

/// Which scale belongs to which element: one for all, one for each index along `axis`, or one for each block of
/// `block_size` elements along it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Granularity {
    /// The axis; negative counts from the end.
    pub axis: i64,
    /// Elements of a block; 0 for no blocks.
    pub block_size: i64,
}

impl Default for Granularity {
    fn default() -> Self {
        Granularity {
            axis: 1,
            block_size: 0,
        }
    }
}

/// The scale of element `i` is `((i / inner / size * count) + i / inner % size / block) * inner + i % inner` where blocked,
/// and simpler where not; see [`Scales::at`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Scales {
    /// One scale.
    Tensor,
    /// One for each of `size` indices, `inner` elements apart.
    Axis { size: usize, inner: usize },
    /// One for each of `count` blocks of `block` along an axis of `size`.
    Blocked {
        size: usize,
        inner: usize,
        block: usize,
        count: usize,
    },
}

impl Scales {
    /// The index of the scale of element `i`.
    pub(super) fn at(self, i: usize) -> usize {
        match self {
            Scales::Tensor => 0,
            Scales::Axis { size, inner } => i / inner % size,
            Scales::Blocked {
                size,
                inner,
                block,
                count,
            } => (i / inner / size * count + i / inner % size / block) * inner + i % inner,
        }
    }
}

impl Scales {
    /// The same for kernels.
    fn grain(self) -> Grain {
        match self {
            Scales::Tensor => Grain::Tensor,
            Scales::Axis { size, inner } => Grain::Axis { size, inner },
            Scales::Blocked {
                size,
                inner,
                block,
                count,
            } => Grain::Blocked {
                size,
                inner,
                block,
                blocks: count,
            },
        }
    }
}

impl Granularity {
    fn read(attrs: &Attrs) -> Result<Granularity> {
        Ok(Granularity {
            axis: attrs.or("axis", 1)?,
            block_size: attrs.or("block_size", 0)?,
        })
    }

    fn write(self, attrs: Attrs) -> Attrs {
        attrs
            .with("axis", self.axis)
            .with("block_size", self.block_size)
    }

    /// Which scale belongs to which element of a tensor of `shape`.
    pub(super) fn scales(self, op: &str, shape: &[usize], scale: &[usize]) -> Result<Scales> {
        if scale.iter().product::<usize>() == 1 && self.block_size == 0 {
            return Ok(Scales::Tensor);
        }
        let axis = axis_index(op, self.axis, shape.len())?;
        let (size, inner) = (shape[axis], shape[axis + 1..].iter().product::<usize>());
        let bad = || Error::op(op, format!("scales of shape {scale:?} for {shape:?}"));
        if self.block_size == 0 {
            let fits = scale == [size];
            return fits.then_some(Scales::Axis { size, inner }).ok_or_else(bad);
        }
        let block = usize::try_from(self.block_size).map_err(|_| bad())?;
        let mut blocks = shape.to_vec();
        blocks[axis] = size.div_ceil(block);
        (scale == blocks).then_some(()).ok_or_else(bad)?;
        Ok(Scales::Blocked {
            size,
            inner,
            block,
            count: blocks[axis],
        })
    }

    /// Elements of one scale need no others; with a scale for each index of an axis, what lies before it can be cut.
    fn blocks(self, cx: &Placing<'_>) -> Blocks {
        let one = cx
            .inputs
            .opt(1)
            .is_some_and(|s| s.elements().known() == Some(1));
        match self.block_size {
            0 if one => Blocks::before(cx, cx.inputs.opt(0).map_or(0, Fact::rank) as i64),
            0 => Blocks::before(cx, self.axis),
            _ => Blocks::none(),
        }
    }

    /// Refuses scales and zero points that do not fit, as far as sizes are known.
    fn check(self, inputs: Facts<'_>) -> Result<()> {
        let (x, scale) = (inputs.req(0)?, inputs.req(1)?);
        if let (Some(x), Some(scale)) = (x.known_shape(), scale.known_shape()) {
            self.scales(inputs.op(), &x, &scale)?;
        }
        let size = |f: &Fact| f.elements().known();
        if let Some(zero) = inputs.opt(2)
            && let (Some(a), Some(b)) = (size(zero), size(scale))
            && a != b
        {
            return Err(inputs.error(format!("{b} scales but {a} zero points")));
        }
        Ok(())
    }
}

/// ONNX QuantizeLinear-25: `saturate(round(x / scale) + zero_point)`, rounding ties to even.
#[derive(Clone, Debug, Default)]
pub struct QuantizeLinear {
    /// Which scale belongs to which element.
    pub granularity: Granularity,
    /// Type of the result; by default that of the zero point, or u8.
    pub output: Option<DType>,
    /// Type of the division; by default that of the scale.
    pub precision: Option<DType>,
}

/// A data type attribute; 0 stands for none.
fn dtype_attr(attrs: &Attrs, name: &str) -> Result<Option<DType>> {
    match attrs.or(name, 0i64)? {
        0 => Ok(None),
        code => match dtype_from_code(code) {
            Some(dtype) => Ok(Some(dtype)),
            None => Err(Error::op(attrs.op(), format!("{name} {code}"))),
        },
    }
}

impl Operator for QuantizeLinear {
    const NAMES: &'static [&'static str] = &["QuantizeLinear"];

    fn attrs(&self) -> Attrs {
        let attrs = Attrs::new("QuantizeLinear")
            .with_opt("output_dtype", self.output.map(dtype_code))
            .with_opt("precision", self.precision.map(dtype_code));
        self.granularity.write(attrs)
    }

    fn from_attrs(_: &str, attrs: &Attrs) -> Result<Self> {
        Ok(QuantizeLinear {
            granularity: Granularity::read(attrs)?,
            output: dtype_attr(attrs, "output_dtype")?,
            precision: dtype_attr(attrs, "precision")?,
        })
    }

    fn infer(&self, inputs: Facts<'_>) -> Result<Vec<Fact>> {
        self.granularity.check(inputs)?;
        let x = inputs.req(0)?;
        let dtype = self.dtype(inputs.opt(2).map(|f| f.dtype));
        if !dtype.is_int() || dtype.bits() > 16 {
            return Err(inputs.error(format!("{dtype} is not a quantised type")));
        }
        Ok(vec![Fact::new(dtype, x.shape.clone())])
    }

    fn reference(&self, inputs: Tensors<'_>) -> Result<Vec<HostTensor>> {
        let (x, scale) = (inputs.req(0)?, inputs.req(1)?);
        let scales = (self.granularity).scales(inputs.op(), x.shape(), scale.shape())?;
        let dtype = self.dtype(inputs.opt(2).map(HostTensor::dtype));
        let zeros = inputs.opt(2).map(HostTensor::to_f64);
        let precision = self.precision.unwrap_or(scale.dtype());
        let quotients: Vec<f64> = {
            let scale = scale.to_f64();
            let values = x.to_f64().into_iter().enumerate();
            values.map(|(i, v)| v / scale[scales.at(i)]).collect()
        };
        // A quotient of two numbers of half the precision is rounded once, as if divided there.
        let quotients = if precision.is_float() {
            HostTensor::from_f64(precision, x.shape(), quotients)?.to_f64()
        } else {
            quotients
        };
        let (low, high) = dtype.range();
        let values = quotients.into_iter().enumerate().map(|(i, q)| {
            let zero = zeros.as_ref().map_or(0.0, |z| z[scales.at(i)]);
            (q.round_ties_even() + zero).clamp(low, high)
        });
        Ok(vec![HostTensor::from_f64(
            dtype,
            x.shape(),
            values.collect(),
        )?])
    }

    fn place(&self, cx: &Placing<'_>) -> Place {
        let dtype = |i: usize| cx.inputs.opt(i).map(|f| f.dtype);
        let float = |d: Option<DType>| matches!(d, Some(DType::F32 | DType::F16));
        if !(float(dtype(0)) || dtype(0) == Some(DType::I32)) || !float(dtype(1)) {
            return Place::host("only f32 and f16 scales have a kernel");
        }
        if !matches!(self.precision, None | Some(DType::F32 | DType::F16)) {
            return Place::host("only f32 and f16 precision have a kernel");
        }
        cx.by_storage()
    }

    fn blocks(&self, cx: &Placing<'_>) -> Blocks {
        self.granularity.blocks(cx)
    }

    fn lower(&self, cx: &mut Lower<'_>) -> Result<()> {
        let (x, scale, zero, y) = (cx.input(0)?, cx.input(1)?, cx.opt_input(2), cx.output(0)?);
        let scales = self
            .granularity
            .scales("QuantizeLinear", &x.shape, &scale.shape)?;
        let dtype = cx.output_dtype(0).unwrap_or(DType::U8);
        let half = self.precision.or(cx.input_dtype(1)) == Some(DType::F16);
        let (low, high) = dtype.int_range().unwrap_or_default();
        let range = (low as i32, high as i32);
        let zero = zero.as_ref();
        cx.emit(kernels::quantize(
            cx.caps(),
            &x,
            &scale,
            zero,
            &y,
            scales.grain(),
            range,
            half,
        )?);
        Ok(())
    }

    fn cases() -> Vec<Case> {
        let mut cases = vec![];
        for dtype in QUANTISED {
            // A step wide enough that both ends are passed.
            let step = 1.5 / (1i64 << dtype.bits()) as f32;
            let zero = if dtype.is_signed() { -1 } else { 1 };
            let inputs = vec![
                samples::uniform(&[3, 4, 5], 1),
                samples::of(&[], &[step]),
                samples::integers(dtype, &[], 1, zero, zero + 1),
            ];
            let op = QuantizeLinear::default();
            cases.push(Case::new(dtype.name(), op, inputs).constant(&[1, 2]));
        }
        for (name, granularity, scale) in granularities() {
            let op = QuantizeLinear {
                granularity,
                ..QuantizeLinear::default()
            };
            let x = samples::uniform(&[3, 4, 6], 1);
            let zeros = samples::integers(DType::I8, scale.shape(), 3, -20, 20);
            let inputs = vec![x.clone(), scale.clone(), zeros];
            cases.push(Case::new(name, op, inputs).constant(&[1, 2]));
            let op = QuantizeLinear {
                granularity,
                output: Some(DType::I8),
                ..QuantizeLinear::default()
            };
            let name = format!("{name}, no zero point");
            cases.push(Case::new(&name, op, vec![x, scale]));
        }
        for (name, constant) in [
            ("f16 quotients", &[1][..]),
            ("f16 quotients, run-time", &[]),
        ] {
            let op = QuantizeLinear {
                output: Some(DType::I8),
                precision: Some(DType::F16),
                ..QuantizeLinear::default()
            };
            let inputs = vec![samples::uniform(&[3, 4], 1), samples::of(&[], &[0.013f32])];
            cases.push(Case::new(name, op, inputs).constant(constant));
        }
        cases
    }
}

impl QuantizeLinear {
    fn dtype(&self, zero: Option<DType>) -> DType {
        zero.or(self.output).unwrap_or(DType::U8)
    }
}

/// ONNX DequantizeLinear-25: `(x - zero_point) * scale`.
#[derive(Clone, Debug, Default)]
pub struct DequantizeLinear {
    /// Which scale belongs to which element.
    pub granularity: Granularity,
    /// Type of the result; by default that of the scale.
    pub output: Option<DType>,
}

impl Operator for DequantizeLinear {
    const NAMES: &'static [&'static str] = &["DequantizeLinear"];

    fn attrs(&self) -> Attrs {
        let attrs = Attrs::new("DequantizeLinear");
        (self.granularity).write(attrs.with_opt("output_dtype", self.output.map(dtype_code)))
    }

    fn from_attrs(_: &str, attrs: &Attrs) -> Result<Self> {
        Ok(DequantizeLinear {
            granularity: Granularity::read(attrs)?,
            output: dtype_attr(attrs, "output_dtype")?,
        })
    }

    fn infer(&self, inputs: Facts<'_>) -> Result<Vec<Fact>> {
        self.granularity.check(inputs)?;
        let (x, scale) = (inputs.req(0)?, inputs.req(1)?);
        if x.dtype.is_float() || inputs.opt(2).is_some_and(|z| z.dtype != x.dtype) {
            return Err(inputs.error("x and its zero point must be integers of one type"));
        }
        let dtype = self.output.unwrap_or(scale.dtype);
        Ok(vec![Fact::new(dtype, x.shape.clone())])
    }

    fn reference(&self, inputs: Tensors<'_>) -> Result<Vec<HostTensor>> {
        let (x, scale) = (inputs.req(0)?, inputs.req(1)?);
        let scales = (self.granularity).scales(inputs.op(), x.shape(), scale.shape())?;
        let dtype = self.output.unwrap_or(scale.dtype());
        let (scale, zeros) = (scale.to_f64(), inputs.opt(2).map(HostTensor::to_f64));
        let values = x.to_f64().into_iter().enumerate().map(|(i, v)| {
            let at = scales.at(i);
            (v - zeros.as_ref().map_or(0.0, |z| z[at])) * scale[at]
        });
        Ok(vec![HostTensor::from_f64(
            dtype,
            x.shape(),
            values.collect(),
        )?])
    }

    fn place(&self, cx: &Placing<'_>) -> Place {
        cx.by_storage()
    }

    fn blocks(&self, cx: &Placing<'_>) -> Blocks {
        self.granularity.blocks(cx)
    }

    fn lower(&self, cx: &mut Lower<'_>) -> Result<()> {
        let (x, scale, zero, y) = (cx.input(0)?, cx.input(1)?, cx.opt_input(2), cx.output(0)?);
        let scales = self
            .granularity
            .scales("DequantizeLinear", &x.shape, &scale.shape)?;
        let grain = scales.grain();
        cx.emit(kernels::dequantize(
            cx.caps(),
            &x,
            &scale,
            zero.as_ref(),
            &y,
            grain,
        )?);
        Ok(())
    }

    /// Weights stay narrow until a pass knows who reads them.
    fn folds(&self) -> bool {
        false
    }

    fn cases() -> Vec<Case> {
        let mut cases = vec![];
        let whole = |dtype: DType, shape: &[usize], seed| {
            let (low, high) = dtype.range();
            samples::integers(dtype, shape, seed, low as i64, high as i64 + 1)
        };
        for dtype in QUANTISED {
            let x = whole(dtype, &[3, 4, 5], 1);
            let inputs = vec![x, samples::of(&[], &[0.03f32]), whole(dtype, &[], 2)];
            let op = DequantizeLinear::default();
            cases.push(Case::new(dtype.name(), op, inputs).constant(&[1, 2]));
        }
        for (name, granularity, scale) in granularities() {
            let op = DequantizeLinear {
                granularity,
                output: None,
            };
            let x = whole(DType::I8, &[3, 4, 6], 1);
            let zeros = samples::integers(DType::I8, scale.shape(), 3, -20, 20);
            let inputs = vec![x.clone(), scale.clone(), zeros];
            cases.push(Case::new(name, op.clone(), inputs).constant(&[1, 2]));
            let name = format!("{name}, no zero point");
            cases.push(Case::new(&name, op, vec![x, scale]));
        }
        let x = samples::integers(DType::I32, &[3, 4], 1, -1000, 1000);
        let scale = samples::of(&[], &[0.01f32]);
        cases.push(Case::new(
            "i32",
            DequantizeLinear::default(),
            vec![x, scale],
        ));
        for (name, constant) in [("f16 of f32 scales", &[1][..]), ("f16, run-time", &[])] {
            let op = DequantizeLinear {
                output: Some(DType::F16),
                ..DequantizeLinear::default()
            };
            let inputs = vec![whole(DType::U8, &[3, 4], 1), samples::of(&[], &[0.03f32])];
            cases.push(Case::new(name, op, inputs).constant(constant));
        }
        cases
    }
}

const QUANTISED: [DType; 8] = [
    DType::U8,
    DType::I8,
    DType::U16,
    DType::I16,
    DType::U4,
    DType::I4,
    DType::U2,
    DType::I2,
];

/// Every granularity, with scales for a tensor of `[3, 4, 6]`.
fn granularities() -> Vec<(&'static str, Granularity, HostTensor)> {
    let scale = |shape: &[usize]| samples::between(shape, 2, 0.005, 0.02);
    let of = |axis, block_size| Granularity { axis, block_size };
    vec![
        ("per tensor", of(1, 0), scale(&[])),
        ("one scale in a vector", of(1, 0), scale(&[1])),
        ("per axis", of(1, 0), scale(&[4])),
        ("per last axis", of(-1, 0), scale(&[6])),
        ("per first axis", of(0, 0), scale(&[3])),
        ("blocked", of(1, 2), scale(&[3, 2, 6])),
        ("blocked unevenly", of(-1, 4), scale(&[3, 4, 2])),
    ]
}
