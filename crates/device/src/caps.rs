//! What a device can do, as plain data.

use std::fmt;

/// What an adapter is made of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[non_exhaustive]
pub enum AdapterKind {
    /// A GPU with its own memory.
    Discrete,
    /// A GPU that shares the processor's memory.
    Integrated,
    /// A GPU seen through a hypervisor.
    Virtual,
    /// A processor that plays GPU (lavapipe, SwiftShader, WARP).
    Software,
    /// Not said: every adapter in a browser.
    Unknown,
}

/// The API that drives an adapter.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Backend {
    /// Vulkan.
    Vulkan,
    /// Metal.
    Metal,
    /// Direct3D 12.
    Dx12,
    /// A browser's WebGPU.
    WebGpu,
    /// OpenGL, only on an embedder's device.
    Gl,
    /// wgpu's backend that accepts everything and computes nothing: for tests without a GPU.
    Noop,
}

/// Matrices that the threads of a subgroup multiply together: EDGE x EDGE x EDGE.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct CoopMatrix {
    /// Rows, columns and depth: 16 or 8.
    pub edge: u32,
    /// Threads of the subgroups in which kernels of them run.
    pub lanes: u32,
}

/// What is known of a device's cooperative matrices. What naga makes of them says nothing of the order of memory accesses, so
/// that a driver may miscompute them: they are used only after a product was computed right.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum CoopState {
    /// The device has none that kernels can use.
    Absent,
    /// It has some, and no product has been tried.
    Untested,
    /// Products were right: [`Caps::coop_matrix`].
    Right(CoopMatrix),
    /// Products were wrong, or did not compile; the text says how. They are not used.
    Wrong(String),
}

/// The limits that kernels and plans look at.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Limits {
    /// Bytes of one storage binding.
    pub binding_bytes: u64,
    /// Bytes of one buffer.
    pub buffer_bytes: u64,
    /// Storage buffers that one shader may bind.
    pub storage_buffers: u32,
    /// Bytes of workgroup memory.
    pub workgroup_bytes: u32,
    /// Threads of one workgroup.
    pub invocations: u32,
    /// Workgroups in one dimension of a dispatch.
    pub groups: u32,
    /// Alignment of a storage binding's offset, in bytes.
    pub storage_align: u32,
    /// Alignment of a uniform binding's dynamic offset, in bytes.
    pub uniform_align: u32,
}

/// What a device can do. Plain data: plans are made and tested without a GPU.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Caps {
    /// What the adapter is made of.
    pub kind: AdapterKind,
    /// The API that drives it.
    pub backend: Backend,
    /// `f16` in shaders (`enable f16;`).
    pub f16: bool,
    /// Integers of 64 bits in shaders, in vec4 of storage buffers too.
    pub int64: bool,
    /// Smallest and largest subgroup size where subgroup operations can be used.
    pub subgroups: Option<(u32, u32)>,
    /// `dot4I8Packed` is an instruction, not a polyfill.
    pub int8_dot: bool,
    /// Cooperative matrices of f16 with f32 accumulators, where they were proven on the device ([`Gpu::coop_state`]).
    ///
    /// [`Gpu::coop_state`]: crate::Gpu::coop_state
    pub coop_matrix: Option<CoopMatrix>,
    /// Rounds of all loops of an invocation together after which the driver may leave every loop, without an error
    /// (docs/shaders.md, "Loops"); none where it does not. Whatever kernels are chosen, they must stay below.
    pub loop_rounds: Option<u32>,
    /// Timestamp queries, for the profiler and the tuner.
    pub timestamps: bool,
    /// Sizes.
    pub limits: Limits,
}

impl Limits {
    /// What every WebGPU implementation gives (WebGPU, section 3.6.2 "Limits", column "Default").
    #[must_use]
    pub fn webgpu_default() -> Self {
        Self {
            binding_bytes: 128 << 20,
            buffer_bytes: 256 << 20,
            storage_buffers: 8,
            workgroup_bytes: 16 << 10,
            invocations: 256,
            groups: 65_535,
            storage_align: 256,
            uniform_align: 256,
        }
    }
}

impl Caps {
    /// What is known of loops on an adapter of this kind: lavapipe of Mesa 22 cuts them, and which version it is not every
    /// API tells.
    #[must_use]
    pub fn loop_rounds_of(kind: AdapterKind) -> Option<u32> {
        (kind == AdapterKind::Software).then_some(65_535)
    }

    /// What every WebGPU implementation can do: default limits and no features.
    #[must_use]
    pub fn webgpu_default() -> Self {
        Self {
            kind: AdapterKind::Unknown,
            backend: Backend::WebGpu,
            f16: false,
            int64: false,
            subgroups: None,
            int8_dot: false,
            coop_matrix: None,
            loop_rounds: None,
            timestamps: false,
            limits: Limits::webgpu_default(),
        }
    }

    /// A software adapter with subgroups of `lanes` and without f16: 8 for lavapipe, 4 for SwiftShader, which has no integers of
    /// 64 bits. For plans without one.
    #[must_use]
    pub fn software(lanes: u32) -> Self {
        let mut caps = Self::large(AdapterKind::Software, 32 << 10);
        caps.subgroups = Some((lanes, lanes));
        caps.int64 = lanes > 4;
        caps
    }

    /// A discrete GPU with f16, int8 products and 48 KiB of workgroup memory. For plans without one.
    #[must_use]
    pub fn discrete() -> Self {
        let mut caps = Self::large(AdapterKind::Discrete, 48 << 10);
        caps.f16 = true;
        caps.int8_dot = true;
        caps
    }

    fn large(kind: AdapterKind, workgroup_bytes: u32) -> Self {
        let mut caps = Self::webgpu_default();
        caps.kind = kind;
        caps.loop_rounds = Self::loop_rounds_of(kind);
        caps.limits.workgroup_bytes = workgroup_bytes;
        caps.limits.invocations = 1024;
        caps
    }
}

impl fmt::Display for CoopState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Absent => f.write_str("no"),
            Self::Untested => f.write_str("untested"),
            Self::Right(CoopMatrix { edge, lanes }) => {
                write!(f, "{edge}x{edge} by {lanes} threads")
            }
            Self::Wrong(what) => write!(f, "not used ({what})"),
        }
    }
}

impl fmt::Display for AdapterKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Discrete => "discrete",
            Self::Integrated => "integrated",
            Self::Virtual => "virtual",
            Self::Software => "software",
            Self::Unknown => "unknown",
        })
    }
}

impl fmt::Display for Backend {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Vulkan => "vulkan",
            Self::Metal => "metal",
            Self::Dx12 => "dx12",
            Self::WebGpu => "webgpu",
            Self::Gl => "gl",
            Self::Noop => "noop",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_default_limits_are_those_of_the_api() {
        let ours = Limits::webgpu_default();
        let api = wgpu::Limits::default();
        assert_eq!(ours.binding_bytes, api.max_storage_buffer_binding_size);
        assert_eq!(ours.buffer_bytes, api.max_buffer_size);
        assert_eq!(
            ours.storage_buffers,
            api.max_storage_buffers_per_shader_stage
        );
        assert_eq!(ours.workgroup_bytes, api.max_compute_workgroup_storage_size);
        assert_eq!(ours.invocations, api.max_compute_invocations_per_workgroup);
        assert_eq!(ours.groups, api.max_compute_workgroups_per_dimension);
        assert_eq!(ours.storage_align, api.min_storage_buffer_offset_alignment);
        assert_eq!(ours.uniform_align, api.min_uniform_buffer_offset_alignment);
    }
}
