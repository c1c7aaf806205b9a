//! The loops of matrix products and convolutions on the host.
//!
//! Floats are summed in f64; 8-bit products are exact there too. Wide integers are summed modulo 2^64.

use super::window::Slide;
use crate::Result;
use std::num::Wrapping;
use std::ops::{AddAssign, Mul};
use tilewright_tensor::{DType, HostTensor};

/// A number that products are summed in.
pub(super) trait Term: Copy + Default + AddAssign + Mul<Output = Self> {
    /// The elements of a tensor.
    fn read(tensor: &HostTensor) -> Result<Vec<Self>>;
    /// A tensor of `dtype`, rounded or wrapped.
    fn write(dtype: DType, shape: &[usize], values: Vec<Self>) -> Result<HostTensor>;
}

impl Term for f64 {
    fn read(tensor: &HostTensor) -> Result<Vec<f64>> {
        Ok(tensor.to_f64())
    }

    fn write(dtype: DType, shape: &[usize], values: Vec<f64>) -> Result<HostTensor> {
        Ok(HostTensor::from_f64(dtype, shape, values)?)
    }
}

impl Term for Wrapping<i64> {
    fn read(tensor: &HostTensor) -> Result<Vec<Wrapping<i64>>> {
        let whole = tensor.cast(DType::I64)?;
        Ok(whole.as_slice()?.iter().copied().map(Wrapping).collect())
    }

    fn write(dtype: DType, shape: &[usize], values: Vec<Self>) -> Result<HostTensor> {
        let values = values.into_iter().map(|v| v.0).collect();
        Ok(HostTensor::from_i64(dtype, shape, values)?)
    }
}

/// `out[m, n] += a[m, k] * b[k, n]`. Four rows share each row of `b`, so that it is read from memory less often.
pub(super) fn multiply<T: Term>(a: &[T], b: &[T], out: &mut [T], k: usize, n: usize) {
    if k == 0 || n == 0 {
        return;
    }
    for (a, out) in a.chunks(4 * k).zip(out.chunks_mut(4 * n)) {
        if a.len() < 4 * k {
            for (a, out) in a.chunks(k).zip(out.chunks_mut(n)) {
                for (&a, b) in a.iter().zip(b.chunks(n)) {
                    for (o, &b) in out.iter_mut().zip(b) {
                        *o += a * b;
                    }
                }
            }
            continue;
        }
        let (upper, lower) = out.split_at_mut(2 * n);
        let ((o0, o1), (o2, o3)) = (upper.split_at_mut(n), lower.split_at_mut(n));
        for (i, b) in b.chunks(n).enumerate() {
            let (a0, a1, a2, a3) = (a[i], a[k + i], a[2 * k + i], a[3 * k + i]);
            let pairs = o0.iter_mut().zip(o1.iter_mut());
            let rows = pairs.zip(o2.iter_mut().zip(o3.iter_mut()));
            for (((o0, o1), (o2, o3)), &b) in rows.zip(b) {
                *o0 += a0 * b;
                *o1 += a1 * b;
                *o2 += a2 * b;
                *o3 += a3 * b;
            }
        }
    }
}

/// Sizes of a convolution: channels are those of one group.
pub(super) struct Convolution {
    pub(super) batch: usize,
    pub(super) groups: usize,
    /// Channels on the side with more places (the input of a convolution, the output of a transposed one).
    pub(super) fine: usize,
    /// Channels on the side with one place a window.
    pub(super) coarse: usize,
    pub(super) slides: [Slide; 3],
}

impl Convolution {
    fn planes(&self) -> (usize, usize, usize) {
        let product = |f: fn(&Slide) -> usize| self.slides.iter().map(f).product();
        (
            product(|s| s.input),
            product(|s| s.output),
            product(|s| s.kernel),
        )
    }

    /// A kernel of one place at every element is a product; its planes are single rows then.
    fn flattened(&self) -> [Slide; 3] {
        if !self.slides.iter().all(Slide::is_identity) {
            return self.slides;
        }
        let input = self.planes().0;
        let line = Slide {
            input,
            output: input,
            ..Slide::POINT
        };
        [Slide::POINT, Slide::POINT, line]
    }

    /// `y[n, o, window] += x[n, c, place] * w[o, c, tap]`: x is the fine side, y the coarse one.
    pub(super) fn forward(&self, x: &[f64], w: &[f64], y: &mut [f64]) {
        let (fine_plane, coarse_plane, taps) = self.planes();
        let slides = self.flattened();
        self.each_pair(|fine, coarse, pair| {
            let x = &x[fine * fine_plane..][..fine_plane];
            let y = &mut y[coarse * coarse_plane..][..coarse_plane];
            let w = &w[(pair.0 * self.fine + pair.1) * taps..][..taps];
            each_row(&slides, |tap, fine, coarse, len, stride| {
                let (w, y) = (w[tap], &mut y[coarse..coarse + len]);
                if stride == 1 {
                    for (y, &x) in y.iter_mut().zip(&x[fine..]) {
                        *y += w * x;
                    }
                } else {
                    for (y, &x) in y.iter_mut().zip(x[fine..].iter().step_by(stride)) {
                        *y += w * x;
                    }
                }
            });
        });
    }

    /// `y[n, c, place] += x[n, o, window] * w[o, c, tap]`: x is the coarse side, y the fine one.
    pub(super) fn backward(&self, x: &[f64], w: &[f64], y: &mut [f64]) {
        let (fine_plane, coarse_plane, taps) = self.planes();
        let slides = self.flattened();
        self.each_pair(|fine, coarse, pair| {
            let y = &mut y[fine * fine_plane..][..fine_plane];
            let x = &x[coarse * coarse_plane..][..coarse_plane];
            let w = &w[(pair.0 * self.fine + pair.1) * taps..][..taps];
            each_row(&slides, |tap, fine, coarse, len, stride| {
                let (w, x) = (w[tap], &x[coarse..coarse + len]);
                for (y, &x) in y[fine..].iter_mut().step_by(stride).zip(x) {
                    *y += w * x;
                }
            });
        });
    }

    /// Calls `f` with the plane of the fine side, that of the coarse side, and (coarse channel over all groups, fine
    /// channel of the group), which pick the weight.
    fn each_pair(&self, mut f: impl FnMut(usize, usize, (usize, usize))) {
        for n in 0..self.batch {
            for o in 0..self.groups * self.coarse {
                let group = o / self.coarse.max(1);
                for c in 0..self.fine {
                    let fine = (n * self.groups + group) * self.fine + c;
                    f(fine, n * self.groups * self.coarse + o, (o, c));
                }
            }
        }
    }
}

/// Calls `f` for each row of windows and each tap with the tap's index, the offset of the first element on the fine
/// side, that of the first window, the number of windows, and the stride.
fn each_row(slides: &[Slide; 3], mut f: impl FnMut(usize, usize, usize, usize, usize)) {
    let [s0, s1, s2] = slides;
    for t0 in 0..s0.kernel {
        for t1 in 0..s1.kernel {
            for t2 in 0..s2.kernel {
                let tap = (t0 * s1.kernel + t1) * s2.kernel + t2;
                let row = s2.outputs_of(t2);
                if row.is_empty() {
                    continue;
                }
                for o0 in s0.outputs_of(t0) {
                    for o1 in s1.outputs_of(t1) {
                        let line = s0.at(o0, t0) * s1.input + s1.at(o1, t1);
                        let fine = line * s2.input + s2.at(row.start, t2);
                        let coarse = (o0 * s1.output + o1) * s2.output + row.start;
                        f(tap, fine, coarse, row.len(), s2.stride);
                    }
                }
            }
        }
    }
}
