//! A shader's text with every access that could leave its array going through a check that counts.
//!
//! It reads as much WGSL as it needs: declarations, scopes, brackets. What it cannot tell is an error, not an access that
//! nobody checks. Constant indices of arrays with a length are left: naga refuses those that are out of bounds.

use std::collections::{HashMap, HashSet};
use std::fmt::Write as _;

use crate::{Error, Result, Source};

/// An access that is checked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Site {
    /// `shaders/gather.wgsl:24`
    pub(crate) place: String,
    /// `a[at + i]`
    pub(crate) access: String,
}

/// What an index goes into.
#[derive(Debug, Clone, PartialEq)]
enum Kind {
    /// An expression for its length, and what its elements are.
    Array(Space, String, Box<Kind>),
    Vector(u32),
    Other,
}

#[derive(Debug, Clone, PartialEq)]
enum Space {
    Storage,
    /// The variable, whose written elements are counted.
    Workgroup(String),
    Local,
}

/// The text with its checks, and their sites; that of site i has the number `first + i`. Lines stay where they are.
pub(crate) fn instrument(source: &Source, text: &str, first: u32) -> Result<(String, Vec<Site>)> {
    let mut scanner = Scanner::new(source, text, first);
    scanner.run(text.len())?;
    let mut out = scanner.out;
    out.push_str(CHECK);
    for (name, length) in &scanner.shared {
        let _ = writeln!(
            out,
            "var<workgroup> audit_{name}: array<u32, {length}>;\n\
             fn audit_write_{name}(i: u32) -> u32 {{ audit_{name}[i] = 1u; return i; }}\n\
             fn audit_read_{name}(i: u32, site: u32) -> u32 {{\n\
             if audit_{name}[i] == 0u {{ atomicMax(&audit_found[site], 1u); }}\n\
             return i;\n}}"
        );
    }
    Ok((out, scanner.sites))
}

/// What is found at a site: 0 nothing, 1 a read before any write, 2 + n an index n over the last.
const CHECK: &str = "
@group(2) @binding(0) var<storage, read_write> audit_found: array<atomic<u32>>;
fn audit(i: u32, length: u32, site: u32) -> u32 {
    if i < length { return i; }
    atomicMax(&audit_found[site], 2u + min(i - length, 0xfffffff0u));
    return max(length, 1u) - 1u;
}
";

struct Scanner<'a> {
    source: &'a Source,
    text: &'a str,
    first: u32,
    at: usize,
    out: String,
    sites: Vec<Site>,
    constants: HashSet<&'a str>,
    aliases: HashMap<&'a str, &'a str>,
    fields: HashMap<&'a str, Kind>,
    /// The module's names, then those of each block around.
    scopes: Vec<HashMap<&'a str, Kind>>,
    /// What is called, or "", of each parenthesis that is open.
    calls: Vec<&'a str>,
    /// Declared by the statement that is read, in force after it.
    declared: Vec<(&'a str, Kind)>,
    /// Workgroup arrays and their lengths.
    shared: Vec<(String, String)>,
}

impl<'a> Scanner<'a> {
    fn new(source: &'a Source, text: &'a str, first: u32) -> Self {
        let mut scanner = Self {
            source,
            text,
            first,
            at: 0,
            out: String::with_capacity(2 * text.len()),
            sites: Vec::new(),
            constants: HashSet::new(),
            aliases: HashMap::new(),
            fields: HashMap::new(),
            scopes: vec![HashMap::new()],
            calls: Vec::new(),
            declared: Vec::new(),
            shared: Vec::new(),
        };
        let lines = text.lines().map(|line| code(line).trim());
        for line in lines.clone() {
            if let Some((name, _)) = line.strip_prefix("const ").and_then(|l| l.split_once('=')) {
                let name = name.split(':').next().unwrap_or(name);
                scanner.constants.insert(name.trim());
            }
            let alias = line.strip_prefix("alias ").and_then(|l| l.split_once('='));
            if let Some((name, ty)) = alias {
                let ty = ty.trim().trim_end_matches(';');
                scanner.aliases.insert(name.trim(), ty);
            }
        }
        scanner.structs();
        // A module's names hold before their declaration too.
        for line in lines.filter(|l| l.starts_with("@group") || l.starts_with("var<")) {
            if let Some(at) = line.find("var<") {
                scanner.declaration(&line[at + 3..]);
            }
        }
        let declared = scanner.declared.drain(..);
        scanner.scopes[0].extend(declared);
        scanner
    }

    /// The fields of all structs, by name.
    fn structs(&mut self) {
        for part in self.text.split("struct ").skip(1) {
            let body = part.split_once('{').and_then(|(_, r)| r.split_once('}'));
            let Some((body, _)) = body else { continue };
            for line in body.lines() {
                for field in split(code(line)) {
                    if let Some((name, ty)) = field.split_once(':') {
                        let kind = self.kind(ty, Space::Local);
                        self.fields.insert(name.trim(), kind);
                    }
                }
            }
        }
    }

    fn kind(&self, ty: &str, space: Space) -> Kind {
        let mut ty = ty.trim();
        while let Some(named) = self.aliases.get(ty) {
            ty = named;
        }
        if let Some(inner) = ty.strip_prefix("array<").and_then(|t| t.strip_suffix('>')) {
            let parts = split(inner);
            let element = Box::new(self.kind(parts[0], Space::Local));
            let length = parts.get(1).map_or("", |length| length.trim());
            return Kind::Array(space, length.into(), element);
        }
        match ty.strip_prefix("vec").and_then(|t| t.chars().next()) {
            Some(width @ '2'..='4') => Kind::Vector(width as u32 - '0' as u32),
            _ => Kind::Other,
        }
    }

    /// Copies the text up to `end`.
    fn run(&mut self, end: usize) -> Result<()> {
        // What the expression before is, where an index may follow, and where it begins.
        let (mut base, mut begin) = (None, self.at);
        let mut last = "";
        while self.at < end {
            let rest = &self.text[self.at..end];
            let Some(c) = rest.chars().next() else { break };
            if rest.starts_with("//") {
                self.copy(rest.find('\n').unwrap_or(rest.len()));
            } else if c.is_ascii_alphanumeric() || c == '_' {
                let field = self.at > 0 && self.text.as_bytes()[self.at - 1] == b'.';
                let is_word = |c: char| c.is_ascii_alphanumeric() || c == '_';
                let word = &rest[..rest.find(|c| !is_word(c)).unwrap_or(rest.len())];
                if !field {
                    begin = self.at;
                }
                self.copy(word.len());
                base = self.word(word, field);
                last = word;
                continue;
            } else if c == '[' {
                base = Some(self.index(base.unwrap_or(Kind::Other), begin)?);
            } else {
                self.copy(c.len_utf8());
                self.punctuation(c);
                base = match c {
                    '(' => {
                        self.calls.push(last);
                        None
                    }
                    ')' => self.calls.pop().and_then(result),
                    _ => None,
                };
            }
            last = "";
        }
        Ok(())
    }

    fn copy(&mut self, bytes: usize) {
        self.out.push_str(&self.text[self.at..self.at + bytes]);
        self.at += bytes;
    }

    fn punctuation(&mut self, c: char) {
        match c {
            '{' => self.scopes.push(HashMap::new()),
            '}' if self.scopes.len() > 1 => {
                self.scopes.pop();
                // A function's parameters end with its body.
                if self.scopes.len() == 2 {
                    self.scopes.pop();
                }
            }
            _ => {}
        }
        if c == ';'
            && let Some(scope) = self.scopes.last_mut()
        {
            scope.extend(self.declared.drain(..));
        }
    }

    fn word(&mut self, word: &'a str, field: bool) -> Option<Kind> {
        if field {
            return Some(self.fields.get(word).cloned().unwrap_or(Kind::Other));
        }
        let rest = &self.text[self.at..];
        match word {
            "fn" => self.parameters(rest),
            "var" | "let" if self.scopes.len() > 1 => self.declaration(rest),
            _ => {
                let found = self.scopes.iter().rev().find_map(|scope| scope.get(word));
                return Some(found.cloned().unwrap_or(Kind::Other));
            }
        }
        None
    }

    /// A function's parameters are a block around its body.
    fn parameters(&mut self, rest: &'a str) {
        let Some(open) = rest.find('(') else { return };
        let inner = &rest[open + 1..];
        let inner = &inner[..closing(inner, '(', ')').unwrap_or(inner.len())];
        let mut scope = HashMap::new();
        for parameter in split(inner) {
            if let Some((name, ty)) = parameter.rsplit_once(':') {
                let name = name.rsplit([' ', ')']).next().unwrap_or(name);
                scope.insert(name.trim(), self.kind(ty, Space::Local));
            }
        }
        self.scopes.push(scope);
    }

    /// What follows `var` or `let`.
    fn declaration(&mut self, rest: &'a str) {
        let trimmed = rest.trim_start();
        let (space, rest) = match trimmed.strip_prefix('<').and_then(|r| r.split_once('>')) {
            Some((space, rest)) => (space, rest),
            None => ("", trimmed),
        };
        let head = &rest[..rest.find(['=', ';']).unwrap_or(rest.len())];
        let (name, ty) = head
            .split_once(':')
            .unwrap_or((head, literal(&rest[head.len()..])));
        let name = name.trim();
        let space = match space.split(',').next().unwrap_or_default().trim() {
            "storage" => Space::Storage,
            "workgroup" => Space::Workgroup(name.into()),
            _ => Space::Local,
        };
        let mut kind = self.kind(ty, space.clone());
        if let Kind::Array(space, length, _) = &mut kind {
            if length.is_empty() {
                *length = format!("arrayLength(&{name})");
            }
            if let Space::Workgroup(name) = space {
                self.shared.push((name.clone(), length.clone()));
            }
        }
        self.declared.push((name, kind));
    }

    /// An index from its `[` on: what the element is.
    fn index(&mut self, base: Kind, begin: usize) -> Result<Kind> {
        let inner = self.at + 1;
        let Some(length) = closing(&self.text[inner..], '[', ']') else {
            return Err(self.wrong("[ without ]"));
        };
        let (end, index) = (inner + length, &self.text[inner..inner + length]);
        let counted = matches!(&base, Kind::Array(Space::Storage | Space::Workgroup(_), ..));
        if !counted && self.is_constant(index) {
            self.copy(length + 2);
            return Ok(match base {
                Kind::Array(_, _, element) => *element,
                _ => Kind::Other,
            });
        }
        let (bound, element) = match &base {
            Kind::Array(_, length, element) => (length.clone(), (**element).clone()),
            Kind::Vector(width) => (format!("{width}u"), Kind::Other),
            Kind::Other => {
                let access = &self.text[begin..=end];
                return Err(self.wrong(&format!("the audit cannot tell the length in {access}")));
            }
        };
        let site = self.first + self.sites.len() as u32;
        self.sites.push(Site {
            place: self.source.place(self.line()),
            access: self.text[begin..=end].into(),
        });
        let use_of = usage(&self.text[end + 1..]);
        let (before, after) = match &base {
            Kind::Array(Space::Workgroup(name), ..) => tracked(name, use_of, site),
            _ => (String::new(), String::new()),
        };
        let _ = write!(self.out, "[{before}audit(u32(");
        self.at = inner;
        self.run(end)?;
        let _ = write!(self.out, "), u32({bound}), {site}u){after}]");
        self.at = end + 1;
        Ok(element)
    }

    fn is_constant(&self, index: &str) -> bool {
        let words = index.split(|c: char| !c.is_ascii_alphanumeric() && c != '_');
        words.filter(|word| !word.is_empty()).all(|word| {
            word.starts_with(|c: char| c.is_ascii_digit()) || self.constants.contains(word)
        })
    }

    fn line(&self) -> u32 {
        1 + self.text[..self.at].matches('\n').count() as u32
    }

    fn wrong(&self, message: &str) -> Error {
        Error::Shader {
            place: self.source.place(self.line()),
            message: message.into(),
        }
    }
}

/// What stands around an index of a workgroup array that is read, written or both: the write is told after the read.
fn tracked(name: &str, (reads, writes): (bool, bool), site: u32) -> (String, String) {
    let (mut before, mut after) = (String::new(), String::new());
    if writes {
        let _ = write!(before, "audit_write_{name}(");
    }
    if reads {
        let _ = write!(before, "audit_read_{name}(");
        let _ = write!(after, ", {site}u)");
    }
    if writes {
        after.push(')');
    }
    (before, after)
}

/// The type of an array that a variable begins as: `= array<u32, 8>(..)`.
fn literal(text: &str) -> &str {
    let value = text.trim_start_matches('=').trim_start();
    let inner = value.strip_prefix("array<").unwrap_or_default();
    closing(inner, '<', '>').map_or("", |end| &value[..end + "array<>".len()])
}

/// What a function gives whose results are indexed.
fn result(function: &str) -> Option<Kind> {
    (function == "unpack2x16float").then_some(Kind::Vector(2))
}

/// A line without its comment.
fn code(line: &str) -> &str {
    line.split("//").next().unwrap_or_default()
}

/// Where the bracket ends that is open at the begin.
fn closing(text: &str, open: char, close: char) -> Option<usize> {
    let mut depth = 0;
    for (i, c) in text.char_indices() {
        if c == close && depth == 0 {
            return Some(i);
        }
        depth += i32::from(c == open) - i32::from(c == close);
    }
    None
}

/// Splits at commas outside of brackets.
fn split(text: &str) -> Vec<&str> {
    let (mut parts, mut depth, mut begin) = (Vec::new(), 0, 0);
    for (i, c) in text.char_indices() {
        match c {
            '<' | '(' | '[' => depth += 1,
            '>' | ')' | ']' => depth -= 1,
            ',' if depth == 0 => {
                parts.push(&text[begin..i]);
                begin = i + 1;
            }
            _ => {}
        }
    }
    parts.push(&text[begin..]);
    parts
}

/// Whether an access that this text follows reads, and whether it writes.
fn usage(mut text: &str) -> (bool, bool) {
    loop {
        if let Some(rest) = text.strip_prefix('.') {
            text = rest.trim_start_matches(|c: char| c.is_ascii_alphanumeric() || c == '_');
        } else if let Some(rest) = text.strip_prefix('[') {
            let Some(end) = closing(rest, '[', ']') else {
                return (true, false);
            };
            text = &rest[end + 1..];
        } else {
            break;
        }
    }
    let text = text.trim_start();
    let plain = text.starts_with('=') && !text.starts_with("==");
    let compound = [
        "+=", "-=", "*=", "/=", "%=", "&=", "|=", "^=", "<<=", ">>=", "++", "--",
    ];
    let compound = compound.iter().any(|op| text.starts_with(op));
    (!plain, plain || compound)
}

#[cfg(test)]
#[path = "tests.rs"]
mod tests;
