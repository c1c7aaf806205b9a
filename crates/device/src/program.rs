//! Programs: assembled shaders compiled for a device, kept by key.

use std::collections::HashMap;
use std::fmt;
use std::hash::Hash;
use std::num::NonZero;
use std::sync::{Arc, Mutex};

#[cfg(not(target_arch = "wasm32"))]
use crate::{AdapterKind, Backend, words::as_words};
#[cfg(not(target_arch = "wasm32"))]
use std::borrow::Cow;

use crate::health::{Scopes, lock, typed};
use crate::{BindingInfo, Error, Gpu, Param, Result, Source, Variant, assemble, platform};

/// Least bytes of a `Params` binding: programs with fewer share one layout and one bind group.
const PARAMS_LEAST: u32 = 256;
/// Programs a thread makes between two reports of progress.
const BATCH: usize = 4;

/// What a program is made from.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct ProgramKey {
    /// The shader.
    pub variant: Variant,
    /// Bit `i`: binding `i` is `read_write` even where only read, because its operand lies in one
    /// buffer with an operand that is written.
    pub shared: u32,
}

/// A compiled shader.
pub struct Program {
    key: ProgramKey,
    source: Arc<Source>,
    pipeline: wgpu::ComputePipeline,
    layout: wgpu::BindGroupLayout,
    params: Option<ParamsLayout>,
}

/// The layout of group 1, shared by all programs of one size class.
#[derive(Clone)]
pub(crate) struct ParamsLayout {
    pub(crate) layout: wgpu::BindGroupLayout,
    /// Bytes of the binding.
    pub(crate) bytes: u32,
}

/// What was made for a device.
#[derive(Default)]
pub(crate) struct Programs {
    sources: Mutex<HashMap<Variant, Arc<Source>>>,
    programs: Mutex<HashMap<ProgramKey, Arc<Program>>>,
    /// By number of bindings and mask of those that are written.
    layouts: Mutex<HashMap<(usize, u32), wgpu::BindGroupLayout>>,
    params: Mutex<HashMap<u32, wgpu::BindGroupLayout>>,
}

impl Program {
    /// What it was made from.
    #[must_use]
    pub fn key(&self) -> &ProgramKey {
        &self.key
    }

    /// Its text, bindings and parameters.
    #[must_use]
    pub fn source(&self) -> &Source {
        &self.source
    }

    /// The bytes of its `Params`: see [`Source::pack`].
    ///
    /// # Errors
    /// [`Error::Binding`] for a missing, unknown or doubled name, or a value of another type.
    pub fn pack(&self, values: &[(&str, Param)]) -> Result<Vec<u8>> {
        self.source.pack(values)
    }

    /// Mask of the bindings that the pipeline may write.
    pub(crate) fn writable(&self) -> u32 {
        writable(&self.source, self.key.shared)
    }

    pub(crate) fn pipeline(&self) -> &wgpu::ComputePipeline {
        &self.pipeline
    }

    pub(crate) fn layout(&self) -> &wgpu::BindGroupLayout {
        &self.layout
    }

    pub(crate) fn params(&self) -> Option<&ParamsLayout> {
        self.params.as_ref()
    }
}

fn writable(source: &Source, shared: u32) -> u32 {
    let bindings = source.bindings().iter().enumerate();
    bindings.fold(0, |mask, (i, binding)| {
        mask | u32::from(binding.writable || shared >> i & 1 == 1) << i
    })
}

impl Gpu {
    /// A variant's assembled text, kept.
    ///
    /// # Errors
    /// [`Error::Shader`]: see [`assemble`].
    pub fn source(&self, variant: &Variant) -> Result<Arc<Source>> {
        if let Some(source) = lock(&self.programs().sources).get(variant) {
            return Ok(source.clone());
        }
        let source = Arc::new(assemble(variant)?);
        lock(&self.programs().sources).insert(variant.clone(), source.clone());
        Ok(source)
    }

    /// How many programs were made so far; all are kept. It grows where a size needs a variant that none before it did.
    #[must_use]
    pub fn program_count(&self) -> usize {
        lock(&self.programs().programs).len()
    }

    /// A variant's bindings in binding order, to compute [`ProgramKey::shared`].
    ///
    /// # Errors
    /// [`Error::Shader`]: see [`assemble`].
    pub fn bindings(&self, variant: &Variant) -> Result<Vec<BindingInfo>> {
        Ok(self.source(variant)?.bindings().to_vec())
    }

    /// The programs of keys, in their order; those that are missing are made, natively on all processors.
    ///
    /// Natively the future does its work in its first poll: give it a thread that may block.
    ///
    /// # Errors
    /// [`Error::Shader`] with file and line, [`Error::Validation`] where the device refuses a pipeline
    /// (workgroup memory or invocations over its limits), [`Error::OutOfMemory`], the sticky error.
    pub async fn prepare(&self, keys: &[ProgramKey]) -> Result<Vec<Arc<Program>>> {
        self.prepare_with(keys, |_, _| {}).await
    }

    /// [`Gpu::prepare`], telling after each batch how many of the missing programs are made, and of how many.
    ///
    /// # Errors
    /// As [`Gpu::prepare`].
    pub async fn prepare_with(
        &self,
        keys: &[ProgramKey],
        mut progress: impl FnMut(usize, usize),
    ) -> Result<Vec<Arc<Program>>> {
        self.check()?;
        let mut missing: Vec<ProgramKey> = Vec::new();
        {
            let programs = lock(&self.programs().programs);
            let mut seen = std::collections::HashSet::new();
            missing.extend(
                keys.iter()
                    .filter(|key| !programs.contains_key(*key) && seen.insert(*key))
                    .cloned(),
            );
        }
        let mut made = 0;
        for batch in missing.chunks(BATCH * platform::workers()) {
            let built = platform::map_all(batch, |key| self.build_program(key));
            for (key, build) in batch.iter().zip(built) {
                let program = Arc::new(build?.finish().await?);
                lock(&self.programs().programs).insert(key.clone(), program);
            }
            made += batch.len();
            progress(made, missing.len());
        }
        self.check()?;
        let programs = lock(&self.programs().programs);
        let found: Vec<_> = keys
            .iter()
            .filter_map(|key| programs.get(key).cloned())
            .collect();
        Ok(found)
    }

    /// Creates a program's objects in error scopes that are popped when this returns.
    fn build_program(
        &self,
        key: &ProgramKey,
    ) -> Result<Build<impl Future<Output = Option<wgpu::Error>> + use<>>> {
        let source = self.source(&key.variant)?;
        self.check_limits(&source)?;
        let label = key.variant.to_string();
        let mut text = source.text(key.shared);
        let mut audit = None;
        if let Some((audited, layout)) = self.audited(&source, &text)? {
            (text, audit) = (audited.into(), Some(layout));
        }
        let scopes = Scopes::push(self.device());
        let layout = self.storage_layout(source.bindings().len(), writable(&source, key.shared));
        let params = self.params_layout(source.params_bytes());
        let mut groups = vec![Some(&layout), params.as_ref().map(|params| &params.layout)];
        match audit {
            Some(audit) => groups.push(Some(audit)),
            None => groups.truncate(1 + usize::from(params.is_some())),
        }
        let trusted = self.trusted() && !key.variant.checked;
        let module = self.module(&label, &text, trusted);
        let pipeline_layout =
            self.device()
                .create_pipeline_layout(&wgpu::PipelineLayoutDescriptor {
                    label: Some(&label),
                    bind_group_layouts: &groups,
                    immediate_size: 0,
                });
        let pipeline = self
            .device()
            .create_compute_pipeline(&wgpu::ComputePipelineDescriptor {
                label: Some(&label),
                layout: Some(&pipeline_layout),
                module: &module,
                entry_point: Some("main"),
                compilation_options: wgpu::PipelineCompilationOptions {
                    zero_initialize_workgroup_memory: !trusted,
                    ..Default::default()
                },
                cache: None,
            });
        let error = scopes.pop();
        let text = text.into_owned();
        let program = Program {
            key: key.clone(),
            source,
            pipeline,
            layout,
            params,
        };
        Ok(Build {
            program,
            text,
            device: self.device().clone(),
            error,
        })
    }

    fn check_limits(&self, source: &Source) -> Result<()> {
        let (bindings, limit) = (
            source.bindings().len() as u64,
            self.caps().limits.storage_buffers,
        );
        if bindings > u64::from(limit) {
            let what = format!("storage buffers (a number) of {}", source.variant());
            return Err(Error::TooLarge {
                what,
                bytes: bindings,
                limit: limit.into(),
            });
        }
        Ok(())
    }

    /// The text as the adapter likes it, where that is not the text; what does not parse goes to the device, which says why.
    #[cfg(not(target_arch = "wasm32"))]
    fn rewritten(&self, text: &str) -> Option<wgpu::ShaderSource<'static>> {
        let caps = self.caps();
        // Of the software adapters on other backends none was tried.
        let likes = caps.kind == AdapterKind::Software && caps.backend == Backend::Vulkan;
        let module = (likes && caps.int64).then(|| as_words(text)).flatten()?;
        Some(wgpu::ShaderSource::Naga(Cow::Owned(module)))
    }

    #[cfg(target_arch = "wasm32")]
    fn rewritten(&self, _: &str) -> Option<wgpu::ShaderSource<'static>> {
        None
    }

    fn module(&self, label: &str, text: &str, trusted: bool) -> wgpu::ShaderModule {
        let source = self.rewritten(text);
        let source = source.unwrap_or_else(|| wgpu::ShaderSource::Wgsl(text.into()));
        let descriptor = wgpu::ShaderModuleDescriptor {
            label: Some(label),
            source,
        };
        if !trusted {
            return self.device().create_shader_module(descriptor);
        }
        let mut checks = wgpu::ShaderRuntimeChecks::unchecked();
        // An audit sees indices, not divisors.
        checks.int_div_checks = true;
        // SAFETY: whoever opened the device said that its shaders keep to their bounds and end their loops
        // (`GpuOptions::trusted`), and this variant is not exempted (`checked`).
        unsafe {
            self.device()
                .create_shader_module_trusted(descriptor, checks)
        }
    }

    /// The layout of group 0: storage buffers only.
    fn storage_layout(&self, count: usize, writable: u32) -> wgpu::BindGroupLayout {
        let entry = |i: usize| {
            let read_only = writable >> i & 1 == 0;
            layout_entry(
                i as u32,
                wgpu::BufferBindingType::Storage { read_only },
                None,
            )
        };
        let entries: Vec<_> = (0..count).map(entry).collect();
        cached(&self.programs().layouts, (count, writable), || {
            self.device()
                .create_bind_group_layout(&wgpu::BindGroupLayoutDescriptor {
                    label: Some("operands"),
                    entries: &entries,
                })
        })
    }

    /// The layout of group 1, `None` where a program has no parameters.
    fn params_layout(&self, bytes: u32) -> Option<ParamsLayout> {
        if bytes == 0 {
            return None;
        }
        let bytes = bytes.next_power_of_two().max(PARAMS_LEAST);
        let size = NonZero::new(u64::from(bytes));
        let entry = layout_entry(0, wgpu::BufferBindingType::Uniform, size);
        let layout = cached(&self.programs().params, bytes, || {
            self.device()
                .create_bind_group_layout(&wgpu::BindGroupLayoutDescriptor {
                    label: Some("params"),
                    entries: &[entry],
                })
        });
        Some(ParamsLayout { layout, bytes })
    }
}

/// A binding of a compute shader; uniforms have dynamic offsets.
fn layout_entry(
    binding: u32,
    ty: wgpu::BufferBindingType,
    min_binding_size: Option<NonZero<u64>>,
) -> wgpu::BindGroupLayoutEntry {
    let has_dynamic_offset = ty == wgpu::BufferBindingType::Uniform;
    wgpu::BindGroupLayoutEntry {
        binding,
        visibility: wgpu::ShaderStages::COMPUTE,
        ty: wgpu::BindingType::Buffer {
            ty,
            has_dynamic_offset,
            min_binding_size,
        },
        count: None,
    }
}

/// What is kept under a key, made where it is missing.
fn cached<K: Hash + Eq, V: Clone>(
    map: &Mutex<HashMap<K, V>>,
    key: K,
    make: impl FnOnce() -> V,
) -> V {
    lock(map).entry(key).or_insert_with(make).clone()
}

/// A program whose errors are not known yet.
struct Build<F> {
    program: Program,
    text: String,
    device: wgpu::Device,
    error: F,
}

impl<F: Future<Output = Option<wgpu::Error>>> Build<F> {
    /// The program, or its error with file and line.
    async fn finish(self) -> Result<Program> {
        let Self {
            program,
            text,
            device,
            error,
        } = self;
        let Some(error) = error.await else {
            return Ok(program);
        };
        if !matches!(error, wgpu::Error::OutOfMemory { .. }) {
            let (module, errors) = unaltered(&device, &text);
            let info = module.get_compilation_info().await;
            let _ = errors.await;
            let mut messages = info.messages.into_iter();
            let wrong = messages.find(|m| m.message_type == wgpu::CompilationMessageType::Error);
            if let Some(wrong) = wrong {
                let line = wrong.location.map_or(0, |at| at.line_number);
                let place = program.source.place(line);
                return Err(Error::Shader {
                    place,
                    message: headline(&wrong.message),
                });
            }
        }
        Err(typed(error, &program.key.variant.to_string(), 0))
    }
}

/// The module of a text as it is: what the device got may have been rewritten, and has no lines then.
fn unaltered(
    device: &wgpu::Device,
    text: &str,
) -> (
    wgpu::ShaderModule,
    impl Future<Output = Option<wgpu::Error>> + use<>,
) {
    let scopes = Scopes::push(device);
    let module = device.create_shader_module(wgpu::ShaderModuleDescriptor {
        label: None,
        source: wgpu::ShaderSource::Wgsl(text.into()),
    });
    (module, scopes.pop())
}

/// naga's message without its drawing of the line, which is a line of the assembled text; a browser's as it is.
fn headline(message: &str) -> String {
    let mut lines = message
        .lines()
        .map(str::trim)
        .filter(|line| !line.is_empty());
    let first = lines.next().unwrap_or("unknown error");
    let first = first.split_once("error: ").map_or(first, |(_, rest)| rest);
    let notes = lines.filter_map(|line| line.strip_prefix("= "));
    let labels = message
        .lines()
        .filter_map(|line| line.split_once('^').map(|(_, rest)| rest));
    let labels = labels
        .map(|label| label.trim_start_matches('^').trim())
        .filter(|label| !label.is_empty());
    [first]
        .into_iter()
        .chain(labels)
        .chain(notes)
        .collect::<Vec<_>>()
        .join("; ")
}

impl fmt::Debug for Program {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Program")
            .field("key", &self.key)
            .finish_non_exhaustive()
    }
}

/// `gemm_reg LANES=8 shared=101`, the mask in binary with binding 0 at its right.
impl fmt::Display for ProgramKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} shared={:b}", self.variant, self.shared)
    }
}
