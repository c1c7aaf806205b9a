//! The data of all benches: element i of tensor t is a hash of both, so that every peer makes the same without being sent it.

use crate::Failure;
use tilewright::tensor::f16;
use tilewright::{DType, HostTensor};

/// Elements of a result that are compared.
pub(super) const SAMPLES: usize = 64;

/// PCG's output function (RXS-M-XS, O'Neill 2014) of a number for each element.
fn hash(tensor: usize, at: usize) -> u32 {
    let (t, i) = ((tensor as u32).wrapping_add(1), (at as u32).wrapping_add(1));
    let u = i
        .wrapping_mul(747_796_405)
        .wrapping_add(t.wrapping_mul(2_891_336_453));
    let u = ((u >> ((u >> 28) + 4)) ^ u).wrapping_mul(277_803_737);
    (u >> 22) ^ u
}

/// Element `at` of a tensor of floats, in -1..1, exact in f32.
pub(super) fn float(tensor: usize, at: usize) -> f32 {
    (hash(tensor, at) >> 8) as f32 / (1 << 23) as f32 - 1.0
}

/// Element `at` of a tensor of integers, 0 to 99.
fn integer(tensor: usize, at: usize) -> i64 {
    i64::from(hash(tensor, at) % 100)
}

/// [`float`] as a type stores it.
pub(super) fn rounded(dtype: DType, tensor: usize, at: usize) -> f64 {
    let value = float(tensor, at);
    match dtype {
        DType::F16 => f64::from(f16::from_f32(value).to_f32()),
        _ => f64::from(value),
    }
}

/// A whole tensor: f32, f16 or i64. `order` gives the index of each element's value.
///
/// # Errors
/// A message for other types, and where there is no memory.
pub(super) fn tensor(
    dtype: DType,
    number: usize,
    shape: &[usize],
    order: impl Fn(usize) -> usize,
) -> Result<HostTensor, Failure> {
    let count = shape.iter().product();
    let of = 0..count;
    Ok(match dtype {
        DType::F32 => HostTensor::from_vec(shape, of.map(|i| float(number, order(i))).collect())?,
        DType::F16 => {
            let half = of.map(|i| f16::from_f32(float(number, order(i))));
            HostTensor::from_vec(shape, half.collect())?
        }
        DType::I64 => HostTensor::from_vec(shape, of.map(|i| integer(number, order(i))).collect())?,
        other => {
            return Err(format!("no data for an input of {other}: only f32, f16 and i64").into());
        }
    })
}

/// Elements to compare of a result of so many: the first, the last, and others that hit every remainder of tiles.
pub(super) fn points(count: usize) -> Vec<usize> {
    let spread = (2..SAMPLES).map(|i| hash(7, i) as usize % count.max(1));
    let mut points: Vec<usize> = [0, count.saturating_sub(1)]
        .into_iter()
        .chain(spread)
        .collect();
    points.sort_unstable();
    points.dedup();
    points
}

/// Mean square error over mean square of what was expected. What is no number, or infinite, agrees with itself alone; else the
/// error is infinite.
pub(super) fn nmse(got: &[f64], expected: &[f64]) -> f64 {
    let (mut error, mut power) = (0.0, 0.0);
    for (&g, &x) in got.iter().zip(expected) {
        let same = g == x || g.is_nan() && x.is_nan();
        error += if same { 0.0 } else { (g - x).powi(2) };
        power += if x.is_finite() { x * x } else { 0.0 };
    }
    match error / power {
        _ if got.len() != expected.len() => f64::INFINITY,
        _ if error == 0.0 => 0.0,
        ratio if ratio.is_finite() => ratio,
        _ => f64::INFINITY,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Computed by the formula of the protocol in Python.
    #[test]
    fn elements_are_those_of_the_protocol() {
        assert_eq!(
            [hash(0, 0), hash(0, 1), hash(1, 0)],
            [2_831_084_092, 2_055_130_248, 2_196_217_084]
        );
        assert_eq!(hash(2, 123_456_789), 1_788_711_183);
        assert_eq!(f64::from(float(0, 0)), 0.318_326_234_817_504_9);
        assert_eq!((integer(0, 0), integer(1, 0)), (92, 84));
        let t = tensor(DType::F32, 1, &[2, 2], |i| i).unwrap();
        assert_eq!(t.as_slice::<f32>().unwrap()[0], float(1, 0));
        assert!(tensor(DType::Bool, 0, &[1], |i| i).is_err());
    }

    #[test]
    fn points_are_different_and_inside() {
        for count in [1, 2, 63, 1000] {
            let points = points(count);
            assert!(points.windows(2).all(|p| p[0] < p[1]), "{points:?}");
            assert!(
                points.contains(&0)
                    && points.contains(&(count - 1))
                    && points.last() < Some(&count)
            );
        }
    }

    #[test]
    fn errors_are_relative_and_never_hidden() {
        assert_eq!(nmse(&[1.0, 2.0], &[1.0, 2.0]), 0.0);
        assert_eq!(nmse(&[0.0, 0.0], &[0.0, 0.0]), 0.0);
        assert_eq!(nmse(&[1.0, 0.0], &[1.0, 2.0]), 0.8);
        let (nan, inf) = (f64::NAN, f64::INFINITY);
        assert_eq!(nmse(&[nan, inf, 1.0], &[nan, inf, 1.0]), 0.0);
        for wrong in [nan, inf] {
            assert_eq!(nmse(&[wrong, 2.0], &[1.0, 2.0]), inf);
            assert_eq!(nmse(&[1.0, 2.0], &[wrong, 2.0]), inf);
        }
        assert_eq!(nmse(&[1.0], &[0.0]), f64::INFINITY);
        assert_eq!(nmse(&[1.0], &[1.0, 2.0]), f64::INFINITY);
    }
}
