//! `tilewright bench conv`: convolutions without bias, as a model has them: channels last, filters packed once.

use super::driver::{Options, Plan};
use super::gemm::dtype;
use super::work::{Conv, Work};
use crate::Failure;
use tilewright::DType;

/// Arguments of `bench conv`.
#[derive(clap::Args)]
#[command(
    after_help = "Examples: tilewright bench conv --preset resnet50 --html conv.html\n\
    \x20         tilewright bench conv --input 1,64,56,56 --filters 128 --kernel 3x3 --stride 2 --pad 1\n\n\
    Images lie channels last, as the engine keeps them inside a model; a peer takes them channels first. A model whose input is\n\
    channels first turns it once, which is not part of these times. Without --input: --preset resnet50."
)]
pub(super) struct Args {
    /// Layers of a network, each different one once: `resnet50` (224x224, 23 layers), `mobilenetv2` (224x224, pointwise and
    /// depthwise, 30 layers), `depthwise` (its depthwise ones), `3x3` (stride 1, from few large planes to many small ones).
    #[arg(long, conflicts_with = "input")]
    preset: Option<Preset>,
    /// Images of a preset's layers.
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u64).range(1..))]
    batch: u64,
    /// Images, channels, height and width.
    #[arg(
        long,
        value_name = "N,C,H,W",
        value_delimiter = ',',
        requires = "filters"
    )]
    input: Vec<usize>,
    /// Channels of the result.
    #[arg(long, value_name = "COUNT", requires = "input")]
    filters: Option<usize>,
    /// Height x width, or one number for both.
    #[arg(long, default_value = "3x3", value_name = "SIZE")]
    kernel: String,
    /// Steps of the window: one number, or height x width.
    #[arg(long, default_value = "1", value_name = "SIZE")]
    stride: String,
    /// Zeros around: one number, height x width, or top,left,bottom,right. Without it half the (dilated) kernel, rounded down.
    #[arg(long, value_name = "SIZE")]
    pad: Option<String>,
    /// Groups of channels; as many as channels for a depthwise convolution.
    #[arg(long, default_value_t = 1, value_name = "COUNT")]
    groups: usize,
    /// Steps between kernel positions: one number, or height x width.
    #[arg(long, default_value = "1", value_name = "SIZE")]
    dilation: String,
    /// The type of images and filters; sums are f32.
    #[arg(long, default_value = "f32", value_parser = dtype)]
    dtype: DType,
    #[command(flatten)]
    options: Options,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
enum Preset {
    Resnet50,
    Mobilenetv2,
    Depthwise,
    #[value(name = "3x3")]
    ThreeByThree,
}

/// The layers, one case each.
pub(super) fn main(args: &Args) -> Result<(), Failure> {
    let mut layers = match args.input[..] {
        [] => args.preset.unwrap_or(Preset::Resnet50).layers(),
        _ => vec![args.layer()?],
    };
    for layer in &mut layers {
        layer.dtype = args.dtype;
        if args.input.is_empty() {
            layer.input[0] = usize::try_from(args.batch)?;
        }
    }
    let works = layers.into_iter().map(Work::Conv).collect();
    Plan {
        works,
        ..Plan::default()
    }
    .run("conv", &args.options.gpu()?, &args.options)
}

impl Args {
    fn layer(&self) -> Result<Conv, Failure> {
        let input = self.input[..]
            .try_into()
            .map_err(|_| format!("--input {:?}: write N,C,H,W", self.input))?;
        let [kernel, stride, dilation] = [
            pair("--kernel", &self.kernel)?,
            pair("--stride", &self.stride)?,
            pair("--dilation", &self.dilation)?,
        ];
        let half = [0, 1].map(|i| dilation[i].saturating_mul(kernel[i].saturating_sub(1)) / 2);
        let pad = match &self.pad {
            None => [half[0], half[1], half[0], half[1]],
            Some(text) if text.contains(',') => {
                let sides: Result<Vec<usize>, _> =
                    text.split(',').map(|n| n.trim().parse()).collect();
                let sides = sides.ok().and_then(|s| s.try_into().ok());
                sides.ok_or_else(|| {
                    format!("--pad {text}: write one number, HxW, or top,left,bottom,right")
                })?
            }
            Some(text) => {
                let [h, w] = pair("--pad", text)?;
                [h, w, h, w]
            }
        };
        let (filters, groups) = (self.filters.unwrap_or(0), self.groups);
        let layer = Conv {
            input,
            filters,
            kernel,
            stride,
            pad,
            dilation,
            groups,
            dtype: self.dtype,
        };
        layer.output()?;
        Ok(layer)
    }
}

/// `3` or `3x5`.
fn pair(flag: &str, text: &str) -> Result<[usize; 2], Failure> {
    let (h, w) = text.split_once('x').unwrap_or((text, text));
    let number = |part: &str| {
        part.trim()
            .parse()
            .map_err(|e| format!("{flag} {text}: {e}; write 3 or 3x5"))
    };
    Ok([number(h)?, number(w)?])
}

impl Preset {
    /// Its different layers in order, with one image each.
    fn layers(self) -> Vec<Conv> {
        let all = match self {
            Self::Resnet50 => resnet50(),
            Self::Mobilenetv2 => mobilenetv2(),
            Self::Depthwise => mobilenetv2()
                .into_iter()
                .filter(Conv::is_depthwise)
                .collect(),
            Self::ThreeByThree => {
                let planes = [
                    (16, 224),
                    (32, 112),
                    (64, 112),
                    (64, 56),
                    (128, 56),
                    (128, 28),
                    (256, 28),
                    (256, 14),
                    (512, 14),
                    (512, 7),
                ];
                planes
                    .map(|(channels, size)| square(channels, channels, size, 3, 1))
                    .to_vec()
            }
        };
        let mut layers: Vec<Conv> = vec![];
        for layer in all {
            if !layers.contains(&layer) {
                layers.push(layer);
            }
        }
        layers
    }
}

/// A layer of square planes and kernels, padded by half the kernel.
fn square(from: usize, to: usize, size: usize, kernel: usize, stride: usize) -> Conv {
    Conv {
        input: [1, from, size, size],
        filters: to,
        kernel: [kernel; 2],
        stride: [stride; 2],
        pad: [kernel / 2; 4],
        dilation: [1, 1],
        groups: 1,
        dtype: DType::F32,
    }
}

/// He et al. 2015, table 1, with the strides in the 3x3 layers ("v1.5"), as PyTorch and ONNX's models have it.
fn resnet50() -> Vec<Conv> {
    let mut layers = vec![square(3, 64, 224, 7, 2)];
    let (mut channels, mut size) = (64, 56);
    for (stage, blocks) in [3, 4, 6, 3].into_iter().enumerate() {
        let width = 64 << stage;
        for block in 0..blocks {
            let stride = if block == 0 && stage > 0 { 2 } else { 1 };
            let inner = size / stride;
            layers.push(square(channels, width, size, 1, 1));
            layers.push(square(width, width, size, 3, stride));
            layers.push(square(width, 4 * width, inner, 1, 1));
            if block == 0 {
                layers.push(square(channels, 4 * width, size, 1, stride));
            }
            (channels, size) = (4 * width, inner);
        }
    }
    layers
}

/// Sandler et al. 2018, table 2.
fn mobilenetv2() -> Vec<Conv> {
    let mut layers = vec![square(3, 32, 224, 3, 2)];
    let (mut channels, mut size) = (32, 112);
    for (expand, to, blocks, first) in [
        (1, 16, 1, 1),
        (6, 24, 2, 2),
        (6, 32, 3, 2),
        (6, 64, 4, 2),
        (6, 96, 3, 1),
        (6, 160, 3, 2),
        (6, 320, 1, 1),
    ] {
        for block in 0..blocks {
            let (stride, wide) = (if block == 0 { first } else { 1 }, expand * channels);
            if expand > 1 {
                layers.push(square(channels, wide, size, 1, 1));
            }
            layers.push(Conv {
                groups: wide,
                ..square(wide, wide, size, 3, stride)
            });
            size /= stride;
            layers.push(square(wide, to, size, 1, 1));
            channels = to;
        }
    }
    layers.push(square(320, 1280, size, 1, 1));
    layers
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn presets_are_the_layers_of_the_papers() {
        assert_eq!(Preset::Resnet50.layers().len(), 23);
        // 4.1 billion multiply-adds, without the fully connected layer (ResNet-50 v1.5).
        let work = |layers: Vec<Conv>| {
            layers
                .into_iter()
                .filter_map(|l| Work::Conv(l).flops())
                .sum::<f64>()
                / 2e9
        };
        let of = work(resnet50());
        assert!((4.08..4.09).contains(&of), "{of}");
        // 300 million for MobileNetV2, as its paper says.
        let of = work(mobilenetv2());
        assert!((0.29..0.31).contains(&of), "{of}");
        assert_eq!(Preset::Mobilenetv2.layers().len(), 30);
        assert!(
            Preset::Depthwise
                .layers()
                .iter()
                .all(|l| l.groups == l.filters)
        );
    }

    #[test]
    fn sizes_are_one_number_or_two() {
        assert_eq!(pair("--kernel", "3").unwrap(), [3, 3]);
        assert_eq!(pair("--kernel", "3x5").unwrap(), [3, 5]);
        assert!(
            pair("--kernel", "3x")
                .unwrap_err()
                .to_string()
                .contains("--kernel 3x")
        );
    }
}
