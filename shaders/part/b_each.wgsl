//! Blocks of B one by one, whatever their layout.
//! Slots: load_b44
//#use b_row
fn load_b(quads: array<vec4<u32>, CQ>, k4: u32) -> BRow {
    return BRow(
        //#repeat c CQ
        load_b44(quads[$c], k4),
        //#end
    );
}
