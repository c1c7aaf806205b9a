//! Candidates timed in alternation.

use std::time::{Duration, Instant};

use tilewright_device::{AdapterKind, Budget, Gpu, Recorder, Replay, Result, SubmitOptions};

/// A sample of less is mostly the cost of a submission (170 us on software adapters), of waking up, and of caches that hold what
/// the side before used: a product of 512 cubed, 5 ms, is 6% slower alone after another side than in a row.
const LEAST_SAMPLE: f64 = 0.05;
/// Tries to find out how many runs make a sample.
const CALIBRATIONS: usize = 4;
/// The most runs of a candidate in one submission.
const MOST_REPEATS: usize = 1000;

/// One of several things that are measured against each other.
#[derive(Debug)]
pub struct Candidate {
    replay: Replay,
    repeats: usize,
    /// Seconds of the first run, shader compilation by the driver included.
    pub first: f64,
}

/// How long to measure.
#[derive(Debug, Clone, Copy)]
pub struct Pace {
    /// Time before the first round that counts.
    pub warm_up: Duration,
    /// Rounds begin until this time is over..
    pub budget: Duration,
    /// .. and until there are as many.
    pub rounds: usize,
}

/// Seconds a run of a candidate took, sample by sample.
#[derive(Debug, Clone, Default)]
pub struct Samples {
    /// From submission to completion.
    pub wall: Vec<f64>,
    /// Processor time of this process over the number of processors, on software adapters where the system tells it: what a
    /// run takes on a machine that does nothing else.
    pub cpu: Vec<f64>,
}

impl Candidate {
    /// Runs it once, and chooses how many runs make a sample.
    ///
    /// # Errors
    /// What the device reports.
    pub fn new(gpu: &Gpu, replay: Replay) -> Result<Self> {
        let first = sample(gpu, &replay, 1)?.wall;
        let repeats = repeats(|repeats| Ok(sample(gpu, &replay, repeats)?.wall))?;
        Ok(Self {
            replay,
            repeats,
            first,
        })
    }

    /// Times it once: as many runs as make a sample, in one submission.
    ///
    /// # Errors
    /// What the device reports.
    pub fn time(&self, gpu: &Gpu) -> Result<Sample> {
        sample(gpu, &self.replay, self.repeats)
    }

    /// Runs it once; then its results can be read.
    ///
    /// # Errors
    /// What the device reports.
    pub fn run(&self, gpu: &Gpu) -> Result<()> {
        sample(gpu, &self.replay, 1).map(|_| ())
    }
}

/// Seconds of one run.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Sample {
    /// From submission to completion.
    pub wall: f64,
    /// Processor time over processors, where it is known.
    pub cpu: Option<f64>,
}

/// Something to time: each call is a sample, none where it no longer takes part.
pub type Entrant<'a, E> = Box<dyn FnMut() -> Result<Option<Sample>, E> + 'a>;

/// Times all candidates in turn, round after round; `progress` is told the part that is done, 0 to 1.
///
/// # Errors
/// What the device reports.
pub fn alternate(
    gpu: &Gpu,
    candidates: &[&Candidate],
    pace: Pace,
    progress: impl FnMut(f64),
) -> Result<Vec<Samples>> {
    let mut entrants: Vec<Entrant<'_, _>> = vec![];
    for &of in candidates {
        entrants.push(Box::new(move || of.time(gpu).map(Some)));
    }
    in_turns(&mut entrants, pace, progress)
}

/// Times anything in turn, as [`alternate`] does.
///
/// # Errors
/// What an entrant answers with.
pub fn in_turns<E>(
    entrants: &mut [Entrant<'_, E>],
    pace: Pace,
    mut progress: impl FnMut(f64),
) -> Result<Vec<Samples>, E> {
    let mut all = vec![Samples::default(); entrants.len()];
    let start = Instant::now();
    let mut rounds = 0;
    loop {
        let warm = start.elapsed() >= pace.warm_up;
        for (entrant, samples) in entrants.iter_mut().zip(&mut all) {
            if let (Some(sample), true) = (entrant()?, warm) {
                samples.wall.push(sample.wall);
                samples.cpu.extend(sample.cpu);
            }
        }
        rounds += usize::from(warm);
        let (spent, whole) = (start.elapsed(), pace.warm_up + pace.budget);
        progress((spent.as_secs_f64() / whole.as_secs_f64()).min(1.0));
        if rounds >= pace.rounds.max(1) && spent >= whole {
            return Ok(all);
        }
    }
}

/// Seconds of each of `repeats` runs that `work` does and waits for.
///
/// # Errors
/// What `work` answers with.
pub fn clocked<E>(
    gpu: &Gpu,
    repeats: usize,
    work: impl FnOnce() -> Result<(), E>,
) -> Result<Sample, E> {
    let cpu = cpu_seconds(gpu);
    let start = Instant::now();
    work()?;
    let wall = start.elapsed().as_secs_f64();
    let spent = cpu_seconds(gpu)
        .zip(cpu)
        .map(|(end, begin)| (end - begin) / processors() as f64);
    let each = |seconds: f64| seconds / repeats.max(1) as f64;
    Ok(Sample {
        wall: each(wall),
        cpu: spent.map(each),
    })
}

/// How many runs make a sample; `time` tells the seconds of each of as many runs as it is given.
///
/// # Errors
/// What `time` answers with.
pub fn repeats<E>(mut time: impl FnMut(usize) -> Result<f64, E>) -> Result<usize, E> {
    let wanted =
        |each: f64| ((LEAST_SAMPLE / each.max(1e-9)).ceil() as usize).clamp(1, MOST_REPEATS);
    // One run alone is mostly its submission, and may be held up by anything: more of them, and the least time, tell more.
    let mut each = f64::INFINITY;
    for tried in 0..CALIBRATIONS {
        each = each.min(time(wanted(each))?);
        if tried > 0 && each >= LEAST_SAMPLE {
            break;
        }
    }
    Ok(wanted(each))
}

/// Processors that this process may use.
#[must_use]
pub fn processors() -> usize {
    std::thread::available_parallelism().map_or(1, std::num::NonZero::get)
}

/// One of `repeats` runs in one submission.
fn sample(gpu: &Gpu, replay: &Replay, repeats: usize) -> Result<Sample> {
    clocked(gpu, repeats, || {
        let recorder = (0..repeats).fold(Recorder::new(gpu), |recorder, _| recorder.run(replay));
        recorder.submit(SubmitOptions::new().budget(Budget::Unlimited))?;
        pollster::block_on(gpu.done())
    })
}

/// Processor time of all threads of this process so far. Linux only, and of interest on software adapters only.
fn cpu_seconds(gpu: &Gpu) -> Option<f64> {
    if gpu.caps().kind != AdapterKind::Software {
        return None;
    }
    let mut nanoseconds = 0;
    for task in std::fs::read_dir("/proc/self/task").ok()? {
        let stat = std::fs::read_to_string(task.ok()?.path().join("schedstat")).ok()?;
        nanoseconds += stat.split(' ').next()?.parse::<u64>().ok()?;
    }
    Some(nanoseconds as f64 * 1e-9)
}

impl Samples {
    /// What candidates are compared by: processor time where there is any, because other processes disturb it least.
    pub fn times(&self) -> &[f64] {
        if self.cpu.is_empty() {
            &self.wall
        } else {
            &self.cpu
        }
    }

    /// The median of [`Samples::times`] in seconds; NaN without samples.
    pub fn median(&self) -> f64 {
        self.quantile(0.5)
    }

    /// The median of the wall times in seconds; NaN without samples.
    pub fn wall_median(&self) -> f64 {
        quantile(&self.wall, 0.5)
    }

    /// How many times as long these runs take as the other's: by processor time where both have it, else by wall time.
    pub fn over(&self, other: &Self) -> f64 {
        match self.cpu.is_empty() || other.cpu.is_empty() {
            true => self.wall_median() / other.wall_median(),
            false => quantile(&self.cpu, 0.5) / quantile(&other.cpu, 0.5),
        }
    }

    /// The distance of the quartiles over the median.
    pub fn spread(&self) -> f64 {
        (self.quantile(0.75) - self.quantile(0.25)) / self.median()
    }

    /// The shortest of [`Samples::times`] in seconds; NaN without samples.
    pub fn min(&self) -> f64 {
        self.quantile(0.0)
    }

    fn quantile(&self, part: f64) -> f64 {
        quantile(self.times(), part)
    }

    /// Medians, spread and every sample, for a report.
    pub fn json(&self) -> serde_json::Value {
        serde_json::json!({
            "median_seconds": self.median(),
            "min_seconds": self.min(),
            "spread": self.spread(),
            "wall_median_seconds": self.wall_median(),
            "wall_seconds": rounded(&self.wall),
            "cpu_seconds": rounded(&self.cpu),
        })
    }
}

/// Samples to the nanosecond: no clock here knows more.
fn rounded(samples: &[f64]) -> Vec<f64> {
    samples.iter().map(|s| (s * 1e9).round() * 1e-9).collect()
}

/// The sample below which `part` of all lie; NaN without samples.
fn quantile(samples: &[f64], part: f64) -> f64 {
    let mut sorted = samples.to_vec();
    sorted.sort_by(f64::total_cmp);
    let last = sorted.len().saturating_sub(1) as f64;
    sorted
        .get((last * part).round() as usize)
        .copied()
        .unwrap_or(f64::NAN)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn processor_time_goes_before_wall_time() {
        let samples = Samples {
            wall: vec![9.0, 9.0, 30.0],
            cpu: vec![4.0, 2.0, 3.0],
        };
        assert_eq!(samples.median(), 3.0);
        assert_eq!(samples.min(), 2.0);
        let samples = Samples {
            cpu: vec![],
            ..samples
        };
        assert_eq!(samples.median(), 9.0);
        assert!(Samples::default().median().is_nan());
    }

    #[test]
    fn times_are_compared_with_their_like() {
        let with = |wall, cpu: &[f64]| Samples {
            wall: vec![wall],
            cpu: cpu.to_vec(),
        };
        assert_eq!(with(8.0, &[3.0]).over(&with(2.0, &[1.0])), 3.0);
        assert_eq!(with(8.0, &[3.0]).over(&with(2.0, &[])), 4.0);
        assert!(with(8.0, &[]).over(&Samples::default()).is_nan());
    }

    #[test]
    fn a_sample_is_as_many_runs_as_take_its_time() {
        // A submission of 200 us, a run of 10 us, and a first one that is held up for a second.
        let mut calls = vec![];
        let time = |repeats: usize| {
            calls.push(repeats);
            let held_up = if calls.len() == 1 { 1.0 } else { 0.0 };
            Ok::<_, ()>((200e-6 + held_up) / repeats as f64 + 10e-6)
        };
        assert!((700..=1000).contains(&repeats(time).unwrap()), "{calls:?}");
        assert_eq!(calls.len(), CALIBRATIONS);
        // What takes long is not tried more often than needed.
        let mut calls = 0;
        let time = |_| {
            calls += 1;
            Ok::<_, ()>(3.0)
        };
        assert_eq!(repeats(time), Ok(1));
        assert_eq!(calls, 2);
    }

    #[test]
    fn spread_is_between_quartiles() {
        let samples = Samples {
            wall: (1..=5).map(f64::from).collect(),
            cpu: vec![],
        };
        assert_eq!(samples.spread(), 2.0 / 3.0);
    }
}
