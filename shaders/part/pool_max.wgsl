//! The maximum; NaN is never larger.
fn pool(best: ptr<function, Elem>, at: ptr<function, Index>, v: Elem, offset: u32) {
    let larger = v > *best;
    *best = select(*best, v, larger);
    *at = select(*at, Index(offset), larger);
}

fn pooled(best: Elem, count: u32) -> Elem { return best; }
