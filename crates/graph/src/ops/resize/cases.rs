//! Test cases of Resize.

use super::*;
use crate::samples;
use tilewright_tensor::DType;

fn x(shape: &[usize]) -> HostTensor {
    samples::uniform(shape, 1)
}

fn scaled(name: &str, op: Resize, x: HostTensor, scales: &[f32]) -> Case {
    let scales = samples::of(&[scales.len()], scales);
    Case::with_optional(name, op, vec![Some(x), None, Some(scales)]).constant(&[2])
}

fn sized(name: &str, op: Resize, x: HostTensor, sizes: &[i64]) -> Case {
    let sizes = samples::ints(sizes);
    Case::with_optional(name, op, vec![Some(x), None, None, Some(sizes)]).constant(&[3])
}

fn mode(mode: ResizeMode) -> Resize {
    Resize {
        mode,
        ..Resize::default()
    }
}

pub(super) fn cases() -> Vec<Case> {
    use ResizeMode::{Cubic, Linear, Nearest};
    let mut cases = plain();
    for (name, transform) in TRANSFORMS {
        for m in [Nearest, Linear, Cubic] {
            if *transform == Transform::TfCropAndResize {
                continue;
            }
            let op = Resize {
                transform: *transform,
                ..mode(m)
            };
            let name = format!("{name}, {m:?}");
            cases.push(scaled(&name, op, x(&[1, 2, 5, 4]), &[1., 1., 1.7, 0.6]));
        }
    }
    for (name, nearest) in NEAREST {
        let op = Resize {
            nearest: *nearest,
            transform: Transform::Asymmetric,
            ..mode(Nearest)
        };
        cases.push(sized(name, op, x(&[1, 2, 6, 4]), &[1, 2, 4, 8]));
    }
    for (name, policy) in POLICIES {
        let op = Resize {
            policy: *policy,
            axes: vec![2, -1],
            ..mode(Linear)
        };
        // The sizes are needed as numbers, so nothing may be symbolic.
        let case = sized(name, op, x(&[1, 2, 4, 8]), &[7, 9]);
        cases.push(case.constant(&[0, 3]));
    }
    cases.extend(filtered());
    cases.extend(cropped());
    let ints = samples::integers(DType::I64, &[1, 2, 3, 4], 1, -50, 50);
    cases.push(scaled("i64", mode(Nearest), ints, &[1., 1., 2., 1.5]));
    let half = x(&[1, 2, 3, 4]).cast(DType::F16);
    let half = half.expect("f32 to f16 always works");
    cases.push(scaled("f16", mode(Linear), half, &[1., 1., 2., 1.5]));
    cases
}

fn plain() -> Vec<Case> {
    use ResizeMode::{Cubic, Linear, Nearest};
    vec![
        scaled("twice", mode(Nearest), x(&[2, 3, 4, 5]), &[1., 1., 2., 2.]),
        scaled(
            "twice, linear",
            mode(Linear),
            x(&[1, 4, 4, 6]),
            &[1., 1., 2., 2.],
        ),
        scaled(
            "down, cubic",
            mode(Cubic),
            x(&[1, 2, 7, 9]),
            &[1., 1., 0.6, 0.8],
        ),
        scaled("1-D", mode(Linear), x(&[2, 3, 7]), &[1., 1., 2.5]),
        scaled(
            "3-D",
            mode(Linear),
            x(&[1, 2, 3, 4, 3]),
            &[1., 1., 2., 1.5, 3.],
        ),
        scaled(
            "other axes",
            mode(Linear),
            x(&[3, 4, 5, 2]),
            &[2., 1., 1.5, 1.],
        ),
        sized("to sizes", mode(Linear), x(&[1, 2, 5, 6]), &[1, 2, 7, 4]),
        sized("one element", mode(Cubic), x(&[1, 2, 5, 6]), &[1, 2, 1, 1]),
    ]
}

fn filtered() -> Vec<Case> {
    let mut cases = vec![];
    for m in [ResizeMode::Linear, ResizeMode::Cubic] {
        for (antialias, exclude_outside) in [(true, false), (false, true), (true, true)] {
            let op = Resize {
                antialias,
                exclude_outside,
                cubic_a: -0.5,
                ..mode(m)
            };
            let name = format!("{m:?}, antialias {antialias}, exclude {exclude_outside}");
            cases.push(scaled(&name, op, x(&[1, 2, 9, 7]), &[1., 1., 0.4, 1.3]));
        }
    }
    cases
}

fn cropped() -> Vec<Case> {
    let region = samples::of(&[4], &[0.2f32, -0.3, 0.7, 1.2]);
    let case = |m| {
        let op = Resize {
            transform: Transform::TfCropAndResize,
            axes: vec![2, 3],
            extrapolation: 10.0,
            ..mode(m)
        };
        let sizes = samples::ints(&[3, 5]);
        let inputs = vec![
            Some(x(&[1, 2, 6, 7])),
            Some(region.clone()),
            None,
            Some(sizes),
        ];
        Case::with_optional(&format!("cropped, {m:?}"), op, inputs).constant(&[1, 3])
    };
    vec![
        case(ResizeMode::Nearest),
        case(ResizeMode::Linear),
        case(ResizeMode::Cubic),
    ]
}
