//! One step of a recurrent layer, for all its directions, batch items and units: the gates get the input's projection and
//! the product of the last state with the recurrence, both made before by GEMM; the new state takes the old one's place.
//! Set:   THREADS  GATES (of the projection)  RGATES (of the recurrence)  F0 F1 F2 (kinds of `squash`)  CLIP
//! Slots: L wide slim  length  input_bias recur_bias  next  put put_none
//#use grid
//#use squash
//#need THREADS
//#need GATES
//#need RGATES
//#need CLIP
/// Extents in L; `count` is the work of all invocations.
//#param count: u32
//#param hidden: u32
//#param batch: u32
/// The first direction, this step, all steps, and a bit for each direction that reads from the end.
//#param first: u32
//#param step: u32
//#param steps: u32
//#param back: u32
/// Strides of the projection, the output and the states along time, direction and batch, in L.
//#param x_t: u32
//#param x_b: u32
//#param y_t: u32
//#param y_d: u32
//#param y_b: u32
//#param h_d: u32
//#param h_b: u32
//#param clip: f32
//#param alpha: vec4<f32>
//#param beta: vec4<f32>
@group(0) @binding(PROJECTED) var<storage, read> projected: array<L>;
@group(0) @binding(RECURRED) var<storage, read> recurred: array<L>;
@group(0) @binding(STATE) var<storage, read_write> state: array<L>;

/// Where a unit lies: projection, recurrence, state, a tensor [direction, batch, unit], biases of its direction, output.
struct Cell { x: u32, r: u32, h: u32, k: u32, d: u32, u: u32, y: u32 }

fn clipped(x: vec4f) -> vec4f {
    if CLIP { return clamp(x, vec4f(-p.clip), vec4f(p.clip)); }
    return x;
}
fn f0(x: vec4f) -> vec4f { return squash(F0, clipped(x), p.alpha.x, p.beta.x); }
fn f1(x: vec4f) -> vec4f { return squash(F1, clipped(x), p.alpha.y, p.beta.y); }
fn f2(x: vec4f) -> vec4f { return squash(F2, clipped(x), p.alpha.z, p.beta.z); }

fn from_input(c: Cell, gate: u32) -> vec4f { return wide(projected[c.x + gate * p.hidden]) + input_bias(c, gate); }
fn from_state(c: Cell, gate: u32) -> vec4f { return wide(recurred[c.r + gate * p.hidden]) + recur_bias(c, gate); }
fn gate(c: Cell, gate: u32) -> vec4f { return from_input(c, gate) + from_state(c, gate); }

@compute @workgroup_size(THREADS)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) count: vec3<u32>,
        @builtin(local_invocation_index) thread: u32) {
    let at = flat_group(group, count) * THREADS + thread;
    if at >= p.count { return; }
    let u = at % p.hidden;
    let row = at / p.hidden + p.first * p.batch;
    let b = row % p.batch;
    let d = row / p.batch;
    let n = min(length(b), p.steps);
    let open = p.step < n;
    // Backwards from the item's own end; steps past it keep their place.
    let t = select(p.step, n - 1u - p.step, open && ((p.back >> d) & 1u) == 1u);
    let y = t * p.y_t + d * p.y_d + b * p.y_b + u;
    if !open {
        put_none(y);
        return;
    }
    let x = t * p.x_t + b * p.x_b + d * GATES * p.hidden + u;
    let c = Cell(x, row * RGATES * p.hidden + u, d * p.h_d + b * p.h_b + u, row * p.hidden + u, d, u, y);
    put(c, next(c));
}
