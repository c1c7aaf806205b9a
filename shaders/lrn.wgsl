//! Local response normalisation of x [batch, channels, inner]: y = x / (bias + factor * s)^beta, s being the sum of squares
//! over the channels c - before ..= c + after that there are.
//! Set:   THREADS  V (f32, or vec4<f32> of inner)  L (the same of f32 or f16)
//! Slots: slim
//#use grid
//#use math_pow
//#need THREADS L V
/// Elements, channels and inner, in L where they lie side by side.
//#param count: u32
//#param channels: u32
//#param inner: u32
//#param before: u32
//#param after: u32
//#param factor: f32
//#param beta: f32
//#param bias: f32
@group(0) @binding(X) var<storage, read> x: array<L>;
@group(0) @binding(Y) var<storage, read_write> y: array<L>;

@compute @workgroup_size(THREADS)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) count: vec3<u32>,
        @builtin(local_invocation_index) thread: u32) {
    let at = flat_group(group, count) * THREADS + thread;
    if at >= p.count { return; }
    let c = at / p.inner % p.channels;
    let first = at - min(c, p.before) * p.inner;
    let last = at + min(p.channels - 1u - c, p.after) * p.inner;
    var squares = V(0.0);
    for (var i = first; i <= last; i += p.inner) {
        let v = V(x[i]);
        squares += v * v;
    }
    y[at] = L(V(x[at]) * slim(pow_f(vec4f(p.bias + p.factor * squares), vec4f(-p.beta))));
}
