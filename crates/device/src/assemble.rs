//! The assembler: a [`Variant`] becomes WGSL text. Its directives are described in `docs/shaders.md`.

use std::collections::HashSet;
use std::fmt::Write as _;

use crate::source::{BindingInfo, ParamInfo, ParamType, Source};
use crate::{Error, Result, Set, Variant};

/// Lines that one shader may expand to: far above any kernel, below what hangs a compiler.
const MAX_LINES: usize = 200_000;
/// Bindings of one shader: the bits of `shared`.
const MAX_BINDINGS: usize = 32;

/// Assembles a variant's text from the files of `tilewright-shaders`.
///
/// Order: prelude, `Params`, the parts, the generated texts, the main shader; what a text uses stands
/// before it, once. A generated text is found before a file of the same name, so a text named like
/// the shader is the main text.
///
/// # Errors
/// [`Error::Shader`] with file and line for an unknown shader, part or directive, an unset name, a
/// malformed or doubled binding, a parameter with two types.
pub fn assemble(variant: &Variant) -> Result<Source> {
    assemble_from(variant, &tilewright_shaders::get)
}

type Library<'a> = &'a dyn Fn(&str) -> Option<&'static str>;

fn assemble_from(variant: &Variant, library: Library<'_>) -> Result<Source> {
    let mut assembler = Assembler {
        variant,
        library,
        files: vec!["the prelude".into()],
        seen: HashSet::new(),
        lines: Vec::new(),
        bindings: Vec::new(),
        params: Vec::new(),
    };
    let whence = variant.to_string();
    for part in &variant.parts {
        assembler.part(part, &whence)?;
    }
    for (name, _) in variant.text.iter().filter(|text| text.0 != variant.shader) {
        assembler.part(name, &whence)?;
    }
    match assembler.generated(variant.shader) {
        Some(text) => assembler.file(variant.shader.into(), text)?,
        None => match library(variant.shader) {
            Some(text) => assembler.file(format!("shaders/{}.wgsl", variant.shader), text)?,
            None => {
                return Err(wrong(
                    &whence,
                    format!("there is no shader {}", variant.shader),
                ));
            }
        },
    }
    assembler.finish()
}

struct Assembler<'a> {
    variant: &'a Variant,
    library: Library<'a>,
    files: Vec<String>,
    seen: HashSet<String>,
    lines: Vec<Line>,
    bindings: Vec<BindingInfo>,
    params: Vec<(String, ParamType)>,
}

struct Line {
    file: u32,
    line: u32,
    text: String,
    /// Where a binding's access mode stands in `text`.
    access: Option<std::ops::Range<usize>>,
}

/// Values of the repeats around a line, outermost first.
type Repeats<'t> = Vec<(&'t str, u32)>;

impl<'a> Assembler<'a> {
    fn generated(&self, name: &str) -> Option<&'a str> {
        self.variant
            .text
            .iter()
            .find(|text| text.0 == name)
            .map(|text| &*text.1)
    }

    /// Appends a part once.
    fn part(&mut self, name: &str, whence: &str) -> Result<()> {
        if !self.seen.insert(name.into()) {
            return Ok(());
        }
        if let Some(text) = self.generated(name) {
            return self.file(name.into(), text);
        }
        match (self.library)(&format!("part/{name}")) {
            Some(text) => self.file(format!("shaders/part/{name}.wgsl"), text),
            None => Err(wrong(whence, format!("there is no part {name}"))),
        }
    }

    /// Appends a text, after the parts that it uses.
    fn file(&mut self, name: String, text: &str) -> Result<()> {
        let lines: Vec<_> = text.lines().collect();
        for (i, line) in lines.iter().enumerate() {
            if let Some(["use", rest @ ..]) = directive(line).as_deref() {
                let place = format!("{name}:{}", i + 1);
                let [part] = rest else {
                    return Err(wrong(&place, "expected //#use part".into()));
                };
                self.part(part, &place)?;
            }
        }
        self.files.push(name);
        self.expand(&lines, 1, &mut Vec::new())
    }

    /// Appends lines, of which the first has this number, with their repeats unrolled.
    fn expand<'t>(
        &mut self,
        lines: &[&'t str],
        first: u32,
        repeats: &mut Repeats<'t>,
    ) -> Result<()> {
        let mut i = 0;
        while i < lines.len() {
            let number = first + i as u32;
            let words = directive(lines[i]);
            match words.as_deref() {
                Some(["repeat", rest @ ..]) => {
                    let [name, count] = rest else {
                        return Err(self.here(number, "expected //#repeat name count".into()));
                    };
                    let count = self.repeat_count(name, count, repeats, number)?;
                    let Some(body) = block(&lines[i + 1..]) else {
                        return Err(self.here(number, "//#repeat without //#end".into()));
                    };
                    for value in 0..count {
                        repeats.push((name, value));
                        self.expand(&lines[i + 1..i + 1 + body], number + 1, repeats)?;
                        repeats.pop();
                    }
                    i += body + 2;
                    continue;
                }
                Some(["end", ..]) => {
                    return Err(self.here(number, "//#end without //#repeat".into()));
                }
                _ => self.line(lines[i], number, repeats)?,
            }
            i += 1;
        }
        Ok(())
    }

    fn repeat_count(
        &self,
        name: &str,
        count: &str,
        repeats: &Repeats<'_>,
        number: u32,
    ) -> Result<u32> {
        if !is_name(name) {
            return Err(self.here(number, format!("{name} is not a name")));
        }
        // `$i` is replaced without looking at what follows (`$iu` is a u32 literal), so `$in` would be ambiguous.
        if repeats
            .iter()
            .any(|(other, _)| other.starts_with(name) || name.starts_with(other))
        {
            return Err(self.here(
                number,
                format!("{name} and the name of a repeat around it are alike"),
            ));
        }
        match (count.parse(), self.variant.get(count)) {
            (Ok(count), _) | (Err(_), Some(Set::U32(count))) => Ok(count),
            (Err(_), Some(_)) => Err(self.here(number, format!("{count} is set, but not a u32"))),
            (Err(_), None) => Err(self.here(number, format!("{count} is not set"))),
        }
    }

    /// Appends one line, or does what its directive says.
    fn line(&mut self, line: &str, number: u32, repeats: &Repeats<'_>) -> Result<()> {
        let mut text = line.to_string();
        for (name, value) in repeats {
            if text.contains('$') {
                text = text.replace(&format!("${name}"), &value.to_string());
            }
        }
        if let Some(words) = directive(&text) {
            return match words.as_slice() {
                ["use", ..] => Ok(()),
                ["need", names @ ..] if !names.is_empty() => self.need(names, number),
                ["param", rest @ ..] => self.param(&rest.concat(), number),
                _ => Err(self.here(number, format!("unknown directive {}", text.trim()))),
            };
        }
        let code = text.split("//").next().unwrap_or_default();
        if let Some(at) = code.find('$') {
            let message = format!("no repeat around {}", &code[at..].trim_end());
            return Err(self.here(number, message));
        }
        if ["enable ", "requires ", "diagnostic("]
            .iter()
            .any(|word| code.trim_start().starts_with(word))
        {
            return Err(self.here(number, "belongs to the prelude: Variant::enable".into()));
        }
        let access = if code.contains("@binding") {
            Some(self.binding(&mut text, number)?)
        } else {
            None
        };
        if self.lines.len() >= MAX_LINES {
            return Err(self.here(number, format!("expands to more than {MAX_LINES} lines")));
        }
        self.lines.push(Line {
            file: self.files.len() as u32 - 1,
            line: number,
            text,
            access,
        });
        Ok(())
    }

    fn need(&self, names: &[&str], number: u32) -> Result<()> {
        match names.iter().find(|name| self.variant.get(name).is_none()) {
            Some(name) => Err(self.here(number, format!("{name} is not set"))),
            None => Ok(()),
        }
    }

    fn param(&mut self, text: &str, number: u32) -> Result<()> {
        let Some((name, ty)) = text.split_once(':').filter(|(name, _)| is_name(name)) else {
            return Err(self.here(number, "expected //#param name: type".into()));
        };
        // Words are joined without spaces, so `vec4 < f32 >` is the same type.
        let Some(ty) = ParamType::parse(ty) else {
            let known = "u32, i32, f32, vec4<u32>, vec4<f32> or dims";
            return Err(self.here(number, format!("the type of {name} is {ty}, not {known}")));
        };
        match self.params.iter().find(|param| param.0 == name) {
            Some((_, other)) if *other != ty => {
                Err(self.here(number, format!("{name} is {ty} here and {other} before")))
            }
            Some(_) => Ok(()),
            None => {
                self.params.push((name.into(), ty));
                Ok(())
            }
        }
    }

    /// Numbers a binding in its text and returns where its access mode stands.
    fn binding(&mut self, text: &mut String, number: u32) -> Result<std::ops::Range<usize>> {
        let Some((name, writable, variable)) = parse_binding(text) else {
            let form = "@group(0) @binding(NAME) var<storage, read> name: type;";
            return Err(self.here(number, format!("expected, on one line, {form}")));
        };
        if name != variable.to_uppercase() {
            let message = format!(
                "the binding of {variable} is {}, not {name}",
                variable.to_uppercase()
            );
            return Err(self.here(number, message));
        }
        if self.bindings.iter().any(|binding| binding.name == name) {
            return Err(self.here(number, format!("the binding {name} is declared twice")));
        }
        let at = self.bindings.len();
        if at == MAX_BINDINGS {
            return Err(self.here(number, format!("more than {MAX_BINDINGS} bindings")));
        }
        *text = text.replacen(&format!("@binding({name})"), &format!("@binding({at})"), 1);
        self.bindings.push(BindingInfo { name, writable });
        let mode = if writable { "read_write" } else { "read" };
        let Some(start) = text.find(mode) else {
            return Err(self.here(number, format!("no {mode} in the binding")));
        };
        Ok(start..start + mode.len())
    }

    fn finish(self) -> Result<Source> {
        let params = layout(&self.params);
        let mut text = prelude(self.variant)?;
        if !params.is_empty() {
            text.push_str("struct Params {");
            for param in &params {
                let _ = write!(text, " {}: {},", param.name, param.ty.wgsl());
            }
            text.push_str(" }\n@group(1) @binding(0) var<uniform> p: Params;\n");
        }
        let mut lines = vec![(0, 0); text.lines().count()];
        let mut access = Vec::with_capacity(self.bindings.len());
        for line in &self.lines {
            if let Some(range) = &line.access {
                access.push(range.start + text.len()..range.end + text.len());
            }
            lines.push((line.file, line.line));
            text.push_str(&line.text);
            text.push('\n');
        }
        let Self {
            variant,
            files,
            bindings,
            ..
        } = self;
        Ok(Source {
            variant: variant.clone(),
            text,
            lines,
            files,
            bindings,
            access,
            params,
        })
    }

    fn here(&self, number: u32, message: String) -> Error {
        let file = self.files.last().map_or("", String::as_str);
        wrong(&format!("{file}:{number}"), message)
    }
}

fn wrong(place: &str, message: String) -> Error {
    Error::Shader {
        place: place.into(),
        message,
    }
}

/// The words of a directive line, `None` where it is none.
fn directive(line: &str) -> Option<Vec<&str>> {
    Some(
        line.trim_start()
            .strip_prefix("//#")?
            .split_whitespace()
            .collect(),
    )
}

/// The number of lines before the `//#end` that closes a repeat.
fn block(lines: &[&str]) -> Option<usize> {
    let mut depth = 0;
    for (i, line) in lines.iter().enumerate() {
        match directive(line).as_deref() {
            Some(["repeat", ..]) => depth += 1,
            Some(["end"]) if depth == 0 => return Some(i),
            Some(["end"]) => depth -= 1,
            _ => {}
        }
    }
    None
}

fn is_name(text: &str) -> bool {
    let mut chars = text.chars();
    chars
        .next()
        .is_some_and(|c| c.is_ascii_alphabetic() || c == '_')
        && chars.all(|c| c.is_ascii_alphanumeric() || c == '_')
}

/// Name, whether it is written, and variable of `@group(0) @binding(A) var<storage, read> a: ..`.
fn parse_binding(text: &str) -> Option<(String, bool, String)> {
    let rest = text.trim_start().strip_prefix("@group(0)")?.trim_start();
    let (name, rest) = rest.strip_prefix("@binding(")?.split_once(')')?;
    let rest = rest.trim_start().strip_prefix("var<storage,")?;
    let (mode, rest) = rest.split_once('>')?;
    let writable = match mode.trim() {
        "read" => false,
        "read_write" => true,
        _ => return None,
    };
    let (variable, rest) = rest.split_once(':')?;
    let variable = variable.trim();
    let whole = is_name(name) && is_name(variable) && rest.contains(';');
    whole.then(|| (name.into(), writable, variable.into()))
}

/// `enable`, `const` and `alias` lines.
fn prelude(variant: &Variant) -> Result<String> {
    let mut enables = variant.enables.clone();
    let f16 = |set: &(&str, Set)| matches!(set.1, Set::Type(ty) if ty.contains("f16"));
    if variant.sets.iter().any(f16) && !enables.contains(&"f16") {
        enables.push("f16");
    }
    let mut text = String::new();
    for extension in enables {
        let _ = writeln!(text, "enable {extension};");
    }
    for (name, set) in &variant.sets {
        let _ = match set {
            Set::U32(v) => writeln!(text, "const {name} = {v}u;"),
            // The literal of the smallest i32 without its sign is over the largest.
            Set::I32(i32::MIN) => writeln!(text, "const {name} = -2147483647i - 1i;"),
            Set::I32(v) => writeln!(text, "const {name} = {v}i;"),
            Set::F32(v) if !v.is_finite() => {
                let message = format!("{name} is {v}, which WGSL cannot write");
                return Err(wrong(&variant.to_string(), message));
            }
            Set::F32(v) => writeln!(text, "const {name} = {v:?}f;"),
            Set::Bool(v) => writeln!(text, "const {name} = {v};"),
            Set::Type(ty) => writeln!(text, "alias {name} = {ty};"),
        };
    }
    Ok(text)
}

/// Fields in order of appearance, those on 16-byte boundaries first, so that there are no gaps.
fn layout(params: &[(String, ParamType)]) -> Vec<ParamInfo> {
    let (large, small): (Vec<_>, Vec<_>) = params.iter().partition(|param| param.1.bytes() >= 16);
    let mut offset = 0;
    let mut fields = Vec::with_capacity(params.len());
    for (name, ty) in large.into_iter().chain(small) {
        fields.push(ParamInfo {
            name: name.clone(),
            ty: *ty,
            offset,
        });
        offset += ty.bytes();
    }
    fields
}

#[cfg(test)]
#[path = "assemble_tests.rs"]
mod tests;
