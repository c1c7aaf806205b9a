//! The operators, one file each (families of one shape share a file).

use crate::fact::Inputs;
use crate::lower::{Lower, Place, Placing};
use crate::op::{Case, CustomOp, Operator, ops};
use crate::{Attrs, Error, Fact, Result};
use std::sync::Arc;
use tilewright_tensor::HostTensor;

mod average_pool;
mod concat;
mod conv;
mod gather;
mod gemm;
mod matmul;
mod max_pool;
mod moving;
mod pool;
mod product;
mod window;

mod reshape;
mod shape;
mod slice;
mod source;
mod squeeze;
mod transpose;

pub use average_pool::{AveragePool, LpPool};
pub use concat::Concat;
pub use conv::Conv;
pub use gather::Gather;
pub use gemm::Gemm;
pub use matmul::MatMul;
pub use max_pool::MaxPool;
pub use window::{AutoPad, Layout, Slide, Window};

pub use reshape::{Flatten, Identity, Reshape};
pub use shape::{Shape, Size};
pub use slice::{Cut, Slice};
pub use source::{Constant, Input};
pub use squeeze::{Squeeze, Unsqueeze};
pub use transpose::Transpose;

ops! {
    source::Input,
    source::Constant,
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
    transpose::Transpose,

    average_pool::AveragePool,
    average_pool::LpPool,
    conv::Conv,
    gemm::Gemm,
    matmul::MatMul,
    max_pool::MaxPool,
}
