//! Texts before and after.

use super::*;
use wgpu::naga::valid::{Capabilities, ValidationFlags, Validator};

/// The rewritten module, which must be valid; types of its storage arrays by name.
fn valid(text: &str) -> Option<(Module, Vec<(String, bool)>)> {
    let module = as_words(text)?;
    let mut validator = Validator::new(ValidationFlags::all(), Capabilities::SHADER_INT64);
    validator.validate(&module).unwrap();
    let is_words = |global: &GlobalVariable| match module.types[global.ty].inner {
        TypeInner::Array { base, .. } => {
            matches!(module.types[base].inner, TypeInner::Vector { scalar, .. } if scalar == Scalar::U64)
        }
        _ => false,
    };
    let globals = module.global_variables.iter();
    let globals = globals.map(|(_, g)| (g.name.clone().unwrap(), is_words(g)));
    let globals = globals.collect();
    Some((module, globals))
}

/// Loads and stores of elements of words that a function makes itself.
fn accesses(module: &Module, function: &Function) -> usize {
    let words = |of: Expr| match function.expressions[of] {
        Expression::GlobalVariable(global) => {
            matches!(module.types[module.global_variables[global].ty].inner, TypeInner::Array { base, .. }
                if matches!(module.types[base].inner, TypeInner::Vector { size: VectorSize::Bi, .. }))
        }
        _ => false,
    };
    let all = function.expressions.iter();
    all.filter(|(_, of)| matches!(of, Expression::Access { base, .. } if words(*base)))
        .count()
}

const BINDINGS: &str = "
    @group(0) @binding(0) var<storage, read> a: array<vec4<f32>>;
    @group(0) @binding(1) var<storage, read> b: array<vec4<i32>>;
    @group(0) @binding(2) var<storage, read_write> y: array<vec4<f32>>;
    @group(0) @binding(3) var<storage, read> one: array<f32>;
    fn sum_at(at: u32) -> vec4<f32> { return a[at] + vec4<f32>(b[at]); }
";

#[test]
fn whole_elements_become_words_wherever_they_are_used() {
    let main = "
        @compute @workgroup_size(8)
        fn main(@builtin(local_invocation_index) i: u32) {
            var sum = a[0] + sum_at(i) * one[i];
            for (var k = 0i; k < 4; k++) {
                if k == 2 { continue; }
                switch k {
                    case 1: { sum += a[u32(k)]; }
                    default: { sum += a[k] - y[i]; y[i + 1u] = sum; }
                }
            }
            if i < arrayLength(&y) { y[i] = sum; }
        }
    ";
    let (module, globals) = valid(&format!("{BINDINGS}{main}")).unwrap();
    let expected = [("a", true), ("b", true), ("y", true), ("one", false)];
    assert_eq!(
        globals,
        expected.map(|(name, words)| (name.to_owned(), words))
    );
    // Only the functions that were added touch words.
    let names = [
        "load_words",
        "load_words",
        "load_words",
        "store_words",
        "sum_at",
    ];
    let found: Vec<_> = module
        .functions
        .iter()
        .map(|(_, f)| f.name.clone().unwrap())
        .collect();
    assert_eq!(found, names);
    for (_, function) in module.functions.iter() {
        let own = function.name.as_deref() != Some("sum_at");
        assert_eq!(accesses(&module, function), usize::from(own));
    }
    assert_eq!(accesses(&module, &module.entry_points[0].function), 0);
}

#[test]
fn parts_of_elements_and_pointers_leave_an_array_as_it_is() {
    for use_of_a in [
        "one_of[0] = a[1].x;",
        "one_of[0] = a[1][i];",
        "let at = &a[i]; one_of[0] = (*at).y;",
    ] {
        let text = format!(
            "{BINDINGS}
            @group(0) @binding(4) var<storage, read_write> one_of: array<f32>;
            @compute @workgroup_size(8)
            fn main(@builtin(local_invocation_index) i: u32) {{ {use_of_a} y[i] = sum_at(i); }}"
        );
        let (_, globals) = valid(&text).unwrap();
        let left = |name: &str| globals.iter().any(|(n, words)| n == name && !words);
        assert!(
            left("a") && !left("b") && !left("y"),
            "{use_of_a}: {globals:?}"
        );
    }
}

#[test]
fn texts_without_such_arrays_or_with_errors_are_left_to_the_device() {
    let none = "@group(0) @binding(0) var<storage, read_write> y: array<vec2<f32>>;
        @compute @workgroup_size(1) fn main() { y[0] = vec2f(); }";
    assert!(as_words(none).is_none());
    assert!(as_words("fn main() { nothing }").is_none());
}

#[test]
fn pointers_to_elements_loops_and_signed_indices_are_followed() {
    let text = format!(
        "{BINDINGS}
        @group(0) @binding(4) var<storage, read_write> bits: array<vec4<u32>>;
        fn twice(at: u32) -> vec4<f32> {{ return sum_at(at) + sum_at(at + 1u); }}
        @compute @workgroup_size(8)
        fn main(@builtin(local_invocation_index) i: u32) {{
            let to = &y[i];
            *to = twice(i);
            var k = -1i;
            loop {{
                if k > 5 {{ break; }}
                bits[k + 1] = bits[u32(k + 2)] ^ vec4<u32>(1u);
                continuing {{ k += b[i].x; }}
            }}
        }}"
    );
    // A component of `b` is read, so that it stays.
    let (_, globals) = valid(&text).unwrap();
    for (name, words) in [
        ("a", true),
        ("b", false),
        ("y", true),
        ("bits", true),
        ("one", false),
    ] {
        assert!(
            globals.contains(&(name.to_owned(), words)),
            "{name}: {globals:?}"
        );
    }
}

#[test]
fn an_array_that_a_function_gets_by_pointer_stays() {
    let text = "
        @group(0) @binding(0) var<storage, read_write> y: array<vec4<f32>>;
        fn zero(of: ptr<storage, array<vec4<f32>>, read_write>, i: u32) { (*of)[i] = vec4f(); }
        @compute @workgroup_size(8)
        fn main(@builtin(local_invocation_index) i: u32) { zero(&y, i); }";
    assert!(as_words(text).is_none());
}
