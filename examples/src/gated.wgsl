//! A gate with a threshold for each channel, of x [batch, channels, inner]: y = x / (1 + e^-(alpha x + beta[channel])).
//! Set: THREADS
//#use grid
//#use math
//#need THREADS
/// Elements, channels and inner.
//#param count: u32
//#param channels: u32
//#param inner: u32
//#param alpha: f32
@group(0) @binding(X) var<storage, read> x: array<f32>;
@group(0) @binding(BETA) var<storage, read> beta: array<f32>;
@group(0) @binding(Y) var<storage, read_write> y: array<f32>;

@compute @workgroup_size(THREADS)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) count: vec3<u32>,
        @builtin(local_invocation_index) thread: u32) {
    let at = flat_group(group, count) * THREADS + thread;
    if at >= p.count { return; }
    let channel = at / p.inner % p.channels;
    y[at] = x[at] * sigmoid_f(vec4f(p.alpha * x[at] + beta[channel])).x;
}
