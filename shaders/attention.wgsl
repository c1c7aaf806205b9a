//! Attention without a matrix of scores: y = softmax(cap(scale q k^T) + bias) v. A workgroup takes 16 RQ queries of a head
//! and goes through the keys in tiles of 64, with the running maximum m and the running sum l of each query; what was
//! summed so far shrinks by exp(m - m') when the maximum grows to m' (Milakov and Gimelshein 2018, Dao et al. 2022).
//! A thread has 4 RQ queries, and of a tile four keys, then VC blocks of four columns of v.
//! Set:   RQ VC  LATER (the first keys of a tile and the last ones may be left out)
//! Slots: q4 k4 v4 put4  capped  mask  offset valid
//#use grid
//#use attention_score
//#use power
//#need RQ
//#need VC
//#need LATER
/// Workgroups, tiles of queries of a head, heads, query heads of a key head, blocks of four along a query and a row of v.
//#param count: u32
//#param tiles: u32
//#param heads: u32
//#param group: u32
//#param head4: u32
//#param v_head4: u32
/// Element strides of item, head and place.
//#param q_at: vec4<u32>
//#param k_at: vec4<u32>
//#param v_at: vec4<u32>
//#param y_at: vec4<u32>
alias V = vec4f;
alias U = vec4u;
const ROWS = 16u * RQ;
const LARGEST = 3.4028234e38;
/// Blocks of a chunk of the head, key or query innermost; one more keeps neighbours in other banks.
var<workgroup> ks: array<vec4f, 8u * 65u>;
var<workgroup> qs: array<vec4f, 8u * (ROWS + 1u)>;
/// Weights by key and four queries; the maxima that threads found.
var<workgroup> ps: array<vec4f, 64u * 4u * RQ>;
var<workgroup> tops: array<vec4f, 64u * RQ>;

@compute @workgroup_size(64)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>,
        @builtin(local_invocation_index) thread: u32) {
    let flat = flat_group(group, groups);
    if flat >= p.count { return; }
    let first = flat % p.tiles * ROWS;
    let head = flat / p.tiles % p.heads;
    let item = flat / p.tiles / p.heads;
    let q_row = item * p.q_at.x + head * p.q_at.y;
    let k_row = item * p.k_at.x + head / p.group * p.k_at.y;
    let v_row = item * p.v_at.x + head / p.group * p.v_at.y;
    let quad = thread / 16u * RQ;
    let lane = thread % 16u;
    var m: array<vec4f, RQ>;
    var l: array<vec4f, RQ>;
    var o: array<vec4f, 4u * RQ * VC>;
    //#repeat i RQ
    m[$iu] = vec4f(-LARGEST);
    //#end
    var tile = 0u;
    var end = (p.keys + 63u) / 64u;
    if LATER {
        // Only where all items have the same offset: a bound that memory tells is not uniform to a browser.
        let low = i32(first) + p.past - p.behind;
        let high = i32(first + ROWS) + p.past + p.ahead;
        tile = u32(max(low, 0)) / 64u;
        end = min(end, (u32(max(high, 0)) + 63u) / 64u);
    }
    for (; tile < end; tile++) {
        var s: array<vec4f, 4u * RQ>;
        for (var chunk = 0u; chunk < p.head4; chunk += 8u) {
            workgroupBarrier();
            //#repeat j 8
            let kd$j = (thread + 64u * $ju) % 8u;
            let kk$j = (thread + 64u * $ju) / 8u;
            ks[kd$j * 65u + kk$j] = k4(k_row + min(tile * 64u + kk$j, p.keys - 1u) * p.k_at.z, chunk + kd$j);
            //#end
            for (var at = thread; at < 8u * ROWS; at += 64u) {
                let row = min(first + at / 8u, p.queries - 1u);
                qs[at % 8u * (ROWS + 1u) + at / 8u] = q4(q_row + row * p.q_at.z, chunk + at % 8u);
            }
            workgroupBarrier();
            for (var d = 0u; d < 8u; d++) {
                //#repeat j 4
                let k$j = ks[d * 65u + lane + 16u * $ju];
                //#end
                //#repeat i RQ
                //#repeat r 4
                let q$i$r = qs[d * (ROWS + 1u) + 4u * (quad + $iu) + $ru];
                //#end
                //#repeat j 4
                s[4u * $iu + $ju] += vec4f(dot(q$i0, k$j), dot(q$i1, k$j), dot(q$i2, k$j), dot(q$i3, k$j));
                //#end
                //#end
            }
        }
        //#repeat i RQ
        var top$i = vec4f(-LARGEST);
        //#repeat j 4
        {
            let key = tile * 64u + lane + 16u * $ju;
            let query = first + 4u * (quad + $iu);
            let x = capped(p.scale * s[4u * $iu + $ju]);
            let y = vec4f(biased(x.x, item, head, query, key), biased(x.y, item, head, query + 1u, key),
                          biased(x.z, item, head, query + 2u, key), biased(x.w, item, head, query + 3u, key));
            s[4u * $iu + $ju] = y;
            top$i = max(top$i, y);
        }
        //#end
        tops[thread * RQ + $iu] = top$i;
        //#end
        workgroupBarrier();
        //#repeat i RQ
        {
            var next = m[$iu];
            for (var t = 0u; t < 16u; t++) { next = max(next, tops[(thread - lane + t) * RQ + $iu]); }
            // Differences of infinities would be NaN.
            next = min(next, vec4f(LARGEST));
            let shrink = power(m[$iu] - next);
            m[$iu] = next;
            l[$iu] *= shrink;
            //#repeat c VC
            //#repeat r 4
            o[($iu * VC + $cu) * 4u + $ru] *= shrink[$ru];
            //#end
            //#end
            //#repeat j 4
            ps[(lane + 16u * $ju) * 4u * RQ + quad + $iu] = power(s[4u * $iu + $ju] - next);
            //#end
        }
        //#end
        workgroupBarrier();
        let keys = min(64u, p.keys - tile * 64u);
        for (var key = 0u; key < keys; key++) {
            let at = v_row + (tile * 64u + key) * p.v_at.z;
            //#repeat c VC
            let v$c = v4(at, lane + 16u * $cu);
            //#end
            //#repeat i RQ
            let w$i = ps[key * 4u * RQ + quad + $iu];
            l[$iu] += w$i;
            //#repeat c VC
            //#repeat r 4
            o[($iu * VC + $cu) * 4u + $ru] += w$i[$ru] * v$c;
            //#end
            //#end
            //#end
        }
    }
    let y_row = item * p.y_at.x + head * p.y_at.y;
    //#repeat i RQ
    //#repeat r 4
    {
        let row = first + 4u * (quad + $iu) + $ru;
        // A query without keys gives zeros.
        let factor = select(0.0, 1.0 / l[$iu][$ru], l[$iu][$ru] > 0.0);
        if row < p.queries {
            //#repeat c VC
            put4(y_row + row * p.y_at.z, lane + 16u * $cu, factor * o[($iu * VC + $cu) * 4u + $ru]);
            //#end
        }
    }
    //#end
    //#end
}
