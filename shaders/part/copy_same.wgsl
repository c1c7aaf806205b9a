//! An element of the source is an element of the target.
//! Set: Word (Unit or four of it)
//#need Word
@group(0) @binding(A) var<storage, read> a: array<Word>;
@group(0) @binding(Y) var<storage, read_write> y: array<Word>;

fn move_at(at_a: u32, at_y: u32) {
    y[at_y] = a[at_a];
}
