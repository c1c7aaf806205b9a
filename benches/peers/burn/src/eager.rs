//! Work that is one operation or a few, as a user of burn writes it.

use burn::tensor::ops::{AttentionModuleOptions, ConvOptions};
use burn::tensor::{DType, Device, Shape, Tensor, TensorData, activation, module};
use peer_protocol::{Attention, Conv, Dtype, Gemm, Map, MapOp, Prepared, Why, floats};

/// One run of the work; tensors are captured.
type Step<const D: usize> = Box<dyn Fn() -> Tensor<D>>;

struct Eager<const D: usize> {
    device: Device,
    step: Step<D>,
    /// Send each run to the device by itself.
    flush: bool,
    last: Option<Tensor<D>>,
}

impl<const D: usize> Prepared for Eager<D> {
    fn run(&mut self, repeats: u32) -> Result<(), Why> {
        for _ in 0..repeats {
            self.last = Some((self.step)());
            if self.flush {
                self.device.flush().map_err(|error| error.to_string())?;
            }
        }
        self.device.sync().map_err(|error| error.to_string())
    }

    fn output(&mut self) -> Result<Vec<f32>, Why> {
        let last = self.last.as_ref().ok_or("nothing ran yet")?;
        read(last)
    }
}

/// The elements of a tensor.
pub fn read<const D: usize>(tensor: &Tensor<D>) -> Result<Vec<f32>, Why> {
    let data = tensor.try_to_data().map_err(|error| error.to_string())?;
    Ok(data.iter::<f32>().collect())
}

/// A tensor of the protocol's data.
pub fn tensor<const D: usize>(
    device: &Device,
    number: u32,
    shape: [usize; D],
    dtype: Dtype,
) -> Tensor<D> {
    let data = TensorData::new(floats(number, shape.iter().product()), Shape::from(shape));
    let dtype = match dtype {
        Dtype::F32 => DType::F32,
        Dtype::F16 => DType::F16,
    };
    Tensor::from_data(data.convert_dtype(dtype), (device, dtype))
}

fn eager<const D: usize>(device: &Device, step: Step<D>) -> Box<dyn Prepared> {
    Box::new(Eager {
        device: device.clone(),
        step,
        flush: false,
        last: None,
    })
}

/// A batch of one is a plain matrix product.
pub fn gemm(device: &Device, gemm: &Gemm) -> Box<dyn Prepared> {
    let &Gemm { batch, m, n, k, .. } = gemm;
    if batch == 1 {
        let a = tensor(device, 0, [m, k], gemm.dtype);
        let b = tensor(device, 1, [k, n], gemm.dtype);
        return eager::<2>(device, Box::new(move || a.clone().matmul(b.clone())));
    }
    let a = tensor(device, 0, [batch, m, k], gemm.dtype);
    let b = tensor(device, 1, [batch, k, n], gemm.dtype);
    eager::<3>(device, Box::new(move || a.clone().matmul(b.clone())))
}

/// A convolution without a bias.
pub fn conv(device: &Device, conv: &Conv) -> Box<dyn Prepared> {
    let x = tensor(device, 0, [conv.n, conv.c, conv.h, conv.w], conv.dtype);
    let w = tensor(device, 1, conv.weights(), conv.dtype);
    let [top, left, bottom, right] = conv.pad;
    let options = ConvOptions::new_with_padding(
        conv.stride,
        [(top, bottom), (left, right)],
        conv.dilation,
        conv.groups,
    );
    let step = move || module::conv2d(x.clone(), w.clone(), None, options.clone());
    eager::<4>(device, Box::new(step))
}

/// Burn's own attention, which tunes itself between one kernel and several.
pub fn attention(device: &Device, work: &Attention) -> Box<dyn Prepared> {
    let of_len = |len| [work.batch, work.heads, len, work.head];
    let q = tensor(device, 0, of_len(work.queries), work.dtype);
    let k = tensor(device, 1, of_len(work.keys), work.dtype);
    let v = tensor(device, 2, of_len(work.keys), work.dtype);
    let options = AttentionModuleOptions {
        is_causal: work.causal,
        ..AttentionModuleOptions::default()
    };
    let step = move || module::attention(q.clone(), k.clone(), v.clone(), None, None, options);
    eager::<4>(device, Box::new(step))
}

/// A map or a reduction over columns.
pub fn map(device: &Device, map: &Map) -> Box<dyn Prepared> {
    let shape = [map.rows, map.cols];
    let x = tensor(device, 0, shape, map.dtype);
    let step: Step<2> = match map.op {
        MapOp::Add => {
            let y = tensor(device, 1, shape, map.dtype);
            Box::new(move || x.clone() + y.clone())
        }
        MapOp::Relu => Box::new(move || activation::relu(x.clone())),
        MapOp::Gelu => Box::new(move || activation::gelu(x.clone())),
        MapOp::Softmax => Box::new(move || activation::softmax(x.clone(), 1)),
        MapOp::LayerNorm => {
            let ones = Tensor::<1>::ones([map.cols], (device, x.dtype()));
            Box::new(move || module::layer_norm(x.clone(), ones.clone(), None, 1e-5))
        }
    };
    Box::new(Eager {
        device: device.clone(),
        step,
        // Fusion would join runs into one kernel that reads its inputs once for all of them.
        flush: true,
        last: None,
    })
}
