//! The windows of four consecutive output pixels on an input X[image, depth, height, width, channel]. Vectors of extents
//! are (depth, height, width, 0); leading axes of lower ranks have extent 1.
//! Set:   RANK (1, 2, 3 spatial axes)
//! Slots: a_base
//#use block44
//#use gemm_size
//#param in_size: vec4<u32>
//#param out_size: vec4<u32>
//#param kernel: vec4<u32>
//#param stride: vec4<u32>
//#param dilation: vec4<u32>
//#param pad: vec4<u32>
//#param a_ld: u32

/// The element at which a window begins, and its coordinates. Both wrap below zero, where padding lies.
struct Window { at: vec4<u32>, d: vec4<u32>, y: vec4<u32>, x: vec4<u32> }

/// `a_ld` counts the channels of X, over all groups.
fn conv_window(m4: u32, z: u32) -> Window {
    let pixel = four_inside(m4, p.m);
    var w: Window;
    w.x = pixel % p.out_size.z * p.stride.z - p.pad.z;
    var image = pixel / p.out_size.z;
    if RANK > 1u {
        w.y = image % p.out_size.y * p.stride.y - p.pad.y;
        image /= p.out_size.y;
    }
    if RANK > 2u {
        w.d = image % p.out_size.x * p.stride.x - p.pad.x;
        image /= p.out_size.x;
    }
    w.at = a_base(z) + (((image * p.in_size.x + w.d) * p.in_size.y + w.y) * p.in_size.z + w.x) * p.a_ld;
    return w;
}

/// Whether the rows of the input at kernel position (kd, ky) lie inside.
fn rows_inside(w: Window, kd: u32, ky: u32) -> vec4<bool> {
    var inside = vec4<bool>(true);
    if RANK > 1u { inside = w.y + ky * p.dilation.y < vec4<u32>(p.in_size.y); }
    if RANK > 2u { inside = inside & (w.d + kd * p.dilation.x < vec4<u32>(p.in_size.x)); }
    return inside;
}

/// Elements from a window's begin to kernel position (kd, ky, kx).
fn tap_offset(kd: u32, ky: u32, kx: u32) -> u32 {
    return ((kd * p.dilation.x * p.in_size.y + ky * p.dilation.y) * p.in_size.z + kx * p.dilation.z) * p.a_ld;
}
