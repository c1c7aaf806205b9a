//! The new state is an output too; steps past an item's end put out zero.
@group(0) @binding(OUTPUT) var<storage, read_write> output: array<L>;
fn put(c: Cell, value: L) {
    state[c.h] = value;
    output[c.y] = value;
}
fn put_none(y: u32) { output[y] = L(); }
