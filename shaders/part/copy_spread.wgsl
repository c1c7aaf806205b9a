//! One vector of the source makes four single words of the target, copy_step apart.
//#param copy_step: u32
@group(0) @binding(A) var<storage, read> a: array<vec4<u32>>;
@group(0) @binding(Y) var<storage, read_write> y: array<u32>;

fn move_at(at_a: u32, at_y: u32) {
    let words = a[at_a];
    //#repeat i 4
    y[at_y + $iu * p.copy_step] = words[$i];
    //#end
}
