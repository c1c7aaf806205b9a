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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_that_are_left_out_have_defaults() {
        let work = serde_json::from_str(r#"{"kind":"gemm","m":2,"n":3,"k":4}"#);
        let Ok(Work::Gemm(gemm)) = work else {
            panic!("{work:?}");
        };
        assert_eq!((gemm.batch, gemm.dtype), (1, Dtype::F32));
        let work = serde_json::from_str(
            r#"{"kind":"conv","n":1,"c":4,"h":8,"w":8,"oc":6,"kernel":[3,1],"pad":[1,0,1,0],"groups":2,"dtype":"f16"}"#,
        );
        let Ok(Work::Conv(conv)) = work else {
            panic!("{work:?}");
        };
        assert_eq!(conv.weights(), [6, 2, 3, 1]);
        assert_eq!(conv.symmetric_pad(), Some([1, 0]));
        assert_eq!((conv.stride, conv.dilation), ([1, 1], [1, 1]));
        assert_eq!(conv.dtype, Dtype::F16);
    }

    #[test]
    fn every_kind_is_read_and_others_are_errors() {
        let works = [
            r#"{"kind":"attention","batch":1,"heads":2,"queries":3,"keys":4,"head":5,"causal":true}"#,
            r#"{"kind":"map","op":"layer_norm","rows":1,"cols":2}"#,
            r#"{"kind":"model","path":"/m.onnx","inputs":{"x":[1,3]}}"#,
        ];
        for work in works {
            assert!(serde_json::from_str::<Work>(work).is_ok(), "{work}");
        }
        assert!(serde_json::from_str::<Work>(r#"{"kind":"sort","n":1}"#).is_err());
        assert!(
            serde_json::from_str::<Work>(r#"{"kind":"map","op":"tan","rows":1,"cols":2}"#).is_err()
        );
    }
}
