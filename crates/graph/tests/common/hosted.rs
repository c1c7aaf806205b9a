//! The cases that may have steps on the host: without a list a case that falls there compares the reference with itself.

use std::collections::BTreeSet;
use tilewright_graph::{Case, HostStep};

/// A reason for a host step, and the operators that have cases with it.
type Reason = (&'static str, &'static [&'static str]);

const HOST: &[Reason] = &[
    (
        "64-bit integers may pass 32 bits",
        &[
            "Abs", "Add", "BitShift", "Cast", "Div", "Mod", "Mul", "Neg", "PRelu", "Pow", "Sub",
        ],
    ),
    ("Shrink of integers has no kernel", &["Shrink"]),
    ("a convolution without terms", &["Conv"]),
    ("a product by element", &["Einsum"]),
    ("a product without terms", &["Gemm", "MatMul"]),
    ("attention without elements", &["Attention"]),
    (
        "axes in more than two groups",
        &["MeanVarianceNormalization"],
    ),
    (
        "bf16 has no device storage",
        &[
            "Cast",
            "ReduceL1",
            "ReduceL2",
            "ReduceLogSum",
            "ReduceLogSumExp",
            "ReduceMax",
            "ReduceMean",
            "ReduceMin",
            "ReduceProd",
            "ReduceSum",
            "ReduceSumSquare",
        ],
    ),
    ("channels are first", &["Conv"]),
    ("control flow", &["If", "Loop", "Scan"]),
    (
        "f64 has no device storage",
        &[
            "ArgMax",
            "ArgMin",
            "BitCast",
            "Cast",
            "Concat",
            "CumProd",
            "CumSum",
            "Expand",
            "EyeLike",
            "Gather",
            "GatherElements",
            "Interleave",
            "OneHot",
            "ReduceL1",
            "ReduceL2",
            "ReduceLogSum",
            "ReduceLogSumExp",
            "ReduceMax",
            "ReduceMean",
            "ReduceMin",
            "ReduceProd",
            "ReduceSum",
            "ReduceSumSquare",
            "ScatterElements",
            "Tile",
            "TopK",
            "Transpose",
            "Trilu",
        ],
    ),
    (
        "i2 has no device storage",
        &["DequantizeLinear", "QuantizeLinear"],
    ),
    ("i32 in floating point", &["ReduceL2"]),
    ("i32 may pass 32 bits", &["ReduceMean"]),
    (
        "i4 has no device storage",
        &["Cast", "DequantizeLinear", "QuantizeLinear", "Transpose"],
    ),
    ("i64 in floating point", &["ReduceL2"]),
    (
        "i64 may pass 32 bits",
        &[
            "CumProd",
            "CumSum",
            "ReduceL1",
            "ReduceMean",
            "ReduceProd",
            "ReduceSum",
            "ReduceSumSquare",
        ],
    ),
    (
        "no kernel for bf16",
        &[
            "Attention",
            "BatchNormalization",
            "BsrMatMul",
            "GlobalAveragePool",
            "GlobalLpPool",
            "GlobalMaxPool",
            "GroupNormalization",
            "Hardmax",
            "InstanceNormalization",
            "LRN",
            "LSTM",
            "LayerNormalization",
            "LogSoftmax",
            "LpNormalization",
            "MeanVarianceNormalization",
            "RMSNormalization",
            "Softmax",
        ],
    ),
    (
        "no kernel for f64",
        &[
            "Attention",
            "BatchNormalization",
            "BsrMatMul",
            "Einsum",
            "GRU",
            "GlobalAveragePool",
            "GlobalLpPool",
            "GlobalMaxPool",
            "GroupNormalization",
            "Hardmax",
            "InstanceNormalization",
            "LRN",
            "LSTM",
            "LayerNormalization",
            "LogSoftmax",
            "LpNormalization",
            "MatMul",
            "MeanVarianceNormalization",
            "NegativeLogLikelihoodLoss",
            "RMSNormalization",
            "Softmax",
            "SoftmaxCrossEntropyLoss",
        ],
    ),
    (
        "no kernel for i32",
        &["Einsum", "Gemm", "GridSample", "MatMul"],
    ),
    ("no kernel for u64", &["MatMul"]),
    ("no kernel for u8", &["Einsum"]),
    (
        "no kernel yet",
        &[
            "CausalConvWithState",
            "Col2Im",
            "DFT",
            "DeformConv",
            "Det",
            "FlexAttention",
            "LinearAttention",
            "MaxRoiPool",
            "MaxUnpool",
            "RoiAlign",
            "RotaryEmbedding",
            "STFT",
            "TfIdfVectorizer",
        ],
    ),
    (
        "only a matrix on the right has a kernel",
        &["QLinearMatMul"],
    ),
    (
        "output shapes depend on the data",
        &["Compress", "NonMaxSuppression", "NonZero", "Unique"],
    ),
    (
        "scale or bias do not have the shape of the normalised axes",
        &["LayerNormalization", "RMSNormalization"],
    ),
    (
        "sums of this type do not wrap at 32 bits",
        &["ScatterElements", "ScatterND"],
    ),
    ("the axis is not constant", &["CumSum"]),
    ("the diagonal comes from a run", &["Trilu"]),
    ("the output's shape depends on the data", &["Compress"]),
    ("the sparse matrix is not constant", &["BsrMatMul"]),
    (
        "u2 has no device storage",
        &["DequantizeLinear", "QuantizeLinear"],
    ),
    ("u32 in floating point", &["ReduceL2"]),
    ("u32 may pass 32 bits", &["ReduceMean"]),
    (
        "u4 has no device storage",
        &["Cast", "DequantizeLinear", "QuantizeLinear", "Slice"],
    ),
    (
        "u64 has no device storage",
        &[
            "ArgMax",
            "ArgMin",
            "Cast",
            "ReduceL1",
            "ReduceL2",
            "ReduceMax",
            "ReduceMean",
            "ReduceMin",
            "ReduceProd",
            "ReduceSum",
            "ReduceSumSquare",
            "TopK",
        ],
    ),
    ("u64 may pass 32 bits", &["CumProd", "CumSum"]),
    (
        "zero points by row and batch have no kernel",
        &["MatMulInteger"],
    ),
];

/// Where the adapter has no f16, besides.
const WITHOUT_F16: &[Reason] = &[("f16 is kept as f32", &["BitCast"])];

/// Operators and reasons of the steps that cases had on the host.
#[derive(Default)]
pub(crate) struct Hosted(BTreeSet<(String, String)>);

fn listed(lists: &[&[Reason]]) -> BTreeSet<(String, String)> {
    let rows = lists.iter().copied().flatten();
    rows.flat_map(|(why, ops)| ops.iter().map(|op| ((*op).to_owned(), (*why).to_owned())))
        .collect()
}

impl Hosted {
    pub(crate) fn note(&mut self, case: &Case, steps: &[HostStep]) {
        let steps = steps.iter();
        let keys = steps.map(|step| (case.op.name().to_owned(), step.reason.clone()));
        self.0.extend(keys);
    }

    /// Fails where the steps of all cases are not those of the list.
    pub(crate) fn agree(&self, f16: bool) {
        self.listed();
        let lists = [HOST, WITHOUT_F16];
        let expected = listed(&lists[..if f16 { 1 } else { 2 }]);
        let stale: Vec<_> = expected.difference(&self.0).collect();
        assert!(
            stale.is_empty(),
            "listed, but no longer on the host: {stale:#?}"
        );
    }

    /// Fails where some of all cases have steps that are not in the list.
    pub(crate) fn listed(&self) {
        let all = listed(&[HOST, WITHOUT_F16]);
        let new: Vec<_> = self.0.difference(&all).collect();
        assert!(new.is_empty(), "on the host, but not listed: {new:#?}");
    }
}
