//! What normalisation by channel does to channel c: table[0, c] = mean, table[1, c] = scale / deviation, table[2, c] = bias.
//! Set:   THREADS  OUTSIDE (deviation is sqrt(variance) + epsilon, else sqrt(variance + epsilon))
//! Slots: channel_stats  channel_scale  keep_running
//#use grid
//#need THREADS OUTSIDE
//#param count: u32
//#param epsilon: f32
/// Mean and variance.
struct Stats { mean: f32, variance: f32 }
@group(0) @binding(TABLE) var<storage, read_write> table: array<f32>;

@compute @workgroup_size(THREADS)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) count: vec3<u32>,
        @builtin(local_invocation_index) thread: u32) {
    let c = flat_group(group, count) * THREADS + thread;
    if c >= p.count { return; }
    let stats = channel_stats(c);
    keep_running(c, stats);
    var deviation = sqrt(stats.variance + p.epsilon);
    if OUTSIDE { deviation = sqrt(stats.variance) + p.epsilon; }
    let affine = channel_scale(c);
    table[c] = stats.mean;
    table[p.count + c] = affine.x / deviation;
    table[2u * p.count + c] = affine.y;
}
