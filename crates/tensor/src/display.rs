//! Short printed forms of tensors.

use std::fmt;

use crate::HostTensor;

/// Tensors up to this many elements are printed whole.
const WHOLE: usize = 32;
/// Elements kept at each end of an axis in a summary.
const EDGE: usize = 3;

/// `f32[2, 3] [[1, 2, 3], [4, 5, 6]]`; more than 32 elements print three at each end of an axis.
impl fmt::Display for HostTensor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}{} ", self.dtype(), self.shape())?;
        self.fmt_axis(f, 0, 0, self.len() > WHOLE)
    }
}

impl fmt::Debug for HostTensor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl HostTensor {
    fn fmt_axis(
        &self,
        f: &mut fmt::Formatter<'_>,
        axis: usize,
        start: usize,
        summary: bool,
    ) -> fmt::Result {
        let Some(&extent) = self.shape().get(axis) else {
            return self.fmt_element(f, start);
        };
        // An empty tensor can have enormous outer extents.
        if self.is_empty() {
            return f.write_str("[]");
        }
        let stride: usize = self.shape()[axis + 1..].iter().product();
        let skip = summary && extent > 2 * EDGE;
        f.write_str("[")?;
        for i in 0..extent {
            if skip && i == EDGE {
                f.write_str(", ...")?;
            }
            if skip && (EDGE..extent - EDGE).contains(&i) {
                continue;
            }
            if i > 0 {
                f.write_str(", ")?;
            }
            self.fmt_axis(f, axis + 1, start + i * stride, summary)?;
        }
        f.write_str("]")
    }

    fn fmt_element(&self, f: &mut fmt::Formatter<'_>, at: usize) -> fmt::Result {
        let Ok(one) = self.select([], [at]) else {
            return Err(fmt::Error);
        };
        if let Ok(&[value]) = one.as_slice::<f32>() {
            // As f32, so that 0.1 is not printed with the digits of its f64 value.
            return write!(f, "{value}");
        }
        match one.to_i64().as_deref() {
            Ok([value]) => write!(f, "{value}"),
            _ => write!(f, "{}", one.to_f64()[0]),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::DType;

    #[test]
    fn small_tensors_print_whole() {
        let t = HostTensor::from_vec([2, 2], vec![0.1f32, 2.0, f32::NAN, -0.5]).unwrap();
        assert_eq!(t.to_string(), "f32[2, 2] [[0.1, 2], [NaN, -0.5]]");
        assert_eq!(HostTensor::scalar(7u64).to_string(), "u64[] 7");
        let empty = HostTensor::zeros(DType::Bool, [9, 0]).unwrap();
        assert_eq!(empty.to_string(), "bool[9, 0] []");
    }

    #[test]
    fn large_tensors_print_their_ends() {
        let t = HostTensor::from_i64(DType::I32, [100], (0..100).collect()).unwrap();
        assert_eq!(t.to_string(), "i32[100] [0, 1, 2, ..., 97, 98, 99]");
        let t = HostTensor::zeros(DType::F16, [2, 50]).unwrap();
        assert_eq!(
            t.to_string(),
            "f16[2, 50] [[0, 0, 0, ..., 0, 0, 0], [0, 0, 0, ..., 0, 0, 0]]"
        );
    }
}
