//! Windows of signals, and the weights that turn spectra into mel bands.

use crate::attrs::dtype_code;
use crate::dim::Dim;
use crate::fact::{Facts, Tensors, Values};
use crate::op::{Case, Operator};
use crate::{Attrs, Error, Fact, Result};
use std::f64::consts::TAU;
use tilewright_tensor::{DType, HostTensor};

/// ONNX HannWindow-17, HammingWindow-17, BlackmanWindow-17: a0 - a1 cos(t) + a2 cos(2t), t from 0 to 2 pi. Input: the
/// number of elements.
#[derive(Clone, Debug)]
pub struct SignalWindow {
    /// Which.
    pub kind: WindowKind,
    /// The period is the number of elements; else the last element is the first one's mirror image.
    pub periodic: bool,
    /// Type of the output.
    pub dtype: DType,
}

/// The windows of ONNX.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WindowKind {
    /// Hann.
    Hann,
    /// Hamming.
    Hamming,
    /// Blackman.
    Blackman,
}

impl SignalWindow {
    fn at(&self, i: usize, size: usize) -> f64 {
        let (a0, a1, a2) = match self.kind {
            WindowKind::Hann => (0.5, 0.5, 0.0),
            WindowKind::Hamming => (25.0 / 46.0, 21.0 / 46.0, 0.0),
            WindowKind::Blackman => (0.42, 0.5, 0.08),
        };
        let period = if self.periodic { size } else { size - 1 };
        if period == 0 {
            return 1.0; // one element in the middle
        }
        let t = TAU * i as f64 / period as f64;
        a0 - a1 * t.cos() + a2 * (2.0 * t).cos()
    }
}

impl Operator for SignalWindow {
    const NAMES: &'static [&'static str] = &["HannWindow", "HammingWindow", "BlackmanWindow"];

    fn name(&self) -> &'static str {
        Self::NAMES[self.kind as usize]
    }

    fn attrs(&self) -> Attrs {
        Attrs::new(self.name())
            .with("periodic", self.periodic)
            .with("output_datatype", self.dtype)
    }

    fn from_attrs(name: &str, attrs: &Attrs) -> Result<Self> {
        Ok(SignalWindow {
            kind: match name {
                "HannWindow" => WindowKind::Hann,
                "HammingWindow" => WindowKind::Hamming,
                _ => WindowKind::Blackman,
            },
            periodic: attrs.or("periodic", true)?,
            dtype: attrs.or("output_datatype", DType::F32)?,
        })
    }

    fn infer(&self, inputs: Facts<'_>) -> Result<Vec<Fact>> {
        let size = inputs.dims(0)?;
        let [size] = &size[..] else {
            return Err(inputs.error("the size must be one integer"));
        };
        Ok(vec![Fact::new(self.dtype, vec![size.clone()])])
    }

    fn reference(&self, inputs: Tensors<'_>) -> Result<Vec<HostTensor>> {
        let size = one(inputs, 0)?;
        let values = (0..size).map(|i| self.at(i, size)).collect();
        Ok(vec![HostTensor::from_f64(self.dtype, [size], values)?])
    }

    fn cases() -> Vec<Case> {
        let mut cases = vec![];
        for kind in [WindowKind::Hann, WindowKind::Hamming, WindowKind::Blackman] {
            for (periodic, size, dtype) in [(true, 10i64, DType::F32), (false, 9, DType::F64)] {
                let op = SignalWindow {
                    kind,
                    periodic,
                    dtype,
                };
                let name = format!("{size} {dtype}, periodic {periodic}");
                let case = Case::new(&name, op, vec![HostTensor::scalar(size)]);
                cases.push(case.constant(&[0]));
            }
        }
        cases
    }
}

/// The scalar input `i` as a size.
fn one(inputs: Tensors<'_>, i: usize) -> Result<usize> {
    match inputs.ints(i)?[..] {
        [n] if n >= 0 => usize::try_from(n).map_err(|_| inputs.error(format!("input {i} is {n}"))),
        _ => Err(inputs.error(format!("input {i} must be one integer of at least 0"))),
    }
}

/// ONNX MelWeightMatrix-17: \[dft_length / 2 + 1, bands\], a triangle for each band. Inputs, all scalars: the number of
/// bands, the length of the DFT, the sample rate, and the lowest and highest frequency in hertz.
#[derive(Clone, Debug)]
pub struct MelWeightMatrix {
    /// Type of the output.
    pub dtype: DType,
}

/// The spectral line of each corner of the triangles: evenly spaced on the mel scale, mel(f) = 2595 log10(1 + f / 700).
fn corners(bands: usize, length: usize, rate: f64, [low, high]: [f64; 2]) -> Vec<usize> {
    let mel = |hertz: f64| 2595.0 * (1.0 + hertz / 700.0).log10();
    let hertz = |mel: f64| 700.0 * (10f64.powf(mel / 2595.0) - 1.0);
    let (low, high) = (mel(low), mel(high));
    let step = (high - low) / (bands + 2) as f64;
    let line = |i: usize| ((length + 1) as f64 * hertz(low + i as f64 * step) / rate).floor();
    (0..bands + 2).map(|i| line(i).max(0.0) as usize).collect()
}

impl Operator for MelWeightMatrix {
    const NAMES: &'static [&'static str] = &["MelWeightMatrix"];

    fn attrs(&self) -> Attrs {
        Attrs::new("MelWeightMatrix").with("output_datatype", dtype_code(self.dtype))
    }

    fn from_attrs(_: &str, attrs: &Attrs) -> Result<Self> {
        Ok(MelWeightMatrix {
            dtype: attrs.or("output_datatype", DType::F32)?,
        })
    }

    fn infer(&self, inputs: Facts<'_>) -> Result<Vec<Fact>> {
        let (bands, length) = (inputs.dims(0)?, inputs.dims(1)?);
        let ([bands], [length]) = (&bands[..], &length[..]) else {
            return Err(inputs.error("the sizes must be scalars"));
        };
        let lines = length.floor_div(&Dim::from(2i64)) + Dim::from(1i64);
        Ok(vec![Fact::new(self.dtype, vec![lines, bands.clone()])])
    }

    fn reference(&self, inputs: Tensors<'_>) -> Result<Vec<HostTensor>> {
        let (bands, length) = (one(inputs, 0)?, one(inputs, 1)?);
        let rate = one(inputs, 2)? as f64;
        let edge = |i: usize| {
            let values = inputs.opt_floats(i)?.unwrap_or_default();
            let first = values.first().copied();
            first.ok_or_else(|| inputs.error(format!("input {i} is missing")))
        };
        if rate == 0.0 {
            return Err(inputs.error("the sample rate is 0"));
        }
        let lines = length / 2 + 1;
        let corners = corners(bands, length, rate, [edge(3)?, edge(4)?]);
        let mut out = HostTensor::zeros(DType::F64, [lines, bands])?;
        let weights = out.as_mut_slice::<f64>()?;
        let mut set = |line: usize, band: usize, value: f64| -> Result<()> {
            // A corner may be any number.
            let at = line.checked_mul(bands).and_then(|n| n.checked_add(band));
            let what = || Error::op("MelWeightMatrix", "a band lies above the spectrum");
            *at.and_then(|at| weights.get_mut(at)).ok_or_else(what)? = value;
            Ok(())
        };
        for band in 0..bands {
            let (left, middle, right) = (corners[band], corners[band + 1], corners[band + 2]);
            if left == middle {
                set(middle, band, 1.0)?;
            }
            for line in left..=middle {
                if left < middle {
                    set(line, band, (line - left) as f64 / (middle - left) as f64)?;
                }
            }
            for line in middle..right {
                set(line, band, (right - line) as f64 / (right - middle) as f64)?;
            }
        }
        Ok(vec![out.cast(self.dtype)?])
    }

    fn cases() -> Vec<Case> {
        let inputs = |bands: i64, length: i64| {
            let mut inputs = vec![bands, length, 8192]
                .into_iter()
                .map(HostTensor::scalar);
            let mut all: Vec<HostTensor> = inputs.by_ref().collect();
            all.extend([0.0f32, 4000.0].map(HostTensor::scalar));
            all
        };
        let case = |name: &str, dtype: DType, bands: i64, length: i64| {
            Case::new(name, MelWeightMatrix { dtype }, inputs(bands, length))
                .constant(&[0, 1, 2, 3, 4])
        };
        vec![
            case("bands", DType::F32, 8, 64),
            case("more bands than lines", DType::F64, 20, 16),
        ]
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::samples;

    #[test]
    fn windows_are_symmetric() {
        let op = SignalWindow {
            kind: WindowKind::Blackman,
            periodic: false,
            dtype: DType::F64,
        };
        let size = samples::ints(&[9]);
        let w = op
            .reference(Tensors::new("BlackmanWindow", &[Some(&size)]))
            .unwrap();
        let w = w[0].to_f64();
        assert!((0..9).all(|i| (w[i] - w[8 - i]).abs() < 1e-15));
        assert!((w[4] - 1.0).abs() < 1e-15);
    }
}
