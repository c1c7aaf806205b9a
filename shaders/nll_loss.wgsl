//! Negative log-likelihood of samples: z[0, s] = -logs[batch, label, inner] * weight(label), with COUNTS z[1, s] = weight(label);
//! both 0 where the label is to be ignored. A label that is no class counts as the nearest one.
//! Set: THREADS  COUNTS  IGNORE (whether there is such a label)  Slots: weight_of
//#use grid
//#need THREADS COUNTS IGNORE
/// Samples.
//#param count: u32
//#param classes: u32
//#param inner: u32
//#param ignore: i32
@group(0) @binding(LOGS) var<storage, read> logs: array<f32>;
@group(0) @binding(LABELS) var<storage, read> labels: array<i32>;
@group(0) @binding(Z) var<storage, read_write> z: array<f32>;

@compute @workgroup_size(THREADS)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) count: vec3<u32>,
        @builtin(local_invocation_index) thread: u32) {
    let s = flat_group(group, count) * THREADS + thread;
    if s >= p.count { return; }
    let label = labels[s];
    let class_id = u32(clamp(label, 0, i32(p.classes) - 1));
    let weight = weight_of(class_id);
    let value = -logs[(s / p.inner * p.classes + class_id) * p.inner + s % p.inner] * weight;
    let ignored = IGNORE && label == p.ignore;
    z[s] = select(value, 0.0, ignored);
    if COUNTS { z[p.count + s] = select(weight, 0.0, ignored); }
}
