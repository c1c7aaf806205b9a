//! Statistics of channels from those of `batches` parts of equal size, [2, batches, channels].
@group(0) @binding(S) var<storage, read> s: array<f32>;
//#param batches: u32
fn channel_stats(c: u32) -> Stats {
    let total = p.batches * p.count;
    var mean = 0.0;
    for (var i = c; i < total; i += p.count) { mean += s[i]; }
    mean /= f32(p.batches);
    var variance = 0.0;
    for (var i = c; i < total; i += p.count) {
        let d = s[i] - mean;
        variance += s[total + i] + d * d;
    }
    return Stats(mean, variance / f32(p.batches));
}
