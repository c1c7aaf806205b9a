//! What happens to a product before it is stored.

use std::sync::Arc;

use tilewright_device::{Dispatch, Param, Set, Span};

use crate::{Store, View};

/// A generated `epilogue` for GEMM and convolution, with the operands and parameters that it declares.
///
/// The text defines
///
/// ```wgsl
/// fn epilogue(v: vec4<Value>, place: Place) -> vec4<Value>
/// ```
///
/// where `Value` is f32 (i32 for integer results) and `place` says which four consecutive columns of one row of C these
/// are: `place.n` is the column of the first (the output channel of a convolution, over all groups), `place.at` its element
/// offset in C. (`place.row` and `place.z` count rows and batches as the kernel walks them, which may be merged.)
///
/// `place.n` is a multiple of 4 except in convolutions with groups of a number of output channels that is not. `place.at`
/// is one where the rows of C are. Where n is not a multiple of 4, the last of the four may lie past the end of the row: they
/// are not stored, and what is loaded for them must be clamped into its operand. Bindings are rounded up to 16 bytes, so
/// an `array<vec4<f32>>` over n columns may be read at `place.n / 4u`.
#[derive(Debug, Clone, PartialEq)]
pub struct Epilogue {
    /// The WGSL text: `epilogue`, what it calls, its `@binding` and `//#param` lines.
    pub text: Arc<str>,
    /// Binding name and operand.
    pub spans: Vec<(&'static str, Span)>,
    /// Parameter name and value.
    pub params: Vec<(&'static str, Param)>,
    /// Constants that the text needs set.
    pub sets: Vec<(&'static str, Set)>,
    /// The text has the form of `part/epilogue_columns.wgsl`: `Columns`, `columns` and `epilogue_at` instead of `epilogue`.
    pub(crate) by_columns: bool,
    /// So short that a loop may repeat its text for every row, and all that it reads depends on the column alone.
    pub(crate) light: bool,
}

impl Epilogue {
    /// An epilogue that reads nothing.
    pub fn new(text: impl Into<Arc<str>>) -> Self {
        Self {
            text: text.into(),
            spans: Vec::new(),
            params: Vec::new(),
            sets: Vec::new(),
            by_columns: false,
            light: false,
        }
    }

    /// Binds an operand of the text.
    #[must_use]
    pub fn bind(mut self, name: &'static str, span: Span) -> Self {
        self.spans.push((name, span));
        self
    }

    /// Gives a parameter of the text its value.
    #[must_use]
    pub fn param(mut self, name: &'static str, value: impl Into<Param>) -> Self {
        self.params.push((name, value.into()));
        self
    }

    /// Adds an f32 or f16 vector of one value a column, of any number of columns; not for groups of a number of output channels that
    /// is not a multiple of 4.
    #[must_use]
    pub fn bias(bias: &View) -> Self {
        let mut all = Self::new(
            "@group(0) @binding(BIAS) var<storage, read> bias: array<vec4<BiasT>>;\n\
             struct Columns { bias: vec4<Value> }\n\
             fn columns(n: u32) -> Columns { return Columns(vec4<Value>(bias[n / 4u])); }\n\
             fn epilogue_at(v: vec4<Value>, place: Place, own: Columns) -> vec4<Value> { return v + own.bias; }\n",
        );
        (all.by_columns, all.light) = (true, true);
        all.operand("BIAS", "BiasT", bias)
    }

    /// Binds a float operand whose element type the text calls `ty`.
    #[must_use]
    pub(crate) fn operand(mut self, name: &'static str, ty: &'static str, view: &View) -> Self {
        let element = if view.store == Store::F16 {
            "f16"
        } else {
            "f32"
        };
        self.sets.push((ty, Set::Type(element)));
        self.bind(name, view.span)
    }

    /// Puts this epilogue in the place of the default one.
    pub(crate) fn add(&self, mut dispatch: Dispatch) -> Dispatch {
        dispatch.variant = dispatch.variant.text("epilogue", self.text.clone());
        dispatch.variant = dispatch.variant.part(if self.by_columns {
            "epilogue_columns"
        } else {
            "epilogue_place"
        });
        for (name, value) in &self.sets {
            dispatch.variant = dispatch.variant.set(name, *value);
        }
        dispatch.spans.extend_from_slice(&self.spans);
        dispatch.params.extend_from_slice(&self.params);
        dispatch
    }
}
