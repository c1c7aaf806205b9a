//! A block of 4 x 4 elements as four vectors each way; offsets and steps are in vectors, rows and columns in elements.
@group(0) @binding(A) var<storage, read> a: array<vec4<Unit>>;
@group(0) @binding(Y) var<storage, read_write> y: array<vec4<Unit>>;

fn move_block(at_a: u32, at_y: u32, row: u32, column: u32) {
    let a0 = at_a + row * p.row_step + column / 4u;
    let y0 = at_y + column * p.column_step + row / 4u;
    //#repeat i 4
    let r$i = a[a0 + $iu * p.row_step];
    //#end
    //#repeat i 4
    y[y0 + $iu * p.column_step] = vec4(r0[$i], r1[$i], r2[$i], r3[$i]);
    //#end
}
