//! LSTM, gates in the order input, output, forget, cell: c' = f c + i g(cell), h' = o h(c').
//! Set: COUPLED (the forget gate is 1 - i)
//#need COUPLED
@group(0) @binding(MEMORY) var<storage, read_write> memory: array<L>;
fn next(c: Cell) -> L {
    let before = wide(memory[c.h]);
    let take = f0(gate(c, 0u) + peephole(c, 0u, before));
    var keep = 1.0 - take;
    if !COUPLED { keep = f0(gate(c, 2u) + peephole(c, 2u, before)); }
    let after = keep * before + take * f1(gate(c, 3u));
    memory[c.h] = slim(after);
    return slim(f0(gate(c, 1u) + peephole(c, 1u, after)) * f2(after));
}
