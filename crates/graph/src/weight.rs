//! The data of constants: in host memory, or where it can be had again.
//!
//! A large constant with a [`WeightSource`] is loaded when somebody needs its data, and lives on the host as long as they do:
//! [`Weight::load`] gives everybody the same tensor meanwhile. Nothing has to be told when it is on the device.

use crate::{Error, Result};
use std::fmt;
use std::hash::{Hash, Hasher};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use tilewright_device::ThreadSafe;
use tilewright_tensor::{DType, HostTensor, Shape, StorageRef};

/// Constants up to this many bytes are loaded at once and stay: what they would save is not worth a read of a file.
pub const KEPT_BYTES: u64 = 4096;

/// What is made from what is made from weights, further than this, is held: making it again would take too long.
const MAX_DEPTH: u32 = 4;

/// Where the data of a constant can be had, at any time and more than once: a range of a file, bytes in memory, a callback.
pub trait WeightSource: fmt::Debug + ThreadSafe {
    /// The constant, of the type and the number of elements that [`Weight::from_source`] was told.
    ///
    /// # Errors
    /// [`Error::Weight`], which names the tensor and where its data was to come from.
    fn load(&self) -> Result<HostTensor>;

    /// Bytes of host memory that the source itself keeps for this constant; they count among
    /// [`crate::MemoryStats::host_weights`].
    fn held(&self) -> u64 {
        0
    }
}

/// The data of a constant. Clones and reshapes share it.
#[derive(Clone, Debug)]
pub struct Weight(Kind);

#[derive(Clone, Debug)]
enum Kind {
    Held(HostTensor),
    Lazy(Shape, Arc<Lazy>),
}

/// Data that is not always in host memory.
pub(crate) struct Lazy {
    dtype: DType,
    elements: usize,
    /// None for what is needed until it is on the device, and never again.
    source: Option<Box<dyn WeightSource>>,
    /// How many makings it is from data that has a place of its own.
    depth: u32,
    /// Held while the source is asked, so that the same data is not loaded twice at once. The state is free meanwhile.
    loading: Mutex<()>,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    kept: Option<HostTensor>,
    /// What was given last; somebody may still have it.
    given: Option<(StorageRef, Shape)>,
}

impl Weight {
    /// A constant of `dtype` and `shape` that `source` has. It is loaded now, and stays, if it has no more than
    /// [`KEPT_BYTES`], or integers of 16 bits or more or booleans: those are indices and sizes, whose values inference reads.
    ///
    /// # Errors
    /// [`Error::Tensor`] for impossible extents; those of the source, if it is loaded now.
    pub fn from_source(
        dtype: DType,
        shape: impl Into<Shape>,
        source: impl WeightSource + 'static,
    ) -> Result<Weight> {
        let shape = shape.into();
        let lazy = Lazy {
            dtype,
            elements: shape.elements()?,
            source: Some(Box::new(source)),
            depth: 0,
            loading: Mutex::default(),
            state: Mutex::default(),
        };
        let weight = Weight(Kind::Lazy(shape, Arc::new(lazy)));
        if Weight::waits(dtype, weight.bytes()) {
            return Ok(weight);
        }
        Ok(weight.load()?.into())
    }

    /// Whether [`Weight::from_source`] leaves a constant of so many bytes where it is.
    pub fn waits(dtype: DType, bytes: u64) -> bool {
        let only_data = dtype.is_float() || (dtype.is_int() && dtype.bits() <= 8);
        bytes > KEPT_BYTES && only_data
    }

    /// [`Weight::from_source`] of a callback, which is called whenever the data is needed and nobody else has it.
    ///
    /// # Errors
    /// As [`Weight::from_source`].
    pub fn from_fn(
        dtype: DType,
        shape: impl Into<Shape>,
        load: impl Fn() -> Result<HostTensor> + ThreadSafe + 'static,
    ) -> Result<Weight> {
        Weight::from_source(dtype, shape, Callback(load))
    }

    /// A tensor that is needed until it is on the device: [`Weight::forget`] drops it.
    pub(crate) fn until_uploaded(tensor: HostTensor) -> Weight {
        match tensor.bytes().len() as u64 <= KEPT_BYTES {
            true => tensor.into(),
            false => Weight::kept(tensor, None, 0),
        }
    }

    /// A tensor that `make` made from these constants, and can make again. It is held for good where they are, and until
    /// [`Weight::forget`] where they have sources. They are used for this, so that what is kept of them goes.
    pub(crate) fn made(
        from: Vec<Option<Weight>>,
        tensor: HostTensor,
        make: impl Fn(&[Option<&HostTensor>]) -> Result<HostTensor> + ThreadSafe + 'static,
    ) -> Weight {
        let lazy = from.iter().flatten().filter_map(|w| w.depth());
        let Some(depth) = lazy.max().filter(|depth| *depth < MAX_DEPTH) else {
            return tensor.into();
        };
        if !Weight::waits(tensor.dtype(), tensor.bytes().len() as u64) {
            return tensor.into();
        }
        from.iter().flatten().for_each(Weight::forget);
        Weight::kept(tensor, Some(Box::new(Made { from, make })), depth + 1)
    }

    fn kept(tensor: HostTensor, source: Option<Box<dyn WeightSource>>, depth: u32) -> Weight {
        let (shape, dtype) = (tensor.shape().clone(), tensor.dtype());
        let lazy = Lazy {
            dtype,
            elements: tensor.len(),
            source,
            depth,
            loading: Mutex::default(),
            state: Mutex::new(State {
                kept: Some(tensor),
                given: None,
            }),
        };
        Weight(Kind::Lazy(shape, Arc::new(lazy)))
    }

    /// See [`Lazy`]; none for what is held.
    fn depth(&self) -> Option<u32> {
        match &self.0 {
            Kind::Held(_) => None,
            Kind::Lazy(_, lazy) => Some(lazy.depth),
        }
    }

    /// The element type.
    pub fn dtype(&self) -> DType {
        match &self.0 {
            Kind::Held(t) => t.dtype(),
            Kind::Lazy(_, lazy) => lazy.dtype,
        }
    }

    /// The extents.
    pub fn shape(&self) -> &Shape {
        match &self.0 {
            Kind::Held(t) => t.shape(),
            Kind::Lazy(shape, _) => shape,
        }
    }

    /// The number of elements.
    pub fn len(&self) -> usize {
        match &self.0 {
            Kind::Held(t) => t.len(),
            Kind::Lazy(_, lazy) => lazy.elements,
        }
    }

    /// Whether there are no elements.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The number of bytes of the elements, wherever they are.
    pub fn bytes(&self) -> u64 {
        (self.len() as u64).saturating_mul(self.dtype().size_bytes() as u64)
    }

    /// The tensor, if it always is in host memory.
    pub fn held(&self) -> Option<&HostTensor> {
        match &self.0 {
            Kind::Held(t) => Some(t),
            Kind::Lazy(..) => None,
        }
    }

    /// The tensor, loaded unless somebody has it. It is in host memory until the last clone of it is dropped.
    ///
    /// # Errors
    /// Those of the source; [`Error::Weight`] for one that gives another tensor than was agreed.
    pub fn load(&self) -> Result<HostTensor> {
        match &self.0 {
            Kind::Held(t) => Ok(t.clone()),
            Kind::Lazy(shape, lazy) => Ok(lazy.load()?.reshape(shape)?),
        }
    }

    /// The same elements under another shape, without loading them.
    ///
    /// # Errors
    /// [`Error::Tensor`] where the number of elements differs.
    pub fn reshape(&self, shape: impl Into<Shape>) -> Result<Weight> {
        let shape = shape.into();
        match &self.0 {
            Kind::Held(t) => Ok(t.reshape(shape)?.into()),
            Kind::Lazy(_, lazy) if shape.elements()? == lazy.elements => {
                Ok(Weight(Kind::Lazy(shape, lazy.clone())))
            }
            Kind::Lazy(_, lazy) => Err(Error::Tensor(tilewright_tensor::Error::Length {
                unit: "elements",
                expected: shape.elements()?,
                got: lazy.elements,
                shape,
            })),
        }
    }

    /// What tells it from every other constant, for as long as the answer is kept.
    pub(crate) fn id(&self) -> WeightId {
        match &self.0 {
            Kind::Held(t) => WeightId::Held(t.storage_ref()),
            Kind::Lazy(_, lazy) => WeightId::Lazy(Arc::downgrade(lazy)),
        }
    }

    /// Drops what [`Weight::until_uploaded`] and [`Weight::made`] kept.
    pub(crate) fn forget(&self) {
        if let Kind::Lazy(_, lazy) = &self.0 {
            let mut state = lazy.state();
            if let Some(tensor) = state.kept.take() {
                state.given = Some((tensor.storage_ref(), tensor.shape().clone()));
            }
        }
    }

    /// Bytes of host memory that it takes now, its source included.
    pub(crate) fn host_bytes(&self) -> u64 {
        match &self.0 {
            Kind::Held(t) => t.bytes().len() as u64,
            Kind::Lazy(_, lazy) => {
                let own = lazy.state().found(lazy.dtype).map_or(0, |_| self.bytes());
                own + lazy.source.as_ref().map_or(0, |source| source.held())
            }
        }
    }
}

impl Lazy {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn load(&self) -> Result<HostTensor> {
        let found = || self.state().found(self.dtype);
        if let Some(found) = found() {
            return Ok(found);
        }
        let _loading = self.loading.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(found) = found() {
            return Ok(found);
        }
        let Some(source) = &self.source else {
            let what = "a packed constant is on the device and no longer on the host";
            return Err(Error::Graph(what.into()));
        };
        let tensor = source.load()?;
        if (tensor.dtype(), tensor.len()) != (self.dtype, self.elements) {
            let (dtype, elements) = (tensor.dtype(), tensor.len());
            let what = format!(
                "it gave {elements} elements of {dtype} instead of {} of {}",
                self.elements, self.dtype
            );
            let error = std::io::Error::new(std::io::ErrorKind::InvalidData, what);
            return Err(Error::weight("", &format!("{source:?}"), error));
        }
        self.state().given = Some((tensor.storage_ref(), tensor.shape().clone()));
        Ok(tensor)
    }
}

impl State {
    fn found(&self, dtype: DType) -> Option<HostTensor> {
        let given = || {
            let (storage, shape) = self.given.as_ref()?;
            storage.tensor(dtype, shape)
        };
        self.kept.clone().or_else(given)
    }
}

impl fmt::Debug for Lazy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Lazy")
            .field("dtype", &self.dtype)
            .field("source", &self.source)
            .finish_non_exhaustive()
    }
}

impl From<HostTensor> for Weight {
    /// A constant that stays in host memory.
    fn from(tensor: HostTensor) -> Weight {
        Weight(Kind::Held(tensor))
    }
}

/// Held ones by type, shape and bytes; others are equal only to themselves.
impl PartialEq for Weight {
    fn eq(&self, other: &Weight) -> bool {
        match (&self.0, &other.0) {
            (Kind::Held(a), Kind::Held(b)) => a == b,
            (Kind::Lazy(shape, a), Kind::Lazy(other, b)) => shape == other && Arc::ptr_eq(a, b),
            _ => false,
        }
    }
}

impl Eq for Weight {}

impl Hash for Weight {
    fn hash<H: Hasher>(&self, h: &mut H) {
        self.shape().to_vec().hash(h);
        match &self.0 {
            // Enough to tell most apart; equality looks at the bytes.
            Kind::Held(t) => t.bytes()[..t.bytes().len().min(64)].hash(h),
            Kind::Lazy(_, lazy) => Arc::as_ptr(lazy).hash(h),
        }
    }
}

/// Which data a constant has: equal for its clones and reshapes, different for any other, also for one that is made after this
/// one is gone. It does not keep the data.
#[derive(Clone, Debug)]
pub(crate) enum WeightId {
    Held(StorageRef),
    Lazy(Weak<Lazy>),
}

impl WeightId {
    /// Whether any constant still has the data. If not, none ever will.
    pub(crate) fn is_alive(&self) -> bool {
        match self {
            WeightId::Held(storage) => storage.is_alive(),
            WeightId::Lazy(lazy) => lazy.strong_count() > 0,
        }
    }
}

// The weak pointer keeps the address from being given to another, so it identifies one.
impl PartialEq for WeightId {
    fn eq(&self, other: &Self) -> bool {
        match (self, other) {
            (WeightId::Held(a), WeightId::Held(b)) => a == b,
            (WeightId::Lazy(a), WeightId::Lazy(b)) => a.ptr_eq(b),
            _ => false,
        }
    }
}

impl Eq for WeightId {}

impl Hash for WeightId {
    fn hash<H: Hasher>(&self, h: &mut H) {
        match self {
            WeightId::Held(storage) => storage.hash(h),
            WeightId::Lazy(lazy) => lazy.as_ptr().hash(h),
        }
    }
}

/// What is made from other weights.
struct Made<F> {
    from: Vec<Option<Weight>>,
    make: F,
}

impl<F> fmt::Debug for Made<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Made")
            .field("from", &self.from)
            .finish_non_exhaustive()
    }
}

impl<F: Fn(&[Option<&HostTensor>]) -> Result<HostTensor> + ThreadSafe> WeightSource for Made<F> {
    fn load(&self) -> Result<HostTensor> {
        let from = self
            .from
            .iter()
            .map(|w| w.as_ref().map(Weight::load).transpose());
        let from = from.collect::<Result<Vec<_>>>()?;
        (self.make)(&from.iter().map(Option::as_ref).collect::<Vec<_>>())
    }
}

struct Callback<F>(F);

impl<F> fmt::Debug for Callback<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a callback")
    }
}

impl<F: Fn() -> Result<HostTensor> + ThreadSafe> WeightSource for Callback<F> {
    fn load(&self) -> Result<HostTensor> {
        (self.0)()
    }
}

#[cfg(test)]
mod tests;
