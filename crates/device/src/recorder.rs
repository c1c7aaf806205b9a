//! Recording replays and copies, and submitting them.

use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use web_time::Instant;

use crate::transfer::Reading;
use crate::{AdapterKind, Buffer, Error, Gpu, Replay, Result};

/// How much work one submission may hold. Drivers kill those that run for seconds, and a screen that
/// the GPU also draws waits for one to end.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
#[non_exhaustive]
pub enum Budget {
    /// 250 ms of estimated or measured work; everything in one on software adapters, which nothing kills.
    #[default]
    Auto,
    /// Everything in one submission.
    Unlimited,
    /// So much estimated or measured work; at least one dispatch.
    Time(Duration),
}

/// Stops a submission between its parts, from any thread. A clone is the same token.
#[derive(Debug, Clone, Default)]
pub struct CancelToken(Arc<AtomicBool>);

/// How to submit.
#[derive(Debug, Clone, Default)]
#[non_exhaustive]
pub struct SubmitOptions {
    /// Where to split.
    pub budget: Budget,
    /// Looked at before each part is submitted.
    pub cancel: Option<CancelToken>,
    /// After this time no part is submitted. It is looked at with the token.
    pub deadline: Option<Instant>,
}

/// Collects replays and copies, then submits them: one pass and one submission unless a budget or a copy splits them.
#[must_use = "nothing runs before it is submitted"]
pub struct Recorder<'a> {
    gpu: &'a Gpu,
    pieces: Vec<Piece<'a>>,
    over: Option<&'a mut wgpu::CommandEncoder>,
    error: Option<Error>,
}

pub(crate) enum Piece<'a> {
    Run(&'a Replay, Range<usize>),
    Copy {
        from: (&'a Buffer, u64),
        to: (&'a Buffer, u64),
        bytes: u64,
    },
}

impl CancelToken {
    /// A token that is not cancelled.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Cancels whatever looks at it.
    pub fn cancel(&self) {
        self.0.store(true, Ordering::Release);
    }

    /// Whether it was cancelled.
    #[must_use]
    pub fn is_cancelled(&self) -> bool {
        self.0.load(Ordering::Acquire)
    }
}

impl SubmitOptions {
    /// Automatic budget, no token, no deadline.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Sets where to split.
    #[must_use]
    pub fn budget(mut self, budget: Budget) -> Self {
        self.budget = budget;
        self
    }

    /// Sets the token that is looked at.
    #[must_use]
    pub fn cancel(mut self, token: CancelToken) -> Self {
        self.cancel = Some(token);
        self
    }

    /// Sets a time after which nothing is submitted, unless there is an earlier one.
    #[must_use]
    pub fn deadline(mut self, time: Instant) -> Self {
        self.deadline = Some(self.deadline.map_or(time, |earlier| earlier.min(time)));
        self
    }

    /// An error where nothing more may be submitted.
    pub(crate) fn allow(&self) -> Result<()> {
        if self.cancel.as_ref().is_some_and(CancelToken::is_cancelled) {
            return Err(Error::Cancelled);
        }
        match self.deadline {
            Some(time) if Instant::now() > time => Err(Error::Deadline),
            _ => Ok(()),
        }
    }
}

impl<'a> Recorder<'a> {
    /// Records into submissions of its own.
    pub fn new(gpu: &'a Gpu) -> Self {
        Self {
            gpu,
            pieces: Vec::new(),
            over: None,
            error: None,
        }
    }

    /// Records into a caller's encoder of the same device. [`Recorder::submit`] then encodes everything
    /// in one part; the caller submits.
    pub fn over(gpu: &'a Gpu, encoder: &'a mut wgpu::CommandEncoder) -> Self {
        Self {
            gpu,
            pieces: Vec::new(),
            over: Some(encoder),
            error: None,
        }
    }

    /// Adds the dispatches of a replay.
    pub fn run(mut self, replay: &'a Replay) -> Self {
        self.pieces.push(Piece::Run(replay, 0..replay.len()));
        self
    }

    /// Adds a copy of `bytes` bytes; offsets and bytes are multiples of 4, and the buffers differ.
    /// An error is told by [`Recorder::submit`].
    pub fn copy(
        mut self,
        from: &'a Buffer,
        from_offset: u64,
        to: &'a Buffer,
        to_offset: u64,
        bytes: u64,
    ) -> Self {
        let usage = wgpu::BufferUsages::COPY_SRC;
        let checked = check_copy(self.gpu, from, from_offset, bytes, usage);
        let usage = wgpu::BufferUsages::COPY_DST;
        let checked = checked.and_then(|()| check_copy(self.gpu, to, to_offset, bytes, usage));
        let checked = match checked {
            Ok(()) if from == to => {
                Err(from.range("copy", from_offset, bytes, "to the same buffer"))
            }
            other => other,
        };
        match checked {
            Ok(()) if bytes > 0 => {
                let (from, to) = ((from, from_offset), (to, to_offset));
                self.pieces.push(Piece::Copy { from, to, bytes });
            }
            Ok(()) => {}
            Err(error) => self.error = self.error.or(Some(error)),
        }
        self
    }

    /// Submits everything at once and waits for nothing: see [`Gpu::done`] and [`Gpu::read`].
    ///
    /// # Errors
    /// An error of a copy, [`Error::Cancelled`] and [`Error::Deadline`] (parts before stay submitted), the sticky error.
    pub fn submit(mut self, options: SubmitOptions) -> Result<()> {
        self.begin()?;
        if let Some(encoder) = self.over.take() {
            return self.gpu.doing("record", || encode(encoder, &self.pieces));
        }
        for part in self.split(options.budget) {
            self.submit_part(&part, &options)?;
        }
        Ok(())
    }

    /// Submits part after part, with at most two under way, so that a cancelled token stops what is
    /// not yet submitted. Done when all but the last part are done; dropping the future stops it too.
    ///
    /// # Errors
    /// As [`Recorder::submit`].
    pub async fn submit_paced(mut self, options: SubmitOptions) -> Result<()> {
        self.begin()?;
        if let Some(encoder) = self.over.take() {
            return self.gpu.doing("record", || encode(encoder, &self.pieces));
        }
        self.pace(options).await?;
        Ok(())
    }

    /// [`Recorder::submit_paced`], then reads ranges `(buffer, offset, bytes)` as [`Gpu::read_all`] does. Their copies go with
    /// the last part, so that what fits one part is one submission. Not for a recorder over a caller's encoder.
    ///
    /// # Errors
    /// As [`Recorder::submit`] and [`Gpu::read`]; [`Error::Unsupported`] over a caller's encoder.
    pub async fn submit_reading(
        mut self,
        options: SubmitOptions,
        ranges: &[(Buffer, u64, u64)],
    ) -> Result<Vec<Vec<u8>>> {
        self.begin()?;
        if self.over.is_some() {
            let what = "reading what a caller's encoder computes";
            return Err(Error::Unsupported { what });
        }
        let mut reading = Reading::new(self.gpu, ranges)?;
        let loads = reading.load()?;
        let Self { gpu, pieces, .. } = self;
        let mut all: Recorder<'_> = Recorder::new(gpu);
        all.pieces = pieces;
        let copies = loads.iter().flat_map(|load| reading.copies(load));
        all.pieces
            .extend(copies.map(|(from, to, bytes)| Piece::Copy { from, to, bytes }));
        if let Some(submission) = all.pace(options).await? {
            reading.launched(loads, &submission);
        }
        reading.finish().await
    }

    /// Submits part after part, with at most two under way. The last submission.
    async fn pace(&mut self, options: SubmitOptions) -> Result<Option<wgpu::SubmissionIndex>> {
        let (mut before, mut last) = (None, None);
        for part in self.split(options.budget) {
            let submission = self.submit_part(&part, &options)?;
            last = Some(submission.clone());
            if let Some(done) = before.replace(self.gpu.submitted(submission)) {
                done.await?;
            }
        }
        Ok(last)
    }

    fn begin(&mut self) -> Result<()> {
        self.gpu.check()?;
        self.error.take().map_or(Ok(()), Err)
    }

    fn submit_part(
        &self,
        part: &[Piece<'_>],
        options: &SubmitOptions,
    ) -> Result<wgpu::SubmissionIndex> {
        options.allow()?;
        let submission = self.gpu.doing("submit", || {
            let mut encoder = self
                .gpu
                .device()
                .create_command_encoder(&Default::default());
            encode(&mut encoder, part);
            self.gpu.submit(Some(encoder.finish()))
        })?;
        for piece in part {
            if let Piece::Copy { to, .. } = piece {
                to.0.set_written(&submission);
            }
        }
        Ok(submission)
    }

    fn split(&mut self, budget: Budget) -> Vec<Vec<Piece<'a>>> {
        split(
            std::mem::take(&mut self.pieces),
            budget,
            self.gpu.caps().kind,
        )
    }
}

/// The parts of a budget, each a submission.
pub(crate) fn split(
    pieces: Vec<Piece<'_>>,
    budget: Budget,
    kind: AdapterKind,
) -> Vec<Vec<Piece<'_>>> {
    let limit = match budget {
        Budget::Auto if kind != AdapterKind::Software => 250e6,
        Budget::Auto | Budget::Unlimited => f64::INFINITY,
        Budget::Time(time) => time.as_nanos() as f64,
    };
    if limit.is_infinite() {
        return vec![pieces];
    }
    let guess = nanoseconds_per_work(kind);
    let (mut parts, mut part, mut spent) = (Vec::new(), Vec::new(), 0.0);
    for piece in pieces {
        let Piece::Run(replay, steps) = piece else {
            part.push(piece);
            continue;
        };
        let pace = replay.pace(guess);
        let mut first = steps.start;
        for step in steps.clone() {
            let cost = replay.work(step) as f64 * pace;
            if spent > 0.0 && spent + cost > limit {
                part.push(Piece::Run(replay, first..step));
                parts.push(std::mem::take(&mut part));
                (first, spent) = (step, 0.0);
            }
            spent += cost;
        }
        part.push(Piece::Run(replay, first..steps.end));
    }
    parts.push(part);
    parts
}

/// A guess at the slow end of each kind, so that a budget is kept before anything is measured.
fn nanoseconds_per_work(kind: AdapterKind) -> f64 {
    match kind {
        AdapterKind::Discrete => 1e9 / 2e12,
        AdapterKind::Integrated | AdapterKind::Virtual | AdapterKind::Unknown => 1e9 / 1e11,
        AdapterKind::Software => 1e9 / 1e10,
    }
}

fn check_copy(
    gpu: &Gpu,
    buffer: &Buffer,
    offset: u64,
    bytes: u64,
    usage: wgpu::BufferUsages,
) -> Result<()> {
    buffer.check_range(gpu, "copy", offset, bytes)?;
    if !buffer.raw().usage().contains(usage) {
        let message = match usage {
            wgpu::BufferUsages::COPY_SRC => "made without the usage COPY_SRC",
            _ => "made without the usage COPY_DST",
        };
        return Err(buffer.range("copy", offset, bytes, message));
    }
    if offset.is_multiple_of(4) && bytes.is_multiple_of(4) {
        return Ok(());
    }
    Err(buffer.range("copy", offset, bytes, "not on a multiple of 4"))
}

/// Records pieces; runs that follow each other share a pass.
fn encode(encoder: &mut wgpu::CommandEncoder, pieces: &[Piece<'_>]) {
    let mut pieces = pieces.iter().peekable();
    while let Some(piece) = pieces.next() {
        match piece {
            Piece::Copy { from, to, bytes } => {
                encoder.copy_buffer_to_buffer(from.0.raw(), from.1, to.0.raw(), to.1, *bytes);
            }
            Piece::Run(replay, steps) => {
                let mut pass = encoder.begin_compute_pass(&Default::default());
                replay.encode(&mut pass, steps.clone());
                while let Some(Piece::Run(replay, steps)) = pieces.peek() {
                    replay.encode(&mut pass, steps.clone());
                    pieces.next();
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicU64;

    use super::*;
    use crate::Caps;
    use crate::replay::Step;

    /// A replay of steps that are nothing but work.
    fn replay(work: &[u64]) -> Replay {
        let step = |work: &u64| Step {
            program: 0,
            operands: 0,
            params: None,
            groups: [1; 3],
            work: *work,
            label: 0,
        };
        Replay {
            audit: None,
            steps: work.iter().map(step).collect(),
            programs: Vec::new(),
            operands: Vec::new(),
            params: Vec::new(),
            work: work.iter().sum(),
            measured: AtomicU64::new(0),
        }
    }

    /// The first step of each run in each part, and the one behind its last.
    fn parts(pieces: Vec<Piece<'_>>, budget: Budget, caps: &Caps) -> Vec<Vec<(usize, usize)>> {
        let steps = |piece: Piece<'_>| match piece {
            Piece::Run(_, steps) => (steps.start, steps.end),
            Piece::Copy { .. } => panic!("no copy was recorded"),
        };
        let parts = split(pieces, budget, caps.kind).into_iter();
        parts
            .map(|part| part.into_iter().map(steps).collect())
            .collect()
    }

    fn whole(replay: &Replay) -> Vec<Piece<'_>> {
        vec![Piece::Run(replay, 0..replay.len())]
    }

    #[test]
    fn the_automatic_budget_is_250_ms_of_estimated_or_measured_work() {
        let mut caps = Caps::webgpu_default();
        let mut split = |replay: &Replay, kind| {
            caps.kind = kind;
            parts(whole(replay), Budget::Auto, &caps)
        };
        // 100 ms each where a unit of work is guessed to take 10 ps.
        let steps = replay(&[10_000_000_000; 5]);
        for kind in [AdapterKind::Integrated, AdapterKind::Unknown] {
            assert_eq!(split(&steps, kind), [[(0, 2)], [(2, 4)], [(4, 5)]]);
        }
        // A discrete one does it in 5 ms, and nothing kills a software adapter's.
        assert_eq!(split(&steps, AdapterKind::Discrete), [[(0, 5)]]);
        assert_eq!(split(&steps, AdapterKind::Software), [[(0, 5)]]);
        // What was measured counts instead of the guess: 60 ms a step.
        steps.set_measured(Duration::from_millis(300));
        for kind in [AdapterKind::Integrated, AdapterKind::Discrete] {
            assert_eq!(split(&steps, kind), [[(0, 4)], [(4, 5)]]);
        }
        // A step that alone is over the budget has a part of its own.
        let long = replay(&[1, 100_000_000_000, 1, 1]);
        assert_eq!(
            split(&long, AdapterKind::Unknown),
            [[(0, 1)], [(1, 2)], [(2, 4)]]
        );
    }

    #[test]
    fn a_part_goes_on_over_replays() {
        let caps = Caps::webgpu_default();
        let (a, b) = (replay(&[1; 3]), replay(&[1; 3]));
        for replay in [&a, &b] {
            replay.set_measured(Duration::from_millis(3));
        }
        let both = || vec![Piece::Run(&a, 0..3), Piece::Run(&b, 0..3)];
        let budget = Budget::Time(Duration::from_millis(2));
        let expected = [vec![(0, 2)], vec![(2, 3), (0, 1)], vec![(1, 3)]];
        assert_eq!(parts(both(), budget, &caps), expected);
        assert_eq!(parts(both(), Budget::Unlimited, &caps), [[(0, 3), (0, 3)]]);
        let least = Budget::Time(Duration::ZERO);
        assert_eq!(
            parts(whole(&a), least, &caps),
            [[(0, 1)], [(1, 2)], [(2, 3)]]
        );
    }
}
