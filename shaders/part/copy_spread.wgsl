//! One vector of the source makes four single elements of the target, copy_step apart.
//#need Unit
//#param copy_step: u32
@group(0) @binding(A) var<storage, read> a: array<vec4<Unit>>;
@group(0) @binding(Y) var<storage, read_write> y: array<Unit>;

fn move_at(at_a: u32, at_y: u32) {
    let words = a[at_a];
    //#repeat i 4
    y[at_y + $iu * p.copy_step] = words[$i];
    //#end
}
