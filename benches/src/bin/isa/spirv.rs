//! WGSL to SPIR-V with the options of wgpu's Vulkan backend.

use naga::back::spv;
use naga::proc::{BoundsCheckPolicies, BoundsCheckPolicy};
use naga::valid::{Capabilities, ShaderStages, SubgroupOperationSet, ValidationFlags, Validator};

use crate::AnyError;

/// The words of an assembled text. `trusted`: without runtime checks and zeroed workgroup memory
/// (`GpuOptions::trusted`).
pub(crate) fn spirv(text: &str, trusted: bool) -> Result<Vec<u32>, AnyError> {
    let module = naga::front::wgsl::parse_str(text).map_err(|e| e.emit_to_string(text))?;
    let mut validator = Validator::new(ValidationFlags::all(), Capabilities::all());
    validator
        .subgroup_stages(ShaderStages::COMPUTE)
        .subgroup_operations(SubgroupOperationSet::all());
    let info = validator
        .validate(&module)
        .map_err(|e| e.emit_to_string(text))?;
    let entry = spv::PipelineOptions {
        shader_stage: naga::ShaderStage::Compute,
        entry_point: "main".into(),
    };
    Ok(spv::write_vec(
        &module,
        &info,
        &options(trusted),
        Some(&entry),
    )?)
}

fn options(trusted: bool) -> spv::Options<'static> {
    let checked = match trusted {
        true => BoundsCheckPolicy::Unchecked,
        false => BoundsCheckPolicy::Restrict,
    };
    spv::Options {
        lang_version: (1, 6),
        flags: spv::WriterFlags::empty(),
        bounds_check_policies: BoundsCheckPolicies {
            index: checked,
            // The driver has robustBufferAccess2, which wgpu then relies on.
            buffer: BoundsCheckPolicy::Unchecked,
            image_load: checked,
            binding_array: BoundsCheckPolicy::Unchecked,
        },
        zero_initialize_workgroup_memory: match trusted {
            true => spv::ZeroInitializeWorkgroupMemoryMode::None,
            false => spv::ZeroInitializeWorkgroupMemoryMode::Native,
        },
        force_loop_bounding: !trusted,
        emit_int_div_checks: !trusted,
        ..spv::Options::default()
    }
}
