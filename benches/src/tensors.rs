//! Tensors on a device for kernels that are run without a graph.

use std::collections::HashMap;

use tilewright_device::{Buffer, BufferUse, Dispatch, Gpu, Replay, Result, Slot};

/// Buffers by slot.
#[derive(Debug, Default)]
pub struct Tensors(HashMap<Slot, Buffer>);

impl Tensors {
    /// Uploads the bytes of a slot, in place of what it held.
    ///
    /// # Errors
    /// Where memory is short.
    pub fn put(&mut self, gpu: &Gpu, slot: u32, bytes: &[u8]) -> Result<()> {
        // Kernels read whole vec4.
        let size = (bytes.len() as u64).max(1).next_multiple_of(16);
        let buffer = match self.0.get(&Slot(slot)) {
            Some(buffer) if buffer.bytes() == size => buffer.clone(),
            _ => gpu.buffer(size, BufferUse::Storage)?,
        };
        gpu.write(&buffer, 0, bytes)?;
        self.0.insert(Slot(slot), buffer);
        Ok(())
    }

    /// The f32 of a slot, which must hold `count`.
    ///
    /// # Errors
    /// What the device reports.
    pub fn floats(&self, gpu: &Gpu, slot: u32, count: usize) -> Result<Vec<f32>> {
        Ok(bytemuck::pod_collect_to_vec(&self.bytes(
            gpu,
            slot,
            4 * count,
        )?))
    }

    /// The first bytes of a slot; none of a slot that holds nothing.
    ///
    /// # Errors
    /// What the device reports.
    pub fn bytes(&self, gpu: &Gpu, slot: u32, count: usize) -> Result<Vec<u8>> {
        match self.0.get(&Slot(slot)) {
            Some(buffer) => pollster::block_on(gpu.read(buffer, 0, count as u64)),
            None => Ok(vec![]),
        }
    }

    /// Prepares dispatches over these tensors.
    ///
    /// # Errors
    /// What the device and its compiler report.
    pub fn bind(&self, gpu: &Gpu, dispatches: &[Dispatch]) -> Result<Replay> {
        pollster::block_on(gpu.bind(dispatches, |slot| self.place(slot)))
    }

    /// The buffer of a slot, and where its tensor begins.
    #[must_use]
    pub fn place(&self, slot: Slot) -> Option<(Buffer, u64)> {
        Some((self.0.get(&slot)?.clone(), 0))
    }
}
