//! Statistics of channels from those of `batches` parts of equal size, [2, batches, channels].
@group(0) @binding(S) var<storage, read> s: array<f32>;
//#param batches: u32
fn off(value: f32, mean: f32) -> f32 { return (value - mean) * (value - mean); }

fn channel_stats(c: u32) -> Stats {
    let total = p.batches * p.count;
    let whole = p.batches / 4u * 4u * p.count;
    var mean = 0.0;
    var i = c;
    for (; i < whole; i += 4u * p.count) {
        mean += (s[i] + s[i + p.count]) + (s[i + 2u * p.count] + s[i + 3u * p.count]);
    }
    for (; i < total; i += p.count) { mean += s[i]; }
    mean /= f32(p.batches);
    var variance = 0.0;
    i = c;
    for (; i < whole; i += 4u * p.count) {
        //#repeat j 4
        let at$j = i + $ju * p.count;
        let v$j = s[total + at$j] + off(s[at$j], mean);
        //#end
        variance += (v0 + v1) + (v2 + v3);
    }
    for (; i < total; i += p.count) { variance += s[total + i] + off(s[i], mean); }
    return Stats(mean, variance / f32(p.batches));
}
