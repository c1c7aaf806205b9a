//! The work that a driver can ask for, as it stands in a request.

use std::collections::BTreeMap;

use serde::Deserialize;

/// One piece of work. Tensors are dense and row-major.
#[derive(Debug, Clone, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Work {
    Gemm(Gemm),
    Conv(Conv),
    Attention(Attention),
    Map(Map),
    Model(Model),
}

/// What the elements of a tensor are.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Dtype {
    #[default]
    F32,
    F16,
}

/// C\[batch, m, n\] = A\[batch, m, k\] B\[batch, k, n\].
#[derive(Debug, Clone, Deserialize)]
pub struct Gemm {
    #[serde(default = "one")]
    pub batch: usize,
    pub m: usize,
    pub n: usize,
    pub k: usize,
    #[serde(default)]
    pub dtype: Dtype,
}

/// A convolution of x\[n, c, h, w\] with weights \[oc, c / groups, kh, kw\], without a bias.
#[derive(Debug, Clone, Deserialize)]
pub struct Conv {
    pub n: usize,
    pub c: usize,
    pub h: usize,
    pub w: usize,
    pub oc: usize,
    pub kernel: [usize; 2],
    #[serde(default = "ones")]
    pub stride: [usize; 2],
    /// Top, left, bottom, right.
    #[serde(default)]
    pub pad: [usize; 4],
    #[serde(default = "ones")]
    pub dilation: [usize; 2],
    #[serde(default = "one")]
    pub groups: usize,
    #[serde(default)]
    pub dtype: Dtype,
}

/// softmax(Q K^T / sqrt(head)) V, over \[batch, heads, queries or keys, head\].
#[derive(Debug, Clone, Deserialize)]
pub struct Attention {
    pub batch: usize,
    pub heads: usize,
    pub queries: usize,
    pub keys: usize,
    pub head: usize,
    #[serde(default)]
    pub causal: bool,
    #[serde(default)]
    pub dtype: Dtype,
}

/// A map or a reduction over tensors \[rows, cols\].
#[derive(Debug, Clone, Deserialize)]
pub struct Map {
    pub op: MapOp,
    pub rows: usize,
    pub cols: usize,
    #[serde(default)]
    pub dtype: Dtype,
}

/// `Add` takes two tensors; `Softmax` and `LayerNorm` (epsilon 1e-5, no scale, no bias) work over the columns.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum MapOp {
    Add,
    Relu,
    Gelu,
    Softmax,
    LayerNorm,
}

/// An ONNX file and the shape of each of its inputs.
#[derive(Debug, Clone, Deserialize)]
pub struct Model {
    pub path: std::path::PathBuf,
    pub inputs: BTreeMap<String, Vec<usize>>,
}

impl Conv {
    /// The weights' shape.
    pub fn weights(&self) -> [usize; 4] {
        [
            self.oc,
            self.c / self.groups.max(1),
            self.kernel[0],
            self.kernel[1],
        ]
    }

    /// The padding of both axes, or none where the two ends of an axis differ.
    pub fn symmetric_pad(&self) -> Option<[usize; 2]> {
        let [top, left, bottom, right] = self.pad;
        (top == bottom && left == right).then_some([top, left])
    }
}

fn one() -> usize {
    1
}

fn ones() -> [usize; 2] {
    [1, 1]
}
