//! Runs benchmark work with candle on the CPU, with the matrix product that it has by default (the `gemm` crate).

use candle_core::{DType, Device, Result, Tensor};
use peer_protocol::{
    Attention, Conv, Dtype, Gemm, Hello, Map, MapOp, Prepared, Why, Work, floats, serve,
};

const CANDLE: &str = "0.11.1";

fn main() -> std::io::Result<()> {
    let threads = candle_core::utils::get_num_threads();
    let hello = Hello {
        peer: "candle-cpu".to_owned(),
        version: CANDLE.to_owned(),
        device: format!("CPU, {threads} threads"),
    };
    serve(hello, |work| match work {
        Work::Gemm(gemm) => boxed(prepare_gemm(gemm)),
        Work::Conv(conv) => {
            let sizes = conv_sizes(conv)?;
            boxed(prepare_conv(conv, sizes))
        }
        Work::Attention(attention) => boxed(prepare_attention(attention)),
        Work::Map(map) => boxed(prepare_map(map)),
        Work::Model(_) => Err("candle-core reads no ONNX files".to_owned()),
    })
}

/// One run of the work; tensors are captured.
type Step = Box<dyn Fn() -> Result<Tensor>>;

struct Eager {
    step: Step,
    last: Option<Tensor>,
}

impl Prepared for Eager {
    fn run(&mut self, repeats: u32) -> std::result::Result<(), Why> {
        for _ in 0..repeats {
            self.last = Some((self.step)().map_err(|error| error.to_string())?);
        }
        Ok(())
    }

    fn output(&mut self) -> std::result::Result<Vec<f32>, Why> {
        let last = self.last.as_ref().ok_or("nothing ran yet")?;
        last.to_dtype(DType::F32)
            .and_then(|last| last.flatten_all()?.to_vec1())
            .map_err(|error| error.to_string())
    }
}

fn boxed(step: Result<Step>) -> std::result::Result<Box<dyn Prepared>, Why> {
    let step = step.map_err(|error| error.to_string())?;
    Ok(Box::new(Eager { step, last: None }))
}

fn tensor(number: u32, shape: &[usize], dtype: Dtype) -> Result<Tensor> {
    let data = floats(number, shape.iter().product());
    Tensor::from_vec(data, shape, &Device::Cpu)?.to_dtype(match dtype {
        Dtype::F32 => DType::F32,
        Dtype::F16 => DType::F16,
    })
}

fn prepare_gemm(gemm: &Gemm) -> Result<Step> {
    let a = tensor(0, &[gemm.batch, gemm.m, gemm.k], gemm.dtype)?;
    let b = tensor(1, &[gemm.batch, gemm.k, gemm.n], gemm.dtype)?;
    Ok(Box::new(move || a.matmul(&b)))
}

/// Candle's convolution has one padding, one stride and one dilation for both axes.
fn conv_sizes(conv: &Conv) -> std::result::Result<[usize; 3], Why> {
    match (conv.symmetric_pad(), conv.stride, conv.dilation) {
        (Some([pad, pad_w]), [stride, stride_w], [dilation, dilation_w])
            if pad == pad_w && stride == stride_w && dilation == dilation_w =>
        {
            Ok([pad, stride, dilation])
        }
        _ => Err("candle's conv2d has one padding, stride and dilation for all sides".to_owned()),
    }
}

fn prepare_conv(conv: &Conv, [pad, stride, dilation]: [usize; 3]) -> Result<Step> {
    let x = tensor(0, &[conv.n, conv.c, conv.h, conv.w], conv.dtype)?;
    let w = tensor(1, &conv.weights(), conv.dtype)?;
    let groups = conv.groups;
    Ok(Box::new(move || {
        x.conv2d(&w, pad, stride, dilation, groups)
    }))
}

fn prepare_attention(work: &Attention) -> Result<Step> {
    let &Attention {
        batch,
        heads,
        queries,
        keys,
        head,
        ..
    } = work;
    let q = tensor(0, &[batch, heads, queries, head], work.dtype)?;
    let k = tensor(1, &[batch, heads, keys, head], work.dtype)?;
    let v = tensor(2, &[batch, heads, keys, head], work.dtype)?;
    let scale = 1.0 / (head as f64).sqrt();
    let mask = if work.causal {
        let mask = (0..queries * keys).map(|i| {
            if i % keys > i / keys {
                f32::NEG_INFINITY
            } else {
                0.0
            }
        });
        let mask = Tensor::from_vec(mask.collect(), (queries, keys), &Device::Cpu)?;
        Some(mask.to_dtype(q.dtype())?)
    } else {
        None
    };
    Ok(Box::new(move || {
        let mut scores = (q.matmul(&k.t()?)? * scale)?;
        if let Some(mask) = &mask {
            scores = scores.broadcast_add(mask)?;
        }
        candle_nn::ops::softmax_last_dim(&scores)?.matmul(&v)
    }))
}

fn prepare_map(map: &Map) -> Result<Step> {
    let x = tensor(0, &[map.rows, map.cols], map.dtype)?;
    Ok(match map.op {
        MapOp::Add => {
            let y = tensor(1, &[map.rows, map.cols], map.dtype)?;
            Box::new(move || &x + &y)
        }
        MapOp::Relu => Box::new(move || x.relu()),
        MapOp::Gelu => Box::new(move || x.gelu_erf()),
        MapOp::Softmax => Box::new(move || candle_nn::ops::softmax_last_dim(&x)),
        MapOp::LayerNorm => {
            let ones = Tensor::ones(map.cols, x.dtype(), &Device::Cpu)?;
            let zeros = Tensor::zeros(map.cols, x.dtype(), &Device::Cpu)?;
            Box::new(move || candle_nn::ops::layer_norm(&x, &ones, &zeros, 1e-5))
        }
    })
}
