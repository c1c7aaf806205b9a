//! What is known of a tensor before it exists: data type, shape, and for small integer tensors its values.

use crate::dim::{Bindings, Dim};
use crate::{Error, Result, Weight};
use std::fmt;
use std::sync::Arc;
use tilewright_tensor::{DType, HostTensor, Shape};

/// Values of integer tensors are followed symbolically up to this many elements; shapes and axes are far smaller.
pub const MAX_FOLLOWED: usize = 4096;

/// The same where they are not all plain numbers. A shape has 8 of them, paddings twice as many.
const MAX_SYMBOLIC: usize = 64;

/// Data type, shape and known value of a tensor.
#[derive(Clone, Debug, PartialEq)]
pub struct Fact {
    /// Data type.
    pub dtype: DType,
    /// Sizes, outermost first.
    pub shape: Vec<Dim>,
    known: Option<Known>,
    range: Option<(i64, i64)>,
}

#[derive(Clone, Debug, PartialEq)]
enum Known {
    Constant(Weight),
    Dims(Arc<[Dim]>),
}

impl Fact {
    /// A tensor of which only type and shape are known.
    pub fn new(dtype: DType, shape: impl Into<Vec<Dim>>) -> Fact {
        Fact {
            dtype,
            shape: shape.into(),
            known: None,
            range: None,
        }
    }

    /// A tensor with a shape of plain numbers.
    pub fn sized(dtype: DType, shape: &[usize]) -> Fact {
        Fact::new(dtype, shape.iter().map(|&n| n.into()).collect::<Vec<_>>())
    }

    /// A constant.
    pub fn of(constant: impl Into<Weight>) -> Fact {
        let constant = constant.into();
        let fact = Fact::sized(constant.dtype(), constant.shape());
        Fact {
            known: Some(Known::Constant(constant)),
            ..fact
        }
    }

    /// An integer tensor whose elements are known as symbolic sizes.
    pub fn of_dims(dtype: DType, shape: &[usize], dims: Vec<Dim>) -> Fact {
        let plain: Option<Vec<i64>> = dims.iter().map(Dim::known).collect();
        let tensor = plain.and_then(|v| HostTensor::from_i64(dtype, shape, v).ok());
        let symbolic = (dims.len() <= MAX_SYMBOLIC).then(|| Known::Dims(dims.into()));
        Fact {
            known: tensor.map(|t| Known::Constant(t.into())).or(symbolic),
            ..Fact::sized(dtype, shape)
        }
    }

    /// States that all elements (integers) lie within `low..=high`.
    #[must_use]
    pub fn with_range(self, low: i64, high: i64) -> Fact {
        Fact {
            range: Some((low, high)),
            ..self
        }
    }

    /// Number of dimensions.
    pub fn rank(&self) -> usize {
        self.shape.len()
    }

    /// Number of elements.
    pub fn elements(&self) -> Dim {
        self.shape.iter().cloned().fold(1i64.into(), |a, b| a * b)
    }

    /// Number of elements: `u64::MAX` where it is not known or does not fit.
    pub fn count(&self) -> u64 {
        let sizes = self.shape.iter().map(|d| d.known().unwrap_or(i64::MAX));
        sizes.fold(1, |n: u64, d| n.saturating_mul(d.max(0) as u64))
    }

    /// Size of an axis: `u64::MAX` where it is not known, 1 where there is no such axis.
    pub fn extent(&self, axis: usize) -> u64 {
        let size = self.shape.get(axis).map_or(Some(1), Dim::known);
        size.map_or(u64::MAX, |n| n.max(0) as u64)
    }

    /// Refuses sizes whose product cannot be counted, empty ones and unknown ones left out: nobody behind this has to
    /// think of products that overflow.
    pub(crate) fn countable(&self) -> Result<()> {
        let known = self.shape.iter().filter_map(Dim::known);
        let sizes: Vec<usize> = known.filter_map(|n| n.try_into().ok()).collect();
        Shape::from(&sizes[..]).elements()?;
        Ok(())
    }

    /// Bytes of all elements, saturating as [`Fact::count`].
    pub fn bytes(&self) -> u64 {
        self.count().saturating_mul(self.dtype.size_bytes() as u64)
    }

    /// The shape, if no symbol is in it and no size is negative.
    pub fn known_shape(&self) -> Option<Vec<usize>> {
        self.shape
            .iter()
            .map(|d| d.known().and_then(|n| n.try_into().ok()))
            .collect()
    }

    /// The constant, if it is one.
    pub fn weight(&self) -> Option<&Weight> {
        match &self.known {
            Some(Known::Constant(w)) => Some(w),
            _ => None,
        }
    }

    /// The value, if the tensor is a constant that always is in host memory: all but large weights of floats or 8-bit integers
    /// ([`Weight::from_source`]).
    pub fn constant(&self) -> Option<&HostTensor> {
        self.weight()?.held()
    }

    /// The value of any constant, loaded if it is not in host memory; none for other tensors.
    ///
    /// # Errors
    /// Those of [`Weight::load`].
    pub fn load(&self) -> Result<Option<HostTensor>> {
        self.weight().map(Weight::load).transpose()
    }

    /// The elements of a constant of integers or booleans.
    pub fn ints(&self) -> Option<Vec<i64>> {
        self.constant()
            .filter(|t| !t.dtype().is_float())
            .and_then(|t| t.to_i64().ok())
    }

    /// The elements of an integer tensor as symbolic sizes, if they are followed.
    pub fn dims(&self) -> Option<Vec<Dim>> {
        match &self.known {
            Some(Known::Dims(d)) => Some(d.to_vec()),
            Some(Known::Constant(t)) if t.len() <= MAX_FOLLOWED => {
                Some(self.ints()?.into_iter().map(Dim::from).collect())
            }
            _ => None,
        }
    }

    /// True if the elements are followed but not all are plain numbers.
    pub fn is_symbolic(&self) -> bool {
        matches!(self.known, Some(Known::Dims(_)))
    }

    /// Bounds on the integer elements that hold for every run, if any are known.
    pub fn range(&self) -> Option<(i64, i64)> {
        use DType::*;
        if self.range.is_some() {
            return self.range;
        }
        match self.dtype {
            Bool => Some((0, 1)),
            I8 => Some((-128, 127)),
            U8 => Some((0, 255)),
            I16 => Some((-32768, 32767)),
            U16 => Some((0, 65535)),
            I32 => Some((i32::MIN.into(), i32::MAX.into())),
            U32 => Some((0, u32::MAX.into())),
            I4 => Some((-8, 7)),
            U4 => Some((0, 15)),
            I2 => Some((-2, 1)),
            U2 => Some((0, 3)),
            I64 => {
                let v = self.constant()?.as_slice::<i64>().ok()?;
                Some((*v.iter().min()?, *v.iter().max()?))
            }
            U64 => {
                let v = self.constant()?.as_slice::<u64>().ok()?;
                let [low, high] = [v.iter().min()?, v.iter().max()?];
                Some((i64::try_from(*low).ok()?, i64::try_from(*high).ok()?))
            }
            F16 | BF16 | F32 | F64 => None,
        }
    }

    /// The same fact with symbols replaced by their values.
    pub fn at(&self, bindings: &Bindings) -> Result<Fact> {
        let shape = self.bind(bindings)?;
        let known = match &self.known {
            Some(Known::Dims(d)) => {
                let dims = d.iter().map(|d| d.bind(bindings)).collect();
                return Ok(Fact::of_dims(self.dtype, &shape, dims));
            }
            known => known.clone(),
        };
        Ok(Fact {
            known,
            range: self.range,
            ..Fact::sized(self.dtype, &shape)
        })
    }

    /// The sizes with symbols replaced by their values.
    pub fn bind(&self, bindings: &Bindings) -> Result<Vec<usize>> {
        let sizes = self
            .shape
            .iter()
            .map(|d| {
                let n = d
                    .eval(bindings)
                    .map_err(|symbol| Error::Unbound { symbol })?;
                usize::try_from(n).map_err(|_| Error::Graph(format!("size {d} is {n}")))
            })
            .collect::<Result<Vec<_>>>()?;
        // Nobody behind this has to think of products that overflow.
        Shape::from(&sizes[..]).elements()?;
        Ok(sizes)
    }
}

impl fmt::Display for Fact {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}[", self.dtype)?;
        for (i, d) in self.shape.iter().enumerate() {
            write!(f, "{}{d}", if i > 0 { ", " } else { "" })?;
        }
        f.write_str("]")?;
        match &self.known {
            Some(Known::Dims(d)) => write!(f, " = {d:?}"),
            Some(Known::Constant(t)) if t.len() <= 8 && !t.dtype().is_float() => {
                write!(f, " = {:?}", self.ints().unwrap_or_default())
            }
            _ => Ok(()),
        }
    }
}

/// The inputs of an operator, some of which may be left out (an empty name in ONNX).
#[derive(Debug)]
pub struct Inputs<'a, T> {
    op: &'static str,
    list: &'a [Option<&'a T>],
}

impl<T> Clone for Inputs<'_, T> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<T> Copy for Inputs<'_, T> {}

impl<'a, T> Inputs<'a, T> {
    /// The inputs `list` of the operator `op`.
    pub fn new(op: &'static str, list: &'a [Option<&'a T>]) -> Inputs<'a, T> {
        Inputs { op, list }
    }

    /// The operator, for errors.
    pub fn op(&self) -> &'static str {
        self.op
    }

    /// How many there are, left-out ones included.
    pub fn len(&self) -> usize {
        self.list.len()
    }

    /// True if there is none.
    pub fn is_empty(&self) -> bool {
        self.list.is_empty()
    }

    /// Input `i`, or none if it was left out.
    pub fn opt(&self, i: usize) -> Option<&'a T> {
        self.list.get(i).copied().flatten()
    }

    /// Input `i`; an error if it was left out.
    pub fn req(&self, i: usize) -> Result<&'a T> {
        self.opt(i)
            .ok_or_else(|| Error::op(self.op, format!("input {i} is missing")))
    }

    /// All inputs; an error if one was left out.
    pub fn all(&self) -> Result<Vec<&'a T>> {
        (0..self.len()).map(|i| self.req(i)).collect()
    }

    /// An error of this operator.
    pub fn error(&self, what: impl Into<String>) -> Error {
        Error::op(self.op, what)
    }
}

/// Inputs of inference.
pub type Facts<'a> = Inputs<'a, Fact>;
/// Inputs of a reference evaluation.
pub type Tensors<'a> = Inputs<'a, HostTensor>;

/// Reading the values of shape-like inputs (axes, sizes, bounds), the same way in inference and in evaluation.
pub trait Values {
    /// The integers of input `i`, which may be left out. In inference: [`Error::NeedsValue`] if they are not known.
    fn opt_ints(&self, i: usize) -> Result<Option<Vec<i64>>>;

    /// The integers of input `i`.
    fn ints(&self, i: usize) -> Result<Vec<i64>>;

    /// The floats of input `i`, which may be left out.
    fn opt_floats(&self, i: usize) -> Result<Option<Vec<f64>>>;
}

impl Values for Facts<'_> {
    fn opt_ints(&self, i: usize) -> Result<Option<Vec<i64>>> {
        let Some(fact) = self.opt(i) else {
            return Ok(None);
        };
        if fact.dtype.is_float() {
            return Err(self.error(format!("input {i} must be integers, got {fact}")));
        }
        match fact.load()? {
            Some(t) => Ok(Some(t.to_i64()?)),
            None => Err(Error::NeedsValue {
                op: self.op,
                input: i,
            }),
        }
    }

    fn ints(&self, i: usize) -> Result<Vec<i64>> {
        self.req(i)?;
        Ok(self.opt_ints(i)?.unwrap_or_default())
    }

    fn opt_floats(&self, i: usize) -> Result<Option<Vec<f64>>> {
        let Some(fact) = self.opt(i) else {
            return Ok(None);
        };
        match fact.load()? {
            Some(t) => Ok(Some(t.to_f64())),
            None => Err(Error::NeedsValue {
                op: self.op,
                input: i,
            }),
        }
    }
}

impl Facts<'_> {
    /// An error if two of these sizes are known to differ.
    pub fn agree(&self, what: &str, sizes: &[&Dim]) -> Result<()> {
        let mut known = sizes.iter().filter_map(|d| d.known());
        let first = known.next();
        match known.find(|n| Some(*n) != first) {
            Some(other) => {
                Err(self.error(format!("{what} are {} and {other}", first.unwrap_or(0))))
            }
            None => Ok(()),
        }
    }

    /// The elements of input `i` as symbolic sizes, or [`Error::NeedsValue`].
    pub fn dims(&self, i: usize) -> Result<Vec<Dim>> {
        self.req(i)?.dims().ok_or(Error::NeedsValue {
            op: self.op,
            input: i,
        })
    }

    /// The elements of input `i` as symbolic sizes, if it was not left out.
    pub fn opt_dims(&self, i: usize) -> Result<Option<Vec<Dim>>> {
        if self.opt(i).is_none() {
            Ok(None)
        } else {
            self.dims(i).map(Some)
        }
    }
}

impl Values for Tensors<'_> {
    fn opt_ints(&self, i: usize) -> Result<Option<Vec<i64>>> {
        let Some(t) = self.opt(i) else {
            return Ok(None);
        };
        if t.dtype().is_float() {
            return Err(self.error(format!("input {i} must be integers, got {}", t.dtype())));
        }
        Ok(Some(t.to_i64()?))
    }

    fn ints(&self, i: usize) -> Result<Vec<i64>> {
        self.req(i)?;
        Ok(self.opt_ints(i)?.unwrap_or_default())
    }

    fn opt_floats(&self, i: usize) -> Result<Option<Vec<f64>>> {
        Ok(self.opt(i).map(HostTensor::to_f64))
    }
}

/// The index of `axis` (negative counts from the end) in a shape of `rank` dimensions.
pub fn axis_index(op: &str, axis: i64, rank: usize) -> Result<usize> {
    Shape::normalise_axis(axis, rank).map_err(|_| {
        let what = format!("axis {axis} is outside a tensor of {rank} dimensions");
        Error::op(op, what)
    })
}

/// The common shape of tensors that broadcast against each other (NumPy's rule).
pub fn broadcast(op: &str, shapes: &[&[Dim]]) -> Result<Vec<Dim>> {
    let rank = shapes.iter().map(|s| s.len()).max().unwrap_or(0);
    let mut out = vec![Dim::from(1i64); rank];
    for shape in shapes {
        for (o, d) in out[rank - shape.len()..].iter_mut().zip(*shape) {
            *o = match (o.known(), d.known()) {
                (Some(1), _) => d.clone(),
                (_, Some(1)) => o.clone(),
                _ if o == d => o.clone(),
                (Some(a), Some(b)) => {
                    return Err(Error::op(op, format!("sizes {a} and {b} do not broadcast")));
                }
                // A symbol against a number: the symbol must turn out to be that number or 1.
                (Some(_), None) => o.clone(),
                (None, Some(_)) => d.clone(),
                (None, None) => o.larger(d),
            };
        }
    }
    Ok(out)
}
