//! Makes a [`Replay`] from bound dispatches: checks them, and puts what they share on the device once.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;

use crate::gpu::Creating;
use crate::program::ParamsLayout;
use crate::replay::Step;
use crate::{BoundDispatch, Buffer, Error, Gpu, Program, Replay, Result};

/// Bindings are multiples of this many bytes.
const BINDING_STEP: u64 = 16;

/// Makes a [`Replay`]; equal things are found by key and made once.
pub(crate) struct Binder<'g> {
    gpu: &'g Gpu,
    steps: Vec<Step>,
    programs: Vec<Arc<Program>>,
    /// By address: the programs of a device are kept, so equal ones are one.
    by_program: HashMap<*const Program, u32>,
    /// The bind groups of operands: the step that is the first to use each, and what it binds.
    operands: Vec<(u32, Arc<Program>, Vec<Range>)>,
    by_operands: HashMap<OperandsKey, u32>,
    /// The uniform buffer's bytes, and where each `Params` lies in it.
    uniform: Vec<u8>,
    by_params: HashMap<Vec<u8>, u32>,
    layouts: Vec<ParamsLayout>,
}

/// Buffer, offset and bytes of a binding.
type Range = (wgpu::Buffer, u64, u64);
/// Layout (number of bindings and mask of those written) and operands.
type OperandsKey = (usize, u32, Vec<Range>);

impl<'g> Binder<'g> {
    pub(crate) fn new(gpu: &'g Gpu) -> Self {
        Self {
            gpu,
            steps: Vec::new(),
            programs: Vec::new(),
            by_program: HashMap::new(),
            operands: Vec::new(),
            by_operands: HashMap::new(),
            uniform: Vec::new(),
            by_params: HashMap::new(),
            layouts: Vec::new(),
        }
    }

    pub(crate) fn add(&mut self, dispatch: BoundDispatch, at: u32) -> Result<()> {
        self.check(&dispatch)?;
        if dispatch.groups.contains(&0) {
            return Ok(());
        }
        let params = match dispatch.program.params() {
            Some(layout) => Some((self.layout(layout), self.params(dispatch.params)?)),
            None => None,
        };
        let operands = self.operands(&dispatch.program, &dispatch.buffers, at);
        let programs = &mut self.programs;
        let key = Arc::as_ptr(&dispatch.program);
        let program = *self.by_program.entry(key).or_insert_with(|| {
            programs.push(dispatch.program);
            programs.len() as u32 - 1
        });
        let BoundDispatch {
            groups,
            work,
            label,
            ..
        } = dispatch;
        self.steps.push(Step {
            program,
            operands,
            params,
            groups,
            work,
            label,
        });
        Ok(())
    }

    fn check(&self, dispatch: &BoundDispatch) -> Result<()> {
        let (program, limits) = (&dispatch.program, &self.gpu.caps().limits);
        let bindings = program.source().bindings();
        if dispatch.buffers.len() != bindings.len() {
            let message = format!(
                "{} operands for {} bindings",
                dispatch.buffers.len(),
                bindings.len()
            );
            return Err(misfit(program, "operands", message));
        }
        let bytes = program.source().params_bytes();
        if dispatch.params.len() != bytes as usize {
            let message = format!("{} bytes instead of {bytes}", dispatch.params.len());
            return Err(misfit(program, "params", message));
        }
        if let Some(groups) = dispatch
            .groups
            .iter()
            .find(|groups| **groups > limits.groups)
        {
            let what = format!(
                "workgroups (a number) in one dimension of {}",
                program.key().variant
            );
            return Err(Error::TooLarge {
                what,
                bytes: (*groups).into(),
                limit: limits.groups.into(),
            });
        }
        let align = u64::from(limits.storage_align);
        for ((buffer, offset, bytes), binding) in dispatch.buffers.iter().zip(bindings) {
            buffer.check_range(self.gpu, "binding", *offset, size(*bytes))?;
            if !buffer.raw().usage().contains(wgpu::BufferUsages::STORAGE) {
                return Err(misfit(
                    program,
                    &binding.name,
                    "its buffer is no storage buffer".into(),
                ));
            }
            if !offset.is_multiple_of(align) {
                return Err(buffer.range(
                    "binding",
                    *offset,
                    *bytes,
                    "not on the device's alignment",
                ));
            }
            if *bytes > limits.binding_bytes {
                let what = format!("binding {} of {}", binding.name, program.key().variant);
                return Err(Error::TooLarge {
                    what,
                    bytes: *bytes,
                    limit: limits.binding_bytes,
                });
            }
        }
        check_neighbours(dispatch)
    }

    fn layout(&mut self, layout: &ParamsLayout) -> u32 {
        let found = self
            .layouts
            .iter()
            .position(|other| other.bytes == layout.bytes);
        let at = found.unwrap_or(self.layouts.len());
        if at == self.layouts.len() {
            self.layouts.push(layout.clone());
        }
        at as u32
    }

    /// The dynamic offset of parameters.
    fn params(&mut self, params: Vec<u8>) -> Result<u32> {
        if let Some(offset) = self.by_params.get(&params) {
            return Ok(*offset);
        }
        let align = self.gpu.caps().limits.uniform_align as usize;
        let at = self.uniform.len().next_multiple_of(align);
        let limit = u64::from(u32::MAX);
        let Ok(offset) = u32::try_from(at) else {
            return Err(Error::TooLarge {
                what: "a plan's parameters".into(),
                bytes: at as u64,
                limit,
            });
        };
        self.uniform.resize(at, 0);
        self.uniform.extend_from_slice(&params);
        self.by_params.insert(params, offset);
        Ok(offset)
    }

    fn operands(&mut self, program: &Arc<Program>, buffers: &[(Buffer, u64, u64)], at: u32) -> u32 {
        let ranges = buffers.iter().map(|(buffer, offset, bytes)| {
            let end = buffer.bytes();
            (
                buffer.raw().clone(),
                *offset,
                size(*bytes).min(end - offset),
            )
        });
        let key: OperandsKey = (buffers.len(), program.writable(), ranges.collect());
        if let Some(found) = self.by_operands.get(&key) {
            return *found;
        }
        self.operands.push((at, program.clone(), key.2.clone()));
        let found = self.operands.len() as u32 - 1;
        self.by_operands.insert(key, found);
        found
    }

    pub(crate) fn finish(mut self) -> Result<Replay> {
        if let Some(largest) = self.layouts.iter().map(|layout| layout.bytes).max() {
            // The last parameters' binding is larger than they are.
            let size = (self.uniform.len() + largest as usize).next_multiple_of(4);
            self.uniform.resize(size, 0);
        }
        let (uniform, params, operands) =
            self.gpu.creating_all("a plan's bindings", |creating| {
                let (uniform, params) = self.create_params(creating)?;
                Ok((uniform, params, self.create_operands(creating)?))
            })?;
        if let Some(uniform) = uniform {
            self.gpu
                .write(&Buffer::from_wgpu(uniform), 0, &self.uniform)?;
        }
        let work = self
            .steps
            .iter()
            .fold(0u64, |sum, step| sum.saturating_add(step.work));
        let Self {
            steps, programs, ..
        } = self;
        Ok(Replay {
            audit: self.gpu.audit_group()?,
            steps,
            programs,
            operands,
            params,
            work,
            measured: AtomicU64::new(0),
        })
    }

    /// The uniform buffer, where there are parameters, and a bind group of it for each layout.
    fn create_params(
        &self,
        creating: Creating<'_>,
    ) -> Result<(Option<wgpu::Buffer>, Vec<wgpu::BindGroup>)> {
        if self.layouts.is_empty() {
            return Ok((None, Vec::new()));
        }
        let (place, bytes) = ("a plan's parameters", self.uniform.len() as u64);
        let descriptor = wgpu::BufferDescriptor {
            label: Some(place),
            size: bytes,
            usage: wgpu::BufferUsages::UNIFORM | wgpu::BufferUsages::COPY_DST,
            mapped_at_creation: false,
        };
        let device = self.gpu.device();
        let uniform = creating.one(place, bytes, || device.create_buffer(&descriptor))?;
        let group = |ParamsLayout { layout, bytes }: &ParamsLayout| {
            let range = (uniform.clone(), 0, u64::from(*bytes));
            let entries = [entry(0, &range)];
            creating.one(place, 0, || self.gpu.bind_group(layout, &entries))
        };
        let groups = self.layouts.iter().map(group).collect::<Result<_>>()?;
        Ok((Some(uniform), groups))
    }

    fn create_operands(&self, creating: Creating<'_>) -> Result<Vec<wgpu::BindGroup>> {
        let group = |(at, program, ranges): &(u32, Arc<Program>, Vec<Range>)| {
            let entries = ranges.iter().enumerate();
            let entries: Vec<_> = entries.map(|(i, range)| entry(i as u32, range)).collect();
            let place = format_args!("the operands of step {at}, {}", program.key().variant);
            creating.one(place, 0, || self.gpu.bind_group(program.layout(), &entries))
        };
        self.operands.iter().map(group).collect()
    }
}

/// Bytes of a binding.
fn size(bytes: u64) -> u64 {
    bytes.max(1).next_multiple_of(BINDING_STEP)
}

fn entry<'a>(binding: u32, (buffer, offset, bytes): &'a Range) -> wgpu::BindGroupEntry<'a> {
    let size = std::num::NonZero::new(*bytes);
    let resource = wgpu::BindingResource::Buffer(wgpu::BufferBinding {
        buffer,
        offset: *offset,
        size,
    });
    wgpu::BindGroupEntry { binding, resource }
}

/// Browsers refuse, and native wgpu does not always see: ranges of one buffer that overlap where one
/// may be written, and a `read` binding of a buffer that another binding may write.
fn check_neighbours(dispatch: &BoundDispatch) -> Result<()> {
    let writable = dispatch.program.writable();
    let (program, buffers) = (&dispatch.program, &dispatch.buffers);
    let name = |i: usize| program.source().bindings()[i].name.as_str();
    for i in 0..buffers.len() {
        for j in 0..i {
            let written = [i, j].map(|k| writable >> k & 1 == 1);
            if buffers[i].0 != buffers[j].0 || written == [false; 2] {
                continue;
            }
            if written[0] != written[1] {
                let message = format!(
                    "shares a buffer with {}, so both must be read_write",
                    name(j)
                );
                return Err(misfit(program, name(i), message));
            }
            let [a, b] = [i, j].map(|k| (buffers[k].1, buffers[k].1 + size(buffers[k].2)));
            if a.0 < b.1 && b.0 < a.1 {
                let message = format!("overlaps {}, and both may be written", name(j));
                return Err(misfit(program, name(i), message));
            }
        }
    }
    Ok(())
}

pub(crate) fn misfit(program: &Program, name: &str, message: String) -> Error {
    Error::Binding {
        program: program.key().variant.to_string(),
        name: name.into(),
        message,
    }
}
