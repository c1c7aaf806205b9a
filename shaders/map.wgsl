//! Pointwise functions: y = map(inputs), four elements a thread, where inputs broadcast against y.
//! Set:   THREADS; YT YV (type of y in storage and in arithmetic); SAMES VECS ANYS (numbers of inputs of each kind)
//! Slots: map_at(quad): calls the generated function with every input's four elements. Its text also declares for input i
//!        of kind K the types KTi and KVi and, but for S, the mode KMODEi.
//!
//! S: the shape of y. V: read as vec4; 0 repeats its n quads, 1 has a stride for each axis, in quads.
//! A: read in single elements; 0 one for all; 1 one for each n quads; 2 strides, one for a quad; of each element alone:
//! 3 strides, 4 repeats its n elements, 5 one for each n elements. With 1 of V and 2 of A the last axis of `shape` counts quads.
//#use grid
//#need THREADS YT YV
//#param count: u32
//#param rank: u32
//#param shape: dims

/// The four elements of a quad; what lies past the end reads the last.
fn elements(quad: u32) -> vec4u { return min(vec4u(quad * 4u) + vec4u(0u, 1u, 2u, 3u), vec4u(p.count - 1u)); }

//#repeat i SAMES
@group(0) @binding(S$i) var<storage, read> s$i: array<vec4<ST$i>>;
fn load_s$i(quad: u32) -> vec4<SV$i> { return vec4<SV$i>(s$i[quad]); }
//#end

//#repeat i VECS
@group(0) @binding(V$i) var<storage, read> v$i: array<vec4<VT$i>>;
//#param v$i_n: u32
//#param v$i_stride: dims
fn load_v$i(quad: u32) -> vec4<VV$i> {
    if VMODE$i == 0u { return vec4<VV$i>(v$i[quad % p.v$i_n]); }
    var rest = quad;
    var at = 0u;
    for (var d = p.rank; d > 0u; d--) {
        let extent = p.shape[(d - 1u) / 4u][(d - 1u) % 4u];
        at += (rest % extent) * p.v$i_stride[(d - 1u) / 4u][(d - 1u) % 4u];
        rest /= extent;
    }
    return vec4<VV$i>(v$i[at]);
}
//#end

//#repeat i ANYS
@group(0) @binding(A$i) var<storage, read> a$i: array<AT$i>;
//#param a$i_n: u32
//#param a$i_stride: dims
fn load_a$i(quad: u32) -> vec4<AV$i> {
    if AMODE$i == 0u { return vec4<AV$i>(AV$i(a$i[0])); }
    if AMODE$i == 1u { return vec4<AV$i>(AV$i(a$i[quad / p.a$i_n])); }
    if AMODE$i == 2u {
        var rest = quad;
        var at = 0u;
        for (var d = p.rank; d > 0u; d--) {
            let extent = p.shape[(d - 1u) / 4u][(d - 1u) % 4u];
            at += (rest % extent) * p.a$i_stride[(d - 1u) / 4u][(d - 1u) % 4u];
            rest /= extent;
        }
        return vec4<AV$i>(AV$i(a$i[at]));
    }
    var rest = elements(quad);
    var at = vec4u();
    if AMODE$i == 3u {
        for (var d = p.rank; d > 0u; d--) {
            let extent = vec4u(p.shape[(d - 1u) / 4u][(d - 1u) % 4u]);
            at += (rest % extent) * p.a$i_stride[(d - 1u) / 4u][(d - 1u) % 4u];
            rest /= extent;
        }
    } else if AMODE$i == 4u {
        at = rest % vec4u(p.a$i_n);
    } else {
        at = rest / vec4u(p.a$i_n);
    }
    return vec4<AV$i>(AV$i(a$i[at.x]), AV$i(a$i[at.y]), AV$i(a$i[at.z]), AV$i(a$i[at.w]));
}
//#end

@group(0) @binding(Y) var<storage, read_write> y: array<vec4<YT>>;

@compute @workgroup_size(THREADS)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>,
        @builtin(local_invocation_index) thread: u32) {
    let quad = flat_group(group, groups) * THREADS + thread;
    if quad * 4u < p.count { y[quad] = vec4<YT>(map_at(quad)); }
}
