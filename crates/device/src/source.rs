//! An assembled shader: its text, where each line comes from, what it binds, how its parameters lie.

use std::borrow::Cow;
use std::fmt;
use std::ops::Range;

use crate::{Dispatch, Error, Param, Result, Variant};

/// One `@group(0)` binding of a shader, in binding order.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct BindingInfo {
    /// `A` of `@binding(A)`.
    pub name: String,
    /// Whether the shader writes it (`read_write` in its text).
    pub writable: bool,
}

/// The type of a `//#param`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ParamType {
    /// `u32`
    U32,
    /// `i32`
    I32,
    /// `f32`
    F32,
    /// `vec4<u32>`
    Vec4,
    /// `vec4<f32>`
    Vec4F,
    /// `dims`: `array<vec4<u32>, 2>`
    Dims,
}

/// One field of a shader's `Params`.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct ParamInfo {
    /// Its name.
    pub name: String,
    /// Its type.
    pub ty: ParamType,
    /// Its first byte in the uniform.
    pub offset: u32,
}

/// An assembled shader. It needs no GPU: made by [`assemble`](crate::assemble).
#[derive(Debug, Clone)]
pub struct Source {
    pub(crate) variant: Variant,
    pub(crate) text: String,
    /// File and line (from 1) of each line of `text`.
    pub(crate) lines: Vec<(u32, u32)>,
    /// `shaders/gemm_reg.wgsl`, or the name of a generated text.
    pub(crate) files: Vec<String>,
    pub(crate) bindings: Vec<BindingInfo>,
    /// Where each binding's access mode stands in `text`.
    pub(crate) access: Vec<Range<usize>>,
    pub(crate) params: Vec<ParamInfo>,
}

impl Source {
    /// What it was assembled from.
    #[must_use]
    pub fn variant(&self) -> &Variant {
        &self.variant
    }

    /// The WGSL text. Bit `i` of `shared` makes binding `i` `read_write`, because its operand shares
    /// a buffer with one that is written (WebGPU forbids `read` beside `read_write` on one buffer).
    #[must_use]
    pub fn text(&self, shared: u32) -> Cow<'_, str> {
        if (0..self.bindings.len()).all(|i| self.bindings[i].writable || shared >> i & 1 == 0) {
            return Cow::Borrowed(&self.text);
        }
        let mut text = String::with_capacity(self.text.len() + 64);
        let mut done = 0;
        for (i, access) in self.access.iter().enumerate() {
            text.push_str(&self.text[done..access.start]);
            let writable = self.bindings[i].writable || shared >> i & 1 == 1;
            text.push_str(if writable { "read_write" } else { "read" });
            done = access.end;
        }
        text.push_str(&self.text[done..]);
        Cow::Owned(text)
    }

    /// The bindings, in binding order.
    #[must_use]
    pub fn bindings(&self) -> &[BindingInfo] {
        &self.bindings
    }

    /// The fields of `Params`, in order of their offsets.
    #[must_use]
    pub fn params(&self) -> &[ParamInfo] {
        &self.params
    }

    /// Bytes of `Params`, a multiple of 16; 0 where the shader has none.
    #[must_use]
    pub fn params_bytes(&self) -> u32 {
        self.params.last().map_or(0, |last| {
            (last.offset + last.ty.bytes()).next_multiple_of(16)
        })
    }

    /// Where a line (from 1) of the text comes from: `shaders/gemm_tile.wgsl:41`.
    #[must_use]
    pub fn place(&self, line: u32) -> String {
        let at = self.lines.get((line as usize).wrapping_sub(1));
        match at.and_then(|(file, line)| Some((self.files.get(*file as usize)?, line))) {
            Some((file, 0)) => format!("{file} ({})", self.variant),
            Some((file, line)) => format!("{file}:{line}"),
            None => self.variant.to_string(),
        }
    }

    /// The bytes of `Params` from values by name, in any order.
    ///
    /// # Errors
    /// [`Error::Binding`] for a missing, unknown or doubled name, or a value of another type.
    pub fn pack(&self, values: &[(&str, Param)]) -> Result<Vec<u8>> {
        let mut bytes = vec![0; self.params_bytes() as usize];
        for field in &self.params {
            let mut found = values.iter().filter(|value| value.0 == field.name);
            let (Some((_, value)), None) = (found.next(), found.next()) else {
                let times = values.iter().filter(|value| value.0 == field.name).count();
                return Err(self.misfit(&field.name, format!("given {times} times, expected once")));
            };
            if value.ty() != field.ty {
                let message = format!("expected {}, got {}", field.ty, value.ty());
                return Err(self.misfit(&field.name, message));
            }
            let at = field.offset as usize;
            match value {
                Param::U32(v) => put(&mut bytes, at, &[*v]),
                Param::I32(v) => put(&mut bytes, at, &[*v]),
                Param::F32(v) => put(&mut bytes, at, &[*v]),
                Param::Vec4(v) => put(&mut bytes, at, v),
                Param::Vec4F(v) => put(&mut bytes, at, v),
                Param::Dims(v) => put(&mut bytes, at, v),
            }
        }
        match values
            .iter()
            .find(|value| self.params.iter().all(|field| field.name != value.0))
        {
            Some((name, _)) => Err(self.misfit(name, "the shader has no such parameter".into())),
            None => Ok(bytes),
        }
    }

    /// For each binding, which element of `names` is bound to it.
    ///
    /// # Errors
    /// [`Error::Binding`] for a missing, unknown or doubled name.
    pub fn order(&self, names: &[&str]) -> Result<Vec<usize>> {
        let mut order = Vec::with_capacity(self.bindings.len());
        for binding in &self.bindings {
            let mut found = (0..names.len()).filter(|i| names[*i] == binding.name);
            match (found.next(), found.next()) {
                (Some(at), None) => order.push(at),
                (None, _) => return Err(self.misfit(&binding.name, "is not bound".into())),
                _ => return Err(self.misfit(&binding.name, "is bound twice".into())),
            }
        }
        match names
            .iter()
            .find(|name| self.bindings.iter().all(|b| b.name != **name))
        {
            Some(name) => Err(self.misfit(name, "the shader has no such binding".into())),
            None => Ok(order),
        }
    }

    /// Whether a dispatch fits: every binding and parameter named once, of the right type.
    ///
    /// # Errors
    /// [`Error::Binding`] names the first that does not.
    pub fn check(&self, dispatch: &Dispatch) -> Result<()> {
        let names: Vec<_> = dispatch.spans.iter().map(|span| span.0).collect();
        self.order(&names)?;
        self.pack(&dispatch.params).map(drop)
    }

    fn misfit(&self, name: &str, message: String) -> Error {
        Error::Binding {
            program: self.variant.to_string(),
            name: name.into(),
            message,
        }
    }
}

impl ParamType {
    /// Bytes in the uniform.
    pub(crate) fn bytes(self) -> u32 {
        match self {
            Self::U32 | Self::I32 | Self::F32 => 4,
            Self::Vec4 | Self::Vec4F => 16,
            Self::Dims => 32,
        }
    }

    /// The WGSL spelling.
    pub(crate) fn wgsl(self) -> &'static str {
        match self {
            Self::U32 => "u32",
            Self::I32 => "i32",
            Self::F32 => "f32",
            Self::Vec4 => "vec4<u32>",
            Self::Vec4F => "vec4<f32>",
            Self::Dims => "array<vec4<u32>, 2>",
        }
    }

    /// The type of a `//#param` line.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let all = [
            Self::U32,
            Self::I32,
            Self::F32,
            Self::Vec4,
            Self::Vec4F,
            Self::Dims,
        ];
        all.into_iter().find(|ty| ty.to_string() == text)
    }
}

impl Param {
    /// Its type.
    #[must_use]
    pub fn ty(&self) -> ParamType {
        match self {
            Self::U32(_) => ParamType::U32,
            Self::I32(_) => ParamType::I32,
            Self::F32(_) => ParamType::F32,
            Self::Vec4(_) => ParamType::Vec4,
            Self::Vec4F(_) => ParamType::Vec4F,
            Self::Dims(_) => ParamType::Dims,
        }
    }
}

/// As in a `//#param` line.
impl fmt::Display for ParamType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if *self == Self::Dims {
            "dims"
        } else {
            self.wgsl()
        })
    }
}

/// The WGSL text with nothing shared.
impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

/// Writes values at a byte offset. Uniforms are little-endian on every device, like the hosts that run them.
fn put<T: bytemuck::NoUninit>(bytes: &mut [u8], at: usize, values: &[T]) {
    let values = bytemuck::cast_slice(values);
    bytes[at..at + values.len()].copy_from_slice(values);
}
