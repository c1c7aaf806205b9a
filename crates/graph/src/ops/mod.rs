//! The operators, one file each (families of one shape share a file).

use crate::fact::Inputs;
use crate::lower::{Lower, Place, Placing};
use crate::op::{Case, CustomOp, Operator, ops};
use crate::{Attrs, Error, Fact, Result};
use std::sync::Arc;
use tilewright_tensor::HostTensor;

mod reshape;
mod source;

pub use reshape::{Flatten, Identity, Reshape};
pub use source::{Constant, Input};

ops! {
    source::Input,
    source::Constant,
    reshape::Reshape,
    reshape::Flatten,
    reshape::Identity,
}
