use super::*;
use crate::{Dispatch, Param, Slot, Span};

/// A library for these tests: the texts are as short as the case allows.
fn library(name: &str) -> Option<&'static str> {
    Some(match name {
        "empty" => "",
        "main" => "//! Main.\n//#use q\nfn main() {}\n",
        "part/q" => "//#use r\nfn q() {}\n",
        "part/r" => "//#use q\nfn r() {}\n",
        "part/bad_use" => "fn b() {}\n\n//#use nothing\n",
        _ => return None,
    })
}

fn built(variant: &Variant) -> Result<Source> {
    assemble_from(variant, &library)
}

/// The text of a variant whose main shader is `text`.
fn main_text(text: &str) -> Variant {
    Variant::new("t").text("t", text)
}

#[track_caller]
fn assert_error(variant: &Variant, expected: &str) {
    match built(variant) {
        Ok(source) => panic!("expected the error {expected:?}, got\n{source}"),
        Err(error) => assert_eq!(error.to_string(), expected),
    }
}

#[test]
fn the_prelude_writes_each_kind_of_set() {
    let v = Variant::new("empty")
        .set("U", 3u32)
        .set("I", -3)
        .set("F", 1.5f32)
        .set("B", true);
    let v = v
        .alias("Store", "vec4<f16>")
        .set("MIN", i32::MIN)
        .set("Z", -0.0f32)
        .set("BIG", 1e20f32);
    let v = v.enable("x");
    let expected = "enable x;\nenable f16;\nconst B = true;\nconst BIG = 1e20f;\nconst F = 1.5f;\nconst I = -3i;\n\
                    const MIN = -2147483647i - 1i;\nalias Store = vec4<f16>;\nconst U = 3u;\nconst Z = -0.0f;\n";
    assert_eq!(built(&v).unwrap().to_string(), expected);
    assert_error(
        &Variant::new("empty").set("F", f32::NAN),
        "empty F=NaNf: F is NaN, which WGSL cannot write",
    );
}

#[test]
fn parts_stand_once_before_what_uses_them() {
    // q and r use each other: WGSL does not mind the order, and neither comes twice.
    let source = built(&Variant::new("main").part("r")).unwrap();
    let code: Vec<_> = source.text.lines().collect();
    assert_eq!(
        code,
        ["fn q() {}", "fn r() {}", "//! Main.", "fn main() {}"]
    );
    assert_eq!(source.place(1), "shaders/part/q.wgsl:2");
    assert_eq!(source.place(4), "shaders/main.wgsl:3");
    assert_eq!(source.place(5), "main r");
    assert_eq!(source.place(0), "main r");
}

#[test]
fn a_generated_text_is_a_part_and_may_use_directives() {
    let v = Variant::new("main").text("map", "//#use q\n//#repeat i 2\nfn m$i() {}\n//#end\n");
    let source = built(&v).unwrap();
    let code: Vec<_> = source.text.lines().collect();
    assert_eq!(code[1..4], ["fn q() {}", "fn m0() {}", "fn m1() {}"]);
    assert_eq!(source.place(4), "map:3");
}

#[test]
fn a_generated_text_named_like_the_shader_is_the_main_text() {
    let v = main_text("fn main() {}")
        .part("q")
        .text("other", "fn o() {}");
    let source = built(&v).unwrap();
    let code: Vec<_> = source.text.lines().collect();
    assert_eq!(
        code,
        ["fn r() {}", "fn q() {}", "fn o() {}", "fn main() {}"]
    );
}

#[test]
fn repeats_nest_and_count_by_numbers_and_sets() {
    let text = "//#repeat i N\n//#repeat j 2\nlet r$i_$j = $iu + $j; // $j\n//#end\nx$i\n//#end\n//#repeat k 0\n$k\n//#end\ny";
    let source = built(&main_text(text).set("N", 2u32)).unwrap();
    let code: Vec<_> = source.text.lines().skip(1).collect();
    let expected = [
        "let r0_0 = 0u + 0; // 0",
        "let r0_1 = 0u + 1; // 1",
        "x0",
        "let r1_0 = 1u + 0; // 0",
        "let r1_1 = 1u + 1; // 1",
        "x1",
        "y",
    ];
    assert_eq!(code, expected);
    // The line table points at the line that was repeated.
    assert_eq!(source.place(2), "t:3");
    assert_eq!(source.place(5), "t:3");
    assert_eq!(source.place(7), "t:5");
    assert_eq!(source.place(8), "t:10");
    assert!(
        source.place(1).starts_with("the prelude"),
        "{}",
        source.place(1)
    );
}

#[test]
fn bindings_are_numbered_in_order_of_appearance() {
    let text = "@group(0) @binding(A) var<storage, read> a: array<f32>;\n\
                @group(0) @binding(OUT_1) var<storage, read_write> out_1: array<f32>; // @binding(A)\n\
                //#repeat i 2\n@group(0) @binding(B$i) var<storage, read> b$i: array<u32>;\n//#end";
    let source = built(&main_text(text)).unwrap();
    let names: Vec<_> = source
        .bindings()
        .iter()
        .map(|b| (b.name.as_str(), b.writable))
        .collect();
    assert_eq!(
        names,
        [("A", false), ("OUT_1", true), ("B0", false), ("B1", false)]
    );
    let lines: Vec<_> = source.text.lines().collect();
    assert_eq!(
        lines[1],
        "@group(0) @binding(1) var<storage, read_write> out_1: array<f32>; // @binding(A)"
    );
    assert_eq!(
        lines[3],
        "@group(0) @binding(3) var<storage, read> b1: array<u32>;"
    );
    assert_eq!(
        source.order(&["B1", "A", "B0", "OUT_1"]).unwrap(),
        [1, 3, 2, 0]
    );
}

#[test]
fn shared_bindings_become_read_write() {
    let text = "@group(0) @binding(READ) var<storage, read> read: array<f32>;\n\
                @group(0) @binding(B) var<storage, read> b: array<f32>;\n\
                @group(0) @binding(C) var<storage, read_write> c: array<f32>;";
    let source = built(&main_text(text)).unwrap();
    assert_eq!(source.text(0), source.text);
    assert_eq!(source.text(0b100), source.text);
    let shared = source.text(0b111);
    let expected = "@group(0) @binding(0) var<storage, read_write> read: array<f32>;\n\
                    @group(0) @binding(1) var<storage, read_write> b: array<f32>;\n\
                    @group(0) @binding(2) var<storage, read_write> c: array<f32>;\n";
    assert_eq!(shared, expected);
    assert_eq!(source.text(0b010).matches("read_write").count(), 2);
}

#[test]
fn params_of_all_texts_become_one_struct_without_gaps() {
    let v = Variant::new("t").text("map", "//#param map_scale: vec4<f32>\n//#param m: u32");
    let v = v.text("t", "//#param m: u32\n//#param shift: i32\n//#param shape: dims\n//#param eps: f32\n//#param q: vec4<u32>");
    let source = built(&v).unwrap();
    let expected = "struct Params { map_scale: vec4<f32>, shape: array<vec4<u32>, 2>, q: vec4<u32>, m: u32, shift: i32, eps: f32, }\n\
                    @group(1) @binding(0) var<uniform> p: Params;\n";
    assert_eq!(source.text, expected);
    let offsets: Vec<_> = source.params().iter().map(|p| p.offset).collect();
    assert_eq!(offsets, [0, 16, 48, 64, 68, 72]);
    assert_eq!(source.params_bytes(), 80);
    let values = [
        ("m", Param::U32(7)),
        ("q", Param::Vec4([1, 2, 3, 4])),
        ("eps", Param::F32(0.5)),
        ("shift", Param::I32(-1)),
        ("shape", Param::Dims([8, 9, 10, 11, 12, 13, 14, 15])),
        ("map_scale", Param::Vec4F([1.0, 2.0, 3.0, 4.0])),
    ];
    let words: Vec<u32> = bytemuck::pod_collect_to_vec(&source.pack(&values).unwrap());
    let mut want = [1.0f32, 2.0, 3.0, 4.0].map(f32::to_bits).to_vec();
    want.extend([
        8,
        9,
        10,
        11,
        12,
        13,
        14,
        15,
        1,
        2,
        3,
        4,
        7,
        u32::MAX,
        0.5f32.to_bits(),
        0,
    ]);
    assert_eq!(words, want);
}

#[test]
fn the_layout_is_the_one_that_naga_computes() {
    let text = "//#param a: f32\n//#param b: dims\n//#param c: vec4<f32>\n//#param d: i32\n//#param e: u32\n\
                @group(0) @binding(Y) var<storage, read_write> y: array<f32>;\n\
                @compute @workgroup_size(1) fn main() { y[0] = p.a + f32(p.b[1].x) + p.c.w + f32(p.d) + f32(p.e); }";
    let source = built(&main_text(text)).unwrap();
    let module = naga::front::wgsl::parse_str(&source.text).unwrap();
    let found = module.types.iter().find_map(|(_, ty)| match &ty.inner {
        naga::TypeInner::Struct { members, span } => Some((members, *span)),
        _ => None,
    });
    let (members, span) = found.unwrap();
    let theirs: Vec<_> = members
        .iter()
        .map(|m| (m.name.as_deref().unwrap(), m.offset))
        .collect();
    let ours: Vec<_> = source
        .params()
        .iter()
        .map(|p| (p.name.as_str(), p.offset))
        .collect();
    assert_eq!(ours, theirs);
    assert!(span <= source.params_bytes());
}

#[test]
fn no_params_no_struct() {
    let source = built(&Variant::new("empty")).unwrap();
    assert_eq!((source.text.as_str(), source.params_bytes()), ("", 0));
    assert_eq!(source.pack(&[]).unwrap(), Vec::<u8>::new());
}

/// A main text and its error.
const MISTAKES: &[(&str, &str)] = &[
    ("\n//#ues grid", "t:2: unknown directive //#ues grid"),
    ("//#need", "t:1: unknown directive //#need"),
    ("//#need A", "t:1: A is not set"),
    ("//#need SET A", "t:1: A is not set"),
    ("//#use", "t:1: expected //#use part"),
    ("//#use a b", "t:1: expected //#use part"),
    ("//#use nothing", "t:1: there is no part nothing"),
    (
        "//#use bad_use",
        "shaders/part/bad_use.wgsl:3: there is no part nothing",
    ),
    ("//#repeat i", "t:1: expected //#repeat name count"),
    ("//#repeat 1 2\n//#end", "t:1: 1 is not a name"),
    ("//#repeat i N\n//#end", "t:1: N is not set"),
    ("//#repeat i T\n//#end", "t:1: T is set, but not a u32"),
    ("//#repeat i 2\nx", "t:1: //#repeat without //#end"),
    ("//#repeat i 2\n//#end 3", "t:1: //#repeat without //#end"),
    ("x\n//#end", "t:2: //#end without //#repeat"),
    (
        "//#repeat i 2\n//#repeat in 2\n//#end\n//#end",
        "t:2: in and the name of a repeat around it are alike",
    ),
    (
        "//#repeat i 2\n//#end\nlet a$i = 1;",
        "t:3: no repeat around $i = 1;",
    ),
    (
        "//#repeat i 1000\n//#repeat j 1000\nx\n//#end\n//#end",
        "t:3: expands to more than 200000 lines",
    ),
    ("//#param a u32", "t:1: expected //#param name: type"),
    (
        "//#param a: u64",
        "t:1: the type of a is u64, not u32, i32, f32, vec4<u32>, vec4<f32> or dims",
    ),
    (
        "//#param a: u32\n//#param a: i32",
        "t:2: a is i32 here and u32 before",
    ),
    (
        "enable f16;",
        "t:1: belongs to the prelude: Variant::enable",
    ),
    (
        "@group(0) @binding(A) var<storage, read> b: f32;",
        "t:1: the binding of b is B, not A",
    ),
    (
        "@group(0) @binding(A) var<storage, read> a: f32;\n@group(0) @binding(A) var<storage, read> a: f32;",
        "t:2: the binding A is declared twice",
    ),
];

#[test]
fn every_mistake_in_a_text_names_its_line() {
    for (text, expected) in MISTAKES {
        assert_error(
            &main_text(text).set("SET", 1u32).alias("T", "f32"),
            expected,
        );
    }
}

#[test]
fn bindings_have_one_form() {
    let form =
        "t:1: expected, on one line, @group(0) @binding(NAME) var<storage, read> name: type;";
    for text in [
        "@group(0) @binding(0) var<storage, read> a: f32;",
        "@group(1) @binding(A) var<storage, read> a: f32;",
        "@group(0) @binding(A) var<uniform> a: f32;",
        "@group(0) @binding(A) var<storage> a: f32;",
        "@group(0) @binding(A)",
        "@group(0) @binding(A) var<storage, read> a:",
    ] {
        assert_error(&main_text(text), form);
    }
    let many = "//#repeat i 33\n@group(0) @binding(A$i) var<storage, read> a$i: f32;\n//#end";
    assert_error(&main_text(many), "t:2: more than 32 bindings");
}

#[test]
fn unknown_files_are_errors() {
    assert_error(
        &Variant::new("nothing"),
        "nothing: there is no shader nothing",
    );
    assert_error(
        &Variant::new("main").part("x"),
        "main x: there is no part x",
    );
}

#[test]
fn a_dispatch_that_does_not_fit_names_what() {
    let v = Variant::new("fill")
        .set("THREADS", 64u32)
        .alias("Unit", "u32")
        .alias("Known", "u32");
    let source = assemble(&v).unwrap();
    let span = Span::whole(Slot(0), 40);
    let good = Dispatch::new(v)
        .bind("Y", span)
        .param("count", 10u32)
        .param("word", 1u32);
    source.check(&good).unwrap();
    let prefix = "fill Known=u32 THREADS=64 Unit=u32: ";
    let cases = [
        (good.clone().bind("Y", span), "Y: is bound twice"),
        (
            good.clone().bind("X", span),
            "X: the shader has no such binding",
        ),
        (
            Dispatch {
                spans: vec![],
                ..good.clone()
            },
            "Y: is not bound",
        ),
        (
            good.clone().param("count", 1u32),
            "count: given 2 times, expected once",
        ),
        (
            Dispatch {
                params: vec![],
                ..good.clone()
            },
            "count: given 0 times, expected once",
        ),
        (
            good.clone().param("x", 1u32),
            "x: the shader has no such parameter",
        ),
        (
            Dispatch {
                params: vec![("count", Param::I32(1)), ("word", Param::U32(1))],
                ..good.clone()
            },
            "count: expected u32, got i32",
        ),
    ];
    for (dispatch, expected) in cases {
        let error = source.check(&dispatch).unwrap_err();
        assert_eq!(error.to_string(), format!("{prefix}{expected}"));
    }
}

#[test]
fn fill_assembles_to_what_it_should() {
    let v = Variant::new("fill")
        .set("THREADS", 64u32)
        .alias("Unit", "u32")
        .alias("Known", "u32");
    insta::assert_snapshot!(assemble(&v).unwrap().to_string());
}
