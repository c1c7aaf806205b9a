//! An opened device.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, OnceLock};

use crate::adapter::{self, AdapterInfo, GpuOptions};
use crate::audit::Audit;
use crate::buffer::Memory;
use crate::health::{Health, Scopes, Signalled, typed};
use crate::platform::{self, Poller};
use crate::program::Programs;
use crate::{AdapterKind, Buffer, Caps, CoopMatrix, CoopState, Error, Result};

/// An opened device; a clone is the same device. `Send` and `Sync` natively.
///
/// Natively a thread, asleep while nothing is pending, completes its futures, so they can be awaited
/// in any executor.
#[derive(Clone)]
pub struct Gpu(Arc<Inner>);

struct Inner {
    /// Ends first: it holds the device.
    poller: Poller,
    device: wgpu::Device,
    queue: wgpu::Queue,
    info: AdapterInfo,
    caps: Caps,
    coop_offers: Vec<CoopMatrix>,
    /// What `settle_coop` was told, and the capabilities from then on.
    coop: OnceLock<(CoopState, Caps)>,
    options: GpuOptions,
    /// An embedder's device, whose handlers are the embedder's.
    foreign: bool,
    health: Arc<Health>,
    memory: Arc<Memory>,
    programs: Programs,
    audit: Option<Audit>,
    /// Made so far.
    bind_groups: AtomicUsize,
    submissions: AtomicUsize,
    /// Buffers that reads go through, kept between reads.
    staging: Mutex<Vec<Buffer>>,
    /// Bytes written since the last submission, about: embedders submit too.
    staged: AtomicUsize,
}

impl Gpu {
    /// The adapters of this machine, best first. In a browser, the one that it chooses.
    pub async fn adapters() -> Vec<AdapterInfo> {
        adapter::list(false)
            .await
            .into_iter()
            .map(|found| found.1)
            .collect()
    }

    /// Opens a device.
    ///
    /// # Errors
    /// [`Error::NoAdapter`] where no adapter fits, [`Error::NoDevice`] where it gives no device.
    pub async fn new(options: GpuOptions) -> Result<Self> {
        let found = adapter::list(options.noop).await;
        let choice = if options.noop {
            &adapter::AdapterChoice::Auto
        } else {
            &options.adapter
        };
        let (adapter, info) = adapter::choose(found, choice)?;
        let (device, queue) = adapter::open(&adapter, &info, &options).await?;
        let health = Arc::new(Health::default());
        let theirs = health.clone();
        device.on_uncaptured_error(Arc::new(move |error| {
            theirs.report(typed(error, "an earlier call", 0));
        }));
        let theirs = health.clone();
        device.set_device_lost_callback(move |_, reason| theirs.lose(&reason));
        Ok(Self::build(
            &adapter, device, queue, options, health, info, false,
        ))
    }

    /// An embedder's device. No handler is installed on it; [`GpuOptions::trusted`], [`GpuOptions::memory_limit`] and
    /// [`GpuOptions::binding_limit`] are heeded, the other options are the embedder's.
    ///
    /// The device may do what it was opened with: ask for the adapter's limits and for `SHADER_F16`,
    /// `SUBGROUP`, `SHADER_INT64`, `TIMESTAMP_QUERY` and `EXPERIMENTAL_COOPERATIVE_MATRIX` to give the kernels a choice. Natively it
    /// is polled on a thread of ours while futures are pending, so the embedder's callbacks may run there.
    #[must_use]
    pub fn from_wgpu_with(
        adapter: &wgpu::Adapter,
        device: wgpu::Device,
        queue: wgpu::Queue,
        options: GpuOptions,
    ) -> Self {
        let info = adapter::describe(&adapter.get_info());
        Self::build(adapter, device, queue, options, Arc::default(), info, true)
    }

    /// An embedder's device, with default options: see [`Gpu::from_wgpu_with`].
    #[must_use]
    pub fn from_wgpu(adapter: &wgpu::Adapter, device: wgpu::Device, queue: wgpu::Queue) -> Self {
        Self::from_wgpu_with(adapter, device, queue, GpuOptions::default())
    }

    fn build(
        adapter: &wgpu::Adapter,
        device: wgpu::Device,
        queue: wgpu::Queue,
        options: GpuOptions,
        health: Arc<Health>,
        info: AdapterInfo,
        foreign: bool,
    ) -> Self {
        let mut caps = adapter::caps(adapter, &device);
        let coop_offers = adapter::coop_offers(adapter, &device);
        if options.default_limits_only && !foreign {
            // Browsers do not say; so the kernels for unknown GPUs are chosen, also on a software adapter. What its driver
            // does to loops stays known.
            caps.kind = AdapterKind::Unknown;
        }
        if options.audited {
            caps.limits.storage_buffers -= 1;
            if options.default_limits_only {
                caps.limits = crate::Limits::webgpu_default();
            }
        }
        caps.limits.binding_bytes = options.binding_bytes(caps.limits.binding_bytes);
        tracing::info!(adapter = %info.key, driver = %info.driver, ?caps, "opened a GPU device");
        Self(platform::shared(Inner {
            poller: Poller::new(&device, &health),
            memory: Memory::new(options.memory_limit),
            programs: Programs::default(),
            audit: options.audited.then(Audit::default),
            bind_groups: AtomicUsize::new(0),
            submissions: AtomicUsize::new(0),
            staging: Mutex::default(),
            staged: AtomicUsize::new(0),
            device,
            queue,
            info,
            caps,
            coop_offers,
            coop: OnceLock::new(),
            options,
            foreign,
            health,
        }))
    }

    /// What the device can do. Cooperative matrices are in it from when they are proven on.
    #[must_use]
    pub fn caps(&self) -> &Caps {
        self.0.coop.get().map_or(&self.0.caps, |coop| &coop.1)
    }

    /// The cooperative matrices that the device says it has, best first. They are to be proven before they are used.
    #[must_use]
    pub fn coop_offers(&self) -> &[CoopMatrix] {
        &self.0.coop_offers
    }

    /// What is known of the device's cooperative matrices.
    #[must_use]
    pub fn coop_state(&self) -> CoopState {
        match self.0.coop.get() {
            Some((state, _)) => state.clone(),
            None if self.0.coop_offers.is_empty() => CoopState::Absent,
            None => CoopState::Untested,
        }
    }

    /// Tells whether products of cooperative matrices are right on this device: which ones, or what was wrong. The first call
    /// counts; plans that are made later use them, or never do.
    pub fn settle_coop(&self, proven: std::result::Result<CoopMatrix, String>) {
        let mut caps = self.0.caps.clone();
        caps.coop_matrix = proven.as_ref().ok().copied();
        let state = match proven {
            Ok(of) => CoopState::Right(of),
            Err(what) => CoopState::Wrong(what),
        };
        tracing::info!(adapter = %self.0.info.key, %state, "cooperative matrices");
        // Another thread may have been first, with the same device and thus the same result.
        let _ = self.0.coop.set((state, caps));
    }

    /// The adapter.
    #[must_use]
    pub fn info(&self) -> &AdapterInfo {
        &self.0.info
    }

    /// The options that it was opened with.
    #[must_use]
    pub fn options(&self) -> &GpuOptions {
        &self.0.options
    }

    /// The device itself, for an embedder's own work.
    #[must_use]
    pub fn device(&self) -> &wgpu::Device {
        &self.0.device
    }

    /// The queue itself, for an embedder's own work.
    #[must_use]
    pub fn queue(&self) -> &wgpu::Queue {
        &self.0.queue
    }

    /// Whether it is the same device.
    #[must_use]
    pub fn is(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }

    /// The sticky error: a lost device every time, an uncaptured error once.
    ///
    /// # Errors
    /// [`Error::DeviceLost`], or the first error that no call could return.
    pub fn check(&self) -> Result<()> {
        self.0.health.check()
    }

    /// Waits until everything submitted before is done.
    ///
    /// # Errors
    /// The sticky error.
    pub async fn done(&self) -> Result<()> {
        self.check()?;
        self.barrier().await?;
        if self.0.foreign {
            self.pulse().await?;
        }
        self.check()
    }

    /// Ends when everything submitted before is done, and a loss that it caused is known.
    fn barrier(&self) -> Signalled {
        let signal = self.0.health.signal();
        self.0.poller.barrier(&self.0.queue, signal.clone());
        Signalled(signal)
    }

    /// Ends when a submission is done.
    pub(crate) fn submitted(&self, submission: wgpu::SubmissionIndex) -> Signalled {
        let signal = self.0.health.signal();
        let theirs = signal.clone();
        self.0
            .queue
            .on_submitted_work_done(move || theirs.set(Ok(())));
        self.0.poller.wake(Some(submission));
        Signalled(signal)
    }

    /// Whether an embedder's device still lives: work on a lost one seems to end well, a mapping does not.
    async fn pulse(&self) -> Result<()> {
        let pulse = self.staging(16)?;
        self.mapped(self.map(&pulse, None)).await?;
        pulse.raw().unmap();
        self.keep_staging(pulse);
        Ok(())
    }

    /// Maps a whole buffer for reading, after the submission that wrote it; await it through [`Gpu::mapped`].
    pub(crate) fn map(&self, buffer: &Buffer, after: Option<wgpu::SubmissionIndex>) -> Signalled {
        let signal = self.0.health.signal();
        let theirs = signal.clone();
        let mapping = self.doing("read", || {
            buffer
                .raw()
                .map_async(wgpu::MapMode::Read, .., move |mapped| {
                    theirs.set(mapped.map_err(|error| Error::DeviceLost {
                        reason: error.to_string(),
                    }));
                });
        });
        if let Err(error) = mapping {
            signal.set(Err(error));
        }
        self.0.poller.wake(after);
        Signalled(signal)
    }

    /// Awaits a mapping. It fails only where the device is lost, which is known after a barrier.
    pub(crate) async fn mapped(&self, mapping: Signalled) -> Result<()> {
        let Err(error) = mapping.await else {
            return Ok(());
        };
        self.barrier().await?;
        self.check()?;
        // Nobody tells about the loss of an embedder's device.
        if self.0.foreign && platform::ERRORS_ARE_IMMEDIATE {
            self.0.health.lose(&error.to_string());
        }
        Err(error)
    }

    /// Whether shaders are made without runtime checks.
    pub(crate) fn trusted(&self) -> bool {
        self.0.options.trusted
    }

    pub(crate) fn auditor(&self) -> Option<&Audit> {
        self.0.audit.as_ref()
    }

    pub(crate) fn memory(&self) -> &Arc<Memory> {
        &self.0.memory
    }

    pub(crate) fn programs(&self) -> &Programs {
        &self.0.programs
    }

    pub(crate) fn staged(&self) -> &AtomicUsize {
        &self.0.staged
    }

    pub(crate) fn submissions(&self) -> &AtomicUsize {
        &self.0.submissions
    }

    pub(crate) fn staging_pool(&self) -> &Mutex<Vec<Buffer>> {
        &self.0.staging
    }

    /// Creates something in error scopes. In a browser they answer later: there the error is the sticky one, and scopes are
    /// only for an embedder's device, whose handler is not ours.
    pub(crate) fn creating<T>(
        &self,
        place: impl std::fmt::Display,
        bytes: u64,
        create: impl FnOnce() -> T,
    ) -> Result<T> {
        if !platform::ERRORS_ARE_IMMEDIATE && !self.0.foreign {
            return Ok(create());
        }
        let scopes = Scopes::push(self.device());
        let created = create();
        let place = place.to_string();
        let (health, late) = (self.0.health.clone(), place.clone());
        let later = move |error| health.report(typed(error, &late, bytes));
        match platform::at_once(scopes.pop(), later) {
            None => Ok(created),
            Some(error) => Err(typed(error, &place, bytes)),
        }
    }

    /// Creates several things in one set of error scopes. Where that fails they are created again, each in its own, so that
    /// the error names the one.
    pub(crate) fn creating_all<T>(
        &self,
        place: &str,
        create: impl Fn(Creating<'_>) -> Result<T>,
    ) -> Result<T> {
        let creating = |singly| Creating { gpu: self, singly };
        match self.creating(place, 0, || create(creating(false))) {
            Ok(created) => created,
            Err(_) => create(creating(true)),
        }
    }

    /// A bind group, in the error scopes around it.
    pub(crate) fn bind_group(
        &self,
        layout: &wgpu::BindGroupLayout,
        entries: &[wgpu::BindGroupEntry<'_>],
    ) -> wgpu::BindGroup {
        self.0.bind_groups.fetch_add(1, Ordering::Relaxed);
        let descriptor = wgpu::BindGroupDescriptor {
            label: None,
            layout,
            entries,
        };
        self.device().create_bind_group(&descriptor)
    }

    /// How many submissions were made so far, of runs, reads and large writes; an embedder's own are not counted.
    #[must_use]
    pub fn submission_count(&self) -> usize {
        self.0.submissions.load(Ordering::Relaxed)
    }

    /// How many bind groups were made so far: each replay makes its own when it is bound, and none when it runs.
    #[must_use]
    pub fn bind_group_count(&self) -> usize {
        self.0.bind_groups.load(Ordering::Relaxed)
    }

    /// Does steady work: in error scopes only on an embedder's device, whose handler is not ours.
    pub(crate) fn doing<T>(&self, place: &str, work: impl FnOnce() -> T) -> Result<T> {
        if self.0.foreign {
            self.creating(place, 0, work)
        } else {
            Ok(work())
        }
    }
}

/// How [`Gpu::creating_all`] creates each of several things.
#[derive(Clone, Copy)]
pub(crate) struct Creating<'g> {
    gpu: &'g Gpu,
    singly: bool,
}

impl Creating<'_> {
    /// Creates one of them.
    pub(crate) fn one<T>(
        self,
        place: impl std::fmt::Display,
        bytes: u64,
        create: impl FnOnce() -> T,
    ) -> Result<T> {
        if self.singly {
            self.gpu.creating(place, bytes, create)
        } else {
            Ok(create())
        }
    }
}

impl std::fmt::Debug for Gpu {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Gpu")
            .field("info", &self.0.info)
            .finish_non_exhaustive()
    }
}
