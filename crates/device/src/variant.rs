//! A specialised shader: which text, which parts, which constants and types.

use std::fmt;
use std::hash::{Hash, Hasher};
use std::sync::Arc;

/// A value that a shader is specialised by.
#[derive(Debug, Clone, Copy)]
pub enum Set {
    /// `const NAME = 3u;`, also the count of a `//#repeat`.
    U32(u32),
    /// `const NAME = -3i;`
    I32(i32),
    /// `const NAME = 1.5f;`; finite. Equal where the bits are equal.
    F32(f32),
    /// `const NAME = true;`
    Bool(bool),
    /// `alias NAME = f16;`
    Type(&'static str),
}

/// A specialised shader. Its text ([`Display`](fmt::Display)) is its cache key, label and snapshot name.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Variant {
    /// The main text: `gemm_reg` is `shaders/gemm_reg.wgsl`.
    pub shader: &'static str,
    /// Parts put before it, in this order: `a_rows` is `shaders/part/a_rows.wgsl`.
    pub parts: Vec<&'static str>,
    /// Constants and aliases, sorted by name.
    pub sets: Vec<(&'static str, Set)>,
    /// Generated parts, by name; put after `parts`.
    pub text: Vec<(String, Arc<str>)>,
    /// WGSL extensions, sorted; `f16` is added by the assembler where an alias says so.
    pub enables: Vec<&'static str>,
    /// Runtime checks stay on even where the device trusts its shaders: for text that users write.
    pub checked: bool,
}

impl Variant {
    /// A variant of `shaders/<shader>.wgsl` with nothing set.
    #[must_use]
    pub fn new(shader: &'static str) -> Self {
        Self {
            shader,
            parts: Vec::new(),
            sets: Vec::new(),
            text: Vec::new(),
            enables: Vec::new(),
            checked: false,
        }
    }

    /// Puts `shaders/part/<part>.wgsl` before the main text.
    #[must_use]
    pub fn part(mut self, part: &'static str) -> Self {
        if !self.parts.contains(&part) {
            self.parts.push(part);
        }
        self
    }

    /// Sets a constant; the last value of a name counts.
    #[must_use]
    pub fn set(mut self, name: &'static str, value: impl Into<Set>) -> Self {
        let value = value.into();
        match self.sets.binary_search_by(|set| set.0.cmp(name)) {
            Ok(at) => self.sets[at].1 = value,
            Err(at) => self.sets.insert(at, (name, value)),
        }
        self
    }

    /// Names a type: `alias name = ty;`.
    #[must_use]
    pub fn alias(self, name: &'static str, ty: &'static str) -> Self {
        self.set(name, Set::Type(ty))
    }

    /// Adds a generated part. Its name stands in errors; it may use the directives too.
    #[must_use]
    pub fn text(mut self, name: impl Into<String>, wgsl: impl Into<Arc<str>>) -> Self {
        self.text.push((name.into(), wgsl.into()));
        self
    }

    /// Adds `enable extension;`.
    #[must_use]
    pub fn enable(mut self, extension: &'static str) -> Self {
        if let Err(at) = self.enables.binary_search(&extension) {
            self.enables.insert(at, extension);
        }
        self
    }

    /// Keeps runtime checks on even where the device trusts its shaders.
    #[must_use]
    pub fn checked(mut self) -> Self {
        self.checked = true;
        self
    }

    /// The value of a name, where it is set.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<Set> {
        let at = self.sets.binary_search_by(|set| set.0.cmp(name)).ok()?;
        Some(self.sets[at].1)
    }
}

impl Set {
    /// The value as bits under a tag: what equality and the hash look at.
    fn bits(self) -> (u8, u32, &'static str) {
        match self {
            Self::U32(v) => (0, v, ""),
            Self::I32(v) => (1, v.cast_unsigned(), ""),
            Self::F32(v) => (2, v.to_bits(), ""),
            Self::Bool(v) => (3, v.into(), ""),
            Self::Type(ty) => (4, 0, ty),
        }
    }
}

impl PartialEq for Set {
    fn eq(&self, other: &Self) -> bool {
        self.bits() == other.bits()
    }
}

impl Eq for Set {}

impl Hash for Set {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.bits().hash(state);
    }
}

impl From<u32> for Set {
    fn from(value: u32) -> Self {
        Self::U32(value)
    }
}

impl From<i32> for Set {
    fn from(value: i32) -> Self {
        Self::I32(value)
    }
}

impl From<f32> for Set {
    fn from(value: f32) -> Self {
        Self::F32(value)
    }
}

impl From<bool> for Set {
    fn from(value: bool) -> Self {
        Self::Bool(value)
    }
}

impl fmt::Display for Set {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::U32(v) => write!(f, "{v}"),
            Self::I32(v) => write!(f, "{v}i"),
            Self::F32(v) => write!(f, "{v}f"),
            Self::Bool(v) => write!(f, "{v}"),
            Self::Type(ty) => f.write_str(ty),
        }
    }
}

/// `gemm_reg a_rows b_panel LANES=8 Store=f16 map#1f0c`: the shader, its parts, what is set, generated text.
impl fmt::Display for Variant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.shader)?;
        for part in &self.parts {
            write!(f, " {part}")?;
        }
        for (name, set) in &self.sets {
            write!(f, " {name}={set}")?;
        }
        for extension in &self.enables {
            write!(f, " +{extension}")?;
        }
        if self.checked {
            f.write_str(" checked")?;
        }
        for (name, text) in &self.text {
            write!(f, " {name}#{:016x}", fnv1a(text.as_bytes()))?;
        }
        Ok(())
    }
}

/// FNV-1a, 64 bits: the same on every platform and in every version, unlike the standard library's hasher.
fn fnv1a(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
        (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3)
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    #[test]
    fn the_order_of_sets_does_not_matter_and_that_of_parts_does() {
        let a = Variant::new("x").set("A", 1u32).set("B", 2u32);
        let b = Variant::new("x")
            .set("B", 3u32)
            .set("A", 1u32)
            .set("B", 2u32);
        assert_eq!(a, b);
        assert_eq!(a.get("B"), Some(Set::U32(2)));
        assert_eq!(a.get("C"), None);
        assert_ne!(
            Variant::new("x").part("p").part("q"),
            Variant::new("x").part("q").part("p")
        );
    }

    #[test]
    fn floats_are_compared_by_bits() {
        let mut seen = HashSet::new();
        assert!(seen.insert(Variant::new("x").set("V", 0.0f32)));
        assert!(seen.insert(Variant::new("x").set("V", -0.0f32)));
        assert!(seen.insert(Variant::new("x").set("V", 0u32)));
        assert!(seen.insert(Variant::new("x").set("V", 0i32)));
        assert!(!seen.insert(Variant::new("x").set("V", 0.0f32)));
    }

    #[test]
    fn the_text_names_everything() {
        let v = Variant::new("gemm_reg")
            .part("a_rows")
            .set("LANES", 8u32)
            .alias("Store", "f16");
        let v = v.set("EDGE", true).enable("f16").text("map", "fn f() {}");
        assert_eq!(
            v.to_string(),
            "gemm_reg a_rows EDGE=true LANES=8 Store=f16 +f16 map#fd5c720e66460be4"
        );
    }
}
