//! DFT and STFT: discrete Fourier transforms. The last axis holds real and imaginary parts.

use crate::dim::Dim;
use crate::fact::{Facts, Tensors, Values, axis_index};
use crate::op::{Case, Operator};
use crate::{Attrs, Error, Fact, Result, samples};
use std::f64::consts::TAU;
use tilewright_tensor::{DType, HostTensor};

/// A complex number.
type Complex = (f64, f64);

/// sum_n x\[n\] e^(-+ 2 pi i k n / N) for all k; the sign is plus for the inverse, which is not scaled. Even lengths are
/// halved as Cooley and Tukey do, odd ones summed by the formula.
fn transform(x: &[Complex], inverse: bool) -> Vec<Complex> {
    let n = x.len();
    let turn = |k: usize| {
        let angle = TAU * k as f64 / n as f64;
        let sine = angle.sin();
        (angle.cos(), if inverse { sine } else { -sine })
    };
    let times = |a: Complex, b: Complex| (a.0 * b.0 - a.1 * b.1, a.0 * b.1 + a.1 * b.0);
    if n > 1 && n % 2 == 0 {
        let part = |first: usize| -> Vec<Complex> {
            let half: Vec<Complex> = x[first..].iter().step_by(2).copied().collect();
            transform(&half, inverse)
        };
        let (even, odd) = (part(0), part(1));
        let mut out = vec![(0.0, 0.0); n];
        for k in 0..n / 2 {
            let (a, b) = (even[k], times(odd[k], turn(k)));
            out[k] = (a.0 + b.0, a.1 + b.1);
            out[k + n / 2] = (a.0 - b.0, a.1 - b.1);
        }
        return out;
    }
    let turns: Vec<Complex> = (0..n).map(turn).collect();
    let sum = |k: usize| {
        x.iter().enumerate().fold((0.0, 0.0), |sum, (i, &x)| {
            let term = times(x, turns[k * i % n]);
            (sum.0 + term.0, sum.1 + term.1)
        })
    };
    (0..n).map(sum).collect()
}

/// The first of real and, if there is one, of imaginary parts.
fn complex(of: &[f64]) -> Complex {
    (of[0], of.get(1).copied().unwrap_or(0.0))
}

/// ONNX DFT-20. Inputs: the signal \[.., 1 or 2\], its length along the axis (scalar, may be left out), the axis (scalar,
/// -2 if left out).
#[derive(Clone, Debug)]
pub struct Dft {
    /// The inverse transform, divided by the length.
    pub inverse: bool,
    /// Only the first half of a spectrum is written; with `inverse`, only that half is read and the result is real.
    pub onesided: bool,
}

impl Dft {
    /// The axis and the length of the transform; `given` is input 1.
    fn plan(&self, shape: &[Dim], axis: i64, given: Option<Dim>) -> Result<(usize, Dim)> {
        let axis = axis_index("DFT", axis, shape.len())?;
        if axis + 1 == shape.len() {
            return Err(Error::op(
                "DFT",
                "the last axis holds the parts of the numbers",
            ));
        }
        let own = shape[axis].clone();
        let length = given.unwrap_or_else(|| {
            if self.inverse && self.onesided {
                (own - Dim::from(1i64)) * Dim::from(2i64)
            } else {
                own
            }
        });
        Ok((axis, length))
    }

    fn shape(&self, shape: &[Dim], axis: usize, length: Dim) -> Vec<Dim> {
        let mut out = shape.to_vec();
        out[axis] = if self.onesided && !self.inverse {
            length.floor_div(&Dim::from(2i64)) + Dim::from(1i64)
        } else {
            length
        };
        let parts = if self.onesided && self.inverse { 1 } else { 2 };
        out[shape.len() - 1] = Dim::from(parts as i64);
        out
    }

    /// One line of the signal, cut or padded to `n`, transformed.
    fn line(&self, signal: &[Complex], n: usize) -> Vec<Complex> {
        let at = |k: usize| signal.get(k).copied().unwrap_or((0.0, 0.0));
        let whole = |k: usize| {
            if !(self.inverse && self.onesided) || 2 * k <= n {
                return at(k);
            }
            let (re, im) = at(n - k);
            (re, -im)
        };
        let input: Vec<Complex> = (0..n).map(whole).collect();
        let mut out = transform(&input, self.inverse);
        if self.inverse {
            for (re, im) in &mut out {
                *re /= n as f64;
                *im /= n as f64;
            }
        }
        out
    }
}

fn scalar_axis(axis: Option<Vec<i64>>) -> i64 {
    axis.and_then(|v| v.first().copied()).unwrap_or(-2)
}

impl Operator for Dft {
    const NAMES: &'static [&'static str] = &["DFT"];

    fn attrs(&self) -> Attrs {
        Attrs::new("DFT")
            .with("inverse", self.inverse)
            .with("onesided", self.onesided)
    }

    fn from_attrs(_: &str, attrs: &Attrs) -> Result<Self> {
        Ok(Dft {
            inverse: attrs.or("inverse", false)?,
            onesided: attrs.or("onesided", false)?,
        })
    }

    fn infer(&self, inputs: Facts<'_>) -> Result<Vec<Fact>> {
        let x = inputs.req(0)?;
        let given = inputs.opt_dims(1)?.and_then(|v| v.first().cloned());
        let (axis, length) = self.plan(&x.shape, scalar_axis(inputs.opt_ints(2)?), given)?;
        Ok(vec![Fact::new(x.dtype, self.shape(&x.shape, axis, length))])
    }

    fn work(&self, inputs: Facts<'_>, outputs: &[Fact]) -> u64 {
        // At worst every element of a line meets every other.
        let length = outputs
            .iter()
            .flat_map(|y| (0..y.rank()).map(|a| y.extent(a)))
            .max();
        crate::op::per_output(inputs, outputs, length.unwrap_or(0).saturating_mul(2))
    }

    fn reference(&self, inputs: Tensors<'_>) -> Result<Vec<HostTensor>> {
        let x = inputs.req(0)?;
        let dims = super::moving::dims(x.shape());
        let given = inputs.opt_ints(1)?.and_then(|v| v.first().copied());
        let axis = scalar_axis(inputs.opt_ints(2)?);
        let (axis, length) = self.plan(&dims, axis, given.map(Dim::from))?;
        let shape = super::moving::sizes(&self.shape(&dims, axis, length.clone()))?;
        let length = super::moving::sizes(&[length])?[0];
        let parts = x.shape()[x.rank() - 1];
        if !matches!(parts, 1 | 2) {
            return Err(inputs.error(format!("the last axis has {parts} elements, not 1 or 2")));
        }
        let inner: usize = x.shape()[axis + 1..x.rank() - 1].iter().product();
        let (from, to) = (x.shape()[axis], shape[axis]);
        let outer: usize = shape[..axis].iter().product();
        let out_parts = shape[shape.len() - 1];
        let values = x.to_f64();
        let mut out = vec![0.0; shape.iter().product()];
        for line in 0..outer * inner {
            let (o, i) = (line / inner, line % inner);
            let signal: Vec<Complex> = (0..from)
                .map(|k| complex(&values[((o * from + k) * inner + i) * parts..][..parts]))
                .collect();
            let result = self.line(&signal, length);
            for (k, (re, im)) in result.into_iter().take(to).enumerate() {
                let at = ((o * to + k) * inner + i) * out_parts;
                out[at] = re;
                if out_parts == 2 {
                    out[at + 1] = im;
                }
            }
        }
        Ok(vec![HostTensor::from_f64(x.dtype(), shape, out)?])
    }

    fn cases() -> Vec<Case> {
        let real = |shape: &[usize]| samples::uniform(shape, 1);
        let op = |inverse, onesided| Dft { inverse, onesided };
        let int = |v: i64| Some(HostTensor::scalar(v));
        let case = |name: &str, op: Dft, x: HostTensor, length: Option<i64>, axis: Option<i64>| {
            let inputs = vec![Some(x), length.and_then(int), axis.and_then(int)];
            Case::with_optional(name, op, inputs).constant(&[1, 2])
        };
        let wide = real(&[2, 5, 2]).cast(DType::F64).expect("floats convert");
        vec![
            case("real", op(false, false), real(&[2, 6, 1]), None, None),
            case("complex", op(false, false), real(&[2, 5, 2]), None, None),
            case(
                "another axis",
                op(false, false),
                real(&[4, 3, 5, 2]),
                None,
                Some(0),
            ),
            case("onesided", op(false, true), real(&[2, 7, 1]), None, None),
            case(
                "padded",
                op(false, true),
                real(&[2, 7, 1]),
                Some(12),
                Some(1),
            ),
            case("cut", op(false, false), real(&[2, 7, 2]), Some(4), Some(1)),
            case("inverse", op(true, false), real(&[2, 12, 2]), None, None),
            case("back to real", op(true, true), real(&[2, 5, 2]), None, None),
            case(
                "back to an odd length",
                op(true, true),
                real(&[2, 5, 2]),
                Some(9),
                None,
            ),
            case("f64", op(false, false), wide, None, None),
        ]
    }
}

/// ONNX STFT-17: DFTs of windows that slide over a signal. Inputs: the signal \[batch, length, 1 or 2\], the step, the
/// window (1-D, ones if left out) and the frame's length (the window's or the signal's if left out).
#[derive(Clone, Debug)]
pub struct Stft {
    /// Only the first half of each spectrum is written.
    pub onesided: bool,
}

impl Stft {
    /// The output's shape, from the signal's, the step, and the frame's length.
    fn shape(&self, signal: &[Dim], step: i64, frame: Dim) -> Result<Vec<Dim>> {
        let [batch, length, _] = signal else {
            let what = format!("the signal must have 3 axes, got {}", signal.len());
            return Err(Error::op("STFT", what));
        };
        if step <= 0 {
            return Err(Error::op("STFT", format!("frame_step is {step}")));
        }
        let one = || Dim::from(1i64);
        let frames = (length.clone() - frame.clone()).floor_div(&step.into()) + one();
        if frames.known().is_some_and(|n| n < 0) {
            return Err(Error::op(
                "STFT",
                format!("a frame of {frame} in a signal of {length}"),
            ));
        }
        let bins = if self.onesided {
            frame.floor_div(&2i64.into()) + one()
        } else {
            frame
        };
        Ok(vec![batch.clone(), frames, bins, 2i64.into()])
    }
}

impl Operator for Stft {
    const NAMES: &'static [&'static str] = &["STFT"];

    fn attrs(&self) -> Attrs {
        Attrs::new("STFT").with("onesided", self.onesided)
    }

    fn from_attrs(_: &str, attrs: &Attrs) -> Result<Self> {
        Ok(Stft {
            onesided: attrs.or("onesided", true)?,
        })
    }

    fn infer(&self, inputs: Facts<'_>) -> Result<Vec<Fact>> {
        let signal = inputs.req(0)?;
        let step = inputs.ints(1)?.first().copied().unwrap_or(0);
        let given = inputs.opt_dims(3)?.and_then(|v| v.first().cloned());
        let window = inputs.opt(2).and_then(|w| w.shape.first().cloned());
        let whole = signal.shape.get(1).cloned();
        let frame = given.or(window).or(whole).unwrap_or(0i64.into());
        Ok(vec![Fact::new(
            signal.dtype,
            self.shape(&signal.shape, step, frame)?,
        )])
    }

    fn work(&self, inputs: Facts<'_>, outputs: &[Fact]) -> u64 {
        let length = outputs.first().map_or(0, |y| y.extent(2));
        crate::op::per_output(inputs, outputs, length.saturating_mul(4))
    }

    fn reference(&self, inputs: Tensors<'_>) -> Result<Vec<HostTensor>> {
        let signal = inputs.req(0)?;
        let step = inputs.ints(1)?.first().copied().unwrap_or(0);
        let given = inputs.opt_ints(3)?.and_then(|v| v.first().copied());
        let window = inputs.opt_floats(2)?;
        let dims = super::moving::dims(signal.shape());
        let whole = dims.get(1).and_then(Dim::known);
        let frame = given
            .or(window.as_ref().map(|w| w.len() as i64))
            .or(whole)
            .unwrap_or(0);
        let shape = super::moving::sizes(&self.shape(&dims, step, frame.into())?)?;
        let (frame, step) = (frame as usize, step as usize);
        if window.as_ref().is_some_and(|w| w.len() != frame) {
            return Err(inputs.error(format!("the window must have {frame} elements")));
        }
        let (length, parts) = (signal.shape()[1], signal.shape()[2]);
        if !matches!(parts, 1 | 2) {
            return Err(inputs.error(format!("the last axis has {parts} elements, not 1 or 2")));
        }
        let values = signal.to_f64();
        let mut out = Vec::with_capacity(shape.iter().product());
        for row in 0..shape[0] * shape[1] {
            let (item, number) = (row / shape[1], row % shape[1]);
            let at = |i: usize| (item * length + number * step + i) * parts;
            let weight = |i: usize| window.as_ref().map_or(1.0, |w| w[i]);
            let weighted = |i: usize| {
                let (re, im) = complex(&values[at(i)..][..parts]);
                (re * weight(i), im * weight(i))
            };
            let frame: Vec<Complex> = (0..frame).map(weighted).collect();
            let spectrum = transform(&frame, false);
            out.extend(spectrum.iter().take(shape[2]).flat_map(|c| [c.0, c.1]));
        }
        Ok(vec![HostTensor::from_f64(signal.dtype(), shape, out)?])
    }

    fn cases() -> Vec<Case> {
        let x = |parts: usize| Some(samples::uniform(&[2, 40, parts], 1));
        let int = |v: i64| Some(HostTensor::scalar(v));
        let window = || Some(samples::between(&[16], 2, 0.0, 1.0));
        let case = |name: &str, onesided: bool, inputs: Vec<Option<HostTensor>>| {
            Case::with_optional(name, Stft { onesided }, inputs).constant(&[1, 3])
        };
        vec![
            case("window", true, vec![x(1), int(8), window()]),
            case(
                "window and length",
                true,
                vec![x(1), int(5), window(), int(16)],
            ),
            case("length", true, vec![x(1), int(7), None, int(11)]),
            case("complex", false, vec![x(2), int(8), window()]),
            case("one frame", true, vec![x(1), int(1)]),
        ]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn halving_agrees_with_the_sum() {
        let x: Vec<Complex> = (0..12)
            .map(|i| (f64::from(i).sin(), f64::from(i * i % 7)))
            .collect();
        let fast = transform(&x, false);
        for (k, (re, im)) in fast.iter().enumerate() {
            let mut sum = (0.0, 0.0);
            for (n, (a, b)) in x.iter().enumerate() {
                let angle = -TAU * (k * n) as f64 / 12.0;
                sum.0 += a * angle.cos() - b * angle.sin();
                sum.1 += a * angle.sin() + b * angle.cos();
            }
            assert!((re - sum.0).abs() < 1e-12 && (im - sum.1).abs() < 1e-12);
        }
        let back = transform(&fast, true);
        assert!(
            back.iter()
                .zip(&x)
                .all(|(a, b)| (a.0 / 12.0 - b.0).abs() < 1e-12)
        );
    }
}
