//! Epilogues of Gemm and convolution that are not plain vectors of vec4.

use crate::error::index;
use crate::{Epilogue, Result, View};

const KERNEL: &str = "epilogue";

/// alpha * v, for products without C.
const FACTOR: &str = "\
//#param alpha: f32
fn epilogue(v: vec4<Value>, place: Place) -> vec4<Value> { return p.alpha * v; }
";

/// alpha * v + beta * C[row, column], each stride 0 where C is broadcast. The last columns of four may not exist.
const BIAS: &str = "\
//#param alpha: f32
//#param beta: f32
//#param bias_row: u32
//#param bias_col: u32
//#param bias_n: u32
@group(0) @binding(BIAS) var<storage, read> bias: array<BiasT>;
fn bias_at(at: u32) -> f32 { return f32(bias[at]); }
fn epilogue(v: vec4<Value>, place: Place) -> vec4<Value> {
    let column = min(place.n + vec4<u32>(0u, 1u, 2u, 3u), vec4<u32>(p.bias_n - 1u));
    let at = place.at / p.bias_n * p.bias_row + column * p.bias_col;
    return p.alpha * v + p.beta * vec4<f32>(bias_at(at.x), bias_at(at.y), bias_at(at.z), bias_at(at.w));
}
";

/// (v + bias[column]) * factor[column].
const AFFINE: &str = "\
//#param affine_n: u32
@group(0) @binding(BIAS) var<storage, read> bias: array<f32>;
@group(0) @binding(FACTOR) var<storage, read> factor: array<f32>;
fn epilogue(v: vec4<Value>, place: Place) -> vec4<Value> {
    let at = min(place.n + vec4<u32>(0u, 1u, 2u, 3u), vec4<u32>(p.affine_n - 1u));
    let b = vec4<f32>(bias[at.x], bias[at.y], bias[at.z], bias[at.w]);
    return (v + b) * vec4<f32>(factor[at.x], factor[at.y], factor[at.z], factor[at.w]);
}
";

impl Epilogue {
    /// `(v + bias) * factor` with a value of either for each of `n` columns, both f32.
    ///
    /// # Errors
    /// [`Error::TooLarge`](crate::Error::TooLarge) for sizes over 32 bits.
    pub fn affine(bias: &View, factor: &View, n: usize) -> Result<Self> {
        Ok(Self::new(AFFINE)
            .bind("BIAS", bias.span)
            .bind("FACTOR", factor.span)
            .param("affine_n", index(KERNEL, "columns", n)?))
    }

    /// `alpha * product + beta * c` for a contiguous result of `n` columns (ONNX Gemm); `c` is f32 or f16 and broadcasts to `[m, n]`,
    /// its rank at most 2. None where that is the product itself.
    ///
    /// # Errors
    /// [`Error::TooLarge`](crate::Error::TooLarge) for strides over 32 bits.
    pub fn scaled(alpha: f32, beta: f32, c: Option<&View>, n: usize) -> Result<Option<Self>> {
        let Some(c) = c else {
            let factor = || Self::new(FACTOR).param("alpha", alpha);
            return Ok((alpha != 1.0).then(factor));
        };
        let columns = c.last();
        if alpha == 1.0 && beta == 1.0 && columns == n && c.elements() == n {
            return Ok(Some(Self::bias(c)));
        }
        let stride = |size: usize, of: usize| if size == 1 { 0 } else { of };
        let rows = c.elements() / columns.max(1);
        let size = |value| index(KERNEL, "a stride", value);
        Ok(Some(
            Self::new(BIAS)
                .operand("BIAS", "BiasT", c)
                .param("alpha", alpha)
                .param("beta", beta)
                .param("bias_row", size(stride(rows, columns))?)
                .param("bias_col", size(stride(columns, 1))?)
                .param("bias_n", size(n)?),
        ))
    }

    /// Adds an f32 or f16 vector of one value an output channel, `channels` in all; `quads` says that the four channels that it is
    /// added to begin at a multiple of four, which groups of other numbers of channels do not.
    ///
    /// # Errors
    /// [`Error::TooLarge`](crate::Error::TooLarge) for sizes over 32 bits.
    pub fn channels(bias: &View, channels: usize, quads: bool) -> Result<Self> {
        if quads {
            return Ok(Self::bias(bias));
        }
        Ok(Self::new(BIAS)
            .operand("BIAS", "BiasT", bias)
            .param("alpha", 1.0f32)
            .param("beta", 1.0f32)
            .param("bias_row", 0u32)
            .param("bias_col", 1u32)
            .param("bias_n", index(KERNEL, "channels", channels)?))
    }
}
