//! Bytes to a device and back.

use std::collections::VecDeque;
use std::sync::atomic::Ordering;

use crate::health::{Signalled, lock};
use crate::{Buffer, BufferUse, Error, Gpu, Result};

/// Bytes that writes may hold in staging memory before a submission starts their copies, and of one piece of a write.
const UPLOAD_CHUNK: usize = 32 << 20;
/// Bytes of one staging buffer of a read.
const READ_CHUNK: u64 = 16 << 20;
/// Smallest staging buffer, so that small reads of any size share one.
const READ_LEAST: u64 = 64 << 10;
/// Staging buffers in flight, and kept: one is copied from while the other is filled.
const STAGING: usize = 2;

/// A piece of a range of a read, in a staging buffer. All in bytes, copies in multiples of 4.
pub(crate) struct Piece {
    range: usize,
    from: u64,
    to: u64,
    bytes: u64,
    /// Bytes at the front that alignment added.
    skip: u64,
    /// Bytes wanted.
    take: u64,
}

impl Gpu {
    /// Writes bytes; work submitted later sees them. `offset` is a multiple of 4; where the length is
    /// not, the bytes up to the next multiple become zero. The copies of every 32 MiB are submitted, so that many writes,
    /// or a large one, do not hold all they write in staging memory as well.
    ///
    /// # Errors
    /// [`Error::Range`] outside of the buffer or unaligned, and the sticky error.
    pub fn write(&self, buffer: &Buffer, offset: u64, data: &[u8]) -> Result<()> {
        self.check()?;
        let bytes = data.len() as u64;
        buffer.check_range(self, "write", offset, bytes.next_multiple_of(4))?;
        if !offset.is_multiple_of(4) {
            return Err(buffer.range("write", offset, bytes, "not on a multiple of 4"));
        }
        self.doing("write", || {
            let (whole, rest) = data.split_at(data.len() & !3);
            let mut at = offset;
            for chunk in whole.chunks(UPLOAD_CHUNK) {
                self.stage(buffer, at, chunk);
                at += chunk.len() as u64;
            }
            if !rest.is_empty() {
                let mut word = [0; 4];
                word[..rest.len()].copy_from_slice(rest);
                self.stage(buffer, at, &word);
            }
        })
    }

    /// Copies bytes to staging memory, after submitting what is there if both were too much.
    fn stage(&self, buffer: &Buffer, at: u64, bytes: &[u8]) {
        let staged = self.staged().fetch_add(bytes.len(), Ordering::Relaxed);
        if staged > 0 && staged + bytes.len() > UPLOAD_CHUNK {
            self.submit(None);
            self.staged().store(bytes.len(), Ordering::Relaxed);
        }
        self.queue().write_buffer(buffer.raw(), at, bytes);
    }

    /// Submits commands, after the copies of what was written before.
    pub(crate) fn submit(&self, commands: Option<wgpu::CommandBuffer>) -> wgpu::SubmissionIndex {
        self.staged().store(0, Ordering::Relaxed);
        self.submissions().fetch_add(1, Ordering::Relaxed);
        self.queue().submit(commands)
    }

    /// Reads bytes, after everything submitted before. A [`BufferUse::Readback`] buffer is mapped itself.
    ///
    /// # Errors
    /// [`Error::Range`] outside of the buffer, and the sticky error.
    pub async fn read(&self, buffer: &Buffer, offset: u64, bytes: u64) -> Result<Vec<u8>> {
        let mut read = self.read_all(&[(buffer.clone(), offset, bytes)]).await?;
        Ok(read.pop().unwrap_or_default())
    }

    /// Reads several ranges `(buffer, offset, bytes)` in as few submissions as they fit in.
    ///
    /// # Errors
    /// As [`Gpu::read`].
    pub async fn read_all(&self, ranges: &[(Buffer, u64, u64)]) -> Result<Vec<Vec<u8>>> {
        Reading::new(self, ranges)?.finish().await
    }

    /// A staging buffer of at least so many bytes, kept from an earlier read where one is large enough.
    pub(crate) fn staging(&self, bytes: u64) -> Result<Buffer> {
        let mut pool = lock(self.staging_pool());
        if let Some(at) = pool.iter().position(|buffer| buffer.bytes() >= bytes) {
            return Ok(pool.swap_remove(at));
        }
        // A smaller one would never be taken again.
        pool.pop();
        drop(pool);
        self.buffer(
            bytes.next_power_of_two().max(READ_LEAST),
            BufferUse::Readback,
        )
    }

    /// Keeps an unmapped staging buffer for the next read.
    pub(crate) fn keep_staging(&self, staging: Buffer) {
        let mut pool = lock(self.staging_pool());
        if pool.len() < STAGING {
            pool.push(staging);
        }
    }
}

/// A chunk on its way to a staging buffer.
struct Flight {
    staging: Buffer,
    mapped: Signalled,
    chunk: Vec<Piece>,
}

/// A chunk and the staging buffer that it is copied to.
pub(crate) type Load = (Buffer, Vec<Piece>);

/// Ranges that are read.
pub(crate) struct Reading<'r> {
    gpu: &'r Gpu,
    ranges: &'r [(Buffer, u64, u64)],
    results: Vec<Vec<u8>>,
    /// What is not on its way yet.
    chunks: VecDeque<Vec<Piece>>,
    flying: VecDeque<Flight>,
}

impl<'r> Reading<'r> {
    /// Checks the ranges and makes room for their bytes.
    pub(crate) fn new(gpu: &'r Gpu, ranges: &'r [(Buffer, u64, u64)]) -> Result<Self> {
        gpu.check()?;
        let mut results: Vec<Vec<u8>> = Vec::with_capacity(ranges.len());
        let mut copied = Vec::new();
        for (i, (buffer, offset, bytes)) in ranges.iter().enumerate() {
            buffer.check_range(gpu, "read", *offset, *bytes)?;
            let mut result = Vec::new();
            let room = usize::try_from(*bytes)
                .ok()
                .filter(|n| result.try_reserve_exact(*n).is_ok());
            if room.is_none() {
                return Err(Error::OutOfMemory {
                    what: "bytes read back".into(),
                    bytes: *bytes,
                });
            }
            results.push(result);
            if *bytes > 0 && !is_mapped(buffer) {
                copied.push(i);
            }
        }
        Ok(Self {
            gpu,
            ranges,
            results,
            chunks: chunks(ranges, &copied).into(),
            flying: VecDeque::new(),
        })
    }

    /// Staging buffers for as many chunks as may be on their way at a time. The caller submits their [`Reading::copies`].
    pub(crate) fn load(&mut self) -> Result<Vec<Load>> {
        let room = STAGING.saturating_sub(self.flying.len());
        let some = self.chunks.drain(..room.min(self.chunks.len()));
        let load = |chunk: Vec<Piece>| {
            let bytes = chunk.last().map_or(0, |piece| piece.to + piece.bytes);
            Ok((self.gpu.staging(bytes)?, chunk))
        };
        some.map(load).collect()
    }

    /// From, to and bytes of the copies to a staging buffer.
    pub(crate) fn copies<'a>(
        &self,
        (staging, chunk): &'a Load,
    ) -> impl Iterator<Item = ((&'r Buffer, u64), (&'a Buffer, u64), u64)> + use<'a, 'r> {
        let ranges = self.ranges;
        chunk.iter().map(move |piece| {
            let from = (&ranges[piece.range].0, piece.from);
            (from, (staging, piece.to), piece.bytes)
        })
    }

    /// Maps what a submission copied.
    pub(crate) fn launched(&mut self, loads: Vec<Load>, submission: &wgpu::SubmissionIndex) {
        for (staging, chunk) in loads {
            let mapped = self.gpu.map(&staging, Some(submission.clone()));
            self.flying.push_back(Flight {
                staging,
                mapped,
                chunk,
            });
        }
    }

    /// The bytes, once all are here.
    pub(crate) async fn finish(mut self) -> Result<Vec<Vec<u8>>> {
        self.read_mapped().await?;
        loop {
            for load in self.load()? {
                let submission = self.gpu.doing("read", || self.submit(&load))?;
                self.launched(vec![load], &submission);
            }
            let Some(oldest) = self.flying.pop_front() else {
                break;
            };
            self.land(oldest).await?;
        }
        self.gpu.check()?;
        Ok(self.results)
    }

    /// Reads the buffers that are mapped themselves.
    async fn read_mapped(&mut self) -> Result<()> {
        for (i, (buffer, offset, bytes)) in self.ranges.iter().enumerate() {
            if *bytes == 0 || !is_mapped(buffer) {
                continue;
            }
            let mapped = buffer.map_once()?;
            let mapping = self.gpu.map(buffer, buffer.written());
            self.gpu.mapped(mapping).await?;
            let piece = Piece {
                range: i,
                from: 0,
                to: *offset,
                bytes: 0,
                skip: 0,
                take: *bytes,
            };
            unpack(buffer, &[piece], &mut self.results)?;
            drop(mapped);
        }
        Ok(())
    }

    /// Submits the copies to a staging buffer.
    fn submit(&self, load: &Load) -> wgpu::SubmissionIndex {
        let device = self.gpu.device();
        let mut encoder = device.create_command_encoder(&Default::default());
        for ((from, at), (to, to_at), bytes) in self.copies(load) {
            encoder.copy_buffer_to_buffer(from.raw(), at, to.raw(), to_at, bytes);
        }
        self.gpu.submit(Some(encoder.finish()))
    }

    /// Takes the bytes of a chunk out of its staging buffer.
    async fn land(&mut self, flight: Flight) -> Result<()> {
        self.gpu.mapped(flight.mapped).await?;
        unpack(&flight.staging, &flight.chunk, &mut self.results)?;
        flight.staging.raw().unmap();
        self.gpu.keep_staging(flight.staging);
        Ok(())
    }
}

/// Whether a buffer is mapped to be read, not copied from.
fn is_mapped(buffer: &Buffer) -> bool {
    buffer.raw().usage().contains(wgpu::BufferUsages::MAP_READ)
}

/// Cuts ranges into chunks of pieces that fit a staging buffer; several small ranges share one.
fn chunks(ranges: &[(Buffer, u64, u64)], which: &[usize]) -> Vec<Vec<Piece>> {
    let mut chunks: Vec<Vec<Piece>> = Vec::new();
    for &range in which {
        let (_, offset, bytes) = ranges[range];
        let mut from = offset & !3;
        let end = (offset + bytes).next_multiple_of(4);
        while from < end {
            let used = chunks
                .last()
                .and_then(|chunk| chunk.last())
                .map_or(0, |p| p.to + p.bytes);
            let fresh = chunks.is_empty() || used == READ_CHUNK;
            let to = if fresh { 0 } else { used };
            let copy = (end - from).min(READ_CHUNK - to);
            let skip = offset.saturating_sub(from);
            let take = (offset + bytes).min(from + copy) - (from + skip);
            let piece = Piece {
                range,
                from,
                to,
                bytes: copy,
                skip,
                take,
            };
            match chunks.last_mut() {
                Some(chunk) if !fresh => chunk.push(piece),
                _ => chunks.push(vec![piece]),
            }
            from += copy;
        }
    }
    chunks
}

/// Appends the pieces in a mapped buffer to their ranges' results.
fn unpack(staging: &Buffer, chunk: &[Piece], results: &mut [Vec<u8>]) -> Result<()> {
    for piece in chunk {
        let from = piece.to + piece.skip;
        // Mapped ranges begin on multiples of 8 and are multiples of 4 long.
        let start = from & !7;
        let end = (from + piece.take).next_multiple_of(4);
        let lost = |_| Error::DeviceLost {
            reason: "a mapped buffer cannot be read".into(),
        };
        let view = staging.raw().get_mapped_range(start..end).map_err(lost)?;
        let first = usize::try_from(from - start).unwrap_or_default();
        let last = first + usize::try_from(piece.take).unwrap_or_default();
        results[piece.range].extend_from_slice(&view[first..last]);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{GpuOptions, Recorder, SubmitOptions};

    /// The number of a submission made now; wgpu counts them and shows it only for debugging.
    fn submission(gpu: &Gpu) -> u64 {
        let text = format!("{:?}", gpu.submit(None));
        let digits: String = text.chars().filter(char::is_ascii_digit).collect();
        digits
            .parse()
            .unwrap_or_else(|_| panic!("no number in {text}"))
    }

    /// Submissions that writes of so many bytes each make.
    fn submissions(sizes: &[usize]) -> u64 {
        let gpu = pollster::block_on(Gpu::new(GpuOptions::new().noop())).unwrap();
        let buffer = gpu.buffer(128 << 20, BufferUse::Storage).unwrap();
        let before = submission(&gpu);
        for &size in sizes {
            gpu.write(&buffer, 0, &vec![0; size]).unwrap();
            assert!(gpu.staged().load(Ordering::Relaxed) <= UPLOAD_CHUNK);
        }
        submission(&gpu) - before - 1
    }

    #[test]
    fn a_run_is_one_submission_with_what_it_reads() {
        let gpu = pollster::block_on(Gpu::new(GpuOptions::new().noop())).unwrap();
        let [a, b] = [0, 1].map(|_| gpu.buffer(40 << 20, BufferUse::Storage).unwrap());
        let submissions = |ranges: &[(Buffer, u64, u64)]| {
            let before = gpu.submission_count();
            gpu.write(&a, 0, &[1; 64]).unwrap();
            let run = Recorder::new(&gpu).copy(&a, 0, &b, 0, 64);
            let read = pollster::block_on(run.submit_reading(SubmitOptions::new(), ranges));
            let lengths: Vec<_> = read.unwrap().iter().map(Vec::len).collect();
            let wanted: Vec<_> = ranges.iter().map(|range| range.2 as usize).collect();
            assert_eq!(lengths, wanted);
            gpu.submission_count() - before
        };
        assert_eq!(submissions(&[]), 1);
        assert_eq!(submissions(&[(b.clone(), 4, 60), (a.clone(), 3, 2)]), 1);
        // Two staging buffers go with the run, what does not fit them comes later.
        assert_eq!(submissions(&[(b.clone(), 0, 32 << 20)]), 1);
        assert_eq!(submissions(&[(b.clone(), 0, 40 << 20)]), 2);
    }

    #[test]
    fn writes_are_submitted_as_they_add_up() {
        const MIB: usize = 1 << 20;
        assert_eq!(submissions(&[MIB, 4, 3]), 0);
        assert_eq!(submissions(&[16 * MIB, 16 * MIB]), 0);
        assert_eq!(submissions(&[16 * MIB, 16 * MIB, 4]), 1);
        // Many small ones, pieces of exactly the bound, and one large one.
        assert_eq!(submissions(&[MIB; 100]), 3);
        assert_eq!(submissions(&[32 * MIB; 3]), 2);
        assert_eq!(submissions(&[100 * MIB + 1]), 3);
    }
}
