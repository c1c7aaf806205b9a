//! Test targets as modules of one program, CRATE_FILE. Each links the engine, so that one is as large as all together.
//! They find their data by `TILEWRIGHT_BUNDLE`; `./x bundle` refuses to pack while a target is missing here.

#[path = "../../../crates/cli/tests/batch.rs"]
mod cli_batch;
#[path = "../../../crates/cli/tests/commands.rs"]
mod cli_commands;
#[path = "../../../crates/cli/tests/gpu_bench.rs"]
mod cli_gpu_bench;
#[path = "../../../crates/cli/tests/gpu_bench_cases.rs"]
mod cli_gpu_bench_cases;
#[path = "../../../crates/cli/tests/gpu_commands.rs"]
mod cli_gpu_commands;
#[path = "../../../crates/cli/tests/suite_start.rs"]
mod cli_suite_start;
#[path = "../../../crates/device/tests/gpu.rs"]
mod device_gpu;
#[path = "../../../crates/device/tests/gpu_audit.rs"]
mod device_gpu_audit;
#[path = "../../../crates/device/tests/gpu_submit.rs"]
mod device_gpu_submit;
#[path = "../../../examples/tests/custom.rs"]
mod examples_custom;
#[path = "../../../examples/tests/gpu_custom.rs"]
mod examples_gpu_custom;
#[path = "../../../crates/graph/tests/cases.rs"]
mod graph_cases;
#[path = "../../../crates/graph/tests/empty_sizes.rs"]
mod graph_empty_sizes;
#[path = "../../../crates/graph/tests/gpu_bounds.rs"]
mod graph_gpu_bounds;
#[path = "../../../crates/graph/tests/gpu_cancel.rs"]
mod graph_gpu_cancel;
#[path = "../../../crates/graph/tests/gpu_cases.rs"]
mod graph_gpu_cases;
#[path = "../../../crates/graph/tests/gpu_control_flow.rs"]
mod graph_gpu_control_flow;
#[path = "../../../crates/graph/tests/gpu_f16.rs"]
mod graph_gpu_f16;
#[path = "../../../crates/graph/tests/gpu_graphs.rs"]
mod graph_gpu_graphs;
#[path = "../../../crates/graph/tests/gpu_io.rs"]
mod graph_gpu_io;
#[path = "../../../crates/graph/tests/gpu_long.rs"]
mod graph_gpu_long;
#[path = "../../../crates/graph/tests/gpu_memory.rs"]
mod graph_gpu_memory;
#[path = "../../../crates/graph/tests/gpu_point_accuracy.rs"]
mod graph_gpu_point_accuracy;
#[path = "../../../crates/graph/tests/gpu_selftest.rs"]
mod graph_gpu_selftest;
#[path = "../../../crates/graph/tests/gpu_session.rs"]
mod graph_gpu_session;
#[path = "../../../crates/graph/tests/gpu_shapes.rs"]
mod graph_gpu_shapes;
#[path = "../../../crates/graph/tests/gpu_shared_operands.rs"]
mod graph_gpu_shared_operands;
#[path = "../../../crates/graph/tests/gpu_sizes.rs"]
mod graph_gpu_sizes;
#[path = "../../../crates/graph/tests/gpu_split.rs"]
mod graph_gpu_split;
#[path = "../../../crates/graph/tests/gpu_states.rs"]
mod graph_gpu_states;
#[path = "../../../crates/graph/tests/gpu_tune.rs"]
mod graph_gpu_tune;
#[path = "../../../crates/graph/tests/gpu_weights.rs"]
mod graph_gpu_weights;
#[path = "../../../crates/graph/tests/noop.rs"]
mod graph_noop;
#[path = "../../../crates/graph/tests/scale.rs"]
mod graph_scale;
#[path = "../../../crates/kernels/tests/gpu_attention.rs"]
mod kernels_gpu_attention;
#[path = "../../../crates/kernels/tests/gpu_bsr.rs"]
mod kernels_gpu_bsr;
#[path = "../../../crates/kernels/tests/gpu_conv.rs"]
mod kernels_gpu_conv;
#[path = "../../../crates/kernels/tests/gpu_conv_transpose.rs"]
mod kernels_gpu_conv_transpose;
#[path = "../../../crates/kernels/tests/gpu_coop.rs"]
mod kernels_gpu_coop;
#[path = "../../../crates/kernels/tests/gpu_gemm.rs"]
mod kernels_gpu_gemm;
#[path = "../../../crates/kernels/tests/gpu_int8.rs"]
mod kernels_gpu_int8;
#[path = "../../../crates/kernels/tests/gpu_move.rs"]
mod kernels_gpu_move;
#[path = "../../../crates/kernels/tests/gpu_split_k.rs"]
mod kernels_gpu_split_k;
#[path = "../../../crates/onnx/tests/old_opsets.rs"]
mod onnx_old_opsets;
#[path = "../../../crates/tilewright/tests/gpu_embed.rs"]
mod tilewright_gpu_embed;
#[path = "../../../crates/tilewright/tests/gpu_sparse.rs"]
mod tilewright_gpu_sparse;
#[path = "../../../crates/tilewright/tests/gpu_weight_files.rs"]
mod tilewright_gpu_weight_files;
#[path = "../../../crates/tilewright/tests/suite_real/main.rs"]
mod tilewright_suite_real;
