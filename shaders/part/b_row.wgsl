//! What a lane of the register loop loads of B: CQ adjacent blocks of 4 columns.
//! Set: CQ
//#use block44
struct BRow {
    //#repeat c CQ
    c$c: Block44,
    //#end
}
