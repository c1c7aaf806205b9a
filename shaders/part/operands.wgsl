//! Operands of a pointwise function: four elements of each, as it broadcasts against the output.
//! Set: SAMES VECS ANYS (numbers of operands of each kind)
//! The generated text that calls these declares MAP_QUADS and, for operand i of kind K, its type in storage MAP_KTi, its
//! type in arithmetic MAP_KVi and, but for S, its MAP_KMODEi.
//!
//! `at` counts quads of the output where MAP_QUADS, else it is the first of the four elements.
//! S: the shape of the output, in quads; or a row of it, and `at` counts within the row.
//! V: read as vec4; 0 repeats its n quads, 1 has a stride for each axis, in quads.
//! A: read in single elements; 0 one for all; 1 one for each n quads; 2 strides, one for a quad; of each element alone:
//!    3 strides, 4 repeats its n elements, 5 one for each n elements. n is the size for the shape of the output.
//! With 1 of V and 2 of A the last axis of `map_shape` counts quads.
//#param map_count: u32
//#param map_rank: u32
//#param map_shape: dims

/// Four elements of the output; those past its end are its last.
fn map_elements(at: u32) -> vec4u {
    let first = select(at, at * 4u, MAP_QUADS);
    return min(vec4u(first) + vec4u(0u, 1u, 2u, 3u), vec4u(p.map_count - 1u));
}

//#repeat i SAMES
@group(0) @binding(MAP_S$i) var<storage, read> map_s$i: array<vec4<MAP_ST$i>>;
fn load_s$i(at: u32) -> vec4<MAP_SV$i> { return vec4<MAP_SV$i>(map_s$i[at]); }
//#end

//#repeat i VECS
@group(0) @binding(MAP_V$i) var<storage, read> map_v$i: array<vec4<MAP_VT$i>>;
//#param map_v$i_n: u32
//#param map_v$i_stride: dims
fn load_v$i(at: u32) -> vec4<MAP_VV$i> {
    if MAP_VMODE$i == 0u { return vec4<MAP_VV$i>(map_v$i[at % p.map_v$i_n]); }
    var rest = at;
    var index = 0u;
    for (var d = p.map_rank; d > 0u; d--) {
        let extent = p.map_shape[(d - 1u) / 4u][(d - 1u) % 4u];
        index += (rest % extent) * p.map_v$i_stride[(d - 1u) / 4u][(d - 1u) % 4u];
        rest /= extent;
    }
    return vec4<MAP_VV$i>(map_v$i[index]);
}
//#end

//#repeat i ANYS
@group(0) @binding(MAP_A$i) var<storage, read> map_a$i: array<MAP_AT$i>;
//#param map_a$i_n: u32
//#param map_a$i_stride: dims
fn load_a$i(at: u32) -> vec4<MAP_AV$i> {
    if MAP_AMODE$i == 0u { return vec4<MAP_AV$i>(MAP_AV$i(map_a$i[0])); }
    if MAP_AMODE$i == 1u { return vec4<MAP_AV$i>(MAP_AV$i(map_a$i[at / p.map_a$i_n])); }
    if MAP_AMODE$i == 2u {
        var rest = at;
        var index = 0u;
        for (var d = p.map_rank; d > 0u; d--) {
            let extent = p.map_shape[(d - 1u) / 4u][(d - 1u) % 4u];
            index += (rest % extent) * p.map_a$i_stride[(d - 1u) / 4u][(d - 1u) % 4u];
            rest /= extent;
        }
        return vec4<MAP_AV$i>(MAP_AV$i(map_a$i[index]));
    }
    var rest = map_elements(at);
    var index = vec4u();
    if MAP_AMODE$i == 3u {
        for (var d = p.map_rank; d > 0u; d--) {
            let extent = vec4u(p.map_shape[(d - 1u) / 4u][(d - 1u) % 4u]);
            index += (rest % extent) * p.map_a$i_stride[(d - 1u) / 4u][(d - 1u) % 4u];
            rest /= extent;
        }
    } else if MAP_AMODE$i == 4u {
        index = rest % vec4u(p.map_a$i_n);
    } else {
        index = rest / vec4u(p.map_a$i_n);
    }
    return vec4<MAP_AV$i>(MAP_AV$i(map_a$i[index.x]), MAP_AV$i(map_a$i[index.y]), MAP_AV$i(map_a$i[index.z]), MAP_AV$i(map_a$i[index.w]));
}
//#end
