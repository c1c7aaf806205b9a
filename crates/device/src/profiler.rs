//! How long each dispatch of a replay takes.

use crate::{Buffer, Error, Gpu, Replay, Result};

/// Timestamps of one query set (WebGPU allows 4096).
const QUERIES: u32 = 4096;

/// The time of one dispatch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct Timing {
    /// The step of the replay: see [`Replay::program`].
    pub step: usize,
    /// What the caller knows the step by.
    pub label: u32,
    /// From the start of its pass to its end, in nanoseconds. Browsers round it, some to 100 us.
    pub nanoseconds: u64,
}

/// Times dispatches with timestamp queries.
#[derive(Debug)]
pub struct Profiler {
    gpu: Gpu,
    queries: wgpu::QuerySet,
    /// Timestamps as the queries give them: 8 bytes each.
    resolved: Buffer,
}

impl Profiler {
    /// A profiler for one device.
    ///
    /// # Errors
    /// [`Error::Unsupported`] where the device has no timestamp queries, [`Error::OutOfMemory`].
    pub fn new(gpu: &Gpu) -> Result<Self> {
        gpu.check()?;
        if !gpu.caps().timestamps {
            return Err(Error::Unsupported {
                what: "timestamp queries",
            });
        }
        let bytes = u64::from(QUERIES) * 8;
        let queries = gpu.creating("timestamps", bytes, || {
            gpu.device().create_query_set(&wgpu::QuerySetDescriptor {
                label: Some("timestamps"),
                ty: wgpu::QueryType::Timestamp,
                count: QUERIES,
            })
        })?;
        let usage = wgpu::BufferUsages::QUERY_RESOLVE | wgpu::BufferUsages::COPY_SRC;
        let resolved = Buffer::from_wgpu(gpu.raw_buffer("timestamps", bytes, usage)?);
        Ok(Self {
            gpu: gpu.clone(),
            queries,
            resolved,
        })
    }

    /// Runs a replay, each dispatch in a pass of its own between two timestamps, and tells the replay
    /// its total ([`Replay::set_measured`]).
    ///
    /// A pass of its own costs a little more than a place in one pass, and dispatches do not overlap.
    ///
    /// # Errors
    /// The device's sticky error.
    pub async fn run(&self, replay: &Replay) -> Result<Vec<Timing>> {
        let period = f64::from(self.gpu.queue().get_timestamp_period());
        let mut timings = Vec::with_capacity(replay.len());
        let mut step = 0;
        while step < replay.len() {
            let count = (replay.len() - step).min(QUERIES as usize / 2);
            self.gpu.check()?;
            self.gpu
                .doing("profile", || self.record(replay, step, count))?;
            let bytes = self.gpu.read(&self.resolved, 0, count as u64 * 16).await?;
            for (i, pair) in bytes.as_chunks::<16>().0.iter().enumerate() {
                let [start, end] = [0, 8].map(|at| {
                    let mut ticks = [0; 8];
                    ticks.copy_from_slice(&pair[at..at + 8]);
                    u64::from_le_bytes(ticks)
                });
                // Clocks that are reset between passes count as no time.
                let nanoseconds = (end.saturating_sub(start) as f64 * period) as u64;
                let label = replay.label(step + i).unwrap_or_default();
                timings.push(Timing {
                    step: step + i,
                    label,
                    nanoseconds,
                });
            }
            step += count;
        }
        let total = timings
            .iter()
            .fold(0u64, |sum, timing| sum.saturating_add(timing.nanoseconds));
        replay.set_measured(std::time::Duration::from_nanos(total));
        Ok(timings)
    }

    fn record(&self, replay: &Replay, first: usize, count: usize) {
        let mut encoder = self
            .gpu
            .device()
            .create_command_encoder(&Default::default());
        for i in 0..count {
            let query = 2 * i as u32;
            let mut pass = encoder.begin_compute_pass(&wgpu::ComputePassDescriptor {
                label: None,
                timestamp_writes: Some(wgpu::ComputePassTimestampWrites {
                    query_set: &self.queries,
                    beginning_of_pass_write_index: Some(query),
                    end_of_pass_write_index: Some(query + 1),
                }),
            });
            replay.encode(&mut pass, first + i..first + i + 1);
        }
        encoder.resolve_query_set(&self.queries, 0..2 * count as u32, self.resolved.raw(), 0);
        self.gpu.submit(Some(encoder.finish()));
    }
}
