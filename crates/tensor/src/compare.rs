//! Error measures between a result and what was expected. All of them work on the values as f64, of any element type.

use crate::{DType, HostTensor, Shape};

/// Where and how two tensors differ.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum Mismatch {
    /// The element types differ.
    #[error("got dtype {actual}, expected {expected}")]
    DType {
        /// Of the result.
        actual: DType,
        /// What it should be.
        expected: DType,
    },
    /// The shapes differ.
    #[error("got shape {actual}, expected {expected}")]
    Shape {
        /// Of the result.
        actual: Shape,
        /// What it should be.
        expected: Shape,
    },
    /// Elements differ by more than the tolerance.
    #[error(
        "element {index:?} is {actual}, expected {expected}; {count} of {total} elements differ, by at most {max_abs:e}"
    )]
    Value {
        /// The multi-index of the first such element.
        index: Vec<usize>,
        /// Its value.
        actual: f64,
        /// What it should be.
        expected: f64,
        /// How many elements differ.
        count: usize,
        /// Of how many.
        total: usize,
        /// The largest absolute difference; infinite where only one side is finite.
        max_abs: f64,
    },
}

/// Absolute difference; 0 for equal infinities and for two NaN, infinite where only one is NaN.
fn difference(actual: f64, expected: f64) -> f64 {
    if actual == expected || (actual.is_nan() && expected.is_nan()) {
        return 0.0;
    }
    let difference = (actual - expected).abs();
    if difference.is_nan() {
        f64::INFINITY
    } else {
        difference
    }
}

fn same_shape(actual: &HostTensor, expected: &HostTensor) -> Result<(), Mismatch> {
    if actual.shape() == expected.shape() {
        return Ok(());
    }
    Err(Mismatch::Shape {
        actual: actual.shape().clone(),
        expected: expected.shape().clone(),
    })
}

/// Normalised mean square error: the sum of squared differences over the sum of squared expected values. 0 for two
/// tensors that agree; infinite where one side alone is NaN or infinite, and where all expected values are 0 but not the
/// actual ones.
///
/// # Errors
/// [`Mismatch::Shape`]. Element types may differ.
pub fn nmse(actual: &HostTensor, expected: &HostTensor) -> Result<f64, Mismatch> {
    same_shape(actual, expected)?;
    let (mut error, mut power) = (0.0, 0.0);
    for (a, e) in actual.to_f64().into_iter().zip(expected.to_f64()) {
        error += difference(a, e).powi(2);
        power += if e.is_finite() { e * e } else { 0.0 };
    }
    Ok(if error == 0.0 { 0.0 } else { error / power })
}

/// The largest absolute difference; infinite where one side alone is NaN or infinite.
///
/// # Errors
/// [`Mismatch::Shape`]. Element types may differ.
pub fn max_abs_diff(actual: &HostTensor, expected: &HostTensor) -> Result<f64, Mismatch> {
    same_shape(actual, expected)?;
    let pairs = actual.to_f64().into_iter().zip(expected.to_f64());
    Ok(pairs.map(|(a, e)| difference(a, e)).fold(0.0, f64::max))
}

/// Whether dtypes and shapes agree and every element has `|actual - expected| <= atol + rtol * |expected|`. Two NaN agree, and
/// infinities agree with themselves only.
///
/// # Errors
/// A [`Mismatch`] that names the first element that differs.
pub fn allclose(
    actual: &HostTensor,
    expected: &HostTensor,
    rtol: f64,
    atol: f64,
) -> Result<(), Mismatch> {
    if actual.dtype() != expected.dtype() {
        return Err(Mismatch::DType {
            actual: actual.dtype(),
            expected: expected.dtype(),
        });
    }
    same_shape(actual, expected)?;
    let (a, e) = (actual.to_f64(), expected.to_f64());
    let (mut first, mut count, mut max_abs) = (None, 0, 0f64);
    for (i, (&a, &e)) in a.iter().zip(&e).enumerate() {
        let difference = difference(a, e);
        let scale = if e.is_finite() { e.abs() } else { 0.0 };
        if difference > atol + rtol * scale {
            first = first.or(Some(i));
            count += 1;
            max_abs = max_abs.max(difference);
        }
    }
    match first {
        None => Ok(()),
        Some(i) => Err(Mismatch::Value {
            index: multi_index(actual.shape(), i),
            actual: a[i],
            expected: e[i],
            count,
            total: a.len(),
            max_abs,
        }),
    }
}

fn multi_index(shape: &Shape, mut linear: usize) -> Vec<usize> {
    let mut index = vec![0; shape.rank()];
    for (i, &extent) in index.iter_mut().zip(shape.iter()).rev() {
        *i = linear % extent;
        linear /= extent;
    }
    index
}

#[cfg(test)]
mod tests {
    use super::*;

    fn f(values: &[f32]) -> HostTensor {
        HostTensor::from_slice([values.len()], values).unwrap()
    }

    #[test]
    fn measures() {
        let (a, e) = (f(&[1.0, 2.5]), f(&[1.0, 2.0]));
        assert_eq!(nmse(&a, &e), Ok(0.05));
        assert_eq!(max_abs_diff(&a, &e), Ok(0.5));
        assert_eq!(nmse(&f(&[0.0]), &f(&[0.0])), Ok(0.0));
        assert_eq!(nmse(&f(&[1.0]), &f(&[0.0])), Ok(f64::INFINITY));
        assert_eq!(nmse(&f(&[f32::NAN]), &f(&[1.0])), Ok(f64::INFINITY));
        assert!(nmse(&f(&[1.0]), &f(&[1.0, 2.0])).is_err());
    }

    #[test]
    fn allclose_names_the_first_difference() {
        let t = |values: Vec<f32>| HostTensor::from_vec([2, 2], values).unwrap();
        let expected = t(vec![1.0, 2.0, 3.0, 4.0]);
        let actual = t(vec![1.0, 2.0, 3.5, 5.0]);
        let mismatch = allclose(&actual, &expected, 1e-3, 0.0).unwrap_err();
        assert_eq!(
            mismatch.to_string(),
            "element [1, 0] is 3.5, expected 3; 2 of 4 elements differ, by at most 1e0"
        );
        assert_eq!(allclose(&actual, &expected, 0.0, 1.0), Ok(()));
        assert_eq!(allclose(&actual, &expected, 0.25, 0.0), Ok(()));
    }

    #[test]
    fn special_values() {
        let special = f(&[f32::NAN, f32::INFINITY, f32::NEG_INFINITY]);
        assert_eq!(allclose(&special, &special, 0.0, 0.0), Ok(()));
        let other = f(&[f32::NAN, f32::NEG_INFINITY, f32::NEG_INFINITY]);
        assert!(allclose(&other, &special, 1.0, 1.0).is_err());
        assert!(allclose(&f(&[f32::MAX]), &f(&[f32::INFINITY]), 1.0, 1.0).is_err());
        assert!(allclose(&f(&[f32::NAN]), &f(&[0.0]), 1.0, 1.0).is_err());
    }
}
