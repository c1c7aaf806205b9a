//! Which adapter, and with which limits and features a device is asked of it.

use crate::{AdapterKind, Backend, Caps, CoopMatrix, Error, Limits, Result, platform};

/// How to choose an adapter.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum AdapterChoice {
    /// A discrete GPU if there is one, else an integrated one, a virtual one; software only where it is alone.
    #[default]
    Auto,
    /// The adapter of this [`AdapterInfo::key`].
    Key(String),
    /// The first software adapter.
    Software,
}

/// How to open a device.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct GpuOptions {
    /// Which adapter.
    pub adapter: AdapterChoice,
    /// Default WebGPU limits, no features and an unknown kind of adapter, to test what a browser with nothing more would do.
    pub default_limits_only: bool,
    /// wgpu's backend that accepts everything and computes nothing; `adapter` is not looked at.
    pub noop: bool,
    /// Runtime checks of bounds and loop counts and the zeroing of workgroup memory are left out of shaders that are not
    /// [`Variant::checked`](crate::Variant::checked). Set it only where every such shader guards its own accesses, as an
    /// [audited](Self::audited) device shows of the kernels of this engine: an access out of bounds would be undefined
    /// behaviour on the GPU.
    pub trusted: bool,
    /// Every access of a shader to an array is watched: [`Gpu::audit`](crate::Gpu::audit) tells those past an end, and reads of
    /// workgroup memory that nothing wrote before. Shaders become several times slower; it is for tests of shaders.
    pub audited: bool,
    /// Bytes that the buffers of this device may hold together.
    pub memory_limit: Option<u64>,
    /// Bytes of one storage binding, where that is less than the adapter's limit: plans are split as on an adapter of that
    /// limit. Rounded down to a multiple of 16. A browser gives a device no less than the default of 128 MiB, but plans heed it.
    pub binding_limit: Option<u64>,
}

/// One adapter of this machine.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct AdapterInfo {
    /// Names this adapter, the same in every process: `NVIDIA H200 (discrete, vulkan, 0000:3b:00.0)`.
    pub key: String,
    /// The model.
    pub name: String,
    /// What it is made of.
    pub kind: AdapterKind,
    /// The driver's name and version, as far as it tells.
    pub driver: String,
    /// The API that drives it.
    pub backend: Backend,
}

impl GpuOptions {
    /// The default choice of adapter, its limits and features, checked shaders.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Chooses the adapter.
    #[must_use]
    pub fn adapter(mut self, choice: AdapterChoice) -> Self {
        self.adapter = choice;
        self
    }

    /// Default WebGPU limits and no features.
    #[must_use]
    pub fn default_limits_only(mut self) -> Self {
        self.default_limits_only = true;
        self
    }

    /// The backend that computes nothing.
    #[must_use]
    pub fn noop(mut self) -> Self {
        self.noop = true;
        self
    }

    /// No runtime checks; see the field.
    #[must_use]
    pub fn trusted(mut self) -> Self {
        self.trusted = true;
        self
    }

    /// Watches accesses; see the field.
    #[must_use]
    pub fn audited(mut self) -> Self {
        self.audited = true;
        self
    }

    /// Bytes that the buffers may hold together.
    #[must_use]
    pub fn memory_limit(mut self, bytes: u64) -> Self {
        self.memory_limit = Some(bytes);
        self
    }

    /// Bytes of one storage binding; see the field.
    #[must_use]
    pub fn binding_limit(mut self, bytes: u64) -> Self {
        self.binding_limit = Some(bytes);
        self
    }

    /// The bytes of one binding on a device that has `bytes`.
    pub(crate) fn binding_bytes(&self, bytes: u64) -> u64 {
        self.binding_limit
            .map_or(bytes, |limit| bytes.min(limit & !15))
    }
}

/// The adapters, best first, each with its description.
pub(crate) async fn list(noop: bool) -> Vec<(wgpu::Adapter, AdapterInfo)> {
    let mut descriptor = wgpu::InstanceDescriptor::new_without_display_handle();
    descriptor.backends = if noop {
        wgpu::Backends::NOOP
    } else {
        platform::BACKENDS
    };
    descriptor.backend_options.noop.enable = noop;
    // Validation layers and debug names cost time and change nothing here; errors come from wgpu itself.
    descriptor.flags = wgpu::InstanceFlags::empty();
    let backends = descriptor.backends;
    let instance = wgpu::Instance::new(descriptor);
    let adapters = instance.enumerate_adapters(backends).await;
    let infos: Vec<_> = adapters
        .iter()
        .map(|adapter| describe(&adapter.get_info()))
        .collect();
    let mut found: Vec<_> = adapters.into_iter().zip(infos).collect();
    found.sort_by(|a, b| rank(&a.1).cmp(&rank(&b.1)));
    // Two cards of one model without a PCI address differ by their place in the driver's list.
    for i in 1..found.len() {
        let key = found[i].1.key.clone();
        let twins = found[..i]
            .iter()
            .filter(|other| other.1.key.starts_with(&key))
            .count();
        if twins > 0 {
            found[i].1.key = format!("{key} #{}", twins + 1);
        }
    }
    found
}

/// The adapter of a choice.
pub(crate) fn choose<T>(
    mut found: Vec<(T, AdapterInfo)>,
    choice: &AdapterChoice,
) -> Result<(T, AdapterInfo)> {
    let fits = |info: &AdapterInfo| match choice {
        AdapterChoice::Auto => true,
        AdapterChoice::Key(key) => info.key == *key,
        AdapterChoice::Software => info.kind == AdapterKind::Software,
    };
    match found.iter().position(|(_, info)| fits(info)) {
        Some(at) => Ok(found.swap_remove(at)),
        None => {
            let wanted = match choice {
                AdapterChoice::Auto => "any adapter",
                AdapterChoice::Key(key) => key,
                AdapterChoice::Software => "a software adapter",
            };
            let wanted = wanted.into();
            let keys: Vec<_> = found.iter().map(|(_, info)| info.key.as_str()).collect();
            let found = if keys.is_empty() {
                "none".into()
            } else {
                keys.join("; ")
            };
            Err(Error::NoAdapter { wanted, found })
        }
    }
}

/// Best first: kind, then API, then key, so that the order does not depend on the driver's.
fn rank(info: &AdapterInfo) -> (u8, u8, &str) {
    let kind = match info.kind {
        AdapterKind::Discrete => 0,
        AdapterKind::Integrated => 1,
        AdapterKind::Virtual => 2,
        AdapterKind::Unknown => 3,
        AdapterKind::Software => 4,
    };
    let backend = match info.backend {
        Backend::Vulkan | Backend::Metal | Backend::WebGpu => 0,
        Backend::Dx12 => 1,
        Backend::Gl | Backend::Noop => 2,
    };
    (kind, backend, &info.key)
}

pub(crate) fn describe(info: &wgpu::AdapterInfo) -> AdapterInfo {
    let (kind, backend) = (kind(info), backend(info.backend));
    let address = match info.device_pci_bus_id.as_str() {
        "" => format!("{:04x}:{:04x}", info.vendor, info.device),
        bus => bus.into(),
    };
    let name = if info.name.is_empty() {
        "unnamed"
    } else {
        info.name.trim()
    };
    AdapterInfo {
        key: format!("{name} ({kind}, {backend}, {address})"),
        name: name.into(),
        kind,
        driver: format!("{} {}", info.driver, info.driver_info)
            .trim()
            .into(),
        backend,
    }
}

fn kind(info: &wgpu::AdapterInfo) -> AdapterKind {
    // A browser does not say what an adapter is made of, but names it.
    let name = info.name.to_lowercase();
    let software = ["llvmpipe", "swiftshader", "basic render"];
    match info.device_type {
        wgpu::DeviceType::DiscreteGpu => AdapterKind::Discrete,
        wgpu::DeviceType::IntegratedGpu => AdapterKind::Integrated,
        wgpu::DeviceType::VirtualGpu => AdapterKind::Virtual,
        wgpu::DeviceType::Cpu => AdapterKind::Software,
        wgpu::DeviceType::Other if software.iter().any(|s| name.contains(s)) => {
            AdapterKind::Software
        }
        wgpu::DeviceType::Other => AdapterKind::Unknown,
    }
}

fn backend(backend: wgpu::Backend) -> Backend {
    match backend {
        wgpu::Backend::Noop => Backend::Noop,
        wgpu::Backend::Vulkan => Backend::Vulkan,
        wgpu::Backend::Metal => Backend::Metal,
        wgpu::Backend::Dx12 => Backend::Dx12,
        wgpu::Backend::Gl => Backend::Gl,
        wgpu::Backend::BrowserWebGpu => Backend::WebGpu,
    }
}

/// Opens a device with all of the adapter's limits and the features that kernels use.
pub(crate) async fn open(
    adapter: &wgpu::Adapter,
    info: &AdapterInfo,
    options: &GpuOptions,
) -> Result<(wgpu::Device, wgpu::Queue)> {
    let mut descriptor = wgpu::DeviceDescriptor {
        label: Some("tilewright"),
        ..Default::default()
    };
    if !options.default_limits_only {
        descriptor.required_features = adapter.features() & FEATURES;
    }
    let shapes = adapter.cooperative_matrix_properties();
    if !options.default_limits_only && shapes.iter().any(fits_coop) {
        descriptor.required_features |= adapter.features() & COOP;
        // SAFETY: the token says that wgpu's experimental features may be wrong. Of these only cooperative matrices are asked
        // for, and no kernel uses those before they computed right on this device (`Gpu::coop_state`).
        descriptor.experimental_features = unsafe { wgpu::ExperimentalFeatures::enabled() };
    }
    // The noop adapter's limits are the largest numbers there are, which no plan should be tested with.
    if !options.default_limits_only && !options.noop {
        descriptor.required_limits = adapter.limits();
    }
    if options.audited {
        descriptor.required_limits = audit_limits(descriptor.required_limits, &adapter.limits());
    }
    let binding = &mut descriptor.required_limits.max_storage_buffer_binding_size;
    *binding = options.binding_bytes(*binding);
    let mut opened = adapter.request_device(&descriptor).await;
    if opened.is_err() && descriptor.required_features.contains(COOP) {
        descriptor.required_features.remove(COOP);
        opened = adapter.request_device(&descriptor).await;
    }
    opened.map_err(|error| Error::NoDevice {
        adapter: info.key.clone(),
        message: error.to_string(),
    })
}

/// Room for what an audit adds, which [`caps`] does not tell: kernels are those of a device without.
fn audit_limits(mut limits: wgpu::Limits, most: &wgpu::Limits) -> wgpu::Limits {
    limits.max_storage_buffers_per_shader_stage = (limits.max_storage_buffers_per_shader_stage + 1)
        .min(most.max_storage_buffers_per_shader_stage);
    limits.max_compute_workgroup_storage_size = most.max_compute_workgroup_storage_size;
    limits
}

/// The features that kernels use, of which a device gets those it has.
const FEATURES: wgpu::Features = wgpu::Features::SHADER_F16
    .union(wgpu::Features::SUBGROUP)
    .union(wgpu::Features::SHADER_INT64)
    .union(wgpu::Features::TIMESTAMP_QUERY);

/// Cooperative matrices.
const COOP: wgpu::Features = wgpu::Features::EXPERIMENTAL_COOPERATIVE_MATRIX;

/// f16 matrices with f32 accumulators in one of the two shapes that naga knows.
fn fits_coop(shape: &wgpu::CooperativeMatrixProperties) -> bool {
    use wgpu::CooperativeScalarType::{F16, F32};
    let square = shape.m_size == shape.n_size && shape.n_size == shape.k_size;
    let types = shape.ab_type == F16 && shape.cr_type == F32;
    square && types && [8, 16].contains(&shape.m_size)
}

/// The cooperative matrices of an opened device, best first, for each size of subgroups that the driver may choose.
pub(crate) fn coop_offers(adapter: &wgpu::Adapter, device: &wgpu::Device) -> Vec<CoopMatrix> {
    if !device
        .features()
        .contains(COOP | wgpu::Features::SHADER_F16)
    {
        return Vec::new();
    }
    let shapes = adapter.cooperative_matrix_properties();
    let info = adapter.get_info();
    let mut lanes = vec![info.subgroup_max_size, info.subgroup_min_size];
    lanes.dedup();
    let edges = [16, 8].into_iter().filter(|&edge| {
        let mut fitting = shapes.iter().filter(|shape| fits_coop(shape));
        fitting.any(|shape| shape.m_size == edge)
    });
    edges
        .flat_map(|edge| lanes.iter().map(move |&lanes| CoopMatrix { edge, lanes }))
        .filter(|of| [32, 64].contains(&of.lanes))
        .collect()
}

/// What an opened device can do.
pub(crate) fn caps(adapter: &wgpu::Adapter, device: &wgpu::Device) -> Caps {
    let info = adapter.get_info();
    let (features, limits) = (device.features(), device.limits());
    let backend = backend(info.backend);
    let sizes = (info.subgroup_min_size, info.subgroup_max_size);
    Caps {
        kind: kind(&info),
        backend,
        loop_rounds: Caps::loop_rounds_of(kind(&info)),
        f16: features.contains(wgpu::Features::SHADER_F16),
        int64: features.contains(wgpu::Features::SHADER_INT64),
        subgroups: features.contains(wgpu::Features::SUBGROUP).then_some(sizes),
        // naga lowers dot4I8Packed to an instruction for SPIR-V and HLSL; for Metal it writes it out.
        int8_dot: matches!(backend, Backend::Vulkan | Backend::Dx12 | Backend::WebGpu),
        coop_matrix: None,
        timestamps: features.contains(wgpu::Features::TIMESTAMP_QUERY),
        limits: Limits {
            binding_bytes: limits.max_storage_buffer_binding_size,
            buffer_bytes: limits.max_buffer_size,
            storage_buffers: limits.max_storage_buffers_per_shader_stage,
            workgroup_bytes: limits.max_compute_workgroup_storage_size,
            invocations: limits.max_compute_invocations_per_workgroup,
            groups: limits.max_compute_workgroups_per_dimension,
            storage_align: limits.min_storage_buffer_offset_alignment,
            uniform_align: limits.min_uniform_buffer_offset_alignment,
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn info(name: &str, device_type: wgpu::DeviceType, bus: &str) -> wgpu::AdapterInfo {
        wgpu::AdapterInfo {
            name: name.into(),
            device_pci_bus_id: bus.into(),
            vendor: 0x10de,
            device: 0x2335,
            ..wgpu::AdapterInfo::new(device_type, wgpu::Backend::Vulkan)
        }
    }

    fn sorted() -> Vec<(u32, AdapterInfo)> {
        let mut found = vec![
            (
                0,
                describe(&info("llvmpipe (LLVM 15)", wgpu::DeviceType::Cpu, "")),
            ),
            (
                1,
                describe(&info(
                    "UHD",
                    wgpu::DeviceType::IntegratedGpu,
                    "0000:00:02.0",
                )),
            ),
            (
                2,
                describe(&info("H200", wgpu::DeviceType::DiscreteGpu, "0000:3b:00.0")),
            ),
            (
                3,
                describe(&info("H200", wgpu::DeviceType::DiscreteGpu, "0000:1b:00.0")),
            ),
        ];
        found.sort_by(|a, b| rank(&a.1).cmp(&rank(&b.1)));
        found
    }

    #[test]
    fn discrete_comes_first_and_software_last() {
        let order: Vec<_> = sorted().iter().map(|(n, _)| *n).collect();
        assert_eq!(order, [3, 2, 1, 0]);
        assert_eq!(choose(sorted(), &AdapterChoice::Auto).unwrap().0, 3);
        assert_eq!(choose(sorted(), &AdapterChoice::Software).unwrap().0, 0);
    }

    #[test]
    fn an_adapter_is_found_by_its_key() {
        let key = "H200 (discrete, vulkan, 0000:3b:00.0)".to_string();
        assert_eq!(choose(sorted(), &AdapterChoice::Key(key)).unwrap().0, 2);
        let (_, software) = choose(sorted(), &AdapterChoice::Software).unwrap();
        assert_eq!(
            software.key,
            "llvmpipe (LLVM 15) (software, vulkan, 10de:2335)"
        );
    }

    #[test]
    fn software_is_taken_where_it_is_alone() {
        let alone: Vec<_> = sorted().into_iter().filter(|(n, _)| *n == 0).collect();
        assert_eq!(choose(alone, &AdapterChoice::Auto).unwrap().0, 0);
    }

    #[test]
    fn a_missing_adapter_says_what_is_there() {
        let error = choose(sorted(), &AdapterChoice::Key("x".into())).unwrap_err();
        assert!(
            error
                .to_string()
                .starts_with("no adapter for x; found: H200 (discrete"),
            "{error}"
        );
        let error = choose::<u32>(vec![], &AdapterChoice::Auto).unwrap_err();
        assert_eq!(error.to_string(), "no adapter for any adapter; found: none");
    }

    #[test]
    fn a_browser_s_software_adapter_is_known_by_name() {
        let other = wgpu::DeviceType::Other;
        assert_eq!(
            kind(&info("SwiftShader Device", other, "")),
            AdapterKind::Software
        );
        assert_eq!(kind(&info("apple", other, "")), AdapterKind::Unknown);
    }
}
