//! Several batch axes, innermost first, with a stride in elements per operand and axis, 0 where it is broadcast.
//! Set: BATCH_RANK (2..8)
//#param batch_size: dims
//#param a_batches: dims
//#param b_batches: dims
//#param c_batches: dims
fn batch_offset(z: u32, strides: array<vec4<u32>, 2>) -> u32 {
    var rest = z;
    var sum = 0u;
    //#repeat d BATCH_RANK
    sum += rest % p.batch_size[$du / 4u][$du % 4u] * strides[$du / 4u][$du % 4u];
    rest /= p.batch_size[$du / 4u][$du % 4u];
    //#end
    return sum;
}
fn a_base(z: u32) -> u32 { return batch_offset(z, p.a_batches); }
fn b_base(z: u32) -> u32 { return batch_offset(z, p.b_batches); }
fn c_base(z: u32) -> u32 { return batch_offset(z, p.c_batches); }
