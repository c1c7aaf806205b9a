//! Cases of Attention.

use super::attention::{Attention, QkOutput};
use crate::op::Case;
use crate::samples;
use tilewright_tensor::{DType, HostTensor};

type Input = Option<HostTensor>;

fn x(shape: &[usize], seed: u64) -> Input {
    Some(samples::uniform(shape, seed))
}

fn base() -> Attention {
    Attention::default()
}

/// Q, K, V for (batch, query heads, key heads, queries, keys, head size, value head size), each with 4 axes.
fn four([b, h, g, s, t, d, e]: [usize; 7]) -> Vec<Input> {
    vec![
        x(&[b, h, s, d], 1),
        x(&[b, g, t, d], 2),
        x(&[b, g, t, e], 3),
    ]
}

/// The same with 3 axes.
fn three([b, h, g, s, t, d, e]: [usize; 7]) -> Vec<Input> {
    vec![
        x(&[b, s, h * d], 1),
        x(&[b, t, g * d], 2),
        x(&[b, t, g * e], 3),
    ]
}

fn with(mut inputs: Vec<Input>, more: Vec<Input>) -> Vec<Input> {
    inputs.extend(more);
    inputs
}

const PLAIN: [usize; 7] = [2, 3, 3, 5, 7, 8, 6];
const GROUPED: [usize; 7] = [2, 6, 2, 5, 7, 8, 10];

pub(super) fn cases() -> Vec<Case> {
    let heads = |h: i64, g: i64| Attention {
        q_num_heads: Some(h),
        kv_num_heads: Some(g),
        ..base()
    };
    let case =
        |name: &str, op: Attention, inputs: Vec<Input>| Case::with_optional(name, op, inputs);
    let scaled = Attention {
        scale: Some(0.05),
        softcap: 0.5,
        ..base()
    };
    let causal = || Attention {
        is_causal: true,
        ..base()
    };
    let mut all = vec![
        case("plain", base(), four(PLAIN)),
        case("grouped heads", base(), four(GROUPED)),
        case("3 axes", heads(3, 3), three(PLAIN)),
        case("3 axes, grouped heads", heads(6, 2), three(GROUPED)),
        case("scale and soft cap", scaled, four(PLAIN)),
        case("causal", causal(), four(PLAIN)),
        case(
            "causal, more queries than keys",
            causal(),
            four([1, 2, 2, 9, 4, 5, 3]),
        ),
        case("one query", base(), four([2, 4, 2, 1, 33, 16, 16])),
        case(
            "more than a tile",
            causal(),
            four([1, 2, 1, 70, 70, 32, 32]),
        ),
        case("large heads", base(), four([1, 1, 1, 3, 20, 256, 200])),
        case("no keys", base(), four([1, 2, 2, 3, 0, 4, 4])),
    ];
    all.extend(masked());
    all.extend(cached());
    all.extend(outputs());
    all.extend([DType::F16, DType::BF16, DType::F64].map(|dtype| {
        let inputs = four(PLAIN).into_iter().map(|t| t?.cast(dtype).ok());
        case(&dtype.to_string(), base(), inputs.collect())
    }));
    all
}

fn masked() -> Vec<Case> {
    let case = |name: &str, op: Attention, mask: HostTensor| {
        Case::with_optional(name, op, with(four(PLAIN), vec![Some(mask)]))
    };
    let causal = || Attention {
        is_causal: true,
        ..base()
    };
    let window = Attention {
        left_window: 2,
        right_window: 1,
        ..base()
    };
    let booleans = |shape: &[usize]| samples::booleans(shape, 5);
    // A row without any key, and one without a limit.
    let mut rows = vec![f32::NEG_INFINITY; 7];
    rows.extend([0.5; 28]);
    vec![
        case("mask of keys", base(), samples::uniform(&[5, 7], 4)),
        case("mask of items", base(), samples::uniform(&[2, 1, 1, 7], 4)),
        case(
            "mask of heads, causal",
            causal(),
            samples::uniform(&[3, 5, 7], 4),
        ),
        case("boolean mask", base(), booleans(&[2, 3, 5, 7])),
        case("boolean mask, causal", causal(), booleans(&[2, 1, 5, 7])),
        case("short mask", base(), samples::uniform(&[5, 4], 4)),
        case("short boolean mask", base(), booleans(&[1, 1, 5, 3])),
        case("line of booleans", base(), booleans(&[7])),
        case("hidden row", base(), samples::of(&[5, 7], &rows)),
        case(
            "window and mask",
            window.clone(),
            samples::uniform(&[5, 7], 4),
        ),
        Case::with_optional("window", window, four([1, 2, 1, 9, 9, 4, 4])),
    ]
}

fn cached() -> Vec<Case> {
    let causal = || Attention {
        is_causal: true,
        ..base()
    };
    let past = |heads: usize, d: usize, e: usize| {
        vec![None, x(&[2, heads, 4, d], 6), x(&[2, heads, 4, e], 7)]
    };
    let valid = |lengths: &[i64]| vec![None, None, None, Some(samples::ints(lengths))];
    let window = Attention {
        left_window: 3,
        ..causal()
    };
    let three_axes = Attention {
        q_num_heads: Some(6),
        kv_num_heads: Some(2),
        ..causal()
    };
    let case =
        |name: &str, op: Attention, inputs: Vec<Input>| Case::with_optional(name, op, inputs);
    vec![
        case("past", base(), with(four(PLAIN), past(3, 8, 6))),
        case(
            "past, causal",
            causal(),
            with(four(GROUPED), past(2, 8, 10)),
        ),
        case(
            "past, 3 axes",
            three_axes,
            with(three(GROUPED), past(2, 8, 10)),
        ),
        case("valid keys", base(), with(four(PLAIN), valid(&[3, 7]))),
        case(
            "valid keys, causal",
            causal(),
            with(four(PLAIN), valid(&[3, 6])),
        ),
        case(
            "valid keys, window",
            window,
            with(four(GROUPED), valid(&[5, 7])),
        ),
    ]
}

fn outputs() -> Vec<Case> {
    let of = |qk_output: QkOutput| {
        let op = Attention {
            qk_output,
            softcap: 0.7,
            is_causal: true,
            ..base()
        };
        let mask = vec![x(&[5, 7], 4)];
        Case::with_optional(
            &format!("{qk_output:?} scores"),
            op,
            with(four(PLAIN), mask),
        )
    };
    vec![
        of(QkOutput::Raw),
        of(QkOutput::Capped),
        of(QkOutput::Softmax),
    ]
}
