//! A lane's blocks of four columns of a row of C, one by one.
//! Set: CQ Acc
//#use gemm_store
fn store_row(row: u32, n4: u32, z: u32, blocks: array<vec4<Acc>, CQ>, own: array<Own, CQ>) {
    //#repeat c CQ
    store4_at(row, n4 + $cu, z, blocks[$c], own[$c]);
    //#end
}
