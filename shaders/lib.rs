//! The WGSL sources of the Tilewright kernels, as text.
//!
//! `gemm_reg` is `gemm_reg.wgsl`; a part that other shaders pull in with `//#use mac_f32` is
//! `part/mac_f32`. The texts hold directives (see `docs/shaders.md`), so they are WGSL only after
//! the assembler of `tilewright-device` has put a prelude before them and resolved those.
#![forbid(unsafe_code)]

/// The table: one line a file, sorted by name.
macro_rules! table {
    ($($name:literal)*) => {
        &[$(($name, include_str!(concat!($name, ".wgsl")))),*]
    };
}

static FILES: &[(&str, &str)] = table! {
    "attention"
    "attention_softmax"
    "by_channel"
    "channels"
    "copy"
    "depthwise"
    "eye"
    "fill"
    "gather"
    "gather_elements"
    "gather_nd"
    "gemm_coop"
    "gemm_reg"
    "gemm_tile"
    "gemv"
    "grid_sample"
    "hardmax"
    "line_sums"
    "lrn"
    "map"
    "moments"
    "nll_loss"
    "norm"
    "one_hot"
    "pack8"
    "pad"
    "part/a_bsr"
    "part/a_cols"
    "part/a_cols_any"
    "part/a_conv"
    "part/a_conv_any"
    "part/a_conv_row"
    "part/a_conv_row_any"
    "part/a_deconv"
    "part/a_deconv_any"
    "part/a_four"
    "part/a_four_any"
    "part/a_one"
    "part/a_one8"
    "part/a_one_half"
    "part/a_rows"
    "part/a_rows_any"
    "part/a_vec"
    "part/a_vec8"
    "part/a_vec_half"
    "part/a_zero"
    "part/a_zero8"
    "part/a_zero8_view"
    "part/adjust_affine"
    "part/adjust_channel"
    "part/adjust_none"
    "part/adjust_scale"
    "part/attention_score"
    "part/b_bsr"
    "part/b_cols"
    "part/b_cols_any"
    "part/b_one"
    "part/b_one8"
    "part/b_one_half"
    "part/b_panel"
    "part/b_rows"
    "part/b_rows8"
    "part/b_rows_any"
    "part/b_vec"
    "part/b_vec8"
    "part/b_vec_half"
    "part/batch_many"
    "part/batch_one"
    "part/block44"
    "part/bsr_index"
    "part/c_groups"
    "part/c_one"
    "part/c_packed8"
    "part/c_rows"
    "part/c_size"
    "part/c_vec"
    "part/c_vec_half"
    "part/cap_none"
    "part/cap_tanh"
    "part/cell_bias"
    "part/cell_full"
    "part/cell_gru"
    "part/cell_gru_linear"
    "part/cell_lengths"
    "part/cell_lstm"
    "part/cell_no_bias"
    "part/cell_no_peepholes"
    "part/cell_peepholes"
    "part/cell_put"
    "part/cell_put_state"
    "part/cell_reset"
    "part/cell_rnn"
    "part/channel_affine"
    "part/channel_given"
    "part/channel_merged"
    "part/channel_plain"
    "part/cols_4"
    "part/combine_float"
    "part/combine_int"
    "part/conv_phase"
    "part/conv_window"
    "part/coop_fragment"
    "part/coop_one"
    "part/coop_vec"
    "part/copy_four"
    "part/copy_same"
    "part/copy_spread"
    "part/deconv_quad"
    "part/epilogue"
    "part/f_channels"
    "part/f_packed"
    "part/finish"
    "part/finish8"
    "part/first_given"
    "part/first_zero"
    "part/fold_arg"
    "part/fold_float"
    "part/fold_int"
    "part/fold_lse"
    "part/fold_order"
    "part/fold_power"
    "part/fold_sum"
    "part/gemm_grid"
    "part/gemm_size"
    "part/gemm_store"
    "part/grid"
    "part/heads_four"
    "part/heads_one"
    "part/joined"
    "part/k_bsr_left"
    "part/k_bsr_right"
    "part/k_taps"
    "part/k_whole"
    "part/keep_none"
    "part/keep_scores"
    "part/keys_all"
    "part/keys_given"
    "part/lanes_1"
    "part/lanes_4"
    "part/lanes_four"
    "part/lanes_one"
    "part/lines_a"
    "part/lines_b"
    "part/mac_f32"
    "part/mac_i8"
    "part/mac_u8"
    "part/mask_bool"
    "part/mask_float"
    "part/mask_none"
    "part/math"
    "part/math_erf"
    "part/math_int"
    "part/math_pow"
    "part/math_trig"
    "part/operands"
    "part/order_float"
    "part/order_i32"
    "part/order_u32"
    "part/padding_known"
    "part/padding_view"
    "part/place_cache"
    "part/place_element"
    "part/place_nd"
    "part/pool_index"
    "part/pool_max"
    "part/pool_mean"
    "part/pool_no_index"
    "part/pool_norm"
    "part/power"
    "part/quant_no_zero"
    "part/quant_zero"
    "part/resize_pick"
    "part/resize_sum"
    "part/resolve"
    "part/row_known"
    "part/row_view"
    "part/running_kept"
    "part/running_none"
    "part/scan_one"
    "part/scan_tree"
    "part/scores_1"
    "part/scores_4"
    "part/share_one"
    "part/share_tree"
    "part/slim_four"
    "part/slim_one"
    "part/squash"
    "part/stats_kept"
    "part/stats_none"
    "part/summed"
    "part/sums8"
    "part/tiles_exact"
    "part/tiles_folded"
    "part/transpose_any"
    "part/transpose_wide"
    "part/value8_float"
    "part/value8_int"
    "part/walk"
    "part/weight_given"
    "part/weight_one"
    "part/wide_four"
    "part/wide_one"
    "part/winograd_2"
    "part/winograd_4"
    "part/zero_known"
    "part/zero_view"
    "pool"
    "quant_range"
    "quantize"
    "radix_count"
    "radix_move"
    "radix_scan"
    "range"
    "ratio"
    "recurrent_cell"
    "reduce"
    "resize"
    "reverse_sequence"
    "scan"
    "scatter"
    "scatter_bounds"
    "scatter_keys"
    "scatter_reduce"
    "softmax"
    "sort_keys"
    "sort_step"
    "sort_take"
    "top_k"
    "transpose"
    "trilu"
    "winograd_in"
    "winograd_out"
};

/// The text of one file, or `None` where there is none of that name.
#[must_use]
pub fn get(name: &str) -> Option<&'static str> {
    let found = FILES.binary_search_by(|file| file.0.cmp(name)).ok()?;
    Some(FILES[found].1)
}

/// The names of all files, sorted.
pub fn names() -> impl Iterator<Item = &'static str> {
    FILES.iter().map(|file| file.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_is_sorted_and_holds_every_file_once() {
        let names: Vec<_> = names().collect();
        assert!(names.windows(2).all(|pair| pair[0] < pair[1]), "{names:?}");
        let mut on_disk = Vec::new();
        for (folder, prefix) in [("", ""), ("part", "part/")] {
            let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join(folder);
            for entry in std::fs::read_dir(folder).unwrap() {
                let name = entry.unwrap().file_name().into_string().unwrap();
                if let Some(stem) = name.strip_suffix(".wgsl") {
                    on_disk.push(format!("{prefix}{stem}"));
                }
            }
        }
        on_disk.sort();
        assert_eq!(names, on_disk);
    }

    #[test]
    fn get_finds_files_and_parts_by_name() {
        assert!(get("part/grid").unwrap().contains("fn flat_group"));
        assert!(get("grid").is_none());
    }
}
