//! How long each dispatch of a replay takes.

use std::ops::Range;

use crate::recorder::{Piece, split};
use crate::{Buffer, Error, Gpu, Replay, Result, SubmitOptions};

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
    /// From the start of the first pass to the start of its own, in nanoseconds.
    pub begin: u64,
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
    /// A pass of its own costs a little more than a place in one pass, and dispatches do not overlap. Submissions keep to the
    /// budget and look at token and deadline as those of [`Recorder::submit_paced`].
    ///
    /// # Errors
    /// [`Error::Cancelled`] and [`Error::Deadline`] (parts before stay submitted), the device's sticky error.
    ///
    /// [`Recorder::submit_paced`]: crate::Recorder::submit_paced
    pub async fn run(&self, replay: &Replay, options: &SubmitOptions) -> Result<Vec<Timing>> {
        let period = f64::from(self.gpu.queue().get_timestamp_period());
        let mut timings = Vec::with_capacity(replay.len());
        let (mut step, mut origin) = (0, None);
        while step < replay.len() {
            let count = (replay.len() - step).min(QUERIES as usize / 2);
            self.gpu.check()?;
            self.submit(replay, step..step + count, options).await?;
            let bytes = self.gpu.read(&self.resolved, 0, count as u64 * 16).await?;
            for (i, pair) in bytes.as_chunks::<16>().0.iter().enumerate() {
                let [start, end] = [0, 8].map(|at| {
                    let mut ticks = [0; 8];
                    ticks.copy_from_slice(&pair[at..at + 8]);
                    u64::from_le_bytes(ticks)
                });
                let origin = *origin.get_or_insert(start);
                // Clocks that are reset between passes count as no time.
                let span = |from: u64, to: u64| (to.saturating_sub(from) as f64 * period) as u64;
                let label = replay.label(step + i).unwrap_or_default();
                timings.push(Timing {
                    step: step + i,
                    label,
                    begin: span(origin, start),
                    nanoseconds: span(start, end),
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

    /// Submits steps in the parts of a budget, with at most two under way; the timestamps of all are in `resolved` then.
    async fn submit(
        &self,
        replay: &Replay,
        steps: Range<usize>,
        options: &SubmitOptions,
    ) -> Result<()> {
        let first = steps.start;
        let end = steps.end;
        let pieces = vec![Piece::Run(replay, steps)];
        let mut before = None;
        for piece in split(pieces, options.budget, self.gpu.caps().kind)
            .into_iter()
            .flatten()
        {
            let Piece::Run(_, part) = piece else { continue };
            options.allow()?;
            let resolved = (part.end == end).then_some(2 * (end - first) as u32);
            let submission = self
                .gpu
                .doing("profile", || self.record(replay, first, part, resolved))?;
            if let Some(done) = before.replace(self.gpu.submitted(submission)) {
                done.await?;
            }
        }
        Ok(())
    }

    /// Submits steps, step `first` having the first timestamps, and resolves so many after them.
    fn record(
        &self,
        replay: &Replay,
        first: usize,
        steps: Range<usize>,
        resolved: Option<u32>,
    ) -> wgpu::SubmissionIndex {
        let mut encoder = self
            .gpu
            .device()
            .create_command_encoder(&Default::default());
        for step in steps {
            let query = 2 * (step - first) as u32;
            let mut pass = encoder.begin_compute_pass(&wgpu::ComputePassDescriptor {
                label: None,
                timestamp_writes: Some(wgpu::ComputePassTimestampWrites {
                    query_set: &self.queries,
                    beginning_of_pass_write_index: Some(query),
                    end_of_pass_write_index: Some(query + 1),
                }),
            });
            replay.encode(&mut pass, step..step + 1);
        }
        if let Some(queries) = resolved {
            encoder.resolve_query_set(&self.queries, 0..queries, self.resolved.raw(), 0);
        }
        self.gpu.submit(Some(encoder.finish()))
    }
}
