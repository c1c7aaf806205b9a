//! An element of the source is an element of the target.
@group(0) @binding(A) var<storage, read> a: array<Word>;

fn pick(at: u32) -> Word {
    return a[at];
}
