//! A reduction or a normalisation followed by a pointwise function, as two dispatches and as one: `map_ending`.
//!
//! Both run in turns on the same tensors; what is printed is the time of two over that of one. Residuals are x + f(norm(x)) with a
//! tensor of their own. `endings`.

use std::time::Duration;

use tilewright_benches::{Candidate, Pace, Samples, Tensors, alternate};
use tilewright_device::{Dispatch, Gpu, GpuOptions, Slot};
use tilewright_kernels::{
    Adjust, Form, Function, Norm, Reduction, Result, Store, View, map, map_ending, norm, reduce,
    reduce_scratch, softmax,
};

const PACE: Pace = Pace {
    warm_up: Duration::from_millis(500),
    budget: Duration::from_secs(4),
    rounds: 9,
};

const FUNCTIONS: [(&str, &str); 3] = [
    (
        "add",
        "fn map(x0: vec4<f32>, x1: vec4<f32>) -> vec4<f32> { return x0 + x1; }",
    ),
    (
        "relu",
        "fn map(x0: vec4<f32>) -> vec4<f32> { return max(x0, vec4<f32>()); }",
    ),
    (
        "gelu",
        "//#use math_erf\nfn map(x0: vec4<f32>) -> vec4<f32> { return gelu_none(x0); }",
    ),
];

/// What comes before the function.
const KINDS: [&str; 3] = ["layer norm", "softmax", "mean of rows"];

fn main() -> std::result::Result<(), Box<dyn std::error::Error>> {
    let gpu = pollster::block_on(Gpu::new(GpuOptions::new()))?;
    println!("{}: time of two dispatches over one", gpu.info().key);
    for kind in KINDS {
        for columns in [768, 767] {
            let shape = [1024, columns];
            let mut tensors = Tensors::default();
            let values: Vec<f32> = (0..shape[0] * columns)
                .map(|i| (i * 7919 % 20_011) as f32 * 5e-4 - 5.0)
                .collect();
            // x, the operand, what is between, the result, a scale, and scratch.
            for slot in 0..6 {
                tensors.put(&gpu, slot, bytemuck::cast_slice(&values))?;
            }
            for (name, text) in FUNCTIONS {
                let function = Function {
                    text: text.into(),
                    params: vec![],
                };
                let [two, one] = both(&gpu, kind, shape, &function, name == "add")?;
                let two = Candidate::new(&gpu, tensors.bind(&gpu, &two)?)?;
                let one = Candidate::new(&gpu, tensors.bind(&gpu, &one)?)?;
                let samples = alternate(&gpu, &[&two, &one], PACE, |_| {})?;
                let [two, one] = [0, 1].map(|i: usize| Samples::median(&samples[i]));
                println!("{kind}, {name}, {shape:?}: {:.2}", two / one);
            }
        }
    }
    Ok(())
}

/// The dispatches of two and of one.
fn both(
    gpu: &Gpu,
    kind: &str,
    shape: [usize; 2],
    function: &Function,
    operand: bool,
) -> Result<[Vec<Dispatch>; 2]> {
    let caps = gpu.caps();
    let mean = kind == "mean of rows";
    let out = if mean { vec![shape[0]] } else { shape.to_vec() };
    let view = |slot, shape: &[usize]| View::new(Slot(slot), Store::F32, shape);
    let (x, other) = (view(0, &shape), view(1, &out));
    let (between, y) = (view(2, &out), view(3, &out));
    let scale = view(4, &shape[1..]);
    let scratch = view(5, &[reduce_scratch(caps, &shape, &[1]) as usize / 4]);
    let first = |to: &View| match kind {
        "layer norm" => {
            let adjust = Adjust::Element(&scale, None);
            let form = Form::along(&shape, 1);
            norm(caps, &x, form, to, Norm::Variance(1e-5), adjust, None)
        }
        "softmax" => softmax(caps, &x, 1, to, false),
        _ => reduce(caps, &x, &[1], to, Reduction::Mean, Some(&scratch)),
    };
    let operands = if operand { vec![other] } else { vec![] };
    let mut two = first(&between)?;
    two.extend(map(
        caps,
        function,
        &[&[between][..], &operands].concat(),
        &y,
    )?);
    let mut one = first(&y)?;
    if let Some(last) = one.pop() {
        one.push(map_ending(caps, last, function, &operands, &y)?);
    }
    Ok([two, one])
}
