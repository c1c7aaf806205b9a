//! Pictures as inputs.

use super::sizes::{Budget, Sizes};
use crate::Failure;
use image::DynamicImage;
use image::imageops::FilterType;
use tilewright::graph::{Dim, Fact};
use tilewright::{DType, HostTensor};

/// Where the channels of a picture are.
#[derive(Clone, Copy, PartialEq, Debug)]
pub(super) enum Layout {
    /// `[1, channels, height, width]`.
    First,
    /// `[1, height, width, channels]`.
    Last,
}

const SUPPORTED: &str = "pictures go into [1, C, height, width] and [1, height, width, C] with C of 1, 3 or 4, as floats (0..1) or u8 (0..255)";

/// The picture in a file.
pub(super) fn open(path: &str, bytes: &[u8]) -> Result<DynamicImage, Failure> {
    let known = image::guess_format(bytes).is_ok();
    image::load_from_memory(bytes).map_err(|e| match known {
        true => format!("{path}: {e}").into(),
        false => format!(
            "{path}: not a tensor or picture that can be read; give a .npy or .pb file, a png or jpeg, or `random`"
        )
        .into(),
    })
}

/// The layout that an input's shape means; an error where it means none or both.
fn layout(fact: &Fact, sizes: &Sizes) -> Result<Layout, Failure> {
    let refuse = |what: &str| Failure::from(format!("{what} {fact}; {SUPPORTED}"));
    let [_, first, _, last] = &fact.shape[..] else {
        return Err(refuse("a picture does not fit"));
    };
    let known = |d: &Dim| {
        d.known()
            .or_else(|| d.as_symbol().and_then(|s| sizes.get(s)))
    };
    let channels = |d: &Dim| matches!(known(d), Some(1 | 3 | 4));
    match (channels(first), channels(last)) {
        (true, false) => Ok(Layout::First),
        (false, true) => Ok(Layout::Last),
        (true, true) => Err(refuse(
            "a picture's channels may be the second or the last axis of",
        )),
        (false, false) => Err(refuse("a picture's channels are not to be found in")),
    }
}

/// Tells `sizes` what the picture says of an input's symbols: one picture, of its own height and width, unless they are
/// said to be others. The layout is what the shape meant before that.
pub(super) fn learn(
    picture: &DynamicImage,
    path: &str,
    fact: &Fact,
    sizes: &mut Sizes,
) -> Result<Layout, Failure> {
    let (h, w) = (i64::from(picture.height()), i64::from(picture.width()));
    let layout = layout(fact, sizes)?;
    let at = match layout {
        Layout::First => [2, 3],
        Layout::Last => [1, 2],
    };
    if let Some(batch) = fact.shape[0].as_symbol() {
        sizes.learn(batch, 1, format!("{path}, one picture"))?;
    }
    for (axis, own) in at.into_iter().zip([h, w]) {
        if let Some(symbol) = fact.shape[axis].as_symbol()
            && sizes.get(symbol).is_none()
        {
            sizes.learn(symbol, own, path.to_owned())?;
        }
    }
    Ok(layout)
}

/// The picture scaled to the shape.
pub(super) fn tensor(
    picture: &DynamicImage,
    fact: &Fact,
    shape: &[usize],
    layout: Layout,
    budget: &mut Budget,
) -> Result<HostTensor, Failure> {
    let (n, c, h, w) = match (layout, shape) {
        (Layout::First, &[n, c, h, w]) | (Layout::Last, &[n, h, w, c]) => (n, c, h, w),
        _ => return Err(format!("a picture does not fit {fact}; {SUPPORTED}").into()),
    };
    let byte = fact.dtype == DType::U8;
    if n != 1 || h == 0 || w == 0 || !(byte || fact.dtype.is_float()) {
        return Err(format!("a picture does not fit {fact}; {SUPPORTED}").into());
    }
    // Scaling works in floats of four channels.
    budget.take(&[h, w, 4], 4)?;
    let pixels = pixels(picture, c, u32::try_from(h)?, u32::try_from(w)?);
    let mut values = vec![0u8; pixels.len()];
    for (i, value) in pixels.into_iter().enumerate() {
        let at = match layout {
            Layout::First => i % c * h * w + i / c,
            Layout::Last => i,
        };
        values[at] = value;
    }
    if byte {
        return Ok(HostTensor::from_vec(shape.to_vec(), values)?);
    }
    let floats: Vec<f32> = values.into_iter().map(|v| f32::from(v) / 255.0).collect();
    Ok(HostTensor::from_vec(shape.to_vec(), floats)?.cast(fact.dtype)?)
}

/// Bytes by row, column, channel.
fn pixels(picture: &DynamicImage, channels: usize, h: u32, w: u32) -> Vec<u8> {
    let scaled;
    let picture = if (picture.height(), picture.width()) == (h, w) {
        picture
    } else {
        scaled = picture.resize_exact(w, h, FilterType::Triangle);
        &scaled
    };
    match channels {
        1 => picture.to_luma8().into_raw(),
        3 => picture.to_rgb8().into_raw(),
        _ => picture.to_rgba8().into_raw(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tilewright::graph::Symbol;

    fn fact(dtype: DType, shape: [&str; 4]) -> Fact {
        let dims = shape.map(|d| match d.parse::<i64>() {
            Ok(n) => Dim::from(n),
            Err(_) => Dim::from(Symbol::new(d)),
        });
        Fact::new(dtype, dims)
    }

    /// Two rows of three pixels; red counts up, green is 100, blue 200.
    fn picture() -> DynamicImage {
        let pixels = (0..6u8).flat_map(|i| [i, 100, 200]).collect();
        DynamicImage::ImageRgb8(image::RgbImage::from_raw(3, 2, pixels).unwrap())
    }

    fn run(fact: &Fact) -> Result<HostTensor, Failure> {
        let (mut sizes, mut budget) = (
            Sizes::default(),
            Budget {
                limit: 1 << 20,
                used: 0,
            },
        );
        let layout = learn(&picture(), "p.png", fact, &mut sizes)?;
        let shape: Vec<usize> = (fact.shape.iter())
            .map(|d| {
                d.known()
                    .or_else(|| sizes.get(d.as_symbol().unwrap()))
                    .unwrap() as usize
            })
            .collect();
        tensor(&picture(), fact, &shape, layout, &mut budget)
    }

    #[test]
    fn symbolic_extents_are_the_pictures() {
        let t = run(&fact(DType::F32, ["n", "3", "h", "w"])).unwrap();
        assert_eq!(t.shape()[..], [1, 3, 2, 3]);
        let values = t.to_f64();
        assert!((values[5] - 5.0 / 255.0).abs() < 1e-6);
        assert!((values[6] - 100.0 / 255.0).abs() < 1e-6);
    }

    #[test]
    fn channels_may_be_last_and_bytes_stay_bytes() {
        let t = run(&fact(DType::U8, ["1", "h", "w", "3"])).unwrap();
        assert_eq!(t.shape()[..], [1, 2, 3, 3]);
        assert_eq!(t.to_f64()[3..6], [1.0, 100.0, 200.0]);
        let t = run(&fact(DType::U8, ["1", "7", "5", "4"])).unwrap();
        assert_eq!(t.shape()[..], [1, 7, 5, 4]);
    }

    #[test]
    fn what_does_not_fit_is_said() {
        for (dtype, shape) in [
            (DType::F32, ["1", "c", "h", "w"]),
            (DType::F32, ["1", "3", "8", "3"]),
            (DType::F32, ["2", "3", "8", "8"]),
            (DType::I64, ["1", "3", "8", "8"]),
        ] {
            let error = run(&fact(dtype, shape)).unwrap_err().to_string();
            assert!(error.ends_with(SUPPORTED), "{error}");
        }
    }
}
