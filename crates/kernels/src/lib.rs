//! Kernels: which shader, specialised how, with which parameters and workgroups.
//!
//! Every kernel is a pure function from [`Caps`](tilewright_device::Caps) and [`View`]s to
//! [`Dispatch`](tilewright_device::Dispatch)es; nothing here knows of nodes or graphs, and nothing
//! here touches a GPU but [`coop_probe`]. A kernel that needs scratch takes it as a view and publishes its size; one
//! with packed weights publishes a pack function that runs on the host.
#![warn(clippy::unwrap_used)]
#![forbid(unsafe_code)]

mod attention;
mod batch;
mod bsr;
mod candidates;
mod choice;
mod conv;
mod conv_transpose;
mod coop;
mod coop_probe;
mod copy;
mod depthwise;
mod ending;
mod epilogue;
mod error;
mod fill;
mod flat;
mod gather;
mod gemm;
mod gemm_loop;
mod generate;
mod grid_sample;
mod interleave;
mod lrn;
mod map;
mod matmul;
mod nll_loss;
mod norm;
mod operands;
mod pack;
mod pad;
mod pool;
mod product;
mod qconv;
mod qgemm;
mod qpack;
mod qread;
mod quantize;
mod radix;
mod recurrent;
mod reduce;
mod resize;
mod rounds;
mod scaled;
mod scan;
mod scatter;
mod softmax;
mod split_k;
mod top_k;
mod tune;
mod view;
mod walk;
mod winograd;

pub use attention::{Attention, AttentionMask, Heads, Scores, attention, attention_by_products};
pub use bsr::{BsrView, Side, bsr_block, bsr_left, bsr_matmul, bsr_rows, bsr_values};
pub use candidates::{Outlook, candidates};
pub use choice::{Choices, Chosen, Class, Site, Target};
pub use conv::{ConvShape, Filter, conv, conv_columns, conv_with, pack_filter};
pub use conv_transpose::{conv_transpose, conv_transpose_with, pack_filter_transposed};
pub use coop::{CoopTile, candidates_of};
pub use coop_probe::coop_probe;
pub use copy::{Region, Strides, copy};
pub use depthwise::{depthwise, pack_depthwise};
pub use ending::map_ending;
pub use epilogue::Epilogue;
pub use error::{Error, Result};
pub use fill::fill;
pub use gather::{gather, gather_elements, gather_nd, gather_part};
pub use gemm::{Gemm, Layout, Operand, gemm, gemm_with};
pub use gemm_loop::{Loop, reg_lanes};
pub use generate::{eye, one_hot, range, reverse_sequence, trilu};
pub use grid_sample::{Outside, Sampling, grid_sample};
pub use interleave::interleave;
pub use lrn::lrn;
pub use map::{Function, map, map_epilogue, map_inputs};
pub use matmul::{matmul, matmul_packed};
pub use nll_loss::{Total, nll_loss, nll_scratch};
pub use norm::{Adjust, Norm, Running, Stats, by_channel, channel_norm, channel_scratch, norm};
pub use pack::{pack_b, pack_b_columns, panel_width};
pub use pad::{Padding, pad};
pub use pool::{PoolIndices, PoolMode, PoolShape, pool, pool_is_cut};
pub use qconv::{conv8, conv8_scratch};
pub use qgemm::{Int8B, Zero, matmul8, matmul8_scratch};
pub use qpack::{columns8, pack_b8, pack_b8_columns, pack_filter8};
pub use quantize::{Grain, dequantize, pack8, quant_range, quantize, unpack8};
pub use recurrent::{Cell, Recurrent, Squash, Weights, recurrent};
pub use reduce::{Reduction, arg_max, reduce, reduce_scratch};
pub use resize::{NO_ELEMENT, RESIZE_TAPS, ResizeAxis, ResizeShape, resize};
pub use scan::scan;
pub use scatter::{Combine, scatter_elements, scatter_nd, scatter_scratch, tensor_scatter};
pub use softmax::{hardmax, softmax};
pub use split_k::{SplitK, conv_split, split_k, split_k_with};
pub use top_k::{top_k, top_k_scratch};
pub use tune::Tuning;
pub use view::{Store, View};
pub use walk::Form;
pub use winograd::{Winograd, WinogradScratch, winograd};
