//! What naga lets pass and browsers refuse (WGSL, section 8.19 "Operator Precedence and Associativity"): `|`, `&` and `^`
//! beside any other operator, and shifts beside arithmetic or other shifts, need parentheses.

use std::path::Path;

/// Operators between two operands, longest first.
const BINARY: [&str; 18] = [
    "<<", ">>", "<=", ">=", "==", "!=", "&&", "||", "|", "&", "^", "+", "-", "*", "/", "%", "<",
    ">",
];
/// Types and functions that take a template.
const TEMPLATES: [&str; 12] = [
    "vec2", "vec3", "vec4", "array", "ptr", "bitcast", "atomic", "var", "mat2x2", "mat3x3",
    "mat4x4", "override",
];

/// The operators of each expression, all that stand at one depth between separators, with the line where it ends.
#[derive(Default)]
struct Expressions<'a> {
    found: Vec<(usize, Vec<&'a str>)>,
    /// Outside of all parentheses, and within each that is open.
    open: Vec<Vec<&'a str>>,
    /// Whether an operand has just ended, so that what follows is no unary operator.
    operand: bool,
}

fn expressions(text: &str) -> Vec<(usize, Vec<&str>)> {
    let mut all = Expressions {
        open: vec![vec![]],
        ..Expressions::default()
    };
    for (n, line) in text.lines().enumerate() {
        let mut rest = line.split("//").next().unwrap_or_default();
        while let Some(c) = rest.chars().next() {
            rest = if c.is_alphanumeric() || "_$".contains(c) {
                all.word(rest)
            } else if let Some(op) = BINARY.iter().find(|op| rest.starts_with(**op)) {
                all.operator(rest, op)
            } else {
                all.mark(n + 1, c);
                &rest[c.len_utf8()..]
            };
        }
    }
    all.found
}

impl<'a> Expressions<'a> {
    fn word(&mut self, text: &'a str) -> &'a str {
        let part = |c: char| c.is_alphanumeric() || "_.$".contains(c);
        let end = text.find(|c| !part(c)).unwrap_or(text.len());
        let (word, rest) = text.split_at(end);
        self.operand = word != "return";
        match rest.strip_prefix('<') {
            Some(inside) if TEMPLATES.contains(&word) => skip_template(inside),
            _ => rest,
        }
    }

    fn operator(&mut self, text: &'a str, op: &'a str) -> &'a str {
        let rest = &text[op.len()..];
        let assigns = rest.starts_with('=') && !["<", ">"].contains(&op);
        if let Some(ops) = self.open.last_mut() {
            match (assigns, self.operand) {
                (true, _) => ops.clear(),
                (false, true) => ops.push(op),
                (false, false) => {}
            }
        }
        self.operand = false;
        if assigns { &rest[1..] } else { rest }
    }

    fn mark(&mut self, line: usize, c: char) {
        match c {
            '(' | '[' => self.open.push(vec![]),
            ')' | ']' => self.found.push((line, self.open.pop().unwrap_or_default())),
            ',' | ';' | '{' | '}' | '=' | ':' => {
                let ops = self.open.last_mut().map(std::mem::take);
                self.found.push((line, ops.unwrap_or_default()));
            }
            _ => return,
        }
        self.operand = [')', ']'].contains(&c);
    }
}

/// What follows the `>` that ends a template whose `<` was read.
fn skip_template(text: &str) -> &str {
    let mut depth = 1;
    for (i, c) in text.char_indices() {
        match c {
            '<' => depth += 1,
            '>' => depth -= 1,
            _ => {}
        }
        if depth == 0 {
            return &text[i + 1..];
        }
    }
    ""
}

/// True if a browser would refuse these operators in one expression.
fn refused(ops: &[&str]) -> bool {
    let any = |of: &[&str]| ops.iter().any(|op| of.contains(op));
    let bitwise = ops.iter().find(|op| ["|", "&", "^"].contains(op));
    let mixed = bitwise.is_some_and(|b| ops.iter().any(|op| op != b));
    let logic = any(&["&&"]) && any(&["||"]);
    // A comparison takes shifts on both sides; between comparisons each may stand once.
    let sides = ops.split(|op| ["<", ">", "<=", ">=", "==", "!=", "&&", "||"].contains(op));
    let shifts = |side: &[&str]| side.len() > 1 && side.iter().any(|op| ["<<", ">>"].contains(op));
    mixed || logic || sides.into_iter().any(shifts)
}

#[test]
fn mixed_operators_have_parentheses() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let (mut files, mut bad) = (0, vec![]);
    for folder in [root.to_path_buf(), root.join("part")] {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.extension().is_none_or(|e| e != "wgsl") {
                continue;
            }
            files += 1;
            let text = std::fs::read_to_string(&path).unwrap();
            for (line, ops) in expressions(&text).iter().filter(|(_, ops)| refused(ops)) {
                bad.push(format!("{}:{line}: {}", path.display(), ops.join(" ")));
            }
        }
    }
    assert!(files > 50, "only {files} shaders");
    assert!(bad.is_empty(), "{}", bad.join("\n"));
}

#[test]
fn it_tells_good_from_bad() {
    let bad = |text: &str| expressions(text).iter().any(|(_, ops)| refused(ops));
    for text in [
        "let x = a | b << 8u;",
        "let x = a >> 8u & 0xffu;",
        "y[a & b + 1u] = 0u;",
        "let x = a << b + 1u;",
        "if a & 1u == 0u { return; }",
        "if a && b || c { return; }",
        "x |= a ^ b & c;",
        "let x = a\n    | b << 8u;",
    ] {
        assert!(bad(text), "{text}");
    }
    for text in [
        "let x = a | (b << 8u);",
        "let x = vec4<u32>(a) | vec4<u32>(b) | c;",
        "if a >> 1u < b << 2u && c { return; }",
        "x |= (a & b) << 2u;",
        "let p = &x; let y = -a * b - 1u;",
        "for (var i = 0u; i < n; i += 1u << k) {}",
        "var<storage, read> a: array<vec4<u32>>; let z = a[i] & 1u;",
    ] {
        assert!(!bad(text), "{text}");
    }
}
