//! The operators, one file each (families of one shape share a file).

use crate::blocks::Blocks;
use crate::fact::Inputs;
use crate::lower::{Lower, Place, Placing};
use crate::op::{Case, CustomOp, Operator, ops};
use crate::{Attrs, Error, Fact, Result};
use std::sync::Arc;
use tilewright_tensor::HostTensor;

mod affine_grid;
mod arg_max;
mod average_pool;
mod batch_normalization;
mod bsr_matmul;
mod bsr_matmul_cases;
mod col2im;
mod concat;
mod conv;
mod conv_integer;
mod conv_transpose;
mod cum_sum;
mod deform_conv;
mod det;
mod dynamic_quantize;
mod einsum;
mod filter;
mod gather;
mod gemm;
mod global_pool;
mod grid_sample;
mod groups;
mod instance_normalization;
mod int8;
mod layer_normalization;
mod lp_normalization;
mod lrn;
mod matmul;
mod matmul_integer;
mod max_pool;
mod max_unpool;
mod moving;
mod nll_loss;
mod pool;
mod product;
mod quantize;
mod reduce;
mod resize;
mod roi;
mod window;

mod center_crop_pad;
mod depth_to_space;
mod expand;
mod fills;
mod gather_elements;
mod gather_nd;
mod one_hot;
mod pad;
mod reshape;
mod reverse_sequence;
mod scatter;
mod scatter_elements;
mod scatter_nd;
mod select_by_data;
mod shape;
mod slice;
mod softmax;
mod source;
mod split;
mod squeeze;
mod tensor_scatter;
mod top_k;
mod transpose;
mod trilu;

mod binary;
mod cast;
mod clip;
mod dropout;
mod fused;
mod map;
mod select;
mod unary;
mod variadic;

mod attention;
mod attention_cases;
mod attention_device;
mod attention_host;
mod branch;
mod causal_conv;
mod flex_attention;
mod fourier;
mod gru;
mod interleave;
mod iterate;
mod linear_attention;
mod lstm;
mod non_max_suppression;
mod recurrent;
mod recurrent_device;
mod rnn;
mod rotary_embedding;
mod scan;
mod signal;
mod squash;
mod tf_idf;

pub use affine_grid::AffineGrid;
pub use arg_max::ArgMax;
pub use average_pool::{AveragePool, LpPool};
pub use batch_normalization::BatchNormalization;
pub use bsr_matmul::BsrMatMul;
pub use col2im::Col2Im;
pub use concat::Concat;
pub use conv::Conv;
pub use conv_integer::{ConvInteger, QLinearConv};
pub use conv_transpose::ConvTranspose;
pub use cum_sum::CumSum;
pub use deform_conv::DeformConv;
pub use det::Det;
pub use dynamic_quantize::DynamicQuantizeLinear;
pub use einsum::Einsum;
pub use gather::Gather;
pub use gemm::Gemm;
pub use global_pool::{GlobalPool, Pool};
pub use grid_sample::{GridSample, SampleMode, SamplePad};
pub use instance_normalization::{GroupNormalization, InstanceNormalization};
pub use layer_normalization::LayerNormalization;
pub use lp_normalization::{LpNormalization, MeanVarianceNormalization};
pub use lrn::Lrn;
pub use matmul::MatMul;
pub use matmul_integer::{MatMulInteger, QLinearMatMul};
pub use max_pool::MaxPool;
pub use max_unpool::MaxUnpool;
pub use nll_loss::{LossReduction, NllLoss};
pub use quantize::{DequantizeLinear, Granularity, QuantizeLinear};
pub use reduce::{Reduce, Reduction};
pub use resize::{AspectPolicy, NearestMode, Resize, ResizeMode, Transform};
pub use roi::{MaxRoiPool, RoiAlign, RoiMode};
pub use window::{AutoPad, Layout, Slide, Window};

pub use center_crop_pad::CenterCropPad;
pub use depth_to_space::{BlockOrder, DepthToSpace, SpaceToDepth};
pub use expand::{Expand, Tile};
pub use fills::{ConstantOfShape, EyeLike, Range};
pub use gather_elements::GatherElements;
pub use gather_nd::GatherND;
pub use interleave::Interleave;
pub(crate) use interleave::padded;
pub use one_hot::OneHot;
pub use pad::{Pad, PadMode};
pub use reshape::{Flatten, Identity, Reshape};
pub use reverse_sequence::ReverseSequence;
pub use scatter_elements::ScatterElements;
pub use scatter_nd::ScatterND;
pub use select_by_data::{Compress, NonZero, Unique};
pub use shape::{Shape, Size};
pub use slice::{Cut, Slice};
pub use softmax::{Softmax, SoftmaxKind};
pub use source::{Constant, Input, Sizes, State};
pub use split::Split;
pub use squeeze::{Squeeze, Unsqueeze};
pub use tensor_scatter::TensorScatter;
pub use top_k::TopK;
pub use transpose::Transpose;
pub use trilu::Trilu;

pub use binary::Binary;
pub use cast::{BitCast, Cast, CastLike};
pub use clip::Clip;
pub use dropout::Dropout;
pub use fused::Fused;
pub use map::Map;
pub use select::Where;
pub use unary::Unary;
pub use variadic::Variadic;

pub use attention::{Attention, QkOutput};
pub use branch::If;
pub use causal_conv::CausalConvWithState;
pub use flex_attention::FlexAttention;
pub use fourier::{Dft, Stft};
pub use gru::Gru;
pub use iterate::Loop;
pub use linear_attention::{LinearAttention, UpdateRule};
pub use lstm::Lstm;
pub use non_max_suppression::NonMaxSuppression;
pub use recurrent::{Direction, Recurrent};
pub use rnn::Rnn;
pub use rotary_embedding::RotaryEmbedding;
pub use scan::Scan;
pub use signal::{MelWeightMatrix, SignalWindow, WindowKind};
pub use squash::{Activation, Squash};
pub use tf_idf::{TfIdfMode, TfIdfVectorizer};

pub use tilewright_kernels::{Combine, Side};

ops! {
    source::Input,
    source::Constant,
    source::Sizes,
    source::State,
    reshape::Reshape,
    reshape::Flatten,
    reshape::Identity,
    concat::Concat,
    gather::Gather,
    shape::Shape,
    shape::Size,
    slice::Slice,
    squeeze::Squeeze,
    squeeze::Unsqueeze,
    center_crop_pad::CenterCropPad,
    depth_to_space::DepthToSpace,
    depth_to_space::SpaceToDepth,
    expand::Expand,
    expand::Tile,
    fills::ConstantOfShape,
    fills::EyeLike,
    fills::Range,
    gather_elements::GatherElements,
    gather_nd::GatherND,
    interleave::Interleave,
    one_hot::OneHot,
    pad::Pad,
    reverse_sequence::ReverseSequence,
    scatter_elements::ScatterElements,
    scatter_nd::ScatterND,
    select_by_data::Compress,
    select_by_data::NonZero,
    select_by_data::Unique,
    split::Split,
    tensor_scatter::TensorScatter,
    trilu::Trilu,
    transpose::Transpose,
    average_pool::AveragePool,
    average_pool::LpPool,
    bsr_matmul::BsrMatMul,
    conv::Conv,
    gemm::Gemm,
    matmul::MatMul,
    max_pool::MaxPool,
    affine_grid::AffineGrid,
    col2im::Col2Im,
    conv_integer::ConvInteger,
    conv_integer::QLinearConv,
    conv_transpose::ConvTranspose,
    deform_conv::DeformConv,
    grid_sample::GridSample,
    matmul_integer::MatMulInteger,
    matmul_integer::QLinearMatMul,
    max_unpool::MaxUnpool,
    quantize::DequantizeLinear,
    dynamic_quantize::DynamicQuantizeLinear,
    quantize::QuantizeLinear,
    resize::Resize,
    roi::MaxRoiPool,
    roi::RoiAlign,
    arg_max::ArgMax,
    batch_normalization::BatchNormalization,
    cum_sum::CumSum,
    det::Det,
    einsum::Einsum,
    global_pool::GlobalPool,
    instance_normalization::GroupNormalization,
    instance_normalization::InstanceNormalization,
    layer_normalization::LayerNormalization,
    lp_normalization::LpNormalization,
    lp_normalization::MeanVarianceNormalization,
    lrn::Lrn,
    nll_loss::NllLoss,
    reduce::Reduce,
    softmax::Softmax,
    top_k::TopK,
    unary::Unary,
    binary::Binary,
    variadic::Variadic,
    select::Where,
    clip::Clip,
    cast::Cast,
    cast::CastLike,
    cast::BitCast,
    dropout::Dropout,
    fused::Fused,
    map::Map,

    attention::Attention,
    branch::If,
    causal_conv::CausalConvWithState,
    flex_attention::FlexAttention,
    fourier::Dft,
    fourier::Stft,
    gru::Gru,
    iterate::Loop,
    linear_attention::LinearAttention,
    lstm::Lstm,
    non_max_suppression::NonMaxSuppression,
    rnn::Rnn,
    rotary_embedding::RotaryEmbedding,
    scan::Scan,
    signal::MelWeightMatrix,
    signal::SignalWindow,
    tf_idf::TfIdfVectorizer,
}

/// How many values a body takes from around it, as the reader counted them.
fn control_captures(attrs: &Attrs) -> Result<usize> {
    let count: i64 = attrs.or("captures", 0)?;
    usize::try_from(count).map_err(|_| Error::op(attrs.op(), format!("captures is {count}")))
}
