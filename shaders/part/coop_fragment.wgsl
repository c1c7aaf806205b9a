//! Cooperative matrices: fragments of the tiles of A and B in workgroup memory, which lie in rows along k (`_BY_K`) or along m and n.
//! `coopLoadT` takes rows as rows of the matrix, `coopLoad` as its columns.
fn a_fragment(m: u32, k: u32) -> MatA {
    let stride = A_LD4 * (4u / UNIT);
    if A_BY_K {
        let at = (m * A_LD4 + k / 4u) * (4u / UNIT);
        return coopLoadT<MatA>(&a_tile[at], stride);
    }
    let at = (k * A_LD4 + m / 4u) * (4u / UNIT);
    return coopLoad<MatA>(&a_tile[at], stride);
}
fn b_fragment(k: u32, n: u32) -> MatB {
    let stride = B_LD4 * (4u / UNIT);
    if B_BY_K {
        let at = (n * B_LD4 + k / 4u) * (4u / UNIT);
        return coopLoad<MatB>(&b_tile[at], stride);
    }
    let at = (k * B_LD4 + n / 4u) * (4u / UNIT);
    return coopLoadT<MatB>(&b_tile[at], stride);
}
fn fragment_mac(a: MatA, b: MatB, acc: MatC) -> MatC { return coopMultiplyAdd(a, b, acc); }
/// Stores a fragment, its first row at `to4`.
fn c_fragment(to4: u32, v: MatC) {
    // naga panics where value, index or stride have no names.
    let value = v;
    let at = to4 * (4u / UNIT);
    let stride = C_LD4 * (4u / UNIT);
    coopStoreT(value, &c_tile[at], stride);
}
