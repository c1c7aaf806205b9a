//! What goes into a run and comes out of it: tensors on the host, and tensors in buffers of the caller.

use crate::convert::{from_device, to_device};
use crate::lower::{is_stored, stored_bytes};
use crate::record::Copied;
use crate::{Bindings, Error, Fact, Graph, Result, Value};
use std::sync::Arc;
use tilewright_device::{Buffer, BufferUse, Caps, Gpu};
use tilewright_tensor::{DType, HostTensor, Shape};

/// A tensor in a buffer of the caller, on the device of the model, one 4-byte word an element in row-major order:
/// f32 is f32; i64, i32, i16 and i8 are i32; u32, u16, u8 and bool (0 or 1) are u32. f16 takes two bytes an element where the
/// device has f16 ([`Caps::f16`]), and is f32 where it has not. Copies are of whole words: behind an odd number of f16 the
/// buffer needs two more bytes, which a run may overwrite.
///
/// A run copies it from or to its own memory, within the commands of the run: nothing crosses to the host. Buffers of
/// [`Buffer::from_wgpu`] need the usage `COPY_SRC` as inputs and `COPY_DST` as outputs.
#[derive(Clone, Debug)]
pub struct DeviceTensor {
    buffer: Buffer,
    offset: u64,
    dtype: DType,
    shape: Shape,
}

impl DeviceTensor {
    /// A tensor of `dtype` (the type that the model states) and `shape` at the start of `buffer`.
    pub fn new(buffer: Buffer, dtype: DType, shape: impl Into<Shape>) -> DeviceTensor {
        DeviceTensor {
            buffer,
            offset: 0,
            dtype,
            shape: shape.into(),
        }
    }

    /// The same from byte `offset` of the buffer, a multiple of 4.
    #[must_use]
    pub fn at(self, offset: u64) -> DeviceTensor {
        DeviceTensor { offset, ..self }
    }

    /// The buffer.
    pub fn buffer(&self) -> &Buffer {
        &self.buffer
    }

    /// Its first byte in the buffer.
    pub fn offset(&self) -> u64 {
        self.offset
    }

    /// Its type in the model.
    pub fn dtype(&self) -> DType {
        self.dtype
    }

    /// Its sizes.
    pub fn shape(&self) -> &Shape {
        &self.shape
    }

    /// Bytes it takes in a buffer of a device with these features, a multiple of 4. Saturates.
    pub fn bytes(&self, caps: &Caps) -> u64 {
        stored_bytes(self.dtype, &self.shape, caps)
    }

    /// Fills it with a tensor of the same type and shape.
    ///
    /// # Errors
    /// [`Error::Graph`] for another type or shape, [`Error::Narrowing`] for 64-bit integers that do not fit, and the device's.
    pub fn write(&self, gpu: &Gpu, tensor: &HostTensor) -> Result<()> {
        if (tensor.dtype(), tensor.shape()) != (self.dtype, &self.shape) {
            let (got, shape) = (tensor.dtype(), tensor.shape());
            let what = format!("{got}{shape} is no {}{}", self.dtype, self.shape);
            return Err(Error::Graph(what));
        }
        if self.bytes(gpu.caps()) > 0 {
            let data = to_device(tensor, "tensor", gpu.caps())?;
            gpu.write(&self.buffer, self.offset, &data)?;
        }
        Ok(())
    }

    /// Its value, after everything submitted before.
    ///
    /// # Errors
    /// [`Error::Storage`] for a type that the device does not store, and the device's.
    pub async fn read(&self, gpu: &Gpu) -> Result<HostTensor> {
        let data = match self.bytes(gpu.caps()) {
            0 => vec![],
            bytes => gpu.read(&self.buffer, self.offset, bytes).await?,
        };
        from_device(&data, self.dtype, &self.shape, gpu.caps())
    }

    /// Whether bytes are of both.
    fn overlaps(&self, other: &DeviceTensor, caps: &Caps) -> bool {
        let end = |t: &DeviceTensor| t.offset.saturating_add(t.bytes(caps));
        let (first, last) = (self.offset.max(other.offset), end(self).min(end(other)));
        self.buffer == other.buffer && first < last
    }

    /// What is wrong with the buffer, if anything is.
    fn flaw(&self, caps: &Caps) -> Option<String> {
        let (bytes, size) = (self.bytes(caps), self.buffer.bytes());
        if !is_stored(self.dtype) {
            return Some(format!("{} has no device storage", self.dtype));
        }
        if !self.offset.is_multiple_of(4) {
            let offset = self.offset;
            return Some(format!("begins at byte {offset}, not a multiple of 4"));
        }
        let end = self.offset.saturating_add(bytes);
        (end > size).then(|| {
            let (dtype, shape, offset) = (self.dtype, &self.shape, self.offset);
            format!(
                "{dtype}{shape} takes {bytes} bytes from byte {offset} on, the buffer has {size}"
            )
        })
    }
}

/// An input of a run: on the host, or in a buffer of the caller.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum Feed {
    /// Copied to the device where it is needed there.
    Host(HostTensor),
    /// Copied on the device; read back only where a node on the host reads it.
    Device(DeviceTensor),
}

impl From<HostTensor> for Feed {
    fn from(tensor: HostTensor) -> Feed {
        Feed::Host(tensor)
    }
}

impl From<DeviceTensor> for Feed {
    fn from(tensor: DeviceTensor) -> Feed {
        Feed::Device(tensor)
    }
}

impl Feed {
    /// Its type in the model.
    pub fn dtype(&self) -> DType {
        match self {
            Feed::Host(t) => t.dtype(),
            Feed::Device(t) => t.dtype(),
        }
    }

    /// Its sizes.
    pub fn shape(&self) -> &Shape {
        match self {
            Feed::Host(t) => t.shape(),
            Feed::Device(t) => t.shape(),
        }
    }
}

/// The inputs of a run, and the buffers that take its outputs, by name.
#[derive(Clone, Debug, Default)]
pub struct IoBinding {
    inputs: Vec<(String, Feed)>,
    outputs: Vec<(String, DeviceTensor)>,
}

impl IoBinding {
    /// No inputs, and every output to the host.
    #[must_use]
    pub fn new() -> IoBinding {
        IoBinding::default()
    }

    /// Gives an input: a [`HostTensor`] or a [`DeviceTensor`].
    #[must_use]
    pub fn input(mut self, name: &str, feed: impl Into<Feed>) -> IoBinding {
        self.inputs.push((name.into(), feed.into()));
        self
    }

    /// Puts an output into a buffer; it is not read back.
    #[must_use]
    pub fn output(mut self, name: &str, tensor: DeviceTensor) -> IoBinding {
        self.outputs.push((name.into(), tensor));
        self
    }

    /// Inputs and outputs in the graph's order, for a model on a device with these features.
    pub(crate) fn wires(self, graph: &Graph, caps: Option<&Caps>) -> Result<Wires> {
        let feeds = order(graph, self.inputs)?;
        for (name, t) in graph.inputs().iter().map(|(n, _)| n).zip(&feeds) {
            if let Feed::Device(t) = t
                && let Some(what) = caps.and_then(|caps| t.flaw(caps))
            {
                return Err(input_error(name, what));
            }
        }
        let mut sinks = vec![None; graph.outputs().len()];
        for (name, t) in self.outputs {
            let at = graph.outputs().iter().position(|(n, _)| **n == *name);
            let Some(at) = at else {
                return Err(output_error(&name, "the model has no such output"));
            };
            if let Some(what) = caps.and_then(|caps| t.flaw(caps)) {
                return Err(output_error(&name, what));
            }
            if sinks[at].replace(t).is_some() {
                return Err(output_error(&name, "is bound twice"));
            }
        }
        Ok(Wires { feeds, sinks })
    }
}

/// What goes into a graph, and where outputs go that do not go to the host, in the graph's order.
#[derive(Clone, Debug)]
pub(crate) struct Wires {
    pub(crate) feeds: Vec<Feed>,
    pub(crate) sinks: Vec<Option<DeviceTensor>>,
}

impl Wires {
    /// From the host and back.
    pub(crate) fn host(graph: &Graph, inputs: impl IntoIterator<Item = HostTensor>) -> Wires {
        Wires {
            feeds: inputs.into_iter().map(Feed::Host).collect(),
            sinks: vec![None; graph.outputs().len()],
        }
    }

    /// The inputs, all of which must be on the host; so must be the outputs.
    pub(crate) fn all_host(self, graph: &Graph) -> Result<Vec<HostTensor>> {
        const WHAT: &str = "is in a buffer, but the model runs on the host";
        let bound = self.sinks.iter().position(Option::is_some);
        if let Some((name, _)) = bound.and_then(|at| graph.outputs().get(at)) {
            return Err(output_error(name, WHAT));
        }
        let names = graph.inputs().iter().map(|(n, _)| n);
        let host = |(feed, name): (Feed, &Arc<str>)| match feed {
            Feed::Host(t) => Ok(t),
            Feed::Device(_) => Err(input_error(name, WHAT)),
        };
        self.feeds.into_iter().zip(names).map(host).collect()
    }

    /// Puts copies in the place of inputs in buffers that outputs go to as well; what is to be copied before the run.
    pub(crate) fn keep_feeds(&mut self, graph: &Graph, gpu: &Gpu) -> Result<Vec<Copied>> {
        let mut copies = vec![];
        for (feed, (_, input)) in self.feeds.iter_mut().zip(graph.inputs()) {
            let Feed::Device(t) = feed else { continue };
            // No command copies within a buffer, which is what an output that is an input would take.
            let mut sinks = graph.outputs().iter().zip(&self.sinks);
            let in_the_way = |sink: &DeviceTensor, output: &Value| {
                sink.overlaps(t, gpu.caps()) || (output == input && sink.buffer == t.buffer)
            };
            if !sinks.any(|((_, v), sink)| sink.as_ref().is_some_and(|s| in_the_way(s, v))) {
                continue;
            }
            let bytes = t.bytes(gpu.caps());
            let own = gpu.buffer(bytes, BufferUse::Storage)?;
            let from = (t.buffer.clone(), t.offset);
            let to = (own.clone(), 0);
            copies.push(Copied { from, to, bytes });
            *feed = Feed::Device(DeviceTensor::new(own, t.dtype, t.shape.clone()));
        }
        Ok(copies)
    }

    /// Whether outputs fit the buffers they are bound to; those whose shapes are not known yet are left for later.
    pub(crate) fn check_sinks(&self, graph: &Graph, bindings: &Bindings) -> Result<()> {
        for ((name, v), sink) in graph.outputs().iter().zip(&self.sinks) {
            if let (Some(sink), Some(fact)) = (sink, graph.fact(*v)) {
                fits(name, sink, fact.dtype, &fact.bind(bindings)?)?;
            }
        }
        Ok(())
    }
}

/// Whether the output `name` is what its buffer was bound as.
pub(crate) fn fits(name: &str, sink: &DeviceTensor, dtype: DType, shape: &[usize]) -> Result<()> {
    if (sink.dtype, &sink.shape[..]) == (dtype, shape) {
        return Ok(());
    }
    let got = format!("{dtype}{shape:?}, bound as {}{}", sink.dtype, sink.shape);
    Err(output_error(name, format!("is {got}")))
}

pub(crate) fn input_error(name: &str, what: impl Into<String>) -> Error {
    Error::Input {
        name: name.into(),
        what: what.into(),
    }
}

pub(crate) fn output_error(name: &str, what: impl Into<String>) -> Error {
    Error::Output {
        name: name.into(),
        what: what.into(),
    }
}

/// Inputs in the graph's order.
fn order(graph: &Graph, mut inputs: Vec<(String, Feed)>) -> Result<Vec<Feed>> {
    for (i, (name, _)) in inputs.iter().enumerate() {
        if !graph.inputs().iter().any(|(n, _)| **n == **name) {
            return Err(input_error(name, "the model has no such input"));
        }
        if inputs[..i].iter().any(|(n, _)| n == name) {
            return Err(input_error(name, "is given twice"));
        }
    }
    let mut take = |name: &Arc<str>| {
        let at = inputs.iter().position(|(n, _)| **n == **name)?;
        Some(inputs.swap_remove(at).1)
    };
    let names = graph.inputs().iter().map(|(name, _)| name);
    names
        .map(|name| take(name).ok_or_else(|| input_error(name, "is missing")))
        .collect()
}

/// The sizes that the inputs bind; an error where they contradict the graph.
pub(crate) fn checked(graph: &Graph, feeds: &[Feed]) -> Result<Bindings> {
    for ((name, v), t) in graph.inputs().iter().zip(feeds) {
        if let Some(dtype) = graph.dtype(*v).filter(|dtype| *dtype != t.dtype()) {
            let what = format!("must be {dtype}, got {}", t.dtype());
            return Err(input_error(name, what));
        }
    }
    let shapes: Vec<&[usize]> = feeds.iter().map(|t| &t.shape()[..]).collect();
    let mut bindings = sizes(graph, &shapes)?;
    for ((name, v), feed) in graph.inputs().iter().zip(feeds) {
        if let (Some(fact), Feed::Host(t)) = (graph.fact(*v), feed)
            && fact.is_symbolic()
        {
            bind_values(name, fact, t, &mut bindings)?;
        }
    }
    Ok(bindings)
}

/// The symbols that the values of an input bind.
fn bind_values(name: &str, fact: &Fact, t: &HostTensor, bindings: &mut Bindings) -> Result<()> {
    for (d, n) in fact.dims().unwrap_or_default().iter().zip(t.to_i64()?) {
        let Some(symbol) = d.as_symbol() else {
            continue;
        };
        let before = bindings.set(symbol.clone(), n).unwrap_or(n);
        if before != n || n < symbol.least() {
            return Err(input_error(name, format!("has {n} where {d} was planned")));
        }
    }
    Ok(())
}

/// The sizes that inputs of these shapes bind, given by name; an error where they contradict the graph.
pub(crate) fn shaped(graph: &Graph, shapes: &[(&str, &[usize])]) -> Result<Bindings> {
    for (i, (name, _)) in shapes.iter().enumerate() {
        if !graph.inputs().iter().any(|(n, _)| **n == **name) {
            return Err(input_error(name, "the model has no such input"));
        }
        if shapes[..i].iter().any(|(n, _)| n == name) {
            return Err(input_error(name, "is given twice"));
        }
    }
    let find = |name: &str| shapes.iter().find(|(n, _)| *n == name).map(|(_, s)| *s);
    let ordered = graph
        .inputs()
        .iter()
        .map(|(name, _)| find(name).ok_or_else(|| input_error(name, "is missing")));
    sizes(graph, &ordered.collect::<Result<Vec<_>>>()?)
}

fn sizes(graph: &Graph, shapes: &[&[usize]]) -> Result<Bindings> {
    let mut bindings = Bindings::default();
    for ((name, v), shape) in graph.inputs().iter().zip(shapes) {
        let Some(fact) = graph.fact(*v) else { continue };
        if fact.rank() != shape.len() {
            let what = format!("must be {fact}, got a shape of {shape:?}");
            return Err(input_error(name, what));
        }
        for (d, &n) in fact.shape.iter().zip(*shape) {
            let n = n as i64;
            let Some(symbol) = d.as_symbol() else {
                continue;
            };
            let least = symbol.least();
            if n < least {
                let what = format!(
                    "size {d} is {n}, but the graph was made for sizes of at least {least} (see Symbol::maybe_empty)"
                );
                return Err(input_error(name, what));
            }
            if let Some(before) = bindings
                .set(symbol.clone(), n)
                .filter(|&before| before != n)
            {
                let what = format!("size {d} is {n} here and {before} elsewhere");
                return Err(input_error(name, what));
            }
        }
    }
    for ((name, v), shape) in graph.inputs().iter().zip(shapes) {
        let Some(fact) = graph.fact(*v) else { continue };
        if fact.bind(&bindings)? != **shape {
            let what = format!("must be {fact}, got a shape of {shape:?}");
            return Err(input_error(name, what));
        }
    }
    Ok(bindings)
}
