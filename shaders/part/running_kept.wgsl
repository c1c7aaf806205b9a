//! Running statistics: new = old * momentum + current * (1 - momentum).
@group(0) @binding(OLD_MEAN) var<storage, read> old_mean: array<f32>;
@group(0) @binding(OLD_VARIANCE) var<storage, read> old_variance: array<f32>;
@group(0) @binding(NEW_MEAN) var<storage, read_write> new_mean: array<f32>;
@group(0) @binding(NEW_VARIANCE) var<storage, read_write> new_variance: array<f32>;
//#param momentum: f32
fn keep_running(c: u32, stats: Stats) {
    let fresh = 1.0 - p.momentum;
    new_mean[c] = old_mean[c] * p.momentum + stats.mean * fresh;
    new_variance[c] = old_variance[c] * p.momentum + stats.variance * fresh;
}
