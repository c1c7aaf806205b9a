//! Where a session keeps its states: in device buffers, or on the host for types without device storage.

use crate::convert::{from_device, to_device};
use crate::lower::storage;
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
    },
}

impl Cells {
    /// Every state at its initial value.
    pub(crate) fn new(graph: &Graph, gpu: Option<&Gpu>) -> Result<Cells> {
        let cell = |t: &HostTensor| {
            let Some(gpu) = gpu.filter(|_| storage(t.dtype()).is_some()) else {
                return Ok(Cell::Host(t.clone()));
            };
            let bytes = (4 * t.len() as u64).max(1).next_multiple_of(16);
            let buffer = gpu.buffer(bytes, BufferUse::Storage)?;
            gpu.write(&buffer, 0, &to_device(t, "state")?)?;
            Ok(Cell::Device {
                buffer,
                dtype: t.dtype(),
                shape: t.shape().to_vec(),
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
                }),
                Some(gpu),
            ) => {
                let bytes = 4 * shape.iter().product::<usize>() as u64;
                let data = if bytes == 0 {
                    vec![]
                } else {
                    gpu.read(buffer, 0, bytes).await?
                };
                from_device(&data, *dtype, shape)
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
        let fits = |dtype: DType, shape: &[usize]| {
            if (value.dtype(), &value.shape()[..]) == (dtype, shape) {
                return Ok(());
            }
            let got = format!("{}{:?}", value.dtype(), value.shape());
            Err(Error::Graph(format!(
                "a state of {dtype}{shape:?} cannot become {got}"
            )))
        };
        match (self.0.get_mut(index), gpu) {
            (Some(Cell::Host(t)), _) => {
                fits(t.dtype(), t.shape())?;
                *t = value.clone();
            }
            (
                Some(Cell::Device {
                    buffer,
                    dtype,
                    shape,
                }),
                Some(gpu),
            ) => {
                fits(*dtype, shape)?;
                gpu.write(buffer, 0, &to_device(value, "state")?)?;
            }
            _ => return Err(Error::Graph(format!("there is no state {index}"))),
        }
        Ok(())
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
        let copies = self.copies(commits, &arena);
        let recorder = copies.iter().fold(Recorder::new(gpu), |r, c| c.onto(r));
        if !copies.is_empty() {
            recorder.submit(SubmitOptions::new())?;
        }
        for commit in commits {
            if commit.slot.is_none() {
                let missing = || Error::Graph(format!("{} has no value", commit.value));
                let value = values.get(&commit.value).ok_or_else(missing)?;
                self.write(commit.state, value, Some(gpu))?;
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
            Cell::Device { buffer, shape, .. } => {
                let bytes = 4 * shape.iter().product::<usize>() as u64;
                let (from, to) = (arena(commit)?, (buffer.clone(), 0));
                (bytes > 0).then_some(Copied { from, to, bytes })
            }
            Cell::Host(_) => None,
        };
        commits.iter().filter_map(copy).collect()
    }
}
