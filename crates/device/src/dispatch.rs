//! A dispatch as plain data: a variant, the operands it binds, its parameters, its workgroups.

use std::fmt;

use crate::Variant;

/// A tensor that a planner places; it becomes a buffer only when a plan is bound.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Slot(pub u32);

/// A range of a slot. The binding's size is `bytes` rounded up to 16.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Span {
    /// The tensor.
    pub slot: Slot,
    /// First byte, relative to the slot; a multiple of 256.
    pub offset: u64,
    /// Number of bytes.
    pub bytes: u64,
}

/// The value of a `//#param`.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Param {
    /// `u32`
    U32(u32),
    /// `i32`
    I32(i32),
    /// `f32`
    F32(f32),
    /// `vec4<u32>`
    Vec4([u32; 4]),
    /// `vec4<f32>`
    Vec4F([f32; 4]),
    /// `dims`: `array<vec4<u32>, 2>`, up to 8 extents or strides.
    Dims([u32; 8]),
}

/// One dispatch, before anything is on a GPU.
#[derive(Debug, Clone, PartialEq)]
pub struct Dispatch {
    /// The shader.
    pub variant: Variant,
    /// Binding name (`"A"` of `@binding(A)`) and operand.
    pub spans: Vec<(&'static str, Span)>,
    /// Name and value of each `//#param`.
    pub params: Vec<(&'static str, Param)>,
    /// Workgroups in x, y and z.
    pub groups: [u32; 3],
    /// Estimated cost, in floating-point operations or bytes moved, whichever is larger; long submissions are split by it.
    pub work: u64,
}

impl Dispatch {
    /// A dispatch of one workgroup with nothing bound.
    #[must_use]
    pub fn new(variant: Variant) -> Self {
        Self {
            variant,
            spans: Vec::new(),
            params: Vec::new(),
            groups: [1; 3],
            work: 0,
        }
    }

    /// Binds an operand to the binding of that name.
    #[must_use]
    pub fn bind(mut self, name: &'static str, span: Span) -> Self {
        self.spans.push((name, span));
        self
    }

    /// Gives a `//#param` its value.
    #[must_use]
    pub fn param(mut self, name: &'static str, value: impl Into<Param>) -> Self {
        self.params.push((name, value.into()));
        self
    }

    /// Sets the workgroups; [`fold_groups`] makes three dimensions of a long row.
    #[must_use]
    pub fn groups(mut self, groups: [u32; 3]) -> Self {
        self.groups = groups;
        self
    }

    /// Sets the estimated cost: floating-point operations or bytes moved, whichever is larger.
    #[must_use]
    pub fn work(mut self, work: u64) -> Self {
        self.work = work;
        self
    }
}

/// Folds `count` workgroups into three dimensions of at most `per_dim` each.
///
/// The product is at least `count` and as close as three factors come cheaply; `part/grid.wgsl`
/// counts them flat again, and the shader leaves where its number is too large. A count over
/// `per_dim` cubed gives the largest grid there is, so check counts before.
#[must_use]
pub fn fold_groups(count: u64, per_dim: u32) -> [u32; 3] {
    let limit = u64::from(per_dim.max(1));
    let rows = count.div_ceil(limit);
    let z = rows.div_ceil(limit).clamp(1, limit);
    let y = rows.div_ceil(z).clamp(1, limit);
    let x = count.div_ceil(y * z).clamp(u64::from(count > 0), limit);
    [x, y, z].map(|n| u32::try_from(n).unwrap_or(per_dim))
}

impl Span {
    /// The first `bytes` bytes of a slot.
    #[must_use]
    pub fn whole(slot: Slot, bytes: u64) -> Self {
        Self {
            slot,
            offset: 0,
            bytes,
        }
    }
}

impl From<u32> for Param {
    fn from(value: u32) -> Self {
        Self::U32(value)
    }
}

impl From<i32> for Param {
    fn from(value: i32) -> Self {
        Self::I32(value)
    }
}

impl From<f32> for Param {
    fn from(value: f32) -> Self {
        Self::F32(value)
    }
}

impl From<[u32; 4]> for Param {
    fn from(value: [u32; 4]) -> Self {
        Self::Vec4(value)
    }
}

impl From<[f32; 4]> for Param {
    fn from(value: [f32; 4]) -> Self {
        Self::Vec4F(value)
    }
}

impl From<[u32; 8]> for Param {
    fn from(value: [u32; 8]) -> Self {
        Self::Dims(value)
    }
}

impl fmt::Display for Slot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "%{}", self.0)
    }
}

impl fmt::Display for Span {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}[{}+{}]", self.slot, self.offset, self.bytes)
    }
}

impl fmt::Display for Param {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::U32(v) => write!(f, "{v}"),
            Self::I32(v) => write!(f, "{v}i"),
            Self::F32(v) => write!(f, "{v}f"),
            Self::Vec4(v) => write!(f, "{v:?}"),
            Self::Vec4F(v) => write!(f, "{v:?}"),
            Self::Dims(v) => write!(f, "{v:?}"),
        }
    }
}

/// `fill THREADS=64 (Y=%0[0+40]) {count=10, word=2} 1x1x1`
impl fmt::Display for Dispatch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} (", self.variant)?;
        for (i, (name, span)) in self.spans.iter().enumerate() {
            write!(f, "{}{name}={span}", if i == 0 { "" } else { ", " })?;
        }
        f.write_str(") {")?;
        for (i, (name, param)) in self.params.iter().enumerate() {
            write!(f, "{}{name}={param}", if i == 0 { "" } else { ", " })?;
        }
        let [x, y, z] = self.groups;
        write!(f, "}} {x}x{y}x{z}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_dispatch_prints_everything() {
        let d = Dispatch::new(
            Variant::new("fill")
                .set("THREADS", 64u32)
                .alias("Unit", "u32")
                .alias("Known", "u32"),
        )
        .bind("Y", Span::whole(Slot(0), 40))
        .param("count", 10u32)
        .param("word", 2u32);
        assert_eq!(
            d.to_string(),
            "fill Known=u32 THREADS=64 Unit=u32 (Y=%0[0+40]) {count=10, word=2} 1x1x1"
        );
    }

    #[test]
    fn small_counts_stay_in_a_row() {
        assert_eq!(fold_groups(0, 65_535), [0, 1, 1]);
        assert_eq!(fold_groups(1, 65_535), [1, 1, 1]);
        assert_eq!(fold_groups(65_535, 65_535), [65_535, 1, 1]);
        assert_eq!(fold_groups(65_536, 65_535), [32_768, 2, 1]);
        assert_eq!(fold_groups(u64::MAX, 65_535), [65_535; 3]);
    }

    proptest! {
        #[test]
        fn folding_covers_the_count_with_little_waste(count in 1u64..1 << 40, per_dim in 1u32..70_000) {
            let limit = u64::from(per_dim);
            prop_assume!(count <= limit.saturating_mul(limit).saturating_mul(limit));
            let [x, y, z] = fold_groups(count, per_dim).map(u64::from);
            prop_assert!(x <= limit && y <= limit && z <= limit);
            prop_assert!(x * y * z >= count);
            // Each fold rounds up once: at most one row and one plane too many.
            prop_assert!(x * y * z - count < y * z + x * z);
        }
    }
}
