//! What is measured: sizes of one case, as peers are told it, with its floating-point operations and its least traffic.

use crate::Failure;
use serde_json::{Map, Value, json};
use std::path::PathBuf;
use tilewright::DType;

/// One case.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Work {
    Gemm(Gemm),
    Conv(Conv),
    Attention(Attention),
    Map(MapWork),
    Model(ModelWork),
}

/// C\[b\] = A\[b\] B\[b\]; B is a constant weight where `batch` is 1.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Gemm {
    pub(super) m: usize,
    pub(super) n: usize,
    pub(super) k: usize,
    pub(super) batch: usize,
    pub(super) dtype: DType,
}

/// A convolution without bias; arrays are (height, width), `pad` is top, left, bottom, right.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Conv {
    /// N, C, H, W.
    pub(super) input: [usize; 4],
    pub(super) filters: usize,
    pub(super) kernel: [usize; 2],
    pub(super) stride: [usize; 2],
    pub(super) pad: [usize; 4],
    pub(super) dilation: [usize; 2],
    pub(super) groups: usize,
    pub(super) dtype: DType,
}

/// softmax(Q K^T / sqrt(head)) V.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Attention {
    pub(super) batch: usize,
    pub(super) heads: usize,
    pub(super) queries: usize,
    pub(super) keys: usize,
    pub(super) head: usize,
    pub(super) causal: bool,
}

/// A function over rows x cols.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct MapWork {
    pub(super) op: MapOp,
    pub(super) rows: usize,
    pub(super) cols: usize,
}

/// The functions of `bench map`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
#[value(rename_all = "snake_case")]
pub(super) enum MapOp {
    /// Sum of two tensors.
    Add,
    /// max(x, 0).
    Relu,
    /// x (1 + erf(x / sqrt 2)) / 2.
    Gelu,
    /// Over each row.
    Softmax,
    /// Of each row, with epsilon 1e-5, no scale and no bias.
    LayerNorm,
}

/// A model file with the shape of every input.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct ModelWork {
    pub(super) path: PathBuf,
    pub(super) inputs: Vec<(String, Vec<usize>)>,
    /// Some of its tensors are f16.
    pub(super) half: bool,
}

impl MapOp {
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Add => "add",
            Self::Relu => "relu",
            Self::Gelu => "gelu",
            Self::Softmax => "softmax",
            Self::LayerNorm => "layer_norm",
        }
    }

    /// Tensors that it reads.
    pub(super) fn operands(self) -> usize {
        if self == Self::Add { 2 } else { 1 }
    }
}

impl Conv {
    /// Height and width of the result.
    ///
    /// # Errors
    /// A message where the window does not fit, or a size is 0 or not divided by the groups.
    pub(super) fn output(&self) -> Result<[usize; 2], Failure> {
        let [n, c, h, w] = self.input;
        let (g, f) = (self.groups, self.filters);
        if [n, c, h, w, g, f].contains(&0) || c % g != 0 || f % g != 0 {
            return Err(format!("{c} channels and {f} filters in {g} groups: sizes begin at 1, and groups divide both").into());
        }
        let mut out = [0; 2];
        for axis in 0..2 {
            let padded = self.input[2 + axis] + self.pad[axis] + self.pad[2 + axis];
            let window = self.dilation[axis] * self.kernel[axis].saturating_sub(1) + 1;
            if [self.kernel[axis], self.stride[axis], self.dilation[axis]].contains(&0)
                || padded < window
            {
                return Err(format!("a window of {window} does not fit an axis of {padded} with its padding; kernel, stride and dilation begin at 1").into());
            }
            out[axis] = (padded - window) / self.stride[axis] + 1;
        }
        Ok(out)
    }

    /// One channel a group.
    pub(super) fn is_depthwise(&self) -> bool {
        self.groups > 1 && self.groups == self.input[1]
    }
}

impl Work {
    /// A name that is the same in every report of the same work.
    pub(super) fn name(&self) -> String {
        let half = |dtype| if dtype == DType::F16 { " f16" } else { "" };
        match self {
            Self::Gemm(w) => {
                let batch = if w.batch > 1 {
                    format!("{}*", w.batch)
                } else {
                    String::new()
                };
                format!("{batch}{}x{}x{}{}", w.m, w.n, w.k, half(w.dtype))
            }
            Self::Conv(w) => w.name() + half(w.dtype),
            Self::Attention(w) => {
                let causal = if w.causal { " causal" } else { "" };
                format!(
                    "{}x{} heads of {}, {}x{}{causal}",
                    w.batch, w.heads, w.head, w.queries, w.keys
                )
            }
            Self::Map(w) => format!("{} {}x{}", w.op.name(), w.rows, w.cols),
            Self::Model(w) => {
                let stem = w
                    .path
                    .file_name()
                    .map_or_else(String::new, |n| n.to_string_lossy().into_owned());
                // Suites call every model so, in folders with names.
                let folder = w.path.parent().and_then(|p| p.file_name());
                let name = match folder {
                    Some(folder) if stem == "model.onnx" => folder.to_string_lossy().into_owned(),
                    _ => stem,
                };
                let inputs = w.inputs.iter().map(|(n, s)| format!(" {n}={}", list(s)));
                name + &inputs.collect::<String>()
            }
        }
    }

    /// The work as peers are told it.
    pub(super) fn json(&self) -> Value {
        match self {
            Self::Gemm(w) => json!({
                "kind": "gemm", "m": w.m, "n": w.n, "k": w.k, "batch": w.batch, "dtype": w.dtype.to_string(),
            }),
            Self::Conv(w) => {
                let [n, c, h, width] = w.input;
                json!({
                    "kind": "conv", "n": n, "c": c, "h": h, "w": width, "oc": w.filters, "kernel": w.kernel,
                    "stride": w.stride, "pad": w.pad, "dilation": w.dilation, "groups": w.groups,
                    "dtype": w.dtype.to_string(),
                })
            }
            Self::Attention(w) => json!({
                "kind": "attention", "batch": w.batch, "heads": w.heads, "queries": w.queries, "keys": w.keys,
                "head": w.head, "causal": w.causal,
            }),
            Self::Map(w) => {
                json!({"kind": "map", "op": w.op.name(), "rows": w.rows, "cols": w.cols})
            }
            Self::Model(w) => {
                let inputs = w.inputs.iter().map(|(n, s)| (n.clone(), json!(s)));
                json!({"kind": "model", "path": w.path, "inputs": inputs.collect::<Map<_, _>>()})
            }
        }
    }

    /// Shapes of the operands and of the result, as the protocol has them (channels first). None for a model.
    pub(super) fn shapes(&self) -> Result<Option<Shapes>, Failure> {
        Ok(Some(match self {
            Self::Gemm(w) => {
                let of = |r, c| vec![w.batch, r, c];
                Shapes {
                    operands: vec![of(w.m, w.k), of(w.k, w.n)],
                    result: of(w.m, w.n),
                }
            }
            Self::Conv(w) => {
                let [oh, ow] = w.output()?;
                let [n, c, ..] = w.input;
                let filter = vec![w.filters, c / w.groups, w.kernel[0], w.kernel[1]];
                Shapes {
                    operands: vec![w.input.to_vec(), filter],
                    result: vec![n, w.filters, oh, ow],
                }
            }
            Self::Attention(w) => {
                let of = |places| vec![w.batch, w.heads, places, w.head];
                Shapes {
                    operands: vec![of(w.queries), of(w.keys), of(w.keys)],
                    result: of(w.queries),
                }
            }
            Self::Map(w) => {
                let shape = vec![w.rows, w.cols];
                Shapes {
                    operands: vec![shape.clone(); w.op.operands()],
                    result: shape,
                }
            }
            Self::Model(_) => return Ok(None),
        }))
    }

    /// The type of all tensors; of a model, f16 where some are.
    pub(super) fn dtype(&self) -> DType {
        match self {
            Self::Gemm(w) => w.dtype,
            Self::Conv(w) => w.dtype,
            Self::Model(w) if w.half => DType::F16,
            _ => DType::F32,
        }
    }

    /// Floating-point operations of a run; a multiplication with its addition is two. None where they are not what limits it.
    pub(super) fn flops(&self) -> Option<f64> {
        let product = |sizes: &[usize]| 2.0 * sizes.iter().map(|&n| n as f64).product::<f64>();
        match self {
            Self::Gemm(w) => Some(product(&[w.batch, w.m, w.n, w.k])),
            Self::Conv(w) => {
                let [oh, ow] = w.output().ok()?;
                let [kh, kw] = w.kernel;
                Some(product(&[
                    w.input[0],
                    w.filters,
                    oh,
                    ow,
                    w.input[1] / w.groups,
                    kh,
                    kw,
                ]))
            }
            // All scores, also those that a causal mask hides: what a dense computation takes.
            Self::Attention(w) => {
                Some(2.0 * product(&[w.batch, w.heads, w.queries, w.keys, w.head]))
            }
            Self::Map(_) | Self::Model(_) => None,
        }
    }

    /// Bytes of all operands and of the result: no run moves less.
    pub(super) fn bytes(&self) -> Option<f64> {
        let shapes = self.shapes().ok()??;
        let all = shapes.operands.iter().chain([&shapes.result]);
        let count = |shape: &Vec<usize>| shape.iter().map(|&n| n as f64).product::<f64>();
        Some(all.map(count).sum::<f64>() * self.dtype().size_bytes() as f64)
    }

    /// The largest NMSE (mean square error over mean square) of our result at the sampled elements.
    pub(super) fn bound(&self) -> f64 {
        match (self, self.dtype()) {
            (Self::Model(_), DType::F16) => 1e-4,
            // Rounding the result to f16 alone gives 2e-8.
            (_, DType::F16) => 1e-6,
            // A network's roundings add up, and its host reference rounds every tensor to f32.
            (Self::Model(_), _) => 1e-6,
            // Sums of thousands of products in f32: 1e-9 is twenty times what is seen.
            _ => 1e-9,
        }
    }

    /// The same for peers, which may round operands to TF32 or add up in f16.
    pub(super) fn peer_bound(&self) -> f64 {
        if self.dtype() == DType::F16 {
            1e-3
        } else {
            1e-5
        }
    }
}

/// Shapes of operands and result.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Shapes {
    pub(super) operands: Vec<Vec<usize>>,
    pub(super) result: Vec<usize>,
}

impl Conv {
    /// `1x64x56x56 64 3x3`, and what differs from the plain: stride, padding (where it is not half the kernel), groups, dilation.
    fn name(&self) -> String {
        let times = |of: &[usize]| {
            of.iter()
                .map(usize::to_string)
                .collect::<Vec<_>>()
                .join("x")
        };
        let mut name = format!(
            "{} {} {}",
            times(&self.input),
            self.filters,
            times(&self.kernel)
        );
        if self.stride != [1, 1] {
            name += &format!(" /{}", pair(self.stride));
        }
        let half = self.kernel.map(|k| k / 2);
        if self.pad != [half[0], half[1], half[0], half[1]] {
            name += &format!(" pad {}", list(&self.pad));
        }
        if self.dilation != [1, 1] {
            name += &format!(" dilation {}", pair(self.dilation));
        }
        if self.groups != 1 {
            name += &format!(" groups {}", self.groups);
        }
        name
    }
}

fn pair([a, b]: [usize; 2]) -> String {
    if a == b {
        a.to_string()
    } else {
        format!("{a}x{b}")
    }
}

fn list(of: &[usize]) -> String {
    of.iter()
        .map(usize::to_string)
        .collect::<Vec<_>>()
        .join(",")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn conv() -> Conv {
        Conv {
            input: [1, 64, 56, 56],
            filters: 128,
            kernel: [3, 3],
            stride: [2, 2],
            pad: [1; 4],
            dilation: [1, 1],
            groups: 1,
            dtype: DType::F32,
        }
    }

    #[test]
    fn a_convolution_counts_its_places_and_products() {
        let work = Work::Conv(conv());
        assert_eq!(work.name(), "1x64x56x56 128 3x3 /2");
        let shapes = work.shapes().unwrap().unwrap();
        assert_eq!(shapes.result, [1, 128, 28, 28]);
        assert_eq!(work.flops(), Some(2.0 * 128.0 * 28.0 * 28.0 * 64.0 * 9.0));
        let elements = 64 * 56 * 56 + 128 * 64 * 9 + 128 * 28 * 28;
        assert_eq!(work.bytes(), Some(4.0 * f64::from(elements)));
        let odd = Conv {
            pad: [0, 1, 0, 1],
            groups: 2,
            dilation: [2, 1],
            stride: [1, 1],
            ..conv()
        };
        assert_eq!(
            Work::Conv(odd).name(),
            "1x64x56x56 128 3x3 pad 0,1,0,1 dilation 2x1 groups 2"
        );
    }

    #[test]
    fn what_fits_nowhere_is_an_error() {
        for wrong in [
            Conv {
                kernel: [60, 3],
                ..conv()
            },
            Conv {
                stride: [0, 1],
                ..conv()
            },
            Conv {
                groups: 3,
                ..conv()
            },
            Conv {
                filters: 0,
                ..conv()
            },
        ] {
            assert!(Work::Conv(wrong).shapes().is_err(), "{wrong:?}");
        }
    }

    #[test]
    fn peers_are_told_in_the_words_of_the_protocol() {
        let gemm = Gemm {
            m: 2,
            n: 3,
            k: 4,
            batch: 1,
            dtype: DType::F16,
        };
        let told = json!({"kind": "gemm", "m": 2, "n": 3, "k": 4, "batch": 1, "dtype": "f16"});
        assert_eq!(Work::Gemm(gemm).json(), told);
        assert_eq!(Work::Gemm(Gemm { batch: 8, ..gemm }).name(), "8*2x3x4 f16");
        let model = ModelWork {
            path: "/m/resnet/model.onnx".into(),
            inputs: vec![("x".into(), vec![1, 3])],
            half: false,
        };
        let told =
            json!({"kind": "model", "path": "/m/resnet/model.onnx", "inputs": {"x": [1, 3]}});
        assert_eq!(Work::Model(model.clone()).json(), told);
        assert_eq!(Work::Model(model).name(), "resnet x=1,3");
    }
}
