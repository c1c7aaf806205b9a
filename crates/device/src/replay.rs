//! Dispatches bound to buffers, ready to be recorded again and again.

use std::borrow::Borrow;
use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::fmt;
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use crate::binder::{Binder, misfit};
use crate::{Buffer, Dispatch, Gpu, Program, ProgramKey, Result, Slot, Source, Variant};

/// A dispatch with its operands.
#[derive(Debug, Clone)]
pub struct BoundDispatch {
    /// The compiled shader.
    pub program: Arc<Program>,
    /// Buffer, first byte and bytes of each operand, in binding order. The binding's size is rounded up to 16.
    pub buffers: Vec<(Buffer, u64, u64)>,
    /// The bytes of `Params`.
    pub params: Vec<u8>,
    /// Workgroups; none are run where one is 0.
    pub groups: [u32; 3],
    /// Estimated cost, in floating-point operations or bytes moved, whichever is larger.
    pub work: u64,
    /// What the caller knows it by, for the profiler.
    pub label: u32,
}

/// A list of dispatches whose bind groups and parameters are on the device: recording it creates nothing.
pub struct Replay {
    pub(crate) steps: Vec<Step>,
    pub(crate) programs: Vec<Arc<Program>>,
    /// Bind groups of group 0.
    pub(crate) operands: Vec<wgpu::BindGroup>,
    /// Bind groups of group 1: one for each size class, all of one buffer.
    pub(crate) params: Vec<wgpu::BindGroup>,
    /// The bind group of group 2, of an audited device.
    pub(crate) audit: Option<wgpu::BindGroup>,
    /// The sum over the steps.
    pub(crate) work: u64,
    /// Nanoseconds of the whole, where measured; else 0.
    pub(crate) measured: AtomicU64,
}

/// One dispatch, by indices into the lists of its [`Replay`].
pub(crate) struct Step {
    pub(crate) program: u32,
    pub(crate) operands: u32,
    /// Index into `params`, and dynamic offset.
    pub(crate) params: Option<(u32, u32)>,
    pub(crate) groups: [u32; 3],
    pub(crate) work: u64,
    pub(crate) label: u32,
}

impl BoundDispatch {
    /// Binds a dispatch's spans where `place` says: buffer and first byte of a slot.
    ///
    /// # Errors
    /// [`Error::Binding`] for names that do not fit the program, and slots that have no place.
    ///
    /// [`Error::Binding`]: crate::Error::Binding
    pub fn new(
        program: Arc<Program>,
        dispatch: &Dispatch,
        place: impl Fn(Slot) -> Option<(Buffer, u64)>,
    ) -> Result<Self> {
        let names: Vec<_> = dispatch.spans.iter().map(|span| span.0).collect();
        let mut buffers = Vec::with_capacity(names.len());
        for at in program.source().order(&names)? {
            let (name, span) = dispatch.spans[at];
            let Some((buffer, base)) = place(span.slot) else {
                return Err(misfit(
                    &program,
                    name,
                    format!("{} has no place", span.slot),
                ));
            };
            buffers.push((buffer, base + span.offset, span.bytes));
        }
        let params = program.pack(&dispatch.params)?;
        let Dispatch { groups, work, .. } = *dispatch;
        Ok(Self {
            program,
            buffers,
            params,
            groups,
            work,
            label: 0,
        })
    }

    /// Sets what the caller knows it by.
    #[must_use]
    pub fn label(mut self, label: u32) -> Self {
        self.label = label;
        self
    }
}

impl Gpu {
    /// Puts bound dispatches on the device. Equal operands share a bind group, equal parameters their bytes.
    ///
    /// # Errors
    /// [`Error::Range`] for an operand outside of its buffer or unaligned, [`Error::TooLarge`] for a
    /// binding or a grid over the limits, [`Error::Binding`] for operands that may not lie beside each
    /// other, [`Error::OutOfMemory`], the sticky error.
    ///
    /// [`Error::Binding`]: crate::Error::Binding
    /// [`Error::OutOfMemory`]: crate::Error::OutOfMemory
    /// [`Error::Range`]: crate::Error::Range
    /// [`Error::TooLarge`]: crate::Error::TooLarge
    pub fn replay(&self, dispatches: Vec<BoundDispatch>) -> Result<Replay> {
        self.check()?;
        let mut binder = Binder::new(self);
        for (i, dispatch) in dispatches.into_iter().enumerate() {
            binder.add(dispatch, i as u32)?;
        }
        binder.finish()
    }

    /// Makes a replay from dispatches: assembles, prepares and binds them. The label of a step is its index.
    ///
    /// An operand that is only read becomes `read_write` where its buffer is also written in the same dispatch.
    ///
    /// # Errors
    /// As [`Gpu::prepare`], [`BoundDispatch::new`] and [`Gpu::replay`].
    pub async fn bind<D: Borrow<Dispatch>>(
        &self,
        dispatches: &[D],
        place: impl Fn(Slot) -> Option<(Buffer, u64)>,
    ) -> Result<Replay> {
        let list: Vec<&Dispatch> = dispatches.iter().map(Borrow::borrow).collect();
        let replays = self.bind_all(&[list], place, |_, _| {}).await?;
        // One list makes one replay.
        replays
            .into_iter()
            .next()
            .map_or_else(|| self.replay(vec![]), Ok)
    }

    /// [`Gpu::bind`] of several lists, whose programs are made together; `progress` is told how many of the missing ones are
    /// made, and of how many, as by [`Gpu::prepare_with`].
    ///
    /// # Errors
    /// As [`Gpu::bind`].
    pub async fn bind_all<D: Borrow<Dispatch>>(
        &self,
        lists: &[Vec<D>],
        place: impl Fn(Slot) -> Option<(Buffer, u64)>,
        progress: impl FnMut(usize, usize),
    ) -> Result<Vec<Replay>> {
        let all = lists.iter().flatten().map(Borrow::borrow);
        let (keys, at) = self.keys(all, &place)?;
        let programs = self.prepare_with(&keys, progress).await?;
        let mut at = at.into_iter();
        let mut replays = Vec::with_capacity(lists.len());
        for list in lists {
            let bound = list.iter().zip(at.by_ref()).enumerate();
            let bound = bound.map(|(i, (dispatch, at))| {
                let (program, dispatch) = (programs[at].clone(), dispatch.borrow());
                Ok(BoundDispatch::new(program, dispatch, &place)?.label(i as u32))
            });
            replays.push(self.replay(bound.collect::<Result<_>>()?)?);
        }
        Ok(replays)
    }

    /// The programs of dispatches, each once, and which of them each dispatch runs.
    fn keys<'d>(
        &self,
        dispatches: impl Iterator<Item = &'d Dispatch>,
        place: &impl Fn(Slot) -> Option<(Buffer, u64)>,
    ) -> Result<(Vec<ProgramKey>, Vec<usize>)> {
        // Names and sets of a variant are long to compare: each dispatch looks its own up once.
        let mut sources: HashMap<&Variant, Arc<Source>> = HashMap::new();
        let mut unique: HashMap<(*const Source, u32), usize> = HashMap::new();
        let (mut keys, mut at) = (Vec::new(), Vec::with_capacity(dispatches.size_hint().0));
        for dispatch in dispatches {
            let source = match sources.entry(&dispatch.variant) {
                Entry::Occupied(found) => found.into_mut(),
                Entry::Vacant(new) => new.insert(self.source(&dispatch.variant)?),
            };
            let shared = shared(source, dispatch, place)?;
            let found = unique.entry((Arc::as_ptr(source), shared));
            at.push(*found.or_insert_with(|| {
                keys.push(ProgramKey {
                    variant: dispatch.variant.clone(),
                    shared,
                });
                keys.len() - 1
            }));
        }
        Ok((keys, at))
    }
}

/// [`ProgramKey::shared`] of a dispatch whose slots are placed.
fn shared(
    source: &Source,
    dispatch: &Dispatch,
    place: &impl Fn(Slot) -> Option<(Buffer, u64)>,
) -> Result<u32> {
    let names: Vec<_> = dispatch.spans.iter().map(|span| span.0).collect();
    let order = source.order(&names)?;
    let buffers: Vec<_> = order
        .iter()
        .map(|at| place(dispatch.spans[*at].1.slot).map(|placed| placed.0))
        .collect();
    let bindings = source.bindings();
    let written = |buffer: &Option<Buffer>| {
        buffer.is_some()
            && (0..bindings.len()).any(|i| bindings[i].writable && buffers[i] == *buffer)
    };
    let bits = (0..bindings.len()).filter(|i| !bindings[*i].writable && written(&buffers[*i]));
    Ok(bits.fold(0, |mask, i| mask | 1 << i))
}

impl Replay {
    /// The number of dispatches.
    #[must_use]
    pub fn len(&self) -> usize {
        self.steps.len()
    }

    /// Whether it does nothing.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.steps.is_empty()
    }

    /// The number of bind groups it holds.
    #[must_use]
    pub fn bind_groups(&self) -> usize {
        self.operands.len() + self.params.len()
    }

    /// The program of a step.
    #[must_use]
    pub fn program(&self, step: usize) -> Option<&Arc<Program>> {
        let step = self.steps.get(step)?;
        self.programs.get(step.program as usize)
    }

    /// What the caller knows a step by.
    #[must_use]
    pub fn label(&self, step: usize) -> Option<u32> {
        self.steps.get(step).map(|step| step.label)
    }

    /// Says how long the whole takes on this device; submissions are split by it instead of an estimate.
    pub fn set_measured(&self, time: Duration) {
        let nanoseconds = u64::try_from(time.as_nanos()).unwrap_or(u64::MAX);
        self.measured.store(nanoseconds, Ordering::Relaxed);
    }

    /// Nanoseconds of one unit of work: measured, or as `guess` says.
    pub(crate) fn pace(&self, guess: f64) -> f64 {
        match self.measured.load(Ordering::Relaxed) {
            0 => guess,
            measured => measured as f64 / self.work.max(1) as f64,
        }
    }

    /// The work of a step.
    pub(crate) fn work(&self, step: usize) -> u64 {
        self.steps[step].work
    }

    /// Records steps into a pass. Nothing is assumed about the pass, and what does not change is not set again.
    pub(crate) fn encode(&self, pass: &mut wgpu::ComputePass<'_>, steps: Range<usize>) {
        let (mut program, mut operands, mut params) = (u32::MAX, u32::MAX, None);
        if let Some(audit) = &self.audit {
            pass.set_bind_group(2, audit, &[]);
        }
        for step in &self.steps[steps] {
            if step.program != program {
                pass.set_pipeline(self.programs[step.program as usize].pipeline());
                program = step.program;
            }
            if step.operands != operands {
                pass.set_bind_group(0, &self.operands[step.operands as usize], &[]);
                operands = step.operands;
            }
            if step.params != params
                && let Some((group, offset)) = step.params
            {
                pass.set_bind_group(1, &self.params[group as usize], &[offset]);
                params = step.params;
            }
            let [x, y, z] = step.groups;
            pass.dispatch_workgroups(x, y, z);
        }
    }
}

impl fmt::Debug for Replay {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut out = f.debug_struct("Replay");
        out.field("steps", &self.len())
            .field("programs", &self.programs.len());
        out.field("bind_groups", &self.bind_groups())
            .finish_non_exhaustive()
    }
}
