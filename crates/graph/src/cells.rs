//! Where a session keeps its states: in device buffers, or on the host for types without device storage.

use crate::convert::{from_device, to_device};
use crate::lower::{is_stored, stored_bytes};
use crate::plan::Commit;
use crate::record::Copied;
use crate::{Error, Graph, Result, Value};
use std::collections::HashMap;
use tilewright_device::{Buffer, BufferUse, Gpu, Recorder, SubmitOptions};
use tilewright_tensor::{DType, HostTensor};

/// The states of one session, by index.
#[derive(Default)]
pub(crate) struct Cells(Vec<Cell>);

enum Cell {
    Host(HostTensor),
    Device {
        buffer: Buffer,
        dtype: DType,
        shape: Vec<usize>,
        /// Of its words.
        bytes: u64,
    },
}

impl Cells {
    /// Every state at its initial value.
    pub(crate) fn new(graph: &Graph, gpu: Option<&Gpu>) -> Result<Cells> {
        let cell = |t: &HostTensor| {
            let Some(gpu) = gpu.filter(|_| is_stored(t.dtype())) else {
                return Ok(Cell::Host(t.clone()));
            };
            let bytes = stored_bytes(t.dtype(), t.shape(), gpu.caps());
            let buffer = gpu.buffer(bytes.max(1).next_multiple_of(16), BufferUse::Storage)?;
            gpu.write(&buffer, 0, &to_device(t, "state", gpu.caps())?)?;
            Ok(Cell::Device {
                buffer,
                dtype: t.dtype(),
                shape: t.shape().to_vec(),
                bytes,
            })
        };
        graph
            .states()
            .iter()
            .map(|s| cell(&s.initial))
            .collect::<Result<_>>()
            .map(Cells)
    }

    /// The buffer of a state on the device.
    pub(crate) fn buffer(&self, index: usize) -> Option<&Buffer> {
        match self.0.get(index) {
            Some(Cell::Device { buffer, .. }) => Some(buffer),
            _ => None,
        }
    }

    /// The value of a state.
    pub(crate) async fn read(&self, index: usize, gpu: Option<&Gpu>) -> Result<HostTensor> {
        match (self.0.get(index), gpu) {
            (Some(Cell::Host(t)), _) => Ok(t.clone()),
            (
                Some(Cell::Device {
                    buffer,
                    dtype,
                    shape,
                    bytes,
                }),
                Some(gpu),
            ) => {
                let data = match *bytes {
                    0 => vec![],
                    bytes => gpu.read(buffer, 0, bytes).await?,
                };
                from_device(&data, *dtype, shape, gpu.caps())
            }
            _ => Err(Error::Graph(format!("there is no state {index}"))),
        }
    }

    /// Gives a state a value of its type and shape.
    pub(crate) fn write(
        &mut self,
        index: usize,
        value: &HostTensor,
        gpu: Option<&Gpu>,
    ) -> Result<()> {
        let data = self.fit(index, value, gpu)?;
        match (self.0.get_mut(index), data, gpu) {
            (Some(Cell::Device { buffer, .. }), Some(data), Some(gpu)) => {
                gpu.write(buffer, 0, &data)?
            }
            (Some(cell), None, _) => *cell = Cell::Host(value.clone()),
            _ => return Err(Error::Graph(format!("there is no state {index}"))),
        }
        Ok(())
    }

    /// What a state on the device is written with to take a value; an error where the value does not fit the state.
    fn fit(&self, index: usize, value: &HostTensor, gpu: Option<&Gpu>) -> Result<Option<Vec<u8>>> {
        let (dtype, shape) = match self.0.get(index) {
            Some(Cell::Host(t)) => (t.dtype(), &t.shape()[..]),
            Some(Cell::Device { dtype, shape, .. }) => (*dtype, &shape[..]),
            None => return Err(Error::Graph(format!("there is no state {index}"))),
        };
        if (value.dtype(), &value.shape()[..]) != (dtype, shape) {
            let got = format!("{}{:?}", value.dtype(), value.shape());
            let what = format!("a state of {dtype}{shape:?} cannot become {got}");
            return Err(Error::Graph(what));
        }
        match (self.0.get(index), gpu) {
            (Some(Cell::Device { .. }), Some(gpu)) => {
                Ok(Some(to_device(value, "state", gpu.caps())?.into()))
            }
            _ => Ok(None),
        }
    }

    /// All values, for a run on the host.
    pub(crate) fn host(&self) -> Vec<HostTensor> {
        let host = |c: &Cell| match c {
            Cell::Host(t) => Some(t.clone()),
            Cell::Device { .. } => None,
        };
        self.0.iter().filter_map(host).collect()
    }

    /// Ends a run: next values in the arena are copied, those on the host are written. `values` were all read before.
    pub(crate) fn commit(
        &mut self,
        commits: &[Commit],
        arena: impl Fn(&Commit) -> Option<(Buffer, u64)>,
        values: &HashMap<Value, HostTensor>,
        gpu: &Gpu,
    ) -> Result<()> {
        // Whatever can be wrong with a value is found before the first state changes.
        let mut writes = vec![];
        for commit in commits.iter().filter(|c| c.slot.is_none()) {
            let missing = || Error::Graph(format!("{} has no value", commit.value));
            let value = values.get(&commit.value).ok_or_else(missing)?;
            writes.push((
                commit.state,
                value,
                self.fit(commit.state, value, Some(gpu))?,
            ));
        }
        let copies = self.copies(commits, &arena);
        let recorder = copies.iter().fold(Recorder::new(gpu), |r, c| c.onto(r));
        if !copies.is_empty() {
            recorder.submit(SubmitOptions::new())?;
        }
        for (state, value, data) in writes {
            match (&mut self.0[state], data) {
                (Cell::Device { buffer, .. }, Some(data)) => gpu.write(buffer, 0, &data)?,
                (cell, _) => *cell = Cell::Host(value.clone()),
            }
        }
        Ok(())
    }

    /// The copies of next values in the arena.
    pub(crate) fn copies(
        &self,
        commits: &[Commit],
        arena: impl Fn(&Commit) -> Option<(Buffer, u64)>,
    ) -> Vec<Copied> {
        let copy = |commit: &Commit| match self.0.get(commit.state)? {
            Cell::Device { buffer, bytes, .. } => {
                let bytes = *bytes;
                let (from, to) = (arena(commit)?, (buffer.clone(), 0));
                (bytes > 0).then_some(Copied { from, to, bytes })
            }
            Cell::Host(_) => None,
        };
        commits.iter().filter_map(copy).collect()
    }
}
