//! Mean and inverse deviation of each row are stored.
@group(0) @binding(MEANS) var<storage, read_write> means: array<Y>;
@group(0) @binding(INVERSES) var<storage, read_write> inverses: array<Y>;
fn keep_stats(w: Walk, thread: u32, mean: V, inverse: V) {
    if stores(w, thread) {
        means[w.out] = narrow(mean);
        inverses[w.out] = narrow(inverse);
    }
}
