//! A block of up to 4 x 4 elements, one by one.
@group(0) @binding(A) var<storage, read> a: array<Unit>;
@group(0) @binding(Y) var<storage, read_write> y: array<Unit>;

fn move_block(at_a: u32, at_y: u32, row: u32, column: u32) {
    // Loads are clamped, stores are left out.
    let last = vec2(p.rows, p.columns) - 1u;
    //#repeat r 4
    let row$r = at_a + min(row + $ru, last.x) * p.row_step;
    //#end
    //#repeat r 4
    //#repeat c 4
    let v$r_$c = a[row$r + min(column + $cu, last.y)];
    //#end
    //#end
    //#repeat c 4
    if column + $cu < p.columns {
        let y0 = at_y + (column + $cu) * p.column_step + row;
        //#repeat r 4
        if row + $ru < p.rows { y[y0 + $ru] = v$r_$c; }
        //#end
    }
    //#end
}
