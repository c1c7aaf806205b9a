//! A Vulkan driver as a compiler: compute pipelines for a GPU that is not there, and what the driver tells of them.
//!
//! The only unsafe code of this package: Vulkan through `ash`. Every handle lives as long as the process, which ends after
//! its last pipeline, so nothing is destroyed and nothing can dangle.

use std::collections::BTreeMap;
use std::ffi::CStr;

use ash::{khr, vk};

use crate::AnyError;

/// A device of the driver that `VK_DRIVER_FILES` names; it compiles and never runs anything.
pub(crate) struct Compiler {
    /// The device's name, as the driver gives it.
    pub(crate) name: String,
    /// The driver's version.
    pub(crate) driver: String,
    /// Whether it takes cooperative matrices.
    pub(crate) matrices: bool,
    device: ash::Device,
    executables: khr::pipeline_executable_properties::Device,
    // The loader and the instance must outlive the device.
    _instance: ash::Instance,
    _entry: ash::Entry,
}

/// What a driver tells of one pipeline.
pub(crate) struct Compiled {
    /// Threads of a wave.
    pub(crate) wave: u32,
    /// By the driver's names.
    pub(crate) statistics: BTreeMap<String, u64>,
    /// The instructions, as text.
    pub(crate) assembly: String,
}

impl Compiler {
    /// The first device, with the features that wgpu opens one with.
    pub(crate) fn new() -> Result<Self, AnyError> {
        // SAFETY: the library is Vulkan's loader, and the handles below are used while the instance lives.
        unsafe {
            let entry = ash::Entry::load()?;
            let app = vk::ApplicationInfo::default().api_version(vk::API_VERSION_1_3);
            let info = vk::InstanceCreateInfo::default().application_info(&app);
            let instance = entry.create_instance(&info, None)?;
            let all = instance.enumerate_physical_devices()?;
            let &physical = all.first().ok_or("the driver offers no device")?;
            let mut driver = vk::PhysicalDeviceDriverProperties::default();
            let mut properties = vk::PhysicalDeviceProperties2::default().push_next(&mut driver);
            instance.get_physical_device_properties2(physical, &mut properties);
            let name = text(properties.properties.device_name_as_c_str()?);
            let extensions = instance.enumerate_device_extension_properties(physical)?;
            let has = |name: &CStr| {
                let mut names = extensions.iter().map(|e| e.extension_name_as_c_str());
                names.any(|other| other == Ok(name))
            };
            let matrices = has(khr::cooperative_matrix::NAME);
            if !has(khr::pipeline_executable_properties::NAME) {
                return Err(format!("{name} does not tell of its pipelines").into());
            }
            let device = open(&instance, physical, matrices)?;
            Ok(Self {
                name,
                driver: text(driver.driver_info_as_c_str()?),
                matrices,
                executables: khr::pipeline_executable_properties::Device::new(&instance, &device),
                device,
                _instance: instance,
                _entry: entry,
            })
        }
    }

    /// Compiles SPIR-V whose group 0 holds `storage` buffers and whose group 1, where `params`, holds a uniform.
    pub(crate) fn compile(
        &self,
        words: &[u32],
        storage: u32,
        params: bool,
    ) -> Result<Compiled, AnyError> {
        // SAFETY: naga wrote and validated the words, and the layouts hold the bindings that they declare.
        unsafe {
            let info = vk::ShaderModuleCreateInfo::default().code(words);
            let module = self.device.create_shader_module(&info, None)?;
            let buffers = self.group(storage, vk::DescriptorType::STORAGE_BUFFER)?;
            let uniform = self.group(params.into(), vk::DescriptorType::UNIFORM_BUFFER_DYNAMIC)?;
            let groups = [buffers, uniform];
            let info = vk::PipelineLayoutCreateInfo::default().set_layouts(&groups);
            let layout = self.device.create_pipeline_layout(&info, None)?;
            let stage = vk::PipelineShaderStageCreateInfo::default()
                .flags(vk::PipelineShaderStageCreateFlags::ALLOW_VARYING_SUBGROUP_SIZE)
                .stage(vk::ShaderStageFlags::COMPUTE)
                .module(module)
                .name(c"main");
            let capture = vk::PipelineCreateFlags::CAPTURE_STATISTICS_KHR
                | vk::PipelineCreateFlags::CAPTURE_INTERNAL_REPRESENTATIONS_KHR;
            let info = vk::ComputePipelineCreateInfo::default()
                .flags(capture)
                .stage(stage)
                .layout(layout);
            let made =
                self.device
                    .create_compute_pipelines(vk::PipelineCache::null(), &[info], None);
            let pipeline = made.map_err(|(_, error)| error)?[0];
            let compiled = self.tell(pipeline);
            self.device.destroy_pipeline(pipeline, None);
            compiled
        }
    }

    /// # Safety
    /// As any call on the device.
    unsafe fn group(
        &self,
        count: u32,
        ty: vk::DescriptorType,
    ) -> Result<vk::DescriptorSetLayout, AnyError> {
        let bindings: Vec<_> = (0..count)
            .map(|i| {
                vk::DescriptorSetLayoutBinding::default()
                    .binding(i)
                    .descriptor_count(1)
                    .descriptor_type(ty)
                    .stage_flags(vk::ShaderStageFlags::COMPUTE)
            })
            .collect();
        let info = vk::DescriptorSetLayoutCreateInfo::default().bindings(&bindings);
        // SAFETY: the caller's.
        Ok(unsafe { self.device.create_descriptor_set_layout(&info, None)? })
    }

    /// # Safety
    /// The pipeline was made with both kinds of capture.
    unsafe fn tell(&self, pipeline: vk::Pipeline) -> Result<Compiled, AnyError> {
        let info = vk::PipelineInfoKHR::default().pipeline(pipeline);
        let executable = vk::PipelineExecutableInfoKHR::default().pipeline(pipeline);
        // SAFETY: the caller's; which field of the union is set, its format says.
        unsafe {
            let properties = self.executables.get_pipeline_executable_properties(&info)?;
            let wave = properties.first().ok_or("no executable")?.subgroup_size;
            let told = self
                .executables
                .get_pipeline_executable_statistics(&executable)?;
            let mut statistics = BTreeMap::new();
            for one in &told {
                use vk::PipelineExecutableStatisticFormatKHR as Format;
                let value = match one.format {
                    Format::BOOL32 => one.value.b32.into(),
                    Format::INT64 => one.value.i64.try_into()?,
                    Format::UINT64 => one.value.u64,
                    _ => one.value.f64.round() as u64,
                };
                statistics.insert(text(one.name_as_c_str()?), value);
            }
            Ok(Compiled {
                wave,
                statistics,
                assembly: self.assembly(&executable)?,
            })
        }
    }

    /// The representation that is the GPU's own. (`ash` reads sizes alone: the text takes a second call with room for it.)
    ///
    /// # Safety
    /// As for [`Compiler::tell`].
    unsafe fn assembly(
        &self,
        executable: &vk::PipelineExecutableInfoKHR<'_>,
    ) -> Result<String, AnyError> {
        // SAFETY: the caller's; each buffer is as long as the first call says, and lives until the last one returns.
        unsafe {
            let sized = self
                .executables
                .get_pipeline_executable_internal_representations(executable)?;
            let mut room: Vec<_> = sized.iter().map(|one| vec![0u8; one.data_size]).collect();
            let mut read = sized;
            for (one, room) in read.iter_mut().zip(&mut room) {
                one.p_data = room.as_mut_ptr().cast();
            }
            let mut count = read.len() as u32;
            let call = self
                .executables
                .fp()
                .get_pipeline_executable_internal_representations_khr;
            call(
                self.device.handle(),
                executable,
                &mut count,
                read.as_mut_ptr(),
            )
            .result()?;
            let named = |one: &vk::PipelineExecutableInternalRepresentationKHR<'_>| matches!(one.name_as_c_str(), Ok(name) if text(name).contains("Assembly"));
            let at = read.iter().position(named).ok_or("no assembly")?;
            let bytes = &room[at];
            let end = bytes.iter().position(|&b| b == 0).unwrap_or(bytes.len());
            Ok(String::from_utf8_lossy(&bytes[..end]).into_owned())
        }
    }
}

/// # Safety
/// The physical device is one of the instance.
unsafe fn open(
    instance: &ash::Instance,
    physical: vk::PhysicalDevice,
    matrices: bool,
) -> Result<ash::Device, AnyError> {
    // As wgpu opens a device: hardware checks the bounds of buffers whatever the shader does.
    let features = vk::PhysicalDeviceFeatures::default()
        .robust_buffer_access(true)
        .shader_int16(true);
    let mut v11 = vk::PhysicalDeviceVulkan11Features::default()
        .storage_buffer16_bit_access(true)
        .uniform_and_storage_buffer16_bit_access(true);
    let mut v12 = vk::PhysicalDeviceVulkan12Features::default()
        .shader_float16(true)
        .vulkan_memory_model(true)
        .vulkan_memory_model_device_scope(true);
    let mut v13 = vk::PhysicalDeviceVulkan13Features::default()
        .shader_integer_dot_product(true)
        .subgroup_size_control(true)
        .shader_zero_initialize_workgroup_memory(true);
    let mut tell = vk::PhysicalDevicePipelineExecutablePropertiesFeaturesKHR::default()
        .pipeline_executable_info(true);
    let mut matrix =
        vk::PhysicalDeviceCooperativeMatrixFeaturesKHR::default().cooperative_matrix(true);
    let mut names = vec![khr::pipeline_executable_properties::NAME.as_ptr()];
    let queue = vk::DeviceQueueCreateInfo::default().queue_priorities(&[1.0]);
    let queues = [queue];
    if matrices {
        names.push(khr::cooperative_matrix::NAME.as_ptr());
    }
    let mut info = vk::DeviceCreateInfo::default()
        .queue_create_infos(&queues)
        .enabled_extension_names(&names)
        .enabled_features(&features)
        .push_next(&mut v11)
        .push_next(&mut v12)
        .push_next(&mut v13)
        .push_next(&mut tell);
    if matrices {
        info = info.push_next(&mut matrix);
    }
    // SAFETY: the caller's.
    Ok(unsafe { instance.create_device(physical, &info, None)? })
}

fn text(of: &CStr) -> String {
    of.to_string_lossy().into_owned()
}
