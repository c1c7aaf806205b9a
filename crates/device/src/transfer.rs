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
struct Piece {
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
        self.check()?;
        let mut results: Vec<Vec<u8>> = Vec::with_capacity(ranges.len());
        let mut copied = Vec::new();
        for (i, (buffer, offset, bytes)) in ranges.iter().enumerate() {
            buffer.check_range(self, "read", *offset, *bytes)?;
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
            if *bytes > 0 && buffer.raw().usage().contains(wgpu::BufferUsages::MAP_READ) {
                let mapped = buffer.map_once()?;
                self.mapped(self.map(buffer, buffer.written())).await?;
                let piece = Piece {
                    range: i,
                    from: 0,
                    to: *offset,
                    bytes: 0,
                    skip: 0,
                    take: *bytes,
                };
                unpack(buffer, &[piece], &mut results)?;
                drop(mapped);
            } else if *bytes > 0 {
                copied.push(i);
            }
        }
        let mut flying = VecDeque::new();
        for chunk in chunks(ranges, &copied) {
            if flying.len() == STAGING
                && let Some(oldest) = flying.pop_front()
            {
                self.land(oldest, &mut results).await?;
            }
            flying.push_back(self.launch(ranges, chunk)?);
        }
        while let Some(oldest) = flying.pop_front() {
            self.land(oldest, &mut results).await?;
        }
        self.check()?;
        Ok(results)
    }

    /// Submits the copies of one chunk to a staging buffer and maps it.
    fn launch(&self, ranges: &[(Buffer, u64, u64)], chunk: Vec<Piece>) -> Result<Flight> {
        let bytes = chunk.last().map_or(0, |piece| piece.to + piece.bytes);
        let staging = self.staging(bytes)?;
        let submission = self.doing("read", || {
            let mut encoder = self.device().create_command_encoder(&Default::default());
            for piece in &chunk {
                let from = ranges[piece.range].0.raw();
                encoder.copy_buffer_to_buffer(
                    from,
                    piece.from,
                    staging.raw(),
                    piece.to,
                    piece.bytes,
                );
            }
            self.submit(Some(encoder.finish()))
        })?;
        let mapped = self.map(&staging, Some(submission));
        Ok(Flight {
            staging,
            mapped,
            chunk,
        })
    }

    /// Takes the bytes of a chunk out of its staging buffer.
    async fn land(&self, flight: Flight, results: &mut [Vec<u8>]) -> Result<()> {
        self.mapped(flight.mapped).await?;
        unpack(&flight.staging, &flight.chunk, results)?;
        flight.staging.raw().unmap();
        self.keep_staging(flight.staging);
        Ok(())
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

struct Flight {
    staging: Buffer,
    mapped: Signalled,
    chunk: Vec<Piece>,
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
    use crate::GpuOptions;

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
