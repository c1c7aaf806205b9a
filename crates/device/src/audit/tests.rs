use super::*;
use crate::{Variant, assemble};

/// The checked text of a shader, and `access` of each site.
fn checked(wgsl: &str) -> (String, Vec<String>) {
    let variant = Variant::new("t").set("N", 4u32).text("t", wgsl);
    let source = assemble(&variant).unwrap();
    let (text, sites) = instrument(&source, &source.text(0), 7).unwrap();
    (text, sites.into_iter().map(|site| site.access).collect())
}

const X: &str = "@group(0) @binding(X) var<storage, read_write> x: array<vec4<u32>>;\n";

#[test]
fn storage_is_checked_by_its_bound_length_also_inside_of_indices() {
    let (text, sites) = checked(&format!("{X}fn f(i: u32) {{ x[x[i].y + 1u].z = 3u; }}"));
    assert_eq!(sites, ["x[x[i].y + 1u]", "x[i]"]);
    let expected = "x[audit(u32(x[audit(u32(i), u32(arrayLength(&x)), 8u)].y + 1u), u32(arrayLength(&x)), 7u)].z = 3u;";
    assert!(text.contains(expected), "{text}");
}

#[test]
fn constant_indices_are_checked_only_where_naga_does_not() {
    let text = format!("{X}fn f() {{ var a: array<u32, N>; a[N - 1u] = x[2].x; }}");
    assert_eq!(checked(&text).1, ["x[2]"]);
}

#[test]
fn workgroup_memory_is_told_what_is_read_and_what_is_written() {
    let (text, sites) = checked(
        "var<workgroup> w: array<u32, N * 2u>;\n\
         fn f(i: u32) -> bool { w[i] += 1u; w[i + 1u] = 2u; return w[i] == 3u; }",
    );
    assert_eq!(sites, ["w[i]", "w[i + 1u]", "w[i]"]);
    for expected in [
        "w[audit_write_w(audit_read_w(audit(u32(i), u32(N * 2u), 7u), 7u))] += 1u",
        "w[audit_write_w(audit(u32(i + 1u), u32(N * 2u), 8u))] = 2u",
        "w[audit_read_w(audit(u32(i), u32(N * 2u), 9u), 9u)] == 3u",
        "var<workgroup> audit_w: array<u32, N * 2u>;",
    ] {
        assert!(text.contains(expected), "no {expected} in {text}");
    }
}

#[test]
fn names_end_with_their_block_and_their_function() {
    let text = format!(
        "{X}fn f(x: vec2<u32>, i: u32) -> u32 {{ return x[i]; }}\n\
         fn g(i: u32) -> u32 {{ if i > 1u {{ var x: array<u32, 3>; return x[i]; }} return x[i].x; }}"
    );
    let (text, sites) = checked(&text);
    assert_eq!(sites.len(), 3);
    for length in ["2u", "3", "arrayLength(&x)"] {
        let expected = format!("x[audit(u32(i), u32({length}), ");
        assert!(text.contains(&expected), "no {expected} in {text}");
    }
}

#[test]
fn a_module_s_names_hold_before_they_are_declared_and_literals_have_lengths() {
    let text = format!(
        "fn f(i: u32) -> u32 {{ var a = array<u32, 3>(1u, 2u, x[i].x); return a[i]; }}\n{X}"
    );
    let (text, sites) = checked(&text);
    assert_eq!(sites, ["x[i]", "a[i]"]);
    assert!(text.contains("a[audit(u32(i), u32(3), 8u)]"), "{text}");
}

#[test]
fn parameters_and_their_components_are_checked() {
    let (text, _) = checked(
        "//#param shape: dims\n//#param s: vec4<u32>\nfn f(d: u32) -> u32 { return p.shape[d / 4u][d % 4u] + p.s[d]; }",
    );
    let expected = "p.shape[audit(u32(d / 4u), u32(2), 7u)][audit(u32(d % 4u), u32(4u), 8u)] + p.s[audit(u32(d), u32(4u), 9u)]";
    assert!(text.contains(expected), "{text}");
}

#[test]
fn halves_of_a_word_are_two() {
    let (text, _) = checked("fn f(i: u32) -> f32 { return unpack2x16float((i))[i % 2u]; }");
    assert!(
        text.contains("(i))[audit(u32(i % 2u), u32(2u), 7u)]"),
        "{text}"
    );
}

#[test]
fn what_has_no_known_length_is_an_error() {
    let source =
        assemble(&Variant::new("t").text("t", "\nfn f(i: u32) { let v = g(); _ = v[i]; }"));
    let source = source.unwrap();
    let error = instrument(&source, &source.text(0), 0).unwrap_err();
    let message = error.to_string();
    assert!(
        message.contains("t:2: the audit cannot tell the length in v[i]"),
        "{message}"
    );
}
