//! Where candidates run: one arena with random data for all of them, and the clock.

use super::{Tuner, is_own};
use crate::Weight;
use crate::lower::SlotUse;
use crate::plan::Plan;
use crate::{Error, Result, samples};
use std::collections::BTreeMap;
use tilewright_device::{
    Buffer, BufferUse, Dispatch, Error as DeviceError, Gpu, Recorder, Replay, Set, Slot, Span,
    SubmitOptions,
};
use tilewright_kernels::{Loop, Site, Store};
use tilewright_tensor::{DType, HostTensor, nmse};
use web_time::Instant;

/// Bytes of random data, written again and again.
const PATTERN: usize = 1 << 20;
/// A loop that takes this many times as long as the fastest is timed no more.
const HOPELESS: f64 = 2.0;
/// Most repetitions of a sample: what is so short has no need of a better loop.
const REPEATS: usize = 4096;

/// The candidates of one bucket.
pub(super) struct Stand<'a> {
    gpu: &'a Gpu,
    tuner: &'a Tuner,
    pattern: Vec<u8>,
    /// First byte and bytes of the slots that are not constants.
    places: BTreeMap<Slot, (u64, u64)>,
    bytes: u64,
    arena: Option<Buffer>,
    /// What the first one computed.
    expected: Option<HostTensor>,
    candidates: Vec<Candidate>,
}

struct Candidate {
    of: Loop,
    replay: Replay,
    repeats: usize,
    samples: Vec<f64>,
}

impl<'a> Stand<'a> {
    pub(super) fn new(gpu: &'a Gpu, site: &Site, tuner: &'a Tuner) -> Stand<'a> {
        let [a, b, _] = site.class.stores;
        Stand {
            gpu,
            tuner,
            pattern: pattern(a == Store::F32 && b == Store::F32),
            places: BTreeMap::new(),
            bytes: 0,
            arena: None,
            expected: None,
            candidates: vec![],
        }
    }

    /// Places the operands of all candidates; slots are numbered alike up to the step, so equal numbers are equal operands.
    /// The bytes that they take.
    pub(super) fn lay_out(&mut self, plans: &[(Loop, Plan)], lists: &[Vec<&Dispatch>]) -> u64 {
        let mut constants = BTreeMap::new();
        for ((_, plan), list) in plans.iter().zip(lists) {
            for (_, span) in list.iter().flat_map(|d| &d.spans) {
                let root = plan.root(span.slot);
                let bytes = span.offset + span.bytes;
                if let Some(SlotUse::Constant(_)) = plan.slots.get(root.0 as usize) {
                    constants.insert(root, bytes);
                } else {
                    let place = self.places.entry(root).or_default();
                    place.1 = place.1.max(bytes);
                }
            }
        }
        for (at, bytes) in self.places.values_mut() {
            *at = self.bytes;
            self.bytes += bytes.next_multiple_of(256);
        }
        self.bytes + constants.values().sum::<u64>()
    }

    /// Prepares a candidate and compares its result with that of the first. Why it cannot be taken, if so.
    pub(super) async fn add(
        &mut self,
        of: Loop,
        plan: &Plan,
        list: &[&Dispatch],
        weight: impl Fn(&Weight) -> Result<Buffer>,
    ) -> Result<Option<String>> {
        let arena = match &self.arena {
            Some(arena) => arena.clone(),
            None => {
                let made = self.gpu.buffer(self.bytes.max(256), BufferUse::Storage)?;
                self.arena.insert(made).clone()
            }
        };
        let mut weights = BTreeMap::new();
        for (_, span) in list.iter().flat_map(|d| &d.spans) {
            let root = plan.root(span.slot);
            if let SlotUse::Constant(w) = &plan.slots[root.0 as usize] {
                weights.insert(root, weight(w)?);
            }
        }
        let place = |slot: Slot| {
            let root = plan.root(slot);
            Some(match weights.get(&root) {
                Some(buffer) => (buffer.clone(), 0),
                None => (arena.clone(), self.places.get(&root)?.0),
            })
        };
        let replay = match self.gpu.bind(list, place).await {
            Ok(replay) => replay,
            Err(e) if is_own(&e) => return Ok(Some(format!("the device refuses it: {e}"))),
            Err(e) => return Err(e.into()),
        };
        self.fill(&arena)?;
        let candidate = Candidate {
            of,
            replay,
            repeats: 1,
            samples: vec![],
        };
        self.sample(&candidate).await?;
        let result = self.result(plan, list, &arena).await?;
        if let Some(why) = self.differs(&result) {
            return Ok(Some(why));
        }
        self.expected = self.expected.take().or(result);
        self.candidates.push(candidate);
        Ok(None)
    }

    /// How a result differs from that of the first, if there is one.
    fn differs(&self, result: &Option<HostTensor>) -> Option<String> {
        let (expected, result) = (self.expected.as_ref()?, result.as_ref()?);
        let error = nmse(result, expected).unwrap_or(f64::INFINITY);
        // Sums in another order: 1e-8 is a relative error of 1e-4, and an f16 is rounded once more.
        let bound = match result.dtype() {
            DType::F16 => 1e-5,
            _ => 1e-8,
        };
        (error.is_nan() || error > bound)
            .then(|| format!("differs from the default by a normalised error of {error:.1e}"))
    }

    /// Writes random data over the arena.
    fn fill(&self, arena: &Buffer) -> Result<()> {
        let mut at = 0;
        while at < self.bytes {
            let bytes = (self.bytes - at).min(PATTERN as u64) as usize;
            self.gpu.write(arena, at, &self.pattern[..bytes])?;
            at += bytes as u64;
        }
        Ok(())
    }

    /// What the product wrote, where its type is known.
    async fn result(
        &self,
        plan: &Plan,
        list: &[&Dispatch],
        arena: &Buffer,
    ) -> Result<Option<HostTensor>> {
        let written = |d: &&&Dispatch| d.spans.iter().any(|(name, _)| *name == "C");
        let Some(last) = list.iter().rev().find(written) else {
            return Ok(None);
        };
        let dtype = match last.variant.get("Out") {
            Some(Set::Type("f32")) => DType::F32,
            Some(Set::Type("f16")) => DType::F16,
            Some(Set::Type("i32")) => DType::I32,
            _ => return Ok(None),
        };
        let span = last.spans.iter().find(|(name, _)| *name == "C");
        let Some((_, span)) = span else {
            return Ok(None);
        };
        let Span {
            slot,
            offset,
            bytes,
        } = *span;
        let Some((at, _)) = self.places.get(&plan.root(slot)) else {
            return Ok(None);
        };
        let read = self.gpu.read(arena, at + offset, bytes.next_multiple_of(4));
        let mut data = read.await?;
        data.truncate(bytes as usize);
        let count = data.len() / dtype.size_bytes();
        data.truncate(count * dtype.size_bytes());
        Ok(Some(HostTensor::from_bytes(dtype, [count], &data)?))
    }

    /// Seconds of a candidate's repetitions, waited for.
    async fn sample(&self, of: &Candidate) -> Result<f64> {
        if self.tuner.cancel.as_ref().is_some_and(|c| c.is_cancelled()) {
            return Err(Error::Device(DeviceError::Cancelled));
        }
        let start = Instant::now();
        let recorder = (0..of.repeats).fold(Recorder::new(self.gpu), |r, _| r.run(&of.replay));
        let mut options = SubmitOptions::new();
        options.cancel.clone_from(&self.tuner.cancel);
        recorder.submit_paced(options).await?;
        self.gpu.done().await?;
        Ok(start.elapsed().as_secs_f64())
    }

    /// Median and least time of all candidates, measured in turns. Those far behind end after the first turn.
    pub(super) async fn time(mut self) -> Result<Vec<(Loop, [f64; 2])>> {
        let mut all = std::mem::take(&mut self.candidates);
        let least = self.tuner.sample.as_secs_f64();
        for of in &mut all {
            loop {
                let took = self.sample(of).await?;
                if took >= least || of.repeats >= REPEATS {
                    of.samples.push(took / of.repeats as f64);
                    break;
                }
                let more = (1.2 * least / took.max(1e-9)).max(2.0);
                of.repeats = ((of.repeats as f64 * more) as usize).min(REPEATS);
            }
        }
        let best = all.iter().map(|c| c.samples[0]).fold(f64::MAX, f64::min);
        for _ in 1..self.tuner.rounds {
            for of in &mut all {
                if of.samples[0] <= HOPELESS * best {
                    let took = self.sample(of).await?;
                    of.samples.push(took / of.repeats as f64);
                }
            }
        }
        Ok(all
            .into_iter()
            .map(|c| (c.of, median_and_least(c.samples)))
            .collect())
    }
}

/// The middle one, or the lower of the two, and the least.
fn median_and_least(mut samples: Vec<f64>) -> [f64; 2] {
    samples.sort_by(f64::total_cmp);
    [samples[(samples.len() - 1) / 2], samples[0]]
}

/// Random data: floats in -1..1, or words that are harmless in any type: as halves 0.5 to 1 of either sign, as bytes anything.
fn pattern(floats: bool) -> Vec<u8> {
    if floats {
        return samples::uniform(&[PATTERN / 4], 1).bytes().to_vec();
    }
    let words = samples::integers(DType::I64, &[PATTERN / 2], 1, 0, 1 << 16);
    let halves = words.to_i64().unwrap_or_default();
    let half = |n: i64| (n as u16 & 0x8000) | 0x3800 | (n as u16 & 0x03ff);
    halves
        .into_iter()
        .flat_map(|n| half(n).to_le_bytes())
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn random_words_are_ordinary_numbers_in_every_type() {
        let data = pattern(false);
        assert_eq!(data.len(), PATTERN);
        let halves = HostTensor::from_bytes(DType::F16, [PATTERN / 2], &data).unwrap();
        let values = halves.to_f64();
        assert!(values.iter().all(|v| (0.5..1.0).contains(&v.abs())));
        assert!(values.iter().any(|v| *v < 0.0) && values.iter().any(|v| *v > 0.0));
        let singles = HostTensor::from_bytes(DType::F32, [PATTERN / 4], &data).unwrap();
        assert!(
            singles
                .to_f64()
                .iter()
                .all(|v| v.abs() > 1e-6 && v.abs() < 1.0)
        );
    }

    #[test]
    fn medians() {
        assert_eq!(median_and_least(vec![3.0, 1.0, 2.0]), [2.0, 1.0]);
        assert_eq!(median_and_least(vec![4.0, 1.0, 2.0, 3.0]), [2.0, 1.0]);
    }
}
