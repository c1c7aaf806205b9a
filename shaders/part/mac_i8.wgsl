//! acc + a . b for words of four int8 along k, in i32.
alias Spread = u32;
fn spread(a: u32) -> u32 { return a; }
fn mac(acc: vec4<i32>, a: u32, b: vec4<u32>) -> vec4<i32> {
    return acc + vec4<i32>(dot4I8Packed(a, b.x), dot4I8Packed(a, b.y), dot4I8Packed(a, b.z), dot4I8Packed(a, b.w));
}
