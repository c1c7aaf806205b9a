//! A lane's two blocks of four columns of a row of C at once: n, c_ld, the batches and the first column are multiples of 8.
//! Set: CQ = 2; Acc and Value = f32
//! Slots: c_base  c_row c_col  finish  epilogue_at
//#use place
//#use own
//#use epilogue
//#use pair64
@group(0) @binding(C) var<storage, read_write> c: array<vec4<u64>>;
fn store_row(row: u32, n4: u32, z: u32, blocks: array<vec4<Acc>, CQ>, own: array<Own, CQ>) {
    let to = c_row(row, z);
    if row < p.m && n4 < p.n4 && to != NOWHERE {
        let col = c_col(z) + 4u * n4;
        let at = c_base(z) + to * p.c_ld + col;
        let left = Place(to, col, z, at);
        let right = Place(to, col + 4u, z, at + 4u);
        c[at / 8u] = join_pair(epilogue_at(finish(blocks[0], left, own[0].scales), left, own[0].columns),
                               epilogue_at(finish(blocks[1], right, own[1].scales), right, own[1].columns));
    }
}
