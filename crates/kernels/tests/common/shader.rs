//! Naga's opinion of a dispatch, as far as no GPU is needed; and the texts, for a browser's.

use naga::valid::{Capabilities, ShaderStages, SubgroupOperationSet, ValidationFlags, Validator};
use std::collections::hash_map::DefaultHasher;
use std::env;
use std::fs;
use std::hash::{Hash, Hasher};
use std::path::Path;
use tilewright_device::{AdapterKind, Caps, Dispatch, Source, as_words, assemble};

/// Checks a dispatch whatever of it lies in an arena, where everything is bound read_write.
pub(crate) fn check(caps: &Caps, dispatch: &Dispatch) {
    check_shared(caps, dispatch, 0);
    // What browsers accept with everything writable, they accept with less: `read` only makes more values uniform.
    let text = check_shared(caps, dispatch, u32::MAX);
    // Browsers have neither cooperative matrices nor integers of 64 bits.
    let matrices = (dispatch.variant.enables).contains(&"wgpu_cooperative_matrix");
    if !matrices && !text.contains("u64") {
        dump(dispatch, &text);
    }
}

/// Bindings and parameters fit the assembled text, naga accepts the text, workgroups keep the adapter's limits. Bit `i` of
/// `shared` stands for a binding that is read_write because its operand lies beside what is written. Gives the text.
pub(crate) fn check_shared(caps: &Caps, dispatch: &Dispatch, shared: u32) -> String {
    let source = assemble(&dispatch.variant).unwrap_or_else(|e| panic!("{dispatch}\n{e}"));
    source
        .check(dispatch)
        .unwrap_or_else(|e| panic!("{dispatch}\n{e}"));
    let text = source.text(shared);
    let module = validate(caps, dispatch, &source, &text);
    limits(caps, dispatch, &module);
    text.into_owned()
}

fn validate(caps: &Caps, dispatch: &Dispatch, source: &Source, text: &str) -> naga::Module {
    let module = naga::front::wgsl::parse_str(text).unwrap_or_else(|e| {
        let line = e.location(text).map_or(0, |at| at.line_number);
        panic!(
            "{dispatch}\n{}: {}",
            source.place(line),
            e.emit_to_string(text)
        )
    });
    // unpack2x16float is core WGSL; naga asks for a capability because some old GL lacks it.
    let mut allowed = Capabilities::SHADER_FLOAT16_IN_FLOAT32;
    allowed.set(Capabilities::SHADER_FLOAT16, caps.f16);
    allowed.set(Capabilities::COOPERATIVE_MATRIX, caps.coop_matrix.is_some());
    allowed.set(Capabilities::SUBGROUP, caps.subgroups.is_some());
    allowed.set(Capabilities::SHADER_INT64, caps.int64);
    let mut validator = Validator::new(ValidationFlags::all(), allowed);
    validator
        .subgroup_stages(ShaderStages::COMPUTE)
        .subgroup_operations(SubgroupOperationSet::all());
    let mut checked = |module: &naga::Module| {
        let checked = validator.validate(module);
        checked.unwrap_or_else(|e| panic!("{dispatch}\n{}", e.emit_to_string(text)));
    };
    checked(&module);
    // What the device gets instead.
    if caps.kind == AdapterKind::Software
        && caps.int64
        && let Some(words) = as_words(text)
    {
        checked(&words);
    }
    module
}

fn limits(caps: &Caps, dispatch: &Dispatch, module: &naga::Module) {
    let [x, y, z] = module.entry_points[0].workgroup_size;
    assert!(
        x * y * z <= caps.limits.invocations,
        "{dispatch}: {x} x {y} x {z} threads"
    );
    let mut layouter = naga::proc::Layouter::default();
    layouter.update(module.to_ctx()).unwrap();
    let workgroup = module.global_variables.iter();
    let bytes: u32 = workgroup
        .filter(|(_, var)| var.space == naga::AddressSpace::WorkGroup)
        .map(|(_, var)| layouter[var.ty].size)
        .sum();
    assert!(
        bytes <= caps.limits.workgroup_bytes,
        "{dispatch}: {bytes} bytes of workgroup memory"
    );
    let count = dispatch.spans.len() as u32;
    assert!(
        count <= caps.limits.storage_buffers,
        "{dispatch}: {count} storage buffers"
    );
    for groups in dispatch.groups {
        assert!(groups <= caps.limits.groups, "{dispatch}");
    }
}

/// Where `TILEWRIGHT_SHADERS` names a folder (`./x test browser-compile` does), leaves the text there, with a last line
/// that says where it comes from; the same text twice is one file.
pub(crate) fn dump(dispatch: &Dispatch, text: &str) {
    let Some(folder) = env::var_os("TILEWRIGHT_SHADERS") else {
        return;
    };
    let mut hasher = DefaultHasher::new();
    text.hash(&mut hasher);
    let file = Path::new(&folder).join(format!("{:016x}.wgsl", hasher.finish()));
    let from = dispatch.variant.to_string().replace('\n', " ");
    fs::write(&file, format!("{text}\n// {from}\n")).unwrap();
}
