//! Buffers and what they add up to.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use crate::health::lock;
use crate::{Error, Gpu, Result};

/// What a buffer is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum BufferUse {
    /// Operands of shaders; can be copied from and to.
    Storage,
    /// Can be copied to, and read by the host without another copy.
    Readback,
    /// Can be copied from, and written by the host.
    Upload,
}

/// A buffer on a device; a clone is the same buffer. It is freed with its last clone.
#[derive(Debug, Clone)]
pub struct Buffer {
    raw: wgpu::Buffer,
    /// Given back when the last clone is dropped; `None` for an embedder's buffer.
    charge: Option<Arc<Charge>>,
}

/// What the buffers of a device add up to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct MemoryStats {
    /// Bytes held now.
    pub bytes: u64,
    /// Most bytes held at one time.
    pub peak_bytes: u64,
    /// Buffers held now.
    pub buffers: u64,
}

/// The account of a device.
#[derive(Debug)]
pub(crate) struct Memory {
    limit: u64,
    bytes: AtomicU64,
    peak: AtomicU64,
    buffers: AtomicU64,
}

#[derive(Debug)]
struct Charge {
    memory: Arc<Memory>,
    bytes: u64,
    /// Whether a read maps the buffer itself at the moment.
    mapped: AtomicBool,
    /// The submission that a read of it has to wait for, where known.
    written: Mutex<Option<wgpu::SubmissionIndex>>,
}

/// A read-back buffer while it is mapped; unmaps it at the end, also where the read is dropped.
pub(crate) struct MapGuard<'a>(&'a Buffer);

impl Buffer {
    /// An embedder's buffer as an operand. It must be of the same device; binding it needs the usage
    /// `STORAGE`, reading and copying `COPY_SRC` and `COPY_DST`. It counts in no [`MemoryStats`].
    #[must_use]
    pub fn from_wgpu(raw: wgpu::Buffer) -> Self {
        Self { raw, charge: None }
    }

    /// The buffer itself.
    #[must_use]
    pub fn raw(&self) -> &wgpu::Buffer {
        &self.raw
    }

    /// Its size: what was asked for, rounded up to 16.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.raw.size()
    }

    /// Claims the buffer for one mapping.
    pub(crate) fn map_once(&self) -> Result<MapGuard<'_>> {
        match &self.charge {
            Some(charge) if charge.mapped.swap(true, Ordering::AcqRel) => Err(self.range(
                "read",
                0,
                self.bytes(),
                "another read of the buffer is under way",
            )),
            _ => Ok(MapGuard(self)),
        }
    }

    /// Notes the submission that writes a read-back buffer.
    pub(crate) fn set_written(&self, submission: &wgpu::SubmissionIndex) {
        if let Some(charge) = &self.charge
            && self.raw.usage().contains(wgpu::BufferUsages::MAP_READ)
        {
            *lock(&charge.written) = Some(submission.clone());
        }
    }

    /// The submission that writes a read-back buffer; the last one there is, where `None`.
    pub(crate) fn written(&self) -> Option<wgpu::SubmissionIndex> {
        lock(&self.charge.as_ref()?.written).clone()
    }

    /// Whether a range lies in the buffer, and the buffer on the device. Handles of another device
    /// would name some object of this one.
    pub(crate) fn check_range(
        &self,
        gpu: &Gpu,
        what: &'static str,
        offset: u64,
        bytes: u64,
    ) -> Result<()> {
        let other = |charge: &Arc<Charge>| !Arc::ptr_eq(&charge.memory, gpu.memory());
        if self.charge.as_ref().is_some_and(other) {
            return Err(self.range(what, offset, bytes, "of another device"));
        }
        if offset
            .checked_add(bytes)
            .is_some_and(|end| end <= self.bytes())
        {
            return Ok(());
        }
        Err(self.range(what, offset, bytes, "beyond its end"))
    }

    pub(crate) fn range(
        &self,
        what: &'static str,
        offset: u64,
        bytes: u64,
        message: &'static str,
    ) -> Error {
        Error::Range {
            what,
            offset,
            bytes,
            size: self.bytes(),
            message,
        }
    }
}

/// The same buffer, not the same contents.
impl PartialEq for Buffer {
    fn eq(&self, other: &Self) -> bool {
        self.raw == other.raw
    }
}

impl Eq for Buffer {}

impl Gpu {
    /// A buffer of at least `bytes` bytes, rounded up to 16, filled with zeros.
    ///
    /// # Errors
    /// [`Error::TooLarge`] over the device's limit, [`Error::OutOfMemory`] where there is no memory
    /// (in a browser that is told by a later call) or the `memory_limit` would be passed, and the
    /// device's sticky error.
    pub fn buffer(&self, bytes: u64, purpose: BufferUse) -> Result<Buffer> {
        self.check()?;
        let limit = self.caps().limits.buffer_bytes;
        let what = match purpose {
            BufferUse::Storage => "a storage buffer",
            BufferUse::Readback => "a read-back buffer",
            BufferUse::Upload => "an upload buffer",
        };
        let size = bytes
            .max(1)
            .checked_next_multiple_of(16)
            .filter(|size| *size <= limit);
        let Some(size) = size else {
            return Err(Error::TooLarge {
                what: what.into(),
                bytes,
                limit,
            });
        };
        let charge = self.memory().charge(what, size)?;
        let usage = match purpose {
            BufferUse::Storage => {
                wgpu::BufferUsages::STORAGE
                    | wgpu::BufferUsages::COPY_SRC
                    | wgpu::BufferUsages::COPY_DST
            }
            BufferUse::Readback => wgpu::BufferUsages::MAP_READ | wgpu::BufferUsages::COPY_DST,
            BufferUse::Upload => wgpu::BufferUsages::MAP_WRITE | wgpu::BufferUsages::COPY_SRC,
        };
        let raw = self.raw_buffer(what, size, usage)?;
        Ok(Buffer {
            raw,
            charge: Some(Arc::new(charge)),
        })
    }

    /// Creates a buffer that counts in no account.
    pub(crate) fn raw_buffer(
        &self,
        what: &str,
        size: u64,
        usage: wgpu::BufferUsages,
    ) -> Result<wgpu::Buffer> {
        let descriptor = wgpu::BufferDescriptor {
            label: Some(what),
            size,
            usage,
            mapped_at_creation: false,
        };
        self.creating(what, size, || self.device().create_buffer(&descriptor))
    }

    /// What the buffers made by [`Gpu::buffer`] add up to.
    #[must_use]
    pub fn memory_stats(&self) -> MemoryStats {
        let memory = self.memory();
        MemoryStats {
            bytes: memory.bytes.load(Ordering::Relaxed),
            peak_bytes: memory.peak.load(Ordering::Relaxed),
            buffers: memory.buffers.load(Ordering::Relaxed),
        }
    }
}

impl Memory {
    pub(crate) fn new(limit: Option<u64>) -> Arc<Self> {
        let limit = limit.unwrap_or(u64::MAX);
        let (bytes, peak, buffers) = Default::default();
        Arc::new(Self {
            limit,
            bytes,
            peak,
            buffers,
        })
    }

    fn charge(self: &Arc<Self>, what: &str, bytes: u64) -> Result<Charge> {
        let add = |held: u64| held.checked_add(bytes).filter(|held| *held <= self.limit);
        let held = self
            .bytes
            .try_update(Ordering::Relaxed, Ordering::Relaxed, add);
        let Ok(held) = held else {
            let what = format!("{what} (the memory limit is {} bytes)", self.limit);
            return Err(Error::OutOfMemory { what, bytes });
        };
        self.peak.fetch_max(held + bytes, Ordering::Relaxed);
        self.buffers.fetch_add(1, Ordering::Relaxed);
        Ok(Charge {
            memory: self.clone(),
            bytes,
            mapped: AtomicBool::new(false),
            written: Mutex::default(),
        })
    }
}

impl Drop for MapGuard<'_> {
    fn drop(&mut self) {
        self.0.raw.unmap();
        if let Some(charge) = &self.0.charge {
            charge.mapped.store(false, Ordering::Release);
        }
    }
}

impl Drop for Charge {
    fn drop(&mut self) {
        self.memory.bytes.fetch_sub(self.bytes, Ordering::Relaxed);
        self.memory.buffers.fetch_sub(1, Ordering::Relaxed);
    }
}
